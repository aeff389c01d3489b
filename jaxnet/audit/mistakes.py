"""The mistakes people make when they derive gradients by hand, each as the gradient it gives.

A diagnosis is a comparison: every known mistake is carried out on the same parameters and batch,
and the one whose gradient is the claimed gradient, to rounding, is named. Tiers come simplest first
and are generated only while something stays unexplained.

Shapes: N examples, I inputs and O outputs of a layer; a leaf is one parameter's gradient.
"""

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float64, PyTree

from jaxnet import losses, network
from jaxnet._guards import checks

# Per-example gradients of more numbers than this are not formed.
_MOST = 2**24
_SOFTMAX = (
    optax.losses.softmax_cross_entropy,
    optax.losses.softmax_cross_entropy_with_integer_labels,
    optax.losses.safe_softmax_cross_entropy,
)
_SIGMOID = (optax.losses.sigmoid_binary_cross_entropy,)

Gradient = Float64[np.ndarray, "..."]


class Case(NamedTuple):
    """What is known of an audited gradient, all in float64.

    Attributes:
        loss: `(params, batch) -> []`.
        params: where the gradient is claimed.
        batch: N examples.
        true: the gradient by autodiff, leaf by leaf.
        claimed: the claimed one, leaf by leaf, of whatever shapes.
        rows: N.
        rounding: the norm of the error, leaf by leaf, that rounding may hide.
        dtype: of the claim, the coarsest of its leaves.
    """

    loss: losses.Loss
    params: PyTree
    batch: PyTree
    true: list[Gradient]
    claimed: list[Gradient]
    rows: int
    rounding: list[float]
    dtype: np.dtype


class Mistake(NamedTuple):
    """The gradient that a mistake gives one leaf.

    Attributes:
        text: the mistake in words; empty for the true gradient.
        gradient: what it gives.
        signal: whether the error signal of a layer is wrong, and not only this leaf.
        any_factor: whether a constant factor without a name is evidence too.
        fitted: whether a number in it was fitted to the claim.
    """

    text: str
    gradient: Gradient
    signal: bool = False
    any_factor: bool = False
    fitted: bool = False


Tier = dict[int, list[Mistake]]
"""Mistakes to compare, by leaf."""


def tiers(case: Case) -> Iterator[Tier]:
    """Give the known mistakes, simplest first, each tier computed when asked for."""
    yield {i: [Mistake("", true, any_factor=True)] for i, true in enumerate(case.true)}
    yield _misplaced(case)
    if case.rows * sum(true.size for true in case.true) <= _MOST:
        yield _unsummed(case)
    yield _regularised(case)
    activation = activation_of(case.loss)
    if activation:
        case = case._replace(loss=inspect.unwrap(case.loss))
        yield _weight_inputs(case, activation)
        yield _signals(case, activation, combined=False)
        yield _signals(case, activation, combined=True)
        yield _updated_weights(case, activation)
    yield _elsewhere(case)


def activation_of(loss: Any) -> network.Activation | None:
    """Give the hidden activation where the loss is of a network of ours, None elsewhere."""
    loss = inspect.unwrap(loss)
    if not isinstance(loss, losses.BatchLoss):
        return None
    forward, given = inspect.unwrap(loss.forward), {}
    if isinstance(forward, functools.partial) and not forward.args:
        forward, given = forward.func, forward.keywords
    return given.get("activation", jax.nn.relu) if forward is network.forward else None


def averaged_outputs(case: Case) -> int:
    """Count the outputs a loss of ours takes the mean over; 1 elsewhere."""
    loss = inspect.unwrap(case.loss)
    if not activation_of(loss):
        return 1
    x, y = (jax.tree.map(lambda leaf: leaf[0], part) for part in case.batch)
    return int(np.prod(jax.eval_shape(loss.example, case.params, x, y).shape))


def reduction(case: Case) -> Literal["mean", "sum", "neither"]:
    """Tell whether a loss is a mean over its examples or a sum, by giving it each one twice."""
    twice = jax.tree.map(lambda leaf: np.concatenate([leaf, leaf]), case.batch)
    doubled = _try_gradients(case, twice)
    if doubled is not None:
        if _close(doubled, case.true):
            return "mean"
        if _close(doubled, case.true, 2.0):
            return "sum"
    return "neither"


def _try_gradients(case: Case, batch: PyTree) -> list[Gradient] | None:
    """Give the gradient over another batch, where the loss takes one of that size."""
    try:
        return [np.asarray(leaf) for leaf in _gradients(case.loss, case.params, batch)]
    except Exception:  # a loss written for its own batch may fail in any way
        return None


@functools.partial(jax.jit, static_argnums=0)
def _gradients(loss: losses.Loss, params: PyTree, batch: PyTree) -> list[Array]:
    return jax.tree.leaves(jax.grad(loss)(params, batch))


@functools.partial(jax.jit, static_argnums=0)
def _example_gradients(loss: losses.Loss, params: PyTree, batch: PyTree) -> list[Array]:
    rows = jax.tree.map(lambda leaf: leaf[:, None], batch)
    return jax.tree.leaves(jax.vmap(jax.grad(loss), in_axes=(None, 0))(params, rows))


def _per_example(case: Case) -> list[Gradient]:
    """Give the gradient of each example, [N, ...]; none where the loss is not made of them."""
    try:
        found = _example_gradients(case.loss, case.params, case.batch)
    except Exception:  # a loss written for its own batch may fail in any way
        return []
    each = [np.asarray(leaf) for leaf in found]
    totals = [np.asarray(leaf.sum(0)) for leaf in each]
    return (
        each if any(_close(totals, case.true, scale) for scale in (1.0, float(case.rows))) else []
    )


def _close(these: list[Gradient], those: list[Gradient], scale: float = 1.0) -> bool:
    return all(
        np.allclose(a, scale * b, rtol=1e-6, atol=1e-9 * np.abs(a).max(initial=0))
        for a, b in zip(these, those, strict=True)
    )


def _unsummed(case: Case) -> Tier:
    """Sums over the batch that were left out, or taken over something else."""
    tier: Tier = {}
    # A batch of one is its own sum.
    for index, each in enumerate(_per_example(case) if case.rows > 1 else ()):
        tier[index] = [Mistake("not summed over the batch", each)]
        tier[index] += [
            Mistake(f"not summed over the batch: example {row} alone", each[row])
            for row in {0, case.rows - 1}
        ]
        if each.ndim == 2:
            tier[index].append(
                Mistake("summed over its entries instead of over the batch", each.sum(1))
            )
            for shape in ((), each.shape[1:]):
                everything = np.full(shape, case.true[index].sum())
                tier[index].append(Mistake("summed over its entries as well", everything))
    return tier


def _misplaced(case: Case) -> Tier:
    """Leaves that hold the gradient of another parameter."""
    return {
        index: [
            Mistake(f"the gradient of {checks.path('', case.params, other)} instead", leaf)
            for other, leaf in enumerate(case.true)
            if other != index and leaf.shape == case.claimed[index].shape and leaf.size >= 2
        ]
        for index in range(len(case.true))
    }


def _regularised(case: Case) -> Tier:
    """A missing or doubled L2 or L1 term: what is left over is a multiple of it."""
    tier: Tier = {}
    for index, param in enumerate(map(np.asarray, jax.tree.leaves(case.params))):
        claimed, true = case.claimed[index], case.true[index]
        sizes = np.abs(param)
        # Where all entries are of one size the two terms are one, and any constant fits.
        if claimed.shape != true.shape or np.ptp(sizes) <= 1e-6 * sizes.max(initial=0):
            continue
        for name, term in (("L2", param), ("L1", np.sign(param))):
            strength = np.vdot(term, claimed - true) / max(np.vdot(term, term), 1e-300)
            how = "missing or too weak" if strength < 0 else "counted twice or too strong"
            text = f"{name} regulariser {how} (by {abs(strength):.4g} times "
            text += "the parameter)" if name == "L2" else "its sign)"
            mistake = Mistake(text, true + strength * term, fitted=True)
            tier.setdefault(index, []).append(mistake)
    return tier


class _Pass(NamedTuple):
    """A forward pass: inputs `[N, I]` and pre-activations `[N, O]` of every layer."""

    inputs: list[Gradient]
    pre: list[Gradient]
    weights: list[Gradient]
    delta: Gradient


class Rule(NamedTuple):
    """How a hidden layer's error signal `[N, O]` is made.

    Attributes:
        text: the mistake in words; empty for the right rule.
        signal: of the signal sent back to the layer, its pre-activations, its activations, and
            that signal as the transposed weight would send it (nan where it cannot).
        linear: in the signal sent back, so that 1 / N may be applied before or after.
    """

    text: str
    signal: Callable[[Any, Any, Any, Any], Any]
    linear: bool = True


@functools.partial(jax.jit, static_argnums=0)
def _output_signal(loss: losses.BatchLoss, logits: Array, y: Array) -> Array:
    def example(z: Array, y: Array) -> Array:
        return jnp.mean(loss.example_loss(z, y))

    return jax.vmap(jax.grad(example))(logits, y)


@functools.partial(jax.jit, static_argnums=0)
def _slope(activation: network.Activation, a: Array) -> Array:
    return jax.vjp(activation, a)[1](jnp.ones_like(a))[0]


def _forward_pass(case: Case, activation: network.Activation) -> _Pass:
    x, y = case.batch
    inputs, pre = [np.asarray(x)], []
    for layer in case.params:
        pre.append(inputs[-1] @ np.asarray(layer.weight).T + np.asarray(layer.bias))
        inputs.append(np.asarray(activation(pre[-1])))
    delta = np.asarray(_output_signal(case.loss, pre[-1], y))
    return _Pass(inputs[:-1], pre, [np.asarray(layer.weight) for layer in case.params], delta)


def _send_back(done: _Pass, delta: Gradient, rules: list[Rule]) -> list[Gradient]:
    """Give the error signals `[N, O]` of all layers from that of the output layer."""
    deltas = [delta]
    for layer in range(len(rules) - 1, -1, -1):
        weight = done.weights[layer + 1]
        back = deltas[0] @ weight
        square = weight.shape[0] == weight.shape[1]
        other = deltas[0] @ weight.T if square else np.full_like(back, np.nan)
        signal = rules[layer].signal(back, done.pre[layer], done.inputs[layer + 1], other)
        deltas.insert(0, np.asarray(signal))
    return deltas


def _leaves(done: _Pass, deltas: list[Gradient]) -> list[Gradient]:
    """Give the gradients of weights and biases that the error signals make, means over N."""
    grads = []
    for delta, inputs in zip(deltas, done.inputs, strict=True):
        grads += [delta.T @ inputs / len(delta), delta.mean(0)]
    return grads


def _right(activation: network.Activation) -> Rule:
    return Rule("", lambda back, z, h, other: back * _slope(activation, z))


def _wrong(activation: network.Activation) -> list[Rule]:
    slope = functools.partial(_slope, activation)
    point = "activation derivative at the wrong point: "
    quantity = "activation derivative taken of the wrong quantity: "
    rules = [
        Rule("activation derivative missing", lambda back, z, h, other: back),
        Rule(
            "replaced by the activation's derivative, taken of the back-propagated signal",
            lambda back, z, h, other: slope(back),
            linear=False,
        ),
        Rule(
            f"{quantity}the back-propagated signal",
            lambda back, z, h, other: back * slope(back),
            linear=False,
        ),
        Rule(
            f"{point}at the layer's activations, not its pre-activations",
            lambda back, z, h, other: back * slope(h),
        ),
        Rule("activation in place of its derivative", lambda back, z, h, other: back * h),
        Rule("activation derivative applied twice", lambda b, z, h, other: b * slope(z) ** 2),
        Rule(
            "replaced by the activation's derivative, the back-propagated signal left out",
            lambda back, z, h, other: slope(z),
            linear=False,
        ),
        Rule(
            "sent back through the transposed weight",
            lambda back, z, h, other: other * slope(z),
        ),
    ]
    for other, derivative in _slopes_of_others(activation).items():
        rules.append(Rule(f"{quantity}{other} in place of the layer's own activation", derivative))
    if activation is not jax.nn.sigmoid:
        text = f"{quantity}the sigmoid's formula h (1 - h) of another activation"
        rules.append(Rule(text, lambda back, z, h, other: back * h * (1 - h)))
    formula = {
        jnp.tanh: lambda h: 1 - h**2,
        jax.nn.tanh: lambda h: 1 - h**2,
        jax.nn.sigmoid: lambda h: h * (1 - h),
    }.get(activation)
    if formula:
        text = "its formula in the activations, applied to the pre-activations"
        rules.append(Rule(point + text, lambda back, z, h, other: back * formula(z)))
    return rules


def _slopes_of_others(activation: network.Activation) -> dict[str, Any]:
    others = {"tanh": jnp.tanh, "sigmoid": jax.nn.sigmoid, "ReLU": jax.nn.relu}
    return {
        name: lambda back, z, h, other, phi=phi: back * _slope(phi, z)
        for name, phi in others.items()
        if phi is not activation
    }


def _output_rules(case: Case, done: _Pass, activation: network.Activation) -> dict[str, Gradient]:
    """Give the wrong error signals of the output layer by name."""
    z, delta, y = done.pre[-1], done.delta, np.asarray(case.batch[1])
    wrong: dict[str, Gradient] = {}
    example_loss = getattr(case.loss, "example_loss", None)
    if example_loss in _SOFTMAX + _SIGMOID:
        softmax = example_loss in _SOFTMAX
        p = np.asarray(jax.jit(jax.nn.softmax if softmax else jax.nn.sigmoid)(z))
        y = y if y.shape == p.shape else np.eye(p.shape[-1])[y]
        scale = 1 if softmax else 1 / p.shape[-1]
        name = "softmax" if softmax else "sigmoid"
        mixed = f"{name} and cross-entropy mixed up: "
        applied = f"{mixed}the {name} derivative applied on top of p - y"
        wrong |= {
            f"{mixed}p - y multiplied by p (1 - p)": delta * p * (1 - p),
            f"{mixed}the {name} left out, outputs - y": (z - y) * scale,
            f"{mixed}the {name} derivative left out": (
                -y / p if softmax else scale * ((1 - y) / (1 - p) - y / p)
            ),
            f"{mixed}the targets left out, p alone": p * scale,
        }
        if softmax:
            wrong[applied] = p * (delta - (p * delta).sum(-1, keepdims=True))
    wrong["the hidden activation's derivative applied at the linear output"] = delta * np.asarray(
        _slope(activation, z)
    )
    return wrong


def _signals(case: Case, activation: network.Activation, combined: bool) -> Tier:
    """Error signals gone wrong at the output, in one hidden layer or in all: alone or combined."""
    done = _forward_pass(case, activation)
    right, wrong = _right(activation), _wrong(activation)
    hidden = len(done.pre) - 1
    places = [{layer} for layer in range(hidden)] + [set(range(hidden))] * (hidden > 1)
    outputs = _output_rules(case, done, activation)
    tier: Tier = {}

    def add(output: str, rule: Rule, layers: set[int]) -> None:
        delta = outputs[output] if output else done.delta
        rules = [rule if layer in layers else right for layer in range(hidden)]
        for scale in (1,) if rule.linear else (1, case.rows):
            for index, leaf in enumerate(_leaves(done, _send_back(done, delta / scale, rules))):
                below = [layer for layer in layers if layer >= index // 2]
                if below or output:
                    text = _where(index // 2, below, output, rule.text)
                    tier.setdefault(index, []).append(Mistake(text, leaf * scale, signal=True))

    with np.errstate(all="ignore"):
        for output in outputs if combined else ("",):
            for rule in wrong:
                for layers in places:
                    add(output, rule, layers)
        for output in () if combined else outputs:
            add(output, right, set())
    return tier


def _where(layer: int, below: list[int], output: str, text: str) -> str:
    """Say where the error signal of a layer went wrong: there, or at layers it came through."""
    parts = [f"error signal of the output layer: {output}"] if output else []
    if layer in below:
        parts.append(f"error signal of hidden layer {layer + 1}: {text}")
    elif below:
        parts.append(f"follows from the error signal of hidden layer {min(below) + 1}: {text}")
    return "; ".join(parts)


def _weight_inputs(case: Case, activation: network.Activation) -> Tier:
    """Weight gradients formed with what a layer did not get as its input."""
    done = _forward_pass(case, activation)
    deltas = _send_back(done, done.delta, [_right(activation)] * (len(done.pre) - 1))
    return {
        2 * layer: [
            Mistake(
                "formed with the pre-activations of the layer before, not their activations",
                deltas[layer].T @ done.pre[layer - 1] / case.rows,
            )
        ]
        for layer in range(1, len(deltas))
    }


def _updated_weights(case: Case, activation: network.Activation) -> Tier:
    """Error signals sent back through weights that were already updated, layer by layer."""
    done = _forward_pass(case, activation)
    top = len(done.pre) - 2
    fits = all(a.shape == b.shape for a, b in zip(case.claimed, case.true, strict=True))
    if top < 0 or not fits:
        return {}
    moved = (done.delta @ case.claimed[-2]) * np.asarray(_slope(activation, done.pre[top]))
    moved = moved.T @ done.inputs[top] / case.rows
    rate = np.vdot(moved, case.true[2 * top] - case.claimed[2 * top]) / max(
        np.vdot(moved, moved), 1e-300
    )
    if not rate > 0:
        return {}
    weights = [w - rate * c for w, c in zip(done.weights, case.claimed[::2], strict=True)]
    deltas = _send_back(
        done._replace(weights=weights), done.delta, [_right(activation)] * (top + 1)
    )
    text = f"sent back through weights already updated, with learning rate {rate:.4g}"
    return {
        index: [
            Mistake(
                f"error signal of hidden layer {index // 2 + 1}: {text}",
                leaf,
                signal=True,
                fitted=index == 2 * top,
            )
        ]
        for index, leaf in enumerate(_leaves(done, deltas)[:-2])
    }


@functools.partial(jax.jit, static_argnums=0)
def _along(
    loss: losses.Loss, params: PyTree, batch: PyTree, direction: PyTree, claimed: PyTree
) -> tuple[Array, PyTree]:
    """Find how far along a direction the gradient is the claimed one, by Gauss-Newton."""
    target, _ = ravel_pytree(claimed)

    def gradient(rate: Array) -> Array:
        moved = jax.tree.map(lambda p, d: p + rate * d, params, direction)
        return ravel_pytree(jax.grad(loss)(moved, batch))[0]

    def newton(rate: Array, _: None) -> tuple[Array, None]:
        there, slope = jax.jvp(gradient, (rate,), (jnp.ones_like(rate),))
        step = jnp.vdot(slope, target - there) / jnp.maximum(jnp.vdot(slope, slope), 1e-300)
        return jnp.clip(rate + step, 0, 10), None

    def search(rate: Array) -> tuple[Array, Array]:
        rate, _ = jax.lax.scan(newton, rate, None, length=30)
        return rate, jnp.linalg.norm(target - gradient(rate))

    rates, errors = jax.vmap(search)(jnp.logspace(-4, 0, 9))
    best = rates[jnp.argmin(errors)]
    moved = jax.tree.map(lambda p, d: p + best * d, params, direction)
    return best, jax.grad(loss)(moved, batch)


def _elsewhere(case: Case) -> Tier:
    """The gradient at the parameters before or after a step of gradient descent."""
    tree = jax.tree.structure(case.params)
    pairs = list(zip(case.claimed, case.true, strict=True))
    if any(a.shape != b.shape for a, b in pairs) or sum(b.size for _, b in pairs) < 4:
        return {}
    claimed = jax.tree.unflatten(tree, case.claimed)
    before = "taken at stale parameters, one step of gradient descent earlier"
    after = "taken at parameters already updated by one step of gradient descent"
    tier: Tier = {index: [] for index in range(len(case.true))}
    for text, direction in (
        (before, claimed),
        (after, jax.tree.unflatten(tree, [-leaf for leaf in case.true])),
    ):
        rate, there = _along(case.loss, case.params, case.batch, direction, claimed)
        if rate > 0:
            named = f"{text} (learning rate {float(rate):.4g})"
            for index, leaf in enumerate(map(np.asarray, jax.tree.leaves(there))):
                # A gradient that only changed its length is no evidence of where it was taken.
                along = np.vdot(leaf, case.true[index])
                lengths = np.linalg.norm(leaf) * np.linalg.norm(case.true[index])
                if abs(along) < (1 - 1e-9) * lengths:
                    tier[index].append(Mistake(named, leaf))
    return tier

"""The mistakes people make when they derive gradients by hand, each as the gradient it gives.

A diagnosis is a comparison: every known mistake is carried out on the same parameters and batch,
and the one whose gradient is the claimed gradient, to rounding, is named. Tiers come simplest first
and are generated only while something stays unexplained.

Shapes: N examples, I inputs and O outputs of a layer; a leaf is one parameter's gradient. In a
network of ours leaf 2 k is that of layer k's weight, leaf 2 k + 1 that of its bias.
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

# Per-example gradients of more numbers than this are not formed.
_MOST = 2**24
_SOFTMAX = (
    optax.losses.softmax_cross_entropy,
    optax.losses.softmax_cross_entropy_with_integer_labels,
    optax.losses.safe_softmax_cross_entropy,
)
_SIGMOID = (optax.losses.sigmoid_binary_cross_entropy,)

Gradient = Float64[np.ndarray, "..."]


class Leaf(NamedTuple):
    """The gradient of one parameter, in float64.

    Attributes:
        name: of the parameter, its path in the pytree.
        claimed: the claimed gradient, of whatever shape.
        true: that by autodiff.
        rounding: the norm of the error that rounding may hide.
    """

    name: str
    claimed: Gradient
    true: Gradient
    rounding: float

    @property
    def error(self) -> float:
        """The norm of the difference; infinite where the shapes differ."""
        if self.claimed.shape != self.true.shape:
            return np.inf
        return float(np.linalg.norm(self.claimed - self.true))

    @property
    def resolution(self) -> float:
        """The smallest relative error that rounding would not hide."""
        norm = float(np.linalg.norm(self.true))
        return self.rounding / norm if norm else np.inf if self.rounding else 0.0


class Case(NamedTuple):
    """What is known of an audited gradient, all in float64.

    Attributes:
        loss: `(params, batch) -> []`.
        params: where the gradient is claimed.
        batch: N examples.
        leaves: the gradient, in the order of the pytree.
        rows: N.
        dtype: of the claim, the coarsest of its leaves.
    """

    loss: losses.Loss
    params: PyTree
    batch: PyTree
    leaves: list[Leaf]
    rows: int
    dtype: np.dtype

    @property
    def true(self) -> list[Gradient]:
        """The gradient by autodiff."""
        return [leaf.true for leaf in self.leaves]

    @property
    def claimed(self) -> list[Gradient]:
        """The claimed one."""
        return [leaf.claimed for leaf in self.leaves]

    @property
    def shapes_agree(self) -> bool:
        """Whether every claimed leaf has the shape of the true one."""
        return all(leaf.claimed.shape == leaf.true.shape for leaf in self.leaves)


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
    forward, keywords = inspect.unwrap(loss.forward), {}
    if isinstance(forward, functools.partial) and not forward.args:
        forward, keywords = forward.func, forward.keywords
    return keywords.get("activation", jax.nn.relu) if forward is network.forward else None


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
        each = _example_gradients(case.loss, case.params, case.batch)
    except Exception:  # a loss written for its own batch may fail in any way
        return []
    each = [np.asarray(leaf) for leaf in each]
    totals = [np.asarray(leaf.sum(0)) for leaf in each]
    adds_up = any(_close(totals, case.true, scale) for scale in (1.0, float(case.rows)))
    return each if adds_up else []


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
            Mistake(f"the gradient of {other.name} instead", other.true)
            for other in case.leaves
            if other is not leaf and other.true.shape == leaf.claimed.shape and other.true.size >= 2
        ]
        for index, leaf in enumerate(case.leaves)
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
            strength = _multiple(claimed - true, term)
            how = "missing or too weak" if strength < 0 else "counted twice or too strong"
            text = f"{name} regulariser {how} (by {abs(strength):.4g} times "
            text += "the parameter)" if name == "L2" else "its sign)"
            mistake = Mistake(text, true + strength * term, fitted=True)
            tier.setdefault(index, []).append(mistake)
    return tier


def _multiple(total: Gradient, term: Gradient) -> float:
    """Give how many times a term makes up a total best, by least squares."""
    return np.vdot(term, total) / max(np.vdot(term, term), 1e-300)


class _Pass(NamedTuple):
    """A forward pass: inputs `[N, I]`, pre-activations `[N, O]` and weights of every layer.

    `delta` is the error signal `[N, O]` of the output layer.
    """

    inputs: list[Gradient]
    pre: list[Gradient]
    weights: list[Gradient]
    delta: Gradient


class _Hidden(NamedTuple):
    """What a hidden layer's error signal is made of, all `[N, O]`.

    Attributes:
        back: the error signal of the layer after it, sent back through that layer's weight.
        transposed: the same through the transposed weight; nan where the weight is not square.
        z: the layer's pre-activations.
        h: its activations.
    """

    back: Gradient
    transposed: Gradient
    z: Gradient
    h: Gradient


class _SignalRule(NamedTuple):
    """How a hidden layer's error signal `[N, O]` is made.

    Attributes:
        text: the mistake in words; empty for the right rule.
        signal: gives it.
        linear: in the signal sent back, so that 1 / N may be applied before or after.
    """

    text: str
    signal: Callable[[_Hidden], Array | Gradient]
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


def _send_back(done: _Pass, delta: Gradient, rules: list[_SignalRule]) -> list[Gradient]:
    """Give the error signals `[N, O]` of all layers from that of the output layer."""
    deltas = [delta]
    for layer in range(len(rules) - 1, -1, -1):
        weight = done.weights[layer + 1]
        back = deltas[0] @ weight
        square = weight.shape[0] == weight.shape[1]
        transposed = deltas[0] @ weight.T if square else np.full_like(back, np.nan)
        hidden = _Hidden(back, transposed, done.pre[layer], done.inputs[layer + 1])
        deltas.insert(0, np.asarray(rules[layer].signal(hidden)))
    return deltas


def _leaves(done: _Pass, deltas: list[Gradient]) -> list[Gradient]:
    """Give the gradients of weights and biases that the error signals make, means over N."""
    grads = []
    for delta, inputs in zip(deltas, done.inputs, strict=True):
        grads += [delta.T @ inputs / len(delta), delta.mean(0)]
    return grads


_OTHERS = {"tanh": jnp.tanh, "sigmoid": jax.nn.sigmoid, "ReLU": jax.nn.relu}
# Derivatives as formulas in the activations, as they are taught.
_FORMULAS: dict[network.Activation, Callable[[Gradient], Gradient]] = {
    jnp.tanh: lambda h: 1 - h**2,
    jax.nn.tanh: lambda h: 1 - h**2,
    jax.nn.sigmoid: lambda h: h * (1 - h),
}


def _right(activation: network.Activation) -> _SignalRule:
    return _SignalRule("", lambda at: at.back * _slope(activation, at.z))


def _wrong(activation: network.Activation) -> list[_SignalRule]:
    slope = functools.partial(_slope, activation)
    point = "activation derivative at the wrong point: "
    quantity = "activation derivative taken of the wrong quantity: "
    instead = "replaced by the activation's derivative, "
    rules = [
        _SignalRule("activation derivative missing", lambda at: at.back),
        _SignalRule(
            f"{instead}taken of the back-propagated signal",
            lambda at: slope(at.back),
            linear=False,
        ),
        _SignalRule(
            f"{quantity}the back-propagated signal",
            lambda at: at.back * slope(at.back),
            linear=False,
        ),
        _SignalRule(
            f"{point}at the layer's activations, not its pre-activations",
            lambda at: at.back * slope(at.h),
        ),
        _SignalRule("activation in place of its derivative", lambda at: at.back * at.h),
        _SignalRule("activation derivative applied twice", lambda at: at.back * slope(at.z) ** 2),
        _SignalRule(
            f"{instead}the back-propagated signal left out", lambda at: slope(at.z), linear=False
        ),
        _SignalRule(
            "sent back through the transposed weight", lambda at: at.transposed * slope(at.z)
        ),
    ]
    for name, phi in _OTHERS.items():
        if phi is not activation:
            text = f"{quantity}{name} in place of the layer's own activation"
            other = functools.partial(_slope, phi)
            rules.append(_SignalRule(text, lambda at, other=other: at.back * other(at.z)))
    if activation is not jax.nn.sigmoid:
        text = f"{quantity}the sigmoid's formula h (1 - h) of another activation"
        rules.append(_SignalRule(text, lambda at: at.back * at.h * (1 - at.h)))
    formula = _FORMULAS.get(activation)
    if formula:
        text = f"{point}its formula in the activations, applied to the pre-activations"
        rules.append(_SignalRule(text, lambda at: at.back * formula(at.z)))
    return rules


def _wrong_outputs(case: Case, done: _Pass, activation: network.Activation) -> dict[str, Gradient]:
    """Give the wrong error signals of the output layer by name."""
    text = "the hidden activation's derivative applied at the linear output"
    return _mixed_up(case, done) | {text: done.delta * np.asarray(_slope(activation, done.pre[-1]))}


def _mixed_up(case: Case, done: _Pass) -> dict[str, Gradient]:
    """Give what comes of a softmax or a sigmoid mixed up with its cross-entropy, by name."""
    example_loss = getattr(case.loss, "example_loss", None)
    if example_loss not in _SOFTMAX + _SIGMOID:
        return {}
    softmax = example_loss in _SOFTMAX
    name = "softmax" if softmax else "sigmoid"
    z, delta, y = done.pre[-1], done.delta, np.asarray(case.batch[1])
    p = np.asarray(jax.jit(jax.nn.softmax if softmax else jax.nn.sigmoid)(z))
    y = y if y.shape == p.shape else np.eye(p.shape[-1])[y]
    scale = 1 if softmax else 1 / p.shape[-1]
    wrong = {
        "p - y multiplied by p (1 - p)": delta * p * (1 - p),
        f"the {name} left out, outputs - y": (z - y) * scale,
        f"the {name} derivative left out": (
            -y / p if softmax else scale * ((1 - y) / (1 - p) - y / p)
        ),
        "the targets left out, p alone": p * scale,
    }
    if softmax:
        again = p * (delta - (p * delta).sum(-1, keepdims=True))
        wrong["the softmax derivative applied on top of p - y"] = again
    return {f"{name} and cross-entropy mixed up: {text}": signal for text, signal in wrong.items()}


class _Plan(NamedTuple):
    """Error signals to be made wrong: that of the output layer, and some hidden ones by a rule.

    Attributes:
        output: what is wrong with that of the output layer, in words; empty where it is right.
        delta: that signal.
        rule: of the hidden layers that are wrong.
        layers: these layers.
    """

    output: str
    delta: Gradient
    rule: _SignalRule
    layers: set[int]

    def text(self, layer: int) -> str:
        """Say where the signal of a layer went wrong: there, or at layers it came through."""
        parts = [f"error signal of the output layer: {self.output}"] if self.output else []
        above = [each for each in self.layers if each >= layer]
        if layer in above:
            parts.append(f"error signal of hidden layer {layer + 1}: {self.rule.text}")
        elif above:
            source = f"the error signal of hidden layer {min(above) + 1}"
            parts.append(f"follows from {source}: {self.rule.text}")
        return "; ".join(parts)


def _signals(case: Case, activation: network.Activation, combined: bool) -> Tier:
    """Error signals gone wrong at the output, in one hidden layer or in all: alone or combined."""
    done, right = _forward_pass(case, activation), _right(activation)
    tier: Tier = {}
    with np.errstate(all="ignore"):
        for plan in _plans(case, done, activation, combined):
            layers = range(len(done.pre) - 1)
            rules = [plan.rule if layer in plan.layers else right for layer in layers]
            for scale in (1,) if plan.rule.linear else (1, case.rows):
                deltas = _send_back(done, plan.delta / scale, rules)
                for index, leaf in enumerate(_leaves(done, deltas)):
                    if text := plan.text(index // 2):
                        mistake = Mistake(text, leaf * scale, signal=True)
                        tier.setdefault(index, []).append(mistake)
    return tier


def _plans(
    case: Case, done: _Pass, activation: network.Activation, combined: bool
) -> Iterator[_Plan]:
    """Give every mistake in hidden layers and at the output, each alone; or all their pairs."""
    outputs, rules = _wrong_outputs(case, done, activation), _wrong(activation)
    hidden = range(len(done.pre) - 1)
    places = [{layer} for layer in hidden] + [set(hidden)] * (len(hidden) > 1)
    for output, delta in outputs.items() if combined else [("", done.delta)]:
        for rule in rules:
            for layers in places:
                yield _Plan(output, delta, rule, layers)
    if not combined:
        for output, delta in outputs.items():
            yield _Plan(output, delta, _right(activation), set())


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
    if top < 0 or not case.shapes_agree:
        return {}
    moved = (done.delta @ case.claimed[-2]) * np.asarray(_slope(activation, done.pre[top]))
    moved = moved.T @ done.inputs[top] / case.rows
    rate = _multiple(case.true[2 * top] - case.claimed[2 * top], moved)
    if not rate > 0:
        return {}
    weights = [w - rate * c for w, c in zip(done.weights, case.claimed[::2], strict=True)]
    updated, rules = done._replace(weights=weights), [_right(activation)] * (top + 1)
    leaves = _leaves(done, _send_back(updated, done.delta, rules))[:-2]
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
        for index, leaf in enumerate(leaves)
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
    if not case.shapes_agree or sum(true.size for true in case.true) < 4:
        return {}
    tree = jax.tree.structure(case.params)
    claimed = jax.tree.unflatten(tree, case.claimed)
    directions = {
        "taken at stale parameters, one step of gradient descent earlier": claimed,
        "taken at parameters already updated by one step of gradient descent": jax.tree.unflatten(
            tree, [-true for true in case.true]
        ),
    }
    tier: Tier = {index: [] for index in range(len(case.leaves))}
    for text, direction in directions.items():
        rate, there = _along(case.loss, case.params, case.batch, direction, claimed)
        if rate > 0:
            named = f"{text} (learning rate {float(rate):.4g})"
            for index, leaf in enumerate(map(np.asarray, jax.tree.leaves(there))):
                # A gradient that only changed its length is no evidence of where it was taken.
                if not _parallel(leaf, case.true[index]):
                    tier[index].append(Mistake(named, leaf))
    return tier


def _parallel(these: Gradient, those: Gradient) -> bool:
    lengths = np.linalg.norm(these) * np.linalg.norm(those)
    return not abs(np.vdot(these, those)) < (1 - 1e-9) * lengths

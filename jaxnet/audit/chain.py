"""A loss seen as a chain of fully connected layers, and the error signals sent back through it.

Shapes: N examples, I inputs and O outputs of a layer.
"""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxnet import losses, network
from jaxnet.audit.case import Case, Gradient


class Dense(NamedTuple):
    """One layer, `h = activation(z)` of `z = x @ weight.T + bias`, as it was computed.

    Attributes:
        weight: shape [O, I]. bias: shape [O]; None where there is none.
        activation: of arrays of any shape, element by element; of the last layer none is known.
        x: shape [N, I]. z, h: shape [N, O].
        weight_leaf, bias_leaf: where they are among the leaves of params.
        transposed: whether the leaf holds the weight as [I, O].
    """

    weight: Gradient
    bias: Gradient | None
    activation: network.Activation
    x: Gradient
    z: Gradient
    h: Gradient
    weight_leaf: int
    bias_leaf: int | None
    transposed: bool = False

    @property
    def slope(self) -> Gradient:
        """The derivative of the activation at z, [N, O]."""
        return slope_of(self.activation, self.z)


class Chain(NamedTuple):
    """What a loss computes, where it is a chain of fully connected layers.

    Attributes:
        layers: from the input on.
        delta: shape [N, O], the gradient of the whole loss in the last layer's z.
        scale: what the loss multiplies each example's part by, such as 1 / N.
        rest: by leaf, the part of the true gradient that does not come through the chain.
        names: of all leaves of params, their paths in the pytree.
    """

    layers: tuple[Dense, ...]
    delta: Gradient
    scale: float
    rest: Mapping[int, Gradient]
    names: tuple[str, ...]

    def leaf(self, index: int) -> int:
        """Give the layer that a leaf is of."""
        (layer,) = (
            k for k, each in enumerate(self.layers) if index in (each.weight_leaf, each.bias_leaf)
        )
        return layer

    def leaves(self, deltas: Sequence[Gradient]) -> dict[int, Gradient]:
        """Give the gradients that the error signals of all layers make, by leaf."""
        grads = {}
        for layer, delta in zip(self.layers, deltas, strict=True):
            grads[layer.weight_leaf] = self.weight_gradient(layer, delta, layer.x)
            if layer.bias_leaf is not None:
                grads[layer.bias_leaf] = delta.sum(0) + self.rest.get(layer.bias_leaf, 0.0)
        return grads

    def weight_gradient(self, layer: Dense, delta: Gradient, x: Gradient) -> Gradient:
        """Give the gradient of a layer's weight, in its leaf's shape, of a signal and inputs."""
        gradient = delta.T @ x
        rest = self.rest.get(layer.weight_leaf, 0.0)
        return (gradient.T if layer.transposed else gradient) + rest


@functools.partial(jax.jit, static_argnums=0)
def _slope(activation: network.Activation, z: Array) -> Array:
    return jax.vjp(activation, z)[1](jnp.ones_like(z))[0]


def slope_of(activation: network.Activation, z: Gradient) -> Gradient:
    """Give the derivative of an activation, element by element."""
    return np.asarray(_slope(activation, jnp.asarray(z)))


def of_case(case: Case) -> Chain | None:
    """Find the chain that the loss of a case is; None where it is none."""
    loss = inspect.unwrap(case.loss)
    activation = _activation_of(loss)
    if activation is None:
        return None
    x, y = case.batch
    layers, tree = [], iter(range(len(case.leaves)))
    for layer in case.params:
        weight, bias = np.asarray(layer.weight), np.asarray(layer.bias)
        x = np.asarray(x)
        z = x @ weight.T + bias
        h = np.asarray(activation(jnp.asarray(z)))
        layers.append(Dense(weight, bias, activation, x, z, h, next(tree), next(tree)))
        x = h
    delta = np.asarray(_output_signal(loss, layers[-1].z, y)) / case.rows
    names = tuple(leaf.name for leaf in case.leaves)
    return Chain(tuple(layers), delta, 1 / case.rows, {}, names)


def _activation_of(loss: Any) -> network.Activation | None:
    """Give the hidden activation where the loss is of a network of ours, None elsewhere."""
    if not isinstance(loss, losses.BatchLoss):
        return None
    forward, keywords = inspect.unwrap(loss.forward), {}
    if isinstance(forward, functools.partial) and not forward.args:
        forward, keywords = forward.func, forward.keywords
    return keywords.get("activation", jax.nn.relu) if forward is network.forward else None


@functools.partial(jax.jit, static_argnums=0)
def _output_signal(loss: losses.BatchLoss, logits: Array, y: Array) -> Array:
    def example(z: Array, y: Array) -> Array:
        return jnp.mean(loss.example_loss(z, y))

    return jax.vmap(jax.grad(example))(logits, y)


def averaged_outputs(case: Case) -> int:
    """Count the outputs a loss of ours takes the mean over; 1 elsewhere."""
    loss = inspect.unwrap(case.loss)
    if not _activation_of(loss):
        return 1
    x, y = (jax.tree.map(lambda leaf: leaf[0], part) for part in case.batch)
    return int(np.prod(jax.eval_shape(loss.example, case.params, x, y).shape))


class Hidden(NamedTuple):
    """What a hidden layer's error signal is made of.

    Attributes:
        back: shape [N, O], the error signal of the layer after it, sent back through its weight.
        transposed: the same through the transposed weight; nan where the weight is not square.
        layer: which, from the input on. chain: that it is in.
    """

    back: Gradient
    transposed: Gradient
    layer: int
    chain: Chain

    @property
    def here(self) -> Dense:
        """The layer itself."""
        return self.chain.layers[self.layer]


class SignalRule(NamedTuple):
    """How a hidden layer's error signal `[N, O]` is made.

    Attributes:
        text: the mistake in words; empty for the right rule.
        signal: gives it.
        linear: in the signal sent back, so that the loss's scale may be applied before or after.
    """

    text: str
    signal: Callable[[Hidden], Gradient]
    linear: bool = True


RIGHT = SignalRule("", lambda at: at.back * at.here.slope)


def send_back(chain: Chain, delta: Gradient, rules: Sequence[SignalRule]) -> list[Gradient]:
    """Give the error signals `[N, O]` of all layers from that of the output layer.

    Args:
        chain: that they go through. delta: of the output layer. rules: of each hidden layer.
    """
    deltas = [delta]
    for layer in range(len(rules) - 1, -1, -1):
        weight = chain.layers[layer + 1].weight
        back = deltas[0] @ weight
        square = weight.shape[0] == weight.shape[1]
        transposed = deltas[0] @ weight.T if square else np.full_like(back, np.nan)
        deltas.insert(0, np.asarray(rules[layer].signal(Hidden(back, transposed, layer, chain))))
    return deltas

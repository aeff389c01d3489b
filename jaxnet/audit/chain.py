"""A loss seen as a chain of fully connected layers, and the error signals sent back through it.

Shapes: N examples, I inputs and O outputs of a layer.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from jaxnet import network
from jaxnet.audit.floats import Gradient
from jaxnet.audit.uncompiled import uncompiled


class Dense(NamedTuple):
    """One layer, `h = activation(z) * mask` of `z = x @ weight.T + bias`, as it was computed.

    Attributes:
        weight: shape [O, I]. bias: shape [O]; None where there is none.
        activation: of arrays of any shape, element by element; that of the last layer is the
            one before it, where there is one: what follows it is its `Output`.
        x: shape [N, I]. z, h: shape [N, O].
        weight_leaf, bias_leaf: where they are among the leaves of params.
        transposed: whether the leaf holds the weight as [I, O].
        mask: shape [N, O], that of dropout, what h is times; None where there is none.
        columns: of the weight that take what the layer before gives; the others take constants,
            such as a 1 where the bias is one of them.
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
    mask: Gradient | None = None
    columns: Int[np.ndarray, "H"] | slice = slice(None)

    @property
    def back(self) -> Gradient:
        """What a signal is sent back through, [O, H]: the weight without columns of constants."""
        return self.weight[:, self.columns]

    def filled(self, x: Gradient) -> Gradient:
        """Give inputs of another kind, [N, I], with the constants that the layer's own have."""
        if x.shape[1] != self.back.shape[1]:
            return x
        inputs = self.x.copy()
        inputs[:, self.columns] = x
        return inputs

    @property
    def slope(self) -> Gradient:
        """The derivative of h in z, [N, O]."""
        slope = slope_of(self.activation, self.z)
        return slope if self.mask is None else slope * self.mask


class Output(NamedTuple):
    """What a loss does with the last layer's z: `p = g(z)`, and a loss of p and the targets.

    The textbook error signals in z, `p - y` of the two cross-entropies and `(p - y) g'(z)` of
    the squared error, times the scale are the chain's delta.

    Attributes:
        activation: g by name, such as "softmax". loss: of p, by name.
        y: the targets, [N, O], labels as one-hot, those of -1 and 1 as 0 and 1. p: [N, O].
        scale: of the signals, such as 2 / (N O) for a mean of squares.
    """

    activation: str
    loss: Literal[
        "cross-entropy",
        "binary cross-entropy",
        "squared error",
        "absolute error",
        "Huber loss",
        "log-cosh",
        "hinge loss",
        "multiclass hinge loss",
    ]
    y: Gradient
    p: Gradient
    scale: float


class Chain(NamedTuple):
    """What a loss computes, where it is a chain of fully connected layers.

    Attributes:
        layers: from the input on.
        delta: shape [N, O], the gradient of the whole loss in the last layer's z.
        scale: what the loss multiplies each example's part by, such as 1 / N.
        rest: by leaf, the part of the true gradient that does not come through the chain.
        names: of all leaves of params, their paths in the pytree.
        shapes: of all leaves of params, such as [O, 1] of a bias.
        axes: which axis of each leaf of the batch holds the examples; None where none does.
        output: what follows the last layer, where it is known.
        raw: the first layer's inputs, [N, I], as the batch has them; None where they are these.
    """

    layers: tuple[Dense, ...]
    delta: Gradient
    scale: float
    rest: Mapping[int, Gradient]
    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    axes: tuple[int | None, ...]
    output: Output | None = None
    raw: Gradient | None = None

    @property
    def rows(self) -> int:
        """N, how many examples there are."""
        return len(self.delta)

    @property
    def owners(self) -> dict[int, int]:
        """By leaf, the layer that it is of; leaves of no layer are left out."""
        return {
            leaf: k
            for k, layer in enumerate(self.layers)
            for leaf in (layer.weight_leaf, layer.bias_leaf)
            if leaf is not None
        }

    @property
    def signals(self) -> list[Gradient]:
        """The error signals `[N, O]` of all layers, sent back as they should be."""
        signals = [self.delta]
        for layer, after in zip(self.layers[-2::-1], self.layers[:0:-1], strict=True):
            signals.insert(0, signals[0] @ after.back * layer.slope)
        return signals

    def leaf(self, index: int) -> int:
        """Give the layer that a leaf is of."""
        return self.owners[index]

    def leaves(self, deltas: Sequence[Gradient]) -> dict[int, Gradient]:
        """Give the gradients that the error signals of all layers make, by leaf."""
        grads = {}
        for layer, delta in zip(self.layers, deltas, strict=True):
            grads[layer.weight_leaf] = self.weight_gradient(layer, delta, layer.x)
            if layer.bias_leaf is not None:
                grads[layer.bias_leaf] = self.finish(layer.bias_leaf, delta.sum(0))
        return grads

    def weight_gradient(self, layer: Dense, delta: Gradient, x: Gradient) -> Gradient:
        """Give the gradient of a layer's weight, in its leaf's shape, of a signal and inputs."""
        gradient = delta.T @ x
        return self.finish(layer.weight_leaf, gradient.T if layer.transposed else gradient)

    def finish(self, leaf: int, gradient: Gradient) -> Gradient:
        """Give a leaf's gradient, in its shape, of the part of it that comes through the chain."""
        return np.asarray(gradient.reshape(self.shapes[leaf]) + self.rest.get(leaf, 0.0))

    def upright(self, layer: Dense, gradient: Gradient) -> Gradient:
        """Give a gradient of a layer's weight as [O, I]."""
        shape = layer.weight.shape
        return gradient.reshape(shape[::-1]).T if layer.transposed else gradient.reshape(shape)


@uncompiled(0)
def applied(activation: network.Activation, z: Array) -> Array:
    """Give an activation of an array."""
    return activation(z)


@uncompiled(0)
def _slope(activation: network.Activation, z: Array) -> Array:
    return jax.vjp(activation, z)[1](jnp.ones_like(z))[0]


def slope_of(activation: network.Activation, z: Gradient) -> Gradient:
    """Give the derivative of an activation, element by element."""
    return _slope(activation, z)

"""What turns one layer's pre-activations into the next one's inputs, read off a program.

Shapes: N examples, O outputs of a layer.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree

from jaxnet import network
from jaxnet.audit.chain import applied
from jaxnet.audit.floats import Gradient
from jaxnet.audit.programs import Program, run
from jaxnet.audit.uncompiled import uncompiled

Places = Int[np.ndarray, "..."]
"""Where entries are in a flattened array, in the order in which the field writes them."""


class Between(NamedTuple):
    """What turns one layer's pre-activations into the next one's inputs.

    Attributes:
        activation: element by element. mask: shape [N, O], what it is times; None for ones.
        columns: where its outputs are among the next layer's inputs, of which others are constants.
    """

    activation: network.Activation
    mask: Gradient | None = None
    columns: Places | slice = slice(None)


def identity(z: Array) -> Array:
    """Be the activation of a layer that has none."""
    return z


def _maximum(z: Array) -> Array:
    """ReLU, its derivative at zero one half."""
    return jnp.maximum(z, 0.0)


_KNOWN: tuple[network.Activation, ...] = (
    identity,
    jnp.tanh,
    jax.nn.relu,
    _maximum,
    jax.nn.sigmoid,
    jax.nn.softplus,
    jax.nn.gelu,
    functools.partial(jax.nn.gelu, approximate=False),
    jax.nn.silu,
    jax.nn.elu,
    jax.nn.leaky_relu,
    jax.nn.selu,
    jax.nn.soft_sign,
    jnp.sin,
    jnp.square,
)
# Points at which activations are compared; zero is one of them, where some have a kink.
_POINTS = np.linspace(-6, 6, 49)


@dataclasses.dataclass(frozen=True, eq=False)
class _Elementwise:
    """A function written for arrays of one shape, that works element by element: of any shape."""

    function: Callable[[Array], Array]
    shape: tuple[int, ...]

    def __call__(self, array: Array) -> Array:
        """Give the function of an array, element by element."""
        size = int(np.prod(self.shape))
        count = -(-array.size // size)
        whole = jnp.resize(array, (count, *self.shape))
        return jax.vmap(self.function)(whole).ravel()[: array.size].reshape(array.shape)


def between(
    program: Program, batch: PyTree, z: tuple[int, Places], x: tuple[int, Places]
) -> Between | None:
    """Give what is between two layers; None where it is no function of each entry alone.

    Args:
        program, batch: of the loss.
        z: the value that holds the one's pre-activations [N, O], and where in it.
        x: the same of the other's inputs.
    """
    steps, beside = program.between(z[0], x[0])
    shape = z[1].shape
    known = program.constants | dict(zip(program.batch, jax.tree.leaves(batch), strict=True))
    if beside - known.keys() or len(x[1]) != shape[0]:
        return None
    # What the next layer takes may be of the batch alone.
    apart = x[0] != z[0] and not any(z[0] in step.inputs for step in steps)
    if apart or any(step.name.startswith("reduce_") for step in steps):
        return None
    back = np.argsort(z[1], axis=None)

    def inputs(array: Array) -> Array:
        given = _arranged(array, back).reshape(program.shapes[z[0]])
        results = run(steps, known | {z[0]: given})
        return _arranged(results[x[0]], x[1])

    columns = _moving(inputs, shape) if x[1].shape != shape else slice(None)
    if columns is None:
        return None

    def function(array: Array) -> Array:
        return inputs(array)[:, columns]

    own = _Elementwise(function, shape)
    if not beside - program.constants.keys() and (activation := _known(own)):
        return Between(activation, None, columns)
    if beside and (masked := _masked(function, shape)):
        return masked._replace(columns=columns)
    # Its entries one place further on, among others: what works on each alone gives the same.
    values, shifted = (applied(own, np.roll(_POINTS, k)) for k in (0, 1))
    alone = np.allclose(shifted, np.roll(values, 1), rtol=1e-9, atol=1e-12)
    return Between(own, None, columns) if alone else None


def _moving(inputs: Callable[[Array], Array], shape: tuple[int, ...]) -> Places | None:
    """Give the inputs of a layer that are not constants, where they are as many as the outputs."""
    values = np.stack([applied(inputs, np.full(shape, point)) for point in _POINTS[::6]])
    columns = np.flatnonzero((values != values[0]).any((0, 1)))
    return columns if len(columns) == shape[1] else None


def _known(activation: network.Activation) -> network.Activation | None:
    """Give the activation of a name that one is."""
    values, slope = _sampled(activation, _POINTS)
    for known, (others, other_slope) in _samples():
        if np.allclose(values, others, rtol=1e-9, atol=1e-12) and np.isclose(slope, other_slope):
            return known
    return None


def _masked(function: Callable[[Array], Array], shape: tuple[int, ...]) -> Between | None:
    """See a function of arrays as an activation of a name times a mask, as of dropout."""
    values = np.stack([applied(function, np.full(shape, point)) for point in _POINTS])
    for known, (others, _) in _samples():
        mask = np.tensordot(others, values, 1) / (others @ others)
        if np.allclose(values, others[:, None, None] * mask, rtol=1e-9, atol=1e-12):
            is_mask = len(np.unique(np.round(mask, 9))) == 2 and np.isclose(mask, 0).any()
            return Between(known, mask) if is_mask else None
    return None


def _arranged(array: Array, places: Places) -> Array:
    """Take entries of a flattened array, all of them once."""
    # Most are in order already, and to gather them takes long.
    if np.array_equal(places.ravel(), np.arange(places.size)):
        return array.reshape(places.shape)
    return jnp.ravel(array)[places]


@uncompiled(0)
def _sampled(activation: network.Activation, points: Array) -> tuple[Array, Array]:
    """Give the values of an activation at points, and its slope at zero."""
    slope = jax.vjp(activation, jnp.zeros(1))[1](jnp.ones(1))[0]
    return activation(points), slope[0]


@functools.cache
def _samples() -> list[tuple[network.Activation, tuple[Gradient, Gradient]]]:
    return [(known, _sampled(known, _POINTS)) for known in _KNOWN]

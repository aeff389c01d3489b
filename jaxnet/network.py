"""Fully connected networks, written for one example at a time.

Shapes: I inputs and O outputs of a layer.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxnet._guards import checks

Activation = Callable[[Array], Array]
Initializer = Callable[[Array, tuple[int, ...], jax.typing.DTypeLike], Array]
_HE_UNIFORM: Initializer = jax.nn.initializers.he_uniform()


class Layer(NamedTuple):
    """One affine layer, `weight @ x + bias`."""

    weight: Float[Array, "O I"]
    bias: Float[Array, " O"]


Params = Sequence[Layer]


def init(
    key: Key[Array, ""],
    sizes: Sequence[int],
    initializer: Initializer = _HE_UNIFORM,
    dtype: jax.typing.DTypeLike | None = None,
) -> tuple[Layer, ...]:
    """Draw the parameters of a network of the given layer sizes, biases zero.

    Args:
        key: a `jax.random.key`; each layer draws from a key of its own.
        sizes: inputs, hidden layers, outputs, such as `[3, 4, 4]`.
        initializer: any of `jax.nn.initializers`; it sees the shape `[I, O]` it is written for.
        dtype: of the parameters; JAX's default float where None.

    Raises:
        InputError: no key; fewer than two sizes, or one that is no whole number of at least one.
    """
    checks.key(key)
    checks.layers(sizes)
    return _draw(key, tuple(sizes), initializer, dtype or jnp.result_type(float))


# One program: drawn one operation at a time, each shape of layer would compile by itself.
@functools.partial(jax.jit, static_argnames=("sizes", "initializer", "dtype"))
def _draw(
    key: Array, sizes: tuple[int, ...], initializer: Initializer, dtype: jax.typing.DTypeLike
) -> tuple[Layer, ...]:
    keys = jax.random.split(key, len(sizes) - 1)
    return tuple(
        Layer(initializer(k, (inputs, outputs), dtype).T, jnp.zeros(outputs, dtype))
        for k, inputs, outputs in zip(keys, sizes[:-1], sizes[1:], strict=True)
    )


def forward(
    params: Params, x: Float[Array, " I"], activation: Activation = jax.nn.relu
) -> Float[Array, " O"]:
    """Give the outputs of one example: `activation` after each hidden layer, none after the last.

    Raises:
        InputError: shapes that do not chain from `x` through every layer.
    """
    checks.chain(params, x)
    *hidden, output = params
    for weight, bias in hidden:
        x = activation(weight @ x + bias)
    weight, bias = output
    return weight @ x + bias

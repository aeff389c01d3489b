"""Fully connected networks, written for one example at a time.

Shapes: I inputs and O outputs of a layer.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxnet import devices
from jaxnet.errors import InputError

Activation = Callable[[Array], Array]
Initializer = Callable[[Array, tuple[int, ...], Any], Array]


class Layer(NamedTuple):
    """One affine layer, `weight @ x + bias`."""

    weight: Float[Array, "O I"]
    bias: Float[Array, " O"]


Params = Sequence[Layer]


def init(
    key: Key[Array, ""],
    sizes: Sequence[int],
    initializer: Initializer = jax.nn.initializers.he_uniform(),  # noqa: B008 (stateless)
    dtype: Any = None,
) -> tuple[Layer, ...]:
    """Draw the parameters of a network of the given layer sizes, biases zero.

    Args:
        key: a `jax.random.key`; each layer draws from a key of its own.
        sizes: inputs, hidden layers, outputs, such as `[3, 4, 4]`.
        initializer: any of `jax.nn.initializers`; it sees the shape `[I, O]` it is written for.
        dtype: of the parameters; JAX's default float where None.

    Raises:
        InputError: fewer than two sizes, or a size that is not a whole number of at least one.
    """
    whole = isinstance(sizes, Sequence) and all(isinstance(size, int) for size in sizes)
    if not whole or len(sizes) < 2 or min(sizes) < 1:
        raise InputError(
            "sizes: wanted the inputs, any hidden layers and the outputs, each at least 1, "
            f"such as [3, 4, 4]; got {sizes}"
        )
    dtype = dtype or jnp.zeros(()).dtype
    # Alone, where a program may have options, it compiles in a quarter of the time.
    inside = isinstance(jax.random.key_data(key), jax.core.Tracer)
    return (_draw if inside else _draw_once())(key, tuple(sizes), initializer, dtype)


_STATIC = ("sizes", "initializer", "dtype")


@functools.cache
def _draw_once() -> Callable[..., tuple[Layer, ...]]:
    return devices.program(_draw, *_STATIC, xla_backend_optimization_level=0)


# One program: drawn one operation at a time, each shape of layer would compile by itself.
@functools.partial(jax.jit, static_argnames=_STATIC)
def _draw(
    key: Array, sizes: tuple[int, ...], initializer: Initializer, dtype: Any
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
    _check_shapes(params, x)
    *hidden, output = params
    for weight, bias in hidden:
        x = activation(weight @ x + bias)
    weight, bias = output
    return weight @ x + bias


def _check_shapes(params: Params, x: Array) -> None:
    """Refuse what `weight @ x + bias` would broadcast, contract or batch by accident."""
    if not params:
        raise InputError("params: wanted at least one Layer; got none")
    inputs = jnp.shape(x)
    if len(inputs) != 1:
        raise InputError(
            f"x: wanted one example of shape [{jnp.shape(params[0].weight)[-1]}]; got shape "
            f"{list(inputs)}; lift over a batch with jax.vmap or losses.BatchLoss"
        )
    for index, (weight, bias) in enumerate(params):
        outputs = jnp.shape(weight)[:1]
        if jnp.shape(weight) != outputs + inputs or jnp.shape(bias) != outputs:
            raise InputError(
                f"params[{index}]: wanted weight [O, {inputs[0]}] and bias [O] to follow "
                f"{inputs[0]} inputs; got weight {list(jnp.shape(weight))} and bias "
                f"{list(jnp.shape(bias))}"
            )
        inputs = outputs

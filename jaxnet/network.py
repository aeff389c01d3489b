"""Fully connected networks, written for one example at a time.

Shapes: I inputs and O outputs of a layer.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxnet._guards import checks

Activation = Callable[[Array], Array]
Initializer = Callable[[Array, tuple[int, ...], jax.typing.DTypeLike], Array]
_HE_UNIFORM: Initializer = jax.nn.initializers.he_uniform()


class Layer(NamedTuple):
    """One affine layer, `weight @ x + bias`, or `weight @ x` where the bias is None."""

    weight: Float[Array, "O I"]
    # None as well, which whoever drew biases need not rule out.
    bias: Float[Array, " O"] | Any = None


Params = Sequence[Layer]


def init(
    key: Key[Array, ""],
    sizes: Sequence[int],
    initializer: Initializer = _HE_UNIFORM,
    dtype: jax.typing.DTypeLike | None = None,
    bias: Initializer | None = jax.nn.initializers.zeros,
) -> tuple[Layer, ...]:
    """Draw the parameters of a network of the given layer sizes.

    Args:
        key: a `jax.random.key`; each layer draws from a key of its own.
        sizes: inputs, hidden layers, outputs, such as `[3, 4, 4]`.
        initializer: any of `jax.nn.initializers`; it sees the shape `[I, O]` it is written for.
        dtype: of the parameters; JAX's default float where None.
        bias: such an initializer of the shape `[O]`, or None for layers without biases.

    Raises:
        InputError: no key; fewer than two sizes, or one that is no whole number of at least one;
            no function for an initializer.
    """
    checks.key(key)
    checks.layers(sizes, initializer, bias)
    return _draw(key, tuple(sizes), initializer, bias, dtype or jnp.result_type(float))


# One program: drawn one operation at a time, each shape of layer would compile by itself.
@functools.partial(jax.jit, static_argnums=(1, 2, 3, 4))
def _draw(key: Array, sizes: Any, weight: Any, bias: Any, dtype: Any) -> tuple[Layer, ...]:
    def layer(key: Array, i: int, o: int) -> Layer:
        own = jax.random.fold_in(key, 1)
        return Layer(weight(key, (i, o), dtype).T, bias and bias(own, (o,), dtype))

    return tuple(map(layer, jax.random.split(key, len(sizes) - 1), sizes[:-1], sizes[1:]))


def forward(
    params: Params,
    x: Float[Array, " I"],
    activation: Activation | Sequence[Activation] = jax.nn.relu,
    output_activation: Activation | None = None,
) -> Float[Array, " O"]:
    """Give the outputs of one example.

    Args:
        params: the layers. x: the example.
        activation: after each hidden layer, or a sequence of one for each of them.
        output_activation: after the last layer; none unless told otherwise.

    Raises:
        InputError: shapes that do not chain from `x` through every layer; activations that are no
            functions, or not one for each hidden layer.
    """
    checks.chain(params, x)
    activations = checks.activations(activation, output_activation, len(params) - 1)
    for (weight, bias), activate in zip(params, activations, strict=True):
        x = activate(weight @ x if bias is None else weight @ x + bias)
    return x

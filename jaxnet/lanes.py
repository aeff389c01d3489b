"""`jax.vmap` over the last axis: what is mapped stays last in every array on the way.

`jax.vmap` brings it to the front wherever shapes change, so that networks of a few numbers are
computed one by one. With the mapped axis last each operation is one over neighbours in memory, as
a processor's vector instructions want it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from jaxnet import jaxprs


class _Value(NamedTuple):
    """An array, and whether it has the mapped axis."""

    array: Any
    is_mapped: bool


def vmap(function: Callable[..., Any]) -> Callable[..., Any]:
    """Map a function of pytrees over the last axis of each of their leaves; results have it last.

    What the function closes over is shared.
    """

    def mapped(*arguments: PyTree) -> PyTree:
        leaves, tree = jax.tree.flatten(arguments)
        (size,) = {leaf.shape[-1] for leaf in leaves}
        one = [jax.ShapeDtypeStruct(leaf.shape[:-1], leaf.dtype) for leaf in leaves]

        # A function of its own, or JAX would give the jaxpr of an earlier closure.
        def flat(*leaves: Any) -> Any:
            return function(*jax.tree.unflatten(tree, leaves))

        closed, shape = jax.make_jaxpr(flat, return_shape=True)(*one)
        given = [_shared(each) for each in closed.consts] + [_Value(leaf, True) for leaf in leaves]
        found = jaxprs.evaluate(closed.jaxpr, given, _shared, _apply)
        shapes = [each.shape for each in closed.out_avals]
        results = [_over(*each, size) for each in zip(found, shapes, strict=True)]
        return jax.tree.unflatten(jax.tree.structure(shape), results)

    return mapped


def _shared(array: Any) -> _Value:
    return _Value(array, False)


def _over(value: _Value, shape: tuple[int, ...], size: int) -> Any:
    """Give the array of a shape, the mapped axis behind it."""
    array = value.array if value.is_mapped else jnp.expand_dims(value.array, -1)
    return jnp.broadcast_to(array, (*shape, size))


def _apply(equation: Any, given: list[_Value]) -> list[_Value]:
    sizes = {value.array.shape[-1] for value in given if value.is_mapped}
    if not sizes:
        return [_shared(found) for found in jaxprs.bind(equation, [each.array for each in given])]
    (size,), name, parameters = sizes, equation.primitive.name, equation.params
    first, shape = given[0].array, next((each.aval.shape for each in equation.outvars), ())
    if name in jaxprs.ELEMENTWISE:
        found = jaxprs.bind(equation, [_over(value, shape, size) for value in given])
    elif name in jaxprs.REDUCTIONS:
        found = jaxprs.bind(equation, [first])
    elif name == "transpose":
        found = [jnp.transpose(first, (*parameters["permutation"], len(shape)))]
    elif name == "broadcast_in_dim":
        places = (*parameters["broadcast_dimensions"], len(shape))
        found = [jax.lax.broadcast_in_dim(first, (*shape, size), places)]
    elif name in ("reshape", "squeeze"):
        found = [jnp.reshape(first, (*shape, size))]
    else:
        axes = [-1 if value.is_mapped else None for value in given]
        one = jax.vmap(lambda *arrays: jaxprs.bind(equation, arrays), axes, out_axes=-1)
        found = one(*(value.array for value in given))
    return [_Value(each, True) for each in found]

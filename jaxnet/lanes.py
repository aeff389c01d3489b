"""`jax.vmap` over the last axis, which stays last through the operations of a small network.

`jax.vmap` brings it to the front wherever shapes change, so that networks of a few numbers are
computed one by one. With the mapped axis last each operation is one over neighbours in memory, as
a processor's vector instructions want it. What else a function does, `jax.vmap` does.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import lax
from jaxtyping import PyTree

from jaxnet import jaxprs

_SHAPED = frozenset(["broadcast_in_dim", "squeeze", "transpose"])
_CARRIED_OUT = jaxprs.ELEMENTWISE | jaxprs.REDUCTIONS | _SHAPED


class _Value(NamedTuple):
    """An array, and whether it has the mapped axis."""

    array: Any
    is_mapped: bool


def vmap(function: Callable[..., Any]) -> Callable[..., Any]:
    """Map a function of pytrees over the last axis of each of their leaves; results have it last.

    What the function closes over is shared.

    Raises:
        ValueError: leaves whose last axes are not of one size; raised when it is called.
    """

    def mapped(*arguments: PyTree) -> PyTree:
        leaves, tree = jax.tree.flatten(arguments)
        shapes = [leaf.shape for leaf in leaves]
        if len({shape[-1:] for shape in shapes}) != 1 or () in shapes:
            raise ValueError(f"wanted leaves with last axes of one size; got shapes {shapes}")
        size = shapes[0][-1]
        one = [jax.ShapeDtypeStruct(leaf.shape[:-1], leaf.dtype) for leaf in leaves]

        # A function of its own, or JAX would give the jaxpr of an earlier closure.
        def flat(*leaves: Any) -> Any:
            return function(*jax.tree.unflatten(tree, leaves))

        closed, shape = jax.make_jaxpr(flat, return_shape=True)(*one)
        given = [_shared(each) for each in closed.consts] + [_Value(leaf, True) for leaf in leaves]
        found = jaxprs.evaluate(closed.jaxpr, given, _shared, _apply)
        outputs = zip(found, closed.out_avals, strict=True)
        results = [_over(value, aval.shape, size) for value, aval in outputs]
        return jax.tree.unflatten(jax.tree.structure(shape), results)

    return mapped


def _shared(array: Any) -> _Value:
    return _Value(array, False)


def _over(value: _Value, shape: tuple[int, ...], size: int) -> Any:
    """Give an array of that shape, or a scalar for all of it, with the mapped axis last."""
    array, mapped = value
    rank = np.ndim(array) - mapped
    if mapped and rank == len(shape):
        return array
    places = tuple(range(len(shape))) if rank else ()
    return lax.broadcast_in_dim(array, (*shape, size), places + (len(shape),) * mapped)


def _apply(equation: Any, given: list[_Value]) -> list[_Value]:
    sizes = {value.array.shape[-1] for value in given if value.is_mapped}
    if not sizes:
        return [_shared(found) for found in jaxprs.bind(equation, [each.array for each in given])]
    (size,), name, parameters = sizes, equation.primitive.name, equation.params
    first, shape = given[0].array, next((each.aval.shape for each in equation.outvars), ())
    if not carries_out(equation):
        axes = [-1 if value.is_mapped else None for value in given]
        one = jax.vmap(lambda *arrays: jaxprs.bind(equation, arrays), axes, out_axes=-1)
        found = one(*(value.array for value in given))
    elif name in jaxprs.ELEMENTWISE:
        found = jaxprs.bind(equation, [_over(value, shape, size) for value in given])
    elif name in jaxprs.REDUCTIONS:
        found = jaxprs.bind(equation, [first])
    elif name == "transpose":
        found = [lax.transpose(first, (*parameters["permutation"], len(shape)))]
    elif name == "broadcast_in_dim":
        places = (*parameters["broadcast_dimensions"], len(shape))
        found = [lax.broadcast_in_dim(first, (*shape, size), places)]
    else:
        found = [lax.reshape(first, (*shape, size))]
    return [_Value(each, True) for each in found]


def carries_out(equation: Any) -> bool:
    """Tell whether the mapped axis stays last in an operation, which is `jax.vmap`'s otherwise."""
    name, turned = equation.primitive.name, equation.params.get("dimensions") is not None
    return name in _CARRIED_OUT or (name == "reshape" and not turned)

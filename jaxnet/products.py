"""Small matrix products as multiplications and sums, which a CPU vectorises over many runs.

A product of a few numbers, once for each of thousands of runs, costs a library call for each; as
elementwise operations XLA fuses it with all around it into one loop over the runs.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core
from jaxtyping import Array

# Multiplications of a product that is expanded.
SMALL = 512


def expanded(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function of the same values, whose small matrix products are expanded."""

    @functools.wraps(function)
    def rewritten(*arguments: Any) -> Any:
        # Else JAX would give the jaxpr of an earlier trace, whose closure may have held others.
        def anew(*arguments: Any) -> Any:
            return function(*arguments)

        closed, shape = jax.make_jaxpr(anew, return_shape=True)(*arguments)
        results = _evaluate(closed.jaxpr, closed.consts, jax.tree.leaves(arguments))
        return jax.tree.unflatten(jax.tree.structure(shape), results)

    return rewritten


def _evaluate(jaxpr: Any, constants: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
    """Carry out a jaxpr, its small products and those of the functions it calls expanded."""
    values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*constants, *arguments), strict=True))

    def read(variable: Any) -> Any:
        return variable.val if isinstance(variable, core.Literal) else values[variable]

    for equation in jaxpr.eqns:
        primitive, parameters = equation.primitive, equation.params
        given = [read(variable) for variable in equation.invars]
        if primitive.name == "dot_general" and _is_small(given[0], given[1], parameters):
            results = [_product(given[0], given[1], parameters)]
        elif primitive.name == "jit":
            inner = parameters["jaxpr"]
            results = _evaluate(inner.jaxpr, inner.consts, given)
        else:
            results = primitive.bind(*given, **primitive.get_bind_params(parameters))
            results = results if primitive.multiple_results else [results]
        values.update(zip(equation.outvars, results, strict=True))
    return [read(variable) for variable in jaxpr.outvars]


def _is_small(a: Array | np.ndarray, b: Array | np.ndarray, parameters: dict[str, Any]) -> bool:
    (contracted, _), (together, _) = parameters["dimension_numbers"]
    shared = math.prod(a.shape[axis] for axis in (*contracted, *together))
    # Others add otherwise than `jnp.sum` does: booleans by or, narrow floats in wider ones.
    plain = jnp.issubdtype(a.dtype, jnp.floating) and a.dtype == b.dtype
    plain = plain and parameters["preferred_element_type"] in (None, a.dtype)
    return plain and a.size * b.size <= SMALL * shared


def _product(a: Array | np.ndarray, b: Array | np.ndarray, parameters: dict[str, Any]) -> Array:
    """Multiply as `dot_general` does, its axes in its order: together, those of a, those of b."""
    (contracted_a, contracted_b), (together_a, together_b) = parameters["dimension_numbers"]
    free_a = [axis for axis in range(a.ndim) if axis not in (*contracted_a, *together_a)]
    free_b = [axis for axis in range(b.ndim) if axis not in (*contracted_b, *together_b)]
    first, middle = len(together_a), len(together_a) + len(free_a)
    last = middle + len(free_b)
    a = jnp.transpose(a, (*together_a, *free_a, *contracted_a))
    b = jnp.transpose(b, (*together_b, *free_b, *contracted_b))
    a = jnp.expand_dims(a, tuple(range(middle, last)))
    b = jnp.expand_dims(b, tuple(range(first, middle)))
    return jnp.sum(a * b, axis=tuple(range(last, last + len(contracted_a))))

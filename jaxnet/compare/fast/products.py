"""Small matrix products as multiplications and sums, as a CPU computes them fast in many runs.

A product of a few numbers, once for each of thousands of runs, costs a library call for each; as
elementwise operations XLA fuses it with all around it into one loop over the runs.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
from jaxtyping import Array

from jaxnet._guards import jaxprs

# Multiplications of a product that is expanded.
SMALL = 512


def expanded(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function of pytrees of arrays that is the same but for its small products.

    Derivatives taken of it are the function's own. What the function changes in place is lost, as
    under `jax.make_jaxpr`.
    """

    def rewritten(*arguments: Any) -> Any:
        # Else JAX would give the jaxpr of an earlier trace, whose closure may have held others.
        def anew(*arguments: Any) -> Any:
            return function(*arguments)

        closed, shape = jax.make_jaxpr(anew, return_shape=True)(*arguments)

        @jax.custom_jvp
        def carried_out(constants: Any, leaves: Any) -> Any:
            return jaxprs.evaluate(closed.jaxpr, [*constants, *leaves], lambda each: each, _apply)

        @carried_out.defjvp
        def _(primals: Any, tangents: Any) -> Any:
            def plain(constants: Any, leaves: Any) -> Any:
                return jax.core.eval_jaxpr(closed.jaxpr, constants, *leaves)

            return jax.jvp(plain, primals, tangents)

        leaves = carried_out(closed.consts, jax.tree.leaves(arguments))
        return jax.tree.unflatten(jax.tree.structure(shape), leaves)

    return rewritten


def are_small(function: Callable[..., Any], *arguments: Any) -> bool:
    """Tell whether a function, traced on arrays or their shapes, has products to expand."""
    jaxpr = jax.make_jaxpr(function)(*arguments).jaxpr
    return any(
        _is_small(equation.invars[0].aval, equation.invars[1].aval, **equation.params)
        for equation in jaxprs.operations(jaxpr)
        if equation.primitive.name == "dot_general"
    )


def _apply(equation: Any, arrays: list[Any]) -> list[Any]:
    if equation.primitive.name == "dot_general":
        a, b = arrays
        if _is_small(a, b, **equation.params):
            return [_expanded(a, b, equation.params["dimension_numbers"])]
    return jaxprs.bind(equation, arrays)


def _is_small(a: Any, b: Any, dimension_numbers: Any, **params: Any) -> bool:
    (contracted, _), (together, _) = dimension_numbers
    shared = math.prod(a.shape[axis] for axis in (*contracted, *together))
    # Others add otherwise than `jnp.sum` does: booleans by or, narrow floats in wider ones. The
    # precision asked for is what these have anyway.
    plain = a.dtype in (jnp.float32, jnp.float64) and a.dtype == b.dtype
    kind = params["preferred_element_type"]
    plain &= kind is None or kind == a.dtype
    # A sharding that is asked for is of the product as it stands. Inside `jax.shard_map` autodiff
    # asks for one over no axis.
    asked = params.get("out_sharding")
    plain &= asked is None or not any(asked.spec)
    return plain and a.size * b.size <= SMALL * shared


def _expanded(a: Any, b: Any, dimension_numbers: Any) -> Array:
    """Multiply as `dot_general` does: batch axes first, then the free ones of a, then of b."""
    (contracted_a, contracted_b), (together_a, together_b) = dimension_numbers
    free_a = [axis for axis in range(a.ndim) if axis not in (*contracted_a, *together_a)]
    free_b = [axis for axis in range(b.ndim) if axis not in (*contracted_b, *together_b)]
    first, middle = len(together_a), len(together_a) + len(free_a)
    last = middle + len(free_b)
    a = jnp.transpose(a, (*together_a, *free_a, *contracted_a))
    b = jnp.transpose(b, (*together_b, *free_b, *contracted_b))
    a = jnp.expand_dims(a, tuple(range(middle, last)))
    b = jnp.expand_dims(b, tuple(range(first, middle)))
    return jnp.sum(a * b, axis=tuple(range(last, last + len(contracted_a))))

"""Matrix products as a CPU computes them fast in many runs.

A product of a few numbers, once for each of thousands of runs, costs a library call for each; as
elementwise operations XLA fuses it with all around it into one loop over the runs. Larger ones
have their batch last, so that a weight is multiplied as it lies.
"""

import functools
import math
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import jaxlib.version
from jaxtyping import Array

from jaxnet._guards import jaxprs
from jaxnet.compare.fast import layouts
from jaxnet.compare.fast.layouts import Laid

# Multiplications of a product that is expanded.
SMALL = 512
# Terms of the sums that one is expanded to which the library would have to turn round. Before
# this release XLA computes the terms anew for every one of their uses.
_THIN = 16 if jaxlib.version.__version_info__ >= (0, 11) else 0


def expanded(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function of pytrees that computes the same, but for how it multiplies.

    Its first argument is what all examples of a batch share: the parameters. Derivatives taken of
    it are the function's own. What the function changes in place is lost, as under
    `jax.make_jaxpr`.
    """

    def rewritten(*arguments: Any, **named: Any) -> Any:
        # Else JAX would give the jaxpr of an earlier trace, whose closure may have held others.
        def anew(arguments: Any, named: Any) -> Any:
            return function(*arguments, **named)

        closed, shape = jax.make_jaxpr(anew, return_shape=True)(arguments, named)
        shared = len(jax.tree.leaves(arguments[0]))

        @jax.custom_jvp
        def carried_out(constants: Any, leaves: Any) -> Any:
            laid = [layouts.natural(each, shared=i < shared) for i, each in enumerate(leaves)]
            inputs = [*map(layouts.natural, constants), *laid]
            results = jaxprs.evaluate(closed.jaxpr, inputs, layouts.natural, _apply)
            return [each.named for each in results]

        @carried_out.defjvp
        def _(primals: Any, tangents: Any) -> Any:
            def plain(constants: Any, leaves: Any) -> Any:
                return jax.core.eval_jaxpr(closed.jaxpr, constants, *leaves)

            return jax.jvp(plain, primals, tangents)

        leaves = carried_out(closed.consts, jax.tree.leaves((arguments, named)))
        return jax.tree.unflatten(jax.tree.structure(shape), leaves)

    return rewritten


def _apply(equation: Any, operands: list[Laid]) -> list[Laid]:
    axes, asked = jaxprs.product(equation), equation.params.get("out_sharding")
    # A sharding that is asked for is of the product as it stands. Inside `jax.shard_map` autodiff
    # asks for one over no axis.
    if axes is None or (asked is not None and any(asked.spec)):
        return layouts.apply(equation, operands)
    with equation.ctx.manager:
        return [_multiply(equation, axes, operands)]


def _multiply(equation: Any, axes: jaxprs.Product, operands: list[Laid]) -> Laid:
    """Multiply arrays as they lie, one that all examples share first."""
    a, b = operands
    turned = b.shared and not a.shared and equation.params["precision"] is None
    # What has more axes beside its batch, such as the places of an image, is better left.
    sides = (1, 0) if turned and len(axes.left[0]) == 1 else (0, 1)

    def lying(side: int, named: jaxprs.Axes) -> jaxprs.Axes:
        return tuple(operands[side].axes[axis] for axis in named)

    numbers = [
        tuple(lying(side, group[side]) for side in sides) for group in (axes.summed, axes.shared)
    ]
    first = [(0, axis) for axis in axes.shared[0]]
    named = [*first, *((side, axis) for side in (0, 1) for axis in axes.left[side])]
    left = [
        (side, operands[side].axes.index(place))
        for side in sides
        for place in sorted(lying(side, axes.left[side]))
    ]
    arrays = (operands[side].array for side in sides)
    product = _multiplied(equation, *arrays, numbers=tuple(numbers))
    return Laid(product, tuple(map([*first, *left].index, named)), a.shared and b.shared)


def _multiplied(equation: Any, a: Any, b: Any, numbers: Any) -> Array:
    """Multiply as `dot_general` does with these dimension numbers."""
    if _adds_plainly(a, b, equation):
        if _are_few(a, b, numbers):
            return _expanded(a, b, numbers)
        contracted = numbers[0][0]
        if len(contracted) == 1 and contracted[0] < a.ndim - 1 and a.shape[contracted[0]] <= _THIN:
            return _summed(a, b, numbers)
    return jaxprs.bind(equation, [a, b], dimension_numbers=numbers)[0]


def convolves(traced: Any) -> bool:
    """Tell whether a program convolves, of which this would make a slower gradient."""
    return jaxprs.holds(traced.jaxpr, frozenset(["conv_general_dilated"]))


def is_small(equation: Any) -> bool:
    """Tell whether an operation is a product of a few numbers, to be expanded."""
    if equation.primitive.name != "dot_general":
        return False
    a, b = (each.aval for each in equation.invars)
    return _adds_plainly(a, b, equation) and _are_few(a, b, equation.params["dimension_numbers"])


def _adds_plainly(a: Any, b: Any, equation: Any) -> bool:
    """Tell of numbers that the library adds as `jnp.sum` does.

    Booleans it adds by or, narrow floats in wider ones. The precision asked for is what these have
    anyway.
    """
    kind = equation.params["preferred_element_type"]
    alike = kind is None or kind == a.dtype
    return a.dtype in (jnp.float32, jnp.float64) and a.dtype == b.dtype and alike


def _are_few(a: Any, b: Any, numbers: Any) -> bool:
    (contracted, _), (together, _) = numbers
    shared = math.prod(a.shape[axis] for axis in (*contracted, *together))
    return a.size * b.size <= SMALL * shared


def _expanded(a: Any, b: Any, numbers: Any) -> Array:
    a, b = _facing(a, b, numbers)
    contracted = len(numbers[0][0])
    return jnp.sum(a * b, axis=tuple(range(a.ndim - contracted, a.ndim)))


def _summed(a: Any, b: Any, numbers: Any) -> Array:
    # Each is read many times, and would be computed as often.
    a, b = jax.lax.optimization_barrier((a, b))
    a, b = _facing(a, b, numbers)
    products = (a[..., term] * b[..., term] for term in range(a.shape[-1]))
    return jax.lax.optimization_barrier(functools.reduce(operator.add, products))


def _facing(a: Any, b: Any, numbers: Any) -> tuple[Array, Array]:
    """Lay two arrays out for their elementwise product.

    As `dot_general` has them, batch axes come first, then the free ones of a, then of b; those to
    be summed come last.
    """
    (contracted_a, contracted_b), (together_a, together_b) = numbers
    free_a = [axis for axis in range(a.ndim) if axis not in (*contracted_a, *together_a)]
    free_b = [axis for axis in range(b.ndim) if axis not in (*contracted_b, *together_b)]
    first, middle = len(together_a), len(together_a) + len(free_a)
    last = middle + len(free_b)
    a = jnp.transpose(a, (*together_a, *free_a, *contracted_a))
    b = jnp.transpose(b, (*together_b, *free_b, *contracted_b))
    a = jnp.expand_dims(a, tuple(range(middle, last)))
    return a, jnp.expand_dims(b, tuple(range(first, middle)))

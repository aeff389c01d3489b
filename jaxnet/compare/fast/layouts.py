"""Arrays that lie in memory in another order of axes than they are named in.

`vmap` of `weight @ x` gives products whose batch lies last, moves it first, and moves it back for
the next product; on a CPU the moves of many small runs take as long as the products. Here a
transposed array is the same numbers under other names, and what follows takes them as they lie.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from jaxnet._guards import jaxprs

_NAMES = """abs add add_any and clamp convert_element_type cos div eq erf exp exp2 expm1 ge gt
integer_pow is_finite le log log1p logistic lt max min mul ne neg not or pow rsqrt select_n sign sin
sqrt square stop_gradient sub tanh"""
_ELEMENTWISE = frozenset(_NAMES.split())
_REDUCTIONS = frozenset(["reduce_and", "reduce_max", "reduce_min", "reduce_or", "reduce_sum"])


class Laid(NamedTuple):
    """An array as it lies in memory.

    Attributes:
        array: in the order of memory. axes: of each axis by name, its place in memory.
        shared: whether it is the same for every example of a batch.
    """

    array: Any
    axes: tuple[int, ...]
    shared: bool

    @property
    def named(self) -> Array:
        """The array in the order of its names."""
        return jnp.transpose(self.array, self.axes)


def natural(array: Any, *, shared: bool = True) -> Laid:
    """Give an array that lies as it is named."""
    return Laid(array, tuple(range(jnp.ndim(array))), shared)


def apply(equation: Any, operands: list[Laid]) -> list[Laid]:
    """Carry out an operation, where it can on the arrays as they lie."""
    name, shared = equation.primitive.name, all(each.shared for each in operands)
    if name == "transpose":
        (operand,) = operands
        axes = tuple(operand.axes[axis] for axis in equation.params["permutation"])
        return [Laid(operand.array, axes, shared)]
    if name in _REDUCTIONS:
        (operand,) = operands
        gone = sorted(operand.axes[axis] for axis in equation.params["axes"])
        left = [axis for axis in operand.axes if axis not in gone]
        (result,) = jaxprs.bind(equation, [operand.array], axes=tuple(gone))
        return [Laid(result, tuple(map(sorted(left).index, left)), shared)]
    if name in _ELEMENTWISE:
        whole = [each for each in operands if each.axes]
        # As the first lies that lies otherwise than it is named.
        moved = (each.axes for each in whole if each.axes != natural(each.array).axes)
        axes = next(moved, whole[0].axes if whole else ())
        back = tuple(map(axes.index, range(len(axes))))
        arrays = [
            each.array if each.axes in (axes, ()) else jnp.transpose(each.named, back)
            for each in operands
        ]
        return [Laid(result, axes, shared) for result in jaxprs.bind(equation, arrays)]
    results = jaxprs.bind(equation, [each.named for each in operands])
    return [natural(result, shared=shared) for result in results]

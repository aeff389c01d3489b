"""Matrix products as a CPU makes them fast in thousands of small runs at once.

Small ones become multiplications and sums: a product of a few numbers, once for each run, costs a
library call for each; as elementwise operations XLA fuses it with all around it into one loop over
the runs. The others are made features first and examples last, `weight [O, I] @ x [I, B]`, and
what follows them is computed in that order, where JAX would copy every layer's outputs into
another order and back.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core
from jaxtyping import Array, PyTree

from jaxnet import jaxprs

# Multiplications of a product that is expanded.
SMALL = 512


class _Value(NamedTuple):
    """An array, stored with its axes in whatever order it was made.

    Attributes:
        stored: the array. axes: for each axis, which of the stored ones it is.
        of_data: whether it depends on more than parameters and constants.
    """

    stored: Any
    axes: tuple[int, ...]
    of_data: bool

    @property
    def array(self) -> Any:
        """The array with its axes in their own order."""
        ordered = self.axes == tuple(range(len(self.axes)))
        return self.stored if ordered else jnp.transpose(self.stored, self.axes)

    def like(self, axes: tuple[int, ...]) -> Any:
        """Give the array stored in that order; a scalar as it is."""
        if self.axes in ((), axes):
            return self.stored
        return jnp.transpose(self.array, np.argsort(axes).tolist())


def _value(array: Any, of_data: bool) -> _Value:
    return _Value(array, tuple(range(np.ndim(array))), of_data)


def arranged(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function of parameters and data of the same values, its products made fast.

    Derivatives taken of it are the function's own. Params and data are pytrees of arrays, given by
    position; what the function changes in place is lost, as under `jax.make_jaxpr`.
    """

    def rewritten(params: PyTree, *data: Any) -> Any:
        # Else JAX would give the jaxpr of an earlier trace, whose closure may have held others.
        def anew(*arguments: Any) -> Any:
            return function(*arguments)

        closed, shape = jax.make_jaxpr(anew, return_shape=True)(params, *data)
        leaves = jax.tree.leaves(params), jax.tree.leaves(data)

        @jax.custom_jvp
        def carried_out(constants: Any, params: Any, data: Any) -> Any:
            values = [_value(leaf, False) for leaf in (*constants, *params)]
            values += [_value(leaf, True) for leaf in data]
            constant = functools.partial(_value, of_data=False)
            found = jaxprs.evaluate(closed.jaxpr, values, constant, _apply)
            return [value.array for value in found]

        @carried_out.defjvp
        def _(primals: Any, tangents: Any) -> Any:
            def plain(constants: Any, params: Any, data: Any) -> Any:
                own = core.ClosedJaxpr(closed.jaxpr, constants)
                return core.jaxpr_as_fun(own)(*params, *data)

            return jax.jvp(plain, primals, tangents)

        return jax.tree.unflatten(jax.tree.structure(shape), carried_out(closed.consts, *leaves))

    return rewritten


def _apply(equation: Any, given: list[_Value]) -> list[_Value]:
    primitive, parameters = equation.primitive, equation.params
    name, of_data = primitive.name, any(value.of_data for value in given)
    if name == "dot_general":
        return [_product(given[0], given[1], equation)]
    if name == "transpose":
        axes = tuple(given[0].axes[axis] for axis in parameters["permutation"])
        return [_Value(given[0].stored, axes, of_data)]
    if name in jaxprs.REDUCTIONS:
        axes = given[0].axes
        gone = tuple(sorted(axes[axis] for axis in parameters["axes"]))
        left = [axis for axis in axes if axis not in gone]
        found = primitive.bind(given[0].stored, **parameters | {"axes": gone})
        return [_Value(found, tuple(np.argsort(np.argsort(left)).tolist()), of_data)]
    if name in jaxprs.ELEMENTWISE:
        orders = [value.axes for value in given if value.axes]
        # The order that is not the axes' own is a product's.
        axes = next((order for order in orders if order != tuple(sorted(order))), (*orders, ())[0])
        (found,) = jaxprs.bind(equation, [value.like(axes) for value in given])
        return [_Value(found, axes, of_data)]
    arrays = [value.array for value in given]
    return [_value(found, of_data) for found in jaxprs.bind(equation, arrays)]


def _product(a: _Value, b: _Value, equation: Any) -> _Value:
    """Multiply as `dot_general` does: axes together, those of a, those of b; examples stored last.

    A product of data and parameters is one of parameters and data, stored so.
    """
    axes = [
        [[value.axes[axis] for axis in each] for value, each in zip((a, b), pair, strict=True)]
        for pair in equation.params["dimension_numbers"]
    ]
    contracted, together = axes
    free = [
        [axis for axis in value.axes if axis not in (*gone, *kept)]
        for value, gone, kept in zip((a, b), contracted, together, strict=True)
    ]
    operands = a, b
    # A sharding that is asked for names the axes in their own order.
    turned = a.of_data and not b.of_data and equation.params.get("out_sharding") is None
    if turned:
        operands, contracted, together = (b, a), contracted[::-1], together[::-1]
    stored = [sorted(each) for each in (free[::-1] if turned else free)]
    numbers = tuple(map(tuple, contracted)), tuple(map(tuple, together))
    x, y = (operand.stored for operand in operands)
    if _is_small(x, y, numbers, equation.params["preferred_element_type"]):
        found = _expanded(x, y, numbers, stored)
    else:
        precision = equation.params["precision"]
        if turned and isinstance(precision, tuple):
            precision = precision[::-1]
        given = equation.params | {"dimension_numbers": numbers, "precision": precision}
        found = equation.primitive.bind(x, y, **given)
    start, middle = len(together[0]), len(together[0]) + len(stored[0])
    first = {axis: start + place for place, axis in enumerate(stored[0])}
    second = {axis: middle + place for place, axis in enumerate(stored[1])}
    places = (second, first) if turned else (first, second)
    ours = [place[axis] for place, each in zip(places, free, strict=True) for axis in each]
    return _Value(found, (*range(len(together[0])), *ours), a.of_data or b.of_data)


def _is_small(a: Any, b: Any, numbers: Any, element_type: Any) -> bool:
    (contracted, _), (together, _) = numbers
    shared = math.prod(a.shape[axis] for axis in (*contracted, *together))
    # Others add otherwise than `jnp.sum` does: booleans by or, narrow floats in wider ones. The
    # precision asked for is what these have anyway.
    plain = a.dtype in (jnp.float32, jnp.float64) and a.dtype == b.dtype
    plain = plain and (element_type is None or element_type == a.dtype)
    return plain and a.size * b.size <= SMALL * shared


def _expanded(a: Any, b: Any, numbers: Any, free: Sequence[Sequence[int]]) -> Array:
    (contracted_a, contracted_b), (together_a, together_b) = numbers
    first, middle = len(together_a), len(together_a) + len(free[0])
    last = middle + len(free[1])
    a = jnp.transpose(a, (*together_a, *free[0], *contracted_a))
    b = jnp.transpose(b, (*together_b, *free[1], *contracted_b))
    a = jnp.expand_dims(a, tuple(range(middle, last)))
    b = jnp.expand_dims(b, tuple(range(first, middle)))
    return jnp.sum(a * b, axis=tuple(range(last, last + len(contracted_a))))

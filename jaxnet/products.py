"""Matrix products as a CPU makes them fast in thousands of small runs at once.

Small ones become multiplications and sums: a product of a few numbers, once for each run, costs a
library call for each; as elementwise operations XLA fuses it with all around it into one loop over
the runs. The others are made features first and examples last, `weight [O, I] @ x [I, B]`, and
what follows them is computed in that order, where JAX would copy every layer's outputs into
another order and back.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core
from jaxtyping import Array, PyTree

# Multiplications of a product that is expanded.
SMALL = 512

_NAMES = """abs add add_any and ceil clamp convert_element_type copy cos div eq erf exp exp2 expm1
floor ge gt integer_pow is_finite le log log1p logistic lt max min mul ne neg not or pow round rsqrt
select_n sign sin sqrt square sub tanh xor"""
# Of operands of one shape, or scalars; the order of their axes is all the same to them.
_ELEMENTWISE = frozenset(_NAMES.split())
_CALLS = {"jit": "jaxpr", "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr"}
_REDUCTIONS = frozenset(["reduce_and", "reduce_max", "reduce_min", "reduce_or", "reduce_sum"])


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
            return [value.array for value in _evaluate(closed.jaxpr, values)]

        @carried_out.defjvp
        def _(primals: Any, tangents: Any) -> Any:
            def plain(constants: Any, params: Any, data: Any) -> Any:
                own = core.ClosedJaxpr(closed.jaxpr, constants)
                return core.jaxpr_as_fun(own)(*params, *data)

            return jax.jvp(plain, primals, tangents)

        return jax.tree.unflatten(jax.tree.structure(shape), carried_out(closed.consts, *leaves))

    return rewritten


def _evaluate(jaxpr: Any, given: Sequence[_Value]) -> list[_Value]:
    """Carry out a jaxpr, its products and those of the functions it calls arranged."""
    values = dict(zip((*jaxpr.constvars, *jaxpr.invars), given, strict=True))

    def read(variable: Any) -> _Value:
        is_literal = isinstance(variable, core.Literal)
        return _value(variable.val, False) if is_literal else values[variable]

    for equation in jaxpr.eqns:
        with equation.ctx.manager:
            results = _apply(equation, [read(variable) for variable in equation.invars])
        values.update(zip(equation.outvars, results, strict=True))
    return [read(variable) for variable in jaxpr.outvars]


def _apply(equation: Any, given: list[_Value]) -> list[_Value]:
    primitive, parameters = equation.primitive, equation.params
    name, of_data = primitive.name, any(value.of_data for value in given)
    if name in _CALLS:
        called = parameters[_CALLS[name]]
        return _evaluate(called.jaxpr, [*(_value(each, False) for each in called.consts), *given])
    if name == "dot_general":
        return [_product(given[0], given[1], equation)]
    if name == "transpose":
        axes = tuple(given[0].axes[axis] for axis in parameters["permutation"])
        return [_Value(given[0].stored, axes, of_data)]
    if name in _REDUCTIONS:
        axes = given[0].axes
        gone = tuple(sorted(axes[axis] for axis in parameters["axes"]))
        left = [axis for axis in axes if axis not in gone]
        found = primitive.bind(given[0].stored, **parameters | {"axes": gone})
        return [_Value(found, tuple(np.argsort(np.argsort(left)).tolist()), of_data)]
    bound = primitive.get_bind_params(parameters)
    if name in _ELEMENTWISE:
        orders = [value.axes for value in given if value.axes]
        # The order that is not the axes' own is a product's.
        axes = next((order for order in orders if order != tuple(sorted(order))), (*orders, ())[0])
        found = primitive.bind(*(value.like(axes) for value in given), **bound)
        return [_Value(found, axes, of_data)]
    found = primitive.bind(*(value.array for value in given), **bound)
    return [_value(each, of_data) for each in (found if primitive.multiple_results else [found])]


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

"""What a traced function does, operation by operation, to be carried out in another way."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from jax.extend import core

_CALLS = {"jit": "jaxpr", "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr"}


def evaluate(
    jaxpr: Any,
    given: Sequence[Any],
    constant: Callable[[Any], Any],
    apply: Callable[[Any, list[Any]], list[Any]],
) -> list[Any]:
    """Carry out a jaxpr and the functions it calls, on values of any kind.

    Args:
        jaxpr: an open one. given: a value for each of its constants and inputs.
        constant: makes a value of a literal or of a called function's constant.
        apply: `(equation, values) -> values` carries out one operation.
    """
    values = dict(zip((*jaxpr.constvars, *jaxpr.invars), given, strict=True))
    needed = {variable for variable in jaxpr.outvars if isinstance(variable, core.Var)}
    # By where each is used last, so that its memory is free from there on.
    spent: dict[int, list[Any]] = {}
    for place, equation in reversed(list(enumerate(jaxpr.eqns))):
        for variable in (*equation.invars, *equation.outvars):
            if isinstance(variable, core.Var) and variable not in needed:
                needed.add(variable)
                spent.setdefault(place, []).append(variable)

    def read(variable: Any) -> Any:
        is_literal = isinstance(variable, core.Literal)
        return constant(variable.val) if is_literal else values[variable]

    for place, equation in enumerate(jaxpr.eqns):
        inputs = [read(variable) for variable in equation.invars]
        with equation.ctx.manager:
            if called := _called(equation):
                inputs = [*map(constant, called.consts), *inputs]
                results = evaluate(called.jaxpr, inputs, constant, apply)
            else:
                results = apply(equation, inputs)
        values.update(zip(equation.outvars, results, strict=True))
        for variable in spent.get(place, ()):
            del values[variable]
    return [read(variable) for variable in jaxpr.outvars]


def operations(jaxpr: Any) -> Iterator[Any]:
    """List the equations of a jaxpr and of the functions it calls, in place of the calls."""
    for equation in jaxpr.eqns:
        called = _called(equation)
        yield from operations(called.jaxpr) if called else (equation,)


def _called(equation: Any) -> core.ClosedJaxpr | None:
    return equation.params.get(_CALLS.get(equation.primitive.name))


def bind(equation: Any, arrays: Sequence[Any]) -> list[Any]:
    """Carry out an operation as it stands."""
    primitive = equation.primitive
    found = primitive.bind(*arrays, **primitive.get_bind_params(equation.params))
    return list(found) if primitive.multiple_results else [found]

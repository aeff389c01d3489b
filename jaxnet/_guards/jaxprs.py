"""What a traced function does, operation by operation, to be carried out in another way.

What JAX promises to nobody stands here: how a jaxpr is made, and what its operations are called.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from jax.extend import core

Closed = core.ClosedJaxpr

# The functions that `evaluate` looks into, by the parameter that has them; and those called as
# they stand.
_INSIDE = {"jit": "jaxpr", "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr"}
_CALLS = frozenset(
    ["call", "checkpoint", "closed_call", "composite", "core_call", "eval_jaxpr", "remat2"]
)
# Operations that only tell of a run; that take no time; and whose results are rounded, beside
# conversions to narrower numbers.
TELLING = frozenset(["debug_callback", "debug_print"])
VIEWS = frozenset(["broadcast_in_dim", "reshape", "rev", "slice", "squeeze", "transpose"])
_NAMES = """add add_any conv_general_dilated cos cumlogsumexp cumprod cumsum div dot_general erf
exp exp2 expm1 integer_pow log log1p log2 logistic mul pow reduce_prod reduce_sum
reduce_window_sum rsqrt scatter-add sin sqrt square sub tan tanh"""
_ROUNDED = frozenset(_NAMES.split())


def evaluate(
    jaxpr: Any,
    arguments: Sequence[Any],
    constant: Callable[[Any], Any],
    apply: Callable[[Any, list[Any]], list[Any]],
) -> list[Any]:
    """Carry out a jaxpr and the functions it calls, on values of any kind.

    Args:
        jaxpr: an open one. arguments: a value for each of its constants and inputs.
        constant: makes a value of a literal or of a called function's constant.
        apply: `(equation, values) -> values` carries out one operation.
    """
    values = dict(zip((*jaxpr.constvars, *jaxpr.invars), arguments, strict=True))
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
            if inside := _inside(equation):
                inputs = [*map(constant, inside.consts), *inputs]
                results = evaluate(inside.jaxpr, inputs, constant, apply)
            else:
                results = apply(equation, inputs)
        values.update(zip(equation.outvars, results, strict=True))
        for variable in spent.get(place, ()):
            del values[variable]
    return [read(variable) for variable in jaxpr.outvars]


def operations(jaxpr: Any) -> Iterator[Any]:
    """List the equations of a jaxpr and of the functions it calls, in place of the calls."""
    for equation in jaxpr.eqns:
        inside = _inside(equation)
        yield from operations(inside.jaxpr) if inside else (equation,)


def _inside(equation: Any) -> Closed | None:
    return equation.params.get(_INSIDE.get(equation.primitive.name))


def called(equation: Any) -> Any:
    """Give the function, closed or open, that an operation calls as it stands; or None."""
    if equation.primitive.name not in _CALLS:
        return None
    return equation.params.get("jaxpr") or equation.params["call_jaxpr"]


def count(jaxpr: Any) -> int:
    """Count the operations that a jaxpr carries out, those of a loop of unknown length once."""
    total = len(jaxpr.eqns)
    for parameters in (equation.params for equation in jaxpr.eqns):
        inner = map(count, core.jaxprs_in_params(parameters))
        total += parameters.get("length", 1) * sum(inner)
    return total


def is_rounded(equation: Any) -> bool:
    """Tell whether an operation rounds what it gives."""
    if equation.primitive.name == "convert_element_type":
        (before,), (after,) = equation.invars, equation.outvars
        return before.aval.dtype.itemsize > after.aval.dtype.itemsize
    return equation.primitive.name in _ROUNDED


def bind(equation: Any, arrays: Sequence[Any]) -> list[Any]:
    """Carry out an operation as it stands."""
    primitive = equation.primitive
    results = primitive.bind(*arrays, **primitive.get_bind_params(equation.params))
    return list(results) if primitive.multiple_results else [results]

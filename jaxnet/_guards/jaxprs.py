"""What a traced function does, operation by operation, to be carried out in another way.

What JAX promises to nobody stands here: how a jaxpr is made, and what its operations are called.
`jax.extend` is imported where a trace is carried out: with it comes Pallas, which takes as long as
most of jaxnet does.
"""

import functools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.core
import numpy as np

if TYPE_CHECKING:
    from jax.extend.core import ClosedJaxpr as Closed
else:
    Closed = Any

# The functions that `evaluate` looks into, by the parameter that has them; and those called as
# they stand.
_INSIDE = {"jit": "jaxpr", "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr"}
_CALLS = frozenset(
    ["call", "checkpoint", "closed_call", "composite", "core_call", "eval_jaxpr", "remat2"]
)
CALLBACKS = frozenset(["pure_callback", "io_callback"])
"""Operations that call Python, of which a program's text does not say what it does."""
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
    from jax.extend import core

    values = dict(zip((*jaxpr.constvars, *jaxpr.invars), arguments, strict=True))

    def read(variable: Any) -> Any:
        is_literal = isinstance(variable, core.Literal)
        return constant(variable.val) if is_literal else values[variable]

    for equation, spent in zip(jaxpr.eqns, _spent(jaxpr), strict=True):
        inputs = [read(variable) for variable in equation.invars]
        if inside := _inside(equation):
            inputs = [*map(constant, inside.consts), *inputs]
            results = evaluate(inside.jaxpr, inputs, constant, apply)
        else:
            results = apply(equation, inputs)
        values.update(zip(equation.outvars, results, strict=True))
        for variable in spent:
            del values[variable]
    return [read(variable) for variable in jaxpr.outvars]


@functools.lru_cache(maxsize=256)
def _spent(jaxpr: Any) -> list[list[Any]]:
    """Give the values that each equation is the last to use, whose memory is free from there on."""
    from jax.extend import core

    needed = {variable for variable in jaxpr.outvars if isinstance(variable, core.Var)}
    spent: list[list[Any]] = []
    for equation in reversed(jaxpr.eqns):
        variables = (*equation.invars, *equation.outvars)
        last = {each for each in variables if isinstance(each, core.Var)} - needed
        needed |= last
        spent.append([*last])
    return spent[::-1]


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


def spoken(equation: Any) -> str:
    """Give the name of an operation, or of the function that has a derivative of its own."""
    name = equation.primitive.name
    if not name.startswith("custom_"):
        return name
    inside = equation.params["call_jaxpr"]
    source = getattr(inside, "jaxpr", inside).debug_info.func_src_info
    return str(source).partition(" at ")[0]


def holds(jaxpr: Any, names: frozenset[str]) -> bool:
    """Tell whether an operation of these names is carried out in a jaxpr, however deep."""
    from jax.extend import core

    return any(
        equation.primitive.name in names
        or any(holds(each, names) for each in core.jaxprs_in_params(equation.params))
        for equation in jaxpr.eqns
    )


def opened(equation: Any, kept: Callable[[Any], bool]) -> tuple[Any, Sequence[Any]] | None:
    """Give the open jaxpr that an equation calls and its constants; None where it calls none.

    Args:
        kept: tells of the jaxpr of a function with a derivative of its own whether it stays whole.
    """
    inside = _inside(equation) or called(equation)
    if inside is None:
        return None
    consts = getattr(inside, "consts", ())
    inside = getattr(inside, "jaxpr", inside)
    own = equation.primitive.name.startswith("custom_")
    return None if own and kept(inside) else (inside, consts)


class Loop(NamedTuple):
    """A loop of known length: its body `(shared, carry, scanned) -> (carry, stacked)`.

    Attributes:
        shared, carried: how many arrays of each kind the body takes.
    """

    body: Closed
    places: Sequence[int]
    shared: int
    carried: int


def loop(equation: Any) -> Loop | None:
    """Read a loop of known length; None of any other operation."""
    if equation.primitive.name != "scan":
        return None
    body, length = equation.params["jaxpr"], equation.params["length"]
    carried = len(equation.outvars) - _longer(equation.outvars, body.jaxpr.outvars)
    scanned = _longer(equation.invars, body.jaxpr.invars)
    places = range(length)[:: -1 if equation.params["reverse"] else 1]
    return Loop(body, places, len(equation.invars) - scanned - carried, carried)


def _longer(outside: Sequence[Any], inside: Sequence[Any]) -> int:
    """Count the arrays that a loop goes along: they have an axis more than its body's."""
    pairs = zip(outside, inside, strict=True)
    return sum(len(whole.aval.shape) > len(one.aval.shape) for whole, one in pairs)


def move(equation: Any, array: np.ndarray) -> np.ndarray | None:
    """Carry out an operation that only moves entries, on an array; None of any other."""
    name, parameters = equation.primitive.name, equation.params
    shape = equation.outvars[0].aval.shape
    match name:
        case "reshape" | "squeeze":
            moved = array.reshape(shape)
        case "transpose":
            moved = array.transpose(parameters["permutation"])
        case "broadcast_in_dim":
            dimensions = parameters["broadcast_dimensions"]
            kept = [1] * len(shape)
            for axis, size in zip(dimensions, array.shape, strict=True):
                kept[axis] = size
            moved = np.broadcast_to(array.reshape(kept), shape)
        case "rev":
            moved = np.flip(array, parameters["dimensions"])
        case "slice":
            strides = parameters["strides"] or (1,) * array.ndim
            ends = parameters["start_indices"], parameters["limit_indices"], strides
            moved = array[tuple(slice(*limits) for limits in zip(*ends, strict=True))]
        case "convert_element_type" | "copy" | "copy_p" | "optimization_barrier":
            moved = array
        case _:
            return None
    return moved


Axes = tuple[int, ...]


class Product(NamedTuple):
    """The axes of a product of two arrays: by operand, those summed over, shared, and left."""

    summed: tuple[Axes, Axes]
    shared: tuple[Axes, Axes]
    left: tuple[Axes, Axes]


def product(equation: Any) -> Product | None:
    """Read a product of arrays; None of any other operation."""
    if equation.primitive.name != "dot_general":
        return None
    summed, shared = equation.params["dimension_numbers"]
    sides = [(tuple(summed[side]), tuple(shared[side])) for side in (0, 1)]
    first, second = (
        tuple(axis for axis in range(len(operand.aval.shape)) if axis not in (*one, *other))
        for operand, (one, other) in zip(equation.invars, sides, strict=True)
    )
    return Product((sides[0][0], sides[1][0]), (sides[0][1], sides[1][1]), (first, second))


class Place(NamedTuple):
    """Where an operation was written.

    Attributes:
        module: the modules of a library that it was called in, such as "Dense_0"; or empty.
        line: the function and the line of a file of the user's, such as "forward (model.py:12)";
            or empty.
    """

    module: str
    line: str


# Where stand-ins for NumPy's arrays are, and the frames looked through for what called them.
_STAND_IN, _FRAMES = str(Path("audit", "tracing.py")), 8
# What is called from many lines of theirs.
_FOLDERS = Path(jax.__file__).parent, Path(np.__file__).parent, Path(__file__).parents[1]
LIBRARIES = tuple(f"{folder}{os.sep}" for folder in _FOLDERS)


def place(equation: Any) -> Place:
    """Give where an operation was written."""
    from jax.extend import source_info_util

    frames = source_info_util.summarize(equation.source_info, _FRAMES).split("\n")[::-1]
    # NumPy's functions are called on a user's behalf.
    said = next((each for each in frames if _STAND_IN not in each), "")
    where, _, function = said.partition(" (")
    file, _, line = Path(where).name.partition(":")
    if "site-packages" in said:
        line = ""
    written = f"{function.rstrip(')')} ({file}:{line.partition(':')[0]})" if line else ""
    return Place(str(equation.source_info.name_stack), written)


def site(equation: Any) -> int:
    """Give a number of where an operation was written, the same each time that a line is run."""
    traceback = equation.source_info.traceback
    if traceback is None:
        return id(equation)
    frames = zip(*traceback.raw_frames(), strict=True)
    theirs = [(code, at) for code, at in frames if not code.co_filename.startswith(LIBRARIES)]
    # By where in the text, for one call in it may be several instructions.
    located = [(code, traceback.code_addr2location(code, at)) for code, at in theirs]
    return hash((equation.primitive.name, *located))


def count(jaxpr: Any) -> int:
    """Count the operations that a jaxpr carries out, those of a loop of unknown length once."""
    return work(jaxpr)[0]


@functools.lru_cache(maxsize=256)
def work(jaxpr: Any) -> tuple[int, int]:
    """Count operations, those of a loop of unknown length once, and the numbers that they give."""
    from jax.extend import core

    total, numbers = len(jaxpr.eqns), 0
    for equation in jaxpr.eqns:
        shapes = (getattr(variable.aval, "shape", ()) for variable in equation.outvars)
        numbers += sum(map(math.prod, shapes))
        for inside in core.jaxprs_in_params(equation.params):
            times = equation.params.get("length", 1)
            inner = work(inside)
            total, numbers = total + times * inner[0], numbers + times * inner[1]
    return total, numbers


def is_rounded(equation: Any) -> bool:
    """Tell whether an operation rounds what it gives."""
    if equation.primitive.name == "convert_element_type":
        (before,), (after,) = equation.invars, equation.outvars
        return before.aval.dtype.itemsize > after.aval.dtype.itemsize
    return equation.primitive.name in _ROUNDED


def carry_out(closed: Closed, arrays: Sequence[Any]) -> list[Any]:
    """Carry out a jaxpr as it stands."""
    return jax.core.eval_jaxpr(closed.jaxpr, closed.consts, *arrays)


def bind(equation: Any, arrays: Sequence[Any], **other: Any) -> list[Any]:
    """Carry out an operation as it stands, or with other parameters."""
    primitive = equation.primitive
    parameters = primitive.get_bind_params(equation.params | other)
    with equation.ctx.manager:
        results = primitive.bind(*arrays, **parameters)
    return list(results) if primitive.multiple_results else [results]

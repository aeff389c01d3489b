"""A traced function carried out operation by operation in NumPy, to hold a compiled one against.

It shares neither fusions nor compile options with what XLA makes of the whole function, nor, but
for the few operations that JAX carries out one by one here too, its arithmetic.

Its tables are by the names of operations and take their parameters: of the rest that JAX does not
promise, `jaxprs` knows.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from jax.typing import ArrayLike

from jaxnet._guards import jaxprs
from jaxnet.errors import InputError

# How many operations of a loop are carried out one by one, about half a second's; longer ones are
# JAX's.
_STEPS = 50_000
# Operations on more numbers than these are JAX's, which uses all cores, but for what takes no time.
_LARGE = 2**24


def evaluate(
    closed: jaxprs.Closed,
    arrays: Sequence[ArrayLike],
    wide: bool = False,
    random: np.random.Generator | None = None,
) -> list[Any]:
    """Carry out a traced function operation by operation in NumPy.

    What NumPy lacks, convolutions, long loops and large operations, JAX carries out, each by itself
    and eagerly.

    Args:
        closed: of `jax.make_jaxpr(f)(*args)` or `jax.jit(f).trace(*args).jaxpr`.
        arrays: its flat inputs, concrete ones.
        wide: compute all that is floating in float64, but for what JAX carries out: the distance
            to the results without tells the rounding.
        random: move every result to one of its near neighbours, drawn from it, as another order of
            the operations, or fewer roundings between them, might; and flush subnormal numbers to
            zero.

    Returns:
        The flat outputs, NumPy arrays of their own memory with the dtypes that the jaxpr says, or
        float64 for floating ones if wide. Typed keys are JAX's arrays.

    Raises:
        InputError: inputs of other shapes than were traced.
    """
    shapes, expected = [np.shape(each) for each in arrays], [each.shape for each in closed.in_avals]
    if shapes != expected:
        raise InputError(f"expected arrays of shapes {expected}, as they were traced, got {shapes}")
    interpreter = _Interpreter(wide, random)
    with np.errstate(all="ignore"):
        inputs = [
            each if _is_extended(aval.dtype) else interpreter.constant(np.asarray(each, aval.dtype))
            for each, aval in zip(arrays, closed.in_avals, strict=True)
        ]
        inputs = inputs if random is None else [*map(_flushed, inputs)]
        outputs = interpreter.run(closed, inputs)
    return [np.array(each) if isinstance(each, np.ndarray) else each for each in outputs]


class _Interpreter(NamedTuple):
    """Values are NumPy arrays, of float64 for every floating dtype if wide, or JAX's of keys."""

    wide: bool
    random: np.random.Generator | None = None

    def run(self, jaxpr: Any, inputs: list[Any]) -> list[Any]:
        """Carry out a jaxpr, closed or open."""
        inputs = [*map(self.constant, getattr(jaxpr, "consts", ())), *inputs]
        return jaxprs.evaluate(getattr(jaxpr, "jaxpr", jaxpr), inputs, self.constant, self.apply)

    def constant(self, array: Any) -> Any:
        """Make a value of a constant; literals may be Python's own numbers."""
        return self.value(array, getattr(array, "dtype", None) or jax.dtypes.result_type(array))

    def value(self, array: Any, dtype: Any) -> Any:
        """Make a value of that dtype, or of the wide one instead."""
        if _is_extended(dtype):
            return array
        return np.asarray(array, _widened(dtype) if self.wide else dtype)

    def apply(self, equation: Any, inputs: list[Any]) -> list[Any]:
        """Carry out one operation."""
        name = equation.primitive.name
        if name in jaxprs.TELLING:  # It is not told twice.
            return []
        if called := jaxprs.called(equation):
            return self.run(called, inputs)
        if name in _CONTROL:
            results = _CONTROL[name](self, equation, inputs)
        elif name in _OPERATIONS and self.takes(equation, inputs):
            results = _OPERATIONS[name](equation.params, *map(_computed, inputs))
        else:
            results = NotImplemented
        if results is NotImplemented:
            results = self.bound(equation, inputs)
        elif not equation.primitive.multiple_results:
            results = [results]
        pairs = zip(results, equation.outvars, strict=True)
        results = [self.value(each, variable.aval.dtype) for each, variable in pairs]
        if self.random is None:
            return results
        results = [*map(self.rounded, results)] if jaxprs.is_rounded(equation) else results
        return [*map(_flushed, results)]

    def takes(self, equation: Any, inputs: list[Any]) -> bool:
        """Say whether NumPy carries it out."""
        if not all(isinstance(each, np.ndarray) for each in inputs):
            return False
        if self.wide or equation.primitive.name in jaxprs.VIEWS:
            return True
        outputs = sum(math.prod(variable.aval.shape) for variable in equation.outvars)
        return outputs + sum(each.size for each in inputs) <= _LARGE

    def rounded(self, array: Any) -> Any:
        """Move to near neighbours, as far as several roundings that agree in their direction."""
        if not jnp.issubdtype(array.dtype, jnp.floating):
            return array
        assert self.random
        kind = np.float64 if array.dtype == np.float64 else np.float32
        moved = self.random.random(array.shape, kind)
        moved -= kind(0.5)
        moved *= kind(8 * float(jnp.finfo(array.dtype).eps))
        moved *= array
        moved += array
        return np.asarray(moved, array.dtype)

    def bound(self, equation: Any, inputs: list[Any]) -> list[Any]:
        """Let JAX carry out one operation, on arrays of the dtypes that were traced."""
        typed = [
            each.astype(variable.aval.dtype, copy=False) if isinstance(each, np.ndarray) else each
            for each, variable in zip(inputs, equation.invars, strict=True)
        ]
        with jax.ensure_compile_time_eval():
            return jaxprs.bind(equation, typed)


def _flushed(array: Any) -> Any:
    """Set to zero what XLA does on CPUs: numbers below the smallest normal one, but for float16."""
    if not isinstance(array, np.ndarray) or not jnp.issubdtype(array.dtype, jnp.floating):
        return array
    if array.dtype == np.float16:
        return array
    small = np.abs(array) < jnp.finfo(array.dtype).tiny
    return np.where(small, np.zeros_like(array, shape=()), array) if small.any() else array


@functools.cache
def _is_extended(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, jax.dtypes.extended)


@functools.cache
def _widened(dtype: Any) -> Any:
    if jnp.issubdtype(dtype, np.complexfloating):
        return np.dtype(np.complex128)
    return np.dtype(np.float64) if jnp.issubdtype(dtype, np.floating) else dtype


@functools.cache
def _is_half(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, np.floating) and dtype.itemsize < 4


def _computed(array: np.ndarray) -> np.ndarray:
    """Give what is computed with: each operation on halves is float32's, rounded at its end."""
    return array.astype(np.float32) if _is_half(array.dtype) else array


def _is_integer(*arrays: np.ndarray) -> bool:
    return all(array.dtype.kind in "iu" for array in arrays)


# Loops and branches.


def _cond(interpreter: _Interpreter, equation: Any, inputs: list[Any]) -> Any:
    branches = equation.params["branches"]
    index, *operands = inputs
    return interpreter.run(branches[min(max(int(index), 0), len(branches) - 1)], operands)


def _scan(interpreter: _Interpreter, equation: Any, inputs: list[Any]) -> Any:
    found = jaxprs.loop(equation)
    extended = any(_is_extended(each.aval.dtype) for each in [*equation.invars, *equation.outvars])
    if found is None or extended:
        return NotImplemented
    body, places, first, carried = found
    if not 0 < len(places) * jaxprs.count(body.jaxpr) <= _STEPS:
        return NotImplemented
    last = first + carried
    shared, carry, scanned = inputs[:first], inputs[first:last], inputs[last:]
    stacked: list[Any] = [None] * len(places)
    for at in places:
        results = interpreter.run(body, [*shared, *carry, *(each[at, ...] for each in scanned)])
        carry, stacked[at] = results[:carried], results[carried:]
    return [*carry, *map(np.stack, zip(*stacked, strict=True))]


def _while(interpreter: _Interpreter, equation: Any, inputs: list[Any]) -> Any:
    condition, body = equation.params["cond_jaxpr"], equation.params["body_jaxpr"]
    first, second = equation.params["cond_nconsts"], equation.params["body_nconsts"]
    asked, shared, carry = inputs[:first], inputs[first : first + second], inputs[first + second :]
    if condition.out_avals[0].shape:
        return NotImplemented
    for _ in range(_STEPS // (1 + jaxprs.count(condition.jaxpr) + jaxprs.count(body.jaxpr))):
        if not interpreter.run(condition, [*asked, *carry])[0]:
            return carry
        carry = interpreter.run(body, [*shared, *carry])
    return interpreter.bound(equation, [*asked, *shared, *carry])


def _reduce_precision(interpreter: _Interpreter, equation: Any, inputs: list[Any]) -> Any:
    return inputs[0] if interpreter.wide else NotImplemented


_CONTROL: dict[str, Callable[[_Interpreter, Any, list[Any]], Any]] = {
    "cond": _cond,
    "reduce_precision": _reduce_precision,
    "scan": _scan,
    "while": _while,
}


# Operations element by element. `p` are an equation's parameters.


def _div(p: Any, x: np.ndarray, y: np.ndarray) -> Any:
    if not _is_integer(x, y):
        return np.divide(x, y)
    # Towards zero, and all ones by zero, as XLA says.
    down = np.floor_divide(x, y)
    rounded = down + ((np.fmod(x, y) != 0) & ((x < 0) != (y < 0)))
    return np.where(y == 0, np.invert(np.zeros_like(x)), rounded)


def _rem(p: Any, x: np.ndarray, y: np.ndarray) -> Any:
    return np.where(y == 0, x, np.fmod(x, y)) if _is_integer(x, y) else np.fmod(x, y)


def _pow(p: Any, x: np.ndarray, y: np.ndarray) -> Any:
    return NotImplemented if _is_integer(x) else np.power(x, y)


def _round(p: Any, x: np.ndarray) -> Any:
    if p["rounding_method"] == lax.RoundingMethod.TO_NEAREST_EVEN:
        return np.rint(x)
    whole = np.trunc(x)
    return whole + np.where(np.abs(x - whole) >= 0.5, np.sign(x), 0).astype(x.dtype)


def _shift_right(sign: str) -> Callable[..., Any]:
    """Make the operation that takes all numbers as of that kind, `i` or `u`."""

    def shift(p: Any, x: np.ndarray, y: np.ndarray) -> Any:
        kind = f"{sign}{x.dtype.itemsize}"
        return np.right_shift(x.view(kind), y.view(kind)).view(x.dtype)

    return shift


def _population_count(p: Any, x: np.ndarray) -> Any:
    return np.bitwise_count(x.view(f"u{x.dtype.itemsize}"))


def _select_n(p: Any, which: np.ndarray, *cases: np.ndarray) -> Any:
    if which.dtype.kind == "b":
        return cases[0] if len(cases) == 1 else np.where(which, cases[1], cases[0])
    which = np.broadcast_to(np.clip(which, 0, len(cases) - 1), cases[0].shape)
    return np.take_along_axis(np.stack(cases), which[None], 0)[0]


def _convert_element_type(p: Any, x: np.ndarray) -> Any:
    dtype = np.dtype(p["new_dtype"])
    if x.dtype.kind == "c" and not jnp.issubdtype(dtype, np.complexfloating):
        x = np.real(x)
    if x.dtype.kind != "f" or not jnp.issubdtype(dtype, np.integer):
        return x
    # The nearest that there is, and zero for NaN, as XLA says.
    least, most = jnp.iinfo(dtype).min, jnp.iinfo(dtype).max
    low, high = x <= float(least), x >= float(most)
    whole = np.where(low | high | np.isnan(x), 0, x).astype(dtype)
    return np.where(high, dtype.type(most), np.where(low, dtype.type(least), whole))


def _each(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make an operation of a function of its arrays alone."""
    return lambda p, *arrays: function(*arrays)


def _one_by_one(function: Callable[[float], float]) -> Callable[..., Any]:
    of_all = np.frompyfunc(function, 1, 1)
    return lambda x: np.asarray(of_all(x), x.dtype)


_ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "abs": np.abs,
    "acos": np.arccos,
    "acosh": np.arccosh,
    "add": np.add,
    "add_any": np.add,
    "and": np.bitwise_and,
    "asin": np.arcsin,
    "asinh": np.arcsinh,
    "atan": np.arctan,
    "atan2": np.arctan2,
    "atanh": np.arctanh,
    "cbrt": np.cbrt,
    "ceil": np.ceil,
    "clamp": lambda low, x, high: np.minimum(np.maximum(x, low), high),
    "complex": lambda real, imaginary: real + 1j * imaginary,
    "conj": np.conj,
    "cos": np.cos,
    "cosh": np.cosh,
    "eq": np.equal,
    "erf": _one_by_one(math.erf),
    "erfc": _one_by_one(math.erfc),
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "floor": np.floor,
    "ge": np.greater_equal,
    "gt": np.greater,
    "imag": np.imag,
    "is_finite": np.isfinite,
    "le": np.less_equal,
    "log": np.log,
    "log1p": np.log1p,
    "log2": np.log2,
    "logistic": lambda x: 1 / (1 + np.exp(-x)),
    "lt": np.less,
    "max": np.maximum,
    "min": np.minimum,
    "mul": np.multiply,
    "ne": np.not_equal,
    "neg": np.negative,
    "not": np.invert,
    "one_minus_square": lambda x: (1 + x) * (1 - x),
    "or": np.bitwise_or,
    "real": np.real,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "shift_left": np.left_shift,
    "sign": np.sign,
    "sin": np.sin,
    "sinh": np.sinh,
    "sqrt": np.sqrt,
    "square": np.square,
    "sub": np.subtract,
    "tan": np.tan,
    "tanh": np.tanh,
    "xor": np.bitwise_xor,
}


# Shapes.


def _broadcast_in_dim(p: Any, x: np.ndarray) -> Any:
    places = [1] * len(p["shape"])
    for axis, size in zip(p["broadcast_dimensions"], x.shape, strict=True):
        places[axis] = size
    return np.broadcast_to(x.reshape(places), p["shape"])


def _reshape(p: Any, x: np.ndarray) -> Any:
    order = p["dimensions"]
    return np.reshape(x if order is None else np.transpose(x, order), p["new_sizes"])


def _iota(p: Any) -> Any:
    shape, axis = p["shape"], p["dimension"]
    return np.broadcast_to(
        np.arange(shape[axis]).reshape([-1] + [1] * (len(shape) - 1 - axis)), shape
    )


def _padded(x: np.ndarray, value: Any, config: Sequence[Any]) -> np.ndarray:
    """Pad each axis before, after and between its elements; less than zero cuts."""
    spans = [
        size + max(size - 1, 0) * within
        for size, (_, _, within) in zip(x.shape, config, strict=True)
    ]
    before, after = ([max(each[side], 0) for each in config] for side in (0, 1))
    shape = [sum(each) for each in zip(before, spans, after, strict=True)]
    whole = np.full(shape, value, x.dtype)
    sides = zip(before, spans, config, strict=True)
    whole[tuple(slice(low, low + span, each[2] + 1) for low, span, each in sides)] = x
    sides = zip(config, shape, strict=True)
    return whole[tuple(slice(max(-low, 0), size - max(-high, 0)) for (low, high, _), size in sides)]


def _slice(p: Any, x: np.ndarray) -> Any:
    steps = p["strides"] or [1] * x.ndim
    return x[tuple(map(slice, p["start_indices"], p["limit_indices"], steps))]


def _cut(x: np.ndarray, sizes: Sequence[Any], starts: Sequence[np.ndarray]) -> tuple[slice, ...]:
    """Give the place of that size in an array, moved inside of it."""
    sides = zip(starts, x.shape, sizes, strict=True)
    lows = [min(max(int(start), 0), whole - size) for start, whole, size in sides]
    return tuple(slice(low, low + size) for low, size in zip(lows, sizes, strict=True))


def _dynamic_slice(p: Any, x: np.ndarray, *starts: np.ndarray) -> Any:
    return x[_cut(x, p["slice_sizes"], starts)]


def _dynamic_update_slice(p: Any, x: np.ndarray, update: np.ndarray, *starts: np.ndarray) -> Any:
    changed = np.array(x)
    changed[_cut(x, update.shape, starts)] = update
    return changed


def _sort(p: Any, *arrays: np.ndarray) -> Any:
    axis = p["dimension"]
    order = np.lexsort(arrays[: p["num_keys"]][::-1], axis=axis)
    return [np.take_along_axis(each, order, axis) for each in arrays]


def _top_k(p: Any, x: np.ndarray) -> Any:
    # Backwards twice: of equal numbers the first comes first.
    axis = p["axis"]
    order = np.flip(np.argsort(np.flip(x, axis), axis, kind="stable"), axis)
    places = np.take(x.shape[axis] - 1 - order, np.arange(p["k"]), axis)
    return [np.take_along_axis(x, places, axis), places]


# Gathering and scattering.

_MODES = lax.GatherScatterMode


def _windows(
    shape: tuple[int, ...],
    indices: np.ndarray,
    sizes: Sequence[Any],
    indexed: Sequence[Any],
    batched: Sequence[Any],
    along: Sequence[Any],
) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Find the elements of windows into an array of that shape.

    Args:
        shape: D sizes. indices: (..., K), where windows start. sizes: of the windows, D.
        indexed: the K axes that the indices are for.
        batched: axes that run with axes of the indices. along: those.

    Returns:
        An index array for each axis, together of shape (..., *sizes), for windows moved inside;
        and which, (...,), were inside.
    """
    batch, rank = indices.shape[:-1], len(shape)
    starts = dict(zip(indexed, np.moveaxis(indices, -1, 0).astype(np.int64), strict=True))
    for axis, other in zip(batched, along, strict=True):
        sides = [-1 if at == other else 1 for at in range(len(batch))]
        starts[axis] = np.arange(batch[other]).reshape(sides)
    inside, places = np.ones(batch, bool), []
    for axis, size in enumerate(sizes):
        offsets = np.arange(size).reshape([-1] + [1] * (rank - 1 - axis))
        if axis in starts:
            start, most = starts[axis], shape[axis] - size
            inside = inside & (start >= 0) & (start <= most)
            offsets = np.clip(start, 0, most).reshape(start.shape + (1,) * rank) + offsets
        places.append(offsets)
    return tuple(places), np.asarray(inside)


def _gather(p: Any, x: np.ndarray, indices: np.ndarray) -> Any:
    numbers, mode, sizes = p["dimension_numbers"], p["mode"], p["slice_sizes"]
    if mode not in (_MODES.CLIP, _MODES.FILL_OR_DROP, _MODES.PROMISE_IN_BOUNDS):
        return NotImplemented
    batched = numbers.operand_batching_dims, numbers.start_indices_batching_dims
    places, inside = _windows(x.shape, indices, sizes, numbers.start_index_map, *batched)
    batch = inside.shape
    windows = np.broadcast_to(x[places], (*batch, *sizes))
    if mode == _MODES.FILL_OR_DROP and not inside.all():
        value = _filler(x.dtype) if p["fill_value"] is None else p["fill_value"]
        known = inside.reshape(batch + (1,) * x.ndim)
        windows = np.where(known, windows, np.asarray(value, x.dtype))
    gone = {*numbers.collapsed_slice_dims, *numbers.operand_batching_dims}
    kept = [size for axis, size in enumerate(sizes) if axis not in gone]
    last = range(len(batch), len(batch) + len(kept))
    return np.moveaxis(windows.reshape((*batch, *kept)), last, numbers.offset_dims)


def _filler(dtype: np.dtype) -> Any:
    """Give what JAX puts where there is nothing to gather."""
    if dtype.kind in "fc":
        return np.nan
    least, most = _limits(dtype)
    return least if dtype.kind == "i" else most


def _scatter(function: np.ufunc | None) -> Callable[..., Any]:
    """Make the operation that combines by a function, or that puts new numbers in place of old."""

    def scatter(p: Any, x: np.ndarray, indices: np.ndarray, updates: np.ndarray) -> Any:
        numbers, mode = p["dimension_numbers"], p["mode"]
        modes = _MODES.CLIP, _MODES.FILL_OR_DROP, _MODES.PROMISE_IN_BOUNDS
        own = function is None and p["update_jaxpr"] is not None
        if mode not in modes or own:
            return NotImplemented
        gone = {*numbers.inserted_window_dims, *numbers.operand_batching_dims}
        within = iter(numbers.update_window_dims)
        sizes = [1 if axis in gone else updates.shape[next(within)] for axis in range(x.ndim)]
        batched = numbers.operand_batching_dims, numbers.scatter_indices_batching_dims
        mapped = numbers.scatter_dims_to_operand_dims
        places, inside = _windows(x.shape, indices, sizes, mapped, *batched)
        batch, windows = inside.shape, numbers.update_window_dims
        last = range(len(batch), len(batch) + len(windows))
        updates = np.moveaxis(updates, windows, last).reshape((*batch, *sizes))
        # Every window is put, also where several are at one place.
        places = tuple(np.broadcast_to(each, updates.shape) for each in places)
        if mode != _MODES.CLIP and not inside.all():
            places, updates = tuple(each[inside] for each in places), updates[inside]
        changed = np.array(x)
        if function is None:
            changed[places] = updates
        else:
            function.at(changed, places, updates)
        return changed

    return scatter


# Sums and products.


def _dot_general(p: Any, left: np.ndarray, right: np.ndarray) -> Any:
    (summed, summed_right), (batch, batch_right) = p["dimension_numbers"]
    kind = p["preferred_element_type"]
    if kind is not None and _is_integer(left, right):
        left, right = left.astype(kind), right.astype(kind)
    rows = [axis for axis in range(left.ndim) if axis not in (*summed, *batch)]
    columns = [axis for axis in range(right.ndim) if axis not in (*summed_right, *batch_right)]
    sizes = [left.shape[axis] for axis in (*batch, *rows)] + [right.shape[at] for at in columns]
    first = _matrices(left, batch, rows, summed)
    second = _matrices(right, batch_right, summed_right, columns)
    return np.matmul(first, second).reshape(sizes)


def _matrices(
    x: np.ndarray, batch: Sequence[Any], rows: Sequence[Any], columns: Sequence[Any]
) -> np.ndarray:
    """Give one matrix, or an array of them, as BLAS takes it."""
    shape = [math.prod(x.shape[axis] for axis in group) for group in (batch, rows, columns)]
    matrices = x.transpose(*batch, *rows, *columns).reshape(shape if batch else shape[1:])
    turned = matrices.ndim == 2 and matrices.flags.f_contiguous
    return matrices if turned else np.ascontiguousarray(matrices)


def _limits(dtype: np.dtype) -> tuple[Any, Any]:
    """Give the least and the largest number."""
    if dtype.kind in "iu":
        return np.iinfo(dtype).min, np.iinfo(dtype).max
    return (False, True) if dtype.kind == "b" else (-np.inf, np.inf)


# Each function of two, and where it starts.
_FOLDS: dict[str, tuple[np.ufunc, Callable[[np.dtype], Any]]] = {
    "and": (np.bitwise_and, lambda dtype: ~dtype.type(0)),
    "max": (np.maximum, lambda dtype: _limits(dtype)[0]),
    "min": (np.minimum, lambda dtype: _limits(dtype)[1]),
    "or": (np.bitwise_or, lambda dtype: 0),
    "prod": (np.multiply, lambda dtype: 1),
    "sum": (np.add, lambda dtype: 0),
    "xor": (np.bitwise_xor, lambda dtype: 0),
}


def _reduce(name: str) -> Callable[..., Any]:
    function, start = _FOLDS[name]

    def reduce(p: Any, x: np.ndarray) -> Any:
        first = np.asarray(start(x.dtype), x.dtype)
        return function.reduce(x, axis=tuple(p["axes"]), dtype=x.dtype, initial=first)

    return reduce


def _accumulate(function: np.ufunc) -> Callable[..., Any]:
    def accumulate(p: Any, x: np.ndarray) -> Any:
        axis = p["axis"]
        x = np.flip(x, axis) if p["reverse"] else x
        folded = function.accumulate(x, axis, dtype=x.dtype)
        return np.flip(folded, axis) if p["reverse"] else folded

    return accumulate


def _same(p: Any, *arrays: np.ndarray) -> Any:
    return arrays[0]


_OPERATIONS: dict[str, Callable[..., Any]] = {
    **{name: _each(function) for name, function in _ELEMENTWISE.items()},
    **{f"reduce_{name}": _reduce(name) for name in _FOLDS},
    **dict.fromkeys(
        ["copy", "layout_constraint", "name", "pvary", "reshard", "sharding_constraint"],
        _same,
    ),
    **dict.fromkeys(["device_put", "optimization_barrier"], lambda p, *arrays: list(arrays)),
    "argmax": lambda p, x: np.argmax(x, *p["axes"]),
    "argmin": lambda p, x: np.argmin(x, *p["axes"]),
    "broadcast_in_dim": _broadcast_in_dim,
    "concatenate": lambda p, *arrays: np.concatenate(arrays, p["dimension"]),
    "convert_element_type": _convert_element_type,
    "cumlogsumexp": _accumulate(np.logaddexp),
    "cummax": _accumulate(np.maximum),
    "cummin": _accumulate(np.minimum),
    "cumprod": _accumulate(np.multiply),
    "cumsum": _accumulate(np.add),
    "div": _div,
    "dot_general": _dot_general,
    "dynamic_slice": _dynamic_slice,
    "dynamic_update_slice": _dynamic_update_slice,
    "gather": _gather,
    "integer_pow": lambda p, x: np.power(x, p["y"]),
    "iota": _iota,
    "pad": lambda p, x, value: _padded(x, value, p["padding_config"]),
    "population_count": _population_count,
    "pow": _pow,
    "rem": _rem,
    "reshape": _reshape,
    "rev": lambda p, x: np.flip(x, p["dimensions"]),
    "round": _round,
    "scatter": _scatter(None),
    "scatter-add": _scatter(np.add),
    "scatter-max": _scatter(np.maximum),
    "scatter-min": _scatter(np.minimum),
    "scatter-mul": _scatter(np.multiply),
    "scatter-sub": _scatter(np.subtract),
    "select_n": _select_n,
    "shift_right_arithmetic": _shift_right("i"),
    "shift_right_logical": _shift_right("u"),
    "slice": _slice,
    "sort": _sort,
    "split": lambda p, x: np.split(x, np.cumsum(p["sizes"])[:-1], p["axis"]),
    "squeeze": lambda p, x: np.squeeze(x, tuple(p["dimensions"])),
    "stack": lambda p, *arrays: np.stack(arrays, p["axis"]),
    "stop_gradient": _same,
    "tile": lambda p, x: np.tile(x, p["reps"]),
    "top_k": _top_k,
    "transpose": lambda p, x: np.transpose(x, p["permutation"]),
    "unstack": lambda p, x: list(np.moveaxis(x, p["axis"], 0)),
}

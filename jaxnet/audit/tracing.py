"""A NumPy function made one that JAX can trace, by NumPy's own protocols.

Its arrays are stood in for by objects that hold a traced one: operators, ufuncs and NumPy's
functions called on them are dispatched to `jax.numpy` (NEP 13 and 18), and item assignment and
in-place operators give the object another array to hold. What makes new arrays, such as `np.zeros`,
has no argument to dispatch on: the function is copied, with those and the classes that it uses of
its module and of others in the same folder, and the copies have a `np` and a `math` of ours.
"""

import contextlib
import contextvars
import copy
import dataclasses
import functools
import io
import math
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

Function = Callable[..., Any]

# A loop is traced step by step: such as over thousands of examples it is not worth while.
_MOST = 20_000
_STRIDES = np.lib.stride_tricks
_LEFT: contextvars.ContextVar[Iterator[int]] = contextvars.ContextVar("operations left")


@dataclasses.dataclass(eq=False)
class Traced(np.lib.mixins.NDArrayOperatorsMixin):
    """Stands in for a NumPy array; holds a JAX one."""

    array: Array

    def __post_init__(self) -> None:
        """Count it, and end a trace that goes on and on."""
        if next(_LEFT.get(), None) is None:
            raise TypeError(f"more than {_MOST} operations")

    def __array_ufunc__(
        self, ufunc: Any, method: str, *inputs: Any, out: tuple[Any, ...] = (), **options: Any
    ) -> Any:
        """Call the ufunc of that name of `jax.numpy`."""
        name = ufunc.__name__
        function = getattr(jnp, name, None) or getattr(jax.scipy.special, name)
        if method == "__call__" and name in ("maximum", "minimum"):
            function = functools.partial(_without_ties, function)
        if method == "at":
            self.array = getattr(function, method)(*_bare(inputs), inplace=False)
            return None
        if method != "__call__":
            function = getattr(function, method)
        return _into(out, function, inputs, options)

    def __array_function__(self, function: Any, kinds: Any, args: Any, options: Any) -> Any:
        """Call the function of that name of `jax.numpy`."""
        options = dict(options)
        out = options.pop("out", None)
        return _into(() if out is None else (out,), _twin(function), args, options)

    def __float__(self) -> float:
        """Refuse to become a number, as `__array__` does."""
        raise TypeError("a traced array has no number to make a float of")

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        """Refuse to become an array of numbers, which are not known while tracing."""
        raise TypeError("a traced array has no numbers to make a NumPy array of")

    def __jax_array__(self) -> Array:
        """Be what is held, for JAX's own functions."""
        return self.array

    def __getattr__(self, name: str) -> Any:
        """Give what a NumPy array and a JAX one both have: `shape`, `T`, `sum` and so on."""
        if name.startswith("__") or not hasattr(np.ndarray, name):
            raise AttributeError(name)
        found = getattr(self.array, name)
        return _dispatching(found) if callable(found) else _cover(found)

    def __getitem__(self, index: Any) -> "Traced | _Selected":
        """Index by what NumPy takes, traced integers included."""
        index = _index(index)
        if isinstance(index, Array) and index.dtype == bool:
            return _Selected(self.array)
        return Traced(self.array[index])

    def __setitem__(self, index: Any, value: Any) -> None:
        """Assign to items: hold another array, in which these are replaced."""
        index = _index(index)
        value = value.array if isinstance(value, _Selected) else jnp.asarray(_bare(value))
        value = value.astype(self.array.dtype)
        if isinstance(index, Array | np.ndarray) and index.dtype == bool:
            mask = jnp.reshape(index, index.shape + (1,) * (self.array.ndim - index.ndim))
            self.array = jnp.where(mask, value, self.array)
        else:
            self.array = self.array.at[index].set(value)

    def __len__(self) -> int:
        """Give the length of the first axis."""
        return len(self.array)

    def __iter__(self) -> Iterator["Traced | _Selected"]:
        """Go along the first axis."""
        return (self[index] for index in range(len(self)))

    def __bool__(self) -> bool:
        """Tell truth from falsehood where that is known."""
        return bool(self.array)

    def __index__(self) -> int:
        """Give a whole number where it is known."""
        return int(self.array)

    @property
    def strides(self) -> tuple[int, ...]:
        """Give those of an array whose last axis is the closest in memory."""
        sizes = [*self.array.shape[1:], self.array.dtype.itemsize]
        return tuple(math.prod(sizes[axis:]) for axis in range(self.array.ndim))

    def __format__(self, _: str) -> str:
        """Stand for the number in what the function prints."""
        return "..."

    def item(self) -> "Traced":
        """Give the one number."""
        return self.reshape(())

    def copy(self, *_: Any) -> "Traced":
        """Give another that holds the same."""
        return Traced(self.array)

    def fill(self, value: Any) -> None:
        """Set all items."""
        self[...] = value


@dataclasses.dataclass(eq=False)
class _Selected(np.lib.mixins.NDArrayOperatorsMixin):
    """What a traced mask selects, how many is not known: all of it, to be assigned by that mask.

    Only what is done to each number on its own can be done to it.
    """

    array: Array

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> "_Selected":
        """Do it to all."""
        if method != "__call__":
            raise TypeError("how many numbers a traced mask selects is not known")
        held = [Traced(each.array) if isinstance(each, _Selected) else each for each in inputs]
        options.pop("out", None)
        return _Selected(getattr(ufunc, method)(*held, **options).array)


def _without_ties(extreme: Any, one: Any, other: Any, **options: Any) -> Any:
    """Give no slope at a tie, as those do who derive a ReLU by hand; JAX gives half of each."""
    tie = jax.lax.stop_gradient(jnp.asarray(extreme(one, other, **options)))
    return jnp.where(jnp.equal(one, other), tie, extreme(one, other, **options))


def _bare(tree: PyTree) -> PyTree:
    """Give what is held in the place of what stands in for it."""
    return jax.tree.map(lambda leaf: leaf.array if isinstance(leaf, Traced) else leaf, tree)


def _cover(tree: PyTree) -> PyTree:
    """Stand in for the JAX arrays of a tree."""
    return jax.tree.map(lambda leaf: Traced(leaf) if isinstance(leaf, Array) else leaf, tree)


def _index(index: Any) -> Any:
    """Give an index as JAX takes it: no lists or ranges."""
    if isinstance(index, tuple):
        return tuple(map(_index, index))
    return np.asarray(index) if isinstance(index, list | range) else _bare(index)


def _into(out: tuple[Any, ...], function: Function, args: Any, options: Any) -> Any:
    """Call a function of `jax.numpy`, and let `out`, if any, hold what it gives."""
    result = function(*map(_argument, args), **_bare(options))
    if not out:
        return _cover(result)
    (held,) = out
    if not isinstance(held, Traced):
        raise TypeError("a traced array cannot be written into a NumPy array")
    if held.array.ndim == 0:  # NumPy's numbers are no arrays, and do not change
        return Traced(result)
    held.array = jnp.broadcast_to(result, held.array.shape).astype(held.array.dtype)
    return held


def _argument(argument: Any) -> Any:
    """Give an argument as `jax.numpy` takes it: numbers in lists as an array."""
    numbers = isinstance(argument, list) and not any(np.ndim(_bare(each)) for each in argument)
    if numbers and _holds(argument):
        return jnp.stack([jnp.asarray(_bare(each)) for each in argument])
    return _bare(argument)


def _twin(function: Any) -> Function:
    """Give the function of `jax.numpy` that a function of NumPy is written as."""
    if function.__name__ in _WINDOWS:
        return _WINDOWS[function.__name__]
    room = jnp.linalg if "linalg" in (getattr(function, "__module__", None) or "") else jnp
    return getattr(room, function.__name__)


def _sliding_windows(x: Array, window_shape: Any, axis: Any = None, **_: Any) -> Array:
    """Give the windows that slide along axes, as NumPy does: their axes are the last."""
    axes = range(x.ndim) if axis is None else np.atleast_1d(axis)
    for size, along in zip(np.atleast_1d(window_shape).tolist(), axes, strict=True):
        count = x.shape[along] - size + 1
        parts = [jax.lax.slice_in_dim(x, k, k + count, axis=int(along)) for k in range(size)]
        x = jnp.stack(parts, -1)
    return x


def _strided(x: Array, shape: Sequence[int], strides: Sequence[int], **_: Any) -> Array:
    """Give the entries that strides in bytes lead to, in an array with the strides of `Traced`."""
    steps = [stride // x.dtype.itemsize for stride in strides]
    places = sum(step * each for step, each in zip(steps, np.indices(shape), strict=True))
    return x.ravel()[places]


_WINDOWS: dict[str, Function] = {"sliding_window_view": _sliding_windows, "as_strided": _strided}
"""What `jax.numpy` does not have."""


def _dispatching(function: Function) -> Function:
    """Give a function of JAX arrays that takes and gives what stands in for them."""

    def dispatched(*args: Any, **options: Any) -> Any:
        return _into((), function, args, options)

    return dispatched


def _holds(tree: PyTree) -> bool:
    return any(isinstance(leaf, Traced) for leaf in jax.tree.leaves(tree))


class _Joined:
    """NumPy's `c_` or `r_`, of traced arrays as well."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getitem__(self, parts: Any) -> Any:
        """Join arrays side by side, or one after the other."""
        if not _holds(parts if isinstance(parts, tuple) else (parts,)):
            return getattr(np, self._name)[parts]
        return _cover(getattr(jnp, self._name)[_bare(parts)])


class _Numpy(types.ModuleType):
    """NumPy, but what it makes of floats can be assigned traced ones, and lists may hold them."""

    def __init__(self, module: types.ModuleType) -> None:
        super().__init__(module.__name__)
        self._module = module

    def __getattr__(self, name: str) -> Any:
        if name in ("c_", "r_"):
            return _Joined(name)
        found = getattr(self._module, name)
        if isinstance(found, types.ModuleType) and found.__name__.startswith("numpy.lib"):
            return _Numpy(found)
        plain = isinstance(found, np.ufunc | type) or not callable(found)
        return found if plain else functools.partial(_call_numpy, found)


# What takes no array to dispatch on, or need not.
_MAKERS = ("array", "asarray", "zeros", "ones", "empty", "full", "eye", "identity")
_MAKERS += ("zeros_like", "ones_like", "empty_like", "full_like")


def _call_numpy(function: Any, *args: Any, **options: Any) -> Any:
    name = function.__name__
    if not _holds(args):
        made = function(*args, **options)
        floats = name in _MAKERS and made.dtype.kind == "f"
        return Traced(jnp.asarray(made)) if floats else made
    if name in ("array", "asarray"):
        # What is an array already is not copied by asarray.
        if name == "asarray" and isinstance(args[0], Traced) and len(args) + len(options) == 1:
            return args[0]
        return _into((), functools.partial(jnp.array, _stacked(args[0])), args[1:], options)
    out = options.pop("out", None)
    return _into(() if out is None else (out,), _twin(function), args, options)


def _stacked(rows: Any) -> Array:
    if isinstance(rows, list | tuple):
        return jnp.stack([_stacked(row) for row in rows])
    return jnp.asarray(_bare(rows))


class _Math(types.ModuleType):
    """The `math` of Python, also of traced numbers."""

    def __getattr__(self, name: str) -> Any:
        found = getattr(math, name)
        return functools.partial(_call_math, found) if callable(found) else found


def _call_math(function: Any, *args: Any) -> Any:
    return _into((), _twin(function), args, {}) if _holds(args) else function(*args)


class _OfFloats(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        # NumPy's own numbers are floats too.
        return isinstance(instance, float) or (isinstance(instance, Traced) and not instance.ndim)


class _Float(float, metaclass=_OfFloats):
    """The `float` of Python, that leaves a traced number what it is."""

    dtype = np.dtype(float)

    def __new__(cls, number: Any = 0.0) -> Any:
        """Give the number."""
        return number.reshape(()) if isinstance(number, Traced) else float(number)


def _extreme(function: Any, ufunc: np.ufunc) -> Function:
    """Give the `max` or `min` of Python, also of traced numbers."""

    def extreme(*args: Any, **options: Any) -> Any:
        numbers = args if args[1:] else [*args[0]]
        if options or not _holds(numbers):
            return function(numbers, **options)
        return functools.reduce(ufunc, numbers)

    return extreme


_BUILTINS = {"float": _Float, "max": _extreme(max, np.maximum), "min": _extreme(min, np.minimum)}


class _Copies:
    """Copies of functions, classes and what they use; each is made once, by what it is of."""

    def __init__(self) -> None:
        self._packages = (np, _Numpy(np)), (math, _Math("math")), (_STRIDES, _Numpy(_STRIDES))
        self._done: dict[int, Any] = {id(theirs): ours for theirs, ours in self._packages}
        # Kept, so that no other object is given the place of one that is gone.
        self._originals: list[Any] = []
        self._scopes: dict[int, dict[str, Any]] = {}

    def of(self, value: Any, module: str) -> Any:
        """Give the copy of what a function of a module uses; itself, of what others made."""
        if id(value) not in self._done:
            self._originals.append(value)
            self._done[id(value)] = value
            self._done[id(value)] = self._copy(value, module)
        return self._done[id(value)]

    def _copy(self, value: Any, module: str) -> Any:
        own = _beside(getattr(value, "__module__", None), module)
        if isinstance(value, types.MethodType):
            function, bound = (self.of(each, module) for each in (value.__func__, value.__self__))
            return types.MethodType(function, bound)
        if isinstance(value, functools.partial):
            return functools.partial(self.of(value.func, module), *value.args, **value.keywords)
        if own and isinstance(value, types.FunctionType | type):
            return self._class(value) if isinstance(value, type) else self._function(value)
        if isinstance(value, dict | list | set | np.ndarray) or _beside(
            type(value).__module__, module
        ):
            return self._thing(value, module)
        for package, ours in self._packages:
            name = getattr(value, "__name__", "")
            if callable(value) and getattr(package, name, None) is value:
                value = getattr(ours, name)
        return value

    def _function(self, function: types.FunctionType) -> Any:
        known = {k: v for k, v in _BUILTINS.items() if k not in function.__globals__}
        scope = self._scopes.setdefault(id(function.__globals__), known)
        cells = tuple(types.CellType() for _ in function.__closure__ or ())
        copied = types.FunctionType(
            function.__code__, scope, function.__name__, function.__defaults__, cells
        )
        copied.__kwdefaults__ = function.__kwdefaults__
        self._done[id(function)] = copied
        for cell, ours in zip(function.__closure__ or (), cells, strict=True):
            ours.cell_contents = self.of(cell.cell_contents, function.__module__)
        for name in _names(function.__code__) & function.__globals__.keys() - scope.keys():
            scope[name] = self.of(function.__globals__[name], function.__module__)
        return copied

    def _class(self, kind: type) -> Any:
        copied = type(kind)(kind.__name__, kind.__bases__, {"__module__": kind.__module__})
        self._done[id(kind)] = copied
        for name, value in vars(kind).items():
            if isinstance(value, staticmethod | classmethod):
                setattr(copied, name, type(value)(self.of(value.__func__, kind.__module__)))
            elif name not in ("__dict__", "__weakref__", "__module__"):
                setattr(copied, name, self.of(value, kind.__module__))
        return copied

    def _thing(self, value: Any, module: str) -> Any:
        """Copy what a function may change."""
        try:
            copied = copy.deepcopy(value)
            if _beside(type(value).__module__, module):
                copied.__class__ = self.of(type(value), module)
        except Exception:  # of a class of the user's, which may refuse in any way
            return value
        return copied


def _beside(other: str | None, module: str) -> bool:
    """Whether a module is the same as another, or lies in the same folder."""
    files = [getattr(sys.modules.get(name or ""), "__file__", None) for name in (other, module)]
    folders = [Path(file).absolute().parent for file in files if file]
    return other == module or (len(folders) == 2 and folders[0] == folders[1])


def _names(code: types.CodeType) -> set[str]:
    inner = (each for each in code.co_consts if isinstance(each, types.CodeType))
    return set(code.co_names).union(*map(_names, inner))


def traceable(function: Function, adapt: Callable[[Function], Function]) -> Function:
    """Give a function of JAX arrays that does what a NumPy function does, where JAX can trace it.

    Args:
        function: the user's.
        adapt: makes it one of (params, batch), pytrees of arrays.
    """
    inner = function.func if isinstance(function, functools.partial) else function
    module = getattr(inner, "__module__", "")

    def traced(params: PyTree, batch: PyTree) -> Any:
        # Anew each time: what one trace leaves in a copy is of no use to the next.
        adapted = adapt(_Copies().of(function, module))
        _LEFT.set(iter(range(_MOST)))
        arrays = _cover(jax.tree.map(jnp.asarray, (params, batch)))
        # Rank and dtype are promoted as NumPy does; what is printed has been seen.
        with (
            jax.numpy_rank_promotion("allow"),
            jax.numpy_dtype_promotion("standard"),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            return _bare(adapted(*arrays))

    return traced

"""Whether a function of the user's only computes, and running it without a trace of that.

What it may use is listed, not what it may not: arrays and numbers, the packages that compute, and
the user's own functions, of which the same is asked whether or not they run.
"""

import builtins
import contextlib
import dis
import functools
import inspect
import site
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

Scope = dict[str, Any]

_PACKAGES = frozenset(
    ["equinox", "flax", "jax", "jaxlib", "jaxnet", "jaxtyping", "math", "numpy", "optax", "scipy"]
)
# Of these packages, what keeps a state or writes files; and what Python itself has.
_STATEFUL = frozenset(["Generator", "RandomState", "memmap"])
_WORDS = """__import__ breakpoint compile delattr dump eval exec exit globals input loadtxt locals
memmap open quit savemat save savetxt savez savez_compressed tofile write writelines"""
_ACTING = frozenset(_WORDS.split())
# What goes on for as long as a number says.
_COUNTING = frozenset(["arange", "count", "cycle", "fori_loop", "range", "repeat", "while_loop"])
_OPERATIONS = frozenset(["DELETE_GLOBAL", "IMPORT_NAME", "STORE_GLOBAL"])
_VALUES = (str, bytes, bool, int, float, complex, range, slice, type(None), type(...), np.dtype)


class StoppedError(BaseException):
    """Code that ran for longer than it was given; no user's handler takes it for an error."""


@functools.cache
def libraries() -> tuple[str, ...]:
    """Give how the names begin of files that are not the user's own."""
    paths = sysconfig.get_paths()
    installed = [paths[each] for each in ("stdlib", "platstdlib", "purelib", "platlib")]
    own = f"{Path(__file__).parents[1]}/"
    return (*installed, *site.getsitepackages(), site.getusersitepackages(), own, "<")


class Reach:
    """All that a function can reach.

    Attributes:
        arrays, containers, objects: of the user's, that it could change.
    """

    def __init__(self) -> None:
        """Begin with nothing reached."""
        self.arrays: list[np.ndarray] = []
        self.containers: list[Any] = []
        self.objects: list[Any] = []
        self._seen: dict[int, Any] = {}

    def computes(self, value: Any) -> bool:
        """Whether a value is one with which nothing is done but to compute."""
        if id(value) in self._seen or isinstance(value, _VALUES):
            return True
        self._seen[id(value)] = value
        if isinstance(value, ModuleType):
            return _root(value.__name__) in _PACKAGES or _is_own_file(value)
        if isinstance(value, FunctionType):
            return self._function(value)
        if isinstance(value, type):
            return self._class(value)
        parts = self._parts(value)
        return self._thing(value) if parts is None else all(map(self.computes, parts))

    def _parts(self, value: Any) -> list[Any] | None:
        """Give what a value is made of; None where it is one thing."""
        match value:
            case functools.partial():
                return [value.func, value.args, value.keywords]
            case MethodType():
                return [value.__func__, value.__self__]
            case staticmethod() | classmethod() | property():
                parts = ("__func__", "fget", "fset", "fdel")
                return [getattr(value, part, None) for part in parts]
            case tuple() | frozenset():
                return [*value]
            case list() | set() | dict():
                self.containers.append(value)
                return [*(value.values() if isinstance(value, dict) else value)]
        return None

    def _thing(self, value: Any) -> bool:
        kind = type(value)
        if isinstance(value, np.ndarray):
            self.arrays.append(value)
        if _root(kind.__module__) in _PACKAGES:
            # What a decorator made of a function of the user's is looked into.
            inner = inspect.unwrap(value) if callable(value) else value
            return kind.__name__ not in _STATEFUL and (inner is value or self.computes(inner))
        if callable(value) and _root(getattr(value, "__module__", None)) in _PACKAGES:
            return True
        if kind.__module__ == "builtins" or not _is_own_file(sys.modules.get(kind.__module__)):
            return False
        self.objects.append(value)
        return self.computes(kind) and all(map(self.computes, vars(value).values()))

    def _function(self, function: FunctionType) -> bool:
        if _root(function.__globals__.get("__name__")) in _PACKAGES:
            # What a decorator made of a function of the user's is looked into.
            inner = inspect.unwrap(function)
            return inner is function or self.computes(inner)
        if function.__code__.co_filename.startswith(libraries()):
            return False
        cells = [each.cell_contents for each in function.__closure__ or ()]
        beside = (*cells, *(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
        code = self._code(function.__code__, function.__globals__)
        return code and all(map(self.computes, beside))

    def _class(self, kind: type) -> bool:
        if kind.__module__ == "builtins" or _root(kind.__module__) in _PACKAGES:
            return kind.__name__ not in _STATEFUL
        if not _is_own_file(sys.modules.get(kind.__module__)):
            return kind.__module__ in ("typing", "types", "collections", "dataclasses", "abc")
        own = (each for name, each in vars(kind).items() if not _is_aside(name, each))
        return all(map(self.computes, (*kind.__bases__, *own)))

    def _code(self, code: CodeType, space: Scope) -> bool:
        if _ACTING & set(code.co_names):
            return False
        if any(each.opname in _OPERATIONS for each in dis.get_instructions(code)):
            return False
        used = [space[name] for name in code.co_names if name in space]
        for module in [each for each in used if isinstance(each, ModuleType)]:
            if _root(module.__name__) not in _PACKAGES:
                used += [vars(module)[name] for name in code.co_names if name in vars(module)]
        inner = (each for each in code.co_consts if isinstance(each, CodeType))
        return all(map(self.computes, used)) and all(self._code(each, space) for each in inner)

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Let nothing of it be changed in place, and put back what is changed otherwise."""
        writable = [each for each in self.arrays if each.flags.writeable]
        contents = [(each, each.copy()) for each in self.containers]
        states = [(each, dict(vars(each))) for each in self.objects]
        for each in writable:
            each.flags.writeable = False
        try:
            yield
        finally:
            # A view may be written into only where what it is of may.
            for array in sorted(writable, key=lambda each: each.base is not None):
                array.flags.writeable = True
            for held, copy in contents:
                held.clear()
                held.extend(copy) if isinstance(held, list) else held.update(copy)
            for thing, state in states:
                vars(thing).clear()
                vars(thing).update(state)


def _is_aside(name: str, value: Any) -> bool:
    """Whether an attribute of a class is none of the user's: made by Python or by `dataclasses`."""
    made = not isinstance(value, FunctionType) or value.__code__.co_filename.startswith(libraries())
    return made and (name == "_abc_impl" or (name.startswith("__") and name != "__call__"))


def _root(name: str | None) -> str:
    return (name or "").partition(".")[0]


def _is_own_file(module: ModuleType | None) -> bool:
    """Whether a module is the user's; one without a file is a session of theirs."""
    if module is None or module is builtins:
        return False
    file = getattr(module, "__file__", None)
    return not file.startswith(libraries()) if file else not hasattr(module, "__loader__")


def may_go_on(code: CodeType) -> bool:
    """Whether a function may do something again and again, whatever the sizes of arrays are."""
    if _COUNTING & set(code.co_names):
        return True
    steps = list(dis.get_instructions(code))
    at = {each.offset: each.opname for each in steps}
    back = (each for each in steps if "BACKWARD" in each.opname)
    inner = (each for each in code.co_consts if isinstance(each, CodeType))
    # What goes back to where it takes the next of some things ends with them.
    return any(at[each.argval] != "FOR_ITER" for each in back) or any(map(may_go_on, inner))


def limited(call: Callable[[], Any], lines: int, end: float) -> Any:
    """Call what runs the user's own code, for no more lines of it than said, and no longer.

    Raises:
        StoppedError: it takes more lines than that, or `time.process_time()` is past `end`.
    """
    left = lines

    def follow(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        left -= event == "line"
        if left < 0 or time.process_time() > end:
            raise StoppedError
        return follow

    def enter(frame: FrameType, event: str, _: Any) -> Any:
        return None if frame.f_code.co_filename.startswith(libraries()) else follow

    with traced(enter):
        return call()


@contextlib.contextmanager
def traced(trace: Callable[[FrameType, str, Any], Any]) -> Iterator[None]:
    """Have Python tell of what runs, and then again who was told before."""
    previous = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(previous)

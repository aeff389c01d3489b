"""Values of JSON, of a command line or of Python, as the frozen dataclasses that declare them.

A field is a number, text, a path, true or false, one of a few words, None, several of these as a
tuple or by name, or a dataclass, whose own checks hold here too.
"""

import dataclasses
import json
import math
import reprlib
import types
from collections.abc import Mapping
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Literal,
    NamedTuple,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from jaxnet.errors import InputError

T = TypeVar("T")

# What a sealed file has beside its record.
_SEAL = ("sha256", "files")
# Bytes of a file of settings, and characters of a path.
_LARGEST = 2**20
_LONGEST = 4096
_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    str: "words",
    Path: f"a path of 1 to {_LONGEST} whole characters",
}


Extended = Annotated[float, "or infinite"]
"""A number that may be infinite, which JSON has as text."""


class Bounds(NamedTuple):
    """The lowest and the highest that a number may be; of a text, how long."""

    low: int | float
    high: int | float


def plain(record: Any, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """Give a dataclass as JSON has it, but for the fields left out; NumPy's numbers as numbers."""
    fields = {k: v for k, v in dataclasses.asdict(record).items() if k not in without}
    return json.loads(json.dumps(_finite(fields), default=_plain))


def check(record: Any) -> None:
    """Refuse a dataclass whose fields are not of the types and within the bounds it declares.

    Raises:
        InputError: the first that is not, by its name.
    """
    typed(type(record), vars(record))


def typed(kind: type[T], value: Any, name: str = "", without: tuple[str, ...] = ()) -> T:
    """Give a value as a type declares it: a dataclass has every field, each of its type, no other.

    Args:
        kind: the type. value: what JSON had for it.
        name: what errors call the value.
        without: fields of a dataclass that are to have their defaults.

    Raises:
        InputError: naming the field that is not as expected.
    """
    return _dataclass(kind, value, name, without) if without else _value(kind, value, name)


def rebuilt(kind: type[T], record: Any, path: Path, without: tuple[str, ...] = ()) -> T:
    """Rebuild a dataclass, as `typed`, from what a file had.

    Raises:
        InputError: naming the file, and the field that is not as expected.
    """
    try:
        return typed(kind, record, without=without)
    except InputError as error:
        raise InputError(f"{path}: {error}; give another folder, or delete this one") from error


def read(kind: type[T], path: Path, without: tuple[str, ...] = ()) -> T:
    """Rebuild a run's settings from their JSON file, whose seal is another's to check.

    Raises:
        InputError: as `rebuilt`; no such file, or one that is not JSON.
    """
    try:
        record = _parsed(path)
    except (OSError, ValueError, RecursionError) as error:
        got = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        closed = isinstance(error, PermissionError)
        cure = "make it readable" if closed else "give another folder, or delete this one"
        raise InputError(
            f"{path}: expected the settings of a run as JSON, got {got or type(error).__name__}; "
            f"{cure}"
        ) from error
    if isinstance(record, dict):
        record = {name: value for name, value in record.items() if name not in _SEAL}
    return rebuilt(kind, record, path, without)


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value.item()


def _finite(value: Any) -> Any:
    """Give infinities as text."""
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return str(value) if isinstance(value, float) and math.isinf(value) else value


def _parsed(path: Path) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        record = dict(pairs)
        if len(record) < len(pairs):
            raise ValueError("a name that is there twice")
        return record

    def refuse(number: str) -> Any:
        raise ValueError(f"{number}, which is no number in JSON")

    if path.exists() and not path.is_file():
        raise ValueError("no file")
    with path.open("rb") as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise ValueError(f"more than {_LARGEST} bytes")
    return json.loads(content, object_pairs_hook=once, parse_constant=refuse)


def _value(kind: Any, value: Any, where: str) -> Any:
    """Give a value as its annotation has it; `where` names it, with a dot before the next name."""
    origin, arguments = get_origin(kind), get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, value, where)
    if kind == Extended and value in ("inf", "-inf"):
        return float(value)
    if origin is Annotated:
        inner = _value(arguments[0], value, where)
        for bounds in arguments[1:]:
            if isinstance(bounds, Bounds) and inner is not None:
                _check_bounds(inner, bounds, where)
        return inner
    if origin in (Union, types.UnionType):
        others = [each for each in arguments if each is not types.NoneType]
        if value is None and len(others) < len(arguments):
            return None
        return _value(type(value) if type(value) in others else others[0], value, where)
    return _simple(kind, value, where)


def _simple(kind: Any, value: Any, where: str) -> Any:
    """Give a list, an object, a number, a path or words."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_value(arguments[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if origin is Mapping and isinstance(value, dict):
        return {name: _value(arguments[1], v, _under(where, name)) for name, v in value.items()}
    if origin is Literal and isinstance(value, str) and value in arguments:
        return value
    if kind in _WORDS and _is(kind, value):
        return kind(value)
    words = {tuple: "a list", Mapping: "an object", Literal: " or ".join(map(str, arguments))}
    raise _wrong(where, words.get(origin) or _WORDS[kind], value)


def _is(kind: Any, value: Any) -> bool:
    """Tell whether a value is a plain one of a type, for which JSON may have another."""
    if kind is Path:
        return isinstance(value, Path | str) and _is_whole(str(value), Bounds(1, _LONGEST))
    if kind is bool or isinstance(value, bool):
        return kind is type(value)
    if kind is float and isinstance(value, int | float):
        return abs(value) < 1e300 and math.isfinite(value)
    return isinstance(value, kind)


def _dataclass(kind: Any, value: Any, where: str, without: tuple[str, ...] = ()) -> Any:
    if not isinstance(value, dict):
        raise _wrong(where, "an object", value)
    hints = get_type_hints(kind, include_extras=True)
    names = [field.name for field in dataclasses.fields(kind) if field.name not in without]
    for name in [*names, *value]:
        if (name in value) != (name in names):
            got = "none" if name in names else "a field that is not known"
            field = _under(where, reprlib.repr(name)[1:-1])
            raise InputError(f"{field}: expected {', '.join(names)}, got {got}")
    fields = {name: _value(hints[name], value[name], _under(where, name)) for name in names}
    try:
        return kind(**fields)
    except InputError as error:
        raise InputError(_under(where, str(error))) from error


def _check_bounds(value: Any, bounds: Bounds, where: str) -> None:
    if isinstance(value, str):
        if not _is_whole(value, bounds):
            raise _wrong(where, f"{bounds.low} to {bounds.high} whole characters", value)
    elif value < bounds.low:
        raise _wrong(where, f"at least {bounds.low}", value)
    elif value > bounds.high:
        raise _wrong(where, f"at most {bounds.high}", value)


def _is_whole(text: str, bounds: Bounds) -> bool:
    """Tell text that names a file and can be printed: no null in it, no half of a UTF-16 pair."""
    broken = any(letter == "\0" or "\ud800" <= letter <= "\udfff" for letter in text)
    return bounds.low <= len(text) <= bounds.high and not broken


def _under(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _wrong(where: str, expected: str, value: Any) -> InputError:
    try:
        got = reprlib.repr(value)
    except ValueError:  # a number of thousands of digits
        got = f"{type(value).__name__} too large to show"
    return InputError(f"{where or 'record'}: expected {expected}, got {got}")

"""Settings checked by the types they are declared with, wherever they come from.

A setting is text, a number, a path, one of a few words, several of these, or None.
"""

import dataclasses
import json
import math
import types
from collections.abc import Callable
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

Settings = TypeVar("Settings")

# Bytes of settings on disk, characters of a text, and characters of it that an error repeats.
_LARGEST = 2**20
_LONGEST = 4096
_SHOWN = 60


class Bounds(NamedTuple):
    """The lowest and the highest number that a setting may be."""

    low: int | float
    high: int | float


def check(settings: Any) -> None:
    """Refuse settings that are not of the types and within the bounds they are declared with.

    Raises:
        InputError: the first that is not, by its name.
    """
    for name, hint in _hints(type(settings)).items():
        _value(name, hint, getattr(settings, name))


def to_json(settings: Any, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """Give settings as JSON has them, but for those left out."""
    record = json.loads(json.dumps(dataclasses.asdict(settings), default=str, allow_nan=False))
    return {name: value for name, value in record.items() if name not in without}


def read(kind: type[Settings], path: Path, without: tuple[str, ...] = ()) -> Settings:
    """Read settings that `to_json` gave from a file, and check them.

    Raises:
        InputError: no such file, one that is not JSON, or settings missing, unknown or refused,
            by the file and the setting.
    """
    try:
        record = _parsed(path)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: expected the settings of a run as JSON, got {_first_line(error)}"
        ) from error
    hints = {name: hint for name, hint in _hints(kind).items() if name not in without}
    if not isinstance(record, dict):
        raise InputError(f"{path}: expected settings by name, got {_shown(record)}")
    for name in hints:
        if name not in record:
            raise InputError(f"{path}: {name}: expected a value, got none")
    for name in record:
        if name not in hints:
            raise InputError(f"{path}: {_shown(name)}: expected one of {', '.join(hints)}")
    try:
        return kind(**{name: _value(name, hints[name], record[name]) for name in hints})
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


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


def _hints(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _value(name: str, hint: Any, given: Any) -> Any:
    """Give what is given as the type of the setting has it: a list as a tuple, text as a path."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        value = _value(name, arguments[0], given)
        for bounds in arguments[1:]:
            if isinstance(bounds, Bounds) and value is not None:
                _check_bounds(name, value, bounds)
        return value
    if origin in (Union, types.UnionType):
        optional = next(each for each in arguments if each is not type(None))
        return None if given is None else _value(name, optional, given)
    if origin is tuple:
        _refuse_unless(isinstance(given, list | tuple), name, "a list", given)
        return tuple(
            _value(f"{name}[{index}]", arguments[0], each) for index, each in enumerate(given)
        )
    if origin is Literal:
        words = " or ".join(map(str, arguments))
        _refuse_unless(isinstance(given, str) and given in arguments, name, words, given)
        return given
    return _PLAIN[hint](name, given)


def _whole(name: str, given: Any) -> int:
    whole = isinstance(given, int) and not isinstance(given, bool)
    _refuse_unless(whole, name, "a whole number", given)
    return given


def _number(name: str, given: Any) -> float:
    number = isinstance(given, int | float) and not isinstance(given, bool)
    finite = number and (isinstance(given, int) or math.isfinite(given))
    _refuse_unless(finite and abs(given) < 1e300, name, "a finite number", given)
    return float(given)


def _text(name: str, given: Any) -> str:
    _refuse_unless(isinstance(given, str), name, "text", given)
    _refuse_unless(0 < len(given) <= _LONGEST, name, f"1 to {_LONGEST} characters", given)
    # Neither names a file nor can be printed: a null, and half of a pair of UTF-16.
    broken = any(letter == "\0" or "\ud800" <= letter <= "\udfff" for letter in given)
    _refuse_unless(not broken, name, "text of whole characters", given)
    return given


def _path(name: str, given: Any) -> Path:
    return Path(_text(name, str(given) if isinstance(given, Path) else given))


_PLAIN: dict[Any, Callable[[str, Any], Any]] = {
    int: _whole,
    float: _number,
    str: _text,
    Path: _path,
}


def _check_bounds(name: str, value: int | float, bounds: Bounds) -> None:
    _refuse_unless(value >= bounds.low, name, f"at least {bounds.low}", value)
    _refuse_unless(value <= bounds.high, name, f"at most {bounds.high}", value)


def _refuse_unless(fine: bool, name: str, expected: str, given: Any) -> None:
    if not fine:
        raise InputError(f"{name}: expected {expected}, got {_shown(given)}")


def _shown(given: Any) -> str:
    try:
        text = str(given) if isinstance(given, int | float) else ascii(given)
    except (ValueError, RecursionError):  # a number of thousands of digits, lists within lists
        text = f"{type(given).__name__} too large to show"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__

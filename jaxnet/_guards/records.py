"""Records of JSON, rebuilt into the frozen dataclasses that they were written from."""

import dataclasses
import json
import reprlib
import sys
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from jaxnet.errors import InputError

T = TypeVar("T")


def plain(record: Any) -> dict[str, Any]:
    """Give a dataclass as JSON has it, numbers of NumPy as numbers."""
    return json.loads(json.dumps(dataclasses.asdict(record), default=lambda value: value.item()))


def rebuilt(kind: type[T], record: Any, path: Path) -> T:
    """Rebuild a dataclass from what JSON had: every field of it, each of its type, and no other.

    Its fields are numbers, words, `Literal`s, `None`, tuples and mappings of these, and
    dataclasses, whose own checks hold here too.

    Raises:
        InputError: naming the file, and the field that is not as expected.
    """
    try:
        return _value(kind, record, "")
    except InputError as error:
        raise InputError(f"{path}: {error}; give another folder, or delete this one") from error


def _value(kind: Any, value: Any, where: str) -> Any:
    """Give a value as its annotation has it; `where` names it, with a dot before the next name."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, value, where)
    if origin in (typing.Union, types.UnionType):
        (inner,) = (each for each in arguments if each is not types.NoneType)
        return None if value is None else _value(inner, value, where)
    if origin is tuple and isinstance(value, list):
        return tuple(_value(arguments[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if origin is Mapping and isinstance(value, dict):
        return {name: _value(arguments[1], v, _under(where, name)) for name, v in value.items()}
    return _scalar(kind, value, where)


def _scalar(kind: Any, value: Any, where: str) -> Any:
    if kind is float and type(value) in (int, float) and abs(value) <= sys.float_info.max:
        return float(value)
    words = {int: "a whole number", float: "a finite number", str: "words"}.get(kind, "a list")
    known = typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else ()
    if type(value) is (str if known else kind) and (value in known or kind in (int, str)):
        return value
    words = "an object" if typing.get_origin(kind) is Mapping else words
    raise _wrong(where, " or ".join(known) or words, value)


def _dataclass(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise _wrong(where, "an object", value)
    hints = typing.get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    for name in [*names, *value]:
        if (name in value) != (name in names):
            got = "none" if name in names else "a field that is not known"
            raise InputError(f"{_under(where, name)}: expected {', '.join(names)}, got {got}")
    fields = {name: _value(hints[name], value[name], _under(where, name)) for name in names}
    try:
        return kind(**fields)
    except InputError as error:
        raise InputError(_under(where, str(error))) from error


def _under(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _wrong(where: str, expected: str, got: Any) -> InputError:
    return InputError(f"{where or 'record'}: expected {expected}, got {reprlib.repr(got)}")

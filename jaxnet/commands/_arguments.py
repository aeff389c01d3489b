"""The arguments of a command line, by tyro: read, refused in a line, and shown in a help."""

import contextlib
import dataclasses
import functools
import io
import itertools
import re
import shlex
import sys
import textwrap
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from jaxnet import errors

# What stands for a value of a kind, and what an error calls it.
_KINDS = {
    int: ("N", "a whole number"),
    float: ("NUMBER", "a number"),
    str: ("NAME", "words"),
    Path: ("PATH", "a path"),
}


def parse(what: Any, prog: str, arguments: list[str], **more: Any) -> Any:
    """Make `what` of the arguments by tyro, which ends the process where it prints a help.

    Args:
        what: a class or function. prog: what the command is called. arguments: of it.
        **more: for tyro.

    Raises:
        InputError: arguments that it does not take, with those it takes for meant.
    """
    import tyro

    # Of the terminal's encoding, by which tyro chooses the lines of its boxes.
    printed = io.TextIOWrapper(io.BytesIO(), sys.stdout.encoding, write_through=True)
    refusal = io.StringIO()
    try:
        with (
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(refusal),
            _values(),
        ):
            return tyro.cli(what, prog=prog, args=arguments, **more)
    except SystemExit:
        if refusal.getvalue():
            words = _in_a_line(refusal.getvalue())
            raise errors.InputError(f"{words}; see {prog} --help") from None
        raise
    finally:
        printed.seek(0)
        print(_wrapped(printed.read()), end="")


def _in_a_line(box: str) -> str:
    """Give what stands in a box of tyro's, part by part, without what arguments are for."""
    rows = [line[2:-2] for line in box.splitlines()[1:-1]]
    parts = []
    for ruled, part in itertools.groupby(rows, lambda row: not row.strip("─- ")):
        words = " ".join(row.strip() for row in part if not row.startswith(" " * 8))
        if not ruled and not words.startswith(("Argument helptext", "For full helptext")):
            parts.append(words.rstrip("."))
    return "; ".join(parts)


def _values() -> Any:
    """Give a context in which tyro says in our words what is no value, and neither takes None nor
    tells of it.
    """
    from tyro import constructors

    registry = constructors.ConstructorRegistry()
    registry.primitive_rule(_optional)
    registry.primitive_rule(_value)
    registry.primitive_rule(_several)
    registry.struct_rule(_quietly())
    return registry


def _optional(info: Any) -> Any:
    """Read what may be None as what else it may be."""
    among = typing.get_args(info.type)
    if type(None) not in among:
        return None
    (kind,) = (each for each in among if each is not type(None))
    return _spec(kind, info)


def _value(info: Any) -> Any:
    """Read a number, words or a path."""
    from tyro import constructors

    kind = info.type
    if kind not in _KINDS:
        return None
    metavar, expected = _KINDS[kind]

    def read(arguments: list[str]) -> Any:
        with contextlib.suppress(ValueError):
            if arguments[0]:
                return kind(arguments[0])
        raise ValueError(f"expected {expected}, got {arguments[0]!r}")

    return constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, kind),
        str_from_instance=lambda value: [str(value)],
    )


def _several(info: Any) -> Any:
    """Read any number of values of a kind, each by itself."""
    from tyro import constructors

    if typing.get_origin(info.type) is not tuple:
        return None
    each = _spec(typing.get_args(info.type)[0], info)
    return constructors.PrimitiveConstructorSpec(
        nargs="*",
        metavar=f"[{each.metavar} ...]",
        instance_from_str=lambda words: tuple(each.instance_from_str([word]) for word in words),
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda value: [str(part) for part in value],
    )


def _spec(kind: Any, info: Any) -> Any:
    from tyro import constructors

    make = constructors.PrimitiveTypeInfo.make
    return constructors.ConstructorRegistry.get_primitive_spec(make(kind, info.markers))


def _quietly() -> Callable[[Any], Any]:
    """Give a rule that leaves out of a help that a default is None, or nothing: its words say what
    is done then.
    """
    from tyro import conf, constructors

    inside = False

    def settings(info: Any) -> Any:
        nonlocal inside
        if inside or not dataclasses.is_dataclass(info.type):
            return None
        inside = True
        spec: Any = constructors.ConstructorRegistry.get_struct_spec(info)
        inside = False
        quiet = conf.arg(help_behavior_hint="")
        fields = tuple(
            dataclasses.replace(each, type=Annotated[each.type, quiet])
            if each.default is None or each.default == ()
            else each
            for each in spec.fields
        )
        return dataclasses.replace(spec, fields=fields)

    return settings


def _wrapped(text: str) -> str:
    """Break the lines of a help that tyro leaves longer than it draws its boxes."""
    wide = [textwrap.fill(line, 80) if len(line) > 80 else line for line in text.split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(wide))


def bound(main: Callable[..., Any]) -> Callable[..., Callable[[], Any]]:
    """Give a function of the arguments of `main` that leaves the call of it for later."""

    @functools.wraps(main)
    def later(*arguments: Any, **named: Any) -> Callable[[], Any]:
        return functools.partial(main, *arguments, **named)

    return later


def shown(command: str) -> str:
    """Give the command line that the process was started with, to be given again."""
    return f"{command} {shlex.join(sys.argv[1:])}"

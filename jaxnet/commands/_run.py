"""What every command does alike: arguments, one-line errors, exit codes, Ctrl-C, closed pipes."""

import contextlib
import errno
import functools
import gc
import io
import itertools
import os
import re
import shlex
import signal
import sys
import sysconfig
import textwrap
import typing
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from jaxnet import errors
from jaxnet.commands import _interrupts

REFUSED = 2
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


def enter(work: Callable[[], int | None]) -> NoReturn:
    """Run a command as this process, and end it with the exit code that `work` gives, 0 where None.

    Ctrl-C ends it at once and without a word; what must tidy up first is called `interruptibly`.
    """
    _interrupts.quiet()
    # As other commands, whose reader has had enough.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.unraisablehook = _unraisable
    try:
        code = outcome(work)
    except SystemExit as ended:
        if not isinstance(ended.code, int | None):
            raise
        code = ended.code or 0
    finally:
        # Else the interpreter looks through all that was ever imported, for half a second.
        gc.freeze()
    if code >= 128:
        # What still compiles in other threads would crash as the interpreter is taken down.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    raise SystemExit(code)


def outcome(work: Callable[[], int | None]) -> int:
    """Give the exit code of a command; bad input is said in one line, a fault keeps its traceback.

    So is a file of the user's that cannot be read or written, and an extra that is missing; and so
    is a warning, but of the user's own code.
    """
    try:
        with warnings.catch_warnings():
            warnings.showwarning = functools.partial(_note, warnings.showwarning)
            code = work() or 0
        print(end="", flush=True)
        return code
    except KeyboardInterrupt:
        return _interrupts.STOPPED
    except errors.FunctionError:  # The functions are a command's own.
        raise
    except errors.InputError as error:
        return refused(str(error))
    except ImportError as error:
        if error.name is not None:
            raise
        return refused(str(error))
    except OSError as error:
        ours = error.filename is None or is_installed(error.filename)
        if ours and error.errno not in _FULL:
            raise
        return refused(f"{error.filename or 'output'}: {error.strerror}")


def refused(words: str) -> int:
    """Say in one line what was refused; give the exit code."""
    _say("error", words)
    return REFUSED


def _note(
    show: Any, message: Warning | str, category: type[Warning], place: str, *more: Any
) -> None:
    """Say a warning in a line, or show it with its place where that is the user's code."""
    if is_installed(place):
        _say("note", str(message))
    else:
        show(message, category, place, *more)


def _say(kind: str, words: str) -> None:
    lines = (line.strip() for line in words.splitlines())
    print(f"{kind}: {'; '.join(lines)}", file=sys.stderr)


def check_machine() -> None:
    """Refuse a JAX that computes wrong values, and variables JAXNET_... that are none.

    Raises:
        InputError: either.
    """
    from jaxnet import devices
    from jaxnet._guards import versions

    versions.check()
    devices.is_fast(None)


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
    """Give a context in which tyro says in our words what is no value, and takes no None."""
    from tyro import constructors

    registry = constructors.ConstructorRegistry()
    kinds = {
        int: ("N", "a whole number"),
        float: ("NUMBER", "a number"),
        str: ("NAME", "words"),
        Path: ("PATH", "a path"),
    }

    @registry.primitive_rule
    def optional(info: constructors.PrimitiveTypeInfo) -> Any:
        among = typing.get_args(info.type)
        if type(None) not in among:
            return None
        (kind,) = (each for each in among if each is not type(None))
        return registry.get_primitive_spec(constructors.PrimitiveTypeInfo.make(kind, info.markers))

    @registry.primitive_rule
    def value(info: constructors.PrimitiveTypeInfo) -> Any:
        kind = info.type
        if kind not in kinds:
            return None
        metavar, expected = kinds[kind]

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

    return registry


def bound(main: Callable[..., Any]) -> Callable[..., Callable[[], Any]]:
    """Give a function of the arguments of `main` that leaves the call of it for later."""

    @functools.wraps(main)
    def later(*arguments: Any, **named: Any) -> Callable[[], Any]:
        return functools.partial(main, *arguments, **named)

    return later


def shown(command: str) -> str:
    """Give the command line that the process was started with, to be given again."""
    return f"{command} {shlex.join(sys.argv[1:])}"


def _wrapped(text: str) -> str:
    """Break the lines of a help that tyro leaves longer than it draws its boxes."""
    wide = [textwrap.fill(line, 80) if len(line) > 80 else line for line in text.split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(wide))


def _unraisable(raised: Any) -> None:
    """End quietly where Ctrl-C came in a callback, whose errors Python prints and goes on."""
    if raised.exc_type in (KeyboardInterrupt, SystemExit):
        _interrupts.leave()
    sys.__unraisablehook__(raised)


def is_installed(path: str | bytes) -> bool:
    """Tell the files of jaxnet and of other packages from those of the user."""
    folders = {
        Path(errors.__file__).parent,
        *(Path(sysconfig.get_path(kind)) for kind in ("stdlib", "purelib", "platlib")),
    }
    return any(Path(os.fsdecode(path)).absolute().is_relative_to(folder) for folder in folders)

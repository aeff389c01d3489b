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

    So is a file of the user's that cannot be read or written, and an extra that is missing.
    """
    try:
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
    lines = (line.strip() for line in words.splitlines())
    print(f"error: {'; '.join(lines)}", file=sys.stderr)
    return REFUSED


def check_machine() -> None:
    """Refuse a JAX that computes wrong values, and variables JAXNET_... that are none.

    Raises:
        InputError: either.
    """
    from jaxnet import devices
    from jaxnet._guards import versions

    versions.check()
    devices.is_fast(None)


def parse(what: Any, prog: str, arguments: list[str], help_of: str = "", **more: Any) -> Any:
    """Make `what` of the arguments by tyro, which prints the help where it is asked for.

    Args:
        what: a class or function. prog: what the command is called. arguments: of it.
        help_of: what is called with --help to learn more; `prog` where empty.
        **more: for tyro.

    Raises:
        InputError: arguments that it does not take.
    """
    import tyro

    # Of the terminal's encoding, by which tyro chooses the lines of its boxes.
    printed = io.TextIOWrapper(io.BytesIO(), sys.stdout.encoding, write_through=True)
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(complaint):
            return tyro.cli(what, prog=prog, args=arguments, **more)
    except SystemExit as ended:
        if not ended.code:
            printed.seek(0)
            print(_wrapped(printed.read()), end="")
            raise
        words = _out_of_box(complaint.getvalue())
        raise errors.InputError(f"{words}; see {help_of or prog} --help") from None


def bound(main: Callable[..., Any]) -> Callable[..., Callable[[], Any]]:
    """Give a function of the arguments of `main` that leaves the call of it for later."""

    @functools.wraps(main)
    def later(*arguments: Any, **named: Any) -> Callable[[], Any]:
        return functools.partial(main, *arguments, **named)

    return later


def shown(command: str) -> str:
    """Give the command line that the process was started with, to be given again."""
    return f"{command} {shlex.join(sys.argv[2:])}"


def describe(provenance: dict[str, str]) -> str:
    """Say in one line, or two, where and with what a result was computed."""
    from jaxnet import devices

    words = (
        f"{provenance['device']}, {provenance['dtype']}, jax {provenance['jax']}, "
        f"optax {provenance['optax']}, numpy {provenance['numpy']}"
    )
    if provenance["dtype"] == "float64" and not devices.float64_is_native():
        words += (
            "\nfloat64 is not native on this device: expect agreement with the notebook to a "
            f"relative {devices.float64_error():.0e}, not to the last character"
        )
    return words


def _wrapped(text: str) -> str:
    """Break the lines of a help that tyro leaves longer than it draws its boxes."""
    wide = [textwrap.fill(line, 80) if len(line) > 80 else line for line in text.split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(wide))


def _out_of_box(text: str) -> str:
    """Take what tyro says, beneath its title and down to a rule, out of the box it draws."""
    lines = [line.strip("│╭╮╰╯ ") for line in text.splitlines()][1:]

    def is_rule(line: str) -> bool:
        return set(line) in ({"─"}, {"-"})

    inside = itertools.takewhile(
        lambda line: not is_rule(line), itertools.dropwhile(is_rule, lines)
    )
    words = " ".join(" ".join(inside).split()).rstrip(".")
    words = re.sub(r"^Error parsing (-\S+): ", r"\1: ", words)
    for python, expected in _NUMBERS.items():
        pattern = rf"^(-\S+): .*?{python}: ('.*?').*"
        words = re.sub(pattern, rf"\1: expected {expected}, got \2", words)
    return words


# What Python says of text that is no number, and what was expected.
_NUMBERS = {
    r"invalid literal for int\(\) with base 10": "a whole number",
    "could not convert string to float": "a number",
}


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

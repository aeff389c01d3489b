"""The exit code of a command; what was refused, and what is warned of, each in a line."""

import errno
import functools
import os
import sys
import sysconfig
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxnet import errors
from jaxnet.commands import _interrupts

REFUSED = 2
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


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


def is_installed(path: str | bytes) -> bool:
    """Tell the files of jaxnet and of other packages from those of the user."""
    folders = {
        Path(errors.__file__).parent,
        *(Path(sysconfig.get_path(kind)) for kind in ("stdlib", "purelib", "platlib")),
    }
    return any(Path(os.fsdecode(path)).absolute().is_relative_to(folder) for folder in folders)

"""Audit the gradient that a Python file or a notebook of the user's defines."""

import itertools
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from jaxnet import devices
from jaxnet._guards import records
from jaxnet.audit import display, gradients
from jaxnet.commands import _outcomes, _sources
from jaxnet.commands.settings import Audit
from jaxnet.errors import InputError

_MODULE = "audited"


def run(settings: Audit) -> display.Audit:
    """Run the file and audit its gradient; what its own code raises goes through.

    Raises:
        InputError: no Python file or notebook, one that does not define the four names, or what
            `jaxnet.audit.audit` refuses.
    """
    records.check(settings)
    names = (settings.loss, settings.gradient, settings.params, settings.batch)
    if unnamed := [name for name in names if not all(_split(name))]:
        raise InputError(
            f"{settings.file}: expected names, with commas between several, got {unnamed[0]!r}; "
            "give each"
        )
    defined = vars(_load(settings.file))
    missing = [each for name in names for each in _split(name) if each not in defined]
    if missing:
        options = ("--loss", "--gradient", "--params", "--batch")
        option = next(
            o for o, name in zip(options, names, strict=True) if missing[0] in _split(name)
        )
        raise InputError(
            f"{settings.file}: expected {', '.join(names)}, got no {', no '.join(missing)}; "
            f"define each at the file's top level, or say what it is called, as by {option} NAME"
        )
    loss, gradient, params, batch = (_named(defined, name) for name in names)
    return gradients.audit(_function(loss, settings), params, batch, gradient)


def _named(defined: Any, name: str) -> Any:
    """Give what is called so; a tuple of several."""
    several = tuple(defined[each] for each in _split(name))
    return several if "," in name else several[0]


def _split(names: str) -> list[str]:
    return [name.strip() for name in names.split(",")]


def _function(loss: Any, settings: Audit) -> Any:
    if not callable(loss):
        got = type(loss).__name__
        raise InputError(
            f"{settings.file}: expected {settings.loss}, a function of (params, batch), got {got}"
        )
    return loss


def main(settings: Audit) -> int:
    """Print the verdict; give the exit code, 0 where every gradient is right and 1 where not."""
    devices.first()
    try:
        audit = run(settings)
    except (Exception, SystemExit) as error:
        theirs = _frames(error, settings.file)
        if not theirs:
            raise
        if isinstance(error, InputError):
            cell = theirs[0].filename.removeprefix(str(settings.file.absolute()))
            place = f"{settings.file}{cell}, line {theirs[0].lineno}"
            raise InputError(f"{place}: {error}") from error
        return _blame(error, theirs, settings.file)
    print(audit)
    return 0 if audit.right else 1


def _load(path: Path) -> ModuleType:
    sources = _sources.read(path)
    # Its neighbours are imported as where it is run by Python itself.
    sys.path.insert(0, str(path.absolute().parent))
    # Plots are drawn where nobody sees them.
    os.environ["MPLBACKEND"] = "Agg"
    module = sys.modules[_MODULE] = ModuleType(_MODULE)
    vars(module).update(__file__=str(path.absolute()), input=_nothing, display=_nothing)
    for source in sources:
        try:
            code = compile(source.text, source.name, "exec", dont_inherit=True)
        except (SyntaxError, ValueError) as error:
            if getattr(error, "filename", None) is None:  # of bytes that are no text
                raise InputError(f"{path}: expected Python, got what is none: {error}") from error
            raise
        exec(code, vars(module))
    return module


def _nothing(*_: Any, **__: Any) -> str:
    return ""


def _frames(error: BaseException, path: Path) -> list[traceback.FrameSummary]:
    """Give what of an error's traceback is the user's own: from their file on, no package's."""
    name = str(path.absolute())
    if isinstance(error, SyntaxError) and (error.filename or "").startswith(name):
        return [traceback.FrameSummary(error.filename or name, error.lineno, "<module>")]
    frames = traceback.extract_tb(error.__traceback__)
    within = itertools.dropwhile(lambda frame: not frame.filename.startswith(name), frames)
    return [frame for frame in within if not _outcomes.is_installed(frame.filename)]


def _blame(error: BaseException, frames: list[traceback.FrameSummary], path: Path) -> int:
    """Show an error of the user's own code as Python would; give the exit code."""
    # JAX's, that it left out frames of its own.
    getattr(error, "__notes__", []).clear()
    lines = traceback.format_exception_only(error)
    if not isinstance(error, SyntaxError):  # which says itself where it is
        lines = ["Traceback (most recent call last):\n", *traceback.format_list(frames), *lines]
    print("".join(lines), end="", file=sys.stderr)
    return _outcomes.refused(
        f"{path}: expected code that runs; it raised {type(error).__name__}, above"
    )

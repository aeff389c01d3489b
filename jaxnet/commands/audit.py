"""Audit the gradient that a Python file of the user's defines."""

import importlib.util
import itertools
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from jaxnet import devices
from jaxnet._guards import records
from jaxnet.audit import gradients
from jaxnet.commands import _run
from jaxnet.commands.settings import Audit
from jaxnet.errors import InputError

_NAMES = ("loss", "gradient", "params", "batch")
_MODULE = "audited"


def run(settings: Audit) -> gradients.Audit:
    """Run the file and audit its gradient; what its own code raises goes through.

    Raises:
        InputError: no Python file, one that does not define the four names, or what
            `jaxnet.audit.audit` refuses.
    """
    records.check(settings)
    module = _load(settings.file)
    missing = [name for name in _NAMES if not hasattr(module, name)]
    if missing:
        raise InputError(
            f"{settings.file}: expected {', '.join(_NAMES)}, got no {', no '.join(missing)}; "
            "define each at the file's top level"
        )
    loss, gradient, params, batch = (vars(module)[name] for name in _NAMES)
    return gradients.audit(_function(loss, settings.file), params, batch, gradient)


def _function(loss: Any, path: Path) -> Any:
    if not callable(loss):
        got = type(loss).__name__
        raise InputError(f"{path}: expected loss, a function of (params, batch), got {got}")
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
            raise InputError(f"{settings.file}, line {theirs[0].lineno}: {error}") from error
        return _blame(error, theirs, settings.file)
    print(audit)
    return 0 if audit.right else 1


def _load(path: Path) -> ModuleType:
    if path.suffix != ".py" or not path.is_file():
        got = "no such file" if path.suffix == ".py" else "another name"
        raise InputError(f"{path}: expected a Python file, ending in .py, got {got}")
    path = path.absolute()
    spec = importlib.util.spec_from_file_location(_MODULE, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path}: expected a Python file, got one that cannot be loaded")
    # Its neighbours are imported as where it is run by Python itself.
    sys.path.insert(0, str(path.parent))
    module = sys.modules[_MODULE] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        if error.filename is None:  # of bytes that are no text, Python says no more
            raise InputError(f"{path}: expected Python, got what is none: {error}") from error
        raise
    return module


def _frames(error: BaseException, path: Path) -> list[traceback.FrameSummary]:
    """Give what of an error's traceback is the user's own: from their file on, no package's."""
    path = path.absolute()
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return [traceback.FrameSummary(str(path), error.lineno, "<module>")]
    frames = traceback.extract_tb(error.__traceback__)
    within = itertools.dropwhile(lambda frame: frame.filename != str(path), frames)
    return [frame for frame in within if not _run.is_installed(frame.filename)]


def _blame(error: BaseException, frames: list[traceback.FrameSummary], path: Path) -> int:
    """Show an error of the user's own code as Python would; give the exit code."""
    # JAX's, that it left out frames of its own.
    getattr(error, "__notes__", []).clear()
    lines = traceback.format_exception_only(error)
    if not isinstance(error, SyntaxError):  # which says itself where it is
        lines = ["Traceback (most recent call last):\n", *traceback.format_list(frames), *lines]
    print("".join(lines), end="", file=sys.stderr)
    return _run.refused(f"{path}: expected code that runs; it raised {type(error).__name__}, above")

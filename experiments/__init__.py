"""Replays of both notebooks, training on a table, optimizers compared (extra `experiments`)."""

import gc
import os
import sys
import sysconfig
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, NoReturn

import jax

from jaxnet import devices
from jaxnet._guards import checks, versions
from jaxnet.errors import FunctionError, InputError

checks.extra("experiments", "matplotlib", "rich", "tyro")

import tyro  # noqa: E402

Dtype = Literal["float64", "float32"]


def command(main: Callable[..., None], name: str) -> None:
    """Run `main` with its arguments from the command line; bad input ends in one line.

    So does a file of the user's that cannot be read or written. Every other error keeps its
    traceback.
    """
    try:
        versions.check()
        devices.is_fast(None)
        tyro.cli(main, prog=f"python -m {name}")
    except FunctionError:  # The functions are a command's own.
        raise
    except InputError as error:
        _refuse(str(error))
    except OSError as error:
        if error.filename is None or _is_installed(error.filename):
            raise
        _refuse(f"{error.filename}: {error.strerror}")
    finally:
        # Else the interpreter looks through all that was ever imported, for half a second.
        gc.freeze()


def _refuse(said: str) -> NoReturn:
    lines = (line.strip() for line in said.splitlines())
    print(f"error: {'; '.join(lines)}", file=sys.stderr)
    raise SystemExit(2) from None


def _is_installed(path: str | bytes) -> bool:
    """Tell the files of jaxnet and of other packages from those of the user."""
    folders = {
        Path(checks.__file__).parent,
        *(Path(sysconfig.get_path(kind)) for kind in ("stdlib", "purelib", "platlib")),
    }
    return any(Path(os.fsdecode(path)).absolute().is_relative_to(folder) for folder in folders)


def print_trace(lines: Iterable[str]) -> None:
    """Print a notebook's trace byte for byte, whatever the terminal's encoding."""
    sys.stdout.buffer.write("".join(f"{line}\n" for line in lines).encode())
    sys.stdout.flush()
    if not devices.float64_is_native():
        note = f"float64 is not native here, and off by up to {devices.float64_error():.0e}"
        print(f"{note}: digits of the trace may differ", file=sys.stderr)


def precision(dtype: Dtype) -> Any:
    """Compute with that dtype for as long as the context lasts."""
    return jax.enable_x64(dtype == "float64")


def describe(provenance: dict[str, str]) -> str:
    """Say in one line, or two, where and with what a result was computed."""
    said = (
        f"{provenance['device']}, {provenance['dtype']}, jax {provenance['jax']}, "
        f"optax {provenance['optax']}, numpy {provenance['numpy']}"
    )
    if provenance["dtype"] == "float64" and not devices.float64_is_native():
        said += (
            "\nfloat64 is not native on this device: expect agreement with the notebook to a "
            f"relative {devices.float64_error():.0e}, not to the last character"
        )
    return said

"""Replays of both notebooks, optimizers compared on our tasks (extra `experiments`)."""

import sys
from collections.abc import Callable, Iterable
from typing import Any, Literal

import jax

from jaxnet import devices
from jaxnet._guards import checks
from jaxnet.commands import _arguments, _interrupts, _run

checks.extra("experiments", "matplotlib", "rich", "tyro")

Dtype = Literal["float64", "float32"]


def command(main: Callable[..., int | None], name: str) -> None:
    """Run `main` with its arguments from the command line, as the commands of jaxnet are run."""
    _run.enter(lambda: run(main, name, sys.argv[1:]))


def run(main: Callable[..., int | None], name: str, arguments: list[str]) -> int | None:
    """Run `main` with arguments as from the command line; give its exit code.

    Raises:
        InputError: arguments that it does not take, or what it refuses.
    """
    _run.check_machine()
    work = _arguments.parse(_arguments.bound(main), f"python -m {name}", arguments)
    return _interrupts.interruptibly(work)


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

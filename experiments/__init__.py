"""Replays of both notebooks and a first comparison of optimizers (extra `experiments`)."""

import sys
from collections.abc import Callable
from typing import Any, Literal

import jax

from jaxnet import checks, devices

checks.extra("experiments", "matplotlib", "rich", "tyro")

import tyro  # noqa: E402

Dtype = Literal["float64", "float32"]


def command(main: Callable[..., None], name: str) -> None:
    """Run `main` with its arguments from the command line; bad input ends with a message."""
    try:
        tyro.cli(main, prog=f"python -m {name}")
    except (ValueError, devices.MissingPlatformError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


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

"""The options of XLA's compiler that are chosen, all of them."""

from collections.abc import Callable
from typing import Any

import jax
import jaxlib.version

OF_FEW = "xla_cpu_experimental_ynn_fusion_type"
"""The compile option that is for products of a few numbers alone."""


def of_many_runs() -> dict[str, str | int]:
    """Give the compile options that make many small runs at once fast.

    Of each JAX those that are right on it, and earn their keep; none on another platform.
    """
    if jax.default_backend() != "cpu":
        return {}
    # The default level unrolls short loops and then fails to vectorise them.
    chosen: dict[str, str | int] = {
        "xla_backend_optimization_level": 1,
        "xla_cpu_prefer_vector_width": 512,
    }
    if jaxlib.version.__version_info__ < (0, 11):
        # LIBRARY_FUSION_TYPE_DOT, which gives products with what follows them to a library, makes
        # some rows wrong there; INDIVIDUAL_DOT earns nothing.
        return chosen
    # The default gives sums to a library one by one; this one, products alone.
    return chosen | {OF_FEW: "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"}


def program(function: Callable[..., Any], *static: str) -> Any:
    """Give `jax.jit` of a function, on a CPU with the options of many small runs.

    Not for calls inside another program, which has options of its own.
    """
    return jax.jit(function, static_argnames=static, compiler_options=of_many_runs() or None)


def once(function: Callable[..., Any]) -> Any:
    """Give `jax.jit` of a function that is called once: quickly compiled is soonest done."""
    quick = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
    return jax.jit(function, compiler_options=quick)

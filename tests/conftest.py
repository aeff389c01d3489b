"""Strict settings for every test: dtypes, ranks, warnings, several devices, checked shapes."""

import jax
import jaxtyping
import pytest

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# Before anything of the package is imported: its annotations are checked while the tests run.
jaxtyping.install_import_hook(["jaxnet", "experiments"], "beartype.beartype")


@pytest.fixture
def x64():
    """Run one test with float64 arrays."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def standard_promotion():
    """Promote dtypes as JAX does by default: Adam and others of optax raise floats to integers."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture
def unchecked():
    """Give bad input to the functions themselves, and not to their annotations."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)

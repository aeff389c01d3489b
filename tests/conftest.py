"""Strict settings for every test: dtypes, ranks, warnings, several devices, checked shapes."""

import ast
import collections
import functools
import gc
import os

import beartype
import hypothesis
import jax
import jaxlib.version
import jaxtyping
import pytest
from jaxtyping import _import_hook

# Most of the time goes into compiling programs that run for a millisecond. XLA takes a quarter of
# it for plainer code of the same operations, in one part; XLA_FLAGS= gives what users have.
_FUSIONS = (
    "--xla_cpu_use_fusion_emitters=false"
    if jaxlib.version.__version_info__ < (0, 11)
    else "--xla_disable_hlo_passes=fusion-wrapper"
)
_QUICK = "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
os.environ.setdefault("XLA_FLAGS", f"{_QUICK} {_FUSIONS}")
# What is drawn first compiles, and a machine may be slow: no test times.
hypothesis.settings.register_profile("untimed", hypothesis.settings.default, deadline=None)
hypothesis.settings.load_profile("untimed")
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


# So many arguments and results of a function in one test; some are called a million times.
_CHECKED = 10
_checks = collections.Counter()


def _checked(function):
    """Check a function's annotations, in its first calls of a test."""

    def counting(signature):
        check = functools.cache(lambda: beartype.beartype(signature))  # of few that are imported

        def counted(*arguments, **named):
            _checks[function] += 1
            function.__no_type_check__ = _checks[function] >= _CHECKED
            return check()(*arguments, **named)

        return counted

    return jaxtyping.jaxtyped(function, typechecker=counting)


def _outermost(transformer, function):
    """Check no functions within functions: they would be wrapped anew at each call."""
    decorator = ast.parse("jaxtyping.checked", mode="eval").body
    function.decorator_list.append(ast.copy_location(decorator, function))
    return function


# Before anything of the package is imported: its annotations are checked while the tests run.
jaxtyping.checked = _checked
_import_hook.JaxtypingTransformer.visit_FunctionDef = _outermost
jaxtyping.install_import_hook(["jaxnet", "experiments"], "beartype.beartype")


def pytest_runtest_setup():
    """Check all functions again."""
    for function in _checks:
        function.__no_type_check__ = False
    _checks.clear()


def pytest_collection_finish():
    """Look for garbage seldom, and never among all that is imported by now: a tenth of the time."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.fixture
def compilations():
    """A list that grows whenever XLA compiles something."""
    events = []

    def listen(event, duration, **details):
        if event == "/jax/core/compile/backend_compile_duration":
            events.append(details)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield events
    jax.monitoring.unregister_event_duration_listener(listen)


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
    """Check no annotations: bad input is to reach the functions, or what is drawn is much."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)

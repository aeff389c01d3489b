"""Strict settings for every test: dtypes, ranks, warnings, several devices, checked shapes."""

import ast
import collections
import functools
import gc
import inspect
import os
import sys
import types

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
# What compiles, or reads files, once an example: more of it in CI.
_EXAMPLES = 40 if os.environ.get("CI") else 8
hypothesis.settings.register_profile("costly", max_examples=_EXAMPLES)
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


# What is imported until all tests are collected is compiled once for all runs, whatever the
# environment says: a third of the time it takes.
_dont_write_bytecode = sys.dont_write_bytecode
sys.dont_write_bytecode = False

# So many arguments and results of a function in one test; some are called a million times.
_CHECKED = 3
_checks = collections.Counter()
# By function, its code with and without the checks. It takes the place of the other, for to call
# another function on its behalf takes as long as many of them do.
_codes = {}


def _template(*arguments, **named):
    checking = "checking"
    return checking(*arguments, **named)


def _generating(*arguments, **named):
    checking = "checking"
    return (yield from checking(*arguments, **named))


def _checked(function):
    """Check a function's annotations, in its first calls of a test."""
    if function.__closure__:
        return jaxtyping.jaxtyped(function, typechecker=beartype.beartype)
    code, space = function.__code__, function.__globals__
    plain = types.FunctionType(code, space, function.__name__, function.__defaults__)
    plain.__kwdefaults__ = function.__kwdefaults__
    del functools.update_wrapper(plain, function).__wrapped__
    function.__wrapped__ = plain

    def late(signature):
        @functools.cache
        def check():  # of few that are imported
            return beartype.beartype(signature)

        def checks(*arguments, **named):
            return check()(*arguments, **named)

        return checks

    checking = jaxtyping.jaxtyped(plain, typechecker=late)

    def counted(*arguments, **named):
        _checks[function] += 1
        if _checks[function] >= _CHECKED:
            function.__code__ = code
        return checking(*arguments, **named)

    put = {"checking": counted}
    template = (_generating if inspect.isgeneratorfunction(plain) else _template).__code__
    consts = tuple(put.get(each, each) for each in template.co_consts)
    _codes[function] = template.replace(co_consts=consts), code
    if not jaxtyping.config.jaxtyping_disable:
        function.__code__ = _codes[function][0]
    return function


def _outermost(transformer, function):
    """Check no functions within functions: they would be wrapped anew at each call."""
    decorator = ast.parse("jaxtyping.checked", mode="eval").body
    function.decorator_list.append(ast.copy_location(decorator, function))
    return function


# Before anything of the package is imported: its annotations are checked while the tests run.
jaxtyping.checked = _checked
_import_hook.JaxtypingTransformer.visit_FunctionDef = _outermost
jaxtyping.install_import_hook(["jaxnet", "experiments"], "beartype.beartype")


def pytest_configure(config):
    """Keep compiled programs for the next time: JAX before 0.11 prints pages where it finds one."""
    keeps = config.pluginmanager.has_plugin("cacheprovider")
    if keeps and jaxlib.version.__version_info__ >= (0, 11):
        jax.config.update("jax_compilation_cache_dir", str(config.cache.mkdir("programs")))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


@pytest.fixture(scope="session")
def four_cpus():
    """Leave out elsewhere what hangs on the number of devices, or on what a CPU has room for."""
    if jax.default_backend() != "cpu":
        pytest.skip(f"four devices that are CPU cores, not {jax.default_backend()}")


def pytest_runtest_setup():
    """Check all functions again."""
    for function in _checks:
        function.__code__ = _codes[function][0]
    _checks.clear()


def pytest_collection_finish():
    """Look for garbage seldom, and never among all that is imported by now: a tenth of the time."""
    sys.dont_write_bytecode = _dont_write_bytecode
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
    jaxtyping.config.update("jaxtyping_disable", True)  # of what is imported on the way
    for function, (_, code) in _codes.items():
        function.__code__ = code
    yield
    for function, (code, _) in _codes.items():
        function.__code__ = code
    jaxtyping.config.update("jaxtyping_disable", False)

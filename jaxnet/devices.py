"""The device a run is on, its precision, and what a result must say of where it was made."""

import contextlib
import dataclasses
import functools
import os
import platform
import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jaxlib.version
import numpy as np
import optax
from jaxtyping import Array, PyTree

from jaxnet import losses, variables
from jaxnet._guards import checks, hosts, sizes, versions
from jaxnet.errors import InputError
from jaxnet.losses import Loss, Rule, ValueAndGrad
from jaxnet.variables import Variables

__all__ = [
    "batch_sharding",
    "connect",
    "first",
    "float64_error",
    "float64_is_native",
    "half",
    "mesh",
    "provenance",
    "use_all_cores",
]
_SWITCH = "JAXNET_FAST"
# What a loss in float16 is multiplied by first, and what that is divided by where it overflows.
_SCALE, _BACK = 2.0**15, 2.0**5
_FLOAT32 = 4  # bytes
# Seconds: to wait for other hosts, past all limits, and without a sign of a host that is lost.
_NEVER, _LOST = 10**6, 20


def is_fast(asked: bool | None) -> bool:
    """Tell whether the fast path is to be taken: as asked, else as JAXNET_FAST says, 1 or 0.

    Raises:
        InputError: a value that is neither, or a variable JAXNET_... of another name.
    """
    unknown = [name for name in os.environ if name.startswith("JAXNET_") and name != _SWITCH]
    if unknown:
        raise InputError(
            f"{unknown[0]}: expected {_SWITCH}, the one variable there is, got this; rename it"
        )
    switch = os.environ.get(_SWITCH, "1")
    if switch not in ("0", "1"):
        raise InputError(f"{_SWITCH}: expected 1 or 0, got {switch!r}; unset it for 1")
    if not isinstance(asked, bool | None):
        raise InputError(
            f"fast: expected True or False, or None for {_SWITCH}, got {asked!r}; give one"
        )
    return switch == "1" if asked is None else asked


def use_all_cores() -> None:
    """Make every CPU core a device, which many runs at once are spread over.

    Call it before JAX is first used; afterwards it changes nothing.
    """
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", len(sizes.cores()))


def first() -> Any:
    """Give the device JAX selects by itself, or by the environment variable JAX_PLATFORMS.

    Raises:
        InputError: naming the platforms expected and available.
    """
    config: Any = jax.config
    expected = config.jax_platforms
    try:
        return jax.devices()[0]
    except (RuntimeError, AssertionError) as error:  # the latter where CUDA is not installed
        from jax.extend import backend  # with it comes Pallas

        try:
            jax.config.update("jax_platforms", None)
            available = ", ".join(sorted(backend.backends()))
        finally:
            jax.config.update("jax_platforms", expected)
        raise InputError(
            f"JAX_PLATFORMS: expected {expected}; available here: {available}; install that "
            "platform's extra (jaxnet-lab[cuda], jaxnet-lab[tpu]) or unset JAX_PLATFORMS"
        ) from error


def mesh(axis: str, count: int | None = None) -> jax.sharding.Mesh:
    """Line up `count` local devices, all of them where None, along one axis of that name."""
    return _line(axis, jax.local_devices()[:count])


def _line(axis: str, chosen: Sequence[Any]) -> jax.sharding.Mesh:
    auto = (jax.sharding.AxisType.Auto,)
    return jax.make_mesh((len(chosen),), (axis,), axis_types=auto, devices=chosen)


def connect(
    address: str | None = None,
    count: int | None = None,
    index: int | None = None,
    *,
    seconds: float = 60,
) -> None:
    """Join the processes of one run on many hosts, of which `batch_sharding` has all devices.

    Each process calls it before JAX is first used. Under SLURM and Open MPI, and on TPUs, nothing
    is to be given. Where a process is lost, JAX ends the others: they begin anew together.

    Args:
        address: HOST:PORT of process 0, which every process reaches; any free port.
        count: of processes. index: of this one, from 0.
        seconds: to wait for the others.

    Raises:
        InputError: not all three or none of them; no such job; JAX in use; nobody who answers in
            time; processes on other kinds of devices or processors, or of other releases.
    """
    given = (address, count, index)
    if None in given and given != (None,) * len(given):
        raise InputError(
            f"address: expected an address, a count and an index, or none of them, got {address}, "
            f"{count} and {index}; give all, or none under SLURM or Open MPI"
        )
    named = isinstance(address, str) and re.fullmatch(r".+:\d+", address)
    if address is not None and not named:
        raise InputError(f"address: expected HOST:PORT of process 0, got {address!r}; give one")
    if count is not None and not (isinstance(count, int) and count >= 1):
        raise InputError(
            f"count: expected at least 1 process, got {count!r}; give how many there are"
        )
    if count is not None and not (isinstance(index, int) and 0 <= index < count):
        raise InputError(
            f"index: expected 0 to {count - 1}, of {count} processes, got {index!r}; give each one"
        )
    failures: list[Exception] = []

    def join() -> None:
        try:
            # Past its own limit JAX would end the process.
            jax.distributed.initialize(
                *given, initialization_timeout=_NEVER, heartbeat_timeout_seconds=_LOST
            )
        except (RuntimeError, ValueError) as error:
            failures.append(error)

    joining = threading.Thread(target=join, daemon=True)
    joining.start()
    joining.join(seconds)
    if joining.is_alive():
        others = f"all {count} processes" if index == 0 else "process 0"
        raise InputError(
            f"address: expected {others} to answer at {address or 'that of the job'} within "
            f"{seconds:g} seconds, got no answer; start all, see that they reach it, or wait for "
            "more seconds"
        )
    if failures:
        raise InputError(
            "address: expected to join a job of SLURM or Open MPI, or one by address, count and "
            f"index, before JAX is used, got: {failures[0]}; give all three, and call it first"
        )
    with hosts.agreed(jax.process_count() > 1) as facts:
        facts.update(maker())


def batch_sharding(count: int | None = None) -> jax.sharding.NamedSharding:
    """Spread a batch's first axis over `count` local devices; where None over all, of all hosts.

    On CPU devices a loss with a matrix decomposition may wait for ever, unless the environment
    variable NPROC gave XLA more threads than devices before JAX was first used.

    Raises:
        InputError: a count below one or above the devices there are.
    """
    local = jax.local_devices()
    if count is not None and not 1 <= count <= len(local):
        raise InputError(
            f"devices: expected 1 to the {len(local)} local devices, got {count}; CPU cores become "
            "devices by jax.config.update('jax_num_cpu_devices', ...) before JAX is first used"
        )
    spec = jax.sharding.PartitionSpec("batch")
    chosen = jax.devices() if count is None else local[:count]
    return jax.sharding.NamedSharding(_line("batch", chosen), spec)


@dataclasses.dataclass(frozen=True)
class Provenance:
    """What a result depends on: device, dtype and the versions that computed it."""

    device: str
    dtype: str
    jaxnet: str
    jax: str
    jaxlib: str
    numpy: str
    optax: str
    python: str


def provenance(dtype: jax.typing.DTypeLike) -> Provenance:
    """Record what a result depends on."""
    device, count = first(), jax.local_device_count()
    kind = f" ({device.device_kind})" if device.device_kind != device.platform else ""
    return Provenance(
        device=f"{device.platform}{kind}, {count} device{'s' if count > 1 else ''}",
        dtype=str(np.dtype(dtype)),
        **releases(),
        numpy=np.__version__,
        optax=optax.__version__,
        python=platform.python_version(),
    )


def describe(provenance: Provenance) -> str:
    """Say in one line, or two, where and with what a result was computed."""
    words = (
        f"{provenance.device}, {provenance.dtype}, jax {provenance.jax}, "
        f"optax {provenance.optax}, numpy {provenance.numpy}"
    )
    if provenance.dtype == "float64" and not float64_is_native():
        words += (
            "\nfloat64 is not native on this device: expect agreement with the notebook to a "
            f"relative {float64_error():.0e}, not to the last character"
        )
    return words


def releases() -> dict[str, str]:
    """Give the versions on which it depends what is computed, and how."""
    return {
        "jaxnet": versions.own(),
        "jax": jax.__version__,
        "jaxlib": jaxlib.version.__version__,
    }


@functools.cache
def maker() -> dict[str, str]:
    """Give all that two processes must have alike to compute the same numbers."""
    device = first()
    kind = _processor() if device.platform == "cpu" else device.device_kind
    return {
        "device": kind,
        **releases(),
        "numpy": np.__version__,
        "optax": optax.__version__,
        "python": platform.python_version(),
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
    }


def _processor() -> str:
    """Give the processor's model, by which XLA chooses instructions."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        named = dict(line.split(":", 1) for line in lines if ":" in line)
        return next((v.strip() for k, v in named.items() if k.strip() == "model name"), "cpu")
    return platform.processor()


def float64_is_native() -> bool:
    """Tell whether the device computes float64 in hardware."""
    return first().platform in ("cpu", "gpu")


def float64_error() -> float:
    """Measure how far the device's float64 is from NumPy's, relative, in what networks compute."""
    functions = ("tanh", "exp", "log1p", "square", "reciprocal")
    x = np.linspace(0.1, 4, 64)
    with jax.enable_x64(True):
        ours = [np.asarray(getattr(jnp, name)(x)) for name in functions]
        ours.append(np.asarray(jnp.matmul(np.outer(x, x), x)))
    theirs = [*(getattr(np, name)(x) for name in functions), np.outer(x, x) @ x]
    return float(np.max(np.abs(np.divide(ours, theirs) - 1)))


def half(loss: Loss, dtype: object = jnp.bfloat16) -> Loss | Rule:
    """Give a loss that is computed in half precision, of parameters that stay in float32.

    What is trained and the batch, targets too, are cast, and what comes of them is cast back: the
    optimizer and its state are in float32. Of a `BatchLoss` it is the forward function that is
    computed so; targets, example losses and their mean stay in float32. What the function sums
    itself, and the sums over the rows that its gradient has, are in half precision. In float16,
    whose smallest numbers gradients fall below, they are those of 2^15 times the loss, divided by
    that; where these overflow, of less, down to the loss.

    Args:
        loss: `(params, batch) -> []`, also one that draws or one of `Variables`, whose state is
            not cast: what meets it is computed in float32 unless the loss casts it.
        dtype: bfloat16 or float16.

    Returns:
        The same loss every time, for all that takes one. Where it is computed, parameters of less
        than float32 are refused.

    Raises:
        InputError: another dtype; no function; a `Rule`, whose gradient is not autodiff's.
    """
    kinds = {"bfloat16": jnp.bfloat16, "float16": jnp.float16}
    name = dtype if isinstance(dtype, str) else getattr(dtype, "__name__", str(dtype))
    if name not in kinds:
        raise InputError(f"dtype: expected bfloat16 or float16, got {dtype}; give one of them")
    if isinstance(loss, Rule):
        raise InputError("loss: expected one to differentiate, got a Rule; cast inside of the rule")
    checks.function("loss", loss, "params", "batch", **variables.named(None, losses.draws(loss)))
    return _half(loss, kinds[name])


@functools.lru_cache(maxsize=64)
def _half(loss: Loss, dtype: Any) -> Loss | Rule:
    if isinstance(loss, losses.BatchLoss):
        narrow = dataclasses.replace(loss, forward=_narrow(loss.forward, dtype))
    else:
        narrow = _narrow(loss, dtype)
    return Rule(_scaled(narrow), narrow) if dtype == jnp.float16 else narrow


def _narrow(function: Callable[..., PyTree], dtype: Any) -> Callable[..., PyTree]:
    """Compute a function of parameters and inputs in a dtype; give what it gives in float32."""

    def narrowed(leaf: Any) -> Any:
        return jnp.asarray(leaf, dtype) if variables.trains(leaf) else leaf

    def widened(leaf: Any) -> Any:
        return leaf.astype(jnp.float32) if jnp.result_type(leaf) == dtype else leaf

    @functools.wraps(function)
    def narrow(params: PyTree, inputs: PyTree, **key: Any) -> PyTree:
        trained, rest = variables.split(params)
        for leaf in jax.tree.leaves(trained):
            if jnp.result_type(leaf).itemsize < _FLOAT32:
                raise InputError(
                    f"params: expected float32, which half precision is made of in the loss, got "
                    f"{jnp.result_type(leaf)}; cast them to float32"
                )
        params = variables.join(jax.tree.map(narrowed, trained), rest)
        result = function(params, jax.tree.map(narrowed, inputs), **key)
        return jax.tree.map(widened, result)

    return narrow


def _scaled(loss: Loss) -> ValueAndGrad:
    """Give autodiff's rule, of as large a multiple of the loss as does not overflow."""

    def rule(params: PyTree, batch: PyTree, **key: Any) -> tuple[Any, PyTree]:
        trained, rest = variables.split(params)
        carries = isinstance(params, Variables)

        def value(trained: PyTree) -> tuple[Array, Any]:
            result = loss(variables.join(trained, rest), batch, **key)
            return checks.carried(result) if carries else (result, None)

        result, pull, state = jax.vjp(value, trained, has_aux=True)

        def overflows(now: tuple[Array, PyTree]) -> Array:
            finite = [jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(now[1])]
            return (now[0] >= 1) & ~jnp.array(finite).all()

        def grads(now: tuple[Array, PyTree]) -> tuple[Array, PyTree]:
            scale, (found,) = now[0], pull(jnp.full_like(result, now[0]))
            return scale / _BACK, jax.tree.map(lambda leaf: leaf / scale.astype(leaf.dtype), found)

        first = (
            jnp.float32(_SCALE),
            jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), trained),
        )
        found = jax.lax.while_loop(overflows, grads, first)[1]
        return (result, state) if carries else result, found

    return rule

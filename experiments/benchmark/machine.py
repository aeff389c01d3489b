"""The machine: what it is, what it can do at its best, and processes of their own on it."""

import datetime
import functools
import importlib.util
import multiprocessing
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import experiments
from experiments.benchmark.timing import Group, Section, interleaved
from experiments.benchmark.work import Size
from jaxnet import devices

# Distributions by the module that tells whether they are installed, as the results name them.
PACKAGES = {
    "torch": "PyTorch",
    "equinox": "Equinox",
    "flax": "Flax",
    "sklearn": "scikit-learn",
    "joblib": "joblib",
}
_DISTRIBUTIONS = {"sklearn": "scikit-learn"}
PRODUCTS = 5
"""How many matrix products are timed at once."""
_PRODUCTS, _COPIES = ("jnp.matmul", "torch.matmul"), ("np.copyto", "jnp, copy plus one")
_COPIED, _PASSES = 2**26, 8


def installed(module: str) -> bool:
    """Tell whether a peer is installed."""
    return importlib.util.find_spec(module) is not None


def on_gpu() -> bool:
    """Tell whether JAX computes on a GPU."""
    return jax.default_backend() == "gpu"


def versions() -> dict[str, str]:
    """Give the versions of all that is timed, of what is installed."""
    own = devices.releases()
    own |= {name: metadata.version(name) for name in ("optax", "numpy")}
    peers = {
        name: metadata.version(name)
        for module in PACKAGES
        if installed(module)
        for name in [_DISTRIBUTIONS.get(module, module)]
    }
    return {"python": platform.python_version()} | own | peers


def hardware() -> dict[str, Any]:
    """Give the processor, its cores, the memory in bytes, and the card where JAX uses one.

    Of the processor also family, model and stepping where Linux tells them: clouds name several
    kinds alike.
    """
    information = Path("/proc/cpuinfo")
    facts = _first_processor(information.read_text()) if information.exists() else {}
    kinds = {"family": "cpu family", "model": "model", "stepping": "stepping"}
    parts: dict[str, Any] = {
        "processor": facts.get("model name", platform.processor()),
        **{name: facts[key] for name, key in kinds.items() if key in facts},
        "cores": len(os.sched_getaffinity(0)),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }
    return parts | ({"card": jax.devices()[0].device_kind} if on_gpu() else {})


def _first_processor(information: str) -> dict[str, str]:
    """Read what Linux says of the first processor of all."""
    pairs = (line.partition(":") for line in information.partition("\n\n")[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def today() -> str:
    """Give the date."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def threads() -> list[int]:
    """Give the numbers of threads that PyTorch is tried with: one, and one for each core."""
    return sorted({1, len(os.sched_getaffinity(0))})


def products(dtype: str = "float32") -> dict[str, Callable[[], object]]:
    """Make the square matrix products that show what the machine can do, by library."""
    size = product_size()
    square = np.random.default_rng(0).standard_normal((size, size), np.float32)
    a, multiply = jnp.asarray(square, dtype), jax.jit(jnp.matmul)
    ways: dict[str, Callable[[], object]] = {
        _PRODUCTS[0]: lambda: [multiply(a, a).block_until_ready() for _ in range(PRODUCTS)]
    }
    if installed("torch"):
        torch: Any = importlib.import_module("torch")

        b = torch.from_numpy(square).to(torch_device(), getattr(torch, dtype))
        ways[_PRODUCTS[1]] = functools.partial(_torch_products, torch, b)
    return ways


def _torch_products(torch: Any, a: Any) -> None:
    torch.set_num_threads(threads()[-1])
    products = [torch.matmul(a, a) for _ in range(PRODUCTS)]
    products[-1][0, 0].item()


def copies() -> dict[str, Callable[[], object]]:
    """Make the copies of memory that show how much the machine reads and writes."""
    x = np.ones(_COPIED, np.float32)
    y, placed = np.empty_like(x), jnp.asarray(x)
    # In one program memory is written where it is already held.
    passes = jax.jit(lambda x: jax.lax.fori_loop(0, _PASSES, lambda _, x: x + 1, x))
    ways = (
        lambda: [np.copyto(y, x) for _ in range(_PASSES)],
        lambda: passes(placed).block_until_ready(),
    )
    return dict(zip(_COPIES, ways, strict=True))


def torch_device() -> str:
    """Give where PyTorch is to compute: where JAX does, if it can."""
    torch: Any = importlib.import_module("torch")

    return "cuda" if on_gpu() and torch.cuda.is_available() else "cpu"


def product_size() -> int:
    """Give how many rows and columns the matrices have: enough to fill the device."""
    return 8192 if on_gpu() else 2048


def peaks(group: Group) -> list[float]:
    """Give the operations a second of the best matrix product of each round.

    Raises:
        ValueError: a group without any.
    """
    return _best(group, _PRODUCTS, PRODUCTS * 2 * product_size() ** 3)


def bandwidths(group: Group) -> list[float]:
    """Give the bytes read and written a second by the best copy of each round.

    Raises:
        ValueError: a group without any.
    """
    return _best(group, _COPIES, 2 * _PASSES * 4 * _COPIED)


def _best(group: Group, ways: Sequence[str], amount: int) -> list[float]:
    timed = [timing.seconds for way, timing in group.timings.items() if way in ways]
    return [amount / min(each) for each in zip(*timed, strict=True)]


def share(group: Group, amount: int, best: Sequence[float]) -> tuple[float, float]:
    """Give ours of a group as so much a second, and as a share of the round's best.

    Args:
        group: in which the best was timed.
        amount: operations or bytes of one run.
        best: from `peaks` or `bandwidths`.
    """
    rates = [amount / seconds for seconds in group.timings[group.ours].seconds]
    shares = [rate / most for rate, most in zip(rates, best, strict=True)]
    return float(np.median(rates)), float(np.median(shares))


def peak(size: Size) -> Section:
    """Measure what the machine does at its best: matrix products, and copies of memory."""
    timings = interleaved({**products(), **copies()}, size.slow_rounds)
    group = Group("The machine at its best", next(iter(timings)), timings)
    gigaflops, gigabytes = (float(np.median(each(group))) / 1e9 for each in (peaks, bandwidths))
    notes = (
        f"Products of float32 [{product_size()}, {product_size()}] matrices, {PRODUCTS} at a "
        f"time: {gigaflops:.4g} GFLOP/s; memory read and written: {gigabytes:.3g} GB/s.",
    )
    figures = {"gigaflops": gigaflops, "gigabytes": gigabytes}
    return Section([group], figures=figures, notes=notes)


def peak_memory() -> int:
    """Give the most bytes that this process has held, of the card's memory where JAX uses one.

    `getrusage` would count what the process held that started it, before it became this one.
    """
    if on_gpu():
        return jax.devices()[0].memory_stats()["peak_bytes_in_use"]
    status = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(dict(line.split(":", 1) for line in status)["VmHWM"].split()[0])


def with_memory(function: Callable[..., Any], *arguments: Any) -> tuple[Any, int]:
    """Call a function, and give also the most bytes that this process has held."""
    return function(*arguments), peak_memory()


def run_command(module: str, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """Run a command of ours in a process and folder new."""
    root = str(Path(experiments.__file__).parents[1])
    paths = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": paths, **environment},
            stdout=subprocess.DEVNULL,
            check=True,
        )


def fresh(
    function: Callable[..., Any],
    *arguments: Any,
    cores: int | None = None,
    cache: str | None = None,
) -> Any:
    """Call a function in a process new.

    Args:
        function: of a module. arguments: of it.
        cores: how many CPU cores are a device each; all of them where None.
        cache: the folder of compiled programs; none where None.
    """
    context = multiprocessing.get_context("spawn")
    with futures.ProcessPoolExecutor(1, context, _prepare, (cores, cache)) as pool:
        return pool.submit(function, *arguments).result()


def _prepare(cores: int | None, cache: str | None) -> None:
    if cores is None:
        devices.use_all_cores()
    else:
        jax.config.update("jax_num_cpu_devices", cores)
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)

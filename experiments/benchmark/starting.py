"""Part: what is waited for before anything trains: imports, compiling, whole commands."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from experiments.benchmark import machine, peers
from experiments.benchmark.timing import Group, Section, Timing, interleaved
from experiments.benchmark.work import RATES, Size, digits_workload
from jaxnet import optimizers
from jaxnet.compare import tiles
from jaxnet.compare.compiling import compiled

COLD = ("train", "digits", "--hidden", "64", "--epochs", "10", "--output", "run")
ALL = (
    "compare",
    "digits",
    "--optimizers",
    "all",
    "--budget",
    "12",
    "--replicates",
    "10",
    "--output",
    "run",
)
STATES = ("cold", "cached")


def imports(size: Size) -> Section:
    """Time imports in fresh processes."""

    def importing(modules: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, "-c", f"import {modules}"], check=True)

    without, ours = "jax and optax alone", "jaxnet, jax and optax"
    ways = {
        without: importing("jax, optax"),
        ours: importing("jax, optax, jaxnet.training, jaxnet.audit"),
    }
    group = Group("Importing", ours, interleaved(ways, size.slow_rounds))
    return Section([group], {"jaxnet, share added": 1 / group.times(without) - 1})


def compiling(size: Size) -> Section:
    """Time compiling a tile of digits in fresh processes, without and with a cache of programs."""
    seconds = {f"{optimizer}, {state}": [] for optimizer in RATES for state in STATES}
    for _ in range(size.slow_rounds):
        for optimizer in RATES:
            with tempfile.TemporaryDirectory() as cache:
                for state in STATES:
                    took = machine.fresh(compile_seconds, optimizer, cache=cache)
                    seconds[f"{optimizer}, {state}"].append(took)
    timings = {way: Timing(tuple(each)) for way, each in seconds.items()}
    group = Group("Compiling a sweep of digits", next(iter(timings)), timings)
    return Section([group], {f"{way}, s": timing.median for way, timing in timings.items()})


def compile_seconds(optimizer: str) -> float:
    """Give the seconds to trace and compile a tile of 256 runs, where it is not compiled yet."""
    workload = digits_workload()
    shape = tiles.tile(workload, 256, peers.RATES_TOGETHER)
    return compiled(workload, optimizers.entry(optimizer), ["learning_rate"], shape).seconds


def cold_start(size: Size) -> Section:
    """Time a command from a cold start to a finished model, each in a process and folder new."""

    def run() -> None:
        machine.run_command("jaxnet", COLD, {})

    title, way = "From a cold start to a model", f"jaxnet {' '.join(COLD[:6])}"
    group = Group(title, way, interleaved({way: run}, size.slow_rounds))
    return Section([group], {"cold start, s": group.timings[way].median})


def everything(size: Size) -> Section:
    """Time once the command that compares all optimizers, from an empty cache of programs."""
    del size
    began = time.perf_counter()
    machine.run_command("jaxnet", ALL, {"JAX_COMPILATION_CACHE_DIR": "cache"})
    took = time.perf_counter() - began
    return Section(claims={"all optimizers on digits, s": took})

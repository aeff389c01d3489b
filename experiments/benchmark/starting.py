"""Part: what is waited for before anything trains: imports, compiling, whole commands."""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence

from experiments.benchmark import machine, peers
from experiments.benchmark.timing import Group, Section, Table, Timing, interleaved, shown
from experiments.benchmark.work import RATES, Size, digits_workload
from jaxnet import optimizers
from jaxnet.compare import tiles
from jaxnet.compare.compiling import compiled

COLD = ("train", "digits", "--hidden", "64", "--epochs", "10", "--output", "run")
THREE = ("compare", "digits", "--optimizers", "momentum", "adam", "lion", "--output", "run")
ALL = ("compare", "digits", "--optimizers", "all", "--output", "run")
LEAGUE = ("all", "--optimizers", "all", "--output", "run")
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


def three(size: Size) -> Section:
    """Time the command that compares three optimizers, its programs kept by another before it."""
    del size
    with tempfile.TemporaryDirectory() as cache:
        _whole("jaxnet", THREE, cache)
        return _whole("jaxnet", THREE, cache, "three optimizers on digits, s")


def everything(size: Size) -> Section:
    """Time once the command that compares all optimizers, from an empty cache of programs."""
    del size
    return _whole("jaxnet", ALL, "cache", "all optimizers on digits, s")


def league(size: Size) -> Section:
    """Time once the command that compares all optimizers on all tasks, in a hurry on two."""
    tasks = ("classifier", "quadratic-1e0") if size.quick else LEAGUE[:1]
    claim = f"all optimizers on {' and '.join(tasks)} tasks, s"
    return _whole("experiments.tasks", (*tasks, *LEAGUE[1:]), "cache", claim)


def _whole(module: str, arguments: Sequence[str], cache: str, claim: str = "") -> Section:
    """Time a command once, with all that its processes spend of the cores."""
    began, before = time.perf_counter(), _children()
    machine.run_command(module, arguments, {"JAX_COMPILATION_CACHE_DIR": cache})
    took, spent = time.perf_counter() - began, _children() - before
    share = spent / took / (os.cpu_count() or 1)
    row = claim.removesuffix(", s"), shown(took), shown(spent), f"{share:.0%}"
    table = Table("Whole commands", ("", "time", "of CPU", "of all cores"), [row])
    return Section(claims={claim: took}, tables=[table])


def _children() -> float:
    """Give the seconds of CPU of all processes that this one waited for."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime

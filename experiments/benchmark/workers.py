"""Part: comparisons by workers: how large one may be, and workers beside devices of one process."""

import functools
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import jax

import jaxnet
from experiments import classifier
from experiments.benchmark import machine, notebooks
from experiments.benchmark.timing import Group, Section, Table, interleaved, shown
from experiments.benchmark.work import Size, digits_workload
from jaxnet.commands import _workers
from jaxnet.compare import Problem, compare

OURS = "jaxnet, workers"


def notebook() -> Problem:
    """Give the classifier notebook, from starts drawn by seed."""
    init = functools.partial(jaxnet.init, sizes=notebooks.SIZES["classifier"])
    data = jax.device_get(classifier.set_up("float32")[1])
    return Problem(classifier.LOSS, init, data, epochs=notebooks.EPOCHS)


def digits() -> Problem:
    """Give the runs on digits of the other parts."""
    work = digits_workload()
    return Problem(work.loss, work.init, work.data, steps=work.steps, batch_size=work.batch_size)


PROBLEMS: Mapping[str, Callable[[], Problem]] = {
    "the classifier notebook": notebook,
    "digits": digits,
}


class Made(NamedTuple):
    """What a comparison took.

    Attributes:
        runs: how many. files, size: that it left, and their bytes.
        computing: seconds that workers computed tiles. own: CPU seconds of the process that asked.
    """

    runs: int
    files: int
    size: int
    computing: float
    own: float

    @property
    def share(self) -> float:
        """What the process that asks takes, as a share of what it asks for."""
        return self.own / self.computing


def made(name: str, replicates: int) -> Made:
    """Compare momentum with SGD by a worker on each core, after a small comparison of the same."""
    with _workers.Processes(len(os.sched_getaffinity(0))) as executor:
        compare(PROBLEMS[name](), ["momentum"], replicates=6, executor=executor)
        with tempfile.TemporaryDirectory() as folder:
            ask = functools.partial(compare, folder=folder, executor=executor)
            began = time.process_time()
            result = ask(PROBLEMS[name](), ["momentum"], replicates=replicates)
            own = time.process_time() - began
            sizes = [path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()]
    computing = sum(each.run for each in result.log.seconds.values())
    return Made(result.protocol.planned, len(sizes), sum(sizes), computing, own)


def workers(size: Size) -> Section:
    """Measure comparisons of many runs, and hold workers against devices of one process."""
    rows, claims, figures = [], {}, {}
    for name, replicates in zip(PROBLEMS, size.replicates, strict=True):
        each, memory = machine.fresh(machine.with_memory, made, name, replicates, cores=1)
        claims[f"{name}, GB"], claims[f"{name}, share"] = memory / 1e9, each.share
        figures[name] = each._asdict() | {"memory": memory}
        sizes = f"{each.files:,}, {each.size / 1e6:.0f} MB", f"{memory / 1e9:.2f} GB"
        seconds = shown(each.computing), shown(each.own), f"{each.share:.1%}"
        rows.append((f"{each.runs:,} runs of {name}", *sizes, *seconds))
    columns = ("", "files", "memory", "computing", "its own CPU time", "share")
    table = Table("Large comparisons by workers", columns, rows)
    notes = ["Memory and CPU time are of the process that asks; to start and compile is left out."]
    group = side_by_side(size.slow_rounds)
    both = claims | group.claims(["devices"])
    return Section([group], both, [table], figures, notes)


def side_by_side(rounds: int) -> Group:
    """Time a comparison on digits by a worker on each core and by a device of each."""
    problem, replicates = digits(), 20
    with _workers.Processes(len(os.sched_getaffinity(0))) as executor:
        ask = functools.partial(compare, problem, ["momentum"], replicates=replicates)
        ways = {"devices of one process": ask, OURS: functools.partial(ask, executor=executor)}
        timings = interleaved(ways, rounds)
    return Group("A comparison of 2,520 runs on digits", OURS, timings)

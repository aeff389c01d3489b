"""Part: time and memory against size, one process for each, and the exponent of their growth.

Axes: runs of the classifier notebook at once; devices under 256 runs on digits; rows of an epoch
of 64-64-10; width of two hidden layers.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax

from experiments import classifier
from experiments.benchmark import machine, notebooks, peers
from experiments.benchmark.timing import Section, Table, Way, exponent, interleaved
from experiments.benchmark.work import RATES, Size, crossed, digits_workload, random_work

BATCH_SIZE, WIDTH_ROWS = 128, 1280
_ROUNDS = 3
_JAXNET, _TORCH = "jaxnet", "PyTorch eager"


class Line(NamedTuple):
    """One way along one axis.

    Attributes:
        axis, way: their names.
        sizes: in ascending order.
        seconds: of the median round, of all that is made. memory: the most bytes that it adds.
    """

    axis: str
    way: str
    sizes: Sequence[int]
    seconds: Sequence[int | float]
    memory: Sequence[int | float]

    @property
    def label(self) -> str:
        """The axis, and the way where it is not ours."""
        return self.axis if self.way == _JAXNET else f"{self.axis}, {self.way}"

    @property
    def exponents(self) -> dict[str, float]:
        """The growth of time and memory, fitted over the upper half of three sizes or more.

        Below, what does not grow outweighs what does.
        """
        half = len(self.sizes) // 2
        values = {"seconds": self.seconds, "memory": self.memory}
        return {
            what: exponent(self.sizes[half:], each[half:])
            for what, each in values.items()
            if len(self.sizes) > 2
        }


def _epoch(sizes: Sequence[int], count: int, way: str) -> Way:
    work = random_work(sizes, count // BATCH_SIZE * BATCH_SIZE, BATCH_SIZE, "sgd", 0.01)
    ways, _ = peers.single_runs(work, ["torch" if way == _TORCH else "fit"])
    return list(ways.values())[-1]


def _runs(count: int) -> Way:
    trials = crossed(-(-count // 16), notebooks.RATES["classifier"]).first(count)
    return peers.sweeping(notebooks.workload("classifier", classifier.LOSS), "sgd", trials)


def make(axis: str, size: int, way: str) -> Way:
    """Give what is made at one size of an axis, by jaxnet or by PyTorch; `devices` are there."""
    return {
        "runs": lambda: _runs(size),
        "devices": lambda: peers.sweeping(digits_workload(), "sgd", crossed(16, RATES["sgd"])),
        "rows": lambda: _epoch((64, 64, 10), size, way),
        "width": lambda: _epoch((64, size, size, 10), WIDTH_ROWS, way),
    }[axis]()


def measure(axis: str, count: int, way: str) -> tuple[float, int]:
    """Give the seconds of all that one size makes in this process, and the bytes it adds to it."""
    jax.block_until_ready(jax.numpy.zeros(1))
    before = machine.peak_memory()
    timing = interleaved({way: make(axis, count, way)}, _ROUNDS)[way]
    return timing.median * timing.runs, machine.peak_memory() - before


def scaling(size: Size) -> Section:
    """Measure along every axis, in PyTorch too where it is installed and one network is trained."""
    devices = {} if machine.on_gpu() else {"devices": range(1, machine.threads()[-1] + 1)}
    # One network is trained on one device, many on all of them or on as many as are asked for.
    cores, lines = {"runs": None, "rows": 1, "width": 1}, []
    missing = [] if machine.installed("torch") else ["torch"]
    for axis, sizes in {**size.scales, **devices}.items():
        for way in (_JAXNET, _TORCH) if axis in ("rows", "width") and not missing else (_JAXNET,):
            measured = [
                machine.fresh(measure, axis, count, way, cores=cores.get(axis, count))
                for count in sizes
            ]
            lines.append(Line(axis, way, list(sizes), *zip(*measured, strict=True)))
    laid_out = section(lines)
    return laid_out._replace(notes=[*laid_out.notes, *peers.left_out(missing)])


def section(lines: Sequence[Line]) -> Section:
    """Lay lines out, with their exponents."""
    rows, figures = [], {}
    for line in lines:
        exponents = line.exponents
        figures[line.label] = line._asdict() | {"exponents": exponents}
        for count, took, added in zip(line.sizes, line.seconds, line.memory, strict=True):
            rows.append((f"{line.label}: {count:,}", f"{took:.3g} s", f"{added / 1e6:.0f} MB"))
        if exponents:
            fitted = (f"{power:.2f}" for power in exponents.values())
            rows.append((f"{line.label}: exponent", *fitted))
    notes = (
        "Every size in a process of its own; what JAX and this benchmark hold before is not "
        "counted, what compiling and importing PyTorch take is. Exponents are fitted over the "
        "upper half of the sizes.",
        f"rows: an epoch of 64-64-10; width: {WIDTH_ROWS} rows of 64-W-W-10; batch {BATCH_SIZE}; "
        "devices: 256 runs on digits; runs: of the classifier notebook.",
    )
    table = Table("Scaling", ("size", "time", "memory added"), rows)
    return Section((), {}, [table], figures, notes)

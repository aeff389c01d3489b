"""The phases of a comparison: each optimizer is tuned, then run on fresh seeds to be judged."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxnet import devices, optimizers
from jaxnet._guards import sizes
from jaxnet.compare import store, sweep
from jaxnet.compare.protocol import Judging, Protocol, Search, Tuning
from jaxnet.compare.runs import Log, Runs, Seconds

OnProgress = Callable[[str, int, int], None]
"""Told what is under way, how many runs are done and how many are planned."""


@dataclasses.dataclass
class Bench:
    """Where the runs are made: it counts them, and the seconds that they take.

    Attributes:
        task: what is trained. shape: of a tile of runs.
        folder: where finished tiles are kept; nowhere where None.
        on_progress: told after each tile. planned: how many runs there are to be.
        verified: what was held against NumPy, in words.
        dtype: of the losses. done: how many there are.
        seconds: by optimizer. reasons: by optimizer, why one of its runs diverged.
    """

    task: sweep.Task
    shape: sweep.Tile
    folder: Path | None
    on_progress: OnProgress | None
    planned: int
    verified: str
    dtype: str = ""
    done: int = 0
    seconds: dict[str, Seconds] = dataclasses.field(default_factory=dict)
    reasons: dict[str, str] = dataclasses.field(default_factory=dict)

    def train(self, entry: optimizers.Entry, phase: str, runs: list[sweep.Run]) -> Runs:
        """Train an optimizer from seeds at learning rates."""

        def told(count: int) -> None:
            if self.on_progress:
                self.on_progress(f"{entry.name}, {phase}", self.done + count, self.planned)

        swept, seconds = sweep.run(
            self.task,
            entry,
            runs,
            self.shape,
            test=phase != "tuning" and self.task.test is not None,
            folder=self.folder,
            on_progress=told,
        )
        self.done += len(runs)
        self.dtype = str(swept.loss.dtype)
        self._time(entry.name, seconds)
        seed, rate = (np.array(column) for column in zip(*runs, strict=True))
        return Runs(entry.name, phase, rate, seed, **swept._asdict())

    def explain(self, entry: optimizers.Entry, tuned: Runs) -> None:
        """Find out where and why the first run that diverged did."""
        for run in np.flatnonzero(tuned.diverged >= 0)[:1]:
            seed, rate = int(tuned.seed[run]), float(tuned.learning_rate[run])
            if why := sweep.cause(self.task, entry, (seed, rate)):
                self.reasons[entry.name] = f"seed {seed}: {why}"

    def log(self, title: str, command: str, unable: Mapping[str, str]) -> Log:
        """Give what was met on the way, under the name of the comparison."""
        return Log(
            title=title,
            command=command,
            provenance=devices.provenance(self.dtype),
            verified=self.verified,
            seconds=self.seconds,
            reasons=self.reasons,
            unable=unable,
        )

    def _time(self, name: str, seconds: sweep.Seconds) -> None:
        # The fastest: the first tile of a process warms it up for all that follow.
        step = float(seconds.running.min()) / (self.shape.runs * self.task.steps)
        before = self.seconds.get(name, Seconds(0.0, 0.0, step))
        run = before.run + float(seconds.running.sum())
        self.seconds[name] = Seconds(seconds.compiling, run, min(before.step, step))


def bench(
    task: sweep.Task, protocol: Protocol, folder: Path | None, on_progress: OnProgress | None
) -> Bench:
    """Make ready for the runs of a protocol: their memory, their folder, and what they compute.

    Raises:
        InputError: too little memory; a folder of another comparison; what XLA compiles is wrong.
    """
    tuning, fresh = len(protocol.tuning.seeds), len(protocol.judging.seeds)
    searches = protocol.optimizers.values()
    planned = sum(len(each.learning_rates) * tuning + 2 * fresh for each in searches)
    # Two: a fresh seed has the tuned rate and the customary one.
    shape = sweep.tile(task, planned // len(searches), rates=2)
    needed = sweep.memory(task, shape, planned)
    cure = "compare fewer seeds, rates or optimizers at once"
    sizes.check_bytes("memory", needed, "runs", cure)
    if on_progress:
        on_progress(f"compiling, to run in about {needed / 1e9:.2g} GB", 0, planned)
    tiles = store.keep(folder, protocol) if folder else None
    task, verified = sweep.verified(task, shape)
    return Bench(
        task=task,
        shape=shape,
        folder=tiles,
        on_progress=on_progress,
        planned=planned,
        verified=verified,
    )


def compile_all(bench: Bench, entries: Sequence[optimizers.Entry], protocol: Protocol) -> None:
    """Compile the tiles of all whose tuning is not kept already, side by side."""
    task, shape, folder = bench.task, bench.shape, bench.folder

    def kept(entry: optimizers.Entry) -> bool:
        rates = protocol.optimizers[entry.name].learning_rates
        runs = _pairs(rates, protocol.tuning.seeds)
        return folder is not None and sweep.is_kept(task, entry, runs, shape, folder)

    sweep.compile_all(task, [entry for entry in entries if not kept(entry)], shape)


def run(bench: Bench, entry: optimizers.Entry, protocol: Protocol) -> list[Runs]:
    """Put one optimizer through all phases."""
    search = protocol.optimizers[entry.name]
    tuning = tune(bench, entry, search, protocol.tuning)
    rates = [tuning.best_rate()[0], search.customary_rate]
    return [tuning, *judge(bench, entry, rates, protocol.judging)]


def tune(bench: Bench, entry: optimizers.Entry, search: Search, tuning: Tuning) -> Runs:
    """Run every rate; where the best is an end of the range, go on beyond it."""
    runs = bench.train(entry, "tuning", _pairs(search.learning_rates, tuning.seeds))
    for _ in range(tuning.extensions):
        more = runs.beyond(tuning.extended_by)
        if not more:
            break
        bench.planned += len(more) * len(tuning.seeds)
        further = bench.train(entry, "tuning", _pairs(more, tuning.seeds))
        runs = runs.map(lambda a, b: np.concatenate([a, b]), further)
    return runs


def judge(
    bench: Bench, entry: optimizers.Entry, rates: Sequence[float], judging: Judging
) -> list[Runs]:
    """Run fresh seeds at the tuned rate and at the customary one."""
    # Together: the two of a seed share its batches.
    both = bench.train(entry, "fresh seeds", _pairs(rates, judging.seeds))
    tuned, default = (both.map(lambda column, at=at: column[at::2]) for at in (0, 1))
    bench.explain(entry, tuned)
    return [tuned._replace(phase="tuned"), default._replace(phase="default")]


def _pairs(rates: Sequence[float], seeds: Sequence[int]) -> list[sweep.Run]:
    """Give each seed at each rate."""
    return [(seed, rate) for seed in seeds for rate in rates]

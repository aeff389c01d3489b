"""What a comparison takes: trials, or the gradients or seconds, equal for all, and its whole."""

import dataclasses
import resource
from collections.abc import Mapping, Sequence

import numpy as np

from jaxnet import optimizers
from jaxnet._guards.defaults import Budget
from jaxnet.compare import compiling, sweep, tiles
from jaxnet.compare.protocol import Protocol
from jaxnet.compare.search import Search


def affordable(
    workload: tiles.Workload,
    entries: Sequence[optimizers.Entry],
    searches: Mapping[str, Search],
    budget: Budget,
    shape: tiles.Tile,
) -> dict[str, Search]:
    """Give each search as many trials as cost what those of the baseline do, at least one.

    Args:
        workload: what is trained. entries: the baseline first. searches: of equally many trials.
        budget: what is equal for all: "trials", "evaluations" of gradients or "seconds", each as
            a run at the customary setting takes them. shape: of the tile that is timed.
    """
    if budget == "trials":
        return dict(searches)
    compiling.compile_all(workload, [(e, searches[e.name].names) for e in entries], shape)
    costs = {e.name: _cost(workload, e, searches[e.name], shape, budget) for e in entries}
    first = costs[entries[0].name]
    return {
        name: dataclasses.replace(each, trials=max(1, round(each.trials * first / costs[name])))
        for name, each in searches.items()
    }


@dataclasses.dataclass(frozen=True)
class Foreseen:
    """What the first look of a comparison takes; printed, in words.

    Attributes:
        runs: how many. tiles: that they are cut into.
        compiling: seconds in which a process compiles the programs of all optimizers.
        running: seconds in which one process makes all tiles, by a tile of each optimizer.
        worker: bytes that a process holds that makes tiles, as this one held.
        gathered: bytes that all results take beside that, here.
    """

    runs: int
    tiles: int
    compiling: float
    running: float
    worker: int
    gathered: int

    def seconds(self, workers: int = 1) -> float:
        """Give how long so many workers take, each of which compiles all programs."""
        return self.compiling + self.running / workers

    def __str__(self) -> str:
        """Say it of one worker, and of more."""
        return (
            f"{self.runs:,} runs in {self.tiles:,} tiles; to compile, {self.compiling:.2g} s of "
            f"each worker; to run, {self.running:.2g} s in all; memory, {self.worker / 1e9:.2g} GB "
            f"of each worker, {self.gathered / 1e9:.2g} GB more to gather"
        )


def foreseen(
    workload: tiles.Workload,
    entries: Sequence[optimizers.Entry],
    protocol: Protocol,
    shape: tiles.Tile,
) -> Foreseen:
    """Measure a tile of each optimizer, and count those that there will be."""
    counts, compiling, running = {}, 0.0, 0.0
    for entry in entries:
        search = protocol.optimizers[entry.name]
        _, timing = _tile(workload, entry, search, shape)
        counts[entry.name] = _count(search, protocol, shape)
        compiling += timing.compiling
        running += float(timing.running.sum()) * counts[entry.name]
    runs = protocol.planned
    return Foreseen(
        runs=runs,
        tiles=sum(counts.values()),
        compiling=compiling,
        running=running,
        worker=1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        gathered=tiles.memory(workload, shape, runs) - tiles.memory(workload, shape, 0),
    )


def _count(search: Search, protocol: Protocol, shape: tiles.Tile) -> int:
    """Give how many tiles an optimizer's runs are cut into: its stages, and twice those judged."""
    items = [
        protocol.replicates * protocol.tuning.seeds * -(-trials // shape.settings)
        for trials in search.stages
    ]
    items += [protocol.replicates] * 2
    return sum(-(-each // (shape.runs // shape.settings)) for each in items)


def _cost(
    workload: tiles.Workload,
    entry: optimizers.Entry,
    search: Search,
    shape: tiles.Tile,
    budget: Budget,
) -> float:
    """Give what a tile of runs at the customary setting takes, in seconds or gradients of a run."""
    swept, seconds = _tile(workload, entry, search, shape)
    return float(seconds.running.sum() if budget == "seconds" else np.median(swept.evaluations))


def _tile(
    workload: tiles.Workload, entry: optimizers.Entry, search: Search, shape: tiles.Tile
) -> tuple[tiles.Swept, tiles.Timing]:
    """Make a tile at the customary setting."""
    setting = {name: np.full(shape.runs, search.customary[name]) for name in search.names}
    trials = tiles.Trials(np.arange(shape.runs, dtype=np.int32) // shape.settings, setting)
    # The second time, as all after the first.
    return [sweep.run(workload, entry, trials, shape) for _ in range(2)][1]

"""What is equal for all optimizers tuned: trials, or the gradients or seconds that they take."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from jaxnet import optimizers
from jaxnet._guards.defaults import Budget
from jaxnet.compare import compiling, sweep, tiles
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


def _cost(
    workload: tiles.Workload,
    entry: optimizers.Entry,
    search: Search,
    shape: tiles.Tile,
    budget: Budget,
) -> float:
    """Give what a tile of runs at the customary setting takes, in seconds or gradients of a run."""
    count = shape.runs
    setting = {name: np.full(count, search.customary[name]) for name in search.names}
    trials = tiles.Trials(np.arange(count, dtype=np.int32) // shape.settings, setting)
    # The second time, as all after the first.
    swept, seconds = [sweep.run(workload, entry, trials, shape) for _ in range(2)][1]
    return float(seconds.running.sum() if budget == "seconds" else np.median(swept.evaluations))

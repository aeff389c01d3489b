"""Compare optimizers with plain SGD: a fair protocol, thousands of runs, an honest answer.

The protocol is fixed beforehand and stated in the result: every optimizer is tuned alike, on
seeds and data that do not judge it, and then held against plain SGD seed by seed.

Shapes: E measurements along a run.
"""

import dataclasses
import math
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int, PyTree

from jaxnet import devices, losses, optimizers
from jaxnet.compare import inputs, statistics, store, sweep, verdicts
from jaxnet.compare.inputs import BASELINE
from jaxnet.compare.runs import Runs
from jaxnet.compare.verdicts import LEVEL, Answer
from jaxnet.errors import InputError
from jaxnet.storage import fingerprints

# A range whose end is best is extended at most so often, by so many rates.
EXTENSIONS = 2
EXTENDED_BY = 4

OnProgress = Callable[[str, int, int], None]
"""Told what is under way, how many runs are done and how many are planned."""


class Comparison(NamedTuple):
    """A comparison that is done.

    Attributes:
        protocol: all that was decided beforehand, as JSON has it: what is compared on what, with
            how many rates, seeds, steps; what is judged; the level of the tests; `title`, and
            `judged` ("test", "validation" or "training"), the data the answers are of.
        steps: shape [E], steps done at each measurement.
        runs: all of them, by optimizer and phase.
        answers: one of each optimizer, plain SGD first, the others best first, and last those
            that cannot step from these parameters.
        provenance: device, dtype, versions.
        seconds: by optimizer, to "compile", to "run" all of it, and of a "step" of one run.
        target: the loss that steps to it are counted to; nan where there is none.
        reasons: by optimizer, where and why one of its runs at the tuned rate diverged.
    """

    protocol: dict[str, Any]
    steps: Int[np.ndarray, " E"]
    runs: list[Runs]
    answers: list[Answer]
    provenance: dict[str, str]
    seconds: dict[str, dict[str, float]]
    target: float
    reasons: dict[str, str]

    @property
    def ran(self) -> list[Answer]:
        """The answers of the optimizers that could be run."""
        return [answer for answer in self.answers if answer.rates]

    @property
    def loss_name(self) -> str:
        """What the loss that decides is called."""
        return f"{self.protocol['judged']} loss"

    def phase(self, name: str) -> dict[str, Runs]:
        """Give the runs of a phase by optimizer."""
        return {runs.optimizer: runs for runs in self.runs if runs.phase == name}


def compare(
    loss: losses.Loss,
    init: Callable[[Any], PyTree],
    data: PyTree,
    optimizers: Sequence[str] | Mapping[str, Any],
    *,
    epochs: int,
    batch_size: int | None = None,
    validation: PyTree | None = None,
    test: PyTree | None = None,
    metrics: inputs.Metrics | None = None,
    learning_rates: Sequence[float] | Mapping[str, Sequence[float]] | None = None,
    budget: int = 12,
    tuning_seeds: int = 3,
    seeds: int | None = None,
    target: float | None = None,
    title: str = "",
    folder: Path | None = None,
    on_progress: OnProgress | None = None,
    fast: bool | None = None,
) -> Comparison:
    """Tune each optimizer alike, run it on fresh seeds, and hold it against plain SGD.

    Every optimizer gets the same number of learning rates on the same tuning seeds, and the one
    with the lowest median loss is taken; where it is an end of the range, the range is extended
    beyond it, twice at most. Then fresh seeds are run at that rate and at the customary one, and
    the test data is scored once. Seed s has the same start and the same batches everywhere.

    Args:
        loss: `(params, batch) -> []`, pure; a mean over the batch.
        init: `key -> params`, pure: the start of each seed.
        data: N rows to train on, a pytree of arrays.
        optimizers: names of optax's, or a dict of names and your own, as `optimizers.join` takes.
        epochs: of each run.
        batch_size: B, all rows where None; rows that do not fill a last batch sit out their
            epoch, others in the next.
        validation: rows to tune on; the training loss where None.
        test: rows to judge on; those tuned on where None.
        metrics: by name, `(params, batch) -> []`, reported beside the loss, which decides.
        learning_rates: to try, for all or by name, as many for each; where None, and for names
            left out, `budget` of them over each optimizer's own range.
        budget: how many.
        tuning_seeds: how many to tune on.
        seeds: how many others to judge; where None 10, or two more than the fewest that can tell
            so many optimizers apart.
        target: a loss to time the runs to, on the data tuned on; plain SGD's own median at its
            end where None.
        title: of the report.
        folder: where what is done is kept; the same call then goes on from there.
        on_progress: told after each tile of runs.
        fast: whether many small runs may be computed in the faster ways of a CPU; None takes what
            the environment variable JAXNET_FAST says, 1 or 0, and 1 where it says nothing.

    Raises:
        InputError: input that cannot be compared, named, before anything compiles.
    """
    entries = inputs.entries(optimizers)
    fewest = statistics.fewest_seeds(max(1, len(entries) - 1), LEVEL)
    seeds = max(10, fewest + 2) if seeds is None else seeds
    counts = {"epochs": epochs, "tuning_seeds": tuning_seeds, "seeds": seeds}
    inputs.check_settings(budget, target, title, **counts)
    rates = inputs.rates(entries, learning_rates, budget)
    task, unable = inputs.task(
        entries, loss, init, data, batch_size, epochs, validation, test, metrics, fast
    )
    entries = [entry for entry in entries if entry.name not in unable]
    rates = {entry.name: rates[entry.name] for entry in entries}
    protocol = _protocol(title, entries, rates, task, tuning_seeds, seeds, fewest, target)
    protocol["unable"] = unable
    planned = sum(len(mine) * tuning_seeds + 2 * seeds for mine in rates.values())
    # Two: a fresh seed has the tuned rate and the customary one.
    shape = sweep.tile(task, planned // len(entries), rates=2)
    needed = sweep.memory(task, shape, planned)
    inputs.check_memory(needed)
    if on_progress:
        on_progress(f"compiling, to run in about {needed / 1e9:.2g} GB", 0, planned)
    kept = store.keep(Path(folder), protocol) if folder else None
    task, said = sweep.verified(task, shape)
    tuning = {name: _pairs(mine, protocol["tuning_seeds"]) for name, mine in rates.items()}
    sweep.compile_all(
        task,
        [e for e in entries if not (kept and sweep.is_kept(task, e, tuning[e.name], shape, kept))],
        shape,
    )
    bench = _Bench(task, shape, kept, on_progress, planned)
    runs = [each for entry in entries for each in bench.compare(entry, rates[entry.name], protocol)]
    provenance = devices.provenance(runs[0].loss.dtype) | {"verified": said}
    found = of_runs(protocol, task.measured, runs, provenance, bench.seconds, bench.reasons)
    if folder:
        save(found, Path(folder))
    return found


def _protocol(
    title: str,
    entries: Sequence[optimizers.Entry],
    rates: Mapping[str, list[float]],
    task: sweep.Task,
    tuning_seeds: int,
    seeds: int,
    fewest: int,
    target: float | None,
) -> dict[str, Any]:
    """State all that is decided before the first run, in the order that it is shown."""
    parts = {"training": task.data, "validation": task.validation, "test": task.test}
    parts = {name: part for name, part in parts.items() if part is not None}
    return {
        "title": title,
        "judged": [*parts][-1],
        "tuned_on": "validation" if "validation" in parts else "training",
        "baseline": BASELINE,
        "optimizers": {
            entry.name: {
                "learning_rates": rates[entry.name],
                "customary_rate": entry.default,
                "note": entry.note,
            }
            for entry in entries
        },
        "tuning_seeds": list(range(tuning_seeds)),
        "seeds": list(range(tuning_seeds, tuning_seeds + seeds)),
        "fewest_seeds": fewest,
        "epochs": task.epochs,
        "batch_size": task.batch_size,
        "steps": task.steps,
        "rows": {name: len(jax.tree.leaves(part)[0]) for name, part in parts.items()},
        "metrics": [name for name, _ in task.metrics],
        "target": target,
        "level": LEVEL,
        "extensions": f"at most {EXTENSIONS}, by {EXTENDED_BY} rates beyond the best end",
        "data": fingerprints.of_data(parts),
        "start": fingerprints.of_data(jax.device_get(task.init(jax.random.key(0)))),
        "program": task.fingerprint,
    }


def _pairs(rates: Sequence[float], seeds: Sequence[int]) -> list[sweep.Run]:
    return [(seed, rate) for seed in seeds for rate in rates]


@dataclasses.dataclass
class _Bench:
    """Where the runs are made: it counts them, and the seconds they take as a `Comparison` does."""

    task: sweep.Task
    shape: sweep.Tile
    folder: Path | None
    on_progress: OnProgress | None
    planned: int
    done: int = 0
    seconds: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    reasons: dict[str, str] = dataclasses.field(default_factory=dict)

    def compare(
        self, entry: optimizers.Entry, rates: list[float], protocol: dict[str, Any]
    ) -> list[Runs]:
        """Tune an optimizer, and run it on fresh seeds at the tuned and the customary rate."""
        tuning = self._tune(entry, rates, protocol["tuning_seeds"])
        # Together: the two of a seed share its batches.
        judged = _pairs([tuning.best_rate()[0], entry.default], protocol["seeds"])
        fresh = self._train(entry, "fresh seeds", judged)
        tuned = _every_second(fresh, 0, "tuned")
        for run in np.flatnonzero(tuned.diverged >= 0)[:1]:
            seed, rate = int(tuned.seed[run]), float(tuned.learning_rate[run])
            if why := sweep.cause(self.task, entry, (seed, rate)):
                self.reasons[entry.name] = f"seed {seed}: {why}"
        return [tuning, tuned, _every_second(fresh, 1, "default")]

    def _tune(self, entry: optimizers.Entry, rates: list[float], seeds: list[int]) -> Runs:
        """Run every rate; where the best is an end of the range, go on beyond it."""
        runs = self._train(entry, "tuning", _pairs(rates, seeds))
        for _ in range(EXTENSIONS):
            more = runs.beyond(EXTENDED_BY)
            if not more:
                break
            self.planned += len(more) * len(seeds)
            runs = _joined(runs, self._train(entry, "tuning", _pairs(more, seeds)))
        return runs

    def _train(self, entry: optimizers.Entry, phase: str, pairs: list[sweep.Run]) -> Runs:
        def told(count: int) -> None:
            if self.on_progress:
                self.on_progress(f"{entry.name}, {phase}", self.done + count, self.planned)

        swept, seconds = sweep.run(
            self.task,
            entry,
            pairs,
            self.shape,
            test=phase != "tuning" and self.task.test is not None,
            folder=self.folder,
            on_progress=told,
        )
        self.done += len(pairs)
        # The fastest: the first tile of a process warms it up for all that follow.
        step = float(seconds.running.min()) / (self.shape.runs * self.task.steps)
        before = self.seconds.get(entry.name, {"run": 0.0, "step": step})
        self.seconds[entry.name] = {
            "compile": seconds.compiling,
            "run": before["run"] + float(seconds.running.sum()),
            "step": min(before["step"], step),
        }
        seed, rate = (np.array(column) for column in zip(*pairs, strict=True))
        return Runs(entry.name, phase, rate, seed, **swept._asdict())


def _joined(these: Runs, those: Runs) -> Runs:
    joined = jax.tree.map(lambda a, b: np.concatenate([a, b]), these[2:], those[2:])
    return Runs(these.optimizer, these.phase, *joined)


def _every_second(runs: Runs, first: int, phase: str) -> Runs:
    return Runs(runs.optimizer, phase, *jax.tree.map(lambda column: column[first::2], runs[2:]))


def of_runs(
    protocol: dict[str, Any],
    steps: Int[np.ndarray, " E"],
    runs: list[Runs],
    provenance: dict[str, str],
    seconds: dict[str, dict[str, float]],
    reasons: Mapping[str, str] = types.MappingProxyType({}),
) -> Comparison:
    """Answer what the runs say, all of it from the runs alone.

    Raises:
        InputError: fresh seeds that are not the same for every optimizer.
    """
    by_phase = {
        name: {each.phase: each for each in runs if each.optimizer == name}
        for name in protocol["optimizers"]
    }
    tuned = {name: phases["tuned"] for name, phases in by_phase.items()}
    plain = tuned[BASELINE]
    if any(not np.array_equal(each.seed, plain.seed) for each in tuned.values()):
        raise InputError("runs: wanted the same seeds in the same order for every optimizer")
    target = protocol["target"]
    if target is None:
        middle = float(np.median(plain.final(plain.tuned_on)))
        # Where half of its runs diverged there is none to reach.
        target = middle if math.isfinite(middle) else math.nan
    baseline = plain.final(protocol["judged"])
    paired = {
        name: statistics.paired(each.final(protocol["judged"]), baseline)
        for name, each in tuned.items()
        if name != BASELINE
    }
    adjusted = statistics.holm(np.array([each.p_value for each in paired.values()]))
    against = dict(zip(paired, zip(paired.values(), adjusted.tolist(), strict=True), strict=True))
    first, *others = (
        verdicts.answer(
            protocol, steps, phases, baseline, against.get(name), target, seconds[name], reasons
        )
        for name, phases in by_phase.items()
    )
    others.sort(key=lambda each: (math.isnan(each.mean.estimate), each.mean.estimate))
    others += [verdicts.unable(name, why) for name, why in protocol.get("unable", {}).items()]
    every = [first, *others]
    return Comparison(protocol, steps, runs, every, provenance, seconds, target, dict(reasons))


def save(comparison: Comparison, folder: Path) -> None:
    """Write a comparison: `runs.parquet`, `curves.parquet` and `comparison.json`.

    The tables are tidy: one row for each run, and for each measurement of a run. JSON comes last:
    where it is, all is there.

    Raises:
        OSError: a place that cannot be written to.
    """
    protocol, steps, runs, _, provenance, seconds, _, reasons = comparison
    store.write(folder, protocol, steps, runs, provenance, seconds, reasons)


def load(folder: Path) -> Comparison:
    """Read a comparison that `save` wrote.

    Raises:
        InputError: a folder without one.
    """
    return of_runs(*store.read(Path(folder)))

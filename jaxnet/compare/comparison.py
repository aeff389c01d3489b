"""Compare optimizers with plain SGD: a fair protocol, thousands of runs, an honest answer.

The protocol is fixed beforehand and stated in the result: every optimizer is tuned alike, on
seeds and data that do not judge it, and then held against plain SGD seed by seed.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from jaxtyping import PyTree

from jaxnet import losses
from jaxnet._guards import checks, records, sizes
from jaxnet.compare import inputs, phases, statistics, store, sweep, verdicts
from jaxnet.compare.protocol import LEVEL, Judging, Part, Protocol, Search, Tuning
from jaxnet.compare.runs import Record
from jaxnet.compare.verdicts import Answer
from jaxnet.storage import fingerprints


@dataclasses.dataclass(frozen=True)
class Comparison(Record):
    """A comparison that is done: its record, and what that says.

    Attributes:
        answers: one of each optimizer, plain SGD first, the others best first, and last those
            that cannot step from these parameters.
        target: the loss that steps to it are counted to; nan where there is none.
    """

    answers: list[Answer]
    target: float

    @property
    def ran(self) -> list[Answer]:
        """The answers of the optimizers that could be run."""
        return [answer for answer in self.answers if answer.rates]

    @property
    def loss_name(self) -> str:
        """What the loss that decides is called."""
        return f"{self.protocol.judging.data} loss"


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
    command: str = "",
    folder: Path | None = None,
    on_progress: phases.OnProgress | None = None,
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
        command: that repeats it, for the report to say.
        folder: where what is done is kept; the same call then goes on from there.
        on_progress: told after each tile of runs.
        fast: whether many small runs may be computed in the faster ways of a CPU; None takes what
            the environment variable JAXNET_FAST says, 1 or 0, and 1 where it says nothing.

    Raises:
        InputError: input that cannot be compared, named, before anything compiles.
        ImportError: the extra `compare` is not installed.
    """
    checks.extra("compare", "scipy")
    entries = inputs.entries(optimizers)
    fewest = statistics.fewest_seeds(max(1, len(entries) - 1), LEVEL)
    seeds = max(10, fewest + 2) if seeds is None else seeds
    seeded = {"tuning_seeds": tuning_seeds, "seeds": seeds}
    words = {"title": title, "command": command}
    inputs.check_settings({"epochs": epochs, **seeded}, words, budget, target)
    rates = inputs.rates(entries, learning_rates, budget)
    tried = max(map(len, rates.values()))
    runs = sizes.check_runs(len(entries), tried, tuning_seeds, seeds)
    problem = inputs.Problem(
        loss=loss,
        init=init,
        data=data,
        validation=validation,
        test=test,
        metrics={} if metrics is None else metrics,
        epochs=epochs,
        batch_size=batch_size,
        fast=fast,
    )
    task = inputs.task(problem)
    sizes.check_steps(epochs, task.rows, task.batch_size, runs)
    programs = inputs.programs(task, entries)
    task = task._replace(fingerprint=programs.fingerprint)
    entries = [entry for entry in entries if entry.name not in programs.unable]
    searches = {e.name: Search(tuple(rates[e.name]), e.default, e.note) for e in entries}
    protocol = _protocol(task, searches, **seeded, fewest=fewest, target=target)
    bench = phases.bench(task, protocol, folder and Path(folder), on_progress)
    phases.compile_all(bench, entries, protocol)
    results = [each for entry in entries for each in phases.run(bench, entry, protocol)]
    log = bench.log(title, command, programs.unable)
    comparison = of_record(Record(protocol, log, task.measured, results))
    if folder:
        save(comparison, Path(folder))
    return comparison


def _protocol(
    task: sweep.Task,
    searches: Mapping[str, Search],
    *,
    tuning_seeds: int,
    seeds: int,
    fewest: int,
    target: float | None,
) -> Protocol:
    """State all that is decided before the first run."""
    parts = _parts(task)
    tuned_on = "training" if task.validation is None else "validation"
    judged: Part = tuned_on if task.test is None else "test"
    fresh = tuple(range(tuning_seeds, tuning_seeds + seeds))
    protocol = Protocol(
        optimizers=searches,
        tuning=Tuning(tuned_on, tuple(range(tuning_seeds))),
        judging=Judging(judged, fresh, fewest, target=target),
        epochs=task.epochs,
        batch_size=task.batch_size,
        steps=task.steps,
        rows={name: len(jax.tree.leaves(part)[0]) for name, part in parts.items()},
        metrics=tuple(name for name, _ in task.metrics),
        data=fingerprints.of_data(parts),
        start=fingerprints.of_data(jax.device_get(task.init(jax.random.key(0)))),
        program=task.fingerprint,
    )
    # As it is read again: a whole number may be a float.
    return records.rebuilt(Protocol, records.plain(protocol), Path("protocol"))


def _parts(task: sweep.Task) -> dict[Part, PyTree]:
    """Give the parts of the data that there are."""
    parts: dict[Part, PyTree | None] = {
        "training": task.data,
        "validation": task.validation,
        "test": task.test,
    }
    return {name: part for name, part in parts.items() if part is not None}


def of_record(record: Record) -> Comparison:
    """Answer what the runs say, all of it from the record alone."""
    target = verdicts.target(record)
    return Comparison(**vars(record), answers=verdicts.answers(record, target), target=target)


def save(comparison: Comparison, folder: Path) -> None:
    """Write a comparison: `protocol.json`, `runs.parquet`, `curves.parquet`, `comparison.json`.

    The tables are tidy: one row for each run, and for each measurement of a run.

    Raises:
        InputError: a folder that holds another comparison.
        OSError: a place that cannot be written to.
    """
    store.write(Path(folder), comparison)


def load(folder: Path) -> Comparison:
    """Read a comparison that `save` wrote.

    Raises:
        InputError: a folder without one, or with one that is damaged, naming what is.
    """
    return of_record(store.read(Path(folder)))

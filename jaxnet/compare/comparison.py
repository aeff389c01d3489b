"""Compare optimizers: a fair protocol, thousands of runs, an honest answer.

The protocol is fixed beforehand and stated in the result. Tuning is part of what is compared: each
replicate searches settings of every optimizer by itself, on seeds and data that do not judge, and
is judged at what it picked, all optimizers on the same seed.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, ParamSpec, TypeVar, get_type_hints

import jax
import numpy as np
from jaxtyping import PyTree

from jaxnet._guards import checks, notebook, records
from jaxnet.compare import budgets, inputs, phases, store, tiles, verdicts, workers
from jaxnet.compare.budgets import Foreseen
from jaxnet.compare.inputs import Design
from jaxnet.compare.protocol import Judging, Part, Protocol, Tuning
from jaxnet.compare.runs import Record
from jaxnet.compare.search import Search
from jaxnet.compare.verdicts import Answer, Pair
from jaxnet.optimizers import Entry
from jaxnet.storage import fingerprints

P = ParamSpec("P")
R = TypeVar("R")

# A look at more replicates is at so many times as many: fewer would tell little more.
_GROWTH = 4


@dataclasses.dataclass(frozen=True)
class Comparison(Record):
    """A comparison that is done: its record, and what that says; printed, the answers in words.

    Attributes:
        answers: one of each optimizer, the baseline first, the others best first, and last those
            that cannot step from these parameters.
        pairs: what was tested, with its figures.
        target: the loss that steps to it are counted to; nan where there is none.
    """

    answers: list[Answer]
    pairs: list[Pair]
    target: float

    @property
    def ran(self) -> list[Answer]:
        """The answers of the optimizers that could be run."""
        return [answer for answer in self.answers if answer.trials]

    @property
    def judged_by(self) -> str:
        """What is judged, in words."""
        return verdicts.judged_by(self.protocol)

    @property
    def _judged(self) -> str:
        return f"Judged by {self.judged_by}, in {verdicts.replicates(self.protocol)}."

    def __str__(self) -> str:
        """Say the answers, and what they are judged by."""
        return "\n".join([*(each.sentence for each in self.answers), self._judged])

    def _repr_html_(self) -> str:
        rows = [(each.optimizer, each.verdict, each.sentence) for each in self.answers]
        heads = ("optimizer", "verdict", "against the baseline")
        return notebook.table(heads, rows, self._judged)


def _asked(
    make: Callable[P, Design],
) -> Callable[[Callable[[Design], R]], Callable[P, R]]:
    """Let a function of a design be called with what makes one."""

    def of_design(function: Callable[[Design], R]) -> Callable[P, R]:
        @functools.wraps(function)
        def of_arguments(*arguments: P.args, **named: P.kwargs) -> R:
            return function(make(*arguments, **named))

        # Bounds are for the commands.
        hints = get_type_hints(make)
        taken = inspect.signature(make).parameters.values()
        vars(of_arguments)["__signature__"] = inspect.Signature(
            [each.replace(annotation=hints[each.name]) for each in taken],
            return_annotation=get_type_hints(function)["return"],
        )
        return of_arguments

    return of_design


@_asked(Design)
def compare(design: Design) -> Comparison:
    """Hold optimizers against plain SGD, or another baseline, with the tuning of each included.

    A replicate is the whole procedure: it draws settings of every optimizer by itself, trains
    each on `tuning_seeds` seeds of its own, goes on where the best of them lies, picks the one
    with the lowest mean loss, and is judged at it on one more seed. What two optimizers have in
    common they share within a replicate: draws, starts and batches. Verdicts are of the
    replicates, so that the luck of tuning is in them.

    Args:
        problem: what is trained, on what, from where, and how long.
        optimizers: names of optax's, or a dict of names and your own, as `optimizers.join` takes.
        tune: "rate", the learning rate alone; "all", the whole space of each optimizer; or by
            optimizer either of these or axes of your own, a dict or a dataclass of what
            `jaxnet.spaces` makes, a number to fix one; learning rates of optimizers left out.
        budget: trials of each optimizer in each replicate; 20, or 36 where several
            hyperparameters are searched.
        budget_of: what is equal for all: "trials"; or the "evaluations" of gradients or "seconds"
            that so many trials of the baseline take, however few or many others that makes.
        tuning_seeds: that each trial is trained on.
        replicates: how many. A folder that holds fewer goes on from them, which is another look:
            all of them are tested anew, at a small part of the level.
        until: replicates at most, to go on to where not all is told, by looks at four times as
            many or more.
        seed: that every draw hangs on, 0 to 32767; another makes a true replication.
        baseline: what the others are held against. pairs: "all" to hold all against each other.
        by: what is judged: "loss", a metric by name, or "steps", "evaluations" or "seconds" to
            the target. Seconds are those steps times what one took where the replicate's own run
            was timed, all optimizers in turn: how much that varies is in the test.
        maximised: whether more of a metric is better; to be said of one.
        target: the loss that they are counted to, on the data tuned on; where None the median of
            the baseline at its end, or what nine of ten of its replicates reach, where `by` is a
            time.
        level: how often any verdict may be given in a comparison without a difference, at all
            looks together. margin: the share within which another is as good.
        title: of the report; what is held against what, on what, where empty.
        command: that repeats it, for the report to say.
        folder: where what is done is kept; the same call then goes on from there, with as many
            replicates as it has or more. Another comparison has a folder of its own, as has one of
            more optimizers: its verdicts share one level, which was decided before the first run.
            A function that calls Python (`jax.pure_callback`) goes on nowhere.
        executor: what hands out tiles of runs to processes, any of `concurrent.futures`: its
            workers compute as this process does, of the same versions on the same kind of device.
            What is decided between tiles, and seconds where they count, are found out here.
        on_progress: told after each tile of runs.
        fast: whether many small runs may be computed in the faster ways of a CPU; None takes what
            the environment variable JAXNET_FAST says, 1 or 0, and 1 where it says nothing.

    Raises:
        InputError: input that cannot be compared, named, before anything compiles.
        ImportError: the extra `compare` is not installed, or with an executor `cluster`.
        BrokenExecutor: the executor lost a worker; a folder has what is done.
    """
    plan = _planned(design)
    protocol, folder = plan.protocol, plan.folder
    while True:
        bench = phases.bench(plan.workload, protocol, folder, plan.crew, design.on_progress)
        results = phases.run_all(bench, plan.entries, protocol)
        bench.time(plan.entries, protocol, {r.optimizer: r for r in results if r.phase == "tuned"})
        log = bench.log(plan.heading, plan.unable)
        comparison = of_record(Record(protocol, log, np.array(plan.workload.measured), results))
        if folder:
            save(comparison, folder)
        told = all(pair.verdict != "not told apart" for pair in comparison.pairs)
        if told or protocol.replicates == plan.most:
            return comparison
        protocol = protocol.at(_next(protocol.replicates, plan.most))


@_asked(Design)
def foresee(design: Design) -> Foreseen:
    """Say what `compare` takes with the same arguments, before it: a tile is measured of each.

    With an executor it is that of its workers. What a folder has already is not left out.

    Raises:
        InputError: input that cannot be compared, named, before anything compiles.
        ImportError: the extra `compare` is not installed, or with an executor `cluster`.
    """
    plan = _planned(design)
    bench = phases.bench(plan.workload, plan.protocol, None, plan.crew, design.on_progress)
    return budgets.foreseen(bench.workload, plan.entries, plan.protocol, bench.shape)


class _Plan(NamedTuple):
    """What is known before the first run."""

    heading: inputs.Heading
    workload: tiles.Workload
    entries: list[Entry]
    unable: dict[str, str]
    protocol: Protocol
    most: int
    folder: Path | None
    crew: workers.Crew | None


def _planned(design: Design) -> _Plan:
    """Refuse what cannot be compared, and decide all that is decided beforehand."""
    entries = inputs.entries(design.optimizers, design.baseline)
    checks.at_least_one(tuning_seeds=design.tuning_seeds, replicates=design.replicates)
    searches = inputs.searches(entries, design.tune, design.budget)
    tuning, judging = design.tuning(), design.judging()
    workload = inputs.workload(design.problem, design.fast)
    heading = inputs.Heading(design.title or _title(design), design.command)
    checks.extra("compare", "scipy")
    folder = None if design.folder is None else Path(design.folder)
    most = inputs.most(design.replicates, design.until)
    inputs.check_size(searches, tuning.seeds, most, workload.steps)
    programs = inputs.programs(workload, entries, searches)
    if folder and programs.calling:
        store.check_new(folder)
    workload = workload._replace(fingerprint=programs.fingerprint)
    entries = [entry for entry in entries if entry.name not in programs.unable]
    able = {entry.name: searches[entry.name] for entry in entries}
    executor = design.executor
    crew = workers.crew(executor, workload, entries, folder) if executor else None
    count = 1 if crew else None
    shape = phases.tile(workload, able.values(), design.replicates * tuning.seeds, count)
    able = budgets.affordable(workload, entries, able, tuning.budget, shape)
    protocol = _protocol(workload, able, tuning, judging, design.seed)
    protocol = store.grown(folder, protocol, most) if folder else protocol
    return _Plan(
        heading=heading,
        workload=workload,
        entries=entries,
        unable=programs.unable,
        protocol=protocol,
        most=most,
        folder=folder,
        crew=crew,
    )


def _title(design: Design) -> str:
    on = f" on {design.problem.name}" if design.problem.name else ""
    return f"Optimizers against {verdicts.in_words(design.baseline)}{on}"


def _next(replicates: int, most: int) -> int:
    """Give how many there are at the next look: the most where few would be left after it."""
    more = replicates * _GROWTH
    return more if more * 2 <= most else most


def _protocol(
    workload: tiles.Workload,
    searches: Mapping[str, Search],
    tuning: Tuning,
    judging: Judging,
    seed: int,
) -> Protocol:
    """State all that is decided before the first run."""
    parts = _parts(workload)
    protocol = Protocol(
        optimizers=searches,
        tuning=tuning,
        judging=judging,
        seed=seed,
        steps=workload.steps,
        batch_size=workload.batch_size if parts else 0,
        rows={name: len(jax.tree.leaves(part)[0]) for name, part in parts.items()},
        metrics=tuple(name for name, _ in workload.metrics),
        data=fingerprints.of_data(parts) if parts else "",
        start=workload.start,
        program=workload.fingerprint,
    )
    # As it is read again: a whole number may be a float.
    return records.typed(Protocol, records.plain(protocol))


def _parts(workload: tiles.Workload) -> dict[Part, PyTree]:
    """Give the parts of the data that there are."""
    parts: dict[Part, PyTree | None] = {
        "training": workload.data,
        "validation": workload.validation,
        "test": workload.test,
    }
    return {name: part for name, part in parts.items() if part is not None}


def of_record(record: Record) -> Comparison:
    """Answer what the runs say, all of it from the record alone."""
    target = verdicts.target(record, record.protocol.replicates)
    pairs = verdicts.pairs(record)
    return Comparison(
        **vars(record),
        answers=verdicts.answers(record, target, pairs),
        pairs=pairs,
        target=target,
    )


def save(comparison: Comparison, folder: str | Path) -> None:
    """Write a comparison: `protocol.json`, `comparison.json`, and the tables that this one names.

    The tables, `runs-*.parquet` and `curves-*.parquet`, are tidy: one row for each run, and for
    each measurement of a run. They are named by what they hold: a process killed while it writes
    leaves the comparison that was there before, or this one.

    Raises:
        InputError: a folder that holds another comparison.
        OSError: a place that cannot be written to.
    """
    store.write(Path(folder), comparison)


def load(folder: str | Path) -> Comparison:
    """Read a comparison that `save` wrote.

    Raises:
        InputError: a folder without one, or with one that is damaged, naming what is.
    """
    return of_record(store.read(Path(folder)))

"""What is given to a comparison: refused where it cannot be compared, before anything compiles."""

import dataclasses
import functools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from jaxnet import losses, optimizers, training, variables
from jaxnet._guards import checks, frames, jaxprs, sizes, versions
from jaxnet._guards.defaults import BASELINE, LEVEL, Tune
from jaxnet._guards.procedures import Procedure
from jaxnet.compare import tiles
from jaxnet.compare.protocol import TIMES, Judging, Part, Tuning
from jaxnet.compare.search import Search
from jaxnet.errors import FunctionError, InputError
from jaxnet.optimizers import Searched
from jaxnet.spaces import Space
from jaxnet.storage import fingerprints

# Trials of a replicate unless told otherwise.
_TRIALS, _TRIALS_OF_MANY = 20, 36
# A run is measured no more often.
_MEASURED = 100

OnProgress = Callable[[str, int, int], None]
"""Told what is under way, how many runs are done and how many are planned."""


@dataclasses.dataclass(frozen=True)
class Problem:
    """What is to be trained and how long.

    Attributes:
        loss: `(params, batch) -> []`, pure; a mean over the batch.
        init: `key -> params`, pure: the start of each seed.
        data: N rows to train on, a pytree of arrays or, as in `train`, of frames; None for a loss
            without data, whose batch is None.
        epochs: of each run. steps: of each run, in place of epochs.
        batch_size: B, all rows where None; rows that do not fill a last batch sit out their
            epoch, others in the next.
        validation: rows to tune on. Where None the training loss is, whose mean since the last
            measurement is not finite where one of its steps is not, though the optimizer goes on.
        test: rows to judge on; those tuned on where None.
        metrics: by name, `(params, batch) -> []`, measured on both; without data at the end of a
            run alone, the batch None.
        name: of the problem, for tables and the report. about: what it is, in a line.
    """

    loss: losses.Loss | losses.Rule
    init: Callable[[Array], PyTree]
    data: PyTree = None
    _: dataclasses.KW_ONLY
    epochs: int | None = None
    steps: int | None = None
    batch_size: int | None = None
    validation: PyTree = None
    test: PyTree = None
    metrics: Mapping[str, training.Metric] = dataclasses.field(default_factory=dict)
    name: str = ""
    about: str = ""

    def __post_init__(self) -> None:
        """Refuse what has no name, or one of several lines, and make arrays of frames."""
        if not isinstance(self.metrics, Mapping):
            raise InputError(
                f"metrics: expected a dict of functions by name, got {self.metrics!r}; name them"
            )
        checks.in_a_line("metrics", *self.metrics)
        checks.in_a_line("name", *[self.name] * bool(self.name))
        for name, part in self.parts.items():
            object.__setattr__(self, name, frames.arrays(part, name))

    @property
    def parts(self) -> dict[str, PyTree]:
        """The parts of the data that there are, by the names of their arguments."""
        parts = {"data": self.data, "validation": self.validation, "test": self.test}
        return {name: part for name, part in parts.items() if part is not None}

    @property
    def tuned_on(self) -> Literal["training", "validation"]:
        """The part of the data that settings are chosen by."""
        return "training" if self.validation is None else "validation"

    @property
    def judged_on(self) -> Part:
        """The part of the data that what was chosen is judged by."""
        return self.tuned_on if self.test is None else "test"


@dataclasses.dataclass(frozen=True)
class Design(Procedure):
    """All that `compare` is asked, which says what each is."""

    problem: Problem
    optimizers: Sequence[str] | Mapping[str, object]
    _: dataclasses.KW_ONLY
    tune: Tune | Mapping[str, Searched] = "rate"
    maximised: bool | None = None
    target: float | None = None
    level: float = LEVEL
    title: str = ""
    command: str = ""
    folder: str | Path | None = None
    executor: futures.Executor | None = None
    on_progress: OnProgress | None = None
    fast: bool | None = None

    def __post_init__(self) -> None:
        """Refuse what is no problem, no folder or nothing to be told."""
        if not isinstance(self.problem, Problem):
            raise InputError(
                f"problem: expected a jaxnet.compare.Problem, got {type(self.problem).__name__}; "
                "make one of loss, init and data"
            )
        if self.folder is not None and not isinstance(self.folder, str | Path):
            raise InputError(f"folder: expected a path, got {self.folder!r}; give one, or none")
        if isinstance(self.executor, futures.ThreadPoolExecutor):
            raise InputError(
                f"executor: expected one of processes, got a {type(self.executor).__name__}, whose "
                "threads would wait for one another; give "
                'ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn"))'
            )
        if not isinstance(self.executor, futures.Executor | None):
            raise InputError(
                f"executor: expected one of concurrent.futures, got {self.executor!r}; give such "
                "as ProcessPoolExecutor, or Client.get_executor() of Dask"
            )
        if self.on_progress is not None:
            checks.function("on_progress", self.on_progress, "what", "done", "planned")

    def tuning(self) -> Tuning:
        """Give how a replicate picks a setting."""
        return Tuning(self.problem.tuned_on, self.tuning_seeds, self.budget_of)

    def judging(self) -> Judging:
        """Give how the settings picked are judged, at the first look."""
        return Judging(
            data=self.problem.judged_on,
            by=self.by,
            maximised=more_is_better(self.by, self.maximised, self.problem.metrics),
            target=self.target,
            pairs=self.pairs,
            level=self.level,
            margin=self.margin,
            looks=(self.replicates,),
        )


@dataclasses.dataclass(frozen=True)
class Heading:
    """What a comparison is called, and the command that repeats it."""

    title: str
    command: str

    def __post_init__(self) -> None:
        """Refuse what is no text, or a title of several lines."""
        checks.in_a_line("title", self.title)
        if not isinstance(self.command, str):
            raise InputError(f"command: expected words, got {self.command!r}; give a command line")


def more_is_better(by: str, maximised: bool | None, metrics: Mapping[str, training.Metric]) -> bool:
    """Give whether more of what is judged is better.

    Raises:
        InputError: a metric of which that is not said, or a loss or a time of which it is.
    """
    if by in metrics and by != "loss" and maximised is None:
        raise InputError(
            f"maximised: expected True or False of {by}, got None; say whether more of it is better"
        )
    if by not in metrics and maximised:
        raise InputError(
            f"maximised: expected it of a metric, got it of {by}, of which less is better; leave "
            "it out"
        )
    return bool(maximised)


def most(replicates: int, until: int | None) -> int:
    """Give how many replicates there may be in the end.

    Raises:
        InputError: fewer than there are at first, or no whole number.
    """
    if until is None:
        return replicates
    checks.at_least_one(until=until)
    if until < replicates:
        raise InputError(
            f"until: expected at least the {replicates} replicates to begin with, got {until}; "
            "give more, or fewer replicates"
        )
    return until


def entries(
    optimizers_: Sequence[str] | Mapping[str, object], baseline: str
) -> list[optimizers.Entry]:
    """Give the entries to compare, the baseline first whether it was asked for or not.

    Raises:
        InputError: not optimizers by name; a name not known, or there twice; none; another `sgd`.
    """
    if isinstance(optimizers_, str) or not isinstance(optimizers_, Sequence | Mapping):
        raise InputError(
            f"optimizers: expected a list of names, or a dict of your own by name, got "
            f'{optimizers_!r}; such as ["adam", "lion"]'
        )
    if not optimizers_:
        raise InputError(
            "optimizers: expected at least one to hold against the baseline, got none; "
            '["sgd"] runs it alone'
        )
    nameless = [name for name in (*optimizers_, baseline) if not isinstance(name, str)]
    if nameless:
        raise InputError(
            f"optimizers: expected each by a name, got {nameless[0]!r}; give your own as a dict, "
            'such as {"momentum": functools.partial(optax.sgd, momentum=0.9)}'
        )
    checks.in_a_line("optimizers", *optimizers_)
    if twice := [name for name, count in Counter([*optimizers_]).items() if count > 1]:
        raise InputError(
            f"optimizers: expected each once, got {twice[0]} twice; leave one out, or name two of "
            f'a kind in a dict, such as {{"one": "{twice[0]}", "other": "{twice[0]}"}}'
        )
    named = (
        optimizers_ if isinstance(optimizers_, Mapping) else {name: name for name in optimizers_}
    )
    if named.get(BASELINE, BASELINE) != BASELINE:
        raise InputError(
            f"optimizers: expected {BASELINE} to be plain SGD, got one of your own of that name; "
            "rename it"
        )
    ordered = {baseline: named.get(baseline, baseline), **named}
    return [
        optimizers.join(name, optimizers.entry(each) if isinstance(each, str) else each)
        for name, each in ordered.items()
    ]


def searches(
    entries: Sequence[optimizers.Entry],
    tune: Tune | Mapping[str, Searched],
    budget: int | None,
) -> dict[str, Search]:
    """Give the search of each optimizer, all with as many trials but where fewer are all there are.

    Raises:
        InputError: a budget below 2, axes of optimizers that are not compared or do not have
            them.
    """
    names = [entry.name for entry in entries]
    if not isinstance(tune, str | Mapping):
        raise InputError(
            f'tune: expected "rate", "all" or a dict by optimizer, got {tune!r}; give one of them'
        )
    own: Mapping[str, Searched] = dict.fromkeys(names, tune) if isinstance(tune, str) else tune
    if unknown := own.keys() - set(names):
        raise InputError(
            f"tune: expected names among {', '.join(names)}, got {', '.join(map(str, unknown))}; "
            "leave them out, or compare those optimizers too"
        )
    axes = {entry.name: entry.axes(own.get(entry.name, "rate")) for entry in entries}
    if budget is None:
        searched = max(
            sum(len(axis.values) > 1 for axis in each.values()) for each in axes.values()
        )
        budget = _TRIALS if searched < 2 else _TRIALS_OF_MANY
    checks.at_least_one(budget=budget)
    if budget == 1:
        raise InputError("budget: expected at least 2 trials to choose from, got 1; give more")
    return {entry.name: _search(entry, axes[entry.name], budget) for entry in entries}


def _search(entry: optimizers.Entry, axes: Space, budget: int) -> Search:
    middle = np.array(0.5)
    customary = {
        name: float(axis.at(middle))
        if name not in entry.customary or len(axis.values) == 1
        else entry.customary[name]
        for name, axis in axes.items()
    }
    if all(axis.scale == "choice" for axis in axes.values()):
        budget = min(budget, math.prod(len(axis.values) for axis in axes.values()))
    return Search(axes, customary, budget, entry.note)


def check_size(
    searches: Mapping[str, Search], tuning_seeds: int, replicates: int, steps: int
) -> None:
    """Refuse more runs than this machine can keep, or do in weeks.

    Raises:
        InputError: with the figures.
    """
    trials = max(search.trials for search in searches.values())
    sizes.check_comparison(len(searches), trials, tuning_seeds, replicates, steps)


def workload(problem: Problem, fast: bool | None) -> tiles.Workload:
    """Give the workload that the optimizers share.

    Raises:
        InputError: functions, data or a length of runs that cannot be trained on.
    """
    versions.check()
    path = tiles.fast(fast)
    _check_functions(problem)
    rows = {name: checks.data(part, name) for name, part in problem.parts.items()}.get("data", 1)
    size = _batch_size(problem, rows)
    steps, measured = _length(problem, rows // size)
    params = _started(problem.init)
    if size == rows and _equal(params, problem.init(jax.random.key(1))):
        raise InputError(
            "init: expected another start for each key, as every batch is all rows and nothing "
            "else tells seeds apart, got the same; draw in init, or give a batch_size"
        )
    for name, part in (problem.parts or {"data": None}).items():
        _check_alike(name, part, problem.data)
        loss = functools.partial(losses.value, problem.loss)
        for what, function in {"loss": loss, **problem.metrics}.items():
            _check_scalar(what, function, params, name, part)
        _check_rows(problem.loss, params, name, part)
    return tiles.Workload(
        loss=problem.loss,
        init=problem.init,
        data=problem.data,
        batch_size=size,
        steps=steps,
        measured=measured,
        validation=problem.validation,
        test=problem.test,
        metrics=tuple(problem.metrics.items()),
        start=fingerprints.of_data(params),
        fast=path,
    )


def _batch_size(problem: Problem, rows: int) -> int:
    size = problem.batch_size
    if size is not None and problem.data is None:
        raise InputError(
            f"batch_size: expected None where there is no data, got {size}; leave it out"
        )
    checks.batch_size(size, rows)
    return rows if size is None else size


def _length(problem: Problem, epoch: int) -> tuple[int, tuple[int, ...]]:
    """Give the steps of a run, and after how many it is measured."""
    epochs, steps = problem.epochs, problem.steps
    if (epochs is None) == (steps is None):
        raise InputError(
            f"epochs: expected either epochs or steps, got epochs = {epochs}, "
            f"steps = {steps}; give one of them"
        )
    if problem.data is None and steps is None:
        raise InputError(
            "steps: expected them where there is no data to pass over, got epochs; give steps"
        )
    name, count, each = ("epochs", epochs, epoch) if steps is None else ("steps", steps, 1)
    count = count or 0
    checks.at_least_one(**{name: count})
    sizes.check_steps(count, each, name)
    ends = np.linspace(0, count, min(count, _MEASURED) + 1)[1:].round().astype(int) * each
    return int(ends[-1]), tuple(ends.tolist())


class Programs(NamedTuple):
    """What was traced.

    Attributes:
        fingerprint: of all programs. unable: why, by name, optimizers cannot step from a start.
        calling: whether a program calls Python, which its fingerprint says nothing of.
    """

    fingerprint: str
    unable: dict[str, str]
    calling: bool


def programs(
    workload: tiles.Workload, entries: Sequence[optimizers.Entry], searches: Mapping[str, Search]
) -> Programs:
    """Trace a step of every optimizer, the baseline first.

    Raises:
        InputError: the baseline or all others cannot step.
    """
    traced, unable = {}, {}
    for entry in entries:
        try:
            traced[entry.name] = _program(entry, searches[entry.name], workload)
        except FunctionError as error:
            # Where it is the only one there is nothing to hold against the baseline.
            if entry is entries[0] or len(entries) == 2 + len(unable):
                raise
            unable[entry.name] = f"a step from init(key) raised {checks.told(error.__cause__)}"
    texts = {name: traced[name].text for name in sorted(traced)}
    calling = any(each.calling for each in traced.values())
    return Programs(fingerprints.of_record(texts), unable, calling)


def _check_functions(problem: Problem) -> None:
    metrics = problem.metrics
    if metrics and problem.data is not None and not problem.parts.keys() - {"data"}:
        raise InputError(
            "metrics: expected validation or test data to measure them on, got neither; give some"
        )
    if taken := {"loss", *TIMES} & set(metrics):
        raise InputError(
            f"metrics: expected names other than {min(taken)}, got that, which is "
            "reported anyway; rename it"
        )
    if problem.data is None and len(problem.parts):
        raise InputError(
            "data: expected rows beside validation or test rows, got None; give rows to train on"
        )
    checks.function("init", problem.init, "key")
    training.check_loss(problem.loss)
    for name, function in metrics.items():
        checks.function(name, function, "params", "batch")


def _started(init: Callable[[Array], PyTree]) -> PyTree:
    """Give the start of seed 0; refuse an `init` that cannot start any seed."""
    key = jax.random.key(0)
    params = _drawn(init, key)
    checks.params(params, variables.split(params)[0], "init(key)")
    _drawn(jax.eval_shape, init, key)
    if not _equal(params, init(key)):
        raise InputError(
            "init: expected the same start for the same key, got two; draw with jax.random alone"
        )
    return jax.device_get(params)


def _drawn(init: Callable[..., PyTree], *arguments: Any) -> PyTree:
    try:
        return init(*arguments)
    except Exception as error:
        raise FunctionError(
            f"init: expected a pure function of a jax.random.key that can be traced; it raised "
            f"{checks.told(error)}; draw with jax.random alone"
        ) from error


def _equal(these: PyTree, those: PyTree) -> bool:
    leaves = (jax.tree.leaves(checks.as_numbers(tree)) for tree in (these, those))
    pairs = zip(*leaves, strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def _check_alike(name: str, part: PyTree, data: PyTree) -> None:
    """Refuse rows of another shape, which a loss might broadcast."""
    expected, got = (
        [np.shape(leaf)[1:] for leaf in jax.tree.leaves(tree)] for tree in (data, part)
    )
    if jax.tree.structure(part) != jax.tree.structure(data) or got != expected:
        raise InputError(
            f"{name}: expected rows as those of data, {checks.shapes(data)}, got "
            f"{checks.shapes(part)}; prepare them alike"
        )


def _check_rows(loss: losses.Loss | losses.Rule, params: PyTree, name: str, part: PyTree) -> None:
    try:
        losses.check(loss, params, part, whole=True)
    except InputError as error:
        raise InputError(f"{name}: {error}; encode all the parts alike") from error


def _check_scalar(
    what: str, function: Callable[[Any, Any], Any], params: PyTree, name: str, part: PyTree
) -> None:
    try:
        result = jax.eval_shape(function, params, part)
    except Exception as error:
        checks.in_numpy(what, error)
        raise FunctionError(
            f"{what}: expected a function of (params, batch) that takes init(key) and {name}; it "
            f"raised {checks.told(error)}; bind whatever else it needs, as by "
            "functools.partial, and let init give the parameters it takes"
        ) from error
    real = what != "loss" or jnp.issubdtype(getattr(result, "dtype", object), jnp.floating)
    if getattr(result, "shape", None) != () or not real:
        raise InputError(
            f"{what}: expected one real number, of shape [], got {result}; reduce it, as by "
            "jnp.mean"
        )


class _Program(NamedTuple):
    """The program of a step, and whether it calls Python."""

    text: str
    calling: bool


def _program(entry: optimizers.Entry, search: Search, workload: tiles.Workload) -> _Program:
    """Give the program of a step and what is measured; refuse an optimizer that has none."""

    own = losses.run_key(workload.loss, 0)

    def step(setting: Any, key: Any, params: PyTree, batch: PyTree) -> Any:
        optimizer = entry.build(setting, workload.steps, key if entry.random else None)
        start = training.start(optimizer, params)
        state, loss = training.step(workload.loss, optimizer, start, batch, key=own)
        plan = training.Plan(workload.loss, optimizer, judged=entry.evaluate)
        judged = training.judged(plan, state)
        measured = [metric(judged, batch) for _, metric in workload.metrics]
        return loss, judged, measured, entry.evaluations(state.opt_state)

    key, setting = jax.random.key(0), dict(search.customary)
    params = jax.eval_shape(workload.init, key)
    batch = jax.tree.map(lambda leaf: leaf[: workload.batch_size], workload.data)
    try:
        traced = jax.jit(step).trace(setting, key, params, batch)
        calling = jaxprs.holds(traced.jaxpr.jaxpr, jaxprs.CALLBACKS)
        return _Program(traced.lower().as_text(), calling)
    except Exception as error:
        checks.in_numpy(f"optimizers: {entry.name}", error.__cause__ or error)
        raise FunctionError(
            f"optimizers: expected {entry.name} to be made of traced hyperparameters and to step "
            f"from init(key); it raised {checks.told(error)}; a schedule must be one "
            "of peak 1 multiplied by the rate, a choice one of jnp.where"
        ) from error

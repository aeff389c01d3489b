"""Compare optimizers with plain SGD: a fair protocol, thousands of runs, an honest answer.

The protocol is fixed beforehand and stated in the result: every optimizer is tuned alike, on
seeds and data that do not judge it, and then held against plain SGD seed by seed.

Shapes: R runs, E measurements along a run, S seeds, L learning rates.
"""

import functools
import json
import math
import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, PyTree

from jaxnet import (
    checks,
    devices,
    files,
    fingerprints,
    losses,
    optimizers,
    statistics,
    sweep,
    training,
)
from jaxnet.statistics import Interval

checks.extra("compare", "pyarrow", "scipy")

import pyarrow as pa  # noqa: E402
from pyarrow import parquet  # noqa: E402

BASELINE = "sgd"
LEVEL = 0.05
# A range whose end is best is extended at most so often, by so many rates.
EXTENSIONS = 2
EXTENDED_BY = 4
# A learning rate forgives if its loss is within this factor of the best rate's.
WITHIN = 1.1

OnProgress = Callable[[str, int, int], None]
"""Told what is under way, how many runs are done and how many are planned."""


class Runs(NamedTuple):
    """Every run of one optimizer in one phase of the protocol.

    Attributes:
        optimizer: its name.
        phase: "tuning", "tuned" (the chosen rate, fresh seeds) or "default" (the customary rate,
            the same fresh seeds).
        learning_rate: shape [R]. seed: shape [R].
        diverged: shape [R], the step, from 0, whose loss was the first not finite; -1 where none.
        evaluations: shape [R], gradients of a whole batch that the run computed.
        loss: shape [R, E], the training loss, a mean over the steps since the measurement before.
        validation: by name, "loss" and each metric, shape [R, E]; empty without validation data.
        test: by name, "loss" and each metric, shape [R]; empty while tuning and without test data.
    """

    optimizer: str
    phase: str
    learning_rate: Float[np.ndarray, " R"]
    seed: Int[np.ndarray, " R"]
    diverged: Int[np.ndarray, " R"]
    evaluations: Int[np.ndarray, " R"]
    loss: Float[np.ndarray, "R E"]
    validation: dict[str, Float[np.ndarray, "R E"]]
    test: dict[str, Float[np.ndarray, " R"]]


class Answer(NamedTuple):
    """What the comparison says of one optimizer, of its runs at the tuned rate on fresh seeds.

    A run that diverged counts as worse than every run that did not; a figure that it would make
    infinite is nan, and shown as a dash.

    Attributes:
        optimizer: its name.
        learning_rate: the tuned one. at_edge: "", or "lowest" or "highest" where it is still the
            end of its range after extending it. rates: how many rates were tried; trials: runs.
        diverged: how many of the runs at the tuned rate.
        median: final loss over seeds. mean: its interquartile mean. best: lowest loss on the way.
        metrics: by name, the interquartile mean of each metric at the end.
        default: interquartile mean of the final loss at the customary rate, `default_rate`.
        difference: to plain SGD, paired by seed; below zero is better; None for SGD itself.
        p_value: of the paired test; adjusted: corrected for all the optimizers (Holm).
        verdict: "baseline", "better", "worse" or "not told apart".
        seeds_needed: how many seeds would tell a difference as large as the one seen; None where
            it is told already or cannot be foreseen.
        sentence: all that, in words.
        steps_to_target: median over seeds, runs that never reach it censored; nan where over half
            never do. reached: how many runs do.
        forgiving: share of the tried rates within a factor 1.1 of the best rate's loss.
        best_of: shape [L], the expected final loss of the best of k rates tried, for k = 1 to L.
        evaluations: of a run, median. compile_seconds: once. run_seconds: of all its runs.
        step_seconds: of one step of one run.
    """

    optimizer: str
    learning_rate: float
    at_edge: str
    rates: int
    trials: int
    diverged: int
    median: Interval
    mean: Interval
    best: Interval
    metrics: dict[str, Interval]
    default_rate: float
    default: Interval
    difference: Interval | None
    p_value: float
    adjusted: float
    verdict: str
    seeds_needed: int | None
    sentence: str
    steps_to_target: Interval
    reached: int
    forgiving: float
    best_of: Float[np.ndarray, " L"]
    evaluations: float
    compile_seconds: float
    run_seconds: float
    step_seconds: float


class Comparison(NamedTuple):
    """A comparison that is done.

    Attributes:
        protocol: all that was decided beforehand, as JSON has it: what is compared on what, with
            how many rates, seeds, steps; what is judged; the level of the tests; `title`, and
            `judged` ("test", "validation" or "training"), the data the answers are of.
        steps: shape [E], steps done at each measurement.
        runs: all of them, by optimizer and phase.
        answers: one of each optimizer, plain SGD first, the others best first.
        provenance: device, dtype, versions.
        seconds: by optimizer, to "compile", to "run" all of it, and of a "step" of one run.
        target: the loss that steps to it are counted to; nan where there is none.
    """

    protocol: dict[str, Any]
    steps: Int[np.ndarray, " E"]
    runs: list[Runs]
    answers: list[Answer]
    provenance: dict[str, str]
    seconds: dict[str, dict[str, float]]
    target: float

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
    metrics: Mapping[str, Callable[[Any, Any], Any]] | None = None,
    learning_rates: Sequence[float] | Mapping[str, Sequence[float]] | None = None,
    budget: int = 12,
    tuning_seeds: int = 3,
    seeds: int | None = None,
    target: float | None = None,
    title: str = "",
    folder: Path | None = None,
    on_progress: OnProgress | None = None,
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

    Raises:
        TypeError, ValueError: input that cannot be compared, named, before anything compiles.
    """
    entries = _entries(optimizers)
    fewest = statistics.fewest_seeds(max(1, len(entries) - 1), LEVEL)
    seeds = max(10, fewest + 2) if seeds is None else seeds
    checks.at_least_one(epochs=epochs, budget=budget, tuning_seeds=tuning_seeds, seeds=seeds)
    if budget == 1:
        raise ValueError("budget: wanted at least 2 learning rates to choose from; got 1")
    if target is not None and not (isinstance(target, int | float) and math.isfinite(target)):
        raise ValueError(
            f"target: wanted a finite loss; got {target!r}; None takes plain SGD's own at its end"
        )
    if not isinstance(title, str):
        raise TypeError(f"title: wanted words; got {title!r}")
    folder = None if folder is None else Path(folder)
    rates = _rates(entries, learning_rates, budget)
    task = _task(loss, init, data, batch_size, epochs, validation, test, metrics)
    program = fingerprints.of_record([_program(entry, task) for entry in entries])
    task = task._replace(fingerprint=program)
    tuned_on, judged_on = range(tuning_seeds), range(tuning_seeds, tuning_seeds + seeds)
    protocol = {
        "title": title,
        "judged": _part(test, _part(validation, "training", "validation"), "test"),
        "tuned_on": _part(validation, "training", "validation"),
        "baseline": BASELINE,
        "optimizers": {
            entry.name: {
                "learning_rates": rates[entry.name],
                "customary_rate": entry.default,
                "note": entry.note,
            }
            for entry in entries
        },
        "tuning_seeds": list(tuned_on),
        "seeds": list(judged_on),
        "fewest_seeds": fewest,
        "epochs": epochs,
        "batch_size": task.batch_size,
        "steps": task.steps,
        "rows": {name: _rows(part) for name, part in _parts(task).items()},
        "metrics": list(metrics or {}),
        "target": target,
        "level": LEVEL,
        "extensions": f"at most {EXTENSIONS}, by {EXTENDED_BY} rates beyond the best end",
        "data": fingerprints.of_data(_parts(task)),
        "start": fingerprints.of_data(jax.device_get(init(jax.random.key(0)))),
        "program": program,
    }
    planned = sum(len(mine) * tuning_seeds + 2 * seeds for mine in rates.values())
    # Two: a fresh seed has the tuned rate and the customary one.
    shape = sweep.tile(task, planned // len(entries), rates=2)
    needed = sweep.memory(task, shape, planned)
    _check_memory(needed)
    if on_progress:
        on_progress(f"compiling, to run in about {needed / 1e9:.2g} GB", 0, planned)
    kept = folder and _keep(folder, protocol)
    tuning = {name: _pairs(mine, list(tuned_on)) for name, mine in rates.items()}
    sweep.compile_all(
        task,
        [e for e in entries if not (kept and sweep.is_kept(e, tuning[e.name], shape, kept))],
        shape,
    )
    bench = _Bench(task, shape, kept, on_progress, planned)
    runs = [each for entry in entries for each in bench.compare(entry, rates[entry.name], protocol)]
    provenance = devices.provenance(runs[0].loss.dtype)
    found = of_runs(protocol, task.measured, runs, provenance, bench.seconds)
    if folder:
        save(found, folder)
    return found


def _pairs(rates: Sequence[float], seeds: Sequence[int]) -> list[sweep.Run]:
    return [(seed, rate) for seed in seeds for rate in rates]


class _Bench:
    """Where the runs are made: it counts them and what they take."""

    def __init__(
        self,
        task: sweep.Task,
        shape: sweep.Tile,
        folder: Path | None,
        on_progress: OnProgress | None,
        planned: int,
    ) -> None:
        self.seconds: dict[str, dict[str, float]] = {}
        self._tiles: dict[str, Float[np.ndarray, " K"]] = {}
        self._task, self._shape, self._folder = task, shape, folder
        self._on_progress, self._planned, self._done = on_progress, planned, 0

    def compare(
        self, entry: optimizers.Entry, rates: list[float], protocol: dict[str, Any]
    ) -> list[Runs]:
        """Tune an optimizer, and run it on fresh seeds at the tuned and the customary rate."""
        tuning = self._tune(entry, rates, protocol["tuning_seeds"])
        # Together: the two of a seed share its batches.
        judged = _pairs([_tuned(tuning)[0], entry.default], protocol["seeds"])
        fresh = self._train(entry, "fresh seeds", judged)
        return [tuning, _every_second(fresh, 0, "tuned"), _every_second(fresh, 1, "default")]

    def _tune(self, entry: optimizers.Entry, rates: list[float], seeds: list[int]) -> Runs:
        """Run every rate; where the best is an end of the range, go on beyond it."""
        runs = self._train(entry, "tuning", _pairs(rates, seeds))
        for _ in range(EXTENSIONS):
            more = _beyond(runs)
            if not more:
                break
            self._planned += len(more) * len(seeds)
            runs = _joined(runs, self._train(entry, "tuning", _pairs(more, seeds)))
        return runs

    def _train(self, entry: optimizers.Entry, phase: str, pairs: list[sweep.Run]) -> Runs:
        def told(count: int) -> None:
            if self._on_progress:
                self._on_progress(f"{entry.name}, {phase}", self._done + count, self._planned)

        test = phase != "tuning" and self._task.test is not None
        swept, seconds = sweep.run(
            self._task,
            entry,
            pairs,
            self._shape,
            test=test,
            folder=self._folder,
            on_progress=told,
        )
        self._done += len(pairs)
        tiles = np.append(self._tiles.get(entry.name, []), seconds.running)
        self._tiles[entry.name] = tiles
        self.seconds[entry.name] = {
            "compile": seconds.compiling,
            "run": float(tiles.sum()),
            # The fastest: the first tile of a process warms it up for all that follow.
            "step": float(tiles.min()) / (self._shape.runs * self._task.steps),
        }
        seed, rate = (np.array(column) for column in zip(*pairs, strict=True))
        return Runs(
            entry.name,
            phase,
            rate,
            seed,
            swept.diverged,
            swept.evaluations,
            swept.loss,
            swept.validation,
            swept.test,
        )


def _entries(given: Sequence[str] | Mapping[str, Any]) -> list[optimizers.Entry]:
    """Give the entries to compare, plain SGD first whether it was asked for or not."""
    if isinstance(given, str) or not isinstance(given, Sequence | Mapping):
        raise TypeError(
            f"optimizers: wanted a list of names, or a dict of your own by name; got {given!r}; "
            'such as ["adam", "lion"]'
        )
    nameless = [name for name in given if not isinstance(name, str)]
    if nameless:
        raise TypeError(
            f"optimizers: wanted each by a name; got {nameless[0]!r}; give your own as a dict, "
            'such as {"momentum": functools.partial(optax.sgd, momentum=0.9)}'
        )
    if not isinstance(given, Mapping):
        given = {name: name for name in given}
    if given.get(BASELINE, BASELINE) != BASELINE:
        raise ValueError(
            f"optimizers: wanted {BASELINE} to be plain SGD, the baseline; got one of your own of "
            "that name; rename it"
        )
    entries = [
        optimizers.join(name, optimizers.entry(each) if isinstance(each, str) else each)
        for name, each in given.items()
    ]
    if not entries:
        raise ValueError(
            'optimizers: wanted at least one to hold against plain SGD; got none; ["sgd"] runs it '
            "alone"
        )
    return [
        optimizers.entry(BASELINE),
        *(entry for entry in entries if entry.name != BASELINE),
    ]


def _rates(
    entries: list[optimizers.Entry],
    given: Sequence[float] | Mapping[str, Sequence[float]] | None,
    budget: int,
) -> dict[str, list[float]]:
    """Give each optimizer's rates to try, rising."""
    by_name = dict(given) if isinstance(given, Mapping) else {}
    names = [entry.name for entry in entries]
    unknown = by_name.keys() - set(names)
    if unknown:
        raise ValueError(
            f"learning_rates: wanted names among {', '.join(names)}; got "
            f"{', '.join(map(str, unknown))}; leave them out, or compare those optimizers too"
        )
    rates = {}
    for entry in entries:
        if isinstance(given, Mapping) or given is None:
            mine = by_name.get(entry.name, np.geomspace(*entry.learning_rates, budget))
        else:
            mine = given
        rates[entry.name] = _rising(entry.name, mine)
    counts = {name: len(mine) for name, mine in rates.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(
            f"learning_rates: wanted as many for every optimizer, {BASELINE} included, to tune all "
            f"alike; got {counts}; give as many for each, or set budget"
        )
    return rates


def _rising(name: str, given: Any) -> list[float]:
    try:
        rates = np.unique(np.asarray(given, np.float64))
    except (TypeError, ValueError):
        rates = np.empty(0)
    if not len(rates) or not np.isfinite(rates).all() or rates[0] <= 0:
        raise ValueError(
            f"learning_rates: wanted numbers for {name}, at least one, each above zero and finite; "
            f"got {given}; such as [0.01, 0.1, 1.0]"
        )
    return rates.tolist()


@functools.lru_cache(maxsize=64)
def _value_and_grad(loss: losses.Loss) -> Any:
    """Give the same function for the same loss, so that its programs are found again."""
    return jax.value_and_grad(loss)


def _task(
    loss: losses.Loss,
    init: Callable[[Any], PyTree],
    data: PyTree,
    batch_size: int | None,
    epochs: int,
    validation: PyTree | None,
    test: PyTree | None,
    metrics: Mapping[str, Callable[[Any, Any], Any]] | None,
) -> sweep.Task:
    """Refuse what cannot be trained on; give the task."""
    if metrics is not None and not isinstance(metrics, Mapping):
        raise TypeError(f"metrics: wanted a dict of functions by name; got {metrics!r}")
    if metrics and validation is None and test is None:
        raise ValueError(
            "metrics: wanted validation or test data to measure them on; got neither; give some"
        )
    if batch_size is not None:
        checks.at_least_one(batch_size=batch_size)
    for name, function in {"loss": loss, "init": init, **(metrics or {})}.items():
        if not callable(function) or not isinstance(function, Hashable):
            raise TypeError(
                f"{name}: wanted a function, whose programs are kept by it; got {function!r}; wrap "
                "one that cannot be hashed in a plain function"
            )
    metrics = dict(metrics or {})
    if "loss" in metrics:
        raise ValueError(
            "metrics: wanted names other than loss, which is reported anyway; got loss; rename it"
        )
    parts = {"data": data, "validation": validation, "test": test}
    parts = {name: part for name, part in parts.items() if part is not None}
    rows = {name: checks.data(part, name) for name, part in parts.items()}["data"]
    if batch_size is not None and not 1 <= batch_size <= rows:
        raise ValueError(
            f"batch_size: wanted 1 to the {rows} rows of data; got {batch_size}; None takes all"
        )
    params = _started(init)
    if (batch_size or rows) == rows and _equal(params, init(jax.random.key(1))):
        raise ValueError(
            "init: wanted another start for each key, as every batch is all rows and nothing else "
            "tells seeds apart; got the same; draw in init, or give a batch_size"
        )
    for name, part in parts.items():
        _check_alike(name, part, data)
        for what, function in {"loss": loss, **metrics}.items():
            _check_scalar(what, function, params, name, part)
        if isinstance(loss, losses.BatchLoss):
            _check_labels(loss, params, name, part)
    return sweep.Task(
        _value_and_grad(loss),
        init,
        data,
        batch_size or rows,
        epochs,
        validation,
        test,
        tuple(metrics.items()),
    )


def _started(init: Callable[[Any], PyTree]) -> PyTree:
    """Give the start of seed 0; refuse an `init` that cannot start any seed."""
    key = jax.random.key(0)
    try:
        params = jax.device_get(init(key))
        jax.eval_shape(init, key)
    except Exception as error:
        raise ValueError(
            f"init: wanted a pure function of a jax.random.key that can be traced; it raised "
            f"{_said(error)}; draw with jax.random alone"
        ) from error
    checks.params(params, "init(key)")
    if not _equal(params, init(key)):
        raise ValueError(
            "init: wanted the same start for the same key; got two; draw with jax.random alone"
        )
    return params


def _equal(these: PyTree, those: PyTree) -> bool:
    pairs = zip(jax.tree.leaves(these), jax.tree.leaves(those), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def _said(error: Exception) -> str:
    first, *_ = str(error).split("\n")
    return f"{type(error).__name__}: {first}"


def _check_alike(name: str, part: PyTree, data: PyTree) -> None:
    """Refuse rows of another shape, which a loss might broadcast."""
    wanted, got = ([np.shape(leaf)[1:] for leaf in jax.tree.leaves(tree)] for tree in (data, part))
    if jax.tree.structure(part) != jax.tree.structure(data) or got != wanted:
        raise ValueError(
            f"{name}: wanted rows as those of data, {_described(data)}; got {_described(part)}; "
            "prepare them alike"
        )


def _described(part: PyTree) -> Any:
    return jax.tree.map(lambda leaf: list(np.shape(leaf)), part)


def _check_labels(loss: losses.BatchLoss, params: PyTree, name: str, part: PyTree) -> None:
    try:
        loss.check(params, part)
    except ValueError as error:
        raise ValueError(f"{name}: {error}; encode all the parts alike") from error


def _check_scalar(
    what: str, function: Callable[[Any, Any], Any], params: PyTree, name: str, part: PyTree
) -> None:
    try:
        found = jax.eval_shape(function, params, part)
    except Exception as error:
        raise ValueError(
            f"{what}: wanted a function of (params, batch) that takes init(key) and {name}; it "
            f"raised {_said(error)}; bind whatever else it needs, as by "
            "functools.partial, and let init give the parameters it takes"
        ) from error
    real = what != "loss" or jnp.issubdtype(getattr(found, "dtype", object), jnp.floating)
    if getattr(found, "shape", None) != () or not real:
        raise ValueError(
            f"{what}: wanted one real number, of shape []; got {found}; reduce it, as by jnp.mean"
        )


def _program(entry: optimizers.Entry, task: sweep.Task) -> str:
    """Give the program of a step and what is measured; refuse an optimizer that has none."""

    def step(rate: Any, key: Any, params: PyTree, batch: PyTree) -> Any:
        noise = {"key": key} if entry.random else {}
        optimizer = entry.make(rate, **noise)
        start = training.start(optimizer, params)
        state, loss = training.step(task.value_and_grad, optimizer, start, batch)
        judged = entry.evaluate(state.opt_state, state.params)
        measured = [metric(judged, batch) for _, metric in task.metrics]
        return loss, judged, measured, entry.evaluations(state.opt_state)

    key, batch = jax.random.key(0), jax.tree.map(lambda leaf: leaf[: task.batch_size], task.data)
    try:
        return jax.jit(step).lower(1.0, key, jax.eval_shape(task.init, key), batch).as_text()
    except Exception as error:
        raise TypeError(
            f"optimizers: wanted {entry.name} to be made of a traced learning rate and to step "
            f"from init(key); it raised {_said(error)}; a schedule must be one "
            "of peak 1 multiplied by the rate, a choice one of jnp.where"
        ) from error


def _check_memory(needed: int) -> None:
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > 0.8 * there:
        raise ValueError(
            f"memory: wanted runs that fit the machine's {there / 1e9:.0f} GB; got about "
            f"{needed / 1e9:.0f} GB; compare fewer seeds, rates or optimizers at once"
        )


def _part(given: PyTree | None, without: str, name: str) -> str:
    return without if given is None else name


def _parts(task: sweep.Task) -> dict[str, PyTree]:
    parts = {"training": task.data, "validation": task.validation, "test": task.test}
    return {name: part for name, part in parts.items() if part is not None}


def _rows(part: PyTree) -> int:
    return len(jax.tree.leaves(part)[0])


def _ended(runs: Runs, part: str) -> Float[np.ndarray, " R"]:
    """Give the loss at the end of each run; infinite where it diverged."""
    values = {
        "test": lambda: runs.test["loss"],
        "validation": lambda: runs.validation["loss"][:, -1],
        "training": lambda: runs.loss[:, -1],
    }[part]()
    return np.where((runs.diverged < 0) & np.isfinite(values), values, np.inf).astype(np.float64)


def _tuned_on(runs: Runs) -> str:
    return "validation" if runs.validation else "training"


def _curves(runs: Runs) -> Float[np.ndarray, "R E"]:
    return runs.validation["loss"] if runs.validation else runs.loss


def by_rate(tuning: Runs) -> tuple[Float[np.ndarray, " L"], Float[np.ndarray, " L"]]:
    """Give the rates tried, rising, and the median over seeds of the loss that tuning goes by.

    It is infinite where half of the seeds or more diverged.
    """
    losses = _ended(tuning, _tuned_on(tuning))
    rates = np.unique(tuning.learning_rate)
    middle = [
        np.quantile(losses[tuning.learning_rate == rate], 0.5, method="higher") for rate in rates
    ]
    return rates, np.array(middle)


def _tuned(tuning: Runs) -> tuple[float, str]:
    """Give the best rate, and which end of the range it is, if one; the lowest if all diverge."""
    rates, losses = by_rate(tuning)
    best = int(np.argmin(losses))
    ends = {0: "lowest", len(rates) - 1: "highest"} if len(rates) > 1 else {}
    return float(rates[best]), ends.get(best, "")


def _beyond(tuning: Runs) -> list[float]:
    """Give the rates beyond the end that is best, as far apart as those before; none elsewhere."""
    rates = by_rate(tuning)[0]
    best, edge = _tuned(tuning)
    if not edge:
        return []
    apart = (rates[-1] / rates[0]) ** (1 / (len(rates) - 1))
    apart = apart if edge == "highest" else 1 / apart
    return [best * apart**further for further in range(1, EXTENDED_BY + 1)]


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
) -> Comparison:
    """Answer what the runs say, all of it from the runs alone."""
    by_phase = {(each.optimizer, each.phase): each for each in runs}
    names = list(protocol["optimizers"])
    plain = by_phase[BASELINE, "tuned"]
    if any(not np.array_equal(by_phase[name, "tuned"].seed, plain.seed) for name in names):
        raise ValueError("runs: wanted the same seeds in the same order for every optimizer")
    target = protocol["target"]
    if target is None:
        middle = float(np.median(_ended(plain, _tuned_on(plain))))
        # Where half of its runs diverged there is none to reach.
        target = middle if math.isfinite(middle) else math.nan
    baseline = _ended(plain, protocol["judged"])
    paired = {
        name: statistics.paired(_ended(by_phase[name, "tuned"], protocol["judged"]), baseline)
        for name in names
        if name != BASELINE
    }
    adjusted = statistics.holm(np.array([each.p_value for each in paired.values()]))
    answers = []
    for name in names:
        mine = {phase: by_phase[name, phase] for phase in ("tuning", "tuned", "default")}
        against = None
        if name != BASELINE:
            against = paired[name], float(adjusted[list(paired).index(name)])
        answers.append(_answer(protocol, steps, mine, baseline, against, target, seconds[name]))
    first, *others = answers
    others.sort(key=_rank)
    return Comparison(protocol, steps, runs, [first, *others], provenance, seconds, target)


def _rank(answer: Answer) -> tuple[bool, float]:
    return math.isnan(answer.mean.estimate), answer.mean.estimate


def _answer(
    protocol: dict[str, Any],
    steps: Int[np.ndarray, " E"],
    runs: Mapping[str, Runs],
    baseline: Float[np.ndarray, " S"],
    against: tuple[statistics.Paired, float] | None,
    target: float,
    seconds: dict[str, float],
) -> Answer:
    tuning, tuned = runs["tuning"], runs["tuned"]
    judged = protocol["judged"]
    final = _ended(tuned, judged)
    rates, tried = by_rate(tuning)
    rate, edge = _tuned(tuning)
    curves = np.where(np.isfinite(_curves(tuned)), _curves(tuned), np.inf)
    measured = {"test": tuned.test}.get(
        judged, {name: curve[:, -1] for name, curve in tuned.validation.items()}
    )
    times = statistics.steps_to_target(curves, steps, target)
    answer = Answer(
        optimizer=tuned.optimizer,
        learning_rate=rate,
        at_edge=edge,
        rates=len(rates),
        trials=len(tuning.seed),
        diverged=int(np.sum(np.isinf(final))),
        median=statistics.median(final),
        mean=statistics.interquartile_mean(final),
        best=statistics.interquartile_mean(curves.min(axis=1)),
        metrics={
            name: statistics.interquartile_mean(np.where(np.isfinite(values), values, np.inf))
            for name, values in measured.items()
            if name != "loss"
        },
        default_rate=protocol["optimizers"][tuned.optimizer]["customary_rate"],
        default=statistics.interquartile_mean(_ended(runs["default"], judged)),
        difference=None,
        p_value=math.nan,
        adjusted=math.nan,
        verdict="baseline",
        seeds_needed=None,
        sentence="",
        steps_to_target=times.median,
        reached=times.reached,
        forgiving=statistics.share_within(tried, WITHIN),
        best_of=statistics.best_of(tried),
        evaluations=float(np.median(tuned.evaluations)),
        compile_seconds=seconds["compile"],
        run_seconds=seconds["run"],
        step_seconds=seconds["step"],
    )
    if against:
        paired, adjusted = against
        verdict = statistics.verdict(adjusted, paired, LEVEL)
        needed = None
        if verdict == "not told apart" and paired.difference.estimate:
            needed = _seeds_needed(final, baseline, len(protocol["optimizers"]) - 1)
        answer = answer._replace(
            difference=paired.difference,
            p_value=paired.p_value,
            adjusted=adjusted,
            verdict=verdict,
            seeds_needed=needed,
        )
    return answer._replace(sentence=_sentence(answer, protocol, len(final)))


def _seeds_needed(
    final: Float[np.ndarray, " S"], baseline: Float[np.ndarray, " S"], tests: int
) -> int | None:
    """Foresee how many seeds would tell; the fewest that can, where every seed leans one way."""
    if not (np.isfinite(final).all() and np.isfinite(baseline).all()):
        return None
    if len(final) > 2 and abs(np.sign(final - baseline).sum()) == len(final):
        return statistics.fewest_seeds(tests, LEVEL)
    return statistics.seeds_needed(final - baseline, LEVEL, tests=tests)


def _sentence(answer: Answer, protocol: dict[str, Any], seeds: int) -> str:
    """Say in words what an answer says in figures."""
    loss, many = f"{protocol['judged']} loss", f"{seeds} seed{'s' if seeds > 1 else ''}"
    name, apart = answer.optimizer, answer.difference
    lost = f" {answer.diverged} of {many} diverged." if answer.diverged else ""
    if apart is None:
        said = f"Plain SGD, at its tuned rate {answer.learning_rate:.3g}, is the baseline."
    elif answer.verdict == "not told apart":
        said = f"{name} and plain SGD are not told apart by {many}"
        if not math.isnan(answer.mean.estimate + apart.estimate):
            said += f": {loss} {_apart(apart)}"
        said += f", p = {answer.adjusted:.2g} corrected for all comparisons."
        if seeds < protocol["fewest_seeds"]:
            said += f" So few cannot tell: give at least {protocol['fewest_seeds']}."
        if answer.seeds_needed:
            said += f" About {answer.seeds_needed} seeds would tell a difference as large."
    else:
        said = f"{name} is {answer.verdict} than plain SGD"
        if not math.isnan(apart.estimate):
            said += f": {loss} {_apart(apart)}"
        said += f", p = {answer.adjusted:.2g} corrected for all comparisons, {many}."
    if answer.at_edge:
        said += (
            f" Its best rate is still the {answer.at_edge} tried, so it may do better beyond: "
            "give it a range of its own."
        )
    return said + lost


def _apart(difference: Interval) -> str:
    estimate, low, high = difference
    side = "lower" if estimate < 0 else "higher"
    said = f"{side} by {abs(estimate):.3g}" if estimate else "the same"
    if math.isfinite(low) and math.isfinite(high):
        said += f" (95% interval of the difference {low:+.3g} to {high:+.3g})"
    return said


_PROTOCOL, _RESULT = "protocol.json", "comparison.json"


def _keep(folder: Path, protocol: dict[str, Any]) -> Path:
    """Give the folder of finished tiles; refuse one that holds another comparison.

    Raises:
        ValueError: naming what differs.
    """
    path, written = folder / _PROTOCOL, json.loads(json.dumps(protocol))
    if path.exists():
        try:
            found = json.loads(path.read_text("utf-8"))
        except ValueError as error:
            raise ValueError(
                f"folder: wanted the protocol of a comparison; got {path}: {error}"
            ) from error
        named = (written | found).keys() - {"title"}
        differ = sorted(name for name in named if written.get(name) != found.get(name))
        if differ:
            raise ValueError(
                f"folder: wanted a folder of its own; {folder} holds a comparison with another "
                f"{', '.join(differ)}; give another folder, or delete this one"
            )
    tiles = folder / "tiles"
    try:
        tiles.mkdir(parents=True, exist_ok=True)
        files.write(path, json.dumps(protocol, indent=1).encode())
    except OSError as error:
        raise ValueError(f"folder: wanted a place to write to; got {folder}: {error}") from error
    return tiles


def save(comparison: Comparison, folder: Path) -> None:
    """Write a comparison: `runs.parquet`, `curves.parquet` and `comparison.json`.

    The tables are tidy: one row for each run, and for each measurement of a run. JSON comes last:
    where it is, all is there.
    """
    steps, runs, curves = comparison.steps, [], []
    for each in comparison.runs:
        count = len(each.seed)
        named = {"optimizer": [each.optimizer] * count, "phase": [each.phase] * count}
        runs.append(
            pa.table(
                named
                | {name: getattr(each, name) for name in _COLUMNS}
                | {f"test_{name}": values for name, values in each.test.items()}
            )
        )
        repeated = {name: np.repeat(values, len(steps)) for name, values in named.items()}
        values = {"loss": each.loss} | {f"validation_{k}": v for k, v in each.validation.items()}
        curves.append(
            pa.table(
                repeated
                | {name: np.repeat(getattr(each, name), len(steps)) for name in _COLUMNS[:2]}
                | {"step": np.tile(steps, count)}
                | {name: value.reshape(-1) for name, value in values.items()}
            )
        )
    for name, tables in (("runs", runs), ("curves", curves)):
        sink = pa.BufferOutputStream()
        parquet.write_table(pa.concat_tables(tables, promote_options="default"), sink)
        files.write(folder / f"{name}.parquet", sink.getvalue().to_pybytes())
    record = {
        "protocol": comparison.protocol,
        "provenance": comparison.provenance,
        "seconds": comparison.seconds,
        "steps": steps.tolist(),
    }
    files.write(folder / _RESULT, json.dumps(record, indent=1).encode())


_COLUMNS = ("learning_rate", "seed", "diverged", "evaluations")


def load(folder: Path) -> Comparison:
    """Read a comparison that `save` wrote.

    Raises:
        ValueError: a folder without one.
    """
    folder = Path(folder)
    try:
        record = json.loads((folder / _RESULT).read_text("utf-8"))
        runs = parquet.read_table(folder / "runs.parquet")
        curves = parquet.read_table(folder / "curves.parquet")
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ValueError(f"folder: wanted a finished comparison; got {folder}: {error}") from error
    steps, found, first = np.array(record["steps"]), [], 0
    kinds = list(zip(runs["optimizer"].to_pylist(), runs["phase"].to_pylist(), strict=True))
    for optimizer, phase in dict.fromkeys(kinds):
        count = kinds.count((optimizer, phase))
        mine = runs.slice(first, count)
        along = curves.slice(first * len(steps), count * len(steps))
        first += count
        shaped = {name: along[name].to_numpy() for name in along.column_names}
        shaped = {name: values.reshape(count, -1) for name, values in shaped.items()}
        columns = {
            name: mine[name].to_numpy() for name in mine.column_names if mine[name].null_count == 0
        }
        found.append(
            Runs(
                optimizer,
                phase,
                loss=shaped["loss"],
                validation=_under("validation_", shaped),
                test=_under("test_", columns),
                **{name: columns[name] for name in _COLUMNS},
            )
        )
    return of_runs(record["protocol"], steps, found, record["provenance"], record["seconds"])


def _under(prefix: str, columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {
        name.removeprefix(prefix): values
        for name, values in columns.items()
        if name.startswith(prefix)
    }

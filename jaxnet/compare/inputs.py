"""What is given to a comparison: refused where it cannot be compared, before anything compiles."""

import dataclasses
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jaxnet import losses, optimizers, training
from jaxnet._guards import checks, versions
from jaxnet.compare import sweep
from jaxnet.compare.protocol import BASELINE
from jaxnet.errors import FunctionError, InputError
from jaxnet.storage import fingerprints

Metrics = Mapping[str, Callable[[Any, Any], Any]]


def check_settings(
    counts: Mapping[str, int], words: Mapping[str, str], budget: int, target: float | None
) -> None:
    """Refuse settings, each by its name.

    Raises:
        InputError: counts that are not whole numbers or below one, a single learning rate, a
            target that is not finite, a title or a command that is not words.
    """
    checks.at_least_one(budget=budget, **counts)
    if budget == 1:
        raise InputError("budget: expected at least 2 learning rates to choose from, got 1")
    real = isinstance(target, int | float | np.floating | np.integer)
    if target is not None and not (real and math.isfinite(target)):
        raise InputError(
            f"target: expected a finite loss, got {target!r}; None takes plain SGD's own at its end"
        )
    for name, said in words.items():
        if not isinstance(said, str):
            raise InputError(f"{name}: expected words, got {said!r}")


def entries(given: Sequence[str] | Mapping[str, Any]) -> list[optimizers.Entry]:
    """Give the entries to compare, plain SGD first whether it was asked for or not.

    Raises:
        InputError: not optimizers by name; a name not known, none, another `sgd`.
    """
    if isinstance(given, str) or not isinstance(given, Sequence | Mapping):
        raise InputError(
            f"optimizers: expected a list of names, or a dict of your own by name, got {given!r}; "
            'such as ["adam", "lion"]'
        )
    if not given:
        raise InputError(
            "optimizers: expected at least one to hold against plain SGD, got none; "
            '["sgd"] runs it alone'
        )
    nameless = [name for name in given if not isinstance(name, str)]
    if nameless:
        raise InputError(
            f"optimizers: expected each by a name, got {nameless[0]!r}; give your own as a dict, "
            'such as {"momentum": functools.partial(optax.sgd, momentum=0.9)}'
        )
    if not isinstance(given, Mapping):
        given = {name: name for name in given}
    if given.get(BASELINE, BASELINE) != BASELINE:
        raise InputError(
            f"optimizers: expected {BASELINE} to be plain SGD, the baseline, got one of your "
            "own of "
            "that name; rename it"
        )
    others = [
        optimizers.join(name, optimizers.entry(each) if isinstance(each, str) else each)
        for name, each in given.items()
        if name != BASELINE
    ]
    return [optimizers.entry(BASELINE), *others]


def rates(
    entries: list[optimizers.Entry],
    given: Sequence[float] | Mapping[str, Sequence[float]] | None,
    budget: int,
) -> dict[str, list[float]]:
    """Give each optimizer's rates to try, rising; over its own range those not given.

    Raises:
        InputError: not positive numbers, as many for each, of optimizers that are compared.
    """
    names = [entry.name for entry in entries]
    if not isinstance(given, Mapping):
        given = {} if given is None else dict.fromkeys(names, given)
    unknown = given.keys() - set(names)
    if unknown:
        raise InputError(
            f"learning_rates: expected names among {', '.join(names)}, got "
            f"{', '.join(map(str, unknown))}; leave them out, or compare those optimizers too"
        )
    found = {
        entry.name: _rising(
            entry.name, given.get(entry.name, np.geomspace(*entry.learning_rates, budget))
        )
        for entry in entries
    }
    counts = {name: len(mine) for name, mine in found.items()}
    if len(set(counts.values())) > 1:
        raise InputError(
            f"learning_rates: expected as many for every optimizer, {BASELINE} included, to "
            "tune all "
            f"alike, got {counts}; give as many for each, or set budget"
        )
    return found


def _rising(name: str, given: Any) -> list[float]:
    try:
        rates = np.unique(np.asarray(given, np.float64))
    except (TypeError, ValueError):
        rates = np.empty(0)
    if not len(rates) or not np.isfinite(rates).all() or rates[0] <= 0:
        raise InputError(
            f"learning_rates: expected numbers for {name}, at least one, each above zero and "
            "finite, "
            f"got {given}; such as [0.01, 0.1, 1.0]"
        )
    return rates.tolist()


@dataclasses.dataclass(frozen=True)
class Problem:
    """What is to be trained, as it was given; the fields are arguments of `compare`."""

    loss: losses.Loss
    init: Callable[[Any], PyTree]
    data: PyTree
    validation: PyTree | None
    test: PyTree | None
    metrics: Metrics
    epochs: int
    batch_size: int | None
    fast: bool | None

    @property
    def parts(self) -> dict[str, PyTree]:
        """The parts of the data that there are, by the names of their arguments."""
        parts = {"data": self.data, "validation": self.validation, "test": self.test}
        return {name: part for name, part in parts.items() if part is not None}


def task(problem: Problem) -> sweep.Task:
    """Give the task that the optimizers share.

    Raises:
        InputError: functions or data that cannot be trained on.
    """
    versions.check()
    path = sweep.fast(problem.fast)
    parts, size = problem.parts, problem.batch_size
    _check_functions(problem)
    if size is not None:
        checks.at_least_one(batch_size=size)
    rows = {name: checks.data(part, name) for name, part in parts.items()}["data"]
    if size is not None and size > rows:
        raise InputError(
            f"batch_size: expected 1 to the {rows} rows of data, got {size}; None takes all"
        )
    params = _started(problem.init)
    if (size or rows) == rows and _equal(params, problem.init(jax.random.key(1))):
        raise InputError(
            "init: expected another start for each key, as every batch is all rows and nothing "
            "else "
            "tells seeds apart, got the same; draw in init, or give a batch_size"
        )
    for name, part in parts.items():
        _check_alike(name, part, problem.data)
        for what, function in {"loss": problem.loss, **problem.metrics}.items():
            _check_scalar(what, function, params, name, part)
        if isinstance(problem.loss, losses.BatchLoss):
            _check_labels(problem.loss, params, name, part)
    return sweep.Task(
        loss=problem.loss,
        init=problem.init,
        data=problem.data,
        batch_size=size or rows,
        epochs=problem.epochs,
        validation=problem.validation,
        test=problem.test,
        metrics=tuple(problem.metrics.items()),
        fast=path,
    )


class Programs(NamedTuple):
    """The fingerprint of all programs; why, by name, optimizers cannot step from a start."""

    fingerprint: str
    unable: dict[str, str]


def programs(task: sweep.Task, entries: Sequence[optimizers.Entry]) -> Programs:
    """Trace a step of every optimizer.

    Raises:
        InputError: plain SGD or all others cannot step.
    """
    texts, unable = {}, {}
    for entry in entries:
        try:
            texts[entry.name] = _program(entry, task)
        except FunctionError as error:
            # Where it is the only one there is nothing to hold against plain SGD.
            if entry.name == BASELINE or len(entries) == 2 + len(unable):
                raise
            unable[entry.name] = f"a step from init(key) raised {_said(error.__cause__)}"
    return Programs(fingerprints.of_record(dict(sorted(texts.items()))), unable)


def _check_functions(problem: Problem) -> None:
    metrics = problem.metrics
    if not isinstance(metrics, Mapping):
        raise InputError(f"metrics: expected a dict of functions by name, got {metrics!r}")
    if metrics and len(problem.parts) == 1:
        raise InputError(
            "metrics: expected validation or test data to measure them on, got neither; give some"
        )
    if "loss" in metrics:
        raise InputError(
            "metrics: expected names other than loss, which is reported anyway, got loss; rename it"
        )
    functions = {"loss": problem.loss, "init": problem.init, **metrics}
    for name, function in functions.items():
        if not callable(function) or not isinstance(function, Hashable):
            raise InputError(
                f"{name}: expected a function, whose programs are kept by it, got {function!r}; "
                "wrap "
                "one that cannot be hashed in a plain function"
            )


def _started(init: Callable[[Any], PyTree]) -> PyTree:
    """Give the start of seed 0; refuse an `init` that cannot start any seed."""
    key = jax.random.key(0)
    try:
        params = jax.device_get(init(key))
        jax.eval_shape(init, key)
    except Exception as error:
        raise FunctionError(
            f"init: expected a pure function of a jax.random.key that can be traced; it raised "
            f"{_said(error)}; draw with jax.random alone"
        ) from error
    checks.params(params, "init(key)")
    if not _equal(params, init(key)):
        raise InputError(
            "init: expected the same start for the same key, got two; draw with jax.random alone"
        )
    return params


def _equal(these: PyTree, those: PyTree) -> bool:
    pairs = zip(jax.tree.leaves(these), jax.tree.leaves(those), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def _said(error: BaseException | None) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def _check_alike(name: str, part: PyTree, data: PyTree) -> None:
    """Refuse rows of another shape, which a loss might broadcast."""
    expected, got = (
        [np.shape(leaf)[1:] for leaf in jax.tree.leaves(tree)] for tree in (data, part)
    )
    if jax.tree.structure(part) != jax.tree.structure(data) or got != expected:
        raise InputError(
            f"{name}: expected rows as those of data, {_described(data)}, got {_described(part)}; "
            "prepare them alike"
        )


def _described(part: PyTree) -> Any:
    return jax.tree.map(lambda leaf: list(np.shape(leaf)), part)


def _check_labels(loss: losses.BatchLoss, params: PyTree, name: str, part: PyTree) -> None:
    try:
        loss.check(params, part)
    except InputError as error:
        raise InputError(f"{name}: {error}; encode all the parts alike") from error


def _check_scalar(
    what: str, function: Callable[[Any, Any], Any], params: PyTree, name: str, part: PyTree
) -> None:
    try:
        found = jax.eval_shape(function, params, part)
    except Exception as error:
        raise FunctionError(
            f"{what}: expected a function of (params, batch) that takes init(key) and {name}; it "
            f"raised {_said(error)}; bind whatever else it needs, as by "
            "functools.partial, and let init give the parameters it takes"
        ) from error
    real = what != "loss" or jnp.issubdtype(getattr(found, "dtype", object), jnp.floating)
    if getattr(found, "shape", None) != () or not real:
        raise InputError(
            f"{what}: expected one real number, of shape [], got {found}; reduce it, as by jnp.mean"
        )


def _program(entry: optimizers.Entry, task: sweep.Task) -> str:
    """Give the program of a step and what is measured; refuse an optimizer that has none."""

    def step(rate: Any, key: Any, params: PyTree, batch: PyTree) -> Any:
        noise = {"key": key} if entry.random else {}
        optimizer = entry.make(learning_rate=rate, **noise)
        start = training.start(optimizer, params)
        state, loss = training.step(task.loss, optimizer, start, batch)
        judged = entry.evaluate(state.opt_state, state.params)
        measured = [metric(judged, batch) for _, metric in task.metrics]
        return loss, judged, measured, entry.evaluations(state.opt_state)

    key, batch = jax.random.key(0), jax.tree.map(lambda leaf: leaf[: task.batch_size], task.data)
    try:
        return jax.jit(step).lower(1.0, key, jax.eval_shape(task.init, key), batch).as_text()
    except Exception as error:
        raise FunctionError(
            f"optimizers: expected {entry.name} to be made of a traced learning rate and to step "
            f"from init(key); it raised {_said(error)}; a schedule must be one "
            "of peak 1 multiplied by the rate, a choice one of jnp.where"
        ) from error

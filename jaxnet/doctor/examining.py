"""Examine a run: try changes of it, and say which of them make it better.

Shapes: V changes, S seeds.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PyTree

from jaxnet import batches, fitting, losses, network, optimizers, training
from jaxnet._guards.defaults import SEED
from jaxnet.doctor import findings, networks, trials
from jaxnet.doctor.findings import MARGIN, Change, Diagnosis, Finding, Tried
from jaxnet.doctor.networks import NONE, Network
from jaxnet.doctor.trials import Case, Rows, Trial
from jaxnet.errors import InputError
from jaxnet.losses import BatchLoss, Loss, Rule
from jaxnet.optimizers import Optimizer

# The shares of the constant's loss between which all changes stay where targets cannot be told.
_UNTOLD = (0.95, 1.05)
_RATES = (1 / 100, 1 / 30, 1 / 10, 1 / 3, 3.0, 10.0, 30.0, 100.0)
# The rates that other changes are tried at.
_FACTORS = (1 / 10, 1.0, 10.0, 100.0)
_WIDER = 8
# A run that diverged may have ended early: its trials take so many steps.
_DIVERGED = 300


def examine(
    loss: Loss | Rule,
    optimizer: Optimizer,
    params: PyTree,
    data: PyTree,
    fit: fitting.Fit,
    *,
    batch_size: int | None = None,
    validation: PyTree | None = None,
    hyperparameters: Mapping[str, object] | None = None,
) -> Diagnosis:
    """Say what is visibly wrong with a run of `jaxnet.fit`, by short runs with something changed.

    A change is named where it takes more than a fifth of what the best constant loses off the loss,
    with each of two seeds: off that of the run's end, and off the mean of trials that lack it. So
    nothing is tried where the loss is below that fifth, and of classes no more than a fifth of what
    the most frequent one leaves wrong is wrong, by which another loss is judged. Of any loss the
    rate, the start and the steps are changed; of a `BatchLoss` of rows of numbers their units too;
    of one of `jaxnet.Layer`s that computes what `jaxnet.forward` does also first parameters,
    activations, units and loss.

    Trials take at most 400 steps, of at most 64 of at most 512 rows. Nothing is tried where all
    trials' parameters take more than 64 MiB, or 40 of their steps more than 2e9 products; or where
    a constant's loss is not above 0.

    Args:
        loss, optimizer, params, data: what `fit` was given; `params` is where it began.
        fit: what it gave.
        batch_size, validation, hyperparameters: what it was given. Runs are judged on the
            validation data where there are some.

    Raises:
        InputError: what `fit` refuses; a stream; parameters of another structure than the run's.
    """
    if callable(data):
        raise InputError("data: expected rows in memory, got a stream; give some of its rows")
    training.check(loss, params, data, SEED)
    numbers = optimizers.check(optimizer, hyperparameters)
    if jax.tree.structure(params) != jax.tree.structure(fit.params):
        raise InputError(
            f"params: expected where the run began, {jax.tree.structure(fit.params)}, got "
            f"{jax.tree.structure(params)}; give what fit was given"
        )
    rows, steps = _some(data, 0), int(fit.progress.taken)
    some = Rows(
        numbers,
        rows,
        _some(data if validation is None else validation, 1),
        batch_size=min(batch_size or trials.BATCH, trials.BATCH, batches.count(rows)),
        steps=max(steps, _DIVERGED) if fit.outcome == "diverged" else steps,
    )
    run = _judged(loss, optimizer, params, fit, some)
    return Diagnosis(tuple(_findings(run)) if run.bad else (), run.ended[0], run.constant[0])


def _some(data: PyTree, seed: int) -> PyTree:
    rows = np.random.default_rng(seed).permutation(batches.count(data))[: trials.ROWS]
    return jax.tree.map(lambda leaf: np.asarray(leaf)[rows], data)


@dataclasses.dataclass(frozen=True)
class _Examined:
    """A run and how good it is.

    Attributes:
        ended: its loss, infinite where it diverged, and its share of wrong classes.
        constant: the same of the best constant.
    """

    case: Case
    rows: Rows
    params: PyTree
    fit: fitting.Fit
    ended: tuple[float, float]
    constant: tuple[float, float]

    @property
    def left(self) -> tuple[float, float]:
        """Give what is left of what the constant loses, and of what it gets wrong."""
        return self.ended[0] / self.constant[0], self.ended[1] / self.constant[1]

    @property
    def bad(self) -> bool:
        """Tell whether it is to be examined."""
        return self.constant[0] > 0 and max(self.left) > MARGIN


def _judged(
    loss: Loss | Rule, optimizer: Optimizer, params: PyTree, fit: fitting.Fit, rows: Rows
) -> _Examined:
    own, share, least = losses.original(loss), 0.0, 1.0
    if isinstance(own, BatchLoss):
        x, y, *_ = rows.data
        known = networks.recognise(loss, params)
        entropy = networks.entropy(known, y)
        mean = networks.share(own, params, x, y)
        judge = networks.judge(own, entropy is not None)
        ended, constant, share = map(float, judge(fit.params, mean, rows.judged))
        scales_x = np.ndim(x) == 2 and jnp.issubdtype(x.dtype, jnp.floating)
        scales_y = scales_x and entropy is None and jnp.issubdtype(y.dtype, jnp.floating)
        case = Case(loss, optimizer, known, entropy, scales_x=scales_x, scales_y=scales_y)
        least = networks.rarer(y) if entropy else 1.0
    else:
        case = Case(loss, optimizer)
        ended, constant = (
            float(losses.value(own, each, rows.judged)) for each in (fit.params, params)
        )
    if fit.outcome == "diverged" or not np.isfinite(ended):
        ended = np.inf
    best = constant, max(least, 1e-6)
    return _Examined(case, rows, params, fit, ended=(ended, share), constant=best)


def _findings(run: _Examined) -> Iterator[Finding]:
    """Try changes: of the run first, and where none helps, of how many units it has."""
    scores = _scores(run, [Change("rate"), *_changes(run)])
    best = findings.chosen(tried := list(_tried(run, scores)))
    if scores and not best and run.case.known and len(run.case.known.sizes) > 2:
        scores |= _scores(run, [Change("units", factor, wider=_WIDER) for factor in _FACTORS])
        best = findings.chosen(tried := list(_tried(run, scores)))
    least = min((each.after for each in tried), default=0.0)
    if run.left[0] > _UNTOLD[0] < least < _UNTOLD[1]:
        statement = (
            f"the targets cannot be told from these inputs: the best of {len(tried)} changes "
            f"leaves {least:.0%} of the best constant's loss, {run.constant[0]:.3g}"
        )
        yield Finding("data", statement, None, run.ended[0], least * run.constant[0])
        return
    for index, each in enumerate(best):
        yield _finding(run, each, "" if index else _idle(run))


def _changes(run: _Examined) -> Iterator[Change]:
    """Give the changes that can be tried of a run."""
    case = run.case
    yield from (Change("rate", factor) for factor in _RATES)
    yield Change("steps", start="last")
    for factor in _FACTORS:
        if case.scales_x:
            yield Change("inputs", factor, inputs=True)
        if case.scales_y:
            yield Change("targets", factor, targets=True)
            yield Change("targets", factor, inputs=True, targets=True)
        if case.known:
            yield from _of_networks(case.known, case, factor)


def _of_networks(known: Network, case: Case, factor: float) -> Iterator[Change]:
    yield Change("start", factor, start="init")
    plain = known.output == NONE
    if not plain:
        yield Change("outputs", factor, plain=True)
    if case.entropy and (case.entropy is not losses.original(case.loss).example_loss):
        yield Change("loss", factor, plain=not plain, entropy=True)
    if len(known.sizes) > 2:
        other = "tanh" if known.activation == "relu" else "relu"
        yield Change("activation", factor, activation=other)
        yield Change("model", factor, start="init", inputs=case.scales_x, activation=NONE)


def _scores(run: _Examined, changes: Sequence[Change]) -> dict[Change, Float[np.ndarray, "2 S"]]:
    """Try changes; give what each leaves of the constant's loss and wrong classes.

    Nothing where they are too large to be tried.
    """
    # Layers of so many times the units both before and after them are their square as large.
    runs = trials.SEEDS * sum(max(each.wider, 1) ** 2 for each in changes)
    steps = trials.affordable(run.rows, run.params, runs)
    if not steps:
        return {}
    every = [_trial(run, each, steps) for each in changes]
    values = trials.score(run.case, run.rows, every) / np.reshape(run.constant, (2, 1, 1))
    return dict(zip(changes, np.moveaxis(values, 0, 1), strict=True))


def _tried(run: _Examined, scores: Mapping[Change, Float[np.ndarray, "2 S"]]) -> Iterator[Tried]:
    """Hold each change against the run, and against what its rate alone does."""
    for each, values in scores.items():
        judged = int(each.entropy)
        after, before = float(values[judged].max()), run.left[judged]
        if each == Change("rate"):
            yield Tried(Change("start"), before, after)
            continue
        lacking = [Change("rate")]
        if each.name != "rate":
            lacking.append(Change("rate", each.factor))
        lacks = min(float(scores[other][judged].mean()) for other in lacking)
        yield Tried(each, min(before, lacks), after)


def _start(run: _Examined, change: Change) -> PyTree:
    known = run.case.known
    if change.start == "last":
        return trials.stacked([run.fit.progress.run.state.params] * trials.SEEDS)
    if not known or not (change.start or change.wider):
        return trials.starts(run.params)
    inputs, *hidden, outputs = known.sizes
    sizes = inputs, *((change.wider or 1) * size for size in hidden), outputs
    keys = map(jax.random.key, range(trials.SEEDS))
    return trials.stacked([network.init(key, sizes) for key in keys])


def _trial(run: _Examined, change: Change, steps: int) -> Trial:
    return Trial(
        _start(run, change),
        steps=steps if change.start == "last" else min(steps, run.rows.steps),
        factor=change.factor,
        units=trials.units(run.rows.data, run.case, change.inputs, change.targets),
        activation=trials.ACTIVATIONS.index(change.activation),
        plain=int(change.plain),
        entropy=int(change.entropy),
    )


def _finding(run: _Examined, tried: Tried, more: str) -> Finding:
    change, judged = tried.change, int(tried.change.entropy)
    rate = run.rows.numbers.get("learning_rate")
    ended, after = run.ended[judged], tried.after * run.constant[judged]
    words = findings.parts(change, rate, trials.STEPS, getattr(run.case.entropy, "__name__", ""))
    since = f"from {ended:.3g}" if math.isfinite(ended) else "where the run diverged"
    statement = (
        f"{findings.problem(change, run.case.known)}: with {' and '.join(words)} the "
        f"{('loss', 'share of wrong classes')[judged]} falls to {after:.2g}, {since}{more}"
    )
    return Finding(change.name, statement, change, ended, after)


def _idle(run: _Examined) -> str:
    """Say which layer has lost most of its units, if one has lost half of them."""
    known = run.case.known
    counts = networks.idle(known, run.fit.params, run.rows.judged[0]) if known else []
    for layer, (idle, units) in enumerate(counts, 1):
        if idle >= units / 2:
            return f"; {idle} of the {units} units of layer {layer} give all rows the same output"
    return ""

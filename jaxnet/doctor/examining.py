"""Examine a run: try changes of it, and say which of them make it better.

Shapes: V changes, S seeds.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

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

# The share of the constant's loss that nothing gets below where targets cannot be told.
_UNTOLD = 0.95
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
    hyperparameters: Mapping[str, Any] | None = None,
) -> Diagnosis:
    """Say what is visibly wrong with a run of `jaxnet.fit`, by short runs with something changed.

    A change is named where it takes more than a fifth of what the best constant loses off the loss,
    with each of two seeds: off that of the run's end, and off the mean of trials that lack it. So
    nothing is tried where the loss is below that fifth. Where the targets are classes and more than
    a fifth of what the most frequent one gets wrong is wrong, it is judged by the share of wrong
    ones in the place of the loss. Of any loss the rate, the start and the steps are changed; of a
    `BatchLoss` of rows of numbers their units too; of one of `jaxnet.Layer`s that computes what
    `jaxnet.forward` does also first parameters, activations, units and loss.

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
    examined = _judged(loss, optimizer, params, fit, some)
    found = tuple(_findings(examined)) if examined.bad else ()
    return Diagnosis(found, examined.ended, examined.reference)


def _some(data: PyTree, seed: int) -> PyTree:
    rows = np.random.default_rng(seed).permutation(batches.count(data))[: trials.ROWS]
    return jax.tree.map(lambda leaf: np.asarray(leaf)[rows], data)


@dataclasses.dataclass(frozen=True)
class _Examined:
    """A run and how good it is.

    Attributes:
        ended: its loss, infinite where it diverged; or its share of wrong classes.
        reference: the same of the best constant.
    """

    case: Case
    rows: Rows
    params: PyTree
    fit: fitting.Fit
    ended: float
    reference: float

    @property
    def bad(self) -> bool:
        """Tell whether it is to be examined."""
        return self.reference > 0 and self.ended > MARGIN * self.reference


def _judged(
    loss: Loss | Rule, optimizer: Optimizer, params: PyTree, fit: fitting.Fit, rows: Rows
) -> _Examined:
    own, diverged = losses.original(loss), fit.outcome == "diverged"
    if not isinstance(own, BatchLoss):
        ended, first = (
            float(losses.value(own, each, rows.judged)) for each in (fit.params, params)
        )
        case = Case(loss, optimizer)
        return _Examined(case, rows, params, fit, np.inf if diverged else ended, first)
    x, y, *_ = rows.data
    known = networks.recognise(loss, params)
    entropy = networks.entropy(known, y)
    share = networks.share(own, params, x, y)
    program = networks.judge(own, entropy is not None)
    ended, constant, wrong = map(float, program(fit.params, share, rows.judged))
    numbers = np.ndim(x) == 2 and jnp.issubdtype(x.dtype, jnp.floating)
    scales_y = numbers and entropy is None and jnp.issubdtype(y.dtype, jnp.floating)
    if entropy and wrong > MARGIN * networks.rarer(y):
        ended, constant = wrong, networks.rarer(y)
    else:
        entropy = None
    case = Case(loss, optimizer, known, entropy, scales_x=numbers, scales_y=scales_y)
    ended = np.inf if diverged or not np.isfinite(ended) else ended
    return _Examined(case, rows, params, fit, ended, constant)


def _findings(run: _Examined) -> Iterator[Finding]:
    """Try changes: of the run first, and where none helps, of how many units it has."""
    scores = _scores(run, [Change("rate"), *_changes(run.case)])
    best = findings.chosen(tried := list(_tried(run, scores)))
    if scores and not best and run.case.known and len(run.case.known.sizes) > 2:
        scores |= _scores(run, [Change("units", factor, wider=_WIDER) for factor in _FACTORS])
        best = findings.chosen(tried := list(_tried(run, scores)))
    for index, each in enumerate(best):
        yield _finding(run, each, "" if index else _idle(run))
    least = min((each.after for each in tried), default=0.0)
    if min(least, run.ended / run.reference) > _UNTOLD:
        statement = (
            f"the targets cannot be told from these inputs: of {len(tried)} changes the lowest "
            f"{_what(run)} is {least * run.reference:.3g}, that of the best constant "
            f"{run.reference:.3g}"
        )
        yield Finding("data", statement, None, run.ended, least * run.reference)


def _changes(case: Case) -> Iterator[Change]:
    """Give the changes that can be tried of a run."""
    known = case.known
    yield from (Change("rate", factor) for factor in _RATES)
    yield Change("steps", start="last")
    for factor in _FACTORS:
        if case.scales_x:
            yield Change("inputs", factor, inputs=True)
        if case.scales_y:
            yield Change("targets", factor, targets=True)
            yield Change("targets", factor, inputs=True, targets=True)
        if known:
            yield from _of_networks(known, case, factor)


def _of_networks(known: Network, case: Case, factor: float) -> Iterator[Change]:
    yield Change("start", factor, start="init")
    plain = known.output == NONE
    if not plain:
        yield Change("outputs", factor, plain=True)
    if case.entropy:
        yield Change("loss", factor, plain=not plain, entropy=True)
    if len(known.sizes) > 2:
        other = "tanh" if known.activation == "relu" else "relu"
        yield Change("activation", factor, activation=other)
        yield Change("model", factor, start="init", inputs=case.scales_x, activation=NONE)


def _scores(run: _Examined, changes: Sequence[Change]) -> dict[Change, Float[np.ndarray, " S"]]:
    """Try changes; give what each scores of what the best constant does, nothing if too large."""
    made = [_trial(run, each) for each in changes]
    steps = trials.affordable(run.rows, made)
    values = trials.score(run.case, run.rows, made, steps) / run.reference if steps else []
    return dict(zip(changes, values, strict=bool(steps)))


def _tried(run: _Examined, scores: Mapping[Change, Float[np.ndarray, " S"]]) -> Iterator[Tried]:
    """Hold each change against the run, and against what its rate alone does."""
    ended = run.ended / run.reference
    for each, after in scores.items():
        if each.factor == 1 and each.name == "rate":
            yield Tried(Change("start"), ended, float(after.max()))
            continue
        lacking = [scores[Change("rate")]]
        if each.name != "rate":
            lacking.append(scores[Change("rate", each.factor)])
        before = min(ended, *(float(lacks.mean()) for lacks in lacking))
        yield Tried(each, before, float(after.max()))


def _trial(run: _Examined, change: Change) -> Trial:
    case, known = run.case, run.case.known
    if change.start == "last":
        params = trials.stacked([run.fit.progress.run.state.params] * trials.SEEDS)
    elif known and (change.start or change.wider):
        inputs, *hidden, outputs = known.sizes
        sizes = inputs, *((change.wider or 1) * size for size in hidden), outputs
        keys = map(jax.random.key, range(trials.SEEDS))
        params = trials.stacked([network.init(key, sizes) for key in keys])
    else:
        params = trials.starts(run.params)
    return Trial(
        params,
        change.factor,
        trials.units(run.rows.data, case, change.inputs, change.targets),
        trials.ACTIVATIONS.index(change.activation),
        int(change.plain),
        int(change.entropy),
    )


def _what(run: _Examined) -> str:
    return "share of wrong classes" if run.case.entropy else "loss"


def _finding(run: _Examined, tried: Tried, more: str) -> Finding:
    known, change = run.case.known, tried.change
    rate = run.rows.numbers.get("learning_rate")
    after = tried.after * run.reference
    words = findings.parts(change, rate, trials.STEPS, getattr(run.case.entropy, "__name__", ""))
    since = f"from {run.ended:.3g}" if math.isfinite(run.ended) else "where the run diverged"
    statement = (
        f"{findings.problem(change, known)}: with {' and '.join(words)} the {_what(run)} falls to "
        f"{after:.2g}, {since}{more}"
    )
    return Finding(change.name, statement, change, run.ended, after)


def _idle(run: _Examined) -> str:
    """Say which layer has lost most of its units, if one has lost half of them."""
    known = run.case.known
    counts = networks.idle(known, run.fit.params, run.rows.judged[0]) if known else []
    for layer, (idle, units) in enumerate(counts, 1):
        if idle >= units / 2:
            return f"; {idle} of the {units} units of layer {layer} give all rows the same output"
    return ""

"""Examine a run: try changes of it, and say which of them makes it clearly better.

Shapes: S seeds.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float, PyTree

from jaxnet import batches, fitting, losses, optimizers, training
from jaxnet._guards.defaults import SEED
from jaxnet.doctor import changes, judging, networks, trials
from jaxnet.doctor.changes import Change, Diagnosis
from jaxnet.doctor.networks import NONE
from jaxnet.doctor.trials import Case, Rows
from jaxnet.errors import InputError
from jaxnet.losses import BatchLoss, Loss, Rule
from jaxnet.optimizers import Optimizer

# What a change must take off, and how close to the best another is as good: shares of what the
# best constant loses. Above the last all changes stay where targets cannot be told.
_MARGIN, _ALIKE, _UNTOLD = 0.2, 0.1, 0.95
# The rates tried alone, and those that other changes are tried at.
_RATES = tuple(10 ** (power / 2) for power in range(-6, 7) if power)
_FACTORS = (1 / 10, 1.0, 10.0, 100.0)
# Of so many rows those that trials do not train on judge them; of fewer, all do both.
_ROWS, _FEW = 640, 64
# A run that diverged may have ended early: its trials take so many steps.
_DIVERGED = 300
# Of changes as large, the first is named.
_ORDER = ("targets", "inputs", "start", "outputs", "loss", "rate", "steps", "activation")
# Columns whose mean or deviation is larger than the first, or all of them less than the last.
_LARGE, _SMALL = 3.0, 0.1


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
    """Say what helps a run of `jaxnet.fit` that learned little, by short runs with a change.

    A change is named where it takes more than a fifth of what the best constant loses off the loss,
    with each of two seeds: off that of the run's end, and off the mean of trials that lack a part
    of it. Nothing is tried where the loss is below that fifth and of classes no more than a fifth
    of what the most frequent one leaves wrong is wrong, by which another loss is judged. Of any
    loss the rate and the steps are changed; of a `BatchLoss` of rows of numbers the units of those
    that are far from mean 0 and deviation 1; of one of `jaxnet.Layer`s that computes what
    `jaxnet.forward` does also first parameters, activations and loss.

    Trials take at most 400 steps of at most 64 rows, or 2000 of fewer than 16. Of 64 rows and more
    a quarter judges them where there are no validation data, another for each seed. Nothing is
    tried where they would take more than 2e10 operations, 4 GB moved in a step or 200 MB of
    parameters; or where a constant's loss is not above 0, but for a loss of one output that tells
    no targets apart, in the place of which the squared error is tried and judges.

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
    numbers = optimizers.check(optimizer, hyperparameters)
    if jax.tree.structure(params) != jax.tree.structure(fit.params):
        raise InputError(
            f"params: expected where the run began, {jax.tree.structure(fit.params)}, got "
            f"{jax.tree.structure(params)}; give what fit was given"
        )
    given = [data] if validation is None else [data, validation]
    checked = [training.check(loss, params, each, SEED)[0] for each in given]
    trained, own, judged = _parts(*map(_some, checked))
    steps = int(fit.progress.taken)
    rows = Rows(
        *(numbers, trained, own, judged),
        batch_size=min(batch_size or trials.BATCH, trials.BATCH, own.shape[1]),
        steps=max(steps, _DIVERGED) if fit.outcome == "diverged" else steps,
    )
    outputs, judged = judging.outputs(loss, params, rows.data), losses.original(loss)
    ended, constant = judging.judge(judged, outputs, fit.params, params, rows).T
    if (
        outputs == 1
        and constant[0].max() <= 0
        and not networks.tells(judged.example_loss, rows.data[1])
    ):
        judged = BatchLoss(judged.forward, optax.losses.squared_error)
        ended, constant = judging.judge(judged, outputs, fit.params, params, rows).T
    ended[0] = np.inf if fit.outcome == "diverged" else ended[0]
    known = constant[0].min() > 0 and np.isfinite(constant[0]).all()
    if not known or (ended / constant).mean(axis=1).max() <= _MARGIN:
        loss_left, constant_left = float(ended[0].mean()), float(constant[0].mean())
        return Diagnosis("", None, loss_left, loss_left, constant_left)
    case = _case(Case(loss, optimizer, judged), params, outputs, rows.data)
    return _diagnosis(_Run(case, rows, params, fit.params, ended=ended, constant=constant))


def _some(data: PyTree) -> PyTree:
    rows = np.random.default_rng(0).permutation(batches.count(data))[:_ROWS]
    return jax.tree.map(lambda leaf: np.asarray(leaf)[rows], data)


def _parts(rows: PyTree, validation: PyTree | None = None) -> tuple[PyTree, np.ndarray, PyTree]:
    """Give rows, those of them that each seed trains on, and the rows that judge it."""
    every = np.arange(batches.count(rows))
    own = np.stack([every] * trials.SEEDS)
    if validation is not None or len(every) < _FEW:
        judged = rows if validation is None else validation
        return rows, own, trials.stacked([judged] * trials.SEEDS)
    # Other rows for each seed: what one part takes for a change by chance another does not.
    parts = own[:, : len(every) // 4] + len(every) // 4 * np.arange(trials.SEEDS)[:, None]
    trained = np.stack([np.setdiff1d(every, part) for part in parts])
    return rows, trained, jax.tree.map(lambda leaf: leaf[parts], rows)


class _Run(NamedTuple):
    """A run from its first parameters to its last, with losses and wrong classes by each seed."""

    case: Case
    rows: Rows
    params: PyTree
    last: PyTree
    ended: Float[np.ndarray, "2 S"]
    constant: Float[np.ndarray, "2 S"]


def _diagnosis(run: _Run) -> Diagnosis:
    case, data, known = run.case, run.rows.data, run.case.known
    facts = {
        "inputs": _far(data[0]) if case.units else "",
        "targets": _far(data[1]) if case.targets else "",
        "loss": getattr(case.kind, "__name__", ""),
        "steps": f"{run.rows.most} steps",
    }
    tried = list(_tried(run, list(_changes(run, facts))))
    ended, constant = float(run.ended[0].mean()), float(run.constant[0].mean())
    if best := _best(tried):
        change, after = best
        judged = int(change.loss)
        before = float(run.ended[judged].mean())
        after = float(after * run.constant[judged].mean())
        problem = changes.statement(change, known, facts, run.rows.numbers.get("learning_rate"))
        words = ("the loss", "the share of wrong classes")
        if case.judged is not losses.original(case.loss):
            words = ("the squared error",) * 2
        fall = changes.fall(words[judged], before, after)
        idle = networks.idle(known, run.last, data[0]) if known else ""
        return Diagnosis(f"{problem} {fall}{idle}", change, before, after, constant)
    least = min((after for _, _, after in tried), default=0.0)
    if min(ended / constant, least) <= _UNTOLD:
        return Diagnosis("", None, ended, ended, constant)
    statement = (
        f"nothing tried tells the targets from the inputs: the best of {len(tried)} changes "
        f"leaves {least:.0%} of the best constant's loss, {constant:.3g}"
    )
    return Diagnosis(statement, None, ended, least * constant, constant)


def _case(case: Case, params: PyTree, outputs: int, data: Any) -> Case:
    """Give what all trials of a run share, of one of whose network nothing is known yet."""
    if not outputs:
        return case
    (x, y, *_), own = data, losses.original(case.loss)
    units = x.ndim == 2 and jnp.issubdtype(x.dtype, jnp.floating)
    # The rule of a gradient is for that network alone.
    known = None if isinstance(case.loss, Rule) or not units else networks.recognise(own, params)
    entropy = networks.entropy(y, outputs)
    kind = entropy or case.judged.example_loss
    return case._replace(
        known=known,
        kind=kind if known and kind is not own.example_loss else None,
        units=units,
        targets=units and entropy is None and jnp.issubdtype(y.dtype, jnp.floating),
    )


def _far(rows: np.ndarray) -> str:
    """Say what the column farthest from a mean of 0 and a deviation of 1 is like, if it is far."""
    mean, deviation = trials.moments(rows)
    size = np.maximum(np.abs(mean), deviation)
    if _SMALL <= size.max() <= _LARGE:
        return ""
    return f"mean {mean[size.argmax()]:.3g}, deviation {deviation[size.argmax()]:.3g}"


def _changes(run: _Run, facts: dict[str, str]) -> Iterator[Change]:
    """Give what can be changed of a run: one thing, all that is told to be in the way, the rate."""
    known, ones = run.case.known, []
    wrong = Change(inputs=bool(facts["inputs"]), targets=bool(facts["targets"]))
    yield from (Change(), *(Change(factor) for factor in _RATES))
    if run.rows.steps <= run.rows.most / 2:
        ones.append(Change(steps=True))
    if known:
        hidden, plain = len(known.sizes) > 2, known.output != NONE
        ones += [Change(start=True), *[Change(activation=True)] * hidden]
        odd = hidden and known.activation not in ("relu", "tanh")
        kind = bool(run.case.kind)
        ones += [Change(outputs=plain, loss=True)] * kind
        wrong = wrong._replace(outputs=plain, loss=kind, activation=odd)
    ones += [Change(**{name: True}) for name in wrong.names if name != "loss"]
    ones = dict.fromkeys([*ones, wrong] if wrong.names else ones)
    yield from (each._replace(factor=factor) for each in ones for factor in _FACTORS)


def _tried(run: _Run, changed: list[Change]) -> Iterator[tuple[Change, float, float]]:
    """Try changes; give what is left of the constant's loss, or wrong classes, without and with.

    Without a change are the run and the trials that lack a part of it. Nothing where they are too
    large to be tried.
    """
    steps = trials.affordable(run.case, run.rows, run.params, len(changed))
    if not steps:
        return
    same, drawn = (trials.starts(run.params, drawn=drawn) for drawn in (False, True))
    short = min(steps, run.rows.steps)
    begun = {
        each: (drawn if each.start else same, steps if each.steps else short) for each in changed
    }
    values = trials.score(run.case, run.rows, begun)
    scores = dict(zip(changed, np.moveaxis(values, 1, 0), strict=True))
    for each in changed[1:]:
        judged = int(each.loss)
        constant = run.constant[judged]
        ended = float((run.ended[judged] / constant).mean())
        # Another loss may need other outputs: the two are one change.
        parts = [part for part in changed if part.within(each) and part.outputs <= (not each.loss)]
        lacking = [float((scores[part][judged] / constant).mean()) for part in parts]
        yield each, min(ended, *lacking), float((scores[each][judged] / constant).max())


def _best(tried: list[tuple[Change, float, float]]) -> tuple[Change, float] | None:
    """Give what changes least of what takes enough off and is about as good as the best.

    That is off the run, and off the best constant. Of several rates, one in the middle: the best
    of short runs is next to those that diverge.
    """
    clear = [
        (change, after) for change, before, after in tried if min(before, 1.0) - after > _MARGIN
    ]
    if not clear:
        return None
    alike = [each for each in clear if each[1] <= min(after for _, after in clear) + _ALIKE]
    least = min(map(_rank, alike))
    rates = sorted(each for each in alike if _rank(each) == least)
    return rates[(len(rates) - 1) // 2]


def _rank(each: tuple[Change, float]) -> tuple[int, int]:
    """Give how much is changed, and the place of its name."""
    change, _ = each
    rate = change.factor != 1 and change.names != ("rate",)
    return len(change.names) + rate, _ORDER.index(change.names[0])

"""Audit of a claimed gradient: is it right, and if not, what was done wrong, and where.

What is asked is read (`entry`) and compared with autodiff in float64 (`measured`), and finite
differences referee autodiff (`finite`). A wrong leaf is compared with the gradients that known
mistakes give (`explaining`, `mistakes`); what none of them explains is called unexplained. Of a
function lines are changed until it is right (`proving`, `corrections`).

Shapes: N examples.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import PyTree

from jaxnet import losses
from jaxnet._guards import checks
from jaxnet.audit import entry, explaining, finite, floats, formulas, inexact, judging, proving
from jaxnet.audit.case import Case
from jaxnet.audit.display import Audit
from jaxnet.audit.explaining import Readings
from jaxnet.audit.factors import another_size
from jaxnet.audit.measured import measure, rounded_as
from jaxnet.audit.numpy_loss import unlogged
from jaxnet.errors import InputError
from jaxnet.variables import Variables

# How far a loss in float64 may be from the same in another dtype.
_ALIKE = 1e-2


def plain(
    loss: Any, params: PyTree, batch: PyTree, claimed: Any, key: Any
) -> tuple[Any, PyTree, PyTree, Any]:
    """Give a loss and a claim of parameters and a batch alone: what they draw and carry bound.

    Raises:
        InputError: a loss that draws other numbers in float64.
    """
    key = jax.random.key(0) if key is None else key
    checks.key(key)
    if isinstance(claimed, losses.Rule) or jax.tree_util.all_leaves([claimed]):
        claimed = _bound(claimed, key)
    if losses.draws(loss):
        loss = _bound(loss, key)
        _check_draws(loss, params, batch)
    if not isinstance(params, Variables):
        return loss, params, batch, claimed
    trained, state = params
    whole = loss, claimed

    def value(params: PyTree, batch: PyTree) -> Any:
        return checks.carried(whole[0](Variables(params, state), batch))[0]

    def gradient(params: PyTree, batch: PyTree) -> Any:
        asked = Variables(params, state), batch
        own = isinstance(claimed, losses.Rule)
        return whole[1].value_and_grad(*asked)[1] if own else whole[1](*asked)

    return value, trained, batch, gradient if callable(claimed) else claimed


def _check_draws(loss: Any, params: PyTree, batch: PyTree) -> None:
    """Refuse a loss that is another one in float64, which it is audited in."""
    try:
        values = [jax.tree.leaves(loss(params, batch))[0]]
        with jax.enable_x64(True):
            values += [jax.tree.leaves(loss(*floats.cast((params, batch))))[0]]
        narrow, wide = map(float, values)
    except Exception:  # of the user's code, which is called again, and its error explained
        return
    if abs(narrow - wide) > _ALIKE * (max(abs(narrow), abs(wide)) + _ALIKE**2):
        raise InputError(
            f"loss: expected the same draws in float64, which it is audited in, got a loss of "
            f"{narrow:.3g} in its own dtype and of {wide:.3g} there; draw with a dtype that is "
            "given, such as jax.random.normal(key, shape, jnp.float32) or "
            "jax.random.bernoulli(key, jnp.float32(0.5), shape)"
        )


def _bound(function: Any, key: Any) -> Any:
    if isinstance(function, losses.Rule):
        return losses.Rule(_bound(function.value_and_grad, key))
    own = callable(function) and losses.draws(function)
    return functools.partial(function, key=key) if own else function


def audited(loss: Callable[..., Any], params: PyTree, batch: PyTree, claimed: Any) -> Audit:
    """Audit a claim, as `gradients.audit` says."""
    asked = entry.read(loss, params, batch, claimed)
    with jax.disable_jit(asked.is_long), unlogged():
        return _audit(asked)


def _audit(asked: entry.Entry) -> Audit:
    case = measure(asked.loss, asked.params, asked.batch, asked.claimed)
    outcomes = finite.referee(case)
    if any(outcome.kink for outcome in outcomes):
        beside = measure(case.loss, finite.beside(case), case.batch, asked.claimed)
        case = rounded_as(case, beside)
    judged = judging.judge_by_themselves(case, outcomes)
    wrong = [index for index in range(len(outcomes)) if index not in judged]
    readings = explaining.explain(case, wrong)
    written, left = inexact.as_rounded(case, [each for each in wrong if each not in readings])
    readings |= explaining.explain(written, left)
    if asked.quick and explaining.doubtful(readings):
        readings = _ask_again(case, asked.quick, asked.params, asked.batch, readings)
    table = []
    for index, (leaf, outcome) in enumerate(zip(case.leaves, outcomes, strict=True)):
        known = readings.get(index, [])
        judgement = judged[index] if index in judged else judging.judge_wrong(case, leaf, known)
        shown = formulas.of_reading(case.chain, index, known[0]) if len(known) == 1 else ("", "")
        table.append(judging.row(leaf, outcome, judgement, shown))
    verdicts = [row.verdict for row in table]
    found = proving.corrections(case, asked, verdicts) if "wrong" in verdicts else ()
    mended = frozenset[int]().union(*(each.leaves for each in found))
    table = [judging.mended(row) if k in mended else row for k, row in enumerate(table)]
    summary = " ".join([judging.summary(case, table, readings, outcomes), *asked.notes])
    return Audit(tuple(table), case.rows, str(case.dtype), summary, found)


def _ask_again(
    case: Case,
    ask: Callable[[PyTree, PyTree], PyTree],
    params: PyTree,
    batch: PyTree,
    readings: Readings,
) -> Readings:
    """Choose between readings by asking about a batch of another size."""
    batch = another_size(case, batch)
    try:
        other = measure(case.loss, params, batch, ask(params, batch))
    except Exception:  # rule or loss may be written for their own batch, and fail in any way
        return readings
    return explaining.decide(readings, explaining.explain(other, list(readings)))

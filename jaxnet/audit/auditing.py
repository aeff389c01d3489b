"""Audit of a claimed gradient: is it right, and if not, what was done wrong, and where.

What is asked is read (`entry`) and compared with autodiff in float64 (`measured`), and finite
differences referee autodiff (`finite`). A wrong leaf is compared with the gradients that known
mistakes give (`explaining`, `mistakes`); what none of them explains is called unexplained. Of a
function lines are changed until it is right (`proving`, `corrections`).

Shapes: N examples.
"""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import PyTree

from jaxnet import losses
from jaxnet.audit import entry, explaining, finite, formulas, inexact, judging, proving
from jaxnet.audit.case import Case
from jaxnet.audit.display import Audit
from jaxnet.audit.explaining import Readings
from jaxnet.audit.factors import another_size
from jaxnet.audit.measured import measure, rounded_as
from jaxnet.audit.numpy_loss import unlogged


def audited(
    loss: Callable[..., Any],
    params: PyTree,
    batch: PyTree,
    claimed: PyTree | Callable[..., PyTree] | losses.Rule,
) -> Audit:
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

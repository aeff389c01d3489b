"""What is said of each parameter: a verdict, and why; and of all of them together.

Shapes: N examples.
"""

import math
from typing import Literal, NamedTuple

import numpy as np

from jaxnet.audit import explaining, finite, inexact
from jaxnet.audit.case import Case, Leaf
from jaxnet.audit.chain import Chain
from jaxnet.audit.explaining import Reading, Readings
from jaxnet.audit.floats import epsilon
from jaxnet.audit.rows import Row, Verdict

# Rounding that hides larger relative errors than this: a leaf is not decided.
_COARSE = 1e-2
_UNKNOWN = "no known mistake explains it"
_MENDED = "right with the change below"


class Judgement(NamedTuple):
    """What a row says: see `Row`."""

    verdict: Verdict
    diagnosis: str = ""
    signal: bool = False


def judge_by_themselves(case: Case, outcomes: list[finite.Outcome]) -> dict[int, Judgement]:
    """Judge the leaves that call for no reason: right, right in their way, or not to be told."""
    judged: dict[int, Judgement] = {}
    for index, (leaf, outcome) in enumerate(zip(case.leaves, outcomes, strict=True)):
        if outcome.refuted:
            judged[index] = Judgement("undecided", _refusal(leaf, outcome.refuted))
        elif _is_true(leaf):
            judged[index] = _judge_true(case, leaf)
        elif outcome.allows(leaf.claimed, leaf.true, leaf.rounding):
            judged[index] = Judgement("undecided", _AT_KINK)
    left = [index for index in range(len(outcomes)) if index not in judged]
    inexactly = inexact.describe(case, left)
    return judged | {index: Judgement(*said) for index, said in inexactly.items()}


def judge_wrong(case: Case, leaf: Leaf, readings: list[Reading]) -> Judgement:
    """Judge a wrong leaf by what explains it."""
    if readings:
        said = ", or ".join(each.text for each in readings)
        if len(readings) > 1 and any(each.factor.of_rows for each in readings):
            said += "; a batch of another size tells"
        elif len(readings) > 1 and case.rows == 1:
            said += "; one example cannot tell which"
        return Judgement("wrong", said, any(each.mistake.signal for each in readings))
    verdict: Verdict = "undecided" if _is_float32(case, leaf) else "wrong"
    return Judgement(verdict, _unexplained(case, leaf))


_AT_KINK = (
    "at a kink of the loss, where several gradients are right: the claim takes another one than "
    "autodiff there, and is right elsewhere"
)


def _refusal(leaf: Leaf, refuted: Literal["kink", "override"]) -> str:
    cause = {
        "kink": "the loss has a kink at these parameters, where it has no gradient",
        "override": "the loss replaces its own gradient (stop_gradient, custom_vjp), or is not "
        "smooth at any step size",
    }[refuted]
    agrees = "agrees with autodiff" if _is_true(leaf) else "differs from autodiff as well"
    return f"autodiff and finite differences disagree: {cause}; the claim {agrees}"


def _judge_true(case: Case, leaf: Leaf) -> Judgement:
    """Call a leaf that is true to rounding right, where rounding does not hide too much."""
    if leaf.resolution <= _COARSE:
        return Judgement("right")
    whole = math.sqrt(sum(float(np.vdot(each, each)) for each in case.true))
    if leaf.is_zero and (not leaf.error or leaf.rounding <= _COARSE * whole):
        return Judgement("right")
    if not leaf.true.any():
        hidden = f"the true gradient is zero, and rounding of {case.dtype} as large as the claim"
    else:
        hidden = f"rounding of {case.dtype} hides relative errors below {leaf.resolution:.1e} here"
    if case.dtype == np.float64:
        return Judgement("undecided", f"{hidden}: the terms of this gradient cancel")
    return Judgement("undecided", f"{hidden}; claim the gradient in float64")


def _unexplained(case: Case, leaf: Leaf) -> str:
    """Say what can be said of a wrong leaf that no known mistake explains."""
    claimed, true = leaf.claimed, leaf.true
    bad = claimed.size - int(np.isfinite(claimed).sum())
    if bad:
        return f"not finite in {bad} of {claimed.size} entries"
    if claimed.shape != true.shape:
        got, expected = list(claimed.shape), list(true.shape)
        return f"shape {got} where {expected} is expected; no known mistake explains it"
    if _is_float32(case, leaf):
        return "agrees to float32 rounding, and may have been computed in it or by differences"
    if leaf.is_zero:
        return "the true gradient is zero here; no known mistake explains this one"
    if explaining.can_be_explained(leaf):
        return _UNKNOWN
    return f"too close to the rounding of {case.dtype} to tell one mistake from another"


def _is_true(leaf: Leaf, coarser: float = 1.0) -> bool:
    """Whether a claimed leaf is the true one to rounding, or to so many times as much."""
    return leaf.error <= coarser * leaf.rounding


def _is_float32(case: Case, leaf: Leaf) -> bool:
    """Whether it is the true one to what float32 would have rounded."""
    return _is_true(leaf, max(epsilon(np.float32) / epsilon(case.dtype), 1.0))


def row(leaf: Leaf, outcome: finite.Outcome, judgement: Judgement, shown: tuple[str, str]) -> Row:
    """Give the row of a leaf; shown: its wrong and its right formula."""
    claimed, true = leaf.claimed, leaf.true
    norms = float(np.linalg.norm(claimed)), float(np.linalg.norm(true))
    error = cosine = math.nan
    if claimed.shape == true.shape:
        error = leaf.error / (max(norms) or 1.0)
        if min(norms) > 0:
            cosine = float(np.vdot(claimed, true)) / (norms[0] * norms[1])
    return Row(
        name=leaf.name,
        shape=true.shape,
        claimed=claimed,
        true=true,
        relative_error=error,
        cosine=cosine,
        resolution=leaf.resolution,
        finite_differences=outcome.difference,
        verdict=judgement.verdict,
        diagnosis="; ".join(text for text in (judgement.diagnosis, leaf.note) if text),
        wrong_formula=shown[0],
        right_formula=shown[1],
        signal=judgement.signal,
    )


def mended(row: Row) -> Row:
    """Give the row of a leaf for which a line was found that makes it right."""
    return row._replace(diagnosis=_MENDED) if row.diagnosis == _UNKNOWN else row


def summary(case: Case, rows: list[Row], readings: Readings, outcomes: list[finite.Outcome]) -> str:
    """Say in words what all rows come to."""
    counts = {v: sum(row.verdict == v for row in rows) for v in ("right", "wrong", "undecided")}
    tally = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    examples = f"{case.rows} example{'s' if case.rows > 1 else ''}"
    parts = [f"{tally}, of {len(rows)} parameters over {examples} in {case.dtype}."]
    wrong = [index for index, row in enumerate(rows) if row.verdict == "wrong"]
    parts += _one_reason(wrong, readings)
    if case.rows == 1:
        parts.append("One example cannot tell a sum over the batch from a mean.")
    if any(outcome.kink for outcome in outcomes):
        parts.append("The loss has a kink here: where it has, autodiff's choice of slope is taken.")
    if any(math.isnan(row.finite_differences) for row in rows):
        parts.append("Finite differences were too coarse to referee autodiff in every parameter.")
    if case.chain is None and any("no known" in rows[index].diagnosis for index in wrong):
        parts.append("Layers were not examined: the loss is no chain of fully connected layers.")
    elif wrong and case.chain:
        parts += _where_signals_go_wrong(rows, case.chain)
    return " ".join(parts)


def _one_reason(wrong: list[int], readings: Readings) -> list[str]:
    """Say it where one mistake explains every wrong leaf."""
    reasons = [{each.reason for each in readings.get(index, [])} for index in wrong]
    if len(wrong) < 2 or not (common := set.intersection(*reasons)):
        return []
    (first, *_) = (each.reason for each in readings[wrong[0]] if each.reason in common)
    return [f"One reason for all that is wrong: {first}."] if len(common) == 1 else []


def _where_signals_go_wrong(rows: list[Row], chain: Chain) -> list[str]:
    """Name the layer nearest the output whose error signal a named mistake made wrong."""
    leaves = [(layer.weight_leaf, layer.bias_leaf) for layer in chain.layers]
    owned = [[rows[index] for index in both if index is not None] for both in leaves]
    gone = [layer for layer, own in enumerate(owned) if any(row.signal for row in own)]
    if not gone:
        return []
    if gone[-1] == len(owned) - 1:
        return ["The error signal is wrong from the output layer on."]
    # One leaf that is right shows that the signal it is made of is.
    shown = all(any(row.verdict == "right" for row in own) for own in owned[gone[-1] + 1 :])
    right = "is right at the output layer and first goes" if shown else "goes"
    return [f"The error signal {right} wrong at hidden layer {gone[-1] + 1}."]

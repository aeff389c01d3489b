"""Audit of a claimed gradient: is it right, and if not, what was done wrong, and where.

What is asked is read (`entry`) and compared with autodiff in float64 (`measured`), and finite
differences referee autodiff (`finite`). A wrong leaf is compared with the gradients that known
mistakes give (`explaining`, `mistakes`); what none of them explains is called unexplained. Of a
function lines are changed until it is right (`proving`, `corrections`).

Shapes: N examples.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jaxtyping import PyTree

from jaxnet import losses
from jaxnet._guards import versions
from jaxnet.audit import display, entry, explaining, finite, formulas, inexact, judging, proving
from jaxnet.audit.case import Case
from jaxnet.audit.explaining import Readings
from jaxnet.audit.factors import another_size
from jaxnet.audit.measured import measure, rounded_as
from jaxnet.audit.numpy_loss import unlogged
from jaxnet.audit.rows import Correction, Row


class Audit(NamedTuple):
    """The audit of a claimed gradient, one row per parameter; printed, it is a table.

    Attributes:
        rows: one per parameter, in the order of the pytree.
        examples: N.
        dtype: of the claimed gradient.
        summary: in words, with the layer where the error signal of a network first goes wrong.
        corrections: the lines of a claim given as a function with which, when they are changed,
            gradients are right, in the order of their lines.
    """

    rows: tuple[Row, ...]
    examples: int
    dtype: str
    summary: str
    corrections: tuple[Correction, ...] = ()

    @property
    def right(self) -> bool:
        """Whether every parameter's gradient is right."""
        return all(row.verdict == "right" for row in self.rows)

    @property
    def figures(self) -> str:
        """All figures of the rows, as a table of text."""
        return display.figures(self.rows)

    def __str__(self) -> str:
        """Lay the rows out as text, with the cause and the formulas under each wrong one."""
        return display.text(self.rows, self.summary, self.corrections)

    def _repr_html_(self) -> str:
        return display.html(self.rows, self.summary, self.corrections)


def audit(
    loss: Callable[..., Any],
    params: PyTree,
    batch: PyTree,
    claimed: PyTree | Callable[..., PyTree] | losses.Rule,
) -> Audit:
    """Compare a claimed gradient with the true one; name the mistake that explains a wrong leaf.

    Where the loss is a chain of fully connected layers, however it is written, the layer at which
    the error signal first goes wrong is named too. Where numbers coincide, as a sum over 2 examples
    and a doubling do, all is said that they may mean; a claim given as a function is asked about a
    batch of another size, to choose.

    Where a function claims what is wrong, its lines are changed, in memory and only meanwhile, and
    it runs again on copies, within bounds, until the gradient is right: `corrections` says which
    lines those are. That is not done to a function that could do more than to compute.

    Functions of NumPy arrays are taken as they are. Finite differences of the loss itself referee;
    where JAX can trace it by NumPy's protocols the true gradient is autodiff's, else it is by
    finite differences too. What a function does besides, such as changing its arguments (it is
    given copies), drawing random numbers or printing, is named. A network that keeps its weights
    as attributes is audited by `params = {"W1": network.W1, ...}` and a loss that puts them into a
    copy of it: `vars(network).update(params)`.

    Args:
        loss: `(params, batch) -> []`, or of the parts of a batch that is a tuple, one by one:
            `(params, x, y)`.
        params: where the gradient is claimed; real floating-point arrays in a pytree, such as a
            dict. A list of numbers is an array.
        batch: N examples, a pytree of arrays; the axis that the loss takes the examples along,
            such as the last of `x [I, N]`, is found. One example may come without an axis.
        claimed: a pytree of the structure of `params`, leaves of any shape, or a function that
            takes what the loss does and gives one, or a `Rule` of value and gradient. Names may
            begin with a d (`dW1` for `W1`), and dicts be lists in the same order; `[n]` for
            `[n, 1]` is read by value, and noted.

    Raises:
        InputError: params or batch that are not finite, empty or not numbers; a loss
            that is not a real scalar, or has no finite gradient here; a claim that is complex or
            can be matched with `params` in no way or in several; a function whose two calls give
            different values.
    """
    versions.check()
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

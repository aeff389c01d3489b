"""The mistakes people make when they derive gradients by hand, each as the gradient it gives.

A diagnosis is a comparison: every known mistake is carried out on the same parameters and batch,
and the one whose gradient is the claimed gradient, to rounding, is named. Tiers come simplest first
and are generated only while something stays unexplained.

Whatever the loss: `leaves`, `steps`, `terms`, `elsewhere`. Of a chain of layers, `signals` searches
from the output on: `outputs` (`last`, `output_errors`, `output_slopes`), `backward` (`hidden_sent`,
`hidden_slopes`), `formed`, and numbers that are fitted (`fits`). Of any other program, `program`
goes wrong on purpose at all `places`: `segments`, `paths`, `products`, `normalisations`, `windows`,
`positions`, or in the loss itself (`rewritten`).
"""

from collections.abc import Iterator, Sequence

from jaxnet.audit.case import Case, Factor, Mistake, Tier
from jaxnet.audit.mistakes.elsewhere import elsewhere
from jaxnet.audit.mistakes.leaves import (
    MOST,
    counted,
    misplaced,
    unreached,
    unscaled,
    unspread,
    unsummed,
)
from jaxnet.audit.mistakes.program import in_program
from jaxnet.audit.mistakes.signals import penalised, signals
from jaxnet.audit.mistakes.steps import clips, steps
from jaxnet.audit.mistakes.terms import terms
from jaxnet.audit.numpy_loss import NumPyLoss

# Per-example gradients of more numbers than this are not formed, where each is a finite difference.
_MOST_MEASURED = 2**13


def tiers(case: Case, factors: Sequence[Factor]) -> Iterator[Tier]:
    """Give the known mistakes, simplest first, each tier computed when asked for.

    Args:
        case: whose leaves are explained.
        factors: that have a meaning, by which a gradient may be off as well.
    """
    right = {i: [Mistake("", true)] for i, true in enumerate(case.true)}
    others = clips(case), unscaled(case)
    yield {
        index: [*mistakes, *(each for tier in others for each in tier.get(index, []))]
        for index, mistakes in right.items()
    }
    yield steps(case)
    yield misplaced(case)
    measured = _is_measured(case)
    if case.rows * sum(true.size for true in case.true) <= (_MOST_MEASURED if measured else MOST):
        yield unsummed(case)
    yield counted(case)
    yield terms(case)
    if layers := case.chain:
        yield from signals(case, layers, factors)
        yield from penalised(case, layers, factors)
    yield placed(case)
    yield unreached(case) | unspread(case)
    # What is not compiled takes its time.
    if not measured and not (isinstance(case.loss, NumPyLoss) and case.loss.is_long):
        yield elsewhere(case)


def placed(case: Case) -> Tier:
    """Give the mistakes at places in the loss's program."""
    return {} if _is_measured(case) else in_program(case)


def _is_measured(case: Case) -> bool:
    """Tell of finite differences, which take time, and are not differentiated again."""
    return isinstance(case.loss, NumPyLoss) and not case.loss.program

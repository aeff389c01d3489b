"""The mistakes people make when they derive gradients by hand, each as the gradient it gives.

A diagnosis is a comparison: every known mistake is carried out on the same parameters and batch,
and the one whose gradient is the claimed gradient, to rounding, is named. Tiers come simplest first
and are generated only while something stays unexplained.
"""

from collections.abc import Iterator

from jaxnet.audit import chain
from jaxnet.audit.case import Case, Mistake, Tier
from jaxnet.audit.mistakes.elsewhere import elsewhere
from jaxnet.audit.mistakes.leaves import MOST, misplaced, regularised, unsummed
from jaxnet.audit.mistakes.signals import signals, updated_weights, weight_inputs
from jaxnet.audit.numpy_loss import NumPyLoss

# The same where each number is a finite difference.
_MOST_MEASURED = 2**13


def tiers(case: Case) -> Iterator[Tier]:
    """Give the known mistakes, simplest first, each tier computed when asked for."""
    yield {i: [Mistake("", true, any_factor=True)] for i, true in enumerate(case.true)}
    yield misplaced(case)
    # Finite differences take time, and are not differentiated again.
    measured = isinstance(case.loss, NumPyLoss) and not case.loss.program
    if case.rows * sum(true.size for true in case.true) <= (_MOST_MEASURED if measured else MOST):
        yield unsummed(case)
    yield regularised(case)
    if layers := chain.of_case(case):
        yield weight_inputs(layers)
        yield signals(case, layers, combined=False)
        yield signals(case, layers, combined=True)
        yield updated_weights(case, layers)
    # Nor is what is not compiled searched.
    if not measured and not (isinstance(case.loss, NumPyLoss) and case.loss.is_long):
        yield elsewhere(case)

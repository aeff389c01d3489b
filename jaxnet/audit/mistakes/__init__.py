"""The mistakes people make when they derive gradients by hand, each as the gradient it gives.

A diagnosis is a comparison: every known mistake is carried out on the same parameters and batch,
and the one whose gradient is the claimed gradient, to rounding, is named. Tiers come simplest first
and are generated only while something stays unexplained.
"""

from collections.abc import Iterator

from jaxnet.audit.case import Case, Factors, Mistake, Tier
from jaxnet.audit.mistakes.elsewhere import elsewhere
from jaxnet.audit.mistakes.leaves import MOST, misplaced, unsummed
from jaxnet.audit.mistakes.signals import signals
from jaxnet.audit.mistakes.steps import clips, steps
from jaxnet.audit.mistakes.terms import terms


def tiers(case: Case, factors: Factors) -> Iterator[Tier]:
    """Give the known mistakes, simplest first, each tier computed when asked for.

    Args:
        case: whose leaves are explained.
        factors: that have a meaning, in words, by which a gradient may be off as well.
    """
    right = {i: [Mistake("", true)] for i, true in enumerate(case.true)}
    clipped = clips(case)
    yield {index: [*mistakes, *clipped.get(index, [])] for index, mistakes in right.items()}
    yield steps(case)
    yield misplaced(case)
    if case.rows * sum(true.size for true in case.true) <= MOST:
        yield unsummed(case)
    yield terms(case)
    if layers := case.chain:
        yield from signals(case, layers, factors)
    yield elsewhere(case)

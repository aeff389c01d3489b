"""The mistakes people make when they derive gradients by hand, each as the gradient it gives.

A diagnosis is a comparison: every known mistake is carried out on the same parameters and batch,
and the one whose gradient is the claimed gradient, to rounding, is named. Tiers come simplest first
and are generated only while something stays unexplained.
"""

from collections.abc import Iterator

from jaxnet.audit.case import Case, Mistake, Tier
from jaxnet.audit.mistakes.elsewhere import elsewhere
from jaxnet.audit.mistakes.leaves import MOST, misplaced, regularised, unsummed
from jaxnet.audit.mistakes.program import in_program
from jaxnet.audit.mistakes.signals import signals, updated_weights, weight_inputs


def tiers(case: Case) -> Iterator[Tier]:
    """Give the known mistakes, simplest first, each tier computed when asked for."""
    yield {i: [Mistake("", true, any_factor=True)] for i, true in enumerate(case.true)}
    yield misplaced(case)
    if case.rows * sum(true.size for true in case.true) <= MOST:
        yield unsummed(case)
    yield regularised(case)
    if layers := case.chain:
        yield weight_inputs(layers)
        yield signals(case, layers, combined=False)
        yield signals(case, layers, combined=True)
        yield updated_weights(case, layers)
    else:
        yield in_program(case)
    yield elsewhere(case)

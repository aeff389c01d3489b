"""What a reader of a comparison should not conclude from it, in sentences."""

from collections.abc import Iterator

from jaxnet._guards.defaults import MULTIPLIER, rate_of
from jaxnet.compare import Comparison, statistics, verdicts
from jaxnet.report import columns


def of(comparison: Comparison) -> list[str]:
    """Give the caveats of a comparison: of how it was made, then of what came out."""
    return [*_of_the_protocol(comparison), *_of_the_runs(comparison)]


def _of_the_protocol(comparison: Comparison) -> Iterator[str]:
    protocol, replicates = comparison.protocol, comparison.protocol.replicates
    judged = protocol.judging.data
    yield (
        "It is about this task, this budget of steps and this protocol: another task may rank the "
        "optimizers otherwise."
    )
    if all(each.axes.keys() == {rate_of(each.axes)} for each in protocol.optimizers.values()):
        yield "Only the learning rate was tuned; an optimizer with other settings may do better."
    if made := [name for name, each in protocol.optimizers.items() if MULTIPLIER in each.axes]:
        yield (
            "Made already, and tuned by a multiplier of the updates in place of a learning rate: "
            f"{', '.join(made)}."
        )
    if protocol.rows and judged == "training":
        yield (
            "The losses are of the data trained on, taken before each update at the parameters "
            "trained, and say nothing of data not seen."
        )
    if judged == "validation":
        yield (
            "The losses are of the very data that settings were chosen on, though of other seeds."
        )
    rows = f"the {protocol.rows[judged]} rows judged on are" if protocol.rows else "the task is"
    yield f"The intervals are over replicates alone: {rows} always the same."
    fewest = statistics.fewest(verdicts.alpha(protocol)) if comparison.pairs else 1
    if replicates < fewest:
        yield (
            f"Of so many optimizers {replicates} replicate{'s' * (replicates > 1)} can tell none "
            f"apart; it takes at least {fewest}."
        )
    yield "Times are those of one machine, and of programs that run many seeds at once."
    if protocol.judging.by == "seconds":
        yield (
            "A step is timed in the replicate's own run, in turn with the other optimizers: what "
            "differs from one timing to the next is in the test, what differs from one compiled "
            "program to another of the same optimizer, a few percent, is not."
        )


def _of_the_runs(comparison: Comparison) -> Iterator[str]:
    every = comparison.ran
    if earlier := columns.earlier(comparison):
        yield earlier
    trials = {each.trials for each in every}
    if trials == {1}:
        yield "Only one setting was tried, so nothing was tuned."
    if len(trials) > 1:
        yield "The optimizers had budgets of unequal trials, as the column of trials says."
    if any(each.verdict == "not told apart" for each in every):
        yield (
            "Not told apart is not the same as equal; what such replicates would have told stands "
            "in the table of what was searched."
        )
    if beyond := [each.optimizer for each in every if each.beyond > 0.5]:
        yield (
            "Most replicates picked a rate beyond the range searched, of which there were "
            f"fewer trials: {', '.join(beyond)}."
        )
    if lost := [each.optimizer for each in every if each.failed]:
        yield (
            "Some replicates failed. They are tested by themselves, and left out of the difference "
            f"in loss: {', '.join(lost)}."
        )

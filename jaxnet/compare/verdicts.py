"""What a comparison says of each optimizer, of its runs and those of plain SGD.

Shapes: E measurements along a run, S seeds, L learning rates.
"""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from jaxnet.compare import statistics
from jaxnet.compare.protocol import Protocol
from jaxnet.compare.runs import PHASES, Record, Runs
from jaxnet.compare.statistics import Interval, Paired

# A learning rate forgives if its loss is within this factor of the best rate's.
WITHIN = 1.1
_NOTHING = Interval(math.nan, math.nan, math.nan)


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the comparison says of one optimizer, of its runs at the tuned rate on fresh seeds.

    A run that diverged counts as worse than every run that did not; a figure that it would make
    infinite is nan, and shown as a dash.

    Attributes:
        optimizer: its name.
        learning_rate: the tuned one. at_edge: "", or "lowest" or "highest" where it is still the
            end of its range after extending it. rates: how many rates were tried; trials: runs.
        diverged: how many of the runs at the tuned rate.
        median: final loss over seeds. mean: its interquartile mean. best: lowest loss on the way.
        metrics: by name, the interquartile mean of each metric at the end.
        default: interquartile mean of the final loss at the customary rate, `default_rate`.
        difference: to plain SGD, paired by seed; below zero is better; None for SGD itself.
        p_value: of the paired test; adjusted: corrected for all the optimizers (Holm).
        verdict: "baseline", "better", "worse", "not told apart" or "cannot run".
        seeds_needed: how many seeds would tell a difference as large as the one seen; None where
            it is told already or cannot be foreseen.
        sentence: all that, in words.
        steps_to_target: median over seeds, runs that never reach it censored; nan where over half
            never do. reached: how many runs do.
        forgiving: share of the tried rates within a factor `WITHIN` of the best rate's loss.
        best_of: shape [L], the expected final loss of the best of k rates tried, for k = 1 to L.
        evaluations: of a run, median. compile_seconds: once. run_seconds: of all its runs.
        step_seconds: of one step of one run.
    """

    optimizer: str
    verdict: str = "baseline"
    sentence: str = ""
    learning_rate: float = math.nan
    at_edge: str = ""
    rates: int = 0
    trials: int = 0
    diverged: int = 0
    median: Interval = _NOTHING
    mean: Interval = _NOTHING
    best: Interval = _NOTHING
    metrics: Mapping[str, Interval] = dataclasses.field(default_factory=dict)
    default_rate: float = math.nan
    default: Interval = _NOTHING
    difference: Interval | None = None
    p_value: float = math.nan
    adjusted: float = math.nan
    seeds_needed: int | None = None
    steps_to_target: Interval = _NOTHING
    reached: int = 0
    forgiving: float = math.nan
    best_of: Float[np.ndarray, " L"] = dataclasses.field(default_factory=lambda: np.zeros(0))
    evaluations: float = math.nan
    compile_seconds: float = math.nan
    run_seconds: float = math.nan
    step_seconds: float = math.nan


def target(record: Record) -> float:
    """Give the loss that steps to it are counted to; nan where there is none."""
    protocol = record.protocol
    if protocol.judging.target is not None:
        return protocol.judging.target
    plain = record.phase("tuned")[protocol.baseline]
    middle = float(np.median(plain.final(protocol.tuning.data)))
    # Where half of its runs diverged there is none to reach.
    return middle if math.isfinite(middle) else math.nan


def answers(record: Record, target: float) -> list[Answer]:
    """Answer for each optimizer: figures, then what the test says of them, then words.

    Args:
        record: runs, and what is known of them.
        target: the loss that steps to it are counted to.

    Returns:
        Plain SGD's, the others' best first, and last those that cannot run.
    """
    protocol, log = record.protocol, record.log
    finals = {
        name: runs.final(protocol.judging.data) for name, runs in record.phase("tuned").items()
    }
    baseline = finals[protocol.baseline]
    pairs = {
        name: statistics.paired(final, baseline)
        for name, final in finals.items()
        if name != protocol.baseline
    }
    adjusted = statistics.holm(np.array([each.p_value for each in pairs.values()]))
    figures = {name: _figures(record, name, target) for name in finals}
    for (name, pair), p_value in zip(pairs.items(), adjusted.tolist(), strict=True):
        answer = _tested(figures[name], pair, p_value, protocol)
        if answer.verdict == "not told apart" and pair.difference.estimate:
            needed = _seeds_needed(finals[name], baseline, protocol)
            answer = dataclasses.replace(answer, seeds_needed=needed)
        figures[name] = answer
    first, *others = (_worded(answer, record) for answer in figures.values())
    others.sort(key=lambda each: (math.isnan(each.mean.estimate), each.mean.estimate))
    return [first, *others, *(_unable(name, why) for name, why in log.unable.items())]


def _figures(record: Record, name: str, target: float) -> Answer:
    """Give what the runs of an optimizer say, beside no other's."""
    protocol, seconds = record.protocol, record.log.seconds[name]
    tuning, tuned, default = (record.phase(phase)[name] for phase in PHASES)
    judged = protocol.judging.data
    final, curves = tuned.final(judged), tuned.curves(record.steps)
    rate, edge = tuning.best_rate()
    tried = tuning.by_rate()[1]
    times = statistics.steps_to_target(curves, record.steps, target)
    return Answer(
        optimizer=name,
        learning_rate=rate,
        at_edge=edge,
        rates=len(tried),
        trials=len(tuning.seed),
        diverged=int(np.sum(np.isinf(final))),
        median=statistics.median(final),
        mean=statistics.interquartile_mean(final),
        best=statistics.interquartile_mean(curves.min(axis=1)),
        metrics=_metrics(tuned, judged),
        default_rate=protocol.optimizers[name].customary_rate,
        default=statistics.interquartile_mean(default.final(judged)),
        steps_to_target=times.median,
        reached=times.reached,
        forgiving=statistics.share_within(tried, WITHIN),
        best_of=statistics.best_of(tried),
        evaluations=float(np.median(tuned.evaluations)),
        compile_seconds=seconds.compile,
        run_seconds=seconds.run,
        step_seconds=seconds.step,
    )


def _metrics(tuned: Runs, judged: str) -> dict[str, Interval]:
    last = {name: values[:, -1] for name, values in tuned.validation.items()}
    return {
        name: statistics.interquartile_mean(np.where(np.isfinite(values), values, np.inf))
        for name, values in (tuned.test if judged == "test" else last).items()
        if name != "loss"
    }


def _tested(answer: Answer, pair: Paired, adjusted: float, protocol: Protocol) -> Answer:
    return dataclasses.replace(
        answer,
        difference=pair.difference,
        p_value=pair.p_value,
        adjusted=adjusted,
        verdict=statistics.verdict(adjusted, pair, protocol.judging.level),
    )


def _unable(name: str, why: str) -> Answer:
    """Say that an optimizer cannot step from these parameters, and why."""
    said = f"{name} cannot run on these parameters: {why}."
    return Answer(optimizer=name, verdict="cannot run", sentence=said)


def _seeds_needed(
    final: Float[np.ndarray, " S"], baseline: Float[np.ndarray, " S"], protocol: Protocol
) -> int | None:
    """Foresee how many seeds would tell; the fewest that can, where every seed leans one way."""
    tests, level = len(protocol.optimizers) - 1, protocol.judging.level
    if not (np.isfinite(final).all() and np.isfinite(baseline).all()):
        return None
    if len(final) > 2 and abs(np.sign(final - baseline).sum()) == len(final):
        return statistics.fewest_seeds(tests, level)
    return statistics.seeds_needed(final - baseline, level, tests=tests)


def _worded(answer: Answer, record: Record) -> Answer:
    ended = math.isfinite(record.phase("tuning")[answer.optimizer].by_rate()[1].min())
    said = _sentence(answer, record.protocol, ended)
    why = record.log.reasons.get(answer.optimizer)
    return dataclasses.replace(answer, sentence=f"{said} Of one, {why}." if why else said)


def _sentence(answer: Answer, protocol: Protocol, ended: bool) -> str:
    """Say in words what an answer says in figures; `ended`: whether any rate tried did."""
    seeds, fewest = len(protocol.judging.seeds), protocol.judging.fewest_seeds
    many, name, apart = f"{seeds} seed{'s' if seeds > 1 else ''}", answer.optimizer, ""
    difference, p = answer.difference, f"p = {answer.adjusted:.2g} corrected for all comparisons"
    unsure = answer.verdict == "not told apart"
    lost = math.isnan(answer.mean.estimate) and unsure
    if difference and not (lost or math.isnan(difference.estimate)):
        apart = f": {protocol.judging.data} loss {_apart(difference)}"
    if difference is None:
        said = f"Plain SGD, at its tuned rate {answer.learning_rate:.3g}, is the baseline."
    elif unsure:
        said = f"{name} and plain SGD are not told apart by {many}{apart}, {p}."
        if seeds < fewest:
            said += f" So few cannot tell: give at least {fewest}."
        if answer.seeds_needed:
            said += f" About {answer.seeds_needed} seeds would tell a difference as large."
    else:
        said = f"{name} is {answer.verdict} than plain SGD{apart}, {p}, {many}."
    if answer.at_edge and ended:
        said += (
            f" Its best rate is still the {answer.at_edge} tried, so it may do better beyond: "
            "give it a range of its own."
        )
    return said + (f" {answer.diverged} of {many} diverged." if answer.diverged else "")


def _apart(difference: Interval) -> str:
    estimate, low, high = difference
    side = "lower" if estimate < 0 else "higher"
    said = f"{side} by {abs(estimate):.3g}" if estimate else "the same"
    if math.isfinite(low) and math.isfinite(high):
        said += f" (95% interval of the difference {low:+.3g} to {high:+.3g})"
    return said

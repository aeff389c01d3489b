"""What a comparison says of one optimizer, of its runs and those of plain SGD.

Shapes: E measurements along a run, S seeds, L learning rates.
"""

import collections
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxnet.compare import statistics
from jaxnet.compare.runs import Runs
from jaxnet.compare.statistics import Interval

LEVEL = 0.05
# A learning rate forgives if its loss is within this factor of the best rate's.
WITHIN = 1.1


class Answer(NamedTuple):
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
    learning_rate: float
    at_edge: str
    rates: int
    trials: int
    diverged: int
    median: Interval
    mean: Interval
    best: Interval
    metrics: dict[str, Interval]
    default_rate: float
    default: Interval
    difference: Interval | None
    p_value: float
    adjusted: float
    verdict: str
    seeds_needed: int | None
    sentence: str
    steps_to_target: Interval
    reached: int
    forgiving: float
    best_of: Float[np.ndarray, " L"]
    evaluations: float
    compile_seconds: float
    run_seconds: float
    step_seconds: float


def answer(
    protocol: dict[str, Any],
    steps: Int[np.ndarray, " E"],
    runs: Mapping[str, Runs],
    baseline: Float[np.ndarray, " S"],
    against: tuple[statistics.Paired, float] | None,
    target: float,
    seconds: dict[str, float],
    reasons: Mapping[str, str],
) -> Answer:
    """Say what the runs of an optimizer say.

    Args:
        protocol: as of a comparison.
        steps: shape [E], steps done at each measurement.
        runs: its own, by phase.
        baseline: shape [S], the final losses of plain SGD.
        against: the optimizer paired with plain SGD, and the adjusted p-value; None of SGD itself.
        target: the loss that steps to it are counted to; nan where there is none.
        seconds: to "compile", to "run" all of it, and of a "step" of one run.
        reasons: by optimizer, why one of its runs diverged.
    """
    tuning, tuned, judged = runs["tuning"], runs["tuned"], protocol["judged"]
    final, curves = tuned.final(judged), tuned.curves(steps)
    rate, edge = tuning.best_rate()
    tried = tuning.by_rate()[1]
    last = {name: values[:, -1] for name, values in tuned.validation.items()}
    metrics = {
        name: statistics.interquartile_mean(np.where(np.isfinite(values), values, np.inf))
        for name, values in (tuned.test if judged == "test" else last).items()
        if name != "loss"
    }
    times = statistics.steps_to_target(curves, steps, target)
    difference, p_value, adjusted, verdict, needed = None, math.nan, math.nan, "baseline", None
    if against:
        (difference, p_value, _), adjusted = against
        verdict = statistics.verdict(adjusted, against[0], LEVEL)
        if verdict == "not told apart" and difference.estimate:
            needed = _seeds_needed(final, baseline, len(protocol["optimizers"]) - 1)
    wordless = Answer(
        optimizer=tuned.optimizer,
        learning_rate=rate,
        at_edge=edge,
        rates=len(tried),
        trials=len(tuning.seed),
        diverged=int(np.sum(np.isinf(final))),
        median=statistics.median(final),
        mean=statistics.interquartile_mean(final),
        best=statistics.interquartile_mean(curves.min(axis=1)),
        metrics=metrics,
        default_rate=protocol["optimizers"][tuned.optimizer]["customary_rate"],
        default=statistics.interquartile_mean(runs["default"].final(judged)),
        difference=difference,
        p_value=p_value,
        adjusted=adjusted,
        verdict=verdict,
        seeds_needed=needed,
        sentence="",
        steps_to_target=times.median,
        reached=times.reached,
        forgiving=statistics.share_within(tried, WITHIN),
        best_of=statistics.best_of(tried),
        evaluations=float(np.median(tuned.evaluations)),
        compile_seconds=seconds["compile"],
        run_seconds=seconds["run"],
        step_seconds=seconds["step"],
    )
    best = float(np.min(tried))
    said = _sentence(wordless, protocol, len(final), math.isfinite(best))
    why = reasons.get(tuned.optimizer)
    return wordless._replace(sentence=f"{said} Of one, {why}." if why else said)


def unable(name: str, why: str) -> Answer:
    """Say that an optimizer cannot step from these parameters, and why."""
    nothing = Interval(math.nan, math.nan, math.nan)
    return Answer(
        optimizer=name,
        learning_rate=math.nan,
        at_edge="",
        rates=0,
        trials=0,
        diverged=0,
        median=nothing,
        mean=nothing,
        best=nothing,
        metrics=collections.defaultdict(lambda: nothing),
        default_rate=math.nan,
        default=nothing,
        difference=None,
        p_value=math.nan,
        adjusted=math.nan,
        verdict="cannot run",
        seeds_needed=None,
        sentence=f"{name} cannot run on these parameters: {why}.",
        steps_to_target=nothing,
        reached=0,
        forgiving=math.nan,
        best_of=np.zeros(0),
        evaluations=math.nan,
        compile_seconds=math.nan,
        run_seconds=math.nan,
        step_seconds=math.nan,
    )


def _seeds_needed(
    final: Float[np.ndarray, " S"], baseline: Float[np.ndarray, " S"], tests: int
) -> int | None:
    """Foresee how many seeds would tell; the fewest that can, where every seed leans one way."""
    if not (np.isfinite(final).all() and np.isfinite(baseline).all()):
        return None
    if len(final) > 2 and abs(np.sign(final - baseline).sum()) == len(final):
        return statistics.fewest_seeds(tests, LEVEL)
    return statistics.seeds_needed(final - baseline, LEVEL, tests=tests)


def _sentence(answer: Answer, protocol: dict[str, Any], seeds: int, ends: bool) -> str:
    """Say in words what an answer says in figures; `ends`: whether it does at any rate tried."""
    many, name, apart = f"{seeds} seed{'s' if seeds > 1 else ''}", answer.optimizer, ""
    difference, p = answer.difference, f"p = {answer.adjusted:.2g} corrected for all comparisons"
    unsure = answer.verdict == "not told apart"
    lost = math.isnan(answer.mean.estimate) and unsure
    if difference and not (lost or math.isnan(difference.estimate)):
        apart = f": {protocol['judged']} loss {_apart(difference)}"
    if difference is None:
        said = f"Plain SGD, at its tuned rate {answer.learning_rate:.3g}, is the baseline."
    elif unsure:
        said = f"{name} and plain SGD are not told apart by {many}{apart}, {p}."
        if seeds < protocol["fewest_seeds"]:
            said += f" So few cannot tell: give at least {protocol['fewest_seeds']}."
        if answer.seeds_needed:
            said += f" About {answer.seeds_needed} seeds would tell a difference as large."
    else:
        said = f"{name} is {answer.verdict} than plain SGD{apart}, {p}, {many}."
    if answer.at_edge and ends:
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

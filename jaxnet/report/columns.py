"""What a comparison says of every optimizer: as columns of a table, and in words."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxnet.compare import Answer, Comparison, Interval, Pair, statistics, verdicts
from jaxnet.compare.verdicts import WITHIN


class Cell(NamedTuple):
    """One figure: its text, what stands small beside it, and the number to sort by, or nan.

    `word`: the verdict that it shows, if it shows one, to filter by.
    """

    text: str
    detail: str = ""
    value: float = float("nan")
    word: str = ""


class Column(NamedTuple):
    """One thing said of every optimizer, best first; `note` tells what it is."""

    name: str
    note: str
    cells: list[Cell]


class _Tells(NamedTuple):
    """A column to be: what it is called, what it tells, and its cell of an answer."""

    name: str
    note: str
    cell: Callable[[Answer], Cell]


def line(cell: Cell) -> str:
    """Give a figure and what stands beside it as one line."""
    return f"{cell.text} {cell.detail}".strip()


def headline(comparison: Comparison) -> str:
    """Say in words what a comparison found."""
    protocol, others = comparison.protocol, comparison.answers[1:]
    baseline = "plain SGD" if protocol.baseline == "sgd" else protocol.baseline
    if not others:
        (alone,) = comparison.answers
        return f"{protocol.baseline} ran alone: {_line(alone.value)} {comparison.judged_by}."
    counts = {name: sum(each.verdict == name for each in others) for name in _ORDER}
    told = ", ".join(f"{n} {_MANY.get(v, v) if n > 1 else v}" for v, n in counts.items() if n)
    words = (
        f"Of {len(others)} optimizer{'s' * (len(others) > 1)} tuned and judged like {baseline}, "
        f"by {comparison.judged_by} in {protocol.replicates} replicates: {told}."
    )
    best = next((each for each in others if each.verdict == "better"), None)
    if best is None or best.pair is None:
        return f"{words} {_least(comparison)}".strip()
    return f"{words} The best, {best.optimizer}: {verdicts.apart(best.pair, protocol)}."


def _least(comparison: Comparison) -> str:
    """Say of the first that is not told apart what would have been told."""
    unsure = (each for each in comparison.answers if each.verdict == "not told apart")
    return next((each.sentence for each in unsure), "")


def columns(comparison: Comparison) -> list[Column]:
    """Give what a comparison says of every optimizer, the weightiest first."""
    groups = (
        _tested(comparison),
        _values(comparison),
        _settings(comparison),
        _ends(comparison),
        _costs(comparison),
    )
    answers = comparison.answers
    return [
        Column(each.name, each.note, [each.cell(a) for a in answers])
        for group in groups
        for each in group
    ]


def difference_head(comparison: Comparison) -> str:
    """Name the column of differences: how many times the baseline's, or how much from it."""
    ratio = any(pair.scale == "ratio" for pair in comparison.pairs)
    baseline = comparison.protocol.baseline
    baseline = "SGD" if baseline == "sgd" else baseline
    return f"times {baseline}'s" if ratio else f"difference to {baseline}"


def _level(comparison: Comparison) -> str:
    judging = comparison.protocol.judging
    return f"{100 * (1 - statistics.spent(len(judging.looks), judging.level)):.4g}%"


def _tested(comparison: Comparison) -> list[_Tells]:
    level, many = _level(comparison), len(comparison.pairs)
    return [
        _Tells(
            "verdict",
            "What the tests say of values and of failures.",
            lambda each: verdict_cell(each.verdict),
        ),
        _Tells(
            difference_head(comparison),
            f"Of the {comparison.judged_by}, replicate by replicate where neither failed, with an "
            f"interval that holds for all {many} comparisons at once in {level} of cases.",
            lambda each: _difference(each.pair) if each.pair else Cell("-"),
        ),
        _Tells(
            "p",
            "Of both tests, corrected for all comparisons and looks.",
            lambda each: _probability(each.pair.p_value) if each.pair else Cell("-"),
        ),
        _Tells(
            "would tell",
            "The smallest difference that such replicates tell in four of five comparisons.",
            lambda each: number_cell(each.pair.smallest_told, ".3g") if each.pair else Cell("-"),
        ),
    ]


def _values(comparison: Comparison) -> list[_Tells]:
    by, level = comparison.judged_by, _level(comparison)
    return [
        _Tells(
            by,
            "Where the replicates lie, each at the setting that it picked: what a user gets who "
            f"tunes; with a {level} interval.",
            lambda each: _interval(each.value),
        ),
        _Tells(
            "at the recommended setting",
            f"The {by} of the same seeds at the one setting to use in the end.",
            lambda each: _interval(each.recommended),
        ),
        _Tells(
            "at the customary setting",
            f"The {by} of the same seeds at the setting it usually has.",
            lambda each: _interval(each.customary),
        ),
        *(
            _Tells(
                name,
                "At the settings picked, at the end.",
                lambda each, name=name: _interval(each.metrics[name]) if each.trials else Cell("-"),
            )
            for name in comparison.protocol.metrics
        ),
    ]


def setting(answer: Answer) -> str:
    """Give the recommended setting in words, the learning rate first."""
    names = sorted(answer.setting, key=lambda name: (name != "learning_rate", name))
    return ", ".join(f"{_SHORT.get(name, name)} {answer.setting[name]:.3g}" for name in names)


def _settings(comparison: Comparison) -> list[_Tells]:
    seeds = comparison.protocol.tuning.seeds

    def picked(answer: Answer) -> Cell:
        if not answer.trials:
            return Cell("-")
        middle, low, high = answer.quartiles["learning_rate"]
        return Cell(f"{middle:.2g}", f"[{low:.2g}, {high:.2g}]", middle)

    return [
        _Tells(
            "setting to use",
            "The middle of what the replicates picked.",
            lambda each: Cell(setting(each) or "-"),
        ),
        _Tells(
            "rates picked",
            "The learning rates picked by the replicates: the median, and the middle half.",
            picked,
        ),
        _Tells(
            "beyond",
            "Share of replicates whose learning rate lies beyond the range searched.",
            lambda each: number_cell(each.beyond, ".0%") if each.trials else Cell("-"),
        ),
        _Tells(
            "trials",
            f"Settings tried in a replicate, on {seeds} seeds each.",
            lambda each: number_cell(each.trials),
        ),
        _Tells(
            "forgiving",
            f"Share of the first trials whose loss is within {WITHIN:g} times the replicate's "
            "best.",
            lambda each: number_cell(each.forgiving, ".0%"),
        ),
        _Tells(
            "what matters",
            "The share of the differences between trials that each hyperparameter explains alone.",
            lambda each: Cell(
                ", ".join(
                    f"{_SHORT.get(name, name)} {share:.0%}"
                    for name, share in sorted(each.effects.items(), key=lambda one: -one[1])
                )
                or "-"
            ),
        ),
    ]


def _ends(comparison: Comparison) -> list[_Tells]:
    total = comparison.protocol.replicates

    def share(answer: Answer, count: int) -> Cell:
        return Cell(f"{count} of {total}", "", count) if answer.trials else Cell("-")

    return [
        _Tells(
            "failed",
            "Replicates that diverged, or missed the target where it is judged.",
            lambda each: share(each, each.failed),
        ),
        _Tells(
            "steps to target",
            "Where the replicates lie; a dash where too many never get there.",
            lambda each: _interval(each.steps_to_target),
        ),
        _Tells(
            "reached",
            f"Replicates that reach the target, {comparison.target:.3g}.",
            lambda each: share(each, each.reached),
        ),
    ]


def _costs(comparison: Comparison) -> list[_Tells]:
    first = comparison.answers[0]
    plain = first.step_seconds or math.nan
    return [
        _Tells(
            "evaluations",
            "Gradients of a whole batch that one run computed, the median.",
            lambda each: number_cell(each.evaluations, ".6g"),
        ),
        _Tells(
            "compile s",
            "Seconds to trace and compile its program, side by side with the others.",
            lambda each: number_cell(each.compile_seconds, ".3g"),
        ),
        _Tells(
            "run s",
            "Seconds for all its runs, tuning included.",
            lambda each: number_cell(each.run_seconds, ".3g"),
        ),
        _Tells(
            f"step / {first.optimizer}'s",
            "Time of one step of one run, at its fastest, as a multiple of the baseline's.",
            lambda each: number_cell(each.step_seconds / plain, ".2f"),
        ),
    ]


_ORDER = (
    "better",
    "fails less often",
    "as good",
    "not told apart",
    "worse",
    "fails more often",
    "cannot run",
    "baseline",
)
_MANY = {"fails less often": "fail less often", "fails more often": "fail more often"}
_SHORT = {"learning_rate": "rate", "weight_decay": "decay"}


def verdict_cell(verdict: str) -> Cell:
    """Show a verdict, to be sorted from better to worse."""
    return Cell(verdict, "", _ORDER.index(verdict), verdict)


def number_cell(value: int | float, shape: str = "") -> Cell:
    """Show a number in a format; a dash where it is not finite."""
    return Cell(f"{value:{shape}}" if np.isfinite(value) else "-", "", value)


def _probability(value: float) -> Cell:
    cell = number_cell(value, ".3f")
    return cell._replace(text="<0.001") if value < 0.001 else cell


def _difference(pair: Pair) -> Cell:
    return _interval(pair.difference, pair.same)


def _line(interval: Interval) -> str:
    return line(_interval(interval))


def _interval(interval: Interval, same: float = math.nan) -> Cell:
    estimate, low, high = interval
    if not np.isfinite(estimate):
        return Cell("-")
    shape = verdicts.digits(interval, same)
    bounds = "" if math.isnan(low) else f"[{low:{shape}}, {high:{shape}}]"
    return Cell(f"{estimate:{shape}}", bounds, estimate)

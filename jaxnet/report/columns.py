"""What a comparison says of every optimizer: as columns of a table, and in words."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxnet.compare import Answer, Comparison, Interval
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


class _Said(NamedTuple):
    """A column to be: what it is called, what it tells, and its cell of an answer."""

    name: str
    note: str
    cell: Callable[[Answer], Cell]


def line(cell: Cell) -> str:
    """Give a figure and what stands beside it as one line."""
    return f"{cell.text} {cell.detail}".strip()


def headline(comparison: Comparison) -> str:
    """Say in words what a comparison found."""
    loss = comparison.loss_name
    others = comparison.answers[1:]
    if not others:
        return f"Plain SGD ran alone: {line(_interval(comparison.answers[0].mean))} {loss}."
    counts = {name: sum(each.verdict == name for each in others) for name in _VERDICTS}
    found = (
        f"Of {len(others)} optimizer{'s' * (len(others) > 1)} tuned like plain SGD and judged by "
        f"{loss}, {counts['better']} found better, {counts['worse']} worse, "
        f"{counts['not told apart']} not told apart"
        + (f", {unable} could not run." if (unable := len(others) - sum(counts.values())) else ".")
    )
    best = next((each for each in others if each.verdict == "better"), None)
    if best is None or best.difference is None or not np.isfinite(best.difference.estimate):
        return found
    estimate, low, high = best.difference
    shape = _shape(best.difference)
    sure = f" (95% interval {-high:{shape}} to {-low:{shape}})" if np.isfinite(high - low) else ""
    return f"{found} The best, {best.optimizer}, ended lower by {-estimate:{shape}}{sure}."


def columns(comparison: Comparison) -> list[Column]:
    """Give what a comparison says of every optimizer, the weightiest first."""
    said = (
        *_tested(comparison),
        *_losses(comparison),
        *_rates(comparison),
        *_ends(comparison),
        *_costs(comparison),
    )
    answers = comparison.answers
    return [Column(each.name, each.note, [each.cell(a) for a in answers]) for each in said]


def _tested(comparison: Comparison) -> list[_Said]:
    return [
        _Said(
            "verdict",
            "What the paired test says, at the corrected p.",
            lambda each: verdict_cell(each.verdict),
        ),
        _Said(
            "difference to SGD",
            f"In {comparison.loss_name}, paired by seed, with its 95% interval; below zero is "
            "better.",
            lambda each: _interval(each.difference) if each.difference else Cell("-"),
        ),
        _Said(
            "adjusted p",
            "Of the paired test, corrected for the number of optimizers (Holm).",
            lambda each: _probability(each.adjusted),
        ),
    ]


def _losses(comparison: Comparison) -> list[_Said]:
    loss = comparison.loss_name
    return [
        _Said(
            loss,
            "Interquartile mean over seeds at the tuned rate, with its 95% interval.",
            lambda each: _interval(each.mean),
        ),
        _Said(
            "median",
            f"Of the {loss} over the same runs, with its 95% interval.",
            lambda each: _interval(each.median),
        ),
        _Said(
            "best on the way",
            "Lowest loss measured along a run, on the data tuned on.",
            lambda each: _interval(each.best),
        ),
        *(
            _Said(
                name,
                "Interquartile mean over seeds at the end, with its 95% interval.",
                lambda each, name=name: _interval(each.metrics[name]) if each.rates else Cell("-"),
            )
            for name in comparison.answers[0].metrics
        ),
    ]


def _rates(comparison: Comparison) -> list[_Said]:
    return [
        _Said(
            "tuned rate",
            "The learning rate chosen; (lowest) or (highest) where it is still the end of the "
            "rates tried, so that a better one may lie beyond.",
            lambda each: number_cell(each.learning_rate, ".3g")._replace(
                detail=f"({each.at_edge})" if each.at_edge else ""
            ),
        ),
        _Said(
            "rates tried",
            f"Learning rates, {len(comparison.protocol.tuning.seeds)} runs each.",
            lambda each: number_cell(each.rates),
        ),
        _Said(
            "forgiving",
            f"Share of the rates tried whose loss is within {WITHIN:g} times the best rate's.",
            lambda each: number_cell(each.forgiving, ".0%"),
        ),
        _Said(
            "customary rate",
            f"The {comparison.loss_name} at the customary learning rate, which stands beside it.",
            lambda each: _interval(each.default)._replace(
                detail=f"at {each.default_rate:.3g}" if each.rates else ""
            ),
        ),
    ]


def _ends(comparison: Comparison) -> list[_Said]:
    seeds = len(comparison.protocol.judging.seeds)

    def share(answer: Answer, count: int) -> Cell:
        return Cell(f"{count} of {seeds}", "", count) if answer.rates else Cell("-")

    return [
        _Said(
            "steps to target",
            "Median over seeds with its 95% interval; a dash where over half never get there.",
            lambda each: _interval(each.steps_to_target),
        ),
        _Said(
            "reached",
            f"Runs that reach the target, {comparison.target:.3g}.",
            lambda each: share(each, each.reached),
        ),
        _Said(
            "diverged",
            "Runs at the tuned rate whose loss ceased to be finite.",
            lambda each: share(each, each.diverged),
        ),
    ]


def _costs(comparison: Comparison) -> list[_Said]:
    plain = comparison.answers[0].step_seconds or math.nan
    return [
        _Said(
            "evaluations",
            "Gradients of a whole batch that one run computed, the median.",
            lambda each: number_cell(each.evaluations, ".6g"),
        ),
        _Said(
            "compile s",
            "Seconds to trace and compile its program, side by side with the others.",
            lambda each: number_cell(each.compile_seconds, ".3g"),
        ),
        _Said(
            "run s",
            "Seconds for all its runs, tuning included.",
            lambda each: number_cell(each.run_seconds, ".3g"),
        ),
        _Said(
            "step / SGD's",
            "Time of one step of one run, at its fastest, as a multiple of plain SGD's.",
            lambda each: number_cell(each.step_seconds / plain, ".2f"),
        ),
    ]


_VERDICTS = ("better", "not told apart", "worse")
_ORDER = (
    *("better", "fails less often", "as good", "not told apart", "worse", "fails more often"),
    *("cannot run", "baseline"),
)


def verdict_cell(verdict: str) -> Cell:
    """Show a verdict, to be sorted from better to worse."""
    return Cell(verdict, "", _ORDER.index(verdict), verdict)


def number_cell(value: int | float, shape: str = "") -> Cell:
    """Show a number in a format; a dash where it is not finite."""
    return Cell(f"{value:{shape}}" if np.isfinite(value) else "-", "", value)


def _probability(value: float) -> Cell:
    cell = number_cell(value, ".3f")
    return cell._replace(text="<0.001") if value < 0.001 else cell


def _interval(interval: Interval) -> Cell:
    estimate, low, high = interval
    if not np.isfinite(estimate):
        return Cell("-")
    shape = _shape(interval)
    bounds = f"[{low:{shape}}, {high:{shape}}]" if np.isfinite(high - low) else ""
    return Cell(f"{estimate:{shape}}", bounds, estimate)


def _shape(interval: Interval) -> str:
    """Give the format of two figures of the interval's width: more would be noise."""
    estimate, low, high = interval
    if not np.isfinite(high - low):
        return ".4g"
    # And as many as keep a bound on its side of zero.
    least = min([abs(bound) for bound in (low, high) if bound] or [1.0])
    width = min(high - low, 20 * least)
    decimals = int(np.clip(1 - np.floor(np.log10(max(width, 1e-12))), 0, 12))
    return f".{decimals}f" if decimals < 7 and abs(estimate) < 1e6 else ".3g"

"""What a comparison found, as tables in the terminal and in words (extra `experiments`)."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxnet.compare import statistics
from jaxnet.compare.comparison import Comparison
from jaxnet.compare.verdicts import WITHIN, Answer
from jaxnet.report import report


class Cell(NamedTuple):
    """One figure: its text, what stands small beside it, and the number to sort by, or nan."""

    text: str
    detail: str = ""
    value: float = float("nan")


class Column(NamedTuple):
    """One thing said of every optimizer, best first; `note` tells what it is."""

    name: str
    note: str
    cells: list[Cell]


def show(comparison: Comparison) -> None:
    """Print what a comparison found: as few tables as the terminal's width allows, then words."""
    console = report.terminal()
    names = [answer.optimizer for answer in comparison.answers]
    room = console.width - max(len("optimizer"), *map(len, names)) - 4
    title = report.encodable(console, comparison.protocol["title"])
    for group in _packed(columns(comparison), room):
        rows = zip(names, *(map(_line, column.cells) for column in group), strict=True)
        report.table(title, ("optimizer", *(column.name for column in group)), rows)
        title = ""
    # The answer comes last, where a terminal shows it.
    for words in (*(answer.sentence for answer in comparison.answers), headline(comparison)):
        console.print(report.encodable(console, f"\n{words}"))


def _line(cell: Cell) -> str:
    return f"{cell.text} {cell.detail}".strip()


def _packed(columns: list[Column], room: int) -> list[list[Column]]:
    """Share columns out among as few tables as fit the room, of widths as even as can be."""
    widths = [
        3 + max(len(line) for line in (column.name, *map(_line, column.cells)))
        for column in columns
    ]

    def share_out(room: int) -> list[list[Column]]:
        groups: list[list[Column]] = []
        left = 0
        for column, width in zip(columns, widths, strict=True):
            if not groups or width > left:
                groups.append([])
                left = room
            groups[-1].append(column)
            left -= width
        return groups

    fewest = len(share_out(room))
    return next(
        groups for less in range(max(room, 0) + 1) if len(groups := share_out(less)) <= fewest
    )


def headline(comparison: Comparison) -> str:
    """Say in words what a comparison found."""
    loss = comparison.loss_name
    others = comparison.answers[1:]
    if not others:
        return f"Plain SGD ran alone: {_line(_interval(comparison.answers[0].mean))} {loss}."
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
    loss = comparison.loss_name
    baseline = comparison.answers[0]
    seeds = {name: len(runs.seed) for name, runs in comparison.phase("tuned").items()}

    def column(name: str, note: str, cell: Callable[[Answer], Cell]) -> Column:
        return Column(name, note, [cell(answer) for answer in comparison.answers])

    def share(answer: Answer, count: int) -> Cell:
        return (
            Cell(f"{count} of {seeds[answer.optimizer]}", "", count) if answer.rates else Cell("-")
        )

    return [
        column(
            "verdict",
            "What the paired test says, at the corrected p.",
            lambda each: Cell(each.verdict, "", _ORDER.index(each.verdict)),
        ),
        column(
            "difference to SGD",
            f"In {loss}, paired by seed, with its 95% interval; below zero is better.",
            lambda each: _interval(each.difference) if each.difference else Cell("-"),
        ),
        column(
            "adjusted p",
            "Of the paired test, corrected for the number of optimizers (Holm).",
            lambda each: _probability(each.adjusted),
        ),
        column(
            loss,
            "Interquartile mean over seeds at the tuned rate, with its 95% interval.",
            lambda each: _interval(each.mean),
        ),
        column(
            "median",
            f"Of the {loss} over the same runs, with its 95% interval.",
            lambda each: _interval(each.median),
        ),
        column(
            "best on the way",
            "Lowest loss measured along a run, on the data tuned on.",
            lambda each: _interval(each.best),
        ),
        *(
            column(
                name,
                "Interquartile mean over seeds at the end, with its 95% interval.",
                lambda each, name=name: _interval(each.metrics[name]),
            )
            for name in baseline.metrics
        ),
        column(
            "tuned rate",
            "The learning rate chosen; (lowest) or (highest) where it is still the end of the "
            "rates tried, so that a better one may lie beyond.",
            lambda each: _figure(each.learning_rate, ".3g")._replace(
                detail=f"({each.at_edge})" if each.at_edge else ""
            ),
        ),
        column(
            "rates tried",
            f"Learning rates, {len(comparison.protocol['tuning_seeds'])} runs each.",
            lambda each: _figure(each.rates),
        ),
        column(
            "forgiving",
            f"Share of the rates tried whose loss is within {WITHIN:g} times the best rate's.",
            lambda each: _figure(each.forgiving, ".0%"),
        ),
        column(
            "customary rate",
            f"The {loss} at the customary learning rate, which stands beside it.",
            lambda each: _interval(each.default)._replace(
                detail=f"at {each.default_rate:.3g}" if each.rates else ""
            ),
        ),
        column(
            "steps to target",
            "Median over seeds with its 95% interval; a dash where over half never get there.",
            lambda each: _interval(each.steps_to_target),
        ),
        column(
            "reached",
            f"Runs that reach the target, {comparison.target:.3g}.",
            lambda each: share(each, each.reached),
        ),
        column(
            "diverged",
            "Runs at the tuned rate whose loss ceased to be finite.",
            lambda each: share(each, each.diverged),
        ),
        column(
            "evaluations",
            "Gradients of a whole batch that one run computed, the median.",
            lambda each: _figure(each.evaluations, ".6g"),
        ),
        column(
            "compile s",
            "Seconds to trace and compile its program, side by side with the others.",
            lambda each: _figure(each.compile_seconds, ".3g"),
        ),
        column(
            "run s",
            "Seconds for all its runs, tuning included.",
            lambda each: _figure(each.run_seconds, ".3g"),
        ),
        column(
            "step / SGD's",
            "Time of one step of one run, at its fastest, as a multiple of plain SGD's.",
            lambda each: _figure(each.step_seconds / (baseline.step_seconds or math.nan), ".2f"),
        ),
    ]


_VERDICTS = ("better", "not told apart", "worse")
_ORDER = (*_VERDICTS, "cannot run", "baseline")


def _figure(value: int | float, shape: str = "") -> Cell:
    return Cell(f"{value:{shape}}" if np.isfinite(value) else "-", "", value)


def _probability(value: float) -> Cell:
    cell = _figure(value, ".3f")
    return cell._replace(text="<0.001") if value < 0.001 else cell


def _interval(interval: statistics.Interval) -> Cell:
    estimate, low, high = interval
    if not np.isfinite(estimate):
        return Cell("-")
    shape = _shape(interval)
    bounds = f"[{low:{shape}}, {high:{shape}}]" if np.isfinite(high - low) else ""
    return Cell(f"{estimate:{shape}}", bounds, estimate)


def _shape(interval: statistics.Interval) -> str:
    """Give the format of two figures of the interval's width: more would be noise."""
    estimate, low, high = interval
    if not np.isfinite(high - low):
        return ".4g"
    # And as many as keep a bound on its side of zero.
    least = min([abs(bound) for bound in (low, high) if bound] or [1.0])
    width = min(high - low, 20 * least)
    decimals = int(np.clip(1 - np.floor(np.log10(max(width, 1e-12))), 0, 12))
    return f".{decimals}f" if decimals < 7 and abs(estimate) < 1e6 else ".3g"

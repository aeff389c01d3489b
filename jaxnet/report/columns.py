"""What a comparison says of every optimizer: as columns of a table, and in words."""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from jaxnet._guards.defaults import MULTIPLIER, rate_of
from jaxnet.compare import Answer, Comparison, Interval, Pair, verdicts
from jaxnet.compare.protocol import TIMES
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


class Rows(NamedTuple):
    """A table: what each row is of, and its columns, with a cell in each row."""

    names: list[str]
    columns: list[Column]


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
    baseline = verdicts.in_words(protocol.baseline)
    if not others:
        (alone,) = comparison.answers
        return f"{protocol.baseline} ran alone: {comparison.judged_by} {_line(alone.value)}."
    how = f"judged like {baseline}, by {comparison.judged_by} in {verdicts.replicates(protocol)}"
    if len(others) == 1:
        return f"Tuned and {how}: {others[0].sentence}"
    counts = {name: sum(each.verdict == name for each in others) for name in _ORDER}
    told = ", ".join(f"{n} {_MANY.get(v, v) if n > 1 else v}" for v, n in counts.items() if n)
    words = f"Of {len(others)} optimizers tuned and {how}: {told}."
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
    tells = (*_tested(comparison), *_values(comparison), *_ends(comparison))
    return _columns(comparison, tells)


def details(comparison: Comparison) -> Rows:
    """Give what every optimizer cost and what was searched, of which a reader seldom asks."""
    names = [answer.optimizer for answer in comparison.answers]
    return Rows(names, _columns(comparison, (*_costs(comparison), *_searched(comparison))))


def _columns(comparison: Comparison, tells: Iterable[_Tells]) -> list[Column]:
    every = [
        Column(each.name, each.note, [each.cell(a) for a in comparison.answers]) for each in tells
    ]
    return [column for column in every if any(cell.text != "-" for cell in column.cells)]


def difference_head(comparison: Comparison) -> str:
    """Name the column of differences: how many times the baseline's, or how much from it."""
    ratio = any(pair.scale == "ratio" for pair in comparison.pairs)
    baseline = comparison.protocol.baseline
    return f"times {baseline}'s" if ratio else f"difference to {baseline}"


def sureness(comparison: Comparison) -> str:
    """Give the level of the intervals, in percent."""
    return f"{100 * (1 - verdicts.spent(comparison.protocol)):.4g}%"


def earlier(comparison: Comparison) -> str:
    """Say which verdicts fewer replicates told, of which their figures are; nothing of none."""
    looks = comparison.protocol.judging.looks
    names = {look: [] for look in range(1, len(looks))}
    for pair in comparison.pairs:
        if pair.look < len(looks):
            names[pair.look].append(f"{pair.optimizer} against {pair.other}")
    told = (
        f"by the first {looks[look - 1]} {', '.join(each)}" for look, each in names.items() if each
    )
    words = "; ".join(told)
    return f"Told earlier, as are the figures, and stays told: {words}." if words else ""


def _tested(comparison: Comparison) -> list[_Tells]:
    level, many = sureness(comparison), len(comparison.pairs)
    return [
        _Tells(
            "verdict",
            f"What the tests say of values and of failures{_margin(comparison)}.",
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
    ]


def _margin(comparison: Comparison) -> str:
    """Say what difference is as good, where it is no ratio."""
    baseline, margin = comparison.protocol.baseline, comparison.protocol.judging.margin
    amounts = [p.margin for p in comparison.pairs if p.other == baseline and p.scale != "ratio"]
    if not amounts or not math.isfinite(amounts[0]):
        return ""
    return f"; as good is within {margin:.0%} of {baseline}'s value, {amounts[0]:.2g} either way"


def _values(comparison: Comparison) -> list[_Tells]:
    by, level, protocol = comparison.judged_by, sureness(comparison), comparison.protocol
    until = f" The target is a {protocol.tuning.data} loss of {comparison.target:.3g}."
    return [
        _Tells(
            by,
            "Where the replicates lie, each at the setting that it picked: what a user gets who "
            f"tunes; with a {level} interval.{until * (protocol.judging.by in TIMES)}",
            lambda each: _interval(each.value),
        ),
        _Tells(
            "failed",
            "Replicates that diverged, or missed the target where a time to it is judged.",
            lambda each: _share(each, each.failed, comparison)._replace(
                detail=verdicts.failures(each)
            ),
        ),
        _Tells(
            "rate to use",
            "The learning rate of the setting to use, or by how much to multiply the updates of an "
            "optimizer that was made already; the other hyperparameters stand in the table of "
            "settings.",
            rate_cell,
        ),
        *(
            _Tells(
                name,
                f"The {protocol.judging.data} {name} of the same runs, at their end.",
                lambda each, name=name: _interval(each.metrics[name]) if each.trials else Cell("-"),
            )
            for name in protocol.metrics
            if name != protocol.judging.by
        ),
    ]


def rate_cell(answer: Answer) -> Cell:
    """Show the learning rate to use, or what to multiply the updates by."""
    if not answer.trials:
        return Cell("-")
    name = rate_of(answer.setting)
    cell = number_cell(answer.setting[name], ".2g")
    return cell._replace(text=f"times {cell.text}") if name == MULTIPLIER else cell


def _share(answer: Answer, count: int, comparison: Comparison) -> Cell:
    total = comparison.protocol.replicates
    return Cell(f"{count} of {total}", "", count) if answer.trials else Cell("-")


def _ends(comparison: Comparison) -> list[_Tells]:
    if math.isnan(comparison.target) or comparison.protocol.judging.by == "steps":
        return []
    data = comparison.protocol.tuning.data
    return [
        _Tells(
            "steps to target",
            f"Until a {data} loss of {comparison.target:.3g}: where the replicates lie; a dash "
            "where too many never get there.",
            lambda each: _interval(each.steps_to_target),
        ),
        _Tells(
            "reached",
            f"Replicates that reach that {data} loss.",
            lambda each: _share(each, each.reached, comparison),
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
            "compile\N{NO-BREAK SPACE}s",
            "Seconds to trace and compile its program, side by side with the others.",
            lambda each: number_cell(each.compile_seconds, ".3g"),
        ),
        _Tells(
            "run\N{NO-BREAK SPACE}s",
            "Seconds for all its runs, tuning included.",
            lambda each: number_cell(each.run_seconds, ".3g"),
        ),
        _Tells(
            f"step / {first.optimizer}'s",
            "Time of one step of one run, at its fastest, as a multiple of the baseline's.",
            lambda each: number_cell(each.step_seconds / plain, ".2f"),
        ),
    ]


def _searched(comparison: Comparison) -> list[_Tells]:
    """What the search and the test had to go on."""
    by, seeds = comparison.judged_by, comparison.protocol.tuning.seeds
    return [
        _Tells(
            "at the setting to use",
            f"The {by} on the same seeds, all at the one setting to use in the end.",
            lambda each: _interval(each.recommended),
        ),
        _Tells(
            "at the customary setting",
            f"The {by} on the same seeds, all at the setting it usually has.",
            lambda each: _interval(each.customary),
        ),
        _Tells(
            "would tell",
            "The smallest difference, as the verdicts have it, that such replicates tell in about "
            "four of five comparisons.",
            lambda each: _smallest(each.pair) if each.pair else Cell("-"),
        ),
        _Tells(
            "forgiving",
            f"Share of the first trials whose loss is within {WITHIN:g} times the replicate's "
            "best.",
            lambda each: number_cell(each.forgiving, ".0%"),
        ),
        _Tells(
            "trials",
            f"Settings tried in a replicate, on {seeds} seed{'s' * (seeds > 1)} each.",
            lambda each: number_cell(each.trials) if each.trials else Cell("-"),
        ),
    ]


def settings(comparison: Comparison) -> Rows:
    """Give the hyperparameters of each optimizer: what to use, what was picked, what it matters."""
    ran = comparison.ran
    each = [(answer, name) for answer in ran for name in verdicts.ordered(answer.setting)]
    rows = [_hyperparameter(answer, name, comparison) for answer, name in each]
    heads = {
        "hyperparameter": "",
        "to use": "Of choices the one picked most often, of numbers the median of the replicates "
        "that picked these choices.",
        "picked": "By the replicates: the median, and the middle half of them; or how many picked "
        "each choice.",
        "customary": "What it usually has.",
        "searched": "The range or the choices; a learning rate, or the multiplier of the updates "
        "of an optimizer that was made already, may be picked beyond its range.",
        "beyond": "Share of the replicates that picked it beyond its range.",
        "explains": "The share of the differences between trials, ranked, that it explains alone.",
    }
    columns = [
        Column(head, note, list(cells))
        for (head, note), cells in zip(heads.items(), zip(*rows, strict=True), strict=True)
    ]
    return Rows([answer.optimizer for answer, _ in each], columns)


def _hyperparameter(answer: Answer, name: str, comparison: Comparison) -> list[Cell]:
    search = comparison.protocol.optimizers[answer.optimizer]
    axes, axis, customary = search.axes, search.axes[name], search.customary[name]
    values = [verdicts.worth(name, each) for each in axis.values]
    return [
        Cell(name),
        Cell(verdicts.worth(name, answer.setting[name])),
        _picked(answer, name, comparison) if axis.scale == "choice" else _middle(answer, name),
        Cell(verdicts.worth(name, customary)),
        Cell(", ".join(values) if axis.scale == "choice" else " to ".join(values)),
        number_cell(answer.beyond, ".0%") if name == rate_of(axes) else Cell(""),
        number_cell(answer.effects[name], ".0%"),
    ]


def _middle(answer: Answer, name: str) -> Cell:
    middle, low, high = (verdicts.worth(name, each) for each in answer.quartiles[name])
    return Cell(middle, f"[{low}, {high}]" if low != high else "")


def _picked(answer: Answer, name: str, comparison: Comparison) -> Cell:
    """Count the choices, three of them at most, the most frequent first."""
    picks = comparison.phase("tuned")[answer.optimizer].settings[name].tolist()
    counts = Counter(verdicts.worth(name, each) for each in picks).most_common()
    told = ", ".join(f"{count} \N{MULTIPLICATION SIGN} {choice}" for choice, count in counts[:3])
    return Cell(told + ", …" * (len(counts) > 3))


def matrix(comparison: Comparison) -> Rows:
    """Give each optimizer against each, a column for each held against; empty on the diagonal.

    A difference stands where one is told.
    """
    names = [answer.optimizer for answer in comparison.ran]
    cells = {}
    for pair in comparison.pairs:
        shape = verdicts.digits(pair.difference, pair.same)
        for (one, other), (word, estimate) in {
            (pair.optimizer, pair.other): (pair.verdict, pair.difference.estimate),
            (pair.other, pair.optimizer): _turned(pair),
        }.items():
            text = f"{estimate:{shape}}" if word in ("better", "worse") else ""
            cells[one, other] = verdict_cell(word)._replace(text=text)
    columns = [
        Column(other, "", [cells.get((name, other), Cell("")) for name in names]) for other in names
    ]
    return Rows(names, columns)


def _turned(pair: Pair) -> tuple[str, float]:
    """Give the verdict on the other held against this one, and the estimate."""
    estimate = pair.difference.estimate
    turned = 1 / estimate if pair.scale == "ratio" else -estimate
    if pair.verdict == "as good" and pair.only[0] < pair.only[1]:
        return "not told apart", turned
    return _TURNED.get(pair.verdict, pair.verdict), turned


_TURNED = {
    "better": "worse",
    "worse": "better",
    "fails less often": "fails more often",
    "fails more often": "fails less often",
}


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


def verdict_cell(verdict: str) -> Cell:
    """Show a verdict, to be sorted from better to worse."""
    return Cell(verdict, "", _ORDER.index(verdict), verdict)


def number_cell(value: int | float, shape: str = "") -> Cell:
    """Show a number in a format; a dash where it is not finite."""
    return Cell(f"{value:{shape}}" if np.isfinite(value) else "-", "", value)


def _probability(value: float) -> Cell:
    cell = number_cell(value, ".3f" if value < 0.1 else ".2f")
    return cell._replace(text="<0.001") if value < 0.001 else cell


def _smallest(pair: Pair) -> Cell:
    """Show it in the unit of the difference, one for the whole column, and in two figures."""
    least = pair.smallest_told
    shape = verdicts.digits(Interval(least, pair.same, least))
    return number_cell(least if least != pair.same else math.nan, shape)


def _difference(pair: Pair) -> Cell:
    cell = _interval(pair.difference, pair.same)
    up = pair.scale == "difference" and pair.difference.estimate > 0
    return cell._replace(text="+" * up + cell.text)


def _line(interval: Interval) -> str:
    return line(_interval(interval))


def _interval(interval: Interval, same: float = math.nan) -> Cell:
    estimate, low, high = interval
    if not np.isfinite(estimate):
        return Cell("-")
    shape = verdicts.digits(interval, same)
    bounds = "" if math.isnan(low) else f"[{low:{shape}}, {high:{shape}}]"
    return Cell(f"{estimate:{shape}}", bounds, estimate)

"""What many tasks say together, in words and pictures (extra `commands`).

Shapes: N tasks, A optimizers.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxnet.compare import league as leagues
from jaxnet.compare.league import Along, League
from jaxnet.compare.verdicts import in_words
from jaxnet.report import style
from jaxnet.report.columns import Cell, Column, number_cell, verdict_cell
from jaxnet.report.pictures import STYLE, Plot, short
from jaxnet.report.style import COLOURS, MUTED

# Matplotlib is imported where it is used.
if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:
    Axes = Figure = Any


_ROW = 0.18
# Optimizers that a sentence names; of more it says how many.
_NAMED = 6


# Why the two tests of a league may seem to contradict each other.
_BOTH = (
    "Ranks say nothing of by how much, depend on who else takes part, and are tested for all pairs "
    "at once: they need not tell the same apart."
)


def headline(league: League) -> str:
    """Say in words what a league says."""
    others = [word for word in league.overall if word != "baseline"]
    words = ("better", "as good", "worse", "not told apart")
    better, good, worse, unsure = map(others.count, words)
    unable = others.count("cannot run")
    first, place = league.groups[0], np.nanmin(league.average_ranks)
    return (
        f"Against {in_words(league.baseline)}, over {_many(league.tasks, 'task')}: of "
        f"{_many(others, 'optimizer')} {better} better, {good} as good and {worse} worse on most "
        f"tasks like these with a probability of at least {league.sure:.1%}; {unsure} not told "
        f"apart{f', {unable} could not run' * bool(unable)}. Against each other, by ranks alone: "
        f"{first[0]} comes first, at {place:.1f} of {_ranked(league)} on average; "
        f"{_rivals(len(first) - 1)} not told apart from it."
    )


def order(league: League) -> list[int]:
    """Give the indices of the optimizers by average rank, the best first, the unranked last."""
    return np.argsort(league.average_ranks, kind="stable").tolist()


def columns(league: League) -> list[Column]:
    """Give what a league says of every optimizer, in `order`: over all tasks, then task by task."""
    shown = order(league)
    tallies = [league.tallies[index] for index in shown]
    baseline, tasks = league.baseline, len(league.tasks)
    over = [
        Column(
            "overall",
            f"Against {baseline}: better, as good or worse where the probability of it is at "
            f"least {league.sure:.1%}.",
            [verdict_cell(league.overall[index]) for index in shown],
        ),
        Column(
            "average rank",
            f"Over the {tasks} tasks, 1 is the best; a dash for what did not run on each.",
            [number_cell(float(league.average_ranks[index]), ".1f") for index in shown],
        ),
        Column(
            "wins",
            f"Tasks on which it is better than {baseline} or fails less often.",
            [number_cell(each.wins) for each in tallies],
        ),
        Column(
            "as good",
            f"Tasks on which it is within {league.margin:.0%} of {baseline}.",
            [number_cell(each.ties) for each in tallies],
        ),
        Column(
            "not told apart",
            f"Tasks that do not tell it from {baseline}.",
            [number_cell(each.untold) for each in tallies],
        ),
        Column(
            "losses",
            f"Tasks on which it is worse than {baseline} or fails more often.",
            [number_cell(each.losses) for each in tallies],
        ),
        Column(
            "chance of better",
            "The probability that on most tasks like these it is better.",
            [_chance(league.chances[index].better) for index in shown],
        ),
        Column(
            "chance of worse",
            "That it is worse; what is left is that it is as good.",
            [_chance(league.chances[index].worse) for index in shown],
        ),
    ]
    note = (
        f"And the other tasks: the verdict against {baseline} (its sign as in the pictures), with "
        "the ratio of the losses where a difference is told."
    )
    return over + [
        Column(name, note if task == 0 else "", [_of_task(league, task, index) for index in shown])
        for task, name in enumerate(league.tasks)
    ]


def caveats(league: League) -> list[str]:
    """Give what a reader of a league should not conclude from it."""
    together = _ranked(league) > 1 and len(league.groups) == 1
    apart = f"{league.critical_difference:.2f}"
    return [
        "It is about these tasks, which were chosen: other tasks may rank the optimizers "
        "otherwise.",
        "Two questions have a test each, and one may tell what the other does not: how much each "
        f"differs from {in_words(league.baseline)}, and who ranks before whom. {_BOTH}",
        "The verdicts of a task are corrected for its number of optimizers, not for that of tasks.",
        "The chances are of one optimizer at a time: of many, some are high by luck, which the "
        "verdicts over all tasks allow for.",
        *(
            [f"No two average ranks differ by the {apart} that it takes to be told apart."]
            * together
        ),
    ]


def plots(league: League) -> list[Plot]:
    """Draw a league: what tells it best comes first."""
    with style.drawing(STYLE):
        return [_average_ranks(league), _verdicts(league), _chances(league)]


def headline_along(every: Sequence[Along]) -> str:
    """Say in words whose verdicts hold."""
    names = {
        holds: [each.optimizer for each in every if each.holds is holds]
        for holds in (True, False, None)
    }
    ends = {
        True: ("get", "the same verdict in each"),
        False: ("get", "verdicts that contradict each other"),
        None: ("stay", "open, as not every comparison tells something"),
    }
    told = [
        f"{len(names[holds])} {verb}{'s' * (len(names[holds]) == 1)} {end}"
        f"{f' ({leagues.in_a_row(names[holds])})' * (len(names[holds]) <= _NAMED)}"
        for holds, (verb, end) in ends.items()
        if names[holds]
    ]
    first = every[0]
    return (
        f"Held against {in_words(first.baseline)} in {len(first.verdicts)} comparisons: of "
        f"{_many(every, 'optimizer')} {leagues.in_a_row(told)}."
    )


HOLDS = (
    "yes where all say the same of the optimizer, no where two contradict each other, open where "
    "no two do but not every one tells something."
)


def columns_along(every: Sequence[Along]) -> list[Column]:
    """Give the verdict on every optimizer by value of what changes, and whether it holds."""
    note = (
        f"And what stands beside it: the verdict against {in_words(every[0].baseline)} of a "
        "comparison of its own, at a level of its own; starts and rows are the same in all."
    )
    words = {True: "yes", False: "no", None: "open"}
    return [
        *(
            Column(value, note * (at == 0), [verdict_cell(e.verdicts[value]) for e in every])
            for at, value in enumerate(every[0].verdicts)
        ),
        Column("holds?", HOLDS, [Cell(words[each.holds]) for each in every]),
    ]


def _ranked(league: League) -> int:
    return int(np.count_nonzero(~np.isnan(league.average_ranks)))


def _many(names: Sequence[Any], what: str) -> str:
    return f"{len(names)} {what}{'s' * (len(names) > 1)}"


def _rivals(count: int) -> str:
    return "1 other is" if count == 1 else f"{count or 'no'} others are"


def _average_ranks(league: League) -> Plot:
    """Marks say what is said overall; lines overlap where the ranks of two are not told apart."""
    from matplotlib import ticker

    shown = order(league)[: _ranked(league)]
    names, places = [league.optimizers[index] for index in shown], league.average_ranks[shown]
    own = league.average_ranks[league.optimizers.index(league.baseline)]
    half, baseline = league.critical_difference / 2, in_words(league.baseline)
    figure, ax = _rows(names, league.baseline)
    if not math.isnan(half):
        ax.axvspan(own - half, own + half, color=MUTED, alpha=0.15, linewidth=0)
    for row, (name, place) in enumerate(zip(names, places, strict=True)):
        look = style.MARKS[league.overall[league.optimizers.index(name)]]
        ax.plot((place - half, place + half), (row, row), color=look.colour, linewidth=1.4)
        ax.plot(place, row, look.marker, color=look.colour, markerfacecolor=look.face, markersize=5)
    ticks = ticker.MaxNLocator(5, integer=True).tick_values(1, len(shown))
    ax.set_xticks([1, *(tick for tick in ticks if 1 < tick <= len(shown))])
    ax.set_xlabel("average rank, 1 is the best")
    return Plot(
        "ranks",
        "Who ranks where",
        "Where a mark stands is its average rank: on each of "
        f"{_many(league.tasks, 'task')} the optimizers are ranked by their judged value. What a "
        f"mark is says the verdict overall, as in the table: a filled triangle is better or worse "
        f"than {baseline} by a test of the differences from it (Bayesian signed-rank). The lines "
        f"are another test, of ranks alone: two optimizers whose lines overlap are not told apart "
        f"by it, each line being half the critical difference of {league.critical_difference:.2f} "
        f"either way (Nemenyi, at a level of {league.level:.0%} for all pairs); the grey band is "
        f"the line of {baseline}. {_BOTH} That all rank alike has "
        f"{_p(league.friedman.p_value)} (Friedman).{_unranked(league)}",
        figure,
    )


def _verdicts(league: League) -> Plot:
    """A grid whose shapes say what its colours say."""
    shown = [index for index in order(league) if league.optimizers[index] != league.baseline]
    figure, ax = _rows([league.optimizers[index] for index in shown], league.baseline, beside=2.2)
    _shade(ax, league, shown)
    for verdict, look in style.MARKS.items():
        at = [
            (task, row)
            for row, index in enumerate(shown)
            for task, verdicts in enumerate(league.verdicts)
            if verdicts[index] == verdict
        ]
        if at:
            x, y = zip(*at, strict=True)
            ax.plot(x, y, look.marker, color=look.colour, markerfacecolor=look.face, label=verdict)
    ax.set_xticks(range(len(league.tasks)), map(short, league.tasks), rotation=90)
    ax.tick_params("x", length=0, labeltop=True, labelbottom=False)
    ax.set_xlim(-0.6, len(league.tasks) - 0.4)
    ax.grid(visible=True, axis="both", linewidth=0.4)
    ax.spines[:].set_visible(False)
    figure.legend(loc="outside lower left", ncols=2, frameon=False, handletextpad=0.2)
    return Plot(
        "verdicts",
        "Task by task",
        f"What each task says of each optimizer against {league.baseline}, best average rank "
        "first. A shade tells by how much where a difference is told: the faintest by less than "
        "20%, then by up to twice, then by more.",
        figure,
    )


def _shade(ax: Axes, league: League, shown: Sequence[int]) -> None:
    """Squares behind the marks, in three strengths, where the difference is told."""
    told = np.array([[word in ("better", "worse") for word in row] for row in league.verdicts])
    strength = np.digitize(np.abs(league.differences), np.log([1.2, 2.0]))
    for colour, side in ((COLOURS[0], -1), (COLOURS[1], 1)):
        for step, alpha in enumerate((0.1, 0.25, 0.45)):
            at = told & (np.sign(league.differences) == side) & (strength == step)
            x, y = np.nonzero(at[:, shown])
            ax.plot(x, y, "s", color=colour, alpha=alpha, markersize=11, markeredgewidth=0)


def _chances(league: League) -> Plot:
    shown = [index for index in order(league) if not math.isnan(league.chances[index].better)]
    figure, ax = _rows([league.optimizers[index] for index in shown], league.baseline, beside=1.2)
    rows = np.arange(len(shown))
    left = np.zeros(len(shown))
    chances = np.array([league.chances[index] for index in shown]).reshape(-1, 3)
    for word, share in zip(("better", "as good", "worse"), chances.T, strict=True):
        colour = style.MARKS[word].colour
        ax.barh(rows, share, left=left, height=0.7, color=colour, label=word, linewidth=0)
        left += share
    ax.set(xlim=(0, 1), xlabel="probability")
    figure.legend(loc="outside lower left", ncols=3, frameon=False)
    return Plot(
        "chances",
        "What to expect of another task",
        f"How probable it is that on most tasks like these an optimizer is better than "
        f"{league.baseline}, as good (within {league.margin:.0%}), or worse: a Bayesian "
        f"signed-rank test of the differences by task, each as uncertain as replicates leave it.",
        figure,
    )


def _unranked(league: League) -> str:
    names = [league.optimizers[index] for index in order(league)[_ranked(league) :]]
    return f" Not ranked, as not run on every task: {', '.join(names)}." if names else ""


def _chance(value: float) -> Cell:
    """Draws are not so many that none of them says never."""
    text = "<1%" if value < 0.005 else ">99%" if value > 0.995 else f"{value:.0%}"
    return number_cell(value)._replace(text="-" if math.isnan(value) else text)


def _of_task(league: League, task: int, index: int) -> Cell:
    """A verdict as its sign; infinite differences sort beyond all others."""
    verdict, difference = league.verdicts[task][index], float(league.differences[task, index])
    ratio = _ratio(difference) if verdict in ("better", "worse") else ""
    return Cell(ratio, "", float(np.clip(difference, -1e9, 1e9)), verdict)


def _ratio(difference: float) -> str:
    """Two figures or three; beyond a thousand times none, as to zero there is no ratio."""
    if abs(difference) >= math.log(1000):
        return "<0.001" if difference < 0 else ">1000"
    value = math.exp(difference)
    return f"{value:.0f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def _rows(names: Sequence[str], baseline: str, beside: float = 0.9) -> tuple[Figure, Axes]:
    """A row for each name, the first on top, and inches for what is above and below."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4, beside + _ROW * len(names)), layout="constrained")
    ax = figure.subplots()
    ax.set_yticks(range(len(names)), map(short, names))
    for name, label in zip(names, ax.get_yticklabels(), strict=True):
        label.set_fontweight("bold" if name == baseline else "normal")
    ax.tick_params("y", length=0)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.grid(visible=False, axis="y")
    return figure, ax

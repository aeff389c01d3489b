"""Pictures of a comparison of optimizers (extra `commands`).

Shapes: S seeds, R runs, E measurements along a run, K of anything else.
"""

import io
import itertools
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxnet._guards.defaults import MULTIPLIER, rate_of
from jaxnet.compare import Comparison, Runs, statistics, verdicts
from jaxnet.report import style
from jaxnet.report.style import COLOURS, DASHES, FAINT, INK, MUTED, PAPER
from jaxnet.storage import files

# Matplotlib is imported where it is used.
if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
else:
    Axes = Figure = Line2D = Any

# Pieces that rates are cut into for their curve.
_PIECES = 16
# The share of the highest loss that is as good as nothing.
_DEEP = 1e-8
# Small enough for a telephone; a name is a name, dollars and all.
STYLE = style.STYLE | {
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlesize": 9,
    "figure.figsize": (4.4, 3.1),
    "font.size": 9,
    "lines.linewidth": 1.6,
    "svg.fonttype": "none",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
}


class Plot(NamedTuple):
    """One picture of a comparison; `name` suits a file, `caption` tells how to read it."""

    name: str
    title: str
    caption: str
    figure: Figure


class _Look(NamedTuple):
    colour: str
    dashes: str
    width: float
    order: int


def _looks(comparison: Comparison) -> dict[str, _Look]:
    """Plain SGD in ink, the best few in colours, the others grey behind them."""
    baseline, *others = (answer.optimizer for answer in comparison.ran)
    coloured = zip(others, COLOURS, itertools.cycle(DASHES), strict=False)
    return (
        dict.fromkeys(others, _Look(FAINT, "-", 0.8, 1))
        | {name: _Look(colour, dashes, 1.6, 3) for name, colour, dashes in coloured}
        | {baseline: _Look(INK, "-", 2.2, 4)}
    )


def _front(looks: Mapping[str, _Look]) -> list[str]:
    return [name for name, look in looks.items() if look.colour != FAINT]


def _others(looks: Mapping[str, _Look]) -> str:
    """What a caption says of the grey lines."""
    grey = len(looks) - len(_front(looks))
    return f" Grey: {grey} more." if grey else ""


def short(name: str) -> str:
    """Give a name, cut where it would take too much of a picture."""
    return name if len(name) <= 18 else name[:17] + "…"


def plots(comparison: Comparison) -> list[Plot]:
    """Draw a comparison: what tells it best comes first."""
    with style.drawing(STYLE):
        drawn = (_differences, _curves, _sensitivity, _effects, _profile, _best_of)
        return [plot for draw in drawn for plot in draw(comparison)]


def save_plot(plot: Plot, path: str | Path) -> None:
    """Save one picture of a comparison, .png, .svg or .pdf, with its title: whole or not at all."""
    files.write(path, _drawn(plot, Path(path).suffix[1:], plot.title))


def svg(plot: Plot) -> str:
    """Give one picture of a comparison as SVG without its title, words as words."""
    return _drawn(plot, "svg", "").decode()


def _drawn(plot: Plot, kind: str, title: str) -> bytes:
    file = io.BytesIO()
    bare = dict.fromkeys(("Creator", "Date", "Format", "Type")) if kind == "svg" else None
    with style.drawing(STYLE), warnings.catch_warnings():
        # A name in letters that the font lacks: a browser finds another.
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        plot.figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
        plot.figure.savefig(file, format=kind, dpi=200, metadata=bare)
    return file.getvalue()


def _differences(comparison: Comparison) -> Iterator[Plot]:
    """A forest plot: the shapes say what the colours say."""
    told = [(each, each.pair) for each in comparison.answers if each.pair]
    if not told:
        return
    protocol, by = comparison.protocol, comparison.judged_by
    ratio = told[0][1].scale == "ratio"
    told.sort(key=lambda one: (np.isnan(one[1].difference.estimate), one[1].difference.estimate))
    same = told[0][1].same
    low, high = _bulk(np.array([tuple(pair.difference) for _, pair in told]), same, ratio)
    words = [verdict for verdict in style.MARKS if any(a.verdict == verdict for a, _ in told)]
    figure, ax = _axes((4.4, 0.9 + 0.2 * len(told) + 0.2 * -(-len(words) // 2)))
    ax.axvline(same, color=INK, linewidth=1)
    for row, (answer, pair) in enumerate(told):
        _, marker, colour, face = style.MARKS[answer.verdict]
        look: Any = {"color": colour, "markerfacecolor": face, "markersize": 5}
        estimate, *bounds = pair.difference
        if np.isnan(estimate):
            _beside(ax, low, row, 4, f"{answer.verdict}: no figure, as replicates failed")
        elif low <= estimate <= high:
            ax.plot(np.clip(bounds, low, high), (row, row), color=colour, linewidth=1.4)
            ax.plot(estimate, row, marker, **look)
            for edge, arrow, cut in ((low, "<", bounds[0] < low), (high, ">", bounds[1] > high)):
                if cut:
                    ax.plot(edge, row, arrow, color=colour, markersize=4, clip_on=False)
        else:
            edge, arrow, gap = (high, ">", -7) if estimate > high else (low, "<", 7)
            ax.plot(edge, row, arrow, clip_on=False, **look)
            _beside(ax, edge, row, gap, f"{estimate:.3g}" if ratio else f"{estimate:+.3g}")
    for verdict in words:
        _, marker, colour, face = style.MARKS[verdict]
        ax.plot([], [], marker, color=colour, markerfacecolor=face, label=verdict)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, handletextpad=0.2)
    ax.set_yticks(range(len(told)), [short(answer.optimizer) for answer, _ in told])
    ax.tick_params("y", length=0)
    _limits(ax, "x", np.array([low, high, same]))
    ax.set(xlim=(low, high), ylim=(len(told) - 0.4, -0.6))
    gap = 4 * "\N{NO-BREAK SPACE}"
    how = (
        f"{by} as a multiple of {protocol.baseline}'s"
        if ratio
        else f"{by} less {protocol.baseline}'s"
    )
    ends = ("worse", "better") if protocol.judging.maximised else ("better", "worse")
    ax.set_xlabel(f"← {ends[0]}{gap}{how}{gap}{ends[1]} →")
    yield Plot(
        "differences",
        f"Who beats {verdicts.in_words(protocol.baseline)}",
        f"Each row is one optimizer's {how}, replicate by replicate where neither failed: the mark "
        "is the estimate, the line its interval, which holds for all rows at once. Filled marks "
        "are told apart; hollow circles are not. What points over an edge goes on beyond it, or "
        "lies there where a figure stands beside it.",
        figure,
    )


def _beside(ax: Axes, x: float, row: int, gap: int, words: str) -> None:
    """Words at the right of a point, at its left if the gap is below zero, over the lines there."""
    ax.annotate(
        words,
        (x, row),
        xytext=(gap, 0),
        textcoords="offset points",
        ha="left" if gap > 0 else "right",
        va="center",
        bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.5},
    )


def _bulk(bounds: Float[np.ndarray, "K 3"], same: float, ratio: bool) -> tuple[float, float]:
    """Limits that hold `same` and all but what lies far outside, which would squeeze the rest."""
    with np.errstate(divide="ignore"):
        apart = np.log(bounds) if ratio else bounds - same
    apart = np.ma.masked_invalid(apart)
    usual = np.ma.median(np.abs(apart).max(axis=1))
    kept = apart[np.abs(apart) <= 6 * usual].compressed()
    low, high = kept.min(initial=0.0), kept.max(initial=0.0)
    margin = 0.06 * (high - low) or 0.1
    low, high = low - margin, high + margin
    return (float(np.exp(low)), float(np.exp(high))) if ratio else (low + same, high + same)


def _curves(comparison: Comparison) -> Iterator[Plot]:
    from matplotlib import ticker

    looks = _looks(comparison)
    front = _front(looks)
    data = comparison.protocol.tuning.data
    figure, ax = _labelled(f"{data} loss", "step")
    quartiles = {
        name: _quartiles(runs.curves(comparison.steps))
        for name, runs in comparison.phase("tuned").items()
    }
    for name, (low, middle, high) in quartiles.items():
        _line_of(ax, comparison.steps, middle, looks[name])
        if name in front:
            colour, order = looks[name].colour, looks[name].order
            ax.fill_between(
                comparison.steps, low, high, color=colour, alpha=0.15, linewidth=0, zorder=order - 1
            )
    shown = np.concatenate([quartiles[name].ravel() for name in front])
    _limits(ax, "y", shown)
    if len(comparison.steps) > 1:
        ax.set_xlim(comparison.steps[0], comparison.steps[-1])
    ax.xaxis.set_major_locator(ticker.MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    _label_ends(ax, {name: float(quartiles[name][1, -1]) for name in front}, looks)
    yield Plot(
        "curves",
        "How the loss falls",
        f"The {data} loss along the run that judges each replicate, at the setting that it picked: "
        "the line is the median over replicates, the band holds the middle half of them. Lower "
        f"and sooner is better.{_others(looks)}",
        figure,
    )


def _quartiles(losses: Float[np.ndarray, "S E"]) -> Float[np.ndarray, "3 E"]:
    """Without interpolation between seeds, which infinite losses would not survive."""
    ranks = np.rint(np.array([0.25, 0.75]) * (len(losses) - 1)).astype(int)
    low, high = np.sort(losses, axis=0)[ranks]
    return np.stack([low, np.median(losses, axis=0), high])


def _sensitivity(comparison: Comparison) -> Iterator[Plot]:
    """Small panels: curves that cross, one another's names would hide."""
    looks = _looks(comparison)
    tried = {name: _by_rate(runs) for name, runs in comparison.phase("tuning").items()}
    chosen = {answer.optimizer: answer for answer in comparison.answers}
    front = _front(looks)
    rows = -(-len(front) // 2)
    figure = _figure((4.4, 0.5 + 1.2 * rows))
    grid = figure.subplots(rows, 2, sharex=True, sharey=True, squeeze=False).ravel()
    rates = np.concatenate([rates for rates, _ in tried.values()])
    best = [np.min(losses) for name, (_, losses) in tried.items() if name in front]
    every = np.concatenate([losses for _, losses in tried.values()])
    # One line for the whole crowd, broken between any two, keeps the page small.
    crowd_rates, crowd_losses = (
        np.hstack([np.append(line, np.nan) for line in side])
        for side in zip(*tried.values(), strict=True)
    )
    for name, ax in zip(front, grid, strict=False):
        _line_of(ax, crowd_rates, crowd_losses, _Look(FAINT, "-", 0.6, 1))
        rate, loss = tried[name]
        colour, answer = looks[name].colour, chosen[name]
        _line_of(ax, rate, loss, looks[name])
        _limits(ax, "x", rates)
        _limits(ax, "y", every, 20 * max(best))
        lost = rate[np.isinf(loss)]
        top = ax.get_xaxis_transform()
        ax.plot(lost, np.full(len(lost), 0.94), "x", color=colour, markersize=4, transform=top)
        size = rate_of(answer.setting)
        middle, low, high = answer.quartiles[size]
        ax.plot((low, high), (0.06, 0.06), color=colour, linewidth=2.4, transform=top)
        ax.plot(middle, 0.06, "o", color=colour, markeredgecolor=PAPER, zorder=5, transform=top)
        customary = comparison.protocol.optimizers[name].customary[size]
        ax.plot(customary, 0.16, "^", color=MUTED, markersize=4, transform=top)
        by = f", by {size}" * (size == MULTIPLIER)
        ax.set_title(f"{short(name)}{by}", color=INK, fontweight="bold")
    for ax in grid[len(front) :]:
        ax.remove()
    for ax in grid[: len(front)][-2:]:
        ax.tick_params(labelbottom=True)
    figure.supxlabel("learning rate", fontsize=9)
    figure.supylabel("final loss while tuning", fontsize=9)
    yield Plot(
        "rates",
        "How much the learning rate matters",
        "The final loss against the learning rate, the median of all trials near it. At the foot "
        "the rates that the replicates picked: the dot is their median, the bar their middle half; "
        "the small triangle is the customary rate, a cross at the top a rate at which most runs "
        "diverged. A wide valley forgives a poor guess. Grey: all the optimizers, for comparison.",
        figure,
    )


def _by_rate(runs: Runs) -> tuple[Float[np.ndarray, " K"], Float[np.ndarray, " K"]]:
    """Give the middle of each of some pieces of the rates tried, and the median loss there."""
    rate = rate_of(runs.settings)
    rates, losses = runs.tried()[rate].ravel(), runs.scores().ravel()
    order = np.argsort(rates)
    pieces = np.array_split(order, min(len(np.unique(rates)), _PIECES))
    middle = np.array([np.exp(np.log(rates[piece]).mean()) for piece in pieces])
    medians = [np.quantile(losses[piece], 0.5, method="higher") for piece in pieces]
    return middle, np.array(medians)


def _effects(comparison: Comparison) -> Iterator[Plot]:
    """Small panels of bars, where more than the learning rate was searched."""
    looks = _looks(comparison)
    effects = {answer.optimizer: answer.effects for answer in comparison.ran}
    front = [name for name in _front(looks) if len(effects[name]) > 1]
    if not front:
        return
    rows, most = -(-len(front) // 2), max(len(effects[name]) for name in front)
    largest = max(0.1, *(share for name in front for share in effects[name].values()))
    figure = _figure((4.4, 0.5 + rows * (0.4 + 0.16 * most)))
    grid = figure.subplots(rows, 2, sharex=True, squeeze=False).ravel()
    for name, ax in zip(front, grid, strict=False):
        # The weightiest at the top, and as thick a bar in every panel.
        ranked = sorted(effects[name].items(), key=lambda one: -one[1])
        names, shares = zip(*ranked, strict=True)
        ax.barh(range(len(names)), np.maximum(shares, 0), color=looks[name].colour, height=0.6)
        ax.set_yticks(range(len(names)), map(short, names))
        ax.tick_params("y", length=0)
        ax.grid(visible=False, axis="y")
        ax.set(ylim=(most - 0.5, -0.5), xlim=(0, 1.05 * largest))
        ax.xaxis.set_major_formatter("{x:.0%}")
        ax.set_title(short(name), color=INK, fontweight="bold")
    for ax in grid[len(front) :]:
        ax.remove()
    for ax in grid[: len(front)][-2:]:
        ax.tick_params(labelbottom=True)
    figure.supxlabel("share of the differences between trials", fontsize=9)
    yield Plot(
        "effects",
        "What is worth tuning",
        "How much of the differences between the trials of a replicate, by rank, each "
        "hyperparameter explains by itself. What explains little may stay as it is; what two "
        f"explain together only is in neither bar.{_others(looks)}",
        figure,
    )


def _profile(comparison: Comparison) -> Iterator[Plot]:
    from matplotlib import ticker

    looks = _looks(comparison)
    front = _front(looks)
    final = verdicts.values(comparison, "tuned", comparison.target)
    if any(np.any(values <= 0) for values in final.values()):
        # Nothing is a multiple of zero, nor of what was turned round to be lower where better.
        return
    best = np.min(list(final.values()), axis=0)
    usual = np.isfinite(best)
    behind = np.stack([final[name][usual] for name in front]) / best[usual]
    end = np.clip(1.02 * np.max(behind, initial=1.0, where=np.isfinite(behind)), 1.01, 10)
    ratios = np.geomspace(1, end, 200)
    shares = statistics.profile(final, ratios)
    figure, ax = _labelled(
        "share of replicates", f"{comparison.judged_by}, as a multiple of the replicate's best"
    )
    lines = {name: _line_of(ax, ratios, share, looks[name]) for name, share in shares.items()}
    _limits(ax, "x", ratios)
    ax.set_ylim(0, 1.02)
    ax.yaxis.set_major_formatter(ticker.PercentFormatter(1))
    # They end together at the top: named beside it, the best first.
    ranked = sorted(front, key=lambda name: -shares[name].mean())
    figure.legend(
        [lines[name] for name in ranked],
        map(short, ranked),
        loc="outside right center",
        frameon=False,
    )
    yield Plot(
        "profile",
        "How often it comes close to the best",
        f"In each replicate the {comparison.judged_by} is divided by the lowest of any optimizer. "
        "A line at height h over x says: in a share h of the replicates this optimizer came "
        "within a factor x of the best. At the left edge stands how often it was the best; higher "
        "is better, and a line that never reaches 100% fell further behind or failed."
        f"{_others(looks)}",
        figure,
    )


def _best_of(comparison: Comparison) -> Iterator[Plot]:
    from matplotlib import ticker

    looks = _looks(comparison)
    front = _front(looks)
    figure, ax = _labelled("lowest final loss so far", "trials")
    curves = {answer.optimizer: answer.best_of for answer in comparison.ran}
    for name, losses in curves.items():
        _line_of(ax, np.arange(1, len(losses) + 1), losses, looks[name], marker=".")
    ends = {name: float(curves[name][-1]) for name in front}
    shown = np.concatenate([curves[name] for name in front])
    _limits(ax, "y", shown, 20 * np.nanmax([*ends.values(), 0.0]) or np.inf)
    ax.xaxis.set_major_locator(ticker.MaxNLocator(8, integer=True))
    ax.set_xlim(1, max(2, *(len(losses) for losses in curves.values())))
    _label_ends(ax, ends, looks)
    yield Plot(
        "best_of",
        "What tuning buys",
        "The lowest loss among the first so many trials of a replicate, the median over "
        "replicates. A line that is low at the left needs little tuning; one that keeps falling "
        "needs much; it begins where half of the replicates have a trial that did not diverge."
        f"{_others(looks)}",
        figure,
    )


def _figure(size: tuple[float, float] | None = None) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout="constrained")


def _axes(size: tuple[float, float] | None = None) -> tuple[Figure, Axes]:
    figure = _figure(size)
    return figure, figure.subplots()


def _labelled(y_label: str, x_label: str) -> tuple[Figure, Axes]:
    figure, ax = _axes()
    ax.set(xlabel=x_label)
    # Above the axis it takes no width, of which a telephone has little.
    ax.set_title(y_label)
    return figure, ax


def _line_of(ax: Axes, x: np.ndarray, y: np.ndarray, look: _Look, marker: str = "") -> Line2D:
    """A line that breaks where the values are not finite."""
    shown = np.where(np.isfinite(y), y, np.nan)
    marker = marker if look.colour != FAINT else ""
    colour, dashes, width, order = look
    drawn: Any = {"color": colour, "linewidth": width, "zorder": order, "marker": marker}
    return ax.plot(x, shown, dashes, **drawn)[0]


def _limits(ax: Axes, side: str, values: np.ndarray, most: float = np.inf) -> None:
    """Limits to what is finite, at most `most`; logarithmic, in plain figures, where positive.

    A few zeros among them, which lie below any such axis, end at its foot.
    """
    from matplotlib import ticker

    shown = values[np.isfinite(values) & (values <= most)]
    above = shown[shown > 0]
    low, high = (float(shown.min()), float(shown.max())) if shown.size else (0.0, 1.0)
    axis = getattr(ax, f"{side}axis")
    if low >= 0 and above.size:
        low = max(float(above.min()), _DEEP * high)
        getattr(ax, f"set_{side}scale")("log")
        edge = (high / low) ** 0.04 * 1.001
        low, high = low / edge, high * edge
        for line in ax.lines if side == "y" and len(above) < len(shown) else ():
            heights = np.asarray(line.get_ydata())
            line.set_ydata(np.where(heights == 0, low, heights))
        axis.set_major_locator(_log_ticks(low, high))
        axis.set_minor_locator(ticker.NullLocator())
    else:
        axis.set_major_locator(ticker.MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    if low == high:
        low, high = low - (abs(low) / 2 or 0.5), high + (abs(high) / 2 or 0.5)
    axis.set_major_formatter("{x:g}")
    getattr(ax, f"set_{side}lim")(low, high)


def _log_ticks(low: float, high: float) -> Any:
    from matplotlib import ticker

    if high <= 5 * low:
        return ticker.MaxNLocator(5, steps=[1, 2, 5, 10])
    if high > 1e3 * low:
        return ticker.LogLocator()
    return ticker.LogLocator(subs=(1.0, 2.0, 5.0) if high > 30 * low else (1.0, 2.0, 3.0, 5.0, 7.0))


def _label_ends(ax: Axes, ends: Mapping[str, float], looks: Mapping[str, _Look]) -> None:
    """Names at the right of the lines, moved apart where they would cover one another."""
    names = sorted(ends, key=lambda name: ends[name])
    to_fraction = ax.transData + ax.transAxes.inverted()
    x = ax.get_xlim()[1]
    heights = np.array(
        [to_fraction.transform((x, ends[name]))[1] if ends[name] < np.inf else 1 for name in names]
    )
    for name, height, place in zip(names, heights, _apart(heights, 0.068), strict=True):
        line = {"arrowstyle": "-", "relpos": (0, 0.5), "shrinkA": 2, "shrinkB": 0}
        ax.annotate(
            short(name) + (" (diverged)" if not np.isfinite(ends[name]) else ""),
            xy=(1, np.clip(height, 0, 1)),
            xytext=(1.06, place),
            xycoords="axes fraction",
            textcoords="axes fraction",
            va="center",
            arrowprops=line | {"color": looks[name].colour},
        )


def _apart(places: Float[np.ndarray, " K"], gap: float) -> Float[np.ndarray, " K"]:
    """Move ascending places within 0 to 1 as little apart as the gap between any two asks."""
    steps = gap * np.arange(len(places))
    places = np.clip(places, 0, 1)
    upwards = np.maximum.accumulate(places - steps) + steps
    downwards = np.minimum.accumulate((places - steps)[::-1])[::-1] + steps
    return np.clip((upwards + downwards) / 2, steps, 1 - steps[::-1])

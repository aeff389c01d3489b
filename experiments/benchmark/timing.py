"""Timing what computes the same, in interleaved rounds; ratios are taken round by round.

Shapes: R runs, E epochs.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

Way = Callable[[], Float[np.ndarray, "R E"]]
"""Makes R runs and gives the mean loss of each of E epochs."""

_UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6}
TOLERANCE = 1e-3


class Timing(NamedTuple):
    """One way to do a thing.

    Attributes:
        seconds: of each round, of one run.
        compiling: seconds that the first call took more than a later one.
        runs: that one call makes.
    """

    seconds: tuple[float, ...]
    compiling: float = 0.0
    runs: int = 1

    @property
    def median(self) -> float:
        """Of the rounds."""
        return statistics.median(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """Of the rounds, the lower and the upper."""
        low, _, high = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return low, high


class Group(NamedTuple):
    """Ways to do one thing, side by side.

    Attributes:
        title: what is done.
        ours: the way that the others are held against.
        timings: by way.
    """

    title: str
    ours: str
    timings: Mapping[str, Timing]

    def times(self, peer: str) -> float:
        """Give how many times as long as ours a peer takes, the best of its ways.

        Raises:
            ValueError: a peer that was not timed.
        """
        ours = self.timings[self.ours].seconds
        return min(
            ratio(timing.seconds, ours)
            for way, timing in self.timings.items()
            if way.startswith(peer)
        )

    def claims(self, peers: Sequence[str], prefix: str = "") -> dict[str, float]:
        """Give `times` of those of the peers that were timed."""
        known = [peer for peer in peers if any(way.startswith(peer) for way in self.timings)]
        return {f"{prefix}{peer} / jaxnet": self.times(peer) for peer in known}

    def table(self) -> "Table":
        """Lay the timings out."""
        ours, rows = self.timings[self.ours].seconds, []
        for way, timing in self.timings.items():
            unit = unit_of(timing.median)
            low, high = (number(each * _UNITS[unit]) for each in timing.quartiles)
            rows.append(
                (
                    way,
                    shown(timing.median),
                    f"{low} - {high}",
                    number(ratio(timing.seconds, ours)),
                    f"{timing.compiling:.2g} s",
                )
            )
        columns = ("", "median", "quartiles", f"/ {self.ours.split(',')[0]}", "first call adds")
        return Table(self.title, columns, rows)


class Table(NamedTuple):
    """Rows of text."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


class Section(NamedTuple):
    """What one part of the benchmark found.

    Attributes:
        groups: what was timed.
        claims: by name, the figures that targets are set for.
        tables: what is no timing. figures: the same, and more, as numbers.
        notes: what else is to be said, a line each.
        dtype: what was computed with.
    """

    groups: Sequence[Group] = ()
    claims: Mapping[str, float] = {}
    tables: Sequence[Table] = ()
    figures: Mapping[str, Any] = {}
    notes: Sequence[str] = ()
    dtype: str = "float32"


def unit_of(seconds: float) -> str:
    """Choose the unit that tells seconds in few digits."""
    return "us" if seconds < 1e-3 else "ms" if seconds < 1 else "s"


def number(value: float) -> str:
    """Write a number in three digits, or whole."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def shown(seconds: float) -> str:
    """Write seconds with a unit that suits them."""
    unit = unit_of(seconds)
    return f"{number(seconds * _UNITS[unit])} {unit}"


def interleaved(
    ways: Mapping[str, Callable[[], object]],
    rounds: int,
    check: Callable[[Mapping[str, Any]], None] = lambda curves: None,
) -> dict[str, Timing]:
    """Time every way once a round, after a round that compiles; seconds are of one run.

    Args:
        ways: by name; one that gives an array makes a run for each of its rows, others one.
        rounds: at least 2.
        check: called with what the ways gave, before a round counts; it raises to end it all.
    """
    firsts, curves = {}, {}
    for name, way in ways.items():
        firsts[name], curves[name] = _clocked(way)
    check(curves)
    took = [{name: _clocked(way)[0] for name, way in ways.items()} for _ in range(rounds)]
    timings = {}
    for name, curve in curves.items():
        seconds = [each[name] for each in took]
        compiling = max(0.0, firsts[name] - statistics.median(seconds))
        runs = len(curve) if isinstance(curve, np.ndarray) else 1
        timings[name] = Timing(tuple(each / runs for each in seconds), compiling, runs)
    return timings


def _clocked(way: Callable[[], object]) -> tuple[float, object]:
    start = time.perf_counter()
    result = way()
    return time.perf_counter() - start, result


def compare(
    title: str,
    ways: Mapping[str, Way],
    rounds: int,
    beside: Mapping[str, Callable[[], object]] | None = None,
    tolerance: float = TOLERANCE,
) -> Group:
    """Time ways that make the same runs, or the first of them alone; the last one is ours.

    Args:
        title: what they do.
        ways: by name.
        rounds: at least 2.
        beside: what is timed in the same rounds and not held against ours.
        tolerance: the relative difference of losses that is left to rounding.

    Raises:
        RuntimeError: a way whose losses differ from ours; nothing is timed.
    """
    ours = list(ways)[-1]

    def check(curves: Mapping[str, Any]) -> None:
        for name in ways:
            first = curves[ours][: len(curves[name])]
            refuse_to_time(f"{name} and {ours}", first, curves[name], tolerance)

    return Group(title, ours, interleaved({**(beside or {}), **ways}, rounds, check))


def ratio(these: Sequence[float], those: Sequence[float]) -> float:
    """Give the median over rounds of these seconds over those of the same round."""
    return statistics.median(a / b for a, b in zip(these, those, strict=True))


def refuse_to_time(what: str, ours: Any, theirs: Any, tolerance: float = TOLERANCE) -> None:
    """Refuse to time what does not compute the same.

    Raises:
        RuntimeError: loss curves further apart than a tolerance at any point, of other lengths,
            or not finite. It is relative to the loss, or to a thousandth of the largest one where
            that is more: a loss that reaches zero is all rounding.
    """
    ours, theirs = (np.asarray(curve, np.float64) for curve in (ours, theirs))
    same = ours.shape == theirs.shape
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.maximum(np.abs(theirs), 1e-3 * np.max(np.abs(theirs), initial=0))
        apart = np.max(np.abs(ours - theirs) / scale) if same else np.inf
    if not apart <= tolerance:
        raise RuntimeError(f"{what}: loss curves differ by a relative {apart:.1e}; not timed")


def exponent(sizes: Sequence[int | float], values: Sequence[int | float]) -> float:
    """Fit values to a power of the sizes, by least squares of their logarithms; give the power."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])

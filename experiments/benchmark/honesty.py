"""Part: how often answers of `compare` are wrong, the whole procedure from its search to a verdict.

One comparison of many replicates is cut into many: each replicate draws, tunes, picks and is judged
by itself, so that a piece of them is what a comparison of so many would have been.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import optax
from jaxtyping import Float

import jaxnet
from experiments.benchmark.timing import Section, Table
from experiments.benchmark.work import Size
from experiments.tasks import TASKS
from jaxnet import optimizers, spaces
from jaxnet.compare import Comparison, Paired, Problem, compare, paired, statistics, verdicts

COUNTS = (10, 20, 30)
"""Replicates of the comparisons that one is cut into."""
MARGIN, LEVEL = 0.05, 0.05
_WRONG = ("better", "worse", "fails more often", "fails less often")
# A power that is stated is that of four in five.
_POWER = 0.8
# Decades by which the range of each of eight twins lies elsewhere than SGD's.
_SHIFTS = np.linspace(-1, 0.75, 8)
Values = Mapping[str, Float[np.ndarray, " R"]]


def _sine() -> Problem:
    """Give a sine with noise, of 60 rows to train on; its tuned runs diverge now and then."""
    random = np.random.default_rng(0)
    x = random.uniform(-3, 3, (120, 1)).astype(np.float32)
    y = np.sin(x) + 0.1 * random.normal(size=x.shape).astype(np.float32)
    train, tune, judge = ((x[a:b], y[a:b]) for a, b in ((0, 60), (60, 90), (90, 120)))
    return Problem(
        name="sine",
        loss=jaxnet.BatchLoss(jaxnet.forward, optax.losses.l2_loss),
        init=functools.partial(jaxnet.init, sizes=(1, 16, 1)),
        data=train,
        epochs=30,
        batch_size=8,
        validation=tune,
        test=judge,
    )


def _shorter(name: str, **length: int) -> Callable[[], Problem]:
    return lambda: dataclasses.replace(TASKS[name](), **length)


PROBLEMS: Mapping[str, Callable[[], Problem]] = {
    "sine": _sine,
    "iris": _shorter("iris", epochs=10),
    "wine": _shorter("wine", epochs=10),
    "digits": _shorter("digits", epochs=2),
    "rosenbrock": _shorter("rosenbrock", steps=100),
}
"""Small tasks; of the first and the last, runs diverge at rates that were picked."""
GENERAL = ("sine", "iris", "wine", "digits", "quadratic-1e0", "quadratic-1e3")
"""Tasks on which a more general optimizer is held against a special case of it."""


def _twin(learning_rate: Any) -> optax.GradientTransformation:
    return optax.sgd(learning_rate)


def _twins() -> dict[str, optimizers.Entry]:
    """Give plain SGD under other names, each searched over another range."""
    ranges = {f"twin {i}": (-3 + shift, 1 + shift) for i, shift in enumerate(_SHIFTS)}
    return {
        name: optimizers.Entry(
            name, _twin, {"learning_rate": spaces.log(10**low, 10**high)}, {"learning_rate": 0.01}
        )
        for name, (low, high) in ranges.items()
    }


def values(comparison: Comparison) -> Values:
    """Give what was judged, by optimizer, at the settings that the replicates picked."""
    return verdicts.values(comparison, "tuned", comparison.target)


class Pieces(NamedTuple):
    """Comparisons of so many replicates with SGD, cut out of one.

    Attributes:
        mine, others: shape [C, R], values of an optimizer and of SGD.
        share: of the level, that each has. scale: that they are compared on.
    """

    mine: Float[np.ndarray, "C R"]
    others: Float[np.ndarray, "C R"]
    share: float
    scale: statistics.Scale

    @property
    def pairs(self) -> list[Paired]:
        """What the tests say of each."""
        return [
            paired(mine, others, self.share, self.scale)
            for mine, others in zip(self.mine, self.others, strict=True)
        ]

    @property
    def wrong(self) -> np.ndarray:
        """Which of them tell a twin from SGD."""
        size = statistics.location(self.others.ravel(), self.share, self.scale).estimate
        told = (
            statistics.verdict(pair, self.share, MARGIN, self.scale, size) for pair in self.pairs
        )
        return np.array([each in _WRONG for each in told])

    @property
    def truth(self) -> float:
        """The difference that all the replicates together have."""
        whole = paired(self.mine.ravel(), self.others.ravel(), self.share, self.scale)
        return whole.difference.estimate

    @property
    def coverage(self) -> float:
        """The share of intervals that hold the difference of all the replicates together."""
        truth = self.truth
        return float(np.mean([p.difference.low <= truth <= p.difference.high for p in self.pairs]))

    @property
    def power(self) -> float:
        """The share that tells a shift from none by what the piece before says it would."""
        told, truth = [], self.truth
        for (before, mine), (held, others) in zip(
            itertools.pairwise(self.mine), itertools.pairwise(self.others), strict=True
        ):
            least = statistics.smallest_told(before, held, self.share, self.scale, _POWER)
            moved = mine / truth * least if self.scale == "ratio" else mine - truth + least
            pair = paired(moved, others, self.share, self.scale)
            told.append(pair.difference.low > (1.0 if self.scale == "ratio" else 0.0))
        return float(np.mean(told))


def cut(judged: Values, name: str, count: int, comparisons: int, tests: int = 1) -> Pieces:
    """Cut the replicates of an optimizer and of SGD into comparisons.

    Args:
        judged: by optimizer. name: of one.
        count: replicates of each. comparisons: how many at most.
        tests: optimizers that share the level.
    """
    finite = [each[np.isfinite(each)] for each in judged.values()]
    mine, others = (
        judged[each][: len(judged[each]) // count * count].reshape(-1, count)[:comparisons]
        for each in (name, "sgd")
    )
    share = statistics.spent(1, LEVEL) / tests
    return Pieces(mine, others, share, statistics.scale_of(finite))


def alarms(judged: Values, names: Sequence[str], count: int, comparisons: int) -> float:
    """Give the share of comparisons of twins in which any of them is told from SGD."""
    wrong = [cut(judged, name, count, comparisons, len(names)).wrong for name in names]
    return float(np.mean(np.any(wrong, axis=0)))


class Row(NamedTuple):
    """Shares of comparisons, by how many replicates they have."""

    task: str
    what: str
    shares: tuple[float, ...]


ALARMS, COVERAGE, POWER = "alarms", "coverage", "power"


def rows(name: str, comparisons: int) -> list[Row]:
    """Measure one task: twins, other seeds, eight twins at once; and Adam, which is none."""
    problem, twins = PROBLEMS[name](), _twins()
    replicates = COUNTS[-1] * comparisons
    judged = values(compare(problem, {"own": _twin, "adam": "adam"} | twins, replicates=replicates))
    again = values(compare(problem, {"own": _twin}, replicates=replicates, seed=1))

    def told(what: str, values: Values, names: Sequence[str]) -> Row:
        shares = tuple(alarms(values, names, count, comparisons) for count in COUNTS)
        return Row(name, f"{ALARMS}: {what}", shares)

    def of_pieces(what: str, optimizer: str) -> Row:
        pieces = (cut(judged, optimizer, count, comparisons) for count in COUNTS)
        return Row(name, f"{what}: {optimizer}", tuple(getattr(each, what) for each in pieces))

    return [
        told("another range", judged, ["own"]),
        told("another range, other seeds", again, ["own"]),
        told("eight at once", judged, list(twins)),
        of_pieces(COVERAGE, "own"),
        of_pieces(COVERAGE, "adam"),
        of_pieces(POWER, "adam"),
    ]


def general(name: str, replicates: int) -> list[tuple[str, ...]]:
    """Hold momentum against SGD, both in their whole spaces, and SGD's rate alone; words."""
    comparison = compare(
        {**TASKS, **PROBLEMS}[name](),
        {"momentum": "momentum", "rate alone": "sgd"},
        replicates=replicates,
        tune={"sgd": "all", "momentum": "all", "rate alone": "rate"},
        budget=36,
        pairs="all",
    )
    return [
        (
            name,
            f"{pair.optimizer} against {pair.other}",
            f"{pair.difference.estimate:.3g} ({pair.difference.low:.3g} to "
            f"{pair.difference.high:.3g})",
            pair.verdict,
        )
        for pair in comparison.pairs
    ]


def claims(measured: Sequence[Row]) -> dict[str, float]:
    """Give what targets are set for: alarms in the mean and at their most, coverage and power."""

    def of(what: str) -> list[float]:
        return [share for row in measured if row.what.startswith(what) for share in row.shares]

    return {
        "alarms, mean": float(np.mean(of(ALARMS))),
        "alarms, most in a cell": max(of(ALARMS)),
        "coverage, its mean from 95%": abs(float(np.mean(of(COVERAGE))) - 0.95),
        "power, mean": float(np.mean(of(POWER))),
    }


def honesty(size: Size) -> Section:
    """Count false alarms, missed truths and differences told, of hundreds of whole comparisons."""
    measured = [row for name in PROBLEMS for row in rows(name, size.comparisons)]
    special = [row for name in GENERAL for row in general(name, size.comparisons)]
    shares = [(row.task, row.what, *(f"{each:.1%}" for each in row.shares)) for row in measured]
    worse = sum(row[-1] == "worse" for row in special if row[1].startswith("momentum"))
    sure = 1 - statistics.spent(1, LEVEL)
    notes = (
        f"Of {size.comparisons} comparisons each. Alarms: plain SGD of another range is told from "
        f"SGD. Coverage: an interval of {sure:.0%} holds the estimate of all replicates together.",
        "Power: a shift by the smallest difference that the comparison before says four in five "
        "would tell is told.",
    )
    return Section(
        claims={**claims(measured), "a more general optimizer is worse": float(worse)},
        tables=[
            Table("Honesty", ("", "", *(f"{count} replicates" for count in COUNTS)), shares),
            Table("Special cases", ("", "", "ratio or difference", ""), special),
        ],
        figures={"shares": [row._asdict() for row in measured], "special": special},
        notes=notes,
    )

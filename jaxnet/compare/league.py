"""What many tasks say together: ranks, wins and losses, and the odds (extra `compare`).

Shapes: N tasks, A optimizers.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxnet._guards import checks
from jaxnet.errors import InputError

WINS, TIES = ("better", "fails less often"), ("as good",)
LOSSES, UNTOLD = ("worse", "fails more often"), ("not told apart",)
_VERDICTS = (*WINS, *TIES, *LOSSES, *UNTOLD, "cannot run", "baseline")
# Odds above this are a statement.
SURE = 0.95
_DRAWS = 50_000


class Friedman(NamedTuple):
    """Friedman's test that all optimizers rank alike, corrected for ties.

    Attributes:
        chi_squared: Friedman's own statistic. f: as Iman and Davenport corrected it.
        p_value: of `f`, but no lower than any order of the ranks could give.
    """

    chi_squared: float
    f: float
    p_value: float


class Odds(NamedTuple):
    """The probability that on most tasks like these an optimizer is better, as good or worse."""

    better: float
    as_good: float
    worse: float


class Tally(NamedTuple):
    """On how many tasks an optimizer got each verdict against the baseline.

    Attributes:
        wins: better, or fails less often. losses: worse, or fails more often. ties: as good.
        untold: not told apart. unable: cannot run.
    """

    wins: int
    ties: int
    untold: int
    losses: int
    unable: int


@dataclasses.dataclass(frozen=True)
class League:
    """What many tasks say together.

    Attributes:
        tasks: N names. optimizers: A names. baseline: one of them.
        scores: shape [N, A], judged values, lower is better; +inf failed, nan not run.
        verdicts: of each task and optimizer, against the baseline.
        differences: shape [N, A], logs of ratios to the baseline's loss, below zero is better;
            infinite where one of the two failed, nan where one did not run.
        margin: a ratio of at most 1 + margin, either way, is as good.
        level: of the test of the ranks and of the critical difference.
        average_ranks: shape [A], 1 is the best, over all tasks; nan for an optimizer that did not
            run on each of them, which is not ranked.
        friedman: whether the ranks differ at all.
        critical_difference: of two average ranks, from where on they are told apart (Nemenyi).
        groups: of optimizers, the best first, within which none are told apart by it; all maximal.
        tallies: of each optimizer. odds: of each against the baseline, nan for itself.
    """

    tasks: tuple[str, ...]
    optimizers: tuple[str, ...]
    baseline: str
    scores: Float[np.ndarray, "N A"]
    verdicts: tuple[tuple[str, ...], ...]
    differences: Float[np.ndarray, "N A"]
    margin: float
    level: float
    average_ranks: Float[np.ndarray, " A"]
    friedman: Friedman
    critical_difference: float
    groups: tuple[tuple[str, ...], ...]
    tallies: tuple[Tally, ...]
    odds: tuple[Odds, ...]

    @property
    def overall(self) -> tuple[str, ...]:
        """What the odds say of each optimizer: a verdict where they are sure."""
        return tuple(map(self._overall, self.optimizers, self.odds))

    def _overall(self, name: str, odds: Odds) -> str:
        if name == self.baseline:
            return "baseline"
        if math.isnan(odds.better):
            return "cannot run"
        words = ("better", "as good", "worse")
        sure = (word for word, share in zip(words, odds, strict=True) if share >= SURE)
        return next(sure, "not told apart")


def of(
    tasks: Sequence[str],
    optimizers: Sequence[str],
    baseline: str,
    scores: Float[np.ndarray, "N A"],
    verdicts: Sequence[Sequence[str]],
    differences: Float[np.ndarray, "N A"],
    margin: float = 0.05,
    level: float = 0.05,
) -> League:
    """Put the answers of many tasks together: arguments and shapes as in `League`.

    Raises:
        InputError: shapes that do not match the names, names that repeat, a baseline that is not
            an optimizer or did not run, a verdict that there is not, a score of -inf, fewer than
            two optimizers, no task, a margin not above zero, or a level not between 0 and 1.
    """
    shape = (len(tasks), len(optimizers))
    _check_names(tasks, optimizers, baseline)
    _check_matrices(shape, scores, verdicts, differences)
    _check_margin(margin)
    if not 0 < level < 1:
        raise InputError(f"level: expected a number between 0 and 1, got {level}")
    base = list(optimizers).index(baseline)
    if np.isnan(scores[:, base]).any():
        raise InputError(
            f"scores: expected a score of the baseline {baseline} for every task, got nan; leave "
            "out the tasks that it cannot run on"
        )
    complete = np.flatnonzero(~np.any(np.isnan(scores), axis=0))
    ranked = [optimizers[index] for index in complete.tolist()]
    average_ranks = np.full(len(optimizers), np.nan)
    average_ranks[complete] = ranks(scores[:, complete]).mean(axis=0)
    apart = critical_difference(len(ranked), len(tasks), level)
    others = np.where(np.arange(len(optimizers)) == base, np.nan, differences)
    return League(
        tasks=tuple(tasks),
        optimizers=tuple(optimizers),
        baseline=baseline,
        scores=scores,
        verdicts=tuple(map(tuple, verdicts)),
        differences=differences,
        margin=margin,
        level=level,
        average_ranks=average_ranks,
        friedman=friedman(scores[:, complete]),
        critical_difference=apart,
        groups=_groups(ranked, average_ranks[complete], apart),
        tallies=wins_losses_ties(verdicts),
        odds=tuple(
            bayesian_signed_rank(column[~np.isnan(column)], math.log1p(margin))
            for column in others.T
        ),
    )


def ranks(scores: Float[np.ndarray, "N A"]) -> Float[np.ndarray, "N A"]:
    """Rank the optimizers of each task, 1 for the lowest score; equal ones share their mean rank.

    What failed ranks last, together; what did not run is nan, and no rank counts it.
    """
    return _scipy().rankdata(scores, axis=1, nan_policy="omit")


def friedman(scores: Float[np.ndarray, "N A"]) -> Friedman:
    """Test whether any optimizer ranks otherwise than the rest; nan where there is but one.

    Reference: Iman & Davenport (1980), Approximations of the Critical Region of the Friedman
        Statistic.
    """
    tasks, optimizers = scores.shape
    if optimizers < 2:
        return Friedman(math.nan, math.nan, math.nan)
    ranked = ranks(scores) - (optimizers + 1) / 2
    within = float(np.sum(ranked**2))
    if within == 0:
        return Friedman(0.0, 0.0, 1.0)
    degrees = optimizers - 1
    most = tasks * degrees
    chi_squared = float(np.sum(ranked.sum(axis=0) ** 2)) * degrees / within
    rest = most - chi_squared
    f = (tasks - 1) * chi_squared / rest if rest > 1e-9 * most else math.inf
    # The same order on every task, which the distribution of f makes impossible.
    least = math.exp((1 - tasks) * math.lgamma(optimizers + 1))
    p_value = float(_scipy().f.sf(f, degrees, degrees * (tasks - 1))) if tasks > 1 else 1.0
    return Friedman(chi_squared, f, max(p_value, least))


def critical_difference(optimizers: int, tasks: int, level: float = 0.05) -> float:
    """Give the difference of two average ranks from where on Nemenyi's test tells them apart.

    It is nan for fewer than two optimizers.

    Reference: Demsar (2006), Statistical Comparisons of Classifiers over Multiple Data Sets.
    """
    if optimizers < 2:
        return math.nan
    spread = math.sqrt(optimizers * (optimizers + 1) / (12 * tasks))
    return float(_scipy().studentized_range.isf(level, optimizers, np.inf)) * spread


def bayesian_signed_rank(differences: Float[np.ndarray, " N"], margin: float) -> Odds:
    """Give the odds that an optimizer is better, as good or worse on most tasks like these.

    A Dirichlet process stands for the tasks there may be, with half a task of no difference as
    what is known before. Infinite differences outweigh all others and cancel one another.

    Args:
        differences: shape [N], below zero is better; nan odds where there are none.
        margin: within which a difference is as good.

    Raises:
        InputError: a nan, or a margin that is not above zero.

    Reference: Benavoli, Corani, Demsar & Zaffalon (2017), Time for a Change: a Tutorial for
        Comparing Multiple Classifiers Through Bayesian Analysis.
    """
    if np.isnan(differences).any():
        raise InputError("differences: expected numbers, got nan; leave out what did not run")
    _check_margin(margin)
    if not differences.size:
        return Odds(math.nan, math.nan, math.nan)
    finite = np.abs(differences[np.isfinite(differences)]).max(initial=margin)
    bounded = np.r_[0.0, np.clip(differences, -4 * finite, 4 * finite)]
    walsh = (bounded[:, None] + bounded) / 2
    weights = _weights(len(differences))
    better, worse = (
        np.sum(weights @ np.heaviside(side - margin, 0.5) * weights, axis=1)
        for side in (-walsh, walsh)
    )
    most = np.argmax([better, 1 - better - worse, worse], axis=0)
    return Odds(*(np.bincount(most, minlength=3) / _DRAWS).tolist())


def wins_losses_ties(verdicts: Sequence[Sequence[str]]) -> tuple[Tally, ...]:
    """Count the verdicts of each optimizer, [N, A], over the tasks."""
    kinds = (WINS, TIES, UNTOLD, LOSSES, ("cannot run",))
    return tuple(
        Tally(*(sum(verdict in kind for verdict in column) for kind in kinds))
        for column in zip(*verdicts, strict=True)
    )


@functools.cache
def _weights(tasks: int) -> Float[np.ndarray, "draws {tasks}+1"]:
    """Draw from the Dirichlet process; the same ones whatever the differences are."""
    return np.random.default_rng(0).dirichlet(np.r_[0.5, np.ones(tasks)], _DRAWS)


def _groups(
    optimizers: list[str], average_ranks: Float[np.ndarray, " A"], apart: float
) -> tuple[tuple[str, ...], ...]:
    """Give the longest stretches of the order within which no two are told apart."""
    order = np.argsort(average_ranks, kind="stable")
    names, places = [optimizers[index] for index in order], average_ranks[order]
    ends = np.searchsorted(places, places + apart, side="left")
    starts = np.flatnonzero(np.diff(ends, prepend=0))
    return tuple(tuple(names[start : ends[start]]) for start in starts)


def _scipy() -> Any:
    checks.extra("compare", "scipy")
    from scipy import stats

    return stats


def _check_margin(margin: float) -> None:
    if not 0 < margin < math.inf:
        raise InputError(f"margin: expected a number above zero, got {margin}")


def _check_names(tasks: Sequence[str], optimizers: Sequence[str], baseline: str) -> None:
    if len(tasks) < 1 or len(set(tasks)) < len(tasks):
        raise InputError(f"tasks: expected names that differ, at least one, got {list(tasks)}")
    if len(optimizers) < 2 or len(set(optimizers)) < len(optimizers):
        names = list(optimizers)
        raise InputError(f"optimizers: expected names that differ, at least two, got {names}")
    if baseline not in optimizers:
        names = ", ".join(optimizers)
        raise InputError(f"baseline: expected one of {names}, got {baseline}")


def _check_matrices(
    shape: tuple[int, int],
    scores: Float[np.ndarray, "N A"],
    verdicts: Sequence[Sequence[str]],
    differences: Float[np.ndarray, "N A"],
) -> None:
    for name, matrix in (("scores", scores), ("differences", differences)):
        if matrix.shape != shape:
            raise InputError(
                f"{name}: expected shape {list(shape)}, a row for each task and a column for each "
                f"optimizer, got shape {list(matrix.shape)}"
            )
    if [len(row) for row in verdicts] != [shape[1]] * shape[0]:
        raise InputError(
            f"verdicts: expected {shape[0]} rows of {shape[1]}, got rows of "
            f"{[len(row) for row in verdicts]}"
        )
    unknown = sorted({verdict for row in verdicts for verdict in row} - set(_VERDICTS))
    if unknown:
        raise InputError(f"verdicts: expected {', '.join(_VERDICTS)}, got {', '.join(unknown)}")
    if np.any(scores == -np.inf):
        raise InputError("scores: expected losses, inf for what failed, got -inf")

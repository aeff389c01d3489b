"""What many tasks say together: ranks, wins and losses, and chances (extra `compare`).

Shapes: N tasks, A optimizers.
"""

import dataclasses
import functools
import math
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxnet._guards import checks
from jaxnet._guards.defaults import LEVEL, MARGIN
from jaxnet.compare import statistics
from jaxnet.compare.comparison import Comparison
from jaxnet.compare.verdicts import Answer, in_words, standard_error
from jaxnet.errors import InputError

WINS, TIES = ("better", "fails less often"), ("as good",)
LOSSES, UNTOLD = ("worse", "fails more often"), ("not told apart",)
_VERDICTS = (*WINS, *TIES, *LOSSES, *UNTOLD, "cannot run", "baseline")
# Draws of what the tasks' differences are, and of how much each task counts, of each of them.
_WORLDS, _DRAWS = 1_000, 50


class Friedman(NamedTuple):
    """Friedman's test that all optimizers rank alike, corrected for ties.

    Attributes:
        chi_squared: Friedman's own statistic. f: as Iman and Davenport corrected it.
        p_value: of `f`, but no lower than any order of the ranks could give.
    """

    chi_squared: float
    f: float
    p_value: float


class Chances(NamedTuple):
    """The probability that on most tasks like these an optimizer is better, as good or worse."""

    better: float
    as_good: float
    worse: float


@dataclasses.dataclass(frozen=True)
class Along:
    """What becomes of a verdict where a length, a batch size or something else changes.

    Attributes:
        optimizer: whose verdict. baseline: what it was held against.
        verdicts: by value of what changes, as words, in their order.
    """

    optimizer: str
    baseline: str
    verdicts: Mapping[str, str]

    @property
    def holds(self) -> bool | None:
        """Whether it holds everywhere: one that fails more often is no better than a worse one.

        It is None where nothing speaks against it but not every value tells.
        """
        sides = (WINS, TIES, LOSSES)
        kinds = [next((s for s in sides if v in s), None) for v in self.verdicts.values()]
        if len({*kinds} - {None}) > 1:
            return False
        return None if None in kinds else True

    @property
    def sentence(self) -> str:
        """That in words."""
        found = dict.fromkeys(self.verdicts.values())
        words = ", ".join(
            f"{word} at {in_a_row([value for value, v in self.verdicts.items() if v == word])}"
            for word in found
        )
        said = {
            True: "The verdict holds",
            False: "The verdict does not hold: it changes",
            None: "Whether that verdict holds is open"
            if found.keys() - {*UNTOLD, "cannot run"}
            else "There is no verdict that could hold",
        }
        baseline = in_words(self.baseline)
        return f"{self.optimizer} against {baseline}: {words}. {said[self.holds]}."


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
        errors: shape [N, A], their standard errors, zero where a difference is exact.
        margin: a ratio of at most 1 + margin, either way, is as good.
        level: of the test of the ranks, of the critical difference and of what is said overall,
            shared out over the optimizers and both sides.
        average_ranks: shape [A], 1 is the best, over all tasks; nan for an optimizer that did not
            run on each of them, which is not ranked.
        friedman: whether the ranks differ at all.
        critical_difference: of two average ranks, from where on they are told apart (Nemenyi).
        groups: of optimizers, the best first, within which none are told apart by it; all maximal.
        tallies: of each optimizer. chances: of each against the baseline, nan for itself.
    """

    tasks: tuple[str, ...]
    optimizers: tuple[str, ...]
    baseline: str
    scores: Float[np.ndarray, "N A"]
    verdicts: tuple[tuple[str, ...], ...]
    differences: Float[np.ndarray, "N A"]
    errors: Float[np.ndarray, "N A"]
    margin: float
    level: float
    average_ranks: Float[np.ndarray, " A"]
    friedman: Friedman
    critical_difference: float
    groups: tuple[tuple[str, ...], ...]
    tallies: tuple[Tally, ...]
    chances: tuple[Chances, ...]

    @property
    def sure(self) -> float:
        """How high a chance must be to be said of one of so many optimizers, on either side."""
        return 1 - self.level / (2 * (len(self.optimizers) - 1))

    @property
    def overall(self) -> tuple[str, ...]:
        """What the chances say of each optimizer: a verdict where one of them is sure."""
        return tuple(map(self._overall, self.optimizers, self.chances, self.differences.T))

    def _overall(self, name: str, chances: Chances, differences: Float[np.ndarray, " N"]) -> str:
        if name == self.baseline:
            return "baseline"
        if math.isnan(chances.better):
            return "cannot run"
        # So few tasks may all lean to one side by luck.
        if 0.5 ** np.count_nonzero(~np.isnan(differences)) > 1 - self.sure:
            return "not told apart"
        words = ("better", "as good", "worse")
        sure = (word for word, share in zip(words, chances, strict=True) if share >= self.sure)
        return next(sure, "not told apart")


def along(results: Mapping[Hashable, Comparison | League]) -> list[Along]:
    """Say of each optimizer whether its verdict holds in comparisons that differ in one thing.

    Args:
        results: by what differs, such as the steps of a run: `{100: ..., 400: ...}`; or leagues.

    Returns:
        One of each optimizer but the baseline, in the order of the first.

    Raises:
        InputError: fewer than two, or of other optimizers or another baseline than the first.
    """
    told = {str(value): _verdicts(result) for value, result in results.items()}
    if len(told) < 2:
        raise InputError(f"results: expected at least two to compare, got {len(told)}; give more")
    first = next(iter(told.values()))
    baseline = next(name for name, word in first.items() if word == "baseline")
    for value, words in told.items():
        ours, theirs = ({(n, w == "baseline") for n, w in each.items()} for each in (first, words))
        if ours != theirs:
            raise InputError(
                f"results: expected {', '.join(first)} in each, against the same baseline, got "
                f"{', '.join(words)} at {value}; compare the same in each"
            )
    return [
        Along(name, baseline, {value: words[name] for value, words in told.items()})
        for name in first
        if name != baseline
    ]


def in_a_row(words: Sequence[str]) -> str:
    """Give words with commas between, and an "and" before the last."""
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last


def _verdicts(result: Comparison | League) -> dict[str, str]:
    if isinstance(result, League):
        return dict(zip(result.optimizers, result.overall, strict=True))
    return {answer.optimizer: answer.verdict for answer in result.answers}


def of(
    tasks: Sequence[str],
    optimizers: Sequence[str],
    baseline: str,
    scores: Float[np.ndarray, "N A"],
    verdicts: Sequence[Sequence[str]],
    differences: Float[np.ndarray, "N A"],
    errors: Float[np.ndarray, "N A"],
    margin: float = MARGIN,
    level: float = LEVEL,
) -> League:
    """Put the answers of many tasks together: arguments and shapes as in `League`.

    Raises:
        InputError: shapes that do not match the names, names that repeat, a baseline that is not
            an optimizer or did not run, a verdict that there is not, a score of -inf, fewer than
            two optimizers, no task, a margin not above zero, or a level not between 0 and 1.
    """
    shape = (len(tasks), len(optimizers))
    _check_names(tasks, optimizers, baseline)
    _check_matrices(
        shape, verdicts, {"scores": scores, "differences": differences, "errors": errors}
    )
    _check_margin(margin)
    statistics.between_0_and_1("level", level)
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
        errors=errors,
        margin=margin,
        level=level,
        average_ranks=average_ranks,
        friedman=friedman(scores[:, complete]),
        critical_difference=apart,
        groups=_groups(ranked, average_ranks[complete], apart),
        tallies=wins_losses_ties(verdicts),
        chances=tuple(
            bayesian_signed_rank(column[ran], math.log1p(margin), error[ran])
            for column, error in zip(others.T, errors.T, strict=True)
            for ran in [~np.isnan(column)]
        ),
    )


def of_comparisons(comparisons: Mapping[str, Comparison]) -> League:
    """Put finished comparisons together, by the names of their tasks.

    Raises:
        InputError: none; comparisons of other optimizers, or judged in another way.
    """
    if not comparisons:
        raise InputError("comparisons: expected at least one, got none; give some")
    first, *others = (each.protocol for each in comparisons.values())
    names = [answer.optimizer for answer in next(iter(comparisons.values())).answers]
    for task, each in comparisons.items():
        got = sorted(answer.optimizer for answer in each.answers)
        if got != sorted(names) or each.protocol.baseline != first.baseline:
            raise InputError(
                f"comparisons: expected {', '.join(names)} on every task, {first.baseline} first, "
                f"got {', '.join(got)} on {task}; compare the same on each"
            )
    if any(each.judging.by != first.judging.by for each in others):
        raise InputError(
            f"comparisons: expected all judged by {first.judging.by}, got others; leave them out"
        )
    by_name = [{each.optimizer: each for each in c.answers} for c in comparisons.values()]
    answers = [[each[name] for name in names] for each in by_name]
    judging = first.judging
    return of(
        tasks=list(comparisons),
        optimizers=names,
        baseline=first.baseline,
        scores=np.array([[_score(each, judging.maximised) for each in row] for row in answers]),
        verdicts=[[each.verdict for each in row] for row in answers],
        differences=np.array(
            [[_log_ratio(each, row[0], judging.maximised) for each in row] for row in answers]
        ),
        errors=np.array(
            [
                [_error(comparison, each, row[0]) for each in row]
                for comparison, row in zip(comparisons.values(), answers, strict=True)
            ]
        ),
        margin=judging.margin,
        level=judging.level,
    )


def _score(answer: Answer, maximised: bool) -> float:
    value = answer.value.estimate
    return -value if maximised else value


def _log_ratio(answer: Answer, baseline: Answer, maximised: bool) -> float:
    """Give the log of how many times the baseline's value an optimizer's is, or is like.

    A difference is a share of the baseline's value, whose margin is that of a ratio; below zero is
    better, whatever is.
    """
    pair = answer.pair
    if pair is None:
        return math.nan
    if pair.verdict in ("fails more often", "fails less often"):
        return math.inf if pair.verdict == "fails more often" else -math.inf
    estimate, size = pair.difference.estimate, abs(baseline.value.estimate)
    if pair.scale == "ratio":
        return math.log(estimate)
    estimate = -estimate if maximised else estimate
    if not size:
        return math.copysign(math.inf, estimate) if estimate else 0.0
    return math.copysign(math.log1p(abs(estimate / size)), estimate)


def _error(comparison: Comparison, answer: Answer, baseline: Answer) -> float:
    """Give the standard error of `_log_ratio`."""
    pair = answer.pair
    size = abs(baseline.value.estimate)
    if not (pair and size and math.isfinite(_log_ratio(answer, baseline, maximised=False))):
        return 0.0
    error = standard_error(comparison, pair)
    return error if pair.scale == "ratio" else error / (size + abs(pair.difference.estimate))


def ranks(scores: Float[np.ndarray, "N A"]) -> Float[np.ndarray, "N A"]:
    """Rank the optimizers of each task, 1 for the lowest score; equal ones share their mean rank.

    What failed ranks last, together; what did not run is nan, and no rank counts it.
    """
    return statistics.scipy().stats.rankdata(scores, axis=1, nan_policy="omit")


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
    p_value = (
        float(statistics.scipy().stats.f.sf(f, degrees, degrees * (tasks - 1)))
        if tasks > 1
        else 1.0
    )
    return Friedman(chi_squared, f, max(p_value, least))


def critical_difference(optimizers: int, tasks: int, level: float = LEVEL) -> float:
    """Give the difference of two average ranks from where on Nemenyi's test tells them apart.

    It is nan for fewer than two optimizers.

    Reference: Demsar (2006), Statistical Comparisons of Classifiers over Multiple Data Sets.
    """
    if optimizers < 2:
        return math.nan
    spread = math.sqrt(optimizers * (optimizers + 1) / (12 * tasks))
    return float(statistics.scipy().stats.studentized_range.isf(level, optimizers, np.inf)) * spread


def bayesian_signed_rank(
    differences: Float[np.ndarray, " N"], margin: float, errors: Float[np.ndarray, " N"]
) -> Chances:
    """Give the chances that an optimizer is better, as good or worse on most tasks like these.

    A Dirichlet process stands for the tasks there may be, with half a task of no difference as
    what is known before; each task's difference is drawn from a normal distribution around it.
    Infinite differences outweigh all others and cancel one another.

    Args:
        differences: shape [N], below zero is better; nan chances where there are none.
        margin: within which a difference is as good.
        errors: shape [N], the standard errors of the differences.

    Raises:
        InputError: a nan, or a margin that is not above zero.

    Reference: Benavoli, Corani, Demsar & Zaffalon (2017), Time for a Change: a Tutorial for
        Comparing Multiple Classifiers Through Bayesian Analysis.
    """
    if np.isnan(differences).any():
        raise InputError("differences: expected numbers, got nan; leave out what did not run")
    _check_margin(margin)
    if not differences.size:
        return Chances(math.nan, math.nan, math.nan)
    weights, noise = _draws(len(differences))
    drawn = differences + errors * noise
    finite = np.abs(np.where(np.isfinite(drawn), drawn, 0.0)).max(axis=1, initial=margin)
    most = 4 * finite[:, None]
    bounded = np.insert(np.clip(drawn, -most, most), 0, 0.0, axis=1)
    walsh = (bounded[:, :, None] + bounded[:, None]) / 2
    better, worse = (
        np.sum(weights @ np.heaviside(side - margin, 0.5) * weights, axis=-1).ravel()
        for side in (-walsh, walsh)
    )
    likeliest = np.argmax([better, 1 - better - worse, worse], axis=0)
    return Chances(*(np.bincount(likeliest, minlength=3) / len(likeliest)).tolist())


def wins_losses_ties(verdicts: Sequence[Sequence[str]]) -> tuple[Tally, ...]:
    """Count the verdicts of each optimizer, [N, A], over the tasks."""
    kinds = (WINS, TIES, UNTOLD, LOSSES, ("cannot run",))
    return tuple(
        Tally(*(sum(verdict in kind for verdict in column) for kind in kinds))
        for column in zip(*verdicts, strict=True)
    )


@functools.cache
def _draws(
    tasks: int,
) -> tuple[Float[np.ndarray, "worlds draws {tasks}+1"], Float[np.ndarray, "worlds {tasks}"]]:
    """Draw from the Dirichlet process, and standard normals; the same ones whatever is given."""
    random = np.random.default_rng(0)
    weights = random.dirichlet(np.r_[0.5, np.ones(tasks)], (_WORLDS, _DRAWS))
    return weights, random.normal(size=(_WORLDS, tasks))


def _groups(
    optimizers: list[str], average_ranks: Float[np.ndarray, " A"], apart: float
) -> tuple[tuple[str, ...], ...]:
    """Give the longest stretches of the order within which no two are told apart."""
    order = np.argsort(average_ranks, kind="stable")
    names, places = [optimizers[index] for index in order], average_ranks[order]
    ends = np.searchsorted(places, places + apart, side="left")
    starts = np.flatnonzero(np.diff(ends, prepend=0))
    return tuple(tuple(names[start : ends[start]]) for start in starts)


def _check_margin(margin: float) -> None:
    if not 0 < margin < math.inf:
        raise InputError(f"margin: expected a number above zero, got {margin}; give a share")


def _check_names(tasks: Sequence[str], optimizers: Sequence[str], baseline: str) -> None:
    checks.in_a_line("tasks", *tasks)
    checks.in_a_line("optimizers", *optimizers)
    if len(tasks) < 1 or len(set(tasks)) < len(tasks):
        raise InputError(
            f"tasks: expected names that differ, at least one, got {list(tasks)}; rename them"
        )
    if len(optimizers) < 2 or len(set(optimizers)) < len(optimizers):
        names = list(optimizers)
        raise InputError(
            f"optimizers: expected names that differ, at least two, got {names}; rename them"
        )
    if baseline not in optimizers:
        names = ", ".join(optimizers)
        raise InputError(f"baseline: expected one of {names}, got {baseline}; give one of them")


def _check_matrices(
    shape: tuple[int, int],
    verdicts: Sequence[Sequence[str]],
    matrices: Mapping[str, Float[np.ndarray, "N A"]],
) -> None:
    for name, matrix in matrices.items():
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
        raise InputError(
            f"verdicts: expected {', '.join(_VERDICTS)}, got {', '.join(unknown)}; give one of them"
        )
    if np.any(matrices["scores"] == -np.inf):
        raise InputError(
            "scores: expected losses, inf for what failed, got -inf; leave that task out"
        )

"""What the replicates of a comparison say, and how sure it is (extra `compare`).

Values are judged ones, one of each replicate: lower is better. A replicate that failed, because it
diverged or never reached a target, is +inf.

Two optimizers are compared pair by pair, by two exact tests of one hypothesis: that the two of any
pair could be exchanged. One asks whether one of them fails more often, the other whether it does
better where both lasted. They share one level, so that a verdict is wrong no more often than the
level says; `spent` divides that over looks at a growing comparison, and the caller divides it over
the optimizers compared (Bonferroni), which makes the intervals simultaneous.

Shapes: R replicates, E measurements along a run, K of anything else.
"""

import bisect
import functools
import math
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxnet._guards import checks
from jaxnet.errors import InputError

Scale = Literal["ratio", "difference"]
Verdict = Literal[
    "better",
    "worse",
    "as good",
    "fails more often",
    "fails less often",
    "not told apart",
    "baseline",
    "cannot run",
]

# Up to here the distribution of the signed-rank statistic is exact. Beyond, the normal one gives
# p-values that are too large: by 0.2% at p = 0.05, by 4% at 0.001 and by 8% at 0.0001.
_MOST_EXACT = 400
_MOST_LISTED = 20_000
# Of alpha: one failure more than could ever be told is told, and losses keep a quarter.
_MOST_OF_FAILURES = 0.75
_LARGEST = np.finfo(np.float64).max
# Samples that a power is counted in, twice; and the pairs of each where there are more, lest
# thousands take as long as their square.
_DRAWS = 200
# Found by simulation, over normal differences and heavy tails: of 20 pairs it is 6% more.
_FEW = 25
_MOST_DRAWN = 40


class Interval(NamedTuple):
    """An estimate and its confidence interval.

    A bound that failures make infinite is infinite; too few replicates to have any give nan.
    """

    estimate: float
    low: float
    high: float


class Paired(NamedTuple):
    """A comparison with a baseline, pair by pair.

    Attributes:
        difference: values over the baseline's on the scale of ratios, below 1 is better, or values
            minus the baseline's, below 0 is better; of the pairs that lasted.
        p_value: of no difference in these, two-sided. It is at most the alpha of the interval if
            and only if the interval excludes 1 or 0.
        only: in how many pairs these values alone failed, and in how many the baseline alone.
        p_failures: of failing equally often, two-sided.
        lasted: in how many pairs neither failed.
    """

    difference: Interval
    p_value: float
    only: tuple[int, int]
    p_failures: float
    lasted: int


def scale_of(values: Iterable[Float[np.ndarray, " _"]]) -> Scale:
    """Compare as ratios where every value that is finite is above zero, else as differences."""
    above = all(np.all(each > 0) for each in map(np.asarray, values))
    return "ratio" if above else "difference"


def location(values: Float[np.ndarray, " R"], alpha: float, scale: Scale) -> Interval:
    """Estimate where values lie: their Hodges-Lehmann pseudo-median, and the interval around it.

    It is the median of the means of every two values, each with itself as well; of the geometric
    means on the scale of ratios. Failures count as +inf. The interval inverts Wilcoxon's
    signed-rank test, for values that lie symmetrically on their scale.

    Args:
        values: shape [R].
        alpha: one minus the level of the interval.
        scale: that the means are taken on.

    Raises:
        InputError: no values, a nan, or one not above zero on the scale of ratios.

    Reference: Hollander, Wolfe & Chicken (2014), Nonparametric Statistical Methods, 3.2 and 3.3.
    """
    values = _checked("values", values, scale)
    between_0_and_1("alpha", alpha)
    return _back(_pseudo_median(np.log(values) if scale == "ratio" else values, alpha), scale)


def paired(
    values: Float[np.ndarray, " R"],
    baseline: Float[np.ndarray, " R"],
    alpha: float,
    scale: Scale,
) -> Paired:
    """Compare by two exact tests: of how often each fails, and of the pairs where both lasted.

    Failures: McNemar's test of the pairs where only one failed. The others: Wilcoxon's signed-rank
    test, its estimate and the interval that it inverts to, all read off the mean of every two
    differences. One that is tied with zero counts against either verdict: any way of breaking the
    tie gives a valid test, and this is the most cautious of them.

    The two tests share alpha, half each. Where so few failures tell nothing at half of it, they
    have what they do tell at, up to three quarters; one test has all of it where the other has too
    few pairs to tell anything. How many there are is the same whichever of the two is called the
    baseline, so this choice costs nothing. The interval is at the level of the test of losses.

    Args:
        values: shape [R], of an optimizer.
        baseline: shape [R], of the baseline in the same replicates.
        alpha: how often a verdict may be given where there is no difference.
        scale: of the difference.

    Raises:
        InputError: lengths that differ, no values, a nan, or one not above zero on the scale of
            ratios.

    Reference: Hollander, Wolfe & Chicken (2014), Nonparametric Statistical Methods, 3.1 to 3.3.
    """
    differences, only = _pairs(values, baseline, scale)
    between_0_and_1("alpha", alpha)
    alpha_losses, _ = _shares(len(differences), sum(only), alpha)
    return Paired(
        _back(_pseudo_median(differences, alpha_losses), scale),
        _signed_rank(differences),
        only,
        min(1.0, 2 * float(scipy().stats.binom.cdf(min(only), sum(only), 0.5))),
        len(differences),
    )


def verdict(pair: Paired, alpha: float, margin: float, scale: Scale, size: float) -> Verdict:
    """Say in two words what a comparison says.

    What fails more often is called that even if it is better where it lasts: it is of no use to
    whom it fails. "as good" takes an interval within the margin, and no more failures than the
    baseline has; it goes before "better" and "worse", as such a difference does not matter.

    Args:
        pair: the comparison; alpha and scale: as it was made with.
        margin: what difference does not matter, as a share of the baseline's value.
        size: the baseline's value, that the margin is a share of on the scale of differences.
    """
    _, alpha_failures = _shares(pair.lasted, sum(pair.only), alpha)
    if pair.p_failures <= alpha_failures:
        return "fails more often" if pair.only[0] > pair.only[1] else "fails less often"
    _, low, high = pair.difference
    most = widest(margin, scale, size)
    same, least = (1.0, 1 / most) if scale == "ratio" else (0.0, -most)
    if least <= low and high <= most and pair.only[0] <= pair.only[1]:
        return "as good"
    if high < same:
        return "better"
    if low > same:
        return "worse"
    return "not told apart"


def widest(margin: float, scale: Scale, size: float) -> float:
    """Give the largest ratio or difference within a margin, nan of a baseline that has no value.

    Args:
        margin, scale, size: as of `verdict`.
    """
    if not margin >= 0:
        raise InputError(f"margin: expected at least 0, got {margin}; give a share")
    if scale == "ratio":
        return 1 + margin
    return margin * abs(size) if math.isfinite(size) else math.nan


def adjusted(pair: Paired, alpha: float, level: float) -> float:
    """Give one p-value of both tests, corrected so that at most `level` is a verdict.

    Args:
        pair: the comparison; alpha: as it was made with.
        level: of all comparisons, of which alpha is the share of this one.
    """
    shares = _shares(pair.lasted, sum(pair.only), alpha)
    both = zip((pair.p_value, pair.p_failures), shares, strict=True)
    return min(1.0, *(level * p_value / share for p_value, share in both if share > 0))


def spent(look: int, level: float) -> float:
    """Give what a look at a growing comparison may spend of the level: 4/5 the first, then halves.

    Each further look spends half of what is left, so that any number of them spends less than the
    level.
    """
    checks.at_least_one(look=look)
    between_0_and_1("level", level)
    return level * (0.8 if look == 1 else 0.2 / 2 ** (look - 1))


def fewest(alpha: float) -> int:
    """Give the pairs below which neither test can tell anything: where 2**(1 - n) exceeds alpha."""
    between_0_and_1("alpha", alpha)
    return 2 - math.frexp(alpha)[1]


@np.errstate(over="ignore")
def smallest_told(
    values: Float[np.ndarray, " R"],
    baseline: Float[np.ndarray, " R"],
    alpha: float,
    scale: Scale,
    power: float = 0.8,
) -> float:
    """Give the smallest difference that pairs like these would have told, with a power.

    Pairs are drawn from these, moved so that they have no difference: a shift is told where the
    interval of what is drawn, shifted, is clear of zero. Of few pairs the shift is larger, as they
    do not know how far others spread. Many are drawn by 40, whose shift is larger by a square root.

    The power is as stated from 20 pairs on; of 10 with heavy tails, as twins have, 0.8 is 0.7.

    Args:
        values, baseline, alpha, scale: as of `paired`.
        power: the chance that it is told.

    Returns:
        A ratio of at least 1, or a difference of at least 0, the least where pairs are alike; inf
        where so few never tell.

    Reference: Collings and Hamilton (1988), Estimating the power of the two-sample Wilcoxon test
    for location shift.
    """
    between_0_and_1("power", power)
    differences, only = _pairs(values, baseline, scale)
    alpha_losses, _ = _shares(len(differences), sum(only), alpha)
    count = len(differences)
    if not alpha_losses or count < fewest(alpha_losses):
        return math.inf
    pairs = min(count, max(_MOST_DRAWN, 2 * fewest(alpha_losses)))
    rejecting = _rejecting(pairs, alpha_losses)
    halves = differences / 2 - _pseudo_median(differences, alpha_losses).estimate / 2
    drawn = np.random.default_rng(0).integers(count, size=(_DRAWS, pairs))
    # From either end: to exchange the two optimizers changes nothing.
    samples = halves[np.concatenate([drawn, count - 1 - drawn])]
    first, second = np.triu_indices(pairs)
    means = np.sort(np.take(samples, first, 1) + np.take(samples, second, 1))
    needed = np.concatenate([-means[:, rejecting - 1], means[:, -rejecting]])
    needed = max(0.0, float(np.quantile(needed, power, method="higher")))
    smallest = needed * math.sqrt(pairs / count) * (1 + _FEW / count**2)
    return _ratio(smallest) if scale == "ratio" else smallest


def standard_error(
    values: Float[np.ndarray, " R"], baseline: Float[np.ndarray, " R"], scale: Scale
) -> float:
    """Give the standard error of the difference of pairs, of its logarithm on the scale of ratios.

    It is half of the interval at the level that one standard error either way has; inf where so few
    pairs lasted that there is none.
    """
    differences, _ = _pairs(values, baseline, scale)
    low, high = _bounds(differences, 2 * float(scipy().special.ndtr(-1.0)))
    return math.inf if math.isnan(low) else (high - low) / 2


def steps_to_target(
    losses: Float[np.ndarray, "R E"], steps: Int[np.ndarray, " E"], target: float
) -> Float[np.ndarray, " R"]:
    """Give the first measured step whose loss is at or below the target, inf where there is none.

    Nothing that follows a loss that is not finite counts: such a run never reaches the target.

    Raises:
        InputError: shapes that do not match.
    """
    if losses.ndim != 2 or losses.size == 0 or losses.shape[1:] != steps.shape:
        raise InputError(
            "losses: expected shape [R, E], a measurement of each run at each of the "
            f"{len(steps)} steps, got shape {list(losses.shape)}"
        )
    reaches = np.logical_and.accumulate(np.isfinite(losses), axis=1) & (losses <= target)
    return np.where(reaches.any(axis=1), steps[reaches.argmax(axis=1)], np.inf)


def profile(
    values: dict[str, Float[np.ndarray, " R"]], ratios: Float[np.ndarray, " K"]
) -> dict[str, Float[np.ndarray, " K"]]:
    """Give the share of seeds on which each optimizer is within each ratio of the seed's best.

    Ratios of losses at or below zero are taken as by `within`.

    Raises:
        InputError: seeds that differ in number, none, a nan, or a ratio below one.

    Reference: Dolan & Moré (2002), Benchmarking Optimization Software with Performance Profiles.
    """
    if not np.all(ratios >= 1):
        raise InputError(f"ratios: expected at least 1, got {ratios}; a ratio is to the best")
    checked = {name: _checked(f"values[{name!r}]", losses) for name, losses in values.items()}
    if len({len(losses) for losses in checked.values()}) != 1:
        raise InputError(
            "values: expected the same replicates for every optimizer, got "
            f"{ {name: len(losses) for name, losses in checked.items()} }"
        )
    best = np.min(list(checked.values()), axis=0)
    return {
        name: within(losses, best, ratios[:, None]).mean(axis=1) for name, losses in checked.items()
    }


@functools.cache
def scipy() -> Any:
    """Import SciPy's statistics, which takes as long as JAX does."""
    checks.extra("compare", "scipy")
    import scipy.stats

    return scipy


def _pairs(
    values: Float[np.ndarray, " R"], baseline: Float[np.ndarray, " R"], scale: Scale
) -> tuple[Float[np.ndarray, " K"], tuple[int, int]]:
    """Give the differences of the pairs that lasted, in order, and how many failed on one side."""
    values, baseline = _checked("values", values, scale), _checked("baseline", baseline, scale)
    if len(values) != len(baseline):
        raise InputError(
            f"baseline: expected a value for each of the {len(values)} replicates of values, got "
            f"{len(baseline)}; judge both in the same replicates"
        )
    lasts, baseline_lasts = np.isfinite(values), np.isfinite(baseline)
    a, b = values[lasts & baseline_lasts], baseline[lasts & baseline_lasts]
    with np.errstate(over="ignore"):
        differences = a - b
        if scale == "ratio":
            # The larger over the smaller: exchanging the two changes the sign and nothing else.
            differences = np.copysign(np.log(np.maximum(a, b) / np.minimum(a, b)), differences)
    only = int(np.sum(baseline_lasts & ~lasts)), int(np.sum(lasts & ~baseline_lasts))
    return np.sort(np.clip(differences, -_LARGEST, _LARGEST)), only


def _shares(lasted: int, failed: int, alpha: float) -> tuple[float, float]:
    """Share alpha out over the test of losses and the one of failures."""
    # All failures on one side have the lowest p-value that so many can have.
    failures = max(alpha / 2, 2.0 ** (1 - failed))
    if failures > _MOST_OF_FAILURES * alpha:
        return (alpha, 0.0) if lasted >= failed else (0.0, alpha)
    losses = alpha - failures
    return (losses, failures) if lasted >= fewest(losses) else (0.0, alpha)


def _pseudo_median(values: Float[np.ndarray, " K"], alpha: float) -> Interval:
    if not len(values):
        return Interval(math.nan, math.nan, math.nan)
    values = np.sort(values)
    half = (len(values) * (len(values) + 1) // 2 + 1) // 2
    estimate = (_walsh_average(values, half) - _walsh_average(-values[::-1], half)) / 2
    return Interval(estimate, *_bounds(values, alpha))


def _bounds(values: Float[np.ndarray, " K"], alpha: float) -> tuple[float, float]:
    """Give the bounds of the pseudo-median of sorted values, nan where they are too few."""
    if not (rejecting := _rejecting(len(values), alpha)):
        return math.nan, math.nan
    # Taken from zero, as the negative of zero would be shown as -0.
    return _walsh_average(values, rejecting), 0.0 - _walsh_average(-values[::-1], rejecting)


def _signed_rank(differences: Float[np.ndarray, " K"]) -> float:
    """Give the p-value of no difference, two-sided."""
    if not len(differences):
        return 1.0
    index = np.arange(len(differences))
    not_above, not_below = (
        int((_ends(each, 0.0) - index).sum()) for each in (differences, -differences[::-1])
    )
    return min(1.0, 2 * _cdf(len(differences), min(not_above, not_below)))


def _rejecting(pairs: int, alpha: float) -> int:
    """Count the values of the signed-rank statistic, from 0 on, whose p-value is at most alpha."""
    values = range(pairs * (pairs + 1) // 2 + 1)
    return bisect.bisect_right(values, alpha, key=lambda value: 2 * _cdf(pairs, value))


def _cdf(pairs: int, statistic: int) -> float:
    if pairs <= _MOST_EXACT:
        return float(_exact_cdf(pairs)[statistic])
    mean = pairs * (pairs + 1) / 4
    deviation = math.sqrt(mean * (2 * pairs + 1) / 6)
    return float(scipy().special.ndtr((statistic + 0.5 - mean) / deviation))


@functools.lru_cache(64)
def _exact_cdf(pairs: int) -> Float[np.ndarray, " K"]:
    """Give the distribution of Wilcoxon's statistic, 0 to R (R + 1) / 2, without ties."""
    probability = np.ones(1)
    for rank in range(1, pairs + 1):
        shift = np.zeros(rank)
        probability = np.r_[probability, shift] / 2 + np.r_[shift, probability] / 2
    return probability.cumsum()


@np.errstate(invalid="ignore", over="ignore")
def _walsh_average(values: Float[np.ndarray, " K"], rank: int) -> float:
    """Give one of the means of every two sorted values, the lowest for rank 1.

    Sums are listed once few are left between two bounds, which are brought together by halving
    over the integers that floats are in order. It is above zero just where so few sums are not
    that the test rejects, whatever is rounded.
    """
    index = np.arange(len(values))
    first, last = index, np.full(len(values), len(values))
    low, high = _order(2 * values[0]), _order(2 * values[-1])
    while (last - first).sum() > _MOST_LISTED:
        if low == high:
            return _float(low) / 2
        middle = (low + high) // 2
        ends = _ends(values, _float(middle))
        if (ends - index).sum() >= rank:
            high, last = middle, ends
        else:
            low, first = middle + 1, ends
    counts, rank = last - first, rank - int((first - index).sum())
    rows = np.repeat(index, counts)
    columns = np.arange(len(rows)) + np.repeat(last - counts.cumsum(), counts)
    return float(np.partition(values[rows] + values[columns], rank - 1)[rank - 1]) / 2


def _ends(values: Float[np.ndarray, " K"], most: float) -> Int[np.ndarray, " K"]:
    """Give, of each sorted value, where those end that it sums with to at most so.

    They begin at itself, so that no sum is counted twice.
    """
    # Infinity minus infinity is nan, and sorts where it should: after all.
    return np.maximum(values.searchsorted(most - values, side="right"), np.arange(len(values)))


def _order(number: float) -> int:
    magnitude = int(np.abs(np.float64(number)).view(np.int64))
    return -magnitude if number < 0 else magnitude


def _float(order: int) -> float:
    return math.copysign(float(np.int64(abs(order)).view(np.float64)), order)


def _back(interval: Interval, scale: Scale) -> Interval:
    return Interval(*map(_ratio, interval)) if scale == "ratio" else interval


def _ratio(logarithm: float) -> float:
    """Give a ratio that is 1 only where its logarithm is 0."""
    with np.errstate(over="ignore"):
        ratio = float(np.exp(logarithm))
    return math.nextafter(1, math.inf * logarithm) if ratio == 1 and logarithm else ratio


def within(losses: Any, best: Any, factor: Any) -> Any:
    """Tell which losses are within a factor of the best; a diverged run never is.

    Where the best is negative a loss is within the factor if it is at most the best divided by it;
    where it is zero, only zero is.
    """
    return np.isfinite(losses) & (losses <= np.maximum(best * factor, best / factor))


def _checked(name: str, values: Any, scale: Scale = "difference") -> Float[np.ndarray, " K"]:
    values = np.asarray(values, np.float64) + 0.0  # For -0.0, of a metric that was negated.
    if values.ndim != 1 or values.size == 0:
        raise InputError(
            f"{name}: expected one value of each replicate, got shape {list(values.shape)}"
        )
    if np.any(wrong := np.isnan(values) | (values == -np.inf)):
        raise InputError(
            f"{name}: expected numbers, inf for a failure, got {values[wrong][0]}; give inf"
        )
    if scale == "ratio" and values.min() <= 0:
        raise InputError(
            f"{name}: expected values above zero, to compare as ratios, got {values.min()}; "
            "compare as differences"
        )
    return values


def between_0_and_1(name: str, share: float) -> None:
    """Refuse a level, or another share, that is none.

    Raises:
        InputError: by its name.
    """
    if not 0 < share < 1:
        raise InputError(f"{name}: expected a number between 0 and 1, got {share}; such as 0.05")

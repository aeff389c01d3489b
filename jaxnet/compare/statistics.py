"""What runs over several seeds say, and how sure it is (extra `compare`).

Values are losses, one of each run: lower is better. A run that diverged is +inf, worse than every
run that did not; it ranks last and is never averaged. What it would make infinite is nan.

Shapes: S seeds, E measurements along a run, L learning rates, K of anything else.
"""

import functools
import math
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxnet._guards import checks
from jaxnet.errors import InputError

_RESAMPLES = 9999
_MOST_SEEDS = 100_000


class Interval(NamedTuple):
    """An estimate and its confidence interval; nan where there is none."""

    estimate: float
    low: float
    high: float


class Paired(NamedTuple):
    """A comparison with a baseline, paired by seed.

    Attributes:
        difference: values minus baseline, so below zero is better.
        p_value: of no difference, two-sided. The interval holds zero if and only if this is above
            one minus its level.
        sign: of the difference, -1 or 1, also where divergence leaves no finite estimate; 0 where
            as much speaks for as against.
    """

    difference: Interval
    p_value: float
    sign: int


class Times(NamedTuple):
    """Steps to a target: the median over all runs, and how many of them reached it."""

    median: Interval
    reached: int
    total: int


def median(values: Float[np.ndarray, " S"], level: float = 0.95) -> Interval:
    """Estimate the median with a bootstrap interval, expanded as for `interquartile_mean`."""
    return _bootstrap(np.median, values, level)


def interquartile_mean(values: Float[np.ndarray, " S"], level: float = 0.95) -> Interval:
    """Estimate the mean without the quarter at either end, with an expanded bootstrap interval.

    Below six seeds the interval is little more than the range of the values and covers less than
    its level says: 94% for five seeds, 88% for four, 75% for three.

    Reference: Agarwal, Schwarzer, Castro, Courville & Bellemare (2021), Deep Reinforcement
        Learning at the Edge of the Statistical Precipice.
    """
    return _bootstrap(lambda x, axis: _scipy().trim_mean(x, 0.25, axis=axis), values, level)


def paired(
    values: Float[np.ndarray, " S"], baseline: Float[np.ndarray, " S"], level: float = 0.95
) -> Paired:
    """Compare by Wilcoxon's exact signed-rank test, its estimate and the interval it inverts to.

    Both are read off the Walsh averages of the differences. One that is tied with zero counts
    against either verdict: any way of breaking the tie gives a valid test, and this is the most
    cautious of them. A diverged run differs infinitely from one that did not, and not at all
    from another. Too few seeds to ever tell a difference give bounds of nan.

    Raises:
        InputError: lengths that differ, no seeds, a nan, or a level not between 0 and 1.

    Reference: Hollander, Wolfe & Chicken (2014), Nonparametric Statistical Methods, 3.1 to 3.3.
    """
    values, baseline = _checked("values", values), _checked("baseline", baseline)
    _between_0_and_1("level", level)
    if len(values) != len(baseline):
        raise InputError(
            f"baseline: expected a run for each of the {len(values)} seeds of values, got "
            f"{len(baseline)}; run both on the same seeds"
        )
    with np.errstate(invalid="ignore"):
        difference = np.where(values == baseline, 0.0, values - baseline)
        walsh = _sums_of_pairs(difference) / 2
        # nan: diverged here on one seed and there on another, which cancel in the estimate.
        estimate = np.nanmedian(walsh)
    not_worse, not_better = np.count_nonzero(~(walsh > 0)), np.count_nonzero(~(walsh < 0))
    p_values = np.minimum(1, 2 * _signed_rank_cdf(len(values)))
    low = high = np.nan
    if rejecting := np.count_nonzero(p_values <= 1 - level):
        low = np.sort(np.where(np.isnan(walsh), -np.inf, walsh))[rejecting - 1]
        high = np.sort(np.where(np.isnan(walsh), np.inf, walsh))[-rejecting]
    return Paired(
        _interval(estimate, low, high),
        float(p_values[min(not_worse, not_better)]),
        int(np.sign(not_better - not_worse)),
    )


def holm(p_values: Float[np.ndarray, " K"]) -> Float[np.ndarray, " K"]:
    """Adjust p-values for testing all of them; nan stays nan and does not count as a test.

    Reference: Holm (1979), A Simple Sequentially Rejective Multiple Test Procedure.
    """
    order = np.argsort(p_values)  # nan last
    tests = np.count_nonzero(~np.isnan(p_values))
    adjusted = np.full(len(p_values), np.nan)
    scaled = p_values[order[:tests]] * np.arange(tests, 0, -1)
    adjusted[order[:tests]] = np.minimum(1, np.maximum.accumulate(scaled))
    return adjusted


def verdict(adjusted: float, comparison: Paired, level: float = 0.05) -> str:
    """Say "better", "worse" or "not told apart" of a comparison whose p-value was adjusted."""
    if adjusted <= level:
        return "better" if comparison.sign < 0 else "worse"
    return "not told apart"


def fewest_seeds(tests: int, level: float = 0.05) -> int:
    """Give the seeds below which `paired`, corrected for so many tests, can tell no difference."""
    return math.ceil(1 + math.log2(tests / level))


def seeds_needed(
    differences: Float[np.ndarray, " S"], level: float = 0.05, power: float = 0.8, tests: int = 1
) -> int | None:
    """Foresee how many seeds `paired` needs to tell a difference as large as the one seen.

    It is none for differences that lean to neither side, that are fewer than three or not finite,
    and where it would be over 100,000. The level is shared out over the tests.

    Reference: Noether (1987), Sample Size Determination for Some Common Nonparametric Tests.
    """
    _between_0_and_1("level", level)
    _between_0_and_1("power", power)
    differences = np.asarray(differences, np.float64)
    if len(differences) < 3 or not np.isfinite(differences).all():
        return None
    # How much likelier than not the mean of two differences has the sign that most have.
    lean = abs(np.sign(_sums_of_pairs(differences, 1)).mean()) / 2
    normal = _scipy().norm
    deviates = normal.isf(level / tests / 2) + normal.isf(1 - power)
    if 3 * _MOST_SEEDS * lean**2 < deviates**2:
        return None
    return math.ceil(deviates**2 / (3 * lean**2))


def steps_to_target(
    losses: Float[np.ndarray, "S E"],
    steps: Int[np.ndarray, " E"],
    target: float,
    level: float = 0.95,
) -> Times:
    """Find the median of the first measured step whose loss is at or below the target.

    The median is nan where over half of the runs never reach the target. The interval inverts
    the sign test; below six seeds it has no bounds.

    Raises:
        InputError: shapes that do not match.

    Reference: Brookmeyer & Crowley (1982), A Confidence Interval for the Median Survival Time.
    """
    if losses.ndim != 2 or losses.size == 0 or losses.shape[1:] != steps.shape:
        raise InputError(
            "losses: expected shape [S, E], a measurement of each run at each of the "
            f"{len(steps)} steps, got shape {list(losses.shape)}"
        )
    _between_0_and_1("level", level)
    reaches = np.logical_and.accumulate(np.isfinite(losses), axis=1) & (losses <= target)
    reached = reaches.any(axis=1)
    # A run that diverged is not lost to follow-up: whatever its budget it never reaches the
    # target, so it is censored at the end, as every run that did not reach it. Nothing being
    # censored before, the Kaplan-Meier curve is the share of runs yet to reach the target, and
    # its median is that of the ordered times with the censored ones last.
    times = np.sort(np.where(reached, steps[reaches.argmax(axis=1)], np.inf))
    bounds = _scipy().quantile_test(times, p=0.5).confidence_interval(level)
    middle = times[(len(times) - 1) // 2]
    return Times(_interval(middle, bounds.low, bounds.high), int(reached.sum()), len(times))


def best_of(values: Float[np.ndarray, " L"]) -> Float[np.ndarray, " L"]:
    """Expect the lowest of k values drawn without replacement, for k = 1 to L.

    It is nan where all k may be diverged runs.

    Reference: Dodge, Gururangan, Card, Schwartz & Smith (2019), Show Your Work, who draw with
        replacement.
    """
    values = np.sort(_checked("values", values))
    draws = np.arange(1, len(values) + 1)
    # Row i: the probability that none of the i lowest is among the k drawn.
    none = _scipy().hypergeom.pmf(0, len(values), np.arange(len(values) + 1)[:, None], draws)
    lowest = -np.diff(none, axis=0)
    finite = np.isfinite(values)
    expected = np.where(finite, values, 0.0) @ lowest
    return np.where(draws > np.sum(~finite), expected, np.nan)


def share_within(values: Float[np.ndarray, " L"], factor: float = 1.1) -> float:
    """Give the share of losses within a factor of the lowest; a diverged run never is.

    Where the lowest is negative a loss is within the factor if it is at most the lowest divided
    by it; where it is zero, only zero is.
    """
    values = _checked("values", values)
    _factors("factor", factor)
    return float(_within(values, values.min(), factor).mean())


def profile(
    values: dict[str, Float[np.ndarray, " S"]], ratios: Float[np.ndarray, " K"]
) -> dict[str, Float[np.ndarray, " K"]]:
    """Give the share of seeds on which each optimizer is within each ratio of the seed's best.

    Ratios of losses at or below zero are taken as by `share_within`.

    Raises:
        InputError: seeds that differ in number, none, a nan, or a ratio below one.

    Reference: Dolan & Moré (2002), Benchmarking Optimization Software with Performance Profiles.
    """
    _factors("ratios", ratios)
    checked = {name: _checked(f"values[{name!r}]", losses) for name, losses in values.items()}
    if len({len(losses) for losses in checked.values()}) != 1:
        raise InputError(
            "values: expected the same seeds for every optimizer, got "
            f"{ {name: len(losses) for name, losses in checked.items()} }"
        )
    best = np.min(list(checked.values()), axis=0)
    return {
        name: _within(losses, best, ratios[:, None]).mean(axis=1)
        for name, losses in checked.items()
    }


@functools.cache
def _scipy() -> Any:
    """Import SciPy's statistics, which takes as long as JAX does."""
    checks.extra("compare", "scipy")
    from scipy import stats

    return stats


def _bootstrap(statistic: Any, values: Float[np.ndarray, " S"], level: float) -> Interval:
    """Widen the percentile interval as Student's t is wider than the normal distribution.

    Hesterberg widens by sqrt(S / (S - 1)) more, as the bootstrap distribution of a mean is too
    narrow by that. The ones of a median and of a trimmed mean are not; they would cover too much.

    Reference: Hesterberg (2015), What Teachers Should Know About the Bootstrap, 5.3 (expanded
        percentile interval).
    """
    values = _checked("values", values)
    _between_0_and_1("level", level)
    estimate = statistic(values, axis=0)
    if len(values) == 1:
        return _interval(estimate, np.nan, np.nan)
    stats = _scipy()
    tail = stats.norm.sf(stats.t.isf((1 - level) / 2, len(values) - 1))
    rows = np.random.default_rng(0).integers(len(values), size=(_RESAMPLES, len(values)))
    with np.errstate(invalid="ignore"):
        low, high = np.quantile(statistic(values[rows], axis=1), [tail, 1 - tail])
    return _interval(estimate, low, high)


def _sums_of_pairs(values: Float[np.ndarray, " S"], diagonal: int = 0) -> Float[np.ndarray, " K"]:
    return (values[:, None] + values)[np.triu_indices(len(values), diagonal)]


def _signed_rank_cdf(seeds: int) -> Float[np.ndarray, " K"]:
    """Give the distribution of Wilcoxon's statistic, 0 to S (S + 1) / 2, without ties."""
    probability = np.ones(1)
    for rank in range(1, seeds + 1):
        shift = np.zeros(rank)
        probability = np.r_[probability, shift] / 2 + np.r_[shift, probability] / 2
    return probability.cumsum()


def _within(losses: Any, best: Any, factor: Any) -> Any:
    return np.isfinite(losses) & (losses <= np.maximum(best * factor, best / factor))


def _interval(*figures: Any) -> Interval:
    return Interval(*(float(figure) if np.isfinite(figure) else math.nan for figure in figures))


def _checked(name: str, values: Any) -> Float[np.ndarray, " K"]:
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or values.size == 0:
        raise InputError(f"{name}: expected one loss of each run, got shape {list(values.shape)}")
    if np.any(np.isnan(values) | (values == -np.inf)):
        wrong = values[np.isnan(values) | (values == -np.inf)][0]
        raise InputError(f"{name}: expected losses, inf for a diverged run, got {wrong}")
    return values


def _between_0_and_1(name: str, share: float) -> None:
    if not 0 < share < 1:
        raise InputError(f"{name}: expected a number between 0 and 1, got {share}")


def _factors(name: str, factors: Any) -> None:
    if not np.all(np.asarray(factors) >= 1):
        raise InputError(f"{name}: expected at least 1, got {factors}")

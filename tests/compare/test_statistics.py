"""Evidence for the statistics: enumeration, textbook cases, and simulations of known truth."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from jaxnet.compare import statistics
from jaxnet.compare.statistics import Interval, Paired, Times
from jaxnet.errors import InputError

INF, NAN = math.inf, math.nan
LOSSES = st.lists(st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0, 3.0, INF]), min_size=1, max_size=9)
STATISTICS = [statistics.median, statistics.interquartile_mean]


def array(*values):
    return np.array(values, np.float64)


def assert_share(count, total, low, high):
    """Refuse a share that no probability from low to high would give once in 2,000 times."""
    assert stats.binom.sf(count - 1, total, high) > 5e-4, count / total
    assert stats.binom.cdf(count, total, low) > 5e-4, count / total


def holds(interval, truth):
    """Whether the truth is within; a bound of nan is none."""
    return not (interval.low > truth or interval.high < truth)


# The median and the interquartile mean.


@pytest.mark.parametrize("seeds", [10, 20])
@pytest.mark.parametrize("spread", [0.0, 0.7])
@pytest.mark.parametrize("estimate", STATISTICS)
def test_intervals_cover_the_truth(estimate, spread, seeds, monkeypatch):
    """Normal values, then log-normal ones of skewness 2.9."""
    monkeypatch.setattr(statistics, "_RESAMPLES", 499)
    normal = np.random.default_rng(seeds).normal(size=(400, seeds))
    values, truth = (np.exp(spread * normal), 1.0) if spread else (normal, 0.0)
    if spread and estimate is statistics.interquartile_mean:
        quarter = stats.norm.isf(0.25)
        middle = stats.norm.cdf(quarter - spread) - stats.norm.cdf(-quarter - spread)
        truth = 2 * math.exp(spread**2 / 2) * middle
    covered = sum(holds(estimate(row), truth) for row in values)
    assert_share(covered, 400, 0.93, 0.97)


@pytest.mark.parametrize(
    ("estimate", "scipys"),
    [
        (statistics.median, np.median),
        (statistics.interquartile_mean, lambda x, axis: stats.trim_mean(x, 0.25, axis=axis)),
    ],
)
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_intervals_are_percentiles_at_the_level_of_students_t(estimate, scipys, level, monkeypatch):
    """Of SciPy's bootstrap distribution, to five standard errors; 2.262 for ten seeds at 95%."""
    monkeypatch.setattr(statistics, "_RESAMPLES", 99_999)
    values = np.random.default_rng(3).exponential(size=10)
    oracle = stats.bootstrap(
        (values,), scipys, n_resamples=99_999, method="percentile", rng=np.random.default_rng(8)
    ).bootstrap_distribution
    tail = math.erfc({0.9: 1.8331129, 0.95: 2.2621572}[level] / math.sqrt(2)) / 2
    error = 5 * math.sqrt(2 * tail / 99_999)
    ours = estimate(values, level)
    assert ours.estimate == scipys(values, axis=0)
    assert np.mean(oracle < ours.low) < tail + error
    assert np.mean(oracle <= ours.low) > tail - error
    assert np.mean(oracle > ours.high) < tail + error
    assert np.mean(oracle >= ours.high) > tail - error
    assert estimate(values, level) == ours


@pytest.mark.parametrize("estimate", STATISTICS)
def test_the_range_is_the_interval_of_few_seeds(estimate):
    np.testing.assert_array_equal(estimate(array(4, 1)), Interval(2.5, 1, 4))
    np.testing.assert_array_equal(estimate(array(5)), Interval(5, NAN, NAN))
    np.testing.assert_array_equal(estimate(array(3, 3, 3, 3, 3, 3)), Interval(3, 3, 3))


def test_the_quarters_at_the_ends_count_for_nothing():
    assert statistics.interquartile_mean(array(9, 3, 2, 1, 4, -50, 99, 5)).estimate == 3.5
    assert statistics.interquartile_mean(array(1, 2, 30)).estimate == 11
    assert statistics.median(array(9, 3, 2, 1, 4, -50, 99, 5)).estimate == 3.5


@pytest.mark.parametrize("estimate", STATISTICS)
@pytest.mark.parametrize("diverged", range(9))
def test_a_diverged_run_is_the_worst_value_and_no_more(estimate, diverged):
    """As good as any value far above the others, and never itself in the result."""
    finite = np.random.default_rng(diverged).normal(size=8)
    finite[: 1 + diverged] = 1e9
    infinite = np.where(finite == 1e9, INF, finite)
    expected = [x if x < 1e6 else NAN for x in estimate(finite)]
    np.testing.assert_allclose(estimate(infinite), expected, rtol=1e-12)


def test_half_the_runs_diverged():
    """The median of ten is between the fifth and the sixth; the middle six hold four."""
    values = array(1, 2, 3, 4, 5, 6, INF, INF, INF, INF)
    assert statistics.median(values).estimate == 5.5
    assert math.isnan(statistics.interquartile_mean(values).estimate)
    assert statistics.interquartile_mean(values).low > 1
    np.testing.assert_array_equal(statistics.median(np.full(6, INF)), [NAN] * 3)


# The paired test.


@settings(deadline=None)
@given(seeds=st.integers(1, 25), shift=st.floats(-1, 1), seed=st.integers(0, 2**32))
def test_the_p_value_is_scipys_exact_one(seeds, shift, seed):
    values, baseline = np.random.default_rng(seed).normal(size=(2, seeds))
    ours = statistics.paired(values + shift, baseline)
    oracle = stats.wilcoxon(values + shift, baseline, method="exact").pvalue
    assert ours.p_value == pytest.approx(oracle, rel=1e-9)


def test_a_textbook_case():
    """Hollander & Wolfe, table 3.1 and examples 3.1, 3.3, 3.4: depression before and after."""
    before = array(1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30)
    after = array(0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29)
    difference, p_value, sign = statistics.paired(after, before, level=0.96)
    assert p_value == 2 * 10 / 2**9
    np.testing.assert_allclose(difference, Interval(-0.46, -0.786, -0.010), atol=1e-12)
    assert sign == -1


@pytest.mark.parametrize(
    "sizes",
    [
        (1, 2, 3, 4, 5, 6, 7),
        (1, 1, 1, 1, 1, 1, 1),
        (0, 0, 0, 0, 0, 0, 0),
        (0, 0, 1, 2, 3, 4, 5, 6),
        (0, 1, 1, 2, 2, 2, 9, 9),
        (0, 1, 2, 3, 4, INF, INF),
        (0, 0, INF, INF, INF, INF, INF, INF),
    ],
)
def test_no_ties_make_the_test_too_keen(sizes):
    """Over all ways to exchange the two on a seed, p is at most x in a share x of them."""
    p_values = []
    for signs in itertools.product([False, True], repeat=len(sizes)):
        values, baseline = np.where(signs, [sizes, np.zeros(len(sizes))], 0.0)
        baseline = np.where(signs, 0.0, sizes)
        p_values.append(statistics.paired(values, baseline).p_value)
    p_values = np.sort(p_values)
    share = np.searchsorted(p_values, p_values, side="right") / len(p_values)
    assert np.all(share <= p_values + 1e-12)


@settings(deadline=None, max_examples=60)
@given(
    pairs=st.lists(st.tuples(*[st.sampled_from([0.0, 1.0, 2.0, 4.0])] * 2), min_size=1),
    level=st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.99]),
)
def test_the_interval_and_the_test_never_contradict_each_other(pairs, level):
    """Whatever difference is taken as none: the interval is of those that are not rejected."""
    values, baseline = np.array(pairs).T
    interval = statistics.paired(values, baseline, level).difference
    for shift in np.arange(-4, 4.5, 0.5):
        rejected = statistics.paired(values - shift, baseline).p_value <= 1 - level
        assert holds(interval, shift) != rejected
    assert holds(interval, interval.estimate)


@settings(deadline=None)
@given(values=LOSSES, data=st.data())
def test_exchanging_the_two_changes_the_sign_alone(values, data):
    """And divergence is a difference larger than any other, tied with the like on other seeds."""
    baseline = np.array(data.draw(st.permutations(values)))
    values = np.array(values)
    (estimate, low, high), p_value, sign = statistics.paired(values, baseline)
    exchanged = statistics.paired(baseline, values)
    np.testing.assert_array_equal(exchanged.difference, [-estimate, -high, -low])
    assert (exchanged.p_value, exchanged.sign) == (p_value, -sign)
    gap = np.subtract(values, baseline, out=np.zeros(len(values)), where=values != baseline)
    assert p_value == statistics.paired(gap.clip(-1e9, 1e9), np.zeros(len(values))).p_value


def test_diverged_runs_by_hand():
    """Of the 21 Walsh averages of 1 to 5 and infinity the eleventh is 3.5, the first 1."""
    baseline = array(0, 0, 0, 0, 0, 0)
    np.testing.assert_array_equal(
        statistics.paired(array(1, 2, INF, 3, 4, 5), baseline).difference, Interval(3.5, 1, NAN)
    )
    all_diverged = statistics.paired(np.full(6, INF), baseline)
    np.testing.assert_array_equal(all_diverged.difference, Interval(NAN, NAN, NAN))
    assert all_diverged[1:] == (2 / 64, 1)
    both = statistics.paired(np.full(6, INF), np.full(6, INF))
    assert both == Paired(Interval(0, 0, 0), 1, 0)
    crossed = statistics.paired(array(INF, 0), array(0, INF))
    np.testing.assert_array_equal(crossed.difference, Interval(NAN, NAN, NAN))
    assert crossed[1:] == (1, 0)


def test_divergence_on_either_side_cancels():
    """Of 210 Walsh averages 19 are infinite on each side, and one may be anything.

    The tables have 52 for twenty seeds: the bounds are the 53rd from either end, with that one
    counted beyond it.
    """
    finite = np.random.default_rng(0).normal(size=18)
    walsh = np.sort([(a + b) / 2 for a, b in itertools.combinations_with_replacement(finite, 2)])
    paired = statistics.paired(np.r_[finite, INF, 0], np.r_[np.zeros(18), 0, INF])
    expected = Interval(float(np.median(walsh)), float(walsh[52 - 20]), float(walsh[-53 + 20]))
    np.testing.assert_allclose(paired.difference, expected, rtol=1e-12)


def test_few_seeds_never_tell():
    five = statistics.paired(array(0, 0, 0, 0, 0), array(1, 2, 3, 4, 5))
    np.testing.assert_array_equal(five.difference, Interval(-3, NAN, NAN))
    assert five[1:] == (2 / 32, -1)
    one = statistics.paired(array(0), array(1))
    np.testing.assert_array_equal(one.difference, Interval(-1, NAN, NAN))
    assert one[1:] == (1, -1)


@pytest.mark.parametrize("seeds", [6, 10, 20])
def test_an_optimizer_against_itself_differs_no_more_than_chance_has_it(seeds):
    """1,000 comparisons with the noise of fresh runs on seeds that are easy or hard for both."""
    random = np.random.default_rng(seeds)
    seed = np.exp(random.normal(size=(1000, 1, seeds)))
    runs = seed * np.exp(0.2 * random.normal(size=(1000, 2, seeds)))
    differs = sum(statistics.paired(*pair).p_value <= 0.05 for pair in runs)
    assert_share(differs, 1000, 0.0, 0.05)
    same = statistics.paired(runs[0, 0], runs[0, 0].copy())
    assert same == Paired(Interval(0, 0, 0), 1, 0)


@pytest.mark.parametrize("seeds", [10, 20])
def test_paired_intervals_cover_the_planted_difference(seeds):
    random = np.random.default_rng(seeds)
    seed = np.exp(random.normal(size=(1000, 1, seeds)))
    runs = seed + random.normal(size=(1000, 2, seeds)) ** 3
    covered = sum(holds(statistics.paired(a - 0.7, b).difference, -0.7) for a, b in runs)
    assert_share(covered, 1000, 0.93, 0.97)


# Many tests.


def test_holm_by_hand():
    """Of four 4 x 0.005, 3 x 0.01, 2 x 0.03 and 0.04, which may not fall below the one before."""
    np.testing.assert_allclose(
        statistics.holm(array(0.01, NAN, 0.04, 0.03, 0.005)), [0.03, NAN, 0.06, 0.06, 0.02]
    )
    np.testing.assert_array_equal(statistics.holm(array(0.6, 0.7)), [1, 1])
    np.testing.assert_array_equal(statistics.holm(array(NAN)), [NAN])
    assert statistics.holm(array()).shape == (0,)


@settings(deadline=None)
@given(p_values=st.lists(st.floats(0, 1) | st.sampled_from([0.01, 0.02]), min_size=1, max_size=6))
def test_holm_closes_bonferronis_test(p_values):
    """A hypothesis is rejected if every set of hypotheses with it is, by Bonferroni's test."""
    count = len(p_values)
    sets = [
        chosen for size in range(count) for chosen in itertools.combinations(range(count), size + 1)
    ]
    oracle = [
        max(
            min(1, len(chosen) * min(p_values[i] for i in chosen))
            for chosen in sets
            if index in chosen
        )
        for index in range(count)
    ]
    np.testing.assert_allclose(statistics.holm(np.array(p_values)), oracle, rtol=1e-12)


def test_of_several_copies_of_the_baseline_none_is_told_apart():
    """All four in at least 95% of 500 comparisons; without Holm one differs in about 15%."""
    runs = np.random.default_rng(4).normal(size=(500, 5, 10))
    wrong = unadjusted = 0
    for baseline, *others in runs:
        found = [statistics.paired(values, baseline) for values in others]
        p_values = np.array([one.p_value for one in found])
        adjusted = statistics.holm(p_values)
        verdicts = {
            statistics.verdict(p, one) for p, one in zip(adjusted.tolist(), found, strict=True)
        }
        wrong += verdicts != {"not told apart"}
        unadjusted += p_values.min() <= 0.05
    assert_share(wrong, 500, 0.0, 0.05)
    assert unadjusted > 50


def test_verdicts():
    lower, higher = array(0, 0, 0, 0, 0, 0), array(1, 2, 3, 4, 5, INF)
    better, worse = statistics.paired(lower, higher), statistics.paired(higher, lower)
    assert statistics.verdict(0.05, better) == "better"
    assert statistics.verdict(0.05, worse) == "worse"
    assert statistics.verdict(0.051, worse) == "not told apart"
    assert statistics.verdict(0.05, better, level=0.01) == "not told apart"
    assert statistics.verdict(NAN, better) == "not told apart"
    diverged = statistics.paired(np.full(6, INF), lower)
    assert statistics.verdict(diverged.p_value, diverged) == "worse"


# Seeds.


@pytest.mark.parametrize(("noise", "spread"), [(0.05, 0.3), (0.05, 1.0), (0.07, 1.0)])
def test_the_seeds_needed_find_a_planted_difference(noise, spread):
    """An optimizer 5% better, on seeds whose losses differ by a third or by a factor of e."""
    random = np.random.default_rng(1)

    def runs(*shape):
        seed = np.exp(spread * random.normal(size=shape))
        return (
            0.95 * seed * np.exp(noise * random.normal(size=shape)),
            seed * np.exp(noise * random.normal(size=shape)),
        )

    values, baseline = runs(2000)
    seeds = statistics.seeds_needed(values - baseline)
    found = [
        statistics.paired(values, baseline)
        for values, baseline in zip(*runs(600, seeds), strict=True)
    ]
    told = sum(one.p_value <= 0.05 and one.sign < 0 for one in found)
    assert_share(told, 600, 0.78, 0.9)


def test_the_seeds_needed_for_several_tests():
    """A difference of half its spread, at a fifth of the level: the same power."""
    random = np.random.default_rng(2)
    seeds = statistics.seeds_needed(random.normal(size=2000) + 0.5, tests=5)
    trials = random.normal(size=(600, seeds)) + 0.5
    told = sum(statistics.paired(row, np.zeros(seeds)).p_value <= 0.01 for row in trials)
    assert_share(told, 600, 0.78, 0.9)


def test_the_seeds_needed_by_hand():
    """(1.96 + 0.8416)^2 = 7.849, over 3/4 if all lean one way, over 3/36 if two pairs of three."""
    assert statistics.seeds_needed(array(1, 2, 3)) == math.ceil(7.849 / 0.75)
    assert statistics.seeds_needed(array(-1, -2, -3)) == math.ceil(7.849 / 0.75)
    assert statistics.seeds_needed(array(3, 1, -2)) == math.ceil(7.849 * 36 / 3)
    # 2.5758 for one of five tests at 5%; 1.2816 for a power of 90%.
    assert statistics.seeds_needed(array(1, 2, 3), tests=5) == math.ceil(3.4174**2 / 0.75)
    assert statistics.seeds_needed(array(1, 2, 3), power=0.9) == math.ceil(3.2415**2 / 0.75)
    assert statistics.seeds_needed(array(1, 2, 3), level=0.01) == math.ceil(3.4174**2 / 0.75)


@pytest.mark.parametrize(
    "differences", [(), (1, 2), (0, 0, 0, 0), (1, -1, 2, -2), (1, 2, INF), (1, 2, NAN)]
)
def test_some_needs_cannot_be_foreseen(differences):
    assert statistics.seeds_needed(array(*differences)) is None


def test_more_than_100000_seeds_are_no_answer():
    """Equal and opposite differences, but for one pair in 45, then in 780."""
    assert statistics.seeds_needed(array(1.5, 2, 3, 4, 5, -1, -2, -3, -4, -5)) == 21_192
    pairs = np.arange(2.0, 21)
    assert statistics.seeds_needed(np.r_[1.5, pairs, -pairs, -1]) is None


# Steps to a target.


def test_steps_to_target_by_hand():
    """At the target is reached; later steps count for nothing."""
    losses = array(
        [9, 2, 1, 0],
        [9, 1, 3, 3],
        [9, 5, 5, 1],
        [9, 5, 5, 5],
        [1, 9, 9, 9],
        [9, 5, 0, 9],
    )
    steps = np.array([0, 10, 20, 40])
    times = statistics.steps_to_target(losses, steps, 1.0)
    assert times.reached == 5
    assert times.total == 6
    # Sorted: 0, 10, 20, 20, 40, never. For six the sign test's interval is the whole range.
    np.testing.assert_array_equal(times.median, Interval(20, 0, NAN))
    np.testing.assert_array_equal(
        statistics.steps_to_target(losses, steps, 5.0).median, Interval(10, 0, 10)
    )
    np.testing.assert_array_equal(
        statistics.steps_to_target(losses[:1], steps, 2.0).median, Interval(10, NAN, NAN)
    )


def test_a_diverged_run_never_reaches_the_target():
    """Taken as lost when it diverged, it would leave a median of 20 to the runs that remain."""
    losses = array([5, NAN, NAN], [5, INF, 0], [NAN, 0, 0], [5, 5, 0], [5, 5, 0])
    steps = np.array([0, 10, 20])
    times = statistics.steps_to_target(losses, steps, 1.0)
    np.testing.assert_array_equal(times.median, [NAN] * 3)
    assert times[1:] == (2, 5)
    # Just half of the runs: the last step. One that diverges afterwards has reached it.
    assert statistics.steps_to_target(losses[1:], steps, 1.0).median.estimate == 20
    assert statistics.steps_to_target(array([5, 1, NAN]), steps, 1.0)[1:] == (1, 1)


def test_all_runs_diverged():
    times = statistics.steps_to_target(np.full((7, 3), NAN), np.arange(3), 1.0)
    np.testing.assert_array_equal(times.median, [NAN] * 3)
    assert times[1:] == (0, 7)
    np.testing.assert_array_equal(statistics.best_of(np.full(3, INF)), [NAN] * 3)
    assert statistics.share_within(np.full(3, INF)) == 0


@settings(deadline=None)
@given(
    reach=st.lists(st.integers(0, 9), min_size=1, max_size=20),
    budget=st.integers(1, 10),
)
def test_the_median_is_kaplan_and_meiers(reach, budget):
    """By SciPy's survival function, of runs that are censored at the last step."""
    steps = 3 * np.arange(budget)
    losses = np.where(np.arange(budget) >= np.array(reach)[:, None], 0.0, 1.0)
    times = statistics.steps_to_target(losses, steps, 0.5)
    reached = np.array(reach) < budget
    last = np.minimum(3 * np.array(reach), steps[-1])
    curve = stats.ecdf(stats.CensoredData.right_censored(last, ~reached)).sf
    below = curve.quantiles[curve.probabilities <= 0.5 + 1e-12]
    np.testing.assert_equal(times.median.estimate, below[0] if len(below) else NAN)
    assert times[1:] == (reached.sum(), len(reach))


@pytest.mark.parametrize(("seeds", "first"), [(6, 1), (10, 2), (20, 6)])
def test_the_interval_of_the_steps_inverts_the_sign_test(seeds, first):
    """The chance that under `first` of the runs are on one side of the median is 5% at most."""
    assert (
        2 * stats.binom.cdf(first - 1, seeds, 0.5) <= 0.05 < 2 * stats.binom.cdf(first, seeds, 0.5)
    )
    order = np.random.default_rng(seeds).permutation(seeds)
    losses = np.where(np.arange(seeds) >= order[:, None], 0.0, 1.0)
    median = statistics.steps_to_target(losses, np.arange(1, seeds + 1), 0.5).median
    assert median == Interval(seeds / 2, first, seeds + 1 - first)
    # A budget that ends before the upper bound has none.
    cut = seeds - first
    median = statistics.steps_to_target(losses[:, :cut], np.arange(1, cut + 1), 0.5).median
    np.testing.assert_array_equal(median, Interval(seeds / 2, first, NAN))


# Learning rates.


@settings(deadline=None)
@given(values=LOSSES)
def test_the_best_of_k_is_the_mean_over_all_choices(values):
    oracle = [
        np.mean([min(chosen) for chosen in itertools.combinations(values, k)])
        for k in range(1, len(values) + 1)
    ]
    oracle = np.where(np.isfinite(oracle), oracle, NAN)
    np.testing.assert_allclose(statistics.best_of(np.array(values)), oracle, rtol=1e-9, atol=1e-12)


def test_the_best_of_many_falls_to_the_lowest():
    values = np.random.default_rng(0).normal(size=500)
    expected = statistics.best_of(values)
    assert expected[0] == pytest.approx(values.mean(), abs=1e-9)
    assert expected[-1] == pytest.approx(values.min(), abs=1e-9)
    assert np.all(np.diff(expected) < 1e-9)


def test_shares_within_a_factor():
    assert statistics.share_within(array(2, 3, 4, 4.1, INF), factor=2.0) == 3 / 5
    assert statistics.share_within(array(-4, -2, -1.9, 5), factor=2.0) == 2 / 4
    assert statistics.share_within(array(0, 0, 1e-9), factor=2.0) == 2 / 3
    assert statistics.share_within(array(7)) == 1
    assert statistics.share_within(array(1, 1.05, 1.2)) == 2 / 3


def test_performance_profiles_by_hand():
    """Ratios by seed: a 1, 3, 1, diverged; b 2, 1, 1, diverged; c 4, diverged, diverged, 1."""
    values = {
        "a": array(1, 6, 5, INF),
        "b": array(2, 2, 5, INF),
        "c": array(4, INF, INF, 3),
    }
    shares = statistics.profile(values, array(1, 2, 3, 4))
    np.testing.assert_array_equal(shares["a"], [0.5, 0.5, 0.75, 0.75])
    np.testing.assert_array_equal(shares["b"], [0.5, 0.75, 0.75, 0.75])
    np.testing.assert_array_equal(shares["c"], [0.25, 0.25, 0.25, 0.5])
    nobody = statistics.profile({"a": array(INF), "b": array(INF)}, array(1, 9))
    np.testing.assert_array_equal(list(nobody.values()), np.zeros((2, 2)))


def test_single_precision_is_not_kept():
    """Losses of float32 whose sums and squares float32 cannot hold."""
    values = np.array([3e38, 2e38, 1e38, 3e38, 2e38, 1e38], np.float32)
    assert statistics.interquartile_mean(values).estimate == pytest.approx(2e38)
    assert statistics.paired(values, -values).difference.estimate == pytest.approx(4e38)
    assert statistics.best_of(values)[0] == pytest.approx(2e38)


# What is refused.


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (lambda: statistics.median(array()), r"values: .*one loss of each run, got shape \[0\]"),
        (lambda: statistics.median(array([1, 2])), r"values: expected .* got shape \[1, 2\]"),
        (lambda: statistics.interquartile_mean(array(1, NAN)), "values: expected losses, .* nan"),
        (lambda: statistics.best_of(array(1, -INF)), "values: expected losses, .*, got -inf"),
        (lambda: statistics.median(array(1, 2), 95), "level: .* between 0 and 1, got 95"),
        (lambda: statistics.paired(array(1), array(NAN)), "baseline: expected losses"),
        (
            lambda: statistics.paired(array(1, 2), array(1)),
            "baseline: expected a run for each of the 2 seeds of values, got 1; run both",
        ),
        (lambda: statistics.paired(array(1), array(1), 1.0), "level: .* got 1.0"),
        (lambda: statistics.seeds_needed(array(1, 2, 3), 5), "level: .* got 5"),
        (lambda: statistics.seeds_needed(array(1, 2, 3), power=80), "power: .* got 80"),
        (
            lambda: statistics.steps_to_target(array([1, 2, 3]), np.arange(2), 0.0),
            r"losses: expected shape \[S, E\], .* each of the 2 steps, got shape \[1, 3\]",
        ),
        (
            lambda: statistics.steps_to_target(array(1, 2), np.arange(2), 0.0),
            r"losses: expected shape \[S, E\]",
        ),
        (
            lambda: statistics.steps_to_target(array([1, 2]), np.arange(2), 0.0, 1.5),
            "level: .* got 1.5",
        ),
        (lambda: statistics.share_within(array(1), 0.9), "factor: expected at least 1, got 0.9"),
        (lambda: statistics.profile({"a": array(1)}, array(0.5)), "ratios: expected at least 1"),
        (
            lambda: statistics.profile({"a": array(1), "b": array(1, 2)}, array(1)),
            "values: expected the same seeds for every optimizer, got {'a': 1, 'b': 2}",
        ),
        (
            lambda: statistics.profile({"a": array(NAN)}, array(1)),
            r"values\['a'\]: expected losses",
        ),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_bad_input_is_refused(refused, words):
    with pytest.raises(InputError, match=f"^{words}"):
        refused()


def test_times_are_plain_numbers():
    """For JSON: neither NumPy's integers nor its floats."""
    times = statistics.steps_to_target(array([2, 1]), np.arange(2), 1.0)
    assert isinstance(times, Times)
    assert [type(x) for x in (*times.median, *times[1:])] == [float] * 3 + [int] * 2
    pair = statistics.paired(array(1, 2), array(0, 0))
    assert [type(x) for x in (*pair.difference, *pair[1:])] == [float] * 4 + [int]
    assert type(statistics.share_within(array(1))) is float

"""Evidence for the statistics: enumeration, textbook cases, and simulations of known truth."""

import functools
import itertools
import math

import numpy as np
import pytest
from few import first_of, some_of
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from jaxnet.compare import statistics
from jaxnet.compare.statistics import Interval, Paired
from jaxnet.errors import InputError

INF, NAN = math.inf, math.nan
# Exact in any sum of two and in any ratio.
POWERS = st.sampled_from([0.5, 1.0, 2.0, 4.0, INF])
ALPHAS = st.sampled_from([0.5, 0.2, 0.1, 0.05, 0.01])
TOLD = {"better", "worse", "fails more often", "fails less often"}


def array(*values):
    return np.array(values, np.float64)


def assert_share(count, total, low, high):
    """Refuse a share that no probability from low to high would give once in 2,000 times."""
    assert stats.binom.sf(count - 1, total, high) > 5e-4, count / total
    assert stats.binom.cdf(count, total, low) > 5e-4, count / total


def covers(interval, truth):
    """Whether the truth is within; a bound of nan is none."""
    return not (interval.low > truth or interval.high < truth)


def walsh(values):
    """Give the mean of every two values and of each with itself, in order."""
    pairs = itertools.combinations_with_replacement(values, 2)
    return np.sort([(a + b) / 2 for a, b in pairs])


@functools.cache
def chances(count):
    """Enumerate the chance of each value of the signed-rank statistic, by all sets of ranks."""
    sums = [sum(ranks) for ranks in powerset(range(1, count + 1))]
    return np.bincount(sums) / 2**count


def powerset(items):
    items = tuple(items)
    return itertools.chain.from_iterable(
        itertools.combinations(items, size) for size in range(len(items) + 1)
    )


# The pseudo-median.


@given(values=st.lists(st.integers(-20, 20) | st.just(INF), min_size=1, max_size=9), alpha=ALPHAS)
def test_the_pseudo_median_is_read_off_all_walsh_averages(values, alpha):
    averages, below = walsh(values), np.cumsum(chances(len(values)))
    rejecting = int(np.sum(2 * below <= alpha))
    low, high = (averages[rejecting - 1], averages[-rejecting]) if rejecting else (NAN, NAN)
    expected = Interval(float(np.median(averages)), low, high)
    values = np.array(values, np.float64)
    np.testing.assert_equal(statistics.location(values, alpha, "difference"), expected)


@pytest.mark.parametrize("most_listed", [0, 50, 20_000])
@pytest.mark.parametrize("digits", [0, 1, 15])
@pytest.mark.parametrize("failures", [0, 20])
def test_no_list_of_all_walsh_averages_is_needed(most_listed, digits, failures, monkeypatch):
    """Of 300 values, rounded so that most or some are tied or none, by halving and by listing."""
    monkeypatch.setattr(statistics, "_MOST_LISTED", most_listed)
    values = np.random.default_rng(digits).normal(size=300).round(digits)
    values[:failures] = INF
    averages = walsh(values)
    # The normal deviate with its correction for continuity; right to less than one rank here.
    sums = len(averages)
    rank = math.floor(sums / 2 - 1.96 * math.sqrt(sums * 601 / 12) - 0.5) + 1
    interval = statistics.location(values, 0.05, "difference")
    np.testing.assert_allclose(interval.estimate, np.median(averages), rtol=1e-14, atol=1e-14)
    near = slice(rank - 3, rank + 2)
    assert np.isclose(interval.low, averages[near], rtol=1e-14, atol=1e-14).any()
    assert np.isclose(interval.high, averages[::-1][near], rtol=1e-14, atol=1e-14).any()


def test_a_bound_of_zero_has_no_sign():
    for values in (np.zeros(6), -np.zeros(6)):
        assert not np.signbit(statistics.location(values, 0.05, "difference")).any()


def test_ratios_are_located_by_geometric_means():
    values = array(1, 2, 8, 64, 4, 16, 32)
    logarithms = statistics.location(np.log2(values), 0.05, "difference")
    np.testing.assert_allclose(
        statistics.location(values, 0.05, "ratio"), np.exp2(logarithms), rtol=1e-12
    )
    # The third lowest of 28, as two sums of ranks below are rarer than 1 in 40.
    assert logarithms == Interval(3, 1, 5)


def test_failures_are_the_worst_values():
    """The estimate is the 28th of 55 averages; three failures leave 28 finite ones, four 21."""
    values = array(*range(8), INF, INF)
    estimate, low, high = statistics.location(values, 0.05, "difference")
    assert (estimate, low, high) == (5, 2, INF)
    three, four = array(*range(7), INF, INF, INF), array(*range(6), INF, INF, INF, INF)
    assert statistics.location(three, 0.05, "difference") == Interval(6, 2, INF)
    assert statistics.location(four, 0.05, "difference").estimate == INF
    np.testing.assert_array_equal(statistics.location(np.full(7, INF), 0.05, "ratio"), [INF] * 3)
    np.testing.assert_array_equal(
        statistics.location(array(1, 4), 0.05, "ratio"), Interval(2, NAN, NAN)
    )


@some_of(
    ("count", "shape"),
    itertools.product((10, 20), ("normal", "t3", "log-normal")),
    *((20, "t3"), (10, "log-normal")),
)
def test_intervals_cover_the_pseudo_median(count, shape):
    """The pseudo-median of skewed values, which is not their centre, among them."""
    random = np.random.default_rng(count)
    truth = 0.0
    if shape == "normal":
        rows = random.normal(size=(1000, count))
    elif shape == "t3":
        rows = random.standard_t(3, size=(1000, count))
    else:
        rows = np.exp(0.5 * random.normal(size=(1000, count)))
        truth = np.median(np.exp(0.5 * random.normal(size=(2, 2_000_000))).mean(axis=0))
    intervals = [statistics.location(row, 0.05, "difference") for row in rows]
    assert_share(sum(covers(each, truth) for each in intervals), len(rows), 0.94, 0.96)


def test_intervals_cover_a_planted_ratio():
    """On tasks that differ by a factor of e from replicate to replicate."""
    random = np.random.default_rng(3)
    runs = np.exp(random.normal(size=(1000, 1, 20)) + 0.1 * random.normal(size=(1000, 2, 20)))
    intervals = [statistics.paired(0.95 * a, b, 0.05, "ratio").difference for a, b in runs]
    assert_share(sum(covers(each, 0.95) for each in intervals), 1000, 0.94, 0.96)


def test_the_scale_is_of_ratios_where_all_that_is_finite_is_above_zero():
    assert statistics.scale_of([array(1, 2), array(1e-300, INF)]) == "ratio"
    assert statistics.scale_of([array(1, 2), array(0, INF)]) == "difference"
    assert statistics.scale_of([array(1, 2), array(3, -1)]) == "difference"


# The two tests.


@given(count=st.integers(1, 25), shift=st.floats(-1, 1), seed=st.integers(0, 2**32))
def test_the_p_value_is_scipys_exact_one(count, shift, seed):
    values, baseline = np.random.default_rng(seed).normal(size=(2, count))
    ours = statistics.paired(values + shift, baseline, 0.05, "difference")
    oracle = stats.wilcoxon(values + shift, baseline, method="exact").pvalue
    assert ours.p_value == pytest.approx(oracle, rel=1e-9)


def test_a_textbook_case():
    """Hollander & Wolfe, table 3.1 and examples 3.1, 3.3, 3.4: depression before and after."""
    before = array(1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30)
    after = array(0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29)
    pair = statistics.paired(after, before, 0.04, "difference")
    assert pair.p_value == 2 * 10 / 2**9
    np.testing.assert_allclose(pair.difference, Interval(-0.46, -0.786, -0.010), atol=1e-12)
    assert pair[2:] == ((0, 0), 1, 9)


@given(mine=st.integers(0, 40), baselines=st.integers(0, 40), both=st.integers(0, 3))
def test_failures_are_tested_by_the_binomial(mine, baselines, both):
    assume(mine + baselines)
    values = np.r_[np.full(mine, INF), np.ones(baselines), np.full(both, INF), 1.0]
    baseline = np.r_[np.ones(mine), np.full(baselines, INF), np.full(both, INF), 2.0]
    pair = statistics.paired(values, baseline, 0.05, "ratio")
    oracle = stats.binomtest(mine, mine + baselines).pvalue
    assert pair.p_failures == pytest.approx(oracle, rel=1e-12)
    assert (pair.only, pair.lasted) == ((mine, baselines), 1)


def test_a_twin_that_failed_in_eight_of_thirty():
    """It is told by its failures, and in the others it is the same."""
    values = np.r_[np.full(8, INF), np.ones(22)]
    pair = statistics.paired(values, np.ones(30), 0.05, "ratio")
    assert pair == Paired(Interval(1, 1, 1), 1, (8, 0), 2**-7, 22)
    assert statistics.verdict(pair, 0.05, 0.05, "ratio", 1.0) == "fails more often"
    pair = statistics.paired(np.ones(30), values, 0.05, "ratio")
    assert statistics.verdict(pair, 0.05, 0.05, "ratio", 1.0) == "fails less often"


@first_of(
    "sizes",
    [
        (1, 2, 3, 4, 5, 6, 7),
        (1, 1, 1, 1, 1, 1, 1),
        (0, 1, 2, 3, 4, INF, INF),
        (0, 0, 0, 0, 0, 0, 0),
        (0, 0, 1, 2, 3, 4, 5, 6),
        (0, 1, 1, 2, 2, 2, 9, 9),
        (0, 0, INF, INF, INF, INF, INF, INF),
        (1, 2, 3, 4, INF, INF, INF, INF, INF),
    ],
    3,
)
def test_the_two_tests_are_wrong_no_more_often_than_alpha(sizes):
    """Over all ways to exchange the two of a pair, for two levels; each test for any."""
    pairs = []
    for signs in itertools.product([False, True], repeat=len(sizes)):
        values, baseline = np.where(signs, [sizes, np.zeros(len(sizes))], 0.0)
        baseline = np.where(signs, 0.0, sizes)
        pairs.append((values, baseline))
    for alpha in (0.1, 0.05):
        tests = [statistics.paired(*pair, alpha, "difference") for pair in pairs]
        verdicts = [statistics.verdict(test, alpha, 0.05, "difference", 1.0) for test in tests]
        assert sum(verdict in TOLD for verdict in verdicts) <= alpha * len(verdicts)
    for which in ("p_value", "p_failures"):
        p_values = np.sort([getattr(test, which) for test in tests])
        share = np.searchsorted(p_values, p_values, side="right") / len(p_values)
        assert np.all(share <= p_values + 1e-12)


def test_the_two_tests_share_one_alpha():
    """At all of it each, 8 of 64 ways of losses or 2 of 64 ways of failures would be too many."""
    alarms = 0
    fails = np.array(list(itertools.product([False, True], repeat=5)))
    for exchanged, failing in itertools.product(itertools.product([-1, 1], repeat=6), fails):
        # That the first failure is not this one's is no loss: exchanging all mirrors everything.
        values = np.r_[np.arange(1, 7) * exchanged, 0, np.where(failing, INF, 0)]
        baseline = np.r_[np.zeros(6), INF, np.where(failing, 0, INF)]
        pair = statistics.paired(values, baseline, 0.1, "difference")
        alarms += statistics.verdict(pair, 0.1, 0.05, "difference", 1.0) in TOLD
    assert 0 < alarms <= 0.1 * 64 * 32


@pytest.mark.parametrize("others", range(1, 49))
def test_of_all_that_fail_at_most_one_more_is_needed_than_could_ever_be_told(others):
    """However many are compared, and of however many replicates: the test of failures has its say.

    At half of the level, 9 of 30 beside five others were not told.
    """
    alpha = 0.04 / others
    for lasted in (10, 21, 60):
        told = [
            count
            for count in range(1, 25)
            if statistics.verdict(
                statistics.paired(
                    np.r_[np.full(count, INF), np.full(lasted, 0.9)],
                    np.ones(count + lasted),
                    alpha,
                    "ratio",
                ),
                *(alpha, 0.05, "ratio", 1.0),
            )
            == "fails more often"
        ]
        ever = next(count for count in range(1, 25) if 2.0 ** (1 - count) <= alpha)
        assert told == list(range(told[0], 25))
        assert ever <= told[0] <= ever + 1
    if others == 6:
        assert told[0] == 9


def shares(pair, alpha):
    """Share alpha out by hand: half each, but what failures need of up to three quarters.

    None where even all of one kind are no surprise.
    """
    failed = sum(pair.only)
    for failures in (alpha / 2, 2.0 ** (1 - failed)):
        if 2.0 ** (1 - failed) <= failures <= 0.75 * alpha:
            losses = alpha - failures
            return (losses, failures) if 2.0 ** (1 - pair.lasted) <= losses else (0, alpha)
    return (0, alpha) if failed > pair.lasted else (alpha, 0)


@settings(max_examples=200)
@given(
    pairs=st.lists(st.tuples(POWERS, POWERS), min_size=1, max_size=30),
    repeat=st.integers(1, 3),
    alpha=ALPHAS,
    scale=st.sampled_from(["ratio", "difference"]),
    margin=st.sampled_from([0.05, 1.5]),
)
def test_verdict_test_and_interval_never_contradict_each_other(pairs, repeat, alpha, scale, margin):
    values, baseline = np.array(pairs * repeat).T
    pair = statistics.paired(values, baseline, alpha, scale)
    verdict = statistics.verdict(pair, alpha, margin, scale, 2.0)
    (estimate, low, high), same = pair.difference, float(scale == "ratio")
    losses, failures = shares(pair, alpha)
    excludes = low > same or high < same
    assert excludes == (pair.p_value <= losses)
    assert (verdict in {"fails more often", "fails less often"}) == (pair.p_failures <= failures)
    if verdict in {"better", "worse"}:
        assert excludes
        assert (estimate < same) == (verdict == "better")
    if verdict == "not told apart":
        assert not excludes
    if verdict == "as good":
        widest = 1 + margin if scale == "ratio" else 2 * margin
        assert (1 / widest if scale == "ratio" else -widest) <= low <= high <= widest
        assert pair.only[0] <= pair.only[1]
    if not math.isnan(low):
        assert low <= estimate <= high


@given(
    pairs=st.lists(st.tuples(*[st.sampled_from([0.0, 1.0, 2.0, 4.0])] * 2), min_size=1),
    alpha=ALPHAS,
)
def test_the_interval_is_of_the_differences_that_are_not_rejected(pairs, alpha):
    values, baseline = np.array(pairs).T
    interval = statistics.paired(values, baseline, alpha, "difference").difference
    for shift in np.arange(-4, 4.5, 0.5):
        p_value = statistics.paired(values - shift, baseline, alpha, "difference").p_value
        assert covers(interval, shift) == (p_value > alpha)


@given(
    logarithms=st.lists(st.tuples(*[st.floats(-1, 1) | st.just(INF)] * 2), min_size=1, max_size=30),
    scale=st.sampled_from(["ratio", "difference"]),
    alpha=ALPHAS,
)
def test_exchanging_the_two_mirrors_everything(logarithms, scale, alpha):
    values, baseline = np.exp(np.array(logarithms)).T
    pair = statistics.paired(values, baseline, alpha, scale)
    mirrored = statistics.paired(baseline, values, alpha, scale)
    estimate, low, high = pair.difference
    turned = array(estimate, high, low)
    turned = 1 / turned if scale == "ratio" else -turned
    np.testing.assert_allclose(mirrored.difference, turned, rtol=1e-14)
    assert mirrored[1:] == (pair.p_value, pair.only[::-1], *pair[3:])
    opposites = {
        "better": "worse",
        "fails more often": "fails less often",
        "not told apart": "not told apart",
    }
    opposites |= {theirs: ours for ours, theirs in opposites.items()}
    verdict = statistics.verdict(pair, alpha, 0.05, scale, 1.0)
    if verdict in opposites and sum(pair.only) == 0:
        assert statistics.verdict(mirrored, alpha, 0.05, scale, 1.0) == opposites[verdict]


@given(exponent=st.integers(-500, 500), seed=st.integers(0, 2**32))
def test_a_power_of_two_leaves_ratios_as_they_are(exponent, seed):
    values, baseline = np.exp(np.random.default_rng(seed).normal(size=(2, 12)))
    scaled = statistics.paired(
        np.ldexp(values, exponent), np.ldexp(baseline, exponent), 0.05, "ratio"
    )
    assert scaled == statistics.paired(values, baseline, 0.05, "ratio")


def test_extremes():
    """A last bit is told on either scale; the largest differences are still in order."""
    ones = np.ones(8)
    pair = statistics.paired(ones + 2**-52, ones, 0.05, "ratio")
    assert statistics.verdict(pair, 0.05, 0.0, "ratio", 1.0) == "worse"
    assert statistics.paired(ones, ones + 2**-52, 0.05, "ratio").difference.high < 1
    # Only on average, half a bit above: as a float the ratio would be 1.
    half = statistics.paired(ones + 2**-52 * (np.arange(8) != 0), ones, 0.05, "ratio")
    assert (half.p_value <= 0.05) == (half.difference.low > 1)
    far = statistics.paired(np.full(8, 1e308), np.full(8, 1e-308), 0.05, "ratio")
    assert (far.difference.low, far.p_value) == (INF, 2 / 2**8)
    far = statistics.paired(np.full(8, 1e308), np.full(8, -1e308), 0.05, "difference")
    assert (far.difference.low, far.p_value) == (INF, 2 / 2**8)
    both = np.repeat([1e308, -1e308], 4)
    assert statistics.paired(both, -both, 0.05, "difference").difference == Interval(0, -INF, INF)


def test_few_pairs_never_tell():
    five = statistics.paired(array(0, 0, 0, 0, 0), array(1, 2, 3, 4, 5), 0.05, "difference")
    np.testing.assert_array_equal(five.difference, Interval(-3, NAN, NAN))
    assert five[1:] == (2 / 32, (0, 0), 1, 5)
    assert statistics.verdict(five, 0.05, 9.0, "difference", 9.0) == "not told apart"
    assert [statistics.fewest(alpha) for alpha in (0.05, 2**-5, 0.03, 0.001)] == [6, 6, 7, 11]
    none = statistics.paired(array(INF, 1), array(1, INF), 0.05, "ratio")
    np.testing.assert_array_equal(none.difference, [NAN] * 3)
    assert none[1:] == (1, (1, 1), 1, 0)


@pytest.mark.parametrize(("count", "most"), [(21, 5), (statistics._MOST_EXACT + 1, 1.1)])
def test_many_pairs_are_taken_for_normal(count, most, monkeypatch):
    """Against the exact distribution, at the first number of pairs that it is not used for.

    From p = 0.05 to 0.0001 it is never too small, and too large by less than a tenth; of 21 pairs,
    where the correction for continuity counts, by more.
    """
    noise = stats.norm.ppf((np.arange(count) + 0.5) / count)
    shifts, zeros = np.linspace(1.95, 5, 20) / math.sqrt(count), np.zeros(count)

    def p_values(most_exact):
        monkeypatch.setattr(statistics, "_MOST_EXACT", most_exact)
        pairs = (statistics.paired(noise + x, zeros, 0.05, "difference") for x in shifts)
        return np.array([pair.p_value for pair in pairs])

    normal, exact = p_values(count - 1), p_values(count)
    assert exact.max() > 0.04
    assert exact.min() < 5e-4
    assert np.all(normal > exact)
    assert np.all(normal[exact > 1e-4] < most * exact[exact > 1e-4])


# Alarms of optimizers that are the same.


def twins(random, count, replicates, kind):
    """Draw runs of an optimizer and of itself, on tasks that are easy or hard for both."""
    task = np.exp(random.normal(size=(count, 1, replicates)))
    runs = task * np.exp(0.2 * random.standard_t(2, size=(count, 2, replicates)))
    if kind == "ties":
        runs = np.ceil(5 * runs) / 5
    if kind == "failures":
        runs[random.random(runs.shape) < 0.25] = INF
    return runs


def told(values, baseline, alpha):
    pair = statistics.paired(values, baseline, alpha, "ratio")
    return statistics.verdict(pair, alpha, 0.05, "ratio", 1.0) in TOLD


@some_of(
    ("kind", "replicates"),
    itertools.product(("heavy tails", "ties", "failures"), (10, 20, 30)),
    *(("heavy tails", 10), ("ties", 20), ("failures", 20)),
)
def test_an_optimizer_against_itself_is_told_no_more_often_than_alpha(replicates, kind):
    runs = twins(np.random.default_rng(replicates), 600, replicates, kind)
    alarms = sum(told(*pair, 0.05) for pair in runs)
    assert_share(alarms, 600, 0.03 if kind == "heavy tails" else 0.0, 0.05)


def test_five_looks_spend_one_level():
    """At 10, 15, 20, 25 and 30 replicates; at the full level each time, twice as often."""
    runs = twins(np.random.default_rng(1), 400, 30, "heavy tails")
    looks = {look: 5 * (look + 1) for look in range(1, 6)}
    spending = [statistics.spent(look, 0.05) for look in looks]
    np.testing.assert_allclose(spending, [0.04, 0.005, 0.0025, 0.00125, 0.000625], rtol=1e-12)
    alarms = careless = 0
    for values, baseline in runs:
        pairs = [
            statistics.paired(values[:count], baseline[:count], alpha, "ratio")
            for count, alpha in zip(looks.values(), spending, strict=True)
        ]
        alarms += any(pair.p_value <= alpha for pair, alpha in zip(pairs, spending, strict=True))
        careless += any(pair.p_value <= 0.05 for pair in pairs)
    assert_share(alarms, 400, 0.02, 0.05)
    assert careless > 30
    assert sum(statistics.spent(look, 0.05) for look in range(1, 20)) < 0.05


def test_of_several_copies_of_the_baseline_none_is_told_apart():
    """All four in at least 95% of 300 comparisons; without Bonferroni one differs in about 15%."""
    runs = np.random.default_rng(4).normal(size=(300, 5, 10))
    wrong = careless = 0
    for baseline, *others in runs:
        p_values = [
            statistics.paired(values, baseline, 0.0125, "difference").p_value for values in others
        ]
        wrong += min(p_values) <= 0.0125
        careless += min(p_values) <= 0.05
    assert_share(wrong, 300, 0.0, 0.05)
    assert careless > 30


# Verdicts.


def pair_of(low, high, only=(0, 0), p_failures=1.0):
    """Give what `verdict` reads of a comparison of 40 pairs."""
    return Paired(Interval((low + high) / 2, low, high), NAN, only, p_failures, 40 - sum(only))


@pytest.mark.parametrize(
    ("pair", "scale", "verdict"),
    [
        (pair_of(0.90, 0.99), "ratio", "better"),
        (pair_of(1.01, 1.06), "ratio", "worse"),
        # Told, and too small to matter.
        (pair_of(1.01, 1.02), "ratio", "as good"),
        (pair_of(0.96, 0.97), "ratio", "as good"),
        (pair_of(0.96, 0.97, (1, 0)), "ratio", "better"),
        (pair_of(0.96, 1.05), "ratio", "as good"),
        (pair_of(1.00, 1.00), "ratio", "as good"),
        (pair_of(0.95, 1.00), "ratio", "not told apart"),
        (pair_of(1.00, 1.06), "ratio", "not told apart"),
        (pair_of(NAN, NAN), "ratio", "not told apart"),
        (pair_of(-9.0, -1.0), "difference", "better"),
        (pair_of(0.1, 0.6), "difference", "worse"),
        (pair_of(0.1, 0.2), "difference", "as good"),
        # Within 5% of a baseline at -10.
        (pair_of(-0.5, 0.5), "difference", "as good"),
        (pair_of(-0.51, 0.5), "difference", "not told apart"),
        (pair_of(-0.5, 0.51), "difference", "not told apart"),
        # 2**(1 - 5) is above three quarters of 0.05: all of the level is the losses'.
        (pair_of(0.90, 0.99, (5, 0), 2**-4), "ratio", "better"),
        (pair_of(0.90, 0.99, (6, 0), 2**-5), "ratio", "fails more often"),
        (pair_of(0.90, 0.99, (7, 0), 2**-6), "ratio", "fails more often"),
        (pair_of(1.01, 1.02, (0, 7), 2**-6), "ratio", "fails less often"),
        (pair_of(1.01, 1.20, (5, 5), 1.0), "ratio", "worse"),
        (pair_of(0.99, 1.01, (0, 3), 0.25), "ratio", "as good"),
        (pair_of(0.99, 1.01, (3, 0), 0.25), "ratio", "not told apart"),
    ],
)
def test_verdicts(pair, scale, verdict):
    assert statistics.verdict(pair, 0.05, 0.05, scale, -10.0) == verdict


def test_a_margin_of_a_baseline_that_has_no_value_is_none():
    near = pair_of(-0.1, 0.1)
    assert statistics.verdict(near, 0.05, 0.05, "difference", 10.0) == "as good"
    for size in (INF, NAN):
        assert statistics.verdict(near, 0.05, 0.05, "difference", size) == "not told apart"


def test_an_optimizer_that_is_5_percent_better_and_fails_in_6_of_10():
    """Six failures are too few for half of the level, four pairs for any, which is theirs then.

    Eight and one have p = 0.039, within the level that nothing else can use.
    """
    values = np.r_[np.full(6, INF), 0.95 * np.ones(4)]
    for repeat, verdict in [(1, "fails more often"), (2, "fails more often")]:
        pair = statistics.paired(np.tile(values, repeat), np.ones(10 * repeat), 0.05, "ratio")
        assert statistics.verdict(pair, 0.05, 0.05, "ratio", 1.0) == verdict
    values, baseline = np.r_[np.full(8, INF), np.ones(5)], np.r_[np.ones(8), INF, np.ones(4)]
    pair = statistics.paired(values, baseline, 0.05, "ratio")
    assert statistics.verdict(pair, 0.05, 0.05, "ratio", 1.0) == "fails more often"


# What so many pairs tell.


def near_zero(random, size):
    """As of twins, which pick nearly the same in most replicates."""
    return np.where(random.random(size) < 0.3, 1.0, 0.03) * random.normal(size=size)


def power(draw, pairs, alpha=0.05):
    """Give how often SciPy's test tells, of what is drawn next, what each comparison foresees."""
    random, zeros = np.random.default_rng(pairs), np.zeros(pairs)
    told = [
        statistics.smallest_told(row, zeros, alpha, "difference")
        for row in draw(random, size=(1000, pairs))
    ]
    shifted = draw(random, size=(2, 1000, pairs)) + np.array(told)[:, None]
    found = stats.wilcoxon(shifted, axis=-1, alternative="greater", method="exact").pvalue
    return np.mean(found <= alpha / 2)


SHAPES = {
    "normal": np.random.Generator.standard_normal,
    "near zero": near_zero,
    "laplace": np.random.Generator.laplace,
    "t": lambda random, size: random.standard_t(2, size),
    "cauchy": np.random.Generator.standard_cauchy,
}


@pytest.mark.parametrize(
    ("shape", "pairs", "alpha"),
    [
        ("near zero", 20, 0.05),
        *(
            pytest.param(shape, pairs, alpha, marks=pytest.mark.slow)
            for shape in SHAPES
            for pairs, alpha in [(20, 0.05), (20, 0.04 / 47), (30, 0.05)]
            if (shape, pairs, alpha) != ("near zero", 20, 0.05)
        ),
    ],
)
def test_another_comparison_tells_it_four_times_in_five(shape, pairs, alpha):
    """In the mean of a thousand, whatever their tails, at one's share of 47 of a level too."""
    assert 0.76 <= power(SHAPES[shape], pairs, alpha) <= 0.84


@pytest.mark.slow
def test_ten_pairs_do_not_know_how_far_others_spread():
    """As the docstring says: of normal differences the power is as stated, of heavy tails less."""
    assert 0.78 <= power(SHAPES["normal"], 10) <= 0.88
    assert 0.70 <= power(near_zero, 10) <= 0.80


@pytest.mark.parametrize("alpha", [0.05, 1e-9])
def test_many_pairs_tell_less_as_their_root_says(alpha):
    """Of normal differences, by the asymptotic efficiency of the test, 3 over pi."""
    noise = np.random.default_rng(5).normal(size=4000)
    told = statistics.smallest_told(noise, np.zeros(4000), alpha, "difference")
    expected = (stats.norm.isf(alpha / 2) + stats.norm.ppf(0.8)) * math.sqrt(math.pi / 3 / 4000)
    assert told == pytest.approx(expected, rel=0.1 if alpha == 0.05 else 0.3)


@pytest.mark.parametrize("far", range(1, 7))
def test_the_largest_numbers_tell_nothing_small(far):
    values = np.r_[np.full(20 - far, -1.7e308), np.full(far, 1.7e308)]
    assert statistics.smallest_told(values, -values, 0.05, "difference") > 1e307


def test_the_smallest_difference_told_is_in_units_of_the_difference():
    values, baseline = np.random.default_rng(0).normal(size=(2, 12))
    told = statistics.smallest_told(values, baseline, 0.05, "difference")
    assert statistics.smallest_told(
        8 * values - 5, 8 * baseline - 5, 0.05, "difference"
    ) == pytest.approx(8 * told)
    ratio = statistics.smallest_told(np.exp(values), np.exp(baseline), 0.05, "ratio")
    assert ratio == pytest.approx(math.exp(told))
    assert statistics.smallest_told(baseline, values, 0.05, "difference") == told
    assert statistics.smallest_told(values, baseline, 0.05, "difference", 0.9) > told
    assert statistics.smallest_told(values, baseline, 0.01, "difference") > told
    same = statistics.smallest_told(values, values, 0.05, "difference")
    assert (same, statistics.smallest_told(np.exp(values), np.exp(values), 0.05, "ratio")) == (0, 1)
    assert statistics.smallest_told(values[:5], baseline[:5], 0.05, "difference") == INF


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
    np.testing.assert_array_equal(times, [20, 10, 40, INF, 0, 20])
    assert statistics.location(times, 0.05, "difference") == Interval(20, 0, INF)


def test_a_diverged_run_never_reaches_the_target():
    """One that diverges afterwards has reached it."""
    losses = array([5, NAN, NAN], [5, INF, 0], [NAN, 0, 0], [5, 5, 0], [5, 1, NAN])
    times = statistics.steps_to_target(losses, np.array([0, 10, 20]), 1.0)
    np.testing.assert_array_equal(times, [INF, INF, INF, 20, 10])


# Of many settings, and of many optimizers.


def test_shares_within_a_factor():
    def share(*losses, factor=2.0):
        return statistics.within(array(*losses), min(losses), factor).mean()

    assert share(2, 3, 4, 4.1, INF) == 3 / 5
    assert share(-4, -2, -1.9, 5) == 2 / 4
    assert share(0, 0, 1e-9) == 2 / 3
    assert share(7) == 1
    assert share(INF, INF) == 0


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
    assert statistics.location(values, 0.05, "difference").estimate == pytest.approx(2e38)
    pair = statistics.paired(values, -values, 0.05, "difference")
    assert pair.difference.estimate == pytest.approx(4e38)


# What is refused.


def location(*values, alpha=0.05, scale="difference"):
    return statistics.location(array(*values), alpha, scale)


def paired(values, baseline, alpha=0.05, scale="difference"):
    return statistics.paired(array(*values), array(*baseline), alpha, scale)


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (location, r"values: expected one value of each replicate, got shape \[0\]"),
        (lambda: location([1, 2]), r"values: expected one value .* got shape \[1, 2\]"),
        (lambda: location(1, NAN), "values: expected numbers, inf for a failure, got nan"),
        (lambda: location(1, -INF), "values: expected numbers, .*, got -inf"),
        (lambda: location(1, 2, alpha=5), "alpha: .* between 0 and 1, got 5"),
        (
            lambda: location(1, 0, scale="ratio"),
            "values: expected values above zero, to compare as ratios, got 0.0; compare as diff",
        ),
        (lambda: paired([1], [NAN]), "baseline: expected numbers"),
        (lambda: paired([1], [-1], scale="ratio"), "baseline: expected values above zero"),
        (
            lambda: paired([1, 2], [1]),
            "baseline: expected a value for each of the 2 replicates of values, got 1; judge both",
        ),
        (lambda: paired([1], [1], 1.0), "alpha: .* got 1.0"),
        (
            lambda: statistics.verdict(pair_of(0, 1), 0.05, -0.1, "ratio", 1.0),
            "margin: expected at least 0, got -0.1",
        ),
        (lambda: statistics.spent(0, 0.05), "look: expected at least 1, got 0"),
        (lambda: statistics.spent(1, 5.0), "level: .* got 5.0"),
        (lambda: statistics.fewest(0.0), "alpha: .* got 0.0"),
        (
            lambda: statistics.smallest_told(array(1), array(1), 0.05, "ratio", 80),
            "power: .* got 80",
        ),
        (
            lambda: statistics.smallest_told(array(1), array(1, 2), 0.05, "ratio"),
            "baseline: expected a value for each of the 1 replicates",
        ),
        (
            lambda: statistics.steps_to_target(array([1, 2, 3]), np.arange(2), 0.0),
            r"losses: expected shape \[R, E\], .* each of the 2 steps, got shape \[1, 3\]",
        ),
        (
            lambda: statistics.steps_to_target(array(1, 2), np.arange(2), 0.0),
            r"losses: expected shape \[R, E\]",
        ),
        (lambda: statistics.profile({"a": array(1)}, array(0.5)), "ratios: expected at least 1"),
        (
            lambda: statistics.profile({"a": array(1), "b": array(1, 2)}, array(1)),
            "values: expected the same replicates for every optimizer, got {'a': 1, 'b': 2}",
        ),
        (
            lambda: statistics.profile({"a": array(NAN)}, array(1)),
            r"values\['a'\]: expected numbers",
        ),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_bad_input_is_refused(refused, words):
    with pytest.raises(InputError, match=f"^{words}"):
        refused()


def test_results_are_plain_numbers():
    """For JSON: neither NumPy's integers nor its floats."""
    for scale in ("ratio", "difference"):
        pair = paired([1, 2, INF, 3], [1, 1, 1, INF], 0.9, scale)
        numbers = (*pair.difference, pair.p_value, pair.p_failures)
        assert {type(number) for number in numbers} == {float}
        assert {type(count) for count in (*pair.only, pair.lasted)} == {int}
        assert {type(x) for x in location(1, 2, INF, alpha=0.9, scale=scale)} == {float}
        told = statistics.smallest_told(np.arange(1.0, 8), np.ones(7), 0.05, scale)
        assert type(told) is float

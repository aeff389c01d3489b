"""Evidence for the league: published examples, other programs' figures, and known truth."""

import itertools
import math

import numpy as np
import planted
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import jaxnet.compare
from jaxnet.compare import league
from jaxnet.compare.comparison import of_record
from jaxnet.compare.league import Tally
from jaxnet.errors import InputError

PLANTED = np.arange(1.0, 13.0)

INF, NAN = math.inf, math.nan
# Demsar (2006), table 6: areas under the curve of four classifiers on 14 data sets; one that he
# ranks by a digit that he does not print has it here.
DEMSAR = -np.array(
    [
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.590, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000],
        [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.97501, 0.975],
        [0.957, 0.978, 0.946, 0.970],
    ]
)
NAMES = ("C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf")
MATRICES = st.tuples(st.integers(2, 6), st.integers(3, 6)).flatmap(
    lambda shape: st.lists(
        st.lists(st.integers(0, 3), min_size=shape[1], max_size=shape[1]),
        min_size=shape[0],
        max_size=shape[0],
    ).map(lambda rows: np.array(rows, np.float64))
)


def demsars(level=0.05, **changes):
    arguments = {
        "tasks": [f"task {row}" for row in range(14)],
        "optimizers": NAMES,
        "baseline": "C4.5",
        "scores": DEMSAR,
        "verdicts": [["baseline", "better", "as good", "not told apart"]] * 14,
        "differences": DEMSAR - DEMSAR[:, :1],
        "errors": np.zeros(DEMSAR.shape),
        "margin": math.expm1(0.01),
        "level": level,
    }
    return league.of(**arguments | changes)


def chances_of(differences, margin, errors=0.0):
    return league.bayesian_signed_rank(
        differences, margin, np.broadcast_to(errors, differences.shape)
    )


# Ranks, and whether they differ.


def test_ranks_share_ties_put_failures_last_and_leave_out_what_did_not_run():
    scores = np.array([[3.0, 1.0, 2.0, 1.0], [INF, 0.5, INF, NAN], [-1.0, -3.0, 0.0, INF]])
    expected = [[4, 1.5, 3, 1.5], [2.5, 1, 2.5, NAN], [2, 1, 3, 4]]
    np.testing.assert_array_equal(league.ranks(scores), expected)


def test_ranks_are_those_of_the_published_example():
    shown = [3.143, 2.000, 2.893, 1.964]
    np.testing.assert_allclose(league.ranks(DEMSAR).mean(axis=0), shown, atol=5e-4)


def test_friedman_is_the_published_one_after_correcting_for_ties():
    """Demsar's 9.28 divides by what the spread of ranks would be without ties."""
    ranked = league.ranks(DEMSAR)
    without_ties = 14 * 4 * (4**2 - 1) / 12
    share = np.sum((ranked - 2.5) ** 2) / without_ties
    assert league.friedman(DEMSAR).chi_squared * share == pytest.approx(9.28, abs=5e-3)


@given(MATRICES)
def test_friedman_is_scipys_and_the_f_of_an_analysis_of_variance(scores):
    told = league.friedman(scores)
    if np.all(scores == scores[:, :1]):
        assert told == (0.0, 0.0, 1.0)
        return
    assert told.chi_squared == pytest.approx(stats.friedmanchisquare(*scores.T).statistic)
    ranked = stats.rankdata(scores, axis=1)
    tasks, optimizers = ranked.shape
    between = tasks * np.sum((ranked.mean(axis=0) - ranked.mean()) ** 2)
    rest = np.sum((ranked - ranked.mean()) ** 2) - between
    if rest < 1e-9:
        assert told.f == INF
        # Never below the p of the one order of all that is so extreme.
        assert told.p_value == pytest.approx(math.factorial(optimizers) ** (1 - tasks))
    else:
        assert told.f == pytest.approx(between / (rest / (tasks - 1)))
        sf = stats.f.sf(told.f, optimizers - 1, (optimizers - 1) * (tasks - 1))
        assert told.p_value == pytest.approx(
            max(sf, math.factorial(optimizers) ** (1 - tasks)), rel=1e-6
        )


def test_the_p_of_few_tasks_is_no_lower_than_that_of_all_orders():
    """Two tasks and three optimizers that agree: one order of six does."""
    agreeing = np.array([[1.0, 2, 3], [1, 2, 3]])
    chances = [
        league.friedman(np.array([[1, 2, 3], order], np.float64)).chi_squared
        for order in itertools.permutations(range(3))
    ]
    exact = np.mean(np.array(chances) >= league.friedman(agreeing).chi_squared - 1e-9)
    assert league.friedman(agreeing).p_value == pytest.approx(exact)
    assert league.friedman(agreeing[:1]).p_value == 1


@pytest.mark.parametrize(("tasks", "optimizers"), [(4, 3), (10, 5), (16, 48)])
def test_equal_optimizers_are_found_different_no_more_often_than_the_level(tasks, optimizers):
    scores = np.random.default_rng(0).normal(size=(600, tasks, optimizers))
    alarms = sum(league.friedman(each).p_value <= 0.05 for each in scores)
    assert stats.binom.sf(alarms - 1, 600, 0.06) > 1e-3
    assert alarms > 0


# The critical difference.


def test_critical_differences_are_those_of_the_published_table():
    """Table 5a, whose last digits are off by one in places."""
    table = {
        0.05: (1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164),
        0.10: (1.645, 2.052, 2.291, 2.459, 2.589, 2.693, 2.780, 2.855, 2.920),
    }
    for level, row in table.items():
        for optimizers, q in zip(range(2, 11), row, strict=True):
            spread = math.sqrt(optimizers * (optimizers + 1) / (6 * 14))
            apart = league.critical_difference(optimizers, 14, level)
            assert apart / spread == pytest.approx(q, abs=1.01e-3)
    assert league.critical_difference(4, 14) == pytest.approx(1.25, abs=5e-3)
    assert league.critical_difference(4, 14, 0.10) == pytest.approx(1.12, abs=5e-3)


def test_groups_are_those_of_the_published_example():
    """At 5% none are told apart; at 10% C4.5 is worse than the two that prune by m."""
    best_first = ("C4.5+m+cf", "C4.5+m", "C4.5+cf", "C4.5")
    assert demsars().groups == (best_first,)
    assert demsars(0.10).groups == (best_first[:3], best_first[2:])


@given(st.lists(st.integers(0, 30), min_size=2, max_size=9), st.integers(1, 12))
def test_groups_hold_the_pairs_that_are_not_told_apart_and_no_others(places, apart):
    names = list("abcdefghi"[: len(places)])
    ranks = np.array(places, np.float64)
    groups = league._groups(names, ranks, float(apart))
    together = {
        pair for group in groups for pair in itertools.combinations_with_replacement(group, 2)
    }
    for (one, first), (other, second) in itertools.product(
        zip(names, places, strict=True), repeat=2
    ):
        assert ((one, other) in together or (other, one) in together) == (
            abs(first - second) < apart
        )
    for one, other in itertools.permutations(groups, 2):
        assert not set(one) <= set(other)


# The chances.


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        ((0, 1), (0.6707, 0.3293, 0.0000)),
        ((0, 2), (0.1875, 0.6962, 0.1163)),
        ((0, 3), (0.9673, 0.0324, 0.0003)),
        ((2, 3), (0.7805, 0.2188, 0.0008)),
    ],
)
def test_chances_are_those_of_baycomp(pair, expected):
    """`SignedRankTest.probs` of baycomp 1.0.3 at a rope of 0.01, the mean of 200,000 draws."""
    one, other = pair
    chances = chances_of(DEMSAR[:, other] - DEMSAR[:, one], 0.01)
    np.testing.assert_allclose(chances, expected, atol=0.008)
    assert sum(chances) == pytest.approx(1)


def test_the_chances_of_one_task_are_those_of_a_beta_distribution():
    """Worse, unless the half task of no difference outweighs: its square is over a half."""
    sure = stats.beta(0.5, 1).cdf(math.sqrt(0.5))
    for difference in (3.0, INF):
        chances = chances_of(np.array([difference]), 1.0)
        np.testing.assert_allclose(chances, (0, 1 - sure, sure), atol=0.006)
        mirrored = chances_of(np.array([-difference]), 1.0)
        assert mirrored == chances[::-1]


def test_infinite_differences_outweigh_and_cancel():
    def told(*differences):
        return chances_of(np.array(differences, np.float64), 1.0)

    assert told(INF, -2.0, 0.0) == told(1e9, -2.0, 0.0)
    chances = told(INF, -INF)
    assert chances.better == pytest.approx(chances.worse, abs=0.01)
    assert told(*[0.2] * 8) == (0, 1, 0)


def test_chances_at_the_margin_are_seldom_sure_and_beyond_it_often():
    rng = np.random.default_rng(1)
    worse = [
        np.mean([chances_of(row, 1.0).worse >= 0.95 for row in tasks])
        for tasks in (rng.normal(truth, 2, size=(25, 16)) for truth in (1.0, 4.0))
    ]
    assert worse[0] < 0.15
    assert worse[1] > 0.8


def test_differences_that_are_uncertain_leave_chances_uncertain():
    """Of tasks that are alike, and known to one part in a hundred or not at all."""
    apart = np.full(12, -0.5)
    exact, near, unknown = (chances_of(apart, 0.05, error) for error in (0.0, 0.005, 5.0))
    assert exact.better > 0.999
    assert near.better == pytest.approx(exact.better, abs=1e-3)
    assert unknown.better < 0.9
    never = chances_of(apart, 0.05, INF)
    assert never.better == pytest.approx(never.worse, abs=0.05)


def test_uncertainty_is_drawn_from_a_normal_distribution():
    """One task that outweighs the half of none: where it is drawn, that is what is said."""
    for error in (0.5, 2.0):
        chances = chances_of(np.array([1.0]), 1e-9, error)
        worse = stats.norm.cdf(1 / error) * stats.beta(0.5, 1).cdf(math.sqrt(0.5))
        assert chances.worse == pytest.approx(worse, abs=0.03)


@pytest.mark.parametrize(
    ("differences", "margin", "message"),
    [
        ([NAN, 1.0], 1.0, "differences: expected numbers, got nan"),
        ([1.0], 0.0, "margin: expected a number above zero, got 0"),
        ([1.0], NAN, "margin: expected a number above zero, got nan"),
    ],
)
def test_no_chances_of_what_is_no_difference(differences, margin, message):
    with pytest.raises(InputError, match=message):
        chances_of(np.array(differences), margin)


# All of it.


def test_verdicts_are_counted_by_optimizer():
    rows = [
        ["baseline", "better", "worse", "cannot run"],
        ["baseline", "fails less often", "fails more often", "not told apart"],
        ["baseline", "as good", "worse", "not told apart"],
    ]
    assert league.wins_losses_ties(rows) == (
        Tally(0, 0, 0, 0, 0),
        Tally(wins=2, ties=1, untold=0, losses=0, unable=0),
        Tally(wins=0, ties=0, untold=0, losses=3, unable=0),
        Tally(wins=0, ties=0, untold=2, losses=0, unable=1),
    )


def test_a_league_says_what_its_parts_say():
    whole = demsars()
    np.testing.assert_array_equal(whole.average_ranks, league.ranks(DEMSAR).mean(axis=0))
    assert whole.friedman == league.friedman(DEMSAR)
    assert whole.critical_difference == league.critical_difference(4, 14)
    assert whole.chances[3] == chances_of(DEMSAR[:, 3] - DEMSAR[:, 0], 0.01)
    assert np.isnan(whole.chances[0]).all()
    assert whole.tallies[1].wins == whole.tallies[2].ties == whole.tallies[3].untold == 14


def test_overall_is_said_what_is_sure_of_so_many():
    """Demsar's 0.967 is not; on four tasks of one mind nothing is: one in eight agrees by luck."""
    assert demsars().sure == pytest.approx(1 - 0.05 / 6)
    assert demsars().overall == ("baseline", *["not told apart"] * 3)
    lean = np.tile([0.0, -1.0, 0.001, 1.0], (14, 1))
    said = ("baseline", "better", "as good", "worse")
    assert demsars(differences=lean).overall == said
    lean[4:, 1:] = NAN
    few = demsars(differences=lean)
    assert few.chances[1].better > few.sure
    assert few.overall == demsars().overall


@pytest.mark.parametrize("count", [3, pytest.param(60, marks=pytest.mark.slow)])
def test_equal_optimizers_are_seldom_said_to_differ_overall(count):
    """Of 15 others on 16 tasks, with noise of six times the margin."""
    rng = np.random.default_rng(2)
    alarms = 0
    for _ in range(count):
        differences = rng.normal(0, 0.3, (16, 16)) * (np.arange(16) > 0)
        whole = league.of(
            [f"task {row}" for row in range(16)],
            [f"rule {column}" for column in range(16)],
            "rule 0",
            np.exp(differences),
            [["baseline", *["not told apart"] * 15]] * 16,
            differences,
            np.zeros(differences.shape),
        )
        alarms += bool({"better", "worse"} & set(whole.overall))
    assert stats.binom.sf(alarms - 1, count, 0.1) > 1e-3


def test_what_did_not_run_everywhere_is_not_ranked_but_has_chances_and_counts():
    scores, differences = DEMSAR.copy(), demsars().differences.copy()
    scores[3, 2] = differences[3, 2] = NAN
    part = demsars(scores=scores, differences=differences)
    assert np.isnan(part.average_ranks[2])
    kept = [0, 1, 3]
    np.testing.assert_array_equal(
        part.average_ranks[kept], league.ranks(DEMSAR[:, kept]).mean(axis=0)
    )
    assert part.friedman == league.friedman(DEMSAR[:, kept])
    assert part.critical_difference == league.critical_difference(3, 14)
    assert "C4.5+cf" not in itertools.chain(*part.groups)
    assert part.chances[2] == chances_of(np.delete(differences[:, 2], 3), 0.01)


def test_the_baseline_alone_is_left_where_no_other_ran():
    scores = DEMSAR[:, :2].copy()
    scores[:, 1] = NAN
    lonely = demsars(
        optimizers=NAMES[:2],
        scores=scores,
        differences=scores - DEMSAR[:, :1],
        errors=np.zeros(scores.shape),
        verdicts=[["baseline", "cannot run"]] * 14,
    )
    assert lonely.overall == ("baseline", "cannot run")
    assert lonely.groups == (("C4.5",),)
    assert np.isnan([lonely.critical_difference, *lonely.friedman, *lonely.chances[1]]).all()


def test_a_league_is_the_same_twice():
    assert demsars().chances == demsars().chances


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": []}, "tasks: expected names that differ, at least one, got"),
        ({"tasks": ["one"] * 14}, "tasks: expected names that differ"),
        ({"optimizers": ["C4.5"]}, "optimizers: expected names that differ, at least two"),
        ({"optimizers": ["C4.5"] * 4}, "optimizers: expected names that differ"),
        ({"baseline": "sgd"}, "baseline: expected one of C4.5, C4.5.m, .*, got sgd"),
        ({"scores": DEMSAR[:2]}, r"scores: expected shape \[14, 4\], .* got shape \[2, 4\]"),
        ({"scores": np.full((14, 4), -INF)}, "scores: expected losses, .* got -inf"),
        ({"scores": np.full((14, 4), NAN)}, "scores: expected a score of the baseline C4.5"),
        ({"differences": DEMSAR.T}, r"differences: expected shape \[14, 4\]"),
        ({"errors": DEMSAR.T}, r"errors: expected shape \[14, 4\]"),
        ({"verdicts": [["better"] * 4]}, "verdicts: expected 14 rows of 4, got rows of"),
        ({"verdicts": [["good"] * 4] * 14}, "verdicts: expected better, .*, got good"),
        ({"margin": -2.0}, "margin: expected a number above zero, got -2"),
        ({"level": 1.0}, "level: expected a number between 0 and 1, got 1.0"),
    ],
)
def test_what_is_no_league_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        demsars(**changes)


@pytest.mark.parametrize(
    ("ends", "judging"),
    [
        ({"sgd": PLANTED, "good": PLANTED / 2}, {}),
        ({"sgd": -PLANTED, "good": -2 * PLANTED}, {}),
        ({"sgd": PLANTED, "good": 2 * PLANTED}, {"maximised": True}),
        ({"sgd": -PLANTED, "good": -PLANTED / 2}, {"maximised": True}),
    ],
    ids=["ratios", "differences", "more is better", "more is better, below zero"],
)
def test_what_is_better_on_every_task_leads_whichever_way_it_is_judged(ends, judging):
    tasks = {f"task {n}": of_record(planted.record(ends, **judging)) for n in range(8)}
    together = league.of_comparisons(tasks)
    assert set(together.verdicts) == {("baseline", "better")}
    assert together.average_ranks.tolist() == [2, 1]
    assert (together.differences[:, 1] < 0).all()
    assert together.chances[1].better > 0.9
    assert together.overall == ("baseline", "better")


def test_comparisons_of_other_optimizers_make_no_league():
    one, other = (planted.record({"sgd": PLANTED, name: PLANTED}) for name in ("a", "b"))
    with pytest.raises(InputError, match=r"comparisons: expected sgd, a on every task, .* on two"):
        league.of_comparisons({"one": of_record(one), "two": of_record(other)})


@pytest.mark.parametrize("maximised", [False, True])
@pytest.mark.slow
def test_the_errors_of_a_league_are_how_much_its_differences_vary(maximised):
    """Of 100 comparisons of other replicates, as ratios and as differences."""
    random, told = np.random.default_rng(3), []
    for _ in range(100):
        plain, other = 1 + random.normal(size=(2, 20)) / 20
        record = planted.record({"sgd": plain, "other": 0.8 * other}, maximised=maximised)
        told.append(league.of_comparisons({"one": of_record(record)}))
    spread = np.std([each.differences[0, 1] for each in told])
    assert np.median([each.errors[0, 1] for each in told]) == pytest.approx(spread, rel=0.3)
    assert all(each.errors[0, 0] == 0 for each in told)
    few = of_record(planted.record({"sgd": plain[:2], "other": other[:2]}))
    assert league.of_comparisons({"one": few}).errors[0, 1] == INF
    lost = of_record(planted.record({"sgd": PLANTED, "lost": np.full(12, INF)}))
    assert league.of_comparisons({"one": lost}).errors[0, 1] == 0


# Along lengths and batch sizes.


def compared(**factors):
    return of_record(
        planted.record({"sgd": PLANTED} | {n: f * PLANTED for n, f in factors.items()})
    )


def test_whether_a_verdict_holds_is_said_of_each_optimizer():
    mixed = np.where(np.arange(12) % 2, 0.5, 2.0)
    lost = np.full(12, INF)
    results = {
        100: compared(holds=0.5, turns=0.5, unsure=0.5, fails=2.0, never=mixed),
        400: compared(holds=0.4, turns=2.0, unsure=mixed, fails=lost, never=mixed),
    }
    told = {each.optimizer: each for each in jaxnet.compare.along(results)}
    holds = {"holds": True, "turns": False, "unsure": None, "fails": True, "never": None}
    assert {name: each.holds for name, each in told.items()} == holds
    assert told["turns"].verdicts == {"100": "better", "400": "worse"}
    sentences = {name: each.sentence for name, each in told.items()}
    assert sentences == {
        "holds": "holds against plain SGD: better at 100 and 400. The verdict holds.",
        "turns": "turns against plain SGD: better at 100, worse at 400. The verdict does not hold: "
        "it changes.",
        "unsure": "unsure against plain SGD: better at 100, not told apart at 400. Whether that "
        "verdict holds is open.",
        "fails": "fails against plain SGD: worse at 100, fails more often at 400. The verdict "
        "holds.",
        "never": "never against plain SGD: not told apart at 100 and 400. There is no verdict that "
        "could hold.",
    }


def test_leagues_are_held_along_as_comparisons_are():
    better, worse = (
        league.of_comparisons({f"task {n}": compared(other=factor) for n in range(12)})
        for factor in (0.5, 2.0)
    )
    (each,) = league.along({"steps 5": better, "steps 9": worse})
    assert (each.holds, each.verdicts) == (False, {"steps 5": "better", "steps 9": "worse"})


@pytest.mark.parametrize(
    ("results", "words"),
    [
        ({1: compared(a=0.5)}, "results: expected at least two to compare, got 1"),
        ({1: compared(a=0.5), 2: compared(b=0.5)}, "results: expected sgd, a in each, .* at 2"),
    ],
)
def test_what_has_no_axis_is_not_held_along_it(results, words):
    with pytest.raises(InputError, match=words):
        league.along(results)

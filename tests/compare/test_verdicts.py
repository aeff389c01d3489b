"""Evidence for the answers: their figures and sentences for records planted by hand."""

import math

import numpy as np
import planted
import pytest
from scipy import stats

from jaxnet.compare import comparison, statistics, verdicts

ENDS = np.arange(1.0, 9.0)
LOST = np.full(8, np.inf)


def answered(ends, **settings):
    return comparison.of_record(planted.record(ends, **settings))


def only(result, name):
    (answer,) = [each for each in result.answers if each.optimizer == name]
    return answer


def test_answers_worked_by_hand():
    result = answered({"sgd": ENDS, "lost": LOST, "same": ENDS, "lower": ENDS / 2})
    sgd, lower, same, lost = result.answers
    assert [each.optimizer for each in result.answers] == ["sgd", "lower", "same", "lost"]
    assert [each.verdict for each in result.answers] == [
        "baseline",
        "better",
        "as good",
        "fails more often",
    ]
    # 4/5 of 5%, over three comparisons; all eight signs alike are two of 2^8.
    assert all(pair.scale == "ratio" for pair in result.pairs)
    assert lower.pair.p_value == pytest.approx(2 / 256 * 3 / 0.8)
    assert same.pair.p_value == 1
    assert lost.pair.p_value == pytest.approx(2 / 256 * 3 / 0.8)
    assert lower.pair.difference == pytest.approx((0.5, 0.5, 0.5))
    assert lost.pair.only == (8, 0)
    assert [each.failed for each in result.answers] == [0, 0, 0, 8]
    # Of 1 to 8, the median of the geometric means of any two.
    pairs = np.log(ENDS)[:, None] + np.log(ENDS)
    middle = np.exp(np.median(pairs[np.triu_indices(8)]) / 2)
    assert sgd.value.estimate == pytest.approx(middle)
    assert lower.value.estimate == pytest.approx(middle / 2)
    assert lost.value.estimate == math.inf
    assert sgd.recommended.estimate == sgd.customary.estimate == pytest.approx(9)
    # The target is 4.5, the median of SGD; half of its own runs never reach it.
    assert result.target == 4.5
    assert [each.reached for each in (sgd, lower, same, lost)] == [4, 8, 4, 0]
    assert (sgd.setting, sgd.trials) == ({"learning_rate": 0.2}, 3)
    assert sgd.best_of.tolist() == [2, 1, 1]
    # The first stage has all three trials, of which the first alone is far from the best.
    assert sgd.forgiving == pytest.approx(2 / 3)
    assert (sgd.compile_seconds, sgd.run_seconds, sgd.step_seconds) == (2.0, 5.0, 1e-6)
    assert sgd.sentence == "Plain SGD, the baseline, is best used with learning_rate 0.2."
    assert lower.sentence == (
        "lower is better than sgd: training loss 0.5 times sgd's (96% interval 0.5 to 0.5)."
    )
    assert same.sentence == (
        "same is as good as sgd, within 5%: training loss 1 times sgd's (96% interval 1 to 1)."
    )
    assert lost.sentence == (
        "lost fails more often than sgd: it alone failed in 8 of 8 replicates, sgd alone in 0. "
        "Of 8 replicates 8 diverged."
    )


def test_values_not_above_zero_are_compared_as_differences():
    result = answered({"sgd": ENDS - 4, "lower": ENDS - 4.5})
    (pair,) = result.pairs
    assert (pair.scale, pair.verdict, pair.difference) == ("difference", "better", (-0.5,) * 3)
    assert "training loss lower than sgd's by 0.5 (" in only(result, "lower").sentence


def test_one_replicate_tells_nothing_apart():
    result = answered({"sgd": [2.0], "other": [1.0]})
    other = only(result, "other")
    assert (other.verdict, other.pair.p_value) == ("not told apart", 1)
    assert math.isnan(other.pair.difference.low)
    assert other.sentence == (
        "other and sgd are not told apart by 1 replicate, too few to tell anything: "
        "give at least 6."
    )


def test_so_few_of_so_many_are_told_how_many_it_takes():
    """With 99 others it takes 2^(1 - R) of at most 0.04 / 100."""
    many = {f"same {i}": ENDS for i in range(99)}
    result = answered({"sgd": ENDS, "lower": ENDS / 2} | many)
    lower = only(result, "lower")
    assert lower.verdict == "not told apart"
    assert "too few to tell anything: give at least 13." in lower.sentence


def test_further_looks_spend_less():
    """A tenth of the level at the second look, so that what was told at once no longer is."""
    verdicts = [
        only(answered({"sgd": ENDS, "lower": ENDS / 2}, looks=looks), "lower").verdict
        for looks in ((8,), (4, 8))
    ]
    assert verdicts == ["better", "not told apart"]
    (pair,) = answered({"sgd": ENDS, "lower": ENDS / 2}, looks=(4, 8)).pairs
    assert pair.p_value == pytest.approx(2 / 256 / 0.1)


def test_a_verdict_told_at_a_look_stays_told():
    """The first eight are half; with four that are three times as high nothing more is told."""
    factor = np.r_[np.full(8, 0.5), np.full(4, 3.0)]
    ends = np.r_[ENDS, ENDS[:4]]
    for looks, verdict in (((8, 12), "better"), ((4, 12), "not told apart")):
        result = answered({"sgd": ends, "other": factor * ends}, looks=looks)
        (pair,) = result.pairs
        assert pair.verdict == only(result, "other").verdict == verdict
        assert pair.look == (1 if verdict == "better" else 2)
    (pair,) = answered({"sgd": ends, "other": factor * ends}, looks=(8, 12)).pairs
    assert pair.p_value == pytest.approx(2 / 256 / 0.8)
    assert pair.difference == pytest.approx((0.5, 0.5, 0.5))


def test_what_fails_goes_before_what_is_told_later():
    """Eight of twelve failed and none of the other's; where both last it is better from then on."""
    ends = np.exp(np.random.default_rng(0).normal(size=60))
    lower = np.r_[np.full(8, np.inf), 0.5 * ends[8:]]
    for looks in ((12, 60), (12,)):
        many = looks[-1]
        (pair,) = answered({"sgd": ends[:many], "lower": lower[:many]}, looks=looks).pairs
        assert (pair.verdict, pair.only, pair.look) == ("fails more often", (8, 0), 1)
    (pair,) = answered({"sgd": ends, "lower": lower}, looks=(8, 30, 60)).pairs
    assert pair.verdict == "fails more often"


def test_a_target_is_that_of_the_look():
    """Of the first replicates alone: were all but those of it lost, none is left to reach."""
    ends, soon = np.r_[ENDS, np.full(20, np.inf)], np.r_[ENDS - 20, np.full(20, np.inf)]
    first, whole = (
        answered({"sgd": ends[:n], "soon": soon[:n]}, by="steps", looks=looks)
        for n, looks in ((8, (8,)), (28, (8, 28)))
    )
    assert first.pairs[0].verdict == "better"
    assert first.target == 8
    assert math.isnan(whole.target)
    assert whole.pairs == first.pairs


@pytest.mark.slow
def test_five_looks_at_one_comparison_keep_its_level():
    """Of an optimizer and itself; what any look tells is counted, as it stays told."""
    random, alarms, last = np.random.default_rng(5), 0, 0
    for _ in range(200):
        plain, other = np.exp(random.standard_t(2, size=(2, 30)))
        record = planted.record({"sgd": plain, "other": other}, looks=(10, 15, 20, 25, 30))
        (pair,) = verdicts.pairs(record)
        alarms += pair.verdict in ("better", "worse")
        last += statistics.paired(other, plain, 0.05, "ratio").p_value <= 0.000625
    assert stats.binom.sf(alarms - 1, 200, 0.05) > 1e-3
    assert alarms > last


@pytest.mark.parametrize("failed", [3, 12])
def test_failures_are_told_beside_what_lasts(failed):
    """SGD 5% worse, and never lost: what is better where it lasts is of no use where it fails."""
    random = np.random.default_rng(0)
    plain = np.exp(random.normal(size=20) / 10)
    lower = np.where(np.arange(20) < failed, np.inf, 0.95 * plain)
    result = answered({"sgd": plain, "lower": lower})
    (pair,) = result.pairs
    assert pair.only == (failed, 0)
    assert pair.verdict == ("better" if failed < 6 else "fails more often")
    assert pair.difference.estimate == pytest.approx(0.95)
    said = only(result, "lower").sentence
    assert said.endswith(f"Of 20 replicates {failed} diverged.")
    if failed > 6:
        assert (
            "it alone failed in 12 of 20 replicates, sgd alone in 0. Where neither failed" in said
        )
    (other,) = answered({"sgd": lower, "other": plain}).pairs
    assert other.verdict == ("worse" if failed < 6 else "fails less often")


def test_what_missed_the_target_did_not_diverge():
    """Of eight two end above it, and one was lost; by the loss alone that one failed."""
    ends = {"sgd": np.ones(8), "other": np.r_[np.inf, 9.0, 9.0, np.ones(5)]}
    other = only(answered(ends, by="steps", target=2.0), "other")
    assert (other.failed, other.diverged) == (3, 1)
    assert other.sentence.endswith("Of 8 replicates 1 diverged, 2 missed the target.")
    other = only(answered(ends), "other")
    assert (other.failed, other.diverged) == (1, 1)


def test_a_margin_of_a_difference_is_said_as_an_amount():
    near = np.random.default_rng(0).normal(0.9, 0.001, size=(2, 12))
    result = answered({"sgd": near[0], "other": near[1]}, maximised=True)
    size = result.answers[0].value.estimate
    assert (
        f"within 5% of sgd's value, {0.05 * size:.2g}: training loss" in result.answers[1].sentence
    )
    assert result.pairs[0].margin == pytest.approx(0.05 * size)
    assert answered({"sgd": near[0], "other": near[1]}).pairs[0].margin == 1.05


def test_both_lost_is_no_difference():
    result = answered({"sgd": LOST, "other": LOST})
    assert math.isnan(result.target)
    assert only(result, "other").sentence == (
        "other and sgd are not told apart by 8 replicates. Of 8 replicates 8 diverged."
    )


def test_all_pairs_are_held_against_each_other():
    result = answered({"sgd": ENDS, "half": ENDS / 2, "third": ENDS / 3}, pairs="all")
    told = {(pair.optimizer, pair.other): pair for pair in result.pairs}
    assert set(told) == {("half", "sgd"), ("third", "sgd"), ("third", "half")}
    assert told["third", "half"].difference.estimate == pytest.approx(2 / 3)
    assert all(pair.p_value == pytest.approx(2 / 256 * 3 / 0.8) for pair in result.pairs)
    assert only(result, "third").pair == told["third", "sgd"]


def test_steps_to_the_target_are_judged_and_what_never_arrives_fails():
    """Half of the runs of SGD reach their median; one twenty lower arrives at once."""
    result = answered({"sgd": ENDS, "soon": ENDS - 20}, by="steps", target=float(np.median(ENDS)))
    assert result.judged_by == "steps to target"
    sgd, soon = result.answers
    assert (sgd.failed, sgd.reached, soon.failed, soon.reached) == (4, 4, 0, 8)
    assert soon.steps_to_target.estimate == pytest.approx(5)
    assert soon.pair.only == (0, 4)
    seconds = answered({"sgd": ENDS, "soon": ENDS - 20}, by="seconds").answers[1]
    assert seconds.value.estimate == pytest.approx(5e-6)
    evaluations = answered({"sgd": ENDS, "soon": ENDS - 20}, by="evaluations").answers[1]
    assert evaluations.value.estimate == pytest.approx(5)


def test_a_time_is_to_what_nine_of_ten_replicates_of_the_baseline_reach():
    """The highest of eight ends, which all of them reach, as half of them would not the median."""
    result = answered({"sgd": ENDS, "other": ENDS}, by="steps")
    assert (result.target, result.answers[0].failed) == (ENDS.max(), 0)


def test_a_baseline_that_is_lost_sets_no_target():
    """Half of its runs: none is reached. Fewer: their median still counts them as the worst."""
    half = np.where(ENDS > 4, np.inf, ENDS)
    result = answered({"sgd": half, "other": ENDS})
    assert math.isnan(result.target)
    assert [each.reached for each in result.answers] == [0, 0]
    result = answered({"sgd": np.where(ENDS > 5, np.inf, ENDS), "other": ENDS})
    assert (result.target, [each.reached for each in result.answers]) == (4.5, [4, 4])
    result = answered({"sgd": half, "other": ENDS}, target=2.0)
    assert (result.target, [each.reached for each in result.answers]) == (2, [2, 2])


def test_what_a_run_does_once_it_diverged_does_not_count():
    """Step 5 is the sixth: what was measured after five steps was before it."""
    protocol = planted.record({"sgd": [1.0] * 3}).protocol
    runs = planted.runs(protocol, "sgd", "tuned", np.array([1.0, 2, 3])[:, None, None])
    runs = runs._replace(diverged=np.array([-1, 5, 4]))
    assert runs.curves(planted.STEPS).tolist() == [[11, 1], [12, np.inf], [np.inf, np.inf]]
    assert runs.final("training").tolist() == [1, np.inf, np.inf]


def test_a_trial_of_which_a_seed_diverged_is_no_good():
    """The mean over seeds is infinite; no order of the runs matters."""
    protocol = planted.record({"sgd": [1.0] * 4}).protocol
    scores = np.array([[1, np.inf], [3, 2], [np.inf, np.inf]])
    runs = planted.runs(protocol, "sgd", "tuning", scores, trials=3)
    assert runs.scores().tolist() == [[np.inf, 2.5, np.inf]] * 4
    order = np.random.default_rng(0).permutation(len(runs.seed))
    mixed = runs.joined()._replace(
        **{name: getattr(runs, name)[order] for name in ("trial", "seed", "diverged", "loss")},
        replicate=runs.replicate[order],
        settings={"learning_rate": runs.settings["learning_rate"][order]},
    )
    assert mixed.final("training")[0] == runs.final("training")[order[0]]


def test_curves_that_cross_are_told():
    """Ahead at step 5 and better at the end are two things."""
    record = planted.record({"sgd": ENDS, "late": ENDS / 2})
    runs = []
    for each in record.runs:
        late = each.optimizer == "late" and each.phase == "tuned"
        curves = each.loss + np.array([30.0, 0]) if late else each.loss
        runs.append(each._replace(loss=curves))
    result = comparison.of_record(type(record)(record.protocol, record.log, record.steps, runs))
    assert only(result, "late").sentence.endswith(
        "It is behind until step 5 of 10: shorter runs say the opposite."
    )
    assert "until" not in only(answered({"sgd": ENDS, "late": ENDS / 2}), "late").sentence


def test_the_difference_that_would_have_been_told_is_said():
    random = np.random.default_rng(1)
    plain, other = np.exp(random.normal(size=(2, 30)) / 10)
    result = answered({"sgd": plain, "other": other})
    (pair,) = result.pairs
    assert pair.verdict == "not told apart"
    least = statistics.smallest_told(other, plain, 0.04, "ratio")
    assert pair.smallest_told == least
    assert (
        f"would have told a difference of {100 * (least - 1):.1f}% in about four of five"
        in only(result, "other").sentence
    )
    for told, scale, words in [
        (1.0, "ratio", ""),
        (1.0007, "ratio", "0.07%"),
        (1.14, "ratio", "14%"),
        (1.996, "ratio", "100%"),
        (2.04, "ratio", "2 times"),
        (0.0, "difference", ""),
        (0.0123, "difference", "0.012"),
        (math.inf, "difference", ""),
    ]:
        assert verdicts.smallest(pair._replace(smallest_told=told, scale=scale)) == words

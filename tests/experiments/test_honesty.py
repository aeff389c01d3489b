"""What counts false alarms, missed truths and power, held against values of which all is known."""

import json
import types

import numpy as np
import pytest
from few import first_of

from experiments.benchmark import honesty, targets
from experiments.benchmark.work import Size


def drawn(names, replicates, seed=0):
    """Values that are alike: each of its own draws, and of one in common."""
    random = np.random.default_rng(seed)
    shared = random.normal(size=replicates)
    return {name: np.exp(shared + random.normal(size=replicates)) for name in names}


def test_alarms_come_as_often_as_the_level_says_and_where_there_is_a_difference_always():
    judged = drawn(["sgd", *map(str, range(8))], 1200)
    assert 0 < honesty.alarms(judged, ["0"], 20) < 0.07
    assert 0 < honesty.alarms(judged, [*map(str, range(8))], 20) < 0.07
    each = [honesty.cut(judged, str(i), 20).wrong for i in range(8)]
    assert np.mean(np.any(each, axis=0)) > 0.1, "eight share one level"
    judged["3"] *= 10
    assert honesty.alarms(judged, [*map(str, range(8))], 20) == 1
    judged["0"][::2] = np.inf
    assert honesty.alarms(judged, ["0"], 20) > 0.9, "failures are told as well"


def test_intervals_hold_the_truth_unless_it_moves():
    judged = drawn(["sgd", "adam"], 6000)
    judged["adam"] *= 3
    pieces = honesty.cut(judged, "adam", 20)
    assert pieces.truth == pytest.approx(3, rel=0.05)
    assert 0.93 < pieces.coverage < 0.985
    judged["adam"][:3000] *= 10
    assert honesty.cut(judged, "adam", 20).coverage < 0.5


def test_a_zero_here_and_there_makes_no_differences_of_all_ratios():
    judged = drawn(["sgd", "adam"], 600)
    judged["adam"][[30, 310]] = 0
    pieces = honesty.cut(judged, "adam", 20)
    assert (pieces.scale, len(pieces.mine), pieces.mine.min() > 0) == ("ratio", 28, True)
    judged["sgd"][::25] = 0
    pieces = honesty.cut(judged, "adam", 20)
    assert (pieces.scale, len(pieces.mine)) == ("difference", 30)


def test_where_too_few_last_nothing_is_said_and_nothing_counted():
    judged = drawn(["sgd", "adam"], 1200)
    whole = honesty.cut(judged, "adam", 20)
    judged = {name: np.concatenate([each, each]) for name, each in judged.items()}
    judged["sgd"][1200:] = np.inf
    lost = honesty.cut(judged, "adam", 20)
    assert np.isnan(lost.pairs[-1].difference.low)
    assert lost.coverage == pytest.approx(whole.coverage, abs=0.01)
    assert lost.power == pytest.approx(whole.power, abs=0.02)


@first_of("scale", ["ratio", "difference"])
def test_power_is_what_the_comparison_before_says_unless_it_spreads_as_others_do(scale):
    judged = drawn(["sgd", "adam"], 6000)
    if scale == "difference":
        judged = {name: np.log(values) for name, values in judged.items()}
    pieces = honesty.cut(judged, "adam", 20)
    assert pieces.scale == scale
    assert 0.76 < pieces.power < 0.85
    spread = np.where(np.arange(6000) % 40 < 20, 1, 5)
    wide = {name: each**spread for name, each in drawn(["sgd", "adam"], 6000).items()}
    assert honesty.cut(wide, "adam", 20).power < 0.7


def test_what_a_comparison_judged_is_kept_and_another_is_made_anew(monkeypatch, tmp_path):
    asked = []

    def compare(problem, optimizers, **how):
        asked.append((problem.steps, how))
        return types.SimpleNamespace(target=len(asked))

    monkeypatch.setattr(honesty, "compare", compare)
    monkeypatch.setattr(
        honesty.verdicts, "values", lambda _, phase, at: {phase: np.array([float(at)])}
    )
    size = Size(folder=tmp_path)

    def judged(replicates, seed=0):
        return honesty.values("rosenbrock", {}, seed, size, replicates=replicates)["tuned"]

    assert [judged(3), judged(3), judged(4), judged(3, seed=1), judged(4)] == [1, 1, 2, 3, 2]
    assert asked[0] == (100, {"seed": 0, "replicates": 3})
    assert honesty.values("rosenbrock", {}, 0, Size(), replicates=4)["tuned"] == 4, "kept nowhere"
    assert len(list(tmp_path.rglob("*.safetensors"))) == 2


@pytest.mark.slow
def test_the_whole_says_what_targets_are_set_for(monkeypatch):
    def values(name, optimizers, seed, size, *, replicates, **how):
        judged = drawn(["sgd", *optimizers], replicates, seed)
        if name == "wine" and "tune" in how:
            judged["momentum"] *= 10
        return judged

    monkeypatch.setattr(honesty, "values", values)
    section = honesty.honesty(Size(comparisons=10))
    wanted = [each for each in targets.TARGETS if each.part == "honesty"]
    assert section.claims.keys() == {each.claim for each in wanted}
    assert section.claims["a more general optimizer is worse"] == 2
    assert section.claims["alarms, mean"] < 0.08
    measured, special = section.tables
    assert len(measured.rows) == 8 * len(honesty.PROBLEMS)
    assert ("wine", "momentum against sgd", "worse") in {(*row[:2], row[3]) for row in special.rows}
    json.dumps(section.figures)


def test_tasks_are_short_and_one_twin_of_eight_begins_like_any_function():
    problems = {name: make() for name, make in honesty.PROBLEMS.items()}
    assert {name: each.name for name, each in problems.items()} == {name: name for name in problems}
    lows = [entry.space["learning_rate"].values[0] for entry in honesty._twins().values()]
    assert min(lows) == pytest.approx(1e-4)
    assert max(lows) == pytest.approx(10**-2.25)

"""What counts false alarms, missed truths and power, held against values of which all is known."""

import dataclasses
import json
import types

import numpy as np
import optax
import pytest
from few import first_of

from experiments.benchmark import honesty, targets, truth
from experiments.benchmark.work import Size
from experiments.tasks import TASKS
from jaxnet.compare import Interval, statistics


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
    monkeypatch.setattr(honesty, "sources", lambda: "other code")
    assert judged(4) == 5


def test_values_hang_on_every_source_of_the_package_the_tasks_and_the_part(monkeypatch, tmp_path):
    monkeypatch.setattr(honesty.jaxnet, "__file__", str(tmp_path / "jaxnet" / "__init__.py"))
    monkeypatch.setattr(honesty, "__file__", str(tmp_path / "benchmark" / "honesty.py"))
    files = ["jaxnet/__init__.py", "jaxnet/a/b.py", "tasks/c.py", "benchmark/honesty.py"]
    for name in (*files, "benchmark/other.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    seen = [honesty.sources()]
    for name in files:
        (tmp_path / name).write_text("2")
        seen.append(honesty.sources())
    assert len(set(seen)) == 1 + len(files)
    (tmp_path / "benchmark" / "other.py").write_text("2")
    assert honesty.sources() == seen[-1]


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


def test_an_alarm_at_one_look_is_one_though_a_later_look_says_something_else(monkeypatch):
    told = {"sine": [[0, 0, 1, 0, 0], [0, 0, 0, 0, 0]], "iris": [[1, 0, 0, 0, 0], [0, 0, 0, 0, 0]]}
    none = [[0, 0, 0, 0, 0]] * 2
    monkeypatch.setattr(
        honesty, "growing", lambda name, size: np.array(told.get(name, none), float)
    )
    section = honesty.looks(Size())
    (claim,) = [each.claim for each in targets.TARGETS if each.part == "looks"]
    assert section.claims == {claim: 0.2}
    rows = {row[0]: row[1:] for row in section.tables[0].rows}
    assert rows["sine"] == ("2", "0.0%", "0.0%", "50.0%", "50.0%", "50.0%")
    assert rows["together"][0] == "10"


@pytest.mark.slow
@pytest.mark.usefixtures("standard_promotion")
def test_a_twin_is_seldom_told_at_any_of_five_looks_and_momentum_by_the_last(monkeypatch):
    """Of 12 comparisons at 5% three or more have an alarm in one of 50 runs of this test."""
    told = np.array([honesty.told_at("quadratic-1e3", seed) for seed in range(12)])
    assert told.shape == (12, len(honesty.LOOKS))
    assert np.any(told, axis=1).sum() < 3
    monkeypatch.setattr(honesty, "_twin", lambda learning_rate: optax.sgd(learning_rate, 0.9))
    assert honesty.told_at("quadratic-1e3", 0)[-1]


# --- brute force


@pytest.mark.parametrize(
    ("verdict", "low", "high", "wrong"),
    [
        ("better", 0.8, 0.9, False),
        ("better", 1.01, 1.1, True),
        ("better", 0.99, 1.1, False),
        ("worse", 0.8, 0.9, True),
        ("as good", 0.97, 1.02, False),
        ("as good", 1.06, 1.1, True),
        ("as good", 0.8, 0.9, True),
        ("not told apart", 0.5, 0.6, False),
        ("fails more often", 0.99, 1.01, True),
    ],
)
def test_a_verdict_is_wrong_where_brute_force_surely_says_something_else(verdict, low, high, wrong):
    known = Interval((low + high) / 2, low, high)
    assert truth.contradicts(verdict, known) == wrong


@pytest.mark.slow
@pytest.mark.usefixtures("standard_promotion")
def test_momentum_and_a_cosine_are_on_digits_what_brute_force_finds():
    problem = dataclasses.replace(TASKS["digits"](), epochs=2)
    known = {name: truth.brute(problem, name, 16, 300) for name in truth.OPTIMIZERS}
    comparison = truth.compared(problem, truth.REPLICATES)
    share = statistics.spent(1, honesty.LEVEL) / 2

    def exact(name, other="sgd"):
        return statistics.paired(known[name].losses, known[other].losses, share, "ratio").difference

    for each in comparison.answers:
        assert 1 / 3 < each.setting["learning_rate"] / known[each.optimizer].rate < 3
        if each.pair:
            assert each.pair.difference.high < 1.5 * each.pair.difference.low
            assert each.pair.difference.low <= exact(each.optimizer).estimate
            assert exact(each.optimizer).estimate <= each.pair.difference.high
            assert not truth.contradicts(each.verdict, exact(each.optimizer))

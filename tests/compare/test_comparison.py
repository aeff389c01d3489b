"""Evidence for comparisons: the whole procedure is kept, and the answers are those of the runs."""

import dataclasses
import functools
import inspect
import math
import os
import shutil
import types
from collections import Counter
from pathlib import Path

import damage
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pages
import planted
import pyarrow as pa
import pytest
from few import first_of
from pyarrow import parquet
from scipy import stats

from jaxnet import batches, fitting, losses, network, optimizers, spaces, training
from jaxnet._guards import checks, records, sizes, verify
from jaxnet.compare import (
    Problem,
    budgets,
    comparison,
    compiling,
    phases,
    search,
    statistics,
    sweep,
    tiles,
)
from jaxnet.compare.protocol import Protocol
from jaxnet.compare.runs import Record, Seconds
from jaxnet.errors import InputError
from jaxnet.storage import files, fingerprints

POINTS = np.random.default_rng(0).normal(size=7)
HELD, UNSEEN = POINTS[:3] + 0.5, POINTS[3:] - 0.5


def distance(params, batch):
    """Full batches at rate 1 reach the mean in one step, from any start."""
    return jnp.mean((params - batch) ** 2) / 2


def squared(params, batch):
    return jnp.mean((params - batch) ** 2)


def size(params, batch):
    return jnp.abs(params) + 0 * jnp.sum(batch)


def minus(params, batch):
    return -size(params, batch)


def init(key):
    return 3 + jax.random.normal(key)


def momentum(learning_rate, decay=0.5):
    return optax.sgd(learning_rate, momentum=decay)


def still(learning_rate):
    """It goes nowhere: its training losses are those of the start on each batch."""
    return optax.sgd(0 * learning_rate)


def lost(learning_rate):
    return optax.sgd(learning_rate * jnp.inf)


SETTINGS = {
    "epochs": 4,
    "batch_size": 2,
    "validation": HELD,
    "test": UNSEEN,
    "metrics": {"size": size},
    "budget": 6,
    "tuning_seeds": 2,
    "replicates": 8,
    "title": "points",
}
OWN = {"twin": "sgd", "momentum": momentum, "still": still}


def compare(data=POINTS, own=OWN, loss=distance, begin=init, **settings):
    settings = SETTINGS | settings
    parts = {each.name for each in dataclasses.fields(Problem)} & settings.keys()
    with jax.enable_x64(True):
        problem = Problem(loss, begin, data, **{name: settings.pop(name) for name in parts})
        return comparison.compare(problem, own, **settings)


@pytest.fixture(scope="module")
def result():
    return compare()


@pytest.fixture(scope="module")
def saved(result, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    comparison.save(result, folder)
    return folder


def file_of(folder, name):
    """The only file of a name in a folder, or of its kind where it is named by what it holds."""
    (path,) = [path for path in folder.iterdir() if files.kind(path.name) == name]
    return path


class CompiledError(Exception):
    pass


def refuse(*_):
    raise CompiledError


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """What was asked in the folder of a comparison that was stopped before anything compiled."""
    asked = {"own": {"momentum": momentum}, "folder": tmp_path_factory.mktemp("begun")}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(compiling, "compile_all", refuse)
        with pytest.raises(CompiledError):
            compare(**asked)
    return asked


@pytest.fixture
def uncompiled(monkeypatch):
    """Have whatever comes as far as to compile a tile raise."""
    for name in ("compiled", "compile_all"):
        monkeypatch.setattr(compiling, name, refuse)


def runs_of(result, name, phase):
    (runs,) = [each for each in result.runs if (each.optimizer, each.phase) == (name, phase)]
    return runs


def answer_of(result, name):
    (answer,) = [each for each in result.answers if each.optimizer == name]
    return answer


def same(a, b):
    """Equal to the bit, nan to nan."""
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (math.isnan(a) and math.isnan(b))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.tobytes() == b.tobytes()
    if dataclasses.is_dataclass(a):
        return same(vars(a), vars(b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


NO_TIME = Seconds(0.0, 0.0, 0.0)


def without_times(result):
    times = {"compile_seconds": 0.0, "run_seconds": 0.0, "step_seconds": 0.0}
    answers = [dataclasses.replace(each, **times) for each in result.answers]
    seconds = dict.fromkeys(result.log.seconds, NO_TIME)
    log = dataclasses.replace(result.log, seconds=seconds)
    return dataclasses.replace(result, answers=answers, log=log)


def first(runs, replicates):
    """The runs of the first so many replicates."""
    mine = runs.replicate < replicates
    return jax.tree.map(lambda leaf: leaf[mine], runs[2:])


def near(these, those):
    """The same numbers, in tiles of another size: but for rounding."""
    assert jax.tree.structure(these) == jax.tree.structure(those)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-10), these, those)


# The procedure.


def assert_fair(record):
    """Nobody is judged on a seed that anybody tuned on; all on the same, each replicate its own."""
    judged, tuned = [], []
    for name in record.protocol.optimizers:
        judges, tuning = runs_of(record, name, "tuned"), runs_of(record, name, "tuning")
        judged.append(judges.seed.tolist())
        assert len(set(judges.seed)) == len(judges.seed) == record.protocol.replicates
        for phase in ("recommended", "customary"):
            assert runs_of(record, name, phase).seed.tolist() == judges.seed.tolist()
        seeds = {}
        for replicate, trial, seed in zip(tuning.replicate, tuning.trial, tuning.seed, strict=True):
            seeds.setdefault((replicate, trial), []).append(int(seed))
        own = [sorted(seeds[replicate, 0]) for replicate in range(record.protocol.replicates)]
        for (replicate, _), tuned_on in seeds.items():
            assert sorted(tuned_on) == own[replicate]
        every = [seed for each in own for seed in each]
        assert len(set(every)) == len(every) == len(own) * record.protocol.tuning.seeds
        tuned.append(own)
        assert set(judges.seed).isdisjoint(every)
    assert all(each == judged[0] for each in judged)
    assert all(each == tuned[0] for each in tuned)


def test_the_protocol_is_stated_and_kept(result):
    assert_fair(result)
    stated = result.protocol
    assert (stated.judging.data, stated.tuning.data, stated.steps) == ("test", "validation", 12)
    assert stated.rows == {"training": 7, "validation": 3, "test": 4}
    assert (stated.baseline, result.answers[0].optimizer) == ("sgd", "sgd")
    assert result.steps.tolist() == [3, 6, 9, 12]
    for name in ("sgd", *OWN):
        tuning, tuned, recommended, customary = (
            runs_of(result, name, phase)
            for phase in ("tuning", "tuned", "recommended", "customary")
        )
        assert not tuning.test
        assert len(tuning.seed) == 8 * 6 * 2
        assert Counter(zip(tuning.replicate, tuning.trial, strict=True)).total() == 96
        assert set(Counter(zip(tuning.replicate, tuning.trial, strict=True)).values()) == {2}
        for runs in (tuned, recommended, customary):
            assert runs.replicate.tolist() == list(range(8))
            assert set(runs.test) == {"loss", "size"}
        answer = answer_of(result, name)
        assert set(recommended.settings["learning_rate"]) == {answer.setting["learning_rate"]}
        (usual,) = set(customary.settings["learning_rate"])
        # By way of a point on its axis, one rounding away at most.
        usually = stated.optimizers[name].customary["learning_rate"]
        assert usual == pytest.approx(usually, rel=4 * np.finfo(float).eps)
        assert answer.trials == 6


@pytest.mark.parametrize("fault", ["judges tune", "replicates share", "one has its own"])
def test_planted_faults_of_the_seeds_are_seen(fault, monkeypatch):
    seeds = Protocol.seeds

    def faulty(protocol):
        right = seeds(protocol)
        if fault == "judges tune":
            right[:, 1] = right[:, 0]
        else:
            right[1:] = right[0]
        return right

    if fault == "one has its own":
        result = compare(own=["momentum"])
        index = result.runs.index(runs_of(result, "momentum", "tuned"))
        other = result.runs[index]._replace(seed=result.runs[index].seed + 1)
        runs = [*result.runs[:index], other, *result.runs[index + 1 :]]
        with pytest.raises(InputError, match=r"^tuned runs of momentum: .* on its own seeds, got"):
            Record(result.protocol, result.log, result.steps, runs)
        return
    monkeypatch.setattr(Protocol, "seeds", faulty)
    faulted = compare(own=["sgd"])
    with pytest.raises(AssertionError):
        assert_fair(faulted)


def test_each_replicate_picks_the_lowest_mean_loss_of_its_trials(saved):
    """Computed again from the tables alone."""
    runs, curves = (
        parquet.read_table(file_of(saved, f"{name}.parquet")).to_pylist()
        for name in ("runs", "curves")
    )

    def key(row):
        return row["optimizer"], row["phase"], row["replicate"], row["trial"], row["seed"]

    ends = {key(row): row["validation_loss"] for row in curves if row["step"] == 12}
    scores, settings = {}, {}
    for row in runs:
        if row["phase"] == "tuning":
            end = ends[key(row)] if row["diverged"] < 0 else math.inf
            scores.setdefault((row["optimizer"], row["replicate"]), {}).setdefault(
                row["trial"], []
            ).append(end)
            settings[row["optimizer"], row["replicate"], row["trial"]] = row[
                "setting_learning_rate"
            ]
    judged = [row for row in runs if row["phase"] == "tuned"]
    assert len(judged) == 4 * 8
    picks = {}
    for row in judged:
        of = row["optimizer"], row["replicate"]
        best = min(scores[of], key=lambda trial, of=of: np.mean(scores[of][trial]))
        assert row["setting_learning_rate"] == settings[*of, best]
        picks.setdefault(row["optimizer"], []).append(row["setting_learning_rate"])
    for row in runs:
        if row["phase"] == "recommended":
            middle = np.exp(np.median(np.log(picks[row["optimizer"]])))
            assert row["setting_learning_rate"] == pytest.approx(middle, rel=1e-12)


MAKERS = {"sgd": optax.sgd, "twin": optax.sgd, "momentum": momentum, "still": still}


@pytest.mark.parametrize("phase", ["tuning", "tuned", "recommended", "customary"])
def test_each_run_is_the_run_alone(result, phase, x64):
    """Of its seed: that start, those batches; and its setting."""
    for name in ("sgd", "momentum", "still"):
        runs = runs_of(result, name, phase)
        for run in {0, 3, len(runs.seed) - 1}:
            seed = int(runs.seed[run])
            params, order = init(jax.random.key(seed)), batches.shuffled(7, 2, 4, seed)
            rate = {"learning_rate": runs.settings["learning_rate"][run]}
            if runs.diverged[run] >= 0:
                continue
            state, seen = training.train(
                distance, MAKERS[name], params, POINTS, order, hyperparameters=rate
            )
            means = np.reshape(seen, (4, 3)).mean(axis=1)
            np.testing.assert_allclose(runs.loss[run], means[-runs.loss.shape[1] :], rtol=1e-10)
            for measure in ("loss", "size"):
                function = {"loss": distance, "size": size}[measure]
                held = function(state.params, HELD)
                np.testing.assert_allclose(runs.validation[measure][run, -1], held, rtol=1e-10)
                if phase != "tuning":
                    unseen = function(state.params, UNSEEN)
                    np.testing.assert_allclose(runs.test[measure][run], unseen, rtol=1e-10)


def test_plain_sgd_under_another_name_is_plain_sgd(result):
    for phase in ("tuning", "tuned", "recommended", "customary"):
        assert same(runs_of(result, "sgd", phase)[1:], runs_of(result, "twin", phase)[1:])
    twin = answer_of(result, "twin")
    assert twin.verdict == "as good"
    assert twin.pair.difference == (1, 1, 1)
    assert twin.pair.p_value == 1


def test_draws_are_shared_by_name(result):
    """The same points on axes of other ends, until what they result tells them apart."""
    points = [
        result.protocol.optimizers[name]
        .axes["learning_rate"]
        .point(runs_of(result, name, "tuning").tried()["learning_rate"])
        for name in ("sgd", "momentum")
    ]
    np.testing.assert_allclose(points[0][:, :4], points[1][:, :4], atol=1e-12)
    assert not np.allclose(points[0], points[1])
    assert result.protocol.optimizers["sgd"].stages == (4, 2)


def test_the_same_call_gives_the_same_numbers_and_another_seed_others(result):
    assert same(without_times(compare()), without_times(result))
    other = compare(own=["sgd"], seed=1)
    assert_fair(other)
    for phase in ("tuning", "tuned"):
        ours, theirs = (runs_of(each, "sgd", phase) for each in (result, other))
        assert set(ours.seed).isdisjoint(theirs.seed)
        rates = (each.settings["learning_rate"] for each in (ours, theirs))
        assert not np.intersect1d(*rates).size


@pytest.mark.slow
def test_replicates_are_nested_and_hang_on_nothing_beside_them(result):
    """Fewer of them, of two optimizers in place of four, with another baseline."""
    fewer = compare(own={"momentum": momentum, "sgd": "sgd"}, baseline="momentum", replicates=4)
    for name in ("sgd", "momentum"):
        for phase in ("tuning", "tuned", "customary"):
            ours = runs_of(result, name, phase)
            near(first(ours, 4), first(runs_of(fewer, name, phase), 4))


def test_the_test_data_takes_no_part_in_tuning(result):
    other = compare(own=["sgd"], test=UNSEEN + 3)
    for phase in ("tuning", "tuned", "recommended"):
        ours, theirs = (runs_of(each, "sgd", phase) for each in (result, other))
        near(ours._replace(test={})[2:], theirs._replace(test={})[2:])
    assert not np.allclose(runs_of(other, "sgd", "tuned").test["loss"], ours.test["loss"])


def test_without_a_test_the_data_tuned_on_judges():
    validated = compare(own=["sgd"], test=None)
    assert validated.protocol.judging.data == "validation"
    tuned = runs_of(validated, "sgd", "tuned")
    assert tuned.test == {}
    ends = np.log(tuned.validation["loss"][:, -1])
    middle = np.median(((ends[:, None] + ends) / 2)[np.triu_indices(8)])
    assert answer_of(validated, "sgd").value.estimate == pytest.approx(np.exp(middle))
    assert answer_of(validated, "sgd").metrics.keys() == {"size"}
    bare = compare(own=["sgd"], test=None, validation=None, metrics={})
    assert bare.protocol.judging.data == "training"
    assert not runs_of(bare, "sgd", "tuned").validation
    assert answer_of(bare, "sgd").metrics == {}


# What is searched.


@pytest.mark.parametrize(("low", "high", "end"), [(1e-5, 1e-3, "above"), (20.0, 300.0, "below")])
def test_a_rate_at_an_end_is_gone_beyond(low, high, end):
    """On full batches the loss left is (1 - rate)^2T of what it was: the rate nearest 1 is best."""
    axis = {"learning_rate": spaces.log(low, high)}
    went = compare(own=["sgd"], tune={"sgd": axis}, batch_size=None, replicates=4, budget=10)
    rates = runs_of(went, "sgd", "tuned").settings["learning_rate"]
    assert np.all(rates > high if end == "above" else rates < low)
    (answer,) = went.answers
    assert answer.beyond == 1
    assert "100% of its replicates picked a learning rate beyond the range" in answer.sentence


def test_the_whole_space_is_one_program_for_each_optimizer(monkeypatch):
    lowered, lower = [], compiling._lowered

    def counted(functions, taken, shapes):
        lowered.append((taken.entry.name, taken.names))
        return lower(functions, taken, shapes)

    monkeypatch.setattr(compiling, "_lowered", counted)
    result = compare(
        own={"momentum": functools.partial(momentum, decay=0.9)},
        loss=squared,
        tune="all",
        replicates=4,
        budget=9,
    )
    names = ("clip", "learning_rate", "schedule", "warmup")
    assert sorted(lowered) == [("momentum", names), ("sgd", names)]
    for name in ("sgd", "momentum"):
        tuning = runs_of(result, name, "tuning")
        assert set(tuning.settings) == set(names) == set(answer_of(result, name).effects)
        assert set(tuning.settings["schedule"]) == {0, 1, 2}
        assert len(tuning.seed) == 4 * 9 * 2


def test_the_multiplier_of_an_optimizer_made_already_is_no_learning_rate(tmp_path):
    result = compare(own={"made": optax.sgd(0.5)}, replicates=2, folder=tmp_path)
    for answer in (answer_of(result, "made"), answer_of(comparison.load(tmp_path), "made")):
        assert list(answer.setting) == list(answer.quartiles) == ["multiplier"]
    assert list(answer_of(result, "sgd").setting) == ["learning_rate"]


def test_axes_of_your_own_numbers_and_choices(tmp_path):
    result = compare(
        own={"momentum": momentum, "still": still},
        tune={
            "sgd": {"learning_rate": spaces.choice(0.1, 0.2, 0.4)},
            "momentum": {"decay": spaces.one_minus(0.5, 0.99), "learning_rate": 0.1},
        },
        folder=tmp_path,
    )
    sgd, theirs, other = (runs_of(result, name, "tuning") for name in ("sgd", "momentum", "still"))
    # There are three, and no more to try.
    assert np.array_equal(np.sort(sgd.tried()["learning_rate"]), [[0.1, 0.2, 0.4]] * 8)
    assert set(theirs.settings["learning_rate"]) == {0.1}
    assert len(set(theirs.settings["decay"])) > 30
    assert np.all((theirs.settings["decay"] > 0) & (theirs.settings["decay"] < 1))
    assert len(set(other.settings["learning_rate"])) > 40
    assert set(sgd.settings) == {"learning_rate"}
    assert same(without_times(comparison.load(tmp_path)), without_times(result))
    (fixed,) = {
        answer.setting["learning_rate"] for answer in result.answers if "decay" in answer.setting
    }
    assert fixed == 0.1


@pytest.mark.slow
def test_evaluations_are_shared_out_where_they_are_the_budget(standard_promotion):
    """A step of lbfgs takes several; what a run takes at the customary setting is counted."""
    result = compare(
        own=["lbfgs"], budget_of="evaluations", batch_size=None, budget=12, replicates=2
    )
    costs, trials = (
        [of(name) for name in ("sgd", "lbfgs")]
        for of in (
            lambda name: np.median(runs_of(result, name, "customary").evaluations),
            lambda name: result.protocol.optimizers[name].trials,
        )
    )
    assert costs[1] > 1.5 * costs[0]
    assert trials == [12, round(12 * costs[0] / costs[1])]


def test_seconds_are_measured_once(tmp_path, monkeypatch):
    """They are not the same twice: the folder says what they were."""
    costs = iter([1.0, 2.0, 1.0, 0.5])
    monkeypatch.setattr(budgets, "_cost", lambda *_: next(costs))
    asked = {"own": {"momentum": momentum}, "budget_of": "seconds", "folder": tmp_path}
    once = compare(**asked)
    assert [once.protocol.optimizers[name].trials for name in ("sgd", "momentum")] == [6, 3]
    assert same(without_times(compare(**asked)), without_times(once))


# Any question.


def bent(params, batch):
    """Rosenbrock's function, without data."""
    assert batch is None
    x, y = params
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


@pytest.mark.usefixtures("unchecked")
def test_what_is_no_problem_is_not_compared():
    with pytest.raises(InputError, match=r"^problem: expected a jaxnet.compare.Problem, got fun"):
        comparison.compare(distance, OWN)


def test_a_loss_without_data_is_compared(x64):
    result = compare(
        None,
        ["momentum"],
        bent,
        lambda key: jax.random.normal(key, (2,)) / 10,
        steps=15,
        epochs=None,
        batch_size=None,
        validation=None,
        test=None,
        metrics={},
    )
    assert_fair(result)
    assert (result.protocol.rows, result.protocol.batch_size) == ({}, 0)
    assert result.steps.tolist() == list(range(1, 16))
    runs = runs_of(result, "sgd", "tuned")
    lasts = runs.diverged < 0
    assert lasts.sum() > 4
    seeds, rates, curves = runs.seed[lasts], runs.settings["learning_rate"][lasts], runs.loss[lasts]
    for seed, rate, curve in zip(seeds, rates, curves, strict=True):
        x, y = np.asarray(jax.random.normal(jax.random.key(seed), (2,)) / 10)
        seen = []
        for _ in range(15):
            seen.append((1 - x) ** 2 + 100 * (y - x**2) ** 2)
            slope = -2 * (1 - x) - 400 * x * (y - x**2), 200 * (y - x**2)
            x, y = x - rate * slope[0], y - rate * slope[1]
        np.testing.assert_allclose(curve, seen, rtol=1e-8)


def test_a_metric_of_the_parameters_alone_needs_no_data(tmp_path, x64):
    """The distance from the lowest point, where each run ends."""

    def away(params, batch):
        assert batch is None
        return jnp.linalg.norm(params - 1)

    result = compare(
        None,
        {"still": still},
        bent,
        lambda key: jax.random.normal(key, (2,)) / 10,
        **{"steps": 5, "epochs": None, "batch_size": None, "validation": None, "test": None},
        **{"metrics": {"away": away}, "by": "away", "maximised": False, "folder": tmp_path},
    )
    runs = runs_of(result, "still", "tuned")
    starts = [np.asarray(jax.random.normal(jax.random.key(seed), (2,)) / 10) for seed in runs.seed]
    ends = np.linalg.norm(np.array(starts) - 1, axis=1)
    np.testing.assert_allclose(runs.final("training", "away"), ends, rtol=1e-12)
    assert answer_of(result, "still").metrics.keys() == {"away"}
    assert result.judged_by == "training away"
    assert same(without_times(comparison.load(tmp_path)), without_times(result))


def test_steps_may_end_within_an_epoch():
    result = compare(own=["sgd"], epochs=None, steps=5, replicates=2)
    assert (result.protocol.steps, result.steps.tolist()) == (5, [1, 2, 3, 4, 5])


@pytest.mark.parametrize(
    ("length", "first", "last", "count"),
    [
        ({"epochs": 1}, [3], [3], 1),
        ({"epochs": 101}, [3, 6], [300, 303], 100),
        ({"epochs": 250}, [6, 15], [744, 750], 100),
        ({"steps": 101}, [1, 2], [100, 101], 100),
    ],
)
def test_a_run_is_measured_each_epoch_or_a_hundred_times(length, first, last, count, monkeypatch):
    tasks = []

    def taken(task, *_):
        tasks.append(task)
        raise CompiledError

    monkeypatch.setattr(phases, "bench", taken)
    with pytest.raises(CompiledError):
        compare(own=["sgd"], **({"epochs": None} | length))
    (task,) = tasks
    assert list(task.measured[: len(first)]) == first
    assert list(task.measured[-len(last) :]) == last
    assert (len(task.measured), task.measured[-1]) == (count, task.steps)
    assert np.all(np.diff(task.measured) > 0)


@pytest.mark.slow
def test_a_metric_that_is_maximised_is_its_negative_minimised():
    asked = {"own": {"still": still}, "metrics": {"size": size, "m": minus}}
    most = compare(by="size", maximised=True, **asked)
    least = compare(by="m", maximised=False, **asked)
    assert most.judged_by == "test size"
    assert (most.protocol.judging.maximised, least.protocol.judging.maximised) == (True, False)
    assert [each.optimizer for each in most.answers] == [each.optimizer for each in least.answers]
    for ours, theirs in zip(most.pairs, least.pairs, strict=True):
        assert (ours.verdict, ours.p_value) == (theirs.verdict, theirs.p_value)
        a, b = ours.difference, theirs.difference
        assert (a.estimate, a.low, a.high) == (-b.estimate, -b.high, -b.low)
    # What never left its start is far from zero: best here, and last by the loss.
    assert answer_of(most, "still").verdict == "better"
    sizes = runs_of(most, "still", "tuned").test["size"]
    middle = np.median(((sizes[:, None] + sizes) / 2)[np.triu_indices(8)])
    assert answer_of(most, "still").value.estimate == pytest.approx(middle)


@pytest.mark.parametrize("by", ["steps", "evaluations", "seconds"])
def test_time_to_a_target_is_judged(by):
    result = compare(by=by, target=0.6)
    for name in ("sgd", "momentum", "still"):
        curves = runs_of(result, name, "tuned").validation["loss"]
        reaches = curves <= 0.6
        steps = np.where(reaches.any(axis=1), result.steps[reaches.argmax(axis=1)], np.inf)
        if by == "seconds":
            rounds = result.log.seconds[name].rounds
            assert len(set(rounds)) == 8
            steps = steps * np.array(rounds)
        answer = answer_of(result, name)
        assert answer.failed == np.isinf(steps).sum()
        assert answer.reached == 8 - answer.failed
        middle = np.median(((np.log(steps)[:, None] + np.log(steps)) / 2)[np.triu_indices(8)])
        assert answer.value.estimate == pytest.approx(np.exp(middle))
    assert answer_of(result, "still").verdict == "fails more often"
    assert result.judged_by == f"{by} to target"


# Every run reaches the target at once: what is judged is the time of a step.
TINY = {"own": {"twin": "sgd"}, "by": "seconds", "target": 1e9, "metrics": {}}
TINY |= {"epochs": None, "steps": 8, "budget": 2, "tuning_seeds": 1}


def alarms_by_seconds(count):
    """How often plain SGD's twin is told from it in so many comparisons of 20 replicates."""
    result = compare(replicates=20 * count, **TINY)
    sgd, twin = (np.array(result.log.seconds[name].rounds) for name in ("sgd", "twin"))
    return alarms(np.log(twin), np.log(sgd), 20)


def slowed(seconds):
    """Have every tile seem to take as many seconds as a function says."""
    call = sweep._call

    def timed(workload, program, shape, items, test):
        done = call(workload, program, shape, items, test)
        return done | {"seconds": np.array([program.seconds, seconds(program)])}

    return timed


@pytest.mark.slow
def test_a_program_that_lies_better_in_memory_than_its_twin_breaks_the_level(monkeypatch):
    """Two that are compiled alike may differ in time, in every run: so a twin shares SGD's."""
    random, places = np.random.default_rng(0), {}

    def placed(program):
        return random.lognormal(0.02 * places.setdefault(id(program.call), len(places)), 0.01)

    monkeypatch.setattr(sweep, "_call", slowed(placed))
    assert within_the_level(*alarms_by_seconds(30))
    monkeypatch.setattr(compiling._Traced, "__hash__", object.__hash__)
    monkeypatch.setattr(compiling._Traced, "__eq__", object.__eq__)
    assert not within_the_level(*alarms_by_seconds(30))


@pytest.mark.slow
def test_one_time_for_all_replicates_breaks_the_level(monkeypatch):
    """The planted fault: noise that is the same in all replicates of a comparison."""
    random = np.random.default_rng(0)

    def shared(seconds):
        pieces = seconds.reshape(-1, 20, seconds.shape[-1])
        return np.broadcast_to(pieces[:, :1], pieces.shape).reshape(seconds.shape)

    rounds = sweep.rounds
    monkeypatch.setattr(sweep, "_call", slowed(lambda _: random.lognormal(sigma=0.1)))
    assert within_the_level(*alarms_by_seconds(30))
    monkeypatch.setattr(sweep, "rounds", lambda *arguments: shared(rounds(*arguments)))
    assert not within_the_level(*alarms_by_seconds(30))


@pytest.mark.slow
def test_a_machine_that_drifts_slows_nobody_more_often_than_another(monkeypatch):
    """Each call takes longer than the one before it, which a fixed order lays on one of two."""
    clock = iter(range(10**9))
    monkeypatch.setattr(sweep, "_call", slowed(lambda _: 1.0 + next(clock)))
    assert within_the_level(*alarms_by_seconds(30))
    fixed = types.SimpleNamespace(permutation=np.arange)
    random = types.SimpleNamespace(default_rng=lambda _: fixed)
    monkeypatch.setattr(sweep, "np", types.SimpleNamespace(**vars(np) | {"random": random}))
    assert not within_the_level(*alarms_by_seconds(30))


def test_twice_as_slow_is_told(monkeypatch):
    """Though it takes as many steps."""
    programs_, random = {}, np.random.default_rng(0)

    def seconds(program):
        place = programs_.setdefault(id(program), len(programs_))
        return (1 + place) * random.lognormal(sigma=0.1)

    monkeypatch.setattr(sweep, "_call", slowed(seconds))
    result = compare(**TINY | {"own": {"momentum": momentum}})
    assert [answer.verdict for answer in result.answers] == ["baseline", "worse"]


def test_what_was_timed_is_kept(tmp_path):
    """Another look times its own replicates alone."""
    once = compare(folder=tmp_path, **TINY)
    again = compare(folder=tmp_path, **TINY)
    grown = compare(folder=tmp_path, replicates=12, **TINY)
    for name in ("sgd", "twin"):
        first, same, more = (each.log.seconds[name].rounds for each in (once, again, grown))
        assert first == same == more[:8]
        assert len(more) == 12


def test_any_optimizer_is_the_baseline_and_all_are_held_against_each_other(result):
    other = compare(own={"still": still, "momentum": momentum}, baseline="still")
    assert other.answers[0].optimizer == "still"
    assert {(pair.optimizer, pair.other) for pair in other.pairs} == {("momentum", "still")}
    assert answer_of(other, "momentum").verdict == "better"
    every = compare(own={"still": still, "momentum": momentum}, pairs="all")
    told = {(pair.optimizer, pair.other): pair for pair in every.pairs}
    assert set(told) == {("still", "sgd"), ("momentum", "sgd"), ("momentum", "still")}
    mine, others = (runs_of(result, name, "tuned").test["loss"] for name in ("momentum", "still"))
    expected = statistics.paired(mine, others, 0.04 / 3, "ratio")
    ours = told["momentum", "still"]
    assert ours.difference == pytest.approx(expected.difference, rel=1e-9)
    assert ours.p_value == pytest.approx(statistics.adjusted(expected, 0.04 / 3, 0.05))


# Verdicts of what is planted.


def fragile(learning_rate):
    """SGD, but from six of ten starts."""

    def update(updates, state, params):
        broken = jnp.where(state > 2.75, jnp.inf, 1)
        return jax.tree.map(lambda leaf: -learning_rate * broken * leaf, updates), state

    return optax.GradientTransformation(lambda params: params, update)


def test_what_is_worse_lost_or_fails_is_told():
    asked = {"replicates": 16, "tuning_seeds": 1}  # tiles as of 8 replicates and two
    result = compare(own={"still": still, "lost": lost, "fragile": fragile}, **asked)
    assert [(each.optimizer, each.verdict) for each in result.answers[:1]] == [("sgd", "baseline")]
    worse = answer_of(result, "still")
    assert worse.verdict == "worse"
    assert 1 < worse.pair.difference.low < worse.pair.difference.estimate
    assert worse.pair.p_value <= 0.05
    gone = answer_of(result, "lost")
    assert (gone.verdict, gone.failed, gone.pair.only) == ("fails more often", 16, (16, 0))
    assert "was not finite in step" in gone.sentence
    assert gone.effects == {"learning_rate": 0}
    seeds = runs_of(result, "sgd", "tuned").seed
    with jax.enable_x64(True):
        breaks = np.array([init(jax.random.key(seed)) > 2.75 for seed in seeds])
    assert 8 <= breaks.sum() < 16
    often = answer_of(result, "fragile")
    assert (often.verdict, often.failed) == ("fails more often", breaks.sum())
    assert np.array_equal(runs_of(result, "fragile", "tuned").diverged >= 0, breaks)
    held = compare(own={"fragile": fragile, "sgd": "sgd"}, baseline="fragile", **asked)
    assert answer_of(held, "sgd").verdict == "fails less often"


@pytest.mark.slow
def test_what_fails_in_nine_of_thirty_is_told_beside_five_others():
    """At half of its share of the level nine alone are too few, at all of it they are not."""
    alpha = statistics.spent(1, 0.05) / 6
    assert alpha / 2 < 2.0 ** (1 - 9) < alpha
    with jax.enable_x64(True):
        starts = np.sort([float(init(jax.random.key(3 * replicate))) for replicate in range(30)])
    most = float(starts[-10:-8].mean())

    def failing(learning_rate):
        def update(updates, state, params):
            broken = jnp.where(state > most, jnp.inf, 1)
            return jax.tree.map(lambda leaf: -learning_rate * broken * leaf, updates), state

        return optax.GradientTransformation(lambda params: params, update)

    others = {f"twin {index}": "sgd" for index in range(5)}
    result = compare(own={"failing": failing, **others}, replicates=30, budget=2)
    told = answer_of(result, "failing")
    assert (told.verdict, told.pair.only) == ("fails more often", (9, 0))
    assert told.pair.p_value <= 0.05
    assert {answer_of(result, name).verdict for name in others} == {"as good"}


# The level that is promised, of the whole procedure.


def noisy(params, batch):
    """Three parameters, of which each batch tells something else."""
    return jnp.sum(jnp.array([1.0, 0.3, 0.1]) * (params - batch.mean(axis=0)) ** 2)


ROWS = np.random.default_rng(1).normal(size=(8, 3))
MANY = {"epochs": None, "steps": 10, "validation": None, "test": None, "metrics": {}}
MANY |= {"replicates": 1200, "budget": 12, "tuning_seeds": 3, "seed": 3}


def many(own, **settings):
    """What is judged of each optimizer in many replicates of the smallest task there is."""
    begin = functools.partial(jax.random.normal, shape=(3,))
    result = compare(ROWS, own, noisy, begin, **(MANY | settings))
    return [
        np.log(runs_of(result, name, "tuned").final("training"))
        for name in result.protocol.optimizers
    ]


def alarms(values, baseline, replicates):
    """How many comparisons of so many replicates each say better or worse, and of how many."""
    alpha = statistics.spent(1, 0.05)
    pairs = zip(values.reshape(-1, replicates), baseline.reshape(-1, replicates), strict=True)
    told = [statistics.paired(*each, alpha, "difference").p_value <= alpha for each in pairs]
    return sum(told), len(told)


def within_the_level(count, total):
    """So many are no surprise where each comes with a chance of 5%."""
    return stats.binom.sf(count - 1, total, 0.05) > 1e-3


MINE = {"tune": {"mine": {"learning_rate": spaces.log(3e-4, 5.0)}}}


@pytest.fixture(scope="module")
def plain():
    """Plain SGD; itself under another name and of another range; and on seeds of its own.

    With the last nothing is shared, and there is no difference at all.
    """
    return *many({"mine": "sgd"}, **MINE), *many(["sgd"], seed=4)


@pytest.mark.parametrize("replicates", [10, 20])
@pytest.mark.slow
def test_plain_sgd_is_told_from_itself_no_more_often_than_the_level_says(plain, replicates):
    assert np.isfinite(plain).all()
    sgd, *others = plain
    for other in others:
        assert np.mean(sgd == other) < 0.01
        assert within_the_level(*alarms(other, sgd, replicates))


def test_judging_on_a_seed_that_tuned_breaks_the_level(plain, monkeypatch):
    seeds = Protocol.seeds
    monkeypatch.setattr(
        Protocol, "seeds", lambda protocol: np.repeat(seeds(protocol)[:, :1], 4, axis=1)
    )
    assert not within_the_level(*alarms(many(["sgd"])[0], plain[0], 20))


@pytest.mark.slow
def test_one_search_for_all_that_judge_breaks_the_level(monkeypatch):
    """As where settings are tuned once, and only then judged on many seeds."""
    seeds, draws = Protocol.seeds, search._draws

    def shared(protocol):
        every = seeds(protocol)
        firsts = np.arange(len(every)) // 20 * 20
        return np.concatenate([every[:, :1], every[firsts, 1:]], axis=1)

    monkeypatch.setattr(Protocol, "seeds", shared)
    monkeypatch.setattr(
        search,
        "_draws",
        lambda seed, replicates, *more: draws(seed, tuple(r // 20 * 20 for r in replicates), *more),
    )
    sgd, mine = many({"mine": "sgd"}, **MINE)
    assert not within_the_level(*alarms(mine, sgd, 20))


# More replicates.


@pytest.mark.slow
def test_it_goes_on_until_all_is_told(result):
    """Four replicates tell nothing: at the most that were asked for there is a second look."""
    went = compare(replicates=4, until=8)
    assert went.protocol.judging.looks == (4, 8)
    for ours, theirs in zip(result.runs, went.runs, strict=True):
        near(ours[2:], theirs[2:])
    assert statistics.spent(2, 0.05) == pytest.approx(0.005)
    (pair,) = [each for each in went.pairs if each.optimizer == "still"]
    raw = statistics.paired(
        *(runs_of(result, name, "tuned").test["loss"] for name in ("still", "sgd")),
        0.005 / 3,
        "ratio",
    )
    assert pair.p_value == pytest.approx(statistics.adjusted(raw, 0.005 / 3, 0.05))
    told = compare(own={"still": still}, replicates=8, until=80)
    assert told.protocol.judging.looks == (8,)


def test_replicates_are_added_to_those_of_a_folder(result, tmp_path, monkeypatch):
    """None of them is trained again, and all are those of one larger comparison."""
    calls, call = [], sweep._call

    def counted(task, program, shape, items, test):
        calls.append(len(items.seeds))
        return call(task, program, shape, items, test)

    monkeypatch.setattr(sweep, "_call", counted)
    compare(replicates=4, folder=tmp_path)
    before = len(calls)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    grown = compare(replicates=8, folder=tmp_path)
    assert grown.protocol.judging.looks == (4, 8)
    for ours, theirs in zip(result.runs, grown.runs, strict=True):
        near(ours[2:], theirs[2:])
    assert {path: path.stat().st_mtime_ns for path in written} == written
    # The same again for four more, and the settings to recommend, which are other ones.
    made = len(calls)
    assert before < made <= 2 * before + 2 * len(OWN | {"sgd": ""})
    again = compare(replicates=8, folder=tmp_path)
    assert len(calls) == made
    assert same(without_times(again), without_times(grown))
    assert same(without_times(comparison.load(tmp_path)), without_times(grown))
    with pytest.raises(InputError, match=r"replicates: expected at least the 8 that .*, got 4"):
        compare(replicates=4, folder=tmp_path)


def test_what_one_look_tells_the_next_does_not_take_away(tmp_path):
    """Nine pairs tell nothing at a tenth of the level, shared by three; eight did at 4/5 of it."""
    before = compare(folder=tmp_path)
    assert answer_of(before, "still").verdict == "worse"
    grown = compare(replicates=9, folder=tmp_path)
    assert statistics.fewest(statistics.spent(2, 0.05) / 3) > 9
    after = answer_of(grown, "still")
    assert after.pair == answer_of(before, "still").pair
    assert after.sentence.endswith(
        "That was told by the first 8 replicates, and stays told by 9 replicates."
    )
    assert answer_of(comparison.load(tmp_path), "still").verdict == "worse"


def test_a_look_that_was_stopped_was_none(tmp_path):
    def stop(doing, done, planned):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(own=["sgd"], replicates=4, folder=tmp_path, on_progress=stop)
    assert compare(own=["sgd"], replicates=8, folder=tmp_path).protocol.judging.looks == (8,)
    assert compare(own=["sgd"], replicates=9, folder=tmp_path).protocol.judging.looks == (8, 9)


def test_a_changed_closure_is_another_program():
    scale = [1.0]

    def scaled(params, batch):
        return scale[0] * distance(params, batch)

    metrics = {"scaled": scaled, "unscaled": distance}
    asked = {"own": ["sgd"], "loss": scaled, "metrics": metrics, "replicates": 2}
    before = compare(**asked)
    scale[0] = 2.0
    after = compare(**asked)
    assert not np.array_equal(before.runs[0].loss, after.runs[0].loss)
    for values in (each for run in after.runs for each in (run.test, run.validation) if each):
        assert np.array_equal(values["scaled"], 2 * values["unscaled"])


@pytest.mark.slow
def test_a_changed_closure_of_the_start_is_another_start():
    scale = [1.0]

    def begin(key):
        return scale[0] * init(key)

    asked = {"own": ["sgd"], "begin": begin, "replicates": 2}
    before = compare(**asked)
    scale[0] = 2.0
    after = compare(**asked)
    expected = compare(**asked | {"begin": lambda key: 2 * init(key)})
    assert before.protocol.start != after.protocol.start
    assert not np.array_equal(before.runs[0].loss, after.runs[0].loss)
    assert np.array_equal(after.runs[0].loss, expected.runs[0].loss)


@pytest.mark.slow
def test_programs_that_call_other_functions_of_python_are_others():
    """Their text does not say which."""

    def given(number):
        def metric(params, batch):
            # Of a dtype that is the same in whichever thread Python is called.
            shape = jax.ShapeDtypeStruct((), np.float32)
            return jax.pure_callback(
                lambda params: np.full(np.shape(params), number, np.float32),
                shape,
                params,
                vmap_method="expand_dims",
            )

        return metric

    for number in (1.0, 2.0):
        result = compare(own=["sgd"], metrics={"m": given(number)}, replicates=2)
        scored = [run for run in result.runs if run.test]
        assert scored
        for run in scored:
            assert (run.test["m"] == number).all()
            assert (run.validation["m"] == number).all()


# Files.


def test_what_is_saved_is_read_again(result, saved):
    read = comparison.load(saved)
    assert same(read, result)
    tables = (file_of(saved, f"{name}.parquet") for name in ("runs", "curves"))
    runs, curves = map(parquet.read_table, tables)
    named = ["optimizer", "phase", "replicate", "trial", "seed"]
    counts = ["setting_learning_rate", "diverged", "evaluations"]
    assert set(runs.column_names) == {*named, *counts, "test_loss", "test_size"}
    assert curves.column_names == [*named, "step", "loss", "validation_loss", "validation_size"]
    # Those that tune are kept at their end alone.
    assert (runs.num_rows, curves.num_rows) == (4 * (96 + 3 * 8), 4 * (96 + 4 * 3 * 8))
    row = next(
        row
        for row in curves.to_pylist()
        if (row["optimizer"], row["phase"], row["replicate"], row["step"])
        == ("twin", "tuned", 5, 9)
    )
    twin = runs_of(result, "twin", "tuned")
    assert (row["loss"], row["validation_size"]) == (
        twin.loss[5, 2],
        twin.validation["size"][5, 2],
    )
    scored = {row["phase"] for row in runs.to_pylist() if row["test_loss"] is not None}
    assert scored == {"tuned", "recommended", "customary"}


def test_runs_that_diverged_are_read_again(tmp_path):
    ends = np.where(np.arange(8) > 3, np.inf, 1.0)
    planted_ = comparison.of_record(planted.record({"sgd": ends, "other": ends}))
    comparison.save(planted_, tmp_path)
    assert same(comparison.load(tmp_path), planted_)


@pytest.mark.parametrize("missing", ["comparison.json", "runs.parquet", "curves.parquet"])
def test_half_a_comparison_is_none(missing, result, tmp_path):
    comparison.save(result, tmp_path)
    file_of(tmp_path, missing).unlink()
    with pytest.raises(InputError, match="folder: expected a finished comparison, got"):
        comparison.load(tmp_path)


def damaged(path, *fields, value=None):
    """Set a field of a JSON file, or take it away."""
    record, contents = files.read_record(path)
    inner = functools.reduce(lambda each, name: each[name], fields[:-1], record)
    if value is None:
        del inner[fields[-1]]
    else:
        inner[fields[-1]] = value
    files.write_record(path, record, contents)
    if path.stem == "protocol":  # as one who alters it knowingly would
        log, contents = files.read_record(path.with_name("comparison.json"))
        whose = {"protocol": fingerprints.of_record(record)}
        files.write_record(path.with_name("comparison.json"), log | whose, contents)


@pytest.mark.parametrize(
    ("file", "fields", "value", "words"),
    [
        ("protocol", ["steps"], None, "steps: expected optimizers, .*, got none"),
        ("protocol", ["more"], 1, "more: expected optimizers, .*, got a field that is not known"),
        ("protocol", ["steps"], 12.0, "steps: expected a whole number, got 12.0"),
        ("protocol", ["steps"], True, "steps: expected a whole number, got True"),
        ("protocol", ["steps"], 11, "steps: expected 11 at the end, got"),
        ("protocol", ["steps"], 0, "steps: expected at least 1, got 0"),
        ("protocol", ["seed"], -4, "seed: expected at least 0, got -4"),
        ("protocol", ["seed"], 1, "on its own seeds, got others"),
        ("protocol", ["batch_size"], 0, "batch_size: expected .*, got 0"),
        ("protocol", ["rows"], {}, "tuning.data: expected training, got validation"),
        ("protocol", ["rows", "training"], None, "rows: expected rows"),
        ("protocol", ["rows"], [], "rows: expected an object, got .."),
        ("protocol", ["rows", "test"], "4", "rows.test: expected a whole number, got '4'"),
        ("protocol", ["metrics"], "size", "metrics: expected a list, got 'size'"),
        ("protocol", ["metrics"], ["other"], "expected .*'other'.* of the validation"),
        ("protocol", ["optimizers"], {}, "optimizers: expected at least one"),
        ("protocol", ["optimizers", "sgd"], 3, "optimizers.sgd: expected an object, got 3"),
        (
            "protocol",
            ["optimizers", "twin", "axes", "learning_rate", "values"],
            [0.1, "0.2"],
            r"axes.learning_rate.values\[1\]: expected a finite number, got '0.2'",
        ),
        (
            "protocol",
            ["optimizers", "twin", "axes", "learning_rate", "values"],
            [0.2, 0.1],
            "optimizers.twin.axes.learning_rate.log: expected two numbers above zero, rising",
        ),
        ("protocol", ["optimizers", "twin", "axes"], {}, "optimizers.twin.axes: expected a custom"),
        (
            "protocol",
            ["optimizers", "twin", "customary", "learning_rate"],
            10**400,
            "customary.learning_rate: expected a",
        ),
        ("protocol", ["optimizers", "twin", "trials"], 0, "twin.trials: expected at least 1"),
        ("protocol", ["optimizers", "sgd", "trials"], 5, "tuning runs of sgd: expected 5 of each"),
        ("protocol", ["judging", "data"], "train", "judging.data: expected training or .*, got"),
        ("protocol", ["judging", "data"], "validation", "judging.data: expected test, got"),
        ("protocol", ["judging", "by"], "speed", "judging.by: expected loss or .*, got speed"),
        ("protocol", ["judging", "looks"], [], "judging.looks: expected replicates, more at each"),
        ("protocol", ["judging", "looks"], [8, 4], "judging.looks: expected replicates, more at"),
        ("protocol", ["judging", "looks"], [9], "runs of sgd: expected .* 9 replicates on its own"),
        ("protocol", ["judging", "level"], 2, "judging.level: expected a number between 0 and 1"),
        ("protocol", ["judging", "margin"], -1, "judging.margin: expected at least 0"),
        ("protocol", ["tuning", "seeds"], 0, "tuning.tuning_seeds: expected at least 1, got 0"),
        ("protocol", ["tuning", "budget"], "money", "tuning.budget: expected trials or"),
        ("protocol", ["tuning"], [[[]]], "tuning: expected an object"),
        ("comparison", ["seconds"], None, "seconds: expected title, .*, got none"),
        ("comparison", ["seconds", "sgd"], None, "seconds: expected those of .*sgd"),
        ("comparison", ["seconds", "sgd", "run"], "1", "seconds.sgd.run: expected a finite number"),
        ("comparison", ["seconds", "sgd", "run"], -1, "seconds.sgd.run: expected no time below"),
        ("comparison", ["seconds", "sgd", "rounds"], [1.0], "seconds: expected 0 rounds of each"),
        ("comparison", ["title"], 3, "title: expected words, got 3"),
        (
            "comparison",
            ["provenance", "jax"],
            None,
            "provenance.jax: expected device, .*, got none",
        ),
        ("comparison", ["reasons"], {"sgd": []}, "reasons.sgd: expected words"),
    ],
)
def test_a_damaged_record_is_refused_by_file_and_field(
    file, fields, value, words, result, tmp_path
):
    comparison.save(result, tmp_path)
    damaged(tmp_path / f"{file}.json", *fields, value=value)
    with pytest.raises(InputError, match=words) as refused:
        comparison.load(tmp_path)
    assert str(tmp_path) in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("file", ["protocol", "comparison"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"\xff", b"[" * 10**5, b"9" * 5000])
def test_what_is_no_record_is_refused(content, file, result, tmp_path):
    comparison.save(result, tmp_path)
    (tmp_path / f"{file}.json").write_bytes(content)
    with pytest.raises(InputError, match=rf"{file}\.json: expected the file that jaxnet wrote"):
        comparison.load(tmp_path)


@pytest.fixture(scope="module")
def decided(tmp_path_factory):
    """The folder of a comparison that was made."""
    folder = tmp_path_factory.mktemp("decided")
    compare(own=["sgd"], folder=folder)
    return folder


def leave(*names):
    """Remove all of a comparison but files and folders of these names."""

    def hurt(protocol):
        for path in protocol.parent.iterdir():
            if files.kind(path.name) not in names:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    return hurt


@pytest.mark.parametrize(
    "hurt",
    [
        Path.unlink,
        lambda path: path.write_bytes(b"{}"),
        *(leave(name) for name in ("tiles", "runs.parquet", "curves.parquet", "comparison.json")),
    ],
)
def test_what_was_decided_is_not_decided_anew_in_its_folder(hurt, decided, tmp_path):
    """Else looks of before would be forgotten, over all of which the level is held."""
    folder = shutil.copytree(decided, tmp_path / "copy")
    hurt(folder / "protocol.json")
    cure = r"protocol\.json: expected .*; delete the folder and compare again, or give another fo"
    for again in (comparison.load, lambda folder: compare(own=["sgd"], folder=folder)):
        with pytest.raises(InputError, match=cure):
            again(folder)


@pytest.mark.parametrize("file", ["runs", "curves"])
def test_tables_that_are_not_of_the_record_are_refused(file, result, tmp_path):
    comparison.save(result, tmp_path)
    path = file_of(tmp_path, f"{file}.parquet")
    table = parquet.read_table(path)
    faults = [
        table.slice(1),
        table.slice(0, 0),
        table.drop_columns("seed"),
        table.set_column(4, "seed", [["x"] * table.num_rows]),
        table.set_column(0, "optimizer", [["sgd"] * table.num_rows]),
        pa.concat_tables([table, table]),
    ]
    record, contents = files.read_record(tmp_path / "comparison.json")

    def put(content):
        others = contents | {path.name: content}
        files.write_record(tmp_path / "comparison.json", record, others)

    for fault in faults:
        sink = pa.BufferOutputStream()
        parquet.write_table(fault, sink)
        put(sink.getvalue().to_pybytes())
        with pytest.raises(InputError, match=f"^{tmp_path}: .*; compare into this folder again$"):
            comparison.load(tmp_path)
    put(b"PAR1")
    with pytest.raises(InputError, match=f"{path.name}: expected a table of Parquet"):
        comparison.load(tmp_path)


def test_a_protocol_is_never_changed(result, tmp_path):
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.protocol.steps = 3
    comparison.save(result, tmp_path)
    path = tmp_path / "protocol.json"
    record = files.read_record(path)[0]
    assert records.rebuilt(Protocol, record, path) == result.protocol
    comparison.save(result, tmp_path)
    assert compare(folder=tmp_path, title="").log.title == "Optimizers against plain SGD"
    named = compare(folder=tmp_path, title="", name="seven points")
    assert named.log.title == "Optimizers against plain SGD on seven points"
    assert compare(folder=tmp_path, title="another").log.title == "another"
    assert files.read_record(path)[0] == record
    assert comparison.load(tmp_path).log.title == "another"
    other = dataclasses.replace(result, protocol=dataclasses.replace(result.protocol, data="x"))
    with pytest.raises(InputError, match="holds a comparison that differs in data; give"):
        comparison.save(other, tmp_path)
    with pytest.raises(
        InputError, match=r"that differs in optimizers\.trials \(6 there, 7 asked\); give"
    ):
        compare(folder=tmp_path, budget=7)


@pytest.mark.parametrize(("module", "folder"), [("scipy", None), ("pyarrow", "out")])
def test_a_missing_extra_is_named_before_anything_compiles(
    module, folder, tmp_path, monkeypatch, uncompiled
):
    find = checks.importlib.util.find_spec

    def find_spec(name):
        return None if name == module else find(name)

    monkeypatch.setattr(checks.importlib.util, "find_spec", find_spec)
    with pytest.raises(ImportError, match=rf"got all but {module}; install .*\[compare\]"):
        compare(folder=folder and tmp_path / folder)


@pytest.mark.usefixtures("unchecked")
def test_whole_numbers_and_those_of_numpy_are_kept_as_others_are(tmp_path):
    sgd = optimizers.entry("sgd")
    entry = dataclasses.replace(sgd, customary=sgd.customary | {"learning_rate": 1})
    settings = {"target": 1, "epochs": np.int64(4), "replicates": np.int32(8)}
    settings |= {"seed": np.int64(2), "folder": tmp_path}
    theirs = compare(own={"own": entry}, **settings)
    assert comparison.load(tmp_path).protocol == theirs.protocol
    assert theirs.protocol.judging.target == 1.0
    again = compare(own={"own": entry}, **(settings | {"target": np.float32(1), "epochs": 4}))
    assert again.protocol == theirs.protocol


@pytest.mark.slow
def test_the_order_of_optimizers_is_no_other_comparison(tmp_path):
    own = {"own": momentum, "other": still}
    compare(own=own, folder=tmp_path)
    assert compare(own=dict(reversed(own.items())), folder=tmp_path).answers


def test_hyperparameters_may_be_called_as_the_arguments_are():
    def make(learning_rate, data, epochs, seed, loss, title):
        return optax.sgd(learning_rate * data * epochs * seed * loss, momentum=title)

    named = dict.fromkeys(("data", "epochs", "seed", "loss"), 1.0)
    theirs = compare(own={"own": functools.partial(make, title=0.5, **named), "momentum": momentum})
    assert same(runs_of(theirs, "own", "tuned")[1:], runs_of(theirs, "momentum", "tuned")[1:])


@pytest.mark.slow
def test_hyperparameters_may_be_called_as_anything_inside_is():
    def plain(learning_rate, a, b, c, d):
        return optax.sgd(learning_rate * a * b * c * d, momentum=0.5)

    def own(learning_rate, steps, entry, setting, key):
        return plain(learning_rate, steps, entry, setting, key)

    rate = optimizers.join("momentum", momentum).space["learning_rate"]
    entries = {}
    for make in (plain, own):
        space = dict.fromkeys(inspect.signature(make).parameters, spaces.choice(1.0))
        space |= {"learning_rate": rate}
        customary = dict.fromkeys(space, 1.0)
        entries[make.__name__] = optimizers.Entry(make.__name__, make, space, customary)
    result = compare(own=entries, tune="all")
    assert same(runs_of(result, "own", "tuned").loss, runs_of(result, "plain", "tuned").loss)


def test_a_damaged_comparison_is_refused(result, tmp_path):
    """Whatever is changed, and in whichever of its files, by its name."""
    comparison.save(result, tmp_path / "ours")
    ends = np.where(np.arange(8) > 3, np.inf, 1.0)
    planted_ = comparison.of_record(planted.record({"sgd": ends, "other": ends}))
    comparison.save(planted_, tmp_path / "theirs")
    ours = [path for path in (tmp_path / "ours").iterdir() if path.is_file()]
    others = {
        path.name: [file_of(tmp_path / "theirs", files.kind(path.name)).read_bytes()]
        for path in ours
    }
    kinds = []
    for kind, path in damage.drawn(tmp_path / "ours", tmp_path / "copy", others):
        named = r"(protocol|runs-\w+|curves-\w+|comparison)\.\w+: expected"
        with pytest.raises(InputError, match=rf"expected a finished comparison, got .*{named}"):
            comparison.load(path.parent)
        kinds.append(kind)
    print(Counter(kinds))
    assert len(kinds) == damage.COUNT


def states(folder, copies, monkeypatch, write):
    """Copies of a folder as it is before each file is whole, takes its place, or is removed.

    A process killed while it writes would leave one of these.
    """
    copied = []

    def before(operation):
        def operate(*arguments, **named):
            copied.append(copies / str(len(copied)))
            shutil.copytree(folder, copied[-1])
            return operation(*arguments, **named)

        return operate

    with monkeypatch.context() as patch:
        for name in ("fsync", "replace", "unlink"):
            patch.setattr(os, name, before(getattr(os, name)))
        write()
    return copied


@pytest.fixture(params=[((4,), (4, 8)), ((4,), (4,)), ((4, 8), (4, 8))], ids=str)
def killed(request, tmp_path, monkeypatch):
    """What a folder reads as when it is killed while another look, or the same anew, is written."""

    def planted_at(looks, loss):
        ends = {"sgd": np.full(looks[-1], loss), "other": np.arange(1.0, 1 + looks[-1])}
        return comparison.of_record(planted.record(ends, looks=looks))

    before, after = request.param
    older, new = planted_at(before, 1.0), planted_at(after, 2.0)

    def read(folder):
        try:
            result = comparison.load(folder)
        except InputError:
            return "neither"
        return "older" if same(result, older) else "new" if same(result, new) else "neither"

    def write():
        folder = tmp_path / "folder"
        comparison.save(older, folder)
        copies = states(folder, tmp_path, monkeypatch, lambda: comparison.save(new, folder))
        outcomes = [read(copy) for copy in copies]
        for each in (folder, *copies):
            comparison.save(new, each)
            assert read(each) == "new"
        kept = ["comparison.json", "curves.parquet", "protocol.json", "runs.parquet", "tiles"]
        for each in copies:
            assert sorted(files.kind(path.name) for path in each.iterdir()) == kept
        return outcomes

    return write


def test_a_comparison_killed_as_it_writes_is_the_older_or_the_new_one(killed):
    outcomes = killed()
    assert outcomes == sorted(outcomes, reverse=True)
    assert set(outcomes) == {"older", "new"}


def test_tables_of_the_same_names_would_leave_neither(killed, monkeypatch):
    monkeypatch.setattr(files, "named", lambda kind, digest: kind)
    assert "neither" in killed()


@pytest.mark.usefixtures("unchecked")
def test_the_time_of_a_step_is_of_the_fastest_tile():
    """The first tile of a process warms it up, and is no part of an optimizer's own time."""
    ticks = iter([9.0, 3.0])
    task = tiles.Workload(None, None, (np.zeros(8),), 4, 10, (2, 4, 6, 8, 10))
    shape = tiles.Tile(2, 2)
    bench = phases.Bench(task, shape, None, None, None, planned=0, verified="")
    empty = np.zeros((1, 5))
    swept = tiles.Swept(empty, {}, {}, np.array([-1]), np.array([10]))
    taken = [tiles.Timing(0.5, np.array([next(ticks)])) for _ in range(2)]
    with pytest.MonkeyPatch.context() as patch:
        done = types.SimpleNamespace(joined=lambda: (swept, taken.pop(0)))
        patch.setattr(sweep, "begun", lambda *a, **k: done)
        for phase in ("tuning", "judging"):
            trials = tiles.Trials(np.zeros(1, np.int32), {"learning_rate": np.ones(1)})
            list(bench.train(optimizers.entry("sgd"), phase, trials))
    assert bench.seconds["sgd"] == Seconds(0.5, 12.0, 3 / (shape.runs * 10))


@first_of("after", [2, 11, 1, 4, 6, 16], 2)
def test_an_interrupted_comparison_goes_on_where_it_was(after, result, tmp_path):
    """What was done before the interruption is not done again."""
    calls = []

    def interrupt(doing, done, planned):
        if not doing.startswith("compiling"):
            calls.append((doing, done, planned))
        if len(calls) == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(folder=tmp_path, on_progress=interrupt)
    assert not (tmp_path / "comparison.json").exists()
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    assert len(written) == after
    calls.clear()
    after = -1
    resumed = compare(folder=tmp_path, on_progress=interrupt)
    assert same(without_times(resumed), without_times(result))
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert same(without_times(comparison.load(tmp_path)), without_times(result))
    done = [done for _, done, _ in calls]
    assert done == sorted(done)
    assert calls[-1][1] == calls[-1][2] == sum(len(each.seed) for each in result.runs)


@pytest.mark.parametrize(
    ("differs", "changed"),
    [
        ("data", {"data": POINTS + 1}),
        (r"steps \(12 there, 15 asked\)", {"epochs": 5}),
        (r"seed \(0 there, 1 asked\)", {"seed": 1}),
        (r"tuning.seeds \(2 there, 3 asked\)", {"tuning_seeds": 3}),
        (r"judging.margin \(0.05 there, 0.1 asked\)", {"margin": 0.1}),
        (r"judging.level \(0.05 there, 0.01 asked\)", {"level": 0.01}),
        (r"judging.by \(loss there, size asked\)", {"by": "size", "maximised": False}),
        (
            r"judging.by .*, judging.maximised \(False there, True asked\)",
            {"by": "size", "maximised": True},
        ),
        (r"judging.pairs .*", {"pairs": "all"}),
        (r"judging.target \(None there, 0.5 asked\)", {"target": 0.5}),
        ("program", {"loss": squared}),
        ("program", {"own": {"momentum": lambda learning_rate: optax.sgd(learning_rate, 0.9)}}),
        ("metrics, program", {"metrics": {}}),
        ("start", {"begin": lambda key: 4 + jax.random.normal(key)}),
        (r"optimizers\.trials \(6 there, 5 asked\)", {"budget": 5}),
        (r"optimizers\.axes", {"tune": {"sgd": {"learning_rate": spaces.log(0.1, 1.0)}}}),
    ],
)
def test_a_folder_of_another_comparison_is_refused(differs, changed, begun, uncompiled):
    path = begun["folder"] / "protocol.json"
    before = path.read_bytes()
    with pytest.raises(InputError, match=f"^folder: .* differs in {differs}; give another folder"):
        compare(**(begun | changed))
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "own", [{"still": still}, {}, {"momentum": momentum, "still": still}], ids=["other", "0", "2"]
)
def test_a_folder_of_other_optimizers_says_which_and_why(own, begun, uncompiled):
    got = ", ".join(["sgd", *own])
    words = (
        rf"^folder: expected the optimizers that .*, sgd, momentum, got {got}; "
        "the level of .* is that of all .*: compare all of them in another folder, or delete"
    )
    with pytest.raises(InputError, match=words):
        compare(**(begun | {"own": own or ["sgd"]}))


@pytest.mark.slow
def test_a_folder_of_functions_that_call_python_is_not_gone_on_from(tmp_path):
    """Their program says the same, whatever Python it is that they call."""

    def given(number):
        def metric(params, batch):
            # Of a dtype that is the same in whichever thread Python is called.
            shape = jax.ShapeDtypeStruct((), np.float32)
            called = functools.partial(lambda _: np.full((), number, np.float32))
            return jax.pure_callback(called, shape, params, vmap_method="sequential")

        return metric

    asked = {"own": ["sgd"], "replicates": 2, "folder": tmp_path}
    before = compare(**asked, metrics={"m": given(1.0)})
    with pytest.raises(InputError, match=r"^folder: expected an empty one, .*pure_callback"):
        compare(**asked, metrics={"m": given(2.0)})
    assert same(comparison.load(tmp_path).runs, before.runs)


def printing(params, batch):
    jax.debug.callback(lambda _: None, params)
    return distance(params, batch)


@pytest.mark.slow
def test_what_only_tells_of_a_run_is_gone_on_from(tmp_path):
    asked = {"own": ["sgd"], "replicates": 2, "folder": tmp_path, "loss": printing}
    assert same(without_times(compare(**asked)), without_times(compare(**asked)))


def test_a_folder_whose_protocol_is_half_written_is_refused(begun, tmp_path, uncompiled):
    with pytest.raises(CompiledError):
        compare(**begun)
    (tmp_path / "protocol.json").write_text("{")
    with pytest.raises(InputError, match=r"protocol.json: expected the file that jaxnet wrote"):
        compare(**(begun | {"folder": tmp_path}))


# Bad input.


def branching(learning_rate):
    return optax.sgd(learning_rate if learning_rate > 0.1 else 0.1)


def numpy_signs(learning_rate):
    return optax.stateless(
        lambda updates, _: jax.tree.map(lambda each: -learning_rate * np.sign(each), updates)
    )


def branching_later(learning_rate):
    def update(updates, state, params=None):
        return (updates if learning_rate > 0.1 else params), state

    return optax.GradientTransformation(lambda params: (), update)


def by_numpy(key):
    return jnp.asarray(np.random.default_rng(int(jax.random.bits(key))).normal())


SQUARES = losses.BatchLoss(network.forward, optax.losses.l2_loss)
LABELLED = losses.BatchLoss(network.forward, optax.losses.softmax_cross_entropy_with_integer_labels)
X, LABELS = np.ones((4, 3)), np.array([0, 1, 1, 0])
NO_DATA = {"data": None, "validation": None, "test": None, "metrics": {}}
NO_DATA |= {"epochs": None, "steps": 3, "loss": lambda params, batch: params**2}
LABELS_GIVEN = {
    "loss": LABELLED,
    "begin": lambda key: network.init(key, [3, 4, 2]),
    "data": (X, LABELS),
    "validation": None,
    "test": None,
    "metrics": {},
}


@pytest.mark.usefixtures("unchecked", "uncompiled")
@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"own": ["adm"]},
            "optimizer: expected an optimizer of optax, got 'adm'; the nearest are ad",
        ),
        (
            {"own": {"mine": "adm"}},
            "optimizer: expected an optimizer of optax, got 'adm'; the near",
        ),
        (
            {"own": {"ad\nam": momentum}},
            r"optimizers: expected words in one line, got 'ad\\nam'; re",
        ),
        ({"title": "a\nb"}, r"title: expected words in one line, got 'a\\nb'; rename it"),
        ({"own": []}, "optimizers: expected at least one to hold against the baseline, got none; "),
        ({"own": ["adam", "lion", "adam"]}, "optimizers: expected each once, got adam twice; "),
        (
            {"own": "adam"},
            "optimizers: expected a list of names, or a dict of .*, got 'adam'; such",
        ),
        (
            {"own": [optax.sgd(0.1)]},
            "optimizers: expected each by a name, got Gradient.*; give your",
        ),
        ({"own": {"adam": 3}}, "adam: expected a function of learning_rate, .*, got 3; such as"),
        (
            {"own": {"sgd": momentum}},
            "optimizers: expected sgd to be plain SGD, got one of your",
        ),
        (
            {"own": {"mine": branching}},
            "optimizers: expected mine to be made of traced .*; a sch",
        ),
        (
            {"own": {"mine": branching_later}},
            "optimizers: expected mine to be made of traced .*; ",
        ),
        (
            {"own": {"mine": numpy_signs}},
            r"optimizers: mine: expected .* jax.numpy, .* NumPy in <lambda> \(test_comparison.py:",
        ),
        (
            {"own": ["sgd"], "baseline": "adm"},
            "optimizer: expected an optimizer of optax, got 'adm'",
        ),
        ({"baseline": 3}, "optimizers: expected each by a name, got 3; give your"),
        ({"tune": "everything"}, 'tune: expected "rate", "all" or axes by name, got .everything'),
        ({"seed": "a"}, "seed: expected a whole number, got 'a'"),
        ({"margin": "wide"}, "margin: expected at least 0, got wide"),
        ({"level": "low"}, "level: expected a number between 0 and 1, got low"),
        ({"folder": 3}, "folder: expected a path, got 3"),
        (
            {"on_progress": 3},
            r"on_progress: expected a function of \(what, done, planned\), got int",
        ),
        ({"tune": 3}, 'tune: expected "rate", "all" or a dict by optimizer, got 3'),
        (
            {"tune": {"adam": "all"}},
            "tune: expected names among sgd, twin, momentum, still, got adam; leave them",
        ),
        (
            {"tune": {"momentum": {"decy": 0.9}}},
            "tune: expected hyperparameters of momentum .*, got 'decy'; the nearest are decay",
        ),
        (
            {"tune": {"momentum": {"decay": "0.9"}}},
            "tune: expected an axis or a finite number for decay, got .0.9.",
        ),
        (
            {"tune": {"sgd": {"learning_rate": math.nan}}},
            "tune: .* finite number for learning_rate, got nan",
        ),
        (
            {"loss": lambda params, batch, other: 0.0},
            r"loss: expected a function of \(params, batch\), got one of .*'other'; bind",
        ),
        (
            {"loss": lambda params, batch: params + batch},
            r"loss: expected one real number, .*, got .*",
        ),
        (
            {"loss": lambda params, batch: 1},
            "loss: expected one real number, .*, got .*; reduce it",
        ),
        (
            {"loss": lambda params, batch: np.square(params - batch).mean()},
            r"loss: expected .* jax.numpy, .* NumPy in <lambda> \(test_comparison.py:\d+\); write",
        ),
        (
            {"metrics": {"s": lambda params, batch: np.abs(params)}},
            "s: expected a function in jax.numpy",
        ),
        (
            {"metrics": {"s": lambda params, batch: batch}},
            "s: expected one real number, .*; reduce",
        ),
        (
            {"metrics": {"loss": size}},
            "metrics: expected names other than loss, .*; rename",
        ),
        ({"begin": lambda key: np.ones(3)}, "loss: expected a function of .* that takes init"),
        (
            {"begin": lambda key: np.ones((), int)},
            r"init\(key\): expected floating-point .*, got int64",
        ),
        ({"begin": lambda key: np.array(np.nan)}, r"init\(key\): expected finite values, got nan"),
        ({"begin": lambda key: {}}, r"init\(key\): expected at least one array, got an empty"),
        (
            {"begin": lambda: np.ones(())},
            r"init: expected a function of \(key\), got one of \(\), too many .*; bind",
        ),
        (
            {"begin": by_numpy},
            "init: expected a pure function .* that can be traced; it raised .*; draw",
        ),
        ({"batch_size": 8}, "batch_size: expected 1 to the 7 rows of data, got 8; None takes all"),
        ({"batch_size": 0}, "batch_size: expected at least 1, got 0"),
        ({"epochs": 0}, "epochs: expected at least 1, got 0"),
        ({"epochs": 1.5}, "epochs: expected a whole number, got 1.5"),
        (
            {"epochs": None},
            "epochs: expected either epochs or steps, got epochs = None, steps = No",
        ),
        ({"steps": 5}, "epochs: expected either epochs or steps, got epochs = 4, steps = 5"),
        ({"epochs": None, "steps": 0}, "steps: expected at least 1, got 0"),
        ({"budget": 0}, "budget: expected at least 1, got 0"),
        ({"budget": 1}, "budget: expected at least 2 trials to choose from, got 1"),
        ({"budget_of": "money"}, "budget_of: expected trials or evaluations or seconds, got money"),
        ({"replicates": 0}, "replicates: expected at least 1, got 0"),
        ({"replicates": 2.5}, "replicates: expected a whole number, got 2.5"),
        ({"replicates": 10**6}, "replicates: expected at most"),
        ({"until": 0}, "until: expected at least 1, got 0"),
        ({"seed": -1}, "seed: expected at least 0, got -1"),
        ({"seed": 2**15}, "seed: expected at most 32767, got 32768"),
        ({"by": "speed"}, "judging.by: expected loss or steps or .* or size, got speed"),
        ({"level": 0}, "level: expected a number between 0 and 1, got 0; give a share, such as"),
        ({"margin": -0.1}, "margin: expected at least 0, got -0.1; give a share, such as 0.05$"),
        ({"pairs": "some"}, "pairs: expected baseline or all, got some; give one of these$"),
        ({"title": 3}, "title: expected words in one line, got 3"),
        (
            {"data": None, "validation": None, "test": None, "metrics": {}, "batch_size": None},
            "steps: expected them where there is no data to pass over, got epochs",
        ),
        ({"data": None}, "data: expected rows beside validation or test rows, got None"),
        (
            NO_DATA | {"batch_size": 2},
            "batch_size: expected None where there is no data, got 2",
        ),
        (
            {"batch_size": None, "begin": lambda key: jnp.ones(())},
            "init: expected another start for each key, as every batch is all rows",
        ),
        ({"metrics": {"steps": size}}, "metrics: expected names other than steps, .*; rename it"),
        (
            {"validation": None, "test": None},
            "metrics: expected validation or test data to measure them on, got neither; give",
        ),
        ({"tuning_seeds": 0}, "tuning_seeds: expected at least 1, got 0"),
        ({"target": math.nan}, "target: expected a finite loss, got nan; None takes"),
        (
            {"validation": np.ones((3, 1))},
            r"validation: expected rows as those of data, \[7\], got \[3",
        ),
        (
            {"test": (POINTS, POINTS)},
            r"test: expected rows as those of data, \[7\], got .*; prepare",
        ),
        ({"test": np.zeros(0)}, r"test: expected at least one row .*, got shape \[0\]"),
        ({"data": np.full(7, np.nan)}, "data: expected finite values, got nan at"),
        ({"validation": np.full(7, np.inf)}, "validation: expected finite values, got inf at"),
        ({"data": [0.5, 0.7]}, "data.*: expected an array of numbers, got float"),
        (
            LABELS_GIVEN | {"data": (X, LABELS + 1)},
            "data: y: expected class labels 0 to 1, .*, got 2",
        ),
        (
            LABELS_GIVEN | {"test": (X, LABELS - 1)},
            "test: y: expected class labels 0 to 1, .*, got -1",
        ),
        (
            LABELS_GIVEN | {"test": (np.ones((4, 2)), LABELS)},
            "test: expected rows as those of data",
        ),
        (LABELS_GIVEN | {"data": (X[:3], LABELS)}, r"data\[1\]: expected 3 rows, as .*, got 4"),
    ],
)
def test_bad_input_is_refused_before_anything_compiles(given, words):
    with pytest.raises(InputError, match=f"^{words}"):
        compare(**given)


@pytest.mark.usefixtures("uncompiled")
def test_more_than_the_memory_holds_is_refused(monkeypatch):
    monkeypatch.setattr(sizes, "memory", lambda: 4096)
    words = r"^budget: expected what fits .* 4,096 bytes .* got 480 runs"
    with pytest.raises(InputError, match=words):
        compare()
    # What the runs keep fits it; what computes them does not.
    monkeypatch.setattr(sizes, "check_comparison", lambda *_: None)
    words = "^memory: expected what fits the machine's 4,096 bytes of memory, got runs, which take"
    with pytest.raises(InputError, match=words):
        compare()


# Models of the user's own.


def table():
    random = np.random.default_rng(0)
    parts = []
    for rows in (16, 8, 8):
        x = random.normal(size=(rows, 3))
        parts.append((x, (x[:, :2] ** 2 - x[:, 1:]).astype(x.dtype)))
    return parts


def compare_models(loss, begin, names):
    data, validation, test = table()
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        parts = {"validation": validation, "test": test}
        result = comparison.compare(
            Problem(loss, begin, data, epochs=3, batch_size=4, **parts),
            names,
            budget=4,
            tuning_seeds=2,
            replicates=2,
        )
    return result


@functools.cache
def ours(name):
    return compare_models(SQUARES, lambda key: network.init(key, [3, 4, 2]), [name])


def assert_same_runs(loss, begin, name):
    """The same network: its start, batches, losses and choice of rate, but for rounding."""
    result = compare_models(loss, begin, [name])
    for theirs in result.runs:
        mine = runs_of(ours(name), theirs.optimizer, theirs.phase)
        for a, b in zip(jax.tree.leaves(mine[2:]), jax.tree.leaves(theirs[2:]), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9)


def plain_loss(params, batch):
    x, y = batch
    hidden = jax.nn.relu(x @ params["in"] + params["bias"][None])
    return jnp.mean((hidden @ params["out"] + params["shift"][None] - y) ** 2) / 2


def plain_init(key):
    (w, b), (v, c) = network.init(key, [3, 4, 2])
    return {"in": w.T, "bias": b, "out": v.T, "shift": c}


@pytest.mark.slow
def test_plain_functions_are_compared():
    assert_same_runs(plain_loss, plain_init, "sgd")


@pytest.mark.slow
def test_flax_linen_models_are_compared():
    nn = pytest.importorskip("flax.linen")

    class Network(nn.Module):
        @nn.compact
        def __call__(self, x):
            hidden = nn.relu(nn.Dense(4, param_dtype=x.dtype)(x))
            return nn.Dense(2, param_dtype=x.dtype)(hidden)

    model = Network()

    def loss(params, batch):
        x, y = batch
        return optax.losses.l2_loss(model.apply(params, x), y).mean()

    def begin(key):
        layers = network.init(key, [3, 4, 2])
        like = model.init(key, jnp.zeros((1, 3)))
        filled = {
            f"Dense_{index}": {"kernel": layer.weight.T, "bias": layer.bias}
            for index, layer in enumerate(layers)
        }
        return jax.tree.map(lambda _, leaf: leaf, like, {"params": filled})

    assert_same_runs(loss, begin, "sgd")


@pytest.mark.slow
def test_flax_nnx_models_are_compared(x64):
    nnx = pytest.importorskip("flax.nnx")

    class Network(nnx.Module):
        def __init__(self, rngs):
            self.hidden = nnx.Linear(3, 4, rngs=rngs, param_dtype=jnp.float64)
            self.output = nnx.Linear(4, 2, rngs=rngs, param_dtype=jnp.float64)

        def __call__(self, x):
            return self.output(nnx.relu(self.hidden(x)))

    graph = nnx.graphdef(nnx.eval_shape(lambda: Network(nnx.Rngs(0))))

    def loss(params, batch):
        x, y = batch
        return optax.losses.l2_loss(nnx.merge(graph, params)(x), y).mean()

    def begin(key):
        model = Network(nnx.Rngs(key))
        (w, b), (v, c) = network.init(key, [3, 4, 2])
        model.hidden.kernel[...], model.hidden.bias[...] = w.T, b
        model.output.kernel[...], model.output.bias[...] = v.T, c
        return nnx.state(model, nnx.Param)

    assert_same_runs(loss, begin, "adam")


@pytest.mark.slow
def test_equinox_models_are_compared():
    eqx = pytest.importorskip("equinox")
    model = eqx.nn.MLP(3, 2, 4, 1, key=jax.random.key(0))
    static = eqx.filter(model, eqx.is_inexact_array, inverse=True)

    def loss(params, batch):
        x, y = batch
        return optax.losses.l2_loss(jax.vmap(eqx.combine(params, static))(x), y).mean()

    def begin(key):
        model = eqx.nn.MLP(3, 2, 4, 1, key=key, dtype=jnp.float64)
        (w, b), (v, c) = network.init(key, [3, 4, 2])

        def places(model):
            hidden, output = model.layers
            return [hidden.weight, hidden.bias, output.weight, output.bias]

        return eqx.filter(eqx.tree_at(places, model, [w, b, v, c]), eqx.is_inexact_array)

    assert_same_runs(loss, begin, "adam")


def test_what_cannot_run_is_a_row_and_what_diverged_says_why(tmp_path, standard_promotion):
    """sm3 indexes the axes of a scalar, of which there are none; a masked optimizer climbs."""

    def climbing(learning_rate):
        return optax.masked(optax.sgd(learning_rate), {"slope": True, "offset": False})

    def init(key):
        slope, offset = jax.random.normal(key, 2)
        return {"slope": slope, "offset": offset}

    def loss(params, batch):
        return jnp.mean((params["slope"] * batch[0] + params["offset"] - batch[1]) ** 2)

    x = np.linspace(-1, 1, 12, dtype=np.float32)
    problem = Problem(loss, init, (x, 2 * x), epochs=100, batch_size=4)
    result = comparison.compare(
        problem,
        {"sm3": "sm3", "climbing": climbing},
        budget=3,
        replicates=6,
        folder=tmp_path,
    )
    answers = {answer.optimizer: answer for answer in result.answers}
    assert list(answers)[-1] == "sm3"
    assert answers["sm3"].verdict == "cannot run"
    assert "a step from init(key) raised IndexError" in answers["sm3"].sentence
    assert len(result.ran) == 2
    assert "of params['offset']: the optimizer adds the gradient" in answers["climbing"].sentence
    assert "beyond" not in answers["climbing"].sentence
    assert list(result.log.reasons) == ["climbing"]
    again = comparison.load(tmp_path)
    assert [a.sentence for a in again.answers] == [a.sentence for a in result.answers]
    assert result.log.verified == verify.AGREES
    with pytest.raises(InputError, match=r"expected sm3 to be made of .* IndexError"):
        comparison.compare(problem, ["sm3"])


def zeroing(learning_rate):
    return optax.chain(optax.zero_nans(), optax.sgd(learning_rate))


def skipping(learning_rate):
    return optax.apply_if_finite(optax.sgd(learning_rate), 9)


def gathering(learning_rate):
    skip = {"should_skip_update_fn": optax.skip_not_finite}
    return optax.MultiSteps(optax.sgd(learning_rate), 1, **skip).gradient_transformation()


@pytest.mark.parametrize("own", [skipping, zeroing, gathering])
@pytest.mark.slow
def test_an_optimizer_that_goes_on_fails_neither_compared_nor_fitted_nor_trained(
    own, standard_promotion, recwarn
):
    """The loss of one batch of each epoch is nan."""
    data = np.float32([9, 1, 2, 0, 1, 3])

    def loss(params, batch):
        return jnp.where((batch == 9).any(), jnp.nan, jnp.mean((params - batch) ** 2) / 2)

    few = {"budget": 2, "tuning_seeds": 1, "replicates": 6}
    problem = Problem(loss, init, data, epochs=4, batch_size=2, validation=data[1:])
    result = comparison.compare(problem, {"own": own}, **few)
    assert {each.optimizer: each.failed for each in result.answers} == {"sgd": 6, "own": 0}
    assert list(result.log.reasons) == ["sgd"]
    rate, order = {"learning_rate": 0.1}, batches.shuffled(6, 2, 4, seed=0)
    for make in (optax.sgd, own):
        recwarn.clear()
        asked = {"epochs": 4, "batch_size": 2, "hyperparameters": rate}
        fit = fitting.fit(loss, make, init(jax.random.key(0)), data, validation=data[1:], **asked)
        begun = init(jax.random.key(0))
        training.train(loss, make, begun, data, order, hyperparameters=rate)
        diverged = make is optax.sgd
        assert (fit.outcome == "diverged") == diverged
        assert len(recwarn) == 2 * diverged


def test_a_notebook_shows_the_verdicts():
    ends = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    shown = comparison.of_record(planted.record({"sgd": ends, "<b>": ends}))
    page = pages.read(shown._repr_html_())
    assert not page.faults
    words = [text for _, text in page.words]
    for answer in shown.answers:
        assert answer.optimizer in words
        assert answer.verdict in words
    assert "Judged by" in words[-1]


def test_a_printed_comparison_is_its_answers_in_words():
    ends = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    shown = comparison.of_record(planted.record({"sgd": ends, "adam": ends}))
    *lines, last = str(shown).splitlines()
    assert lines == [answer.sentence for answer in shown.answers]
    assert last == "Judged by training loss, in 6 replicates."

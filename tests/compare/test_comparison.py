"""Evidence for comparisons: the protocol is kept, and the answers are those of the runs."""

import dataclasses
import functools
import math
from collections import Counter

import damage
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pyarrow as pa
import pytest
from pyarrow import parquet

from jaxnet import batches, losses, network, optimizers
from jaxnet._guards import checks, records, sizes, verify
from jaxnet.compare import comparison, phases, statistics, sweep
from jaxnet.compare.protocol import Judging, Protocol, Search, Tuning
from jaxnet.compare.runs import Log, Record, Runs, Seconds
from jaxnet.devices import Provenance
from jaxnet.errors import InputError
from jaxnet.report import page
from jaxnet.storage import files, fingerprints

POINTS = np.random.default_rng(0).normal(size=7)
HELD, UNSEEN = POINTS[:3] + 0.5, POINTS[3:] - 0.5


def distance(params, batch):
    """Full batches at rate 1 reach the mean in one step, from any start."""
    return jnp.mean((params - batch) ** 2) / 2


def size(params, batch):
    return jnp.abs(params) + 0 * jnp.sum(batch)


def init(key):
    return 3 + jax.random.normal(key)


def momentum(learning_rate):
    return optax.sgd(learning_rate, momentum=0.5)


def still(learning_rate):
    """It goes nowhere: its training losses are those of the start on each batch."""
    return optax.sgd(0 * learning_rate)


SETTINGS = {
    "epochs": 4,
    "batch_size": 2,
    "validation": HELD,
    "test": UNSEEN,
    "metrics": {"size": size},
    "learning_rates": [0.05, 0.2, 0.8],
    "tuning_seeds": 2,
    "seeds": 7,
    "title": "points",
}
OWN = {"twin": "sgd", "momentum": momentum, "still": still}


def compare(data=POINTS, own=OWN, loss=distance, begin=init, **settings):
    with jax.enable_x64(True):
        return comparison.compare(loss, begin, data, own, **(SETTINGS | settings))


@pytest.fixture(scope="module")
def found():
    return compare()


def runs_of(found, name, phase):
    (runs,) = [each for each in found.runs if (each.optimizer, each.phase) == (name, phase)]
    return runs


def answer_of(found, name):
    (answer,) = [each for each in found.answers if each.optimizer == name]
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


def without_times(found):
    times = {"compile_seconds": 0.0, "run_seconds": 0.0, "step_seconds": 0.0}
    answers = [dataclasses.replace(each, **times) for each in found.answers]
    seconds = dict.fromkeys(found.log.seconds, NO_TIME)
    log = dataclasses.replace(found.log, seconds=seconds)
    return dataclasses.replace(found, answers=answers, log=log)


def test_the_protocol_is_stated_and_kept(found):
    """Seeds that tune do not judge; every optimizer gets the same number of rates and runs."""
    stated = found.protocol
    assert set(stated.tuning.seeds).isdisjoint(stated.judging.seeds)
    assert (len(stated.tuning.seeds), len(stated.judging.seeds)) == (2, 7)
    assert (stated.judging.data, stated.tuning.data, stated.steps) == ("test", "validation", 12)
    assert stated.rows == {"training": 7, "validation": 3, "test": 4}
    assert found.answers[0].optimizer == "sgd"
    assert found.steps.tolist() == [3, 6, 9, 12]
    for name in ("sgd", *OWN):
        tuning, tuned, default = (
            runs_of(found, name, phase) for phase in ("tuning", "tuned", "default")
        )
        assert not tuning.test
        rates, count = np.unique(tuning.learning_rate, return_counts=True)
        assert set(count) == {2}
        assert set(rates) >= {0.05, 0.2, 0.8}
        assert set(tuning.seed) == {0, 1}
        for runs in (tuned, default):
            assert tuple(runs.seed) == stated.judging.seeds
            assert set(runs.test) == {"loss", "size"}
        answer = answer_of(found, name)
        assert set(tuned.learning_rate) == {answer.learning_rate} <= set(rates)
        assert set(default.learning_rate) == {answer.default_rate}
        assert stated.optimizers[name].customary_rate == answer.default_rate
        assert (answer.rates, answer.trials) == (len(rates), len(tuning.seed))


def test_the_same_seed_has_the_same_start_and_batches(found, x64):
    """Seen by an optimizer that goes nowhere, and by plain SGD itself: NumPy, batch by batch."""
    for seed, ours, theirs in zip(
        found.protocol.judging.seeds,
        runs_of(found, "still", "tuned").loss,
        runs_of(found, "sgd", "default").loss,
        strict=True,
    ):
        order, at = batches.shuffled(7, 2, 4, seed), float(init(jax.random.key(seed)))
        stays = [np.mean((at - POINTS[chosen]) ** 2) / 2 for chosen in order]
        np.testing.assert_allclose(ours, np.reshape(stays, (4, 3)).mean(1), rtol=1e-12)
        seen = []
        for chosen in order:
            seen.append(np.mean((at - POINTS[chosen]) ** 2) / 2)
            at -= 0.01 * (at - POINTS[chosen].mean())
        np.testing.assert_allclose(theirs, np.reshape(seen, (4, 3)).mean(1), rtol=1e-12)


def test_plain_sgd_under_another_name_is_plain_sgd(found):
    for phase in ("tuning", "tuned", "default"):
        assert same(runs_of(found, "sgd", phase)[1:], runs_of(found, "twin", phase)[1:])
    twin = answer_of(found, "twin")
    assert twin.verdict == "not told apart"
    assert twin.difference.estimate == 0
    assert twin.p_value == 1
    assert "loss the same" in twin.sentence


def test_the_target_is_plain_sgd_at_its_end_on_the_data_tuned_on():
    """The test data lies in the middle: no run is ever as near to the validation data."""
    found = compare(own=["sgd"], validation=POINTS, test=np.full(4, POINTS.mean()))
    runs = runs_of(found, "sgd", "tuned")
    curves = runs.validation["loss"]
    reaches = curves <= np.median(curves[:, -1])
    first = np.where(reaches.any(axis=1), found.steps[reaches.argmax(axis=1)], np.inf)
    (sgd,) = found.answers
    assert sgd.reached == reaches.any(axis=1).sum() >= 4
    assert sgd.steps_to_target.estimate == np.sort(first)[3]
    assert np.median(runs.test["loss"]) < curves.min()


def test_what_is_worse_is_told(found):
    still = answer_of(found, "still")
    assert still.verdict == "worse"
    assert 0 < still.difference.low < still.difference.estimate
    assert still.adjusted <= 0.05
    assert found.answers[-1] == still


@pytest.mark.parametrize(
    ("rates", "best", "edge", "tried"),
    [
        ([0.25, 0.5, 1.2, 1.6], 1.2, "", 4),
        ([0.01, 0.02], 1.28, "", 10),
        ([1e-4, 2e-4], 2e-4 * 2**8, "highest", 10),
        ([1.6, 1.9], 1.6 * (1.6 / 1.9) ** 3, "", 6),
        ([30.0, 60.0, 120.0], 30 / 2**5, "", 11),
        ([1.5, 1.5**1.01], 1.5 / 1.5**0.08, "lowest", 10),
        ([1.9], 1.9, "", 1),
        ([1e150, 1e200], 1.0, "", 6),
        ([1e200, 1e201], 1e192, "lowest", 10),
    ],
)
def test_the_best_rate_is_found_beyond_the_range(rates, best, edge, tried):
    """On full batches the loss left is (1 - rate)^2T of what it was: the rate nearest 1 is best."""
    found = compare(own=["sgd"], learning_rates=rates, batch_size=None, validation=POINTS)
    (answer,) = found.answers
    assert answer.learning_rate == pytest.approx(best, rel=1e-9)
    assert (answer.at_edge, answer.rates) == (edge, tried)
    lost = best > 1e9
    # Where every rate tried is lost, why is said, and not that it may do better beyond.
    assert (f"still the {edge} tried" in answer.sentence) == (bool(edge) and not lost)
    assert ("was not finite in step" in answer.sentence) == lost
    assert answer.diverged == (7 if lost else 0)
    if lost:
        assert "7 of 7 seeds diverged" in answer.sentence
        assert math.isnan(answer.mean.estimate)


@pytest.mark.parametrize("validation", [None, np.zeros(2)])
def test_the_test_data_takes_no_part_in_tuning(validation):
    """From 1 to 1 - rate in a step: rate 1 is best, though 1.6 would be where the test data is."""
    found = compare(
        np.zeros(4),
        ["sgd"],
        begin=lambda key: jnp.ones(()) + 1e-6 * jax.random.normal(key),
        learning_rates=[0.5, 1.0, 1.6, 1.9],
        batch_size=None,
        epochs=2 if validation is None else 1,
        validation=validation,
        test=np.full(3, -0.6),
    )
    (answer,) = found.answers
    assert answer.learning_rate == 1
    assert runs_of(found, "sgd", "tuning").test == {}
    assert runs_of(found, "sgd", "tuned").test["loss"] == pytest.approx(np.full(7, 0.18), rel=1e-4)


def test_without_a_test_the_data_tuned_on_judges():
    found = compare(own=["sgd"], test=None)
    assert found.protocol.judging.data == "validation"
    assert runs_of(found, "sgd", "tuned").test == {}
    ended = runs_of(found, "sgd", "tuned").validation
    assert answer_of(found, "sgd").median.estimate == np.median(ended["loss"][:, -1])
    assert answer_of(found, "sgd").metrics.keys() == {"size"}
    bare = compare(own=["sgd"], test=None, validation=None, metrics=None)
    assert bare.protocol.judging.data == "training"
    assert not runs_of(bare, "sgd", "tuned").validation
    assert answer_of(bare, "sgd").metrics == {}


# Answers from runs made by hand.

SEEDS = np.arange(3, 11)


def made(name, phase, ends, rate=0.2, seeds=SEEDS):
    """Runs that end at these losses, ten higher halfway; infinite is diverged at step 7."""
    ends = np.asarray(ends, np.float64)
    lost = ~np.isfinite(ends)
    curves = np.where(np.stack([np.zeros_like(lost), lost], 1), np.nan, ends[:, None])
    curves[:, 0] = np.where(lost, 50.0, ends + 10)
    return Runs(
        name,
        phase,
        np.broadcast_to(np.float64(rate), ends.shape),
        np.asarray(seeds),
        np.where(lost, 7, -1),
        np.full(len(ends), 10),
        curves,
        {},
        {},
    )


def answered(ends, tuning=(2.0, 1.0, 1.05), target=None, seeds=SEEDS):
    """What `of_runs` says of these final losses, by name."""
    rates, tries = np.repeat([0.1, 0.2, 0.4], 3), np.tile([0, 1, 2], 3)
    # The median over three seeds is the middle one, also where another diverged.
    tuned_on = np.ravel([[each, each - 0.5, np.inf] for each in tuning])
    runs = []
    for name, final in ends.items():
        runs.append(made(name, "tuning", tuned_on, rates, tries))
        runs.append(made(name, "tuned", final, seeds=seeds))
        runs.append(made(name, "default", np.full(len(final), 9.0), 0.01, seeds))
    fewest = statistics.fewest_seeds(max(1, len(ends) - 1))
    protocol = Protocol(
        optimizers={name: Search((0.1, 0.2, 0.4), 0.01) for name in ends},
        tuning=Tuning("training", (0, 1, 2)),
        judging=Judging("training", tuple(int(seed) for seed in seeds), fewest, target=target),
        epochs=2,
        batch_size=1,
        steps=10,
        rows={"training": 5},
        metrics=(),
        data="",
        start="",
        program="",
    )
    log = Log(
        title="by hand",
        command="",
        provenance=Provenance(*[""] * 8),
        verified="",
        seconds=dict.fromkeys(ends, Seconds(2.0, 5.0, 1e-6)),
        reasons={},
        unable={},
    )
    return comparison.of_record(Record(protocol, log, np.array([5, 10]), runs))


def test_answers_worked_by_hand():
    ends = np.arange(1.0, 9.0)
    finals = {"sgd": ends, "lost": ends + np.inf, "same": ends, "lower": ends - 0.5}
    found = answered(finals)
    sgd, lower, same_, lost = found.answers
    assert [each.optimizer for each in found.answers] == ["sgd", "lower", "same", "lost"]
    assert [each.verdict for each in found.answers] == [
        "baseline",
        "better",
        "not told apart",
        "worse",
    ]
    # The interquartile mean of 1 to 8 is that of 3, 4, 5, 6.
    assert (sgd.mean.estimate, sgd.median.estimate, sgd.best.estimate) == (4.5, 4.5, 4.5)
    assert (lower.mean.estimate, lower.default.estimate, lower.default_rate) == (4.0, 9.0, 0.01)
    # All eight signs alike: two of 2^8; Holm takes the smaller two of three p-values thrice.
    assert (lower.p_value, same_.p_value, lost.p_value) == (2 / 256, 1, 2 / 256)
    assert lower.adjusted == lost.adjusted == 6 / 256
    assert lower.difference == (-0.5, -0.5, -0.5)
    assert (sgd.diverged, lost.diverged) == (0, 8)
    assert all(math.isnan(each) for each in (*lost.mean, *lost.difference))
    # The target is 4.5, the median of SGD; half of the runs in its own case never reach it.
    assert (sgd.steps_to_target.estimate, sgd.reached) == (10, 4)
    assert (lower.steps_to_target.estimate, lower.reached) == (10, 5)
    assert (math.isnan(lost.steps_to_target.estimate), lost.reached) == (True, 0)
    assert (sgd.learning_rate, sgd.at_edge, sgd.rates, sgd.trials) == (0.2, "", 3, 9)
    assert sgd.forgiving == pytest.approx(2 / 3)
    assert sgd.best_of == pytest.approx([4.05 / 3, 3.05 / 3, 1.0])
    # 9 runs tuned, 8 at the tuned rate, 8 at the customary one, ten steps each.
    assert (sgd.compile_seconds, sgd.run_seconds, sgd.step_seconds) == (2.0, 5.0, 1e-6)
    assert sgd.sentence == "Plain SGD, at its tuned rate 0.2, is the baseline."
    assert lower.sentence == (
        "lower is better than plain SGD: training loss lower by 0.5 (95% interval of the "
        "difference -0.5 to -0.5), p = 0.023 corrected for all comparisons, 8 seeds."
    )
    assert same_.sentence == (
        "same and plain SGD are not told apart by 8 seeds: training loss the same (95% interval of "
        "the difference +0 to +0), p = 1 corrected for all comparisons."
    )
    assert lost.sentence == (
        "lost is worse than plain SGD, p = 0.023 corrected for all comparisons, 8 seeds. 8 of 8 "
        "seeds diverged."
    )


def test_one_seed_tells_nothing_apart():
    found = answered({"sgd": [2.0], "other": [1.0]}, seeds=[3])
    other = found.answers[1]
    assert (other.verdict, other.p_value, other.seeds_needed) == ("not told apart", 1, None)
    assert math.isnan(other.difference.low)
    assert other.sentence == (
        "other and plain SGD are not told apart by 1 seed: training loss lower by 1, p = 1 "
        "corrected for all comparisons. So few cannot tell: give at least 6."
    )


def test_where_all_seeds_lean_one_way_the_fewest_that_can_tell_are_asked_for():
    """Eight of eight: p = 2/256, and with 99 others it would take 2^(1-S) * 100 <= 0.05."""
    ends = np.arange(1.0, 9.0)
    many = {f"same {i}": ends for i in range(99)}
    found = answered({"sgd": ends, "lower": ends - 0.1} | many)
    (lower,) = [each for each in found.answers if each.optimizer == "lower"]
    assert lower.verdict == "not told apart"
    assert lower.seeds_needed == 12
    assert "So few cannot tell: give at least 12." in lower.sentence


def test_both_diverged_is_no_difference():
    lost = np.full(8, np.inf)
    (_, other) = answered({"sgd": lost, "other": lost}).answers
    assert other.sentence == (
        "other and plain SGD are not told apart by 8 seeds, p = 1 corrected for all comparisons. 8 "
        "of 8 seeds diverged."
    )


def test_seeds_are_as_many_as_it_takes_to_tell():
    assert len(compare(own=["sgd"], seeds=None).protocol.judging.seeds) == 10
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "fewest_seeds", lambda tests, level: 11)
        assert len(compare(own=["sgd"], seeds=None).protocol.judging.seeds) == 13


def test_a_changed_closure_is_another_program():
    scale = [1.0]

    def scaled(params, batch):
        return scale[0] * distance(params, batch)

    first = compare(own=["sgd"], loss=scaled)
    scale[0] = 2.0
    second = compare(own=["sgd"], loss=scaled)
    assert not np.array_equal(first.runs[0].loss, second.runs[0].loss)


def test_more_seeds_are_asked_for_where_they_would_tell():
    ends = np.arange(1.0, 9.0)
    leaning = ends - np.array([3, 2, 2.5, 1, 1.5, -1, 0.5, -0.7])
    (_, other) = answered({"sgd": ends, "other": leaning}).answers
    assert other.verdict == "not told apart"
    assert other.seeds_needed > 8
    assert f"About {other.seeds_needed} seeds would tell" in other.sentence


def test_a_baseline_that_diverges_sets_no_target():
    """Half of its runs: nothing is reached. Fewer: their median still counts them as the worst."""
    ends = np.arange(1.0, 9.0)
    half = np.where(ends > 4, np.inf, ends)
    sgd, other = answered({"sgd": half, "other": ends}).answers
    assert (sgd.reached, other.reached) == (0, 0)
    assert math.isnan(other.steps_to_target.estimate)
    assert other.verdict == "not told apart"
    sgd, other = answered({"sgd": np.where(ends > 5, np.inf, ends), "other": ends}).answers
    assert (sgd.reached, other.reached) == (4, 4)
    sgd, other = answered({"sgd": half, "other": ends}, target=2.0).answers
    assert (sgd.reached, other.reached) == (2, 2)


def test_a_rate_at_which_half_diverge_is_no_good():
    """Of two seeds either, of three two; of even counts the higher of the middle ones counts."""
    ends = {0.1: [1.0, np.inf], 0.2: [3.0, 2.0], 0.4: [np.inf, np.inf]}
    runs = made(
        "sgd", "tuning", np.ravel(list(ends.values())), np.repeat(list(ends), 2), [0, 1] * 3
    )
    rates, middle = runs.by_rate()
    assert rates.tolist() == [0.1, 0.2, 0.4]
    assert middle.tolist() == [np.inf, 3.0, np.inf]


def test_what_a_run_does_once_it_diverged_does_not_count():
    """Step 5 is the sixth: what was measured after five steps was before it."""
    runs = made("sgd", "tuned", [1.0, 2.0, 3.0], seeds=[0, 1, 2])
    runs = runs._replace(diverged=np.array([-1, 5, 4]))
    assert runs.curves(np.array([5, 10])).tolist() == [[11, 1], [12, np.inf], [np.inf, np.inf]]
    assert runs.final("training").tolist() == [1, np.inf, np.inf]


def test_all_that_ties_is_taken_at_the_lowest_rate():
    assert answered({"sgd": [1.0] * 8}, tuning=(1.0, 1.0, 1.0)).answers[0].learning_rate == 0.1


# Files.


def test_what_is_saved_is_read_again(found, tmp_path):
    comparison.save(found, tmp_path)
    read = comparison.load(tmp_path)
    assert same(read, found)
    runs, curves = (parquet.read_table(tmp_path / f"{name}.parquet") for name in ("runs", "curves"))
    named = ["optimizer", "phase", "learning_rate", "seed"]
    assert runs.column_names == [*named, "diverged", "evaluations", "test_loss", "test_size"]
    assert curves.column_names == [*named, "step", "loss", "validation_loss", "validation_size"]
    total = sum(len(each.seed) for each in found.runs)
    assert (runs.num_rows, curves.num_rows) == (total, 4 * total)
    assert curves["step"].to_pylist() == [3, 6, 9, 12] * total
    row = next(
        row
        for row in curves.to_pylist()
        if (row["optimizer"], row["phase"], row["seed"], row["step"]) == ("twin", "tuned", 5, 9)
    )
    twin = runs_of(found, "twin", "tuned")
    assert (row["loss"], row["validation_size"]) == (
        twin.loss[3, 2],
        twin.validation["size"][3, 2],
    )
    scored = {row["phase"] for row in runs.to_pylist() if row["test_loss"] is not None}
    assert scored == {"tuned", "default"}


def test_runs_that_diverged_are_read_again(tmp_path):
    ends = np.where(np.arange(8) > 3, np.inf, 1.0)
    found = answered({"sgd": ends, "other": ends})
    comparison.save(found, tmp_path)
    assert same(comparison.load(tmp_path), found)


@pytest.mark.parametrize("missing", ["comparison.json", "runs.parquet", "curves.parquet"])
def test_half_a_comparison_is_none(missing, found, tmp_path):
    comparison.save(found, tmp_path)
    (tmp_path / missing).unlink()
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
        ("protocol", ["steps"], 11, "steps: expected 12, got 11"),
        ("protocol", ["epochs"], -4, "batch_size: expected .*, got"),
        ("protocol", ["batch_size"], 0, "batch_size: expected .*, got 0"),
        ("protocol", ["rows"], {}, "tuning.data: expected training, got validation"),
        ("protocol", ["rows", "training"], None, "rows: expected rows, got"),
        ("protocol", ["rows"], [], "rows: expected an object, got .."),
        ("protocol", ["rows", "test"], "4", "rows.test: expected a whole number, got '4'"),
        ("protocol", ["metrics"], "size", "metrics: expected a list, got 'size'"),
        ("protocol", ["metrics"], ["other"], "expected .*'other'.* of the validation"),
        ("protocol", ["optimizers"], {}, "baseline: expected the first"),
        ("protocol", ["optimizers", "sgd"], 3, "optimizers.sgd: expected an object, got 3"),
        (
            "protocol",
            ["optimizers", "twin", "learning_rates"],
            [0.1, "0.2"],
            r"optimizers.twin.learning_rates\[1\]: expected a finite number, got '0.2'",
        ),
        (
            "protocol",
            ["optimizers", "twin", "learning_rates"],
            [],
            "optimizers.twin.learning_rates: expected rates above zero",
        ),
        (
            "protocol",
            ["optimizers", "twin", "customary_rate"],
            10**400,
            "customary_rate: expected a",
        ),
        ("protocol", ["judging", "data"], "train", "judging.data: expected training or .*, got"),
        ("protocol", ["judging", "data"], "validation", "judging.data: expected test, got"),
        ("protocol", ["judging", "seeds"], [2, 2], "judging.seeds: expected seeds, each once"),
        ("protocol", ["judging", "seeds"], [9, 10], "expected the seeds .9, 10., got"),
        ("protocol", ["judging", "level"], 2, "judging.level: expected a number between 0 and 1"),
        ("protocol", ["tuning", "seeds"], [], "tuning.seeds: expected seeds"),
        ("protocol", ["tuning"], [[[]]], "tuning: expected an object"),
        ("comparison", ["seconds"], None, "seconds: expected title, .*, got none"),
        ("comparison", ["seconds", "sgd"], None, "seconds: expected those of .*sgd"),
        ("comparison", ["seconds", "sgd", "run"], "1", "seconds.sgd.run: expected a finite number"),
        ("comparison", ["seconds", "sgd", "run"], -1, "seconds.sgd.run: expected no time below"),
        ("protocol", ["optimizers", "sgd", "customary_rate"], 0.5, "default runs of sgd: expected"),
        (
            "protocol",
            ["optimizers", "sgd", "learning_rates"],
            [0.3],
            "tuning runs of sgd: expected",
        ),
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
def test_a_damaged_record_is_refused_by_file_and_field(file, fields, value, words, found, tmp_path):
    comparison.save(found, tmp_path)
    damaged(tmp_path / f"{file}.json", *fields, value=value)
    with pytest.raises(InputError, match=words) as refused:
        comparison.load(tmp_path)
    assert str(tmp_path) in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("file", ["protocol", "comparison"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"\xff", b"[" * 10**5, b"9" * 5000])
def test_what_is_no_record_is_refused(content, file, found, tmp_path):
    comparison.save(found, tmp_path)
    (tmp_path / f"{file}.json").write_bytes(content)
    with pytest.raises(InputError, match=rf"{file}\.json: expected the file that jaxnet wrote"):
        comparison.load(tmp_path)


@pytest.mark.parametrize("file", ["runs", "curves"])
def test_tables_that_are_not_of_the_record_are_refused(file, found, tmp_path):
    comparison.save(found, tmp_path)
    path = tmp_path / f"{file}.parquet"
    table = parquet.read_table(path)
    faults = [
        table.slice(1),
        table.slice(0, 0),
        table.drop_columns("seed"),
        table.set_column(3, "seed", [["x"] * table.num_rows]),
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
        with pytest.raises(InputError, match=f"^{tmp_path}: .*; make it again"):
            comparison.load(tmp_path)
    put(b"PAR1")
    with pytest.raises(InputError, match=f"{file}.parquet: expected a table of Parquet"):
        comparison.load(tmp_path)


def test_a_protocol_is_written_once_and_never_changed(found, tmp_path):
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.protocol.steps = 3
    comparison.save(found, tmp_path)
    path = tmp_path / "protocol.json"
    content, written = path.read_bytes(), path.stat().st_mtime_ns
    assert records.rebuilt(Protocol, files.read_record(path)[0], path) == found.protocol
    comparison.save(found, tmp_path)
    assert compare(folder=tmp_path, title="another").log.title == "another"
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (content, written)
    assert comparison.load(tmp_path).log.title == "another"
    other = dataclasses.replace(found, protocol=dataclasses.replace(found.protocol, data="x"))
    with pytest.raises(InputError, match="holds a comparison with another data; give"):
        comparison.save(other, tmp_path)


@pytest.mark.parametrize(("module", "folder"), [("scipy", None), ("pyarrow", "out")])
def test_a_missing_extra_is_named_before_anything_compiles(
    module, folder, tmp_path, monkeypatch, uncompiled
):
    find = checks.importlib.util.find_spec

    def find_spec(name):
        return None if name == module else find(name)

    monkeypatch.setattr(checks.importlib.util, "find_spec", find_spec)
    with pytest.raises(ImportError, match=rf"{module} missing; install .*\[compare\]"):
        compare(folder=folder and tmp_path / folder)


@pytest.mark.usefixtures("unchecked")
def test_whole_numbers_and_those_of_numpy_are_kept_as_others_are(tmp_path):
    entry = dataclasses.replace(optimizers.entry("sgd"), default=1)
    settings = {"target": 1, "epochs": np.int64(2), "seeds": np.int32(3), "folder": tmp_path}
    theirs = compare(own={"own": entry}, **settings)
    assert comparison.load(tmp_path).protocol == theirs.protocol
    assert theirs.protocol.judging.target == 1.0
    again = compare(own={"own": entry}, **(settings | {"target": np.float32(1), "epochs": 2}))
    assert again.protocol == theirs.protocol


def test_the_order_of_optimizers_is_no_other_comparison(tmp_path):
    own = {"own": momentum, "other": still}
    compare(own=own, folder=tmp_path)
    assert compare(own=dict(reversed(own.items())), folder=tmp_path).answers


def test_hyperparameters_may_be_called_as_the_arguments_are():
    def make(learning_rate, data, epochs, seeds, loss, title):
        return optax.sgd(learning_rate * data * epochs * seeds * loss, momentum=title)

    named = dict.fromkeys(("data", "epochs", "seeds", "loss"), 1.0)
    theirs = compare(own={"own": functools.partial(make, title=0.5, **named), "momentum": momentum})
    assert same(runs_of(theirs, "own", "tuned")[1:], runs_of(theirs, "momentum", "tuned")[1:])


def test_a_damaged_comparison_is_refused(found, tmp_path):
    """Whatever is changed, and in whichever of its files, by its name."""
    comparison.save(found, tmp_path / "ours")
    ends = np.where(np.arange(8) > 3, np.inf, 1.0)
    comparison.save(answered({"sgd": ends, "other": ends}), tmp_path / "theirs")
    theirs = (path for path in (tmp_path / "theirs").iterdir() if path.is_file())
    others = {path.name: [path.read_bytes()] for path in theirs}
    kinds = []
    for kind, path in damage.drawn(tmp_path / "ours", tmp_path / "copy", others):
        named = r"(protocol|runs|curves|comparison)\.\w+: expected"
        with pytest.raises(InputError, match=rf"expected a finished comparison, got .*{named}"):
            comparison.load(path.parent)
        kinds.append(kind)
    print(Counter(kinds))
    assert len(kinds) == damage.COUNT


@pytest.mark.usefixtures("unchecked")
def test_the_time_of_a_step_is_of_the_fastest_tile():
    """The first tile of a process warms it up, and is no part of an optimizer's own time."""
    ticks = iter([9.0, 3.0])
    task = sweep.Task(None, None, (np.zeros(8),), 4, 5)
    shape = sweep.Tile(2, 2)
    bench = phases.Bench(task, shape, None, None, planned=0, verified="")
    empty = np.zeros((1, 5))
    swept = sweep.Swept(empty, {}, {}, np.array([-1]), np.array([10]))
    taken = [sweep.Seconds(0.5, np.array([next(ticks)])) for _ in range(2)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep, "run", lambda *a, **k: (swept, taken.pop(0)))
        for phase in ("tuning", "fresh seeds"):
            bench.train(optimizers.entry("sgd"), phase, [(0, 0.1)])
    assert bench.seconds["sgd"] == Seconds(0.5, 12.0, 3 / (shape.runs * 10))


def test_plain_sgd_differs_from_itself_no_more_often_than_the_level_says():
    """1,000 comparisons of ten runs with ten others: within sampling error of at most 5%."""
    entry = optimizers.entry("sgd")
    task = sweep.Task(distance, init, POINTS, len(POINTS), 4)
    pairs = [(seed, 0.05) for seed in range(20_000)]
    with jax.enable_x64(True):
        swept, _ = sweep.run(task, entry, pairs, sweep.tile(task, len(pairs), rates=1))
    compared = [statistics.paired(a, b) for a, b in swept.loss[:, -1].reshape(1000, 2, 10)]
    differs = np.mean([each.p_value <= 0.05 for each in compared])
    covered = np.mean([each.difference.low <= 0 <= each.difference.high for each in compared])
    error = math.sqrt(0.05 * 0.95 / 1000)
    assert 0.05 - 4 * error < differs < 0.05 + 2 * error
    assert covered == 1 - differs


class StopError(Exception):
    pass


@pytest.mark.parametrize("after", [1, 4, 7])
def test_an_interrupted_comparison_goes_on_where_it_was(after, found, tmp_path):
    """What was done before the interruption is not done again."""
    calls = []

    def interrupt(doing, done, planned):
        if not doing.startswith("compiling"):
            calls.append((doing, done, planned))
        if len(calls) == after:
            raise StopError

    with pytest.raises(StopError):
        compare(folder=tmp_path, on_progress=interrupt)
    assert not (tmp_path / "comparison.json").exists()
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    assert len(written) == after
    calls.clear()
    after = -1
    resumed = compare(folder=tmp_path, on_progress=interrupt)
    assert same(without_times(resumed), without_times(found))
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert same(without_times(comparison.load(tmp_path)), without_times(found))
    done = [done for _, done, _ in calls]
    assert done == sorted(done)
    assert calls[-1][1] == calls[-1][2] == sum(len(each.seed) for each in found.runs)


def squared(params, batch):
    return jnp.mean((params - batch) ** 2)


@pytest.mark.parametrize(
    ("differs", "changed"),
    [
        ("data", {"data": POINTS + 1}),
        ("epochs, steps", {"epochs": 5}),
        ("judging.seeds", {"seeds": 8}),
        ("program", {"loss": squared}),
        ("program", {"own": {"momentum": lambda learning_rate: optax.sgd(learning_rate, 0.9)}}),
        ("metrics, program", {"metrics": {}}),
        ("start", {"begin": lambda key: 4 + jax.random.normal(key)}),
        ("optimizers", {"learning_rates": [0.05, 0.2]}),
        ("judging.target", {"target": 0.5}),
    ],
)
def test_a_folder_of_another_comparison_is_refused(differs, changed, tmp_path, uncompiled):
    given = {"own": {"momentum": momentum}, "folder": tmp_path}
    with pytest.raises(CompiledError):
        compare(**given)
    with pytest.raises(InputError, match=f"^folder: .* another {differs}; give another folder"):
        compare(**(given | changed))
    with pytest.raises(CompiledError):
        compare(**given)
    (tmp_path / "protocol.json").write_text("{")
    with pytest.raises(InputError, match=r"protocol.json: expected the file that jaxnet wrote"):
        compare(**given)


# Bad input.


class CompiledError(Exception):
    pass


@pytest.fixture
def uncompiled(monkeypatch):
    """Have whatever comes as far as to compile a tile raise."""

    def refuse(*_):
        raise CompiledError

    for name in ("compiled", "compile_all"):
        monkeypatch.setattr(sweep, name, refuse)


def branching(learning_rate):
    return optax.sgd(learning_rate if learning_rate > 0.1 else 0.1)


def branching_later(learning_rate):
    def update(updates, state, params=None):
        return (updates if learning_rate > 0.1 else params), state

    return optax.GradientTransformation(lambda params: (), update)


def by_numpy(key):
    return jnp.asarray(np.random.default_rng(int(jax.random.bits(key))).normal())


SQUARES = losses.BatchLoss(network.forward, optax.losses.l2_loss)
LABELLED = losses.BatchLoss(network.forward, optax.losses.softmax_cross_entropy_with_integer_labels)
X, LABELS = np.ones((4, 3)), np.array([0, 1, 1, 0])
LABELS_GIVEN = {
    "loss": LABELLED,
    "begin": lambda key: network.init(key, [3, 4, 2]),
    "data": (X, LABELS),
    "validation": None,
    "test": None,
    "metrics": None,
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
        ({"own": []}, "optimizers: expected at least one to hold against plain SGD, got none; "),
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
            "optimizers: expected sgd to be plain SGD, .*, got one of your",
        ),
        (
            {"own": {"mine": branching}},
            "optimizers: expected mine to be made of a traced .*; a sch",
        ),
        (
            {"own": {"mine": branching_later}},
            "optimizers: expected mine to be made of a traced .*; ",
        ),
        (
            {"learning_rates": []},
            r"learning_rates: expected numbers for sgd, .*, got \[\]; such as",
        ),
        ({"learning_rates": [0.1, -1]}, r"learning_rates: expected .*, got \[0.1, -1\]; such as"),
        ({"learning_rates": [0.1, np.nan]}, r"learning_rates: .*, got \[0.1, nan\]; such as"),
        ({"learning_rates": [0.1, np.inf]}, r"learning_rates: .*, got \[0.1, inf\]; such as"),
        ({"learning_rates": [0.0]}, r"learning_rates: expected .*, got \[0.0\]; such as"),
        (
            {"learning_rates": "fast"},
            "learning_rates: expected numbers for sgd, .*, got fast; such",
        ),
        ({"learning_rates": {"twin": [-1]}}, "learning_rates: expected numbers for twin, .*, got"),
        (
            {"learning_rates": {"adam": [1]}},
            "learning_rates: expected names among sgd, twin, momentum, still, got adam; leave them",
        ),
        (
            {"loss": lambda params, batch, key: 0.0},
            "loss: expected a function of .* raised .*; bind",
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
            {"metrics": {"s": lambda params, batch: batch}},
            "s: expected one real number, .*; reduce",
        ),
        (
            {"metrics": {"loss": size}},
            "metrics: expected names other than loss, .*, got loss; rename",
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
            "init: expected a pure function of a jax.random.key .*; draw",
        ),
        (
            {"begin": by_numpy},
            "init: expected a pure function .* that can be traced; it raised .*; draw",
        ),
        ({"batch_size": 8}, "batch_size: expected 1 to the 7 rows of data, got 8; None takes all"),
        ({"batch_size": 0}, "batch_size: expected at least 1, got 0"),
        ({"epochs": 0}, "epochs: expected at least 1, got 0"),
        ({"epochs": 1.5}, "epochs: expected a whole number, got 1.5"),
        ({"budget": 0}, "budget: expected at least 1, got 0"),
        ({"seeds": 0}, "seeds: expected at least 1, got 0"),
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
    words = r"^budget: expected what fits .* 4,096 bytes .* got 80 runs"
    with pytest.raises(InputError, match=words):
        compare()
    # What the runs keep fits it; what computes them does not.
    monkeypatch.setattr(sizes, "check_runs", lambda *_: 0)
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


def compare_models(loss, begin, names=("adam",)):
    data, validation, test = table()
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        found = comparison.compare(
            loss,
            begin,
            data,
            list(names),
            validation=validation,
            test=test,
            epochs=3,
            batch_size=4,
            learning_rates=[0.01, 0.1, 0.3],
            tuning_seeds=2,
            seeds=3,
        )
    return found


@pytest.fixture(scope="module")
def ours():
    return compare_models(SQUARES, lambda key: network.init(key, [3, 4, 2]))


def assert_same_runs(found, ours):
    """The same network: its start, batches, losses and choice of rate, but for rounding."""
    for theirs in found.runs:
        mine = runs_of(ours, theirs.optimizer, theirs.phase)
        for a, b in zip(jax.tree.leaves(mine[2:]), jax.tree.leaves(theirs[2:]), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9)


def plain_loss(params, batch):
    x, y = batch
    hidden = jax.nn.relu(x @ params["in"] + params["bias"][None])
    return jnp.mean((hidden @ params["out"] + params["shift"][None] - y) ** 2) / 2


def plain_init(key):
    (w, b), (v, c) = network.init(key, [3, 4, 2])
    return {"in": w.T, "bias": b, "out": v.T, "shift": c}


def test_plain_functions_are_compared(ours):
    assert_same_runs(compare_models(plain_loss, plain_init, ["sgd"]), ours)


def test_flax_linen_models_are_compared(ours):
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

    assert_same_runs(compare_models(loss, begin, ["sgd"]), ours)


def test_flax_nnx_models_are_compared(ours, x64):
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

    assert_same_runs(compare_models(loss, begin), ours)


def test_equinox_models_are_compared(ours):
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

    assert_same_runs(compare_models(loss, begin), ours)


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
    found = comparison.compare(
        loss,
        init,
        (x, 2 * x),
        {"sm3": "sm3", "climbing": climbing, "adam": "adam"},
        epochs=100,
        batch_size=4,
        budget=2,
        folder=tmp_path,
    )
    answers = {answer.optimizer: answer for answer in found.answers}
    assert list(answers)[-1] == "sm3"
    assert answers["sm3"].verdict == "cannot run"
    assert "a step from init(key) raised IndexError" in answers["sm3"].sentence
    assert len(found.ran) == 3
    assert "of params['offset']: the optimizer adds the gradient" in answers["climbing"].sentence
    assert "beyond" not in answers["climbing"].sentence
    assert list(found.log.reasons) == ["climbing"]
    again = comparison.load(tmp_path)
    assert [a.sentence for a in again.answers] == [a.sentence for a in found.answers]
    assert found.log.verified == verify.AGREES
    page.write_page(found, tmp_path / "report.html")
    assert "cannot run" in (tmp_path / "report.html").read_text()
    with pytest.raises(InputError, match=r"expected sm3 to be made of .* IndexError"):
        comparison.compare(loss, init, (x, 2 * x), ["sm3"], epochs=1, batch_size=4)

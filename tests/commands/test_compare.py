"""Evidence for `jaxnet compare`: what its settings ask for is what is compared."""

import dataclasses
import functools
import itertools
from concurrent import futures

import jax
import numpy as np
import planted
import pytest

from jaxnet.commands import _workers, compare, settings
from jaxnet.compare import Problem, along, comparison, load
from jaxnet.errors import InputError


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.slow
def test_of_accuracy_more_is_better():
    tried = settings.Contest(
        optimizers=("sgd", "adam"), by="accuracy", replicates=6, budget=2, tuning_seeds=1
    )
    problem = compare.table("iris", "target", (4,))
    result = compare.run(tried, problem)
    assert result.protocol.judging.maximised
    plain, adam = (
        next(runs for runs in result.runs if runs.optimizer == name and runs.phase == "tuned")
        for name in ("sgd", "adam")
    )
    above = adam.final("test", "accuracy") - plain.final("test", "accuracy")
    means = [(above[i] + above[j]) / 2 for i in range(len(above)) for j in range(i + 1)]
    (pair,) = result.pairs
    assert pair.difference.estimate == pytest.approx(np.median(means))


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.slow
def test_of_error_less_is_better(tmp_path):
    tried = settings.Contest(
        optimizers=("adam",), by="error", replicates=6, budget=2, tuning_seeds=1, hidden=(4,)
    )
    make = functools.partial(compare.table, "iris", "target", (4,))
    assert compare.compare(tried, lambda: {"iris": make()}, tmp_path, "") == 0
    result = load(tmp_path)
    assert result.protocol.judging.maximised is False
    assert result.judged_by == "test error"
    for runs in result.phase("tuned").values():
        wrong = 30 * runs.test["error"]
        np.testing.assert_allclose(wrong, wrong.round(), atol=1e-4)


@pytest.mark.parametrize("untold", [True, False])
def test_what_is_not_told_says_how_to_go_on(untold, tmp_path, capsys):
    ends = np.arange(1.0, 13.0)
    other = ends[::-1] if untold else ends / 2
    compare.show(comparison.of_record(planted.record({"sgd": ends, "b": other})), tmp_path, 20)
    told = capsys.readouterr().out
    assert ("the same command with --until 48 goes on from these runs" in told) == untold


@pytest.mark.parametrize("pairs", ["baseline", "all"])
@pytest.mark.parametrize("names", [("sgd",), ("adam",), ("sgd", "adam", "adam", "lion", "lamb")])
def test_too_few_replicates_are_told_before_they_are_run(names, pairs):
    """So many that the level, shared out, is above the smallest p-value of a sign test of them."""
    contest = functools.partial(settings.Contest, optimizers=names, pairs=pairs)
    optimizers = {*names, "sgd"}
    tested = {frozenset((a, b)) for a in optimizers for b in optimizers if a != b}
    tested = [each for each in tested if "sgd" in each or pairs == "all"]
    few = [n for n in range(1, 30) if 2 * 0.5**n > 0.8 * 0.05 / max(1, len(tested))]
    told = {n: compare.too_few(contest(replicates=n)) for n in range(1, 30)}
    assert [n for n in told if told[n]] == (few if tested else [])
    if tested:
        assert told[3] == (
            f"3 replicates are too few to tell anything: give at least {len(few) + 1}"
        )
    assert not compare.too_few(contest(replicates=3, until=29))


def bowl(scale=1.0):
    """A loss without data that every optimizer here takes."""
    return Problem(
        name=f"bowl {scale:g}",
        loss=lambda params, _: scale * params**2,
        init=jax.random.normal,
        steps=4,
    )


ALONG = {"optimizers": ("momentum",), "steps": (2, 8), "replicates": 6, "budget": 2}


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.slow
def test_several_lengths_say_whether_a_verdict_holds(count, tmp_path, capsys):
    """A table of verdicts by value, of comparisons or of leagues in which a task counts once."""
    problems = {each.name: each for each in (bowl(1.0), bowl(2.0))[:count]}
    tried = settings.Contest(tuning_seeds=1, **ALONG)
    assert compare.compare(tried, lambda: problems, tmp_path, "again") == 0
    told = " ".join(capsys.readouterr().out.split())
    page = (tmp_path / "report.html").read_text("utf-8")
    for words in ("2 steps", "8 steps", "holds?", "momentum"):
        assert words in told
        assert words in page
    for name, steps in itertools.product(problems, (2, 8)):
        own = tmp_path / f"{name}, {steps} steps".replace(", ", "-").replace(" ", "-")
        assert load(own).protocol.steps == steps
    leagues = sorted(each.name for each in tmp_path.glob("league-*.html"))
    assert leagues == ["league-2-steps.html", "league-8-steps.html"] * (count > 1)
    if count == 1:
        (each,) = along({f"{n} steps": load(tmp_path / f"bowl-1-{n}-steps") for n in (2, 8)})
        assert each.sentence in page


def test_lengths_and_batch_sizes_are_said_in_words():
    given = {"epochs": 3, "name": "it"}
    problem = Problem(lambda params, batch: params, jax.random.normal, np.ones(4), **given)
    for asked, words in (
        ({"epochs": (1, 2)}, ["1 epoch", "2 epochs"]),
        ({"batch_size": (2, 4)}, ["batches of 2", "batches of 4"]),
        ({"steps": (1, 2), "batch_size": (2,)}, ["1 step", "2 steps"]),
        (
            {"steps": (3, 9), "batch_size": (2, 4)},
            [f"{n} steps in batches of {size}" for n in (3, 9) for size in (2, 4)],
        ),
        ({"epochs": (1,)}, [""]),
    ):
        cases = compare.varied(settings.Contest(**asked), {"it": problem})
        assert list(cases) == words
        assert [case["it"].name for case in cases.values()] == [
            f"it, {value}" if value else "it" for value in words
        ]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"by": "accuracy"}, "by: expected loss or steps .* on bowl, got accuracy"),
        ({"epochs": (2,)}, "epochs: expected none on bowl, which has no data, got 2"),
        ({"batch_size": (4,)}, "batch_size: expected none on bowl, which has no data, got 4"),
        ({"margin": 0.0}, "margin: expected more than 0 where several"),
        ({"optimizers": ("sgd",)}, "optimizers: expected others than the baseline sgd"),
    ],
)
def test_what_one_of_many_tasks_cannot_do_is_refused_before_any_is_compared(
    asked, words, tmp_path, monkeypatch
):
    bowl = Problem(name="bowl", loss=lambda params, _: params**2, init=jax.random.normal, steps=4)
    problems = {"iris": compare.table("iris", "target", (4,)), "bowl": bowl}
    monkeypatch.setattr(compare, "run", None)
    with pytest.raises(InputError, match=words):
        compare.compare(settings.Contest(**asked), lambda: problems, tmp_path, "")


@pytest.mark.slow
def test_a_dry_run_makes_nothing_and_says_what_it_would_take(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(jax.config, "update", lambda *_: None)
    tried = settings.Contest(optimizers=("sgd",), replicates=6, budget=2, tuning_seeds=1)
    tried = dataclasses.replace(tried, dry_run=True, workers=2)
    problem = compare.table("iris", "target", (4,))
    with jax.numpy_dtype_promotion("standard"):
        assert compare.compare(tried, lambda: {"iris": problem}, tmp_path / "none", "") == 0
    foreseen, workers = capsys.readouterr().out.splitlines()
    assert foreseen.startswith("iris: 30 runs in ")
    assert workers.endswith(" s on 2 workers")
    assert list(tmp_path.iterdir()) == []


def test_work_is_done_again_while_tiles_come_of_it(tmp_path, capsys):
    made = [1, 1, 0, 0, 0]

    def work():
        count = len(list(tmp_path.iterdir()))
        if made and made.pop(0):
            (tmp_path / f"{count}.safetensors").touch()
        raise futures.BrokenExecutor("lost")

    with pytest.raises(InputError, match="lost; 3 times on end no further tile came"):
        _workers.until_done(work, tmp_path)
    # Two that made one each, and the three that did not.
    assert made == []
    assert capsys.readouterr().err == "note: lost\n" * 4


def test_workers_are_of_one_kind_and_a_scheduler_answers():
    with pytest.raises(InputError, match="workers: expected none beside a scheduler, got 2"):
        settings.check(settings.Contest(workers=2, scheduler="tcp://localhost:1"))
    with pytest.raises(InputError, match=r"workers: expected 1 to the .* cores of .*, got 9999"):
        settings.check(settings.Contest(workers=9999))


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_an_address_that_nobody_answers_at_is_refused():
    pytest.importorskip("distributed")
    words = "scheduler: expected one of Dask that answers at tcp://127.0.0.1:9 within 10 seconds"
    with pytest.raises(InputError, match=words), _workers.executor(None, "tcp://127.0.0.1:9"):
        pass

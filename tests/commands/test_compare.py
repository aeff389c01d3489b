"""Evidence for `jaxnet compare`: what its settings ask for is what is compared."""

import functools

import jax
import numpy as np
import pytest

from jaxnet.commands import compare, settings
from jaxnet.compare import Problem
from jaxnet.errors import InputError


@pytest.mark.usefixtures("standard_promotion")
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


def test_what_a_comparison_cannot_tell_is_said_before_it_is_made():
    assert compare.notes(settings.Contest(steps=(5,), batch_size=(8,))) == []
    for lengths in ({"steps": (5, 20)}, {"epochs": (1, 2)}, {"batch_size": (8, 16)}):
        (shared,) = compare.notes(settings.Contest(**lengths))
        assert "share starts and rows" in shared


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

"""Evidence for `jaxnet compare`: what its settings ask for is what is compared."""

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


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"by": "accuracy"}, "by: expected loss or steps .* on bowl, got accuracy"),
        ({"epochs": (2,)}, "epochs: expected none on bowl, which has no data, got 2"),
        ({"batch_size": (4,)}, "batch_size: expected none on bowl, which has no data, got 4"),
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

"""Evidence that a comparison answers what was asked: which way is better, and how far to go on."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from few import first_of

from jaxnet import spaces
from jaxnet.compare import Problem, compare
from jaxnet.errors import InputError

POINTS = np.random.default_rng(0).normal(size=8)


def distance(params, batch):
    return jnp.mean((params - batch) ** 2) / 2


def nearness(params, batch):
    return -distance(params, batch)


def init(key):
    return 3 + jax.random.normal(key)


def near(learning_rate):
    return optax.sgd(learning_rate)


def asked(**settings):
    few = {"steps": 4, "batch_size": 2, "replicates": 6, "budget": 2, "tuning_seeds": 1}
    held_out = {"validation": POINTS - 0.5, "test": POINTS + 0.5}
    data = held_out if settings.get("metrics") else {}
    given = data | few | settings
    parts = {each.name for each in dataclasses.fields(Problem)} & given.keys()
    problem = Problem(distance, init, POINTS, **{name: given.pop(name) for name in parts})
    return compare(problem, {"mine": near}, **given)


def decisions(result):
    # As text: bounds may be nan.
    return repr(result.pairs), [answer.setting for answer in result.answers]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"metrics": {"m": nearness}, "by": "m"}, "maximised: expected True or False of m"),
        ({"maximised": True}, "maximised: expected it of a metric, got it of loss"),
        ({"by": "steps", "maximised": True}, "maximised: expected it of a metric, got it of steps"),
        ({"until": 5}, "until: expected at least the 6 replicates to begin with, got 5"),
        ({"until": 0}, "until: expected at least 1"),
        ({"tune": {"mine": {"learning_rate": spaces.choice(-0.1, 0.1)}}}, "above 0, got -0.1"),
        ({"tune": {"mine": {"learning_rate": 0.0}}}, "above 0, got 0"),
        ({"tune": {"mine": {"learning_rate": spaces.linear(0.0, 1.0)}}}, "above 0, got 0"),
    ],
)
def test_what_cannot_be_meant_is_refused(settings, words):
    with pytest.raises(InputError, match=words):
        asked(**settings)


@first_of(("until", "looks"), [(48, (6, 24, 48)), (6, (6,)), (7, (6, 7)), (40, (6, 40))])
def test_it_goes_on_to_the_most_that_were_asked_for(until, looks, tmp_path):
    # Its twin is never told apart: nothing ends it sooner.
    result = asked(until=until, margin=0.0, folder=tmp_path)
    assert result.protocol.judging.looks == looks
    again = asked(until=until, margin=0.0, folder=tmp_path)
    assert again.protocol == result.protocol
    assert decisions(again) == decisions(result)


def test_fewer_than_a_folder_holds_are_refused(tmp_path):
    asked(replicates=8, folder=tmp_path)
    with pytest.raises(InputError, match=r"replicates: expected at least the 8 that .* got 7"):
        asked(until=7, folder=tmp_path)

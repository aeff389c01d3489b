"""Evidence for the families of mistakes: random plants of each are named, on random networks."""

import collections
import os

import numpy as np
import pytest

from experiments.benchmark import auditing, plants
from jaxnet.audit import Audit, Row

pytestmark = pytest.mark.usefixtures("unchecked")

# Of each precision; 20 of a network's shapes.
RIGHT = int(os.environ.get("RIGHT_GRADIENTS", "100"))


@pytest.mark.slow
def test_plants_of_every_family_are_named():
    """On drawn networks, ours and plain ones with a regulariser, in both precisions."""
    outcomes = collections.Counter()
    for seed, dtype in ((1, "float64"), (2, "float64"), (5, "float32")):
        outcomes += collections.Counter(each.outcome for each in auditing.judged(seed, dtype))
    assert outcomes.total() >= 160
    assert outcomes["named"] >= 0.97 * outcomes.total(), outcomes
    assert not outcomes["wrong cause"] + outcomes["false alarm"]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_right_gradients_of_plain_losses_raise_no_alarm(dtype):
    for seed in range(20):
        random = np.random.default_rng(seed)
        net = plants.fill(random, [4, 6, 3], "sin", "squares of softmax", 7)
        net = net._replace(penalty=0.05)
        right = plants.backward(auditing.cast(net, dtype))
        assert auditing.audited(net, right, "dict", dtype).right


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_right_gradients_of_random_networks_are_right(dtype):
    counts = auditing.count(dtype, planted=0, unplanted=RIGHT)
    assert counts.right == {"right": RIGHT}, counts.missed


def test_every_plant_has_its_family_in_the_table():
    kinds = {each.name.split(":")[0] for each in plants.FAMILIES}
    assert kinds | {"pair"} == set(auditing.FAMILIES)


def test_counts_are_of_what_audits_say(monkeypatch):
    """Audits that are blind, and that see mistakes everywhere, are counted as such."""

    def audited(net, grads, form, dtype):
        return said

    def rows(verdict, diagnosis):
        leaf = np.zeros(1)
        figures = dict.fromkeys(("relative_error", "cosine", "resolution"), 0.0)
        words = dict.fromkeys(("wrong_formula", "right_formula"), "")
        row = Row(
            name="",
            shape=(),
            claimed=leaf,
            true=leaf,
            finite_differences=0.0,
            verdict=verdict,
            diagnosis=diagnosis,
            signal=False,
            **figures,
            **words,
        )
        return Audit((row,) * 8, 1, "float64", "")

    monkeypatch.setattr(auditing, "audited", audited)
    said = rows("wrong", "no known mistake explains it")
    counts = auditing.count("float64", 12, 40)
    assert counts.outcomes.total() == 12
    assert set(counts.outcomes) <= {"unexplained", "false alarm"}
    assert counts.right == {"wrong": 40}
    assert len(counts.missed) == 52
    said = rows("wrong", "a goblin")
    assert set(auditing.count("float64", 12, 0).outcomes) <= {"wrong cause", "false alarm"}
    said = rows("undecided", "")
    assert auditing.count("float64", 0, 40).right == {"undecided": 40}


@pytest.mark.slow
def test_a_mistake_shows_in_the_one_number_of_a_bias_in_float32():
    """Where other leaves show it: the digits of one number are too few to show it alone."""
    net = plants.fill(np.random.default_rng(4), [5, 1, 3, 4], "softplus", "mean squares", 10)
    layers = range(len(net.params) - 1)

    def twice(net, at, d, k):
        return d @ net.params[k + 1][0] * at.slope(at.z[k]) ** 2

    grads = plants.backward(net, plants.Wrong(hidden=dict.fromkeys(layers, twice)))
    said = auditing.audited(net, grads, "layers", "float32")
    assert ["applied twice" in row.diagnosis for row in said.rows] == [True] * 4 + [False] * 2

"""What is named of runs with a planted fault, and that nothing is of others."""

import dataclasses
import types

import faults
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from faults import FAULTS, LINEAR, SGD, Fault

import jaxnet
from jaxnet import doctor
from jaxnet.doctor import examining, findings, networks, trials
from jaxnet.doctor.findings import Change, Tried
from jaxnet.errors import InputError

pytestmark = pytest.mark.usefixtures("standard_promotion")
# One network, one loss, one size of data: all these runs are of the same two programs.
ROWS = faults.drawn(64, 2, lambda x: x[:, :1] - 2 * x[:, 1:2] + 1)
GOOD = Fault(
    *("", (2, 8, 1), ROWS, set(), {}),
    **{"optimizer": SGD, "rate": 0.03, "epochs": 20, "batch_size": 16},
)
NOISE = [(ROWS[0], np.random.default_rng(seed).normal(size=(64, 1))) for seed in range(2)]
PLANTED = {
    "nothing": ({}, []),
    "rate too high": ({"rate": 3.0}, ["rate"]),
    "rate too low": ({"rate": 3e-4}, ["rate"]),
    "inputs": ({"data": (300 * ROWS[0] + 900, ROWS[1])}, ["inputs"]),
    "targets": ({"data": (ROWS[0], 1e4 * ROWS[1] + 1e5)}, ["targets"]),
    "zeros": ({"start": "zeros"}, ["start"]),
}


def examined(run, **more):
    """Give what is found of a run."""
    given = {"batch_size": run.batch_size, "hyperparameters": run.hyperparameters, **more}
    return doctor.examine(run.loss, run.optimizer, run.params, run.data, run.fit, **given)


@pytest.mark.parametrize("name", PLANTED)
@pytest.mark.filterwarnings("ignore:.*the state before it is kept:RuntimeWarning")
def test_a_planted_fault_is_named_first(name):
    changed, expected = PLANTED[name]
    diagnosis = examined(faults.run(GOOD, **changed))
    assert [each.name for each in diagnosis.findings][:1] == expected, str(diagnosis)
    for each in diagnosis.findings:
        assert each.name == "data" or each.after < each.before - 0.2 * diagnosis.constant


def test_targets_of_noise_cannot_be_told():
    """Its rows can be learned in part, by heart; others then tell."""
    others = tuple(each.astype(np.float32) for each in NOISE[1])
    diagnosis = examined(faults.run(GOOD, data=NOISE[0]), validation=others)
    assert [each.name for each in diagnosis.findings] == ["data"]
    assert diagnosis.findings[0].change is None


def test_a_loss_of_anything_is_examined():
    """No layers, no rows of inputs, an optimizer made already: the updates are too small."""

    def loss(params, batch):
        return jnp.mean((params["w"][None] - batch) ** 2)

    data, params = np.full((8, 2), 3.0, np.float32), {"w": jnp.zeros(2)}
    optimizer = optax.sgd(1e-3)
    fit = jaxnet.fit(loss, optimizer, params, data, epochs=50)
    diagnosis = doctor.examine(loss, optimizer, params, data, fit)
    assert [each.name for each in diagnosis.findings][:1] == ["rate"]
    assert diagnosis.findings[0].statement.startswith(
        "the learning rate is too low: with updates 100 times as large the loss falls to "
    )
    assert np.isclose(diagnosis.constant, 9.0)


def test_what_is_too_large_or_of_a_negative_loss_is_left_alone():
    run = faults.run(GOOD, rate=3e-4)
    rows = trials.Rows({}, run.data, run.data, run.batch_size, steps=80)
    large = jax.eval_shape(lambda: jaxnet.init(jax.random.key(0), [2, 200_000, 1]))
    assert [trials.affordable(rows, each, 80) for each in (run.params, large)] == [400, 0]
    below = dataclasses.replace(run.loss, example_loss=lambda z, y: optax.l2_loss(z, y) - 100)
    assert examined(run._replace(loss=below)).findings == ()


def test_a_change_is_named_by_every_seed_and_the_least_change_first():
    rate, both = Change("rate", 3.0), Change("inputs", 10.0, inputs=True)
    clear = [Tried(both, 1.0, 0.1), Tried(rate, 1.0, 0.15)]
    assert [each.change for each in findings.chosen(clear)] == [rate, both]
    assert findings.chosen([Tried(rate, 1.0, 0.81)]) == []
    assert findings.chosen([*clear, Tried(Change("start"), 1.0, 0.3)]) == findings.chosen(clear)


@pytest.mark.usefixtures("unchecked")
def test_what_one_seed_does_better_alone_is_not_better():
    run = types.SimpleNamespace(left=(1.0, 0.0))
    losses = {Change("rate"): [1.0, 0.8], Change("rate", 3.0): [0.1, 0.9]}
    losses[Change("inputs", 3.0, inputs=True)] = [0.2, 0.3]
    scores = {change: np.array([each, [0, 0]]) for change, each in losses.items()}
    expected = [(1.0, 1.0), (0.9, 0.9), (0.5, 0.3)]
    assert np.allclose([each[1:] for each in examining._tried(run, scores)], expected)


@pytest.mark.parametrize(
    ("activation", "output"), [("relu", LINEAR), ("tanh", "softmax"), (LINEAR, "sigmoid")]
)
def test_a_network_is_recognised_by_its_numbers(activation, output):
    params = jaxnet.init(jax.random.key(0), [2, 3, 2])
    loss = jaxnet.BatchLoss(faults.forward(activation, output), optax.losses.l2_loss)
    assert networks.recognise(loss, params) == ((2, 3, 2), activation, output)
    other = jaxnet.BatchLoss(lambda params, x: x + params[0].bias[:2], optax.losses.l2_loss)
    assert networks.recognise(other, params) is None


@pytest.mark.usefixtures("unchecked")
def test_bad_input_is_refused():
    run = faults.run(GOOD)
    with pytest.raises(InputError, match="data: expected rows in memory, got a stream"):
        examined(run._replace(data=lambda epoch: iter(())))
    with pytest.raises(InputError, match="params: expected where the run began"):
        examined(run._replace(params=[*run.params]))


# What is not named as it was published: the change that helps is another, or none does.
MISSED = {"exclusive or with relu last", "parabola", "cross-entropy of prices"}
# What the first change does not take half of the way to the twin, in the whole run: the rate is a
# thousand times too low; two units find the answer from some starts alone.
UNMENDED = {"a rate too low", "exclusive or of two relus"}


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.filterwarnings("ignore:.*the state before it is kept:RuntimeWarning")
def test_a_published_fault_is_named_and_its_repair_is_silent(name):
    fault = FAULTS[name]
    diagnosis = examined(faults.run(fault))
    first = {each.name for each in diagnosis.findings[:1]}
    assert bool(first & fault.expected) == (name not in MISSED), str(diagnosis)
    twin = examined(faults.run(fault, **fault.twin))
    assert twin.findings == (), str(twin)
    if first - {"data"}:
        after = examined(faults.repaired(fault, diagnosis.findings[0].change))
        left = twin.ended / twin.constant
        half = (min(diagnosis.ended / diagnosis.constant, 1) + left) / 2
        mended = after.ended / after.constant < max(half, findings.MARGIN)
        assert mended == (name not in UNMENDED)

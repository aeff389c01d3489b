"""What is named of runs with a planted fault, and that nothing is of others."""

import dataclasses

import faults
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from fault_scores import examined, outcome
from faults import FAULTS, LINEAR, SGD, Fault
from few import first_of, some_of
from held_out_faults import HELD_OUT
from later_faults import LATER

import jaxnet
from jaxnet import doctor
from jaxnet.doctor import examining, networks, trials
from jaxnet.doctor.changes import Change
from jaxnet.errors import InputError

pytestmark = [
    pytest.mark.usefixtures("standard_promotion"),
    pytest.mark.filterwarnings("ignore:.*the state before it is kept:RuntimeWarning"),
]
# One network, one loss, one size of data: these runs share their programs.
ROWS = faults.drawn(96, 2, lambda x: x[:, :1] - 2 * x[:, 1:2] + 1)
NOISE = np.random.default_rng(1).normal(size=(96, 1))
GOOD = Fault(
    *("", (2, 8, 1), ROWS, set(), {}),
    **{"optimizer": SGD, "rate": 0.03, "epochs": 20, "batch_size": 16},
)
PLANTED = {
    "nothing": ({}, ()),
    "noise in the targets": ({"data": (ROWS[0], ROWS[1] + 2 * NOISE)}, ()),
    "rate too high": ({"rate": 3.0}, ("rate",)),
    "rate too low": ({"rate": 3e-4}, ("rate",)),
    "zeros": ({"start": "zeros"}, ("start",)),
    "inputs": ({"data": (300 * ROWS[0] + 900, ROWS[1])}, ("inputs",)),
}


@some_of("name", PLANTED, "nothing", "rate too low", "zeros", "inputs")
def test_a_planted_fault_is_named(name):
    changed, expected = PLANTED[name]
    diagnosis = examined(faults.run(GOOD, **changed))
    assert (diagnosis.change.names if diagnosis.change else ()) == expected, str(diagnosis)
    assert bool(diagnosis.statement) == bool(expected)
    if expected:
        assert diagnosis.after < diagnosis.before - 0.2 * diagnosis.constant


def test_targets_of_noise_are_not_told():
    """Its rows can be learned in part, by heart; others then tell."""
    x, y = (each.astype(np.float32) for each in (ROWS[0], NOISE[::-1]))
    diagnosis = examined(faults.run(GOOD, data=(ROWS[0], NOISE)), validation=(x, y))
    assert diagnosis.change is None
    assert str(diagnosis).startswith("nothing tried tells the targets from the inputs: ")


def test_a_loss_of_anything_is_examined():
    """No layers, no rows of inputs, an optimizer made already: the updates are too small."""

    def loss(params, batch):
        return jnp.mean((params["w"][None] - batch) ** 2)

    data, params = np.full((8, 2), 3.0, np.float32), {"w": jnp.zeros(2)}
    optimizer = optax.sgd(1e-3)
    fit = jaxnet.fit(loss, optimizer, params, data, epochs=50)
    diagnosis = doctor.examine(loss, optimizer, params, data, fit)
    assert diagnosis.change.names == ("rate",)
    assert str(diagnosis).startswith(
        "the learning rate is too low: with updates 100 times as large the loss falls to "
    )
    assert np.isclose(diagnosis.constant, 9.0)


def _twice(data):
    """All rows, to train on and to judge, for each of two seeds."""
    return np.stack([np.arange(len(data[0]))] * 2), trials.stacked([data] * 2)


def test_each_seed_is_judged_by_rows_that_it_does_not_train_on():
    rows = np.arange(90.0)[:, None]
    data, trained, judged = examining._parts((rows, -rows))
    assert data[0] is rows
    for own, (x, y) in zip(trained, zip(*judged, strict=True), strict=True):
        assert sorted([*own, *x[:, 0]]) == [*range(90)]
        assert (y == -x).all()
        assert len(x) == 22
    assert not set(judged[0][0].ravel()) & set(judged[0][1].ravel())
    _, trained, judged = examining._parts((rows[:63],), (rows[63:],))
    assert (trained == np.arange(63)).all()
    assert (judged[0] == rows[63:]).all()


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (optax.losses.squared_error, True),
        (optax.losses.huber_loss, True),
        (lambda z, y: jnp.exp(z) - y * z, True),
        (lambda z, y: (50 * z - y) ** 2, True),
        (faults.probable, False),
        (lambda z, y: 0 * y + z**2, False),
    ],
)
def test_a_loss_that_is_least_at_one_output_tells_no_targets(kind, told):
    y = np.random.default_rng(0).gamma(2.0, 20.0, (200, 1)).astype(np.float32) + 1
    assert networks.tells(kind, y) == told


def test_what_is_too_large_or_of_a_negative_loss_is_left_alone():
    run = faults.run(GOOD, rate=3e-4)
    case = trials.Case(run.loss, run.optimizer)
    rows = trials.Rows({}, run.data, *_twice(run.data), run.batch_size, steps=80)
    large = jax.eval_shape(lambda: jaxnet.init(jax.random.key(0), [2, 200_000, 1]))
    steps = [trials.affordable(case, rows, each, 40) for each in (run.params, large)]
    assert steps == [400, 0]
    below = dataclasses.replace(run.loss, example_loss=lambda z, y: optax.l2_loss(z, y) - 100)
    assert str(examined(run._replace(loss=below))) == ""


def test_the_least_change_is_named_of_those_that_do_as_well():
    rate, both = Change(3.0), Change(10.0, inputs=True)
    clear = [(both, 1.0, 0.1), (rate, 1.0, 0.15)]
    assert examining._best(clear) == (rate, 0.15)
    assert examining._best([(both, 1.0, 0.1), (rate, 1.0, 0.25)]) == (both, 0.1)
    assert examining._best([(rate, 1.0, 0.81)]) is None
    rates = [
        (Change(factor), 1.0, after) for factor, after in ((9.0, 0.0), (3.0, 0.05), (2.0, 0.1))
    ]
    assert examining._best(rates) == (rate, 0.05)


def test_a_change_is_held_against_its_parts_with_every_seed(monkeypatch):
    """One that one seed alone does better with, or that its rate does as well without, is not."""
    losses = {Change(): [1, 0.8], Change(10.0): [0.3, 0.3], Change(0.1): [0.1, 0.9]}
    losses |= {Change(10.0, inputs=True): [0.2, 0.1]}
    run = faults.run(GOOD, rate=3e-4)
    scores = np.array([list(losses.values()), np.zeros((4, 2))])
    monkeypatch.setattr(trials, "score", lambda *_: scores)
    rows = trials.Rows({}, run.data, *_twice(run.data), run.batch_size, steps=80)
    judged = np.array([[2.0, 2.0], [0.0, 0.0]]), np.array([[2.0, 2.0], [1.0, 1.0]])
    case = trials.Case(run.loss, run.optimizer)
    tried = examining._tried(
        examining._Run(case, rows, run.params, run.params, *judged), list(losses)
    )
    expected = [(0.45, 0.15), (0.45, 0.45), (0.15, 0.1)]
    assert np.allclose([each[1:] for each in tried], expected)


@first_of(("activation", "output"), [("tanh", "softmax"), ("relu", LINEAR), (LINEAR, "sigmoid")])
def test_a_network_is_recognised_by_its_numbers(activation, output):
    params = jaxnet.init(jax.random.key(0), [2, 3, 1])
    loss = jaxnet.BatchLoss(faults.forward(activation, output), optax.losses.l2_loss)
    assert networks.recognise(loss, params) == ((2, 3, 1), activation, output)
    other = jaxnet.BatchLoss(lambda params, x: x + params[0].bias[:2], optax.losses.l2_loss)
    assert networks.recognise(other, params) is None


@pytest.mark.usefixtures("unchecked")
def test_bad_input_is_refused():
    run = faults.run(GOOD)
    with pytest.raises(InputError, match="data: expected rows in memory, got a stream"):
        examined(run._replace(data=lambda epoch: iter(())))
    with pytest.raises(InputError, match="params: expected where the run began"):
        examined(run._replace(params=[*run.params]))


# Of all that is published a sample, each of another kind; `fault_scores` has the others.
SAMPLE = [
    *("fourth power", "negative curve", "relu after one unit", "zeros at the start"),
    *("a rate of one", "softmax twice", "a few steps", "five rows diverge"),
    *("a start of thousandths", "labels drawn by coins", "more than 50,000"),
    *("cross-entropy of prices", "sets of three labels", "sums after a softmax"),
]


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLE)
def test_a_published_fault_is_named_and_mended_and_its_repair_is_silent(name):
    result = outcome((FAULTS | HELD_OUT | LATER)[name])
    assert result[:3] == (True, True, True), result.said

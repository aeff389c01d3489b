"""Evidence for ensembles: each member is trained as it is alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from few import first_of
from runs import close

import jaxnet
from jaxnet import InputError, Variables

# As optax's arithmetic has it.
pytestmark = pytest.mark.usefixtures("standard_promotion")

_random = np.random.default_rng(0)
X = _random.normal(size=(20, 3)).astype(np.float32)
Y = np.stack([X.sum(axis=1), X[:, 0] - X[:, 1]], axis=1)
WEIGHTS = _random.integers(0, 3, 20).astype(np.float32)
INIT = functools.partial(jaxnet.init, sizes=[3, 4, 2])
KEYS = jax.random.split(jax.random.key(0), 3)
STARTS = jax.vmap(INIT)(KEYS)
SQUARES = jaxnet.BatchLoss(jaxnet.forward, optax.losses.l2_loss)


def of(member, tree):
    return jax.tree.map(lambda leaf: leaf[member], tree)


def noisy(params, x, key):
    return jaxnet.forward(params, x if key is None else x + jax.random.normal(key, x.shape))


def counting(variables, batch):
    """A loss of what a state says, which counts the steps."""
    x, y = batch
    error = jax.vmap(jaxnet.forward, (None, 0))(variables.params, x) - y
    return jnp.mean(error**2) / (1 + variables.state), variables.state + 1


def negative(params, batch):
    """A gradient of its own: half of autodiff's."""
    value, grads = jax.value_and_grad(SQUARES)(params, batch)
    return value, jax.tree.map(lambda grad: grad / 2, grads)


CASES = {
    "drawn and weighed": (jaxnet.BatchLoss(noisy, optax.losses.l2_loss), STARTS, (X, Y, WEIGHTS)),
    "with a state": (counting, Variables(STARTS, jnp.arange(3.0)), (X, Y)),
    "by a rule": (jaxnet.Rule(negative, of=SQUARES), STARTS, (X, Y)),
}


@first_of("case", ["with a state", "drawn and weighed", "by a rule"])
def test_members_are_what_they_are_alone(case):
    loss, starts, data = CASES[case]
    validation = tuple(part[:8] for part in data)
    fit = functools.partial(
        jaxnet.fit, epochs=3, batch_size=8, validation=validation, hyperparameters={"b1": 0.8}
    )
    make = functools.partial(optax.adam, 0.05)
    members = jaxnet.ensemble(loss, make)
    metrics = {"losses": members.losses}
    got = fit(members.loss, members.optimizer, starts, data, metrics=metrics)
    alone = [fit(loss, make, of(member, starts), data) for member in range(3)]
    for member, own in enumerate(alone):
        close(of(member, got.progress.run.state), own.progress.run.state)
        losses = got.history["validation_losses"][:, member]
        np.testing.assert_allclose(losses, own.history["validation_loss"], rtol=1e-5)
    for name in ("loss", "validation_loss"):
        mean = np.mean([own.history[name] for own in alone], axis=0)
        np.testing.assert_allclose(got.history[name], mean, rtol=1e-5)
    assert np.ptp(got.history["validation_losses"], axis=1).min() > 0.01


@first_of("optimizer", [optax.polyak_sgd, optax.lars])
def test_a_member_has_its_own_value_and_norms(optimizer):
    """Of optimizers that look at the loss, or at the norm of a gradient."""
    made, order = optimizer(0.1), np.arange(6, dtype=np.int32).reshape(2, 3)
    members = jaxnet.ensemble(SQUARES, made)
    trained = jaxnet.train(members.loss, members.optimizer, STARTS, (X, Y), order)[0]
    for member in range(3):
        own = jaxnet.train(SQUARES, made, of(member, STARTS), (X, Y), order)[0]
        close(of(member, trained.params), own.params)


def test_the_same_arguments_give_the_same_ensemble():
    make = functools.partial(optax.sgd, momentum=0.5)
    copy = functools.partial(optax.sgd, momentum=0.5)
    loss = jaxnet.BatchLoss(jaxnet.forward, optax.losses.l2_loss)
    assert jaxnet.ensemble(SQUARES, make) == jaxnet.ensemble(loss, copy)


def test_what_has_no_axis_of_members_is_refused():
    members = jaxnet.ensemble(SQUARES, optax.sgd(0.1))
    for params in (INIT(KEYS[0]), Variables(STARTS, jnp.float32(1))):
        with pytest.raises(InputError, match="params: expected the members' axis first"):
            jaxnet.fit(members.loss, members.optimizer, params, (X, Y), epochs=1)


@pytest.mark.usefixtures("unchecked")
def test_what_is_no_loss_or_optimizer_is_refused():
    for loss, optimizer in ((3, optax.sgd(0.1)), (SQUARES, "adam")):
        with pytest.raises(InputError, match="expected"):
            jaxnet.ensemble(loss, optimizer)


def test_labels_are_held_against_the_members_outputs():
    picked = optax.losses.softmax_cross_entropy_with_integer_labels
    members = jaxnet.ensemble(jaxnet.BatchLoss(jaxnet.forward, picked), optax.sgd(0.1))
    with pytest.raises(InputError, match="class labels 0 to 1"):
        jaxnet.fit(members.loss, members.optimizer, STARTS, (X, np.full(20, 2)), epochs=1)


def test_an_optimizer_of_arguments_without_a_hash_is_taken():
    loss = jaxnet.BatchLoss(jaxnet.forward, optax.losses.l2_loss)
    masked = functools.partial(optax.adamw, 0.1, mask=[True])
    assert jaxnet.ensemble(loss, masked).optimizer is jaxnet.ensemble(loss, masked).optimizer

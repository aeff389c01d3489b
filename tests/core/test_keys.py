"""Losses that draw: a key for every step, the same however a run is made."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from few import first_of
from runs import close, key_of, same

import jaxnet
from jaxnet import batches, losses
from jaxnet.compare import Problem, compare

RATE = 0.1
DATA = np.linspace(-1, 1, 12, dtype=np.float32)[:, None], np.ones((12, 1), np.float32)
INIT = functools.partial(jaxnet.init, sizes=[1, 8, 1])


def forward(params, x, key):
    """Drop half of the hidden units, where there is a key."""
    (hidden, output) = params
    h = jnp.tanh(hidden.weight @ x + hidden.bias)
    kept = 1.0 if key is None else jnp.where(jax.random.bernoulli(key, 0.5, h.shape), 2.0, 0.0)
    return output.weight @ (h * kept) + output.bias


def noisy(params, batch, key):
    """Add noise to the targets, a key for the step."""
    x, y = batch
    noise = jnp.zeros(()) if key is None else jax.random.normal(key, y.shape)
    prediction = jax.vmap(functools.partial(jaxnet.forward, params))(x)
    return jnp.mean((prediction - y - noise) ** 2)


DROPS = jaxnet.BatchLoss(forward, optax.losses.l2_loss)
FIRST = first_of("loss", [DROPS, noisy])


def by_hand(loss, order, seed, data=DATA):
    """The run, one step after the other, without the engine."""
    params, losses = INIT(jax.random.key(0)), []
    step = jax.jit(jax.value_and_grad(loss))
    for t, rows in enumerate(order):
        value, grads = step(params, tuple(leaf[rows] for leaf in data), key_of(seed, t))
        params = jax.tree.map(lambda p, g: p - RATE * g, params, grads)
        losses.append(value)
    return params, np.array(losses)


@first_of("loss", [noisy, DROPS])
def test_every_step_draws_from_a_key_of_its_own(loss):
    order = batches.shuffled(12, 4, 3, seed=5)
    params, values = by_hand(loss, order, seed=5)
    start = INIT(jax.random.key(0))
    state, losses = jaxnet.train(loss, optax.sgd(RATE), start, DATA, order, seed=5)
    close(losses, values)
    close(state.params, params)
    fit = jaxnet.fit(loss, optax.sgd(RATE), start, DATA, epochs=3, batch_size=4, seed=5)
    close(fit.params, params)
    close(fit.history["loss"], values.reshape(3, 3).mean(axis=1))
    key = jax.random.fold_in(jax.random.key(5), np.uint32(2**32 - 1))
    optimizer = optax.sgd(RATE)
    begun = jaxnet.start(optimizer, start)
    state, losses = jax.jit(
        lambda state, key: jaxnet.run(loss, optimizer, state, DATA, order, key=key)
    )(begun, key)
    close(losses, values)


@FIRST
def test_another_seed_draws_something_else(loss):
    order, start = batches.full_batch(12, 2), INIT(jax.random.key(0))
    train = functools.partial(jaxnet.train, loss, optax.sgd(RATE), start, DATA, order)
    one, other = (train(seed=seed)[1] for seed in (1, 2))
    assert (one != other).all()
    assert one[0] != one[1]


def test_each_example_draws_from_a_key_of_its_own():
    x, y = np.ones((6, 1), np.float32), np.zeros((6, 1), np.float32)
    params, key = INIT(jax.random.key(0)), jax.random.key(3)
    keys = jax.random.split(key, 6)
    each = [optax.losses.l2_loss(forward(params, x[0], keys[i]), y[0]) for i in range(6)]
    assert len({float(value) for value in map(jnp.squeeze, each)}) > 2
    close(DROPS(params, (x, y), key), np.mean(each))


@FIRST
@pytest.mark.slow
def test_a_run_draws_the_same_resumed_streamed_and_sharded(loss):
    start = INIT(jax.random.key(0))
    fit = functools.partial(jaxnet.fit, loss, optax.sgd(RATE, 0.9), start, seed=3)
    whole = fit(DATA, epochs=4, batch_size=5)
    half = fit(DATA, epochs=2, batch_size=5)
    same(fit(DATA, epochs=4, batch_size=5, resume=half).params, whole.params)
    same(fit(jaxnet.stream(DATA, 5, seed=3), epochs=4).params, whole.params)
    mesh = jax.make_mesh((2,), ("rows",), devices=jax.local_devices()[:2])
    parts = jax.sharding.NamedSharding(mesh, jax.P("rows"))
    spread = fit(DATA, epochs=3, batch_size=4, sharding=parts)
    close(spread.params, fit(DATA, epochs=3, batch_size=4).params)


@FIRST
def test_validation_draws_nothing(loss):
    start = INIT(jax.random.key(0))
    fit = jaxnet.fit(loss, optax.sgd(0.0), start, DATA, epochs=2, batch_size=4, validation=DATA)
    plain = jaxnet.BatchLoss(functools.partial(forward, key=None), optax.losses.l2_loss)
    expected = noisy(start, DATA, None) if loss is noisy else plain(start, DATA)
    close(fit.history["validation_loss"], np.full(2, expected))
    assert (fit.history["loss"] != fit.history["validation_loss"]).all()


def test_a_key_that_is_bound_is_the_loss_s_own():
    bound, start = functools.partial(noisy, key=jax.random.key(7)), INIT(jax.random.key(0))
    fit = functools.partial(jaxnet.fit, bound, optax.sgd(RATE), start, DATA, epochs=2)
    same(fit(seed=1).params, fit(seed=2).params)


def test_a_step_of_a_loss_that_draws_needs_a_key():
    state = jaxnet.start(optax.sgd(RATE), INIT(jax.random.key(0)))
    with pytest.raises(jaxnet.InputError, match=r"key: expected a jax.random.key, .* got None"):
        jaxnet.step(noisy, optax.sgd(RATE), state, DATA)


@pytest.mark.slow
def test_each_example_of_an_optimizer_that_takes_them_has_a_key():
    seen = []

    def update(updates, state, params=None):
        seen.append(updates)
        return jax.tree.map(lambda leaf: leaf[0], updates), state

    each = jaxnet.optimizers.PerExample(lambda params: (), update)
    same_rows = np.ones((3, 1), np.float32), np.ones((3, 1), np.float32)
    state = jaxnet.start(each, INIT(jax.random.key(0)))
    jaxnet.step(noisy, each, state, same_rows, key=jax.random.key(1))
    biases = seen[0][-1].bias[:, 0]
    assert len({float(value) for value in biases}) == 3


@first_of("seeds", [(0, 2**32), (2**40, 2**41), (2**70, 2**71)])
def test_seeds_of_any_size_draw_each_something_else(seeds):
    order, start = batches.full_batch(12, 1), INIT(jax.random.key(0))
    one, other = (
        jaxnet.train(noisy, optax.sgd(RATE), start, DATA, order, seed=seed)[1] for seed in seeds
    )
    assert one != other


def wrapped(function):
    @functools.wraps(function)
    def bound(params, batch):
        return function(params, batch, jax.random.key(3))

    return bound


@pytest.mark.parametrize(
    ("loss", "drawn"),
    [
        (noisy, True),
        (jax.jit(noisy), True),
        (eqx.filter_jit(noisy), True),
        (eqx.filter_jit(lambda params, batch: noisy(params, batch, None)), False),
        (jaxnet.Rule(jax.value_and_grad(noisy)), True),
        (functools.partial(noisy), True),
        (DROPS, True),
        (functools.partial(DROPS), True),
        (lambda params, batch, *, key: noisy(params, batch, key), True),
        (lambda params, batch, key=None: noisy(params, batch, key), True),
        (functools.partial(noisy, key=None), False),
        (wrapped(noisy), False),
        (jaxnet.BatchLoss(jaxnet.forward, optax.losses.l2_loss), False),
        (functools.partial(jaxnet.BatchLoss(jaxnet.forward, optax.losses.l2_loss)), False),
    ],
)
def test_a_loss_says_by_its_arguments_whether_it_draws(loss, drawn):
    assert losses.draws(loss) == drawn


@pytest.mark.usefixtures("unchecked")
def test_a_rule_of_equinox_is_to_be_called_by_a_function():
    """What it makes has a dict in it, by which no program can be kept."""
    rule = eqx.filter_value_and_grad(noisy)
    with pytest.raises(jaxnet.InputError, match=r"cannot be hashed, .*; wrap it in a plain f"):
        jaxnet.Rule(rule)
    key, start = jax.random.key(1), INIT(jax.random.key(0))

    def plain(params, batch, key):
        return rule(params, batch, key)

    called = jaxnet.Rule(plain)
    got, expected = (losses.evaluate(each, start, DATA, key)[1] for each in (called, noisy))
    jax.tree.map(np.testing.assert_array_equal, got, expected)


@pytest.mark.slow
def test_a_line_search_draws_once_for_each_step():
    start = INIT(jax.random.key(0))
    _, losses = jaxnet.train(noisy, optax.lbfgs(), start, DATA, batches.full_batch(12, 4))
    assert np.isfinite(losses).all()


@first_of(("loss", "fast"), [(DROPS, True), (DROPS, False), (noisy, True), (noisy, False)])
@pytest.mark.slow
def test_a_comparison_draws_by_the_seed_of_each_run(loss, fast):
    compared = compare(
        Problem(loss, INIT, DATA, steps=6, batch_size=4),
        {"twin": optax.sgd},
        tune={name: {"learning_rate": RATE} for name in ("sgd", "twin")},
        replicates=3,
        fast=fast,
    )
    assert compared.answers[1].verdict == "not told apart"

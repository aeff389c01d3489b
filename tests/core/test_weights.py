"""Rows with weights: one of weight 0 is as one that is not there, one of weight 2 as two."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from few import first_of
from runs import close, same

import jaxnet
from jaxnet.compare import Problem, compare

_random = np.random.default_rng(0)
X = _random.normal(size=(8, 3)).astype(np.float32)
Y = _random.normal(size=(8, 2)).astype(np.float32)
LABELS = _random.integers(0, 2, 8).astype(np.int32)
COUNTS = np.array([2, 0, 1, 3, 1, 0, 2, 1])
WEIGHTS = COUNTS.astype(np.float32)
INIT = functools.partial(jaxnet.init, sizes=[3, 4, 2])
PARAMS = INIT(jax.random.key(0))
SQUARES = jaxnet.BatchLoss(jaxnet.forward, optax.losses.l2_loss)
ENTROPY = jaxnet.BatchLoss(jaxnet.forward, optax.losses.softmax_cross_entropy_with_integer_labels)
HITS = jaxnet.BatchLoss(jaxnet.forward, lambda z, y: (jnp.argmax(z) == y).astype(z.dtype))


def repeated(*arrays):
    """Every row as often as its weight says."""
    return tuple(np.repeat(array, COUNTS, axis=0) for array in arrays)


@pytest.mark.parametrize(("loss", "y"), [(SQUARES, Y), (ENTROPY, LABELS)])
def test_a_weight_is_how_often_a_row_is_there(loss, y):
    of = jax.jit(jax.value_and_grad(loss))
    close(of(PARAMS, (X, y, WEIGHTS)), of(PARAMS, repeated(X, y)))
    close(of(PARAMS, (X, y, 5 * WEIGHTS)), of(PARAMS, (X, y, WEIGHTS)))
    close(of(PARAMS, (X, y, np.ones(8, np.float32))), of(PARAMS, (X, y)))


@first_of("loss", [jax.jit(ENTROPY), ENTROPY], ids=["jit", "plain"])
def test_an_absent_row_may_be_anything(loss):
    """Also what no loss takes, as where sequences were padded."""
    x, labels = np.where(COUNTS[:, None], X, 1e38), np.where(COUNTS, LABELS, -1)
    fit = functools.partial(jaxnet.fit, loss, optax.sgd(0.1), PARAMS, epochs=2, batch_size=3)
    same(fit((x, labels, WEIGHTS)).params, fit((X, LABELS, WEIGHTS)).params)


@pytest.mark.slow
def test_weights_of_half_precision_s_losses_are_summed_in_more_digits():
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float16), PARAMS)
    x, y = X.astype(np.float16), Y.astype(np.float16)
    value = SQUARES(params, (x, y, 1e5 * WEIGHTS))
    assert value.dtype == jnp.float16
    np.testing.assert_allclose(value, SQUARES(params, (x, y, WEIGHTS)), rtol=2e-3)


@pytest.mark.slow
def test_a_stream_may_have_a_batch_of_absent_rows():
    weights = np.array([0, 0, 0, 1, 1, 1, 1, 1], np.float32)
    batches_ = [(X[:3], Y[:3], weights[:3]), (X[3:], Y[3:], weights[3:])]
    fit = jaxnet.fit(SQUARES, optax.sgd(0.0), PARAMS, lambda epoch: batches_, epochs=1)
    np.testing.assert_allclose(fit.history["loss"], SQUARES(PARAMS, (X[3:], Y[3:])), rtol=1e-5)


@pytest.mark.slow
def test_an_optimizer_of_each_example_takes_no_weights():
    each = jaxnet.optimizers.PerExample(*optax.sgd(0.1))
    state = jaxnet.start(each, PARAMS)
    with pytest.raises(jaxnet.InputError, match="weights: expected none with an optimizer"):
        jaxnet.step(SQUARES, each, state, (X, Y, WEIGHTS))


def test_a_batch_of_absent_rows_teaches_nothing():
    value, grads = jax.value_and_grad(SQUARES)(PARAMS, (X, Y, np.zeros(8, np.float32)))
    assert value == 0
    same(grads, jax.tree.map(np.zeros_like, PARAMS))


@first_of("way", ["memory", "stream"])
def test_fit_weighs_its_rows_and_those_it_is_judged_on(way):
    accuracy = {"accuracy": HITS}
    fit = functools.partial(
        jaxnet.fit, ENTROPY, optax.sgd(0.1, 0.9), PARAMS, epochs=3, metrics=accuracy
    )
    data = X, LABELS, WEIGHTS
    rows = jaxnet.stream(data, 8, seed=0) if way == "stream" else data
    weighted = fit(rows, validation=data)
    plain = fit(repeated(X, LABELS), validation=repeated(X, LABELS))
    close(weighted.params, plain.params)
    for name, values in plain.history.items():
        np.testing.assert_allclose(weighted.history[name], values, rtol=1e-5)


def test_an_epoch_s_loss_weighs_its_batches():
    """Of a rate of 0 it is the loss of all rows, however these are cut."""
    fit = jaxnet.fit(SQUARES, optax.sgd(0.0), PARAMS, (X, Y, WEIGHTS), epochs=2, batch_size=3)
    np.testing.assert_allclose(fit.history["loss"], SQUARES(PARAMS, (X, Y, WEIGHTS)), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("fast", [True, False])
def test_a_comparison_weighs_its_rows_and_its_batches(fast):
    """Of a rate of next to 0 an epoch's loss is that of all rows, however these are cut."""
    weights = np.array([100, 1, 1, 1, 0, 0, 1, 1], np.float32)
    problem = Problem(SQUARES, lambda key: PARAMS, (X, Y, weights), epochs=2, batch_size=2)
    settings = {"sgd": {"learning_rate": 1e-9}}
    (answer,) = compare(problem, ["sgd"], tune=settings, replicates=2, fast=fast).answers
    np.testing.assert_allclose(answer.value.estimate, SQUARES(PARAMS, (X, Y, weights)), rtol=1e-5)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (-WEIGHTS, r"numbers of at least 0, not all of them 0, got -3.0 in row 3"),
        (0 * WEIGHTS, "got all 0"),
        (WEIGHTS * np.float32(1e-39), r"some of at least 1.2e-38, .* got numbers of at most 3e-39"),
        (WEIGHTS.astype(float) * 1e38, "a sum of at most 3.4e.38, .* and a sum of .*; multiply"),
        (WEIGHTS[:, None], r"one for each of the 8 rows, of shape \[8\], got \[8, 1\]"),
    ],
)
def test_weights_that_count_nothing_are_refused(weights, words):
    fit = functools.partial(jaxnet.fit, SQUARES, optax.sgd(0.1), PARAMS, epochs=1)
    with pytest.raises(jaxnet.InputError, match=words):
        fit((X, Y, weights))


@first_of("least", [2e-38, 1e-30])
def test_weights_that_are_hardly_any_weigh_as_others_do(least):
    """Those that float32 holds, and no others beside them."""
    fit = functools.partial(jaxnet.fit, SQUARES, optax.sgd(0.0), PARAMS, epochs=1)
    weights = np.float32(least) * np.array([1, 2, 0, 1, 0, 1, 3, 0], np.float32)
    expected = np.average([SQUARES(PARAMS, (X[i:][:1], Y[i:][:1])) for i in range(8)], 0, weights)
    np.testing.assert_allclose(fit((X, Y, weights)).history["loss"], expected, rtol=1e-5)

"""Rows with weights: one of weight 0 is as one that is not there, one of weight 2 as two."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
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


def test_a_batch_of_absent_rows_teaches_nothing():
    value, grads = jax.value_and_grad(SQUARES)(PARAMS, (X, Y, np.zeros(8, np.float32)))
    assert value == 0
    same(grads, jax.tree.map(np.zeros_like, PARAMS))


@pytest.mark.parametrize("way", ["memory", "stream"])
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


@pytest.mark.parametrize("fast", [True, False])
def test_a_comparison_weighs_its_rows(fast):
    def compared(data):
        problem = Problem(SQUARES, INIT, data, steps=5, validation=data)
        settings = {"sgd": {"learning_rate": 0.1}}
        answers = compare(problem, ["sgd"], tune=settings, replicates=2, fast=fast).answers
        return [each.value for each in answers]

    close(compared((X, Y, WEIGHTS)), compared(repeated(X, Y)))


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (-WEIGHTS, r"numbers of at least 0, not all of them 0, got -3.0 in row 3"),
        (0 * WEIGHTS, "got all 0"),
        (WEIGHTS[:, None], r"one for each of the 8 rows, of shape \[8\], got \[8, 1\]"),
    ],
)
def test_weights_that_count_nothing_are_refused(weights, words):
    fit = functools.partial(jaxnet.fit, SQUARES, optax.sgd(0.1), PARAMS, epochs=1)
    with pytest.raises(jaxnet.InputError, match=words):
        fit((X, Y, weights))

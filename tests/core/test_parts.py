"""Evidence for rows of several arrays, and for a label of every position of a sequence."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from runs import close

import jaxnet
from jaxnet import InputError

# As optax's arithmetic has it.
pytestmark = pytest.mark.usefixtures("standard_promotion")

_random = np.random.default_rng(0)
SEQUENCES = _random.normal(size=(12, 5, 3)).astype(np.float32)
LABELS = _random.integers(0, 4, (12, 5)).astype(np.int32)
WEIGHTS = _random.integers(0, 3, 12).astype(np.float32)
MATRIX = _random.normal(size=(3, 4)).astype(np.float32)
X = {"a": SEQUENCES[:, 0], "b": SEQUENCES[:, 1]}
Y = {"class": LABELS[:, 0], "value": SEQUENCES[:, 2]}
TWO = {"class": MATRIX, "value": MATRIX[:, :3]}
picked = optax.losses.softmax_cross_entropy_with_integer_labels
ORDER = np.arange(12, dtype=np.int32).reshape(3, 4)


def positions(params, x):
    return x @ params


def mean_picked(logits, y):
    return jnp.mean(picked(logits, y))


def encoded(logits, y):
    return optax.losses.softmax_cross_entropy(logits, jax.nn.one_hot(y, logits.shape[-1]))


def entropies(logits, labels):
    """The loss of every label, in NumPy."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    logarithms = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return -np.take_along_axis(logarithms, labels[..., None], axis=-1)[..., 0]


def heads(params, x):
    inputs = x["a"] + 2 * x["b"]
    return {"class": inputs @ params["class"], "value": inputs @ params["value"]}


def of_heads(prediction, y):
    squares = jnp.mean((prediction["value"] - y["value"]) ** 2)
    return picked(prediction["class"], y["class"]) + squares


@pytest.mark.parametrize("example_loss", [picked, mean_picked, encoded])
def test_every_position_has_a_label(example_loss):
    loss = jaxnet.BatchLoss(positions, example_loss)
    each = entropies(SEQUENCES @ MATRIX, LABELS).mean(axis=1)
    assert loss(MATRIX, (SEQUENCES, LABELS)) == pytest.approx(each.mean(), rel=1e-5)
    weighed = loss(MATRIX, (SEQUENCES, LABELS, WEIGHTS))
    assert weighed == pytest.approx(np.average(each, weights=WEIGHTS), rel=1e-5)


@pytest.mark.parametrize("example_loss", [picked, mean_picked])
@pytest.mark.parametrize("label", [-1, 4])
def test_a_label_outside_the_outputs_is_told_by_its_position(example_loss, label):
    labels = LABELS.copy()
    labels[7, 3] = label
    loss = jaxnet.BatchLoss(positions, example_loss)
    with pytest.raises(InputError, match=rf"class labels 0 to 3, .* got {label} in row 7 at \[3\]"):
        jaxnet.train(loss, optax.sgd(0.1), MATRIX, (SEQUENCES, labels), ORDER)


@pytest.mark.parametrize("width", [4, 5])  # one where the label's axis would broadcast
@pytest.mark.parametrize(
    "example_loss", [optax.losses.l2_loss, lambda z, y: jnp.mean((z - y) ** 2)]
)
def test_labels_of_positions_are_not_broadcast(example_loss, width):
    params, labels = MATRIX[:, :1] * np.ones(width, np.float32), LABELS
    with (
        jax.numpy_rank_promotion("allow"),
        pytest.raises(InputError, match="integer class labels, which it would broadcast"),
    ):
        jaxnet.BatchLoss(positions, example_loss)(params, (SEQUENCES, labels))


def by_hand(params, weights):
    """The loss of the rows of two heads, in NumPy."""
    inputs = X["a"] + 2 * X["b"]
    squares = ((inputs @ params["value"] - Y["value"]) ** 2).mean(axis=1)
    each = entropies(inputs @ params["class"], Y["class"]) + squares
    return np.average(each, weights=weights)


@pytest.mark.slow
def test_rows_of_several_parts_are_trained_and_judged_on():
    loss = jaxnet.BatchLoss(heads, of_heads)
    assert loss(TWO, (X, Y)) == pytest.approx(by_hand(TWO, np.ones(12)), rel=1e-5)
    data = X, Y, WEIGHTS

    def error(params, batch):
        x, y = batch[:2]
        return jnp.mean((jax.vmap(heads, (None, 0))(params, x)["value"] - y["value"]) ** 2)

    settings = {"epochs": 2, "validation": data, "metrics": {"error": error}}
    fit = functools.partial(jaxnet.fit, loss, optax.sgd(0.1), TWO)
    got = fit(data, batch_size=5, **settings)
    params, inputs = jax.device_get(got.params), X["a"] + 2 * X["b"]
    squares = np.mean((inputs @ params["value"] - Y["value"]) ** 2)
    assert got.history["validation_error"][-1] == pytest.approx(squares, rel=1e-5)
    ends = by_hand(params, WEIGHTS)
    assert got.history["validation_loss"][-1] == pytest.approx(ends, rel=1e-5)
    assert ends < by_hand(TWO, WEIGHTS)
    close(fit(jaxnet.stream(data, 5, 0), **settings).params, got.params)
    predicted = jaxnet.predict(heads, got.params, X)
    np.testing.assert_allclose(predicted["value"], inputs @ params["value"], rtol=1e-5)


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        ((X, {**Y, "value": Y["value"][:7]}), r"with the same B, .* got x \{'a': \[12, 3\]"),
        ((X, {}), "y: expected an array, got dict"),
        ((X, {"class": 1.0}), "y: expected an array, got dict"),
        ((X, Y, WEIGHTS[:7]), "one for each of the 12 rows"),
        ((X, Y, {"w": WEIGHTS}), "weights: expected an array, got dict"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_parts_that_do_not_fit_are_refused(batch, words):
    with pytest.raises(InputError, match=words):
        jaxnet.BatchLoss(heads, of_heads)(TWO, batch)


def test_several_targets_have_one_loss():
    def each(prediction, y):
        return (prediction["value"] - y["value"]) ** 2

    with pytest.raises(InputError, match=r"loss of shape \[\] per example.*got \[3\]"):
        jaxnet.BatchLoss(heads, each)(TWO, (X, Y))

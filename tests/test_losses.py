"""Evidence for the losses: their values and gradients, and that nothing is broadcast silently."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import oracles
import pytest
from sklearn.neural_network import MLPClassifier, MLPRegressor

from jaxnet import losses, network
from jaxnet.errors import InputError

CROSS_ENTROPY = optax.losses.softmax_cross_entropy
LABELS = optax.losses.softmax_cross_entropy_with_integer_labels
BINARY = optax.losses.sigmoid_binary_cross_entropy
L2 = optax.losses.l2_loss
# scikit-learn's names.
ACTIVATIONS = {
    "identity": lambda z: z,
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "logistic": jax.nn.sigmoid,
}


def draw(sizes, rows, seed=0):
    """Random `[(weight, bias), ...]` with rows `x` for them, in NumPy."""
    random = np.random.default_rng(seed)
    params = [
        (random.normal(size=(o, i)), random.normal(size=o)) for i, o in itertools.pairwise(sizes)
    ]
    return params, random.normal(size=(rows, sizes[0])), random


def layers(params):
    return tuple(network.Layer(jnp.asarray(w), jnp.asarray(b)) for w, b in params)


def binary_cross_entropy(z, y):
    p = 1 / (1 + np.exp(-z))
    return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))


@pytest.mark.parametrize(
    "sizes", [[3, 4], [2, 5, 3], [3, 1], [4, 3, 3, 2]], ids=lambda sizes: "-".join(map(str, sizes))
)
@pytest.mark.parametrize("rows", [1, 5])
def test_values_agree_with_numpy(sizes, rows, x64):
    params, x, random = draw(sizes, rows, seed=rows)
    z = oracles.forward(params, x)[1][-1]
    labels = random.integers(sizes[-1], size=rows)
    one_hot, real = np.eye(sizes[-1])[labels], random.normal(size=z.shape)
    bits = random.integers(2, size=z.shape).astype(float)
    cases = [
        (CROSS_ENTROPY, one_hot, oracles.loss(params, x, one_hot, "softmax")),
        (LABELS, labels, oracles.loss(params, x, one_hot, "softmax")),
        (L2, real, oracles.loss(params, x, real, "squares")),
        (BINARY, bits, binary_cross_entropy(z, bits)),
    ]
    for example_loss, y, expected in cases:
        loss = losses.BatchLoss(
            functools.partial(network.forward, activation=jnp.tanh), example_loss
        )
        value = jax.jit(loss)(layers(params), (jnp.asarray(x), jnp.asarray(y)))
        assert value.shape == ()
        assert value.dtype == jnp.float64
        np.testing.assert_allclose(value, expected, rtol=1e-12)


def scikit_gradient(make, activation, params, x, y, learning_rate=0.125, **classes):
    """Read a gradient off one plain step of scikit-learn: `[(weight, bias), ...]`."""
    model = make(
        hidden_layer_sizes=tuple(len(bias) for _, bias in params[:-1]),
        activation=activation,
        solver="sgd",
        learning_rate_init=learning_rate,
        momentum=0,
        nesterovs_momentum=False,
        alpha=0,
        batch_size=len(x),
        shuffle=False,
    )
    model.partial_fit(x, y, **classes)
    for (weight, bias), coefficients, intercepts in zip(
        params, model.coefs_, model.intercepts_, strict=True
    ):
        coefficients[...], intercepts[...] = weight.T, bias
    model.partial_fit(x, y)
    return [
        ((weight - coefficients.T) / learning_rate, (bias - intercepts) / learning_rate)
        for (weight, bias), coefficients, intercepts in zip(
            params, model.coefs_, model.intercepts_, strict=True
        )
    ]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(
    ("example_loss", "sizes", "rows"),
    [
        (CROSS_ENTROPY, [3, 4], 6),
        (CROSS_ENTROPY, [2, 5, 3], 4),
        (LABELS, [4, 3, 5, 3], 7),
        (BINARY, [3, 4, 1], 5),
        (BINARY, [2, 3, 6, 4, 1], 2),
        (L2, [3, 1], 3),
        (L2, [3, 6, 2], 1),
        (L2, [2, 4, 3, 5, 2, 3], 9),
    ],
)
def test_gradients_agree_with_scikit_learn(example_loss, sizes, rows, activation, x64):
    params, x, random = draw(sizes, rows, seed=len(sizes))
    outputs = sizes[-1]
    target = labels = random.integers(max(outputs, 2), size=rows)
    if example_loss is L2:
        target = random.normal(size=(rows, outputs))
        # Its squared loss is the mean over the outputs, its gradient that of their sum.
        column = target if outputs > 1 else target[:, 0]
        expected = scikit_gradient(MLPRegressor, activation, params, x, column)
        expected = [(weight / outputs, bias / outputs) for weight, bias in expected]
    else:
        classes = np.arange(max(outputs, 2))
        expected = scikit_gradient(MLPClassifier, activation, params, x, labels, classes=classes)
    if example_loss is CROSS_ENTROPY:
        target = np.eye(outputs)[labels]
    elif example_loss is BINARY:
        target = labels[:, None].astype(float)
    forward = functools.partial(network.forward, activation=ACTIVATIONS[activation])
    batch = (jnp.asarray(x), jnp.asarray(target))
    grads = jax.jit(jax.grad(losses.BatchLoss(forward, example_loss)))(layers(params), batch)
    jax.tree.map(
        lambda ours, theirs: np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12),
        grads,
        layers(expected),
    )


def squares(prediction, y):
    """A user's loss that reduces by itself, and broadcasts where it may."""
    return jnp.mean((prediction - y) ** 2)


def outer(prediction, y):
    return prediction[:, None] - y[None, :]


@pytest.mark.parametrize("promotion", ["allow", "raise"])
@pytest.mark.parametrize(
    ("example_loss", "y", "error", "words"),
    [
        (L2, jnp.zeros(6), InputError, r"^y: wanted .*\[1\].* got float32 of shape \[\]; .*\[:, N"),
        (squares, jnp.zeros(6), InputError, r"^y: wanted .*\[1\].* got float32 of shape \[\]"),
        (L2, jnp.zeros((6, 2)), InputError, r"^y: wanted .*\[1\].* got float32 of shape \[2\]"),
        (squares, jnp.zeros((6, 2)), InputError, r"^y: wanted .*\[1\].* got float32 of shape"),
        (squares, jnp.zeros((6, 1, 1)), InputError, r"^y: wanted .* of shape \[1, 1\]"),
        (squares, jnp.zeros((6, 2), int), InputError, r"^y: wanted .*got int32 of shape \[2\]"),
        (squares, jnp.zeros((6, 0)), InputError, r"^y: wanted .* of shape \[0\]"),
        (outer, jnp.zeros((6, 1)), InputError, r"^example_loss: wanted .*\[1\].*got \[1, 1\]"),
        (
            lambda prediction, y: prediction * y,
            jnp.zeros(6, jnp.int32),
            InputError,
            r"^y: wanted targets of the prediction's shape \[1\].*one_hot",
        ),
        (L2, jnp.zeros(6, jnp.int32), InputError, "^y: wanted targets .*one_hot"),
        (squares, jnp.zeros(6, jnp.int32), InputError, "^y: wanted targets .*one_hot"),
    ],
)
def test_nothing_is_broadcast_against_one_output(
    example_loss, y, error, words, promotion, unchecked
):
    """Six rows of one output: with JAX's own settings as with strict ones."""
    params = (network.Layer(jnp.ones((1, 3)), jnp.ones(1)),)
    with (
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion(promotion),
        pytest.raises(error, match=words),
    ):
        losses.BatchLoss(network.forward, example_loss)(params, (jnp.ones((6, 3)), y))


@pytest.mark.parametrize(
    ("y", "error", "words"),
    [
        (jnp.zeros(4), InputError, r"^y: wanted .*\[4\].*got float32 of shape \[\]"),
        (jnp.zeros((4, 1)), InputError, r"^y: wanted .*\[4\].*got float32 of shape \[1\]"),
        (jnp.zeros((4, 3)), InputError, r"^y: wanted .*\[4\].*got float32 of shape \[3\]"),
        (jnp.zeros((4, 4, 4)), InputError, r"^y: wanted .*got float32 of shape \[4, 4\]"),
    ],
)
def test_nothing_is_broadcast_against_many_outputs(y, error, words):
    """As many rows as outputs, where a wrong axis would fit."""
    params = (network.Layer(jnp.ones((4, 3)), jnp.ones(4)),)
    with jax.numpy_rank_promotion("allow"), pytest.raises(error, match=words):
        losses.BatchLoss(network.forward, squares)(params, (jnp.ones((4, 3)), y))


@pytest.mark.parametrize(
    ("batch", "error", "words"),
    [
        ((jnp.ones((6, 3)), jnp.ones((5, 1))), InputError, r"got x \[6, 3\] and y \[5, 1\]$"),
        ((jnp.ones((6, 3)), jnp.ones((1, 1))), InputError, r"got x \[6, 3\] and y \[1, 1\]$"),
        ((jnp.ones((0, 3)), jnp.ones((0, 1))), InputError, r"at least 1; got x \[0, 3\]"),
        ((jnp.ones(()), jnp.ones(())), InputError, r"got x \[\] and y \[\]$"),
        ((jnp.ones((6, 3)),), InputError, r"wanted a pair \(x, y\)"),
        ((jnp.ones((6, 3)),) * 3, InputError, r"wanted a pair \(x, y\)"),
        (jnp.ones((2, 3)), InputError, r"wanted a pair \(x, y\)"),
        ({"x": jnp.ones((6, 3)), "y": jnp.ones((6, 1))}, InputError, r"wanted a pair .*'x'"),
    ],
)
def test_a_batch_is_two_arrays_of_as_many_rows(batch, error, words, unchecked):
    params = (network.Layer(jnp.ones((1, 3)), jnp.ones(1)),)
    with pytest.raises(error, match="^batch: .*" + words):
        losses.BatchLoss(network.forward, L2)(params, batch)


@pytest.mark.parametrize(("label", "row"), [(-1, 0), (3, 2), (7, 1)])
@pytest.mark.parametrize("array", [np.asarray, jnp.asarray])
def test_labels_stay_within_the_outputs(label, row, array):
    params = (network.Layer(jnp.ones((3, 2)), jnp.ones(3)),)
    y = np.array([0, 1, 2, 2], np.int32)
    loss, x = losses.BatchLoss(network.forward, LABELS), jnp.ones((4, 2))
    loss.check(params, (x, array(y)))
    y[row] = label
    with pytest.raises(
        InputError, match=rf"^y: .* 0 to 2, .* 3 outputs; got {label} in row {row}$"
    ):
        loss.check(params, (x, array(y)))


def test_real_targets_have_no_range():
    params = (network.Layer(jnp.ones((1, 2)), jnp.ones(1)),)
    loss = losses.BatchLoss(network.forward, L2)
    loss.check(params, (jnp.ones((3, 2)), jnp.array([[-5.0], [7.0], [1e9]])))
    loss.check(params, (jnp.ones((3, 2)), jnp.array([[-5], [7], [9]])))


def test_counts_for_a_scalar_prediction_have_no_range():
    loss = losses.BatchLoss(lambda weight, x: weight @ x, lambda z, y: jnp.exp(z) - z * y)
    loss.check(jnp.ones(2), (jnp.ones((3, 2)), jnp.array([9, 0, 4])))


def test_equal_parts_make_equal_losses():
    loss, again = (losses.BatchLoss(network.forward, L2) for _ in range(2))
    assert loss == again
    assert hash(loss) == hash(again)
    assert loss != losses.BatchLoss(network.forward, BINARY)
    assert loss != losses.BatchLoss(functools.partial(network.forward), L2)


def test_a_rebuilt_loss_finds_the_compiled_program():
    executions = []

    def forward(params, x):
        executions.append(x.shape)
        return network.forward(params, x)

    program = jax.jit(lambda loss, params, batch: loss(params, batch), static_argnums=0)
    params = (network.Layer(jnp.ones((2, 3)), jnp.ones(2)),)
    batch = (jnp.ones((4, 3)), jnp.ones((4, 2)))
    program(losses.BatchLoss(forward, L2), params, batch)
    program(losses.BatchLoss(forward, L2), params, batch)
    assert executions == [(3,)]
    program(losses.BatchLoss(forward, BINARY), params, batch)
    assert len(executions) == 2


def test_a_loss_is_the_same_under_jit_and_vmap(x64):
    """Three networks over three batches, at once and one by one."""
    drawn = [draw([3, 4, 2], rows=5, seed=seed) for seed in range(3)]
    params = [layers(params) for params, _, _ in drawn]
    batches = [(jnp.asarray(x), jnp.asarray(random.normal(size=(5, 2)))) for _, x, random in drawn]
    loss = losses.BatchLoss(network.forward, L2)
    one_by_one = [loss(*each) for each in zip(params, batches, strict=True)]
    together = [jax.tree.map(lambda *leaves: jnp.stack(leaves), *of) for of in (params, batches)]
    np.testing.assert_allclose(jax.jit(jax.vmap(loss))(*together), one_by_one, rtol=1e-14)


def test_a_loss_takes_any_forward():
    """Parameters that are no network, an example of two axes, a prediction of two axes."""
    loss = losses.BatchLoss(lambda params, x: params["scale"] * x, L2)
    x, y = np.arange(12.0).reshape(2, 3, 2), np.ones((2, 3, 2))
    value = loss({"scale": jnp.array(0.5)}, (jnp.asarray(x), jnp.asarray(y)))
    np.testing.assert_allclose(value, np.mean((x / 2 - 1) ** 2) / 2, rtol=1e-6)

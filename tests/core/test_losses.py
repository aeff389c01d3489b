"""Evidence for the losses: their values and gradients, and that nothing is broadcast silently."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import oracles
import pytest
from few import first_of
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


@first_of(
    ("sizes", "rows"),
    [([2, 5, 3], 5), ([3, 1], 1), *itertools.product(([3, 4], [4, 3, 3, 2]), (1, 5))],
    2,
    ids=str,
)
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


NETWORKS = [
    (CROSS_ENTROPY, [3, 4], 6),
    (CROSS_ENTROPY, [2, 5, 3], 4),
    (LABELS, [4, 3, 5, 3], 7),
    (BINARY, [3, 4, 1], 5),
    (BINARY, [2, 3, 6, 4, 1], 2),
    (L2, [3, 1], 3),
    (L2, [3, 6, 2], 1),
    (L2, [2, 4, 3, 5, 2, 3], 9),
]


@pytest.mark.parametrize(
    ("example_loss", "sizes", "rows", "activation"),
    [
        pytest.param(*network, activation, marks=[pytest.mark.slow] * ((at + which) % 6 > 0))
        for at, network in enumerate(NETWORKS)
        for which, activation in enumerate(ACTIVATIONS)
        if (at + which) % 2 == 0
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
        (
            L2,
            jnp.zeros(6),
            InputError,
            r"^y: expected .*\[1\].* got float32 of shape \[\]; .*\[:, N",
        ),
        (squares, jnp.zeros(6), InputError, r"^y: expected .*\[1\].* got float32 of shape \[\]"),
        (L2, jnp.zeros((6, 2)), InputError, r"^y: expected .*\[1\].* got float32 of shape \[2\]"),
        (squares, jnp.zeros((6, 2)), InputError, r"^y: expected .*\[1\].* got float32 of shape"),
        (squares, jnp.zeros((6, 1, 1)), InputError, r"^y: expected .* of shape \[1, 1\]"),
        (squares, jnp.zeros((6, 2), int), InputError, r"^y: expected .*got int32 of shape \[2\]"),
        (squares, jnp.zeros((6, 0)), InputError, r"^y: expected .* of shape \[0\]"),
        (outer, jnp.zeros((6, 1)), InputError, r"^example_loss: expected .*\[1\].*got \[1, 1\]"),
        (
            lambda prediction, y: prediction * y,
            jnp.zeros(6, jnp.int32),
            InputError,
            r"^y: expected targets of the prediction's shape \[1\].*y\[:, None\], of floats",
        ),
        (
            L2,
            jnp.zeros(6, jnp.int32),
            InputError,
            r"^y: expected targets .*y\[:, None\], of floats",
        ),
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
        (jnp.zeros(4), InputError, r"^y: expected .*\[4\].*got float32 of shape \[\]"),
        (jnp.zeros((4, 1)), InputError, r"^y: expected .*\[4\].*got float32 of shape \[1\]"),
        (jnp.zeros((4, 3)), InputError, r"^y: expected .*\[4\].*got float32 of shape \[3\]"),
        (jnp.zeros((4, 4, 4)), InputError, r"^y: expected .*got float32 of shape \[4, 4\]"),
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
        ((jnp.ones((6, 3)), jnp.ones((5, 1))), InputError, r"got x \[6, 3\] and y \[5, 1\]; take"),
        ((jnp.ones((6, 3)), jnp.ones((1, 1))), InputError, r"got x \[6, 3\] and y \[1, 1\]; take"),
        ((jnp.ones((0, 3)), jnp.ones((0, 1))), InputError, r"at least 1, got x \[0, 3\]"),
        ((jnp.ones(()), jnp.ones(())), InputError, r"got x \[\] and y \[\]; take"),
        ((jnp.ones((6, 3)),), InputError, r"expected a pair \(x, y\)"),
        ((jnp.ones((6, 3)),) * 4, InputError, r"expected a pair \(x, y\)"),
        (jnp.ones((2, 3)), InputError, r"expected a pair \(x, y\)"),
        ({"x": jnp.ones((6, 3)), "y": jnp.ones((6, 1))}, InputError, r"expected a pair .*'x'"),
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
    losses.check(loss, params, (x, array(y)))
    y[row] = label
    with pytest.raises(
        InputError, match=rf"^y: .* 0 to 2, .* 3 outputs, got {label} in row {row}$"
    ):
        losses.check(loss, params, (x, array(y)))


def test_real_targets_have_no_range():
    params = (network.Layer(jnp.ones((1, 2)), jnp.ones(1)),)
    loss = losses.BatchLoss(network.forward, L2)
    losses.check(loss, params, (jnp.ones((3, 2)), jnp.array([[-5.0], [7.0], [1e9]])))
    losses.check(loss, params, (jnp.ones((3, 2)), jnp.array([[-5], [7], [9]])))


def test_counts_for_a_scalar_prediction_have_no_range():
    loss = losses.BatchLoss(lambda weight, x: weight @ x, lambda z, y: jnp.exp(z) - z * y)
    losses.check(loss, jnp.ones(2), (jnp.ones((3, 2)), jnp.array([9, 0, 4])))


def test_equal_parts_make_equal_losses():
    loss, again = (losses.BatchLoss(network.forward, L2) for _ in range(2))
    assert loss == again
    assert hash(loss) == hash(again)
    assert loss != losses.BatchLoss(network.forward, BINARY)
    assert loss != losses.BatchLoss(functools.partial(network.forward), L2)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: losses.BatchLoss(3, optax.losses.l2_loss), r"forward: .*\(params, x\), got int;"),
        (lambda: losses.BatchLoss(network.forward, None), r"example_loss: .*, got NoneType;"),
        (lambda: losses.BatchLoss(network.forward, jnp.tanh), r"example_loss: .*, got one of \(x"),
        (lambda: losses.Rule(lambda params: (0.0, params)), r"value_and_grad: .* got one of \(par"),
    ],
)
def test_what_is_no_function_makes_no_loss(make, words, unchecked):
    with pytest.raises(InputError, match=f"^{words}"):
        make()


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


def pick(z, y):
    return jax.nn.log_softmax(z)[y]


def crammer_singer(z, y):
    margins = 1 + z - z[y]
    return jnp.max(jnp.where(jnp.arange(len(z)) == y, 0, margins), initial=0)


def cumulative_links(z, y):
    """The chance that a label is above each threshold, one for each output."""
    above = jnp.arange(len(z)) < y
    return -jnp.sum(jnp.where(above, jax.nn.log_sigmoid(z), jax.nn.log_sigmoid(-z)))


def smoothed(z, y):
    return CROSS_ENTROPY(
        z, optax.losses.smooth_labels(jax.nn.one_hot(y, len(z), dtype=z.dtype), 0.1)
    )


def gaussian(z, y):
    return 0.5 * (z[1] + (y - z[0]) ** 2 / jnp.exp(z[1]))


def weights(z):
    return jnp.arange(1, len(z) + 1, dtype=z.dtype)


def log_softmax(z):
    return z - np.log(np.sum(np.exp(z)))


def soft(z):
    return np.exp(log_softmax(z))


def hinges(z, y):
    """All wrong classes that are within 1 of the right one, in a loop."""
    return [max(0.0, 1 + z[k] - z[y]) for k in range(len(z)) if k != y]


def links(z, y):
    total = 0.0
    for k, each in enumerate(z):
        p = 1 / (1 + np.exp(-each))
        total -= np.log(p if k < y else 1 - p)
    return total


# Name: the loss as people write it, the same by NumPy or a loop, and the fewest outputs it takes.
OF_LABELS = {
    "optax": (LABELS, lambda z, y: -log_softmax(z)[y], 1),
    "optax, a batch of one": (
        lambda z, y: LABELS(z[None], y[None])[0],
        lambda z, y: -log_softmax(z)[y],
        1,
    ),
    "optax poly loss": (
        lambda z, y: optax.losses.poly_loss_cross_entropy(
            z, jax.nn.one_hot(y, len(z), dtype=z.dtype), epsilon=2.0
        ),
        lambda z, y: -log_softmax(z)[y] + 2 * (1 - soft(z)[y]),
        1,
    ),
    "one-hot product": (
        lambda z, y: -(jax.nn.log_softmax(z) @ jax.nn.one_hot(y, len(z), dtype=z.dtype)),
        lambda z, y: -log_softmax(z)[y],
        1,
    ),
    "plain score": (
        lambda z, y: z @ jax.nn.one_hot(y, len(z), dtype=z.dtype),
        lambda z, y: z[y],
        1,
    ),
    "indexed": (lambda z, y: -pick(z, y), lambda z, y: -log_softmax(z)[y], 1),
    "logsumexp": (
        lambda z, y: jax.nn.logsumexp(z) - z[y],
        lambda z, y: -log_softmax(z)[y],
        1,
    ),
    "class weights": (
        lambda z, y: -weights(z)[y] * pick(z, y),
        lambda z, y: -(y + 1) * log_softmax(z)[y],
        1,
    ),
    "focal": (
        lambda z, y: -((1 - jnp.exp(pick(z, y))) ** 2) * pick(z, y),
        lambda z, y: -((1 - soft(z)[y]) ** 2) * log_softmax(z)[y],
        1,
    ),
    "label smoothing": (
        smoothed,
        lambda z, y: -0.9 * log_softmax(z)[y] - 0.1 * log_softmax(z).mean(),
        1,
    ),
    "take": (
        lambda z, y: -jnp.take(jax.nn.log_softmax(z), y),
        lambda z, y: -log_softmax(z)[y],
        1,
    ),
    "take_along_axis": (
        lambda z, y: -jnp.take_along_axis(jax.nn.log_softmax(z), y[None], 0)[0],
        lambda z, y: -log_softmax(z)[y],
        1,
    ),
    "dynamic_index_in_dim": (
        lambda z, y: -jax.lax.dynamic_index_in_dim(jax.nn.log_softmax(z), y, keepdims=False),
        lambda z, y: -log_softmax(z)[y],
        1,
    ),
    "dynamic_slice": (
        lambda z, y: -jax.lax.dynamic_slice(jax.nn.log_softmax(z), (y,), (1,)).sum(),
        lambda z, y: -log_softmax(z)[y],
        1,
    ),
    "where": (
        lambda z, y: -jnp.sum(jnp.where(jnp.arange(len(z)) == y, jax.nn.log_softmax(z), 0)),
        lambda z, y: -log_softmax(z)[y],
        1,
    ),
    "expected distance": (
        lambda z, y: jnp.sum(jax.nn.softmax(z) * abs(jnp.arange(len(z)) - y).astype(z.dtype)),
        lambda z, y: sum(p * abs(k - y) for k, p in enumerate(soft(z))),
        1,
    ),
    "Crammer-Singer": (crammer_singer, lambda z, y: max([0.0, *hinges(z, y)]), 1),
    "multiclass hinge": (
        lambda z, y: jnp.sum(jnp.maximum(0, 1 + z - z[y])) - 1,
        lambda z, y: sum(hinges(z, y)),
        1,
    ),
    "cumulative links": (cumulative_links, links, 1),
    "squares to one-hot": (
        lambda z, y: jnp.mean((jax.nn.softmax(z) - jax.nn.one_hot(y, len(z), dtype=z.dtype)) ** 2),
        lambda z, y: np.mean((soft(z) - np.eye(len(z))[y]) ** 2),
        1,
    ),
    "unlikelihood": (
        lambda z, y: -jnp.log1p(-jax.nn.softmax(z)[y]),
        lambda z, y: -np.log(1 - soft(z)[y]),
        2,
    ),
    "Gaussian": (gaussian, lambda z, y: (z[1] + (y - z[0]) ** 2 / np.exp(z[1])) / 2, 2),
    "count of the sum": (
        lambda z, y: (jnp.sum(z) - y) ** 2,
        lambda z, y: (sum(z) - y) ** 2,
        1,
    ),
    "Poisson of the mean": (
        lambda z, y: jnp.exp(jnp.mean(z)) - y * jnp.mean(z),
        lambda z, y: np.exp(np.mean(z)) - y * np.mean(z),
        1,
    ),
    "count of the largest": (
        lambda z, y: abs(jnp.max(z) - y),
        lambda z, y: abs(max(z) - y),
        1,
    ),
    "Poisson of the first": (
        lambda z, y: jnp.exp(z[0]) - y * z[0],
        lambda z, y: np.exp(z[0]) - y * z[0],
        1,
    ),
    "binary": (
        lambda z, y: BINARY(z[0], y),
        lambda z, y: np.log(1 + np.exp(z[0])) - y * z[0],
        1,
    ),
    "quantiles": (  # what a class-weighted broadcast cannot be told from
        lambda z, y: jnp.sum(jnp.maximum(weights(z) * (y - z), 0)),
        lambda z, y: sum((k + 1) * max(y - each, 0) for k, each in enumerate(z)),
        2,
    ),
    "constant": (lambda z, y: jnp.zeros((), z.dtype) * y, lambda z, y: 0.0, 1),
}
BROADCASTING = {
    "squares": squares,
    "sum of squares": lambda z, y: jnp.sum((z - y) ** 2),
    "absolute": lambda z, y: jnp.mean(abs(z - y)),
    "optax squares": lambda z, y: jnp.mean(optax.losses.l2_loss(z, y)),
    "optax binary": lambda z, y: jnp.mean(BINARY(z, y)),
    "optax cross-entropy": CROSS_ENTROPY,
    "optax huber": lambda z, y: jnp.sum(optax.losses.huber_loss(z, y)),
    "log-cosh": lambda z, y: jnp.mean(optax.losses.log_cosh(z, y)),
    "dense cross-entropy": lambda z, y: -jnp.sum(y * jax.nn.log_softmax(z)),
    "Poisson": lambda z, y: jnp.mean(jnp.exp(z) - y * z),
    "Poisson of rates": lambda z, y: jnp.mean(z - y * jnp.log(z)),
    "cosine": lambda z, y: -jnp.sum(z * y) / jnp.linalg.norm(z),
    "root": lambda z, y: jnp.sqrt(jnp.mean((z - y) ** 2)),
    "maximum": lambda z, y: jnp.max(abs(z - y)),
    "hinge": lambda z, y: jnp.mean(jnp.maximum(0, 1 - (2 * y - 1) * z)),
    "mean error": lambda z, y: jnp.mean(z - y),
    "elementwise": lambda z, y: (z - y) ** 2,
}


def labelled(outputs, array=jnp.asarray, rows=7):
    params, x, random = draw([3, outputs], rows, seed=outputs)
    z = oracles.forward(params, x)[1][-1]
    labels = random.integers(max(outputs, 2) if outputs > 1 else 1, size=rows)
    return layers(params), (array(x), array(labels)), z, labels


@pytest.mark.usefixtures("standard_promotion", "x64")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (index % 12 > 0))
        for index, name in enumerate(OF_LABELS)
    ],
)
def test_a_loss_of_labels_is_taken(name):
    """Of one output, of two and of five: alone, and of two networks with their gradients."""
    example_loss, twin, fewest = OF_LABELS[name]
    loss = losses.BatchLoss(network.forward, example_loss)
    problems, expected = [], []
    for outputs in (each for each in (1, 2, 5) if each >= fewest):
        params, batch, z, labels = labelled(outputs)
        losses.check(loss, params, batch)
        problems.append((params, batch))
        expected.append(np.mean([twin(*each) for each in zip(z, labels, strict=True)]))

    def values(params, batch):
        two = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), params)
        return loss(params, batch), jax.vmap(jax.value_and_grad(loss), (0, None))(two, batch)[0]

    with jax.numpy_rank_promotion("allow"):
        found = jax.jit(lambda every: [values(*each) for each in every])(problems)
        for (alone, two), value in zip(found, expected, strict=True):
            np.testing.assert_allclose([alone, *two], [value] * 3, rtol=1e-9, atol=1e-12)


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (index % 12 != 1))
        for index, name in enumerate(OF_LABELS)
    ],
)
def test_a_loss_of_labels_is_taken_in_float32_of_numpy_arrays(name):
    example_loss, twin, _ = OF_LABELS[name]
    params, (x, y), z, labels = labelled(5, np.asarray)
    batch = (np.float32(x), y.astype(np.uint8))
    value = losses.BatchLoss(network.forward, example_loss)(params, batch)
    expected = np.mean([twin(each, label) for each, label in zip(z, labels, strict=True)])
    np.testing.assert_allclose(value, expected, rtol=2e-4, atol=1e-5)


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize(
    ("name", "outputs", "transform"),
    [
        pytest.param(name, *way, marks=[pytest.mark.slow] * ((at - which) % 12 > 0))
        for at, name in enumerate(BROADCASTING)
        for which, way in enumerate([(2, jax.jit), (5, jax.grad), (300, lambda loss: loss)])
    ],
)
def test_a_loss_that_broadcasts_labels_is_refused(name, outputs, transform):
    params, batch, _, _ = labelled(outputs, np.asarray)
    loss = losses.BatchLoss(network.forward, BROADCASTING[name])
    with (
        jax.numpy_rank_promotion("allow"),
        pytest.raises(InputError, match=r"^y: expected targets .*would broadcast; one-hot encode"),
    ):
        transform(loss)(params, batch)


@pytest.mark.usefixtures("standard_promotion")
def test_a_loss_of_a_thousand_labels_is_taken():
    params, batch, z, labels = labelled(1000, jnp.asarray)
    expected = -np.mean([log_softmax(each)[label] for each, label in zip(z, labels, strict=True)])
    for example_loss in (LABELS, lambda z, y: -pick(z, y)):
        value = jax.jit(losses.BatchLoss(network.forward, example_loss))(params, batch)
        np.testing.assert_allclose(value, expected, rtol=1e-4)


def test_a_loss_may_close_over_what_is_traced():
    params, batch, z, labels = labelled(3)

    @jax.jit
    def value(scale):
        return losses.BatchLoss(network.forward, lambda z, y: -scale * pick(z, y))(params, batch)

    expected = -np.mean([log_softmax(each)[label] for each, label in zip(z, labels, strict=True)])
    np.testing.assert_allclose(value(jnp.float32(2)), 2 * expected, rtol=1e-4)
    np.testing.assert_allclose(jax.grad(value)(jnp.float32(2)), expected, rtol=1e-4)


def test_a_loss_says_itself_what_is_wrong_with_it():
    def broken(z, y):
        raise RuntimeError("its own")

    params, batch, _, _ = labelled(3)
    with pytest.raises(RuntimeError, match="its own"):
        losses.BatchLoss(network.forward, broken)(params, batch)


def test_one_label_for_each_position():
    """A prediction of two axes, as many positions as outputs, where a wrong axis would fit."""
    x, y = np.ones((6, 4), np.float32), np.arange(24, dtype=np.int32).reshape(6, 4) % 4
    z, picked = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32), LABELS
    loss = losses.BatchLoss(lambda params, x: params * x[:, None], lambda z, y: picked(z, y).mean())
    expected = -np.mean([[log_softmax(z[t])[y[n, t]] for t in range(4)] for n in range(6)])
    np.testing.assert_allclose(jax.jit(loss)(z, (x, y)), expected, rtol=1e-5)
    wrong = losses.BatchLoss(loss.forward, lambda z, y: jnp.mean((z - y[:, None]) ** 2))
    with (
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
    ):
        assert np.isfinite(jax.jit(wrong)(z, (x, y)))
        with pytest.raises(InputError, match="would broadcast"):
            losses.BatchLoss(loss.forward, squares)(z, (x, y))


@pytest.mark.parametrize(
    ("y", "words"),
    [
        (np.array([[0], [1], [2]]), r"got int32 of shape \[1\]; give the column .*y\[:, 0\]"),
        (np.array([[0.0], [1.0], [2.0]]), r"got float32 of shape \[1\]; give the column"),
        (np.array([0.0, 1.0, 2.0]), r"got float32 of shape \[\]; cast them .*astype\(int\)"),
        (np.eye(3), r"got float32 of shape \[3\]; of one-hot rows give y.argmax\(-1\)"),
    ],
)
@pytest.mark.parametrize("example_loss", [LABELS, lambda z, y: -pick(z, y)])
def test_what_is_no_label_is_told_how_to_become_one(example_loss, y, words, unchecked):
    params = (network.Layer(jnp.ones((3, 2)), jnp.ones(3)),)
    with pytest.raises(
        InputError, match=r"^y: expected integer class labels of shape \[\].*" + words
    ):
        losses.BatchLoss(network.forward, example_loss)(params, (jnp.ones((3, 2)), jnp.asarray(y)))


def test_bits_for_one_output_are_a_column_or_a_loss_of_it():
    params, y = (network.Layer(jnp.ones((1, 2)), jnp.ones(1)),), np.array([0, 1, 1], np.int32)
    batch = (jnp.ones((3, 2)), y)
    elementwise = losses.BatchLoss(network.forward, BINARY)
    losses.check(elementwise, params, batch)
    with jax.numpy_dtype_promotion("standard"):
        with pytest.raises(InputError, match=r"give y\[:, None\], of floats"):
            elementwise(params, batch)
        column = elementwise(params, (batch[0], y[:, None].astype(np.float32)))
        scalar = losses.BatchLoss(network.forward, lambda z, y: BINARY(z[0], y))
        losses.check(scalar, params, batch)
        assert scalar(params, batch) == column
    classes = losses.BatchLoss(network.forward, LABELS)
    with pytest.raises(
        InputError, match="expected class labels of a network with an output for each"
    ):
        losses.check(classes, params, batch)


def test_counts_have_no_range_where_a_loss_tells_them_apart():
    params = (network.Layer(jnp.ones((3, 2)), jnp.ones(3)),)
    data = (jnp.ones((3, 2)), np.array([-4, 17, 1], np.int32))
    for name in ("Gaussian", "count of the sum", "Poisson of the first"):
        losses.check(losses.BatchLoss(network.forward, OF_LABELS[name][0]), params, data)
    for name in ("optax", "one-hot product", "class weights", "cumulative links", "where"):
        with pytest.raises(InputError, match="expected class labels 0 to 2"):
            losses.check(losses.BatchLoss(network.forward, OF_LABELS[name][0]), params, data)


def test_targets_that_a_loss_takes_none_of_are_named(unchecked):
    params, y = (network.Layer(jnp.ones((1, 2)), jnp.ones(1)),), {"y": jnp.ones((3, 1))}
    loss = losses.BatchLoss(network.forward, L2)
    for call in (loss, functools.partial(losses.check, loss)):
        with pytest.raises(InputError, match=r"^y: expected targets .* got \{'y': \[1\]\} for"):
            call(params, (jnp.ones((3, 2)), y))

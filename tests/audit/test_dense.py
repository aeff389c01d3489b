"""Dense networks as people write them, each with a mistake that the audit names, and without."""

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from few import first_of, some_of

from experiments.benchmark.plants import jacobian
from jaxnet.audit import audit


@pytest.fixture(autouse=True)
def as_jax_comes(x64, unchecked):
    """Ranks and dtypes are promoted in what people write."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def softmax(z):
    raised = np.exp(z - z.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def draw(seed, sizes, rows, *, bias=True):
    random = np.random.default_rng(seed)
    params = {}
    for k, (i, o) in enumerate(itertools.pairwise(sizes), 1):
        params[f"W{k}"] = random.normal(0, 1 / np.sqrt(i), (i, o))
        if bias:
            params[f"b{k}"] = random.normal(0, 0.4, o)
    classes = np.eye(sizes[-1])[random.integers(sizes[-1], size=rows)]
    return params, random.normal(size=(rows, sizes[0])), classes


def said(loss, params, batch, claimed):
    """The diagnoses of the wrong parameters, by their names."""
    rows = audit(loss, params, batch, claimed).rows
    return {row.name.strip("[]'"): row.diagnosis for row in rows if row.verdict != "right"}


def named(diagnoses, names, *words):
    """Whether these parameters alone are wrong, by these causes."""
    assert set(diagnoses) == set(names), diagnoses
    for text in diagnoses.values():
        assert all(re.search(each, text) for each in words), text


# Softmax and sigmoid outputs.


def squares(p, x, y):
    a = jnp.tanh(x @ p["W1"] + p["b1"])
    return jnp.mean(jnp.sum((jax.nn.softmax(a @ p["W2"] + p["b2"]) - y) ** 2, 1)) / 2


def backward(params, x, y, delta, slope=lambda h: 1 - h**2):
    h = np.tanh(x @ params["W1"] + params["b1"])
    d2 = delta(softmax(h @ params["W2"] + params["b2"]), y) / len(x)
    d1 = d2 @ params["W2"].T * slope(h)
    return {"W1": x.T @ d1, "b1": d1.sum(0), "W2": h.T @ d2, "b2": d2.sum(0)}


SOFTMAX = [
    ("", lambda p, y: jacobian(p, p - y)),
    ("1 - p", lambda p, y: (p - y) * (1 - p)),
    ("multiplied by p", lambda p, y: (p - y) * p),
    ("diagonal", lambda p, y: (p - y) * p * (1 - p)),
    ("left out", lambda p, y: p - y),
    ("applied twice", lambda p, y: jacobian(p, jacobian(p, p - y))),
    ("cross terms alone", lambda p, y: jacobian(p, p - y) - (p - y) * p * (1 - p)),
    ("taken at the error", lambda p, y: (p - y) * softmax(p - y) * (1 - softmax(p - y))),
]


@first_of("rows", [7, 1])
@first_of(("words", "delta"), SOFTMAX, 3)
def test_a_softmax_derivative_of_the_wrong_form_is_named(words, delta, rows):
    params, x, y = draw(rows, [4, 5, 3], rows)
    found = said(squares, params, (x, y), backward(params, x, y, delta))
    named(found, params if words else [], words)


def test_three_mistakes_of_one_example_are_all_named():
    params, x, y = draw(3, [4, 5, 3], 1)
    wrong = backward(params, x, y, lambda p, y: (p - y) * (1 - p), slope=lambda h: h)
    wrong["W2"] = wrong["W2"] * 2
    found = said(squares, params, (x, y), wrong)
    named(found, params, "1 - p")
    assert "doubled" in found["W2"]
    assert "activation in place of its derivative" in found["W1"]


# Targets of -1 and 1.


def margins(p, x, t):
    return jnp.sum(jnp.log(1 + jnp.exp(-t * (x @ p["w"]))))


def hinge(p, x, t):
    return jnp.mean(jnp.maximum(0, 1 - t * (x @ p["w"])))


@pytest.mark.parametrize(
    ("loss", "words", "delta"),
    [
        (margins, "", lambda t, z: -t * sigmoid(-t * z)),
        (margins, "of -z, not of z", lambda t, z: -t * sigmoid(t * z)),
        (margins, "the target left out inside", lambda t, z: -t * sigmoid(-z)),
        (margins, "the target left out before", lambda t, z: -sigmoid(-t * z)),
        (margins, "targets of -1 and 1", lambda t, z: sigmoid(z) - t),
        (hinge, "", lambda t, z: -t * (t * z < 1) / len(z)),
        (hinge, "the margin left out", lambda t, z: -t * (t * z < 0) / len(z)),
        (hinge, "the hinge left out", lambda t, z: -t / len(z)),
    ],
)
def test_mistakes_with_targets_of_minus_one_and_one(loss, words, delta):
    random = np.random.default_rng(5)
    params, x = {"w": random.normal(size=4)}, random.normal(size=(30, 4))
    t = np.where(random.random(30) > 0.5, 1.0, -1.0)
    claimed = {"w": x.T @ delta(t, x @ params["w"])}
    named(said(loss, params, (x, t), claimed), ["w"] if words else [], words)


# Weights that are updated before signals are sent through them.


def deep(p, x, y):
    h = x
    for k in (1, 2, 3):
        h = 1 / (1 + jnp.exp(-(h @ p[f"W{k}"] + p.get(f"b{k}", 0.0))))
    return jnp.sum((h - y) ** 2) / 2


def updating(params, x, y, rate, *, slope=True, raw=False):
    """Backpropagation that updates each weight before it sends the signal, or the error, on."""
    h = [x]
    for k in (1, 2, 3):
        h.append(sigmoid(h[-1] @ params[f"W{k}"] + params.get(f"b{k}", 0.0)))
    error, grads = h[3] - y, {}
    for k in (3, 2, 1):
        delta = error * (h[k] * (1 - h[k]) if slope or k < 3 else 1)
        grads |= {f"W{k}": h[k - 1].T @ delta}
        grads |= {f"b{k}": delta.sum(0)} if f"b{k}" in params else {}
        error = (error if raw else delta) @ (params[f"W{k}"] - rate * grads[f"W{k}"]).T
    return grads


@first_of(("rows", "bias"), [(1, True), (6, False)])
@first_of(("rate", "slope"), [(0.1, False), (1.0, True)])
def test_weights_updated_too_early_are_named_in_every_layer(rows, bias, rate, slope):
    params, x, y = draw(2, [3, 4, 4, 2], rows, bias=bias)
    assert not said(deep, params, (x, y), updating(params, x, y, 0.0))
    found = said(deep, params, (x, y), updating(params, x, y, rate, slope=slope))
    hidden = {name: text for name, text in found.items() if name[1] != "3"}
    named(hidden, [name for name in params if name[1] != "3"], f"learning rate {rate:g}")
    if not slope:
        named(found, params, "sigmoid derivative left out")


@pytest.mark.slow
def test_raw_errors_sent_through_updated_weights_are_named():
    params, x, y = draw(2, [3, 4, 4, 2], 5)
    found = said(deep, params, (x, y), updating(params, x, y, 0.1, raw=True))
    named(found, ["W1", "b1", "W2", "b2"], "learning rate 0.1", "sigmoid derivative left out")
    assert re.search("hidden layer 2.*: activation derivative missing", found["W1"])


# Biases that are a column of the weight.

ONES = np.ones((8, 1))


def stacked(p, x, y):
    h = sigmoid(np.hstack([ONES, x]) @ p["T1"].T)
    return _crossed(sigmoid(np.hstack([ONES, h]) @ p["T2"].T), y) + _penalty(p, np.s_[:, 1:])


def joined(p, x, y):
    h = sigmoid(np.c_[x, ONES] @ p["T1"].T)
    return _crossed(sigmoid(np.c_[h, ONES] @ p["T2"].T), y) + _penalty(p, np.s_[:, :-1])


def inserted(p, x, y):
    h = sigmoid(np.insert(x, 0, 1, axis=1) @ p["T1"].T)
    return _crossed(sigmoid(np.insert(h, 0, 1, axis=1) @ p["T2"].T), y) + _penalty(p, np.s_[:, 1:])


def sliced(p, x, y):
    h = sigmoid(x @ p["T1"][:, 1:].T + p["T1"][:, 0])
    return _crossed(sigmoid(h @ p["T2"][:, 1:].T + p["T2"][:, 0]), y) + _penalty(p, np.s_[:, 1:])


def _crossed(p, y):
    return -np.sum(y * np.log(p) + (1 - y) * np.log(1 - p)) / len(y)


def _penalty(p, part):
    return 0.3 / 16 * (np.sum(p["T1"][part] ** 2) + np.sum(p["T2"][part] ** 2))


def thetas(p, x, y, first, wrong=""):
    """Backpropagation with ones before or after the inputs of each layer."""
    sides = (lambda a: [ONES, a]) if first else (lambda a: [a, ONES])
    cut = (lambda w: w[:, 1:]) if first != (wrong == "other end") else (lambda w: w[:, :-1])
    inputs = np.hstack(sides(x))
    h = sigmoid(inputs @ p["T1"].T)
    middle = np.hstack(sides(h))
    d2 = (sigmoid(middle @ p["T2"].T) - y) / len(x)
    grads = {"T2": d2.T @ middle}
    sent = d2 @ cut(p["T2"] - (1.0 if wrong == "updated" else 0.0) * grads["T2"])
    d1 = sent * (1 if wrong == "slope" else h * (1 - h))
    grads["T1"] = d1.T @ inputs
    for name, grad in grads.items():
        term = 0.3 / 8 * p[name]
        bias = 0 if first else -1
        if wrong != "penalised":
            term[:, bias] = 0
        if wrong == "no ones":
            grad[:, bias] = 0
        grads[name] = grad + term
    return grads


COLUMNS = {
    "": ([], ""),
    "slope": (["T1"], "activation derivative missing"),
    "other end": (["T1"], "column . of the weight left out, not that of the ones"),
    "updated": (["T1"], "already updated, with learning rate 1"),
    "penalised": (["T1", "T2"], "for the biases too"),
    "no ones": (["T1", "T2"], "column of ones left out"),
}


@some_of(
    ("loss", "wrong"),
    itertools.product([stacked, joined, inserted, sliced], COLUMNS),
    *((stacked, ""), (stacked, "other end"), (joined, "no ones")),
)
def test_a_bias_that_is_a_column_of_the_weight_is_seen(loss, wrong):
    random = np.random.default_rng(4)
    params = {"T1": random.normal(0, 0.7, (5, 5)), "T2": random.normal(0, 0.7, (3, 6))}
    x, y = random.normal(size=(8, 4)), (random.random((8, 3)) > 0.5) * 1.0
    claimed = thetas(params, x, y, loss is not joined, wrong)
    named(said(loss, params, (x, y), claimed), *COLUMNS[wrong])


# Inputs that the loss scales.


@first_of("missing", [True, False])
@first_of("scale", [lambda x: x / 255, lambda x: (x - 100) / 70])
def test_a_gradient_of_unscaled_inputs_is_named(scale, missing):
    params, _, y = draw(6, [4, 5, 3], 8)
    x = np.random.default_rng(6).uniform(0, 255, (8, 4))

    def loss(p, x, y):
        return squares(p, scale(x), y)

    def delta(p, y):
        return p - y if missing else jacobian(p, p - y)

    right = backward(params, scale(x), y, lambda p, y: jacobian(p, p - y))
    assert not said(loss, params, (x, y), right)
    wrong = backward(params, scale(x), y, delta)
    h = np.tanh(scale(x) @ params["W1"] + params["b1"])
    d2 = delta(softmax(h @ params["W2"] + params["b2"]), y) / 8
    wrong["W1"] = x.T @ (d2 @ params["W2"].T * (1 - h**2))
    found = said(loss, params, (x, y), wrong)
    assert "inputs as they are given" in found["W1"]
    assert set(found) == (set(params) if missing else {"W1"})


@pytest.mark.parametrize(
    ("size", "words"),
    [(3, "summed over the outputs where the loss takes the mean"), (4, "4, the size of an axis")],
)
def test_of_one_example_the_size_of_an_axis_is_told(size, words):
    random = np.random.default_rng(7)
    x, y = random.normal(size=4), np.eye(3)[1]
    params = {"W": random.normal(size=(3, 4)), "b": random.normal(size=3)}

    def loss(p, x, y):
        return jnp.sum((p["W"] @ x + p["b"] - y) ** 2) / size

    delta = 2 * (params["W"] @ x + params["b"] - y)
    right = {"W": np.outer(delta, x) / size, "b": delta / size}
    assert not said(loss, params, (x, y), right)
    named(said(loss, params, (x, y), {"W": np.outer(delta, x), "b": delta}), params, words)


# Regularisers.


def regularised(p, x, y):
    return squares(p, x, y) + 0.35 / 7 * (jnp.sum(p["W1"] ** 2) + jnp.sum(p["W2"] ** 2))


@pytest.mark.parametrize(
    ("words", "term"),
    [
        ("", lambda w: w),
        ("the sum of all entries", lambda w: w.sum()),
        ("the sum of all squares", lambda w: (w**2).sum()),
        ("each entry's sign", np.sign),
        ("each entry's size", abs),
        ("times 1, the parameter left out", lambda w: 1.0),
        ("the parameter divided by its norm", lambda w: w / np.linalg.norm(w)),
        ("the sum of all entries.*not divided by the batch size", lambda w: 7 * w.sum()),
    ],
)
def test_a_regulariser_of_the_wrong_thing_is_named(words, term):
    params, x, y = draw(8, [4, 5, 3], 7)
    claimed = backward(params, x, y, lambda p, y: jacobian(p, p - y))
    for name in ("W1", "W2"):
        claimed[name] = claimed[name] + 0.1 * term(params[name])
    found = said(regularised, params, (x, y), claimed)
    named(found, ["W1", "W2"] if words else [], words)


def test_a_regulariser_on_the_biases_is_named():
    params, x, y = draw(8, [4, 5, 3], 7)
    right = backward(params, x, y, lambda p, y: jacobian(p, p - y))
    right |= {name: right[name] + 0.1 * params[name] for name in ("W1", "W2")}
    for term in (lambda b: b, np.ones_like):
        wrong = right | {name: right[name] + 0.1 * term(params[name]) for name in ("b1", "b2")}
        named(said(regularised, params, (x, y), wrong), ["b1", "b2"], "regulariser added")


def test_a_wrong_signal_is_named_beside_any_share_of_the_regulariser():
    params, x, y = draw(9, [4, 5, 3], 7)
    for share, words in ((0.0, "left out"), (2.0, "counted twice"), (3.3, r"times 3\.3")):
        wrong = backward(params, x, y, lambda p, y: p - y)
        for name in ("W1", "W2"):
            wrong[name] = wrong[name] + 0.1 * share * params[name]
        found = said(regularised, params, (x, y), wrong)
        named(found, params, "softmax derivative left out")
        for name in ("W1", "W2"):
            assert f"the regulariser's term {words}".replace("\\", "") in found[name]


# Derivatives of other activations.


def gelu_slope(z, approximation):
    if approximation == "sigmoid":
        gate = sigmoid(1.702 * z)
        return gate + 1.702 * z * gate * (1 - gate)
    root = np.sqrt(2 / np.pi)
    t = np.tanh(root * (z + 0.044715 * z**3))
    return 0.5 * (1 + t) + 0.5 * z * (1 - t**2) * root * (1 + 3 * 0.044715 * z**2)


ACTIVATIONS = {
    "sigmoid": lambda z: z * jax.nn.sigmoid(1.702 * z),
    "tanh": jax.nn.gelu,
    "leaky": lambda z: jnp.where(z > 0, z, 0.01 * z),
    "elu": lambda z: jnp.where(z > 0, z, jnp.expm1(jnp.minimum(z, 0))),
    "silu": jax.nn.silu,
}
SLOPES = [
    ("sigmoid", lambda z: gelu_slope(z, "sigmoid"), ""),
    ("sigmoid", lambda z: gelu_slope(z, "tanh"), r"GELU \(tanh approximation\) in place"),
    ("tanh", lambda z: gelu_slope(z, "tanh"), ""),
    ("tanh", lambda z: gelu_slope(z, "sigmoid"), r"GELU \(sigmoid approximation\) in place"),
    ("leaky", lambda z: np.where(z > 0, 1, 0.1), "leaky ReLU of slope 0.1 in place"),
    ("leaky", lambda z: np.where(z > 0, 1, 0.07), "leaky ReLU of slope 0.07 in place"),
    ("elu", lambda z: np.where(z > 0, 1, 0.6 * np.exp(z)), "ELU of alpha 0.6 in place"),
    ("elu", lambda z: np.where(z > 0, 1, np.expm1(z)), "the activation in place of its derivative"),
    ("silu", sigmoid, "first term alone"),
    ("silu", lambda z: z * sigmoid(z) * (1 - sigmoid(z)), "second term alone"),
    ("silu", lambda z: sigmoid(1.0 * z) * (1 - sigmoid(z)), "sigmoid in place"),
]


@first_of(("name", "slope", "words"), [*SLOPES[::3], *SLOPES[1::3], *SLOPES[2::3]], 4)
def test_the_derivative_of_another_activation_is_named(name, slope, words):
    params, x, y = draw(10, [3, 6, 2], 7)
    activation = ACTIVATIONS[name]

    def loss(p, x, y):
        return jnp.sum((activation(x @ p["W1"] + p["b1"]) @ p["W2"] + p["b2"] - y) ** 2) / 2

    z = x @ params["W1"] + params["b1"]
    h = np.asarray(activation(z))
    d2 = h @ params["W2"] + params["b2"] - y
    d1 = d2 @ params["W2"].T * slope(z)
    claimed = {"W1": x.T @ d1, "b1": d1.sum(0), "W2": h.T @ d2, "b2": d2.sum(0)}
    named(said(loss, params, (x, y), claimed), ["W1", "b1"] if words else [], words)

"""What is proof: agreement beyond chance, numbers that others bear out, a chain that is one."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxnet.audit import gradients, measured
from jaxnet.audit.mistakes.evidence import Claim
from jaxnet.audit.mistakes.outputs import wrong_signals

pytestmark = pytest.mark.usefixtures("unchecked")


def network(sizes, seed=0, rows=7):
    """The loss, the parameters, a batch and the gradient of a tanh network in NumPy, rows first."""
    random = np.random.default_rng(seed)
    params = {}
    for k, (inputs, outputs) in enumerate(itertools.pairwise(sizes), 1):
        params |= {
            f"W{k}": random.normal(size=(inputs, outputs)),
            f"b{k}": random.normal(size=outputs),
        }
    batch = random.normal(size=(rows, sizes[0])), random.normal(size=(rows, sizes[-1]))

    def loss(params, x, y):
        for k in range(1, len(sizes)):
            x = x @ params[f"W{k}"] + params[f"b{k}"]
            x = np.tanh(x) if k < len(sizes) - 1 else x
        return np.sum((x - y) ** 2) / (2 * rows)

    def gradient(params, x, y):
        hs = [x]
        for k in range(1, len(sizes)):
            z = hs[-1] @ params[f"W{k}"] + params[f"b{k}"]
            hs.append(np.tanh(z) if k < len(sizes) - 1 else z)
        delta, grads = (hs[-1] - y) / rows, {}
        for k in range(len(sizes) - 1, 0, -1):
            grads |= {f"W{k}": hs[k - 1].T @ delta, f"b{k}": delta.sum(0)}
            delta = delta @ params[f"W{k}"].T * (1 - hs[k - 1] ** 2)
        return grads

    return loss, params, batch, gradient(params, *batch)


@given(st.integers(1, 12), st.integers(1, 10**6), st.floats(1e-15, 0.1))
def test_agreement_proves_only_what_chance_does_not_make(numbers, compared, tolerance):
    claim = Claim([np.ones(3)], tolerance, 1)
    chance = compared * tolerance**numbers
    if claim.proves(numbers, compared):
        assert chance < 1e-2
    elif numbers > 1:
        assert chance > 1e-12


@pytest.mark.parametrize("scale", [0.37, 1.9, -0.4])
def test_a_rate_fitted_to_one_unit_is_borne_out_by_the_other_leaves(scale):
    """Of a hidden layer of one unit, weights updated too early do the same as a factor."""
    loss, params, batch, grads = network([3, 1, 2])
    said = gradients.audit(loss, params, batch, grads | {"W1": scale * grads["W1"]})
    row = {row.name: row for row in said.rows}["['W1']"]
    assert row.verdict == "wrong"
    assert "updated" not in row.diagnosis


def test_what_an_optimizer_makes_of_a_gradient_is_named():
    loss, params, batch, grads = network([3, 5, 2])
    whole = np.sqrt(sum(np.sum(leaf**2) for leaf in grads.values()))
    limit = float(f"{whole / 3:.0e}")
    edge = 0.6 * max(np.abs(leaf).max() for leaf in grads.values())
    for words, change in {
        "its sign alone": np.sign,
        "clipped to entries": lambda leaf: np.clip(leaf, -edge / 4, edge / 4),
        f"clipped to a norm of {limit:g}": lambda leaf: leaf * limit / whole,
    }.items():
        claim = {name: change(leaf) for name, leaf in grads.items()}
        said = gradients.audit(loss, params, batch, claim)
        assert {words in row.diagnosis for row in said.rows if row.verdict == "wrong"} == {True}


ACTIVATIONS = {
    "softmax": lambda z: jnp.exp(z) / jnp.exp(z).sum(1, keepdims=True),
    "sigmoid": lambda z: 1 / (1 + jnp.exp(-z)),
    "identity": lambda z: z,
}
ERRORS = {
    "cross-entropy": lambda p, y: -jnp.sum(y * jnp.log(p)) / 8,
    "binary": lambda p, y: -jnp.sum(y * jnp.log(p) + (1 - y) * jnp.log(1 - p)) / 8,
    "squares": lambda p, y: jnp.mean((p - y) ** 2),
}


@pytest.mark.parametrize(
    ("activation", "error"),
    [
        ("softmax", "cross-entropy"),
        ("sigmoid", "binary"),
        ("sigmoid", "squares"),
        ("softmax", "squares"),
        ("identity", "squares"),
    ],
)
def test_formulas_that_are_shown_give_the_signals_they_are_of(x64, activation, error):
    """Those that plain NumPy can compute, of p, y and z."""
    random = np.random.default_rng(0)
    params = {"W": random.normal(size=(4, 3)), "b": random.normal(size=(1, 3))}
    batch = random.normal(size=(8, 4)), np.eye(3)[random.integers(0, 3, 8)]

    def loss(params, batch):
        p = ACTIVATIONS[activation](batch[0] @ params["W"] + params["b"])
        return ERRORS[error](p, batch[1])

    chain = measured.measure(loss, params, batch, params).chain
    z, p, y = chain.layers[-1].z, chain.output.p, chain.output.y
    known = {"p": p, "y": y, "z1": z, "dz1": chain.delta, "N": 8, "O": 3} | {
        name: getattr(np, name)
        for name in ("roll", "abs", "sign", "sum", "mean", "clip", "tanh", "exp", "log", "where")
    }
    computed = 0
    for signal in wrong_signals(chain):
        formula = signal.edits[-1].wrong.partition(" = ")[2].replace("N O", "N * O")
        try:
            given = eval(formula, known)
        except (SyntaxError, NameError):  # such as f'(z)
            continue
        computed += 1
        given = np.broadcast_to(given, z.shape)
        np.testing.assert_allclose(given, signal.delta, 1e-9, 1e-12, err_msg=formula)
    assert computed > len(wrong_signals(chain)) / 3


def test_layers_that_share_a_weight_are_no_chain():
    def loss(params, x, y):
        h = jnp.tanh(x @ params["W"])
        return jnp.mean((jnp.tanh(h @ params["W"]) - y) ** 2)

    random = np.random.default_rng(0)
    params, batch = {"W": random.normal(size=(4, 4))}, tuple(random.normal(size=(2, 6, 4)))
    noise = {"W": random.normal(size=(4, 4))}
    assert "Layers were not examined" in gradients.audit(loss, params, batch, noise).summary


def test_what_float32_rounds_on_the_way_is_no_mistake():
    """A sum with 10,000 that is taken away again: neither inputs nor gradient show its size."""
    random = np.random.default_rng(0)
    x, y = random.normal(size=(20, 3)).astype(np.float32), np.ones(20, np.float32)
    params, batch = {"w": np.ones(3, np.float32)}, (x, y, 10_000 * y)

    def loss(params, x, y, far):
        return jnp.mean(((x @ params["w"] + far) - far - y) ** 2)

    said = gradients.audit(loss, params, batch, jax.grad(loss)(params, *batch))
    assert "wrong" not in {row.verdict for row in said.rows}

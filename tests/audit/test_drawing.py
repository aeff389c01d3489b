"""Audits of losses that draw, and of models that carry a state."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from few import first_of

import jaxnet
from jaxnet import InputError
from jaxnet.audit import audit

KEY = jax.random.key(4)
X = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
Y = np.random.default_rng(1).normal(size=(6, 2)).astype(np.float32)
PARAMS = jaxnet.init(jax.random.key(0), [3, 5, 2])


def mask(key, shape):
    return jnp.where(jax.random.bernoulli(key, jnp.float32(0.5), shape), 2.0, 0.0)


def dropped(params, batch, key):
    (hidden, output), (x, y) = params, batch
    h = jnp.tanh(x @ hidden.weight.T + hidden.bias)
    h = h if key is None else h * mask(key, h.shape)
    return jnp.mean(jnp.sum((h @ output.weight.T + output.bias - y) ** 2, axis=1)) / 2


def by_hand(masked):
    """Back-propagation with dropout, masked on the way back or not."""

    def gradient(params, batch, key):
        (hidden, output), (x, y) = params, batch
        h = jnp.tanh(x @ hidden.weight.T + hidden.bias)
        kept = mask(key, h.shape)
        delta = (h * kept @ output.weight.T + output.bias - y) / len(x)
        signal = delta @ output.weight * (kept if masked else 1) * (1 - h**2)
        layers = (signal.T @ x, signal.sum(0)), (delta.T @ (h * kept), delta.sum(0))
        return tuple(jaxnet.Layer(*layer) for layer in layers)

    return gradient


@first_of("key", [KEY, None])
def test_a_gradient_is_audited_with_a_key_that_stays(key, unchecked):
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        right = audit(dropped, PARAMS, (X, Y), by_hand(masked=True), key=key)
        given = by_hand(masked=True)(PARAMS, (X, Y), KEY if key is not None else jax.random.key(0))
        values = audit(dropped, PARAMS, (X, Y), given, key=key)
        if key is not None:
            others = audit(dropped, PARAMS, (X, Y), given, key=jax.random.key(9))
            assert any(row.verdict == "wrong" for row in others.rows)
    assert all(row.verdict != "wrong" for audited in (right, values) for row in audited.rows)


@pytest.mark.slow
@pytest.mark.parametrize("key", [None, KEY])
def test_a_mask_left_out_on_the_way_back_is_found(key, unchecked):
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        wrong = audit(dropped, PARAMS, (X, Y), by_hand(masked=False), key=key)
    assert [row.verdict == "wrong" for row in wrong.rows] == [True, True, False, False]


def test_a_model_with_a_state_is_audited_as_it_stands(unchecked):
    def loss(variables, batch):
        x, y = batch
        predictions = (x - variables.state) @ variables.params
        return jnp.mean((predictions - y) ** 2), 0.9 * variables.state + 0.1 * x.mean(axis=0)

    def gradient(scale, variables, batch):
        x, y = batch
        centred = x - variables.state
        return scale * centred.T @ (centred @ variables.params - y) / y.size

    start = jaxnet.Variables(np.ones((3, 2), np.float32), np.full(3, 0.3, np.float32))
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        for scale, verdict in ((2.0, "right"), (1.0, "wrong")):
            for claimed in (
                lambda v, b, scale=scale: gradient(scale, v, b),
                gradient(scale, start, (X, Y)),
                jaxnet.Rule(lambda v, b, scale=scale: (loss(v, b), gradient(scale, v, b))),
            ):
                audited = audit(loss, start, (X, Y), claimed)
                assert [row.verdict for row in audited.rows] == [verdict]
        assert "halved" in audited.rows[0].diagnosis


def test_a_loss_that_draws_otherwise_in_float64_is_refused(unchecked):
    def noisy(params, batch, key):
        noise = jax.random.normal(key, batch[1].shape)
        return jnp.mean((batch[0] @ params - batch[1] - 9 * noise) ** 2)

    with (
        jax.numpy_dtype_promotion("standard"),
        pytest.raises(
            InputError, match=r"expected the same draws in float64, .* jnp.float32\(0.5\)"
        ),
    ):
        audit(noisy, np.ones((3, 2), np.float32), (X, Y), np.ones((3, 2), np.float32))


def test_whole_numbers_are_no_parameters_to_audit(unchecked):
    loss = jaxnet.BatchLoss(lambda p, x: p["w"] * x * p["n"], optax.losses.l2_loss)
    params = {"w": np.ones(3, np.float32), "n": np.arange(3)}
    with pytest.raises(InputError, match=r"params\['n'\]: expected floating-point parameters"):
        audit(loss, params, (X, X), params)

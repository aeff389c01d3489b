"""What an audit computes without compiling it is what XLA computes, and what a user runs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnet.audit import audit, computing, uncompiled

pytestmark = pytest.mark.usefixtures("x64", "unchecked")

WEIGHT = np.random.default_rng(0).normal(size=(3, 2))
BATCH = np.random.default_rng(1).normal(size=(2, 6, 3)) * 0.5
BATCH = BATCH[0], BATCH[1, :, :2]


def loss(weight, batch):
    return jnp.square(jnp.tanh(batch[0] @ weight) - batch[1]).sum() / 2


def slopes(scale, weight, batch):
    return {"value": scale * loss(weight, batch), "slope": jax.grad(loss)(weight, batch)}


def test_what_is_small_is_not_compiled_and_what_is_large_is(monkeypatch, compilations):
    function = uncompiled.uncompiled(0)(slopes)
    small = function(2.0, WEIGHT, BATCH)
    assert not compilations
    monkeypatch.setattr(uncompiled, "_NUMBERS", 0)
    large = function(2.0, WEIGHT, BATCH)
    assert compilations
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), small, large)
    np.testing.assert_allclose(small["value"], 2 * loss(WEIGHT, BATCH), rtol=1e-12)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x[x > 0].sum(),
        lambda x: x if float(x[0]) > 0 else -x,
        lambda x: jnp.asarray(np.sort(x)),
    ],
)
def test_what_cannot_be_traced_is_called(function):
    x = jnp.array([-3.0, 1.0, 2.0])
    np.testing.assert_array_equal(uncompiled.carried_out(function, x), function(x))


def test_a_function_that_changed_is_traced_again():
    def function(x):
        return x + 1

    assert uncompiled.carried_out(function, jnp.ones(())) == 2
    function.__code__ = (lambda x: x + 2).__code__
    assert uncompiled.carried_out(function, jnp.ones(())) == 3


def without_slope(weight, batch):
    x, y = batch
    p = jnp.tanh(x @ weight)
    return x.T @ (p - y)


def otherwise_traced(weight, batch):
    x, y = batch
    p = jnp.tanh(x @ weight)
    if isinstance(p, jax.core.Tracer):
        return x.T @ ((p - y) * (1 - p**2))
    return x.T @ (p - y)


def right_where_traced(weight, batch):
    x, y = batch
    p = jnp.tanh(x @ weight)
    error = p - y
    if not isinstance(p, jax.core.Tracer):
        error = error + jnp.exp(3 * y)
    return x.T @ error


@pytest.mark.slow
def test_lines_are_right_where_the_user_runs_them():
    params, batch = jax.tree.map(jnp.asarray, (WEIGHT, BATCH))
    (found,) = audit(loss, params, batch, without_slope).corrections
    assert "1 - p ** 2" in found.after
    # The one is right already where JAX traces it, the other would be with that line changed.
    (found,) = audit(loss, params, batch, otherwise_traced).corrections
    assert "1 - p ** 2" in found.after
    assert audit(loss, params, batch, right_where_traced).corrections == ()


def sums(values):
    return tuple(value for row in values for value in row)


def halves(value):
    while value > 1:
        value = value / 2
    return value


def squares(count):
    return [each**2 for each in range(count)]


@pytest.mark.parametrize(("function", "goes_on"), [(sums, False), (halves, True), (squares, True)])
def test_what_may_go_on_and_on_is_known_by_its_code(function, goes_on):
    assert computing.may_go_on(function.__code__) == goes_on

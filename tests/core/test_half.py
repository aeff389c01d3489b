"""Evidence for half precision: what is computed in it, what stays in float32, and what it is worth.

The oracles are NumPy loops that round where half precision is to, and derivatives in float64.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from few import first_of

from jaxnet import batches, fitting, losses, network
from jaxnet._guards import verify
from jaxnet.devices import half
from jaxnet.errors import InputError
from jaxnet.variables import Variables

KINDS = [jnp.bfloat16, jnp.float16]
ROWS = 80_000


def line(params, x):
    return params * x


def square(prediction, y):
    return (prediction - y) ** 2


def mean(params, batch):
    """A loss of a whole batch, in the dtype of what it is given."""
    x, y = batch
    return jnp.mean((params * x - y) ** 2)


LINE = losses.BatchLoss(line, square)


@pytest.mark.parametrize("kind", KINDS)
@first_of("batch_size", [8000, None])
@first_of("masters", [True, False])
def test_a_loss_of_one_reads_one_over_many_rows(kind, batch_size, masters):
    """Its sum in bfloat16 stays at 256, and in float16 the weight of a row is nearly 0."""
    x = np.ones((ROWS, 1), np.float32 if masters else kind)
    loss, params = (half(LINE, kind), jnp.float32(1)) if masters else (LINE, jnp.ones((), kind))
    data = x, 0 * x
    run = fitting.fit(
        *(loss, optax.sgd(0.0), params, data),
        epochs=2,
        batch_size=batch_size,
        validation=data,
        metrics={"metric": loss},
    )
    assert run.outcome == "finished"
    for name in ("loss", "validation_loss", "validation_metric"):
        assert run.history[name].tolist() == [1, 1]
        assert run.history[name].dtype == np.float32


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_gather_what_half_precision_loses(kind):
    """Steps of a ten-thousandth, which half precision rounds away, are all taken in float32."""
    x = np.ones((4, 1), np.float32)

    def slope(params, batch):
        return jnp.mean(params * batch)

    masters = fitting.fit(half(slope, kind), optax.sgd(1e-4), jnp.float32(1), x, epochs=100)
    assert masters.params.dtype == np.float32
    assert np.isclose(masters.params, 0.99, rtol=1e-5)
    lost = fitting.fit(slope, optax.sgd(1e-4), jnp.ones((), kind), x.astype(kind), epochs=100)
    assert lost.params == 1


@pytest.mark.parametrize(("kind", "apart"), [(jnp.float16, 1e-5), (jnp.bfloat16, 2**-7)])
def test_it_is_the_loop_that_rounds_where_it_says(kind, apart):
    """One input, so that no sum is rounded: forward rounded, example loss and update not.

    Between operations in bfloat16 that it fuses, XLA keeps the digits of float32.
    """
    random = np.random.default_rng(0)
    x = random.normal(size=(24, 1)).astype(np.float32)
    y = random.normal(size=(24, 1)).astype(np.float32)
    run = fitting.fit(
        half(LINE, kind), optax.sgd(0.1), jnp.float32(0.3), (x, y), epochs=3, batch_size=1
    )

    def rounded(number):
        return np.float32(np.asarray(number, kind))

    w = np.float32(0.3)
    for epoch in range(3):
        for row in batches.shuffle(24, 0, epoch):
            narrow = rounded(x[row, 0])
            residual = rounded(rounded(w) * narrow) - y[row, 0]
            w -= np.float32(0.1) * rounded(rounded(2 * residual) * narrow)
    assert np.isclose(run.params, w, rtol=apart)


def exactly(loss, params, batch):
    """The gradient, in float64."""
    with jax.enable_x64(True):
        return float(jax.grad(loss)(np.float64(params), tuple(map(np.float64, batch))))


@first_of("loss", [LINE, mean])
def test_gradients_that_float16_has_no_numbers_for_are_kept(loss):
    """Those of 80,000 rows, each below its smallest number, which unscaled are all lost."""
    random = np.random.default_rng(1)
    x = (1e-3 * random.uniform(1, 2, (ROWS, 1))).astype(np.float32)
    batch = x, np.zeros_like(x)
    expected = exactly(loss, 0.5, batch)
    scaled = half(loss, jnp.float16)
    value, grad = scaled.value_and_grad(jnp.float32(0.5), batch)
    assert np.isclose(grad, expected, rtol=0.02)
    assert np.isclose(value, loss(jnp.float32(0.5), batch), rtol=0.02)
    assert jax.grad(scaled.of)(jnp.float32(0.5), batch) == 0


@pytest.mark.parametrize("size", [1.0, 1e2, 3e4])
def test_gradients_whose_multiple_overflows_are_of_a_smaller_one(size):
    x, y = np.full((2, 1), size, np.float32), np.zeros((2, 1), np.float32)

    def slope(params, batch):
        return jnp.mean(params * batch[0])

    value, grad = half(slope, jnp.float16).value_and_grad(jnp.float32(1), (x, y))
    assert np.isclose(grad, np.float16(size), rtol=1e-3)
    assert np.isclose(value, size, rtol=1e-3)


def test_what_overflows_all_the_same_ends_the_run():
    x, y = np.full((2, 1), 6e4, np.float32), np.zeros((2, 1), np.float32)
    with pytest.warns(RuntimeWarning, match="the loss, inf, was not finite in epoch 1, step 1"):
        run = fitting.fit(
            *(half(lambda p, b: jnp.mean(2 * p * b[0]), jnp.float16), optax.sgd(0.1)),
            *(jnp.float32(1), (x, y)),
            epochs=1,
        )
    assert run.params == 1


@first_of(("kind", "seed"), itertools.product(KINDS, range(3)))
def test_a_network_trains_as_in_float32(kind, seed):
    """Labels, weights, Adam; what XLA made of it is held against NumPy."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(64, 3)).astype(np.float32)
    data = x, (x[:, 0] > x[:, 1]).astype(np.int32), random.uniform(0.5, 2, 64).astype(np.float32)
    picked = optax.losses.softmax_cross_entropy_with_integer_labels
    whole = losses.BatchLoss(network.forward, picked)
    params = network.init(jax.random.key(seed), [3, 16, 2])
    fit = functools.partial(fitting.fit, epochs=20, batch_size=16, validation=data)
    with jax.numpy_dtype_promotion("standard"):
        runs = [fit(loss, optax.adam(0.01), params, data) for loss in (whole, half(whole, kind))]
    assert runs[1].verified == verify.AGREES
    assert {leaf.dtype for leaf in jax.tree.leaves(runs[1].params)} == {jnp.dtype(jnp.float32)}
    for name, values in runs[0].history.items():
        assert np.allclose(runs[1].history[name], values, rtol=0.05)
        assert not np.array_equal(runs[1].history[name], values)
    with pytest.raises(InputError, match="y: expected class labels 0 to 1"):
        fit(half(whole, kind), optax.sgd(0.1), params, (x, data[1] + 1, data[2]))


@first_of("kind", KINDS)
def test_it_draws_and_carries_as_the_loss_does(kind):
    def loss(variables, batch, key):
        seen = variables.params * batch[0]
        assert seen.dtype == kind
        drawn = 0.0 if key is None else jax.random.bernoulli(key).astype(kind)
        return jnp.mean(seen) + drawn, variables.state + 1

    start, data = Variables(jnp.float32(1), jnp.float32(0)), (np.ones((8, 1), np.float32),)
    run = fitting.fit(
        *(half(loss, kind), optax.sgd(0.0), start, data),
        epochs=20,
        batch_size=8,
        validation=data,
    )
    assert set(run.history["loss"]) == {1, 2}
    assert set(run.history["validation_loss"]) == {1}
    last = run.progress.run.state.params.state
    assert (last, last.dtype) == (20, np.float32)


def test_one_loss_is_one_program():
    assert half(LINE) is half(losses.BatchLoss(line, square))
    assert half(LINE) != half(LINE, jnp.float16)


def test_what_has_no_gradient_of_autodiff_s_or_no_half_precision_is_refused():
    with pytest.raises(InputError, match="dtype: expected bfloat16 or float16, got float32"):
        half(LINE, "float32")
    with pytest.raises(InputError, match="loss: expected one to differentiate, got a Rule"):
        half(losses.Rule(jax.value_and_grad(LINE)))
    x = np.ones((2, 1), np.float32)
    with pytest.raises(InputError, match="loss: expected a real scalar"):
        fitting.fit(
            *(half(lambda p, b: p * b, jnp.float16), optax.sgd(0.1), jnp.float32(1), x), epochs=1
        )


@pytest.mark.parametrize(
    "dtypes",
    [
        (jnp.bfloat16, "bfloat16", np.dtype(jnp.bfloat16)),
        (jnp.float16, np.float16, "float16", np.dtype(np.float16)),
    ],
)
def test_a_dtype_is_the_same_however_it_is_said(dtypes):
    found = {half(LINE, dtype) for dtype in dtypes}
    assert len(found) == 1
    assert (half(LINE) in found) == (dtypes[0] is jnp.bfloat16)


def test_parameters_of_half_precision_are_refused():
    params = jax.tree.map(lambda leaf: leaf.astype(np.float16), {"w": np.ones(1, np.float32)})
    with pytest.raises(InputError, match=r"params: expected float32, .* got float16; cast"):
        half(lambda p, b: jnp.mean(p["w"] * b))(params, np.ones(3, np.float32))


def test_what_is_no_loss_is_refused_at_once():
    with pytest.raises(InputError, match="loss: expected a function"):
        half(lambda params: 0.0)

"""Evidence for prediction in parts: the same as of all rows at once, by one program."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnet
from jaxnet import InputError

PARAMS = jaxnet.init(jax.random.key(0), [5, 16, 3])
ROWS = np.random.default_rng(0).normal(size=(23, 5)).astype(np.float32)
predict = functools.partial(jaxnet.predict, batch_size=8)


def test_any_number_of_rows_is_predicted_by_one_program(compilations):
    whole = np.asarray(jax.vmap(jaxnet.forward, (None, 0))(PARAMS, ROWS))
    predict(jaxnet.forward, PARAMS, ROWS)
    compilations.clear()
    for count in (23, 0, 1, 7, 8, 9, 16, 17):
        got = predict(jaxnet.forward, PARAMS, ROWS[:count])
        assert (type(got), got.shape, got.dtype) == (np.ndarray, (count, 3), np.float32)
        np.testing.assert_allclose(got, whole[:count], rtol=1e-6, atol=1e-6)
    assert not compilations
    each = [predict(jaxnet.forward, PARAMS, ROWS[[i]])[0] for i in range(23)]
    np.testing.assert_array_equal(predict(jaxnet.forward, PARAMS, ROWS), each)


def test_rows_and_predictions_may_have_several_parts():
    x = {"row": ROWS, "place": np.arange(23, dtype=np.int32)}

    def forward(params, x):
        outputs = jaxnet.forward(params, x["row"])
        return {"class": jnp.argmax(outputs), "seen": (x["place"], outputs)}

    got = predict(forward, PARAMS, x)
    assert got["class"].dtype == got["seen"][0].dtype == np.int32
    np.testing.assert_array_equal(got["seen"][0], x["place"])
    np.testing.assert_array_equal(got["class"], got["seen"][1].argmax(axis=1))


def test_a_state_is_read_and_nothing_is_drawn():
    def forward(variables, x, key):
        assert key is None
        return (x - variables.state["mean"]) @ variables.params

    variables = jaxnet.Variables(ROWS[:5].T, {"mean": ROWS.mean(axis=0)})
    got = predict(forward, variables, jnp.asarray(ROWS))
    np.testing.assert_allclose(got, (ROWS - ROWS.mean(axis=0)) @ ROWS[:5].T, atol=1e-5)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (ROWS[:, :4], "4 inputs"),
        (ROWS[:0, :4], "4 inputs"),
        (ROWS[0], r"x: expected one example of shape \[5\], got shape \[\]"),
        (np.float32(1), "x: expected at least one row"),
        ((ROWS, ROWS[:3]), r"x\[1\]: expected 23 rows"),
        (np.where(ROWS > 2, np.nan, ROWS), "x: expected finite values, got nan"),
        (ROWS.tolist(), "expected an array of numbers, got float"),
        ([], "x: expected at least one array"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_rows_that_do_not_fit_are_refused(x, words):
    with pytest.raises(InputError, match=words):
        predict(jaxnet.forward, PARAMS, x)


@pytest.mark.parametrize(
    ("forward", "words"),
    [
        (lambda w, x: w @ x, r"one row, x float32\[5\]; it raised TypeError: dot_general"),
        (lambda w, x: np.tanh(x), r"jax.numpy, which JAX can trace, got NumPy in <lambda>"),
        (lambda w, x: None, "forward: its prediction: expected at least one array"),
        (lambda w, x: jax.random.key(0), "its prediction: expected an array of numbers, got key"),
        (lambda w: w, r"forward: expected a function of \(params, x\)"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_functions_that_do_not_fit_are_refused(forward, words):
    with pytest.raises(InputError, match=words):
        predict(forward, np.ones((2, 3), np.float32), ROWS)

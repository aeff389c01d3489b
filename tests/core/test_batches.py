"""Evidence for the order arrays: which rows each step sees."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxnet import batches
from jaxnet.errors import InputError

COUNTS = st.integers(1, 40)
SEEDS = st.integers(0, 2**63)


@given(rows=COUNTS, epochs=st.integers(1, 5))
def test_full_batch_lists_all_rows_in_each_step(rows, epochs):
    order = batches.full_batch(rows, epochs)
    assert order.dtype == np.int32
    np.testing.assert_array_equal(order, [list(range(rows))] * epochs)


@given(data=st.data(), rows=COUNTS, epochs=st.integers(1, 5), seed=SEEDS)
def test_an_epoch_shuffles_the_rows_without_repeats(data, rows, epochs, seed):
    """As many batches as fill up; what remains is left out, each row at most once."""
    batch_size = data.draw(st.integers(1, rows))
    order = batches.shuffled(rows, batch_size, epochs, seed)
    steps = rows // batch_size
    assert order.shape == (epochs * steps, batch_size)
    assert order.dtype == np.int32
    for epoch in order.reshape(epochs, -1):
        assert len(set(epoch.tolist())) == steps * batch_size
        assert set(epoch.tolist()) <= set(range(rows))


@pytest.mark.parametrize(("rows", "epochs"), [(2**31 - 1, 500), (10, 10**400), (10**6, 10**6)])
def test_more_rows_than_the_memory_holds_are_refused_by_arithmetic(rows, epochs, monkeypatch):
    monkeypatch.setattr(batches, "np", None)
    words = "rows: expected what fits .* got an order of .* rows in .* epochs, which take about"
    for ask in (
        lambda: batches.full_batch(rows, epochs),
        lambda: batches.shuffled(rows, 8, epochs, 0),
    ):
        with pytest.raises(InputError, match=words):
            ask()


@pytest.mark.parametrize("rows", [2**31, 10**12, 10**400])
def test_more_rows_than_its_numbers_reach_are_refused(rows, monkeypatch):
    monkeypatch.setattr(batches, "np", None)
    for ask in (lambda: batches.full_batch(rows, 1), lambda: batches.shuffled(rows, 8, 1, 0)):
        with pytest.raises(InputError, match="rows: expected at most 2,147,483,647"):
            ask()


def test_rows_that_sat_out_come_back():
    """Every row is left out of some epoch, and of no more epochs than chance would."""
    order = batches.shuffled(rows=10, batch_size=4, epochs=400, seed=3).reshape(400, 8)
    absent = 400 - np.bincount(order.ravel(), minlength=10)
    assert absent.sum() == 400 * 2
    assert np.all(np.abs(absent - 80) < 5 * np.sqrt(400 * 0.2 * 0.8))


def test_every_place_of_an_epoch_sees_every_row():
    order = batches.shuffled(rows=5, batch_size=5, epochs=2000, seed=1)
    for place in order.T:
        assert np.all(np.abs(np.bincount(place, minlength=5) - 400) < 5 * np.sqrt(2000 * 0.16))


def test_epochs_and_seeds_differ_and_repeat():
    order = batches.shuffled(50, 10, 4, seed=0)
    np.testing.assert_array_equal(order, batches.shuffled(50, 10, 4, seed=0))
    assert np.any(order != batches.shuffled(50, 10, 4, seed=1))
    epochs = order.reshape(4, 50)
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 4
    assert np.any(epochs[0] != np.arange(50))


def test_a_longer_run_begins_like_a_shorter_one():
    np.testing.assert_array_equal(
        batches.shuffled(7, 3, 9, seed=4)[:4], batches.shuffled(7, 3, 2, seed=4)
    )


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: batches.full_batch(0, 3), "rows: expected at least 1, got 0"),
        (lambda: batches.full_batch(3, -1), "epochs: expected at least 1, got -1"),
        (lambda: batches.shuffled(0, 1, 1, 0), "rows: expected at least 1, got 0"),
        (
            lambda: batches.shuffled(4, 0, 1, 0),
            "batch_size: expected at least 1, got 0",
        ),
        (lambda: batches.shuffled(4, 2, 0, 0), "epochs: expected at least 1, got 0"),
        (
            lambda: batches.shuffled(4, 5, 1, 0),
            "batch_size: expected 1 to the 4 rows of data, got 5",
        ),
        (lambda: batches.shuffled(4, 2, 1, -1), "seed: expected a whole number of at least 0.*"),
    ],
)
def test_counts_that_order_nothing_are_refused(make, words):
    with pytest.raises(InputError, match=f"^{words}; "):
        make()


@settings.get_profile("costly")
@given(
    rows=st.lists(st.integers(0, 5), min_size=3, max_size=3),
    seed=st.integers(0, 2**32 - 1),
)
def test_take_is_numpy_indexing_on_every_leaf(rows, seed):
    """Rows may repeat and come in any order; leaves differ in rank and dtype."""
    random = np.random.default_rng(seed)
    data = {
        "x": random.normal(size=(6, 2, 3)).astype(np.float32),
        "y": (random.integers(9, size=6).astype(np.int32), random.random((6, 1)) < 0.5),
        "half": [random.normal(size=(6, 4)).astype(np.float16)],
    }
    rows = np.array(rows, np.int32)
    taken = batches.take(jax.tree.map(jnp.asarray, data), jnp.asarray(rows))
    assert jax.tree.structure(taken) == jax.tree.structure(data)
    for ours, leaf in zip(jax.tree.leaves(taken), jax.tree.leaves(data), strict=True):
        assert ours.dtype == leaf.dtype
        np.testing.assert_array_equal(ours, leaf[rows])

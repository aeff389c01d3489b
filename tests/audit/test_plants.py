"""Mistakes planted in losses of NumPy, of several sizes, are named; what is right is right."""

import numpy as np
import pytest

from jaxnet.audit import audit


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def rows_of(loss, params, batch, claim):
    return {row.name.strip("[]'"): row for row in audit(loss, params, batch, claim).rows}


def must_name(loss, params, batch, claim, true, words):
    """Every parameter that is wrong is named by these words, and the true gradient is right."""
    assert audit(loss, params, batch, true).right
    wrong = [name for name in true if not np.allclose(claim[name], true[name], rtol=1e-9)]
    assert wrong
    rows = rows_of(loss, params, batch, claim)
    for name, row in rows.items():
        assert row.verdict == ("wrong" if name in wrong else "right"), str(row)
        if name in wrong:
            expected = words[name] if isinstance(words, dict) else words
            assert expected in row.diagnosis, (name, row.diagnosis)


def pooled(x, size, stride):
    """The largest of each window of a picture, and where it is."""
    count = (len(x) - size) // stride + 1
    out, where = np.zeros((count, count)), {}
    for i in range(count):
        for j in range(count):
            window = x[i * stride : i * stride + size, j * stride : j * stride + size]
            out[i, j] = window.max()
            a, b = np.unravel_index(np.argmax(window), window.shape)
            where[i, j] = i * stride + a, j * stride + b
    return out, where


@pytest.mark.parametrize(("side", "size", "stride"), [(6, 3, 1), (5, 2, 1)])
def test_a_maximum_of_windows_that_overlap_is_added_up_not_assigned(side, size, stride):
    random = np.random.default_rng(side)
    params = {"A": random.normal(size=(side, side)), "c": random.normal(size=side)}
    x = random.normal(size=(side, side))

    def loss(params, x, y):
        return 0.5 * np.sum(pooled(np.tanh(params["A"] * x + params["c"]), size, stride)[0] ** 2)

    def by_hand(added):
        h = np.tanh(params["A"] * x + params["c"])
        out, where = pooled(h, size, stride)
        back = np.zeros_like(h)
        for window, place in where.items():
            back[place] = out[window] + (back[place] if added else 0.0)
        delta = back * (1 - h**2)
        return {"A": delta * x, "c": delta.sum(0)}

    words = "of the largest entries of windows that overlap the last alone counted"
    must_name(loss, params, (x, np.zeros(1)), by_hand(added=False), by_hand(added=True), words)


def counted(params, x, y):
    return np.sum(x @ params["w"])


def test_what_was_cut_or_lost_its_size_is_told_by_numbers_that_were_not():
    x = np.array([[1.0, 2, -3, 1], [2, 1, -1, 1]])
    params, true = {"w": np.ones(4)}, {"w": x.sum(0)}
    batch = x, np.zeros(2)
    clipped = rows_of(counted, params, batch, {"w": np.clip(true["w"], -2.5, 2.5)})
    assert "clipped to entries of at most 2.5" in clipped["w"].diagnosis
    signs = rows_of(counted, params, batch, {"w": np.sign(true["w"])})
    assert signs["w"].diagnosis == "its sign alone, without its size"
    ones = rows_of(counted, params, (abs(x), np.zeros(2)), {"w": np.ones(4)})
    assert not any(word in ones["w"].diagnosis for word in ("clipped", "sign"))


@pytest.mark.parametrize("sizes", [(3, 4, 2), (5, 3, 3)])
def test_a_weight_is_formed_with_the_outputs_of_its_own_layer(sizes):
    random = np.random.default_rng(sum(sizes))
    i, h, o = sizes
    params = {"W1": random.normal(size=(i, h)), "W2": random.normal(size=(h, o))}
    x, y = random.normal(size=(6, i)), random.normal(size=(6, o))

    def loss(params, x, y):
        return 0.5 * np.sum((sigmoid(np.tanh(x @ params["W1"]) @ params["W2"]) - y) ** 2)

    hidden = np.tanh(x @ params["W1"])
    p = sigmoid(hidden @ params["W2"])
    last = (p - y) * p * (1 - p)
    first = last @ params["W2"].T * (1 - hidden**2)
    true = {"W1": x.T @ first, "W2": hidden.T @ last}
    ones = {name: np.ones_like(each) for name, each in params.items()}
    by_unit = {"W1": ones["W1"] * (first * hidden).sum(0), "W2": ones["W2"] * (last * p).sum(0)}
    must_name(loss, params, (x, y), by_unit, true, "the layer's own outputs unit by unit")
    whole = {"W1": ones["W1"] * (first * hidden).sum(), "W2": true["W2"]}
    must_name(loss, params, (x, y), whole, true, "scalar product with the layer's own outputs")

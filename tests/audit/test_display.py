"""An audit as it is read: causes, formulas, figures, and the picture in a notebook."""

import functools
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pages
import pytest
from audited import draw, layers_of

from jaxnet.audit import case, explaining, factors, formulas, gradients, layers

SETTING = ([3, 5, 4, 3], 7, "tanh", "softmax")


@pytest.fixture
def audit(x64):
    return wrong_in_several_ways()


@functools.cache
def wrong_in_several_ways():
    """Right in one leaf."""
    loss, params, batch, (twin, x, y) = draw(SETTING, 0)
    mistake = {"mistake": "derivative missing", "layers": {0}}
    grads = oracles.backward(twin, x, y, "softmax", "tanh", **mistake)
    grads[1][0] = grads[1][0] + np.eye(4, 5)
    grads[2] = [7 * grads[2][0], -grads[2][1]]
    return gradients.audit(loss, params, batch, layers_of(grads))


@pytest.mark.slow
def test_causes_and_formulas_stand_under_each_wrong_parameter(audit):
    lines = str(audit).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["parameter", "shape", "verdict", "relative", "error"]
    at = next(k for k, line in enumerate(lines) if line.startswith("[2].weight"))
    assert lines[at + 1 : at + 4] == [
        "    summed over the batch where the loss takes the mean",
        "    is         dW3 = dz3.T @ h2",
        "    should be  dW3 = dz3.T @ h2 / N",
    ]
    at = next(k for k, line in enumerate(lines) if line.startswith("[2].bias"))
    assert lines[at + 2 : at + 4] == [
        "    is         db3 = -dz3.sum(0) / N",
        "    should be  db3 = dz3.sum(0) / N",
    ]
    (right,) = (line for line in lines if line.startswith("[1].bias"))
    assert "  right  " in right
    # What needs a glossary is among the figures, with the glossary.
    for word in ("resolution", "cosine", "differences"):
        assert word not in str(audit)


def test_the_figures_are_there_on_request(audit):
    lines = audit.figures.splitlines()
    assert max(map(len, lines)) <= 80
    for row, line in zip(audit.rows, lines[1 : len(audit.rows) + 1], strict=True):
        name, claimed, true, error, *_ = line.split()
        assert name == row.name
        assert float(claimed) == pytest.approx(np.linalg.norm(row.claimed), rel=0.06)
        assert float(true) == pytest.approx(np.linalg.norm(row.true), rel=0.06)
        assert float(error) == pytest.approx(row.relative_error, rel=0.06)
    legend = " ".join(lines[len(audit.rows) + 1 :])
    assert all(f"{head}:" in legend for head in lines[0].split()[3:])


def symbols(chain, rows):
    """What the symbols of formulas stand for."""
    names = {f"dz{k}": jax.device_get(delta) for k, delta in enumerate(signals(chain), 1)}
    names |= {f"h{k}": each.h for k, each in enumerate(chain.layers, 1)}
    return names | {"x": chain.layers[0].x, "N": rows, "O": chain.delta.shape[1]}


def evaluated(formula, names):
    """What a formula says, computed by NumPy."""
    return eval(formula.partition(" = ")[2], {"__builtins__": {}}, names)


def signals(chain):
    """The error signals of all layers, without the share of each example."""
    delta = chain.delta / chain.scale
    deltas = [delta]
    for before, after in itertools.pairwise(reversed(chain.layers)):
        delta = (delta @ before.weight) * after.slope
        deltas.insert(0, delta)
    return deltas


@pytest.mark.parametrize("kind", ["softmax", "squares"])
def test_formulas_give_the_claimed_and_the_true_gradient(x64, kind):
    """Every factor with a formula, as it is and transposed, in every leaf."""
    sizes, rows, activation, _ = SETTING
    loss, params, batch, (twin, x, y) = draw((sizes, rows, activation, kind), 0)
    true = list(itertools.chain.from_iterable(oracles.backward(twin, x, y, kind, activation)))
    leaves = [case.Leaf(str(at), leaf, leaf, 1e-9) for at, leaf in enumerate(true)]
    known = case.Case(loss, params, batch, leaves, rows, np.dtype(np.float64), (0, 0))
    found = layers.chain_of(known)
    assert found
    names = symbols(found, rows)
    for index, form in itertools.product(range(len(true)), ("", "transposed")):
        known_factors = factors.counts_of(known).factors(rows)
        assert known_factors
        for factor in known_factors:
            reading = explaining.Reading(case.Mistake("", true[index]), form, factor)
            wrong, right = formulas.of_reading(found, index, reading)
            claimed = factor.number * (true[index].T if form else true[index])
            assert np.allclose(evaluated(wrong, names), claimed), wrong
            assert np.allclose(evaluated(right, names), true[index]), right
            head = f"d{'Wb'[index % 2]}{index // 2 + 1} = "
            assert wrong.startswith(head)
            assert right.startswith(head)


def test_formulas_take_the_users_own_names(x64):
    loss, params, batch, (twin, x, y) = draw(SETTING, 0)
    del params
    true = list(itertools.chain.from_iterable(oracles.backward(twin, x, y, "softmax", "tanh")))
    names = ["['W0']", "['b0']", ".hidden", "['bias']", "['W2']", "[5]"]
    leaves = [case.Leaf(*each, 1e-9) for each in zip(names, true, true, strict=True)]
    ours = layers_of(twin)
    known = case.Case(loss, ours, batch, leaves, len(x), np.dtype(np.float64), (0, 0))
    found = layers.chain_of(known)
    mistake = case.Mistake("named", true[0], wrong="dz2 = dz3 @ W3 * b1", right="W1 dW2 db2 b3")
    reading = explaining.Reading(mistake, "", case.Factor(1.0, "", "{}", steps=0))
    assert formulas.of_reading(found, 0, reading) == (
        "dz2 = dz3 @ W2 * b0",
        "W0 dhidden dbias b3",
    )


def test_a_notebook_shows_every_row_with_its_picture(audit):
    page = pages.read(audit._repr_html_())
    assert not page.faults
    assert not page.open
    words = " ".join(text for _, text in page.words)
    for row in audit.rows:
        assert row.name in words
        assert row.diagnosis in words
        assert row.wrong_formula in words
    assert audit.summary in words
    drawings = audit._repr_html_().split("<svg")[1:]
    assert len(drawings) == len(audit.rows)
    for row, drawing in zip(audit.rows, drawings, strict=True):
        points = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', drawing)
        assert len(points) == row.true.size
        x, y = np.array(points, float).T
        side = float(re.search(r'width="(\d+)"', drawing)[1])
        assert (np.abs(x + y - side) < 0.2).all() == (row.verdict == "right")


@pytest.mark.usefixtures("unchecked")
def test_large_or_shapeless_leaves_and_odd_names_are_shown(x64):
    params = {"<b>&": np.linspace(0.1, 1, 400).reshape(20, 20), "c" * 60: np.ones(2)}

    def loss(params, batch):
        return sum(jnp.sum(leaf**2) for leaf in params.values()) * jnp.mean(batch)

    claim = {name: 2 * leaf for name, leaf in params.items()}
    claim["c" * 60] = np.ones(3)
    audit = gradients.audit(loss, params, np.ones(4), claim)
    page = pages.read(audit._repr_html_())
    assert not page.faults
    assert audit._repr_html_().count("<circle") <= 250
    assert max(map(len, str(audit).splitlines())) <= 80
    assert "other shape" in str(audit)
    assert max(map(len, audit.figures.splitlines())) <= 80


@pytest.mark.skipif(not pages.CHROMIUM, reason="no browser")
@pytest.mark.slow
def test_a_browser_lays_it_out_without_scrolling(audit, tmp_path):
    script = (
        "const row = page.querySelector('tbody tr:nth-child(2)');"
        "return [page.documentElement.scrollWidth, row.offsetHeight,"
        " page.querySelector('svg').getBoundingClientRect().width];"
    )
    ((width, height, picture),) = pages.framed(tmp_path, audit._repr_html_(), script)
    assert width <= 800
    assert 0 < picture <= height

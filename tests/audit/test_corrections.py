"""The lines that an audit says are wrong, and what it says they should be.

The oracle is the text itself: the line is put into the source in place of the one it is said to
replace, the source is run, and its gradient is held against central differences of the loss.
"""

import ast
import functools
import importlib.util
import inspect
import itertools
import linecache
import re
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from few import first_of, some_of

from jaxnet.audit import audit, case, corrections, sources

pytestmark = pytest.mark.usefixtures("unchecked")


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def differences(loss, params, batch):
    """Give central differences of a loss by every number of its parameters."""
    found = {}
    for name, value in params.items():
        found[name] = np.zeros_like(value)
        for place in np.ndindex(*value.shape):
            sides = []
            for step in (1e-5, -1e-5):
                moved = {key: each.copy() for key, each in params.items()}
                moved[name][place] += step
                sides.append(loss(moved, batch))
            found[name][place] = (sides[0] - sides[1]) / 2e-5
    return found


def corrected(function, found):
    """Give a function with its lines changed as an audit says."""
    source, first = inspect.getsourcelines(function)
    tree = ast.parse(textwrap.dedent("".join(source)))

    class Changed(ast.NodeTransformer):
        def visit(self, node):
            if not isinstance(node, ast.stmt) or hasattr(node, "body"):
                return self.generic_visit(node)
            text = ast.unparse(node)
            for each in found:
                if each.line - first + 1 == node.lineno:
                    assert each.before in text
                    text = text.replace(each.before, each.after)
            return ast.parse(text).body

    changed = ast.fix_missing_locations(Changed().visit(tree))
    scope = dict(function.__globals__)
    exec(compile(changed, "corrected", "exec"), scope)
    return scope[function.__name__]


def network(seed=0, sizes=(3, 5, 4)):
    random = np.random.default_rng(seed)
    params = {}
    for layer, (inputs, outputs) in enumerate(itertools.pairwise(sizes), 1):
        params[f"W{layer}"] = random.normal(size=(inputs, outputs))
        params[f"b{layer}"] = random.normal(size=outputs)
    x = random.normal(size=(7, sizes[0]))
    return params, (x, np.eye(sizes[-1])[random.integers(sizes[-1], size=7)])


def squares(params, batch):
    x, y = batch
    h = sigmoid(x @ params["W1"] + params["b1"])
    p = softmax(h @ params["W2"] + params["b2"])
    return np.sum((p - y) ** 2) / len(x)


def entropy(params, batch):
    x, y = batch
    h = np.tanh(x @ params["W1"] + params["b1"])
    p = softmax(h @ params["W2"] + params["b2"])
    return -np.sum(y * np.log(p)) / len(x)


def diagonal(params, batch):
    x, y = batch
    h = sigmoid(x @ params["W1"] + params["b1"])
    p = softmax(h @ params["W2"] + params["b2"])
    dp = 2 * (p - y) / len(x)
    dz2 = dp * p * (1 - p)
    dz1 = dz2 @ params["W2"].T * h * (1 - h)
    return {"W1": x.T @ dz1, "b1": dz1.sum(0), "W2": h.T @ dz2, "b2": dz2.sum(0)}


def twice(params, batch):
    x, y = batch
    h = np.tanh(x @ params["W1"] + params["b1"])
    p = softmax(h @ params["W2"] + params["b2"])
    dz2 = p - y
    dh = dz2 @ params["W2"].T
    dz1 = dh * (1 - np.tanh(h) ** 2)
    return {"W1": x.T @ dz1, "b1": dz1.sum(0), "W2": h.T @ dz2, "b2": dz2.sum(0)}


def of_the_error(params, batch):
    x, y = batch
    h = np.tanh(x @ params["W1"] + params["b1"])
    p = softmax(h @ params["W2"] + params["b2"])
    dz2 = (p - y) / len(x)
    dh = dz2 @ params["W2"].T
    dz1 = dh * (1 - dh**2)
    return {"W1": x.T @ dz1, "b1": dz1.sum(0), "W2": h.T @ dz2, "b2": dz2.sum(0)}


def overwritten(params, batch):
    x, y = batch
    h = np.tanh(x @ params["W1"] + params["b1"])
    p = softmax(h @ params["W2"] + params["b2"])
    grads = {name: np.zeros_like(value) for name, value in params.items()}
    for n in range(len(x)):
        dz2 = (p[n] - y[n]) / len(x)
        dz1 = (params["W2"] @ dz2) * (1 - h[n] ** 2)
        grads["W2"] = np.outer(h[n], dz2)
        grads["b2"] += dz2
        grads["W1"] += np.outer(x[n], dz1)
        grads["b1"] += dz1
    return grads


def turned(params, batch):
    x, y = batch
    h = np.tanh(x @ params["W1"] + params["b1"])
    p = softmax(h @ params["W2"] + params["b2"])
    dz2 = (y - p) / len(x)
    dz1 = dz2 @ params["W2"].T * (1 - h**2)
    dW2 = dz2.T @ h
    return {"W1": x.T @ dz1, "b1": dz1.sum(0), "W2": dW2, "b2": dz2.sum(0)}


@functools.cache
def corrections_said(loss, claimed):
    """Audit once what several tests look at."""
    return audit(loss, *network(), claimed).corrections


MISTAKEN = [
    (entropy, of_the_error, 1),
    (entropy, overwritten, 1),
    (squares, diagonal, 1),
    (entropy, twice, 2),
    (entropy, turned, 2),
]


@first_of(
    ("loss", "claimed", "lines"), MISTAKEN, 2, ids=lambda each: getattr(each, "__name__", each)
)
def test_the_lines_that_are_wrong_are_found_and_what_is_said_of_them_is_right(loss, claimed, lines):
    found = corrections_said(loss, claimed)
    assert len(found) == lines
    for seed in (0, 1):
        params, batch = network(seed)
        gradient = corrected(claimed, found)(params, batch)
        for name, true in differences(loss, params, batch).items():
            np.testing.assert_allclose(gradient[name], true, atol=1e-7)


class Network:
    """A network as a class, its gradient a method."""

    def __init__(self, params):
        self.W1, self.b1, self.W2, self.b2 = params.values()

    def forward(self, x):
        self.h = np.tanh(x @ self.W1 + self.b1)
        self.p = softmax(self.h @ self.W2 + self.b2)
        return self.p

    def backward(self, params, batch):
        vars(self).update(params)
        x, y = batch
        self.forward(x)
        dz2 = (self.p - y) / len(x)
        dz1 = (dz2 @ self.W2.T) * (1 - self.h)
        return {"W1": x.T @ dz1, "b1": dz1.sum(0), "W2": self.h.T @ dz2, "b2": dz2.sum(0)}


def test_the_lines_of_a_method_are_found():
    params, batch = network()
    (found,) = audit(entropy, params, batch, Network(params).backward).corrections
    assert found.function == "backward"
    assert found.after == "dz1 = dz2 @ self.W2.T * (1 - self.h ** 2)"
    assert found.leaves == {0, 2}  # W1 and b1


def jax_entropy(params, batch):
    x, y = batch
    h = jnp.tanh(x @ params["W1"] + params["b1"])
    return -jnp.mean(jnp.sum(y * jax.nn.log_softmax(h @ params["W2"] + params["b2"]), axis=1))


@jax.jit
def jax_claim(params, batch):
    x, y = batch
    h = jnp.tanh(x @ params["W1"] + params["b1"])
    dz2 = (jax.nn.softmax(h @ params["W2"] + params["b2"]) - y) / len(x)
    dz1 = dz2 @ params["W2"].T * (1 - x**2 if len(x) == len(h.T) else 1 + h**2)
    return {"W1": x.T @ dz1, "b1": dz1.sum(0), "W2": h.T @ dz2, "b2": dz2.sum(0)}


@jax.numpy_rank_promotion("allow")
@pytest.mark.slow
def test_the_lines_of_a_compiled_function_are_found():
    params, batch = jax.tree.map(jnp.asarray, network())
    (found,) = audit(jax_entropy, params, batch, jax_claim).corrections
    assert "1 - h ** 2" in found.after
    assert jax_claim.__wrapped__.__code__.co_filename == __file__


@pytest.mark.slow
@jax.numpy_rank_promotion("allow")
def test_the_lines_of_a_closure_are_found():
    params, batch = jax.tree.map(jnp.asarray, network())

    def made(slope):
        def claimed(params, batch):
            (x, y), h = batch, jnp.tanh(batch[0] @ params["W1"] + params["b1"])
            dz2 = (jax.nn.softmax(h @ params["W2"] + params["b2"]) - y) / len(x)
            dz1 = dz2 @ params["W2"].T * slope(h)
            return {"W1": x.T @ dz1, "b1": dz1.sum(0), "W2": h.T @ dz2 * 2, "b2": dz2.sum(0)}

        return claimed

    (found,) = audit(jax_entropy, params, batch, made(lambda h: 1 - h**2)).corrections
    assert found.before == "'W2': h.T @ dz2 * 2"
    assert found.after == "'W2': h.T @ dz2"


def test_what_is_right_and_what_is_no_function_has_no_corrections():
    params, batch = network()
    right = corrected(turned, corrections_said(entropy, turned))
    assert not audit(entropy, params, batch, right).corrections
    assert not audit(entropy, params, batch, turned(params, batch)).corrections


def test_a_change_that_is_right_by_chance_is_not_offered():
    def loss(params, batch):
        return np.sum(np.maximum(0, batch * params["w"]) ** 2)

    def claimed(params, batch):
        z = batch * params["w"]
        slope = np.where(z > 0, 3, 1)
        return {"w": 2 * z * batch * slope}

    # Where nothing is below zero, (1, 1) would be as good as (1, 0).
    params, batch = {"w": np.array([0.3, 0.7, 0.9, 1.2])}, np.array([1.0, 2.0, 0.5, 0.8])
    found = audit(loss, params, batch, claimed).corrections
    assert found
    below = {"w": -params["w"]}
    np.testing.assert_array_equal(corrected(claimed, found)(below, batch)["w"], 0)


def test_the_user_s_functions_stay_as_they_are(monkeypatch):
    params, batch = network()
    code, before = twice.__code__, twice(params, batch)
    assert corrections_said(entropy, twice)
    assert twice.__code__ is code
    jax.tree.map(np.testing.assert_array_equal, twice(params, batch), before)

    calls, held = itertools.count(), corrections._Limits.held

    def stopped(*given):
        if next(calls) == 100:
            raise KeyboardInterrupt
        return held(*given)

    monkeypatch.setattr(corrections._Limits, "held", stopped)
    with pytest.raises(KeyboardInterrupt):
        audit(entropy, params, batch, twice)
    assert twice.__code__ is code


def test_what_a_claim_reaches_is_as_it_was():
    scale = np.ones((7, 5))
    params, batch = network()
    kept = Network(params)

    def claimed(params, batch):
        slope = scale
        x, y = batch
        h = np.tanh(x @ params["W1"] + params["b1"])
        slope = slope * (1 - h)
        dz2 = (softmax(h @ params["W2"] + params["b2"]) - y) / len(x)
        dz1 = dz2 @ params["W2"].T * slope
        return {"W1": x.T @ dz1, "b1": dz1.sum(0), "W2": h.T @ dz2, "b2": dz2.sum(0)}

    audit(entropy, params, batch, claimed)
    np.testing.assert_array_equal(scale, 1)
    assert scale.flags.writeable
    audit(entropy, params, batch, kept.backward)
    np.testing.assert_array_equal(kept.h, np.tanh(batch[0] @ params["W1"] + params["b1"]))


def test_of_many_examples_a_right_line_stays_right():
    """Of 24 of them one that divides by 600 is off by the number of hidden units."""
    params, _ = network(sizes=(3, 25, 4))
    random = np.random.default_rng(0)
    batch = random.normal(size=(600, 3)), np.eye(4)[random.integers(4, size=600)]

    def claimed(params, batch):
        x, y = batch
        if len(x) % 24:
            raise ValueError("by 24 alone")
        h = np.tanh(x @ params["W1"] + params["b1"])
        dz2 = (softmax(h @ params["W2"] + params["b2"]) - y) / 600
        dz1 = dz2 @ params["W2"].T * (1 - h**2)
        return {"W1": x.T @ dz1, "b1": dz1.sum(0) * 2, "W2": h.T @ dz2, "b2": dz2.sum(0)}

    assert not audit(entropy, params, batch, claimed).corrections


def test_a_function_that_may_act_is_not_run_again(tmp_path):
    calls = []

    def claimed(params, batch):
        with open(tmp_path / "log", "a") as file:
            file.write("called")
        calls.append(1)
        return twice(params, batch)

    params, batch = network()
    assert not audit(entropy, params, batch, claimed).corrections
    assert len(calls) < 10


def share(rows):
    return 2.0 / rows


def shared_loss(params, batch):
    return np.mean((batch @ params["w"]) ** 2) + 0 * share(len(batch))


def shared_claim(params, batch):
    # 2 z, in which no number is to be changed.
    error = np.square(batch @ params["w"] + 1) - np.square(batch @ params["w"]) - 1
    return {"w": batch.T @ error * share(len(batch))}


def test_what_the_loss_runs_too_is_not_changed():
    batch = np.random.default_rng(0).normal(size=(6, 4))
    (found,) = audit(shared_loss, {"w": np.arange(1.0, 5)}, batch, shared_claim).corrections
    assert found.function == "shared_claim"


def value_and_gradient(params, batch):
    # As courses write it: the loss, and its gradient beside it.
    rate = 1.0
    error = batch @ params["w"] + params["b"] - 1
    value = rate * np.mean(error**2)
    dw = 4 * rate * batch.T @ error / len(batch)
    db = 4 * rate * np.mean(error, keepdims=True)
    return value, {"w": dw, "b": db}


def test_a_function_of_loss_and_gradient_is_corrected_where_the_loss_stays_as_it_is():
    def loss(params, batch):
        return value_and_gradient(params, batch)[0]

    def claimed(params, batch):
        return value_and_gradient(params, batch)[1]

    params = {"w": np.arange(1.0, 5), "b": np.array([2.0])}
    batch = np.random.default_rng(0).normal(size=(6, 4))
    found = audit(loss, params, batch, claimed).corrections
    # Half the rate would do it at once, and make another loss.
    first = inspect.getsourcelines(value_and_gradient)[1]
    assert [each.line for each in found] == [first + 5, first + 6]
    value, gradient = corrected(value_and_gradient, found)(params, batch)
    assert value == loss(params, batch)
    true = differences(loss, params, batch)
    for name in params:
        np.testing.assert_allclose(gradient[name], true[name], rtol=1e-6)


def gates(params, batch):
    za, zb, zc = (batch * params[f"w{gate}"] + params[f"u{gate}"] for gate in "abc")
    return np.sum(np.sin(za) * np.exp(zb) * np.cos(zc))


def by_the_shift_of_another_gate(params, batch):
    wa, wb, wc = params["wa"], params["wb"], params["wc"]
    uc = params["uc"]
    za = batch * wa + uc
    zb = batch * wb + uc
    zc = batch * wc + uc
    da = np.cos(za) * np.exp(zb) * np.cos(zc)
    db = np.sin(za) * np.exp(zb) * np.cos(zc)
    dc = -np.sin(za) * np.exp(zb) * np.sin(zc)
    grads = {"ua": da.sum(0), "ub": db.sum(0), "uc": dc.sum(0)}
    grads |= {"wa": (batch * da).sum(0), "wb": (batch * db).sum(0), "wc": (batch * dc).sum(0)}
    return grads


@pytest.mark.slow
def test_a_name_is_given_the_ending_of_those_beside_it_at_all_places():
    random = np.random.default_rng(0)
    params = {f"{kind}{gate}": random.normal(size=5) for kind in "wu" for gate in "abc"}
    batch = random.normal(size=(7, 5))
    found = audit(gates, params, batch, by_the_shift_of_another_gate).corrections
    assert [each.after for each in found] == [
        "za = batch * wa + params['ua']",
        "zb = batch * wb + params['ub']",
    ]


def bent(z):
    return np.where(z > 0, z + z**2 / 2, 0.45 * z)


def bent_twice(params, batch):
    return np.sum(bent(batch * params["a"])) + np.sum(bent(0.4 - bent(batch * params["b"])))


def slope_of_bent(z):
    return np.where(z > 0, z + 2, 0.7)


def by_two_wrong_slopes(params, batch):
    z = batch * params["b"]
    da = batch * slope_of_bent(batch * params["a"])
    db = -batch * slope_of_bent(0.4 - bent(z)) * slope_of_bent(z)
    return {"a": da.sum(0), "b": db.sum(0)}


@pytest.mark.slow
def test_a_change_that_is_right_here_alone_is_made_with_another():
    random = np.random.default_rng(0)
    params = {"a": random.uniform(0.5, 1, 4), "b": np.array([0.9, -0.8, 0.7, -0.6])}
    batch = random.uniform(0.1, 2, size=(8, 4))
    (found,) = audit(bent_twice, params, batch, by_two_wrong_slopes).corrections
    assert found.after == "return np.where(z > 0, z + 1, 0.45)"
    assert found.leaves == {0, 1}


def test_loops_are_run_in_bounds_and_long_axes_left_alone():
    def claimed(params, batch):
        n = 0
        while n < 1:
            n += 1
        return {"w": n * batch.sum(0) * params["w"]}

    def loss(params, batch):
        return np.sum(batch @ params["w"])

    few = np.ones((4, 3)) * np.arange(1.0, 4)
    params = {"w": np.array([0.5, -1.0, 2.0])}
    assert audit(loss, params, few, claimed).corrections
    once = functools.partial(_without_loop)
    (found,) = audit(loss, params, few, once).corrections
    assert found.after == "'w': batch.sum(0)"
    (found,) = audit(loss, params, np.tile(few, (40, 1)), once).corrections
    assert found.after == "'w': batch.sum(0)"
    wide = {"w": np.tile(params["w"], 1000)}
    assert not audit(loss, wide, np.tile(few, (1, 1000)), once).corrections


def _without_loop(params, batch):
    return {"w": batch.sum(0) * params["w"]}


@pytest.mark.slow
def test_entries_that_are_meant_more_than_once_are_added_up():
    rows = np.array([0.0, 2, 2, 1, 0, 2])

    def loss(params, batch):
        return np.sum((params["a"][batch[:, 0].astype(int)] - batch[:, 1]) ** 2)

    def claimed(params, batch):
        index = batch[:, 0].astype(int)
        error = 2 * (params["a"][index] - batch[:, 1])
        grad = np.zeros_like(params["a"])
        grad[index] = error
        return {"a": grad}

    batch = np.stack([rows, np.arange(6.0) ** 2 / 7], axis=1)
    found = audit(loss, {"a": np.array([0.5, -1.0, 2.0])}, batch, claimed)
    assert [row.verdict for row in found.rows] == ["wrong"]  # though rows are counted by floats
    assert found.corrections[0].after == "np.add.at(grad, index, error)"


def test_a_length_of_another_array_is_found():
    def loss(params, x, y):
        return np.sum((x @ params["w"] - y) ** 2) / (2 * len(x))

    def claimed(params, x, y):
        w = params["w"]
        m = w.shape[0]
        return {"w": x.T @ (x @ w - y) / m}

    random = np.random.default_rng(0)
    batch = random.normal(size=(7, 3)), random.normal(size=(7, 2))
    (found,) = audit(loss, {"w": random.normal(size=(3, 2))}, batch, claimed).corrections
    assert found.after == "m = len(x)"


@pytest.mark.slow
def test_brackets_are_put_where_they_belong():
    params, batch = network()
    source = inspect.getsource(of_the_error).replace("(p - y) / len(x)", "p - y / len(x)")
    source = source.replace("1 - dh**2", "1 - h**2")
    name = "bracketed.py"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    scope = dict(globals())
    exec(compile(source, name, "exec"), scope)
    (found,) = audit(entropy, params, batch, scope["of_the_error"]).corrections
    assert (found.before, found.after) == ("dz2 = p - y / len(x)", "dz2 = (p - y) / len(x)")


BODY = """
    x, y = batch
    h = np.tanh(x @ params["W1"] + params["b1"])
    p = np.exp(h @ params["W2"] + params["b2"])
    dz2 = (p / p.sum(axis=1, keepdims=True) - y) / len(x)
    dz1 = dz2 @ params["W2"].T * SLOPE
    return {"W1": x.T @ dz1, "b1": dz1.sum(0), "W2": h.T @ dz2, "b2": dz2.sum(0)}
"""
MODULE = "import dataclasses, functools, io, logging, numpy as np, os, subprocess, sys\n"


def written(tmp_path, slope, before="", name="mine"):
    """Import a function from a file of a user's."""
    source = f"{MODULE}{before}\n\ndef gradient(params, batch):{BODY.replace('SLOPE', slope)}"
    (tmp_path / f"{name}.py").write_text(source)
    spec = importlib.util.spec_from_file_location(name, tmp_path / f"{name}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


REACHED = {
    "a dataclass": (
        "@dataclasses.dataclass\nclass Shape:\n    one: float = 1.0\nSHAPE = Shape()",
        "(SHAPE.one - h)",
    ),
    "an array and a view of it": ("ROW = np.ones(5)\nVIEW = ROW[:]", "(VIEW - h) * ROW"),
    "a view and its array": ("ROW = np.ones(5)\nVIEW = ROW[:]", "(ROW - h) * VIEW"),
    "a decorated function": (
        "def logged(f):\n"
        "    @functools.wraps(f)\n    def inner(*a):\n        return f(*a)\n    return inner\n"
        "@logged\ndef slope(h):\n    return 1 - h",
        "slope(h)",
    ),
}


@some_of("reached", REACHED, "a decorated function")
def test_what_only_computes_is_corrected_and_left_writable(tmp_path, reached):
    module = written(tmp_path, REACHED[reached][1], REACHED[reached][0])
    params, batch = network()
    assert audit(entropy, params, batch, module.gradient).corrections
    arrays = [each for each in vars(module).values() if isinstance(each, np.ndarray)]
    assert all(each.flags.writeable for each in arrays)


@pytest.mark.slow
def test_a_class_of_a_file_that_runpy_ran_only_computes(tmp_path, monkeypatch):
    before = "class Tanh:\n    def slope(self, h):\n        return 1 - h\n"
    module = written(tmp_path, "Tanh().slope(h)", before)
    monkeypatch.delitem(sys.modules, "mine")
    params, batch = network()
    (found,) = audit(entropy, params, batch, module.gradient).corrections
    assert found.after == "return 1 - h ** 2"


ACTING = {
    "a file": ("LOG = sys.__stderr__", "(1 - h) * (print(1, file=LOG) is None)"),
    "a process": ("from subprocess import call", "(1 - h) * (call(['true']) + 1)"),
    "a logger": ("LOG = logging.getLogger('x')", "(1 - h) * (LOG.info('x') is None)"),
    "a branch not taken": (
        "def report():\n    os.remove('x')",
        "(1 - h) if len(x) else report()",
    ),
    "a generator of numbers": (
        "RANDOM = np.random.default_rng(0)",
        "(1 - h) * (RANDOM.normal(0, 0, h.shape) + 1)",
    ),
    "slots": (
        "class Slots:\n    __slots__ = ('one',)\nSLOTS = Slots()\nSLOTS.one = 1",
        "(SLOTS.one - h)",
    ),
    "an end of the process": ("", "(1 - h) if len(x) else exit()"),
}


@some_of("acting", ACTING, "a file", "a branch not taken")
def test_what_may_act_is_not_changed(tmp_path, monkeypatch, acting):
    module = written(tmp_path, ACTING[acting][1], ACTING[acting][0])
    ran = []
    monkeypatch.setattr(sources, "ran", ran.append)
    params, batch = network()
    assert not audit(entropy, params, batch, module.gradient).right
    assert not ran


@first_of("edit", [lambda s: s.replace("1 - h", "h - 1"), lambda s: f"x = '{s[:9]}"])
def test_a_file_that_was_edited_since_is_not_taken_for_what_runs(tmp_path, edit):
    module = written(tmp_path, "(1 - h)")
    params, batch = network()
    path = tmp_path / "mine.py"
    path.write_text(edit(path.read_text()))
    linecache.checkcache()
    found = audit(entropy, params, batch, module.gradient)
    assert not found.right
    assert not found.corrections


def test_a_change_that_never_ends_is_given_up(tmp_path):
    before = (
        "def halvings(n):\n    k = 0\n    while n != 1:\n        n = n // 2\n        k = k + 1\n"
    )
    module = written(tmp_path, "(halvings(4) - 1 - h)", f"{before}    return k")
    params, batch = network()
    (found,) = audit(entropy, params, batch, module.gradient).corrections
    assert found.after.endswith("h ** 2)")


def windows(params, batch):
    z, total = batch * params["w"], 0.0
    for i, j in np.ndindex(3, 3):
        total += z[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].sum() ** 2
    return total


def without_steps(params, batch):
    z, step, size = batch * params["w"], 2, 2
    back = np.zeros_like(z)
    for i in range(len(z) // step):
        for j in range(len(z) // step):
            top = i
            left = j
            sums = z[top : top + size, left : left + size].sum()
            back[top : top + size, left : left + size] += 2 * sums
    return {"w": back * batch}


def weighted(params, batch):
    return np.sum(batch[:, :1] * (params["w"] - batch) ** 2)


def without_weights(params, batch):
    weights, y, w = batch[:, 0], batch, params["w"]
    grad = np.zeros_like(w)
    for i in range(len(weights)):
        grad[i] += 2 * (w[i] - y[i])
    return {"w": grad}


def penalised(params, batch):
    return np.sum((batch @ params["w"]) ** 2) / 2 + 0.37 * np.sum(params["w"] ** 2)


def without_strength(params, batch):
    z = batch @ params["w"]
    penalty = 2 * params["w"]
    return {"w": batch.T @ z + penalty}


def two_scales(params, batch):
    return np.sum((batch * params["a"]) ** 2 * np.sin(params["b"]))


def crossed(params, batch):
    a, b = params["a"], params["b"]
    da = 2 * batch**2 * a * np.sin(b)
    db = (batch * a) ** 2 * np.cos(b)
    return {"a": db, "b": da}


def squared(params, batch):
    return np.sum((batch * params["w"]) ** 2 * (np.arange(6) + 1))


def at_another_row(params, batch):
    z = batch * params["w"]
    grad = np.zeros_like(z)
    for row in range(len(z)):
        last = row
    for row in range(len(z)):
        grad[last] = 2 * z[row] * (np.arange(6) + 1) * batch[row]
    return {"w": grad}


def seen_only(params, batch):
    return sum(params["w"][j] ** 2 for j in np.flatnonzero(batch[:, 0] > 0)).sum()


def over_all(params, batch):
    w = params["w"]
    seen = np.flatnonzero(batch[:, 0] > 0)
    grad = np.zeros_like(w)
    for j in range(len(w)):
        grad[j] += 2 * w[j]
    return {"w": grad * (len(seen) > 0)}


def copied_too_soon(params, batch):
    layers = {"w": batch.T @ (batch @ params["w"])}
    grads = {name: value.copy() for name, value in layers.items()}
    layers["w"] += 2 * 0.37 * params["w"]
    return grads


def softplus(params, batch):
    return np.sum(np.log1p(np.exp(batch @ params["w"])) ** 2) / 2


def overwriting(params, batch):
    z = batch @ params["w"]
    z[...] = np.log1p(np.exp(z))
    error = 1.0 * z
    slope = 1 / (1 + np.exp(-z))
    return {"w": batch.T @ (error * slope)}


def carried(params, batch):
    state, total = np.zeros(6), 0.0
    for x in batch:
        state = params["w"] * state + x
        total += np.sum(state**2) / 2
    return total + np.sum(state * batch[-1])


def not_carried(params, batch):
    states = [np.zeros(6)]
    for x in batch:
        states.append(params["w"] * states[-1] + x)
    grad = np.zeros_like(params["w"])
    back = np.zeros(6)
    for t in range(len(batch), 0, -1):
        back = back + states[t]
        grad += back * states[t - 1]
        back = back * params["w"]
    return {"w": grad}


def filtered(params, batch):
    return np.sum(np.convolve(np.tanh(batch[0] * params["w"][0]), batch[1, :3], "valid") ** 2) / 2


def not_turned_around(params, batch):
    kernel = batch[1, :3]
    h = np.tanh(batch[0] * params["w"][0])
    dy = np.convolve(h, kernel, "valid")
    dh = np.convolve(dy, kernel, "full")
    grad = np.zeros_like(params["w"])
    grad[0] = dh * (1 - h**2) * batch[0]
    return {"w": grad}


def exponential(params, batch):
    return np.sum(1.5 ** (batch @ params["w"]))


def as_a_power(params, batch):
    base = 1.5
    z = batch @ params["w"]
    dz = base * z ** (base - 1)
    return {"w": batch.T @ dz}


def thinned(params, batch):
    return np.sum(((batch > 0) * params["w"] / 0.7) ** 2)


def scaled_by_the_share(params, batch):
    dropped = 0.3
    kept = batch > 0
    h = kept * params["w"] / (1 - dropped)
    dh = 2 * h
    return {"w": dh * kept * dropped}


def distances(params, batch):
    z = params["w"] * batch
    return np.sum(z / (np.sqrt(np.sum(z**2, axis=1, keepdims=True)) + 0.4))


def by_all_of_it(params, batch):
    margin = 0.4
    z = params["w"] * batch
    norm = np.sqrt(np.sum(z**2, axis=1, keepdims=True)) + margin
    along = z.sum(axis=1, keepdims=True) / norm
    return {"w": (1 - along * z / norm) / norm * batch}


def events(params, batch):
    rates = np.sum(params["w"] ** 2, axis=0)
    return len(batch) * rates.sum() - np.sum(np.log(rates + batch**2))


def without_the_first(params, batch):
    x, rates = batch**2, np.sum(params["w"] ** 2, axis=0)
    slopes = np.full(6, float(len(x) - 1))
    for i in range(1, len(x)):
        slopes -= 1 / (rates + x[i])
    return {"w": 2 * params["w"] * slopes}


def averaged(params, batch):
    return np.mean((batch @ params["w"]) ** 2)


def divided_each_time(params, batch):
    grad = np.zeros_like(params["w"])
    for x in batch:
        grad += 2 * np.outer(x, x @ params["w"])
        grad /= params["w"].shape[1] * len(batch)
    return {"w": grad}


def sizes(params, batch):
    return np.sum(np.abs(batch) * np.sin(params["w"]))


def with_a_minus(params, batch):
    sign = np.where(batch > 0, 1.0, -1.0)
    slope = np.cos(params["w"]) * sign**2
    return {"w": -(batch * slope)}


def cubes(params, batch):
    return np.sum(batch * params["w"] ** 3)


def without_exponent(params, batch):
    n = 3
    power = params["w"] ** (n - 1)
    return {"w": batch * power}


def composed(params, batch):
    return np.sum(batch * np.tanh(0.5 * params["w"] + params["w"] ** 3))


def without_the_inner(params, batch):
    w = params["w"]
    t = np.tanh(0.5 * w + w**3)
    return {"w": batch * (1 - t**2)}


def by_columns(params, batch):
    return np.sum(params["w"] ** 2 * batch * (1 - batch[:, :1]))


def by_one_column(params, batch):
    first = batch[:, :1]
    return {"w": 2 * params["w"] * (first * (1 - first))}


PICKED = np.array([3, 1, 1, 5, 0, 1])


def gathered(params, batch):
    return np.sum((params["w"][PICKED] * batch) ** 2) / 2


def gathered_back(params, batch):
    index = PICKED
    back = params["w"][index] * batch**2
    grad = np.zeros_like(back)
    for s in range(len(grad)):
        grad[s] = back[index[s]]
    return {"w": grad}


def shares(params, batch):
    s = 1 + params["w"] ** 2
    return np.sum(batch * (s / s.sum(axis=1, keepdims=True)) ** 2)


def shares_by_one(params, batch):
    s = 1 + params["w"] ** 2
    p = s / s.sum(axis=1, keepdims=True)
    g = 2 * p * batch
    ds = g * p * (1 - p)
    return {"w": ds * 2 * params["w"]}


def cubed_sizes(params, batch):
    return np.sum(np.abs(params["w"] - batch) ** 3) / 3


def without_sign(params, batch):
    error = params["w"] - batch
    return {"w": error**2}


def of_scores(params, batch):
    return -np.sum(batch**2 * np.log(softmax(params["w"])))


def scores_as_they_are(params, batch):
    y, w = batch**2, params["w"]
    return {"w": w * y.sum(axis=1, keepdims=True) - y}


def thirds(params, batch):
    return np.sum((params["w"] - batch) ** 2) / 6


def without_the_other(params, batch):
    return {"w": params["w"] / len(batch) * 2}


def column_sums(params, batch):
    return np.sum(np.sum(params["w"] * batch, axis=0) ** 2) / 2


def products_of_all(params, batch):
    return {"w": batch * (params["w"] @ batch)}


def entry_by_entry(params, batch):
    z = batch @ params["w"]
    grad = np.zeros_like(params["w"])
    for i in range(len(grad)):
        for j in range(len(grad)):
            grad[i, j] = np.sum(2 * z[:, j])
    return {"w": grad / z.size}


def without_steps_at_once(params, batch):
    z, step, size = batch * params["w"], 2, 2
    back = np.zeros_like(z)
    for i in range(len(z) // step):
        for j in range(len(z) // step):
            top, left = i, j
            sums = z[top : top + size, left : left + size].sum()
            back[top : top + size, left : left + size] += 2 * sums
    return {"w": back * batch}


def factors(params, batch):
    return np.sum((params["a"] * params["b"] - batch) ** 2) / 2


def by_what_is_updated(params, batch):
    a, b = (params[name].copy() for name in "ab")
    error = a * b - batch
    da = error * b
    a -= 0.1 * da
    db = error * a
    return {"a": da, "b": db}


def in_threes(params, batch):
    return np.sum((np.repeat(batch[:2], 3, axis=0) * params["w"]) ** 2) / 2


def by_the_remainder(params, batch):
    grad = np.zeros_like(params["w"])
    for row in range(6):
        group = row % 3
        grad[row] = batch[group] ** 2 * params["w"][row]
    return {"w": grad}


def kernels(params, batch):
    return np.sum(np.exp(-((params["w"] - batch) ** 2).sum(axis=1)))


def without_the_square(params, batch):
    apart = params["w"] - batch
    size = np.linalg.norm(apart, axis=1, keepdims=True)
    return {"w": -2 * apart * np.exp(-size)}


def huber(params, batch):
    z = params["w"] - batch
    return np.sum(np.where(np.abs(z) <= 0.7, z**2 / 2, 0.7 * np.abs(z) - 0.7**2 / 2))


def on_one_side(params, batch):
    z = params["w"] - batch
    return {"w": np.where(z <= 0.7, z, 0.7)}


def normed(params, batch):
    w = params["w"]
    return np.sum(batch * w / (np.sqrt(np.sum(w**2, axis=1, keepdims=True)) + 0.2))


def normed_by_all_of_it(params, batch):
    w = params["w"]
    norm = np.sqrt(np.sum(w**2, axis=1, keepdims=True)) + 0.2
    along = np.sum(batch * w, axis=1, keepdims=True)
    return {"w": (batch * norm - along * w / norm) / norm**2}


def bells(params, batch):
    return np.sum(np.exp(batch * params["w"]) * np.cos(params["w"]))


def doubled_on_the_way(params, batch):
    w = params["w"]
    e, c = np.exp(batch * w), np.cos(w)
    e, c, w = e * 2, c + w, w * c
    return {"w": e * (batch * c - np.sin(w))}


def of_pairs(params, batch):
    return np.sum(batch @ params["w"] @ batch.T)


def turned_once_more(params, batch):
    one, two = batch, batch.T
    one, two = one.T, two.T
    ones = np.ones((len(batch), len(batch)))
    return {"w": one.T @ ones @ two.T}


def curved(params, batch):
    z = params["w"] * batch
    return np.sum(np.log(np.cosh(z)) - 0.3 * z)


def of_the_difference(params, batch):
    z = params["w"] * batch
    return {"w": batch * np.tanh(z - 0.3)}


def largest(params, batch):
    return np.sum(np.max(params["w"] * batch, axis=1) ** 2)


def within_a_tolerance(params, batch):
    z = params["w"] * batch
    top = np.max(z, axis=1, keepdims=True)
    mask = np.abs(z - top) < 1.1
    return {"w": 2 * top * mask * batch}


def linear(params, batch):
    return 0.5 * ((batch @ params["w"].T) ** 2).sum()


def by_inner_products(params, batch):
    grad = np.zeros_like(params["w"])
    for row in batch:
        grad += np.matmul(params["w"] @ row, row)
    return {"w": grad}


def in_parts(params, batch):
    z = params["w"] * batch
    return sum((z[:, start : start + 4].mean(axis=1) ** 2).sum() for start in (0, 4))


def as_if_of_one_length(params, batch):
    z, size = params["w"] * batch, 4
    grad = np.zeros_like(z)
    for start in (0, 4):
        end = min(start + size, z.shape[1])
        mean = z[:, start:end].mean(axis=1, keepdims=True)
        grad[:, start:end] += 2 * mean * batch[:, start:end] / size
    return {"w": grad}


def centred(params, batch):
    z = params["w"] * batch
    return 0.5 * (np.arange(1, 7)[:, None] * (z - z.mean(axis=0)) ** 2).sum()


def of_the_sum(params, batch):
    z, k = params["w"] * batch, np.arange(1, 7)[:, None]
    apart = z - z.mean(axis=0)
    total = (k * apart).sum(axis=0)
    return {"w": batch * (total - total / 6)}


def capped(params, batch):
    z, cap = batch * params["w"], 0.6
    return np.sum(np.where(z > cap, np.exp(cap) * z**2, z))


def by_the_cap_itself(params, batch):
    z, cap = batch * params["w"], 0.6
    slopes = np.where(z > cap, cap * 2 * z, 1)
    return {"w": slopes * batch}


def states(params, batch):
    states = [np.zeros(6)]
    for row, x in zip(params["w"], batch, strict=True):
        states.append(np.cos(x) * states[-1] + row * x)
    return np.array(states[1:])


def carried_on(params, batch):
    return np.sum(states(params, batch) ** 2)


def by_what_fades_too_soon(params, batch):
    given, back, grad = states(params, batch), np.zeros(6), np.zeros((6, 6))
    for t in range(5, -1, -1):
        fade = np.cos(batch[t])
        signal = 2 * given[t] + fade * back
        back = signal
        grad[t] = signal * batch[t]
    return {"w": grad}


def least(params, batch):
    return np.sum((batch @ params["w"]) ** 2) / len(batch)


def by_the_sum_of_inputs(params, batch):
    x = batch[:, 0]
    slopes = 2 * batch.T @ (batch @ params["w"]) / sum(x)
    return {"w": slopes}


KINDS = {
    "what the loss computes": (
        *(capped, by_the_cap_itself),
        ["slopes = np.where(z > cap, np.exp(cap) * 2 * z, 1)"],
    ),
    "a factor at another line": (
        *(carried_on, by_what_fades_too_soon),
        ["signal = 2 * given[t] + back", "back = signal * fade"],
    ),
    "a length for a sum": (
        *(least, by_the_sum_of_inputs),
        ["slopes = 2 * batch.T @ (batch @ params['w']) / len(x)"],
    ),
    "the exponent": (
        *(cubes, without_exponent),
        ["power = n * params['w'] ** (n - 1)"],
    ),
    "the inner derivative": (
        *(composed, without_the_inner),
        ["'w': batch * (1 - t ** 2) * (0.5 + 3 * w ** 2)"],
    ),
    "an array that broadcasts": (
        *(by_columns, by_one_column),
        ["'w': 2 * params['w'] * (batch * (1 - first))"],
    ),
    "added where the index says": (gathered, gathered_back, ["np.add.at(grad, index, back)"]),
    "back through a share": (
        *(shares, shares_by_one),
        ["ds = (g - (g * p).sum(axis=1, keepdims=True)) / s.sum(axis=1, keepdims=True)"],
    ),
    "the sign of an odd power": (
        *(cubed_sizes, without_sign),
        ["'w': np.sign(error) * np.abs(error) ** 2"],
    ),
    "a function left out": (
        *(of_scores, scores_as_they_are),
        ["'w': softmax(w) * y.sum(axis=1, keepdims=True) - y"],
    ),
    "a term within a factor": (
        thirds,
        without_the_other,
        ["'w': (params['w'] - batch) / len(batch) * 2"],
    ),
    "a sum of products": (
        *(column_sums, products_of_all),
        ["'w': batch * (params['w'] * batch).sum(axis=0, keepdims=True)"],
    ),
    "a column": (averaged, entry_by_entry, ["grad[i, j] = np.sum(2 * z[:, j] * batch[:, i])"]),
    "at two places of a line": (
        *(windows, without_steps_at_once),
        ["i * step", "j * step"],
    ),
    "too late by an update": (factors, by_what_is_updated, ["after line N"]),
    "the same at two places": (windows, without_steps, ["top = i * step", "left = j * step"]),
    "an entry": (weighted, without_weights, ["grad[i] += 2 * (w[i] - y[i]) * weights[i]"]),
    "a number of the loss": (penalised, without_strength, ["'w': batch.T @ z + penalty * 0.37"]),
    "each other's place": (two_scales, crossed, ["'a': da", "'b': db"]),
    "an index on the left": (
        *(squared, at_another_row),
        ["grad[row] = 2 * z[row] * (np.arange(6) + 1) * batch[row]"],
    ),
    "another loop": (seen_only, over_all, ["for j in seen:"]),
    "a statement later": (penalised, copied_too_soon, ["after line N"]),
    "as before it was overwritten": (
        *(softplus, overwriting),
        ["slope = 1 / (1 + np.exp(-(batch @ params['w'])))"],
    ),
    "an entry for an empty array": (carried, not_carried, ["back = batch[-1]"]),
    "backwards": (
        *(filtered, not_turned_around),
        ["dh = np.convolve(dy, kernel[..., ::-1], 'full')"],
    ),
    "the derivative of a power": (exponential, as_a_power, ["dz = base ** z * np.log(base)"]),
    "the rest of a share": (
        *(thinned, scaled_by_the_share),
        ["'w': dh * kept / (1 - dropped)"],
    ),
    "a term less": (
        *(distances, by_all_of_it),
        ["'w': (1 - along * z / (norm - margin)) / norm * batch"],
    ),
    "two that add up": (
        *(events, without_the_first),
        ["slopes = np.full(6, float(len(x)))", "for i in range(0, len(x)):"],
    ),
    "out of the loop": (averaged, divided_each_time, ["after the loop, behind line N"]),
    "a quotient for a remainder": (in_threes, by_the_remainder, ["group = row // 3"]),
    "a square": (kernels, without_the_square, ["'w': -2 * apart * np.exp(-size ** 2)"]),
    "a bound on both sides": (
        *(huber, on_one_side),
        ["'w': np.where(np.abs(z) <= 0.7, z, 0.7 * np.sign(z))"],
    ),
    "a small number less": (
        *(normed, normed_by_all_of_it),
        ["'w': (batch * norm - along * w / (norm - 0.2)) / norm ** 2"],
    ),
    "several values left out": (bells, doubled_on_the_way, ["pass"]),
    "two values of a tuple": (of_pairs, turned_once_more, ["two.T", "one.T"]),
    "a bracket of a call": (curved, of_the_difference, ["'w': batch * (np.tanh(z) - 0.3)"]),
    "a tolerance": (largest, within_a_tolerance, ["mask = z == top"]),
    "an outer product": (
        *(linear, by_inner_products),
        ["grad += np.outer(params['w'] @ row, row)"],
    ),
    "the length of a part": (
        *(in_parts, as_if_of_one_length),
        ["grad[:, start:end] += 2 * mean * batch[:, start:end] / (end - start)"],
    ),
    "what was summed": (centred, of_the_sum, ["'w': batch * (k * apart - total / 6)"]),
    "a sign for a minus": (sizes, with_a_minus, ["'w': batch * slope * sign"]),
}


def truths(loss, claimed, factor=1.0):
    """Give where a claim is asked, here and elsewhere, by central differences of the loss."""
    found = []
    names = ("a", "b") if claimed in (crossed, by_what_is_updated) else ("w",)
    for seed, rows in enumerate((6, 6, 6)):
        random = np.random.default_rng(seed)
        params = {name: random.normal(size=(6, 6)) for name in names}
        batch = random.normal(size=(rows, 6))
        slopes = differences(loss, params, batch)
        scale = factor if found else 1.0
        found.append(case.Truth(params, batch, [scale * slopes[name] for name in names]))
    return found


def corrections_of(loss, claimed, factor=1.0):
    """Look for corrections of a claim."""
    here, *others = truths(loss, claimed, factor)
    with np.errstate(invalid="ignore"):
        given = claimed(here.params, here.batch).values()
    right = [np.allclose(*each, atol=1e-6) for each in zip(given, here.gradient, strict=True)]
    return corrections.find(claimed, (claimed, claimed), here, lambda: others, loss, right)


# Others take the same path sooner.
OFTEN = [
    *("an array that broadcasts", "a column", "each other's place", "backwards", "a term less"),
    *("two that add up", "several values left out", "the length of a part"),
]


@some_of("kind", KINDS, *OFTEN)
def test_each_kind_of_change_is_found(kind):
    loss, claimed, lines = KINDS[kind]
    found = corrections_of(loss, claimed)
    assert [re.sub(r"line \d+", "line N", each.after) for each in found] == lines


class RefusedError(Exception):
    """What makes the gradient right in one place was refused."""


# Of an expression, of a name and of statements.
@some_of("kind", KINDS, "a number of the loss", "each other's place", "out of the loop")
def test_what_is_right_here_alone_is_not_said(kind, monkeypatch):
    better = corrections._Search._better

    def refusing(*given):
        found = better(*given)
        if found is None:
            raise RefusedError
        return found

    loss, claimed, _ = KINDS[kind]
    monkeypatch.setattr(corrections._Search, "_better", refusing)
    with pytest.raises(RefusedError):
        corrections_of(loss, claimed, factor=1.1)

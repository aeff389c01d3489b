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
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnet.audit import audit, computing, sources

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


MISTAKEN = [
    (squares, diagonal, 1),
    (entropy, twice, 2),
    (entropy, of_the_error, 1),
    (entropy, overwritten, 1),
    (entropy, turned, 2),
]


@pytest.mark.parametrize(
    ("loss", "claimed", "lines"), MISTAKEN, ids=lambda each: getattr(each, "__name__", each)
)
def test_the_lines_that_are_wrong_are_found_and_what_is_said_of_them_is_right(loss, claimed, lines):
    params, batch = network()
    found = audit(loss, params, batch, claimed).corrections
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
def test_the_lines_of_a_compiled_function_are_found_and_those_of_a_closure():
    params, batch = jax.tree.map(jnp.asarray, network())

    def made(slope):
        def claimed(params, batch):
            (x, y), h = batch, jnp.tanh(batch[0] @ params["W1"] + params["b1"])
            dz2 = (jax.nn.softmax(h @ params["W2"] + params["b2"]) - y) / len(x)
            dz1 = dz2 @ params["W2"].T * slope(h)
            return {"W1": x.T @ dz1, "b1": dz1.sum(0), "W2": h.T @ dz2 * 2, "b2": dz2.sum(0)}

        return claimed

    (found,) = audit(jax_entropy, params, batch, jax_claim).corrections
    assert "1 - h ** 2" in found.after
    assert jax_claim.__wrapped__.__code__.co_filename == __file__
    (found,) = audit(jax_entropy, params, batch, made(lambda h: 1 - h**2)).corrections
    assert found.before == "'W2': h.T @ dz2 * 2"
    assert found.after == "'W2': h.T @ dz2"


def test_what_is_right_and_what_is_no_function_has_no_corrections():
    params, batch = network()
    right = corrected(turned, audit(entropy, params, batch, turned).corrections)
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
    audit(entropy, params, batch, twice)
    assert twice.__code__ is code
    jax.tree.map(np.testing.assert_array_equal, twice(params, batch), before)

    calls, ask = itertools.count(), computing.limited

    def stopped(*given):
        if next(calls) == 100:
            raise KeyboardInterrupt
        return ask(*given)

    monkeypatch.setattr(computing, "limited", stopped)
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
MODULE = "import dataclasses, functools, io, logging, numpy as np, os, subprocess\n"


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


@pytest.mark.parametrize("reached", REACHED)
def test_what_only_computes_is_corrected_and_left_writable(tmp_path, reached):
    module = written(tmp_path, REACHED[reached][1], REACHED[reached][0])
    params, batch = network()
    assert audit(entropy, params, batch, module.gradient).corrections
    arrays = [each for each in vars(module).values() if isinstance(each, np.ndarray)]
    assert all(each.flags.writeable for each in arrays)


ACTING = {
    "a file": ("LOG = open(os.devnull, 'w')", "(1 - h) * (print(1, file=LOG) is None)"),
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


@pytest.mark.parametrize("acting", ACTING)
def test_what_may_act_is_not_changed(tmp_path, monkeypatch, acting):
    module = written(tmp_path, ACTING[acting][1], ACTING[acting][0])
    ran = []
    monkeypatch.setattr(sources, "ran", ran.append)
    params, batch = network()
    assert not audit(entropy, params, batch, module.gradient).right
    assert not ran


@pytest.mark.parametrize("edit", [lambda s: s.replace("1 - h", "h - 1"), lambda s: f"x = '{s[:9]}"])
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

"""Evidence for the audit of NumPy code: students' networks, right and wrong, in many forms."""

import functools
import math
import re

import jax.numpy as jnp
import numpy as np
import pytest
import students
from few import first_of, some_of
from numpy.lib.stride_tricks import as_strided

from jaxnet.audit import entry, gradients, numpy_loss, tracing
from jaxnet.errors import InputError

pytestmark = pytest.mark.usefixtures("unchecked")


@functools.cache
def drawn(name):
    return students.student(name), *students.student(name).draw()


def audit(name, bug=""):
    student, params, batch = drawn(name)
    gradient = functools.partial(student.gradient, bug=bug)
    return gradients.audit(student.loss, params, batch, gradient)


@some_of("name", students.NAMES, "masks", "branches")
def test_right_gradients_raise_no_alarm(name):
    found = audit(name)
    assert found.right, str(found)
    assert ("finite differences" in found.summary) == (name == "branches")


@some_of(
    ("name", "bug"), students.BUGS, ("columns", "flat"), ("floats", "mean"), ("masks", "slope")
)
def test_wrong_gradients_are_found_where_they_are(name, bug):
    wrong, cause = students.BUGS[name, bug]
    found = audit(name, bug)
    assert [row.name for row in found.rows if row.verdict != "right"] == wrong, str(found)
    assert cause in [*(row.diagnosis for row in found.rows if row.verdict == "wrong"), ""][0]


# A linear network, whose gradient anyone can check, for the forms that things come in.
random = np.random.default_rng(3)
PARAMS = {"W": random.normal(size=(3, 2)), "b": random.normal(size=2)}
BATCH = random.normal(size=(6, 3)), random.normal(size=(6, 2))


def loss(params, batch):
    return np.mean((batch[0] @ params["W"] + params["b"] - batch[1]) ** 2)


def gradient(params, batch):
    error = 2 * (batch[0] @ params["W"] + params["b"] - batch[1]) / batch[1].size
    return {"W": batch[0].T @ error, "b": error.sum(axis=0)}


TRUE = gradient(PARAMS, BATCH)


@pytest.mark.parametrize(
    "claim",
    [
        {"dW": TRUE["W"], "db": TRUE["b"], "dZ": np.ones(3)},
        {"b_grad": TRUE["b"], "grad_W": TRUE["W"]},
        [TRUE["W"], TRUE["b"]],
        (TRUE["b"], TRUE["W"]),
        {"W": TRUE["W"].tolist(), "b": TRUE["b"].tolist()},
        {"W": list(TRUE["W"]), "b": list(TRUE["b"])},
        {"W": jnp.asarray(TRUE["W"], jnp.float32), "b": jnp.asarray(TRUE["b"], jnp.float32)},
    ],
)
def test_a_claim_is_matched_by_name_order_or_shape(claim):
    assert gradients.audit(loss, PARAMS, BATCH, claim).right
    doubled = dict(TRUE, W=2 * TRUE["W"])
    assert not gradients.audit(loss, PARAMS, BATCH, doubled).right


def test_a_dict_keeps_the_order_in_which_it_was_written():
    params = {"second": random.normal(size=(3, 2)), "first": random.normal(size=(2, 1))}

    def loss(params, x):
        hidden = x
        for weight in params.values():
            hidden = hidden @ weight
        return np.mean(hidden)

    def gradient(params, x):
        a, b = params.values()
        return [x.mean(axis=0)[:, None] * b.T, (x @ a).mean(axis=0)[:, None]]

    found = gradients.audit(loss, params, BATCH[0], gradient)
    assert found.right
    assert "finite differences" not in found.summary


@pytest.mark.parametrize(
    ("shape", "claimed", "words"),
    [
        ((4, 1), (4,), "b = b - rate * db would make b [4, 4] without a word"),
        ((4,), (4, 1), "b = b - rate * db would make b [4, 4] without a word"),
        ((1, 4), (4,), "of shape [4], read as [1, 4], the parameter's"),
        ((), (1, 1), "b = b - rate * db would make b [1, 1] without a word"),
    ],
)
def test_axes_of_one_are_read_by_value_and_noted(shape, claimed, words):
    """What the note says is what NumPy does."""
    b = random.normal(size=shape)
    claim = (2 * b).reshape(claimed)
    (row,) = gradients.audit(lambda b, x: np.sum(b**2) * np.mean(x), b, np.ones(3), claim).rows
    assert row.verdict == "right"
    assert words in row.diagnosis
    assert ("without a word" in row.diagnosis) == ((b - 0.1 * claim).shape != b.shape)
    (row,) = gradients.audit(lambda b, x: np.sum(b**2) * np.mean(x), b, np.ones(3), 2 * claim).rows
    assert row.verdict == "wrong"
    assert row.diagnosis.startswith("doubled; of shape" if b.ndim else "doubled")


CALLS = []
NOISE = np.random.default_rng(0)


def in_place(params, batch):
    x, _ = batch
    x -= 1
    return loss(params, batch)


def drops(params, batch):
    return loss(params, batch) * np.random.uniform(1, 2)


def drops_by_its_own(params, batch):
    return loss(params, batch) * NOISE.uniform(1, 2)


def counts(params, batch):
    CALLS.append(1)
    return loss(params, batch)


def grows(params, batch):
    CALLS.append(1)
    return loss(params, batch) * len(CALLS)


def prints(params, batch):
    print("loss", loss(params, batch), f"{loss(params, batch):.3f}")
    return loss(params, batch)


def update(params, batch):
    grads = gradient(params, batch)
    params["W"] -= 0.1 * grads["W"]
    return grads


@first_of(
    ("change", "words"),
    [
        ({"loss": in_place}, "loss changes batch[0] in place; it was given copies"),
        ({"loss": counts}, "loss changes CALLS, outside itself"),
        ({"loss": prints}, "loss prints; that is left out"),
        (
            {"loss": lambda p, b: np.array([[loss(p, b)]])},
            "loss gives shape [1, 1], read as the one number",
        ),
        ({"claimed": update}, "claimed changes params['W'] in place"),
        ({"claimed": lambda p, b: p}, "claimed gives a view of params['W'], params['b']"),
    ],
    3,
)
def test_what_a_function_does_besides_is_named(capsys, change, words):
    given = {"loss": loss, "params": PARAMS, "batch": BATCH, "claimed": gradient}
    kept = [each.copy() for each in (*PARAMS.values(), *BATCH)]
    found = gradients.audit(**(given | change))
    assert words in found.summary
    assert words not in gradients.audit(**given).summary
    assert capsys.readouterr().out == ""
    for before, after in zip(kept, (*PARAMS.values(), *BATCH), strict=True):
        np.testing.assert_array_equal(before, after)


class Kept:
    def __init__(self):
        self.W, self.b = PARAMS["W"], PARAMS["b"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"loss": drops}, "loss: expected a function that gives the same for the same arguments"),
        ({"loss": drops}, "it draws random numbers; draw them once"),
        ({"loss": drops_by_its_own}, "it draws random numbers, or remembers"),
        ({"loss": grows}, "it changes CALLS; let it depend on its arguments alone"),
        (
            {
                "claimed": lambda p, b: {
                    name: np.random.normal(size=g.shape) for name, g in p.items()
                }
            },
            "claimed: expected a function that gives the same for the same arguments",
        ),
        ({"loss": lambda p, b: np.log(-loss(p, b))}, "loss: expected a loss that is finite"),
        ({"loss": lambda p, b: None}, "loss: expected a real scalar, got None; return the loss"),
        ({"loss": lambda p, b: b[0] @ p["W"]}, "loss: expected a real scalar, got float64[6, 2]"),
        ({"loss": lambda p, x, y, z: 0.0}, "loss: expected a function of (params, batch), or of"),
        ({"claimed": lambda p: p}, "claimed: expected a function of (params, batch), or of"),
        (
            {"params": Kept()},
            'params: expected arrays in dicts, lists or tuples, got a Kept; give {"W',
        ),
        (
            {"params": {"W": [[1, 2], [3, 4], [5, 6]], "b": [0.0, 1.0]}},
            "params['W']: expected float",
        ),
        ({"claimed": {"x": TRUE["W"], "b": TRUE["b"]}}, "got none among 'x', 'b' for 'W'; name it"),
        ({"claimed": [TRUE["W"]]}, "claimed: expected the structure of params"),
        ({"claimed": lambda p, b: None}, "got None; return them"),
        ({"claimed": lambda p, b: {"W": p["W"].astype(object), "b": p["b"]}}, "one of objects"),
        ({"batch": (BATCH[0], BATCH[1][:4])}, "batch[1]: expected 6 rows"),
    ],
)
def test_what_cannot_be_audited_is_refused(change, words):
    given = {"loss": loss, "params": PARAMS, "batch": BATCH, "claimed": gradient}
    with np.errstate(all="ignore"), pytest.raises(InputError, match=re.escape(words)):
        gradients.audit(**(given | change))


def test_what_can_be_read_in_two_ways_is_refused():
    params = {"b": np.ones(3), "a": 2 * np.ones(3)}
    with pytest.raises(InputError, match=r"can be read as \['a'\], \['b'\] or as \['b'\], \['a'\]"):
        gradients.audit(
            lambda p, x: np.sum(p["a"] * p["b"] ** 2) * np.mean(x),
            params,
            np.ones(2),
            [np.ones(3)] * 2,
        )


def test_a_draw_of_the_users_is_as_without_an_audit():
    np.random.seed(0)
    expected = np.random.uniform()
    np.random.seed(0)
    with pytest.raises(InputError, match="draws random"):
        gradients.audit(drops, PARAMS, BATCH, gradient)
    assert np.random.uniform() == expected


SCALE = 1.0


def scaled(params, batch):
    return SCALE * loss(params, batch)


def test_a_loss_that_was_traced_before_a_global_changed_is_traced_again(monkeypatch):
    assert gradients.audit(scaled, PARAMS, BATCH, gradient).right
    monkeypatch.setitem(globals(), "SCALE", 2.0)
    found = gradients.audit(scaled, PARAMS, BATCH, gradient)
    assert [row.diagnosis for row in found.rows] == ["halved", "halved"]
    assert "finite differences" not in found.summary


@first_of(("most", "said"), [(100, True), (20_000, False)])
def test_loops_too_long_to_compile_are_audited_uncompiled(monkeypatch, most, said):
    """And loops too long to trace by finite differences."""
    student, params, batch = drawn("objects")
    gradient = functools.partial(student.gradient, bug="sum")
    monkeypatch.setattr(numpy_loss, "_SHORT", 100)
    monkeypatch.setattr(tracing, "_MOST", most)
    entry._traced.cache_clear()
    found = gradients.audit(student.loss, params, batch, gradient)
    assert [row.verdict for row in found.rows] == ["right"] * 2 + ["wrong"] * 2
    assert all("summed over the batch where" in row.diagnosis for row in found.rows[2:])
    assert ("its gradient is by finite differences" in found.summary) == said


@first_of("relu", [lambda z: np.maximum(0, z), lambda z: -np.minimum(-z, 0)])
def test_a_relu_that_sits_on_its_kink_has_the_slope_people_give_it(relu):
    x, y = np.zeros((2, 3)), np.array([[0.5, -1.0], [2.0, 0.3]])
    random = np.random.default_rng(0)
    params = {"W1": random.normal(size=(3, 4)), "b1": np.zeros(4), "W2": random.normal(size=(4, 2))}

    def loss(params, x, y):
        return np.sum((relu(x @ params["W1"] + params["b1"]) @ params["W2"] - y) ** 2) / 2

    zero = {name: np.zeros_like(param) for name, param in params.items()}
    assert gradients.audit(loss, params, (x, y), zero).right
    doubled = gradients.audit(loss, params, (x, y), zero | {"W2": np.ones((4, 2))})
    assert [row.name for row in doubled.rows if row.verdict == "wrong"] == ["['W2']"]


@pytest.mark.slow
def test_a_wrong_signal_is_named_where_the_penalty_is_left_out_besides():
    """By someone who wrote the slope of a ReLU for a leaky one, and forgot the penalty."""
    random = np.random.default_rng(3)
    shapes = {"w_in": (5, 3), "b_in": (5, 1), "w_out": (2, 5), "b_out": (2, 1)}
    params = {name: random.normal(size=shape) / 2 for name, shape in shapes.items()}
    x, y = random.normal(size=(3, 20)), np.eye(2)[random.integers(0, 2, 20)].T

    def forward(p, x):
        z = p["w_in"] @ x + p["b_in"]
        h = np.where(z > 0, z, 0.1 * z)
        odds = np.exp(p["w_out"] @ h + p["b_out"])
        return z, h, odds / odds.sum(axis=0)

    def loss(p, x, y):
        return -np.sum(y * np.log(forward(p, x)[-1])) / 20 + 0.005 * np.sum(p["w_in"] ** 2)

    def gradient(p, x, y):
        z, h, q = forward(p, x)
        output = (q - y) / 20
        hidden = p["w_out"].T @ output * (z > 0)
        return {
            "w_in": hidden @ x.T,
            "b_in": hidden.sum(1, keepdims=True),
            "w_out": output @ h.T,
            "b_out": output.sum(1, keepdims=True),
        }

    found = {row.name: row for row in gradients.audit(loss, params, (x, y), gradient).rows}
    assert found["['w_out']"].verdict == found["['b_out']"].verdict == "right"
    slope = found["['b_in']"].diagnosis
    assert "hidden layer 1" in slope
    assert "ReLU in place of the layer's own activation" in slope
    assert found["['w_in']"].diagnosis == f"{slope}; the regulariser's term left out"


def slid(x, w):
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape, axis=(1, 2))
    return np.einsum("nijab,ab->nij", windows, w)


def strided(x, w):
    (n, a, b), (i, j) = x.shape, w.shape
    rows, *columns = x.strides
    shape, strides = (n, a - i + 1, b - j + 1, i, j), (rows, *columns, *columns)
    windows = as_strided(x, shape=shape, strides=strides)
    return np.tensordot(windows, w, 2)


def cut(x, w):
    (n, a, b), (i, j) = x.shape, w.shape
    out = np.zeros((n, a - i + 1, b - j + 1), dtype=float)
    for at in np.ndindex(*out.shape):
        window = x[at[0], at[1] : at[1] + i, at[2] : at[2] + j]
        out[at] = float(np.sum(window * w))
    return out


@first_of(("convolved", "side"), [(strided, (4, 3)), (slid, (3, 4)), (cut, (3, 4))])
def test_windows_however_they_are_cut_are_traced(convolved, side):
    random = np.random.default_rng(len(side))
    params = {"w": random.normal(size=(2, 3))}
    x, y = random.normal(size=(2, *side)), np.zeros(1)

    def loss(params, x, y):
        # Maxima of Python's, of numbers and of lists.
        out = convolved(np.pad(x, ((0, 0), (1, 1), (0, 0))), params["w"])
        return sum(max(0.1, min([value, 1.5])) ** 2 for value in out.ravel())

    out = slid(np.pad(x, ((0, 0), (1, 1), (0, 0))), params["w"])
    back = 2 * out * ((out > 0.1) & (out < 1.5))
    assert out.min() < 0.1
    assert out.max() > 1.5
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(x, ((0, 0), (1, 1), (0, 0))), (2, 3), axis=(1, 2)
    )
    found = gradients.audit(loss, params, (x, y), {"w": np.einsum("nij,nijab->ab", back, windows)})
    assert found.right, str(found)
    assert "traced" not in found.summary


def test_a_float_of_python_is_a_part_of_a_loss_and_a_kind():
    params = {"w": np.array([0.5, -1.2])}

    def loss(params, x, y):
        total = 0.0
        for row, target in zip(x, y, strict=True):
            out = float(np.tanh(row @ params["w"]))
            total += (out - target) ** 2 if isinstance(target, float) else 0.0
        return total / len(np.asarray(y, dtype=float))

    x, y = np.array([[1.0, 2], [-1, 0.5], [0.3, 0.2]]), np.array([0.5, -0.2, 0.1])
    out = np.tanh(x @ params["w"])
    true = {"w": x.T @ (2 * (out - y) * (1 - out**2)) / 3}
    found = gradients.audit(loss, params, (x, y), true)
    assert found.right, str(found)
    assert "traced" not in found.summary


def test_what_a_loss_raises_for_other_batches_is_not_written_to_a_log(caplog, capfd):
    def loss(params, batch):
        z = batch @ params["w"]
        # What has no program, and fails where nothing is above zero.
        return np.sum(np.vectorize(math.exp)(z[z > 0])) / len(batch)

    def claimed(params, batch):
        z = batch @ params["w"]
        return {"w": batch.T @ np.where(z > 0, z, 0) / len(batch)}

    batch = np.random.default_rng(0).normal(size=(6, 3))
    found = gradients.audit(loss, {"w": np.arange(1.0, 4)}, batch, claimed)
    assert [row.verdict for row in found.rows] == ["wrong"]
    assert not caplog.records
    assert capfd.readouterr() == ("", "")

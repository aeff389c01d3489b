"""Mistakes planted in losses of NumPy, of several sizes, are named; what is right is right."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from few import first_of

from jaxnet.audit import audit
from jaxnet.audit.mistakes import places

pytestmark = pytest.mark.usefixtures("unchecked")


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def rows_of(loss, params, batch, claim):
    return {row.name.strip("[]'"): row for row in audit(loss, params, batch, claim).rows}


UNKNOWN = "no known mistake explains it"


def must_name(loss, params, batch, claim, true, words):
    """Every parameter that is wrong is named by these words, and the true gradient is right."""
    assert audit(loss, params, batch, true).right
    must_say(loss, params, batch, claim, true, words)


def must_say(loss, params, batch, claim, true, words):
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


@first_of(("side", "size", "stride"), [(6, 3, 1), (5, 2, 1)])
@pytest.mark.slow
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


@pytest.mark.parametrize("counted", ["last", "first"])
@first_of(("length", "size"), [(7, 3), (6, 2)])
def test_of_slices_of_which_one_maximum_is_taken_it_is_said_which_window_counts(
    length, size, counted
):
    random = np.random.default_rng(length)
    params = {"w": random.normal(size=(2, 1))}
    x, count = random.normal(size=(3, length, 2)), length - size + 1
    y = random.normal(size=(3, count))

    def loss(params, x, y):
        h = np.tanh(x @ params["w"])[..., 0]
        most = np.max(np.stack([h[:, k : k + count] for k in range(size)]), axis=0)
        return 0.5 * np.sum((most - y) ** 2)

    def by_hand(windows, added):
        h = np.tanh(x @ params["w"])[..., 0]
        back = np.zeros_like(h)
        for row in range(3):
            for k in windows:
                place = k + h[row, k : k + size].argmax()
                back[row, place] = h[row, place] - y[row, k] + (back[row, place] if added else 0.0)
        return {"w": np.einsum("nt,nti->i", back * (1 - h**2), x)[:, None]}

    words = f"of the largest entries of windows that overlap the {counted} alone counted"
    order = range(count)[:: 1 if counted == "last" else -1]
    must_name(loss, params, (x, y), by_hand(order, False), by_hand(range(count), True), words)


@first_of(
    ("rows", "columns", "axis", "end"),
    [(4, 5, 2, "end"), (4, 5, 2, "start"), (6, 3, 1, "end"), (6, 3, 1, "start")],
)
@pytest.mark.slow
def test_a_padding_that_is_cut_off_at_one_end_is_named(rows, columns, axis, end):
    random = np.random.default_rng(rows)
    params = {"a": random.normal(size=(3, 3)), "b": random.normal(size=(3, 3))}
    x, y = random.normal(size=(2, 2, rows, columns))

    def pad(h):
        return np.pad(h, ((0, 0), (1, 1), (1, 1)))

    def shifts(padded):
        for i in range(3):
            for j in range(3):
                yield i, j, padded[:, i : i + rows, j : j + columns]

    def conv(h, kernel):
        return sum(kernel[i, j] * each for i, j, each in shifts(pad(h)))

    def loss(params, x, y):
        return 0.5 * np.sum((conv(np.tanh(conv(x, params["a"])), params["b"]) - y) ** 2)

    def by_hand(starts):
        h = np.tanh(conv(x, params["a"]))
        error = conv(h, params["b"]) - y
        back, grads = np.zeros_like(pad(h)), {name: np.zeros((3, 3)) for name in "ab"}
        for i, j, window in shifts(back):
            np.add(window, params["b"][i, j] * error, out=window)
        top, left = starts
        delta = back[:, top : top + rows, left : left + columns] * (1 - h**2)
        for name, given, sent in (("a", x, delta), ("b", h, error)):
            for i, j, each in shifts(pad(given)):
                grads[name][i, j] = np.sum(each * sent)
        return grads

    starts = [1, 1]
    starts[axis - 1] = 0 if end == "end" else 2
    words = f"the padding cut off at the {end} alone along axis {axis} on the way back"
    must_name(loss, params, (x, y), by_hand(starts), by_hand([1, 1]), words)


@first_of(("columns", "backwards"), [(6, False), (4, True)])
def test_a_running_maximum_is_sent_to_where_it_was_taken(columns, backwards):
    random = np.random.default_rng(columns)
    params = {"w": random.normal(size=(3, columns))}
    x, y = random.normal(size=(4, 3)), random.normal(size=(4, columns))
    windows = [slice(k + 1) if backwards else slice(k, None) for k in range(columns)]

    def loss(params, x, y):
        z = x @ params["w"]
        return np.sum((np.stack([z[:, each].max(1) for each in windows], 1) - y) ** 2) / 2

    z = x @ params["w"]
    largest = np.array([[each.start or 0 for each in windows]] * len(x))
    largest += np.stack([z[:, each].argmax(1) for each in windows], 1)
    error = np.take_along_axis(z, largest, 1) - y
    true, own = np.zeros_like(z), largest == np.arange(columns)
    np.add.at(true, (np.arange(len(x))[:, None], largest), error)
    claim, true = {"w": x.T @ (own * error)}, {"w": x.T @ true}
    whose = "last" if backwards else "first"
    words = f"the largest entry of each window counted only where it is the {whose}"
    must_name(loss, params, (x, y), claim, true, words)


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


@first_of("sizes", [(3, 4, 2), (5, 3, 3)])
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


def softmax(z, axes):
    return np.exp(z) / np.exp(z).sum(axes, keepdims=True)


@pytest.mark.parametrize(("axes", "said"), [(0, "axis 0"), (None, "axes 0 and 1")])
@first_of("sizes", [(5, 6, 3), (7, 4, 4)])
def test_a_softmax_over_the_wrong_axis_is_told_from_a_wrong_gradient(axes, said, sizes):
    rows, i, o = sizes
    random = np.random.default_rng(rows)
    params = {"W": random.normal(size=(i, o)), "b": random.normal(size=o)}
    x, y = random.normal(size=(rows, i)), np.eye(o)[random.integers(0, o, rows)]

    def outputs(params, x):
        return softmax(x @ params["W"] + params["b"], axes)

    def loss(params, x, y):
        return -np.mean(np.sum(y * np.log(outputs(params, x)), axis=1))

    def by_hand(delta):
        return {"W": x.T @ delta / rows, "b": delta.sum(0) / rows}

    p = outputs(params, x)
    true = by_hand(p * y.sum(axes, keepdims=True) - y)
    words = f"of softmax with its sum over axis 1, where the loss has it over {said}"
    must_name(loss, params, (x, y), by_hand(p - y), true, words)


def forms_of_a_log_softmax(y, z, p):
    """What is sent back of y through a log-softmax p of z, right and wrong, and by chance."""
    sums, logs = y.sum(1, keepdims=True), np.log(p)
    return {
        "": y - p * sums,
        "p added, not taken off": y + p,
        "p taken off as it is": y - p,
        "sum of what comes back added": y + p * sums,
        "its diagonal 1 - p alone": y * (1 - p),
        "the sum of what comes back taken off, not p times it": y - sums,
        "times what it gives taken off": y - (y * logs).sum(1, keepdims=True),
        "the derivative of the softmax itself": p * (y - (y * p).sum(1, keepdims=True)),
        None: y * np.sin(z) - p * sums * np.cos(z),
    }


def forms_of_a_softmax(y, z, p):
    """The same of a softmax."""
    cross = (y * p).sum(1, keepdims=True)
    return {
        "": p * (y - cross),
        "without the factor p": y - cross,
        "with its cross terms added, not taken off": p * (y + cross),
        "with the cross terms alone": -p * cross,
        "with the sum of what comes back, not of that times p": p * (y - y.sum(1, keepdims=True)),
        None: p * (y * np.sin(z) - cross),
    }


@first_of(("rows", "classes"), [(4, 2), (1, 3)])
@first_of("forms", [forms_of_a_softmax, forms_of_a_log_softmax])
def test_the_derivative_of_a_softmax_or_its_logarithm_is_got_wrong_in_many_ways(
    forms, rows, classes
):
    random = np.random.default_rng(rows)
    params = {"W": random.normal(size=(5, classes)), "b": random.normal(size=classes)}
    x, y = random.normal(size=(rows, 5)), random.uniform(size=(rows, classes))
    after = np.log if forms is forms_of_a_log_softmax else np.asarray

    def loss(params, x, y):
        return np.sum(y * after(softmax(x @ params["W"] + params["b"], 1)))

    z = x @ params["W"] + params["b"]
    sent = forms(y, z, softmax(z, 1))
    grads = {words: {"W": x.T @ each, "b": each.sum(0)} for words, each in sent.items()}
    assert audit(loss, params, (x, y), grads[""]).right
    for words in (each for each in sent if each):
        must_say(loss, params, (x, y), grads[words], grads[""], words)
    # What is of no such form is not said to be of one.
    must_say(loss, params, (x, y), grads[None], grads[""], UNKNOWN)


def test_weights_left_out_on_both_paths_to_one_gradient():
    random = np.random.default_rng(4)
    params = {f"w{k}": random.normal(size=1) for k in range(1, 6)}
    x, y = np.array([0.7]), np.array([0.3])

    def forward(w, x):
        a = np.tanh(w["w1"] * x)
        b, c = np.tanh(w["w2"] * a), np.tanh(w["w3"] * a)
        return a, b, c, w["w4"] * b + w["w5"] * c

    def loss(params, x, y):
        return np.sum((forward(params, x)[3] - y) ** 2)

    def by_hand(w, weights):
        a, b, c, out = forward(w, x)
        d = 2 * (out - y)
        da, db, dc = (1 - each**2 for each in (a, b, c))
        four, five = (d * w[k] * slope for k, slope in (("w4", db), ("w5", dc)))
        through = w["w4"] * w["w2"] * db + w["w5"] * w["w3"] * dc if weights else db + dc
        first = d * through * da * x
        return {"w1": first, "w2": four * a, "w3": five * a, "w4": d * b, "w5": d * c}

    words = (
        "the parameters that values are multiplied by left out on the way back, in this gradient"
    )
    claims = by_hand(params, weights=False), by_hand(params, weights=True)
    must_name(loss, params, (x, y), *claims, words)


@first_of("shape", [(3,), (2, 4)])
def test_a_value_used_twice_sent_back_twice_at_one_use(shape):
    random = np.random.default_rng(len(shape))
    params = {"a": random.normal(size=shape)}
    x = random.normal(size=shape)

    def loss(params, x, y):
        h = np.tanh(params["a"])
        return np.sum(h * x) + np.sum(np.sin(h))

    h = np.tanh(params["a"])
    true, twice = ({"a": (1 - h**2) * (n * x + np.cos(h))} for n in (1, 2))
    words = "the path through the product counted twice"
    must_name(loss, params, (x, np.zeros(1)), twice, true, words)


@first_of("width", [3, 4])
def test_a_loss_that_uses_one_parameter_where_the_gradient_is_of_another(width):
    random = np.random.default_rng(width)
    params = {name: random.normal(size=(5, width)) for name in ("A", "B")}
    params |= {name: random.normal(size=width) for name in ("a", "b")}
    x, y = random.normal(size=(6, 5)), random.normal(size=(6, width))

    def loss(params, x, y):
        gate = sigmoid(x @ params["A"] + params["a"])
        return 0.5 * np.sum((gate * np.tanh(x @ params["B"] + params["a"]) - y) ** 2)

    gate = sigmoid(x @ params["A"] + params["a"])
    h = np.tanh(x @ params["B"] + params["a"])
    error = gate * h - y
    first, second = error * h * gate * (1 - gate), error * gate * (1 - h**2)
    weights = {"A": x.T @ first, "B": x.T @ second}
    own = weights | {"a": first.sum(0), "b": second.sum(0)}
    true = weights | {"a": (first + second).sum(0), "b": np.zeros(width)}
    words = {
        "a": "of the uses of ['a'] that beside ['A'] alone counted",
        "b": "the gradient of ['a'] beside ['B'], as if the loss used ['b'] there",
    }
    must_name(loss, params, (x, y), own, true, words)


def squares(shape, seed, output=sigmoid):
    """A network of one hidden layer and squared errors: its loss, params, batch and way back."""
    random = np.random.default_rng(seed)
    n, i, h, o = shape
    sizes = {"W1": (i, h), "b1": h, "W2": (h, o), "b2": o}
    params = {name: random.normal(0, 0.7, size) for name, size in sizes.items()}
    batch = random.normal(size=(n, i)), random.uniform(size=(n, o))

    def forward(params, x):
        hidden = sigmoid(x @ params["W1"] + params["b1"])
        z = hidden @ params["W2"] + params["b2"]
        return hidden, z, output(z)

    def loss(params, x, y):
        return 0.5 * np.sum((forward(params, x)[2] - y) ** 2)

    def grads(first, last):
        hidden = forward(params, batch[0])[0]
        return {
            "W1": batch[0].T @ first,
            "b1": first.sum(0),
            "W2": hidden.T @ last,
            "b2": last.sum(0),
        }

    return loss, params, batch, forward(params, batch[0]), grads


def in_outputs(h):
    return h * (1 - h)


@first_of("shape", [(6, 3, 4, 2), (5, 4, 3, 3)])
def test_a_slope_taken_at_the_error_or_the_bias_is_named(shape):
    loss, params, batch, (hidden, _, p), grads = squares(shape, 1)
    error = p - batch[1]
    last = error * in_outputs(p)
    back = last @ params["W2"].T
    true = grads(back * in_outputs(hidden), last)
    replaced = in_outputs(error)
    first = in_outputs(replaced @ params["W2"].T)
    words = "the formula of the sigmoid derivative applied to the error, p - y left out"
    must_name(loss, params, batch, grads(first, replaced), true, words)
    scaled = grads(in_outputs(back) * back, last)
    words = "its formula of the back-propagated signal"
    must_name(loss, params, batch, scaled, true, words)
    at_bias = true | {
        "b1": back.sum(0) * in_outputs(params["b1"]),
        "b2": error.sum(0) * in_outputs(sigmoid(params["b2"])),
    }
    words = {
        "b1": "formed with the formula of the activation derivative applied to the bias",
        "b2": "formed with the activation derivative at the bias, not at z",
    }
    must_name(loss, params, batch, at_bias, true, words)


@first_of("shape", [(4, 3, 5, 3), (1, 3, 4, 4)])
def test_a_softmax_derivative_of_its_last_column_or_of_z_is_named(shape):
    loss, params, batch, (hidden, z, p), grads = squares(shape, 2, lambda z: softmax(z, 1))
    error = p - batch[1]

    def backward(last):
        return grads(last @ params["W2"].T * in_outputs(hidden), last)

    true = backward(p * (error - (p * error).sum(1, keepdims=True)))
    assert audit(loss, params, batch, true).right
    for b, words in ((p, "last column alone of the softmax derivative"), (z, "where p belongs")):
        column = -p * b[:, -1:]
        column[:, -1] += p[:, -1]
        must_say(loss, params, batch, backward(error * column), true, words)
    of_z = backward(p * (error - (z * error).sum(1, keepdims=True)))
    must_say(loss, params, batch, of_z, true, "formed with z where p belongs: p (1 - z), -p z")


@first_of("layers", [3, 4])
def test_slopes_left_out_on_the_way_back_of_one_output_are_no_constant(layers):
    random = np.random.default_rng(layers)
    sizes = [3, *[2] * (layers - 1), 1]
    params = {f"W{k}": random.normal(size=sizes[k - 1 : k + 1]) for k in range(1, layers + 1)}
    x, y = random.normal(size=(1, 3)), np.array([[0.9]])

    def forward(params, x):
        hidden = [x]
        for k in range(1, layers + 1):
            hidden.append(sigmoid(hidden[-1] @ params[f"W{k}"]))
        return hidden

    def loss(params, x, y):
        return 0.5 * np.sum((forward(params, x)[-1] - y) ** 2)

    def by_hand(slopes):
        hidden, grads = forward(params, x), {}
        back = hidden[-1] - y
        for k in range(layers, 0, -1):
            signal = back * in_outputs(hidden[k])
            grads[f"W{k}"] = hidden[k - 1].T @ signal
            back = (signal if slopes else back) @ params[f"W{k}"].T
        return grads

    rows = rows_of(loss, params, (x, y), by_hand(slopes=False))
    for k in range(1, layers):
        assert "the sigmoid derivative left out" in rows[f"W{k}"].diagnosis
        assert "constant" not in rows[f"W{k}"].diagnosis
    assert audit(loss, params, (x, y), by_hand(slopes=True)).right


@pytest.mark.parametrize("name", ["tanh", "sigmoid"])
def test_one_example_without_an_axis_has_targets_too(name):
    random = np.random.default_rng(len(name))
    params = {"W": random.normal(size=(3, 4))}
    x, y = random.normal(size=4), random.uniform(size=3)
    activation = {"tanh": np.tanh, "sigmoid": sigmoid}[name]

    def loss(params, x, y):
        return 0.5 * np.sum((activation(params["W"] @ x) - y) ** 2)

    p = activation(params["W"] @ x)
    slope = 1 - p**2 if name == "tanh" else in_outputs(p)
    true, claim = ({"W": np.outer(each, x)} for each in ((p - y) * slope, p - y))
    must_name(loss, params, (x, y), claim, true, f"the {name} derivative left out")


def test_a_softplus_in_any_loss_is_gone_back_through(x64):
    random = np.random.default_rng(3)
    params, x = {"a": random.normal(size=(4, 3))}, random.normal(size=(4, 3))

    def loss(params, x, y):
        z = x * params["a"]
        return jnp.sum(jax.nn.softplus(z) * jnp.tanh(z))

    z = x * params["a"]
    t = np.tanh(z)
    second = np.log1p(np.exp(z)) * (1 - t**2)
    true, claim = ({"a": x * (first * t + second)} for first in (sigmoid(z), 1))
    must_name(loss, params, (x, np.zeros(1)), claim, true, "the derivative of softplus left out")


def gated(width, steps):
    """Two gates and a state, written in one line for both: params, batch, loss and the way back."""
    random = np.random.default_rng(width)
    params = {f"W{k}": random.normal(0, 0.6, (width, width + 2)) for k in "fi"}
    params |= {f"b{k}": random.normal(0, 0.3, width) for k in "fi"}
    params["V"] = random.normal(size=(2, width))
    batch = random.normal(size=(steps, 2)), random.normal(size=(steps, 2))

    def forward(params, x):
        h, tape = np.zeros(width), []
        for row in x:
            before, z = h, np.concatenate([h, row])
            f, i = (sigmoid(params[f"W{k}"] @ z + params[f"b{k}"]) for k in "fi")
            h = f * before + i
            tape.append((before, z, f, i, h))
        return tape

    def loss(params, x, y):
        outs = [params["V"] @ step[-1] for step in forward(params, x)]
        return 0.5 * sum(np.sum((out - t) ** 2) for out, t in zip(outs, y, strict=True))

    def by_hand(carry=True, slope_of_f=in_outputs, met=None):
        tape, grads = forward(params, batch[0]), {k: np.zeros_like(v) for k, v in params.items()}
        after = np.zeros(width)
        for t in reversed(range(steps)):
            before, z, f, i, h = tape[t]
            error = params["V"] @ h - batch[1][t]
            grads["V"] += np.outer(error, h if met is None else met(tape, t))
            back = error @ params["V"] + after * carry
            deltas = {"f": back * before * slope_of_f(f), "i": back * in_outputs(i)}
            for k, delta in deltas.items():
                grads[f"W{k}"] += np.outer(delta, z)
                grads[f"b{k}"] += delta
            through = sum(delta @ params[f"W{k}"] for k, delta in deltas.items())
            after = through[:width] + back * f
        return grads

    return loss, params, batch, by_hand


@first_of(("width", "steps"), [(2, 3), (3, 4)])
@pytest.mark.slow
def test_two_mistakes_in_a_loop_are_named_each_where_it_is(width, steps):
    loss, params, batch, by_hand = gated(width, steps)
    claim = by_hand(carry=False, slope_of_f=sigmoid)
    rows = rows_of(loss, params, batch, claim)
    cut = "what comes back from the next step of the loop left out, wherever it is used"
    gate = "sigmoid of what it gives in place of its derivative"
    assert {rows[name].diagnosis for name in ("Wi", "bi")} == {cut}
    for name in ("Wf", "bf"):
        assert rows[name].diagnosis.startswith(f"{cut}; {gate}")
        assert "after ['bf']" in rows[name].diagnosis
    assert rows["V"].verdict == "right"
    assert audit(loss, params, batch, by_hand()).right


@first_of(("first", "said"), [(0, "zeros"), (-1, "the last")])
@first_of(("width", "steps"), [(2, 3), (3, 4)])
def test_what_stands_at_the_first_step_in_place_of_a_step_before_is_said(width, steps, first, said):
    loss, params, batch, by_hand = gated(width, steps)

    def met(tape, t):
        return np.zeros(width) if t == first else tape[t - 1][-1]

    words = f"of the step before, {said} at the first step"
    must_name(loss, params, batch, by_hand(met=met), by_hand(), words)


@first_of("sizes", [(6, 3, 4, 3), (5, 2, 3, 5)])
@pytest.mark.slow
def test_a_softmax_of_what_a_softmax_gives_is_named_in_any_program(sizes):
    rows, i, h, o = sizes
    random = np.random.default_rng(rows)
    params = {"A": random.normal(size=(i, h)), "B": random.normal(size=(h + 1, o))}
    x, y = random.normal(size=(rows, i)), np.eye(o)[random.integers(0, o, rows)]

    def forward(params, row):
        hidden = np.concatenate([np.ones(1), np.tanh(row @ params["A"])])
        e = np.exp(hidden @ params["B"])
        return hidden, e / np.sum(e)

    def loss(params, x, y):
        both = zip(x, y, strict=True)
        return 0.5 * sum(np.sum((forward(params, row)[1] - t) ** 2) for row, t in both)

    def by_hand(back):
        grads = {name: np.zeros_like(each) for name, each in params.items()}
        for row, t in zip(x, y, strict=True):
            hidden, p = forward(params, row)
            delta = back(p, p - t)
            grads["B"] += np.outer(hidden, delta)
            grads["A"] += np.outer(row, (params["B"][1:] @ delta) * (1 - hidden[1:] ** 2))
        return grads

    def once_more(p, error):
        q = np.exp(p) / np.exp(p).sum()
        return q * (1 - q) * error

    claim, true = by_hand(once_more), by_hand(lambda p, error: p * (error - p @ error))
    words = "the derivative of softmax taken as q (1 - q), q the softmax of what it gives"
    must_name(loss, params, (x, y), claim, true, words)


@first_of(("name", "outputs"), [("sigmoid", 1), ("sigmoid", 3), ("tanh", 2), ("softmax", 3)])
def test_targets_that_are_subtracted_inside_the_activation_are_named(name, outputs):
    random = np.random.default_rng(outputs)
    params = {"W": random.normal(size=(4, outputs)), "b": random.normal(size=outputs)}
    x, y = random.normal(size=(7, 4)), random.uniform(size=(7, outputs))
    if name == "softmax":
        y = np.eye(outputs)[random.integers(0, outputs, 7)]
    of = {"sigmoid": sigmoid, "tanh": np.tanh, "softmax": lambda z: softmax(z, 1)}[name]

    def loss(params, x, y):
        p = of(x @ params["W"] + params["b"])
        if name == "tanh":
            return 0.5 * np.sum((p - y) ** 2)
        both = -y * np.log(p)
        return np.sum(both if name == "softmax" else both - (1 - y) * np.log(1 - p))

    def by_hand(error):
        z = x @ params["W"] + params["b"]
        delta = error(z) * (1 - np.tanh(z) ** 2 if name == "tanh" else 1)
        return {"W": x.T @ delta, "b": delta.sum(0)}

    claim, true = by_hand(lambda z: of(z - y)), by_hand(lambda z: of(z) - y)
    words = f"the targets subtracted inside the {name}, not from what it gives"
    must_name(loss, params, (x, y), claim, true, words)


@first_of("outputs", [1, 2])
def test_a_penalty_of_all_parameters_that_is_left_out_is_named_in_each(outputs):
    random = np.random.default_rng(outputs)
    params = {"W": random.normal(size=(3, outputs)), "b": random.normal(size=outputs)}
    x, y = random.normal(size=(6, 3)), random.normal(size=(6, outputs))

    def loss(params, x, y):
        fit = np.mean(np.sum((x @ params["W"] + params["b"] - y) ** 2, axis=1))
        return fit + 0.1 * sum(np.sum(each**2) for each in params.values())

    error = 2 * (x @ params["W"] + params["b"] - y) / 6
    claim = {"W": x.T @ error, "b": error.sum(0)}
    true = {name: each + 0.2 * params[name] for name, each in claim.items()}
    words = "the regulariser's term left out, the other right"
    must_name(loss, params, (x, y), claim, true, words)


@pytest.mark.parametrize("order", ["C", "F"])
@first_of("shape", [(6, 3, 4, 2), (1, 5, 3, 4)])
def test_a_gradient_that_was_transposed_and_reshaped_is_seen_beside_another_mistake(shape, order):
    loss, params, batch, (hidden, _, p), grads = squares(shape, 5)
    last = (p - batch[1]) * in_outputs(p)
    back = last @ params["W2"].T
    true, slope_left_out = (grads(back * slope, last) for slope in (in_outputs(hidden), 1.0))

    def out_of_place(gradient):
        return gradient.T.reshape(gradient.shape, order=order)

    claim = {
        name: out_of_place(each) if each.ndim == 2 else each
        for name, each in slope_left_out.items()
    }
    moved = "transposed and then reshaped to fit, its entries out of place"
    moved += ", column by column" * (order == "F")
    missing = "error signal of hidden layer 1: activation derivative missing"
    words = {"W1": f"{missing}; {moved}", "b1": missing, "W2": moved}
    must_name(loss, params, batch, claim, true, words)


@first_of("sizes", [(5, 6, 3), (7, 4, 4)])
def test_a_gradient_that_is_right_for_a_softmax_over_another_axis_is_said_to_be(sizes):
    rows, i, o = sizes
    random = np.random.default_rng(rows)
    params = {"W": random.normal(size=(i, o)), "b": random.normal(size=o)}
    x, y = random.normal(size=(rows, i)), np.eye(o)[random.integers(0, o, rows)]

    def loss(params, x, y):
        return -np.sum(y * np.log(softmax(x @ params["W"] + params["b"], 0)))

    def by_hand(axis):
        p = softmax(x @ params["W"] + params["b"], axis)
        delta = p * y.sum(axis, keepdims=True) - y
        return {"W": x.T @ delta, "b": delta.sum(0)}

    words = "right for a loss with a softmax over axis 1 in place of axis 0, not for this one"
    must_name(loss, params, (x, y), by_hand(1), by_hand(0), words)


@first_of("width", [3, 5])
@first_of(("theirs", "name"), [(np.tanh, "tanh"), (sigmoid, "sigmoid")])
def test_a_gradient_that_is_right_for_other_activations_is_said_to_be(width, theirs, name):
    random = np.random.default_rng(width)
    params = {k: random.normal(size=(4, width)) for k in "AB"}
    x, y = random.normal(size=(4, width)), random.normal(size=(4, width))

    def loss(params, x, y):
        h = np.maximum(0, params["A"] * x)
        return 0.5 * np.sum((np.maximum(0, params["B"] * h + x) - y) ** 2)

    def by_hand(activation, slope):
        first = params["A"] * x
        h = activation(first)
        out = activation(params["B"] * h + x)
        delta = (out - y) * slope(params["B"] * h + x, out)
        return {"A": delta * params["B"] * slope(first, h) * x, "B": delta * h}

    slopes = {np.tanh: lambda z, h: 1 - h**2, sigmoid: lambda z, h: in_outputs(h)}
    true = by_hand(lambda z: np.maximum(0, z), lambda z, h: z > 0)
    words = f"right for a loss with {name} in place of the maximum, not for this one, wherever"
    must_name(loss, params, (x, y), by_hand(theirs, slopes[theirs]), true, words)


def mixed_gates(width, seed):
    """A gate and a state of another activation: params, batch, loss and the way back."""
    random = np.random.default_rng(seed)
    params = {f"W{k}": random.normal(0, 0.6, (width, width + 2)) for k in "fc"}
    params |= {f"b{k}": random.normal(0, 0.3, width) for k in "fc"}
    batch = random.normal(size=(3, 2)), random.normal(size=(3, width))

    def forward(params, x):
        h, tape = np.zeros(width), []
        for row in x:
            before, z = h, np.concatenate([h, row])
            f, c = (params[f"W{k}"] @ z + params[f"b{k}"] for k in "fc")
            h = sigmoid(f) * before + np.tanh(c)
            tape.append((before, z, f, c, h))
        return tape

    def loss(params, x, y):
        steps = zip(forward(params, x), y, strict=True)
        return 0.5 * sum(np.sum((step[-1] - t) ** 2) for step, t in steps)

    def by_hand(slope_of_f, slope_of_c):
        grads = {k: np.zeros_like(v) for k, v in params.items()}
        after = np.zeros(width)
        for (before, z, f, c, h), t in [*zip(forward(params, batch[0]), batch[1], strict=True)][
            ::-1
        ]:
            back = h - t + after
            deltas = {"f": back * before * slope_of_f(f), "c": back * slope_of_c(c)}
            after = back * sigmoid(f)
            for k, delta in deltas.items():
                grads[f"W{k}"] += np.outer(delta, z)
                grads[f"b{k}"] += delta
                after = after + (delta @ params[f"W{k}"])[:width]
        return grads

    return loss, params, batch, by_hand


def slope_of_sigmoid(z):
    return in_outputs(sigmoid(z))


def slope_of_tanh(z):
    return 1 - np.tanh(z) ** 2


@first_of(("width", "seed"), [(3, 0), (2, 1), (4, 2), (3, 3)])
@pytest.mark.slow
def test_a_mistake_made_with_two_activations_is_said_of_both_and_two_of_chance_of_none(width, seed):
    loss, params, batch, by_hand = mixed_gates(width, seed)
    true = by_hand(slope_of_sigmoid, slope_of_tanh)
    at_output = by_hand(lambda z: slope_of_sigmoid(sigmoid(z)), lambda z: slope_of_tanh(np.tanh(z)))
    rows = rows_of(loss, params, batch, at_output)
    for row in rows.values():
        assert row.verdict == "wrong"
        for name in ("sigmoid", "tanh"):
            assert f"the derivative of {name} taken at its output, not its input" in row.diagnosis
    chance = by_hand(lambda z: np.cos(3 * z) + 0.3, lambda z: np.cos(2 * z) - 0.2)
    must_name(loss, params, batch, chance, true, UNKNOWN)


def convolved(seed):
    """Two convolutions along one axis, kernels [F, C, k]: params, batch, loss and the way back."""
    random = np.random.default_rng(seed)
    params = {"K1": random.normal(size=(2, 3, 2)), "K2": random.normal(size=(4, 2, 3)) * 0.5}
    batch = random.normal(size=(3, 8)), random.normal(size=(4, 5))

    def windows(x, size):
        return np.stack([x[:, i : i + size] for i in range(x.shape[1] - size + 1)])

    def loss(params, x, y):
        h = np.tanh(np.tensordot(windows(x, 2), params["K1"], ([1, 2], [1, 2])).T)
        out = np.tensordot(windows(h, 3), params["K2"], ([1, 2], [1, 2])).T
        return 0.5 * np.sum((out - y) ** 2)

    def by_hand(through=lambda kernel: kernel, formed=lambda gradient: gradient):
        x, y = batch
        h = np.tanh(np.tensordot(windows(x, 2), params["K1"], ([1, 2], [1, 2])).T)
        error = np.tensordot(windows(h, 3), params["K2"], ([1, 2], [1, 2])).T - y
        back = np.zeros_like(h)
        for i in range(error.shape[1]):
            back[:, i : i + 3] += np.tensordot(error[:, i], through(params["K2"]), 1)
        first = np.tensordot(back * (1 - h**2), windows(x, 2), 1)
        return {"K1": first, "K2": formed(np.tensordot(error, windows(h, 3), 1))}

    return loss, params, batch, by_hand


ORDERS = [*itertools.permutations(range(3))][1:]


@pytest.mark.parametrize(("axes", "some"), [(1, False), (3, True), (5, True), (9, False)])
def test_orders_of_axes_are_tried_where_they_are_few(axes, some):
    """Of nine axes there are 362,880."""
    others = itertools.islice(places.misread(np.arange(2**axes).reshape([2] * axes)), 300)
    assert len(list(others)) in (range(1, 300) if some else [0])


@first_of(("seed", "order"), [*enumerate(ORDERS)])
@pytest.mark.slow
def test_axes_in_the_wrong_order_are_named_and_entries_in_none_are_not(seed, order):
    loss, params, batch, by_hand = convolved(seed)

    def laid_out(array):
        return array.transpose(order).reshape(array.shape)

    def shuffled(array):
        return np.random.default_rng(seed).permuted(array.ravel()).reshape(array.shape)

    def read(array):
        shape = [array.shape[axis] for axis in order]
        return array.reshape(shape).transpose(np.argsort(order))

    assert audit(loss, params, batch, by_hand()).right
    for wrong, words in ((laid_out, "axes came in the order"), (read, "axes came in the order")):
        must_say(loss, params, batch, by_hand(through=wrong), by_hand(), words)
        must_say(loss, params, batch, by_hand(formed=wrong), by_hand(), words)
    must_say(loss, params, batch, by_hand(through=shuffled), by_hand(), UNKNOWN)
    must_say(loss, params, batch, by_hand(formed=shuffled), by_hand(), UNKNOWN)


@first_of(("rows", "over"), [(5, [1, 3]), (7, [0, 2, 6]), (4, [3])])
def test_a_gradient_of_what_was_written_over_is_named(rows, over):
    random = np.random.default_rng(rows)
    params = {"table": random.normal(size=(rows, 3)), "W": random.normal(size=(2, 3))}
    batch = random.normal(size=(len(over), 2)), random.normal(size=(rows, 3))

    def written(params, x):
        new = iter(x @ params["W"])
        return np.stack([next(new) if k in over else params["table"][k] for k in range(rows)])

    def loss(params, x, y):
        return 0.5 * np.sum((np.tanh(written(params, x)) - y) ** 2)

    out = np.tanh(written(params, batch[0]))
    sent = (out - batch[1]) * (1 - out**2)
    kept = sent * ~np.isin(np.arange(rows), over)[:, None]
    true = {"table": kept, "W": batch[0].T @ sent[over]}
    words = f"row{'s' * (len(over) > 1)} {', '.join(map(str, over))}, which the loss does not hang"
    must_name(loss, params, batch, true | {"table": sent}, true, words)
    must_say(loss, params, batch, true | {"table": sent + 0.1 * kept}, true, UNKNOWN)


@first_of(("shape", "own"), [((3, 4), (1, 4)), ((4, 3), (4, 1)), ((2, 3, 5), (5,))])
def test_a_gradient_as_large_as_what_a_parameter_was_broadcast_to_is_named(shape, own):
    random = np.random.default_rng(len(shape))
    params = {"a": random.normal(size=shape), "b": random.normal(size=own)}
    batch = random.normal(size=shape), random.normal(size=shape)

    def loss(params, x, y):
        return np.sum((params["a"] * x + params["b"] - y) ** 2)

    sent = 2 * (params["a"] * batch[0] + params["b"] - batch[1])
    axes = tuple(k for k, n in enumerate((1,) * (len(shape) - len(own)) + own) if n == 1)
    true = {"a": sent * batch[0], "b": sent.sum(axes).reshape(own)}
    rows = rows_of(loss, params, batch, true | {"b": sent})
    assert "along which the parameter was broadcast" in rows["b"].diagnosis
    rows = rows_of(loss, params, batch, true | {"b": sent + 0.1})
    assert UNKNOWN in rows["b"].diagnosis


@first_of(("side", "size", "stride"), [(5, 3, 2), (7, 3, 2), (7, 4, 3)])
def test_means_of_windows_that_overlap_sent_back_over_their_strides_are_named(side, size, stride):
    random = np.random.default_rng(side)
    count = (side - size) // stride + 1
    params = {"K": random.normal(size=(side, side)), "V": random.normal(size=(count, count))}
    batch = random.normal(size=(4, side, side)), random.normal(size=4)
    places = [(i, j) for i in range(count) for j in range(count)]

    def cut(i, j, size):
        return (
            slice(None),
            slice(stride * i, stride * i + size),
            slice(stride * j, stride * j + size),
        )

    def forward(params, x):
        h = np.tanh(x * params["K"])
        means = np.stack([h[cut(i, j, size)].mean(axis=(1, 2)) for i, j in places], axis=1)
        return h, means.reshape(len(x), count, count)

    def loss(params, x, y):
        return 0.5 * np.sum((np.sum(forward(params, x)[1] * params["V"], axis=(1, 2)) - y) ** 2)

    def by_hand(size):
        h, means = forward(params, batch[0])
        error = np.sum(means * params["V"], axis=(1, 2)) - batch[1]
        back = np.zeros_like(h)
        for i, j in places:
            back[cut(i, j, size)] += (error * params["V"][i, j] / size**2)[:, None, None]
        grads = (
            np.sum(back * (1 - h**2) * batch[0], axis=0),
            np.sum(error[:, None, None] * means, 0),
        )
        return dict(zip(("K", "V"), grads, strict=True))

    words = "sent back to as if they were as large as their stride"
    must_name(loss, params, batch, by_hand(stride), by_hand(size), words)
    must_say(loss, params, batch, by_hand(1), by_hand(size), UNKNOWN)


@first_of(("rows", "factor"), [(6, 0.025), (9, 0.07), (5, 1 / 37)])
def test_a_mistake_and_a_factor_of_a_single_number_are_no_cause(rows, factor):
    """Slopes of 0 and 1 have sums that many mistakes give, but for a factor."""
    random = np.random.default_rng(rows)
    params = {"w": random.normal(size=3), "b": np.array(0.2)}
    batch = random.normal(size=(rows, 3)), np.where(random.normal(size=rows) > 0, 1.0, -1.0)

    def loss(params, x, y):
        return np.mean(np.maximum(0, 1 - y * (x @ params["w"] + params["b"])))

    x, y = batch
    signal = -y * (y * (x @ params["w"] + params["b"]) < 1) / rows
    true = {"w": x.T @ signal, "b": np.sum(signal)}
    must_say(loss, params, batch, true | {"b": factor * true["b"]}, true, UNKNOWN)


@first_of(("width", "seed"), [(6, 0), (5, 1), (8, 2)])
def test_a_place_that_one_gradient_shows_is_no_constant_in_another(width, seed):
    """A mean subtracted twice adds the same to every entry of a bias."""
    random = np.random.default_rng(seed)
    params = {"W": random.normal(size=(3, width)), "b": random.normal(size=width)}
    batch = random.normal(size=(5, 3)), random.normal(size=(5, width))

    def centred(params, x):
        z = x @ params["W"] + params["b"]
        return z - z.mean(axis=1, keepdims=True)

    def loss(params, x, y):
        return 0.5 * np.sum((np.tanh(centred(params, x)) - y) ** 2)

    out = np.tanh(centred(params, batch[0]))
    sent = (out - batch[1]) * (1 - out**2)

    def by_hand(times):
        dz = sent - times * sent.mean(axis=1, keepdims=True)
        return {"W": batch[0].T @ dz, "b": dz.sum(axis=0)}

    must_name(loss, params, batch, by_hand(2), by_hand(1), "counted twice")

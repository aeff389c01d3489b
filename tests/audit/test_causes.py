"""Evidence that the audit gives no wrong cause: what coincides, and what is right, is said so."""

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import oracles
import pytest
from audited import LOSSES, draw, layers_of
from few import first_of
from jax.flatten_util import ravel_pytree

from jaxnet import losses, network
from jaxnet.audit import case, factors, gradients


def backward(setting, seed=0, dtype=np.float64, **mistake):
    """A drawn network and its gradient by hand: `(loss, params, batch, grads)`."""
    loss, ours, batch, _ = draw(setting, seed, dtype)
    layers = [tuple(layer) for layer in ours]
    return loss, ours, batch, oracles.backward(layers, *batch, setting[3], setting[2], **mistake)


def scaled(grads, number):
    return layers_of([[number * leaf for leaf in pair] for pair in grads])


def said(audit):
    return {row.diagnosis for row in audit.rows if row.verdict != "right"}


@pytest.mark.parametrize("sizes", [[2, 1, 1], [3, 1, 2], [3, 4, 1], [2, 1, 1, 1]])
def test_one_factor_in_every_leaf_is_one_reason(x64, sizes):
    """Also in layers of one unit, where any factor would fit updated weights, and lone biases."""
    loss, params, batch, grads = backward((sizes, 6, "tanh", "squares"))
    audit = gradients.audit(loss, params, batch, scaled(grads, 0.37))
    assert [row.verdict for row in audit.rows] == ["wrong"] * len(audit.rows)
    assert said(audit) == {"times a constant 0.37"}
    assert "One reason for all that is wrong: times a constant 0.37." in audit.summary


@pytest.mark.slow
def test_updated_weights_must_explain_every_leaf_they_change(x64):
    """The rate is fitted to the weights; a bias that is something else refutes it."""
    setting = ([3, 4, 2], 6, "tanh", "softmax")
    loss, params, batch, grads = backward(setting, update=0.2)
    audit = gradients.audit(loss, params, batch, layers_of(grads))
    assert all("learning rate 0.2" in each for each in said(audit))
    assert re.search("One reason for all that is wrong: error signal.* sent back", audit.summary)
    grads[0][1] = grads[0][1] + np.array([0.1, 0.0, -0.3, 0.2])
    broken = gradients.audit(loss, params, batch, layers_of(grads))
    assert said(broken) == {"no known mistake explains it"}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("sizes", "rows", "number", "asked", "both"),
    [
        ([3, 4, 3], 10, lambda n: 1 / n, "divided by the batch size once", "multiplied by 0.1"),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in (
                ([4, 5, 3], 12, lambda n: 3.0, "summed over the outputs", "number of features, 4"),
                ([3, 4, 3], 10, lambda n: 0.1, "multiplied by 0.1, as by", "divided by the batch"),
                (
                    [4, 5, 3],
                    12,
                    lambda n: n / 4,
                    "number of features, 4",
                    "summed over the outputs",
                ),
                ([3, 4, 4], 7, lambda n: 1 / 7, "times a constant 0.142", ""),
                ([3, 4, 4], 8, lambda n: 1 / n, "divided by the batch size once", ""),
                ([3, 4, 3], 5, lambda n: 1 / n, "divided by the batch size", "multiplied by 0.2"),
                ([7, 4, 4], 4, lambda n: n, "summed over the batch", "summed over the outputs"),
                ([7, 4, 4], 4, lambda n: 4.0, "summed over the outputs", "summed over the batch"),
                ([3, 4, 4], 2, lambda n: n, "summed over the batch", "doubled"),
            )
        ),
    ],
)
@pytest.mark.slow
def test_numbers_that_coincide_are_all_said_and_a_function_is_asked(
    x64, sizes, rows, number, asked, both
):
    loss, params, batch, _ = backward((sizes, rows, "tanh", "squares"))
    true = jax.jit(jax.grad(loss))

    def times(number, params, batch):
        return jax.tree.map(lambda g: number * g, true(params, batch))

    # Of a lambda no lines are changed.
    audit = gradients.audit(loss, params, batch, lambda p, b: times(number(len(b[0])), p, b))
    (alone,) = said(audit)
    assert asked in alone
    assert ", or " not in alone
    (together,) = said(gradients.audit(loss, params, batch, times(number(rows), params, batch)))
    assert both in together
    assert (", or " in together) == bool(both)
    assert together.endswith("; a batch of another size tells") == bool(both)


@pytest.mark.parametrize(
    ("rows", "features", "outputs"), [(1, 3, 2), (2, 4, 3), (3, 2, 4), (9, 10, 5), (19, 20, 2)]
)
def test_the_other_batch_is_of_a_size_at_which_nothing_coincides(x64, rows, features, outputs):
    loss, params, batch, grads = backward(([features, outputs], rows, "tanh", "squares"))
    leaves = [
        case.Leaf(str(index), leaf, leaf, 0.0)
        for index, leaf in enumerate(itertools.chain.from_iterable(grads))
    ]
    known = case.Case(loss, params, batch, leaves, rows, np.dtype(np.float64), axes=(0, 0))
    x, y = factors.another_size(known, batch)
    n = len(x)
    assert n == len(y) != rows
    of_rows = [n, 1 / n, n / features, n / outputs]
    others = [1, 2, 0.5, outputs, 1 / outputs, *(d / 10**k for k in (1, 2, 3) for d in (1, 2, 3))]
    for at, number in enumerate(of_rows):
        for other in of_rows[:at] + others:
            assert abs(number / other - 1) > 1e-3


def test_of_one_example_a_mistake_in_the_signal_is_named_or_said_to_look_the_same(x64):
    setting = ([3, 1, 1], 1, "tanh", "squares")
    loss, params, batch, grads = backward(setting, mistake="derivative missing", layers={0})
    audit = gradients.audit(loss, params, batch, layers_of(grads))
    assert said(audit) == {"error signal of hidden layer 1: activation derivative missing"}

    def squashed(params, batch):
        return losses.BatchLoss(
            lambda p, x: jax.nn.sigmoid(network.forward(p, x, activation=jnp.tanh)),
            optax.losses.l2_loss,
        )(params, batch)

    z = oracles.forward([tuple(p) for p in params], batch[0])[1][-1]
    p = 1 / (1 + np.exp(-z))
    true = jax.jit(jax.grad(squashed))(params, batch)
    left_out = jax.tree.map(lambda leaf: leaf / float((p * (1 - p))[0, 0]), true)
    (alone,) = said(gradients.audit(squashed, params, batch, left_out))
    # Named, or not named: never a constant alone.
    named = "the sigmoid derivative left out" in alone
    assert named or "one example a mistake in an error signal may look" in alone


@pytest.mark.parametrize(
    ("activation", "left_out"), [(jnp.tanh, "square"), (jax.nn.sigmoid, "factor h")]
)
def test_what_is_left_out_of_a_derivative_is_what_the_activation_has(x64, activation, left_out):
    random = np.random.default_rng(0)
    params = {"W1": random.normal(size=(3, 5)), "W2": random.normal(size=(5, 2))}
    batch = random.normal(size=(7, 3)), random.normal(size=(7, 2))

    def loss(params, x, y):
        return jnp.mean((activation(x @ params["W1"]) @ params["W2"] - y) ** 2)

    x, y = batch
    h = np.asarray(activation(x @ params["W1"]))
    signal = 2 * (h @ params["W2"] - y) / y.size
    claimed = {"W1": x.T @ (signal @ params["W2"].T * (1 - h)), "W2": h.T @ signal}
    (cause,) = said(gradients.audit(loss, params, batch, claimed))
    assert cause.endswith(f"activation derivative without its {left_out}: 1 - h")


def test_one_column_of_examples_is_its_own_sum(x64):
    random = np.random.default_rng(0)
    params = {"W": random.normal(size=(4, 3)), "b": random.normal(size=(4, 1))}
    batch = random.normal(size=(3, 1)), random.normal(size=(4, 1))

    def loss(params, x, y):
        return jnp.mean((jnp.tanh(params["W"] @ x + params["b"]) - y) ** 2)

    scaled = jax.tree.map(lambda leaf: 4.13 * leaf, jax.jit(jax.grad(loss))(params, *batch))
    said = str(gradients.audit(loss, params, batch, scaled))
    assert "times a constant 4.13" in said
    assert "not summed" not in said


@pytest.mark.parametrize("shared", [True, False])
def test_one_example_alone_is_not_a_batch_divided_twice(x64, shared):
    setting = ([3, 4, 3], 12, "tanh", "softmax")
    loss, params, batch, _ = backward(setting)
    layers = [tuple(layer) for layer in params]
    last = oracles.backward(layers, batch[0][-1:], batch[1][-1:], "softmax", "tanh")
    audit = gradients.audit(loss, params, batch, scaled(last, 1 / 12 if shared else 1.0))
    (alone,) = said(audit)
    assert "example 11 alone" in alone
    assert "once more" not in str(audit)


def test_the_summary_calls_no_layer_right_whose_leaves_are_wrong(x64):
    setting = ([3, 4, 3], 12, "tanh", "softmax")
    mistake = {"mistake": "derivative missing", "layers": {0}}
    loss, params, batch, grads = backward(setting, **mistake)
    right = gradients.audit(loss, params, batch, layers_of(grads)).summary
    assert "is right at the output layer and first goes wrong at hidden layer 1" in right
    flipped = [grads[0], [-grads[1][0], -grads[1][1]]]
    audit = gradients.audit(loss, params, batch, layers_of(flipped))
    assert [row.diagnosis for row in audit.rows[2:]] == ["sign flipped"] * 2
    assert "right at the output layer" not in audit.summary
    assert "goes wrong at hidden layer 1" in audit.summary
    assert "One reason" not in audit.summary


def kinked(rows=8):
    """A network of ReLU with one unit's pre-activation zero, to the bit, in one row."""
    loss, params, batch, _ = draw(([3, 4, 2], rows, "relu", "softmax"), 0)
    x = np.round(batch[0] * 4) / 4
    weight, bias = np.round(params[0].weight * 4) / 4, np.full(4, 0.25)
    bias[1] = -(weight[1] @ x[3])
    return loss, (network.Layer(weight, bias), params[1]), (x, batch[1])


def test_at_a_kink_autodiff_is_right_and_a_wrong_claim_has_its_cause(x64):
    loss, params, batch = kinked()
    true = jax.device_get(jax.jit(jax.grad(loss))(params, batch))
    audit = gradients.audit(loss, params, batch, true)
    assert audit.right, str(audit)
    assert max(row.finite_differences for row in audit.rows) > 1e-3
    assert "kink" in audit.summary
    assert said(gradients.audit(loss, params, batch, scaled(true, 2))) == {"doubled"}
    # The other slope in that row is right as well: undecided, and no cause.
    layers = [tuple(layer) for layer in params]
    slope = oracles.ACTIVATIONS["relu"]
    other = (slope[0], lambda z: (z >= 0).astype(float), None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(oracles.ACTIVATIONS, "relu", other)
        grads = oracles.backward(layers, *batch, "softmax", "relu")
    assert not np.allclose(grads[0][1], true[0].bias)
    audit = gradients.audit(loss, params, batch, layers_of(grads))
    assert [row.verdict for row in audit.rows] == ["undecided"] * 2 + ["right"] * 2
    assert all("several gradients are right" in each for each in said(audit))
    grads[0][0][0] += 0.1
    (wrong, *_) = gradients.audit(loss, params, batch, layers_of(grads)).rows
    assert (wrong.verdict, wrong.diagnosis) == ("wrong", "no known mistake explains it")


def test_a_network_of_zeros_is_a_kink_in_every_row(x64):
    loss, params, batch = kinked()
    zeros = jax.tree.map(np.zeros_like, params)
    audit = gradients.audit(loss, zeros, batch, jax.jit(jax.grad(loss))(zeros, batch))
    assert audit.right, str(audit)


def centred(params, batch):
    """The bias is taken off again by the mean: its gradient is zero."""
    z = batch @ params["w"] + params["b"]
    return jnp.sum(jnp.tanh(z - z.mean()) ** 2)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_true_gradient_of_zero_is_called_so(x64, dtype):
    params = {"b": np.asarray(0.3, dtype), "w": np.linspace(0.1, 1, 3, dtype=dtype)}
    batch = np.random.default_rng(0).normal(size=(6, 3)).astype(dtype)
    true = jax.jit(jax.grad(centred))(params, batch)
    claim = jax.tree.map(lambda leaf: np.asarray(leaf, dtype), true)
    audit = gradients.audit(centred, params, batch, claim)
    assert audit.right, str(audit)
    assert "inf" not in str(audit)
    zero = gradients.audit(centred, params, batch, claim | {"b": np.zeros((), dtype)})
    assert zero.right
    assert "%" not in str(audit) + str(zero)
    wrong = gradients.audit(centred, params, batch, claim | {"b": np.asarray(0.1, dtype)}).rows[0]
    assert wrong.verdict == "wrong"
    assert "the true gradient is zero here" in wrong.diagnosis


@pytest.mark.parametrize("decimals", [3, 4, 6])
def test_a_rounded_gradient_is_right_to_its_decimals(x64, decimals):
    loss, params, batch, grads = backward(([3, 4, 3], 8, "tanh", "softmax"))
    grads[0][0] *= 1e-9 ** (decimals == 3)
    rounded = layers_of([[np.round(leaf, decimals) for leaf in pair] for pair in grads])
    audit = gradients.audit(loss, params, batch, rounded)
    right = [row for row in audit.rows if row.verdict == "right"]
    assert len(right) >= 3
    assert {row.diagnosis for row in right} == {
        f"right to {decimals} decimals, to which it seems to be rounded"
    }


@pytest.mark.usefixtures("unchecked")
@first_of("decimals", [4, 6])
@pytest.mark.slow
def test_a_wrong_gradient_written_down_in_few_decimals_has_its_cause(x64, decimals):
    setting = ([3, 4, 3], 8, "tanh", "softmax")
    mistake = {"mistake": "derivative missing", "layers": {0}}
    loss, params, batch, grads = backward(setting, **mistake)
    grads[1] = [2 * leaf for leaf in grads[1]]
    written = layers_of([[np.round(leaf, decimals) for leaf in pair] for pair in grads])
    weight, bias, *doubled = gradients.audit(loss, params, batch, written).rows
    missing = "error signal of hidden layer 1: activation derivative missing"
    assert weight.diagnosis == bias.diagnosis == missing
    assert {row.diagnosis for row in doubled} == {"doubled"}
    noise = np.random.default_rng(9).normal(size=(4, 3))
    other = (written[0]._replace(weight=np.round(noise, decimals)), written[1])
    assert (
        gradients.audit(loss, params, batch, other).rows[0].diagnosis
        == "no known mistake explains it"
    )


@pytest.mark.parametrize(
    ("kind", "step"),
    [
        ("forward", 1e-2),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in [
                *(("central", 1e-2), ("forward", 1e-4), ("forward", 1e-6), ("central", 1e-4)),
                ("central", 1e-6),
                *itertools.product(("forward", "central"), (1e-3, 1e-5)),
            ]
        ),
    ],
)
def test_finite_differences_are_right_but_not_exact(x64, kind, step):
    loss, params, batch, grads = backward(([3, 4, 3], 8, "tanh", "softmax"))
    flat, unravel = ravel_pytree(params)
    value = jax.jit(lambda numbers: loss(unravel(numbers), batch))

    def slope(direction):
        back = 0 if kind == "forward" else step
        ahead, behind = value(flat + step * direction), value(flat - back * direction)
        return float(ahead - behind) / (step + back)

    claim = unravel(jnp.array([slope(each) for each in np.eye(len(flat))]))
    audit = gradients.audit(loss, params, batch, claim)
    assert audit.right, str(audit)
    if step >= 1e-4 and (kind, step) != ("central", 1e-4):
        words = f"as {kind} differences with a step of {step:g} would"
    else:
        words = "would"
    assert all(
        row.diagnosis.startswith("right, but not exact: agrees to ") and words in row.diagnosis
        for row in audit.rows
    )
    # An error as large that is not that of differences is wrong.
    random = np.random.default_rng(0)
    noisy = [[leaf * (1 + 1e-4 * random.normal(size=leaf.shape)) for leaf in p] for p in grads]
    assert said(gradients.audit(loss, params, batch, layers_of(noisy))) == {
        "no known mistake explains it"
    }


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("count", [3, pytest.param(24, marks=pytest.mark.slow)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_random_right_gradients_raise_no_alarm(dtype, count):
    """Sizes, batches, activations and losses drawn at random, each audited in its precision."""
    random = np.random.default_rng(11)
    for seed in range(count):
        depth = int(random.integers(1, 4))
        sizes = [int(size) for size in random.integers(1, 9, depth + 1)]
        name, kind = sorted(LOSSES)[int(random.integers(len(LOSSES)))]
        if kind == "softmax":
            sizes[-1] += 1
        setting = (sizes, int(random.integers(1, 30)), name, kind)
        loss, params, batch, grads = backward(setting, seed, dtype)
        audit = gradients.audit(loss, params, batch, layers_of(grads))
        assert audit.right, f"{setting}\n{audit}"
        assert not said(audit)

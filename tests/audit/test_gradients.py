"""Evidence for the audit: planted mistakes are named, right gradients raise no alarm."""

import collections
import functools
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import oracles
import pytest
from audited import draw, layers_of
from few import first_of

from jaxnet import losses, network
from jaxnet.audit import gradients
from jaxnet.errors import InputError

# Depth, non-square and square layers, batch sizes: sizes, examples, activation, loss.
SETTINGS = [
    ([3, 4, 4], 2, "tanh", "softmax"),
    ([5, 8, 3], 16, "relu", "softmax"),
    ([4, 6, 6, 3], 5, "sigmoid", "softmax"),
    ([6, 3, 5, 4], 9, "tanh", "softmax"),
    ([3, 6, 1], 8, "tanh", "squares"),
    ([4, 7, 7, 2], 3, "softplus", "squares"),
]


# What is planted, and words that its diagnosis must hold. One leaf at a time:
LOCAL = {
    "doubled": "doubled",
    "halved": "halved",
    "sign flipped": "sign flipped",
    "sum for mean": "summed over the batch where the loss takes the mean",
    "mean twice": "divided by the batch size",
    "constant": "times a constant 0.37",
    "transposed": "transposed",
    "bias not summed": "not summed over the batch",
    "bias of one example": "not summed over the batch: example",
    "L2 missing": "L2 regulariser subtracted",
    "L2 twice": "L2 regulariser added",
    "L1 missing": "L1 regulariser subtracted",
    "pre-activations": "formed with the pre-activations",
}
# Or everywhere at once:
GLOBAL = {"updated": "already updated by one step", "stale": "stale parameters"}
SIGNAL = {
    "times p (1 - p)": "multiplied by p (1 - p)",
    "jacobian again": "softmax derivative applied on top",
    "softmax left out": "the softmax left out",
    "derivative of the log alone": "softmax derivative left out",
    "targets left out": "targets left out",
    "derivative missing": "activation derivative missing",
    "derivative of the signal instead": "replaced by the activation's derivative, taken",
    "times derivative of the signal": "wrong quantity: the back-propagated signal",
    "derivative at the activations": "wrong point: at the layer's activations",
    "activation for derivative": "activation in place of its derivative",
    "derivative twice": "activation derivative applied twice",
    "output formula at z": "its formula in the activations, applied to the pre-activations",
    "transposed weight": "sent back through the transposed weight",
    "updated weights": "weights already updated",
}


def local_plants(setting, seed, params, x, y, true):
    """One leaf gone wrong: `(name, leaf, its claimed gradient)`."""
    _, rows, activation, kind = setting
    random = np.random.default_rng(seed + 1000)
    layer = int(random.integers(len(params)))
    part = int(random.integers(2))
    leaf, weight = true[layer][part], params[layer][0]
    each = np.stack(
        [
            oracles.backward(params, x[i : i + 1], y[i : i + 1], kind, activation)[layer][1]
            for i in range(rows)
        ]
    )
    at = 2 * layer + part
    yield "doubled", at, 2 * leaf
    yield "halved", at, leaf / 2
    yield "sign flipped", at, -leaf
    yield "sum for mean", at, rows * leaf
    yield "mean twice", at, leaf / rows
    yield "transposed", 2 * layer, true[layer][0].T.copy()
    yield "bias not summed", 2 * layer + 1, each
    yield "bias of one example", 2 * layer + 1, each[-1]
    if leaf.size >= 3:
        yield "constant", at, 0.37 * leaf
    if weight.size >= 4:
        yield "L2 missing", 2 * layer, true[layer][0] - 0.01 * weight
        yield "L2 twice", 2 * layer, true[layer][0] + 0.01 * weight
        yield "L1 missing", 2 * layer, true[layer][0] - 0.01 * np.sign(weight)
    if layer:
        mistake = {"mistake": "pre-activations", "layers": {layer}}
        wrong = oracles.backward(params, x, y, kind, activation, **mistake)
        yield "pre-activations", 2 * layer, wrong[layer][0]


def signal_plants(setting, seed, params, backward):
    """Error signals gone wrong: `(name, gradients)`, in one hidden layer and in all."""
    _, _, activation, kind = setting
    if kind == "softmax":
        for name in oracles.OUTPUT:
            yield name, backward(mistake=name)
    hidden = len(params) - 1
    one = {int(np.random.default_rng(seed + 2000).integers(hidden))}
    for name in oracles.HIDDEN:
        for layers in [one] if hidden == 1 else [one, set(range(hidden))]:
            square = all(len(set(params[k + 1][0].shape)) == 1 for k in layers)
            formula = oracles.ACTIVATIONS[activation][2]
            if (square or name != "transposed weight") and (formula or "formula" not in name):
                yield name, backward(mistake=name, layers=layers)
    yield "updated weights", backward(update=0.2)


def plants(setting, seed):
    """Every mistake that can be made here: `(name, words, params, claim)`."""
    _, _, activation, kind = setting
    _, ours, _, (params, x, y) = draw(setting, seed)
    backward = functools.partial(oracles.backward, params, x, y, kind, activation)
    true = backward()
    for name, at, leaf in local_plants(setting, seed, params, x, y, true):
        claim = [list(pair) for pair in true]
        claim[at // 2][at % 2] = leaf
        yield name, LOCAL[name], ours, layers_of(claim)
    for name, grads in signal_plants(setting, seed, params, backward):
        yield name, SIGNAL[name], ours, layers_of(grads)
    after = oracles.descend(params, true, 0.1)
    yield (
        "updated",
        GLOBAL["updated"],
        ours,
        layers_of(oracles.backward(after, x, y, kind, activation)),
    )
    now = layers_of(oracles.descend(params, true, 0.1))
    yield "stale", GLOBAL["stale"], now, layers_of(true)


def is_true(setting, params, batch, claim):
    """Whether a planted mistake changes nothing here, as a derivative applied twice under ReLU."""
    _, _, activation, kind = setting
    true = oracles.backward([tuple(layer) for layer in params], *batch, kind, activation)
    pairs = zip(jax.tree.leaves(claim), jax.tree.leaves(true), strict=True)
    return all(a.shape == b.shape and np.allclose(a, b, rtol=1e-9, atol=0) for a, b in pairs)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("settings", "seeds", "fewest"),
    [
        ([([4, 6, 6], 7, "sigmoid", "softmax")], [2], 29),
        pytest.param(SETTINGS, range(2), 346, marks=pytest.mark.slow),
    ],
    ids=["some", "all"],
)
def test_planted_mistakes_are_named(capsys, settings, seeds, fewest):
    """At least 95 in 100 planted mistakes are named, and nothing else, wherever they reach."""
    named = collections.defaultdict(collections.Counter)
    for setting, seed in itertools.product(settings, seeds):
        loss, _, batch, _ = draw(setting, seed)
        rows = setting[1]
        for name, words, params, claim in plants(setting, seed):
            if is_true(setting, params, batch, claim):
                continue
            audit = gradients.audit(loss, params, batch, claim)
            wrong = [row for row in audit.rows if row.verdict != "right"]
            others = [row.diagnosis for row in wrong if words not in row.diagnosis]
            # With 2 examples, or 2 outputs, a factor of 2 has two readings.
            two = rows == 2 or (setting[3] == "squares" and setting[0][-1] == 2)
            others += [row.diagnosis for row in wrong if ", or " in row.diagnosis and not two]
            if not wrong:
                others = ["no alarm"]
            named[name]["the mistake itself" if not others else others[0]] += 1
    right = sum(count["the mistake itself"] for count in named.values())
    every = sum(sum(count.values()) for count in named.values())
    with capsys.disabled():
        print(f"\nplanted mistakes named: {right} of {every}")
        for name, counts in named.items():
            rest = [
                f"{n} {text[:70]}" for text, n in counts.items() if text != "the mistake itself"
            ]
            print(
                f"  {name:32} {counts['the mistake itself']:4} of {sum(counts.values()):4}", *rest
            )
    assert set(named) == LOCAL.keys() | GLOBAL.keys() | SIGNAL.keys()
    assert every >= fewest
    assert right >= 0.95 * every
    assert all(count["the mistake itself"] >= 0.8 * count.total() for count in named.values())


@pytest.mark.usefixtures("unchecked")
@first_of("count", [1, 20])
@first_of("dtype", [np.float64, np.float32])
@first_of("setting", SETTINGS, 3, ids=str)
def test_right_gradients_raise_no_alarm(setting, dtype, count):
    """As many of each setting and precision: 12, or 240, and not one alarm."""
    for seed in range(count):
        loss, ours, batch, _ = draw(setting, seed, dtype)
        params = [tuple(layer) for layer in ours]
        claim = layers_of(oracles.backward(params, *batch, setting[3], setting[2]))
        assert {leaf.dtype for leaf in jax.tree.leaves(claim)} == {np.dtype(dtype)}
        audit = gradients.audit(loss, ours, batch, claim)
        assert [row.verdict for row in audit.rows] == ["right"] * len(audit.rows), str(audit)
        assert audit.right
        assert max(row.relative_error for row in audit.rows) < 1e-3


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "setting",
    [
        SETTINGS[1],
        *(pytest.param(SETTINGS[k], marks=pytest.mark.slow) for k in (0, 2, 3, 4, 5)),
    ],
    ids=str,
)
def test_what_no_known_mistake_explains_is_left_unexplained(setting):
    """Noise, shuffled entries and one wrong entry are found, and never given a reason."""
    loss, params, batch, _ = draw(setting, 0)
    random = np.random.default_rng(5)
    true = layers_of(oracles.backward([tuple(p) for p in params], *batch, setting[3], setting[2]))
    at = 2 * int(random.integers(len(params)))
    leaves = jax.tree.leaves(true)
    one = leaves[at].copy()
    one.flat[-1] += 0.1
    for wrong in (random.normal(size=leaves[at].shape), random.permuted(leaves[at]) + 0.01, one):
        claim = jax.tree.unflatten(
            jax.tree.structure(true), [*leaves[:at], wrong, *leaves[at + 1 :]]
        )
        row = gradients.audit(loss, params, batch, claim).rows[at]
        if leaves[at].size > 2:
            assert (row.verdict, row.diagnosis) == ("wrong", "no known mistake explains it")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_error_just_above_the_resolution_is_an_alarm_and_one_below_is_not(dtype):
    """Too small to explain, it is given no cause; in float64 it is what float32 rounding makes."""
    loss, params, batch, _ = draw(SETTINGS[2], 3, dtype)
    true = layers_of(oracles.backward([tuple(p) for p in params], *batch, "softmax", "sigmoid"))
    resolution = gradients.audit(loss, params, batch, true).rows[0].resolution

    def judge(size):
        bent = true[0]._replace(weight=(true[0].weight * dtype(1 + size)))
        return gradients.audit(loss, params, batch, (bent, *true[1:])).rows[0]

    assert judge(resolution / 3).verdict == "right"
    above = judge(3 * resolution)
    if dtype == np.float32:
        assert above.verdict == "wrong"
        assert above.diagnosis.startswith("too close to the rounding of float32 to tell")
    else:
        assert above.verdict == "undecided"
        assert above.diagnosis.startswith("agrees to float32 rounding")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("size", [1e-4, 1e-3, 1e-2])
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.slow
def test_noise_is_never_given_a_cause(dtype, size, seed):
    """However small, and however few the entries: noise is no regulariser and no constant."""
    for setting in SETTINGS[1::2]:
        loss, params, batch, _ = draw(setting, seed, dtype)
        true = oracles.backward([tuple(p) for p in params], *batch, setting[3], setting[2])
        random = np.random.default_rng(seed)
        noisy = [
            [leaf * (1 + size * random.normal(size=leaf.shape)).astype(dtype) for leaf in pair]
            for pair in true
        ]
        audit = gradients.audit(loss, params, batch, layers_of(noisy))
        said = {row.diagnosis for row in audit.rows if len(row.shape) == 2 or row.shape[0] > 2}
        assert said <= {
            "no known mistake explains it",
            f"too close to the rounding of {np.dtype(dtype)} to tell one mistake from another",
        }
        assert "error signal" not in audit.summary


@pytest.mark.slow
def test_the_summary_says_nothing_of_signals_where_nothing_is_known_of_them():
    """One row of one weight off: the signal at that layer is right, as its bias shows."""
    loss, params, batch, _ = draw(SETTINGS[3], 0)
    true = oracles.backward([tuple(p) for p in params], *batch, "softmax", "tanh")
    true[2][0][0] += 0.1
    audit = gradients.audit(loss, params, batch, layers_of(true))
    assert [row.verdict for row in audit.rows].count("wrong") == 1
    assert "error signal" not in str(audit)


@pytest.mark.parametrize(
    ("params", "claim"), [(1.5, 9.7), (np.array([1.5, 2.0]), None), (np.full(2, 0.1), None)]
)
def test_a_number_fitted_to_few_is_no_evidence(x64, params, claim):
    """One or two entries are always some other parameters' gradient, or some penalty's."""

    def loss(params, batch):
        return jnp.mean((jnp.sum(params**2) - batch) ** 2)

    params, batch = np.asarray(params), np.linspace(1, 2, 5)
    claim = 0.74 * jax.grad(loss)(params, batch) if claim is None else np.asarray(claim)
    row = gradients.audit(loss, params, batch, claim).rows[0]
    assert (row.verdict, row.diagnosis) == ("wrong", "no known mistake explains it")


def test_an_untrained_bias_is_no_regulariser():
    """A constant parameter and a constant error: any penalty would fit."""
    setting = ([3, 5, 2], 7, "relu", "softmax")
    loss, params, batch, _ = draw(setting, 1)
    params = (params[0]._replace(bias=np.full(5, -100.0)), params[1])
    true = oracles.backward([tuple(p) for p in params], *batch, "softmax", "relu")
    assert not true[0][1].any()
    true[0][1] += 1.0
    audit = gradients.audit(loss, params, batch, layers_of(true))
    assert "regulariser" not in str(audit)


def test_the_gradient_of_another_parameter_is_named():
    loss, params, batch, _ = draw(([4, 6, 6, 6], 5, "tanh", "softmax"), 0)
    first, second, third = oracles.backward([tuple(p) for p in params], *batch, "softmax", "tanh")
    claim = layers_of([[first[0], second[1]], [third[0], first[1]], [second[0], third[1]]])
    diagnoses = [row.diagnosis for row in gradients.audit(loss, params, batch, claim).rows]
    other = "the gradient of {} instead"
    expected = ("[1].bias", "[2].weight", "[0].bias", "[1].weight")
    assert diagnoses == ["", *(other.format(name) for name in expected), ""]


def test_a_mean_over_outputs_is_told_from_a_mean_over_examples():
    loss, params, batch, _ = draw(([4, 7, 5], 3, "sigmoid", "squares"), 0)
    true = oracles.backward([tuple(p) for p in params], *batch, "squares", "sigmoid")
    claim = layers_of([[5 * leaf for leaf in pair] for pair in true])
    said = {row.diagnosis for row in gradients.audit(loss, params, batch, claim).rows}
    assert said == {"summed over the outputs where the loss takes the mean"}


@pytest.mark.parametrize("other", ["tanh", "sigmoid", "relu"])
def test_another_activations_derivative_is_named(other):
    names = {"tanh": "tanh", "sigmoid": "sigmoid", "relu": "ReLU"}
    setting = ([4, 6, 3], 5, "softplus", "softmax")
    loss, params, batch, (layers, x, y) = draw(setting, 0)
    pre = oracles.forward(layers, x, "softplus")[1]
    delta = oracles.softmax(pre[-1]) - y
    signal = (delta @ layers[1][0]) * oracles.ACTIVATIONS[other][1](pre[0])
    grads = oracles.backward(layers, x, y, "softmax", "softplus")
    grads[0] = [signal.T @ x / len(x), signal.mean(0)]
    row = gradients.audit(loss, params, batch, layers_of(grads)).rows[0]
    assert f"{names[other]} in place of the layer's own activation" in row.diagnosis


class Callable(tuple):
    """A pytree that can be called, as Equinox modules are."""

    def __call__(self):
        raise AssertionError


jax.tree_util.register_pytree_node(Callable, lambda t: (tuple(t), None), lambda _, t: Callable(t))


def test_a_gradient_that_can_be_called_is_a_gradient(x64):
    params = Callable((np.arange(3.0),))

    def loss(params, batch):
        return jnp.sum(params[0] ** 2) + jnp.mean(batch)

    assert gradients.audit(loss, params, np.ones(2), Callable((np.arange(3.0) * 2,))).right


def test_losses_that_close_over_arrays_and_know_their_batch():
    """float64 constants in float32 mode, and a loss that takes only its own number of rows."""
    scale, x = np.arange(1.0, 4.0), np.ones((6, 3), np.float32)

    def loss(params, batch):
        return jnp.sum((jnp.reshape(batch, (6, 3)) @ (params * scale)) ** 2)

    w = np.array([0.3, -0.2, 0.5], np.float32)
    true = 2 * 6 * np.sum(w * scale) * scale
    assert gradients.audit(loss, w, x, true.astype(np.float32)).right
    row = gradients.audit(loss, w, x, true / 6).rows[0]
    assert row.diagnosis == "divided by the batch size"


@pytest.mark.slow
def test_a_rule_for_its_own_two_examples_is_not_asked_in_vain(x64):
    """It divides by 2 whatever it is given, or fails on 3: what is said is of the 2 given."""
    loss, params, batch, _ = draw(SETTINGS[0], 0)
    targets, true = batch[1], jax.jit(jax.grad(loss))

    def times(number, p, b):
        return jax.tree.map(lambda leaf: number * leaf, true(p, b))

    def closed_over(p, b):
        return true(p, (b[0], np.stack([targets[i] for i in range(len(b[0]))])))

    for row in gradients.audit(
        loss, params, batch, lambda p, b: times(len(b[0]) ** 2 / 8, p, b)
    ).rows:
        assert row.diagnosis.startswith("divided by the batch size once more, or halved, or")
    assert gradients.audit(loss, params, batch, closed_over).right

    def loss_of_two(p, b):
        return loss(p, (jnp.reshape(b[0], (2, 3)), targets))

    for row in gradients.audit(
        loss_of_two, params, batch, lambda p, b: times(2, p, (b[0][:2], targets))
    ).rows:
        assert row.diagnosis.startswith("multiplied by the batch size, or doubled; a batch of")


@pytest.mark.slow
def test_right_gradients_of_a_lower_precision_are_no_alarm(x64):
    """Computed in float32 and held in float64, or of a loss that rounds to bfloat16 inside."""
    loss, params, batch, _ = draw(SETTINGS[2], 0)
    single = jax.tree.map(np.float32, (params, batch))
    with jax.enable_x64(False):
        claim = jax.device_get(jax.jit(jax.grad(loss))(*single))
    wide = jax.tree.map(np.float64, claim)
    audit = gradients.audit(loss, *jax.tree.map(np.float64, single), wide)
    assert {row.verdict for row in audit.rows} == {"undecided"}
    assert "agrees to float32 rounding" in audit.rows[0].diagnosis

    def coarse(w, batch):
        product = batch.astype(jnp.bfloat16) @ w.astype(jnp.bfloat16)
        return jnp.mean(product.astype(jnp.float32) ** 2)

    w, x = np.linspace(0.3, 1, 5, dtype=np.float32), np.ones((8, 5), np.float32)
    (row,) = gradients.audit(coarse, w, x, jax.grad(coarse)(w, x)).rows
    assert row.verdict in ("right", "undecided")
    assert "replaces its own gradient" not in row.diagnosis


@pytest.mark.slow
def test_many_examples_in_float32_raise_no_alarm():
    """Summed one example after the other, which rounds worst."""
    loss, params, batch, _ = draw(([6, 8, 3], 4000, "tanh", "softmax"), 0, np.float32)
    total = [[np.zeros_like(leaf) for leaf in layer] for layer in params]
    layers = [tuple(layer) for layer in params]
    for first in range(0, 4000, 10):
        rows = slice(first, first + 10)
        each = oracles.backward(layers, batch[0][rows], batch[1][rows], "softmax", "tanh")
        total = [
            [np.float32(a + b / np.float32(400)) for a, b in zip(pair, more, strict=True)]
            for pair, more in zip(total, each, strict=True)
        ]
    assert gradients.audit(loss, params, batch, layers_of(total)).right


@pytest.mark.slow
def test_our_network_is_recognised_in_other_functions():
    loss, params, batch, _ = draw(SETTINGS[0], 0)
    layers = [tuple(p) for p in params]
    mistake = {"mistake": "derivative missing", "layers": {0}}
    claim = layers_of(oracles.backward(layers, *batch, "softmax", "tanh", **mistake))
    compiled = gradients.audit(jax.jit(loss), params, batch, claim)
    assert "first goes wrong at hidden layer 1" in compiled.summary

    def penalised(params, batch):
        return loss(params, batch) + 0 * jnp.sum(params[0].bias)

    hidden = gradients.audit(penalised, params, batch, claim)
    assert "first goes wrong at hidden layer 1" in hidden.summary


def test_float32_says_what_it_cannot_decide(x64):
    """Near the optimum a gradient is all cancellation: float64 decides, float32 says it cannot."""
    loss = losses.BatchLoss(network.forward, optax.losses.l2_loss)
    random = np.random.default_rng(0)
    params = (network.Layer(random.normal(size=(2, 3)), random.normal(size=2)),)
    single = jax.tree.map(lambda leaf: leaf.astype(np.float32), params)
    x = random.normal(size=(20, 3)).astype(np.float32)
    exact = x.astype(float) @ single[0].weight.T.astype(float) + single[0].bias
    y = (exact + 3e-7 * random.normal(size=exact.shape)).astype(np.float32)
    true = jax.jit(jax.grad(loss))
    claim = true(single, (x, y))
    coarse = gradients.audit(loss, single, (x, y), claim)
    assert {row.verdict for row in coarse.rows} == {"undecided"}
    assert "float32 hides relative errors below" in coarse.rows[0].diagnosis
    double = jax.tree.map(lambda leaf: leaf.astype(np.float64), (single, (x, y)))
    assert gradients.audit(loss, *double, true(*double)).right


def quadratic(params, batch):
    """A loss of no network: a dict of parameters, a sum over examples."""
    x, y = batch
    return jnp.sum((jnp.tanh(x @ params["w"].T) @ params["v"] + params["c"] - y) ** 2)


def mean_quadratic(params, batch):
    return quadratic(params, batch) / np.float64(len(batch[1]))


def any_pytree():
    random = np.random.default_rng(1)
    params = {"w": random.normal(size=(4, 3)), "v": random.normal(size=4), "c": np.asarray(0.3)}
    return params, (random.normal(size=(6, 3)), random.normal(size=6))


@first_of(
    ("loss", "change", "words"),
    [
        (quadratic, lambda g: g / 6, "averaged over the batch where the loss takes the sum"),
        (quadratic, lambda g: g * 6, "multiplied by the batch size"),
        (mean_quadratic, lambda g: g * 6, "summed over the batch where the loss takes the mean"),
        (mean_quadratic, lambda g: g / 6, "divided by the batch size once more"),
        (quadratic, lambda g: -2 * g, "doubled and sign flipped"),
        (quadratic, lambda g: g.T, "transposed"),
        (quadratic, lambda g: g.T / 6, "transposed and averaged over the batch"),
        (quadratic, lambda g: g.reshape(12), "of shape [12] instead of [4, 3]"),
        (quadratic, lambda g: g[:2], "shape [2, 3] where [4, 3] is expected; no known mistake"),
        (quadratic, lambda g: g * np.nan, "not finite in 12 of 12 entries"),
    ],
    2,
)
def test_any_pytree_and_loss(x64, loss, change, words):
    params, batch = any_pytree()
    claim = jax.device_get(jax.jit(jax.grad(loss))(params, batch))
    audit = gradients.audit(loss, params, batch, claim | {"w": change(claim["w"])})
    verdicts = {row.name: row.verdict for row in audit.rows}
    assert verdicts == {"['c']": "right", "['v']": "right", "['w']": "wrong"}
    assert words in audit.rows[2].diagnosis
    assert words in str(audit).replace("\n    ", " ")


def test_two_examples_are_told_from_a_factor_of_two_by_asking_for_a_third(x64):
    """With 2 examples a sum and a doubling are one number; a claim that is a function tells."""
    loss, params, batch, _ = draw(SETTINGS[0], 0)
    true = jax.jit(jax.grad(loss))
    claims = {
        "summed over the batch where the loss takes the mean": lambda p, b: jax.tree.map(
            lambda leaf: len(b[0]) * leaf, true(p, b)
        ),
        "doubled": lambda p, b: jax.tree.map(lambda leaf: 2 * leaf, true(p, b)),
    }
    for words, claim in claims.items():
        given = {row.diagnosis for row in gradients.audit(loss, params, batch, claim).rows}
        assert given == {words}
        value = gradients.audit(loss, params, batch, claim(params, batch))
        both = "summed over the batch where the loss takes the mean, or doubled; a batch of "
        assert {row.diagnosis for row in value.rows} == {both + "another size tells"}


@jax.custom_vjp
def overridden(w):
    return jnp.sum(w**2)


overridden.defvjp(lambda w: (overridden(w), w), lambda w, ct: (ct * 3 * w,))


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (lambda w, batch: overridden(w), "replaces its own gradient"),
        (lambda w, batch: jnp.sum(jax.lax.stop_gradient(w) * w), "replaces its own gradient"),
        (lambda w, batch: jnp.sum(jax.nn.relu(w) - jax.nn.relu(-w)), "kink"),
    ],
)
def test_finite_differences_referee_autodiff(x64, loss, words):
    w, batch = np.array([0.0, -1.2, 2.0]), np.ones(4)
    audit = gradients.audit(loss, w, batch, jax.grad(loss)(w, batch))
    assert audit.rows[0].verdict == "undecided"
    assert "autodiff and finite differences disagree" in audit.rows[0].diagnosis
    assert words in audit.rows[0].diagnosis
    assert audit.rows[0].finite_differences > 1e-2


def test_finite_differences_agree_where_autodiff_is_right(x64):
    """Curvature of very different sizes: truncation and rounding are both told from error."""
    scales = np.logspace(-3, 3, 7)

    def loss(w, batch):
        return jnp.sum(jnp.sin(w * scales)) + jnp.mean(batch)

    w = np.linspace(0.1, 1, 7)
    audit = gradients.audit(loss, w, np.ones(3), scales * np.cos(w * scales))
    assert audit.right, str(audit)
    assert audit.rows[0].finite_differences < 1e-6


def test_summary_names_the_layer_where_the_signal_first_goes_wrong():
    loss, ours, batch, (params, x, y) = draw(SETTINGS[3], 0)
    said = {
        None: "6 right, of 6 parameters",
        frozenset({0}): "first goes wrong at hidden layer 1.",
        frozenset({1}): "first goes wrong at hidden layer 2.",
        frozenset({0, 1}): "first goes wrong at hidden layer 2.",
    }
    for layers, words in said.items():
        grads = oracles.backward(
            params, x, y, "softmax", "tanh", mistake="derivative missing", layers=layers or ()
        )
        assert words in gradients.audit(loss, ours, batch, layers_of(grads)).summary
    grads = oracles.backward(params, x, y, "softmax", "tanh", mistake="softmax left out")
    audit = gradients.audit(loss, ours, batch, layers_of(grads))
    assert "wrong from the output layer on" in audit.summary


def mean_product(params, batch):
    return jnp.mean(batch @ params["w"].T)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (
            {"params": {"w": np.ones((2, 3), int)}},
            InputError,
            "params['w']: expected floating-point",
        ),
        ({"params": {"w": np.full((2, 3), np.inf)}}, InputError, "params['w']: expected finite"),
        ({"params": {}}, InputError, "params: expected at least one array"),
        ({"batch": np.ones((0, 3))}, InputError, "batch: expected at least one row"),
        ({"batch": np.full((2, 3), np.nan)}, InputError, "batch: expected finite"),
        ({"loss": lambda p, b: b @ p["w"].T}, InputError, "loss: expected a real scalar"),
        (
            {"loss": lambda p, b: jnp.log(-jnp.sum(b @ p["w"].T))},
            InputError,
            "loss: expected a loss and a gradient that are finite",
        ),
        (
            {"claimed": {"w": np.ones((2, 3), complex)}},
            InputError,
            "claimed: expected real gradients",
        ),
        ({"claimed": {"v": np.ones((2, 3))}}, InputError, "claimed: expected the structure of"),
        ({"claimed": {"w": "large"}}, InputError, "claimed['w']: expected an array of numbers"),
    ],
)
def test_bad_input_is_refused(change, error, words):
    good = {
        "loss": mean_product,
        "params": {"w": np.ones((2, 3), np.float32)},
        "batch": np.ones((4, 3), np.float32),
        "claimed": {"w": np.ones((2, 3), np.float32)},
    }
    gradients.audit(**good)
    with pytest.raises(error, match=re.escape(words)):
        gradients.audit(**(good | change))


def test_labels_outside_the_outputs_are_refused():
    loss = losses.BatchLoss(network.forward, optax.losses.softmax_cross_entropy_with_integer_labels)
    params = network.init(jax.random.key(0), [3, 4])
    x, y = np.ones((2, 3), np.float32), np.array([0, 4])
    with pytest.raises(InputError, match=r"class labels 0 to 3.*got 4 in row 1"):
        gradients.audit(loss, params, (x, y), params)


@first_of("rule", [True, False])
def test_parameters_may_be_one_array(rule):
    def loss(params, batch):
        return jnp.mean((batch[0] @ params - batch[1]) ** 2)

    batch = np.eye(3, dtype=np.float32), np.ones(3, np.float32)
    claimed = losses.Rule(jax.value_and_grad(loss)) if rule else jax.grad(loss)
    params = np.full(3, 0.5, np.float32)
    assert [row.verdict for row in gradients.audit(loss, params, batch, claimed).rows] == ["right"]
    wrong = gradients.audit(loss, params, batch, lambda p, b: -jax.grad(loss)(p, b))
    assert [row.verdict for row in wrong.rows] == ["wrong"]


GLOBALS = {"number": 1.0, "array": np.ones((1, 2)), "rule": 2.0}


@jax.custom_jvp
def squared(z):
    return z**2


@squared.defjvp
def _(primals, tangents):
    return squared(*primals), GLOBALS["rule"] * primals[0] * tangents[0]


def scaled(params, x, y):
    return GLOBALS["number"] * jnp.mean(GLOBALS["array"] * squared(x @ params - y))


def scaled_pair(params, batch):
    return scaled(params, *batch)


def again():
    """A loss's arguments, and its gradient at what the globals are above."""
    random = np.random.default_rng(3)
    params, x, y = (random.normal(size=shape) for shape in ((4, 2), (6, 4), (6, 2)))
    return params, (x, y), x.T @ (x @ params - y) / 6


@pytest.mark.parametrize("loss", [scaled, scaled_pair])
@pytest.mark.parametrize("changed", GLOBALS)
def test_what_a_loss_takes_from_outside_may_change_between_audits(x64, loss, changed, monkeypatch):
    """Its numbers, its arrays in place, and a derivative that it is given."""
    before = gradients.audit(loss, *again())
    assert before.right
    monkeypatch.setitem(GLOBALS, "array", np.ones((1, 2)))
    if changed == "array":
        GLOBALS["array"] *= 2
    else:
        monkeypatch.setitem(GLOBALS, changed, 2 * GLOBALS[changed])
    after = gradients.audit(loss, *again())
    if changed == "rule":
        assert [row.verdict for row in after.rows] == ["undecided"]
    else:
        assert [row.diagnosis for row in after.rows] == ["halved"]


@pytest.mark.parametrize("loss", [scaled, scaled_pair])
def test_an_audit_of_the_same_loss_compiles_nothing_again_and_traces_little(
    x64, loss, compilations
):
    calls, (params, batch, gradient) = [], again()

    @functools.wraps(loss)
    def counted(*arguments):
        calls.append(arguments)
        return loss(*arguments)

    gradients.audit(counted, params, batch, 2 * gradient)
    first = len(calls)
    del compilations[:]
    gradients.audit(counted, params, batch, 2 * gradient)
    assert len(calls) - first < first / 2
    assert not compilations

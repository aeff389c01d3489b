"""Evidence for what is read off the program of a loss, in the styles in which people write it."""

import functools
import itertools
import re

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import oracles
import pytest
from few import first_of, some_of

from jaxnet import losses, network
from jaxnet.audit import gradients, measured, programs

PHI = {"tanh": jnp.tanh, "relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid}
N, SIZES = 6, [3, 5, 5, 4]


@pytest.fixture(autouse=True)
def as_users_have_it(unchecked):
    """JAX as it comes, but for float64: losses of users broadcast and mix types."""
    promotions = jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow")
    with jax.enable_x64(True), promotions[0], promotions[1]:
        yield


def draw(sizes=SIZES, rows=N, seed=0, kind="softmax"):
    """Layers `[(weight [O, I], bias [O]), ...]` and a batch `x [N, I]`, `y [N, O]`."""
    random = np.random.default_rng(seed)
    pairs = itertools.pairwise(sizes)
    layers = [(random.normal(size=(o, i)), random.normal(size=o)) for i, o in pairs]
    x = random.normal(size=(rows, sizes[0]))
    y = random.normal(size=(rows, sizes[-1]))
    return layers, x, np.eye(sizes[-1])[y.argmax(1)] if kind == "softmax" else y


def gradient_of(loss, params, batch):
    """Autodiff's, compiled as one program."""
    return jax.jit(jax.grad(loss))(params, batch)


def total(z, y, kind):
    """The loss of outputs `[N, O]`, as the oracles have it."""
    if kind == "softmax":
        return -jnp.mean(jnp.sum(y * jax.nn.log_softmax(z), axis=1))
    return 0.5 * jnp.mean((z - y) ** 2)


# Styles: each gives of a kind of loss and an activation `(loss, pack, pack_batch)`, where `pack`
# makes the parameters, or their gradients, of `[(weight [O, I], bias [O]), ...]`.


def as_is(x, y):
    return x, y


def column_major(kind, phi):
    """The course's: `X [features, m]`, biases of one column."""

    def loss(params, batch):
        a, y = batch
        depth = len(params) // 2
        for k in range(1, depth):
            z = jnp.dot(params[f"W{k}"], a) + params[f"b{k}"]
            a = phi(z)
        z = jnp.dot(params[f"W{depth}"], a) + params[f"b{depth}"]
        m = y.shape[1]
        if kind == "squares":
            return jnp.sum((z - y) ** 2) / (2 * m * z.shape[0])
        p = jnp.exp(z - jnp.max(z, axis=0, keepdims=True))
        p = p / jnp.sum(p, axis=0, keepdims=True)
        return -1 / m * jnp.sum(y * jnp.log(p))

    def pack(layers):
        named = {f"W{k}": w for k, (w, _) in enumerate(layers, 1)}
        return named | {f"b{k}": b[:, None] for k, (_, b) in enumerate(layers, 1)}

    return loss, pack, lambda x, y: (x.T, y.T)


def row_major(kind, phi):
    """The other course's: weights `[I, O]`, softmax by hand, batch as a dict."""

    def loss(params, batch):
        h = batch["X"]
        for k, (w, b) in enumerate(zip(params["weights"], params["biases"], strict=True)):
            z = h @ w + b
            h = phi(z) if k < len(params["weights"]) - 1 else z
        if kind == "squares":
            return jnp.mean(jnp.square(batch["y"] - h)) / 2
        scores = h - jnp.max(h, axis=1, keepdims=True)
        p = jnp.exp(scores) / jnp.sum(jnp.exp(scores), axis=1, keepdims=True)
        return jnp.sum(-jnp.log(p[jnp.arange(len(h)), batch["y"]])) / len(h)

    def pack(layers):
        weights, biases = zip(*layers, strict=True)
        return {"weights": [w.T for w in weights], "biases": [b[None] for b in biases]}

    labels = (lambda y: y.argmax(1)) if kind == "softmax" else lambda y: y
    return loss, pack, lambda x, y: {"X": x, "y": labels(y)}


def of_one_example(kind, phi):
    """`W @ x + b` of one example, in functions that JAX transforms."""

    @jax.jit
    def predict(params, x):
        for w, b in params[:-1]:
            x = jax.checkpoint(lambda w, b, x: phi(jnp.matmul(w, x) + b))(w, b, x)
        return params[-1][0] @ x + params[-1][1]

    def loss(params, batch):
        z = jax.vmap(predict, in_axes=(None, 0))(params, batch[0])
        return total(z, batch[1], kind)

    return loss, lambda layers: [tuple(layer) for layer in layers], as_is


def by_indices(kind, phi):
    """Sums written with einsum, layer by layer in a NamedTuple."""

    def loss(params, batch):
        x, y = batch
        for k, (w, b) in enumerate(params):
            z = jnp.einsum("ni,oi->no", x, w) + jnp.expand_dims(b, 0)
            x = phi(z) if k < len(params) - 1 else z
        return total(x, y, kind)

    return loss, lambda layers: tuple(network.Layer(w, b) for w, b in layers), as_is


def penalised(kind, phi):
    """A penalty on the weights beside the data term."""
    plain, pack, pack_batch = by_indices(kind, phi)

    def loss(params, batch):
        return plain(params, batch) + 0.05 * sum(jnp.sum(w**2) for w, _ in params)

    return loss, pack, pack_batch


def equinox_mlp(kind, phi):
    import equinox as eqx

    def pack(layers):
        sizes = [layers[0][0].shape[1], *(len(b) for _, b in layers)]
        mlp = eqx.nn.Sequential(
            [
                each
                for i, o in itertools.pairwise(sizes)
                for each in (eqx.nn.Linear(i, o, key=jax.random.key(0)), eqx.nn.Lambda(phi))
            ][:-1]
        )
        flat, tree = jax.tree.flatten(eqx.filter(mlp, eqx.is_array))
        assert len(flat) == 2 * len(layers)
        pack.static = eqx.filter(mlp, eqx.is_array, inverse=True)
        return jax.tree.unflatten(tree, [leaf for layer in layers for leaf in layer])

    def loss(params, batch):
        model = eqx.combine(params, pack.static)
        return total(jax.vmap(model)(batch[0]), batch[1], kind)

    return loss, pack, as_is


def linen_mlp(kind, phi):
    from flax import linen

    class MLP(linen.Module):
        sizes: tuple

        @linen.compact
        def __call__(self, x):
            for size in self.sizes[:-1]:
                x = phi(linen.Dense(size)(x))
            return linen.Dense(self.sizes[-1])(x)

    def pack(layers):
        pack.sizes = tuple(len(b) for _, b in layers)
        dense = {f"Dense_{k}": {"kernel": w.T, "bias": b} for k, (w, b) in enumerate(layers)}
        return {"params": dense}

    def loss(params, batch):
        return total(MLP(pack.sizes).apply(params, batch[0]), batch[1], kind)

    return loss, pack, as_is


def nnx_mlp(kind, phi):
    from flax import nnx

    class MLP(nnx.Module):
        def __init__(self, sizes):
            rngs = nnx.Rngs(0)
            pairs = itertools.pairwise(sizes)
            self.layers = nnx.List([nnx.Linear(i, o, rngs=rngs) for i, o in pairs])

        def __call__(self, x):
            for layer in self.layers[:-1]:
                x = phi(layer(x))
            return self.layers[-1](x)

    def pack(layers):
        sizes = [layers[0][0].shape[1], *(len(b) for _, b in layers)]
        pack.graph, state = nnx.split(MLP(sizes))
        leaves = [leaf for w, b in layers for leaf in (b, w.T)]
        return jax.tree.unflatten(jax.tree.structure(state), leaves)

    def loss(params, batch):
        return total(nnx.merge(pack.graph, params)(batch[0]), batch[1], kind)

    return loss, pack, as_is


PLAIN = [column_major, row_major, of_one_example, by_indices, penalised]
STYLES = [*PLAIN, equinox_mlp, linen_mlp, nnx_mlp]


def as_packed(pack, layers, texts):
    """The leaves that texts `[(of the weight, of the bias), ...]` are of, in the packed order."""
    numbers = [
        [np.full(np.shape(leaf), 2.0 * k + side) for side, leaf in enumerate(layer)]
        for k, layer in enumerate(layers)
    ]
    flat = [text for pair in texts for text in pair]
    return [flat[int(np.ravel(leaf)[0])] for leaf in jax.tree.leaves(pack(numbers))]


def penalty(style, layers):
    return [[0.1 * w if style is penalised else 0 * w, 0 * b] for w, b in layers]


def plus(these, those):
    return [[a + b for a, b in zip(*pair, strict=True)] for pair in zip(these, those, strict=True)]


PLANTS = {
    "right": {},
    "derivative missing": {"mistake": "derivative missing", "layers": {0}},
    "derivative at the activations": {"mistake": "derivative at the activations", "layers": {1}},
    "transposed weight": {"mistake": "transposed weight", "layers": {0}},
    "pre-activations": {"mistake": "pre-activations", "layers": {2}},
    "updated weights": {"update": 0.2},
}


@functools.cache
def said_of_ours(kind):
    """By plant: the claim, what is said of it where the loss is ours, and the summary."""
    layers, x, y = draw(kind=kind)
    example = {"softmax": optax.losses.softmax_cross_entropy, "squares": optax.losses.l2_loss}
    forward = functools.partial(network.forward, activation=jnp.tanh)
    loss, pack = losses.BatchLoss(forward, example[kind]), by_indices(kind, jnp.tanh)[1]
    said = {}
    for name, plant in PLANTS.items():
        grads = oracles.backward(layers, x, y, kind, "tanh", **plant)
        audit = gradients.audit(loss, pack(layers), (x, y), pack(grads))
        texts = [row.diagnosis for row in audit.rows]
        said[name] = grads, list(zip(texts[::2], texts[1::2], strict=True)), audit.summary
    return said


@some_of(
    ("style", "kind"),
    itertools.product(STYLES, ["softmax", "squares"]),
    (of_one_example, "softmax"),
    ids=lambda each: getattr(each, "__name__", each),
)
def test_what_is_wrong_is_said_alike_however_the_loss_is_written(style, kind):
    """As of `network.forward`: the verdict, the cause and the layer of every parameter."""
    layers, x, y = draw(kind=kind)
    loss, pack, pack_batch = style(kind, jnp.tanh)
    params, batch = pack(layers), pack_batch(x, y)
    for name, (grads, texts, summary) in said_of_ours(kind).items():
        if style is penalised and "update" in PLANTS[name]:
            continue  # With a penalty another step is taken.
        claim = pack(plus(grads, penalty(style, layers)))
        audit = gradients.audit(loss, params, batch, claim)
        assert [row.diagnosis for row in audit.rows] == as_packed(pack, layers, texts), name
        assert audit.summary == summary
        assert audit.examples == N
        assert audit.right == (name == "right")


networks = hypothesis.given(
    sizes=st.lists(st.integers(1, 6), min_size=2, max_size=5),
    rows=st.integers(1, 6),
    style=st.sampled_from(PLAIN),
    phi=st.sampled_from(sorted(PHI)),
    kind=st.sampled_from(["softmax", "squares"]),
    seed=st.integers(0, 99),
)


@hypothesis.settings(max_examples=4, derandomize=True)
@networks
def test_the_layers_are_those_of_the_network(**drawn):
    check_layers(**drawn)


@pytest.mark.slow
@hypothesis.settings(max_examples=15, derandomize=True)
@networks
def test_the_layers_are_those_of_many_networks(**drawn):
    check_layers(**drawn)


def check_layers(sizes, rows, style, phi, kind, seed):
    """Of any depth, width and layout: as NumPy computes them, and the examples counted."""
    with jax.enable_x64(True), jax.numpy_rank_promotion("allow"):
        layers, x, y = draw(sizes, rows, seed, kind)
        loss, pack, pack_batch = style(kind, PHI[phi])
        params, batch = pack(layers), pack_batch(x, y)
        case = case_of(loss, params, batch)
        assert case.chain is not None
        inputs, pre = oracles.forward(layers, x, phi)
        pairs = zip(case.chain.layers, layers, inputs, pre, strict=True)
        for layer, (weight, bias), came_in, z in pairs:
            for got, expected in zip(layer[:2], (weight, bias), strict=True):
                np.testing.assert_array_equal(got, expected)
            np.testing.assert_allclose(layer.x, came_in, rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(layer.z, z, rtol=1e-9, atol=1e-12)
        for layer, z in zip(case.chain.layers[:-1], pre[:-1], strict=True):
            slope = oracles.ACTIVATIONS[phi][1](z)
            np.testing.assert_allclose(layer.slope, slope, rtol=1e-9, atol=1e-12)
        assert case.rows == rows
        if rows > 1:
            assert case.chain.axes == ((1, 1) if style is column_major else (0, 0))
            assert case.chain.scale == 1 / rows
        assert bool(case.chain.rest) == (style is penalised)


def case_of(loss, params, batch):
    return measured.measure(loss, params, batch, gradient_of(loss, params, batch))


FEW = {
    "one array": (lambda p, b: jnp.mean((b[0] @ p - b[1]) ** 2), lambda w, b: w[0]),
    "two numbers": (
        lambda p, b: jnp.mean((p["w"] * b[0][:, 0] + p["b"] - b[1]) ** 2),
        lambda w, b: {"w": w[0, 0], "b": b[0]},
    ),
    "no bias": (
        lambda p, b: jnp.mean((jnp.sin(b[0] @ p[0]) @ p[1] - b[1]) ** 2),
        lambda w, b: [w.T, w[:, 0]],
    ),
}


@pytest.mark.parametrize("name", FEW)
def test_few_parameters_are_layers_too(name):
    loss, pack = FEW[name]
    (layer, *_), x, y = draw()
    case = case_of(loss, pack(*layer), (x, y[:, 0] + x[:, 0]))
    assert case.chain is not None
    assert (case.rows, case.chain.scale, case.chain.axes) == (N, 1 / N, (0, 0))
    output = case.chain.output
    assert (output.activation, output.loss) == ("identity", "squared error")
    assert output.scale == pytest.approx(2 / N)


def test_an_activation_that_nobody_knows_is_taken_from_the_program():
    """With a constant in it, other in each layer; of arrays of any shape, and so its derivative."""

    def loss(params, batch):
        h = batch[0]
        for k, w in enumerate(params[:-1], 1):
            z = w @ h
            h = jnp.where(z > 0, k * z, z**3 / k)
        return jnp.mean((params[-1] @ h - batch[1]) ** 2)

    layers, x, y = draw()
    case = case_of(loss, [w for w, _ in layers], (x.T, y.T))
    z = np.linspace(-2, 2, 7)
    for k, layer in enumerate(case.chain.layers[:-1], 1):
        expected = np.where(z > 0, k * z, z**3 / k)
        np.testing.assert_allclose(layer.activation(jnp.asarray(z)), expected, rtol=1e-12)
        slope = np.where(layer.z > 0, k, 3 * layer.z**2 / k)
        np.testing.assert_allclose(layer.slope, slope, rtol=1e-9)


def test_as_many_features_as_outputs_are_not_two_examples():
    """The course's layout: 2 features and 2 outputs, 7 examples in columns; a length for both."""
    layers, x, y = draw([2, 3, 2], 7)
    loss, pack, pack_batch = column_major("softmax", jnp.tanh)
    true = oracles.backward(layers, x, y, "softmax", "tanh")
    claim = pack([[7 * leaf for leaf in pair] for pair in true])
    audit = gradients.audit(loss, pack(layers), pack_batch(x, y), claim)
    assert audit.examples == 7
    assert {row.diagnosis for row in audit.rows} == {
        "summed over the batch where the loss takes the mean"
    }


OUTPUTS = {
    ("identity", "squared error"): lambda z, y: jnp.sum((z - y) ** 2),
    ("sigmoid", "binary cross-entropy"): lambda z, y: (
        -jnp.sum(y * jnp.log(jax.nn.sigmoid(z)) + (1 - y) * jnp.log(1 - jax.nn.sigmoid(z)))
    ),
    ("softmax", "cross-entropy"): lambda z, y: -jnp.sum(y * jax.nn.log_softmax(z)),
    ("sigmoid", "squared error"): lambda z, y: jnp.sum((jax.nn.sigmoid(z) - y) ** 2) / 2,
    ("tanh", "squared error"): lambda z, y: jnp.mean((jnp.tanh(z) - y) ** 2),
    ("softmax", "squared error"): lambda z, y: jnp.sum((jax.nn.softmax(z) - y) ** 2),
    ("softplus", "squared error"): lambda z, y: jnp.sum((jax.nn.softplus(z) - y) ** 2),
    ("identity", "absolute error"): lambda z, y: jnp.sum(jnp.abs(z - y)),
}


@some_of(
    ("activation", "kind", "flipped"),
    [(*each, flipped) for each in OUTPUTS for flipped in (False, True)],
    ("identity", "squared error", False),
    ("softmax", "cross-entropy", True),
    ("softplus", "squared error", False),
)
def test_the_output_is_recognised(activation, kind, flipped):
    layers, x, y = draw()
    y = y if kind != "absolute error" else y + 0.1

    def loss(params, batch):
        (w, b), (x, y) = params, batch
        return OUTPUTS[activation, kind](x @ w.T + b, y.T if flipped else y)

    output = case_of(loss, layers[-1], (np.tanh(x @ np.ones((3, 5))), y.T if flipped else y))
    output = output.chain.output
    assert (output.activation, output.loss) == (activation, kind)
    np.testing.assert_array_equal(output.y, y)
    assert output.p.shape == y.shape


# Programs that are no chains, and mistakes planted in them: `spoil` is called on what is spoiled.


def straight(function):
    """A function whose derivative is left out."""

    @jax.custom_vjp
    def spoiled(x):
        return function(x)

    spoiled.defvjp(lambda x: (function(x), None), lambda _, signal: (signal,))
    return spoiled


def cut(_):
    """A path that nothing is sent back through."""
    return jax.lax.stop_gradient


def same(function):
    return function


def identity(x):
    return x


def residual(spoil):
    def loss(p, batch):
        h = batch[0] @ p["first"]
        h = spoil.get("skip", same)(identity)(h) + spoil.get("tanh", same)(jnp.tanh)(h @ p["block"])
        return total(h @ p["last"], batch[1], "softmax")

    return loss, {"first": (3, 5), "block": (5, 5), "last": (5, 4)}


def layer_norm(spoil):
    def loss(p, batch):
        z = batch[0] @ p["dense"]
        mean = spoil.get("mean", same)(identity)(z.mean(1, keepdims=True))
        normal = (z - mean) / jnp.sqrt(((z - mean) ** 2).mean(1, keepdims=True) + 1e-5)
        h = spoil.get("relu", same)(jax.nn.relu)(normal * p["gamma"] + p["beta"])
        return total(h @ p["last"], batch[1], "softmax")

    return loss, {"dense": (3, 6), "gamma": (6,), "beta": (6,), "last": (6, 4)}


def attention(spoil):
    def loss(p, batch):
        q, k, v = (batch[0] @ p[name] for name in ("query", "key", "value"))
        weights = spoil.get("softmax", same)(jax.nn.softmax)(q @ k.T / 2)
        return total(weights @ v @ p["last"], batch[1], "softmax")

    return loss, {"query": (3, 4), "key": (3, 4), "value": (3, 4), "last": (4, 4)}


def recurrent(spoil):
    def loss(p, batch):
        def step(h, x):
            h = spoil.get("carry", same)(identity)(h)
            return spoil.get("tanh", same)(jnp.tanh)(h @ p["hidden"] + x[None] @ p["input"]), None

        h, _ = jax.lax.scan(step, jnp.zeros((1, 4)), batch[0])
        return total(h @ p["last"], batch[1][:1], "softmax")

    return loss, {"hidden": (4, 4), "input": (3, 4), "last": (4, 4)}


ELSEWHERE = [
    (residual, "skip", cut, "the path through the sum left out, before ['last']", "first"),
    (recurrent, "carry", cut, "left out, before ['hidden']", "hidden"),
    (layer_norm, "mean", cut, "left out, before ['gamma']", "dense"),
    (attention, "softmax", straight, "the derivative of softmax left out, before ['last']", "key"),
    (residual, "tanh", straight, "the derivative of tanh left out, before ['last']", "block"),
    (layer_norm, "relu", straight, "the derivative of relu left out, before ['last']", "gamma"),
    (recurrent, "tanh", straight, "the derivative of tanh left out, before ['hidden']", "input"),
]


@functools.cache
def unspoiled(model):
    """One loss for all that is planted in it, to be compiled once."""
    return model({})


@first_of(
    ("model", "place", "spoil", "words", "leaf"),
    ELSEWHERE,
    2,
    ids=lambda each: getattr(each, "__name__", None),
)
def test_mistakes_in_programs_that_are_no_chain_are_placed(model, place, spoil, words, leaf):
    loss, shapes = unspoiled(model)
    random = np.random.default_rng(1)
    params = {name: random.normal(size=shape) for name, shape in shapes.items()}
    _, x, y = draw()
    claim = gradient_of(model({place: spoil})[0], params, (x, y))
    true = gradient_of(loss, params, (x, y))
    rows = {row.name: row for row in gradients.audit(loss, params, (x, y), claim).rows}
    for name in shapes:
        row = rows[f"['{name}']"]
        if np.allclose(claim[name], true[name], rtol=1e-9, atol=1e-12):
            assert row.verdict == "right"
        else:
            assert words in row.diagnosis
            assert "(test_programs.py:" in row.diagnosis
    assert rows[f"['{leaf}']"].verdict == "wrong"


BIASED = jax.nn.initializers.normal()
TWO = {"activation": [jnp.tanh, jax.nn.relu]}


def with_skips(params, x, activation):
    first, *blocks, last = params
    h = activation[0](first.weight @ x + first.bias)
    for layer, activate in zip(blocks, activation[1:], strict=True):
        h = h + activate(layer.weight @ h + layer.bias)
    return last.weight @ h + last.bias


# Of networks of our own: how they are made, the mistake in them, and what of the layers it is in.
OUR_OWN = {
    "residual": (
        {"bias": BIASED},
        TWO,
        {"activation": [jnp.tanh, straight(jax.nn.relu)]},
        r"the derivative of relu left out, before \[2\]\.weight .* in with_skips \(test_prog",
        2,
    ),
    "no biases": (
        {"bias": None},
        TWO,
        {"activation": [straight(jnp.tanh), jax.nn.relu]},
        "error signal of hidden layer 1: activation derivative missing",
        1,
    ),
    "activations": (
        {"bias": BIASED},
        {"output_activation": jax.nn.sigmoid, **TWO},
        {"activation": [jnp.tanh, straight(jax.nn.relu)]},
        "error signal of hidden layer 2: activation derivative missing",
        2,
    ),
    "output": (
        {"bias": BIASED},
        {"output_activation": jax.nn.sigmoid, **TWO},
        {"output_activation": straight(jax.nn.sigmoid)},
        "error signal of the output layer: the sigmoid derivative left out",
        3,
    ),
}


@some_of("name", OUR_OWN, "no biases", "output")
def test_mistakes_in_networks_of_our_own_are_named_by_layer_cause_and_place(name):
    drawn, options, mistake, words, wrong = OUR_OWN[name]

    def loss(**options):
        forward = with_skips if name == "residual" else network.forward
        forward = functools.partial(forward, **options)
        return losses.BatchLoss(forward, optax.losses.l2_loss)

    params = network.init(jax.random.key(0), SIZES, **drawn)
    batch = draw(kind="squares")[1:]
    claim = gradient_of(loss(**options | mistake), params, batch)
    rows = gradients.audit(loss(**options), params, batch, claim).rows
    layers = [row for row in rows if int(row.name[1]) < wrong]
    assert layers
    assert all(re.search(words, row.diagnosis) for row in layers)
    assert {row.verdict for row in rows if row not in layers} <= {"right"}


@first_of("model", [recurrent, residual, layer_norm, attention])
@pytest.mark.slow
def test_noise_in_programs_that_are_no_chain_is_no_mistake(model):
    loss, shapes = unspoiled(model)
    random = np.random.default_rng(1)
    params = {name: random.normal(size=shape) for name, shape in shapes.items()}
    _, x, y = draw()
    true = gradient_of(loss, params, (x, y))
    random = {name: leaf + 0.1 * random.normal(size=leaf.shape) for name, leaf in true.items()}
    said = {row.diagnosis for row in gradients.audit(loss, params, (x, y), random).rows}
    assert said == {"no known mistake explains it"}


def flax_convolution(spoil):
    from flax import linen

    class Model(linen.Module):
        @linen.compact
        def __call__(self, x):
            x = spoil.get("gelu", same)(linen.gelu)(linen.Conv(3, (3,))(x))
            x = linen.LayerNorm()(x)
            return linen.Dense(4)(x.reshape(len(x), -1))

    model = Model()
    params = model.init(jax.random.key(0), np.ones((N, 5, 2)))
    words = "the derivative of gelu left out, before ['params']['LayerNorm_0']['scale']"
    return params, model.apply, np.ones((N, 5, 2)), words


def equinox_gru(spoil):
    import equinox as eqx

    params, static = eqx.partition(eqx.nn.GRUCell(2, 4, key=jax.random.key(0)), eqx.is_array)

    def apply(params, x):
        cell = eqx.combine(params, static)

        def one(x):
            def step(h, x):
                return cell(x, spoil.get("carry", same)(identity)(h)), None

            return jax.lax.scan(step, jnp.zeros(4), x)[0]

        return jax.vmap(one)(x)

    return params, apply, np.ones((N, 5, 2)), "left out"


@pytest.mark.parametrize(
    ("model", "place", "spoil"),
    [(flax_convolution, "gelu", straight), (equinox_gru, "carry", cut)],
    ids=lambda each: getattr(each, "__name__", None),
)
@pytest.mark.slow
def test_mistakes_in_models_of_libraries_are_placed(model, place, spoil):
    _, _, y = draw()

    def loss_of(spoiled):
        params, apply, like, words = model(spoiled)

        def loss(params, batch):
            return total(apply(params, batch[0]), batch[1], "softmax")

        return loss, params, like, words

    loss, params, like, words = loss_of({})
    params = jax.tree.map(lambda leaf: np.asarray(leaf, float), params)
    x = np.random.default_rng(0).normal(size=like.shape)
    claim = gradient_of(loss_of({place: spoil})[0], params, (x, y))
    audit = gradients.audit(loss, params, (x, y), claim)
    wrong = [row for row in audit.rows if row.verdict == "wrong"]
    assert wrong
    assert all(words in row.diagnosis for row in wrong), str(audit)


def branches(w, batch):
    return jax.lax.cond(jnp.sum(batch) > 0, lambda w: jnp.sum(w**2), jnp.sum, w)


def loops(w, batch):
    def step(carry, x):
        return carry * x + w[0], carry[1]

    carry, stacked = jax.lax.scan(step, w, batch, reverse=True)
    return jnp.sum(carry) + jnp.sum(stacked) + jax.lax.fori_loop(0, 3, lambda i, c: c * w[1], 1.0)


def called(w, batch):
    inner = jax.checkpoint(jax.jit(lambda w: jax.nn.softplus(w) * jax.nn.logsumexp(batch)))
    return jnp.sum(jax.vmap(inner)(w)) + jnp.sum(jax.nn.relu(w))


@pytest.mark.parametrize("loss", [branches, loops, called], ids=lambda loss: loss.__name__)
def test_a_program_gives_the_loss_and_its_gradient(loss):
    w, batch = np.array([0.5, -1.2]), np.array([1.0, 2.0, -0.5])
    program = programs.record(loss, w, batch)

    def again(w):
        given = dict(zip((*program.params, *program.batch), (w, batch), strict=True))
        return programs.run(program.steps, given | program.constants)[program.loss]

    value, grads = jax.jit(jax.value_and_grad(again))(w)
    expected, true = jax.jit(jax.value_and_grad(loss))(w, batch)
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    np.testing.assert_allclose(grads, true, rtol=1e-12)


@pytest.mark.parametrize(("length", "examples"), [(4, 4), (5, 1)])
def test_where_no_network_tells_the_axis_leaves_of_one_length_do(length, examples):
    def loss(w, batch):
        return jnp.sum(batch[0]) * jnp.sum(w**2) + jnp.sum(batch[1])

    batch = np.ones((3, 4)), np.ones(length)
    audit = gradients.audit(loss, np.ones(2), batch, np.full(2, 2.0 * 12))
    assert (audit.examples, audit.right) == (examples, True)


def _factors(params, batch):
    return np.sum((batch - params["P"] @ params["Q"].T) ** 2)


def _likelihood(params, batch):
    places = jnp.arange(len(batch)) / 3
    kernel = jnp.exp(-((places[:, None] - places) ** 2)) * params["a"] + jnp.eye(len(batch))
    return batch @ jnp.linalg.solve(kernel, batch) + jnp.linalg.slogdet(kernel)[1]


@pytest.mark.parametrize(
    ("loss", "shapes", "batch"),
    [
        pytest.param(_factors, {"P": (4, 2), "Q": (3, 2)}, (4, 3), id="products alone"),
        pytest.param(_likelihood, {"a": ()}, (5,), id="linear equations", marks=pytest.mark.slow),
    ],
)
def test_a_loss_of_few_operations_is_searched_for_mistakes(loss, shapes, batch):
    random = np.random.default_rng(0)
    params = {name: np.array(random.uniform(1, 2, shape)) for name, shape in shapes.items()}
    batch = random.normal(size=batch)
    claimed = {name: np.cos(7 * each) for name, each in params.items()}
    found = gradients.audit(loss, params, batch, claimed)
    assert {row.verdict for row in found.rows} == {"wrong"}
    assert {row.diagnosis for row in found.rows} == {"no known mistake explains it"}

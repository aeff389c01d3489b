"""Evidence for what is read off the program of a loss, in the styles in which people write it."""

import functools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import oracles
import pytest

from jaxnet import losses, network
from jaxnet.audit import gradients, programs
from jaxnet.errors import InputError

PHI = {"tanh": jnp.tanh, "relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid}
N, SIZES = 6, [3, 5, 5, 4]


@pytest.fixture(autouse=True)
def as_users_have_it():
    """JAX as it comes, but for float64: losses of users broadcast and mix types."""
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        with jax.numpy_rank_promotion("allow"):
            yield


def draw(sizes=SIZES, rows=N, seed=0, kind="softmax"):
    """Layers `[(weight [O, I], bias [O]), ...]` and a batch `x [N, I]`, `y [N, O]`."""
    random = np.random.default_rng(seed)
    pairs = zip(sizes[:-1], sizes[1:], strict=True)
    layers = [(random.normal(size=(o, i)), random.normal(size=o)) for i, o in pairs]
    x = random.normal(size=(rows, sizes[0]))
    y = random.normal(size=(rows, sizes[-1]))
    return layers, x, np.eye(sizes[-1])[y.argmax(1)] if kind == "softmax" else y


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
                for i, o in zip(sizes[:-1], sizes[1:], strict=True)
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
            pairs = zip(sizes[:-1], sizes[1:], strict=True)
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
named = pytest.mark.parametrize("style", STYLES, ids=lambda style: style.__name__)


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


@named
@pytest.mark.parametrize("kind", ["softmax", "squares"])
def test_what_is_wrong_is_said_alike_however_the_loss_is_written(style, kind):
    """As of `network.forward`: the verdict, the cause and the layer of every parameter."""
    layers, x, y = draw(kind=kind)
    example = {"softmax": optax.losses.softmax_cross_entropy, "squares": optax.losses.l2_loss}
    forward = functools.partial(network.forward, activation=jnp.tanh)
    ours = losses.BatchLoss(forward, example[kind]), by_indices(kind, jnp.tanh)[1]
    loss, pack, pack_batch = style(kind, jnp.tanh)
    params, batch = pack(layers), pack_batch(x, y)
    for name, plant in PLANTS.items():
        grads = oracles.backward(layers, x, y, kind, "tanh", **plant)
        if style is penalised and "update" in plant:
            continue  # With a penalty another step is taken.
        reference = gradients.audit(ours[0], ours[1](layers), (x, y), ours[1](grads))
        claim = pack(plus(grads, penalty(style, layers)))
        audit = gradients.audit(loss, params, batch, claim)
        said = [row.diagnosis for row in reference.rows]
        texts = list(zip(said[::2], said[1::2], strict=True))
        assert [row.diagnosis for row in audit.rows] == as_packed(pack, layers, texts), name
        assert audit.summary == reference.summary
        assert audit.examples == N
        assert audit.right == (name == "right")


@hypothesis.settings(max_examples=25, deadline=None, derandomize=True)
@hypothesis.given(
    sizes=st.lists(st.integers(1, 6), min_size=2, max_size=5),
    rows=st.integers(1, 6),
    style=st.sampled_from(PLAIN),
    phi=st.sampled_from(sorted(PHI)),
    kind=st.sampled_from(["softmax", "squares"]),
    seed=st.integers(0, 99),
)
def test_the_layers_are_those_of_the_network(sizes, rows, style, phi, kind, seed):
    """Of any depth, width and layout: as NumPy computes them, and the examples counted."""
    with jax.enable_x64(True), jax.numpy_rank_promotion("allow"):
        layers, x, y = draw(sizes, rows, seed, kind)
        loss, pack, pack_batch = style(kind, PHI[phi])
        params, batch = pack(layers), pack_batch(x, y)
        case = gradients._case(loss, params, batch, jax.grad(loss)(params, batch))
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

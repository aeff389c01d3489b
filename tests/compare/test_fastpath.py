"""Evidence for the fast path: its switch, its numbers for functions of others, what is kept."""

import dataclasses
import functools
import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxnet
from jaxnet import compare, devices, fitting, losses, optimizers, streams, training
from jaxnet._guards import verify
from jaxnet.compare import sweep, tiles
from jaxnet.errors import InputError

CPU = pytest.mark.skipif(jax.default_backend() != "cpu", reason="elsewhere there is no fast path")


@CPU
@pytest.mark.parametrize(
    ("asked", "said", "fast"),
    [
        *[(None, None, True), (None, "1", True), (None, "0", False)],
        *[(True, "0", True), (False, "1", False), (False, None, False)],
    ],
)
def test_the_argument_comes_before_the_variable(asked, said, fast, monkeypatch):
    monkeypatch.delenv("JAXNET_FAST", raising=False)
    if said is not None:
        monkeypatch.setenv("JAXNET_FAST", said)
    assert devices.is_fast(asked) == fast
    assert (tiles.fast(asked) != tiles.PLAIN) == fast


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("variable", "value", "asked", "words"),
    [
        *[
            ("JAXNET_FAST", v, None, "JAXNET_FAST: expected 1 or 0, got ")
            for v in ("", "yes", "01")
        ],
        ("JAXNET_FSAT", "0", None, "JAXNET_FSAT: expected JAXNET_FAST"),
        ("JAXNET_FAST_PATH", "0", True, "JAXNET_FAST_PATH: expected JAXNET_FAST"),
        ("JAXNET_FAST", "1", 1, "fast: expected True or False"),
        ("JAXNET_FAST", "1", "no", "fast: expected True or False"),
    ],
)
def test_what_is_no_switch_is_refused(variable, value, asked, words, monkeypatch):
    monkeypatch.setenv(variable, value)
    with pytest.raises(InputError) as error:
        tiles.fast(asked)
    assert str(error.value).startswith(words)
    assert "\n" not in str(error.value)


# Functions as the documentation of Flax, Equinox and optax has them in its examples.

RANDOM = np.random.default_rng(0)
LABELS = RANDOM.integers(0, 3, 12).astype(np.int32)


def drawn(**shapes):
    def init(key):
        keys = jax.random.split(key, len(shapes))
        pairs = zip(shapes.items(), keys, strict=True)
        return {name: jax.random.normal(k, shape) / 2 for (name, shape), k in pairs}

    return init


def dense(params, x):
    return jax.nn.gelu(x @ params["first"] + params["bias"][None]) @ params["last"]


def network(params, x):
    hidden, output = (jaxnet.Layer(params[f"w{i}"], params[f"b{i}"]) for i in (1, 2))
    return jax.vmap(jaxnet.forward, (None, 0))((hidden, output), x)


def images(params, x):
    x = jax.lax.conv(x, params["kernel"], (1, 1), "SAME")
    return jax.nn.relu(x).mean((2, 3)) @ params["last"]


def gated(params, x):
    def cell(state, now):
        z = jax.nn.sigmoid(now @ params["z"] + state @ params["uz"])
        return (1 - z) * state + z * jnp.tanh(now @ params["h"] + state @ params["uh"]), None

    state, _ = jax.lax.scan(cell, jnp.zeros((len(x), 4)), jnp.swapaxes(x, 0, 1))
    return state @ params["last"]


def attending(params, x):
    q, k, v = (x @ params[name] for name in ("q", "k", "v"))
    weights = jax.nn.softmax(jnp.einsum("btd,bsd->bts", q, k), axis=-1)
    return jnp.einsum("bts,bsd->btd", weights, v).mean(1) @ params["last"]


def classified(forward, params, batch):
    each = optax.softmax_cross_entropy_with_integer_labels(forward(params, batch[0]), batch[1])
    return each.mean()


def mixture(params, batch):
    """A mixture of normal distributions of one number: its mean negative log-likelihood."""
    off = (batch[0][:, :1] - params["mean"][None]) * jnp.exp(-params["scale"])[None]
    terms = jax.nn.log_softmax(params["weight"])[None] - off**2 / 2 - params["scale"][None]
    return -jax.nn.logsumexp(terms, axis=1).mean()


SHAPES = {
    "dense": (dense, (5,), {"first": (5, 8), "bias": (8,), "last": (8, 3)}),
    "network": (network, (30,), {"w1": (40, 30), "b1": (40,), "w2": (3, 40), "b2": (3,)}),
    "images": (images, (1, 6, 6), {"kernel": (2, 1, 3, 3), "last": (2, 3)}),
    "gated": (
        gated,
        (4, 3),
        {"z": (3, 4), "uz": (4, 4), "h": (3, 4), "uh": (4, 4), "last": (4, 3)},
    ),
    "attending": (
        attending,
        (4, 3),
        {"q": (3, 2), "k": (3, 2), "v": (3, 4), "last": (4, 3)},
    ),
    "mixture": (None, (1,), {"mean": (3,), "scale": (3,), "weight": (3,)}),
}


def accuracy(forward, params, batch):
    return jnp.mean(jnp.argmax(forward(params, batch[0]), -1) == batch[1])


@CPU
@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize(
    ("example", "optimizer"),
    [
        ("mixture", "sgd"),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in (
                ("attending", "adam"),
                ("network", "sgd"),
                ("images", "sgd"),
                ("gated", "sgd"),
                ("mixture", "lbfgs"),
            )
        ),
    ],
)
def test_fast_numbers_are_the_plain_ones(x64, example, optimizer):
    forward, shape, shapes = SHAPES[example]
    data = RANDOM.normal(size=(12, *shape)), LABELS
    loss = functools.partial(classified, forward) if forward else mixture
    metrics = (("accuracy", functools.partial(accuracy, forward)),) if forward else ()
    parts = [jax.tree.map(lambda leaf, n=n: leaf[:n], data) for n in (5, 7)]
    task = tiles.Workload(loss, drawn(**shapes), data, 4, 6, (3, 6), *parts, metrics)
    rates = {"learning_rate": np.array([0.01, 0.1, 0.1])}
    trials, tile = tiles.Trials(np.array([0, 0, 1], np.int32), rates), tiles.Tile(1, 2)
    entry = optimizers.entry(optimizer)
    fast, plain = (
        sweep.run(task._replace(fast=path), entry, trials, tile, test=True)[0]
        for path in (tiles.fast(True), tiles.PLAIN)
    )
    assert set(fast.test) == set(fast.validation) == {"loss", *(name for name, _ in metrics)}
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-8), fast, plain)


def compared(folder=None):
    data = np.ones((6, 1), np.float32), np.zeros(6, np.int32)
    tune, init = {"sgd": {"learning_rate": 0.1}}, drawn(**SHAPES["mixture"][2])
    problem = compare.Problem(mixture, init, data, epochs=1, batch_size=3)
    counts = {"tuning_seeds": 2, "replicates": 2}
    return compare.compare(problem, ["sgd"], tune=tune, folder=folder, **counts)


@pytest.mark.slow
def test_a_comparison_says_how_it_was_made():
    log = compared().log
    assert log.verified.endswith(verify.AGREES)
    assert devices.releases().items() <= dataclasses.asdict(log.provenance).items()


@pytest.mark.parametrize("of", ["jaxnet", "jax", "jaxlib"])
@pytest.mark.slow
def test_tiles_of_other_releases_are_not_found_again(of, tmp_path, monkeypatch):
    def tiles():
        compared(tmp_path)
        return set(tmp_path.rglob("*.safetensors"))

    first = tiles()
    assert first
    assert tiles() == first
    others = devices.releases() | {of: "0.0.0"}
    monkeypatch.setattr(devices, "releases", lambda: others)
    assert len(tiles()) == 2 * len(first)


@pytest.mark.slow
def test_functions_of_many_programs_are_let_go():
    """The caches hold the last 64, and none beside them."""
    held, data = [], np.ones((2, 1), np.float32)

    def make():
        def rule(params, batch):
            return jnp.sum(params) + 0 * jnp.sum(batch), jnp.ones(1)

        held.append(weakref.ref(rule))
        return losses.Rule(rule)

    for fitted in (True, False):
        if fitted:
            fitting.fit(make(), optax.sgd(0.1), np.ones(1, np.float32), data, epochs=1)
        else:
            order = np.zeros((1, 2), np.int32)
            training.train(make(), optax.sgd(0.1), np.ones(1, np.float32), data, order)
    for _ in range(70):
        training._program(training.Plan(make(), optax.sgd), training.value)
        fitting._program(training.Plan(make(), optax.sgd), streams.Layout(1, False, None))
    gc.collect()
    assert [each() for each in held[:2]] == [None] * 2

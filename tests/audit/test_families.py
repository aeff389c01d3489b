"""Evidence for the families of mistakes: random plants of each are named, on random networks.

As a program, with `tests` on the path and the arguments `0 40 float64`, it prints the confusion
table of the networks of some seeds; with another number behind, the alarms at so many right
gradients of each network.
"""

import collections
import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import plants
import pytest

from jaxnet import losses, network
from jaxnet.audit import gradients

ACTIVATIONS = {
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "relu": jax.nn.relu,
    "leaky_relu": functools.partial(jax.nn.leaky_relu, negative_slope=0.1),
    "elu": jax.nn.elu,
    "softplus": jax.nn.softplus,
    "silu": jax.nn.silu,
    "softsign": jax.nn.soft_sign,
    "sin": jnp.sin,
    "arctan": jnp.arctan,
}
LOSSES = {
    "softmax cross-entropy": optax.losses.softmax_cross_entropy,
    "sigmoid cross-entropy": optax.losses.sigmoid_binary_cross_entropy,
    "half squares": lambda z, y: 0.5 * jnp.sum((z - y) ** 2),
    "mean squares": lambda z, y: (z - y) ** 2,
    "squares of sigmoid": lambda z, y: 0.5 * jnp.sum((jax.nn.sigmoid(z) - y) ** 2),
    "squares of tanh": lambda z, y: jnp.sum((jnp.tanh(z) - y) ** 2),
    "squares of softmax": lambda z, y: 0.5 * jnp.sum((jax.nn.softmax(z) - y) ** 2),
    "Huber": lambda z, y: jnp.sum(optax.losses.huber_loss(z, y)),
}


def audit(net, grads, form="layers", dtype=np.float64):
    """Audit gradients `[[W, b], ...]` of a drawn network, all in one precision.

    The loss is ours of `network.forward`, or a plain function of a dict of weights `[I, O]`.
    """
    cast = functools.partial(np.asarray, dtype=dtype)
    tree = _layers if form == "layers" else _dict
    params, claim = (tree(each, cast) for each in (net.params, grads))
    loss = (_ours if form == "layers" else _plain)(net.activation, net.loss, net.penalty)
    return gradients.audit(loss, params, (cast(net.x), cast(net.y)), claim)


def _layers(pairs, cast):
    return tuple(network.Layer(cast(w), cast(b)) for w, b in pairs)


def _dict(pairs, cast):
    # Named so that the order of the leaves is that of the layers.
    leaves = {}
    for k, (w, b) in enumerate(pairs):
        leaves |= {f"layer{k}_W": cast(w.T if w.ndim == 2 else w), f"layer{k}_b": cast(b)}
    return leaves


@functools.cache
def _ours(activation, loss, penalty):
    assert not penalty
    forward = functools.partial(network.forward, activation=ACTIVATIONS[activation])
    return losses.BatchLoss(forward, LOSSES[loss])


@functools.cache
def _plain(activation, loss, penalty):
    phi = ACTIVATIONS[activation]

    def of_params(params, batch):
        h, y = batch
        for k in range(len(params) // 2):
            z = h @ params[f"layer{k}_W"] + params[f"layer{k}_b"][None]
            h = phi(z)
        data = jnp.mean(jax.vmap(lambda a, b: jnp.mean(LOSSES[loss](a, b)))(z, y))
        squares = [jnp.sum(params[f"layer{k}_W"] ** 2) for k in range(len(params) // 2)]
        return data + penalty / 2 * sum(squares) if penalty else data

    return of_params


def judged(seed, dtype=np.float64, pairs=10, most=None):
    """What an audit says of the plants in one network, or of so many of them, drawn."""
    random = np.random.default_rng(seed)
    net = plants.draw(random)
    form = "layers" if seed % 2 else "dict"
    if form == "dict" and seed % 4:
        net = net._replace(penalty=0.05)
    every = [*plants.plants(random, net), *plants.pairs(random, net, pairs)]
    chosen = random.permutation(len(every))[:most]
    for plant in (every[k] for k in sorted(chosen)):
        rows = audit(net, plant.grads, form, dtype).rows
        yield net, plant, rows, plants.verdict(plant, rows)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("most", [16, pytest.param(None, marks=pytest.mark.slow)])
def test_plants_of_every_family_are_named(most):
    """On drawn networks, ours and plain ones with a regulariser, in both precisions."""
    outcomes = collections.Counter()
    for seed, dtype in ((1, np.float64), (2, np.float64), (5, np.float32)):
        outcomes += collections.Counter(each[-1] for each in judged(seed, dtype, most=most))
    assert outcomes.total() >= (45 if most else 160)
    assert outcomes["named"] >= 0.97 * outcomes.total(), outcomes
    assert not outcomes["wrong cause"] + outcomes["false alarm"]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_right_gradients_of_plain_losses_raise_no_alarm(dtype):
    for seed in range(20):
        random = np.random.default_rng(seed)
        net = plants.fill(random, [4, 6, 3], "sin", "squares of softmax", 7)
        net = net._replace(penalty=0.05)
        assert audit(net, plants.backward(cast(net, dtype)), "dict", dtype).right


def cast(net, dtype):
    """A network in another precision, as one would compute in it."""
    params = [(w.astype(dtype), b.astype(dtype)) for w, b in net.params]
    return net._replace(params=params, x=net.x.astype(dtype), y=net.y.astype(dtype))


def alarms(seeds, repeats, dtype):
    """Count right gradients, and those of them that are called wrong."""
    every = wrong = 0
    for seed in seeds:
        random = np.random.default_rng(seed)
        drawn = plants.draw(random)
        for _ in range(repeats):
            rows = len(drawn.x)
            net = plants.fill(random, drawn.sizes, drawn.activation, drawn.loss, rows)
            said = audit(net, plants.backward(cast(net, dtype)), "layers", dtype)
            every += 1
            if any(row.verdict == "wrong" for row in said.rows):
                wrong += 1
                print(seed, net.sizes, rows, net.activation, net.loss, said, sep="\n", flush=True)
    print(f"{wrong} alarms in {every} right gradients of {np.dtype(dtype)}")


def count(seeds, dtype):
    """Count by family what the audit says of plants, and show those that it does not name."""
    table = collections.defaultdict(collections.Counter)
    for seed in seeds:
        for net, plant, rows, outcome in judged(seed, dtype):
            table["pair" if " + " in plant.name else plant.name][outcome] += 1
            if outcome != "named":
                about = (seed, net.sizes, len(net.x), net.activation, net.loss)
                print(*about, plant.name, outcome, flush=True)
                for k in plant.words:
                    print("      ", rows[k].name, rows[k].diagnosis[:200])
    return table


def report(table):
    total = sum(table.values(), collections.Counter())
    kinds = ["named", "unexplained", "wrong cause", "false alarm"]
    print(f"{'':50}" + "".join(f"{kind:>13}" for kind in kinds))
    for name, counts in [*sorted(table.items()), ("all", total)]:
        print(f"{name:50}" + "".join(f"{counts[kind]:13}" for kind in kinds), flush=True)


if __name__ == "__main__":
    _, first, last, precision, *right = sys.argv
    if right:
        alarms(range(int(first), int(last)), int(right[0]), np.dtype(precision))
    else:
        report(count(range(int(first), int(last)), np.dtype(precision)))

"""Evidence for the families of mistakes: random plants of each are named, on random networks.

Run as a program it prints the confusion table: `python tests/audit/test_families.py 40`.
"""

import collections
import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import plants

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
            z = h @ params[f"layer{k}_W"] + params[f"layer{k}_b"]
            h = phi(z)
        data = jnp.mean(jax.vmap(lambda a, b: jnp.mean(LOSSES[loss](a, b)))(z, y))
        squares = [jnp.sum(params[f"layer{k}_W"] ** 2) for k in range(len(params) // 2)]
        return data + penalty / 2 * sum(squares) if penalty else data

    return of_params


def count(seeds, dtype=np.float64, pairs=10, show=False):
    """Count by family what the audit says of plants in the networks of some seeds."""
    table = collections.defaultdict(collections.Counter)
    for seed in seeds:
        random = np.random.default_rng(seed)
        net = plants.draw(random)
        form = "layers" if seed % 2 else "dict"
        if form == "dict" and seed % 4:
            net = net._replace(penalty=0.05)
        every = [*plants.plants(random, net), *plants.pairs(random, net, pairs)]
        for plant in every:
            said = audit(net, plant.grads, form, dtype)
            outcome = plants.verdict(plant, said.rows)
            name = "pair" if " + " in plant.name else plant.name
            table[name][outcome] += 1
            if show and outcome != "named":
                print(seed, net.sizes, len(net.x), net.activation, net.loss, plant.name, outcome)
                for k in plant.words:
                    print("      ", k, said.rows[k].shape, said.rows[k].diagnosis[:150])
    return table


def report(table):
    total = sum(table.values(), collections.Counter())
    kinds = ["named", "unexplained", "wrong cause", "false alarm"]
    print(f"{'':50}" + "".join(f"{kind:>13}" for kind in kinds))
    for name, counts in [*table.items(), ("all", total)]:
        print(f"{name:50}" + "".join(f"{counts[kind]:13}" for kind in kinds))


if __name__ == "__main__":
    first, last, dtype = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    report(count(range(first, last), np.dtype(dtype), show=True))

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


def audit(net, grads, dtype=np.float64):
    """Audit gradients `[[W, b], ...]` of a drawn network, all in one precision."""
    forward = functools.partial(network.forward, activation=ACTIVATIONS[net.activation])
    loss = _loss(net.activation, net.loss)
    cast = functools.partial(np.asarray, dtype=dtype)
    params, claim = (
        tuple(network.Layer(cast(w), cast(b)) for w, b in each) for each in (net.params, grads)
    )
    return gradients.audit(loss, params, (cast(net.x), cast(net.y)), claim)


@functools.cache
def _loss(activation, loss):
    forward = functools.partial(network.forward, activation=ACTIVATIONS[activation])
    return losses.BatchLoss(forward, LOSSES[loss])


def count(seeds, dtype=np.float64, pairs=10, show=0):
    """Count by family what the audit says of plants in the networks of some seeds."""
    table = collections.defaultdict(collections.Counter)
    for seed in seeds:
        random = np.random.default_rng(seed)
        net = plants.draw(random)
        every = [*plants.plants(random, net), *plants.pairs(random, net, pairs)]
        for plant in every:
            said = audit(net, plant.grads, dtype)
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

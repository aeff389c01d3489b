"""Networks drawn at random to be audited, with their twins in plain NumPy."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxnet import losses, network

JAX_ACTIVATIONS = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "softplus": jax.nn.softplus,
}
LOSSES = {
    (name, kind): losses.BatchLoss(functools.partial(network.forward, activation=phi), example)
    for name, phi in JAX_ACTIVATIONS.items()
    for kind, example in (
        ("softmax", optax.losses.softmax_cross_entropy),
        ("squares", optax.losses.l2_loss),
    )
}


def draw(setting, seed, dtype=np.float64):
    """A random network with a batch: `(loss, params, batch)` and their NumPy twin."""
    sizes, rows, activation, kind = setting
    random = np.random.default_rng(seed)
    params = [
        (random.normal(size=(o, i)) / np.sqrt(i) * 1.5, random.normal(size=o) * 0.5)
        for i, o in itertools.pairwise(sizes)
    ]
    x = random.normal(size=(rows, sizes[0]))
    if kind == "softmax":
        y = np.eye(sizes[-1])[random.integers(sizes[-1], size=rows)]
    else:
        y = random.normal(size=(rows, sizes[-1]))
    cast = functools.partial(np.asarray, dtype=dtype)
    ours = tuple(network.Layer(cast(w), cast(b)) for w, b in params)
    return LOSSES[activation, kind], ours, (cast(x), cast(y)), (params, x, y)


def layers_of(grads):
    return tuple(network.Layer(w, b) for w, b in grads)

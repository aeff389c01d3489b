"""Part: a small convolutional network with dropout on digits, by `fit` and by a loop by hand."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key, PyTree

import jaxnet
from experiments.benchmark.timing import Group, Section, compare
from experiments.benchmark.work import BATCH_SIZE, DIGITS_EPOCHS, Size, digits_workload

RATE, KERNELS, KEPT = 1e-3, 16, 0.5
BY_HAND, OURS = "loop by hand, jitted scan", "jaxnet, fit"


def forward(params: PyTree, x: Float[Array, "64"], key: Key[Array, ""] | None = None) -> Array:
    """Give the outputs of one picture: kernels of 3 by 3, the largest of 2 by 2, and dropout."""
    kernels, layers = params
    picture, axes = x.reshape(1, 8, 8, 1), ("NHWC", "HWIO", "NHWC")
    maps = jax.lax.conv_general_dilated(picture, kernels, (1, 1), "SAME", dimension_numbers=axes)
    maps = jax.nn.relu(maps).reshape(4, 2, 4, 2, KERNELS).max((1, 3)).ravel()
    if key is not None:
        maps = jnp.where(jax.random.bernoulli(key, KEPT, maps.shape), maps / KEPT, 0.0)
    return jaxnet.forward(layers, maps)


def init() -> PyTree:
    """Draw the parameters."""
    kernels = jax.nn.initializers.he_uniform()(jax.random.key(1), (3, 3, 1, KERNELS))
    return kernels, jaxnet.init(jax.random.key(0), [16 * KERNELS, 10])


_loss = optax.losses.softmax_cross_entropy_with_integer_labels


@jax.jit
def scanned(params: PyTree, data: Any, order: Any, key: Key[Array, ""]) -> Float[Array, " T"]:
    """Take the steps of an order, written out as whoever has no jaxnet writes it."""
    optimizer = optax.adam(RATE)

    def mean(params: PyTree, x: Array, y: Array, key: Array) -> Array:
        keys = jax.random.split(key, len(x))
        return jnp.mean(_loss(jax.vmap(forward, (None, 0, 0))(params, x, keys), y))

    def step(carry: PyTree, at: tuple[Array, Array]) -> tuple[PyTree, Array]:
        (params, state), (t, rows) = carry, at
        x, y = (leaf[rows] for leaf in data)
        value, grads = jax.value_and_grad(mean)(params, x, y, jax.random.fold_in(key, t))
        updates, state = optimizer.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), value

    start = params, optimizer.init(params)
    return jax.lax.scan(step, start, (jnp.arange(len(order)), order))[1]


def by_hand(params: PyTree, data: Any) -> Float[np.ndarray, "1 E"]:
    """Shuffle as `fit` does, draw what it draws, and take the steps."""
    order = jaxnet.shuffled(len(data[0]), BATCH_SIZE, DIGITS_EPOCHS, 0)
    key = jax.random.fold_in(jax.random.key(0), np.uint32(2**32 - 1))
    losses = np.asarray(scanned(params, data, order, key))
    return losses.reshape(1, DIGITS_EPOCHS, -1).mean(2)


def fitted(loss: Any, optimizer: Any, params: PyTree, data: Any) -> Float[np.ndarray, "1 E"]:
    """Do the same by `fit`."""
    fit = jaxnet.fit(loss, optimizer, params, data, epochs=DIGITS_EPOCHS, batch_size=BATCH_SIZE)
    return fit.history["loss"][None]


def dropout(size: Size) -> Section:
    """Time both on the same rows, starts, batches and draws.

    Raises:
        RuntimeError: losses that differ.
    """
    params, data = init(), jax.device_put(digits_workload().data)
    loss, optimizer = jaxnet.BatchLoss(forward, _loss), optax.adam(RATE)
    ways = {
        BY_HAND: functools.partial(by_hand, params, data),
        OURS: functools.partial(fitted, loss, optimizer, params, data),
    }
    title = f"One run of a convolution with dropout on digits, {DIGITS_EPOCHS} epochs"
    group: Group = compare(title, ways, size.rounds)
    return Section([group], {"fit / loop by hand": 1 / group.times(BY_HAND)})

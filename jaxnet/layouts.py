"""How many runs are stored and computed together: each by itself, or number by number.

Runs come in K items of L learning rates that share their item's batch.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PyTree, Shaped

from jaxnet import lanes


class Layout(NamedTuple):
    """A way to store runs while they are trained.

    Attributes:
        put: stores leaves `[K, L, ...]`.
        get: gives stored leaves back so; takes them and `(K, L)`.
        map: gives of a function `(run, batch) -> result` one of stored runs, items' batches
            `[K, ...]` or None, and `(K, L)`.
    """

    put: Callable[[PyTree], PyTree]
    get: Callable[[PyTree, tuple[int, ...]], PyTree]
    map: Callable[[Callable[..., Any]], Callable[..., Any]]


def nested(function: Callable[..., Any]) -> Callable[..., Any]:
    """Map a function of pytrees over the axes K, L of their leaves."""
    return jax.vmap(jax.vmap(function))


def repeated(
    items: PyTree[Shaped[jax.Array, "K ..."]], shape: tuple[int, ...]
) -> PyTree[Shaped[jax.Array, "K L ..."]]:
    """Repeat what an item has for each of its learning rates."""
    return jax.tree.map(
        lambda leaf: jnp.broadcast_to(leaf[:, None], (*shape, *leaf.shape[1:])), items
    )


def _put(runs: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.moveaxis(leaf.reshape(-1, *leaf.shape[2:]), 0, -1), runs)


def _get(stored: PyTree, shape: tuple[int, ...]) -> PyTree:
    return jax.tree.map(
        lambda leaf: jnp.moveaxis(leaf, -1, 0).reshape(*shape, *leaf.shape[:-1]), stored
    )


def _in_rates(function: Callable[..., Any]) -> Callable[..., Any]:
    mapped = jax.vmap(jax.vmap(function, in_axes=(0, None)))
    return lambda runs, batches, shape: mapped(runs, batches)


def _in_lanes(function: Callable[..., Any]) -> Callable[..., Any]:
    mapped = lanes.vmap(function)
    return lambda runs, batches, shape: mapped(runs, _put(repeated(batches, shape)))


# Each run by itself, rates inside: one large product with the batch of their item.
NESTED = Layout(lambda runs: runs, lambda stored, shape: stored, _in_rates)
# Number by number, the runs along the last axis: what is computed of a few numbers is vectorised.
LANES = Layout(_put, _get, _in_lanes)

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
        put: stores leaves `[K, L, ...]`. get: gives stored leaves back so.
        map: gives of a function `(run, batch) -> result` one of stored runs and of items' batches
            `[K, ...]` or None.
    """

    put: Callable[[PyTree], PyTree]
    get: Callable[[PyTree], PyTree]
    map: Callable[[Callable[..., Any]], Callable[..., Any]]


def nested(function: Callable[..., Any]) -> Callable[..., Any]:
    """Map a function of pytrees over the axes K, L of their leaves."""
    return jax.vmap(jax.vmap(function))


def repeated(
    items: PyTree[Shaped[jax.Array, "K ..."]], rates: int
) -> PyTree[Shaped[jax.Array, "K L ..."]]:
    """Repeat what an item has for each of its learning rates."""
    return jax.tree.map(
        lambda leaf: jnp.broadcast_to(leaf[:, None], (len(leaf), rates, *leaf.shape[1:])), items
    )


def _moved(tree: PyTree, these: tuple[int, ...], there: tuple[int, ...]) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, these, there), tree)


def _in_lanes(function: Callable[..., Any]) -> Callable[..., Any]:
    def mapped(runs: PyTree, batches: PyTree) -> PyTree:
        last = _moved(batches, (0,), (-1,))
        return lanes.vmap(lambda runs: lanes.vmap(function)(runs, last))(runs)

    return mapped


# Each run by itself, rates inside: one large product with the batch of their item.
NESTED = Layout(
    lambda runs: runs,
    lambda stored: stored,
    lambda function: jax.vmap(jax.vmap(function, in_axes=(0, None))),
)
# Number by number, the axes K, L last: what is computed of a few numbers is vectorised over runs.
LANES = Layout(
    lambda runs: _moved(runs, (0, 1), (-2, -1)),
    lambda stored: _moved(stored, (-2, -1), (0, 1)),
    _in_lanes,
)

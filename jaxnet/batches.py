"""Order arrays: a run is the rows it sees, step by step, and nothing else.

Row t of an `order [T, B]` lists the B rows of the data that step t trains on. Orders are made
by NumPy, outside the compiled program, where a permutation costs neither compile time nor a trace.

Shapes: N rows of data, T steps of B rows.
"""

from collections.abc import Callable, Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int32, PyTree, Shaped

from jaxnet._guards import checks
from jaxnet.errors import InputError

Stream = Callable[[int], Iterable[PyTree]]
"""A function of the epoch, from 0, that gives its batches."""


def full_batch(rows: int, epochs: int) -> Int32[np.ndarray, "T N"]:
    """Order all rows in one step for each epoch.

    Raises:
        InputError: a count below one.
    """
    checks.at_least_one(rows=rows, epochs=epochs)
    return np.tile(np.arange(rows, dtype=np.int32), (epochs, 1))


def shuffled(rows: int, batch_size: int, epochs: int, seed: int) -> Int32[np.ndarray, "T B"]:
    """Order a fresh shuffle of the rows in each epoch, cut into `rows // batch_size` batches.

    Rows that do not fill a last batch sit out that epoch, others in the next. The same seed gives
    the same order, whatever is trained on it.

    Raises:
        InputError: a count below one, or a batch larger than the data.
    """
    checks.at_least_one(rows=rows, epochs=epochs)
    _batch_within(rows, batch_size)
    used = rows - rows % batch_size
    order = np.stack([shuffle(rows, seed, epoch)[:used] for epoch in range(epochs)])
    return order.reshape(-1, batch_size)


def shuffle(rows: int, seed: int, epoch: int) -> Int32[np.ndarray, " N"]:
    """Shuffle the rows for one epoch; the same seed and epoch give the same shuffle.

    Raises:
        InputError: a negative seed.
    """
    if seed < 0:
        raise InputError(f"seed: wanted at least 0; got {seed}")
    return np.random.default_rng([seed, epoch]).permutation(rows).astype(np.int32)


def stream(
    data: PyTree[Shaped[np.ndarray, "N ..."]], batch_size: int, seed: int, drop_last: bool = False
) -> Stream:
    """Make a stream of shuffled batches, gathered as they are asked for, such as of `np.memmap`s.

    It gives the batches that `training.fit` takes of the same data, seed and batch size in memory.

    Raises:
        InputError: a batch size below one or larger than the data.
    """
    rows = len(jax.tree.leaves(data)[0])
    _batch_within(rows, batch_size)

    def batches_of(epoch: int) -> Iterator[PyTree]:
        order = shuffle(rows, seed, epoch)
        for first in range(0, rows, batch_size):
            chosen = order[first : first + batch_size]
            if len(chosen) == batch_size or not drop_last:
                yield jax.tree.map(lambda leaf, chosen=chosen: leaf[chosen], data)

    return batches_of


def take(
    data: PyTree[Shaped[Array | np.ndarray, "N ..."]], rows: Int32[Array | np.ndarray, " B"]
) -> PyTree[Shaped[Array, "B ..."]]:
    """Gather the given rows of every leaf."""
    return jax.tree.map(lambda leaf: jnp.take(leaf, rows, axis=0, mode="clip"), data)


def _batch_within(rows: int, batch_size: int) -> None:
    if not 1 <= batch_size <= rows:
        raise InputError(f"batch_size: wanted 1 to the {rows} rows of the data; got {batch_size}")

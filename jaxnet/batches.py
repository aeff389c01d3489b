"""Order arrays: a run is the rows it sees, step by step, and nothing else.

Row t of an `order [T, B]` lists the B rows of the data that step t trains on. Orders are made
by NumPy, outside the compiled program, where a permutation costs neither compile time nor a trace.

Shapes: N rows of data, T steps of B rows.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int32, PyTree, Shaped

from jaxnet._guards import checks


def full_batch(rows: int, epochs: int) -> Int32[np.ndarray, "T N"]:
    """Order all rows in one step for each epoch.

    Raises:
        InputError: a count below one, or more than fits the memory.
    """
    checks.order_size(rows, epochs)
    return np.tile(np.arange(rows, dtype=np.int32), (epochs, 1))


def shuffled(rows: int, batch_size: int, epochs: int, seed: int) -> Int32[np.ndarray, "T B"]:
    """Order a fresh shuffle of the rows in each epoch, cut into `rows // batch_size` batches.

    Rows that do not fill a last batch sit out that epoch, others in the next. The same seed gives
    the same order, whatever is trained on it.

    Raises:
        InputError: a count below one, more than fits the memory, a batch larger than the data, or a
            seed as in `shuffle`.
    """
    checks.order_size(rows, epochs)
    checks.batch_size(batch_size, rows)
    used = rows - rows % batch_size
    order = np.stack([shuffle(rows, seed, epoch)[:used] for epoch in range(epochs)])
    return order.reshape(-1, batch_size)


def shuffle(rows: int, seed: int, epoch: int) -> Int32[np.ndarray, " N"]:
    """Shuffle the rows for one epoch; the same seed and epoch give the same shuffle.

    Raises:
        InputError: a seed that is no whole number of at least 0.
    """
    checks.seed(seed)
    return np.random.default_rng([seed, epoch]).permutation(rows).astype(np.int32)


def take(
    data: PyTree[Shaped[Array | np.ndarray, "N ..."]], rows: Int32[Array | np.ndarray, " B"]
) -> PyTree[Shaped[Array, "B ..."]]:
    """Gather the given rows of every leaf."""
    return jax.tree.map(lambda leaf: jnp.take(leaf, rows, axis=0, mode="clip"), data)


def count(data: PyTree[Shaped[Array | np.ndarray, "N ..."]]) -> int:
    """Count the rows."""
    return len(jax.tree.leaves(data)[0])

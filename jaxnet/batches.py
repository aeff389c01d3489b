"""Order arrays: a run is the rows it sees, step by step, and nothing else.

Row t of an `order [T, B]` lists the B rows of the data that step t trains on. Orders are made
by NumPy, outside the compiled program, where a permutation costs neither compile time nor a trace.

Shapes: N rows of data, T steps of B rows.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int32, PyTree, Shaped


def full_batch(rows: int, epochs: int) -> Int32[np.ndarray, "T N"]:
    """Order all rows in one step for each epoch.

    Raises:
        ValueError: a count below one.
    """
    _at_least_one(rows=rows, epochs=epochs)
    return np.tile(np.arange(rows, dtype=np.int32), (epochs, 1))


def shuffled(rows: int, batch_size: int, epochs: int, seed: int) -> Int32[np.ndarray, "T B"]:
    """Order a fresh shuffle of the rows in each epoch, cut into `rows // batch_size` batches.

    Rows that do not fill a last batch sit out that epoch, others in the next. The same seed gives
    the same order, whatever is trained on it.

    Raises:
        ValueError: a count below one, or a batch larger than the data.
    """
    _at_least_one(rows=rows, batch_size=batch_size, epochs=epochs)
    if batch_size > rows:
        raise ValueError(
            f"batch_size: wanted at most the {rows} rows of the data; got {batch_size}"
        )
    random = np.random.default_rng(seed)
    used = rows - rows % batch_size
    order = np.stack([random.permutation(rows)[:used] for _ in range(epochs)])
    return order.reshape(-1, batch_size).astype(np.int32)


def take(
    data: PyTree[Shaped[Array | np.ndarray, "N ..."]], rows: Int32[Array | np.ndarray, " B"]
) -> PyTree[Shaped[Array, "B ..."]]:
    """Gather the given rows of every leaf."""
    return jax.tree.map(lambda leaf: jnp.take(leaf, rows, axis=0, mode="clip"), data)


def _at_least_one(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name}: wanted at least 1; got {count}")

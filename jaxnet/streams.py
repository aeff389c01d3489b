"""How the rows of a run come, chunk by chunk: from memory, or from a stream larger than it.

Shapes: N rows of data, B rows of a batch, T steps, E epochs.
"""

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Int32, PyTree, Shaped

from jaxnet import batches
from jaxnet._guards import checks, frames
from jaxnet.errors import InputError

# Numbers of data that a stack of batches holds.
_STACK = 2**22

Stream = Callable[[int], Iterable[PyTree]]
"""A function of the epoch, from 0, that gives its batches."""


def stream(data: PyTree, batch_size: int, seed: int, drop_last: bool = False) -> Stream:
    """Make a stream of shuffled batches, gathered as they are asked for, such as of `np.memmap`s.

    It gives the batches that `fit` takes of the same data, seed and batch size in memory.

    Raises:
        InputError: a batch size below one or larger than the data, arrays of unequal rows, or a
            seed that is no whole number of at least 0.
    """
    data = frames.arrays(data)
    rows = checks.rows(data)
    checks.batch_size(batch_size, rows)
    checks.seed(seed)

    def batches_of(epoch: int) -> Iterator[PyTree]:
        order = batches.shuffle(rows, seed, epoch)
        for first in range(0, rows, batch_size):
            chosen = order[first : first + batch_size]
            if len(chosen) == batch_size or not drop_last:
                yield jax.tree.map(lambda leaf, chosen=chosen: leaf[chosen], data)

    return batches_of


def stacked(
    stream: Iterable[PyTree[Shaped[Array | np.ndarray, "B ..."]]],
) -> Iterator[tuple[PyTree, np.ndarray, int]]:
    """Stack batches of one shape on the device: rows, their order, and the count.

    A chunk that is not full is padded to the shape of the others and counts fewer steps.
    """

    def kind(batch: PyTree) -> Any:
        rows = checks.data(batch, "data")
        return rows, jax.tree.structure(batch), [np.shape(x) for x in jax.tree.leaves(batch)]

    for (size, _, shapes), group in itertools.groupby(map(frames.arrays, stream), kind):
        most, together = max(1, _STACK // sum(map(math.prod, shapes))), 0
        while stack := list(itertools.islice(group, most)):
            count = len(stack)
            together = together or count
            stack += stack[:1] * (together - count)
            rows = jax.device_put(jax.tree.map(lambda *leaves: np.concatenate(leaves), *stack))
            order = np.arange(together * size, dtype=np.int32).reshape(together, size)
            del stack  # Else the batches of this chunk would be kept while the next are read.
            yield rows, order, count


class Layout(NamedTuple):
    """How the rows of an epoch become batches: of B rows, and a smaller last one or none."""

    batch_size: int
    drop_last: bool
    sharding: jax.sharding.NamedSharding | None

    def parts(self, rows: Any) -> list[tuple[int, Any]]:
        """Cut rows into parts of equal batches, each after its first step: shape [T, B]."""
        cut = len(rows) - len(rows) % self.batch_size
        parts = [(0, rows[:cut].reshape(-1, self.batch_size))]
        if cut < len(rows) and not self.drop_last:
            parts.append((cut // self.batch_size, rows[cut:][None]))
        return parts

    def spread(self, batch: PyTree) -> PyTree:
        """Spread a batch over devices, where these divide it."""
        if self.sharding is None or batches.count(batch) % self.sharding.num_devices:
            return batch
        # Of a mesh whose axes are explicit, as jax.make_mesh makes it, one of the same devices.
        given = self.sharding.mesh
        mesh = jax.sharding.Mesh(np.asarray(given.devices), given.axis_names)
        own = jax.sharding.NamedSharding(mesh, self.sharding.spec)
        return jax.lax.with_sharding_constraint(batch, own)


class Chunk(NamedTuple):
    """What one call of the program of `fit` goes through.

    Attributes:
        data: N rows. orders: shape [E, N], of epochs or, of a stream, the part of one.
        offset: steps of the epoch that came before these orders.
        epochs: to run. stop: steps of each to take. ends: whether it ends with the last.
    """

    data: PyTree
    orders: Int32[Array | np.ndarray, "E N"]
    offset: Array | int
    epochs: Array | int
    stop: Array | int
    ends: Array | bool


def in_memory(
    data: PyTree, layout: Layout, seed: int, epochs: range, alone: bool | None
) -> Iterator[tuple[int, Chunk]]:
    """Give the batch size and chunks of as many epochs as a third of a second holds.

    Args:
        epochs: to go through. alone: whether each is to have a chunk of its own; where False, at
            first, where None, none.
    """
    rows = batches.count(data)
    size = layout.batch_size or rows
    steps = rows // size if layout.drop_last else -(-rows // size)
    most = 1 if alone else max(1, min(len(epochs), 2**20 // rows))
    together, done, on_device = most if alone is None else 1, epochs.start, jax.device_put(data)
    while done < epochs.stop:
        count = min(together, epochs.stop - done)
        orders = np.zeros((most, rows), np.int32)
        for i in range(count):
            orders[i] = np.arange(rows) if size == rows else batches.shuffle(rows, seed, done + i)
        began = time.monotonic()
        yield size, Chunk(on_device, orders, 0, count, stop=steps, ends=True)
        done += count
        if time.monotonic() - began < 0.15:
            together = min(2 * together, most)


def streamed(
    data: Stream, steps: int, epochs: range, check: Callable[[PyTree], None]
) -> Iterator[tuple[int, Chunk]]:
    """Give the batch size and chunks of batches, and after those of an epoch one that ends it.

    Args:
        data: the stream. steps: of the first epoch that are done. epochs: to go through.
        check: refuses rows that cannot be trained on.

    Raises:
        InputError: an epoch without batches.
    """
    for epoch in epochs:
        size, chunk = 0, None
        for rows, order, count in stacked(itertools.islice(data(epoch), steps, None)):
            check(rows)
            size = order.shape[1]
            chunk = Chunk(rows, order.reshape(1, -1), steps, 1, stop=count, ends=False)
            yield size, chunk
            steps += count
        if chunk is None:
            raise InputError(f"data: expected batches in epoch {epoch}, got none; give some")
        yield size, chunk._replace(offset=steps, stop=0, ends=True)
        steps = 0

"""How the rows of a run come, chunk by chunk: from memory, or from a stream larger than it.

Shapes: N rows of data, B rows of a batch, T steps, E epochs.
"""

import dataclasses
import functools
import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, cast

import jax
import numpy as np
from jaxtyping import Array, Int32, PyTree, Shaped

from jaxnet import batches
from jaxnet._guards import checks, frames, hosts
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
    return _gathered(data, Layout(batch_size, drop_last, None), seed)


def _gathered(data: PyTree, layout: "Layout", seed: int) -> Stream:
    """Make a stream of the batches of a layout, of many hosts of this one's part of each."""
    rows = batches.count(data)
    size = layout.batch_size or rows
    parts, own = (jax.process_count(), jax.process_index()) if layout.hosts else (1, 0)

    def batches_of(epoch: int) -> Iterator[PyTree]:
        for _, part in layout.sized(size).parts(_order(rows, size, seed, epoch)):
            divided = layout.divide(part.shape[1])
            for chosen in np.split(part, parts, axis=1)[own] if divided else part:
                batch = jax.tree.map(lambda leaf, chosen=chosen: leaf[chosen], data)
                yield batch if divided else _Whole(batch)

    return batches_of


class _Whole(NamedTuple):
    """A batch that every host has whole: a last one that their devices do not divide."""

    rows: PyTree


def _order(rows: int, batch_size: int, seed: int, epoch: int) -> Int32[np.ndarray, " N"]:
    if batch_size == rows:
        return np.arange(rows, dtype=np.int32)
    return batches.shuffle(rows, seed, epoch)


def stacked(
    stream: Iterable[PyTree[Shaped[Array | np.ndarray, "B ..."]]],
    layout: "Layout",
    check: Callable[[PyTree], None],
) -> Iterator[tuple[PyTree, np.ndarray, int]]:
    """Stack batches of one shape on the devices: rows, their order, and the count.

    A chunk that is not full is padded to the shape of the others and counts fewer steps.

    Args:
        stream: the batches, of many hosts this one's part of each.
        layout: says where they go. check: refuses rows that cannot be trained on.
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
            rows = jax.tree.map(lambda *leaves: np.concatenate(leaves), *stack)
            divided = not isinstance(rows, _Whole)
            rows = rows if divided else rows.rows
            check(rows)
            rows = layout.placed(rows, together, divided=divided)
            whole = size * jax.process_count() if layout.hosts and divided else size
            order = np.arange(together * whole, dtype=np.int32).reshape(together, whole)
            del stack  # Else the batches of this chunk would be kept while the next are read.
            yield rows, order, count


@dataclasses.dataclass(frozen=True)
class Layout:
    """How the rows of an epoch become batches: of B rows, and a smaller last one or none.

    Over the devices of many hosts each has its part of the rows of each batch; chunks of these
    have the axis of the steps first, so that no row of a batch moves between hosts.
    """

    batch_size: int
    drop_last: bool
    sharding: jax.sharding.NamedSharding | None

    def __post_init__(self) -> None:
        """Refuse what does not say how axes are spread over devices."""
        if not isinstance(self.sharding, jax.sharding.NamedSharding | None):
            raise InputError(
                "sharding: expected a jax.sharding.NamedSharding, such as "
                f"jaxnet.devices.batch_sharding() gives, or None, got {self.sharding!r}; give one"
            )

    def sized(self, batch_size: int) -> "Layout":
        """Give the same of another batch size."""
        return dataclasses.replace(self, batch_size=batch_size)

    def parts(self, rows: Any) -> list[tuple[int, Any]]:
        """Cut rows into parts of equal batches, each after its first step: shape [T, B]."""
        cut = len(rows) - len(rows) % self.batch_size
        parts = [(0, rows[:cut].reshape(-1, self.batch_size))]
        if cut < len(rows) and not self.drop_last:
            parts.append((cut // self.batch_size, rows[cut:][None]))
        return parts

    @property
    def hosts(self) -> bool:
        """Tell whether batches are spread over the devices of many hosts."""
        return self.sharding is not None and not self.sharding.is_fully_addressable

    def check(self, rows: int | None) -> None:
        """Refuse batches of so many rows in all that the devices of many hosts do not divide.

        Raises:
            InputError: naming them.
        """
        size = self.batch_size or rows or 0
        if self.sharding and self.hosts and not self.divide(size):
            raise InputError(
                "batch_size: expected one that the devices of all hosts divide, "
                f"{self.sharding.num_devices}, got {size}; give another"
            )

    def divide(self, rows: int) -> bool:
        """Tell whether the devices, one where there is no sharding, divide the rows of a batch."""
        return self.sharding is None or rows % self.sharding.num_devices == 0

    def spread(self, batch: PyTree) -> PyTree:
        """Spread a batch over devices, where these divide it."""
        if self.sharding is None or not self.divide(batches.count(batch)):
            return batch
        return jax.lax.with_sharding_constraint(batch, self._over(*self.sharding.spec))

    def placed(self, rows: PyTree, steps: int, *, divided: bool) -> PyTree:
        """Put the rows of so many steps on the device, or with other hosts' on the devices of all.

        Args:
            rows: of this host. steps: how many batches they are.
            divided: whether each host has others, or all have the same.

        Raises:
            InputError: rows that this host's devices do not divide.
        """
        if not (self.hosts and self.sharding):
            return jax.device_put(rows)
        size, own = batches.count(rows) // steps, jax.local_device_count()
        if divided and size % own:
            raise InputError(
                f"data: expected batches that the {own} devices of this host divide, got {size} "
                "rows; leave out what is over"
            )
        sharding = self._over(None, *self.sharding.spec) if divided else self._over()

        def place(leaf: Any) -> Array:
            leaf = np.reshape(leaf, (steps, size, *np.shape(leaf)[1:]))
            leaf = leaf.astype(jax.dtypes.canonicalize_dtype(leaf.dtype))
            return jax.make_array_from_process_local_data(sharding, leaf)

        return jax.tree.map(place, rows)

    def take(self, data: PyTree, rows: Any) -> PyTree:
        """Gather a batch in a program, spread over devices."""
        if not self.hosts:
            return self.spread(batches.take(data, rows))
        return self.spread(jax.tree.map(lambda leaf: leaf[rows[0] // len(rows)], data))

    def whole(self, data: PyTree, rows: Any) -> PyTree:
        """Gather a batch whole on this host."""
        if not self.hosts:
            return batches.take(data, rows)
        return hosts.local(_gathering(self)(data, rows))

    def first(self, chunk: "Chunk") -> tuple[PyTree, tuple[Any, ...]]:
        """Give rows of this host and the orders in them of a chunk's first batches."""
        orders = tuple(part[0] for _, part in self.parts(chunk.orders[0]) if len(part))
        if not self.hosts:
            return chunk.data, orders
        return self.whole(chunk.data, orders[0]), (np.arange(len(orders[0]), dtype=np.int32),)

    def jit(self, function: Callable[..., PyTree]) -> Any:
        """Compile a function, what it gives whole on every host."""
        return jax.jit(function, out_shardings=self._over() if self.hosts else None)

    def local(self, tree: PyTree) -> PyTree:
        """Give what a compiled function gave as arrays of this host."""
        return hosts.local(tree) if self.hosts else tree

    def _over(self, *axes: Any) -> jax.sharding.NamedSharding | None:
        if self.sharding is None:
            return None
        # Of a mesh whose axes are explicit, as jax.make_mesh makes it, one of the same devices.
        given = self.sharding.mesh
        mesh = jax.sharding.Mesh(np.asarray(given.devices), given.axis_names)
        return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes))


@functools.lru_cache(maxsize=64)
def _gathering(layout: Layout) -> Callable[[PyTree, Any], PyTree]:
    return layout.jit(layout.take)


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


def chunks(
    data: PyTree | Stream,
    layout: Layout,
    epochs: range,
    *,
    seed: int,
    steps: int,
    alone: bool | None,
    check: Callable[[PyTree], None],
) -> Iterator[tuple[int, Chunk]]:
    """Give the batch size and the next chunk, of rows in memory, of a stream or of many hosts.

    Args:
        data: N rows, or a stream. layout: of their batches. epochs: to go through.
        seed: of shuffles. steps: of the first epoch that are done.
        alone: as `in_memory` has it. check: as `streamed` has it.
    """
    if not (callable(data) or layout.hosts):
        return in_memory(data, layout, seed, epochs, alone)
    stream = cast(Stream, data) if callable(data) else _gathered(data, layout, seed)
    every = streamed(stream, layout, steps, epochs, check)
    return _together(every) if layout.hosts else every


def _together(chunks: Iterator[tuple[int, Chunk]]) -> Iterator[tuple[int, Chunk]]:
    """Give chunks that all hosts have alike, or have all raise what one raised."""
    while True:
        with hosts.agreed(many=True) as facts:
            each = next(chunks, None)
            if each:
                size, chunk = each
                steps = f"{chunk.stop} batches of {size} after {chunk.offset}"
                facts["data"] = "the end of an epoch" if chunk.ends else steps
        if each is None:
            return
        yield each


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
            orders[i] = _order(rows, size, seed, done + i)
        began = time.monotonic()
        yield size, Chunk(on_device, orders, 0, count, stop=steps, ends=True)
        done += count
        if time.monotonic() - began < 0.15:
            together = min(2 * together, most)


def streamed(
    data: Stream,
    layout: Layout,
    steps: int,
    epochs: range,
    check: Callable[[PyTree], None],
) -> Iterator[tuple[int, Chunk]]:
    """Give the batch size and chunks of batches, and after those of an epoch one that ends it.

    Args:
        data: the stream. layout: of its batches. steps: of the first epoch that are done.
        epochs: to go through. check: refuses rows that cannot be trained on.

    Raises:
        InputError: an epoch without batches.
    """
    for epoch in epochs:
        size, chunk = 0, None
        rest = itertools.islice(data(epoch), steps, None)
        for rows, order, count in stacked(rest, layout, check):
            size = order.shape[1]
            chunk = Chunk(rows, order.reshape(1, -1), steps, 1, stop=count, ends=False)
            yield size, chunk
            steps += count
        if chunk is None:
            raise InputError(f"data: expected batches in epoch {epoch}, got none; give some")
        yield size, chunk._replace(offset=steps, stop=0, ends=True)
        steps = 0

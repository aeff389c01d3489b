"""Streams: data larger than memory, read epoch by epoch, batch by batch.

Shapes: N rows of data, B rows of a batch.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, PyTree, Shaped

from jaxnet import batches
from jaxnet._guards import checks

# Numbers of data that a stack of batches holds.
_STACK = 2**22

Stream = Callable[[int], Iterable[PyTree]]
"""A function of the epoch, from 0, that gives its batches."""


def stream(
    data: PyTree[Shaped[np.ndarray, "N ..."]], batch_size: int, seed: int, drop_last: bool = False
) -> Stream:
    """Make a stream of shuffled batches, gathered as they are asked for, such as of `np.memmap`s.

    It gives the batches that `fit` takes of the same data, seed and batch size in memory.

    Raises:
        InputError: a batch size below one or larger than the data, arrays of unequal rows, or a
            seed that is no whole number of at least 0.
    """
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

    for (size, _, shapes), group in itertools.groupby(stream, kind):
        most, together = max(1, _STACK // sum(map(math.prod, shapes))), 0
        while stack := list(itertools.islice(group, most)):
            count = len(stack)
            together = together or count
            stack += stack[:1] * (together - count)
            rows = jax.device_put(jax.tree.map(lambda *leaves: np.concatenate(leaves), *stack))
            order = np.arange(together * size, dtype=np.int32).reshape(together, size)
            del stack  # Else the batches of this chunk would be kept while the next are read.
            yield rows, order, count

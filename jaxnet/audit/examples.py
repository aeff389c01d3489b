"""Along which axis of a batch its examples lie.

Shapes: N examples.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from jaxnet._guards import checks

Axes = tuple[int, ...]


def axes(loss: Callable[[PyTree, PyTree], Any], params: PyTree, batch: PyTree) -> Axes:
    """Find the axis of each leaf that examples lie along.

    Where shapes leave a choice, that is it along which a batch can be given twice without another
    loss, or with twice the loss.

    Args:
        loss: of numbers. params: NumPy arrays. batch: NumPy arrays.

    Raises:
        InputError: no size that all leaves share.
    """
    leaves, tree = jax.tree.flatten(batch)
    candidates = possible(batch)
    if len(candidates) > 1:
        value = _number(loss, params, batch)
        for each in candidates:
            pairs = zip(leaves, each, strict=True)
            twice = [np.concatenate([leaf, leaf], axis) for leaf, axis in pairs]
            doubled = _number(loss, params, jax.tree.unflatten(tree, twice))
            if np.isclose(doubled, value) or np.isclose(doubled, 2 * value):
                return each
    return candidates[0]


def possible(batch: PyTree) -> list[Axes]:
    """Give the axes along which leaves are of one size: all first, all last, others by size.

    Raises:
        InputError: there are none.
    """
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(batch)]
    candidates = list(_candidates(shapes))
    if not candidates:
        checks.data(batch, "batch")
    return candidates


def _candidates(shapes: list[tuple[int, ...]]) -> Iterator[Axes]:
    seen = set()
    first, last = (0,) * len(shapes), tuple(len(shape) - 1 for shape in shapes)
    common = set.intersection(*map(set, shapes))
    by_size = itertools.chain.from_iterable(
        itertools.product(*([k for k, n in enumerate(shape) if n == size] for shape in shapes))
        for size in sorted(common, reverse=True)
    )
    for each in itertools.islice(itertools.chain([first, last], by_size), _MOST):
        sizes = {shape[axis] for shape, axis in zip(shapes, each, strict=True)}
        if len(sizes) == 1 and each not in seen:
            seen.add(each)
            yield each


_MOST = 64


def _number(loss: Callable[[PyTree, PyTree], Any], params: PyTree, batch: PyTree) -> float:
    """Give the loss, not a number where it takes no such batch."""
    try:
        return float(np.squeeze(loss(params, batch)))
    except Exception:  # a loss written for its own batch may fail in any way
        return np.nan


def first(tree: PyTree, axes: Axes) -> PyTree:
    """Put the axis of examples first in each leaf."""
    return _moved(tree, axes, lambda leaf, axis: _move(leaf, axis, 0))


def back(tree: PyTree, axes: Axes) -> PyTree:
    """Put the axis of examples back where it was."""
    return _moved(tree, axes, lambda leaf, axis: _move(leaf, 0, axis))


def _moved(tree: PyTree, axes: Axes, move: Callable[[Any, int], Any]) -> PyTree:
    leaves, structure = jax.tree.flatten(tree)
    pairs = zip(leaves, axes, strict=True)
    return jax.tree.unflatten(structure, [move(*pair) for pair in pairs])


def _move(leaf: Any, source: int, destination: int) -> Any:
    order = [axis for axis in range(np.ndim(leaf)) if axis != source]
    order.insert(destination, source)
    return leaf.transpose(order) if source != destination else leaf

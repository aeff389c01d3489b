"""Data frames and series of any library, where arrays are taken.

Shapes: N rows, K columns.
"""

from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from jaxnet.errors import InputError


def arrays(tree: PyTree, name: str = "data") -> PyTree:
    """Give a pytree with each frame in it as an array [N, K], and each series as one [N].

    They are known by their method `to_numpy`; rows are taken in their order, whatever their index.

    Raises:
        InputError: a column that is no numbers; columns of one name, or none.
    """
    if not any(map(_is_frame, jax.tree.leaves(tree))):
        return tree
    return jax.tree.map_with_path(
        lambda path, leaf: _array(name + jax.tree_util.keystr(path), leaf), tree
    )


def _is_frame(leaf: Any) -> bool:
    return hasattr(leaf, "to_numpy")


def _array(place: str, leaf: Any) -> Any:
    if not _is_frame(leaf):
        return leaf
    if not hasattr(leaf, "columns"):
        return _numbers(place, leaf)
    names = list(leaf.columns)
    if not names or len(set(names)) < len(names):
        raise InputError(f"{place}: expected columns with names of their own, got {names}")
    return np.column_stack([_numbers(f"{place}: column {each!r}", leaf[each]) for each in names])


def _numbers(place: str, series: Any) -> np.ndarray:
    array = np.asarray(series.to_numpy())
    if array.dtype.kind not in "biuf":
        raise InputError(
            f"{place}: expected numbers, got {series.dtype}; leave it out, or encode all "
            "columns: jaxnet.tables.split(jaxnet.tables.read(frame), target)"
        )
    return array

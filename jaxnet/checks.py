"""What arrays must hold before anything compiles, and the errors that say so.

Shapes: N rows of data, T steps of B rows.
"""

import importlib.util
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree


def extra(name: str, *modules: str) -> None:
    """Refuse to go on without the modules of an optional extra.

    Raises:
        ImportError: naming what is missing and the extra that brings it.
    """
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise ImportError(
            f"wanted the modules {', '.join(modules)}; {', '.join(missing)} missing; install "
            f"jaxnet with its extra: pip install 'jaxnet[{name}]'"
        )


def leaves(name: str, tree: PyTree) -> list[tuple[str, Any]]:
    """List a pytree's leaves with their paths, such as `params[0].weight`.

    Raises:
        ValueError: a pytree without leaves.
        TypeError: a leaf that is not an array of numbers.
    """
    found = [(name + jax.tree_util.keystr(path), leaf) for path, leaf in _flatten(tree)]
    if not found:
        raise ValueError(f"{name}: wanted at least one array; got an empty pytree")
    for path, leaf in found:
        if not hasattr(leaf, "dtype") or not (
            jnp.issubdtype(leaf.dtype, jnp.number) or leaf.dtype == bool
        ):
            kind = getattr(leaf, "dtype", type(leaf).__name__)
            raise TypeError(f"{path}: wanted an array of numbers; got {kind}")
    return found


def params(tree: PyTree, name: str = "params") -> None:
    """Refuse parameters that are not finite real floating-point arrays.

    Raises:
        TypeError: another dtype. ValueError: none at all, or a value that is not finite.
    """
    for path, leaf in leaves(name, tree):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise TypeError(
                f"{path}: wanted floating-point parameters; got {leaf.dtype}; cast them, or keep "
                "what is not trained out of the pytree"
            )
        _finite(path, leaf)


def data(tree: PyTree, name: str = "data") -> int:
    """Refuse data whose leaves are not finite arrays over the same rows; give the row count N.

    Raises:
        TypeError: not numbers. ValueError: no rows, unequal rows, or a value that is not finite.
    """
    found = leaves(name, tree)
    for path, leaf in found:
        if np.ndim(leaf) == 0:
            raise ValueError(f"{path}: wanted rows along the first axis; got a scalar")
    first, rows = found[0][0], len(found[0][1])
    for path, leaf in found:
        if len(leaf) != rows:
            raise ValueError(f"{path}: wanted {rows} rows, as {first} has; got {len(leaf)}")
        if rows == 0:
            raise ValueError(f"{path}: wanted at least one row; got shape {list(leaf.shape)}")
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            _finite(path, leaf)
    return rows


def order(array: Any, rows: int) -> None:
    """Refuse an order that is not `[T, B]` integers within the rows of the data.

    Raises:
        TypeError: not integers. ValueError: not two axes, empty, or a row outside the data.
    """
    array = np.asarray(array)
    if not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"order: wanted integer rows; got {array.dtype}")
    if array.ndim != 2 or array.size == 0:
        raise ValueError(
            "order: wanted shape [T, B], T steps of B rows, neither zero; got shape "
            f"{list(array.shape)}"
        )
    if array.min() < 0 or array.max() >= rows:
        row = array.min() if array.min() < 0 else array.max()
        raise ValueError(
            f"order: wanted rows 0 to {rows - 1}, the rows of the data; got row {row} in step "
            f"{np.argwhere(array == row)[0][0]}"
        )


def _flatten(tree: PyTree) -> list[tuple[Any, Any]]:
    return jax.tree_util.tree_flatten_with_path(tree)[0]


def _finite(path: str, leaf: Any) -> None:
    finite = np.isfinite(leaf)
    if not finite.all():
        where = [int(i) for i in np.argwhere(~finite)[0]]
        raise ValueError(
            f"{path}: wanted finite values; got {np.asarray(leaf)[tuple(where)]} at {where}, "
            f"{finite.size - finite.sum()} of {finite.size} in all"
        )

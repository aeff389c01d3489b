"""What arrays must hold before anything compiles, and the errors that say so.

Shapes: N rows of data, T steps of B rows.
"""

import importlib.util
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jaxnet.errors import InputError


def extra(name: str, *modules: str) -> None:
    """Refuse to go on without the modules of an optional extra.

    Raises:
        ImportError: naming what is missing and the extra that brings it.
    """
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise ImportError(
            f"wanted the modules {', '.join(modules)}; {', '.join(missing)} missing; install "
            f"jaxnet with its extra: pip install 'jaxnet-lab[{name}]'"
        )


def leaves(name: str, tree: PyTree) -> list[Any]:
    """Give a pytree's leaves, all of them arrays of numbers.

    Raises:
        InputError: a pytree without leaves; a leaf that is not an array of numbers.
    """
    found = jax.tree.leaves(tree)
    if not found:
        raise InputError(f"{name}: wanted at least one array; got an empty pytree")
    for index, leaf in enumerate(found):
        dtype = getattr(leaf, "dtype", None)
        # The kinds that NumPy knows first: this is on the way of every run.
        known = getattr(dtype, "kind", None) in tuple("biufc")
        if isinstance(leaf, jax.core.Tracer):
            raise InputError(
                f"{path(name, tree, index)}: wanted concrete arrays, whose values can be checked; "
                "got a tracer; inside jax.jit or jax.vmap call training.run instead"
            )
        if dtype is None or not (known or jnp.issubdtype(dtype, jnp.number)):
            got = type(leaf).__name__ if dtype is None else dtype
            raise InputError(f"{path(name, tree, index)}: wanted an array of numbers; got {got}")
    return found


def path(name: str, tree: PyTree, index: int) -> str:
    """Name a leaf, such as `params[0].weight`; slow, so for messages and tables only."""
    return name + jax.tree_util.keystr(jax.tree_util.tree_flatten_with_path(tree)[0][index][0])


def params(tree: PyTree, name: str = "params") -> None:
    """Refuse parameters that are not finite real floating-point arrays.

    Raises:
        InputError: another dtype; none at all, or a value that is not finite.
    """
    for index, leaf in enumerate(leaves(name, tree)):
        if not (leaf.dtype.kind == "f" or jnp.issubdtype(leaf.dtype, jnp.floating)):
            raise InputError(
                f"{path(name, tree, index)}: wanted floating-point parameters; got {leaf.dtype}; "
                "cast them, or keep what is not trained out of the pytree"
            )
        _finite(name, tree, index, leaf)


def data(tree: PyTree, name: str = "data") -> int:
    """Refuse data whose leaves are not finite arrays over the same rows; give the row count N.

    Raises:
        InputError: not numbers; no rows, unequal rows, or a value that is not finite.
    """
    found = leaves(name, tree)
    rows = len(found[0]) if np.ndim(found[0]) else 0
    for index, leaf in enumerate(found):
        if np.ndim(leaf) == 0 or len(leaf) == 0:
            raise InputError(
                f"{path(name, tree, index)}: wanted at least one row along the first axis; got "
                f"shape {list(leaf.shape)}"
            )
        if len(leaf) != rows:
            raise InputError(
                f"{path(name, tree, index)}: wanted {rows} rows, as {path(name, tree, 0)} has; "
                f"got {len(leaf)}"
            )
        if leaf.dtype.kind not in "biu":
            _finite(name, tree, index, leaf)
    return rows


def at_least_one(**counts: int) -> None:
    """Refuse counts below one, each by its name.

    Raises:
        InputError: not whole numbers; below one.
    """
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int | np.integer):
            raise InputError(f"{name}: wanted a whole number; got {count!r}")
        if count < 1:
            raise InputError(f"{name}: wanted at least 1; got {count}")


def order(array: Any, rows: int) -> None:
    """Refuse an order that is not `[T, B]` integers within the rows of the data.

    Raises:
        InputError: not integers; not two axes, empty, or a row outside the data.
    """
    array = np.asarray(array)
    if not np.issubdtype(array.dtype, np.integer):
        raise InputError(f"order: wanted integer rows; got {array.dtype}")
    if array.ndim != 2 or array.size == 0:
        raise InputError(
            "order: wanted shape [T, B], T steps of B rows, neither zero; got shape "
            f"{list(array.shape)}"
        )
    if array.min() < 0 or array.max() >= rows:
        row = array.min() if array.min() < 0 else array.max()
        raise InputError(
            f"order: wanted rows 0 to {rows - 1}, the rows of the data; got row {row} in step "
            f"{np.argwhere(array == row)[0][0]}"
        )


def _finite(name: str, tree: PyTree, index: int, leaf: Any) -> None:
    finite = np.isfinite(leaf)
    if not finite.all():
        where = [int(i) for i in np.argwhere(~finite)[0]]
        raise InputError(
            f"{path(name, tree, index)}: wanted finite values; got "
            f"{np.asarray(leaf)[tuple(where)]} at {where}, {finite.size - finite.sum()} of "
            f"{finite.size} in all"
        )

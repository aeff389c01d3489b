"""Floating-point numbers of one precision and another."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float64, PyTree

Gradient = Float64[np.ndarray, "..."]


def epsilon(dtype: Any) -> float:
    """Give the relative error of rounding."""
    return float(jnp.finfo(dtype).eps)


def cast(tree: PyTree, dtype: Any = np.float64) -> PyTree:
    """Make floats NumPy arrays of a dtype, and leave whole numbers as they are."""

    def each(leaf: Any) -> np.ndarray:
        leaf = np.asarray(leaf)
        return leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return jax.tree.map(each, tree)

"""Fingerprints: whether arrays and records are the ones they were."""

import hashlib
import json
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from jaxnet._guards import checks


def of_data(data: PyTree) -> str:
    """Give the SHA-256 of a pytree of arrays: of its paths, shapes, dtypes and bytes.

    Raises:
        InputError: a leaf that is not an array of numbers; no leaf.
    """
    checks.leaves("data", data)
    leaves = jax.tree.leaves_with_path(data)
    return of_record(
        [[jax.tree_util.keystr(path), of_array(np.asarray(leaf))] for path, leaf in leaves]
    )


def of_array(array: np.ndarray) -> str:
    """Give the SHA-256 of an array: of its dtype, shape and bytes."""
    digest = hashlib.sha256(f"{array.dtype}{list(array.shape)}".encode())
    digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def of_record(record: Any) -> str:
    """Give the SHA-256 of what JSON can hold."""
    return hashlib.sha256(json.dumps(record).encode()).hexdigest()

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

    Keys of random numbers count as the numbers that they are made of.

    Raises:
        InputError: a leaf that is not an array of numbers; no leaf.
    """
    data = checks.as_numbers(data)
    checks.leaves("data", data)
    digests = []
    for path, leaf in jax.tree.leaves_with_path(data):
        digest = hashlib.sha256(f"{leaf.dtype}{list(leaf.shape)}".encode())
        digest.update(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8).data)
        digests.append([jax.tree_util.keystr(path), digest.hexdigest()])
    return of_record(digests)


def of_record(record: Any) -> str:
    """Give the SHA-256 of what JSON can hold."""
    return hashlib.sha256(json.dumps(record).encode()).hexdigest()

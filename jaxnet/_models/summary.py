"""What a model is made of, in a table."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from jaxnet import variables
from jaxnet._guards import checks, notebook

_HEADS = ("parameter", "shape", "dtype", "numbers", "bytes")
_TEXTS = 3  # columns of text, before those of numbers
_UNITS = ("B", "kB", "MB", "GB", "TB")


@dataclasses.dataclass(frozen=True)
class Leaf:
    """One array of a model.

    Attributes:
        name: its path, such as `[0].weight`; of a state with `.state` before it.
        shape: of it. dtype: its name.
        count: how many numbers it has. nbytes: bytes they take.
        trains: whether training changes it.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    count: int
    nbytes: int
    trains: bool


@dataclasses.dataclass(frozen=True, repr=False)
class Summary:
    """The arrays of a model in their order; printed, or shown by a notebook, as a table."""

    leaves: tuple[Leaf, ...]

    @property
    def count(self) -> int:
        """Give how many numbers are trained."""
        return sum(leaf.count for leaf in self.leaves if leaf.trains)

    @property
    def nbytes(self) -> int:
        """Give the bytes of all arrays."""
        return sum(leaf.nbytes for leaf in self.leaves)

    def __repr__(self) -> str:
        """Lay it out as a table."""
        rows = [_HEADS, *self._rows()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(_aligned(row, widths)).rstrip() for row in rows]
        return "\n".join([*lines, self._total()])

    def _repr_html_(self) -> str:
        return notebook.table(_HEADS, self._rows(), self._total())

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            (
                leaf.name + ("" if leaf.trains else " (not trained)"),
                " x ".join(map(str, leaf.shape)) or "one number",
                leaf.dtype,
                f"{leaf.count:,}",
                _size(leaf.nbytes),
            )
            for leaf in self.leaves
        ]

    def _total(self) -> str:
        kept = sum(leaf.count for leaf in self.leaves) - self.count
        beside = f", {kept:,} that are not" if kept else ""
        return f"{self.count:,} numbers that are trained{beside}; {_size(self.nbytes)}"


def summary(params: PyTree) -> Summary:
    """Say what a model is made of: its arrays, their shapes, dtypes and sizes.

    Args:
        params: any pytree of arrays, such as `init` gives, or `Variables`; shapes alone, as
            `jax.eval_shape` gives them, are enough.

    Raises:
        InputError: a leaf that is no array, with its path.
    """
    checks.leaves("params", jax.tree.map(_told, params))
    state = None
    if isinstance(params, variables.Variables):
        params, state = params
    both = [("", *each) for each in jax.tree.leaves_with_path(params)]
    both += [(".state", *each) for each in jax.tree.leaves_with_path(state)]
    return Summary(tuple(_leaf(of, jax.tree_util.keystr(path), leaf) for of, path, leaf in both))


def _told(leaf: Any) -> Any:
    """Give an array of numbers in the place of keys, which may be shapes alone."""
    return jax.ShapeDtypeStruct(leaf.shape, np.uint32) if checks.is_key(leaf) else leaf


def _leaf(of: str, name: str, leaf: Any) -> Leaf:
    count = math.prod(leaf.shape)
    return Leaf(
        of + name or "(the array)",
        tuple(leaf.shape),
        str(leaf.dtype),
        count=count,
        nbytes=count * leaf.dtype.itemsize,
        trains=variables.trains(leaf) and not of,
    )


def _aligned(row: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    """Pad texts to their columns' widths, numbers from the left."""
    for place, (text, width) in enumerate(zip(row, widths, strict=True)):
        yield text.ljust(width) if place < _TEXTS else text.rjust(width)


def _size(nbytes: int) -> str:
    """Give bytes in three digits."""
    power = min(len(_UNITS) - 1, int(math.log10(max(nbytes, 1)) // 3))
    return f"{nbytes / 1000**power:.3g} {_UNITS[power]}"

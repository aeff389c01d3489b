"""What is known of each column: its kind and, fitted on the training rows, how it is encoded."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float64, Int64

from jaxnet._guards.defaults import Task
from jaxnet.errors import InputError
from jaxnet.tables.cells import NUMBER, Cells, Kind, Label, shown, text

Rows = Int64[np.ndarray, " train"]

_ADORNMENTS = re.compile(r"[,%$€£\s]")
_MOST_CATEGORIES = 256
_FEW_VALUES = 20


@dataclass(frozen=True)
class Column:
    """How one column becomes inputs: by `mean` and `deviation`, or by `categories`."""

    name: str
    kind: Kind
    mean: float = 0.0
    deviation: float = 0.0
    categories: tuple[str, ...] = ()
    missing: bool = False

    @property
    def inputs(self) -> int:
        """Count the inputs of this column."""
        return (len(self.categories) if self.kind == "categorical" else 1) + self.missing


@dataclass(frozen=True)
class Target:
    """What is predicted: one of `labels`, or a number of some `mean` and `deviation`."""

    name: str
    kind: Task
    labels: tuple[Label, ...] = ()
    mean: float = 0.0
    deviation: float = 0.0

    def __post_init__(self) -> None:
        """Refuse classes without labels, and labels without classes."""
        if (self.kind == "classification") != bool(self.labels):
            raise InputError(
                f"labels: expected some for classification and none for regression, got "
                f"{len(self.labels)} for {self.kind}"
            )


def fit(cells: Cells, train: Rows) -> Column:
    """Fit one column's encoding on the training rows.

    Raises:
        InputError: a row of any part that cannot be encoded; a column without values.
    """
    name, kind = cells.name, cells.kind()
    if kind == "categorical":
        codes, values = cells.coded()
        _check_text(cells, codes, values)
        missing = codes < 0
        used = {text(values[code]) for code in np.unique(codes[train]) if code >= 0}
        gaps = bool(missing[train].any())
        column = Column(name, kind, categories=tuple(sorted(used)), missing=gaps)
    else:
        numbers = cells.numbers()
        missing = np.isnan(numbers)
        gaps = bool(missing[train].any())
        column = Column(name, kind or "numeric", *_moments(numbers[train]), missing=gaps)
    if missing.all():
        raise InputError(f"{cells.place}: expected values, got none; drop it")
    return column


def fit_target(cells: Cells, labels: Sequence[Label], train: Rows) -> Target:
    """Fit the target's encoding on the training rows: of its labels, of numbers where none."""
    if labels:
        return Target(cells.name, "classification", tuple(labels))
    return Target(cells.name, "regression", (), *_moments(cells.numbers()[train]))


def labels(cells: Cells, task: Task | None) -> tuple[Label, ...]:
    """Give the sorted class labels of a target, none of them for regression.

    Raises:
        InputError: a target that is missing in a row, has one value, or suits no task.
    """
    codes, values = cells.coded()
    cells.refuse(codes < 0, "a value to predict in every row")
    kind, used = cells.kind(), sorted({values[code] for code in np.unique(codes)})
    if kind != "categorical" or task == "regression":
        cells.numbers()
    elif task is None:
        _check_text(cells, codes, values)
    if len(used) < 2:
        raise InputError(
            f"{cells.place}: expected at least two values to tell apart, got {shown(used[0])} "
            "in every row"
        )
    few = pa.types.is_integer(cells.values.type) and len(used) <= min(_FEW_VALUES, len(codes) / 5)
    number = task is None and kind == "numeric" and not few
    return () if number or task == "regression" else tuple(used)


def _check_text(cells: Cells, codes: Int64[np.ndarray, " N"], values: list[Any]) -> None:
    """Refuse text that is mostly numbers, or that tells most rows apart."""
    rows, different = (codes >= 0).sum(), len(np.unique(codes[codes >= 0]))
    if not pa.types.is_dictionary(cells.values.type):
        bare = [NUMBER.fullmatch(_ADORNMENTS.sub("", value or "")) for value in values]
        if 2 * np.array([*map(bool, bare), False])[codes].sum() > rows:
            cells.numbers()
    if different > _MOST_CATEGORIES or (different > _FEW_VALUES and 2 * different > rows):
        raise InputError(
            f"{cells.place}: expected at most {_MOST_CATEGORIES} categories, each in several rows, "
            f"got {different} in {rows} rows; group them, or drop the column if it names the rows"
        )


def _moments(numbers: Float64[np.ndarray, " N"]) -> tuple[float, float]:
    """Give mean and standard deviation of the numbers that are there, 0 where nothing varies."""
    numbers = numbers[~np.isnan(numbers)]
    if not numbers.size or numbers.min() == numbers.max():  # where rounding may leave a deviation
        return float(numbers[:1].sum()), 0.0
    return float(numbers.mean()), float(numbers.std())

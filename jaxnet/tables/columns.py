"""What is known of each column: its kind and, fitted on the training rows, how it is encoded."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float64, Int64

from jaxnet._guards.defaults import Task
from jaxnet.errors import InputError
from jaxnet.tables.cells import AS_IS, Cells, Format, Label, fold, text
from jaxnet.tables.planning import MOST, Kind, Plan

Rows = Int64[np.ndarray, " train"]
PartName = Literal["year", "month", "weekday", "hour", "days"]


@dataclass(frozen=True)
class Part:
    """A number that a date gives: hours of the day, days since 1970, Monday as weekday 0."""

    name: PartName
    mean: float = 0.0
    deviation: float = 0.0


@dataclass(frozen=True)
class Column:
    """How one column becomes inputs: by `mean` and `deviation`, by `categories`, or by `parts`.

    Attributes:
        name, kind: of the column.
        mean, deviation: of a number.
        categories: each with an input of its own.
        other: whether all other categories share one more.
        parts: of a date.
        missing: whether a missing value has an input of its own.
        format: how its cells are read.
    """

    name: str
    kind: Kind
    mean: float = 0.0
    deviation: float = 0.0
    categories: tuple[str, ...] = ()
    other: bool = False
    parts: tuple[Part, ...] = ()
    missing: bool = False
    format: Format = AS_IS

    @property
    def inputs(self) -> int:
        """Count the inputs of this column."""
        own = {"number": 1, "category": len(self.categories) + self.other, "date": len(self.parts)}
        return own[self.kind] + self.missing


@dataclass(frozen=True)
class Target:
    """What is predicted: one of `labels`, or a number of some `mean` and `deviation`."""

    name: str
    kind: Task
    labels: tuple[Label, ...] = ()
    mean: float = 0.0
    deviation: float = 0.0
    format: Format = AS_IS

    def __post_init__(self) -> None:
        """Refuse classes without labels, and labels without classes."""
        if (self.kind == "classification") != bool(self.labels):
            raise InputError(
                f"labels: expected some for classification and none for regression, got "
                f"{len(self.labels)} for {self.kind}"
            )


def fit(cells: Cells, kind: Kind, train: Rows) -> Column:
    """Fit one column's encoding on the training rows."""
    missing = bool((~cells.there(kind)[train]).any())
    column = Column(cells.name, kind, missing=missing, format=cells.format)
    if kind == "category":
        known, other = _categories(cells, cells.coded[0][train])
        return dataclasses.replace(column, categories=known, other=other)
    if kind == "date":
        parts = tuple(
            Part(part, *moments)
            for part in get_args(PartName)
            if (moments := _moments(cells.part(part)[train]))[1]
        )
        return dataclasses.replace(column, parts=parts)
    mean, deviation = _moments(cells.numbers[train])
    return dataclasses.replace(column, mean=mean, deviation=deviation)


def _categories(cells: Cells, codes: Int64[np.ndarray, " train"]) -> tuple[tuple[str, ...], bool]:
    """Give the categories that have inputs, each as most rows spell it, and whether others do."""
    counts: dict[str, dict[str, int]] = {}
    for code, count in zip(*np.unique(codes[codes >= 0], return_counts=True), strict=True):
        value = text(cells.coded[1][code])
        counts.setdefault(fold(value), {})[value] = int(count)
    frequent = sorted(counts.values(), key=lambda each: -sum(each.values()))[:MOST]
    spelled = (max(sorted(each), key=lambda value: each[value]) for each in frequent)
    return tuple(sorted(spelled)), len(counts) > MOST


def fit_target(cells: Cells, labels: Sequence[Label], train: Rows) -> Target:
    """Fit the target's encoding on the training rows: of its labels, of numbers where none."""
    name, form = cells.name, cells.format
    if labels:
        return Target(name, "classification", tuple(labels), format=form)
    return Target(name, "regression", (), *_moments(cells.numbers[train]), format=form)


def labels(cells: Cells, plan: Plan, used: Rows) -> tuple[Label, ...]:
    """Give the sorted class labels of a target, none of them for regression."""
    if plan.task == "regression":
        return ()
    if plan.target.kind == "number":
        numbers = np.unique(cells.numbers[used])
        return tuple((numbers if cells.decimals else numbers.astype(int)).tolist())
    codes, values = cells.coded
    return tuple(sorted({values[code] for code in np.unique(codes[used])}))


def _moments(numbers: Float64[np.ndarray, " N"]) -> tuple[float, float]:
    """Give mean and standard deviation of the numbers that are there, 0 where nothing varies."""
    numbers = numbers[~np.isnan(numbers)]
    if not numbers.size or numbers.min() == numbers.max():  # where rounding may leave a deviation
        return float(numbers[:1].sum()), 0.0
    return float(numbers.mean()), float(numbers.std())

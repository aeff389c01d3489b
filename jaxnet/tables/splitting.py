"""Parts: the rows dealt to train, to validate and to test on, and encoded.

Shapes: N rows, I inputs.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Int64

from jaxnet._guards import checks
from jaxnet._guards.defaults import SEED, TEST, VALIDATION, Task
from jaxnet.errors import InputError
from jaxnet.tables import columns
from jaxnet.tables.cells import Cells, Label, check, shown
from jaxnet.tables.encoding import Encoder


class Split(NamedTuple):
    """A table in three parts, each `(x [N, I], y)`, encoded by what the training part holds.

    Attributes:
        encoder: fitted on the training rows.
        rows: the table's rows of each part, by its name, counted from 0.
    """

    train: tuple[np.ndarray, np.ndarray]
    validation: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    encoder: Encoder
    rows: dict[str, np.ndarray]


def split(
    table: pa.Table,
    target: str,
    *,
    task: Task | None = None,
    validation: float = VALIDATION,
    test: float = TEST,
    seed: int = SEED,
    source: str = "data",
) -> Split:
    """Deal the rows to three parts, fit an encoder on the training part, and encode them all.

    Every class has its share of each part, to within one row. The same seed gives the same parts.

    Args:
        table: with the target among its columns.
        target: the column to predict.
        task: where None, classification for text, categories, booleans, and integers of at most
            20 values, each met 5 times on average; regression for other numbers.
        validation: share of the rows. test: share of the rows; either may be 0.
        seed: of the deal, at least 0.
        source: the table's file, for errors.

    Raises:
        InputError: shares that leave nothing to train on, no such target, a target that is
            missing in a row, has one value or a class of too few rows, or a column that cannot be
            encoded.
    """
    if not (validation >= 0 and test >= 0 and validation + test < 1):
        raise InputError(
            "validation, test: expected shares of the rows, at least 0 and together below 1, got "
            f"{validation} and {test}"
        )
    checks.seed(seed)
    if task not in (None, "classification", "regression"):
        raise InputError(
            f"task: expected classification or regression, got {task!r}; None infers it"
        )
    check(table, source, target)
    names = [name for name in table.column_names if name != target]
    if not names:
        raise InputError(f"{source}: expected columns to predict {target!r} from, got none")
    cells = Cells(table, target, source)
    labels = columns.labels(cells, task)
    groups = cells.places(labels) if labels else np.zeros(table.num_rows, np.int64)
    _check_classes(cells, labels, groups, validation + test)
    rows = _deal(groups, validation, test, seed)
    for part, share in (("validation", validation), ("test", test)):
        if share and not rows[part].size:
            raise InputError(
                f"{source}: expected rows for {part}, got none, {share} of {len(groups)}; give "
                "more rows, a larger share, or 0"
            )
    train = rows["train"]
    fitted = tuple(columns.fit(Cells(table, name, source), train) for name in names)
    encoder = Encoder(fitted, columns.fit_target(cells, labels, train))
    x, y = encoder.features(table, source), encoder.targets(table, source)
    parts = {part: (x[chosen], y[chosen]) for part, chosen in rows.items()}
    return Split(**parts, encoder=encoder, rows=rows)


def _check_classes(
    cells: Cells, labels: Sequence[Label], groups: Int64[np.ndarray, " N"], elsewhere: float
) -> None:
    """Refuse a class so small that it may be without a training row."""
    least = max(2, math.ceil(1 / (1 - elsewhere) - 1e-9))
    counts = np.bincount(groups)
    if counts.min() < least:
        name = f"class {shown(labels[int(counts.argmin())])}" if labels else "table"
        raise InputError(
            f"{cells.place}: expected at least {least} rows of the {name}, got {counts.min()}; add "
            "rows, or merge or drop small classes"
        )


def _deal(
    groups: Int64[np.ndarray, " N"], validation: float, test: float, seed: int
) -> dict[str, np.ndarray]:
    """Deal rows at random to the three parts, class by class."""
    random = np.random.default_rng(seed)
    dealt = []
    for group in range(groups.max() + 1):
        rows = random.permutation(np.flatnonzero(groups == group))
        # One random number rounds both cuts: each part is then within one row of its share, and
        # many small classes are not all rounded the same way.
        cuts = np.floor(len(rows) * np.array([test, test + validation]) + random.random())
        dealt.append(np.split(rows, cuts.astype(int)))
    parts = zip(("test", "validation", "train"), zip(*dealt, strict=True), strict=True)
    return {part: np.sort(np.concatenate(pieces)) for part, pieces in parts}

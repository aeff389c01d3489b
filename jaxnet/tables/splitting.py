"""Parts: the rows dealt to train, to validate and to test on, and encoded.

Shapes: N rows, I inputs.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float32, Int64

from jaxnet._guards import checks
from jaxnet._guards.defaults import SEED, TEST, VALIDATION, Task
from jaxnet.errors import InputError
from jaxnet.tables import columns, planning
from jaxnet.tables.cells import Cells, Format, Label, fold, listed, text
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
    drop: Sequence[str] = (),
    category: Sequence[str] = (),
    number: Sequence[str] = (),
    date: Sequence[str] = (),
    missing: Sequence[str] = (),
    group: str | None = None,
    time: str | None = None,
) -> Split:
    """Plan what is done with a table, deal its rows to three parts, fit an encoder, and encode.

    The encoder is fitted on the training part alone; its `plan` says what was done with each
    column, and what with rows. Rows without a target are left out. Every class has its share of
    each part, to within one row, but for one too small to be split, which all trains. The same seed
    gives the same parts.

    Args:
        table: with the target among its columns.
        target: the column to predict.
        task: where None, classification for text, categories, booleans, and whole numbers of at
            most 20 values, each met 5 times on average; regression for other numbers.
        validation: share of the rows. test: share of the rows; either may be 0.
        seed: of the deal, at least 0.
        source: the table's file, for errors.
        drop: columns to leave out. category, number, date: columns to take for such, whatever
            their cells look like.
        missing: further values that stand for a missing one.
        group: a column, such as of patients: rows that have one value are all in one part.
        time: a column of dates or numbers: the latest rows test, those before them validate.

    Raises:
        InputError: shares that leave nothing to train on; and in one line, all that is wrong with
            the table and what is asked of its columns.
    """
    _check(validation, test, seed, task=task, group=group, time=time)
    dealing = [name for name in (group, time) if name]
    asked = planning.Asked((*drop, *dealing), category, number, date, missing)
    plan, used = planning.make(table, target, task, asked, source)
    cells = Cells(table, target, source, plan.target.format)
    labels = columns.labels(cells, plan, np.flatnonzero(used))
    groups = cells.places(labels) if labels else np.zeros(table.num_rows, np.int64)
    groups = np.where(used, groups, -1)
    if used.sum() < 2:
        raise InputError(f"{source}: expected at least 2 rows with a target; add rows")
    if dealing:
        form = Format(missing=tuple(missing))
        keys = _keys(Cells(table, dealing[0], source, form), bool(time), seed)
        rows, small = _deal_whole(keys, used, validation, test), []
    else:
        rows, small = _deal(groups, validation, test, seed)
    for part, share in (("validation", validation), ("test", test)):
        if share and not rows[part].size:
            raise InputError(
                f"{source}: expected rows for {part}, got none, {share} of {used.sum()}; give "
                "more rows, a larger share, or 0"
            )
    train = rows["train"]
    fitted = tuple(
        columns.fit(Cells(table, each.name, source, each.format), each.kind, train)
        for each in plan.columns
        if each.kind != "left out"
    )
    encoder = Encoder(fitted, columns.fit_target(cells, labels, train), plan)
    x = encoder.features(table, source)
    y = np.zeros((table.num_rows, 1) if not labels else table.num_rows, np.float32)
    y = y.astype(np.int32) if labels else y
    y[used] = encoder.targets(pa.table({target: cells.values.filter(used)}), source)
    parts = {part: (x[chosen], y[chosen]) for part, chosen in rows.items()}
    said = (*plan.rows, *_of_rows(x, rows, [labels[each] for each in small if labels]))
    encoder = dataclasses.replace(encoder, plan=dataclasses.replace(plan, rows=said))
    return Split(**parts, encoder=encoder, rows=rows)


def _check(
    validation: float,
    test: float,
    seed: int,
    *,
    task: Task | None,
    group: str | None,
    time: str | None,
) -> None:
    """Refuse arguments that no table makes possible."""
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
    if group and time:
        raise InputError(
            f"group, time: expected one of them, got {group!r} and {time!r}; leave one out"
        )


def _of_rows(
    x: Float32[np.ndarray, "N I"], rows: dict[str, np.ndarray], small: Sequence[Label]
) -> Iterator[str]:
    """Say which classes all train, and how many rows are judged at what they were trained on."""
    if small:
        yield f"too small to be split, and so all for training: {listed(small)}"
    whole = np.ascontiguousarray(x).view(np.dtype((np.void, x.shape[1] * 4)))[:, 0]
    again = int(np.isin(whole[rows["test"]], whole[rows["train"]]).sum())
    if again:
        yield f"{again} of {len(rows['test'])} test rows equal a training row in all columns used"


def _deal(
    groups: Int64[np.ndarray, " N"], validation: float, test: float, seed: int
) -> tuple[dict[str, np.ndarray], list[int]]:
    """Deal rows at random to the three parts, class by class, but for -1; and give small classes.

    One so small that it might be without a training row has no others.
    """
    random = np.random.default_rng(seed)
    least = max(2, int(np.ceil(1 / (1 - test - validation) - 1e-9)))
    dealt, small = [], []
    for group in range(groups.max() + 1):
        rows = random.permutation(np.flatnonzero(groups == group))
        # One random number rounds both cuts: each part is then within one row of its share, and
        # many small classes are not all rounded the same way.
        cuts = np.floor(len(rows) * np.array([test, test + validation]) + random.random())
        if len(rows) < least:
            small.append(group)
            cuts = np.zeros(2)
        dealt.append(np.split(rows, cuts.astype(int)))
    parts = zip(("test", "validation", "train"), zip(*dealt, strict=True), strict=True)
    return {part: np.sort(np.concatenate(pieces)) for part, pieces in parts}, small


def _keys(cells: Cells, time: bool, seed: int) -> Int64[np.ndarray, " N"]:
    """Give each row a number by which it is dealt: of the latest first, or of groups at random."""
    if not time:
        codes, values = cells.coded
        # Rows without a group are one.
        _, places = np.unique([*(fold(text(value)) for value in values), ""], return_inverse=True)
        return np.random.default_rng(seed).permutation(len(values) + 1)[places[codes]]
    cells = planning.read_as(cells)
    numbers = np.where(np.isnat(cells.stamps), np.nan, cells.stamps.astype(float))
    numbers = cells.numbers if np.isnan(numbers).all() else numbers
    if np.isnan(numbers).all():
        raise InputError(f"{cells.place}: expected dates or numbers, got none; give another time")
    # Rows without a time train.
    return np.unique(np.nan_to_num(-numbers, nan=np.inf), return_inverse=True)[1]


def _deal_whole(
    keys: Int64[np.ndarray, " N"], used: Bool[np.ndarray, " N"], validation: float, test: float
) -> dict[str, np.ndarray]:
    """Deal rows by their keys, those of one key to one part, to shares as near as that allows."""
    counts = np.cumsum(np.bincount(keys[used]))
    cuts = [
        int(np.abs(np.append(0, counts) - share * counts[-1]).argmin())
        for share in (test, test + validation)
    ]
    parts = np.array(["test", "validation", "train"])[np.searchsorted(cuts, keys, side="right")]
    rows = {
        part: np.flatnonzero(used & (parts == part)) for part in ("test", "validation", "train")
    }
    if not rows["train"].size:
        raise InputError("expected rows to train on, got none; give smaller shares or more groups")
    return rows

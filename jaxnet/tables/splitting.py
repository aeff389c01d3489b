"""Parts: the rows dealt to train, to validate and to test on, and encoded.

Shapes: N rows, I inputs.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float32, Int64, Shaped

from jaxnet._guards import checks
from jaxnet._guards.defaults import SEED, TEST, VALIDATION, Task
from jaxnet.errors import InputError
from jaxnet.tables import columns, planning
from jaxnet.tables.cells import SPELLED, SPLIT, Cells, Format, Label, check, fold, listed, text
from jaxnet.tables.encoding import Encoder
from jaxnet.tables.reading import Frame, read

Arrays = tuple[np.ndarray, ...]


class Split(NamedTuple):
    """A table in three parts, encoded by what the training part holds.

    Each is `(x [N, I], y)`, or where rows or classes have weights `(x, y, weights [N])`.

    Attributes:
        encoder: fitted on the training rows.
        rows: the table's rows of each part, by its name, counted from 0.
    """

    train: Arrays
    validation: Arrays
    test: Arrays
    encoder: Encoder
    rows: dict[str, np.ndarray]


def split(
    table: pa.Table | Frame,
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
    weight: str | None = None,
    class_weight: Literal["balanced"] | None = None,
    split: str | None = None,
    test_file: str | Path | None = None,
    decimal: Literal[".", ","] = ".",
    date_format: str = "",
) -> Split:
    """Plan what is done with a table, deal its rows to three parts, fit an encoder, and encode.

    The encoder is fitted on the training part alone; its `plan` says what was done with each
    column, and what with rows. Rows without a target are left out. Every class has its share of
    each part, to within one row, but for one too small to be split, which all trains. The same seed
    gives the same parts.

    Args:
        table: with the target among its columns; a frame is read as `read` does.
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
        weight: a column of numbers of at least 0: what each row counts in losses and metrics.
        class_weight: balanced has all classes count the same, by the training rows, which keep
            the sum of their weights.
        split: a column that names each row's part: train, validation or test, or training, val,
            valid, dev or testing, in any case. An NPZ file of parts has one already.
        test_file: what to test on, in place of rows of the table; read as `Encoder.features` does.
        decimal: the mark of decimals where numbers may be read by either, such as 1,234.
        date_format: of dates that may be read by several, such as %m/%d/%Y, as `strptime` takes it
            and without the time of day.

    Raises:
        InputError: shares that leave nothing to train on; and in one line, all that is wrong with
            the table and what is asked of its columns.
    """
    whole = _table(table)
    split = split or (whole.schema.metadata or {}).get(SPLIT, b"").decode()
    ways = {"group": group, "time": time, "split": split, "test_file": str(test_file or "")}
    deal = _Deal(validation, test, seed, {n: way for n, way in ways.items() if way}).checked()
    if task not in (None, "classification", "regression"):
        raise InputError(
            f"task: expected classification or regression, got {task!r}; None infers it"
        )
    apart = [name for name in (group, time, split, weight) if name]
    asked = planning.Asked(
        (*drop, *apart), category, number, date, missing, decimal=decimal, date_format=date_format
    )
    plan, used = planning.make(whole, target, task, asked, source)
    if class_weight and plan.task == "regression":
        raise InputError(
            f"class_weight: expected classes to balance, got regression of {target!r}; leave it "
            "out, or give task classification"
        )
    cells = Cells(whole, target, source, plan.target.format)
    labels = columns.labels(cells, plan, np.flatnonzero(used))
    groups = cells.places(labels) if labels else np.zeros(whole.num_rows, np.int64)
    rows, small = deal.rows(whole, np.where(used, groups, -1), source, asked.format)
    target_column = columns.fit_target(cells, labels, rows["train"])
    encoder = Encoder(_fitted(whole, plan, rows["train"], source), target_column, plan)
    weights = Cells(whole, weight, source, asked.format) if weight else None
    parts, said = _encoded(encoder, whole, source, rows, weights), [*plan.rows]
    if test_file:
        other = read(test_file)
        rows["test"], notes = _tested(encoder, other, str(test_file))
        parts |= _encoded(encoder, other, str(test_file), {"test": rows["test"]}, weights)
        said += notes
    said += _of_rows(parts, [labels[each] for each in small if labels])
    if class_weight:
        parts, note = _balanced(parts, labels)
        said.append(note)
    encoder = dataclasses.replace(encoder, plan=dataclasses.replace(plan, rows=tuple(said)))
    return Split(**parts, encoder=encoder, rows=rows)


def _table(data: Any) -> pa.Table:
    return data if isinstance(data, pa.Table) else read(data)


@dataclass(frozen=True)
class _Deal:
    """How rows are dealt to the three parts: to shares, or the one way that was asked for."""

    validation: float
    test: float
    seed: int
    asked: dict[str, str]

    def checked(self) -> "_Deal":
        """Refuse what no table makes possible; give the deal with the shares that are left."""
        if not (self.validation >= 0 and self.test >= 0 and self.validation + self.test < 1):
            raise InputError(
                "validation, test: expected shares of the rows, at least 0 and together below 1, "
                f"got {self.validation} and {self.test}"
            )
        checks.seed(self.seed)
        if len(self.asked) > 1:
            raise InputError(
                f"{', '.join(self.asked)}: expected one of them, got "
                f"{' and '.join(map(repr, self.asked.values()))}; leave one out"
            )
        named = {"split": {"validation": VALIDATION, "test": TEST}, "test_file": {"test": TEST}}
        shares = named.get("".join(self.asked), {})
        for share, usual in shares.items():
            if (got := getattr(self, share)) != usual:
                raise InputError(
                    f"{share}: expected none beside {''.join(self.asked)}, which names its rows, "
                    f"got {got}; leave one out"
                )
        return dataclasses.replace(self, **dict.fromkeys(shares, 0.0))

    def rows(
        self, table: pa.Table, groups: Int64[np.ndarray, " N"], source: str, form: Format
    ) -> tuple[dict[str, np.ndarray], list[int]]:
        """Give the rows of each part, of those that are of a group; and the groups too small."""
        used, shares = groups >= 0, (self.validation, self.test)
        if used.sum() < 2:
            raise InputError(f"{source}: expected at least 2 rows with a target; add rows")
        way, name = next(iter(self.asked.items()), ("", ""))
        small = []
        if way == "split":
            rows = _named(Cells(table, name, source, form), used)
        elif way in ("group", "time"):
            keys = _keys(Cells(table, name, source, form), way == "time", self.seed)
            rows = _deal_whole(keys, used, *shares)
        else:
            rows, small = _deal(groups, *shares, self.seed)
        for part, share in zip(("validation", "test"), shares, strict=True):
            if share and not rows[part].size:
                raise InputError(
                    f"{source}: expected rows for {part}, got none, {share} of {used.sum()}; give "
                    "more rows, a larger share, or 0"
                )
        if not rows["train"].size:
            raise InputError(
                f"{source}: expected rows to train on, got none; give smaller shares, more groups, "
                "or name some train"
            )
        return rows, small


def _fitted(
    table: pa.Table, plan: planning.Plan, train: columns.Rows, source: str
) -> tuple[columns.Column, ...]:
    return tuple(
        columns.fit(Cells(table, each.name, source, each.format), each.kind, train)
        for each in plan.columns
        if each.kind != "left out"
    )


def _encoded(
    encoder: Encoder,
    table: pa.Table,
    source: str,
    rows: dict[str, np.ndarray],
    weights: Cells | None,
) -> dict[str, Arrays]:
    """Give the arrays of each part's rows."""
    used = np.zeros(table.num_rows, bool)
    used[np.concatenate([*rows.values()])] = True
    arrays = [encoder.targets(table, source, used)]
    if weights:
        check(table, source, weights.name)
        weights = dataclasses.replace(weights, table=table, source=source)
        arrays.append(_weights(weights, rows, used))
    inputs = encoder.features_of(table, source, [*rows.values()])
    return {
        part: (x, *(each[chosen] for each in arrays))
        for (part, chosen), x in zip(rows.items(), inputs, strict=True)
    }


def _tested(encoder: Encoder, table: pa.Table, source: str) -> tuple[np.ndarray, list[str]]:
    """Give the rows of a test file that have a target, and what there is to say of it."""
    target = encoder.plan.target
    check(table, source, target.name)
    cells = Cells(table, target.name, source, target.format)
    there = cells.there(target.kind) & ~planning.total(table)
    cells.refuse(~there & ~there.any(), "a target in some row")
    notes = encoder.doubts(table, source)[0]
    notes += [f"{(~there).sum()} rows without a target are left out"] * (not there.all())
    return np.flatnonzero(there), [f"the test file: {note}" for note in notes]


def _weights(
    cells: Cells, rows: dict[str, np.ndarray], used: Bool[np.ndarray, " N"]
) -> Float32[np.ndarray, " N"]:
    """Give what each row counts."""
    weights = planning.read_as(cells).numbers.astype(np.float32)
    cells.refuse(used & ~(weights >= 0), "a weight of at least 0")
    for part, chosen in rows.items():
        if chosen.size and not weights[chosen].any():
            raise InputError(
                f"{cells.place}: expected a weight above 0 among the rows for {part}, got none in "
                f"{chosen.size}; give another weight"
            )
    return weights


def _of_rows(parts: dict[str, Arrays], small: Sequence[Label]) -> Iterator[str]:
    """Say which classes all train, and how many rows are judged at what they were trained on."""
    if small:
        yield f"too small to be split, and so all for training: {listed(small)}"
    train, test = (_hashed(parts[part][0]) for part in ("train", "test"))
    if again := int(np.isin(test, train).sum()):
        yield f"{again} of {len(test)} test rows equal a training row in all columns used"


def _hashed(x: Float32[np.ndarray, "N I"]) -> Shaped[np.ndarray, " N"]:
    """Give a number for each row by which equal rows are found."""
    hashed = np.zeros(len(x), np.uint64)
    for column in x.T:
        hashed = (hashed ^ column.view(np.uint32)) * np.uint64(0x9E3779B97F4A7C15)
        hashed ^= hashed >> np.uint64(29)
    return hashed


def _balanced(parts: dict[str, Arrays], labels: Sequence[Label]) -> tuple[dict[str, Arrays], str]:
    """Weigh rows so that all classes count the same in training; and say what each counts."""
    _, y, *weights = parts["train"]
    totals = np.bincount(y, *weights, minlength=len(labels))
    # A class without training rows counts as it is.
    even = totals.sum() / np.count_nonzero(totals)
    factors = even / np.where(totals, totals, even)
    parts = {
        part: (x, y, np.prod([*weights, factors[y]], axis=0).astype(np.float32))
        for part, (x, y, *weights) in parts.items()
    }
    each = (f"{label!r} count {by:.3g}" for label, by in zip(labels, factors, strict=True))
    return parts, f"rows of {', '.join(each)}"


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
    return _rows_of(parts, used)


def _named(cells: Cells, used: Bool[np.ndarray, " N"]) -> dict[str, np.ndarray]:
    """Give the rows of each part that a column names."""
    codes, values = cells.coded
    parts = np.array([*(SPELLED.get(fold(text(value)), "") for value in values), ""])[codes]
    cells.refuse(used & (parts == ""), "train, validation or test")
    return _rows_of(parts, used)


def _rows_of(
    parts: Shaped[np.ndarray, " N"], used: Bool[np.ndarray, " N"]
) -> dict[str, np.ndarray]:
    return {
        part: np.flatnonzero(used & (parts == part)) for part in ("test", "validation", "train")
    }

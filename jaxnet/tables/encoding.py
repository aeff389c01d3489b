"""Arrays out: rows encoded as the training rows were, and outputs decoded into predictions.

Shapes: N rows, B rows of a batch, I inputs, O outputs.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Float32, Float64, Int, Int32
from pyarrow import parquet

from jaxnet._guards import checks, records
from jaxnet._guards.defaults import SEED
from jaxnet.errors import InputError
from jaxnet.tables.cells import Cells, check, fold, listed, said
from jaxnet.tables.columns import Column, Part, Target
from jaxnet.tables.planning import Plan

FARTHEST = 1e4
"""So many deviations from the mean a number counts at most, lest outputs overflow."""
_FAR = 10

Targets = Int32[np.ndarray, " N"] | Float32[np.ndarray, "N 1"]


@dataclass(frozen=True)
class Encoder:
    """What encodes a table as the training rows were, and decodes outputs into predictions.

    Attributes:
        columns: those used, in the training table's order.
        target: what is predicted.
        plan: what was done with the training table.
    """

    columns: tuple[Column, ...]
    target: Target
    plan: Plan

    @property
    def inputs(self) -> int:
        """Count the inputs I."""
        return sum(column.inputs for column in self.columns)

    @property
    def outputs(self) -> int:
        """Count the outputs O: one for each label, or one number."""
        return len(self.target.labels) or 1

    def features(self, table: pa.Table, source: str) -> Float32[np.ndarray, "N I"]:
        """Encode the columns that are used, whatever else there is and in whatever order.

        Names are matched without regard to case and outer spaces where they do not match as they
        are. A category that no training row had is 0 in all inputs, or the others'; what cannot be
        read is missing; a number counts as at most 1e4 deviations from the mean. `doubts` says
        where that is so.

        Raises:
            InputError: columns that are missing.
        """
        return self.features_of(table, source, [np.arange(table.num_rows)])[0]

    def features_of(
        self, table: pa.Table, source: str, parts: Sequence[Int[np.ndarray, " _"]]
    ) -> list[Float32[np.ndarray, "_ I"]]:
        """Encode rows of a table for each of several parts, as `features` does.

        Raises:
            InputError: columns that are missing.
        """
        encoded = [np.zeros((len(rows), self.inputs), np.float32) for rows in parts]
        start = 0
        for column, cells in self._cells(table, source):
            stop = start + column.inputs
            # A column at a time, lest all be in memory twice.
            inputs = np.zeros((column.inputs, table.num_rows), np.float32)
            _encode(column, cells, inputs)
            for x, rows in zip(encoded, parts, strict=True):
                x[:, start:stop] = inputs[:, rows].T
            start = stop
        return encoded

    def doubts(self, table: pa.Table, source: str) -> tuple[list[str], list[str]]:
        """Say what of a table is unlike the training rows.

        Returns:
            What there is to say of the table, and of each row: categories that no training row
            had, numbers far from all of them, what cannot be read, and rows without any value.
        """
        rows: list[list[str]] = [[] for _ in range(table.num_rows)]
        empty, used, notes = np.ones(table.num_rows, bool), {self.target.name}, said(table)
        for column, cells in self._cells(table, source):
            used.add(cells.name)
            empty &= ~cells.present
            if cells.name != column.name:
                notes.append(f"column {cells.name!r} is taken for {column.name!r}")
            if column.kind == "category" and (taken := cells.respelled(column.categories)):
                notes.append(f"column {cells.name!r}: {taken}")
            for what, wrong in _odd(column, cells).items():
                if wrong.any():
                    where = f"{wrong.sum()} of {len(wrong)} rows, {cells.first(wrong)}"
                    notes.append(f"column {cells.name!r}: {what} in {where}")
                for row in np.flatnonzero(wrong):
                    rows[row].append(f"{column.name}: {what}")
        if empty.any():
            notes.append(f"no value in any column used in {empty.sum()} of {len(empty)} rows")
        for row in np.flatnonzero(empty):
            rows[row].append("no values")
        left = {each.name for each in self.plan.columns}
        extra = [name for name in table.column_names if name not in used | left]
        if extra := [name for name in extra if fold(name) != fold(self.target.name)]:
            notes.append(f"columns that are not used: {listed(extra)}")
        return notes, ["; ".join(each) for each in rows]

    def targets(
        self, table: pa.Table, source: str, rows: Bool[np.ndarray, " N"] | None = None
    ) -> Targets:
        """Encode the target: labels as their places, numbers standardised.

        Args:
            table, source: as for `features`.
            rows: those that have one; all where None. What others get means nothing.

        Raises:
            InputError: no such column, or a value missing, infinite, too large or not a label.
        """
        name = self.target.name
        check(table, source, name)
        cells = Cells(table, name, source, self.target.format)
        rows = np.ones(table.num_rows, bool) if rows is None else rows
        if self.target.kind == "regression":
            cells.refuse(np.isnan(cells.numbers) & rows, "a finite number")
            scale = self.target.deviation or np.inf
            return ((cells.numbers - self.target.mean) / scale).astype(np.float32)[:, None]
        places = cells.places(self.target.labels)
        cells.refuse((places < 0) & rows, f"one of the labels {listed(self.target.labels)}")
        return places.astype(np.int32)

    def _cells(self, table: pa.Table, source: str) -> Iterator[tuple[Column, Cells]]:
        """Give each column that is used with its cells, whatever the case of its name."""
        check(table, source)
        folded = {fold(name): name for name in reversed(table.column_names)}
        own = {name: name for name in table.column_names}
        names = {
            each.name: own.get(each.name, folded.get(fold(each.name))) for each in self.columns
        }
        if missing := [name for name, found in names.items() if found is None]:
            raise InputError(
                f"{source}: expected the columns that the training table had, got none named "
                f"{listed(missing)}, but {listed(table.column_names)}; add or rename columns"
            )
        for column in self.columns:
            yield column, Cells(table, names[column.name] or "", source, column.format)

    def decode(self, outputs: Float[np.ndarray, "N O"]) -> list[object] | Float64[np.ndarray, " N"]:
        """Give the label of each row's largest output, or its value in the target's own units.

        Raises:
            InputError: another number of outputs, or one that is not finite.
        """
        checks.data(outputs, "outputs")
        if outputs.shape[1:] != (self.outputs,):
            raise InputError(
                f"outputs: expected shape [N, {self.outputs}], got {list(outputs.shape)}"
            )
        if self.target.kind == "classification":
            return [self.target.labels[place] for place in outputs.argmax(axis=1)]
        return outputs[:, 0].astype(np.float64) * self.target.deviation + self.target.mean

    def to_json(self) -> dict[str, object]:
        """Give the encoder in plain JSON types."""
        return records.plain(self)

    @classmethod
    def from_json(cls, value: object) -> "Encoder":
        """Make the encoder that `to_json` gave.

        Raises:
            InputError: anything else, naming what of it.
        """
        return records.typed(cls, value, "encoder")


def read_batches(
    source: str | Path, encoder: Encoder, batch_size: int, seed: int = SEED
) -> Callable[[int], Iterator[tuple[np.ndarray, np.ndarray]]]:
    """Read a Parquet file's encoded rows as a stream for `jaxnet.fit`, a row group at a time.

    Every epoch reads the row groups in another order, and the rows of each in another: a shuffle
    as wide as a row group, in as little memory.

    Raises:
        InputError: no sound Parquet file, a batch size that is not 1 to its rows, or a seed that
            is no whole number of at least 0; and from the stream, rows that cannot be encoded.
    """
    checks.seed(seed)
    try:
        file = parquet.ParquetFile(source)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{source}: expected a sound .parquet file, got {error}") from error
    rows = file.metadata.num_rows
    if not 1 <= batch_size <= rows:
        raise InputError(
            f"batch_size: expected 1 to the {rows} rows of {source}, got {batch_size}; give fewer"
        )

    def batches_of(epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        random = np.random.default_rng([seed, epoch])
        x, y = np.zeros((0, encoder.inputs), np.float32), None
        for group in random.permutation(file.num_row_groups):
            table = file.read_row_group(int(group))
            order = random.permutation(table.num_rows)
            x = np.concatenate([x, encoder.features(table, str(source))[order]])
            more = encoder.targets(table, str(source))[order]
            y = more if y is None else np.concatenate([y, more])
            whole = len(x) - len(x) % batch_size
            for first in range(0, whole, batch_size):
                yield x[first : first + batch_size], y[first : first + batch_size]
            x, y = x[whole:], y[whole:]
        if y is not None and len(x):
            yield x, y

    return batches_of


def _encode(column: Column, cells: Cells, x: Float32[np.ndarray, "inputs N"]) -> None:
    """Write one column's inputs over zeros."""
    missing = ~cells.there(column.kind)
    if column.kind == "category":
        places = cells.places(column.categories)
        x[: len(column.categories)] = places == np.arange(len(column.categories))[:, None]
        if column.other:
            x[len(column.categories)] = (places < 0) & ~missing
    elif column.kind == "date":
        for row, part in zip(x, column.parts, strict=False):
            row[:] = _standardise(part, cells.part(part.name))
    else:
        x[0] = _standardise(column, cells.numbers)
    if column.missing:
        x[-1] = missing


def _odd(column: Column, cells: Cells) -> dict[str, Bool[np.ndarray, " N"]]:
    """Say which rows hold what no training row did, by what that is."""
    odd = {} if column.missing else {"nothing, as in no training row": ~cells.present}
    if column.kind == "category":
        unseen = (cells.places(column.categories) < 0) & cells.present
        return odd if column.other else odd | {"a value that no training row had": unseen}
    if column.kind == "date":
        return odd | {"no date that can be read": cells.present & np.isnat(cells.stamps)}
    with np.errstate(invalid="ignore"):
        far = np.abs(cells.numbers - column.mean) > _FAR * column.deviation
    if not column.deviation:
        far = ~np.isnan(cells.numbers) & (cells.numbers != column.mean)
    near = f"a number far from {column.mean:.3g} ± {column.deviation:.3g}"
    return odd | {near: far, "no number": cells.present & np.isnan(cells.numbers)}


def _standardise(
    fitted: Column | Part, numbers: Float64[np.ndarray, " N"]
) -> Float32[np.ndarray, " N"]:
    """Subtract the mean and divide by the deviation; 0 where there is none, or no number."""
    with np.errstate(over="ignore"):
        scaled = (numbers - fitted.mean) / (fitted.deviation or np.inf)
    return np.nan_to_num(scaled.clip(-FARTHEST, FARTHEST)).astype(np.float32)

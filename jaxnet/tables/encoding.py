"""Arrays out: rows encoded as the training rows were, and outputs decoded into predictions.

Shapes: N rows, B rows of a batch, I inputs, O outputs.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Float32, Float64, Int32
from pyarrow import parquet

from jaxnet._guards import checks, records
from jaxnet._guards.defaults import SEED
from jaxnet.errors import InputError
from jaxnet.tables.cells import LARGEST, Cells, check, listed
from jaxnet.tables.columns import Column, Target

Targets = Int32[np.ndarray, " N"] | Float32[np.ndarray, "N 1"]


@dataclass(frozen=True)
class Encoder:
    """What encodes a table as the training rows were, and decodes outputs into predictions."""

    columns: tuple[Column, ...]
    target: Target

    @property
    def inputs(self) -> int:
        """Count the inputs I."""
        return sum(column.inputs for column in self.columns)

    @property
    def outputs(self) -> int:
        """Count the outputs O: one for each label, or one number."""
        return len(self.target.labels) or 1

    def features(self, table: pa.Table, source: str) -> Float32[np.ndarray, "N I"]:
        """Encode all columns but the target, which may be absent, in the training table's order.

        Raises:
            InputError: columns missing, unknown or of another kind, or a number that is infinite
                or too large for float32.
        """
        check(table, source)
        names, got = [column.name for column in self.columns], table.column_names
        missing = sorted(set(names) - set(got))
        unknown = sorted(set(got) - {*names, self.target.name})
        if missing or unknown:
            differ = {"no": missing, "beside them": unknown}
            words = " and ".join(f"{how} {listed(names)}" for how, names in differ.items() if names)
            raise InputError(
                f"{source}: expected the columns of the training table, got {words}; rename, add "
                "or drop columns"
            )
        x = np.zeros((self.inputs, table.num_rows), np.float32)
        start = 0
        for column in self.columns:
            _encode(column, Cells(table, column.name, source), x[start : start + column.inputs])
            start += column.inputs
        return np.ascontiguousarray(x.T)

    def targets(self, table: pa.Table, source: str) -> Targets:
        """Encode the target: labels as their places, numbers standardised.

        Raises:
            InputError: no such column, or a value missing, infinite, too large or not a label.
        """
        check(table, source, self.target.name)
        cells = Cells(table, self.target.name, source)
        if self.target.kind == "regression":
            numbers = cells.numbers()
            cells.refuse(np.isnan(numbers), "a number")
            return _standardise(self.target, cells, numbers)[:, None]
        places = cells.places(self.target.labels)
        cells.refuse(places < 0, f"one of the labels {listed(self.target.labels)}")
        return places.astype(np.int32)

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

    def check_outputs(
        self, outputs: Float[np.ndarray, "N O"], table: pa.Table, source: str
    ) -> None:
        """Refuse a table for outputs that overflowed, which far numbers in its rows lead to.

        Raises:
            InputError: naming the number of the first such row that is farthest from the training
                rows'.
        """
        overflowed = np.asarray(~np.isfinite(outputs).all(axis=1))
        if overflowed.any():
            far = np.abs(self.features(table.slice(int(overflowed.argmax()), 1), source)[0])
            inputs = [column for column in self.columns for _ in range(column.inputs)]
            column = inputs[int(far.argmax())]
            if column.kind != "categorical":
                Cells(table, column.name, source).refuse(overflowed, _near(column))

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
    kind = cells.kind()
    if column.kind == "categorical":
        places, missing = cells.places(column.categories), cells.coded()[0] < 0
        if kind not in ("categorical", None):
            # Categories 1, 2 and 2b come as numbers from a table without a 2b.
            known = f"one of {listed(column.categories)}"
            cells.refuse((places < 0) & ~missing, known)
        x[: len(column.categories)] = places == np.arange(len(column.categories))[:, None]
    else:
        numbers = cells.numbers()
        if kind not in (column.kind, "categorical", None):
            raise InputError(
                f"{cells.place}: expected {column.kind} values, as the training table has, got "
                f"{kind} ones; write them the same way"
            )
        missing = np.isnan(numbers)
        x[0] = np.where(missing, 0, _standardise(column, cells, numbers))
    if column.missing:
        x[-1] = missing


def _standardise(
    fitted: Column | Target, cells: Cells, numbers: Float64[np.ndarray, " N"]
) -> Float32[np.ndarray, " N"]:
    """Subtract the mean and divide by the deviation; all 0 where there is none."""
    if not fitted.deviation:
        return np.zeros(len(numbers), np.float32)
    with np.errstate(over="ignore"):
        scaled = (numbers - fitted.mean) / fitted.deviation
    cells.refuse(np.abs(scaled) > LARGEST, _near(fitted))
    return scaled.astype(np.float32)


def _near(fitted: Column | Target) -> str:
    return f"a number nearer to the training rows' {fitted.mean:.3g} ± {fitted.deviation:.3g}"

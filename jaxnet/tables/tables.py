"""A user's table in, standardised arrays and the encoder that made them out (extra `tables`).

What is done to a column is fitted on the training rows only, and kept in the encoder:

- numbers and booleans: standardised by mean and standard deviation; a constant column is all 0;
- categories, which are text: one input each, 0 or 1; one that no training row had is all 0;
- missing values (empty, NA, NaN, null): 0 in the inputs above, which is a number's mean; and where
  training rows had some, 1 in an input of their own;
- a regression target: standardised; a class label: its place among the sorted labels.

What has no sensible encoding is refused by file, column and row: infinite numbers and those too
large for float32, text most of which reads as numbers, text that names the rows, dates, columns
without values, targets missing in a row. Rows count as a person counts them: under the header,
which is line 1 of a CSV or TSV file, lines 2, 3, ...; elsewhere rows 1, 2, ...

Shapes: N rows, I inputs, O outputs.
"""

import contextlib
import difflib
import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int32, Int64

from jaxnet._guards import checks
from jaxnet.errors import InputError

if not TYPE_CHECKING:
    checks.extra("tables", "pyarrow", "sklearn")

import pyarrow as pa
from pyarrow import csv, parquet

Kind = Literal["numeric", "boolean", "categorical"]
Task = Literal["classification", "regression"]
Label = str | int | float | bool
Targets = Int32[np.ndarray, " N"] | Float32[np.ndarray, "N 1"]

_BUNDLED = ("digits", "wine", "breast_cancer", "iris", "diabetes")
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_LARGEST = float(np.finfo(np.float32).max)
_NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?\s*", re.IGNORECASE | re.ASCII)
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
        _check(table, source)
        names, got = [column.name for column in self.columns], table.column_names
        missing = sorted(set(names) - set(got))
        unknown = sorted(set(got) - {*names, self.target.name})
        if missing or unknown:
            raise InputError(
                f"{source}: expected the {len(names)} columns of the training table, got none "
                "named "
                f"{_listed(missing)}, and unknown {_listed(unknown)}; rename, add or drop columns"
            )
        x = np.zeros((self.inputs, table.num_rows), np.float32)
        start = 0
        for column in self.columns:
            _encode(column, _cells(table, column.name, source), x[start : start + column.inputs])
            start += column.inputs
        return np.ascontiguousarray(x.T)

    def targets(self, table: pa.Table, source: str) -> Targets:
        """Encode the target: labels as their places, numbers standardised.

        Raises:
            InputError: no such column, or a value missing, infinite, too large or not a label.
        """
        _check(table, source, self.target.name)
        cells = _cells(table, self.target.name, source)
        if self.target.kind == "regression":
            values = _numbers(cells)
            _refuse(cells, np.isnan(values), "a number")
            return _standardise(self.target, cells, values)[:, None]
        places = _places(cells, self.target.labels)
        _refuse(cells, places < 0, f"one of the labels {_listed(self.target.labels)}")
        return places.astype(np.int32)

    def decode(self, outputs: Float[np.ndarray, "N O"]) -> list[Any] | Float64[np.ndarray, " N"]:
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

    def to_json(self) -> dict[str, Any]:
        """Give the encoder in plain JSON types."""
        return json.loads(json.dumps(asdict(self), allow_nan=False))

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Encoder":
        """Make the encoder that `to_json` gave.

        Raises:
            InputError: anything else.
        """
        try:
            columns = [{**c, "categories": tuple(c["categories"])} for c in value["columns"]]
            target = {**value["target"], "labels": tuple(value["target"]["labels"])}
            return cls(tuple(Column(**column) for column in columns), Target(**target))
        except (KeyError, TypeError) as error:
            raise InputError(f"encoder: expected what to_json gave, got {error!r}") from error


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


def read(source: str | Path) -> pa.Table:
    """Read a .csv, .tsv, .parquet or .npz file, or one of scikit-learn's sets by its name.

    CSV and TSV are UTF-8 with a header and one line for each row; empty lines at the end do not
    count. In an NPZ file arrays `[N]` are columns, and an array `x [N, K]` is the columns x0, x1,
    ... The sets are digits, wine, breast_cancer, iris and diabetes; their column to predict is
    called target.

    Raises:
        InputError: no such file or set, one that cannot be parsed, no rows, or columns without a
            name of their own.
    """
    if str(source) in _BUNDLED:
        return _bundled(str(source))
    path = Path(source)
    suffix = path.suffix.lower()
    parse = {".csv": _delimited, ".tsv": _delimited, ".parquet": _parquet, ".npz": _npz}
    if suffix not in parse or not path.is_file():
        raise InputError(
            f"{source}: expected a file ending in {', '.join(parse)}, or one of "
            f"{', '.join(_BUNDLED)}, got {'no such file' if suffix in parse else 'another name'}"
        )
    try:
        table = parse[suffix](path)
    except (InputError, OSError) as error:
        raise InputError(f"{source}: expected a sound {suffix} file, got {error}") from error
    _check(table, str(source))
    return table


def split(
    table: pa.Table,
    target: str,
    *,
    task: Task | None = None,
    validation: float = 0.2,
    test: float = 0.2,
    seed: int = 0,
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
    if seed < 0:
        raise InputError(f"seed: expected at least 0, got {seed}")
    if task not in (None, "classification", "regression"):
        raise InputError(f"task: expected classification or regression, got {task!r}")
    _check(table, source, target)
    names = [name for name in table.column_names if name != target]
    if not names:
        raise InputError(f"{source}: expected columns to predict {target!r} from, got none")
    cells = _cells(table, target, source)
    labels = _labels(cells, task)
    groups = _places(cells, labels) if labels else np.zeros(table.num_rows, np.int64)
    _check_classes(cells, labels, groups, validation + test)
    rows = _deal(groups, validation, test, seed)
    for part, share in (("validation", validation), ("test", test)):
        if share and not rows[part].size:
            raise InputError(
                f"{source}: expected rows for {part}, got none, {share} of {len(groups)}; give "
                "more "
                "rows, a larger share, or 0"
            )
    columns = tuple(_fit(_cells(table, name, source), rows["train"]) for name in names)
    if labels:
        encoder = Encoder(columns, Target(target, "classification", labels))
    else:
        moments = _moments(_numbers(cells)[rows["train"]])
        encoder = Encoder(columns, Target(target, "regression", (), *moments))
    x, y = encoder.features(table, source), encoder.targets(table, source)
    train, held, tested = ((x[rows[p]], y[rows[p]]) for p in ("train", "validation", "test"))
    return Split(train, held, tested, encoder, rows)


def read_batches(
    source: str | Path, encoder: Encoder, batch_size: int, seed: int = 0
) -> Callable[[int], Iterator[tuple[np.ndarray, np.ndarray]]]:
    """Read a Parquet file's encoded rows as a stream for `jaxnet.fit`, a row group at a time.

    Every epoch reads the row groups in another order, and the rows of each in another: a shuffle
    as wide as a row group, in as little memory.

    Raises:
        InputError: no sound Parquet file, or a batch size that is not 1 to its rows; and from the
            stream, rows that cannot be encoded.
    """
    try:
        file = parquet.ParquetFile(source)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{source}: expected a sound .parquet file, got {error}") from error
    rows = file.metadata.num_rows
    if not 1 <= batch_size <= rows:
        raise InputError(f"batch_size: expected 1 to the {rows} rows of {source}, got {batch_size}")

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


def _bundled(name: str) -> pa.Table:
    from sklearn import datasets

    data: Any = getattr(datasets, f"load_{name}")()
    target = data.target_names[data.target] if "target_names" in data else data.target
    return pa.table([*data.data.T, target], names=[*data.feature_names, "target"])


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """Refuse a file for whatever a library's reader makes of it: they raise all sorts of errors."""
    try:
        yield
    except Exception as error:
        got = str(error).replace("Row #", "line ")[:300] or type(error).__name__
        raise InputError(got) from error


def _delimited(path: Path) -> pa.Table:
    data = path.read_bytes().rstrip(b"\r\n") + b"\n"
    delimiter = _DELIMITERS[path.suffix.lower()]
    _check_lines(data, delimiter)
    with _reading():
        table = csv.read_csv(
            pa.BufferReader(data),
            # One thread, for then pyarrow knows the line of an error.
            csv.ReadOptions(use_threads=False, block_size=2**22),
            csv.ParseOptions(delimiter=delimiter, ignore_empty_lines=False),
            csv.ConvertOptions(strings_can_be_null=True),
        )
    if table.num_rows != len(data.splitlines()) - 1:
        raise InputError("a quote that is not closed on its line; close or double it")
    return table


def _check_lines(data: bytes, delimiter: str) -> None:
    """Refuse what pyarrow would read otherwise than it was meant."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        line = len(data[: error.start + 1].splitlines())
        raise InputError(f"bytes that are not UTF-8 in line {line}; save it as UTF-8") from error
    if data == b"\n":
        raise InputError("an empty file")
    lines = data.splitlines()
    for number, line in enumerate(lines, 1):
        if not line:
            raise InputError(f"an empty line {number}; delete it, or write NA for a missing value")
        if b"\0" in line:
            raise InputError(f"a NUL byte in line {number}; save the file as UTF-8 text")
        if b'"' in line and line.count(b'"') % 2:
            raise InputError(
                f"a quote that is not closed in line {number}; close it there, or double it "
                "within a quoted value"
            )
    others = [other for other in ",;\t|" if other in lines[0].decode()]
    if others and delimiter not in others:
        raise InputError(f"a header with {others[0]!r} between names; expected {delimiter!r}")


def _parquet(path: Path) -> pa.Table:
    with _reading():
        with parquet.ParquetFile(path) as file:
            table = file.read()
        table.validate(full=True)
    return table


def _npz(path: Path) -> pa.Table:
    columns: list[tuple[str, np.ndarray]] = []
    # Opened here, for np.load leaves a broken file open.
    with _reading(), path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
        arrays = dict(file.items())
    for name, array in arrays.items():
        if array.ndim not in (1, 2):
            raise InputError(
                f"the array {name!r} of shape {list(array.shape)}; save it as [N] or [N, K]"
            )
        if array.ndim == 1:
            columns.append((name, array))
        else:
            columns.extend((f"{name}{k}", column) for k, column in enumerate(array.T))
    with _reading():
        return pa.table([column for _, column in columns], names=[name for name, _ in columns])


def _check(table: pa.Table, source: str, *expected: str) -> None:
    """Refuse no rows, columns without a name of their own, and none of a expected name."""
    names = table.column_names
    if not table.num_rows:
        raise InputError(f"{source}: expected at least one row, got none; add rows")
    nameless = [place for place, name in enumerate(names, 1) if not name.strip()]
    if nameless:
        raise InputError(
            f"{source}: expected a name for each column, got none for column {nameless[0]}; name "
            "it, or drop it if it only numbers the rows"
        )
    if len(set(names)) < len(names):
        twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        raise InputError(
            f"{source}: expected each column's name once, got {_listed(twice)} more often; rename "
            "or drop columns"
        )
    for name in set(expected) - set(names):
        near = difflib.get_close_matches(name, names, 3, 0.5)
        raise InputError(f"{source}: expected the column {name!r}, got {_listed(near or names)}")


class _Cells(NamedTuple):
    """One column of a user's table, with what errors call it."""

    values: pa.ChunkedArray
    name: str
    source: str


def _cells(table: pa.Table, name: str, source: str) -> _Cells:
    values = table[name]
    if pa.types.is_decimal(values.type):
        values = values.cast(pa.float64())
    return _Cells(values, name, source)


def _refuse(cells: _Cells, wrong: Bool[np.ndarray, " N"], expected: str) -> None:
    """Refuse the first row that is wrong."""
    if wrong.any():
        row = int(wrong.argmax())
        lines = Path(cells.source).suffix.lower() in _DELIMITERS
        raise InputError(
            f"{cells.source}, column {cells.name!r}, "
            f"{f'line {row + 2}' if lines else f'row {row + 1}'}: expected {expected}, got "
            f"{_shown(cells.values[row].as_py())}, the first of {wrong.sum()} such rows; correct "
            "it, or drop the row or the column"
        )


def _kind(cells: _Cells) -> Kind | None:
    """Give the kind of a column, None where it has no values to tell."""
    found, types = cells.values.type, pa.types
    category = types.is_dictionary(found)
    values = found.value_type if category else found
    if types.is_null(values):
        return None
    if types.is_string(values) or types.is_large_string(values) or types.is_string_view(values):
        return "categorical"
    if types.is_boolean(values):
        return "categorical" if category else "boolean"
    if types.is_integer(values) or types.is_floating(values):
        return "categorical" if category else "numeric"
    raise InputError(
        f"{cells.source}, column {cells.name!r}: expected numbers, true and false, or text, got "
        f"{found}; turn it into numbers, such as days, or drop the column"
    )


def _numbers(cells: _Cells) -> Float64[np.ndarray, " N"]:
    """Give numbers, or booleans as 0 and 1, with NaN for missing ones; refuse text."""
    if _kind(cells) == "categorical":
        codes, values = _coded(cells)
        words = np.array([not _NUMBER.fullmatch(str(v)) for v in values] + [False])[codes]
        _refuse(cells, words, "a plain number")
        _refuse(cells, codes >= 0, "numbers, and not text that reads as numbers")
        return np.full(len(codes), np.nan)
    # Not safe, for integers beyond 2**53 may lose digits that float32 has no room for.
    numbers = cells.values.cast(pa.float64(), safe=False).to_numpy()
    _refuse(cells, np.abs(numbers) > _LARGEST, f"a finite number of at most {_LARGEST:.3g}")
    return numbers


def _coded(cells: _Cells) -> tuple[Int64[np.ndarray, " N"], list[Any]]:
    """Give each row's place in a list of values, -1 where it is missing."""
    _kind(cells)
    column = cells.values.unify_dictionaries().combine_chunks()
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    values = column.dictionary.to_pylist()
    missing = [place for place, v in enumerate(values) if v in ("", None) or _is_nan(v)]
    codes = column.indices.cast(pa.int64()).fill_null(-1).to_numpy()
    return np.where(np.isin(codes, missing), -1, codes), values


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _places(cells: _Cells, known: Sequence[Label]) -> Int64[np.ndarray, " N"]:
    """Give each row's place among the known values, -1 where it is none of them."""
    codes, values = _coded(cells)
    if known and isinstance(known[0], str):
        values = [_text(value) for value in values]
    places = {value: place for place, value in enumerate(known)}
    return np.array([places.get(value, -1) for value in values] + [-1])[codes]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _fit(cells: _Cells, train: Int64[np.ndarray, " train"]) -> Column:
    """Fit one column's encoding on the training rows, if all its rows can be encoded."""
    name, kind = cells.name, _kind(cells)
    if kind == "categorical":
        codes, values = _coded(cells)
        _check_text(cells, codes, values)
        missing = codes < 0
        used = {_text(values[code]) for code in np.unique(codes[train]) if code >= 0}
        gaps = bool(missing[train].any())
        column = Column(name, kind, categories=tuple(sorted(used)), missing=gaps)
    else:
        numbers = _numbers(cells)
        missing = np.isnan(numbers)
        gaps = bool(missing[train].any())
        column = Column(name, kind or "numeric", *_moments(numbers[train]), missing=gaps)
    if missing.all():
        raise InputError(f"{cells.source}, column {name!r}: expected values, got none; drop it")
    return column


def _check_text(cells: _Cells, codes: Int64[np.ndarray, " N"], values: list[Any]) -> None:
    """Refuse text that is mostly numbers, or that tells most rows apart."""
    rows, different = (codes >= 0).sum(), len(np.unique(codes[codes >= 0]))
    if not pa.types.is_dictionary(cells.values.type):
        bare = [_NUMBER.fullmatch(_ADORNMENTS.sub("", value or "")) for value in values]
        if 2 * np.array([*map(bool, bare), False])[codes].sum() > rows:
            _numbers(cells)
    if different > _MOST_CATEGORIES or (different > _FEW_VALUES and 2 * different > rows):
        raise InputError(
            f"{cells.source}, column {cells.name!r}: expected at most {_MOST_CATEGORIES} "
            f"categories, each in several rows, got {different} in {rows} rows; group them, or "
            "drop the column if it names the rows"
        )


def _moments(numbers: Float64[np.ndarray, " N"]) -> tuple[float, float]:
    """Give mean and standard deviation of the numbers that are there, 0 where nothing varies."""
    numbers = numbers[~np.isnan(numbers)]
    if not numbers.size or numbers.min() == numbers.max():  # where rounding may leave a deviation
        return float(numbers[:1].sum()), 0.0
    return float(numbers.mean()), float(numbers.std())


def _labels(cells: _Cells, task: Task | None) -> tuple[Label, ...]:
    """Give the sorted class labels of a target, none of them for regression."""
    codes, values = _coded(cells)
    _refuse(cells, codes < 0, "a value to predict in every row")
    kind, used = _kind(cells), sorted({values[code] for code in np.unique(codes)})
    if kind != "categorical" or task == "regression":
        _numbers(cells)
    elif task is None:
        _check_text(cells, codes, values)
    if len(used) < 2:
        raise InputError(
            f"{cells.source}, column {cells.name!r}: expected at least two values to tell apart, "
            f"got only {_shown(used[0])}"
        )
    few = pa.types.is_integer(cells.values.type) and len(used) <= min(_FEW_VALUES, len(codes) / 5)
    number = task is None and kind == "numeric" and not few
    return () if number or task == "regression" else tuple(used)


def _check_classes(
    cells: _Cells, labels: Sequence[Label], groups: Int64[np.ndarray, " N"], held: float
) -> None:
    """Refuse a class so small that it may be without a training row."""
    least = max(2, math.ceil(1 / (1 - held) - 1e-9))
    counts = np.bincount(groups)
    if counts.min() < least:
        name = f"class {_shown(labels[int(counts.argmin())])}" if labels else "table"
        raise InputError(
            f"{cells.source}, column {cells.name!r}: expected at least {least} rows of the {name}, "
            f"got {counts.min()}; add rows, or merge or drop small classes"
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


def _encode(column: Column, cells: _Cells, x: Float32[np.ndarray, "inputs N"]) -> None:
    """Write one column's inputs over zeros."""
    kind = _kind(cells)
    if column.kind == "categorical":
        places, missing = _places(cells, column.categories), _coded(cells)[0] < 0
        if kind not in ("categorical", None):
            # Categories 1, 2 and 2b come as numbers from a table without a 2b.
            known = f"one of {_listed(column.categories)}"
            _refuse(cells, (places < 0) & ~missing, known)
        x[: len(column.categories)] = places == np.arange(len(column.categories))[:, None]
    else:
        numbers = _numbers(cells)
        if kind not in (column.kind, "categorical", None):
            raise InputError(
                f"{cells.source}, column {cells.name!r}: expected {column.kind} values, as the "
                f"training table has, got {kind} ones; write them the same way"
            )
        missing = np.isnan(numbers)
        x[0] = np.where(missing, 0, _standardise(column, cells, numbers))
    if column.missing:
        x[-1] = missing


def _standardise(
    fitted: Column | Target, cells: _Cells, numbers: Float64[np.ndarray, " N"]
) -> Float32[np.ndarray, " N"]:
    """Subtract the mean and divide by the deviation; all 0 where there is none."""
    if not fitted.deviation:
        return np.zeros(len(numbers), np.float32)
    with np.errstate(over="ignore"):
        scaled = (numbers - fitted.mean) / fitted.deviation
    near = f"a number nearer to the training rows' {fitted.mean:.3g} ± {fitted.deviation:.3g}"
    _refuse(cells, np.abs(scaled) > _LARGEST, near)
    return scaled.astype(np.float32)


def _shown(value: Any) -> str:
    return "a missing value" if value is None else f"{value!r:.80}"


def _listed(names: Sequence[Label], most: int = 10) -> str:
    """Write out names, the first of many."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(map(_shown, names[:most])) or "none") + more

"""A user's file in: CSV, TSV, Parquet, NPZ, or one of scikit-learn's sets, as a table."""

import contextlib
import csv as csv_lines
import importlib.util
import io
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
from pyarrow import csv, parquet

from jaxnet._guards import checks
from jaxnet.errors import InputError
from jaxnet.tables.cells import DELIMITERS, check

_BUNDLED = ("digits", "wine", "breast_cancer", "iris", "diabetes")


@runtime_checkable
class Frame(Protocol):
    """A data frame of any library that gives its columns to Arrow, such as pandas and polars."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Give the columns."""
        ...


def read(source: str | Path | Frame) -> pa.Table:
    """Read a .csv, .tsv, .parquet or .npz file, a frame, or one of scikit-learn's sets by its name.

    CSV and TSV are UTF-8 with a header, each row on a line of its own but for line breaks within
    quoted values; empty lines at the end do not count. In an NPZ file arrays `[N]` are columns, and
    an array `x [N, K]` is the columns x0, x1, ... The sets are digits, wine, breast_cancer, iris
    and diabetes; their column to predict is called target.

    Raises:
        InputError: no such file or set, one that cannot be parsed, no rows, or columns without a
            name of their own.
    """
    if isinstance(source, Frame):
        table = pa.table(source)
        check(table, "the frame")
        return table
    if str(source) in _BUNDLED:
        return _bundled(str(source))
    path = Path(source)
    suffix = path.suffix.lower()
    parse = {".csv": _delimited, ".tsv": _delimited, ".parquet": _parquet, ".npz": _npz}
    if suffix not in parse or not path.is_file():
        got = "no such file" if suffix in parse else "another name"
        raise InputError(
            f"{source}: expected a file ending in {', '.join(parse)}, or one of "
            f"{', '.join(_BUNDLED)}, got {'a folder' if path.is_dir() else got}"
        )
    try:
        table = parse[suffix](path)
    except (InputError, OSError) as error:
        raise InputError(f"{source}: expected a sound {suffix} file, got {error}") from error
    check(table, str(source))
    return table


def _bundled(name: str) -> pa.Table:
    checks.extra("tables", "sklearn")
    if name == "digits" and (path := _digits_file()).is_file():
        pixels = [f"pixel_{row}_{column}" for row in range(8) for column in range(8)]
        types = dict.fromkeys(pixels, pa.float64()) | {"target": pa.int64()}
        names = csv.ReadOptions(column_names=list(types))
        return csv.read_csv(path, names, convert_options=csv.ConvertOptions(column_types=types))
    from sklearn import datasets

    data: Any = getattr(datasets, f"load_{name}")()
    target = data.target_names[data.target] if "target_names" in data else data.target
    return pa.table([*data.data.T, target], names=[*data.feature_names, "target"])


def _digits_file() -> Path:
    """Give where scikit-learn keeps its digits; to import it takes longer than to train on them."""
    spec = importlib.util.find_spec("sklearn")
    return Path(str(spec and spec.origin)).parent / "datasets" / "data" / "digits.csv.gz"


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """Refuse a file for whatever a library's reader makes of it: they raise all sorts of errors."""
    try:
        yield
    except Exception as error:
        raise InputError(str(error)[:300] or type(error).__name__) from error


def _delimited(path: Path) -> pa.Table:
    data = path.read_bytes().rstrip(b"\r\n") + b"\n"
    delimiter = DELIMITERS[path.suffix.lower()]
    starts = _starts(_lines(data, delimiter))
    names = next(csv_lines.reader(io.StringIO(data.decode(), newline=""), delimiter=delimiter))
    try:
        with _reading():
            table = csv.read_csv(
                pa.BufferReader(data),
                # One thread, for then pyarrow knows the row of an error.
                csv.ReadOptions(use_threads=False, block_size=2**22),
                csv.ParseOptions(
                    delimiter=delimiter, ignore_empty_lines=False, newlines_in_values=True
                ),
                # What a cell means is for the plan, which needs it as it is written.
                csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
            )
    except InputError as error:
        raise InputError(re.sub(r"Row #(\d+)", partial(_line, starts), str(error))) from error
    if table.num_rows != len(starts) - 1:
        raise InputError("a quote within a value; quote that value whole, and double its quotes")
    return table.rename_columns(
        [name.strip() or f"Unnamed: {place}" for place, name in enumerate(table.column_names)]
    )


def _lines(data: bytes, delimiter: str) -> list[bytes]:
    """Give the lines of a file; refuse what pyarrow would read otherwise than it was meant."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        line = len(data[: error.start + 1].splitlines())
        raise InputError(f"bytes that are not UTF-8 in line {line}; save it as UTF-8") from error
    if data == b"\n":
        raise InputError("an empty file")
    lines = data.splitlines()
    for number, line in enumerate(lines, 1):
        if b"\0" in line:
            raise InputError(f"a NUL byte in line {number}; save the file as UTF-8 text")
    others = [other for other in ",;\t|" if other in lines[0].decode()]
    if others and delimiter not in others:
        raise InputError(f"a header with {others[0]!r} between names; expected {delimiter!r}")
    return lines


def _starts(lines: list[bytes]) -> list[int]:
    """Give the line, from 1, that each row begins on: a quoted value may go on over several."""
    starts, opened = [], 0
    for number, line in enumerate(lines, 1):
        if not opened:
            if not line:
                raise InputError(
                    f"an empty line {number}; delete it, or write NA for a missing value"
                )
            starts.append(number)
        if line.count(b'"') % 2:
            opened = 0 if opened else number
    if opened:
        raise InputError(
            f"a quote that is not closed from line {opened} on; close it, or double it within a "
            "quoted value"
        )
    return starts


def _line(starts: list[int], row: re.Match[str]) -> str:
    """Name the line of a row that pyarrow counts; a stray quote may make it see more of them."""
    return f"line {starts[min(int(row[1]), len(starts)) - 1]}"


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

"""A user's file in: text, Parquet, NPZ and others, or one of scikit-learn's sets, as a table."""

import array
import codecs
import contextlib
import csv as csv_lines
import importlib.util
import io
import itertools
import json as json_text
import re
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
from pyarrow import csv, feather, json, parquet

from jaxnet._guards import checks
from jaxnet.errors import InputError
from jaxnet.tables.cells import (
    DELIMITED,
    MISSING,
    PASSED,
    SAID,
    SPELLED,
    SPLIT,
    check,
    is_delimited,
    listed,
)

_PACKED = (".gz", ".bz2", ".zst", ".zip")
# So many bytes of text, or so many lines where that is more, tell how it is laid out.
_SAMPLE, _LINES = 2**18, 20
_NUMBER, _UNIT = r"[-+]?[\d.,'\s]*\d[\d.,eE+-]*", r"[^\d\s+.-]\S{0,11}"
_BUNDLED = ("digits", "wine", "breast_cancer", "iris", "diabetes")


@runtime_checkable
class Frame(Protocol):
    """A data frame of any library that gives its columns to Arrow, such as pandas and polars."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Give the columns."""
        ...


def read(
    source: str | Path | Frame,
    *,
    delimiter: str | None = None,
    encoding: str | None = None,
    header: int | None = None,
) -> pa.Table:
    """Read a file, a frame, or one of scikit-learn's sets by its name.

    Text, which may be packed, ends in .csv, .tsv or .txt: its delimiter, quotes, header and the
    lines above it are those that DuckDB finds in its first lines; it is UTF-8, UTF-16 or of
    Windows. Each row is on a line of its own but for line breaks within quoted values, and all
    cells stay text as it is written. Other files end in .parquet, .npz, .feather, .arrow, .jsonl,
    .ndjson and .xlsx (extra `workbooks`), of which the first sheet is read. In an NPZ file arrays
    `[N]` are columns, and an array `x [N, K]` is the columns x0, x1, ...; where all are named as
    x_train, y_train, x_test and y_test are, by parts, these are joined, with a column `split` that
    `split` goes by. A folder of Parquet files is one table. The sets are digits, wine,
    breast_cancer, iris and diabetes; their column to predict is called target.

    A row of units below the header and empty lines are passed over. What is not as usual the plan
    says.

    Args:
        source: the file, the frame or the name.
        delimiter: what stands between the cells of text; tab may be spelled so.
        encoding: of text, any that Python knows.
        header: the line of text that has the columns' names, from 1; 0 where there is none.

    Raises:
        InputError: no such file or set, one that cannot be parsed, no rows, or columns without a
            name of their own.
    """
    asked = {"delimiter": delimiter, "encoding": encoding, "header": header}
    asked = {name: each for name, each in asked.items() if each is not None}
    if asked and not is_delimited(source):
        raise InputError(
            f"{', '.join(asked)}: expected text, such as a .csv file, to read so; leave that out"
        )
    if isinstance(source, Frame):
        table = pa.table(source)
        check(table, "the frame")
        return table
    if str(source) in _BUNDLED:
        return _bundled(str(source))
    path = Path(source)
    suffix = path.suffix.lower()
    if suffix in _PACKED:
        suffix = Path(path.stem).suffix.lower() or suffix
    parse = dict.fromkeys((*DELIMITED, ".zip"), partial(_delimited, **asked)) | {
        ".parquet": _parquet,
        ".npz": _npz,
        ".xlsx": _workbook,
        **dict.fromkeys((".jsonl", ".ndjson"), _json),
        **dict.fromkeys((".feather", ".arrow"), _feather),
    }
    if path.is_dir() and any(path.rglob("*.parquet")):
        suffix = ".parquet"
    elif suffix not in parse or not path.is_file():
        got = "no such file" if suffix in parse else "another name"
        got = "a folder without .parquet files" if path.is_dir() else got
        got = "a URL; download it first" if re.match("[a-z0-9]+://", str(source)) else got
        got = "standard input; save it as a file first" if str(source) == "-" else got
        raise InputError(
            f"{source}: expected a file ending in {', '.join(parse)}, or one of "
            f"{', '.join(_BUNDLED)}, got {got}"
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


def _delimited(
    path: Path,
    delimiter: str | None = None,
    encoding: str | None = None,
    header: int | None = None,
) -> pa.Table:
    data, said = _decoded(_unpacked(path), encoding)
    found = _dialect(data, {"tab": "\t", "\\t": "\t"}.get(delimiter or "", delimiter), header)
    if found.above and (titles := re.match(rb"(?:.*?(?:\r\n?|\n)){%d}" % found.above, data)):
        data = data[titles.end() :]
    starts, passed = _starts(data, found)
    text = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline="")
    names = next(filter(None, csv_lines.reader(text, delimiter=found.delimiter)))
    del text
    if found.headless:
        names = [f"column {place}" for place in range(1, len(names) + 1)]
    as_it_is = path.suffix.lower() not in _PACKED and not said and not found.above
    # The table takes as much memory as the file, which need not be there too.
    source = str(path) if as_it_is else pa.BufferReader(data)
    del data
    try:
        with _reading():
            table = csv.read_csv(
                source,
                # One thread, for then pyarrow knows the row of an error.
                csv.ReadOptions(
                    use_threads=False,
                    block_size=2**22,
                    column_names=names if found.headless else None,
                ),
                csv.ParseOptions(
                    delimiter=found.delimiter,
                    quote_char=found.quote or False,
                    newlines_in_values=True,
                ),
                # What a cell means is for the plan, which needs it as it is written.
                csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
            )
    except InputError as error:
        raise InputError(re.sub(r"Row #(\d+)", partial(_line, starts), str(error))) from error
    if table.num_rows != len(starts) - (not found.headless):
        raise InputError("a quote within a value; quote that value whole, and double its quotes")
    empty = [f"{len(passed)} empty lines passed over"] * (len(passed) > 0)
    passed = [*range(1, found.above + 1), *starts[: not found.headless], *passed]
    if not found.headless and (units := _units(table)):
        empty.append(f"a row of units left out: {units}")
        passed.append(starts[1])
        table = table.slice(1)
    about = {
        PASSED: json_text.dumps(sorted(passed)),
        SAID: "; ".join([*said, *found.said(), *empty]),
    }
    names = [name.strip() or f"Unnamed: {place}" for place, name in enumerate(table.column_names)]
    return table.rename_columns(names).replace_schema_metadata(about)


def _units(table: pa.Table) -> str:
    """Give the units in the first row, where there is nothing else in it and numbers below."""
    columns = table.columns if table.num_rows > 2 else []
    cells = [[text.strip() for text in column[:20].to_pylist()] for column in columns]
    for first, *below in cells:
        numbers = all(re.fullmatch(_NUMBER, cell) for cell in below if cell not in MISSING)
        if first not in MISSING and not (numbers and re.fullmatch(_UNIT, first)):
            return ""
    return ", ".join(first for first, *_ in cells if first not in MISSING)


def _unpacked(path: Path) -> bytes:
    """Read a file, unpacked where its name says how it is packed."""
    packed = path.suffix.lower()
    with _reading():
        if packed == ".zip":
            with zipfile.ZipFile(path) as file:
                names = [each for each in file.namelist() if not each.startswith("__MACOSX")]
                if len(names) != 1:
                    raise InputError(f"{len(names)} files; pack one alone: {listed(names)}")
                return file.read(names[0])
        kind = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}.get(packed)
        with pa.input_stream(str(path), compression=kind) as stream:
            return stream.read()


def _decoded(data: bytes, asked: str | None) -> tuple[bytes, list[str]]:
    """Give text as UTF-8: as asked, or that was so, of UTF-16 with its mark, or of Windows.

    And say which, where it is not UTF-8.
    """
    marked = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    usual = {"utf-16": "UTF-16"} if marked else {"utf-8": "UTF-8", "cp1252": "Windows-1252"}
    for encoding, name in ({asked: asked} if asked else usual).items():
        try:
            if name == "UTF-8":
                _check_utf8(data)
            else:
                data = data.decode(encoding).encode()
        except UnicodeDecodeError:
            continue
        except LookupError as error:
            raise InputError(f"{error}; give another encoding, such as cp1252") from error
        if (place := data.find(0)) >= 0:
            line = data.count(b"\n", 0, place) + 1
            raise InputError(f"a NUL byte in line {line}; save the file as UTF-8 text")
        if not re.search(rb"[^\r\n]", data.removeprefix(codecs.BOM_UTF8)):
            raise InputError("an empty file")
        return data, [name] * (name != "UTF-8")
    raise InputError(f"bytes that are no text{' of ' * bool(asked)}{asked or ''}; save it as UTF-8")


def _check_utf8(data: bytes) -> None:
    """Raise UnicodeDecodeError where text is not so; a piece at a time, for all takes as much."""
    decoder, pieces = codecs.getincrementaldecoder("utf-8")(), io.BytesIO(data)
    while piece := pieces.read(2**22):
        decoder.decode(piece)
    decoder.decode(b"", final=True)


class _Dialect(NamedTuple):
    """How text is laid out: what is between cells and around them, where rows begin."""

    delimiter: str = ","
    quote: str = '"'
    above: int = 0
    headless: bool = False

    def said(self) -> list[str]:
        """Say what is not as in most files."""
        return [
            *[f"{self.delimiter!r} between cells"] * (self.delimiter != ","),
            *[f"{self.above} lines above the header passed over"] * (self.above > 0),
            *["no header: columns are called by their place"] * self.headless,
        ]


def _dialect(data: bytes, asked: str | None, line: int | None) -> _Dialect:
    """Let DuckDB look at the first lines; where it finds nothing, what is wrong is told later."""
    checks.extra("tables", "duckdb")
    import duckdb

    first = sum(map(len, itertools.islice(io.BytesIO(data), _LINES)))
    sample = data if len(data) < _SAMPLE else data[: max(first, data.rfind(b"\n", 0, _SAMPLE))]
    lines = sample.decode().splitlines()
    mark = _separator(lines)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "sample.csv")
        path.write_bytes(sample)
        try:
            found = duckdb.execute(
                "select Delimiter, Quote, SkipRows, HasHeader from "
                f"sniff_csv(?{', delim = ?' * len(mark)})",
                [str(path), *mark],
            ).fetchone()
        except (duckdb.Error, UnicodeDecodeError):
            found = None
    delimiter, quote, above, header = found or (",", '"', 0, True)
    if asked and len(asked) != 1:
        raise InputError(f"a delimiter of {len(asked)} characters, {asked!r}; give one, or tab")
    if (line or 0) > len(lines):
        raise InputError(f"{len(lines)} lines, none of them header {line}; give one of them, or 0")
    titles = [line for line in lines[:above] if delimiter not in line or line.startswith("#")]
    # A broken row, or a quote left open, is not what a file is like: it is told by its line.
    above = above if len(titles) == above < len(lines) else 0
    above = above if line is None else max(0, line - 1)
    if asked:
        delimiter = asked
    elif delimiter not in tuple(",;\t|") or delimiter not in lines[above]:
        delimiter = max(",;\t|", key=lines[above].count)
    if re.search(rf'(^|{re.escape(delimiter)}) *"', sample.decode(), re.MULTILINE):
        quote = '"'
    first = lines[above].split(delimiter)
    numbers = [float(cell) for cell in first if re.fullmatch(r"\s*-?\d+\.?\d*\s*", cell)]
    # Years and places in order are names.
    named = header or 2 * len(numbers) < len(first) or set(np.diff(numbers)) <= {1.0}
    headless = not named if line is None else line == 0
    return _Dialect(delimiter, '"' if quote == '"' else "", above, headless)


def _separator(lines: Sequence[str]) -> str:
    """Give what all lines have as often from the header on, if any: commas mark decimals too."""
    for mark in ";\t|":
        first = next((place for place, line in enumerate(lines) if mark in line), len(lines))
        alike = len({line.count(mark) for line in lines[first:]}) == 1
        # Where commas are as regular, more than that has to be looked at.
        commas = {line.count(",") for line in lines[first:]}
        if alike and len(commas) > 1 and not any("," in line for line in lines[:first]):
            return mark
    return ""


def _starts(data: bytes, found: _Dialect) -> tuple[Sequence[int], list[int]]:
    """Give the line, from 1, that each row begins on, and those that are empty.

    A quoted value may go on over several.
    """
    starts, empty, opened = array.array("Q"), [], 0
    # Line by line, for a list of them takes more memory than the file.
    lines = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8")
    for number, line in enumerate(lines, 1 + found.above):
        if not opened:
            (empty if line == "\n" else starts).append(number)
        if found.quote and line.count('"') % 2:
            opened = 0 if opened else number
    while empty and empty[-1] > starts[-1]:
        empty.pop()
    if opened:
        raise InputError(
            f"a quote that is not closed from line {opened} on; close it, or double it within a "
            "quoted value"
        )
    return starts, empty


def _line(starts: Sequence[int], row: re.Match[str]) -> str:
    """Name the line of a row that pyarrow counts; a stray quote may make it see more of them."""
    return f"line {starts[min(int(row[1]), len(starts)) - 1]}"


def _json(path: Path) -> pa.Table:
    with _reading():
        return json.read_json(pa.BufferReader(_unpacked(path)))


def _feather(path: Path) -> pa.Table:
    with _reading():
        return feather.read_table(path)


def _workbook(path: Path) -> pa.Table:
    checks.extra("workbooks", "pandas", "openpyxl")
    import pandas as pd

    with _reading():
        sheets = pd.read_excel(path, sheet_name=None)
        sheet, frame = next(iter(sheets.items()))
        frame.columns = [str(name) for name in frame.columns]
        for name in [
            name for name, dtype in frame.dtypes.items() if pd.api.types.is_object_dtype(dtype)
        ]:
            frame[name] = frame[name].map(str, na_action="ignore")
        table = pa.Table.from_pandas(frame, preserve_index=False)
    said = f"the first of {len(sheets)} sheets, {sheet!r}" if len(sheets) > 1 else ""
    return table.replace_schema_metadata({SAID: said})


def _parquet(path: Path) -> pa.Table:
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    tables = []
    with _reading():
        for each in files:
            with parquet.ParquetFile(each) as file:
                tables.append(file.read())
        table = pa.concat_tables(tables, promote_options="default")
        table.validate(full=True)
    return table


def _npz(path: Path) -> pa.Table:
    # Opened here, for np.load leaves a broken file open.
    with _reading(), path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
        arrays = dict(file.items())
    for name, values in arrays.items():
        if values.ndim not in (1, 2):
            raise InputError(
                f"the array {name!r} of shape {list(values.shape)}; save it as [N] or [N, K]"
            )
    named = {name: re.fullmatch(f"(.+)_({'|'.join(SPELLED)})", name) for name in arrays}
    about = {}
    if named and all(named.values()):
        arrays, about = _joined(arrays, named), {SPLIT: "split"}
    columns: list[tuple[str, np.ndarray]] = []
    for name, values in arrays.items():
        if values.ndim == 1:
            columns.append((name, values))
        else:
            columns.extend((f"{name}{k}", column) for k, column in enumerate(values.T))
    with _reading():
        table = pa.table([each for _, each in columns], names=[name for name, _ in columns])
    return table.replace_schema_metadata(about)


def _joined(
    arrays: dict[str, np.ndarray], named: dict[str, re.Match[str] | None]
) -> dict[str, np.ndarray]:
    """Join arrays such as x_train and x_test to one, with a column of what part a row is of."""
    parts = {match[2]: len(arrays[name]) for name, match in named.items() if match}
    bases = dict.fromkeys(match[1] for match in named.values() if match)
    for name in (f"{base}_{part}" for base in bases for part in parts):
        if name not in arrays:
            raise InputError(f"no array {name!r} beside {', '.join(arrays)}; save it too")
    with _reading():
        joined = {
            base: np.concatenate([arrays[f"{base}_{part}"] for part in parts]) for base in bases
        }
    return joined | {"split": np.repeat([*parts], [*parts.values()])}

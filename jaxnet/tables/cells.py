"""One column of a user's table: what its cells hold, and where one is that cannot be used."""

import difflib
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float64, Int64

from jaxnet.errors import InputError

Kind = Literal["numeric", "boolean", "categorical"]
Label = str | int | float | bool

DELIMITERS = {".csv": ",", ".tsv": "\t"}
LARGEST = float(np.finfo(np.float32).max)
NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?\s*", re.IGNORECASE | re.ASCII)
_BREAK = re.compile(r"\r\n|\r|\n")


class Cells(NamedTuple):
    """One column of a user's table, and what errors call the table."""

    table: pa.Table
    name: str
    source: str

    @property
    def values(self) -> pa.ChunkedArray:
        """Give the column, decimal numbers as floating-point ones."""
        values = self.table[self.name]
        return values.cast(pa.float64()) if pa.types.is_decimal(values.type) else values

    @property
    def place(self) -> str:
        """Say which column it is, for errors."""
        return f"{self.source}, column {self.name!r}"

    def refuse(self, wrong: Bool[np.ndarray, " N"], expected: str) -> None:
        """Refuse the first row that is wrong.

        Raises:
            InputError: naming file, column and row.
        """
        if wrong.any():
            row = int(wrong.argmax())
            raise InputError(
                f"{self.place}, {self._row(row)}: expected {expected}, got "
                f"{shown(self.values[row].as_py())}, the first of {wrong.sum()} such rows; correct "
                "it, or drop the row or the column"
            )

    def _row(self, row: int) -> str:
        """Name a row, counted from 0, as a person counts it."""
        if Path(self.source).suffix.lower() not in DELIMITERS:
            return f"row {row + 1}"
        above = [*self.table.column_names]
        for column in self.table.columns:
            above += column[:row].to_pylist() if pa.types.is_string(column.type) else []
        breaks = sum(len(_BREAK.findall(value)) for value in above if value)
        return f"line {row + 2 + breaks}"

    def kind(self) -> Kind | None:
        """Give the kind of a column, None where it has no values to tell.

        Raises:
            InputError: neither numbers, true and false, nor text.
        """
        own, types = self.values.type, pa.types
        category = types.is_dictionary(own)
        value = own.value_type if category else own
        if types.is_null(value):
            return None
        if types.is_string(value) or types.is_large_string(value) or types.is_string_view(value):
            return "categorical"
        if types.is_boolean(value):
            return "categorical" if category else "boolean"
        if types.is_integer(value) or types.is_floating(value):
            return "categorical" if category else "numeric"
        raise InputError(
            f"{self.place}: expected numbers, true and false, or text, got {own}; turn it into "
            "numbers, such as days, or drop the column"
        )

    def numbers(self) -> Float64[np.ndarray, " N"]:
        """Give numbers, or booleans as 0 and 1, with NaN for missing ones.

        Raises:
            InputError: text, or a number that is infinite or too large for float32.
        """
        if self.kind() == "categorical":
            codes, values = self.coded()
            words = np.array([not NUMBER.fullmatch(str(v)) for v in values] + [False])[codes]
            self.refuse(words, "a plain number")
            self.refuse(codes >= 0, "numbers, and not text that reads as numbers")
            return np.full(len(codes), np.nan)
        # Not safe, for integers beyond 2**53 may lose digits that float32 has no room for.
        numbers = self.values.cast(pa.float64(), safe=False).to_numpy()
        self.refuse(np.abs(numbers) > LARGEST, f"a finite number of at most {LARGEST:.3g}")
        return numbers

    def coded(self) -> tuple[Int64[np.ndarray, " N"], list[Any]]:
        """Give each row's place in a list of values, -1 where it is missing."""
        self.kind()
        column = self.values.unify_dictionaries().combine_chunks()
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        values = column.dictionary.to_pylist()
        missing = [place for place, v in enumerate(values) if v in ("", None) or _is_nan(v)]
        codes = column.indices.cast(pa.int64()).fill_null(-1).to_numpy()
        return np.where(np.isin(codes, missing), -1, codes), values

    def places(self, known: Sequence[Label]) -> Int64[np.ndarray, " N"]:
        """Give each row's place among the known values, -1 where it is none of them."""
        codes, values = self.coded()
        if known and isinstance(known[0], str):
            values = [text(value) for value in values]
        places = {value: place for place, value in enumerate(known)}
        return np.array([places.get(value, -1) for value in values] + [-1])[codes]


def check(table: pa.Table, source: str, *expected: str) -> None:
    """Refuse no rows, columns without a name of their own, and none of an expected name.

    Raises:
        InputError: any of these.
    """
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
            f"{source}: expected each column's name once, got {listed(twice)} more often; rename "
            "or drop columns"
        )
    for name in set(expected) - set(names):
        near = difflib.get_close_matches(name, names, 3, 0.5)
        others = f"the nearest, {listed(near)}" if near else f"one of {listed(names)}"
        raise InputError(f"{source}: expected the column {name!r}, got none; give {others}")


def text(value: Any) -> str:
    """Give a category as text."""
    return value if isinstance(value, str) else json.dumps(value)


def shown(value: Any) -> str:
    """Write out a cell's value."""
    return "a missing value" if value is None else f"{value!r:.80}"


def listed(names: Sequence[Label], most: int = 10) -> str:
    """Write out names, the first of many."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(map(shown, names[:most])) or "none") + more


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)

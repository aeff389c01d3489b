"""One column of a user's table: what its cells hold, read as its format says."""

import dataclasses
import difflib
import functools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute
from jaxtyping import Bool, Float64, Int64

from jaxnet.errors import InputError

# Its functions are made as it is imported, where no type checker sees them.
pc: Any = pyarrow.compute

Label = str | int | float | bool

DELIMITED = (".csv", ".tsv", ".txt")
PASSED, SAID = b"jaxnet.passed", b"jaxnet.said"
"""What a table's metadata has of its file: the lines, from 1, that no row begins on, and what there
is to say of how it was read."""
SPLIT = b"jaxnet.split"
"""What a table's metadata has where a column names the parts: that column."""
SPELLED = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "validate", "val", "valid", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Which part each name of one means."""
BROKEN = 0.1
"""The share of broken cells beyond which text is not taken for numbers or dates."""
LARGEST = float(np.finfo(np.float32).max)
MISSING = ("", "?", ".", "-", "--", "#N/A", "#NA", "N/A", "NA", "n/a", "na", "<NA>", "NaN", "nan")
MISSING += (
    "NULL",
    "Null",
    "null",
    "None",
    "none",
    "#DIV/0!",
    "#VALUE!",
    "#REF!",
    "#NAME?",
    "#NUM!",
)
WORDS = {"true": 1.0, "false": 0.0}
_ANSWERS = WORDS | {"t": 1.0, "yes": 1.0, "y": 1.0, "1": 1.0, "f": 0.0, "no": 0.0, "n": 0.0}
_ANSWERS |= {"0": 0.0, "1.0": 1.0, "0.0": 0.0}
_BREAK = r"\r\n|\r|\n"
# What a whole number may end in: -999.0 is missing where -999 is.
_WHOLE = r"(\d)\.0+$"
_CURRENCY = "[$€£¥₹]"
# By the mark of decimals, what may stand between thousands.
THOUSANDS = {".": r"[,'\x{2019}_ \x{a0}\x{202f}]", ",": r"[.'\x{2019}_ \x{a0}\x{202f}]"}


@dataclass(frozen=True)
class Format:
    """How the cells of a column are written.

    Attributes:
        decimal: the mark of decimals; that which is preferred, until the cells are known.
        unit: what stands with the numbers, such as % or kg.
        limits: whether there are limits, such as <0.01, which are read as the number.
        words: whether they are true and false.
        date: of dates as text, what `strptime` takes, without the time of day; as `decimal`.
        na: whether NA is a value.
        missing: further values that stand for a missing one.
    """

    decimal: Literal[".", ","] = "."
    unit: str = ""
    limits: bool = False
    words: bool = False
    date: str = ""
    na: bool = False
    missing: tuple[str, ...] = ()


AS_IS = Format()


@dataclass(frozen=True)
class Cells:
    """One column of a user's table, its format, and what errors call the table."""

    table: pa.Table
    name: str
    source: str
    format: Format = AS_IS

    @property
    def place(self) -> str:
        """Say which column it is, for errors."""
        return f"{self.source}, column {self.name!r}"

    @functools.cached_property
    def values(self) -> pa.ChunkedArray:
        """Give the column: text without outer spaces, and null where that stands for nothing."""
        values, types = self.table[self.name], pa.types
        if types.is_dictionary(values.type):
            values = values.cast(values.type.value_type)
        if types.is_decimal(values.type):
            return values.cast(pa.float64())
        if types.is_large_string(values.type) or types.is_string_view(values.type):
            values = values.cast(pa.string())
        if types.is_string(values.type):
            missing = {*MISSING, *self.format.missing} - ({"NA"} if self.format.na else set())
            values = pc.utf8_trim_whitespace(values)
            nothing = pc.is_in(values, pa.array(sorted(missing)))
            if own := [re.sub(_WHOLE, r"\1", word) for word in self.format.missing]:
                whole = pc.replace_substring_regex(values, _WHOLE, r"\1")
                nothing = pc.or_(nothing, pc.is_in(whole, pa.array(own)))
            values = pc.if_else(nothing, pa.scalar(None, pa.string()), values)
        return values

    @property
    def is_text(self) -> bool:
        """Say whether the cells are text, whatever it reads as."""
        return pa.types.is_string(self.values.type)

    @functools.cached_property
    def present(self) -> Bool[np.ndarray, " N"]:
        """Say of each cell whether there is something, readable or not."""
        present = self.values.is_valid().to_numpy()
        if pa.types.is_floating(self.values.type):
            present = present & ~np.isnan(self.values.to_numpy())
        for word in self.format.missing if not self.is_text else ():
            if plain(pa.chunked_array([[word]])) is not None and pa.types.is_primitive(
                self.values.type
            ):
                present = present & (self.values.cast(pa.float64()).to_numpy() != float(word))
        return present

    @functools.cached_property
    def numbers(self) -> Float64[np.ndarray, " N"]:
        """Give numbers, true and false as 1 and 0; NaN for what is missing or no finite float32."""
        values = self.values
        if self.is_text:
            values = self._words() if self.format.words else _numbers(values, self.format)
        elif not is_number(values.type):
            return np.full(len(values), np.nan)
        # Not safe, for integers beyond 2**53 may lose digits that float32 has no room for.
        numbers = values.cast(pa.float64(), safe=False).to_numpy()
        return np.where(self.present & (np.abs(numbers) <= LARGEST), numbers, np.nan)

    def _words(self) -> pa.ChunkedArray:
        words = pc.utf8_lower(self.values)
        place = pc.index_in(words, pa.array([*_ANSWERS]))
        return pc.take(pa.array([*_ANSWERS.values()]), place)

    @property
    def decimals(self) -> bool:
        """Say whether numbers are written with decimals, be they 0."""
        if not self.is_text:
            return pa.types.is_floating(self.values.type)
        mark = re.escape(self.format.decimal)
        return bool(pc.any(pc.match_substring_regex(self.values, rf"{mark}\d|[eE]-?\d")).as_py())

    @functools.cached_property
    def stamps(self) -> np.ndarray:
        """Give dates and times of day, in seconds, as the table's own zone has them; or NaT."""
        values, types = self.values, pa.types
        if self.is_text:
            return _stamps(values, self.format.date)
        if not (types.is_date(values.type) or types.is_timestamp(values.type)):
            return np.full(len(values), "NaT", "M8[s]")
        if types.is_timestamp(values.type) and values.type.tz:
            values = pc.local_timestamp(values)
        return values.cast(pa.timestamp("s"), safe=False).to_numpy()

    def there(self, kind: str) -> Bool[np.ndarray, " N"]:
        """Say of each cell whether it holds a number, a date or a category."""
        if kind == "category":
            return self.present
        return ~(np.isnan(self.numbers) if kind == "number" else np.isnat(self.stamps))

    def part(self, part: str) -> Float64[np.ndarray, " N"]:
        """Give year, month, weekday, hour or days of each date, NaN where there is none."""
        days = self.stamps.astype("M8[D]")
        numbers = {
            "year": lambda: days.astype("M8[Y]").astype(int) + 1970,
            "month": lambda: days.astype("M8[M]").astype(int) % 12 + 1,
            "weekday": lambda: (days.astype(int) + 3) % 7,
            "hour": lambda: (self.stamps - days).astype(int) / 3600,
            "days": lambda: days.astype(int),
        }
        return np.where(np.isnat(days), np.nan, numbers[part]())

    @functools.cached_property
    def coded(self) -> tuple[Int64[np.ndarray, " N"], list[Any]]:
        """Give each row's place in a list of values, -1 where it is missing."""
        column = self.values.combine_chunks().dictionary_encode()
        codes = column.indices.cast(pa.int64()).fill_null(-1).to_numpy()
        return np.where(self.present, codes, -1), column.dictionary.to_pylist()

    def places(self, known: Sequence[Label]) -> Int64[np.ndarray, " N"]:
        """Give each row's place among the known values, -1 where it is none of them.

        Text is known as it is, or else whatever its case and spaces.
        """
        if not known:
            return np.full(len(self.values), -1)
        if not isinstance(known[0], str):
            order = np.argsort(known)
            ordered = np.array(known, float)[order]
            at = np.searchsorted(ordered, self.numbers).clip(max=len(known) - 1)
            return np.where(ordered[at] == self.numbers, order[at], -1)
        codes, values = self.coded
        folded = {fold(str(value)): place for place, value in enumerate(known)}
        exact = {value: place for place, value in enumerate(known)}
        found = [exact.get(v, folded.get(fold(v), -1)) for v in map(text, values)]
        return np.array([*found, -1])[codes]

    def respelled(self, known: Sequence[str]) -> str:
        """Say which values are taken for known ones that are spelled otherwise."""
        spelled = {fold(value): value for value in known}
        others = [value for value in map(text, self.coded[1]) if value not in known]
        taken = [
            f"{value!r} for {spelled[fold(value)]!r}" for value in others if fold(value) in spelled
        ]
        return f"taken are {', '.join(taken[:5])}" if taken else ""

    def refuse(self, wrong: Bool[np.ndarray, " N"], expected: str) -> None:
        """Refuse the first row that is wrong.

        Raises:
            InputError: naming file, column and row.
        """
        if wrong.any():
            raise InputError(
                f"{self.place}, {self.first(wrong)}: expected {expected}, the first of "
                f"{wrong.sum()} such rows; correct it, or drop the row"
            )

    def first(self, rows: Bool[np.ndarray, " N"]) -> str:
        """Say what the first of some rows holds, and where that is as a person counts rows."""
        row = int(rows.argmax())
        got = shown(self.table[self.name][row].as_py())
        if not is_delimited(self.source):
            return f"row {row + 1}, {got}"
        breaks = sum(len(re.findall(_BREAK, name)) for name in self.table.column_names)
        for column in self.table.columns:
            if pa.types.is_string(column.type):
                found = pc.sum(pc.count_substring_regex(column[:row], _BREAK)).as_py()
                breaks += found or 0
        line = row + 1 + breaks
        for passed in json.loads((self.table.schema.metadata or {}).get(PASSED, b"[1]")):
            line += passed <= line
        return f"line {line}, {got}"


def number_format(cells: Cells) -> Format:
    """Give the format by which most of a text's cells are numbers."""
    values = cells.values
    preferred = cells.format.decimal
    if preferred == "." and plain(values) is not None:
        return cells.format
    found = {decimal: _matched(values, decimal) for decimal in THOUSANDS}
    # Both will do for 1,234.
    decimal = min(found, key=lambda each: (found[each].null_count, each != preferred))
    matched = found[decimal].drop_null()
    counts = pc.value_counts(_unit(matched)).to_pylist()
    # Of 1, 2 and 2b the b is no unit.
    half = sum(each["counts"] for each in counts) / 2
    unit = next((each["values"] for each in counts if each["counts"] >= half), "")
    # Of <=50K and >50K alone nothing is a number.
    bare = pc.sum(pc.equal(pc.struct_field(matched, "limit"), "")).as_py() or 0
    limits = BROKEN * len(matched) <= bare < len(matched)
    return dataclasses.replace(cells.format, decimal=decimal, unit=unit, limits=limits)


def other_decimal(cells: Cells) -> bool:
    """Say whether the other mark of decimals would read as many of a text's cells."""
    counts = {decimal: _matched(cells.values, decimal).null_count for decimal in THOUSANDS}
    return len({*counts.values()}) == 1


def date_formats(cells: Cells, asked: bool) -> list[Format]:
    """Give the formats by which most, and nine in ten, of a text's cells are dates, best first.

    Where several do as well, that is the preferred one, and then that of the day first.
    """
    values = cells.values.drop_null()
    looks = pc.mean(pc.match_substring_regex(values[:1000], _DATE).cast(pa.float64())).as_py()
    if not asked and (looks or 0) < 1 - BROKEN:
        return []
    preferred = [cells.format.date] if cells.format.date else []
    dates = {date: np.isnat(_stamps(values, date)).mean() for date in (*preferred, *_DATES)}
    # 2011-12 is no month where there is 2012-13.
    dates = {date: lost for date, lost in dates.items() if lost == 0 or "%d" in date}
    best = [date for date, lost in dates.items() if lost == min(*dates.values(), BROKEN)]
    return [dataclasses.replace(cells.format, date=date) for date in best]


_DATES = ("%Y-%m-%d", "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y")
_DATES += ("%d-%b-%Y", "%d %b %Y", "%b %d, %Y", "%Y%m%d", "%d/%m/%y", "%m/%d/%y", "%d.%m.%y")
_DATES += ("%d-%b-%y", "%Y-%m")
_DATE = r"^(\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}|\d{1,2}[- ]\pL{3,9}[- ]\d{2,4}|\pL{3,9} \d{1,2}, \d{4}"
_DATE += r"|\d{4}-\d\d$)"
_TIME = r"[T ]+(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d))?[:.\d]*"
_TIME += r" ?(?P<half>[aApP][mM])?.*$"


def _stamps(values: pa.ChunkedArray, date: str) -> np.ndarray:
    """Read dates, and the times of day after some of them: a zone is passed over."""
    days = pc.replace_substring_regex(values, _TIME, "")
    if "%Y" in date:
        days = pc.if_else(pc.match_substring_regex(days, r"\d{4}"), days, "")
    if "%d" not in (date or _DATES[0]):
        days, date = pc.binary_join_element_wise(days, "01", "-"), f"{date}-%d"
    read = pc.strptime(days, date or _DATES[0], "s", error_is_null=True)
    time = pc.extract_regex(values, _TIME)
    hour, minute, second = (
        # Seconds may be none, and so is the time.
        pc.binary_join_element_wise("0", pc.fill_null(pc.struct_field(time, name), ""), "")
        .cast(pa.int64())
        .to_numpy()
        for name in ("hour", "minute", "second")
    )
    half = pc.fill_null(pc.utf8_lower(pc.struct_field(time, "half")), "").to_numpy(False)
    hour = np.where(half != "", hour % 12 + 12 * (half == "pm"), hour)
    return read.to_numpy() + (3600 * hour + 60 * minute + second)


def _matched(values: pa.ChunkedArray, decimal: str) -> pa.ChunkedArray:
    """Take numbers and what stands around them apart; null where there is no number."""
    point = re.escape(decimal)
    whole = rf"(?:\d{{1,3}}(?:{THOUSANDS[decimal]}\d{{3}})+|\d+)"
    return pc.extract_regex(
        values,
        rf"^(?P<limit>[<>≤≥~]=?)? ?(?P<sign>[-+\x{{2212}}])?(?P<before>{_CURRENCY})? ?"
        rf"(?P<number>(?:{whole}(?:{point}\d*)?|{point}\d+)(?:[eE][-+]?\d+)?)"
        rf" ?(?P<after>%|{_CURRENCY}|[\pL°/²³]{{1,8}})?$",
    )


def _unit(matched: pa.ChunkedArray) -> pa.ChunkedArray:
    fields = (pc.fill_null(pc.struct_field(matched, name), "") for name in ("before", "after"))
    return pc.binary_join_element_wise(*fields, "")


def plain(values: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Give text as numbers where all of it is as programs write them."""
    try:
        return values.cast(pa.float64())
    except pa.ArrowInvalid:
        return None


def _numbers(values: pa.ChunkedArray, written: Format) -> pa.ChunkedArray:
    """Read numbers, of the format's unit or none."""
    if written.decimal == "." and (numbers := plain(values)) is not None:
        return numbers
    matched = _matched(values, written.decimal)
    number = pc.struct_field(matched, "number")
    number = pc.replace_substring_regex(number, THOUSANDS[written.decimal], "")
    number = pc.replace_substring(number, written.decimal, ".").cast(pa.float64())
    negative = pc.match_substring_regex(pc.struct_field(matched, "sign"), r"[-\x{2212}]")
    number = pc.if_else(pc.fill_null(negative, False), pc.negate(number), number)
    ours = pc.is_in(_unit(matched), pa.array(["", written.unit]))
    if not written.limits:
        ours = pc.and_(ours, pc.equal(pc.struct_field(matched, "limit"), ""))
    return pc.if_else(ours, number, pa.scalar(None, pa.float64()))


def check(table: pa.Table, source: str, *expected: str) -> None:
    """Refuse no rows, a name that columns share, and none of an expected name.

    Raises:
        InputError: any of these.
    """
    names = table.column_names
    if not table.num_rows:
        raise InputError(f"{source}: expected at least one row, got none; add rows")
    if len(set(names)) < len(names):
        twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        raise InputError(
            f"{source}: expected each column's name once, got {listed(twice)} more often; rename "
            "or drop columns"
        )
    if words := "; ".join(unknown(name, names) for name in expected if name not in names):
        raise InputError(f"{source}: {words}")


def is_delimited(source: object) -> bool:
    """Tell a file of text by its name, packed or not."""
    suffixes = Path(source).suffixes if isinstance(source, str | Path) else ()
    return not {*DELIMITED, ".zip"}.isdisjoint(each.lower() for each in suffixes)


def said(table: pa.Table) -> list[str]:
    """Give what there is to say of how a file was read."""
    words = (table.schema.metadata or {}).get(SAID, b"").decode()
    return [f"the file: {words}"] * bool(words)


def unknown(name: str, names: Sequence[str]) -> str:
    """Say that there is no such column, and which are near."""
    near = difflib.get_close_matches(name, names, 3, 0.5)
    others = f"the nearest, {listed(near)}" if near else f"one of {listed(names)}"
    return f"expected the column {name!r}, got none; give {others}"


def fold(value: str) -> str:
    """Give what values have in common that differ by case and spaces alone."""
    return " ".join(value.split()).casefold()


def text(value: Any) -> str:
    """Give a category as text."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def shown(value: Any) -> str:
    """Write out a cell's value."""
    return "a missing value" if value is None else f"{value!r:.80}"


def listed(names: Sequence[Label], most: int = 10) -> str:
    """Write out names, the first of many."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(map(shown, names[:most])) or "none") + more


def is_number(kind: pa.DataType) -> bool:
    """Say whether a column's type is of numbers, or true and false."""
    types = pa.types
    return types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)

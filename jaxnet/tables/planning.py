"""What is done with each column of a table, and why: told before training, obeyed ever after.

Shapes: N rows.
"""

import dataclasses
import functools
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float64

from jaxnet._guards.defaults import Task
from jaxnet.errors import InputError
from jaxnet.tables.cells import (
    AS_IS,
    BROKEN,
    THOUSANDS,
    WORDS,
    Cells,
    Format,
    check,
    date_formats,
    fold,
    is_number,
    listed,
    number_format,
    other_decimal,
    pc,
    plain,
    said,
    shown,
    text,
    unknown,
)

Kind = Literal["number", "category", "date"]
Use = Literal["number", "category", "date", "left out"]

MOST = 100
"""Of more categories, the most frequent so many have an input each."""
NUMBERING = "numbers the rows"
_FEW = 20
_INDEX = re.compile(r"\s*|Unnamed: \d+|__index_level_\d+__|index|level_\d+|column \d+ \(no name\)")
_ID = re.compile(r"(?i:(^|[_\W])(id|uuid|guid|key|nr|no)$|^id[_\W])|[a-z]I[Dd]$")
_TOTAL = ("total", "totals", "grand total", "sum", "gesamt", "summe", "subtotal")


@dataclass(frozen=True)
class Planned:
    """What is done with one column.

    Attributes:
        name: of the column.
        kind: what it is taken for, or that it is left out.
        missing: how many cells hold nothing, or nothing that can be read.
        notes: what was done, and why where that is doubtful.
        format: how its cells are read.
    """

    name: str
    kind: Use
    missing: int = 0
    notes: tuple[str, ...] = ()
    format: Format = AS_IS


@dataclass(frozen=True)
class Plan:
    """What is done with a table.

    Attributes:
        target: the column to predict, a number or a category.
        task: what is done with it.
        columns: the others, in the table's order.
        rows: what is said of rows, such as of those left out.
    """

    target: Planned
    task: Task
    columns: tuple[Planned, ...]
    rows: tuple[str, ...] = ()

    def lines(self, most: int | None = None, width: int = 80) -> list[str]:
        """Give the plan in words, a line for each column.

        Args:
            most: so many columns, those first of which there is something to say; then a count.
            width: of a line at most.
        """
        named = sorted(self.columns, key=lambda each: not each.notes)
        several = self.columns if most is None or len(named) <= most else named[:most]
        room = min(24, max(len(each.name) for each in (self.target, *several)))
        lines = [
            _line(self.target, "target", room),
            *(_line(each, each.kind, room) for each in several),
        ]
        if left := len(self.columns) - len(several):
            counts = Counter(each.kind for each in named[len(several) :])
            kinds = ", ".join(f"{count} {kind}" for kind, count in counts.items())
            lines.append(f"and {left} more columns ({kinds}); --plan prints all")
        lines += self.rows
        return [line if len(line) <= width else line[: width - 3] + "..." for line in lines]


@dataclass(frozen=True)
class Asked:
    """What a user asks of columns, by their names; of what is not named the cells decide."""

    drop: Sequence[str] = ()
    category: Sequence[str] = ()
    number: Sequence[str] = ()
    date: Sequence[str] = ()
    missing: Sequence[str] = ()
    decimal: Literal[".", ","] = "."
    date_format: str = ""

    @property
    def format(self) -> Format:
        """Give the format by which cells are looked at."""
        return Format(self.decimal, date=self.date_format, missing=tuple(self.missing))

    def uses(self) -> list[tuple[str, Use]]:
        """Give each name with what is asked of it."""
        kinds: dict[Use, Sequence[str]] = {
            "left out": self.drop,
            "category": self.category,
            "number": self.number,
            "date": self.date,
        }
        return [(name, kind) for kind, names in kinds.items() for name in names]


def make(
    table: pa.Table, target: str, task: Task | None, asked: Asked, source: str
) -> tuple[Plan, Bool[np.ndarray, " N"]]:
    """Make the plan of a table, and say which of its rows are used.

    Raises:
        InputError: everything that is wrong with the table and what is asked, in one line.
    """
    check(table, source, target)
    names = [name for name in table.column_names if name != target]
    wrong = _wrong(asked, target, table.column_names)
    uses, form = dict(asked.uses()), asked.format
    last = total(table)
    cells = Cells(table, target, source, form)
    goal, task, used = _target(cells, task, uses.get(target), last, wrong)
    columns = [_column(Cells(table, name, source, form), uses.get(name), wrong) for name in names]
    if all(each.kind == "left out" for each in columns):
        # What numbers the rows may be all there is to learn from.
        columns = [
            _column(Cells(table, each.name, source, form), "number", wrong)
            if NUMBERING in each.notes
            else each
            for each in columns
        ]
    if all(each.kind == "left out" for each in columns):
        left = "; ".join(f"{each.name!r} {', '.join(each.notes)}" for each in columns[:10])
        wrong.append(
            f"expected columns to predict {target!r} from, got none{' but ' * bool(left)}{left}; "
            "add columns, or keep one by --category or --number"
        )
    if wrong:
        raise InputError(f"{source}: {'; '.join(wrong)}")
    cells = Cells(table, target, source, goal.format)
    values = cells.numbers if goal.kind == "number" else cells.coded[0]
    values = np.where(used, values, np.nan)
    columns = [_telling(table, source, each, values) for each in columns]
    lost = table.num_rows - int(used.sum()) - int(last.any())
    rows = said(table)
    rows += [f"{lost} rows without a target are left out"] * (lost > 0)
    rows += [f"the last row, a total, is left out: {shown(table[0][-1].as_py())}"] * int(last.any())
    return Plan(goal, task, tuple(columns), tuple(rows)), used


def _wrong(asked: Asked, target: str, names: Sequence[str]) -> list[str]:
    """Say what is asked of no column, of one twice, or of the target in vain."""
    often = Counter(name for name, _ in asked.uses())
    wrong = [unknown(name, names) for name in often if name not in names]
    wrong += [
        f"expected one use of the column {name!r}, got {count}; ask for one"
        for name, count in often.items()
        if count > 1
    ]
    if target in (*asked.drop, *asked.date):
        wrong.append(f"expected {target!r}, the target, to be a number or category; give another")
    return wrong


def total(table: pa.Table) -> Bool[np.ndarray, " N"]:
    """Find the line below a table that sums it up."""
    last = [column[-1].as_py() for column in table.columns]
    found = any(
        isinstance(cell, str)
        and fold(cell).strip(": ") in _TOTAL
        # Elsewhere too it is a category.
        and pc.sum(pc.equal(table[place], cell)).as_py() == 1
        for place, cell in enumerate(last[:2])
    )
    return (
        np.arange(table.num_rows) == table.num_rows - 1 if found else np.zeros(table.num_rows, bool)
    )


def _target(
    cells: Cells,
    task: Task | None,
    asked: Use | None,
    total: Bool[np.ndarray, " N"],
    wrong: list[str],
) -> tuple[Planned, Task, Bool[np.ndarray, " N"]]:
    """Plan the target, and say which rows have one."""
    asked = asked or ("number" if task == "regression" else None)
    kind, form, notes = _kind(cells, asked)
    if form.words and not asked:
        kind, form, notes = "category", cells.format, ()
    reader = dataclasses.replace(cells, format=form)
    there = reader.there(kind)
    used = there & ~total
    values = (
        np.unique(reader.numbers[used]) if kind == "number" else np.unique(reader.coded[0][used])
    )
    few = not reader.decimals and len(values) <= min(_FEW, used.sum() / 5)
    found = task or ("regression" if kind == "number" and not few else "classification")
    said = f"{len(values)} classes" if found == "classification" else "regression"
    if kind == "number" and task is None and len(values) <= _FEW:
        other = "regression" if few else "classification"
        said += f", of {len(values)} {'whole ' * bool(few)}numbers; else --task {other}"
    if kind == "category":
        codes, labels = reader.coded
        known = [text(labels[code]) for code in np.unique(codes[used])]
        notes = (*notes, *(f"apart: {each}" for each in _spellings(known)))
    task, notes = found, (said, *notes)
    wrong += _wrong_target(reader, kind, task, used, len(values))
    return Planned(cells.name, kind, int((~there & ~total).sum()), notes, form), task, used


def _wrong_target(
    cells: Cells, kind: Kind, task: Task, used: Bool[np.ndarray, " N"], values: int
) -> Iterator[str]:
    """Say why a target cannot be predicted."""
    rows, there, place = len(used), int(used.sum()), f"column {cells.name!r}"
    if kind == "date":
        yield f"{place}: expected numbers or classes, got dates; give another --target"
    elif 2 * there < rows:
        what = "a number" if task == "regression" else "a value"
        yield (
            f"{place}: expected {what} to predict in half of the rows, got {there} in {rows}, "
            f"{cells.first(~used)}; give another --target or --task"
        )
    elif values < 2:
        got = shown(cells.values[int(used.argmax())].as_py())
        yield f"{place}: expected at least two values to tell apart, got {got} in every row"
    elif task == "classification" and values > _FEW and 2 * values > there:
        yield (
            f"{place}: expected classes, each in several rows, got {values} in {there} rows; give "
            "another --target, or --task regression of numbers"
        )


def _column(cells: Cells, asked: Use | None, wrong: list[str]) -> Planned:
    """Plan a column."""
    own, types = cells.values.type, pa.types
    left = functools.partial(Planned, cells.name, "left out", int((~cells.present).sum()))
    if asked == "left out":
        return left(("as asked",))
    if not cells.present.any():
        return left(("empty",))
    if not (cells.is_text or is_number(own) or types.is_date(own) or types.is_timestamp(own)):
        return left((f"holds {own}; turn it into numbers",))
    kind, form, notes = _kind(cells, asked)
    reader = dataclasses.replace(cells, format=form)
    there = reader.there(kind)
    broken = reader.present & ~there
    if 2 * broken.sum() > reader.present.sum():
        wrong.append(
            f"column {cells.name!r}: expected a {kind} in most cells, got {broken.sum()} of "
            f"{reader.present.sum()} that are none, {cells.first(broken)}; leave it out by --drop, "
            "or as a --category"
        )
        return left()
    if broken.any():
        notes = (*notes, f"{broken.sum()} unreadable, {cells.first(broken)}")
    why, more = _look(reader, kind, there)
    if why and not asked:
        return left((why, *notes))
    return Planned(cells.name, kind, int((~there).sum()), (*notes, *more), form)


def _kind(cells: Cells, asked: Use | None) -> tuple[Kind, Format, tuple[str, ...]]:
    """Tell what a column's cells are, how they are read, and what there is to say of that."""
    own = cells.values.type
    if asked == "category":
        return "category", cells.format, ()
    if cells.is_text:
        return _text_kind(cells, asked)
    if pa.types.is_boolean(own):
        form = dataclasses.replace(cells.format, words=True)
        return "number", form, ("true and false as 1 and 0",)
    if pa.types.is_date(own) or pa.types.is_timestamp(own):
        return "date", cells.format, ()
    coded = pa.types.is_dictionary(cells.table[cells.name].type) and not asked
    return "category" if coded else "number", cells.format, ()


def read_as(cells: Cells) -> Cells:
    """Give a column that is read as what its cells are."""
    return dataclasses.replace(cells, format=_kind(cells, None)[1])


def _text_kind(cells: Cells, asked: Use | None) -> tuple[Kind, Format, tuple[str, ...]]:
    words = pc.is_in(pc.utf8_lower(cells.values.drop_null()), pa.array([*WORDS]))
    if pc.all(words).as_py():
        form = dataclasses.replace(cells.format, words=True)
        return "number", form, ("true and false as 1 and 0",)
    # The few that may be, for an expression takes longer to look.
    maybe = pc.or_(pc.starts_with(cells.values, "0"), pc.greater(pc.utf8_length(cells.values), 15))
    maybe = cells.values.filter(maybe)
    codes = pc.sum(pc.match_substring_regex(maybe, r"^0\d+$|^\d{16,}$")).as_py()
    if codes and not asked:
        why = f"codes, {codes} with a leading 0 or 16 digits; else --number"
        return "category", cells.format, (why,)
    dates = [] if asked == "number" else date_formats(cells, asked == "date")
    if dates or asked == "date":
        form, *others = dates or [cells.format]
        said = f"read as {form.date or 'year-month-day'}"
        return "date", form, (said + "".join(f"; else --date-format {o.date}" for o in others[:1]),)
    form = number_format(cells)
    reader = dataclasses.replace(cells, format=form)
    broken, there = (reader.present & np.isnan(reader.numbers)).sum(), reader.present.sum()
    if asked == "number" or broken <= BROKEN * there:
        return "number", form, tuple(_adornments(reader))
    mixed = (f"{broken} cells are no number; else --number",) if 2 * broken < there else ()
    form, na = _with_na(cells)
    return "category", form, (*mixed, *na)


def _with_na(cells: Cells) -> tuple[Format, tuple[str, ...]]:
    """Take NA for a value among codes of two letters, such as of continents."""
    form = dataclasses.replace(cells.format, na=True)
    if "NA" in cells.format.missing:
        return cells.format, ()
    values = pc.unique(dataclasses.replace(cells, format=form).values.drop_null()).to_pylist()
    if "NA" in values and len(values) > 2 and all(re.fullmatch("[A-Z]{2}", v) for v in values):
        return form, ("NA is a value; else --missing NA",)
    return cells.format, ()


def _adornments(cells: Cells) -> Iterator[str]:
    """Say what was taken off numbers."""
    form = cells.format
    if plain(cells.values) is not None and form.decimal == ".":
        return
    if form.unit:
        yield f"{form.unit} taken off"
    if form.decimal == ",":
        yield "the comma marks decimals"
    marks = {"thousands": rf"\d{THOUSANDS[form.decimal]}\d{{3}}", "limit": "^[<>≤≥~]"}
    found = {name: pc.match_substring_regex(cells.values, mark) for name, mark in marks.items()}
    if pc.any(found["thousands"]).as_py():
        first = shown(cells.values.filter(found["thousands"])[0].as_py())
        other = {".": ",", ",": "."}[form.decimal]
        yield f"thousands marked, as in {first}" + f"; else --decimal {other}" * other_decimal(
            cells
        )
    if pc.any(found["limit"]).as_py():
        limits = cells.values.filter(found["limit"])
        yield f"{len(limits)} limits, such as {limits[0].as_py()}, as the number"


def _look(
    cells: Cells, kind: Kind, there: Bool[np.ndarray, " N"]
) -> tuple[str | None, tuple[str, ...]]:
    """Say why a column is left out, if it is, and what is doubtful where it is not."""
    if kind == "category":
        codes, values = cells.coded
        known = [text(values[code]) for code in np.unique(codes[there])]
        if len(known) == 1 and there.all() and cells.is_text:
            return f"constant, {known[0]!r}", ()
        return _look_at_categories(known, int(there.sum()))
    numbers = cells.numbers if kind == "number" else cells.stamps.astype(float)
    numbers, every = numbers[there], there.all()
    values = _distinct(numbers)
    if every and len(values) == 1:
        said = f"constant, {shown(cells.values[0].as_py())}"
        # Arrays of numbers, such as the pixels of pictures, keep their width.
        return (said, ()) if cells.is_text else (None, (f"{said}: an input of 0",))
    if kind == "number" and every and len(numbers) > 2:
        rows = np.arange(len(numbers))
        names = _INDEX.fullmatch(cells.name) or _ID.search(cells.name)
        alone = len(values) == len(numbers) and (values == values.round()).all()
        if (np.isin(numbers[0], (0, 1)) and (numbers - numbers[0] == rows).all()) or (
            names and alone
        ):
            return NUMBERING, ()
    if kind == "date":
        return None, ()
    return None, tuple(_outliers(cells.values.filter(pa.array(there)), numbers, values))


def _look_at_categories(known: Sequence[str], rows: int) -> tuple[str | None, tuple[str, ...]]:
    count = len({fold(value) for value in known})
    if count > _FEW and 2 * count > rows:
        return f"{count} different in {rows} rows; else --category", ()
    notes = [f"as one: {each}" for each in _spellings(known)]
    if count > MOST:
        notes.append(f"the {MOST} most frequent of {count}, and the others as one")
    return None, tuple(notes)


def _spellings(known: Sequence[str]) -> Iterator[str]:
    """Name values that differ by case and spaces alone, the first such."""
    folded: dict[str, list[str]] = {}
    for value in known:
        folded.setdefault(fold(value), []).append(value)
    if several := [values for values in folded.values() if len(values) > 1]:
        more = f", and {len(several) - 1} more such" if len(several) > 1 else ""
        yield f"{listed(several[0], 3)}{more}"


def _outliers(
    cells: pa.ChunkedArray, numbers: Float64[np.ndarray, " n"], values: Float64[np.ndarray, " v"]
) -> Iterator[str]:
    """Say what stands far from all other numbers, as -999 does that stands for a missing one."""
    if len(values) < 3:
        return
    for far, rest in ((values[0], values[1:]), (values[-1], values[:-1])):
        if np.abs(rest - far).min() > 3 * (rest[-1] - rest[0]):
            same = numbers == far
            written = shlex.quote(text(cells[int(same.argmax())].as_py()))
            yield f"{written} in {same.sum()} rows, far off; none: --missing {written}"


def _telling(
    table: pa.Table, source: str, planned: Planned, target: Float64[np.ndarray, " N"]
) -> Planned:
    """Say of a column whether it tells the target alone: NaN there are rows without one."""
    if planned.kind not in ("number", "category"):
        return planned
    cells = Cells(table, planned.name, source, planned.format)
    own = cells.numbers if planned.kind == "number" else cells.coded[0].astype(float)
    both = ~np.isnan(own) & ~np.isnan(target)
    own, target = own[both], target[both]
    alone = False
    if 1 < len(_distinct(own)) <= len(own) / 5:
        (values, codes), (_, goals) = (np.unique(e, return_inverse=True) for e in (own, target))
        alone = len(values) == len(np.unique(codes * len(own) + goals))
    if planned.kind == "number" and len(own) > 2 and (scale := own.std() * target.std()):
        product = (own - own.mean()) @ (target - target.mean()) / len(own)
        alone = alone or abs(product) > 0.99999 * scale
    said = ("tells the target alone; a copy? --drop",) if alone else ()
    return dataclasses.replace(planned, notes=(*planned.notes, *said))


def _distinct(numbers: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " v"]:
    """Give the values in order; NumPy's own way takes many times the memory, and longer."""
    ordered = np.sort(numbers)
    return ordered[np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]]


def _line(planned: Planned, kind: str, room: int) -> str:
    missing = [f"{planned.missing} missing"] * (planned.missing > 0)
    name = " ".join(planned.name.split())
    name = name if len(name) <= room else name[: room - 3] + "..."
    return f"{name:{room}}  {kind:8}  {'; '.join([*missing, *planned.notes])}".rstrip()

"""Files as people have them, held against the cells they were written from."""

import gzip
import io
import zipfile

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pytest

from jaxnet import tables
from jaxnet.errors import InputError
from jaxnet.tables import cells, reading

ROWS = [[f"{k},5", f"0{k % 9}", ["ü", "it's", 'a "b"'][k % 3], "uv"[k % 2]] for k in range(30)]
NAMES = ["size", "code", "text", "y"]


def text(delimiter=",", above="", rows=ROWS, names=NAMES):
    stream = io.StringIO()
    frame = pd.DataFrame(rows, columns=names)
    frame.to_csv(stream, sep=delimiter, index=False, lineterminator="\n")
    return above + stream.getvalue()


TEXTS = {
    "semicolons": (text(";").encode(), ".csv", "';' between cells"),
    "tabs": (text("\t").encode(), ".tsv", "'\\t' between cells"),
    "bars": (text("|").encode(), ".txt", "'|' between cells"),
    "commas": (text().encode(), ".txt", ""),
    "UTF-16": (text("\t").encode("utf-16"), ".txt", "UTF-16; '\\t' between cells"),
    "BOM": (text().encode("utf-8-sig"), ".csv", ""),
    "Windows": (text(";").encode("cp1252"), ".csv", "Windows-1252; ';' between cells"),
    "title": (text(above="Sales of 2021\n").encode(), ".csv", "1 lines above the header"),
    "comments": (text(above="# by\n# hand\n").encode(), ".csv", "2 lines above the header"),
    "gzip": (gzip.compress(text().encode()), ".csv.gz", ""),
    "zstd": (pa.compress(text().encode(), "zstd", asbytes=True), ".csv.zst", ""),
}


@pytest.mark.parametrize("name", TEXTS)
def test_text_of_any_layout_is_the_cells_it_was_written_from(name, tmp_path):
    data, suffix, said = TEXTS[name]
    path = tmp_path / f"t{suffix}"
    path.write_bytes(data)
    table = tables.read(path)
    assert table.column_names == NAMES
    assert [list(row.values()) for row in table.to_pylist()] == ROWS
    assert table.schema.metadata[cells.SAID].decode().startswith(said)
    plan = tables.split(table, "y", source=str(path)).encoder.plan
    assert [each.kind for each in plan.columns] == ["number", "category", "category"]
    assert any(said in line for line in plan.rows) or not said


def test_a_packed_folder_of_one_file_is_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as file:
        file.writestr("t.csv", text())
    assert [list(row.values()) for row in tables.read(tmp_path / "t.zip").to_pylist()] == ROWS
    with zipfile.ZipFile(tmp_path / "t.zip", "a") as file:
        file.writestr("u.csv", text())
    with pytest.raises(InputError, match=r"2 files; pack one alone: 't.csv', 'u.csv'"):
        tables.read(tmp_path / "t.zip")


def test_no_header_is_said_and_years_are_one(tmp_path):
    path = tmp_path / "iris.csv"
    path.write_text("".join(f"{5 + k / 10},3.1,0.2,{'uv'[k % 2]}\n" for k in range(30)))
    table = tables.read(path)
    assert table.column_names == [f"column {k}" for k in range(1, 5)]
    assert table.num_rows == 30
    with pytest.raises(InputError, match=r"the column 'kind', got none; .*'column 1', 'column 2'"):
        tables.split(table, "kind", source=str(path))
    path.write_text("land,1990,1991\n" + "".join(f"l{k},{k},{k}\n" for k in range(30)))
    assert tables.read(path).column_names == ["land", "1990", "1991"]


def test_inches_are_read_and_lines_are_counted_below_a_title(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + "1,5'11\"\n2,6'1\"\n" * 10)
    assert tables.read(path)["b"].to_pylist() == ["5'11\"", "6'1\""] * 10
    path.write_text("The title\na,y\n" + "1,2\n2,5\n" * 20 + "oops,2\n3,4\n")
    plan = tables.split(tables.read(path), "y", source=str(path)).encoder.plan
    assert plan.columns[0].notes[0] == "1 unreadable, line 43, 'oops'"


def test_a_mark_is_no_part_of_the_first_name(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("zip,y\n" + "02134,1\n10001,2\n" * 10, "utf-8-sig")
    table = tables.read(path)
    assert table["zip"].to_pylist() == ["02134", "10001"] * 10


def test_commas_in_all_cells_mark_decimals_below_a_header_of_semicolons(tmp_path):
    path, rows = tmp_path / "t.csv", [[f"{k},5", f"{k},25", f"{k},75"] for k in range(1, 30)]
    lines = "".join(";".join(row) + "\n" for row in rows)
    for above in ("", "Messwerte\n"):
        path.write_text(f"{above}a;b;y\n{lines}")
        table = tables.read(path)
        assert table.column_names == ["a", "b", "y"]
        assert [list(row.values()) for row in table.to_pylist()] == rows
    places = "".join(f"{k},{k};{k + 1},a\n" for k in range(30))
    for name in ("place", "x;y"):
        path.write_text(f"n,{name},b\n{places}")
        assert tables.read(path).column_names == ["n", name, "b"]


@pytest.mark.parametrize("end", ["\n", "\r"])
def test_a_header_longer_than_what_is_looked_at_is_read(tmp_path, monkeypatch, end):
    monkeypatch.setattr(reading, "_SAMPLE", 32)
    names = [f"a column of some length {k}" for k in range(9)]
    path = tmp_path / "t.csv"
    path.write_text(end.join([",".join(names), *[",".join(["07"] * 9)] * 30, ""]))
    table = tables.read(path)
    assert table.column_names == names
    assert all(column.to_pylist() == ["07"] * 30 for column in table.columns)


def test_other_files_are_the_frame_they_were_written_from(tmp_path):
    frame = pd.DataFrame({"a": np.arange(30) / 7, "b": ["x", "y", None] * 10, "y": [1, 2] * 15})
    frame.to_json(tmp_path / "t.jsonl", orient="records", lines=True, double_precision=15)
    pa.feather.write_feather(pa.Table.from_pandas(frame), tmp_path / "t.feather")
    frame.to_excel(tmp_path / "t.xlsx", index=False)
    expected = tables.split(pa.Table.from_pandas(frame, preserve_index=False), "y")
    for suffix in ("jsonl", "feather", "xlsx"):
        got = tables.split(tables.read(tmp_path / f"t.{suffix}"), "y")
        for one, other in zip(got[:3], expected[:3], strict=True):
            assert np.allclose(one[0], other[0], atol=1e-6)
            assert np.array_equal(one[1], other[1])


def written(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode(encoding))
    return path


def plan_of(path, target, table):
    plan = tables.split(table, target, source=str(path)).encoder.plan
    return plan.rows, {each.name: each for each in plan.columns}


BODY = "".join(f"{k}.5,{k % 7},{'uv'[k % 2]}\n" for k in range(30))


def test_units_and_empty_lines_are_passed_over_and_lines_counted_all_the_same(tmp_path):
    path = written(tmp_path, f"a,b,y\n(kg),m/s,\n\n{BODY}\r\n\noops,2,u\n")
    table = tables.read(path)
    assert table["b"].to_pylist() == [*(str(k % 7) for k in range(30)), "2"]
    rows, columns = plan_of(path, "y", table)
    assert rows == ("the file: 3 empty lines passed over; a row of units left out: (kg), m/s",)
    assert columns["a"].notes == ("1 unreadable, line 36, 'oops'",)
    for first in ("kg,m/s,u", "kg,3,", "a sack of,,", ",,"):
        kept = tables.read(written(tmp_path, f"a,b,y\n{first}\n{BODY}"))
        assert (kept.num_rows, kept["a"][0].as_py()) == (31, first.split(",")[0])


def test_what_is_asked_of_a_file_goes_before_what_is_found(tmp_path):
    path = written(tmp_path, "x|1\na|b,y\n" + "".join(f"{k}|{k},{k}\n" for k in range(30)))
    assert tables.read(path, delimiter="|", header=2).column_names == ["a", "b,y"]
    bare = tables.read(path, delimiter="|", header=0)
    assert (bare.column_names, bare.num_rows) == (["column 1", "column 2"], 32)
    greek = written(tmp_path, "a\ty\nß\tä\n", "cp850")
    table = tables.read(greek, encoding="cp850", delimiter="tab")
    assert table.to_pylist() == [{"a": "ß", "y": "ä"}]
    assert table.schema.metadata[cells.SAID] == b"cp850; '\\t' between cells"
    for asked, message in (
        ({"encoding": "nope"}, "unknown encoding: nope; give another"),
        ({"encoding": "ascii"}, "no text of ascii"),
        ({"delimiter": "::"}, "a delimiter of 2 characters, '::'; give one, or tab"),
        ({"header": 9}, "2 lines, none of them header 9"),
    ):
        with pytest.raises(InputError, match=rf"t\.csv: .*{message}"):
            tables.read(greek, **asked)
    with pytest.raises(InputError, match=r"delimiter: expected text, such as a .csv file"):
        tables.read("iris", delimiter=";")


@pytest.mark.parametrize("frames", [pd, pl])
def test_a_frame_is_split_as_it_is_read(frames):
    frame = frames.DataFrame({"a": np.arange(30) / 7, "b": ["x", "y", "z"] * 10, "y": [1, 2] * 15})
    split, expected = tables.split(frame, "y"), tables.split(tables.read(frame), "y")
    assert split.encoder == expected.encoder
    for ours, theirs in zip(split.train, expected.train, strict=True):
        np.testing.assert_array_equal(ours, theirs)

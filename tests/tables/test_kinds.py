"""Columns as people have them: what they are taken for, the numbers they become, what is said."""

import datetime
import shlex

import numpy as np
import pyarrow as pa
import pytest

from jaxnet import tables
from jaxnet.errors import InputError
from jaxnet.tables.cells import Cells

ROWS = 40


def planned(cells, rest=(), **asked):
    """The plan and the fitted column of one column, repeated to 40 rows, beside a plain one."""
    values = [*(cells[row % len(cells)] for row in range(ROWS - len(rest))), *rest]
    other = np.random.default_rng(0).normal(size=ROWS)
    table = pa.table({"x": values, "z": other, "y": np.arange(ROWS) % 3 // 2})
    split = tables.split(table, "y", source="t.csv", **asked)
    column, _ = split.encoder.plan.columns
    fitted = {each.name: each for each in split.encoder.columns}.get("x")
    return column, fitted, split, table


def decoded(cells, rest=(), **asked):
    """The numbers that the first cells and the rest became, of a column taken for numbers."""
    column, fitted, split, table = planned(cells, rest, **asked)
    assert column.kind == "number", column
    x = split.encoder.features(table, "t.csv")
    numbers = x[:, 0].astype(float) * fitted.deviation + fitted.mean
    at = [*range(len(cells)), *range(ROWS - len(rest), ROWS)]
    gone = x[at, 1] == 1 if fitted.missing else np.zeros(len(at), bool)
    return [
        None if lost else round(value, 3) for value, lost in zip(numbers[at], gone, strict=True)
    ]


NUMBERS = {
    "plain": (["1", "2.5", "-3e1"], [1, 2.5, -30], ""),
    "thousands": (["1,898,317", "12", "2,000"], [1898317, 12, 2000], "thousands marked"),
    "apostrophes": (["1'898'317", "1'200"], [1898317, 1200], "thousands marked"),
    "points": (["1.898.317", "12.345,5"], [1898317, 12345.5], "the comma marks decimals"),
    "spaces": (["1 898 317", "12"], [1898317, 12], "thousands marked"),
    "decimal comma": (["13,2", "7,85", "4"], [13.2, 7.85, 4], "the comma marks decimals"),
    "percent": (["7.8%", "12 %"], [7.8, 12], "% taken off"),
    "dollars": (["$12", "-$1,300.5", "$3"], [12, -1300.5, 3], "$ taken off"),
    "thousands alone": (["1.234", "2.500", "0,5"], [1234, 2500, 0.5], "the comma marks decimals"),
    "euros": (["12,50 €", "1.300,00 €"], [12.5, 1300], "€ taken off"),
    "unit": (["72 kg", "80kg"], [72, 80], "kg taken off"),
    "limits": (["0.5", "<0.01", "2"], [0.5, 0.01, 2], "limits, such as <0.01, as the number"),
    "truth": (["TRUE", "FALSE"], [1, 0], "true and false as 1 and 0"),
    "sentinel": (["1", "2", "3", "-999"], [1, 2, 3, -999], "-999 in 10 rows, far off"),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_however_written_are_numbers(name):
    cells, numbers, said = NUMBERS[name]
    # Inputs are of float32.
    assert decoded(cells) == pytest.approx(numbers, abs=1e-7 * max(map(abs, numbers)))
    assert said in "; ".join(planned(cells)[0].notes)


@pytest.mark.parametrize("gap", ["?", "", " ", "#DIV/0!", "inf", "-", "oops"])
def test_a_few_broken_cells_are_missing_and_counted(gap):
    assert decoded(["1", "2"], [gap, "2"]) == [1, 2, None, 2]
    column, *_ = planned(["1", "2"], [gap, "2"])
    assert column.missing == 1
    if gap in ("inf", "oops"):
        assert column.notes == (f"1 unreadable, line 40, '{gap}'",)


def test_a_tenth_of_the_cells_may_be_broken():
    assert planned(["1", "2"], ["x"] * 4)[0].kind == "number"
    assert planned(["1", "2"], ["x"] * 5)[0].kind == "category"
    dates = ["2021-03-01", "2021-03-02"]
    assert planned(dates, ["x"] * 4)[0].kind == "date"
    assert planned(dates, ["x"] * 5)[0].kind == "category"


def test_values_asked_for_are_missing():
    assert decoded(["1", "2", "-999"], missing=["-999"]) == [1, 2, None]
    assert decoded([1, 2, -999], missing=["-999"]) == [1, 2, None]
    assert decoded(["1.5", "2", "-999.0"], missing=["-999"]) == [1.5, 2, None]
    assert decoded(["1", "2", "-999"], missing=["-999.0"]) == [1, 2, None]


@pytest.mark.parametrize("far", ["-999.0", "9999999", "9,999 kg", 9999999.0, 1e20])
def test_what_is_said_to_make_far_values_missing_does(far):
    cells = [1.0, 2.0, far] if isinstance(far, float) else ["1 kg", "2 kg", far]
    cells = ["1", "2", far] if far in ("-999.0", "9999999") else cells
    (said,) = [note for note in planned(cells)[0].notes if "--missing" in note]
    (word,) = shlex.split(said.partition("--missing ")[2])
    assert decoded(cells, missing=[word])[2] is None
    assert planned(cells, missing=[word])[0].missing == 13


def test_far_off_is_three_times_the_spread_of_the_others():
    assert "far off" in "; ".join(planned(["0", "5", "10", "41"])[0].notes)
    assert planned(["0", "5", "10", "39"])[0].notes == ()


def test_a_comma_that_marks_decimals_does_so_in_new_tables():
    *_, split, _ = planned(["1.234,5", "2,5"])
    new = pa.table({"x": ["2.500", "1.250"], "z": [0.0, 0.0]})
    encoder = split.encoder
    column = next(each for each in encoder.columns if each.name == "x")
    x = encoder.features(new, "t.csv")[:, 0].astype(float) * column.deviation + column.mean
    assert x == pytest.approx([2500, 1250], rel=1e-4)


def test_what_reads_both_ways_is_told_and_read_as_asked():
    assert decoded(["1,234", "5,678"]) == [1234, 5678]
    assert "else --decimal ," in planned(["1,234", "5,678"])[0].notes[0]
    assert decoded(["1,234", "5,678"], decimal=",") == pytest.approx([1.234, 5.678])
    assert decoded(["1.234", "5"], decimal=",") == [1234, 5]
    assert decoded(["1.5", "2.25"], decimal=",") == [1.5, 2.25]
    dates = ["01/03/2021", "05/04/2021"]
    for asked, months, other in (("", {3, 4}, "%m/%d/%Y"), ("%m/%d/%Y", {1, 5}, "%d/%m/%Y")):
        column, *_, table = planned(dates, date_format=asked)
        assert f"else --date-format {other}" in column.notes[0]
        reader = Cells(table, "x", "t.csv", column.format)
        assert {*reader.part("month")} == months
    assert planned(["31/03/2021"], ["01/04/2021"])[0].notes == ("read as %d/%m/%Y",)
    assert planned(["5 of 3 of 2021", "1 of 4 of 2021"], date=["x"], date_format="%d of %m of %Y")[
        0
    ].notes == ("read as %d of %m of %Y",)


CATEGORIES = {
    "zip codes": (["02134", "10001"], ("02134", "10001"), "codes, 20 with a leading 0"),
    "barcodes": (["4" * 20, "4" * 19 + "5"], ("4" * 20, "4" * 19 + "5"), "or 16 digits"),
    "spellings": (["Yes", "yes", "no ", "yes"], ("no", "yes"), "as one: 'Yes', 'yes'"),
    "bounds alone": (["<=50K", ">50K"], ("<=50K", ">50K"), ""),
    "sizes": (["1", "2", "2b"], ("1", "2", "2b"), "13 cells are no number; else --number"),
    "two units": (["72 kg", "150 lb", "3 st"], ("150 lb", "3 st", "72 kg"), ""),
    "seasons": (["2011-12", *["2001-02"] * 18, "2012-13"], ("2001-02", "2011-12", "2012-13"), ""),
    "continents": (["NA", "EU", "AS", ""], ("AS", "EU", "NA"), "NA is a value"),
    "gaps": (["red", "NA", "blue"], ("blue", "red"), ""),
    "copy": (["a", "a", "b"], ("a", "b"), "tells the target alone"),
}


@pytest.mark.parametrize("name", CATEGORIES)
def test_what_is_no_number_is_a_category(name):
    cells, categories, said = CATEGORIES[name]
    column, fitted, *_ = planned(cells)
    assert (column.kind, fitted.categories) == ("category", categories)
    assert said in "; ".join(column.notes)


def test_what_tells_the_target_alone_is_said_of_no_other():
    def notes(cells):
        return "; ".join(planned(cells)[0].notes)

    assert "tells the target alone" in notes(list("abcdef"))
    # As many values as that tell a target by chance.
    assert "tells" not in notes(list("abcdefghi"))
    y, noise = np.arange(ROWS) ** 2.0, np.random.default_rng(0).normal(size=ROWS)
    table = pa.table({"copy": 9 * y / 5 + 32, "near": y + 20 * noise, "y": y})
    copy, near = tables.split(table, "y").encoder.plan.columns
    assert copy.notes == ("tells the target alone; a copy? --drop",)
    assert near.notes == ()


LEFT = {
    "numbers the rows": ([str(row) for row in range(ROWS)], "numbers the rows"),
    "counted from 1": (list(range(1, ROWS + 1)), "numbers the rows"),
    "names": ([f"name {row}" for row in range(ROWS)], "40 different in 40 rows; else --category"),
    "text": ([f"{row % 30} words" + "s" * row for row in range(ROWS)], "40 different in 40 rows"),
    "constant": (["same"], "constant"),
    "one number": (["3.0"], "constant, '3.0'"),
    "empty": (["", "NA"], "empty"),
    "times": ([datetime.time(9), datetime.time(10)], "holds time64"),
    "bytes": ([b"a", b"b"], "holds binary"),
    "lists": ([[1, 2]], "holds list"),
}


@pytest.mark.parametrize("name", LEFT)
def test_what_tells_nothing_is_left_out_and_said(name):
    cells, said = LEFT[name]
    column, fitted, *_ = planned(cells)
    assert (column.kind, fitted) == ("left out", None)
    assert column.notes[0].startswith(said)


def test_a_saved_index_and_ids_are_left_out_in_whatever_order():
    random = np.random.default_rng(0)
    numbers = random.permutation(np.arange(7, 307, 5))
    for name in ("Unnamed: 0", "__index_level_0__", "", "PassengerId", "customer_id", "id"):
        columns = {name: numbers, "a": random.normal(size=60), "y": np.arange(60) % 2}
        plan = tables.split(pa.table(columns), "y").encoder.plan
        assert [each.kind for each in plan.columns] == ["left out", "number"], name
    encoder, new = tables.split(pa.table(columns), "y").encoder, columns | {"more": numbers}
    assert encoder.doubts(pa.table(new), "t")[0] == ["columns that are not used: 'more'"]
    visits = tables.split(pa.table(columns | {"id": np.arange(60) // 2}), "y").encoder.plan
    assert [each.kind for each in visits.columns] == ["number", "number"]
    columns["paid"] = columns.pop("id")
    kept = tables.split(pa.table(columns), "y").encoder.plan
    assert {each.kind for each in kept.columns} == {"number"}


DATES = {
    "2021-03-01": (2021, 3, 0, 0),
    "01/03/2021": (2021, 3, 0, 0),
    "1.3.2021": (2021, 3, 0, 0),
    "2021-03-01T12:30:00+02:00": (2021, 3, 0, 12.5),
    "2021-03-01 1:30 PM": (2021, 3, 0, 13.5),
    "2021-03-01 12:30 AM": (2021, 3, 0, 0.5),
    "Mar 1, 2021": (2021, 3, 0, 0),
    "2021-03": (2021, 3, 0, 0),
    "1-Mar-21": (2021, 3, 0, 0),
}


@pytest.mark.parametrize("date", DATES)
def test_dates_become_year_month_weekday_hour_and_days(date):
    later = date.replace("21", "24").replace("12:30", "18:00").replace("1:30 PM", "9:30 AM")
    first = date.replace("01/03", "31/12")
    column, fitted, split, table = planned([first, later, date])
    assert column.kind == "date"
    x = split.encoder.features(table, "t.csv")[2].astype(float)
    numbers = {
        part.name: value * part.deviation + part.mean
        for part, value in zip(fitted.parts, x, strict=False)
    }
    year, month, weekday, hour = DATES[date]
    expected = {"year": year, "month": month, "weekday": weekday, "hour": hour, "days": 18687}
    assert {"year", "days", "weekday"} <= set(numbers) <= set(expected)
    assert ("hour" in numbers) == (":" in date)
    for name, value in numbers.items():
        assert abs(value - expected[name]) < 1e-2, name
    assert column == planned([first, later, date])[0]


def test_typed_dates_are_dates_and_what_is_asked_for_is_done():
    stamps = np.datetime64("2021-03-01T06") + 30 * np.arange(ROWS).astype("m8[h]")
    column, fitted, *_ = planned(stamps.tolist())
    assert (column.kind, "hour" in {part.name for part in fitted.parts}) == ("date", True)
    zone = datetime.timezone(datetime.timedelta(hours=3))
    local = [datetime.datetime(2021, 3, 1, hour, tzinfo=zone) for hour in (6, 7)]
    (hour,) = [part for part in planned(local)[1].parts if part.name == "hour"]
    assert 6 < hour.mean < 7
    assert planned(["1", "2"], category=["x"])[1].categories == ("1", "2")
    assert planned([f"name {row}" for row in range(ROWS)], category=["x"])[0].kind == "category"
    assert decoded(["02134", "10001"], number=["x"]) == [2134, 10001]
    assert planned(["20210301", "20240301"], date=["x"])[0].kind == "date"
    assert planned(["a", "b"], drop=["x"])[0].notes == ("as asked",)
    assert decoded(["1", "2", "x"], number=["x"]) == [1, 2, None]
    with pytest.raises(InputError, match=r"'x': expected a number in most cells, got 40 of 40"):
        planned(["u", "v"], number=["x"])


def test_what_alone_numbers_the_rows_is_kept():
    table = pa.table({"x": np.arange(50.0), "y": np.arange(50.0) ** 2})
    assert [column.name for column in tables.split(table, "y").encoder.columns] == ["x"]


def test_nothing_left_to_learn_from_is_refused_with_why():
    table = pa.table({"text": [f"free {row}" for row in range(30)], "y": [1, 2] * 15})
    with pytest.raises(
        InputError, match="none but 'text' 30 different in 30 rows; else --category"
    ):
        tables.split(table, "y")


# --- targets and rows -------------------------------------------------------------------------


def of_target(target, **asked):
    x = np.random.default_rng(1).normal(size=len(target))
    return tables.split(pa.table({"x": x, "y": target}), "y", **asked)


def test_the_task_is_told_with_the_option_for_the_other():
    for target, task, said in [
        (["1.0", "2.0"] * 20, "regression", "regression, of 2 numbers; else --task classification"),
        (
            ["1", "2"] * 20,
            "classification",
            "2 classes, of 2 whole numbers; else --task regression",
        ),
        (["0", "0", "1200", "3400"] * 10, "classification", "3 classes, of 3 whole numbers; else"),
        (["true", "false"] * 20, "classification", "2 classes"),
    ]:
        plan = of_target(target).encoder.plan
        assert plan.task == task
        assert plan.target.notes[0].startswith(said)


def test_classes_that_differ_by_case_are_said():
    plan = of_target(["Yes", "yes", "No"] * 20).encoder.plan
    assert plan.target.notes == ("3 classes", "apart: 'Yes', 'yes'")


def test_whole_numbers_are_classes_where_each_is_met_five_times():
    assert of_target(["1", "2", "3", "4"] * 5).encoder.plan.task == "classification"
    assert of_target(["1", "2", "3", "4", "5"] * 4).encoder.plan.task == "regression"


def test_labels_are_spelled_as_the_table_does():
    for labels in (["true", "false"], ["TRUE", "FALSE"], ["<=50K", ">50K"], ["01", "02"]):
        encoder = of_target([f" {label}" for label in labels] * 20).encoder
        assert encoder.target.labels == tuple(sorted(labels))
    assert of_target(["3", "1", "10"] * 20).encoder.target.labels == (1, 3, 10)


def test_a_target_of_any_size_comes_back_in_its_own_units():
    y = [f"{10**12 + 10**10 * row:,}" for row in range(40)]
    split = of_target(y)
    back = split.encoder.decode(split.test[1])
    assert np.allclose(back, 1e12 + 1e10 * split.rows["test"], rtol=1e-6)


def test_rows_without_a_target_and_a_total_are_left_out_and_counted():
    target = ["1.5", "2.5", "", "oops"] * 3 + ["7.25", "1"] * 20
    split = of_target([*target, "99"])
    assert split.encoder.plan.rows == ("6 rows without a target are left out",)
    used = sorted(np.concatenate([*split.rows.values()]).tolist())
    assert used == [row for row in range(53) if row > 11 or row % 4 < 2]
    names = ["Total", "Part"] * 20 + ["Total"]
    used = tables.split(pa.table({"row": names, "y": np.arange(41.0)}), "y").rows
    assert 40 in np.concatenate([*used.values()])
    names = ["Bonn", "Kiel"] * 20 + ["Total"]
    table = pa.table({"city": names, "y": ["2.5", "3.5"] * 20 + ["120"]})
    split = tables.split(table, "y")
    assert split.encoder.plan.rows[0] == "the last row, a total, is left out: 'Total'"
    assert 40 not in np.concatenate([*split.rows.values()])
    assert split.encoder.columns[0].categories == ("Bonn", "Kiel")
    assert split.encoder.target.mean < 4


def test_a_class_too_small_to_be_split_trains_whole():
    split = of_target(["a", "b"] * 20 + ["c"])
    assert split.encoder.plan.rows == ("too small to be split, and so all for training: 'c'",)
    assert 40 in split.rows["train"]
    assert split.encoder.target.labels == ("a", "b", "c")


def test_rows_that_reach_both_parts_are_counted():
    table = pa.table({"a": [1.5, 2.5, 3.5, 4.5] * 10, "y": ["u", "v"] * 20})
    rows = tables.split(table, "y").encoder.plan.rows
    assert rows == ("8 of 8 test rows equal a training row in all columns used",)


def test_the_plan_is_as_wide_as_a_terminal_and_says_what_it_leaves_out():
    columns = {f"column number {k}": [str(k), str(k + 1)] * 20 for k in range(30)}
    columns["a name\nof two lines, and longer than most names are"] = ["same"] * 40
    plan = tables.split(pa.table(columns | {"y": [1, 2, 3, 4] * 10}), "y").encoder.plan
    few, every = plan.lines(5), plan.lines()
    assert max(map(len, [*few, *every])) <= 80
    assert few[1].startswith("a name of two lines, ...  left out  constant")
    assert few[6] == "and 26 more columns (26 number); --plan prints all"
    assert len([line for line in every if "column number" in line]) == 30


def test_groups_stay_together_and_time_goes_on():
    random = np.random.default_rng(0)
    patients, x = random.integers(0, 25, 200), random.normal(size=200)
    days = np.datetime64("2021-01-01") + random.permutation(200)
    table = pa.table(
        {"who": [f"p{each}" for each in patients], "day": days.astype(str), "x": x, "y": x > 0}
    )
    split = tables.split(table, "y", group="who", drop=["day"])
    parts = {name: set(patients[rows]) for name, rows in split.rows.items()}
    assert not parts["train"] & parts["test"] | parts["train"] & parts["validation"]
    assert not parts["test"] & parts["validation"]
    assert all(abs(len(split.rows[name]) - 40) <= 15 for name in ("validation", "test"))
    assert [column.name for column in split.encoder.columns] == ["x"]
    other = tables.split(table, "y", group="who", drop=["day"], seed=1)
    assert not np.array_equal(split.rows["test"], other.rows["test"])
    spelled = [f"{' Pp'[k % 2 + 1]}{each} " for k, each in enumerate(patients)]
    again = tables.split(
        table.set_column(0, "who", pa.array(spelled)), "y", group="who", drop=["day"]
    )
    parts = [set(patients[rows]) for rows in again.rows.values()]
    assert not parts[0] & parts[1] | parts[0] & parts[2] | parts[1] & parts[2]
    split = tables.split(table, "y", time="day", drop=["who"])
    assert [len(split.rows[name]) for name in ("train", "validation", "test")] == [120, 40, 40]
    assert days[split.rows["train"]].max() < days[split.rows["validation"]].min()
    assert days[split.rows["validation"]].max() < days[split.rows["test"]].min()
    assert [column.name for column in split.encoder.columns] == ["x"]
    seconds = [f"2021-01-01 10:{k // 60:02}:{k % 60:02}" for k in range(200)]
    timed = table.set_column(1, "day", pa.array([*seconds[:190], *["2099-01-01"] * 10]))
    split = tables.split(timed, "y", time="day", drop=["who"], missing=["2099-01-01"])
    assert split.rows["test"].tolist() == [*range(150, 190)]
    with pytest.raises(InputError, match="group, time: expected one of them, got 'who' and 'day'"):
        tables.split(table, "y", group="who", time="day")
    with pytest.raises(InputError, match="column 'who': expected dates or numbers, got none"):
        tables.split(table, "y", time="who")

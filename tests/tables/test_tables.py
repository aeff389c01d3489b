"""Tables against the csv module, plain NumPy and scikit-learn; broken ones against the clock.

`malformed(seed)` breaks a sound table in one of many ways; whatever it gives must end in a
InputError that names the file, or in finite arrays.
"""

import csv
import io
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from few import first_of
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import datasets
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from jaxnet import tables
from jaxnet.errors import InputError
from jaxnet.tables import reading

PARTS = ("train", "validation", "test")
PLAN = tables.Plan(tables.Planned("y", "number"), "regression", ())
HEADER = ["age", "member", "colour", "price", "kind"]


def sound(rows=60, seed=0, gaps=0.1):
    """Rows of text as a CSV file has them, gaps among them, and the target `kind`."""
    random = np.random.default_rng(seed)
    table = []
    for row in range(rows):
        cells = [
            str(int(random.integers(18, 80))),
            str(bool(random.integers(2))).lower(),
            str(random.choice(["red", "green", "blue"])),
            repr(float(random.normal(100, 30))),
        ]
        cells = [cell if random.random() > gaps or row < 2 else "" for cell in cells]
        table.append([*cells, "abc"[row % 3]])
    return table


def write(path, rows, header=HEADER, **options):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n", **options).writerows([header, *rows])
    return path


def parts(split):
    return {part: getattr(split, part) for part in PARTS}


def finite(split):
    for x, y in parts(split).values():
        assert np.isfinite(x).all()
        assert np.isfinite(y).all()


# --- the encoding, by independent means -----------------------------------------------------


def twin(path, rows):
    """The features of `sound` tables by the csv module and scikit-learn."""
    with path.open(newline="", encoding="utf-8") as file:
        cells = list(csv.DictReader(file))
    blocks = []
    for name in HEADER[:4]:
        text = [row[name] for row in cells]
        gaps = np.array([[value == ""] for value in text], float)
        if name == "colour":
            known = sorted({text[row] for row in rows} - {""})
            encoder = OneHotEncoder(categories=[known], handle_unknown="ignore")
            encoder.fit([[text[row]] for row in rows if text[row]])
            blocks.append(encoder.transform([[value] for value in text]).toarray())
        else:
            number = {"true": 1.0, "false": 0.0, "": np.nan}
            values = np.array([[number[v] if v in number else float(v)] for v in text])
            blocks.append(np.nan_to_num(StandardScaler().fit(values[rows]).transform(values)))
        if gaps[rows].any():
            blocks.append(gaps)
    return np.hstack(blocks)


@first_of("seed", range(5))
def test_features_are_those_of_scikit_learn(tmp_path, seed):
    path = write(tmp_path / "people.csv", sound(seed=seed))
    split = tables.split(tables.read(path), "kind", seed=seed)
    expected = twin(path, split.rows["train"])
    assert split.encoder.inputs == expected.shape[1]
    for part in PARTS:
        x, y = getattr(split, part)
        np.testing.assert_allclose(x, expected[split.rows[part]], rtol=1e-5, atol=1e-6)
        assert y.tolist() == [row % 3 for row in split.rows[part]]


def test_bundled_sets_are_scikit_learns():
    for name in ("digits", "wine", "breast_cancer", "iris", "diabetes"):
        table, data = tables.read(name), getattr(datasets, f"load_{name}")()
        split = tables.split(table, "target", seed=3, source=name)
        train = split.rows["train"]
        scaled = StandardScaler().fit(data.data[train]).transform(data.data)
        constant = data.data[train].std(axis=0) == 0
        for part, rows in split.rows.items():
            x, y = getattr(split, part)
            expected = np.where(constant, 0, scaled)[rows]
            np.testing.assert_allclose(x, expected, rtol=1e-4, atol=1e-5)
            if name == "diabetes":
                y = split.encoder.decode(y)
                np.testing.assert_allclose(y, data.target[rows], rtol=1e-5)
            else:
                one_hot = np.eye(split.encoder.outputs, dtype=np.float32)[y]
                names = data.target_names[data.target[rows]].tolist()
                assert split.encoder.decode(one_hot) == names
        assert sorted(np.concatenate(list(split.rows.values()))) == list(range(len(data.data)))


def test_digits_read_from_their_file_are_those_of_the_loader(monkeypatch, tmp_path):
    read = tables.read("digits")
    monkeypatch.setattr(reading, "_digits_file", lambda: tmp_path / "moved")
    assert read.equals(tables.read("digits"))


LABELS = {
    "text": (["no", "yes", "perhaps"], None),
    "integers": ([3, -1, 7], None),
    "booleans": ([True, False], None),
    "floats": ([0.5, 1.5], "classification"),
}


@pytest.mark.parametrize("name", LABELS)
def test_labels_come_back_as_they_were(name):
    labels, task = LABELS[name]
    column = [labels[row % len(labels)] for row in range(40)]
    split = tables.split(pa.table({"x": np.arange(40), "y": column}), "y", task=task)
    encoder = tables.Encoder.from_json(json.loads(json.dumps(split.encoder.to_json())))
    _, y = split.train
    decoded = encoder.decode(np.eye(len(labels), dtype=np.float32)[y])
    assert decoded == [column[row] for row in split.rows["train"]]
    assert {type(label) for label in decoded} == {type(label) for label in labels}


def test_the_task_is_inferred_and_overridable():
    columns = {
        "text": (["a", "b"] * 30, "classification"),
        "booleans": ([True, False] * 30, "classification"),
        "few": ([1, 2, 3] * 20, "classification"),
        "many": (list(range(60)), "regression"),
        "floats": ([0.0, 1.0] * 30, "regression"),
        "categories": (pa.array([5, 6] * 30).dictionary_encode(), "classification"),
    }
    for name, (column, kind) in columns.items():
        table = pa.table({"x": np.arange(60.0), name: column})
        assert tables.split(table, name).encoder.target.kind == kind
        if name in ("few", "floats"):
            other = {"classification": "regression", "regression": "classification"}[kind]
            assert tables.split(table, name, task=other).encoder.target.kind == other


def test_missing_and_unseen_values_are_zeros_and_said_so():
    column = tables.Column("c", "category", categories=("a", "b"), missing=True)
    number = tables.Column("n", "number", 2.0, 4.0)
    encoder = tables.Encoder((column, number), tables.Target("y", "regression", (), 1.0, 2.0), PLAN)
    table = pa.table({"n": [None, np.nan, 6.0, 2.0], "c": ["b", None, "z", ""]})
    expected = [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 1, 0]]
    np.testing.assert_array_equal(encoder.features(table, "t"), expected)
    numbers = pa.table({"n": pa.nulls(2), "c": pa.nulls(2)})
    np.testing.assert_array_equal(encoder.features(numbers, "t"), [[0, 0, 1, 0]] * 2)
    np.testing.assert_array_equal(encoder.decode(np.array([[0.0], [2.0]])), [1, 5])


def test_numbers_ten_deviations_from_the_mean_are_far():
    column = tables.Column("n", "number", 2.0, 4.0, missing=True)
    encoder = tables.Encoder((column,), tables.Target("y", "regression", (), 1.0, 2.0), PLAN)
    _, unlike = encoder.doubts(pa.table({"n": [41.9, 42.1, -37.9, -38.1, None]}), "t")
    assert [each.partition(" far")[0] for each in unlike] == [
        *("", "n: a number", "", "n: a number", "no values")
    ]


def test_constant_columns_are_left_out_or_zeros():
    # 0.1 thrice has a standard deviation by rounding, which must not be divided by.
    columns = {"z": np.arange(33.0) % 7, "y": [1.0, 2.0, 3.0] * 11}
    left = tables.split(pa.table({"x": ["0.1"] * 33} | columns), "y").encoder
    assert [column.name for column in left.columns] == ["z"]
    assert left.plan.columns[0].notes == ("constant, '0.1'",)
    split = tables.split(pa.table({"x": [0.1] * 33} | columns), "y")
    assert split.encoder.columns[0].deviation == 0
    for x, _ in parts(split).values():
        assert not x[:, 0].any()


# --- properties -----------------------------------------------------------------------------

WORDS = st.sampled_from(["red", "dark blue", 'say "hi"', "a,b", "tab\there", "ünï", "x;y"])
NUMBERS = st.integers(-(10**12), 10**12).map(lambda x: x / 1000)


@st.composite
def drawn(draw):
    """Tables of several kinds of columns with gaps, written by pyarrow from Python lists."""
    rows = draw(st.integers(12, 30))

    def column(values):
        return draw(st.lists(st.none() | values, min_size=rows, max_size=rows))

    columns = {
        "n": [0.5, 1.5, *column(NUMBERS)[2:]],
        "i": [7, 9, *column(st.integers(-(2**40), 2**40))[2:]],
        "b": [True, False, *column(st.booleans())[2:]],
        "c": ["red", *column(WORDS)[1:]],
        "y": [row % 2 == 0 for row in range(rows)],
    }
    return pa.table(columns)


def encoded(split):
    return [array for part in parts(split).values() for array in part]


def fitted(split):
    """What is learned of the training rows alone; the plan is of all rows."""
    return split.encoder.columns, split.encoder.target


def same(one, other):
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@settings.get_profile("costly")
@given(drawn(), st.integers(0, 99))
def test_csv_parquet_and_memory_encode_alike(folder, table, seed):
    pa.parquet.write_table(table, folder / "t.parquet")
    rows = [["" if cell is None else cell for cell in row.values()] for row in table.to_pylist()]
    write(folder / "t.csv", rows, table.column_names)
    write(folder / "t.tsv", rows, table.column_names, delimiter="\t")
    expected = tables.split(table, "y", seed=seed)
    finite(expected)
    for suffix in ("csv", "tsv", "parquet"):
        got = tables.split(tables.read(folder / f"t.{suffix}"), "y", seed=seed)
        assert got.encoder.columns == expected.encoder.columns
        same(encoded(got), encoded(expected))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("drawn")


@settings.get_profile("costly")
@given(drawn(), st.integers(0, 99), st.randoms(use_true_random=False))
def test_json_and_permutations_change_nothing(table, seed, random):
    encoder = tables.split(table, "y", seed=seed).encoder
    x, y = encoder.features(table, "t"), encoder.targets(table, "t")
    again = tables.Encoder.from_json(json.loads(json.dumps(encoder.to_json())))
    assert again == encoder
    columns = random.sample(table.column_names, table.num_columns)
    rows = random.sample(range(table.num_rows), table.num_rows)
    shuffled = table.select(columns).take(rows)
    same([again.features(shuffled, "t"), again.targets(shuffled, "t")], [x[rows], y[rows]])
    same([again.features(table.drop_columns("y"), "t")], [x])


@settings.get_profile("costly")
@given(drawn(), st.integers(0, 99), st.integers(0, 99))
def test_rows_not_trained_on_leave_no_trace(table, seed, other):
    split = tables.split(table, "y", seed=seed)
    random, columns = np.random.default_rng(other), table.to_pydict()
    for row in [*split.rows["validation"], *split.rows["test"]]:
        columns["n"][row] = float(random.normal()) * 1e6
        columns["i"][row] = int(random.integers(10**9))
        columns["b"][row] = bool(random.integers(2))
        columns["c"][row] = "never seen"
    changed = tables.split(pa.table(columns), "y", seed=seed)
    assert fitted(changed) == fitted(split)
    same(changed.train, split.train)
    assert not np.array_equal(changed.test[0], split.test[0])


def test_regression_targets_of_other_rows_leave_no_trace():
    table = pa.table({"x": np.arange(50.0), "y": np.arange(50.0) ** 2})
    split = tables.split(table, "y")
    y = np.arange(50.0) ** 2
    y[split.rows["test"]] = 1e9
    assert fitted(tables.split(table.set_column(1, "y", pa.array(y)), "y")) == fitted(split)


@settings.get_profile("costly")
@given(
    st.lists(st.integers(5, 40), min_size=2, max_size=6),
    st.floats(0.2, 0.35),
    st.floats(0.2, 0.35),
    st.integers(0, 999),
)
def test_every_class_has_its_share_of_each_part(counts, validation, test, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    table = pa.table({"x": labels, "y": [f"class {label}" for label in labels]})
    split = tables.split(table, "y", validation=validation, test=test, seed=seed)
    shares = {"train": 1 - validation - test, "validation": validation, "test": test}
    for part, share in shares.items():
        counted = Counter(labels[split.rows[part]].tolist())
        for label, count in enumerate(counts):
            assert abs(counted[label] - share * count) < 1 + 1e-9
    assert sorted(np.concatenate([*split.rows.values()]).tolist()) == list(range(len(labels)))


def test_parts_of_many_small_classes_are_not_all_rounded_down():
    table = pa.table({"x": np.arange(600), "y": [f"class {row % 100}" for row in range(600)]})
    split = tables.split(table, "y", task="classification")
    assert 100 < len(split.rows["test"]) < 140  # a fifth of 6 is 1.2 for each of 100 classes


def test_the_seed_is_the_split():
    table = tables.read("iris")
    one, same_seed, other = (tables.split(table, "target", seed=seed) for seed in (1, 1, 2))
    same(encoded(one), encoded(same_seed))
    assert not np.array_equal(one.rows["test"], other.rows["test"])
    whole = tables.split(table, "target", validation=0.0, test=0.0)
    assert [len(x) for x, _ in parts(whole).values()] == [150, 0, 0]


# --- what is refused, and in which words ----------------------------------------------------


def edited(line, column, text):
    rows = sound(gaps=0)
    rows[line - 2][HEADER.index(column)] = text
    return rows


REFUSED = {
    "one class": ([[*row[:4], "a"] for row in sound()], r"column 'kind': .*two values.*'a'"),
    "few targets": ([[*row[:4], "b" * (k < 20)] for k, row in enumerate(sound())], r"20 in 60"),
    "date": ([[*r[:4], f"2020-01-{k % 28 + 1:02}"] for k, r in enumerate(sound())], "got dates"),
    "names": ([[*r[:4], f"n{k}"] for k, r in enumerate(sound())], "60 in 60 rows; .*--target"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_target_that_cannot_be_predicted_is_refused(tmp_path, name):
    rows, message = REFUSED[name]
    path = write(tmp_path / "people.csv", rows)
    with pytest.raises(InputError, match=message):
        tables.split(tables.read(path), "kind", source=str(path))


def test_all_that_is_wrong_is_refused_at_once():
    table = pa.table({"a": ["u", "v"] * 9, "b": [1, 2] * 9, "y": [5] * 18})
    message = (
        "t.csv: expected the column 'c', got none; .*expected one use of the column 'b', got 2.*"
        "'y': expected at least two values.*'a': expected a number .* got 18 of 18 .*line 2, 'u'"
    )
    with pytest.raises(InputError, match=message) as refused:
        tables.split(table, "y", drop=["b", "c"], number=["a", "b"], source="t.csv")
    assert "\n" not in str(refused.value)


TEXTS = {
    "ragged": (b"a,b\n1,2\n3\n", "line 3: Expected 2 columns, got 1"),
    "no text": (b"a,b\n1,2\n3,caf\x81\n", "bytes that are no text"),
    "nul": (b"a,b\n1,2\n3,\0\n", "NUL byte in line 3"),
    "open quote": (b'a,b\n1,"x\n2,y\n', "quote that is not closed from line 2 on"),
    "open late": (b'a,b\n1,"x\ny"\n2,"y\n', "quote that is not closed from line 4 on"),
    "stray quote": (b'a,b\n1"2,"x\n2,y\n', "a quote within a value"),
    "ragged late": (b'a,b\n1,"x\n\ny"\n3\n', "line 5: Expected 2 columns, got 1"),
    "no rows": (b"a,b\n", "at least one row"),
    "nothing": (b"", "an empty file"),
    "same names": (b"a,b,a\n1,2,3\n", "once, got 'a' more often"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_broken_text_is_refused_by_line(tmp_path, name):
    data, message = TEXTS[name]
    path = tmp_path / "people.csv"
    path.write_bytes(data)
    with pytest.raises(InputError, match=rf"people\.csv.*{message}"):
        tables.read(path)


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_line_breaks_within_quoted_values_are_read_as_the_csv_module_does(tmp_path, newline):
    """And an error still names the line that its row begins on."""
    path = tmp_path / "people.csv"
    values = ["plain", "two\nlines", "an\n\nempty one", 'a "quote"\n', "a,b\n"]
    rows = [[row, values[row % 5], "pq"[row % 2]] for row in range(40)]
    with path.open("w", encoding="utf-8", newline=newline) as file:
        csv.writer(file, lineterminator="\n").writerows([["a\nb", "text", "kind"], *rows])
    with path.open(encoding="utf-8", newline=newline) as file:
        expected = [*csv.DictReader(file)]
    table = tables.read(path)
    assert [[*map(str, row.values())] for row in table.to_pylist()] == [
        [*row.values()] for row in expected
    ]
    split = tables.split(table, "kind", source=str(path))
    texts = {row["text"].strip() for row in expected}
    assert split.encoder.columns[-1].categories == tuple(sorted(texts))
    with path.open(encoding="utf-8", newline=newline) as file:
        reader = csv.reader(file)
        line = next(reader.line_num + 1 for row in reader if row[0] == "30")
    path.write_bytes(path.read_bytes().replace(b"31,", b"inf,"))
    broken, *_ = tables.split(tables.read(path), "kind", source=str(path)).encoder.plan.columns
    assert (broken.missing, broken.notes) == (1, (f"1 unreadable, line {line}, 'inf'",))


def test_another_table_is_encoded_where_it_can_be_and_refused_by_how_it_differs():
    split = tables.split(pa.table({"a": [1, 2] * 9, "b": ["u", "v"] * 9, "y": ["p", "q"] * 9}), "y")

    def refused(message, **columns):
        with pytest.raises(InputError, match=message):
            split.encoder.features(pa.table(columns), "new.csv")

    refused("training table had, got none named 'a', 'b', but 'c'; add", c=[1])
    table = pa.table({" B": ["U ", "w", None], "c": [1, 2, 3], "A": ["2", "two", "1e9"]})
    x = split.encoder.features(table, "new.csv")
    assert x[:, 1:].tolist() == [[1, 0], [0, 0], [0, 0]]
    assert x[0, 0] > 0 == x[1, 0]
    notes, rows = split.encoder.doubts(table, "new.csv")
    near = "a number far from {0.mean:.3g} ± {0.deviation:.3g}".format(split.encoder.columns[0])
    assert rows == [
        "",
        "a: no number; b: a value that no training row had",
        f"a: {near}; b: nothing, as in no training row",
    ]
    assert notes == [
        "column 'A' is taken for 'a'",
        f"column 'A': {near} in 1 of 3 rows, line 4, '1e9'",
        "column 'A': no number in 1 of 3 rows, line 3, 'two'",
        "column ' B' is taken for 'b'",
        "column ' B': taken are 'U' for 'u'",
        "column ' B': nothing, as in no training row in 1 of 3 rows, line 4, a missing value",
        "column ' B': a value that no training row had in 1 of 3 rows, line 3, 'w'",
        "columns that are not used: 'c'",
    ]
    with pytest.raises(InputError, match=r"column 'y', line 3, 'r': .*labels 'p', 'q'"):
        split.encoder.targets(pa.table({"y": ["p", "r"]}), "new.csv")
    with pytest.raises(InputError, match="column 'y', got none; give the nearest, 'why'"):
        split.encoder.targets(pa.table({"why": ["p"]}), "new.csv")
    with pytest.raises(InputError, match=r"expected shape \[N, 2\], got \[1, 3\]"):
        split.encoder.decode(np.zeros((1, 3)))
    with pytest.raises(InputError, match="finite"):
        split.encoder.decode(np.full((1, 2), np.nan))


@pytest.mark.usefixtures("unchecked")
def test_bad_arguments_are_refused():
    table = pa.table({"x": np.arange(20.0), "price": np.arange(20.0)})
    for arguments, message in (
        ({"target": "prise"}, "column 'prise', got none; give the nearest, 'price'"),
        ({"target": "price", "test": 0.9}, "together below 1"),
        ({"target": "price", "validation": np.nan}, "together below 1"),
        ({"target": "price", "task": "cluster"}, "task: expected"),
        ({"target": "price", "seed": -1}, "seed: expected a whole number of at least 0, got -1"),
        ({"target": "price", "test": 0.001, "seed": 1}, "rows for test, got none"),
    ):
        with pytest.raises(InputError, match=message):
            tables.split(table, **arguments)
    with pytest.raises(InputError, match="columns to predict 'x' from, got none"):
        tables.split(table.select(["x"]), "x")
    with pytest.raises(InputError, match="no such file"):
        tables.read("nowhere.csv")
    with pytest.raises(InputError, match="another name"):
        tables.read("data.sav")


def test_numbers_far_from_training_rows_stay_finite():
    x = np.linspace(0, 1e-30, 40)
    encoder = tables.split(pa.table({"x": x, "y": x * 1e30}), "y").encoder
    far = encoder.features(pa.table({"x": [0.0, 1e30, -3e38]}), "new")
    assert far[1:, 0].tolist() == [1e4, -1e4]


ENCODER = tables.Encoder(
    (tables.Column("a", "number", 1.0, 2.0), tables.Column("b", "category", categories=("u",))),
    tables.Target("y", "classification", ("p", "q")),
    PLAN,
).to_json()
DAMAGED = {
    "": [None, [], "x", 3, {}, {"columns": []}, ENCODER | {"more": 1}],
    "columns": [None, {}, 3, "ab"],
    "columns[0]": [None, [], {}, {"name": "a"}],
    "columns[0].kind": ["text", None, 3],
    "columns[0].format": [None, {}, {"decimal": ";"}],
    "plan": [None, [], {"rows": []}],
    "columns[0].mean": ["1", None, [], True],
    "columns[0].missing": [0, None],
    "columns[1].categories": ["u", [1], None, [None]],
    "target": [None, [], {}],
    "target.name": [None, 3],
    "target.labels": [None, "pq", [None], [["p"]], []],
    "target.kind": ["regression", None],
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("where", "value"), [(where, value) for where, values in DAMAGED.items() for value in values]
)
def test_a_damaged_encoder_is_refused_by_what_is_wrong(where, value):
    record = {"encoder": json.loads(json.dumps(ENCODER))}
    *path, last = f"encoder.{where}".strip(".").replace("[", ".").replace("]", "").split(".")
    inner = record
    for step in path:
        inner = inner[int(step) if step.isdigit() else step]
    inner[int(last) if last.isdigit() else last] = value
    shown = f"encoder.{where}".strip(".").replace("target.kind", "target").partition("[0].kind")[0]
    with pytest.raises(InputError, match=rf"^{re.escape(shown)}.*: expected .*, got "):
        tables.Encoder.from_json(record["encoder"])


def test_npz_arrays_are_columns(tmp_path):
    x, y = np.arange(40.0).reshape(20, 2), np.array(["a", "b"] * 10)
    np.savez(tmp_path / "t.npz", x=x, y=y)
    table = tables.read(tmp_path / "t.npz")
    assert table.column_names == ["x0", "x1", "y"]
    np.testing.assert_array_equal(table["x1"], x[:, 1])
    np.savez(tmp_path / "deep.npz", x=np.zeros((4, 2, 2)))
    with pytest.raises(InputError, match=r"deep.npz.*'x' of shape \[4, 2, 2\]"):
        tables.read(tmp_path / "deep.npz")


class Planted:
    """What touches a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_npz_files_run_no_pickle(tmp_path):
    np.savez(tmp_path / "t.npz", x=np.array([Planted(tmp_path / "ran")], object))
    with pytest.raises(InputError, match=r"t.npz.*allow_pickle=False"):
        tables.read(tmp_path / "t.npz")
    assert not (tmp_path / "ran").exists()


def test_of_thousands_of_categories_the_frequent_have_inputs_and_the_others_one():
    words = [f"word {min(row % 997, row % 300)}" for row in range(3000)]
    split = tables.split(pa.table({"x": words, "y": [1, 2] * 1500}), "y")
    counts = Counter(words[row] for row in split.rows["train"])
    (column,) = split.encoder.columns
    assert (len(column.categories), column.other, column.inputs) == (100, True, 101)
    assert min(counts[each] for each in column.categories) >= sorted(counts.values())[-101]
    rare = next(word for word in counts if word not in column.categories)
    table = pa.table({"x": [rare, "never", column.categories[7], None]})
    x = split.encoder.features(table, "new")
    assert x.argmax(axis=1).tolist() == [100, 100, 7, 0]
    assert x.sum(axis=1).tolist() == [1, 1, 1, 0]


# --- two hundred broken tables --------------------------------------------------------------


def _text(random):
    stream = io.StringIO()
    rows = sound(int(random.integers(20, 80)), int(random.integers(1000)))
    csv.writer(stream, lineterminator="\n").writerows([HEADER, *rows])
    return stream.getvalue()


def _spot(random, text, change):
    """Change one cell below the header."""
    rows = [line.split(",") for line in text.splitlines()]
    row = int(random.integers(1, len(rows)))
    column = int(random.integers(len(HEADER)))
    rows[row][column] = change(rows[row][column])
    return "\n".join(map(",".join, rows)) + "\n"


def _every(text, column, value):
    rows = [line.split(",") for line in text.splitlines()]
    return "\n".join(",".join([*r[:column], value, *r[column + 1 :]]) for r in rows[1:])


def _noise(random, data):
    data = bytearray(data)
    for place in random.integers(0, len(data), 1 + len(data) // 200):
        data[place] = random.integers(256)
    return bytes(data)


HEAD = ",".join(HEADER) + "\n"
# Each gives the bytes of a CSV file from a random generator and the text of a sound one.
TEXT_FAULTS = {
    "truncated": lambda r, t: t[: int(r.integers(len(t)))],
    "utf-16": lambda r, t: t.encode("utf-16"),
    "latin-1": lambda r, t: _spot(r, t, lambda c: c + "é").encode("latin-1"),
    "ragged short": lambda r, t: _spot(r, t, lambda c: "").replace(",,", ",", 1),
    "ragged long": lambda r, t: _spot(r, t, lambda c: c + ",1"),
    "mixed types": lambda r, t: _spot(r, t, lambda c: "unknown"),
    "same names": lambda r, t: t.replace("member", "age", 1),
    "no names": lambda r, t: t.replace("age", "", 1),
    "no rows": lambda r, t: HEAD,
    "header, no end": lambda r, t: HEAD.strip(),
    "empty": lambda r, t: "",
    "blank": lambda r, t: "\n" * int(r.integers(1, 5)),
    "one class": lambda r, t: HEAD + _every(t, 4, "a"),
    "constant": lambda r, t: HEAD + _every(t, 3, "0.1"),
    "all missing": lambda r, t: HEAD + _every(t, int(r.integers(4)), "NA"),
    "no target": lambda r, t: t.replace("kind", "sort", 1),
    "infinite": lambda r, t: _spot(r, t, lambda c: r.choice(["inf", "-inf", "Infinity"])),
    "huge": lambda r, t: _spot(r, t, lambda c: r.choice(["1e39", "-1e300", "1e999", "9" * 60])),
    "huge column": lambda r, t: HEAD + _every(t, 3, "3e38"),
    "NUL": lambda r, t: _spot(r, t, lambda c: c + "\0"),
    "BOM": lambda r, t: "\ufeff" + t,
    "two BOMs": lambda r, t: "\ufeff\ufeff" + t,
    "open quote": lambda r, t: _spot(r, t, lambda c: '"' + c),
    "quote inside": lambda r, t: _spot(r, t, lambda c: c + '"x'),
    "semicolons": lambda r, t: t.replace(",", ";"),
    "tabs": lambda r, t: t.replace(",", "\t"),
    "old Mac": lambda r, t: t.replace("\n", "\r"),
    "mixed line ends": lambda r, t: t.replace("\n", "\r\n", 5),
    "empty lines": lambda r, t: t.replace("\n", "\n\n", 3),
    "spaces": lambda r, t: t.replace(",", " , "),
    "commas": lambda r, t: _spot(r, t, lambda c: '"1,5"'),
    "few rows": lambda r, t: "\n".join(t.splitlines()[: int(r.integers(2, 8))]),
    "one column": lambda r, t: "kind\na\nb\na\nb\na\nb\n",
    "control": lambda r, t: _spot(r, t, lambda c: "\x1a\x07\u2028"),
    "noise": lambda r, t: _noise(r, t.encode()),
    "garbage": lambda r, t: r.bytes(int(r.integers(1, 4000))),
    "a picture": lambda r, t: b"\x89PNG\r\n\x1a\n" + r.bytes(500),
}


def _parquet(random):
    rows = sound(40, int(random.integers(1000)))
    stream = io.BytesIO()
    table = pa.table(dict(zip(HEADER, map(list, zip(*rows, strict=True)), strict=True)))
    price = pa.array([float(value or "nan") for value in table["price"].to_pylist()])
    table = table.set_column(3, "price", price).drop_columns("age")
    pa.parquet.write_table(table, stream)
    return stream.getvalue()


def _npz(**arrays):
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


Y = np.array(list("abc" * 10))
# Each gives a suffix and bytes.
BINARY_FAULTS = {
    "parquet truncated": lambda r: (".parquet", _parquet(r)[: int(r.integers(2000))]),
    "parquet start lost": lambda r: (".parquet", _parquet(r)[int(r.integers(1, 900)) :]),
    "parquet noise": lambda r: (".parquet", _noise(r, _parquet(r))),
    "parquet garbage": lambda r: (".parquet", b"PAR1" + r.bytes(400) + b"PAR1"),
    "parquet is csv": lambda r: (".parquet", _text(r).encode()),
    "csv is parquet": lambda r: (".csv", _parquet(r)),
    "npz pickled": lambda r: (".npz", _npz(x=np.array([{}, None] * 15), kind=Y)),
    "npz truncated": lambda r: (".npz", _npz(x=np.eye(30), kind=Y)[: int(r.integers(8000))]),
    "npz noise": lambda r: (".npz", _noise(r, _npz(x=np.eye(30), kind=Y))),
    "npz is npy": lambda r: (".npz", b"\x93NUMPY\x01\x00" + r.bytes(50)),
    "npz unequal": lambda r: (".npz", _npz(x=np.eye(9), kind=Y)),
    "npz complex": lambda r: (".npz", _npz(x=np.eye(30) * 1j, kind=Y)),
    "npz infinite": lambda r: (".npz", _npz(x=np.full((30, 2), np.inf), kind=Y)),
    "npz nan": lambda r: (".npz", _npz(x=np.full((30, 2), np.nan), kind=Y)),
    "npz scalar": lambda r: (".npz", _npz(x=np.float32(1), kind=Y)),
    "npz nothing": lambda r: (".npz", _npz()),
    "npz same names": lambda r: (".npz", _npz(x=np.eye(30), x0=np.arange(30), kind=Y)),
}


def malformed(seed: int) -> tuple[str, str, bytes]:
    """The seed's broken table: the fault's name, a suffix and the file's bytes."""
    random = np.random.default_rng(seed)
    names = [*TEXT_FAULTS, *BINARY_FAULTS]
    name = names[seed % len(names)]
    if name in BINARY_FAULTS:
        return name, *BINARY_FAULTS[name](random)
    data = TEXT_FAULTS[name](random, _text(random))
    return name, ".csv", data if isinstance(data, bytes) else data.encode()


TREATED = {  # and so encoded
    *("all missing", "no names", "constant", "BOM", "old Mac", "mixed line ends", "huge column"),
    *("utf-16", "latin-1", "semicolons", "tabs", "quote inside", "empty lines"),
}
EITHER = {  # by which cell the fault fell on
    *("truncated", "ragged short", "ragged long", "mixed types", "infinite", "huge", "spaces"),
    *("commas", "few rows", "control", "noise", "garbage", "two BOMs"),
    *("parquet noise", "npz noise", "npz truncated", "parquet truncated"),
}


@first_of("seed", range(200), 25)
def test_malformed_tables_are_refused_or_finite(tmp_path, seed):
    name, suffix, data = malformed(seed)
    path = Path(tmp_path / f"broken{suffix}")
    path.write_bytes(data)
    refusal = None
    try:
        finite(tables.split(tables.read(path), "kind", source=str(path)))
    except InputError as error:
        refusal = str(error)
    if refusal is None:
        assert name in TREATED | EITHER
    else:
        assert name not in TREATED, refusal
        assert f"broken{suffix}" in refusal
        assert len(refusal) < 1500


def test_a_parquet_file_streams_every_row_once_in_whole_batches(tmp_path):
    """Whatever the row groups: all batches but the last are whole, and shuffled in each epoch."""
    path = tmp_path / "rows.parquet"
    table = pa.table({"a": np.arange(107.0), "b": ["x", "y", "z"] * 35 + ["x", "y"]})
    table = table.append_column("t", pa.array(np.arange(107) * 0.5))
    pa.parquet.write_table(table, path, row_group_size=25)
    encoder = tables.split(table, "t", source=str(path)).encoder
    whole = encoder.features(table, str(path)), encoder.targets(table, str(path))
    stream = tables.read_batches(path, encoder, 10, seed=3)
    epochs = [list(stream(epoch)) for epoch in (0, 1, 0)]
    assert [len(x) for x, _ in epochs[0]] == [10] * 10 + [7]
    for epoch in epochs:
        x, y = (np.concatenate(parts) for parts in zip(*epoch, strict=True))
        back = np.argsort(y[:, 0])
        assert np.array_equal(x[back], whole[0])
        assert np.array_equal(y[back], whole[1])
    assert not np.array_equal(epochs[0][0][1], epochs[1][0][1])
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(epochs[0], epochs[2], strict=True))


def test_a_stream_of_no_parquet_file_is_refused(tmp_path):
    path = tmp_path / "rows.parquet"
    path.write_bytes(b"PAR1 not really")
    encoder = tables.split(tables.read("iris"), "target").encoder
    with pytest.raises(InputError, match=r"rows.parquet: expected a sound .parquet file"):
        tables.read_batches(path, encoder, 10)
    pa.parquet.write_table(tables.read("iris"), path)
    with pytest.raises(InputError, match="batch_size: expected 1 to the 150 rows"):
        tables.read_batches(path, encoder, 151)

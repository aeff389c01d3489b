"""Parts of a table: the weights of their rows, and the rows that were named for them."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from jaxnet import tables
from jaxnet.errors import InputError

PARTS = ("train", "validation", "test")
N = np.arange(60)
TABLE = pa.table({"x": N % 7, "w": [f"{k % 4 + 0.5}" for k in N], "y": ["p", "q", "p"] * 20})


def parts(split):
    return dict(zip(PARTS, split[:3], strict=True))


def test_a_column_weighs_its_rows_and_is_no_input():
    split = tables.split(TABLE, "y", weight="w")
    assert [column.name for column in split.encoder.columns] == ["x"]
    for part, (_, _, weights) in parts(split).items():
        assert weights.dtype == np.float32
        np.testing.assert_array_equal(weights, split.rows[part] % 4 + 0.5)


def test_balanced_classes_count_the_same_by_the_training_rows():
    weighed = tables.split(TABLE, "y", class_weight="balanced", weight="w")
    alone = tables.split(TABLE, "y", class_weight="balanced")
    for split, own in ((weighed, N % 4 + 0.5), (alone, np.ones(60))):
        rows, (_, y, weights) = split.rows["train"], split.train
        sums = [weights[y == label].sum() for label in (0, 1)]
        assert sums == pytest.approx([own[rows].sum() / 2] * 2, rel=1e-5)
        factors = [own[rows].sum() / 2 / own[rows][y == label].sum() for label in (0, 1)]
        for part, (_, y, weights) in parts(split).items():
            np.testing.assert_allclose(weights, own[split.rows[part]] * np.take(factors, y), 1e-5)
    counts = [np.bincount(alone.train[1])[label] for label in (0, 1)]
    said = [f"{sum(counts) / 2 / count:.3g}" for count in counts]
    assert f"rows of 'p' count {said[0]}, 'q' count {said[1]}" in alone.encoder.plan.rows


WRONG = {
    "negative": (["1", "-2"], {}, r"t.csv, column 'w', line 3, '-2': .* weight of at least 0"),
    "missing": (["1", ""], {}, r"line 3, ''.* at least 0, the first of 30 such rows"),
    "none": (["0"], {}, r"'w': expected a weight above 0 among the rows for test, got none in 12"),
    "words": (["a", "b"], {}, r"'w', line 2, 'a': expected a weight"),
    "unknown": (["1"], {"weight": "v"}, r"the column 'v', got none"),
    "target": (["1"], {"weight": "y"}, r"expected 'y', the target, to be a number or category"),
    "regression": (["1"], {"class_weight": "balanced", "task": "regression"}, "classes to balance"),
}


@pytest.mark.parametrize("name", WRONG)
def test_weights_that_are_none_are_refused(name):
    cells, asked, message = WRONG[name]
    table = pa.table({"x": N % 7, "w": cells * (60 // len(cells)), "y": N % 2})
    with pytest.raises(InputError, match=message):
        tables.split(table, "y", source="t.csv", **{"weight": "w"} | asked)


# --- parts that are named -----------------------------------------------------------------------

SPELLED = ["train", "TRAIN ", "Training", "val", "valid", "dev", "Validation", "test", "Testing"]


def test_a_column_names_the_parts_in_the_usual_spellings():
    names = [SPELLED[k % 9] for k in N]
    split = tables.split(TABLE.append_column("part", [names]), "y", split="part")
    assert [column.name for column in split.encoder.columns] == ["x", "w"]
    for part, places in (("train", (0, 1, 2)), ("validation", (3, 4, 5, 6)), ("test", (7, 8))):
        np.testing.assert_array_equal(split.rows[part], np.flatnonzero(np.isin(N % 9, places)))
    train = N[np.isin(N % 9, (0, 1, 2))] % 7
    assert split.encoder.columns[0].mean == pytest.approx(train.mean())
    both = tables.split(TABLE.append_column("part", [["train", "test"] * 30]), "y", split="part")
    assert [len(part[0]) for part in split[:3]] == [21, 27, 12]
    assert [len(part[0]) for part in both[:3]] == [30, 0, 30]


def test_another_file_is_tested_on_and_nothing_of_it_trains(tmp_path):
    path = tmp_path / "test.csv"
    path.write_text("more,Y,W,X\n" + "a,p,1,3\nb,,1,4\nc,Q,2.5,1e3\n")
    table = pa.table({"X ": TABLE["x"], "W": TABLE["w"], "Y": TABLE["y"]})
    split = tables.split(table, "Y", weight="W", test_file=path)
    alone = tables.split(table, "Y", weight="W", test=0.0)
    assert split.encoder.columns == alone.encoder.columns
    np.testing.assert_array_equal(split.rows["train"], alone.rows["train"])
    column = split.encoder.columns[0]
    x, y, weights = split.test
    np.testing.assert_allclose(x[:, 0] * column.deviation + column.mean, [3, 1e3], rtol=1e-5)
    assert (y.tolist(), weights.tolist(), split.rows["test"].tolist()) == ([0, 1], [1, 2.5], [0, 2])
    said = "\n".join(split.encoder.plan.rows)
    assert "the test file: column 'X' is taken for 'X '" in said
    assert "the test file: columns that are not used: 'more'" in said
    assert "the test file: 1 rows without a target are left out" in said
    path.write_text("X,W,Y\n1,1,p\n2,1,r\n")
    with pytest.raises(InputError, match=r"test.csv, column 'Y', line 3, 'r': .*labels 'p', 'q'"):
        tables.split(table, "Y", weight="W", test_file=path)
    path.write_text("X,W\n1,1\n")
    with pytest.raises(InputError, match=r"test.csv: expected the column 'Y', got none"):
        tables.split(table, "Y", weight="W", test_file=path)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"split": "y"}, r"expected 'y', the target, to be a number or category"),
        ({"split": "x"}, r"t.csv, column 'x', row 1, 0: expected train, validation or test"),
        ({"split": "w", "group": "x"}, r"^group, split: expected one of them, got 'x' and 'w'"),
        ({"split": "w", "test": 0.3}, r"^test: expected none beside split, which names its rows"),
        ({"test_file": "o.csv", "time": "x"}, r"^time, test_file: expected one of them"),
        ({"test_file": "o.csv", "test": 0.0}, r"^test: expected none beside test_file"),
        ({"test_file": "no.csv"}, r"no.csv: expected a file ending in"),
    ],
)
def test_parts_that_are_none_are_refused(asked, message):
    source = "t.parquet" if asked == {"split": "x"} else "t.csv"
    with pytest.raises(InputError, match=message.replace("t.csv", source)):
        tables.split(TABLE, "y", source=source, **asked)
    everything = TABLE.append_column("part", [["test"] * 60])
    with pytest.raises(InputError, match="expected rows to train on, got none"):
        tables.split(everything, "y", split="part")


def test_arrays_named_by_parts_are_those_parts(tmp_path):
    x, y = np.random.default_rng(0).normal(size=(60, 3)), np.arange(60) % 2
    cuts = {"train": slice(0, 40), "val": slice(40, 45), "test": slice(45, 60)}
    arrays = {f"X_{part}": x[cut] for part, cut in cuts.items()}
    arrays |= {f"y_{part}": y[cut] for part, cut in cuts.items()}
    np.savez(tmp_path / "t.npz", **arrays)
    split = tables.split(tables.read(tmp_path / "t.npz"), "y")
    mean, deviation = x[:40].mean(axis=0), x[:40].std(axis=0)
    for (got, labels), cut in zip(split[:3], cuts.values(), strict=True):
        np.testing.assert_allclose(got, (x[cut] - mean) / deviation, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(labels, y[cut])
    arrays.pop("y_val")
    np.savez(tmp_path / "t.npz", **arrays)
    with pytest.raises(InputError, match=r"t\.npz: .* no array 'y_val' beside X_train"):
        tables.read(tmp_path / "t.npz")


def test_a_folder_of_parquet_files_is_one_table(tmp_path):
    for name, rows in (("b", slice(20, 60)), ("a", slice(0, 20))):
        pa.parquet.write_table(TABLE[rows], tmp_path / f"{name}.parquet")
    assert tables.read(tmp_path).equals(TABLE)
    (tmp_path / "empty").mkdir()
    for source, got in (
        (tmp_path / "empty", "a folder without .parquet files"),
        ("https://example.org/t.csv", "a URL; download it first"),
        ("-", "standard input; save it as a file first"),
    ):
        with pytest.raises(InputError, match=got):
            tables.read(source)

"""Parts of a table: the weights of their rows, held against plain arithmetic."""

import numpy as np
import pyarrow as pa
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

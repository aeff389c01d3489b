"""Records against what JSON made of them, and every way in which a value is not as declared."""

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pytest

from jaxnet._guards import records
from jaxnet._guards.records import Bounds
from jaxnet.errors import InputError

pytestmark = pytest.mark.usefixtures("unchecked")


@dataclasses.dataclass(frozen=True)
class Part:
    """One of several."""

    rate: float
    label: str | int | float | bool = ""

    def __post_init__(self):
        """Refuse what no type tells."""
        if self.rate < 0:
            raise InputError(f"rate: expected at least 0, got {self.rate}")


@dataclasses.dataclass(frozen=True)
class Whole:
    """One field of each kind."""

    parts: tuple[Part, ...]
    counts: Mapping[str, int]
    word: Literal["one", "two"]
    place: Path
    name: Annotated[str, Bounds(1, 5)]
    level: Annotated[int, Bounds(0, 9)] | None = None
    fine: bool = True


WHOLE = Whole((Part(0.5, "x"), Part(2.0, True)), {"a": 1}, "two", Path("b/c"), "ünï", 3)


def test_json_gives_back_what_was_written():
    record = json.loads(json.dumps(records.plain(WHOLE)))
    back = records.typed(Whole, record)
    assert back == WHOLE
    assert type(back.parts[1].label) is bool
    records.check(back.parts[0])


def test_numbers_of_numpy_and_whole_ones_are_plain():
    record = records.plain(Part(np.float32(0.5), np.int64(3)))
    assert record == {"rate": 0.5, "label": 3}
    assert type(records.typed(Part, {"rate": 1, "label": 3}).rate) is float


def test_what_is_left_out_has_its_default():
    record = records.plain(WHOLE, ("level", "fine"))
    assert records.typed(Whole, record, without=("level", "fine")).level is None
    with pytest.raises(InputError, match=r"level: expected parts, .*, got none"):
        records.typed(Whole, record)


WRONG = {
    "parts": [3, "x", None, {}, [3], [{}], [{"rate": 1}]],
    "parts[1].rate": ["0.5", None, True, math.nan, math.inf, 10**400, [], -1.0],
    "parts[0].label": [None, [], {}],
    "counts": [[], None, 1],
    "counts.a": [1.0, "1", None, True],
    "word": ["three", 1, None, ["one"]],
    "place": ["", "\0", "\ud800", 3, None, "x" * 5000],
    "name": ["", "longer", "\0", "\ud800", 5, None],
    "level": [-1, 10, 0.5, "1", False],
    "fine": [1, 0, "true", None],
}


@pytest.mark.parametrize(
    ("where", "value"), [(where, value) for where, values in WRONG.items() for value in values]
)
def test_a_value_that_is_not_as_declared_is_named(where, value):
    record = records.plain(WHOLE)
    *path, last = where.replace("[", ".").replace("]", "").split(".")
    inner = record
    for step in path:
        inner = inner[int(step) if step.isdigit() else step]
    inner[last] = value
    with pytest.raises(InputError) as refusal:
        records.rebuilt(Whole, record, Path("kept.json"))
    words = str(refusal.value)
    assert words.startswith(f"kept.json: {where}")
    assert ": expected " in words
    assert ", got " in words
    assert words.isprintable()
    assert len(words) < 200


def test_a_field_of_another_record_is_named():
    with pytest.raises(InputError, match=r"^more\\n: expected rate, label, got a field that is"):
        records.typed(Part, {"rate": 1.0, "label": 1, "more\n": 2})
    with pytest.raises(InputError, match="part: expected an object, got 3"):
        records.typed(Part, 3, "part")

"""Evidence for data frames and series: they are the arrays that they hold."""

import jax
import numpy as np
import optax
import pandas
import polars
import pytest
from few import first_of
from runs import same

import jaxnet
from jaxnet import InputError, tables
from jaxnet.audit import entry
from jaxnet.compare import Problem

# As people have it, whose frames are of integers and of doubles.
pytestmark = pytest.mark.usefixtures("standard_promotion")

_random = np.random.default_rng(0)
COLUMNS = {
    "age": _random.integers(0, 9, 12),
    "size": _random.normal(size=12),
    "new": _random.integers(0, 2, 12).astype(bool),
}
X, Y = np.stack([*COLUMNS.values()], axis=1).astype(float), _random.integers(0, 3, 12)
LIBRARIES = pytest.mark.parametrize("library", [pandas, polars])
LOSS = jaxnet.BatchLoss(jaxnet.forward, optax.losses.softmax_cross_entropy_with_integer_labels)
PARAMS = jaxnet.init(jax.random.key(0), [3, 3])


@first_of("library", [polars, pandas])
def test_frames_are_trained_judged_and_predicted_on(library):
    x, y = library.DataFrame(COLUMNS), library.Series(Y)
    if library is pandas:
        x.index = y.index = range(12, 0, -1)
    optimizer, settings = optax.sgd(0.1), {"epochs": 2, "batch_size": 4}
    got, own = (
        jaxnet.fit(LOSS, optimizer, PARAMS, data, validation=data, **settings)
        for data in ((x, y), (X, Y))
    )
    same((got.params, got.history), (own.params, own.history))
    same(jaxnet.predict(jaxnet.forward, PARAMS, x), jaxnet.predict(jaxnet.forward, PARAMS, X))
    order = np.arange(12, dtype=np.int32).reshape(3, 4)
    trained = [jaxnet.train(LOSS, optimizer, PARAMS, data, order) for data in ((x, y), (X, Y))]
    same(*trained)
    chunks = [
        jaxnet.fit(LOSS, optimizer, PARAMS, lambda _, data=data: [data], epochs=1)
        for data in ((x, y), (X, Y))
    ]
    same(*(each.params for each in chunks))
    data = {"x": x, "y": y}
    same(
        next(iter(jaxnet.stream(data, 12, 0)(0))),
        next(iter(jaxnet.stream({"x": X, "y": Y}, 12, 0)(0))),
    )
    problem = Problem(LOSS, lambda key: PARAMS, (x, y), epochs=1, validation=(x, y), test=(x, y))
    same(problem.parts, dict.fromkeys(problem.parts, (X, Y)))
    same(entry.read(LOSS, PARAMS, (x, y), jax.grad(LOSS)).batch, (X, Y))


@LIBRARIES
def test_a_column_of_text_is_named(library):
    frame = library.DataFrame({"size": [1.0, 2.0], "city": ["Bonn", "Köln"]})
    y = library.Series([1, 0])
    words = r"\[0\]: column 'city': expected numbers, got .*jaxnet.tables.split"
    for call in (
        lambda: jaxnet.fit(LOSS, optax.sgd(0.1), PARAMS, (frame, y), epochs=1),
        lambda: jaxnet.fit(LOSS, optax.sgd(0.1), PARAMS, (X, Y), epochs=1, validation=(frame, y)),
        lambda: Problem(LOSS, lambda key: PARAMS, (frame, y), epochs=1),
        lambda: jaxnet.predict(jaxnet.forward, PARAMS, [frame]),
    ):
        with pytest.raises(InputError, match=words):
            call()
    with pytest.raises(InputError, match=r"data\[1\]: expected numbers"):
        jaxnet.stream((X[:2], frame["city"]), 2, 0)


def test_columns_of_one_name_and_missing_numbers_are_refused():
    frame = pandas.DataFrame(X, columns=["a", "b", "a"])
    with pytest.raises(InputError, match="x: expected columns with names of their own"):
        jaxnet.predict(jaxnet.forward, PARAMS, frame)
    with pytest.raises(InputError, match=r"x: expected finite values, got nan at \[1, 0\]"):
        jaxnet.predict(jaxnet.forward, PARAMS, polars.DataFrame({"a": [1, None]}))


@LIBRARIES
def test_a_frame_is_a_table(library, tmp_path):
    columns = {**COLUMNS, "city": ["Bonn", "Köln"] * 6, "target": Y % 2}
    frame = library.DataFrame(columns)
    path = tmp_path / "table.csv"
    path.write_text(pandas.DataFrame(columns).to_csv(index=False))
    got, own = (tables.split(tables.read(each), "target") for each in (frame, path))
    same((got.train, got.validation, got.test), (own.train, own.validation, own.test))
    assert got.encoder == own.encoder

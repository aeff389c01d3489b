"""Evidence for ONNX files: another runtime gives what plain NumPy and the tables room give."""

import csv
import dataclasses
import importlib.util
import itertools
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import onnx.checker
import onnxruntime
import oracles
import pyarrow as pa
import pytest
from onnxruntime.capi import onnxruntime_pybind11_state as refusals

import jaxnet.onnx
from jaxnet import network, tables
from jaxnet.commands import _outcomes, export, predict
from jaxnet.commands.settings import Export, Predict
from jaxnet.errors import InputError
from jaxnet.storage import files, models


def sigmoid(z):
    return np.exp(-np.logaddexp(-z, 0))


# In float64; of the others the oracles have no room.
TWINS = {name: oracles.ACTIVATIONS[name][0] for name in ("relu", "tanh", "softplus")} | {
    "sigmoid": sigmoid,
    "silu": lambda z: z * sigmoid(z),
    "gelu": lambda z: z / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3))),
    "softmax": oracles.softmax,
    None: lambda z: z,
}
NAMES = [name for name in TWINS if name]


def function(name):
    return name and getattr(jax.nn, name)


def drawn(random, sizes, biased=True):
    """A network whose numbers stay near 1."""
    return tuple(
        network.Layer(
            (random.normal(size=(o, i)) / np.sqrt(i)).astype(np.float32),
            random.normal(size=o).astype(np.float32) if biased else None,
        )
        for i, o in itertools.pairwise(sizes)
    )


def outputs(params, x, *activations):
    """The outputs of a network in float64; of each layer one activation."""
    x = np.float64(x)
    for (weight, bias), name in zip(params, activations, strict=True):
        x = TWINS[name](x @ np.float64(weight).T + np.float64(0 if bias is None else bias))
    return x


def run(path, inputs):
    """What a sound file gives, by name."""
    onnx.checker.check_model(path, full_check=True)
    session = onnxruntime.InferenceSession(path)
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs), strict=True))


def error(got, expected):
    """The largest difference, in parts of numbers beyond 1."""
    assert got.shape == expected.shape
    return np.max(np.abs(got - expected) / np.maximum(1, np.abs(expected)))


def networks(name):
    """Networks of each depth with an activation, with and without biases: params, activations."""
    random = np.random.default_rng(NAMES.index(name))
    for depth in range(4):
        for biased in (True, False):
            for last in (None, random.choice(NAMES)):
                sizes = random.integers(1, 7, depth + 2)
                yield drawn(random, sizes, biased), [name] * depth + [last]


@pytest.mark.parametrize("name", NAMES)
def test_another_runtime_gives_the_same_outputs(name, tmp_path):
    random = np.random.default_rng(0)
    for params, names in networks(name):
        last = function(names[-1])
        jaxnet.onnx.write(tmp_path / "model.onnx", params, function(name), last)
        for rows in (1, 7):
            x = random.normal(size=(rows, params[0].weight.shape[1])).astype(np.float32)
            got = run(tmp_path / "model.onnx", {"x": x})
            assert got["outputs"].dtype == np.float32
            assert error(got["outputs"], outputs(params, x, *names)) < 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_activations_hold_far_from_0(name, tmp_path):
    x = np.concatenate([np.linspace(-30, 30, 6001), [-1e4, -100, 100, 1e4]]).astype(np.float32)
    alone = (network.Layer(np.ones((1, 1), np.float32)),)
    jaxnet.onnx.write(tmp_path / "model.onnx", alone, output_activation=function(name))
    got = run(tmp_path / "model.onnx", {"x": x[:, None]})["outputs"]
    assert error(got, TWINS[name](np.float64(x[:, None]))) < 1e-6


def test_each_hidden_layer_may_have_an_activation_of_its_own(tmp_path):
    random = np.random.default_rng(0)
    params, x = drawn(random, [2, 4, 3, 1]), random.normal(size=(5, 2)).astype(np.float32)
    jaxnet.onnx.write(tmp_path / "model.onnx", params, [jnp.tanh, jax.nn.relu])
    got = run(tmp_path / "model.onnx", {"x": x})["outputs"]
    assert error(got, outputs(params, x, "tanh", "relu", None)) < 1e-6
    assert error(got, outputs(params, x, "relu", "tanh", None)) > 1e-2


def test_what_is_wrong_with_a_network_is_seen(tmp_path):
    """Planted faults: a bias, a weight's order, an activation."""
    random = np.random.default_rng(0)
    params, x = drawn(random, [3, 3, 3]), random.normal(size=(5, 3)).astype(np.float32)
    expected = outputs(params, x, "gelu", None)
    hidden, last = params
    turned, bare = hidden._replace(weight=hidden.weight.T), last._replace(bias=None)
    for planted, name in [((turned, last), "gelu"), ((hidden, bare), "gelu"), (params, "silu")]:
        jaxnet.onnx.write(tmp_path / "model.onnx", planted, function(name))
        assert error(run(tmp_path / "model.onnx", {"x": x})["outputs"], expected) > 1e-2


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_parameters_of_other_precision_are_computed_with_in_float32(dtype, tmp_path):
    random = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), drawn(random, [3, 4, 2]))
    x = random.normal(size=(5, 3)).astype(np.float32)
    jaxnet.onnx.write(tmp_path / "model.onnx", params, jnp.tanh)
    got = run(tmp_path / "model.onnx", {"x": x})["outputs"]
    assert error(got, outputs(params, x, "tanh", None)) < 1e-6
    with pytest.raises(refusals.InvalidArgument, match=r"Actual: .*double.*expected: .*float"):
        run(tmp_path / "model.onnx", {"x": np.float64(x)})


TARGETS = {
    "number": None,
    "text": ["no", "yes", "über"],
    "whole": [0, 1, 7],
    "truth": [False, True],
    "decimal": [0.5, 1.5],
}


def table(random, target, rows=80):
    """Columns of each kind, with gaps, names that are no words, and a year far from 0."""

    def gaps(values, share=0.2):
        return [None if random.random() < share else value for value in values]

    columns = {
        "größe m²": gaps(random.normal(1e6, 3, rows).tolist()),
        "year": random.integers(2001, 2009, rows).tolist(),
        "member": gaps((random.random(rows) < 0.5).tolist()),
        "x": gaps(random.choice(["red", "green", "blue sky"], rows).tolist()),
        "always": [3.5] * rows,
        "level": pa.array(gaps(random.integers(0, 3, rows).tolist())).dictionary_encode(),
        "outputs": random.choice(["a", "b"], rows).tolist(),
    }
    labels = TARGETS[target]
    place = random.integers(0, len(labels or "-"), rows)
    numbers = random.normal(5e5, 1e4, rows).tolist()
    return pa.table(columns | {"target": [labels[p] for p in place] if labels else numbers})


def encoder_of(data, target):
    task = "classification" if TARGETS[target] else "regression"
    return tables.split(data, "target", task=task).encoder


def cells(data, encoder):
    """A table's columns as a reader of the documentation feeds them."""
    inputs = {}
    for column in encoder.columns:
        values = data[column.name].to_pylist()
        if column.kind == "category":
            words = [v if isinstance(v, str) else json.dumps(v) for v in values]
            words = ["" if v is None else word for v, word in zip(values, words, strict=True)]
            inputs[column.name] = np.array(words, object)[:, None]
        else:
            numbers = [np.nan if v is None else float(v) for v in values]
            inputs[column.name] = np.array(numbers)[:, None]
    return inputs


def agrees(path, params, encoder, data):
    """Whether a file predicts what the tables room makes of the outputs of NumPy."""
    got = run(path, cells(data, encoder))
    z = outputs(params, encoder.features(data, "table"), "tanh", None)
    expected = np.array(encoder.decode(z))[:, None]
    assert got["target"].shape == expected.shape
    if encoder.target.kind == "regression":
        return set(got) == {"target"} and np.max(
            np.abs(got["target"] - expected)
        ) < 1e-6 * encoder.target.deviation * np.max(np.abs(z))
    assert got["target"].tolist()[0][0].__class__ is type(encoder.target.labels[0])
    same = np.array_equal(got["target"], expected)
    return same and error(got["probabilities"], oracles.softmax(z)) < 1e-6


@pytest.mark.parametrize("target", TARGETS)
def test_a_table_s_columns_go_in_and_predictions_come_out(target, tmp_path):
    random = np.random.default_rng(0)
    data = table(random, target)
    encoder = encoder_of(data, target)
    params = drawn(random, [encoder.inputs, 5, encoder.outputs])
    jaxnet.onnx.write(tmp_path / "model.onnx", params, jnp.tanh, encoder=encoder)
    assert agrees(tmp_path / "model.onnx", params, encoder, data)
    unseen = data.slice(0, 1).set_column(3, "x", [["purple"]]).set_column(4, "always", [[7.0]])
    assert agrees(tmp_path / "model.onnx", params, encoder, unseen)
    model = onnx.load(tmp_path / "model.onnx")
    told = {each.key: json.loads(each.value) for each in model.metadata_props}
    assert told == ({"labels": TARGETS[target]} if TARGETS[target] else {})
    # What training rows had no gaps in has no input of its own for them.
    whole = pa.table({name: data[name].drop_null() for name in ("year", "outputs", "target")})
    encoder = encoder_of(whole, target)
    params = drawn(random, [encoder.inputs, 5, encoder.outputs])
    jaxnet.onnx.write(tmp_path / "model.onnx", params, jnp.tanh, encoder=encoder)
    missing = pa.table({"year": pa.array([None], pa.int64()), "outputs": pa.array([""])})
    assert agrees(tmp_path / "model.onnx", params, encoder, missing)


def test_what_is_wrong_with_an_encoder_is_seen(tmp_path):
    """Planted faults, in what a column or the target is encoded by."""
    random = np.random.default_rng(0)
    for target in ("number", "text"):
        data = table(random, target)
        encoder = encoder_of(data, target)
        params = drawn(random, [encoder.inputs, 5, encoder.outputs])
        fault = {"labels": encoder.target.labels[::-1]} if TARGETS[target] else {"mean": 0.0}
        planted = [
            dataclasses.replace(encoder, target=dataclasses.replace(encoder.target, **fault))
        ]
        for place, column in enumerate(encoder.columns):
            fault = {"mean": column.mean + column.deviation / 1e4}
            if column.kind == "category":
                fault = {"categories": column.categories[::-1]}
            wrong = [*encoder.columns]
            wrong[place] = dataclasses.replace(column, **fault)
            if column.name != "always":  # which is 0 whatever it is
                planted.append(dataclasses.replace(encoder, columns=tuple(wrong)))
        for each in planted:
            jaxnet.onnx.write(tmp_path / "model.onnx", params, jnp.tanh, encoder=each)
            assert not agrees(tmp_path / "model.onnx", params, encoder, data), each


NETWORK = drawn(np.random.default_rng(0), [2, 3, 1])
COLUMN = tables.Column("a", "number", 1.0, 2.0, missing=True)
PLAN = tables.Plan(tables.Planned("y", "number"), "regression", ())
ENCODER = tables.Encoder((COLUMN,), tables.Target("y", "regression", mean=1.0, deviation=2.0), PLAN)


def renamed(name):
    return dataclasses.replace(ENCODER, columns=(dataclasses.replace(COLUMN, name=name),))


def wide(inputs):
    return network.Layer(np.broadcast_to(np.float32(0), (2**14, inputs)))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"params": ()}, "params: expected at least one Layer, got none"),
        ({"params": {"weight": np.ones((1, 1))}}, "params: expected a sequence of .*got dict"),
        ({"params": NETWORK[0]}, "params: expected a sequence of jaxnet.Layer, got Layer"),
        ({"params": 3}, "params: expected a sequence of jaxnet.Layer, got int"),
        ({"params": NETWORK[::-1]}, r"params\[1\]: expected weight \[O, 1\]"),
        ({"params": (wide(2**15 - 1),)}, "params: expected less than 2 GiB .*, got 2.0; write"),
        ({"activation": jnp.sin}, "activation: expected relu, tanh, .*softmax of jax.nn, got"),
        ({"output_activation": jnp.sin}, "activation: expected relu, tanh"),
        ({"activation": "relu"}, "activation: expected a function"),
        ({"activation": [jnp.tanh] * 2}, "activation: .* each of the 1 hidden layers, got 2"),
        ({"params": NETWORK[:1], "encoder": ENCODER}, "expected one of 2 inputs and 3 outputs"),
        ({"encoder": renamed("probabilities")}, "got 'probabilities'; rename it and train"),
        ({"encoder": renamed("jaxnet.0")}, "other names than probabilities and jaxnet"),
    ],
)
def test_what_cannot_be_written_is_refused_in_a_line(arguments, words, tmp_path):
    with pytest.raises(InputError, match=words) as refused:
        jaxnet.onnx.write(tmp_path / "model.onnx", **{"params": NETWORK, **arguments})
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_an_older_file_stays_until_the_new_one_is_whole(tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    jaxnet.onnx.write(path, NETWORK)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    for step in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(files.os, step, full)
            with pytest.raises(OSError, match="an older file is as it was"):
                jaxnet.onnx.write(path, NETWORK, jnp.tanh)
        assert path.read_bytes() == before
        assert list(tmp_path.iterdir()) == [path]
    jaxnet.onnx.write(path, NETWORK, jnp.tanh)
    assert path.read_bytes() != before


@pytest.fixture
def folder(tmp_path):
    """A folder as `jaxnet train` leaves it, of columns `a` and `b`, and the table."""
    random = np.random.default_rng(0)
    path = tmp_path / "table.csv"
    with path.open("w", newline="") as file:
        rows = zip(random.normal(2000, 1, 60), random.choice(["up", "down"], 60), strict=True)
        csv.writer(file).writerows([("a", "b", "y"), *((a, b, 2 * a) for a, b in rows)])
        file.write("NA,,4000\n")
    encoder = tables.split(tables.read(path), "y").encoder
    params = drawn(random, [encoder.inputs, 4, 1])
    models.write(tmp_path / "model", params, {"activation": "silu", "encoder": encoder.to_json()})
    return tmp_path


def test_the_command_s_file_predicts_what_predict_does(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    export.main(Export(folder))
    assert capsys.readouterr().out == "Model: model.onnx\n"
    rows = list(csv.DictReader((folder / "table.csv").read_text().splitlines()))
    a = np.array([float(row["a"].replace("NA", "nan")) for row in rows])[:, None]
    b = np.array([row["b"] for row in rows], object)[:, None]
    got = run(folder / "model.onnx", {"a": a, "b": b})["y"]
    expected = predict.run(Predict(folder, str(folder / "table.csv"))).columns["y"]
    assert np.allclose(got[:, 0], expected, rtol=1e-9)


def test_the_command_refuses_what_is_no_model(folder):
    with pytest.raises(InputError, match=r"output: expected a file ending in .onnx, got .*a.txt"):
        export.run(Export(folder, folder / "a.txt"))
    (weights,) = (folder / "model").glob("weights-*")
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(InputError, match=rf"expected a model in .*{weights.name}"):
        export.run(Export(folder, folder / "model.onnx"))
    with pytest.raises(InputError, match="without a model; give another"):
        export.run(Export(folder / "no", folder / "model.onnx"))
    assert not (folder / "model.onnx").exists()


def test_a_missing_extra_is_named(monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnx" else find(name)
    )
    monkeypatch.delitem(sys.modules, "jaxnet.onnx")
    code = _outcomes.outcome(lambda: importlib.import_module("jaxnet.onnx") and None)
    refusal = "got all but onnx; install jaxnet with its extra: pip install 'jaxnet-lab[onnx]'"
    assert (code, capsys.readouterr().err.count(refusal)) == (2, 1)


def test_rare_categories_and_far_numbers_go_in_and_dates_are_refused(tmp_path):
    random = np.random.default_rng(0)
    words = [f"w{min(row % 997, row % 130)}" for row in range(1300)]
    dates = [f"20{row % 20:02}-03-04" for row in range(1300)]
    columns = {"x": words, "n": random.normal(size=1300), "target": random.normal(size=1300)}
    encoder = tables.split(pa.table(columns), "target").encoder
    assert encoder.columns[0].other
    params = drawn(random, [encoder.inputs, 5, 1])
    jaxnet.onnx.write(tmp_path / "model.onnx", params, jnp.tanh, encoder=encoder)
    rare = next(word for word in words if word not in encoder.columns[0].categories)
    new = pa.table({"x": [words[0], rare, "never", None], "n": [1.0, -1e30, 1e6, None]})
    assert agrees(tmp_path / "model.onnx", params, encoder, new)
    encoder = tables.split(pa.table(columns | {"d": dates}), "target").encoder
    params = drawn(random, [encoder.inputs, 5, 1])
    with pytest.raises(InputError, match="which an ONNX file takes, got dates in 'd'; train anew"):
        jaxnet.onnx.write(tmp_path / "dated.onnx", params, jnp.tanh, encoder=encoder)

"""From a table to a model and its predictions, through stops, resumption and bad input."""

import ast
import csv
import dataclasses
import functools
import json
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import types

import jax
import numpy as np
import optax
import oracles
import pyarrow as pa
import pytest
import safetensors.numpy
from few import first_of
from pyarrow import parquet

import jaxnet
from jaxnet import fitting, network, tables
from jaxnet._guards import records
from jaxnet.commands import (
    _fits,
    _folders,
    _hosts,
    _networks,
    _scores,
    _stopping,
    export,
    predict,
    train,
)
from jaxnet.commands.settings import Export, Predict, Train
from jaxnet.errors import InputError
from jaxnet.storage import models

ROOT = pathlib.Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("standard_promotion")


@pytest.fixture(scope="module")
def houses(tmp_path_factory):
    """A table whose price is linear in its columns but for noise: numbers, text, true or false."""
    random = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("tables") / "houses.csv"
    rooms, cities = random.integers(1, 9, 240), random.choice(["Bonn", "Kiel", "Ulm"], 240)
    garden = random.random(240) < 0.5
    worth = {"Bonn": 60, "Kiel": 30, "Ulm": 10}
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["rooms", "city", "garden", "price"])
        for r, c, g in zip(rooms, cities, garden, strict=True):
            price = 50 * r + worth[c] + 20 * g + random.normal()
            writer.writerow([r, c, str(g).lower(), f"{price:.2f}"])
    return path


def rows_of(path):
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.fixture(scope="module")
def trained(houses, tmp_path_factory):
    """The folder of a finished run on the houses."""
    folder = tmp_path_factory.mktemp("runs") / "price"
    with jax.numpy_dtype_promotion("standard"):
        train.main(
            Train(
                *(str(houses), "price"), hidden=(16,), epochs=40, learning_rate=1e-2, output=folder
            )
        )
    return folder


def test_a_run_beats_the_mean_and_predicts_in_the_targets_units(houses, trained, tmp_path):
    about = json.loads((trained / "model" / "model.json").read_text())["about"]
    assert about["scores"]["test"]["r2"] > 0.99
    assert about["scores"]["test"]["rmse"] < 15
    out = tmp_path / "predictions.csv"
    predict.main(Predict(trained, str(houses), out))
    predicted = [float(row["price"]) for row in rows_of(out)]
    truth = [float(row["price"]) for row in rows_of(houses)]
    assert np.sqrt(np.mean(np.subtract(predicted, truth) ** 2)) < 15
    assert {path.name for path in trained.iterdir()} >= {"run.json", "history.csv", "curves.png"}


def test_a_run_that_diverges_says_so_once(houses, tmp_path, capfd):
    """In the summary; were the warning of `fit` not held back, it would be an error here."""
    settings = Train(
        *(str(houses), "price"), hidden=(16,), epochs=40, learning_rate=1e30, output=tmp_path
    )
    assert train.main(settings) == 1
    printed = "".join(capfd.readouterr())
    assert printed.count("not finite") == 1
    assert "\nnote: the loss" in printed


@pytest.mark.slow
def test_a_run_ends_with_what_helps_it(houses, tmp_path, capfd):
    """And says nothing where it is as the fixture's, of 100 times the rate."""
    for rate, named in ((1e-4, True), (1e-2, False)):
        settings = Train(*(str(houses), "price"), hidden=(16,), epochs=40, learning_rate=rate)
        assert train.main(dataclasses.replace(settings, output=tmp_path / str(rate))) == 0
        printed = capfd.readouterr().out
        assert ("\nthe learning rate is too low: with a learning rate of 0.0" in printed) == named
        assert max(map(len, printed.partition("Model,")[2].splitlines()[1:]), default=0) <= 80


def test_predictions_do_not_replace_the_table(houses, trained):
    before = houses.read_bytes()
    with pytest.raises(InputError, match="output: expected another file than the table"):
        predict.main(Predict(trained, str(houses), houses))
    assert houses.read_bytes() == before


def test_another_program_reads_the_model(houses, trained):
    """safetensors, JSON and plain NumPy give the same predictions."""
    kept = json.loads((trained / "model" / "model.json").read_text())
    (weights,) = kept["files"]
    tensors = safetensors.numpy.load_file(trained / "model" / weights)
    layers = [(tensors[f"{i}.weight"], tensors[f"{i}.bias"]) for i in range(2)]
    encoder = tables.Encoder.from_json(kept["about"]["encoder"])
    x = encoder.features(tables.read(houses), str(houses))
    outputs = oracles.forward(layers, x, "relu")[1][-1]
    expected = encoder.decode(outputs)
    assert np.allclose(
        predict.run(Predict(trained, str(houses))).columns["price"], expected, rtol=1e-4
    )


def test_the_history_is_a_line_an_epoch(trained):
    rows = rows_of(trained / "history.csv")
    assert [int(row["epoch"]) for row in rows] == list(range(1, 41))
    assert float(rows[-1]["validation_loss"]) < float(rows[0]["validation_loss"]) / 10


@pytest.mark.slow
def test_classes_of_any_type_come_back_as_they_were(tmp_path):
    result = train.run(Train("iris", hidden=(16,), epochs=60, learning_rate=1e-2))
    assert result.scores["test"]["accuracy"] > 0.85
    assert result.baseline["accuracy"] < 0.5
    _folders.write(tmp_path, Train("iris"), result.fits, result.split, result.scores)
    predicted = predict.run(Predict(tmp_path, "iris")).columns
    assert set(predicted["target"]) == {"setosa", "versicolor", "virginica"}
    assert all(1 / 3 < p <= 1 for p in predicted["probability"])
    params, about = models.read(tmp_path / "model")
    about["encoder"]["target"]["name"] = "probability"
    models.write(tmp_path / "model", params, about)
    table = tables.read("iris")
    names = [name.replace("target", "probability") for name in table.column_names]
    parquet.write_table(table.rename_columns(names), tmp_path / "iris.parquet")
    renamed = predict.run(Predict(tmp_path, str(tmp_path / "iris.parquet"))).columns
    assert renamed["probability"] == predicted["target"]
    assert renamed["its probability"] == predicted["probability"]


def test_scores_are_those_of_the_parts():
    """The same by NumPy, from the parameters, the arrays and the weights, and without weights.

    The test part is told by the network that is kept, the others by the one before it.
    """
    result = train.run(Train("wine", hidden=(8,), epochs=5, class_weight="balanced"))
    parts = ("train", "validation", "test")
    bare = result.split._replace(**{part: getattr(result.split, part)[:2] for part in parts})
    params = dict.fromkeys(parts, result.fits.first.params) | {"test": result.fits.params}
    plain = {name: _scores.of_network(params[name], "relu", bare)[name] for name in parts}
    most = np.bincount(bare.train[1]).argmax()
    for name in parts:
        x, y, weights = getattr(result.split, name)
        layers = [tuple(map(np.asarray, layer)) for layer in params[name]]
        assert set(weights) == {*(result.split.train[2])}
        z = oracles.forward(layers, x, "relu")[1][-1]
        losses = -np.log(oracles.softmax(z))[np.arange(len(y)), y]
        for scores, w in ((result.scores[name], weights), (plain[name], np.ones(len(y)))):
            assert np.isclose(scores["accuracy"], w @ (z.argmax(1) == y) / w.sum())
            assert np.isclose(scores["loss"], w @ losses / w.sum(), rtol=1e-4)
    _, y, weights = result.split.test
    assert np.isclose(_scores.of_baseline(bare)["accuracy"], np.mean(y == most))
    shares = [weights @ (y == label) / weights.sum() for label in range(3)]
    assert np.isclose(result.baseline["accuracy"], shares, rtol=1e-4).any()


def test_scores_of_numbers_count_rows_as_their_weights_say():
    """Of whole weights as rows that are there so often."""
    n, weights = np.arange(60), [1.0, 3.0, 0.0, 2.0] * 15
    table = pa.table({"x": n % 7, "y": n * 1.5, "w": weights})
    split = tables.split(table, "y", weight="w")
    often = split._replace(
        **{
            part: tuple(np.repeat(each, w.astype(int), axis=0) for each in (x, y))
            for part, (x, y, w) in zip(("train", "validation", "test"), split[:3], strict=True)
        }
    )
    params = network.init(jax.random.key(0), [1, 4, 1])
    for score in (functools.partial(_scores.of_network, params, "relu"), _scores.of_baseline):
        one, other = map(jax.tree.leaves, (score(split), score(often)))
        np.testing.assert_allclose(one, other, rtol=1e-5)
    equal = split.test[0][:3], split.test[1][[0, 0, 0]], split.test[2][:3] + 0.1
    assert np.isnan(_scores.of_baseline(split._replace(test=equal))["r2"])


@pytest.mark.slow
def test_the_same_run_gives_the_same_numbers_and_resumes_to_them(tmp_path):
    """Stopped in the first run, in the refit, and after both."""
    settings = Train("iris", hidden=(8,), epochs=30)
    whole = train.run(settings).fits
    for stage, asks in {"checkpoints": 3, "refit": 2}.items():
        asked = []

        def stop(stage=stage, asks=asks, asked=asked):
            asked.extend([None] * (tmp_path / stage).exists())
            return len(asked) == asks

        with pytest.raises(train.StoppedError):
            train.run(settings, tmp_path, stop=stop)
    for _ in range(2):
        resumed = train.run(settings, tmp_path).fits
        for a, b in zip(jax.tree.leaves(whole[:2]), jax.tree.leaves(resumed[:2]), strict=True):
            assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_what_is_kept_is_trained_on_all_rows_but_those_to_test_on():
    """As `fit` trains by itself on the rows of both parts, for as many epochs as were best."""
    settings = Train("iris", hidden=(8,), epochs=30, learning_rate=0.03)
    result = train.run(settings)
    first, split = result.fits.first, result.split
    best = int(first.progress.best_epoch)
    assert best < 30
    both = tuple(np.concatenate(pair) for pair in zip(*split[:2], strict=True))
    alone = jaxnet.fit(
        models.loss("classification", "relu"),
        optax.adam(0.03),
        result.began,
        both,
        epochs=best,
        batch_size=32,
    )
    for a, b in zip(*map(jax.tree.leaves, (alone.params, result.fits.params)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
    x, y = split.validation
    others = split._replace(validation=(x[::-1] + 1, y))
    same = _fits.fit(settings, others, result.began, None, None, lambda: False).first
    ends = (each.progress.run.state.params for each in (first, same))
    for a, b in zip(*map(jax.tree.leaves, ends), strict=True):
        np.testing.assert_array_equal(a, b)
    assert same.history["validation_loss"][-1] != first.history["validation_loss"][-1]


def test_the_refit_compiles_nothing(compilations, monkeypatch):
    """Though it has fewer epochs: were these another shape its program would be another."""
    begun, counts = _fits._Job.run, {}

    def run(job, stage, *arguments, **ends):
        compilations.clear()
        result = begun(job, stage, *arguments, **ends)
        counts[stage] = len(compilations)
        return result

    monkeypatch.setattr(_fits._Job, "run", run)
    result = train.run(Train("iris", hidden=(7,), epochs=30, learning_rate=0.03))
    assert int(result.fits.first.progress.best_epoch) < 30
    assert counts["checkpoints"] > counts["refit"] == 0


def test_a_network_starts_near_zero():
    params = _networks.start(Train(seed=3), [4, 8, 2])
    hidden, last = network.init(jax.random.key(3), [4, 8, 2])
    np.testing.assert_array_equal(params[0].weight, hidden.weight)
    np.testing.assert_allclose(params[1].weight, last.weight * 0.01, rtol=1e-6)


@pytest.mark.parametrize(
    ("rows", "asked", "expected"),
    [
        ((90, 30), {}, (1000, 250)),
        ((60_000, 20_000), {}, (50, 10)),
        ((90, 0), {}, (1334, None)),
        ((90, 30), {"epochs": 7}, (7, None)),
        ((90, 30), {"patience": 3}, (1000, 3)),
        ((10, 2), {"batch_size": 5, "epochs": 7, "patience": 3}, (7, 3)),
    ],
)
def test_runs_are_long_enough_for_few_rows(rows, asked, expected):
    train_, validation = ((np.zeros(each), np.zeros(each)) for each in rows)
    split = tables.Split(train_, validation, None, None, {})
    assert _fits.length(Train(**asked), split) == expected


def test_what_may_help_is_said(houses):
    """Of a run that was best at its end, and of one that tells no more than the mean."""
    result = train.run(Train(str(houses), "price", hidden=(16,), epochs=3, learning_rate=1e-3))
    more, guess = "the last epoch was the best: more --epochs", "no better than guessing"
    assert int(result.fits.first.progress.best_epoch) == 3
    assert " ".join(train._notes(result)).startswith(more)
    worse = result._replace(baseline=result.scores["test"])
    assert guess in " ".join(train._notes(worse))
    shares = {"test": {"accuracy": 0.5}}
    for baseline, said in ((0.5, True), (0.4, False)):
        one = result._replace(scores=shares, baseline={"accuracy": baseline})
        assert (guess in " ".join(train._notes(one))) == said
    first = result.fits.first
    ended = first._replace(progress=first.progress._replace(best_epoch=np.int32(2)))
    assert more not in " ".join(
        train._notes(result._replace(fits=result.fits._replace(first=ended)))
    )


def test_curves_show_the_metric_and_the_epoch_that_is_kept():
    progress = types.SimpleNamespace(best_epoch=np.int32(2))
    half, share = np.array([0.5, 0.125, 2]), np.array([0.1, 0.2, 0.3])
    history = {"loss": half, "validation_loss": half * 4}
    of_numbers = _folders._panels(
        fitting.Fit(progress, history, "finished"),
        tables.Target("y", "regression", deviation=10.0),
    )
    assert [panel.y_label for panel in of_numbers] == ["loss", "rmse"]
    assert all(panel.line == ("epoch kept", 2) for panel in of_numbers)
    errors = {curve.label: list(curve.y) for curve in of_numbers[1].curves}
    assert errors == {"validation": [20, 10, 40], "training": [10, 5, 20]}
    history |= {"validation_accuracy": share}
    _, of_classes = _folders._panels(
        fitting.Fit(progress, history, "finished"),
        tables.Target("y", "classification", ("a", "b")),
    )
    assert (of_classes.y_label, of_classes.curves[0].y) == ("accuracy", pytest.approx(share))


@first_of("data", ["iris", "diabetes"])
def test_an_ensemble_says_the_mean_and_how_its_networks_differ(tmp_path, data):
    """By NumPy, from the parameters that are kept of each."""
    settings = Train(data, hidden=(8,), epochs=6, ensemble=3, learning_rate=0.01, output=tmp_path)
    assert train.main(settings) == 0
    params, _, encoder = _folders.model(tmp_path)
    columns, _ = predict.run(Predict(tmp_path, data))
    x = encoder.features(tables.read(data), data)
    members = [
        [tuple(leaf[m] for leaf in map(np.asarray, layer)) for layer in params] for m in range(3)
    ]
    each = np.stack([oracles.forward(layers, x, "relu")[1][-1] for layers in members])
    assert np.ptp(each, axis=0).max() > 0.01
    if data == "iris":
        shares = np.stack([oracles.softmax(outputs) for outputs in each])
        mean, best = shares.mean(axis=0), shares.mean(axis=0).argmax(axis=1)
        spread = shares.std(axis=0)[np.arange(len(x)), best]
        assert columns["target"] == [encoder.target.labels[label] for label in best]
        np.testing.assert_allclose(columns["probability"], mean.max(axis=1), rtol=1e-4)
    else:
        spread = each[..., 0].std(axis=0) * encoder.target.deviation
        np.testing.assert_allclose(columns["target"], encoder.decode(each.mean(axis=0)), rtol=1e-4)
    np.testing.assert_allclose(columns["spread"], spread, rtol=1e-3, atol=1e-6)
    with pytest.raises(InputError, match="folder: expected one network, got the 3 in"):
        export.run(Export(tmp_path, tmp_path / "model.onnx"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_where_it_can_go_on_from(number):
    """At once, as long as nothing is under way; then where it is asked."""
    before = signal.getsignal(number)
    with _stopping.signals() as signals:
        assert signal.getsignal(number) == signals.receive
        with pytest.raises(SystemExit) as ended:
            signal.raise_signal(number)
        assert ended.value.code == 128 + number
    with _stopping.signals() as signals:
        assert not signals.stop()
        signal.raise_signal(number)
        assert signals.stop()
        assert signals.number == number
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.slow
def test_a_signal_saves_and_says_how_to_go_on(tmp_path, number):
    folder = tmp_path / "my run"
    command = [sys.executable, "-m", "jaxnet", "train"]
    run = subprocess.Popen(
        [*command, "iris", "--epochs", "1000000", "--output", str(folder)],
        stderr=subprocess.PIPE,
        cwd=ROOT,
        text=True,
    )
    waited = time.monotonic() + 90
    while not (folder / "run.json").exists() and time.monotonic() < waited:
        time.sleep(0.05)
    run.send_signal(number)
    printed = run.communicate(timeout=60)[1]
    assert run.returncode == 128 + number
    assert f"jaxnet train --resume '{folder}'" in printed
    assert list(folder.glob("checkpoints/*.safetensors"))
    assert "Traceback" not in printed


@pytest.mark.slow
def test_batches_over_devices_give_the_same(tmp_path):
    settings = Train("iris", hidden=(8,), epochs=10)
    one = train.run(settings).scores["test"]["loss"]
    four = train.run(Train("iris", hidden=(8,), epochs=10, devices=4))
    assert np.isclose(four.scores["test"]["loss"], one, rtol=1e-4)
    assert len(four.fits.first.progress.run.state.params[0].weight.sharding.device_set) == 4


@pytest.mark.slow
def test_processes_here_train_what_one_does_and_stop_together(tmp_path):
    """They end by a signal to the command with a checkpoint, from which other numbers go on."""
    command = [sys.executable, "-m", "jaxnet", "train"]
    own = ["iris", "--hidden=8", "--epochs=4", f"--output={tmp_path / 'two'}", "--hosts=local:2"]
    done = subprocess.run(
        [*command, *own], capture_output=True, text=True, check=False, timeout=150, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("finished after 4 epochs") == 1
    one = train.run(Train("iris", hidden=(8,), epochs=4)).fits.first.history
    two = np.genfromtxt(tmp_path / "two" / "history.csv", delimiter=",", names=True)
    for name, values in one.items():
        np.testing.assert_allclose(two[name], values, rtol=1e-6)
    folder = tmp_path / "stopped"
    own = ["iris", "--hidden=8", "--epochs=1000000", f"--output={folder}", "--hosts=local:2"]
    run = subprocess.Popen([*command, *own], stderr=subprocess.PIPE, cwd=ROOT, text=True)
    waited = time.monotonic() + 90
    while not (folder / "run.json").exists() and time.monotonic() < waited:
        time.sleep(0.05)
    run.send_signal(signal.SIGTERM)
    printed = run.communicate(timeout=60)[1]
    assert run.returncode == 128 + signal.SIGTERM
    assert printed.count("jaxnet train --resume") == 1
    assert list(folder.glob("checkpoints/*.safetensors"))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "data: expected a table, or --resume"),
        ({"data": "nothing.csv"}, "nothing.csv: expected a file"),
        ({"data": "iris", "target": "tagret"}, "tagret"),
        ({"data": "iris", "activation": "rely"}, "activation: expected one of relu, tanh"),
        ({"data": "iris", "optimizer": "adm"}, "the nearest are adam"),
        ({"data": "iris", "epochs": 0}, "epochs: expected at least 1, got 0"),
        ({"data": "iris", "hidden": (0,)}, r"hidden\[0\]: expected at least 1"),
        (
            {"data": "iris", "learning_rate": float("nan")},
            "learning_rate: expected a finite number",
        ),
        (
            {"data": "iris", "devices": 99},
            "devices: expected 1 to the .* cores of this machine, got 99",
        ),
        (
            {"data": "iris", "hosts": "local:9999"},
            "hosts: expected 1 to the .* cores of this machine, got 9999; give fewer",
        ),
        (
            {"resume": pathlib.Path("no/such/run")},
            "no/such/run/run.json: expected the settings of a run",
        ),
    ],
)
def test_bad_input_is_refused(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(jax.config, "update", lambda *_: None)
    with pytest.raises(InputError, match=words):
        train.main(Train(**arguments))


def test_a_run_goes_on_over_other_hosts(trained):
    settings, folder = _folders.chosen(Train(resume=trained, hosts="local:2"))
    assert (settings.hosts, settings.resume, folder) == ("local:2", trained, trained)
    assert "hosts" not in json.loads((trained / "run.json").read_text())


@pytest.mark.usefixtures("unchecked")
def test_processes_here_are_asked_what_the_command_was(trained, monkeypatch):
    """Each by its own address; what is gone on with they find as the command does."""
    asked = []

    class Process:
        def __init__(self, command, stderr):
            (line,) = re.findall(r"train\.enter\((.*)\)$", command[-1])
            asked.append(records.typed(Train, json.loads(ast.literal_eval(line))))

        def wait(self):
            return -signal.SIGKILL if len(asked) == 2 else 0

    monkeypatch.setattr(_hosts.subprocess, "Popen", Process)
    assert train.main(Train(resume=trained, hosts="local:2")) == 128 + signal.SIGKILL
    assert [each.hosts.split(",", 1)[1] for each in asked] == ["2,0", "2,1"]
    for each in asked:
        settings, folder = _folders.chosen(each)
        assert (settings.epochs, folder) == (40, trained)


@pytest.mark.slow
def test_what_all_processes_refuse_is_said_once(tmp_path, capfd):
    """What one alone is refused, the first says as well."""
    assert train.main(Train(str(tmp_path / "no.csv"), hosts="local:2")) == 2
    assert capfd.readouterr().err.count("error: ") == 1


def test_a_folder_of_another_run_is_not_written_over(houses, trained):
    with pytest.raises(InputError, match="holds another run"):
        train.main(Train(str(houses), "price", hidden=(17,), epochs=40, output=trained))


@pytest.mark.slow
def test_the_model_of_another_run_is_refused_by_what_differs(tmp_path, monkeypatch):
    """Of another seed, and of another table under the same name; what trains on writes its own."""
    monkeypatch.setattr(jax.config, "update", lambda *_: None)
    table = tmp_path / "xy.csv"

    def trained(name, seed, factor):
        table.write_text("x,y\n" + "".join(f"{x},{factor * x}\n" for x in range(30)))
        settings = Train(str(table), "y", hidden=(4,), epochs=1, seed=seed, output=tmp_path / name)
        assert train.main(settings) == 0
        return tmp_path / name

    run = trained("run", 0, 2)
    model = run / "model"
    before = predict.run(Predict(run, str(table)))
    for other, differs in (
        (trained("seed", 1, 2), "seed, table"),
        (trained("table", 0, 3), "table"),
    ):
        shutil.rmtree(model)
        shutil.copytree(other / "model", model)
        with pytest.raises(InputError, match=rf"got one of another {differs}; write its own by"):
            predict.run(Predict(run, str(table)))
    with pytest.raises(InputError, match="data: expected the table that"):
        train.main(Train(resume=run))
    trained("again", 0, 2)
    assert train.main(Train(resume=run)) == 0
    assert predict.run(Predict(run, str(table))) == before


def test_a_changed_table_is_not_resumed(houses, trained, tmp_path):
    changed = tmp_path / "houses.csv"
    changed.write_text(houses.read_text().replace("Ulm", "Kiel"))
    settings = records.read(_folders.Run, trained / "run.json", _folders._PLACES)
    with pytest.raises(InputError, match=r"data: expected the table that .* got .*houses.csv with"):
        train.run(dataclasses.replace(settings, data=str(changed)), trained)


def test_a_new_table_is_predicted_whatever_its_order_case_and_extras(trained, tmp_path, capsys):
    table, out = tmp_path / "new.csv", tmp_path / "p.csv"
    table.write_text(
        "id,City , ROOMS,garden,price,more\n"
        "a,Ulm,3,TRUE,,1\nb,Rom,3,no,,2\nc,,,,,3\nd,ULM,-3e38,1,,4\n"
    )
    predict.main(Predict(trained, str(table), out, id=("id",)))
    rows = rows_of(out)
    assert [row["id"] for row in rows] == list("abcd")
    assert 130 < float(rows[0]["price"]) < 240
    assert all(np.isfinite(float(row["price"])) for row in rows)
    unlike = [row["unlike"] for row in rows]
    assert unlike[0] == ""
    assert unlike[1] == "city: a value that no training row had"
    assert unlike[2].endswith("no values")
    assert unlike[3].startswith("rooms: a number far from 4")
    printed = capsys.readouterr().out
    assert "note: column 'City' is taken for 'city'\n" in printed
    assert "note: column 'City': taken are 'ULM' for 'Ulm'\n" in printed
    assert "note: columns that are not used: 'id', 'more'\n4 predictions: " in printed
    table.write_text("rooms,town\n3,Ulm\n")
    with pytest.raises(InputError, match="none named 'city', 'garden', but 'rooms', 'town'; add"):
        predict.run(Predict(trained, str(table)))
    with pytest.raises(InputError, match=r"id: expected columns of .*, got nr; give some of rooms"):
        predict.run(Predict(trained, str(table), id=("nr",)))


def test_each_class_has_its_own_probability(tmp_path, monkeypatch):
    column, labels = tables.Column("x", "number", 0.0, 1.0), ("no", "yes")
    plan = tables.Plan(tables.Planned("y", "category"), "classification", ())
    encoder = tables.Encoder((column,), tables.Target("y", "classification", labels), plan)
    params = (network.Layer(np.float32([[0], [1]]), np.zeros(2, np.float32)),)
    monkeypatch.setattr(_folders, "model", lambda _: (params, "relu", encoder))
    (tmp_path / "t.csv").write_text("probability,x\na,2\nb,-1\n")
    columns, _ = predict.run(Predict(tmp_path, str(tmp_path / "t.csv"), id=("probability",)))
    yes = 1 / (1 + np.exp([-2, 1]))
    assert (columns["probability"], columns["y"]) == (["a", "b"], ["yes", "no"])
    np.testing.assert_allclose(columns["its probability"], np.maximum(yes, 1 - yes), rtol=1e-5)
    np.testing.assert_allclose(columns["probability of yes"], yes, rtol=1e-5)
    np.testing.assert_allclose(columns["probability of no"], 1 - yes, rtol=1e-5)


def test_a_plan_is_printed_without_training(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = [f"{row},{row % 7}.5,{'uv'[row % 2]}" for row in range(1, 31)]
    (tmp_path / "t.csv").write_text("\n".join(["id,a,y", *rows]) + "\n")
    assert train.main(Train("t.csv", "y", plan=True)) == 0
    assert capsys.readouterr().out.splitlines()[:3] == [
        "y   target    2 classes",
        "id  left out  numbers the rows",
        "a   number",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


@pytest.mark.slow
def test_predictions_read_text_as_training_did(tmp_path):
    """Unless they are told otherwise; what is no text they read as it is."""
    rows = [f"{k % 7};{k % 3}.5;{'uv'[k % 7 > 3]}" for k in range(40)]
    (tmp_path / "t.csv").write_bytes("\n".join(rows).encode("utf-16"))
    ways = {"delimiter": ";", "encoding": "utf-16", "header": 0}
    settings = Train(str(tmp_path / "t.csv"), "c3", hidden=(4,), epochs=1, **ways)
    settings = dataclasses.replace(settings, output=tmp_path / "run")
    names = tables.read(settings.data, **ways).column_names
    assert train.main(dataclasses.replace(settings, target=names[-1])) == 0
    asked = [predict._ways(Predict(tmp_path / "run", f"t.{kind}")) for kind in ("csv", "parquet")]
    assert asked == [ways, dict.fromkeys(ways)]
    other = Predict(tmp_path / "run", "t.csv", header=1)
    assert predict._ways(other) == ways | {"header": 1}
    assert len(predict.run(Predict(tmp_path / "run", settings.data)).columns[names[-1]]) == 40

"""Settings are refused alike from command line, Python and disk; the impossible by arithmetic."""

import dataclasses
import inspect
import json
import math
import os
import pathlib
import re

import jax
import pytest

from jaxnet import __main__, fitting, network, tables
from jaxnet._guards import records, sizes
from jaxnet.commands import _folders, _outcomes, compare, settings, train
from jaxnet.commands.settings import Compare, Predict, Train
from jaxnet.compare import comparison, inputs
from jaxnet.errors import InputError
from jaxnet.storage import files, models

pytestmark = pytest.mark.usefixtures("standard_promotion", "unchecked")
KEPT = records.plain(_folders.Run("iris", epochs=1, table="0"), _folders._PLACES)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty folder to run in, with as many devices as the other tests have."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(jax.config, "update", lambda *_: None)
    return tmp_path


def without(name):
    return {key: value for key, value in KEPT.items() if key != name}


# What is on disk: settings of which one is not as it was, or whole files; and the setting that the
# refusal names, where it is one's.
DAMAGED = {
    "epochs": [0, -1, True, "50", 2.5, [5], 2**31, 10**400, 1e20, {"epochs": 5}],
    "hidden": [64, "64", [0], [[64]], [None], [10**10], [64] * 2000, {}],
    "learning_rate": ["0.1", None, 10**400, True, []],
    "batch_size": [0, "32", 1e3],
    "validation": [-0.1, 1.5, "half"],
    "test": [2],
    "seed": [-1, 2**32, 0.5],
    "devices": [0, 10**9],
    "patience": [0, "no"],
    "ensemble": [0, None, "5", 10**12],
    "task": ["ranking", 1],
    **{name: [None, "x", [3], [""]] for name in ("drop", "category", "number", "date", "missing")},
    **{name: ["", 3] for name in ("group", "time")},
    **{name: [3] for name in ("split", "test_file", "weight")},
    **{name: [3] for name in ("delimiter", "encoding", "date_format")},
    "class_weight": ["even"],
    "header": [-1, "none"],
    "decimal": [";"],
    "activation": ["rely", "", 5],
    "optimizer": ["adm", "adam\0"],
    "target": ["\0", "\ud800", None, "x" * 5000],
    "data": ["iris\0", None, 7],
    "table": ["", None, 7],
}
TORN = {
    "empty": b"",
    "half": json.dumps(KEPT).encode()[:90],
    "null": b"null",
    "list": json.dumps([KEPT]).encode(),
    "text": b'"iris"',
    "not UTF-8": b'{"data": "\xff"}',
    "nulls": bytes(4096),
    "nested": b"[" * 200_000,
    "nested in a setting": json.dumps(KEPT).encode()[:-1] + b', "a": ' + b"[" * 200_000,
    "two of a name": b'{"epochs": 1, "epochs": 2}',
    "nan": json.dumps(KEPT | {"learning_rate": math.nan}).encode(),
    "infinite": json.dumps(KEPT | {"validation": math.inf}).encode(),
    "too many digits": b'{"epochs": ' + b"9" * 5000 + b"}",
    "too large": b" " * 2**21,
    "infinite by its exponent": json.dumps(KEPT).replace("0.001", "1e999").encode(),
    "one missing": json.dumps(without("seed")).encode(),
    "none at all": b"{}",
    "one unknown": json.dumps(KEPT | {"epoch": 3}).encode(),
    "one of the command alone": json.dumps(KEPT | {"output": "elsewhere"}).encode(),
}
NAMED = {
    "infinite by its exponent": "learning_rate",
    "one missing": "seed",
    "one unknown": "epoch",
    "one of the command alone": "output",
}
HOSTILE = [
    ("no.csv: expected a file", json.dumps(KEPT | {"data": "no.csv"}).encode()),
    *(
        (name, json.dumps(KEPT | {name: value}).encode())
        for name, v in DAMAGED.items()
        for value in v
    ),
    *((NAMED.get(what, ""), content) for what, content in TORN.items()),
]


def write_sealed(path, content):
    """Write content as it is, or sealed where it is what JSON has in one way alone."""
    try:
        record = json.loads(content)
        files.write_record(path, record if json.dumps(record).encode() == content else {}, {})
    except (ValueError, RecursionError, TypeError):
        record = None
    if not isinstance(record, dict) or json.dumps(record).encode() != content:
        path.write_bytes(content)


def test_one_digit_of_the_settings_changed_is_refused(folder, capsys):
    (folder / "run").mkdir()
    write_sealed(folder / "run" / "run.json", json.dumps(KEPT).encode())
    kept = (folder / "run" / "run.json").read_text()
    epochs = f'"epochs": {KEPT["epochs"]}'
    assert epochs in kept
    (folder / "run" / "run.json").write_text(kept.replace(epochs, f"{epochs[:-1]}7"))
    assert _outcomes.outcome(lambda: __main__.run(["train", "--resume", "run"])) == 2
    assert "run/run.json: expected" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "content"), HOSTILE, ids=range(len(HOSTILE)))
def test_settings_on_disk_are_refused_by_file_and_name(folder, capsys, name, content):
    (folder / "run").mkdir()
    write_sealed(folder / "run" / "run.json", content)
    assert _outcomes.outcome(lambda: __main__.run(["train", "--resume", "run"])) == 2
    printed, refusal = capsys.readouterr()
    assert printed == ""
    assert refusal.startswith("error: run/run.json: ")
    assert refusal.count("\n") == 1
    assert name in refusal
    assert len(refusal) < 500
    assert [path.name for path in (folder / "run").iterdir()] == ["run.json"]


def test_there_are_enough_of_them():
    assert len(HOSTILE) >= 40
    assert set(DAMAGED) == set(KEPT)


def test_settings_that_may_not_be_read_are_not_to_be_deleted(folder, capsys, monkeypatch):
    def refuse(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    (folder / "run").mkdir()
    (folder / "run" / "run.json").write_text("{}")
    monkeypatch.setattr(pathlib.Path, "open", refuse)
    assert _outcomes.outcome(lambda: __main__.run(["train", "--resume", "run"])) == 2
    refusal = capsys.readouterr().err
    assert refusal.endswith(", got Permission denied; make it readable\n")
    assert "delete" not in refusal


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_not_waited_for(folder, capsys, make):
    (folder / "run").mkdir()
    make(folder / "run" / "run.json")
    assert _outcomes.outcome(lambda: __main__.run(["train", "--resume", "run"])) == 2
    assert "got no file" in capsys.readouterr().err


def test_settings_come_back_as_they_were(folder):
    """And so do the types that JSON has not: tuples, and whole numbers where fractions may be."""
    begun = Train(
        "x.csv", "price", "regression", (3, 4), learning_rate=1, patience=7, seed=2**32 - 1
    )
    (folder / "run.json").write_text(json.dumps(records.plain(begun, _folders._PLACES)))
    back = records.read(Train, folder / "run.json", _folders._PLACES)
    assert back == begun
    assert (type(back.hidden), type(back.learning_rate)) == (tuple, float)


def test_a_run_goes_on_after_a_stop_and_an_end_and_takes_nothing_else_beside_it(
    folder, monkeypatch, capsys
):
    """Stopped while its settings are written it gives what it would have given."""
    whole = train.run(Train("iris", epochs=3, hidden=(4,)))
    replace = os.replace

    def stop(source, target):
        if pathlib.Path(target).name == "run.json":
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", stop)
    command = ["train", "iris", "--epochs=3", "--hidden=4", "--output=run"]
    assert _outcomes.outcome(lambda: __main__.run(command)) == 130
    assert not (folder / "run" / "run.json").exists()
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(jax.config, "update", lambda *_: None)
    assert _outcomes.outcome(lambda: __main__.run(command)) == 0
    params, _ = models.read(folder / "run" / "model")
    for ours, theirs in zip(
        jax.tree.leaves(params), jax.tree.leaves(whole.fits.params), strict=True
    ):
        assert (ours == theirs).all()
    assert _outcomes.outcome(lambda: __main__.run(["train", "--resume", "run"])) == 0
    capsys.readouterr()
    assert _outcomes.outcome(lambda: __main__.run(["train", "--resume", "run", "--epochs=9"])) == 2
    assert "resume: expected nothing else" in capsys.readouterr().err


def test_a_damaged_file_is_named_to_the_same_command(folder, capsys):
    (folder / "run").mkdir()
    (folder / "run" / "run.json").write_bytes(b"")
    assert _outcomes.outcome(lambda: __main__.run(["train", "iris", "--output", "run"])) == 2
    assert "run/run.json: expected the settings of a run" in capsys.readouterr().err


IMPOSSIBLE = [
    ("train iris --hidden 10000000000", "hidden: expected what fits"),
    ("train iris --hidden 100000 100000 100000", "2e10 parameters"),
    ("train iris --hidden" + " 1" * 1001, "at most 1000 layers"),
    ("train iris --epochs 100000000000000000000", "epochs: expected at most 2147483647"),
    ("train iris --epochs 2147483647", "epochs: expected"),
    ("train iris --devices 1000000000", "devices: expected 1 to the"),
    ("train iris --patience 100000000000000000000", "patience: expected at most"),
    ("train iris --seed 100000000000000000000", "seed: expected at most"),
    ("train iris --batch-size 100000000000000000000", "batch_size: expected at most"),
    ("compare iris --hidden 10000000000", "hidden: expected what fits"),
    ("compare iris --replicates 1000000000", "replicates: expected at most 10,000, got 1e9"),
    ("compare iris --until 1000000000", "replicates: expected at most 10,000, got 1e9"),
    ("compare iris --seed 32768", "seed: expected at most 32767, got 32768"),
    ("compare iris --steps 2000000000", "runs of 2e9 steps"),
    ("compare iris --margin 2", "margin: expected at most 1, got 2"),
    ("compare iris --tuning-seeds 1000000000", "tuning_seeds: expected at most"),
    ("compare iris --budget 1000000", "budget: expected at most 10,000, got 1e6"),
    ("compare iris --budget 10000 --tuning-seeds 2000", "runs, which take about"),
    ("compare iris --epochs 2000000000", "runs of 2e9 steps"),
    ("compare iris --epochs 2000000000 --batch-size 0", "batch_size[0]: expected at least 1"),
    ("compare iris --batch-size 1000000000", "batch_size: expected"),
    (
        "compare iris --learning-rates 0.1 --tune all",
        "learning_rates: expected none beside tune all, got 0.1; give one of them",
    ),
    (
        "compare iris --optimizers adam lion adam",
        "optimizers: expected each once, got adam lion adam; leave out what is there twice",
    ),
    ("compare iris --epochs 3 --steps 3 6", "steps: expected none beside epochs, got 3; give"),
]


@pytest.mark.parametrize(("command", "words"), IMPOSSIBLE, ids=[each for each, _ in IMPOSSIBLE])
def test_the_impossible_is_refused_before_anything_is_made(monkeypatch, capsys, command, words):
    def started(*_, **__):
        pytest.fail("allocated")

    # A comparison first asks for a start, whose network was checked before.
    monkeypatch.setattr(inputs, "programs", started)
    if "compare" not in command or "hidden" in command:
        monkeypatch.setattr(network, "init", started)
        monkeypatch.setattr(network, "_draw", started)
    assert _outcomes.outcome(lambda: __main__.run(command.split())) == 2
    refusal = capsys.readouterr().err
    assert refusal.startswith("error: ")
    assert refusal.count("\n") == 1
    assert words in refusal


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("train iris --epochs 1e20", "--epochs: expected a whole number, got '1e20'"),
        ("train iris --learning-rate ten", "--learning-rate: expected a number, got 'ten'"),
        (
            "train iris --hidden 8 x",
            "--hidden: expected a whole number, got 'x'",
        ),
        ("compare iris --replicates 1e9", "--replicates: expected a whole number"),
        ("compare iris --tune some", "invalid choice 'some' for argument '--tune'"),
        ("compare iris --pairs some", "invalid choice 'some' for argument '--pairs'"),
        ("compare iris --budget-of money", "invalid choice 'money' for argument '--budget-of'"),
        ("compare iris --budget 1e6", "--budget: expected a whole number"),
        ("compare iris --to ten", "--to: expected a number, got 'ten'"),
    ],
)
def test_what_is_no_value_of_an_argument_is_said_by_its_name(capsys, command, words):
    assert _outcomes.outcome(lambda: __main__.run(command.split())) == 2
    assert words in capsys.readouterr().err


def test_arithmetic_lets_through_what_a_machine_can_do():
    sizes.check_network([784, 4096, 4096, 10])
    sizes.check_steps(100_000, each=3125)
    sizes.check_history(100_000)
    sizes.check_comparison(optimizers=60, trials=36, tuning_seeds=3, replicates=100, steps=10_000)


def test_an_order_has_no_more_rows_than_int32_has_numbers(monkeypatch):
    monkeypatch.setattr(sizes, "memory", lambda: 2**60)
    sizes.check_order(2**31 - 1, 1)
    with pytest.raises(
        InputError, match=r"rows: expected at most 2,147,483,647, .* 2,147,483,648;"
    ):
        sizes.check_order(2**31, 1)


@pytest.mark.parametrize("name", ["epochs", "steps", "batch_size"])
def test_the_same_length_twice_is_no_axis(name):
    settings.check(settings.Contest(**{name: (3, 4)}))
    with pytest.raises(InputError, match=f"{name}: expected each once, got 3 4 3; leave out"):
        settings.check(settings.Contest(**{name: (3, 4, 3)}))


def test_figures_are_of_the_machine(monkeypatch):
    """A layer of 1000 by 1000 and its biases, six times over, in float32: 24.024 MB."""
    monkeypatch.setattr(sizes, "memory", lambda: int(24_024_000 / 0.8) + 1)
    sizes.check_network([1000, 1000])
    monkeypatch.setattr(sizes, "memory", lambda: int(24_024_000 / 0.8) - 1)
    with pytest.raises(InputError, match=r"1e6 parameters, which take about 2.4e7"):
        sizes.check_network([1000, 1000])
    with pytest.raises(InputError, match=r"1e6 parameters, .* layers, or a smaller ensemble"):
        sizes.check_network([1000, 100], members=10)


@pytest.mark.parametrize("kind", [Train, Predict, Compare, settings.Audit])
def test_the_help_tells_every_setting_within_80_columns(capsys, kind):
    name = kind.__name__.lower()
    with pytest.raises(SystemExit) as ended:
        __main__.run([name, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    words = " ".join("".join(letter for letter in text if letter not in "│╭╮╰╯─").split())
    for field in dataclasses.fields(kind):
        (doc,) = (
            line.partition(": ")[2]
            for each in kind.__mro__
            for line in (each.__doc__ or "").splitlines()
            if line.strip().startswith(f"{field.name}: ")
        )
        assert doc in words
        shown = f"--{field.name.replace('_', '-')}"
        assert shown in text or field.name in ("data", "folder", "file")
    assert "default: None" not in text


def test_the_front_page_names_every_command(capsys):
    with pytest.raises(SystemExit):
        __main__.run(["--help"])
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert all(f"• {name} " in text for name in settings.COMMANDS)
    assert re.search(r"^\W+--version +Print the version", text, re.M)


def test_settings_from_python_are_checked_too():
    with pytest.raises(InputError, match="epochs: expected a whole number, got 'many'"):
        train.run(Train("iris", epochs="many"))
    task = compare.table("iris", "target", (4,))
    with pytest.raises(InputError, match="replicates: expected at most 10,000"):
        compare.run(settings.Contest(replicates=10**9), task)


def test_an_order_takes_four_bytes_a_row_and_epoch(monkeypatch):
    monkeypatch.setattr(sizes, "memory", lambda: int(4 * 30 * 7 / 0.8) + 1)
    sizes.check_order(30, 7)
    with pytest.raises(InputError, match="an order of 30 rows in 8 epochs, which take about 960"):
        sizes.check_order(30, 8)


def test_a_number_that_python_has_too_is_the_same_there():
    """The help waits for no JAX, so that a command cannot read its defaults off the functions."""
    for kind, function, names in (
        (settings.Contest, comparison.compare, ("tune", "budget", "until")),
        (Train, tables.split, ("validation", "test", "seed", "task")),
        (Train, fitting.fit, ("seed", "patience")),
    ):
        parameters = inspect.signature(function).parameters
        declared = {each.name: each.default for each in dataclasses.fields(kind)}
        assert {name: declared[name] for name in names} == {
            name: parameters[name].default for name in names
        }

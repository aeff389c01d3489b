"""Every command refuses bad input in one line, before it starts, and hides no fault of its own."""

import functools
import importlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import warnings

import jax
import pytest
from few import first_of

import experiments
from jaxnet import __main__, network, tables
from jaxnet.commands import _outcomes
from jaxnet.errors import FunctionError, InputError
from jaxnet.storage import models

ROOT = pathlib.Path(__file__).parents[2]
NAMES = {
    "experiments": "experiments.__main__",
    "experiments.classifier": "experiments.classifier",
    "experiments.regression": "experiments.regression",
    "experiments.tasks": "experiments.tasks.__main__",
    "experiments.benchmark": "experiments.benchmark.__main__",
}
# Every command, with what it takes to start at all.
STARTS = ["train no.csv", "predict no no.csv", "export no", "compare no.csv", "audit no.py"]
# An audit works in a process of its own: see test_audit.
COMMANDS = [*NAMES, *(f"jaxnet {start}" for start in STARTS if not start.startswith("audit"))]
pytestmark = pytest.mark.usefixtures("standard_promotion", "unchecked")


@pytest.fixture
def call(monkeypatch, tmp_path, capfd):
    """Run a command in an empty folder, in this process: its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)
    # Devices are as many as the other tests have, and compiled programs are not kept.
    monkeypatch.setattr(jax.config, "update", lambda *_: None)

    def run(name, *arguments):
        arguments = [*map(str, arguments)]
        if name == "jaxnet":
            code = _outcomes.outcome(lambda: __main__.run(arguments))
        else:
            main = importlib.import_module(NAMES[name]).main
            code = _outcomes.outcome(lambda: experiments.run(main, name, arguments))
        return code, capfd.readouterr().err

    return run


def written(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def is_one_line(code, refusal):
    assert code == 2, refusal
    assert refusal.startswith("error: ")
    assert refusal.count("\n") == 1
    assert refusal.endswith("\n")
    assert "Traceback" not in refusal
    return True


def python(*arguments, cwd=ROOT, **environment):
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        capture_output=True,
        check=False,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        text=True,
    )


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("experiments --output file/results", "output: expected a place to write to"),
        ("experiments.classifier --epochs 0", "epochs: expected at least 1"),
        ("experiments.classifier --optimizer adm", "nearest are adam"),
        ("experiments.classifier --learning-rate nan", "learning_rate: expected a finite"),
        ("experiments.classifier --output curves.txt", "output: expected a file ending"),
        ("experiments.classifier --output file/curves.png", "output: expected a place"),
        ("experiments.regression --epochs -1", "epochs: expected at least 1"),
        ("experiments.regression --trace --optimizer adm", "nearest are adam"),
        ("experiments.regression --output .", "output: expected a file ending"),
        ("jaxnet compare iris --optimizers adm", "nearest are adam"),
        ("jaxnet compare no.csv", "no.csv: expected a file"),
        ("jaxnet compare iris --target no", "expected the column"),
        ("experiments.tasks regression --budget 1", "budget: expected at least 2"),
        ("experiments.tasks regression --learning-rates -1", "expected at least 0, got -1"),
        ("experiments.tasks regression --output file/out", "file/out: Not a directory; give ano"),
        ("experiments.tasks regression --output file", "got file: File exists; give another"),
        ("jaxnet train", "data: expected a table, or --resume"),
        ("jaxnet train no.csv", "no.csv: expected a file"),
        ("jaxnet train folder.csv", "diabetes, got a folder"),
        ("jaxnet train broken.csv", "broken.csv: expected a sound .csv file"),
        ("jaxnet train broken.npz", "broken.npz: expected a sound .npz file"),
        ("jaxnet train broken.parquet", "broken.parquet: expected a sound .parquet"),
        ("jaxnet train iris --target no", "expected the column"),
        ("jaxnet train iris --activation rely", "activation: expected one of"),
        ("jaxnet train iris --devices 99", "devices: expected 1 to"),
        (
            "jaxnet train iris --hosts local:0",
            "hosts: expected job, under SLURM or Open MPI, local",
        ),
        ("jaxnet train iris --devices 0", "devices: expected at least 1"),
        ("jaxnet train iris --batch-size 0", "batch_size: expected at least 1"),
        ("jaxnet train iris --seed -1", "seed: expected"),
        ("jaxnet train iris --output file/run", "file/run"),
        ("jaxnet train --resume no/run", "no/run/run.json: expected the settings of a run"),
        ("jaxnet predict no/run iris", "got no/run without a model; give another"),
        ("jaxnet predict bare iris", "expected the model of a run of jaxnet train in bare, got"),
        ("jaxnet predict stopped iris", "go on with it by jaxnet train --resume stopped"),
        ("jaxnet predict coded iris", "encoder.columns: expected a list, got 3; train anew"),
        ("jaxnet predict wide iris", "encoder: expected that of the network, got one of 1 inputs"),
        ("jaxnet predict odd iris", "activation: expected words, got [1]; train anew"),
        ("jaxnet predict torn iris", "expected a model"),
        ("jaxnet predict no/run iris --output p.txt", "output: expected a file ending in .csv"),
        ("jaxnet export no/run", "got no/run without a model; give another"),
        ("jaxnet export torn", "expected a model"),
        ("jaxnet export no/run --output p.txt", "output: expected a file ending in .onnx"),
        ("experiments.benchmark --output file/results", "output: expected a place"),
        ("jaxnet train iris --resume no/run", "expected nothing else"),
        ("jaxnet train iris --validation nan", "validation: expected a finite number, got nan"),
        ("jaxnet train iris --test 2", "test: expected at most 1, got 2"),
        ("jaxnet train iris --learning-rate inf", "learning_rate: expected a finite number"),
        ("jaxnet audit folder.py", "in .ipynb, got a folder"),
        ("jaxnet audit file --timeout 1e20", "timeout: expected at most 1000000000, got 1e+20"),
        ("jaxnet audit file --timeout 0", "timeout: expected at least 1, got 0.0"),
        ("experiments.tasks --epochs 0", "epochs[0]: expected at least 1"),
        ("experiments.tasks --optimizers adm", "nearest are adam"),
        ("experiments.tasks boston", "names: expected all, list or classifier"),
    ],
)
def test_bad_input_is_one_line(call, tmp_path, command, words):
    (tmp_path / "file").write_text("")
    for name in ("folder.csv", "folder.py"):
        (tmp_path / name).mkdir()
    for name in ("broken.npz", "broken.parquet"):
        (tmp_path / name).write_bytes(b"PK")
    (tmp_path / "broken.csv").write_text('a,b\n1,"2\n')
    models.write(tmp_path / "bare" / "model", network.init(jax.random.key(0), [2, 1]), {})
    plan = tables.Plan(tables.Planned("b", "number"), "regression", ())
    encoder = tables.Encoder(
        (tables.Column("a", "number"),), tables.Target("b", "regression"), plan
    ).to_json()
    for name, about in {
        "coded": {"activation": "relu", "encoder": encoder | {"columns": 3}},
        "wide": {"activation": "relu", "encoder": encoder},
        "odd": {"activation": [1], "encoder": encoder},
    }.items():
        models.write(tmp_path / name / "model", network.init(jax.random.key(0), [2, 1]), about)
    (tmp_path / "stopped").mkdir()
    (tmp_path / "stopped" / "run.json").write_text("{}")
    (tmp_path / "torn" / "model").mkdir(parents=True)
    (tmp_path / "torn" / "model" / "model.json").write_text("[1]")
    before = set(tmp_path.rglob("*"))
    code, refusal = call(*command.split())
    assert is_one_line(code, refusal)
    assert words in refusal
    assert set(tmp_path.rglob("*")) <= before | {tmp_path / "results"}


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("experiments.benchmark --readme no.md", "Unrecognized options: no.md"),
        ("experiments.classifier --rate 1", "Unrecognized options: --rate, 1"),
        ("jaxnet", "Expected one of {train, predict, export, compare, audit}"),
        ("jaxnet learn", "learn; Available subcommands: train, predict, export, compare, audit"),
        ("jaxnet train iris --epoch-count 3", "Unrecognized options: --epoch-count, 3"),
        ("jaxnet train --learning-rat 1", "Perhaps you meant: --learning-rate RATE"),
        ("jaxnet compare iris --optimizer adam", "Perhaps you meant: --optimizers [NAME ...]"),
        ("jaxnet train --epocs 1 --sed 2", "similar to --sed: --seed N"),
        ("jaxnet train iris --epochs", "Missing value for argument '--epochs'"),
        ("jaxnet train iris --epochs ten", "--epochs: expected a whole number, got 'ten'"),
        ("jaxnet train iris --hidden 64 1e20", "--hidden: expected a whole number, got '1e20'"),
        ("jaxnet train iris --patience None", "--patience: expected a whole number, got 'None'"),
        ("jaxnet train iris --task rank", "'--task'. Expected one of ('classification', 'regr"),
        ("jaxnet train iris --task None", "invalid choice 'None' for argument '--task'"),
        ("jaxnet train iris wine", "Unrecognized options: wine"),
        ("jaxnet predict run", "Missing from jaxnet predict: DATA"),
        ("jaxnet train iris --output=", "Error parsing --output: expected a path, got ''"),
        ("jaxnet train --resume=", "Error parsing --resume: expected a path, got ''"),
    ],
)
def test_arguments_that_are_not_taken_are_one_line_too(call, tmp_path, command, words):
    code, refusal = call(*command.split())
    assert is_one_line(code, refusal)
    assert words in refusal
    prog = re.match(r"(experiments\.)?\w+( train| predict| compare)?", command)[0]
    prog = f"python -m {prog}" if prog.startswith("experiments") else prog
    assert refusal.endswith(f"; see {prog} --help\n")
    assert "│" not in refusal
    assert "Passes over" not in refusal, "what an argument is for"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", [ValueError, TypeError, KeyError, RuntimeError, AssertionError])
def test_a_fault_of_our_own_keeps_its_traceback(call, monkeypatch, command, kind):
    def broken(*_, **__):
        raise kind("planted")

    monkeypatch.setattr("jaxnet.devices.first", broken)
    with pytest.raises(kind, match="planted"):
        call(*command.split())


@pytest.mark.parametrize(
    ("place", "command", "kind"),
    [
        ("jaxnet.network.Layer.__new__", "jaxnet train iris --epochs 1", TypeError),
        ("jaxnet.tables.reading._starts", "jaxnet train table.csv", ValueError),
        ("jaxnet.storage.fingerprints.of_data", "jaxnet train iris --epochs 1", TypeError),
        ("jaxnet.losses.BatchLoss.example", "jaxnet train iris --epochs 1", ValueError),
        ("jaxnet.losses.BatchLoss.example", "experiments.tasks regression", TypeError),
        ("jaxnet.network._draw", "experiments.tasks regression", ValueError),
        ("jaxnet.training.step", "experiments.tasks regression", TypeError),
        ("jaxnet.network.Layer.__new__", "jaxnet predict run iris", ValueError),
    ],
)
def test_a_fault_of_our_own_is_no_bad_input(call, monkeypatch, tmp_path, place, command, kind):
    def broken(*_, **__):
        raise kind("planted")

    (tmp_path / "table.csv").write_text("a,target\n1,2\n")
    models.write(tmp_path / "run" / "model", network.init(jax.random.key(0), [2, 1]), {})
    monkeypatch.setattr(place, broken)
    with pytest.raises((kind, FunctionError), match="planted"):
        call(*command.split())


@pytest.mark.parametrize("path", ["mine.csv", "/data/mine.csv"])
def test_a_file_of_the_user_is_one_line_and_one_of_ours_a_fault(call, monkeypatch, path):
    def lose(name):
        def read(_):
            raise FileNotFoundError(2, "No such file", name)

        monkeypatch.setattr(tables, "read", read)

    for ours in (pathlib.Path(tables.__file__).with_name("page.html"), json.__file__):
        lose(str(ours))
        with pytest.raises(FileNotFoundError):
            call("jaxnet", "train", "iris")
    lose(path)
    code, refusal = call("jaxnet", "train", "iris")
    assert is_one_line(code, refusal)
    assert refusal == f"error: {path}: No such file\n"


def test_a_warning_is_one_line_and_one_of_the_user_s_code_has_its_place(capfd):
    def warn(path):
        warnings.warn_explicit("two\nlines", RuntimeWarning, path, 7)

    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        for path in (tables.__file__, jax.__file__, "/data/mine.py"):
            assert _outcomes.outcome(functools.partial(warn, path)) == 0
        warn(tables.__file__)
    assert capfd.readouterr().err == "note: two; lines\n" * 2
    assert [each.filename for each in shown] == ["/data/mine.py", tables.__file__]


def test_a_refused_run_leaves_nothing_and_is_mended_and_a_run_done_is_not_done_again(
    call, tmp_path
):
    for wrong in ("--target=misspelt", "--activation=rely", "--devices=99", "--epochs=0"):
        code, refusal = call("jaxnet", "train", "iris", wrong, "--output", "a/b/run")
        assert is_one_line(code, refusal)
        assert not list(tmp_path.iterdir())
    (tmp_path / "there").mkdir()
    code, refusal = call("jaxnet", "train", "iris", "--patience=0", "--output", "there")
    assert is_one_line(code, refusal)
    assert not list((tmp_path / "there").iterdir())
    assert call("jaxnet", "train", "iris", "--epochs=1", "--output=there") == (0, "")
    before = written(tmp_path)
    assert len(before) > 4
    assert call("jaxnet", "train", "iris", "--epochs=1", "--output=there") == (0, "")
    assert written(tmp_path) == before
    (tmp_path / "file").write_text("")
    code, refusal = call("jaxnet", "predict", "there", "iris", "--output", "file/out.csv")
    assert is_one_line(code, refusal)
    assert "file" in refusal
    assert call("jaxnet", "train", "iris", "--epochs=1", "--output=a/b/run")[0] == 0
    kept = json.loads((tmp_path / "a" / "b" / "run" / "run.json").read_text())
    assert kept["epochs"] == 1
    code, refusal = call("jaxnet", "train", "iris", "--epochs=2", "--output=a/b/run")
    assert is_one_line(code, refusal)
    assert "holds another run, one that ended; give another --output, or go on from its" in refusal
    assert "--resume" not in refusal
    begun = tmp_path / "my run"
    begun.mkdir()
    shutil.copy(tmp_path / "a" / "b" / "run" / "run.json", begun)
    code, refusal = call("jaxnet", "train", "iris", "--epochs=2", "--output=my run")
    assert is_one_line(code, refusal)
    assert "holds another run; give another --output, or go on with that by --resume 'm" in refusal


@pytest.mark.slow
def test_a_comparison_done_is_shown_again_and_nothing_written(call, tmp_path):
    command = "compare iris --optimizers adam --budget 2 --replicates 6 --tuning-seeds 1 --steps 4"
    assert call("jaxnet", *command.split()) == (0, "")
    before = written(tmp_path)
    assert call("jaxnet", *command.split()) == (0, "")
    assert len(before) > 4
    assert written(tmp_path) == before


@pytest.mark.parametrize("command", COMMANDS)
def test_a_missing_platform_is_told_before_anything(call, monkeypatch, command, tmp_path):
    def missing():
        raise InputError("JAX_PLATFORMS: expected another")

    monkeypatch.setattr("jaxnet.devices.first", missing)
    assert call(*command.split()) == (2, "error: JAX_PLATFORMS: expected another\n")
    assert not list(tmp_path.iterdir())


@first_of(
    ("platform", "command"),
    [
        ("no_such", "jaxnet train iris"),
        ("cuda", "jaxnet train iris"),
        ("tpu", "experiments.regression"),
    ],
)
def test_no_platform_that_is_missing_ends_in_a_traceback(platform, command, tmp_path):
    done = python(*command.split(), cwd=tmp_path, JAX_PLATFORMS=platform)
    assert is_one_line(done.returncode, done.stderr)
    assert done.stdout == ""
    assert f"JAX_PLATFORMS: expected {platform}; available here: " in done.stderr
    assert not list(tmp_path.iterdir())


def test_help_needs_no_platform():
    done = python("jaxnet", "train", "--help", JAX_PLATFORMS="tpu")
    assert (done.returncode, done.stderr) == (0, "")
    assert "--learning-rate" in done.stdout


@pytest.mark.slow
def test_cores_become_devices_and_progress_is_quiet_where_there_is_no_terminal(tmp_path):
    done = python("jaxnet", "train", "iris", "--epochs=2", "--devices=2", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "cpu, 2 devices" in done.stdout
    assert "baseline: most frequent class" in done.stdout


@pytest.mark.slow
def test_programs_are_kept_where_jax_can(tmp_path):
    """Not by JAX before 0.11, which prints pages where it finds one."""
    asked = ["jaxnet", "train", "iris", "--epochs", "1", "--hidden", "2"]
    done = python(*asked, cwd=tmp_path, XDG_CACHE_HOME=str(tmp_path))
    assert done.returncode == 0
    kept = [*tmp_path.glob("jaxnet/*epochs_of*")]
    assert bool(kept) == (jax.__version_info__ >= (0, 11))

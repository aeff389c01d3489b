"""The replays are exact, the accounts say what they must, and bad input ends with a message."""

import dataclasses
import errno
import os
import pathlib
import re
import subprocess
import sys
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import neighbors

import experiments
from experiments import classifier, precision, regression, tasks
from experiments.benchmark import notebooks
from experiments.tasks import __main__ as tasks_command
from experiments.tasks import mnist1d
from jaxnet import devices, report
from jaxnet import optimizers as library
from jaxnet.audit import proving
from jaxnet.commands import compare
from jaxnet.commands.settings import Contest
from jaxnet.compare import comparison
from jaxnet.errors import InputError
from jaxnet.storage import files

ROOT = pathlib.Path(__file__).parents[2]
DATA = pathlib.Path(__file__).parents[1] / "data"


def python(*arguments, **environment):
    """Run a module on a terminal that knows only ASCII; warnings are errors there as well."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", *arguments],
        capture_output=True,
        check=False,
        cwd=ROOT,
        env=os.environ | {"PYTHONIOENCODING": "ascii"} | environment,
    )


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize("module", [classifier, regression])
def test_the_trace_is_the_notebooks_to_the_last_byte(module, capfdbinary):
    name = module.__name__
    assert not experiments.run(module.main, name, ["--trace"])
    file = f"{name.removeprefix('experiments.')}_trace.txt"
    assert capfdbinary.readouterr() == ((DATA / file).read_bytes(), b"")


def test_a_changed_setting_changes_the_trace():
    """The trace is computed: 3 epochs print 3, and another rate other numbers."""
    notebook = (DATA / "classifier_trace.txt").read_text()
    result = classifier.run(epochs=3)
    lines = "\n".join(classifier.notebook_lines(result))
    assert notebook.startswith(lines)
    assert "Epochs: 4 " not in lines
    other = "\n".join(classifier.notebook_lines(classifier.run(epochs=3, learning_rate=0.3)))
    assert other.splitlines()[:2] == lines.splitlines()[:2]
    assert other != lines


@pytest.fixture(scope="module")
def replayed():
    """The classifier and the regression, replayed in full."""
    return classifier.run(), regression.run()


@pytest.fixture(scope="module")
def verdicts():
    """What the audit says of the classifier's gradients; of which lines is looked for elsewhere."""
    with mock.patch.object(proving, "corrections", return_value=()):
        return classifier.audited()


def test_what_the_readme_says_of_the_notebooks_is_what_they_do(replayed):
    said, (result, _) = (ROOT / "README.md").read_text().split("## 给中文读者")[1], replayed
    losses = result.notebook[0], result.notebook[-1], result.autodiff[-1]
    assert [f"{loss:.4f}" for loss in losses] == re.findall(r"\d\.\d{4}", said)


def test_classifier_result(replayed, verdicts):
    result, _ = replayed
    assert np.round(result.notebook[[0, -1]], 4).tolist() == [1.3271, 1.184]
    assert np.round(result.autodiff[[0, -1]], 4).tolist() == [1.3271, 0.75]
    assert result.provenance == devices.provenance("float64")
    weight1, bias1, weight2, bias2 = verdicts.rows
    assert [row.verdict for row in verdicts.rows] == ["wrong", "wrong", "wrong", "right"]
    assert weight2.diagnosis == "transposed and summed over the batch where the loss takes the mean"
    replaced = (
        "hidden layer 1: replaced by the activation's derivative, taken of the back-propagated"
    )
    assert replaced in weight1.diagnosis
    assert replaced in bias1.diagnosis
    assert bias2.diagnosis == ""
    assert "first goes wrong at hidden layer 1" in verdicts.summary


def test_the_classifier_losses_are_those_of_a_numpy_loop(replayed):
    with precision("float64"):
        work = notebooks.work_of("classifier", "float64", classifier.notebook_rule)
    looped = notebooks.numpy_classifier(work)
    assert np.allclose(looped, replayed[0].notebook, rtol=0, atol=1e-9)


def test_regression_result(replayed):
    """The notebook's rule is right: audited, and trained with to the same losses."""
    _, result = replayed
    assert regression.audited().right
    assert np.allclose(result.epochs.loss, result.notebook, rtol=1e-14, atol=0)
    assert np.round(result.notebook[[0, -1]], 4).tolist() == [1.7766, 0.556]


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.slow
def test_float32_and_another_optimizer():
    result = classifier.run(epochs=20, learning_rate=0.1, dtype="float32", optimizer="adam")
    assert result.autodiff.dtype == np.float32
    assert result.autodiff[-1] < 0.5
    assert regression.audited("float32").dtype == "float32"
    assert not jax.config.jax_enable_x64


@pytest.mark.slow
def test_everything_at_once(tmp_path):
    done = python("experiments", "--output", str(tmp_path / "new"), JAX_PLATFORMS="cpu")
    assert (done.returncode, done.stderr) == (0, b"")
    assert_everything(done.stdout.decode(), tmp_path / "new")


def assert_everything(said, folder):
    for name, *numbers in (
        ("classifier", "1.3271", "1.1840", "0.7500"),
        ("regression", "1.7766", "0.5560"),
    ):
        account, _, said = said.partition(str(folder / f"{name}.png"))
        for words in ("float64", "notebook's gradients", "autodiff", *numbers):
            assert words in account
    assert "adam" in said
    assert f"Report: {folder / 'optimizers' / 'report.html'}" in said
    assert "adam" in (folder / "optimizers" / "report.html").read_text()
    assert sorted(path.name for path in folder.iterdir()) == [
        "classifier.png",
        "optimizers",
        "regression.png",
    ]
    found = comparison.load(folder / "optimizers")
    assert found.answers[0].optimizer == "sgd"
    assert found.answers[0].metrics["accuracy"].estimate > 0.8


@pytest.mark.slow
def test_help_explains_every_setting():
    said = python("experiments.classifier", "--help").stdout.decode()
    for setting in ("--trace", "--epochs", "--learning-rate", "--dtype", "--optimizer", "--output"):
        assert setting in said


@pytest.mark.parametrize("module", ["matplotlib", "tyro"])
@pytest.mark.slow
def test_a_missing_extra_is_named(module):
    hide = f"import sys; sys.modules['{module}'] = None; import experiments.classifier"
    done = subprocess.run([sys.executable, "-c", hide], capture_output=True, cwd=ROOT, check=False)
    assert "pip install 'jaxnet-lab[experiments]'" in done.stderr.decode()
    assert module in done.stderr.decode()


SMALL = {"budget": 3, "tuning_seeds": 1, "replicates": 2}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["classifier", "regression"])
def test_a_notebook_is_a_task_judged_by_its_training_loss(name, tmp_path):
    task = dataclasses.replace(tasks.TASKS[name](), epochs=4)
    found = compare.run(Contest(optimizers=("momentum",), **SMALL), task, tmp_path)
    assert found.protocol.judging.data == "training"
    assert found.protocol.rows == {"training": {"classifier": 2, "regression": 1}[name]}
    assert [answer.optimizer for answer in found.answers] == ["sgd", "momentum"]
    sizes = {"classifier": [(4, 3), (4, 4)], "regression": [(2, 3), (1, 2)]}[name]
    assert [layer.weight.shape for layer in task.init(jax.random.key(0))] == sizes


def test_momentum_is_the_sgd_of_that_momentum():
    """By hand, on a gradient of one: the second step is 1.9 times the first."""
    optimizer = library.entry("momentum").make(0.1)
    params, state = jnp.zeros(()), optimizer.init(jnp.zeros(()))
    first, state = optimizer.update(jnp.ones(()), state, params)
    second, _ = optimizer.update(jnp.ones(()), state, params)
    assert np.allclose([first, second], [-0.1, -0.19])


@pytest.mark.usefixtures("unchecked")
def test_every_optimizer_goes_by_all(monkeypatch):
    asked = {}
    monkeypatch.setattr(comparison, "compare", lambda problem, **more: asked.update(more))
    compare.run(Contest(optimizers=("all",)), tasks.TASKS["regression"]())
    assert set(asked["optimizers"]) == set(library.names())


def test_mnist1d_is_learnt_from_its_signals_and_not_from_chance():
    x, y = mnist1d.signals(1000)
    assert (x.shape, x.dtype, y.dtype) == ((1000, 40), np.float32, np.int32)
    assert np.bincount(y).tolist() == [100] * 10
    again, other = mnist1d.signals(1000), mnist1d.signals(1000, seed=1)
    assert np.array_equal(again[0], x)
    assert not np.array_equal(other[0], x)
    nearest = neighbors.KNeighborsClassifier(5).fit(x[:800], y[:800])
    assert 0.3 < nearest.score(x[800:], y[800:]) < 0.95


@pytest.mark.slow
def test_a_table_of_your_own_from_the_command_line(tmp_path):
    random = np.random.default_rng(0)
    rows = random.normal(size=(60, 2))
    lines = ["a,b,y", *(f"{a},{b},{2 * a - b}" for a, b in rows)]
    (tmp_path / "own.csv").write_text("\n".join(lines))
    command = ("jaxnet", "compare", str(tmp_path / "own.csv"), "--target", "y")
    small = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    small += ["--epochs=4"]
    given = (*command[1:], *small, "--optimizers", "adam", "--output", str(tmp_path / "out"))
    done = python(command[0], *given, JAX_COMPILATION_CACHE_DIR=str(tmp_path / "programs"))
    few = b"note: 2 replicates are too few to tell anything: give at least 6\n"
    assert (done.returncode, done.stderr) == (0, few)
    assert "adam" in done.stdout.decode()
    page = (tmp_path / "out" / "report.html").read_text()
    assert f"jaxnet compare {tmp_path}" in page


def test_the_command_of_tasks_is_told_whole(monkeypatch):
    told = []
    monkeypatch.setattr("sys.argv", ["", "wine", "iris", "--epochs", "3"])
    monkeypatch.setattr(compare, "compare", lambda *arguments: told.append(arguments[-1]) or 0)
    assert tasks_command.main(tasks_command.Tried(names=("wine", "iris"))) == 0
    assert told == ["python -m experiments.tasks wine iris --epochs 3"]


@pytest.mark.usefixtures("unchecked")
def test_a_picture_goes_where_it_can_be_written(tmp_path):
    for path in (tmp_path, tmp_path / "x.jpeg", pathlib.Path("/proc/nothing/x.png")):
        with pytest.raises(InputError, match="output: expected"):
            report.check_picture(path)
    report.check_picture(tmp_path / "a" / "x.png")
    assert not (tmp_path / "a" / "x.png").exists()


def test_equal_results_make_equal_pictures(tmp_path):
    """Under a title that would be a formula, did dollars begin one."""
    loss = np.array([1.0, 0.5, np.inf])
    for name in ("one.svg", "two.svg"):
        report.loss_curves(tmp_path / name, r"$\loss$.csv", {"sgd": loss})
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_a_picture_is_there_whole_or_as_it_was(tmp_path, monkeypatch, suffix):
    path, loss = tmp_path / f"x{suffix}", {"sgd": np.ones(2)}
    report.loss_curves(path, "Loss", loss)
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(OSError, match="make room there"):
        report.loss_curves(path, "Another", loss)
    assert [path.read_bytes(), *tmp_path.iterdir()] == [before, path]

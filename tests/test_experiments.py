"""The replays are exact, the accounts say what they must, and bad input ends with a message."""

import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from experiments import benchmark, classifier, optimizers, regression
from jaxnet import losses, report

ROOT = pathlib.Path(__file__).parents[1]
DATA = pathlib.Path(__file__).parent / "data"


def python(*arguments, **environment):
    """Run a module on a terminal that knows only ASCII; warnings are errors there as well."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", *arguments],
        capture_output=True,
        check=False,
        cwd=ROOT,
        env=os.environ | {"PYTHONIOENCODING": "ascii"} | environment,
    )


@pytest.mark.parametrize("name", ["classifier", "regression"])
def test_the_trace_is_the_notebooks_to_the_last_byte(name):
    done = python(f"experiments.{name}", "--trace")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == (DATA / f"{name}_trace.txt").read_bytes()


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


def test_classifier_result():
    result = classifier.run()
    assert np.round(result.notebook[[0, -1]], 4).tolist() == [1.3271, 1.184]
    assert np.round(result.autodiff[[0, -1]], 4).tolist() == [1.3271, 0.75]
    assert {"device", "dtype", "jax", "numpy", "optax", "learning_rate"} <= result.provenance.keys()
    weight1, bias1, weight2, bias2 = result.audit.rows
    assert [row.verdict for row in result.audit.rows] == ["wrong", "wrong", "wrong", "right"]
    assert weight2.diagnosis == "transposed and summed over the batch where the loss takes the mean"
    replaced = (
        "hidden layer 1: replaced by the activation's derivative, taken of the back-propagated"
    )
    assert replaced in weight1.diagnosis
    assert replaced in bias1.diagnosis
    assert bias2.diagnosis == ""
    assert "first goes wrong at hidden layer 1" in result.audit.summary


def test_the_classifier_losses_are_those_of_a_numpy_loop():
    assert np.allclose(benchmark.numpy_loop(), classifier.run().notebook, rtol=0, atol=1e-9)


def test_regression_result():
    """The notebook's rule is right: audited, and trained with to the same losses."""
    result = regression.run()
    assert result.audit.right
    assert np.allclose(result.epochs.loss, result.notebook, rtol=1e-14, atol=0)
    assert np.round(result.notebook[[0, -1]], 4).tolist() == [1.7766, 0.556]


@pytest.mark.usefixtures("standard_promotion")
def test_float32_and_another_optimizer():
    result = classifier.run(epochs=20, learning_rate=0.1, dtype="float32", optimizer="adam")
    assert result.autodiff.dtype == np.float32
    assert result.autodiff[-1] < 0.5
    assert result.audit.dtype == "float32"
    assert not jax.config.jax_enable_x64


@pytest.mark.parametrize("name", ["classifier", "regression"])
def test_the_account(name, tmp_path):
    picture = tmp_path / "new" / "curves.svg"
    done = python(f"experiments.{name}", "--output", str(picture), JAX_PLATFORMS="cpu")
    said = done.stdout.decode()
    assert (done.returncode, done.stderr) == (0, b"")
    for words in ("cpu, 1 device, float64", "notebook's gradients", "autodiff", str(picture)):
        assert words in said
    numbers = {"classifier": ("1.3271", "1.1840", "0.7500"), "regression": ("1.7766", "0.5560")}
    assert all(number in said for number in numbers[name])
    assert "<svg" in picture.read_text()


def test_everything_at_once(tmp_path):
    done = python("experiments", "--output", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, b"")
    said = done.stdout.decode()
    assert "plain SGD needs" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "classifier.png",
        "optimizers.png",
        "regression.png",
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--optimizer", "adm"], "the nearest are adam"),
        (["--epochs", "0"], "epochs: wanted at least 1; got 0"),
        (["--learning-rate", "inf"], "learning_rate: wanted a finite number; got inf"),
        (["--output", "curves.txt"], "output: wanted a file ending in .png, .svg or .pdf"),
    ],
)
def test_bad_input_ends_with_a_message(arguments, words):
    done = python("experiments.classifier", *arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert words in done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_a_missing_platform_is_named():
    done = python("experiments.regression", JAX_PLATFORMS="tpu")
    assert done.returncode == 2
    assert "JAX_PLATFORMS: wanted tpu; available here: cpu" in done.stderr.decode()


def test_help_explains_every_setting():
    said = python("experiments.classifier", "--help").stdout.decode()
    for setting in ("--trace", "--epochs", "--learning-rate", "--dtype", "--optimizer", "--output"):
        assert setting in said


@pytest.mark.parametrize("module", ["matplotlib", "tyro"])
def test_a_missing_extra_is_named(module):
    hide = f"import sys; sys.modules['{module}'] = None; import experiments.classifier"
    done = subprocess.run([sys.executable, "-c", hide], capture_output=True, cwd=ROOT, check=False)
    assert "pip install 'jaxnet[experiments]'" in done.stderr.decode()
    assert module in done.stderr.decode()


def quadratic_sweep(names, rates, epochs=30):
    """A loss w^2, on which gradient descent is `w (1 - 2 rate)^t` exactly."""

    def loss(params, batch):
        return params**2 + 0 * batch[0]

    task = optimizers.Task("quadratic", loss, np.array(1.0), np.zeros(1), epochs)
    return optimizers.run([task], names, np.array(rates))


def test_the_comparison_is_exact_where_the_answer_is_known():
    rates = [0.01, 0.1, 0.25, 2.0]
    (sgd,) = quadratic_sweep(["sgd"], rates)
    exact = np.array([(1 - 2 * rate) ** (2 * np.arange(30)) for rate in rates])
    assert np.allclose(sgd.losses, exact, rtol=1e-12)
    # |1 - 2 rate|^(2 t) <= 0.01 first at t = ln 0.01 / (2 ln |1 - 2 rate|), rounded up.
    assert np.array_equal(sgd.epochs, [np.nan, 11, 4, np.nan], equal_nan=True)
    assert sgd.best == 2
    assert not sgd.diverged.any()


def test_divergence_is_a_state_of_a_run_and_never_the_best():
    (sgd,) = quadratic_sweep(["sgd"], [0.1, 1e9], epochs=60)
    assert sgd.diverged.tolist() == [False, True]
    assert np.isnan(sgd.epochs[1])
    assert sgd.best == 0


def test_a_target_that_is_left_again_does_not_count():
    """Momentum passes through the optimum and leaves it: only what stays there is there."""
    losses_ = np.array([[1.0, 0.5, 0.001, 0.2, 0.005, 0.004]])
    sweep = optimizers.Sweep("task", "sgd", np.array([0.1]), losses_, {})
    assert sweep.epochs.tolist() == [4]


def test_sgd_against_itself_is_no_better(capsys):
    sweeps = quadratic_sweep(["sgd", "sgd"], [0.01, 0.1, 0.25])
    assert np.array_equal(sweeps[0].losses, sweeps[1].losses)
    optimizers.show(sweeps)
    assert "sgd needs 4 epochs at its best rate" in capsys.readouterr().out


def test_benchmark_ratios_are_of_the_same_round():
    ways = {"slow": lambda: sum(range(20000)), "fast": lambda: sum(range(100))}
    timings = benchmark.interleaved(ways, 5)
    assert timings["slow"].ratio == 1
    assert timings["fast"].ratio > 1
    assert timings["slow"].low <= timings["slow"].median <= timings["slow"].high


@pytest.mark.usefixtures("unchecked")
def test_a_picture_goes_where_it_can_be_written(tmp_path):
    for path in (tmp_path, tmp_path / "x.jpeg", pathlib.Path("/proc/nothing/x.png")):
        with pytest.raises(ValueError, match="output: wanted"):
            report.check_picture(path)
    report.check_picture(tmp_path / "a" / "x.png")
    assert not (tmp_path / "a" / "x.png").exists()


def test_equal_results_make_equal_pictures(tmp_path):
    loss = np.array([1.0, 0.5, np.inf])
    for name in ("one.svg", "two.svg"):
        report.loss_curves(tmp_path / name, "Loss", {"sgd": loss})
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_the_losses_of_both_set_ups_are_ours():
    assert isinstance(classifier.LOSS, losses.BatchLoss)
    assert isinstance(regression.LOSS, losses.BatchLoss)

"""Part: the notebooks' networks, one run and thousands, by NumPy loops, PyTorch and jaxnet.

Shapes: T steps, E epochs.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, PyTree

import jaxnet
from experiments import Dtype, classifier, precision, regression
from experiments.benchmark import peers
from experiments.benchmark.timing import Section, Way, compare
from experiments.benchmark.work import Model, Size, Work, crossed, ensemble, single, workload_of
from jaxnet import losses, optimizers
from jaxnet.compare import tiles

EPOCHS, LEARNING_RATE = 100, 0.03
REGRESSION_EPOCHS, REGRESSION_RATE = 10, 0.01
MODELS = {"classifier": Model("tanh", "probabilities"), "regression": Model("relu", "numbers")}
SIZES = {"classifier": (3, 4, 4), "regression": (3, 2, 1)}
# Higher ones amplify the rounding of float32, and runs could not be told to be the same.
RATES = {
    "classifier": np.geomspace(LEARNING_RATE, 0.5, 16).tolist(),
    "regression": np.geomspace(REGRESSION_RATE, 0.1, 16).tolist(),
}


def work_of(name: str, dtype: Dtype, loss: losses.Loss | jaxnet.Rule) -> Work:
    """Give a notebook's run, by its own rule or by autodiff."""
    setting, epochs, rate = {
        "classifier": (classifier, EPOCHS, LEARNING_RATE),
        "regression": (regression, REGRESSION_EPOCHS, REGRESSION_RATE),
    }[name]
    params, data = jax.device_get(setting.set_up(dtype))
    rows = len(data[0])
    return single(params, data, "sgd", rate, epochs, rows, MODELS[name], loss)


def workload(name: str, loss: losses.Loss | jaxnet.Rule) -> tiles.Workload:
    """Give a notebook as a workload, from starts drawn by seed."""
    work = work_of(name, "float32", loss)
    init = functools.partial(jaxnet.init, sizes=SIZES[name])
    return workload_of(loss, init, work.data, len(work.data[0]), work.epochs)


def numpy_classifier(work: Work) -> Float[np.ndarray, " T"]:
    """Train the first run as the classifier notebook does, by its own rule, in a NumPy loop."""
    weight1, bias1, weight2, bias2, x, y, rate = _float64(work)
    values = np.empty(work.order.shape[1])
    for epoch in range(len(values)):
        h = np.tanh(np.dot(x, weight1.T) + bias1)
        z = np.dot(h, weight2.T) + bias2
        e = np.exp(z - np.max(z, axis=1, keepdims=True))
        p = e / np.sum(e, axis=1, keepdims=True)
        values[epoch] = -np.sum(y * np.log(p + 1e-10)) / len(x)
        delta = p - y
        signal = 1 - np.tanh(np.dot(delta, weight2)) ** 2
        weight1 -= rate * np.dot(signal.T, x)
        weight2 -= rate * np.dot(h.T, delta)
        bias1 -= rate * np.mean(signal, axis=0)
        bias2 -= rate * np.mean(delta, axis=0)
    return values


def numpy_regression(work: Work) -> Float[np.ndarray, " T"]:
    """Train the first run as the regression notebook does, in a NumPy loop."""
    weight1, bias1, weight2, bias2, (x, *_), (y, *_), rate = _float64(work)
    values = np.empty(work.order.shape[1])
    for epoch in range(len(values)):
        z = np.dot(weight1, x) + bias1
        h = np.maximum(z, 0)
        error = np.dot(weight2, h) + bias2 - y
        values[epoch] = np.sum(error**2) / 2
        signal = np.dot(weight2.T, error) * (z > 0)
        weight1 -= rate * np.outer(signal, x)
        weight2 -= rate * np.outer(error, h)
        bias1 -= rate * signal
        bias2 -= rate * error
    return values


def _float64(work: Work) -> tuple[Any, ...]:
    params, _, rate = work.first
    leaves = [*jax.tree.leaves(params), *work.data]
    return (*(np.array(leaf, np.float64) for leaf in leaves), rate)


def _loop(loop: Callable[[Work], np.ndarray] | None, work: Work) -> dict[str, Way]:
    return {"NumPy loop": lambda: work.curves(loop(work))} if loop else {}


def _jitted(work: Work) -> dict[str, Way]:
    """Give `jaxnet.run`, jitted by hand."""
    params, order, rate = jax.device_put(work.first)
    data, make = jax.device_put(work.data), optimizers.by_name(work.optimizer)

    @jax.jit
    def program(params: PyTree, rate: jax.Array) -> jax.Array:
        optimizer = make(rate)
        state = jaxnet.start(optimizer, params)
        return jaxnet.run(work.loss, optimizer, state, data, order)[1]

    return {"jaxnet, jitted run": lambda: work.curves(np.asarray(program(params, rate)))}


def _ours(work: Work) -> dict[str, Way]:
    return peers.jaxnet_single(work) | _jitted(work)


class _Setting(NamedTuple):
    """What is timed of a notebook: by which rule, and against what."""

    title: str
    name: str
    loss: losses.Loss | jaxnet.Rule
    loop: Callable[[Work], np.ndarray] | None
    packages: tuple[str, ...]


_SETTINGS = (
    _Setting(
        "the classifier notebook, its own gradients",
        "classifier",
        jaxnet.Rule(classifier.notebook_rule),
        numpy_classifier,
        (),
    ),
    _Setting("the classifier notebook, autodiff", "classifier", classifier.LOSS, None, ("torch",)),
    _Setting(
        "the regression notebook", "regression", regression.LOSS, numpy_regression, ("torch",)
    ),
)


def one_run(size: Size) -> Section:
    """Time one run of each notebook in float64.

    Raises:
        RuntimeError: losses that do not agree to a relative 1e-9.
    """
    groups, claims, notes = [], {}, []
    with precision("float64"):
        for title, name, loss, loop, packages in _SETTINGS:
            work = work_of(name, "float64", loss)
            ways, missing = peers.single_runs(work, packages)
            ways |= _loop(loop, work) | _ours(work)
            group = compare(f"One run of {title}", ways, 4 * size.rounds, tolerance=1e-9)
            groups.append(group)
            claims |= group.claims(["NumPy loop", "PyTorch eager"], f"{title}: ")
            notes = missing or notes
    return Section(groups, claims, notes=notes, dtype="float64")


def many_runs(size: Size) -> Section:
    """Time thousands of runs of each notebook, from starts drawn by seed, in float32.

    Raises:
        RuntimeError: a peer whose losses differ.
    """
    groups, claims, notes = [], {}, []
    for title, name, loss, loop, packages in _SETTINGS:
        trained, trials = workload(name, loss), crossed(size.tiny_seeds, RATES[name])
        work = ensemble(trained, MODELS[name], "sgd", trials)
        loops = _loop(loop, work) | peers.single_runs(work, packages)[0]
        together, missing = peers.many_runs(work, (*packages, "vmap"))
        ways = loops | together | {peers.SWEEP: peers.sweeping(trained, "sgd", trials)}
        group = compare(f"One of {len(trials.seeds):,} runs of {title}", ways, size.slow_rounds)
        groups.append(group)
        claims |= group.claims(["NumPy loop", "torch.func", "plain vmap"], f"{title}: ")
        claims[f"{title}: us a run"] = group.timings[group.ours].median * 1e6
        notes = missing or notes
    notes = [*notes, "The NumPy loops compute in float64 and make one run, as PyTorch eager does."]
    return Section(groups, claims, notes=notes)

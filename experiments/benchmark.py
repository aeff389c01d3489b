"""Where jaxnet stands: the notebook classifier against its NumPy loop, and what importing costs."""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import numpy as np
import optax
from jaxtyping import Float, PyTree

from experiments import classifier, command, describe, precision
from jaxnet import batches, devices, report, training

EPOCHS, LEARNING_RATE = 100, 0.03


class Timing(NamedTuple):
    """Seconds of one way to do a thing, over interleaved rounds.

    Attributes:
        median: of the rounds. low, high: their quartiles.
        ratio: the median over rounds of the first way's seconds over this way's.
    """

    median: float
    low: float
    high: float
    ratio: float


def interleaved(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Timing]:
    """Time every way once a round, after a round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for counted in range(-1, rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if counted >= 0:
                seconds[name].append(time.perf_counter() - start)
    first = next(iter(seconds.values()))
    timings = {}
    for name, each in seconds.items():
        low, median, high = statistics.quantiles(each, n=4)
        ratio = statistics.median(a / b for a, b in zip(first, each, strict=True))
        timings[name] = Timing(median, low, high, ratio)
    return timings


def numpy_loop() -> Float[np.ndarray, " T"]:
    """Train the notebook's classifier as it does, by its own rule, in a NumPy loop."""
    (hidden, output), (x, y) = jax.device_get(classifier.set_up())
    weight1, bias1, weight2, bias2 = (leaf.copy() for leaf in (*hidden, *output))
    losses = np.empty(EPOCHS)
    for epoch in range(EPOCHS):
        h = np.tanh(np.dot(x, weight1.T) + bias1)
        z = np.dot(h, weight2.T) + bias2
        e = np.exp(z - np.max(z, axis=1, keepdims=True))
        p = e / np.sum(e, axis=1, keepdims=True)
        losses[epoch] = -np.sum(y * np.log(p + 1e-10)) / len(x)
        delta = p - y
        signal = 1 - np.tanh(np.dot(delta, weight2)) ** 2
        weight1 -= LEARNING_RATE * np.dot(signal.T, x)
        weight2 -= LEARNING_RATE * np.dot(h.T, delta)
        bias1 -= LEARNING_RATE * np.mean(signal, axis=0)
        bias2 -= LEARNING_RATE * np.mean(delta, axis=0)
    return losses


def classifier_run(rounds: int = 100) -> dict[str, Timing]:
    """Time the classifier's 100 epochs in a NumPy loop, compiled, and through `fit`'s checks.

    Raises:
        RuntimeError: curves that do not agree to 1e-9; what differs is not timed.
    """
    params, data = classifier.set_up()
    order = jax.device_put(batches.full_batch(2, EPOCHS))
    with precision("float64"):

        def run(rule: training.ValueAndGrad) -> jax.Array:
            given = (rule, optax.sgd, params, data, order)
            return training.train(*given, learning_rate=LEARNING_RATE)[1].block_until_ready()

        @jax.jit
        def scan(params: PyTree, learning_rate: float) -> jax.Array:
            optimizer = optax.sgd(learning_rate)
            state = training.start(optimizer, params)
            return training.run(classifier.notebook_rule, optimizer, state, data, order)[1]

        ways = {
            "NumPy loop": numpy_loop,
            "jaxnet, jitted run": lambda: scan(params, LEARNING_RATE).block_until_ready(),
            "jaxnet, train (checked)": lambda: run(classifier.notebook_rule),
            "jaxnet, train by autodiff (checked)": lambda: run(classifier.AUTODIFF),
        }
        apart = np.max(np.abs(numpy_loop() - run(classifier.notebook_rule)))
        if apart > 1e-9:
            raise RuntimeError(f"loss curves of NumPy and jaxnet differ by {apart:.1e}")
        return interleaved(ways, rounds)


def import_seconds(rounds: int = 5) -> dict[str, Timing]:
    """Time the imports in fresh processes."""

    def importing(modules: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, "-c", f"import {modules}"], check=True)

    return interleaved(
        {name: importing(name) for name in ("jax, optax", "jax, optax, jaxnet")}, rounds
    )


def main() -> None:
    """Time jaxnet against what it replaces, interleaved, medians with quartiles."""
    print(describe(devices.provenance("float64")))
    for title, timings, unit, name in (
        (f"The notebook classifier, {EPOCHS} epochs", classifier_run(), 1e6, "us"),
        ("Importing", import_seconds(), 1.0, "s"),
    ):
        rows = [
            (
                way,
                f"{timing.median * unit:.4g} {name}",
                f"{timing.low * unit:.4g} - {timing.high * unit:.4g}",
                f"{timing.ratio:.3g}",
            )
            for way, timing in timings.items()
        ]
        columns = (title, "median", "quartiles", "times faster")
        report.table("", columns, rows)


if __name__ == "__main__":
    command(main, "experiments.benchmark")

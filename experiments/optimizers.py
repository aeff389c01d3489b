"""Hold optax's optimizers against plain SGD, on a task of ours or on your own table."""

import contextlib
import dataclasses
import functools
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import optax
from jaxtyping import PyTree

from experiments import classifier, command, describe, mnist1d, regression
from jaxnet import compare, devices, losses, network, optimizers, report
from jaxnet.storage import models
from jaxnet.tables import tables

# Not of optax by name, and what most people mean by SGD.
MOMENTUM = {
    "momentum": dataclasses.replace(
        optimizers.entry("sgd"), make=functools.partial(optax.sgd, momentum=0.9)
    )
}
USUAL = ("momentum", "adam", "adamw", "rmsprop", "lion", "muon")


class Task(NamedTuple):
    """What is to be trained, and how long unless told otherwise."""

    name: str
    loss: losses.Loss
    init: Callable[[Any], PyTree]
    data: PyTree
    epochs: int
    batch_size: int | None = None
    validation: PyTree | None = None
    test: PyTree | None = None
    metrics: Mapping[str, Callable[[Any, Any], Any]] | None = None


def notebook(name: str) -> Task:
    """Give a notebook's set-up: its data in full batches, judged by the training loss."""
    setting, epochs = {"classifier": (classifier, 100), "regression": (regression, 10)}[name]
    params, data = setting.set_up("float32")
    sizes = [params[0].weight.shape[1], *(len(layer.bias) for layer in params)]
    return Task(f"the {name} notebook", setting.LOSS, _init(sizes), data, epochs)


def table(data: str, target: str, hidden: Sequence[int]) -> Task:
    """Give a table as a task: 60% of its rows to train, 20% to tune on, 20% to judge."""
    split = tables.split(tables.read(data), target, source=data)
    kind, sizes = split.encoder.target.kind, [split.encoder.inputs, *hidden, split.encoder.outputs]
    return _split(Path(data).stem, kind, sizes, split.train, split.validation, split.test)


def signals(hidden: Sequence[int]) -> Task:
    """Give MNIST-1D as a task: 3200 signals to train on, 800 to tune on, 1000 to judge."""
    x, y = mnist1d.signals(5000)
    parts = [(x[a:b], y[a:b]) for a, b in ((0, 3200), (3200, 4000), (4000, 5000))]
    return _split("MNIST-1D", "classification", [mnist1d.POINTS, *hidden, 10], *parts)


def _split(name: str, kind: str, sizes: list[int], train: Any, validation: Any, test: Any) -> Task:
    metrics = {"accuracy": models.accuracy("relu")} if kind == "classification" else None
    batch_size = min(32, len(train[0]))
    loss = models.loss(kind, "relu")
    return Task(name, loss, _init(sizes), train, 10, batch_size, validation, test, metrics)


def _init(sizes: Sequence[int]) -> Callable[[Any], PyTree]:
    return lambda key: network.init(key, sizes)


def run(
    task: Task,
    names: Sequence[str] = USUAL,
    folder: Path | None = None,
    on_progress: Callable[[str, int, int], None] | None = None,
    **protocol: Any,
) -> compare.Comparison:
    """Compare the named optimizers on a task; `protocol` as `compare.compare` takes it.

    Raises:
        InputError: a name that is not known, or what `compare.compare` refuses.
    """
    known = [each for name in names for each in (optimizers.names() if name == "all" else [name])]
    given = {name: MOMENTUM.get(name, name) for name in known}
    settings = {
        "title": f"Optimizers against plain SGD on {task.name}",
        "epochs": task.epochs,
        "batch_size": task.batch_size,
        "validation": task.validation,
        "test": task.test,
        "metrics": task.metrics,
    }
    settings |= {name: value for name, value in protocol.items() if value is not None}
    return compare.compare(
        task.loss,
        task.init,
        task.data,
        given,
        folder=folder,
        on_progress=on_progress,
        **settings,
    )


def show(found: compare.Comparison, folder: Path) -> None:
    """Print the answers, and write the report and its pictures into the folder."""
    print(f"{describe(dataclasses.asdict(found.log.provenance))}\n")
    report.show(found)
    report.write_page(found, folder / "report.html")
    print(f"\nReport: {folder / 'report.html'}\nEvery run: {folder / 'runs.parquet'}")


@contextlib.contextmanager
def _stopped(folder: Path) -> Iterator[None]:
    """Say how to go on where a run is interrupted."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"stopped; what is done is kept in {folder}; the same command goes on from there")
        raise SystemExit(130) from None


def cache() -> None:
    """Keep compiled programs for the next time, where the environment does not say where."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        jax.config.update("jax_compilation_cache_dir", str(Path(home) / "jaxnet"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def main(
    task: Literal["classifier", "regression", "digits", "mnist1d"] = "digits",
    data: str | None = None,
    target: str = "target",
    optimizers: tuple[str, ...] = USUAL,
    learning_rates: tuple[float, ...] | None = None,
    budget: int = 12,
    seeds: int | None = None,
    tuning_seeds: int = 3,
    epochs: int | None = None,
    batch_size: int | None = None,
    hidden: tuple[int, ...] = (64,),
    output: Path | None = None,
) -> None:
    """Tune each optimizer alike, run it on fresh seeds, and hold it against plain SGD.

    Args:
        task: One of ours: a notebook's set-up, scikit-learn's digits, or MNIST-1D.
        data: Your own table instead: a .csv, .tsv, .parquet or .npz file.
        target: The column of it to predict.
        optimizers: Any of optax and optax.contrib, `momentum`, or `all` of optax's.
        learning_rates: To try for each optimizer; its own range where not given.
        budget: How many learning rates to try over its own range.
        seeds: Fresh seeds to judge on; 10, or more where so many optimizers take more.
        tuning_seeds: Seeds to tune on.
        epochs: Passes over the training rows in each run.
        batch_size: Rows of a step.
        hidden: Sizes of the hidden layers, where the task is not a notebook's.
        output: The folder of results; the same command goes on where it was stopped.
    """
    devices.use_all_cores()
    devices.first()
    cache()
    if data is not None:
        chosen = table(data, target, hidden)
    elif task == "digits":
        chosen = table("digits", "target", hidden)
    else:
        chosen = signals(hidden) if task == "mnist1d" else notebook(task)
    folder = output or Path("results") / f"optimizers-{Path(data).stem if data else task}"
    with _stopped(folder), report.progress("run") as told:
        found = run(
            chosen,
            optimizers,
            folder,
            told,
            learning_rates=learning_rates,
            budget=budget,
            seeds=seeds,
            tuning_seeds=tuning_seeds,
            epochs=epochs,
            batch_size=batch_size,
            command=f"python -m experiments.optimizers {shlex.join(sys.argv[1:])}",
        )
    show(found, folder)


if __name__ == "__main__":
    command(main, "experiments.optimizers")

"""Hold optax's optimizers against plain SGD, on a table."""

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import optax
from jaxtyping import PyTree

from jaxnet import devices, losses, network, optimizers, report, tables
from jaxnet._guards import checks, records, sizes
from jaxnet.commands import _interrupts, _run
from jaxnet.commands.settings import Compare, Trials
from jaxnet.compare import comparison, phases
from jaxnet.storage import models

# Not of optax by name, and what most people mean by SGD.
MOMENTUM = {
    "momentum": dataclasses.replace(
        optimizers.entry("sgd"), make=functools.partial(optax.sgd, momentum=0.9)
    )
}


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


def table(data: str, target: str, hidden: Sequence[int]) -> Task:
    """Give a table as a task: 60% of its rows to train, 20% to tune on, 20% to judge.

    Raises:
        InputError: a table that cannot be trained on, or a network too large for this machine.
    """
    split = tables.split(tables.read(data), target, source=data)
    kind, layers = split.encoder.target.kind, [split.encoder.inputs, *hidden, split.encoder.outputs]
    return of_parts(Path(data).stem, kind, layers, (split.train, split.validation, split.test))


def of_parts(name: str, kind: str, layers: Sequence[int], parts: tuple[Any, Any, Any]) -> Task:
    """Give a task of the rows to train, to tune on and to judge, for a network of those layers."""
    sizes.check_network(layers, "hidden")
    train, validation, test = parts
    activation = "relu"
    metrics = {"accuracy": models.accuracy(activation)} if kind == "classification" else None
    batch_size = min(32, len(train[0]))
    loss = models.loss(kind, activation)
    return Task(name, loss, starting(layers), train, 10, batch_size, validation, test, metrics)


def starting(layers: Sequence[int]) -> Callable[[Any], PyTree]:
    """Give what starts a network of those layers from a key."""
    return lambda key: network.init(key, layers)


def run(
    settings: Trials,
    task: Task,
    folder: Path | None = None,
    on_progress: phases.OnProgress | None = None,
    command: str = "",
) -> comparison.Comparison:
    """Compare the optimizers of the settings on a task.

    Args:
        settings: what is tried; `hidden` and `output` are the task's and the command's.
        task: from `table`, or another.
        folder: where what is done is kept; the same call then goes on from there.
        on_progress: told after each tile of runs. command: what made them, for the report.

    Raises:
        InputError: a name that is not known, more runs than this machine can do, or what
            `comparison.compare` refuses.
    """
    records.check(settings)
    names = [
        each
        for name in settings.optimizers
        for each in (optimizers.names() if name == "all" else [name])
    ]
    epochs = settings.epochs or task.epochs
    batch_size = settings.batch_size or task.batch_size
    _check_runs(settings, len(names) + 1, (epochs, checks.data(task.data), batch_size))
    return comparison.compare(
        task.loss,
        task.init,
        task.data,
        {name: MOMENTUM.get(name, name) for name in names},
        title=f"Optimizers against plain SGD on {task.name}",
        epochs=epochs,
        batch_size=batch_size,
        validation=task.validation,
        test=task.test,
        metrics=task.metrics,
        learning_rates=settings.learning_rates,
        budget=settings.budget,
        seeds=settings.seeds,
        tuning_seeds=settings.tuning_seeds,
        command=command,
        folder=folder,
        on_progress=on_progress,
    )


def _check_runs(settings: Trials, optimizers: int, one: tuple[int, int, int | None]) -> None:
    rates = settings.budget if settings.learning_rates is None else len(settings.learning_rates)
    runs = sizes.check_runs(optimizers, rates, settings.tuning_seeds, settings.seeds or 1)
    epochs, rows, batch_size = one
    sizes.check_steps(epochs, rows, batch_size or rows, runs)


def main(settings: Compare) -> int:
    """Compare on a table; write the report and print the answer; give the exit code."""
    folder = settings.output or Path("results") / f"optimizers-{Path(settings.data).stem}"

    def of_table() -> Task:
        return table(settings.data, settings.target, settings.hidden)

    return compare(settings, of_table, folder, _run.shown("jaxnet compare"))


def compare(settings: Trials, make: Callable[[], Task], folder: Path, command: str) -> int:
    """Make a task, compare on it and show what came out; give the exit code.

    Args:
        settings: what is tried. make: gives the task.
        folder: of results. command: what made them, for the report.
    """
    devices.use_all_cores()
    devices.first()
    cache()
    task = make()
    try:
        with report.progress("run") as on_progress:
            result = run(settings, task, folder, on_progress, command)
    except KeyboardInterrupt:
        print(f"stopped; what is done is kept in {folder}; the same command goes on from there")
        return _interrupts.STOPPED
    show(result, folder)
    return 0


def show(result: comparison.Comparison, folder: Path) -> None:
    """Write the report and its pictures into the folder, and print the answers."""
    report.write_page(result, folder / "report.html")
    print(f"{_run.describe(dataclasses.asdict(result.log.provenance))}\n")
    report.show(result)
    print(f"\nReport: {folder / 'report.html'}\nEvery run: {folder / 'runs.parquet'}")


def cache() -> None:
    """Keep compiled programs for the next time, where the environment does not say where.

    JAX before 0.11 prints pages of warnings where it finds one again: there none are kept.
    """
    if jax.__version_info__ < (0, 11):
        return
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        jax.config.update("jax_compilation_cache_dir", str(Path(home) / "jaxnet"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)

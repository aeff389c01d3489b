"""Hold optax's optimizers against plain SGD, on a table."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from jaxtyping import PyTree

from jaxnet import devices, network, optimizers, report, spaces, tables
from jaxnet._guards import records, sizes
from jaxnet.commands import _interrupts, _run
from jaxnet.commands.settings import Compare, Trials
from jaxnet.compare import Problem, comparison, phases
from jaxnet.storage import models


def table(data: str, target: str, hidden: Sequence[int]) -> Problem:
    """Give a table as a problem: 60% of its rows to train, 20% to tune on, 20% to judge.

    Raises:
        InputError: a table that cannot be trained on, or a network too large for this machine.
    """
    split = tables.split(tables.read(data), target, source=data)
    kind, layers = split.encoder.target.kind, [split.encoder.inputs, *hidden, split.encoder.outputs]
    return of_parts(Path(data).stem, kind, layers, (split.train, split.validation, split.test))


def of_parts(name: str, kind: str, layers: Sequence[int], parts: tuple[Any, Any, Any]) -> Problem:
    """Give a problem of rows to train, to tune on and to judge, for a network of those layers."""
    sizes.check_network(layers, "hidden")
    train, validation, test = parts
    return Problem(
        name=name,
        loss=models.loss(kind, "relu"),
        init=starting(layers),
        data=train,
        epochs=10,
        batch_size=min(32, len(train[0])),
        validation=validation,
        test=test,
        metrics={"accuracy": models.accuracy("relu")} if kind == "classification" else {},
    )


def starting(layers: Sequence[int]) -> Callable[[Any], PyTree]:
    """Give what starts a network of those layers from a key."""
    return lambda key: network.init(key, layers)


def run(
    settings: Trials,
    problem: Problem,
    folder: Path | None = None,
    on_progress: phases.OnProgress | None = None,
    command: str = "",
) -> comparison.Comparison:
    """Compare the optimizers of the settings on a problem.

    Args:
        settings: what is tried; `hidden` and `output` are the problem's and the command's.
        problem: from `table`, or another; its length and batch size hold where the settings say
            nothing.
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
    tune: Any = settings.tune
    if settings.learning_rates is not None:
        axis = spaces.choice(*settings.learning_rates)
        tune = {name: {"learning_rate": axis} for name in (settings.baseline, *names)}
    baseline = "plain SGD" if settings.baseline == "sgd" else settings.baseline
    given = settings.epochs is not None or settings.steps is not None
    lasting = settings if given else problem
    return comparison.compare(
        problem.loss,
        problem.init,
        problem.data,
        list(dict.fromkeys(names)),
        title=f"Optimizers against {baseline} on {problem.name}",
        epochs=lasting.epochs,
        steps=lasting.steps,
        batch_size=settings.batch_size or problem.batch_size,
        validation=problem.validation,
        test=problem.test,
        metrics=problem.metrics,
        tune=tune,
        budget=settings.budget,
        budget_of=settings.budget_of,
        tuning_seeds=settings.tuning_seeds,
        replicates=settings.replicates,
        until=settings.until,
        seed=settings.seed,
        baseline=settings.baseline,
        pairs=settings.pairs,
        by=settings.by,
        maximised=settings.maximised,
        target=settings.to,
        margin=settings.margin,
        command=command,
        folder=folder,
        on_progress=on_progress,
    )


def main(settings: Compare) -> int:
    """Compare on a table; write the report and print the answer; give the exit code."""
    folder = settings.output or Path("results") / f"optimizers-{Path(settings.data).stem}"

    def of_table() -> Problem:
        return table(settings.data, settings.target, settings.hidden)

    return compare(settings, of_table, folder, _run.shown("jaxnet compare"))


def compare(settings: Trials, make: Callable[[], Problem], folder: Path, command: str) -> int:
    """Make a problem, compare on it and show what came out; give the exit code.

    Args:
        settings: what is tried. make: gives the problem.
        folder: of results. command: what made them, for the report.
    """
    devices.use_all_cores()
    devices.first()
    cache()
    problem = make()
    try:
        with report.progress("run") as told:
            result = run(settings, problem, folder, told, command)
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

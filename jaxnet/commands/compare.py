"""Hold optax's optimizers against plain SGD, on a table."""

import dataclasses
import itertools
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
from pathlib import Path
from typing import Any

from jaxnet import devices, optimizers, report, spaces, tables
from jaxnet._guards import sizes
from jaxnet._guards.defaults import LEVEL
from jaxnet._guards.procedures import Procedure
from jaxnet.commands import _arguments, _interrupts, _run, _workers
from jaxnet.commands.settings import Compare, Contest, check
from jaxnet.compare import Problem, comparison, league, statistics, verdicts
from jaxnet.compare.inputs import OnProgress
from jaxnet.compare.protocol import TIMES
from jaxnet.errors import InputError
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
        init=models.starting(*layers),
        data=train,
        epochs=10,
        batch_size=min(32, len(train[0])),
        validation=validation,
        test=test,
        metrics={"accuracy": models.accuracy(models.forward("relu"))}
        if kind == "classification"
        else {},
    )


def run(
    settings: Contest,
    problem: Problem,
    folder: Path | None = None,
    on_progress: OnProgress | None = None,
    command: str = "",
    executor: futures.Executor | None = None,
) -> comparison.Comparison:
    """Compare the optimizers of the settings on a problem.

    Args:
        settings: what is tried; `hidden` and `output` are the problem's and the command's.
        problem: from `table`, or another, of the length and the batch size to compare at.
        folder: where what is done is kept; the same call then goes on from there.
        on_progress: told after each tile of runs. command: what made them, for the report.
        executor: what hands out tiles of runs; this process makes them where None.

    Raises:
        InputError: a name that is not known, more runs than this machine can do, or what
            `comparison.compare` refuses.
    """
    return comparison.compare(
        problem,
        folder=folder,
        executor=executor,
        on_progress=on_progress,
        command=command,
        **_asked(settings, problem),
    )


def _asked(settings: Contest, problem: Problem) -> Mapping[str, Any]:
    """Give what the settings ask of a comparison on a problem."""
    check(settings)
    names = _names(settings)
    tune: Any = settings.tune
    if settings.learning_rates:
        axis = spaces.choice(*settings.learning_rates)
        tune = {name: {"learning_rate": axis} for name in (settings.baseline, *names)}
    return {
        "optimizers": names,
        "tune": tune,
        "maximised": settings.by == "accuracy" if settings.by in problem.metrics else None,
        "target": settings.to,
        **{each.name: getattr(settings, each.name) for each in dataclasses.fields(Procedure)},
    }


def _names(settings: Contest) -> list[str]:
    """Give the optimizers that are asked for, each once."""
    every = (optimizers.names() if name == "all" else [name] for name in settings.optimizers)
    return list(dict.fromkeys(itertools.chain.from_iterable(every)))


def too_few(settings: Contest) -> str:
    """Say of a comparison that it can tell nothing, before it is made."""
    others = len({*_names(settings)} - {settings.baseline})
    count = others * (others + 1) // 2 if settings.pairs == "all" else others
    most = max(settings.replicates, settings.until or 0)
    fewest = statistics.fewest(statistics.spent(1, LEVEL) / max(1, count))
    if not count or most >= fewest:
        return ""
    return f"{most} replicates are too few to tell anything: give at least {fewest}"


def main(settings: Compare) -> int:
    """Compare on a table; write the report and print the answer; give the exit code."""
    folder = settings.output or Path("results") / f"optimizers-{Path(settings.data).stem}"

    def of_table() -> dict[str, Problem]:
        problem = table(settings.data, settings.target, settings.hidden)
        return {problem.name: problem}

    return compare(settings, of_table, folder, _arguments.shown("jaxnet"))


def varied(settings: Contest, problems: Mapping[str, Problem]) -> dict[str, dict[str, Problem]]:
    """Give the problems by name, at each length and batch size that the settings ask for.

    Raises:
        InputError: what only some of them can be judged by or take, before any is compared.
    """
    if settings.by == "error":
        problems = {name: _of_error(problem) for name, problem in problems.items()}
    for name, problem in problems.items():
        known = ("loss", *TIMES, *problem.metrics)
        if settings.by not in known:
            raise InputError(
                f"by: expected {' or '.join(known)} on {name}, got {settings.by}; give one"
            )
        for asked in ("epochs", "batch_size"):
            if problem.data is None and getattr(settings, asked):
                raise InputError(
                    f"{asked}: expected none on {name}, which has no data, got "
                    f"{getattr(settings, asked)[0]}; give steps, or leave that task out"
                )
    lengths: list[dict[str, Any]] = [{"epochs": n, "steps": None} for n in settings.epochs]
    lengths += [{"epochs": None, "steps": n} for n in settings.steps]
    sizes = [{"batch_size": n} for n in settings.batch_size]
    cases = {}
    for length, size in itertools.product(lengths or [{}], sizes or [{}]):
        changed = {**length, **size}
        several = (key for key in changed if len(getattr(settings, key)) > 1)
        value = " in ".join(_said(key, changed[key]) for key in several)
        cases[value] = {
            name: dataclasses.replace(
                problem, name=", ".join(filter(None, (name, value))), **changed
            )
            for name, problem in problems.items()
        }
    if len(problems) > 1 and not settings.margin:
        raise InputError(
            "margin: expected more than 0 where several comparisons are put together, got 0; give "
            "a share"
        )
    if max(len(cases), len(problems)) > 1 and not {*_names(settings)} - {settings.baseline}:
        raise InputError(
            f"optimizers: expected others than the baseline {settings.baseline} where several "
            "comparisons are put together, got none; give some"
        )
    return cases


def _said(what: str, value: int) -> str:
    """Say a length or a batch size in words."""
    if what == "batch_size":
        return f"batches of {value}"
    return f"{value} {what[:-1] if value == 1 else what}"


def _of_error(problem: Problem) -> Problem:
    """Measure the share of rows classified wrongly, where that of the others is measured."""
    if "accuracy" not in problem.metrics:
        return problem
    accuracy = problem.metrics["accuracy"]
    error = {"error": lambda params, batch: 1 - accuracy(params, batch)}
    return dataclasses.replace(problem, metrics=error)


def compare(
    settings: Contest, make: Callable[[], Mapping[str, Problem]], folder: Path, command: str
) -> int:
    """Make problems, compare on each and show what came out; give the exit code.

    Several are put together in a league; each has a folder of its own.

    Args:
        settings: what is tried. make: gives the problems by name.
        folder: of results. command: what made them, for the report.
    """
    devices.use_all_cores()
    devices.first()
    _run.keep_programs()
    cases = varied(settings, make())
    if note := too_few(settings):
        print(f"note: {note}", file=sys.stderr)
    if settings.dry_run:
        for problem in itertools.chain.from_iterable(each.values() for each in cases.values()):
            _foresee(settings, problem)
        return 0
    alone = len(cases) == 1 and len(*cases.values()) == 1
    results = {value: {} for value in cases}

    def compare_all() -> None:
        with (
            report.progress("run") as on_progress,
            _workers.executor(settings.workers, settings.scheduler) as executor,
        ):
            for value, problems in cases.items():
                for name, problem in problems.items():
                    if name in results[value]:
                        continue
                    own = folder if alone else folder / _in_a_path(problem.name)
                    result = run(settings, problem, own, on_progress, command, executor=executor)
                    report.write_page(result, own / "report.html")
                    results[value][name] = result

    try:
        _workers.until_done(compare_all, folder)
    except KeyboardInterrupt:
        print(f"stopped; what is done is kept in {folder}; the same command goes on from there")
        return _interrupts.STOPPED
    if alone:
        (result,) = results[""].values()
        show(result, folder, settings.rows)
    elif len(cases) == 1:
        show_league(results[""], folder, command, settings.rows)
    else:
        show_along(results, folder, command, settings.rows)
    return 0


def _foresee(settings: Contest, problem: Problem) -> None:
    """Print what a comparison takes, on the workers that are asked for."""
    count = settings.workers
    with _workers.executor(count, settings.scheduler) as executor:
        foreseen = comparison.foresee(problem, executor=executor, **_asked(settings, problem))
    print(f"{problem.name}: {foreseen}")
    if count:
        print(f"about {foreseen.seconds(count):.2g} s on {count} worker{'s' * (count > 1)}")


def _in_a_path(words: str) -> str:
    return re.sub(r"[ ,]+", "-", words)


def show(result: comparison.Comparison, folder: Path, rows: int) -> None:
    """Print the answers, and where the report is."""
    print(f"{devices.describe(result.log.provenance)}\n")
    report.show(result, rows)
    print(f"\nReport: {folder / 'report.html'}, each run in runs-*.parquet")
    if any(answer.verdict == "not told apart" for answer in result.answers):
        more = 4 * result.protocol.replicates
        print(f"To tell more: the same command with --until {more} goes on from these runs")


def show_league(
    results: Mapping[str, comparison.Comparison], folder: Path, command: str, rows: int
) -> None:
    """Write the page of a league, and print what it says."""
    together = league.of_comparisons(results)
    title = f"{len(together.optimizers)} optimizers on {len(together.tasks)} tasks"
    report.write_league_page(together, folder / "report.html", title, command)
    report.show_league(together, title, rows)
    print(f"\nReport: {folder / 'report.html'}, and one in the folder of each task")


def show_along(
    results: Mapping[str, Mapping[str, comparison.Comparison]],
    folder: Path,
    command: str,
    rows: int,
) -> None:
    """Write the page of what holds at each length and batch size, and print what it says.

    Several tasks are put together in a league of each: no task counts twice in one.
    """
    together = {}
    for value, tasks in results.items():
        if len(tasks) == 1:
            (together[value],) = tasks.values()
        else:
            together[value] = league.of_comparisons(tasks)
            title = f"{len(together[value].optimizers)} optimizers on {len(tasks)} tasks, {value}"
            path = folder / _in_a_path(f"league, {value}.html")
            report.write_league_page(together[value], path, title, command)
    every = league.along(together)
    names = list(next(iter(results.values())))
    tasks = names[0] if len(names) == 1 else f"{len(names)} tasks"
    baseline, values = verdicts.in_words(every[0].baseline), league.in_a_row([*results])
    many = f"{len(every)} optimizer{'s' * (len(every) > 1)}"
    title = f"{many} against {baseline} on {tasks}, at {values}"
    report.write_along_page(every, folder / "report.html", title, command)
    report.show_along(every, title, rows)
    print(f"\nReport: {folder / 'report.html'}, and one in the folder of each comparison")

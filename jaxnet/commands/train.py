"""Train a network on a table: progress, checkpoints, and a model that other programs can read."""

import contextlib
import functools
import inspect
import json
import shlex
import sys
import textwrap
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import jax
import numpy as np

from jaxnet import devices, fitting, network, optimizers, report, tables
from jaxnet._guards import hosts, records, sizes
from jaxnet.commands import _fits, _folders, _hosts, _networks, _run, _scores, _stopping
from jaxnet.commands._fits import OnProgress, StoppedError
from jaxnet.commands.settings import Train, check
from jaxnet.errors import InputError
from jaxnet.storage import models

# Of the plan as it is printed before training.
_LINES = 18


class Result(NamedTuple):
    """A run that ended.

    Attributes:
        fits: what became of the network, trained once and then on more rows.
        split: the table's parts and their encoder.
        scores: by part, by name: "loss", and "accuracy" or "rmse" and "r2". The test part is told
            by the network that is kept, the others by that of the first run, which knew no
            validation rows.
        baseline: the same of the most frequent class, or of the mean, of the training rows.
        seconds: from the first step to the last.
        began: where it began.
    """

    fits: _fits.Fits
    split: tables.Split
    scores: dict[str, dict[str, float]]
    baseline: dict[str, float]
    seconds: float
    began: network.Params


def run(
    settings: Train,
    folder: Path | None = None,
    on_progress: OnProgress | None = None,
    stop: Callable[[], bool] = lambda: False,
    on_plan: Callable[[tables.Plan], None] = lambda plan: None,
) -> Result:
    """Read the table, train, and score each part; go on from the folder's newest checkpoint.

    Args:
        settings: what to train, on what; `output` and `resume` are for the command alone.
        folder: where checkpoints are kept; none are where None.
        on_progress: called with a `fitting.Fit` and its epochs at most between compiled chunks.
        stop: asked there whether to stop; the checkpoint is then written first.
        on_plan: called before training with what is done with the table.

    Raises:
        InputError: settings, a table or a checkpoint that cannot be trained on.
        StoppedError: `stop` said so.
    """
    check(settings)
    with hosts.agreed(jax.process_count() > 1) as facts:
        split = _split(settings)
        facts.update(_folders.kept(settings, split))
    layers = _layers(settings, split)
    sizes.check_network(layers, "hidden", settings.ensemble)
    rows = len(split.train[0]) + len(split.validation[0])
    epochs, _ = _fits.length(settings, split)
    sizes.check_steps(epochs, -(-rows // min(settings.batch_size, rows)))
    # What is refused is refused before anything is said.
    optimizers.by_name(settings.optimizer)
    models.activation_by_name(settings.activation)
    on_plan(split.encoder.plan)
    params = _networks.start(settings, layers)
    began = time.monotonic()
    fits = _fits.fit(
        settings, split, params=params, folder=folder, on_progress=on_progress, stop=stop
    )
    seconds = time.monotonic() - began
    score = functools.partial(_scores.of_network, activation=settings.activation, split=split)
    scores = score(fits.first.params, names=_scores.PARTS[:2])
    scores |= score(fits.params, names=_scores.PARTS[2:])
    return Result(fits, split, scores, _scores.of_baseline(split), seconds=seconds, began=params)


def _split(settings: Train) -> tables.Split:
    data = _folders.data(settings)
    ways, asked = (_asked(function, settings) for function in (tables.read, tables.split))
    return tables.split(tables.read(data, **ways), source=data, **asked)


def _asked(function: Callable[..., Any], settings: Train) -> dict[str, Any]:
    """Give the arguments of a function that settings have by the same names."""
    names = inspect.signature(function).parameters.keys() & vars(Train()).keys()
    return {name: getattr(settings, name) for name in names}


def _layers(settings: Train, split: tables.Split) -> list[int]:
    return [split.encoder.inputs, *settings.hidden, split.encoder.outputs]


def show(settings: Train, result: Result) -> None:
    """Print the summary of a run that ended."""
    encoder, fits = result.split.encoder, result.fits
    classes = f", {encoder.outputs} classes" if encoder.target.kind == "classification" else ""
    layers = _layers(settings, result.split)
    counts = [len(part[0]) for part in result.split[:3]]
    print(f"{settings.data}: {encoder.target.kind} of {encoder.target.name!r}{classes}")
    print(
        f"{sum(counts)} rows ({counts[0]} train, {counts[1]} validation, {counts[2]} test), "
        f"{len(encoder.columns)} columns as {encoder.inputs} inputs"
    )
    print(
        f"{_named(settings)} {'-'.join(map(str, layers))}, {settings.activation}; "
        f"{settings.optimizer}, learning rate {settings.learning_rate}, "
        f"batch {min(settings.batch_size, sum(counts[:2]))}, seed {settings.seed}"
    )
    print(devices.describe(devices.provenance(np.float32)))
    epochs, best = (int(getattr(fits.first.progress, name)) for name in ("epoch", "best_epoch"))
    print(
        f"{fits.last.outcome} after {epochs} epoch{'s' * (epochs != 1)} in {result.seconds:.1f} s; "
        f"best epoch {best}"
    )
    if refitted := fits.refit is not None and fits.last is fits.first:
        print(
            f"refit on train and validation, {sum(counts[:2])} rows, for as many epochs: tested, "
            "and kept"
        )
    for note in _notes(result):
        print(f"note: {note}")
    names = list(next(iter(result.scores.values())))
    told = {"test": "test (refit)"} if refitted else {}
    rows = [
        (told.get(part, part), *_figures(scores, names)) for part, scores in result.scores.items()
    ]
    kind = "most frequent class" if "accuracy" in names else "mean"
    trivial = _figures(result.baseline, names)
    report.table("", ("", *names), [*rows, (f"baseline: {kind}", *trivial)])


def _named(settings: Train) -> str:
    return "network" if settings.ensemble == 1 else f"{settings.ensemble} networks"


def _notes(result: Result) -> Iterator[str]:
    """Say what there is to know of a run that ended, and what may help."""
    (first, refit, skipped), last = result.fits, result.fits.last
    yield from (each for each in (last.message, *skipped) if each)
    ended = first.outcome == "finished" and refit is not None
    if ended and int(first.progress.best_epoch) == int(first.progress.epoch):
        yield "the last epoch was the best: more --epochs may help"
    *_, scores = result.scores.values()
    # Of accuracy more is better, of errors less.
    name, sign = ("accuracy", 1) if "accuracy" in scores else ("rmse", -1)
    if not sign * scores[name] > sign * result.baseline[name]:
        yield "no better than guessing: the columns as they are do not tell the target"


def _figures(scores: Mapping[str, float], names: Sequence[str]) -> list[str]:
    """Give scores in figures: shares, of which r2 is one, to three places."""
    shape = {"accuracy": "z.3f", "r2": "z.3f"}
    return [
        format(scores[name], shape.get(name, ".4g")) if name in scores else "" for name in names
    ]


def main(settings: Train) -> int:
    """Train, keep the model and print the summary; give the exit code."""
    if settings.hosts:
        _hosts.check(settings.hosts)
    if settings.plan:
        check(settings)
        print("\n".join(_split(settings).encoder.plan.lines()))
        return 0
    asked = settings
    settings, folder = _folders.chosen(asked)
    # As they were asked, for each of them finds by itself what it goes on with.
    if (code := _hosts.launched(asked)) is not None:
        return code
    try:
        return _train(settings, folder)
    except InputError as error:
        if settings.resume is None:
            raise
        # Whatever is wrong with a run that goes on, its settings are where it is mended.
        raise InputError(f"{folder / _folders.RECORD}: {error}") from error


def enter(text: str) -> NoReturn:
    """Be one of the processes that another started, by settings in JSON."""
    settings = records.typed(Train, json.loads(text))
    _run.enter(functools.partial(main, settings))


def _train(settings: Train, folder: Path) -> int:
    _start(settings)
    with (
        _folders.leaving_nothing(folder / "checkpoints"),
        _stopping.signals() as signals,
        _told() as show_progress,
        warnings.catch_warnings(),
    ):
        # The summary says so.
        warnings.filterwarnings("ignore", ".*; the state before it is kept", RuntimeWarning)
        try:
            result = run(
                settings,
                folder,
                lambda fit, epochs: show_progress(*_progress(fit), epochs),
                signals.stop,
                _show_plan,
            )
        except StoppedError:
            if jax.process_index():
                return 128 + signals.number
            again = f"jaxnet train --resume {shlex.quote(str(folder))}"
            print(f"stopped; the checkpoint is written; go on with: {again}", file=sys.stderr)
            return 128 + signals.number
    diverged = result.fits.last.outcome == "diverged"
    if jax.process_index():
        return int(diverged)
    _folders.write(folder, settings, result.fits, result.split, result.scores)
    show(settings, result)
    print(f"\nModel, history and curves: {folder}")
    if said := str(_fits.examine(settings, result.split, result.began, result.fits.first)):
        print(textwrap.fill(said, 80))
    return int(diverged)


def _show_plan(plan: tables.Plan) -> None:
    if jax.process_index() == 0:
        print("\n".join(plan.lines(_LINES)), end="\n\n", flush=True)


def _told() -> contextlib.AbstractContextManager[Callable[[str, int, int], None]]:
    """Show progress, of many hosts on the first."""
    return contextlib.nullcontext(_quiet) if jax.process_index() else report.progress("epoch")


def _quiet(what: str, done: int, total: int) -> None:
    """Show nothing."""


def _progress(fit: fitting.Fit) -> tuple[str, int]:
    last = {name: values[-1] for name, values in fit.history.items() if len(values)}
    losses = ", ".join(f"{name} {value:.4g}" for name, value in last.items())
    return losses, int(fit.progress.epoch)


def _start(settings: Train) -> None:
    """Make CPU cores devices and join other hosts, before JAX is first used; see to a device."""
    sizes.check_cores("devices", settings.devices)
    if settings.devices > 1:
        jax.config.update("jax_num_cpu_devices", settings.devices)
    if settings.hosts:
        _hosts.join(settings.hosts)
    devices.first()
    _run.keep_programs()

"""Train a network on a table: progress, checkpoints, and a model that other programs can read."""

import contextlib
import dataclasses
import functools
import os
import shlex
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from jaxnet import devices, fitting, losses, network, optimizers, report, tables
from jaxnet._guards import records, sizes
from jaxnet.commands.settings import RECORD, Train, check
from jaxnet.errors import InputError
from jaxnet.storage import checkpoints, files, fingerprints, models

# Settings of where a run is and not of what it is: with the others, the table and the device the
# same it gives the same numbers.
_PLACES = ("output", "resume")


class StoppedError(Exception):
    """The run was asked to stop, and its checkpoint is written."""


class Result(NamedTuple):
    """A run that ended.

    Attributes:
        fit: where it ended, its history and its best parameters.
        split: the table's parts and their encoder.
        scores: by part, by name: "loss", and "accuracy" or "rmse" and "r2".
        baseline: the same of the most frequent class, or of the mean, of the training rows.
        seconds: from the first step to the last.
        skipped: checkpoints that were not whole.
    """

    fit: fitting.Fit
    split: tables.Split
    scores: dict[str, dict[str, float]]
    baseline: dict[str, float]
    seconds: float
    skipped: list[str]


def run(
    settings: Train,
    folder: Path | None = None,
    on_progress: Callable[[fitting.Fit], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Result:
    """Read the table, train, and score each part; go on from the folder's newest checkpoint.

    Args:
        settings: what to train, on what; `output` and `resume` are for the command alone.
        folder: where checkpoints are kept; none are where None.
        on_progress: called with a `fitting.Fit` between compiled chunks.
        stop: asked there whether to stop; the checkpoint is then written first.

    Raises:
        InputError: settings, a table or a checkpoint that cannot be trained on.
        StoppedError: `stop` said so.
    """
    check(settings)
    split = _split(settings)
    layers = _layers(settings, split)
    sizes.check_network(layers, "hidden")
    rows = len(split.train[0])
    sizes.check_steps(settings.epochs, -(-rows // min(settings.batch_size, rows)))
    make = optimizers.by_name(settings.optimizer)
    params = network.init(jax.random.key(settings.seed), layers)
    fit = _trainer(settings, split, params)
    began, skipped = time.monotonic(), []
    if folder is None:
        ended = fit(on_progress=on_progress)
    else:
        with _checkpoints(settings, split, folder) as saved:
            fresh = fitting.begin(make, params, {"learning_rate": settings.learning_rate})
            resume, skipped = saved.restore(fresh) or (fresh, [])
            watch = _watch(settings, folder, saved, on_progress, stop)
            ended = fit(resume=resume, on_progress=watch)
            _record(settings, folder)
            if _place(ended) != _place(resume):
                saved.save(ended)
    seconds = time.monotonic() - began
    scores = _scores(ended.params, settings, split)
    return Result(ended, split, scores, _baseline(split), seconds, skipped)


def _place(fit: fitting.Fit) -> tuple[str, int]:
    return fit.outcome, int(fit.progress.epoch)


def _checkpoints(settings: Train, split: tables.Split, folder: Path) -> checkpoints.Checkpoints:
    """Open the checkpoints of a run in its folder; refuse those of another."""
    table = fingerprints.of_data((split.train, split.validation))
    kept = _kept(settings) | {"epochs": None, "sizes": _layers(settings, split), "table": table}
    try:
        return checkpoints.Checkpoints(folder / "checkpoints", kept)
    except checkpoints.AnotherRunError as error:
        if "table" not in error.keys:
            raise
        raise InputError(
            f"data: expected the table that {folder} was trained on, got {settings.data} with "
            "other rows or values; restore it, or train anew with another --output"
        ) from error


def _split(settings: Train) -> tables.Split:
    data = _data(settings)
    return tables.split(
        tables.read(data),
        settings.target,
        task=settings.task,
        validation=settings.validation,
        test=settings.test,
        seed=settings.seed,
        source=data,
    )


def _data(settings: Train) -> str:
    if settings.data is None:
        raise InputError(
            "data: expected a table, or --resume and the folder of a run, got neither; give one"
        )
    return settings.data


def _layers(settings: Train, split: tables.Split) -> list[int]:
    return [split.encoder.inputs, *settings.hidden, split.encoder.outputs]


def _trainer(
    settings: Train, split: tables.Split, params: network.Params
) -> Callable[..., fitting.Fit]:
    """Give `fit` with all but how it is watched and where it goes on."""
    task = split.encoder.target.kind
    judged = bool(len(split.validation[0]))
    metric = {"accuracy": models.accuracy(models.forward(settings.activation))}
    spread = settings.devices != 1
    return functools.partial(
        fitting.fit,
        models.loss(task, settings.activation),
        optimizers.by_name(settings.optimizer),
        params,
        split.train,
        epochs=settings.epochs,
        batch_size=min(settings.batch_size, len(split.train[0])),
        seed=settings.seed,
        patience=settings.patience,
        validation=split.validation if judged else None,
        metrics=metric if judged and task == "classification" else None,
        sharding=devices.batch_sharding(settings.devices) if spread else None,
        hyperparameters={"learning_rate": settings.learning_rate},
    )


def _watch(
    settings: Train,
    folder: Path,
    saved: checkpoints.Checkpoints,
    on_progress: Callable[[fitting.Fit], None] | None,
    stop: Callable[[], bool],
) -> Callable[[fitting.Fit], None]:
    """Give what is called between chunks: it keeps the run, and ends it where it is asked to."""
    last = time.monotonic()

    def watch(now: fitting.Fit) -> None:
        nonlocal last
        _record(settings, folder)
        ends = stop()
        if ends or time.monotonic() - last > 2:
            saved.save(now)
            last = time.monotonic()
        if on_progress:
            on_progress(now)
        if ends:
            raise StoppedError

    return watch


@functools.partial(jax.jit, static_argnums=0)
def _evaluate(
    loss: losses.BatchLoss, params: network.Params, x: Array, y: Array
) -> tuple[Array, Array]:
    outputs = jax.vmap(loss.forward, in_axes=(None, 0))(params, x)
    return outputs, jax.vmap(loss.example, in_axes=(None, 0, 0))(params, x, y)


def _scores(
    params: network.Params, settings: Train, split: tables.Split
) -> dict[str, dict[str, float]]:
    """Score every part that has rows, all of them evaluated in one program."""
    names = ("train", "validation", "test")
    parts = [split.train, split.validation, split.test]
    x, y = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    loss = models.loss(split.encoder.target.kind, settings.activation)
    outputs, values = jax.device_get(_evaluate(loss, params, x, y))
    ends = np.cumsum([len(part[0]) for part in parts])[:-1]
    cut = [np.split(array, ends) for array in (outputs, values, y)]
    return {
        name: {"loss": float(value.mean())} | _judge(split.encoder, output, target)
        for name, output, value, target in zip(names, *cut, strict=True)
        if len(target)
    }


def _judge(
    encoder: tables.Encoder, outputs: Float[np.ndarray, "N O"], y: np.ndarray
) -> dict[str, float]:
    if encoder.target.kind == "classification":
        return {"accuracy": float(np.mean(outputs.argmax(-1) == y))}
    error, scale = outputs - y, encoder.target.deviation
    spread = np.mean((y - y.mean()) ** 2)
    r2 = 1 - float(np.mean(error**2) / spread) if spread else float("nan")
    return {"rmse": float(np.sqrt(np.mean(error**2))) * scale, "r2": r2}


def _baseline(split: tables.Split) -> dict[str, float]:
    """Score, on the test part, what knows nothing of the features."""
    y = split.test[1] if len(split.test[1]) else split.train[1]
    outputs = np.zeros((len(y), split.encoder.outputs), np.float32)
    if split.encoder.target.kind == "classification":
        outputs[:, np.bincount(split.train[1]).argmax()] = 1
    return _judge(split.encoder, outputs, y)


def show(settings: Train, result: Result) -> None:
    """Print the summary of a run that ended."""
    encoder, fit = result.split.encoder, result.fit
    classes = f", {encoder.outputs} classes" if encoder.target.kind == "classification" else ""
    layers = _layers(settings, result.split)
    counts = [len(part[0]) for part in result.split[:3]]
    print(f"{settings.data}: {encoder.target.kind} of {encoder.target.name!r}{classes}")
    print(
        f"{sum(counts)} rows ({counts[0]} train, {counts[1]} validation, {counts[2]} test), "
        f"{len(encoder.columns)} columns as {encoder.inputs} inputs"
    )
    print(
        f"network {'-'.join(map(str, layers))}, {settings.activation}; {settings.optimizer}, "
        f"learning rate {settings.learning_rate}, batch {min(settings.batch_size, counts[0])}, "
        f"seed {settings.seed}"
    )
    print(devices.describe(devices.provenance(np.float32)))
    epochs, best = int(fit.progress.epoch), int(fit.progress.best_epoch)
    print(f"{fit.outcome} after {epochs} epochs in {result.seconds:.1f} s; best epoch {best}")
    for message in (fit.message, *result.skipped):
        if message:
            print(f"note: {message}")
    names = list(next(iter(result.scores.values())))
    rows = [
        (part, *(f"{scores[name]:.4g}" for name in names)) for part, scores in result.scores.items()
    ]
    kind = "most frequent class" if "accuracy" in names else "mean"
    trivial = [f"{result.baseline[name]:.4g}" if name in result.baseline else "" for name in names]
    report.table("", ("", *names), [*rows, (f"baseline: {kind}", *trivial)])


def keep(settings: Train, result: Result, folder: Path) -> None:
    """Write the model, the history as CSV, and the picture of the learning curves."""
    about = {
        "settings": _kept(settings),
        "activation": settings.activation,
        "encoder": result.split.encoder.to_json(),
        "scores": {part: _finite(scores) for part, scores in result.scores.items()},
        "outcome": result.fit.outcome,
        "provenance": dataclasses.asdict(devices.provenance(np.float32))
        | {"seed": str(settings.seed), "verified": result.fit.verified},
    }
    models.write(folder / "model", jax.device_get(result.fit.params), about)
    history = result.fit.history
    lines = [",".join(["epoch", *history])]
    lines += [
        ",".join([str(epoch + 1), *(repr(float(value)) for value in values)])
        for epoch, values in enumerate(zip(*history.values(), strict=True))
    ]
    files.write(folder / "history.csv", ("\n".join(lines) + "\n").encode())
    curves = {
        {"loss": "training", "validation_loss": "validation"}[name]: values
        for name, values in history.items()
        if name in ("loss", "validation_loss") and len(values)
    }
    title = f"{Path(_data(settings)).name}: learning curves"
    report.loss_curves(folder / "curves.png", title, curves, "loss", log="y")


def _finite(scores: dict[str, float]) -> dict[str, float | None]:
    """Give scores as JSON can hold them: None where there is none."""
    return {name: score if np.isfinite(score) else None for name, score in scores.items()}


def main(settings: Train) -> int:
    """Train, keep the model and print the summary; give the exit code."""
    settings, folder = _chosen(settings)
    try:
        return _train(settings, folder)
    except InputError as error:
        if settings.resume is None:
            raise
        # Whatever is wrong with a run that goes on, its settings are where it is mended.
        raise InputError(f"{folder / RECORD}: {error}") from error


def _chosen(settings: Train) -> tuple[Train, Path]:
    """Give the settings of the run that is begun or gone on with, and its folder."""
    if settings.resume is not None:
        begun = dataclasses.replace(settings, resume=None)
        default = Train()
        others = [each.name for each in dataclasses.fields(Train) if _differ(begun, default, each)]
        if others:
            raise InputError(
                "resume: expected nothing else, as a run goes on as it was, got "
                f"{', '.join(others)}; leave that out, or --resume"
            )
        kept = _read(settings.resume / RECORD)
        return dataclasses.replace(kept, resume=settings.resume), settings.resume
    folder = settings.output or Path("runs") / Path(_data(settings)).stem
    path = folder / RECORD
    if path.exists() and _kept(_read(path)) != _kept(settings):
        ended = (folder / "model").is_dir()
        on = (
            "go on from its end in Python, by fit with resume"
            if ended
            else f"go on with that by --resume {shlex.quote(str(folder))}"
        )
        raise InputError(
            f"output: expected a folder of its own, got {folder}, which holds another run"
            f"{', one that ended' * ended}; give another --output, or {on}"
        )
    return settings, folder


def _differ(these: Train, those: Train, field: dataclasses.Field[Any]) -> bool:
    return getattr(these, field.name) != getattr(those, field.name)


def _train(settings: Train, folder: Path) -> int:
    _start(settings.devices)
    with (
        _leaving_nothing(folder / "checkpoints"),
        _signals() as signals,
        report.progress("epoch") as show_progress,
        warnings.catch_warnings(),
    ):
        # The summary says so.
        warnings.filterwarnings("ignore", ".*; the state before it is kept", RuntimeWarning)
        try:
            result = run(
                settings,
                folder,
                lambda fit: show_progress(*_progress(fit), settings.epochs),
                signals.stop,
            )
        except StoppedError:
            again = f"jaxnet train --resume {shlex.quote(str(folder))}"
            print(f"stopped; the checkpoint is written; go on with: {again}", file=sys.stderr)
            return 128 + signals.number
    keep(settings, result, folder)
    show(settings, result)
    print(f"\nModel, history and curves: {folder}")
    return int(result.fit.outcome == "diverged")


def _progress(fit: fitting.Fit) -> tuple[str, int]:
    last = {name: values[-1] for name, values in fit.history.items() if len(values)}
    losses = ", ".join(f"{name} {value:.4g}" for name, value in last.items())
    return losses, int(fit.progress.epoch)


@dataclasses.dataclass
class _Signals:
    """What asks a run to stop: at once before it is under way, then where it can go on from."""

    number: int = 0
    under_way: bool = False

    def stop(self) -> bool:
        """Tell whether it was asked to stop; that this is asked shows that it is under way."""
        self.under_way = True
        return bool(self.number)

    def receive(self, number: int, _: Any) -> None:
        """Take a signal."""
        self.number = number
        if not self.under_way:
            raise SystemExit(128 + number)


@contextlib.contextmanager
def _signals() -> Iterator[_Signals]:
    signals, numbers = _Signals(), (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, signals.receive) for number in numbers]
    try:
        yield signals
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _start(count: int) -> None:
    """Make CPU cores devices, before JAX is first used, and see that there is a device."""
    cores = len(os.sched_getaffinity(0))
    if count > cores:
        raise InputError(
            f"devices: expected 1 to the {cores} cores of this machine, got {count}; give fewer"
        )
    if count > 1:
        jax.config.update("jax_num_cpu_devices", count)
    devices.first()


@contextlib.contextmanager
def _leaving_nothing(folder: Path) -> Iterator[None]:
    """Remove what folders were made, the empty ones, where a run is refused or never begins."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        yield
    except (InputError, SystemExit):
        with contextlib.suppress(OSError):  # One that is not empty, or was never made.
            for each in missing:
                each.rmdir()
        raise


def _record(settings: Train, folder: Path) -> None:
    """Write what the run is, once it was accepted."""
    if not (folder / RECORD).exists():
        files.write_record(folder / RECORD, _kept(settings), {})


def _read(path: Path) -> Train:
    """Read what a run is: what is wrong by its field, and then by the seal of the whole."""
    kept = records.read(Train, path, _PLACES)
    files.read(path)
    return kept


def _kept(settings: Train) -> dict[str, Any]:
    return records.plain(settings, _PLACES)

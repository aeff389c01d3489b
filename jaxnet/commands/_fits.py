"""Fit a network to a table: from the newest checkpoint in its folder, to where it is stopped."""

import functools
import time
from collections.abc import Callable
from pathlib import Path

from jaxnet import devices, fitting, network, optimizers, tables
from jaxnet.commands import _folders
from jaxnet.commands.settings import Train
from jaxnet.errors import InputError
from jaxnet.storage import checkpoints, fingerprints, models

OnProgress = Callable[[fitting.Fit], None]


class StoppedError(Exception):
    """The run was asked to stop, and its checkpoint is written."""


def fit(
    settings: Train,
    split: tables.Split,
    params: network.Params,
    folder: Path | None,
    on_progress: OnProgress | None,
    stop: Callable[[], bool],
) -> tuple[fitting.Fit, list[str]]:
    """Fit a network, and keep it in a folder where one is given.

    Returns:
        Where it ended, and the checkpoints that were not whole.

    Raises:
        InputError: what `fitting.fit` refuses, or a folder of another run.
        StoppedError: `stop` said so.
    """
    run = _fitter(settings, split, params)
    if folder is None:
        return run(on_progress=on_progress), []
    with _checkpoints(settings, split, params, folder) as saved:
        make = optimizers.by_name(settings.optimizer)
        fresh = fitting.begin(make, params, {"learning_rate": settings.learning_rate})
        resume, skipped = saved.restore(fresh) or (fresh, [])
        watch = _watch(settings, folder, saved, on_progress, stop)
        ended = run(resume=resume, on_progress=watch)
        _folders.record(settings, folder)
        if _place(ended) != _place(resume):
            saved.save(ended)
    return ended, skipped


def _fitter(
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


def _checkpoints(
    settings: Train, split: tables.Split, params: network.Params, folder: Path
) -> checkpoints.Checkpoints:
    """Open the checkpoints of a run in its folder; refuse those of another."""
    table = fingerprints.of_data((split.train, split.validation))
    layers = [split.encoder.inputs, *(len(layer.bias) for layer in params)]
    kept = _folders.kept(settings) | {"epochs": None, "sizes": layers, "table": table}
    try:
        return checkpoints.Checkpoints(folder / "checkpoints", kept)
    except checkpoints.AnotherRunError as error:
        if "table" not in error.keys:
            raise
        raise InputError(
            f"data: expected the table that {folder} was trained on, got {settings.data} with "
            "other rows or values; restore it, or train anew with another --output"
        ) from error


def _watch(
    settings: Train,
    folder: Path,
    saved: checkpoints.Checkpoints,
    on_progress: OnProgress | None,
    stop: Callable[[], bool],
) -> OnProgress:
    """Give what is called between chunks: it keeps the run, and ends it where it is asked to."""
    last = time.monotonic()

    def watch(now: fitting.Fit) -> None:
        nonlocal last
        _folders.record(settings, folder)
        ends = stop()
        if ends or time.monotonic() - last > 2:
            saved.save(now)
            last = time.monotonic()
        if on_progress:
            on_progress(now)
        if ends:
            raise StoppedError

    return watch


def _place(fit: fitting.Fit) -> tuple[str, int]:
    return fit.outcome, int(fit.progress.epoch)

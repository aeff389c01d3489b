"""Fit a network to a table: from the newest checkpoint in its folder, to where it is stopped."""

import functools
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from jaxnet import devices, doctor, fitting, network, optimizers, tables
from jaxnet.commands import _folders
from jaxnet.commands.settings import Train
from jaxnet.storage import checkpoints, models

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
    kept = _folders.kept(settings, split)
    _folders.check_table(folder, kept)
    sizes = [split.encoder.inputs, *(len(layer.weight) for layer in params)]
    described = kept | {"epochs": None, "sizes": sizes}
    with checkpoints.Checkpoints(folder / "checkpoints", described) as saved:
        make = optimizers.by_name(settings.optimizer)
        fresh = fitting.begin(make, params, {"learning_rate": settings.learning_rate})
        resume, skipped = saved.restore(fresh) or (fresh, [])
        watch = _watch(kept, folder, saved, on_progress, stop)
        ended = run(resume=resume, on_progress=watch)
        _folders.record(kept, folder)
        if _place(ended) != _place(resume):
            saved.save(ended)
    return ended, skipped


def examine(
    settings: Train, split: tables.Split, params: network.Params, ended: fitting.Fit
) -> doctor.Diagnosis:
    """Say what is visibly wrong with a run that began with these parameters."""
    return doctor.examine(
        models.loss(split.encoder.target.kind, settings.activation),
        optimizers.by_name(settings.optimizer),
        params,
        split.train,
        ended,
        batch_size=settings.batch_size,
        validation=split.validation if len(split.validation[0]) else None,
        hyperparameters={"learning_rate": settings.learning_rate},
    )


def _fitter(
    settings: Train, split: tables.Split, params: network.Params
) -> Callable[..., fitting.Fit]:
    """Give `fit` with all but how it is watched and where it goes on."""
    task = split.encoder.target.kind
    judged = bool(len(split.validation[0]))
    metric = {"accuracy": models.accuracy(models.forward(settings.activation))}
    spread = settings.hosts is not None or settings.devices != 1
    local = None if settings.hosts else settings.devices
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
        sharding=devices.batch_sharding(local) if spread else None,
        hyperparameters={"learning_rate": settings.learning_rate},
    )


def _watch(
    kept: Mapping[str, object],
    folder: Path,
    saved: checkpoints.Checkpoints,
    on_progress: OnProgress | None,
    stop: Callable[[], bool],
) -> OnProgress:
    """Give what is called between chunks: it keeps the run, and ends it where it is asked to."""
    last = time.monotonic()

    def watch(now: fitting.Fit) -> None:
        nonlocal last
        _folders.record(kept, folder)
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

"""Fit a network to a table: from the newest checkpoint in its folder, to where it is stopped."""

import dataclasses
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxnet import devices, doctor, fitting, losses, network, optimizers, tables
from jaxnet._models.ensembles import ensemble
from jaxnet.commands import _folders, _networks
from jaxnet.commands._networks import Fits
from jaxnet.commands.settings import Train
from jaxnet.storage import checkpoints, models

# Told how far a run is, and of how many epochs.
OnProgress = Callable[[fitting.Fit, int], None]

# Epochs where none are given, or as many as take so many steps; the same of patience.
_EPOCHS, _STEPS = 50, 4000
_PATIENCE, _PATIENT_STEPS = 10, 1000


class StoppedError(Exception):
    """The run was asked to stop, and its checkpoint is written."""


def length(settings: Train, split: tables.Split) -> tuple[int, int | None]:
    """Give how many epochs a run has at most, and its patience."""
    judged = len(split.validation[0])
    rows = len(split.train[0]) + judged
    steps = -(-rows // min(settings.batch_size, rows))
    patience = settings.patience
    if patience is None and settings.epochs is None and judged:
        patience = max(_PATIENCE, -(-_PATIENT_STEPS // steps))
    return settings.epochs or max(_EPOCHS, -(-_STEPS // steps)), patience


def fit(
    settings: Train,
    split: tables.Split,
    params: network.Params,
    folder: Path | None,
    on_progress: OnProgress | None,
    stop: Callable[[], bool],
) -> Fits:
    """Fit a network, then once more on all rows but those to test on; keep both in a folder.

    Raises:
        InputError: what `fitting.fit` refuses, or a folder of another run.
        StoppedError: `stop` said so.
    """
    job = _Job(settings, split, params, folder=folder, on_progress=on_progress, stop=stop)
    epochs, patience = length(settings, split)
    judged = len(split.validation[0])
    begun = fitting.begin(job.learning[1], params, job.hyperparameters)
    counts = np.repeat([1, 0], [len(split.train[0]), judged])
    first, skipped = job.run("checkpoints", begun, counts, epochs, epochs=epochs, patience=patience)
    if first.outcome == "diverged" or not judged:
        return Fits(first, None, skipped)
    best = int(first.progress.best_epoch)
    # What nothing is better than ends by its patience: other epochs would compile anew.
    progress = begun.progress
    waiting = progress._replace(best_value=np.full_like(progress.best_value, -np.inf))
    begun, counts = begun._replace(progress=waiting), np.ones_like(counts)
    refit, more = job.run("refit", begun, counts, best, epochs=epochs, patience=best)
    return Fits(first, refit, skipped + more)


def examine(
    settings: Train, split: tables.Split, params: network.Params, ended: fitting.Fit
) -> doctor.Diagnosis:
    """Say what is visibly wrong with a run that began so, of several networks with the first."""
    if _networks.several(params):
        best = _networks.first(ended.params)
        ended = ended._replace(progress=ended.progress._replace(best_params=best))
        params = _networks.first(params)
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


@dataclasses.dataclass(frozen=True)
class _Job:
    """What the runs of a network have in common."""

    settings: Train
    split: tables.Split
    params: network.Params
    folder: Path | None
    on_progress: OnProgress | None
    stop: Callable[[], bool]

    @functools.cached_property
    def kept(self) -> dict[str, object]:
        """What the run is, wherever it is."""
        return _folders.kept(self.settings, self.split)

    @property
    def hyperparameters(self) -> dict[str, float]:
        return {"learning_rate": self.settings.learning_rate}

    @property
    def learning(self) -> tuple[losses.Loss | losses.Rule, optimizers.Optimizer]:
        """Give the loss and the optimizer, of several networks those of all."""
        loss = models.loss(self.split.encoder.target.kind, self.settings.activation)
        optimizer = optimizers.by_name(self.settings.optimizer)
        if not _networks.several(self.params):
            return loss, optimizer
        together = ensemble(loss, optimizer)
        return together.loss, together.optimizer

    def run(
        self, stage: str, begun: fitting.Fit, counts: np.ndarray, total: int, **ends: Any
    ) -> tuple[fitting.Fit, list[str]]:
        """Run from a beginning, or from the newest checkpoint of the stage.

        Args:
            counts: of each row of the training and the validation part, 1 to train on it, else 0.
            total: epochs to show progress of. ends: epochs and patience.

        Returns:
            Where it ended, and the checkpoints that were not whole.
        """
        run = functools.partial(self._fitter(counts), **ends)
        if self.folder is None:
            return run(resume=begun, on_progress=self._watch(total)), []
        _folders.check_table(self.folder, self.kept)
        sizes = [self.split.encoder.inputs, *(layer.weight.shape[-2] for layer in self.params)]
        described = self.kept | {"epochs": None, "sizes": sizes}
        with checkpoints.Checkpoints(self.folder / stage, described) as saved:
            resume, skipped = saved.restore(begun) or (begun, [])
            ended = run(resume=resume, on_progress=self._watch(total, saved))
            _folders.record(self.kept, self.folder)
            if _place(ended) != _place(resume):
                saved.save(ended)
        return ended, skipped

    def _fitter(self, counts: np.ndarray) -> Callable[..., fitting.Fit]:
        """Give `fit` with all but how it is watched, where it goes on and when it ends."""
        settings, split = self.settings, self.split
        task, judged = split.encoder.target.kind, len(split.validation[0])
        x, y, *weights = split.train
        if judged:
            # Rows that do not count are there: the same program trains with them and without.
            parts = zip(split.train, split.validation, strict=True)
            x, y, *weights = (np.concatenate(pair) for pair in parts)
            weights = [np.prod([counts, *weights], axis=0).astype(np.float32)]
        predicts = _networks.forward(self.params, task, settings.activation)
        spread = settings.hosts is not None or settings.devices != 1
        local = None if settings.hosts else settings.devices
        return functools.partial(
            fitting.fit,
            *(*self.learning, self.params, (x, y, *weights)),
            batch_size=min(settings.batch_size, len(x)),
            seed=settings.seed,
            validation=split.validation if judged else None,
            metrics={"accuracy": models.accuracy(predicts)}
            if judged and task == "classification"
            else None,
            sharding=devices.batch_sharding(local) if spread else None,
            hyperparameters=self.hyperparameters,
        )

    def _watch(
        self, total: int, saved: checkpoints.Checkpoints | None = None
    ) -> Callable[[fitting.Fit], None]:
        """Give what is called between chunks: it keeps the run, and ends it where asked to."""
        last = time.monotonic()

        def watch(now: fitting.Fit) -> None:
            nonlocal last
            if self.on_progress:
                self.on_progress(now, total)
            if not (saved and self.folder):
                return
            _folders.record(self.kept, self.folder)
            ends = self.stop()
            if ends or time.monotonic() - last > 2:
                saved.save(now)
                last = time.monotonic()
            if ends:
                raise StoppedError

        return watch


def _place(fit: fitting.Fit) -> tuple[str, int]:
    return fit.outcome, int(fit.progress.epoch)

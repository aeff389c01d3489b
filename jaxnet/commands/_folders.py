"""The folder of a run of `jaxnet train`: which run it is, and what came of it."""

import contextlib
import dataclasses
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float

from jaxnet import devices, fitting, report, tables
from jaxnet._guards import records
from jaxnet.commands.settings import RECORD, Train
from jaxnet.errors import InputError
from jaxnet.storage import files, models

History = Mapping[str, Float[np.ndarray, " E"]]

# Settings of where a run is and not of what it is: with the others, the table and the device the
# same it gives the same numbers.
_PLACES = ("output", "resume")


def chosen(settings: Train) -> tuple[Train, Path]:
    """Give the settings of the run that is begun or gone on with, and its folder.

    Raises:
        InputError: settings beside a folder to go on in; a folder of another run, or of none.
    """
    if settings.resume is not None:
        given, default = vars(dataclasses.replace(settings, resume=None)), vars(Train())
        others = [name for name, value in given.items() if value != default[name]]
        if others:
            raise InputError(
                "resume: expected nothing else, as a run goes on as it was, got "
                f"{', '.join(others)}; leave that out, or --resume"
            )
        begun = _read(settings.resume / RECORD)
        return dataclasses.replace(begun, resume=settings.resume), settings.resume
    folder = settings.output or Path("runs") / Path(data(settings)).stem
    path = folder / RECORD
    if path.exists() and kept(_read(path)) != kept(settings):
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


def data(settings: Train) -> str:
    """Give what names the table of a run.

    Raises:
        InputError: there is none.
    """
    if settings.data is None:
        raise InputError(
            "data: expected a table, or --resume and the folder of a run, got neither; give one"
        )
    return settings.data


def kept(settings: Train) -> dict[str, object]:
    """Give what a run is, wherever it is."""
    return records.plain(settings, _PLACES)


def record(settings: Train, folder: Path) -> None:
    """Write what the run is, once it was accepted."""
    if not (folder / RECORD).exists():
        files.write_record(folder / RECORD, kept(settings), {})


def _read(path: Path) -> Train:
    """Read what a run is: what is wrong by its field, and then by the seal of the whole."""
    begun = records.read(Train, path, _PLACES)
    files.read(path)
    return begun


def write(
    folder: Path,
    settings: Train,
    fit: fitting.Fit,
    split: tables.Split,
    scores: Mapping[str, Mapping[str, float]],
) -> None:
    """Write the model, the history as CSV, and the picture of the learning curves."""
    about = {
        "settings": kept(settings),
        "activation": settings.activation,
        "encoder": split.encoder.to_json(),
        "scores": {part: _finite(each) for part, each in scores.items()},
        "outcome": fit.outcome,
        "provenance": dataclasses.asdict(devices.provenance(np.float32))
        | {"seed": str(settings.seed), "verified": fit.verified},
    }
    models.write(folder / "model", jax.device_get(fit.params), about)
    _write_history(folder / "history.csv", fit.history)
    _draw_curves(folder / "curves.png", fit.history, Path(data(settings)).name)


def _write_history(path: Path, history: History) -> None:
    lines = [",".join(["epoch", *history])]
    lines += [
        ",".join([str(epoch + 1), *(repr(float(value)) for value in values)])
        for epoch, values in enumerate(zip(*history.values(), strict=True))
    ]
    files.write(path, ("\n".join(lines) + "\n").encode())


def _draw_curves(path: Path, history: History, name: str) -> None:
    curves = {
        {"loss": "training", "validation_loss": "validation"}[name]: values
        for name, values in history.items()
        if name in ("loss", "validation_loss") and len(values)
    }
    report.loss_curves(path, f"{name}: learning curves", curves, "loss", log="y")


def _finite(scores: Mapping[str, float]) -> dict[str, float | None]:
    """Give scores as JSON can hold them: None where there is none."""
    return {name: score if np.isfinite(score) else None for name, score in scores.items()}


@contextlib.contextmanager
def leaving_nothing(folder: Path) -> Iterator[None]:
    """Remove what folders were made, the empty ones, where a run is refused or never begins."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        yield
    except (InputError, SystemExit):
        with contextlib.suppress(OSError):  # One that is not empty, or was never made.
            for each in missing:
                each.rmdir()
        raise

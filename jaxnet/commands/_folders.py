"""The folder of a run of `jaxnet train`: which run it is, and what came of it."""

import contextlib
import dataclasses
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from jaxnet import devices, fitting, network, report, tables
from jaxnet._guards import records
from jaxnet.commands._networks import Fits
from jaxnet.commands.settings import Name, Train
from jaxnet.errors import InputError
from jaxnet.storage import files, fingerprints, models

RECORD = "run.json"
"""What a folder keeps the run as that it is of."""

History = Mapping[str, Float[np.ndarray, " E"]]

# Settings of where a run is, or whether, and not of what it is: with the others, the table and the
# device the same it gives the same numbers.
_PLACES = ("output", "resume", "plan", "hosts")


@dataclasses.dataclass(frozen=True)
class Run(Train):
    """A run as its folder keeps it.

    Args:
        table: the fingerprint of the rows that it is trained and validated on, and their encoder.
    """

    table: Name = ""


def chosen(settings: Train) -> tuple[Train, Path]:
    """Give the settings of the run that is begun or gone on with, and its folder.

    Raises:
        InputError: settings beside a folder to go on in; a folder of another run, or of none.
    """
    if settings.resume is not None:
        own = dataclasses.replace(settings, resume=None, hosts=None)
        given, default = vars(own), vars(Train())
        others = [name for name, value in given.items() if value != default[name]]
        if others:
            raise InputError(
                "resume: expected nothing else, as a run goes on as it was, got "
                f"{', '.join(others)}; leave that out, or --resume"
            )
        begun = _read(settings.resume / RECORD)
        where = {"resume": settings.resume, "hosts": settings.hosts}
        return dataclasses.replace(begun, **where), settings.resume
    folder = settings.output or Path("runs") / Path(data(settings)).stem
    path = folder / RECORD
    if path.exists() and _settings(_read(path)) != _settings(settings):
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


def kept(settings: Train, split: tables.Split) -> dict[str, object]:
    """Give what a run is, wherever it is."""
    # Tables in other units are encoded as the same numbers.
    parts = [fingerprints.of_data((split.train, split.validation)), split.encoder.to_json()]
    return _settings(settings) | {"table": fingerprints.of_record(parts)}


def check_table(folder: Path, kept: Mapping[str, object]) -> None:
    """Refuse the folder of a run on another table, under whose name this one stands now.

    Raises:
        InputError: it is one.
    """
    path = folder / RECORD
    if path.exists() and _read(path).table != kept["table"]:
        raise InputError(
            f"data: expected the table that {folder} was trained on, got {kept['data']} with other "
            "rows or values; restore it, or train anew with another --output"
        )


def record(kept: Mapping[str, object], folder: Path) -> None:
    """Write what the run is, once it was accepted; of many hosts the first."""
    if jax.process_index() == 0 and not (folder / RECORD).exists():
        files.write_record(folder / RECORD, kept, {})


def begun(folder: Path) -> Run | None:
    """Give what the run of a folder is; None where only its model is there."""
    return _read(folder / RECORD) if (folder / RECORD).exists() else None


def _read(path: Path) -> Run:
    """Read what a run is: what is wrong by its field, and then by the seal of the whole."""
    run = records.read(Run, path, _PLACES)
    files.read(path)
    return run


def _settings(settings: Train) -> dict[str, object]:
    return records.plain(settings, (*_PLACES, "table"))


def write(
    folder: Path,
    settings: Train,
    fits: Fits,
    split: tables.Split,
    scores: Mapping[str, Mapping[str, float]],
) -> None:
    """Write the model, the history as CSV, and the picture of the learning curves."""
    about = {
        "run": kept(settings, split),
        "activation": settings.activation,
        "encoder": split.encoder.to_json(),
        "scores": {part: _finite(each) for part, each in scores.items()},
        "outcome": fits.last.outcome,
        "provenance": dataclasses.asdict(devices.provenance(np.float32))
        | {"seed": str(settings.seed), "verified": fits.first.verified},
    }
    models.write(folder / "model", jax.device_get(fits.params), about)
    _write_history(folder / "history.csv", fits.first.history)
    title = f"{Path(data(settings)).name}: learning curves"
    report.picture(folder / "curves.png", title, [_panels(fits.first, split.encoder.target)])


def model(folder: Path) -> tuple[network.Params, str, tables.Encoder]:
    """Read a run's network, its activation, and the encoder of its table.

    Raises:
        InputError: no model, or not that of the run.
    """
    if not (folder / "model").is_dir():
        if (folder / RECORD).is_file():
            again = f"jaxnet train --resume {shlex.quote(str(folder))}"
            raise InputError(
                f"folder: expected a run that has ended, got {folder}, which was stopped and has "
                f"no model yet; go on with it by {again}"
            )
        raise InputError(
            f"folder: expected the folder of a run of jaxnet train, got {folder} without a model; "
            "give another"
        )
    params, about = models.read(folder / "model")
    known = about if isinstance(about, dict) else {}
    _check_run(folder, known.get("run"))
    try:
        activation = records.typed(str, known.get("activation"), "activation")
        encoder = tables.Encoder.from_json(known.get("encoder"))
        sizes = [encoder.inputs, *(layer.weight.shape[-2] for layer in params)]
        if not params or sizes[-1] != encoder.outputs or sizes[0] != params[0].weight.shape[-1]:
            ends = f"{encoder.inputs} inputs and {encoder.outputs} outputs"
            raise InputError(f"encoder: expected that of the network, got one of {ends}")
    except InputError as error:
        raise InputError(
            f"folder: expected the model of a run of jaxnet train in {folder}, got another: {error}"
            "; train anew"
        ) from error
    return params, activation, encoder


def _check_run(folder: Path, trained: Any) -> None:
    """Refuse a model that another run trained than the one that its folder is of."""
    if not (folder / RECORD).exists():
        return
    run = _read(folder / RECORD)
    ours = _settings(run) | {"table": run.table}
    theirs = trained if isinstance(trained, dict) else {}
    if others := [name for name, value in ours.items() if theirs.get(name) != value]:
        raise InputError(
            f"folder: expected the model of the run in {folder / RECORD}, got one of another "
            f"{', '.join(others)}; write its own by jaxnet train --resume "
            f"{shlex.quote(str(folder))}"
        )


def _write_history(path: Path, history: History) -> None:
    lines = [",".join(["epoch", *history])]
    lines += [
        ",".join([str(epoch + 1), *(repr(float(value)) for value in values)])
        for epoch, values in enumerate(zip(*history.values(), strict=True))
    ]
    files.write(path, ("\n".join(lines) + "\n").encode())


def _panels(fit: fitting.Fit, target: tables.Target) -> list[report.Panel]:
    """Draw the losses, and beside them the metric; numbers' losses are half of squared errors."""
    kept = int(fit.progress.best_epoch)
    named = {"validation": "validation_loss", "training": "loss"}
    history = {name: values for name, values in fit.history.items() if len(values)}
    losses = {part: history[name] for part, name in named.items() if name in history}
    panels = [_panel("loss", losses, kept, "y")]
    if target.kind == "regression":
        errors = {part: np.sqrt(2 * each) * target.deviation for part, each in losses.items()}
        panels.append(_panel("rmse", errors, kept))
    elif "validation_accuracy" in history:
        accuracy = {"validation": history["validation_accuracy"]}
        panels.append(_panel("accuracy", accuracy, kept))
    return panels


def _panel(name: str, curves: History, kept: int, log: str = "") -> report.Panel:
    lines = [
        report.Curve(part, np.arange(1, len(values) + 1), values) for part, values in curves.items()
    ]
    line = ("epoch kept", kept) if kept else None
    return report.Panel("", "epoch", name, lines, log=log, line=line)


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

"""Train a network on a table: progress, checkpoints, and a model that other programs can read."""

import contextlib
import dataclasses
import functools
import json
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import jax
import numpy as np
import tyro
from jaxtyping import Array, Float

from experiments import command, describe
from jaxnet import devices, losses, network, optimizers, report, training
from jaxnet.errors import InputError
from jaxnet.storage import checkpoints, files, fingerprints, models
from jaxnet.tables import tables


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a run is: with the same settings, table and device it gives the same numbers."""

    data: str
    target: str = "target"
    task: Literal["classification", "regression"] | None = None
    hidden: tuple[int, ...] = (64, 64)
    activation: str = "relu"
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    epochs: int = 50
    batch_size: int = 32
    patience: int | None = None
    validation: float = 0.2
    test: float = 0.2
    seed: int = 0
    devices: int = 1


class Interrupted(Exception):  # noqa: N818 (no error)
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

    fit: training.Fit
    split: tables.Split
    scores: dict[str, dict[str, float]]
    baseline: dict[str, float]
    seconds: float
    skipped: list[str]


@functools.cache
def _value_and_grad(task: str, activation: str) -> training.ValueAndGrad:
    return jax.value_and_grad(models.loss(task, activation))


def run(
    settings: Settings,
    folder: Path | None = None,
    on_progress: Any = None,
    stop: Any = lambda: False,
) -> Result:
    """Read the table, train, and score each part; go on from the folder's newest checkpoint.

    Args:
        settings: what to train, on what.
        folder: where checkpoints are kept; none are where None.
        on_progress: called with a `training.Fit` between compiled chunks.
        stop: asked there whether to stop; the checkpoint is then written first.

    Raises:
        InputError: settings, a table or a checkpoint that cannot be trained on.
        Interrupted: `stop` said so.
    """
    split = tables.split(
        tables.read(settings.data),
        settings.target,
        task=settings.task,
        validation=settings.validation,
        test=settings.test,
        seed=settings.seed,
        source=settings.data,
    )
    task = split.encoder.target.kind
    value_and_grad = _value_and_grad(task, settings.activation)
    make = optimizers.by_name(settings.optimizer)
    sizes = [split.encoder.inputs, *settings.hidden, split.encoder.outputs]
    params = network.init(jax.random.key(settings.seed), sizes)
    arguments: dict[str, Any] = {
        "epochs": settings.epochs,
        "batch_size": min(settings.batch_size, len(split.train[0])),
        "seed": settings.seed,
        "patience": settings.patience,
        "learning_rate": settings.learning_rate,
    }
    if len(split.validation[0]):
        arguments["validation"] = split.validation
        if task == "classification":
            arguments["metrics"] = {"accuracy": models.accuracy(settings.activation)}
    if settings.devices != 1:
        arguments["sharding"] = devices.batch_sharding(settings.devices)

    def fit(**more: Any) -> training.Fit:
        return training.fit(value_and_grad, make, params, split.train, **arguments, **more)

    began, skipped = time.monotonic(), []
    if folder is None:
        ended = fit(on_progress=on_progress)
    else:
        kept = dataclasses.asdict(settings) | {"epochs": None, "sizes": sizes}
        kept["table"] = fingerprints.of_data((split.train, split.validation))
        with checkpoints.Checkpoints(folder / "checkpoints", json.loads(json.dumps(kept))) as saved:
            fresh = training.begin(make, params, learning_rate=settings.learning_rate)
            found = saved.restore(fresh)
            resume, skipped = found or (fresh, [])
            last = time.monotonic()

            def watch(now: training.Fit) -> None:
                nonlocal last
                _record(settings, folder)
                ends = stop()
                if ends or time.monotonic() - last > 2:
                    saved.save(now)
                    last = time.monotonic()
                if on_progress:
                    on_progress(now)
                if ends:
                    raise Interrupted

            ended = fit(resume=resume, on_progress=watch)
            _record(settings, folder)
            saved.save(ended)
    seconds = time.monotonic() - began
    return Result(
        ended, split, _scores(ended.params, settings, split), _baseline(split), seconds, skipped
    )


@functools.partial(jax.jit, static_argnums=0)
def _evaluate(
    loss: losses.BatchLoss, params: network.Params, x: Array, y: Array
) -> tuple[Array, Array]:
    outputs = jax.vmap(loss.forward, in_axes=(None, 0))(params, x)
    return outputs, jax.vmap(loss.example, in_axes=(None, 0, 0))(params, x, y)


def _scores(
    params: network.Params, settings: Settings, split: tables.Split
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


def show(settings: Settings, result: Result) -> None:
    """Print the summary of a run that ended."""
    encoder, fit = result.split.encoder, result.fit
    classes = f", {encoder.outputs} classes" if encoder.target.kind == "classification" else ""
    sizes = [encoder.inputs, *settings.hidden, encoder.outputs]
    counts = [len(part[0]) for part in result.split[:3]]
    print(f"{settings.data}: {encoder.target.kind} of {encoder.target.name!r}{classes}")
    print(
        f"{sum(counts)} rows ({counts[0]} train, {counts[1]} validation, {counts[2]} test), "
        f"{len(encoder.columns)} columns as {encoder.inputs} inputs"
    )
    print(
        f"network {'-'.join(map(str, sizes))}, {settings.activation}; {settings.optimizer}, "
        f"learning rate {settings.learning_rate}, batch {settings.batch_size}, "
        f"seed {settings.seed}"
    )
    print(describe(dataclasses.asdict(devices.provenance(np.float32))))
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


def keep(settings: Settings, result: Result, folder: Path) -> None:
    """Write the model, the history as CSV, and the picture of the learning curves."""
    about = {
        "settings": dataclasses.asdict(settings),
        "activation": settings.activation,
        "encoder": result.split.encoder.to_json(),
        "scores": result.scores,
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
    (folder / "history.csv").write_text("\n".join(lines) + "\n")
    curves = {
        {"loss": "training", "validation_loss": "validation"}[name]: values
        for name, values in history.items()
        if name in ("loss", "validation_loss") and len(values)
    }
    title = f"{Path(settings.data).name}: learning curves"
    report.loss_curves(folder / "curves.png", title, curves, "loss", log="y")


def main(
    data: Annotated[str | None, tyro.conf.Positional] = None,
    target: str = "target",
    task: Literal["classification", "regression"] | None = None,
    hidden: tuple[int, ...] = (64, 64),
    activation: str = "relu",
    optimizer: str = "adam",
    learning_rate: float = 1e-3,
    epochs: int = 50,
    batch_size: int = 32,
    patience: int | None = None,
    validation: float = 0.2,
    test: float = 0.2,
    seed: int = 0,
    devices: int = 1,
    output: Path | None = None,
    resume: Path | None = None,
) -> None:
    """Train a fully connected network on a table.

    Args:
        data: A .csv, .tsv, .parquet or .npz file, or digits, wine, breast_cancer, iris, diabetes.
        target: The column to predict.
        task: What to do with it; inferred from the column where not given.
        hidden: Sizes of the hidden layers.
        activation: Of the hidden layers: relu, tanh, sigmoid, gelu, silu or softplus.
        optimizer: Any optimizer of optax that takes a learning rate.
        learning_rate: Of the optimizer.
        epochs: At most so many passes over the training rows.
        batch_size: Rows of a step.
        patience: Stop after so many epochs without a lower validation loss.
        validation: Share of the rows that choose the best epoch.
        test: Share of the rows that are scored once, at the end.
        seed: Of the split, the first parameters and the order of the rows.
        devices: Spread each batch over so many local devices.
        output: The folder of the run; runs/ and the name of the data where not given.
        resume: The folder of a run to go on with, everything else as it was.
    """
    if (resume is None) == (data is None):
        raise InputError(
            "data: wanted a table, or --resume and the folder of a run; got "
            f"{'neither' if data is None else 'both'}"
        )
    if resume is not None:
        folder, settings = resume, _settings(resume)
    else:
        settings = Settings(
            str(data),
            target,
            task,
            hidden,
            activation,
            optimizer,
            learning_rate,
            epochs,
            batch_size,
            patience,
            validation,
            test,
            seed,
            devices,
        )
        folder = output or Path("runs") / Path(settings.data).stem
        if (folder / "run.json").exists() and _settings(folder) != settings:
            raise InputError(
                f"output: wanted a folder of its own; {folder} holds another run; go on with it by "
                f"--resume {folder}, or give another --output"
            )
    _start(settings.devices)
    with (
        _leaving_nothing(folder / "checkpoints"),
        _signals() as asked,
        report.progress("epoch") as told,
    ):
        try:
            result = run(
                settings,
                folder,
                lambda fit: told(*_said(fit), settings.epochs),
                lambda: bool(asked),
            )
        except Interrupted:
            again = f"python -m experiments.train --resume {shlex.quote(str(folder))}"
            print(f"stopped; the checkpoint is written; go on with: {again}", file=sys.stderr)
            raise SystemExit(128 + asked[0]) from None
    keep(settings, result, folder)
    show(settings, result)
    print(f"\nModel, history and curves: {folder}")


def _said(fit: training.Fit) -> tuple[str, int]:
    last = {name: values[-1] for name, values in fit.history.items() if len(values)}
    losses = ", ".join(f"{name} {value:.4g}" for name, value in last.items())
    return losses, int(fit.progress.epoch)


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect the signals that ask a run to stop, instead of stopping there and then."""
    asked: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(n, lambda number, frame: asked.append(number)) for n in numbers]
    try:
        yield asked
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _start(count: int) -> None:
    """Make CPU cores devices, before JAX is first used, and see that there is a device."""
    if count > 1:
        jax.config.update("jax_num_cpu_devices", count)
    devices.first()


@contextlib.contextmanager
def _leaving_nothing(folder: Path) -> Iterator[None]:
    """Remove what folders were made, the empty ones, where a run is refused."""
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        yield
    except InputError:
        with contextlib.suppress(OSError):  # One that is not empty, or was never made.
            for each in made:
                each.rmdir()
        raise


def _record(settings: Settings, folder: Path) -> None:
    """Write what the run is, once it was accepted."""
    path = folder / "run.json"
    if not path.exists():
        files.write(path, json.dumps(dataclasses.asdict(settings), indent=1).encode())


def _settings(folder: Path) -> Settings:
    try:
        found = json.loads((folder / "run.json").read_text())
        return Settings(**found | {"hidden": tuple(found["hidden"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"resume: wanted the folder of a run; got {folder}: {error}") from error


if __name__ == "__main__":
    command(main, "experiments.train")

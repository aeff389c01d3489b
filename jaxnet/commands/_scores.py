"""How good a network is on each part of a table, and how good what knows no features is."""

import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from jaxnet import losses, network, tables
from jaxnet._models.predicting import predict
from jaxnet.commands import _networks
from jaxnet.storage import models

PARTS = ("train", "validation", "test")


def of_network(
    params: network.Params, activation: str, split: tables.Split, names: Sequence[str] = PARTS
) -> dict[str, dict[str, float]]:
    """Score the named parts that have rows, each of which counts its weight where it has one.

    Returns:
        By part, by name: "loss", and "accuracy" or "rmse" and "r2".
    """
    parts = [getattr(split, name) for name in names]
    x, y, *weights = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    task = split.encoder.target.kind
    example_loss = models.loss(task, activation).example_loss
    loss = losses.BatchLoss(_networks.forward(params, task, activation), example_loss)
    outputs, values = predict(_judging(loss), params, (x, y))
    ends = np.cumsum([len(part[0]) for part in parts])[:-1]
    cut = [np.split(array, ends) for array in (outputs, values, y, *weights)]
    return {
        name: {"loss": _mean(value, *weight)} | _judge(split.encoder, output, target, *weight)
        for name, output, value, target, *weight in zip(names, *cut, strict=True)
        if len(target)
    }


def of_baseline(split: tables.Split) -> dict[str, float]:
    """Score what knows nothing of the features, on the last part that has rows."""
    *_, (_, y, *weights) = (part for part in split[:3] if len(part[1]))
    _, known, *counts = split.train
    outputs = np.zeros((len(y), split.encoder.outputs), np.float32)
    if split.encoder.target.kind == "classification":
        outputs[:, np.bincount(known, *counts).argmax()] = 1
    else:
        outputs[:] = _mean(known, *counts)
    return _judge(split.encoder, outputs, y, *weights)


@functools.cache
def _judging(loss: losses.BatchLoss) -> losses.Forward:
    """Give the outputs and the loss of one example."""
    return lambda params, row: (loss.forward(params, row[0]), loss.example(params, *row))


def _judge(
    encoder: tables.Encoder, outputs: Float[np.ndarray, "N O"], y: np.ndarray, *weights: np.ndarray
) -> dict[str, float]:
    if encoder.target.kind == "classification":
        return {"accuracy": _mean(outputs.argmax(-1) == y, *weights)}
    error = _mean((outputs - y) ** 2, *weights)
    spread = _mean((y - _mean(y, *weights)) ** 2, *weights)
    # Targets are standardised: of less they are all one but for rounding.
    r2 = 1 - error / spread if spread > np.finfo(float).eps else float("nan")
    return {"rmse": error**0.5 * encoder.target.deviation, "r2": r2}


def _mean(each: np.ndarray, *weights: np.ndarray) -> float:
    """Give the mean of rows, which count their weights where they have some."""
    return float(np.average(each.ravel().astype(float), weights=weights[0] if weights else None))

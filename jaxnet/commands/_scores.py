"""How good a network is on each part of a table, and how good what knows no features is."""

import functools

import numpy as np
from jaxtyping import Float

from jaxnet import losses, network, tables
from jaxnet._models.predicting import predict
from jaxnet.storage import models


def of_network(
    params: network.Params, activation: str, split: tables.Split
) -> dict[str, dict[str, float]]:
    """Score every part that has rows.

    Returns:
        By part, by name: "loss", and "accuracy" or "rmse" and "r2".
    """
    names = ("train", "validation", "test")
    parts = [split.train, split.validation, split.test]
    x, y = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    loss = models.loss(split.encoder.target.kind, activation)
    outputs, values = predict(_judging(loss), params, (x, y))
    ends = np.cumsum([len(part[0]) for part in parts])[:-1]
    cut = [np.split(array, ends) for array in (outputs, values, y)]
    return {
        name: {"loss": float(value.mean())} | _judge(split.encoder, output, target)
        for name, output, value, target in zip(names, *cut, strict=True)
        if len(target)
    }


def of_baseline(split: tables.Split) -> dict[str, float]:
    """Score, on the test part, what knows nothing of the features."""
    y = split.test[1] if len(split.test[1]) else split.train[1]
    outputs = np.zeros((len(y), split.encoder.outputs), np.float32)
    if split.encoder.target.kind == "classification":
        outputs[:, np.bincount(split.train[1]).argmax()] = 1
    return _judge(split.encoder, outputs, y)


@functools.cache
def _judging(loss: losses.BatchLoss) -> losses.Forward:
    """Give the outputs and the loss of one example."""
    return lambda params, row: (loss.forward(params, row[0]), loss.example(params, *row))


def _judge(
    encoder: tables.Encoder, outputs: Float[np.ndarray, "N O"], y: np.ndarray
) -> dict[str, float]:
    if encoder.target.kind == "classification":
        return {"accuracy": float(np.mean(outputs.argmax(-1) == y))}
    error, scale = outputs - y, encoder.target.deviation
    spread = np.mean((y - y.mean()) ** 2)
    r2 = 1 - float(np.mean(error**2) / spread) if spread else float("nan")
    return {"rmse": float(np.sqrt(np.mean(error**2))) * scale, "r2": r2}

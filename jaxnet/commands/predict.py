"""Apply a model that `jaxnet train` wrote to a table."""

import csv
import io
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxnet import devices, tables
from jaxnet._guards import records
from jaxnet._models.predicting import predict
from jaxnet.commands import _folders
from jaxnet.commands.settings import Predict
from jaxnet.errors import InputError
from jaxnet.storage import files, models


def run(settings: Predict) -> dict[str, list[Any]]:
    """Predict each row of a table, column by column: the target, and a class's probability.

    Raises:
        InputError: no model there, or a table whose columns are not those it was trained on.
    """
    records.check(settings)
    folder, data = settings.folder, settings.data
    params, activation, encoder = _folders.model(folder)
    table = tables.read(data)
    x = encoder.features(table, data)
    outputs = predict(models.forward(activation), params, x)
    encoder.check_outputs(outputs, table, data)
    target = encoder.target
    predicted = {target.name: list(encoder.decode(outputs))}
    if target.kind == "classification":
        share = "probability" if target.name != "probability" else "its probability"
        predicted[share] = np.max(jax.nn.softmax(outputs), axis=-1).tolist()
    return predicted


def main(settings: Predict) -> None:
    """Predict every row of a table, and write a CSV file with one line for each."""
    devices.first()
    output = settings.output
    if output.suffix != ".csv" or output.is_dir():
        raise InputError(f"output: expected a file ending in .csv, got {output}; name one")
    if output.exists() and Path(settings.data).exists() and output.samefile(settings.data):
        raise InputError(f"output: expected another file than the table, got {output}; rename it")
    predicted = run(settings)
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(predicted)
    writer.writerows(zip(*predicted.values(), strict=True))
    files.write(output, table.getvalue().encode())
    print(f"{len(next(iter(predicted.values())))} predictions: {output}")

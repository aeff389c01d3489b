"""Apply a model that `jaxnet train` wrote to a table."""

import csv
import io
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxnet import devices, tables
from jaxnet._guards import records
from jaxnet._models.predicting import predict
from jaxnet.commands import _folders
from jaxnet.commands.settings import Predict
from jaxnet.errors import InputError
from jaxnet.storage import files, models


class Predictions(NamedTuple):
    """What was predicted.

    Attributes:
        columns: by name: those asked for, the target, and of classes the probability of the one
            predicted and of each; and `unlike`, what of a row is unlike the training rows, where
            there is such a row.
        notes: what there is to say of the table.
    """

    columns: dict[str, list[Any]]
    notes: list[str]


def run(settings: Predict) -> Predictions:
    """Predict each row of a table.

    Raises:
        InputError: no model there, or a table without columns it was trained on or asked for.
    """
    records.check(settings)
    folder, data = settings.folder, settings.data
    params, activation, encoder = _folders.model(folder)
    table = tables.read(data)
    if missing := [name for name in settings.id if name not in table.column_names]:
        raise InputError(
            f"id: expected columns of {data}, got {', '.join(missing)}; give some of "
            f"{', '.join(table.column_names)}"
        )
    outputs = predict(models.forward(activation), params, encoder.features(table, data))
    target, decoded = encoder.target, list(encoder.decode(outputs))
    columns = {name: table[name].to_pylist() for name in settings.id} | {target.name: decoded}
    if target.kind == "classification":
        shares = np.asarray(jax.nn.softmax(outputs))
        columns["probability"] = shares.max(axis=-1).tolist()
        for label, share in zip(target.labels, shares.T, strict=True):
            columns[f"probability of {label}"] = share.tolist()
    notes, unlike = encoder.doubts(table, data)
    return Predictions(columns | ({"unlike": unlike} if any(unlike) else {}), notes)


def main(settings: Predict) -> None:
    """Predict every row of a table, and write a CSV file with one line for each."""
    devices.first()
    output = settings.output
    if output.suffix != ".csv" or output.is_dir():
        raise InputError(f"output: expected a file ending in .csv, got {output}; name one")
    if output.exists() and Path(settings.data).exists() and output.samefile(settings.data):
        raise InputError(f"output: expected another file than the table, got {output}; rename it")
    predicted, notes = run(settings)
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(predicted)
    writer.writerows(zip(*predicted.values(), strict=True))
    files.write(output, table.getvalue().encode())
    for note in notes:
        print(f"note: {note}")
    print(f"{len(next(iter(predicted.values())))} predictions: {output}")

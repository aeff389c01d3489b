"""Apply a model that `jaxnet train` wrote to a table."""

import csv
import io
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from jaxnet import devices, tables
from jaxnet._guards import records
from jaxnet._models.predicting import predict
from jaxnet.commands import _folders, _networks
from jaxnet.commands.settings import Predict
from jaxnet.errors import InputError
from jaxnet.storage import files
from jaxnet.tables.cells import is_delimited


class Predictions(NamedTuple):
    """What was predicted.

    Attributes:
        columns: by name: those asked for, the target, of several networks the `spread` of what
            they say, of classes the probability of the one predicted and of each; and `unlike`,
            what of a row is unlike the training rows, where there is such a row.
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
    table = tables.read(data, **_ways(settings))
    target = encoder.target
    others = [name for name in table.column_names if name != target.name]
    if missing := [name for name in settings.id if name not in others]:
        raise InputError(
            f"id: expected columns of {data} beside the target, got {', '.join(missing)}; give "
            f"some of {', '.join(others)}"
        )
    x, task = encoder.features(table, data), target.kind
    outputs = predict(_networks.forward(params, task, activation), params, x)
    columns = {name: table[name].to_pylist() for name in settings.id}
    columns[target.name] = list(encoder.decode(outputs))
    notes, unlike = encoder.doubts(table, data)
    if _networks.several(params):
        each = predict(_networks.each(activation), params, x)
        _add(columns, "spread", _spread(each, outputs, target))
    if task == "classification":
        shares = np.asarray(jax.nn.softmax(outputs))
        _add(columns, "probability", shares.max(axis=-1))
        for label, share in zip(target.labels, shares.T, strict=True):
            _add(columns, f"probability of {label}", share)
    if any(unlike):
        _add(columns, "unlike", np.array(unlike))
    return Predictions(columns, notes)


def _ways(settings: Predict) -> dict[str, Any]:
    """Give how a table is read: as is asked, else text as what the model was trained on."""
    asked = {name: getattr(settings, name) for name in ("delimiter", "encoding", "header")}
    begun = _folders.begun(settings.folder) if is_delimited(settings.data) else None
    return {
        name: getattr(begun, name, None) if value is None else value
        for name, value in asked.items()
    }


def _spread(
    each: Float[np.ndarray, "N M O"], outputs: Float[np.ndarray, "N O"], target: tables.Target
) -> Float[np.ndarray, " N"]:
    """Give the deviation of what networks say: of the probability of the class, or the number."""
    if target.kind == "regression":
        return each[..., 0].std(axis=1) * target.deviation
    shares = np.asarray(jax.nn.softmax(each)).std(axis=1)
    return shares[np.arange(len(shares)), outputs.argmax(axis=1)]


def _add(columns: dict[str, list[Any]], name: str, values: np.ndarray) -> None:
    """Add a column under a name of its own: what was asked for, or the target, may have it."""
    while name in columns:
        name = f"its {name}"
    columns[name] = values.tolist()


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

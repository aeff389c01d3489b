"""Apply a model that `jaxnet train` wrote to a table."""

import csv
import io
import shlex
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxnet import devices, network, tables
from jaxnet._guards import records
from jaxnet.commands.settings import RECORD, Predict
from jaxnet.errors import InputError
from jaxnet.storage import files, models


def run(settings: Predict) -> dict[str, list[Any]]:
    """Predict each row of a table, column by column: the target, and a class's probability.

    Raises:
        InputError: no model there, or a table whose columns are not those it was trained on.
    """
    records.check(settings)
    folder, data = settings.folder, settings.data
    params, activation, encoder = _model(folder)
    table = tables.read(data)
    outputs = models.predict(params, activation, encoder.features(table, data))
    encoder.check_outputs(outputs, table, data)
    predicted = {encoder.target.name: list(encoder.decode(outputs))}
    if encoder.target.kind == "classification":
        predicted["probability"] = np.max(jax.nn.softmax(outputs), axis=-1).tolist()
    return predicted


def _model(folder: Path) -> tuple[network.Params, str, tables.Encoder]:
    """Read a run's network, its activation, and the encoder of its table."""
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
    try:
        known = about if isinstance(about, dict) else {}
        activation = records.typed(str, known.get("activation"), "activation")
        encoder = tables.Encoder.from_json(known.get("encoder"))
        sizes = [encoder.inputs, *(len(layer.bias) for layer in params)]
        if not params or sizes[-1] != encoder.outputs or sizes[0] != params[0].weight.shape[-1]:
            ends = f"{encoder.inputs} inputs and {encoder.outputs} outputs"
            raise InputError(f"encoder: expected that of the network, got one of {ends}")
    except InputError as error:
        raise InputError(
            f"folder: expected the model of a run of jaxnet train in {folder}, got another: {error}"
            "; train anew"
        ) from error
    return params, activation, encoder


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

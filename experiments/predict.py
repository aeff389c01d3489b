"""Apply a model that `experiments.train` wrote to a table."""

import csv
import io
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import tyro

from experiments import command
from jaxnet import devices
from jaxnet.errors import InputError
from jaxnet.storage import files, models
from jaxnet.tables import tables


def run(folder: Path, data: str) -> dict[str, list[Any]]:
    """Predict each row of a table, column by column: the target, and a class's probability.

    Raises:
        InputError: no model there, or a table whose columns are not those it was trained on.
    """
    params, about = models.read(folder / "model")
    try:
        activation, encoder = about["activation"], about["encoder"]
    except (KeyError, TypeError) as error:
        raise InputError(
            f"folder: wanted a run of experiments.train; the model of {folder} has no {error}"
        ) from error
    encoder = tables.Encoder.from_json(encoder)
    outputs = models.predict(params, activation, encoder.features(tables.read(data), data))
    predicted = {encoder.target.name: list(encoder.decode(outputs))}
    if encoder.target.kind == "classification":
        predicted["probability"] = np.max(jax.nn.softmax(outputs), axis=-1).tolist()
    return predicted


def main(
    folder: Annotated[Path, tyro.conf.Positional],
    data: Annotated[str, tyro.conf.Positional],
    output: Path = Path("predictions.csv"),
) -> None:
    """Predict every row of a table with a trained model.

    Args:
        folder: The folder of a run of experiments.train.
        data: A table with the columns it was trained on, the target present or absent.
        output: Where to write the predictions, a CSV file with one line for each row.
    """
    devices.first()
    if output.suffix != ".csv" or output.is_dir():
        raise InputError(f"output: wanted a file ending in .csv; got {output}")
    predicted = run(folder, data)
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(predicted)
    writer.writerows(zip(*predicted.values(), strict=True))
    files.write(output, table.getvalue().encode())
    print(f"{len(next(iter(predicted.values())))} predictions: {output}")


if __name__ == "__main__":
    command(main, "experiments.predict")

"""Write a model that `jaxnet train` wrote as an ONNX file."""

from jaxnet import devices, onnx
from jaxnet._guards import records
from jaxnet.commands import _folders, _networks
from jaxnet.commands.settings import Export
from jaxnet.errors import InputError
from jaxnet.storage import models


def run(settings: Export) -> None:
    """Write the model, with the encoding of its table's columns.

    Raises:
        InputError: no model there, or an output that is no ONNX file.
    """
    records.check(settings)
    output = settings.output
    if output.suffix != ".onnx" or output.is_dir():
        raise InputError(f"output: expected a file ending in .onnx, got {output}; name one")
    params, activation, encoder = _folders.model(settings.folder)
    if _networks.several(params):
        raise InputError(
            f"folder: expected one network, got the {len(params[0].weight)} in {settings.folder}; "
            "train without --ensemble"
        )
    onnx.write(output, params, models.activation_by_name(activation), encoder=encoder)


def main(settings: Export) -> None:
    """Write the model, and say where."""
    devices.first()
    run(settings)
    print(f"Model: {settings.output}")

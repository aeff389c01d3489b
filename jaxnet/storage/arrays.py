"""Arrays with a record of what they are, in one sealed file that other programs read.

The format is safetensors: a JSON header and then the bytes of the arrays; the record is JSON in the
header's `__metadata__`. It is written here and not by the library of that name, whose reader for
NumPy knows neither bfloat16 nor float8, and which puts the metadata in any order: here the same
arrays make the same bytes, and the seal stands where it is found before anything is parsed.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxnet.errors import InputError
from jaxnet.storage import files

# The dtypes that the format has. An array of any other is kept as bytes, along one more axis.
_NAMES = {
    **{f"int{bits}": f"I{bits}" for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": f"U{bits}" for bits in (8, 16, 32, 64)},
    **{f"float{bits}": f"F{bits}" for bits in (16, 32, 64)},
    **{"bool": "BOOL", "bfloat16": "BF16", "complex64": "C64"},
    **{"float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2"},
}


def write(path: str | Path, arrays: Mapping[str, np.ndarray], record: Any) -> None:
    """Write arrays of any dtype that JAX has, and a record of them; whole or not at all.

    Raises:
        InputError: an array that is not of numbers; a record that is not plain JSON.
        OSError: a place that cannot be written to, or is full; an older file stays as it was.
    """
    files.write(path, pack(Path(path).name, arrays, record))


def read(path: str | Path) -> tuple[dict[str, np.ndarray], Any]:
    """Read what `write` wrote, to the last bit and in its order: the arrays, and the record.

    Raises:
        InputError: no file, or one that is not what was written.
    """
    return unpack(files.read(path))


def pack(name: str, arrays: Mapping[str, np.ndarray], record: Any) -> bytearray:
    """Give the content of a file of this name."""
    dtypes = {key: array.dtype.name for key, array in arrays.items()}
    metadata = {"sha256": files.BLANK, "record": files.to_json(record)}
    header: dict[str, Any] = {"__metadata__": metadata | {"dtypes": json.dumps(dtypes)}}
    blocks, end = [], 0
    for key, array in arrays.items():
        if key == "__metadata__":
            raise InputError(f"arrays: expected other names than {key}, got it; rename that array")
        kept, shape = _NAMES.get(dtypes[key]), list(array.shape)
        if not (kept or jnp.issubdtype(array.dtype, jnp.number)):
            raise InputError(
                f"{key}: expected an array of numbers, got {array.dtype}; leave it out"
            )
        if not kept:
            kept, shape = "U8", [*shape, array.dtype.itemsize]
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        blocks.append(np.ascontiguousarray(little).reshape(-1).view(np.uint8).data)
        start, end = end, end + array.nbytes
        header[key] = {"dtype": kept, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return files.seal(name, bytearray().join([len(text).to_bytes(8, "little"), text, *blocks]))


def unpack(content: bytes) -> tuple[dict[str, np.ndarray], Any]:
    """Give the arrays and the record of a file's content."""
    first = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:first])
    metadata = header.pop("__metadata__")
    arrays = {}
    for key, dtype in json.loads(metadata["dtypes"]).items():
        shape = header[key]["shape"] if dtype in _NAMES else header[key]["shape"][:-1]
        start = first + header[key]["data_offsets"][0]
        # A copy, for the rest of the file to be let go.
        arrays[key] = np.ndarray(shape, dtype, content, start).copy()
    return arrays, json.loads(metadata["record"])

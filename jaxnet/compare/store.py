"""What is kept of a comparison on disk: its protocol, what is done of it, and all its runs.

Shapes: E measurements along a run.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from jaxnet._guards import checks
from jaxnet.compare.runs import Runs
from jaxnet.errors import InputError
from jaxnet.storage import files, fingerprints

checks.extra("compare", "pyarrow")

import pyarrow as pa  # noqa: E402
from pyarrow import parquet  # noqa: E402

_PROTOCOL, _RESULT = "protocol.json", "comparison.json"
_TABLES = ("runs", "curves")
# The columns of both tables, and those of the runs alone.
_NAMED, _COUNTED = ("learning_rate", "seed"), ("diverged", "evaluations")


def keep(folder: Path, protocol: dict[str, Any]) -> Path:
    """Give the folder of finished tiles; refuse one that holds another comparison.

    Raises:
        InputError: naming what differs.
    """
    path, written = folder / _PROTOCOL, json.loads(files.to_json(protocol, "protocol"))
    if path.exists():
        try:
            found, _ = files.read_record(path)
        except InputError as error:
            raise InputError(f"folder: wanted the protocol of a comparison; got {error}") from error
        named = (written | found).keys() - {"title"}
        differ = sorted(name for name in named if written.get(name) != found.get(name))
        if differ:
            raise InputError(
                f"folder: wanted a folder of its own; {folder} holds a comparison with another "
                f"{', '.join(differ)}; give another folder, or delete this one"
            )
    # Named by the protocol, by which a tile tells whose it is.
    whose = fingerprints.of_record(
        [[name, written[name]] for name in sorted(written.keys() - {"title"})]
    )
    tiles = folder / "tiles" / whose[:24]
    try:
        tiles.mkdir(parents=True, exist_ok=True)
        files.clear(tiles)
        files.write_record(path, protocol, {})
    except OSError as error:
        raise InputError(f"folder: wanted a place to write to; got {folder}: {error}") from error
    return tiles


def write(
    folder: Path,
    protocol: dict[str, Any],
    steps: Int[np.ndarray, " E"],
    runs: list[Runs],
    provenance: dict[str, str],
    seconds: dict[str, dict[str, float]],
    reasons: dict[str, str],
) -> None:
    """Write all that the answers are of: two tables, and then what else there is, as JSON.

    Raises:
        OSError: a place that cannot be written to.
    """
    contents: dict[str, bytes] = {}
    ends, curves = zip(*(_tables(each, steps) for each in runs), strict=True)
    for name, tables in zip(_TABLES, (ends, curves), strict=True):
        sink = pa.BufferOutputStream()
        parquet.write_table(pa.concat_tables(tables, promote_options="default"), sink)
        contents[f"{name}.parquet"] = sink.getvalue().to_pybytes()
    record = {
        "protocol": protocol,
        "provenance": provenance,
        "seconds": seconds,
        "reasons": reasons,
        "steps": steps.tolist(),
    }
    files.write_record(folder / _RESULT, record, contents)


def _tables(runs: Runs, steps: Int[np.ndarray, " E"]) -> tuple[pa.Table, pa.Table]:
    """Give a row for each run, and a row for each measurement of a run."""
    count = len(runs.seed)
    named = {"optimizer": [runs.optimizer] * count, "phase": [runs.phase] * count}
    named |= {name: getattr(runs, name) for name in _NAMED}
    ends = {name: getattr(runs, name) for name in _COUNTED}
    ends |= {f"test_{name}": values for name, values in runs.test.items()}
    curves = {"loss": runs.loss}
    curves |= {f"validation_{name}": values for name, values in runs.validation.items()}
    repeated = {name: np.repeat(values, len(steps)) for name, values in named.items()}
    repeated["step"] = np.tile(steps, count)
    flat = {name: values.reshape(-1) for name, values in curves.items()}
    return pa.table(named | ends), pa.table(repeated | flat)


Read = tuple[
    dict[str, Any],
    Int[np.ndarray, " E"],
    list[Runs],
    dict[str, str],
    dict[str, dict[str, float]],
    dict[str, str],
]


def read(folder: Path) -> Read:
    """Give what `write` wrote, in the order that it takes it.

    Raises:
        InputError: a folder without all of it.
    """
    try:
        record, contents = files.read_record(folder / _RESULT)
    except InputError as error:
        raise InputError(f"folder: wanted a finished comparison; got {error}") from error
    try:
        ends, curves = (
            parquet.read_table(pa.BufferReader(contents[f"{name}.parquet"])) for name in _TABLES
        )
        return _read(record, ends, curves)
    except KeyError as error:
        raise InputError(
            f"folder: wanted a finished comparison of this version; {folder} has no {error}; make "
            "it again"
        ) from error


def _read(record: dict[str, Any], ends: pa.Table, curves: pa.Table) -> Read:
    steps, runs, first = np.array(record["steps"]), [], 0
    kinds = list(zip(ends["optimizer"].to_pylist(), ends["phase"].to_pylist(), strict=True))
    for optimizer, phase in dict.fromkeys(kinds):
        count = kinds.count((optimizer, phase))
        mine = _columns(ends.slice(first, count))
        along = _columns(curves.slice(first * len(steps), count * len(steps)))
        along = {name: values.reshape(count, -1) for name, values in along.items()}
        first += count
        runs.append(
            Runs(
                optimizer,
                phase,
                loss=along["loss"],
                validation=_under("validation_", along),
                test=_under("test_", mine),
                **{name: mine[name] for name in (*_NAMED, *_COUNTED)},
            )
        )
    told = (record[name] for name in ("provenance", "seconds", "reasons"))
    return record["protocol"], steps, runs, *told


def _columns(table: pa.Table) -> dict[str, np.ndarray]:
    return {
        name: table[name].to_numpy() for name in table.column_names if not table[name].null_count
    }


def _under(prefix: str, columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {
        name.removeprefix(prefix): values
        for name, values in columns.items()
        if name.startswith(prefix)
    }

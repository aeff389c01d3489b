"""What is kept of a comparison on disk: its protocol, what is done of it, and all its runs.

Shapes: R runs, E measurements along a run.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped

from jaxnet._guards import checks, records
from jaxnet.compare.protocol import Protocol
from jaxnet.compare.runs import Log, Record, Runs
from jaxnet.errors import InputError
from jaxnet.storage import files, fingerprints

_PROTOCOL, _LOG = "protocol.json", "comparison.json"
_TABLES = ("runs.parquet", "curves.parquet")
# What names a run in both tables; and the kinds of NumPy's of all that is not a loss or a metric.
_NAMED = ("optimizer", "phase", "learning_rate", "seed")
_KINDS = {"optimizer": "O", "phase": "O", "seed": "i", "diverged": "i", "evaluations": "i"}
_KINDS |= {"step": "i"}


def keep(folder: Path, protocol: Protocol) -> Path:
    """Write a protocol, once; give the folder of its finished tiles.

    Raises:
        InputError: a folder of another comparison, naming what differs; no place to write to.
        ImportError: what is needed to write the runs is missing.
    """
    _arrow()
    if (folder / _PROTOCOL).exists():
        differ = protocol.differences(_protocol(folder))
        if differ:
            raise InputError(
                f"folder: expected a folder of its own; {folder} holds a comparison with another "
                f"{', '.join(differ)}; give another folder, or delete this one"
            )
    # Named by the protocol, by which a tile tells whose it is.
    tiles = folder / "tiles" / _whose(protocol)[:24]
    try:
        tiles.mkdir(parents=True, exist_ok=True)
        for each in (folder, tiles):
            files.clear(each)
        if not (folder / _PROTOCOL).exists():
            files.write_record(folder / _PROTOCOL, records.plain(protocol), {})
    except OSError as error:
        raise InputError(f"folder: expected a place to write to, got {folder}: {error}") from error
    return tiles


def write(folder: Path, record: Record) -> None:
    """Write all that the answers are of; JSON comes last: where it is, all is there.

    Raises:
        InputError: a folder of another comparison.
        OSError: a place that cannot be written to.
    """
    keep(folder, record.protocol)
    tables = zip(*(_tables(runs, record.steps) for runs in record.runs), strict=True)
    contents = {name: _parquet(parts) for name, parts in zip(_TABLES, tables, strict=True)}
    log = {"protocol": _whose(record.protocol), **records.plain(record.log)}
    files.write_record(folder / _LOG, log, contents)


def read(folder: Path) -> Record:
    """Give what `write` wrote.

    Raises:
        InputError: a folder without all of it, or with what is not as it was written.
    """
    protocol = _protocol(folder)
    log, contents = _sealed(folder / _LOG)
    if log.pop("protocol", "") != _whose(protocol):
        raise InputError(
            f"folder: expected a finished comparison, got {folder / _PROTOCOL}: expected the "
            f"protocol of {_LOG}, got another; make it again"
        )
    kept = records.rebuilt(Log, log, folder / _LOG)
    ends, curves = (_columns(contents.get(name, b""), folder / name) for name in _TABLES)
    try:
        steps = _steps(ends, curves)
        return Record(protocol, kept, steps, _runs(ends, curves, len(steps)))
    except InputError as error:
        raise InputError(f"{folder}: {error}; make it again") from error


def _whose(protocol: Protocol) -> str:
    """Give what a protocol is known by."""
    return fingerprints.of_record(records.plain(protocol))


def _protocol(folder: Path) -> Protocol:
    record, _ = _sealed(folder / _PROTOCOL)
    return records.rebuilt(Protocol, record, folder / _PROTOCOL)


def _sealed(path: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    try:
        return files.read_record(path)
    except InputError as error:
        raise InputError(f"folder: expected a finished comparison, got {error}") from error


def _arrow() -> Any:
    checks.extra("compare", "pyarrow")
    import pyarrow.parquet

    return pyarrow


def _tables(runs: Runs, steps: Int[np.ndarray, " E"]) -> tuple[Any, Any]:
    """Give a row for each run, and a row for each measurement of a run."""
    pa, count = _arrow(), len(runs.seed)
    named = {"optimizer": [runs.optimizer] * count, "phase": [runs.phase] * count}
    named |= {"learning_rate": runs.learning_rate, "seed": runs.seed}
    ends = {"diverged": runs.diverged, "evaluations": runs.evaluations}
    ends |= {f"test_{name}": values for name, values in runs.test.items()}
    curves = {"loss": runs.loss}
    curves |= {f"validation_{name}": values for name, values in runs.validation.items()}
    repeated = {name: np.repeat(values, len(steps)) for name, values in named.items()}
    repeated["step"] = np.tile(steps, count)
    flat = {name: values.reshape(-1) for name, values in curves.items()}
    return pa.table(named | ends), pa.table(repeated | flat)


def _parquet(tables: Sequence[Any]) -> bytes:
    pa = _arrow()
    sink = pa.BufferOutputStream()
    pa.parquet.write_table(pa.concat_tables(tables, promote_options="default"), sink)
    return sink.getvalue().to_pybytes()


def _columns(content: bytes, path: Path) -> dict[str, Shaped[np.ndarray, " K"]]:
    """Give the columns of a table; what holds nothing for a row is nan there."""
    pa = _arrow()
    try:
        table = pa.parquet.read_table(pa.BufferReader(content))
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(
            f"{path}: expected a table of Parquet, got {error}; make it again"
        ) from error
    return {name: table[name].to_numpy() for name in table.column_names}


def _steps(
    ends: Mapping[str, np.ndarray], curves: Mapping[str, np.ndarray]
) -> Int[np.ndarray, " E"]:
    """Give the steps that all runs were measured at; refuse tables of other runs."""
    for table, more in ((ends, ("diverged", "evaluations")), (curves, ("step", "loss"))):
        for name in (*_NAMED, *more, *table):
            kind = table[name].dtype.kind if name in table else "none"
            if kind != _KINDS.get(name, "f"):
                raise InputError(
                    f"runs: expected {name} of kind {_KINDS.get(name, 'f')}, got {kind}"
                )
    count, total = len(ends["seed"]), len(curves["step"])
    steps = curves["step"][: total // max(count, 1)]
    alike = (np.array_equal(np.repeat(ends[n], len(steps)), curves[n]) for n in _NAMED)
    if not (len(steps) and all(alike) and np.array_equal(np.tile(steps, count), curves["step"])):
        raise InputError("runs: expected measurements of each run at the same steps, got others")
    return steps


def _runs(
    ends: Mapping[str, np.ndarray], curves: Mapping[str, np.ndarray], measured: int
) -> list[Runs]:
    kinds = list(zip(ends["optimizer"].tolist(), ends["phase"].tolist(), strict=True))
    runs = []
    for kind in dict.fromkeys(kinds):
        mine = np.array([each == kind for each in kinds])
        end = {name: values[mine] for name, values in ends.items()}
        along = {name: v.reshape(-1, measured)[mine] for name, v in curves.items()}
        runs.append(
            Runs(
                optimizer=kind[0],
                phase=kind[1],
                learning_rate=end["learning_rate"],
                seed=end["seed"],
                diverged=end["diverged"],
                evaluations=end["evaluations"],
                loss=along["loss"],
                validation=_under("validation_", along),
                # Runs that tune are not scored, and have nothing there.
                test={} if kind[1] == "tuning" else _under("test_", end),
            )
        )
    return runs


def _under(prefix: str, columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {
        name.removeprefix(prefix): values
        for name, values in columns.items()
        if name.startswith(prefix)
    }

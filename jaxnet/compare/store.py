"""What is kept of a comparison on disk: its protocol, what is done of it, and all its runs.

Shapes: R runs, E measurements along a run.
"""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped

from jaxnet._guards import checks, records
from jaxnet.compare.protocol import Protocol
from jaxnet.compare.runs import Log, Record, Runs
from jaxnet.compare.tiles import under
from jaxnet.errors import InputError
from jaxnet.storage import files, fingerprints

_PROTOCOL, _LOG = "protocol.json", "comparison.json"
_TABLES, _TILES = ("runs.parquet", "curves.parquet"), "tiles"
# What names a run in both tables; and the kinds of NumPy's of all that is not a number of its own.
_WORDS, _NUMBERED = ["optimizer", "phase"], ["replicate", "trial", "seed"]
_KINDS = {"optimizer": "O", "phase": "O", "replicate": "i", "trial": "i", "seed": "i"}
_KINDS |= {"diverged": "i", "evaluations": "i", "step": "i"}
_SETTING = "setting_"
# What mends a folder: from its tiles the same call makes all again but what was decided.
_AGAIN = "compare into this folder again"
_ANEW = "delete the folder and compare again, or give another folder"


def _is_begun(folder: Path) -> bool:
    """Tell whether a folder has anything of a comparison."""
    ours = (_PROTOCOL, _LOG, *_TABLES, _TILES)
    return any(files.kind(path.name) in ours for path in folder.glob("*"))


def check_new(folder: Path) -> None:
    """Refuse a folder to go on in, where programs call Python, which may be other than it was.

    Raises:
        InputError: a folder that has anything of a comparison.
    """
    if _is_begun(folder):
        raise InputError(
            f"folder: expected an empty one, as a function calls Python (jax.pure_callback or "
            f"io_callback) and nobody can tell whether that is what it was, got {folder}, which "
            "holds runs; give another folder, delete this one, or write the function in jax.numpy"
        )


def grown(folder: Path, protocol: Protocol, most: int) -> Protocol:
    """Give the protocol as one more look at what a folder holds, where it holds fewer replicates.

    Raises:
        InputError: a folder that holds more than the most there may be, or another comparison.
    """
    # Of what is there without its protocol nobody knows how often it was looked at.
    if not _is_begun(folder):
        return protocol
    kept = _protocol(folder)
    if protocol.tuning.budget == "seconds" and set(kept.optimizers) == set(protocol.optimizers):
        # Measured then; they are not the same twice.
        trials = {
            name: dataclasses.replace(each, trials=kept.optimizers[name].trials)
            for name, each in protocol.optimizers.items()
        }
        protocol = dataclasses.replace(protocol, optimizers=trials)
    _refuse_another(folder, kept, protocol)
    before, replicates = kept.judging.looks, protocol.replicates
    if before[-1] > most:
        raise InputError(
            f"replicates: expected at least the {before[-1]} that {folder} holds, got {most}; give "
            "more, or another folder"
        )
    if replicates > before[-1]:
        # Those that are not judged yet were never looked at.
        looked = before if (folder / _LOG).exists() else before[:-1]
        before = (*looked, replicates)
    judging = dataclasses.replace(protocol.judging, looks=before)
    return dataclasses.replace(protocol, judging=judging)


def _refuse_another(folder: Path, kept: Protocol, protocol: Protocol) -> None:
    if kept.optimizers.keys() != protocol.optimizers.keys():
        ours, theirs = (", ".join(each.optimizers) for each in (kept, protocol))
        raise InputError(
            f"folder: expected the optimizers that {folder} holds, {ours}, got {theirs}; the "
            "level of a comparison is that of all its verdicts, and none is added once some are "
            "known: compare all of them in another folder, or delete this one"
        )
    differ = [name for name in kept.differences(protocol) if name != "judging.looks"]
    if differ:
        raise InputError(
            f"folder: expected a folder of its own, got {folder}, which holds a comparison "
            f"that differs in {', '.join(differ)}; give another folder, or delete this one"
        )


def keep(folder: Path, protocol: Protocol) -> Path:
    """Write a protocol, once; give the folder of its finished tiles.

    Raises:
        InputError: a folder of another comparison, naming what differs; no place to write to.
        OSError: a place that cannot be written to, or is full.
        ImportError: what is needed to write the runs is missing.
    """
    _arrow()
    if (folder / _PROTOCOL).exists():
        _refuse_another(folder, _protocol(folder), protocol)
    _open(folder)
    if not (folder / _PROTOCOL).exists():
        files.write_record(folder / _PROTOCOL, records.plain(protocol), {})
    # Named by all that the runs hang on, by which a tile tells whose it is.
    tiles = folder / _TILES / _whose(_at_look(protocol, 0))[:24]
    _open(tiles)
    return tiles


def _open(folder: Path) -> None:
    """Make a folder where there is none, and clear it of what is half written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files.clear(folder)
    except OSError as error:
        raise InputError(
            f"folder: expected a place to write to, got {folder}: {error.strerror}; give another"
        ) from error


def write(folder: Path, record: Record) -> None:
    """Write all that the answers are of; at every moment the older answers are there, or these.

    Raises:
        InputError: a folder of another comparison.
        OSError: a place that cannot be written to.
    """
    keep(folder, record.protocol)
    files.write_record(folder / _PROTOCOL, records.plain(record.protocol), {})
    tables = zip(*(_tables(runs, record.steps) for runs in record.runs), strict=True)
    contents = [_parquet(parts) for parts in tables]
    digests = (hashlib.sha256(content).hexdigest() for content in contents)
    names = map(files.named, _TABLES, digests)
    log = {"protocol": _whose(record.protocol), **records.plain(record.log)}
    files.write_record(folder / _LOG, log, dict(zip(names, contents, strict=True)))


def read(folder: Path) -> Record:
    """Give what `write` wrote.

    Raises:
        InputError: a folder without all of it, or with what is not as it was written.
    """
    last = _protocol(folder)
    log, contents = _sealed(folder / _LOG, _AGAIN)
    # That of a further look is written first: until its runs are, they are those of one before.
    looks, whose = range(len(last.judging.looks)), log.pop("protocol", "")
    looked = (_at_look(last, number) for number in looks)
    protocol = next((each for each in looked if _whose(each) == whose), None)
    if not protocol:
        raise InputError(
            f"folder: expected a finished comparison, got {folder / _PROTOCOL}: expected the "
            f"protocol of {_LOG}, got another; {_AGAIN}"
        )
    kept = records.rebuilt(Log, log, folder / _LOG)
    names = {files.kind(name): name for name in contents}
    paths = [folder / names.get(table, table) for table in _TABLES]
    ends, curves = (_read(contents.get(path.name, b""), path) for path in paths)
    try:
        return Record(protocol, kept, *_runs(ends, curves))
    except InputError as error:
        raise InputError(f"{folder}: {error}; {_AGAIN}") from error


def _at_look(protocol: Protocol, number: int) -> Protocol:
    """Give the protocol as it was at a look, counted from 0; the first is common to all."""
    judging = dataclasses.replace(protocol.judging, looks=protocol.judging.looks[: number + 1])
    return dataclasses.replace(protocol, judging=judging)


def _whose(protocol: Protocol) -> str:
    """Give what a protocol is known by."""
    return fingerprints.of_record(records.plain(protocol))


def _protocol(folder: Path) -> Protocol:
    record, _ = _sealed(folder / _PROTOCOL, _ANEW)
    return records.rebuilt(Protocol, record, folder / _PROTOCOL)


def _sealed(path: Path, cure: str) -> tuple[dict[str, Any], dict[str, bytes]]:
    try:
        return files.read_record(path, cure)
    except InputError as error:
        raise InputError(f"folder: expected a finished comparison, got {error}") from error


def _arrow() -> Any:
    checks.extra("compare", "pyarrow")
    import pyarrow.compute
    import pyarrow.parquet

    return pyarrow


def _tables(runs: Runs, steps: Int[np.ndarray, " E"]) -> tuple[Any, Any]:
    """Give a row for each run, and a row for each measurement of a run."""
    words, named = ({n: getattr(runs, n) for n in names} for names in (_WORDS, _NUMBERED))
    ends = {f"{_SETTING}{name}": values for name, values in runs.settings.items()}
    ends |= {"diverged": runs.diverged, "evaluations": runs.evaluations}
    ends |= {f"test_{name}": values for name, values in runs.test.items()}
    curves = {"loss": runs.loss}
    curves |= {f"validation_{name}": values for name, values in runs.validation.items()}
    at = steps[-runs.loss.shape[1] :]
    repeated = {name: np.repeat(values, len(at)) for name, values in named.items()}
    repeated["step"] = np.tile(at, len(runs.seed))
    flat = {name: values.reshape(-1) for name, values in curves.items()}
    return _table(words, named | ends), _table(words, repeated | flat)


def _table(words: Mapping[str, str], columns: Mapping[str, np.ndarray]) -> Any:
    """Give a table of columns, and of words that all rows have alike."""
    pa, count = _arrow(), len(columns["seed"])
    return pa.table({name: pa.repeat(word, count) for name, word in words.items()} | dict(columns))


def _parquet(tables: Sequence[Any]) -> bytes:
    pa = _arrow()
    sink = pa.BufferOutputStream()
    pa.parquet.write_table(pa.concat_tables(tables, promote_options="default"), sink)
    return sink.getvalue().to_pybytes()


def _read(content: bytes, path: Path) -> Any:
    pa = _arrow()
    try:
        return pa.parquet.read_table(pa.BufferReader(content))
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(f"{path}: expected a table of Parquet, got {error}; {_AGAIN}") from error


def _check_kinds(ends: Any, curves: Any) -> None:
    """Refuse tables of other columns."""
    for table, more in ((ends, ("diverged", "evaluations")), (curves, ("step", "loss"))):
        kinds = {each.name: np.dtype(each.type.to_pandas_dtype()).kind for each in table.schema}
        for name in (*_WORDS, *_NUMBERED, *more, *kinds):
            if (kind := kinds.get(name, "none")) != _KINDS.get(name, "f"):
                raise InputError(
                    f"runs: expected {name} of kind {_KINDS.get(name, 'f')}, got {kind}"
                )


def _runs(ends: Any, curves: Any) -> tuple[Int[np.ndarray, " E"], list[Runs]]:
    """Give the runs, and the steps that all but those that tune were measured at."""
    _check_kinds(ends, curves)
    runs, steps = [], np.zeros(0, int)
    for kind in ends.select(_WORDS).group_by(_WORDS, use_threads=False).aggregate([]).to_pylist():
        end, curve = _columns(ends, kind), _columns(curves, kind)
        count, at = len(end["seed"]), curve["step"][: len(curve["step"]) // len(end["seed"])]
        whole = len(at) > 0 and len(curve["step"]) == count * len(at)
        curve = {name: values.reshape(count, -1) for name, values in curve.items() if whole}
        expected = {"step": at} | {name: end[name][:, None] for name in _NUMBERED}
        if not (whole and all((curve[name] == each).all() for name, each in expected.items())):
            raise InputError(
                "runs: expected measurements of each run at the same steps, got others"
            )
        runs.append(_of(kind, end, curve))
        if kind["phase"] != "tuning":
            steps = at
    return steps, runs


def _columns(table: Any, kind: Mapping[str, str]) -> dict[str, Shaped[np.ndarray, " K"]]:
    """Give the numbers of an optimizer in a phase; what holds nothing for a row is nan there."""
    optimizer, phase = (_arrow().compute.field(word) == kind[word] for word in _WORDS)
    mine = table.filter(optimizer & phase)
    return {name: mine[name].to_numpy() for name in mine.column_names if name not in _WORDS}


def _of(
    kind: Mapping[str, str], end: Mapping[str, np.ndarray], along: Mapping[str, np.ndarray]
) -> Runs:
    settings = under(_SETTING, end)
    return Runs(
        **kind,
        replicate=end["replicate"],
        trial=end["trial"],
        seed=end["seed"],
        # What another optimizer alone has is nothing in all of its rows.
        settings={name: v for name, v in settings.items() if not np.isnan(v).all()},
        diverged=end["diverged"],
        evaluations=end["evaluations"],
        loss=along["loss"],
        validation=under("validation_", along),
        # Runs that tune are not scored, and have nothing there.
        test={} if kind["phase"] == "tuning" else under("test_", end),
    )

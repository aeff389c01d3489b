"""Checkpoints of a run of `training.fit`, so that it survives being killed (extra `checkpoint`).

A checkpoint is a numbered folder: the arrays as Orbax writes them, and a record in JSON of the run
they are of, with the SHA-256 of every array, of every file and of itself. It is written under
another name and then renamed, so that it is there whole or not at all. Nothing in it is a pickle.
"""

import concurrent.futures
import contextlib
import hashlib
import json
import logging
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging as absl_logging

from jaxnet import training
from jaxnet._guards import checks
from jaxnet.errors import InputError
from jaxnet.storage import fingerprints

checks.extra("checkpoint", "orbax")

_LOCK = threading.Lock()


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Use Orbax from one thread at a time, without its messages.

    absl, by which it logs, would else give a root logger without handlers one.
    """
    root, absl, handler = logging.getLogger(), absl_logging.get_absl_logger(), logging.NullHandler()
    with _LOCK:
        level = absl.level
        absl.setLevel(logging.CRITICAL + 1)
        root.addHandler(handler)
        try:
            yield
        finally:
            root.removeHandler(handler)
            absl.setLevel(level)


with _quietly():
    import orbax.checkpoint as ocp

_KEPT = 3
_HALF = ".half"
_HISTORY = "history."
# What a run says of itself.
_TOLD = ("outcome", "message", "verified")
_RECORD = "record.json"


class Checkpoints:
    """The newest three checkpoints of one run, in a folder that one process at a time writes.

    A context manager, which waits on leaving for what is being written.
    """

    def __init__(self, folder: Path, description: dict[str, Any]) -> None:
        """Open the folder of a run, and make it where there is none.

        Args:
            folder: for nothing but these checkpoints.
            description: all that makes the run what it is, as plain JSON: sizes, optimizer and
                its numbers, `fingerprints.of_data` of the data, batch size, seed.

        Raises:
            InputError: a description that is not plain JSON; a path that is no folder, or a folder
                with checkpoints of a run of another description, with what differs.
        """
        try:
            self._description = json.loads(json.dumps(description))
        except (TypeError, ValueError) as error:
            raise InputError(f"description: wanted plain JSON; got {error}") from error
        self._folder = folder.absolute()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"folder: wanted a folder to write in; got {error}") from error
        with _quietly():
            self._orbax = ocp.Checkpointer(ocp.StandardCheckpointHandler())
        for path in self._paths():
            with contextlib.suppress(_DamagedError):
                got = _record(path)["description"]
                _refuse_another("description", self._description, got, path)
        # Orbax's own asynchronous save blocks for tens of times as long as the copy takes.
        self._writer = concurrent.futures.ThreadPoolExecutor(1, "checkpoints")
        self._writes: list[concurrent.futures.Future[None]] = []

    def __enter__(self) -> "Checkpoints":
        """Give itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for what is being written.

        Raises:
            OSError: it could not be written.
        """
        try:
            self._wait()
        finally:
            self._writer.shutdown()
            with _quietly():
                self._orbax.close()

    def save(self, fit: training.Fit) -> None:
        """Copy a run to the host, and leave it to another thread to write.

        A checkpoint that still waits for another to be written gives way to this one.

        Raises:
            OSError: one before could not be written.
        """
        arrays = _on_host(_leaves(fit))
        for write in [write for write in self._writes if write.done()]:
            self._writes.remove(write)
            write.result()
        self._writes = [write for write in self._writes if not write.cancel()]
        told = {name: getattr(fit, name) for name in _TOLD}
        self._writes.append(self._writer.submit(self._write, told, arrays))

    def restore(self, template: training.Fit) -> tuple[training.Fit, list[str]] | None:
        """Give the newest whole checkpoint, to the last bit; None where there is none.

        Args:
            template: a run just begun, whose structure and places on devices the arrays take.

        Returns:
            The run, and a line for each checkpoint passed over, half written or damaged since.

        Raises:
            InputError: a template of another structure, shapes or dtypes, with what differs; or
                checkpoints that are all damaged, with what is wrong with each.
            OSError: one of its own could not be written.
        """
        self._wait()
        passed = [f"{path.name}: half written, by a run that was killed" for path in self._torn()]
        paths = self._paths()
        for path in reversed(paths):
            try:
                record = _record(path)
                arrays = self._arrays(path, record)
            except _DamagedError as error:
                passed.append(f"{path.name}: {error}")
                continue
            own = _leaves(template._replace(history={}))
            got = {name: array for name, array in arrays.items() if not name.startswith(_HISTORY)}
            _refuse_another("template", _kinds(_on_host(own)), _kinds(got), path)
            leaves = [_placed(leaf, arrays.pop(name)) for name, leaf in own.items()]
            progress = jax.tree.unflatten(jax.tree.structure(template.progress), leaves)
            history = {name.removeprefix(_HISTORY): array for name, array in arrays.items()}
            told = {name: record[name] for name in _TOLD}
            return training.Fit(progress, history, **told), passed
        if paths:
            raise InputError(
                f"folder: wanted a whole checkpoint in {self._folder}; got damaged ones alone; to "
                "start over, delete the folder\n  " + "\n  ".join(passed)
            )
        return None

    def _paths(self) -> list[Path]:
        """List the checkpoints, the oldest first."""
        found = [path for path in self._folder.iterdir() if path.name.isdecimal()]
        return sorted(found, key=lambda path: int(path.name))

    def _torn(self) -> list[Path]:
        return sorted(self._folder.glob(f"*{_HALF}*"))

    def _wait(self) -> None:
        writes, self._writes = self._writes, []
        for write in writes:
            write.result()

    @_quietly()
    def _write(self, told: dict[str, str], arrays: dict[str, np.ndarray]) -> None:
        # Orbax refuses arrays without elements; the record says all there is to them.
        numbered = {str(i): array for i, array in enumerate(arrays.values()) if array.size}
        try:
            paths = self._paths()
            path = self._folder / str(int(paths[-1].name) + 1 if paths else 0)
            half = path.with_suffix(_HALF)
            for torn in self._torn():
                shutil.rmtree(torn)
            with _saving():
                self._orbax.save(half / "arrays", args=ocp.args.StandardSave(numbered))
            record = {
                "description": self._description,
                **told,
                "arrays": {
                    name: [str(array.dtype), list(array.shape), fingerprints.of_array(array)]
                    for name, array in arrays.items()
                },
                "files": {
                    file.relative_to(half).as_posix(): _file_sha256(file)
                    for file in sorted(half.rglob("*"))
                    if file.is_file()
                },
            }
            sealed = {"record": record, "sha256": fingerprints.of_record(record)}
            (half / _RECORD).write_text(json.dumps(sealed), "utf-8")
            half.rename(path)
            for old in [*paths, path][:-_KEPT]:
                shutil.rmtree(old, ignore_errors=True)
        except OSError as error:
            raise OSError(
                f"folder: wanted to write a checkpoint in {self._folder}; got {_short(error)}; "
                "make room and go on from the one before"
            ) from error

    def _arrays(self, path: Path, record: dict[str, Any]) -> dict[str, np.ndarray]:
        # Before Orbax reads them: it takes some wrong bytes, and prints tracebacks at others.
        for name, written in record["files"].items():
            with _reading():
                sha256 = _file_sha256(path / name)
            _verify(name, sha256, written)
        with _reading(), _quietly():
            found = self._orbax.restore(path / "arrays", args=ocp.args.StandardRestore())
        arrays = {}
        for index, (name, (dtype, shape, sha256)) in enumerate(record["arrays"].items()):
            arrays[name] = np.zeros(shape, dtype) if 0 in shape else found[str(index)]
            _verify(name, fingerprints.of_array(arrays[name]), sha256)
        return arrays


class _DamagedError(Exception):
    """A checkpoint is not what was written, and how that shows."""


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    # Whatever Orbax and what lies under it make of files that are not what they were.
    except Exception as error:
        raise _DamagedError(f"cannot be read: {_short(error)}") from error


@contextlib.contextmanager
def _saving() -> Iterator[None]:
    try:
        yield
    # What lies under Orbax raises errors of many kinds, such as where a disk is full.
    except Exception as error:
        raise OSError(_short(error)) from error


def _verify(name: str, found: str, written: str) -> None:
    if found != written:
        raise _DamagedError(f"{name} is not what was written: its SHA-256 differs")


def _record(path: Path) -> dict[str, Any]:
    with _reading():
        found = json.loads((path / _RECORD).read_text("utf-8"))
        record, sha256 = found["record"], found["sha256"]
    _verify(_RECORD, fingerprints.of_record(record), sha256)
    return record


def _leaves(fit: training.Fit) -> dict[str, Any]:
    """Name all arrays of a run."""
    leaves = jax.tree.leaves_with_path(fit.progress)
    progress = {f"progress{jax.tree_util.keystr(path)}": leaf for path, leaf in leaves}
    return progress | {f"{_HISTORY}{name}": array for name, array in fit.history.items()}


def _on_host(leaves: dict[str, Any]) -> dict[str, np.ndarray]:
    plain = [jax.random.key_data(leaf) if _is_key(leaf) else leaf for leaf in leaves.values()]
    # What `device_get` gives of a CPU is no copy.
    copies = [np.array(leaf) for leaf in jax.device_get(plain)]
    return dict(zip(leaves, copies, strict=True))


def _placed(like: Any, array: np.ndarray) -> Any:
    """Put an array where another of its kind is."""
    if _is_key(like):
        data = _placed(jax.random.key_data(like), array)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(like))
    if not isinstance(like, jax.Array):
        return array
    # An array committed to one device would not go with data over several.
    return jax.device_put(array, like.sharding) if like.committed else jnp.asarray(array)


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _kinds(arrays: dict[str, np.ndarray]) -> dict[str, str]:
    return {name: f"{array.dtype}{list(array.shape)}" for name, array in arrays.items()}


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _refuse_another(name: str, wanted: Any, got: Any, path: Path) -> None:
    ours, theirs = dict(_flat(wanted)), dict(_flat(got))
    different = [
        f"{key}: wanted {ours.get(key, 'nothing')}, got {theirs.get(key, 'nothing')}"
        for key in ours | theirs
        if ours.get(key) != theirs.get(key)
    ]
    if different:
        raise InputError(
            f"{name}: wanted this run; got checkpoint {path} of another; go on with that run, or "
            "give another folder\n  " + "\n  ".join(different)
        )


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Walk through JSON: the path of every value, and the value."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value:
        for index, inner in enumerate(value):
            yield from _flat(inner, f"{path}[{index}]")
    else:
        yield path, json.dumps(value)


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:160]}"

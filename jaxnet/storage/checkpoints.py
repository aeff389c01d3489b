"""Checkpoints of a run of `fit`, so that it survives being killed.

A checkpoint is one numbered file of `arrays`: it is there whole or not at all, and one that is not
what was written is passed over.

Orbax was weighed and left. What it adds is arrays in pieces, each from the host that has it; here
parameters are whole on every host, so that one of several can write all there is. What it costs is
a quarter of a second at every start and a format that tells no wrong bytes; it saves 100 MB in no
less time.
"""

import concurrent.futures
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnet import fitting
from jaxnet._guards import checks
from jaxnet.errors import InputError
from jaxnet.storage import arrays, files

_KEPT, _SUFFIX, _HISTORY = 3, ".safetensors", "history."
# What a run says of itself.
_WORDS = ("outcome", "message", "verified")
# Where a checkpoint is, its arrays by their names, and its record.
_Whole = tuple[Path, dict[str, np.ndarray], Any]


class Checkpoints:
    """The newest three checkpoints of one run, in a folder that one process at a time writes.

    Of a run on many hosts process 0 writes and all read, in a folder that they share; any other
    number of hosts may go on from there.

    A context manager, which waits on leaving for what is being written.
    """

    def __init__(self, folder: str | Path, description: Mapping[str, object]) -> None:
        """Open the folder of a run, and make it where there is none.

        Args:
            folder: for nothing but these checkpoints.
            description: all that makes the run what it is, as plain JSON: sizes, optimizer and
                its numbers, `fingerprints.of_data` of the data, batch size, seed.

        Raises:
            InputError: a description that is not plain JSON; a path that is no folder, or a folder
                with checkpoints of a run of another description, with what differs, or of an
                older version of jaxnet.
        """
        self._description = json.loads(files.to_json(description, "description"))
        self._folder = Path(folder).absolute()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._halves = files.clear(self._folder) if _writes() else []
        except OSError as error:
            raise InputError(
                f"folder: expected a folder to write in, got {folder}: {error.strerror}; give "
                "another"
            ) from error
        for path in self._folder.iterdir():
            if path.is_dir() and path.name.isdecimal():
                raise InputError(
                    f"folder: expected checkpoints of this version of jaxnet, got {path} of an "
                    "older one; to start over, delete the folder"
                )
        # What was read is not read again where it is restored.
        self._opened: tuple[_Whole | None, list[str]] | None = self._newest()
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

    def save(self, fit: fitting.Fit) -> None:
        """Copy a run to the host, and leave it to another thread to write; of many hosts the first.

        A checkpoint that still waits for another to be written gives way to this one.

        Raises:
            OSError: one before could not be written.
        """
        if not _writes():
            return
        leaves = _on_host(_leaves(fit))
        for write in [write for write in self._writes if write.done()]:
            self._writes.remove(write)
            write.result()
        self._writes = [write for write in self._writes if not write.cancel()]
        words = {name: getattr(fit, name) for name in _WORDS}
        record = {"description": self._description, **words}
        self._writes.append(self._writer.submit(self._write, record, leaves))
        self._opened = None

    def restore(self, template: fitting.Fit) -> tuple[fitting.Fit, list[str]] | None:
        """Give the newest whole checkpoint, to the last bit; None where there is none.

        Args:
            template: a run just begun, whose structure and places on devices the arrays take.

        Returns:
            The run, and a line for each checkpoint passed over, half written, damaged or removed
            since.

        Raises:
            InputError: a template of another structure, shapes or dtypes, with what differs; or
                checkpoints that are all damaged, with what is wrong with each.
            OSError: one of its own could not be written.
        """
        self._wait()
        whole, passed = self._opened or self._newest()
        self._opened = None
        passed += [f"{name}: half written, by a run that was killed" for name in self._halves]
        if whole:
            return _fit(template, *whole), passed
        if self._paths():
            raise InputError(
                f"folder: expected a whole checkpoint in {self._folder}, got damaged ones alone; "
                "to start over, delete the folder\n  " + "\n  ".join(passed)
            )
        return None

    def _newest(self) -> tuple[_Whole | None, list[str]]:
        """Read the newest whole checkpoint; give it, and a line for each that is not."""
        paths = self._paths()
        passed = [f"{name}: missing; it or a newer one was removed" for name in _missing(paths)]
        for path in reversed(paths):
            try:
                leaves, record = arrays.read(path)
            except InputError as error:
                passed.append(str(error))
                continue
            if not (isinstance(record, dict) and {"description", *_WORDS} <= record.keys()):
                passed.append(f"{path}: expected a checkpoint, got another file of jaxnet's")
                continue
            _refuse_another("description", self._description, record["description"], path)
            return (path, leaves, record), passed
        return None, passed

    def _paths(self) -> list[Path]:
        """List the checkpoints, the oldest first."""
        paths = [path for path in self._folder.glob(f"*{_SUFFIX}") if path.stem.isdecimal()]
        return sorted(paths, key=_number)

    def _wait(self) -> None:
        writes, self._writes = self._writes, []
        for write in writes:
            write.result()

    def _write(self, record: dict[str, Any], leaves: dict[str, np.ndarray]) -> None:
        paths = self._paths()
        number = _number(paths[-1]) + 1 if paths else 0
        arrays.write(self._folder / f"{number}{_SUFFIX}", leaves, record)
        for old in filter(Path.is_file, paths[: 1 - _KEPT]):
            old.unlink(missing_ok=True)


def _writes() -> bool:
    return jax.process_index() == 0


def _number(path: Path) -> int:
    return int(path.stem)


def _missing(paths: list[Path]) -> list[str]:
    """Name those of the newest three that are not there: one is removed for each one written."""
    newest = _number(paths[-1]) if paths else 0
    names = [f"{number}{_SUFFIX}" for number in range(max(0, newest + 1 - _KEPT), newest)]
    return [name for name in names if name not in {path.name for path in paths}]


def _fit(
    template: fitting.Fit, path: Path, leaves: dict[str, np.ndarray], record: Any
) -> fitting.Fit:
    """Make a run of what was read, with its arrays where those of the template are."""
    own = _leaves(template._replace(history={}))
    stored = {name: leaf for name, leaf in leaves.items() if not name.startswith(_HISTORY)}
    _refuse_another("template", _kinds(_on_host(own)), _kinds(stored), path)
    placed = [_placed(leaf, stored[name]) for name, leaf in own.items()]
    progress = jax.tree.unflatten(jax.tree.structure(template.progress), placed)
    history = {
        name.removeprefix(_HISTORY): leaf for name, leaf in leaves.items() if name not in stored
    }
    return fitting.Fit(progress, history, **{name: record[name] for name in _WORDS})


def _leaves(fit: fitting.Fit) -> dict[str, Any]:
    """Name all arrays of a run."""
    leaves = jax.tree.leaves_with_path(fit.progress)
    progress = {f"progress{jax.tree_util.keystr(path)}": leaf for path, leaf in leaves}
    return progress | {f"{_HISTORY}{name}": array for name, array in fit.history.items()}


def _on_host(leaves: dict[str, Any]) -> dict[str, np.ndarray]:
    plain = checks.as_numbers([*leaves.values()])
    # What `device_get` gives of a CPU is no copy.
    copies = [np.array(leaf) for leaf in jax.device_get(plain)]
    return dict(zip(leaves, copies, strict=True))


def _placed(like: Any, array: np.ndarray) -> Any:
    """Put an array where another of its kind is."""
    if checks.is_key(like):
        data = _placed(jax.random.key_data(like), array)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(like))
    if not isinstance(like, jax.Array):
        return array
    # An array committed to one device would not go with data over several.
    return jax.device_put(array, like.sharding) if like.committed else jnp.asarray(array)


def _kinds(leaves: dict[str, np.ndarray]) -> dict[str, str]:
    return {name: f"{leaf.dtype}{list(leaf.shape)}" for name, leaf in leaves.items()}


def _refuse_another(name: str, expected: Any, got: Any, path: Path) -> None:
    ours, theirs = _flat(expected), _flat(got)
    keys = [key for key in ours | theirs if ours.get(key) != theirs.get(key)]
    different = [
        f"{key}: expected {ours.get(key, 'nothing')}, got {theirs.get(key, 'nothing')}"
        for key in keys
    ]
    if different or expected != got:
        raise InputError(
            f"{name}: expected this run, got checkpoint {path} of another; go on with that run, or "
            "give another folder\n  " + "\n  ".join(different)
        )


def _flat(value: Any) -> dict[str, str]:
    """Give every value of JSON by its path; what is empty is a value too."""
    leaves = jax.tree.leaves_with_path(value, is_leaf=lambda node: not node)
    name = functools.partial(jax.tree_util.keystr, simple=True, separator=".")
    return {name(path): json.dumps(leaf) for path, leaf in leaves}

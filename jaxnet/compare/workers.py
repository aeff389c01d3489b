"""Tiles made by workers: other processes, here or elsewhere, behind an executor.

What tiles have in common goes to a worker as bytes, with each task, and is unpickled once in its
process, where its program is then compiled once. All that is decided between tiles is computed
here, of finished tiles alone: whoever made them, in whatever order and however often.
"""

import collections
import contextlib
import dataclasses
import dis
import functools
import inspect
import itertools
import os
import queue
import socket
import threading
import time
import traceback
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent import futures
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxnet import devices
from jaxnet._guards import checks
from jaxnet.compare import sweep
from jaxnet.compare.tiles import Fast, Tile, Workload
from jaxnet.errors import InputError
from jaxnet.optimizers import Entry

Procedure = Iterator[sweep.Sweep] | Generator[sweep.Sweep, None, None]
"""What gives sweeps, each of which is done when it is asked for the next."""
# The settings of JAX that numbers hang on.
_SETTINGS = (
    *("default_matmul_precision", "default_prng_impl", "enable_x64"),
    *("numpy_dtype_promotion", "threefry_partitionable"),
)
# So many tasks, or those of so many bytes, are on the way: a scheduler holds them in memory.
_TASKS, _BYTES = 64, 2**30
_IMPORTED_BY = os.getpid()
_ONE_AT_A_TIME = threading.Lock()


class _Task(NamedTuple):
    """A tile to be made.

    Attributes:
        maker: what must be alike where it is made. settings: of JAX, to make it under.
        workload: what is trained, pickled. fast: the path to take. entry: the optimizer, pickled.
        names, shape, test: as of a `sweep.Job`. items: of the tile.
    """

    maker: dict[str, str]
    settings: tuple[tuple[str, Any], ...]
    workload: bytes
    fast: Fast | None
    entry: bytes
    names: tuple[str, ...]
    shape: Tile
    test: bool
    items: sweep.Items


@dataclasses.dataclass
class Crew:
    """The workers behind an executor, and what they are given.

    Attributes:
        executor: that hands tasks to them. kept: where finished tiles are, in words.
        maker: what must be alike where tiles are made.
        workload: pickled. entries: by name, pickled.
        tiles: how many each worker made. began: when the first of them was asked for.
    """

    executor: futures.Executor
    kept: str
    maker: dict[str, str]
    workload: bytes
    entries: dict[str, bytes]
    tiles: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    began: float = dataclasses.field(default_factory=time.perf_counter)

    def __str__(self) -> str:
        """Say how many they are, and how fast."""
        rate = self.tiles.total() / (time.perf_counter() - self.began)
        return f"{len(self.tiles)} worker{'s' * (len(self.tiles) > 1)}, {rate:.3g} tiles a second"

    @property
    def room(self) -> int:
        """How many tasks may be on the way."""
        return max(_TASKS, _BYTES // len(self.workload))

    def submit(self, job: sweep.Job, items: sweep.Items) -> futures.Future[Any]:
        """Ask for a tile."""
        config: Any = jax.config
        task = _Task(
            maker=self.maker,
            settings=tuple((name, getattr(config, f"jax_{name}")) for name in _SETTINGS),
            workload=self.workload,
            fast=job.workload.fast,
            entry=self.entries[job.entry.name],
            names=job.names,
            shape=job.shape,
            test=job.test,
            items=items,
        )
        try:
            return self.executor.submit(make, task)
        except Exception as error:  # told after the tiles that were made before
            failed = futures.Future[Any]()
            failed.set_exception(error)
            return failed

    def result(self, future: futures.Future[Any]) -> dict[str, np.ndarray]:
        """Give the tile that was asked for, or raise what its worker did."""
        try:
            worker, tile = future.result()
        except Exception as error:
            raise futures.BrokenExecutor(
                f"executor: expected it to make every tile, got {checks.told(error)}, as where a "
                f"worker is killed or a connection is lost; {self.kept}"
            ) from error
        if isinstance(tile, Exception):
            raise tile
        self.tiles[worker] += 1
        return tile


def crew(
    executor: futures.Executor,
    workload: Workload,
    entries: Sequence[Entry],
    folder: Path | None,
) -> Crew:
    """Pack what workers need.

    Raises:
        InputError: functions or data that cannot be pickled, naming what of them.
        ImportError: the extra `cluster` is not installed.
    """
    checks.extra("cluster", "cloudpickle")
    parts = {"loss": workload.loss, "init": workload.init, **dict(workload.metrics)}
    parts |= {name: getattr(workload, name) for name in ("data", "validation", "test")}
    packed = {each.name: _packed(each, {f"optimizers: {each.name}": each}) for each in entries}
    kept = (
        f"what is done is kept in {folder}: the same call with a new executor goes on from there"
        if folder
        else "nothing is kept: give a folder, for the same call to go on from"
    )
    return Crew(executor, kept, devices.maker(), _packed(workload, parts), packed)


def gather(procedures: Sequence[Procedure], crew: Crew | None) -> None:
    """Make all tiles that procedures ask for: here in their order, or by workers side by side."""
    if crew is None:
        for asked in itertools.chain.from_iterable(procedures):
            asked.make()
        return
    ahead: collections.deque[tuple[Procedure, sweep.Sweep, int]] = collections.deque()
    waiting, ended = {}, queue.SimpleQueue[futures.Future[Any]]()

    def go_on(procedure: Procedure) -> None:
        if asked := next((each for each in procedure if each.missing), None):
            ahead.extend((procedure, asked, number) for number in asked.missing)

    try:
        for procedure in procedures:
            go_on(procedure)
        while ahead or waiting:
            while ahead and len(waiting) < crew.room:
                procedure, asked, number = ahead.popleft()
                future = crew.submit(asked.job, asked.items[number])
                waiting[future] = procedure, asked, number
                future.add_done_callback(ended.put)
            future = ended.get()
            procedure, asked, number = waiting.pop(future)
            asked.keep(number, crew.result(future))
            if not asked.missing:
                go_on(procedure)
    finally:
        for future in waiting:
            future.cancel()


def make(task: _Task) -> tuple[str, dict[str, np.ndarray] | Exception]:
    """Make a tile in a worker; give who made it, and the tile or why there is none."""
    worker = f"{socket.gethostname()}:{os.getpid()}"
    try:
        _check_worker(worker, task.maker)
        # A worker may have several threads: each tile takes all that the process has.
        with _ONE_AT_A_TIME, contextlib.ExitStack() as settings:
            for name, value in task.settings:
                settings.enter_context(getattr(jax, name)(value))
            workload, entry = _unpacked(task.workload), _unpacked(task.entry)
            workload = workload._replace(fast=task.fast)
            job = sweep.Job(workload, entry, task.names, task.shape, task.test)
            return worker, sweep.made(job, task.items)
    except InputError as error:
        return worker, error
    except Exception:
        return worker, RuntimeError(f"worker {worker}: {traceback.format_exc()}")


def _check_worker(worker: str, maker: Mapping[str, str]) -> None:
    """Refuse a process that may compute other numbers, or wait for ever."""
    if os.getpid() != _IMPORTED_BY:
        raise InputError(
            "executor: expected processes that are started anew, got one forked from a process "
            "that runs JAX, whose threads it lacks; give it "
            'mp_context=multiprocessing.get_context("spawn")'
        )
    own = devices.maker()
    names = [name for name in own if own[name] != maker[name]]
    differ = [f"{name} {maker[name] or 'none'} here, {own[name] or 'none'} there" for name in names]
    if differ:
        raise InputError(
            f"executor: expected workers that compute as this process does, got {worker} with "
            f"{', '.join(differ)}; give it workers alike, or compare on one of them"
        )


@functools.lru_cache(maxsize=256)
def _unpacked(content: bytes) -> Any:
    import cloudpickle

    try:
        return cloudpickle.loads(content)
    except ImportError as error:
        raise InputError(
            f"executor: expected workers that import what the functions need, got {error}; "
            "install it there, or call cloudpickle.register_pickle_by_value on the module here"
        ) from error


def _packed(value: Any, parts: Mapping[str, Any]) -> bytes:
    """Pickle a value, or refuse it by the one of its parts that cannot be."""
    import cloudpickle

    try:
        return cloudpickle.dumps(value)
    except Exception:
        for name, part in parts.items():
            if why := _obstacle(part):
                raise InputError(
                    f"{name}: expected what travels to workers by cloudpickle, got {why}; make it "
                    "inside of the function, or give numbers and arrays in its place"
                ) from None
        raise


def _obstacle(value: Any, within: str = "", seen: tuple[int, ...] = ()) -> str:
    """Say what of a value cannot be pickled, the innermost part of it; nothing where all can."""
    import cloudpickle

    try:
        cloudpickle.dumps(value)
    except Exception as error:
        inner = (
            _obstacle(part, where, (*seen, id(value)))
            for where, part in _parts(value)
            if id(part) not in seen
        )
        own = within or f"a {type(value).__name__}"
        return next(filter(None, inner), f"{own}, which does not ({checks.told(error)})")
    return ""


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """Give the parts of a value, each by where it is."""
    if inspect.isfunction(value):
        code, place = value.__code__, Path(value.__code__.co_filename).name
        used = inspect.getclosurevars(value)
        for name, part in {**used.globals, **used.nonlocals}.items():
            at = (each.positions for each in dis.get_instructions(code) if each.argval == name)
            line = next((each.lineno for each in at if each), code.co_firstlineno)
            yield f"{name} in line {line} of {place}", part
    elif isinstance(value, Mapping | list | tuple):
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        yield from ((f"{key!r} of a {type(value).__name__}", part) for key, part in items)
    elif isinstance(value, functools.partial):
        yield from _parts((value.func, *value.args, *value.keywords.values()))
    elif hasattr(value, "__dict__"):
        kind = type(value).__name__
        yield from ((f"{name} of a {kind}", part) for name, part in vars(value).items())

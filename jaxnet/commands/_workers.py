"""Who makes a command's runs: processes of its own, a scheduler's workers, or itself."""

import contextlib
import multiprocessing
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from jaxnet._guards import checks, sizes
from jaxnet.commands import _run
from jaxnet.errors import InputError

# How often a tile, or a scheduler without a further tile, is tried again.
_TRIES = 3
_TIMEOUT = 10  # seconds, for a scheduler to answer


class Processes(futures.Executor):
    """Processes that are started anew when they are killed, and then do the same task again.

    Each has a share of the cores for itself and a pipe of its own: one that is killed as it writes
    breaks no other's, as it would in a pool that shares a queue.
    """

    def __init__(self, count: int) -> None:
        """Start the threads that wait for so many processes, each started for its first task."""
        cores = sizes.cores()
        self._tasks = queue.SimpleQueue[Any]()
        self._workers = [_Worker(cores[first::count]) for first in range(count)]
        self._threads = [
            threading.Thread(target=each.serve, args=(self._tasks,), daemon=True)
            for each in self._workers
        ]
        for each in self._threads:
            each.start()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> futures.Future[Any]:
        """Hand out a task."""
        future = futures.Future[Any]()
        self._tasks.put((future, (fn, args, kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes, whatever they are at."""
        del cancel_futures
        for each in self._workers:
            self._tasks.put(None)
            each.end()
        for each in self._threads if wait else ():
            each.join()


class _Worker:
    """A process with a share of the cores, and the next one where it is killed."""

    def __init__(self, cores: list[int]) -> None:
        self._cores, self._ended = cores, False
        self._process: SpawnProcess | None = None
        self._lock = threading.Lock()

    def serve(self, tasks: queue.SimpleQueue[Any]) -> None:
        """Do tasks, one after the other, until there is one that is None."""
        # Writing to a process that was killed is an error here, and not the end of the command.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPIPE})
        connection: Connection | None = None
        while task := tasks.get():
            future, call = task
            if not future.set_running_or_notify_cancel():
                continue
            for _ in range(_TRIES):
                try:
                    connection = connection or self._start()
                    connection.send(call)
                    future.set_result(connection.recv())
                    break
                except (EOFError, OSError):  # killed
                    connection = None
            else:
                words = f"its worker was killed {_TRIES} times, as where memory runs out"
                future.set_exception(futures.BrokenExecutor(words))

    def _start(self) -> Connection:
        ours, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        with self._lock:
            if not self._ended:
                self._process = context.Process(
                    target=_work, args=(theirs, self._cores), daemon=True
                )
                self._process.start()
        theirs.close()
        return ours

    def end(self) -> None:
        """End the process, for there to be no next one."""
        with self._lock:
            self._ended = True
            if self._process:
                self._process.kill()


def _work(connection: Connection, cores: list[int]) -> None:
    """Be a process: do what comes until nobody is left to send it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command's process ends this one
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    _run.keep_programs()
    with contextlib.suppress(EOFError, OSError):
        while True:
            function, arguments, named = connection.recv()
            connection.send(function(*arguments, **named))


@contextlib.contextmanager
def executor(count: int | None, address: str | None) -> Iterator[futures.Executor | None]:
    """Give processes, or what hands tasks to a Dask scheduler's workers, or nothing.

    Raises:
        InputError: nobody answers at the address. ImportError: the extra `cluster` is missing.
    """
    if count:
        with Processes(count) as processes:
            yield processes
    elif address:
        checks.extra("cluster", "distributed")
        from distributed import Client

        try:
            client = Client(address, timeout=_TIMEOUT)
        except (OSError, ValueError) as error:
            raise InputError(
                f"scheduler: expected one of Dask that answers at {address} within {_TIMEOUT} "
                f"seconds, got {checks.told(error)}; start it, or give its address"
            ) from error
        with client, client.get_executor() as workers:
            yield workers
    else:
        yield None


def until_done(work: Callable[[], None], folder: Path) -> None:
    """Do work that keeps tiles in a folder, and again where workers are lost, while more come.

    Raises:
        InputError: no more come.
    """
    failures = 0
    while True:
        before = _tiles(folder)
        try:
            return work()
        except futures.BrokenExecutor as error:
            failures = 0 if _tiles(folder) > before else failures + 1
            if failures == _TRIES:
                raise InputError(f"{error}; {_TRIES} times on end no further tile came") from error
            print(f"note: {error}", file=sys.stderr)


def _tiles(folder: Path) -> int:
    return sum(1 for _ in folder.rglob("*.safetensors"))

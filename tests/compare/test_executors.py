"""Evidence for comparisons on executors: whoever makes the tiles, the answer is the same."""

import contextlib
import functools
import itertools
import multiprocessing
import os
import pickle
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent import futures

import cloudpickle
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnet.commands import _workers
from jaxnet.compare import Problem, compare, foresee, tiles, workers
from jaxnet.errors import InputError
from jaxnet.storage import arrays

POINTS = np.random.default_rng(0).normal(size=7).astype(np.float32)


def distance(params, batch):
    return jnp.mean((params - batch) ** 2) / 2


def init(key):
    return 3 + jax.random.normal(key)


def size(params, batch):
    return jnp.abs(params) + 0 * jnp.sum(batch)


def momentum(learning_rate):
    return optax.sgd(learning_rate, momentum=0.5)


def compared(
    executor=None, data=POINTS, loss=distance, own=None, metrics=None, ask=compare, **more
):
    """A comparison of a few tiles for each stage."""
    problem = Problem(
        loss,
        init,
        data,
        epochs=4,
        batch_size=2,
        validation=data[:3] + 0.5,
        test=data[3:],
        metrics=metrics or {},
    )
    asked = {"budget": 6, "tuning_seeds": 2, "replicates": 8, "executor": executor}
    return ask(problem, own or {"momentum": momentum}, **asked | more)


def tiles_of(folder):
    """All that is kept of tiles, but the seconds they took."""
    kept = {path.name: arrays.read(path)[0] for path in folder.rglob("*.safetensors")}
    return {
        name: {key: value.tobytes() for key, value in tile.items() if key != "seconds"}
        for name, tile in kept.items()
    }


@pytest.fixture(scope="module", autouse=True)
def _small_tiles():
    """Several of them for each stage, as of larger networks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "_TILE_BYTES", {"cpu": 64})
        yield


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The tiles and the answers of this process alone, as one device makes them."""
    folder = tmp_path_factory.mktemp("alone")
    result = compared(folder=folder)
    return tiles_of(folder), str(result)


class Drawn(futures.Executor):
    """Does what was handed out in an order that is drawn, in a thread of its own.

    Args:
        disturb: gives what a task becomes, or raises what is lost with it: the pool is then
            broken, as one of processes is, and all that waits is lost.
        seed: of the order.
    """

    def __init__(self, disturb=lambda task: task, seed=0):
        self.disturb, self.random = disturb, random.Random(seed)
        self.waiting, self.made, self.most, self.broken = [], 0, 0, None
        self.changed, self.ended = threading.Condition(), False
        self.thread = threading.Thread(target=self._work)
        self.thread.start()

    def submit(self, function, task):
        # As it travels.
        sent = pickle.dumps((function, task))
        future = futures.Future()
        with self.changed:
            if self.broken:
                raise self.broken
            self.waiting.append((future, sent))
            self.most = max(self.most, len(self.waiting))
            self.changed.notify()
        return future

    def shutdown(self, wait=True, *, cancel_futures=False):
        with self.changed:
            self.ended = True
            self.changed.notify()
        self.thread.join()

    def _work(self):
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.waiting or self.ended)
                if not self.waiting:
                    return
                future, sent = self.waiting.pop(self.random.randrange(len(self.waiting)))
            if not future.set_running_or_notify_cancel():
                continue
            function, task = pickle.loads(sent)
            try:
                future.set_result(function(self.disturb(task)))
                self.made += 1
            except futures.BrokenExecutor as error:
                future.set_exception(error)
                with self.changed:
                    lost, self.waiting, self.broken = self.waiting, [], error
                for other, _ in lost:
                    if other.set_running_or_notify_cancel():
                        other.set_exception(error)


def test_tiles_made_in_any_order_are_those_of_this_process(four_cpus, undisturbed, tmp_path):
    told = []
    with Drawn() as executor:
        result = compared(executor, folder=tmp_path, on_progress=lambda *each: told.append(each))
    assert (tiles_of(tmp_path), str(result)) == undisturbed
    assert executor.made == len(undisturbed[0]) > 20
    # Both optimizers at once.
    assert executor.most > 1
    counts = [done for _, done, _ in told]
    assert counts == sorted(counts)
    assert told[-1][1] == told[-1][2]
    assert all("; 1 worker, " in what for what, *_ in told[1:])


def test_what_a_broken_executor_leaves_the_same_call_goes_on_from(four_cpus, undisturbed, tmp_path):
    """One that breaks after each few tiles, until all are made."""
    for seed in itertools.count():
        count = itertools.count()

        def killed(task, count=count):
            if next(count) == 9:
                raise futures.BrokenExecutor("a process died")
            return task

        before = len(tiles_of(tmp_path))
        with Drawn(killed, seed) as executor:
            try:
                result = compared(executor, folder=tmp_path)
                break
            except futures.BrokenExecutor as error:
                words = str(error)
        assert "a process died, as where a worker is killed or a connection is lost; " in words
        assert f"is kept in {tmp_path}: the same call with a new executor" in words
        # None is lost, and none is made twice.
        assert executor.made == len(tiles_of(tmp_path)) - before == 9
    assert seed > 1
    assert (tiles_of(tmp_path), str(result)) == undisturbed


def test_without_a_folder_a_broken_executor_says_that_nothing_is_kept():
    def killed(task):
        raise futures.BrokenExecutor("a process died")

    with (
        Drawn(killed) as executor,
        pytest.raises(futures.BrokenExecutor, match="nothing is kept: give a folder"),
    ):
        compared(executor)


@pytest.mark.parametrize("name", ["jax", "device", "XLA_FLAGS"])
def test_a_worker_that_may_compute_other_numbers_is_refused(name, tmp_path):
    """No tile of its own is kept."""

    def other(task):
        return task._replace(maker=task.maker | {name: "another"})

    with (
        Drawn(other) as executor,
        pytest.raises(
            InputError, match=f"compute as this process does, got [^ ]* with {name} another he"
        ),
    ):
        compared(executor, folder=tmp_path)
    assert tiles_of(tmp_path) == {}


def test_a_forked_worker_is_refused_before_it_may_wait_for_ever(monkeypatch):
    monkeypatch.setattr(workers, "_IMPORTED_BY", -1)
    with (
        Drawn() as executor,
        pytest.raises(InputError, match=r"one forked .*get_context"),
    ):
        compared(executor)


def test_what_a_worker_cannot_import_is_refused(monkeypatch):
    def loads(content):
        raise ModuleNotFoundError("No module named 'mine'")

    workers._unpacked.cache_clear()
    monkeypatch.setattr(cloudpickle, "loads", loads)
    with (
        Drawn() as executor,
        pytest.raises(InputError, match="got No module named 'mine'; install"),
    ):
        compared(executor)


def captured():
    """A loss whose second line takes what cannot travel, and an optimizer that does so within."""
    lock = threading.Lock()

    def loss(params, batch):
        with lock:
            return distance(params, batch)

    def make(learning_rate):
        return optax.sgd(learning_rate, momentum=0.1 * lock.locked())

    return loss, make


@pytest.mark.parametrize("what", ["loss", "optimizers: mine", "size"])
def test_what_cannot_travel_is_named_with_the_line_that_captures_it(what):
    loss, make = captured()
    function = make if what == "optimizers: mine" else loss
    line = function.__code__.co_firstlineno + 1
    own = {
        "loss": {"loss": loss},
        "optimizers: mine": {"own": {"mine": make}},
        "size": {"metrics": {"size": loss}},
    }[what]
    words = f"{what}: expected .* got lock in line {line} of test_executors.py, .*TypeError: cannot"
    with Drawn() as executor, pytest.raises(InputError, match=words):
        compared(executor, **own)
    assert executor.most == 0


@pytest.mark.usefixtures("unchecked")
def test_threads_and_what_is_no_executor_are_refused():
    refused = pytest.raises(InputError, match="one of processes, got a ThreadPoolExecutor, whose")
    with futures.ThreadPoolExecutor(1) as executor, refused:
        compared(executor)
    with pytest.raises(InputError, match=r"executor: expected one of concurrent.futures, got 4; g"):
        compared(4)


def test_what_is_foreseen_is_what_comes(undisturbed):
    """Runs and tiles to the last one; the memory is at least that of a process that has JAX."""
    told = []
    with Drawn() as executor:
        seen = compared(executor, ask=foresee)
        result = compared(executor, on_progress=lambda *each: told.append(each))
        assert executor.made == seen.tiles == len(undisturbed[0])
    assert told[-1][1] == seen.runs == sum(len(runs.seed) for runs in result.runs)
    assert seen.worker > 10**8 > seen.gathered > 0
    assert seen.seconds(2) == seen.compiling + seen.running / 2 > 0


def test_few_tasks_are_on_the_way_where_each_is_large(undisturbed, monkeypatch, tmp_path):
    """A scheduler holds them all in memory."""
    monkeypatch.setattr(workers, "_TASKS", 1)
    monkeypatch.setattr(workers, "_BYTES", 1)
    with Drawn() as executor:
        compared(executor, folder=tmp_path)
    assert executor.most == 1
    assert tiles_of(tmp_path) == undisturbed[0]


@pytest.fixture
def travelling():
    """Have the functions of this module travel by value: no worker can import a test."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


@contextlib.contextmanager
def spawned():
    with futures.ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as executor:
        yield executor


@contextlib.contextmanager
def dask():
    """Processes behind a scheduler, all on this machine."""
    distributed = pytest.importorskip("distributed")
    settings = {"n_workers": 2, "threads_per_worker": 2, "dashboard_address": None}
    with distributed.LocalCluster(**settings) as cluster, distributed.Client(cluster) as client:
        yield client.get_executor()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("workforce", [spawned, dask])
def test_processes_make_the_tiles_of_this_one(workforce, undisturbed, travelling, tmp_path):
    """To the byte, at a precision and promotion of dtypes that are not JAX's own."""
    with workforce() as executor:
        assert str(compared(executor, folder=tmp_path)) == undisturbed[1]
        assert tiles_of(tmp_path) == undisturbed[0]
        with jax.enable_x64(True):
            wide = compared(executor, data=POINTS.astype(float))
    assert wide.log.provenance.dtype == "float64"


KILLS = int(os.environ.get("KILLS", "6"))


def compared_while(kill, kills, executors, undisturbed, folder):
    """Compare again and again until so many were killed, each at a moment drawn after a tile."""
    drawn, killed, answers, ended = random.Random(0), 0, [], threading.Event()

    def go_on_killing():
        nonlocal killed
        before = 0, 0
        while not ended.wait(0.1):
            now = len(answers), _workers._tiles(folder / str(len(answers)))
            if now[1] and now > before:
                time.sleep(drawn.uniform(0, 3))
                killed += kill(drawn)
                before = len(answers), _workers._tiles(folder / str(len(answers)))

    killer = threading.Thread(target=go_on_killing)
    killer.start()
    try:
        while killed < kills:
            own = folder / str(len(answers))

            def work(own=own):
                with executors() as executor:
                    answers.append(str(compared(executor, folder=own)))

            _workers.until_done(work, own)
            assert killer.is_alive()
            assert (tiles_of(own), answers[-1]) == undisturbed
    finally:
        ended.set()
        killer.join()
    print(f"{killed} killed in {len(answers)} comparisons")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_workers_that_are_killed_change_no_tile(undisturbed, travelling, tmp_path):
    """KILLS=200 asks for more of them."""

    def kill(drawn):
        if process := drawn.choice(executor._workers)._process:
            process.kill()
        return bool(process)

    with _workers.Processes(2) as executor:
        executors = functools.partial(contextlib.nullcontext, executor)
        compared_while(kill, KILLS, executors, undisturbed, tmp_path)


class Restarted:
    """A command that is run again wherever it ends."""

    def __init__(self, *command):
        self.command, self.ended = [sys.executable, "-m", *command], False
        self.process = self.start()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def start(self):
        return subprocess.Popen(self.command, stderr=subprocess.DEVNULL)

    def run(self):
        while self.process.wait() is not None and not self.ended:
            self.process = self.start()

    def end(self):
        self.ended = True
        self.process.kill()
        self.thread.join()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_scheduler_that_is_killed_and_restarted_changes_no_tile(
    undisturbed, travelling, tmp_path, monkeypatch
):
    """A tenth as often as workers; theirs ends with its connection, and is started anew too."""
    pytest.importorskip("distributed")
    monkeypatch.setattr(_workers, "_TIMEOUT", 120)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host, port = probe.getsockname()
    address, quiet = f"tcp://{host}:{port}", "--no-dashboard"
    own = ["--host", host, "--port", str(port)]
    scheduler = Restarted("distributed.cli.dask_scheduler", *own, quiet)
    worker = Restarted("distributed.cli.dask_worker", address, "--no-nanny", quiet)

    def kill(_):
        scheduler.process.kill()
        return True

    executors = functools.partial(_workers.executor, None, address)
    try:
        compared_while(kill, max(1, KILLS // 10), executors, undisturbed, tmp_path)
    finally:
        worker.end()
        scheduler.end()


@pytest.mark.slow
def test_a_worker_that_dies_of_every_tile_is_given_up():
    """Where a pipe whose reader is gone ends a command."""
    before = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    with _workers.Processes(1) as executor:
        future = executor.submit(signal.raise_signal, signal.SIGKILL)
        with pytest.raises(futures.BrokenExecutor, match="its worker was killed 3 times"):
            future.result()
        assert executor.submit(abs, -1).result() == 1
        executor._workers[0]._process.kill()
        executor._workers[0]._process.join()
        assert executor.submit(abs, -2).result() == 2
    signal.signal(signal.SIGPIPE, before)

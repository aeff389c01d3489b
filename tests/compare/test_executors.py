"""Evidence for comparisons on executors: whoever makes the tiles, the answer is the same."""

import concurrent.futures as futures
import functools
import multiprocessing
import os
import random
import signal
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnet import devices
from jaxnet.compare import Problem, compare, workers
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


def compared(executor=None, loss=distance, own=None, metrics=None, **more):
    """A comparison of a few tiles for each stage."""
    problem = Problem(
        loss,
        init,
        POINTS,
        epochs=4,
        batch_size=2,
        validation=POINTS[:3] + 0.5,
        test=POINTS[3:],
        metrics=metrics or {},
    )
    asked = {"budget": 6, "tuning_seeds": 2, "replicates": 8, "executor": executor}
    return compare(problem, own or {"momentum": momentum}, **asked | more)


def tiles_of(folder):
    """All that is kept of tiles, but the seconds they took."""
    kept = {path.name: arrays.read(path)[0] for path in folder.rglob("*.safetensors")}
    return {
        name: {key: value.tobytes() for key, value in tile.items() if key != "seconds"}
        for name, tile in kept.items()
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The tiles and the answers of this process alone, as one device makes them."""
    folder = tmp_path_factory.mktemp("alone")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "_TASKS", 64)
        result = compared(folder=folder)
    return tiles_of(folder), str(result)


class Drawn(futures.Executor):
    """Runs what was handed out in an order that is drawn, in a thread of its own.

    Whatever `disturb` gives for a task is what becomes of it, None its own result; one that is
    lost takes all others with it, as a pool of processes does.
    """

    def __init__(self, disturb=lambda function, task: None, seed=0):
        self.disturb, self.random = disturb, random.Random(seed)
        self.waiting, self.made, self.most = [], 0, 0
        self.changed, self.ended = threading.Condition(), False
        self.thread = threading.Thread(target=self._work)
        self.thread.start()

    def submit(self, function, *arguments):
        future = futures.Future()
        with self.changed:
            self.waiting.append((future, function, arguments))
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
                place = self.random.randrange(len(self.waiting))
                future, function, arguments = self.waiting.pop(place)
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(self.disturb(function, *arguments) or function(*arguments))
                self.made += 1
            except futures.BrokenExecutor as error:
                future.set_exception(error)
                for other, *_ in self.waiting:
                    other.set_exception(error)
                self.waiting.clear()


def test_tiles_made_in_any_order_are_those_of_this_process(undisturbed, tmp_path):
    told = []
    with Drawn() as executor:
        result = compared(executor, folder=tmp_path, on_progress=lambda *each: told.append(each))
    assert (tiles_of(tmp_path), str(result)) == undisturbed
    assert executor.made == len(undisturbed[0]) > 6
    # Both optimizers at once.
    assert executor.most > 1
    counts = [done for _, done, _ in told]
    assert counts == sorted(counts)
    assert told[-1][1] == told[-1][2]
    assert all("; 1 worker, " in what for what, *_ in told[1:])

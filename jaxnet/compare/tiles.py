"""What the runs of one optimizer train, and how many of them a tile takes at once.

A tile is a fixed number of runs on each device, whose parameters fit the cache.

Shapes: D devices, K items of a tile on each, L settings of an item, E measurements along a run,
T steps of B rows, N rows of data, R runs.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from jaxnet import devices, losses, training
from jaxnet._guards import options
from jaxnet.losses import Loss, Rule

# What the parameters, gradients and optimizer states of a tile may take: a CPU's cache; elsewhere
# enough runs to fill the device.
_TILE_BYTES = {"cpu": 2**20}
_DEVICE_TILE_BYTES = 2**30
# Multiplications of all runs that one device has done before more of them have begun.
_ALONE = 2**21


class Trials(NamedTuple):
    """What is to be run: a seed and a setting of each run.

    Attributes:
        seeds: shape [R]. settings: by hyperparameter, shape [R].
    """

    seeds: Int[np.ndarray, " R"]
    settings: Mapping[str, Float[np.ndarray, " R"]]

    def first(self, count: int) -> "Trials":
        """Give the first so many."""
        settings = {name: values[:count] for name, values in self.settings.items()}
        return Trials(self.seeds[:count], settings)


class Fast(NamedTuple):
    """How a tile is computed.

    Attributes:
        products: whether they are rewritten. options: what it is compiled with.
    """

    products: bool
    options: tuple[tuple[str, Any], ...]


PLAIN = Fast(False, ())
"""Nested `vmap` as JAX compiles it."""


def fast(asked: bool | None = None) -> Fast:
    """Give the path that is asked for; None takes what JAXNET_FAST says, or the fast one.

    Raises:
        InputError: a switch that is neither on nor off.
    """
    taken = devices.is_fast(asked) and jax.default_backend() == "cpu"
    return Fast(True, tuple(options.of_many_runs().items())) if taken else PLAIN


class Workload(NamedTuple):
    """What every run trains: seed s has the same start and batches at every setting.

    Attributes:
        loss: `(params, batch) -> []`, or a `Rule` of its value and gradient.
        init: `key -> params`, pure; a run of seed s starts from `init(jax.random.key(s))`.
        data: N rows, or None, which every batch then is.
        batch_size: B; all rows, as they are, where it is N. steps: of each run, T.
        measured: shape [E], after how many steps a run is measured, T the last.
        validation: data to measure along the runs; none where None. test: to score at their end.
        metrics: names and functions `(params, batch) -> []` measured there beside the loss.
        start: the fingerprint of that of seed 0. fingerprint: of what the functions do. Another
            of either makes other programs.
        fast: the path to take; that of `fast()` where None.
    """

    loss: Loss | Rule
    init: Callable[[Array], PyTree]
    data: PyTree
    batch_size: int
    steps: int
    measured: tuple[int, ...]
    validation: PyTree | None = None
    test: PyTree | None = None
    metrics: training.Metrics = ()
    start: str = ""
    fingerprint: str = ""
    fast: Fast | None = None

    @property
    def whole(self) -> bool:
        """Whether every batch is all of the data, as it is: there is no order."""
        return self.batch_size == self.rows

    @property
    def rows(self) -> int:
        """How many rows of data there are, N; of none, one."""
        leaves = jax.tree.leaves(self.data)
        return len(leaves[0]) if leaves else 1


class Swept(NamedTuple):
    """Runs that are done; axis R, or the items and settings of a tile, first.

    Attributes:
        loss: shape [R, E], the mean training loss since the measurement before.
        validation: by name, shape [R, E]. test: by name, shape [R].
        diverged: shape [R], the step whose loss was the first not finite, T where the last
            parameters alone are not; -1 where the run lasts.
        evaluations: shape [R], gradients of a batch computed.
    """

    loss: Float[np.ndarray, "R E"]
    validation: dict[str, Float[np.ndarray, "R E"]]
    test: dict[str, Float[np.ndarray, " R"]]
    diverged: Int[np.ndarray, " R"]
    evaluations: Int[np.ndarray, " R"]


def under(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Give the arrays whose names begin so, by what follows."""
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


class Timing(NamedTuple):
    """What runs took: to compile their program, once, and to run each tile of it, shape [tiles]."""

    compiling: float
    running: Float[np.ndarray, " K"]


class Tile(NamedTuple):
    """How many items each device takes at once, and how many settings each item has.

    All local devices take part where `devices` is None, else the first so many.
    """

    items: int
    settings: int
    devices: int | None = None

    @property
    def device_count(self) -> int:
        """How many devices take part."""
        return _count(self.devices)

    @property
    def runs(self) -> int:
        """Runs of one call of the program, on all devices."""
        return self.items * self.settings * self.device_count


def _count(asked: int | None) -> int:
    return jax.local_device_count() if asked is None else asked


def tile(workload: Workload, runs: int, settings: int, count: int | None = None) -> Tile:
    """Choose a tile for so many runs: as many as fit the cache, and no more than are needed.

    Args:
        workload: what is trained.
        runs: how many.
        settings: those that share their seed's batch, and one large product with it. An item
            with fewer to run is filled up, at the cost of the full one.
        count: how many local devices take part; where None all of them, or one for runs so short
            that handing them out would take longer.
    """
    params = jax.eval_shape(workload.init, jax.random.key(0))
    # Parameters, gradients and two moments.
    run = 4 * sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(params))
    room = _TILE_BYTES.get(jax.default_backend(), _DEVICE_TILE_BYTES)
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    if count is None and runs * workload.steps * workload.batch_size * size < _ALONE:
        count = 1
    needed = -(-runs // (settings * _count(count)))
    # As many calls as the cache asks for, all of them as full.
    calls = -(-needed // max(1, room // run // settings))
    return Tile(-(-needed // calls), settings, count)


def memory(workload: Workload, shape: Tile, runs: int) -> int:
    """Estimate the bytes that so many runs take: their results, and a tile under way."""
    params = jax.eval_shape(workload.init, jax.random.key(0))
    run = 6 * sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(params))
    measures = 1 + (1 + len(workload.metrics)) * (workload.validation is not None)
    results = 8 * runs * (len(workload.measured) * measures + 8)
    row = sum(leaf.nbytes for leaf in jax.tree.leaves(workload.data)) // workload.rows
    items = 0 if workload.whole else shape.runs // shape.settings * workload.batch_size
    gathered = items * (4 * workload.steps + row)
    data = sum(
        np.size(leaf) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves((workload.data, workload.validation, workload.test))
    )
    under_way = shape.runs * (run + _widest(workload, params))
    return results + under_way + gathered + data * (1 + shape.device_count)


def _widest(workload: Workload, params: PyTree) -> int:
    """Give the bytes of the largest array on the way to the loss of the rows measured at once.

    Twice, for what goes into a product and what comes out; XLA's own figures leave out what its
    libraries hold of them.
    """
    parts = [part for part in (workload.validation, workload.test) if part is not None]
    # Of a batch both are held, what leads to the loss and what leads back.
    rows = max(2 * workload.batch_size, *(len(jax.tree.leaves(part)[0]) for part in parts), 1)
    batch = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(
            # Wider numbers come as JAX takes them, or it would warn of every one.
            (rows, *leaf.shape[1:]),
            jax.dtypes.canonicalize_dtype(leaf.dtype),
        ),
        workload.data,
    )
    key = losses.run_key(workload.loss, 0)
    evaluate = functools.partial(losses.evaluate, workload.loss, key=key)
    equations = jax.make_jaxpr(evaluate)(params, batch).jaxpr.eqns
    arrays = [variable.aval for equation in equations for variable in equation.outvars]
    return 2 * max((array.size * array.dtype.itemsize for array in arrays), default=0)

"""Where runs start and which rows they see: drawn from their seeds, and moved to their devices.

Shapes: K items of a tile, L settings of an item, H hyperparameters of a setting, T steps of B rows,
N rows of data.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree, Shaped

from jaxnet import batches, variables
from jaxnet._guards import options
from jaxnet.compare.tiles import Workload

# What the orders of a problem's seeds may take that are kept.
_ORDER_BYTES = 2**26


class Inputs(NamedTuple):
    """What a tile's program is called with, or the shapes of that, or how it is spread.

    Attributes:
        params: the starts, axis K first.
        settings: shape [K, L, H], the hyperparameters in the order of their names.
        seeds: shape [K].
        order: shape [K, T, B], or [K, B] of a first batch; None where each is all of the data.
        data: N rows. judged: the validation data, or the parts to judge on by name.
    """

    params: PyTree
    settings: Any
    seeds: Any
    order: Any
    data: PyTree
    judged: PyTree


def placed(
    workload: Workload,
    seeds: Int[np.ndarray, " K"],
    settings: Float[np.ndarray, "K L H"],
    mesh: jax.sharding.Mesh,
) -> Inputs:
    """Give what a program takes: starts and orders of items, each with the items first."""
    cut = None if workload.whole else (workload.rows, workload.batch_size, workload.steps)
    program = starting(workload.init, workload.start)
    params, order = _drawn(program, seeds.tobytes(), cut, mesh, _jax_settings())
    spread = jax.device_put(settings.astype(dtype_of(params)), _spread_over(mesh))
    return Inputs(params, spread, seeds, order, data=workload.data, judged=workload.validation)


def _spread_over(mesh: jax.sharding.Mesh) -> jax.sharding.NamedSharding:
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("runs"))


def _jax_settings() -> tuple[Any, ...]:
    """Give the settings of JAX that decide what a seed draws."""
    config: Any = jax.config
    return jnp.result_type(float), config.jax_threefry_partitionable


@functools.lru_cache(maxsize=8)
def _drawn(
    program: Any,
    packed: bytes,
    cut: tuple[int, int, int] | None,
    mesh: jax.sharding.Mesh,
    settings: Any,
) -> tuple[Any, Any]:
    """Draw starts and orders and move them to their devices, which takes as long as short runs do.

    There is no order where `cut`, its rows, batch size and steps, is None.
    """
    del settings
    seeds = np.frombuffer(packed, np.int32)
    order = None if cut is None else np.stack([shuffled(*cut, seed) for seed in seeds.tolist()])
    return jax.device_put((program(seeds), order), _spread_over(mesh))


def dtype_of(params: PyTree) -> np.dtype:
    """Give the dtype that holds all parameters that train, which settings come as."""
    return np.result_type(*(leaf.dtype for leaf in jax.tree.leaves(variables.split(params)[0])))


def start(
    init: Callable[[Array], PyTree], seeds: Int[Array, " K"]
) -> PyTree[Shaped[Array, "K ..."]]:
    """Draw the starts of seeds."""
    return jax.vmap(lambda seed: init(jax.random.key(seed)))(seeds)


@functools.lru_cache(maxsize=64)
def starting(init: Callable[[Array], PyTree], told_apart: str) -> Any:
    """Give the compiled program that draws the starts of seeds, by the fingerprint of one."""
    del told_apart
    return options.program(functools.partial(start, init))


def shuffled(rows: int, batch_size: int, steps: int, seed: int) -> Int[np.ndarray, "T B"]:
    """Give the order of a run in batches of fewer than all rows."""
    return _orders(rows, batch_size, steps)(seed)


@functools.lru_cache(maxsize=2)
def _orders(rows: int, batch_size: int, steps: int) -> Callable[[int], Int[np.ndarray, "T B"]]:
    """Give what draws the order of a seed: for all stages and optimizers once, while there is room.

    To shuffle a few rows takes as long as to train on them.
    """
    epochs = -(-steps // (rows // batch_size))
    kept = _ORDER_BYTES // (rows * epochs * np.dtype(np.int32).itemsize)

    @functools.lru_cache(kept)
    def order(seed: int) -> Int[np.ndarray, "T B"]:
        return batches.shuffled(rows, batch_size, epochs, seed)[:steps]

    return order

"""All runs of a tile at once: trained and judged; and one of them alone, to see why it diverged.

They take the step of `training` mapped over seeds and over the settings of each, which share its
batch: one large product with it.

Shapes: K items of a tile, L settings of an item.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int32, Key, PyTree, Shaped

from jaxnet import batches, losses, training, variables
from jaxnet.compare import starts
from jaxnet.compare.starts import Inputs
from jaxnet.compare.tiles import Fast, Workload
from jaxnet.losses import Loss, Rule
from jaxnet.optimizers import Entry


class Functions(NamedTuple):
    """What a tile's program is made of."""

    loss: Loss | Rule
    metrics: training.Metrics
    fast: Fast


class Steps(NamedTuple):
    """What the runs of a program do at each step: which optimizer, and when they are measured."""

    entry: Entry
    names: tuple[str, ...]
    measured: tuple[int, ...]


class Progress(NamedTuple):
    """Where the runs are: one of them, or all with the axes K, L first.

    Attributes:
        run: the parameters, the optimizer's state, and what is measured next.
        evaluations: gradients of a whole batch that were computed.
    """

    run: training.Run
    evaluations: Int32[Array, "*R"]


class _Tile(NamedTuple):
    """What stays the same while the runs of a tile are trained.

    Attributes:
        plan: of every run, whose optimizer is to be made of its numbers.
        entry: the optimizer.
        numbers: by name, the hyperparameters of each run, and the key where it draws noise.
        keys: those of the runs, where the loss draws.
        inputs: data, starts and orders.
    """

    plan: training.Plan
    entry: Entry
    numbers: dict[str, Shaped[Array, "K L"]]
    keys: Key[Array, "K L"] | None
    inputs: Inputs


def train(functions: Functions, taken: Steps, inputs: Inputs) -> tuple[dict[str, PyTree], PyTree]:
    """Train a tile's runs; give what was measured of them and their last parameters to be judged.

    Both have the axes K, L first.
    """
    tile, (*before, last) = _tile(functions, taken, inputs), taken.measured
    windows = jnp.array([[0, *before], taken.measured], jnp.int32)
    params = repeated(inputs.params, inputs.settings.shape[1])
    start = nested(functools.partial(_begin, tile.plan))(params, tile.numbers)
    measure = functools.partial(_measure, tile)
    (run, evaluations), values = jax.lax.scan(measure, start, tuple(windows))
    values = {name: jnp.moveaxis(value, 0, -1) for name, value in values.items()}
    values["diverged"] = nested(lambda run: training.diverged(run, last))(run)
    values["evaluations"] = evaluations
    return values, nested(functools.partial(training.judged, tile.plan))(run.state)


def _tile(functions: Functions, taken: Steps, inputs: Inputs) -> _Tile:
    entry, settings = taken.entry, inputs.settings
    build = functools.partial(_build, entry, taken.measured[-1])
    weight = _weight(functions.loss, inputs.data)
    plan = training.Plan(functions.loss, build, functions.metrics, weight, entry.evaluate)
    numbers = {name: settings[..., h] for h, name in enumerate(taken.names)}
    if entry.random:
        keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), inputs.seeds)
        numbers["key"] = repeated(keys, settings.shape[1])
    keys = jax.vmap(functools.partial(losses.run_key, functions.loss))(inputs.seeds)
    return _Tile(plan, entry, numbers, repeated(keys, settings.shape[1]), inputs)


def _begin(plan: training.Plan, params: PyTree, numbers: dict[str, Array]) -> Progress:
    """Give one run before its first step."""
    run = training.begin(plan.made(numbers).optimizer, params)
    return Progress(run, evaluations=jnp.zeros((), jnp.int32))


def _measure(
    tile: _Tile, progress: Progress, window: tuple[Array, Array]
) -> tuple[Progress, dict[str, Shaped[Array, "K L"]]]:
    """Take all runs from the first step of a window to its end, and measure them there."""
    advance = functools.partial(_advance_all, tile)
    judged = {} if tile.inputs.judged is None else {"validation": tile.inputs.judged}
    run, evaluations = jax.lax.fori_loop(*window, advance, progress)
    run, values = nested(lambda run: training.measure(tile.plan, run, judged))(run)
    return Progress(run, evaluations), values


def _advance_all(tile: _Tile, t: Array, progress: Progress) -> Progress:
    """Take step t of all runs, those of an item on the same batch."""
    data, order = tile.inputs.data, tile.inputs.order
    batch = None if order is None else jax.vmap(batches.take, (None, 0))(data, order[:, t])
    runs = progress, tile.numbers, tile.keys
    return over_runs(functools.partial(_advance, tile, t), *runs, batch=batch)


def _advance(
    tile: _Tile,
    t: Array,
    progress: Progress,
    numbers: dict[str, Array],
    key: Array | None,
    batch: PyTree | None,
) -> Progress:
    """Take step t of one run, of its own numbers; on all of the data where there is no batch."""
    run, spent = training.advance(
        tile.plan.made(numbers, key),
        progress.run,
        tile.inputs.data if batch is None else batch,
        t=t,
        record=lambda step: tile.entry.evaluations(step.after.opt_state),
    )
    return Progress(run, progress.evaluations + spent)


def _build(entry: Entry, steps: int, /, **setting: Any) -> Any:
    """Make an optimizer of a setting, and of the key that comes with it where it draws noise."""
    key = setting.pop("key") if entry.random else None
    return entry.build(setting, steps, key)


def _weight(loss: Loss | Rule, data: PyTree) -> Callable[[PyTree], Any]:
    """Give what a step counts: all batches have the same rows, if not the same weights."""
    if losses.weighs(loss) and len(data) > 2:
        return variables.weight
    return lambda batch: 1


def judge(functions: Functions, data: PyTree, params: PyTree) -> dict[str, Array]:
    """Give the loss and the metrics of parameters on all of the data."""
    return training.judge(functions.loss, functions.metrics, params, data)


def nested(function: Callable[..., Any]) -> Callable[..., Any]:
    """Map a function of pytrees over the axes K, L of their leaves."""
    return jax.vmap(jax.vmap(function))


def over_runs(function: Callable[..., Any], *runs: PyTree, batch: PyTree | None) -> Any:
    """Apply a function to what runs have, axes K, L first, and to the batch that an item shares.

    The batches have the axis K first; where there is none, all runs are given None.
    """
    of_item = jax.vmap(function, in_axes=(*(0 for _ in runs), None))
    return jax.vmap(of_item)(*runs, batch)


def repeated(
    items: PyTree[Shaped[Array, "K ..."]], settings: int
) -> PyTree[Shaped[Array, "K L ..."]]:
    """Repeat what an item has for each of its settings."""
    return jax.tree.map(
        lambda leaf: jnp.broadcast_to(leaf[:, None], (len(leaf), settings, *leaf.shape[1:])), items
    )


def cause(workload: Workload, entry: Entry, seed: int, setting: Mapping[str, float]) -> str:
    """Say where and why a run met a number that is not finite, by running it alone."""
    noise = {"key": jax.random.fold_in(jax.random.key(0), seed)} if entry.random else {}
    make = functools.partial(_build, entry, workload.steps, **noise)
    order = (
        batches.full_batch(workload.rows, workload.steps)
        if workload.whole
        else starts.shuffled(workload.rows, workload.batch_size, workload.steps, seed)
    )
    params = workload.init(jax.random.key(seed))
    weight, key = _weight(workload.loss, workload.data), losses.run_key(workload.loss, seed)
    plan = training.Plan(workload.loss, make, weight=weight)
    return training.attempt(plan, setting, training.Setup(params, workload.data, order, key))[2]

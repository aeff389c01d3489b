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
import numpy as np
from jaxtyping import Array, PyTree, Shaped

from jaxnet import batches, training
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


def train(functions: Functions, taken: Steps, inputs: Inputs) -> tuple[dict[str, PyTree], PyTree]:
    """Train a tile's runs; give what was measured of them and their last parameters to be judged.

    Both have the axes K, L first.
    """
    entry, measured = taken.entry, np.array(taken.measured)
    settings, order, data = inputs.settings, inputs.order, inputs.data
    build = functools.partial(_build, entry, taken.measured[-1])
    plan = training.Plan(functions.loss, build, functions.metrics, _one, entry.evaluate)
    numbers = {name: settings[..., h] for h, name in enumerate(taken.names)}
    if entry.random:
        keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), inputs.seeds)
        numbers["key"] = repeated(keys, settings.shape[1])

    def begin(params: PyTree, numbers: dict[str, Array]) -> tuple[training.Run, Array]:
        return training.begin(plan.made(numbers).optimizer, params), jnp.zeros((), jnp.int32)

    def advance(t: Array, carry: Any, batch: PyTree | None) -> tuple[training.Run, Array]:
        (run, evaluations), numbers = carry
        run, spent = training.advance(
            plan.made(numbers),
            run,
            data if batch is None else batch,
            t=t,
            record=lambda step: entry.evaluations(step.after.opt_state),
        )
        return run, evaluations + spent

    def all_advance(t: Array, carry: Any) -> tuple[training.Run, Array]:
        batch = None if order is None else jax.vmap(batches.take, (None, 0))(data, order[:, t])
        return over_runs(functools.partial(advance, t))((carry, numbers), batch)

    def measure(carry: Any, window: tuple[Array, Array]) -> tuple[Any, dict[str, Array]]:
        run, evaluations = jax.lax.fori_loop(*window, all_advance, carry)
        run, values = nested(lambda run: training.measure(plan, run, inputs.judged))(run)
        return (run, evaluations), values

    windows = jnp.array([[0, *measured[:-1]], measured], jnp.int32)
    carry = nested(begin)(repeated(inputs.params, settings.shape[1]), numbers)
    (run, evaluations), values = jax.lax.scan(measure, carry, tuple(windows))
    values = {name: jnp.moveaxis(value, 0, -1) for name, value in values.items()}
    values["diverged"] = nested(lambda run: training.diverged(run, int(measured[-1])))(run)
    values["evaluations"] = evaluations
    return values, nested(lambda state: plan.judged(state.opt_state, state.params))(run.state)


def _build(entry: Entry, steps: int, /, **setting: Any) -> Any:
    """Make an optimizer of a setting, and of the key that comes with it where it draws noise."""
    key = setting.pop("key") if entry.random else None
    return entry.build(setting, steps, key)


def _one(batch: PyTree) -> int:
    """Count every step alike: all batches have the same rows."""
    del batch
    return 1


def judge(functions: Functions, data: PyTree, params: PyTree) -> dict[str, Array]:
    """Give the loss and the metrics of parameters on all of the data."""
    return training.judge(functions.loss, functions.metrics, params, data)


def nested(function: Callable[..., Any]) -> Callable[..., Any]:
    """Map a function of pytrees over the axes K, L of their leaves."""
    return jax.vmap(jax.vmap(function))


def over_runs(function: Callable[..., Any]) -> Callable[..., Any]:
    """Map `(run, batch) -> result` over the axes K, L of runs and K of batches, or of None."""
    return jax.vmap(jax.vmap(function, in_axes=(0, None)))


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
    plan = training.Plan(workload.loss, make, weight=_one)
    return training.attempt(plan, setting, training.Setup(params, workload.data, order))[2]

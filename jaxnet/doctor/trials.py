"""Short runs beside a run, each with something changed, all of them in one program.

Shapes: V changes, S seeds, N rows, T steps of B rows, I inputs, O outputs.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from jaxnet import batches, losses, network, optimizers, training, variables
from jaxnet._guards import options
from jaxnet.doctor import changes, networks
from jaxnet.doctor.changes import Change
from jaxnet.doctor.networks import NONE, Network
from jaxnet.losses import BatchLoss, Loss, Rule

SEEDS, BATCH = 2, 64
# How many steps trials take at most, and of batches that are small.
_STEPS, _MORE, _SMALL = 400, 2000, 16
# What all trials may cost: operations, bytes in one step, bytes of parameters. Fewer steps than
# the last tell nothing.
_OPERATIONS, _MOVED, _KEPT, _LEAST = 2e10, 4e9, 2e8, 40


class Case(NamedTuple):
    """What all trials share.

    Attributes:
        loss, optimizer: of the run. known: its network, where that is one of layers.
        judged: the loss that it is judged by, where that is another.
        kind: the cross-entropy of its classes, where it has some and another loss; of numbers
            that its loss does not tell apart the squared error.
        units: whether its inputs are rows of numbers. targets: whether its targets are.
    """

    loss: Loss | Rule
    optimizer: Any
    judged: Any = None
    known: Network | None = None
    kind: Any = None
    units: bool = False
    targets: bool = False


class Rows(NamedTuple):
    """What trials train on and are judged by, each seed by other rows.

    Attributes:
        numbers: the hyperparameters. data: N rows. trained: which of them each seed trains on.
        judged: the rows that judge each, the axis of seeds first.
        batch_size: B. steps: of the run.
    """

    numbers: Mapping[str, float]
    data: PyTree
    trained: Int[np.ndarray, "S M"]
    judged: PyTree
    batch_size: int
    steps: int

    @property
    def most(self) -> int:
        """Give how many steps trials take at most."""
        return _STEPS if self.batch_size >= _SMALL else _MORE


class Trial(NamedTuple):
    """A change, where it starts, of S seeds with that axis first, and how many steps it takes."""

    change: Change
    params: PyTree
    steps: Any


def affordable(case: Case, rows: Rows, params: PyTree, changes: int) -> int:
    """Give how many steps so many changes may take, 0 where they are too large to be tried."""
    batch = jax.tree.map(lambda leaf: leaf[: rows.batch_size], rows.data)
    key = losses.run_key(case.loss, 0)
    cost = jax.jit(losses.evaluate, static_argnums=0).lower(case.loss, params, batch, key)
    each, runs = cost.cost_analysis() or {}, changes * SEEDS
    leaves = jax.tree.leaves(params)
    kept = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
    steps = min(rows.most, int(_OPERATIONS / (runs * max(each.get("flops", 0), 1))))
    small = runs * each.get("bytes accessed", 0) < _MOVED and runs * kept < _KEPT
    return steps if small and steps >= _LEAST else 0


def score(
    case: Case, rows: Rows, tried: Mapping[Change, tuple[PyTree, int]]
) -> Float[np.ndarray, "2 V S"]:
    """Train with each change; give the loss of each, and its share of wrong classes.

    What is not finite is infinite.

    Args:
        tried: each change with the parameters it starts from, of S seeds, and its steps.
    """
    trials = [Trial(change, *begun) for change, begun in tried.items()]
    parts = rows.data[:2] if case.units else ()
    scales = [tuple(each.astype(part.dtype) for each in moments(part)) for part in parts]
    many = rows.trained.shape[1]
    epochs = -(-rows.most // (many // rows.batch_size))
    orders = [
        own[batches.shuffled(many, rows.batch_size, epochs, seed)[: rows.most]]
        for seed, own in enumerate(rows.trained)
    ]
    keys: Any = [losses.run_key(case.loss, seed) for seed in range(SEEDS)]
    values = _program(case)(
        dict(rows.numbers),
        stacked(trials),
        (np.stack(orders), None if keys[0] is None else jnp.stack(keys)),
        (rows.data, rows.judged, scales),
    )
    values = np.stack(jax.device_get(values))
    return np.where(np.isfinite(values), values, np.inf)


@functools.lru_cache(maxsize=16)
def _program(case: Case) -> Any:
    def program(numbers: Any, trials: Trial, seeds: Any, data: Any) -> Any:
        def run(trial: Trial, params: PyTree, seed: Any) -> PyTree:
            made = optimizers.make(case.optimizer, numbers)
            made = optimizers.multiplied(made, trial.change.factor)
            plan = training.Plan(_loss(case, trial.change), made, key=seed[1])

            def step(t: Array, run: training.Run) -> training.Run:
                batch = _scaled(case, trial.change, batches.take(data[0], seed[0][t]), data[2])
                return training.advance(plan, run, batch, t=t)[0]

            return jax.lax.fori_loop(0, trial.steps, step, training.begin(made, params)).state

        def of_seeds(trial: Trial) -> PyTree:
            return jax.vmap(lambda params, *seed: run(trial, params, seed))(trial.params, *seeds)

        def judged(ended: tuple[Trial, PyTree]) -> tuple[Array, Array]:
            scored = functools.partial(_scored, case, ended[0].change, data[2])
            return jax.vmap(scored)(ended[1], data[1])

        # One after another: the units of all of them at all rows may not fit the memory.
        return jax.lax.map(judged, (trials, jax.vmap(of_seeds)(trials).params))

    return options.program(program)


def _forward(case: Case, change: Change) -> losses.Forward:
    if (known := case.known) is None:
        return losses.original(case.loss).forward
    hidden = [networks.HIDDEN[name] for name in (known.activation, changes.other(known.activation))]
    outputs = [networks.OUTPUTS[name] for name in (known.output, NONE)]

    def activation(z: Array) -> Array:
        return jax.lax.switch(jnp.asarray(change.activation, int), hidden, z)

    def forward(params: network.Params, x: Array) -> Array:
        z = network.forward(params, x, activation)
        return jax.lax.switch(jnp.asarray(change.outputs, int), outputs, z)

    return forward


def _loss(case: Case, change: Change) -> Loss | Rule:
    if case.known is None:
        return case.loss
    kinds = [losses.original(case.loss).example_loss, case.kind]
    means = [lambda z, y, kind=kind: jnp.mean(kind(z, y)) for kind in kinds if kind]

    def example_loss(z: Array, y: Array) -> Array:
        return jax.lax.switch(jnp.asarray(change.loss, int), means, z, y)

    return BatchLoss(_forward(case, change), example_loss)


def _unit(changed: Any, scale: tuple[Array, ...]) -> tuple[Array, Array]:
    """Give what rows are shifted and divided by."""
    mean, deviation = scale
    one = jnp.ones_like(deviation)
    return jnp.where(changed, mean, jnp.zeros_like(mean)), jnp.where(
        changed & (deviation > 0), deviation, one
    )


def _scaled(case: Case, change: Change, batch: Any, scales: Any) -> Any:
    if not case.units:
        return batch
    x, y, *weights = batch
    shift, scale = _unit(change.inputs, scales[0])
    x = (x - shift[None]) / scale[None]
    if case.targets:
        shift, scale = _unit(change.targets, scales[1])
        y = (y - shift[None]) / scale[None]
    return x, y, *weights


def _scored(
    case: Case, change: Change, scales: Any, params: PyTree, judged: Any
) -> tuple[Array, Array]:
    """Judge by the loss of the run, of predictions in the units of the targets, and by classes."""
    own = losses.original(case.judged or case.loss)
    if not case.units:
        loss = jnp.asarray(losses.value(own, params, judged))
        return loss, loss
    forward, named = _forward(case, change), variables.named(None, losses.draws(own))
    x, y, *_ = _scaled(case, change, judged, scales)
    z = jax.vmap(lambda row: forward(params, row, **named))(x)
    if case.targets:
        shift, scale = _unit(change.targets, scales[1])
        z = z * scale[None] + shift[None]
    loss = BatchLoss(lambda params, z: z, own.example_loss)((), (z, *judged[1:]))
    if case.targets or not case.kind:
        return loss, loss
    wrong = networks.wrong(case.kind, z, y)
    return loss, jnp.where(jnp.isfinite(z).all(), wrong, jnp.inf)


def starts(params: PyTree, *, drawn: bool) -> PyTree:
    """Give S starts: as `jaxnet.init` draws them, or the own and the same in other places."""
    trained, rest = variables.split(params)
    every = []
    for seed in range(SEEDS):
        random = np.random.default_rng(seed)

        def other(leaf: Any, random: Any = random, moved: bool = seed > 0) -> np.ndarray:
            leaf = np.asarray(leaf)
            if drawn:
                limit = (6 / leaf.shape[-1]) ** 0.5 * (leaf.ndim > 1)
                return random.uniform(-limit, limit, leaf.shape).astype(leaf.dtype)
            moved = moved and leaf.ndim > 1
            return random.permutation(leaf.ravel()).reshape(leaf.shape) if moved else leaf

        every.append(variables.join(jax.tree.map(other, trained), rest))
    return stacked(every)


def stacked(every: Sequence[PyTree]) -> PyTree:
    """Give trees as one, with their axis first."""
    return jax.tree.map(lambda *each: np.stack(each), *every)


def moments(rows: Any) -> tuple[np.ndarray, np.ndarray]:
    """Give the mean and the deviation of each column."""
    wide = np.asarray(rows, np.float64)
    return np.asarray(wide.mean(axis=0)), np.asarray(wide.std(axis=0))

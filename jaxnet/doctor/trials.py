"""Short runs beside a run, each with something changed, all of them in one program.

Shapes: V changes, S seeds, N rows, T steps of B rows, I inputs, O outputs.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from jaxnet import batches, losses, network, optimizers, training, variables
from jaxnet._guards import options
from jaxnet.doctor import networks
from jaxnet.doctor.networks import NONE, Network
from jaxnet.losses import BatchLoss, Loss, Rule

SEEDS = 2
# What follows hidden layers in the place of what does: as it is, and each of these.
ACTIVATIONS = ("", "relu", "tanh", NONE)
ROWS, BATCH, STEPS = 512, 64, 400
# What all steps of all runs may cost, in products of a number with a parameter; and how few steps
# tell nothing.
_PRODUCTS, _LEAST = 2e9, 40
# How many bytes all runs' parameters may take.
_BYTES = 2**26


class Units(NamedTuple):
    """Other units of inputs [I] and targets [O]: less a shift, by a scale."""

    x_shift: Any
    x_scale: Any
    y_shift: Any
    y_scale: Any


class Trial(NamedTuple):
    """What is changed of a run, all of it traced.

    Attributes:
        params: where it starts, of S seeds with that axis first. steps: how many it takes.
        factor: what its updates are multiplied by. units: of its data, where they have some.
        activation: a place in `ACTIVATIONS`. plain: whether nothing follows the last layer.
        entropy: whether the loss is the cross-entropy.
    """

    params: PyTree
    steps: Any
    factor: Any
    units: Units | None
    activation: Any
    plain: Any
    entropy: Any


class Case(NamedTuple):
    """What all trials share.

    Attributes:
        loss, optimizer: of the run. known: its network, where that is one of layers.
        entropy: the cross-entropy of its classes, where it has some.
        scales_x, scales_y: whether its inputs and targets have units.
    """

    loss: Loss | Rule
    optimizer: Any
    known: Network | None = None
    entropy: Any = None
    scales_x: bool = False
    scales_y: bool = False


class Rows(NamedTuple):
    """The hyperparameters, the data that trials train on, those they are judged by, their steps."""

    numbers: Mapping[str, float]
    data: PyTree
    judged: PyTree
    batch_size: int
    steps: int


def affordable(rows: Rows, params: PyTree, runs: int) -> int:
    """Give how many steps so many runs may take, 0 where they are too large to be tried."""
    leaves = jax.tree.leaves(params)
    size = runs * sum(map(np.size, leaves))
    nbytes = runs * sum(np.size(leaf) * jnp.result_type(leaf).itemsize for leaf in leaves)
    steps = min(STEPS, int(_PRODUCTS / (size * rows.batch_size)))
    return 0 if nbytes > _BYTES or steps < min(rows.steps, _LEAST) else steps


def score(case: Case, rows: Rows, trials: Sequence[Trial]) -> Float[np.ndarray, "2 V S"]:
    """Train all trials; give the loss of each, and its share of wrong classes.

    What is not finite is infinite.
    """
    many = batches.count(rows.data)
    epochs = -(-STEPS // (many // rows.batch_size))
    orders = [
        batches.shuffled(many, rows.batch_size, epochs, seed)[:STEPS] for seed in range(SEEDS)
    ]
    keys: Any = [losses.run_key(case.loss, seed) for seed in range(SEEDS)]
    values = _program(case)(
        dict(rows.numbers),
        stacked(trials),
        (np.stack(orders), None if keys[0] is None else jnp.stack(keys)),
        (rows.data, rows.judged),
    )
    values = np.stack(jax.device_get(values))
    return np.where(np.isfinite(values), values, np.inf)


@functools.lru_cache(maxsize=16)
def _program(case: Case) -> Any:
    def program(numbers: Any, trials: Trial, seeds: Any, data: Any) -> Any:
        def run(trial: Trial, params: PyTree, seed: Any) -> tuple[Array, Array]:
            made = optimizers.make(case.optimizer, numbers)
            made = optimizers.multiplied(made, trial.factor)
            plan = training.Plan(_loss(case, trial), made, key=seed[1])

            def step(t: Array, run: training.Run) -> training.Run:
                batch = _scaled(case, trial.units, batches.take(data[0], seed[0][t]))
                return training.advance(plan, run, batch, t=t)[0]

            last = jax.lax.fori_loop(0, trial.steps, step, training.begin(made, params))
            return _scored(case, trial, last.state.params, data[1])

        def of_seeds(trial: Trial) -> tuple[Array, Array]:
            return jax.vmap(lambda params, *seed: run(trial, params, seed))(trial.params, *seeds)

        return jax.vmap(of_seeds)(trials)

    return options.program(program)


def _forward(case: Case, trial: Trial) -> losses.Forward:
    if (known := case.known) is None:
        return losses.original(case.loss).forward
    hidden = [networks.HIDDEN[name or known.activation] for name in ACTIVATIONS]
    outputs = [networks.OUTPUTS[name] for name in (known.output, NONE)]

    def forward(params: network.Params, x: Array) -> Array:
        z = network.forward(params, x, lambda z: jax.lax.switch(trial.activation, hidden, z))
        return jax.lax.switch(trial.plain, outputs, z)

    return forward


def _loss(case: Case, trial: Trial) -> Loss | Rule:
    if case.known is None:
        return case.loss
    forward, kinds = _forward(case, trial), [losses.original(case.loss).example_loss, case.entropy]
    every = [BatchLoss(forward, kind) for kind in kinds if kind]

    def loss(params: PyTree, batch: PyTree) -> Array:
        return jax.lax.switch(trial.entropy, every, params, batch)

    return loss


def _scaled(case: Case, units: Units | None, batch: Any) -> Any:
    if units is None:
        return batch
    x, y, *weights = batch
    x = (x - units.x_shift[None]) / units.x_scale[None]
    return x, (y - units.y_shift[None]) / units.y_scale[None] if case.scales_y else y, *weights


def _scored(case: Case, trial: Trial, params: PyTree, judged: PyTree) -> tuple[Array, Array]:
    """Judge by the loss of the run, of predictions in the units of the targets, and by classes."""
    own, units = losses.original(case.loss), trial.units
    if units is None:
        return jnp.asarray(losses.value(own, params, judged)), jnp.zeros(())
    forward, draws = _forward(case, trial), losses.draws(own)

    def predict(params: PyTree, x: Array) -> Array:
        x = (x - units.x_shift) / units.x_scale
        outputs = forward(params, x, **variables.named(None, draws))
        return outputs * units.y_scale + units.y_shift if case.scales_y else outputs

    loss = BatchLoss(predict, own.example_loss)(params, judged)
    if case.entropy is None:
        return loss, jnp.zeros(())
    z = jax.vmap(predict, (None, 0))(params, judged[0])
    return loss, jnp.where(jnp.isfinite(z).all(), networks.wrong(z, judged[1]), jnp.inf)


def starts(params: PyTree) -> PyTree:
    """Give S starts of the same numbers, those of each weight in other places."""
    trained, rest = variables.split(params)

    def drawn(seed: int) -> PyTree:
        random = np.random.default_rng(seed)

        def shuffled(leaf: Any) -> np.ndarray:
            leaf = np.asarray(leaf)
            return random.permutation(leaf.ravel()).reshape(leaf.shape) if leaf.ndim > 1 else leaf

        return variables.join(jax.tree.map(shuffled, trained), rest)

    return stacked([drawn(seed) for seed in range(SEEDS)])


def stacked(every: Sequence[PyTree]) -> PyTree:
    """Give trees as one, with their axis first."""
    return jax.tree.map(lambda *each: np.stack(each), *every)


def units(data: Any, case: Case, inputs: bool, targets: bool) -> Units | None:
    """Give units in which what is told of the data has mean 0 and deviation 1."""
    if not case.scales_x:
        return None
    x, y, *_ = data
    y = np.asarray(y) if case.scales_y else np.zeros((1, 1), x.dtype)
    return Units(*_moments(x, inputs), *_moments(y, targets))


def _moments(rows: np.ndarray, change: bool) -> tuple[np.ndarray, np.ndarray]:
    wide = rows.astype(np.float64)
    mean, deviation = wide.mean(axis=0), wide.std(axis=0)
    deviation = np.where(deviation > 0, deviation, 1.0)
    if not change:
        mean, deviation = np.zeros_like(mean), np.ones_like(deviation)
    return mean.astype(rows.dtype), deviation.astype(rows.dtype)

"""The networks of an ensemble as one: every array has their axis first, and a program trains all.

Each is trained as it would be alone, on the same batches; what is theirs alone is their start. They
end together: where one diverges, or by the mean of their losses.

Shapes: M members, N rows, B rows of a batch, I inputs, O outputs.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from jaxnet import losses, network, optimizers
from jaxnet._guards.defaults import Task
from jaxnet.losses import BatchLoss, Rule
from jaxnet.optimizers import Optimizer
from jaxnet.storage import models

# Weights as scikit-learn draws them: smaller than ours, which shows in the scores of tables.
_INITIALIZER = jax.nn.initializers.glorot_uniform()


@functools.partial(jax.jit, static_argnames=("sizes", "members"))
def init(seed: Any, sizes: tuple[int, ...], members: int) -> network.Params:
    """Draw the parameters of the members, each with axis M first."""
    keys = jax.random.split(jax.random.key(seed), members)
    return jax.vmap(functools.partial(network.init, sizes=sizes, initializer=_INITIALIZER))(keys)


@functools.cache
def loss(task: Task, activation: str) -> Rule:
    """Give the mean loss of the members, and of each the gradient of its own loss.

    It is the same function every time, so that what was compiled for it is found.

    Raises:
        InputError: an activation that there is none of.
    """
    alone = models.loss(task, activation)
    each = jax.vmap(losses.value_and_grad(alone), in_axes=(0, None))

    def mean(params: PyTree, batch: PyTree) -> tuple[Array, PyTree]:
        values, grads = each(params, batch)
        return jnp.mean(values), grads

    def first(params: PyTree, x: Array) -> Array:
        return alone.forward(jax.tree.map(lambda leaf: leaf[0], params), x)

    return Rule(mean, of=BatchLoss(first, alone.example_loss))


def optimizer(alone: Optimizer) -> Optimizer:
    """Give an optimizer that updates each member by itself; of a function that makes one, such.

    Of equal partial functions it is the same one: scikit-learn's searches copy them.
    """
    if isinstance(alone, functools.partial):
        return _of_partial(alone.func, alone.args, tuple(sorted(alone.keywords.items())))
    return _of(alone)


@functools.lru_cache(maxsize=64)
def _of_partial(
    make: optimizers.MakeOptimizer, places: tuple[Any, ...], names: tuple[tuple[str, Any], ...]
) -> Optimizer:
    return _of(functools.partial(make, *places, **dict(names)))


@functools.lru_cache(maxsize=64)
def _of(alone: Optimizer) -> Optimizer:
    if not callable(alone):
        return _each(alone)

    @functools.wraps(alone)
    def make(**hyperparameters: Any) -> optax.GradientTransformation:
        return _each(optimizers.make(alone, hyperparameters))

    return make


def _each(alone: optax.GradientTransformation) -> optax.GradientTransformation:
    init = jax.vmap(alone.init)
    if isinstance(alone, optimizers.PerExample):
        return optimizers.PerExample(init, jax.vmap(alone.update, in_axes=(1, 0, 0)))
    if not isinstance(alone, optax.GradientTransformationExtraArgs):
        return optax.GradientTransformation(init, jax.vmap(alone.update))

    def update(
        updates: PyTree, state: PyTree, params: PyTree = None, **more: Any
    ) -> tuple[PyTree, PyTree]:
        count = len(jax.tree.leaves(params)[0])

        def value_fn(own: PyTree) -> Array:
            """Give the loss of a member: the mean of as many as there are, all of them it."""
            copies = jax.tree.map(
                lambda leaf: jnp.stack([leaf, *[jax.lax.stop_gradient(leaf)] * (count - 1)]), own
            )
            return more["value_fn"](copies)

        def one(grads: PyTree, state: PyTree, params: PyTree) -> tuple[PyTree, PyTree]:
            asked = {"value": value_fn(params), "grad": grads, "value_fn": value_fn}
            return alone.update(grads, state, params, **asked)

        return jax.vmap(one)(updates, state, params)

    return optax.GradientTransformationExtraArgs(init, update)


@functools.cache
def forward(task: Task, activation: str) -> losses.Forward:
    """Give the mean over the members of their probabilities, or of their outputs, of one row."""
    alone = jax.vmap(models.forward(activation), (0, None))

    def mean(params: network.Params, x: Float[Array, " I"]) -> Float[Array, " O"]:
        outputs = alone(params, x)
        return jnp.mean(jax.nn.softmax(outputs) if task == "classification" else outputs, axis=0)

    return mean

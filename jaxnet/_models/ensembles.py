"""Many models trained as one: every array has their axis first, and one program trains all.

Shapes: M members, B rows of a batch, I inputs, O outputs.
"""

import contextlib
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PyTree

from jaxnet import losses, optimizers, variables
from jaxnet._guards import checks
from jaxnet.errors import InputError
from jaxnet.losses import BatchLoss, Loss, Rule
from jaxnet.optimizers import Optimizer


class Ensemble(NamedTuple):
    """What trains the members together, by `fit` or `train`.

    Attributes:
        loss: the mean of the members' losses, and of each member the gradient of its own.
        optimizer: updates each member by itself.
        losses: `(params, batch) -> [M]`, of each member; a metric.
    """

    loss: Rule
    optimizer: Optimizer
    losses: Callable[[PyTree, PyTree], Float[Array, " M"]]


def ensemble(loss: Loss | Rule, optimizer: Optimizer) -> Ensemble:
    """Lift the loss and the optimizer of one model to those of many, trained in one program.

    The parameters have the members' axis M first, such as `jax.vmap(init)(keys)` draws them. Each
    member is trained as it would be alone, on the same batches and the same draws: what is theirs
    alone is their start. They end together, where one diverges or, with patience, by the mean of
    their validation losses. The same arguments give the same functions, whose programs are kept.

    Args:
        loss: of one model, as `fit` takes it.
        optimizer: of one model, as `fit` takes it; one that looks at the loss, such as `lbfgs`,
            is of `Variables` shown its mean over the states of all members.

    Raises:
        InputError: no loss or no optimizer; while tracing, parameters without the members' axis.
    """
    keys = variables.named(None, losses.draws(loss))
    checks.function("loss", loss, "params", "batch", **keys)
    optimizers.check_kind(optimizer)
    return Ensemble(_together(loss), _each(optimizer), _apart(loss))


@functools.lru_cache(maxsize=64)
def _together(loss: Loss | Rule) -> Rule:
    draws, alone = losses.draws(loss), losses.value_and_grad(loss)

    def one(params: PyTree, batch: PyTree, key: Any) -> tuple[PyTree, PyTree]:
        return alone(params, batch, **variables.named(key, draws))

    def mean(params: PyTree, batch: PyTree, key: Any) -> tuple[PyTree, PyTree]:
        _check(params)
        result, grads = jax.vmap(one, (0, None, None))(params, batch, key)
        if isinstance(params, variables.Variables):
            values, state = result
            return (jnp.mean(values), state), grads
        return jnp.mean(result), grads

    of = losses.original(loss)
    first = _first(of) if isinstance(of, BatchLoss) else None
    return Rule(mean if draws else functools.partial(mean, key=None), of=first)


def _first(loss: BatchLoss) -> BatchLoss:
    """Give the loss of the first member, by which rows are checked and weighed."""
    draws = losses.draws(loss)

    def forward(params: PyTree, x: PyTree, key: Any = None) -> PyTree:
        _check(params)
        first = jax.tree.map(lambda leaf: leaf[0], params)
        return loss.forward(first, x, **variables.named(key, draws))

    taken = forward if draws else functools.partial(forward, key=None)
    return BatchLoss(taken, loss.example_loss)


@functools.lru_cache(maxsize=64)
def _apart(loss: Loss | Rule) -> Callable[[PyTree, PyTree], Float[Array, " M"]]:
    return jax.vmap(functools.partial(losses.value, loss), (0, None))


def _check(params: PyTree) -> None:
    """Refuse parameters without the members' axis; also while tracing."""
    shapes = [list(np.shape(leaf)) for leaf in jax.tree.leaves(params)]
    if len({*map(tuple, (shape[:1] for shape in shapes))} - {()}) != 1 or [] in shapes:
        raise InputError(
            f"params: expected the members' axis first in every array, of one size, got shapes "
            f"{shapes}; draw the starts by jax.vmap(init)(jax.random.split(key, members))"
        )


def _each(alone: Optimizer) -> Optimizer:
    """Give an optimizer that updates each member by itself; of a function that makes one, such.

    Of equal partial functions it is the same one: what searches settings copies them.
    """
    if isinstance(alone, functools.partial):
        given = alone.func, alone.args, tuple(sorted(alone.keywords.items()))
        with contextlib.suppress(TypeError):  # of arguments without a hash, such as masks
            hash(given)
            return _of_partial(*given)
    return _of(alone)


@functools.lru_cache(maxsize=64)
def _of_partial(
    make: optimizers.MakeOptimizer, places: tuple[Any, ...], names: tuple[tuple[str, Any], ...]
) -> Optimizer:
    return _of(functools.partial(make, *places, **dict(names)))


@functools.lru_cache(maxsize=64)
def _of(alone: Optimizer) -> Optimizer:
    if not callable(alone):
        return _members_of(alone)

    @functools.wraps(alone)
    def make(**hyperparameters: Any) -> optax.GradientTransformation:
        return _members_of(optimizers.make(alone, hyperparameters))

    return make


def _members_of(alone: optax.GradientTransformation) -> optax.GradientTransformation:
    def init(params: PyTree) -> PyTree:
        _check(params)
        return jax.vmap(alone.init)(params)

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

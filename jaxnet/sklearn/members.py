"""The networks of an estimator: how they start, and what they say together.

Shapes: M members, I inputs, O outputs.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnet import losses, network
from jaxnet._guards.defaults import Task
from jaxnet.storage import models

# Weights as scikit-learn draws them: smaller than ours, which shows in the scores of tables.
_INITIALIZER = jax.nn.initializers.glorot_uniform()


@functools.partial(jax.jit, static_argnames=("sizes", "members"))
def init(seed: Any, sizes: tuple[int, ...], members: int) -> network.Params:
    """Draw the parameters of the members, each with axis M first."""
    keys = jax.random.split(jax.random.key(seed), members)
    return jax.vmap(functools.partial(network.init, sizes=sizes, initializer=_INITIALIZER))(keys)


@functools.cache
def forward(task: Task, activation: str) -> losses.Forward:
    """Give the mean over the members of their probabilities, or of their outputs, of one row."""
    alone = jax.vmap(models.forward(activation), (0, None))

    def mean(params: network.Params, x: Float[Array, " I"]) -> Float[Array, " O"]:
        outputs = alone(params, x)
        return jnp.mean(jax.nn.softmax(outputs) if task == "classification" else outputs, axis=0)

    return mean

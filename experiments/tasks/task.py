"""What tasks are made of."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key, PyTree

import jaxnet
from jaxnet import losses
from jaxnet.compare import Problem

Start = Callable[[Key[Array, ""]], PyTree]
Parts = tuple[PyTree, PyTree, PyTree]


def starting(*layers: int) -> Start:
    """Give what draws the parameters of a fully connected network of those sizes."""

    def start(key: Key[Array, ""]) -> PyTree:
        return jaxnet.init(key, layers)

    return start


def accuracy(forward: losses.Forward) -> losses.Loss:
    """Give the share of a batch's examples whose largest output is the right one."""
    outputs = jax.vmap(forward, in_axes=(None, 0))

    def accuracy(params: PyTree, batch: Any) -> Float[Array, ""]:
        x, y = batch
        return jnp.mean(jnp.argmax(outputs(params, x), -1) == y, dtype=jnp.zeros(()).dtype)

    return accuracy


def classification(
    name: str,
    forward: losses.Forward,
    init: Start,
    parts: Parts,
    *,
    epochs: int,
    batch_size: int,
    about: str,
) -> Problem:
    """Give a task of labels: the rows to train, to tune and to judge on, by cross-entropy."""
    train, validation, test = parts
    return Problem(
        name=name,
        loss=jaxnet.BatchLoss(forward, optax.losses.softmax_cross_entropy_with_integer_labels),
        init=init,
        data=train,
        epochs=epochs,
        batch_size=batch_size,
        validation=validation,
        test=test,
        metrics={"accuracy": accuracy(forward)},
        about=about,
    )

"""What a task is: something to be trained, and for how long."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key, PyTree

from jaxnet import losses, network

Start = Callable[[Key[Array, ""]], PyTree]
Parts = tuple[PyTree, PyTree, PyTree]


@dataclass(frozen=True)
class Task:
    """What is trained, from where, on what, and for how long.

    Attributes:
        name: of the task.
        loss: `(params, batch) -> []`; batch is None where there is no data.
        init: `key -> params`; no two keys start alike.
        data: N rows to train on, or None.
        epochs: passes over the data; None where there is none.
        steps: of the optimizer; None where there is data.
        batch_size: rows of a step; all of them where None.
        validation: rows to tune on. test: rows to judge on. Both None where the training loss
            decides.
        metrics: by name, `(params, batch) -> []`, measured beside the loss.
        maximised: names of the metrics of which more is better.
        about: what it is and where it is from, in one line.
    """

    name: str
    loss: losses.Loss
    init: Start
    data: PyTree | None = None
    epochs: int | None = None
    steps: int | None = None
    batch_size: int | None = None
    validation: PyTree | None = None
    test: PyTree | None = None
    metrics: Mapping[str, losses.Loss] = field(default_factory=dict)
    maximised: frozenset[str] = frozenset()
    about: str = ""


def starting(*layers: int) -> Start:
    """Give what draws the parameters of a fully connected network of those sizes."""

    def start(key: Key[Array, ""]) -> PyTree:
        return network.init(key, layers)

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
) -> Task:
    """Give a task of labels: the rows to train, to tune and to judge on, by cross-entropy."""
    train, validation, test = parts
    return Task(
        name,
        losses.BatchLoss(forward, optax.losses.softmax_cross_entropy_with_integer_labels),
        init,
        train,
        epochs=epochs,
        batch_size=batch_size,
        validation=validation,
        test=test,
        metrics={"accuracy": accuracy(forward)},
        maximised=frozenset({"accuracy"}),
        about=about,
    )

"""What tasks are made of."""

from collections.abc import Callable

import optax
from jaxtyping import Array, Key, PyTree

import jaxnet
from jaxnet import losses
from jaxnet.compare import Problem
from jaxnet.storage import models

Start = Callable[[Key[Array, ""]], PyTree]
Parts = tuple[PyTree, PyTree, PyTree]


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
        metrics={"accuracy": models.accuracy(forward)},
        about=about,
    )

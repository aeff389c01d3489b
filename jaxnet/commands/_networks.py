"""Where networks start, what becomes of them and what they say, one or several averaged.

Shapes: M members, I inputs, O outputs.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxnet import fitting, losses, network
from jaxnet._guards import options
from jaxnet._guards.defaults import Task
from jaxnet.commands.settings import Train
from jaxnet.storage import models

# Of the first weights of the last layer: networks that begin near 0 say less that is chance.
_SMALL = np.float32(0.01)


class Fits(NamedTuple):
    """What became of a network.

    Attributes:
        first: its run on the training part, judged on the validation part where that has rows.
        refit: its run from the same start on the rows of both, for as many epochs as were best of
            the first; None where there are none to validate on, or the first diverged.
        skipped: checkpoints that were not whole.
    """

    first: fitting.Fit
    refit: fitting.Fit | None
    skipped: list[str]

    @property
    def last(self) -> fitting.Fit:
        """The run that says how it ended: the first, unless the other diverged."""
        return self.refit if self.refit and self.refit.outcome == "diverged" else self.first

    @property
    def params(self) -> network.Params:
        """The network that is kept: that of the refit, unless it diverged."""
        kept = self.refit if self.last is self.first else None
        return kept.progress.run.state.params if kept else self.first.params


def start(settings: Train, sizes: list[int]) -> network.Params:
    """Draw where a run starts; of several networks every array has their axis first."""
    draw = functools.partial(network.init, sizes=sizes)
    if settings.ensemble == 1:
        params = options.once(draw)(jax.random.key(settings.seed))
    else:
        keys = jax.random.split(jax.random.key(settings.seed), settings.ensemble)
        params = options.once(jax.vmap(draw))(keys)
    *hidden, last = params
    return *hidden, last._replace(weight=np.asarray(last.weight) * _SMALL)


def several(params: network.Params) -> bool:
    """Tell whether parameters are those of several networks."""
    return params[0].weight.ndim > 2


def first(params: network.Params) -> network.Params:
    """Give the first of several networks."""
    return jax.tree.map(lambda leaf: leaf[0], params)


def forward(params: network.Params, task: Task, activation: str) -> losses.Forward:
    """Give what predicts a row: a network, or the mean of several, of classes as log shares.

    The same function every time.
    """
    return _averaged(task, activation) if several(params) else models.forward(activation)


@functools.cache
def each(activation: str) -> losses.Forward:
    """Give what predicts a row by each of several networks: shape [M, O]."""
    return jax.vmap(models.forward(activation), (0, None))


@functools.cache
def _averaged(task: Task, activation: str) -> losses.Forward:
    def averaged(params: network.Params, x: Float[Array, " I"]) -> Float[Array, " O"]:
        outputs = each(activation)(params, x)
        if task == "regression":
            return jnp.mean(outputs, axis=0)
        shares = jax.nn.logsumexp(jax.nn.log_softmax(outputs), axis=0)
        return shares - math.log(len(outputs))

    return averaged

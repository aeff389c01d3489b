"""How good a run is: its loss beside that of the best constant, and what it gets wrong."""

import functools
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from jaxnet import losses, variables
from jaxnet._guards import options
from jaxnet.doctor import networks
from jaxnet.doctor.trials import Rows
from jaxnet.losses import BatchLoss, Loss, Rule


class Judgement(NamedTuple):
    """How good a run is.

    Attributes:
        ended: its loss, infinite where it is not finite, and its share of wrong classes.
        constant: the same of the best constant; of the start, where no constant is known.
    """

    ended: tuple[float, float]
    constant: tuple[float, float]

    @property
    def left(self) -> tuple[float, float]:
        """Give what is left of what the constant loses, and of what it gets wrong."""
        return self.ended[0] / self.constant[0], self.ended[1] / self.constant[1]


def outputs(loss: Loss | Rule, params: PyTree, data: PyTree) -> int:
    """Give how many outputs O a `BatchLoss` has of rows of numbers x and y, 0 where it has none."""
    own = losses.original(loss)
    if not isinstance(own, BatchLoss) or not all(isinstance(leaf, np.ndarray) for leaf in data):
        return 0
    x, y, *_ = data
    row = jax.ShapeDtypeStruct(x.shape[1:], x.dtype)
    forward = functools.partial(own.forward, **variables.named(None, losses.draws(own)))
    shape = getattr(jax.eval_shape(forward, params, row), "shape", ())
    fits = y.shape[1:] == shape or networks.entropy(y, shape[-1]) if len(shape) == 1 else False
    return shape[0] if fits else 0


def judge(loss: Loss | Rule, outputs: int, ended: PyTree, start: PyTree, rows: Rows) -> Judgement:
    """Judge where a run ended; the best constant is of the rows trained on."""
    own = losses.original(loss)
    if not outputs:
        values = (float(losses.value(own, params, rows.judged)) for params in (ended, start))
        return _judgement(values, (0.0, 1.0))
    x, y, *_ = rows.data
    share = np.eye(outputs)[y] if y.shape[1:] != (outputs,) else y
    classes = networks.entropy(y, outputs) is not None
    share = share.astype(np.float64).mean(axis=0)
    values = _program(own, classes)(ended, share.astype(x.dtype), rows.judged)
    *values, wrong = map(float, values)
    rarest = 1 - max(share.max(), 1 - share.max() if outputs == 1 else 0.0)
    return _judgement(values, (wrong, max(rarest, 1e-6) if classes else 1.0))


def _judgement(values: Iterable[float], wrong: tuple[float, float]) -> Judgement:
    ended, constant = values
    return Judgement((ended if math.isfinite(ended) else math.inf, wrong[0]), (constant, wrong[1]))


@functools.lru_cache(maxsize=64)
def _program(loss: BatchLoss, classes: bool) -> Any:
    """Give what tells the loss of parameters, that of the best constant, and what share is wrong.

    Constants are made of the targets' mean, or the classes' shares: it, its logarithm, its odds'.
    """

    def judged(params: PyTree, share: Array, rows: Any) -> tuple[Any, Any, Any]:
        logarithm = jnp.log(jnp.clip(share, 1e-6, 1 - 1e-6))
        odds = logarithm - jnp.log(1 - jnp.clip(share, 1e-6, 1 - 1e-6))
        constant = BatchLoss(lambda params, x: params, loss.example_loss)
        shares = jnp.stack([share, logarithm, odds])
        values = jax.vmap(constant, (0, None))(shares, rows)
        best = jnp.min(jnp.where(jnp.isfinite(values), values, jnp.inf))
        z = jax.vmap(loss.forward, (None, 0))(params, rows[0]) if classes else None
        wrong = 0.0 if z is None else networks.wrong(z, rows[1])
        return losses.value(loss, params, rows), best, wrong

    return options.once(judged)

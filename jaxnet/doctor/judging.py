"""How good a run is: its loss beside that of the best constant, and what it gets wrong."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PyTree

from jaxnet import losses, variables
from jaxnet._guards import options
from jaxnet.doctor import networks, trials
from jaxnet.doctor.trials import Rows
from jaxnet.losses import BatchLoss, Loss, Rule


def outputs(loss: Loss | Rule, params: PyTree, data: PyTree) -> int:
    """Give how many outputs O a `BatchLoss` has of rows of numbers x and y, 0 where it has none."""
    own = losses.original(loss)
    if not isinstance(own, BatchLoss) or not all(isinstance(leaf, np.ndarray) for leaf in data):
        return 0
    x, y, *_ = data
    row = jax.ShapeDtypeStruct(x.shape[1:], x.dtype)
    shape: Any = getattr(jax.eval_shape(_predict(own), params, row), "shape", None)
    if shape is None or len(shape) != 1:
        return 0
    return shape[0] if y.shape[1:] == shape or networks.entropy(y, *shape) else 0


def judge(
    loss: Loss | Rule, outputs: int, ended: PyTree, start: PyTree, rows: Rows
) -> Float[np.ndarray, "S 2 2"]:
    """Give the loss and the share of wrong classes, of where a run ended and of the best constant.

    By the rows of each of S seeds. The start stands for the constant where none is known, and the
    loss for the share where there are no classes. What is not finite is infinite.
    """
    own, kind, constants, least = losses.original(loss), None, None, 1.0
    if outputs:
        x, y, *_ = rows.data
        kind = networks.entropy(y, outputs)
        hot = np.eye(outputs)[y] if y.shape[1:] != (outputs,) else y
        share = hot.astype(np.float64).mean(axis=0)
        together = kind is not optax.losses.sigmoid_binary_cross_entropy
        rarest = 1 - share.max() if together else np.minimum(share, 1 - share).mean()
        constants, least = share.astype(x.dtype), max(rarest, 1e-6)

    def measured(judged: PyTree) -> list[tuple[Any, Any]]:
        if not outputs:
            return [tuple(losses.value(own, each, judged) for each in (ended, start))] * 2
        value, constant, wrong = _program(own, kind)(ended, constants, judged)
        return [(value, constant), (wrong, least) if kind else (value, constant)]

    parts = [jax.tree.map(lambda leaf, at=at: leaf[at], rows.judged) for at in range(trials.SEEDS)]
    values = np.array([measured(each) for each in parts], np.float64)
    return np.where(np.isfinite(values), values, np.inf)


def _predict(loss: BatchLoss) -> losses.Forward:
    return functools.partial(loss.forward, **variables.named(None, losses.draws(loss)))


@functools.lru_cache(maxsize=64)
def _program(loss: BatchLoss, kind: networks.Kind | None) -> Any:
    """Give what tells the loss of parameters, that of the best constant, and what share is wrong.

    Constants are made of the targets' mean, or the classes' shares: it, its logarithm, its odds'.
    """

    def judged(params: PyTree, share: Array, rows: Any) -> tuple[Any, Any, Any]:
        logarithm = jnp.log(jnp.clip(share, 1e-6, 1 - 1e-6))
        odds = logarithm - jnp.log(1 - jnp.clip(share, 1e-6, 1 - 1e-6))
        constant = BatchLoss(lambda params, x: params, loss.example_loss)
        values = jax.vmap(constant, (0, None))(jnp.stack([share, logarithm, odds]), rows)
        best = jnp.min(jnp.where(jnp.isfinite(values), values, jnp.inf))
        wrong = jnp.zeros(())
        if kind:
            wrong = networks.wrong(
                kind, jax.vmap(_predict(loss), (None, 0))(params, rows[0]), rows[1]
            )
        return losses.value(loss, params, rows), best, wrong

    return options.once(judged)

"""Prediction of any number of rows, a few of them at a time.

Shapes: N rows, B rows that are predicted together.
"""

import functools

import jax
import numpy as np
from jaxtyping import PyTree, Shaped

from jaxnet import variables
from jaxnet._guards import checks, frames
from jaxnet.errors import FunctionError, InputError
from jaxnet.losses import Forward


def predict(
    forward: Forward,
    params: PyTree,
    x: PyTree,
    *,
    batch_size: int = 256,
) -> PyTree[Shaped[np.ndarray, "N ..."]]:
    """Give what a forward function makes of each row.

    Rows are taken B at a time, with the last one again where fewer are left: one program predicts
    any number of them, and needs memory for B. It is found again for the same `forward`, so keep
    one.

    Args:
        forward: `(params, x [I]) -> prediction`, of one row, as a `BatchLoss` takes it; one that
            takes a third argument `key` is given None.
        params: any pytree of arrays, or `Variables`, which `forward` is given whole.
        x: N rows, which may be 0, a pytree of arrays whose first axis is N; frames as in `train`.
        batch_size: B.

    Raises:
        InputError: rows that are not finite numbers, as many in every array, or that `forward`
            does not take; a function in NumPy.
    """
    keys = variables.named(None, variables.takes_key(forward))
    checks.function("forward", forward, "params", "x", **keys)
    checks.at_least_one(batch_size=batch_size)
    checks.leaves("params", checks.as_numbers(params))
    x = frames.arrays(x, "x")
    checks.leaves("x", x)
    if count := checks.rows(x, "x", least=0):
        checks.finite("x", x)
    rows, params = jax.tree.map(np.asarray, x), jax.device_put(params)
    shapes = _shapes(forward, params, rows)
    predictions = jax.tree.map(lambda leaf: np.empty((count, *leaf.shape), leaf.dtype), shapes)
    for first in range(0, count, batch_size):
        places = np.arange(first, first + batch_size)
        batch = [np.take(leaf, places, axis=0, mode="clip") for leaf in jax.tree.leaves(rows)]
        batch = jax.tree.unflatten(jax.tree.structure(rows), batch)
        some = jax.device_get(_together(forward, params, batch))
        for whole, part in zip(*map(jax.tree.leaves, (predictions, some)), strict=True):
            whole[first : first + batch_size] = part[: count - first]
    return predictions


def _one(forward: Forward, params: PyTree, row: PyTree) -> PyTree:
    return forward(params, row, **variables.named(None, variables.takes_key(forward)))


@functools.partial(jax.jit, static_argnums=0)
def _together(forward: Forward, params: PyTree, rows: PyTree) -> PyTree:
    return jax.vmap(functools.partial(_one, forward), (None, 0))(params, rows)


def _shapes(forward: Forward, params: PyTree, rows: PyTree) -> PyTree:
    """Give what a prediction of one row will be."""
    row = jax.tree.map(lambda leaf: np.empty(leaf.shape[1:], leaf.dtype), rows)
    try:
        shapes = jax.eval_shape(functools.partial(_one, forward), params, row)
    except InputError:
        raise
    except Exception as error:  # a user's function may fail in any way
        checks.in_numpy("forward", error)
        kinds = ", ".join(f"x{place} {kind}" for place, kind in checks.kinds(row).items())
        raise FunctionError(
            f"forward: expected a function of (params, x) that takes one row, {kinds}; it raised "
            f"{checks.told(error)}; give rows of the shape that the parameters are for"
        ) from error
    checks.leaves("forward: its prediction", shapes)
    return shapes

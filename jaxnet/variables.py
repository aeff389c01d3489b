"""What a model trains, what it carries, what it draws from, and what its rows count.

Shapes: B examples of a batch.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree, Shaped

# Of the streams of random numbers that a seed has, that of its steps: no start drawn from
# `jax.random.key(seed)` is split into so many.
_STEPS = np.uint32(2**32 - 1)


class Variables(NamedTuple):
    """What a model trains, and what it carries beside that; in the place of `params` everywhere.

    Attributes:
        params: any pytree; its floating-point arrays are trained, and all an optimizer sees.
        state: any pytree of arrays that a loss gives back after each step, with the structure,
            shapes and dtypes it had, such as batch statistics; where it is evaluated what it gives
            is dropped.
    """

    params: PyTree
    state: PyTree


def trains(leaf: Any) -> bool:
    """Tell what is trained of parameters: real floating-point numbers."""
    dtype = getattr(leaf, "dtype", type(leaf))
    return getattr(dtype, "kind", None) == "f" or jnp.issubdtype(dtype, jnp.floating)


def split(params: PyTree) -> tuple[PyTree, PyTree]:
    """Give the parameters that train, and all else, each with None where the other has its own."""
    inner = params.params if isinstance(params, Variables) else params
    trained = jax.tree.map(lambda leaf: leaf if trains(leaf) else None, inner)
    rest = jax.tree.map(lambda leaf: None if trains(leaf) else leaf, inner)
    return trained, params._replace(params=rest) if isinstance(params, Variables) else rest


def join(trained: PyTree, rest: PyTree) -> PyTree:
    """Give the parameters that were split."""
    if isinstance(rest, Variables):
        return rest._replace(params=join(trained, rest.params))
    each = functools.partial(jax.tree.map, is_leaf=lambda leaf: leaf is None)
    return each(lambda one, other: other if one is None else one, trained, rest)


def mean(
    each: Float[Array, "B ..."], weights: Shaped[Array | np.ndarray, " B"] | None = None
) -> Float[Array, ""]:
    """Give the mean of examples, weighted where they have weights; of absent ones alone, 0."""
    if weights is None:
        return jnp.mean(each)
    # Sums want more digits, and larger numbers, than half precision has.
    wide = jnp.float32 if jnp.finfo(each.dtype).bits < 32 else each.dtype
    counts = jnp.asarray(weights, wide)
    total = jnp.maximum(jnp.sum(counts), jnp.finfo(wide).tiny)
    rows = each.reshape(len(each), -1).astype(wide).mean(axis=1)
    return jnp.sum(counts / total * rows).astype(each.dtype)


def weight(batch: tuple[Any, ...]) -> Float[Array, ""] | int:
    """Give what a batch counts among others: its examples, or the sum of their weights."""
    x, _, *weights = batch
    return jnp.sum(jnp.asarray(weights[0], float)) if weights else len(jax.tree.leaves(x)[0])


def present(batch: tuple[Any, ...]) -> tuple[Any, ...]:
    """Give a batch with another row in the place of each of weight 0, which may be anything."""
    if len(batch) < 3:
        return batch
    x, y, weights = jax.tree.map(jnp.asarray, tuple(batch))
    rows = jnp.where(weights > 0, jnp.arange(len(weights)), jnp.argmax(weights))
    return *jax.tree.map(lambda leaf: leaf[rows], (x, y)), weights


def unwrapped(function: Any) -> Any:
    """Give what a function that takes anything is of, as what jit makes is; else itself."""
    while hasattr(function, "__wrapped__") and _takes_anything(function):
        function = function.__wrapped__
    return function


def _takes_anything(function: Callable[..., Any]) -> bool:
    try:
        own = inspect.signature(function, follow_wrapped=False).parameters.values()
    except (TypeError, ValueError):  # what wraps it does not say, as Equinox's jit does not
        return True
    return any(each.kind is each.VAR_KEYWORD for each in own)


def takes_key(function: Callable[..., Any]) -> bool:
    """Tell whether a function has an argument named `key` that nothing is bound to."""
    if isinstance(function, functools.partial):
        return "key" not in function.keywords and takes_key(function.func)
    try:
        signature = inspect.signature(unwrapped(function), follow_wrapped=False)
    except (TypeError, ValueError):  # a function that does not say what it takes
        return False
    key = signature.parameters.get("key")
    return key is not None and (key.default is key.empty or key.default is None)


def named(key: Key[Array, ""] | None, taken: bool) -> dict[str, Key[Array, ""] | None]:
    """Give a key by its name, where it is taken."""
    return {"key": key} if taken else {}


def run_key(seed: Any) -> Key[Array, ""]:
    """Give the key that a run of a seed draws from."""
    if not isinstance(seed, int | np.integer) or seed < 2**32:
        return jax.random.fold_in(jax.random.key(seed), _STEPS)
    return jax.random.fold_in(run_key(seed >> 32), np.uint32(seed % 2**32))


def step_key(key: Key[Array, ""] | None, t: Any) -> Key[Array, ""] | None:
    """Give the key of step t of a run, if it has one."""
    return None if key is None else jax.random.fold_in(key, t)

"""What a model trains, what it carries beside that, and the keys that it draws from."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Key, PyTree

from jaxnet._guards import checks

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


def split(params: PyTree) -> tuple[PyTree, PyTree]:
    """Give the parameters that train, and all else, each with None where the other has its own."""
    inner = params.params if isinstance(params, Variables) else params
    trained = jax.tree.map(lambda leaf: leaf if checks.trains(leaf) else None, inner)
    rest = jax.tree.map(lambda leaf: None if checks.trains(leaf) else leaf, inner)
    return trained, params._replace(params=rest) if isinstance(params, Variables) else rest


def join(trained: PyTree, rest: PyTree) -> PyTree:
    """Give the parameters that were split."""
    if isinstance(rest, Variables):
        return rest._replace(params=join(trained, rest.params))
    each = functools.partial(jax.tree.map, is_leaf=lambda leaf: leaf is None)
    return each(lambda one, other: other if one is None else one, trained, rest)


def takes_key(function: Callable[..., Any]) -> bool:
    """Tell whether a function has an argument named `key` that nothing is bound to."""
    if isinstance(function, functools.partial) and "key" in function.keywords:
        return False
    try:
        key = inspect.signature(function).parameters.get("key")
    except (TypeError, ValueError):  # a function that does not say what it takes
        return False
    return key is not None and (key.default is key.empty or key.default is None)


def named(key: Key[Array, ""] | None, taken: bool) -> dict[str, Key[Array, ""] | None]:
    """Give a key by its name, where it is taken."""
    return {"key": key} if taken else {}


def run_key(seed: Any) -> Key[Array, ""]:
    """Give the key that a run of a seed draws from."""
    return jax.random.fold_in(jax.random.key(seed), _STEPS)


def step_key(key: Key[Array, ""] | None, t: Any) -> Key[Array, ""] | None:
    """Give the key of step t of a run, if it has one."""
    return None if key is None else jax.random.fold_in(key, t)

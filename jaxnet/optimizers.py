"""Optax's optimizers by name, each as a function of its learning rate."""

import difflib
import functools
import inspect
from collections.abc import Callable

import optax

MakeOptimizer = Callable[..., optax.GradientTransformation]


@functools.cache
def names() -> tuple[str, ...]:
    """List the optimizers of optax that are made from a learning rate."""
    return tuple(name for name in dir(optax) if _rate_name(name))


@functools.cache
def by_name(name: str) -> MakeOptimizer:
    """Give the function that makes an optimizer of its `learning_rate`; the same one every time.

    Raises:
        ValueError: a name optax does not have, with the nearest it has.
    """
    if name not in names():
        near = difflib.get_close_matches(name, names(), 3, 0.4)
        known = f"the nearest are {', '.join(near)}" if near else f"known: {', '.join(names())}"
        raise ValueError(f"optimizer: wanted an optimizer of optax; got {name!r}; {known}")
    make, rate = getattr(optax, name), _rate_name(name)
    if rate == "learning_rate":
        return make
    return lambda learning_rate: make(**{rate: learning_rate})


def _rate_name(name: str) -> str:
    """Give what an optimizer calls its learning rate; empty where it is no optimizer."""
    make = getattr(optax, name)
    function = inspect.isfunction(make) or isinstance(make, functools.partial)
    if name.startswith(("_", "scale_by_")) or not function:
        return ""
    first = next(iter(inspect.signature(make).parameters), "")
    return first if first in ("learning_rate", "max_learning_rate") else ""

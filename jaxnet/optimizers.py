"""Optax's optimizers by name, each as a function of its learning rate."""

import difflib
import functools
import inspect
from collections.abc import Callable
from typing import Any

import optax
import optax.contrib

MakeOptimizer = Callable[..., optax.GradientTransformation]


_PUBLIC: dict[str, Any] = vars(optax.contrib) | vars(optax)
# These want more than a gradient, a value and a function of the parameters.
_UNSUPPORTED = {
    "sophia": "a Hessian estimate of its own objective",
    "dpsgd": "the gradient of each example",
}


@functools.cache
def names() -> tuple[str, ...]:
    """List the optimizers of optax and optax.contrib that are made from a learning rate."""
    return tuple(sorted({name for name in _PUBLIC if _rate_name(name)} - _UNSUPPORTED.keys()))


@functools.cache
def by_name(name: str) -> MakeOptimizer:
    """Give the function that makes an optimizer of its `learning_rate`; the same one every time.

    Raises:
        ValueError: a name optax does not have, with the nearest it has, or one that wants more
            than a training step gives.
    """
    if name in _UNSUPPORTED:
        raise ValueError(f"optimizer: {name} wants {_UNSUPPORTED[name]}, which no step here gives")
    if name not in names():
        near = difflib.get_close_matches(name, names(), 3, 0.4)
        known = f"the nearest are {', '.join(near)}" if near else f"known: {', '.join(names())}"
        raise ValueError(f"optimizer: wanted an optimizer of optax; got {name!r}; {known}")
    make, rate = _PUBLIC[name], _rate_name(name)
    if rate == "learning_rate":
        return make
    return lambda learning_rate: make(**{rate: learning_rate})


def _rate_name(name: str) -> str:
    """Give what an optimizer calls its learning rate; empty where it is no optimizer."""
    make = _PUBLIC[name]
    function = inspect.isfunction(make) or isinstance(make, functools.partial)
    if name.startswith(("_", "scale_by_")) or not function:
        return ""
    first = next(iter(inspect.signature(make).parameters), "")
    return first if first in ("learning_rate", "max_learning_rate") else ""

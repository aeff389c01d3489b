"""Why a run met a number that is not finite: loss, gradient or update, of which parameter.

What it says comes of looking at the step that failed and the one before it.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PyTree

from jaxnet._guards import checks

_LOWER = "lower the learning rate, or clip the gradients (optax.clip_by_global_norm)"
_START = "look at what it divides by or takes the logarithm of, and at the scale of the inputs"
_SAFE = (
    "jnp.where differentiates the branch it does not choose as well: give that one an argument "
    "that is safe, jnp.where(ok, f(jnp.where(ok, x, 1.0)), other); so too for a root or a norm at 0"
)
_PARTITION = (
    "the optimizer adds the gradient itself there, which climbs: optax.masked passes on what it "
    "masks out; leave parameters as they are by optax.partition and optax.set_to_zero"
)
_EPSILONS = ("eps", "epsilon", "eps_root")


def goes_on(opt_state: PyTree) -> bool:
    """Tell whether the optimizer is one that takes or skips gradients that are not finite."""

    def skips(state: Any) -> bool:
        skipping = isinstance(state, optax.MultiStepsState) and bool(state.skip_state)
        return skipping or isinstance(state, optax.ApplyIfFiniteState | optax.ZeroNansState)

    return any(map(skips, jax.tree.leaves(opt_state, is_leaf=skips)))


def search(
    finite: Callable[[int], Any], look: Callable[[int], Any], low: int, high: int
) -> tuple[int, list[Any]]:
    """Find the step, from `low` on, until which all is finite and after which it is not.

    Args:
        finite: whether all is, after so many steps. look: gives a step, concrete.

    Returns:
        That step, and it after the one before it, looked at; `high` and nothing where all that
        many are finite.
    """
    if finite(high):
        return high, []
    good = low
    while high - good > 1:
        middle = (good + high) // 2
        good, high = (middle, high) if finite(middle) else (good, middle)
    return good, [look(t) for t in range(max(low, good - 1), good + 1)]


def explain(steps: Sequence[Any], optimizer: Any, at: str, before: int) -> str:
    """Say of a step that failed what was not finite, and what to do about it.

    Args:
        steps: the first step whose loss, gradients or new parameters are not finite, concrete,
            after the one before it where there was one; each a `training.Step`.
        optimizer: the optimizer, or the function that makes it, whose arguments are named.
        at: which step it was, such as " in step 3". before: how many the run had taken.
    """
    failed = steps[-1]
    names = (_first(step, step.updates, _is_gradient) for step in steps)
    climbing = next(filter(None, names), "")
    if not np.isfinite(failed.value):
        fault = f"the loss, {failed.value}, was not finite{at}"
        cure = f"it was the first; {_START}" if not before else _LOWER
    elif name := _first(failed, failed.grads, _not_finite):
        fault = f"the gradient of {name} was not finite{at}, of a loss of {failed.value:.3g}"
        leaf = _leaf(failed, failed.grads, name)
        cure = _SAFE if np.isnan(leaf).any() else f"it overflowed {leaf.dtype}: {_LOWER}"
    else:
        trees = failed.updates, failed.after.params
        name = next(filter(None, (_first(failed, tree, _not_finite) for tree in trees)), "")
        if not name:
            # The sum of the losses of an epoch overflows before the loss does.
            return f"the loss, {failed.value:.3g}, times its rows was not finite{at}; {_LOWER}"
        fault = f"the update of {name} was not finite{at}, of a finite loss and gradient"
        update, grad = (_leaf(failed, tree, name) for tree in (failed.updates, failed.grads))
        divided = (np.isnan(update) & (grad == 0)).any()
        cure = _divided(update.dtype, optimizer) if divided else _LOWER
    return f"{fault}; of {climbing}: {_PARTITION}" if climbing else f"{fault}; {cure}"


def _divided(dtype: Any, optimizer: Any) -> str:
    try:
        names = inspect.signature(optimizer).parameters
    except (TypeError, ValueError):
        names = {}
    named = next((f"its argument {name}" for name in _EPSILONS if name in names), "its epsilon")
    half = f", which is 0 in {dtype} where it is below 1e-7" if dtype == np.float16 else ""
    return (
        f"where the gradient is 0 the optimizer divides by 0: raise {named}{half}, such as to 1e-4 "
        "by functools.partial"
    )


def untrained(params: PyTree, state: Any) -> str:
    """Say why a run that took steps changed no parameter; "" where it changed any.

    Args:
        params: where it started. state: its `training.State`.
    """
    leaves = (jax.tree.leaves(jax.device_get(tree)) for tree in (params, state.params))
    if not all(np.array_equal(a, b) for a, b in zip(*leaves, strict=True)):
        return ""

    def gathers(state: Any) -> bool:
        return isinstance(state, optax.MultiStepsState)

    if any(map(gathers, jax.tree.leaves(state.opt_state, is_leaf=gathers))):
        return (
            "no parameter changed: optax.MultiSteps gathers the gradients of more steps than the "
            "run had; let it gather fewer, or train for more epochs"
        )
    return "no parameter changed: the gradients are zero, or the updates too small for the dtype"


def _leaf(step: Any, tree: PyTree, name: str) -> np.ndarray:
    names = [checks.path("params", step.after.params, i) for i in range(len(jax.tree.leaves(tree)))]
    return np.asarray(jax.tree.leaves(tree)[names.index(name)])


def _first(step: Any, tree: PyTree, holds: Any) -> str:
    """Name the first parameter whose part of the tree, beside its gradient, is so; or none."""
    rows = zip(jax.tree.leaves(tree), jax.tree.leaves(step.grads), strict=True)
    for index, (leaf, grad) in enumerate(rows):
        if holds(np.asarray(leaf), np.asarray(grad)):
            return checks.path("params", step.after.params, index)
    return ""


def _not_finite(leaf: np.ndarray, grad: np.ndarray) -> bool:
    del grad
    return not jnp.isfinite(leaf).all()


def _is_gradient(update: np.ndarray, grad: np.ndarray) -> bool:
    return bool((grad != 0).any()) and np.array_equal(update, grad)

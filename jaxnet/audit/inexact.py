"""Gradients that are right, but not exact: rounded to decimals, or finite differences.

Shapes: P numbers in all parameters; K step sizes.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from jaxnet import losses
from jaxnet.audit.case import Case, Leaf
from jaxnet.audit.floats import Gradient
from jaxnet.audit.rows import Verdict
from jaxnet.audit.uncompiled import uncompiled

# A gradient that is off by more than this share is not called right.
_CLOSE = 0.02
_DECIMALS = range(1, 13)
# So few no gradient in float64 or float32 has, but one written down.
_FEW = range(9)
_STEP_SIZES = tuple(10.0**-k for k in range(1, 9))
# What differences may leave of an error that they explain, beside rounding, of which they may
# leave so much; and the entries that must agree.
_LEFT_OVER, _ROUNDED = 0.1, 0.5
_ENTRIES = 3
# Parameters in more numbers than this are not differenced one by one.
_MOST = 10_000
# Relative errors too large for float64 and too small for float32: those of central differences.
_BETWEEN = (1e-12, 1e-8)

Said = tuple[Verdict, str]
"""A verdict, and how exactly a gradient is right."""


def describe(case: Case, left: Sequence[int]) -> dict[int, Said]:
    """Say of leaves that are not exactly right how exactly they are, where that is seen."""
    said = _rounded(case, left)
    near = [i for i in left if i not in said and 0 < _apart(case.leaves[i]) <= _CLOSE]
    name = _differences(case, near) if near else ""
    for index in near if name else ():
        how = f"agrees to {_apart(case.leaves[index]):.0e}, as {name} would"
        said[index] = ("right", f"right, but not exact: {how}")
    return said


def as_rounded(case: Case, left: Sequence[int]) -> tuple[Case, list[int]]:
    """Count as rounding what the few decimals of some claims leave out; give which these are."""
    leaves, rounded = list(case.leaves), []
    for index in left:
        leaf = case.leaves[index]
        decimals = next((each for each in _FEW if _holds(leaf, case.dtype, each)), 0)
        # Whole numbers and tenths are often exact.
        if decimals > 1:
            half = 0.5 * 10.0**-decimals * np.sqrt(leaf.claimed.size)
            leaves[index] = leaf._replace(rounding=leaf.rounding + float(half))
            rounded.append(index)
    return case._replace(leaves=leaves), rounded


def _apart(leaf: Leaf) -> float:
    norm = float(np.linalg.norm(leaf.true))
    return leaf.error / norm if norm else np.inf


def _rounded(case: Case, left: Sequence[int]) -> dict[int, Said]:
    """Find the leaves that are the true ones rounded to some decimals, the same in all."""
    for decimals in _DECIMALS:
        found = [i for i in left if _is_rounded(case.leaves[i], case.dtype, decimals)]
        if any(_apart(case.leaves[index]) <= _CLOSE for index in found):
            return {index: _rounded_to(case.leaves[index], decimals) for index in found}
    return {}


def _is_rounded(leaf: Leaf, dtype: np.dtype, decimals: int) -> bool:
    if leaf.claimed.shape != leaf.true.shape:
        return False
    half = 0.5 * 10.0**-decimals + leaf.rounding
    near = bool((np.abs(leaf.claimed - leaf.true) <= half).all())
    return near and _holds(leaf, dtype, decimals)


def _holds(leaf: Leaf, dtype: np.dtype, decimals: int) -> bool:
    """Whether a claim is written in so many decimals, of which its dtype holds more."""
    held = np.round(leaf.claimed, decimals).astype(dtype)
    finest = np.finfo(dtype).eps * np.abs(leaf.claimed).max(initial=0)
    return bool(10.0**-decimals > 16 * finest and (held == leaf.claimed).all())


def _rounded_to(leaf: Leaf, decimals: int) -> Said:
    if _apart(leaf) <= _CLOSE:
        return "right", f"right to {decimals} decimals, to which it seems to be rounded"
    return "undecided", f"right to {decimals} decimals, which are too few for one so small"


def _differences(case: Case, left: list[int]) -> str:
    """Name the finite differences that err as some leaves do; empty where none do."""
    sizes = [leaf.true.size for leaf in case.leaves]
    claimed, true = (_flat(each, left) for each in (case.claimed, case.true))
    error = np.linalg.norm(claimed - true)
    if _BETWEEN[0] <= error / np.linalg.norm(true) <= _BETWEEN[1]:
        return "finite differences"
    if len(true) < _ENTRIES or sum(sizes) > _MOST:
        return ""
    with jax.enable_x64(True):
        value, ahead, behind = map(np.asarray, _steps(case.loss, case.params, case.batch))
    steps, ends = np.array(_STEP_SIZES), np.cumsum(sizes)[:-1]
    kinds = {
        "forward": (ahead - value) / steps,
        "backward": (value - behind) / steps,
        "central": (ahead - behind) / (2 * steps),
    }
    rounding = 2 * np.finfo(case.dtype).eps * abs(value) * np.sqrt(len(true)) / steps
    best = {}
    for kind, slopes in kinds.items():
        for at, step in enumerate(_STEP_SIZES):
            unlike = np.linalg.norm(claimed - _flat(np.split(slopes[:, at], ends), left))
            allowed = _LEFT_OVER * error + min(rounding[at], _ROUNDED * error)
            best[f"{kind} differences with a step of {step:g}"] = float(unlike / allowed)
    name = min(best, key=lambda name: best[name])
    return name if best[name] <= 1 else ""


def _flat(leaves: Sequence[Gradient], left: list[int]) -> Gradient:
    return np.concatenate([np.ravel(leaves[index]) for index in left])


@uncompiled(0)
def _steps(
    loss: losses.Loss, params: PyTree, batch: PyTree
) -> tuple[Float[Array, ""], Float[Array, "P K"], Float[Array, "P K"]]:
    """Give the loss, and that a step ahead and behind in each number, for each step size."""
    flat, unravel = ravel_pytree(params)

    def at(index: Array) -> tuple[Array, Array]:
        def step(size: Array) -> tuple[Array, Array]:
            ahead, behind = flat.at[index].add(size), flat.at[index].add(-size)
            return loss(unravel(ahead), batch), loss(unravel(behind), batch)

        return jax.lax.map(step, jnp.array(_STEP_SIZES))

    return loss(params, batch), *jax.lax.map(at, jnp.arange(flat.size))

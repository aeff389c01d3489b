"""Two changes of which each makes up for a part of what a gradient lacks."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float64

# How exactly, relative to what is lacking.
_EXACT = 1e-7


def of(
    now: Float64[np.ndarray, "K"],
    changed: Float64[np.ndarray, "C K"],
    true: Float64[np.ndarray, "K"],
) -> Iterator[tuple[int, int]]:
    """Give pairs of changes by number, whose effects add up or multiply to what is lacking.

    Args:
        now: the gradient as it is, of K numbers.
        changed: as it is with each of C changes alone.
        true: as it should be.
    """
    for measured in (np.asarray, _logarithms):
        effects = measured(changed) - measured(now)
        yield from _sums(effects, measured(true) - measured(now))


def _logarithms(values: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(np.abs(values))


def _sums(
    effects: Float64[np.ndarray, "C K"], lacking: Float64[np.ndarray, "K"]
) -> Iterator[tuple[int, int]]:
    """Give the pairs that add up to what is lacking, without trying each."""
    size = float(np.linalg.norm(lacking))
    if not np.isfinite(size):
        return
    weights = np.random.default_rng(0).normal(size=len(lacking))
    with np.errstate(invalid="ignore"):
        keys = effects @ weights
    wanted = float(lacking @ weights)
    # Of those of the same effect the first, and none without.
    _, first = np.unique(np.round(keys / (_EXACT * size)), return_index=True)
    kept = np.sort(first[np.isfinite(keys[first]) & (np.abs(keys[first]) > _EXACT * size)])
    order = kept[np.argsort(keys[kept])]
    slack = _EXACT * size * np.linalg.norm(weights)
    lows, highs = (
        np.searchsorted(keys[order], wanted - keys[kept] + sign * slack) for sign in (-1, 1)
    )
    for one, low, high in zip(kept, lows, highs, strict=True):
        for other in order[low:high]:
            error = np.linalg.norm(effects[one] + effects[other] - lacking)
            if one < other and error <= _EXACT * size * 10:
                yield int(one), int(other)

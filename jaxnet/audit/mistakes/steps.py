"""What an optimizer makes of a gradient, passed as the gradient itself."""

from collections.abc import Iterator

import jax
import numpy as np

from jaxnet.audit.case import Case, Mistake, Tier
from jaxnet.audit.chain import Gradient

# A norm is clipped to a round number: one of so many digits.
_ROUND = 2
# Entries that must be clipped, or have a sign, for it to be seen.
_SEEN = 3


def multiples(case: Case) -> list[tuple[float, str]]:
    """Give the factors that an optimizer, or the wrong divisor, would leave in a whole gradient."""
    named = [(10.0**-k, f"multiplied by {10.0**-k:g}, as by a learning rate") for k in range(1, 6)]
    named += [
        (
            1 - decay,
            f"times {1 - decay:g}, as a moving average with decay {decay} at its first step",
        )
        for decay in (0.9, 0.99, 0.999)
    ]
    if case.rows > 1 and case.chain:
        for width, of in _widths(case).items():
            named.append((case.rows / width, f"divided by the number of {of}, not of examples"))
    limit = _limit([leaf for leaf in case.claimed])
    whole = float(np.sqrt(sum((leaf**2).sum() for leaf in case.true)))
    if limit and limit < whole:
        named.append((limit / whole, f"clipped to a norm of {limit:g}"))
    return named


def _widths(case: Case) -> dict[int, str]:
    """Give the other axes that a sum over the batch may be divided by, by their length."""
    layers = case.chain.layers if case.chain else ()
    widths: dict[int, str] = {}
    for k, layer in enumerate(layers):
        widths.setdefault(layer.x.shape[1], f"units of layer {k}" if k else "features")
    if layers:
        widths.setdefault(layers[-1].z.shape[1], "outputs")
    return {width: of for width, of in widths.items() if width != case.rows}


def _limit(leaves: list[Gradient]) -> float:
    """Give the norm of a gradient where that is a round number; 0 where it is not."""
    norm = float(np.sqrt(sum((leaf**2).sum() for leaf in leaves)))
    rounded = float(f"{norm:.{_ROUND - 1}e}") if 0 < norm < np.inf else 0.0
    return rounded if abs(norm / (rounded or 1) - 1) < 1e-6 else 0.0


def steps(case: Case) -> Tier:
    """The gradient clipped, its sign alone, the parameter after a step, or nothing at all."""
    params = [np.asarray(param) for param in jax.tree.leaves(case.params)]
    return {
        index: list(_of_leaf(leaf.claimed, leaf.true, param))
        for index, (leaf, param) in enumerate(zip(case.leaves, params, strict=True))
        if leaf.claimed.shape == leaf.true.shape
    }


def _of_leaf(claimed: Gradient, true: Gradient, param: Gradient) -> Iterator[Mistake]:
    yield Mistake("zero, where the gradient is not", np.zeros_like(true))
    yield Mistake("its sign alone, without its size", np.sign(true), any_factor=True)
    most = float(np.abs(claimed).max(initial=0))
    if ((np.abs(true) > most) & (np.abs(claimed) == most)).any() and true.size >= _SEEN:
        clipped = np.clip(true, -most, most)
        yield Mistake(f"clipped to entries of at most {most:.6g}", clipped)
    elif most and np.allclose(np.abs(claimed), most) and (np.abs(true) > most).all():
        yield Mistake(f"clipped to entries of at most {most:.6g}", np.clip(true, -most, most))
    step = param - claimed
    square = float(np.vdot(true, true))
    rate = float(np.vdot(true, step)) / square if square else 0.0
    if rate > 0 and true.size >= _SEEN:
        text = f"the updated parameter in place of its gradient (learning rate {rate:.4g})"
        yield Mistake(text, param - rate * true, fitted=True)

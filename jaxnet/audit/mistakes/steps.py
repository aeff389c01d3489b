"""What an optimizer makes of a gradient, passed as the gradient itself."""

from collections.abc import Iterator

import jax
import numpy as np

from jaxnet.audit.case import Case, Leaf, Mistake, Tier
from jaxnet.audit.floats import Gradient

# Entries of a gradient that must be cut at one size to say that they are.
_CUT = 3
# How near a norm must be to a round number to be clipped to it.
_ROUND = 1e-6


def clips(case: Case) -> Tier:
    """The whole gradient clipped by entries, or by its norm, as far as the claim shows it."""
    if not case.shapes_agree:
        return {}
    tier: Tier = {index: [] for index in range(len(case.leaves))}
    for text, gradients, fitted in _clips(case):
        for index, gradient in enumerate(gradients):
            tier[index].append(Mistake(text, gradient, fitted=fitted))
    return tier


def _clips(case: Case) -> Iterator[tuple[str, list[Gradient], bool]]:
    sizes = np.abs(np.concatenate([np.ravel(claimed) for claimed in case.claimed]))
    most = float(sizes.max(initial=0))
    # Where all that is not zero is of one size, nothing shows that it was cut.
    if (sizes == most).sum() >= _CUT and ((sizes > 0) & (sizes < most)).any():
        clipped = [np.clip(true, -most, most) for true in case.true]
        yield f"clipped to entries of at most {most:.6g}", clipped, True
    norm, whole = (_norm(leaves) for leaves in (case.claimed, case.true))
    limit = float(f"{norm:.0e}")
    if 0 < norm < whole and abs(norm - limit) < _ROUND * norm:
        clipped = [true * limit / whole for true in case.true]
        yield f"clipped to a norm of {limit:g}", clipped, False


def steps(case: Case) -> Tier:
    """The gradient's sign alone, the parameter after a step, or nothing at all."""
    params = [np.asarray(param) for param in jax.tree.leaves(case.params)]
    # Counts of one sign may be got wrong in other ways.
    signed = all(any((side * true > 0).any() for true in case.true) for side in (1, -1))
    return {
        index: list(_of_leaf(leaf, param, signed))
        for index, (leaf, param) in enumerate(zip(case.leaves, params, strict=True))
        if leaf.claimed.shape == leaf.true.shape
    }


def _norm(leaves: list[Gradient]) -> float:
    return float(np.sqrt(sum((leaf**2).sum() for leaf in leaves)))


def _of_leaf(leaf: Leaf, param: Gradient, signed: bool) -> Iterator[Mistake]:
    yield Mistake("zero, where the gradient is not", np.zeros_like(leaf.true))
    if signed:
        yield Mistake("its sign alone, without its size", np.sign(leaf.true), fitted=True)
    square = float(np.vdot(leaf.true, leaf.true))
    rate = float(np.vdot(leaf.true, param - leaf.claimed)) / square if square else 0.0
    if rate > 0:
        text = f"the updated parameter in place of its gradient (learning rate {rate:.4g})"
        yield Mistake(text, param - rate * leaf.true, fitted=True)

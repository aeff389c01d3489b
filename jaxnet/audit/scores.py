"""How near a claim is to the true gradient, leaf by leaf."""

from collections.abc import Sequence

import numpy as np

from jaxnet.audit import forms
from jaxnet.audit.case import Truth
from jaxnet.audit.floats import Gradient

Scores = tuple[int, ...]
"""Of each leaf: 2 where it is right, 1 where it is so but for a factor and its order, else 0."""

# A leaf's error relative to its norm, and to that of the largest leaf.
_RIGHT, _ZERO = 1e-6, 1e-9
# Fewer entries are in order by chance.
_ENTRIES = 4


class Target:
    """The gradient that is true somewhere, and what is near it."""

    def __init__(self, truth: Truth) -> None:
        """Measure it."""
        self.truth = truth
        norms = [float(np.linalg.norm(leaf)) for leaf in truth.gradient]
        self._zero = _ZERO * max(norms)
        self._leaves = [
            (leaf, norm, float(np.abs(leaf).sum()))
            for leaf, norm in zip(truth.gradient, norms, strict=True)
        ]

    @property
    def zeros(self) -> list[bool]:
        """Which leaves have nothing to be won."""
        return [norm <= self._zero for _, norm, _ in self._leaves]

    def scores(self, claimed: Sequence[Gradient] | None, is_proof: bool = False) -> Scores:
        """Give the scores of a claim, None if it fails; none for batches of another size."""
        other_size = self.truth.is_other_size
        if claimed is None:
            return () if other_size else (0,) * len(self._leaves)
        pairs = list(zip(claimed, self._leaves, strict=True))
        if other_size and any(leaf.size != true.size for leaf, (true, *_) in pairs):
            return ()
        return tuple(
            # A zero is got in many ways: nothing is to be won by it.
            2 if norm <= self._zero and not is_proof else self._score(leaf, true, norm, total)
            for leaf, (true, norm, total) in pairs
        )

    def _score(self, claimed: Gradient, true: Gradient, norm: float, total: float) -> int:
        if claimed.shape != true.shape:
            claimed, _ = forms.read_by_value(claimed, true.shape)
        if claimed.shape != true.shape:
            return 0
        error = float(np.linalg.norm(claimed - true))
        if not np.isfinite(error):
            return 0
        if error <= _RIGHT * norm + self._zero:
            return 2
        if not norm or true.size < _ENTRIES:
            return 0
        # Scaled or with its entries in another order: a second change may put that right.
        factor = float(np.linalg.norm(claimed)) / norm
        if factor and abs(float(np.abs(claimed).sum()) - factor * total) <= _RIGHT * factor * total:
            entries = factor * np.sort(true, None)
            orders = (np.sort(sign * claimed, None) - entries for sign in (1, -1))
            if any(np.linalg.norm(each) <= _RIGHT * factor * norm for each in orders):
                return 1
        return 0


def are_better(new: Scores, old: Scores) -> bool:
    """Whether leaves came closer, and none went away."""
    return new != old and all(a <= b for a, b in zip(old, new, strict=True))


def rights(scores: Scores) -> int:
    """Count the leaves that are right."""
    return sum(score == 2 for score in scores)

"""Whether a claimed gradient is one of many, but for a factor, and how much that proves.

Shapes: K gradients side by side; I inputs and O outputs of a layer.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxnet.audit.case import Leaf, reshaped
from jaxnet.audit.chain import Chain
from jaxnet.audit.floats import Gradient

# Agreement is evidence where its decimal digits are more than those of the numbers compared, by
# this many.
BEYOND_CHANCE = 2.5
# Of fewer digits in all a claim proves little.
_POOR = 10.0
# Less than this share of a gradient is rounding of what was taken off it.
_LEFT = 1e-6


class Free(NamedTuple):
    """A term that a claim may have in any share.

    Attributes:
        text: what it is. term: in the leaf's shape. right: the share that it should have.
    """

    text: str
    term: Gradient
    right: float


class Claim(NamedTuple):
    """A claimed gradient of a parameter of a layer, without what does not come through the chain.

    Attributes:
        forms: the claim as `[O, I]` or `[O]`, and transposed; of whatever shape it has.
        tolerance: of what is one with it, relative to its norm.
        rows: N.
        scaled: the factor by which it surely is the true gradient; 0 where it is not.
        free: shape [D, O, I], terms that it may have in any share.
    """

    forms: list[Gradient]
    tolerance: float
    rows: int
    scaled: float = 0.0
    free: Gradient = np.empty((0, 0, 0))

    def agrees(self, gradients: Gradient) -> np.ndarray:
        """Tell which gradients [K, ...] are the claim but for a factor."""
        flat = gradients.reshape(len(gradients), -1)
        bound = self._bound(flat)
        agree = np.zeros(len(flat), bool)
        for form in self.forms:
            if self._like(form, gradients[0]):
                apart = self.tolerance * float(np.linalg.norm(form))
                agree |= parallel(self._bound(form.ravel()), bound, apart)
        # Of a gradient that is made of the terms themselves nothing is left.
        left = np.linalg.norm(bound, axis=1) > _LEFT * np.linalg.norm(flat, axis=1)
        return agree & left

    def factor(self, gradient: Gradient) -> float:
        """Give how many times a gradient that agrees the claim is."""
        bound = self._bound(gradient.ravel())
        shares = [np.vdot(bound, form) for form in self.forms if self._like(form, gradient)]
        return float(max(shares, key=abs) / np.vdot(bound, bound))

    def shares(self, gradient: Gradient) -> list[float]:
        """Give how many times it has each of its free terms, beside a gradient that agrees."""
        rest = self.forms[0] - self.factor(gradient) * gradient
        columns = self.free.reshape(len(self.free), -1).T
        return np.linalg.lstsq(columns, rest.ravel(), rcond=None)[0].tolist()

    def _bound(self, flat: Gradient) -> Gradient:
        """Leave out of arrays [..., P] what free terms may make up."""
        if not len(self.free) or self.free[0].size != flat.shape[-1]:
            return flat
        basis, _ = np.linalg.qr(self.free.reshape(len(self.free), -1).T)
        return flat - flat @ basis @ basis.T

    @staticmethod
    def _like(form: Gradient, gradient: Gradient) -> bool:
        return form.shape == gradient.shape or (form.ndim == 1 and form.size == gradient.size)

    def numbers(self, gradient: Gradient) -> int:
        """Count the numbers of a gradient that are independent of each other."""
        used = gradient != 0
        if gradient.ndim == 2:
            numbers = int(used.any(1).sum()) * min(self.rows, int(used.any(0).sum()))
        else:
            numbers = int(used.sum())
        return min(numbers, len(np.unique(gradient))) - len(self.free)

    def proves(self, numbers: int, compared: int) -> bool:
        """Tell whether agreement with one of so many gradients is no chance.

        Args:
            numbers: that agree, independent of each other, less those fitted.
            compared: how many gradients, times the factors that they are compared with.
        """
        return self._digits * numbers >= math.log10(compared) + BEYOND_CHANCE

    @property
    def poor(self) -> bool:
        """Whether agreement proves so little that chance must be thought of."""
        return self._digits * self.numbers(self.forms[0]) < _POOR

    @property
    def _digits(self) -> float:
        return -math.log10(self.tolerance)


def is_reshaped(leaf: Leaf) -> bool:
    """Tell whether a claim is right but for the places of its entries."""
    return any(
        leaf.rounding < leaf.error and np.linalg.norm(leaf.claimed - each) <= leaf.rounding
        for each in reshaped(leaf.true).values()
        if leaf.claimed.shape == each.shape
    )


def claim_of(
    leaf: Leaf,
    chain: Chain,
    index: int,
    true: Gradient,
    free: Sequence[Free] = (),
    any_order: bool = False,
) -> Claim:
    """See a claimed leaf as the gradient of its parameter.

    Args:
        leaf: it. chain, index: of which it is a parameter's. true: the gradient as [O, I].
        free: terms that it may have in any share.
        any_order: whether its entries may be out of place.
    """
    layer = chain.layers[chain.leaf(index)]
    claimed = leaf.claimed
    rest = np.asarray(chain.rest.get(index, np.zeros(leaf.true.shape)))
    if claimed.shape in (rest.shape, rest.T.shape):
        claimed = claimed - (rest if claimed.shape == rest.shape else rest.T)
    if index == layer.weight_leaf and claimed.size == layer.weight.size and claimed.ndim != 2:
        claimed = claimed.reshape(layer.weight.T.shape if layer.transposed else layer.weight.shape)
    forms = [np.asarray(claimed)]
    if claimed.ndim == 2:
        orders = reshaped(claimed) if any_order else {}
        forms = [each for own in (claimed, *orders.values()) for each in (own, own.T)]
        forms = [form.T for form in forms] if layer.transposed else forms
    if index == layer.bias_leaf:
        forms.append(claimed.ravel())
    tolerance = 4 * max(leaf.resolution, 16 * float(np.finfo(float).eps))
    claim = Claim(forms, min(tolerance, 0.1), chain.rows)
    if free and forms[0].shape == true.shape:
        upright = index == layer.weight_leaf
        terms = [chain.upright(layer, each.term) if upright else each.term for each in free]
        claim = claim._replace(forms=forms[:1], free=np.reshape(terms, (len(free), *true.shape)))
    sure = claim.proves(claim.numbers(true) - 1, 1)
    scaled = sure and claim.agrees(true[None])[0]
    return claim._replace(scaled=claim.factor(true) if scaled else 0.0)


def parallel(claim: Gradient, gradients: Gradient, apart: float) -> np.ndarray:
    """Tell which gradients [K, P] are a claim [P] but for a factor, to within so much."""
    square = np.einsum("kp,kp->k", gradients, gradients)
    factors = gradients @ claim / np.maximum(square, 1e-300)
    rest = np.linalg.norm(claim - factors[:, None] * gradients, axis=1)
    return (rest <= apart) & (factors != 0)

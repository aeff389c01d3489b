"""What a mistake in a backward pass is made of.

Shapes: N examples, I inputs and O outputs of a layer.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxnet.audit.chain import Chain, Dense
from jaxnet.audit.floats import Gradient


class Rule(NamedTuple):
    """A wrong way to make something.

    Attributes:
        text: the mistake in words.
        symbols: what is computed, a formula that `in_symbols` fills in.
        make: computes it; may raise a ValueError where the shapes do not allow it, or give nan
            where it makes no sense.
        linear: in the signal sent back, so that the loss's scale may be applied before or after.
        fitted: whether a number in it was fitted to the claim.
    """

    text: str
    symbols: str
    make: Callable[[Any], Gradient]
    linear: bool = True
    fitted: bool = False


class Edit(NamedTuple):
    """One mistake in the error signal of one layer.

    Attributes:
        layer: from the input on. text: the mistake in words.
        wrong, right: the signal as it was and as it should be computed, in symbols.
        fitted: whether a number in it was fitted to the claim.
    """

    layer: int
    text: str
    wrong: str
    right: str
    fitted: bool = False


class Signal(NamedTuple):
    """An error signal `[N, O]` that the claim may have been made with.

    Attributes:
        delta: the signal. edits: the mistakes in it, from the output on.
        factor: that is in it beside them, without a name.
        raw: of a hidden layer what came back, before the activation's derivative.
    """

    delta: Gradient
    edits: tuple[Edit, ...] = ()
    factor: float = 1.0
    raw: Gradient | None = None

    @property
    def mistakes(self) -> int:
        """How many different mistakes it has: one made in several layers counts once."""
        return len({edit.text for edit in self.edits})

    def turned(self, delta: Gradient, *edits: Edit, raw: Gradient | None = None) -> "Signal":
        """Give what is made of it, with further mistakes."""
        return Signal(delta, (*self.edits, *edits), self.factor, raw)

    def times(self, factor: float) -> "Signal":
        """Give so many times it."""
        raw = None if self.raw is None else self.raw * factor
        return Signal(self.delta * factor, self.edits, self.factor * factor, raw)


class Update(NamedTuple):
    """A step of gradient descent: its learning rate, and whether a regulariser is in it."""

    rate: float
    penalised: bool


class Fits(NamedTuple):
    """Numbers in mistakes that were fitted to a claim.

    Attributes:
        updates: with which weights may have been updated already.
        leaks: slopes of leaky ReLUs, and alphas of ELUs, whose derivative may have been taken.
    """

    updates: tuple[Update, ...] = ()
    leaks: tuple[float, ...] = ()
    alphas: tuple[float, ...] = ()


class Hidden(NamedTuple):
    """A hidden layer whose error signal is made of that of the layer after it.

    Attributes:
        chain: the layer is in. layer: which, from the input on.
        slope: shape [N, O], the derivative of its activation.
        signals: the right error signals of all layers.
        claims: the claimed gradients of all weights, [O, I]; None where not of that shape.
        rests: what of these does not come through the chain, [O, I].
        fits: what the claim shows of numbers in mistakes.
    """

    chain: Chain
    layer: int
    slope: Gradient
    signals: list[Gradient]
    claims: list[Gradient | None]
    rests: list[Gradient]
    fits: Fits

    @property
    def here(self) -> Dense:
        """The layer itself."""
        return self.chain.layers[self.layer]

    @property
    def after(self) -> Dense:
        """The layer after it."""
        return self.chain.layers[self.layer + 1]

    def moved(self, penalised: bool) -> Gradient:
        """Give the claim of the next weight, [O, I], by which it may be updated already.

        Args:
            penalised: whether a regulariser is in it.

        Raises:
            ValueError: a claim that is of another shape.
        """
        claim = self.claims[self.layer + 1]
        if claim is None:
            raise ValueError
        return claim if penalised else claim - self.rests[self.layer + 1]

    @property
    def before(self) -> Dense:
        """The layer before it; a ValueError where there is none."""
        if not self.layer:
            raise ValueError
        return self.chain.layers[self.layer - 1]


def in_symbols(chain: Chain, layer: int, formula: str) -> str:
    """Put the names of a layer (k), the one before (p) and the one after (n) in a formula.

    Layers are counted from 1: `W2`, `b2`, `z2`, `h2`, `dz2`; `{x}` is the layer's input, and `{W}`
    the weight after it as a row of its signal is multiplied by it.
    """
    k, layers = layer + 1, chain.layers
    weight = f"W{k + 1}" + (".T" if k < len(layers) and layers[k].transposed else "")
    return formula.format(k=k, n=k + 1, p=k - 1, W=weight, x=f"h{k - 1}" if layer else "x")


def made(rule: Rule, of: Any, shape: tuple[int, ...]) -> Gradient | None:
    """Give what a rule makes, spread to a shape; None where it does not apply."""
    try:
        array = np.broadcast_to(rule.make(of), shape)
    except ValueError:  # the shapes do not allow this mistake
        return None
    return array if np.isfinite(array).all() else None

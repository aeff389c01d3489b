"""One step of a backward pass, right and wrong.

Shapes: N examples, O outputs of a layer.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from jaxnet.audit.floats import Gradient
from jaxnet.audit.mistakes.hidden_sent import Sent, sending
from jaxnet.audit.mistakes.hidden_slopes import INSTEAD, MASKS, Back, times
from jaxnet.audit.mistakes.rules import Edit, Hidden, Rule, Signal, in_symbols, made


class Factor(NamedTuple):
    """What a signal sent back may be multiplied by, [N, O], by which mistake."""

    edit: Edit
    times: Gradient


class Step(NamedTuple):
    """All that can be done, right or wrong, from one layer to the hidden one before it.

    Attributes:
        at: the hidden layer. factors: wrong ones. sendings: what comes back in place of the
            signal. instead: what is made of it in place of a product.
    """

    at: Hidden
    factors: list[Factor]
    sendings: list[tuple[Edit, Rule]]
    instead: list[tuple[Edit, Rule]]

    def right(self, above: Signal) -> Signal:
        """Send a signal back as it should be."""
        sent = above.delta @ self.at.after.back
        return above.turned(sent * self.at.slope, raw=sent)

    def wrong(self, above: Signal, only: str | None = None) -> Iterator[Signal]:
        """Send a signal back with one mistake; only that one, if a text is given."""
        yield from self.products(above, only)
        sent = above.delta @ self.at.after.back
        known = [sent * self.at.slope]
        for edit, rule in self.instead:
            if only not in (None, edit.text):
                continue
            for scale in (1.0,) if rule.linear else (1.0, self.at.chain.scale):
                delta = made(rule, Back(self.at, sent / scale), sent.shape)
                if delta is not None and not any(_same(delta * scale, each) for each in known):
                    known.append(delta * scale)
                    yield above.turned(known[-1], edit)

    def products(self, above: Signal, only: str | None = None) -> Iterator[Signal]:
        """Send a signal back with one mistake that leaves it a product, as `wrong` does."""
        sent = above.delta @ self.at.after.back
        for edit, factor in self.factors:
            if only in (None, edit.text):
                yield above.turned(sent * factor, edit, raw=sent)
        for edit, back in self._sent(above, only):
            if not _same(back, sent):
                yield above.turned(back * self.at.slope, edit, raw=back)

    def twice(self, above: Signal) -> Iterator[Signal]:
        """Send a signal back with two mistakes: in what is sent, and in the factor."""
        for first, back in self._sent(above, None):
            for second, factor in self.factors:
                yield above.turned(back * factor, first, second, raw=back)

    def again(self, above: Signal, texts: set[str]) -> Iterator[Signal]:
        """Send a signal back with two mistakes of these."""
        for first, back in self._sent(above, None):
            for second, factor in self.factors if first.text in texts else ():
                if second.text in texts:
                    yield above.turned(back * factor, first, second, raw=back)

    def _sent(self, above: Signal, only: str | None) -> Iterator[tuple[Edit, Gradient]]:
        for edit, rule in self.sendings:
            if only in (None, edit.text):
                back = made(rule, Sent(self.at, above.delta), self.at.slope.shape)
                if back is not None:
                    yield edit, back


def _same(these: Gradient, those: Gradient) -> bool:
    """Whether a mistake makes no difference here, as one among units does where there is one."""
    return bool(np.abs(these - those).max() <= 1e-12 * np.abs(those).max())


def step_of(at: Hidden) -> Step:
    """Prepare all steps to a hidden layer."""
    sendings = [
        (_edit(at, rule, f"({rule.symbols}) * f{{k}}'(z{{k}})"), rule) for rule in sending(at)
    ]
    instead = [(_edit(at, rule, rule.symbols), rule) for rule in INSTEAD]
    return Step(at, factors_of(at), sendings, instead)


def factors_of(at: Hidden) -> list[Factor]:
    """Give what a signal sent back to a hidden layer may be multiplied by, wrongly."""
    factors: list[Factor] = []
    mask = 1.0 if at.here.mask is None else at.here.mask
    for rule in (*MASKS, *times(at)):
        factor = made(rule, at, at.slope.shape)
        # What is made of the derivative or the activations has the mask already.
        if factor is not None and rule not in MASKS and np.any(factor * (mask == 0)):
            factor = factor * mask
        known = [at.slope, *(each.times for each in factors)]
        # Some are one and the same under some activations, as h and f'(z) z of a ReLU.
        if factor is not None and not any(_same(factor, each) for each in known):
            formula = f"({_SENT}) * {rule.symbols}" if rule.symbols else _SENT
            factors.append(Factor(_edit(at, rule, formula), factor))
    return factors


_SENT = "dz{n} @ {W}"


def _edit(at: Hidden, rule: Rule, formula: str) -> Edit:
    """Write a mistake in the signal of a hidden layer down."""
    right = f"({_SENT}) * f{{k}}'(z{{k}})" + " * mask" * (at.here.mask is not None)
    wrong, good = (
        in_symbols(at.chain, at.layer, "dz{k} = " + each.replace("{sent}", _SENT))
        for each in (formula, right)
    )
    return Edit(at.layer, rule.text, wrong, good, rule.fitted)

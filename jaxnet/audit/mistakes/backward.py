"""One step of a backward pass, right and wrong.

Shapes: N examples, O outputs of a layer.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from jaxnet.audit.chain import Gradient
from jaxnet.audit.mistakes.hidden import INSTEAD, MASKS, TIMES, Back, Sent, sending
from jaxnet.audit.mistakes.rules import Edit, Hidden, Rule, Signal, in_symbols, made


class Factor(NamedTuple):
    """What a signal sent back may be multiplied by, [N, O], by which mistake."""

    edit: Edit
    times: Gradient


class Step(NamedTuple):
    """All that can be done, right or wrong, from one layer to the hidden one before it.

    Attributes:
        at: the hidden layer. times: wrong factors. sendings: what comes back in place of the
            signal. instead: what is made of it in place of a product.
    """

    at: Hidden
    times: list[Factor]
    sendings: list[tuple[Edit, Rule]]
    instead: list[tuple[Edit, Rule]]

    def right(self, above: Signal) -> Signal:
        """Send a signal back as it should be."""
        return above.turned(above.delta @ self.at.after.weight * self.at.slope)

    def wrong(self, above: Signal, only: str | None = None) -> Iterator[Signal]:
        """Send a signal back with one mistake; only that one, if a text is given."""
        sent = above.delta @ self.at.after.weight
        right = sent * self.at.slope
        for edit, times in self.times:
            if only in (None, edit.text):
                yield above.turned(sent * times, edit)
        for edit, back in self._sent(above, only):
            if not _same(back, sent):
                yield above.turned(back * self.at.slope, edit)
        known = [right]
        for edit, rule in self.instead:
            if only not in (None, edit.text):
                continue
            for scale in (1.0,) if rule.linear else (1.0, self.at.chain.scale):
                delta = made(rule, Back(self.at, sent / scale), sent.shape)
                if delta is not None and not any(_same(delta * scale, each) for each in known):
                    known.append(delta * scale)
                    yield above.turned(known[-1], edit)

    def twice(self, above: Signal) -> Iterator[Signal]:
        """Send a signal back with two mistakes: in what is sent, and in the factor."""
        for first, back in self._sent(above, None):
            for second, times in self.times:
                yield above.turned(back * times, first, second)

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
    sent, right = "dz{n} @ {W}", "dz{k} = ({sent}) * f{k}'(z{k})"
    right += " * mask" * (at.here.mask is not None)

    def edit(rule: Rule, formula: str) -> Edit:
        wrong, good = (
            in_symbols(at.chain, at.layer, each.replace("{sent}", sent))
            for each in ("dz{k} = " + formula, right)
        )
        return Edit(at.layer, rule.text, wrong, good, rule.fitted)

    times: list[Factor] = []
    mask = 1.0 if at.here.mask is None else at.here.mask
    for rule in (*MASKS, *TIMES):
        factor = made(rule, at, at.slope.shape)
        # What is made of the derivative or the activations has the mask already.
        if factor is not None and rule not in MASKS and np.any(factor * (mask == 0)):
            factor = factor * mask
        known = [at.slope, *(each.times for each in times)]
        # Some are one and the same under some activations, as h and f'(z) z of a ReLU.
        if factor is not None and not any(_same(factor, each) for each in known):
            formula = "({sent}) * " + rule.symbols if rule.symbols else "{sent}"
            times.append(Factor(edit(rule, formula), factor))
    sendings = [(edit(rule, f"({rule.symbols}) * f{{k}}'(z{{k}})"), rule) for rule in sending(at)]
    return Step(at, times, sendings, [(edit(rule, rule.symbols), rule) for rule in INSTEAD])

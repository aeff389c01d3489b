"""Which known mistakes explain the wrong leaves of a gradient, and which of them bear it out.

A mistake is a reading of a leaf where making it gives the claimed numbers: as they are, in another
form, or times a factor that has a meaning. Where numbers coincide there are several readings; those
that explain most of the other leaves too are kept, and a number that was fitted must explain every
leaf that it changes.

Shapes: N examples.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import jax
import numpy as np

from jaxnet.audit.case import Case, Factor, Leaf, Mistake, Tier, reduction, reshaped
from jaxnet.audit.factors import counts_of
from jaxnet.audit.floats import Gradient

# Rounding that hides larger relative errors than this: a leaf is not explained.
_TOO_COARSE = 0.1
# An explanation leaves at most this share of the error, and so does not explain errors of which
# rounding may be more.
_LEFT_OVER = 0.02
# A relative error that gradients in float32 may have.
_FINE = 2e-6
# A fitted number is evidence where it explains at least so many entries, a factor without a name
# where it is shared by so many.
_FITTED = 4
_SHARED = 3
# Agreement is evidence in at least so many decimal digits, all entries together.
_DIGITS = 4


class Reading(NamedTuple):
    """A mistake that explains a leaf, and what else was done to the gradient that it gives."""

    mistake: Mistake
    form: str
    factor: Factor

    @property
    def relation(self) -> str:
        """What was done to the mistake's gradient, in words."""
        return " and ".join(part for part in (self.form, self.factor.text) if part)

    @property
    def text(self) -> str:
        """All of it in words."""
        return "; ".join(part for part in (self.mistake.text, self.relation) if part)

    @property
    def reason(self) -> str:
        """What is to be mended, the same words in every leaf that it reaches."""
        return _reason(self.mistake) or self.factor.text or self.form

    @property
    def steps(self) -> int:
        """How many things must have gone wrong beside the mistake."""
        return self.factor.steps + bool(self.form)


Readings = dict[int, list[Reading]]
"""What explains each wrong leaf; empty where nothing does."""


def _reason(mistake: Mistake) -> str:
    return mistake.reason or mistake.text


def can_be_explained(leaf: Leaf) -> bool:
    """Whether rounding leaves enough of a leaf's error to tell one mistake from another."""
    if not np.isfinite(leaf.claimed).all() or leaf.noise > _TOO_COARSE:
        return False
    return leaf.error * _LEFT_OVER >= leaf.rounding


def explain(case: Case, wrong: Iterable[int]) -> Readings:
    """Name the mistakes whose gradients the wrong leaves are, the simplest that fit."""
    readings: Readings = {}
    left = [index for index in wrong if can_be_explained(case.leaves[index])]
    if not left:
        return {}
    # Who is right need not wait for all that people do wrong.
    from jaxnet.audit import mistakes

    with jax.enable_x64(True), np.errstate(all="ignore"):
        case = case._replace(reduces=reduction(case))
        factors = counts_of(case).factors(case.rows)
        constants = _constants(case, left)
        for tier in mistakes.tiers(case, factors):
            fits = {i: _fits(case.leaves[i], tier.get(i, []), factors) for i in left}
            readings |= {i: fit for i, fit in _borne_out(case, tier, fits, factors).items() if fit}
            # Of one example a mistake in the signal of one unit is a constant as well.
            if case.rows > 1:
                readings = constants | readings
            left = [index for index in left if index not in readings]
            if not left:
                break
        if case.chain is None or case.chain.output is None:
            readings |= _placed(case, readings, constants, factors)
    return _shared(_supported(case, _shown_by_layers(case, constants | readings, left)))


def _placed(case: Case, readings: Readings, constants: Readings, factors: list[Factor]) -> Readings:
    """Give the places in a program for what was fitted to a gradient alone: a number, a term.

    A term only where other gradients show the same place.
    """
    from jaxnet.audit import mistakes

    terms = {i for i, fit in readings.items() if all(each.mistake.fitted for each in fit)}
    # Of layers a number tells more than a place.
    numbers = {i for i in constants if readings.get(i) is constants[i] and case.chain is None}
    tier = mistakes.placed(case) if terms or numbers else {}
    shown = {_reason(each.mistake) for fit in readings.values() for each in fit}
    found: Readings = {}
    for index in terms | numbers:
        fits = _fits(case.leaves[index], tier.get(index, []), factors)
        found[index] = [
            each for each in fits if not each.steps and (index in numbers or each.reason in shown)
        ]
    return {index: fit for index, fit in found.items() if fit}


def _supported(case: Case, readings: Readings) -> Readings:
    """Leave out what is a mistake and a rate of a single number, where no other leaf shows it.

    So many of these are compared that some give any number.
    """

    def stands(index: int, reading: Reading) -> bool:
        plain = not reading.mistake.text or not reading.factor.is_rate
        others = (each for other, each in readings.items() if other != index)
        shared = any(each.reason == reading.reason for fit in others for each in fit)
        return plain or shared or case.leaves[index].claimed.size > 1

    kept = {index: [each for each in fit if stands(index, each)] for index, fit in readings.items()}
    return {index: fit for index, fit in kept.items() if fit}


def _shown_by_layers(case: Case, readings: Readings, left: list[int]) -> Readings:
    """Leave out error signals that one leaf of a layer shows and the other does not.

    A bias tells little of a signal: many have the same sum over the batch. A weight tells more, but
    of a number that was fitted to it the bias must tell as well.
    """
    layers = case.chain.layers if case.chain else ()
    weights = {layer.weight_leaf for layer in layers}
    shown = {each.reason for index in weights & readings.keys() for each in readings[index]}
    others = {layer.bias_leaf: layer.weight_leaf for layer in layers}
    others |= {layer.weight_leaf: layer.bias_leaf for layer in layers}

    def stands(index: int, reading: Reading) -> bool:
        if not reading.mistake.signal or others.get(index) not in left:
            return True
        if index in weights:
            return not reading.mistake.fitted
        # The weight may have a mistake more.
        return any(each.startswith(reading.reason) for each in shown)

    kept = {index: [each for each in fit if stands(index, each)] for index, fit in readings.items()}
    return {index: fit for index, fit in kept.items() if fit}


def _fits(leaf: Leaf, known: list[Mistake], factors: list[Factor]) -> list[Reading]:
    """Give those of the known mistakes that explain a leaf, with the least beside them."""
    if leaf.claimed.size * -math.log10(_tolerance(leaf)) < _DIGITS:
        return []
    fits = [reading for each in known for reading in _relations(leaf, each, factors)]
    fewest = min((reading.steps for reading in fits), default=0)
    return [reading for reading in fits if reading.steps == fewest]


def _relations(leaf: Leaf, mistake: Mistake, factors: list[Factor]) -> list[Reading]:
    """Say how the claimed leaf is a mistake's gradient: as it is, transposed, times a factor.

    Empty where it is not: what is left over must be rounding, and little beside the error.
    """
    for form, candidate in _forms(leaf, np.asarray(mistake.gradient)).items():
        number = _multiple(leaf, candidate)
        readings = [Reading(mistake, form, factor) for factor in _near(number, leaf, factors)]
        # The true gradient as it is explains nothing.
        if readings := [reading for reading in readings if reading.text]:
            return readings
    return []


def _near(number: float, leaf: Leaf, factors: list[Factor]) -> list[Factor]:
    """Give the factors that a number is, as far as rounding lets tell."""
    apart = [abs(number / factor.number - 1) for factor in factors]
    most = min(_tolerance(leaf), min(apart) + max(leaf.noise, _FINE) / 4)
    return [factor for factor, each in zip(factors, apart, strict=True) if each <= most]


def _tolerance(leaf: Leaf) -> float:
    return 4 * max(leaf.noise, _FINE)


def _multiple(leaf: Leaf, candidate: Gradient) -> float:
    """Give how many times a gradient the claimed one is; 0 where it is no multiple of it."""
    norm = np.linalg.norm(candidate)
    # Terms that cancel leave rounding, which is no multiple of rounding.
    if leaf.claimed.any() and 0 < max(norm, np.linalg.norm(leaf.claimed)) <= leaf.rounding:
        return float(norm > 0)
    if not 0 < norm < np.inf:
        return float(not norm and not leaf.claimed.any())
    number = float(np.vdot(candidate, leaf.claimed) / norm**2)
    rest = np.linalg.norm(leaf.claimed - number * candidate)
    return (
        number
        if rest <= min(_tolerance(leaf) * abs(number) * norm, _LEFT_OVER * leaf.error)
        else 0.0
    )


def _forms(leaf: Leaf, gradient: Gradient) -> dict[str, Gradient]:
    """Give a gradient in the claimed leaf's shape, and how it got there."""
    claimed, forms = leaf.claimed, {}
    if claimed.shape == gradient.shape:
        forms = {"": gradient} | reshaped(gradient)
    if gradient.ndim == 2 and claimed.shape == gradient.shape[::-1]:
        forms["transposed"] = gradient.T
    elif claimed.shape != gradient.shape and claimed.size == gradient.size:
        shapes = f"of shape {list(claimed.shape)} instead of {list(leaf.true.shape)}"
        forms[shapes] = gradient.reshape(claimed.shape)
    return forms


def _constants(case: Case, left: list[int]) -> Readings:
    """Give the leaves that are a constant times the true gradient, where enough entries say so.

    Leaves that share a constant bear each other out.
    """
    found = []
    for index in left:
        leaf = case.leaves[index]
        for form, candidate in _forms(leaf, leaf.true).items():
            if number := _multiple(leaf, candidate):
                found.append((index, form, number))
                break
    readings: Readings = {}
    for index, form, number in found:
        near = _tolerance(case.leaves[index])
        like = [other for other in found if abs(other[2] / number - 1) <= near]
        if sum(case.leaves[other].true.size for other, *_ in like) >= _SHARED:
            # The largest leaf tells the number best, and gives all the same words.
            largest = max(like, key=lambda other: case.leaves[other[0]].true.size)
            factor = Factor(number, _constant(largest[2], case.rows), f"{largest[2]:.5g} * {{}}")
            readings[index] = [Reading(Mistake("", case.true[index]), form, factor)]
    return readings


def _constant(number: float, rows: int) -> str:
    off = f"1 {number - 1:+.1e}" if abs(number - 1) < 1e-3 else f"{number:.5g}"
    alone = "; with one example a mistake in an error signal may look the same"
    return f"times a constant {off}{alone if rows == 1 else ''}"


def _borne_out(case: Case, tier: Tier, fits: Readings, factors: list[Factor]) -> Readings:
    """Leave out what hangs on a fitted number that does not explain every leaf it changes."""
    fitted = {_reason(each.mistake) for fit in fits.values() for each in fit if each.mistake.fitted}
    refuted = {reason for reason in fitted if not _explains_all(case, tier, reason, factors)}
    return {
        index: [each for each in fit if _reason(each.mistake) not in refuted]
        for index, fit in fits.items()
    }


def _explains_all(case: Case, tier: Tier, reason: str, factors: list[Factor]) -> bool:
    """Whether a mistake explains every leaf that it changes, and enough entries for its number."""
    evidence = 0
    for index, known in tier.items():
        leaf = case.leaves[index]
        for mistake in known:
            if _reason(mistake) != reason or not _changes(leaf, mistake):
                continue
            if _relations(leaf, mistake, factors):
                # A gradient that only changed its length is no evidence: any number would fit.
                gradient = np.asarray(mistake.gradient)
                evidence += 0 if _parallel(gradient, leaf.true) else leaf.claimed.size
            elif leaf.error <= leaf.rounding or can_be_explained(leaf):
                return False
    return evidence >= _FITTED


def _changes(leaf: Leaf, mistake: Mistake) -> bool:
    """Whether a mistake gives another gradient than the true one, to what rounding lets see."""
    gradient = np.asarray(mistake.gradient)
    if gradient.shape != leaf.true.shape:
        return True
    apart = np.linalg.norm(gradient - leaf.true)
    return bool(apart * _LEFT_OVER > max(leaf.rounding, _FINE * np.linalg.norm(gradient)))


def _parallel(these: Gradient, those: Gradient) -> bool:
    lengths = np.linalg.norm(these) * np.linalg.norm(those)
    return these.shape == those.shape and not abs(np.vdot(these, those)) < (1 - 1e-9) * lengths


def _shared(readings: Readings) -> Readings:
    """Of several readings of a leaf keep those whose reason explains most of the other leaves."""
    reach: dict[str, int] = {}
    for each in readings.values():
        for reason in {reading.reason for reading in each}:
            reach[reason] = reach.get(reason, 0) + 1
    kept: Readings = {}
    for index, each in sorted(readings.items()):
        most = max(reach[reading.reason] for reading in each)
        texts = {reading.text: reading for reading in each if reach[reading.reason] == most}
        kept[index] = list(texts.values())
    return kept


def doubtful(readings: Readings) -> bool:
    """Whether a batch of another size could tell more: several readings, or one that hangs on N."""
    return any(len(each) > 1 or each[0].factor.of_rows for each in readings.values())


def decide(readings: Readings, others: Readings) -> Readings:
    """Keep those readings that explain the claim about a batch of another size as well.

    Args:
        readings: of a batch. others: of the same leaves over the other batch.
    """
    decided: Readings = {}
    for index, each in readings.items():
        same = [
            there
            for reading in each
            for there in others.get(index, [])
            if (there.mistake.text, there.form) == (reading.mistake.text, reading.form)
            if there.factor.text == reading.factor.text
            or math.isclose(there.factor.number, reading.factor.number, rel_tol=1e-4)
        ]
        decided[index] = list({there.text: there for there in same}.values()) or each
    return decided

"""What a search for wrong error signals knows, and the numbers that it fits to a claim."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxnet.audit.case import Case, Factor
from jaxnet.audit.chain import Chain
from jaxnet.audit.floats import Gradient
from jaxnet.audit.mistakes.backward import factors_of
from jaxnet.audit.mistakes.evidence import Claim, Free
from jaxnet.audit.mistakes.hidden_sent import dropped
from jaxnet.audit.mistakes.rules import Fits, Hidden, Signal, Update

# How near a fitted learning rate must be to a round number to be it.
_ROUND = 1e-4
# How far one must be from another to be it, relative to what the claim leaves open.
_APART = 100


class Search(NamedTuple):
    """What is known from the start.

    Attributes:
        case: searched. chain: that it is. factors: that have a meaning.
        free: by leaf, terms that its claim may have in any share.
        right: the right error signals of all layers. slopes: of the hidden layers.
        claims: by leaf.
        known: the leaves that are claimed as they are.
    """

    case: Case
    chain: Chain
    factors: Sequence[Factor]
    free: Mapping[int, Sequence[Free]]
    right: list[Gradient]
    slopes: list[Gradient]
    claims: dict[int, Claim]
    known: set[int]

    @property
    def numbers(self) -> Gradient:
        """The factors alone."""
        return np.array([each.number for each in self.factors])


class Given(NamedTuple):
    """The error signals that a layer may have been given.

    Attributes:
        expected: those that the layer after shows, rightly sent back.
        single: the right one, and those with one mistake. pairs: those with more, of which the
            layers after show all but one. far: those with more, of which they do not.
        fits: what the claim shows of numbers in mistakes.
    """

    expected: list[Signal]
    single: list[Signal]
    pairs: list[Signal]
    far: Callable[[], list[Signal]]
    fits: Fits = Fits()


def fits(search: Search, at: Hidden, after: Given, shown: list[Signal]) -> Fits:
    """Fit numbers in mistakes to the claim of a layer's weight."""
    near, below = [after.single[0], *shown], at.here.z <= 0
    updates = after.fits.updates
    if not updates and at.claims[at.layer + 1] is not None:
        kinds = (True, False) if at.rests[at.layer + 1].any() else (True,)
        updates = tuple(
            Update(rate, kind) for kind in kinds for rate in _rates(search, at, after, near, kind)
        )
    sent = [signal.delta @ at.after.back for signal in near]
    leaks = _ratios(search, at, [(each * ~below, each * below) for each in sent])
    curves = [(each * ~below, each * below * np.exp(at.here.z)) for each in sent]
    alphas = _ratios(search, at, curves)
    # What is 0 or 1, as far as the claim tells, is a ReLU, or none.
    apart = _APART * search.claims[at.here.weight_leaf].tolerance
    return Fits(
        updates,
        tuple(each for each in leaks if apart < each < 1 - apart),
        tuple(each for each in alphas if each > apart < abs(each - 1)),
    )


def _rates(
    search: Search, at: Hidden, after: Given, near: list[Signal], penalised: bool
) -> list[float]:
    """Find the learning rates with which the next weight may be updated already."""
    weight, claim = at.after.weight, at.moved(penalised)
    columns = at.after.columns
    factors = [(signal, each.times) for signal in near for each in factors_of(at)]
    factors += [(signal, at.slope) for signal in [*near, *after.single]]
    pairs = [
        (signal.delta @ weight[:, columns] * slope, signal.delta @ claim[:, columns] * slope)
        for signal, slope in factors
    ]
    for column in dropped(at):
        through, other = (np.delete(each, column, 1) for each in (weight, claim))
        pairs += [
            (signal.delta @ through * at.slope, signal.delta @ other * at.slope) for signal in near
        ]
    # What was claimed with its sign flipped was subtracted to be added.
    flipped = search.claims[at.after.weight_leaf].scaled < 0
    return [-each for each in _ratios(search, at, pairs) if (each > 0) == flipped]


def _ratios(
    search: Search, at: Hidden, pairs: list[tuple[Gradient, Gradient]]
) -> tuple[float, ...]:
    """Find how many times the second signal of each pair there is to one of the first.

    Of those pairs of which a claimed weight's gradient is made, and of neither alone.
    """
    index = at.here.weight_leaf
    claim, target = search.claims[index], upright(search, index, at.here.weight.shape)
    if target is None or index in search.known:
        return ()
    ratios = []
    for pair in pairs:
        parts = np.swapaxes(np.stack(pair), 1, 2) @ at.here.x
        flat = parts.reshape(2, -1).T
        if not np.isfinite(flat).all():
            continue
        (one, other), _, rank, _ = np.linalg.lstsq(flat, target.ravel(), rcond=None)
        rest = np.linalg.norm(target.ravel() - flat @ (one, other))
        apart = claim.tolerance * np.linalg.norm(target)
        both = min(np.linalg.norm(each) for each in (one * parts[0], other * parts[1])) > apart
        if (
            rank == 2
            and rest <= apart
            and both
            and claim.proves(claim.numbers(parts[0]) - 2, len(pairs))
        ):
            ratio = float(other / one)
            rounded = float(f"{ratio:.2e}")
            # One that is a round number is known better than by the fit.
            ratios.append(rounded if abs(ratio / rounded - 1) < _ROUND else ratio)
    return tuple(dict.fromkeys(ratios))


def upright(search: Search, index: int, shape: tuple[int, ...]) -> Gradient | None:
    """Give the claimed gradient of a weight as [O, I], where it has that shape."""
    forms = [form for form in search.claims[index].forms if form.shape == shape]
    return forms[0] if forms else None

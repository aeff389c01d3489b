"""The backward pass of a chain with mistakes in it, searched from the output layer on.

A layer's claimed gradients show which error signals they may be made of. Further mistakes are
tried on those alone, so that several in one network are found one after the other.

Shapes: N examples, I inputs and O outputs of a layer, K error signals side by side.
"""

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from jaxnet.audit.case import Case, Factor, Mistake, Tier
from jaxnet.audit.chain import Chain
from jaxnet.audit.floats import Gradient
from jaxnet.audit.mistakes.backward import Step, step_of
from jaxnet.audit.mistakes.evidence import Free, claim_of, is_reshaped
from jaxnet.audit.mistakes.fits import Given, Search, fits, upright
from jaxnet.audit.mistakes.formed import Forming, biases, parts, weights
from jaxnet.audit.mistakes.outputs import wrong_signals
from jaxnet.audit.mistakes.rules import Edit, Fits, Hidden, Signal, in_symbols
from jaxnet.audit.mistakes.terms import penalties, said_of

# Most mistakes that are tried together in one leaf.
_RANKS = 3
# For each number of mistakes: gradients as they are, times the factor that a signal has by another
# leaf, and times one of their own. A factor that has a name is thought of before one that has none.
_KINDS = 3
# Numbers of gradients that are compared at once, and signals of one rank in all.
_TOGETHER, _MOST = 2**21, 6000
_FEW = 3
# Signals that a layer shows and that are followed to the layers before.
_SEEN = 12


class _Formed(NamedTuple):
    """Gradients `[K, ...]` of one leaf, formed of K signals in one way.

    Attributes:
        gradients: as those of `[O, I]` or `[O]`. signals: that they are formed of.
        text, wrong, right: the mistake in forming them, in words and symbols.
    """

    gradients: Gradient
    signals: Sequence[Signal]
    text: str = ""
    wrong: str = ""
    right: str = ""


class _Found(NamedTuple):
    """A mistake that explains a leaf.

    Attributes:
        mistake: that. signal: it is made of.
        factor: that the claim is off by. named: whether it has a meaning.
        sure: whether the agreement is evidence for any factor.
    """

    mistake: Mistake
    signal: Signal
    factor: float
    named: bool
    sure: bool

    @property
    def scaled(self) -> Mistake:
        """The same with the factor in it."""
        text = f"{self.mistake.text}; times a constant {self.factor:.5g}"
        return self.mistake._replace(text=text, gradient=self.factor * self.mistake.gradient)


def signals(
    case: Case,
    chain: Chain,
    factors: Sequence[Factor],
    free: Mapping[int, Sequence[Free]] | None = None,
) -> Iterator[Tier]:
    """Give what wrong backward passes make of the leaves, those of fewest mistakes first.

    Args:
        case: whose leaves are explained. chain: that its loss is.
        factors: that have a meaning, in words, by which a gradient may be off as well.
        free: by leaf, terms that its claim may have in any share.
    """
    tiers: list[Tier] = [{} for _ in range(_KINDS * (_RANKS + 1))]
    search = _start(case, chain, factors, free or {})
    wrong = wrong_signals(chain)
    single = [Signal(chain.delta), *(each for each in wrong if each.mistakes == 1)]
    given = Given([], single, [each for each in wrong if each.mistakes > 1], list)
    ranks: dict[tuple[Edit, ...], int] = {}
    for layer in range(len(chain.layers) - 1, -1, -1):
        seen: list[Signal] = []
        for index in _leaves(chain, layer):
            true = given.single[0]
            if index in search.known:
                _see(seen, true)
            if factor := search.claims[index].scaled:
                _see(seen, true, true.times(factor))
            explained = _explain(search, index, given, seen)
            if any(found.signal.edits and np.isclose(found.factor, 1) for _, found in explained):
                # A constant that has a cause is not sent on as one without.
                seen = [each for each in seen if each.edits or each.factor == 1.0]
            for rank, found in explained:
                # All leaves that a fitted number changes are to bear it out together.
                shown = ranks.setdefault(found.signal.edits, rank)
                first = _KINDS * (max(rank, shown) if found.mistake.fitted else rank)
                kind = found.signal.factor != 1.0
                tiers[first + kind].setdefault(index, []).append(found.mistake)
                if found.sure:
                    tiers[first + 2].setdefault(index, []).append(found.scaled)
                    _see(seen, found.signal, found.signal.times(found.factor))
                elif np.isclose(found.factor, 1) and len(seen) < _SEEN:
                    _see(seen, found.signal)
        if layer:
            given = _before(search, layer - 1, given, seen)
    yield from tiers


def penalised(case: Case, chain: Chain, factors: Sequence[Factor]) -> Iterator[Tier]:
    """Give the same of the leaves of which the regulariser's term is wrong besides.

    Args:
        case, chain, factors: as of `signals`.
    """
    params = [np.asarray(param) for param in jax.tree.leaves(case.params)]
    free = {k: penalties(chain, k, params[k]) for k, rest in chain.rest.items() if rest.any()}
    for tier in signals(case, chain._replace(rest={}), factors, free) if free else ():
        yield {index: tier[index] for index in free.keys() & tier.keys()}


def _see(seen: list[Signal], *signals: Signal) -> None:
    """Remember signals, once."""
    for signal in signals:
        known = ((each.edits, each.factor) for each in seen)
        if all(
            edits != signal.edits or not np.isclose(factor, signal.factor)
            for edits, factor in known
        ):
            seen.append(signal)


def _start(
    case: Case, chain: Chain, factors: Sequence[Factor], free: Mapping[int, Sequence[Free]]
) -> Search:
    slopes = [layer.slope for layer in chain.layers[:-1]]
    right = chain.signals
    claims, known = {}, set()
    any_order = any(map(is_reshaped, case.leaves))
    for layer, delta in zip(range(len(right)), right, strict=True):
        forming = Forming(chain, layer, right, delta[None])
        for index in _leaves(chain, layer):
            true = forming.gradient(index)[0]
            leaf, terms = case.leaves[index], free.get(index, ())
            claims[index] = claim_of(
                leaf, chain, index=index, true=true, free=terms, any_order=any_order
            )
            if leaf.error <= leaf.rounding:
                known.add(index)
    return Search(
        case,
        chain,
        factors=factors,
        free=free,
        right=right,
        slopes=slopes,
        claims=claims,
        known=known,
    )


def _leaves(chain: Chain, layer: int) -> list[int]:
    here = chain.layers[layer]
    return [here.weight_leaf] if here.bias_leaf is None else [here.weight_leaf, here.bias_leaf]


def _explain(
    search: Search, index: int, given: Given, seen: list[Signal]
) -> list[tuple[int, _Found]]:
    """Name the fewest mistakes that make a leaf of the signals that its layer may be given.

    Those that leave no factor without a name come first.
    """
    constant: list[tuple[int, _Found]] = []
    for rank in range(_RANKS + 1) if index not in search.known else ():
        found, compared = [], 0
        for formed in _ways(search, index, given, seen, rank):
            compared += len(formed.signals)
            found += _agreeing(search, index, formed, compared)
        if named := [each for each in found if each.named]:
            sure = len(found) <= _FEW and not search.claims[index].scaled
            return [(rank, each._replace(sure=each.sure and sure)) for each in named]
        # Where many agree that are one but for a factor, an unnamed factor tells none of them; of
        # one example a few are many.
        few = _FEW if search.chain.rows > 1 else 1
        if not constant and len(found) <= few and not search.claims[index].scaled:
            constant = [(rank, each) for each in found]
    return constant


def _ways(
    search: Search, index: int, given: Given, seen: list[Signal], rank: int
) -> Iterator[_Formed]:
    """Give the gradients that so many mistakes make of a leaf."""
    right, *wrong = given.single
    shown = [signal for signal in seen if signal.edits or signal.factor != 1.0]
    # What proves little alone is made of the signal that the layer's other leaf shows.
    alone = not shown or not search.claims[index].poor
    if rank == 0:
        yield from _formed(
            search, index, [each for each in [*shown, *given.expected] if each.edits]
        )
    elif rank == 1:
        yield from _formed(search, index, wrong if alone else [])
        yield from _misformed(search, index, [right], every=True)
    elif rank == 2:
        yield from _formed(search, index, given.pairs if alone else [])
        yield from _misformed(search, index, [*shown, *given.expected, *(wrong if alone else [])])
    elif alone:
        yield from _formed(search, index, given.far())
        yield from _misformed(search, index, given.pairs[: _MOST // 20])


def _formed(search: Search, index: int, given: Sequence[Signal]) -> Iterator[_Formed]:
    """Form the gradient of a leaf of signals as it should be."""
    for forming, signals in _chunks(search, index, given):
        yield _Formed(forming.gradient(index), signals)


def _misformed(
    search: Search, index: int, given: Sequence[Signal], every: bool = False
) -> Iterator[_Formed]:
    """Form it with one mistake: of other things, or of other rows."""
    for forming, signals in _chunks(search, index, given):
        weight = index == forming.here.weight_leaf
        name, form = ("dW{k} = ", "dz{k}.T @ {x}") if weight else ("db{k} = ", "sum(dz{k}, 0)")
        write = functools.partial(in_symbols, search.chain, forming.layer)
        right, good = write(name + form), forming.gradient(index)
        for rule in weights(forming) if weight else biases(forming):
            try:
                gradients = np.asarray(rule.make(forming))
            except ValueError:  # the shapes do not allow this mistake
                continue
            of = signals[: len(gradients)]
            if gradients.shape == good.shape and np.allclose(gradients, good, rtol=1e-9, atol=0):
                continue
            yield _Formed(gradients, of, rule.text, write(name + rule.symbols), right)
        for part in parts(search.chain.rows, every):
            some = forming._replace(deltas=forming.deltas * part.weights[:, None])
            wrong = write(name + form.replace("dz{k}", "dz{k}" + part.symbols))
            yield _Formed(some.gradient(index), signals, part.text, wrong, right)


def _chunks(
    search: Search, index: int, given: Sequence[Signal]
) -> Iterator[tuple[Forming, Sequence[Signal]]]:
    """Lay signals side by side, as many as may be."""
    layer = search.chain.leaf(index)
    here = search.chain.layers[layer]
    together = max(1, _TOGETHER // (here.weight.size + here.z.size))
    for first in range(0, min(len(given), _MOST), together):
        chunk = given[first : first + together]
        deltas = np.stack([signal.delta for signal in chunk])
        yield Forming(search.chain, layer, search.right, deltas), chunk


def _agreeing(search: Search, index: int, formed: _Formed, compared: int) -> Iterator[_Found]:
    """Give the mistakes whose gradients are the claim, where that is no chance."""
    claim, chain = search.claims[index], search.chain
    layer = chain.layers[chain.leaf(index)]
    for k in np.flatnonzero(claim.agrees(formed.gradients)).tolist():
        gradient, signal = formed.gradients[k], formed.signals[k]
        numbers, factor = claim.numbers(gradient), claim.factor(gradient)
        sure = claim.proves(numbers - 1, compared)
        named = np.isclose(factor, search.numbers, rtol=claim.tolerance, atol=0).any()
        # What is claimed as it is was compared with no other factor.
        tried = 1 if np.isclose(factor, 1, rtol=claim.tolerance, atol=0) else len(search.factors)
        if not sure and not (named and claim.proves(numbers, compared * tried)):
            continue
        shares = claim.shares(gradient) if len(claim.free) else []
        if index == layer.weight_leaf and layer.transposed:
            gradient = gradient.T
        mistake = _mistake(search, index, formed, signal, gradient)
        if gradient.size == search.case.leaves[index].true.size:
            mistake = _finished(search, index, mistake, factor)
            mistake = _with_free(search, index, mistake, factor, shares) if shares else mistake
        yield _Found(mistake, signal, factor, bool(named), sure)


def _finished(search: Search, index: int, mistake: Mistake, factor: float) -> Mistake:
    """Add what does not come through the chain, which no factor touches."""
    rest = np.asarray(search.chain.rest.get(index, 0.0))
    gradient = mistake.gradient.reshape(search.chain.shapes[index])
    if rest.any():
        text = _with_factor(search, index, mistake.text, factor)
        return mistake._replace(text=text, gradient=gradient * factor + rest)
    return mistake._replace(gradient=gradient)


def _with_factor(search: Search, index: int, text: str, factor: float) -> str:
    """Say what a gradient is times, by the nearest factor with a meaning, or in numbers."""
    apart = np.abs(factor / search.numbers - 1)
    nearest = search.factors[int(apart.argmin())].text
    named = apart.min() <= search.claims[index].tolerance
    scaled = nearest if named else f"times a constant {factor:.5g}"
    return "; ".join(part for part in (text, scaled) if part)


def _with_free(
    search: Search, index: int, mistake: Mistake, factor: float, shares: list[float]
) -> Mistake:
    """Add the terms that a claim has in wrong shares."""
    free = search.free[index]
    said, named = said_of(free, shares, search.chain.rows)
    besides = "".join(f"; {each}" for each in said)
    terms = sum(share * each.term for share, each in zip(shares, free, strict=True))
    return mistake._replace(
        text=_with_factor(search, index, mistake.text, factor) + besides,
        reason=mistake.reason + besides,
        gradient=np.asarray(mistake.gradient * factor + terms),
        fitted=mistake.fitted or not named,
    )


def _mistake(
    search: Search, index: int, formed: _Formed, signal: Signal, gradient: Gradient
) -> Mistake:
    """Say what is wrong with a leaf: with the signal, nearest last, and with how it is formed."""
    # Of one mistake made in several layers the nearest is named.
    edits = list({edit.text: edit for edit in signal.edits}.values())
    here = search.chain.leaf(index)
    texts = [_placed(search, here, edit) for edit in edits]
    texts += [f"times a constant {signal.factor:.5g}"] * (signal.factor != 1.0)
    texts += [formed.text] * bool(formed.text)
    formulas = [(edit.wrong, edit.right) for edit in edits[-1:]]
    formulas += [(formed.wrong, formed.right)] * bool(formed.text)
    wrong, right = (
        ("; ".join(each) for each in zip(*formulas, strict=True)) if formulas else ("", "")
    )
    return Mistake(
        "; ".join(texts),
        gradient,
        signal=any(not _here_only(search, here, edit) for edit in edits),
        fitted=any(edit.fitted for edit in edits),
        wrong=wrong,
        right=right,
        reason="; ".join(_reasons(search, signal, formed)),
    )


def _reasons(search: Search, signal: Signal, formed: _Formed) -> Iterator[str]:
    """Say what is wrong in words that are the same for every leaf that it reaches."""
    # Of one mistake made in several layers, the one nearest the output.
    for edit in {edit.text: edit for edit in signal.edits[::-1]}.values():
        yield f"error signal of {_name(search, edit.layer)}: {edit.text}"
    if formed.text:
        yield formed.text


def _name(search: Search, layer: int) -> str:
    last = layer == len(search.chain.layers) - 1
    return "the output layer" if last else f"hidden layer {layer + 1}"


def _here_only(search: Search, layer: int, edit: Edit) -> bool:
    """Whether another leaf of the layer shows that its signal is right."""
    return edit.layer == layer and not search.known.isdisjoint(_leaves(search.chain, layer))


def _placed(search: Search, layer: int, edit: Edit) -> str:
    """Say where the signal that a layer was given went wrong, there or at a layer after it."""
    place = f"error signal of {_name(search, edit.layer)}"
    if _here_only(search, layer, edit):
        return f"{place}, in this gradient alone: {edit.text}"
    if edit.layer != layer and edit.layer != len(search.chain.layers) - 1:
        place = f"follows from the {place}"
    if edit.layer != layer and not search.known.isdisjoint(_leaves(search.chain, edit.layer)):
        place += ", on the way back alone"
    return f"{place}: {edit.text}"


def _before(search: Search, layer: int, after: Given, seen: list[Signal]) -> Given:
    """Give the signals of a hidden layer from those of the one after it, and those it shows."""
    shown = [signal for signal in seen if signal.edits or signal.factor != 1.0]
    layers = search.chain.layers
    rests = [_rest(search, each) for each in range(len(layers))]
    claims = [upright(search, each.weight_leaf, each.weight.shape) for each in layers]
    whole = [None if a is None else a + b for a, b in zip(claims, rests, strict=True)]
    at = Hidden(
        search.chain,
        layer,
        slope=search.slopes[layer],
        signals=search.right,
        claims=whole,
        rests=rests,
        fits=Fits(),
    )
    fitted = fits(search, at, after, shown)
    step = step_of(at._replace(fits=fitted))
    true, *wrong = after.single
    single = [step.right(true), *step.wrong(true)]
    pairs = [each for signal in shown for each in step.wrong(signal)]
    raw = [_raw(step, signal) for signal in shown if signal.raw is not None]
    for signal in [*wrong, *raw, *(signal for signal in shown if signal.mistakes > 1)]:
        into = single if signal.mistakes == 1 else pairs
        into.append(step.right(signal))
        again = {edit.text for edit in signal.edits if edit.layer == layer + 1}
        for text in sorted(again):
            into += step.wrong(signal, only=text)
        if len(again) > 1:
            into += step.again(signal, again)

    @functools.cache
    def far() -> list[Signal]:
        twice = (each for signal in shown for each in step.twice(signal))
        products = (each for signal in wrong for each in step.products(signal))
        return list(itertools.islice(itertools.chain(twice, products), _MOST))

    expected = [step.right(signal) for signal in shown]
    return Given(expected, single, [*pairs, *step.twice(true)], far, fitted)


def _raw(step: Step, signal: Signal) -> Signal:
    """Give what came back to the layer after in place of its signal, to be sent on."""
    layer = step.at.layer + 1
    right, wrong = (
        in_symbols(step.at.chain, layer, f"dz{{k}} = {each}")
        for each in ("(dz{n} @ {W}) * f{k}'(z{k})", "dz{n} @ {W}")
    )
    edit = Edit(layer, "activation derivative missing", wrong, right)
    return Signal(np.asarray(signal.raw), (*signal.edits, edit), signal.factor)


def _rest(search: Search, layer: int) -> Gradient:
    """Give what of a weight's gradient does not come through the chain, as [O, I]."""
    here = search.chain.layers[layer]
    rest = search.chain.rest.get(here.weight_leaf)
    if rest is None:
        return np.zeros_like(here.weight)
    return search.chain.upright(here, np.asarray(rest))

"""Mistakes on the way back through any program, made by differentiating it wrongly on purpose.

Of every place where a derivative is taken, paths split, copies are made or arrays multiplied, the
gradient is formed with that place got wrong; what is said is the operation and the parameter that
it stands next to.

Shapes: E mistakes.
"""

import itertools
import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from jaxnet import losses
from jaxnet.audit.case import Case, Leaf, Mistake, Tier
from jaxnet.audit.floats import Gradient
from jaxnet.audit.mistakes import normalisations, paths, positions, products, segments, windows
from jaxnet.audit.mistakes.evidence import BEYOND_CHANCE, parallel
from jaxnet.audit.mistakes.places import Candidate, Places, grouped, together
from jaxnet.audit.mistakes.reverse import Reverse
from jaxnet.audit.mistakes.rewritten import other_losses
from jaxnet.audit.mistakes.spoken import Words
from jaxnet.audit.programs import Values, record, run
from jaxnet.audit.uncompiled import uncompiled

# So many mistakes are made at most, in programs of so many operations, and so many numbers sent
# back for them.
_MOST = 2000
_STEPS = 3000
_NUMBERS = 2**25
# Factors by which a gradient may be off beside a mistake.
_FACTORS = 60
# A relative error that a mistake computed in another way may have.
_FINEST = 1e-9
# Mistakes of the same numbers that are named.
_NAMED = 3
# How much more far-fetched a mistake is in one gradient alone.
_ALONE = 3


_EVERYWHERE = ", wherever it is used"
# What is said of a mistake that is not made in some repetitions of a loop alone.
_ALWAYS = ("", _EVERYWHERE)


class _Made(NamedTuple):
    """A mistake and what it gives.

    Attributes:
        changed: the leaves that it changes. near: those wrong ones that it explains.
    """

    candidate: Candidate
    gradients: list[Gradient]
    changed: set[int]
    near: set[int]


def in_program(case: Case) -> Tier:
    """Give the mistakes in the program that best explain the claim and leave right leaves right."""
    program = record(case.loss, case.params, case.batch)
    if len(program.steps) > _STEPS:
        return {}
    given = _values(case.loss, case.params, case.batch)
    way = Reverse(program, given | program.constants)
    numbers = sum(array.size for array in way.values.values())
    places = Places(way, [leaf.name for leaf in case.leaves])
    most = min(_MOST, _NUMBERS // numbers)
    candidates = list(itertools.islice(_candidates(places), most))
    wrong = {i for i, leaf in enumerate(case.leaves) if not leaf.error <= leaf.rounding}
    best: list[list[_Made]] = []

    def explain(candidates: list[Candidate], grads: list[Gradient]) -> set[int]:
        """Add those that best explain what is left, and give what then is."""
        left = wrong - _explained(best)
        best.extend(_best(case, _made(case, candidates, grads), wrong, left))
        return wrong - _explained(best)

    left = still = explain(candidates, _gradients(way, candidates))
    # What the mistake of most gradients leaves open may be made with another one beside it.
    if still and best and (first := best[0][0].candidate).leaf is None:
        both = [each.with_another(first) for each in candidates]
        still = explain(both, _gradients(way, both))
    if still:
        both = list(itertools.islice(_of_two_kinds(candidates), most))
        still = explain(both, _gradients(way, both))
    if still and (case.chain is None or case.chain.output is None):
        explain(*other_losses(places))
    words, tier = Words(program, case), {}
    for made in itertools.chain.from_iterable(best):
        text = words.say(made.candidate)
        for leaf in made.near & left if made.candidate.beside else made.changed:
            tier.setdefault(leaf, []).append(Mistake(text, made.gradients[leaf]))
    return tier


def _explained(best: list[list[_Made]]) -> set[int]:
    return {leaf for group in best for leaf in group[0].near}


def _candidates(places: Places) -> Iterator[Candidate]:
    """Give all mistakes: those that may be made wherever the same is done first."""
    wherever = (
        segments.of_segments,
        paths.of_paths,
        paths.of_counts,
        products.of_products,
        windows.of_overlaps,
        windows.of_running,
        windows.of_strides,
        paths.of_draws,
    )
    yield from _everywhere(each for of_kind in wherever for each in of_kind(places))
    yield from normalisations.of_normalisations(places)
    yield from windows.of_windows(places)
    yield from positions.of_positions(places)
    yield from paths.of_routes(places)
    yield from products.of_other_factors(places)


def _everywhere(candidates: Iterable[Candidate]) -> Iterator[Candidate]:
    """Give mistakes in one place, and then those that are alike together."""
    every = []
    for each in candidates:
        every.append(each)
        yield each
    for same in grouped(every, _way):
        if len(same) > 1:
            edit, when = together(each.edit for each in same), same[0].when + _EVERYWHERE
            yield same[0]._replace(edit=edit, when=when, rank=same[0].rank + 1)


def _of_two_kinds(candidates: Iterable[Candidate]) -> Iterator[Candidate]:
    """Give the same mistake made with two operations, as with the sigmoid and the tanh of gates."""
    whole = (each for each in candidates if "{name}" in each.text and each.when in _ALWAYS)
    for same in grouped(whole, lambda each: each.text):
        for one, other in itertools.combinations(same, 2):
            if _way(one)[2] != _way(other)[2]:
                yield other.with_another(one)


def _way(candidate: Candidate) -> tuple[str, str, tuple[str, ...]]:
    """Tell what is done, wherever it is."""
    # What a loop gives on to its next step is one, whatever is made of it there.
    is_one = candidate.text == paths.BACK_IN_TIME
    names = () if is_one else tuple(step.name for step in candidate.steps)
    return candidate.text, candidate.when, names


@uncompiled(0)
def _values(loss: losses.Loss, params: PyTree, batch: PyTree) -> Values:
    """Give all that a program computes, by number."""
    program = record(loss, params, batch)
    leaves = jax.tree.leaves((params, batch))
    given = dict(zip((*program.params, *program.batch), leaves, strict=True))
    return run(program.steps, given | program.constants)


def _gradients(way: Reverse, candidates: list[Candidate]) -> list[Gradient]:
    """Give the gradients that mistakes give, [E + 1, ...], the right ones first."""
    # The same edit may be taken for one leaf alone.
    rows: dict[int, int] = {}
    for each in candidates:
        rows.setdefault(id(each.edit), len(rows))
    edits = {id(each.edit): each.edit for each in candidates}
    order = [rows[id(each.edit)] + 1 for each in candidates]
    return [whole[[0, *order]] for whole in way.gradients(list(edits.values()))]


def _made(case: Case, candidates: list[Candidate], grads: list[Gradient]) -> Iterator[_Made]:
    """Hold the gradients of mistakes, [E + 1, ...], against the claim."""
    changed, near = [], []
    pairs = np.array([each.beside and each.beside.text == each.text for each in candidates], bool)
    for leaf, whole in zip(case.leaves, grads, strict=True):
        flat = whole[1:].reshape(len(candidates), leaf.true.size)
        apart = np.linalg.norm(flat - leaf.true.ravel(), axis=1)
        changed.append(~(apart <= leaf.rounding))
        wrong = leaf.claimed.size == leaf.true.size and not leaf.error <= leaf.rounding
        most = _tolerance(leaf) * float(np.linalg.norm(leaf.claimed))
        forms = [leaf.claimed.ravel()] if wrong else []
        if wrong and leaf.claimed.shape == leaf.true.shape[::-1]:
            forms.append(leaf.claimed.T.ravel())
        near.append(np.zeros(len(candidates), bool))
        for form in forms:
            # Of what is the true gradient but for its length, the length is the evidence. A factor
            # beside one slip in two operations would be another.
            long = parallel(leaf.true.ravel(), flat, most) & changed[-1]
            long |= pairs
            same = np.linalg.norm(flat - form, axis=1) <= most
            near[-1] |= np.where(long, same, parallel(form, flat, most))
    for k, candidate in enumerate(candidates):
        own = range(len(grads)) if candidate.leaf is None else [candidate.leaf]
        touched = {leaf for leaf in own if changed[leaf][k]}
        explained = {leaf for leaf in touched if near[leaf][k]}
        formed = [whole[k + 1] for whole in grads]
        yield _Made(candidate, formed, touched, explained)
        # What others were rightly formed of may be got wrong where one is formed.
        for leaf in explained if len(touched) > 1 else ():
            when = f"{candidate.when}, in this gradient alone"
            alone = candidate._replace(when=when, rank=candidate.rank + _ALONE, leaf=leaf)
            yield _Made(alone, formed, {leaf}, {leaf})


def _best(case: Case, made: Iterable[_Made], wrong: set[int], left: set[int]) -> list[list[_Made]]:
    """Give the mistakes that explain the most wrong leaves, and then those left.

    Args:
        case, made: what is asked. wrong: the leaves that are. left: those to explain.
    """
    every = list(made)
    # What was got right was not sent through a place got wrong.
    fit = [(each, each.near & left) for each in every if each.changed <= wrong]
    fit = [(each, near) for each, near in fit if _is_proven(case, each, near, len(every))]
    best = []
    while fit:
        reach = max(len(near) for _, near in fit)
        most = [(each, near) for each, near in fit if len(near) == reach]
        first, explained = min(most, key=lambda each: each[0].candidate.rank)
        same: dict[str, _Made] = {}
        for each, near in most:
            if near == explained and each.candidate.rank == first.candidate.rank:
                same.setdefault(each.candidate.text, each)
        best.append(list(same.values())[:_NAMED])
        fit = [(each, near - explained) for each, near in fit if near - explained]
    return best


def _is_proven(case: Case, made: _Made, near: set[int], compared: int) -> bool:
    """Tell whether the agreement of leaves is no chance among so many mistakes."""
    digits = 0.0
    for leaf in near:
        numbers = len(np.unique(made.gradients[leaf][made.gradients[leaf] != 0]))
        digits += numbers * -math.log10(_tolerance(case.leaves[leaf]))
    return digits >= math.log10(compared * _FACTORS) + BEYOND_CHANCE


def _tolerance(leaf: Leaf) -> float:
    """Give how far a claim may be off a mistake's gradient, relative to its norm."""
    return min(0.1, 4 * max(leaf.noise, _FINEST))

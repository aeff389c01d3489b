"""Which lines of a claim are wrong, found by changing them until the gradient is right.

A claim that is a function written in Python has lines. Each expression on them is changed in the
ways in which people go wrong (`changes`), the function runs again, and what makes leaves right
stays; then the next is looked for. What no change does alone is tried at several places at once,
and by two changes whose effects add up to what is missing. Such a correction is evidence and no
guess: it is said only where the changed function gives the true gradient with other parameters too,
and over a batch of another size where the function takes one.
"""

import ast
import contextlib
import copy
import functools
import itertools
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import CodeType
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from jaxnet.audit import changes, complements, computing, purity, sources
from jaxnet.audit.case import Truth
from jaxnet.audit.changes import Change, Edit
from jaxnet.audit.floats import Gradient
from jaxnet.audit.ingredients import Ingredients
from jaxnet.audit.rows import Correction
from jaxnet.audit.scores import Scores, Target, are_better, rights
from jaxnet.audit.sources import Written

Ask = Callable[[PyTree, PyTree], PyTree]

# Runs of a search, and what a search may take: numbers times lines of the user's code, those of JAX
# arrays so many times as long; and seconds, whatever it takes.
_RUNS, _WORK, _NUMBERS, _SLOWER, _SECONDS = 6_000, 4_000_000, 4_000, 20, 60.0
# Of one round: changes, and of two at once those that are run.
_CHANGES, _PAIRS = 50_000, 50
# Numbers of the gradients that are kept, for two changes at once.
_KEPT = 5_000_000
# Changed code may run so many times as many lines as before, and some more.
_LONGER, _SOME = 10, 3_000
# No axis is longer, since a product the wrong way around makes a square of it.
_LONGEST = 2_000
# Rounds of changes: what is more than so many changes deep is not found.
_ROUNDS = 6
# Numbers that are a slip away from others anyway.
_PLAIN = (-1, 0, 1, 2)


def find(
    function: Any,
    asks: tuple[Ask, Ask],
    here: Truth,
    elsewhere: Callable[[], Sequence[Truth]],
    loss: Callable[[PyTree, PyTree], Any],
    right: Sequence[bool],
) -> list[Correction]:
    """Give the corrections that make leaves of a claim right; empty where none are found.

    Args:
        function: the user's. asks: what calls it, as the user does and as it is quicker.
        here: where it is corrected. elsewhere: gives where it has to prove true.
        loss: it stays as it is where what it runs too is changed.
        right: by leaf, whether the claim is known to be.
    """
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(here[:2])]
    reach = computing.Reach()
    if max((size for shape in shapes for size in shape), default=0) > _LONGEST:
        return []
    try:
        if not reach.computes(function):
            return []
    except Exception:  # an object of the user's may refuse to be looked at in any way
        return []
    quiet = purity.silent(), purity.own_randomness(), warnings.catch_warnings(), _unfiltered()
    with quiet[0], quiet[1], quiet[2], quiet[3], jax.disable_jit(), reach.kept():
        warnings.simplefilter("ignore")
        try:
            shared, _ = sources.ran(lambda: loss(*_given(here)))
            frames, lines = sources.ran(lambda: asks[0](*_given(here)))
        except Exception:  # code of the user's, that may be written for its own batch
            return []
        written = list(sources.written(function, frames))
        arrays = any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(here[:2]))
        dear = (1 + sum(map(np.prod, shapes)) / _NUMBERS) * (_SLOWER if arrays else 1)
        runs = min(_RUNS, int(_WORK / max(1, lines) / dear))
        known = frozenset([*shared, *frames])
        most = _LONGER * lines + _SOME if any(map(computing.may_go_on, known)) else None
        limits = _Limits(runs, most, time.process_time() + _SECONDS)
        computed = sources.expressions(shared)

        def corrected(part: list[Written], keeps: Callable[[], bool]) -> list[Correction]:
            made_of = [
                Ingredients.of(
                    each.tree, _numbers([*shared, each.code]), computed, _sizes(here), known
                )
                for each in part
            ]
            search = _Search(part, made_of, asks, here, elsewhere, limits=limits, keeps=keeps)
            try:
                return search.run(right)
            finally:
                for each in part:
                    each.function.__code__ = each.code

        own = [each for each in written if each.code not in shared]
        both = [each for each in written if each.code in shared and _gives_several(each.tree)]
        keeps = functools.partial(_keeps, loss, here, limits)
        found = corrected(own, lambda: True) if own else []
        return found or (corrected(both, keeps()) if both else [])


def _gives_several(function: ast.FunctionDef) -> bool:
    """Whether it returns several values, such as a loss and its gradient."""
    returns = (each.value for each in ast.walk(function) if isinstance(each, ast.Return))
    return any(isinstance(value, ast.Tuple) for value in returns)


def _keeps(
    loss: Callable[[PyTree, PyTree], Any], here: Truth, limits: "_Limits"
) -> Callable[[], bool]:
    """Give what says whether the loss is as it is now."""

    def value() -> Any:
        return limits.held(lambda: loss(*_given(here)))

    before = value()

    def keeps() -> bool:
        try:
            return bool(np.allclose(value(), before, rtol=1e-9, atol=0))
        except (Exception, SystemExit, computing.StoppedError):  # code that was changed
            return False

    return keeps


@contextlib.contextmanager
def _unfiltered() -> Iterator[None]:
    """Have JAX raise errors as they are: to make them short for a reader takes long."""
    before = jax.config.values["jax_traceback_filtering"]
    jax.config.update("jax_traceback_filtering", "off")
    try:
        yield
    finally:
        jax.config.update("jax_traceback_filtering", before)


def _numbers(codes: Sequence[CodeType]) -> list[int | float]:
    """Give the numbers that functions are written with."""
    every = dict.fromkeys(each for code in codes for each in code.co_consts if _is_number(each))
    return [each for each in every if each not in _PLAIN]


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= _LONGEST


def _sizes(truth: Truth) -> list[int]:
    return [size for leaf in jax.tree.leaves(truth.batch) for size in np.shape(leaf)]


class _Limits(NamedTuple):
    """Of a search: runs, lines of one run, None where they are few, and when it is over."""

    runs: int
    lines: int | None
    end: float

    def held(self, call: Callable[[], Any]) -> Any:
        """Call what runs the user's code, within these."""
        return call() if self.lines is None else computing.limited(call, self.lines, self.end)


def _given(truth: Truth) -> tuple[PyTree, PyTree]:
    return purity.copied((truth.params, truth.batch))


class _Made(NamedTuple):
    """A change that was made.

    Attributes:
        change: it. old: what stood in its places. texts: of each the line, and what it says before
            and after.
        leaves: that came closer, by number.
    """

    change: Change
    old: list[Any]
    texts: list[Correction]
    leaves: frozenset[int]


class _Search:
    """Looks for changes of functions with which more leaves of a claim are right."""

    def __init__(
        self,
        written: list[Written],
        made_of: list[Ingredients],
        asks: tuple[Ask, Ask],
        here: Truth,
        elsewhere: Callable[[], Sequence[Truth]],
        limits: _Limits,
        keeps: Callable[[], bool],
    ) -> None:
        self._written = {id(each.tree): each for each in written}
        self._made_of, self._limits, self._keeps = made_of, limits, keeps
        self._plain, self._ask = asks
        self._here, self._elsewhere = Target(here), elsewhere

    def run(self, right: Sequence[bool]) -> list[Correction]:
        """Change the functions line by line, and give the changes that were of use."""
        scores = self._scores(self._here)
        if self._plain_scores() != scores:  # what NumPy carries out may be another function
            self._ask = self._plain
            scores = self._scores(self._here)
        # On part of a batch, or in another precision, it may be another claim.
        if [score == 2 for score in scores] != [
            known or zero for known, zero in zip(right, self._here.zeros, strict=True)
        ]:
            return []
        # Only where what is written is taken to another size, a change must be right there too.
        places = map(Target, self._elsewhere())
        self._proofs = [
            each for each in places if not each.truth.is_other_size or self._scores(each)
        ]
        made: list[_Made] = []
        for _ in range(_ROUNDS):
            if min(scores) == 2:
                break
            before = len(made)
            for candidates in self._candidates(scores):
                scores = self._accepted(candidates, scores, made)
                if len(made) > before:
                    break
            else:
                break
        return self._of_use(made, scores) if self._plain_scores() == scores else []

    def _accepted(self, candidates: Iterable[Change], scores: Scores, made: list[_Made]) -> Scores:
        """Make the changes that prove to be of use, and give the scores with them."""
        for change in candidates:
            better = self._better(change, scores)
            if better:
                closer = frozenset(i for i, score in enumerate(scores) if score < better[i])
                made.append(self._make(change, closer))
                scores = better
        return scores

    def _of_use(self, made: list[_Made], scores: Scores) -> list[Correction]:
        """Give what is to be said of the changes that the leaves are right with."""
        right = frozenset(i for i, score in enumerate(scores) if score == 2)
        found = [
            [text._replace(leaves=each.leaves & right) for text in each.texts]
            for each in made
            if each.leaves & right and not self._is_needless(each, scores)
        ]
        return sorted(_chained(found), key=lambda each: each.line)

    def _is_needless(self, made: _Made, scores: Scores) -> bool:
        """Whether all is as right without one of the changes, which is then undone."""
        undone = Change(
            0,
            tuple(
                edit._replace(node=old)
                for edit, old in zip(made.change.edits[::-1], made.old[::-1], strict=True)
            ),
        )
        with self._changed(undone) as worked:
            return worked and self._scores(self._here) == scores

    def _candidates(self, scores: Scores) -> Iterator[list[Change]]:
        """Give the changes that make leaves right here, those of the most leaves first.

        One at a time, in the same way at several places or from one place to another, two at once,
        and then those of one that make leaves nearly right.
        """
        every = (
            change
            for each, ingredients in zip(self._written.values(), self._made_of, strict=True)
            for change in changes.of_function(each.tree, each.scope, ingredients)
        )
        singles = list(itertools.islice(every, _CHANGES))
        # What comes late in a function is the way back, and more often wrong.
        singles.sort(key=lambda change: (change.cost, -change.line))
        effects: list[tuple[Change, list[Gradient]]] = []
        found, nearly = self._tried(singles, scores, effects)
        yield found
        if 1 not in scores:  # of which a factor in two parts would say nothing
            # Those that move a factor are few, and are tried before the runs are used up.
            several = (changes.shifted(singles), changes.together(singles))
            alike = (sorted(each, key=lambda change: change.cost) for each in several)
            yield self._tried(itertools.chain(*alike), scores, effects)[0]
            pairs = itertools.islice(self._pairs(effects, scores), _PAIRS)
            # What is right here alone may be so elsewhere with another.
            further = (_both(first, each) for first in found[:1] for each in singles)
            # What several changes at once do but nearly is as well done by others.
            yield self._tried(itertools.chain(pairs, further), scores, effects)[0]
        yield nearly

    def _tried(
        self,
        candidates: Iterable[Change],
        scores: Scores,
        effects: list[tuple[Change, list[Gradient]]],
    ) -> tuple[list[Change], list[Change]]:
        """Give those of the candidates that make leaves right, and those that do so nearly.

        What each of them gives is added to the effects.
        """
        found: list[tuple[int, int, Change]] = []
        for change in itertools.islice(candidates, self._limits.runs):
            if time.process_time() > self._limits.end:
                break
            with self._changed(change) as worked:
                claimed = self._claimed(self._here.truth, self._ask) if worked else None
            if claimed is None:
                continue
            new = self._here.scores(claimed)
            if len(effects) * sum(leaf.size for leaf in claimed) < _KEPT:
                effects.append((change, claimed))
            if are_better(new, scores):
                if min(new) == 2 and self._better(change, scores):
                    return [change], []
                found.append((rights(new), sum(new), change))
        found.sort(key=lambda each: each[:2], reverse=True)
        before = rights(scores)
        return (
            [change for count, _, change in found if count > before],
            [change for count, _, change in found if count == before],
        )

    def _pairs(
        self, effects: list[tuple[Change, list[Gradient]]], scores: Scores
    ) -> Iterator[Change]:
        """Give two changes of which each makes up for a part of what a leaf lacks."""
        now = self._claimed(self._here.truth, self._ask)
        found: list[Change] = []
        for leaf, true in enumerate(self._here.truth.gradient):
            if now is None or scores[leaf] == 2 or now[leaf].shape != true.shape:
                continue
            given = [each for each in effects if each[1][leaf].shape == true.shape]
            values = np.reshape([claimed[leaf] for _, claimed in given], (len(given), true.size))
            for one, other in complements.of(now[leaf].ravel(), values, true.ravel()):
                found.append(_both(given[one][0], given[other][0]))
        return iter(sorted(found, key=lambda change: change.cost))

    def _better(self, change: Change, scores: Scores) -> Scores | None:
        """Give the scores of a change that is of use, here and elsewhere; None of any other."""
        with self._changed(change) as worked:
            if not worked:
                return None
            new = self._scores(self._here)
            if not are_better(new, scores) or not self._keeps():
                return None
            proofs = [self._scores(each, is_proof=True) for each in self._proofs]
        holds = [
            bool(proof) and all(a <= b for a, b in zip(new, proof, strict=True)) for proof in proofs
        ]
        return new if holds and all(holds) else None

    @contextlib.contextmanager
    def _changed(self, change: Change) -> Iterator[bool]:
        """Have functions changed for a while; False where that gives no code."""
        old = _swapped(change.edits)
        functions = self._functions(change)
        codes = [each.function.__code__ for each in functions]
        try:
            try:
                for each in functions:
                    each.function.__code__ = each.compiled()
            except (SyntaxError, ValueError, TypeError, StopIteration, RecursionError):
                yield False
            else:
                yield True
        finally:
            for each, code in zip(functions, codes, strict=True):
                each.function.__code__ = code
            for edit, node in zip(change.edits[::-1], old[::-1], strict=True):
                edit.swap(node)

    def _functions(self, change: Change) -> list[Written]:
        trees = dict.fromkeys(id(edit.tree) for edit in change.edits)
        return [self._written[each] for each in trees]

    def _make(self, change: Change, leaves: frozenset[int]) -> _Made:
        """Change a function to stay so."""
        before = list(map(_said, change.edits))
        old = _swapped(change.edits)
        for each in self._functions(change):
            each.function.__code__ = each.compiled()
        texts = [
            Correction(line, edit.tree.name, text, edit.words or _said(edit.done())[1], leaves)
            for edit, (line, text) in zip(change.edits, before, strict=True)
        ]
        return _Made(change, old, texts, leaves)

    def _plain_scores(self) -> Scores:
        """Give the scores of the claim as it is now and as the user runs it."""
        return self._here.scores(self._claimed(self._here.truth, self._plain))

    def _scores(self, target: Target, is_proof: bool = False) -> Scores:
        """Give the scores of the claim as it is now."""
        return target.scores(self._claimed(target.truth, self._ask), is_proof)

    def _claimed(self, truth: Truth, ask: Ask) -> list[Gradient] | None:
        """Give what is claimed as the functions are now; None where they fail."""
        try:
            claimed = self._limits.held(functools.partial(ask, *_given(truth)))
            return [np.asarray(leaf, float) for leaf in jax.tree.leaves(claimed)]
        except (Exception, SystemExit, computing.StoppedError):  # code that was changed, or is
            return None  # of the user's, may fail in any way


def _both(one: Change, other: Change) -> Change:
    return Change(one.cost + other.cost, one.edits + other.edits)


def _chained(changes: Iterable[Sequence[Correction]]) -> Iterator[Correction]:
    """Give one correction of each text, from what it says to what it says after the last change."""
    found: list[Correction] = []
    for texts in changes:
        earlier = [*found]  # what one change does to two texts is no chain
        for last in dict.fromkeys(texts):
            kept = (one for one in earlier if one in found)
            first = next((one for one in kept if _leads(one, last) or _is_same(one, last)), last)
            if first in found:
                found.remove(first)
            found.append(first._replace(after=last.after, leaves=first.leaves | last.leaves))
    return (each for each in found if each.before != each.after)


def _leads(one: Correction, other: Correction) -> bool:
    return one[:2] == other[:2] and one.after == other.before


def _is_same(one: Correction, other: Correction) -> bool:
    return one._replace(leaves=other.leaves) == other


def _swapped(edits: Sequence[Edit]) -> list[Any]:
    """Put the new nodes in their places, and give the old ones."""
    old = []
    for edit in edits:
        old.append(edit.swap(edit.node))
        if isinstance(edit.node, ast.expr):
            ast.copy_location(edit.node, old[-1])
        for each in edit.node if isinstance(edit.node, list) else [edit.node]:
            ast.fix_missing_locations(each)
    return old


def _said(edit: Edit) -> tuple[int, str]:
    """Give the line and the text of a statement; of a dict, of the changed part."""
    statement: Any = edit.statement
    node, text, line = getattr(statement, "value", None), _first_line(statement), statement.lineno
    while isinstance(node, ast.Tuple | ast.Dict):
        parts = node.elts if isinstance(node, ast.Tuple) else node.values
        place = next((i for i, part in enumerate(parts) if edit.is_within(part)), None)
        if place is None:
            break
        key = node.keys[place] if isinstance(node, ast.Dict) else None
        node = parts[place]
        text, line = ast.unparse(node), node.lineno
        text = f"{ast.unparse(key)}: {text}" if key else text
    return line, text


def _first_line(statement: Any) -> str:
    """Write a statement down, without the statements that it holds."""
    if hasattr(statement, "body"):
        statement = copy.copy(statement)
        statement.body, statement.orelse = [ast.Pass()], []
        return ast.unparse(statement).partition("\n")[0]
    return ast.unparse(statement)

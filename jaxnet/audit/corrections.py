"""Which lines of a claim are wrong, found by changing them until the gradient is right.

A claim that is a function written in Python has lines. Each expression on them is changed in the
ways in which people go wrong (`changes`), the function runs again, and what makes leaves right
stays; then the next is looked for. Such a correction is evidence and no guess: it is said only
where the changed function gives the true gradient with other parameters too, and over a batch of
another size where the function takes one.
"""

import ast
import contextlib
import copy
import functools
import inspect
import itertools
import textwrap
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from types import CodeType, FrameType, FunctionType
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from jaxnet.audit import changes, computing, forms, purity
from jaxnet.audit.case import Truth
from jaxnet.audit.chain import Gradient
from jaxnet.audit.changes import Change, Scope
from jaxnet.audit.rows import Correction

Ask = Callable[[PyTree, PyTree], PyTree]

# Lines that the user's code may run in one round; those of more numbers count more, and those of
# JAX arrays take so many times as long. Changes of a round, and seconds for all of them.
_LINES, _NUMBERS, _SLOWER = 300_000, 4_000, 20
_CHANGES, _SECONDS = 50_000, 60.0
# Changed code may run so many times as many lines as before.
_LONGER = 10
# No axis is longer, since a product the wrong way around makes a square of it.
_LONGEST = 2_000
# Rounds of changes: what is more than so many changes deep is not found.
_ROUNDS = 6
# A leaf's error relative to its norm, and to that of the largest leaf.
_RIGHT, _ZERO = 1e-6, 1e-9


def find(
    function: Any,
    ask: Ask,
    here: Truth,
    elsewhere: Callable[[], Sequence[Truth]],
    loss: Callable[[PyTree, PyTree], Any],
    right: Sequence[bool],
) -> list[Correction]:
    """Give the corrections that make leaves of a claim right; empty where none are found.

    Args:
        function: the user's. ask: what calls it.
        here: where it is corrected. elsewhere: gives where it has to prove true.
        loss: what it runs too is not changed.
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
    quiet = purity.silent(), purity.own_randomness(), warnings.catch_warnings(), jax.disable_jit()
    with quiet[0], quiet[1], quiet[2], quiet[3], reach.kept():
        warnings.simplefilter("ignore")
        try:
            shared, _ = _ran(lambda: loss(*_given(here)))
            frames, lines = _ran(lambda: ask(*_given(here)))
        except Exception:  # code of the user's, that may be written for its own batch
            return []
        written = list(_written(function, frames, frozenset(shared)))
        arrays = any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(here[:2]))
        dear = 1 + sum(map(np.prod, shapes)) / _NUMBERS
        tries = int(_LINES / max(1, lines) / dear / (_SLOWER if arrays else 1))
        limits = _Limits(tries, _LONGER * lines + _LINES // 100, time.monotonic() + _SECONDS)
        known = frozenset([*shared, *frames])
        search = _Search(written, ask, here, functools.cache(elsewhere), limits, known)
        try:
            return search.run(right)
        finally:
            for each in written:
                each.function.__code__ = each.code


class _Limits(NamedTuple):
    """Of a search: changes tried in a round, lines of one run, and when it is over."""

    tries: int
    lines: int
    end: float


def _given(truth: Truth) -> tuple[PyTree, PyTree]:
    return purity.copied((truth.params, truth.batch))


class _Frames(NamedTuple):
    """What ran of one function: its globals, and what each line saw when it first ran."""

    space: Scope
    lines: dict[int, Scope]


def _ran(call: Callable[[], Any]) -> tuple[dict[CodeType, _Frames], int]:
    """Give what ran of the user's own functions in a call, and how many lines."""
    ran: dict[CodeType, _Frames] = {}
    count = 0

    def enter(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename.startswith(computing.libraries()):
            return None
        frames = ran.setdefault(frame.f_code, _Frames(frame.f_globals, {}))

        def follow(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal count
            if event == "line":
                count += 1
                if frame.f_lineno not in frames.lines:
                    frames.lines[frame.f_lineno] = {**frame.f_globals, **frame.f_locals}
            return follow

        return follow

    with computing.traced(enter):
        call()
    return ran, count


class _Written(NamedTuple):
    """A function of the user's.

    Attributes:
        function: of Python. code: as it was.
        tree: of its source, which is changed. lines: what each saw.
    """

    function: Any
    code: CodeType
    tree: ast.FunctionDef
    lines: dict[int, Scope]

    def scope(self, statement: ast.stmt) -> Scope | None:
        """Give what a statement saw when it first ran; None where it did not."""
        held = hasattr(statement, "body")
        last = statement.lineno if held else statement.end_lineno or statement.lineno
        ran = (line for line in range(statement.lineno, last + 1) if line in self.lines)
        return next((self.lines[line] for line in ran), None)

    def compiled(self) -> CodeType:
        """Compile the tree as it is now."""
        # Within a function that has what the code takes from around it.
        module = ast.parse(f"def around({', '.join(self.code.co_freevars)}): pass")
        (around,) = module.body
        assert isinstance(around, ast.FunctionDef)
        around.body = [self.tree]
        code = compile(
            ast.fix_missing_locations(module), self.code.co_filename, "exec", dont_inherit=True
        )
        for name in (around.name, self.tree.name):
            inner = (each for each in code.co_consts if isinstance(each, CodeType))
            code = next(each for each in inner if each.co_name == name)
        return code


def _written(
    function: Any, frames: dict[CodeType, _Frames], shared: frozenset[CodeType]
) -> Iterator[_Written]:
    """Give the functions that ran and may be changed: whose source is what ran."""
    own = _plain(function)
    for code, each in frames.items():
        found = own if getattr(own, "__code__", None) is code else _named(code, each.space)
        if found is None or code in shared:
            continue
        lines = dict(each.lines)
        for inner in code.co_consts:
            if inner in frames:
                lines |= frames[inner].lines
        with contextlib.suppress(Exception):  # a file may be in any state by now
            source, first = inspect.getsourcelines(code)
            (tree,) = ast.parse(textwrap.dedent("".join(source))).body
            if isinstance(tree, ast.FunctionDef) and _is_as_written(code):
                tree.decorator_list = []
                ast.increment_lineno(tree, first - 1)
                yield _Written(found, code, tree, lines)


def _is_as_written(code: CodeType) -> bool:
    """Whether a function is what its file says now, which may have been edited since."""
    lines, _ = inspect.findsource(code)
    codes = [compile("".join(lines), code.co_filename, "exec", dont_inherit=True)]
    for each in codes:
        codes += [inner for inner in each.co_consts if isinstance(inner, CodeType)]
    return code in codes


def _plain(function: Any) -> Any:
    """Give the function that was written, of a method or what a decorator made of it."""
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(function)
    return getattr(function, "__func__", function)


def _named(code: CodeType, space: Scope) -> FunctionType | None:
    """Give the function of a code by its name in its module."""
    first, *others = code.co_qualname.split(".")
    found = space.get(first)
    for name in others:
        found = getattr(found, name, None)
    found = _plain(found) if callable(found) else None
    return found if isinstance(found, FunctionType) and found.__code__ is code else None


Scores = tuple[int, ...]
"""Of each leaf: 2 where it is right, 1 where it is so but for a factor and its order, else 0."""


class _Search:
    """Looks for changes of functions with which more leaves of a claim are right."""

    def __init__(
        self,
        written: list[_Written],
        ask: Ask,
        here: Truth,
        elsewhere: Callable[[], Sequence[Truth]],
        limits: _Limits,
        known: frozenset[CodeType],
    ) -> None:
        self._written, self._ask, self._limits, self._known = written, ask, limits, known
        self._here, self._elsewhere = here, elsewhere

    def run(self, right: Sequence[bool]) -> list[Correction]:
        """Change the functions line by line, and give the changes that were of use."""
        scores = self._scores(self._here)
        # On part of a batch, or in another precision, it may be another claim.
        if [score == 2 for score in scores] != [
            known or zero for known, zero in zip(right, self._zeros(), strict=True)
        ]:
            return []
        # Only where what is written is taken to another size, a change must be right there too.
        self._proofs = [
            each for each in self._elsewhere() if not each.is_other_size or self._scores(each)
        ]
        made: list[tuple[Correction, Scores, Scores]] = []
        for _ in range(_ROUNDS):
            if min(scores) == 2:
                break
            before = len(made)
            for each, change in self._candidates(scores):
                better = self._better(each, change, scores)
                if better:
                    made.append((_make(each, change), scores, better))
                    scores = better
            if len(made) == before:
                break
        found = []
        for correction, old, new in made:
            each = zip(old, new, scores, strict=True)
            leaves = frozenset(i for i, (a, b, last) in enumerate(each) if a < b and last == 2)
            if leaves and correction.before != correction.after:
                found.append(correction._replace(leaves=leaves))
        return sorted(found, key=lambda each: each.line)

    def _zeros(self) -> list[bool]:
        """Tell which leaves have nothing to be won."""
        norms = [float(np.linalg.norm(leaf)) for leaf in self._here.gradient]
        return [norm <= _ZERO * max(norms) for norm in norms]

    def _candidates(self, scores: Scores) -> list[tuple[_Written, Change]]:
        """Give the changes that make leaves right, those of the most leaves first."""
        sizes = [size for leaf in jax.tree.leaves(self._here.batch) for size in np.shape(leaf)]
        every = (
            (each, change)
            for each in self._written
            for change in changes.of_function(each.tree, each.scope, sizes, self._known)
        )
        tried = list(itertools.islice(every, _CHANGES))
        # What comes late in a function is the way back, and more often wrong.
        tried.sort(key=lambda pair: (pair[1].cost, -pair[1].statement.lineno))
        found = []
        for each, change in tried[: self._limits.tries]:
            if time.monotonic() > self._limits.end:
                return []
            with _changed(each, change) as worked:
                new = self._scores(self._here) if worked else scores
            if new != scores and all(a <= b for a, b in zip(scores, new, strict=True)):
                if min(new) == 2 and self._better(each, change, scores):
                    return [(each, change)]
                found.append((sum(new), each, change))
        found.sort(key=lambda each: -each[0])
        return [(each, change) for _, each, change in found]

    def _better(self, each: _Written, change: Change, scores: Scores) -> Scores | None:
        """Give the scores of a change that is of use, here and elsewhere; None of any other."""
        with _changed(each, change) as worked:
            if not worked:
                return None
            new = self._scores(self._here)
            if new == scores or any(a > b for a, b in zip(scores, new, strict=True)):
                return None
            proofs = [self._scores(truth, is_proof=True) for truth in self._proofs]
        holds = [
            bool(proof) and all(a <= b for a, b in zip(new, proof, strict=True)) for proof in proofs
        ]
        return new if holds and all(holds) else None

    def _scores(self, truth: Truth, is_proof: bool = False) -> Scores:
        """Give the scores of the claim as it is now; empty of one for batches of another size."""
        wrong = (0,) * len(truth.gradient)
        try:
            given = _given(truth)
            claimed = computing.limited(lambda: self._ask(*given), *self._limits[1:])
            claimed = [np.asarray(leaf, float) for leaf in jax.tree.leaves(claimed)]
        except (Exception, SystemExit, computing.StoppedError):  # code that was changed, or is
            return () if truth.is_other_size else wrong  # of the user's, may fail in any way
        pairs = list(zip(claimed, truth.gradient, strict=True))
        if truth.is_other_size and any(leaf.size != true.size for leaf, true in pairs):
            return ()
        largest = max(float(np.linalg.norm(leaf)) for leaf in truth.gradient)
        return tuple(_score(leaf, true, largest, is_proof) for leaf, true in pairs)


def _score(claimed: Gradient, true: Gradient, largest: float, is_proof: bool) -> int:
    norm = float(np.linalg.norm(true))
    if norm <= _ZERO * largest and not is_proof:
        return 2  # which a zero is in many ways: nothing is to be won by it
    if claimed.shape != true.shape:
        claimed, _ = forms.read_by_value(claimed, true.shape)
    if claimed.shape != true.shape or not np.isfinite(claimed).all():
        return 0
    if np.linalg.norm(claimed - true) <= _RIGHT * norm + _ZERO * largest:
        return 2
    if not norm:
        return 0
    # Scaled or with its entries in another order: a second change may put that right.
    factor = float(np.linalg.norm(claimed)) / norm
    orders = (np.sort(sign * claimed, None) - factor * np.sort(true, None) for sign in (1, -1))
    nearly = any(np.linalg.norm(each) <= _RIGHT * factor * norm for each in orders)
    return int(nearly and true.size > 3 and factor > 0)


@contextlib.contextmanager
def _changed(each: _Written, change: Change) -> Iterator[bool]:
    """Have a function changed for a while; False where that gives no code."""
    kept = each.function.__code__
    old = change.swap(change.node)
    try:
        try:
            each.function.__code__ = each.compiled()
        except (SyntaxError, ValueError, TypeError, StopIteration):
            yield False
        else:
            yield True
    finally:
        each.function.__code__ = kept
        change.swap(old)


def _make(each: _Written, change: Change) -> Correction:
    """Change a function to stay so."""
    line, before = _said(change.statement, change)
    new = copy.deepcopy(change.node)
    is_whole = change.swap(new) is change.statement
    each.function.__code__ = each.compiled()
    _, after = _said(new if is_whole else change.statement, change)
    return Correction(line, each.tree.name, before, after, frozenset())


def _said(statement: Any, change: Change) -> tuple[int, str]:
    """Give the line and the text of a statement; of a dict, of the changed part."""
    node, text, line = getattr(statement, "value", None), _first_line(statement), statement.lineno
    while isinstance(node, ast.Tuple | ast.Dict):
        parts = node.elts if isinstance(node, ast.Tuple) else node.values
        place = next((i for i, part in enumerate(parts) if change.is_within(part)), None)
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

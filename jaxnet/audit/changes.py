"""What a function may be changed to: the ways in which people go wrong, undone.

One expression or statement for another (`expressions`, `statements`), a statement at another place,
two values in each other's place, a name as it was before it was overwritten; and the same change
made wherever it can be made.
"""

import ast
import copy
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from jaxnet.audit import statements
from jaxnet.audit.computing import Scope
from jaxnet.audit.expressions import Expressions
from jaxnet.audit.ingredients import Ingredients
from jaxnet.audit.syntax import parsed

# What is done at more places at once is no slip.
_PLACES = 8


class Edit(NamedTuple):
    """What one place of a function's tree is changed to.

    Attributes:
        tree: the function.
        parent, field, place: where in it; `place` in a list, None where it is no list or all of it.
        node: what is to stand there.
        statement: that it is in.
        words: where the statement goes, if it is moved.
    """

    tree: ast.FunctionDef
    parent: Any
    field: str
    place: int | None
    node: Any
    statement: ast.stmt
    words: str = ""

    @property
    def held(self) -> Any:
        """What stands there now."""
        held = getattr(self.parent, self.field)
        return held if self.place is None else held[self.place]

    def swap(self, node: Any) -> Any:
        """Put a node in that place, and give what was there."""
        old = self.held
        if self.place is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.place] = node
        return old

    def done(self) -> "Edit":
        """Give it with the statement that there is once it is made."""
        whole = isinstance(self.node, ast.stmt)
        return self._replace(statement=self.node) if whole else self

    def is_within(self, part: ast.AST) -> bool:
        """Whether that place is in a part of the tree."""
        return any(node is self.held for node in ast.walk(part))


class Change(NamedTuple):
    """What is done at once.

    Attributes:
        cost: the higher, the less likely.
        edits: in this order.
    """

    cost: int
    edits: tuple[Edit, ...]

    @property
    def line(self) -> int:
        """Where the first is."""
        return self.edits[0].statement.lineno


def of_function(
    tree: ast.FunctionDef, scope_of: Callable[[ast.stmt], Scope | None], ingredients: Ingredients
) -> Iterator[Change]:
    """Give the changes of a function.

    Args:
        tree: of it.
        scope_of: what a statement saw when it first ran; None where it did not run.
        ingredients: what they are made of.
    """
    earlier = _overwritten(tree)
    for parent, field, body in _bodies(tree):
        if any(scope_of(each) for each in body):
            for moved in statements.moved(parent, field):
                put = functools.partial(
                    Edit, tree, place=None, statement=moved.statement, words=moved.words
                )
                edits = (put(each[0], field=each[1], node=each[2]) for each in moved.bodies)
                yield Change(moved.cost, tuple(edits))
        for place, statement in enumerate(body):
            scope = scope_of(statement)
            if scope is None:
                continue
            for cost, other in statements.others(statement, scope):
                put = functools.partial(Edit, tree, parent, field=field, place=place)
                yield Change(cost, (put(node=other, statement=statement),))
            yield from _within(tree, statement, Expressions(scope, ingredients))
            yield from _exchanged(tree, statement)
            yield from _restored(tree, statement, earlier)


def _bodies(tree: ast.FunctionDef) -> Iterator[tuple[Any, str, list[ast.stmt]]]:
    for parent in ast.walk(tree):
        for field in ("body", "orelse"):
            body = getattr(parent, field, None)
            if isinstance(body, list):
                yield parent, field, body


def _places(statement: ast.stmt) -> Iterator[tuple[Any, str, int | None, ast.expr]]:
    """Give the expressions of a statement that are read, but not of statements that it holds."""
    parents: list[Any] = [statement]
    for parent in parents:
        for field, value in ast.iter_fields(parent):
            several = isinstance(value, list)
            for place, child in enumerate(value if several else [value]):
                if isinstance(child, ast.keyword | ast.expr):
                    parents.append(child)
                if isinstance(child, ast.expr) and not _is_stored(child):
                    yield parent, field, place if several else None, child


def _is_stored(node: ast.AST) -> bool:
    return isinstance(getattr(node, "ctx", None), ast.Store)


def _within(
    tree: ast.FunctionDef, statement: ast.stmt, expressions: Expressions
) -> Iterator[Change]:
    for parent, field, place, child in _places(statement):
        seen = {ast.unparse(child)}
        for cost, other in expressions.options(child, parent, field):
            text = ast.unparse(other)
            if text not in seen:
                seen.add(text)
                ast.copy_location(other, child)
                put = functools.partial(Edit, tree, parent, field=field, place=place)
                yield Change(cost, (put(node=other, statement=statement),))


def _exchanged(tree: ast.FunctionDef, statement: ast.stmt) -> Iterator[Change]:
    """Give the values of a dict or a tuple in each other's place."""
    for _, _, _, child in _places(statement):
        field = {ast.Dict: "values", ast.Tuple: "elts", ast.List: "elts"}.get(type(child))
        values = getattr(child, field) if field else []
        for one, other in itertools.combinations(range(len(values)), 2):
            # Copies: what is put somewhere takes the line that it is put on.
            edits = (
                Edit(
                    tree,
                    child,
                    field=str(field),
                    place=place,
                    node=copy.copy(values[taken]),
                    statement=statement,
                )
                for place, taken in ((one, other), (other, one))
            )
            yield Change(2, tuple(edits))


def _overwritten(tree: ast.FunctionDef) -> dict[str, list[str]]:
    """Give what names were given before they were given something else."""
    given: dict[str, list[str]] = {}
    for each in sorted(_simple(tree), key=lambda each: each.lineno):
        match each:
            case ast.Assign([target], value) | ast.AugAssign(target, _, value):
                name = ast.unparse(target).removesuffix("[...]").removesuffix("[:]")
                given.setdefault(name, []).append(ast.unparse(value))
    return {name: values[:1] for name, values in given.items() if len(values) > 1}


def _simple(tree: ast.FunctionDef) -> list[ast.stmt]:
    return [each for each in ast.walk(tree) if isinstance(each, ast.Assign | ast.AugAssign)]


def _restored(
    tree: ast.FunctionDef, statement: ast.stmt, earlier: dict[str, list[str]]
) -> Iterator[Change]:
    """Give a statement with a name as it was before it was overwritten."""
    places = [each for each in _places(statement) if isinstance(each[-1], ast.Name)]
    for name, values in earlier.items():
        meant = [each for each in places if ast.unparse(each[-1]) == name]
        for value in values if meant else ():
            edits = (Edit(tree, *each[:3], parsed(value), statement) for each in meant)
            yield Change(5, tuple(edits))


def together(changes: Sequence[Change]) -> Iterator[Change]:
    """Give what is done at several places in the same way: at all of them, or some in a row.

    So is a name given the ending that others of its statement have, as of the same layer or gate.
    """
    alike: dict[tuple[Any, ...], list[tuple[int, Edit]]] = {}
    for each in changes:
        (edit, *more) = each.edits
        if not more and isinstance(edit.node, ast.expr):
            alike.setdefault(_way(edit), []).append((each.cost, edit))
            if _is_matched(edit):
                alike.setdefault((edit.tree.name,), []).append((each.cost, edit))
    order = {line: i for i, line in enumerate(sorted({each.line for each in changes}))}
    for members in alike.values():
        members.sort(key=lambda member: (member[1].statement.lineno, member[1].held.col_offset))
        spots = [order[edit.statement.lineno] for _, edit in members]
        for start, end in itertools.product(range(len(spots)), range(2, len(spots) + 1)):
            is_row = end - start > 1 and spots[end - 1] - spots[start] < end - start
            if end - start <= _PLACES and (is_row or (start, end) == (0, len(spots))):
                cost = max(cost for cost, _ in members[start:end])
                yield Change(cost, tuple(edit for _, edit in members[start:end]))


def shifted(changes: Sequence[Change]) -> Iterator[Change]:
    """Give what takes a factor or a term out of one statement and puts it into another."""
    single = [(each.cost, each.edits[0]) for each in changes if len(each.edits) == 1]
    put: dict[tuple[str, ...], list[tuple[int, Edit]]] = {}
    for cost, edit in single:
        if key := _more(edit.node, edit.held):
            put.setdefault((edit.tree.name, *key), []).append((cost, edit))
    for cost, edit in single:
        key = _more(edit.held, edit.node)
        for more, other in put.get((edit.tree.name, *key), []) if key else []:
            if other.statement is not edit.statement:
                yield Change(cost + more, (edit, other))


def _more(whole: Any, part: Any) -> tuple[str, str] | None:
    """Give the factor or the term that an expression has more than another, and its operator."""
    match whole:
        case ast.BinOp(left, ast.Mult() | ast.Div() | ast.Add() | ast.Sub() as operator, right):
            turns = isinstance(operator, ast.Mult | ast.Add)
            for kept, other in ((left, right), (right, left))[: 1 + turns]:
                if isinstance(part, ast.expr) and ast.unparse(kept) == ast.unparse(part):
                    return type(operator).__name__, ast.unparse(other)
    return None


def _way(edit: Edit) -> tuple[Any, ...]:
    """Give what is done at a place: where it stands, what is left out of its text and put in."""
    old, new = ast.unparse(edit.held), ast.unparse(edit.node)
    start = len(_common(old, new))
    end = min(len(_common(old[::-1], new[::-1])), len(old) - start, len(new) - start)
    left, put = old[start : len(old) - end], new[start : len(new) - end]
    return edit.tree.name, type(edit.parent), edit.field, type(edit.held), left, put


def _is_matched(edit: Edit) -> bool:
    """Whether a name is given another ending, that others of its statement have and it had not."""
    old, new = _last_word(edit.held), _last_word(edit.node)
    if not old or not new or old[:-1] != new[:-1] or old == new:
        return False
    nodes = (node for node in ast.walk(edit.statement) if node is not edit.held)
    endings = {word[-1] for word in map(_last_word, nodes) if word}
    return new[-1] in endings and old[-1] not in endings


def _last_word(node: ast.AST) -> str:
    """Give the name of a variable, an attribute or an entry; nothing where it has none."""
    match node:
        case ast.Name(name) | ast.Attribute(_, name) | ast.Subscript(_, ast.Constant(str(name))):
            return name
    return ""


def _common(one: str, other: str) -> str:
    pairs = zip(one, other, strict=False)
    return "".join(a for a, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))

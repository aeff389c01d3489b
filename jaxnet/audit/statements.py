"""What a statement may be changed to: `=` for `+=`, nothing, or the same at another place."""

import ast
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxnet.audit import syntax
from jaxnet.audit.computing import Scope

_ATOM = ast.Name | ast.Attribute | ast.Subscript
_BLOCK = ast.For | ast.While | ast.If | ast.With


class Moved(NamedTuple):
    """A statement at another place.

    Attributes:
        cost: the higher, the less likely.
        statement: that is moved. words: where to.
        bodies: what holds it before and after, and what those then hold.
    """

    cost: int
    statement: ast.stmt
    words: str
    bodies: Sequence[tuple[Any, str, list[ast.stmt]]]


def others(statement: ast.stmt, scope: Scope) -> Iterator[tuple[int, ast.stmt]]:
    """Give other statements to stand in the place of one, and how unlikely each is."""
    every: list[tuple[int, ast.stmt]] = []
    match statement:
        case ast.Assign([target], value) if isinstance(target, _ATOM):
            every = [(2, ast.AugAssign(target, ast.Add(), value)), (4, ast.Pass())]
            every += _added_up(target, value, scope)
        case ast.Assign([ast.Tuple()]):
            every = [(4, ast.Pass())]
        case ast.AugAssign(target, own, value):
            every = [(2, ast.Assign([target], value)), (3, ast.Pass())]
            every += _added_up(target, value, scope)
            for operator in (ast.Add(), ast.Sub()):
                if type(operator) is not type(own):
                    every.append((2, ast.AugAssign(target, operator, value)))
        case ast.If() | ast.Expr():
            every = [(4, ast.Pass())]
        case ast.For(body=[ast.Assign([target]) | ast.AugAssign(target)]):
            every = _scattered(target, scope)
    for cost, other in every:
        yield cost, ast.copy_location(other, statement)


def _added_up(target: ast.expr, value: ast.expr, scope: Scope) -> list[tuple[int, ast.stmt]]:
    """Give the way to add to entries of an array of which some are meant more than once."""
    name = next((name for name, each in scope.items() if each is np), None)
    sliced = any(isinstance(each, ast.Slice) for each in ast.walk(target))
    if name is None or sliced or not isinstance(target, ast.Subscript):
        return []
    array, index = ast.unparse(target.value), ast.unparse(target.slice)
    call = syntax.parsed(f"{name}.add.at({array}, ({index}), {ast.unparse(value)})")
    return [(3, ast.Expr(call))]


def _scattered(target: ast.expr, scope: Scope) -> list[tuple[int, ast.stmt]]:
    """Give the ways to add the rows of one array to those of another that an index names."""
    name = next((name for name, each in scope.items() if each is np), None)
    array = target.value if isinstance(target, ast.Subscript) else target
    into = scope.get(ast.unparse(array))
    if name is None or not isinstance(into, np.ndarray):
        return []
    # The function's own come last.
    arrays = {text: each for text, each in [*scope.items()][::-1] if isinstance(each, np.ndarray)}
    texts = [
        f"{name}.add.at({ast.unparse(array)}, {index}, {rows})"
        for index, where in arrays.items()
        if where.dtype.kind == "i"
        for rows, each in arrays.items()
        if each.shape == where.shape + into.shape[1:]
    ]
    return [(4, ast.Expr(syntax.parsed(text))) for text in texts]


def moved(parent: Any, field: str) -> Iterator[Moved]:
    """Give the statements of a body one place later, and into and out of the loops in it."""
    body: list[ast.stmt] = getattr(parent, field)
    for place, (one, other) in enumerate(itertools.pairwise(body)):
        before, after = body[:place], body[place + 2 :]
        if isinstance(other, ast.Return):
            continue
        swapped = [*before, other, one, *after]
        if not isinstance(one, _BLOCK):
            yield Moved(3, one, f"after line {other.end_lineno}", [(parent, field, swapped)])
            if isinstance(other, ast.For | ast.While):
                inside = (other, "body", [one, *other.body])
                bodies = [(parent, field, [*before, other, *after]), inside]
                yield Moved(4, one, f"first in the loop of line {other.lineno}", bodies)
        elif not isinstance(other, _BLOCK):
            yield Moved(3, other, f"before line {one.lineno}", [(parent, field, swapped)])
            if isinstance(one, ast.For | ast.While):
                inside = (one, "body", [*one.body, other])
                bodies = [(parent, field, [*before, one, *after]), inside]
                yield Moved(4, other, f"last in the loop of line {one.lineno}", bodies)
    for place, loop in enumerate(body):
        if isinstance(loop, ast.For | ast.While) and len(loop.body) > 1:
            yield from _out_of(loop, parent, field, place)


def _out_of(loop: ast.For | ast.While, parent: Any, field: str, place: int) -> Iterator[Moved]:
    body: list[ast.stmt] = getattr(parent, field)
    for at, each in enumerate(loop.body):
        if not isinstance(each, _BLOCK):
            left = (loop, "body", [*loop.body[:at], *loop.body[at + 1 :]])
            later = (parent, field, [*body[: place + 1], each, *body[place + 1 :]])
            yield Moved(4, each, f"after the loop, behind line {loop.end_lineno}", [left, later])
            if at == 0:
                sooner = (parent, field, [*body[:place], each, *body[place:]])
                yield Moved(4, each, f"before the loop of line {loop.lineno}", [left, sooner])

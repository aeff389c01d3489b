"""What the changes of a function are made of: what it, its batch and its loss have."""

import ast
import itertools
from collections.abc import Container, Iterator, Mapping, Sequence
from types import CodeType
from typing import NamedTuple

from jaxnet.audit import derivatives

ATOM = ast.Name | ast.Attribute | ast.Subscript


class Ingredients(NamedTuple):
    """Them, by kind.

    Attributes:
        atoms: the names, attributes and entries that it reads or writes.
        terms: its other expressions, and the lengths of what it cuts out.
        indices: what it asks entries by.
        iterables: what its loops go over.
        steepness: its numbers between 0 and 1.
        slopes: the derivatives of what it gives to functions, and of what it computes of one name,
            and how unlikely they are.
        divisors: what the values of names were divided by. summands: what they are the sums of.
        numbers: of the loss. computed: what it computes, in its own names.
        sizes: of the batch.
        known: the functions that may be called, since they have been.
    """

    atoms: Sequence[str]
    terms: Sequence[str]
    indices: Sequence[str]
    iterables: Sequence[str]
    steepness: Sequence[float]
    slopes: Mapping[str, int]
    divisors: Mapping[str, str]
    summands: Mapping[str, str]
    numbers: Sequence[int | float]
    computed: Sequence[str]
    sizes: Sequence[int]
    known: Container[CodeType]

    @classmethod
    def of(
        cls,
        tree: ast.FunctionDef,
        numbers: Sequence[int | float],
        computed: Sequence[str],
        sizes: Sequence[int],
        known: Container[CodeType],
    ) -> "Ingredients":
        """Gather them from a function's tree."""
        nodes = [each for each in ast.walk(tree) if isinstance(each, ast.expr)]
        nodes.sort(key=lambda node: (node.lineno, node.col_offset))
        own = {each.value for each in nodes if isinstance(each, ast.Constant)}
        return cls(
            atoms=_texts(each for each in nodes if isinstance(each, ATOM)),
            terms=_texts(
                itertools.chain(
                    (each for each in nodes if isinstance(each, ast.BinOp)), _cut(nodes)
                )
            ),
            indices=_texts(index for each in nodes for index in _index(each)),
            iterables=_texts(each.iter for each in ast.walk(tree) if isinstance(each, ast.For)),
            steepness=sorted(each for each in own if isinstance(each, float) and 0 < each < 1),
            slopes={ast.unparse(slope): cost for slope, cost in _derivatives(tree)},
            divisors={
                target.id: ast.unparse(value.right)
                for target, value in _assigned(tree)
                if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Div)
            },
            summands={
                target.id: ast.unparse(summed)
                for target, value in _assigned(tree)
                if (summed := _summed(value))
            },
            numbers=[each for each in numbers if each not in own],
            computed=computed,
            sizes=sizes,
            known=known,
        )


def _texts(nodes: Iterator[ast.expr]) -> list[str]:
    return [*dict.fromkeys(map(ast.unparse, nodes))]


def _assigned(tree: ast.FunctionDef) -> Iterator[tuple[ast.Name, ast.expr]]:
    for each in ast.walk(tree):
        match each:
            case ast.Assign([ast.Name() as target], value):
                yield target, value


def _cut(nodes: Sequence[ast.expr]) -> Iterator[ast.expr]:
    """Give the lengths of the parts that are cut out of arrays."""
    for each in nodes:
        match each:
            case ast.Slice(ast.expr() as lower, ast.expr() as upper):
                yield ast.BinOp(upper, ast.Sub(), lower)


def _summed(value: ast.expr) -> ast.expr | None:
    """Give what a value is the sum or the mean of; None where it is none."""
    match value:
        case ast.Call(ast.Attribute(owner, "sum" | "mean"), args):
            axis = not args or isinstance(args[0], ast.Constant | ast.Tuple | ast.UnaryOp)
            return owner if axis else args[0]
    return None


def _derivatives(tree: ast.FunctionDef) -> Iterator[tuple[ast.expr, int]]:
    """Give the derivatives of what a function computes, and how unlikely they are as a factor."""
    calls = (each for each in ast.walk(tree) if isinstance(each, ast.Call))
    inner = [derivatives.by_name(each) for call in calls for each in call.args]
    whole = [derivatives.by_name(value) for _, value in _assigned(tree)]
    alone = [slopes for slopes in whole if len(slopes) == 1]
    for cost, every in ((3, alone), (0, inner)):
        for slope in itertools.chain(*every):
            # What is a name or a number is tried as a factor anyway.
            if not isinstance(slope, ATOM | ast.Constant):
                yield slope, cost


def _index(node: ast.expr) -> Sequence[ast.expr]:
    """Give what an array is asked by, if that is names, and each name alone."""
    if not isinstance(node, ast.Subscript):
        return []
    parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    names = [each for each in parts if isinstance(each, ast.Name)]
    return [node.slice, *names] if names == parts else names

"""What an expression may be changed to by its form alone, whatever its names mean."""

import ast
import itertools
from collections.abc import Callable, Iterator

Options = Iterator[tuple[int, ast.expr]]
"""What an expression may be exchanged for, and how unlikely it is."""

# A whole number above this is no size of an array.
LARGE = 2_000

_TWINS = {"sum": "mean", "mean": "sum", "maximum": "minimum", "minimum": "maximum"}


def options(node: ast.expr) -> Options:
    """Give an expression without a part of it, with its parts turned around, and with slips."""
    yield from _parts(node)
    yield from _slips(node)
    yield from _powers(node)
    yield from ((3, other) for other in _bracketed(node))


def parsed(text: str) -> ast.expr:
    """Read an expression."""
    return ast.parse(text, mode="eval").body


def product(left: ast.expr, operator: ast.operator, right: ast.expr) -> ast.expr:
    """Put an operator between two expressions."""
    return ast.BinOp(left, operator, right)


def over(node: ast.expr, name: str, axis: int) -> ast.expr:
    """Give the sum or mean over an axis, which stays."""
    words = [ast.keyword("axis", ast.Constant(axis)), ast.keyword("keepdims", ast.Constant(True))]
    return ast.Call(ast.Attribute(node, name, ast.Load()), [], words)


def transposed(node: ast.expr) -> ast.expr:
    """Transpose a matrix, or leave a transposed one as it was."""
    if isinstance(node, ast.Attribute) and node.attr == "T":
        return node.value
    return ast.Attribute(node, "T", ast.Load())


def beginnings(node: ast.expr) -> Iterator[ast.expr]:
    """Give a product without its last factor, its last two and so on."""
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.Div):
        node = node.left
        yield node


def _parts(node: ast.expr) -> Options:
    match node:
        case ast.BinOp(left, ast.Mult() | ast.Div() as op, right):
            yield from enumerate(beginnings(node), 1)
            yield (1 if isinstance(op, ast.Mult) else 4), right
            other = ast.Div() if isinstance(op, ast.Mult) else ast.Mult()
            yield 3, ast.BinOp(left, other, right)
        case ast.BinOp(left, ast.Add() | ast.Sub() as op, right):
            is_sum = isinstance(op, ast.Add)
            if not is_sum:
                yield 1, ast.BinOp(right, op, left)
            yield 1, ast.BinOp(left, ast.Sub() if is_sum else ast.Add(), right)
            yield from ((1, left), (2, right))
        case ast.BinOp(left, ast.MatMult() as op, right):
            yield from _turned(left, right, lambda a, b: ast.BinOp(a, op, b))
            yield from ((2, left), (2, right), (4, ast.BinOp(left, ast.Mult(), right)))
            for factor, axis in itertools.product((right, transposed(right)), (0, 1)):
                yield 6, over(product(left, ast.Mult(), factor), "sum", axis)
        case ast.BinOp(left, ast.Mod() | ast.FloorDiv() as op, right):
            other = ast.FloorDiv() if isinstance(op, ast.Mod) else ast.Mod()
            yield from ((2, ast.BinOp(left, other, right)), (3, left))
        case ast.UnaryOp(_, operand):
            yield 1, operand
        case ast.Call():
            yield from _calls(node)


def _bracketed(node: ast.expr) -> Iterator[ast.expr]:
    """Give a product of a sum, a sum of a product, and a call of a sum, with other brackets."""
    match node:
        case ast.Call(function, [argument], []):
            for first, plus, c in _ends(argument):
                yield ast.BinOp(ast.Call(function, [first], []), plus, c)
        case ast.BinOp(a, ast.Mult() as by, ast.BinOp(b, ast.Add() | ast.Sub() as plus, c)):
            yield ast.BinOp(ast.BinOp(a, by, b), plus, c)
            yield ast.BinOp(b, plus, ast.BinOp(a, by, c))
        case ast.BinOp(ast.BinOp(a, ast.Add() | ast.Sub() as plus, b), by, c) if _scales(by):
            yield ast.BinOp(a, plus, ast.BinOp(b, by, c))
            yield ast.BinOp(ast.BinOp(a, by, c), plus, b)
        case ast.BinOp(ast.BinOp(a, ast.Mult() as by, b), ast.Add() | ast.Sub() as plus, c):
            yield ast.BinOp(a, by, ast.BinOp(b, plus, c))
        case ast.BinOp(a, ast.Add() | ast.Sub() as plus, ast.BinOp(b, by, c)) if _scales(by):
            yield ast.BinOp(ast.BinOp(a, plus, b), by, c)


def _ends(node: ast.expr) -> Iterator[tuple[ast.expr, ast.operator, ast.expr]]:
    """Give an expression without the last term of a sum that it ends in, and that term."""
    match node:
        case ast.BinOp(a, ast.Add() | ast.Sub() as plus, b):
            yield a, plus, b
        case ast.BinOp(a, by, b):
            yield from ((ast.BinOp(a, by, first), plus, c) for first, plus, c in _ends(b))


def _scales(operator: ast.operator) -> bool:
    return isinstance(operator, ast.Mult | ast.Div)


def _slips(node: ast.expr) -> Options:
    """Give another number, a length for a sum, the entry beside one, and other comparisons."""
    match node:
        case ast.Call(ast.Name("sum") | ast.Attribute(attr="sum"), [array]):
            yield 2, ast.Call(ast.Name("len", ast.Load()), [array], [])
        case ast.Constant(int() | float() as value) if not isinstance(value, bool) and (
            abs(value) <= LARGE
        ):
            nearby = dict.fromkeys((1 - value, value + 1, value - 1, 2 * value, value / 2, 0, 1))
            for each in nearby:
                # A number that is made nothing, or all, may put right what is wrong elsewhere.
                is_far = each in (0, 1) and value != int(value)
                yield 4 if is_far else 2, ast.Constant(int(each) if each == int(each) else each)
        case ast.Subscript(value, ast.Name() as index, context):
            for operator in (ast.Sub(), ast.Add()):
                other = ast.BinOp(index, operator, ast.Constant(1))
                yield 3, ast.Subscript(value, other, context)
        case ast.Compare(ast.Call(ast.Attribute(_, "abs"), [ast.BinOp(a, ast.Sub(), b)]), [_], _):
            yield 2, ast.Compare(a, [ast.Eq()], [b])
        case ast.Compare(left, [_], right):
            for other in (ast.Gt(), ast.Lt(), ast.GtE(), ast.LtE()):
                yield 2, ast.Compare(left, [other], right)


def _powers(node: ast.expr) -> Options:
    """Give a power without its exponent, the derivative of one, and what is left of a share."""
    match node:
        case ast.BinOp(base, ast.Pow(), ast.BinOp(exponent, ast.Sub(), ast.Constant(1))):
            yield 1, base
            yield 2, ast.BinOp(exponent, ast.Mult(), node)
        case ast.BinOp(base, ast.Pow(), _):
            yield 1, base
        case ast.BinOp(left, ast.Mult(), ast.Name() as share):
            rest = ast.BinOp(ast.Constant(1), ast.Sub(), share)
            yield 3, ast.BinOp(left, ast.Mult(), rest)
            yield 3, ast.BinOp(left, ast.Div(), rest)


def _turned(
    left: ast.expr, right: ast.expr, make: Callable[[ast.expr, ast.expr], ast.expr]
) -> Options:
    yield 2, make(right, left)
    for a, b in ((left, right), (right, left)):
        yield 3, make(transposed(a), b)
        yield 3, make(a, transposed(b))
        yield 4, make(transposed(a), transposed(b))


def _calls(call: ast.Call) -> Options:
    function, args, keywords = call.func, call.args, call.keywords
    name = getattr(function, "attr", "")
    if isinstance(function, ast.Attribute):
        if name in _TWINS:
            twin = ast.Attribute(function.value, _TWINS[name], ast.Load())
            yield 2, ast.Call(twin, args, keywords)
        if name in ("dot", "matmul", "outer") and len(args) == 2:
            yield from _turned(args[0], args[1], lambda a, b: ast.Call(function, [a, b], keywords))
        if name == "dot" and len(args) == 1:
            matmul = ast.MatMult()
            yield from _turned(function.value, args[0], lambda a, b: ast.BinOp(a, matmul, b))
        if name in ("sum", "mean", "max", "min"):
            for words in _axes(args, keywords):
                yield 3, ast.Call(function, args, words)
        if name == "where" and len(args) == 3:
            for each in _two_sided(function.value, args[0], args[1:]):
                yield 3, ast.Call(function, each, keywords)
    for place in range(len(keywords)):
        yield 2, ast.Call(function, args, [*keywords[:place], *keywords[place + 1 :]])
    if args:
        yield 3, args[0]
    for place in range(len(args) if len(args) > 1 else 0):
        yield 3, ast.Call(function, [*args[:place], *args[place + 1 :]], keywords)
    for one, other in itertools.combinations(range(len(args)), 2):
        swapped = [*args]
        swapped[one], swapped[other] = args[other], args[one]
        yield 2, ast.Call(function, swapped, keywords)


def _two_sided(
    module: ast.expr, condition: ast.expr, values: list[ast.expr]
) -> Iterator[list[ast.expr]]:
    """Give the parts of a choice that is bounded on both sides, where it was on one."""
    match condition:
        case ast.Compare(value, [op], [bound]):
            size, sign = (
                ast.Call(ast.Attribute(module, name, ast.Load()), [value], [])
                for name in ("abs", "sign")
            )
            within = ast.Compare(size, [op], [bound])
            signed = product(bound, ast.Mult(), sign)
            for each in (values, [values[0], signed], [signed, values[1]]):
                yield [within, *each]


def _axes(args: list[ast.expr], keywords: list[ast.keyword]) -> Iterator[list[ast.keyword]]:
    """Give the keywords of a sum over an axis, and of one that keeps it."""
    keeps = ast.keyword("keepdims", ast.Constant(True))
    said = [each.arg for each in keywords]
    if said == ["axis"] or (not said and args and ast.unparse(args[-1]).lstrip("-").isdigit()):
        yield [*keywords, keeps]
    elif not said:
        for axis in (0, 1):
            along = ast.keyword("axis", ast.Constant(axis))
            yield from ([along], [along, keeps])

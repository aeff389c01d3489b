"""What a line of code may be changed to: the ways in which people go wrong, undone.

Another variable of the same shape, a factor too many or too few, the derivative of an activation, a
sign, an axis, a transposition, a sum for a mean, `=` for `+=`, the arguments the other way around,
the Jacobian of a softmax for its diagonal.
"""

import ast
import contextlib
import copy
import inspect
from collections.abc import Callable, Container, Iterator, Sequence
from types import CodeType, ModuleType
from typing import Any, NamedTuple

import jax
import numpy as np

_ATOM = ast.Name | ast.Attribute | ast.Subscript

Scope = dict[str, Any]
Shape = tuple[int, ...]
Options = Iterator[tuple[int, ast.expr]]
"""What an expression may be exchanged for, and how unlikely it is."""


class Change(NamedTuple):
    """One node of a function's tree, put in the place of another.

    Attributes:
        cost: the higher, the less likely.
        parent, field, place: where the node stands; `place` in a list, None where it is no list.
        node: the new one.
        statement: that it is in.
    """

    cost: int
    parent: Any
    field: str
    place: int | None
    node: ast.AST
    statement: ast.stmt

    @property
    def held(self) -> ast.AST:
        """The node that stands there now."""
        held = getattr(self.parent, self.field)
        return held if self.place is None else held[self.place]

    def swap(self, node: ast.AST) -> ast.AST:
        """Put a node in that place, and give the one that was there."""
        old = self.held
        if self.place is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.place] = node
        return old

    def is_within(self, part: ast.AST) -> bool:
        """Whether that place is in a part of the tree."""
        return any(node is self.held for node in ast.walk(part))


def of_function(
    tree: ast.FunctionDef,
    scope_of: Callable[[ast.stmt], Scope | None],
    sizes: Sequence[int],
    known: Container[CodeType],
) -> Iterator[Change]:
    """Give the changes of a function.

    Args:
        tree: of it.
        scope_of: what a statement saw when it first ran; None where it did not run.
        sizes: of the batch.
        known: the functions that may be called, since they have been.
    """
    numbers = {each.value for each in ast.walk(tree) if isinstance(each, ast.Constant)}
    steepness = sorted(each for each in numbers if isinstance(each, float) and 0 < each < 1)
    nodes = [each for each in ast.walk(tree) if isinstance(each, _ATOM)]
    nodes.sort(key=lambda node: (node.lineno, node.col_offset))
    atoms = dict.fromkeys(map(_loaded, nodes))
    for parent in ast.walk(tree):
        for field in ("body", "orelse"):
            body = getattr(parent, field, None)
            for place, statement in enumerate(body if isinstance(body, list) else ()):
                scope = scope_of(statement)
                if scope is None:
                    continue
                for cost, other in _statements(statement, scope):
                    yield Change(cost, parent, field, place, other, statement)
                yield from _within(
                    statement, _Expressions(scope, [*atoms], sizes, steepness, known)
                )


def _loaded(node: Any) -> str:
    """Write an atom down as one that is read."""
    node = copy.copy(node)
    node.ctx = ast.Load()
    return ast.unparse(node)


def _statements(statement: ast.stmt, scope: Scope) -> Iterator[tuple[int, ast.stmt]]:
    others: list[tuple[int, ast.stmt]] = []
    if isinstance(statement, ast.Assign) and isinstance(target := statement.targets[0], _ATOM):
        others = [(2, ast.AugAssign(target, ast.Add(), statement.value))]
        others += _added_up(target, statement.value, scope)
    elif isinstance(statement, ast.AugAssign):
        target, value = statement.target, statement.value
        others = [(2, ast.Assign([target], value)), (3, ast.Pass())]
        others += _added_up(target, value, scope)
        for operator in (ast.Add(), ast.Sub()):
            if type(operator) is not type(statement.op):
                others.append((2, ast.AugAssign(target, operator, value)))
    for cost, other in others:
        yield cost, ast.copy_location(other, statement)


def _added_up(target: ast.expr, value: ast.expr, scope: Scope) -> list[tuple[int, ast.stmt]]:
    """Give the way to add to entries of an array of which some are meant more than once."""
    name = next((name for name, each in scope.items() if each is np), None)
    sliced = any(isinstance(each, ast.Slice) for each in ast.walk(target))
    if name is None or sliced or not isinstance(target, ast.Subscript):
        return []
    array, index = _loaded(target.value), ast.unparse(target.slice)
    call = _parsed(f"{name}.add.at({array}, ({index}), {ast.unparse(value)})")
    return [(3, ast.Expr(call))]


def _within(statement: ast.stmt, expressions: "_Expressions") -> Iterator[Change]:
    """Give the changes of a statement's expressions, but not of statements that it holds."""
    parents: list[Any] = [statement]
    for parent in parents:
        for field, value in ast.iter_fields(parent):
            several = isinstance(value, list)
            for place, child in enumerate(value if several else [value]):
                if isinstance(child, ast.keyword | ast.expr) and not _is_stored(child):
                    parents.append(child)
                if isinstance(child, ast.expr) and not _is_stored(child):
                    at = place if several else None
                    for cost, other in expressions.options(child, parent, field):
                        ast.copy_location(other, child)
                        yield Change(cost, parent, field, at, other, statement)


def _is_stored(node: ast.AST) -> bool:
    return isinstance(getattr(node, "ctx", None), ast.Store)


class _Expressions:
    """What the expressions of one statement may be exchanged for."""

    def __init__(
        self,
        scope: Scope,
        atoms: Sequence[str],
        sizes: Sequence[int],
        steepness: Sequence[float],
        known: Container[CodeType],
    ) -> None:
        self._scope, self._steepness = scope, steepness
        self._functions = {
            name: value
            for name, value in scope.items()
            if inspect.isfunction(value) and value.__code__ in known
        }
        self._known: dict[str, Shape | None] = {}
        shapes = {text: self._shape(_parsed(text)) for text in atoms}
        self._arrays = {text: shape for text, shape in shapes.items() if shape}
        counts: dict[int, str] = {}
        for text, shape in self._arrays.items():
            for axis, size in enumerate(shape if text.isidentifier() else ()):
                counts.setdefault(size, f"{text}.shape[{axis}]" if axis else f"len({text})")
        for size in sizes:
            counts.setdefault(size, str(size))
        numbers = [text for text, shape in shapes.items() if shape == () and self._is_small(text)]
        self._scalars = numbers
        self._numbers = (*numbers, *(text for size, text in counts.items() if size > 1), "2")

    def options(self, node: ast.expr, parent: Any, field: str) -> Options:
        """Give what an expression may be exchanged for where it stands."""
        if isinstance(parent, ast.Call) and field == "func":
            yield from self._other_functions(node)
            return
        yield from _parts(node)
        yield from _slips(node)
        yield from ((3, other) for other in _bracketed(node))
        shape = self._shape(node)
        if shape is None or isinstance(node, ast.Constant):
            return
        if not shape and isinstance(node, ast.Name):
            yield from ((2, _parsed(each)) for each in self._scalars if each != node.id)
        if isinstance(parent, ast.Attribute | ast.Subscript):
            if isinstance(node, ast.Name):
                yield from self._others(node, shape, 2)
            return
        yield from self._others(node, shape, 2 if isinstance(node, _ATOM) else 4)
        whole = isinstance(parent, ast.stmt | ast.Dict)
        if shape:
            yield from self._arrays_of(node, shape, parent, whole)
        if shape or whole:
            for number in self._numbers:
                yield 4, _product(node, ast.Div(), _parsed(number))
                yield 5, _product(node, ast.Mult(), _parsed(number))

    def _shape(self, node: ast.expr) -> Shape | None:
        """Give the shape of an expression; None where it has none, or to evaluate it may act."""
        text = ast.unparse(node)
        if text not in self._known:
            self._known[text] = None
            with contextlib.suppress(Exception):
                if self._is_pure(node):
                    value = eval(text, self._scope)
                    if isinstance(value, _NUMBERS) and not isinstance(value, bool):
                        self._known[text] = np.shape(value)
        return self._known[text]

    def _is_small(self, text: str) -> bool:
        """Whether a number may stand where a size does."""
        return abs(eval(text, self._scope)) <= _LARGE

    def _is_pure(self, node: ast.expr) -> bool:
        """Whether an expression computes and does nothing else."""
        calls = [each for each in ast.walk(node) if isinstance(each, ast.Call)]
        return all(map(self._computes, calls)) and not any(
            isinstance(each, ast.NamedExpr | ast.Yield | ast.Lambda) for each in ast.walk(node)
        )

    def _computes(self, call: ast.Call) -> bool:
        function = call.func
        if isinstance(function, ast.Attribute):
            owner = getattr(function.value, "id", "")
            return isinstance(self._scope.get(owner), ModuleType) or function.attr in _METHODS
        name = getattr(function, "id", "")
        return name in ("len", "float", "int") or name in self._functions

    def _other_functions(self, node: ast.expr) -> Options:
        name = getattr(node, "id", "")
        if name in self._functions:
            for other, value in self._functions.items():
                if value is not self._functions[name]:
                    yield 3, _parsed(other)

    def _others(self, node: ast.expr, shape: Shape, cost: int) -> Options:
        """Give the other arrays of that shape, upright or turned."""
        text = ast.unparse(node)
        for other, its in self._arrays.items():
            if other != text and its == shape:
                yield cost, _parsed(other)
            elif other != text and its == shape[::-1]:
                yield cost + 1, _transposed(_parsed(other))

    def _arrays_of(self, node: ast.expr, shape: Shape, parent: Any, whole: bool) -> Options:
        """Give an array turned, negated, summed, times another or a derivative, or made anew."""
        if len(shape) == 2:
            yield 1, _transposed(node)
        yield 3, ast.UnaryOp(ast.USub(), node)
        for axis in range(len(shape)):
            yield 4, _over(node, "sum", axis)
        is_factor = isinstance(parent, ast.BinOp) and isinstance(parent.op, ast.Mult)
        if whole or is_factor:
            yield from self._made(shape)
        text = ast.unparse(node)
        alike = [_parsed(each) for each, its in self._arrays.items() if its == shape]
        for other in alike:
            for slope in _slopes(other, self._steepness):
                if is_factor:
                    yield 3, slope
                for part in _kept(node):
                    yield 3, _product(part, ast.Mult(), slope)
                yield 4 if whole else 5, _product(node, ast.Mult(), slope)
                if whole:
                    yield from ((7, _product(each, ast.Mult(), slope)) for each in alike)
            if ast.unparse(other) != text:
                yield 5 if whole else 6, _product(node, ast.Mult(), other)
            if whole:
                yield 5, _product(node, ast.Add(), other)
                yield 5, _product(node, ast.Sub(), other)
                for axis in range(len(shape)):
                    yield from _ways_back(node, other, axis)

    def _made(self, shape: Shape) -> Options:
        """Give sums and products of the other arrays that have a shape."""
        for text, its in self._arrays.items():
            for axis in range(len(its)):
                if (*its[:axis], 1, *its[axis + 1 :]) == shape:
                    yield 5, _over(_parsed(text), "sum", axis)
                elif its[:axis] + its[axis + 1 :] == shape:
                    yield 5, _parsed(f"{text}.sum({axis})")
        flat = [(text, its) for text, its in self._arrays.items() if len(its) == 2]
        both = [*flat, *((f"{text}.T", its[::-1]) for text, its in flat if text[-2:] != ".T")]
        for left, (rows, inner) in both:
            for right, (outer, columns) in both:
                if inner == outer and (rows, columns) == shape:
                    yield 6, _parsed(f"{left} @ {right}")


_NUMBERS = (np.ndarray, np.generic, jax.Array, float, int)
# A whole number above this is no size of an array.
_LARGE = 2_000
_METHODS = frozenset(
    ["astype", "copy", "dot", "flatten", "max", "mean", "min", "ravel", "reshape", "sum"]
)


def _parsed(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def _product(left: ast.expr, operator: ast.operator, right: ast.expr) -> ast.expr:
    return ast.BinOp(left, operator, right)


def _over(node: ast.expr, name: str, axis: int) -> ast.expr:
    """Give the sum or mean over an axis, which stays."""
    words = [ast.keyword("axis", ast.Constant(axis)), ast.keyword("keepdims", ast.Constant(True))]
    return ast.Call(ast.Attribute(node, name, ast.Load()), [], words)


def _slopes(h: ast.expr, steepness: Sequence[float]) -> list[ast.expr]:
    """Give the derivatives of tanh, sigmoid, ReLU and leaky ReLU by what they gave."""
    text = ast.unparse(h)
    leaky = (f"({text} > 0) + {each} * ({text} <= 0)" for each in steepness)
    return list(map(_parsed, (f"1 - {text} ** 2", f"{text} * (1 - {text})", f"{text} > 0", *leaky)))


def _ways_back(node: ast.expr, y: ast.expr, axis: int) -> Options:
    """Give the ways back through what gave y, of node or what a product begins with.

    Those of a softmax, of its logarithm, and of what was normalised to a norm, a mean or both.
    """
    for g in (node, *_beginnings(node)):
        both = _product(g, ast.Mult(), y)
        total, mean = (_over(both, name, axis) for name in ("sum", "mean"))
        yield 6, _product(y, ast.Mult(), _product(g, ast.Sub(), total))
        yield 7, _product(g, ast.Sub(), _product(y, ast.Mult(), _over(g, "sum", axis)))
        centred = _product(g, ast.Sub(), _over(g, "mean", axis))
        for cost, start, part in ((7, g, total), (7, g, mean), (7, centred, mean)):
            yield cost, _product(start, ast.Sub(), _product(y, ast.Mult(), part))
    yield 7, _product(node, ast.Sub(), _over(node, "mean", axis))


def _beginnings(node: ast.expr) -> Iterator[ast.expr]:
    """Give a product without its last factor, its last two and so on."""
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.Div):
        node = node.left
        yield node


def _kept(node: ast.expr) -> list[ast.expr]:
    """Give what a derivative in another form may have been put to."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
        return [node.left]
    return node.args if isinstance(node, ast.Call) else list(_beginnings(node))


def _transposed(node: ast.expr) -> ast.expr:
    if isinstance(node, ast.Attribute) and node.attr == "T":
        return node.value
    return ast.Attribute(node, "T", ast.Load())


def _parts(node: ast.expr) -> Options:
    """Give what an expression may be without one of its parts, or with them turned around."""
    match node:
        case ast.BinOp(left, ast.Mult() | ast.Div() as op, right):
            yield from enumerate(_beginnings(node), 1)
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
        case ast.BinOp(left, ast.Pow(), _):
            yield 1, left
        case ast.UnaryOp(_, operand):
            yield 1, operand
        case ast.Call():
            yield from _calls(node)


def _bracketed(node: ast.expr) -> Iterator[ast.expr]:
    """Give a product of a sum, and a sum of a product, with other brackets."""
    match node:
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


def _scales(operator: ast.operator) -> bool:
    return isinstance(operator, ast.Mult | ast.Div)


def _slips(node: ast.expr) -> Options:
    """Give another number, the entry beside one, and other comparisons."""
    match node:
        case ast.Constant(int() | float() as value) if not isinstance(value, bool) and (
            abs(value) <= _LARGE
        ):
            nearby = dict.fromkeys((1 - value, value + 1, value - 1, 2 * value, value / 2, 0, 1))
            for each in nearby:
                yield 2, ast.Constant(int(each) if each == int(each) else each)
        case ast.Subscript(value, ast.Name() as index, context):
            for operator in (ast.Sub(), ast.Add()):
                other = ast.BinOp(index, operator, ast.Constant(1))
                yield 3, ast.Subscript(value, other, context)
        case ast.Compare(left, [_], right):
            for other in (ast.Gt(), ast.Lt(), ast.GtE(), ast.LtE()):
                yield 2, ast.Compare(left, [other], right)


def _turned(
    left: ast.expr, right: ast.expr, make: Callable[[ast.expr, ast.expr], ast.expr]
) -> Options:
    yield 2, make(right, left)
    for a, b in ((left, right), (right, left)):
        yield 3, make(_transposed(a), b)
        yield 3, make(a, _transposed(b))
        yield 4, make(_transposed(a), _transposed(b))


_TWINS = {"sum": "mean", "mean": "sum", "maximum": "minimum", "minimum": "maximum"}


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
        if name in ("sum", "mean", "max") and not keywords:
            for axis in (0, 1):
                words = [ast.keyword("axis", ast.Constant(axis))]
                yield 3, ast.Call(function, args, words)
    for place in range(len(keywords)):
        yield 2, ast.Call(function, args, [*keywords[:place], *keywords[place + 1 :]])
    if args:
        yield 3, args[0]
    if len(args) > 1:
        yield 2, ast.Call(function, [*args[:-2], args[-1], args[-2]], keywords)

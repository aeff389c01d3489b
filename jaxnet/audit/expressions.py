"""What an expression may be changed to by what its names mean: other names of its shape, factors,
terms and derivatives that are missing, axes the other way around.
"""

import ast
import contextlib
import inspect
import itertools
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnet.audit import syntax
from jaxnet.audit.computing import Scope
from jaxnet.audit.ingredients import ATOM, Ingredients
from jaxnet.audit.syntax import Options

Shape = tuple[int, ...]

_NUMBERS = (np.ndarray, np.generic, jax.Array, float, int)
_METHODS = frozenset(
    ["astype", "copy", "dot", "flatten", "max", "mean", "min", "norm", "ravel", "reshape", "sum"]
)
_EMPTY = frozenset(["empty", "full", "ones", "ones_like", "zeros", "zeros_like"])


class Expressions:
    """What the expressions of one statement may be exchanged for.

    It keeps them as texts, with the shapes of their values where it needs these:

    - `_arrays`: names, attributes and entries that are arrays, and the other entries of a dict of
      which the function asks some; `_entries`: entries of these that
      the function does not ask; `_slopes`: derivatives;
    - `_scalars`: names, attributes and entries that are a number; `_terms`: other expressions that
      are; `_addends`: what a name may lack or have too much; `_factors`: what a value may be times;
      `_lengths`: those of arrays;
    - `_computed`: what the loss computes, where its names mean something here.
    """

    def __init__(self, scope: Scope, ingredients: Ingredients) -> None:
        """Look at what there is where a statement first ran."""
        self._scope, self._ingredients = scope, ingredients
        self._functions = {
            name: value
            for name, value in scope.items()
            if inspect.isfunction(value) and value.__code__ in ingredients.known
        }
        named = (name for module in (np, jnp) for name, each in scope.items() if each is module)
        self._numpy = next(named, None)
        self._known: dict[str, Shape | None] = {}
        texts = [*ingredients.atoms, *self._unread()]
        self._arrays = {text: its for text, its in self._shapes(texts).items() if its}
        names = [text for text in self._arrays if text.isidentifier()]
        self._entries = self._unasked(names)
        self._slopes = self._shapes([*ingredients.slopes])
        self._scalars, self._terms = map(self._numbers, (ingredients.atoms, ingredients.terms))
        written = [repr(each) for each in ingredients.numbers]
        self._addends = [*self._scalars, *written, *map(repr, ingredients.steepness)]
        self._lengths = self._measured(names)
        self._factors = [*self._counts(), *written]
        self._computed = self._shapes(ingredients.computed)

    def _unread(self) -> Iterator[str]:
        """Give the entries of a dict that the function has no name for, where it asks others."""
        atoms = self._ingredients.atoms
        asked = dict.fromkeys(text.partition("[")[0] for text in atoms if text.endswith("']"))
        names = (self._scope.get(text) for text in atoms if text.isidentifier())
        known = set(map(id, names))
        for name in asked:
            entries = self._scope.get(name)
            for key, value in entries.items() if isinstance(entries, dict) else ():
                if isinstance(key, str) and id(value) not in known:
                    yield f"{name}[{key!r}]"

    def _unasked(self, names: Sequence[str]) -> dict[str, Shape | None]:
        """Give the entries of arrays that the function could ask by what it asks others by."""
        by_name = [each for each in self._ingredients.indices if each.isidentifier()]
        indices = [*self._ingredients.indices, "-1", *(f":, {each}" for each in by_name)]
        texts = [f"{name}[{index}]" for name in names for index in indices]
        asked = {*self._ingredients.atoms}
        return {text: its for text, its in self._shapes(texts).items() if text not in asked}

    def _numbers(self, texts: Sequence[str]) -> list[str]:
        """Give those that are one number, and no large one."""
        scalars = (text for text, shape in self._shapes(texts).items() if shape == ())
        return list(filter(self._is_small, scalars))

    def _measured(self, names: Sequence[str]) -> dict[int, str]:
        """Give the lengths of arrays, and how each is asked for."""
        lengths: dict[int, str] = {}
        for text in names:
            for axis, size in enumerate(self._arrays[text]):
                lengths.setdefault(size, f"{text}.shape[{axis}]" if axis else f"len({text})")
        return lengths

    def _counts(self) -> list[str]:
        """Give what may count something: numbers, two, and the lengths of arrays."""
        lengths = dict(self._lengths)
        for size in self._ingredients.sizes:
            lengths.setdefault(size, str(size))
        # A number may be a length by chance, and a two is tried before it is taken for one.
        likely, unlikely = [], []
        for text in self._scalars:
            is_length = float(eval(text, self._scope)) in lengths
            (unlikely if is_length else likely).append(text)
        return [*likely, "2", *unlikely, *(text for size, text in lengths.items() if size > 1)]

    def options(self, node: ast.expr, parent: Any, field: str) -> Options:
        """Give what an expression may be exchanged for where it stands."""
        if isinstance(parent, ast.Call) and field == "func":
            yield from self._other_functions(node)
            return
        if isinstance(parent, ast.For):
            yield from self._iterables(node)
        yield from syntax.options(node)
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            yield from ((3, ast.Constant(each)) for each in self._ingredients.numbers)
        shape = self._shape(node)
        if shape is None or isinstance(node, ast.Constant):
            return
        if not shape:
            yield from self._other_numbers(node, parent)
            yield from self._outer(node)
        if isinstance(parent, ast.Attribute | ast.Subscript):
            if isinstance(node, ast.Name):
                yield from self._others(node, shape, 2)
            return
        yield from self._others(node, shape, 2 if isinstance(node, ATOM) else 4)
        yield from (
            (6, syntax.parsed(each)) for each, its in self._computed.items() if its == shape
        )
        yield from self._powers(node)
        yield from self._sized(node)
        if isinstance(node, ATOM):
            yield from self._beside(node, shape, parent)
        whole = isinstance(parent, ast.stmt | ast.Dict | ast.Tuple)
        if shape:
            yield from self._arrays_of(node, shape, parent, whole)
        if shape or whole:
            yield from self._scaled(node)
        if whole or isinstance(parent, ast.Call):
            yield from self._with_entries(node, shape)
        if isinstance(node, ast.Name):
            yield from self._moved(node)

    def _shapes(self, texts: Sequence[str]) -> dict[str, Shape | None]:
        return {text: self._shape(syntax.parsed(text)) for text in texts}

    def _shape(self, node: ast.expr) -> Shape | None:
        """Give the shape of an expression; None where it has none, or to evaluate it may act."""
        text = ast.unparse(node)
        if text not in self._known:
            self._known[text] = None
            with contextlib.suppress(Exception):
                if self._is_pure(node):
                    value = eval(text, self._scope)
                    if isinstance(value, _NUMBERS) and not isinstance(value, bool):
                        self._known[text] = np.asarray(value).shape  # of keys there is none
        return self._known[text]

    def _is_small(self, text: str) -> bool:
        """Whether numbers may stand where a size or an exponent does."""
        return bool(np.all(np.abs(eval(text, self._scope)) <= syntax.LARGE))

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
                    yield 3, syntax.parsed(other)

    def _iterables(self, node: ast.expr) -> Options:
        """Give what else a loop may go over."""
        text = ast.unparse(node)
        rows = (each for each, shape in self._arrays.items() if len(shape) == 1)
        for other in (*self._ingredients.iterables, *rows, f"reversed({text})"):
            if other != text:
                yield 3, syntax.parsed(other)

    def _other_numbers(self, node: ast.expr, parent: Any) -> Options:
        """Give another number, where one is, and an index that counts in steps."""
        text = ast.unparse(node)
        match node:
            case ast.Subscript(ast.Attribute(_, "shape")) | ast.Call(ast.Name("len")):
                yield from ((2, syntax.parsed(each)) for each in self._lengths.values())
        if isinstance(node, ast.Name):
            yield from ((2, syntax.parsed(each)) for each in self._scalars if each != text)
            if isinstance(parent, ast.Subscript | ast.Slice):
                for each in self._scalars:
                    yield 4, syntax.product(node, ast.Mult(), syntax.parsed(each))
        if isinstance(node, ast.Name | ast.BinOp):
            yield from ((4, syntax.parsed(each)) for each in self._terms if each != text)

    def _outer(self, node: ast.expr) -> Options:
        """Give the outer product of two vectors, where their inner one is."""
        match node:
            case ast.BinOp(left, ast.MatMult(), right):
                pass
            case ast.Call(ast.Attribute(_, "dot" | "matmul"), [left, right]):
                pass
            case _:
                return
        if self._numpy and len(self._shape(left) or ()) == len(self._shape(right) or ()) == 1:
            text = f"{self._numpy}.outer({ast.unparse(left)}, {ast.unparse(right)})"
            yield 2, syntax.parsed(text)

    def _others(self, node: ast.expr, shape: Shape, cost: int) -> Options:
        """Give the other arrays of that shape, upright or turned."""
        text = ast.unparse(node)
        for other, its in self._arrays.items():
            if other != text and its == shape:
                yield cost, syntax.parsed(other)
            elif other != text and its == shape[::-1]:
                yield cost + 1, syntax.transposed(syntax.parsed(other))

    def _beside(self, node: ast.expr, shape: Shape, parent: Any) -> Options:
        """Give what a function of the user's makes of an array, and arrays that broadcast as it."""
        text = ast.unparse(node)
        for name in self._functions:
            if shape and self._shape(called := syntax.parsed(f"{name}({text})")) == shape:
                yield 4, called
        if isinstance(parent, ast.BinOp) and not isinstance(parent.op, ast.MatMult):
            for other, its in self._arrays.items():
                if shape and its != shape and (_fits(its, shape) or _fits(shape, its)):
                    yield 4, syntax.parsed(other)

    def _scaled(self, node: ast.expr) -> Options:
        for number in map(syntax.parsed, self._factors):
            yield 4, syntax.product(node, ast.Div(), number)
            yield 5, syntax.product(node, ast.Mult(), number)

    def _moved(self, node: ast.Name) -> Options:
        """Give what a name is the sum of, and a name less or more a number."""
        if summed := self._ingredients.summands.get(node.id):
            yield 3, syntax.parsed(summed)
        for number in (each for each in self._addends if each != node.id):
            for operator in (ast.Sub(), ast.Add()):
                yield 5, syntax.product(node, operator, syntax.parsed(number))

    def _with_entries(self, node: ast.expr, shape: Shape) -> Options:
        """Give a value times, more and less entries, and entries in place of an empty array."""
        name = getattr(getattr(node, "func", None), "attr", "")
        for text, its in self._entries.items():
            other = syntax.parsed(text)
            if its == shape:
                if name in _EMPTY:
                    yield 3, other
                yield 6, syntax.product(node, ast.Add(), other)
                yield 6, syntax.product(node, ast.Sub(), other)
            if its is not None and _fits(its, shape):
                yield 5, syntax.product(node, ast.Mult(), other)

    def _powers(self, node: ast.expr) -> Options:
        """Give a power the other way around, and the derivative of that."""
        match node:
            case ast.BinOp(base, ast.Pow() as power, exponent):
                # Of whole numbers a large one would never end.
                if self._shape(base) is not None and self._is_small(ast.unparse(base)):
                    yield 3, ast.BinOp(exponent, power, base)
                if self._numpy and self._shape(base):
                    sign, size = (
                        syntax.parsed(f"{self._numpy}.{name}({ast.unparse(base)})")
                        for name in ("sign", "abs")
                    )
                    yield 5, syntax.product(sign, ast.Mult(), ast.BinOp(size, power, exponent))
            case ast.BinOp(before, ast.Mult() as by, ast.BinOp(b, ast.Pow() as power, less)):
                rest, a = None, before
                if isinstance(before, ast.BinOp) and isinstance(before.op, ast.Mult):
                    rest, a = before.left, before.right
                if self._numpy and ast.unparse(less) == f"{ast.unparse(a)} - 1":
                    log = syntax.parsed(f"{self._numpy}.log({ast.unparse(a)})")
                    whole: ast.expr = ast.BinOp(a, power, b)
                    whole = ast.BinOp(rest, by, whole) if rest else whole
                    yield 3, ast.BinOp(whole, by, log)

    def _sized(self, node: ast.expr) -> Options:
        """Give the square of a value, its size and its sign."""
        if not isinstance(node, ATOM | ast.Call):
            return
        yield 5, ast.BinOp(node, ast.Pow(), ast.Constant(2))
        for name in ("abs", "sign") if self._numpy else ():
            yield 5, syntax.parsed(f"{self._numpy}.{name}({ast.unparse(node)})")

    def _arrays_of(self, node: ast.expr, shape: Shape, parent: Any, whole: bool) -> Options:
        """Give an array turned, negated, summed, times another or a derivative, or made anew."""
        if len(shape) == 2:
            yield 1, syntax.transposed(node)
        yield 3, ast.UnaryOp(ast.USub(), node)
        for axis in range(len(shape)):
            yield 4, syntax.over(node, "sum", axis)
        yield from _turned_around(node, len(shape))
        if whole or _is_factor(parent):
            yield from self._made(shape)
        yield from self._with_others(node, shape, whole)
        slopes = (
            (slope, 0)
            for each, its in self._arrays.items()
            if its == shape
            for slope in _slopes(syntax.parsed(each), self._ingredients.steepness)
        )
        written = (
            (syntax.parsed(each), self._ingredients.slopes[each])
            for each, its in self._slopes.items()
            if its == shape
        )
        for slope, more in itertools.chain(slopes, written):
            for cost, other in self._with_slope(node, slope, _is_factor(parent), whole):
                yield cost + more, other

    def _with_others(self, node: ast.expr, shape: Shape, whole: bool) -> Options:
        """Give an array times, more and less others, and sent back through what gave them."""
        text = ast.unparse(node)
        for each, its in self._arrays.items():
            other = syntax.parsed(each)
            if each != text and _fits(its, shape) and (its == shape or whole):
                yield 5 if whole else 6, syntax.product(node, ast.Mult(), other)
            if its != shape:
                continue
            if isinstance(node, ast.UnaryOp):
                yield 5, syntax.product(node.operand, ast.Mult(), other)
            if whole or (isinstance(node, ATOM | ast.UnaryOp) and each != text):
                yield 5 if whole else 6, syntax.product(node, ast.Add(), other)
                yield 5 if whole else 6, syntax.product(node, ast.Sub(), other)
            if whole:
                divisor = self._ingredients.divisors.get(each)
                for axis in range(len(shape)):
                    yield from _ways_back(node, other, axis)
                    if divisor:
                        yield from _divided_back(node, other, axis, syntax.parsed(divisor))

    def _with_slope(self, node: ast.expr, slope: ast.expr, is_factor: bool, whole: bool) -> Options:
        """Give a derivative in the place of a factor or a value, and as one factor more."""
        if is_factor or whole:
            yield 3, slope
        for part in _kept(node):
            yield 3, syntax.product(part, ast.Mult(), slope)
        yield 4 if whole else 5, syntax.product(node, ast.Mult(), slope)
        if whole:
            shape = self._shape(slope)
            for text, its in self._arrays.items():
                if its == shape:
                    yield 7, syntax.product(syntax.parsed(text), ast.Mult(), slope)

    def _made(self, shape: Shape) -> Options:
        """Give sums and products of the other arrays that have a shape."""
        for text, its in self._arrays.items():
            for axis in range(len(its)):
                if (*its[:axis], 1, *its[axis + 1 :]) == shape:
                    yield 5, syntax.over(syntax.parsed(text), "sum", axis)
                elif its[:axis] + its[axis + 1 :] == shape:
                    yield 5, syntax.parsed(f"{text}.sum({axis})")
        flat = [(text, its) for text, its in self._arrays.items() if len(its) == 2]
        both = [*flat, *((f"{text}.T", its[::-1]) for text, its in flat if text[-2:] != ".T")]
        for left, (rows, inner) in both:
            for right, (outer, columns) in both:
                if inner == outer and (rows, columns) == shape:
                    yield 6, syntax.parsed(f"{left} @ {right}")


def _is_factor(parent: Any) -> bool:
    return isinstance(parent, ast.BinOp) and isinstance(parent.op, ast.Mult)


def _fits(its: Shape, shape: Shape) -> bool:
    """Whether an array may be a factor of one of a shape."""
    try:
        return np.broadcast_shapes(its, shape) == shape
    except ValueError:
        return False


def _turned_around(node: ast.expr, axes: int) -> Options:
    """Give an array backwards along its last axes, and of more than two axes with two exchanged."""
    text = ast.unparse(node)
    text = text if isinstance(node, ATOM | ast.Call) else f"({text})"
    for backwards in ("::-1", "::-1, ::-1")[:axes]:
        yield 5, syntax.parsed(f"{text}[..., {backwards}]")
    if axes > 2:
        for one, other in itertools.combinations(range(axes), 2):
            yield 5, syntax.parsed(f"{text}.swapaxes({one}, {other})")


def _slopes(h: ast.expr, steepness: Sequence[float]) -> list[ast.expr]:
    """Give the derivatives of tanh, sigmoid, ReLU and leaky ReLU by what they gave."""
    text = ast.unparse(h)
    leaky = (f"({text} > 0) + {each} * ({text} <= 0)" for each in steepness)
    return list(
        map(syntax.parsed, (f"1 - {text} ** 2", f"{text} * (1 - {text})", f"{text} > 0", *leaky))
    )


def _ways_back(node: ast.expr, y: ast.expr, axis: int) -> Options:
    """Give the ways back through what gave y, of node or what a product begins with.

    Those of a softmax, of its logarithm, and of what was normalised to a norm, a mean or both.
    """
    for g in (node, *syntax.beginnings(node)):
        both = syntax.product(g, ast.Mult(), y)
        total, mean = (syntax.over(both, name, axis) for name in ("sum", "mean"))
        yield 6, syntax.product(y, ast.Mult(), syntax.product(g, ast.Sub(), total))
        yield (
            7,
            syntax.product(
                g, ast.Sub(), syntax.product(y, ast.Mult(), syntax.over(g, "sum", axis))
            ),
        )
        centred = syntax.product(g, ast.Sub(), syntax.over(g, "mean", axis))
        for cost, start, part in ((7, g, total), (7, g, mean), (7, centred, mean)):
            yield cost, syntax.product(start, ast.Sub(), syntax.product(y, ast.Mult(), part))
    yield 7, syntax.product(node, ast.Sub(), syntax.over(node, "mean", axis))


def _divided_back(node: ast.expr, y: ast.expr, axis: int, divisor: ast.expr) -> Options:
    """Give the ways back through what made y by dividing: by a sum, a norm, a constant."""
    for g in (node, *syntax.beginnings(node)):
        total = syntax.over(syntax.product(g, ast.Mult(), y), "sum", axis)
        along = syntax.product(y, ast.Mult(), total)
        for back in (syntax.product(g, ast.Sub(), total), syntax.product(g, ast.Sub(), along), g):
            yield 7, syntax.product(back, ast.Div(), divisor)


def _kept(node: ast.expr) -> list[ast.expr]:
    """Give what a derivative in another form may have been put to."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
        return [node.left]
    return node.args if isinstance(node, ast.Call) else list(syntax.beginnings(node))

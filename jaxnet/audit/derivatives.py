"""The derivative of an expression that is computed entry by entry, written as an expression."""

import ast

from jaxnet.audit import syntax

# Of functions of NumPy, by what they are given (u) and as NumPy is called there (np).
_OF = {
    "cos": "-np.sin(u)",
    "cosh": "np.sinh(u)",
    "exp": "np.exp(u)",
    "log": "1 / u",
    "log1p": "1 / (1 + u)",
    "sin": "np.cos(u)",
    "sinh": "np.cosh(u)",
    "sqrt": "0.5 / np.sqrt(u)",
    "square": "2 * u",
    "tanh": "1 - np.tanh(u) ** 2",
}


def by_name(node: ast.expr) -> list[ast.expr]:
    """Give the derivatives of an expression by the names in it, where known and not zero."""
    names = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
    slopes = (of(node, name) for name in sorted(names))
    return [slope for slope in slopes if slope and not _is(slope, 0)]


def of(node: ast.expr, name: str) -> ast.expr | None:
    """Give the derivative by a name; None where there is none, or it is not known."""
    if name not in {getattr(each, "id", "") for each in ast.walk(node)}:
        return ast.Constant(0)
    match node:
        case ast.Name():
            return ast.Constant(1)
        case ast.UnaryOp(ast.USub(), operand):
            return _added(ast.Constant(0), ast.Sub(), of(operand, name))
        case ast.BinOp(left, operator, right):
            return _of_two(left, operator, right, (of(left, name), of(right, name)))
        case ast.Call(ast.Attribute(ast.Name(module), function), [u], []) if function in _OF:
            outer = _Put({"np": ast.Name(module), "u": u}).visit(syntax.parsed(_OF[function]))
            return _times(outer, of(u, name))
    return None


class _Put(ast.NodeTransformer):
    """Puts expressions in the place of names."""

    def __init__(self, meant: dict[str, ast.expr]) -> None:
        self._meant = meant

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self._meant.get(node.id, node)


def _of_two(
    left: ast.expr,
    operator: ast.operator,
    right: ast.expr,
    slopes: tuple[ast.expr | None, ast.expr | None],
) -> ast.expr | None:
    one, other = slopes
    match operator:
        case ast.Add() | ast.Sub():
            return _added(one, operator, other)
        case ast.Mult():
            return _added(_times(one, right), ast.Add(), _times(left, other))
        case ast.Div() if _is(other, 0):
            return one and ast.BinOp(one, operator, right)
        case ast.Div():
            whole = ast.BinOp(left, operator, ast.BinOp(right, ast.Pow(), ast.Constant(2)))
            first = one if one is None or _is(one, 0) else ast.BinOp(one, operator, right)
            return _added(first, ast.Sub(), _times(whole, other))
        case ast.Pow() if _is(other, 0):
            less = ast.BinOp(right, ast.Sub(), ast.Constant(1))
            if isinstance(right, ast.Constant) and isinstance(right.value, int | float):
                less = ast.Constant(right.value - 1)
            power = left if _is(less, 1) else ast.BinOp(left, operator, less)
            return _times(ast.BinOp(right, ast.Mult(), power), one)
    return None


def _added(
    left: ast.expr | None, operator: ast.operator, right: ast.expr | None
) -> ast.expr | None:
    if left is None or right is None or _is(right, 0):
        return right and left
    if _is(left, 0):
        return right if isinstance(operator, ast.Add) else ast.UnaryOp(ast.USub(), right)
    return ast.BinOp(left, operator, right)


def _times(left: ast.expr | None, right: ast.expr | None) -> ast.expr | None:
    if left is None or right is None or _is(left, 0) or _is(right, 1):
        return right and left
    if _is(right, 0) or _is(left, 1):
        return right
    return ast.BinOp(left, ast.Mult(), right)


def _is(node: ast.expr | None, value: int) -> bool:
    return isinstance(node, ast.Constant) and node.value == value

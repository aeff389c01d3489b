"""The functions of a user's that run in a call, and their source, which may be changed."""

import ast
import contextlib
import functools
import inspect
import textwrap
from collections.abc import Callable, Iterable, Iterator
from types import CodeType, FrameType, FunctionType
from typing import Any, NamedTuple

from jaxnet.audit import computing
from jaxnet.audit.computing import Scope


class Frames(NamedTuple):
    """What ran of one function: its globals, and what each line saw when it first ran."""

    space: Scope
    lines: dict[int, Scope]


def ran(call: Callable[[], Any]) -> tuple[dict[CodeType, Frames], int]:
    """Give what ran of the user's own functions in a call, and how many lines."""
    ran: dict[CodeType, Frames] = {}
    count = 0

    def enter(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename.startswith(computing.libraries()):
            return None
        frames = ran.setdefault(frame.f_code, Frames(frame.f_globals, {}))

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


class Written(NamedTuple):
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
        code = compile(module, self.code.co_filename, "exec", dont_inherit=True)
        for name in (around.name, self.tree.name):
            inner = (each for each in code.co_consts if isinstance(each, CodeType))
            code = next(each for each in inner if each.co_name == name)
        return code


def written(function: Any, frames: dict[CodeType, Frames]) -> Iterator[Written]:
    """Give the functions that ran and may be changed: whose source is what ran."""
    own = _plain(function)
    for code, each in frames.items():
        found = own if getattr(own, "__code__", None) is code else _named(code, each.space)
        if found is None:
            continue
        lines = dict(each.lines)
        for inner in code.co_consts:
            if inner in frames:
                lines |= frames[inner].lines
        tree = _tree(code)
        if tree:
            yield Written(found, code, tree, lines)


def expressions(codes: Iterable[CodeType]) -> list[str]:
    """Give what functions compute, in their own names."""
    nodes = (node for tree in map(_tree, codes) if tree for node in ast.walk(tree))
    computed = (each for each in nodes if isinstance(each, ast.BinOp | ast.Call))
    return [*dict.fromkeys(map(ast.unparse, computed))]


def _tree(code: CodeType) -> ast.FunctionDef | None:
    """Read a function; None where it is none, or not what runs."""
    with contextlib.suppress(Exception):  # a file may be in any state by now
        source, first = inspect.getsourcelines(code)
        (tree,) = ast.parse(textwrap.dedent("".join(source))).body
        if isinstance(tree, ast.FunctionDef) and _is_as_written(code):
            tree.decorator_list = []
            ast.increment_lineno(tree, first - 1)
            return tree
    return None


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

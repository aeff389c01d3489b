"""How large the house is, counted: lines, functions, floors, suppressions, `Any`."""

import ast
import io
import re
import statistics
import tokenize

from test_structure import _CORE, _GROUND, EVERYTHING, JAXNET, ROOT, reached, room

CORE = [f"jaxnet.{name}" for name in ("network", "losses", "batches", "training", "fitting")]
_TEXT = (ast.Module, ast.ClassDef, ast.FunctionDef)
_SILENT = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)


def code(source):
    """The numbers of the lines that hold code: no docstring, no comment, nothing blank."""
    texts = {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, _TEXT) and ast.get_docstring(node)
        for line in range(node.body[0].lineno, node.body[0].end_lineno + 1)
    }
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    spans = [(each.start[0], each.end[0]) for each in tokens if each.type not in _SILENT]
    return {line for first, last in spans[:-1] for line in range(first, last + 1)} - texts


def functions(source):
    """Every function's name and how many lines of code it has."""
    lines = code(source)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            yield node.name, len(lines & set(range(node.lineno, node.end_lineno + 1)))


def long_calls(source):
    """The lines of calls with more than five arguments by position."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [call.lineno for call in calls if len(call.args) > 5]


def dicts_of_any(source):
    """The functions that others call and that take or give a dict of anything."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            hints = [each.annotation for each in (*node.args.args, *node.args.kwonlyargs)]
            said = [ast.unparse(hint) for hint in (*hints, node.returns) if hint]
            if any("dict[str, Any]" in each for each in said):
                yield node.name


def suppressions(source):
    """The comments that silence a linter or a type checker."""
    silent = re.compile(r"#.*(noqa|(pyright|type|ruff): *\w|fmt:)")
    if not silent.search(source):  # a comment or not: else it is told by its tokens, slowly
        return []
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = (each.string for each in tokens if each.type == tokenize.COMMENT)
    return [each for each in comments if silent.search(each)]


def floor(room, arrows):
    """How many floors stand on each other, with this room on top: the longest chain of imports."""
    return 1 + max((floor(each, arrows) for each in arrows[room] - {room}), default=0)


def test_the_counting_counts():
    source = '''"""Said."""
import a  # why


def f(x: dict[str, Any]):
    """Said
    twice."""
    # nothing
    return g(1, 2, 3, 4, 5, 6)  # noqa: X

class C:
    y = """
    data"""
'''
    assert code(source) == {2, 5, 9, 11, 12, 13}
    assert list(functions(source)) == [("f", 2)]
    assert long_calls(source) == [9]
    assert list(dicts_of_any(source)) == ["f"]
    assert suppressions(source) == ["# noqa: X"]
    rooms = {"a": set(), "b": {"a"}, "c": {"a", "b"}, "d": {"c"}}
    assert floor("d", rooms) == 4
    assert floor("d", rooms | {"c": {"a", "c"}}) == 3


def test_the_core_is_read_in_one_sitting():
    sources = [JAXNET[name].read_text() for name in CORE]
    assert sum(len(code(source)) for source in sources) <= 600
    sizes = [size for source in sources for _, size in functions(source)]
    assert statistics.median(sizes) <= 8


def test_no_function_needs_scrolling():
    for name, path in EVERYTHING.items():
        sizes = functions(path.read_text())
        assert not [(function, size) for function, size in sizes if size > 60], name


def test_no_call_gives_more_than_five_arguments_by_place():
    for name, path in JAXNET.items():
        assert not long_calls(path.read_text()), name


def test_nothing_is_silenced():
    for path in [*EVERYTHING.values(), *(ROOT / "tests").rglob("*.py")]:
        assert suppressions(path.read_text()) == [], path


def test_dicts_of_anything_stay_where_json_is_written_and_read():
    for name, path in JAXNET.items():
        edge = room(name) in ("storage", "tables") or name.endswith(".records")
        assert edge or not list(dicts_of_any(path.read_text())), name


def test_the_house_has_few_floors_and_few_doors():
    arrows = {room(name): set() for name in JAXNET}
    for name, path in JAXNET.items():
        arrows[room(name)] |= {room(other) for other in reached(path.read_text())}
    # Of single modules the ground has two floors and the core four.
    assert floor("commands", arrows) == max(floor(each, arrows) for each in arrows) - 1 <= 10
    part = dict.fromkeys(_GROUND, "the ground") | dict.fromkeys(_CORE, "the core")
    rooms = {part.get(each, each): set() for each in arrows}
    for each, reaches in arrows.items():
        rooms[part.get(each, each)] |= {part.get(other, other) for other in reaches}
    assert floor("commands", rooms) == max(floor(each, rooms) for each in rooms) - 1 <= 6
    packages = {name.rpartition(".")[0] for name in JAXNET}
    assert len([name for name in JAXNET if name.count(".") == 1 and name not in packages]) <= 12

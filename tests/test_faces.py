"""The public names: each by one path, each documented, and the reference that is made of them."""

import ast
import contextlib
import dataclasses
import importlib
import inspect
import pathlib
import pkgutil
import re
import shlex
import subprocess
import sys
import types
import typing
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from pdoc import doc
from test_structure import EXPERIMENTS, ROOT

CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
# The package, three modules whose names are read with theirs, and every room that is a library.
ROOMS = {path.parent.name for path in (ROOT / "jaxnet").glob("*/__init__.py")} - {"commands"}
MODULES = {"devices", "optimizers", "spaces", *(name for name in ROOMS if not name.startswith("_"))}
FACES = ["jaxnet", *(f"jaxnet.{name}" for name in sorted(MODULES))]


def names(face):
    """The public names of a face."""
    return getattr(importlib.import_module(face), "__all__", ())


def hidden(source):
    """What a source takes of jaxnet that no face lists."""
    public = [f"{face}.{name}." for face in FACES for name in names(face)]
    paths = {path for path in taken(source) if path.partition(".")[0] == "jaxnet"} - {*FACES}
    # What is read off a public value is public.
    return {path for path in paths if not any(f"{path}.".startswith(each) for each in public)}


def undocumented(module):
    """The public names of a module that the reference would show without a word."""
    for name in module.__all__:
        getattr(module, name)
    shown = doc.Module(module)
    members = shown.members | {each.name: each for each in shown.submodules}
    return [name for name in module.__all__ if not (name in members and members[name].docstring)]


def taken(source):
    """Every dotted name that a source imports, or reads off what it imports."""
    tree, bound = ast.parse(source), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            bound |= {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}
        elif isinstance(node, ast.Import):
            bound |= {
                each.asname or each.name.split(".")[0]: each.name if each.asname else ""
                for each in node.names
            }
    paths = {path for path in bound.values() if path}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            first, _, rest = ast.unparse(node).partition(".")
            if first in bound:
                paths.add(f"{bound[first] or first}.{rest}")
    return paths


def strays(source):
    """Public names that a source takes by another path than their own."""
    own = {
        id(getattr(importlib.import_module(face), name)): face
        for face in FACES
        for name in names(face)
    }
    stray = set()
    for path in taken(source):
        room = path.rpartition(".")[0]
        if room.split(".")[0] == "jaxnet":
            # What is read off a value is no path.
            with contextlib.suppress(AttributeError, ImportError, ValueError):
                stray |= {path} if own.get(id(pkgutil.resolve_name(path)), room) != room else set()
    return stray


def code(path):
    """The Python of a file; of Markdown, its blocks."""
    text = (ROOT / path).read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.S)
    return "\n".join(blocks) if path.endswith(".md") else text


@pytest.mark.parametrize("face", FACES)
def test_a_face_says_what_is_public(face):
    assert names(face)


@pytest.mark.parametrize("face", FACES)
def test_what_is_public_is_documented(face):
    assert undocumented(importlib.import_module(face)) == []


def test_the_reader_of_the_reference_misses_none(monkeypatch):
    source = "__all__ = ['f', 'g', 'limit']\ndef f():\n  'Said.'\ndef g(): ...\nlimit = 3"
    face = types.ModuleType("face")
    exec(source, vars(face))
    monkeypatch.setitem(sys.modules, "face", face)
    assert undocumented(face) == ["g", "limit"]


def test_a_public_name_has_one_path():
    counts = Counter(name for face in FACES for name in names(face))
    assert {name for name, count in counts.items() if count > 1} == set()


def test_strays_are_found():
    source = """
import jaxnet, jaxnet.losses as lifts
from jaxnet import training
from jaxnet.network import init
from jaxnet.audit import audit, gradients
training.train(lifts.BatchLoss, jaxnet.fit, jaxnet.fitting.Fit.params, gradients.audit, init.x)
"""
    assert strays(source) == {
        "jaxnet.network.init",
        "jaxnet.losses.BatchLoss",
        "jaxnet.training.train",
        "jaxnet.fitting.Fit",
        "jaxnet.audit.gradients.audit",
    }


@pytest.mark.parametrize(
    "path", [*(str(p.relative_to(ROOT)) for p in EXPERIMENTS.values()), "README.md"]
)
def test_public_names_are_taken_by_their_path(path):
    assert strays(code(path)) == set()


def test_what_is_hidden_is_found():
    source = """
import jaxnet, jaxnet.compare
from jaxnet import audit, storage, training
from jaxnet._guards import checks
from jaxnet.compare import inputs, load
jaxnet.fit.__name__, jaxnet.compare.phases.run, audit.audit, storage.models.read
"""
    assert hidden(source) == {
        *("jaxnet.training", "jaxnet._guards.checks", "jaxnet.compare.inputs"),
        *("jaxnet.compare.phases", "jaxnet.compare.phases.run"),
    }


@pytest.mark.parametrize(
    "path", ["README.md", *(f"docs/{p.name}" for p in sorted((ROOT / "docs").glob("*.md")))]
)
def test_guides_take_what_is_public_alone(path):
    assert hidden(code(path)) == set()


@pytest.mark.slow
def test_the_reference_is_made_by_one_command_and_has_every_name(tmp_path):
    line = re.search(r"^\.venv/bin/python -c .*pdoc.*$", CONTRIBUTING.replace("\\\n", ""), re.M)[0]
    _, *arguments = shlex.split(line)
    assert arguments[-len(FACES) :] == FACES
    folder = arguments[arguments.index("-o") + 1]
    assert f"{folder.split('/')[0]}/" in (ROOT / ".gitignore").read_text().split()
    arguments[arguments.index("-o") + 1] = str(tmp_path)
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Warn" not in done.stderr, done.stderr
    missing = []
    pages = {
        path.with_suffix("").relative_to(tmp_path) for path in tmp_path.glob("jaxnet/**/*.html")
    }
    public = {f"{face}.{name}".replace(".", "/") for face in FACES for name in names(face)}
    assert {str(page) for page in pages} <= {face.replace(".", "/") for face in FACES} | public
    for face in FACES:
        page = tmp_path / f"{face.replace('.', '/')}.html"
        modules = {path.stem for path in page.with_suffix("").glob("*.html")}
        named = {*re.findall(r'id="(\w+)"', page.read_text()), *modules}
        missing += [f"{face}.{name}" for name in names(face) if name not in named]
    assert missing == []


def takes_anything(hint):
    """Whether a hint has `Any`, however deep, but for the dtype of an array, as of `ArrayLike`."""
    if hint == np.dtype[Any]:
        return False
    parts = hint if isinstance(hint, list | tuple) else typing.get_args(hint)
    return hint is Any or any(map(takes_anything, parts))


def hints(public):
    """The hints of a function; of a class those of its attributes and public methods."""
    if inspect.isfunction(public):
        signature = inspect.signature(public, eval_str=True)
        yield from ((each.name, each.annotation) for each in signature.parameters.values())
        yield "return", signature.return_annotation
    elif inspect.isclass(public):
        yield from inspect.get_annotations(public, eval_str=True).items()
        for name, member in vars(public).items():
            function = getattr(member, "fget", getattr(member, "__func__", member))
            shown = not name.startswith("_")
            # That of a dataclass has its attributes again.
            shown |= name == "__init__" and not dataclasses.is_dataclass(public)
            if inspect.isfunction(function) and shown:
                yield from ((f"{name}.{each}", hint) for each, hint in hints(function))
    else:
        yield "is", public


def unsaid(public):
    """What of a public name may be anything at all, or has parts that may."""
    return [name for name, hint in hints(public) if takes_anything(hint)]


@dataclasses.dataclass
class Planted:
    """What has `Any` in an attribute and in two methods."""

    plain: Mapping[str, int]
    deep: Mapping[str, list[Callable[[Any], int]]]

    @property
    def read(self) -> "Any":
        return self.plain

    @classmethod
    def made(cls, of: dict[str, Any]) -> "Planted":
        return cls({}, of)


def test_public_signatures_say_what_they_take():
    def planted(whole: dict[str, Any], part: Mapping[str, int], loss: Callable[..., Any]) -> Any:
        return whole, part, loss

    assert unsaid(planted) == ["whole", "loss", "return"]
    assert unsaid(Planted) == ["deep", "read.return", "made.of"]
    assert unsaid(Mapping[str, Any]) == ["is"]
    found = {
        f"{face}.{name}: {each}"
        for face in FACES
        for name in names(face)
        for each in unsaid(getattr(sys.modules[face], name))
    }
    # JAX's own hint of a dtype has `type[Any]`, its devices' class is no hint to a checker, and
    # what is no optimizer is refused in words. A bias is None in few networks.
    assert found == {
        "jaxnet.Layer: bias",
        "jaxnet.devices.first: return",
        "jaxnet.devices.provenance: dtype",
        "jaxnet.init: bias",
        "jaxnet.init: dtype",
        "jaxnet.init: initializer",
        "jaxnet.optimizers.join: optimizer",
    }


def narrow(public):
    """What of a public function, or of a class's or a module's, takes a path but no text."""
    if inspect.ismodule(public):
        own = [each for each in vars(public).values() if inspect.isfunction(each)]
        own = [e for e in own if e.__module__ == public.__name__ and e.__name__[0] != "_"]
        return [f"{each.__name__}.{what}" for each in own for what in narrow(each)]
    return [
        what
        for what, hint in hints(public)
        if "Path" in str(hint) and not re.search(r"\bstr\b", str(hint)) and "return" not in what
    ]


def test_paths_are_taken_as_text_too():
    def planted(one: pathlib.Path | None, other: str | pathlib.Path) -> pathlib.Path:
        return one or pathlib.Path(other)

    assert narrow(planted) == ["one"]
    assert [
        f"{face}.{name}: {each}"
        for face in FACES
        for name in names(face)
        for each in narrow(getattr(sys.modules[face], name))
    ] == []

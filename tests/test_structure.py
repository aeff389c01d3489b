"""The rooms and the arrows between them, read off the source of every module."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
# What each room may import of the others, ground floor first: whoever adds one finds its place.
_GROUND = {"errors", "_guards"}
_CORE = {"network", "losses", "batches", "streams", "training", "fitting", "optimizers", "devices"}
_CORE |= {"_models", "spaces", "variables"}
ARROWS = {
    "errors": set(),
    "_guards": {"errors"},
    "network": _GROUND,
    "variables": set(),
    "_models": {"losses", "optimizers", "variables", *_GROUND},
    "losses": {"variables", *_GROUND},
    "batches": _GROUND,
    "devices": {"losses", "variables", *_GROUND},
    "spaces": _GROUND,
    "optimizers": {"losses", "spaces", "variables", *_GROUND},
    "streams": {"batches", *_GROUND},
    "training": {"batches", "losses", "optimizers", "variables", *_GROUND},
    "fitting": {"batches", "losses", "optimizers", "streams", "training", "variables", *_GROUND},
    "audit": {"losses", "network", "variables", *_GROUND},
    "tables": _GROUND,
    "storage": _CORE | _GROUND,
    "doctor": {*_CORE, *_GROUND, "storage"},
    "sklearn": {*_CORE, *_GROUND, "storage"},
    "onnx": {*_CORE, *_GROUND, "storage", "tables"},
    "compare": {*_CORE, *_GROUND, "storage"},
    "report": {*_GROUND, "compare", "storage"},
    "commands": {
        *(*_CORE, *_GROUND, "audit", "compare", "doctor", "onnx"),
        *("report", "sklearn", "storage", "tables"),
    },
    "jaxnet": {*_CORE, *_GROUND},
    "__main__": {*_GROUND, "commands"},
}
# The same of the benchmark's modules: the clock knows nothing, a part knows no part but those it
# measures at other sizes.
_TOOLS = {"machine", "peers", "timing", "work"}
BENCHMARK_ARROWS = {
    "__init__": set(),
    "timing": set(),
    "work": set(),
    "machine": {"timing", "work"},
    "peers": {"machine", "pytorch", "timing", "work"},
    "pytorch": {"machine", "timing", "work"},
    "notebooks": {"peers", "timing", "work"},
    "ablation": {*_TOOLS, "notebooks"},
    "plants": set(),
    "auditing": {"machine", "plants", "timing", "work"},
    "digits": {*_TOOLS, "pytorch"},
    "dropout": {"timing", "work"},
    "large": _TOOLS,
    "honesty": {"timing", "work"},
    "truth": {"honesty", "timing", "work"},
    "scores": {"peers", "timing", "work"},
    "estimators": {"peers", "scores", "timing", "work"},
    "untuned": {"scores", "timing", "work"},
    "starting": _TOOLS,
    "scaling": {*_TOOLS, "notebooks"},
    "memory": {*_TOOLS, "digits", "notebooks"},
    "workers": {"machine", "notebooks", "timing", "work"},
    "targets": {"timing"},
    "results": {"targets", "timing"},
    "__main__": {
        *("ablation", "auditing", "digits", "dropout", "estimators", "honesty", "large"),
        "machine",
        *(
            "memory",
            "notebooks",
            "results",
            "scaling",
            "scores",
            "starting",
            "targets",
            "timing",
            "truth",
            "untuned",
            "work",
            "workers",
        ),
    },
}
# What is measured beside networks of its own.
SHOWN = ("classifier", "regression", "tasks")
CORE_PACKAGES = {"jax", "jaxlib", "numpy", "optax", "jaxtyping"}
# These need no extra: what anyone may import who installed the package alone.
BARE = {"errors", "_guards", "audit", "doctor", "jaxnet", "storage", *_CORE}


def modules(package):
    """The modules of a package by their dotted names, a package's own under its name."""
    found = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


JAXNET, EXPERIMENTS = modules("jaxnet"), modules("experiments")
EVERYTHING = JAXNET | EXPERIMENTS


def imported(source):
    """Every dotted name that a module imports, wherever in it; relative ones with their dots."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield from (f"{base}.{name.name}" for name in node.names)


def packages(source):
    """The top-level packages that a module imports, `jaxnet` among them."""
    return {name.split(".")[0] for name in imported(source)}


def reached(source, known=frozenset(EVERYTHING)):
    """The modules of ours that a module imports, each by the longest name that is a module's."""
    found = set()
    for name in imported(source):
        parts = name.split(".")
        names = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
        found |= {next((each for each in names if each in known), "")} - {""}
    return found


def room(name):
    """The room of a module of jaxnet."""
    return name.split(".")[1] if "." in name else "jaxnet"


def test_the_reader_of_imports_finds_them_all():
    source = """
import jaxnet.report.page as drawn, os.path
from jaxnet import network, __version__
from jaxnet.network import Layer
from . import losses
def late():
    import optax
    if True:
        from jaxnet.audit.gradients import audit
"""
    known = {"jaxnet", "jaxnet.report.page", "jaxnet.network", "jaxnet.audit"}
    assert reached(source, known) == known
    assert packages(source) == {"jaxnet", "os", "optax", ""}
    assert [room(name) for name in ("jaxnet", "jaxnet.network", "jaxnet.a.b")] == [
        *("jaxnet", "network", "a"),
    ]


def test_every_room_has_its_place():
    assert {room(name) for name in JAXNET} == set(ARROWS), "mend the table above"
    names = {name.rpartition(".")[2] for name in EXPERIMENTS if "experiments.benchmark." in name}
    assert {*names, "__init__"} == set(BENCHMARK_ARROWS), "mend the benchmark's table above"


def test_arrows_point_one_way():
    """No room reaches itself along the arrows that the tables allow."""
    assert not circles(ARROWS)
    assert not circles(BENCHMARK_ARROWS)


def circles(arrows):
    """What reaches itself."""
    found = set()
    for start, first in arrows.items():
        seen, ahead = set(), first
        while ahead:
            seen |= ahead
            ahead = {after for name in ahead for after in arrows[name]} - seen
        found |= {start} & seen
    return found


def test_no_module_reaches_itself():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == {"b", "c"}
    assert not circles({name: reached(path.read_text()) for name, path in JAXNET.items()})


def test_a_room_imports_only_what_its_arrows_allow():
    for name, path in JAXNET.items():
        others = {room(other) for other in reached(path.read_text())}
        assert others <= ARROWS[room(name)] | {room(name)}, name


def test_a_room_of_the_benchmark_imports_only_what_its_arrows_allow():
    shown = {"experiments", *(f"experiments.{name}" for name in SHOWN)}
    for name in EXPERIMENTS:
        if ".benchmark" not in name:
            continue
        others = reached(EXPERIMENTS[name].read_text())
        inside = {each.rpartition(".")[2] for each in others if "experiments.benchmark." in each}
        own = "__init__" if name == "experiments.benchmark" else name.rpartition(".")[2]
        assert inside == BENCHMARK_ARROWS[own], name
        assert {each for each in others if not each.startswith("jaxnet")} <= shown | {
            each for each in others if each.startswith("experiments.benchmark")
        }, name


def test_the_library_imports_no_experiment_and_nothing_by_dots():
    for name, path in JAXNET.items():
        assert not packages(path.read_text()) & {"experiments", "tests", ""}, name


def test_what_is_installed_alone_needs_only_its_dependencies():
    for name in JAXNET:
        if room(name) in BARE:
            reaches = packages(JAXNET[name].read_text())
            assert reaches <= CORE_PACKAGES | set(sys.stdlib_module_names) | {"jaxnet"}, name


def test_shape_checking_at_run_time_stays_in_the_tests():
    for name, path in EVERYTHING.items():
        source = path.read_text()
        assert not packages(source) & {"beartype", "typeguard", "pytest", "hypothesis"}, name
        assert not {each for each in imported(source) if "jaxtyped" in each}, name


def undocumented(source):
    """Public functions, classes and methods without a docstring, and the module if without one."""

    def look(node, path):
        if not ast.get_docstring(node):
            yield path or "the module"
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for child in node.body:
                kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
                if isinstance(child, kinds) and not child.name.startswith("_"):
                    yield from look(child, f"{path}.{child.name}".strip("."))

    return list(look(ast.parse(source), ""))


def test_the_reader_of_docstrings_misses_none():
    source = "def f():\n  pass\nclass C:\n  'Said.'\n  def m(self): ...\n  def _n(self): ..."
    assert undocumented(source) == ["the module", "f", "C.m"]


def test_everything_public_is_documented():
    for name, path in JAXNET.items():
        assert undocumented(path.read_text()) == [], name


def test_the_library_alone_loads_nothing_that_can_wait():
    """Plots, tables and command lines are for the experiments, Pallas for traces carried out."""
    imports = "from jaxnet import *; import jaxnet.audit.auditing, jaxnet.compare, jaxnet.storage"
    script = f"import sys; {imports}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    names = set(done.stdout.split())
    assert {"jaxnet.audit.numpy_loss", "jaxnet.compare.fast.products"} <= names
    assert not names & {"jax.extend", "jax.experimental.pallas"}
    packages = {name.partition(".")[0] for name in names}
    assert {"jaxnet", "jax", "optax"} <= packages
    extras = {"matplotlib", "rich", "tyro", "beartype", "onnx", "pyarrow", "sklearn", "experiments"}
    extras |= {"duckdb", "pandas", "openpyxl"}
    assert not packages & extras


def test_programs_are_read_where_they_are_checked_explained_or_rewritten():
    """What JAX promises to nobody: the equations of its programs, by name."""
    readers = {name for name, path in EVERYTHING.items() if ".primitive." in path.read_text()}
    rooms = (
        "jaxnet._guards.jaxprs",
        "jaxnet._guards.reference",
        "jaxnet.audit.",
        "jaxnet.compare.fast.",
    )
    assert readers
    assert all(name.startswith(rooms) for name in readers)

"""The rooms and the arrows between them, read off the source of every module."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = {
    *("errors", "checks", "versions", "network", "losses", "batches", "training", "mistakes"),
    "gradients",
}
# What each module of jaxnet may import of jaxnet: whoever adds a module finds its place here.
ARROWS = {
    "__init__": {"batches", "gradients", "losses", "network", "training", "versions"},
    "errors": set(),
    "versions": set(),
    "checks": set(),
    "files": set(),
    "network": {"devices"},
    "divergence": {"checks"},
    "verify": set(),
    "losses": set(),
    "devices": {"versions"},
    "optimizers": {"training"},
    "batches": {"checks"},
    "mistakes": {"checks", "losses", "network"},
    "finite": {"losses", "mistakes"},
    "gradients": {"checks", "finite", "losses", "mistakes", "versions"},
    "training": {"batches", "checks", "divergence", "losses", "verify", "versions"},
    "models": {"checks", "files", "losses", "network"},
    "report": {"checks"},
    "statistics": {"checks"},
    "tables": {"checks"},
    "fingerprints": {"checks"},
    "checkpoints": {"checks", "fingerprints", "training"},
    "jaxprs": set(),
    "products": {"jaxprs"},
    "reference": {"jaxprs"},
    "sweep": {
        *("batches", "devices", "files", "optimizers", "products", "training", "verify"),
    },
    "runs": set(),
    "inputs": {
        *("checks", "fingerprints", "losses", "optimizers", "sweep", "training", "versions"),
    },
    "verdicts": {"runs", "statistics"},
    "store": {"checks", "files", "runs"},
    "comparison": {
        *("devices", "fingerprints", "inputs", "losses", "optimizers", "runs", "statistics"),
        *("store", "sweep", "verdicts"),
    },
    "answers": {"comparison", "report", "statistics", "verdicts"},
    "pictures": {"checks", "comparison", "report", "statistics"},
    "page": {"answers", "comparison", "files", "pictures", "report", "verdicts"},
}
# The same of the benchmark's package: the clock knows nothing, a part knows no part but those it
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
    "digits": {*_TOOLS, "pytorch"},
    "large": _TOOLS,
    "scores": {"peers", "timing", "work"},
    "starting": _TOOLS,
    "scaling": {*_TOOLS, "notebooks"},
    "memory": {*_TOOLS, "digits", "notebooks"},
    "targets": {"timing"},
    "results": {"targets", "timing"},
    "__main__": {
        *("ablation", "digits", "large", "machine", "memory", "notebooks", "results", "scaling"),
        *("scores", "starting", "targets", "timing", "work"),
    },
}
CORE_PACKAGES = {"jax", "numpy", "optax", "jaxtyping"}


def modules(package):
    return {path.stem: path for path in sorted((ROOT / package).glob("*.py"))}


JAXNET, EXPERIMENTS = modules("jaxnet"), modules("experiments")
BENCHMARK = modules("experiments/benchmark")
EVERYTHING = [*JAXNET.values(), *EXPERIMENTS.values(), *BENCHMARK.values()]


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


def rooms(source, package, known):
    """The modules of a package that a module imports; "" for the package itself."""
    found = (f"{name}." for name in imported(source))
    inside = (
        n.removeprefix(f"{package}.").split(".") for n in found if n.startswith(f"{package}.")
    )
    return {name[0] if name[0] in known else "" for name in inside}


def test_the_reader_of_imports_finds_them_all():
    source = """
import jaxnet.report as drawn, os.path
from jaxnet import checks, __version__
from jaxnet.network import Layer
from . import losses
def late():
    import optax
    if True:
        from jaxnet.gradients import audit
"""
    known = set(JAXNET)
    assert rooms(source, "jaxnet", known) == {"report", "checks", "network", "gradients", ""}
    assert packages(source) == {"jaxnet", "os", "optax", ""}


def test_every_module_has_its_place():
    assert set(JAXNET) - set(ARROWS) == set(), "place the new module in the table above"
    assert set(ARROWS) - set(JAXNET) == set(), "the table lists a module that is gone"
    assert set(BENCHMARK_ARROWS) == set(BENCHMARK), "mend the benchmark's table above"
    found = {
        path for package in ("jaxnet", "experiments") for path in (ROOT / package).rglob("*.py")
    }
    assert found == set(EVERYTHING)


@pytest.mark.parametrize("arrows", [ARROWS, BENCHMARK_ARROWS], ids=["jaxnet", "benchmark"])
def test_arrows_point_one_way(arrows):
    """No module reaches itself along the arrows that the table allows."""
    for module, allowed in arrows.items():
        reached, ahead = set(), allowed
        while ahead:
            reached |= ahead
            ahead = {after for room in ahead for after in arrows[room]} - reached
        assert module not in reached


@pytest.mark.parametrize("module", JAXNET)
def test_a_room_imports_only_what_its_arrows_allow(module):
    # The error that every room may raise is the ground they all stand on.
    allowed = ARROWS.get(module, set()) | {"errors"}
    assert rooms(JAXNET[module].read_text(), "jaxnet", set(JAXNET)) <= allowed


@pytest.mark.parametrize("module", BENCHMARK)
def test_a_room_of_the_benchmark_imports_only_what_its_arrows_allow(module):
    source = BENCHMARK[module].read_text()
    assert rooms(source, "experiments.benchmark", set(BENCHMARK)) == BENCHMARK_ARROWS[module]
    shown = {"", "benchmark", "classifier", "regression"}
    assert rooms(source, "experiments", {*EXPERIMENTS, "benchmark"}) <= shown


@pytest.mark.parametrize("module", JAXNET)
def test_the_library_imports_no_experiment_and_nothing_by_dots(module):
    assert not packages(JAXNET[module].read_text()) & {"experiments", "tests", ""}


@pytest.mark.parametrize("module", sorted(CORE))
def test_the_core_needs_only_its_dependencies(module):
    outside = packages(JAXNET[module].read_text()) - set(sys.stdlib_module_names) - {"jaxnet"}
    assert outside <= CORE_PACKAGES


@pytest.mark.parametrize(
    "module",
    [
        module
        for module in EXPERIMENTS
        # These gather the others.
        if module not in ("__main__", "optimizers")
    ],
)
def test_experiments_do_not_import_each_other(module):
    source = EXPERIMENTS[module].read_text()
    assert rooms(source, "experiments", {*EXPERIMENTS, "benchmark"}) <= {""}
    assert "" not in packages(source)


@pytest.mark.parametrize("path", EVERYTHING, ids=lambda p: p.stem)
def test_shape_checking_at_run_time_stays_in_the_tests(path):
    found = packages(path.read_text()) & {"beartype", "typeguard", "pytest", "hypothesis"}
    assert not found
    assert not {name for name in imported(path.read_text()) if "jaxtyped" in name}


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


@pytest.mark.parametrize("module", JAXNET)
def test_everything_public_is_documented(module):
    assert undocumented(JAXNET[module].read_text()) == []


def test_the_library_alone_loads_nothing_of_its_extras():
    """In a process of its own: plots, tables and command lines are for the experiments."""
    script = "import jaxnet, sys; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    loaded = set(done.stdout.split())
    assert {"jaxnet", "jax", "optax"} <= loaded
    extras = {"matplotlib", "rich", "tyro", "beartype", "pyarrow", "sklearn", "experiments"}
    assert not loaded & extras

"""What is installed is `jaxnet` alone, whole, and does what the README's first block shows."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from test_readme import BLOCKS, ROOT, same

pytestmark = pytest.mark.slow


def run(*command, cwd):
    # Where PYTHONPATH shows pip a checkout, whose jaxnet it takes for installed, it installs none.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env=environment, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build from a copy: setuptools builds in place, and finds again what it built before."""
    source = tmp_path_factory.mktemp("source")
    for name in ("jaxnet", "experiments", "tests"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", ".", ".", cwd=source)
    (built,) = source.glob("*.whl")
    return built


def test_the_wheel_holds_the_library_alone_and_all_of_it(wheel):
    files = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    ours = (path for path in (ROOT / "jaxnet").rglob("*") if path.is_file())
    assert files == {str(path.relative_to(ROOT)) for path in ours if path.suffix != ".pyc"}
    pages = {f"jaxnet/report/{name}" for name in ("page.css", "page.html", "page.js", "table.html")}
    assert {*pages, "jaxnet/py.typed"} <= files


def test_the_first_block_of_the_readme_runs_from_the_wheel(wheel, tmp_path):
    """In an environment that has everything else from this one, but not this checkout."""
    venv.create(tmp_path / "venv", symlinks=True)
    python = tmp_path / "venv" / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", str(python))
    run(*pip, "install", "--no-deps", "--no-index", str(wheel), cwd=tmp_path)
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(run(python, "-I", "-c", where, cwd=tmp_path).strip())
    # A path alone: what makes this environment's own jaxnet editable is not read.
    (site / "others.pth").write_text(sysconfig.get_path("purelib"))
    block, shown = BLOCKS[0]
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    asked = "import jaxnet; print(jaxnet.__file__, jaxnet.__version__)"
    told, printed = run(
        *(python, "-I", "-W", "error", "-c", f"{asked}\n{block}"), cwd=tmp_path
    ).split("\n", 1)
    assert told == f"{site / 'jaxnet' / '__init__.py'} {version}"
    assert same(shown, printed)

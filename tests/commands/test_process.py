"""The command as a process: what it imports, how Ctrl-C, closed pipes and full disks end it."""

import os
import pathlib
import signal
import subprocess
import sys
import time
import tomllib

import pytest

ROOT = pathlib.Path(__file__).parents[2]


def start(*arguments, cwd=ROOT, **more):
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_COMPILATION_CACHE_DIR": "programs"},
        text=True,
        **more,
    )


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["train", "--help"], ["learn"]])
def test_what_needs_no_jax_imports_none(arguments):
    run = f"__main__.run({arguments})"
    code = f"""
import sys
from jaxnet import __main__
from jaxnet.commands import _run
try:
    _run.outcome(lambda: {run})
except SystemExit:
    pass
print([name for name in ("jax", "numpy", "optax", "pyarrow", "rich") if name in sys.modules])
"""
    printed, refused = start("-c", code).communicate()
    assert printed.splitlines()[-1] == "[]", refused


def test_the_version_is_that_of_the_package():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    printed, refused = start("-m", "jaxnet", "--version").communicate()
    assert refused == ""
    assert printed in (f"jaxnet {version}\n", "jaxnet unknown\n")


def test_the_console_script_is_the_module():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, _, name = project["scripts"]["jaxnet"].partition(":")
    code = f"import sys; sys.argv[1:] = ['learn']; from {module} import {name}; {name}()"
    ended = start("-c", code)
    assert "Unrecognized options: learn" in ended.communicate()[1]
    assert ended.returncode == 2


@pytest.mark.parametrize(
    ("command", "moment"),
    [
        ("train digits --epochs 1000000 --output run", 4.0),
        ("compare digits --budget 200", 0.3),
        ("compare digits --budget 200", 2.0),
        *(
            pytest.param("train digits --epochs 1000000 --output run", each, marks=pytest.mark.slow)
            for each in (0.0, 1.0)
        ),
        pytest.param("compare digits --budget 200", 5.0, marks=pytest.mark.slow),
    ],
)
def test_ctrl_c_is_quiet_at_any_moment(tmp_path, command, moment):
    """From when ours is loaded on; before that Python itself starts, which prints a traceback."""
    # Where this process ignores it, as in the background of a script, a process of its would too.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with (tmp_path / "told").open("w") as file:
        ended = subprocess.Popen(
            [sys.executable, "-X", "importtime", "-m", "jaxnet", *command.split()],
            stdout=file,
            stderr=file,
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_COMPILATION_CACHE_DIR": "programs"},
        )
        signal.signal(signal.SIGINT, before)
        try:
            while " jaxnet.commands._run\n" not in (tmp_path / "told").read_text():
                time.sleep(0.01)
            time.sleep(moment)
            ended.send_signal(signal.SIGINT)
            assert ended.wait(timeout=120) == 130
        finally:
            ended.kill()
            ended.wait()
    lines = (tmp_path / "told").read_text().splitlines()
    told = [line for line in lines if not line.startswith("import time:")]
    assert not [line for line in told if not line.startswith("stopped; ")]


def test_ctrl_c_ends_what_would_swallow_it():
    code = """
import signal
from jaxnet.commands import _run

def work():
    try:
        signal.raise_signal(signal.SIGINT)
    except BaseException:
        print("went on")

signal.signal(signal.SIGINT, signal.default_int_handler)
_run.enter(work)
"""
    ended = start("-c", code)
    assert (*ended.communicate(), ended.returncode) == ("", "", 130)


def test_a_closed_pipe_is_quiet():
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(
        [sys.executable, "-m", "jaxnet", "train", "--help"],
        stdout=writer,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        check=False,
    )
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (-signal.SIGPIPE, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="expected a device that is full")
def test_a_full_disk_is_one_line():
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "jaxnet", "--version"],
            stdout=full,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            check=False,
        )
    assert (ended.returncode, ended.stderr) == (2, b"error: output: No space left on device\n")

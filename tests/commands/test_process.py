"""The command as a process: what it imports, how Ctrl-C, closed pipes and full disks end it."""

import os
import pathlib
import signal
import subprocess
import sys
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


def test_what_needs_no_jax_imports_none():
    """One command after the other, in one process."""
    commands = [
        *("--version", "--help", "train --help", "learn"),
        "train digits --hidden 10000000000",
        "train digits --epochs 2147483647",
        "compare digits --hidden 10000000000",
        "compare digits --budget 1000000",
        "compare digits --steps 2000000000",
    ]
    code = f"""
import sys
from jaxnet import __main__
from jaxnet.commands import _outcomes
late, loaded = ("jax", "numpy", "optax", "pyarrow", "rich"), []
for command in {commands}:
    try:
        _outcomes.outcome(lambda: __main__.run(command.split()))
    except SystemExit:
        pass
    loaded += [(command, name) for name in late if name in sys.modules]
print(loaded)
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


# What has a process send itself Ctrl-C as it first imports a module, or first calls a function.
AS_IT_IMPORTS = """
class Finder:
    def find_spec(name, path, target=None):
        if name == {place!r}:
            sys.meta_path.remove(Finder)
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder)
"""
AS_IT_CALLS = """
import importlib
module, _, name = {place!r}.partition(":")
*owner, name = name.split(".")
owner = functools.reduce(getattr, owner, importlib.import_module(module))
plain = getattr(owner, name)
def interrupted(*arguments, **named):
    setattr(owner, name, plain)
    os.kill(os.getpid(), signal.SIGINT)
    return plain(*arguments, **named)
setattr(owner, name, interrupted)
"""
TRAIN = "train iris --output run --epochs 1"
COMPARE = "compare iris --output run --optimizers adam --budget 2 --replicates 6 --steps 5"


@pytest.mark.parametrize(
    ("command", "place", "told"),
    [
        (TRAIN, "jaxnet.commands._run", ""),
        (TRAIN, "jax", ""),
        (COMPARE, "jaxnet.tables:read", ""),
        *(
            pytest.param(command, place, told, marks=pytest.mark.slow)
            for command, place, told in [
                (TRAIN, "tyro", ""),
                (TRAIN, "jaxnet.commands.train", ""),
                (TRAIN, "jaxnet.tables:read", ""),
                (TRAIN, "jaxnet.commands._folders:write", "target             target"),
                (COMPARE, "jaxnet.commands.compare", ""),
                (COMPARE, "jax.stages:Lowered.compile", "stopped; what is done is kept in run"),
                (COMPARE, "jaxnet.report:write_page", "stopped; what is done is kept in run"),
                (COMPARE, "jaxnet.commands.compare:show", ""),
            ]
        ),
    ],
)
def test_ctrl_c_is_quiet_at_any_moment(tmp_path, command, place, told):
    """From when ours is loaded on; before that Python itself starts, which prints a traceback."""
    moment = (AS_IT_CALLS if ":" in place else AS_IT_IMPORTS).format(place=place)
    # A program that is found in the cache again may print what it was compiled for.
    quiet = "os.environ['JAX_ENABLE_COMPILATION_CACHE'] = 'false'"
    run = f"sys.argv[1:] = {command.split()}; from jaxnet.__main__ import main; main()"
    # Where this process ignores it, as in the background of a script, a process of its would too.
    heard = "signal.signal(signal.SIGINT, signal.default_int_handler)"
    ended = start(
        "-c", f"import functools, os, signal, sys\n{heard}\n{quiet}\n{moment}\n{run}", cwd=tmp_path
    )
    printed, refused = ended.communicate()
    assert (ended.returncode, refused) == (130, "")
    assert printed.startswith(told)
    assert bool(printed) == bool(told)


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

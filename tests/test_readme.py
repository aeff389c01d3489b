"""What the README and the guide show is what runs: their Python blocks print their text blocks."""

import functools
import os
import pathlib
import re
import shlex
import subprocess
import sys
import types

import jax
import numpy as np
import pytest
from test_structure import ARROWS

from jaxnet import __main__
from jaxnet.commands import _outcomes

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
GUIDES = {
    name: (ROOT / "docs" / f"{name}.md").read_text()
    for name in ("cluster", "doctor", "gradients", "models", "sklearn", "tables", "training")
}
EXPORT = (ROOT / "docs" / "export.md").read_text()
BLOCK = re.compile(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", re.S)
BLOCKS = BLOCK.findall(README)
NUMBER = re.compile(r"-?\d+\.?\d*(?:e[-+]?\d+)?")


def same(shown, printed):
    """Words alike, numbers within 2 in a hundred; what rounding makes, below 1e-4, may differ."""
    if NUMBER.sub("#", " ".join(shown.split())) != NUMBER.sub("#", " ".join(printed.split())):
        return False
    pairs = zip(NUMBER.findall(shown), NUMBER.findall(printed), strict=True)
    return all(
        abs(float(a) - float(b)) <= 0.02 * abs(float(a)) or max(abs(float(a)), abs(float(b))) < 1e-4
        for a, b in pairs
    )


@pytest.mark.slow
@pytest.mark.parametrize("page", [README, *GUIDES.values()], ids=["README", *GUIDES])
def test_blocks_print_what_is_shown(page, tmp_path):
    """Run in a process of its own, with JAX as a reader has it, every block after the last."""
    blocks = BLOCK.findall(page)
    code = ""
    for number, (block, _) in enumerate(blocks):
        path = tmp_path / f"block_{number}.py"  # a file, since an audit reads its lines
        path.write_text(block)
        code += f"exec(compile({block!r}, {str(path)!r}, 'exec'))\nprint('=' * 9)\n"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed = done.stdout.split("=" * 9 + "\n")[:-1]
    for (block, shown), got in zip(blocks, printed, strict=True):
        assert same(shown, got), f"{block}\nshown:\n{shown}\nprinted:\n{got}"


def test_the_comparison_of_blocks_can_fail():
    assert same("loss 0.750 of 1", "loss  0.751\nof 1")
    assert not same("loss 0.750", "loss 0.80")
    assert not same("loss 0.750", "cost 0.750")
    assert not same("error 1e-2", "error 1e-9")


def test_running_code_and_its_numbers_come_before_line_20():
    before = README[: README.index(BLOCKS[0][1])] + BLOCKS[0][1]
    assert NUMBER.search(BLOCKS[0][1])
    assert before.count("\n") < 20


def test_it_is_short():
    assert README.count("\n") <= 150


@pytest.mark.parametrize("words", ["-m experiments", "-m pytest"])
def test_both_commands_start_from_nothing(words):
    commands = [line for line in README.splitlines() if line.startswith("python3 -m venv .venv")]
    assert sum(line.endswith(words) for line in commands) == 1


def test_continuous_integration_runs_the_test_command():
    script = (ROOT / ".ci" / "run").read_text()
    pattern = re.search(r"grep -x '(.*)' README.md", script)[1]
    assert sum(bool(re.fullmatch(pattern, line)) for line in README.splitlines()) == 1


def houses(folder):
    """Write a table of 60 houses, some of whose cells are gaps."""
    rng = np.random.default_rng(0)
    area = rng.uniform(50, 200, 60)
    rows = [f"{each:.1f},{rng.choice(['old', 'new'])},{2 * each:.1f}" for each in area]
    rows[::9] = [f",,{2 * each:.1f}" for each in area[::9]]
    (folder / "houses.csv").write_text("\n".join(["area,age,price", *rows]))


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.slow
def test_commands_do_what_is_shown(tmp_path, monkeypatch, capfd):
    """In the order of the README, in one folder; the comparison with fewer runs than it has."""
    monkeypatch.chdir(tmp_path)
    # Devices are as many as the other tests have, and compiled programs are not kept.
    monkeypatch.setattr(jax.config, "update", lambda *_: None)
    houses(tmp_path)
    (tmp_path / "mine.py").write_text(next(block for block, _ in BLOCKS if "audit(" in block))
    fewer = {"compare": shlex.split("--optimizers adam --budget 2 --replicates 6 --tuning-seeds 1")}
    codes, printed = {}, {}
    for name, words in re.findall(r"\.venv/bin/jaxnet (\w+) ([^\n`]*)", README):
        arguments = [name, *shlex.split(words), *fewer.get(name, [])]
        with jax.numpy_rank_promotion("allow"):
            codes[name] = _outcomes.outcome(functools.partial(__main__.run, arguments))
        printed[name] = "".join(capfd.readouterr())
    assert codes == {"audit": 1, "train": 0, "predict": 0, "compare": 0}, printed
    assert "activation derivative missing" in printed["audit"]
    lines = "".join(printed.values()).splitlines()
    assert [line for line in lines if len(line) > 80] == []
    assert (tmp_path / "predictions.csv").read_text().count("\n") == 61


@pytest.mark.slow
def test_the_guide_s_command_prints_what_its_block_does(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    block, shown = BLOCK.findall(GUIDES["gradients"])[0]
    (tmp_path / "mine.py").write_text(block)
    (words,) = re.findall(r"^jaxnet (audit .*)", GUIDES["gradients"], re.M)
    assert _outcomes.outcome(functools.partial(__main__.run, shlex.split(words))) == 1
    printed, refused = capfd.readouterr()
    assert refused == ""
    assert max(map(len, printed.splitlines())) <= 80
    assert same(shown * 2, printed)  # the file prints it itself, and then the command


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.slow
def test_each_way_out_gives_what_is_shown(tmp_path, monkeypatch, capfd):
    """The guide's commands in one folder, and then its blocks, each after the last."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(jax.config, "update", lambda *_: None)
    houses(tmp_path)
    for words in re.findall(r"^jaxnet (.*)", EXPORT, re.M):
        with jax.numpy_rank_promotion("allow"):
            assert _outcomes.outcome(functools.partial(__main__.run, shlex.split(words))) == 0
    capfd.readouterr()
    names = {}
    for block, shown in BLOCK.findall(EXPORT):
        exec(block, names)
        printed, _ = capfd.readouterr()
        assert same(shown, printed), f"{block}\nshown:\n{shown}\nprinted:\n{printed}"


@pytest.mark.slow
def test_the_commands_of_many_processes_do_what_is_shown(tmp_path):
    """The guide's in one folder, with fewer runs, and a scheduler of our own."""
    distributed = pytest.importorskip("distributed")
    small = {
        "compare": "--optimizers adam --budget 2 --replicates 6 --tuning-seeds 1 --epochs 1",
        "train": "--hidden 8 --epochs 1",
    }
    settings = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None}
    commands = re.findall(r"^jaxnet (.*)", GUIDES["cluster"], re.M)
    commands += re.findall(r"`jaxnet (train --resume [^`]*)`", GUIDES["cluster"])
    with distributed.LocalCluster(**settings) as cluster:
        for command in commands:
            words = command.replace("tcp://head:8786", cluster.scheduler_address)
            more = [] if "--resume" in words else shlex.split(small[words.split()[0]])
            done = subprocess.run(
                [sys.executable, "-m", "jaxnet", *shlex.split(words), *more],
                capture_output=True,
                text=True,
                cwd=tmp_path,
                check=False,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
            )
            assert done.returncode == 0, (command, done.stderr)
    assert len(commands) == 5


def test_the_map_is_the_table_of_arrows():
    rows = re.findall(r"^\| `jaxnet\.(\w+)` \|.*\| (.*) \|$", README, re.M)
    rooms = {name for name, _ in rows}
    public = {name for name in ARROWS if not name.startswith("_")}
    assert rooms == {name for name in public if (ROOT / "jaxnet" / name).is_dir()}
    for name, told in rows:
        outer = ARROWS[name] & rooms
        core = ARROWS[name] - rooms - {"errors", "_guards"}
        knows = ["the core"] * bool(core) + [f"`{each}`" for each in sorted(outer)]
        everything = outer == rooms - {name} and core
        assert told == ("all of them" if everything else ", ".join(knows) or "none of these")


def test_figures_of_speed_are_the_benchmark_s():
    found = (ROOT / "experiments" / "benchmark" / "README.md").read_text()
    section = README.split("## How fast")[1].split("##")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")]
    assert len(rows) == 5
    assert [row for row in rows if row not in found.splitlines()] == []
    where = re.search(r"On (.*) of an (.*), Python (.*), jax (.*), ([-\d]*)\.", section).groups()
    assert [fact for fact in where if not re.search(rf"{re.escape(fact)}(?!\.?\w)", found)] == []


@pytest.mark.parametrize(
    "path",
    [
        "README.md",
        "CONTRIBUTING.md",
        "docs/cluster.md",
        "docs/export.md",
        "docs/gradients.md",
        "docs/league.md",
        "docs/tables.md",
        "experiments/benchmark/README.md",
    ],
)
def test_links_lead_somewhere(path):
    links = re.findall(r"\]\(([^)#:]*)\)", (ROOT / path).read_text())
    assert [link for link in links if not (ROOT / path).parent.joinpath(link).is_file()] == []


def read_tensorboard(names):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    names["writer"].close()
    events = EventAccumulator("runs/1").Reload()
    (tag,) = events.Tags()["tensors"]
    assert tag == "loss"
    return [(each.step, float(each.tensor_proto.float_val[0])) for each in events.Tensors(tag)]


def read_mlflow(names):
    client, run = names["mlflow"].MlflowClient(), names["mlflow"].active_run()
    names["mlflow"].end_run()
    history = client.get_metric_history(run.info.run_id, "loss")
    return [(each.step, each.value) for each in history]


def read_wandb(names):
    """What a run says of itself before it is synchronised: its last step, and what it told then."""
    run = names["run"]
    run.log({})  # the next step, with which the last is through
    last = run.step - 1, run.summary["loss"]
    run.finish()
    return [(1, 0.0), (2, 1.0), last]


@pytest.mark.slow
@pytest.mark.parametrize("tracker", [read_tensorboard, read_mlflow, read_wandb])
def test_a_tracker_is_told_of_each_epoch_once(tracker, tmp_path, monkeypatch):
    """As the guide tells it, of a run seen after one epoch, after three, and at its end."""
    name = tracker.__name__.removeprefix("read_")
    pytest.importorskip(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "runs").as_uri())
    (telling,) = (
        block
        for block, _ in BLOCK.findall(GUIDES["training"])
        if "each_epoch" in block.split("(")[0]
    )
    (block,) = re.findall(rf"```py\n(import {name}.*?)```", GUIDES["training"], re.S)
    names = {}
    exec(telling + block, names)
    for epochs in (1, 3, 3):
        names["log"](types.SimpleNamespace(history={"loss": np.arange(epochs, dtype=np.float32)}))
    assert tracker(names) == [(1, 0.0), (2, 1.0), (3, 2.0)]

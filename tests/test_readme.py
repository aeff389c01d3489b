"""What the README shows is what runs: its Python blocks print its text blocks."""

import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", README, re.S)
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


def test_blocks_print_what_is_shown(tmp_path):
    """Run in a process of its own, with JAX as a reader has it, every block after the last."""
    code = "\n".join(f"{block}\nprint('=' * 9)" for block, _ in BLOCKS)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed = done.stdout.split("=" * 9 + "\n")[:-1]
    for (block, shown), got in zip(BLOCKS, printed, strict=True):
        assert same(shown, got), f"{block}\nshown:\n{shown}\nprinted:\n{got}"


def test_the_comparison_of_blocks_can_fail():
    assert same("loss 0.750 of 1", "loss  0.751\nof 1")
    assert not same("loss 0.750", "loss 0.80")
    assert not same("loss 0.750", "cost 0.750")
    assert not same("error 1e-2", "error 1e-9")


def test_running_code_comes_before_line_20():
    assert README.split("```text")[0].count("\n") < 25
    assert BLOCKS[0][1].strip()


@pytest.mark.parametrize("words", ["-m experiments", "-m pytest"])
def test_both_commands_start_from_nothing(words):
    commands = [line for line in README.splitlines() if line.startswith("python3 -m venv .venv")]
    assert sum(line.endswith(words) for line in commands) == 1


def test_continuous_integration_runs_the_test_command():
    script = (ROOT / ".ci" / "run").read_text()
    pattern = re.search(r"grep -x '(.*)' README.md", script)[1]
    assert sum(bool(re.fullmatch(pattern, line)) for line in README.splitlines()) == 1

"""`jaxnet audit FILE`: verdict, exit code, and errors of the user's own code as theirs."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from few import first_of

from jaxnet import __main__
from jaxnet.commands import _outcomes, audit
from jaxnet.commands.settings import Audit
from jaxnet.errors import InputError

pytestmark = pytest.mark.usefixtures("unchecked")
WHOLE = """
import jax, jax.numpy as jnp, numpy as np

random = np.random.default_rng(0)
params = {"w": np.float32(random.normal(size=3)), "b": np.float32(0.5)}
batch = (np.float32(random.normal(size=(5, 3))), np.float32(random.normal(size=5)))


def loss(params, batch):
    x, y = batch
    return jnp.mean((x @ params["w"] + params["b"] - y) ** 2)


def gradient(params, batch):
    x, y = batch
    error = x @ params["w"] + params["b"] - y
    return {"w": 2 * x.T @ error / len(y), "b": 2 * error.mean()}
"""


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Audit a file of that code: its exit code, what it printed, and what it said was wrong."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(jax.config, "update", lambda *_: None)

    def run(code, name="mine.py"):
        (tmp_path / "mine.py").write_text(code)
        return _outcomes.outcome(lambda: audit.main(Audit(Path(name)))), *capsys.readouterr()

    return run


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (Audit(Path("no.py")), "no.py: expected a Python file"),
        (Audit(Path("file")), "file: expected a Python file"),
        (Audit(Path("file"), params="x,,y"), "file: expected names, with commas"),
    ],
)
def test_what_cannot_be_asked_is_refused(asked, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    with pytest.raises(InputError, match=words):
        audit.run(asked)


def test_a_right_gradient_ends_with_0(call):
    code, printed, refused = call(WHOLE)
    assert (code, refused) == (0, "")
    assert "2 right, of 2 parameters over 5 examples in float32" in printed


@pytest.mark.parametrize(
    "claim", ["gradient(params, batch)", "jax.grad(loss)", "jax.grad(loss)(params, batch)"]
)
def test_a_claim_may_be_numbers_or_a_function(call, claim):
    assert call(f"{WHOLE}\ngradient = {claim}")[0] == 0


def test_a_wrong_gradient_ends_with_1_and_its_diagnosis(call):
    code, printed, refused = call(WHOLE.replace("@ error / len(y)", "@ error"))
    assert (code, refused) == (1, "")
    assert "summed over the batch where the loss takes the mean" in printed
    assert "1 right, 1 wrong" in printed


def test_from_python_it_is_the_audit_itself(tmp_path):
    (tmp_path / "mine.py").write_text(WHOLE)
    assert audit.run(Audit(tmp_path / "mine.py")).right


def test_a_network_of_a_neighbour_has_layers(call, tmp_path):
    (tmp_path / "network_beside.py").write_text(
        "import numpy as np\n\n\n"
        "def squares(params, batch):\n"
        "    h = np.tanh(batch[0] @ params['W1'])\n"
        "    return float(np.mean((h @ params['W2'] - batch[1]) ** 2))\n"
    )
    _, printed, _ = call(
        "import numpy as np\nfrom network_beside import squares\n"
        "random = np.random.default_rng(0)\n"
        "params = {'W1': random.normal(size=(3, 4)), 'W2': random.normal(size=(4, 1))}\n"
        "batch = random.normal(size=(6, 3)), random.normal(size=(6, 1))\n"
        "gradient = {name: np.zeros_like(value) for name, value in params.items()}\n\n\n"
        "def loss(params, batch):\n    return squares(params, batch)\n"
    )
    assert "zero, where the gradient is not" in printed
    assert "could not be traced" not in printed


def test_a_neighbour_is_imported(call, tmp_path):
    (tmp_path / "beside_the_audited.py").write_text("TWICE = 2")
    told = call(f"from beside_the_audited import TWICE\n{WHOLE.replace('2 * x.T', 'TWICE * x.T')}")
    assert told[0] == 0


@pytest.mark.parametrize(
    ("code", "line", "last"),
    [
        (f"{WHOLE}\n1 / 0", "    1 / 0", "ZeroDivisionError: division by zero"),
        (f"{WHOLE}\nx = = 3", "    x = = 3", "SyntaxError: invalid syntax"),
        (f"{WHOLE}\nimport no_such_module", "import no_such", "No module named 'no_such_module'"),
        (f"{WHOLE}\nraise SystemExit", "    raise SystemExit", "SystemExit"),
        (f"{WHOLE}\nopen('no.csv')", "    open('no.csv')", "No such file or directory: 'no.csv'"),
        (WHOLE.replace("x.T @ error", "x @ error"), '"w": 2 * x @ error', "Error: "),
        (WHOLE.replace('((x @ params["w"] +', "((y @ x +"), "jnp.mean((y @ x +", "Error: "),
        (f"{WHOLE}\ndef loss(p, b): return undefined", "return undefined", "NameError: name"),
    ],
)
def test_an_error_of_theirs_is_shown_as_theirs(call, code, line, last):
    ended, printed, shown = call(code)
    assert (ended, printed) == (2, "")
    assert 'mine.py", line ' in shown
    assert line in shown
    assert last in shown
    # Theirs alone: no line of ours, of JAX or of what imports modules.
    assert all("mine.py" in each for each in shown.splitlines() if each.startswith('  File "'))
    assert shown.splitlines()[-1].startswith("error: mine.py: expected code that runs; it raised ")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (
            "",
            "mine.py: expected loss, gradient, params, batch, got no loss, no gradient, no params",
        ),
        (WHOLE.replace("def gradient", "def claimed"), "what it is called, as by --gradient NAME"),
        ("x = 1\0", "mine.py: expected Python, got what is none: source code"),
        (f"{WHOLE}\nloss = 3", "expected loss, a function of (params, batch), got int"),
        (f"{WHOLE}\nparams = {{}}", "params: expected at least one array"),
        (f"{WHOLE}\nbatch = np.full(3, np.nan)", "batch: expected finite values"),
        (f"{WHOLE}\ngradient = 1.0", "claimed: expected the structure of params"),
        (
            f"from jaxnet import network\n{WHOLE}\nnetwork.init(jax.random.key(0), [0])",
            "mine.py, line 20: sizes: expected",
        ),
    ],
)
def test_bad_input_is_one_line(call, code, words):
    ended, printed, refused = call(code)
    assert (ended, printed) == (2, "")
    assert refused.startswith("error: ")
    assert refused.count("\n") == 1
    assert words in refused


def test_a_fault_of_ours_keeps_its_traceback(call, monkeypatch):
    def broken(*_):
        raise TypeError("planted")

    monkeypatch.setattr(audit.gradients, "audit", broken)
    with pytest.raises(TypeError, match="planted"):
        call(WHOLE)


NOTEBOOK = [
    "%matplotlib inline\n!pip install numpy\nimport numpy as np\nimport math",
    "%%bash\nrm -rf everything",
    "%%time\nrandom = np.random.default_rng(0)\nW = random.normal(size=(2, 3))\n",
    "X = random.normal(size=(3, 5))\nY = random.normal(size=(2, 5))\nfiles = !ls\nnp.dot?",
    "def cost(params, X, Y):\n    return np.sum((params[0] @ X - Y) ** 2) / X.shape[1]",
    "def backward(params, X, Y):\n    return [2 * (params[0] @ X - Y) @ X.T / X.shape[1]]",
    "name = input('your name')\ndisplay(W)\ntext = ('%s'\n% name)\nparams = [W]",
    "if __name__ == '__main__':\n    raise SystemExit('asked for by nobody')",
]
NAMES = ["--loss", "cost", "--gradient=backward", "--batch", "X, Y"]


def notebook(path, cells):
    """Write a notebook of these cells of code, with one of text between any two."""
    text = {"cell_type": "markdown", "source": ["# Not code: 1 /"]}
    code = [{"cell_type": "code", "source": each.splitlines(keepends=True)} for each in cells]
    whole = [cell for each in code for cell in (text, each)]
    path.write_text(json.dumps({"cells": whole, "metadata": {}, "nbformat": 4}))


@pytest.fixture
def open_notebook(tmp_path, monkeypatch, capsys):
    """Audit a notebook of these cells, as `call` does."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(jax.config, "update", lambda *_: None)

    def run(cells, *options):
        notebook(tmp_path / "mine.ipynb", cells)
        settings = __main__._settings(["audit", "mine.ipynb", *options])
        return _outcomes.outcome(lambda: audit.main(settings)), *capsys.readouterr()

    return run


def test_a_notebook_is_run_cell_by_cell_without_its_magics(open_notebook):
    code, printed, refused = open_notebook(NOTEBOOK, *NAMES)
    assert (code, refused) == (0, "")
    assert "1 right, of 1 parameters over 5 examples" in printed
    wrong = [each.replace("X.T / X.shape[1]", "X.T") for each in NOTEBOOK]
    code, printed, refused = open_notebook(wrong, *NAMES)
    assert (code, refused) == (1, "")
    assert "summed over the batch where the loss takes the mean" in printed


def test_an_error_in_a_notebook_is_shown_in_its_cell(open_notebook):
    code, _, shown = open_notebook([*NOTEBOOK, "a = 1\nb = undefined"], *NAMES)
    assert code == 2
    assert 'mine.ipynb, cell 9", line 2' in shown
    assert "    b = undefined" in shown
    code, _, shown = open_notebook([*NOTEBOOK, "a = = 1"], *NAMES)
    assert code == 2
    assert 'mine.ipynb, cell 9", line 1' in shown


def test_what_is_no_notebook_is_refused(open_notebook, tmp_path):
    for text in ("no json", "[]", '{"cells": [{}]}'):
        (tmp_path / "other.ipynb").write_text(text)
        code = _outcomes.outcome(lambda: audit.main(Audit(Path("other.ipynb"))))
        assert code == 2
    assert (
        "got no backwards; define each"
        in open_notebook(NOTEBOOK, *NAMES, "--gradient=backwards")[2]
    )


def test_names_of_the_users_own(tmp_path):
    (tmp_path / "mine.py").write_text(WHOLE.replace("batch = (", "x, y = (").replace("loss(", "J("))
    settings = Audit(tmp_path / "mine.py", loss="J", batch="x,y")
    assert audit.run(settings).right


# --- as a process


@pytest.fixture
def start(tmp_path):
    """Start the command on a file of that code, in a session of its own, where Ctrl-C is heard."""
    started = []

    def run(code, *options):
        (tmp_path / "mine.py").write_text(code)
        arguments = [*MAIN, "audit", "mine.py", *options]
        process = subprocess.Popen(
            arguments,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
            start_new_session=True,
        )
        started.append(process)
        return process

    yield run
    for each in started:
        each.kill()
        each.communicate()


HEARD = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
# As the installed command does, -P leaves the folder it is started in out of the path.
MAIN = [sys.executable, "-P", "-c", f"{HEARD}; from jaxnet.__main__ import main; main()"]


def test_the_exit_code_and_the_verdict_come_through(start, tmp_path):
    (tmp_path / "random.py").write_text("raise AssertionError('a neighbour in the way')")
    process = start(WHOLE.replace("@ error / len(y)", "@ error"), "--timeout=300")
    printed, refused = process.communicate()
    assert (process.returncode, refused) == (1, "")
    assert "summed over the batch where the loss takes the mean" in printed


@first_of(
    ("code", "words"),
    [
        ("import os; os.kill(os.getpid(), 11)", "code that runs; its process was ended by SIGSEGV"),
        ("import os; os.kill(os.getpid(), 9)", "ended by SIGKILL, as where memory runs out"),
        ("raise MemoryError", "expected code that runs; it raised MemoryError, above"),
    ],
)
def test_however_the_file_ends_it_is_a_line(start, code, words):
    process = start(f"print('begun')\n{code}")
    printed, refused = process.communicate()
    assert (process.returncode, printed) == (2, "begun\n")
    last = refused.splitlines()[-1]
    assert last.startswith("error: mine.py: ")
    assert words in last


@pytest.mark.slow
def test_a_file_that_never_ends_is_a_line(start):
    process = start("while True: pass", "--timeout=3")
    _, refused = process.communicate()
    assert process.returncode == 2
    words = "expected an audit within 3 seconds, got none; give --timeout more"
    assert words in refused.splitlines()[-1]


@first_of("end", [os.kill, os.killpg])
def test_ctrl_c_ends_both_processes_quietly(start, end):
    """Of a terminal, which tells both, and of a script, which tells the one that it started."""
    process = start("import os\nprint(os.getpid())\nwhile True: pass")
    inner = int(process.stdout.readline())
    assert inner != process.pid
    end(process.pid, signal.SIGINT)
    assert (*process.communicate(), process.returncode) == ("", "", 130)
    with pytest.raises(ProcessLookupError):
        os.kill(inner, 0)


@pytest.mark.slow
def test_an_audit_ends_in_time_though_nobody_waits_for_it(start):
    process = start("print('begun')\nwhile True: pass", "--timeout=3")
    assert process.stdout.readline() == "begun\n"
    process.kill()
    # There is no end of its output before it is gone as well.
    assert process.communicate(timeout=60) == ("", "")

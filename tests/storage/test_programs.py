"""Evidence for programs: what JAX alone loads, of any number of rows, whole or refused."""

import functools
import importlib.util
import json
import subprocess
import sys

import damage
import equinox
import jax
import numpy as np
import oracles
import pytest

from jaxnet import network
from jaxnet.errors import FunctionError, InputError
from jaxnet.storage import files, models, programs

PARAMS = network.init(jax.random.key(0), [3, 4, 2])
X = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
ELSEWHERE = """
import json, pathlib, sys
import jax, numpy as np
folder = pathlib.Path(sys.argv[1])
(name,) = json.loads((folder / "program.json").read_text())["files"]
program = jax.export.deserialize(bytearray((folder / name).read_bytes()))
x = np.load(folder / "x.npy")
for rows in (1, 7):
    print(json.dumps(program.call(x[:rows]).tolist()))
assert "jaxnet" not in sys.modules
"""


def elsewhere(folder):
    """What a process without jaxnet computes of one row and of seven."""
    np.save(folder / "x.npy", X)
    command = [sys.executable, "-I", "-c", "import jax.export\n" + ELSEWHERE, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [np.array(json.loads(line)) for line in done.stdout.splitlines()]


def record(folder):
    return json.loads((folder / "program.json").read_text())


@pytest.mark.slow
def test_another_process_runs_it_on_any_number_of_rows(tmp_path):
    programs.write(tmp_path, models.forward("tanh"), PARAMS, X[0])
    expected = oracles.forward(jax.device_get(PARAMS), X, "tanh")[1][-1]
    one, seven = elsewhere(tmp_path)
    assert np.allclose(one, expected[:1], atol=1e-6, rtol=0)
    assert np.allclose(seven, expected, atol=1e-6, rtol=0)
    assert record(tmp_path)["program"] == {
        "platforms": ["cpu", "cuda", "tpu"],
        "inputs": ["float32[N, 3]"],
        "outputs": ["float32[N, 2]"],
        "jax": jax.__version__,
    }
    (hidden, output) = PARAMS
    transposed = hidden._replace(weight=hidden.weight[:, ::-1]), output
    programs.write(tmp_path, models.forward("tanh"), transposed, X[0])
    assert not np.allclose(elsewhere(tmp_path)[1], expected, atol=1e-3)
    assert len(list(tmp_path.glob("program*"))) == 2


def test_a_model_of_equinox_is_one_too(tmp_path):
    model = equinox.nn.MLP(3, 2, 4, 1, key=jax.random.key(0))
    programs.write(tmp_path, lambda model, x: model(x), model, X[0])
    weights = [(np.asarray(each.weight), np.asarray(each.bias)) for each in model.layers]
    expected = oracles.forward(weights, X, "relu")[1][-1]
    assert np.allclose(programs.read(tmp_path).call(X), expected, atol=1e-6, rtol=0)


def test_a_function_that_draws_while_it_is_trained_draws_nothing(tmp_path):
    def forward(params, x, key):
        assert key is None
        return params * x

    programs.write(tmp_path, forward, 2.0, X[0])
    assert np.array_equal(programs.read(tmp_path).call(X), 2 * X)


def test_examples_may_be_trees(tmp_path):
    def forward(params, x):
        return {"sum": x["a"].sum() + params * x["b"].astype(float)}

    x = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.arange(2, dtype=np.int32)}
    programs.write(tmp_path, forward, np.float32(2), jax.tree.map(lambda leaf: leaf[0], x))
    got = programs.read(tmp_path).call(x)
    assert np.array_equal(got["sum"], x["a"].sum(1) + 2 * x["b"])


def test_platforms_that_cannot_have_it_are_left_out(tmp_path):
    def forward(params, x):
        return jax.scipy.linalg.schur(params * x[:, None] * x[None])[0]

    programs.write(tmp_path, forward, np.float32(1), X[0])
    assert record(tmp_path)["program"]["platforms"] == ["cpu"]
    assert programs.read(tmp_path).platforms == ("cpu",)


def calling(params, x):
    return jax.pure_callback(np.asarray, x, x, vmap_method="expand_dims")


def printing(params, x):
    jax.debug.print("{}", x)
    return x


def in_numpy(params, x):
    return np.sin(x)


def branching(params, x):
    return x if x[0] > 0 else -x


def a_layer(params, x):
    return network.Layer(x, x)


@pytest.mark.parametrize(
    ("forward", "words"),
    [
        (calling, "one that calls Python or prints; leave that out"),
        (printing, "one that calls Python or prints"),
        (in_numpy, r"in jax.numpy, .* got NumPy in in_numpy \(test_programs.py:"),
        (branching, "TracerBoolConversionError"),
        (a_layer, "unregistered type .* arrays, or tuples, lists or dicts"),
        (functools.partial(network.forward, PARAMS), "expected a function of"),
        (3, "expected a function of .params, x., got int"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_cannot_be_exported_is_refused_in_a_line(tmp_path, forward, words):
    with pytest.raises(InputError, match=f"^forward: .*{words}") as refused:
        programs.write(tmp_path / "program", forward, PARAMS, X[0])
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_an_example_is_of_arrays(tmp_path):
    with pytest.raises(InputError, match=r"^example: expected .* got float"):
        programs.write(tmp_path, network.forward, PARAMS, 1.0)


@pytest.mark.usefixtures("unchecked")
def test_what_the_function_refuses_is_said(tmp_path):
    with pytest.raises(FunctionError, match=r"^forward: .*x: expected one example of shape \[3\]"):
        programs.write(tmp_path, network.forward, PARAMS, X)


def test_a_damaged_program_is_refused(tmp_path):
    programs.write(tmp_path / "program", network.forward, PARAMS, X[0])
    others = {path.name: [b"", b"{}"] for path in (tmp_path / "program").iterdir()}
    for _, path in damage.drawn(tmp_path / "program", tmp_path / "copy", others):
        with pytest.raises(InputError, match=r"folder: expected a program in .*program(-\w+)?\."):
            programs.read(path.parent)
    files.write_record(tmp_path / "copy" / "program.json", {}, {})
    with pytest.raises(InputError, match="got another record"):
        programs.read(tmp_path / "copy")


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"flatbuffers.*jaxnet-lab\[export\]"):
        programs.write(tmp_path / "program", network.forward, PARAMS, X[0])
    with pytest.raises(ImportError, match=r"jaxnet-lab\[export\]"):
        programs.read(tmp_path)
    assert not (tmp_path / "program").exists()

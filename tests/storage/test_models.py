"""Evidence for models: whole or none, at every moment."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnet import network
from jaxnet.errors import InputError
from jaxnet.storage import files, models

FIRST = network.init(jax.random.key(0), [2, 3, 1])
SECOND = network.init(jax.random.key(1), [2, 3, 1])


class Killed(BaseException):
    pass


@pytest.mark.parametrize("steps", range(4))
def test_a_model_is_written_whole_or_not_at_all(steps, tmp_path, monkeypatch):
    """The process ends before or after any of the two files is on the disk, or in its place."""
    models.write(tmp_path, FIRST, {"which": 1})
    done = []

    def until(function):
        def call(*arguments):
            if len(done) == steps:
                raise Killed
            done.append(None)
            return function(*arguments)

        return call

    with monkeypatch.context() as patch:
        for name in ("fsync", "replace"):
            patch.setattr(files.os, name, until(getattr(files.os, name)))
        with pytest.raises(Killed):
            models.write(tmp_path, SECOND, {"which": 2})
    params, about = models.read(tmp_path)
    assert about == {"which": 1}
    assert all(map(np.array_equal, jax.tree.leaves(params), jax.tree.leaves(FIRST)))
    models.write(tmp_path, SECOND, {"which": 2})
    params, about = models.read(tmp_path)
    assert about == {"which": 2}
    assert all(map(np.array_equal, jax.tree.leaves(params), jax.tree.leaves(SECOND)))
    assert len(list(tmp_path.iterdir())) == 2


def test_a_broken_model_is_refused(tmp_path):
    models.write(tmp_path, FIRST, {})
    (weights,) = tmp_path.glob("weights-*")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(InputError, match=rf"folder: expected a model in .*; {weights}: expected"):
        models.read(tmp_path)
    with pytest.raises(InputError, match=r"expected a model in .*nothing.*, got No such file"):
        models.read(tmp_path / "nothing")


def test_accuracy_is_weighed_as_rows_are():
    """A row of weight 0 is as none, of weight 2 as two."""
    accuracy = models.accuracy(lambda params, x: params * x)
    x, y = jnp.eye(3), jnp.array([0, 1, 0])
    weights = jnp.array([2.0, 0.0, 1.0])
    repeated = x[jnp.array([0, 0, 2])], y[jnp.array([0, 0, 2])]
    assert accuracy(jnp.ones(3), (x, y, weights)) == accuracy(jnp.ones(3), repeated)
    assert np.isclose(accuracy(jnp.ones(3), (x, y, weights)), 2 / 3)


def test_a_model_of_an_older_version_is_refused(tmp_path):
    old = '{"format": "jaxnet model 1", "weights": "weights-0.safetensors", "about": {}}'
    (tmp_path / "model.json").write_text(old)
    with pytest.raises(InputError, match=r"of an older version or damaged; make it again"):
        models.read(tmp_path)


def test_another_sealed_record_is_no_model(tmp_path):
    files.write_record(tmp_path / "model.json", {"about": {}}, {})
    with pytest.raises(InputError, match=r"folder: expected a model in .*another record"):
        models.read(tmp_path)


def test_a_network_without_biases_is_read_back(tmp_path):
    params = network.init(jax.random.key(0), [2, 3, 1], bias=None)
    models.write(tmp_path, params, {})
    again, _ = models.read(tmp_path)
    assert jax.tree.structure(again) == jax.tree.structure(params)
    assert all(map(np.array_equal, jax.tree.leaves(again), jax.tree.leaves(params)))

"""Evidence that no damage to what is stored goes unseen, nor gives another answer."""

import re

import damage
import jax
import numpy as np
import optax
import pytest

from jaxnet import fitting, network
from jaxnet.errors import InputError
from jaxnet.storage import Checkpoints, arrays, models

PARAMS = network.init(jax.random.key(0), [3, 4, 2])


@pytest.mark.usefixtures("standard_promotion")
def test_damaged_checkpoints_are_passed_over_or_refused(tmp_path):
    template = fitting.begin(optax.adam(0.1), PARAMS)

    def save(folder, description, count):
        for number in range(count):
            with Checkpoints(folder, description) as saved:
                saved.save(template._replace(message=f"{description['run']}{number}"))

    save(tmp_path / "run", {"run": "ours", "rates": [0.1, 0.2]}, 5)
    save(tmp_path / "other", {"run": "theirs", "rates": [0.1, 0.3]}, 5)
    contents = {path: path.read_bytes() for path in tmp_path.rglob("*.safetensors")}
    others = {
        path.name: [content for other, content in contents.items() if content != contents[path]]
        for path in contents
    }

    def outcome(path):
        try:
            with Checkpoints(path.parent, {"run": "ours", "rates": [0.1, 0.2]}) as saved:
                run, passed = saved.restore(template)
        except InputError as error:
            return "refused" if path.name in str(error) else "refused without its name"
        assert run.message.startswith("ours")
        assert passed or run.message == "ours4"
        return "passed over" if passed else "not read"

    outcomes = set()
    for kind, path in damage.drawn(tmp_path / "run", tmp_path / "copy", others):
        ended = outcome(path)
        outcomes.add((kind, ended))
        if ended == "not read":
            # An older one, that nobody needed: until it is the newest.
            for newer in range(int(path.stem) + 1, 5):
                path.with_stem(str(newer)).unlink()
            assert outcome(path) != "not read"
    assert {ended for _, ended in outcomes} == {"refused", "passed over", "not read"}
    assert not {("removed", "not read"), ("renamed", "not read")} & outcomes


def test_a_damaged_model_is_refused(tmp_path):
    about = {"activation": "tanh", "scores": {"test": {"loss": 0.5}}, "empty": []}
    models.write(tmp_path / "model", PARAMS, about)
    models.write(tmp_path / "other", network.init(jax.random.key(1), [3, 4, 2]), about)
    others = {}
    for path in (tmp_path / "model").iterdir():
        (other,) = (tmp_path / "other").glob(f"*{path.suffix}")
        others[path.name] = [other.read_bytes()]
    words = r"folder: expected a model in .*(model|weights-\w+)\."
    for _, path in damage.drawn(tmp_path / "model", tmp_path / "copy", others):
        with pytest.raises(InputError, match=words):
            models.read(path.parent)


def test_damaged_arrays_are_refused_and_those_beside_them_read(tmp_path):
    generator = np.random.default_rng(0)
    names = [f"{name}.safetensors" for name in ("a", "b")]
    for folder in ("ours", "theirs"):
        for name in names:
            content = {"losses": generator.normal(size=(3, 4)), "failed": np.full(3, -1)}
            arrays.write(tmp_path / folder / name, content, {"folder": folder})
    twin = {names[0]: names[1], names[1]: names[0]}
    # Another of the folder, and any of another one's but of its own name: arrays know no folder.
    others = {
        name: [(tmp_path / folder / other).read_bytes() for folder in ("ours", "theirs")]
        for name, other in twin.items()
    }
    for _, path in damage.drawn(tmp_path / "ours", tmp_path / "copy", others):
        with pytest.raises(InputError, match=f"^{re.escape(str(path))}: expected the file"):
            arrays.read(path)
        beside = twin[path.name]
        whole, record = arrays.read(path.with_name(beside))
        assert record == {"folder": "ours"}
        kept, _ = arrays.read(tmp_path / "ours" / beside)
        assert all(whole[key].tobytes() == kept[key].tobytes() for key in kept)

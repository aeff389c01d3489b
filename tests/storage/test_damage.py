"""Evidence that no damage to what is stored goes unseen, nor gives another answer."""

import shutil
import warnings
from collections import Counter

import damage
import jax
import numpy as np
import optax
import pytest

from jaxnet import fitting, network
from jaxnet.compare import sweep
from jaxnet.errors import InputError
from jaxnet.storage import Checkpoints, models

PARAMS = network.init(jax.random.key(0), [3, 4, 2])


def tell(outcomes):
    """Print how often damages of each kind ended how; seen with `-s`."""
    print(*sorted(Counter(outcomes).items()), sep="\n")
    return Counter(outcome for _, outcome in outcomes)


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

    outcomes = []
    for kind, path in damage.drawn(tmp_path / "run", tmp_path / "copy", others):
        outcomes.append((kind, outcome(path)))
        if outcomes[-1][1] == "not read":
            # An older one, that nobody needed: until it is the newest.
            for newer in range(int(path.stem) + 1, 5):
                path.with_stem(str(newer)).unlink()
            assert outcome(path) != "not read"
    counts = tell(outcomes)
    assert counts.total() == damage.COUNT
    assert counts.keys() == {"refused", "passed over", "not read"}
    assert all((kind, "not read") not in outcomes for kind in ("removed", "renamed"))


def test_a_damaged_model_is_refused(tmp_path):
    about = {"activation": "tanh", "scores": {"test": {"loss": 0.5}}, "empty": []}
    models.write(tmp_path / "model", PARAMS, about)
    models.write(tmp_path / "other", network.init(jax.random.key(1), [3, 4, 2]), about)
    others = {}
    for path in (tmp_path / "model").iterdir():
        (other,) = (tmp_path / "other").glob(f"*{path.suffix}")
        others[path.name] = [other.read_bytes()]
    outcomes = []
    for kind, path in damage.drawn(tmp_path / "model", tmp_path / "copy", others):
        with pytest.raises(
            InputError, match=r"folder: expected a model in .*(model|weights-\w+)\."
        ):
            models.read(path.parent)
        outcomes.append((kind, "refused"))
    assert tell(outcomes) == {"refused": damage.COUNT}


def test_a_damaged_tile_is_made_again(tmp_path):
    generator = np.random.default_rng(0)
    names = [f"{name}.safetensors" for name in ("a", "b")]
    for folder in ("ours", "theirs"):
        for name in names:
            tile = {"training": generator.normal(size=(3, 4)), "diverged": np.full(3, -1)}
            sweep._write(tmp_path / folder / name, tile)
    theirs = [path.read_bytes() for path in (tmp_path / "theirs").iterdir()]
    twin = {names[0]: names[1], names[1]: names[0]}
    others = {
        name: [*theirs, (tmp_path / "ours" / other).read_bytes()] for name, other in twin.items()
    }
    outcomes = []
    # Of the same name, by which a tile tells whose it is.
    for kind, path in damage.drawn(tmp_path / "ours", tmp_path / "copy" / "ours", others):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            tiles = {name: sweep._read(path.with_name(name)) for name in names}
        assert tiles[path.name] is None
        assert tiles[twin[path.name]] is not None
        told = [str(each.message) for each in caught]
        assert all(each.startswith(f"a tile is done again: {path}: expected") for each in told)
        assert len(told) == (kind not in ("removed", "renamed"))
        outcomes.append((kind, "done again"))
    assert tell(outcomes) == {"done again": damage.COUNT}


def test_the_damages_are_damages(tmp_path):
    """Each of every kind leaves a folder that is not what it was, in one file."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.json").write_text('{"a": [1, {"b": null}]}')
    before, kinds = {"a.json": (folder / "a.json").read_bytes()}, set()
    for kind, path in damage.drawn(folder, tmp_path / "copy", {"a.json": [b"{}"]}, 80):
        after = {each.name: each.read_bytes() for each in path.parent.iterdir()}
        assert after != before
        kinds.add(kind)
    assert kinds == set(damage.KINDS)
    shutil.rmtree(folder)

"""Evidence for checkpoints: to the last bit, whatever happens to the files and to the process."""

import functools
import itertools
import os
import pickle
import random
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from few import some_of

from jaxnet import fitting, losses, network, streams, training
from jaxnet.errors import InputError
from jaxnet.storage import arrays, checkpoints, fingerprints

ROOT = Path(__file__).parents[2]
FORWARD = functools.partial(network.forward, activation=jnp.tanh)
LOSS = losses.BatchLoss(FORWARD, optax.losses.l2_loss)
OPTIMIZERS = {
    "sgd": optax.sgd(0.1),
    "momentum": optax.sgd(0.1, momentum=0.9),
    "adam": optax.adam(1e-2),
    "chain": optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(optax.cosine_decay_schedule(0.1, 20))
    ),
    "lbfgs": optax.lbfgs(memory_size=3),
}
SUFFIX = ".safetensors"
DESCRIPTION = {"sizes": [3, 4, 2], "optimizer": {"name": "adam", "learning_rate": 0.01}}


def problem(rows=23, dtype=np.float32):
    """Parameters 3-4-2 and data, in NumPy."""
    generator = np.random.default_rng(0)
    params = tuple(
        network.Layer(
            generator.normal(size=(o, i)).astype(dtype), generator.normal(size=o).astype(dtype)
        )
        for i, o in itertools.pairwise((3, 4, 2))
    )
    x, y = generator.normal(size=(rows, 3)), generator.normal(size=(rows, 2))
    return jax.tree.map(jnp.asarray, params), (x.astype(dtype), y.astype(dtype))


def begun(optimizer, params):
    """A run before its first step, such as a template is."""
    none, loss = jnp.zeros((), jnp.int32), jnp.zeros((), jax.tree.leaves(params)[0].dtype)
    run = training.Run(training.start(optimizer, params), loss, loss, none - 1)
    return fitting.Fit(fitting.Progress(run, params, loss, *[none] * 4), {}, "running")


def run(optimizer, params, data, epochs=4, **settings):
    """A run with validation, on data in memory or on a stream."""
    x, y = problem(8, jax.tree.leaves(params)[0].dtype)[1]
    metrics = {"value": LOSS}
    if not callable(data):
        settings["batch_size"] = 5
    settings |= {"epochs": epochs, "seed": 1, "validation": (x, y), "metrics": metrics}
    # Optimizers of optax raise floats to integers.
    with jax.numpy_dtype_promotion("standard"):
        return fitting.fit(LOSS, optimizer, params, data, **settings)


def bits(leaf):
    if isinstance(leaf, str):
        return leaf
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return str(leaf.dtype), leaf.shape, np.asarray(leaf).tobytes()


def same(ours, theirs):
    """To the last bit, and of one structure."""
    return jax.tree.structure(ours) == jax.tree.structure(theirs) and all(
        bits(a) == bits(b)
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
    )


def restored(folder, template, description=DESCRIPTION):
    with checkpoints.Checkpoints(folder, description) as saved:
        return saved.restore(template)


def save(folder, *runs, description=DESCRIPTION):
    """Save runs one by one; give the names of the checkpoints in the folder, oldest first."""
    for now in runs:
        with checkpoints.Checkpoints(folder, description) as saved:
            saved.save(now)
    return sorted((path.name.removesuffix(SUFFIX) for path in folder.iterdir()), key=int)


# What comes back is what went in.


@some_of(
    ("name", "dtype"),
    [(name, np.float32) for name in OPTIMIZERS],
    ("adam", np.float64),
    ("chain", np.float32),
)
def test_a_run_comes_back_to_the_last_bit(name, dtype, tmp_path):
    with jax.enable_x64(dtype == np.float64):
        params, data = problem(dtype=dtype)
        done = run(OPTIMIZERS[name], params, data)
        assert done.outcome == "finished"
        save(tmp_path, done)
        back, passed = restored(tmp_path, begun(OPTIMIZERS[name], params))
        assert passed == []
        assert same(back, done)
        assert list(back.history) == list(done.history)
        assert back.history.keys() == {"loss", "validation_loss", "validation_value"}
        assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(back.progress))


def test_a_run_that_diverged_comes_back(tmp_path):
    """With its message, with nothing of a history, or with what is not a number in it."""
    params, data = problem()
    with pytest.warns(RuntimeWarning, match="the state before it is kept"):
        done = run(optax.sgd(1e38), params, data)
    assert done.outcome == "diverged"
    values = np.array([np.nan, -np.nan, np.inf, -0.0], np.float32)
    strange = done._replace(history={"a/b": values, "c.d": np.zeros(0, np.float32), "": values})
    for now in (done, done._replace(history={}), strange):
        save(tmp_path, now)
        back, _ = restored(tmp_path, begun(optax.sgd(1e38), params))
        assert same(back, now)


def test_arrays_of_every_kind_come_back(tmp_path):
    """Keys, half precision, no elements, integers, and arrays of NumPy."""
    state = {
        "key": jax.random.key(3),
        "keys": jax.random.split(jax.random.key(4, impl="rbg"), 3),
        "half": jnp.arange(3, dtype=jnp.bfloat16),
        "none": jnp.zeros((0, 2)),
        "bool": jnp.array([True, False]),
        "host": np.arange(6.0).reshape(2, 3).T,
    }
    plain = begun(optax.sgd(0.1), problem()[0])
    state = training.State(plain.params, state)
    progress = plain.progress._replace(run=plain.progress.run._replace(state=state))
    save(tmp_path, plain._replace(progress=progress))
    empty = jax.tree.map(lambda leaf: leaf, progress)
    empty.run.state.opt_state["host"] = np.zeros((3, 2))
    empty.run.state.opt_state["key"] = jax.random.key(0)
    back, _ = restored(tmp_path, plain._replace(progress=empty))
    assert same(back.progress, progress)
    assert isinstance(back.progress.run.state.opt_state["host"], np.ndarray)


def test_a_run_over_several_devices_comes_back_to_its_places(four_cpus, tmp_path):
    params, data = problem()
    mesh = jax.make_mesh((4,), ("rows",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("rows"))
    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())

    def place(leaf):
        return jax.device_put(leaf, spread if np.shape(leaf)[:1] == (4,) else everywhere)

    optimizer = OPTIMIZERS["adam"]
    done = run(optimizer, params, data)
    placed = done._replace(progress=jax.tree.map(place, done.progress))
    save(tmp_path, placed)
    template = begun(optimizer, params)
    spread_out = template._replace(progress=jax.tree.map(place, template.progress))
    back, _ = restored(tmp_path, spread_out)
    assert same(back, done)
    for ours, theirs in zip(jax.tree.leaves(back), jax.tree.leaves(placed), strict=True):
        if isinstance(ours, jax.Array):
            assert ours.sharding == theirs.sharding
    # Of another number of devices, and uncommitted, so that it goes with any.
    back, _ = restored(tmp_path, template)
    assert same(back, done)
    assert not any(leaf.committed for leaf in jax.tree.leaves(back.progress))
    settings = {"epochs": 6, "sharding": spread}
    going = back._replace(outcome="running")
    assert run(optimizer, params, data, resume=going, **settings).outcome == "finished"


def test_what_changes_after_a_save_is_not_saved(tmp_path):
    now = begun(optax.sgd(0.1), problem()[0])._replace(history={"loss": np.ones(3)})
    with checkpoints.Checkpoints(tmp_path, {}) as saved:
        saved.save(now)
        now.history["loss"][:] = 2.0
        back, _ = saved.restore(now)
    assert same(back.history, {"loss": np.ones(3)})


# A run that goes on is the run that never stopped.


class StoppedError(Exception):
    """As Ctrl-C would."""


@some_of(
    ("name", "kind"),
    [(name, "memory") for name in ("adam", "chain", "lbfgs")],
    ("chain", "stream"),
)
def test_a_resumed_run_is_the_uninterrupted_run(name, kind, tmp_path, monkeypatch):
    """Stopped after every chunk; those of the stream end within epochs."""
    monkeypatch.setattr(streams, "_STACK", 2 * 5 * 5)
    params, rows = problem()
    data = rows if kind == "memory" else streams.stream(rows, 5, seed=1)
    optimizer, template = OPTIMIZERS[name], begun(OPTIMIZERS[name], params)
    whole = run(optimizer, params, data)
    places = []

    def on_progress(now):
        saved.save(now)
        places.append((int(now.progress.epoch), int(now.progress.steps)))
        if len(places) % 2:
            raise StoppedError

    now = None
    while now is None:
        try:
            with checkpoints.Checkpoints(tmp_path, DESCRIPTION) as saved:
                checkpoint = saved.restore(template)
                resume = checkpoint[0] if checkpoint else None
                now = run(optimizer, params, data, resume=resume, on_progress=on_progress)
        except StoppedError:
            pass
    assert same(now, whole)
    assert len(set(places)) >= 3
    assert any(steps for _, steps in places) == (kind == "stream")


# What is kept, and what waits.


def test_the_newest_three_are_kept(tmp_path):
    now = begun(optax.sgd(0.1), problem()[0])
    runs = [now._replace(message=str(i)) for i in range(12)]
    assert save(tmp_path, *runs[:2]) == ["0", "1"]
    assert save(tmp_path, *runs[2:]) == ["9", "10", "11"]
    assert restored(tmp_path, now)[0].message == "11"


def test_a_save_does_not_wait_and_the_newest_is_written(tmp_path, monkeypatch):
    now = begun(optax.sgd(0.1), problem()[0])
    going, free, written = threading.Event(), threading.Event(), []
    write = arrays.write

    def slow(path, leaves, record):
        going.set()
        assert free.wait(60)
        written.append(record["message"])
        write(path, leaves, record)

    monkeypatch.setattr(arrays, "write", slow)
    with checkpoints.Checkpoints(tmp_path, {}) as saved:
        saved.save(now._replace(message="first"))
        assert going.wait(60)
        for message in "abc":
            saved.save(now._replace(message=message))
        assert written == []
        free.set()
        assert saved.restore(now)[0].message == "c"
    assert written == ["first", "c"]


def test_the_newest_is_read_once_and_the_others_not_at_all(tmp_path, monkeypatch):
    """Where it is opened; and again where others may have been written since, or it was given."""
    now = begun(optax.sgd(0.1), problem()[0])
    save(tmp_path, *(now._replace(message=str(i)) for i in range(3)))
    names, read = [], arrays.read
    monkeypatch.setattr(arrays, "read", lambda path: names.append(path.stem) or read(path))
    with checkpoints.Checkpoints(tmp_path, DESCRIPTION) as saved:
        assert saved.restore(now)[0].message == "2"
        assert names == ["2"]
        assert saved.restore(now)[0].message == "2"
        assert names == ["2", "2"]
    with checkpoints.Checkpoints(tmp_path, DESCRIPTION) as saved:
        saved.save(now._replace(message="3"))
        assert saved.restore(now)[0].message == "3"


def test_a_write_that_fails_is_told(tmp_path):
    now = begun(optax.sgd(0.1), problem()[0])
    told = "expected to write this file, got .*; make room"
    folder = tmp_path / "run"
    saved = checkpoints.Checkpoints(folder, {})
    shutil.rmtree(folder)
    folder.write_text("no folder")
    saved.save(now)
    with pytest.raises(OSError, match=told):
        saved.__exit__()
    folder.unlink()
    with checkpoints.Checkpoints(folder, {}) as saved:
        shutil.rmtree(folder)
        folder.write_text("no folder")
        saved.save(now)
        [write] = saved._writes
        assert write.exception(60)
        folder.unlink()
        with pytest.raises(OSError, match=told):
            saved.save(now)
        saved.save(now)
    assert restored(folder, now, {})[1] == []


# Whatever happens to the files.


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """A folder with three checkpoints, the runs in them, and a template."""
    folder, (params, data) = tmp_path_factory.mktemp("three"), problem()
    optimizer = OPTIMIZERS["adam"]
    runs = [run(optimizer, params, data, epochs=epochs) for epochs in (1, 2, 3)]
    assert save(folder, *runs) == ["0", "1", "2"]
    return folder, runs, begun(optimizer, params)


def flip(path, where=0.5):
    """One bit of one byte."""
    content = bytearray(path.read_bytes())
    content[int(where * (len(content) - 1))] ^= 4
    path.write_bytes(content)


def shorten(path):
    path.write_bytes(path.read_bytes()[:-1])


def halve(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def garble(path):
    path.write_bytes(random.Random(0).randbytes(path.stat().st_size))


def folder_instead(path):
    path.unlink()
    path.mkdir()


DAMAGE = {
    "flip the first": functools.partial(flip, where=0),
    "flip": flip,
    "flip the last": functools.partial(flip, where=1),
    "shorten": shorten,
    "halve": halve,
    "empty": lambda path: path.write_bytes(b""),
    "garble": garble,
    "delete": Path.unlink,
    "a folder instead": folder_instead,
}


def files(folder):
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_seen_and_the_checkpoint_before_used(damage, three, tmp_path):
    folder, runs, template = three
    copy = shutil.copytree(folder, tmp_path / "copy")
    DAMAGE[damage](copy / f"2{SUFFIX}")
    back, passed = restored(copy, template)
    assert same(back, runs[1])
    if damage == "delete":
        assert passed == []
    else:
        assert len(passed) == 1
        assert passed[0].startswith(
            f"{copy / '2.safetensors'}: expected the file that jaxnet wrote"
        )
        assert "\n" not in passed[0]


def test_a_run_goes_on_past_a_damaged_checkpoint(three, tmp_path):
    folder, runs, template = three
    copy = shutil.copytree(folder, tmp_path / "copy")
    flip(copy / f"2{SUFFIX}")
    shorten(copy / f"1{SUFFIX}")
    back, passed = restored(copy, template)
    assert same(back, runs[0])
    assert [Path(line.partition(":")[0]).stem for line in passed] == ["2", "1"]
    assert save(copy, runs[2]) == ["1", "2", "3"]
    back, passed = restored(copy, template)
    assert same(back, runs[2])
    assert passed == []


def test_a_folder_in_the_place_of_an_old_one_stays(three, tmp_path):
    """It is not ours: removing it would end the run."""
    folder, runs, template = three
    copy = shutil.copytree(folder, tmp_path / "copy")
    folder_instead(copy / f"0{SUFFIX}")
    assert save(copy, runs[2]) == ["0", "1", "2", "3"]
    assert same(restored(copy, template)[0], runs[2])


def test_one_that_was_removed_is_missed(three, tmp_path):
    """Once three are kept there are always three: even if it was the newest."""
    folder, runs, template = three
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert save(copy, runs[0]) == ["1", "2", "3"]
    (copy / f"3{SUFFIX}").unlink()
    back, passed = restored(copy, template)
    assert same(back, runs[2])
    assert passed == ["0.safetensors: missing; it or a newer one was removed"]


def test_damaged_checkpoints_alone_are_an_error(three, tmp_path):
    folder, _, template = three
    copy = shutil.copytree(folder, tmp_path / "copy")
    for path in copy.iterdir():
        path.write_bytes(b"")
    told = r"(?s)got damaged ones alone.*\n  .*2\.safe.*\n  .*1\.safe.*\n  .*0\.safe"
    with pytest.raises(InputError, match=told):
        restored(copy, template)


def test_what_a_killed_process_left_is_named_and_cleared(three, tmp_path):
    folder, runs, template = three
    half = tmp_path / "copy" / f".1{SUFFIX}.123.456.half"
    half.parent.mkdir()
    shutil.copy(folder / f"1{SUFFIX}", half)
    assert restored(half.parent, template) is None
    assert not half.exists()
    shutil.copy(folder / f"0{SUFFIX}", half.parent)
    shutil.copy(folder / f"1{SUFFIX}", half)
    back, passed = restored(half.parent, template)
    assert same(back, runs[0])
    assert passed == [f"{half.name}: half written, by a run that was killed"]
    assert list(half.parent.iterdir()) == [half.parent / f"0{SUFFIX}"]
    assert restored(half.parent, template)[1] == []


def test_checkpoints_of_an_older_version_are_refused(tmp_path):
    (tmp_path / "3").mkdir()
    (tmp_path / "3" / "record.json").write_text("{}")
    with pytest.raises(InputError, match=r"this version of jaxnet, got .*3 of an older one; to st"):
        checkpoints.Checkpoints(tmp_path, DESCRIPTION)


def test_an_empty_folder_has_no_checkpoint(tmp_path):
    assert restored(tmp_path / "new" / "folder", begun(optax.sgd(0.1), problem()[0])) is None
    (tmp_path / "notes.txt").write_text("not ours")
    assert restored(tmp_path, begun(optax.sgd(0.1), problem()[0])) is None


# Another run is refused.


def test_another_description_is_refused_with_what_differs(tmp_path):
    now = begun(optax.sgd(0.1), problem()[0])
    ours = {"sizes": (64, 32), "optimizer": {"name": "sgd", "rate": 0.1}, "data": "ab", "none": []}
    save(tmp_path, now, description=ours)
    other = {"sizes": [64, 16, 8], "optimizer": {"name": "sgd", "rate": 0.2}, "seed": 1, "none": []}
    with pytest.raises(InputError, match="description: expected this run") as caught:
        checkpoints.Checkpoints(tmp_path, other)
    assert str(caught.value).split("\n")[1:] == [
        "  optimizer.rate: expected 0.2, got 0.1",
        "  seed: expected 1, got nothing",
        "  sizes.1: expected 16, got 32",
        "  sizes.2: expected 8, got nothing",
        '  data: expected nothing, got "ab"',
    ]
    # Refused as long as one record can be read; equal as JSON is equal.
    save(tmp_path, now, description=ours)
    flip(tmp_path / f"1{SUFFIX}")
    with pytest.raises(InputError, match="description"):
        checkpoints.Checkpoints(tmp_path, other)
    assert restored(tmp_path, now, ours | {"sizes": [64, 32]})


def test_another_template_is_refused_with_what_differs(three):
    folder, _, template = three
    params, _ = problem()
    wider = (params[0], network.Layer(jnp.ones((5, 4)), params[1].bias))
    for other, message in [
        (
            begun(OPTIMIZERS["adam"], wider),
            'params[1].weight: expected "float32[5, 4]", got "float',
        ),
        (begun(OPTIMIZERS["adam"], params[:1]), "params[1].weight: expected nothing, got "),
        (begun(OPTIMIZERS["sgd"], params), "opt_state[0].count: expected nothing, got "),
        (
            begun(OPTIMIZERS["momentum"], params),
            'trace[0].bias: expected "float32[4]", got nothing',
        ),
        (jax.tree.map(lambda x: x.astype(jnp.float16) if x.ndim else x, template.progress), "f"),
    ]:
        other_run = other if isinstance(other, fitting.Fit) else template._replace(progress=other)
        with pytest.raises(
            InputError, match="template: expected this run, got checkpoint"
        ) as caught:
            restored(folder, other_run)
        assert message in str(caught.value)
        assert str(folder / f"2{SUFFIX}") in str(caught.value)


@pytest.mark.parametrize("other", [{"a": {"0": 1}}, {"a": [True]}, {"a": [1], "b": {}}, {}])
def test_descriptions_that_look_alike_are_told_apart(other, tmp_path):
    save(tmp_path, begun(optax.sgd(0.1), problem()[0]), description={"a": [1]})
    with pytest.raises(InputError, match="description: expected this run"):
        checkpoints.Checkpoints(tmp_path, other)


@pytest.mark.parametrize(
    "bad", [{"a": np.ones(2)}, {"a": {1, 2}}, {"a": b"x"}, {"a": {(1, 2): 3}}, {"a": np.nan}]
)
def test_a_description_that_is_not_json_is_refused(bad, tmp_path):
    with pytest.raises(InputError, match="description: expected plain JSON"):
        checkpoints.Checkpoints(tmp_path, bad)


def test_another_file_under_the_name_of_a_checkpoint_is_passed_over(tmp_path):
    now = begun(optax.sgd(0.1), problem()[0])
    save(tmp_path, now)
    arrays.write(tmp_path / f"1{SUFFIX}", {"a": np.ones(2)}, {"x": 1})
    back, passed = restored(tmp_path, now)
    assert same(back, now)
    assert "another file of jaxnet's" in passed[0]


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="folder: expected a folder"):
            checkpoints.Checkpoints(path, {})


def test_fingerprints_tell_data_apart(tmp_path):
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    mapped = np.memmap(tmp_path / "x", np.float32, "w+", shape=(3, 4))
    mapped[:] = x
    for equal in (
        x.copy(),
        mapped,
        jnp.asarray(x),
        np.asfortranarray(x),
        np.stack([x, x], -1)[..., 0],
    ):
        assert fingerprints.of_data(equal) == fingerprints.of_data(x)
    nudged = x.copy()
    nudged[2, 3] = np.nextafter(nudged[2, 3], 99)
    different = [
        x,
        nudged,
        x.reshape(4, 3),
        x.view(np.int32),
        x[:2],
        -x + 2 * x,
        x.T,
        (x,),
        (x, x),
        {"a": x},
        {"b": x},
        {"a": x[:1], "b": x[1:]},
        {"a": x[:2], "b": x[2:]},
        x.astype(jnp.bfloat16),
        np.where(x == 0, np.float32(-0.0), x),
    ]
    prints = [fingerprints.of_data(data) for data in different]
    assert prints[0] == prints[5]
    assert len(set(prints)) == len(prints) - 1
    assert all(len(text) == 64 for text in prints)
    with pytest.raises(InputError, match="data"):
        fingerprints.of_data({"a": np.array(["x"])})


# What it does not do.


def test_nothing_is_unpickled(three, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a pickle")

    for name in ("load", "loads", "Unpickler", "dump", "dumps", "Pickler"):
        monkeypatch.setattr(pickle, name, refuse)
    folder, runs, template = three
    assert same(restored(folder, template)[0], runs[2])
    for path in (ROOT / "jaxnet" / "storage").iterdir():
        code = path.read_text() if path.suffix == ".py" else ""
        for word in ("pickle", "marshal", "dill", "joblib", "eval(", "exec(", "np.load", "np.save"):
            assert word not in code


# Whatever happens to the process.

BATCHES = 5


def run_and_save(folder, steps, pause):
    """Go on with a run until it is through, saving after every step; say where it went on."""
    streams._STACK = 1
    params, rows = problem(5 * BATCHES - 2)
    optimizer, epochs = OPTIMIZERS["adam"], -(-steps // BATCHES)
    stream = streams.stream(rows, 5, seed=1)
    with checkpoints.Checkpoints(folder / "run", DESCRIPTION) as saved:
        resume, passed = saved.restore(begun(optimizer, params)) or (None, [])
        where = resume.progress if resume else None
        step = BATCHES * int(where.epoch) + int(where.steps) if where else 0
        steps_done = itertools.count(1)

        def on_progress(now):
            saved.save(now)
            # All is compiled by then, so that what is killed is steps and writes.
            if next(steps_done) == BATCHES + 2:
                print(step, *passed, sep="|", flush=True)
            time.sleep(pause)

        done = run(optimizer, params, stream, epochs=epochs, resume=resume, on_progress=on_progress)
        saved.save(done)
    arrays = {str(i): np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(done[:2]))}
    np.savez(folder / "done.npz", **arrays)


def survive(folder, kills, steps, seed=0):
    """Start the run, kill it at a random moment, `kills` times; then let it be through.

    Gives what was left at the end, and for each start where it went on and what it passed over.
    """
    random_moment, went_on = random.Random(seed), []
    folder.mkdir()
    command = [sys.executable, "-m", "tests.storage.test_checkpoints", str(folder), str(steps)]
    # The first run, which is not killed, compiles for all of them.
    programs = {
        "JAX_COMPILATION_CACHE_DIR": str(folder.parent / "programs"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "PYTHONPATH": str(ROOT / "tests"),
    }
    for kill in range(kills + 1):
        # Those to be killed pause so long that the steps last for all of them.
        pause = "0.02" if kill < kills else "0"
        with subprocess.Popen(
            [*command, pause],
            cwd=ROOT,
            env=os.environ | programs,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout
            went_on.append(process.stdout.readline().strip())
            if kill < kills:
                try:
                    process.wait(random_moment.uniform(0, 0.4))
                except subprocess.TimeoutExpired:
                    process.kill()
        assert process.returncode == (-9 if kill < kills else 0)
    with np.load(folder / "done.npz") as arrays:
        return dict(arrays), went_on


@pytest.mark.slow
def test_a_run_survives_being_killed(tmp_path):
    kills = 20
    whole, [start] = survive(tmp_path / "whole", 0, 40 * kills)
    assert start == "0"
    killed, went_on = survive(tmp_path / "killed", kills, 40 * kills)
    assert whole.keys() == killed.keys()
    assert all(bits(whole[name]) == bits(killed[name]) for name in whole)
    steps = [int(line.split("|")[0]) for line in went_on]
    print(
        f"went on at steps {steps}; {sum('half written' in line for line in went_on)} half written"
    )
    assert steps == sorted(steps)
    assert steps[-1] > 0
    passed_over = [told for line in went_on for told in line.split("|")[1:]]
    assert all("half written" in told for told in passed_over)


def test_of_many_hosts_the_first_writes(tmp_path, monkeypatch):
    half = tmp_path / ".0.safetensors.half"
    half.touch()
    for index in (1, 0):
        monkeypatch.setattr(jax, "process_index", lambda index=index: index)
        with checkpoints.Checkpoints(tmp_path, DESCRIPTION) as saved:
            saved.save(begun(OPTIMIZERS["sgd"], problem()[0]))
        assert len([*tmp_path.glob(f"*{SUFFIX}")]) == 1 - index
        assert half.exists() == bool(index)


if __name__ == "__main__":
    run_and_save(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))

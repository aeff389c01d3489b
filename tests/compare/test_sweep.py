"""Evidence for sweeps: each of many runs in one program is the run alone, whatever is beside it."""

import dataclasses
import functools
import gc
import itertools
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest
from few import first_of
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxnet import batches, devices, losses, network, optimizers
from jaxnet._guards import options
from jaxnet.compare import compiling, starts, sweep, tiles
from jaxnet.errors import InputError

TANH = functools.partial(network.forward, activation=jnp.tanh)
SQUARES = losses.BatchLoss(network.forward, optax.losses.l2_loss)
SOFTMAX = losses.BatchLoss(TANH, optax.losses.softmax_cross_entropy_with_integer_labels)
SHAPE = tiles.Tile(1, 2)
MAPS = Path("/proc/self/maps")
FAST = {"compiler_options": {"xla_backend_optimization_level": 0}}


def accuracy(params, batch):
    outputs = jax.vmap(TANH, in_axes=(None, 0))(params, batch[0])
    return jnp.mean(jnp.argmax(outputs, axis=1) == batch[1])


def seven(params, batch):
    return 7.0


def init(key):
    return network.init(key, [3, 4, 2])


def rows(count, seed, labels=False):
    random = np.random.default_rng(seed)
    y = random.integers(0, 2, count) if labels else random.normal(size=(count, 2))
    return random.normal(size=(count, 3)), y.astype(np.int32) if labels else y


def made(loss, init, data, batch_size, epochs, validation=None, test=None, metrics=()):
    """A task measured after each epoch."""
    epoch = len(jax.tree.leaves(data)[0]) // batch_size
    measured = tuple(range(epoch, epochs * epoch + 1, epoch))
    return tiles.Workload(
        loss, init, data, batch_size, measured[-1], measured, validation, test, metrics
    )


def at(runs):
    """Trials of pairs of a seed and a learning rate."""
    seeds, rates = np.transpose(runs)
    return tiles.Trials(seeds.astype(np.int32), {"learning_rate": rates})


RATE = ("learning_rate",)


@functools.cache
def classifier():
    """Minibatches, of which two rows sit out each epoch; validation and test data."""
    parts = [rows(count, seed, labels=True) for count, seed in ((10, 0), (6, 1), (5, 2))]
    # Names that a tile's own arrays have, too.
    metrics = tuple({"accuracy": accuracy, "training": seven, "validation_loss": seven}.items())
    return made(SOFTMAX, init, parts[0], 4, 3, *parts[1:], metrics)


@functools.cache
def numbers():
    """Minibatches, of numbers and not of labels, that end within an epoch."""
    parts = [rows(count, seed) for count, seed in ((10, 0), (6, 1), (5, 2))]
    return made(SQUARES, init, parts[0], 4, 3, *parts[1:])._replace(steps=5, measured=(1, 4, 5))


@functools.cache
def regression():
    """Full batches, of so many steps that not each of them is measured."""
    return tiles.Workload(SQUARES, init, rows(7, 0), 7, 40, (1, 4, 20, 40))


def order(task, seed):
    if task.batch_size == task.rows:
        return np.tile(np.arange(task.rows), (task.steps, 1))
    return batches.shuffled(task.rows, task.batch_size, task.steps, seed)[: task.steps]


OPTAX = {
    "sgd": (optax.sgd, lambda state, params: params),
    "adam": (optax.adam, lambda state, params: params),
    "schedule_free_sgd": (
        optax.contrib.schedule_free_sgd,
        optax.contrib.schedule_free_eval_params,
    ),
}


@functools.cache
def plain_step(loss, name):
    """One step as optax's documentation writes it."""
    make, _ = OPTAX[name]

    def step(rate, params, state, batch):
        value, grads = jax.value_and_grad(loss)(params, batch)
        updates, state = make(rate).update(grads, state, params)
        return optax.apply_updates(params, updates), state, value

    return jax.jit(step, **FAST)


def alone(task, name, seed, rate):
    """The twin: a Python loop over the batches, one run."""
    make, evaluate = OPTAX[name]
    params = task.init(jax.random.key(seed))
    state, seen, found = make(rate).init(params), [], []
    for t, chosen in enumerate(order(task, seed)):
        batch = jax.tree.map(lambda leaf, c=chosen: leaf[c], task.data)
        params, state, value = plain_step(task.loss, name)(rate, params, state, batch)
        seen.append(float(value))
        if t + 1 in task.measured:
            judged = evaluate(state, params)
            found.append({"training": np.mean(seen)} | measured(task, judged, task.validation))
            seen = []
    curves = {key: np.array([each[key] for each in found]) for key in found[0]}
    return curves, measured(task, judged, task.test)


def measured(task, params, part):
    if part is None:
        return {}
    score = plain_score(task.loss, task.metrics)
    return {f"judged {name}": float(each) for name, each in score(params, part).items()}


@functools.cache
def plain_score(loss, metrics):
    def score(params, part):
        return {"loss": loss(params, part)} | {name: each(params, part) for name, each in metrics}

    return jax.jit(score, **FAST)


RUNS = [(0, 0.1), (3, 0.1), (0, 0.7), (5, 0.3), (0, 0.02), (2, 0.1), (2, 0.3), (9, 0.1), (4, 0.5)]
# The first and a second of a seed, one of the next item and device, and one of the next tile.
CHECKED = (0, 2, 4, 6, 7, 8)


OFTEN = [(numbers, "sgd")]


@pytest.mark.parametrize(
    ("make_task", "name"),
    [
        pytest.param(*each, marks=[pytest.mark.slow] * (each not in OFTEN))
        for each in itertools.product((classifier, regression, numbers), OPTAX)
    ],
)
def test_each_run_is_the_run_alone(make_task, name, x64, standard_promotion):
    """Runs of seeds and rates in no order, more than a tile of them: all that is measured."""
    task = make_task()
    found, _ = sweep.run(task, optimizers.entry(name), at(RUNS), SHAPE, test=task.test is not None)
    assert np.all(found.diverged == -1)
    assert np.all(found.evaluations == task.steps)
    for index in CHECKED:
        seed, rate = RUNS[index]
        curves, test = alone(task, name, seed, rate)
        ours = {"training": found.loss[index]}
        ours |= {f"judged {key}": curve[index] for key, curve in found.validation.items()}
        assert ours.keys() == curves.keys()
        for key, curve in curves.items():
            np.testing.assert_allclose(ours[key], curve, rtol=1e-9, err_msg=key)
        assert {f"judged {key}": each[index] for key, each in found.test.items()} == pytest.approx(
            test, rel=1e-9
        )


def attention():
    """Small weights, and a product of what they make that is not."""

    def loss(params, batch):
        made = batch[0] @ params[0].weight.T
        return jnp.mean(made @ made.T)

    return made(loss, init, rows(60, 0), 20, 1)


def convolution():
    def loss(params, batch):
        signal, kernel = batch[0][:, None, :], params[0].weight[:, None, :2]
        return jnp.mean(jax.lax.conv(signal, kernel, (1,), "SAME") ** 2)

    return numbers()._replace(loss=loss)


def wide():
    return made(
        SQUARES,
        functools.partial(network.init, sizes=[3, 70, 2]),
        rows(40, 0),
        20,
        1,
    )


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="elsewhere there is no fast path")
@first_of(
    ("make_task", "other"),
    [(convolution, False), (regression, True), (wide, True)],
)
def test_what_convolves_is_compiled_as_it_stands(make_task, other):
    """The program is then the plain path's, to the letter."""
    texts = [
        compiling.compiled(
            make_task()._replace(fast=path), SGD, RATE, tiles.Tile(3, 5)
        ).call.as_text()
        for path in (tiles.fast(True), tiles.PLAIN)
    ]
    assert (texts[0] != texts[1]) == other


@pytest.mark.parametrize("compile_first", [False, True])
def test_optimizers_of_the_same_program_share_one(compile_first):
    """Else one of two twins may be faster, by where it lies in memory."""
    task = regression()
    twin, other = (
        dataclasses.replace(SGD, name="twin", make=make)
        for make in (optax.sgd, functools.partial(optax.sgd, momentum=0.5))
    )
    if compile_first:
        compiling.compile_all(task, [(each, RATE) for each in (SGD, twin, other)], SHAPE)
    calls = [compiling.compiled(task, each, RATE, SHAPE).call for each in (SGD, twin, other)]
    assert calls[0] is calls[1]
    assert calls[0] is not calls[2]


@pytest.mark.skipif(not MAPS.exists(), reason="only Linux tells what a process maps")
@pytest.mark.slow
def test_the_programs_kept_map_few_regions_of_memory(standard_promotion):
    """Past 65,530 of them LLVM finds no memory, and the process dies."""

    def regions():
        gc.collect()
        return len(MAPS.read_text().splitlines())

    compiling._compile.cache_clear()
    compiling._traced.cache_clear()
    before, names = regions(), ("sgd", "adam", "muon")
    for name in names:
        compiling.compiled(classifier(), optimizers.entry(name), RATE, SHAPE)
    each = (regions() - before) / len(names)
    assert 0 < each * compiling._compile.cache_parameters()["maxsize"] < 65_530 / 2
    compiling._compile.cache_clear()
    compiling._traced.cache_clear()
    assert regions() - before < each


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="elsewhere there is no fast path")
@pytest.mark.parametrize(("make_task", "few"), [(attention, True), (wide, False)])
def test_the_option_of_few_numbers_is_for_them_alone(make_task, few):
    whole, task = tiles.fast(True), make_task()
    path = compiling.functions_of(task, compiling.shapes_of(task, 1, tiles.Tile(3, 5))).fast
    assert path.products
    assert dict(path.options).get(options.OF_FEW) == (
        dict(whole.options).get(options.OF_FEW) if few else None
    )


# A line to fit by its mean: a NumPy loop is the whole of it.
POINTS = np.random.default_rng(0).normal(size=5)


def distance(params, batch):
    return jnp.mean((params - batch) ** 2) / 2


def anywhere(key):
    return jax.random.normal(key)


def line(points=POINTS, loss=distance, begin=anywhere, epochs=3, batch_size=2):
    return made(loss, begin, points, batch_size, epochs, points)


@functools.cache
def by_hand(seed, rate, epochs=3, batch_size=2):
    """Losses at the end of each epoch of the fit, in NumPy."""
    at, found = float(anywhere(jax.random.key(seed))), []
    for t, chosen in enumerate(batches.shuffled(5, batch_size, epochs, seed)):
        at -= rate * (at - POINTS[chosen].mean())
        if (t + 1) % (5 // batch_size) == 0:
            found.append(np.mean((at - POINTS) ** 2) / 2)
    return found


SGD = optimizers.entry("sgd")
SEEDS, RATES = st.sampled_from([0, 1, 2, 7, 400]), st.sampled_from([0.01, 0.1, 0.5, 1.0, 1.7])


def fitted(runs, shape=SHAPE, task=None, **settings):
    return sweep.run(task or line(), SGD, at(runs), shape, **settings)[0]


@given(
    runs=st.lists(st.tuples(SEEDS, RATES), min_size=1, max_size=30),
    shape=st.sampled_from([tiles.Tile(1, 1), tiles.Tile(1, 3), tiles.Tile(2, 2)]),
)
@settings.get_profile("costly")
def test_any_runs_in_any_order_fill_any_tiles(runs, shape):
    """What fills a tile up, and where a run comes to lie, is not seen in any result."""
    with jax.enable_x64(True):
        done = []
        found = fitted(runs, shape, tell=done.append)
        expected = [by_hand(*run) for run in runs]
    np.testing.assert_allclose(found.validation["loss"], expected, rtol=1e-9)
    for part in jax.tree.leaves(found):
        assert len(part) == len(runs)
    assert min(done) > 0
    assert sum(done) == len(runs)


@pytest.mark.slow
def test_runs_on_one_device_are_the_runs_on_four(x64, monkeypatch):
    found = fitted(RUNS)
    monkeypatch.setattr(jax, "local_device_count", lambda: 1)
    monkeypatch.setattr(jax, "local_devices", lambda: jax.devices()[:1])
    alone = fitted(RUNS, tiles.Tile(3, 2))
    assert len(jax.tree.leaves(alone)) == len(jax.tree.leaves(found))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-12), alone, found)


def square(params, batch):
    return params**2 / 2 + 0 * jnp.sum(batch)


@pytest.mark.parametrize("power", [40, 100, 300])
def test_the_step_that_diverges_is_exact(power, x64):
    """A rate of 1 + 2^k multiplies by -2^k at each step, until the square overflows.

    Others of the tile go on as if alone, to the bit.
    """
    task = line(loss=square, begin=lambda key: jnp.ones(()) + 0 * jax.random.normal(key), epochs=9)
    tame, wild = [(0, 0.5), (1, 1.0), (2, 0.1)], (1, 1.0 + 2.0**power)
    # Half of 2^(2 k t) is infinite from 2^1024 on.
    overflows = next(t for t in itertools.count() if 2 * power * t - 1 >= 1024)
    found = fitted([tame[0], wild, *tame[1:]], task=task)
    quiet = fitted([tame[0], (1, 0.2), *tame[1:]], task=task)
    assert found.diverged.tolist() == [-1, overflows if overflows < 18 else -1, -1, -1]
    others = [0, 2, 3]
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(quiet), strict=True):
        assert np.array_equal(ours[others], theirs[others])


def test_a_last_update_that_no_loss_has_seen_is_told(x64):
    """A rate of 2^57 multiplies by that at each step: the last of 18 overflows, of a loss of 0."""
    growing = losses.Rule(lambda params, batch: (0 * jnp.sum(batch), -params))
    task = line(loss=growing, begin=lambda key: jnp.ones(()) + 0 * jax.random.normal(key), epochs=9)
    task = task._replace(validation=None)
    found = fitted([(0, 2.0**57), (1, 2.0**56)], task=task)
    assert found.diverged.tolist() == [18, -1]
    assert np.isfinite(found.loss).all()


def logarithm(params, batch):
    """Of a negative point it is nan."""
    return jnp.mean(jnp.log(batch)) + 0 * params


def test_a_loss_that_is_not_a_number_is_told_at_its_step(x64):
    """One bad row: the step is that whose batch holds it, none where it sits out the epoch."""
    points = np.array([1.0, 2.0, -1.0, 3.0, 4.0])
    task = line(points, logarithm, epochs=1)._replace(validation=None)
    seeds = range(30)
    orders = [batches.shuffled(5, 2, 1, seed) for seed in seeds]
    expected = [np.argmax((order == 2).any(1)) if 2 in order else -1 for order in orders]
    assert set(expected) == {-1, 0, 1}
    found = fitted([(seed, 0.1) for seed in seeds], task=task)
    assert found.diverged.tolist() == expected
    assert np.isnan(found.loss[:, 0]).tolist() == [step >= 0 for step in expected]


def still(params, batch):
    """The parameters themselves, without a gradient: what moves them is noise alone."""
    return jnp.sum(jax.lax.stop_gradient(params)) + 0 * jnp.sum(batch)


def test_each_seed_has_noise_of_its_own(x64, standard_promotion):
    task = line(loss=still, begin=lambda key: jnp.zeros(2) + 0 * jax.random.normal(key), epochs=2)
    runs = [(seed, rate) for rate in (0.5, 1.0) for seed in range(5)]
    found, _ = sweep.run(task, optimizers.entry("noisy_sgd"), at(runs), SHAPE)
    slow, fast = found.validation["loss"].reshape(2, 5, -1)
    np.testing.assert_allclose(fast, 2 * slow, rtol=1e-12)
    assert len(np.unique(np.round(fast[:, 0], 9))) == 5


def test_only_new_functions_and_shapes_are_traced(x64):
    traces = 0

    def counted(params, batch):
        nonlocal traces
        traces += 1
        return distance(params, batch)

    first = line(loss=counted)._replace(test=POINTS[:3])
    _, once = sweep.run(first, SGD, at([(0, 0.1)]), SHAPE, test=True)
    before = traces
    other = first._replace(data=POINTS + 1, validation=POINTS * 2, test=POINTS[2:])
    _, again = sweep.run(other, SGD, at(RUNS), SHAPE, test=True)
    assert 0 < before == traces
    # The very same program: it took as long to compile, and not a tick more or less.
    assert once.compiling == again.compiling
    fitted([(0, 0.1)], task=line(POINTS[:4], counted))
    assert traces > before


def equal(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.asarray(x).tobytes() == np.asarray(y).tobytes() for x, y in pairs)


class StopError(Exception):
    pass


def test_an_interrupted_sweep_goes_on_where_it_was(four_cpus, x64, tmp_path):
    """Finished tiles are read and not written again; the result is that of one go, to the bit."""
    runs = [(seed, 0.1) for seed in range(19)]
    whole = fitted(runs)

    done = []

    def interrupt(count):
        done.append(count)
        if sum(done) >= 8:
            raise StopError

    with pytest.raises(StopError):
        fitted(runs, folder=tmp_path, tell=interrupt)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(written) == 2
    assert equal(fitted(runs, folder=tmp_path), whole)
    assert len(list(tmp_path.iterdir())) == 5
    assert {path: path.stat().st_mtime_ns for path in written} == written


def test_what_is_kept_is_of_those_runs_alone(x64, tmp_path):
    """Other rates, seeds, tiles, optimizers, and runs that are scored, are done anew."""
    task = line()._replace(test=POINTS[:3])
    twin = optimizers.join("twin", lambda learning_rate: optax.sgd(-learning_rate))
    asked = [
        (SGD, [(0, 0.1)], SHAPE, False),
        (SGD, [(0, 0.1)], SHAPE, True),
        (SGD, [(0, 0.2)], SHAPE, False),
        (SGD, [(1, 0.1)], SHAPE, False),
        (SGD, [(0, 0.1), (0, 0.3)], SHAPE, False),
        (twin, [(0, 0.1)], SHAPE, False),
    ]
    for entry, runs, shape, test in asked:
        kept, _ = sweep.run(task, entry, at(runs), shape, test=test, folder=tmp_path)
        assert equal(kept, sweep.run(task, entry, at(runs), shape, test=test)[0])
        assert bool(kept.test) == test


@pytest.fixture(scope="module")
def one_tile(four_cpus, tmp_path_factory):
    """The file of a tile, its runs and what became of them."""
    folder, runs = tmp_path_factory.mktemp("tile"), [(0, 0.1), (1, 0.5)]
    with jax.enable_x64(True):
        found = fitted(runs, folder=folder)
    (path,) = folder.iterdir()
    return path, path.read_bytes(), runs, found


@given(data=st.data())
@settings.get_profile("costly")
def test_a_damaged_tile_is_done_again(one_tile, data):
    """Cut short anywhere, or any byte of it another."""
    path, content, runs, found = one_tile
    at = data.draw(st.integers(0, len(content) - 1))
    flipped = bytearray(content)
    flipped[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(data.draw(st.sampled_from([content[:at], bytes(flipped)])))
    with jax.enable_x64(True), pytest.warns(RuntimeWarning, match=f"done again: {path}: expected"):
        assert equal(fitted(runs, folder=path.parent), found)


def test_a_folder_in_the_place_of_a_tile_is_refused(one_tile, tmp_path, x64):
    path, _, runs, _ = one_tile
    (tmp_path / path.name).mkdir()
    with pytest.raises(InputError, match=f"{path.name}: expected a tile of runs, got a folder; d"):
        fitted(runs, folder=tmp_path)


@pytest.mark.parametrize("runs", [1, 3, 4, 17, 1000])
def test_a_tile_is_no_larger_than_needed(runs):
    shape = tiles.tile(line(), runs, settings=2)
    assert shape.items >= 1
    count = shape.devices or jax.local_device_count()
    assert (shape.items - 1) * shape.settings * count < runs


def test_short_runs_stay_on_one_device_and_long_ones_take_all(four_cpus):
    task, count = line(), jax.local_device_count()
    assert count > 1
    short = tiles.tile(task, 4, settings=2)
    assert (short.devices, short.runs) == (1, 4)
    assert tiles.tile(task, 4, settings=2, count=count).devices == count
    assert tiles.tile(task._replace(steps=10**6), 4, settings=2).devices is None


def test_runs_are_the_same_on_one_device_as_on_all():
    alone = fitted(RUNS, tiles.Tile(1, 2, 1))
    assert equal(fitted(RUNS, tiles.Tile(1, 2)), alone)


def test_starts_are_drawn_anew_under_other_settings():
    task = line(begin=jax.random.normal)
    seeds, rates = np.arange(4, dtype=np.int32), np.ones((4, 1, 1))
    given = task, seeds, rates, devices.mesh("runs")
    first = starts.placed(*given)[0]
    with jax.threefry_partitionable(False):
        other = starts.placed(*given)[0]
    assert not np.array_equal(first, other)
    assert np.array_equal(first, starts.placed(*given)[0])


def test_a_tile_of_large_networks_is_the_smallest(four_cpus):
    large = line(begin=lambda key: jnp.zeros(10**6) + jax.random.normal(key))
    assert tiles.tile(large, 1000, settings=2) == tiles.Tile(1, 2)


@pytest.mark.parametrize(
    ("rows", "batch_size", "epochs", "validation", "hidden"),
    [
        (500, 500, 1000, 50, 8),
        (100, 10, 5, 5000, 8),
        (100, 10, 2, 50, 128),
        (100, 10, 5, 50, 8),
        (1000, 10, 50, 50, 8),
    ],
)
@pytest.mark.slow
def test_the_memory_foreseen_is_that_of_the_program(
    rows, batch_size, epochs, validation, hidden, standard_promotion
):
    """At least half of what XLA says, which leaves out what its libraries hold."""
    random = np.random.default_rng(0)
    data, held = (
        (random.normal(size=(n, 20)).astype("f4"), random.normal(size=(n, 2)).astype("f4"))
        for n in (rows, validation)
    )
    begin = functools.partial(network.init, sizes=[20, hidden, 2])
    task = made(SQUARES, begin, data, batch_size, epochs, held)
    shape = tiles.tile(task, 200, settings=4)
    adam = optimizers.entry("adam")
    needed = compiling.compiled(task, adam, RATE, shape).call.memory_analysis()
    truth = needed.temp_size_in_bytes + needed.argument_size_in_bytes
    truth = jax.local_device_count() * (truth + needed.output_size_in_bytes)
    assert truth / 2 < tiles.memory(task, shape, shape.runs)


HELD = """
import functools, sys
import jax, numpy as np, optax
from jaxnet import losses, network, optimizers
from jaxnet.compare import compiling, starts, sweep, tiles
rows, validation = map(int, sys.argv[1:])
data, held = (tuple(np.ones((n, k), np.float32) for k in (20, 2)) for n in (rows, validation))
loss = losses.BatchLoss(network.forward, optax.losses.l2_loss)
init = functools.partial(network.init, sizes=[20, 8, 2])
task = tiles.Workload(loss, init, data, rows, 1, (1,), held)
shape = tiles.Tile(25, 4)
program, mesh, _ = compiling.compiled(task, optimizers.entry("sgd"), ("learning_rate",), shape)
seeds, rates = np.arange(25, dtype=np.int32), np.tile([0.1, 0.2, 0.3, 0.4], (25, 1))
inputs = starts.placed(task, seeds, rates[..., None], mesh)
def peak():
    # Of this process alone, where getrusage begins from its parent's.
    status = open("/proc/self/status").read()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])
before = peak()
jax.block_until_ready(program(*inputs))
print(tiles.memory(task, shape, shape.runs) / (peak() - before))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
@pytest.mark.parametrize(("rows", "validation"), [(50_000, 10), (10, 50_000)])
@pytest.mark.slow
def test_the_memory_foreseen_is_what_the_process_comes_to_hold(rows, validation):
    """Within a factor of two, where the arrays of many rows are most of it."""
    command = [sys.executable, "-c", HELD, str(rows), str(validation)]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert 0.5 < float(found.stdout) < 2


def test_the_results_foreseen_are_held_twice(x64):
    """In tiles and then joined; within a factor of two."""
    task, many = line(epochs=50), 10**6
    foreseen = tiles.memory(task, SHAPE, many) - tiles.memory(task, SHAPE, 0)
    held = many * sum(leaf.nbytes for leaf in jax.tree.leaves(fitted([(0, 0.1)], task=task)))
    assert held <= foreseen < 4 * held


@pytest.mark.slow
def test_data_of_wider_numbers_is_that_of_jax():
    """float64 and int64, as NumPy gives them, where JAX computes in half of that."""
    wide = classifier()._replace(steps=2, measured=(2,), metrics=())
    parts = {
        name: jax.tree.map(lambda leaf: leaf.astype(f"{leaf.dtype.kind}8"), part)
        for name, part in wide._asdict().items()
        if name in ("data", "validation", "test")
    }
    narrow = {
        name: jax.tree.map(lambda leaf: leaf.astype(f"{leaf.dtype.kind}4"), part)
        for name, part in parts.items()
    }
    found, expected = (
        sweep.run(wide._replace(**each), SGD, at([(0, 0.1)]), SHAPE, test=True)[0]
        for each in (parts, narrow)
    )
    assert equal(found, expected)
    assert found.loss.dtype == np.float32


HANGS = """
import os
os.environ["NPROC"] = "2"
import jax, numpy as np
jax.config.update("jax_num_cpu_devices", 2)
from jaxnet import losses, network, optimizers
from jaxnet.compare import compiling, starts, sweep, tiles
from optax.losses import l2_loss
loss = losses.BatchLoss(network.forward, l2_loss)
x = np.ones((64, 64), np.float32)
task = tiles.Workload(loss, lambda key: network.init(key, [64, 64, 64]), (x, x), 32, 100, (100,))
runs = tiles.Trials(np.arange(4, dtype=np.int32), {"learning_rate": np.full(4, 0.01)})
swept, _ = sweep.run(task, optimizers.entry("galore"), runs, tiles.Tile(2, 1))
assert np.isfinite(swept.loss).all()
"""


def whitened(learning_rate):
    """Descend along the singular vectors of the gradient, as muon does."""

    def update(updates, state, params=None):
        left, _, right = jnp.linalg.svd(updates, full_matrices=False)
        return -learning_rate * left @ right, state

    return optax.GradientTransformation(lambda params: (), update)


@pytest.mark.parametrize(
    ("entry", "count"),
    [(optimizers.join("whitened", whitened), 1), (SGD, jax.local_device_count())],
    ids=["whitened", "sgd"],
)
def test_decompositions_are_kept_on_one_device(entry, count):
    """What has none is spread over all."""
    task = line(
        loss=lambda params, batch: jnp.mean((params[:, 0] - batch.mean()) ** 2),
        begin=lambda key: jax.random.normal(key, (3, 1)),
    )
    assert compiling.compiled(task, entry, RATE, tiles.Tile(1, 1)).mesh.size == count


@pytest.mark.slow
def test_decompositions_end_where_every_thread_is_a_device():
    """On several devices they would wait for a thread of the pool that the devices run in."""
    subprocess.run([sys.executable, "-c", HANGS], check=True, timeout=120)

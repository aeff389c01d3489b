"""Evidence for `fit`: it is the plain loop, however it is chunked, streamed, stopped or resumed."""

import contextlib
import gc
import os
import re
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import optax
import oracles
import pages
import pytest
from few import first_of

from jaxnet import batches, devices, fitting, losses, network, streams, training
from jaxnet._guards import sizes
from jaxnet.errors import InputError

LOSS = losses.BatchLoss(network.forward, optax.losses.l2_loss)
WEIGHT = ("float32[5, 3]",)
DIVERGED = "not finite in epoch .*; the state before it is kept"


def problem(rows=23, seed=0, dtype=np.float64):
    """Data and parameters for a 3-5-2 ReLU network."""
    random = np.random.default_rng(seed)
    x, y = random.normal(size=(rows, 3)).astype(dtype), random.normal(size=(rows, 2)).astype(dtype)
    params = network.init(jax.random.key(seed), [3, 5, 2], dtype=dtype)
    return params, (x, y)


def plain(params, data, epochs, batch_size, learning_rate, drop_last=False):
    """The twin: NumPy, hand-written gradients, a loop over epochs and batches."""
    layers = [(np.asarray(w), np.asarray(b)) for w, b in params]
    x, y = data
    means = []
    for epoch in range(epochs):
        order = batches.shuffle(len(x), 0, epoch) if batch_size < len(x) else np.arange(len(x))
        total = seen = 0
        for first in range(0, len(x), batch_size):
            rows = order[first : first + batch_size]
            if len(rows) < batch_size and drop_last:
                continue
            total += len(rows) * oracles.loss(layers, x[rows], y[rows], "squares", "relu")
            seen += len(rows)
            grads = oracles.backward(layers, x[rows], y[rows], "squares", "relu")
            layers = oracles.descend(layers, grads, learning_rate)
        means.append(total / seen)
    return layers, means


def equal(a, b):
    """Bitwise equal, leaf by leaf."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.asarray(x).tobytes() == np.asarray(y).tobytes() for x, y in pairs)


def sgd(params, data, **settings):
    rate = {"learning_rate": 0.05}
    return fitting.fit(LOSS, optax.sgd, params, data, hyperparameters=rate, **settings)


@first_of(
    ("batch_size", "drop_last"),
    [(4, False), (4, True), (1, False), (23, False), (22, False), (22, True)],
    2,
)
def test_fit_is_the_plain_loop(x64, batch_size, drop_last):
    """Each example once an epoch, the short last batch a mean over its own examples."""
    params, data = problem()
    run = sgd(params, data, epochs=3, batch_size=batch_size, drop_last=drop_last)
    layers, means = plain(params, data, 3, batch_size, 0.05, drop_last)
    assert run.outcome == "finished"
    assert np.allclose(run.history["loss"], means, rtol=1e-12)
    for ours, theirs in zip(run.params, layers, strict=True):
        assert np.allclose(ours.weight, theirs[0], rtol=1e-11, atol=1e-13)
        assert np.allclose(ours.bias, theirs[1], rtol=1e-11, atol=1e-13)


def test_every_example_once_an_epoch(x64):
    """A loss that is linear in one weight per row: after an epoch each has moved once, alike."""
    rows = 13

    def rule(params, batch):
        return jnp.sum(params) * 0, -jnp.zeros(rows).at[batch].add(1.0)

    run = fitting.fit(
        *(losses.Rule(rule), optax.sgd(1.0), jnp.zeros(rows), np.arange(rows)),
        epochs=2,
        batch_size=4,
    )
    assert np.array_equal(run.params, np.full(rows, 2.0))


def test_fit_is_train_of_the_same_order(x64):
    """Where batches fill, one order array through `train` gives the same, to the bit."""
    params, data = problem(24)
    run = sgd(params, data, epochs=5, batch_size=8, seed=7)
    order = batches.shuffled(24, 8, 5, seed=7)
    state, curve = training.train(
        LOSS, optax.sgd, params, data, order, hyperparameters={"learning_rate": 0.05}
    )
    assert equal(run.progress.run.state, state)
    assert np.allclose(run.history["loss"], np.reshape(curve, (5, 3)).mean(1), rtol=1e-14)


@first_of("chunk", [40, 1, 2**22])
def test_a_stream_is_the_same_run(x64, chunk, monkeypatch, tmp_path):
    """From `np.memmap`s, in chunks of one batch, of two or of all: to the bit as users have it."""
    monkeypatch.setattr(streams, "_STACK", chunk)
    params, data = problem()
    maps = []
    for index, array in enumerate(data):
        maps.append(np.memmap(tmp_path / f"{index}", array.dtype, "w+", shape=array.shape))
        maps[-1][:] = array
    settings = {"epochs": 3, "validation": data}
    streamed = sgd(params, streams.stream(tuple(maps), 4, 0), **settings)
    in_memory = sgd(params, data, batch_size=4, **settings)
    assert streamed[2:] == in_memory[2:]
    for a, b in zip(jax.tree.leaves(streamed[:2]), jax.tree.leaves(in_memory[:2]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-14, atol=1e-16)
    assert os.environ["XLA_FLAGS"] or equal(streamed, in_memory)


def test_any_iterator_of_batches_streams(x64):
    params, data = problem()

    def generate(epoch):
        order = batches.shuffle(23, 0, epoch)
        for first in range(0, 23, 4):
            rows = order[first : first + 4]
            yield data[0][rows], data[1][rows]

    assert equal(sgd(params, generate, epochs=2), sgd(params, data, epochs=2, batch_size=4))


@first_of("streamed", [True, False])
def test_resumed_is_uninterrupted(x64, streamed, monkeypatch):
    """From every point at which a run was seen, also in the middle of a streamed epoch."""
    monkeypatch.setattr(streams, "_STACK", 10)
    params, data = problem()
    source = streams.stream(data, 4, 0) if streamed else data
    size = {} if streamed else {"batch_size": 4}
    settings = {"epochs": 4, "validation": data, "patience": 3} | size
    heavy_ball = (LOSS, optax.sgd(0.05, momentum=0.9), params, source)
    seen = []
    whole = fitting.fit(*heavy_ball, **settings, on_progress=seen.append)
    assert len(seen) > 2
    assert equal(whole, fitting.fit(*heavy_ball, **settings))
    for point in seen[:-1]:
        assert equal(whole, fitting.fit(*heavy_ball, **settings, resume=jax.device_get(point)))
    if streamed:
        assert any(int(point.progress.steps) for point in seen)


def test_a_finished_run_goes_on_for_more_epochs(x64):
    params, data = problem()
    half = sgd(params, data, epochs=2, batch_size=4)
    assert equal(sgd(params, data, epochs=2, batch_size=4, resume=half), half)
    more = sgd(params, data, epochs=5, batch_size=4, resume=half)
    assert equal(more, sgd(params, data, epochs=5, batch_size=4))


def nothing(params, batch):
    raise AssertionError("the loss is traced")


@first_of(
    ("began", "place", "expected", "got"),
    [
        ({"optimizer": optax.sgd(0.1)}, ".run.state.opt_state[0].count", "int32[]", "nothing"),
        (
            {"optimizer": optax.sgd(0.1, momentum=0.9)},
            ".run.state.opt_state[0].count",
            *("int32[]", "nothing"),
        ),
        (
            {"optimizer": optax.lion(0.1)},
            ".run.state.opt_state[0].nu[0].weight",
            *WEIGHT,
            "nothing",
        ),
        ({"width": 6}, ".run.state.params[0].weight", *WEIGHT, "float32[6, 3]"),
        ({"dtype": np.float16}, ".run.state.params[0].weight", *WEIGHT, "float16[5, 3]"),
        ({"layers": [3, 2]}, ".run.state.params[0].weight", *WEIGHT, "float32[2, 3]"),
        ({"layers": [3, 5, 2, 2]}, ".run.state.params[2].weight", "nothing", "float32[2, 2]"),
    ],
    4,
)
@pytest.mark.usefixtures("standard_promotion")
def test_what_another_run_began_is_not_resumed(began, place, expected, got):
    """Refused before the loss is traced, let alone compiled."""
    sizes = began.get("layers", [3, began.get("width", 5), 2])
    params = network.init(jax.random.key(0), sizes, dtype=began.get("dtype", np.float32))
    other = fitting.begin(began.get("optimizer", optax.adam(0.1)), params)
    own, data = problem(dtype=np.float32)
    words = f"resume.progress{place}: expected {expected}, as params and optimizer give, got {got};"
    with pytest.raises(InputError, match=re.escape(words)):
        fitting.fit(nothing, optax.adam(0.1), own, data, epochs=2, resume=other)


@pytest.mark.usefixtures("standard_promotion")
def test_runs_of_the_same_arrays_and_another_structure_are_told_apart():
    params, data = problem(dtype=np.float32)
    for optimizer, start in ((optax.adamw(0.1), params), (optax.adam(0.1), list(params))):
        other = fitting.begin(optimizer, start)
        with pytest.raises(
            InputError, match=r"resume\.progress: expected PyTreeDef.*got PyTreeDef"
        ):
            fitting.fit(nothing, optax.adam(0.1), params, data, epochs=2, resume=other)


@pytest.mark.usefixtures("unchecked")
def test_what_is_no_run_is_not_resumed():
    params, data = problem(dtype=np.float32)
    with pytest.raises(InputError, match=r"^resume: expected a jaxnet\.Fit, got tuple; .* params"):
        fitting.fit(nothing, optax.sgd(0.1), params, data, epochs=1, resume=params)


def half_size(params, batch):
    return jnp.sum(params[0].weight ** 2) / 2


@first_of(
    ("before", "after", "differing"),
    [
        ({}, {"validation": True}, "validation_loss"),
        ({"judge_training": True}, {}, "training_loss"),
        (
            {"validation": True},
            {"validation": True, "metrics": {"size": half_size}},
            "validation_size",
        ),
    ],
)
def test_a_run_of_which_other_values_were_measured_is_not_resumed(before, after, differing):
    params, data = problem(dtype=np.float32)
    settings = [
        each | ({"validation": data} if "validation" in each else {}) for each in (before, after)
    ]
    began = sgd(params, data, epochs=1, **settings[0])
    words = rf"^resume.history: expected .*; differing are {differing}; give"
    with pytest.raises(InputError, match=words):
        fitting.fit(nothing, optax.sgd(0.05), params, data, epochs=2, resume=began, **settings[1])


def test_validation_is_measured_after_each_epoch(x64):
    params, data = problem()
    held_out = problem(seed=1)[1]
    metrics = {"largest": lambda params, batch: jnp.max(jnp.abs(params[1].bias))}
    seen = []
    run = sgd(
        params,
        data,
        epochs=4,
        batch_size=4,
        validation=held_out,
        metrics=metrics,
        on_progress=seen.append,
    )
    assert set(run.history) == {"loss", "validation_loss", "validation_largest"}
    for epochs in range(1, 5):
        layers, _ = plain(params, data, epochs, 4, 0.05)
        expected = oracles.loss(layers, *held_out, "squares", "relu")
        assert np.isclose(run.history["validation_loss"][epochs - 1], expected, rtol=1e-11)
        largest = np.abs(layers[1][1]).max()
        assert np.isclose(run.history["validation_largest"][epochs - 1], largest, rtol=1e-11)


def test_early_stopping_gives_the_best_parameters(x64):
    """Overfit noise: the validation loss turns, the run stops, the lowest point is what comes."""
    params, data = problem(8)
    held_out = problem(50, seed=3)[1]
    settings = {"batch_size": 4, "validation": held_out, "patience": 4}
    rate = {"learning_rate": 0.2}
    run = fitting.fit(LOSS, optax.sgd, params, data, epochs=500, hyperparameters=rate, **settings)
    curve = run.history["validation_loss"]
    assert run.outcome == "stopped early"
    assert len(curve) == curve.argmin() + 1 + 4 < 500
    assert int(run.progress.best_epoch) == curve.argmin() + 1
    assert np.isclose(LOSS(run.params, held_out), curve.min(), rtol=1e-12)
    assert not equal(run.params, run.progress.run.state.params)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_loss_that_is_not_finite_ends_the_run_at_its_step(x64, streamed):
    """Planted in step 3 of epoch 2: the state is the one before it."""
    data = np.arange(12.0)
    steps = []

    def loss(params, batch):
        # The count of steps done is the parameter itself: each step adds one.
        return jnp.where(params[0] >= 5, jnp.nan, -params[0]) + 0 * jnp.sum(batch)

    size = {} if streamed else {"batch_size": 4}
    source = streams.stream(data, 4, 0) if streamed else data
    with pytest.warns(RuntimeWarning, match="not finite in epoch 2, step 3") as warned:
        run = fitting.fit(
            *(loss, optax.sgd(1.0), jnp.zeros(1), source),
            epochs=9,
            on_progress=lambda fit: steps.append(fit.outcome),
            **size,
        )
    assert run.outcome == "diverged"
    assert [str(each.message) for each in warned] == [run.message]
    assert run.progress.run.state.params.tolist() == [5.0]
    assert run.params.tolist() == [5.0]
    assert (int(run.progress.epoch), int(run.progress.steps)) == (1, 2)


def test_divergence_keeps_the_best_so_far(x64):
    params, data = problem()
    with pytest.warns(RuntimeWarning, match=DIVERGED):
        run = fitting.fit(
            *(LOSS, optax.sgd, params, data),
            epochs=500,
            batch_size=4,
            validation=data,
            hyperparameters={"learning_rate": 30.0},
        )
    assert run.outcome == "diverged"
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(run.progress.run.state))


@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_batches_spread_over_devices_give_the_same(x64, four_cpus, count):
    """To 1e-12 in float64; the short last batch, which does not divide, included."""
    params, data = problem()
    settings = {"epochs": 3, "batch_size": 8, "validation": data}
    one = sgd(params, data, **settings)
    spread = sgd(params, data, **settings, sharding=devices.batch_sharding(count))
    weight = spread.progress.run.state.params[0].weight
    assert len(weight.sharding.device_set) == count
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(spread), strict=True):
        if not isinstance(a, str):
            assert np.allclose(a, b, rtol=1e-12, atol=1e-14)


def test_new_numbers_compile_nothing(x64):
    """Another rate, start, data, seed, patience or number of epochs: not one new trace."""
    traces = []

    def loss(params, batch):
        traces.append(None)
        return LOSS(params, batch)

    def run(seed, learning_rate, **settings):
        params, data = problem(seed=seed)
        settings = {"epochs": 3, "batch_size": 4, "validation": data, "patience": 3} | settings
        settings["hyperparameters"] = {"learning_rate": learning_rate}
        return fitting.fit(loss, optax.sgd, params, data, seed=seed, **settings)

    run(0, learning_rate=0.1)
    first = len(traces)
    assert first > 0
    run(1, learning_rate=0.2)
    run(2, learning_rate=0.3, patience=2)
    assert len(traces) == first
    run(0, learning_rate=0.1, epochs=4)
    run(0, learning_rate=0.1, drop_last=True)
    assert len(traces) == first
    run(0, learning_rate=0.1, batch_size=5)
    assert len(traces) > first


def test_history_alone_grows_with_epochs(x64):
    """What a run holds does not grow with its steps."""
    params, data = problem()
    runs = [sgd(params, data, epochs=3, batch_size=size) for size in (1, 23)]
    sizes = [sum(np.size(leaf) for leaf in jax.tree.leaves(run)) for run in runs]
    assert sizes[0] == sizes[1]


class Watched:
    """A stream that tells when an epoch of it is opened and a batch read, and a run's chunks."""

    def __init__(self, data, size):
        self.batches_of, self.events = streams.stream(data, size, 0), []

    def __call__(self, epoch):
        self.events.append(("open", epoch))
        for index, batch in enumerate(self.batches_of(epoch)):
            self.events.append(("read", epoch, index))
            yield batch

    def see(self, fit):
        progress = fit.progress
        self.events.append(("seen", int(progress.epoch), int(progress.steps)))

    def before(self, event):
        return self.events[: self.events.index(event)]


@pytest.mark.parametrize("sizes", [(4, 6), (23, 1)], ids=["six batches", "one batch"])
def test_a_stream_is_read_ahead_within_an_epoch_and_not_beyond(x64, sizes, monkeypatch):
    """A chunk is one batch: the next is read before one is done, that of a later epoch after."""
    monkeypatch.setattr(streams, "_STACK", 1)
    params, data = problem()
    size, steps = sizes
    stream = Watched(data, size)
    sgd(params, stream, epochs=3, on_progress=stream.see)
    opened = [event for event in stream.events if event[0] == "open"]
    read = [event for event in stream.events if event[0] == "read"]
    seen = [event for event in stream.events if event[0] == "seen"]
    assert opened == [("open", epoch) for epoch in range(3)]
    assert read == [("read", epoch, step) for epoch in range(3) for step in range(steps)]
    at = [(epoch, step) for epoch in range(3) for step in range(steps)][1:]
    assert seen == [("seen", *each) for each in [*at, (3, 0)]]
    for epoch, step in at:
        before = stream.before(("seen", epoch, step))
        assert (("read", epoch, step) in before) == (step > 0)
        # What waits is as little as two chunks.
        assert ("read", epoch, step + 2) not in before
        assert max(event[1] for event in before if event[0] == "open") == epoch - (step == 0)


def test_a_stream_is_read_while_a_chunk_computes(x64, monkeypatch):
    """Between the call of the program and the wait for what it gives."""
    monkeypatch.setattr(streams, "_STACK", 1)
    params, data = problem()
    stream, call, settled = Watched(data, 4), fitting._Job.call, fitting._settled

    def told(name, function, *arguments):
        stream.events.append(name)
        return function(*arguments)

    monkeypatch.setattr(fitting._Job, "call", lambda *arguments: told("called", call, *arguments))
    monkeypatch.setattr(
        fitting, "_settled", lambda *arguments: told("settled", settled, *arguments)
    )
    sgd(params, stream, epochs=1)
    first = stream.before("settled")
    assert first[-2:] == ["called", first[-1]]
    assert first[-1][0] == "read"


@pytest.mark.parametrize("together", [1, 2])
def test_no_third_chunk_of_a_stream_is_kept(four_cpus, together, monkeypatch):
    """While one is read there is one on the device, and of its batches none, nor of any before."""
    gc.freeze()  # What other tests left is not looked through each time.
    # Of a size that no other array of the run has; those of other runs are not counted.
    size, steps, others = 3, 8, jax.live_arrays()
    params, data = problem(size * steps, dtype=np.float32)
    monkeypatch.setattr(streams, "_STACK", together * size * (3 + 2))
    handed_out, alive, chunks = [], [], []

    def stream(epoch):
        for step, batch in enumerate(streams.stream(data, size, 0)(epoch)):
            gc.collect()  # What compiling left in circles is kept by nobody.
            # But for those of this chunk, or the last of the one before, which this one is held to.
            earlier = handed_out[: len(handed_out) - (step % together or 1)]
            alive.append(sum(each() is not None for each in earlier))
            chunks.append(
                sum(
                    each.shape == (together * size, 3) and not any(each is one for one in others)
                    for each in jax.live_arrays()
                )
            )
            handed_out.append(weakref.ref(batch[0]))
            yield batch

    sgd(params, stream, epochs=2)
    assert len(alive) == 2 * steps
    assert max(alive) == 0
    assert chunks[:together] == [0] * together
    assert set(chunks[together:]) == {1}


def failing(params, batch):
    return jnp.where(params[0].bias[0] < 0, jnp.nan, 1.0) * LOSS(params, batch)


@first_of(
    ("loss", "settings", "outcome"),
    [(LOSS, {"patience": 1}, "stopped early"), (failing, {}, "diverged"), (LOSS, {}, "finished")],
)
def test_a_run_that_ends_opens_no_later_epoch(x64, loss, settings, outcome, monkeypatch):
    monkeypatch.setattr(streams, "_STACK", 1)
    params, data = problem()
    stream = Watched(data, 4)
    rate = {"learning_rate": 0.5}
    last = 2 if outcome == "finished" else 500
    settings = {"epochs": last, "validation": problem(50, seed=3)[1]} | settings
    diverges = pytest.warns(RuntimeWarning, match=DIVERGED)
    with diverges if outcome == "diverged" else contextlib.nullcontext():
        run = fitting.fit(loss, optax.sgd, params, stream, hyperparameters=rate, **settings)
    assert run.outcome == outcome
    epochs = int(run.progress.epoch) + (outcome == "diverged")
    assert [event for event in stream.events if event[0] == "open"] == [
        ("open", epoch) for epoch in range(epochs)
    ]
    assert epochs < 500


@pytest.mark.slow
@pytest.mark.parametrize("streamed", [False, True])
def test_the_rule_of_autodiff_gives_a_loss_to_the_bit(x64, streamed):
    params, data = problem()
    size = {} if streamed else {"batch_size": 4}
    source = streams.stream(data, 4, 0) if streamed else data
    optimizer = optax.sgd(0.05, momentum=0.9)
    runs = [
        fitting.fit(loss, optimizer, params, source, epochs=3, validation=data, **size)
        for loss in (LOSS, losses.Rule(jax.value_and_grad(LOSS)))
    ]
    assert equal(*runs)


def test_a_run_goes_on_from_its_beginning(x64):
    params, data = problem()
    rate = {"learning_rate": 0.05}
    first = fitting.begin(optax.sgd, params, rate)
    assert (first.outcome, first.history) == ("running", {})
    assert equal(first.params, params)
    settings = {"epochs": 2, "batch_size": 4, "validation": data}
    assert equal(sgd(params, data, **settings, resume=first), sgd(params, data, **settings))


def test_a_hyperparameter_may_be_called_as_an_argument_is(x64):
    """They are one argument of their own: no name is taken."""

    def named(seed, epochs, patience, resume):
        return optax.sgd(seed * epochs * patience * resume)

    params, data = problem()
    settings = {"epochs": 3, "batch_size": 4, "seed": 5}
    numbers = {"seed": 0.5, "epochs": 0.5, "patience": 0.4, "resume": 0.5}
    run = fitting.fit(LOSS, named, params, data, hyperparameters=numbers, **settings)
    for ours, theirs in zip(
        jax.tree.leaves(run.params),
        jax.tree.leaves(sgd(params, data, **settings).params),
        strict=True,
    ):
        assert np.allclose(ours, theirs, rtol=1e-12)


def test_what_on_progress_raises_ends_the_run(x64):
    params, data = problem()

    def interrupt(fit):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sgd(params, data, epochs=3, batch_size=4, on_progress=interrupt)


@pytest.mark.parametrize("label", [-1, 2])
@pytest.mark.parametrize("where", ["data", "validation", "stream"])
def test_labels_outside_the_outputs_are_refused_wherever_they_are(where, label):
    """Which JAX would take for the last output, or make nan of."""
    example_loss = optax.losses.softmax_cross_entropy_with_integer_labels
    loss = losses.BatchLoss(network.forward, example_loss)
    params, (x, _) = problem(8, dtype=np.float32)
    right, wrong = (x, np.zeros(8, np.int32)), (x, np.array([0] * 5 + [label] * 3, np.int32))
    data = {"data": wrong, "validation": right, "stream": streams.stream(wrong, 4, 0)}[where]
    judged = {"validation": wrong} if where == "validation" else {}
    with pytest.raises(InputError, match=f"y: expected class labels 0 to 1, .* got {label} in row"):
        fitting.fit(loss, optax.sgd(0.1), params, data, epochs=1, **judged)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"epochs": 0}, "epochs: expected at least 1, got 0"),
        ({"batch_size": 0}, "batch_size: expected at least 1, got 0"),
        ({"batch_size": 2.5}, "batch_size: expected a whole number, got 2.5"),
        ({"batch_size": 24}, "batch_size: expected 1 to the 23 rows of data, got 24"),
        ({"seed": 1.5}, "seed: expected a whole number of at least 0, got 1.5; give one"),
        ({"seed": -1, "batch_size": 23}, "seed: expected a whole number of at least 0, got -1"),
        (
            {"metrics": {"zero": lambda params: 0.0}},
            "metrics: zero: expected a function of .params, batch., got one of .params., too many",
        ),
        *(
            ({"sharding": given}, f"sharding: expected a jax.sharding.NamedSharding, .* got {got}")
            for given, got in (
                ("text", "'text'"),
                (jax.devices()[0], repr(jax.devices()[0]).partition("(")[0]),
            )
        ),
        ({"patience": 3}, "validation: expected data, to measure"),
        ({"metrics": {"zero": lambda p, b: 0.0}}, "validation: expected data, to measure"),
        ({"metrics": LOSS}, "metrics: expected a dict of functions .*, got BatchLoss"),
        ({"metrics": {"zero": 0.0}}, "metrics: expected a dict of functions .*, got {'zero'"),
        (
            {"metrics": {"loss": LOSS}, "validation": (np.ones((1, 3)), np.ones((1, 2)))},
            "metrics: expected a dict of functions by names other than loss, .* got {'loss'",
        ),
        ({"validation": (np.zeros((0, 3)), np.zeros((0, 2)))}, "validation[0]: expected at least"),
        (
            {"validation": (np.full((1, 3), np.nan), np.zeros((1, 2)))},
            "validation[0]: expected fin",
        ),
    ],
)
def test_bad_input_is_refused(x64, settings, words):
    params, data = problem()
    with pytest.raises(InputError, match=words.replace("[", r"\[")):
        sgd(params, data, **({"epochs": 1, "batch_size": 4} | settings))


def test_bad_streams_are_refused(x64, unchecked):
    params, data = problem()
    with pytest.raises(InputError, match=r"data\[1\]: .* got <U32; encode it as numbers"):
        sgd(params, (data[0], data[1].astype(str)), epochs=1)
    with pytest.raises(InputError, match="batch_size: expected none"):
        sgd(params, streams.stream(data, 4, 0), epochs=1, batch_size=4)
    with pytest.raises(InputError, match="data: expected batches in epoch 0, got none"):
        sgd(params, lambda epoch: [], epochs=1)
    with pytest.raises(InputError, match=r"data\[0\]: expected finite"):
        sgd(params, lambda epoch: [(np.full((2, 3), np.inf), np.zeros((2, 2)))], epochs=1)
    with pytest.raises(InputError, match="batch_size: expected 1 to the 23 rows"):
        streams.stream(data, 24, 0)
    with pytest.raises(InputError, match=r"data\[1\]: expected 23 rows, as data\[0\] has, got 22;"):
        streams.stream((data[0], data[1][:22]), 4, 0)
    with pytest.raises(InputError, match="seed: expected a whole number of at least 0, got -1;"):
        streams.stream(data, 4, -1)
    with pytest.raises(InputError, match=r"data\[1\]: expected 4 rows, as data\[0\] has, got 3;"):
        sgd(params, lambda epoch: [(np.ones((4, 3)), np.ones((3, 2)))], epochs=1)


def test_more_devices_than_there_are_is_refused():
    count = jax.local_device_count()
    words = f"devices: expected 1 to the {count} local devices, got {count + 1}"
    with pytest.raises(InputError, match=words):
        devices.batch_sharding(count + 1)


def test_a_metric_that_is_no_array_of_real_numbers_is_named(x64):
    params, data = problem()
    for metric in (
        lambda p, b: (b[1], b[1]),
        lambda p, b: {"q": 1.0},
        lambda p, b: "x",
        lambda p, b: b[1].astype(complex),
    ):
        with pytest.raises(InputError, match=r"metrics: many: expected one array of real numbers"):
            sgd(params, data, epochs=1, batch_size=5, validation=data, metrics={"many": metric})


def signs(params, batch):
    """How often each output, and each target, is above 0: shape [2, O]."""
    x, y = batch
    both = jnp.stack([jax.vmap(network.forward, (None, 0))(params, x), y])
    return jnp.sum(both > 0, axis=1)


@first_of("validated", [True, False])
def test_training_data_is_judged_too_and_metrics_have_any_shape(x64, validated):
    """After the last update of each epoch; asking changes no number of the run."""
    params, data = problem()
    held_out = problem(9, seed=1)[1]
    settings = {"epochs": 4, "batch_size": 4} | ({"validation": held_out} if validated else {})
    run = sgd(params, data, **settings, metrics={"signs": signs}, judge_training=True)
    sets = {"training": data} | ({"validation": held_out} if validated else {})
    names = {f"{name}_{what}" for name in sets for what in ("loss", "signs")}
    assert set(run.history) == {"loss", *names}
    for epochs in range(1, 5):
        layers, _ = plain(params, data, epochs, 4, 0.05)
        for name, (x, y) in sets.items():
            loss = oracles.loss(layers, x, y, "squares", "relu")
            assert np.isclose(run.history[f"{name}_loss"][epochs - 1], loss, rtol=1e-11)
            (w, b), (v, c) = layers
            outputs = np.maximum(x @ w.T + b, 0) @ v.T + c
            counts = [(outputs > 0).sum(0), (y > 0).sum(0)]
            assert np.array_equal(run.history[f"{name}_signs"][epochs - 1], counts)
    assert run.verified == sgd(params, data, **settings).verified
    assert equal(run.progress, sgd(params, data, **settings).progress)
    run._repr_html_()


def test_a_stream_is_not_judged_as_one_batch(x64):
    params, data = problem()
    with pytest.raises(InputError, match=r"judge_training: expected data in memory, .* a stream"):
        sgd(params, streams.stream(data, 4, 0), epochs=1, judge_training=True)


def test_histories_of_arrays_that_no_memory_holds_are_refused(x64, monkeypatch):
    (params, data), metric = problem(), {"many": lambda p, b: jnp.zeros((1000, 1000))}
    monkeypatch.setattr(sizes, "memory", lambda: 10**8)
    with pytest.raises(InputError, match="the records of 50 steps, which take about"):
        sgd(params, data, epochs=50, metrics=metric, judge_training=True)


@pytest.mark.parametrize("streamed", [False, True])
def test_every_epoch_is_told_of_once(x64, streamed, monkeypatch):
    """Also where a chunk would hold many, or an epoch of a stream many chunks."""
    monkeypatch.setattr(streams, "_STACK", 10)
    params, data = problem()
    source = streams.stream(data, 4, 0) if streamed else data
    size = {} if streamed else {"batch_size": 4}
    told = []

    def note(now):
        told.append((int(now.progress.epoch), int(now.progress.steps), len(now.history["loss"])))

    run = sgd(params, source, epochs=9, on_progress=note, every_epoch=True, **size)
    assert told == [(epoch, 0, epoch) for epoch in range(1, 10)]
    assert equal(run, sgd(params, source, epochs=9, **size))


def test_a_run_that_diverged_at_once_has_a_history_of_nothing(x64):
    params, data = problem()
    with pytest.warns(RuntimeWarning, match=DIVERGED):
        run = fitting.fit(LOSS, optax.sgd(1e300), params, data, epochs=3, batch_size=5)
    assert run.outcome == "diverged"
    assert run.history["loss"].shape == (0,)


@pytest.mark.usefixtures("unchecked")
def test_more_epochs_than_are_counted_are_refused(x64):
    params, data = problem()
    with pytest.raises(InputError, match="epochs: expected at most 2147483647"):
        sgd(params, data, epochs=10**10, batch_size=5)


@pytest.mark.parametrize(("validated", "values"), [(False, 1), (True, 3)])
def test_a_history_that_no_memory_holds_is_refused(validated, values, x64, monkeypatch):
    """Four bytes of each value, twice; what patience ends may be asked for more."""
    (params, data), most = problem(), 3
    judged = {"validation": data, "metrics": {"metric": LOSS}} if validated else {}
    monkeypatch.setattr(sizes, "memory", lambda: int(8 * values * most / 0.8) + 1)
    assert len(sgd(params, data, epochs=most, **judged).history["loss"]) == most
    with pytest.raises(InputError, match=r"epochs: .* got the history of 4, which take about"):
        sgd(params, data, epochs=most + 1, **judged)
    if validated:
        ended = sgd(params, data, epochs=most + 1, patience=9, **judged)
        assert len(ended.history["loss"]) == most + 1


def test_steps_that_take_weeks_are_refused(x64, monkeypatch):
    params, data = problem(rows=1000)
    monkeypatch.setattr(sizes, "memory", lambda: 2**60)
    with pytest.raises(InputError, match=r"epochs: expected at most 1e12 steps, got .* 1e12 steps"):
        sgd(params, data, epochs=10**9 + 1, batch_size=1)


def test_a_notebook_shows_how_it_went(x64):
    params, data = problem()
    metrics = {"odd <metric>": lambda params, batch: jnp.nan * LOSS(params, batch)}
    shown = fitting.fit(
        LOSS, optax.sgd(0.01), params, data, epochs=4, validation=data, metrics=metrics
    )
    page = pages.read(shown._repr_html_())
    assert not page.faults
    words = [text for _, text in page.words]
    for name, values in shown.history.items():
        at = words.index(name)
        assert words[at + 1 : at + 3] == [f"{values[0]:.4g}", f"{values[-1]:.4g}"]
    assert "epoch 4" in words
    assert words[-1].startswith("finished")
    (line, _) = re.findall(r'points="([^"]+)"', shown._repr_html_())
    heights = [float(point.split(",")[1]) for point in line.split()]
    assert heights == sorted(heights)
    assert len(heights) == 4
    begun = pages.read(fitting.begin(optax.sgd(0.01), params)._repr_html_())
    assert not begun.faults
    assert begun.words[-1][1].startswith("running")


@pytest.mark.parametrize("judged", ["training", "validation"])
def test_a_last_step_that_diverges_is_found_by_what_is_judged(judged):
    def loss(params, batch):
        return jnp.mean((params * batch) ** 2)

    data, start = np.ones(3, np.float32), np.float32(1)
    given = {"judge_training": True} if judged == "training" else {"validation": data}
    with pytest.warns(RuntimeWarning, match=f"the {judged} loss was not finite after epoch 1"):
        fit = fitting.fit(loss, optax.sgd(1e30), start, data, epochs=1, **given)
    assert fit.outcome == "diverged"
    assert jnp.isfinite(fit.params)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", ["judge_training", "every_epoch", "drop_last", "on_progress"])
def test_what_is_no_flag_and_cannot_be_called_is_named(name):
    data = np.ones(3, np.float32)
    expected = {"on_progress": r"a function of \(fit\)"}.get(name, "True or False")
    with pytest.raises(InputError, match=f"{name}: expected {expected}, got ndarray"):
        fitting.fit(lambda p, b: p, optax.sgd(1.0), data[0], data, epochs=1, **{name: data})


def test_a_run_is_told_in_a_few_lines():
    history = {"loss": np.array([6.4, 1.0, 0.0044]), "validation_pairs": np.ones((3, 2, 2))}
    params = (np.ones((500, 500)),)
    run = fitting.begin(optax.sgd(0.1), params)._replace(outcome="finished", history=history)
    assert repr(run).splitlines() == [
        "Fit: finished, 3 epochs.",
        "  loss: 6.4 to 0.0044",
        "  validation_pairs: of shape [3, 2, 2]",
    ]
    assert repr(fitting.begin(optax.sgd(0.1), params)) == "Fit: running, 0 epochs."
    # Whatever a pytree of it holds.
    assert repr(jax.tree.map(np.size, run)).startswith("Fit: ")

"""Evidence for runs that meet a number that is not finite: where, why, what to do, what is kept."""

import itertools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from few import some_of

from jaxnet import batches, fitting, losses, streams, training

ROWS = 10
DATA = np.random.default_rng(0).normal(size=(ROWS, 2)).astype(np.float32)
pytestmark = pytest.mark.usefixtures("standard_promotion")


def steep(params, batch):
    return jnp.mean((batch @ params["w"]) ** 2) + jnp.sum(params["v"] ** 2)


def climbing(params, batch):
    """As it is, less than the sum of its rows: it overflows by itself."""
    return jnp.mean((batch @ params["w"]) ** 2) + 10 * jnp.sum(params["v"] ** 2)


def hidden(params, batch):
    """A root in the branch that is not chosen."""
    below = -jnp.abs(batch[:, 0]) * params["w"][0]
    return jnp.mean(jnp.where(below < 0, params["v"], jnp.sqrt(below))) + 0 * jnp.sum(params["w"])


def logarithm(params, batch):
    return jnp.mean(jnp.log(-jnp.abs(batch @ params["w"]))) + jnp.sum(params["v"])


def unused(params, batch):
    """Its gradient is zero but for one parameter."""
    return jnp.mean(0 * batch) + jnp.sum(params["v"] ** 2) + 0 * jnp.sum(params["w"])


def overflowing(params, batch):
    """A finite loss whose gradient is too large for float32."""
    flat = jnp.sum(jnp.tanh(params["v"] * 1e30) * 1e-30)
    held = jnp.sum(jnp.minimum(params["w"] * 1e30, 1.0) * 1e-38)
    return flat + held + 0 * jnp.mean(batch)


@jax.custom_vjp
def sudden(params, batch):
    """A finite loss of an infinite gradient."""
    return jnp.sum(params["v"]) + 0 * jnp.mean(batch)


def infinite(params, cotangent):
    return {name: jnp.full(leaf.shape, cotangent * jnp.inf) for name, leaf in params.items()}, None


sudden.defvjp(lambda params, batch: (sudden(params, batch), params), infinite)


def masked(learning_rate):
    return optax.masked(optax.sgd(learning_rate), {"w": True, "v": False})


def my_adam(learning_rate, epsilon=0.0):
    return optax.adam(learning_rate, eps=epsilon)


def my_rooted(learning_rate, eps_root=0.0):
    return optax.adam(learning_rate, eps=0.0, eps_root=eps_root)


def clipped(learning_rate):
    return optax.chain(optax.clip(1.0), optax.sgd(learning_rate))


CAUSES = {
    "rate": (steep, optax.sgd, 1e3, ["loss", " not finite "]),
    "where": (hidden, optax.sgd, 0.1, ["gradient of params['w'] was not", "jnp.where diff"]),
    "start": (logarithm, optax.sgd, 0.1, ["the loss, nan,", "it was the first", "logarithm of"]),
    "half Adam": (unused, optax.adam, 0.1, ["update of params['w']", "argument eps", "float16"]),
    "epsilon": (unused, my_adam, 0.1, ["update of params['w']", "argument epsilon"]),
    "root": (unused, my_rooted, 0.1, ["update of params['w']", "argument eps_root"]),
    "masked": (steep, masked, 0.1, [" not finite"]),
    "masked, slow": (climbing, masked, 1e-8, ["of params['v']: ", "optax.partition"]),
    "clipped": (sudden, clipped, 0.1, ["gradient of params['v'] was", "it overflowed float32"]),
}
PATHS = ["memory", "streamed", "resumed", "remainder", "validation", "train"]
# Every cause, and every path.
OFTEN = [
    *(("rate", "streamed"), ("where", "train"), ("start", "validation"), ("half Adam", "train")),
    *(("epsilon", "memory"), ("root", "train"), ("masked", "resumed"), ("masked, slow", "train")),
    ("clipped", "remainder"),
]


def begin(cause):
    kind = np.float16 if cause == "half Adam" else np.float32
    return {"v": np.array([0.5], kind), "w": np.array([1.0, -2.0], kind)}, DATA.astype(kind)


def fit(*arguments, **settings):
    """Give a run of `fit`, which warns where it diverged and then alone, in the words of it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run = fitting.fit(*arguments, **settings)
    diverged = [run.message] if run.outcome == "diverged" else []
    assert [str(each.message) for each in caught] == diverged
    assert all(each.category is RuntimeWarning for each in caught)
    return run


def ran(path, loss, optimizer, params, data, rate, epochs=200):
    """Give the message and the parameters kept, whichever way the run is made."""
    how, numbers = (loss, optimizer, params), {"learning_rate": rate}
    if path == "train":
        order = batches.shuffled(ROWS, 5, epochs, 0)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            state, _ = training.train(*how, data, order, hyperparameters=numbers)
        (warning,) = caught
        return str(warning.message), state.params
    more = {"batch_size": {"remainder": 3}.get(path, 5), "hyperparameters": numbers}
    if path == "validation":
        more["validation"] = data
    source = data
    if path == "streamed":
        source = streams.stream(data, more.pop("batch_size"), 0)
    if path == "resumed":
        first = fit(*how, source, epochs=1, **more)
        if first.outcome == "finished":
            more["resume"] = first
    run = fit(*how, source, epochs=epochs, **more)
    assert run.outcome == "diverged"
    return run.message, run.progress.run.state.params


@some_of(("cause", "path"), itertools.product(CAUSES, PATHS), *OFTEN)
def test_every_cause_has_its_cure_on_every_path(cause, path):
    loss, optimizer, rate, words = CAUSES[cause]
    message, kept = ran(path, loss, optimizer, *begin(cause), rate)
    for part in (*words, " in step " if path == "train" else " epoch ", "before it is kept"):
        assert part in message
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(kept))
    # Of those that fail in their first step the start is kept.
    if loss not in (steep, climbing):
        jax.tree.map(np.testing.assert_array_equal, kept, begin(cause)[0])


def test_a_rate_is_named_where_each_epoch_is_one_step():
    """Of a loss that overflows in the fourth."""
    params, data = begin("rate")
    run = fit(steep, optax.sgd(1e6), params, data, epochs=99)
    assert "epoch 1," not in run.message
    assert "lower the learning rate" in run.message


def test_losses_whose_sum_overflows_are_told_apart():
    """Each is finite, and its product with the rows of its batch is not."""

    def large(params, batch):
        return params["v"].sum() * 0 + np.float32(1e38) + 0 * jnp.mean(batch)

    params, data = begin("rate")
    params["v"] *= 0
    run = fit(large, optax.sgd(0.1), params, data, epochs=1)
    assert run.outcome == "diverged"
    assert "the loss, 1e+38, times its rows was not finite in epoch 1, step 1" in run.message


def test_an_optimizer_that_skips_goes_on():
    def skipping(learning_rate):
        return optax.apply_if_finite(optax.sgd(learning_rate), 10**6)

    data = np.where(np.arange(ROWS)[:, None] == 4, np.float32(1e30), DATA)
    params, _ = begin("rate")
    rate = {"learning_rate": 0.01}
    run = fit(steep, skipping, params, data, epochs=3, batch_size=5, hyperparameters=rate)
    assert run.outcome == "finished"
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(run.params))
    assert not np.array_equal(run.params["w"], params["w"])


def test_a_validation_loss_alone_is_named():
    params, data = begin("rate")
    far = np.full((2, 2), 1e30, np.float32)
    run = fit(steep, optax.sgd(0.01), params, data, epochs=3, batch_size=5, validation=far)
    assert run.outcome == "diverged"
    assert "the validation loss was not finite after epoch 1" in run.message


def test_an_accumulation_that_outlasts_the_run_is_named():
    params, data = begin("rate")
    for steps, words in ((4, ""), (100, "optax.MultiSteps gathers")):
        gathering = optax.MultiSteps(optax.sgd(0.01), steps).gradient_transformation()
        run = fit(steep, gathering, params, data, epochs=5)
        assert words in run.message
        assert bool(words) == bool(run.message)


# A fault planted where parameters say: `count` is how many steps were taken, `at` which fails.


def planted(kind):
    def rule(params, batch):
        w, fails = params["w"], params["count"] >= params["at"]
        grads = {
            "at": jnp.zeros(()),
            "count": -jnp.ones(()),
            "w": 0.01 * (w - batch.mean(0)),
        }
        loss = jnp.mean((w[None] - batch) ** 2)
        if kind == "loss":
            loss = jnp.where(fails, jnp.nan, loss)
        else:
            size = jnp.nan if kind == "gradient" else 3e38
            grads["w"] = jnp.where(fails, size, grads["w"])
        return loss, grads

    return losses.Rule(rule)


KINDS = {
    "loss": (planted("loss"), optax.sgd(1.0), "the loss, nan, was not finite"),
    "gradient": (planted("gradient"), optax.sgd(1.0), "the gradient of params['w'] was not finite"),
    "update": (
        planted("update"),
        optax.multi_transform(
            {"w": optax.sgd(10.0), "one": optax.sgd(1.0)}, {"at": "one", "count": "one", "w": "w"}
        ),
        "the update of params['w'] was not finite",
    ),
}
EPOCHS = 3


def counting(at):
    numbers = {"at": np.array(at), "count": np.array(0), "w": np.array([1.0, -2.0])}
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), numbers)


def by_hand(size, rate, steps):
    """The plain loop, in NumPy: the parameters after so many steps, or after all."""
    w, taken = np.array([1.0, -2.0]), 0
    for epoch in range(EPOCHS):
        order = batches.shuffle(ROWS, 0, epoch) if size < ROWS else np.arange(ROWS)
        for first in range(0, ROWS, size):
            if taken == steps:
                return w
            w = w - rate * 0.01 * (w - DATA[order[first : first + size]].mean(0))
            taken += 1
    return w


@pytest.mark.parametrize(
    ("kind", "size", "streamed"),
    [
        ("loss", 3, False),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in [
                *(("gradient", 3, True), ("update", 5, False)),
                *(("loss", 5, True), ("gradient", 10, False), ("update", 3, True)),
            ]
        ),
    ],
)
def test_the_step_that_failed_is_found_wherever_it_is(kind, size, streamed):
    """At every step, the last of all among them, and none."""
    each = -(-ROWS // size)
    rule, optimizer, words = KINDS[kind]
    source = streams.stream(DATA, size, 0) if streamed else DATA
    more = {} if streamed else {"batch_size": size}
    rate = 10.0 if kind == "update" else 1.0
    for at in range(EPOCHS * each + 1):
        run = fit(rule, optimizer, counting(at), source, epochs=EPOCHS, **more)
        kept = run.progress.run.state.params
        np.testing.assert_allclose(kept["w"], by_hand(size, rate, at), rtol=1e-5)
        assert kept["count"] == at
        epoch, step = divmod(at, each)
        if at == EPOCHS * each:
            assert (run.outcome, run.message) == ("finished", "")
        else:
            assert run.message.startswith(f"{words} in epoch {epoch + 1}, step {step + 1}")
            assert (int(run.progress.epoch), int(run.progress.steps)) == (epoch, step)
            assert len(run.history["loss"]) == epoch


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "at", [0, 119, *(pytest.param(t, marks=pytest.mark.slow) for t in (1, 58))]
)
def test_what_is_kept_is_a_run_stopped_one_step_earlier(kind, at):
    """To the bit, in one of many epochs of one compiled call; and so in `train`."""
    rule, optimizer, words = KINDS[kind]
    run = fit(rule, optimizer, counting(at), DATA, epochs=60, batch_size=5)
    order = batches.shuffled(ROWS, 5, 60, 0)
    with pytest.warns(RuntimeWarning, match=f"in step {at + 1} of 120") as caught:
        state, values = training.train(rule, optimizer, counting(at), DATA, order)
    assert str(caught[0].message).startswith(words)
    # The same program, stopped: the fault lies behind the steps asked for.
    whole = training.run(rule, optimizer, training.start(optimizer, counting(at)), DATA, order[:at])
    for ours in (run.progress.run.state.params, state.params):
        assert ours["w"].tobytes() == np.asarray(whole[0].params["w"]).tobytes()
    assert np.isfinite(values[:at]).all()
    assert np.isnan(values[at + 1 :]).all()


@pytest.mark.parametrize("kind", [np.float16, np.float32, jnp.bfloat16])
def test_a_finite_gradient_changes_no_bit(kind):
    """Also of zeros of either sign, and of the smallest and largest numbers."""
    info = jnp.finfo(kind)
    edges = [0.0, -0.0, float(info.tiny), -float(info.tiny), float(info.max), 1.0, -3.0]
    leaf = np.array([a for a in edges for _ in edges], kind)
    grad = np.array([b for _ in edges for b in edges], kind)
    still = optax.GradientTransformation(
        lambda params: (), lambda g, s, p: (jnp.full_like(g, -0.0), s)
    )

    def rule(params, batch):
        return jnp.zeros((), kind), jnp.asarray(grad)

    state, _ = jax.jit(lambda start: training.step(losses.Rule(rule), still, start, DATA))(
        training.start(still, leaf)
    )
    assert np.asarray(state.params).tobytes() == leaf.tobytes()


def test_the_search_traces_the_loss_no_more(monkeypatch):
    """It runs the program that there is; one step is compiled to look at."""
    traces = []

    def loss(params, batch):
        traces.append(batch.shape)
        return steep(params, batch)

    params, data = begin("rate")

    def at(rate):
        numbers = {"learning_rate": rate}
        settings = {"epochs": 200, "batch_size": 5, "hyperparameters": numbers}
        return fit(loss, optax.sgd, params, data, **settings)

    at(0.01)
    before = len(traces)
    run = at(1e3)
    assert run.outcome == "diverged"
    assert len(traces) <= before + 1


@pytest.mark.parametrize("kind", [jnp.bfloat16, np.float16])
def test_the_mean_of_a_half_loss_is_summed_in_float32(kind):
    """A loss of exactly one over 80,000 rows."""

    def one(params, batch):
        return jnp.mean(batch) + 0 * params, jnp.ones((), kind)

    run = fit(
        *(losses.Rule(one), optax.sgd(0.1), np.ones((), kind), np.ones(80_000, kind)),
        epochs=1,
        batch_size=1000,
    )
    assert run.history["loss"].dtype == np.float32
    assert run.history["loss"].tolist() == [1.0]

"""Models that carry a state, of other libraries, held against loops of their own."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from few import first_of
from flax import linen, nnx
from runs import close, key_of, same

import jaxnet
from jaxnet import batches
from jaxnet.compare import Problem, compare
from jaxnet.storage import Checkpoints

RATE, SEED, EPOCHS = 0.05, 4, 3
_random = np.random.default_rng(0)
X = _random.normal(size=(24, 6, 6, 1)).astype(np.float32)
Y = _random.integers(0, 3, 24).astype(np.int32)
OPTIMIZER = optax.sgd(RATE, momentum=0.9)


@pytest.fixture(autouse=True)
def plain_promotion():
    """What other libraries are written for."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def cross_entropy(logits, y):
    return optax.losses.softmax_cross_entropy_with_integer_labels(logits, y).mean()


class LinenCNN(linen.Module):
    """A convolution, batch statistics, dropout and a layer."""

    @linen.compact
    def __call__(self, x, train):
        x = linen.Conv(4, (3, 3))(x)
        x = linen.relu(linen.BatchNorm(use_running_average=not train, momentum=0.8)(x))
        x = linen.Dropout(0.4, deterministic=not train)(x.reshape(len(x), -1))
        return linen.Dense(3)(x)


def linen_model():
    """A loss, its start, and a step written for linen alone."""
    model = LinenCNN()
    first = model.init(jax.random.key(1), X, train=False)

    def applied(params, stats, batch, key):
        x, y = batch
        train = key is not None
        logits, changed = model.apply(
            {"params": params, "batch_stats": stats},
            x,
            train=train,
            rngs={"dropout": key} if train else {},
            mutable=["batch_stats"],
        )
        return cross_entropy(logits, y), changed["batch_stats"]

    def loss(variables, batch, key):
        return applied(variables.params, variables.state, batch, key)

    return loss, jaxnet.Variables(first["params"], first["batch_stats"]), applied


class NNXCNN(nnx.Module):
    """The same in NNX."""

    def __init__(self, rngs):
        self.conv = nnx.Conv(1, 4, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(4, momentum=0.8, rngs=rngs)
        self.dropout = nnx.Dropout(0.4)
        self.dense = nnx.Linear(144, 3, rngs=rngs)

    def __call__(self, x, rngs):
        x = nnx.relu(self.norm(self.conv(x)))
        return self.dense(self.dropout(x.reshape(len(x), -1), rngs=rngs))


def nnx_model():
    graph, first, carried = nnx.split(NNXCNN(nnx.Rngs(1)), nnx.Param, ...)

    def applied(params, state, batch, key):
        x, y = batch
        model = nnx.merge(graph, params, state, copy=True)
        model.set_attributes(deterministic=key is None, use_running_average=key is None)
        logits = model(x, None if key is None else nnx.Rngs(dropout=key))
        return cross_entropy(logits, y), nnx.split(model, nnx.Param, ...)[2]

    def loss(variables, batch, key):
        return applied(variables.params, variables.state, batch, key)

    return loss, jaxnet.Variables(first, carried), applied


class EquinoxCNN(eqx.Module):
    """The same in Equinox, of one example."""

    conv: eqx.nn.Conv2d
    norm: eqx.nn.BatchNorm
    dropout: eqx.nn.Dropout
    dense: eqx.nn.Linear

    def __init__(self, key):
        one, two = jax.random.split(key)
        self.conv = eqx.nn.Conv2d(1, 4, 3, padding=1, key=one)
        self.norm = eqx.nn.BatchNorm(4, "batch", momentum=0.8, mode="batch")
        self.dropout = eqx.nn.Dropout(0.4)
        self.dense = eqx.nn.Linear(144, 3, key=two)

    def __call__(self, x, state, key):
        inference = key is None
        x, state = self.norm(self.conv(jnp.moveaxis(x, -1, 0)), state, inference=inference)
        x = self.dropout(jax.nn.relu(x).reshape(-1), key=key, inference=inference)
        return self.dense(x), state


def equinox_model():
    model, carried = eqx.nn.make_with_state(EquinoxCNN)(jax.random.key(1))
    first, static = eqx.partition(model, eqx.is_inexact_array)

    def applied(params, state, batch, key):
        x, y = batch
        keys = None if key is None else jax.random.split(key, len(x))
        model = eqx.combine(params, static)
        of_batch = jax.vmap(model, (0, None, 0), (0, None), axis_name="batch")
        logits, state = of_batch(x, state, keys)
        return cross_entropy(logits, y), state

    def loss(variables, batch, key):
        return applied(variables.params, variables.state, batch, key)

    return loss, jaxnet.Variables(first, carried), applied


def pure_model():
    """A moving average of the inputs that are then centred, in plain functions."""
    first = {"w": jnp.full((36, 3), 0.1), "b": jnp.zeros(3)}

    def applied(params, state, batch, key):
        x, y = batch
        flat = x.reshape(len(x), -1)
        mean, count = state
        if key is not None:
            mean, count = 0.9 * mean + 0.1 * flat.mean(axis=0), count + 1
        logits = (flat - mean) @ params["w"] + params["b"]
        return cross_entropy(logits, y), (mean, count)

    def loss(variables, batch, key):
        return applied(variables.params, variables.state, batch, key)

    return loss, jaxnet.Variables(first, (jnp.zeros(36), jnp.array(0))), applied


MODELS = {"linen": linen_model, "nnx": nnx_model, "equinox": equinox_model, "pure": pure_model}
made = functools.cache(lambda name: MODELS[name]())


def own_loop(name):
    """Three epochs as one would write them with the library and optax alone."""
    _, start, applied = made(name)
    params, state = start
    opt_state = OPTIMIZER.init(params)

    @jax.jit
    def step(params, state, opt_state, batch, key):
        value_and_grad = jax.value_and_grad(applied, has_aux=True)
        (value, state), grads = value_and_grad(params, state, batch, key)
        updates, opt_state = OPTIMIZER.update(grads, opt_state, params)
        return value, optax.apply_updates(params, updates), state, opt_state

    losses = []
    for t, rows in enumerate(batches.shuffled(24, 8, EPOCHS, SEED)):
        batch = X[rows], Y[rows]
        value, params, state, opt_state = step(params, state, opt_state, batch, key_of(SEED, t))
        losses.append(float(value))
    return np.array(losses), jaxnet.Variables(params, state)


def fitted(name, **settings):
    loss, start, _ = made(name)
    settings = {"epochs": EPOCHS, "batch_size": 8, "seed": SEED, **settings}
    return jaxnet.fit(loss, OPTIMIZER, start, (X, Y), **settings)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name in ("nnx", "linen", "equinox")))
        for name in MODELS
    ],
)
def test_fit_and_train_agree_with_the_library_s_own_loop(name):
    loss, start, applied = made(name)
    values, last = own_loop(name)
    order = batches.shuffled(24, 8, EPOCHS, SEED)
    state, losses = jaxnet.train(loss, OPTIMIZER, start, (X, Y), order, seed=SEED)
    np.testing.assert_allclose(losses, values, rtol=1e-5, atol=1e-6)
    close(state.params, last)
    fit = fitted(name, validation=(X, Y))
    np.testing.assert_allclose(fit.history["loss"], values.reshape(3, 3).mean(1), rtol=1e-5)
    close(fit.progress.run.state.params, last)
    # In evaluation the state is read, and what it becomes is dropped.
    evaluated = applied(*last, (X, Y), None)[0]
    np.testing.assert_allclose(fit.history["validation_loss"][-1], evaluated, rtol=1e-5)


@first_of("name", ["pure", "linen", "nnx", "equinox"])
def test_a_run_goes_on_with_its_state(name, tmp_path):
    start, half = made(name)[1], fitted(name, epochs=2)
    with Checkpoints(tmp_path, {"name": name}) as checkpoints:
        checkpoints.save(half)
    with Checkpoints(tmp_path, {"name": name}) as checkpoints:
        restored, passed = checkpoints.restore(jaxnet.begin(OPTIMIZER, start))
    assert not passed
    same(fitted(name, resume=restored).params, fitted(name).params)


def test_the_state_kept_is_that_of_the_best_epoch():
    fit = fitted("pure", epochs=6, validation=(X, Y))
    best = int(np.argmin(fit.history["validation_loss"]))
    assert int(fit.params.state[1]) == 3 * (best + 1)


@first_of("name", ["linen", "pure"])
@pytest.mark.slow
def test_a_comparison_carries_the_state_of_every_run(name):
    loss, start, _ = made(name)

    def init(key):
        moved = jax.tree.map(
            lambda leaf: leaf + 0.01 * jax.random.normal(key, leaf.shape), start.params
        )
        return start._replace(params=moved)

    problem = Problem(loss, init, (X, Y), steps=6, batch_size=8, validation=(X, Y))
    settings = {each: {"learning_rate": RATE} for each in ("sgd", "twin")}
    compared = compare(problem, {"twin": optax.sgd}, tune=settings, replicates=2)
    assert compared.answers[1].verdict == "not told apart"


def test_what_is_no_floating_point_number_stays_as_it_is():
    params = {"w": np.ones(3, np.float32), "mask": np.array([1, 0, 1]), "on": np.array([True])}

    def loss(params, batch):
        return jnp.mean((batch[0] @ (params["w"] * params["mask"]) - batch[1]) ** 2)

    data = np.eye(3, dtype=np.float32), np.zeros(3, np.float32)
    fit = jaxnet.fit(loss, optax.sgd(0.1), params, data, epochs=5)
    same(
        {name: fit.params[name] for name in ("mask", "on")}, {k: params[k] for k in ("mask", "on")}
    )
    assert fit.params["w"][0] < 0.9
    assert fit.params["w"][1] == 1


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (lambda v, batch: jnp.mean(v.params), r"expected a pair \(loss, state\)"),
        (
            lambda v, batch: (jnp.mean(v.params), jnp.zeros(3)),
            r"float32\[2\] at state, got float32",
        ),
        (lambda v, batch: (jnp.mean(v.params), {"a": v.state}), r"at state\['a'\]|at state, got"),
        (lambda v, batch: (jnp.ones(2), v.state), r"expected a real scalar"),
    ],
)
def test_a_loss_of_variables_gives_its_state_back_as_it_was(loss, words):
    start = jaxnet.Variables(jnp.ones(2), jnp.zeros(2))
    with pytest.raises(jaxnet.InputError, match=words):
        jaxnet.fit(loss, optax.sgd(0.1), start, np.ones((4, 1), np.float32), epochs=1)
    state = jaxnet.start(optax.sgd(0.1), start)
    with pytest.raises(jaxnet.InputError, match=words):
        jaxnet.step(loss, optax.sgd(0.1), state, np.ones((4, 1), np.float32))


def test_a_state_that_is_not_finite_is_no_failure_of_its_own():
    def loss(variables, batch):
        return jnp.mean((batch * variables.params - 1) ** 2), jnp.maximum(
            variables.state, batch.max()
        )

    start = jaxnet.Variables(jnp.ones(1), jnp.array(-jnp.inf))
    fit = jaxnet.fit(loss, optax.sgd(0.1), start, np.arange(4, dtype=np.float32)[:, None], epochs=2)
    assert fit.outcome == "finished"
    assert fit.params.state == 3


@pytest.mark.slow
def test_what_is_not_finite_is_named_among_what_is_trained():
    def loss(params, batch):
        return jnp.mean(batch[:, 0] * params["a"].sum() * jnp.sqrt(params["b"]) * params["w"])

    params = {"a": np.arange(2), "b": np.zeros(1, np.float32), "w": np.ones(1, np.float32)}
    data = np.ones((4, 1), np.float32)
    with pytest.warns(RuntimeWarning, match=r"gradient of params\['b'\] was not finite"):
        jaxnet.fit(loss, optax.sgd(0.1), params, data, epochs=1)
    start = jaxnet.Variables(params, jnp.zeros(2))

    def of_variables(variables, batch):
        return loss(variables.params, batch), variables.state

    with pytest.warns(RuntimeWarning, match=r"gradient of params\['b'\] was not finite"):
        jaxnet.fit(of_variables, optax.sgd(0.1), start, data, epochs=1)


@pytest.mark.slow
def test_a_state_may_hold_keys():
    """As those of NNX do that draw by themselves; what is compiled is held against NumPy still."""

    def loss(variables, batch):
        key, own = jax.random.split(variables.state)
        return jnp.mean((batch * variables.params - jax.random.normal(own)) ** 2), key

    start = jaxnet.Variables(jnp.ones(1), jax.random.key(0))
    data = np.ones((4, 1), np.float32)
    fit = jaxnet.fit(loss, optax.sgd(0.1), start, data, epochs=3)
    assert fit.verified.endswith("agree with NumPy to rounding")
    problem = Problem(
        loss, lambda key: jaxnet.Variables(jax.random.normal(key, (1,)), key), data, steps=3
    )
    settings = {"sgd": {"learning_rate": 0.1}}
    assert compare(problem, ["sgd"], tune=settings, replicates=2).answers


def test_nothing_to_train_is_refused():
    start = jaxnet.Variables(np.arange(3), np.zeros(2, np.float32))
    with pytest.raises(jaxnet.InputError, match="expected floating-point arrays among them"):
        jaxnet.fit(lambda v, b: (0.0, v.state), optax.sgd(0.1), start, np.ones(3), epochs=1)


def test_an_average_of_parameters_is_judged_beside_the_last():
    """A loss that pulls one number towards each row, against the loop in plain floats."""
    rows = np.random.default_rng(0).normal(size=(12, 1)).astype(np.float32)

    def pull(number, batch):
        return jnp.mean((number - batch) ** 2)

    def averaging(variables, batch, key):
        number, average = variables
        return pull(average if key is None else number, batch), 0.75 * average + 0.25 * number

    start = jaxnet.Variables(jnp.float32(2), jnp.float32(2))
    settings = {"epochs": 5, "batch_size": 4, "validation": rows}
    metrics = {"last": lambda variables, batch: pull(variables.params, batch)}
    run = jaxnet.fit(averaging, optax.sgd(0.25), start, rows, **settings, metrics=metrics)
    number = average = 2.0
    expected = []
    for epoch in range(5):
        for batch in batches.shuffle(12, 0, epoch).reshape(3, 4):
            average = 0.75 * average + 0.25 * number
            number -= 0.5 * np.mean(number - rows[batch])
        expected.append([np.mean((each - rows) ** 2) for each in (average, number)])
    got = [run.history["validation_loss"], run.history["validation_last"]]
    assert np.allclose(np.transpose(got), expected, rtol=1e-5)

"""Every task starts, falls and fits its parts; where an answer is known, it is that answer."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize
import scipy.signal
from few import first_of
from jax.flatten_util import ravel_pytree
from sklearn import linear_model

from experiments.tasks import TASKS, functions, linear, networks, text
from jaxnet import batches, losses
from jaxnet.network import Layer

pytestmark = pytest.mark.usefixtures("standard_promotion")
STEPS, RATE = 200, 0.01
LABELS = ["iris", "wine", "breast_cancer", "digits", "digits-convolution", "mnist1d"]
LABELS += ["mnist1d-convolution", "characters", "sparse"]
# Of each kind one: a notebook, a table, a convolution, text, and no data.
OFTEN = ("classifier", "rosenbrock")


def mostly_slow(names):
    return [pytest.param(name, marks=[pytest.mark.slow] * (name not in OFTEN)) for name in names]


def order(task):
    """The rows of 200 steps, as the task cuts its data; None without data."""
    if task.data is None:
        return None
    rows = batches.count(task.data)
    size = task.batch_size or rows
    return batches.shuffled(rows, size, -(-STEPS // (rows // size)), seed=0)[:STEPS]


@functools.cache
def start(name):
    """What gives the parameters of a seed, compiled."""
    init = TASKS[name]().init
    return jax.jit(lambda seed: init(jax.random.key(seed)))


@functools.cache
def trained(name):
    """The losses, the size of the first gradient, and the parameters after 200 steps of Adam."""
    task, optimizer = TASKS[name](), optax.adam(RATE)
    data = jax.tree.map(jnp.asarray, task.data)

    def step(carry, rows):
        params, state = carry
        batch = None if rows is None else batches.take(data, rows)
        value, grads = jax.value_and_grad(task.loss)(params, batch)
        updates, state = optimizer.update(grads, state)
        return (optax.apply_updates(params, updates), state), (value, optax.tree.norm(grads))

    def train(params):
        begun = params, optimizer.init(params)
        (params, _), traces = jax.lax.scan(step, begun, order(task), length=STEPS)
        return params, traces

    params, traces = jax.jit(train)(start(name)(0))
    return *jax.device_get(traces), params


def minimum(task, key=0):
    """The least loss that SciPy's L-BFGS reaches, and where."""
    params, unravel = ravel_pytree(task.init(jax.random.key(key)))
    rule = jax.jit(jax.value_and_grad(lambda flat: task.loss(unravel(flat), task.data)))

    def numbers(flat):
        value, grads = rule(jnp.asarray(flat))
        return float(value), np.asarray(grads)

    bounded = {"maxiter": 150, "ftol": 1e-14, "gtol": 1e-9}
    done = scipy.optimize.minimize(numbers, params, jac=True, method="L-BFGS-B", options=bounded)
    return done.fun, unravel(jnp.asarray(done.x))


def test_there_are_tasks_enough_and_each_says_what_it_is():
    tasks = [make() for make in TASKS.values()]
    assert [task.name for task in tasks] == list(TASKS)
    assert len(tasks) >= 16
    assert [task.name for task in tasks if "accuracy" in task.metrics] == LABELS
    assert len({task.about for task in tasks}) == len(tasks)
    for task in tasks:
        assert 20 < len(task.about) <= 100
        assert (task.data is None) == (task.epochs is None) == (task.steps is not None)
        assert (task.validation is None) == (task.test is None)


@pytest.mark.parametrize("name", mostly_slow(TASKS))
def test_seeds_start_apart_and_a_seed_the_same(name):
    first, again, other = (ravel_pytree(start(name)(seed))[0] for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)


@pytest.mark.parametrize("name", mostly_slow(TASKS))
def test_a_task_falls_from_a_finite_start(name):
    values, grads, _ = trained(name)
    assert np.isfinite(values).all()
    assert 0 < grads[0] < np.inf
    assert values[-20:].mean() < 0.9 * values[:5].mean()


@pytest.mark.parametrize("name", mostly_slow(TASKS))
def test_every_part_fits_the_loss_and_the_metrics(name):
    task = TASKS[name]()
    params = jax.eval_shape(task.init, jax.random.key(0))
    for part in (task.data, task.validation, task.test):
        if part is not None or task.data is None:
            for function in (task.loss, *task.metrics.values()):
                assert jax.eval_shape(function, params, part).shape == ()
    parts = [part for part in (task.data, task.validation, task.test) if part is not None]
    if len(parts) == 3 and name != "noisy-quadratic":
        rows = [np.asarray(jax.tree.leaves(part)[0]).tobytes() for part in parts]
        assert len(set(rows)) == 3


@pytest.mark.parametrize("name", mostly_slow(LABELS))
def test_labels_are_learnt_better_than_by_chance(name):
    task, (_, _, params) = TASKS[name](), trained(name)
    commonest = np.bincount(task.test[1]).max() / len(task.test[1])
    accuracy = jax.jit(task.metrics["accuracy"])
    assert accuracy(params, task.test) > 1.1 * commonest
    wrong = (task.test[0], (task.test[1] + 1) % (task.test[1].max() + 1))
    assert accuracy(params, wrong) < commonest


@pytest.mark.parametrize("exponent", [0, 3, 6])
@pytest.mark.usefixtures("x64")
def test_a_quadratic_has_its_condition_and_its_minimum_at_zero(exponent):
    task = functions.quadratic(exponent)
    loss, ones = jax.jit(task.loss), np.ones(20)
    hessian = np.asarray(jax.jit(jax.hessian(task.loss))(ones, None))
    assert np.isclose(np.linalg.cond(hessian), 10**exponent)
    assert np.isclose(loss(ones, None), hessian.sum() / 2)
    assert loss(0 * ones, None) == 0
    # Off the axes, where rates of each coordinate alone would not do.
    off = hessian - np.diag(np.diag(hessian))
    assert (exponent == 0) == bool(np.abs(off).max() < 1e-12)


@pytest.mark.usefixtures("x64")
def test_the_noise_is_in_the_batches_and_not_in_their_mean():
    task = functions.noisy()
    at, still = jnp.linspace(-1, 1, 20), functions.Quadratic(100.0)
    gradient = jax.jit(jax.grad(task.loss))
    exact = jax.grad(still)(at, None)
    assert np.allclose(gradient(at, task.data), exact, atol=1e-6)
    assert not np.allclose(gradient(at, task.data[:8]), exact, atol=0.1)
    assert np.isclose(task.loss(at, task.test), still(at, None))


@pytest.mark.usefixtures("x64")
def test_rosenbrock_is_scipys_and_least_at_ones():
    ours = jax.jit(jax.value_and_grad(functions.rosenbrock))
    for point in np.random.default_rng(0).normal(size=(5, 2)):
        assert np.isclose(ours(point, None)[0], scipy.optimize.rosen(point))
    value, gradient = ours(np.ones(2), None)
    assert (value, *gradient) == (0, 0, 0)


@pytest.mark.usefixtures("x64")
@pytest.mark.slow
def test_logistic_regression_ends_where_scikit_learn_does():
    task = linear.logistic()
    x, y = task.data
    least, layer = minimum(task)
    sklearn = linear_model.LogisticRegression(
        C=1 / (linear.PENALTY * len(x)), tol=1e-10, max_iter=10_000
    ).fit(x.astype(float), y)
    theirs = Layer(jnp.asarray(sklearn.coef_), jnp.asarray(sklearn.intercept_))
    assert np.isclose(least, task.loss(theirs, task.data), rtol=1e-8, atol=0)
    assert np.allclose(layer.weight, theirs.weight, atol=1e-4)
    # Both starts lead there.
    assert np.isclose(least, minimum(task, key=1)[0], rtol=1e-8, atol=0)


def test_sparse_gradients_are_sparse_and_words_rare():
    task = linear.sparse()
    x, y = task.data
    gradient = jax.jit(jax.grad(task.loss))(start("sparse")(0), (x[:16], y[:16])).weight
    assert 0.2 < np.mean(np.asarray(gradient) == 0) < 0.9
    assert np.median(x.mean(axis=0)) < 0.1
    assert 0.4 < y.mean() < 0.6


@pytest.mark.usefixtures("x64")
@pytest.mark.slow
def test_the_equation_is_solved_by_the_sine():
    task = functions.pinn()
    least, params = minimum(task)
    points = np.linspace(0, np.pi, 33)
    assert least < 1e-4
    assert np.allclose(functions.solution(params, points), np.sin(points), atol=1e-2)


@pytest.mark.usefixtures("x64")
def test_a_deep_linear_network_has_a_minimum_of_zero_and_a_saddle_at_zero():
    target = jnp.diag(jnp.linspace(0.5, 2, 8))
    there = jnp.stack([target, *[jnp.eye(8)] * 3])
    ours = jax.jit(jax.value_and_grad(functions.product))
    assert ours(there, None)[0] == 0
    value, gradient = ours(np.zeros((4, 8, 8)), None)
    assert np.isclose(value, np.sum(np.linspace(0.5, 2, 8) ** 2) / 2)
    assert not gradient.any()


@first_of(("shape", "kernel"), [((8, 8, 3), (3, 3)), ((40, 1, 2), (5, 1))])
@pytest.mark.usefixtures("x64")
def test_a_convolution_is_scipys_at_every_other_place(shape, kernel):
    random = np.random.default_rng(0)
    x, weight = random.normal(size=shape), random.normal(size=(4, *kernel, shape[-1]))
    bias = random.normal(size=4)
    layer = Layer(jnp.asarray(weight.reshape(4, -1)), jnp.asarray(bias))
    images = networks.convolve(layer, jnp.asarray(x), kernel)
    for channel, image in enumerate(np.moveaxis(images, -1, 0)):
        parts = [
            scipy.signal.correlate(x[..., c], weight[channel, ..., c], "valid")
            for c in range(shape[-1])
        ]
        assert np.allclose(image, sum(parts)[::2, ::2] + bias[channel])


def test_the_text_is_the_same_each_time_and_verbs_agree():
    written = text.write(3000)
    assert written == text.write(5000)[:3000]
    assert written.startswith("the big dogs see a cat. the bird that finds a big ")
    words = set(written[: written.rindex(" ")].replace(".", "").split())
    assert {"the", "a", "that", "cat", "cats", "sees", "see"} <= words
    assert len(words) == 3 + 3 + 2 * 8
    sentences = [each.split() for each in written.split(". ")[:-1]]
    plain = [each[1:3] for each in sentences if each[1] not in ("small", "big", "red")]
    pairs = {(a.endswith("s"), b.endswith("s")) for a, b in plain if b != "that"}
    assert pairs == {(True, False), (False, True)}


def test_an_autoencoder_is_to_give_back_what_it_sees():
    task = networks.digits_autoencoder()
    assert all(x is y for x, y in (task.data, task.validation, task.test))
    layers = start("digits-autoencoder")(0)
    assert min(len(layer.bias) for layer in layers) == 8 < task.data[0].shape[1]


def test_tasks_are_decided_once():
    task = TASKS["iris"]()
    assert TASKS["iris"]() is task
    assert isinstance(task.loss, losses.BatchLoss)
    with pytest.raises(dataclasses.FrozenInstanceError):
        task.epochs = 3

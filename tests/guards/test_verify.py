"""Evidence for the audit of what XLA compiled: it finds what is wrong, and nothing else."""

import functools
import itertools
import re
import subprocess
import sys
import warnings

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
import optax
import pytest
from few import first_of

from jaxnet import fitting, optimizers, training
from jaxnet._guards import reference, verify
from jaxnet.compare import sweep, tiles, verifying
from jaxnet.compare.fast import products
from jaxnet.errors import InputError

# Functions as people write them, which no compiler may be accused of.

ACTIVATIONS = [jnp.tanh, jax.nn.relu, jax.nn.gelu, jax.nn.silu, jax.nn.sigmoid, jax.nn.elu]
ACTIVATIONS += [jax.nn.softplus, jnp.sin, jax.nn.selu, jnp.square, jax.nn.mish]
ROWWISE = [optax.losses.l2_loss, optax.losses.huber_loss, optax.losses.log_cosh]
ROWWISE += [optax.losses.sigmoid_binary_cross_entropy, optax.losses.hinge_loss]
ROWWISE += [lambda outputs, targets: jnp.abs(outputs - targets)]
REDUCTIONS = [jnp.mean, jnp.mean, jnp.sum, jnp.max, jnp.median, jax.nn.logsumexp]
REDUCTIONS += [lambda v: jnp.sqrt(jnp.mean(v**2)), jnp.linalg.norm, lambda v: jnp.mean(jnp.sort(v))]
REDUCTIONS += [jnp.var, lambda v: jnp.log(jnp.mean(jnp.exp(v)))]


def perceptron(random, activation):
    depth, width = int(random.integers(1, 5)), int(random.choice([1, 2, 5, 16, 64, 128]))
    features = int(random.integers(1, 40))
    sizes = [features, *[width] * (depth - 1), 5]
    params = [
        (random.normal(size=(m, n)) / np.sqrt(n), 0.1 * random.normal(size=m))
        for n, m in itertools.pairwise(sizes)
    ]

    def forward(params, x):
        for weight, bias in params[:-1]:
            x = activation(weight @ x + bias)
        return params[-1][0] @ x + params[-1][1]

    return forward, params, (features,)


def convolution(random, activation):
    size, channels = int(random.integers(5, 13)), int(random.integers(1, 9))
    params = {
        "kernel": random.normal(size=(3, 3, 1, channels)) / 3,
        "out": random.normal(size=(channels, 5)),
    }

    def forward(params, x):
        numbers = ("NHWC", "HWIO", "NHWC")
        x = jax.lax.conv_general_dilated(
            x[None, :, :, None], params["kernel"], (1, 1), "SAME", dimension_numbers=numbers
        )
        x = jax.lax.reduce_window(
            activation(x),
            -np.array(np.inf, x.dtype),
            jax.lax.max,
            (1, 2, 2, 1),
            (1, 2, 2, 1),
            "VALID",
        )
        return jnp.mean(x, (0, 1, 2)) @ params["out"]

    return forward, params, (size, size)


def attention(random, activation):
    length, width = int(random.integers(2, 9)), int(random.choice([2, 4, 16]))
    params = {name: random.normal(size=(width, width)) / np.sqrt(width) for name in "qkv"}
    params |= {"out": random.normal(size=(width, 5)), "scale": np.ones(width)}

    def forward(params, x):
        x = (
            params["scale"]
            * (x - x.mean(1, keepdims=True))
            / jnp.sqrt(x.var(1, keepdims=True) + 1e-5)
        )
        q, k, v = (x @ params[name] for name in "qkv")
        x = x + jax.nn.softmax(q @ k.T / np.array(np.sqrt(width), x.dtype)) @ v
        return activation(x).mean(0) @ params["out"]

    return forward, params, (length, width)


def recurrent(random, activation):
    length, width = int(random.integers(2, 7)), int(random.integers(2, 9))
    params = [random.normal(size=(width, width)) / np.sqrt(width) for _ in range(3)]
    params += [random.normal(size=(width, 5))]

    def forward(params, x):
        def body(state, now):
            gate = jax.nn.sigmoid(params[0] @ now + params[1] @ state)
            return gate * state + (1 - gate) * jnp.tanh(params[2] @ state), None

        return jax.lax.scan(body, jnp.zeros_like(x[0]), x)[0] @ params[3]

    return forward, params, (length, width)


TERMS = [
    *[lambda value, params, outputs: value] * 6,
    lambda value, params, outputs: value + 1e-2 * optax.tree.norm(params, squared=True),
    # What cancels: exactly, and but for rounding.
    lambda value, params, outputs: value + jnp.mean(1e4 + outputs) - jnp.mean(1e4 + outputs**1),
    lambda value, params, outputs: jnp.mean((outputs + 300) ** 2) - jnp.mean(outputs + 300) ** 2,
    lambda value, params, outputs: value - value,
    lambda value, params, outputs: jnp.mean(outputs * 3 - outputs * 2 - outputs),
    lambda value, params, outputs: jnp.mean(outputs - outputs.mean()),
    # Without a gradient, or with dead units.
    lambda value, params, outputs: jax.lax.stop_gradient(value),
    lambda value, params, outputs: jnp.mean(jax.nn.relu(-jnp.abs(outputs))),
    lambda value, params, outputs: value + jnp.nan,
    lambda value, params, outputs: value / 0,
    lambda value, params, outputs: jnp.mean(jnp.sqrt(outputs)),
    lambda value, params, outputs: jnp.log(jnp.mean(jnp.exp(30 * outputs))),
    lambda value, params, outputs: jnp.mean(jnp.where(outputs > 0, jnp.sqrt(outputs), 0 * outputs)),
]


def healthy(seed):
    """Draw a loss, parameters, data, and metrics."""
    random = np.random.default_rng(seed)

    def choose(these):
        return these[random.integers(len(these))]

    make_network = choose([perceptron, perceptron, perceptron, convolution, attention, recurrent])
    forward, params, shape = make_network(random, choose(ACTIVATIONS))
    dtype = choose([jnp.float32] * 4 + [jnp.float64, jnp.float64, jnp.bfloat16, jnp.float16])
    rows = int(np.exp(random.uniform(0, np.log(3000 if make_network is perceptron else 300))))
    x = choose([1, 1, 1, 1, 30, 1e3, 1e6, 1e-6]) * random.normal(size=(rows, *shape))
    x += choose([0, 0, 0, 1, 100])
    x = np.clip(x, -6e4, 6e4) if dtype == jnp.float16 else x
    labels = random.integers(0, 5, rows).astype(np.int32)
    targets = (labels[:, None] == np.arange(5)).astype(dtype)
    params, x = jax.tree.map(lambda leaf: np.asarray(leaf, dtype), (params, x))
    kind, reduce, term = choose(["rows", "rows", "labels"]), choose(REDUCTIONS), choose(TERMS)
    of_rows = choose(ROWWISE)

    def outputs_of(params, batch):
        return jax.vmap(forward, (None, 0))(params, batch[0])

    def loss(params, batch):
        outputs = outputs_of(params, batch)
        if kind == "labels":
            each = optax.losses.softmax_cross_entropy_with_integer_labels(outputs, batch[1])
        else:
            each = of_rows(outputs, batch[2]).sum(1)
        return term(reduce(each), params, outputs).astype(dtype)

    def accuracy(params, batch):
        return jnp.mean(jnp.argmax(outputs_of(params, batch), 1) == batch[1])

    def near(params, batch):
        """Ties all over: outputs rounded to few digits."""
        return jnp.mean(jnp.argmax(jnp.round(outputs_of(params, batch)), 1) == batch[1])

    return loss, params, (x, labels, targets), (("accuracy", accuracy), ("near", near))


def judged(seed):
    """Hold a healthy function, as `fit` compiles it, against NumPy."""
    wide = (jax.enable_x64(True), jax.numpy_dtype_promotion("standard"))
    with wide[0], wide[1], jax.numpy_rank_promotion("allow"):
        loss, params, data, metrics = healthy(seed)
        rows = np.random.default_rng(seed).permutation(len(data[1])).astype(np.int32)
        probe = jax.jit(training.at_start(training.Plan(loss, optax.sgd, metrics)))
        inputs = params, data, (rows[: 1 + len(rows) // 2],), {"validation": data}
        return verify.Program(None, probe).verify(inputs, inputs)


# Those that once were, and some of the others.
HEALTHY = [133, 246, 613, 636, 1293, 3135, 0]


@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(seed, marks=[pytest.mark.slow] * (seed not in HEALTHY[:1]))
        for seed in sorted({*HEALTHY, *range(40)})
    ],
)
def test_no_healthy_function_is_accused(seed):
    assert judged(seed) is None


# Faults planted: what is compiled differs from the function that is said.

X = np.random.default_rng(0).normal(size=(5000, 3)).astype(np.float32)
Y = np.random.default_rng(1).normal(size=(5000, 1)).astype(np.float32)
PARAMS = {
    "w": np.random.default_rng(2).normal(size=(3, 4)).astype(np.float32),
    "v": np.random.default_rng(3).normal(size=(4, 1)).astype(np.float32),
    "tiny": np.array(1e-3, np.float32),
}


def errors_of(params, batch):
    return jax.nn.sigmoid(batch[0] @ params["w"]) @ params["v"] - batch[1] + 1e-2 * params["tiny"]


def squares(params, batch):
    return jnp.mean(errors_of(params, batch) ** 2)


def hits(params, batch):
    return jnp.mean(jnp.abs(errors_of(params, batch)) < 1)


def measure(params, batch):
    loss, grads = jax.value_and_grad(squares)(params, batch)
    return {"loss": loss, "gradient": grads, "hits": hits(params, batch)}


def one_row(params, batch):
    squared = errors_of(params, batch) ** 2
    return jnp.mean(squared.at[4321].multiply(1.5))


FAULTS = {
    "a row of the loss": ("loss", lambda results, inputs: results | {"loss": one_row(*inputs)}),
    "a loss of nan": (
        "loss",
        lambda results, inputs: results | {"loss": results["loss"] * jnp.nan},
    ),
    "an infinite loss": ("loss", lambda results, inputs: results | {"loss": results["loss"] / 0}),
    "a metric": ("hits", lambda results, inputs: results | {"hits": results["hits"] + 1 / 5000}),
    "an entry": (
        "gradient",
        lambda results, inputs: with_grad(results, "w", lambda leaf: leaf.at[1, 2].multiply(1.01)),
    ),
    "a sign": ("gradient", lambda results, inputs: with_grad(results, "v", lambda leaf: -leaf)),
    "a nan": (
        "gradient",
        lambda results, inputs: with_grad(results, "v", lambda v: v.at[3].set(jnp.nan)),
    ),
    "a small leaf": (
        "gradient",
        lambda results, inputs: with_grad(results, "tiny", lambda leaf: 2 * leaf),
    ),
    "a leaf of zeros": (
        "gradient",
        lambda results, inputs: with_grad(results, "tiny", jnp.zeros_like),
    ),
    "rows swapped": (
        "gradient",
        lambda results, inputs: with_grad(results, "w", lambda leaf: leaf[jnp.array([1, 0, 2])]),
    ),
}


def with_grad(results, name, change):
    grads = results["gradient"]
    return results | {"gradient": grads | {name: change(grads[name])}}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_and_named(fault):
    name, plant = FAULTS[fault]

    def probe(params, batch):
        return plant(measure(params, batch), (params, batch))

    inputs = PARAMS, (X, Y)
    difference = verify.Program(None, jax.jit(probe), jax.jit(measure)).verify(inputs, inputs)
    assert difference.name == name
    assert not difference.error <= difference.rounding
    for part in (name, jax.__version__, jaxlib.__version__, jax.default_backend()):
        assert part in str(difference)
    assert verify.Program(None, jax.jit(measure)).verify(inputs, inputs) is None


def test_a_leaf_far_below_the_others_is_held_to_its_own_size():
    """As Adam takes it, which divides each by its size."""

    def small(params):
        return {"gradient": (jnp.sum(params), 1e-9 * jnp.sum(params**2))}

    def wrong(params):
        return {"gradient": (jnp.sum(params), 1.1e-9 * jnp.sum(params**2))}

    inputs = (np.full(100, 10.0, np.float32),)
    difference = verify.Program(None, jax.jit(wrong), jax.jit(small)).verify(inputs, inputs)
    assert difference is not None


def test_the_largest_of_several_faults_comes_first():
    def probe(params, batch):
        results = measure(params, batch)
        return results | {"loss": 1.01 * results["loss"], "hits": 1.5 * results["hits"]}

    pending = verify.begin(jax.jit(probe), PARAMS, (X, Y), plain=jax.jit(measure))
    assert [each.name for each in verify.differences(pending)] == ["hits", "loss"]


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
def test_float64_computed_in_float32_is_found(x64, monkeypatch, platform):
    """Where float32 is multiplied in narrower numbers, too: float64 is not."""
    monkeypatch.setattr(jax, "default_backend", lambda: platform)

    def narrow(params, batch):
        params, batch = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), (params, batch))
        return jax.tree.map(lambda leaf: leaf.astype(jnp.float64), measure(params, batch))

    params, batch = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), (PARAMS, (X, Y)))
    inputs = params, batch
    difference = verify.Program(None, jax.jit(narrow), jax.jit(measure)).verify(inputs, inputs)
    assert difference.error < 1e-5


def test_products_of_a_gpu_are_as_exact_as_they_were_asked_to_be(monkeypatch):
    """To three digits where nothing is said: jax_default_matmul_precision."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")

    def probe(params, batch):
        return jax.tree.map(lambda leaf: leaf * (1 + 2.0**-11), measure(params, batch))

    inputs, held = (PARAMS, (X, Y)), {}
    for asked in (None, "tensorfloat32", "high", "float32", "highest"):
        with jax.default_matmul_precision(asked):
            program = verify.Program(None, jax.jit(probe), jax.jit(measure))
            held[asked] = program.verify(inputs, inputs) is None
    assert held == {
        None: True,
        "tensorfloat32": True,
        "high": True,
        "float32": False,
        "highest": False,
    }


# The whole path: what is compiled is right here, so that NumPy's side is the one that is moved.


@pytest.fixture
def counted(monkeypatch):
    """Count what is carried out in NumPy; an entry of `wrong` gives its place a factor."""
    calls, wrong, evaluate = [], {}, reference.evaluate

    def evaluated(closed, arrays, wide=False, random=None):
        calls.append(wide)
        results = evaluate(closed, arrays, wide, random)
        return [leaf * wrong.get(at, 1) for at, leaf in enumerate(results)] if wrong else results

    monkeypatch.setattr(reference, "evaluate", evaluated)
    calls_and = type("Counted", (), {"calls": calls, "wrong": wrong})
    return calls_and


def some_data(rows=40):
    return X[:rows], Y[:rows]


def fresh():
    """A loss of its own, of which nothing is cached."""
    return functools.partial(squares)


def ran(steps):
    """Record each step of a run as it is taken."""

    def record(step):
        jax.debug.callback(lambda loss: steps.append(float(loss)), step.value)
        return step.value

    return record


@pytest.mark.parametrize(("place", "name"), [(0, "gradient of a batch"), (3, "loss of a batch")])
def test_train_refuses_before_it_runs(counted, place, name):
    # Flat outputs in the order of their names: tiny, v, w and the loss.
    counted.wrong[place] = np.float32(1.01)
    steps, order = [], np.arange(40, dtype=np.int32).reshape(4, 10)
    with pytest.raises(InputError, match=f"^{name}: compiled, it is off by a relative 9.9e-03"):
        training.train(fresh(), optax.sgd(0.1), PARAMS, some_data(), order, record=ran(steps))
    jax.effects_barrier()
    assert not steps


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (3, "gradient of a last batch"),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in [
                *[(0, "gradient of a batch"), (6, "loss of a batch"), (7, "loss of a last batch")],
                *[(8, "validation_hits"), (9, "validation_loss")],
            ]
        ),
    ],
)
def test_fit_refuses_each_part_by_name(counted, place, name):
    counted.wrong[place] = np.float32(1.2)
    judged = {"validation": some_data(30), "metrics": {"hits": hits}}
    with pytest.raises(InputError, match=f"^{name}: .*install another release of jax"):
        fitting.fit(fresh(), optax.sgd(0.1), PARAMS, some_data(), epochs=2, batch_size=9, **judged)


def test_each_program_is_held_against_numpy_once(counted):
    loss, sgd = fresh(), optax.sgd(0.1)

    def fit(rows=40, dtype=np.float32, **settings):
        params, data = jax.tree.map(lambda leaf: np.asarray(leaf, dtype), (PARAMS, some_data(rows)))
        settings = {"epochs": 2, "batch_size": 9} | settings
        done = fitting.fit(loss, sgd, params, data, **settings)
        assert done.verified == verify.AGREES
        return len(counted.calls)

    first = fit()
    assert first == 1
    assert fit() == fit(seed=1) == first
    assert fit(validation=some_data(5)) == first + 1
    assert fit(41) == first + 2
    assert fit(batch_size=8) == first + 3
    with jax.enable_x64(True):
        assert fit(dtype=np.float64) == first + 4
    assert fit() == first + 4


SGD = optimizers.entry("sgd")
TWIN = optimizers.join("twin", lambda learning_rate: optax.sgd(2 * learning_rate))
RUNS = tiles.Trials(np.array([0, 0, 1], np.int32), {"learning_rate": np.array([0.1, 0.2, 0.1])})
TILE = tiles.Tile(1, 2)
NAMED = tiles.Fast(True, ())


def start(key):
    return {"w": jax.random.normal(key, (3, 4)), "v": jnp.ones((4, 1)), "tiny": jnp.ones(())}


def task(path=NAMED):
    metrics = (("hits", hits),)
    parts = some_data(20), some_data(10)
    return tiles.Workload(fresh(), start, some_data(), 10, 1, (1,), *parts, metrics, fast=path)


@functools.cache
def plainly():
    """What every path must come to."""
    return sweep.run(task(tiles.PLAIN), SGD, RUNS, TILE, test=True)[0]


def agree(results):
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5), results, plainly())


def too_large(wrapper):
    """Make what a fast path makes of a function, by a thousandth larger."""

    def wrap(function):
        wrapped = wrapper(function)
        return lambda *inputs: jax.tree.map(lambda leaf: leaf * 1.001, wrapped(*inputs))

    return wrap


def breaks(wrapper):
    def wrap(function):
        raise ValueError("no such product")

    return wrap


CPU = pytest.mark.skipif(jax.default_backend() != "cpu", reason="elsewhere there is no fast path")


@CPU
@first_of("fault", [too_large, breaks])
def test_a_fast_path_that_is_wrong_is_left_for_the_plain_one(fault, monkeypatch):
    """With one warning, also where the runs are told no path that was found before."""
    plainly()
    monkeypatch.setattr(products, "expanded", fault(products.expanded))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        taken, words = verifying.verified(task(), TILE)
        results, _ = sweep.run(taken, SGD, RUNS, TILE, test=True)
    assert taken.fast == tiles.PLAIN
    assert words == f"plain path; {verify.AGREES}"
    agree(results)
    (warning,) = caught
    assert warning.category is RuntimeWarning
    expected = ["ValueError: no such product"]
    if fault is too_large:
        expected = ["of a batch: ", "compiled, it is off", jax.__version__, jaxlib.__version__]
    for part in ("sweep: the fast path is left", *expected):
        assert part in str(warning.message)


@CPU
def test_a_wrong_fast_path_is_told_of_once_by_run(monkeypatch):
    plainly()
    monkeypatch.setattr(products, "expanded", too_large(products.expanded))
    with pytest.warns(RuntimeWarning, match="the fast path is left") as caught:
        agree(sweep.run(task(), SGD, RUNS, TILE, test=True)[0])
    assert len(caught) == 1


@pytest.mark.filterwarnings("ignore:sweep. the fast path is left:RuntimeWarning")
def test_a_plain_path_that_is_wrong_is_refused(counted):
    counted.wrong[3] = np.float32(1.01)
    done = []
    with pytest.raises(InputError, match=r"^loss of a batch: .*install another release of jax"):
        sweep.run(task(), SGD, RUNS, TILE, tell=done.append)
    assert not done


def test_a_tile_is_held_against_numpy_once(counted):
    asked = task()
    sweep.run(asked, SGD, RUNS, TILE)
    first = len(counted.calls)
    assert first > 0
    sweep.run(asked, TWIN, RUNS, TILE)
    assert len(counted.calls) == first
    sweep.run(asked._replace(data=some_data(50)), SGD, RUNS, TILE)
    assert len(counted.calls) > first


# The fault itself: a library of XLA's that fuses products computes other rows.

DOT = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_DOT"}
WRONG = tiles.Fast(False, tuple(DOT.items()))
MANY = np.random.default_rng(0).integers(-3, 4, (40_000, 3)).astype(np.float32)
WEIGHT = np.random.default_rng(1).integers(-3, 4, (3, 3)).astype(np.float32)


def absolute(weight, rows):
    """Its value is wrong where it is computed alone."""
    return jax.vmap(lambda row: jnp.sum(jnp.abs(weight @ row)))(rows)[-1]


def powers(weight, rows):
    """Its value is wrong with its gradient, too."""
    return jnp.mean(jax.vmap(lambda row: jnp.sum((weight @ row - 1) ** 4))(rows))


@pytest.fixture
def faulty(monkeypatch):
    """Compile every program with the option, where it is a fault; in others it is inlined."""

    def value(**settings):
        try:
            return jax.jit(powers, **settings)(WEIGHT, MANY)
        except Exception:
            return np.nan

    right = np.mean(np.sum((MANY.astype(float) @ WEIGHT.T - 1) ** 4, 1))
    if not abs(value(compiler_options=DOT) - right) > 1e-4 * right:
        pytest.skip("this JAX computes the right rows, or has no such option")
    jit = jax.jit

    def compiled(function, **settings):
        if settings.get("inline") or "compiler_options" in settings:
            return jit(function, **settings)
        return jit(function, **settings, compiler_options=DOT)

    monkeypatch.setattr(jax, "jit", compiled)


@pytest.mark.usefixtures("faulty")
def test_the_fault_is_found_in_train():
    everything = np.arange(len(MANY), dtype=np.int32)[None]
    with pytest.raises(InputError, match=r"^(loss|gradient) of a batch: compiled, it is off"):
        training.train(powers, optax.sgd(0.0), WEIGHT, MANY, everything)


@pytest.mark.usefixtures("faulty")
@pytest.mark.parametrize("place", ["validation_loss", "validation_last"])
def test_the_fault_is_found_in_what_fit_validates(place):
    loss = powers if place == "validation_loss" else lambda weight, rows: jnp.sum(weight**2)
    metrics = {"last": absolute} if place == "validation_last" else {}
    judged = {"validation": MANY, "metrics": metrics}
    with pytest.raises(InputError, match=f"^{place}: compiled, it is off"):
        fitting.fit(loss, optax.sgd(0.0), WEIGHT, MANY[:20], epochs=1, **judged)


@pytest.mark.usefixtures("faulty")
@first_of("part", ["test", "validation"])
def test_the_fault_is_found_in_a_tile(part):
    """And the numbers are those of the plain path, in a program without the option."""
    asked = tiles.Workload(
        lambda weight, rows: jnp.sum(weight**2) + 0 * jnp.sum(rows),
        lambda key: WEIGHT + 0 * jax.random.normal(key, (3, 3)),
        *[MANY[:20], 20, 1, (1,)],
        metrics=(("last", absolute),),
        fast=WRONG,
    )._replace(**{part: MANY})
    alone, trials = (
        tiles.Tile(1, 1),
        tiles.Trials(np.zeros(1, np.int32), {"learning_rate": np.zeros(1)}),
    )
    with pytest.warns(RuntimeWarning, match=f"sweep: the fast path is left.*{part} last") as caught:
        results, _ = sweep.run(asked, SGD, trials, alone, test=part == "test")
    assert len(caught) == 1
    last = results.test["last"] if part == "test" else results.validation["last"]
    assert last.item() == np.sum(np.abs(MANY[-1] @ WEIGHT.T))


def test_an_enormous_number_is_compared(x64):
    """Whose square overflows."""

    def large(params):
        return {"loss": params * 1e200}

    def wrong(params):
        return {"loss": params * 1.1e200}

    inputs = (np.ones(()),)
    assert verify.Program(None, jax.jit(wrong), jax.jit(large)).verify(inputs, inputs)
    assert verify.Program(None, jax.jit(large)).verify(inputs, inputs) is None


@pytest.mark.slow
def test_a_new_process_compiles_each_program_once_and_no_operation_alone():
    """What NumPy's way loads comes before a program is traced, for JAX caches by its settings."""
    script = """
import jax, jaxnet, numpy as np, optax
jax.config.update("jax_log_compiles", True)
def example(z, y): return jax.nn.logsumexp(z) - z[y] + jax.numpy.zeros(3).sum()
loss = jaxnet.BatchLoss(lambda params, x: params @ x, example)
data = np.ones((4, 2), np.float32), np.arange(4) % 3
jaxnet.fit(loss, optax.sgd(0.1), np.ones((3, 2), np.float32), data, epochs=3)
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    compiled = re.findall(r"Finished XLA compilation of jit\((\w+)\)", done.stderr)
    assert sorted(compiled) == ["epochs_of", "example", "first", "measured"]


def test_a_failure_of_the_audit_itself_is_told_of_and_no_fault(monkeypatch):
    def fails(*_, **__):
        raise KeyError("no such operation")

    monkeypatch.setattr(reference, "evaluate", fails)
    program = verify.Program(None, jax.jit(lambda x: {"loss": jnp.sin(x)}))
    inputs, why = (np.ones(()),), "could not be held against NumPy: KeyError: 'no such operation'"
    with pytest.warns(RuntimeWarning, match=why):
        assert program.verify(inputs, inputs) is None
    # Without a second warning, which would be an error here.
    assert program.verify(inputs, inputs) is None
    assert program.words(inputs) == f"not verified: {why}"
    assert program.words(np.ones(3)) == verify.AGREES


@pytest.mark.parametrize("place", ["traced", "run"])
def test_a_failure_of_the_function_is_its_own(place):
    def fails(_):
        raise KeyError("mine")

    def loss(x):
        shape = jax.ShapeDtypeStruct((), np.float32)
        return {"loss": fails(x) if place == "traced" else jax.pure_callback(fails, shape, x)}

    inputs = (np.ones((), np.float32),)
    with pytest.raises(Exception, match="mine") as raised:
        verify.Program(None, jax.jit(loss)).verify(inputs, inputs)
    assert not isinstance(raised.value, verify.UnverifiedError)


def drawn(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def deep(params, batch):
    x = batch[0]
    for weight in params:
        x = jax.nn.sigmoid(x @ weight)
    return jnp.mean((x[:, 0] - batch[1]) ** 2)


def linear(weight, batch):
    return jnp.mean((batch[0] @ weight - batch[1]) ** 2)


def naive(weight, batch):
    probabilities = jax.nn.softmax(7 * (batch[0] @ weight))
    return -jnp.log(probabilities[jnp.arange(len(batch[1])), batch[1]]).mean()


def product(weight, batch):
    return jnp.prod(0.07 * jax.nn.softmax(batch[0] @ weight).max(-1))


LABELS = np.random.default_rng(5).integers(0, 5, 200).astype(np.int32)
SUBNORMAL = {
    "deep": (deep, [0.1 * drawn(at, 8, 8) for at in range(40)], drawn(40, 200), 1.0),
    "linear": (linear, drawn(1, 8), 1e-19 * drawn(2, 200), 1e-20),
    "naive": (naive, drawn(3, 8, 5), LABELS, 1.0),
    "product": (product, drawn(3, 8, 5), LABELS[:33], 1.0),
}


@first_of("name", ["deep", "linear", "naive", "product"])
def test_what_xla_flushes_to_zero_is_no_fault(name):
    loss, params, targets, scale = SUBNORMAL[name]
    x = np.float32(scale) * drawn(4, len(targets), 8)
    probe = jax.jit(training.at_start(training.Plan(loss, optax.sgd, (("loss", loss),))))
    data, rows = (x, targets), np.arange(48, dtype=np.int32) % len(x)
    inputs = params, data, (rows,), {"validation": data}
    with jax.numpy_dtype_promotion("standard"):
        assert verify.Program(None, probe).verify(inputs, inputs) is None


EXACT = {
    "a count": lambda x: jnp.sum(x > 0),
    "a truth": lambda x: jnp.all(x > -9),
    "complex": lambda x: jnp.exp(1j * x),
}


@pytest.mark.parametrize("name", EXACT)
def test_what_is_no_float_is_compared_too(name):
    function = EXACT[name]

    def wrong(x):
        results = function(x)
        return {name: ~results if results.dtype == bool else results * 2}

    inputs = (drawn(0, 200),)
    right = jax.jit(lambda x: {name: function(x)})
    with jax.numpy_dtype_promotion("standard"):
        assert verify.Program(None, right).verify(inputs, inputs) is None
        difference = verify.Program(None, jax.jit(wrong), right).verify(inputs, inputs)
    assert difference.name == name


def test_labels_stored_as_floats_are_held_as_labels():
    """Moved, they would be other labels, and explain any difference."""

    def picked(x, labels):
        return {"loss": jnp.mean(x[jnp.arange(len(x)), labels.astype(np.int32)])}

    def wrong(x, labels):
        return {"loss": 1.001 * picked(x, labels)["loss"]}

    inputs = drawn(0, 200, 5), LABELS.astype(np.float32)
    assert verify.Program(None, jax.jit(wrong), jax.jit(picked)).verify(inputs, inputs)


def test_large_inputs_are_not_copied():
    large = np.ones(verify._LARGE + 1, np.float32)
    assert verify._near(large, np.random.default_rng(0)) is large

"""Evidence for optimizers by name: each is used as optax documents it, alone and in thousands."""

import dataclasses
import functools
import importlib.metadata
import inspect
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest
from few import first_of

from jaxnet import batches, fitting, losses, optimizers, spaces, training
from jaxnet.errors import InputError

KNOWN = {
    *("adabelief", "adadelta", "adafactor", "adagrad", "adam", "adamax", "adamw", "adan"),
    *("amsgrad", "fromage", "lamb", "lars", "lbfgs", "lion", "nadam", "noisy_sgd", "novograd"),
    *("optimistic_gradient_descent", "polyak_sgd", "radam", "rmsprop", "rprop", "sgd"),
    *("sign_sgd", "sm3", "yogi", "sophia", "dpsgd", "muon", "prodigy", "schedule_free_sgd"),
}
# Parts, wrappers and helpers of optax, which are no optimizers of a learning rate.
OTHERS = {
    *("chain", "lookahead", "scale_by_adam", "scale_by_learning_rate", "scale_by_lbfgs", "scale"),
    *("apply_updates", "clip", "inject_hyperparams", "GradientTransformation", "set_to_zero"),
    *("MultiSteps", "constant_schedule", "global_norm", "exponential_decay", "mechanize", "sam"),
    *("schedule_free", "reduce_on_plateau", "ScaleByBacktrackingLinesearchState"),
}
NOISY = ("dpsgd", "noisy_sgd", "sophia")
SEEDS = (0, 1)
# Compiled quickly, to run a few steps.
FAST = {"compiler_options": {"xla_backend_optimization_level": 0}}
# As many steps as show sophia two Hessians.
STEPS = 11


def loss(params, batch):
    """Of a network 3-4-1: a matrix, whose outputs go through tanh, and a vector."""
    x, y = batch
    return jnp.mean((jnp.tanh(x @ params["matrix"]) @ params["vector"] - y) ** 2)


def by_hand(params, batch):
    """The same loss with its gradient, derived by hand."""
    x, y = batch
    hidden = jnp.tanh(x @ params["matrix"])
    error = hidden @ params["vector"] - y
    back = 2 * error / len(y)
    slope = back[:, None] * params["vector"][None] * (1 - hidden**2)
    return jnp.mean(error**2), {"matrix": x.T @ slope, "vector": hidden.T @ back}


BY_HAND = losses.Rule(by_hand)


def problem():
    """Data of 8 rows, the order of 11 batches of 4, and a start for each seed."""
    random = np.random.default_rng(0)
    x = random.normal(size=(8, 3))
    data = x, x @ [2.0, -1.0, 1.0]
    shapes = {"matrix": (3, 4), "vector": (4,)}
    starts = [{name: random.normal(size=shape) for name, shape in shapes.items()} for _ in SEEDS]
    return data, batches.shuffled(8, 4, 6, seed=0)[:STEPS], jax.tree.map(jnp.asarray, starts)


def numbers(opt_state):
    """All but counts and keys."""
    return [x for x in jax.tree.leaves(opt_state) if jnp.issubdtype(x.dtype, jnp.floating)]


def together(entry, settings, seeds):
    """Every setting with its seed in one program, by the rule derived by hand.

    Gives the losses, the parameters trained and judged, what the last step evaluated, and the
    numbers of the optimizer's state.
    """
    data, order, starts = problem()

    def one(setting, seed, params):
        key = jax.random.key(seed) if entry.random else None
        optimizer = entry.build(setting, STEPS, key)
        state = training.start(optimizer, params)
        state, values = training.run(BY_HAND, optimizer, state, data, order)
        judged = entry.evaluate(state.opt_state, state.params)
        evaluations = entry.evaluations(state.opt_state)
        return values, state.params, judged, evaluations, numbers(state.opt_state)

    settings = {name: np.array([each[name] for each in settings]) for name in settings[0]}
    seeds = np.array(seeds)
    starts = jax.tree.map(lambda *leaves: np.stack(leaves)[seeds], *starts)
    return jax.jit(jax.vmap(one), **FAST)(settings, seeds, starts)


def at(entry, point, **others):
    """The setting at one point of every axis, but for some at others."""
    points = dict.fromkeys(entry.space, point) | others
    return {name: float(entry.space[name].at(np.array(x))) for name, x in points.items()}


# Each optimizer as optax documents it: how it is made, and what else its update is given.
PROBE = optax.contrib.hutchinson_estimator_diag_hessian
MADE = {
    "momentum": lambda rate, _: optax.sgd(rate, momentum=0.9),
    "noisy_sgd": lambda rate, seed: optax.noisy_sgd(rate, key=seed),
    "dpsgd": lambda rate, seed: optax.contrib.dpsgd(rate, 1.0, 1.12, seed),
    "sophia": lambda rate, seed: optax.contrib.sophia(
        rate, hessian_diagonal_fn=PROBE(jax.random.key(seed))
    ),
}
GIVEN = {
    **dict.fromkeys(["polyak_sgd", "momo", "momo_adam"], ("value",)),
    "lbfgs": ("value", "grad", "value_fn"),
    "sophia": ("obj_fn",),
}


def plain(name):
    """One step as optax's documentation writes it, for one model."""
    public = vars(optax.contrib) | vars(optax)
    make = MADE.get(name, lambda rate, _: public[name](rate))

    def step(params, state, rate, seed, x, y):
        objective = functools.partial(loss, batch=(x, y))
        value, grad = jax.value_and_grad(objective)(params)
        more = {"value": value, "grad": grad, "value_fn": objective, "obj_fn": objective}
        if name == "dpsgd":
            each = [jax.grad(loss)(params, (x[i : i + 1], y[i : i + 1])) for i in range(len(x))]
            grad = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
        more = {given: more[given] for given in GIVEN.get(name, ())}
        updates, state = make(rate, seed).update(grad, state, params, **more)
        return optax.apply_updates(params, updates), state, value

    return lambda params, rate, seed: make(rate, seed).init(params), jax.jit(step, **FAST)


def alone(name, step, rate, seed, params):
    """One run, a Python loop by autodiff: what `together` gives of it."""
    data, order, _ = problem()
    init, step = step
    state, values = init(params, rate, seed), []
    for rows in order:
        params, state, value = step(params, state, rate, seed, data[0][rows], data[1][rows])
        values.append(value)
    judged = params
    if name.startswith("schedule_free"):
        judged = optax.contrib.schedule_free_eval_params(state, params)
    evaluations = {"dpsgd": 2, "sophia": 3}.get(name, 1)
    if name == "lbfgs":
        evaluations = 1 + state[-1].info.num_linesearch_steps
    return jnp.stack(values), params, judged, np.int32(evaluations), numbers(state)


def assert_close(found, expected, rtol=1e-9):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for leaf, twin in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(leaf, twin, rtol=rtol, atol=rtol)


# Of each kind of state, of noise and of precision one; the others by the marker.
SAMPLE = (
    "adam",
    "noisy_sgd",
    "polyak_sgd",
)
# Optax multiplies a rate that is a Python number in float32 there.
COARSE = {"madgrad": 1e-7}
# A momentum of zero keeps the gradient in a state that none has not.
KEPT = ("adafactor", "dpsgd", "rmsprop", "sgd")
# Off the centre, so that a cap and a clip are reached by some steps and not by all.
OFF = {"polyak_sgd": {"learning_rate": 0.0}, "sophia": {"gamma": 3.0}}
# The rate scales all gradients there, which cancels.
CANCELS = {("cocob", "learning_rate")}


@pytest.mark.filterwarnings('ignore:"seed" is deprecated:DeprecationWarning')
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name not in SAMPLE))
        for name in optimizers.names()
    ],
)
def test_one_program_takes_every_setting(name, x64, standard_promotion):
    """Three rates by two seeds, else customary, of which three runs are repeated as optax has them.

    All descend at the customary rate; the ends and the centre of the space are finite, and from
    there each axis by itself leads elsewhere.
    """
    entry = optimizers.entry(name)
    rate = entry.customary["learning_rate"]
    rates = [rate / 3, rate / 3, rate, rate, 2 * rate, 2 * rate]
    settings = [dict(entry.customary) | {"learning_rate": each} for each in rates]
    off = OFF.get(name, {})
    settings += [at(entry, 0.0), at(entry, 1.0), at(entry, 0.5, **off)]
    settings += [at(entry, 0.5, **off | {axis: 1.0}) for axis in entry.space]
    seeds = [*SEEDS * 3, *[0] * (len(settings) - 6)]
    every = together(entry, settings, seeds)
    runs = [jax.tree.map(lambda leaf, i=i: leaf[i], every) for i in range(len(settings))]
    data, _, starts = problem()
    step = plain(name)
    for index in (0, 3, 4):
        expected = alone(name, step, rates[index], seeds[index], starts[seeds[index]])
        told = slice(None, 4 if name in KEPT else None)
        assert_close(runs[index][told], expected[told], COARSE.get(name, 1e-9))
    for index in (2, 3):
        assert loss(runs[index][2], data) < loss(starts[seeds[index]], data)
    for run in runs[6:]:
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(run))
    for axis, run in zip(entry.space, runs[9:], strict=True):
        moved = not np.allclose(run[0], runs[8][0], rtol=1e-7, atol=0)
        assert moved == ((name, axis) not in CANCELS), axis


@first_of("name", NOISY)
def test_each_key_draws_noise_of_its_own(name, standard_promotion):
    """The same start thrice: two runs of one key are one run, and another key's is another.

    The first steps of sophia are clipped whatever it saw; its state tells.
    """
    data, order, (start, _) = problem()

    def one(key):
        optimizer = optimizers.entry(name).make(0.01, key=key)
        state = training.start(optimizer, start)
        state, _ = training.run(BY_HAND, optimizer, state, data, order)
        return jnp.concatenate([leaf.ravel() for leaf in numbers(state)])

    keys = jax.vmap(jax.random.key)(jnp.array([5, 5, 6]))
    first, again, other = jax.jit(jax.vmap(one), **FAST)(keys)
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)


def test_only_the_noisy_take_a_key():
    assert {name for name in optimizers.names() if optimizers.entry(name).random} == set(NOISY)


@first_of("name", NOISY)
def test_a_noisy_one_needs_no_key(name, standard_promotion):
    """`fit` knows of learning rates alone; its runs repeat."""
    data, _, (start, _) = problem()
    make = optimizers.by_name(name)
    rate = {"learning_rate": 0.05}
    first, again = (
        fitting.fit(BY_HAND, make, start, data, epochs=3, hyperparameters=rate) for _ in range(2)
    )
    assert first.outcome == "finished"
    assert first.history["loss"][2] < first.history["loss"][0]
    np.testing.assert_array_equal(first.history["loss"], again.history["loss"])


def test_the_gradients_of_each_example_average_to_those_of_the_batch(x64):
    """An optimizer that averages them first is one that is given their average."""
    data, order, (start, _) = problem()
    plain = optax.sgd(0.1, momentum=0.9)

    def update(updates, state, params=None):
        assert updates["matrix"].shape == (4, 3, 4)
        return plain.update(jax.tree.map(lambda leaf: leaf.mean(axis=0), updates), state, params)

    runs = [
        training.train(BY_HAND, optimizer, start, data, order)
        for optimizer in (plain, optimizers.PerExample(plain.init, update))
    ]
    assert_close(runs[1], runs[0], 1e-12)


def counted(seen):
    """A rule that keeps the rows of every evaluation of it."""

    def rule(params, batch):
        value, grads = by_hand(params, batch)
        jax.debug.callback(lambda _: seen.append(len(batch[0])), value)
        return value, grads

    return losses.Rule(rule)


@first_of("name", ["sophia", "adam", "dpsgd", "lbfgs"])
def test_evaluations_are_those_that_an_objective_counts(name, standard_promotion):
    """In batches of 4. A derivative of a gradient, the second half of a probe, is none it sees."""
    data, order, (params, _) = problem()
    entry, seen = optimizers.entry(name), []
    optimizer = entry.make(entry.customary["learning_rate"])
    step = jax.jit(functools.partial(training.step, counted(seen), optimizer), **FAST)
    state, counts, said = training.start(optimizer, params), [], []
    for rows in order:
        seen.clear()
        state, _ = step(state, batches.take(data, rows))
        jax.effects_barrier()
        counts.append(sum(seen) / 4)
        said.append(int(entry.evaluations(state.opt_state)))
    probes = [int(name == "sophia" and t % 10 == 0) for t in range(STEPS)]
    assert said == list(np.add(counts, probes))
    if name == "lbfgs":
        assert len(set(said)) > 1
    else:
        known = {"adam": [1] * STEPS, "dpsgd": [2] * STEPS, "sophia": [3, *[1] * 9, 3]}
        assert said == known[name]


# What is put around an optimizer.

KINDS = ("constant", "cosine", "linear")
SHARES = (0.0, 0.1, 0.25)


def schedule_of_optax(kind, share, peak, steps):
    """Optax's own, of peak 1 and then multiplied: it multiplies Python numbers in float32."""
    rising = round(share * steps)
    falls = {
        "constant": optax.constant_schedule(1.0),
        "cosine": optax.cosine_decay_schedule(1.0, steps - rising),
        "linear": optax.linear_schedule(1.0, 0.0, steps - rising),
    }
    if not rising:
        joined = falls[kind]
    elif kind == "cosine":
        joined = optax.warmup_cosine_decay_schedule(0.0, 1.0, rising, steps)
    else:
        rise = optax.linear_schedule(0.0, 1.0, rising)
        joined = optax.join_schedules([rise, falls[kind]], [rising])
    return lambda t: peak * joined(t)


def trained(optimizer, steps=30):
    """The parameters at each of the steps of a quadratic, whose curvatures are 1 and 4."""
    rule = losses.Rule(lambda p, _: (p @ (curved * p) / 2, curved * p))
    curved = jnp.array([1.0, 4.0])

    def body(state, _):
        state, _ = training.step(rule, optimizer, state, np.zeros((1, 1)))
        return state, state.params

    state = training.start(optimizer, jnp.array([1.0, -2.0]))
    return jax.lax.scan(body, state, length=steps)[1]


def test_schedules_are_those_of_optax(standard_promotion):
    """All in one program, which is AdamW's own of each of them."""
    entry = optimizers.entry("adamw")
    every = list(itertools.product(KINDS, SHARES))
    settings = {
        "learning_rate": np.full(len(every), 0.1),
        "weight_decay": np.full(len(every), 0.2),
        "schedule": np.array([float(KINDS.index(kind)) for kind, _ in every]),
        "warmup": np.array([share for _, share in every]),
    }
    runs = jax.jit(jax.vmap(lambda setting: trained(entry.build(setting, 30))), **FAST)(settings)
    plain = {
        (kind, share): optax.adamw(schedule_of_optax(kind, share, 0.1, 30), weight_decay=0.2)
        for kind, share in every
    }
    expected = jax.jit(lambda: [trained(plain[each]) for each in every], **FAST)()
    for run, twin, each in zip(runs, expected, every, strict=True):
        np.testing.assert_allclose(run, twin, rtol=1e-5, atol=1e-6, err_msg=str(each))
    assert len({np.asarray(run).tobytes() for run in runs}) == len(every)


def test_a_schedule_is_at_zero_after_the_last_step_and_stays_there(x64):
    """Of numbers of another width than its own, with JAX strict about these."""
    entry = optimizers.entry("sgd")
    for kind in (1.0, 2.0):
        setting = {"learning_rate": 0.1, "schedule": kind, "warmup": 0.25}
        optimizer = entry.build(jax.tree.map(jnp.asarray, setting), 4)
        path = trained(optimizer, 8)
        assert np.all(path[3] != path[2])
        np.testing.assert_allclose(path[4:], np.stack([path[3]] * 4), rtol=1e-6)


def test_clips_are_those_of_optax(standard_promotion):
    norms = np.array([0.1, 1.0, np.inf])
    make = optimizers.entry("adam").build
    clipped = jax.jit(
        jax.vmap(lambda norm: trained(make({"learning_rate": 0.1, "clip": norm}, 30))), **FAST
    )(norms)
    for run, norm in zip(clipped, norms, strict=True):
        around = [optax.clip_by_global_norm(norm)] if np.isfinite(norm) else []
        expected = trained(optax.chain(*around, optax.adam(0.1)))
        np.testing.assert_allclose(run, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("norm", [0.1, np.inf])
def test_a_clip_leaves_zeros_and_halves_as_they_are(norm):
    optimizer = optimizers.entry("sgd").build({"learning_rate": 1.0, "clip": jnp.array(norm)}, 1)
    for grads in (jnp.zeros(2), jnp.array([0.03, 0.04], jnp.float16)):
        updates, _ = optimizer.update(grads, optimizer.init(grads), grads)
        np.testing.assert_array_equal(updates, -grads)
        assert updates.dtype == grads.dtype


def test_the_gradients_of_each_example_are_clipped_by_themselves():
    """By hand, of norms 5 and 0.5: their sum is told apart from one clip of all."""
    made = optimizers.PerExample(
        lambda params: (), lambda each, state, params=None: (-each.sum(axis=0), state)
    )
    entry = optimizers.join("each", made)
    setting = {"multiplier": 1.0, "clip": 1.0, "schedule": 0.0}
    optimizer = entry.build(setting, 1)
    assert isinstance(optimizer, optimizers.PerExample)
    params = jnp.zeros(2)
    updates, _ = optimizer.update(
        jnp.array([[3.0, 4.0], [0.3, 0.4]]), optimizer.init(params), params
    )
    np.testing.assert_allclose(updates, [-0.9, -1.2], rtol=1e-6)


# What is searched.


def test_the_rate_alone_or_the_whole_space_or_axes_of_ones_own():
    entry = optimizers.entry("adam")
    rate = {"learning_rate": entry.space["learning_rate"]}
    assert entry.axes("rate") == rate
    assert entry.axes("all") == entry.space
    own = {"b1": spaces.linear(0.5, 0.9), "eps_root": 0.1, "clip": 1.0}
    assert entry.axes(own) == {
        **rate,
        "b1": own["b1"],
        "eps_root": spaces.choice(0.1),
        "clip": spaces.choice(1.0),
    }
    assert entry.axes({"learning_rate": 0.5}) == {"learning_rate": spaces.choice(0.5)}


@dataclasses.dataclass(frozen=True)
class Own:
    """A space of one's own."""

    learning_rate: spaces.Axis
    b1: float = 0.8


def test_a_dataclass_of_axes_is_searched_as_a_dict_of_them_is():
    adam = optimizers.entry("adam")
    rates = spaces.log(0.01, 1.0)
    assert adam.axes(Own(rates)) == adam.axes({"learning_rate": rates, "b1": 0.8})


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("name", "tune", "says"),
    [
        ("adam", "rates", 'tune: expected "rate", "all" or axes by name, got '),
        ("adam", {"b3": 0.5}, "of adam that are numbers, got 'b3'; the nearest are b"),
        ("adam", {"momentm": 0.5}, "of adam that are numbers, got 'momentm'; the nearest are "),
        ("adam", {"nesterov": 1.0}, "of adam that are numbers, got 'nesterov'; the nearest are "),
        ("adam", {"mu_dtype": 0.5}, "of adam that are numbers, got 'mu_dtype'; the nearest are "),
        ("noisy_sgd", {"key": 0.5}, "of noisy_sgd that are numbers, got 'key'; the nearest are "),
        (
            "schedule_free_sgd",
            {"schedule": 1.0},
            "of schedule_free_sgd that are numbers, got 'schedule'",
        ),
        ("lbfgs", {"clip": 1.0}, "of lbfgs that are numbers, got 'clip'; the nearest are "),
        ("adam", {"b1": "high"}, "an axis or a finite number for b1, got 'high'; make an axis by"),
        ("adam", {"b1": np.nan}, "an axis or a finite number for b1, got nan"),
        ("adam", {"learning_rate": (0.1, 1.0)}, "for learning_rate, got (0.1, 1.0); make an axis"),
        ("adam", [0.1], '"all", or a dict or a dataclass of axes, got [0.1]'),
        ("adam", Own, '"all", or a dict or a dataclass of axes, got <class'),
    ],
)
def test_what_cannot_be_searched_is_refused(name, tune, says):
    with pytest.raises(InputError) as caught:
        optimizers.entry(name).axes(tune)
    assert says in str(caught.value)


def test_a_search_without_a_rate_or_customary_values_is_refused():
    adam = optimizers.entry("adam")
    for space in ({}, {"learning_rate": adam.space["learning_rate"]}):
        with pytest.raises(InputError, match=r"^adam: expected a customary value for each axis"):
            dataclasses.replace(adam, space=space)
    with pytest.raises(InputError, match=r"learning_rate among them, got axes of  and values of $"):
        dataclasses.replace(adam, space={}, customary={})


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("schedule", lambda learning_rate, schedule: optax.sgd(learning_rate)),
        ("warmup", lambda learning_rate, warmup=0.0: optax.sgd(learning_rate)),
        ("clip", lambda learning_rate, clip=1.0: optax.sgd(clip * learning_rate)),
        ("key", lambda learning_rate, key: optax.sgd(learning_rate)),
    ],
)
def test_a_hyperparameter_that_would_never_come_is_refused(name, make):
    space = {each: spaces.log(0.1, 1.0) for each in ("learning_rate", name)}
    entry = functools.partial(
        optimizers.Entry, "mine", space=space, customary=dict.fromkeys(space, 0.5)
    )
    with pytest.raises(InputError, match=rf"^mine: expected .*, got {name}; rename"):
        entry(make, random=name == "key")
    if name != "key":
        assert entry(functools.partial(make, **{name: 0.5})).space == space, "bound: its own"


def test_a_function_with_a_clip_of_its_own_keeps_it():
    entry = optimizers.join("mine", lambda learning_rate, clip=0.5: optax.sgd(learning_rate))
    assert set(entry.space) == {"learning_rate", "schedule", "warmup"}
    with pytest.raises(InputError, match="tune: expected hyperparameters of mine"):
        entry.axes({"clip": 0.1})


# The table.


def test_names_are_the_optimizers_of_optax():
    assert set(optimizers.names()) >= KNOWN
    assert not set(optimizers.names()) & OTHERS
    assert list(optimizers.names()) == sorted(set(optimizers.names()))


def test_what_optax_warns_of_is_left_out():
    with pytest.warns(DeprecationWarning, match="optimistic_adam.*deprecated"):
        optax.optimistic_adam(0.1)
    assert "optimistic_adam" not in optimizers.names()
    with pytest.raises(InputError, match="the nearest are optimistic_adam_v2"):
        optimizers.entry("optimistic_adam")


def test_every_optimizer_of_this_optax_has_its_own_row():
    newer = [name for name in optimizers.names() if "newer" in optimizers.entry(name).note]
    version = importlib.metadata.version("optax")
    assert newer == [], f"optax {version} has these; place them in the table, with their rates"


@pytest.mark.parametrize(
    ("novel", "offered"),
    [
        (lambda learning_rate, b1=0.9: optax.adam(learning_rate, b1), True),
        (lambda learning_rate=1.0: optax.sgd(learning_rate), True),
        (lambda learning_rate, model: optax.sgd(learning_rate), False),
        (lambda step_size, b1=0.9: optax.adam(step_size, b1), False),
        (optax.GradientTransformation, False),
    ],
)
def test_a_later_optax_may_bring_more(novel, offered, monkeypatch):
    monkeypatch.setitem(optimizers._PUBLIC, "novel", novel)
    optimizers._entries.cache_clear()
    try:
        assert ("novel" in optimizers.names()) == offered
        if offered:
            entry = optimizers.entry("novel")
            assert (entry.make, entry.random) == (novel, False)
            assert entry.customary["learning_rate"] == 1e-3
            assert ("b1" in entry.space) == ("b1" in inspect.signature(novel).parameters)
            assert "newer" in entry.note
    finally:
        optimizers._entries.cache_clear()


@pytest.mark.parametrize("name", optimizers.names())
def test_a_row_of_the_table_makes_sense(name):
    """A program is cached by the functions it is made of, so that they are the same every time."""
    entry = optimizers.entry(name)
    assert entry.name == name
    assert entry is optimizers.entry(name)
    assert optimizers.by_name(name) is entry.make
    low, high = entry.space["learning_rate"].values
    np.testing.assert_allclose(high / low, 1e4, err_msg="one resolution for all")
    assert low <= entry.customary["learning_rate"] <= high
    public = vars(optax.contrib) | vars(optax)
    own = {*NOISY, "momentum", "polyak_sgd", "dadapt_adamw", "prodigy"}
    assert name in own or entry.make is public[name]


def test_another_word_for_the_learning_rate_is_translated():
    """The Polyak step is 0.5 here, so that the largest rate allowed decides."""
    params = jnp.array([2.0])
    for rate in (0.01, 0.2):
        optimizer = optimizers.by_name("polyak_sgd")(learning_rate=rate)
        updates, _ = optimizer.update(params, optimizer.init(params), params, value=2.0)
        np.testing.assert_allclose(updates, -rate * params, rtol=1e-6)


# An optimizer of one's own.


# A quadratic, by hand: its gradient is the parameters.
BOWL = losses.Rule(lambda params, _: (0.5 * jnp.sum(params**2), params))


def after_one_step(optimizer):
    """The parameters after one step of a quadratic from 1 and -2, whose gradient they are."""
    state = training.start(optimizer, jnp.array([1.0, -2.0]))
    return training.step(BOWL, optimizer, state, np.zeros((1, 1)))[0].params


def test_a_function_of_the_learning_rate_joins():
    make = functools.partial(optax.sgd, momentum=0.9)
    entry = optimizers.join("heavy ball", make)
    assert (entry.name, entry.make, entry.random) == ("heavy ball", make, False)
    assert set(entry.space) == {"learning_rate", "schedule", "warmup", "clip"}
    np.testing.assert_allclose(after_one_step(entry.make(0.1)), [0.9, -1.8], rtol=1e-6)


def test_a_function_is_searched_over_its_numbers_that_are_known():
    """Not over those that are bound, nor over others."""

    def mine(learning_rate, b1=0.8, b2=0.99, temperature=2.0, momentum=None, eps=True):
        return optax.adam(learning_rate, b1, b2)

    around = {"schedule": 0.0, "warmup": 0.0, "clip": np.inf}
    entry = optimizers.join("mine", mine)
    assert entry.customary == {"learning_rate": 1e-3, "b1": 0.8, "b2": 0.99, **around}
    assert entry.space["b2"] == optimizers.entry("adam").space["b2"], "draws are shared"
    bound = optimizers.join("mine", functools.partial(mine, b1=0.5))
    assert bound.space.keys() == entry.space.keys() - {"b1"}


def test_a_function_that_takes_a_key_is_given_one():
    assert optimizers.join("noisy", lambda learning_rate, key: optax.sgd(learning_rate)).random
    assert optimizers.join("noisy", functools.partial(optax.noisy_sgd, eta=0.1)).random


@pytest.mark.parametrize(
    "made",
    [
        optax.sgd(0.5),
        optax.GradientTransformation(
            lambda params: (), lambda grads, state, params=None: (-0.5 * grads, state)
        ),
        optimizers.PerExample(
            lambda params: (), lambda each, state, params=None: (-0.5 * each.sum(axis=0), state)
        ),
        optax.polyak_sgd(0.5),
    ],
    ids=["of optax", "of two arguments", "of each example", "of the value"],
)
def test_one_already_made_has_its_updates_multiplied(made):
    """A quadratic's Polyak step is 1/2 too."""
    entry = optimizers.join("made", made)
    assert "learning_rate" not in entry.space
    assert entry.customary["multiplier"] == 1.0
    assert math.prod(entry.space["multiplier"].values) == pytest.approx(1.0)
    assert list(entry.axes("rate")) == ["multiplier"]
    for rate in (1.0, 0.2):
        expected = np.array([1.0, -2.0]) * (1 - 0.5 * rate)
        found = jax.jit(lambda rate: after_one_step(entry.make(rate)))(rate)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_array_equal(after_one_step(entry.make(1.0)), after_one_step(made))


def test_an_entry_joins_under_the_name_given():
    adam = optimizers.entry("adam")
    slow = dataclasses.replace(adam, customary={**adam.customary, "learning_rate": 1e-4})
    assert optimizers.join("adam", adam) == adam
    assert optimizers.join("slow adam", slow) == dataclasses.replace(slow, name="slow adam")


def test_a_schedule_free_optimizer_of_ones_own_is_judged_at_its_averages(standard_promotion):
    make = functools.partial(optax.contrib.schedule_free_adamw, b1=0.5)
    entry = optimizers.join("mine", lambda learning_rate: optax.chain(make(learning_rate)))
    optimizer, params = entry.make(0.1), jnp.array([1.0, -2.0])
    state = training.start(optimizer, params)
    for _ in range(3):
        state, _ = training.step(BOWL, optimizer, state, np.zeros((1, 1)))
    (inner,) = state.opt_state
    expected = optax.contrib.schedule_free_eval_params(inner, state.params)
    np.testing.assert_array_equal(entry.evaluate(state.opt_state, state.params), expected)
    assert np.all(expected != state.params)


SCHEDULES = {
    "warmup_cosine": lambda peak: optax.warmup_cosine_decay_schedule(0.0, peak, 3, STEPS),
    "sgdr": lambda peak: optax.sgdr_schedule(
        [{"init_value": 0.0, "peak_value": peak, "warmup_steps": 2, "decay_steps": 5}] * 3
    ),
}


@first_of("name", [*SCHEDULES])
def test_a_schedule_joins_as_one_of_peak_one_multiplied(name, x64, standard_promotion):
    """Traced, it is optax's own schedule of that peak; optax's own cannot be traced."""
    data, order, starts = problem()
    schedule = SCHEDULES[name](1.0)
    entry = optimizers.join(
        name, lambda learning_rate: optax.adamw(lambda t: learning_rate * schedule(t))
    )
    found = together(entry, [{"learning_rate": rate} for rate in (0.1, 0.3)], [0, 0])
    for index, rate in enumerate((0.1, 0.3)):
        optimizer = optax.adamw(SCHEDULES[name](rate))
        state, values = training.train(BY_HAND, optimizer, starts[0], data, order)
        run = jax.tree.map(lambda leaf, i=index: leaf[i], found[:2])
        # Optax multiplies in float32 where a peak is a Python number.
        assert_close(run, (values, state.params), 1e-6)
    with pytest.raises(jax.errors.TracerBoolConversionError):
        jax.jit(lambda peak: SCHEDULES[name](peak)(0))(0.1)


@pytest.mark.parametrize(
    "wrong",
    ["adam", 0.1, None, optax.polyak_sgd, max, dict, optax.MultiSteps(optax.sgd(0.1), 2), {}],
    ids=lambda given: type(given).__name__,
)
def test_what_is_no_optimizer_does_not_join(wrong):
    with pytest.raises(InputError, match=r"^mine: expected a function of learning_rate, .*, got "):
        optimizers.join("mine", wrong)


# Names that are none.


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("adm", "adam"),
        ("Adam", "adam"),
        ("sdg", "sgd"),
        ("l-bfgs", "lbfgs"),
        ("rms_prop", "rmsprop"),
    ],
)
def test_an_unknown_name_lists_the_nearest(name, near):
    with pytest.raises(
        InputError, match=r"^optimizer: expected an optimizer of optax, got "
    ) as caught:
        optimizers.by_name(name)
    assert f"got '{name}'; the nearest are " in str(caught.value)
    assert near in str(caught.value).split("the nearest are ")[1].split(", ")


@pytest.mark.parametrize("name", ["zzzzqqq", "", "chain", "scale_by_adam", "apply_updates"])
def test_what_is_no_optimizer_is_refused(name):
    with pytest.raises(InputError, match=f"^optimizer: expected .*, got '{name}'; "):
        optimizers.entry(name)


def test_a_name_like_no_other_lists_all():
    with pytest.raises(InputError, match=r"known: .*\badam\b.*\bsgd\b"):
        optimizers.by_name("zzzzqqq")


# Each parameter its own, and gradients of several batches.

LAYERS = ({"w": jnp.array([1.0, 2.0]), "b": jnp.array(3.0)}, {"w": jnp.array([4.0])})


def test_each_parameter_has_the_optimizer_of_the_longest_path_it_has():
    paths = {"": optax.sgd(0.1), "[0]": optax.set_to_zero(), "[0]['b']": optax.sgd(1.0)}
    optimizer = optimizers.by_path(paths)
    updates, _ = optimizer.update(LAYERS, optimizer.init(LAYERS), LAYERS)
    expected = {"w": jnp.zeros(2), "b": jnp.array(-3.0)}, {"w": -0.1 * LAYERS[1]["w"]}
    assert jax.tree.all(jax.tree.map(np.array_equal, updates, expected))


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        (["[0]"], r"expected one for each parameter, got none for \[1\]\['w'\]; give one by"),
        (["", "[2]"], r"expected paths of parameters, got '\[2\]'; the nearest are \["),
        (["", "[0"], r"expected paths of parameters, got '\[0'; the nearest are \["),
    ],
)
def test_paths_that_parameters_do_not_have_are_refused(paths, words):
    optimizer = optimizers.by_path(dict.fromkeys(paths, optax.sgd(0.1)))
    with pytest.raises(InputError, match=f"^optimizers: {words}"):
        fitting.fit(lambda params, batch: 0.0, optimizer, LAYERS, jnp.ones(3), epochs=1)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("given", [optax.sgd(0.1), {"": optax.sgd}, {0: optax.sgd(0.1)}, {"": 1}])
def test_what_is_no_dict_of_optimizers_by_path_is_refused(given):
    with pytest.raises(InputError, match=r"^optimizers: expected a dict of optimizers"):
        optimizers.by_path(given)


@pytest.mark.usefixtures("standard_promotion")
def test_what_is_frozen_by_path_stays_to_the_bit_and_the_others_train_as_alone():
    """The oracle is a fit of the others alone, of a loss that has the frozen part bound."""

    def whole(params, x):
        return jnp.mean((x * params[0]["w"].sum() * params[1]["w"] - 1 + params[0]["b"]) ** 2)

    def alone(last, x):
        return whole((LAYERS[0], last), x)

    optimizer = optimizers.by_path({"[0]": optax.set_to_zero(), "": optax.adam(0.1)})
    x = jnp.linspace(0, 1, 8)
    frozen = fitting.fit(whole, optimizer, LAYERS, x, epochs=3, batch_size=4).params
    trained = fitting.fit(alone, optax.adam(0.1), LAYERS[1], x, epochs=3, batch_size=4).params
    assert jax.tree.all(jax.tree.map(np.array_equal, frozen[0], LAYERS[0]))
    np.testing.assert_allclose(frozen[1]["w"], trained["w"], rtol=1e-6)
    assert not np.array_equal(trained["w"], LAYERS[1]["w"])


@pytest.mark.usefixtures("standard_promotion")
def test_gradients_of_four_batches_make_the_step_of_one_four_times_as_large():
    def squares(params, x):
        return jnp.mean((x * params - 1) ** 2)

    x, start = jnp.linspace(0, 1, 16), jnp.array(0.3)
    many = optax.MultiSteps(optax.adam(0.1), 4).gradient_transformation()
    parts = fitting.fit(squares, many, start, x, epochs=3, batch_size=4).params
    whole = fitting.fit(squares, optax.adam(0.1), start, x, epochs=3).params
    assert whole != start
    np.testing.assert_allclose(parts, whole, rtol=1e-5)

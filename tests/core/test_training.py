"""Evidence for the compiled loop: against plain loops, with every optimizer, and traced once."""

import functools
import itertools

import jax
import jax.monitoring
import jax.numpy as jnp
import numpy as np
import optax
import oracles
import pytest
from few import first_of

from jaxnet import batches, fitting, losses, network, optimizers, training
from jaxnet._guards import sizes
from jaxnet.errors import InputError

FORWARD = functools.partial(network.forward, activation=jnp.tanh)
SQUARES = losses.BatchLoss(FORWARD, optax.losses.l2_loss)
SOFTMAX = losses.BatchLoss(FORWARD, optax.losses.softmax_cross_entropy)
LABELS = losses.BatchLoss(FORWARD, optax.losses.softmax_cross_entropy_with_integer_labels)
BY_HAND = losses.Rule(jax.value_and_grad(SQUARES))


def draw(sizes, rows, seed=0):
    """A random network, `[(weight, bias), ...]`, with rows `x` and targets `y`, in NumPy."""
    random = np.random.default_rng(seed)
    params = [
        (random.normal(size=(o, i)), random.normal(size=o)) for i, o in itertools.pairwise(sizes)
    ]
    return params, random.normal(size=(rows, sizes[0])), random.normal(size=(rows, sizes[-1]))


def layers(params):
    return tuple(network.Layer(jnp.asarray(w), jnp.asarray(b)) for w, b in params)


def problem(sizes=(3, 2), rows=6, seed=0):
    """Parameters and data as JAX arrays of the default float."""
    params, x, y = draw(sizes, rows, seed)
    return layers(params), (jnp.asarray(x), jnp.asarray(y))


def assert_close(ours, theirs, rtol=1e-10, atol=1e-12):
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=rtol, atol=atol), ours, theirs)


def assert_same(ours, theirs):
    """To the last bit, not a number included."""
    jax.tree.map(functools.partial(np.testing.assert_array_equal, strict=True), ours, theirs)


def counted(loss):
    """The loss, and a list that grows whenever Python executes it."""
    executions = []

    def wrapped(params, batch):
        executions.append(batch)
        return loss(params, batch)

    return wrapped, executions


# Equality with plain loops.


@pytest.mark.parametrize(
    ("sizes", "rows", "batch_size", "kind"),
    [
        ((3, 4, 4), 2, 2, "softmax"),
        pytest.param((2, 5, 3, 2), 7, 3, "squares", marks=pytest.mark.slow),
        pytest.param((3, 1), 1, 1, "squares", marks=pytest.mark.slow),
        pytest.param((4, 3, 5, 2, 3), 9, 4, "softmax", marks=pytest.mark.slow),
    ],
)
def test_plain_descent_agrees_with_numpy(sizes, rows, batch_size, kind, x64):
    """`train` and `run` against backpropagation written out by hand, losses and parameters."""
    start, x, y = draw(sizes, rows, seed=rows)
    if kind == "softmax":
        y = np.eye(sizes[-1])[np.argmax(y, axis=1)]
    order = batches.shuffled(rows, batch_size, epochs=4, seed=1)
    params, expected = start, []
    for rows_now in order:
        now = (params, x[rows_now], y[rows_now], kind)
        expected.append(oracles.loss(*now))
        params = oracles.descend(params, oracles.backward(*now), 0.1)
    loss = SOFTMAX if kind == "softmax" else SQUARES
    data = (jnp.asarray(x), jnp.asarray(y))
    trained = training.train(
        loss, optax.sgd, layers(start), data, order, hyperparameters={"learning_rate": 0.1}
    )
    optimizer = optax.sgd(0.1)
    state = training.start(optimizer, layers(start))
    ran = training.run(loss, optimizer, state, data, jnp.asarray(order))
    for state, values in (trained, ran):
        assert values.shape == (len(order),)
        assert_close(values, np.array(expected), rtol=1e-11)
        assert_close(state.params, layers(params), rtol=1e-11)


def optax_loop(optimizer, loss, params, data, order, value_and_grad=None):
    """The loop as optax's documentation writes it, a step compiled, and no scan."""
    optimizer = optax.with_extra_args_support(optimizer)
    value_and_grad = value_and_grad or jax.value_and_grad(loss)

    @jax.jit
    def step(params, opt_state, batch):
        value, grad = value_and_grad(params, batch)
        updates, opt_state = optimizer.update(
            grad,
            opt_state,
            params,
            value=value,
            grad=grad,
            value_fn=lambda params: loss(params, batch),
        )
        return optax.apply_updates(params, updates), opt_state, value

    opt_state, values = optimizer.init(params), []
    for rows in order:
        batch = jax.tree.map(lambda leaf, rows=rows: leaf[rows], data)
        params, opt_state, value = step(params, opt_state, batch)
        values.append(value)
    return params, jnp.stack(values)


# One of each kind of what an update is given; test_optimizers.py has all of them.
MAKERS = {name: optimizers.by_name(name) for name in ("adam", "lbfgs", "polyak_sgd")}


# That of lbfgs is held against one by a test of its line search.
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name == "lbfgs")) for name in MAKERS],
)
def test_train_agrees_with_a_plain_loop_of_optax(name, x64):
    params, data = problem()
    order = batches.shuffled(6, 3, epochs=2, seed=0)
    # Optax mixes dtypes: strict promotion is for this package, not for its insides.
    with jax.numpy_dtype_promotion("standard"):
        state, values = training.train(
            SQUARES, MAKERS[name], params, data, order, hyperparameters={"learning_rate": 0.05}
        )
        expected, wanted = optax_loop(MAKERS[name](0.05), SQUARES, params, data, order)
    assert_close(values, wanted)
    assert_close(state.params, expected)
    assert np.any(state.params[0].weight != params[0].weight)


def tree_loss(params, batch):
    """A user's loss of a user's pytree."""
    prediction = batch["x"] @ params["slope"][0] + params["slope"][1]["offset"]
    return jnp.mean((prediction - batch["y"]) ** 2)


def tree_rule(params, batch):
    """Its gradient, derived by hand; in NumPy or JAX."""
    error = batch["x"] @ params["slope"][0] + params["slope"][1]["offset"] - batch["y"]
    slope, offset = 2 * batch["x"].T @ error / len(error), 2 * error.mean()
    return (error**2).mean(), {"slope": (slope, {"offset": offset})}


def tree_problem():
    random = np.random.default_rng(5)
    params = {"slope": (random.normal(size=3), {"offset": np.float64(0.5)})}
    return params, {"x": random.normal(size=(8, 3)), "y": random.normal(size=8)}


@pytest.mark.parametrize("loss", [tree_loss, losses.Rule(tree_rule)], ids=["auto", "hand"])
def test_any_pytree_and_any_rule_run_through_the_loop(loss, x64):
    """A dict of tuples, no network; by autodiff as by a rule derived by hand."""
    start, data = tree_problem()
    order = batches.shuffled(8, 4, epochs=5, seed=2)
    params, expected = start, []
    for rows in order:
        value, grads = tree_rule(params, {name: leaf[rows] for name, leaf in data.items()})
        params = jax.tree.map(lambda leaf, grad: leaf - 0.1 * grad, params, grads)
        expected.append(value)
    start, data = jax.tree.map(jnp.asarray, (start, data))
    with jax.numpy_rank_promotion("allow"):
        state, values = training.train(
            loss, optax.sgd, start, data, order, hyperparameters={"learning_rate": 0.1}
        )
    assert_close(values, np.array(expected))
    assert_close(state.params, params)


# What an optimizer is given.


def probe(learning_rate):
    """An optimizer that descends along the gradient of thrice the loss, found one further on."""

    def update(updates, state, params, *, value_fn, **_):
        return -learning_rate * jax.grad(lambda params: 3 * value_fn(params))(params + 1), state

    return optax.GradientTransformationExtraArgs(lambda params: (), update)


def crooked(params, batch):
    """A rule whose value is right and whose gradient is not."""
    value, grads = jax.value_and_grad(lambda params: jnp.mean((batch @ params - 1) ** 4))(params)
    return value, grads * jnp.abs(grads)


def crooked_problem():
    """Parameters [3], data [6, 3] and the order of three full batches."""
    random = np.random.default_rng(0)
    params, data = jnp.asarray(random.normal(size=3)), jnp.asarray(random.normal(size=(6, 3)))
    return params, data, batches.full_batch(6, 3)


def test_value_fn_is_differentiated_by_the_rule_given(x64):
    params, data, order = crooked_problem()
    state, _ = training.train(
        losses.Rule(crooked), probe, params, data, order[:1], hyperparameters={"learning_rate": 0.1}
    )
    expected = params - 0.3 * crooked(params + 1, data)[1]
    assert_close(state.params, expected)


@pytest.mark.slow
def test_a_line_search_follows_the_rule_given(x64):
    """Under a crooked rule lbfgs searches along crooked slopes, as a custom gradient makes it."""

    @jax.custom_vjp
    def follows(params, batch):
        return crooked(params, batch)[0]

    follows.defvjp(
        crooked,
        lambda grads, cotangent: (cotangent * grads, None),
    )
    start = crooked_problem()
    with jax.numpy_dtype_promotion("standard"):
        state, values = training.train(losses.Rule(crooked), optax.lbfgs(), *start)
        expected, wanted = optax_loop(optax.lbfgs(), follows, *start, crooked)
    assert_close(values, wanted, rtol=1e-8)
    assert_close(state.params, expected, rtol=1e-8)


def test_an_optimizer_of_two_arguments_is_given_no_more(x64):
    """Optax's first interface: `update(grads, state)`."""
    params, data = problem()
    plain = optax.GradientTransformation(
        lambda params: (),
        lambda grads, state, params=None: (jax.tree.map(lambda grad: -0.1 * grad, grads), state),
    )
    order = batches.full_batch(6, 3)
    expected = training.train(SQUARES, optax.sgd(0.1), params, data, order)[0].params
    assert_close(training.train(SQUARES, plain, params, data, order)[0].params, expected)


# The loop as a function.


@pytest.mark.filterwarnings("ignore:the loss, inf, was not finite:RuntimeWarning")
@pytest.mark.slow
def test_many_learning_rates_at_once_equal_one_by_one(x64):
    """One rate diverges, and the others do not notice."""
    params, data = problem()
    order = batches.shuffled(6, 2, epochs=100, seed=0)
    rates = np.array([1e-3, 0.1, 100.0, 0.3])

    def one(learning_rate):
        optimizer = optax.sgd(learning_rate)
        state = training.start(optimizer, params)
        return training.run(SQUARES, optimizer, state, data, order)

    states, values = jax.jit(jax.vmap(one))(jnp.asarray(rates))
    assert list(np.isfinite(values[:, -1])) == [True, True, False, True]
    for index, rate in enumerate(rates):
        state, alone = training.train(
            SQUARES, optax.sgd, params, data, order, hyperparameters={"learning_rate": rate}
        )
        finite = np.isfinite(alone)
        assert_close(values[index][finite], alone[finite], rtol=1e-9)
        if finite.all():
            assert_close(jax.tree.map(lambda leaf, i=index: leaf[i], states), state, rtol=1e-9)


def test_a_run_is_its_steps(x64):
    """In two parts, or step by step from `start`, a run is the same run."""
    params, data = problem()
    order = jnp.asarray(batches.shuffled(6, 2, epochs=2, seed=0))
    optimizer = optax.sgd(0.1, momentum=0.9)
    start = training.start(optimizer, params)
    run = jax.jit(lambda *args: training.run(SQUARES, optimizer, *args))
    whole, values = run(start, data, order)
    half, first = run(start, data, order[:4])
    rest, second = run(half, data, order[4:])
    assert_close(rest, whole)
    assert_close(jnp.concatenate([first, second]), values)
    step = jax.jit(lambda *args: training.step(SQUARES, optimizer, *args))
    state = start
    for rows, value in zip(order, values, strict=True):
        state, seen = step(state, batches.take(data, rows))
        assert_close(seen, value)
    assert_close(state, whole)


@pytest.mark.parametrize("traced", [False, True])
def test_a_run_outside_its_rows_is_refused_where_it_can_be_seen(traced, x64, unchecked):
    """An order that is traced has no values yet; data that is has its shape."""
    params, (x, y) = problem()
    start, order = training.start(optax.sgd(0.1), params), batches.full_batch(6, 2)

    def run(x, y, order):
        return training.run(SQUARES, optax.sgd(0.1), start, (x, y), order)

    run(x, y, jnp.asarray(order))
    for rows in (order + 1, order - 1):
        on_them = functools.partial(run, order=rows)
        with pytest.raises(InputError, match=r"^order: expected rows 0 to 5, .* in step 0; make"):
            (jax.jit(on_them) if traced else on_them)(x, y)
    with pytest.raises(InputError, match=r"^data\[1\]: expected 6 rows, as data\[0\] has, got 5; "):
        (jax.jit(run) if traced else run)(x, y[:5], order)


def test_record_sees_all_of_a_step(x64):
    params, data = problem()
    order = batches.shuffled(6, 2, epochs=2, seed=0)
    optimizer = optax.sgd(0.1, momentum=0.9)
    train = functools.partial(training.train, SQUARES, optimizer, params, data, order)
    last, steps = train(record=lambda step: step)
    assert isinstance(steps, training.Step)
    assert_same(steps.value, train()[1])
    assert train(record=lambda step: None)[1] is None
    assert_same(steps.batch, tuple(leaf[order] for leaf in data))
    after = training.start(optimizer, params)
    for t in range(len(order)):
        step = jax.tree.map(lambda leaf, t=t: leaf[t], steps)
        assert_same(step.before, after)
        expected = jax.jit(jax.value_and_grad(SQUARES))(step.before.params, step.batch)
        assert_close((step.value, step.grads), expected)
        after = step.after
    assert_same(after, last)


def test_records_that_no_memory_holds_are_refused(monkeypatch):
    """Of each step a loss and 12 weights, in float32."""
    params, data = problem()
    size = 4 * (1 + params[0].weight.size)

    def record(step):
        return step.value, step.after.params[0].weight

    def train(steps):
        order = batches.full_batch(6, steps)
        return training.train(SQUARES, optax.sgd(0.1), params, data, order, record=record)

    monkeypatch.setattr(sizes, "memory", lambda: int(7 * size / 0.8) + 1)
    assert len(train(7)[1][0]) == 7
    with pytest.raises(InputError, match=r"record: .* got the records of 8 steps, which take"):
        train(8)


def test_records_may_be_any_pytree():
    params, data = problem()
    order = batches.full_batch(6, 4)

    def record(step):
        return {"loss": step.value, "norms": [jnp.linalg.norm(step.grads[0].weight)]}

    _, records = training.train(
        *(SQUARES, optax.sgd, params, data, order),
        record=record,
        hyperparameters={"learning_rate": 0.1},
    )
    assert jax.tree.map(jnp.shape, records) == {"loss": (4,), "norms": [(4,)]}


def test_divergence_is_a_result():
    """With the state before the step that failed, found on the same program."""
    params, data = problem()
    train = functools.partial(
        training.train, SQUARES, optax.sgd, params, data, hyperparameters={"learning_rate": 1e6}
    )
    order = batches.full_batch(6, 40)
    with pytest.warns(RuntimeWarning, match="^the loss, .* was not finite in step .* of 40; lower"):
        state, values = train(order)
    good = int(np.isfinite(values).sum())
    assert np.isfinite(values[:good]).all()
    assert not np.isfinite(values[good:]).any()
    assert_same(train(order[:good])[0], state)
    assert np.isfinite(state.params[0].weight).all()


def test_equal_inputs_give_equal_bits():
    """Again from the cache, again compiled anew, from NumPy's arrays, by autodiff as a rule."""
    params, data = problem((3, 4, 2))
    order = batches.shuffled(6, 2, epochs=3, seed=0)

    def train(params, data, order, loss=SQUARES):
        return training.train(
            loss, optax.sgd, params, data, order, hyperparameters={"learning_rate": 0.1}
        )

    first = train(params, data, order)
    assert_same(train(params, data, order), first)
    assert_same(train(*jax.tree.map(np.asarray, (params, data)), order), first)
    assert_same(train(params, data, jnp.asarray(order)), first)
    assert_same(train(params, data, order, functools.partial(SQUARES)), first)
    assert_same(train(params, data, order, BY_HAND), first)


@pytest.mark.parametrize(
    ("optimizer", "functions"),
    [
        (optax.sgd(0.1, momentum=0.9), (training.step, training.run)),
        pytest.param(optax.lbfgs(), (training.run,), marks=pytest.mark.slow),
    ],
)
def test_the_rule_of_autodiff_gives_a_loss_to_the_bit(optimizer, functions, standard_promotion):
    """Step by step, over an order, and where the optimizer differentiates the loss itself."""
    params, data = problem((3, 4, 2))
    order = jnp.asarray(batches.shuffled(6, 2, epochs=2, seed=0))
    start = training.start(optimizer, params)
    runs = []
    for loss in (SQUARES, BY_HAND):
        for function in functions:
            one = function is training.step
            arguments = (batches.take(data, order[0]),) if one else (data, order)
            runs.append(jax.jit(functools.partial(function, loss, optimizer))(start, *arguments))
    assert_same(runs[: len(functions)], runs[len(functions) :])


def test_an_optimizer_already_made_is_run_as_it_is():
    params, data = problem()
    order = batches.full_batch(6, 3)
    ready = training.train(SQUARES, optax.sgd(0.1), params, data, order)
    named = training.train(
        SQUARES, optax.sgd, params, data, order, hyperparameters={"learning_rate": 0.1}
    )
    assert_close(ready, named, rtol=1e-6, atol=1e-6)


def test_a_hyperparameter_may_be_called_as_an_argument_is():
    """They are one argument of their own: no name is taken."""

    def named(seed, record, epochs, data):
        return optax.sgd(seed * record * epochs * data)

    params, data = problem()
    order = batches.full_batch(6, 3)
    numbers = {"seed": 0.5, "record": 0.4, "epochs": 1, "data": 0.5}
    named_run = training.train(SQUARES, named, params, data, order, hyperparameters=numbers)
    ready = training.train(SQUARES, optax.sgd(0.1), params, data, order)
    assert_close(named_run, ready, rtol=1e-6, atol=1e-6)


# Traces.


def test_new_values_compile_nothing(compilations):
    """Python executes the loss once for any learning rate, parameters, data and order."""
    loss, executions = counted(SQUARES)
    inputs = [problem(seed=seed) for seed in range(3)]
    orders = [batches.shuffled(6, 2, epochs=2, seed=seed) for seed in range(3)]
    rates = [0.1, 0.2, 1e-5]
    for optimizer in (optax.sgd, optimizers.by_name("polyak_sgd")):
        runs = []
        for (params, data), order, rate in zip(inputs, orders, rates, strict=True):
            del compilations[:], executions[:]
            runs.append(
                training.train(
                    loss, optimizer, params, data, order, hyperparameters={"learning_rate": rate}
                )
            )
            first = len(runs) == 1
            # The second optimizer finds the trace of the loss that the first one made.
            assert len(executions) == (first and optimizer is optax.sgd)
            assert bool(compilations) == first
        assert len({float(values[-1]) for _, values in runs}) == 3


def test_two_hyperparameters_compile_nothing(compilations):
    loss, executions = counted(SQUARES)
    params, data = problem()
    for momentum, rate in ((0.9, 0.1), (0.5, 0.2), (0.0, 0.3)):
        compiled = len(compilations)
        training.train(
            *(loss, optax.sgd, params, data, batches.full_batch(6, 2)),
            hyperparameters={"learning_rate": rate, "momentum": momentum},
        )
    assert len(executions) == 1
    assert len(compilations) == compiled


@pytest.mark.parametrize(
    "change",
    [
        *("loss", "steps"),
        *(
            pytest.param(each, marks=pytest.mark.slow)
            for each in ("record", "batch size", "optimizer", "rows", "width", "structure")
        ),
    ],
)
def test_a_retrace_is_seen(change, compilations):
    """The counters above can count: what makes another program is compiled again.

    The loss is executed again where it is another, or of other shapes.
    """
    loss, executions = counted(SQUARES)
    params, data = problem()
    first = [loss, optax.sgd, params, data, batches.shuffled(6, 2, epochs=2, seed=0)]
    wide = problem((4, 2))
    changed = {
        "loss": [functools.partial(loss), *first[1:]],
        "optimizer": [loss, functools.partial(optax.sgd), *first[2:]],
        "record": first,
        "rows": [*first[:3], problem(rows=7)[1], first[4]],
        "width": [*first[:2], *wide, first[4]],
        "steps": [*first[:4], first[4][:3]],
        "batch size": [*first[:4], first[4].reshape(4, 3)],
        "structure": [*first[:2], list(params), *first[3:]],
    }[change]
    settings = {"hyperparameters": {"learning_rate": 0.1}}
    training.train(*first, **settings)
    del compilations[:], executions[:]
    if change == "record":
        settings["record"] = lambda step: step.value
    training.train(*changed, **settings)
    again = {"loss", "width", "batch size", "structure"}
    assert bool(executions) == (change in again)
    assert compilations


# Bad input.


NETWORK, (X, Y) = draw((3, 2), 6)[0], draw((3, 2), 6)[1:]
NETWORK = tuple(network.Layer(*(leaf.astype(np.float32) for leaf in layer)) for layer in NETWORK)
X, Y = X.astype(np.float32), Y.astype(np.float32)
ORDER = batches.full_batch(6, 2)
HOLED = np.where(np.arange(12).reshape(6, 2) == 7, np.float32(np.nan), Y)
COLUMN = (np.ones((2, 1), np.float32), np.ones(1, np.float32))


def changed(leaf):
    return (network.Layer(leaf, NETWORK[0].bias),)


def rates(change):
    return {"hyperparameters": {"learning_rate": 0.1} | change}


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (
            {"params": changed(NETWORK[0].weight.astype(int))},
            InputError,
            r"params\[0\].weight: .*int",
        ),
        ({"params": changed(NETWORK[0].weight * np.nan)}, InputError, r"params\[0\].weight: .*nan"),
        ({"params": changed(NETWORK[0].weight * 1j)}, InputError, r"params\[0\].weight: .*complex"),
        ({"params": ()}, InputError, "params: expected at least one array, got an empty pytree"),
        ({"data": (X, HOLED)}, InputError, r"data\[1\]: .* got nan at \[3, 1\], 1 of 12"),
        ({"data": (X * np.inf, Y)}, InputError, r"data\[0\]: expected finite values, got -?inf"),
        ({"data": (X, Y[:5])}, InputError, r"data\[1\]: expected 6 rows, as data\[0\] has, got 5"),
        ({"data": (X[:0], Y[:0])}, InputError, r"data\[0\]: .* row.*, got shape \[0, 3\]"),
        ({"data": (X, 1.0)}, InputError, r"data\[1\]: expected an array of numbers, got float"),
        ({"data": (X,)}, InputError, r"batch: expected a pair \(x, y\)"),
        ({"order": ORDER + 1}, InputError, "order: expected rows 0 to 5, .* got row 6 in step 0"),
        ({"order": ORDER - 1}, InputError, "order: expected rows 0 to 5, .* got row -1 in step 0"),
        ({"order": ORDER[0]}, InputError, r"order: expected shape \[T, B\], .* got shape \[6\]"),
        (
            {"order": ORDER[:0]},
            InputError,
            r"order: expected shape \[T, B\], .* got shape \[0, 6\]",
        ),
        ({"order": ORDER[:, :0]}, InputError, r"order: expected shape .* got shape \[2, 0\]"),
        ({"order": ORDER.astype(float)}, InputError, "order: expected integer rows, got float64"),
        (
            rates({"learning_rate": np.inf}),
            InputError,
            "learning_rate: expected a finite number, got inf",
        ),
        (
            rates({"learning_rate": np.nan}),
            InputError,
            "learning_rate: expected a finite number, got nan",
        ),
        (
            rates({"learning_rate": True}),
            InputError,
            "learning_rate: expected one number, .*, got True",
        ),
        (
            rates({"learning_rate": np.bool_(True)}),
            InputError,
            "learning_rate: expected one number",
        ),
        (
            rates({"learning_rate": [0.1]}),
            InputError,
            r"learning_rate: expected one number, .* got \[0.1\]",
        ),
        (
            rates({"learning_rate": np.ones(2)}),
            InputError,
            "learning_rate: expected one .*; .*jax.vmap",
        ),
        (
            rates({"nesterov": True}),
            InputError,
            "nesterov: expected one number, .*functools.partial",
        ),
        (
            {"optimizer": optax.sgd(0.1)},
            InputError,
            "optimizer: expected a function of learning_rate",
        ),
        *(
            (rates({"learning_rate": rate}), InputError, "learning_rate: ")
            for rate in ("0.1", "fast", None, 0.1j)
        ),
        (
            rates({"learning_rate": -0.1}),
            InputError,
            "learning_rate: expected at least 0, got -0.1; .*without the sign",
        ),
        (rates({"learning_rate": 10**400}), InputError, "learning_rate: expected a finite number"),
        ({"optimizer": "sgd"}, InputError, "optimizer: expected .*, got 'sgd'"),
        ({"loss": 3.0}, InputError, r"loss: expected a function of \(params, batch\), got float;"),
        ({"loss": lambda params: 0.0}, InputError, r"loss: .*, got one of \(params\), too many "),
        (
            {"loss": lambda params, x, y: 0.0},
            InputError,
            r"loss: .*, got one of \(params, x, y\), missing a required argument: 'y'; bind what",
        ),
    ],
)
def test_bad_input_is_named_before_anything_is_traced(
    change, error, words, unchecked, compilations
):
    example_loss, executions = counted(SQUARES.example_loss)
    loss = losses.BatchLoss(SQUARES.forward, example_loss)
    arguments = {
        "loss": loss,
        "optimizer": optax.sgd,
        "params": NETWORK,
        "data": (X, Y),
        "order": ORDER,
        "hyperparameters": {"learning_rate": 0.1},
    }
    with pytest.raises(error, match=f"^{words}"):
        training.train(**arguments | change)
    assert not executions
    assert not compilations


def in_numpy(params, batch):
    return np.square(np.tanh(batch[0] @ params[0].weight.T) - batch[1]).mean()


def forward_in_numpy(params, x):
    return np.tanh(params[0].weight @ x)


@first_of("trained", ["fit", "train"])
@first_of(
    ("loss", "named"),
    [
        (in_numpy, "in_numpy"),
        (losses.Rule(lambda *given: (in_numpy(*given), given[0])), "in_numpy"),
        (losses.BatchLoss(forward_in_numpy, optax.losses.l2_loss), "forward_in_numpy"),
    ],
    ids=["loss", "rule", "batch"],
)
def test_a_loss_in_numpy_is_named_before_a_run_compiles(loss, named, trained, compilations):
    data, sgd = (X, Y), optax.sgd(0.1)
    call = {
        "train": lambda loss: training.train(loss, sgd, NETWORK, data, ORDER),
        "fit": lambda loss: fitting.fit(loss, sgd, NETWORK, data, epochs=1),
    }[trained]
    call(SQUARES)
    compilations.clear()
    words = rf"^loss: expected .* jax.numpy, .* got NumPy in {named} \(test_training.py:\d+\); wri"
    with pytest.raises(InputError, match=words):
        call(loss)
    assert not compilations


def test_an_optimizer_in_numpy_is_named():
    signs = optax.stateless(lambda updates, _: jax.tree.map(np.sign, updates))
    params, data = problem()
    with pytest.raises(InputError, match=r"^optimizer: expected .* got NumPy in <lambda> \("):
        fitting.fit(SQUARES, signs, params, data, epochs=1)


def test_a_metric_in_numpy_is_named():
    params, data = problem()
    with pytest.raises(InputError, match=r"^metrics: m: expected .* got NumPy in in_numpy \("):
        fitting.fit(
            SQUARES,
            optax.sgd(0.1),
            params,
            data,
            validation=data,
            metrics={"m": in_numpy},
            epochs=1,
        )


def test_labels_outside_the_network_are_refused_before_a_run_compiles(compilations):
    """A label within is trained on."""

    def run_is_compiled():
        return any("steps_of" in event["fun_name"] for event in compilations)

    y = np.array([0, 1, 1, 0, 1, 0], np.int32)
    rate = {"learning_rate": 0.1}
    train = functools.partial(training.train, LABELS, optax.sgd, NETWORK, hyperparameters=rate)
    with pytest.raises(InputError, match=r"^y: .* 0 to 1, .*, got 2 in row 1$"):
        train((X, y + 1), ORDER)
    assert not run_is_compiled()
    _, values = train((X, y), ORDER)
    assert run_is_compiled()
    assert values[1] < values[0]


def imaginary(params, batch):
    return jax.lax.complex(SQUARES(params, batch), SQUARES(params, batch))


def replaced(change):
    """A rule derived by hand with gradients of another kind."""

    def rule(params, batch):
        value, grads = BY_HAND.value_and_grad(params, batch)
        return value, change(grads)

    return losses.Rule(rule)


SCALAR = "^loss: expected a real scalar"
STRUCTURE = "^loss: expected grads of the structure of params, .*, got "
# Said where a loss gives more than a number.
GOES = "a function that gives the gradient as well goes in jaxnet.Rule"


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (lambda p, b: b[1][:, 0] @ b[0] @ p[0].weight.T, SCALAR),
        (lambda p, b: SQUARES(p, b)[None], rf"{SCALAR}.*\(1,\)"),
        (lambda p, b: SQUARES(p, b).astype(int), rf"{SCALAR}.*int32"),
        (lambda p, b: None, rf"{SCALAR}.*None.*{GOES}"),
        (lambda p, b: (SQUARES(p, b), b), rf"{SCALAR}.*{GOES}"),
        (jax.value_and_grad(SQUARES), rf"{SCALAR}.*{GOES}"),
        (imaginary, SCALAR),
        (losses.Rule(lambda p, b: (b[0], p)), rf"{SCALAR}, got float32 of shape \[6, 3\]"),
        (losses.Rule(lambda p, b: (1, p)), rf"{SCALAR}, got int32 of shape \[\]"),
        (losses.Rule(lambda p, b: (imaginary(p, b), p)), f"{SCALAR}, got complex64"),
        (replaced(list), STRUCTURE),
        (replaced(lambda g: ()), STRUCTURE),
        (replaced(lambda g: (g[0]._replace(bias=None),)), STRUCTURE),
        (
            replaced(lambda g: (g[0]._replace(weight=g[0].weight.T),)),
            r"^grads\[0\].weight: expected the gradient of .* float32\[2, 3\], got float32\[3, 2\]",
        ),
        (
            replaced(lambda g: (g[0]._replace(bias=jnp.ones(1)),)),
            r"^grads\[0\].bias: .* float32\[2\], got float32\[1\]",
        ),
        (
            replaced(lambda g: jax.tree.map(lambda leaf: leaf.astype(jnp.float16), g)),
            r"^grads\[0\].weight: .* float32\[2, 3\], got float16\[2, 3\]",
        ),
        (
            replaced(lambda g: (g[0]._replace(bias=0.0),)),
            r"^grads\[0\].bias: .* float32\[2\], got ",
        ),
        *(
            (losses.Rule(rule), SCALAR)
            for rule in [
                SQUARES,
                jax.value_and_grad(lambda p, b: (SQUARES(p, b), b), has_aux=True),
                jax.value_and_grad(imaginary),
                jax.value_and_grad(lambda p, b: SQUARES(p, b)[None]),
                lambda p, b: (None, p),
            ]
        ),
    ],
)
def test_a_loss_without_a_gradient_is_refused_before_anything_compiles(
    loss, words, unchecked, compilations
):
    with pytest.raises(InputError, match=words):
        training.train(
            loss, optax.sgd, NETWORK, (X, Y), ORDER, hyperparameters={"learning_rate": 0.1}
        )
    assert not compilations


@first_of("number", [np.float32(0.1), 1, np.float64(0.1), np.array(0.1)], 2)
def test_every_kind_of_number_is_the_same_trace(number, unchecked):
    loss, executions = counted(SQUARES)

    def train(rate):
        numbers = {"learning_rate": rate}
        return training.train(loss, optax.sgd, NETWORK, (X, Y), ORDER, hyperparameters=numbers)[1]

    train(0.1)
    values = train(number)
    assert len(executions) == 1
    assert_same(values, train(float(number)))


# A run by hand.


def test_a_loop_of_advance_is_run_to_the_bit():
    """Scanned, as `run` is, and call by call, as `step` is; with the records of each."""
    params, data = problem((3, 4, 2))
    order = jnp.asarray(batches.shuffled(6, 2, epochs=3, seed=0))
    plan = training.Plan(SQUARES, optax.sgd).made({"learning_rate": 0.1, "momentum": 0.9})
    start, first = training.start(plan.optimizer, params), training.begin(plan.optimizer, params)
    assert_same(first.state, start)

    def record(step):
        return step.value, step.grads

    def body(run, t):
        return training.advance(plan, run, batches.take(data, order[t]), t=t, record=record)

    ran = jax.jit(lambda: training.run(SQUARES, plan.optimizer, start, data, order, record))()
    run, records = jax.jit(lambda: jax.lax.scan(body, first, jnp.arange(len(order))))()
    assert_same((run.state, records), ran)
    assert (run.weight, run.failed) == (18, -1)
    np.testing.assert_allclose(run.total, 2 * records[0].sum(), rtol=1e-6)
    state, run = start, first
    step = jax.jit(functools.partial(training.step, SQUARES, plan.optimizer, record=record))
    advance = jax.jit(functools.partial(training.advance, plan, record=record))
    for t, rows in enumerate(order):
        state, seen = step(state, batches.take(data, rows))
        run, recorded = advance(run, batches.take(data, rows), t=t)
        assert_same((run.state, recorded), (state, seen))


def test_a_measurement_is_the_mean_of_the_examples_since_the_last(x64):
    """Of batches of 3 and 1; the validation data is judged at the parameters that are judged."""
    start, x, y = draw((3, 2), 8)
    held_out = draw((3, 2), 5, seed=1)[1:]
    metrics = (("bias", lambda params, batch: params[0].bias[0]), ("rows", lambda p, b: len(b[0])))
    half = training.Plan(
        *(SQUARES, optax.sgd, metrics),
        judged=lambda opt_state, params: jax.tree.map(lambda leaf: leaf / 2, params),
    ).made({"learning_rate": 0.1})
    run, params = training.begin(half.optimizer, layers(start)), start
    for _ in range(2):
        expected = 0.0
        for rows in (np.arange(3), np.arange(3, 4)):
            run, _ = training.advance(half, run, (jnp.asarray(x[rows]), jnp.asarray(y[rows])), t=0)
            expected += len(rows) * oracles.loss(params, x[rows], y[rows], "squares")
            grads = oracles.backward(params, x[rows], y[rows], "squares")
            params = oracles.descend(params, grads, 0.1)
        before = run.state
        assert training.measure(half, run, {})[1].keys() == {"loss"}
        run, values = training.measure(half, run, {"validation": held_out})
        judged = [(weight / 2, bias / 2) for weight, bias in params]
        assert values == pytest.approx(
            {
                "loss": expected / 4,
                "validation_loss": oracles.loss(judged, *held_out, "squares"),
                "validation_bias": judged[0][1][0],
                "validation_rows": 5,
            },
            rel=1e-12,
        )
        assert {value.dtype for value in values.values()} == {run.total.dtype}
        assert_same(run.state, before)
        assert (run.total, run.weight) == (0, 0)


def test_a_plan_says_what_a_step_counts():
    """Of losses 1 and 4 over batches of 1 and 3 rows."""
    rule = losses.Rule(lambda params, batch: (batch[0], params * 0))
    parts = np.full(1, 1, np.float32), np.full(3, 4, np.float32)
    for weight, expected in ((batches.count, 13 / 4), (lambda batch: 1, 5 / 2)):
        plan = training.Plan(rule, optax.sgd(1.0), weight=weight)
        run = training.begin(plan.optimizer, np.zeros(2, np.float32))
        for batch in parts:
            run, _ = training.advance(plan, run, batch, t=0)
        assert training.measure(plan, run, {})[1]["loss"] == np.float32(expected)


@first_of("goes_on", [False, True])
def test_a_run_keeps_the_first_step_that_failed(goes_on):
    """Losses of nan in steps 2 and 3, of gradients that are finite: no parameter tells."""

    def planted(params, batch):
        return jnp.where(batch[0] > 1, jnp.nan, 0.0), jnp.ones_like(params)

    sgd = optax.sgd(1.0)
    plan = training.Plan(losses.Rule(planted), optax.apply_if_finite(sgd, 9) if goes_on else sgd)
    run, failed = training.begin(plan.optimizer, np.zeros(1, np.float32)), []
    for t, row in enumerate(np.float32([0, 1, 2, 3, 0])):
        run, _ = training.advance(plan, run, row[None], t=t)
        failed.append(int(run.failed))
        assert training.lasts(run) == (goes_on or t < 2)
        assert np.isfinite(run.state.params).all()
    assert failed == [-1, -1, 2, 2, 2]


@pytest.mark.parametrize(
    ("failed", "param", "total", "judged", "lasts", "skipping", "steps"),
    [
        (-1, 1.0, 1.0, 1.0, True, True, (-1, -1)),
        (3, 1.0, 1.0, 1.0, False, True, (3, -1)),
        (-1, np.nan, 1.0, 1.0, False, False, (9, 9)),
        (3, np.inf, 1.0, 1.0, False, False, (3, 3)),
        (-1, 1.0, np.inf, 1.0, False, True, (-1, -1)),
        (-1, 1.0, 1.0, np.nan, False, False, (-1, -1)),
    ],
)
def test_what_a_diverged_run_is(failed, param, total, judged, lasts, skipping, steps):
    """Of nine steps; one whose optimizer skips what is not finite goes on after any loss."""
    for optimizer, expected, step in (
        (optax.sgd(1.0), lasts, steps[0]),
        (optax.apply_if_finite(optax.sgd(1.0), 9), skipping, steps[1]),
    ):
        run = training.begin(optimizer, (np.ones(2, np.float32), np.float32([0, 1])))
        state = run.state._replace(params=(run.state.params[0], np.float32([0, param])))
        run = run._replace(state=state, failed=jnp.int32(failed))
        assert training.lasts(run, np.float32(total), np.float32(judged)) == expected
        assert training.diverged(run, 9) == step


@first_of("kind", [jnp.bfloat16, np.float16, np.float32])
def test_losses_of_a_half_are_summed_and_measured_in_float32(kind):
    one = losses.Rule(lambda params, batch: (jnp.ones((), kind), params * 0))
    plan = training.Plan(one, optax.sgd(1.0), (("one", lambda params, batch: params + 1),))
    run, batch = training.begin(plan.optimizer, np.zeros((), kind)), np.ones(4099, kind)
    run, _ = training.advance(plan, run, batch, t=0)
    run, values = training.measure(plan, run, {"validation": batch})
    assert {name: (value.dtype, float(value)) for name, value in values.items()} == dict.fromkeys(
        ("loss", "validation_loss", "validation_one"), (np.float32, 1.0)
    )


def test_a_trained_program_and_an_epoch_share_the_trace_of_the_loss():
    loss, executions = counted(SQUARES)
    params, data = problem()
    training.train(loss, optax.sgd(0.1), params, data, batches.full_batch(6, 2))
    fitting.fit(loss, optax.sgd(0.1, momentum=0.9), params, data, epochs=2)
    assert len(executions) == 1


@pytest.mark.usefixtures("unchecked")
def test_a_stream_is_for_fit():
    params, data = problem()
    with pytest.raises(
        InputError, match=r"data: expected arrays, got a function; jaxnet\.fit takes"
    ):
        training.train(SQUARES, optax.sgd(0.1), params, lambda epoch: [data], [[0, 1]])


@pytest.mark.usefixtures("unchecked")
def test_arguments_of_another_optimizer_are_named():
    params, data = problem()
    order = [[0, 1, 2]]
    for wrong in (None, {"lr": 0.1}, {"learning_rate": 0.1, "decay": 2.0}):
        with pytest.raises(InputError, match="hyperparameters: expected those of sgd, got "):
            training.train(SQUARES, optax.sgd, params, data, order, hyperparameters=wrong)
    # An order may be a list, and an optimizer that says nothing of its arguments is called.
    rate = {"learning_rate": 0.1}
    listed = training.train(SQUARES, optax.sgd, params, data, order, hyperparameters=rate)
    ordered = training.train(
        SQUARES, optax.sgd, params, data, np.array(order), hyperparameters=rate
    )
    assert_same(listed, ordered)

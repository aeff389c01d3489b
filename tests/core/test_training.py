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

from jaxnet import batches, losses, network, optimizers, training
from jaxnet.errors import InputError

FORWARD = functools.partial(network.forward, activation=jnp.tanh)
SQUARES = losses.BatchLoss(FORWARD, optax.losses.l2_loss)
SOFTMAX = losses.BatchLoss(FORWARD, optax.losses.softmax_cross_entropy)
LABELS = losses.BatchLoss(FORWARD, optax.losses.softmax_cross_entropy_with_integer_labels)
VALUE_AND_GRAD = jax.value_and_grad(SQUARES)
COMPILED = "/jax/core/compile/backend_compile_duration"


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


@pytest.fixture
def compilations():
    """A list that grows whenever XLA compiles something."""
    events = []

    def listen(event, duration, **details):
        if event == COMPILED:
            events.append(details)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield events
    jax.monitoring.unregister_event_duration_listener(listen)


# Equality with plain loops.


@pytest.mark.parametrize(
    ("sizes", "rows", "batch_size", "kind"),
    [
        ((3, 1), 1, 1, "squares"),
        ((3, 4, 4), 2, 2, "softmax"),
        ((2, 5, 3, 2), 7, 3, "squares"),
        ((4, 3, 5, 2, 3), 9, 4, "softmax"),
    ],
)
def test_plain_descent_agrees_with_numpy(sizes, rows, batch_size, kind, x64):
    """`fit` and `run` against backpropagation written out by hand, losses and parameters."""
    start, x, y = draw(sizes, rows, seed=rows)
    if kind == "softmax":
        y = np.eye(sizes[-1])[np.argmax(y, axis=1)]
    order = batches.shuffled(rows, batch_size, epochs=4, seed=1)
    params, expected = start, []
    for rows_now in order:
        now = (params, x[rows_now], y[rows_now], kind)
        expected.append(oracles.loss(*now))
        params = oracles.descend(params, oracles.backward(*now), 0.1)
    value_and_grad = jax.value_and_grad(SOFTMAX if kind == "softmax" else SQUARES)
    data = (jnp.asarray(x), jnp.asarray(y))
    fitted = training.train(
        value_and_grad, optax.sgd, layers(start), data, order, learning_rate=0.1
    )
    optimizer = optax.sgd(0.1)
    state = training.start(optimizer, layers(start))
    ran = training.run(value_and_grad, optimizer, state, data, jnp.asarray(order))
    for state, values in (fitted, ran):
        assert values.shape == (len(order),)
        assert_close(values, np.array(expected), rtol=1e-11)
        assert_close(state.params, layers(params), rtol=1e-11)


def optax_loop(optimizer, loss, params, data, order, value_and_grad=None, compiled=False):
    """The loop as optax's documentation writes it: no scan, and no jit unless `compiled`."""
    optimizer = optax.with_extra_args_support(optimizer)
    value_and_grad = value_and_grad or jax.value_and_grad(loss)

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

    step = jax.jit(step) if compiled else step
    opt_state, values = optimizer.init(params), []
    for rows in order:
        batch = jax.tree.map(lambda leaf, rows=rows: leaf[rows], data)
        params, opt_state, value = step(params, opt_state, batch)
        values.append(value)
    return params, jnp.stack(values)


# What optax itself says of its optimizers.
WARNINGS = {
    "noisy_sgd": "ignore:Specifying a key:UserWarning",
    "optimistic_adam": "ignore:.optimistic_adam. is deprecated:DeprecationWarning",
}
# What dpsgd takes is no mean gradient: tests/test_optimizers.py has its loop.
MAKERS = {name: optimizers.by_name(name) for name in optimizers.names() if name != "dpsgd"} | {
    "momo": optax.contrib.momo,
    "momo_adam": lambda learning_rate: optax.contrib.momo_adam(learning_rate, b1=0.8),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.filterwarnings(WARNINGS[name]))
        if name in WARNINGS
        else name
        for name in MAKERS
    ],
)
def test_every_optimizer_agrees_with_a_plain_loop(name, x64):
    """Of the plain loops that of lbfgs alone is compiled: its line search has many loops."""
    params, data = problem()
    order = batches.shuffled(6, 3, epochs=2, seed=0)
    # Optax mixes dtypes: strict promotion is for this package, not for its insides.
    with jax.numpy_dtype_promotion("standard"):
        state, values = training.train(
            VALUE_AND_GRAD, MAKERS[name], params, data, order, learning_rate=0.05
        )
        expected, losses = optax_loop(
            MAKERS[name](0.05), SQUARES, params, data, order, compiled=name == "lbfgs"
        )
    assert_close(values, losses)
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


@pytest.mark.parametrize("rule", [jax.value_and_grad(tree_loss), tree_rule], ids=["auto", "hand"])
def test_any_pytree_and_any_rule_run_through_the_loop(rule, x64):
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
        state, values = training.train(rule, optax.sgd, start, data, order, learning_rate=0.1)
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
    state, _ = training.train(crooked, probe, params, data, order[:1], learning_rate=0.1)
    expected = params - 0.3 * crooked(params + 1, data)[1]
    assert_close(state.params, expected)


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
        state, values = training.train(crooked, optax.lbfgs(), *start)
        expected, losses = optax_loop(optax.lbfgs(), follows, *start, crooked, compiled=True)
    assert_close(values, losses, rtol=1e-8)
    assert_close(state.params, expected, rtol=1e-8)


def test_an_optimizer_of_two_arguments_is_given_no_more(x64):
    """Optax's first interface: `update(grads, state)`."""
    params, data = problem()
    plain = optax.GradientTransformation(
        lambda params: (),
        lambda grads, state, params=None: (jax.tree.map(lambda grad: -0.1 * grad, grads), state),
    )
    order = batches.full_batch(6, 3)
    expected = training.train(VALUE_AND_GRAD, optax.sgd(0.1), params, data, order)[0].params
    assert_close(training.train(VALUE_AND_GRAD, plain, params, data, order)[0].params, expected)


# The loop as a function.


@pytest.mark.filterwarnings("ignore:the loss, inf, was not finite:RuntimeWarning")
def test_many_learning_rates_at_once_equal_one_by_one(x64):
    """One rate diverges, and the others do not notice."""
    params, data = problem()
    order = batches.shuffled(6, 2, epochs=100, seed=0)
    rates = np.array([1e-3, 0.1, 100.0, 0.3])

    def one(learning_rate):
        optimizer = optax.sgd(learning_rate)
        state = training.start(optimizer, params)
        return training.run(VALUE_AND_GRAD, optimizer, state, data, order)

    states, values = jax.jit(jax.vmap(one))(jnp.asarray(rates))
    assert list(np.isfinite(values[:, -1])) == [True, True, False, True]
    for index, rate in enumerate(rates):
        state, alone = training.train(
            VALUE_AND_GRAD, optax.sgd, params, data, order, learning_rate=float(rate)
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
    run = jax.jit(lambda *args: training.run(VALUE_AND_GRAD, optimizer, *args))
    whole, values = run(start, data, order)
    half, first = run(start, data, order[:4])
    rest, second = run(half, data, order[4:])
    assert_close(rest, whole)
    assert_close(jnp.concatenate([first, second]), values)
    step = jax.jit(lambda *args: training.step(VALUE_AND_GRAD, optimizer, *args))
    state = start
    for rows, value in zip(order, values, strict=True):
        state, seen = step(state, batches.take(data, rows))
        assert_close(seen, value)
    assert_close(state, whole)


def test_record_sees_all_of_a_step(x64):
    params, data = problem()
    order = batches.shuffled(6, 2, epochs=2, seed=0)
    optimizer = optax.sgd(0.1, momentum=0.9)
    fit = functools.partial(training.train, VALUE_AND_GRAD, optimizer, params, data, order)
    last, steps = fit(record=lambda step: step)
    assert isinstance(steps, training.Step)
    assert_same(steps.value, fit()[1])
    assert fit(record=lambda step: None)[1] is None
    assert_same(steps.batch, tuple(leaf[order] for leaf in data))
    after = training.start(optimizer, params)
    for t in range(len(order)):
        step = jax.tree.map(lambda leaf, t=t: leaf[t], steps)
        assert_same(step.before, after)
        expected = jax.jit(VALUE_AND_GRAD)(step.before.params, step.batch)
        assert_close((step.value, step.grads), expected)
        after = step.after
    assert_same(after, last)


def test_records_may_be_any_pytree():
    params, data = problem()
    order = batches.full_batch(6, 4)

    def record(step):
        return {"loss": step.value, "norms": [jnp.linalg.norm(step.grads[0].weight)]}

    _, records = training.train(
        VALUE_AND_GRAD, optax.sgd, params, data, order, record=record, learning_rate=0.1
    )
    assert jax.tree.map(jnp.shape, records) == {"loss": (4,), "norms": [(4,)]}


def test_divergence_is_a_result():
    """With the state before the step that failed, found on the same program."""
    params, data = problem()
    settings = (VALUE_AND_GRAD, optax.sgd, params, data)
    order = batches.full_batch(6, 40)
    with pytest.warns(RuntimeWarning, match="^the loss, .* was not finite in step .* of 40; lower"):
        state, values = training.train(*settings, order, learning_rate=1e6)
    good = int(np.isfinite(values).sum())
    assert np.isfinite(values[:good]).all()
    assert not np.isfinite(values[good:]).any()
    assert_same(training.train(*settings, order[:good], learning_rate=1e6)[0], state)
    assert np.isfinite(state.params[0].weight).all()


def test_equal_inputs_give_equal_bits():
    """Again from the cache, again compiled anew, and from NumPy's arrays."""
    params, data = problem((3, 4, 2))
    order = batches.shuffled(6, 2, epochs=3, seed=0)

    def fit(params, data, order, rule=VALUE_AND_GRAD):
        return training.train(rule, optax.sgd, params, data, order, learning_rate=0.1)

    first = fit(params, data, order)
    assert_same(fit(params, data, order), first)
    assert_same(fit(*jax.tree.map(np.asarray, (params, data)), order), first)
    assert_same(fit(params, data, jnp.asarray(order)), first)
    assert_same(fit(params, data, order, jax.value_and_grad(SQUARES)), first)


def test_an_optimizer_already_made_is_run_as_it_is():
    params, data = problem()
    order = batches.full_batch(6, 3)
    made = training.train(VALUE_AND_GRAD, optax.sgd(0.1), params, data, order)
    given = training.train(VALUE_AND_GRAD, optax.sgd, params, data, order, learning_rate=0.1)
    assert_close(made, given, rtol=1e-6, atol=1e-6)


# Traces.


def test_new_values_compile_nothing(compilations):
    """Python executes the loss once for any learning rate, parameters, data and order."""
    loss, executions = counted(SQUARES)
    value_and_grad = jax.value_and_grad(loss)
    inputs = [problem(seed=seed) for seed in range(3)]
    orders = [batches.shuffled(6, 2, epochs=2, seed=seed) for seed in range(3)]
    rates = [0.1, 0.2, 1e-5]
    for optimizer in (optax.sgd, optimizers.by_name("polyak_sgd")):
        runs = []
        for (params, data), order, rate in zip(inputs, orders, rates, strict=True):
            del compilations[:], executions[:]
            runs.append(
                training.train(value_and_grad, optimizer, params, data, order, learning_rate=rate)
            )
            first = len(runs) == 1
            # The second optimizer finds the trace of the loss that the first one made.
            assert len(executions) == (first and optimizer is optax.sgd)
            assert bool(compilations) == first
        assert len({float(values[-1]) for _, values in runs}) == 3


def test_two_hyperparameters_compile_nothing(compilations):
    loss, executions = counted(SQUARES)
    value_and_grad, (params, data) = jax.value_and_grad(loss), problem()
    for momentum, rate in ((0.9, 0.1), (0.5, 0.2), (0.0, 0.3)):
        compiled = len(compilations)
        training.train(
            value_and_grad,
            optax.sgd,
            params,
            data,
            batches.full_batch(6, 2),
            learning_rate=rate,
            momentum=momentum,
        )
    assert len(executions) == 1
    assert len(compilations) == compiled


@pytest.mark.parametrize(
    "change",
    ["value_and_grad", "optimizer", "record", "rows", "width", "steps", "batch size", "structure"],
)
def test_a_retrace_is_seen(change, compilations):
    """The counters above can count: what makes another program is compiled again.

    The loss is executed again where it is another, or of other shapes.
    """
    loss, executions = counted(SQUARES)
    rule, (params, data) = jax.value_and_grad(loss), problem()
    first = [rule, optax.sgd, params, data, batches.shuffled(6, 2, epochs=2, seed=0)]
    wide = problem((4, 2))
    changed = {
        "value_and_grad": [jax.value_and_grad(loss), *first[1:]],
        "optimizer": [rule, functools.partial(optax.sgd), *first[2:]],
        "record": first,
        "rows": [*first[:3], problem(rows=7)[1], first[4]],
        "width": [*first[:2], *wide, first[4]],
        "steps": [*first[:4], first[4][:3]],
        "batch size": [*first[:4], first[4].reshape(4, 3)],
        "structure": [*first[:2], list(params), *first[3:]],
    }[change]
    settings = {"record": lambda step: step.value} if change == "record" else {}
    training.train(*first, learning_rate=0.1)
    del compilations[:], executions[:]
    training.train(*changed, learning_rate=0.1, **settings)
    again = {"value_and_grad", "width", "batch size", "structure"}
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
        ({"params": ()}, InputError, "params: wanted at least one array; got an empty pytree"),
        ({"data": (X, HOLED)}, InputError, r"data\[1\]: .* got nan at \[3, 1\], 1 of 12"),
        ({"data": (X * np.inf, Y)}, InputError, r"data\[0\]: wanted finite values; got -?inf"),
        ({"data": (X, Y[:5])}, InputError, r"data\[1\]: wanted 6 rows, as data\[0\] has; got 5"),
        ({"data": (X[:0], Y[:0])}, InputError, r"data\[0\]: .* row.*; got shape \[0, 3\]"),
        ({"data": (X, 1.0)}, InputError, r"data\[1\]: wanted an array of numbers; got float"),
        ({"data": (X,)}, InputError, r"batch: wanted a pair \(x, y\)"),
        ({"order": ORDER + 1}, InputError, "order: wanted rows 0 to 5, .* got row 6 in step 0"),
        ({"order": ORDER - 1}, InputError, "order: wanted rows 0 to 5, .* got row -1 in step 0"),
        ({"order": ORDER[0]}, InputError, r"order: wanted shape \[T, B\], .* got shape \[6\]"),
        ({"order": ORDER[:0]}, InputError, r"order: wanted shape \[T, B\], .* got shape \[0, 6\]"),
        ({"order": ORDER[:, :0]}, InputError, r"order: wanted shape .* got shape \[2, 0\]"),
        ({"order": ORDER.astype(float)}, InputError, "order: wanted integer rows; got float64"),
        ({"learning_rate": np.inf}, InputError, "learning_rate: wanted a finite number; got inf"),
        ({"learning_rate": np.nan}, InputError, "learning_rate: wanted a finite number; got nan"),
        ({"learning_rate": True}, InputError, "learning_rate: wanted one number, .*; got True"),
        ({"learning_rate": np.bool_(True)}, InputError, "learning_rate: wanted one number"),
        ({"learning_rate": [0.1]}, InputError, r"learning_rate: wanted one number, .* got \[0.1\]"),
        ({"learning_rate": np.ones(2)}, InputError, "learning_rate: wanted one .*; .*jax.vmap"),
        ({"nesterov": True}, InputError, "nesterov: wanted one number, .*functools.partial"),
        (
            {"optimizer": optax.sgd(0.1)},
            InputError,
            "optimizer: wanted a function of learning_rate",
        ),
        *(
            ({"learning_rate": rate}, InputError, "learning_rate: ")
            for rate in ("0.1", "fast", None, 0.1j)
        ),
        ({"learning_rate": 10**400}, InputError, "learning_rate: wanted a finite number"),
        ({"optimizer": "sgd"}, InputError, "optimizer: wanted .*; got 'sgd'"),
    ],
)
def test_bad_input_is_named_before_anything_is_traced(
    change, error, words, unchecked, compilations
):
    example_loss, executions = counted(SQUARES.example_loss)
    loss = losses.BatchLoss(SQUARES.forward, example_loss)
    given = {
        "value_and_grad": jax.value_and_grad(loss),
        "optimizer": optax.sgd,
        "params": NETWORK,
        "data": (X, Y),
        "order": ORDER,
        "learning_rate": 0.1,
    }
    with pytest.raises(error, match=f"^{words}"):
        training.train(**given | change)
    assert not executions
    assert not compilations


def test_labels_outside_the_network_are_refused_before_a_run_compiles(compilations):
    """Also where autodiff wraps the loss, which alone is asked; a label within is trained on."""

    def run_is_compiled():
        return any("steps_of" in event["fun_name"] for event in compilations)

    rule = jax.value_and_grad(LABELS)
    y = np.array([0, 1, 1, 0, 1, 0], np.int32)
    fit = functools.partial(training.train, rule, optax.sgd, NETWORK, learning_rate=0.1)
    with pytest.raises(InputError, match=r"^y: .* 0 to 1, .*; got 2 in row 1$"):
        fit((X, y + 1), ORDER)
    assert not run_is_compiled()
    _, values = fit((X, y), ORDER)
    assert run_is_compiled()
    assert values[1] < values[0]


def imaginary(params, batch):
    return jax.lax.complex(SQUARES(params, batch), SQUARES(params, batch))


def replaced(change):
    """A rule derived by hand with gradients of another kind."""

    def rule(params, batch):
        value, grads = VALUE_AND_GRAD(params, batch)
        return value, change(grads)

    return rule


@pytest.mark.parametrize(
    ("rule", "error", "words"),
    [
        (jax.value_and_grad(lambda p, b: b[1][:, 0] @ b[0] @ p[0].weight.T), InputError, "scalar"),
        (jax.value_and_grad(lambda p, b: SQUARES(p, b)[None]), InputError, r"real scalar.*\(1,\)"),
        (lambda p, b: (b[0], p), InputError, r"real scalar loss; got float32 of shape \[6, 3\]"),
        (lambda p, b: (1, p), InputError, r"real scalar loss; got int32 of shape \[\]"),
        (lambda p, b: (imaginary(p, b), p), InputError, "real scalar loss; got complex64"),
        (replaced(list), InputError, "grads of the structure of params, .*; got "),
        (replaced(lambda g: ()), InputError, "grads of the structure of params, .*; got "),
        (replaced(lambda g: (g[0]._replace(bias=None),)), InputError, "grads of the structure"),
        (
            replaced(lambda g: (g[0]._replace(weight=g[0].weight.T),)),
            InputError,
            r"grads\[0\].weight: wanted the gradient of .* float32\[2, 3\]; got float32\[3, 2\]",
        ),
        (
            replaced(lambda g: (g[0]._replace(bias=jnp.ones(1)),)),
            InputError,
            r"grads\[0\].bias: .* float32\[2\]; got float32\[1\]",
        ),
        (
            replaced(lambda g: jax.tree.map(lambda leaf: leaf.astype(jnp.float16), g)),
            InputError,
            r"grads\[0\].weight: .* float32\[2, 3\]; got float16\[2, 3\]",
        ),
        *(
            (rule, InputError, "value_and_grad: wanted a real scalar loss")
            for rule in [
                SQUARES,
                jax.value_and_grad(lambda p, b: (SQUARES(p, b), b), has_aux=True),
                jax.value_and_grad(imaginary),
                lambda p, b: (None, p),
            ]
        ),
        (
            replaced(lambda g: (g[0]._replace(bias=0.0),)),
            InputError,
            r"grads\[0\].bias: .* float32\[2\]; got ",
        ),
    ],
)
def test_a_rule_that_is_no_gradient_is_refused_before_anything_compiles(
    rule, error, words, unchecked, compilations
):
    with pytest.raises(error, match=words) as caught:
        training.train(rule, optax.sgd, NETWORK, (X, Y), ORDER, learning_rate=0.1)
    assert str(caught.value).startswith(("value_and_grad: wanted ", "grads[0]."))
    assert not compilations


@pytest.mark.parametrize("number", [1, np.float32(0.1), np.float64(0.1), np.array(0.1)])
def test_every_kind_of_number_is_the_same_trace(number, unchecked):
    loss, executions = counted(SQUARES)
    rule = jax.value_and_grad(loss)
    for rate in (0.1, number):
        _, values = training.train(rule, optax.sgd, NETWORK, (X, Y), ORDER, learning_rate=rate)
    assert len(executions) == 1
    _, same = training.train(rule, optax.sgd, NETWORK, (X, Y), ORDER, learning_rate=float(number))
    assert_same(values, same)

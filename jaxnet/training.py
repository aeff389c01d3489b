"""The engine: one pure gradient step, and the runs that are made of it.

`step` and `run` are pure and make no assumption about the parameters: call them inside `jax.jit`
and `jax.vmap` as you like. `train` checks its input and takes the steps of one order in one cached
program. `fitting` takes epochs of them, and a comparison thousands of runs at once; all of them
`advance` a `Run`, and `measure` it at the steps they choose.

A number that is not finite leaves its mark: the parameters whose gradient it is become nan, and
stay so. One look at the end of many steps tells whether all were finite; where they were not, the
same program runs again for fewer steps until the first that failed is found.

Shapes: N rows of data, T steps of B rows.
"""

import dataclasses
import functools
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int32, PyTree, Shaped

from jaxnet import batches, losses, optimizers
from jaxnet._guards import checks, divergence, sizes, verify, versions
from jaxnet.losses import Loss, Rule
from jaxnet.optimizers import Optimizer

Metric = Callable[[PyTree, PyTree], PyTree]
Metrics = tuple[tuple[str, Metric], ...]


class State(NamedTuple):
    """All that a step changes: the parameters and the optimizer's state."""

    params: PyTree
    opt_state: PyTree


class Step(NamedTuple):
    """All that one step saw and did.

    Attributes:
        before: the state before it. batch: what the loss was given.
        value: the loss. grads: its gradients, both measured before the update.
        updates: what the optimizer adds to the parameters. after: the state after it.
    """

    before: State
    batch: PyTree
    value: Float[Array, ""]
    grads: PyTree
    updates: PyTree
    after: State


Recorder = Callable[[Step], PyTree]


def value(step: Step) -> Float[Array, ""]:
    """Record the loss, measured before the update."""
    return step.value


def start(optimizer: optax.GradientTransformation, params: PyTree) -> State:
    """Give the state before the first step."""
    return State(params, optimizer.init(params))


def step(
    loss: Loss | Rule,
    optimizer: optax.GradientTransformation,
    state: State,
    batch: PyTree[Shaped[Array | np.ndarray, "B ..."]],
    record: Recorder = value,
) -> tuple[State, PyTree]:
    """Take one gradient step; give the new state and what `record` makes of the step.

    A gradient that is not finite makes nan of its parameters, also where the optimizer hides it
    (clips an infinity), but for those whose purpose is to go on: `optax.apply_if_finite`,
    `optax.zero_nans`, `optax.MultiSteps` that skips.

    Args:
        loss: `(params, batch) -> []`, or a `Rule` of its value and gradient derived by hand. An
            optimizer that searches along a line (`lbfgs`) differentiates the loss by this same
            rule.
        optimizer: of optax, also one that needs `value`, `grad` or `value_fn`; a `PerExample` is
            given the gradients of each example, of the loss of a batch of that one alone.
        state: from `start` or a step before.
        batch: what the loss takes.
        record: what to keep of the step.

    Raises:
        InputError: a loss that is not a real scalar, or gradients that do not match
            the parameters leaf by leaf; raised while tracing.
    """
    value, grads = losses.evaluate(loss, state.params, batch)
    each = isinstance(optimizer, optimizers.PerExample)
    updates, opt_state = optax.with_extra_args_support(optimizer).update(
        _each(loss, state.params, batch) if each else grads,
        state.opt_state,
        state.params,
        value=value,
        grad=grads,
        value_fn=lambda params: _value(loss, params, batch),
    )
    params = optax.apply_updates(state.params, updates)
    if not divergence.goes_on(opt_state):
        # What is subtracted is zero, to the bit, or nan.
        params = jax.tree.map(lambda leaf, grad: leaf - 0 * jnp.abs(grad), params, grads)
    after = State(params, opt_state)
    return after, record(Step(state, batch, value, grads, updates=updates, after=after))


def _each(loss: Loss | Rule, params: PyTree, batch: PyTree) -> PyTree:
    """Give the gradients of each example as a batch of one, axis B first."""
    alone = jax.tree.map(lambda leaf: leaf[:, None], batch)
    return jax.vmap(lambda example: losses.evaluate(loss, params, example)[1])(alone)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _value(loss: Loss | Rule, params: PyTree, batch: PyTree) -> Array:
    """Give the loss, differentiable by the very rule the steps follow."""
    return loss(params, batch)


def _backward(loss: Loss | Rule, grads: PyTree, cotangent: Array) -> tuple[PyTree, None]:
    return jax.tree.map(lambda leaf: cotangent * leaf, grads), None


_value.defvjp(lambda loss, *seen: losses.value_and_grad(loss)(*seen), _backward)


def run(
    loss: Loss | Rule,
    optimizer: optax.GradientTransformation,
    state: State,
    data: PyTree[Shaped[Array | np.ndarray, "N ..."]],
    order: Int32[Array | np.ndarray, "T B"],
    record: Recorder = value,
) -> tuple[State, PyTree]:
    """Scan `step` over the order; give the last state and the records, each with axis T first.

    Raises:
        InputError: data of unequal rows, or an order outside them, where it is not traced; as
            `step`.
    """
    rows = jnp.asarray(checks.order(order, checks.rows(data), least=0))

    def body(state: State, rows: Array) -> tuple[State, PyTree]:
        return step(loss, optimizer, state, batches.take(data, rows), record)

    return jax.lax.scan(body, state, rows)


class Setup(NamedTuple):
    """Where a run starts, the data, and the order of its rows."""

    params: PyTree
    data: PyTree
    order: Any


class Run(NamedTuple):
    """A run under way, alone or with the axes of many first.

    Attributes:
        state: parameters and optimizer state.
        total: the loss since the last measurement, each step's times its weight, summed in
            float32 or wider. weight: the sum of those weights.
        failed: the first step whose loss was not finite; -1 where all were.
    """

    state: State
    total: Float[Array, "*R"]
    weight: Int32[Array, "*R"]
    failed: Int32[Array, "*R"]


@dataclasses.dataclass(frozen=True)
class Plan:
    """What every step of a run is made of; programs are cached by it.

    Attributes:
        loss: `(params, batch) -> []`, or a `Rule`.
        optimizer: an optax optimizer, or a function that makes one of hyperparameters.
        metrics: names and functions `(params, batch) -> []`, measured beside the loss.
        weight: `batch -> []`, what a step counts in the mean loss; its examples unless told
            otherwise.
        judged: `(opt_state, params) -> params`, those to measure.
    """

    loss: Loss | Rule
    optimizer: Any
    metrics: Metrics = ()
    weight: Callable[[PyTree], int] = batches.count
    judged: Callable[[PyTree, PyTree], PyTree] = lambda opt_state, params: params

    def traced_once(self) -> "Plan":
        """Give the plan with a loss that is traced once, however many programs take it."""
        return dataclasses.replace(self, loss=_traced_once(self.loss))

    def made(self, hyperparameters: Mapping[str, Any]) -> "Plan":
        """Give the plan with its optimizer made.

        Raises:
            InputError: hyperparameters that it cannot be traced over; no optimizer.
        """
        optimizer = optimizers.make(self.optimizer, hyperparameters)
        return dataclasses.replace(self, optimizer=optimizer)


@functools.lru_cache(maxsize=64)
def _traced_once(loss: Loss | Rule) -> Rule:
    return Rule(jax.jit(losses.value_and_grad(loss), inline=True))


def begin(optimizer: optax.GradientTransformation, params: PyTree) -> Run:
    """Give a run before its first step."""
    kind = jnp.result_type(*jax.tree.leaves(params))
    # Sums of many numbers want more digits than half precision has.
    kind = jnp.float32 if jnp.finfo(kind).bits < 32 else kind
    zero = jnp.zeros((), jnp.int32)
    return Run(start(optimizer, params), jnp.zeros((), kind), zero, zero - 1)


def advance(
    plan: Plan, run: Run, batch: PyTree, *, t: Any, record: Recorder = value
) -> tuple[Run, PyTree]:
    """Take step t of a run of a plan that is made, and add it to what is measured next."""

    def kept(step: Step) -> tuple[Array, PyTree]:
        return step.value, record(step)

    state, (loss, recorded) = step(plan.loss, plan.optimizer, run.state, batch, kept)
    weight, lost = plan.weight(batch), (run.failed < 0) & ~jnp.isfinite(loss)
    total = run.total + loss.astype(run.total.dtype) * weight
    failed = jnp.where(lost, jnp.asarray(t, jnp.int32), run.failed)
    return Run(state, total, run.weight + weight, failed), recorded


def measure(plan: Plan, run: Run, validation: PyTree | None) -> tuple[Run, dict[str, Array]]:
    """Measure a run: its mean loss since the last time, and all that is judged on validation data.

    Gives also the run with its sums at zero, and all values in the dtype of these.
    """
    kind = run.total.dtype
    params = plan.judged(run.state.opt_state, run.state.params)
    values = {"loss": run.total / run.weight.astype(kind), **_judged(plan, params, validation)}
    none = run._replace(total=jnp.zeros_like(run.total), weight=jnp.zeros_like(run.weight))
    return none, {name: jnp.asarray(value).astype(kind) for name, value in values.items()}


def judge(loss: Loss | Rule, metrics: Metrics, params: PyTree, data: PyTree) -> dict[str, Array]:
    """Give the loss of data as one batch, and each metric."""
    values = {"loss": loss(params, data)}
    return values | {name: checks.scalar(name, metric(params, data)) for name, metric in metrics}


def _judged(plan: Plan, params: PyTree, validation: PyTree | None) -> dict[str, Array]:
    if validation is None:
        return {}
    values = judge(plan.loss, plan.metrics, params, validation)
    return {f"validation_{name}": value for name, value in values.items()}


def lasts(run: Run, total: Any = 0.0, judged: Any = 0.0) -> Bool[Array, ""]:
    """Tell a run that goes on from one that diverged, which every loop asks here.

    It diverged where a loss it was trained on, or their `total` where that is shown, was not
    finite, but for what its optimizer goes on after; or where its parameters are not, or the loss
    that they are `judged` by.
    """
    finite = [jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(run.state.params)]
    trained = (run.failed < 0) & jnp.isfinite(total) | divergence.goes_on(run.state.opt_state)
    return jnp.stack(finite).all() & trained & jnp.isfinite(judged)


def diverged(run: Run, steps: int) -> Int32[Array, ""]:
    """Give the first step whose loss was not finite, -1 where all were and the run lasts.

    It is `steps`, how many were taken, where the last update alone was not, which no loss has seen.
    """
    return jnp.where((run.failed < 0) & ~lasts(run), steps, run.failed)


def train(
    loss: Loss | Rule,
    optimizer: Optimizer,
    params: PyTree[Float[Array | np.ndarray, "..."]],
    data: PyTree[Shaped[Array | np.ndarray, "N ..."]],
    order: Int32[Array | np.ndarray, "T B"],
    *,
    record: Recorder = value,
    hyperparameters: Mapping[str, Any] | None = None,
) -> tuple[State, PyTree]:
    """Check the input, then train in one compiled program.

    A program is cached by the functions it is made of: keep one `loss` and one `optimizer` and new
    parameters, data, orders of the same shapes and hyperparameter values compile nothing.

    Args:
        loss: `(params, batch) -> []`, or a `Rule` of its value and gradient, as in `step`; class
            labels are held against the network's outputs where it is a `BatchLoss`.
        optimizer: an optax optimizer, or a function that makes one of the hyperparameters, such
            as `optax.adam` with `{"learning_rate": 1e-3}`.
        params: where to start; any pytree of floating-point arrays.
        data: the N rows, a pytree of arrays whose first axis is N.
        order: the rows of each step, from `full_batch` or `shuffled`.
        record: what to keep of each step; its loss unless told otherwise.
        hyperparameters: finite numbers for `optimizer`, by name, traced.

    Returns:
        The last state, and the records with axis T first: `losses [T]` unless told otherwise.
        A run with a loss, gradient or parameter that is not finite is a result like another, and
        a RuntimeWarning says where and why: its state is that before the step that failed, the
        last that is recorded; records after it are nan, or 0 where they are whole numbers.

    Raises:
        InputError: input that cannot be trained on, named, before anything compiles; records that
            do not fit the memory; a loss that this JAX does not compile to what it says.
    """
    setup = Setup(params, data, checks.order(order, check(loss, params, data)))
    numbers, plan = optimizers.check(optimizer, hyperparameters), Plan(loss, optimizer)
    program, inputs = _program(plan, record), verify.Inputs(params, data, (setup.order[0],))
    program.refuse(inputs, setup, lambda: program.call(setup, numbers, 0))
    state, records, why = attempt(plan, numbers, setup, record)
    if why:
        warnings.warn(f"{why}; the state before it is kept", RuntimeWarning, stacklevel=2)
    return state, records


def attempt(
    plan: Plan, numbers: Mapping[str, Any], setup: Setup, record: Recorder = value
) -> tuple[State, PyTree, str]:
    """Take all steps of an order; say why not all was finite, or nothing."""
    taken, order = functools.partial(_program(plan, record).call, setup, numbers), setup.order
    state, records, finite = taken(len(order))
    if finite:
        return state, records, ""

    def look(t: int) -> Step:
        return looking(plan)(numbers, taken(t)[0], batches.take(setup.data, order[t]))

    good, steps = divergence.search(lambda steps: taken(steps)[2], look, 0, len(order))
    at = f" in step {good + 1} of {len(order)}"
    why = divergence.explain(steps, plan.optimizer, at, first=good == 0)
    return taken(good)[0], taken(good + 1)[1], why


@functools.lru_cache(maxsize=64)
def looking(plan: Plan) -> Callable[[Mapping[str, Any], State, PyTree], Step]:
    """Give the program of one step that gives all of it."""

    def look(numbers: Mapping[str, Any], state: State, batch: PyTree) -> Step:
        return step(plan.loss, plan.made(numbers).optimizer, state, batch, lambda step: step)[1]

    return jax.jit(look)


@functools.lru_cache(maxsize=64)
def _program(plan: Plan, record: Recorder) -> verify.Program:
    """Make the program of so many steps of an order; it tells whether all was finite."""
    once = plan.traced_once()

    def steps_of(setup: Setup, numbers: PyTree, steps: Array) -> tuple[State, PyTree, Array]:
        plan, order = once.made(numbers), setup.order

        def at(t: Any, run: Run) -> tuple[Run, PyTree]:
            return advance(plan, run, batches.take(setup.data, order[t]), t=t, record=record)

        def body(t: Array, carry: tuple[Run, PyTree]) -> tuple[Run, PyTree]:
            run, new = at(t, carry[0])
            return run, jax.tree.map(lambda all, one: all.at[t].set(one), carry[1], new)

        first = begin(plan.optimizer, setup.params)
        shapes = jax.eval_shape(at, 0, first)[1]
        sizes.check_records(len(order), jax.tree.leaves(shapes))
        records = jax.tree.map(lambda one: _unrecorded(len(order), one), shapes)
        run, records = jax.lax.fori_loop(0, steps, body, (first, records))
        return run.state, records, lasts(run)

    return verify.Program(jax.jit(steps_of), jax.jit(at_start(once)))


def _unrecorded(steps: int, one: Any) -> Array:
    kind = jnp.issubdtype(one.dtype, jnp.inexact)
    return jnp.full((steps, *one.shape), jnp.nan if kind else 0, one.dtype)


def at_start(plan: Plan, spread: Callable[[PyTree], PyTree] = lambda batch: batch) -> Any:
    """Give what a run computes at its start, to be held against NumPy.

    That is the loss and gradient of batches, and all that is judged on validation data.
    """

    def measured(
        params: PyTree, data: PyTree, orders: tuple[Array, ...], validation: PyTree | None
    ) -> dict[str, PyTree]:
        values = {}
        for name, rows in zip(("batch", "last batch"), orders, strict=False):
            batch = spread(batches.take(data, rows))
            loss, grads = losses.evaluate(plan.loss, params, batch)
            values |= {f"loss of a {name}": loss, f"gradient of a {name}": grads}
        return values | _judged(plan, params, validation)

    return measured


def check(loss: Loss | Rule, params: PyTree, data: PyTree | Callable[..., Any]) -> int | None:
    """Refuse parameters and data that cannot be trained on; give the rows, of a stream None.

    Raises:
        InputError: naming them.
    """
    versions.check()
    checks.function("loss", loss, "params", "batch")
    checks.params(params)
    rows = None if callable(data) else checks.data(data)
    if rows and isinstance(loss, losses.BatchLoss):
        loss.check(params, data)
    return rows

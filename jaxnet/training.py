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
from jaxtyping import Array, Bool, Float, Int32, Key, PyTree, Shaped

from jaxnet import batches, losses, optimizers, variables
from jaxnet._guards import checks, divergence, frames, sizes, verify, versions
from jaxnet._guards.defaults import SEED
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
    return State(params, optimizer.init(variables.split(params)[0]))


def step(
    loss: Loss | Rule,
    optimizer: optax.GradientTransformation,
    state: State,
    batch: PyTree[Shaped[Array | np.ndarray, "B ..."]],
    record: Recorder = value,
    key: Key[Array, ""] | None = None,
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
        key: of this step, for a loss that draws.

    Raises:
        InputError: a loss that is not a real scalar, gradients that do not match the parameters
            leaf by leaf, or no key for a loss that draws; raised while tracing.
    """
    value, grads, params = losses.evaluate(loss, state.params, batch, key)
    taken = loss, (state.params, batch, key), (value, grads)
    updates, opt_state = optimizers.update(optimizer, state.opt_state, *taken)
    trained, rest = variables.split(params)
    trained = optax.apply_updates(trained, updates)
    if not divergence.goes_on(opt_state):
        # What is subtracted is zero, to the bit, or nan.
        trained = jax.tree.map(lambda leaf, grad: leaf - 0 * jnp.abs(grad), trained, grads)
    after = State(variables.join(trained, rest), opt_state)
    return after, record(Step(state, batch, value, grads, updates=updates, after=after))


def run(
    loss: Loss | Rule,
    optimizer: optax.GradientTransformation,
    state: State,
    data: PyTree[Shaped[Array | np.ndarray, "N ..."]],
    order: Int32[Array | np.ndarray, "T B"],
    record: Recorder = value,
    key: Key[Array, ""] | None = None,
) -> tuple[State, PyTree]:
    """Scan `step` over the order; give the last state and the records, each with axis T first.

    Step t of a loss that draws is given `jax.random.fold_in(key, t)`.

    Raises:
        InputError: data of unequal rows, or an order outside them, where it is not traced; as
            `step`.
    """
    rows = jnp.asarray(checks.order(order, checks.rows(data), least=0))

    def body(state: State, at: tuple[Array, Array]) -> tuple[State, PyTree]:
        batch, own = batches.take(data, at[1]), variables.step_key(key, at[0])
        return step(loss, optimizer, state, batch, record, key=own)

    return jax.lax.scan(body, state, (jnp.arange(len(rows)), rows))


class Setup(NamedTuple):
    """Where a run starts, the data, the order of its rows, and the key of one that draws."""

    params: PyTree
    data: PyTree
    order: Any
    key: Key[Array, ""] | None = None


class Run(NamedTuple):
    """A run under way, alone or with the axes of many first.

    Attributes:
        state: parameters and optimizer state.
        total: the loss since the last measurement, each step's times its weight. weight: the sum
            of those weights. Both are in float32 or wider.
        failed: the first step whose loss was not finite; -1 where all were.
    """

    state: State
    total: Float[Array, "*R"]
    weight: Float[Array, "*R"]
    failed: Int32[Array, "*R"]


@dataclasses.dataclass(frozen=True)
class Plan:
    """What every step of a run is made of; programs are cached by it.

    Attributes:
        loss: as `losses` has it, or a `Rule`.
        optimizer: an optax optimizer, or a function that makes one of hyperparameters.
        metrics: names and functions `(params, batch) -> [...]`, measured beside the loss.
        weight: `batch -> []`, what a step counts in the mean loss; its examples unless told
            otherwise.
        judged: `(opt_state, params) -> params`, those to measure, of those that are trained.
        key: that a run draws from, of a plan that is made.
    """

    loss: Loss | Rule
    optimizer: Any
    metrics: Metrics = ()
    weight: Callable[[PyTree], Any] = batches.count
    judged: Callable[[PyTree, PyTree], PyTree] = lambda opt_state, params: params
    key: Key[Array, ""] | None = None

    def traced_once(self) -> "Plan":
        """Give the plan with a loss that is traced once, however many programs take it."""
        return dataclasses.replace(self, loss=_traced_once(self.loss))

    def made(self, hyperparameters: Mapping[str, Any], key: Any = None) -> "Plan":
        """Give the plan of one run, with its optimizer made and its key.

        Raises:
            InputError: hyperparameters that it cannot be traced over; no optimizer.
        """
        optimizer = optimizers.make(self.optimizer, hyperparameters)
        return dataclasses.replace(self, optimizer=optimizer, key=key)


@functools.lru_cache(maxsize=64)
def _traced_once(loss: Loss | Rule) -> Rule:
    return Rule(jax.jit(losses.value_and_grad(loss), inline=True), losses.original(loss))


def begin(optimizer: optax.GradientTransformation, params: PyTree) -> Run:
    """Give a run before its first step."""
    kind = jnp.result_type(*jax.tree.leaves(variables.split(params)[0]))
    # Sums of many numbers want more digits than half precision has.
    zero = jnp.zeros((), jnp.float32 if jnp.finfo(kind).bits < 32 else kind)
    return Run(start(optimizer, params), zero, zero, jnp.asarray(-1, jnp.int32))


def advance(
    plan: Plan, run: Run, batch: PyTree, *, t: Any, record: Recorder = value
) -> tuple[Run, PyTree]:
    """Take step t of a run of a plan that is made, and add it to what is measured next."""

    def kept(step: Step) -> tuple[Array, PyTree]:
        return step.value, record(step)

    made, key = (plan.loss, plan.optimizer), variables.step_key(plan.key, t)
    state, (loss, recorded) = step(*made, run.state, batch, kept, key=key)
    weight = jnp.asarray(plan.weight(batch), run.weight.dtype)
    lost = (run.failed < 0) & ~jnp.isfinite(loss)
    total = run.total + loss.astype(run.total.dtype) * weight
    failed = jnp.where(lost, jnp.asarray(t, jnp.int32), run.failed)
    return Run(state, total, run.weight + weight, failed), recorded


def measure(plan: Plan, run: Run, sets: Mapping[str, PyTree]) -> tuple[Run, dict[str, Array]]:
    """Measure a run: its mean loss since the last time, and all that is judged on sets of data.

    Gives also the run with its sums at zero, and all values in the dtype of these.
    """
    kind = run.total.dtype
    values = {"loss": run.total / run.weight, **_judged(plan, judged(plan, run.state), sets)}
    none = run._replace(total=jnp.zeros_like(run.total), weight=jnp.zeros_like(run.weight))
    return none, {name: jnp.asarray(value).astype(kind) for name, value in values.items()}


def judged(plan: Plan, state: State) -> PyTree:
    """Give the parameters of a state that are measured."""
    trained, rest = variables.split(state.params)
    return variables.join(plan.judged(state.opt_state, trained), rest)


def judge(loss: Loss | Rule, metrics: Metrics, params: PyTree, data: PyTree) -> dict[str, Array]:
    """Give the loss of data as one batch, and each metric."""
    values = {"loss": losses.value(loss, params, data)}
    return values | {name: checks.measured(name, metric, params, data) for name, metric in metrics}


def _judged(plan: Plan, params: PyTree, sets: Mapping[str, PyTree]) -> dict[str, Array]:
    found = {name: judge(plan.loss, plan.metrics, params, data) for name, data in sets.items()}
    return {f"{name}_{what}": value for name, all in found.items() for what, value in all.items()}


def lasts(run: Run, total: Any = 0.0, judged: Any = 0.0) -> Bool[Array, ""]:
    """Tell a run that goes on from one that diverged, which every loop asks here.

    It diverged where a loss it was trained on, or their `total` where that is shown, was not
    finite, but for what its optimizer goes on after; or where its parameters are not, or the loss
    that they are `judged` by.
    """
    trained = variables.split(run.state.params)[0]
    finite = [jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(trained)]
    trained = (run.failed < 0) & jnp.isfinite(total) | divergence.goes_on(run.state.opt_state)
    return jnp.stack(finite).all() & trained & jnp.isfinite(judged)


def diverged(run: Run, steps: int) -> Int32[Array, ""]:
    """Give the first step whose loss was not finite, -1 where the run lasts all the same.

    It is `steps`, how many were taken, where the last update alone was not, which no loss has seen.
    """
    return jnp.where(lasts(run), -1, jnp.where(run.failed < 0, steps, run.failed))


def train(
    loss: Loss | Rule,
    optimizer: Optimizer,
    params: PyTree,
    data: PyTree,
    order: Int32[Array | np.ndarray, "T B"],
    *,
    record: Recorder = value,
    hyperparameters: Mapping[str, object] | None = None,
    seed: int = SEED,
) -> tuple[State, PyTree]:
    """Check the input, then train in one compiled program.

    A program is cached by the functions it is made of: keep one `loss` and one `optimizer` and new
    parameters, data, orders of the same shapes and hyperparameter values compile nothing.

    Args:
        loss: `(params, batch) -> []`, or a `Rule` of its value and gradient, as in `step`; class
            labels are held against the network's outputs where it is a `BatchLoss`. One that takes
            a third argument `key` is given one of its own in every step.
        optimizer: an optax optimizer, or a function that makes one of the hyperparameters, such
            as `optax.adam` with `{"learning_rate": 1e-3}`.
        params: where to start; any pytree of arrays, of which those of floating-point numbers are
            trained and the others stay as they are; or `Variables`.
        data: the N rows, a pytree of arrays whose first axis is N; frames and series of numbers,
            such as those of pandas and polars, are taken as arrays.
        order: the rows of each step, from `full_batch` or `shuffled`.
        record: what to keep of each step; its loss unless told otherwise.
        hyperparameters: finite numbers for `optimizer`, by name, traced.
        seed: of what a loss draws.

    Returns:
        The last state, and the records with axis T first: `losses [T]` unless told otherwise.
        A run with a loss, gradient or parameter that is not finite is a result like another, and
        a RuntimeWarning says where and why: its state is that before the step that failed, the
        last that is recorded; records after it are nan, or 0 where they are whole numbers.

    Raises:
        InputError: input that cannot be trained on, named, before anything compiles; records that
            do not fit the memory; a loss that this JAX does not compile to what it says.
    """
    data, rows = check(loss, params, data, seed)
    setup = Setup(params, data, checks.order(order, rows), losses.run_key(loss, seed))
    numbers, plan = optimizers.check(optimizer, hyperparameters), Plan(loss, optimizer)
    program, inputs = _program(plan, record), verify.Inputs(params, data, (setup.order[0],), {})
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
        batch, key = batches.take(setup.data, order[t]), variables.step_key(setup.key, t)
        return looking(plan)(numbers, taken(t)[0], batch, key)

    good, steps = divergence.search(lambda steps: taken(steps)[2], look, 0, len(order))
    why = divergence.explain(steps, plan.optimizer, f" in step {good + 1} of {len(order)}", good)
    return taken(good)[0], taken(good + 1)[1], why


@functools.lru_cache(maxsize=64)
def looking(plan: Plan) -> Callable[[Mapping[str, Any], State, PyTree, Array | None], Step]:
    """Give the program of one step that gives all of it; after it, of what is trained alone."""

    def look(numbers: Mapping[str, Any], state: State, batch: PyTree, key: Array | None) -> Step:
        made = plan.loss, plan.made(numbers).optimizer
        seen = step(*made, state, batch, lambda step: step, key=key)[1]
        trained = variables.split(seen.after.params)[0]
        return seen._replace(after=seen.after._replace(params=trained))

    return jax.jit(look)


@functools.lru_cache(maxsize=64)
def _program(plan: Plan, record: Recorder) -> verify.Program:
    """Make the program of so many steps of an order; it tells whether all was finite."""
    once = plan.traced_once()

    def steps_of(setup: Setup, numbers: PyTree, steps: Array) -> tuple[State, PyTree, Array]:
        plan, order = once.made(numbers, setup.key), setup.order

        def at(t: Any, run: Run) -> tuple[Run, PyTree]:
            return advance(plan, run, batches.take(setup.data, order[t]), t=t, record=record)

        def body(t: Array, carry: tuple[Run, PyTree]) -> tuple[Run, PyTree]:
            run, new = at(t, carry[0])
            return run, jax.tree.map(lambda all, one: all.at[t].set(one), carry[1], new)

        first = begin(plan.optimizer, setup.params)
        shapes = jax.eval_shape(at, 0, first)[1]
        sizes.check_records(len(order), jax.tree.leaves(shapes))
        records = jax.tree.map(functools.partial(_unrecorded, len(order)), shapes)
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
        params: PyTree, data: PyTree, orders: tuple[Array, ...], sets: dict[str, PyTree]
    ) -> dict[str, PyTree]:
        values, key = {}, losses.run_key(plan.loss, 0)
        for name, rows in zip(("batch", "last batch"), orders, strict=False):
            batch = spread(batches.take(data, rows))
            loss, grads, _ = losses.evaluate(plan.loss, params, batch, key)
            values |= {f"loss of a {name}": loss, f"gradient of a {name}": grads}
        return values | _judged(plan, params, sets)

    return measured


def check_loss(loss: Loss | Rule) -> None:
    """Refuse what is no function of parameters, a batch and, where it draws, a key.

    Raises:
        InputError: naming it.
    """
    checks.function("loss", loss, "params", "batch", **variables.named(None, losses.draws(loss)))


def check(
    loss: Loss | Rule, params: PyTree, data: PyTree | Callable[..., Any], seed: int
) -> tuple[PyTree, int | None]:
    """Refuse parameters and data that cannot be trained on; give arrays and their rows, or None.

    Raises:
        InputError: naming them.
    """
    versions.check()
    checks.seed(seed)
    check_loss(loss)
    checks.params(params, variables.split(params)[0])
    if callable(data):
        return data, None
    data = frames.arrays(data)
    rows = checks.data(data)
    losses.check(loss, params, data, whole=True)
    return data, rows

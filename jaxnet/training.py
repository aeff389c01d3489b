"""The compiled loop: one pure gradient step, scanned over an order array.

`step` and `run` are pure and make no assumption about the parameters: call them inside `jax.jit`
and `jax.vmap` as you like. `train` checks its input and runs one order as one cached program.
`fit` trains for epochs, with validation, early stopping and data larger than memory.

A number that is not finite leaves its mark: the parameters whose gradient it is become nan, and
stay so. One look at the end of many steps tells whether all were finite; where they were not, the
same program runs again for fewer steps until the first that failed is found.

Shapes: N rows of data, T steps of B rows, E epochs.
"""

import functools
import inspect
import itertools
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int32, PyTree, Shaped

from jaxnet import batches, losses
from jaxnet._guards import checks, divergence, verify, versions
from jaxnet.errors import InputError

ValueAndGrad = Callable[[Any, Any], tuple[Float[Array, ""], Any]]
Optimizer = optax.GradientTransformation | Callable[..., optax.GradientTransformation]
Named = tuple[tuple[str, Callable[[Any, Any], Any]], ...]
Sharding = jax.sharding.NamedSharding | None

# Numbers of data that a chunk of a stream holds.
_CHUNK = 2**22


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


class PerExample(optax.GradientTransformation):
    """An optimizer whose updates are made of the gradients of each example, their axis B first.

    Make it of another's two functions: `PerExample(*optimizer)`.
    """


Record = Callable[[Step], Any]


def value(step: Step) -> Float[Array, ""]:
    """Record the loss, measured before the update."""
    return step.value


def start(optimizer: optax.GradientTransformation, params: PyTree) -> State:
    """Give the state before the first step."""
    return State(params, optimizer.init(params))


def step(
    value_and_grad: ValueAndGrad,
    optimizer: optax.GradientTransformation,
    state: State,
    batch: PyTree[Shaped[Array | np.ndarray, "B ..."]],
    record: Record = value,
) -> tuple[State, PyTree]:
    """Take one gradient step; give the new state and what `record` makes of the step.

    A gradient that is not finite makes nan of its parameters, also where the optimizer hides it
    (clips an infinity), but for those whose purpose is to go on: `optax.apply_if_finite`,
    `optax.zero_nans`, `optax.MultiSteps` that skips.

    Args:
        value_and_grad: `(params, batch) -> (loss, grads)`: `jax.value_and_grad(loss)`, or a rule
            derived by hand. An optimizer that searches along a line (`lbfgs`) differentiates
            the loss by this same rule.
        optimizer: of optax, also one that needs `value`, `grad` or `value_fn`; a `PerExample` is
            given the gradients of each example, of the loss of a batch of that one alone.
        state: from `start` or a step before.
        batch: what the loss takes.
        record: what to keep of the step.

    Raises:
        InputError: a loss that is not a real scalar, or gradients that do not match
            the parameters leaf by leaf; raised while tracing.
    """
    loss, grads = _evaluate(value_and_grad, state.params, batch)
    each = isinstance(optimizer, PerExample)
    updates, opt_state = optax.with_extra_args_support(optimizer).update(
        _each(value_and_grad, state.params, batch) if each else grads,
        state.opt_state,
        state.params,
        value=loss,
        grad=grads,
        value_fn=lambda params: _value(value_and_grad, params, batch),
    )
    params = optax.apply_updates(state.params, updates)
    if not _goes_on(opt_state):
        # What is subtracted is zero, to the bit, or nan.
        params = jax.tree.map(lambda leaf, grad: leaf - 0 * jnp.abs(grad), params, grads)
    after = State(params, opt_state)
    return after, record(Step(state, batch, loss, grads, updates, after))


def _goes_on(opt_state: PyTree) -> bool:
    """Tell whether the optimizer is one that takes or skips gradients that are not finite."""

    def skips(state: Any) -> bool:
        skipping = isinstance(state, optax.MultiStepsState) and bool(state.skip_state)
        return skipping or isinstance(state, optax.ApplyIfFiniteState | optax.ZeroNansState)

    return any(map(skips, jax.tree.leaves(opt_state, is_leaf=skips)))


def run(
    value_and_grad: ValueAndGrad,
    optimizer: optax.GradientTransformation,
    state: State,
    data: PyTree[Shaped[Array | np.ndarray, "N ..."]],
    order: Int32[Array | np.ndarray, "T B"],
    record: Record = value,
) -> tuple[State, PyTree]:
    """Scan `step` over the order; give the last state and the records, each with axis T first."""

    def body(state: State, rows: Array) -> tuple[State, PyTree]:
        return step(value_and_grad, optimizer, state, batches.take(data, rows), record)

    return jax.lax.scan(body, state, jnp.asarray(order))


def train(
    value_and_grad: ValueAndGrad,
    optimizer: Optimizer,
    params: PyTree[Float[Array | np.ndarray, "..."]],
    data: PyTree[Shaped[Array | np.ndarray, "N ..."]],
    order: Int32[Array | np.ndarray, "T B"],
    *,
    record: Record = value,
    **hyperparameters: Any,
) -> tuple[State, PyTree]:
    """Check the input, then train in one compiled program.

    A program is cached by the functions it is made of: keep one `value_and_grad` and one
    `optimizer` and new parameters, data, orders of the same shapes and hyperparameter values
    compile nothing.

    Args:
        value_and_grad: `(params, batch) -> (loss, grads)`, as in `step`; class labels are held
            against the network's outputs where it is `jax.value_and_grad` of a `BatchLoss`.
        optimizer: an optax optimizer, or a function that makes one of the hyperparameters, such
            as `optax.adam` with `learning_rate=1e-3`.
        params: where to start; any pytree of floating-point arrays.
        data: the N rows, a pytree of arrays whose first axis is N.
        order: the rows of each step, from `batches`.
        record: what to keep of each step; its loss unless told otherwise.
        **hyperparameters: finite numbers for `optimizer`, traced.

    Returns:
        The last state, and the records with axis T first: `losses [T]` unless told otherwise.
        A run with a loss, gradient or parameter that is not finite is a result like another, and
        a RuntimeWarning says where and why: its state is that before the step that failed, the
        last that is recorded; records after it are nan, or 0 where they are whole numbers.

    Raises:
        InputError: input that cannot be trained on, named, before anything compiles; a loss that
            this JAX does not compile to what it says.
    """
    checks.order(order, _check(value_and_grad, params, data))
    numbers = _numbers(optimizer, hyperparameters)
    program = _training(value_and_grad, optimizer, record)
    taken = functools.partial(program.call, params, data, order, numbers)
    given = (params, data, (order[0],), None)
    _refuse(program.verify(given, (params, data, order), lambda: taken(0)))
    state, records, finite = taken(len(order))
    if finite:
        return state, records
    why, state, records = _failure(value_and_grad, optimizer, numbers, (data, order), taken)
    warnings.warn(f"{why}; the state before it is kept", RuntimeWarning, stacklevel=2)
    return state, records


def cause(
    value_and_grad: ValueAndGrad,
    optimizer: Optimizer,
    params: PyTree[Float[Array | np.ndarray, "..."]],
    data: PyTree[Shaped[Array | np.ndarray, "N ..."]],
    order: Int32[Array | np.ndarray, "T B"],
    **hyperparameters: Any,
) -> str:
    """Say where and why a run of `train` meets a number that is not finite; "" where it does not.

    Arguments as of `train`, not checked.
    """
    program = _training(value_and_grad, optimizer, value)
    taken = functools.partial(program.call, params, data, order, hyperparameters)
    if taken(len(order))[2]:
        return ""
    return _failure(value_and_grad, optimizer, hyperparameters, (data, order), taken)[0]


def _failure(
    value_and_grad: ValueAndGrad,
    optimizer: Optimizer,
    numbers: dict[str, Any],
    rows: tuple[PyTree, Any],
    taken: Callable[[int], tuple[State, PyTree, Array]],
) -> tuple[str, State, PyTree]:
    """Find the step that failed; say why, and give the state before it and the records with it."""
    data, order = rows
    good = _first_failure(lambda steps: taken(steps)[2], 0, len(order))
    seen = [(taken(t)[0], data, order[t]) for t in range(max(good - 1, 0), good + 1)]
    at = f" in step {good + 1} of {len(order)}"
    why = _why((value_and_grad, optimizer, numbers), seen, at, good == 0)
    return why, seen[-1][0], taken(good + 1)[1]


@functools.lru_cache(maxsize=64)
def _training(value_and_grad: ValueAndGrad, optimizer: Optimizer, record: Record) -> verify.Program:
    rule = jax.jit(value_and_grad, inline=True)

    def steps_of(
        params: PyTree, data: PyTree, order: Array, numbers: dict[str, Array], steps: Array
    ) -> tuple[State, PyTree, Array]:
        made = _make(optimizer, numbers)
        begun = start(made, params)

        def at(t: Array, state: State) -> tuple[State, tuple[Array, PyTree]]:
            def kept(step: Step) -> tuple[Array, PyTree]:
                return step.value, record(step)

            return step(rule, made, state, batches.take(data, order[t]), kept)

        def body(t: Array, carry: Any) -> Any:
            state, records, finite = carry
            state, (loss, new) = at(t, state)
            records = jax.tree.map(lambda all, one: all.at[t].set(one), records, new)
            return state, records, finite & jnp.isfinite(loss)

        shapes = jax.eval_shape(at, 0, begun)[1][1]
        records = jax.tree.map(lambda one: _unrecorded(len(order), one), shapes)
        state, records, finite = jax.lax.fori_loop(
            0, steps, body, (begun, records, jnp.array(True))
        )
        return state, records, _are_finite(state, finite)

    return verify.Program(jax.jit(steps_of), jax.jit(_measuring(rule)))


def _unrecorded(steps: int, one: Any) -> Array:
    kind = jnp.issubdtype(one.dtype, jnp.inexact)
    return jnp.full((steps, *one.shape), jnp.nan if kind else 0, one.dtype)


def _are_finite(state: State, losses: Array) -> Array:
    """Tell whether all was finite on the way to a state, whose losses were so or not."""
    return is_finite(state.params) & (losses | _goes_on(state.opt_state))


def is_finite(params: PyTree) -> Bool[Array, ""]:
    """Tell whether all numbers are finite."""
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params)]).all()


def _first_failure(finite: Callable[[int], Any], low: int, high: int) -> int:
    """Find the step, from `low` on, until which all is finite and after which it is not.

    It is `high` where all that many are.
    """
    if finite(high):
        return high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if finite(middle) else (low, middle)
    return low


def _measuring(
    rule: ValueAndGrad, metrics: Named = (), sharding: Sharding = None
) -> Callable[..., dict[str, Any]]:
    """Give what a run computes at its start: the loss and gradient of batches, and each metric."""

    def measured(
        params: PyTree, data: PyTree, orders: tuple[Array, ...], validation: PyTree | None
    ) -> dict[str, Any]:
        found = {}
        for index, rows in enumerate(orders):
            batch = _spread(batches.take(data, rows), sharding)
            loss, grads = _evaluate(rule, params, batch)
            named = "last batch" if index else "batch"
            found |= {f"loss of a {named}": loss, f"gradient of a {named}": grads}
        if validation is not None:
            found |= _judged(rule, metrics, params, validation)
        return found

    return measured


def _refuse(difference: verify.Difference | None) -> None:
    if difference:
        raise InputError(verify.refusal(difference))


def _judged(rule: ValueAndGrad, metrics: Named, params: PyTree, data: PyTree) -> dict[str, Array]:
    found = {"validation_loss": rule(params, data)[0]}
    return found | {f"validation_{name}": metric(params, data) for name, metric in metrics}


def _spread(batch: PyTree, sharding: Sharding) -> PyTree:
    """Spread a batch over devices, where these divide it."""
    rows = len(jax.tree.leaves(batch)[0])
    if sharding is None or rows % sharding.num_devices:
        return batch
    return jax.lax.with_sharding_constraint(batch, sharding)


def _why(how: tuple[Any, ...], seen: list[tuple[State, PyTree, Any]], at: str, first: bool) -> str:
    """Explain the last of one or two steps: the states before them, the data, their rows."""
    value_and_grad, optimizer, numbers = how
    made = _make(optimizer, numbers)

    @jax.jit
    def taken(state: State, data: PyTree, rows: Array) -> divergence.Seen:
        def record(step: Step) -> divergence.Seen:
            return divergence.Seen(step.value, step.grads, step.updates, step.after.params)

        return step(value_and_grad, made, state, batches.take(data, rows), record)[1]

    *before, failed = (jax.device_get(taken(*each)) for each in seen)
    return divergence.explain(failed, before[0] if before else None, optimizer, at, first)


class Progress(NamedTuple):
    """Where a run of `fit` is: all it takes to go on from there.

    Attributes:
        state: parameters and optimizer state.
        best_params: those of the lowest validation loss; the last ones without validation.
        best_value: that loss. best_epoch: how many epochs had been done when it was measured.
        epoch: whole epochs done.
        steps: steps done in the epoch under way.
        total: the loss summed over the `rows` examples seen in it, in float32 or wider.
    """

    state: State
    best_params: PyTree
    best_value: Float[Array, ""]
    best_epoch: Int32[Array, ""]
    epoch: Int32[Array, ""]
    steps: Int32[Array, ""]
    total: Float[Array, ""]
    rows: Int32[Array, ""]


class Fit(NamedTuple):
    """A run of `fit`, under way or done.

    Attributes:
        progress: where it is; of a run that diverged, before the step that was not finite.
        history: per epoch done, shape [E]: "loss", the mean over the epoch's examples as they were
            trained on, and with validation "validation_loss" and "validation_" + each metric.
        outcome: "running", "finished", "stopped early" or "diverged".
        message: where and why it diverged, or why nothing was trained; empty elsewhere.
        verified: how the compiled loss, gradient and metrics were found to compare with NumPy's.
    """

    progress: Progress
    history: dict[str, Float[np.ndarray, " E"]]
    outcome: str
    message: str = ""
    verified: str = ""

    @property
    def params(self) -> PyTree:
        """The best parameters: of the lowest validation loss, or the last without validation."""
        return self.progress.best_params


def begin(optimizer: Optimizer, params: PyTree, **hyperparameters: float) -> Fit:
    """Give a run of `fit` before its first epoch; also what a checkpoint is restored into."""
    numbers = _numbers(optimizer, hyperparameters)
    return Fit(_beginning(optimizer)(params, numbers), {}, "running")


Metrics = Mapping[str, Callable[[Any, Any], Any]]


def fit(
    value_and_grad: ValueAndGrad,
    optimizer: Optimizer,
    params: PyTree[Float[Array | np.ndarray, "..."]],
    data: PyTree | batches.Stream,
    *,
    epochs: int,
    batch_size: int | None = None,
    seed: int = 0,
    drop_last: bool = False,
    validation: PyTree | None = None,
    metrics: Metrics | None = None,
    patience: int | None = None,
    sharding: jax.sharding.NamedSharding | None = None,
    on_progress: Callable[[Fit], None] | None = None,
    resume: Fit | None = None,
    **hyperparameters: Any,
) -> Fit:
    """Train for epochs: shuffled minibatches, validation and early stopping in compiled chunks.

    Every epoch sees each example once. Rows that do not fill a last batch make a smaller one, in
    the same program. A loss, gradient or parameter that is not finite ends the run, with the state
    before that step, and a message that says where and why.

    Args:
        value_and_grad: `(params, batch) -> (loss, grads)`, as in `step`; the loss a mean over the
            examples of the batch.
        optimizer: an optax optimizer, or a function that makes one of the hyperparameters.
        params: where to start.
        data: N rows, a pytree of arrays; or, for data larger than memory, a function of the epoch
            that gives its batches, such as `batches.stream` makes.
        epochs: at most so many in all, those before `resume` included.
        batch_size: B, all rows where None; a stream brings its own.
        seed: of the shuffles; epoch e of seed s is the same in every run.
        drop_last: leave out the rows that do not fill a last batch, others in every epoch.
        validation: data as one batch, judged after every epoch.
        metrics: by name, `(params, batch) -> []`, measured on the validation data.
        patience: stop after so many epochs without a lower validation loss.
        sharding: of a batch's first axis over devices; one device where None.
        on_progress: called between compiled chunks, about three times a second; what it raises
            ends the run.
        resume: go on from here; the same arguments give the numbers of an uninterrupted run.
        **hyperparameters: finite numbers for `optimizer`, traced.

    Raises:
        InputError: input that cannot be trained on, named, before anything compiles; a loss or
            metric that this JAX does not compile to what it says, before the first step.
    """
    _check_fit(value_and_grad, params, data, batch_size, epochs, validation, metrics, patience)
    numbers = _numbers(optimizer, hyperparameters)
    named = tuple((metrics or {}).items())
    how = _How(value_and_grad, optimizer, named, sharding, drop_last)
    now = begun = resume or begin(optimizer, params, **hyperparameters)
    ends = _Ends(epochs, np.iinfo(np.int32).max if patience is None else patience)
    run = _Run(how, numbers, jax.device_put(validation), ends)
    if callable(data):
        chunks = _streamed(run, begun.progress, data)
    else:
        size = batch_size or len(jax.tree.leaves(data)[0])
        chunks = _in_memory(run, begun.progress, data, size, seed, on_progress is not None)
    # A run that ended may go on, for more epochs or with more patience.
    now = now._replace(outcome="running", message="")
    while (now := _ended(now, ends)).outcome == "running":
        more = next(chunks)
        history = {
            name: np.concatenate([now.history.get(name, np.zeros(0, value.dtype)), value])
            for name, value in more.history.items()
        }
        now = more._replace(history=history or now.history)
        if on_progress and now.outcome == "running":
            on_progress(now)
    return now if now.message else now._replace(message=_idle(params, now))


def _check(value_and_grad: ValueAndGrad, params: PyTree, data: PyTree) -> int:
    """Refuse parameters and data that cannot be trained on; give the row count N."""
    versions.check()
    checks.params(params)
    rows = checks.data(data)
    loss = inspect.unwrap(value_and_grad)
    if isinstance(loss, losses.BatchLoss):
        loss.check(params, data)
    return rows


def _numbers(optimizer: Optimizer, hyperparameters: dict[str, Any]) -> dict[str, float]:
    """Refuse what is no optimizer or no number, before either is traced."""
    if _is_made(optimizer):
        if hyperparameters:
            raise InputError(
                f"optimizer: wanted a function of {', '.join(hyperparameters)}, such as optax.sgd; "
                "got an optimizer already made"
            )
    elif not callable(optimizer):
        raise InputError(
            "optimizer: wanted an optimizer of optax, or a function that makes one, such as "
            f"optax.sgd; got {optimizer!r}; jaxnet.optimizers.by_name takes names"
        )
    return {name: _number(name, given) for name, given in hyperparameters.items()}


def _is_made(optimizer: Any) -> bool:
    return hasattr(optimizer, "init") and hasattr(optimizer, "update")


def _make(optimizer: Any, hyperparameters: dict[str, Any]) -> optax.GradientTransformation:
    if _is_made(optimizer):
        return optimizer
    try:
        made = optimizer(**hyperparameters)
    except jax.errors.ConcretizationTypeError as error:
        raise InputError(
            f"optimizer: wanted hyperparameters it can be traced over; got "
            f"{', '.join(hyperparameters)}, of which it asks one for its value; bind that one with "
            "functools.partial"
        ) from error
    if not _is_made(made):
        raise InputError(f"optimizer: wanted a function that makes an optimizer; it made {made!r}")
    return made


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _value(value_and_grad: ValueAndGrad, params: PyTree, batch: PyTree) -> Array:
    """Give the loss, differentiable by the very rule the steps follow."""
    return value_and_grad(params, batch)[0]


def _value_backward(
    value_and_grad: ValueAndGrad, grads: PyTree, cotangent: Array
) -> tuple[PyTree, None]:
    del value_and_grad
    return jax.tree.map(lambda leaf: cotangent * leaf, grads), None


_value.defvjp(lambda value_and_grad, params, batch: value_and_grad(params, batch), _value_backward)


def _evaluate(value_and_grad: ValueAndGrad, params: PyTree, batch: PyTree) -> tuple[Any, PyTree]:
    """Give the loss and the gradients, or say by name what is wrong with them."""
    wanted = "value_and_grad: wanted a real scalar loss"
    try:
        found = value_and_grad(params, batch)
    except TypeError as error:
        if "scalar-output" not in str(error) and "real-valued outputs" not in str(error):
            raise
        raise InputError(f"{wanted}; {error}; reduce it, as by jnp.mean") from error
    if not isinstance(found, tuple) or len(found) != 2 or not _is_leaf(found[0]):
        raise InputError(
            f"{wanted} and gradients, (loss, grads); got {jax.tree.structure(found)}; wrap a loss "
            "in jax.value_and_grad; auxiliary outputs are for training.run to record"
        )
    loss, grads = jnp.asarray(found[0]), found[1]
    if loss.shape != () or not jnp.issubdtype(loss.dtype, jnp.floating):
        raise InputError(
            f"{wanted}; got {loss.dtype} of shape {list(loss.shape)}; reduce it, as by jnp.mean"
        )
    if jax.tree.structure(params) != jax.tree.structure(grads):
        raise InputError(
            f"value_and_grad: wanted grads of the structure of params, "
            f"{jax.tree.structure(params)}; got {jax.tree.structure(grads)}"
        )
    pairs = zip(jax.tree.leaves(params), jax.tree.leaves(grads), strict=True)
    for index, (leaf, grad) in enumerate(pairs):
        if jnp.shape(grad) != leaf.shape or jnp.result_type(grad) != leaf.dtype:
            raise InputError(
                f"{checks.path('grads', params, index)}: wanted the gradient of a parameter "
                f"{leaf.dtype}{list(leaf.shape)}; got {jnp.result_type(grad)}"
                f"{list(jnp.shape(grad))}"
            )
    return loss, jax.tree.map(jnp.asarray, grads)


def _each(value_and_grad: ValueAndGrad, params: PyTree, batch: PyTree) -> PyTree:
    """Give the gradients of each example as a batch of one, axis B first."""
    alone = jax.tree.map(lambda leaf: leaf[:, None], batch)
    return jax.vmap(lambda example: _evaluate(value_and_grad, params, example)[1])(alone)


def _is_leaf(tree: PyTree) -> bool:
    return jax.tree.structure(tree) == jax.tree.structure(0)


def _number(name: str, given: Any) -> float:
    number = isinstance(given, int | float | np.number | np.ndarray | jax.Array)
    if isinstance(given, bool) or not number or np.ndim(given) or np.iscomplexobj(given):
        raise InputError(
            f"{name}: wanted one number, which is traced; got {given!r}; bind schedules and "
            "other settings to the optimizer with functools.partial, and sweep numbers with "
            "jax.vmap over training.run"
        )
    try:
        finite = np.isfinite(float(given))
    except OverflowError:
        finite = False
    if not finite:
        raise InputError(f"{name}: wanted a finite number; got {given}")
    return float(given)


def _check_fit(
    value_and_grad: ValueAndGrad,
    params: PyTree,
    data: Any,
    batch_size: int | None,
    epochs: int,
    validation: PyTree | None,
    metrics: Metrics | None,
    patience: int | None,
) -> None:
    if callable(data):
        versions.check()
        checks.params(params)
        if batch_size is not None:
            raise InputError(
                f"batch_size: wanted none, a stream brings its own batches; got {batch_size}"
            )
    else:
        rows = _check(value_and_grad, params, data)
        if batch_size is not None and not 1 <= batch_size <= rows:
            raise InputError(f"batch_size: wanted 1 to the {rows} rows of data; got {batch_size}")
    for name, count in (("epochs", epochs), ("patience", patience)):
        if count is not None and count < 1:
            raise InputError(f"{name}: wanted at least 1; got {count}")
    if validation is not None:
        checks.data(validation, "validation")
    elif metrics or patience is not None:
        raise InputError(
            "validation: wanted data, to measure metrics and early stopping on; got none"
        )


class _How(NamedTuple):
    """What a program of `fit` is made of."""

    value_and_grad: ValueAndGrad
    optimizer: Optimizer
    metrics: Named
    sharding: Sharding
    drop_last: bool


class _Ends(NamedTuple):
    """When a run ends: after so many epochs, or so many without a lower validation loss."""

    epochs: int
    patience: int


class _Run(NamedTuple):
    """What stays the same through a run of `fit`."""

    how: _How
    numbers: dict[str, float]
    validation: PyTree | None
    ends: _Ends


class _Chunk(NamedTuple):
    """What one call of the program goes through.

    Attributes:
        data: N rows. orders: shape [E, N], of epochs or, of a stream, the part of one.
        offset: steps of the epoch that came before these orders.
        count: epochs to run. stop: steps of each to take. ends: whether it ends with the last.
    """

    data: PyTree
    orders: Any
    offset: Any
    count: Any
    stop: Any
    ends: Any


@functools.lru_cache(maxsize=64)
def _beginning(optimizer: Optimizer) -> Callable[[PyTree, dict[str, float]], Progress]:
    def begin(params: PyTree, numbers: dict[str, Array]) -> Progress:
        state = start(_make(optimizer, numbers), params)
        # Sums of many numbers want more digits than half precision has.
        kind = jnp.result_type(*jax.tree.leaves(params))
        kind = jnp.float32 if jnp.finfo(kind).bits < 32 else kind
        none, loss = jnp.zeros((), jnp.int32), jnp.zeros((), kind)
        begun = Progress(state, params, loss + jnp.inf, none, none, none, loss, none)
        # As a chunk gives them back: a weakly typed leaf would compile the second chunk anew.
        return jax.tree.map(lambda leaf: jax.lax.convert_element_type(leaf, leaf.dtype), begun)

    return jax.jit(begin)


@functools.lru_cache(maxsize=64)
def _fitting(how: _How, batch_size: int) -> verify.Program:
    """Make the program that runs epochs until one fails or patience ends.

    It gives the progress, that before the epoch that failed; the history, of which values past
    the last epoch are unused; and whether all was finite.
    """
    how = how._replace(value_and_grad=jax.jit(how.value_and_grad, inline=True))

    def epochs_of(
        numbers: dict[str, Array],
        progress: Progress,
        validation: PyTree | None,
        patience: Array,
        chunk: _Chunk,
    ) -> tuple[Progress, dict[str, Array], Array]:
        made = _make(how.optimizer, numbers)

        def ended(progress: Progress) -> tuple[Progress, dict[str, Array]]:
            return _end_epoch(how, progress, validation)

        def epoch(before: Progress, rows: Array) -> tuple[Progress, dict[str, Array], Array]:
            through = _advance(how, made, before, (chunk, rows, batch_size))
            finite = _are_finite(through.state, jnp.isfinite(through.total))
            after, values = jax.lax.cond(chunk.ends, ended, lambda p: (p, unmeasured), through)
            if validation is not None:
                finite &= jnp.isfinite(values["validation_loss"])
            return _where(finite, after, before), values, finite

        def body(carry: Any) -> Any:
            i, progress, history, _ = carry
            progress, values, finite = epoch(progress, chunk.orders[i])
            history = jax.tree.map(lambda all, one: all.at[i].set(one), history, values)
            return i + 1, progress, history, finite

        def goes_on(carry: Any) -> Array:
            i, progress, _, finite = carry
            waited = progress.epoch - progress.best_epoch
            return (i < chunk.count) & finite & (waited < patience)

        shapes = jax.eval_shape(ended, progress)[1]
        unmeasured = jax.tree.map(lambda value: jnp.zeros((), value.dtype), shapes)
        history = jax.tree.map(lambda value: jnp.zeros(len(chunk.orders), value.dtype), shapes)
        carry = 0, progress, history, jnp.array(True)
        return jax.lax.while_loop(goes_on, body, carry)[1:]

    measured = _measuring(how.value_and_grad, how.metrics, how.sharding)
    return verify.Program(jax.jit(epochs_of), jax.jit(measured))


def _advance(
    how: _How,
    made: optax.GradientTransformation,
    progress: Progress,
    part: tuple[_Chunk, Array, int],
) -> Progress:
    """Take the steps of an order, as far as the chunk says: whole batches, then what is left."""
    chunk, rows, size = part
    whole = len(rows) // size
    orders = [(0, rows[: whole * size].reshape(whole, size))]
    if len(rows) % size and not how.drop_last:
        orders.append((whole, rows[whole * size :][None]))

    def take(first: int, order: Array, t: Array, progress: Progress) -> Progress:
        batch = _spread(batches.take(chunk.data, order[t - first]), how.sharding)
        state, loss = step(how.value_and_grad, made, progress.state, batch)
        return progress._replace(
            state=state,
            steps=progress.steps + 1,
            total=progress.total + loss.astype(progress.total.dtype) * order.shape[1],
            rows=progress.rows + order.shape[1],
        )

    for first, order in orders:
        low = jnp.maximum(progress.steps - chunk.offset, first)
        high = jnp.minimum(chunk.stop, first + len(order))
        progress = jax.lax.fori_loop(low, high, functools.partial(take, first, order), progress)
    return progress


def _end_epoch(
    how: _How, progress: Progress, validation: PyTree | None
) -> tuple[Progress, dict[str, Array]]:
    """Judge an epoch that is through: its values, and the best so far."""
    params, kind = progress.state.params, progress.total.dtype
    values = {"loss": progress.total / progress.rows.astype(kind)}
    best, loss = jnp.array(True), values["loss"]
    if validation is not None:
        judged = _judged(how.value_and_grad, how.metrics, params, validation)
        values |= {name: jnp.asarray(value).astype(kind) for name, value in judged.items()}
        loss = values["validation_loss"]
        best = loss < progress.best_value
    epoch, zero = progress.epoch + 1, jnp.zeros((), jnp.int32)
    return progress._replace(
        best_params=_where(best, params, progress.best_params),
        best_value=jnp.where(best, loss, progress.best_value),
        best_epoch=jnp.where(best, epoch, progress.best_epoch),
        epoch=epoch,
        steps=zero,
        total=jnp.zeros((), kind),
        rows=zero,
    ), values


def _where(condition: Array, these: PyTree, those: PyTree) -> PyTree:
    return jax.lax.cond(condition, lambda: these, lambda: those)


def _in_memory(
    run: _Run, progress: Progress, data: PyTree, size: int, seed: int, watched: bool
) -> Iterator[Fit]:
    """Train chunk by chunk: as many epochs in one call as a third of a second holds."""
    rows, epochs = len(jax.tree.leaves(data)[0]), run.ends.epochs
    steps = rows // size if run.how.drop_last else -(-rows // size)
    most = max(1, min(epochs, 2**20 // rows))
    together, held = 1 if watched else most, jax.device_put(data)
    while True:
        done = int(progress.epoch)
        count = min(together, epochs - done)
        orders = np.zeros((most, rows), np.int32)
        for i in range(count):
            whole = size == rows
            orders[i] = np.arange(rows) if whole else batches.shuffle(rows, seed, done + i)
        chunk = _Chunk(held, orders, 0, count, steps, True)
        verified = _verify(run, size, progress, chunk)
        began = time.monotonic()
        now = _settled(run, size, chunk, progress, _call(run, size, progress, chunk))
        if time.monotonic() - began < 0.15:
            together = min(2 * together, most)
        progress = now.progress
        yield now._replace(verified=verified)


def _streamed(run: _Run, progress: Progress, data: Any) -> Iterator[Fit]:
    """Train chunk by chunk of batches; the next is read and moved while this one computes."""
    while True:
        left = itertools.islice(data(int(progress.epoch)), int(progress.steps), None)
        chunks = _stacked(left)
        first = next(chunks, None)
        if first is None:
            raise InputError(f"data: wanted batches in epoch {int(progress.epoch)}; got none")
        rows, order, count = first
        while True:
            size = order.shape[1]
            chunk = _Chunk(rows, order.reshape(1, -1), progress.steps, 1, count, False)
            verified = _verify(run, size, progress, chunk)
            result = _call(run, size, progress, chunk)
            ahead = next(chunks, None)
            now = _settled(run, size, chunk, progress, result)._replace(verified=verified)
            progress = now.progress
            if ahead is None and now.outcome == "running":
                break
            yield now
            rows, order, count = ahead or first
        chunk = chunk._replace(offset=progress.steps, stop=0, ends=True)
        now = _settled(run, size, chunk, progress, _call(run, size, progress, chunk))
        progress = now.progress
        yield now._replace(verified=verified)


def _call(run: _Run, size: int, progress: Progress, chunk: _Chunk) -> Any:
    call = _fitting(run.how, size).call
    return call(run.numbers, progress, run.validation, run.ends.patience, chunk)


def _verify(run: _Run, size: int, progress: Progress, chunk: _Chunk) -> str:
    """Hold what the program computes against NumPy, once, while the program is compiled."""
    whole = chunk.orders.shape[1] // size * size
    parts = chunk.orders[0][:size], chunk.orders[0][whole:]
    orders = tuple(rows for rows in parts[: 2 - run.how.drop_last] if len(rows))
    given = progress.state.params, chunk.data, orders, run.validation
    none = chunk._replace(count=0)
    like = progress, chunk.data, orders, run.validation
    program = _fitting(run.how, size)
    _refuse(program.verify(given, like, lambda: _call(run, size, progress, none)))
    return program.said(like)


def _settled(run: _Run, size: int, chunk: _Chunk, before: Progress, result: Any) -> Fit:
    """Give where a call of the program came, and the values of the epochs that it finished."""
    progress, history, finite = jax.block_until_ready(result)
    through = int(progress.epoch) - int(before.epoch)
    history = {name: np.asarray(value)[:through] for name, value in history.items() if through}
    if finite:
        return Fit(progress, history, "running")
    failed = chunk._replace(orders=np.roll(chunk.orders, -through, axis=0), count=1, ends=False)
    return _failed(run, size, failed, progress)._replace(history=history)


def _failed(run: _Run, size: int, chunk: _Chunk, progress: Progress) -> Fit:
    """Find the step of an epoch at which a run failed, and say why."""

    def taken(stop: int) -> tuple[Progress, Any, Array]:
        return _call(run, size, progress, chunk._replace(stop=stop))

    first, stop = int(progress.steps) - int(chunk.offset), int(chunk.stop)
    good = _first_failure(lambda stop: taken(stop)[2], first, stop)
    last = taken(good)[0]
    at = f" in epoch {int(last.epoch) + 1}, step {int(last.steps) + 1}"
    if run.validation is None:
        last = last._replace(best_params=last.state.params)
    if good == stop:
        why = f"the validation loss was not finite after epoch {int(last.epoch) + 1}"
    else:
        rows = np.split(chunk.orders[0], range(size, chunk.orders.shape[1], size))
        seen = [
            (taken(t)[0].state, chunk.data, rows[t]) for t in range(max(first, good - 1), good + 1)
        ]
        is_first = int(last.epoch) == int(last.steps) == 0
        why = _why((run.how.value_and_grad, run.how.optimizer, run.numbers), seen, at, is_first)
    return Fit(last, {}, "diverged", f"{why}; the state before it is kept")


def _stacked(stream: Iterable[PyTree]) -> Iterator[tuple[PyTree, np.ndarray, int]]:
    """Stack batches of one shape into chunks on the device: rows, their order, and the count.

    A chunk that is not full is padded to the shape of the others and counts fewer steps.
    """

    def shape_of(batch: PyTree) -> Any:
        rows = checks.data(batch, "data")
        return jax.tree.structure(batch), rows, tuple(np.shape(x) for x in jax.tree.leaves(batch))

    for (_, size, _), group in itertools.groupby(stream, shape_of):
        first = next(group)
        numbers = sum(np.size(leaf) for leaf in jax.tree.leaves(first))
        most = max(1, _CHUNK // numbers)
        ahead, together = itertools.chain([first], group), 0  # noqa: B031
        while found := list(itertools.islice(ahead, most)):
            count = len(found)
            together = together or count
            found += found[:1] * (together - count)
            rows = jax.tree.map(lambda *leaves: np.concatenate(leaves), *found)
            order = np.arange(together * size, dtype=np.int32).reshape(together, size)
            yield jax.device_put(rows), order, count


def _ended(now: Fit, ends: _Ends) -> Fit:
    """Say whether a run goes on."""
    epoch, waited = int(now.progress.epoch), int(now.progress.epoch - now.progress.best_epoch)
    if now.outcome == "diverged":
        return now
    if waited >= ends.patience:
        return now._replace(outcome="stopped early")
    return now._replace(outcome="finished" if epoch >= ends.epochs else "running")


def _idle(params: PyTree, now: Fit) -> str:
    """Say why a run changed no parameter, where it took steps and changed none."""
    leaves = (jax.tree.leaves(jax.device_get(tree)) for tree in (params, now.progress.state.params))
    same = all(np.array_equal(a, b) for a, b in zip(*leaves, strict=True))
    return divergence.untrained(now.progress.state.opt_state) if same and now.history else ""

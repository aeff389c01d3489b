"""The compiled loop: one pure gradient step, scanned over an order array.

`step` and `run` are pure and make no assumption about the parameters: call them inside `jax.jit`
and `jax.vmap` as you like. `train` checks its input and runs one order as one cached program.
`fit` trains for epochs, with validation, early stopping and data larger than memory.

Shapes: N rows of data, T steps of B rows, E epochs.
"""

import functools
import inspect
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int32, PyTree, Shaped

from jaxnet import batches, checks, devices, losses
from jaxnet.errors import InputError

ValueAndGrad = Callable[[Any, Any], tuple[Float[Array, ""], Any]]
Optimizer = optax.GradientTransformation | Callable[..., optax.GradientTransformation]

# Numbers of data that a chunk of a stream holds.
_CHUNK = 2**22


class State(NamedTuple):
    """All that a step changes: the parameters and the optimizer's state."""

    params: PyTree
    opt_state: PyTree


class Step(NamedTuple):
    """All that one step saw and did; `value` and `grads` are measured before the update."""

    before: State
    batch: PyTree
    value: Float[Array, ""]
    grads: PyTree
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
    after = State(optax.apply_updates(state.params, updates), opt_state)
    return after, record(Step(state, batch, loss, grads, after))


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
        A run that diverges is a result like another, its losses not finite.

    Raises:
        InputError: input that cannot be trained on, named, before anything compiles.
    """
    checks.order(order, _check(value_and_grad, params, data))
    hyperparameters = _numbers(optimizer, hyperparameters)
    program = devices.program(_make_and_run, "value_and_grad", "optimizer", "record")
    return program(value_and_grad, optimizer, params, data, order, record, hyperparameters)


class Progress(NamedTuple):
    """Where a run of `fit` is: all it takes to go on from there.

    Attributes:
        state: parameters and optimizer state.
        best_params: those of the lowest validation loss; the last ones without validation.
        best_value: that loss. best_epoch: how many epochs had been done when it was measured.
        epoch: whole epochs done.
        steps: steps done in the epoch under way.
        total: the loss summed over the `rows` examples seen in it.
        failed: the step of it, from 0, whose loss was not finite; -1 where all were.
    """

    state: State
    best_params: PyTree
    best_value: Float[Array, ""]
    best_epoch: Int32[Array, ""]
    epoch: Int32[Array, ""]
    steps: Int32[Array, ""]
    total: Float[Array, ""]
    rows: Int32[Array, ""]
    failed: Int32[Array, ""]


class Fit(NamedTuple):
    """A run of `fit`, under way or done.

    Attributes:
        progress: where it is; after a loss that was not finite, the last good state.
        history: per epoch done, shape [E]: "loss", the mean over the epoch's examples as they were
            trained on, and with validation "validation_loss" and "validation_" + each metric.
        outcome: "running", "finished", "stopped early" or "diverged".
        message: what happened, in words, where it diverged; empty elsewhere.
    """

    progress: Progress
    history: dict[str, Float[np.ndarray, " E"]]
    outcome: str
    message: str = ""

    @property
    def params(self) -> PyTree:
        """The best parameters: of the lowest validation loss, or the last without validation."""
        return self.progress.best_params


def begin(optimizer: Optimizer, params: PyTree, **hyperparameters: float) -> Fit:
    """Give a run of `fit` before its first epoch; also what a checkpoint is restored into."""
    numbers = _numbers(optimizer, hyperparameters)
    return Fit(devices.program(_begin, "optimizer")(optimizer, params, numbers), {}, "running")


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
    the same program. A loss that is not finite ends the run, with the state of the last epoch (of
    a stream: the last chunk) in which every loss was finite.

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
        InputError: input that cannot be trained on, named, before anything compiles.
    """
    _check_fit(value_and_grad, params, data, batch_size, epochs, validation, metrics, patience)
    numbers = _numbers(optimizer, hyperparameters)
    how = (value_and_grad, optimizer, numbers, sharding)
    judge = (tuple((metrics or {}).items()), validation)
    resume = resume or begin(optimizer, params, **hyperparameters)
    if callable(data):
        chunks = _streamed(how, judge, resume.progress, data)
    else:
        limits = (epochs, np.iinfo(np.int32).max if patience is None else patience)
        shape = (batch_size or len(jax.tree.leaves(data)[0]), drop_last)
        chunks = _in_memory(how, judge, resume.progress, data, shape, seed, limits, on_progress)
    # A run that ended may go on, for more epochs or with more patience.
    now = resume._replace(outcome="running")
    while now.outcome == "running":
        now = _outcome(now, epochs, patience)
        if now.outcome != "running":
            break
        progress, values = next(chunks)
        history = {
            name: np.concatenate([now.history.get(name, np.zeros(0, value.dtype)), value])
            for name, value in values.items()
        }
        now = Fit(progress, history or now.history, "running")
        if on_progress:
            on_progress(now)
    return now


def _check(value_and_grad: ValueAndGrad, params: PyTree, data: PyTree) -> int:
    """Refuse parameters and data that cannot be trained on; give the row count N."""
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


def _make_and_run(
    value_and_grad: ValueAndGrad,
    optimizer: Optimizer,
    params: PyTree,
    data: PyTree,
    order: Array,
    record: Record,
    hyperparameters: dict[str, Array],
) -> tuple[State, PyTree]:
    made = _make(optimizer, hyperparameters)
    return run(value_and_grad, made, start(made, params), data, order, record)


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


def _begin(optimizer: Optimizer, params: PyTree, numbers: dict[str, Array]) -> Progress:
    state = start(_make(optimizer, numbers), params)
    kind = jnp.result_type(*jax.tree.leaves(params))
    none, loss = jnp.zeros((), jnp.int32), jnp.zeros((), kind)
    begun = Progress(state, params, loss + jnp.inf, none, none, none, loss, none, none - 1)
    # As a chunk gives them back: a weakly typed leaf would compile the second chunk anew.
    return jax.tree.map(lambda leaf: jax.lax.convert_element_type(leaf, leaf.dtype), begun)


def _advance(
    value_and_grad: ValueAndGrad,
    optimizer: optax.GradientTransformation,
    sharding: jax.sharding.NamedSharding | None,
    progress: Progress,
    data: PyTree,
    order: Array,
    count: Any,
) -> Progress:
    """Take the first `count` steps of an order, keeping sums alone."""

    def body(t: Array, progress: Progress) -> Progress:
        batch = batches.take(data, order[t])
        if sharding is not None and order.shape[1] % sharding.num_devices == 0:
            batch = jax.lax.with_sharding_constraint(batch, sharding)
        state, loss = step(value_and_grad, optimizer, progress.state, batch)
        first = (progress.failed < 0) & ~jnp.isfinite(loss)
        size = order.shape[1]
        return progress._replace(
            state=state,
            steps=progress.steps + 1,
            total=progress.total + (loss * size).astype(progress.total.dtype),
            rows=progress.rows + size,
            failed=jnp.where(first, progress.steps, progress.failed),
        )

    return jax.lax.fori_loop(0, count, body, progress)


def _end_epoch(
    value_and_grad: ValueAndGrad,
    metrics: tuple[tuple[str, Callable[[Any, Any], Any]], ...],
    progress: Progress,
    validation: PyTree | None,
) -> tuple[Progress, dict[str, Array]]:
    """Judge an epoch that is through: its values, and the best so far."""
    params, kind = progress.state.params, progress.total.dtype
    values = {"loss": progress.total / progress.rows.astype(kind)}
    best = jnp.array(True)
    if validation is not None:
        loss = value_and_grad(params, validation)[0].astype(kind)
        values["validation_loss"] = loss
        values |= {
            f"validation_{name}": jnp.asarray(metric(params, validation)).astype(kind)
            for name, metric in metrics
        }
        best = loss < progress.best_value
        lost = (progress.failed < 0) & ~jnp.isfinite(loss)
        progress = progress._replace(failed=jnp.where(lost, progress.steps, progress.failed))
    else:
        loss = values["loss"]
    epoch, zero = progress.epoch + 1, jnp.zeros((), jnp.int32)
    best &= progress.failed < 0
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


def _fall_back(before: Progress, after: Progress) -> Progress:
    """Keep where a run was, if it failed since, and the step at which it did."""
    return _where(after.failed < 0, after, before._replace(failed=after.failed))


def _epochs(
    value_and_grad: ValueAndGrad,
    optimizer: Optimizer,
    metrics: tuple[tuple[str, Callable[[Any, Any], Any]], ...],
    sharding: jax.sharding.NamedSharding | None,
    shape: tuple[int, bool],
    numbers: dict[str, Array],
    progress: Progress,
    data: PyTree,
    validation: PyTree | None,
    orders: Array,
    count: Array,
    patience: Array,
) -> tuple[Progress, dict[str, Array]]:
    """Run `count` epochs, or until one fails or patience ends; values past the last are unused."""
    batch_size, drop_last = shape
    made = _make(optimizer, numbers)
    steps = orders.shape[1] // batch_size
    whole = steps * batch_size

    def epoch(before: Progress, rows: Array) -> tuple[Progress, dict[str, Array]]:
        through = before
        for order in (rows[:whole].reshape(steps, batch_size), rows[whole:][None]):
            if order.size and (order.shape[1] == batch_size or not drop_last):
                go = functools.partial(_advance, value_and_grad, made, sharding)
                through = go(through, data, order, len(order))
        after, values = _end_epoch(value_and_grad, metrics, through, validation)
        return _fall_back(before, after), values

    def body(carry: Any) -> Any:
        i, progress, history = carry
        progress, values = epoch(progress, orders[i])
        return i + 1, progress, jax.tree.map(lambda h, v: h.at[i].set(v), history, values)

    def goes_on(carry: Any) -> Array:
        i, progress, _ = carry
        waited = progress.epoch - progress.best_epoch
        return (i < count) & (progress.failed < 0) & (waited < patience)

    names = ["loss"]
    if validation is not None:
        names += ["validation_loss", *(f"validation_{name}" for name, _ in metrics)]
    history = {name: jnp.zeros(len(orders), progress.total.dtype) for name in names}
    _, progress, history = jax.lax.while_loop(goes_on, body, (0, progress, history))
    return progress, history


def _in_memory(
    how: tuple[Any, ...],
    judge: tuple[Any, ...],
    progress: Progress,
    data: PyTree,
    shape: tuple[int, bool],
    seed: int,
    limits: tuple[int, int],
    watched: Any,
) -> Iterator[tuple[Progress, dict[str, np.ndarray]]]:
    """Train chunk by chunk: as many epochs in one call as a third of a second holds."""
    (value_and_grad, optimizer, numbers, sharding), (metrics, validation) = how, judge
    epochs, patience = limits
    rows = len(jax.tree.leaves(data)[0])
    statics = ("value_and_grad", "optimizer", "metrics", "sharding", "shape")
    program = devices.program(_epochs, *statics)
    data, validation = jax.device_put((data, validation))
    most = max(1, min(epochs, 2**20 // rows))
    together = 1 if watched else most
    while True:
        done = int(progress.epoch)
        count = min(together, epochs - done)
        orders = np.zeros((most, rows), np.int32)
        for i in range(count):
            whole = shape[0] == rows
            orders[i] = np.arange(rows) if whole else batches.shuffle(rows, seed, done + i)
        began = time.monotonic()
        progress, history = jax.block_until_ready(
            program(
                value_and_grad,
                optimizer,
                metrics,
                sharding,
                shape,
                numbers,
                progress,
                data,
                validation,
                orders,
                count,
                patience,
            )
        )
        if time.monotonic() - began < 0.15:
            together = min(2 * together, most)
        through = int(progress.epoch) - done
        yield progress, {name: np.asarray(value)[:through] for name, value in history.items()}


def _streamed(
    how: tuple[Any, ...],
    judge: tuple[Any, ...],
    progress: Progress,
    data: Any,
) -> Iterator[tuple[Progress, dict[str, np.ndarray]]]:
    """Train chunk by chunk of batches; the next is read and moved while this one computes."""
    (value_and_grad, optimizer, numbers, sharding), (metrics, validation) = how, judge
    advance = devices.program(_chunk, "value_and_grad", "optimizer", "sharding")
    end_epoch = devices.program(_end_epoch, "value_and_grad", "metrics")
    validation = jax.device_put(validation)
    while True:
        batches_left = itertools.islice(data(int(progress.epoch)), int(progress.steps), None)
        chunks = _stacked(batches_left)
        chunk = next(chunks, None)
        if chunk is None and int(progress.steps) == 0:
            raise InputError(f"data: wanted batches in epoch {int(progress.epoch)}; got none")
        while chunk is not None:
            progress = advance(value_and_grad, optimizer, sharding, numbers, progress, *chunk)
            chunk = next(chunks, None)
            if chunk is not None or int(progress.failed) >= 0:
                yield progress, {}
        progress, values = end_epoch(value_and_grad, metrics, progress, validation)
        yield progress, {name: np.asarray(value)[None] for name, value in values.items()}


def _chunk(
    value_and_grad: ValueAndGrad,
    optimizer: Optimizer,
    sharding: jax.sharding.NamedSharding | None,
    numbers: dict[str, Array],
    progress: Progress,
    data: PyTree,
    order: Array,
    count: Array,
) -> Progress:
    made = _make(optimizer, numbers)
    return _fall_back(
        progress, _advance(value_and_grad, made, sharding, progress, data, order, count)
    )


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


def _outcome(now: Fit, epochs: int, patience: int | None) -> Fit:
    progress = now.progress
    epoch, failed = int(progress.epoch), int(progress.failed)
    if failed >= 0:
        message = (
            f"the loss was not finite in epoch {epoch + 1}, step {failed + 1}; the state of "
            f"{epoch} good epochs is kept; lower the learning rate, or clip the gradients "
            "(optax.clip_by_global_norm)"
        )
        return now._replace(outcome="diverged", message=message)
    if patience is not None and epoch - int(progress.best_epoch) >= patience:
        return now._replace(outcome="stopped early")
    return now._replace(outcome="finished" if epoch >= epochs else "running")

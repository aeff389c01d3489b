"""Training for epochs: shuffled batches, validation, early stopping, data larger than memory.

A run is compiled in chunks: as many epochs as a third of a second holds, or of a stream as many
batches as fit, of which the next are read while these compute.

Shapes: N rows of data, B rows of a batch, E epochs.
"""

import dataclasses
import functools
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32, Key, PyTree

from jaxnet import batches, losses, optimizers, streams, training, variables
from jaxnet._guards import checks, divergence, hosts, notebook, sizes, verify
from jaxnet._guards.defaults import SEED
from jaxnet.losses import Loss, Rule
from jaxnet.optimizers import Optimizer
from jaxnet.training import Metric, Plan, Run

_FOREVER = np.iinfo(np.int32).max


class Progress(NamedTuple):
    """Where a run of `fit` is: all it takes to go on from there.

    Attributes:
        run: its state, and the loss of the epoch under way.
        best_params: those of the lowest validation loss; the last ones without validation.
        best_value: that loss. best_epoch: how many epochs had been done when it was measured.
        epoch: whole epochs done. steps: steps done in the epoch under way. taken: in all.
    """

    run: Run
    best_params: PyTree
    best_value: Float[Array, ""]
    best_epoch: Int32[Array, ""]
    epoch: Int32[Array, ""]
    steps: Int32[Array, ""]
    taken: Int32[Array, ""]


class Fit(NamedTuple):
    """A run of `fit`, under way or done.

    Attributes:
        progress: where it is; of a run that diverged, before the step that was not finite.
        history: per epoch done, shape [E, ...]: "loss", the mean over the epoch's examples as they
            were trained on, and with validation "validation_loss" and "validation_" + each metric;
            where training data is judged, "training_loss" and "training_" + each metric.
        outcome: "running", "finished", "stopped early" or "diverged".
        message: where and why it diverged, or why nothing was trained; empty elsewhere.
        verified: how the compiled loss, gradient and metrics were found to compare with NumPy's.
    """

    progress: Progress
    history: dict[str, Float[np.ndarray, "E ..."]]
    outcome: str
    message: str = ""
    verified: str = ""

    @property
    def params(self) -> PyTree:
        """The best parameters: of the lowest validation loss, or the last without validation."""
        return self.progress.best_params

    def __repr__(self) -> str:
        """Say in a few lines how it ended, and what was first and last measured."""
        return notebook.words(self)

    _repr_html_ = notebook.curves


def begin(
    optimizer: Optimizer, params: PyTree, hyperparameters: Mapping[str, object] | None = None
) -> Fit:
    """Give a run of `fit` before its first epoch; also what a checkpoint is restored into."""
    numbers = optimizers.check(optimizer, hyperparameters)
    return Fit(_beginning(optimizer)(params, numbers), {}, "running")


@functools.lru_cache(maxsize=64)
def _beginning(optimizer: Optimizer) -> Callable[[PyTree, dict[str, float]], Progress]:
    def first(params: PyTree, numbers: dict[str, Array]) -> Progress:
        run, none = training.begin(optimizers.make(optimizer, numbers), params), jnp.int32(0)
        progress = Progress(run, params, run.total + jnp.inf, *[none] * 4)
        # As a chunk gives them back: a weakly typed leaf would compile the second chunk anew.
        return jax.tree.map(lambda leaf: jnp.asarray(leaf, leaf.dtype), progress)

    return jax.jit(first)


def fit(
    loss: Loss | Rule,
    optimizer: Optimizer,
    params: PyTree,
    data: PyTree | streams.Stream,
    *,
    epochs: int,
    batch_size: int | None = None,
    seed: int = SEED,
    drop_last: bool = False,
    validation: PyTree | None = None,
    metrics: Mapping[str, Metric] | None = None,
    judge_training: bool = False,
    patience: int | None = None,
    sharding: jax.sharding.NamedSharding | None = None,
    on_progress: Callable[[Fit], None] | None = None,
    every_epoch: bool = False,
    resume: Fit | None = None,
    hyperparameters: Mapping[str, object] | None = None,
) -> Fit:
    """Train for epochs: shuffled minibatches, validation and early stopping in compiled chunks.

    Every epoch sees each example once. Rows that do not fill a last batch make a smaller one, in
    the same program. A loss, gradient or parameter that is not finite ends the run, with the state
    before that step, and a message that says where and why, which a RuntimeWarning tells as well.

    Args:
        loss: `(params, batch) -> []`, a mean over the examples of the batch, or a `Rule` of its
            value and gradient. One that takes a third argument `key` is given one of its own in
            every step, and None where it is judged.
        optimizer: an optax optimizer, or a function that makes one of the hyperparameters.
        params: where to start, as in `train`; of `Variables` the state is kept with the best.
        data: N rows, a pytree of arrays or frames, as in `train`; or, for data larger than
            memory, a function of the epoch that gives its batches, such as `stream` makes. On many
            hosts arrays are the same on all, of which each reads its part of each batch, such as
            of `np.memmap`s; a stream gives its own host's rows of each batch.
        epochs: at most so many in all, those before `resume` included; without `patience` so few
            that their history fits the memory.
        batch_size: B, all rows where None; a stream brings its own.
        seed: of the shuffles and of what a loss draws; epoch e of seed s is the same in every run.
        drop_last: leave out the rows that do not fill a last batch, others in every epoch.
        validation: data as one batch, judged after every epoch.
        metrics: by name, `(params, batch) -> [...]`, numbers of any shape, measured on what
            is judged: validation data, training data or both.
        judge_training: measure the loss and the metrics on `data` as well, after every epoch, as
            one batch; of a stream, which has no such, it is refused. A loss that draws is given
            None for its key there too.
        patience: stop after so many epochs without a lower validation loss.
        sharding: of a batch's first axis over devices, after `devices.connect` those of many hosts,
            all of which call this alike; one device where None.
        on_progress: called between compiled chunks, about three times a second; what it raises
            ends the run.
        every_epoch: call `on_progress` after every epoch instead, which then has a chunk of its
            own, and a stream's at no other time.
        resume: go on from here; the same arguments give the numbers of an uninterrupted run. It is
            of the structure, shapes and dtypes that `begin` gives of `optimizer` and `params`, and
            of what is judged by the same metrics.
        hyperparameters: finite numbers for `optimizer`, by name, traced.

    Raises:
        InputError: input that cannot be trained on, named, before anything compiles; a loss or
            metric that this JAX does not compile to what it says, before the first step; of many
            hosts what another one raised or has otherwise, and batches that they do not divide.
    """
    layout = streams.Layout(batch_size or 0, drop_last, sharding)
    with hosts.agreed(layout.hosts) as facts:
        checks.asked(on_progress, every_epoch, drop_last, judge_training)
        data, rows = training.check(loss, params, data, seed)
        checks.batch_size(batch_size, rows)
        layout.check(rows)
        judged = checks.judged(data, validation, judge_training=judge_training)
        checks.ends(epochs, patience, judged, metrics, rows=rows, batch_size=batch_size)
        if validation is not None:
            losses.check(loss, params, judged["validation"], whole=True)
        numbers = optimizers.check(optimizer, hyperparameters)
        if resume:
            checks.resumed(resume, (judged, metrics or ()), _beginning(optimizer), params, numbers)
        now = resume or begin(optimizer, params, hyperparameters)
        facts |= {"rows": rows, "batch_size": batch_size, "drop_last": drop_last, "seed": seed}
        facts |= {"epochs": epochs, "patience": patience, "hyperparameters": numbers}
        facts |= {"judged data": judged, "params and progress": now.progress}
    weight = variables.weight if losses.weighs(loss) else batches.count
    plan = Plan(loss, optimizer, tuple((metrics or {}).items()), weight)
    key, judged = losses.run_key(loss, seed), jax.device_put(judged)
    waits = _FOREVER if patience is None else patience
    job = _Job(plan, numbers, key, judged, layout, epochs=epochs, patience=waits)
    own, check = judged.get("training", data), functools.partial(losses.check, loss, params)
    alone, steps = every_epoch if on_progress else None, int(now.progress.steps)
    left = range(int(now.progress.epoch), epochs)
    chunks = streams.chunks(own, layout, left, seed=seed, steps=steps, alone=alone, check=check)
    results = _results(job, now.progress, chunks)
    # A run that ended may go on, for more epochs or with more patience.
    now = now._replace(outcome="running", message="")
    while (now := job.judge(now)).outcome == "running":
        more = next(results)
        both = {n: np.concatenate([now.history.get(n, v[:0]), v]) for n, v in more.history.items()}
        now = more._replace(history=both)
        if on_progress and now.outcome == "running" and not (every_epoch and now.progress.steps):
            with hosts.agreed(layout.hosts):
                on_progress(now)
    if now.outcome == "diverged":
        warnings.warn(now.message, RuntimeWarning, stacklevel=2)
    idle = divergence.untrained(params, now.progress.run.state) if now.progress.epoch else ""
    return now._replace(message=now.message or idle)


class _Result(NamedTuple):
    """What a call of the program gives.

    Attributes:
        progress: after the last epoch, or before the one that failed.
        history: the values of its epochs; those past the last are unused.
        finite: whether all was finite.
    """

    progress: Progress
    history: dict[str, Any]
    finite: Any


@dataclasses.dataclass(frozen=True)
class _Job:
    """What stays the same through a run of `fit`."""

    plan: Plan
    numbers: dict[str, float]
    key: Key[Array, ""] | None
    judged: dict[str, PyTree]
    layout: streams.Layout
    epochs: int
    patience: int

    def sized(self, batch_size: int) -> "_Job":
        """Give the job of batches of that size."""
        return dataclasses.replace(self, layout=self.layout.sized(batch_size))

    def call(self, progress: Progress, chunk: streams.Chunk) -> _Result:
        """Run a chunk."""
        program = _program(self.plan, self.layout)
        own = self.numbers, self.key
        return self.layout.local(program.call(own, progress, self.judged, self.patience, chunk))

    def verify(self, progress: Progress, chunk: streams.Chunk) -> str:
        """Hold what the program computes against NumPy, once, while the program is compiled."""
        inputs = verify.Inputs(progress.run.state.params, *self.layout.first(chunk), self.judged)
        program, none = _program(self.plan, self.layout), chunk._replace(epochs=0)
        return program.refuse(inputs, (progress, inputs), lambda: self.call(progress, none))

    def judge(self, now: Fit) -> Fit:
        """Say whether a run goes on."""
        # As whole numbers: of arrays each operation is a program to compile.
        epoch, best = int(now.progress.epoch), int(now.progress.best_epoch)
        early = epoch - best >= self.patience
        ends = now.outcome == "running" and (early or epoch >= self.epochs)
        return now._replace(outcome="stopped early" if early else "finished") if ends else now


@functools.lru_cache(maxsize=64)
def _program(plan: Plan, layout: streams.Layout) -> verify.Program:
    """Make the program that runs epochs until one fails or patience ends."""
    once = plan.traced_once()

    def epochs_of(
        own: tuple[dict[str, Array], Key[Array, ""] | None],
        progress: Progress,
        judged: dict[str, PyTree],
        patience: Array,
        chunk: streams.Chunk,
    ) -> _Result:
        take_steps = functools.partial(_take_steps, once.made(*own), layout, chunk)
        end = functools.partial(_end_epoch, once, judged)
        shapes = jax.eval_shape(end, progress)[1]
        unmeasured = jax.tree.map(lambda value: jnp.zeros(value.shape, value.dtype), shapes)

        def epoch(carry: tuple[Array, _Result]) -> tuple[Array, _Result]:
            i, before = carry
            through = take_steps(chunk.orders[i], before.progress)
            after, values = jax.lax.cond(chunk.ends, end, lambda p: (p, unmeasured), through)
            measured = sum(values[f"{name}_loss"] for name in judged)
            finite = training.lasts(through.run, through.run.total, measured)
            history = jax.tree.map(lambda all, one: all.at[i].set(one), before.history, values)
            return i + 1, _Result(_where(finite, after, before.progress), history, finite)

        def goes_on(carry: tuple[Array, _Result]) -> Array:
            i, now = carry
            waited = now.progress.epoch - now.progress.best_epoch
            return (i < chunk.epochs) & now.finite & (waited < patience)

        sizes.check_records(many := len(chunk.orders), [e for e in shapes.values() if e.shape])
        history = {name: jnp.zeros((many, *one.shape), one.dtype) for name, one in shapes.items()}
        start = jnp.array(0), _Result(progress, history, jnp.array(True))
        return jax.lax.while_loop(goes_on, epoch, start)[1]

    probe = layout.jit(training.at_start(once, layout.spread))
    return verify.Program(layout.jit(epochs_of), probe)


def _take_steps(
    plan: Plan, layout: streams.Layout, chunk: streams.Chunk, rows: Array, progress: Progress
) -> Progress:
    """Take the steps of an order, as far as the chunk says: whole batches, then what is left."""
    run, steps, before = progress.run, progress.steps, progress.taken - progress.steps
    for first, order in layout.parts(rows):

        def body(t: Array, run: Run, first: int = first, order: Array = order) -> Run:
            batch = layout.take(chunk.data, order[t - first])
            return training.advance(plan, run, batch, t=chunk.offset + before + t)[0]

        low = jnp.maximum(steps - chunk.offset, first)
        high = jnp.minimum(chunk.stop, first + len(order))
        run = jax.lax.fori_loop(low, high, body, run)
        steps += jnp.maximum(high - low, 0)
    return progress._replace(run=run, steps=steps, taken=before + steps)


def _end_epoch(
    plan: Plan, judged: dict[str, PyTree], progress: Progress
) -> tuple[Progress, dict[str, Array]]:
    """Judge an epoch that is through: its values, and the best so far."""
    run, values = training.measure(plan, progress.run, judged)
    loss = values.get("validation_loss", values["loss"])
    best = loss < progress.best_value if "validation" in judged else jnp.array(True)
    now = progress._replace(run=run, epoch=progress.epoch + 1, steps=jnp.zeros((), jnp.int32))
    better = now._replace(best_params=run.state.params, best_value=loss, best_epoch=now.epoch)
    return _where(best, better, now), values


def _where(condition: Array, these: PyTree, those: PyTree) -> PyTree:
    return jax.lax.cond(condition, lambda: these, lambda: those)


def _results(
    job: _Job, progress: Progress, chunks: Iterator[tuple[int, streams.Chunk]]
) -> Iterator[Fit]:
    """Run chunk by chunk; the next of an epoch is read and moved while this one computes."""
    ahead = None
    while True:
        size, chunk = ahead or next(chunks)
        job = job.sized(size)
        verified = job.verify(progress, chunk)
        result = job.call(progress, chunk)
        ahead = None if chunk.ends else next(chunks)
        now = _settled(job, chunk, progress, result)
        progress = now.progress
        # An epoch whose batches are through is first judged.
        if now.outcome == "diverged" or not (ahead and ahead[1].ends):
            yield now._replace(verified=verified)


def _settled(job: _Job, chunk: streams.Chunk, before: Progress, result: _Result) -> Fit:
    """Give where a call of the program came, and the values of the epochs that it finished."""
    through = int(result.progress.epoch) - int(before.epoch)
    history = {name: np.asarray(value)[:through] for name, value in result.history.items()}
    if result.finite:
        return Fit(result.progress, history, "running")
    failed = chunk._replace(orders=np.roll(chunk.orders, -through, axis=0), epochs=1, ends=False)
    return _failed(job, failed, result.progress)._replace(history=history)


def _failed(job: _Job, chunk: streams.Chunk, progress: Progress) -> Fit:
    """Find the step of an epoch at which a run failed, and say why."""

    def taken(stop: int) -> _Result:
        return job.call(progress, chunk._replace(stop=stop))

    def look(t: int) -> training.Step:
        batch = job.layout.whole(chunk.data, chunk.orders[0][t * size : (t + 1) * size])
        now = taken(t).progress
        own = now.run.state, batch, variables.step_key(job.key, now.taken)
        return training.looking(job.plan)(job.numbers, *own)

    size, low = job.layout.batch_size, int(progress.steps) - int(chunk.offset)
    good, steps = divergence.search(lambda stop: taken(stop).finite, look, low, int(chunk.stop))
    last = taken(good).progress
    if "validation" not in job.judged:
        last = last._replace(best_params=last.run.state.params)
    why = f"the {' or '.join(job.judged)} loss was not finite after epoch {last.epoch + 1}"
    if steps:
        at = f" in epoch {last.epoch + 1}, step {last.steps + 1}"
        why = divergence.explain(steps, job.plan.optimizer, at, int(last.taken))
    return Fit(last, {}, "diverged", f"{why}; the state before it is kept")

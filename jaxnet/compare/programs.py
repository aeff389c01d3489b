"""The compiled program of a tile, held against NumPy, and what one of its runs did alone.

All runs of a tile take the step of `training` at once, mapped over seeds and over the settings of
each, which share its batch: one large product with it.

Shapes: K items of a tile, L settings of an item, H hyperparameters of a setting, E measurements
along a run, T steps of B rows, N rows of data.
"""

import functools
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree, Shaped

from jaxnet import batches, devices, losses, training
from jaxnet._guards import jaxprs, verify
from jaxnet.compare.fast import products
from jaxnet.compare.tiles import PLAIN, Fast, Tile, Workload, fast
from jaxnet.errors import InputError
from jaxnet.losses import Loss, Rule
from jaxnet.optimizers import Entry


class Compiled(NamedTuple):
    """A compiled tile, the devices it is for, and the seconds it took to trace and compile."""

    call: Callable[..., Any]
    mesh: jax.sharding.Mesh
    seconds: float


def compiled(workload: Workload, entry: Entry, names: Sequence[str], shape: Tile) -> Compiled:
    """Compile an optimizer's tile: one for all workloads of the same functions and shapes.

    Args:
        workload: what is trained. entry: the optimizer. shape: of the tile.
        names: of the hyperparameters that settings have; a value for each of them compiles nothing.

    Raises:
        InputError: an optimizer or a loss that cannot be traced.
    """
    return _compile(*_statics(workload, entry, names, shape))


def compile_all(
    workload: Workload, named: Sequence[tuple[Entry, Sequence[str]]], shape: Tile
) -> None:
    """Compile the tiles of optimizers side by side, one to a core, to be found compiled later."""
    with futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        waiting = []
        for entry, names in named:
            statics = _statics(workload, entry, names, shape)
            # Traced here, under the settings of this thread.
            _lower(*statics)
            waiting.append(pool.submit(_compile, *statics))
        try:
            for each in waiting:
                each.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


class _Inputs(NamedTuple):
    """What a tile's program is called with, or the shapes of that, or how it is spread.

    Attributes:
        params: the starts, axis K first.
        settings: shape [K, L, H], the hyperparameters in the order of their names.
        seeds: shape [K].
        order: shape [K, T, B], or [K, B] of a first batch; None where each is all of the data.
        data: N rows. judged: the validation data, or the parts to judge on by name.
    """

    params: PyTree
    settings: Any
    seeds: Any
    order: Any
    data: PyTree
    judged: PyTree


class _Functions(NamedTuple):
    """What a tile's program is made of."""

    loss: Loss | Rule
    metrics: training.Metrics
    fast: Fast


class _Shapes(NamedTuple):
    """What it is compiled for: a pytree of shapes and dtypes, hashable, and devices."""

    tree: Any
    kinds: tuple[tuple[tuple[int, ...], Any], ...]
    mesh: jax.sharding.Mesh
    told_apart: tuple[Any, ...]

    def unflatten(self) -> _Inputs:
        return jax.tree.unflatten(self.tree, [jax.ShapeDtypeStruct(*kind) for kind in self.kinds])


def _functions(workload: Workload, shapes: _Shapes) -> _Functions:
    path = _suited(workload.fast or fast(), workload.loss, shapes)
    return _Functions(workload.loss, workload.metrics, path)


def _one(batch: PyTree) -> int:
    """Count every step alike: all batches have the same rows."""
    del batch
    return 1


@functools.lru_cache(maxsize=64)
def _suited(path: Fast, loss: Loss | Rule, shapes: _Shapes) -> Fast:
    """Give a path without what makes a gradient slower."""
    if not path.products:
        return path
    inputs = shapes.unflatten()

    def shaped(tree: PyTree, *first: int) -> PyTree:
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((*first, *leaf.shape[1:]), leaf.dtype), tree
        )

    data, order = inputs.data, inputs.order
    batch = data if order is None else shaped(data, order.shape[-1])
    traced = jax.make_jaxpr(losses.value_and_grad(loss))(shaped(inputs.params), batch)
    if products.convolves(traced):
        return PLAIN
    if any(map(products.is_small, jaxprs.operations(traced.jaxpr))):
        return path
    return path._replace(options=tuple(each for each in path.options if each[0] != devices.OF_FEW))


def _shapes(workload: Workload, width: int, shape: Tile) -> _Shapes:
    """Give the shapes of parameters, settings, seeds, orders, data and validation of a tile."""
    cut = None if workload.batch_size == workload.rows else (workload.steps, workload.batch_size)
    # Constants are traced as JAX's default dtype.
    told_apart = workload.fingerprint, jnp.result_type(float)
    data = verify.signature((workload.data, workload.validation))
    return _shaped(workload.init, shape, width, cut, told_apart=told_apart, data=data)


@functools.lru_cache(maxsize=64)
def _shaped(
    init: Callable[[Array], PyTree],
    shape: Tile,
    width: int,
    cut: tuple[int, int] | None,
    *,
    told_apart: tuple[Any, ...],
    data: verify.Signature,
) -> _Shapes:
    count = shape.runs // shape.settings
    seeds = jax.ShapeDtypeStruct((count,), np.int32)
    params = _starting(init).eval_shape(seeds)
    settings = jax.ShapeDtypeStruct((count, shape.settings, width), _kind(params))
    order = cut and jax.ShapeDtypeStruct((count, *cut), np.int32)
    # Wider numbers come as JAX takes them, or it would warn of every one.
    taken = jax.dtypes.canonicalize_dtype
    leaves = [jax.ShapeDtypeStruct(size, taken(dtype)) for size, dtype in data.kinds]
    inputs = _Inputs(params, settings, seeds, order, *jax.tree.unflatten(data.structure, leaves))
    leaves, tree = jax.tree.flatten(inputs)
    kinds = tuple((leaf.shape, taken(leaf.dtype)) for leaf in leaves)
    return _Shapes(tree, kinds, devices.mesh("runs", shape.devices), told_apart)


class _Steps(NamedTuple):
    """What the runs of a program do at each step: which optimizer, and when they are measured."""

    entry: Entry
    names: tuple[str, ...]
    measured: tuple[int, ...]


def _statics(
    workload: Workload, entry: Entry, names: Sequence[str], shape: Tile
) -> tuple[_Functions, _Steps, _Shapes]:
    """Give what makes a tile's program."""
    shapes = _shapes(workload, len(names), shape)
    return _functions(workload, shapes), _Steps(entry, tuple(names), workload.measured), shapes


# What the orders of a problem's seeds may take that are kept.
_ORDER_BYTES = 2**26
# A process of Linux may map 65,530 regions of memory, of which a program takes some 200.
_KEPT = 100


@functools.lru_cache(_KEPT)
def _compile(functions: _Functions, taken: _Steps, shapes: _Shapes) -> Compiled:
    lowered, mesh, tracing = _lower(functions, taken, shapes)
    began = time.perf_counter()
    return Compiled(lowered.compile(), mesh, tracing + time.perf_counter() - began)


@functools.lru_cache(_KEPT)
def _lower(
    functions: _Functions, taken: _Steps, shapes: _Shapes
) -> tuple[Any, jax.sharding.Mesh, float]:
    began = time.perf_counter()
    try:
        lowered = _lowered(functions, taken, shapes)
    except Exception as error:
        if functions.fast == PLAIN:
            raise
        lowered = _lowered(functions._replace(fast=PLAIN), taken, shapes)
        # What is wrong with the functions themselves has been raised by now.
        _step_aside(f"{type(error).__name__}: {error}", taken.entry.name)
    return *lowered, time.perf_counter() - began


def _step_aside(why: str, name: str) -> None:
    warnings.warn(
        f"{name}: the fast path is left, for slower runs of the same numbers: {why}",
        RuntimeWarning,
        stacklevel=2,
    )


def _lowered(
    functions: _Functions, taken: _Steps, shapes: _Shapes
) -> tuple[Any, jax.sharding.Mesh]:
    items = functools.partial(_train, _arranged(functions), taken)
    options, mesh, inputs = functions.fast.options, shapes.mesh, shapes.unflatten()
    lowered = _spread(items, mesh, options).lower(*inputs)
    if _waits(lowered, mesh):
        mesh = devices.mesh("runs", 1)
        lowered = _spread(items, mesh, options).lower(*inputs)
    return lowered, mesh


def _waits(lowered: Any, mesh: jax.sharding.Mesh) -> bool:
    """Tell what may wait for ever on several devices of a CPU.

    A decomposition waits for a thread of the pool that every device runs in: with a device for
    each thread, all may.
    """
    several = mesh.size > 1 and mesh.devices.flat[0].platform == "cpu"
    return several and "lapack" in lowered.as_text()


def _arranged(functions: _Functions) -> _Functions:
    """Give the functions as the path computes them."""
    if not functions.fast.products:
        return functions
    rule = products.expanded(losses.value_and_grad(functions.loss))
    return functions._replace(loss=Rule(rule))


def _spread(items: Callable[[_Inputs], Any], mesh: jax.sharding.Mesh, options: Any) -> Any:
    """Spread items, the first axis of all but the data, over devices."""
    runs, everywhere = jax.sharding.PartitionSpec("runs"), jax.sharding.PartitionSpec()
    specs = _Inputs(runs, runs, runs, runs, data=everywhere, judged=everywhere)
    mapped = jax.shard_map(
        lambda *inputs: items(_Inputs(*inputs)),
        mesh=mesh,
        in_specs=tuple(specs),
        out_specs=runs,
        check_vma=False,
    )
    return jax.jit(mapped, compiler_options=dict(options))


def verified(workload: Workload, shape: Tile) -> tuple[Workload, str]:
    """Hold what a tile computes against NumPy; give the workload on a path that agrees, in words.

    The loss and the gradient of the first batches, and each metric of the validation and test
    rows, all of them as a tile has them and spread over its devices.

    Raises:
        InputError: the plain path does not agree either.
    """
    path = workload.fast or fast()
    workload = workload._replace(fast=path)
    try:
        difference, words = _verify(workload, shape)
        if difference is None:
            return workload, words
        if path == PLAIN:
            raise InputError(verify.refusal(difference))
        why = str(difference)
    except Exception as error:
        if path == PLAIN:
            raise
        why = f"{type(error).__name__}: {error}"
    _step_aside(why, "sweep")
    plain, words = verified(workload._replace(fast=PLAIN), shape)
    return plain, f"plain path; {words}"


def _verify(workload: Workload, shape: Tile) -> tuple[verify.Difference | None, str]:
    """Hold a workload on its path against NumPy, once; give the difference, and that in words."""
    shapes = _shapes(workload, 1, shape)
    functions = _functions(workload, shapes)
    parts = {"validation": workload.validation, "test": workload.test}
    program, signature = _probing(functions, shapes), verify.signature(parts)
    if signature not in program.largest:
        seeds = np.arange(shape.runs // shape.settings, dtype=np.int32)
        params = _starting(workload.init)(seeds)
        order = None
        if workload.batch_size < workload.rows:
            order = np.stack(
                [_orders(workload.rows, workload.batch_size, 1)(int(seed))[0] for seed in seeds]
            )
        settings = np.zeros((len(seeds), shape.settings, 1), _kind(params))
        # Each run has its own, or those of an item would be computed once.
        params = _repeated(params, shape.settings)
        inputs = _Inputs(params, settings, seeds, order, data=workload.data, judged=parts)
        if _waits(program.probe.lower(*inputs), shapes.mesh):
            program.probe = _probe(functions, devices.mesh("runs", 1))
        program.verify(inputs, parts)
    return program.largest[signature], program.words(parts)


@functools.lru_cache(maxsize=64)
def _probing(functions: _Functions, shapes: _Shapes) -> verify.Program:
    plain = jax.jit(lambda *inputs: _measure_plainly(functions, _Inputs(*inputs)))
    return verify.Program(None, _probe(functions, shapes.mesh), plain)


def _probe(functions: _Functions, mesh: jax.sharding.Mesh) -> Any:
    items = functools.partial(_measure, _arranged(functions))
    return _spread(items, mesh, functions.fast.options)


def _measure(functions: _Functions, inputs: _Inputs) -> dict[str, PyTree]:
    """Give the loss and gradient of the first batches, and all that is judged, axes K, L first."""
    params, data, order = inputs.params, inputs.data, inputs.order
    rule = losses.value_and_grad(functions.loss)
    batch = None if order is None else jax.vmap(batches.take, (None, 0))(data, order)

    def at_start(params: PyTree, batch: PyTree | None) -> tuple[Array, PyTree]:
        return rule(params, data if batch is None else batch)

    loss, grads = _over_runs(at_start)(params, batch)
    judged = _judge_all(functions, inputs.judged, lambda judge: _nested(judge)(params))
    return {"loss of a batch": loss, "gradient of a batch": grads} | judged


def _measure_plainly(functions: _Functions, inputs: _Inputs) -> dict[str, PyTree]:
    """Give the same of each item once: at the start its runs are alike."""

    def one(params: PyTree, rows: Array | None) -> dict[str, PyTree]:
        batch = inputs.data if rows is None else batches.take(inputs.data, rows)
        loss, grads = losses.value_and_grad(functions.loss)(params, batch)
        judged = _judge_all(functions, inputs.judged, lambda judge: judge(params))
        return {"loss of a batch": loss, "gradient of a batch": grads} | judged

    firsts = jax.tree.map(lambda leaf: leaf[:, 0], inputs.params)
    return _repeated(jax.vmap(one)(firsts, inputs.order), inputs.settings.shape[1])


def _judge_all(
    functions: _Functions,
    parts: dict[str, PyTree | None],
    applied: Callable[[Callable[[PyTree], dict[str, Array]]], dict[str, Array]],
) -> dict[str, Array]:
    """Judge on each part there is; `applied` gives a judge of parameters those it is for."""
    return {
        f"{name} {what}": value
        for name, part in parts.items()
        if part is not None
        for what, value in applied(functools.partial(_judge, functions, part)).items()
    }


def _judge(functions: _Functions, data: PyTree, params: PyTree) -> dict[str, Array]:
    return training.judge(functions.loss, functions.metrics, params, data)


def _nested(function: Callable[..., Any]) -> Callable[..., Any]:
    """Map a function of pytrees over the axes K, L of their leaves."""
    return jax.vmap(jax.vmap(function))


def _over_runs(function: Callable[..., Any]) -> Callable[..., Any]:
    """Map `(run, batch) -> result` over the axes K, L of runs and K of batches, or of None."""
    return jax.vmap(jax.vmap(function, in_axes=(0, None)))


def _repeated(
    items: PyTree[Shaped[Array, "K ..."]], settings: int
) -> PyTree[Shaped[Array, "K L ..."]]:
    """Repeat what an item has for each of its settings."""
    return jax.tree.map(
        lambda leaf: jnp.broadcast_to(leaf[:, None], (len(leaf), settings, *leaf.shape[1:])), items
    )


def _build(entry: Entry, steps: int, /, **setting: Any) -> Any:
    """Make an optimizer of a setting, and of the key that comes with it where it draws noise."""
    key = setting.pop("key") if entry.random else None
    return entry.build(setting, steps, key)


def _train(
    functions: _Functions, taken: _Steps, inputs: _Inputs
) -> tuple[dict[str, PyTree], PyTree]:
    """Train a tile's runs; give what was measured of them and their last parameters to be judged.

    Both have the axes K, L first.
    """
    entry, measured = taken.entry, np.array(taken.measured)
    settings, order, data = inputs.settings, inputs.order, inputs.data
    build = functools.partial(_build, entry, taken.measured[-1])
    plan = training.Plan(functions.loss, build, functions.metrics, _one, entry.evaluate)
    numbers = {name: settings[..., h] for h, name in enumerate(taken.names)}
    if entry.random:
        keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), inputs.seeds)
        numbers["key"] = _repeated(keys, settings.shape[1])

    def begin(params: PyTree, numbers: dict[str, Array]) -> tuple[training.Run, Array]:
        return training.begin(plan.made(numbers).optimizer, params), jnp.zeros((), jnp.int32)

    def advance(t: Array, carry: Any, batch: PyTree | None) -> tuple[training.Run, Array]:
        (run, evaluations), numbers = carry
        run, spent = training.advance(
            plan.made(numbers),
            run,
            data if batch is None else batch,
            t=t,
            record=lambda step: entry.evaluations(step.after.opt_state),
        )
        return run, evaluations + spent

    def all_advance(t: Array, carry: Any) -> tuple[training.Run, Array]:
        batch = None if order is None else jax.vmap(batches.take, (None, 0))(data, order[:, t])
        return _over_runs(functools.partial(advance, t))((carry, numbers), batch)

    def measure(carry: Any, window: tuple[Array, Array]) -> tuple[Any, dict[str, Array]]:
        run, evaluations = jax.lax.fori_loop(*window, all_advance, carry)
        run, values = _nested(lambda run: training.measure(plan, run, inputs.judged))(run)
        return (run, evaluations), values

    windows = jnp.array([[0, *measured[:-1]], measured], jnp.int32)
    carry = _nested(begin)(_repeated(inputs.params, settings.shape[1]), numbers)
    (run, evaluations), values = jax.lax.scan(measure, carry, tuple(windows))
    # The last update, which no loss has seen.
    lost = (run.failed < 0) & ~_nested(training.is_finite)(run.state.params)
    values = {name: jnp.moveaxis(value, 0, -1) for name, value in values.items()}
    values["diverged"] = jnp.where(lost, int(measured[-1]), run.failed)
    values["evaluations"] = evaluations
    return values, _nested(lambda state: plan.judged(state.opt_state, state.params))(run.state)


def cause(workload: Workload, entry: Entry, seed: int, setting: Mapping[str, float]) -> str:
    """Say where and why a run met a number that is not finite, by running it alone."""
    noise = {"key": jax.random.fold_in(jax.random.key(0), seed)} if entry.random else {}
    make = functools.partial(_build, entry, workload.steps, **noise)
    order = (
        batches.full_batch(workload.rows, workload.steps)
        if workload.batch_size == workload.rows
        else _orders(workload.rows, workload.batch_size, workload.steps)(seed)
    )
    params = workload.init(jax.random.key(seed))
    plan = training.Plan(workload.loss, make, weight=_one)
    return training.attempt(plan, setting, training.Setup(params, workload.data, order))[2]


def placed(
    workload: Workload,
    seeds: Int[np.ndarray, " K"],
    settings: Float[np.ndarray, "K L H"],
    mesh: jax.sharding.Mesh,
) -> _Inputs:
    """Give what a program takes: starts and orders of items, each with the items first."""
    cut = (
        None
        if workload.batch_size == workload.rows
        else (workload.rows, workload.batch_size, workload.steps)
    )
    params, order = _drawn(workload.init, seeds.tobytes(), cut, mesh, _jax_settings())
    spread = jax.device_put(settings.astype(_kind(params)), _spread_over(mesh))
    return _Inputs(params, spread, seeds, order, data=workload.data, judged=workload.validation)


def _spread_over(mesh: jax.sharding.Mesh) -> jax.sharding.NamedSharding:
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("runs"))


def _jax_settings() -> tuple[Any, ...]:
    """Give the settings of JAX that decide what a seed draws."""
    config: Any = jax.config
    return jnp.result_type(float), config.jax_threefry_partitionable


@functools.lru_cache(maxsize=8)
def _drawn(
    init: Callable[[Array], PyTree],
    packed: bytes,
    cut: tuple[int, int, int] | None,
    mesh: jax.sharding.Mesh,
    settings: Any,
) -> tuple[Any, Any]:
    """Draw starts and orders and move them to their devices, which takes as long as short runs do.

    There is no order where every batch is all of the data, as it is.
    """
    del settings
    seeds = np.frombuffer(packed, np.int32)
    order = None if cut is None else np.stack(list(map(_orders(*cut), seeds.tolist())))
    return jax.device_put((_starting(init)(seeds), order), _spread_over(mesh))


def _kind(params: PyTree) -> Any:
    return np.result_type(*(leaf.dtype for leaf in jax.tree.leaves(params)))


def start(
    init: Callable[[Array], PyTree], seeds: Int[Array, " K"]
) -> PyTree[Shaped[Array, "K ..."]]:
    """Draw the starts of seeds."""
    return jax.vmap(lambda seed: init(jax.random.key(seed)))(seeds)


@functools.lru_cache(maxsize=64)
def _starting(init: Callable[[Array], PyTree]) -> Any:
    # Drawn once: quickly compiled is soonest done.
    return devices.program(functools.partial(start, init), xla_backend_optimization_level=1)


@functools.lru_cache(maxsize=2)
def _orders(rows: int, batch_size: int, steps: int) -> Callable[[int], Int[np.ndarray, "T B"]]:
    """Give what draws the order of a seed: for all stages and optimizers once, while there is room.

    To shuffle a few rows takes as long as to train on them.
    """
    epochs = -(-steps // (rows // batch_size))
    kept = _ORDER_BYTES // (rows * epochs * np.dtype(np.int32).itemsize)

    @functools.lru_cache(kept)
    def order(seed: int) -> Int[np.ndarray, "T B"]:
        return batches.shuffled(rows, batch_size, epochs, seed)[:steps]

    return order


def score(workload: Workload, params: PyTree, width: int, shape: Tile) -> dict[str, Array]:
    """Judge the last parameters of runs on the test data, axes K, L first.

    Args:
        workload: what was trained. params: of its runs. shape: of the tile.
        width: hyperparameters of a setting, H.
    """
    shapes = _shapes(workload, width, shape)
    return _scoring(_functions(workload, shapes))(params, workload.test)


@functools.lru_cache(maxsize=64)
def _scoring(functions: _Functions) -> Callable[..., dict[str, Array]]:
    def score(params: PyTree, test: PyTree) -> dict[str, Array]:
        return _nested(functools.partial(_judge, functions, test))(params)

    return jax.jit(score, compiler_options=dict(functions.fast.options))

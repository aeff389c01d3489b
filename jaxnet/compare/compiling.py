"""The program of a tile compiled, on the fast path where that suits it, once for what is alike.

Optimizers whose programs are the same text share one executable: of two compiled alike, one may
lie better in the processor's caches, and be faster in every run.

Shapes: K items of a tile, L settings of an item.
"""

import dataclasses
import functools
import os
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent import futures
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from jaxnet import devices, losses
from jaxnet._guards import checks, jaxprs, options, verify
from jaxnet.compare import batched, starts
from jaxnet.compare.batched import Functions, Steps
from jaxnet.compare.fast import products
from jaxnet.compare.starts import Inputs
from jaxnet.compare.tiles import PLAIN, Fast, Tile, Workload, fast
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
    return _compile(_traced(*_statics(workload, entry, names, shape)))


def compile_all(
    workload: Workload, named: Sequence[tuple[Entry, Sequence[str]]], shape: Tile
) -> None:
    """Compile the tiles of optimizers side by side, one to a core, to be found compiled later."""
    with futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        # Traced here, under the settings of this thread.
        programs = {_traced(*_statics(workload, *each, shape)) for each in named}
        waiting = [pool.submit(_compile, each) for each in programs]
        try:
            for each in waiting:
                each.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


class Shapes(NamedTuple):
    """What it is compiled for: a pytree of shapes and dtypes, hashable, and devices."""

    tree: Any
    kinds: tuple[tuple[tuple[int, ...], Any], ...]
    mesh: jax.sharding.Mesh
    told_apart: tuple[Any, ...]

    def unflatten(self) -> Inputs:
        """Give the shapes as the program takes its inputs."""
        return jax.tree.unflatten(self.tree, [jax.ShapeDtypeStruct(*kind) for kind in self.kinds])


def functions_of(workload: Workload, shapes: Shapes) -> Functions:
    """Give what a tile's program is made of, on the path that suits it."""
    path = _suited(workload.fast or fast(), workload.loss, shapes)
    return Functions(workload.loss, workload.metrics, path)


@functools.lru_cache(maxsize=64)
def _suited(path: Fast, loss: Loss | Rule, shapes: Shapes) -> Fast:
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
    evaluate = functools.partial(losses.evaluate, loss, key=losses.run_key(loss, 0))
    traced = jax.make_jaxpr(evaluate)(shaped(inputs.params), batch)
    if products.convolves(traced):
        return PLAIN
    if any(map(products.is_small, jaxprs.operations(traced.jaxpr))):
        return path
    return path._replace(options=tuple(each for each in path.options if each[0] != options.OF_FEW))


def shapes_of(workload: Workload, width: int, shape: Tile) -> Shapes:
    """Give the shapes of parameters, settings, seeds, orders, data and validation of a tile."""
    cut = None if workload.whole else (workload.steps, workload.batch_size)
    # Constants are traced as JAX's default dtype.
    told_apart = workload.fingerprint, jnp.result_type(float)
    data = verify.signature((workload.data, workload.validation))
    starting = starts.starting(workload.init, workload.start)
    return _shaped(starting, shape, width, cut, told_apart=told_apart, data=data)


@functools.lru_cache(maxsize=64)
def _shaped(
    starting: Any,
    shape: Tile,
    width: int,
    cut: tuple[int, int] | None,
    *,
    told_apart: tuple[Any, ...],
    data: verify.Signature,
) -> Shapes:
    count = shape.runs // shape.settings
    seeds = jax.ShapeDtypeStruct((count,), np.int32)
    params = starting.eval_shape(seeds)
    settings = jax.ShapeDtypeStruct((count, shape.settings, width), starts.dtype_of(params))
    order = cut and jax.ShapeDtypeStruct((count, *cut), np.int32)
    # Wider numbers come as JAX takes them, or it would warn of every one.
    taken = jax.dtypes.canonicalize_dtype
    leaves = [jax.ShapeDtypeStruct(size, taken(dtype)) for size, dtype in data.kinds]
    inputs = Inputs(params, settings, seeds, order, *jax.tree.unflatten(data.structure, leaves))
    leaves, tree = jax.tree.flatten(inputs)
    dtypes = (leaf.dtype if checks.is_key(leaf) else taken(leaf.dtype) for leaf in leaves)
    kinds = tuple(zip((leaf.shape for leaf in leaves), dtypes, strict=True))
    return Shapes(tree, kinds, devices.mesh("runs", shape.devices), told_apart)


def _statics(
    workload: Workload, entry: Entry, names: Sequence[str], shape: Tile
) -> tuple[Functions, Steps, Shapes]:
    """Give what makes a tile's program."""
    shapes = shapes_of(workload, len(names), shape)
    return functions_of(workload, shapes), Steps(entry, tuple(names), workload.measured), shapes


# A process of Linux may map 65,530 regions of memory, of which a program takes some 200.
_KEPT = 100


@dataclasses.dataclass(frozen=True)
class _Traced:
    """A program to compile: the same as another of the same text, results and options.

    One that calls Python is like no other: its text does not say what it calls.
    """

    text: str
    alone: object
    results: Any
    options: tuple[tuple[str, Any], ...]
    mesh: jax.sharding.Mesh
    program: Any = dataclasses.field(compare=False)
    seconds: float = dataclasses.field(compare=False)


@functools.lru_cache(_KEPT)
def _compile(traced: _Traced) -> Compiled:
    began = time.perf_counter()
    call = traced.program.compile()
    return Compiled(call, traced.mesh, traced.seconds + time.perf_counter() - began)


@functools.lru_cache(_KEPT)
def _traced(functions: Functions, taken: Steps, shapes: Shapes) -> _Traced:
    try:
        return _lowered(functions, taken, shapes)
    except Exception as error:
        if functions.fast == PLAIN:
            raise
        traced = _lowered(functions._replace(fast=PLAIN), taken, shapes)
        # What is wrong with the functions themselves has been raised by now.
        step_aside(f"{type(error).__name__}: {error}", taken.entry.name)
        return traced


def step_aside(why: str, name: str) -> None:
    """Warn that something is computed on the plain path."""
    warnings.warn(
        f"{name}: the fast path is left, for slower runs of the same numbers: {why}",
        RuntimeWarning,
        stacklevel=2,
    )


def _lowered(functions: Functions, taken: Steps, shapes: Shapes) -> _Traced:
    began = time.perf_counter()
    items = functools.partial(batched.train, arranged(functions), taken)
    chosen, mesh, inputs = functions.fast.options, shapes.mesh, shapes.unflatten()
    lowered = spread(items, mesh, chosen).lower(*inputs)
    if waits(lowered, mesh):
        mesh = devices.mesh("runs", 1)
        lowered = spread(items, mesh, chosen).lower(*inputs)
    text, seconds = lowered.as_text(), time.perf_counter() - began
    return _Traced(
        text,
        object() if "callback" in text else None,
        results=lowered.out_tree,
        options=chosen,
        mesh=mesh,
        program=lowered,
        seconds=seconds,
    )


def waits(lowered: Any, mesh: jax.sharding.Mesh) -> bool:
    """Tell what may wait for ever on several devices of a CPU.

    A decomposition waits for a thread of the pool that every device runs in: with a device for
    each thread, all may.
    """
    several = mesh.size > 1 and mesh.devices.flat[0].platform == "cpu"
    return several and "lapack" in lowered.as_text()


def arranged(functions: Functions) -> Functions:
    """Give the functions as the path computes them."""
    if not functions.fast.products:
        return functions
    rule = products.expanded(losses.value_and_grad(functions.loss))
    return functions._replace(loss=Rule(rule, losses.original(functions.loss)))


def spread(items: Callable[[Inputs], Any], mesh: jax.sharding.Mesh, chosen: Any) -> Any:
    """Spread items, the first axis of all but the data, over devices, by the options chosen."""
    runs, everywhere = jax.sharding.PartitionSpec("runs"), jax.sharding.PartitionSpec()
    specs = Inputs(runs, runs, runs, runs, data=everywhere, judged=everywhere)
    mapped = jax.shard_map(
        lambda *inputs: items(Inputs(*inputs)),
        mesh=mesh,
        in_specs=tuple(specs),
        out_specs=runs,
        check_vma=False,
    )
    return jax.jit(mapped, compiler_options=dict(chosen))


def score(workload: Workload, params: PyTree, width: int, shape: Tile) -> dict[str, Array]:
    """Judge the last parameters of runs on the test data, axes K, L first.

    Args:
        workload: what was trained. params: of its runs. shape: of the tile.
        width: hyperparameters of a setting, H.
    """
    shapes = shapes_of(workload, width, shape)
    program = _scoring(functions_of(workload, shapes), shapes.told_apart)
    return program(params, workload.test)


@functools.lru_cache(maxsize=64)
def _scoring(functions: Functions, told_apart: Any) -> Callable[..., dict[str, Array]]:
    del told_apart

    def score(params: PyTree, test: PyTree) -> dict[str, Array]:
        return batched.nested(functools.partial(batched.judge, functions, test))(params)

    return jax.jit(score, compiler_options=dict(functions.fast.options))

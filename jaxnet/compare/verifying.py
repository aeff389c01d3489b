"""What a tile computes held against NumPy, before it runs.

Shapes: K items of a tile, L settings of an item.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, PyTree

from jaxnet import batches, devices, losses
from jaxnet._guards import verify
from jaxnet.compare import batched, compiling, starts
from jaxnet.compare.batched import Functions
from jaxnet.compare.compiling import Shapes
from jaxnet.compare.starts import Inputs
from jaxnet.compare.tiles import PLAIN, Tile, Workload, fast
from jaxnet.errors import InputError


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
    compiling.step_aside(why, "sweep")
    plain, words = verified(workload._replace(fast=PLAIN), shape)
    return plain, f"plain path; {words}"


def _verify(workload: Workload, shape: Tile) -> tuple[verify.Difference | None, str]:
    """Hold a workload on its path against NumPy, once; give the difference, and that in words."""
    shapes = compiling.shapes_of(workload, 1, shape)
    functions = compiling.functions_of(workload, shapes)
    parts = {"validation": workload.validation, "test": workload.test}
    program, signature = _probing(functions, shapes), verify.signature(parts)
    if signature not in program.largest:
        seeds = np.arange(shape.runs // shape.settings, dtype=np.int32)
        params = starts.starting(workload.init, workload.start)(seeds)
        order = None
        if not workload.whole:
            cut = workload.rows, workload.batch_size, 1
            order = np.stack([starts.shuffled(*cut, seed)[0] for seed in seeds.tolist()])
        settings = np.zeros((len(seeds), shape.settings, 1), starts.dtype_of(params))
        # Each run has its own, or those of an item would be computed once.
        params = batched.repeated(params, shape.settings)
        inputs = Inputs(params, settings, seeds, order, data=workload.data, judged=parts)
        if compiling.waits(program.probe.lower(*inputs), shapes.mesh):
            program.probe = _probe(functions, devices.mesh("runs", 1))
        program.verify(inputs, parts)
    return program.largest[signature], program.words(parts)


@functools.lru_cache(maxsize=64)
def _probing(functions: Functions, shapes: Shapes) -> verify.Program:
    plain = jax.jit(lambda *inputs: _measure_plainly(functions, Inputs(*inputs)))
    return verify.Program(None, _probe(functions, shapes.mesh), plain)


def _probe(functions: Functions, mesh: jax.sharding.Mesh) -> Any:
    items = functools.partial(_measure, compiling.arranged(functions))
    return compiling.spread(items, mesh, functions.fast.options)


def _measure(functions: Functions, inputs: Inputs) -> dict[str, PyTree]:
    """Give the loss and gradient of the first batches, and all that is judged, axes K, L first."""
    params, data, order = inputs.params, inputs.data, inputs.order
    at_start = _at_start(functions)
    batch = None if order is None else jax.vmap(batches.take, (None, 0))(data, order)

    def of_run(params: PyTree, batch: PyTree | None) -> dict[str, PyTree]:
        return at_start(params, data if batch is None else batch)

    of_batch = batched.over_runs(of_run, params, batch=batch)
    judged = _judge_all(functions, inputs.judged, lambda judge: batched.nested(judge)(params))
    return of_batch | judged


def _measure_plainly(functions: Functions, inputs: Inputs) -> dict[str, PyTree]:
    """Give the same of each item once: at the start its runs are alike."""

    def one(params: PyTree, rows: Array | None) -> dict[str, PyTree]:
        batch = inputs.data if rows is None else batches.take(inputs.data, rows)
        judged = _judge_all(functions, inputs.judged, lambda judge: judge(params))
        return _at_start(functions)(params, batch) | judged

    firsts = jax.tree.map(lambda leaf: leaf[:, 0], inputs.params)
    return batched.repeated(jax.vmap(one)(firsts, inputs.order), inputs.settings.shape[1])


def _at_start(functions: Functions) -> Callable[[PyTree, PyTree], dict[str, PyTree]]:
    """Give what gives the loss and the gradient of a batch, drawn of one key if at all."""
    key = losses.run_key(functions.loss, 0)

    def at_start(params: PyTree, batch: PyTree) -> dict[str, PyTree]:
        loss, grads, _ = losses.evaluate(functions.loss, params, batch, key)
        return {"loss of a batch": loss, "gradient of a batch": grads}

    return at_start


def _judge_all(
    functions: Functions,
    parts: dict[str, PyTree | None],
    applied: Callable[[Callable[[PyTree], dict[str, Array]]], dict[str, Array]],
) -> dict[str, Array]:
    """Judge on each part there is; `applied` gives a judge of parameters those it is for."""
    return {
        f"{name} {what}": value
        for name, part in parts.items()
        if part is not None
        for what, value in applied(functools.partial(batched.judge, functions, part)).items()
    }

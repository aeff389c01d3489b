"""A loss written in NumPy: a program for JAX where it can be traced, finite differences of itself.

Shapes: P numbers in all parameters; D probed directions; K step sizes.
"""

import contextlib
import dataclasses
import functools
import logging
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Float64, PyTree

from jaxnet._guards import jaxprs
from jaxnet.audit import floats
from jaxnet.audit.uncompiled import uncompiled

Numbers = Callable[[PyTree, PyTree], float]

# Relative steps of the differences that stand for the gradient of what cannot be traced: each is
# halved twice, and where the larger say too little the smaller are asked.
_STEPS = (2e-3, 2e-5)
# A program of more operations is not compiled.
_SHORT = 300
# Where a program is held against the function that it was traced from.
_POINTS = 3


@dataclasses.dataclass(frozen=True, eq=False)
class NumPyLoss:
    """A loss of NumPy arrays, to be called with traced ones as well.

    Attributes:
        function: `(params, batch)` of NumPy arrays to a number; changes nothing.
        program: the same of JAX's; None where it cannot be traced.
        reason: why it cannot be traced; empty where it can.
        is_long: whether the program is of so many operations, as of loops, that to compile it takes
            longer than to run it uncompiled.
    """

    function: Numbers
    program: Callable[[PyTree, PyTree], Array] | None
    reason: str = ""
    is_long: bool = False

    def __call__(self, params: PyTree, batch: PyTree) -> Float[Array, ""]:
        """Give the loss; its gradient is by finite differences where there is no program."""
        if self.program is None:
            return _measured(self, params, batch)
        return jnp.reshape(self.program(params, batch), ())

    def doubts(self, params: PyTree, batch: PyTree) -> list[float]:
        """Give the norm of what the gradient may be off by, by leaf; zero of a program's."""
        sizes = [np.size(leaf) for leaf in jax.tree.leaves(params)]
        if self.program:
            return [0.0] * len(sizes)
        _, doubts = _differences(self.function, params, batch)
        return [float(np.linalg.norm(part)) for part in np.split(doubts, np.cumsum(sizes)[:-1])]

    def probe(
        self, params: PyTree, batch: PyTree, spans: Any, sizes: Any, signs: Any, steps: Any
    ) -> tuple[float, Float64[np.ndarray, "D K"], Float64[np.ndarray, "D K"]]:
        """Give the loss, and a step ahead and behind along each direction for each step size.

        Args:
            params: where. batch: of NumPy arrays.
            spans: first, last and draw of each direction, [D, 3].
            sizes: that steps are relative to, [D]. signs: by draw, [draws, P]. steps: [K].
        """
        flat, unravel = _flat(params)
        sides = np.empty((2, len(spans), len(steps)))
        for row, (first, last, draw) in enumerate(spans):
            for column, step in enumerate(steps):
                move = step * sizes[row] * signs[draw, first:last] / np.sqrt(last - first)
                for side, sign in enumerate((1, -1)):
                    there = flat.copy()
                    there[first:last] += sign * move
                    sides[side, row, column] = self.function(unravel(there), batch)
        return self.function(params, batch), sides[0], sides[1]


def faithful(loss: NumPyLoss, params: PyTree, batch: PyTree) -> NumPyLoss:
    """Keep the program of a loss where it gives the loss's own values; else say why not.

    Args:
        loss: with a program. params: of NumPy arrays. batch: of NumPy arrays.
    """
    try:
        with jax.enable_x64(True):
            if len(jax.make_jaxpr(loss)(params, batch).eqns) > _SHORT:
                # The function's own loops take longer than what they do.
                loss = dataclasses.replace(loss, program=_again(loss), is_long=True)
            with jax.disable_jit(loss.is_long):
                agrees = _agree(loss, params, batch)
    except Exception as error:  # code that cannot be traced fails in any way
        return NumPyLoss(loss.function, None, _where(error))
    return loss if agrees else NumPyLoss(loss.function, None, _UNFAITHFUL)


def _again(loss: NumPyLoss) -> Callable[..., Array]:
    """Trace a loss once for arrays of each kind, and carry out the trace."""
    traces: dict[Any, jaxprs.Closed] = {}

    def program(params: PyTree, batch: PyTree) -> Array:
        leaves, tree = jax.tree.flatten(jax.tree.map(jnp.asarray, (params, batch)))
        kind = (tree, *map(jax.typeof, leaves))
        if kind not in traces:
            shapes = (jax.ShapeDtypeStruct(each.shape, each.dtype) for each in leaves)
            traces[kind] = jax.make_jaxpr(loss)(*jax.tree.unflatten(tree, shapes))
        return jaxprs.carry_out(traces[kind], leaves)[0]

    return program


_UNFAITHFUL = "what JAX makes of it gives another value"


def _where(error: Exception) -> str:
    """Say which line of the user's a trace ended at."""
    frames = traceback.extract_tb(error.__traceback__)
    package = Path(__file__).parent
    lines = [frame for frame in frames if frame.line and not _is_installed(frame.filename)]
    theirs = [frame for frame in lines if Path(frame.filename).parent != package]
    return f"line {theirs[-1].lineno}: {theirs[-1].line}" if theirs else type(error).__name__


def _is_installed(path: str) -> bool:
    folders = (sysconfig.get_path(kind) for kind in ("stdlib", "purelib", "platlib"))
    return any(Path(path).is_relative_to(folder) for folder in folders)


def _agree(loss: NumPyLoss, params: PyTree, batch: PyTree) -> bool:
    """Whether a program gives a function's values in float64, here and a little way off."""
    random = np.random.default_rng(0)
    flat, unravel = _flat(params)
    for point in range(_POINTS):
        there = unravel(flat * (1 + 0.1 * point * random.uniform(-1, 1, flat.shape)))
        value, expected = _value(loss, there, batch), loss.function(there, batch)
        tolerance = 16 * max(
            floats.epsilon(value.dtype), floats.epsilon(np.asarray(expected).dtype)
        )
        if not np.allclose(value, expected, rtol=100 * tolerance, atol=tolerance, equal_nan=True):
            return False
    return True


@uncompiled(0)
def _value(loss: NumPyLoss, params: PyTree, batch: PyTree) -> Array:
    return loss(params, batch)


def _flat(params: PyTree) -> tuple[Float64[np.ndarray, "P"], Callable[[Any], PyTree]]:
    leaves, tree = jax.tree.flatten(params)
    shapes = [np.shape(leaf) for leaf in leaves]
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]

    def unravel(flat: np.ndarray) -> PyTree:
        parts = zip(np.split(flat, ends), shapes, strict=True)
        return jax.tree.unflatten(tree, [part.reshape(shape) for part, shape in parts])

    return np.concatenate([np.ravel(leaf).astype(np.float64) for leaf in leaves]), unravel


def _differences(
    function: Numbers, params: PyTree, batch: PyTree
) -> tuple[Float64[np.ndarray, "P"], Float64[np.ndarray, "P"]]:
    """Differentiate by central differences, extrapolated twice to a step of none (Richardson).

    Returns the gradient and, entry by entry, what it may be off by: the last correction, and the
    rounding of the loss over the smallest step.
    """
    flat, unravel = _flat(params)
    scale = max(float(np.sqrt(np.mean(flat**2))), 1e-3)
    slopes, doubts = np.empty_like(flat), np.full_like(flat, np.inf)
    value = function(params, batch)
    noise = 16 * floats.epsilon(np.asarray(value).dtype) * abs(float(value))

    def slope(entry: int, step: float) -> float:
        sides = []
        for sign in (1, -1):
            there = flat.copy()
            there[entry] += sign * step
            sides.append(function(unravel(there), batch))
        return (sides[0] - sides[1]) / (2 * step)

    for entry in range(flat.size):
        for relative in _STEPS:
            step = relative * max(abs(flat[entry]), scale)
            whole, half, quarter = (slope(entry, step / part) for part in (1, 2, 4))
            once = (4 * half - whole) / 3, (4 * quarter - half) / 3
            twice = (16 * once[1] - once[0]) / 15
            doubt = abs(twice - once[1]) + noise / step
            if doubt < doubts[entry]:
                slopes[entry], doubts[entry] = twice, doubt
            if doubt <= 1e-8 * max(abs(twice), abs(value)):
                break
    return slopes, doubts


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _measured(loss: NumPyLoss, params: PyTree, batch: PyTree) -> Array:
    """Call back to the NumPy function from within a program."""
    kind = jax.ShapeDtypeStruct((), jax.tree.leaves(params)[0].dtype)

    def value(params: PyTree, batch: PyTree) -> np.ndarray:
        return np.asarray(loss.function(*floats.cast((params, batch))), kind.dtype)

    return jax.pure_callback(value, kind, params, batch, vmap_method="sequential")


def _forward(loss: NumPyLoss, params: PyTree, batch: PyTree) -> tuple[Array, PyTree]:
    return _measured(loss, params, batch), (params, batch)


def _backward(loss: NumPyLoss, at: PyTree, cotangent: Array) -> tuple[PyTree, None]:
    params, batch = at
    flat, unravel = ravel_pytree(params)

    def slopes(params: PyTree, batch: PyTree) -> np.ndarray:
        return _differences(loss.function, *floats.cast((params, batch)))[0].astype(flat.dtype)

    kind = jax.ShapeDtypeStruct(flat.shape, flat.dtype)
    grads = jax.pure_callback(slopes, kind, params, batch, vmap_method="sequential")
    return unravel(cotangent * grads), None


_measured.defvjp(_forward, _backward)


@contextlib.contextmanager
def unlogged() -> Iterator[None]:
    """Keep what a function raises within a program out of JAX's log: callers see the error."""
    logger = logging.getLogger("jax._src.callback")

    def is_other(record: logging.LogRecord) -> bool:
        return record.msg != "jax.pure_callback failed"

    logger.addFilter(is_other)
    try:
        yield
    finally:
        logger.removeFilter(is_other)

"""The compiler, audited: what XLA compiled is held against the same operations in NumPy.

What is compiled on the shapes of a run is carried out once more by `reference`, one operation at a
time, which shares neither compile options nor fusions with it. What rounding may do is measured:
by the same in float64, and on inputs a few roundings away, each result rounded either way.
"""

import dataclasses
import functools
import importlib
import os
import warnings
from collections.abc import Callable, Sequence
from concurrent import futures
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jaxlib.version
import numpy as np
from jaxtyping import PyTree

from jaxnet._guards import checks, reference
from jaxnet.errors import InputError

# A difference of so many roundings of the whole is not looked into further.
_ROUNDINGS = 32
# Else it may be so many times what rounding was measured to do.
_MARGIN = 16
_DRAWS = 4
# Larger inputs are not moved: what is computed of them is.
_LARGE = 2**22
# Rounding of products of float32, which these make of narrower numbers unless told otherwise.
_PRODUCTS = {"gpu": 2.0**-10, "tpu": 2.0**-7}
_WHOLE = ("float32", "highest")


class Difference(NamedTuple):
    """How far what was compiled is from NumPy.

    Attributes:
        name: of what was computed.
        error: norm of the difference, relative to that of the larger.
        rounding: the largest that rounding explains.
    """

    name: str
    error: float
    rounding: float

    def __str__(self) -> str:
        """Say it in words, and of which versions."""
        return (
            f"{self.name}: compiled, it is off by a relative {self.error:.1e}, where rounding "
            f"explains {self.rounding:.1e} (jax {jax.__version__}, jaxlib "
            f"{jaxlib.version.__version__}, {jax.default_backend()})"
        )


class UnverifiedError(Exception):
    """What was compiled could not be held against NumPy."""


class Pending(NamedTuple):
    """A function being compiled, and its operations."""

    compiled: futures.Future[Any]
    operations: Any
    arguments: tuple[Any, ...]


@functools.cache
def _compilers() -> futures.Executor:
    return futures.ThreadPoolExecutor(os.cpu_count(), "compile")


def begin(function: Any, *arguments: PyTree, plain: Any = None) -> Pending:
    """Trace a jitted function and start to compile it.

    Args:
        function: jitted; gives a dict of pytrees by name.
        arguments: concrete pytrees of arrays.
        plain: the function whose operations it is held against, jitted; itself where None.
    """
    # It adds to the settings that programs are cached by: loaded later, NumPy's way would have all
    # that is compiled meanwhile compiled once more.
    importlib.import_module("jax.extend")
    traced = function.trace(*arguments)
    operations = (plain.trace(*arguments) if plain else traced).jaxpr
    return Pending(_compilers().submit(traced.lower().compile), operations, arguments)


def differences(pending: Pending) -> list[Difference]:
    """Give what disagrees beyond rounding, the largest first; nothing where all agrees.

    Raises:
        UnverifiedError: NumPy's way failed, not the function itself.
    """
    got = jax.device_get(pending.compiled.result()(*pending.arguments))
    try:
        return _differences(pending, got)
    except Exception as error:
        raise UnverifiedError(
            f"could not be held against NumPy: {type(error).__name__}: {error}"
        ) from error


def _differences(pending: Pending, got: dict[str, PyTree]) -> list[Difference]:
    arguments = jax.tree.leaves(pending.arguments)
    leaves = [leaf if checks.is_key(leaf) else np.asarray(leaf) for leaf in arguments]
    evaluate = functools.partial(reference.evaluate, pending.operations)
    tree = jax.tree.structure(got)

    @functools.cache
    def noise() -> list[dict[str, PyTree]]:
        """Other values that rounding might have given."""
        random = np.random.default_rng(0)
        near = ([_near(leaf, random) for leaf in leaves] for _ in range(_DRAWS))
        drawn = [evaluate(leaves, wide=True), *(evaluate(each, random=random) for each in near)]
        return [jax.tree.unflatten(tree, each) for each in drawn]

    expected = jax.tree.unflatten(tree, evaluate(leaves))
    apart = []
    for name, value in got.items():
        others = functools.partial(lambda name: [each[name] for each in noise()], name)
        apart += [d for d in [_difference(name, value, expected[name], others)] if d]
    return sorted(apart, key=lambda each: -each.error)


def _near(leaf: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Move every number by a few roundings, but for whole ones, such as labels."""
    if not jnp.issubdtype(leaf.dtype, jnp.floating) or leaf.size > _LARGE:
        return leaf
    moved = leaf * (1 + _MARGIN * _unit(leaf.dtype) * random.uniform(-1, 1, leaf.shape))
    # Every large number is whole.
    whole = (leaf == np.rint(leaf)) & (np.abs(leaf) < 1 / jnp.finfo(leaf.dtype).eps)
    return np.where(whole, leaf, np.asarray(moved, leaf.dtype))


def _unit(dtype: Any) -> float:
    if not jnp.issubdtype(dtype, jnp.inexact):
        return 0.0
    config: Any = jax.config
    unit = float(jnp.finfo(dtype).eps)
    if jnp.finfo(dtype).bits > 32 or config.jax_default_matmul_precision in _WHOLE:
        return unit
    return max(unit, _PRODUCTS.get(jax.default_backend(), 0.0))


def _times(dtype: Any) -> int:
    """Give how many times what draws do to a result may be; of halves, XLA rounds as it likes.

    It keeps more digits between operations that it fuses, of which few may be left of a sum that
    cancels.
    """
    return 16 if jnp.issubdtype(dtype, jnp.inexact) and jnp.finfo(dtype).bits < 32 else 8


def _least(dtype: Any) -> float:
    """Give what numbers may be off by however small they are: XLA flushes them to zero."""
    if not jnp.issubdtype(dtype, jnp.inexact):
        return 0.0
    kind = jnp.finfo(dtype)
    return 4 * float(kind.smallest_subnormal if kind.dtype == np.float16 else kind.tiny)


def _exactly(tree: PyTree, like: PyTree) -> list[np.ndarray]:
    """Give the leaves of a tree in float64, or in complex128 where those of `like` are complex."""
    pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(like), strict=True)
    kinds = {True: np.complex128, False: np.float64}
    return [np.asarray(x, kinds[jnp.issubdtype(y.dtype, np.complexfloating)]) for x, y in pairs]


def _difference(
    name: str, got: PyTree, expected: PyTree, others: Callable[[], Sequence[PyTree]]
) -> Difference | None:
    """Compare leaf by leaf, each by its own size; one of zeros alone by that of all."""
    leaves = _exactly(expected, got)
    whole = max((_norm(leaf[np.isfinite(leaf)]) for leaf in leaves), default=0.0)
    dtypes = [leaf.dtype for leaf in jax.tree.leaves(got)]
    for index, (dtype, a, b) in enumerate(zip(dtypes, _exactly(got, got), leaves, strict=True)):
        unit, known = _unit(dtype), np.isfinite(b)
        own = _norm(b[known])
        allowed = unit * (_ROUNDINGS * own if b[known].any() else whole)
        allowed += _least(dtype) * np.sqrt(a.size)
        if _norm(a[known] - b[known]) <= allowed:
            continue
        exact, *near = (_exactly(each, got)[index] for each in others())
        for other in (exact, *near):
            known &= np.isfinite(other)
        spread = [_MARGIN * _norm(exact[known] - b[known])]
        allowed += max(spread + [_times(dtype) * _norm(other[known] - b[known]) for other in near])
        apart, scale = _norm(a[known] - b[known]), max(_norm(b[known]), _norm(a[known]))
        if not np.isfinite(apart):
            apart, scale = np.inf, _norm(b[known]) or 1.0
        if apart > allowed:
            return Difference(name, apart / scale, allowed / scale)
    return None


def _norm(array: np.ndarray) -> float:
    # Of numbers whose squares overflow, too.
    largest = float(np.abs(array).max(initial=0))
    scale = largest if np.isfinite(largest) and largest else 1.0
    return scale * float(np.linalg.norm(array / scale))


AGREES = "compiled loss, gradient and metrics agree with NumPy to rounding"


def refusal(difference: Difference) -> str:
    """Say why nothing is run."""
    return (
        f"{difference}; this JAX does not compute here what the function says: install another "
        "release of jax and jaxlib, or write the function with other operations"
    )


class Inputs(NamedTuple):
    """What a run computes of at its start, and its probe with it.

    Attributes:
        params: where it starts. data: N rows.
        orders: the rows of its first batch, shape [B], and of a smaller last one where it has one.
        judged: data that it is judged on, by name.
    """

    params: PyTree
    data: PyTree
    orders: tuple[Any, ...]
    judged: dict[str, PyTree]


class Signature(NamedTuple):
    """What tells apart what is compiled apart.

    Attributes:
        structure: of the arguments. kinds: the shape and dtype of each leaf.
        default: JAX's float, of constants.
    """

    structure: Any
    kinds: tuple[tuple[tuple[int, ...], Any], ...]
    default: Any


@dataclasses.dataclass
class Program:
    """What runs do, compiled, and what they compute at their start, held against NumPy once.

    Attributes:
        call: the runs. probe: jitted, gives a dict of pytrees by name.
        plain: jitted, what the probe is held against; its own operations where None.
        largest: the largest difference beyond rounding, or None, by what runs are like.
        unverified: why such runs could not be held against NumPy, where they could not.
    """

    call: Any
    probe: Any
    plain: Any = None
    largest: dict[Signature, Difference | None] = dataclasses.field(default_factory=dict)
    unverified: dict[Signature, str] = dataclasses.field(default_factory=dict)

    def verify(
        self,
        inputs: Inputs | tuple[Any, ...],
        like: PyTree,
        compiling: Callable[[], Any] = lambda: None,
    ) -> Difference | None:
        """Hold the probe against NumPy, once for all runs of the same shapes.

        Args:
            inputs: of the probe, one for each of its arguments.
            like: arrays whose shapes and dtypes tell programs apart.
            compiling: compiles the runs meanwhile.
        """
        told_apart = signature(like)
        if told_apart not in self.largest:
            pending = begin(self.probe, *inputs, plain=self.plain)
            compiling()
            try:
                self.largest[told_apart] = next(iter(differences(pending)), None)
            except UnverifiedError as error:
                warnings.warn(f"what XLA compiled {error}", RuntimeWarning, stacklevel=2)
                self.largest[told_apart] = None
                self.unverified[told_apart] = str(error)
        return self.largest[told_apart]

    def refuse(self, inputs: Inputs, like: PyTree, compiling: Callable[[], Any]) -> str:
        """Verify, and refuse what does not agree; say how it came out.

        Raises:
            InputError: naming it.
        """
        difference = self.verify(inputs, like, compiling)
        if difference:
            raise InputError(refusal(difference))
        return self.words(like)

    def words(self, like: PyTree) -> str:
        """Say how what was verified for `like` came out, where no difference was found."""
        why = self.unverified.get(signature(like))
        return f"not verified: {why}" if why else AGREES


def signature(tree: PyTree) -> Signature:
    """Tell apart what is compiled apart."""
    leaves, structure = jax.tree.flatten(tree)
    kinds = tuple((np.shape(leaf), leaf.dtype) for leaf in leaves)
    return Signature(structure, kinds, jnp.result_type(float))

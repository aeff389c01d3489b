"""What is known of an audited gradient, and the form that a known mistake has.

Shapes: N examples; a leaf is one parameter's gradient.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, PyTree

from jaxnet import losses
from jaxnet.audit.chain import Chain
from jaxnet.audit.floats import Gradient
from jaxnet.audit.uncompiled import uncompiled

Reduction = Literal["mean", "sum", "neither"]
"""How a loss takes its examples together."""


class Leaf(NamedTuple):
    """The gradient of one parameter, in float64.

    Attributes:
        name: of the parameter, its path in the pytree.
        claimed: the claimed gradient, of whatever shape.
        true: that by autodiff.
        rounding: the norm of the error that rounding may hide.
        note: how another shape of the claim was read, in words; empty where it was not.
    """

    name: str
    claimed: Gradient
    true: Gradient
    rounding: float
    note: str = ""

    @property
    def error(self) -> float:
        """The norm of the difference; infinite where the shapes differ."""
        if self.claimed.shape != self.true.shape:
            return np.inf
        return float(np.linalg.norm(self.claimed - self.true))

    @property
    def resolution(self) -> float:
        """The smallest relative error that rounding would not hide."""
        norm = float(np.linalg.norm(self.true))
        return self.rounding / norm if norm else np.inf if self.rounding else 0.0

    @property
    def is_zero(self) -> bool:
        """Whether the true gradient is zero, but for rounding."""
        return float(np.linalg.norm(self.true)) <= self.rounding

    @property
    def noise(self) -> float:
        """What rounding may hide, relative to the larger of the claimed and the true gradient."""
        larger = max(float(np.linalg.norm(leaf)) for leaf in (self.claimed, self.true))
        return self.rounding / larger if larger else 0.0


class Case(NamedTuple):
    """What is known of an audited gradient, all in float64.

    Attributes:
        loss: `(params, batch) -> []`.
        params: where the gradient is claimed.
        batch: N examples.
        leaves: the gradient, in the order of the pytree.
        rows: N.
        dtype: of the claim, the coarsest of its leaves.
        axes: which of each leaf of the batch holds the examples; None where none does.
        chain: of fully connected layers that the loss is; None where it is none.
        reduces: how it takes its examples together, once that is known.
    """

    loss: losses.Loss
    params: PyTree
    batch: PyTree
    leaves: list[Leaf]
    rows: int
    dtype: np.dtype
    axes: tuple[int | None, ...] = ()
    chain: Chain | None = None
    reduces: Reduction | None = None

    @property
    def true(self) -> list[Gradient]:
        """The gradient by autodiff."""
        return [leaf.true for leaf in self.leaves]

    @property
    def claimed(self) -> list[Gradient]:
        """The claimed one."""
        return [leaf.claimed for leaf in self.leaves]

    @property
    def shapes_agree(self) -> bool:
        """Whether every claimed leaf has the shape of the true one."""
        return all(leaf.claimed.shape == leaf.true.shape for leaf in self.leaves)


class Truth(NamedTuple):
    """Where a claim is asked, and the gradient that is true there, by leaf.

    Attributes:
        is_other_size: whether the batch is of a size that the functions may not be written for.
    """

    params: PyTree
    batch: PyTree
    gradient: list[Gradient]
    is_other_size: bool = False


class Mistake(NamedTuple):
    """The gradient that a mistake gives one leaf.

    Attributes:
        text: the mistake in words; empty for the true gradient.
        gradient: what it gives.
        signal: whether the error signal of a layer is wrong, and not only this leaf.
        fitted: whether a number in it was fitted to the claim: every leaf that it changes must
            then bear it out.
        wrong, right: short formulas of what was done and what should have been, in the symbols
            x, z1, h1, dz1, W2, b2, dW1, N; empty where there are none.
        reason: what is to be mended, the same words in every leaf that the mistake reaches; the
            text where empty.
    """

    text: str
    gradient: Gradient
    signal: bool = False
    fitted: bool = False
    wrong: str = ""
    right: str = ""
    reason: str = ""


Tier = dict[int, list[Mistake]]
"""Mistakes to compare, by leaf."""


class Factor(NamedTuple):
    """A number that a gradient may be off by, and what that means.

    Attributes:
        number: the factor. text: what it means, in words.
        formula: what it makes of the formula of a gradient; empty where there is none.
        steps: how many things must have gone wrong for it.
        of_rows: whether it hangs on N.
        is_rate: whether it is one of many numbers, as of a learning rate.
    """

    number: float
    text: str
    formula: str
    steps: int = 1
    of_rows: bool = False
    is_rate: bool = False


def reduction(case: Case) -> Reduction:
    """Tell whether a loss is a mean over its examples or a sum, by giving it each one twice."""
    if case.reduces:
        return case.reduces
    doubled = _try_gradients(case, take(case.batch, case.axes, [*range(case.rows)] * 2))
    if doubled is not None:
        # Without what does not come of the examples, such as a penalty.
        rest = case.chain.rest if case.chain else {}
        once, twice = (
            [np.asarray(each - rest.get(i, 0.0)) for i, each in enumerate(leaves)]
            for leaves in (case.true, doubled)
        )
        if close(twice, once):
            return "mean"
        if close(twice, once, 2.0):
            return "sum"
    return "neither"


def take(batch: PyTree, axes: Sequence[int | None], rows: Sequence[int] | np.ndarray) -> PyTree:
    """Give these examples of a batch, whose leaves hold them along the given axes."""

    def taken(leaf: Any, axis: int | None) -> Any:
        if axis is None:
            return leaf
        chosen = np.take(np.asarray(leaf), np.asarray(rows), axis)
        return jax.device_put(chosen) if isinstance(leaf, jax.Array) else chosen

    leaves, tree = jax.tree.flatten(batch)
    return jax.tree.unflatten(tree, map(taken, leaves, axes))


def _try_gradients(case: Case, batch: PyTree) -> list[Gradient] | None:
    """Give the gradient over another batch, where the loss takes one of that size."""
    try:
        return [np.asarray(leaf) for leaf in gradients_of(case.loss, case.params, batch)]
    except Exception:  # a loss written for its own batch may fail in any way
        return None


@uncompiled(0)
def gradients_of(loss: losses.Loss, params: PyTree, batch: PyTree) -> list[Array]:
    """Differentiate a loss, leaf by leaf."""
    return jax.tree.leaves(jax.grad(loss)(params, batch))


def reshaped(gradient: Gradient) -> dict[str, Gradient]:
    """Give a matrix as its transposed is when reshaped to fit, by rows or columns, in words."""
    if gradient.ndim != 2 or gradient.shape[0] == gradient.shape[1] or 1 in gradient.shape:
        return {}
    text = "transposed and then reshaped to fit, its entries out of place"
    shape = gradient.shape
    return {
        text: gradient.T.reshape(shape),
        f"{text}, column by column": gradient.reshape(shape[::-1]).T,
    }


def close(these: list[Gradient], those: list[Gradient], scale: float = 1.0) -> bool:
    """Whether one gradient is so many times another, but for rounding; never where not finite."""
    if not all(np.isfinite(each).all() for each in these):
        return False
    # What cancels in one leaf leaves rounding of what it was made of, as large as others.
    rounding = 1e-12 * max((np.abs(each).max(initial=0) for each in these), default=0.0)
    return all(
        np.allclose(a, scale * b, rtol=1e-6, atol=1e-9 * np.abs(a).max(initial=0) + rounding)
        for a, b in zip(these, those, strict=True)
    )

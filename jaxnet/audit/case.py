"""What is known of an audited gradient, and the form that a known mistake has.

Shapes: N examples; a leaf is one parameter's gradient.
"""

import functools
from typing import Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float64, PyTree

from jaxnet import losses

Gradient = Float64[np.ndarray, "..."]


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


class Case(NamedTuple):
    """What is known of an audited gradient, all in float64.

    Attributes:
        loss: `(params, batch) -> []`.
        params: where the gradient is claimed.
        batch: N examples.
        leaves: the gradient, in the order of the pytree.
        rows: N.
        dtype: of the claim, the coarsest of its leaves.
    """

    loss: losses.Loss
    params: PyTree
    batch: PyTree
    leaves: list[Leaf]
    rows: int
    dtype: np.dtype

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


class Mistake(NamedTuple):
    """The gradient that a mistake gives one leaf.

    Attributes:
        text: the mistake in words; empty for the true gradient.
        gradient: what it gives.
        signal: whether the error signal of a layer is wrong, and not only this leaf.
        any_factor: whether a constant factor without a name is evidence too.
        fitted: whether a number in it was fitted to the claim.
    """

    text: str
    gradient: Gradient
    signal: bool = False
    any_factor: bool = False
    fitted: bool = False


Tier = dict[int, list[Mistake]]
"""Mistakes to compare, by leaf."""


def reduction(case: Case) -> Literal["mean", "sum", "neither"]:
    """Tell whether a loss is a mean over its examples or a sum, by giving it each one twice."""
    twice = jax.tree.map(lambda leaf: np.concatenate([leaf, leaf]), case.batch)
    doubled = _try_gradients(case, twice)
    if doubled is not None:
        if close(doubled, case.true):
            return "mean"
        if close(doubled, case.true, 2.0):
            return "sum"
    return "neither"


def _try_gradients(case: Case, batch: PyTree) -> list[Gradient] | None:
    """Give the gradient over another batch, where the loss takes one of that size."""
    try:
        return [np.asarray(leaf) for leaf in _gradients(case.loss, case.params, batch)]
    except Exception:  # a loss written for its own batch may fail in any way
        return None


@functools.partial(jax.jit, static_argnums=0)
def _gradients(loss: losses.Loss, params: PyTree, batch: PyTree) -> list[Array]:
    return jax.tree.leaves(jax.grad(loss)(params, batch))


def close(these: list[Gradient], those: list[Gradient], scale: float = 1.0) -> bool:
    """Whether one gradient is so many times another, but for rounding."""
    return all(
        np.allclose(a, scale * b, rtol=1e-6, atol=1e-9 * np.abs(a).max(initial=0))
        for a, b in zip(these, those, strict=True)
    )

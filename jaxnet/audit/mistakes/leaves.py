"""Mistakes in one leaf, whatever the loss: misplaced, not summed.

Shapes: N examples.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from jaxnet import losses
from jaxnet.audit.case import Case, Mistake, Tier, close, reduction
from jaxnet.audit.floats import Gradient
from jaxnet.audit.mistakes.places import spoken_axes
from jaxnet.audit.uncompiled import uncompiled

# Per-example gradients of more numbers than this are not formed.
MOST = 2**24
# Counts of rows that are told.
_SHOWN = 6
# So many entries that are right show that those beside them are meant to be.
_TELLING = 4


def unsummed(case: Case) -> Tier:
    """Sums over the batch that were left out, or taken over something else."""
    tier: Tier = {}
    mean = reduction(case) == "mean"
    # A batch of one is its own sum.
    for index, each in enumerate(_per_example(case) if case.rows > 1 else ()):
        tier[index] = [Mistake("not summed over the batch", each)]
        # Single numbers of one size or another, as of counts, are the claim by chance.
        alike = each[0].size == 1 and len(np.unique(np.abs(each).round(12))) <= case.rows / 2
        for row in {0, case.rows - 1} if not alike else ():
            alone = f"not summed over the batch: example {row} alone"
            tier[index].append(Mistake(alone, each[row]))
            if mean:
                shared = each[row] / case.rows
                tier[index].append(Mistake(f"{alone}, divided by the batch size", shared))
        if each.ndim == 2:
            tier[index].append(
                Mistake("summed over its entries instead of over the batch", each.sum(1))
            )
            for shape in ((), each.shape[1:]):
                everything = np.full(shape, case.true[index].sum())
                tier[index].append(Mistake("summed over its entries as well", everything))
    return tier


@uncompiled(0, 3)
def _example_gradients(
    loss: losses.Loss, params: PyTree, batch: PyTree, axes: tuple[int | None, ...]
) -> list[Array]:
    leaves, tree = jax.tree.flatten(batch)

    def gradient(rows: list[Array]) -> PyTree:
        rows = [
            leaf if axis is None else jnp.expand_dims(leaf, axis)
            for leaf, axis in zip(rows, axes, strict=True)
        ]
        return jax.grad(loss)(params, jax.tree.unflatten(tree, rows))

    return jax.tree.leaves(jax.vmap(gradient, in_axes=(list(axes),))(leaves))


def _per_example(case: Case) -> list[Gradient]:
    """Give the gradient of each example, [N, ...]; none where the loss is not made of them."""
    try:
        each = _example_gradients(case.loss, case.params, case.batch, case.axes)
    except Exception:  # a loss written for its own batch may fail in any way
        return []
    each = [np.asarray(leaf) for leaf in each]
    totals = [np.asarray(leaf.sum(0)) for leaf in each]
    adds_up = any(close(totals, case.true, scale) for scale in (1.0, float(case.rows)))
    return each if adds_up else []


AS_GIVEN = "formed with the inputs as they are given, not as the loss changes them"


def unscaled(case: Case) -> Tier:
    """The first weight's gradient, of inputs that the loss divides by a number or standardises."""
    chain = case.chain
    if chain is None or chain.raw is None:
        return {}
    first = chain.layers[0]
    gradient = chain.weight_gradient(first, chain.signals[0], chain.raw)
    return {first.weight_leaf: [Mistake(AS_GIVEN, gradient)]}


def counted(case: Case) -> Tier:
    """Rows that are each divided by a number of their own, as by the count of their examples."""
    tier: Tier = {}
    for index, leaf in enumerate(case.leaves if reduction(case) == "mean" else ()):
        if leaf.claimed.shape != leaf.true.shape or leaf.true.ndim != 2:
            continue
        square = np.einsum("ki,ki->k", leaf.claimed, leaf.claimed)
        counts = case.rows * np.einsum("ki,ki->k", leaf.true, leaf.claimed) / square
        whole = np.clip(np.round(counts), 1, 2 * case.rows)
        used = square > 0
        if used.any() and np.allclose(counts[used], whole[used], 1e-6) and np.ptp(whole[used]):
            wrong = case.rows * leaf.true / np.where(used, whole, 1.0)[:, None]
            numbers = ", ".join(f"{each:.0f}" for each in whole[used][:_SHOWN])
            text = f"each row divided by a number of its own, {numbers}, not by the batch size"
            tier[index] = [Mistake(text, wrong, fitted=True)]
    return tier


def misplaced(case: Case) -> Tier:
    """Leaves that hold the gradient of another parameter."""
    return {
        index: [
            Mistake(f"the gradient of {other.name} instead", other.true)
            for other in case.leaves
            if other is not leaf and other.true.shape == leaf.claimed.shape and other.true.size >= 2
        ]
        for index, leaf in enumerate(case.leaves)
    }


def unreached(case: Case) -> Tier:
    """Entries that the loss does not hang on, which have a gradient all the same."""
    tier: Tier = {}
    for index, leaf in enumerate(case.leaves):
        used = leaf.true != 0
        if leaf.claimed.shape != used.shape or used.all() or used.sum() < _TELLING:
            continue
        rows = np.flatnonzero(~used.reshape(len(used), -1).any(1)) if used.ndim > 1 else []
        whole = used.ndim > 1 and used[np.setdiff1d(np.arange(len(used)), rows)].all()
        shown = ", ".join(map(str, rows[:_SHOWN]))
        which = f"row{'s' if len(rows) > 1 else ''} {shown}" if whole else "entries"
        text = f"a gradient given to {which}, which the loss does not hang on"
        tier[index] = [Mistake(text, np.where(used, leaf.true, leaf.claimed))]
    return tier


def unspread(case: Case) -> Tier:
    """Gradients of the shape that a parameter was broadcast to."""
    tier: Tier = {}
    for index, leaf in enumerate(case.leaves):
        more = leaf.claimed.ndim - leaf.true.ndim
        own = (1,) * more + leaf.true.shape
        axes = [k for k, size in enumerate(own) if size == 1 and leaf.claimed.shape[k] > 1]
        if more < 0 or not axes or leaf.true.size < _TELLING:
            continue
        summed = leaf.claimed.sum(tuple(axes), keepdims=True)
        if summed.shape == own and close([summed.reshape(leaf.true.shape)], [leaf.true]):
            which = spoken_axes(tuple(axes))
            text = f"not summed over {which}, along which the parameter was broadcast"
            tier[index] = [Mistake(text, leaf.claimed)]
    return tier

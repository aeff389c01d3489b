"""A claim measured: against autodiff in float64, and what rounding may hide of it.

Shapes: N examples.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from jaxnet import losses
from jaxnet._guards import checks
from jaxnet.audit import entry, examples, forms, layers
from jaxnet.audit.case import Case, Leaf
from jaxnet.audit.floats import Gradient, cast, epsilon
from jaxnet.audit.numpy_loss import NumPyLoss
from jaxnet.audit.uncompiled import uncompiled
from jaxnet.errors import InputError

# Draws of rounding noise, and how many times their largest effect is still called rounding.
_DRAWS = 4
_MARGIN = 16
# Relative: so far apart that what is rounded on the way is rounded anew, and so close together that
# a gradient is straight in between.
_APART = 1e-9


def measure(loss: losses.Loss, params: PyTree, batch: PyTree, claimed: PyTree) -> Case:
    """Widen everything to float64, differentiate, and measure what rounding may hide."""
    claims = _claims(claimed, jax.tree.structure(params))
    kinds = [np.dtype(leaf.dtype) for leaf in claims if jnp.issubdtype(leaf.dtype, jnp.floating)]
    dtype = max(kinds, key=epsilon, default=np.dtype(np.float64))
    narrow = cast((params, batch), dtype)
    params, batch = cast((params, batch))
    # All of it in one precision: traces of the loss made in another would be found and used.
    with jax.enable_x64(True):
        coarsest = max(map(epsilon, (dtype, entry.dtype_of(loss, params, batch))))
        drawn = _drawn(loss, params, batch, coarsest)
    true = [np.asarray(leaf[0]) for leaf in drawn]
    rounding = []
    own_gradients = _own_gradients(loss, narrow, dtype, true)
    doubts = loss.doubts(params, batch) if isinstance(loss, NumPyLoss) else [0.0] * len(true)
    for leaf, own, doubt in zip(drawn, own_gradients, doubts, strict=True):
        noise = max(np.linalg.norm(other - leaf[0]) for other in (*leaf[1:], own))
        rounding.append(_MARGIN * float(noise + coarsest * np.linalg.norm(leaf[0])) + doubt)
    names = [checks.path("", params, index) or "params" for index in range(len(true))]
    wide = [np.asarray(leaf, np.float64) for leaf in claims]
    wide, notes = zip(*map(forms.read_by_value, wide, [leaf.shape for leaf in true]), strict=True)
    leaves = [Leaf(*each) for each in zip(names, wide, true, rounding, notes, strict=True)]
    case = Case(loss, params, batch=batch, leaves=leaves, rows=0, dtype=dtype)
    with jax.enable_x64(True):
        chain = layers.chain_of(case)
        # Where no network tells along which axes the examples are, the shapes do.
        axes = chain.axes if chain else examples.axes(loss, params, batch)
    return case._replace(rows=examples.count(batch, axes), axes=axes, chain=chain)


def _claims(claimed: PyTree, tree: Any) -> list[Any]:
    """Give the leaves of a claim, refused where they are no gradient of such parameters."""
    structure = jax.tree.structure(claimed)
    if structure != tree:
        raise InputError(f"claimed: expected the structure of params, {tree}, got {structure}")
    leaves = checks.leaves("claimed", claimed)
    if any(jnp.issubdtype(leaf.dtype, jnp.complexfloating) for leaf in leaves):
        raise InputError("claimed: expected real gradients, got complex ones; take their real part")
    return leaves


def _drawn(loss: losses.Loss, params: PyTree, batch: PyTree, rounding: float) -> list[Gradient]:
    """Give each leaf's gradients: the first as it is, the others under rounding of the inputs.

    The last ones are off by what is rounded on the way, as in 1 - p where p is close to 1: by how
    far gradients along a line are from straight.
    """
    random = np.random.default_rng(0)
    sizes = np.array([rounding] * _DRAWS + [_APART * step for step in range(1, _DRAWS + 2)])

    def draws(leaf: np.ndarray) -> np.ndarray:
        stacked = np.repeat(leaf[None], len(sizes) + 1, 0)
        if np.issubdtype(leaf.dtype, np.floating):
            # Whole numbers have no rounding, and may be labels or rows of a table.
            moves = random.uniform(-1, 1, stacked[1:].shape) * (leaf != np.round(leaf))
            moves[_DRAWS:] = moves[-1]
            stacked[1:] *= 1 + sizes.reshape(-1, *[1] * leaf.ndim) * moves
        return stacked

    values, grads = _draw(loss, *jax.tree.map(draws, (params, batch)))
    grads = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(grads)]
    if not all(np.isfinite(leaf).all() for leaf in (values, *grads)):
        raise InputError(
            f"loss: expected a loss and a gradient that are finite at params, got {values[0]}, "
            "or a gradient that is not; audit where the loss is finite and smooth"
        )
    first, line = 1 + _DRAWS, [0, *range(1 + _DRAWS, 1 + len(sizes))]
    return [np.concatenate([leaf[:first], leaf[0] + np.diff(leaf[line], 2, 0)]) for leaf in grads]


def _own_gradients(
    loss: losses.Loss, narrow: Any, dtype: np.dtype, true: list[Gradient]
) -> list[Gradient]:
    """Differentiate in the claim's own precision, on the device, as a right claim would have."""
    if dtype == np.float64:
        return true
    try:
        with jax.enable_x64(False):
            own = jax.device_get(_on_device(loss, *narrow))
    except TypeError:
        # JAX may find the traces of the other precision, where the loss has constants.
        return true
    return [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(own)]


@functools.partial(jax.jit, static_argnums=0)
def _on_device(loss: losses.Loss, params: PyTree, batch: PyTree) -> PyTree:
    return jax.grad(loss)(params, batch)


@uncompiled(0)
def _draw(loss: losses.Loss, params: PyTree, batch: PyTree) -> tuple[Array, PyTree]:
    return jax.vmap(jax.value_and_grad(loss))(params, batch)


def rounded_as(case: Case, other: Case) -> Case:
    """Take what rounding may hide from parameters beside a kink: at it rounding picks a side."""
    both = zip(case.leaves, other.leaves, strict=True)
    leaves = [leaf._replace(rounding=min(leaf.rounding, beside.rounding)) for leaf, beside in both]
    return case._replace(leaves=leaves)

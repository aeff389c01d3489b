"""The places where a line that corrects a claim has to prove true.

Other parameters, and a batch of another size.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from jaxnet.audit import entry
from jaxnet.audit.case import Case, Truth, gradients_of, take
from jaxnet.audit.factors import another_size
from jaxnet.audit.numpy_loss import NumPyLoss
from jaxnet.audit.rows import Correction, Verdict
from jaxnet.audit.uncompiled import carried_out

# Of more examples than these the first few are enough to correct a function by.
_MANY, _FEW = 500, 24


def corrections(
    case: Case, asked: entry.Entry, verdicts: Sequence[Verdict]
) -> tuple[Correction, ...]:
    """Look for the lines of a claim that are wrong, where it is a function."""
    if asked.ask is None or asked.quick is None or asked.written is None:
        return ()
    from jaxnet.audit.corrections import find  # seldom needed

    random = np.random.default_rng(0)

    def near(leaf: np.ndarray) -> np.ndarray:
        scale = float(np.abs(leaf).mean()) or 0.1  # what starts at zero moves too
        return leaf * random.uniform(0.7, 1.3, leaf.shape) + scale * random.uniform(
            -0.1, 0.1, leaf.shape
        )

    def shuffled(leaf: np.ndarray) -> np.ndarray:
        signs = random.choice([-1, 1], leaf.shape)
        return random.permutation(leaf.ravel()).reshape(leaf.shape) * signs

    def elsewhere() -> list[Truth]:
        with jax.disable_jit(asked.is_long):
            changes = (near, shuffled, np.negative)
            moved = [jax.tree.map(each, case.params) for each in changes]
            found = [_truth(case, asked, params, batch) for params in moved]
            other = _truth(case, asked, moved[0], another_size(few, batch))
            found += [other._replace(is_other_size=True)] if other else []
        return [each for each in found if each]

    few = case._replace(rows=case.rows if case.rows <= _MANY else _FEW)
    batch = take(case.batch, case.axes, range(few.rows))
    here = _truth(case, asked, case.params, batch)
    if here is None:
        return ()
    loss = functools.partial(carried_out, case.loss)
    if isinstance(case.loss, NumPyLoss):
        loss = case.loss.function
    right = [verdict == "right" for verdict in verdicts]
    with jax.enable_x64(True):
        asks = asked.ask, asked.quick
        found = find(asked.written, asks, here, elsewhere, loss=loss, right=right)
    return tuple(found)


def _truth(case: Case, asked: entry.Entry, params: PyTree, batch: PyTree) -> Truth | None:
    """Differentiate elsewhere; None where there is no gradient."""

    def like(leaf: Any, given: Any) -> Any:
        return jax.device_put(leaf) if isinstance(given, jax.Array) else leaf

    try:
        if isinstance(case.loss, NumPyLoss):
            case.loss.function(params, batch)  # where it fails, JAX would say so in a log
        with jax.enable_x64(True):
            gradient = [np.asarray(leaf) for leaf in gradients_of(case.loss, params, batch)]
            params = jax.tree.map(like, params, asked.params)
            batch = jax.tree.map(like, batch, asked.batch)
    except Exception:  # a loss written for its own batch may fail in any way
        return None
    finite = all(np.isfinite(leaf).all() for leaf in gradient)
    return Truth(params, batch, gradient) if finite else None

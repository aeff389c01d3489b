"""Finite differences, the referee of autodiff.

Shapes: P numbers in all parameters; D probed directions; K step sizes.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from jaxnet import losses
from jaxnet.audit.case import Case
from jaxnet.audit.floats import Gradient
from jaxnet.audit.numpy_loss import NumPyLoss
from jaxnet.audit.uncompiled import uncompiled

# Leaves up to this size are probed entry by entry, larger ones along this many random directions.
_PROBE_ALL = 32
_PROBES = 4
# Relative to the size of what is moved.
_STEP_SIZES = tuple(10.0**-k for k in range(1, 9))
# Where autodiff is refuted it is heard again so far beside the parameters, and its gradients are
# drawn from so close around them, so many times; both relative to the size of a parameter.
_BESIDE, _AROUND, _DRAWS = 1e-3, 1e-6, 16
# Numbers that may be in flight at once.
_TOGETHER = 2**22


class Outcome(NamedTuple):
    """What finite differences say of autodiff in one leaf.

    Attributes:
        difference: the largest disagreement, relative to the norm of the whole gradient; nan
            where differences are too coarse to tell.
        refuted: how autodiff is refuted; empty where it is not.
        kink: the least and the largest gradient on the sides of a kink at the parameters, between
            which autodiff's is; None where there is no kink.
    """

    difference: float
    refuted: Literal["", "kink", "override"] = ""
    kink: tuple[Gradient, Gradient] | None = None

    def allows(self, claimed: Gradient, true: Gradient, rounding: float) -> bool:
        """Whether a gradient is one that the loss has at its kink, and the true one elsewhere."""
        if self.kink is None or claimed.shape != true.shape:
            return False
        low, high = self.kink
        width = high - low
        kinked = width > 1e-3 * np.maximum(np.abs(low), np.abs(high)).max(initial=0)
        between = (low - width <= claimed) & (claimed <= high + width)
        return float(np.linalg.norm((claimed - true)[~(kinked & between)])) <= rounding


class _Slopes(NamedTuple):
    """Central differences `[D, K]` along directions.

    Attributes:
        slopes: of the loss.
        bends: by how much the slopes ahead and behind differ.
        doubts: how far a slope may be off; infinite where it says nothing.
    """

    slopes: np.ndarray
    bends: np.ndarray
    doubts: np.ndarray


def referee(case: Case) -> list[Outcome]:
    """Hold autodiff against finite differences, leaf by leaf.

    Where they disagree and autodiff is right close by, the parameters are at a kink of the loss:
    there autodiff is held against the gradients on all sides.
    """
    outcomes = _compare(case)
    if not any(outcome.refuted for outcome in outcomes):
        return outcomes
    there = beside(case)
    grads = _gradients_at(case, jax.tree.map(lambda leaf: leaf[None], there))
    leaves = [leaf._replace(true=true[0]) for leaf, true in zip(case.leaves, grads, strict=True)]
    again = _compare(case._replace(params=there, leaves=leaves))
    sides = _gradients_at(case, _moved(case, _AROUND, _DRAWS))
    heard = zip(outcomes, again, case.true, sides, strict=True)
    return [_hear(*each) for each in heard]


def beside(case: Case) -> PyTree:
    """Give parameters close to those of a case, but at no kink."""
    return jax.tree.map(lambda leaf: leaf[0], _moved(case, _BESIDE, 1))


def _hear(first: Outcome, again: Outcome, true: Gradient, sides: Gradient) -> Outcome:
    """Settle whether autodiff that was refuted is right at a kink, by the gradients beside it."""
    if not first.refuted or again.refuted:
        return first._replace(refuted="override" if first.refuted else "")
    low, high = sides.min(0), sides.max(0)
    # The sides are taken a little off; where many kinks meet, only some of them are drawn.
    slack = high - low + 1e-4 * np.abs(sides).max(initial=0)
    if ((low - slack <= true) & (true <= high + slack)).all():
        return Outcome(first.difference, kink=(low, high))
    return first._replace(refuted="kink")


def _moved(case: Case, distance: float, draws: int) -> PyTree:
    """Give so many parameters at random, so far from those of the case; stacked."""
    random = np.random.default_rng(2)

    def move(leaf: Gradient) -> Gradient:
        size = np.sqrt(np.mean(np.square(leaf))) or 1.0
        return leaf + distance * size * random.normal(size=(draws, *leaf.shape))

    return jax.tree.map(move, case.params)


def _gradients_at(case: Case, params: PyTree) -> list[Gradient]:
    """Give the gradients at stacked parameters, stacked."""
    with jax.enable_x64(True):
        return [np.asarray(leaf, np.float64) for leaf in _gradients(case.loss, params, case.batch)]


@uncompiled(0)
def _gradients(loss: losses.Loss, params: PyTree, batch: PyTree) -> list[Array]:
    return jax.tree.leaves(jax.vmap(jax.grad(loss), in_axes=(0, None))(params, batch))


def _compare(case: Case) -> list[Outcome]:
    """Hold autodiff against central differences of several step sizes, leaf by leaf.

    Truncation falls with the square of the step size and rounding grows with its inverse: how far
    neighbouring step sizes disagree bounds both, and autodiff must agree at one to within that.
    """
    flat = np.concatenate([leaf.ravel() for leaf in case.true])
    spans, owners = _spans([leaf.size for leaf in case.true])
    signs = np.random.default_rng(1).choice([-1.0, 1.0], (_PROBES, len(flat)))
    slopes, bends, doubts = _slopes(case, spans, signs)
    whole = max(float(np.linalg.norm(flat)), np.finfo(float).tiny)
    along = np.array([flat[a:b] @ signs[draw, a:b] / np.sqrt(b - a) for a, b, draw in spans])
    apart = np.abs(slopes - along[:, None])
    # Large steps may agree with each other across a kink nearby: any fine step size is heard.
    fine = doubts <= np.maximum(1e-5 * whole, doubts.min(1, keepdims=True))
    best = (np.arange(len(spans)), np.where(fine, apart, np.inf).argmin(1))
    apart, doubt, slope, bend = apart[best], doubts[best], slopes[best], bends[best]
    # Where the loss does not move and autodiff says so too, they agree.
    apart, doubt = np.where((along == 0) & (doubt == np.inf), 0, (apart, doubt))
    denied = (doubt < np.inf) & (apart > 10 * np.minimum(doubt, whole) + 1e-9 * whole)
    outcomes = []
    for index in range(len(case.leaves)):
        mine = owners == index
        coarse = (mine & (doubt > 1e-2 * whole)).any()
        kinked = (bend > np.abs(slope) / 10)[denied & mine]
        most = float(apart[mine].max(initial=0) / whole)
        if kinked.size:
            outcomes.append(Outcome(most, "kink" if kinked.all() else "override"))
        else:
            outcomes.append(Outcome(float("nan") if coarse else most))
    return outcomes


def _slopes(case: Case, spans: np.ndarray, signs: np.ndarray) -> _Slopes:
    """Probe the loss along directions, and doubt each step size by its neighbours."""
    moved = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(case.params)])
    sizes = np.array([np.sqrt(np.mean(moved[a:b] ** 2)) for a, b, _ in spans])
    sizes[sizes == 0] = 1
    asked = case.params, case.batch, spans, sizes, signs
    with jax.enable_x64(True):
        # The verdict on a loss of NumPy's rests on itself, not on what it was traced to.
        if isinstance(case.loss, NumPyLoss):
            probed = case.loss.probe(*asked, _STEP_SIZES)
        else:
            probed = _probe(case.loss, *asked)
        epsilon = float(jnp.finfo(np.asarray(probed[0]).dtype).eps)
    value, ahead, behind = (np.asarray(side, np.float64) for side in jax.device_get(probed))
    steps = sizes[:, None] * np.array(_STEP_SIZES)
    slopes = (ahead - behind) / (2 * steps)
    change = np.abs(np.diff(slopes))
    doubts = np.maximum(change[:, :-1], change[:, 1:])
    doubts += 8 * epsilon * abs(value) / steps[:, 1:-1]
    # A loss that does not move at all, as one of few bits, says nothing.
    still = (ahead == behind)[:, 1:-1] | ~np.isfinite(doubts)
    bends = np.abs(ahead + behind - 2 * value) / steps
    return _Slopes(slopes[:, 1:-1], bends[:, 1:-1], np.where(still, np.inf, doubts))


def _spans(sizes: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Give the directions `[D, 3]`, each a span of the flat parameters and a draw of signs."""
    spans, owners, first = [], [], 0
    for index, size in enumerate(sizes):
        if size <= _PROBE_ALL:
            spans += [(first + k, first + k + 1, 0) for k in range(size)]
        else:
            spans += [(first, first + size, draw) for draw in range(_PROBES)]
        owners += [index] * (len(spans) - len(owners))
        first += size
    return np.array(spans, np.int32), np.array(owners)


@uncompiled(0)
def _probe(
    loss: losses.Loss, params: PyTree, batch: PyTree, spans: Array, sizes: Array, signs: Array
) -> tuple[Float[Array, ""], Float[Array, "D K"], Float[Array, "D K"]]:
    """Give the loss, and a step ahead and behind along each direction for each step size."""
    flat, unravel = ravel_pytree(params)
    place = jnp.arange(flat.size, dtype=spans.dtype)

    def at(probe: tuple[Array, Array]) -> Array:
        (first, last, draw), step = probe
        direction = jnp.where((place >= first) & (place < last), signs[draw], 0.0)
        direction /= jnp.sqrt((last - first).astype(flat.dtype))
        return loss(unravel(flat + step * direction), batch)

    # One list of all, so that the loss is compiled for it once.
    steps = sizes[:, None, None] * np.multiply.outer(_STEP_SIZES, (1.0, -1.0))[None]
    numbers = flat.size + sum(leaf.size for leaf in jax.tree.leaves(batch))
    together = max(1, min(steps.size, _TOGETHER // numbers))
    spans = jnp.repeat(spans, steps[0].size, 0)
    probed = jax.lax.map(at, (spans, steps.ravel()), batch_size=together).reshape(steps.shape)
    return loss(params, batch), probed[..., 0], probed[..., 1]

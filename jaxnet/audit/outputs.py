"""What follows the last layer of a network, told by its error signal.

Shapes: N examples, O outputs.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnet.audit.chain import Output, applied, slope_of
from jaxnet.audit.floats import Gradient
from jaxnet.network import Activation

ACTIVATIONS: dict[str, Activation] = {
    "identity": lambda z: z,
    "sigmoid": jax.nn.sigmoid,
    "softmax": jax.nn.softmax,
    "tanh": jnp.tanh,
    "ReLU": jax.nn.relu,
    "softplus": jax.nn.softplus,
    "exp": jnp.exp,
    "sin": jnp.sin,
}
"""What output layers end in, by name; softmax takes the outputs of an example together."""

# What a signal may differ by, relative to its norm, and still be one: that of a small number in a
# logarithm to keep it finite.
_APART = 1e-6
# Fewer entries than this fit any signal up to a factor: only usual ones are believed.
_FEW = 4


class _Kind(NamedTuple):
    """A loss of `p = g(z)`: its name, its derivative in p, and g under which that is `p - y` in z.

    Attributes:
        signed: whether its targets may be -1 and 1.
    """

    name: Any
    slope: Callable[[Gradient, Gradient], Gradient]
    natural: str = ""
    signed: bool = False


def _hinges(p: Gradient, y: Gradient) -> Gradient:
    """Give the derivative of the hinge loss of several classes, in one-hot targets."""
    violated = (p - (p * y).sum(1, keepdims=True) + 1 > 0) & (y == 0)
    return violated - y * violated.sum(1, keepdims=True)


def _hinge(p: Gradient, y: Gradient) -> Gradient:
    """Give the derivative of the hinge loss of two classes, 0 and 1 for -1 and 1."""
    signs = 2 * y - 1
    return -signs * (signs * p < 1)


_KINDS = (
    _Kind("cross-entropy", lambda p, y: -y / p, "softmax"),
    _Kind("binary cross-entropy", lambda p, y: (p - y) / (p * (1 - p)), "sigmoid", signed=True),
    _Kind("squared error", lambda p, y: p - y),
    _Kind("absolute error", lambda p, y: np.sign(p - y)),
    _Kind("Huber loss", lambda p, y: np.clip(p - y, -1, 1)),
    _Kind("log-cosh", lambda p, y: np.tanh(p - y)),
    _Kind("hinge loss", _hinge, signed=True),
    _Kind("multiclass hinge loss", _hinges),
)


def recognise(
    z: Gradient, delta: Gradient, leaves: Sequence[Any], axes: Sequence[int | None]
) -> Output | None:
    """Find the activation and the loss whose error signal is that of the output layer.

    Args:
        z: shape [N, O]. delta: shape [N, O], the gradient of the whole loss in z.
        leaves: of the batch. axes: which of each holds the examples.
    """
    norm = np.linalg.norm(delta)
    targets = [y for pair in zip(leaves, axes, strict=True) for y in _targets(*pair, z.shape)]
    for name, activation in ACTIVATIONS.items() if targets and norm else ():
        p = applied(activation, z)
        for kind in _KINDS:
            for given in targets:
                y = (given + 1) / 2 if kind.signed and given.min() < 0 else given
                textbook = signal(name, kind, z, p, y)
                if not np.isfinite(textbook).all():
                    continue
                scale = float(np.vdot(textbook, delta) / max(np.vdot(textbook, textbook), 1e-300))
                if not scale > 0 or not np.linalg.norm(delta - scale * textbook) < _APART * norm:
                    continue
                if z.size >= _FEW or _is_usual(scale, z.shape):
                    return Output(name, kind.name, y, p, scale)
    return None


def signal(name: str, kind: _Kind, z: Gradient, p: Gradient, y: Gradient) -> Gradient:
    """Give the textbook error signal in z, [N, O]."""
    if name == kind.natural:
        return p * (y.sum(1, keepdims=True) if name == "softmax" else 1) - y
    with np.errstate(all="ignore"):
        back = kind.slope(p, y)
        if name == "softmax":
            return p * (back - (p * back).sum(1, keepdims=True))
        return back * slope_of(ACTIVATIONS[name], z)


def _targets(leaf: Any, axis: int | None, shape: tuple[int, ...]) -> Iterator[Gradient]:
    """Give what of a batch may be targets [N, O], labels as one-hot."""
    array = np.asarray(leaf, np.float64)
    if axis is None and shape[0] == 1:
        # One example may come without an axis.
        array, axis = array[None], 0
    if axis is None or array.shape[axis] != shape[0]:
        return
    rows = np.moveaxis(array, axis, 0).reshape(shape[0], -1)
    if rows.shape == shape:
        yield rows
    elif rows.shape[1] == 1 and np.isin(rows, np.arange(shape[1])).all():
        yield np.eye(shape[1])[rows[:, 0].astype(int)]


def _is_usual(scale: float, shape: tuple[int, ...]) -> bool:
    rows, outputs = shape
    usual = [k / n / o for k in (0.5, 1, 2) for n in (1, rows) for o in (1, outputs)]
    return bool(np.isclose(scale, usual, rtol=_APART).any())

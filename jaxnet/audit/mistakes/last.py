"""The output layer, seen from its error signal, and what wrong signals are made of.

Shapes: N examples, O outputs.
"""

from typing import NamedTuple

import numpy as np

from jaxnet.audit.chain import Chain, Output, slope_of
from jaxnet.audit.floats import Gradient
from jaxnet.audit.mistakes.rules import Rule, made
from jaxnet.audit.mistakes.slopes import SLOPES, sigmoid
from jaxnet.audit.outputs import ACTIVATIONS


class Last(NamedTuple):
    """The output layer, seen from its error signal.

    Attributes:
        z, p, y: shape [N, O]. delta: shape [N, O], the right signal, for a scale of 1.
        chain: that it ends. output: what it is followed by.
    """

    z: Gradient
    p: Gradient
    y: Gradient
    delta: Gradient
    chain: Chain
    output: Output

    @property
    def error(self) -> Gradient:
        """`p - y`."""
        return self.p - self.y

    @property
    def hidden(self) -> Gradient:
        """The derivative of the hidden activation at z."""
        return slope_of(self.chain.layers[-1].activation, self.z)

    @property
    def natural(self) -> bool:
        """Whether the right signal is `p - y`, the activation's derivative cancelled."""
        return not apart(self.delta, self.error)

    @property
    def mixed(self) -> str:
        """What begins the words for a derivative that is another loss's."""
        both = f"{self.output.activation} and {self.output.loss} mixed up: "
        return both if self.crossed else ""

    @property
    def crossed(self) -> bool:
        """Whether the loss is a cross-entropy."""
        return "cross-entropy" in self.output.loss


def apart(these: Gradient, those: Gradient) -> bool:
    """Whether two signals are not one."""
    return not np.allclose(these, those, rtol=1e-9, atol=1e-12)


def softmax(z: Gradient, axis: int | None = 1) -> Gradient:
    """Give the softmax along an axis, or of all numbers."""
    exponential = np.exp(z - z.max(axis, keepdims=True))
    return exponential / exponential.sum(axis, keepdims=True)


def signs(last: Last) -> Gradient:
    """Give the targets as -1 and 1; a ValueError where they are not of two classes."""
    if not np.isin(last.y, (0, 1)).all():
        raise ValueError
    return 2 * last.y - 1


def several(array: Gradient) -> Gradient:
    """Give an array of more than one output; a ValueError for one."""
    if array.shape[1] == 1:
        raise ValueError
    return array


def only_if(possible: bool, array: Gradient) -> Gradient:
    """Give what a mistake makes, where it can be made."""
    if not possible:
        raise ValueError
    return array


def slope(last: Last) -> Gradient:
    """Give the output activation's own derivative, of one entry alone; where it has one."""
    slopes = {"softmax": last.p * (1 - last.p), "sigmoid": last.p * (1 - last.p)}
    slopes |= {"tanh": 1 - last.p**2, "ReLU": SLOPES["ReLU"](last.z)}
    slopes |= {"softplus": sigmoid(last.z), "exp": last.p}
    if last.output.activation not in slopes:
        raise ValueError
    return slopes[last.output.activation]


def is_another(last: Last) -> bool:
    """Whether hidden layers have another activation than the output layer, which has one."""
    own = made(Rule("", "", slope), last, last.z.shape)
    return len(last.chain.layers) > 1 and own is not None and apart(last.hidden, own)


def of_outputs(last: Last) -> Gradient:
    """Give the derivative of a loss in the outputs; the error of what is no cross-entropy."""
    if not last.crossed:
        return last.error
    if last.output.loss == "cross-entropy":
        return -last.y / last.p
    return (1 - last.y) / (1 - last.p) - last.y / last.p


def across(last: Last, back: Gradient) -> Gradient:
    """Send a signal back through the softmax: its whole Jacobian."""
    return last.p * (back - (last.p * back).sum(1, keepdims=True))


def through(last: Last, error: Gradient) -> Gradient:
    """Send an error `p - y` back through the output activation, as the loss has it."""
    if last.natural:
        return error
    if last.output.activation == "softmax":
        return across(last, error)
    return error * slope_of(ACTIVATIONS[last.output.activation], last.z)

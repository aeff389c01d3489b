"""The derivatives of activations, right and as formulas in what they give.

Shapes: arrays of any shape, element by element.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np

from jaxnet.audit.floats import Gradient

Slope = Callable[[Gradient], Gradient]


def sigmoid(z: Gradient) -> Gradient:
    """Give the logistic function."""
    return 1 / (1 + np.exp(-z))


def sigmoid_slope(z: Gradient) -> Gradient:
    """Give the derivative of the logistic function."""
    return sigmoid(z) * sigmoid(-z)


def tanh_slope(z: Gradient) -> Gradient:
    """Give the derivative of tanh."""
    return 1 - np.tanh(z) ** 2


def _gated(z: Gradient, gate: Gradient, gate_slope: Gradient) -> Gradient:
    """Give the derivative of z times a function of it, by the product rule."""
    return gate + z * gate_slope


_erf = np.vectorize(math.erf, otypes=[float])


def _gelu(z: Gradient) -> Gradient:
    normal = 0.5 * (1 + _erf(z / math.sqrt(2)))
    return _gated(z, normal, np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi))


def _gelu_by_tanh(z: Gradient) -> Gradient:
    root = math.sqrt(2 / math.pi)
    turned = np.tanh(root * (z + 0.044715 * z**3))
    inner = root * (1 + 3 * 0.044715 * z**2)
    return _gated(z, 0.5 * (1 + turned), 0.5 * (1 - turned**2) * inner)


def _gelu_by_sigmoid(z: Gradient) -> Gradient:
    return _gated(z, sigmoid(1.702 * z), 1.702 * sigmoid_slope(1.702 * z))


def elu_slope(z: Gradient, alpha: float) -> Gradient:
    """Give the derivative of an ELU."""
    return np.where(z > 0, 1.0, alpha * np.exp(np.minimum(z, 0)))


SLOPES: Mapping[str, Slope] = {
    "tanh": tanh_slope,
    "sigmoid": sigmoid_slope,
    "ReLU": lambda z: (z > 0).astype(float),
    "softplus": sigmoid,
    "ELU": lambda z: elu_slope(z, 1.0),
    "SELU": lambda z: 1.0507009873554805 * elu_slope(z, 1.6732632423543772),
    "SiLU": lambda z: _gated(z, sigmoid(z), sigmoid_slope(z)),
    "GELU (exact)": _gelu,
    "GELU (tanh approximation)": _gelu_by_tanh,
    "GELU (sigmoid approximation)": _gelu_by_sigmoid,
    "softsign": lambda z: 1 / (1 + np.abs(z)) ** 2,
    "arctan": lambda z: 1 / (1 + z**2),
    "sine": np.cos,
    "leaky ReLU of slope 0.01": lambda z: np.where(z > 0, 1.0, 0.01),
    "leaky ReLU of slope 0.1": lambda z: np.where(z > 0, 1.0, 0.1),
    "leaky ReLU of slope 0.2": lambda z: np.where(z > 0, 1.0, 0.2),
    "leaky ReLU of slope 0.3": lambda z: np.where(z > 0, 1.0, 0.3),
}
"""Derivatives by the name of the activation, in its pre-activations."""

FORMULAS: Mapping[str, tuple[str, Slope]] = {
    "tanh": ("1 - {}**2", lambda h: 1 - h**2),
    "sigmoid": ("{0} * (1 - {0})", lambda h: h * (1 - h)),
}
"""Derivatives as formulas in the activations, as they are taught."""

FUNCTIONS: Mapping[str, Slope] = {"tanh": np.tanh, "sigmoid": sigmoid}
"""The activations that have such formulas."""


def symbol(name: str) -> str:
    """Give the name of an activation as that of a function."""
    return name.split(" (", maxsplit=1)[0].lower().replace(" ", "_")

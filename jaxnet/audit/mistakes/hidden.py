"""How the error signal of a hidden layer is got wrong."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnet.audit.chain import Gradient, Hidden, SignalRule, slope_of

_POINT = "activation derivative at the wrong point: "
_QUANTITY = "activation derivative taken of the wrong quantity: "
_INSTEAD = "replaced by the activation's derivative, "
_OTHERS = {"tanh": jnp.tanh, "sigmoid": jax.nn.sigmoid, "ReLU": jax.nn.relu}
# Derivatives as formulas in the activations, as they are taught.
_FORMULAS = ((jnp.tanh, lambda h: 1 - h**2), (jax.nn.sigmoid, lambda h: h * (1 - h)))


def _slope(at: Hidden, point: Gradient) -> Gradient:
    return slope_of(at.here.activation, point)


def _if_is(at: Hidden, phi: Any, slope: Gradient) -> Gradient:
    """Give the signal by a slope where the layer's activation is that one, else nan."""
    own = np.allclose(phi(at.here.z), at.here.h, rtol=1e-9, atol=1e-12)
    return at.back * slope if own else np.full_like(at.back, np.nan)


RULES = (
    SignalRule("activation derivative missing", lambda at: at.back),
    SignalRule(
        f"{_INSTEAD}taken of the back-propagated signal",
        lambda at: _slope(at, at.back),
        linear=False,
    ),
    SignalRule(
        f"{_QUANTITY}the back-propagated signal",
        lambda at: at.back * _slope(at, at.back),
        linear=False,
    ),
    SignalRule(
        f"{_POINT}at the layer's activations, not its pre-activations",
        lambda at: at.back * _slope(at, at.here.h),
    ),
    SignalRule("activation in place of its derivative", lambda at: at.back * at.here.h),
    SignalRule("activation derivative applied twice", lambda at: at.back * at.here.slope**2),
    SignalRule(
        f"{_INSTEAD}the back-propagated signal left out", lambda at: at.here.slope, linear=False
    ),
    SignalRule("sent back through the transposed weight", lambda at: at.transposed * at.here.slope),
    *(
        SignalRule(
            f"{_QUANTITY}{name} in place of the layer's own activation",
            lambda at, phi=phi: at.back * slope_of(phi, at.here.z),
        )
        for name, phi in _OTHERS.items()
    ),
    SignalRule(
        f"{_QUANTITY}the sigmoid's formula h (1 - h) of another activation",
        lambda at: at.back * at.here.h * (1 - at.here.h),
    ),
    *(
        SignalRule(
            f"{_POINT}its formula in the activations, applied to the pre-activations",
            lambda at, phi=phi, formula=formula: _if_is(at, phi, formula(at.here.z)),
        )
        for phi, formula in _FORMULAS
    ),
)
"""The mistakes that a hidden layer's error signal may be made by."""

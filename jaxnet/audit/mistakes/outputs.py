"""How the error signal of the output layer is got wrong."""

import jax
import numpy as np
import optax

from jaxnet.audit.case import Case
from jaxnet.audit.chain import Chain, Gradient, slope_of

_SOFTMAX = (
    optax.losses.softmax_cross_entropy,
    optax.losses.softmax_cross_entropy_with_integer_labels,
    optax.losses.safe_softmax_cross_entropy,
)
_SIGMOID = (optax.losses.sigmoid_binary_cross_entropy,)


def wrong_outputs(case: Case, chain: Chain) -> dict[str, Gradient]:
    """Give the wrong error signals of the output layer by name."""
    last = chain.layers[-1]
    text = "the hidden activation's derivative applied at the linear output"
    slope = slope_of(last.activation, last.z)
    return _mixed_up(case, chain) | {text: chain.delta * slope}


def _mixed_up(case: Case, chain: Chain) -> dict[str, Gradient]:
    """Give what comes of a softmax or a sigmoid mixed up with its cross-entropy, by name."""
    example_loss = getattr(case.loss, "example_loss", None)
    if example_loss not in _SOFTMAX + _SIGMOID:
        return {}
    softmax = example_loss in _SOFTMAX
    name = "softmax" if softmax else "sigmoid"
    z, delta, y = chain.layers[-1].z, chain.delta, np.asarray(case.batch[1])
    p = np.asarray(jax.jit(jax.nn.softmax if softmax else jax.nn.sigmoid)(z))
    y = y if y.shape == p.shape else np.eye(p.shape[-1])[y]
    scale = chain.scale * (1 if softmax else 1 / p.shape[-1])
    wrong = {
        "p - y multiplied by p (1 - p)": delta * p * (1 - p),
        f"the {name} left out, outputs - y": (z - y) * scale,
        f"the {name} derivative left out": scale
        * (-y / p if softmax else (1 - y) / (1 - p) - y / p),
        "the targets left out, p alone": p * scale,
    }
    if softmax:
        again = p * (delta - (p * delta).sum(-1, keepdims=True))
        wrong["the softmax derivative applied on top of p - y"] = again
    return {f"{name} and cross-entropy mixed up: {text}": signal for text, signal in wrong.items()}

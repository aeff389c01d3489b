"""How the error signal of a hidden layer is got wrong: what is sent back, and what it is times.

The right one is `dz1 = (dz2 @ W2) * f1'(z1)`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnet.audit.case import Gradient
from jaxnet.audit.chain import slope_of
from jaxnet.audit.mistakes.rules import Hidden, Rule


class Sent(NamedTuple):
    """What a hidden layer gets back: the error signal `[N, O]` of the layer after it."""

    at: Hidden
    delta: Gradient


class Back(NamedTuple):
    """The signal sent back through the weight, `[N, O]`, and the layer it came to."""

    at: Hidden
    signal: Gradient


_POINT = "activation derivative at the wrong point: "
_QUANTITY = "activation derivative taken of the wrong quantity: "
_INSTEAD = "replaced by the activation's derivative, "
_OWN = "in place of the layer's own activation"


def sigmoid(z: Gradient) -> Gradient:
    """Give the logistic function."""
    return 1 / (1 + np.exp(-z))


def sigmoid_slope(z: Gradient) -> Gradient:
    """Give the derivative of the logistic function."""
    return sigmoid(z) * sigmoid(-z)


def tanh_slope(z: Gradient) -> Gradient:
    """Give the derivative of tanh."""
    return 1 - np.tanh(z) ** 2


SLOPES = {
    "tanh": tanh_slope,
    "sigmoid": sigmoid_slope,
    "ReLU": lambda z: (z > 0).astype(float),
    "softplus": sigmoid,
}
# Derivatives as formulas in the activations, as they are taught.
FORMULAS = {
    "tanh": ("1 - {}**2", lambda h: 1 - h**2),
    "sigmoid": ("{0} * (1 - {0})", lambda h: h * (1 - h)),
}
_FUNCTIONS = {"tanh": jnp.tanh, "sigmoid": jax.nn.sigmoid}


def _is(at: Hidden, name: str) -> bool:
    own = np.asarray(_FUNCTIONS[name](at.here.z))
    return np.allclose(own, at.here.h, rtol=1e-9, atol=1e-12)


def _only_if(condition: bool, array: Gradient) -> Gradient:
    return array if condition else np.full_like(array, np.nan)


def _same(array: Gradient, at: Hidden) -> Gradient:
    if array.shape != at.here.z.shape:
        raise ValueError
    return array


def _unmasked(at: Hidden, mask: Callable[[Gradient], Gradient]) -> Gradient:
    """Give the activation's derivative with another mask of dropout, where there is one."""
    if at.here.mask is None:
        raise ValueError
    return slope_of(at.here.activation, at.here.z) * mask(at.here.mask)


MASKS = (
    Rule(
        "dropout left out on the way back",
        "f{k}'(z{k})",
        lambda at: _unmasked(at, np.ones_like),
    ),
    Rule(
        "the mask of dropout left out, its scale kept",
        "f{k}'(z{k}) / keep",
        lambda at: _unmasked(at, lambda mask: np.full_like(mask, mask.max())),
    ),
    Rule(
        "the scale of dropout left out, its mask kept",
        "f{k}'(z{k}) * mask",
        lambda at: _unmasked(at, lambda mask: (mask > 0).astype(float)),
    ),
    Rule(
        "the mask of dropout applied twice",
        "f{k}'(z{k}) * mask**2",
        lambda at: _unmasked(at, np.square),
    ),
)
"""What another mask of dropout makes of the activation's derivative."""

TIMES = (
    Rule("activation derivative missing", "", lambda at: np.ones_like(at.here.z)),
    Rule(
        f"{_POINT}at the layer's activations, not its pre-activations",
        "f{k}'(h{k})",
        lambda at: slope_of(at.here.activation, at.here.h),
    ),
    Rule("activation in place of its derivative", "h{k}", lambda at: at.here.h),
    Rule("activation derivative applied twice", "f{k}'(z{k})**2", lambda at: at.slope**2),
    *(
        Rule(
            f"{_QUANTITY}{name} {_OWN}",
            f"{name.lower()}'(z{{k}})",
            lambda at, slope=slope: slope(at.here.z),
        )
        for name, slope in SLOPES.items()
    ),
    *(
        Rule(
            f"{_QUANTITY}leaky ReLU of slope {leak} {_OWN}",
            f"where(z{{k}} > 0, 1, {leak})",
            lambda at, leak=leak: np.where(at.here.z > 0, 1.0, leak),
        )
        for leak in (0.01, 0.1, 0.2, 0.3)
    ),
    *(
        Rule(
            f"{_POINT}its formula in the activations, applied to the pre-activations",
            symbols.format("z{k}"),
            lambda at, name=name, of=of: _only_if(_is(at, name), of(at.here.z)),
        )
        for name, (symbols, of) in FORMULAS.items()
    ),
    *(
        Rule(
            f"{_QUANTITY}the {name}'s formula {symbols.format('h')} of another activation",
            symbols.format("h{k}"),
            lambda at, name=name, of=of: _only_if(not _is(at, name), of(at.here.h)),
        )
        for name, (symbols, of) in FORMULAS.items()
    ),
    *(
        Rule(
            f"{_QUANTITY}the {name}'s formula {symbols.format('h')} of another activation, applied "
            "to the pre-activations",
            symbols.format("z{k}"),
            lambda at, name=name, of=of: _only_if(not _is(at, name), of(at.here.z)),
        )
        for name, (symbols, of) in FORMULAS.items()
    ),
    Rule("pre-activations in place of the activation's derivative", "z{k}", lambda at: at.here.z),
    Rule("activation derivative without its square: 1 - h", "(1 - h{k})", lambda at: 1 - at.here.h),
    Rule(
        "activation derivative with the wrong sign: 1 + h**2",
        "(1 + h{k}**2)",
        lambda at: 1 + at.here.h**2,
    ),
    Rule("squared activation in place of its derivative", "h{k}**2", lambda at: at.here.h**2),
    Rule("activation derivative inverted: 1 - f'(z)", "(1 - f{k}'(z{k}))", lambda at: 1 - at.slope),
    Rule("divided by the activation derivative", "1 / f{k}'(z{k})", lambda at: 1 / at.slope),
    Rule(
        "multiplied by the pre-activations as well",
        "f{k}'(z{k}) * z{k}",
        lambda at: at.slope * at.here.z,
    ),
    Rule(
        "multiplied by the activations as well",
        "f{k}'(z{k}) * h{k}",
        lambda at: at.slope * at.here.h,
    ),
    Rule(
        f"{_POINT}at the layer's inputs, not its pre-activations",
        "f{k}'({x})",
        lambda at: _same(slope_of(at.here.activation, at.here.x), at),
    ),
    Rule(
        f"{_POINT}at the pre-activations of the layer before",
        "f{k}'(z{p})",
        lambda at: _same(at.before.slope, at),
    ),
    Rule(
        f"{_POINT}at the pre-activations of the layer after",
        "f{k}'(z{n})",
        lambda at: _same(slope_of(at.here.activation, at.after.z), at),
    ),
    Rule(
        "activation derivative with the activations of two layers mixed",
        "h{k} * (1 - {x})",
        lambda at: at.here.h * _same(1 - at.here.x, at),
    ),
    Rule(
        "divided by the number of examples once more",
        "f{k}'(z{k}) / N",
        lambda at: at.slope / len(at.here.z),
    ),
)
"""What the signal sent back may be multiplied by in place of the activation's derivative."""


def _left_out(sent: Sent) -> Gradient:
    width = sent.at.here.z.shape[1]
    if sent.delta.shape[1] in (width, 1):
        return sent.delta
    return sent.delta.sum(1, keepdims=True)


def _skipped(sent: Sent) -> Gradient:
    layers, after = sent.at.chain.layers, sent.at.layer + 2
    if after >= len(layers):
        raise ValueError
    return sent.at.signals[after] @ layers[after].weight


def _claim(sent: Sent) -> Gradient:
    weight = sent.at.claims[sent.at.layer + 1]
    if weight is None:
        raise ValueError
    return sent.delta @ weight


def _square(weight: Gradient) -> Gradient:
    if weight.shape[0] != weight.shape[1]:
        raise ValueError
    return weight.T


def _of_output(sent: Sent) -> Gradient:
    if sent.at.layer + 2 == len(sent.at.chain.layers):
        raise ValueError
    return sent.at.signals[-1]


def sending(at: Hidden) -> tuple[Rule, ...]:
    """Give what may come back in place of `dz2 @ W2`."""
    return (*_through_others(at), *_through_changed(at), *_other_signals(at))


def _through_others(at: Hidden) -> tuple[Rule, ...]:
    others = [k for k in range(len(at.chain.layers)) if k != at.layer + 1]
    return (
        Rule(
            "sent back through the transposed weight",
            "dz{n} @ {W}.T",
            lambda sent: sent.delta @ _square(sent.at.after.weight),
        ),
        Rule("sent back without the weight", "dz{n}", _left_out),
        *(
            Rule(
                f"sent back through the weight of layer {k + 1}, not of layer {at.layer + 2}",
                f"dz{{n}} @ W{k + 1}",
                lambda sent, k=k: sent.delta @ sent.at.chain.layers[k].weight,
            )
            for k in others
        ),
        *(
            Rule(
                f"sent back through the transposed weight of layer {k + 1}, not the weight of "
                f"layer {at.layer + 2}",
                f"dz{{n}} @ W{k + 1}.T",
                lambda sent, k=k: sent.delta @ sent.at.chain.layers[k].weight.T,
            )
            for k in others
        ),
    )


def _through_changed(at: Hidden) -> tuple[Rule, ...]:
    return (
        Rule(
            "sent back through the gradient of the weight, not the weight", "dz{n} @ d{W}", _claim
        ),
        *(
            Rule(
                f"sent back through weights already updated, with learning rate {rate:.4g}",
                f"dz{{n}} @ ({{W}} - {rate:.4g} * d{{W}})",
                lambda sent, rate=rate: sent.delta @ sent.at.after.weight - rate * _claim(sent),
                fitted=True,
            )
            for rate in at.rates
        ),
        Rule(
            "sent back through the weight's sizes, without signs",
            "dz{n} @ abs({W})",
            lambda sent: sent.delta @ np.abs(sent.at.after.weight),
        ),
    )


def _other_signals(at: Hidden) -> tuple[Rule, ...]:
    return (
        Rule(
            "a layer skipped: the signal of the layer after the next",
            f"dz{at.layer + 3} @ W{at.layer + 3}",
            _skipped,
        ),
        Rule(
            "the error signal of the output layer sent back",
            f"dz{len(at.chain.layers)} @ {{W}}",
            lambda sent: _of_output(sent) @ sent.at.after.weight,
        ),
        Rule(
            "the error signal of the output layer, without the weights between",
            f"dz{len(at.chain.layers)}",
            _of_output,
        ),
        Rule(
            "the next layer's activations sent back, not its error signal",
            "h{n} @ {W}",
            lambda sent: sent.at.after.h @ sent.at.after.weight,
        ),
        Rule(
            "the next layer's pre-activations sent back, not its error signal",
            "z{n} @ {W}",
            lambda sent: sent.at.after.z @ sent.at.after.weight,
        ),
        Rule(
            "the weight alone, the error signal left out",
            "sum({W}, 0)",
            lambda sent: sent.at.after.weight.sum(0),
        ),
    )


INSTEAD = (
    Rule(
        f"{_INSTEAD}taken of the back-propagated signal",
        "f{k}'({sent})",
        lambda back: slope_of(back.at.here.activation, back.signal),
        linear=False,
    ),
    Rule(
        f"{_QUANTITY}the back-propagated signal",
        "({sent}) * f{k}'({sent})",
        lambda back: back.signal * slope_of(back.at.here.activation, back.signal),
        linear=False,
    ),
    Rule(
        f"{_INSTEAD}the back-propagated signal left out",
        "f{k}'(z{k})",
        lambda back: back.at.slope,
        linear=False,
    ),
    Rule(
        "the activation itself, of the back-propagated signal",
        "f{k}({sent})",
        lambda back: np.asarray(back.at.here.activation(jnp.asarray(back.signal))),
        linear=False,
    ),
    Rule(
        "summed over the units, one number for all of them",
        "sum({sent}, 1) * f{k}'(z{k})",
        lambda back: back.signal.sum(1, keepdims=True) * back.at.slope,
    ),
)
"""What may be made of the signal sent back other than a product with something."""

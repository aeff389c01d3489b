"""What comes back to a hidden layer, times the wrong thing, or made something else.

The right error signal is `dz1 = (dz2 @ W2) * f1'(z1)`.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxnet.audit.case import Gradient
from jaxnet.audit.chain import applied, slope_of
from jaxnet.audit.mistakes.rules import Hidden, Rule
from jaxnet.audit.mistakes.slopes import FORMULAS, FUNCTIONS, SLOPES, elu_slope, symbol


class Back(NamedTuple):
    """The signal sent back through the weight, `[N, O]`, and the layer it came to."""

    at: Hidden
    signal: Gradient


_POINT = "activation derivative at the wrong point: "
_QUANTITY = "activation derivative taken of the wrong quantity: "
_INSTEAD = "replaced by the activation's derivative, "
_OWN = "in place of the layer's own activation"


def _is(at: Hidden, name: str) -> bool:
    return np.allclose(FUNCTIONS[name](at.here.z), at.here.h, rtol=1e-9, atol=1e-12)


def _terms(at: Hidden) -> tuple[Gradient, Gradient]:
    """Give the two terms of the derivative of z times a gate, as of SiLU and GELU."""
    z, act = at.here.z, at.here.activation
    ahead, behind, start = (applied(act, each) for each in (z, -z, 0 * z))
    # Of softplus and ReLU the first is true, too.
    if not np.allclose(ahead - behind, z) or start.any() or np.allclose(ahead * behind, 0):
        raise ValueError
    slope = slope_of(act, z)
    return ahead / z, slope - ahead / z


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
    Rule("dropout left out on the way back", "f{k}'(z{k})", lambda at: _unmasked(at, np.ones_like)),
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

_TIMES = (
    Rule("activation derivative missing", "", lambda at: np.ones_like(at.here.z)),
    Rule(
        f"{_POINT}at the layer's activations, not its pre-activations",
        "f{k}'(h{k})",
        lambda at: slope_of(at.here.activation, at.here.h),
    ),
    Rule("activation in place of its derivative", "h{k}", lambda at: at.here.h),
    Rule("activation derivative applied twice", "f{k}'(z{k})**2", lambda at: at.slope**2),
    Rule(
        "the first term alone of the derivative of a product: f(z) / z",
        "f{k}(z{k}) / z{k}",
        lambda at: _terms(at)[0],
    ),
    Rule(
        "the second term alone of the derivative of a product: f'(z) - f(z) / z",
        "(f{k}'(z{k}) - f{k}(z{k}) / z{k})",
        lambda at: _terms(at)[1],
    ),
    *(
        Rule(
            f"{_QUANTITY}{name} {_OWN}",
            f"{symbol(name)}'(z{{k}})",
            lambda at, slope=slope: slope(at.here.z),
        )
        for name, slope in SLOPES.items()
    ),
    *(
        Rule(
            f"{_QUANTITY}{name} {_OWN}, at the activations, not the pre-activations",
            f"{symbol(name)}'(h{{k}})",
            lambda at, name=name: _only_if(not _is(at, name), SLOPES[name](at.here.h)),
        )
        for name in FUNCTIONS
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
    Rule(
        "activation derivative without its square: 1 - h",
        "(1 - h{k})",
        lambda at: _only_if(not _is(at, "sigmoid"), 1 - at.here.h),
    ),
    Rule(
        "activation derivative without its factor h: 1 - h",
        "(1 - h{k})",
        lambda at: _only_if(_is(at, "sigmoid"), 1 - at.here.h),
    ),
    Rule(
        "activation derivative without its square: 1 / cosh(z)",
        "1 / cosh(z{k})",
        lambda at: _only_if(_is(at, "tanh"), 1 / np.cosh(at.here.z)),
    ),
    Rule(
        "activation derivative with the wrong sign: 1 + h**2",
        "(1 + h{k}**2)",
        lambda at: 1 + at.here.h**2,
    ),
    Rule("squared activation in place of its derivative", "h{k}**2", lambda at: at.here.h**2),
    Rule("activation derivative inverted: 1 - f'(z)", "(1 - f{k}'(z{k}))", lambda at: 1 - at.slope),
    Rule(
        "activation derivative at the negative of the pre-activations",
        "f{k}'(-z{k})",
        lambda at: slope_of(at.here.activation, -at.here.z),
    ),
    Rule(
        "the activation in place of its derivative where z is not positive",
        "where(z{k} > 0, f{k}'(z{k}), h{k})",
        lambda at: np.where(at.here.z > 0, at.slope, at.here.h),
    ),
    Rule(
        "the activation in place of its derivative where z is positive",
        "where(z{k} > 0, h{k}, f{k}'(z{k}))",
        lambda at: np.where(at.here.z > 0, at.here.h, at.slope),
    ),
    Rule(
        "activation derivative with the wrong sign: h (1 + h)",
        "h{k} * (1 + h{k})",
        lambda at: at.here.h * (1 + at.here.h),
    ),
    Rule(
        "activation derivative without its denominator: exp(-z)",
        "exp(-z{k})",
        lambda at: _only_if(_is(at, "sigmoid"), np.exp(-at.here.z)),
    ),
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


def times(at: Hidden) -> tuple[Rule, ...]:
    """Give what the signal sent back may be multiplied by in place of the derivative."""
    return (
        *_TIMES,
        *(
            Rule(
                f"{_QUANTITY}leaky ReLU of slope {leak:.4g} {_OWN}",
                f"where(z{{k}} > 0, 1, {leak:.4g})",
                lambda at, leak=leak: np.where(at.here.z > 0, 1.0, leak),
                fitted=True,
            )
            for leak in at.fits.leaks
        ),
        *(
            Rule(
                f"{_QUANTITY}ELU of alpha {alpha:.4g} {_OWN}",
                f"where(z{{k}} > 0, 1, {alpha:.4g} * exp(z{{k}}))",
                lambda at, alpha=alpha: elu_slope(at.here.z, alpha),
                fitted=True,
            )
            for alpha in at.fits.alphas
        ),
    )


def _multiplied(back: Back, name: str, across: Callable[[Gradient], Gradient]) -> Gradient:
    """Give a signal of all examples [N, O] times a matrix [N, N] of their activations."""
    return _only_if(_is(back.at, name), across(back.at.here.h) @ back.signal)


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
    *(
        Rule(
            f"{_INSTEAD}its formula applied to the back-propagated signal",
            symbols.format("({sent})"),
            lambda back, name=name, of=of: _only_if(_is(back.at, name), of(back.signal)),
            linear=False,
        )
        for name, (symbols, of) in FORMULAS.items()
    ),
    *(
        Rule(
            f"{_QUANTITY}its formula of the back-propagated signal",
            f"({{sent}}) * {symbols.format('({sent})')}",
            lambda back, name=name, of=of: _only_if(
                _is(back.at, name), back.signal * of(back.signal)
            ),
            linear=False,
        )
        for name, (symbols, of) in FORMULAS.items()
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
        lambda back: applied(back.at.here.activation, back.signal),
        linear=False,
    ),
    Rule(
        "a matrix product for the elementwise one in the activation derivative",
        "(1 - h{k} @ h{k}.T) @ ({sent})",
        lambda back: _multiplied(back, "tanh", lambda h: 1 - h @ h.T),
    ),
    Rule(
        "a matrix product for the elementwise one in the activation derivative",
        "(h{k} @ (1 - h{k}).T) @ ({sent})",
        lambda back: _multiplied(back, "sigmoid", lambda h: h @ (1 - h).T),
    ),
    Rule(
        "a matrix product for the elementwise one in the activation derivative",
        "((1 - h{k}) @ h{k}.T) @ ({sent})",
        lambda back: _multiplied(back, "sigmoid", lambda h: (1 - h) @ h.T),
    ),
    Rule(
        "summed over the units, one number for all of them",
        "sum({sent}, 1) * f{k}'(z{k})",
        lambda back: back.signal.sum(1, keepdims=True) * back.at.slope,
    ),
)
"""What may be made of the signal sent back other than a product with something."""

"""How the error signal of the output layer is got wrong.

With `p = g(z)` and the targets y, the right one is `p - y` of a cross-entropy and its own
activation, and `(p - y) * g'(z)` of the squared error; times the loss's scale, such as 1 / N.

Shapes: N examples, O outputs.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxnet.audit.chain import Chain, Gradient, Output, slope_of
from jaxnet.audit.mistakes.hidden import FORMULAS, SLOPES, sigmoid, sigmoid_slope, tanh_slope
from jaxnet.audit.mistakes.rules import Edit, Rule, Signal, in_symbols, made


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
    def crossed(self) -> bool:
        """Whether the loss is a cross-entropy."""
        return "cross-entropy" in self.output.loss


def softmax(z: Gradient, axis: int | None = 1) -> Gradient:
    """Give the softmax along an axis, or of all numbers."""
    exponential = np.exp(z - z.max(axis, keepdims=True))
    return exponential / exponential.sum(axis, keepdims=True)


_AGAIN = {"sigmoid": sigmoid, "tanh": np.tanh, "softmax": softmax}


def _formula(name: str) -> tuple[str, Callable[[Gradient], Gradient]]:
    """Give an output activation's derivative as it is taught, a formula in the outputs."""
    formulas = FORMULAS | {"softmax": FORMULAS["sigmoid"]}
    symbols, of = formulas.get(name, ("", lambda p: p * np.nan))
    return symbols.format("p"), of


def _taught(name: str, p: Gradient) -> Gradient:
    return _formula(name)[1](p)


def _decided(p: Gradient) -> Gradient:
    """Round outputs to classes."""
    return np.eye(p.shape[1])[p.argmax(1)] if p.shape[1] > 1 else np.round(p)


def _across(last: Last, back: Gradient) -> Gradient:
    """Send a signal back through the softmax: its whole Jacobian."""
    return last.p * (back - (last.p * back).sum(1, keepdims=True))


def _labels(last: Last) -> Gradient:
    """Give the class of each example; a ValueError where the targets are none."""
    if last.y.shape[1] == 1 or not np.isin(last.y, (0, 1)).all() or (last.y.sum(1) != 1).any():
        raise ValueError
    return last.y.argmax(1).astype(float)


def _several(array: Gradient) -> Gradient:
    if array.shape[1] == 1:
        raise ValueError
    return array


def _if(possible: bool, array: Gradient) -> Gradient:
    """Give what a mistake makes, where it can be made."""
    if not possible:
        raise ValueError
    return array


def _other(last: Last, name: str, p: Gradient) -> Gradient:
    """Give the error of other outputs, where they are not the layer's own."""
    if last.output.activation == name:
        raise ValueError
    return p - last.y


def _times(last: Last, name: str, slope: Gradient) -> Gradient:
    if last.output.activation == name or (slope == 1).all():
        raise ValueError
    return last.error * slope


def _slope(last: Last) -> Gradient:
    """Give the output activation's own derivative, of one entry alone; where it has one."""
    slopes = {"softmax": last.p * (1 - last.p), "sigmoid": last.p * (1 - last.p)}
    slopes |= {"tanh": 1 - last.p**2, "ReLU": SLOPES["ReLU"](last.z)}
    slopes |= {"softplus": sigmoid(last.z), "exp": last.p}
    if last.output.activation not in slopes:
        raise ValueError
    return slopes[last.output.activation]


def _at_outputs(last: Last) -> Gradient:
    """Give the output activation's derivative taken at its own outputs."""
    slopes = {"sigmoid": sigmoid_slope, "tanh": tanh_slope, "softplus": sigmoid}
    if last.output.activation == "softmax":
        again = softmax(last.p)
        return again * (1 - again)
    if last.output.activation not in slopes:
        raise ValueError
    return slopes[last.output.activation](last.p)


def rules(last: Last) -> tuple[Rule, ...]:
    """Give the wrong signals at this output layer, unscaled."""
    name, loss = last.output.activation, last.output.loss
    mixed = f"{name} and {loss} mixed up: " if last.crossed else ""
    # Targets in reverse order, say, may be the targets.
    others = [
        rule
        for rule in (*_outputs(name, mixed), *_targets(mixed))
        if (delta := made(rule, last, last.z.shape)) is not None and _apart(delta, last.error)
    ]
    return (*_derivatives(name, mixed), *_other_derivatives(name, mixed), *others, *_parts())


def _apart(these: Gradient, those: Gradient) -> bool:
    return not np.allclose(these, those, rtol=1e-9, atol=1e-12)


def _derivatives(name: str, mixed: str) -> tuple[Rule, ...]:
    return (
        Rule(
            f"{mixed}the {name} derivative left out",
            "(p - y)" if not mixed else "-y / p",
            _of_outputs,
        ),
        Rule(
            "the softmax derivative's diagonal p (1 - p) alone",
            "dL/dp * p * (1 - p)",
            lambda last: _if(name == "softmax", _of_outputs(last) * _slope(last)),
        ),
        Rule(
            "the derivative of exp in place of the softmax's",
            "dL/dp * exp(z{k})",
            lambda last: _if(name == "softmax", _of_outputs(last) * np.exp(last.z)),
        ),
        Rule(
            f"{mixed}p - y multiplied by p (1 - p)"
            if name in ("softmax", "sigmoid")
            else f"{mixed}p - y multiplied by {name}'(z)",
            f"(p - y) * {name}'(z{{k}})",
            lambda last: last.error * _slope(last),
        ),
        Rule(
            f"{mixed}the {name} derivative applied twice",
            f"(p - y) * {name}'(z{{k}})**2",
            lambda last: last.error * _slope(last) ** 2,
        ),
        Rule(
            f"{mixed}the {name} derivative applied on top of p - y",
            "J(p) @ (p - y)",
            lambda last: _if(name == "softmax", _across(last, last.error)),
        ),
        Rule(
            f"{mixed}the {name} derivative taken at the outputs, not at z",
            f"(p - y) * {name}'(p)",
            lambda last: last.error * _at_outputs(last),
        ),
        Rule(
            f"{mixed}divided by the {name} derivative",
            f"(p - y) / {name}'(z{{k}})",
            lambda last: last.error / _slope(last),
        ),
        Rule(
            f"{mixed}the {name} derivative alone, p - y left out",
            f"{name}'(z{{k}})",
            _slope,
        ),
    )


def _other_derivatives(name: str, mixed: str) -> tuple[Rule, ...]:
    return (
        Rule(
            "the hidden activation's derivative applied at the linear output"
            if name == "identity"
            else f"the hidden activation's derivative in place of the {name}'s",
            "(p - y) * f'(z{k})",
            lambda last: last.error * last.hidden,
        ),
        Rule(
            "the hidden activation's derivative applied on top",
            "dz{k} * f'(z{k})",
            lambda last: _if(name != "identity", last.delta * last.hidden),
        ),
        *(
            Rule(
                f"the {other}'s derivative, of an output layer that is no {other}",
                f"(p - y) * {other.lower()}'(z{{k}})",
                lambda last, other=other, slope=slope: _times(last, other, slope(last.z)),
            )
            for other, slope in SLOPES.items()
        ),
        *(
            Rule(
                f"the {other}'s formula {symbols} taken of outputs that are of no {other}",
                f"(p - y) * {symbols}",
                lambda last, other=other, of=of: _times(last, other, of(last.p)),
            )
            for other, symbols, of in (
                ("tanh", "(1 - p**2)", lambda p: 1 - p**2),
                ("sigmoid", "p (1 - p)", lambda p: p * (1 - p)),
            )
            if not (other == "sigmoid" and name == "softmax")
        ),
        Rule(
            f"{mixed}the formula of the {name} derivative applied to z, not to the outputs",
            "(p - y) * " + _formula(name)[0].replace("p", "z{k}"),
            lambda last: last.error * _taught(name, last.z),
        ),
    )


def _of_outputs(last: Last) -> Gradient:
    """Give the derivative of a loss in the outputs; the error of what is no cross-entropy."""
    if not last.crossed:
        return last.error
    if last.output.loss == "cross-entropy":
        return -last.y / last.p
    return (1 - last.y) / (1 - last.p) - last.y / last.p


def _outputs(name: str, mixed: str) -> tuple[Rule, ...]:
    """Wrong outputs in a right formula."""
    return (
        Rule(
            f"{mixed}the {name} left out, outputs - y",
            "z{k} - y",
            lambda last: _other(last, "identity", last.z),
        ),
        Rule(
            "the softmax taken over the batch, not over the classes",
            "softmax(z{k}, axis=0) - y",
            lambda last: _if(name == "softmax", softmax(last.z, 0) - last.y),
        ),
        Rule(
            "the softmax taken over all examples and classes together",
            "softmax(z{k}, axis=None) - y",
            lambda last: _if(name == "softmax", softmax(last.z, None) - last.y),
        ),
        Rule(
            "the softmax without its sum",
            "exp(z{k}) - y",
            lambda last: _if(name == "softmax", np.exp(last.z) - last.y),
        ),
        *(
            Rule(
                f"{other} in place of the output layer's {name}",
                f"{other.lower()}(z{{k}}) - y",
                lambda last, other=other, p=p: _other(last, other, p(last.z)),
            )
            for other, p in (
                ("sigmoid", sigmoid),
                ("softmax", lambda z: softmax(_several(z))),
                ("tanh", np.tanh),
                ("ReLU", lambda z: np.maximum(z, 0)),
            )
        ),
        Rule(
            f"the {name} applied twice",
            f"{name}({name}(z{{k}})) - y",
            lambda last: _if(name in _AGAIN, _AGAIN.get(name, np.tanh)(last.p)) - last.y,
        ),
        Rule(
            "the outputs rounded to classes before y was subtracted",
            "argmax(p) - y",
            lambda last: _decided(last.p) - last.y,
        ),
        Rule(
            "the outputs averaged over the batch before y was subtracted",
            "mean(p, 0) - y",
            lambda last: last.p.mean(0) - last.y,
        ),
        Rule(f"{mixed}the outputs left out, y alone", "-y", lambda last: -last.y),
    )


def _targets(mixed: str) -> tuple[Rule, ...]:
    """Wrong targets in a right formula."""
    return (
        Rule(f"{mixed}the targets left out, p alone", "p", lambda last: last.p),
        *(
            Rule(
                f"the classes shifted by one {way}",
                f"p - roll(y, {step:+d}, axis=1)",
                lambda last, step=step: last.p - np.roll(_several(last.y), step, 1),
            )
            for step, way in ((1, "upwards"), (-1, "downwards"))
        ),
        Rule("the targets flipped, 1 - y for y", "p - (1 - y)", lambda last: last.p - (1 - last.y)),
        Rule(
            "the classes in reverse order",
            "p - y[:, ::-1]",
            lambda last: last.p - _several(last.y)[:, ::-1],
        ),
        *(
            Rule(
                f"the targets of the example {way}",
                f"p - roll(y, {step:+d}, axis=0)",
                lambda last, step=step: last.p - np.roll(last.y, step, 0),
            )
            for step, way in ((1, "before"), (-1, "after"))
        ),
        Rule("the targets in reverse order", "p - y[::-1]", lambda last: last.p - last.y[::-1]),
        Rule(
            "the targets of all examples subtracted from each (broadcast)",
            "mean(p - y.T, 1)",
            lambda last: last.p - last.y.mean(0),
        ),
        Rule(
            "the class number subtracted, not the one-hot class",
            "p - label",
            lambda last: last.p - _labels(last)[:, None],
        ),
        Rule("plus the targets, not minus", "p + y", lambda last: last.p + last.y),
    )


def _parts() -> tuple[Rule, ...]:
    """Wrong things done with a right difference."""
    return (
        Rule("multiplied by y", "y * (p - y)", lambda last: last.y * last.error),
        Rule("multiplied by 1 - y", "(1 - y) * (p - y)", lambda last: (1 - last.y) * last.error),
        Rule("multiplied by p", "p * (p - y)", lambda last: last.p * last.error),
        Rule("squared", "(p - y)**2", lambda last: last.error**2),
        Rule("its size without its sign", "abs(p - y)", lambda last: abs(last.error)),
        Rule(
            "its sign without its size",
            "sign(p - y)",
            lambda last: _if(last.output.loss != "absolute error", np.sign(last.error)),
        ),
        Rule(
            "p - y itself, as of the squared error",
            "(p - y)",
            lambda last: _if(last.output.loss != "squared error", last.error),
        ),
        Rule(
            "averaged over the batch before it was sent back",
            "mean(dz{k}, 0)",
            lambda last: _if(len(last.z) > 1, last.delta.mean(0)),
        ),
        Rule(
            "averaged over the outputs before it was sent back",
            "mean(dz{k}, 1)",
            lambda last: _several(last.delta).mean(1, keepdims=True),
        ),
        Rule("the layer's z times the signal", "dz{k} * z{k}", lambda last: last.delta * last.z),
    )


def wrong_signals(chain: Chain) -> list[Signal]:
    """Give the wrong error signals of the output layer; none where its loss is not known."""
    output, layer = chain.output, len(chain.layers) - 1
    if output is None:
        return []
    z = chain.layers[-1].z
    last = Last(z, output.p, output.y, chain.delta / output.scale, chain, output)
    scale = _scale(output.scale, z.shape)
    right = in_symbols(chain, layer, f"dz{{k}} = {_right(output)}{scale}")
    signals = []
    for rule in rules(last):
        delta = made(rule, last, z.shape)
        if delta is not None and _apart(delta, last.delta):
            wrong = in_symbols(chain, layer, f"dz{{k}} = {rule.symbols}{scale}")
            signals.append(Signal(delta * output.scale, (Edit(layer, rule.text, wrong, right),)))
    return signals


def _right(output: Output) -> str:
    if "cross-entropy" in output.loss and output.activation in ("softmax", "sigmoid"):
        return "(p - y)"
    errors = {
        "squared error": "(p - y)",
        "absolute error": "sign(p - y)",
        "Huber loss": "clip(p - y, -1, 1)",
        "log-cosh": "tanh(p - y)",
    }
    error = errors.get(output.loss, "dL/dp")
    if output.activation == "identity":
        return error
    if output.activation == "softmax":
        return f"J(p) @ {error}"
    return f"{error} * {output.activation}'(z{{k}})"


def _scale(scale: float, shape: tuple[int, ...]) -> str:
    rows, outputs = shape
    for number, text in (
        (1, ""),
        (1 / rows, " / N"),
        (2 / rows, " * 2 / N"),
        (2, " * 2"),
        (1 / rows / outputs, " / (N O)"),
        (2 / rows / outputs, " * 2 / (N O)"),
        (1 / outputs, " / O"),
        (2 / outputs, " * 2 / O"),
    ):
        if np.isclose(scale, number, rtol=1e-6):
            return text
    return f" * {scale:.4g}"

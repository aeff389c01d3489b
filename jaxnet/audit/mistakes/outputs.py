"""How the error signal of the output layer is got wrong.

With `p = g(z)` and the targets y, the right one is `p - y` of a cross-entropy and its own
activation, and `(p - y) * g'(z)` of the squared error; times the loss's scale, such as 1 / N.

Shapes: N examples, O outputs.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from jaxnet.audit.chain import Chain, Gradient, Output, slope_of
from jaxnet.audit.mistakes.rules import Edit, Rule, Signal, in_symbols, made
from jaxnet.audit.mistakes.slopes import (
    FORMULAS,
    SLOPES,
    sigmoid,
    sigmoid_slope,
    tanh_slope,
)
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
        return not _apart(self.delta, self.error)

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
    formulas = {**FORMULAS, "softmax": FORMULAS["sigmoid"]}
    symbols, of = formulas.get(name, ("", lambda p: p * np.nan))
    return symbols.format("p"), of


def _decided(p: Gradient) -> Gradient:
    """Round outputs to classes."""
    return np.eye(p.shape[1])[p.argmax(1)] if p.shape[1] > 1 else np.round(p)


def _labels(last: Last) -> Gradient:
    """Give the class of each example; a ValueError where the targets are none."""
    if last.y.shape[1] == 1 or not np.isin(last.y, (0, 1)).all() or (last.y.sum(1) != 1).any():
        raise ValueError
    return last.y.argmax(1).astype(float)


def _signs(last: Last) -> Gradient:
    """Give the targets as -1 and 1; a ValueError where they are not of two classes."""
    if not np.isin(last.y, (0, 1)).all():
        raise ValueError
    return 2 * last.y - 1


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
    return _if(last.output.activation != name, p - last.y)


def _slope(last: Last) -> Gradient:
    """Give the output activation's own derivative, of one entry alone; where it has one."""
    slopes = {"softmax": last.p * (1 - last.p), "sigmoid": last.p * (1 - last.p)}
    slopes |= {"tanh": 1 - last.p**2, "ReLU": SLOPES["ReLU"](last.z)}
    slopes |= {"softplus": sigmoid(last.z), "exp": last.p}
    if last.output.activation not in slopes:
        raise ValueError
    return slopes[last.output.activation]


def _taken_at(last: Last, points: Gradient) -> Gradient:
    """Give the output activation's derivative taken at something that is not z."""
    slopes = {"sigmoid": sigmoid_slope, "tanh": tanh_slope, "softplus": sigmoid}
    if last.output.activation == "softmax":
        again = softmax(points)
        return again * (1 - again)
    if last.output.activation not in slopes:
        raise ValueError
    return slopes[last.output.activation](points)


def _across(last: Last, back: Gradient) -> Gradient:
    """Send a signal back through the softmax: its whole Jacobian."""
    return last.p * (back - (last.p * back).sum(1, keepdims=True))


def _through(last: Last, error: Gradient) -> Gradient:
    """Send an error `p - y` back through the output activation, as the loss has it."""
    if last.natural:
        return error
    if last.output.activation == "softmax":
        return _across(last, error)
    return error * slope_of(ACTIVATIONS[last.output.activation], last.z)


def _of_outputs(last: Last) -> Gradient:
    """Give the derivative of a loss in the outputs; the error of what is no cross-entropy."""
    if not last.crossed:
        return last.error
    if last.output.loss == "cross-entropy":
        return -last.y / last.p
    return (1 - last.y) / (1 - last.p) - last.y / last.p


def rules(last: Last) -> tuple[Rule, ...]:
    """Give the wrong signals at this output layer, unscaled."""
    if "hinge" in last.output.loss:
        return (*_hinges(last), *_averages()[1:])
    name = last.output.activation
    mixed = f"{name} and {last.output.loss} mixed up: " if last.crossed else ""
    return (
        *_left_out(name, mixed),
        *(each for times in _times(last, name, mixed) for each in _multiplied(last, *times)),
        *(_sent(last, rule) for rule in _errors(last)),
        *_softmax(name, mixed),
        *_margins(last),
        *_averages(),
    )


def _errors(last: Last) -> list[Rule]:
    """Give the wrong errors, before they are sent back through the output activation."""
    name = last.output.activation
    mixed = f"{name} and {last.output.loss} mixed up: " if last.crossed else ""
    every = (*_outputs(name, mixed), *_targets(mixed), *_parts())
    errors = [(rule, made(rule, last, last.z.shape)) for rule in every]
    # Targets in reverse order, say, may be the targets.
    return [rule for rule, error in errors if error is not None and _apart(error, last.error)]


def _apart(these: Gradient, those: Gradient) -> bool:
    return not np.allclose(these, those, rtol=1e-9, atol=1e-12)


def _left_out(name: str, mixed: str) -> tuple[Rule, ...]:
    return (
        Rule(
            f"{mixed}the {name} derivative left out",
            "dL/dp" if mixed else "(p - y)",
            _of_outputs,
        ),
        Rule(f"{mixed}the {name} derivative alone, p - y left out", f"{name}'(z{{k}})", _slope),
        Rule(
            f"the {name} derivative alone, at the error, p - y left out",
            f"{name}'(p - y)",
            lambda last: _taken_at(last, last.error),
        ),
        Rule(
            f"the formula of the {name} derivative applied to the error, p - y left out",
            _formula(name)[0].replace("p", "(p - y)"),
            lambda last: _formula(name)[1](last.error),
        ),
    )


def _multiplied(last: Last, rule: Rule, own: bool) -> Iterator[Rule]:
    """Give rules that multiply `p - y`, and the loss's derivative in p where that is another.

    Args:
        rule: makes what they multiply by. own: whether it is the activation's own derivative.
    """
    yield rule._replace(
        symbols=f"(p - y) * {rule.symbols}", make=lambda last: last.error * rule.make(last)
    )
    if last.crossed:
        name, loss = last.output.activation, last.output.loss
        text = f"{name} and {loss} mixed up: the loss's derivative in p "
        if own:
            text += f"times the {name}'s" + " on its diagonal" * (name == "softmax")
        else:
            text += rule.text.rpartition(": ")[2].removeprefix("p - y ")
        yield rule._replace(
            text=text,
            symbols=f"dL/dp * {rule.symbols}",
            make=lambda last: _of_outputs(last) * rule.make(last),
        )


def _times(last: Last, name: str, mixed: str) -> Iterator[tuple[Rule, bool]]:
    """Give what an error may be multiplied by, and whether that is the activation's derivative."""
    taught, of = _formula(name)
    if name in ("softmax", "sigmoid"):
        text = f"{mixed}p - y multiplied by p (1 - p)"
    else:
        text = f"{mixed}p - y multiplied by {name}'(z)"
    if name == "softmax" and not mixed:
        text = "the softmax derivative's diagonal p (1 - p) alone"
    yield Rule(text, f"{name}'(z{{k}})", _slope), True
    yield (
        Rule(
            f"{mixed}the {name} derivative applied twice",
            f"{name}'(z{{k}})**2",
            lambda last: _slope(last) ** 2,
        ),
        False,
    )
    for point, symbols, make in (
        ("the outputs", "p", lambda last: last.p),
        ("the error p - y", "p - y", lambda last: last.error),
        ("the targets", "y", lambda last: last.y),
    ):
        yield (
            Rule(
                f"{mixed}the {name} derivative taken at {point}, not at z",
                f"{name}'({symbols})",
                lambda last, make=make: _taken_at(last, make(last)),
                linear=symbols != "p - y",
            ),
            False,
        )
    yield (
        Rule(
            f"{mixed}divided by the {name} derivative",
            f"1 / {name}'(z{{k}})",
            lambda last: 1 / _slope(last),
        ),
        False,
    )
    yield (
        Rule(
            f"{mixed}the formula of the {name} derivative applied to z, not to the outputs",
            taught.replace("p", "z{k}"),
            lambda last: of(last.z),
        ),
        False,
    )
    yield (
        Rule(
            f"{mixed}the formula of the {name} derivative applied to the error p - y",
            taught.replace("p", "(p - y)"),
            lambda last: of(last.error),
            linear=False,
        ),
        False,
    )
    for rule in (*_other_derivatives(last, name), *_parts_of_derivatives(name)):
        yield rule, False


def _is_another(last: Last) -> bool:
    """Whether hidden layers have another activation than the output layer, which has one."""
    own = made(Rule("", "", _slope), last, last.z.shape)
    return len(last.chain.layers) > 1 and own is not None and _apart(last.hidden, own)


def _other_derivatives(last: Last, name: str) -> Iterator[Rule]:
    if _is_another(last) or (name == "identity" and len(last.chain.layers) > 1):
        yield Rule(
            "the hidden activation's derivative applied at the linear output"
            if name == "identity"
            else f"the hidden activation's derivative in place of the {name}'s",
            "f'(z{k})",
            lambda last: last.hidden,
        )
    for other in ("tanh", "sigmoid", "ReLU", "softplus"):
        slope = SLOPES[other](last.z)
        # That of a ReLU may be 1 here for all outputs, and a sigmoid is the softplus's.
        if other != name and np.ptp(slope) and _apart(slope, last.p):
            yield Rule(
                f"the {other}'s derivative, of an output layer that is no {other}",
                f"{other.lower()}'(z{{k}})",
                lambda _, slope=slope: slope,
            )
    for other, (symbols, of) in FORMULAS.items():
        if name != other and (name, other) != ("softmax", "sigmoid"):
            yield Rule(
                f"the {other}'s formula {symbols.format('p')} taken of outputs that are of no "
                f"{other}",
                f"({symbols.format('p')})",
                lambda last, of=of: of(last.p),
            )


def _parts_of_derivatives(name: str) -> Iterator[Rule]:
    """Give what of a derivative's formula is taken for all of it."""
    yield Rule("multiplied by p", "p", lambda last: last.p)
    yield Rule("multiplied by 1 - p", "(1 - p)", lambda last: 1 - last.p)
    yield Rule("multiplied by 1 + p", "(1 + p)", lambda last: 1 + last.p)
    yield Rule("multiplied by p (1 + p)", "p * (1 + p)", lambda last: last.p * (1 + last.p))
    if name == "softmax":
        yield Rule(
            "the derivative of exp in place of the softmax's",
            "exp(z{k})",
            lambda last: np.exp(last.z),
        )
    if name == "sigmoid":
        yield Rule(
            "the sigmoid derivative without its denominator: exp(-z)",
            "exp(-z{k})",
            lambda last: np.exp(-last.z),
        )


def _column(last: Last, factor: Gradient) -> Gradient:
    """Give dL/dp times the last column of `diag(p) - outer(p, factor)`, entry by entry."""
    jacobian = -last.p * factor[:, -1:]
    jacobian[:, -1] += last.p[:, -1]
    return _of_outputs(last) * jacobian


def _columns() -> tuple[Rule, ...]:
    """What is made of the softmax's Jacobian where it is kept as a vector, or formed with z."""
    return (
        Rule(
            "the last column alone of the softmax derivative, times dL/dp entry by entry",
            "dL/dp * J(p)[:, -1]",
            lambda last: _column(last, last.p),
        ),
        Rule(
            "the last column alone of the softmax derivative, formed with z where p belongs",
            "dL/dp * (diag(p) - outer(p, z{k}))[:, -1]",
            lambda last: _column(last, last.z),
        ),
        Rule(
            "the softmax derivative formed with z where p belongs: p (1 - z), -p z",
            "(diag(p) - outer(p, z{k})) @ dL/dp",
            lambda last: (
                last.p * (_of_outputs(last) - (last.z * _of_outputs(last)).sum(1, keepdims=True))
            ),
        ),
    )


def _softmax(name: str, mixed: str) -> tuple[Rule, ...]:
    """What people make of the softmax's Jacobian `diag(p) - outer(p, p)`."""
    if name != "softmax":
        return ()

    def crosses(last: Last, back: Gradient) -> Gradient:
        return last.p * (last.p * back).sum(1, keepdims=True)

    return (
        *_columns(),
        Rule(
            f"{mixed}the softmax derivative applied on top of p - y",
            "J(p) @ (p - y)",
            lambda last: _across(last, last.error),
        ),
        Rule(
            "the softmax derivative applied twice",
            "J(p) @ J(p) @ dL/dp",
            lambda last: _across(last, _across(last, _of_outputs(last))),
        ),
        Rule(
            "the softmax derivative's cross terms alone, its diagonal left out",
            "-p * sum(dL/dp * p)",
            lambda last: _of_outputs(last) * last.p**2 - crosses(last, _of_outputs(last)),
        ),
        Rule(
            "the softmax derivative without diag(p): -outer(p, p)",
            "-p * sum(dL/dp * p)",
            lambda last: -crosses(last, _of_outputs(last)),
        ),
        Rule(
            "the softmax derivative's cross terms with the wrong sign",
            "(diag(p (1 - p)) + outer(p, p)) @ dL/dp",
            lambda last: (
                _of_outputs(last) * last.p * (1 - 2 * last.p) + crosses(last, _of_outputs(last))
            ),
        ),
        Rule(
            "the softmax derivative's outer product with the wrong sign",
            "(diag(p) + outer(p, p)) @ dL/dp",
            lambda last: _of_outputs(last) * last.p + crosses(last, _of_outputs(last)),
        ),
        Rule(
            "the cross terms of the softmax derivative not summed with the class's own",
            "dL/dp - sum(dL/dp * p)",
            lambda last: _of_outputs(last) - (last.p * _of_outputs(last)).sum(1, keepdims=True),
        ),
    )


def _sent(last: Last, rule: Rule) -> Rule:
    """Give a rule that makes a wrong error, sent back through the output activation."""
    if last.natural or last.output.activation == "identity":
        return rule
    return rule._replace(
        symbols=f"({rule.symbols}) * {last.output.activation}'(z{{k}})",
        make=lambda last: _through(last, rule.make(last)),
    )


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
        Rule(
            f"the {name} of -z, not of z",
            f"{name}(-z{{k}}) - y",
            lambda last: _if(name in _AGAIN, _AGAIN.get(name, np.tanh)(-last.z)) - last.y,
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
            "onehot(argmax(p)) - y",
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
            "targets of -1 and 1 where the formula wants 0 and 1",
            "p - (2 * y - 1)",
            lambda last: last.p - _signs(last),
        ),
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
            "p - mean(y, 0)",
            lambda last: last.p - last.y.mean(0),
        ),
        Rule(
            "the class number subtracted, not the one-hot class",
            "p - label",
            lambda last: last.p - _labels(last)[:, None],
        ),
        Rule("plus the targets, not minus", "p + y", lambda last: last.p + last.y),
    )


def _margins(last: Last) -> tuple[Rule, ...]:
    """Wrong derivatives of `log(1 + exp(-t z))`, the loss of targets t of -1 and 1.

    The right one is `-t * sigmoid(-t z)`.
    """
    if (last.output.activation, last.output.loss) != ("sigmoid", "binary cross-entropy"):
        return ()
    return (
        Rule(
            "the target left out inside the sigmoid: sigmoid(-z) for sigmoid(-t z)",
            "-t * sigmoid(-z{k})",
            lambda last: -_signs(last) * sigmoid(-last.z),
        ),
        Rule(
            "the target left out inside the sigmoid: sigmoid(z) for sigmoid(-t z)",
            "-t * sigmoid(z{k})",
            lambda last: -_signs(last) * sigmoid(last.z),
        ),
        Rule(
            "the target left out before the sigmoid: sigmoid(-t z) alone",
            "-sigmoid(-t * z{k})",
            lambda last: -sigmoid(-_signs(last) * last.z),
        ),
        Rule("the sigmoid left out, targets of -1 and 1 alone", "-t", lambda last: -_signs(last)),
        Rule(
            "the sigmoid derivative in place of sigmoid(-t z)",
            "-t * sigmoid'(z{k})",
            lambda last: -_signs(last) * sigmoid_slope(last.z),
        ),
        Rule(
            "exp(-t z) in place of sigmoid(-t z)",
            "-t * exp(-t * z{k})",
            lambda last: -_signs(last) * np.exp(-_signs(last) * last.z),
        ),
        Rule(
            "divided by 1 + exp(-t z), without the exp(-t z) above it",
            "-t * z{k} / (1 + exp(-t * z{k}))",
            lambda last: -_signs(last) * last.z * sigmoid(_signs(last) * last.z),
        ),
    )


def _hinges(last: Last) -> tuple[Rule, ...]:
    """Wrong derivatives of a hinge loss: of two classes, `-t where t z < 1`."""
    if last.output.loss == "hinge loss":
        signs = 2 * last.y - 1
        return (
            Rule("the hinge left out, -t for every example", "-t", lambda _: -signs),
            Rule(
                "the margin left out of the hinge: t z < 0 for t z < 1",
                "where(t * z{k} < 0, -t, 0)",
                lambda last: -signs * (signs * last.z < 0),
            ),
            Rule(
                "the hinge the other way round: t z > 1 for t z < 1",
                "where(t * z{k} > 1, -t, 0)",
                lambda last: -signs * (signs * last.z > 1),
            ),
            Rule(
                "the target left out of the hinge's derivative",
                "where(t * z{k} < 1, -1, 0)",
                lambda last: -1.0 * (signs * last.z < 1),
            ),
            Rule(
                "the loss itself in place of the hinge's derivative",
                "-t * max(0, 1 - t * z{k})",
                lambda last: -signs * np.maximum(0, 1 - signs * last.z),
            ),
        )
    margins = last.z - (last.z * last.y).sum(1, keepdims=True)
    others = last.y == 0

    def counted(violated: np.ndarray) -> Gradient:
        return violated - last.y * violated.sum(1, keepdims=True)

    violated = (margins + 1 > 0) & others
    return (
        Rule("the true class left out", "(m > 0) * 1", lambda _: violated * 1.0),
        Rule(
            "the true class counted once, not once for every violated margin",
            "(m > 0) - y",
            lambda last: violated - last.y,
        ),
        Rule("the true class alone", "-y * sum(m > 0)", lambda _: counted(violated) * ~others),
        Rule(
            "the true class with the wrong sign",
            "(m > 0) + y * sum(m > 0)",
            lambda last: violated + last.y * violated.sum(1, keepdims=True),
        ),
        Rule(
            "the margin of 1 left out",
            "margins without 1",
            lambda _: counted((margins > 0) & others),
        ),
        Rule("every class taken for violated", "(m > -inf)", lambda _: counted(others)),
        Rule(
            "the margins themselves, not whether they are violated",
            "m - y * sum(m)",
            lambda _: counted(np.maximum(margins + 1, 0) * others),
        ),
    )


def _parts() -> tuple[Rule, ...]:
    """Wrong things done with a right difference."""
    return (
        Rule("multiplied by y", "y * (p - y)", lambda last: last.y * last.error),
        Rule("multiplied by 1 - y", "(1 - y) * (p - y)", lambda last: (1 - last.y) * last.error),
        Rule("squared", "(p - y)**2", lambda last: last.error**2),
        Rule("its size without its sign", "abs(p - y)", lambda last: abs(last.error)),
        Rule(
            "its sign without its size",
            "sign(p - y)",
            lambda last: _if(last.output.loss != "absolute error", np.sign(last.error)),
        ),
    )


def _averages() -> tuple[Rule, ...]:
    return (
        Rule(
            "p - y itself, as of the squared error",
            "(p - y)",
            lambda last: _if(last.output.loss != "squared error", last.error),
        ),
        Rule(
            "the hidden activation's derivative applied on top",
            "dz{k} * f'(z{k})",
            lambda last: _if(_is_another(last), last.delta * last.hidden),
        ),
        Rule(
            "averaged over the batch before it was sent back",
            "mean(dz{k}, 0)",
            lambda last: _if(len(last.z) > 1, last.delta.mean(0)),
        ),
        Rule(
            "averaged over the outputs before it was sent back",
            "mean(dz{k}, 1)[:, None]",
            lambda last: _several(last.delta).mean(1, keepdims=True),
        ),
        Rule("the layer's z times the signal", "dz{k} * z{k}", lambda last: last.delta * last.z),
    )


def wrong_signals(chain: Chain) -> list[Signal]:
    """Give the error signals of the output layer with a mistake, or two; none of unknown losses."""
    output, layer = chain.output, len(chain.layers) - 1
    if output is None:
        return []
    z = chain.layers[-1].z
    last = Last(z, output.p, output.y, chain.delta / output.scale, chain, output)
    scale = _scale(output.scale, z.shape)
    right = in_symbols(chain, layer, f"dz{{k}} = {_right(output)}{scale}")
    signals: list[Signal] = []

    def edit(rule: Rule) -> Edit:
        wrong = in_symbols(chain, layer, f"dz{{k}} = {_scaled(rule.symbols, scale)}")
        return Edit(layer, rule.text, wrong, right)

    for rule in rules(last):
        delta = made(rule, last, z.shape)
        if delta is None or not _apart(delta, last.delta):
            continue
        # By the loss's derivative in p some come out the same, whatever the numbers.
        if "dL/dp" in rule.symbols and any(
            not _apart(delta, each.delta / output.scale) for each in signals
        ):
            continue
        signals.append(Signal(delta * output.scale, (edit(rule),)))
    if last.natural or output.activation == "identity":
        return signals
    left_out, *_ = _left_out(output.activation, "")
    for rule in _errors(last):
        delta = made(rule, last, z.shape)
        if delta is not None and _apart(delta, last.delta):
            signals.append(Signal(delta * output.scale, (edit(left_out), edit(rule))))
    return signals


def _right(output: Output) -> str:
    if "cross-entropy" in output.loss and output.activation in ("softmax", "sigmoid"):
        return "(p - y)"
    errors = {
        "hinge loss": "where(t * z{k} < 1, -t, 0)",
        "multiclass hinge loss": "((m > 0) - y * sum(m > 0))",
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


def _scaled(formula: str, scale: str) -> str:
    """Write a formula times a scale, a sum in brackets; of the signal, which has it, as it is."""
    if "dz{k}" in formula:
        return formula
    outside, inner = formula, ""
    while outside != inner:
        inner, outside = outside, re.sub(r"\([^()]*\)", "", outside)
    is_sum = scale and re.search(r" [+-] ", outside)
    return f"({formula}){scale}" if is_sum else formula + scale


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

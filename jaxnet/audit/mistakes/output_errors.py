"""Wrong errors of the output layer: what is not `p - y`, or no derivative of the loss in z.

Shapes: N examples, O outputs.
"""

import numpy as np

from jaxnet.audit.floats import Gradient
from jaxnet.audit.mistakes.last import Last, apart, only_if, several, signs, softmax
from jaxnet.audit.mistakes.rules import Rule, made
from jaxnet.audit.mistakes.slopes import sigmoid, sigmoid_slope

_AGAIN = {"sigmoid": sigmoid, "tanh": np.tanh, "softmax": softmax}


def errors(last: Last) -> list[Rule]:
    """Give the wrong errors, before they are sent back through the output activation."""
    outputs = _outputs(last.output.activation, last.mixed)
    every = (*outputs, *_targets(last.mixed), *_parts())
    both = [(rule, made(rule, last, last.z.shape)) for rule in every]
    # Targets in reverse order, say, may be the targets.
    return [rule for rule, error in both if error is not None and apart(error, last.error)]


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
            lambda last: only_if(name == "softmax", softmax(last.z, 0) - last.y),
        ),
        Rule(
            "the softmax taken over all examples and classes together",
            "softmax(z{k}, axis=None) - y",
            lambda last: only_if(name == "softmax", softmax(last.z, None) - last.y),
        ),
        Rule(
            "the softmax without its sum",
            "exp(z{k}) - y",
            lambda last: only_if(name == "softmax", np.exp(last.z) - last.y),
        ),
        *(_of_others(name) if name in _AGAIN else ()),
        *(
            Rule(
                f"{other} in place of the output layer's {name}",
                f"{other.lower()}(z{{k}}) - y",
                lambda last, other=other, p=p: _other(last, other, p(last.z)),
            )
            for other, p in (
                ("sigmoid", sigmoid),
                ("softmax", lambda z: softmax(several(z))),
                ("tanh", np.tanh),
                ("ReLU", lambda z: np.maximum(z, 0)),
            )
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


def _of_others(name: str) -> tuple[Rule, ...]:
    """The output activation taken of something else than z."""
    of = _AGAIN[name]
    return (
        Rule(
            f"the {name} of -z, not of z",
            f"{name}(-z{{k}}) - y",
            lambda last: of(-last.z) - last.y,
        ),
        Rule(
            f"the {name} applied twice",
            f"{name}({name}(z{{k}})) - y",
            lambda last: of(last.p) - last.y,
        ),
        Rule(
            f"the targets subtracted inside the {name}, not from what it gives",
            f"{name}(z{{k}} - y)",
            lambda last: of(last.z - last.y),
        ),
    )


def _other(last: Last, name: str, p: Gradient) -> Gradient:
    """Give the error of other outputs, where they are not the layer's own."""
    return only_if(last.output.activation != name, p - last.y)


def _decided(p: Gradient) -> Gradient:
    """Round outputs to classes."""
    return np.eye(p.shape[1])[p.argmax(1)] if p.shape[1] > 1 else np.round(p)


def _targets(mixed: str) -> tuple[Rule, ...]:
    """Wrong targets in a right formula."""
    return (
        Rule(f"{mixed}the targets left out, p alone", "p", lambda last: last.p),
        *(
            Rule(
                f"the classes shifted by one {way}",
                f"p - roll(y, {step:+d}, axis=1)",
                lambda last, step=step: last.p - np.roll(several(last.y), step, 1),
            )
            for step, way in ((1, "upwards"), (-1, "downwards"))
        ),
        Rule("the targets flipped, 1 - y for y", "p - (1 - y)", lambda last: last.p - (1 - last.y)),
        Rule(
            "targets of -1 and 1 where the formula wants 0 and 1",
            "p - (2 * y - 1)",
            lambda last: last.p - signs(last),
        ),
        Rule(
            "the classes in reverse order",
            "p - y[:, ::-1]",
            lambda last: last.p - several(last.y)[:, ::-1],
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


def _labels(last: Last) -> Gradient:
    """Give the class of each example; a ValueError where the targets are none."""
    if last.y.shape[1] == 1 or not np.isin(last.y, (0, 1)).all() or (last.y.sum(1) != 1).any():
        raise ValueError
    return last.y.argmax(1).astype(float)


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
            lambda last: only_if(last.output.loss != "absolute error", np.sign(last.error)),
        ),
    )


def margins(last: Last) -> tuple[Rule, ...]:
    """Wrong derivatives of `log(1 + exp(-t z))`, the loss of targets t of -1 and 1.

    The right one is `-t * sigmoid(-t z)`.
    """
    if (last.output.activation, last.output.loss) != ("sigmoid", "binary cross-entropy"):
        return ()
    return (
        Rule(
            "the target left out inside the sigmoid: sigmoid(-z) for sigmoid(-t z)",
            "-t * sigmoid(-z{k})",
            lambda last: -signs(last) * sigmoid(-last.z),
        ),
        Rule(
            "the target left out inside the sigmoid: sigmoid(z) for sigmoid(-t z)",
            "-t * sigmoid(z{k})",
            lambda last: -signs(last) * sigmoid(last.z),
        ),
        Rule(
            "the sign flipped for targets of 0 or -1, as by the target left out before "
            "sigmoid(-t z)",
            "-sigmoid(-t * z{k})",
            lambda last: -sigmoid(-signs(last) * last.z),
        ),
        Rule("the sigmoid left out, targets of -1 and 1 alone", "-t", lambda last: -signs(last)),
        Rule(
            "the sigmoid derivative in place of sigmoid(-t z)",
            "-t * sigmoid'(z{k})",
            lambda last: -signs(last) * sigmoid_slope(last.z),
        ),
        Rule(
            "exp(-t z) in place of sigmoid(-t z)",
            "-t * exp(-t * z{k})",
            lambda last: -signs(last) * np.exp(-signs(last) * last.z),
        ),
        Rule(
            "divided by 1 + exp(-t z), without the exp(-t z) above it",
            "-t * z{k} / (1 + exp(-t * z{k}))",
            lambda last: -signs(last) * last.z * sigmoid(signs(last) * last.z),
        ),
    )


def hinges(last: Last) -> tuple[Rule, ...]:
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

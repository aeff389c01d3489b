"""Wrong derivatives of the output layer's activation, that an error is sent back through.

Shapes: N examples, O outputs.
"""

from collections.abc import Callable, Iterator

import numpy as np

from jaxnet.audit.floats import Gradient
from jaxnet.audit.mistakes.last import Last, across, apart, is_another, of_outputs, slope, softmax
from jaxnet.audit.mistakes.rules import Rule
from jaxnet.audit.mistakes.slopes import FORMULAS, SLOPES, sigmoid, sigmoid_slope, tanh_slope


def left_out(name: str, mixed: str) -> tuple[Rule, ...]:
    """Give what is made where the error or the derivative is left out."""
    return (
        Rule(f"{mixed}the {name} derivative left out", "dL/dp" if mixed else "(p - y)", of_outputs),
        Rule(f"{mixed}the {name} derivative alone, p - y left out", f"{name}'(z{{k}})", slope),
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


def multiplied(last: Last) -> Iterator[Rule]:
    """Give what is made where an error is multiplied by another derivative, or wrongly by one."""
    name, mixed = last.output.activation, last.mixed
    yield from _of_both(last, _own(name, mixed), own=True)
    for rule in (
        *_elsewhere(name, mixed),
        *_other_derivatives(last, name),
        *_parts_of_derivatives(name),
    ):
        yield from _of_both(last, rule)


def _of_both(last: Last, rule: Rule, own: bool = False) -> Iterator[Rule]:
    """Give rules that multiply `p - y`, and the loss's derivative in p where that is another.

    Args:
        last: of which. rule: makes what they multiply by.
        own: whether it is the activation's own derivative.
    """
    yield rule._replace(
        symbols=f"(p - y) * {rule.symbols}", make=lambda last: last.error * rule.make(last)
    )
    if last.crossed:
        name = last.output.activation
        text = f"{last.mixed}the loss's derivative in p "
        if own:
            text += f"times the {name}'s" + " on its diagonal" * (name == "softmax")
        else:
            text += rule.text.rpartition(": ")[2].removeprefix("p - y ")
        yield rule._replace(
            text=text,
            symbols=f"dL/dp * {rule.symbols}",
            make=lambda last: of_outputs(last) * rule.make(last),
        )


def _own(name: str, mixed: str) -> Rule:
    """Give the activation's own derivative, entry by entry."""
    formula = "p (1 - p)" if name in ("softmax", "sigmoid") else f"{name}'(z)"
    text = f"{mixed}p - y multiplied by {formula}"
    if name == "softmax" and not mixed:
        text = "the softmax derivative's diagonal p (1 - p) alone"
    return Rule(text, f"{name}'(z{{k}})", slope)


def _elsewhere(name: str, mixed: str) -> Iterator[Rule]:
    """Give the activation's derivative at another point, squared or divided by."""
    taught, of = _formula(name)
    own = f"{mixed}the {name} derivative"
    yield Rule(f"{own} applied twice", f"{name}'(z{{k}})**2", lambda last: slope(last) ** 2)
    for point, symbols, make in (
        ("the outputs", "p", lambda last: last.p),
        ("the error p - y", "p - y", lambda last: last.error),
        ("the targets", "y", lambda last: last.y),
    ):
        yield Rule(
            f"{own} taken at {point}, not at z",
            f"{name}'({symbols})",
            lambda last, make=make: _taken_at(last, make(last)),
            linear=symbols != "p - y",
        )
    yield Rule(
        f"{mixed}divided by the {name} derivative",
        f"1 / {name}'(z{{k}})",
        lambda last: 1 / slope(last),
    )
    formula = f"{mixed}the formula of the {name} derivative applied to"
    yield Rule(
        f"{formula} z, not to the outputs", taught.replace("p", "z{k}"), lambda last: of(last.z)
    )
    yield Rule(
        f"{formula} the error p - y",
        taught.replace("p", "(p - y)"),
        lambda last: of(last.error),
        linear=False,
    )


def _taken_at(last: Last, points: Gradient) -> Gradient:
    """Give the output activation's derivative taken at something that is not z."""
    slopes = {"sigmoid": sigmoid_slope, "tanh": tanh_slope, "softplus": sigmoid}
    if last.output.activation == "softmax":
        again = softmax(points)
        return again * (1 - again)
    if last.output.activation not in slopes:
        raise ValueError
    return slopes[last.output.activation](points)


def _formula(name: str) -> tuple[str, Callable[[Gradient], Gradient]]:
    """Give an output activation's derivative as it is taught, a formula in the outputs."""
    formulas = {**FORMULAS, "softmax": FORMULAS["sigmoid"]}
    symbols, of = formulas.get(name, ("", lambda p: p * np.nan))
    return symbols.format("p"), of


def _other_derivatives(last: Last, name: str) -> Iterator[Rule]:
    if is_another(last) or (name == "identity" and len(last.chain.layers) > 1):
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
        if other != name and np.ptp(slope) and apart(slope, last.p):
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


def jacobians(name: str, mixed: str) -> tuple[Rule, ...]:
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
            lambda last: across(last, last.error),
        ),
        Rule(
            "the softmax derivative applied twice",
            "J(p) @ J(p) @ dL/dp",
            lambda last: across(last, across(last, of_outputs(last))),
        ),
        Rule(
            "the softmax derivative's cross terms alone, its diagonal left out",
            "-p * sum(dL/dp * p)",
            lambda last: of_outputs(last) * last.p**2 - crosses(last, of_outputs(last)),
        ),
        Rule(
            "the softmax derivative without diag(p): -outer(p, p)",
            "-p * sum(dL/dp * p)",
            lambda last: -crosses(last, of_outputs(last)),
        ),
        Rule(
            "the softmax derivative's cross terms with the wrong sign",
            "(diag(p (1 - p)) + outer(p, p)) @ dL/dp",
            lambda last: (
                of_outputs(last) * last.p * (1 - 2 * last.p) + crosses(last, of_outputs(last))
            ),
        ),
        Rule(
            "the softmax derivative's outer product with the wrong sign",
            "(diag(p) + outer(p, p)) @ dL/dp",
            lambda last: of_outputs(last) * last.p + crosses(last, of_outputs(last)),
        ),
        Rule(
            "the cross terms of the softmax derivative not summed with the class's own",
            "dL/dp - sum(dL/dp * p)",
            lambda last: of_outputs(last) - (last.p * of_outputs(last)).sum(1, keepdims=True),
        ),
    )


def _column(last: Last, factor: Gradient) -> Gradient:
    """Give dL/dp times the last column of `diag(p) - outer(p, factor)`, entry by entry."""
    jacobian = -last.p * factor[:, -1:]
    jacobian[:, -1] += last.p[:, -1]
    return of_outputs(last) * jacobian


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
                last.p * (of_outputs(last) - (last.z * of_outputs(last)).sum(1, keepdims=True))
            ),
        ),
    )

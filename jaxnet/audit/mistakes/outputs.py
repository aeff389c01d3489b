"""How the error signal of the output layer is got wrong.

With `p = g(z)` and the targets y, the right one is `p - y` of a cross-entropy and its own
activation, and `(p - y) * g'(z)` of the squared error; times the loss's scale, such as 1 / N.

Shapes: N examples, O outputs.
"""

import re

import numpy as np

from jaxnet.audit.chain import Chain, Output
from jaxnet.audit.mistakes.last import Last, apart, is_another, only_if, several, through
from jaxnet.audit.mistakes.output_errors import errors, hinges, margins
from jaxnet.audit.mistakes.output_slopes import jacobians, left_out, multiplied
from jaxnet.audit.mistakes.rules import Edit, Rule, Signal, in_symbols, made


def wrong_signals(chain: Chain) -> list[Signal]:
    """Give the error signals of the output layer with a mistake, or two; none of unknown losses."""
    output, layer = chain.output, len(chain.layers) - 1
    if output is None:
        return []
    z = chain.layers[-1].z
    last = Last(
        z, output.p, y=output.y, delta=chain.delta / output.scale, chain=chain, output=output
    )
    scale = _scale(output.scale, z.shape)
    right = in_symbols(chain, layer, f"dz{{k}} = {_right(output)}{scale}")
    signals: list[Signal] = []

    def edit(rule: Rule) -> Edit:
        wrong = in_symbols(chain, layer, f"dz{{k}} = {_scaled(rule.symbols, scale)}")
        return Edit(layer, rule.text, wrong, right)

    for rule in rules(last):
        delta = made(rule, last, z.shape)
        if delta is None or not apart(delta, last.delta):
            continue
        # By the loss's derivative in p some come out the same, whatever the numbers.
        if "dL/dp" in rule.symbols and any(
            not apart(delta, each.delta / output.scale) for each in signals
        ):
            continue
        signals.append(Signal(delta * output.scale, (edit(rule),)))
    if last.natural or output.activation == "identity":
        return signals
    missing, *_ = left_out(output.activation, "")
    for rule in errors(last):
        delta = made(rule, last, z.shape)
        if delta is not None and apart(delta, last.delta):
            signals.append(Signal(delta * output.scale, (edit(missing), edit(rule))))
    return signals


def rules(last: Last) -> tuple[Rule, ...]:
    """Give the wrong signals at this output layer, unscaled."""
    if "hinge" in last.output.loss:
        return (*hinges(last), *_averages()[1:])
    return (
        *left_out(last.output.activation, last.mixed),
        *multiplied(last),
        *(_sent(last, rule) for rule in errors(last)),
        *jacobians(last.output.activation, last.mixed),
        *margins(last),
        *_averages(),
    )


def _sent(last: Last, rule: Rule) -> Rule:
    """Give a rule that makes a wrong error, sent back through the output activation."""
    if last.natural or last.output.activation == "identity":
        return rule
    return rule._replace(
        symbols=f"({rule.symbols}) * {last.output.activation}'(z{{k}})",
        make=lambda last: through(last, rule.make(last)),
    )


def _averages() -> tuple[Rule, ...]:
    return (
        Rule(
            "p - y itself, as of the squared error",
            "(p - y)",
            lambda last: only_if(last.output.loss != "squared error", last.error),
        ),
        Rule(
            "the hidden activation's derivative applied on top",
            "dz{k} * f'(z{k})",
            lambda last: only_if(is_another(last), last.delta * last.hidden),
        ),
        Rule(
            "averaged over the batch before it was sent back",
            "mean(dz{k}, 0)",
            lambda last: only_if(len(last.z) > 1, last.delta.mean(0)),
        ),
        Rule(
            "averaged over the outputs before it was sent back",
            "mean(dz{k}, 1)[:, None]",
            lambda last: several(last.delta).mean(1, keepdims=True),
        ),
        Rule("the layer's z times the signal", "dz{k} * z{k}", lambda last: last.delta * last.z),
    )


def _right(output: Output) -> str:
    if "cross-entropy" in output.loss and output.activation in ("softmax", "sigmoid"):
        return "(p - y)"
    by_loss = {
        "hinge loss": "where(t * z{k} < 1, -t, 0)",
        "multiclass hinge loss": "((m > 0) - y * sum(m > 0))",
        "squared error": "(p - y)",
        "absolute error": "sign(p - y)",
        "Huber loss": "clip(p - y, -1, 1)",
        "log-cosh": "tanh(p - y)",
    }
    error = by_loss.get(output.loss, "dL/dp")
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

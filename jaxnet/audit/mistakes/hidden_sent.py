"""What is sent back to a hidden layer in place of `dz2 @ W2`."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from jaxnet.audit.case import Gradient
from jaxnet.audit.mistakes.rules import Hidden, Rule

# Columns of a weight that are all thought of, and not the ends alone.
_FEW = 16


class Sent(NamedTuple):
    """What a hidden layer gets back: the error signal `[N, O]` of the layer after it."""

    at: Hidden
    delta: Gradient


def _left_out(sent: Sent) -> Gradient:
    width = sent.at.here.z.shape[1]
    if sent.delta.shape[1] in (width, 1):
        return sent.delta
    return sent.delta.sum(1, keepdims=True)


def _skipped(sent: Sent) -> Gradient:
    layers, after = sent.at.chain.layers, sent.at.layer + 2
    if after >= len(layers):
        raise ValueError
    return sent.at.signals[after] @ layers[after].back


def _claim(sent: Sent, penalised: bool = True) -> Gradient:
    return sent.delta @ sent.at.moved(penalised)[:, sent.at.after.columns]


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
    return (*_through_others(at), *_through_changed(at), *_through_columns(at), *_other_signals(at))


def dropped(at: Hidden) -> list[int]:
    """Give the columns of the next weight that may be left out in place of that of the ones."""
    weight = at.after.weight
    own = np.arange(weight.shape[1])[at.after.columns]
    if len(own) != weight.shape[1] - 1:
        return []
    return (own if len(own) <= _FEW else np.unique(own[[0, -1]])).tolist()


def _through_columns(at: Hidden) -> Iterator[Rule]:
    changed = [("", "{W}", at.after.weight)]
    changed += [
        (
            f", of weights already updated, with learning rate {abs(rate):.4g}",
            f"{{W}} - {rate:.4g} * d{{W}}",
            at.after.weight - rate * at.moved(penalised),
        )
        for rate, penalised in at.fits.updates
    ]
    for how, symbols, weight in changed:
        for column in dropped(at):
            yield Rule(
                f"column {column + 1} of the weight left out, not that of the ones{how}",
                f"dz{{n}} @ delete({symbols}, {column}, 1)",
                lambda sent, column=column, weight=weight: (
                    sent.delta @ np.delete(weight, column, 1)
                ),
                fitted=bool(how),
            )


def _through_others(at: Hidden) -> tuple[Rule, ...]:
    others = [k for k in range(len(at.chain.layers)) if k != at.layer + 1]
    return (
        Rule(
            "sent back through the transposed weight",
            "dz{n} @ {W}.T",
            lambda sent: sent.delta @ _square(sent.at.after.back),
        ),
        Rule("sent back without the weight", "dz{n}", _left_out),
        *(
            Rule(
                f"sent back through the weight of layer {k + 1}, not of layer {at.layer + 2}",
                f"dz{{n}} @ W{k + 1}",
                lambda sent, k=k: sent.delta @ sent.at.chain.layers[k].back,
            )
            for k in others
        ),
        *(
            Rule(
                f"sent back through the transposed weight of layer {k + 1}, not the weight of "
                f"layer {at.layer + 2}",
                f"dz{{n}} @ W{k + 1}.T",
                lambda sent, k=k: sent.delta @ sent.at.chain.layers[k].back.T,
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
                f"sent back through weights already updated, with learning rate "
                f"{abs(update.rate):.4g}",
                f"dz{{n}} @ ({{W}} - {update.rate:.4g} * d{{W}})",
                lambda sent, update=update: (
                    sent.delta @ sent.at.after.back - update.rate * _claim(sent, update.penalised)
                ),
                fitted=True,
            )
            for update in at.fits.updates
        ),
        Rule(
            "sent back in shares of each unit's weights, divided by their sum",
            "dz{n} @ ({W} / sum({W}, 1))",
            lambda sent: (
                sent.delta @ (sent.at.after.back / sent.at.after.back.sum(1, keepdims=True))
            ),
        ),
        Rule(
            "sent back through the weight's sizes, without signs",
            "dz{n} @ abs({W})",
            lambda sent: sent.delta @ np.abs(sent.at.after.back),
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
            lambda sent: _of_output(sent) @ sent.at.after.back,
        ),
        Rule(
            "the error signal of the output layer, without the weights between",
            f"dz{len(at.chain.layers)}",
            _of_output,
        ),
        Rule(
            "the next layer's activations sent back, not its error signal",
            "h{n} @ {W}",
            lambda sent: sent.at.after.h @ sent.at.after.back,
        ),
        Rule(
            "the next layer's pre-activations sent back, not its error signal",
            "z{n} @ {W}",
            lambda sent: sent.at.after.z @ sent.at.after.back,
        ),
        Rule(
            "the weight alone, the error signal left out",
            "sum({W}, 0)",
            lambda sent: sent.at.after.back.sum(0),
        ),
    )

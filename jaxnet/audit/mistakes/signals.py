"""Error signals gone wrong, and what is made of right ones by mistake, in every leaf they reach."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from jaxnet.audit.case import Case, Gradient, Mistake, Tier
from jaxnet.audit.chain import RIGHT, Chain, SignalRule, send_back
from jaxnet.audit.mistakes.hidden import RULES
from jaxnet.audit.mistakes.leaves import multiple
from jaxnet.audit.mistakes.outputs import wrong_outputs


class _Plan(NamedTuple):
    """Error signals to be made wrong: that of the output layer, and some hidden ones by a rule.

    Attributes:
        output: what is wrong with that of the output layer, in words; empty where it is right.
        delta: that signal.
        rule: of the hidden layers that are wrong.
        layers: these layers.
    """

    output: str
    delta: Gradient
    rule: SignalRule
    layers: set[int]

    @property
    def reason(self) -> str:
        """Say what went wrong and where, the same words for every layer."""
        parts = [f"error signal of the output layer: {self.output}"] if self.output else []
        if self.layers:
            where = " and ".join(f"hidden layer {layer + 1}" for layer in sorted(self.layers))
            parts.append(f"error signal of {where}: {self.rule.text}")
        return "; ".join(parts)

    def text(self, layer: int) -> str:
        """Say where the signal of a layer went wrong: there, or at layers it came through."""
        parts = [f"error signal of the output layer: {self.output}"] if self.output else []
        above = [each for each in self.layers if each >= layer]
        if layer in above:
            parts.append(f"error signal of hidden layer {layer + 1}: {self.rule.text}")
        elif above:
            source = f"the error signal of hidden layer {min(above) + 1}"
            parts.append(f"follows from {source}: {self.rule.text}")
        return "; ".join(parts)


def signals(case: Case, chain: Chain, combined: bool) -> Tier:
    """Error signals gone wrong at the output, in one hidden layer or in all: alone or combined."""
    tier: Tier = {}
    with np.errstate(all="ignore"):
        for plan in _plans(case, chain, combined):
            hidden = range(len(chain.layers) - 1)
            rules = [plan.rule if layer in plan.layers else RIGHT for layer in hidden]
            for scale in (1.0,) if plan.rule.linear else (1.0, chain.scale):
                deltas = send_back(chain, plan.delta / chain.scale * scale, rules)
                deltas = [delta * (chain.scale / scale) for delta in deltas]
                for index, leaf in chain.leaves(deltas).items():
                    if text := plan.text(chain.leaf(index)):
                        mistake = Mistake(text, leaf, signal=True, reason=plan.reason)
                        tier.setdefault(index, []).append(mistake)
    return tier


def _plans(case: Case, chain: Chain, combined: bool) -> Iterator[_Plan]:
    """Give every mistake in hidden layers and at the output, each alone; or all their pairs."""
    outputs = wrong_outputs(case, chain)
    hidden = range(len(chain.layers) - 1)
    places = [{layer} for layer in hidden] + [set(hidden)] * (len(hidden) > 1)
    for output, delta in outputs.items() if combined else [("", chain.delta)]:
        for rule in RULES:
            for layers in places:
                yield _Plan(output, delta, rule, layers)
    if not combined:
        for output, delta in outputs.items():
            yield _Plan(output, delta, RIGHT, set())


def weight_inputs(chain: Chain) -> Tier:
    """Weight gradients formed with what a layer did not get as its input."""
    layers = chain.layers
    deltas = send_back(chain, chain.delta, [RIGHT] * (len(layers) - 1))
    text = "formed with the pre-activations of the layer before, not their activations"
    return {
        layer.weight_leaf: [Mistake(text, chain.weight_gradient(layer, delta, before.z))]
        for before, layer, delta in zip(layers[:-1], layers[1:], deltas[1:], strict=True)
    }


def updated_weights(case: Case, chain: Chain) -> Tier:
    """Error signals sent back through weights that were already updated, layer by layer."""
    layers = chain.layers
    if len(layers) < 2 or not case.shapes_agree:
        return {}
    claimed = [_upright(case.claimed[layer.weight_leaf], layer.transposed) for layer in layers]
    top = layers[-2]
    moved = ((chain.delta @ claimed[-1]) * top.slope).T @ top.x
    apart = case.true[top.weight_leaf] - case.claimed[top.weight_leaf]
    rate = multiple(_upright(apart, top.transposed), moved)
    if not rate > 0:
        return {}
    updated = chain._replace(
        layers=tuple(
            layer._replace(weight=layer.weight - rate * each)
            for layer, each in zip(layers, claimed, strict=True)
        )
    )
    deltas = send_back(updated, chain.delta, [RIGHT] * (len(layers) - 1))
    text = f"sent back through weights already updated, with learning rate {rate:.4g}"
    return {
        index: [
            Mistake(
                f"error signal of hidden layer {chain.leaf(index) + 1}: {text}",
                leaf,
                signal=True,
                fitted=True,
                reason=f"error signals {text}",
            )
        ]
        for index, leaf in updated.leaves(deltas).items()
        if chain.leaf(index) < len(layers) - 1
    }


def _upright(gradient: Gradient, transposed: bool) -> Gradient:
    return gradient.T if transposed else gradient

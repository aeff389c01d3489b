"""What was computed and what should be, side by side, in the names of the user's parameters.

Symbols: x the inputs, z1 and h1 the first layer's pre-activations and activations, dz1 its error
signal, each [N, ...]; W1 and b1 its parameters, dW1 and db1 their gradients.
"""

import re

import numpy as np

from jaxnet.audit.chain import Chain
from jaxnet.audit.explaining import Reading


def of_reading(chain: Chain | None, index: int, reading: Reading) -> tuple[str, str]:
    """Give the wrong and the right formula of a leaf; empty where they are not known."""
    mistake = reading.mistake
    wrong, right = mistake.wrong, mistake.right
    if not mistake.text and chain:
        wrong, right = _of_leaf(chain, index, reading)
    if chain and wrong:
        wrong, right = (_renamed(chain, text) for text in (wrong, right))
    return wrong, right


def _of_leaf(chain: Chain, index: int, reading: Reading) -> tuple[str, str]:
    """Give the formulas of a leaf of which the true gradient was made something else."""
    at = next(
        (k for k, e in enumerate(chain.layers) if index in (e.weight_leaf, e.bias_leaf)), None
    )
    if at is None or not reading.factor.formula:
        return "", ""
    layer, signal, inputs = chain.layers[at], f"dz{at + 1}", f"h{at}" if at else "x"
    name = f"dW{at + 1}" if index == layer.weight_leaf else f"db{at + 1}"
    upright, turned = f"{signal}.T @ {inputs}", f"{inputs}.T @ {signal}"
    if index == layer.bias_leaf:
        upright = turned = f"{signal}.sum(0)"
    elif layer.transposed:
        upright, turned = turned, upright
    if reading.form not in ("", "transposed"):
        return "", ""
    share = "" if np.isclose(chain.scale, 1) else " / N"
    wrong = reading.factor.formula.format((turned if reading.form else upright) + share)
    return f"{name} = {_cancelled(wrong)}", f"{name} = {upright}{share}"


def _cancelled(formula: str) -> str:
    """Leave out N where it is multiplied by and divided by."""
    return re.sub(r"\bN \* (.*) / N", r"\1", formula)


def _renamed(chain: Chain, formula: str) -> str:
    """Put the user's own names for the parameters, where they have names of one word."""
    names = {}
    for at, layer in enumerate(chain.layers, 1):
        names |= {f"W{at}": layer.weight_leaf, f"b{at}": layer.bias_leaf}

    def own(found: re.Match[str]) -> str:
        leaf = names.get(found[2])
        word = re.fullmatch(r"\['(\w+)'\]|\.(\w+)", chain.names[leaf]) if leaf is not None else None
        return found[1] + (word[1] or word[2] if word else found[2])

    return re.sub(r"\b(d?)([Wb]\d+)\b", own, formula)

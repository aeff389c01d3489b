"""How the gradients of a layer's weight and bias are formed of a right error signal, wrongly.

The right ones are `dW1 = dz1.T @ x` and `db1 = sum(dz1, 0)`.

Shapes: N examples, I inputs and O outputs of a layer, K error signals side by side.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from jaxnet.audit.chain import Chain, Dense, slope_of
from jaxnet.audit.floats import Gradient
from jaxnet.audit.mistakes.leaves import AS_GIVEN
from jaxnet.audit.mistakes.rules import Rule
from jaxnet.audit.mistakes.slopes import FORMULAS
from jaxnet.audit.outputs import ACTIVATIONS


class Forming(NamedTuple):
    """A layer whose parameters' gradients are formed of error signals.

    Attributes:
        chain: the layer is in. layer: which, from the input on.
        signals: the right error signals of all layers.
        deltas: shape [K, N, O], the error signals.
    """

    chain: Chain
    layer: int
    signals: list[Gradient]
    deltas: Gradient

    @property
    def here(self) -> Dense:
        """The layer itself."""
        return self.chain.layers[self.layer]

    def with_inputs(self, x: Gradient | None) -> Gradient:
        """Give the weight's gradients [K, O, I] of other inputs [N, I]."""
        if x is None:
            raise ValueError
        return np.swapaxes(self.deltas, 1, 2) @ self.here.filled(x)

    @property
    def weight(self) -> Gradient:
        """The weight's gradients as they should be formed, [K, O, I]."""
        return self.with_inputs(self.here.x)

    @property
    def bias(self) -> Gradient:
        """The bias's gradients as they should be formed, [K, O]."""
        return self.deltas.sum(1)

    @property
    def outputs(self) -> Gradient:
        """The layer's own outputs, [N, O]; a ValueError where those of the last are not known."""
        if self.layer < len(self.chain.layers) - 1:
            return self.here.h
        if self.chain.output is None:
            raise ValueError
        return self.chain.output.p

    def gradient(self, leaf: int) -> Gradient:
        """Give the gradients of a leaf of the layer as they should be formed, [K, ...]."""
        return self.weight if leaf == self.here.weight_leaf else self.bias


def _sum_of_rest(gradient: Gradient) -> Gradient:
    return gradient.sum((1, 2), keepdims=True)


def _ones(x: Gradient) -> np.ndarray:
    """Tell which inputs are always 1, as those that a bias is multiplied by are."""
    ones = (x == 1).all(0)
    if ones.sum() != 1:
        raise ValueError
    return ones


def _slope_at(at: Forming, points: Gradient) -> Gradient:
    """Give the derivative of the layer's activation at other points, where it has one."""
    activation = at.here.activation
    if at.layer == len(at.chain.layers) - 1:
        name = at.chain.output.activation if at.chain.output else "identity"
        if name in ("identity", "softmax"):
            raise ValueError
        activation = ACTIVATIONS[name]
    return slope_of(activation, points)


def _instead_of_slope(at: Forming, factor: Gradient) -> Gradient:
    """Give the bias's gradients with something in place of the layer's own derivative."""
    slope = _slope_at(at, at.here.z)
    if not slope.all():
        raise ValueError
    return (at.deltas / slope * factor).sum(1)


def _rolled(x: Gradient, step: int) -> np.ndarray:
    _ones(x)
    return np.roll(np.arange(x.shape[1]), step)


def weights(forming: Forming) -> tuple[Rule, ...]:
    """Give the wrong ways to form a weight's gradient."""
    return (
        *_of_other_inputs(forming),
        *_of_ones(),
        *_of_unscaled_inputs(forming),
        *_of_other_layers(forming),
        *_of_no_product(forming),
    )


def _of_other_inputs(forming: Forming) -> tuple[Rule, ...]:
    layer, layers = forming.layer, forming.chain.layers
    return (
        Rule(
            "formed with the pre-activations of the layer before, not their activations",
            "dz{k}.T @ z{p}",
            lambda at: at.with_inputs(layers[layer - 1].z if layer else None),
        ),
        Rule(
            "formed with the activation derivatives of the layer before, not its activations",
            "dz{k}.T @ f{p}'(z{p})",
            lambda at: at.with_inputs(layers[layer - 1].slope if layer else None),
        ),
        Rule(
            "formed with the network's inputs, not the layer's own",
            "dz{k}.T @ x",
            lambda at: at.with_inputs(layers[0].x if layer else None),
        ),
        Rule(
            "formed with the layer's own pre-activations, not its inputs",
            "dz{k}.T @ z{k}",
            lambda at: at.with_inputs(at.here.z),
        ),
        Rule(
            "formed with the network's outputs, not the layer's inputs",
            "dz{k}.T @ p",
            lambda at: at.with_inputs(at.chain.output and at.chain.output.p),
        ),
        Rule(
            "formed with the targets, not the layer's inputs",
            "dz{k}.T @ y",
            lambda at: at.with_inputs(at.chain.output and at.chain.output.y),
        ),
        Rule(
            "formed with the inputs of the example before",
            "dz{k}.T @ roll({x}, 1, 0)",
            lambda at: at.with_inputs(np.roll(at.here.x, 1, 0)),
        ),
        Rule(
            "formed with the inputs of the example after",
            "dz{k}.T @ roll({x}, -1, 0)",
            lambda at: at.with_inputs(np.roll(at.here.x, -1, 0)),
        ),
        Rule(
            "formed with the inputs times the activation derivative at the inputs, not at z",
            "dz{k}.T @ ({x} * f{k}'({x}))",
            lambda at: at.with_inputs(at.here.x * _slope_at(at, at.here.x)),
        ),
        Rule(
            "formed with the squared inputs",
            "dz{k}.T @ {x}**2",
            lambda at: at.with_inputs(at.here.x**2),
        ),
    )


def _of_ones() -> tuple[Rule, ...]:
    """Mistakes with an input of ones, which stands for the bias."""
    return (
        Rule(
            "formed with the inputs' columns one place on, as where the ones are at the other end",
            "dz{k}.T @ roll({x}, 1, 1)",
            lambda at: at.weight[:, :, _rolled(at.here.x, 1)],
        ),
        Rule(
            "formed with the inputs' columns one place back, as where the ones are at the other "
            "end",
            "dz{k}.T @ roll({x}, -1, 1)",
            lambda at: at.weight[:, :, _rolled(at.here.x, -1)],
        ),
        Rule(
            "the gradient of the column of ones left out",
            "dz{k}.T @ where({x} == 1, 0, {x})",
            lambda at: at.weight * ~_ones(at.here.x),
        ),
    )


def _of_unscaled_inputs(forming: Forming) -> tuple[Rule, ...]:
    if forming.layer:
        return ()
    x = forming.here.x
    moving = np.ptp(x, 0) > 0
    scaled = {
        "centred inputs": x - x.mean(0),
        "standardised inputs": (x - x.mean(0)) / x.std(0),
        "inputs scaled to between 0 and 1": (x - x.min(0)) / np.ptp(x, 0),
    }
    given = Rule(AS_GIVEN, "dz{k}.T @ x", lambda at: at.with_inputs(at.chain.raw))
    return (
        given,
        *(
            Rule(
                f"formed with {text}, not as the loss has them",
                "dz{k}.T @ scaled(x)",
                # A column of ones stays one.
                lambda at, inputs=inputs: at.with_inputs(np.where(moving, inputs, x)),
            )
            for text, inputs in scaled.items()
        ),
    )


def _of_other_layers(forming: Forming) -> tuple[Rule, ...]:
    layer, layers = forming.layer, forming.chain.layers
    others = [k for k in range(len(layers)) if k != layer - 1]
    return (
        *(
            Rule(
                "formed with the layer's own outputs, not its inputs"
                if k == layer
                else f"formed with the outputs of layer {k + 1}, not the layer's inputs",
                f"dz{{k}}.T @ h{k + 1}",
                lambda at, k=k: at.with_inputs(layers[k].h),
            )
            for k in others
            if k + 1 < len(layers)
        ),
        *_of_other_signals(
            forming, lambda delta: (delta.T @ forming.here.x)[None], "dz{}.T @ {{x}}"
        ),
    )


def _of_no_product(forming: Forming) -> tuple[Rule, ...]:
    return (
        Rule(
            "formed without the layer's inputs",
            "sum(dz{k}, 0)[:, None]",
            lambda at: at.bias[:, :, None] * np.ones(at.here.weight.shape),
        ),
        Rule(
            "formed with the layer's own outputs unit by unit, not its inputs",
            "sum(dz{k} * h{k}, 0)[:, None]",
            lambda at: (at.deltas * at.outputs).sum(1)[:, :, None] * np.ones(at.here.weight.shape),
        ),
        Rule(
            "formed as the scalar product with the layer's own outputs, one number for all",
            "sum(dz{k} * h{k})",
            lambda at: _sum_of_rest(at.deltas * at.outputs) * np.ones(at.here.weight.shape),
        ),
        Rule(
            "formed with the weight itself, not the layer's inputs",
            "sum(dz{k}, 0)[:, None] * W{k}",
            lambda at: at.bias[:, :, None] * at.here.weight,
        ),
        Rule(
            "formed as the outer product of means over the batch, not the mean of outer products",
            "outer(sum(dz{k}, 0), mean({x}, 0))",
            lambda at: at.bias[:, :, None] * at.here.x.mean(0),
        ),
        Rule(
            "multiplied by the weight as well",
            "dz{k}.T @ {x} * W{k}",
            lambda at: at.weight * at.here.weight,
        ),
        Rule(
            "formed of the layer's outputs and inputs, without the error signal",
            "h{k}.T @ {x}",
            lambda at: (at.here.h.T @ at.here.x)[None],
        ),
        Rule(
            "formed of the layer's inputs alone, without the error signal",
            "sum({x}, 0)",
            lambda at: np.broadcast_to(at.here.x.sum(0), (1, *at.here.weight.shape)),
        ),
        Rule(
            "summed over its entries, one number for all",
            "sum(dz{k}.T @ {x})",
            lambda at: _sum_of_rest(at.weight) * np.ones(at.here.weight.shape),
        ),
        Rule(
            "summed over its rows",
            "sum(dz{k}.T @ {x}, 0)",
            lambda at: at.weight.sum(1, keepdims=True) * np.ones(at.here.weight.shape),
        ),
        Rule("the weight itself in place of its gradient", "W{k}", lambda at: at.here.weight[None]),
    )


def _of_bias() -> tuple[Rule, ...]:
    """Mistakes with a bias itself, or the activation's derivative there."""
    return (
        Rule(
            "multiplied by the bias itself",
            "sum(dz{k}, 0) * b{k}",
            lambda at: at.bias * at.here.bias,
        ),
        Rule(
            "formed with the activation derivative at the bias, not at z",
            "sum(dh{k}, 0) * f{k}'(b{k})",
            lambda at: _instead_of_slope(at, _slope_at(at, at.here.bias)),
        ),
        *(
            Rule(
                "formed with the formula of the activation derivative applied to the bias",
                f"sum(dh{{k}}, 0) * {symbols.format('b{k}')}",
                lambda at, of=of: _instead_of_slope(at, of(at.here.bias)),
            )
            for symbols, of in FORMULAS.values()
        ),
    )


def biases(forming: Forming) -> tuple[Rule, ...]:
    """Give the wrong ways to form a bias's gradient."""

    def entries(at: Forming, gradient: Gradient) -> Gradient:
        return gradient.reshape(len(gradient), -1).sum(1, keepdims=True) * np.ones(
            len(at.here.weight)
        )

    # A batch of one is its own sum.
    unsummed = Rule("not summed over the batch", "dz{k}", lambda at: at.deltas)
    return (
        *[unsummed] * (forming.deltas.shape[1] > 1),
        Rule(
            "summed over its entries instead of over the batch",
            "sum(dz{k}, 1)",
            lambda at: at.deltas.sum(2),
        ),
        Rule("summed over its entries as well", "sum(dz{k})", lambda at: entries(at, at.deltas)),
        Rule(
            "summed over its entries as well",
            "sum(dz{k})",
            lambda at: at.deltas.sum((1, 2))[:, None],
        ),
        Rule("the row sums of the weight's gradient", "sum(dW{k}, 1)", lambda at: at.weight.sum(2)),
        Rule(
            "the row means of the weight's gradient", "mean(dW{k}, 1)", lambda at: at.weight.mean(2)
        ),
        Rule(
            "the column sums of the weight's gradient", "sum(dW{k}, 0)", lambda at: at.weight.sum(1)
        ),
        Rule(
            "the column means of the weight's gradient",
            "mean(dW{k}, 0)",
            lambda at: at.weight.mean(1),
        ),
        Rule("the sum of the weight's gradient", "sum(dW{k})", lambda at: entries(at, at.weight)),
        *_of_bias(),
        Rule(
            "formed with the layer's outputs, where a bias has 1",
            "sum(dz{k} * h{k}, 0)",
            lambda at: (at.deltas * at.outputs).sum(1),
        ),
        Rule(
            "formed with the layer's inputs, where a bias has 1",
            "sum(dz{k} * {x}, 0)",
            lambda at: (at.deltas * at.here.x).sum(1),
        ),
        Rule(
            "the sum of the layer's outputs, without the error signal",
            "sum(h{k}, 0)",
            lambda at: at.here.h.sum(0)[None],
        ),
        *_of_other_signals(forming, lambda delta: delta.sum(0)[None], "sum(dz{}, 0)"),
        Rule("the bias itself in place of its gradient", "b{k}", lambda at: at.here.bias[None]),
    )


def _of_other_signals(forming: Forming, form, symbols: str) -> Iterator[Rule]:
    for k, delta in enumerate(forming.signals):
        if k != forming.layer:
            yield Rule(
                f"formed with the error signal of layer {k + 1}, not of layer {forming.layer + 1}",
                symbols.format(k + 1),
                lambda _, delta=delta: form(delta),
            )


class Part(NamedTuple):
    """A part of the batch, or one taken in other shares.

    Attributes:
        text: which, in words. symbols: the same. weights: shape [N], the share of each example.
    """

    text: str
    symbols: str
    weights: Gradient


def parts(rows: int, every: bool) -> Iterator[Part]:
    """Give the parts of a batch that its gradient may be of by mistake.

    Args:
        rows: N. every: whether each single example is thought of, and not only the ends.
    """
    if rows == 1:
        return
    number, half = np.arange(rows), rows // 2
    examples = range(rows) if every else sorted({0, rows - 1})
    subsets = [(f"example {row} alone", f"[{row}]", number == row) for row in examples]
    if rows > 2:
        subsets += [(f"example {row} left out", f"[!= {row}]", number != row) for row in examples]
    if rows > 3:
        subsets += [
            ("the first half alone", "[:N/2]", number < half),
            ("the first half alone", "[:N/2]", number < rows - half),
            ("the second half alone", "[N/2:]", number >= half),
            ("the second half alone", "[N/2:]", number >= rows - half),
            ("every second example alone", "[::2]", number % 2 == 0),
        ]
    for text, symbols, subset in subsets:
        yield Part(f"not summed over the batch: {text}", symbols, subset.astype(float))
        yield Part(
            f"not summed over the batch: {text}, averaged over these",
            symbols,
            subset * rows / subset.sum(),
        )
    if rows > 2:
        yield Part(
            "divided by the batch size within the loop over the examples",
            "[loop]",
            float(rows) ** (1 + number - rows),
        )
        for row in examples:
            yield Part(f"example {row} counted twice", f"[{row} twice]", 1.0 + (number == row))

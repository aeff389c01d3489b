"""Random networks, and gradients of them gone wrong by each family of mistakes, in plain NumPy.

Nothing here computes with jaxnet, differentiates automatically or looks at its list of mistakes:
this is ordinary backpropagation over a batch, `x [N, I]` and `W [O, I]`, in which one step is
replaced.

Shapes: N examples, I inputs and O outputs of a layer.
"""

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.linalg import norm

from jaxnet.audit import Row

Array = np.ndarray
Random = np.random.Generator
Gradients = list[list[Array]]
"""`[[W, b], ...]`, layer by layer, of `W [O, I]` and `b [O]`."""
Outcome = Literal["named", "unexplained", "wrong cause", "false alarm"]


def sigmoid(z: Array) -> Array:
    """Give the logistic function."""
    return 1 / (1 + np.exp(-z))


def softmax(z: Array, axis: int = 1) -> Array:
    """Give probabilities along an axis."""
    e = np.exp(z - z.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


# Each with its derivative.
ACTIVATIONS: Mapping[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "sigmoid": (sigmoid, lambda z: sigmoid(z) * (1 - sigmoid(z))),
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0) * 1.0),
    "leaky_relu": (lambda z: np.where(z > 0, z, 0.1 * z), lambda z: np.where(z > 0, 1, 0.1)),
    "elu": (
        lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
        lambda z: np.where(z > 0, 1, np.exp(np.minimum(z, 0))),
    ),
    "softplus": (lambda z: np.logaddexp(z, 0), sigmoid),
    "silu": (lambda z: z * sigmoid(z), lambda z: sigmoid(z) * (1 + z * (1 - sigmoid(z)))),
    "softsign": (lambda z: z / (1 + abs(z)), lambda z: 1 / (1 + abs(z)) ** 2),
    "sin": (np.sin, np.cos),
    "arctan": (np.arctan, lambda z: 1 / (1 + z**2)),
}

# By loss: the output activation, and the error signal of one example in the last z, unaveraged.
LOSSES: Mapping[str, tuple[Callable[[Array], Array], Callable[[Array, Array], Array]]] = {
    "softmax cross-entropy": (softmax, lambda z, y: softmax(z) - y),
    "sigmoid cross-entropy": (sigmoid, lambda z, y: (sigmoid(z) - y) / z.shape[1]),
    "half squares": (lambda z: z, lambda z, y: z - y),
    "mean squares": (lambda z: z, lambda z, y: 2 * (z - y) / z.shape[1]),
    "squares of sigmoid": (
        sigmoid,
        lambda z, y: (sigmoid(z) - y) * sigmoid(z) * (1 - sigmoid(z)),
    ),
    "squares of tanh": (np.tanh, lambda z, y: 2 * (np.tanh(z) - y) * (1 - np.tanh(z) ** 2)),
    "squares of softmax": (softmax, lambda z, y: jacobian(softmax(z), softmax(z) - y)),
    "Huber": (lambda z: z, lambda z, y: np.clip(z - y, -1, 1)),
}
# What the loss multiplies its textbook error signal by, beside 1 / N; of so many outputs.
FACTORS: Mapping[str, Callable[[int], float]] = {
    "sigmoid cross-entropy": lambda o: 1 / o,
    "mean squares": lambda o: 2 / o,
    "squares of tanh": lambda o: 2.0,
}
CLASSES = ("softmax cross-entropy", "squares of softmax")


def jacobian(p: Array, signal: Array) -> Array:
    """Multiply signals [N, O] by the derivative of a softmax whose outputs are `p`."""
    return np.stack([(np.diag(q) - np.outer(q, q)) @ s for q, s in zip(p, signal, strict=True)])


class Net(NamedTuple):
    """A random network and batch.

    Attributes:
        sizes: of all layers, the input first. activation, loss: by name.
        params: `[(W, b), ...]`. x: shape [N, I]. y: shape [N, O].
        penalty: lambda, of lambda / 2 times the squares of all weights.
    """

    sizes: list[int]
    activation: str
    loss: str
    params: list[tuple[Array, Array]]
    x: Array
    y: Array
    penalty: float = 0.0


def draw(
    random: Random,
    *,
    depth: tuple[int, int] = (1, 4),
    widths: tuple[int, int] = (1, 20),
    rows: tuple[int, int] = (1, 40),
) -> Net:
    """Draw a network and a batch of it; where the loss is of classes, of two at least."""
    loss = str(random.choice(list(LOSSES)))
    activation = str(random.choice(list(ACTIVATIONS)))
    sizes = [
        int(n)
        for n in random.integers(
            widths[0], widths[1] + 1, random.integers(depth[0], depth[1] + 1) + 1
        )
    ]
    if loss in CLASSES:
        sizes[-1] = max(sizes[-1], 2)
    return fill(random, sizes, activation, loss, int(random.integers(rows[0], rows[1] + 1)))


def fill(random: Random, sizes: list[int], activation: str, loss: str, rows: int) -> Net:
    """Draw the numbers of a network and a batch."""
    params = [
        (random.normal(size=(o, i)) * 1.2 / np.sqrt(i), random.normal(size=o) * 0.5)
        for i, o in itertools.pairwise(sizes)
    ]
    x, out = random.normal(size=(rows, sizes[0])), sizes[-1]
    y = random.normal(size=(rows, out))
    if loss in CLASSES:
        y = np.eye(out)[random.integers(out, size=rows)]
    elif "sigmoid" in loss:
        y = random.integers(2, size=(rows, out)).astype(float)
    elif loss == "squares of tanh":
        y = np.tanh(y)
    return Net(sizes, activation, loss, params, x, y)


class Pass(NamedTuple):
    """A forward pass: each layer's inputs and z, the outputs, and the slope of the activation."""

    inputs: list[Array]
    z: list[Array]
    p: Array
    phi: Callable[[Array], Array]
    slope: Callable[[Array], Array]


Signal = Callable[[Net, Pass], Array]
"""Gives an output layer's error signal [N, O]."""
Local = Callable[[Net, Pass, Array, int], Array]
"""Gives a hidden layer's error signal, or a gradient, of a signal and the layer's number."""
Fits = Callable[[Net, int], bool]
"""Whether a mistake can be made at a layer."""
Change = Callable[[Random, Net, Gradients], Gradients]
"""Makes of the right gradient a wrong one."""


def forward(net: Net) -> Pass:
    """Run a batch through the network."""
    phi, slope = ACTIVATIONS[net.activation]
    inputs, z = [net.x], []
    for weight, bias in net.params:
        z.append(inputs[-1] @ weight.T + bias)
        inputs.append(phi(z[-1]))
    return Pass(inputs[:-1], z, LOSSES[net.loss][0](z[-1]), phi, slope)


class Wrong(NamedTuple):
    """The steps of a backward pass that are replaced.

    Attributes:
        output: gives the last error signal from the forward pass, unaveraged.
        back: output signal to be sent back in place of that which the last layer is given.
        hidden: by layer, gives its signal of `(forward pass, signal after, layer)`.
        weight, bias: by layer, give a gradient of `(forward pass, signal, layer)`.
        step: the learning rate with which weights are updated before they are used.
    """

    output: Signal | None = None
    back: Signal | None = None
    hidden: Mapping[int, Local] = MappingProxyType({})
    weight: Mapping[int, Local] = MappingProxyType({})
    bias: Mapping[int, Local] = MappingProxyType({})
    step: float = 0.0

    def and_then(self, other: "Wrong") -> "Wrong":
        """Make the other's mistakes as well."""
        return Wrong(
            other.output or self.output,
            other.back or self.back,
            {**self.hidden, **other.hidden},
            {**self.weight, **other.weight},
            {**self.bias, **other.bias},
            other.step or self.step,
        )


NOTHING = Wrong()


def backward(net: Net, wrong: Wrong = NOTHING) -> Gradients:
    """Give the gradients, means over the batch, with steps replaced."""
    return penalised(net, data_term(net, wrong))


def penalised(net: Net, grads: Gradients, weight: float = 1.0, bias: float = 0.0) -> Gradients:
    """Add the regulariser's gradient, so many times."""
    if not net.penalty:
        return grads
    return [
        [_plus(w, weight * net.penalty * p), _plus(b, bias * net.penalty * q)]
        for (w, b), (p, q) in zip(grads, net.params, strict=True)
    ]


def _plus(gradient: Array, term: Array) -> Array:
    """Add a term, transposed with what it is added to; nothing to what has another shape."""
    if gradient.shape == term.shape:
        return gradient + term
    return gradient + term.T if gradient.shape == term.T.shape else gradient


def data_term(net: Net, wrong: Wrong) -> Gradients:
    """Give the part of the gradients that comes of the data."""
    at, n = forward(net), len(net.x)
    delta = (wrong.output(net, at) if wrong.output else LOSSES[net.loss][1](at.z[-1], net.y)) / n
    grads = []
    for k in range(len(net.params) - 1, -1, -1):
        weight = delta.T @ at.inputs[k]
        bias = delta.sum(0)
        if k in wrong.weight:
            weight = wrong.weight[k](net, at, delta, k)
        if k in wrong.bias:
            bias = wrong.bias[k](net, at, delta, k)
        grads.insert(0, [weight, bias])
        if k == len(net.params) - 1 and wrong.back:
            delta = wrong.back(net, at) / n
        if k and k - 1 in wrong.hidden:
            delta = wrong.hidden[k - 1](net, at, delta, k - 1)
        elif k:
            through = net.params[k][0] - (wrong.step * weight if wrong.step else 0)
            delta = (delta @ through) * at.slope(at.z[k - 1])
    return grads


class Family(NamedTuple):
    """One mistake.

    Attributes:
        name: of the family, then of the mistake.
        words: a regular expression that its diagnosis must match.
        make: gives a `Wrong`, or a function of the right gradient; None where it cannot be made.
    """

    name: str
    words: str
    make: Callable[[Random, Net], Any]


def outputs(
    name: str,
    words: str,
    signal: Signal,
    losses: Sequence[str] = tuple(LOSSES),
    least: int = 1,
    depth: int = 1,
) -> Family:
    """Replace the output layer's signal, where there are so many outputs and layers."""

    def make(random: Random, net: Net) -> Wrong | None:
        factor = FACTORS.get(net.loss, lambda o: 1.0)(net.sizes[-1])
        if net.loss in losses and net.sizes[-1] >= least and len(net.params) >= depth:
            return Wrong(output=lambda net, at: factor * signal(net, at))
        return None

    return Family(f"output: {name}", words, make)


def _anywhere(net: Net, k: int) -> bool:
    return True


def hiddens(name: str, words: str, signal: Local, fits: Fits = _anywhere) -> Family:
    """Replace the signal of one hidden layer, or of all of them."""

    def make(random: Random, net: Net) -> Wrong | None:
        layers = [k for k in range(len(net.params) - 1) if fits(net, k)]
        if not layers:
            return None
        everywhere = random.random() < 0.3 and len(layers) == len(net.params) - 1
        chosen = layers if everywhere else [int(random.choice(layers))]
        return Wrong(hidden=dict.fromkeys(chosen, signal))

    return Family(f"hidden: {name}", words, make)


def leaves(
    kind: Literal["weight", "bias"],
    name: str,
    words: str,
    gradient: Local,
    fits: Fits = _anywhere,
) -> Family:
    """Replace the gradient of one layer's weight or bias."""

    def make(random: Random, net: Net) -> Wrong | None:
        layers = [k for k in range(len(net.params)) if fits(net, k)]
        if not layers:
            return None
        replaced = {int(random.choice(layers)): gradient}
        return Wrong(weight=replaced) if kind == "weight" else Wrong(bias=replaced)

    return Family(f"{kind}: {name}", words, make)


def both(name: str, words: str, share: Callable[[Random, int], Array], least: int = 2) -> Family:
    """Form the gradients of all layers of other rows, or other shares of them."""

    def make(random: Random, net: Net) -> Wrong | None:
        if len(net.x) < least:
            return None
        weights = share(random, len(net.x))[:, None]
        layers = range(len(net.params))
        return Wrong(
            weight=dict.fromkeys(layers, lambda net, at, d, k: (d * weights).T @ at.inputs[k]),
            bias=dict.fromkeys(layers, lambda net, at, d, k: (d * weights).sum(0)),
        )

    return Family(f"batch: {name}", words, make)


SQUARED = ("squares of sigmoid", "squares of tanh", "squares of softmax")
SOFT = ("softmax cross-entropy",)
CROSSED = ("softmax cross-entropy", "sigmoid cross-entropy")
ELEMENTWISE = ("squares of sigmoid", "squares of tanh")
LINEAR = ("half squares", "mean squares")
ERROR = (*CROSSED, *LINEAR, *SQUARED)


def _out_slope(net: Net, at: Pass) -> Array:
    return 1 - at.p**2 if "tanh" in net.loss else at.p * (1 - at.p)


OUTPUT = [
    outputs("derivative left out", "derivative left out", lambda net, at: at.p - net.y, SQUARED),
    outputs(
        "diagonal of softmax alone",
        r"p \(1 - p\)|halved",  # of two classes it is half of the right one
        lambda net, at: (at.p - net.y) * at.p * (1 - at.p),
        ("squares of softmax",),
    ),
    outputs(
        "times p (1 - p)",
        r"p \(1 - p\)",
        lambda net, at: (at.p - net.y) * at.p * (1 - at.p),
        CROSSED,
    ),
    outputs(
        "derivative twice",
        "derivative applied twice",
        lambda net, at: (at.p - net.y) * _out_slope(net, at) ** 2,
        ("squares of sigmoid", "squares of tanh"),
    ),
    outputs(
        "derivative at outputs",
        "taken at the outputs",
        lambda net, at: (at.p - net.y) * sigmoid(at.p) * (1 - sigmoid(at.p)),
        ("squares of sigmoid",),
    ),
    outputs(
        "derivative at outputs, tanh",
        "taken at the outputs",
        lambda net, at: (at.p - net.y) * (1 - np.tanh(at.p) ** 2),
        ("squares of tanh",),
    ),
    outputs(
        "jacobian on top",
        "applied on top of p - y",
        lambda net, at: jacobian(at.p, at.p - net.y),
        SOFT,
    ),
    outputs(
        "z for p", "left out, outputs - y", lambda net, at: at.z[-1] - net.y, (*CROSSED, *SQUARED)
    ),
    outputs("log derivative alone", "derivative left out", lambda net, at: -net.y / at.p, SOFT),
    outputs("targets left out", "targets left out", lambda net, at: at.p, ERROR),
    outputs(
        "softmax over the batch",
        "over the batch, not over the classes",
        lambda net, at: softmax(at.z[-1], 0) - net.y,
        SOFT,
    ),
    outputs(
        "sigmoid for softmax", "sigmoid in place", lambda net, at: sigmoid(at.z[-1]) - net.y, SOFT
    ),
    outputs(
        "softmax for sigmoid",
        "softmax in place",
        lambda net, at: softmax(at.z[-1]) - net.y,
        ("sigmoid cross-entropy",),
        2,
    ),
    outputs("activation twice", "applied twice", lambda net, at: softmax(at.p) - net.y, SOFT),
    outputs("labels shifted", "shifted by one", lambda net, at: at.p - np.roll(net.y, 1, 1), SOFT),
    outputs(
        "labels flipped",
        "targets flipped|reverse order",
        lambda net, at: at.p - (1 - net.y),
        CROSSED,
    ),
    outputs(
        "labels of the row before",
        # Of one example they are its own, and p - y is what is left.
        "example (before|after)|reverse order|derivative left out",
        lambda net, at: at.p - np.roll(net.y, 1, 0),
        ERROR,
    ),
    outputs(
        "labels broadcast",
        "broadcast",
        lambda net, at: at.p - net.y.mean(0),
        (*LINEAR, "sigmoid cross-entropy"),
    ),
    outputs("label numbers", "class number", lambda net, at: at.p - net.y.argmax(1)[:, None], SOFT),
    outputs(
        "outputs argmaxed",
        "rounded to classes",
        lambda net, at: np.eye(net.sizes[-1])[at.p.argmax(1)] - net.y,
        SOFT,
    ),
    outputs("y (p - y)", "multiplied by y", lambda net, at: net.y * (at.p - net.y), ERROR),
    outputs("squared", "squared", lambda net, at: (at.p - net.y) ** 2, (*LINEAR, *CROSSED)),
    outputs("absolute", "without its sign", lambda net, at: abs(at.p - net.y), (*LINEAR, *CROSSED)),
    outputs(
        "hidden derivative at the output",
        "hidden activation's derivative|'s derivative, of an output",
        lambda net, at: (at.p - net.y) * at.slope(at.z[-1]),
        LINEAR,
        depth=2,
    ),
    outputs(
        "tanh formula at a linear output",
        "formula",
        lambda net, at: (at.p - net.y) * (1 - at.p**2),
        LINEAR,
    ),
    outputs(
        "sigmoid formula at a linear output",
        "formula",
        lambda net, at: (at.p - net.y) * at.p * (1 - at.p),
        LINEAR,
    ),
    outputs("plus y", "plus the targets", lambda net, at: at.p + net.y, ERROR),
    outputs(
        "plus y, sent through",
        "plus the targets",
        lambda net, at: (at.p + net.y) * _out_slope(net, at),
        ELEMENTWISE,
    ),
    outputs(
        "y (p - y), sent through",
        "multiplied by y|derivative taken",
        lambda net, at: net.y * (at.p - net.y) * _out_slope(net, at),
        ELEMENTWISE,
    ),
    outputs(
        "times 1 - p",
        "1 - p|multiplied by",
        lambda net, at: (at.p - net.y) * (1 - at.p),
        (*CROSSED, *SQUARED),
    ),
    outputs(
        "times p", "multiplied by", lambda net, at: (at.p - net.y) * at.p, (*CROSSED, *SQUARED)
    ),
    outputs(
        "derivative at the error",
        "at the error",
        lambda net, at: (at.p - net.y) * sigmoid(at.p - net.y) * (1 - sigmoid(at.p - net.y)),
        ("squares of sigmoid",),
    ),
    outputs(
        "jacobian twice",
        "applied twice",
        lambda net, at: jacobian(at.p, jacobian(at.p, at.p - net.y)),
        ("squares of softmax",),
    ),
    outputs(
        "jacobian without its diagonal",
        "cross terms alone|halved",  # of two classes it is half of the right one
        lambda net, at: jacobian(at.p, at.p - net.y) - (at.p - net.y) * at.p * (1 - at.p),
        ("squares of softmax",),
    ),
    outputs(
        "jacobian with plus",
        "cross terms with the wrong sign|zero",
        lambda net, at: 2 * (at.p - net.y) * at.p * (1 - at.p) - jacobian(at.p, at.p - net.y),
        ("squares of softmax",),
        3,
    ),
    outputs(
        "labels of -1 and 1",
        "targets of -1 and 1",
        lambda net, at: at.p - (2 * net.y - 1),
        ("sigmoid cross-entropy",),
    ),
    outputs(
        "sigmoid of -z",
        "of -z|flipped",
        lambda net, at: sigmoid(-at.z[-1]) - net.y,
        ("sigmoid cross-entropy",),
    ),
    outputs(
        "margins, the target left out inside",
        "target left out inside",
        lambda net, at: -(2 * net.y - 1) * sigmoid(-at.z[-1]),
        ("sigmoid cross-entropy",),
    ),
    outputs(
        "y - p",
        "sign flipped",
        lambda net, at: (
            -(LOSSES[net.loss][1](at.z[-1], net.y))
            / FACTORS.get(net.loss, lambda o: 1.0)(net.sizes[-1])
        ),
    ),
    outputs("unclipped", "p - y itself", lambda net, at: at.z[-1] - net.y, ("Huber",)),
    outputs(
        "sign alone",
        "its sign without",
        lambda net, at: np.sign(at.z[-1] - net.y),
        ("Huber", *LINEAR),
    ),
    Family(
        "output: derivative left out on the way back",
        "on the way back",
        lambda random, net: (
            Wrong(back=lambda net, at: at.p - net.y)
            if net.loss in SQUARED and len(net.params) > 1
            else None
        ),
    ),
]


def _back(net: Net, d: Array, k: int) -> Array:
    return d @ net.params[k + 1][0]


def _wide(net: Net, k: int) -> bool:
    """Tell whether a hidden layer is as wide as the next."""
    return net.sizes[k + 1] == net.sizes[k + 2]


HIDDEN = [
    hiddens("derivative left out", "derivative missing", lambda net, at, d, k: _back(net, d, k)),
    hiddens(
        "at the activations",
        "at the layer's activations",
        lambda net, at, d, k: _back(net, d, k) * at.slope(at.phi(at.z[k])),
    ),
    hiddens(
        "activation for derivative",
        "activation in place of its derivative",
        lambda net, at, d, k: _back(net, d, k) * at.phi(at.z[k]),
    ),
    hiddens(
        "derivative twice",
        "derivative applied twice",
        lambda net, at, d, k: _back(net, d, k) * at.slope(at.z[k]) ** 2,
    ),
    hiddens(
        "derivative of the signal",
        "taken of the back-propagated signal",
        lambda net, at, d, k: at.slope(_back(net, d, k)),
    ),
    hiddens(
        "times derivative of the signal",
        "wrong quantity: the back-propagated",
        lambda net, at, d, k: _back(net, d, k) * at.slope(_back(net, d, k)),
    ),
    hiddens(
        "signal left out", "signal left out", lambda net, at, d, k: at.slope(at.z[k]) / len(net.x)
    ),
    hiddens(
        "z for derivative",
        "pre-activations in place",
        lambda net, at, d, k: _back(net, d, k) * at.z[k],
    ),
    hiddens(
        "times z",
        # Of a ReLU, leaky or not, that is the activation.
        "multiplied by the pre-activations as well|activation in place",
        lambda net, at, d, k: _back(net, d, k) * at.slope(at.z[k]) * at.z[k],
    ),
    hiddens(
        "1 - h",
        "without its square|derivative",
        lambda net, at, d, k: _back(net, d, k) * (1 - at.phi(at.z[k])),
        lambda net, k: net.activation == "tanh",
    ),
    *(
        hiddens(
            f"{other} derivative",
            words,
            lambda net, at, d, k, s=slope: _back(net, d, k) * s(at.z[k]),
            lambda net, k, o=other: net.activation != o,
        )
        for other, words, slope in (
            ("tanh", "tanh in place of the layer's own", ACTIVATIONS["tanh"][1]),
            ("sigmoid", "sigmoid in place of the layer's own", ACTIVATIONS["sigmoid"][1]),
            # Where all units are active it is 1.
            ("relu", "ReLU in place of the layer's own|missing", ACTIVATIONS["relu"][1]),
        )
    ),
    *(
        hiddens(
            f"{other} derivative",
            words,
            lambda net, at, d, k, s=ACTIVATIONS[other][1]: _back(net, d, k) * s(at.z[k]),
            lambda net, k, o=other: net.activation != o,
        )
        for other, words in (
            ("elu", "ELU|derivative missing"),
            ("silu", "SiLU|derivative"),
            ("softsign", "softsign"),
            ("arctan", "arctan"),
            ("sin", "sine"),
        )
    ),
    hiddens(
        "leaky derivative",
        "slope 0.07|derivative",
        lambda net, at, d, k: _back(net, d, k) * np.where(at.z[k] > 0, 1, 0.07),
    ),
    hiddens(
        "ELU derivative of another alpha",
        "alpha 0.6|derivative",
        lambda net, at, d, k: (
            _back(net, d, k) * np.where(at.z[k] > 0, 1, 0.6 * np.exp(np.minimum(at.z[k], 0)))
        ),
    ),
    hiddens(
        "first term of a product",
        "first term alone",
        lambda net, at, d, k: _back(net, d, k) * sigmoid(at.z[k]),
        lambda net, k: net.activation == "silu",
    ),
    hiddens(
        "activation on the negative side",
        "the activation in place of its derivative where|ReLU",
        lambda net, at, d, k: _back(net, d, k) * np.where(at.z[k] > 0, 1, at.phi(at.z[k])),
        lambda net, k: net.activation in ("elu", "leaky_relu"),
    ),
    hiddens(
        "shares of the weights",
        "in shares of",
        lambda net, at, d, k: (
            (d @ (net.params[k + 1][0] / net.params[k + 1][0].sum(1, keepdims=True)))
            * at.slope(at.z[k])
        ),
    ),
    hiddens(
        "h (1 - h) of another",
        "formula h",
        lambda net, at, d, k: _back(net, d, k) * at.phi(at.z[k]) * (1 - at.phi(at.z[k])),
        lambda net, k: net.activation != "sigmoid",
    ),
    hiddens(
        "1 - h**2 of another",
        "formula 1|applied twice",  # of a sine that is its derivative squared
        lambda net, at, d, k: _back(net, d, k) * (1 - at.phi(at.z[k]) ** 2),
        lambda net, k: net.activation != "tanh",
    ),
    hiddens(
        "output formula at z",
        "applied to the pre-activations",
        lambda net, at, d, k: _back(net, d, k) * (1 - at.z[k] ** 2),
        lambda net, k: net.activation == "tanh",
    ),
    hiddens(
        "transposed weight",
        "transposed weight",
        lambda net, at, d, k: (d @ net.params[k + 1][0].T) * at.slope(at.z[k]),
        _wide,
    ),
    hiddens(
        "weight left out",
        "without the weight",
        lambda net, at, d, k: (d if _wide(net, k) else d.sum(1, keepdims=True)) * at.slope(at.z[k]),
    ),
    hiddens(
        "derivative of the layer before",
        "layer before|layer's inputs",
        lambda net, at, d, k: _back(net, d, k) * at.slope(at.z[k - 1] if k else at.inputs[0]),
        lambda net, k: net.sizes[k] == net.sizes[k + 1],
    ),
    hiddens(
        "derivative of the layer after",
        "layer after",
        lambda net, at, d, k: _back(net, d, k) * at.slope(at.z[k + 1]),
        _wide,
    ),
    hiddens(
        "own weight",
        "through the .*weight of layer",
        lambda net, at, d, k: (d @ net.params[k][0]) * at.slope(at.z[k]),
        lambda net, k: _wide(net, k) and net.sizes[k] == net.sizes[k + 1],
    ),
    hiddens(
        "layer skipped",
        "a layer skipped|of the output layer",
        lambda net, at, d, k: (
            (LOSSES[net.loss][1](at.z[-1], net.y) / len(net.x))
            @ net.params[-1][0]
            * at.slope(at.z[k])
        ),
        lambda net, k: k == len(net.params) - 3 and _wide(net, k),
    ),
    hiddens(
        "output signal itself",
        "signal of the output layer",
        lambda net, at, d, k: (
            (LOSSES[net.loss][1](at.z[-1], net.y) / len(net.x)) * at.slope(at.z[k])
        ),
        lambda net, k: k < len(net.params) - 2 and net.sizes[-1] == 1,
    ),
    hiddens(
        "activations for signal",
        "activations sent back",
        lambda net, at, d, k: (at.phi(at.z[k + 1]) @ net.params[k + 1][0]) * at.slope(at.z[k]),
        lambda net, k: k < len(net.params) - 2,
    ),
    Family(
        "hidden: weights already updated",
        "already updated",
        lambda random, net: Wrong(step=0.2) if len(net.params) > 1 else None,
    ),
]

WEIGHT = [
    leaves(
        "weight",
        "pre-activations",
        "pre-activations of the layer before",
        lambda net, at, d, k: d.T @ at.z[k - 1],
        lambda net, k: k > 0,
    ),
    leaves(
        "weight",
        "own output",
        "own outputs",
        lambda net, at, d, k: d.T @ at.phi(at.z[k]),
        lambda net, k: k < len(net.params) - 1,
    ),
    leaves(
        "weight",
        "network's inputs",
        "network's inputs|layer's own outputs",
        lambda net, at, d, k: d.T @ at.inputs[0],
        lambda net, k: k > 0,
    ),
    leaves(
        "weight",
        "inputs left out",
        "without the layer's inputs",
        lambda net, at, d, k: d.sum(0)[:, None] * np.ones(net.sizes[k]),
    ),
    leaves(
        "weight",
        "weight itself",
        "formed with the weight itself",
        lambda net, at, d, k: d.sum(0)[:, None] * net.params[k][0],
    ),
    leaves(
        "weight",
        "outer product of means",
        "outer product of means",
        lambda net, at, d, k: np.outer(d.sum(0), at.inputs[k].mean(0)),
        lambda net, k: len(net.x) > 1,
    ),
    leaves(
        "weight",
        "transposed",
        "transposed",
        lambda net, at, d, k: at.inputs[k].T @ d,
        lambda net, k: net.sizes[k] > 1 and net.sizes[k + 1] > 1,
    ),
    leaves(
        "weight",
        "rows of another example",
        "example (before|after)",
        lambda net, at, d, k: d.T @ np.roll(at.inputs[k], 1, 0),
        lambda net, k: len(net.x) > 1,
    ),
    leaves(
        "weight", "the weight", "weight itself in place", lambda net, at, d, k: net.params[k][0]
    ),
    leaves(
        "weight",
        "without the signal",
        "without the error signal",
        lambda net, at, d, k: at.phi(at.z[k]).T @ at.inputs[k],
        lambda net, k: k < len(net.params) - 1,
    ),
    leaves(
        "weight",
        "of the next layer's signal",
        "error signal of layer",
        lambda net, at, d, k: (LOSSES[net.loss][1](at.z[-1], net.y) / len(net.x)).T @ at.inputs[k],
        lambda net, k: k < len(net.params) - 1 and net.sizes[k + 1] == net.sizes[-1],
    ),
]

BIAS = [
    leaves(
        "bias",
        "row sums of the weight's",
        "row sums",
        lambda net, at, d, k: (d.T @ at.inputs[k]).sum(1),
    ),
    leaves(
        "bias",
        "row means of the weight's",
        "row (means|sums)",
        lambda net, at, d, k: (d.T @ at.inputs[k]).mean(1),
        lambda net, k: net.sizes[k] > 1,
    ),
    leaves(
        "bias",
        "column sums of the weight's",
        "column sums",
        lambda net, at, d, k: (d.T @ at.inputs[k]).sum(0),
        lambda net, k: net.sizes[k] == net.sizes[k + 1],
    ),
    leaves(
        "bias",
        "summed over classes too",
        "summed over its entries|zero",
        lambda net, at, d, k: np.full(net.sizes[k + 1], d.sum()),
        lambda net, k: net.sizes[k + 1] > 1,
    ),
    leaves("bias", "zero", "zero", lambda net, at, d, k: np.zeros(net.sizes[k + 1])),
    leaves(
        "bias",
        "not summed",
        "not summed over the batch",
        lambda net, at, d, k: d,
        lambda net, k: len(net.x) > 1,
    ),
    leaves(
        "bias",
        "without the derivative",
        "derivative missing",
        lambda net, at, d, k: (
            LOSSES[net.loss][1](at.z[-1], net.y) / len(net.x) @ net.params[-1][0]
        ).sum(0),
        lambda net, k: k == len(net.params) - 2,
    ),
    leaves(
        "bias",
        "averaged where weights are summed",
        "divided by the batch size",
        lambda net, at, d, k: d.mean(0),
        lambda net, k: len(net.x) > 1,
    ),
    leaves("bias", "the bias", "bias itself in place", lambda net, at, d, k: net.params[k][1]),
]

BATCH = [
    both("last example alone", "example|half", lambda random, n: (np.arange(n) == n - 1) * 1.0),
    both(
        "any example alone",
        "example|half",
        lambda random, n: (np.arange(n) == random.integers(n)) * float(n),
    ),
    both("first half", "first half|example", lambda random, n: (np.arange(n) < n // 2) * 1.0),
    both(
        "first half, its own mean",
        "first half|example",
        lambda random, n: (np.arange(n) < n // 2) * 2.0,
    ),
    both(
        "a row dropped",
        "left out|half|example",
        lambda random, n: (np.arange(n) != random.integers(n)) * 1.0,
        3,
    ),
    both(
        "1/N within the loop",
        "within the loop|example",
        lambda random, n: float(n) ** (1.0 + np.arange(n) - n),
        3,
    ),
    both("two batches added", "doubled|counted twice", lambda random, n: np.full(n, 2.0), 1),
    both("1/N twice", "divided by the batch size", lambda random, n: np.full(n, 1 / n)),
    both(
        "1/N left out",
        "summed over the batch|not divided by|counted twice",
        lambda random, n: np.full(n, float(n)),
    ),
]


def after(name: str, words: str, change: Change) -> Family:
    """Change the right gradient as a whole."""
    return Family(
        f"whole: {name}", words, lambda random, net: lambda grads: change(random, net, grads)
    )


def _each(change: Callable[[Array], Array]) -> Change:
    return lambda random, net, grads: [[change(leaf) for leaf in pair] for pair in grads]


def _clipped(random: Random, net: Net, grads: Gradients) -> Gradients:
    most = np.quantile(np.concatenate([abs(leaf).ravel() for pair in grads for leaf in pair]), 0.7)
    return [[np.clip(leaf, -most, most) for leaf in pair] for pair in grads]


def _norm(random: Random, net: Net, grads: Gradients) -> Gradients:
    whole = np.sqrt(sum((leaf**2).sum() for pair in grads for leaf in pair))
    limit = 10.0 ** np.floor(np.log10(whole))
    return [[leaf * limit / whole for leaf in pair] for pair in grads]


def _one_layer(
    random: Random, net: Net, grads: Gradients, change: Callable[[Array, Array], Array]
) -> Gradients:
    k = max(range(len(grads)), key=lambda k: (grads[k][0].size >= 4, random.random()))
    return [[change(net.params[j][0], w) if j == k else w, b] for j, (w, b) in enumerate(grads)]


WHOLE = [
    after("sign alone", "its sign alone|sign of", _each(np.sign)),
    after("clipped", "clipped", _clipped),
    after("clipped by its norm", "clipped", _norm),
    after("times a learning rate", "learning rate|0.01", _each(lambda leaf: 0.01 * leaf)),
    after("the step", "learning rate|0.01", _each(lambda leaf: -0.01 * leaf)),
    after("momentum", "moving average|0.1", _each(lambda leaf: 0.1 * leaf)),
    after(
        "features for examples",
        "number of features",
        lambda random, net, grads: [
            [
                leaf * len(net.x) / net.sizes[0] if len(net.x) > 1 < net.sizes[0] else leaf
                for leaf in pair
            ]
            for pair in grads
        ],
    ),
    after(
        "the updated parameter",
        "updated parameter",
        lambda random, net, grads: [
            [p - 0.1 * g for p, g in zip(ps, gs, strict=True)]
            for ps, gs in zip(net.params, grads, strict=True)
        ],
    ),
    after(
        "L2 in the gradient alone",
        "L2|regulariser",
        lambda random, net, grads: [
            [g + 0.01 * p, b] for (p, _), (g, b) in zip(net.params, grads, strict=True)
        ],
    ),
    after(
        "L2 in one layer",
        "L2|regulariser",
        lambda random, net, grads: _one_layer(random, net, grads, lambda p, g: g + 0.1 * p),
    ),
    after(
        "L1 in the gradient alone",
        "L1",
        lambda random, net, grads: [
            [g + 0.01 * np.sign(p), b] for (p, _), (g, b) in zip(net.params, grads, strict=True)
        ],
    ),
]


Share = float | Callable[[int], float]
"""A number, or a function of N."""


def penalty(
    name: str, words: str, data: Share = 1.0, weight: Share = 1.0, bias: float = 0.0
) -> Family:
    """Take the data's term and the regulariser's in other shares."""

    def make(random: Random, net: Net) -> Callable[[Gradients], Gradients] | None:
        if not net.penalty or ((callable(data) or callable(weight)) and len(net.x) < 2):
            return None
        many, share = (f(len(net.x)) if callable(f) else f for f in (data, weight))
        grads = [[many * leaf for leaf in pair] for pair in data_term(net, NOTHING)]
        return lambda _: penalised(net, grads, share, bias)

    return Family(f"penalty: {name}", words, make)


def taken(name, words, term):
    """The regulariser's derivative taken to be of something else than the weight."""

    def make(random, net):
        if not net.penalty:
            return None
        return lambda _: [
            [w + net.penalty * term(p), b]
            for (w, b), (p, _) in zip(data_term(net, NOTHING), net.params, strict=True)
        ]

    # A single number is its own sum; a positive one its own size.
    return Family(f"penalty: {name}", f"{words}|regulariser", make)


PENALTY = [
    penalty("left out", "regulariser's term left out", weight=0.0),
    penalty("twice", "regulariser's term counted twice", weight=2.0),
    penalty("sign flipped", "regulariser's term with its sign", weight=-1.0),
    penalty("half", "regulariser's term halved", weight=0.5),
    penalty("divided by N", "regulariser's term (divided|halved)", weight=lambda n: 1 / n),
    penalty("times N", "regulariser's term (not divided|counted twice)", weight=lambda n: n),
    penalty("another lambda", "regulariser's term times", weight=3.3),
    penalty(
        "data not divided by N",
        "data's term (not divided|counted twice)|summed over the batch|doubled",
        data=lambda n: n,
    ),
    penalty("data sign flipped", "data's term with its sign|sign flipped", data=-1.0),
    penalty("data left out", "data's term left out|zero", data=0.0),
    penalty("on the biases too", "regulariser added", bias=1.0),
    *(
        taken(name, words, term)
        for name, words, term in (
            ("sum of entries", "the sum of all entries", lambda w: np.full_like(w, w.sum())),
            ("sum of squares", "the sum of all squares", lambda w: np.full_like(w, (w**2).sum())),
            ("signs", "each entry's sign", np.sign),
            ("sizes", "each entry's size", abs),
            ("ones", "times 1, the parameter left out", np.ones_like),
        )
    ),
]

FAMILIES = [*PENALTY, *OUTPUT, *HIDDEN, *WEIGHT, *BIAS, *BATCH, *WHOLE]


class Plant(NamedTuple):
    """A wrong gradient `[[W, b], ...]`, and by leaf the words that its causes must match."""

    name: str
    grads: Gradients
    words: dict[int, list[str]]


def same(a: Array, b: Array) -> bool:
    """Tell whether two leaves are the same but for rounding."""
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-7, atol=1e-300))


def plants(random: Random, net: Net) -> Iterator[Plant]:
    """Make every mistake that can be made in a network and changes something."""
    true = backward(net)
    for family in FAMILIES:
        wrong = family.make(random, net)
        if wrong is None:
            continue
        with np.errstate(all="ignore"):
            grads = backward(net, wrong) if isinstance(wrong, Wrong) else wrong(true)
        if plant := _plant(family.name, grads, true, {family.words: grads}):
            yield plant


def pairs(random: Random, net: Net, count: int) -> Iterator[Plant]:
    """Make two mistakes at once, drawn from different steps or the same."""
    makers = [*OUTPUT, *HIDDEN[:-1], *WEIGHT, *BIAS]
    true = backward(net)
    for _ in range(count):
        first, second = (makers[k] for k in random.choice(len(makers), 2, replace=False))
        one, two = first.make(random, net), second.make(random, net)
        if one is None or two is None:
            continue
        with np.errstate(all="ignore"):
            grads = [backward(net, wrong) for wrong in (one.and_then(two), one, two)]
        name = f"{first.name} + {second.name}"
        if plant := _plant(name, grads[0], true, {first.words: grads[1], second.words: grads[2]}):
            yield plant


def _plant(
    name: str, grads: Gradients, true: Gradients, alone: Mapping[str, Gradients]
) -> Plant | None:
    """Give a plant, with the words that each leaf must match; None where nothing is wrong."""
    flat = [leaf for pair in grads for leaf in pair]
    if not all(np.isfinite(leaf).all() for leaf in flat):
        return None
    right = [leaf for pair in true for leaf in pair]
    if (
        any(norm(leaf) < 1e-12 * norm(each) for leaf, each in zip(flat, right, strict=True))
        and "zero" not in name
    ):
        return None  # nothing but rounding
    words = {}
    for index, leaf in enumerate(flat):
        if same(leaf, right[index]):
            continue
        one = [w for w, each in alone.items() if same([x for p in each for x in p][index], leaf)]
        words[index] = one[:1] or list(alone)
    return Plant(name, grads, words) if words else None


def verdict(plant: Plant, rows: Sequence[Row]) -> Outcome:
    """Tell whether the rows of an audit name a plant.

    A leaf that rounding hides counts as unexplained only where it is called wrong.
    """
    outcome: Outcome = "named"
    for index, words in plant.words.items():
        row = rows[index]
        if row.verdict != "wrong":
            continue
        if all(re.search(each, row.diagnosis) for each in words):
            continue
        plain = row.diagnosis.startswith(("no known mistake", "too close", "times a constant"))
        if plain or "no known mistake" in row.diagnosis:
            outcome = "unexplained" if outcome == "named" else outcome
        else:
            outcome = "wrong cause"
    others = [k for k, row in enumerate(rows) if row.verdict == "wrong" and k not in plant.words]
    return "false alarm" if others else outcome

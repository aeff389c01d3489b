"""Evidence for the audit: planted mistakes are named, right gradients raise no alarm."""

import collections
import functools

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import optax
import pytest

from jaxnet import gradients, losses, network

JAX_ACTIVATIONS = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "softplus": jax.nn.softplus,
}
LOSSES = {
    (name, kind): losses.BatchLoss(functools.partial(network.forward, activation=phi), example)
    for name, phi in JAX_ACTIVATIONS.items()
    for kind, example in (
        ("softmax", optax.losses.softmax_cross_entropy),
        ("squares", optax.losses.l2_loss),
    )
}
# Depth, non-square and square layers, batch sizes: sizes, examples, activation, loss.
SETTINGS = [
    ([3, 4, 4], 2, "tanh", "softmax"),
    ([3, 5, 2], 7, "tanh", "softmax"),
    ([4, 6, 6, 3], 5, "sigmoid", "softmax"),
    ([6, 3, 7, 5, 4], 9, "tanh", "softmax"),
    ([5, 8, 3], 16, "relu", "softmax"),
    ([2, 5, 5, 5, 3], 6, "softplus", "softmax"),
    ([3, 6, 1], 8, "tanh", "squares"),
    ([4, 7, 7, 2], 3, "sigmoid", "squares"),
    ([7, 4, 5, 3], 12, "relu", "squares"),
    ([3, 2, 1], 10, "softplus", "squares"),
]


def draw(setting, seed, dtype=np.float64):
    """A random network with a batch: `(loss, params, batch)` and their NumPy twin."""
    sizes, rows, activation, kind = setting
    random = np.random.default_rng(seed)
    params = [
        (random.normal(size=(o, i)) / np.sqrt(i) * 1.5, random.normal(size=o) * 0.5)
        for i, o in zip(sizes[:-1], sizes[1:], strict=True)
    ]
    x = random.normal(size=(rows, sizes[0]))
    if kind == "softmax":
        y = np.eye(sizes[-1])[random.integers(sizes[-1], size=rows)]
    else:
        y = random.normal(size=(rows, sizes[-1]))
    cast = functools.partial(np.asarray, dtype=dtype)
    ours = tuple(network.Layer(cast(w), cast(b)) for w, b in params)
    return LOSSES[activation, kind], ours, (cast(x), cast(y)), (params, x, y)


def layers_of(grads):
    return tuple(network.Layer(w, b) for w, b in grads)


def plants(setting, seed):
    """Every mistake that can be made here: `(label, claim, {leaf: words its diagnosis holds})`."""
    sizes, rows, activation, kind = setting
    loss, ours, batch, (params, x, y) = draw(setting, seed)
    random = np.random.default_rng(seed + 1)
    backward = functools.partial(oracles.backward, params, x, y, kind, activation)
    true = backward()
    leaf = int(random.integers(2 * len(params)))
    layer, part = divmod(leaf, 2)
    hidden = len(params) - 1

    def claim(change, at=leaf):
        grads = [list(pair) for pair in true]
        grads[at // 2][at % 2] = change(grads[at // 2][at % 2])
        return layers_of(grads)

    number = "doubled; a batch of another size" if rows == 2 else "doubled"
    yield "doubled", claim(lambda g: 2 * g), {leaf: number}
    half = "halved; a batch of another size" if rows == 2 else "halved"
    yield "halved", claim(lambda g: g / 2), {leaf: half}
    yield "sign", claim(lambda g: -g), {leaf: "sign flipped"}
    yield "sum for mean", claim(lambda g: rows * g), {leaf: "summed over the batch where"}
    yield "mean twice", claim(lambda g: g / rows), {leaf: f"divided by the batch size {rows} once"}
    if true[layer][part].size >= 3:
        yield "constant", claim(lambda g: 0.37 * g), {leaf: "times a constant 0.37"}
    weight = 2 * int(random.integers(len(params)))
    yield "transposed", claim(lambda g: g.T.copy(), weight), {weight: "transposed"}
    bias = 2 * int(random.integers(len(params))) + 1
    each = [
        oracles.backward(params, x[i : i + 1], y[i : i + 1], kind, activation) for i in range(rows)
    ]
    unsummed = np.stack([grads[bias // 2][1] for grads in each])
    yield "bias not summed", claim(lambda g: unsummed, bias), {bias: "not summed over the batch"}
    yield "bias of the last", claim(lambda g: unsummed[-1], bias), {bias: "not summed over the"}
    w = params[weight // 2][0]
    if w.size >= 4:
        yield (
            "L2 missing",
            claim(lambda g: g - 0.01 * w, weight),
            {weight: "L2 regulariser missing"},
        )
        yield "L2 twice", claim(lambda g: g + 0.01 * w, weight), {weight: "L2 regulariser counted"}
    yield "pre-activations", None, {}
    moved = oracles.descend(params, true, 0.1)
    after = oracles.backward(moved, x, y, kind, activation)
    yield "already updated", layers_of(after), dict.fromkeys(range(2 * len(params)), "already upd")
    earlier = oracles.descend(params, true, -0.1)
    grads = oracles.backward(earlier, x, y, kind, activation)
    ours_now = oracles.descend(earlier, grads, 0.1)
    yield "stale", (ours_now, layers_of(grads)), dict.fromkeys(range(2 * len(params)), "stale")
    if kind == "softmax":
        words = {
            "times p (1 - p)": "multiplied by p (1 - p)",
            "jacobian again": "softmax derivative applied on top",
            "softmax left out": "softmax left out",
            "derivative of the log alone": "softmax derivative left out",
            "targets left out": "targets left out",
        }
        for mistake, text in words.items():
            everywhere = dict.fromkeys(range(2 * len(params)), f"mixed up: ")
            everywhere |= dict.fromkeys(range(2 * len(params)), text)
            yield mistake, layers_of(backward(mistake=mistake)), everywhere
    words = {
        "derivative missing": "activation derivative missing",
        "derivative of the signal instead": "replaced by the activation's derivative, taken",
        "times derivative of the signal": "wrong quantity: the back-propagated signal",
        "derivative at the activations": "wrong point: at the layer's activations",
        "activation for derivative": "activation in place of its derivative",
        "derivative twice": "activation derivative applied twice",
        "output formula at z": "its formula in the activations, applied to the pre-activations",
        "transposed weight": "sent back through the transposed weight",
    }
    for mistake, text in words.items():
        at = int(random.integers(hidden))
        for label, where in (("one", {at}), ("all", set(range(hidden)))):
            square = all(params[k + 1][0].shape[0] == params[k + 1][0].shape[1] for k in where)
            if (mistake == "transposed weight" and not square) or (
                mistake == "output formula at z" and oracles.ACTIVATIONS[activation][2] is None
            ):
                continue
            top = max(where)
            expected = {
                leaf: f"error signal of hidden layer {leaf // 2 + 1}: " * (leaf // 2 in where)
                + text
                if leaf // 2 in where and "replaced" not in text and "activation in" not in text
                else text
                for leaf in range(2 * top + 2)
            }
            del expected
            expected = dict.fromkeys(range(2 * top + 2), text)
            yield (
                f"{mistake}, {label}",
                layers_of(backward(mistake=mistake, layers=where)),
                expected,
            )
    if hidden:
        expected = dict.fromkeys(range(2 * hidden), "weights already updated")
        yield "updated weights", layers_of(backward(update=0.2)), expected

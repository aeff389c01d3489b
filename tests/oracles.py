"""Plain NumPy twins: networks, losses and gradients written out by hand, right and wrong.

Nothing here imports jaxnet or differentiates automatically. `backward` is ordinary
backpropagation over a whole batch, `x [N, I]`, with one place to go wrong at a time.
"""

import numpy as np

ACTIVATIONS = {
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2, lambda h: 1 - h**2),
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(z.dtype), None),
    "sigmoid": (
        lambda z: 1 / (1 + np.exp(-z)),
        lambda z: np.exp(-z) / (1 + np.exp(-z)) ** 2,
        lambda h: h * (1 - h),
    ),
    "softplus": (lambda z: np.logaddexp(z, 0), lambda z: 1 / (1 + np.exp(-z)), None),
}


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def forward(params, x, activation="tanh"):
    """Inputs and pre-activations of every layer; `params` is `[(weight, bias), ...]`."""
    phi = ACTIVATIONS[activation][0]
    inputs, pre = [x], []
    for weight, bias in params:
        pre.append(inputs[-1] @ weight.T + bias)
        inputs.append(phi(pre[-1]))
    return inputs[:-1], pre


def loss(params, x, y, kind, activation="tanh"):
    z = forward(params, x, activation)[1][-1]
    if kind == "softmax":
        return -np.mean(np.sum(y * np.log(softmax(z)), axis=1))
    return 0.5 * np.mean((z - y) ** 2)


# Mistakes in a hidden layer's error signal; each gets the signal sent back, and z and h.
HIDDEN = {
    "derivative missing": lambda back, z, h, d, f: back,
    "derivative of the signal instead": lambda back, z, h, d, f: d(back),
    "times derivative of the signal": lambda back, z, h, d, f: back * d(back),
    "derivative at the activations": lambda back, z, h, d, f: back * d(h),
    "activation for derivative": lambda back, z, h, d, f: back * h,
    "derivative twice": lambda back, z, h, d, f: back * d(z) * d(z),
    "output formula at z": lambda back, z, h, d, f: back * f(z),
    "transposed weight": None,
}

# Mistakes in the output layer's error signal under softmax and cross-entropy.
OUTPUT = {
    "times p (1 - p)": lambda z, p, y: (p - y) * p * (1 - p),
    "jacobian again": lambda z, p, y: np.stack(
        [(np.diag(q) - np.outer(q, q)) @ (q - t) for q, t in zip(p, y, strict=True)]
    ),
    "softmax left out": lambda z, p, y: z - y,
    "derivative of the log alone": lambda z, p, y: -y / p,
    "targets left out": lambda z, p, y: p,
}


def backward(
    params, x, y, kind, activation="tanh", *, mistake=None, layers=(), update=None
) -> list[list[np.ndarray]]:
    """Gradients `[[weight, bias], ...]`, means over the batch.

    `mistake` names an entry of HIDDEN, made at the hidden `layers`, or of OUTPUT, or is
    "pre-activations", which the weights at `layers` are then formed with; `update` is a learning
    rate with which each layer is updated before the signal is sent back through it.
    """
    _, slope, formula = ACTIVATIONS[activation]
    inputs, pre = forward(params, x, activation)
    n, z = len(x), pre[-1]
    if kind == "softmax":
        p = softmax(z)
        delta = OUTPUT[mistake](z, p, y) if mistake in OUTPUT else p - y
    else:
        delta = (z - y) / z.shape[1]
    grads = []
    for k in range(len(params) - 1, -1, -1):
        came_in = pre[k - 1] if mistake == "pre-activations" and k in layers else inputs[k]
        grads.insert(0, [delta.T @ came_in / n, delta.sum(0) / n])
        if k == 0:
            break
        weight = params[k][0]
        if update is not None:
            weight = weight - update * grads[0][0]
        wrong = mistake in HIDDEN and k - 1 in layers
        if wrong and mistake == "transposed weight":
            delta = (delta @ weight.T) * slope(pre[k - 1])
        elif wrong:
            back = delta @ weight
            delta = HIDDEN[mistake](back, pre[k - 1], inputs[k], slope, formula)
        else:
            delta = (delta @ weight) * slope(pre[k - 1])
    return grads


def descend(params, grads, learning_rate):
    return [
        (w - learning_rate * dw, b - learning_rate * db)
        for (w, b), (dw, db) in zip(params, grads, strict=True)
    ]

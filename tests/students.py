"""Networks in NumPy as people write them who learn, each with its gradient by hand, and its bugs.

A gradient takes the name of a bug; `BUGS` says which parameters are wrong with it, and words that
the cause of the first must hold where the library knows it.
"""

import itertools
import math
from types import SimpleNamespace

import numpy as np

random = np.random.default_rng(7)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def softmax(scores):
    exped = np.exp(scores - np.max(scores, axis=1, keepdims=True))
    return exped / np.sum(exped, axis=1, keepdims=True)


# Column by column: X [features, m], biases [n, 1], a cost that is squeezed.


def columns_forward(X, parameters):
    Z1 = np.dot(parameters["W1"], X) + parameters["b1"]
    A1 = np.tanh(Z1)
    Z2 = np.dot(parameters["W2"], A1) + parameters["b2"]
    return A1, sigmoid(Z2)


def columns_loss(parameters, batch):
    X, Y = batch
    m = Y.shape[1]
    _, A2 = columns_forward(X, parameters)
    logprobs = np.multiply(np.log(A2), Y) + np.multiply(np.log(1 - A2), 1 - Y)
    cost = -np.sum(logprobs) / m
    cost = float(np.squeeze(cost))
    assert isinstance(cost, float)
    return cost


def columns_gradient(parameters, batch, bug=""):
    X, Y = batch
    m = X.shape[1]
    A1, A2 = columns_forward(X, parameters)
    dZ2 = A2 - Y
    dW2 = np.dot(dZ2, A1.T) / m
    db2 = np.sum(dZ2, axis=1, keepdims=bug != "flat") / m
    dZ1 = np.dot(parameters["W2"].T, dZ2) * (1 - np.power(A1, 2))
    if bug == "derivative":
        dZ1 = np.dot(parameters["W2"].T, dZ2)
    dW1 = np.dot(dZ1, X.T) / (1 if bug == "sum" else m)
    db1 = np.sum(dZ1, axis=1, keepdims=bug != "flat") / m
    return {"dZ2": dZ2, "dW2": dW2, "db2": db2, "dZ1": dZ1, "dW1": dW1, "db1": db1}


def columns():
    params = {
        "W1": random.normal(size=(4, 3)),
        "b1": random.normal(size=(4, 1)),
        "W2": random.normal(size=(1, 4)),
        "b2": random.normal(size=(1, 1)),
    }
    return params, (random.normal(size=(3, 8)), random.integers(2, size=(1, 8)))


# Row by row, integer labels, an L2 penalty; its weights in one flat dict.


def rows_loss(params, X, y):
    W1, b1, W2, b2 = params["W1"], params["b1"], params["W2"], params["b2"]
    hidden = np.maximum(0, X @ W1 + b1)
    probs = softmax(hidden @ W2 + b2)
    correct = -np.log(probs[range(X.shape[0]), y])
    data_loss = np.sum(correct) / X.shape[0]
    return data_loss + 0.5 * 0.1 * np.sum(W1 * W1) + 0.5 * 0.1 * np.sum(W2 * W2)


def rows_gradient(params, X, y, bug=""):
    W1, b1, W2, b2 = params["W1"], params["b1"], params["W2"], params["b2"]
    m = X.shape[0]
    hidden = np.maximum(0, X @ W1 + b1)
    dscores = softmax(hidden @ W2 + b2)
    dscores[range(m), y] -= 1
    dscores /= m
    grads = {"W2": hidden.T @ dscores, "b2": dscores.sum(axis=0, keepdims=True)}
    dhidden = dscores @ W2.T
    dhidden[hidden <= 0] = 0
    grads["W1"] = X.T @ dhidden
    grads["b1"] = dhidden.sum(axis=0, keepdims=True)
    if bug != "no penalty":
        grads["W1"] += 0.1 * W1
    grads["W2"] += (0.2 if bug == "penalty twice" else 0.1) * W2
    if bug == "sign":
        grads["b2"] = -grads["b2"]
    return grads


def rows():
    params = {
        "W1": random.normal(size=(3, 5)),
        "b1": random.normal(size=(1, 5)),
        "W2": random.normal(size=(5, 4)),
        "b2": random.normal(size=(1, 4)),
    }
    return params, (random.normal(size=(9, 3)), random.integers(4, size=9))


# Lists of weights and of biases, any depth, labels made one-hot.


def lists_loss(params, batch):
    weights, biases = params
    activation, labels = batch
    onehot = np.eye(3)[labels]
    for w, b in zip(weights, biases, strict=True):
        activation = sigmoid(activation.dot(w) + b)
    return ((activation - onehot) ** 2).sum(axis=1).mean()


def lists_gradient(params, batch, bug=""):
    weights, biases = params
    x, labels = batch
    activations = [x]
    for w, b in zip(weights, biases, strict=True):
        activations.append(sigmoid(activations[-1].dot(w) + b))
    out = activations[-1]
    delta = 2 * (out - np.eye(3)[labels]) * out * (1 - out) / len(x)
    dws, dbs = [], []
    for k in reversed(range(len(weights))):
        dws.insert(0, activations[k].T.dot(delta))
        dbs.insert(0, delta.mean(axis=0) if bug == "mean" and k == 1 else delta.sum(axis=0))
        h = activations[k]
        delta = delta.dot(weights[k].T) * h * (1 - h)
    if bug == "swapped":
        dws[0], dws[1] = dws[1], dws[0]
    return dws, dbs


def lists():
    sizes = [3, 3, 3, 3]
    pairs = list(itertools.pairwise(sizes))
    weights = [random.normal(size=pair) for pair in pairs]
    biases = [random.normal(size=n) for _, n in pairs]
    return [weights, biases], (random.normal(size=(6, 3)), random.integers(3, size=6))


# A class of columns, example by example, that keeps what it computed.


class Network:
    def __init__(self, sizes):
        self.biases = [np.zeros((n, 1)) for n in sizes[1:]]
        self.weights = [np.zeros((n, m)) for m, n in itertools.pairwise(sizes)]
        self.activations = []

    def feedforward(self, a):
        self.activations = [a]
        for b, w in zip(self.biases, self.weights, strict=True):
            a = np.tanh(np.dot(w, a) + b)
            self.activations.append(a)
        return a

    def cost(self, X, Y):
        total = 0.0
        for x, y in zip(X, Y, strict=True):
            out = self.feedforward(x.reshape(-1, 1))
            total += 0.5 * np.linalg.norm(out - y.reshape(-1, 1)) ** 2
        return total / len(X)

    def backprop(self, x, y, bug):
        nabla_b = [np.zeros(b.shape) for b in self.biases]
        nabla_w = [np.zeros(w.shape) for w in self.weights]
        out = self.feedforward(x)
        delta = (out - y) * (1 - out**2)
        for k in (1, 2):
            nabla_b[-k] = delta
            h = self.activations[-k - 1]
            nabla_w[-k] = np.dot(delta, h.T)
            delta = np.dot(self.weights[-k].T, delta) * (h if bug == "h" else 1 - h**2)
        return nabla_b, nabla_w


net = Network([3, 4, 2])


def objects_loss(params, batch):
    net.biases, net.weights = params["biases"], params["weights"]
    return net.cost(*batch)


def objects_gradient(params, batch, bug=""):
    net.biases, net.weights = params["biases"], params["weights"]
    X, Y = batch
    db = [np.zeros(b.shape) for b in net.biases]
    dw = [np.zeros(w.shape) for w in net.weights]
    for x, y in zip(X, Y, strict=True):
        one_b, one_w = net.backprop(x.reshape(-1, 1), y.reshape(-1, 1), bug)
        sums = [a + b for a, b in zip(db, one_b, strict=True)]
        db = one_b if bug == "last" else sums
        dw = [a + b for a, b in zip(dw, one_w, strict=True)]
    scale = 1 if bug == "sum" else len(X)
    return {"biases": [b / len(X) for b in db], "weights": [w / scale for w in dw]}


def objects():
    params = {
        "biases": [random.normal(size=(4, 1)), random.normal(size=(2, 1))],
        "weights": [random.normal(size=(4, 3)), random.normal(size=(2, 4))],
    }
    return params, (random.normal(size=(7, 3)), random.normal(size=(7, 2)))


# Masks assigned in place.


def masks_loss(params, x, y):
    z = x @ params[0] + params[1]
    z[z < 0] *= 0.1
    error = z @ params[2] - y
    return np.mean(np.square(error))


def masks_gradient(params, x, y, bug=""):
    z = x @ params[0] + params[1]
    slope = np.ones_like(z)
    slope[z < 0] = 0 if bug == "slope" else 0.1
    h = np.where(z < 0, 0.1 * z, z)
    error = 2 * (h @ params[2] - y) / y.size
    if bug == "doubled":
        error *= 2
    dz = np.outer(error, params[2]) * slope
    return x.T @ dz, dz.sum(0), h.T @ error


def masks():
    params = (random.normal(size=(4, 5)), random.normal(size=5), random.normal(size=5))
    return params, (random.normal(size=(8, 4)), random.normal(size=8))


# No arrays at all.


def floats_loss(params, batch):
    xs, ys = batch
    loss = 0.0
    for x, y in zip(xs, ys, strict=True):
        s = params["b"]
        for wi, xi in zip(params["w"], x, strict=True):
            s += wi * xi
        p = 1 / (1 + math.exp(-s))
        loss -= y * math.log(p) + (1 - y) * math.log(1 - p)
    return loss


def floats_gradient(params, batch, bug=""):
    xs, ys = batch
    dw, db = [0.0] * len(params["w"]), 0.0
    for x, y in zip(xs, ys, strict=True):
        s = params["b"] + sum(wi * xi for wi, xi in zip(params["w"], x, strict=True))
        error = 1 / (1 + math.exp(-s)) - y
        dw = [d + error * xi for d, xi in zip(dw, x, strict=True)]
        db += error
    if bug == "mean":
        dw = [d / len(xs) for d in dw]
    return {"dw": dw, "db": -db if bug == "sign" else db}


def floats():
    xs = random.normal(size=(5, 3)).round(3).tolist()
    return {"w": [0.3, -0.5, 0.8], "b": 0.1}, (xs, [1.0, 0.0, 1.0, 1.0, 0.0])


# As many features as examples, column by column.


def square_loss(params, X, y):
    w, b = params
    return np.sum((w.T @ X + b - y) ** 2) / (2 * X.shape[1])


def square_gradient(params, X, y, bug=""):
    w, b = params
    m = X.shape[1]
    error = w.T @ X + b - y
    dw = X @ error.T / m
    db = error.sum(axis=1, keepdims=True) / m
    if bug == "sum":
        dw = X @ error.T
    return dw, (-db if bug == "sign" else db)


def square():
    params = (random.normal(size=(6, 1)), random.normal(size=(1, 1)))
    return params, (random.normal(size=(6, 6)), random.normal(size=(1, 6)))


# Dropout, its mask drawn beforehand.


def dropout_loss(params, batch):
    X, Y, mask = batch
    h = np.maximum(X @ params["W1"], 0.0)
    h = h * mask
    h /= 0.8
    return 0.5 * np.sum((h @ params["W2"] - Y) ** 2) / len(X)


def dropout_gradient(params, batch, bug=""):
    X, Y, mask = batch
    z = X @ params["W1"]
    h = np.maximum(z, 0.0) * mask / 0.8
    error = (h @ params["W2"] - Y) / len(X)
    dh = error @ params["W2"].T / 0.8
    if bug != "mask":
        dh *= mask
    if bug == "scale":
        dh *= 0.8
    return {"W1": X.T @ (dh * (z > 0)), "W2": h.T @ error}


def dropout():
    params = {"W1": random.normal(size=(4, 6)), "W2": random.normal(size=(6, 2))}
    mask = (random.uniform(size=(10, 6)) < 0.8).astype(float)
    return params, (random.normal(size=(10, 4)), random.normal(size=(10, 2)), mask)


# An autoencoder whose weight is used twice; the batch is one array, the parameter another.


def tied_loss(W, X):
    return np.mean(np.sum((np.tanh(X @ W) @ W.T - X) ** 2, axis=1))


def tied_gradient(W, X, bug=""):
    h = np.tanh(X @ W)
    error = 2 * (h @ W.T - X) / len(X)
    encoder = X.T @ (error @ W * (1 - h * h))
    decoder = error.T @ h
    return encoder if bug == "decoder" else -(encoder + decoder) if bug else encoder + decoder


def tied():
    return random.normal(size=(5, 3)), random.normal(size=(5, 5))


# A convolution in loops, into an array of zeros.


def convolved(x, kernel, b):
    n = x.shape[0] - kernel.shape[0] + 1
    out = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            out[i, j] = np.sum(x[i : i + 2, j : j + 2] * kernel) + b
    return out


def loops_loss(params, images, targets):
    total = 0
    for image, target in zip(images, targets, strict=True):
        out = np.tanh(convolved(image, params["kernel"], params["b"][0]))
        total += (np.sum(out * params["v"]) - target) ** 2
    return total / len(images)


def loops_gradient(params, images, targets, bug=""):
    grads = {name: np.zeros_like(value) for name, value in params.items()}
    for image, target in zip(images, targets, strict=True):
        out = np.tanh(convolved(image, params["kernel"], params["b"][0]))
        error = 2 * (np.sum(out * params["v"]) - target) / len(images)
        grads["v"] += error * out
        dz = error * params["v"] * (1 if bug == "derivative" else 1 - out**2)
        for i in range(3):
            for j in range(3):
                grads["kernel"] += dz[i, j] * image[i : i + 2, j : j + 2]
        grads["b"] += dz.sum()
    if bug == "flipped":
        grads["kernel"] = grads["kernel"].T
    return grads


def loops():
    params = {
        "kernel": random.normal(size=(2, 2)),
        "b": random.normal(size=1),
        "v": random.normal(size=(3, 3)),
    }
    return params, (random.normal(size=(4, 4, 4)), random.normal(size=4))


# A recurrent network: the examples are along the second axis of the inputs.


def recurrent_loss(params, X, y):
    h = np.zeros((X.shape[1], 3))
    for x in X:
        h = np.tanh(x @ params["Wx"] + h @ params["Wh"] + params["b"])
    return np.mean((h @ params["Wy"] - y) ** 2)


def recurrent_gradient(params, X, y, bug=""):
    hs = [np.zeros((X.shape[1], 3))]
    for x in X:
        hs.append(np.tanh(x @ params["Wx"] + hs[-1] @ params["Wh"] + params["b"]))
    error = 2 * (hs[-1] @ params["Wy"] - y) / len(y)
    grads = {name: np.zeros_like(value) for name, value in params.items()}
    grads["Wy"] = hs[-1].T @ error
    dh = np.outer(error, params["Wy"])
    for t in reversed(range(len(X))):
        dz = dh * (1 - hs[t + 1] ** 2)
        grads["Wx"] += X[t].T @ dz
        grads["Wh"] += hs[t].T @ dz
        grads["b"] += dz.sum(axis=0)
        dh = dz @ params["Wh"].T
        if bug == "one step":
            break
    if bug == "halved":
        grads["Wy"] = grads["Wy"] / 2
    return grads


def recurrent():
    params = {
        "Wx": random.normal(size=(2, 3)),
        "Wh": random.normal(size=(3, 3)),
        "b": random.normal(size=3),
        "Wy": random.normal(size=3),
    }
    return params, (random.normal(size=(4, 6, 2)), random.normal(size=6))


# Margins of a linear classifier.


def margins_loss(params, X, y):
    scores = X.dot(params[0])
    correct = scores[np.arange(len(X)), y].reshape(-1, 1)
    margins = np.maximum(0, scores - correct + 1.0)
    margins[np.arange(len(X)), y] = 0
    return np.sum(margins) / len(X) + 0.05 * np.sum(params[0] ** 2)


def margins_gradient(params, X, y, bug=""):
    scores = X.dot(params[0])
    m = len(X)
    active = (scores - scores[np.arange(m), y][:, None] + 1.0 > 0).astype(float)
    active[np.arange(m), y] = 0
    if bug != "correct class":
        active[np.arange(m), y] = -active.sum(axis=1)
    penalty = {"half": 0.05, "none": 0.0}.get(bug, 0.1)
    return [X.T.dot(active) / m + penalty * params[0]]


def margins():
    return [random.normal(size=(4, 3))], (random.normal(size=(8, 4)), random.integers(3, size=8))


# Vectors of words, looked up by number.


def words_loss(params, batch):
    ids, targets = batch
    h = params["E"][ids].mean(axis=1)
    return np.mean(np.sum((h - params["E"][targets] * params["s"]) ** 2, axis=-1))


def words_gradient(params, batch, bug=""):
    ids, targets = batch
    error = params["E"][ids].mean(axis=1) - params["E"][targets] * params["s"]
    error = 2 * error / len(ids)
    dE = np.zeros_like(params["E"])
    each = np.repeat(error[:, None] / ids.shape[1], ids.shape[1], axis=1)
    if bug == "repeats":
        dE[ids] += each
    else:
        np.add.at(dE, ids, each)
    np.add.at(dE, targets, -error * params["s"])
    ds = -(error * params["E"][targets]).sum(axis=0)
    return {"E": dE, "s": -ds if bug == "sign" else ds}


def words():
    params = {"E": random.normal(size=(5, 3)), "s": random.normal(size=3)}
    return params, (random.integers(5, size=(7, 4)), random.integers(5, size=7))


# What cannot be traced: the program itself depends on the numbers.


def relu(z):
    return z if z > 0 else 0.0


def branches_loss(params, batch):
    X, y = batch
    z = X @ params["W"] + params["b"]
    h = np.vectorize(relu, otypes=[float])(z)
    return np.mean((h @ params["v"] - y) ** 2)


def branches_gradient(params, batch, bug=""):
    X, y = batch
    z = X @ params["W"] + params["b"]
    h = np.maximum(z, 0)
    error = 2 * (h @ params["v"] - y) / (1 if bug == "sum" else len(y))
    dz = np.outer(error, params["v"])
    if bug != "derivative":
        dz *= z > 0
    return {"dW": X.T @ dz, "db": dz.sum(axis=0), "dv": h.T @ error}


def branches():
    params = {
        "W": random.normal(size=(3, 4)),
        "b": random.normal(size=4),
        "v": random.normal(size=4),
    }
    return params, (random.normal(size=(6, 3)), random.normal(size=6))


def student(name):
    """Give the loss, the gradient and what draws the numbers of one of them."""
    found = globals()
    parts = {part: found[f"{name}_{part}"] for part in ("loss", "gradient")}
    return SimpleNamespace(draw=found[name], **parts)


# By network and bug: the parameters that are wrong, and words of the first one's cause.
BUGS = {
    ("columns", "derivative"): (["['W1']", "['b1']"], ""),
    ("columns", "sum"): (["['W1']"], "summed over the batch where the loss takes the mean"),
    ("columns", "flat"): ([], ""),
    ("rows", "no penalty"): (["['W1']"], "the regulariser's term left out"),
    ("rows", "penalty twice"): (["['W2']"], "the regulariser's term counted twice"),
    ("rows", "sign"): (["['b2']"], "sign flipped"),
    ("lists", "mean"): (["[1][1]"], "divided by the batch size once more"),
    ("lists", "swapped"): (["[0][0]", "[0][1]"], "the gradient of [0][1] instead"),
    ("objects", "h"): (["['biases'][0]", "['weights'][0]"], ""),
    ("objects", "sum"): (["['weights'][0]", "['weights'][1]"], "summed over the batch"),
    ("objects", "last"): (["['biases'][0]", "['biases'][1]"], ""),
    ("masks", "slope"): (["[0]", "[1]"], ""),
    ("masks", "doubled"): (["[0]", "[1]", "[2]"], "doubled"),
    ("floats", "mean"): (["['w']"], "averaged over the batch where the loss takes the sum"),
    ("floats", "sign"): (["['b']"], "sign flipped"),
    ("square", "sum"): (["[0]"], "summed over the batch where the loss takes the mean"),
    ("square", "sign"): (["[1]"], "sign flipped"),
    ("dropout", "mask"): (["['W1']"], ""),
    ("dropout", "scale"): (["['W1']"], "times a constant 0.8"),
    ("tied", "decoder"): (["params"], ""),
    ("tied", "sign"): (["params"], "sign flipped"),
    ("loops", "derivative"): (["['b']", "['kernel']"], ""),
    ("loops", "flipped"): (["['kernel']"], "transposed"),
    ("recurrent", "one step"): (["['Wh']", "['Wx']", "['b']"], ""),
    ("recurrent", "halved"): (["['Wy']"], "halved"),
    ("margins", "correct class"): (["[0]"], ""),
    ("margins", "half"): (["[0]"], "the regulariser's term"),
    ("margins", "none"): (["[0]"], "the regulariser's term"),
    ("words", "repeats"): (["['E']"], ""),
    ("words", "sign"): (["['s']"], "sign flipped"),
    ("branches", "derivative"): (["['W']", "['b']"], ""),
    ("branches", "sum"): (["['W']", "['b']", "['v']"], "summed over the batch"),
}
NAMES = list(dict.fromkeys(name for name, _ in BUGS))

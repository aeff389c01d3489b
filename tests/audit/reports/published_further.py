"""Published hand-written gradients, restated from their mathematics (see reports.json)."""

import numpy as np


def sigmoid(z):
    return 1.0 / (1.0 + np.exp(-z))


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def two_layers(rng, sizes, scale=0.8):
    """Weights [I, O] and biases of two dense layers."""
    n, h, k = sizes
    return {
        "W1": scale * rng.normal(size=(n, h)),
        "b1": 0.3 * rng.normal(size=h),
        "W2": scale * rng.normal(size=(h, k)),
        "b2": 0.3 * rng.normal(size=k),
    }


def scaled(rng, sizes):
    """The same with a scale and a shift of the units in between."""
    params = two_layers(rng, sizes)
    params["gamma"] = 1 + 0.3 * rng.normal(size=sizes[1])
    params["beta"] = 0.3 * rng.normal(size=sizes[1])
    return params


# --- ctensor_5: a node that two paths reach is sent back once for each ------------------------


def setup_ctensor_5(rng):
    params = {"x": rng.normal(size=4), "a": rng.normal(size=4)}
    return params, rng.normal(size=(6, 4)), rng.normal(size=(6, 4))


def loss_ctensor_5(params, X, y):
    product = params["x"] * params["a"]
    first, second = params["x"] * product, params["x"] * product
    return np.sum(X * first) + np.sum(y * second)


class CtensorNode:
    def __init__(self, value, parents=()):
        self.value, self.parents, self.grad = value, parents, np.zeros_like(value)

    def __mul__(self, other):
        return CtensorNode(self.value * other.value, ((self, other.value), (other, self.value)))

    def backward(self, grad):
        self.grad = self.grad + grad
        for parent, local in self.parents:
            parent.backward(self.grad * local)


def claimed_ctensor_5(params, X, y):
    x, a = CtensorNode(params["x"]), CtensorNode(params["a"])
    product = x * a
    first, second = x * product, x * product
    first.backward(X.sum(axis=0))
    second.backward(y.sum(axis=0))
    return {"x": x.grad, "a": a.grad}


# --- dlfs_13: what a node has gathered is sent on, not what has just come ----------------------


def setup_dlfs_13(rng):
    params = {"W": rng.normal(size=(3, 4)), "b": 0.3 * rng.normal(size=4)}
    return params, rng.normal(size=(6, 3)), rng.normal(size=(6, 4))


def loss_dlfs_13(params, X, y):
    hidden = 4 * np.tanh(X @ params["W"] + params["b"])
    out = (hidden + 3) + hidden * 5
    return np.mean((out - y) ** 2)


def claimed_dlfs_13(params, X, y):
    h = np.tanh(X @ params["W"] + params["b"])
    hidden = 4 * h
    dout = 2 * ((hidden + 3) + hidden * 5 - y) / y.size
    dhidden, dh = np.zeros_like(hidden), np.zeros_like(h)
    for grad in (dout, dout * 5):
        dhidden = dhidden + grad
        dh = dh + dhidden * 4
    dz = dh * (1 - h**2)
    return {"W": X.T @ dz, "b": dz.sum(axis=0)}


# --- swift_42: the mean over the batch is left out on the way back -----------------------------


def setup_swift_42(rng):
    return two_layers(rng, (4, 6, 3)), rng.normal(size=(7, 4)), np.eye(3)[rng.integers(3, size=7)]


def loss_swift_42(params, X, y):
    h = np.maximum(X @ params["W1"] + params["b1"], 0)
    p = softmax(h @ params["W2"] + params["b2"])
    return np.mean(-np.sum(y * np.log(p), axis=1))


def claimed_swift_42(params, X, y):
    h = np.maximum(X @ params["W1"] + params["b1"], 0)
    dscores = softmax(h @ params["W2"] + params["b2"]) - y
    dh = dscores @ params["W2"].T * (h > 0)
    return {
        "W1": X.T @ dh,
        "b1": dh.sum(axis=0),
        "W2": h.T @ dscores,
        "b2": dscores.sum(axis=0),
    }


# --- ttmetal_53204a, ttmetal_53204b: layer normalisation --------------------------------------


def setup_ttmetal_53204a(rng):
    return scaled(rng, (3, 6, 2)), rng.normal(size=(5, 3)), rng.normal(size=(5, 2))


setup_ttmetal_53204b = setup_flaggems_59 = setup_ttmetal_53204a


def layer_normalised(params, X):
    z = X @ params["W1"] + params["b1"]
    rstd = 1 / np.sqrt(z.var(axis=1, keepdims=True) + 1e-5)
    x_hat = (z - z.mean(axis=1, keepdims=True)) * rstd
    out = x_hat * params["gamma"] + params["beta"]
    return x_hat, rstd, out


def loss_ttmetal_53204a(params, X, y):
    out = layer_normalised(params, X)[2] @ params["W2"] + params["b2"]
    return 0.5 * np.sum((out - y) ** 2) / len(X)


loss_ttmetal_53204b = loss_flaggems_59 = loss_ttmetal_53204a


def claimed_ttmetal_53204a(params, X, y):
    x_hat, rstd, hidden = layer_normalised(params, X)
    dout = (hidden @ params["W2"] + params["b2"] - y) / len(X)
    dy = dout @ params["W2"].T
    dy_gamma = dy * params["gamma"]
    first = dy_gamma.mean(axis=1, keepdims=True)
    second = (dy_gamma * x_hat).mean(axis=1, keepdims=True)
    dx = dy_gamma - first
    dx = rstd * (dx - (first + x_hat * second))
    return {
        "W1": X.T @ dx,
        "b1": dx.sum(axis=0),
        "gamma": (dy * x_hat).sum(axis=0),
        "beta": dy.sum(axis=0),
        "W2": hidden.T @ dout,
        "b2": dout.sum(axis=0),
    }


def claimed_ttmetal_53204b(params, X, y):
    x_hat, rstd, hidden = layer_normalised(params, X)
    dout = (hidden @ params["W2"] + params["b2"] - y) / len(X)
    dy = dout @ params["W2"].T
    dy_gamma = dy * params["gamma"]
    first = dy_gamma.mean(axis=1, keepdims=True)
    size, features = 2, x_hat.shape[1]
    for start in range(0, features, size):
        block = slice(start, start + size)
        total = (dy_gamma[:, block] * x_hat[:, block]).sum(axis=1, keepdims=True)
    dx = rstd * (dy_gamma - first - x_hat * total / features)
    return {
        "W1": X.T @ dx,
        "b1": dx.sum(axis=0),
        "gamma": (dy * x_hat).sum(axis=0),
        "beta": dy.sum(axis=0),
        "W2": hidden.T @ dout,
        "b2": dout.sum(axis=0),
    }


# --- flaggems_59: the sums of a row are taken over a block of rows -----------------------------


def claimed_flaggems_59(params, X, y):
    x_hat, rstd, hidden = layer_normalised(params, X)
    dout = (hidden @ params["W2"] + params["b2"] - y) / len(X)
    dy = dout @ params["W2"].T
    dx_hat = dy * params["gamma"]
    rows, columns = x_hat.shape
    dx = np.zeros_like(x_hat)
    for start in range(0, rows, 2):
        block = slice(start, start + 2)
        part2 = np.sum(dx_hat[block])
        part3 = np.sum(dx_hat[block] * x_hat[block])
        dx[block] = rstd[block] * (dx_hat[block] - (part2 + x_hat[block] * part3) / columns)
    return {
        "W1": X.T @ dx,
        "b1": dx.sum(axis=0),
        "gamma": (dy * x_hat).sum(axis=0),
        "beta": dy.sum(axis=0),
        "W2": hidden.T @ dout,
        "b2": dout.sum(axis=0),
    }


# --- inductor_198119: a window cut off at the end is divided by the whole kernel ---------------


def setup_inductor_198119(rng):
    params = {"w": rng.normal(size=6), "b": rng.normal(size=6), "V": rng.normal(size=(3, 2))}
    return params, rng.normal(size=(5, 6)), rng.normal(size=(5, 2))


def inductor_pooled(h):
    windows = [h[:, start : start + 3] for start in (0, 2, 4)]
    return np.stack([each.mean(axis=1) for each in windows], axis=1)


def loss_inductor_198119(params, X, y):
    h = np.tanh(X * params["w"] + params["b"])
    return 0.5 * np.sum((inductor_pooled(h) @ params["V"] - y) ** 2)


def claimed_inductor_198119(params, X, y):
    h = np.tanh(X * params["w"] + params["b"])
    pooled = inductor_pooled(h)
    dout = pooled @ params["V"] - y
    dpooled = dout @ params["V"].T
    kernel, width = 3, h.shape[1]
    dh = np.zeros_like(h)
    for k in range(pooled.shape[1]):
        start = 2 * k
        end = min(start + kernel, width)
        dh[:, start:end] += dpooled[:, k : k + 1] / kernel
    dz = dh * (1 - h**2)
    return {"w": (dz * X).sum(axis=0), "b": dz.sum(axis=0), "V": pooled.T @ dout}


# --- mlpack_2865: the way back of a mean pooling works out a kernel of its own ------------------


def setup_mlpack_2865(rng):
    params = {
        "K": rng.normal(size=(5, 5)),
        "bias": 0.3 * rng.normal(size=(5, 5)),
        "V": rng.normal(size=(4, 2)),
    }
    return params, rng.normal(size=(6, 5, 5)), rng.normal(size=(6, 2))


def mlpack_pooled(h):
    pooled = [
        h[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].mean(axis=(1, 2))
        for i in range(2)
        for j in range(2)
    ]
    return np.stack(pooled, axis=1)


def loss_mlpack_2865(params, X, y):
    h = np.tanh(X * params["K"] + params["bias"])
    return 0.5 * np.sum((mlpack_pooled(h) @ params["V"] - y) ** 2)


def claimed_mlpack_2865(params, X, y):
    h = np.tanh(X * params["K"] + params["bias"])
    pooled = mlpack_pooled(h)
    dout = pooled @ params["V"] - y
    error = (dout @ params["V"].T).reshape(-1, 2, 2)
    rows, columns = h.shape[1] // error.shape[1], h.shape[2] // error.shape[2]
    dh = np.zeros_like(h)
    for i in range(0, h.shape[1] - rows, rows):
        for j in range(0, h.shape[2] - columns, columns):
            each = error[:, i // rows, j // columns] / (rows * columns)
            dh[:, i : i + rows, j : j + columns] += each[:, None, None]
    dz = dh * (1 - h**2)
    return {"K": (dz * X).sum(axis=0), "bias": dz.sum(axis=0), "V": pooled.T @ dout}


# --- tfjs_398: what was broadcast is averaged on the way back, not summed ----------------------


def setup_tfjs_398(rng):
    return two_layers(rng, (3, 5, 2)), rng.normal(size=(6, 3)), rng.normal(size=(6, 2))


def loss_tfjs_398(params, X, y):
    h = np.tanh(X @ params["W1"] + params["b1"])
    return 0.5 * np.sum((h @ params["W2"] + params["b2"] - y) ** 2)


def claimed_tfjs_398(params, X, y):
    h = np.tanh(X @ params["W1"] + params["b1"])
    dout = h @ params["W2"] + params["b2"] - y
    dz = dout @ params["W2"].T * (1 - h**2)
    return {
        "W1": X.T @ dz,
        "b1": dz.mean(axis=0),
        "W2": h.T @ dout,
        "b2": dout.mean(axis=0),
    }


# --- nd4j_2424: what was broadcast is not summed on the way back -------------------------------


def setup_nd4j_2424(rng):
    params = {"in1": rng.normal(size=(3, 4)), "in2": rng.normal(size=(1, 4))}
    return params, rng.normal(size=(3, 4)), rng.normal(size=(3, 4))


def loss_nd4j_2424(params, X, labels):
    return np.sum((X * params["in1"] + params["in2"] - labels) ** 2)


def claimed_nd4j_2424(params, X, labels):
    diff = X * params["in1"] + params["in2"] - labels
    return {"in1": 2 * diff * X, "in2": 2 * diff}


# --- ttmetal_6232: of a row that is looked up several times the last alone counts --------------


def setup_ttmetal_6232(rng):
    params = {"table": rng.normal(size=(5, 3)), "W": rng.normal(size=(3, 2))}
    return params, np.array([1, 4, 1, 0, 4, 1]), rng.normal(size=(6, 2))


def loss_ttmetal_6232(params, ids, y):
    return 0.5 * np.sum((np.tanh(params["table"][ids]) @ params["W"] - y) ** 2)


def claimed_ttmetal_6232(params, ids, y):
    h = np.tanh(params["table"][ids])
    dout = h @ params["W"] - y
    rows = dout @ params["W"].T * (1 - h**2)
    table = np.zeros_like(params["table"])
    table[ids] = rows
    return {"table": table, "W": h.T @ dout}


# --- tf_56961: rows that were written over get a gradient as well ------------------------------


def setup_tf_56961(rng):
    params = {"W": rng.normal(size=(3, 4)), "V": rng.normal(size=(4, 2))}
    return params, rng.normal(size=(5, 3)), rng.normal(size=(3, 2))


def loss_tf_56961(params, X, y):
    updates = np.tanh(X @ params["W"])
    table = updates[[4, 3, 2]]  # written to the rows 0, 1, 2, 1, 0 in this order
    return 0.5 * np.sum((table @ params["V"] - y) ** 2)


def claimed_tf_56961(params, X, y):
    indices = [0, 1, 2, 1, 0]
    updates = np.tanh(X @ params["W"])
    table = updates[[4, 3, 2]]
    dout = table @ params["V"] - y
    dtable = dout @ params["V"].T
    dz = dtable[indices] * (1 - updates**2)
    return {"W": X.T @ dz, "V": table.T @ dout}


# --- paddle_30604: rows that are written over keep the gradient of what was there ---------------


def setup_paddle_30604(rng):
    params = {"table": rng.normal(size=(5, 3)), "W": rng.normal(size=(4, 3))}
    return params, rng.normal(size=(2, 4)), rng.normal(size=(5, 3))


def paddle_scattered(params, X):
    updates = X @ params["W"]
    rows = [params["table"][0], updates[0], params["table"][2], updates[1], params["table"][4]]
    return np.stack(rows)


def loss_paddle_30604(params, X, y):
    return 0.5 * np.sum((np.tanh(paddle_scattered(params, X)) - y) ** 2)


def claimed_paddle_30604(params, X, y):
    ids = [1, 3]
    out = np.tanh(paddle_scattered(params, X))
    dout = (out - y) * (1 - out**2)
    return {"table": dout.copy(), "W": X.T @ dout[ids]}


# --- ml19_5: the bias of an SVM lacks the number of examples that an estimate stands for --------


def setup_ml19_5(rng):
    params = {"w": rng.normal(size=3), "b": np.array(0.2)}
    return params, rng.normal(size=(6, 3)), np.where(rng.normal(size=6) > 0, 1.0, -1.0)


def loss_ml19_5(params, X, y, C=0.5, n=40):
    margins = y * (X @ params["w"] + params["b"])
    return 0.5 * params["w"] @ params["w"] + C * n * np.mean(np.maximum(0, 1 - margins))


def claimed_ml19_5(params, X, y, C=0.5, n=40):
    discriminant = y * (X @ params["w"] + params["b"])
    g = np.where(discriminant < 1, -1.0, 0.0)
    delw = params["w"] + C * n * np.mean((g * y)[:, None] * X, axis=0)
    delb = C * np.mean(g * y)
    return {"w": delw, "b": delb}


# --- kdd_11: the penalty is in the loss alone ---------------------------------------------------


def setup_kdd_11(rng):
    return {"beta": rng.normal(size=4)}, rng.normal(size=(9, 4)), rng.normal(size=9)


KDD_WON = np.array([1, 0, 1, 1, 0, 1, 0, 1, 1], bool)


def loss_kdd_11(params, X, bids, lambda2=0.3):
    gap = X @ params["beta"] - bids
    lost = np.log(1 + np.exp(-gap))
    data = np.sum(np.where(KDD_WON, 0.5 * gap**2, lost))
    return data + 0.5 * lambda2 * np.sum(params["beta"] ** 2)


def claimed_kdd_11(params, X, bids, lambda2=0.3):
    gap = X @ params["beta"] - bids
    dgap = np.where(KDD_WON, gap, -sigmoid(-gap))
    return {"beta": X.T @ dgap}


# --- dibgerge_45: the wrong entry is left out of the penalty, and out of the other name too -----


def setup_dibgerge_45(rng):
    X = np.concatenate([np.ones((8, 1)), rng.normal(size=(8, 4))], axis=1)
    return {"theta": rng.normal(size=5)}, X, rng.integers(2, size=8) * 1.0


def loss_dibgerge_45(params, X, y, lambda_=2.0):
    h = sigmoid(X @ params["theta"])
    data = -np.mean(y * np.log(h) + (1 - y) * np.log(1 - h))
    return data + lambda_ / (2 * len(y)) * np.sum(params["theta"][1:] ** 2)


def claimed_dibgerge_45(params, X, y, lambda_=2.0):
    m = len(y)
    theta = params["theta"].copy()
    h_theta = sigmoid(X @ theta)
    theta_zero = theta
    theta_zero[1] = 0
    return {"theta": X.T @ (h_theta - y) / m + lambda_ / m * theta_zero}


# --- dsse_25394: a layer's weight is formed with its own outputs, and divided by its inputs -----


def setup_dsse_25394(rng):
    params = {
        "W1": rng.normal(size=(3, 3)),
        "b1": 0.3 * rng.normal(size=(3, 1)),
        "W2": rng.normal(size=(3, 3)),
        "b2": 0.3 * rng.normal(size=(3, 1)),
    }
    return params, rng.normal(size=(3, 7)), rng.integers(2, size=(3, 7)) * 1.0


def dsse_forward(params, X):
    activations = [X]
    for d in (1, 2):
        activations.append(sigmoid(params[f"W{d}"] @ activations[-1] + params[f"b{d}"]))
    return activations


def loss_dsse_25394(params, X, Y):
    h = dsse_forward(params, X)[-1]
    return -np.sum(Y * np.log(h) + (1 - Y) * np.log(1 - h)) / X.shape[1]


def claimed_dsse_25394(params, X, Y):
    activations = dsse_forward(params, X)
    h = activations[-1]
    da = -(Y / h - (1 - Y) / (1 - h))
    grads = {}
    for d in (2, 1):
        a = activations[d]
        w = params[f"W{d}"]
        dz = da * a * (1 - a)
        m = w.shape[1]
        grads[f"W{d}"] = dz @ activations[d].T / m
        grads[f"b{d}"] = np.sum(dz, axis=1, keepdims=True) / m
        da = w.T @ dz
    return grads


# --- so_40575841: a softmax's derivative of its inputs, of which the last column stays ----------


def setup_so_40575841(rng):
    params = {"W": rng.normal(size=(3, 4)), "b": 0.3 * rng.normal(size=4)}
    return params, rng.normal(size=(6, 3)), np.eye(4)[rng.integers(4, size=6)]


def loss_so_40575841(params, X, y):
    return -np.sum(y * np.log(softmax(X @ params["W"] + params["b"])))


def claimed_so_40575841(params, X, y):
    given = X @ params["W"] + params["b"]
    value = softmax(given)
    gradient = np.zeros_like(value)
    for i in range(value.shape[1]):
        for j in range(given.shape[1]):
            if i == j:
                gradient[:, i] = value[:, i] * (1 - given[:, i])
            else:
                gradient[:, i] = -value[:, i] * given[:, j]
    delta = -y / value * gradient
    return {"W": X.T @ delta, "b": delta.sum(axis=0)}


# --- so_17784587: divided by the number of features, not of examples ---------------------------


def setup_so_17784587(rng):
    X = np.concatenate([np.ones((9, 1)), rng.normal(size=(9, 3))], axis=1)
    return {"theta": rng.normal(size=4)}, X, rng.normal(size=9)


def loss_so_17784587(params, X, y):
    return np.sum((X @ params["theta"] - y) ** 2) / (2 * len(X))


def claimed_so_17784587(params, X, y):
    m = X.shape[1]
    h = X @ params["theta"]
    return {"theta": X.T @ (h - y) / m}


# --- neon_169: of a matrix times its own transpose one factor alone is counted ------------------


def setup_neon_169(rng):
    params = {"W": rng.normal(size=(3, 4)), "b": 0.3 * rng.normal(size=4)}
    return params, rng.normal(size=(5, 3)), rng.normal(size=(5, 5))


def loss_neon_169(params, X, y):
    h = np.tanh(X @ params["W"] + params["b"])
    return np.sum((h @ h.T - y) ** 2)


def claimed_neon_169(params, X, y):
    h = np.tanh(X @ params["W"] + params["b"])
    dgram = 2 * (h @ h.T - y)
    dh = dgram @ h
    dz = dh * (1 - h**2)
    return {"W": X.T @ dz, "b": dz.sum(axis=0)}


# --- cs249r_1781: the inner product of two vectors for the outer one ----------------------------


def setup_cs249r_1781(rng):
    params = {"W1": rng.normal(size=(4, 4)), "W2": rng.normal(size=(4, 4))}
    return params, rng.normal(size=(6, 4)), rng.normal(size=(6, 4))


def loss_cs249r_1781(params, X, y):
    return sum(
        0.5 * np.sum((params["W2"] @ np.tanh(params["W1"] @ X[i]) - y[i]) ** 2)
        for i in range(len(X))
    )


def claimed_cs249r_1781(params, X, y):
    grads = {name: np.zeros_like(each) for name, each in params.items()}
    for i in range(len(X)):
        h = np.tanh(params["W1"] @ X[i])
        dout = params["W2"] @ h - y[i]
        dz = params["W2"].T @ dout * (1 - h**2)
        grads["W2"] += np.matmul(dout, h.T)
        grads["W1"] += np.matmul(dz, X[i].T)
    return grads


# --- warp_168: the adjoint of a matrix that is used twice is written over -----------------------


def setup_warp_168(rng):
    return {"W": rng.normal(size=(3, 3))}, rng.normal(size=(6, 3)), rng.normal(size=(6, 3))


def loss_warp_168(params, X, y):
    h = np.tanh(X @ params["W"])
    return 0.5 * np.sum((h @ params["W"] - y) ** 2)


def claimed_warp_168(params, X, y):
    h = np.tanh(X @ params["W"])
    dout = h @ params["W"] - y
    adjoint = np.zeros_like(params["W"])
    adjoint[:] = h.T @ dout
    dz = dout @ params["W"].T * (1 - h**2)
    adjoint[:] = X.T @ dz
    return {"W": adjoint}


# --- aprender_2200: a normalisation cuts the way back -------------------------------------------


def setup_aprender_2200(rng):
    return scaled(rng, (3, 5, 2)), rng.normal(size=(7, 3)), rng.normal(size=(7, 2))


def batch_normalised(params, X):
    z = X @ params["W1"] + params["b1"]
    std = np.sqrt(z.var(axis=0) + 1e-5)
    x_hat = (z - z.mean(axis=0)) / std
    return x_hat, std, x_hat * params["gamma"] + params["beta"]


def loss_aprender_2200(params, X, y):
    out = batch_normalised(params, X)[2] @ params["W2"] + params["b2"]
    return np.mean((out - y) ** 2)


def claimed_aprender_2200(params, X, y):
    grads = {name: np.zeros_like(each) for name, each in params.items()}
    hidden = batch_normalised(params, X)[2]
    dout = 2 * (hidden @ params["W2"] + params["b2"] - y) / y.size
    grads["W2"] = hidden.T @ dout
    grads["b2"] = dout.sum(axis=0)
    return grads


# --- llmc_763, unsloth_4550: normalised by the root of the mean square --------------------------


def setup_llmc_763(rng):
    params = scaled(rng, (3, 6, 2))
    del params["beta"]
    return params, rng.normal(size=(5, 3)), rng.normal(size=(5, 2))


setup_unsloth_4550 = setup_llmc_763


def rms_normalised(params, X):
    z = X @ params["W1"] + params["b1"]
    rstd = 1 / np.sqrt((z**2).mean(axis=1, keepdims=True) + 1e-5)
    return z, rstd, z * rstd * params["gamma"]


def loss_llmc_763(params, X, y):
    return 0.5 * np.sum((rms_normalised(params, X)[2] @ params["W2"] + params["b2"] - y) ** 2)


loss_unsloth_4550 = loss_llmc_763


def claimed_llmc_763(params, X, y):
    z, rstd, hidden = rms_normalised(params, X)
    dout = hidden @ params["W2"] + params["b2"] - y
    dhidden = dout @ params["W2"].T
    inner = (dhidden * z).mean(axis=1, keepdims=True)
    dz = rstd * (dhidden - z * rstd**2 * inner)
    return {
        "W1": X.T @ dz,
        "b1": dz.sum(axis=0),
        "gamma": (dhidden * z * rstd).sum(axis=0),
        "W2": hidden.T @ dout,
        "b2": dout.sum(axis=0),
    }


def claimed_unsloth_4550(params, X, y):
    z, rstd, hidden = rms_normalised(params, X)
    dout = hidden @ params["W2"] + params["b2"] - y
    weighted = dout @ params["W2"].T * params["gamma"]
    inner = (weighted * z).mean(axis=1, keepdims=True)
    dz = rstd * (weighted - z * rstd**2 * inner)
    return {
        "W1": X.T @ dz,
        "b1": dz.sum(axis=0),
        "gamma": np.zeros_like(params["gamma"]),
        "W2": hidden.T @ dout,
        "b2": dout.sum(axis=0),
    }


# --- smile_528: the gradient that comes back is written over by the ReLU's slope ----------------


def setup_smile_528(rng):
    return two_layers(rng, (3, 6, 2)), rng.normal(size=(8, 3)), rng.normal(size=(8, 2))


def loss_smile_528(params, X, y):
    h = np.maximum(X @ params["W1"] + params["b1"], 0)
    return 0.5 * np.sum((h @ params["W2"] + params["b2"] - y) ** 2)


def claimed_smile_528(params, X, y):
    h = np.maximum(X @ params["W1"] + params["b1"], 0)
    dout = h @ params["W2"] + params["b2"] - y
    g = dout @ params["W2"].T
    g = np.where(h > 0, 1.0, 0.0)
    return {"W1": X.T @ g, "b1": g.sum(axis=0), "W2": h.T @ dout, "b2": dout.sum(axis=0)}


# --- bpr_2: the penalty has the sign of an ascent where the rest descends -----------------------


def setup_bpr_2(rng):
    params = {"users": rng.normal(size=(4, 3)), "items": rng.normal(size=(5, 3))}
    pairs = np.array([[0, 1], [1, 4], [2, 0], [3, 2], [0, 3], [2, 1]])
    return params, pairs, np.array([2, 0, 3, 4, 1, 4])


def loss_bpr_2(params, pairs, negatives, penalty=0.1):
    users, items = params["users"], params["items"]
    gap = items[pairs[:, 1]] - items[negatives]
    score = np.sum(users[pairs[:, 0]] * gap, axis=1)
    squares = np.sum(users**2) + np.sum(items**2)
    return -np.sum(np.log(sigmoid(score))) + 0.5 * penalty * squares


def claimed_bpr_2(params, pairs, negatives, penalty=0.1):
    users, items = params["users"], params["items"]
    ascent = {name: np.zeros_like(each) for name, each in params.items()}
    for (user, positive), negative in zip(pairs, negatives, strict=True):
        gap = items[positive] - items[negative]
        scale = 1 - sigmoid(users[user] @ gap)
        ascent["users"][user] += scale * gap
        ascent["items"][positive] += scale * users[user]
        ascent["items"][negative] -= scale * users[user]
    return {name: -(each + penalty * params[name]) for name, each in ascent.items()}


# --- miopen_104: the sum over the batch where each example's own belongs ------------------------


def setup_miopen_104(rng):
    return scaled(rng, (3, 5, 2)), rng.normal(size=(7, 3)), rng.normal(size=(7, 2))


loss_miopen_104 = loss_aprender_2200


def claimed_miopen_104(params, X, y):
    x_hat, std, hidden = batch_normalised(params, X)
    N = len(X)
    dout = 2 * (hidden @ params["W2"] + params["b2"] - y) / y.size
    dy = dout @ params["W2"].T
    dxhat = (dy * params["gamma"]).sum(axis=0)
    dxhathat = (dy * params["gamma"] * x_hat).sum(axis=0)
    tmp1 = x_hat * dxhathat + dxhat
    tmp2 = N * dxhat - tmp1
    dz = tmp2 / (std * N)
    return {
        "W1": X.T @ dz,
        "b1": dz.sum(axis=0),
        "gamma": (dy * x_hat).sum(axis=0),
        "beta": dy.sum(axis=0),
        "W2": hidden.T @ dout,
        "b2": dout.sum(axis=0),
    }


# --- micrograd_72: right; what comes from both factors adds up ----------------------------------


def setup_micrograd_72(rng):
    params = {name: rng.normal(size=3) for name in ("x", "y", "z")}
    return params, rng.normal(size=(5, 3)), rng.normal(size=5)


def loss_micrograd_72(params, X, t):
    product = (params["x"] * params["y"]) * (params["x"] * params["z"])
    return np.mean((X @ product - t) ** 2)


def claimed_micrograd_72(params, X, t):
    left, right = params["x"] * params["y"], params["x"] * params["z"]
    grads = {name: np.zeros_like(each) for name, each in params.items()}
    dproduct = 2 * X.T @ (X @ (left * right) - t) / len(t)
    dleft, dright = dproduct * right, dproduct * left
    grads["x"] += dleft * params["y"]
    grads["y"] += dleft * params["x"]
    grads["x"] += dright * params["z"]
    grads["z"] += dright * params["x"]
    return grads


# --- mlpack_2474, caffe_4110: right; the term that is missed is zero -----------------------------


def setup_mlpack_2474(rng):
    return scaled(rng, (3, 5, 2)), rng.normal(size=(7, 3)), rng.normal(size=(7, 2))


loss_mlpack_2474 = loss_aprender_2200


def claimed_mlpack_2474(params, X, y):
    x_hat, std, hidden = batch_normalised(params, X)
    centred = x_hat * std
    dout = 2 * (hidden @ params["W2"] + params["b2"] - y) / y.size
    dy = dout @ params["W2"].T
    norm = dy * params["gamma"]
    var = np.sum(norm * centred, axis=0) * -0.5 / std**3
    dz = norm / std + centred * var * 2 / len(X)
    dz = dz + np.sum(norm * -1 / std, axis=0) / len(X)
    return {
        "W1": X.T @ dz,
        "b1": dz.sum(axis=0),
        "gamma": (dy * x_hat).sum(axis=0),
        "beta": dy.sum(axis=0),
        "W2": hidden.T @ dout,
        "b2": dout.sum(axis=0),
    }


def setup_caffe_4110(rng):
    return two_layers(rng, (3, 4, 2)), rng.normal(size=(6, 3)), rng.normal(size=(6, 2))


def loss_caffe_4110(params, X, y):
    z = X @ params["W1"] + params["b1"]
    normalised = (z - z.mean(axis=0)) / np.sqrt(z.var(axis=0) + 1e-3)
    return 0.5 * np.sum((normalised @ params["W2"] + params["b2"] - y) ** 2)


def claimed_caffe_4110(params, X, y):
    z = X @ params["W1"] + params["b1"]
    std = np.sqrt(z.var(axis=0) + 1e-3)
    out = (z - z.mean(axis=0)) / std
    error = out @ params["W2"] + params["b2"] - y
    dy = error @ params["W2"].T
    dz = (dy - dy.mean(axis=0) - (dy * out).mean(axis=0) * out) / std
    return {
        "W1": X.T @ dz,
        "b1": dz.sum(axis=0),
        "W2": out.T @ error,
        "b2": error.sum(axis=0),
    }


# --- dezero_20: right; a broadcast that changes nothing -----------------------------------------


def setup_dezero_20(rng):
    return two_layers(rng, (3, 4, 2)), rng.normal(size=(6, 3)), rng.normal(size=(6, 2))


def loss_dezero_20(params, X, y):
    diff = sigmoid(X @ params["W1"] + params["b1"]) @ params["W2"] + params["b2"] - y
    return np.sum(diff**2) / len(diff)


def claimed_dezero_20(params, X, y):
    h = sigmoid(X @ params["W1"] + params["b1"])
    diff = h @ params["W2"] + params["b2"] - y
    gy = np.broadcast_to(1.0, diff.shape)
    gx = gy * diff * (2.0 / len(diff))
    dz = gx @ params["W2"].T * h * (1 - h)
    return {"W1": X.T @ dz, "b1": dz.sum(axis=0), "W2": h.T @ gx, "b2": gx.sum(axis=0)}


# --- cs249r_1867: right; several axes are put back at once ---------------------------------------


def setup_cs249r_1867(rng):
    params = {"w": rng.normal(size=(3, 4)), "V": rng.normal(size=(2, 3))}
    return params, rng.normal(size=(5, 2, 3, 4)), rng.normal(size=(5, 3))


def loss_cs249r_1867(params, X, y):
    means = np.tanh(X * params["w"]).mean(axis=(2, 3))
    return np.sum((means @ params["V"] - y) ** 2)


def claimed_cs249r_1867(params, X, y):
    h = np.tanh(X * params["w"])
    means = h.mean(axis=(2, 3))
    dout = 2 * (means @ params["V"] - y)
    grad = np.expand_dims(dout @ params["V"].T / 12, axis=(2, 3))
    dh = np.ones_like(h) * grad
    return {"w": (dh * (1 - h**2) * X).sum(axis=(0, 1)), "V": means.T @ dout}


# --- dml_97: right; the half is in the loss -----------------------------------------------------


def setup_dml_97(rng):
    X = np.concatenate([np.ones((8, 1)), rng.normal(size=(8, 2))], axis=1)
    return {"theta": rng.normal(size=(3, 1))}, X, rng.normal(size=(8, 1))


def loss_dml_97(params, X, y):
    return np.sum((X @ params["theta"] - y) ** 2) / (2 * len(X))


def claimed_dml_97(params, X, y):
    m = len(X)
    errors = X @ params["theta"] - y
    return {"theta": X.T @ errors / m}


# --- spark_3325: right; the margin has the other sign -------------------------------------------


def setup_spark_3325(rng):
    return {"weights": rng.normal(size=4)}, rng.normal(size=(9, 4)), rng.integers(2, size=9) * 1.0


def loss_spark_3325(params, X, labels):
    margin = -X @ params["weights"]
    return np.mean(np.log(1 + np.exp(margin)) - (1 - labels) * margin)


def claimed_spark_3325(params, X, labels):
    margin = -X @ params["weights"]
    multiplier = 1.0 / (1.0 + np.exp(margin)) - labels
    return {"weights": X.T @ multiplier / len(X)}


# --- se_slope: right; the inputs are large -------------------------------------------------------


def setup_se_slope(rng):
    x = np.arange(0.0, 400.0, 10.0)
    return {"m": rng.normal(size=1), "c": rng.normal(size=1)}, x, 4 * x + 3


def loss_se_slope(params, x, y):
    return np.mean((y - params["m"] * x - params["c"]) ** 2)


def claimed_se_slope(params, x, y):
    d_m = np.zeros(1)
    d_c = np.zeros(1)
    for i in range(len(x)):
        d_m += (y[i] - params["m"] * x[i] - params["c"]) * x[i]
        d_c += y[i] - params["m"] * x[i] - params["c"]
    return {"m": d_m * -2 / len(x), "c": d_c * -2 / len(x)}


# --- myonn_82: right; two minus signs ------------------------------------------------------------


def setup_myonn_82(rng):
    params = {"wih": rng.normal(size=(4, 3)), "who": rng.normal(size=(2, 4))}
    return params, rng.normal(size=(3, 1)), rng.uniform(size=(2, 1))


def loss_myonn_82(params, inputs, targets):
    outputs = sigmoid(params["who"] @ sigmoid(params["wih"] @ inputs))
    return 0.5 * np.sum((targets - outputs) ** 2)


def claimed_myonn_82(params, inputs, targets):
    hidden_outputs = sigmoid(params["wih"] @ inputs)
    final_outputs = sigmoid(params["who"] @ hidden_outputs)
    output_errors = targets - final_outputs
    output_delta = output_errors * final_outputs * (1 - final_outputs)
    hidden_errors = params["who"].T @ output_delta
    hidden_delta = hidden_errors * hidden_outputs * (1 - hidden_outputs)
    steps = {"who": output_delta @ hidden_outputs.T, "wih": hidden_delta @ inputs.T}
    return {name: -step for name, step in steps.items()}


# --- dsse_27146: right; only the cost was doubled ------------------------------------------------


def setup_dsse_27146(rng):
    params = {"w": rng.normal(size=(2, 1)), "b": np.array(0.5)}
    return params, rng.normal(size=(2, 9)), rng.integers(2, size=(1, 9)) * 1.0


def loss_dsse_27146(params, X, Y):
    A = sigmoid(params["w"].T @ X + params["b"])
    return -np.mean(Y * np.log(A) + (1 - Y) * np.log(1 - A))


def claimed_dsse_27146(params, X, Y):
    m = X.shape[1]
    A = sigmoid(params["w"].T @ X + params["b"])
    return {"w": X @ (A - Y).T / m, "b": np.sum(A - Y) / m}

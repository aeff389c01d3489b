"""Published hand-written gradients, restated from their mathematics (see reports.json)."""

import numpy as np


def sigmoid(z):
    return 1.0 / (1.0 + np.exp(-z))


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def dense(rng, sizes):
    """Weights [I, O] and biases of two layers."""
    n, h, k = sizes
    return {
        "W1": 0.8 * rng.normal(size=(n, h)),
        "b1": 0.3 * rng.normal(size=h),
        "W2": 0.8 * rng.normal(size=(h, k)),
        "b2": 0.3 * rng.normal(size=k),
    }


# --- nanonn_4: the slope of softplus by its input, given its output ---------------------------


def setup_nanonn_4(rng):
    return dense(rng, (2, 4, 1)), rng.normal(size=(7, 2)), rng.normal(size=(7, 1))


def loss_nanonn_4(params, X, y):
    hidden = np.log(1 + np.exp(X @ params["W1"] + params["b1"]))
    return np.mean((hidden @ params["W2"] + params["b2"] - y) ** 2)


def claimed_nanonn_4(params, X, y):
    hidden = np.log(1 + np.exp(X @ params["W1"] + params["b1"]))
    error = 2 * (hidden @ params["W2"] + params["b2"] - y) / len(X)
    back = error @ params["W2"].T * (1 / (1 + np.exp(-hidden)))
    return {"W1": X.T @ back, "b1": back.sum(0), "W2": hidden.T @ error, "b2": error.sum(0)}


# --- tutorial_10: the mean of what a dot product has summed -----------------------------------


def setup_tutorial_10(rng):
    return {"w": np.array(0.3)}, np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 4.0, 6.0, 8.0])


def loss_tutorial_10(params, x, y):
    return np.mean((params["w"] * x - y) ** 2)


def claimed_tutorial_10(params, x, y):
    predicted = params["w"] * x
    return {"w": np.dot(2 * x, predicted - y).mean()}


# --- ttmetal_52144: the base and the exponent of a power exchanged ----------------------------


def setup_ttmetal_52144(rng):
    params = {"W": rng.uniform(0.1, 1, (3, 2)), "b": np.full(2, 0.4)}
    return params, rng.uniform(0.1, 1, (6, 3)), rng.normal(size=(6, 2))


def loss_ttmetal_52144(params, X, y):
    return np.mean((1.7 ** (X @ params["W"] + params["b"]) - y) ** 2)


def claimed_ttmetal_52144(params, X, y):
    exponent = 1.7
    z = X @ params["W"] + params["b"]
    grad = 2 * (exponent**z - y) / y.size
    back = grad * exponent * z ** (exponent - 1)
    return {"W": X.T @ back, "b": back.sum(axis=0)}


# --- aidotnet_998: the noise left out of the gradient of the log variance ---------------------


def setup_aidotnet_998(rng):
    params = {"Wm": rng.normal(size=(3, 2)), "Wv": 0.5 * rng.normal(size=(3, 2))}
    return params, rng.normal(size=(8, 3)), rng.normal(size=(8, 4))


def loss_aidotnet_998(params, X, y):
    target, noise = y[:, :2], y[:, 2:]
    z = X @ params["Wm"] + np.exp(0.5 * (X @ params["Wv"])) * noise
    return np.mean(np.sum((z - target) ** 2, axis=1))


def claimed_aidotnet_998(params, X, y):
    target, noise = y[:, :2], y[:, 2:]
    std = np.exp(0.5 * (X @ params["Wv"]))
    z = X @ params["Wm"] + std * noise
    dz = 2 * (z - target) / len(X)
    dlogvar = dz * 0.5 * std
    return {"Wm": X.T @ dz, "Wv": X.T @ dlogvar}


# --- torch_31938: the side of a leaky ReLU by its output, where the slope is negative ---------


def setup_torch_31938(rng):
    return dense(rng, (3, 5, 2)), rng.normal(size=(8, 3)), rng.normal(size=(8, 2))


def loss_torch_31938(params, X, y):
    z = X @ params["W1"] + params["b1"]
    hidden = np.where(z > 0, z, -2 * z)
    return np.mean((hidden @ params["W2"] + params["b2"] - y) ** 2)


def claimed_torch_31938(params, X, y):
    z = X @ params["W1"] + params["b1"]
    hidden = np.where(z > 0, z, -2 * z)
    error = 2 * (hidden @ params["W2"] + params["b2"] - y) / y.size
    dz = error @ params["W2"].T * np.where(hidden > 0, 1, -2)
    return {"W1": X.T @ dz, "b1": dz.sum(axis=0), "W2": hidden.T @ error, "b2": error.sum(axis=0)}


# --- pyglmnet_181: the bound itself where its exponential is the slope ------------------------


def setup_pyglmnet_181(rng):
    params = {"beta": rng.normal(size=3), "beta0": np.array(0.3)}
    return params, rng.normal(size=(12, 3)), rng.poisson(2.0, 12) * 1.0


def rate_pyglmnet(z, eta):
    return np.where(z > eta, z * np.exp(eta) + (1 - eta) * np.exp(eta), np.exp(z))


def loss_pyglmnet_181(params, X, y):
    rate = rate_pyglmnet(X @ params["beta"] + params["beta0"], 0.6)
    return np.mean(rate - y * np.log(rate))


def claimed_pyglmnet_181(params, X, y):
    eta = 0.6
    z = X @ params["beta"] + params["beta0"]
    rate = rate_pyglmnet(z, eta)
    dz = np.where(z > eta, eta * (1 - y / rate), rate - y)
    return {"beta": X.T @ dz / len(y), "beta0": dz.mean()}


# --- djib_1: divided by the sum of the inputs where their number belongs ----------------------


def setup_djib_1(rng):
    return {"w": np.array(0.4), "b": np.array(-0.2)}, rng.normal(1, 1, 9), rng.normal(size=9)


def loss_djib_1(params, x, y):
    return np.mean((y - (params["w"] * x + params["b"])) ** 2)


def claimed_djib_1(params, x, y):
    y_hat = params["w"] * x + params["b"]
    dw = -(2 / sum(x)) * sum(x * (y - y_hat))
    db = -(2 / sum(x)) * sum(y - y_hat)
    return {"w": dw, "b": db}


# --- discuss_187917: the slope of tanh at its argument, twice ---------------------------------


def setup_discuss_187917(rng):
    return {"w_h": np.array(0.8), "w_y": np.array(1.5)}, np.array([0.5, -0.7, 1.2]), np.zeros(3)


def loss_discuss_187917(params, x, y):
    h2 = np.tanh(params["w_h"] * np.tanh(params["w_h"] * x))
    return np.sum(params["w_y"] * h2 - y)


def claimed_discuss_187917(params, x, y):
    w_h, w_y = params["w_h"], params["w_y"]
    h1_raw = w_h * x
    h1 = np.tanh(h1_raw)
    h2_raw = w_h * h1
    h2 = np.tanh(h2_raw)
    dh2 = w_y
    dh2_raw = (1 - h2_raw**2) * dh2
    dh1 = w_h * dh2_raw
    dh1_raw = (1 - h1_raw**2) * dh1
    return {"w_h": np.sum(h1 * dh2_raw + x * dh1_raw), "w_y": np.sum(h2)}


# --- stdlib_13111: the square's two left out in one branch of two -----------------------------


def setup_stdlib_13111(rng):
    labels = np.where(rng.normal(size=10) > 0, 1.0, -1.0)
    return {"w": 0.8 * rng.normal(size=4)}, rng.normal(size=(10, 4)), labels


def loss_stdlib_13111(params, X, y):
    d = y * (X @ params["w"])
    return np.mean(np.where(d < -1, -4 * d, np.maximum(0, 1 - d) ** 2))


def claimed_stdlib_13111(params, X, y):
    d = y * (X @ params["w"])
    step = np.where(d < -1, 4 * y, y * np.maximum(0, 1 - d))
    return {"w": -X.T @ step / len(y)}


# --- factorization_16: the minus sign of the log-sigmoid loss ---------------------------------


def setup_factorization_16(rng):
    params = {"w0": np.array(0.1), "w": rng.normal(size=4), "V": 0.5 * rng.normal(size=(4, 2))}
    labels = np.where(rng.normal(size=9) > 0, 1.0, -1.0)
    return params, rng.normal(size=(9, 4)), labels


def machine(params, X):
    pairs = (X @ params["V"]) ** 2 - X**2 @ params["V"] ** 2
    return params["w0"] + X @ params["w"] + 0.5 * pairs.sum(axis=1)


def loss_factorization_16(params, X, y):
    return np.mean(np.log(1 + np.exp(-y * machine(params, X))))


def claimed_factorization_16(params, X, y):
    score = machine(params, X)
    multiplier = y * (1 - sigmoid(y * score)) / len(y)
    dV = X.T @ (multiplier[:, None] * (X @ params["V"]))
    dV -= params["V"] * (multiplier @ X**2)[:, None]
    return {"w0": multiplier.sum(), "w": X.T @ multiplier, "V": dV}


# --- deeppy_17: the penalty taken away from the gradient --------------------------------------


def setup_deeppy_17(rng):
    return dense(rng, (3, 4, 2)), rng.normal(size=(6, 3)), np.eye(2)[rng.integers(0, 2, 6)]


def loss_deeppy_17(params, X, y):
    hidden = np.maximum(0, X @ params["W1"] + params["b1"])
    p = softmax(hidden @ params["W2"] + params["b2"])
    penalty = 0.02 * (np.sum(params["W1"] ** 2) + np.sum(params["W2"] ** 2))
    return -np.sum(y * np.log(p)) / len(X) + 0.5 * penalty


def claimed_deeppy_17(params, X, y):
    decay = 0.02
    hidden = np.maximum(0, X @ params["W1"] + params["b1"])
    error = (softmax(hidden @ params["W2"] + params["b2"]) - y) / len(X)
    back = error @ params["W2"].T * (hidden > 0)
    steps = {"W1": X.T @ back, "b1": back.sum(0), "W2": hidden.T @ error, "b2": error.sum(0)}
    for name in ("W1", "W2"):
        steps[name] -= decay * params[name]
    return steps


# --- epfml_37: the second of two factors updated by the first as updated ----------------------


def setup_epfml_37(rng):
    params = {"xs": rng.normal(size=(4, 3)), "ys": rng.normal(size=(5, 3))}
    return params, np.array([[1, 2]]), np.array([0.7])


def loss_epfml_37(params, x, y):
    dots = np.sum(params["xs"][x[:, 0]] * params["ys"][x[:, 1]], axis=1)
    return np.sum(0.5 * (y - dots) ** 2)


def claimed_epfml_37(params, x, y):
    rate = 0.05
    xs, ys = params["xs"].copy(), params["ys"].copy()
    for (ix, jy), logn in zip(x, y, strict=True):
        row, column = xs[ix, :], ys[jy, :]
        scale = rate * (logn - np.dot(row, column))
        xs[ix, :] += scale * column
        ys[jy, :] += scale * row
    return {"xs": (params["xs"] - xs) / rate, "ys": (params["ys"] - ys) / rate}


# --- rasbt3_138: the hidden slope taken at the activations ------------------------------------


def setup_rasbt3_138(rng):
    return dense(rng, (4, 5, 3)), rng.normal(size=(7, 4)), np.eye(3)[rng.integers(0, 3, 7)]


def loss_rasbt3_138(params, X, y):
    hidden = sigmoid(X @ params["W1"] + params["b1"])
    out = sigmoid(hidden @ params["W2"] + params["b2"])
    return -np.sum(y * np.log(out) + (1 - y) * np.log(1 - out))


def claimed_rasbt3_138(params, X, y):
    def slope(z):
        return sigmoid(z) * (1 - sigmoid(z))

    a_h = sigmoid(X @ params["W1"] + params["b1"])
    delta_out = sigmoid(a_h @ params["W2"] + params["b2"]) - y
    delta_h = delta_out @ params["W2"].T * slope(a_h)
    return {
        "W1": X.T @ delta_h,
        "b1": delta_h.sum(axis=0),
        "W2": a_h.T @ delta_out,
        "b2": delta_out.sum(axis=0),
    }


# --- nd4j_2410: the slope of softplus without what comes from above ---------------------------


def setup_nd4j_2410(rng):
    return dense(rng, (3, 4, 2)), rng.normal(size=(6, 3)), rng.normal(size=(6, 2))


def loss_nd4j_2410(params, X, y):
    hidden = np.log(1 + np.exp(X @ params["W1"] + params["b1"]))
    return np.mean(np.sum((hidden @ params["W2"] + params["b2"] - y) ** 2, axis=1))


def claimed_nd4j_2410(params, X, y):
    z = X @ params["W1"] + params["b1"]
    hidden = np.log(1 + np.exp(z))
    error = 2 * (hidden @ params["W2"] + params["b2"] - y) / len(X)
    dz = sigmoid(z)
    return {"W1": X.T @ dz, "b1": dz.sum(axis=0), "W2": hidden.T @ error, "b2": error.sum(axis=0)}


# --- mate_2: a softmax loss whose gradient is not divided by the batch ------------------------


def setup_mate_2(rng):
    return dense(rng, (3, 4, 3)), rng.normal(size=(8, 3)), rng.integers(0, 3, 8)


def loss_mate_2(params, X, y):
    hidden = np.tanh(X @ params["W1"] + params["b1"])
    p = softmax(hidden @ params["W2"] + params["b2"])
    return -np.mean(np.log(p[np.arange(len(y)), y]))


def claimed_mate_2(params, X, y):
    hidden = np.tanh(X @ params["W1"] + params["b1"])
    error = softmax(hidden @ params["W2"] + params["b2"])
    error[np.arange(len(y)), y] -= 1
    back = error @ params["W2"].T * (1 - hidden**2)
    return {"W1": X.T @ back, "b1": back.sum(0), "W2": hidden.T @ error, "b2": error.sum(0)}


# --- dlai_dal: the sign of the second term of the cross-entropy's derivative ------------------


def setup_dlai_dal(rng):
    params = {
        "W1": rng.normal(size=(4, 3)),
        "b1": 0.3 * rng.normal(size=(4, 1)),
        "W2": rng.normal(size=(1, 4)),
        "b2": 0.3 * rng.normal(size=(1, 1)),
    }
    return params, rng.normal(size=(3, 9)), rng.integers(0, 2, (1, 9)) * 1.0


def loss_dlai_dal(params, X, Y):
    A1 = np.maximum(0, params["W1"] @ X + params["b1"])
    AL = sigmoid(params["W2"] @ A1 + params["b2"])
    return -np.sum(Y * np.log(AL) + (1 - Y) * np.log(1 - AL)) / X.shape[1]


def claimed_dlai_dal(params, X, Y):
    m = X.shape[1]
    A1 = np.maximum(0, params["W1"] @ X + params["b1"])
    AL = sigmoid(params["W2"] @ A1 + params["b2"])
    dAL = -(np.divide(Y, AL) + np.divide(1 - Y, 1 - AL))
    dZ2 = dAL * AL * (1 - AL)
    dZ1 = np.dot(params["W2"].T, dZ2) * (A1 > 0)
    return {
        "W1": np.dot(dZ1, X.T) / m,
        "b1": np.sum(dZ1, axis=1, keepdims=True) / m,
        "W2": np.dot(dZ2, A1.T) / m,
        "b2": np.sum(dZ2, axis=1, keepdims=True) / m,
    }


# --- myonn_77: the derivative of a squared error with the output as a factor ------------------


def setup_myonn_77(rng):
    params = {"wih": rng.normal(size=(4, 3)), "who": rng.normal(size=(2, 4))}
    return params, rng.normal(size=(3, 1)), np.array([[0.9], [0.1]])


def loss_myonn_77(params, x, t):
    o = sigmoid(params["who"] @ sigmoid(params["wih"] @ x))
    return np.sum((t - o) ** 2)


def claimed_myonn_77(params, x, t):
    h = sigmoid(params["wih"] @ x)
    o = sigmoid(params["who"] @ h)
    delta = 2 * (t - o) * o * o * (1 - o)
    back = params["who"].T @ delta * h * (1 - h)
    return {"wih": back @ x.T, "who": delta @ h.T}


# --- mathse_4158072: the derivative of the cost left out for the earlier weight ---------------


def setup_mathse_4158072(rng):
    return {"w1": np.array(0.7), "w2": np.array(-1.1)}, np.array([0.4, 1.3, -0.8]), np.ones(3)


def loss_mathse_4158072(params, x, y):
    a1 = sigmoid(params["w1"] * x)
    return np.sum((sigmoid(params["w2"] * a1) - y) ** 2)


def claimed_mathse_4158072(params, x, y):
    def slope(z):
        return sigmoid(z) * (1 - sigmoid(z))

    w1, w2 = params["w1"], params["w2"]
    z1 = w1 * x
    a1 = sigmoid(z1)
    a2 = sigmoid(w2 * a1)
    dw2 = np.sum(a1 * slope(w2 * a1) * 2 * (a2 - y))
    dw1 = np.sum(x * slope(z1) * slope(w2 * a1) * w2)
    return {"w1": dw1, "w2": dw2}


# --- dlai_32339: a sigmoid that is no sigmoid in its own derivative ---------------------------


def setup_dlai_32339(rng):
    params = {"w": rng.normal(size=(3, 1)), "b": np.array([[0.2]])}
    return params, rng.normal(size=(3, 8)), rng.integers(0, 2, (1, 8)) * 1.0


def loss_dlai_32339(params, X, Y):
    A = sigmoid(params["w"].T @ X + params["b"])
    return np.sum((A - Y) ** 2) / X.shape[1]


def claimed_dlai_32339(params, X, Y):
    z = params["w"].T @ X + params["b"]
    A = sigmoid(z)
    s = 1 / np.exp(-z)
    ds = s * (1 - s)
    dz = 2 * (A - Y) * ds / X.shape[1]
    return {"w": X @ dz.T, "b": np.sum(dz, axis=1, keepdims=True)}


# --- zheng_91: a penalty that the loss does not have ------------------------------------------


def setup_zheng_91(rng):
    return {"W": 0.5 * rng.normal(size=(4, 3))}, rng.normal(size=(7, 4)), rng.integers(0, 3, 7)


def loss_zheng_91(params, X, y):
    scores = X @ params["W"]
    margins = np.maximum(0, scores - scores[np.arange(len(y)), y][:, None] + 1)
    return (np.sum(margins) - len(y)) / len(y)


def claimed_zheng_91(params, X, y):
    reg = 0.05
    rows = np.arange(len(y))
    scores = X @ params["W"]
    mask = (scores - scores[rows, y][:, None] + 1 > 0) * 1.0
    mask[rows, y] = 0
    mask[rows, y] = -mask.sum(axis=1)
    dW = X.T @ mask / len(y)
    dW += 2 * reg * params["W"]
    return {"W": dW}


# --- rustautograd_37: the inverse for the slope of a square root ------------------------------


def setup_rustautograd_37(rng):
    params = {"W": rng.uniform(0.2, 1, (3, 2)), "b": np.array([0.5, 0.9])}
    return params, rng.uniform(0.2, 2, (6, 3)), rng.normal(size=(6, 2))


def loss_rustautograd_37(params, X, y):
    return np.mean((np.sqrt(X @ params["W"] + params["b"]) - y) ** 2)


def claimed_rustautograd_37(params, X, y):
    x = X @ params["W"] + params["b"]
    gy = 2 * (np.sqrt(x) - y) / y.size
    half = 1.0
    dx = gy * half * x**-1
    return {"W": X.T @ dx, "b": dx.sum(axis=0)}


# --- tinyflow_20: the wrong one of the terms of a quotient's derivative -----------------------


def setup_tinyflow_20(rng):
    params = {"A": rng.uniform(0.2, 1, (3, 2)), "B": rng.uniform(0.2, 1, (3, 2))}
    return params, rng.uniform(0.2, 2, (6, 3)), rng.normal(size=(6, 2))


def loss_tinyflow_20(params, X, y):
    return np.mean(((X @ params["A"]) / (X @ params["B"]) - y) ** 2)


def claimed_tinyflow_20(params, X, y):
    a, b = X @ params["A"], X @ params["B"]
    grad = 2 * (a / b - y) / y.size
    n1 = grad * a
    n2 = n1 * -1
    return {"A": X.T @ (grad / b), "B": X.T @ (n1 / n2)}


# --- mxnet_9172: rows that are asked for twice get the last gradient alone --------------------


def setup_mxnet_9172(rng):
    params = {"table": rng.normal(size=(5, 3)), "W": rng.normal(size=(3, 2))}
    return params, np.array([1, 3, 1, 0, 3, 1]), rng.normal(size=(6, 2))


def loss_mxnet_9172(params, x, y):
    return np.mean((params["table"][x] @ params["W"] - y) ** 2)


def claimed_mxnet_9172(params, x, y):
    rows = params["table"][x]
    error = 2 * (rows @ params["W"] - y) / y.size
    dtable = np.zeros_like(params["table"])
    dtable[x] = error @ params["W"].T
    return {"table": dtable, "W": rows.T @ error}


# --- autograd_412: the sign of a normal density's gradient by its covariance ------------------


def setup_autograd_412(rng):
    root = rng.normal(size=(3, 3))
    params = {"mean": rng.normal(size=3), "cov": root @ root.T + np.eye(3)}
    return params, rng.normal(size=(9, 3)), np.zeros(9)


def loss_autograd_412(params, x, y):
    off = x - params["mean"]
    squares = np.sum(off @ np.linalg.inv(params["cov"]) * off, axis=1)
    return np.mean(0.5 * squares + y) + 0.5 * np.log(np.linalg.det(params["cov"]))


def claimed_autograd_412(params, x, y):
    inverse = np.linalg.inv(params["cov"])
    off = (x - params["mean"]) @ inverse
    cov = 0.5 * (off.T @ off / len(x) - inverse)
    return {"mean": -off.mean(axis=0), "cov": cov}


# --- bpnn_2: right as it is; the weights of the reporter's sum are turned ---------------------


def setup_bpnn_2_code(rng):
    params = {"W1": rng.normal(size=(3, 4)), "W2": rng.normal(size=(3, 3))}
    return params, rng.normal(size=4), rng.uniform(-0.8, 0.8, 3)


setup_bpnn_2_proposed = setup_bpnn_2_code


def loss_bpnn_2_code(params, x, t):
    out = np.tanh(params["W2"] @ np.tanh(params["W1"] @ x))
    return np.sum(0.5 * (t - out) ** 2)


loss_bpnn_2_proposed = loss_bpnn_2_code


def claimed_bpnn_2_code(params, x, t):
    hidden = np.tanh(params["W1"] @ x)
    out = np.tanh(params["W2"] @ hidden)
    deltas = (1 - out**2) * (t - out)
    errors = [sum(d * w[j] for d, w in zip(deltas, params["W2"], strict=True)) for j in range(3)]
    back = (1 - hidden**2) * np.array(errors)
    return {"W1": -np.outer(back, x), "W2": -np.outer(deltas, hidden)}


def claimed_bpnn_2_proposed(params, x, t):
    hidden = np.tanh(params["W1"] @ x)
    out = np.tanh(params["W2"] @ hidden)
    deltas = (1 - out**2) * (t - out)
    errors = []
    for j in range(3):
        unit = params["W2"][j]
        total = 0
        for i in range(3):
            total += unit[i] * deltas[i]
        errors.append(total)
    back = (1 - hidden**2) * np.array(errors)
    return {"W1": -np.outer(back, x), "W2": -np.outer(deltas, hidden)}


# --- xgboost_8000: right; the logarithms have their one ---------------------------------------


def setup_xgboost_8000(rng):
    return {"leaf": rng.uniform(0.2, 1, 3)}, rng.uniform(0.1, 2, (8, 3)), rng.uniform(0, 3, 8)


def loss_xgboost_8000(params, X, y):
    return np.sum(0.5 * (np.log1p(X @ params["leaf"]) - np.log1p(y)) ** 2)


def claimed_xgboost_8000(params, X, y):
    predicted = X @ params["leaf"]
    return {"leaf": X.T @ ((np.log1p(predicted) - np.log1p(y)) / (predicted + 1))}


# --- glove_19: right; each vector's gradient has the other vector in it -----------------------


def setup_glove_19(rng):
    params = {"words": rng.normal(size=(4, 3)), "context": rng.normal(size=(4, 3))}
    pairs = np.array([[0, 1], [2, 3], [1, 1], [0, 2], [3, 0]])
    return params, pairs, rng.uniform(0, 2, 5)


def loss_glove_19(params, x, y):
    dots = np.sum(params["words"][x[:, 0]] * params["context"][x[:, 1]], axis=1)
    return np.sum(0.5 * (dots - y) ** 2)


def claimed_glove_19(params, x, y):
    words, context = np.zeros((4, 3)), np.zeros((4, 3))
    for (l1, l2), logn in zip(x, y, strict=True):
        diff = params["words"][l1] @ params["context"][l2] - logn
        words[l1] += diff * params["context"][l2]
        context[l2] += diff * params["words"][l1]
    return {"words": words, "context": context}


# --- explainer_18: right; a bias that is zero has a gradient ----------------------------------


def setup_explainer_18(rng):
    return {"w": np.array(0.4), "b": np.array(0.0)}, np.array([2.1]), np.array([4.0])


def loss_explainer_18(params, x, y):
    return np.sum((params["w"] * x + params["b"] - y) ** 2)


def claimed_explainer_18(params, x, y):
    error = 2 * (params["w"] * x + params["b"] - y)
    return {"w": np.sum(error * x), "b": np.sum(error)}


# --- darknet_29: right; what the mean lacks is zero -------------------------------------------


def setup_darknet_29(rng):
    params = {"W": rng.normal(size=(3, 4)), "scale": rng.uniform(0.5, 1.5, 4)}
    return params, rng.normal(size=(8, 3)), rng.normal(size=(8, 4))


def loss_darknet_29(params, X, y):
    z = X @ params["W"]
    normal = (z - z.mean(axis=0)) / np.sqrt(z.var(axis=0) + 1e-5)
    return np.mean((normal * params["scale"] - y) ** 2)


def claimed_darknet_29(params, X, y):
    z = X @ params["W"]
    off, root = z - z.mean(axis=0), np.sqrt(z.var(axis=0) + 1e-5)
    delta = 2 * (off / root * params["scale"] - y) / y.size
    dscale = (delta * off / root).sum(axis=0)
    delta = delta * params["scale"]
    mean_delta = -delta.sum(axis=0) / root
    variance_delta = (delta * off).sum(axis=0) * -0.5 * root**-3
    dz = delta / root + variance_delta * 2 * off / len(X) + mean_delta / len(X)
    return {"W": X.T @ dz, "scale": dscale}

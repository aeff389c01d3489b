"""Gradients as people published them, restated in NumPy from the mathematics; see reports.json."""

import numpy as np


def sigmoid(z):
    return 1.0 / (1.0 + np.exp(-z))


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def one_hot(labels, k):
    return np.eye(k)[labels]


# ---- Data Science SE 37545: sigmoid' evaluated at the activation
def setup_dsse_37545(rng):
    params = {"W0": rng.normal(size=(3, 3)), "W1": rng.normal(size=(3, 1))}
    X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    return params, X, np.array([0.0, 1.0, 1.0, 0.0])


def loss_dsse_37545(params, X, y):
    a0 = np.hstack([np.ones((X.shape[0], 1)), X])
    out = sigmoid(sigmoid(a0 @ params["W0"]) @ params["W1"])
    return 0.5 * np.sum((y.reshape(-1, 1) - out) ** 2)


def claimed_dsse_37545(params, X, y):
    def activation_prime(x):
        return sigmoid(x) * (1 - sigmoid(x))

    weights = [params["W0"], params["W1"]]
    grads = [np.zeros_like(w) for w in weights]
    for x, target in zip(X, y, strict=True):
        a = [np.concatenate([np.ones(1), x])]
        for w in weights:
            a.append(sigmoid(a[-1] @ w))
        deltas = [(target - a[-1]) * activation_prime(a[-1])]
        deltas.append((deltas[-1] @ weights[1].T) * activation_prime(a[1]))
        deltas.reverse()
        for i in range(2):
            grads[i] -= np.outer(a[i], deltas[i])
    return {"W0": grads[0], "W1": grads[1]}


# ---- "GD for logistic regression isn't stable": exp(1 + b.x) and the index outside the loop
def setup_gd_logistic_unstable(rng):
    X = np.column_stack([np.ones(6), rng.normal(size=(6, 2))])
    return {"b": rng.normal(size=3)}, X, rng.integers(0, 2, size=6).astype(float)


def loss_gd_logistic_unstable(params, X, y):
    p = sigmoid(X @ params["b"])
    return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))


def claimed_gd_logistic_unstable(params, X, y):
    b = params["b"]
    m, p = X.shape

    def odds(x):
        return np.exp(b @ x) / np.exp(1 + b @ x)

    grad = np.zeros(p)
    for j in range(p):
        for i in range(m):
            grad[j] += odds(X[i]) - y[i]
        grad[j] *= X[i, j]
    return {"b": grad / m}


# ---- fengdu78 issue 82: regularised logistic gradient printed without x_j
def setup_fengdu78_82(rng):
    X = np.column_stack([np.ones(7), rng.normal(size=(7, 3))])
    return {"theta": rng.normal(size=4)}, X, rng.integers(0, 2, size=7).astype(float)


def loss_fengdu78_82(params, X, y):
    theta, m, lam = params["theta"], len(y), 1.0
    h = sigmoid(X @ theta)
    J = -np.mean(y * np.log(h) + (1 - y) * np.log(1 - h))
    return J + lam / (2 * m) * np.sum(theta[1:] ** 2)


def claimed_fengdu78_82(params, X, y):
    theta, m, lam = params["theta"], len(y), 1.0
    h = sigmoid(X @ theta)
    grad = np.zeros_like(theta)
    grad[0] = np.sum((h - y) * X[:, 0]) / m
    for j in range(1, len(theta)):
        grad[j] = np.sum(h - y) / m + lam / m * theta[j]
    return {"theta": grad}


# ---- qixianbiao/RNN: the loop skips the last step and dL_ht never passes through Whh
def qx_forward(params, x):
    h, states, output = params["h"], [], []
    for t in range(x.shape[1]):
        h = np.tanh(params["Wxh"] @ x[:, t] + params["Bxh"] + params["Whh"] @ h)
        q = params["Wyh"] @ h + params["Byh"]
        e = np.exp(q - q.max())
        states.append(h)
        output.append(e / e.sum())
    return states, output


def setup_qixianbiao_rnn(rng):
    n, k, h, T = 3, 3, 4, 5
    params = {
        "Wxh": rng.normal(size=(h, n)),
        "Bxh": rng.normal(size=h),
        "Whh": rng.normal(size=(h, h)) * 0.7,
        "Wyh": rng.normal(size=(k, h)),
        "Byh": rng.normal(size=k),
        "h": rng.normal(size=h),
    }
    return params, rng.normal(size=(n, T)), one_hot(rng.integers(0, k, size=T), k).T


def loss_qixianbiao_rnn(params, x, y):
    output = qx_forward(params, x)[1]
    return sum(-np.sum(y[:, t] * np.log(output[t])) for t in range(x.shape[1]))


def claimed_qixianbiao_rnn(params, x, y):
    h, output = qx_forward(params, x)
    T = x.shape[1]
    d = {name: np.zeros_like(v) for name, v in params.items()}
    dL_ht = params["Wyh"].T @ (output[-1] - y[:, -1])
    for t in range(T - 2, -1, -1):
        dQ = output[t] - y[:, t]
        dy = 1 - h[t] * h[t]
        dL_ht = dL_ht + params["Wyh"].T @ dQ
        d["Wyh"] += np.outer(dQ, h[t])
        d["Byh"] += dQ
        d["Wxh"] += np.outer(dy * dL_ht, x[:, t])
        d["Bxh"] += dy * dL_ht
        d["Whh"] += np.outer(dy * dL_ht, h[t - 1])
    d["h"] = dL_ht
    return d


# ---- qixianbiao/RNN issue 2, the correction proposed there: h[t-1] is h[-1] at t = 0
def setup_qixianbiao_proposed(rng):
    return setup_qixianbiao_rnn(rng)


def loss_qixianbiao_proposed(params, x, y):
    return loss_qixianbiao_rnn(params, x, y)


def claimed_qixianbiao_proposed(params, x, y):
    h, output = qx_forward(params, x)
    T = x.shape[1]
    d = {name: np.zeros_like(v) for name, v in params.items()}
    dL_ht = np.zeros_like(params["h"])
    for t in range(T - 1, -1, -1):
        dQ = output[t] - y[:, t]
        dL_ht = dL_ht + params["Wyh"].T @ dQ
        d["Wyh"] += np.outer(dQ, h[t])
        d["Byh"] += dQ
        dt = (1 - h[t] * h[t]) * dL_ht
        d["Wxh"] += np.outer(dt, x[:, t])
        d["Bxh"] += dt
        d["Whh"] += np.outer(dt, h[t - 1])
        dL_ht = params["Whh"].T @ dt
    d["h"] = dL_ht
    return d


# ---- dandxy89/BellkorAlgorithm: the penalty inside the bracket with the error
BK = {
    "b_u": 0.03,
    "alpha_u": 0.5,
    "b_ut": 0.05,
    "b_i": 0.02,
    "b_ibin": 0.1,
    "c_u": 0.04,
    "c_ut": 0.06,
    "p": 0.08,
    "q": 0.07,
    "alpha_p": 0.09,
}


def bk_predict(s, dev):
    P = s["p"] + s["alpha_p"] * dev
    base = 3.6 + s["b_u"] + s["alpha_u"] * dev + s["b_ut"]
    return base + (s["b_i"] + s["b_ibin"]) * (s["c_u"] + s["c_ut"]) + s["q"] @ P


def setup_bellkor(rng):
    params = {
        k: np.array(rng.normal())
        for k in ("b_u", "alpha_u", "b_ut", "b_i", "b_ibin", "c_u", "c_ut")
    }
    for k in ("p", "q", "alpha_p"):
        params[k] = rng.normal(size=4)
    return params, np.array([rng.uniform(0.5, 1.5)]), np.array([5.0])


def loss_bellkor(params, X, y):
    error = y[0] - bk_predict(params, X[0])
    cost = error**2
    for k, reg in BK.items():
        shift = 1.0 if k == "c_u" else 0.0
        cost += reg * np.sum((params[k] - shift) ** 2)
    return cost


def claimed_bellkor(params, X, y):
    s, dev = params, X[0]
    e = y[0] - bk_predict(s, dev)
    c, b = s["c_u"] + s["c_ut"], s["b_i"] + s["b_ibin"]
    grads = {
        "b_u": -2 * e + 2 * BK["b_u"] * s["b_u"],
        "alpha_u": 2 * e * (-dev + 2 * BK["alpha_u"] * s["alpha_u"]),
        "b_ut": 2 * e * (-1 + BK["b_ut"] * s["b_ut"]),
        "b_i": 2 * e * (-c + 2 * BK["b_i"] * s["b_i"]),
        "b_ibin": 2 * e * (-c + 2 * BK["b_ibin"] * s["b_ibin"]),
        "c_u": 2 * e * (-b + 2 * BK["c_u"] * (s["c_u"] - 1)),
        "c_ut": 2 * e * (-b + 2 * BK["c_ut"] * s["c_ut"]),
        "p": 2 * e * (s["q"] + 2 * BK["p"] * s["p"]),
        "q": 2 * e * (s["p"] + s["alpha_p"] * dev + 2 * BK["q"] * s["q"]),
        "alpha_p": 2 * e * (s["q"] * dev + BK["alpha_p"] * s["alpha_p"]),
    }
    return {k: np.asarray(v, dtype=float) for k, v in grads.items()}


# ---- dandxy89/BellkorAlgorithm, after the fix: two penalties still without their 2
def setup_bellkor_after(rng):
    return setup_bellkor(rng)


def loss_bellkor_after(params, X, y):
    return loss_bellkor(params, X, y)


def claimed_bellkor_after(params, X, y):
    s, dev = params, X[0]
    e = y[0] - bk_predict(s, dev)
    c, b = s["c_u"] + s["c_ut"], s["b_i"] + s["b_ibin"]
    grads = {
        "b_u": -2 * e + 2 * BK["b_u"] * s["b_u"],
        "alpha_u": 2 * e * (-dev) + 2 * BK["alpha_u"] * s["alpha_u"],
        "b_ut": 2 * e * (-1) + BK["b_ut"] * s["b_ut"],
        "b_i": 2 * e * (-c) + 2 * BK["b_i"] * s["b_i"],
        "b_ibin": 2 * e * (-c) + 2 * BK["b_ibin"] * s["b_ibin"],
        "c_u": 2 * e * (-b) + 2 * BK["c_u"] * (s["c_u"] - 1),
        "c_ut": 2 * e * (-b) + 2 * BK["c_ut"] * s["c_ut"],
        "p": 2 * e * (-s["q"]) + 2 * BK["p"] * s["p"],
        "q": 2 * e * (-s["p"] - s["alpha_p"] * dev) + 2 * BK["q"] * s["q"],
        "alpha_p": 2 * e * (-s["q"] * dev) + BK["alpha_p"] * s["alpha_p"],
    }
    return {k: np.asarray(v, dtype=float) for k, v in grads.items()}


# ---- LightGBM issue 4659: raw scores minus labels, no softmax
def setup_lightgbm_4659(rng):
    return {"preds": rng.normal(size=(6, 3))}, np.arange(6.0), rng.integers(0, 3, size=6)


def loss_lightgbm_4659(params, X, y):
    p = softmax(params["preds"])
    return -np.sum(np.log(p[np.arange(len(y)), y]))


def claimed_lightgbm_4659(params, X, y):
    preds = params["preds"]
    n_samples, n_classes = preds.shape
    labels = np.zeros((n_samples, n_classes))
    labels[np.arange(n_samples), y] = 1.0
    return {"preds": preds - labels}


# ---- XGBoost issue 3037: the fair loss with x = true - pred
def setup_xgboost_3037(rng):
    return {"pred": rng.normal(size=8)}, np.arange(8.0), 3.0 * rng.normal(size=8)


def loss_xgboost_3037(params, X, y):
    c = 1.0
    x = np.abs(y - params["pred"])
    return np.sum(c * c * (x / c - np.log(1 + x / c)))


def claimed_xgboost_3037(params, X, y):
    x = y - params["pred"]
    c = 1.0
    den = np.abs(x) + c
    return {"pred": c * x / den}


# ---- Imbalance-XGBoost issue 1: (y_hat - y)^(gamma + 1) loses the sign for label 0
def focal_loss_raw(pred, label, gamma):
    p = sigmoid(pred)
    pt = np.where(label == 1, p, 1 - p)
    return -np.sum((1 - pt) ** gamma * np.log(pt))


def setup_imbalance_xgb_focal(rng):
    label = rng.permutation(np.array([0, 0, 0, 1, 1, 0, 1, 0]))
    return {"pred": rng.normal(size=8)}, np.arange(8.0), label


def loss_imbalance_xgb_focal(params, X, y):
    return focal_loss_raw(params["pred"], y, 1)


def claimed_imbalance_xgb_focal(params, X, y):
    gamma = 1
    p, sign = sigmoid(params["pred"]), np.where(y == 1, -1.0, 1.0)
    first = gamma * (p + y - 1) * (y + sign * p) ** gamma * np.log(1 - y - sign * p)
    return {"pred": first - (y - p) ** (gamma + 1)}


# ---- Imbalance-XGBoost, script before "the equations were wrong. Corrected": it was right
def setup_imbalance_xgb_first(rng):
    return setup_imbalance_xgb_focal(rng)


def loss_imbalance_xgb_first(params, X, y):
    return focal_loss_raw(params["pred"], y, 1.2)


def claimed_imbalance_xgb_first(params, X, y):
    gamma = 1.2
    p, sign = sigmoid(params["pred"]), np.where(y == 1, -1.0, 1.0)
    first = (y + sign * p) ** gamma
    second = y - p
    third = gamma * (1 - y - p)
    log_part = np.log(1 - y - sign * p)
    return {"pred": -first * (second + third * log_part)}


# ---- fromscratchtoml issue 65: softmax' = s(1 - s) with a two-sided cross entropy
def setup_fstml_softmax(rng):
    params = {"weights": rng.normal(size=(3, 2)), "biases": rng.normal(size=2)}
    return params, rng.normal(size=(6, 3)), one_hot(rng.integers(0, 2, size=6), 2)


def loss_fstml_softmax(params, X, y):
    p = softmax(X @ params["weights"] + params["biases"])
    return np.sum(-(y * np.log(p) + (1 - y) * np.log(1 - p))) / len(y)


def claimed_fstml_softmax(params, X, y):
    p = softmax(X @ params["weights"] + params["biases"])
    dEdO = (-(y / p) + (1 - y) / (1 - p)) / len(y)
    dEdO = dEdO * p * (1.0 - p)
    dEdB = np.sum(dEdO)
    return {"weights": X.T @ dEdO, "biases": np.full(2, dEdB)}


# ---- fromscratchtoml "fix mse constant": mean of squares with derivative (pred - target)
def setup_fstml_mse(rng):
    params = {"weights": rng.normal(size=(3, 1)), "biases": rng.normal(size=1)}
    return params, rng.normal(size=(6, 3)), rng.normal(size=(6, 1))


def loss_fstml_mse(params, X, y):
    return np.mean(np.square(X @ params["weights"] + params["biases"] - y))


def claimed_fstml_mse(params, X, y):
    y_predicted = X @ params["weights"] + params["biases"]
    dEdO = y_predicted - y
    dEdB = np.sum(dEdO)
    return {"weights": X.T @ dEdO, "biases": np.full(1, dEdB)}


# ---- stochman issue 10: LeakyReLU with the Jacobian of Hardtanh
def setup_stochman_leakyrelu(rng):
    params = {"weight": 1.5 * rng.normal(size=(4, 5)), "bias": rng.normal(size=4)}
    return params, rng.normal(size=(6, 5)), rng.normal(size=(6, 4))


def loss_stochman_leakyrelu(params, X, y):
    z = X @ params["weight"].T + params["bias"]
    return 0.5 * np.sum((np.where(z > 0, z, 0.01 * z) - y) ** 2)


def claimed_stochman_leakyrelu(params, X, y):
    z = X @ params["weight"].T + params["bias"]
    val = np.where(z > 0, z, 0.01 * z)
    jac = np.zeros_like(val)
    jac[np.abs(val) < 1.0] = 1.0
    d_z = (val - y) * jac
    return {"weight": d_z.T @ X, "bias": d_z.sum(axis=0)}


# ---- mlxtend SoftmaxRegression: the bias from the mean, the weights from the sum
def setup_mlxtend_softmax(rng):
    params = {"w_": rng.normal(size=(2, 3)), "b_": rng.normal(size=3)}
    return params, rng.normal(size=(7, 2)), rng.integers(0, 3, size=7)


def loss_mlxtend_softmax(params, X, y):
    l2, y_enc = 0.3, one_hot(y, 3)
    softm = softmax(X @ params["w_"] + params["b_"])
    return -np.sum(y_enc * np.log(softm)) + 0.5 * l2 * np.sum(params["w_"] ** 2)


def claimed_mlxtend_softmax(params, X, y):
    l2, y_enc = 0.3, one_hot(y, 3)
    diff = softmax(X @ params["w_"] + params["b_"]) - y_enc
    return {"w_": X.T @ diff + l2 * params["w_"], "b_": np.mean(diff, axis=0)}


# ---- ADGEfficiency/teaching-monolith issue 1: dE/dtheta = x^2 - y
def setup_monolith_first(rng):
    return {"theta": rng.normal(size=1)}, rng.normal(size=5), 3 + rng.normal(size=5)


def loss_monolith_first(params, x, y):
    return np.mean(0.5 * (x**2 * params["theta"][0] - y) ** 2)


def claimed_monolith_first(params, x, y):
    dE = x**2 - y
    return {"theta": np.array([np.mean(dE)])}


# ---- teaching-monolith commit e0a88b5, the fix: 2(theta x^2 - y) x^2 for a halved square
def setup_monolith_fix(rng):
    return setup_monolith_first(rng)


def loss_monolith_fix(params, x, y):
    return loss_monolith_first(params, x, y)


def claimed_monolith_fix(params, x, y):
    dE = 2 * (params["theta"][0] * x**2 - y) * x**2
    return {"theta": np.array([np.mean(dE)])}


# ---- renan-cunha/BatchNormalization before 86f3896: the gradient of the mean, and no gamma
def rc_batchnorm(params, X):
    x = X @ params["weights"]
    x_minus_mean = x - np.mean(x, axis=0, keepdims=True)
    var_x = np.mean(x_minus_mean**2, axis=0, keepdims=True) + 10**-7
    standard_x = x_minus_mean / np.sqrt(var_x)
    return x_minus_mean, var_x, standard_x, params["gamma"].T * standard_x + params["bias"].T


def setup_renan_batchnorm_mean(rng):
    params = {
        "weights": rng.normal(size=(3, 4)),
        "gamma": rng.uniform(0.5, 2.0, size=(4, 1)),
        "bias": rng.normal(size=(4, 1)),
    }
    return params, rng.normal(size=(6, 3)), rng.normal(size=(6, 4))


def loss_renan_batchnorm_mean(params, X, y):
    return np.sum(np.square(rc_batchnorm(params, X)[3] - y))


def claimed_renan_batchnorm_mean(params, X, y):
    x_minus_mean, var_x, standard_x, out = rc_batchnorm(params, X)
    n = X.shape[0]
    input_grads = -(y - out) * 2
    standard_grad = input_grads * params["gamma"].T
    var_grad = np.sum(
        standard_grad * x_minus_mean * (-1 / 2) * var_x ** (-3 / 2), axis=0, keepdims=True
    )
    stddev_inv = 1 / np.sqrt(var_x)
    aux = 2 * x_minus_mean / n
    mean_grad = standard_grad @ (-1 * stddev_inv.T) + var_grad * np.mean(aux, axis=0, keepdims=True)
    d_x = input_grads * stddev_inv + var_grad * aux + mean_grad / n
    return {
        "weights": X.T @ d_x,
        "gamma": np.sum(input_grads * standard_x, axis=0, keepdims=True).T,
        "bias": np.sum(input_grads, axis=0, keepdims=True).T,
    }


# ---- renan-cunha/BatchNormalization before 0089a81: the direct term without gamma
def setup_renan_batchnorm_gamma(rng):
    return setup_renan_batchnorm_mean(rng)


def loss_renan_batchnorm_gamma(params, X, y):
    return loss_renan_batchnorm_mean(params, X, y)


def claimed_renan_batchnorm_gamma(params, X, y):
    x_minus_mean, var_x, standard_x, out = rc_batchnorm(params, X)
    n = X.shape[0]
    input_grads = -(y - out) * 2
    standard_grad = input_grads * params["gamma"].T
    var_grad = np.sum(
        standard_grad * x_minus_mean * (-1 / 2) * var_x ** (-3 / 2), axis=0, keepdims=True
    )
    stddev_inv = 1 / np.sqrt(var_x)
    aux = 2 * x_minus_mean / n
    mean_grad = np.sum(
        standard_grad * (-1 * stddev_inv), axis=0, keepdims=True
    ) + var_grad * np.sum(-1 * aux, axis=0, keepdims=True)
    d_x = input_grads * stddev_inv + var_grad * aux + mean_grad / n
    return {
        "weights": X.T @ d_x,
        "gamma": np.sum(input_grads * standard_x, axis=0, keepdims=True).T,
        "bias": np.sum(input_grads, axis=0, keepdims=True).T,
    }


# ---- renan-cunha/BatchNormalization SoftmaxLayer: x / sum(x) with p(1 - p) backward
def setup_renan_softmax(rng):
    params = {"weights": rng.normal(size=(4, 3)), "biases": rng.normal(size=(1, 3))}
    return params, rng.normal(size=(6, 4)), one_hot(rng.integers(0, 3, size=6), 3)


def loss_renan_softmax(params, X, y):
    s = sigmoid(X @ params["weights"] + params["biases"])
    p = s / np.sum(s, axis=1, keepdims=True)
    return np.sum(-(y * np.log(p) + (1 - y) * np.log(1 - p)))


def claimed_renan_softmax(params, X, y):
    s = sigmoid(X @ params["weights"] + params["biases"])
    p = s / np.sum(s, axis=1, keepdims=True)
    grad = (p - y) / (p - p**2)
    grad = grad * (p * (1 - p))
    grad = s * (1 - s) * grad
    return {"weights": X.T @ grad, "biases": np.sum(grad, axis=0, keepdims=True)}


# ---- pocketpy/cTensor pull 31: only the diagonal of the softmax Jacobian
def setup_ctensor_softmax(rng):
    params = {"W": rng.normal(size=(4, 3)), "b": rng.normal(size=(1, 3))}
    return params, rng.normal(size=(5, 4)), one_hot(rng.integers(0, 3, size=5), 3)


def loss_ctensor_softmax(params, X, y):
    p = softmax(X @ params["W"] + params["b"])
    return -np.sum(y * np.log(p)) / X.shape[0]


def claimed_ctensor_softmax(params, X, y):
    s = softmax(X @ params["W"] + params["b"])
    batch, classes = s.shape
    upstream = -y / s / batch
    grad = np.zeros_like(s)
    for b in range(batch):
        for i in range(classes):
            for j in range(classes):
                if i == j:
                    grad[b, i] = s[b, i] * (1.0 - s[b, i])
    d_z = upstream * grad
    return {"W": X.T @ d_z, "b": d_z.sum(axis=0, keepdims=True)}


# ---- Synthaze/EpyNN before 4ee690d: MSE after softmax with the factor 1 + 1/(N-1)
def epynn_grad(params, X, Y):
    A = softmax(X @ params["W"] + params["b"])
    N = A.shape[1]
    dA = -2.0 / N * (Y - A) * (1 + 1 / (N - 1))
    dZ = dA * A * (1 - A)
    return {"W": X.T @ dZ, "b": np.sum(dZ, axis=0, keepdims=True)}


def epynn_loss(params, X, Y):
    A = softmax(X @ params["W"] + params["b"])
    return np.sum(1.0 / A.shape[1] * np.sum((Y - A) ** 2, axis=1))


def setup_epynn_softmax_mse(rng):
    params = {"W": rng.normal(size=(4, 3)), "b": rng.normal(size=(1, 3))}
    return params, rng.normal(size=(6, 4)), one_hot(rng.integers(0, 3, size=6), 3)


def loss_epynn_softmax_mse(params, X, Y):
    return epynn_loss(params, X, Y)


def claimed_epynn_softmax_mse(params, X, Y):
    return epynn_grad(params, X, Y)


# ---- the same with two classes, where the factor makes it exact
def setup_epynn_two_classes(rng):
    params = {"W": rng.normal(size=(4, 2)), "b": rng.normal(size=(1, 2))}
    return params, rng.normal(size=(6, 4)), one_hot(rng.integers(0, 2, size=6), 2)


def loss_epynn_two_classes(params, X, Y):
    return epynn_loss(params, X, Y)


def claimed_epynn_two_classes(params, X, Y):
    return epynn_grad(params, X, Y)


# ---- Stack Overflow 75642142: y - w x + b in place of y - (w x + b)
def setup_so_75642142(rng):
    x = rng.uniform(-5, 5, size=8)
    return {"w": np.array(rng.normal()), "b": np.array(rng.normal())}, x, 2.5 * x + 5


def loss_so_75642142(params, x, y):
    return np.mean((y - (params["w"] * x + params["b"])) ** 2)


def claimed_so_75642142(params, x, y):
    w, b, n = params["w"], params["b"], len(x)
    dw = db = 0.0
    for i in range(n):
        dw += (-2 * x[i] * (y[i] - w * x[i] + b)) / n
        db += (-2 * (y[i] - w * x[i] + b)) / n
    return {"w": np.array(dw), "b": np.array(db)}


# ---- Data Science SE 120115: both ReLU derivatives left out
def setup_dsse_120115(rng):
    params = {"w1": rng.normal(size=(4, 3)), "w2": rng.uniform(0, 1, size=4)}
    return params, rng.normal(size=(8, 3)), rng.uniform(0, 6, size=8)


def loss_dsse_120115(params, x, y):
    y1 = np.maximum(0, params["w1"] @ x.T)
    y2 = np.maximum(0, params["w2"] @ y1)
    return np.sum((y2 - y) ** 2) / (2 * len(y2))


def claimed_dsse_120115(params, x, y):
    w1, w2 = params["w1"], params["w2"]
    y1 = np.maximum(0, w1 @ x.T)
    y2 = np.maximum(0, w2 @ y1)
    delta_w2 = (y2 - y) @ y1.T
    delta_w1 = w2.reshape(4, 1) @ (y2 - y).reshape(1, len(y)) @ x
    return {"w1": delta_w1, "w2": delta_w2}


# ---- End-to-End Machine Learning 322: the weight gradient of a 2-D convolution reversed
def setup_e2eml_conv2d(rng):
    params = {"weights": rng.normal(size=(3, 3)), "bias": np.array(rng.normal())}
    return params, rng.normal(size=(6, 6)), rng.normal(size=(4, 4))


def e2eml_convolve(x, kernel):
    kh, kw = kernel.shape
    flipped = kernel[::-1, ::-1]
    out = np.zeros((x.shape[0] - kh + 1, x.shape[1] - kw + 1))
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = np.sum(x[i : i + kh, j : j + kw] * flipped)
    return out


def loss_e2eml_conv2d(params, x, y):
    return 0.5 * np.sum((e2eml_convolve(x, params["weights"]) + params["bias"] - y) ** 2)


def claimed_e2eml_conv2d(params, x, y):
    kh, kw = params["weights"].shape
    d_out = e2eml_convolve(x, params["weights"]) + params["bias"] - y
    d_w = np.zeros((kh, kw))
    for a in range(kh):
        for b in range(kw):
            d_w[a, b] = np.sum(d_out * x[a : a + d_out.shape[0], b : b + d_out.shape[1]])
    return {"weights": d_w, "bias": np.array(np.sum(d_out))}


# ---- course slides on regularised linear regression: minus lambda theta_j
def setup_ng_slide_ridge(rng):
    X = np.column_stack([np.ones(6), rng.normal(size=(6, 3))])
    return {"theta": rng.normal(size=4)}, X, rng.normal(size=6)


def loss_ng_slide_ridge(params, X, y):
    theta, m, lam = params["theta"], len(y), 0.8
    return (np.sum((X @ theta - y) ** 2) + lam * np.sum(theta[1:] ** 2)) / (2 * m)


def claimed_ng_slide_ridge(params, X, y):
    theta, m, lam = params["theta"], len(y), 0.8
    grad = X.T @ (X @ theta - y)
    grad[1:] = grad[1:] - lam * theta[1:]
    return {"theta": grad / m}


# ---- Cross Validated "Gradient of hinge loss": one test for the whole data set
def setup_hinge_whole(rng):
    y = np.array([1.0, 1.0, -1.0, -1.0])
    while True:
        x, w = rng.normal(size=(4, 3)), rng.normal(size=(3, 1))
        margins = y * (x @ w)[:, 0]
        if np.any(margins > 1.1) and np.any(margins < 0.9):
            return {"w": w}, x, y


def loss_hinge_whole(params, x, y):
    return np.sum(np.maximum(0, 1 - y * (x @ params["w"])[:, 0]))


def claimed_hinge_whole(params, x, y):
    yx = y.reshape(1, -1) @ x
    dw = -yx.T
    if (yx @ params["w"])[0, 0] >= 1:
        dw = np.zeros_like(dw)
    return {"w": dw}


# ---- ooples/AiDotNet.Tensors pull 894: the backward of a gather done as a gather
def setup_aidotnet_gather(rng):
    params = {"table": rng.normal(size=(4, 3)), "w": rng.normal(size=(3, 1))}
    return params, np.array([1, 3, 1, 0, 2, 1]), rng.normal(size=(6, 1))


def loss_aidotnet_gather(params, indices, y):
    return 0.5 * np.sum((params["table"][indices] @ params["w"] - y) ** 2)


def claimed_aidotnet_gather(params, indices, y):
    out = params["table"][indices]
    d_pred = out @ params["w"] - y
    grad_output = d_pred @ params["w"].T
    grad_source = np.zeros_like(params["table"])
    for s in range(grad_source.shape[0]):
        grad_source[s] = grad_output[indices[s % len(indices)]]
    return {"table": grad_source, "w": out.T @ d_pred}


# ---- cs231n derivatives handout, issue 229: dL/dx = dL/dy x^T in place of dL/dy w^T
def setup_cs231n_handout(rng):
    params = {"w1": rng.normal(size=(3, 3)), "w2": rng.normal(size=(3, 3))}
    return params, rng.normal(size=(3, 3)), rng.normal(size=(3, 3))


def loss_cs231n_handout(params, X, t):
    return 0.5 * np.sum((X @ params["w1"] @ params["w2"] - t) ** 2)


def claimed_cs231n_handout(params, X, t):
    x = X @ params["w1"]
    dy = x @ params["w2"] - t
    dw2 = x.T @ dy
    dx = dy @ x.T
    return {"w1": X.T @ dx, "w2": dw2}


# ---- Kaixhin/Autoencoders issue 9: the KL gradient of CatVAE with its sign reversed
def setup_catvae_kl(rng):
    params = {"weight": rng.normal(size=(6, 4)), "bias": rng.normal(size=6)}
    return params, rng.normal(size=(3, 4)), np.array([3.0])


def loss_catvae_kl(params, X, k):
    z = softmax((X @ params["weight"].T + params["bias"]).reshape(-1, int(k[0])))
    return np.sum(z * (np.log(z) - np.log(1 / k[0]))) / X.size


def claimed_catvae_kl(params, X, k):
    z = softmax((X @ params["weight"].T + params["bias"]).reshape(-1, int(k[0])))
    g = np.log(1 / k[0]) - np.log(z) - 1
    grad = z * (g - np.sum(g * z, axis=1, keepdims=True))
    grad = grad.reshape(X.shape[0], -1) / X.size
    return {"weight": grad.T @ X, "bias": grad.sum(axis=0)}


# ---- enggen/Deep-Learning-Coursera issue 7: the stride left out of conv_backward
def setup_coursera_conv_stride(rng):
    params = {"W": rng.normal(size=(2, 2, 2, 2)), "b": rng.normal(size=(1, 1, 1, 2))}
    return params, rng.normal(size=(2, 6, 6, 2)), rng.normal(size=(2, 3, 3, 2))


def coursera_conv_forward(A_prev, W, b, stride):
    m, n_H_prev, n_W_prev, _ = A_prev.shape
    f, _, _, n_C = W.shape
    n_H, n_W = (n_H_prev - f) // stride + 1, (n_W_prev - f) // stride + 1
    Z = np.zeros((m, n_H, n_W, n_C))
    for i in range(m):
        for h in range(n_H):
            for w in range(n_W):
                a_slice = A_prev[i, h * stride : h * stride + f, w * stride : w * stride + f, :]
                for c in range(n_C):
                    Z[i, h, w, c] = np.sum(a_slice * W[..., c]) + b[0, 0, 0, c]
    return Z


def loss_coursera_conv_stride(params, X, Y):
    return 0.5 * np.sum((coursera_conv_forward(X, params["W"], params["b"], 2) - Y) ** 2)


def claimed_coursera_conv_stride(params, X, Y):
    W, b = params["W"], params["b"]
    dZ = coursera_conv_forward(X, W, b, 2) - Y
    m, n_H, n_W, n_C = dZ.shape
    f = W.shape[0]
    dW, db = np.zeros_like(W), np.zeros_like(b)
    for i in range(m):
        for h in range(n_H):
            for w in range(n_W):
                for c in range(n_C):
                    vert_start, horiz_start = h, w
                    a_slice = X[i, vert_start : vert_start + f, horiz_start : horiz_start + f, :]
                    dW[:, :, :, c] += a_slice * dZ[i, h, w, c]
                    db[:, :, :, c] += dZ[i, h, w, c]
    return {"W": dW, "b": db}


# ---- cloudxlab/ml pull 14: the minibatch gradient without 1/minibatch_size
def setup_cloudxlab_minibatch(rng):
    X = np.c_[np.ones(6), rng.normal(size=6)]
    return {"theta": rng.normal(size=(2, 1))}, X, rng.normal(size=(6, 1))


def loss_cloudxlab_minibatch(params, xi, yi):
    return np.mean((xi @ params["theta"] - yi) ** 2)


def claimed_cloudxlab_minibatch(params, xi, yi):
    return {"theta": 2 * xi.T @ (xi @ params["theta"] - yi)}


# ---- ageron/handson-ml2 issue 386: the bias derivative uses a global C
HANDSON_C = 2.0


def setup_handson_linearsvc(rng):
    while True:
        X, w, b = rng.normal(size=(7, 2)), rng.normal(size=(2, 1)), rng.normal(size=1)
        t = np.where(rng.uniform(size=(7, 1)) < 0.5, 1.0, -1.0)
        margin = t * (X @ w + b)
        sv = margin < 1
        if np.min(np.abs(margin - 1)) > 0.02 and abs(np.sum(t[sv])) > 0.5:
            return {"w": w, "b": b}, X, t


def loss_handson_linearsvc(params, X, t):
    w, b, C = params["w"], params["b"], 5.0
    return 0.5 * np.sum(w * w) + C * np.sum(np.maximum(0, 1 - t * (X @ w + b)))


def claimed_handson_linearsvc(params, X, t):
    w, b, self_C = params["w"], params["b"], 5.0
    X_t = X * t
    support = (X_t @ w + t * b < 1).ravel()
    w_gradient = w - self_C * np.sum(X_t[support], axis=0).reshape(-1, 1)
    b_derivative = -HANDSON_C * np.sum(t[support])
    return {"w": w_gradient, "b": np.array([b_derivative])}


# ---- AssemblyAI Machine-Learning-From-Scratch issue 9: the 2 of the mean squared error
def setup_assemblyai_linreg(rng):
    params = {"weights": rng.normal(size=3), "bias": np.array(rng.normal())}
    return params, rng.normal(size=(8, 3)), rng.normal(size=8)


def loss_assemblyai_linreg(params, X, y):
    return np.mean((y - (X @ params["weights"] + params["bias"])) ** 2)


def claimed_assemblyai_linreg(params, X, y):
    n_samples = X.shape[0]
    y_pred = X @ params["weights"] + params["bias"]
    dw = (1 / n_samples) * (X.T @ (y_pred - y))
    db = (1 / n_samples) * np.sum(y_pred - y)
    return {"weights": dw, "bias": np.array(db)}


# ---- Data Science SE 20139: dz2 = dh2 (1 - dh2)
def setup_dsse_20139(rng):
    params = {
        "theta1": rng.normal(size=(3, 4)),
        "b1": rng.normal(size=(1, 4)),
        "theta2": rng.normal(size=(4, 1)),
        "b2": rng.normal(size=(1, 1)),
    }
    return params, rng.normal(size=(6, 3)), rng.integers(0, 2, size=(6, 1)).astype(float)


def loss_dsse_20139(params, x, y):
    h1 = sigmoid(x @ params["theta1"] + params["b1"])
    h2 = sigmoid(h1 @ params["theta2"] + params["b2"])
    return 0.5 * np.sum((h2 - y) ** 2)


def claimed_dsse_20139(params, x, y):
    h1 = sigmoid(x @ params["theta1"] + params["b1"])
    h2 = sigmoid(h1 @ params["theta2"] + params["b2"])
    dh2 = h2 - y
    dz2 = dh2 * (1 - dh2)
    dw2 = h1.T @ dz2
    db2 = np.sum(dz2, axis=0, keepdims=True)
    dz1 = (dz2 @ params["theta2"].T) * h1 * (1 - h1)
    return {"theta1": x.T @ dz1, "b1": np.sum(dz1, axis=0, keepdims=True), "theta2": dw2, "b2": db2}


# ---- "Is my back propagation math correct?": the weights along both paths left out
def setup_mathse_two_paths(rng):
    params = {f"w{k}": np.array(rng.uniform(0.3, 0.8)) for k in range(1, 6)}
    return params, np.array([1.0]), np.array([0.0])


def mathse_forward(params, x_in):
    w1, w2, w3, w4, w5 = (params[f"w{k}"] for k in range(1, 6))
    n1 = x_in * w1 + 1
    n2, n3 = sigmoid(n1) * w2 + 1, sigmoid(n1) * w3 + 1
    return n1, n2, n3, sigmoid(n2) * w4 + sigmoid(n3) * w5 + 1


def loss_mathse_two_paths(params, X, y):
    return sigmoid(mathse_forward(params, X[0])[3])


def claimed_mathse_two_paths(params, X, y):
    def d(x):
        return sigmoid(x) * (1 - sigmoid(x))

    x_in = X[0]
    n1, n2, n3, n4 = mathse_forward(params, x_in)
    g = {
        "w1": d(n4) * (d(n2) * d(n1) * x_in + d(n3) * d(n1) * x_in),
        "w2": d(n4) * params["w4"] * d(n2) * sigmoid(n1),
        "w3": d(n4) * params["w5"] * d(n3) * sigmoid(n1),
        "w4": d(n4) * sigmoid(n2),
        "w5": d(n4) * sigmoid(n3),
    }
    return {k: np.array(v) for k, v in g.items()}


# ---- Physics Forums, stochastic gradient ascent: hyp computed once, before the loop
def setup_physforums_sga(rng):
    y = np.array([1.0, 0, 1, 1, 0, 0, 1, 0])
    return {"theta": rng.normal(size=3)}, rng.normal(size=(8, 3)), y


def loss_physforums_sga(params, X, y):
    hyp = sigmoid(X @ params["theta"])
    return -np.sum(y * np.log(hyp) + (1 - y) * np.log(1 - hyp))


def claimed_physforums_sga(params, X, y):
    m, n = X.shape
    theta_start = np.zeros(n)
    hyp = sigmoid(X @ theta_start)
    grad = np.zeros_like(params["theta"])
    for j in range(m):
        grad -= (y[j] - hyp[j]) * X[j, :]
    return {"theta": grad}


# ---- fast.ai forum 18970: softmax' taken as softmax - softmax^2 after "summing up"
def setup_fastai_softmax(rng):
    params = {"w": rng.normal(size=(3, 4)), "b": rng.normal(size=4)}
    return params, rng.normal(size=(6, 3)), one_hot(rng.integers(0, 4, size=6), 4)


def loss_fastai_softmax(params, x, y):
    return -np.mean(np.sum(y * np.log(softmax(x @ params["w"] + params["b"])), axis=1))


def claimed_fastai_softmax(params, x, y):
    s = softmax(x @ params["w"] + params["b"])
    d_s = -y / s / len(x)
    d_z = d_s * (s - s**2)
    return {"w": x.T @ d_z, "b": d_z.sum(axis=0)}


# ---- Stack Overflow 53287032, the second line: delta sent back without sigmoid'
def so53287032_activations(params, x):
    A = [x.reshape(-1, 1)]
    for k in range(3):
        A.append(sigmoid(params[f"W{k}"] @ A[-1]))
    return A


def so53287032_setup(rng):
    sizes = [4, 5, 4, 3]
    params = {f"W{k}": rng.normal(size=(sizes[k + 1], sizes[k])) for k in range(3)}
    return params, rng.normal(size=(5, 4)), one_hot(rng.integers(0, 3, size=5), 3)


def so53287032_loss(params, X, Y):
    total = 0.0
    for x, y in zip(X, Y, strict=True):
        total += 0.5 * np.sum((so53287032_activations(params, x)[-1][:, 0] - y) ** 2)
    return total


def setup_so_53287032_second(rng):
    return so53287032_setup(rng)


def loss_so_53287032_second(params, X, Y):
    return so53287032_loss(params, X, Y)


def claimed_so_53287032_second(params, X, Y):
    grads = {k: np.zeros_like(v) for k, v in params.items()}
    for x, y in zip(X, Y, strict=True):
        A = so53287032_activations(params, x)
        delta = A[-1] - y.reshape(-1, 1)
        for k in [2, 1, 0]:
            tmp = delta * A[k + 1] * (1 - A[k + 1])
            delta = params[f"W{k}"].T @ delta
            grads[f"W{k}"] += tmp @ A[k].T
    return grads


# ---- Stack Overflow 53287032, the first line: right though it trained worse
def setup_so_53287032_first(rng):
    return so53287032_setup(rng)


def loss_so_53287032_first(params, X, Y):
    return so53287032_loss(params, X, Y)


def claimed_so_53287032_first(params, X, Y):
    grads = {k: np.zeros_like(v) for k, v in params.items()}
    for x, y in zip(X, Y, strict=True):
        A = so53287032_activations(params, x)
        delta = A[-1] - y.reshape(-1, 1)
        for k in [2, 1, 0]:
            tmp = delta * A[k + 1] * (1 - A[k + 1])
            delta = params[f"W{k}"].T @ tmp
            grads[f"W{k}"] += tmp @ A[k].T
    return grads


# ---- community.deeplearning.ai, the RNN of course 5 week 1
def dlai_rnn_forward(params, x):
    n_a, m, T_x = params["Waa"].shape[0], x.shape[1], x.shape[2]
    a_prev, caches = np.zeros((n_a, m)), []
    for t in range(T_x):
        a_next = np.tanh(params["Wax"] @ x[:, :, t] + params["Waa"] @ a_prev + params["ba"])
        caches.append((a_next, a_prev, x[:, :, t]))
        a_prev = a_next
    return caches


def dlai_rnn_cell_backward(da_next, cache, params):
    a_next, a_prev, xt = cache
    dtanh = da_next * (1 - a_next**2)
    return {
        "dWax": dtanh @ xt.T,
        "dWaa": dtanh @ a_prev.T,
        "dba": np.sum(dtanh, axis=1, keepdims=True),
        "da_prev": params["Waa"].T @ dtanh,
    }


def dlai_rnn_setup(rng):
    params = {
        "Wax": rng.normal(size=(4, 3)),
        "Waa": 0.7 * rng.normal(size=(4, 4)),
        "ba": rng.normal(size=(4, 1)),
    }
    return params, rng.normal(size=(3, 5, 4)), rng.normal(size=(4, 5, 4))


def dlai_rnn_loss(params, x, y):
    return sum(
        0.5 * np.sum((c[0] - y[:, :, t]) ** 2) for t, c in enumerate(dlai_rnn_forward(params, x))
    )


# ---- .../t/question-on-backpropagation-week-1-prog-assignment-1/555129: da never used
def setup_dlai_rnn_555129(rng):
    return dlai_rnn_setup(rng)


def loss_dlai_rnn_555129(params, x, y):
    return dlai_rnn_loss(params, x, y)


def claimed_dlai_rnn_555129(params, x, y):
    caches = dlai_rnn_forward(params, x)
    T_x = x.shape[2]
    dWax, dWaa, dba = (np.zeros_like(params[k]) for k in ("Wax", "Waa", "ba"))
    da_prevt = np.zeros((params["Waa"].shape[0], x.shape[1]))
    for t in reversed(range(T_x)):
        gradients = dlai_rnn_cell_backward(da_prevt, caches[t], params)
        da_prevt = gradients["da_prev"]
        dWax += gradients["dWax"]
        dWaa += gradients["dWaa"]
        dba += gradients["dba"]
    return {"Wax": dWax, "Waa": dWaa, "ba": dba}


# ---- .../t/c5-w1a1-optional-rnn-back-propagation/48297: da[:, :, t] without da_prevt
def setup_dlai_rnn_48297(rng):
    return dlai_rnn_setup(rng)


def loss_dlai_rnn_48297(params, x, y):
    return dlai_rnn_loss(params, x, y)


def claimed_dlai_rnn_48297(params, x, y):
    caches = dlai_rnn_forward(params, x)
    T_x = x.shape[2]
    da = np.stack([caches[t][0] - y[:, :, t] for t in range(T_x)], axis=2)
    dWax, dWaa, dba = (np.zeros_like(params[k]) for k in ("Wax", "Waa", "ba"))
    for t in reversed(range(T_x)):
        gradients = dlai_rnn_cell_backward(da[:, :, t], caches[t], params)
        dWax += gradients["dWax"]
        dWaa += gradients["dWaa"]
        dba += gradients["dba"]
    return {"Wax": dWax, "Waa": dWaa, "ba": dba}


# ---- heyxhh/nnet-numpy issue 1: should the bias of a convolution be divided by the batch?
def setup_nnet_conv_bias(rng):
    params = {"w": rng.normal(size=(2, 1, 3, 3)), "b": rng.normal(size=(2, 1))}
    return params, rng.normal(size=(3, 1, 5, 5)), rng.normal(size=(2, 27))


def nnet_im2col(x):
    n, _c, h, w = x.shape
    cols = []
    for i in range(n):
        for r in range(h - 2):
            for s in range(w - 2):
                cols.append(x[i, :, r : r + 3, s : s + 3].reshape(-1))
    return np.array(cols).T


def loss_nnet_conv_bias(params, x, y):
    out = params["w"].reshape(2, -1) @ nnet_im2col(x) + params["b"]
    return 0.5 * np.sum((out - y) ** 2) / x.shape[0]


def claimed_nnet_conv_bias(params, x, y):
    x_col = nnet_im2col(x)
    d_out_col = (params["w"].reshape(2, -1) @ x_col + params["b"] - y) / x.shape[0]
    d_w = (d_out_col @ x_col.T).reshape(params["w"].shape)
    d_b = d_out_col.sum(axis=1).reshape(2, 1)
    return {"w": d_w, "b": d_b}


# ---- lrp_toolbox issue 14: tanh backward as DY (1 - Y^2)
def setup_lrp_tanh(rng):
    params = {
        "W1": rng.normal(size=(3, 5)),
        "B1": rng.normal(size=5),
        "W2": rng.normal(size=(5, 2)),
        "B2": rng.normal(size=2),
    }
    return params, rng.normal(size=(6, 3)), rng.normal(size=(6, 2))


def loss_lrp_tanh(params, X, T):
    Y = np.tanh(X @ params["W1"] + params["B1"])
    return 0.5 * np.sum((Y @ params["W2"] + params["B2"] - T) ** 2)


def claimed_lrp_tanh(params, X, T):
    Y = np.tanh(X @ params["W1"] + params["B1"])
    DY = Y @ params["W2"] + params["B2"] - T
    dW2, dB2 = Y.T @ DY, DY.sum(axis=0)
    DY = DY @ params["W2"].T
    DY = DY * (1.0 - Y**2)
    return {"W1": X.T @ DY, "B1": DY.sum(axis=0), "W2": dW2, "B2": dB2}


# ---- omkarv/pong-from-pixels issue 1: where is the backward of the sigmoid?
def setup_pong_policy(rng):
    params = {"W1": rng.normal(size=(5, 4)), "W2": rng.normal(size=5)}
    y = np.column_stack([rng.integers(0, 2, size=7), rng.normal(size=7)]).astype(float)
    return params, rng.normal(size=(7, 4)), y


def loss_pong_policy(params, epx, y):
    eph = np.maximum(epx @ params["W1"].T, 0)
    p = sigmoid(eph @ params["W2"])
    label, advantage = y[:, 0], y[:, 1]
    return -np.sum(advantage * (label * np.log(p) + (1 - label) * np.log(1 - p)))


def claimed_pong_policy(params, epx, y):
    eph = epx @ params["W1"].T
    eph[eph < 0] = 0
    p = sigmoid(eph @ params["W2"])
    epdlogp = (y[:, 0] - p) * y[:, 1]
    dW2 = eph.T @ epdlogp
    dh = np.outer(epdlogp, params["W2"])
    dh[eph <= 0] = 0
    dW1 = dh.T @ epx
    return {"W1": -dW1, "W2": -dW2}


# ---- AI SE 35741: cross entropy and the softmax Jacobian of each row, separately
def setup_aise_35741(rng):
    params = {"W": rng.normal(size=(3, 4)), "b": rng.normal(size=4)}
    return params, rng.normal(size=(5, 3)), one_hot(rng.integers(0, 4, size=5), 4)


def loss_aise_35741(params, X, Y):
    return -np.sum(Y * np.log(softmax(X @ params["W"] + params["b"])))


def claimed_aise_35741(params, X, Y):
    Y_hat = softmax(X @ params["W"] + params["b"])
    dE = -Y / Y_hat
    dZ = np.zeros_like(Y_hat)
    for i in range(len(X)):
        JS = np.diag(Y_hat[i]) - np.outer(Y_hat[i], Y_hat[i])
        dZ[i] = dE[i] @ JS
    return {"W": X.T @ dZ, "b": dZ.sum(axis=0)}


# ---- Cross Validated 490374: 2(a - y) sigma(z)(1 - sigma(z)) a_prev, zero when saturated
def setup_cv_490374(rng):
    return {"w": np.array(rng.normal())}, rng.uniform(0.5, 2.0, size=4), rng.uniform(size=4)


def loss_cv_490374(params, a_prev, y):
    return np.sum((sigmoid(a_prev * params["w"]) - y) ** 2)


def claimed_cv_490374(params, a_prev, y):
    z = a_prev * params["w"]
    a = sigmoid(z)
    return {"w": np.array(np.sum(2 * (a - y) * (sigmoid(z) * (1 - sigmoid(z))) * a_prev))}


# ---- d2l-en issue 2616: dW_hh = sum_t dL/dh_t h_{t-1}^T in the linear RNN of section 9.7
def d2l_forward(params, X):
    h, hs, os = np.zeros(params["W_hh"].shape[0]), [], []
    for x in X:
        h = params["W_hx"] @ x + params["W_hh"] @ h
        hs.append(h)
        os.append(params["W_qh"] @ h)
    return hs, os


def setup_d2l_bptt(rng):
    params = {
        "W_hx": rng.normal(size=(4, 3)),
        "W_hh": 0.6 * rng.normal(size=(4, 4)),
        "W_qh": rng.normal(size=(2, 4)),
    }
    return params, rng.normal(size=(5, 3)), rng.normal(size=(5, 2))


def loss_d2l_bptt(params, X, Y):
    return sum(
        0.5 * np.sum((o - y) ** 2) for o, y in zip(d2l_forward(params, X)[1], Y, strict=True)
    ) / len(X)


def claimed_d2l_bptt(params, X, Y):
    hs, os = d2l_forward(params, X)
    T = len(X)
    dW = {k: np.zeros_like(v) for k, v in params.items()}
    dh = np.zeros(params["W_hh"].shape[0])
    for t in range(T - 1, -1, -1):
        do = (os[t] - Y[t]) / T
        dW["W_qh"] += np.outer(do, hs[t])
        dh = params["W_hh"].T @ dh + params["W_qh"].T @ do
        dW["W_hx"] += np.outer(dh, X[t])
        if t > 0:
            dW["W_hh"] += np.outer(dh, hs[t - 1])
    return dW


# ---- Cross Validated 432707: alternating slope and intercept, but the derivatives are right
def setup_cv_432707(rng):
    x = rng.uniform(2, 7, size=8)
    return {"m": np.array(rng.normal()), "b": np.array(rng.normal())}, x, 10 + rng.normal(size=8)


def loss_cv_432707(params, x, y):
    return (1 / len(x)) * sum(v**2 for v in (y - (params["m"] * x + params["b"])))


def claimed_cv_432707(params, x, y):
    n = len(x)
    y_predicted = params["m"] * x + params["b"]
    md = -(2 / n) * sum(x * (y - y_predicted))
    bd = -(2 / n) * sum(y - y_predicted)
    return {"m": np.array(md), "b": np.array(bd)}


# ---- Stack Overflow 17696797: "what is wrong in this Python code for regularized ..."
def setup_so_17696797(rng):
    return {"theta": rng.normal(size=3)}, rng.normal(size=(7, 2)), rng.normal(size=7)


def loss_so_17696797(params, X, y):
    theta, m, lambda_ = params["theta"], len(X), 1.5
    H = np.concatenate((np.ones((m, 1)), X), 1) @ theta
    return (1 / (2 * m)) * np.sum((H - y) ** 2) + (lambda_ / (2 * m)) * np.sum(theta[1:] ** 2)


def claimed_so_17696797(params, X, y):
    theta, m, lambda_ = params["theta"], len(X), 1.5
    X = np.concatenate((np.ones((m, 1)), X), 1)
    H = X @ theta
    grad_ = [(1 / m) * np.sum([H[j] - y[j] for j in range(len(H))])]
    for i in range(len(theta) - 1):
        data = (1 / m) * np.sum([(H[j] - y[j]) * X[j][i + 1] for j in range(len(H))])
        grad_.append(data + (lambda_ / m) * theta[i + 1])
    return {"theta": np.array(grad_)}


# ---- Cross Validated "Implementing gradient descent": the sign of x (z - y) doubted
def setup_cv_logit_sign(rng):
    params = {"a": np.array(rng.normal()), "b": np.array(rng.normal())}
    return params, rng.normal(size=5), np.array([1.0, 0.0, 1.0, 1.0, 0.0])


def loss_cv_logit_sign(params, x, y):
    z = 1.0 / (1.0 + np.exp(-params["a"] * x - params["b"]))
    return -np.sum(y * np.log(z) + (1 - y) * np.log(1 - z))


def claimed_cv_logit_sign(params, x, y):
    z = 1.0 / (1.0 + np.exp(-params["a"] * x - params["b"]))
    return {"a": np.array(np.sum(x * (z - y))), "b": np.array(np.sum(z - y))}


# ---- Cross Validated 618637: Poisson regression that exploded, with a right derivative
def setup_cv_618637(rng):
    X = rng.normal(size=(8, 2))
    return {"weights": 0.5 * rng.normal(size=2)}, X, rng.integers(0, 6, size=8).astype(float)


def loss_cv_618637(params, X, y):
    eta = X @ params["weights"]
    return -np.sum(y * eta - np.exp(eta))


def claimed_cv_618637(params, X, y):
    derivative = (y - np.exp(X @ params["weights"])) @ X
    return {"weights": -derivative}


# ---- community.deeplearning.ai C2W1: dA1 masked and divided by keep_prob again
DLAI_D1 = (np.add.outer(3 * np.arange(5), 2 * np.arange(6)) % 5 < 3).astype(float)


def setup_dlai_dropout(rng):
    params = {
        "W1": rng.normal(size=(5, 3)),
        "b1": rng.normal(size=(5, 1)),
        "W2": rng.normal(size=(1, 5)),
        "b2": rng.normal(size=(1, 1)),
    }
    return params, rng.normal(size=(3, 6)), rng.integers(0, 2, size=(1, 6)).astype(float)


def dlai_dropout_forward(params, X, keep_prob=0.6):
    Z1 = params["W1"] @ X + params["b1"]
    A1 = np.maximum(0, Z1) * DLAI_D1 / keep_prob
    return Z1, A1, sigmoid(params["W2"] @ A1 + params["b2"])


def loss_dlai_dropout(params, X, Y):
    A2 = dlai_dropout_forward(params, X)[2]
    return -np.sum(Y * np.log(A2) + (1 - Y) * np.log(1 - A2)) / X.shape[1]


def claimed_dlai_dropout(params, X, Y):
    keep_prob, m = 0.6, X.shape[1]
    Z1, A1, A2 = dlai_dropout_forward(params, X, keep_prob)
    dZ2 = A2 - Y
    dW2 = 1.0 / m * dZ2 @ A1.T
    db2 = 1.0 / m * np.sum(dZ2, axis=1, keepdims=True)
    dA1 = params["W2"].T @ dZ2
    dA1 = dA1 * DLAI_D1
    dA1 = dA1 / keep_prob
    dZ1 = np.multiply(dA1, np.int64(Z1 > 0))
    dW1 = 1.0 / m * dZ1 @ X.T
    db1 = 1.0 / m * np.sum(dZ1, axis=1, keepdims=True)
    return {"W1": dW1, "b1": db1, "W2": dW2, "b2": db2}


# ---- pytorch issue 110815: swish backward dy (y + sigma(x)(1 - y))
def setup_caffe2_swish(rng):
    params = {
        "W1": rng.normal(size=(4, 3)),
        "b1": rng.normal(size=4),
        "W2": rng.normal(size=(2, 4)),
    }
    return params, rng.normal(size=(6, 3)), rng.normal(size=(6, 2))


def loss_caffe2_swish(params, X, t):
    x = X @ params["W1"].T + params["b1"]
    return 0.5 * np.sum((x * sigmoid(x) @ params["W2"].T - t) ** 2)


def claimed_caffe2_swish(params, X, t):
    x = X @ params["W1"].T + params["b1"]
    y = x * sigmoid(x)
    d_out = y @ params["W2"].T - t
    dy = d_out @ params["W2"]
    dx = dy * (y + sigmoid(x) * (1 - y))
    return {"W1": dx.T @ X, "b1": dx.sum(axis=0), "W2": d_out.T @ y}


# ---- hanbt/learn_dl issue 1: "the gradient of layer i uses W of layer i"; the code is right
class LearnDlLayer:
    def __init__(self, W, b):
        self.W, self.b = W, b

    def forward(self, input_array):
        self.input = input_array
        self.output = sigmoid(self.W @ input_array + self.b)

    def backward(self, delta_array):
        self.delta = self.input * (1 - self.input) * (self.W.T @ delta_array)
        self.W_grad = delta_array @ self.input.T
        self.b_grad = delta_array


def setup_learn_dl_fc(rng):
    params = {
        "W1": rng.normal(size=(3, 4)),
        "b1": rng.normal(size=(3, 1)),
        "W2": rng.normal(size=(4, 3)),
        "b2": rng.normal(size=(4, 1)),
    }
    return params, rng.uniform(0.1, 0.9, size=(4, 1)), rng.uniform(0.1, 0.9, size=(4, 1))


def learn_dl_network(params, sample):
    layers = [LearnDlLayer(params[f"W{k}"], params[f"b{k}"]) for k in (1, 2)]
    output = sample
    for layer in layers:
        layer.forward(output)
        output = layer.output
    return layers


def loss_learn_dl_fc(params, sample, label):
    output = learn_dl_network(params, sample)[-1].output
    return 0.5 * ((label - output) * (label - output)).sum()


def claimed_learn_dl_fc(params, sample, label):
    layers = learn_dl_network(params, sample)
    output = layers[-1].output
    delta = output * (1 - output) * (label - output)
    for layer in layers[::-1]:
        layer.backward(delta)
        delta = layer.delta
    return {
        "W1": -layers[0].W_grad,
        "b1": -layers[0].b_grad,
        "W2": -layers[1].W_grad,
        "b2": -layers[1].b_grad,
    }


# ---- AkiRusProd/numpy-nn-model before 22a6f37: LSTM derivatives taken at the gates themselves
class NnModelTanh:
    def function(self, x):
        return np.tanh(x)

    def derivative(self, x):
        return 1.0 - np.power(self.function(x), 2)


class NnModelSigmoid:
    def function(self, x):
        return 1 / (1 + np.exp(-x))

    def derivative(self, x):
        f_x = self.function(x)
        return f_x * (1.0 - f_x)


def nnmodel_params(rng, gates, n=3, units=4):
    params = {}
    for g in gates:
        params["w_" + g] = rng.normal(size=(n, units))
        params["wh_" + g] = 0.7 * rng.normal(size=(units, units))
        params["b_" + g] = rng.normal(size=units)
    return params


def nnmodel_lstm_forward(p, X):
    act, rec = NnModelTanh(), NnModelSigmoid()
    batch, steps, _ = X.shape
    units = p["b_f"].shape[0]
    s = {k: np.zeros((batch, steps, units)) for k in "fioc"}
    cell_states = np.zeros((batch, steps + 1, units))
    hidden_states = np.zeros((batch, steps + 1, units))
    for t in range(steps):
        for k in "fioc":
            z = X[:, t] @ p["w_" + k] + hidden_states[:, t - 1] @ p["wh_" + k] + p["b_" + k]
            s[k][:, t] = act.function(z) if k == "c" else rec.function(z)
        cell_states[:, t] = s["f"][:, t] * cell_states[:, t - 1] + s["i"][:, t] * s["c"][:, t]
        hidden_states[:, t] = s["o"][:, t] * act.function(cell_states[:, t])
    return s, cell_states, hidden_states


def setup_nnmodel_lstm(rng):
    return nnmodel_params(rng, "fioc"), rng.normal(size=(2, 4, 3)), rng.normal(size=(2, 4, 4))


def loss_nnmodel_lstm(params, X, y):
    return 0.5 * np.sum((nnmodel_lstm_forward(params, X)[2][:, :-1] - y) ** 2)


def claimed_nnmodel_lstm(params, X, y):
    act, rec = NnModelTanh(), NnModelSigmoid()
    s, cell_states, hidden_states = nnmodel_lstm_forward(params, X)
    error = hidden_states[:, :-1] - y
    grad = {k: np.zeros_like(v) for k, v in params.items()}
    next_hidden_delta = next_cell_delta = 0.0
    for t in reversed(range(X.shape[1])):
        f, i, o, c = (s[k][:, t] for k in "fioc")
        hidden_delta = error[:, t] + next_hidden_delta
        cell_delta = hidden_delta * o * act.derivative(cell_states[:, t]) + next_cell_delta
        delta = {
            "o": hidden_delta * act.function(cell_states[:, t]) * rec.derivative(o),
            "f": cell_delta * cell_states[:, t - 1] * rec.derivative(f),
            "i": cell_delta * c * rec.derivative(i),
            "c": cell_delta * i * act.derivative(c),
        }
        next_hidden_delta = 0.0
        for k, d in delta.items():
            grad["w_" + k] += X[:, t].T @ d
            grad["wh_" + k] += hidden_states[:, t - 1].T @ d
            grad["b_" + k] += d.sum(axis=0)
            next_hidden_delta = next_hidden_delta + d @ params["wh_" + k].T
        next_cell_delta = cell_delta * f
    return grad


# ---- AkiRusProd/numpy-nn-model before 22a6f37: the same in the GRU
def nnmodel_gru_forward(p, X):
    act, rec = NnModelTanh(), NnModelSigmoid()
    batch, steps, _ = X.shape
    units = p["b_z"].shape[0]
    z, r, c = (np.zeros((batch, steps, units)) for _ in range(3))
    h = np.zeros((batch, steps + 1, units))
    for t in range(steps):
        z[:, t] = rec.function(X[:, t] @ p["w_z"] + h[:, t - 1] @ p["wh_z"] + p["b_z"])
        r[:, t] = rec.function(X[:, t] @ p["w_r"] + h[:, t - 1] @ p["wh_r"] + p["b_r"])
        c[:, t] = act.function(X[:, t] @ p["w_h"] + (r[:, t] * h[:, t - 1]) @ p["wh_h"] + p["b_h"])
        h[:, t] = z[:, t] * h[:, t - 1] + (1 - z[:, t]) * c[:, t]
    return z, r, c, h


def setup_nnmodel_gru(rng):
    return nnmodel_params(rng, "zrh"), rng.normal(size=(2, 4, 3)), rng.normal(size=(2, 4, 4))


def loss_nnmodel_gru(params, X, y):
    return 0.5 * np.sum((nnmodel_gru_forward(params, X)[3][:, :-1] - y) ** 2)


def claimed_nnmodel_gru(params, X, y):
    act, rec = NnModelTanh(), NnModelSigmoid()
    z, r, c, h = nnmodel_gru_forward(params, X)
    error = h[:, :-1] - y
    g = {k: np.zeros_like(v) for k, v in params.items()}
    next_hidden_delta = 0.0
    for t in reversed(range(X.shape[1])):
        x, h_prev, zt, rt, ct = X[:, t], h[:, t - 1], z[:, t], r[:, t], c[:, t]
        hidden_delta = error[:, t] + next_hidden_delta
        cell_delta = hidden_delta * (1 - zt) * act.derivative(ct)
        g["w_h"] += x.T @ cell_delta
        g["wh_h"] += (rt.T * h_prev.T) @ cell_delta
        g["b_h"] += cell_delta.sum(axis=0)
        reset_delta = (cell_delta @ params["wh_h"].T) * h_prev * rec.derivative(rt)
        g["w_r"] += x.T @ reset_delta
        g["wh_r"] += h_prev.T @ reset_delta
        g["b_r"] += reset_delta.sum(axis=0)
        update_delta = hidden_delta * (h_prev - ct) * rec.derivative(zt)
        g["w_z"] += x.T @ update_delta
        g["wh_z"] += h_prev.T @ update_delta
        g["b_z"] += update_delta.sum(axis=0)
        next_hidden_delta = (
            update_delta @ params["wh_z"].T
            + reset_delta @ params["wh_r"].T
            + (cell_delta @ params["wh_h"].T) * rt
            + hidden_delta * zt
        )
    return g


# ---- AkiRusProd/numpy-transformer before 654440e: attention with softmax' = s(1 - s)
def nptr_attention(p, X, heads=2):
    batch, n, d_model = X.shape
    d_k = d_model // heads

    def split(x):
        return x.reshape(batch, n, heads, d_k).transpose(0, 2, 1, 3)

    K, Q, V = split(X @ p["W_K"]), split(X @ p["W_Q"]), split(X @ p["W_V"])
    energy = Q @ K.transpose(0, 1, 3, 2) / np.sqrt(d_k)
    e = np.exp(energy - energy.max(axis=-1, keepdims=True))
    attention = e / e.sum(axis=-1, keepdims=True)
    concat = (attention @ V).transpose(0, 2, 1, 3).reshape(batch, n, d_model)
    return K, Q, V, attention, concat, concat @ p["W_O"] + p["b_O"]


def setup_nptr_attention(rng):
    params = {k: rng.normal(size=(4, 4)) for k in ("W_K", "W_Q", "W_V", "W_O")}
    params["b_O"] = rng.normal(size=4)
    return params, rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 3, 4))


def loss_nptr_attention(params, X, y):
    return 0.5 * np.sum((nptr_attention(params, X)[-1] - y) ** 2)


def claimed_nptr_attention(params, X, y):
    K, Q, V, attention, concat, out = nptr_attention(params, X)
    batch, n, d_model = X.shape
    d_k = K.shape[-1]

    def merge(x):
        return x.transpose(0, 2, 1, 3).reshape(batch, n, d_model)

    error = out - y
    g = {"W_O": np.einsum("bni,bnj->ij", concat, error), "b_O": error.sum(axis=(0, 1))}
    error = (error @ params["W_O"].T).reshape(batch, n, -1, d_k).transpose(0, 2, 1, 3)
    V_error = attention.transpose(0, 1, 3, 2) @ error
    error = error @ V.transpose(0, 1, 3, 2)
    error = error * (attention * (1.0 - attention))
    error = error / np.sqrt(d_k)
    Q_error = error @ K
    K_error = (Q.transpose(0, 1, 3, 2) @ error).transpose(0, 1, 3, 2)
    for name, err in (("W_V", V_error), ("W_Q", Q_error), ("W_K", K_error)):
        g[name] = np.einsum("bni,bnj->ij", X, merge(err))
    return g


# ---- AkiRusProd/numpy-transformer LayerNormalization: gamma outside the two sums
def nptr_layernorm(p, X):
    x_T = (X @ p["W"]).T
    X_centered = x_T - np.mean(x_T, axis=0)
    stddev_inv = 1 / np.sqrt(np.var(x_T, axis=0) + 0.001)
    X_hat = (X_centered * stddev_inv).T
    return X_centered, stddev_inv, X_hat, p["gamma"] * X_hat + p["beta"]


def setup_nptr_layernorm(rng):
    params = {
        "W": rng.normal(size=(3, 5)),
        "gamma": rng.uniform(0.5, 2, size=5),
        "beta": rng.normal(size=5),
    }
    return params, rng.normal(size=(6, 3)), rng.normal(size=(6, 5))


def loss_nptr_layernorm(params, X, y):
    return 0.5 * np.sum((nptr_layernorm(params, X)[3] - y) ** 2)


def claimed_nptr_layernorm(params, X, y):
    X_centered, stddev_inv, X_hat, out = nptr_layernorm(params, X)
    error = out - y
    error_T = error.T
    feature_size = params["gamma"].size
    output_error = (
        (1 / feature_size)
        * params["gamma"][np.newaxis, :].T
        * stddev_inv
        * (
            feature_size * error_T
            - np.sum(error_T, axis=0)
            - X_centered * np.power(stddev_inv, 2) * np.sum(error_T * X_centered, axis=0)
        )
    )
    return {
        "W": X.T @ output_error.T,
        "gamma": np.sum(error * X_hat, axis=0),
        "beta": np.sum(error, axis=0),
    }


# ---- NVIDIA/Megatron-LM pull 6859: the variance term of RMSNorm has the weight twice
def rmsnorm_parts(x, w):
    r = 1 / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + 1e-5)
    return r, x * r * w


def setup_megatron_rmsnorm(rng):
    params = {"proj": rng.normal(size=(4, 5)), "weight": rng.uniform(0.5, 2, size=5)}
    return params, rng.normal(size=(6, 4)), rng.normal(size=(6, 5))


def loss_megatron_rmsnorm(params, X, t):
    return 0.5 * np.sum((rmsnorm_parts(X @ params["proj"], params["weight"])[1] - t) ** 2)


def claimed_megatron_rmsnorm(params, X, t):
    w = params["weight"]
    x = X @ params["proj"]
    r, y = rmsnorm_parts(x, w)
    g = y - t
    s = np.sum(g * x * w, axis=-1, keepdims=True)
    dx = g * w * r - w * r**3 * x * s / x.shape[-1]
    return {"proj": X.T @ dx, "weight": np.sum(g * x * r, axis=0)}


# ---- Dao-AILab/quack pull 53: pre-norm adds the residual's gradient before the norm
def setup_quack_prenorm(rng):
    params = {
        "Wr": rng.normal(size=(3, 4)),
        "Wx": rng.normal(size=(3, 4)),
        "weight": rng.uniform(0.5, 2, size=4),
    }
    return params, rng.normal(size=(5, 3)), rng.normal(size=(2, 5, 4))


def loss_quack_prenorm(params, X, t):
    res_out = X @ params["Wr"] + X @ params["Wx"]
    out = rmsnorm_parts(res_out, params["weight"])[1]
    return 0.5 * np.sum((out - t[0]) ** 2) + 0.5 * np.sum((res_out - t[1]) ** 2)


def claimed_quack_prenorm(params, X, t):
    w = params["weight"]
    res_out = X @ params["Wr"] + X @ params["Wx"]
    r, out = rmsnorm_parts(res_out, w)
    dout, dres_out = out - t[0], res_out - t[1]

    def dnorm(g):
        s = np.sum(g * res_out * w, axis=-1, keepdims=True)
        return g * w * r - r**3 * res_out * s / res_out.shape[-1]

    dx = dnorm(dres_out + dout)
    return {"Wr": X.T @ dx, "Wx": X.T @ dx, "weight": np.sum(dout * res_out * r, axis=0)}


# ---- NervanaSystems/neon issue 111: bprop_conv writes to [:, m] instead of [:, d]
def neon_fprop(image, F):
    _C, D, H, W = image.shape
    T, R, S, K = F.shape[1:]
    out = np.zeros((K, D - T + 1, H - R + 1, W - S + 1))
    for m, p, q in np.ndindex(out.shape[1:]):
        out[:, m, p, q] = np.tensordot(
            F, image[:, m : m + T, p : p + R, q : q + S], ((0, 1, 2, 3),) * 2
        )
    return out


def neon_bprop_slice(x, S, Q):
    slice_f, slice_o = [], []
    for s in range(S):
        q = x - (S - 1) + s
        if 0 <= q < Q:
            slice_f.append(S - s - 1)
            slice_o.append(q)
    return slice_f, slice_o


def setup_neon_conv3d(rng):
    params = {"A": rng.normal(size=(2, 2)), "F": rng.normal(size=(2, 2, 2, 2, 3))}
    return params, rng.normal(size=(2, 4, 3, 3)), rng.normal(size=(3, 3, 2, 2))


def loss_neon_conv3d(params, X, y):
    image = np.tensordot(params["A"], X, 1)
    return 0.5 * np.sum((neon_fprop(image, params["F"]) - y) ** 2)


def claimed_neon_conv3d(params, X, y):
    F = params["F"]
    image = np.tensordot(params["A"], X, 1)
    E = neon_fprop(image, F) - y
    _K, M, P, Q = E.shape
    C, D, H, W = image.shape
    T, R, S = F.shape[1:4]
    grad_I = np.zeros_like(image)
    for d in range(D):
        slice_t, slice_m = neon_bprop_slice(d, T, M)
        for h in range(H):
            slice_r, slice_p = neon_bprop_slice(h, R, P)
            for w in range(W):
                slice_s, slice_q = neon_bprop_slice(w, S, Q)
                total = np.zeros(C)
                for t, m in zip(slice_t, slice_m, strict=True):
                    for r, p in zip(slice_r, slice_p, strict=True):
                        for s, q in zip(slice_s, slice_q, strict=True):
                            total += F[:, t, r, s, :] @ E[:, m, p, q]
                m = slice_m[-1]
                grad_I[:, m, h, w] = total
    grad_F = np.zeros_like(F)
    for m, p, q in np.ndindex(M, P, Q):
        window = image[:, m : m + T, p : p + R, q : q + S]
        grad_F += window[..., None] * E[:, m, p, q]
    return {"A": np.tensordot(grad_I, X, ((1, 2, 3), (1, 2, 3))), "F": grad_F}


# ---- muricoca/crab pull 74: the user factors' own values in the user update
def setup_crab_svd(rng):
    params = {"user_factors": rng.normal(size=(3, 4)), "item_factors": rng.normal(size=(4, 4))}
    return params, np.array([[0, 1], [2, 3], [1, 0], [0, 2], [2, 1]]), rng.normal(size=5)


def loss_crab_svd(params, rating_indices, ratings):
    reg, total = 0.05, 0.0
    for (u, i), r in zip(rating_indices, ratings, strict=True):
        u_f, i_f = params["user_factors"][u], params["item_factors"][i]
        total += 0.5 * (r - u_f @ i_f) ** 2 + 0.5 * reg * (u_f @ u_f + i_f @ i_f)
    return total


def claimed_crab_svd(params, rating_indices, ratings):
    reg = 0.05
    grads = {k: np.zeros_like(v) for k, v in params.items()}
    for (user_idx, item_idx), rating in zip(rating_indices, ratings, strict=True):
        u_f = params["user_factors"][user_idx]
        i_f = params["item_factors"][item_idx]
        err = rating - np.sum(u_f * i_f)
        delta_u = err * u_f - reg * u_f
        delta_i = err * u_f - reg * i_f
        grads["user_factors"][user_idx] -= delta_u
        grads["item_factors"][item_idx] -= delta_i
    return grads


# ---- SingleZombie/DL-Demos: db summed while the loss is a mean
def setup_dldemos_logistic(rng):
    params = {"W": rng.normal(size=(4, 1)), "b": np.array(rng.normal())}
    return params, rng.normal(size=(4, 6)), rng.integers(0, 2, size=(1, 6)).astype(float)


def loss_dldemos_logistic(params, X, Y):
    y_hat = sigmoid(params["W"].T @ X + params["b"])
    return np.mean(-(Y * np.log(y_hat) + (1 - Y) * np.log(1 - y_hat)))


def claimed_dldemos_logistic(params, X, Y):
    A = sigmoid(params["W"].T @ X + params["b"])
    d_Z = A - Y
    d_W = np.mean(X * d_Z, axis=1, keepdims=True)
    d_b = np.sum(d_Z)
    return {"W": d_W, "b": np.array(d_b)}


# ---- RoboticsClubIITJ/ML-DL-implementation: softmax backward as o(1 - o)
def setup_mllib_softmax(rng):
    params = {"weights": rng.normal(size=(3, 4)), "bias": rng.normal(size=3)}
    return params, rng.normal(size=(6, 4)), one_hot(rng.integers(0, 3, size=6), 3)


def loss_mllib_softmax(params, X, y):
    o = softmax(X @ params["weights"].T + params["bias"])
    return -np.sum(y * np.log(o)) / X.shape[0]


def claimed_mllib_softmax(params, X, y):
    o = softmax(X @ params["weights"].T + params["bias"])
    grad_output = -y / o / X.shape[0]
    grad_o = o * (1 - o) * grad_output
    return {"weights": grad_o.T @ X, "bias": grad_o.sum(axis=0)}


# ---- ML-DL-implementation pull 153, "fixed": the Jacobian summed before the upstream product
def setup_mllib_softmax_fixed(rng):
    return setup_mllib_softmax(rng)


def loss_mllib_softmax_fixed(params, X, y):
    return loss_mllib_softmax(params, X, y)


def claimed_mllib_softmax_fixed(params, X, y):
    out = softmax(X @ params["weights"].T + params["bias"])
    grad_output = -y / out / X.shape[0]
    jac = -out[:, :, None] * out[:, None, :]
    k = np.arange(out.shape[1])
    jac[:, k, k] = out * (1.0 - out)
    grad_o = jac.sum(axis=1) * grad_output
    return {"weights": grad_o.T @ X, "bias": grad_o.sum(axis=0)}


# ---- ML-DL-implementation "fixed derivative function of leakyrelu": slope -alpha below zero
def setup_mllib_leakyrelu(rng):
    params = {
        "W1": rng.normal(size=(5, 3)),
        "b1": rng.normal(size=5),
        "W2": rng.normal(size=(1, 5)),
        "b2": rng.normal(size=1),
    }
    return params, rng.normal(size=(8, 3)), rng.normal(size=(8, 1))


def loss_mllib_leakyrelu(params, X, y):
    z = X @ params["W1"].T + params["b1"]
    out = np.maximum(0.01 * z, z) @ params["W2"].T + params["b2"]
    return np.mean((out - y) ** 2)


def claimed_mllib_leakyrelu(params, X, y):
    alpha = 0.01

    def derivative(z):
        dx = np.greater(z, 0).astype(float)
        dx[z < 0] = -alpha
        return dx

    z = X @ params["W1"].T + params["b1"]
    a = np.maximum(alpha * z, z)
    d_out = 2 * (a @ params["W2"].T + params["b2"] - y) / y.size
    d_z = d_out @ params["W2"] * derivative(z)
    return {"W1": d_z.T @ X, "b1": d_z.sum(axis=0), "W2": d_out.T @ a, "b2": d_out.sum(axis=0)}


# ---- matheusfacure/Tutoriais-de-AM: the layer of the mean squared error without its 2
class FacureLinear:
    def __init__(self, W):
        self.W = W

    def forward(self, z_in):
        self.z_in = z_in
        return z_in @ self.W

    def backward(self, d_in):
        self.dW = self.z_in.T @ d_in / d_in.shape[0]
        return d_in @ self.W.T


def setup_facure_linear(rng):
    X = np.insert(rng.normal(size=(8, 1)), 0, 1, axis=1)
    return {"w_hat": rng.normal(size=(2, 1))}, X, rng.normal(size=(8, 1))


def loss_facure_linear(params, X, y):
    return np.mean(np.square(X @ params["w_hat"] - y))


def claimed_facure_linear(params, X, y):
    layer = FacureLinear(params["w_hat"])
    z_in = layer.forward(X)
    d_out = -1 * (y - z_in)
    layer.backward(d_out)
    return {"w_hat": layer.dW}


# ---- pocketpy/cTensor 7beb9d3: mean divided by the size of its output
def setup_ctensor_mean(rng):
    params = {"W": rng.normal(size=(3, 2)), "b": rng.normal(size=(1, 2))}
    return params, rng.normal(size=(4, 3)), rng.normal(size=(4, 2))


def loss_ctensor_mean(params, X, y):
    d = X @ params["W"] + params["b"] - y
    return np.mean(d * d)


def claimed_ctensor_mean(params, X, y):
    d = X @ params["W"] + params["b"] - y
    out_numel = 1
    g_mean = np.full(d.shape, 1.0 / out_numel)
    d_z = g_mean * d + g_mean * d
    return {"W": X.T @ d_z, "b": d_z.sum(axis=0, keepdims=True)}


# ---- pocketpy/cTensor 49aafe8: cross entropy returns (p - y)/n as its local gradient
def setup_ctensor_crossentropy(rng):
    return setup_ctensor_softmax(rng)


def loss_ctensor_crossentropy(params, X, y):
    return loss_ctensor_softmax(params, X, y)


def claimed_ctensor_crossentropy(params, X, y):
    p = softmax(X @ params["W"] + params["b"])
    g = (p - y) / X.shape[0]
    d_z = p * (g - np.sum(g * p, axis=1, keepdims=True))
    return {"W": X.T @ d_z, "b": d_z.sum(axis=0, keepdims=True)}


# ---- "Make Your Own Neural Network", errata 4: sigmoid applied again to the output O_k
def setup_myonn_errata(rng):
    params = {"w_jk": rng.normal(size=(2, 3))}
    return params, rng.uniform(size=(3, 4)), rng.uniform(size=(2, 4))


def loss_myonn_errata(params, O_j, t_k):
    return 0.5 * np.sum((t_k - sigmoid(params["w_jk"] @ O_j)) ** 2)


def claimed_myonn_errata(params, O_j, t_k):
    O_k = sigmoid(params["w_jk"] @ O_j)
    E_k = t_k - O_k
    return {"w_jk": -(E_k * sigmoid(O_k) * (1 - sigmoid(O_k))) @ O_j.T}


# ---- luhaofang/tripletloss: suspected, but right with the 1/(2 num) of the loss
def triplet_loss_value(params):
    a, p, n = params["anchor"], params["positive"], params["negative"]
    dist = 1.0 + np.sum((a - p) ** 2, axis=1) - np.sum((a - n) ** 2, axis=1)
    return dist, np.sum(np.maximum(dist, 0.0)) / (2 * len(a))


def setup_tripletloss_layer(rng):
    while True:
        params = {k: rng.normal(size=(5, 3)) for k in ("anchor", "positive", "negative")}
        dist = triplet_loss_value(params)[0]
        if np.sum(dist > 0.05) >= 2 and np.min(np.abs(dist)) > 0.05:
            return params, np.arange(5.0), np.zeros(5)


def loss_tripletloss_layer(params, X, y):
    return triplet_loss_value(params)[1]


def claimed_tripletloss_layer(params, X, y):
    dist = triplet_loss_value(params)[0]
    num = len(dist)
    diff = {k: np.zeros_like(v) for k, v in params.items()}
    for i in range(num):
        if max(dist[i], 0.0) != 0:
            x_a, x_p, x_n = (params[k][i] for k in ("anchor", "positive", "negative"))
            diff["anchor"][i] = (x_n - x_p) / num
            diff["positive"][i] = (x_p - x_a) / num
            diff["negative"][i] = (x_a - x_n) / num
    return diff


# ---- luhaofang/tripletloss issue 41: the gradient that the reporter proposed instead
def setup_tripletloss_proposed(rng):
    return setup_tripletloss_layer(rng)


def loss_tripletloss_proposed(params, X, y):
    return loss_tripletloss_layer(params, X, y)


def claimed_tripletloss_proposed(params, X, y):
    dist = triplet_loss_value(params)[0]
    num = len(dist)
    diff = {k: np.zeros_like(v) for k, v in params.items()}
    for i in range(num):
        if max(dist[i], 0.0) != 0:
            x_a, x_p, x_n = (params[k][i] for k in ("anchor", "positive", "negative"))
            diff["anchor"][i] = (x_n - x_p) / num
            diff["positive"][i] = -x_a / num
            diff["negative"][i] = x_a / num
    return diff


# ---- karpathy/nn-zero-to-hero issue 57: dC[Xb[k]] += demb[k] with repeated characters
def makemore_forward(params, Xb):
    emb = params["C"][Xb]
    embcat = emb.reshape(emb.shape[0], -1)
    h = np.tanh(embcat @ params["W1"] + params["b1"])
    return embcat, h, h @ params["W2"] + params["b2"]


def setup_makemore_dc(rng):
    params = {
        "C": rng.normal(size=(5, 2)),
        "W1": 0.5 * rng.normal(size=(6, 4)),
        "b1": rng.normal(size=4),
        "W2": rng.normal(size=(4, 5)),
        "b2": rng.normal(size=5),
    }
    Xb = np.array([[1, 1, 1], [0, 0, 3], [2, 4, 2], [0, 3, 1]])
    return params, Xb, rng.integers(0, 5, size=4)


def loss_makemore_dc(params, Xb, Yb):
    p = softmax(makemore_forward(params, Xb)[2])
    return -np.mean(np.log(p[np.arange(len(Yb)), Yb]))


def claimed_makemore_dc(params, Xb, Yb):
    embcat, h, logits = makemore_forward(params, Xb)
    n = len(Yb)
    dlogits = softmax(logits)
    dlogits[np.arange(n), Yb] -= 1
    dlogits /= n
    dhpreact = (1.0 - h**2) * (dlogits @ params["W2"].T)
    demb = (dhpreact @ params["W1"].T).reshape(n, Xb.shape[1], -1)
    dC = np.zeros_like(params["C"])
    for k in range(n):
        dC[Xb[k]] += demb[k]
    return {
        "C": dC,
        "W1": embcat.T @ dhpreact,
        "b1": dhpreact.sum(0),
        "W2": h.T @ dlogits,
        "b2": dlogits.sum(0),
    }


# ---- albertauyeung/matrix-factorization-in-python pull 3: Q's step with the new P
def setup_auyeung_mf(rng):
    params = {
        "P": rng.normal(size=4),
        "Q": rng.normal(size=4),
        "b_u": np.array(rng.normal()),
        "b_i": np.array(rng.normal()),
    }
    return params, np.array([3.2]), np.array([5.0])


def loss_auyeung_mf(params, mean, r):
    beta = 0.02
    e = r[0] - (mean[0] + params["b_u"] + params["b_i"] + params["P"] @ params["Q"])
    return 0.5 * e**2 + 0.5 * beta * sum(np.sum(v**2) for v in params.values())


def claimed_auyeung_mf(params, mean, r):
    alpha, beta = 0.1, 0.02
    P, Q, b_u, b_i = (params[k].copy() for k in ("P", "Q", "b_u", "b_i"))
    e = r[0] - (mean[0] + b_u + b_i + P @ Q)
    step_bu, step_bi = e - beta * b_u, e - beta * b_i
    step_P = e * Q - beta * P
    P += alpha * step_P
    step_Q = e * P - beta * Q
    return {"P": -step_P, "Q": -step_Q, "b_u": np.array(-step_bu), "b_i": np.array(-step_bi)}

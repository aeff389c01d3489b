"""Published hand-written gradients, restated from their mathematics (see reports.json)."""

import numpy as np


def sigmoid(z):
    return 1.0 / (1.0 + np.exp(-z))


def softmax_rows(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def one_hot(labels, k):
    return np.eye(k)[labels]


# --- gy_tanh_plus ---------------------------------------------------------------------------


class GyTanh:
    def forward(self, X):
        return np.tanh(X)

    def backward(self, X, top_diff):
        output = self.forward(X)
        return (1.0 + np.square(output)) * top_diff


def setup_gy_tanh_plus(rng):
    params = {
        "W1": rng.normal(size=(3, 4)) / np.sqrt(3),
        "b1": 0.3 * rng.normal(size=(1, 4)),
        "W2": rng.normal(size=(4, 3)) / 2,
        "b2": 0.3 * rng.normal(size=(1, 3)),
    }
    return params, rng.normal(size=(6, 3)), rng.integers(0, 3, size=6)


def loss_gy_tanh_plus(params, X, y):
    reg_lambda = 0.01
    h = np.tanh(X @ params["W1"] + params["b1"])
    out = np.tanh(h @ params["W2"] + params["b2"])
    probs = softmax_rows(out)
    data_loss = -np.sum(np.log(probs[np.arange(len(y)), y]))
    return data_loss + 0.5 * reg_lambda * (np.sum(params["W1"] ** 2) + np.sum(params["W2"] ** 2))


def claimed_gy_tanh_plus(params, X, y):
    reg_lambda, layer = 0.01, GyTanh()
    add1 = X @ params["W1"] + params["b1"]
    h = layer.forward(add1)
    add2 = h @ params["W2"] + params["b2"]
    dtanh = softmax_rows(layer.forward(add2))
    dtanh[np.arange(len(y)), y] -= 1.0
    dadd2 = layer.backward(add2, dtanh)
    dW2 = h.T @ dadd2 + reg_lambda * params["W2"]
    db2 = np.ones((1, len(y))) @ dadd2
    dadd1 = layer.backward(add1, dadd2 @ params["W2"].T)
    dW1 = X.T @ dadd1 + reg_lambda * params["W1"]
    db1 = np.ones((1, len(y))) @ dadd1
    return {"W1": dW1, "b1": db1, "W2": dW2, "b2": db2}


# --- numpyml_lstm_bo ------------------------------------------------------------------------


def lstm_forward_numpyml(params, X):
    n_ex, _n_in, T = X.shape
    n_out = params["bf"].shape[1]
    A, C = [np.zeros((n_ex, n_out))], [np.zeros((n_ex, n_out))]
    gates = []
    for t in range(T):
        Zt = np.hstack([A[-1], X[:, :, t]])
        Gft = sigmoid(Zt @ params["Wf"] + params["bf"])
        Gut = sigmoid(Zt @ params["Wu"] + params["bu"])
        Got = sigmoid(Zt @ params["Wo"] + params["bo"])
        Cct = np.tanh(Zt @ params["Wc"] + params["bc"])
        C.append(Gft * C[-1] + Gut * Cct)
        A.append(Got * np.tanh(C[-1]))
        gates.append((Gft, Gut, Got, Cct))
    return A, C, gates


def setup_numpyml_lstm_bo(rng):
    params = {}
    for g in "fuco":
        params["W" + g] = 0.6 * rng.normal(size=(5, 3))
        params["b" + g] = rng.normal(size=(1, 3))
    return params, rng.normal(size=(4, 2, 3)), rng.normal(size=(4, 3, 3))


def loss_numpyml_lstm_bo(params, X, y):
    A, _, _ = lstm_forward_numpyml(params, X)
    return 0.5 * sum(np.sum((A[t + 1] - y[:, :, t]) ** 2) for t in range(X.shape[2]))


def claimed_numpyml_lstm_bo(params, X, y):
    def gate_grad(z):
        return sigmoid(z) * (1 - sigmoid(z))

    def act_grad(z):
        return 1 - np.tanh(z) ** 2

    A, C, gates = lstm_forward_numpyml(params, X)
    Wf, Wu, Wc, Wo = (params[k] for k in ("Wf", "Wu", "Wc", "Wo"))
    bc, bo = params["bc"], params["bo"]
    n_out = bo.shape[1]
    grads = {k: np.zeros_like(v) for k, v in params.items()}
    dA_acc, dC_acc = np.zeros_like(A[0]), np.zeros_like(C[0])
    for t in reversed(range(X.shape[2])):
        Gft, Gut, Got, Cct = gates[t]
        Zt = np.hstack([A[t], X[:, :, t]])
        dA = (A[t + 1] - y[:, :, t]) + dA_acc
        dC = dC_acc + dA * Got * act_grad(C[t + 1])
        _Go = Zt @ Wo + bo
        _Gf = Zt @ Wf + bo
        _Gu = Zt @ Wu + bo
        _Gc = Zt @ Wc + bc
        dGot = dA * np.tanh(C[t + 1]) * gate_grad(_Go)
        dCct = dC * Gut * act_grad(_Gc)
        dGut = dC * Cct * gate_grad(_Gu)
        dGft = dC * C[t] * gate_grad(_Gf)
        dZ = dGft @ Wf.T + dGut @ Wu.T + dCct @ Wc.T + dGot @ Wo.T
        for g, d in (("f", dGft), ("u", dGut), ("c", dCct), ("o", dGot)):
            grads["W" + g] += Zt.T @ d
            grads["b" + g] += d.sum(axis=0, keepdims=True)
        dA_acc, dC_acc = dZ[:, :n_out], Gft * dC
    return grads


# --- numpyml_logreg_penalty -----------------------------------------------------------------


def setup_numpyml_logreg_penalty(rng):
    X = np.c_[np.ones(8), rng.normal(size=(8, 3))]
    return {"beta": rng.normal(size=4)}, X, rng.integers(0, 2, size=8).astype(float)


def loss_numpyml_logreg_penalty(params, X, y):
    beta, gamma, N = params["beta"], 0.4, X.shape[0]
    y_pred = sigmoid(X @ beta)
    nll = -np.log(y_pred[y == 1]).sum() - np.log(1 - y_pred[y == 0]).sum()
    return (gamma * np.linalg.norm(beta, ord=1) + nll) / N


def claimed_numpyml_logreg_penalty(params, X, y):
    beta, gamma, N = params["beta"], 0.4, X.shape[0]
    y_pred = sigmoid(X @ beta)
    d_penalty = gamma * np.sign(beta)
    return {"beta": -(np.dot(y - y_pred, X) + d_penalty) / N}


# --- libbrain_derivative_of_sum -------------------------------------------------------------


def setup_libbrain_derivative_of_sum(rng):
    params = {"w": rng.normal(size=(2, 3)), "bias": rng.normal(size=2)}
    return params, rng.normal(size=(5, 3)), rng.uniform(0.1, 0.9, size=(5, 2))


def loss_libbrain_derivative_of_sum(params, X, y):
    error = 0.0
    for x, desired in zip(X, y, strict=True):
        for i in range(2):
            out = sigmoid(params["w"][i] @ x + params["bias"][i])
            error += 0.5 * (out - desired[i]) ** 2
    return error


def claimed_libbrain_derivative_of_sum(params, X, y):
    def sigmoid_derivative(value):
        return value * (1.0 - value)

    g = {k: np.zeros_like(v) for k, v in params.items()}
    for x, desired in zip(X, y, strict=True):
        for i in range(2):
            neuron_sum = params["w"][i] @ x + params["bias"][i]
            cost_derivative = sigmoid(neuron_sum) - desired[i]
            gradient = sigmoid_derivative(neuron_sum) * cost_derivative
            g["bias"][i] += gradient
            for j in range(3):
                g["w"][i, j] += gradient * x[j]
    return g


# --- neuromatch_narrow_sign -----------------------------------------------------------------


def setup_neuromatch_narrow_sign(rng):
    params = {"w_1": rng.normal(size=(1,)), "w_2": rng.normal(size=(1,))}
    return params, rng.normal(size=6), rng.normal(size=6)


def loss_neuromatch_narrow_sign(params, X, y):
    return np.sum((y - params["w_1"] * params["w_2"] * X) ** 2)


def claimed_neuromatch_narrow_sign(params, X, y):
    w_1, w_2 = params["w_1"], params["w_2"]
    rest = y - w_1 * w_2 * X
    return {
        "w_1": np.array([np.sum(2 * w_2 * X * rest)]),
        "w_2": np.array([np.sum(2 * w_1 * X * rest)]),
    }


# --- mlp_readme_missing_prime ---------------------------------------------------------------


def setup_mlp_readme_missing_prime(rng):
    params = {
        "Wh": rng.normal(size=(4, 3)),
        "Bh": rng.normal(size=(4, 1)),
        "Wo": rng.normal(size=(2, 4)),
        "Bo": rng.normal(size=(2, 1)),
    }
    return params, rng.normal(size=(3, 5)), rng.uniform(size=(2, 5))


def loss_mlp_readme_missing_prime(params, X, y):
    Ah = sigmoid(params["Wh"] @ X + params["Bh"])
    Ao = sigmoid(params["Wo"] @ Ah + params["Bo"])
    return 0.5 * np.sum((Ao - y) ** 2)


def claimed_mlp_readme_missing_prime(params, X, y):
    def sigma_prime(z):
        return sigmoid(z) * (1 - sigmoid(z))

    Zh = params["Wh"] @ X + params["Bh"]
    Ah = sigmoid(Zh)
    Zo = params["Wo"] @ Ah + params["Bo"]
    nabla_C = sigmoid(Zo) - y
    delta_o = nabla_C * sigmoid(Zo)
    delta_h = (params["Wo"].T @ delta_o) * sigma_prime(Zh)
    return {
        "Wh": delta_h @ X.T,
        "Bh": delta_h.sum(axis=1, keepdims=True),
        "Wo": delta_o @ Ah.T,
        "Bo": delta_o.sum(axis=1, keepdims=True),
    }


# --- gonn_sigmoid_minus ---------------------------------------------------------------------


def setup_gonn_sigmoid_minus(rng):
    return {"wjk": rng.normal(size=(3, 4))}, rng.uniform(size=(4, 5)), rng.uniform(size=(3, 5))


def loss_gonn_sigmoid_minus(params, X, y):
    ok = sigmoid(params["wjk"] @ X)
    return 0.5 * np.sum((y - ok) ** 2)


def claimed_gonn_sigmoid_minus(params, X, y):
    ok = sigmoid(params["wjk"] @ X)
    dsig = ok - (1 - ok)
    return {"wjk": (-(y - ok) * dsig) @ X.T}


# --- ngclearn_d_swish -----------------------------------------------------------------------


def setup_ngclearn_d_swish(rng):
    params = {"W": rng.normal(size=(3, 4)), "b": rng.normal(size=(1, 4))}
    return params, rng.normal(size=(5, 3)), rng.normal(size=(5, 4))


def loss_ngclearn_d_swish(params, X, y):
    beta = 1.7
    x = X @ params["W"] + params["b"]
    return 0.5 * np.sum((x * sigmoid(x * beta) - y) ** 2)


def d_swish_ngc(x, beta):
    exp_neg_x = np.exp(-x)
    _x = 1.0 / (exp_neg_x + 1.0) + exp_neg_x * x / np.square(exp_neg_x + 1)
    return _x * beta


def claimed_ngclearn_d_swish(params, X, y):
    beta = 1.7
    x = X @ params["W"] + params["b"]
    dx = (x * sigmoid(x * beta) - y) * d_swish_ngc(x, beta)
    return {"W": X.T @ dx, "b": dx.sum(axis=0, keepdims=True)}


# --- ctensor_conv_weight_mean ---------------------------------------------------------------


def conv2d_ct(x, w):
    B, _C, H, W = x.shape
    _, oC, kH, kW = w.shape
    out = np.zeros((B, oC, H - kH + 1, W - kW + 1))
    for i in range(out.shape[2]):
        for j in range(out.shape[3]):
            patch = x[:, :, i : i + kH, j : j + kW]
            out[:, :, i, j] = np.tensordot(patch, w, [(1, 2, 3), (0, 2, 3)])
    return out


def conv2d_ct_weight_backward(dout, x, w):
    B, _, H, W = dout.shape
    kH, kW = w.shape[2:]
    dw = np.zeros_like(w)
    for i in range(H):
        for j in range(W):
            patch = x[:, :, i : i + kH, j : j + kW]
            dw += np.einsum("bcij,bo->coij", patch, dout[:, :, i, j])
    return dw * (1.0 / (B * H * W))


def conv2d_ct_input_backward(dout, x, w):
    kH, kW = w.shape[2:]
    dx = np.zeros_like(x)
    for i in range(dout.shape[2]):
        for j in range(dout.shape[3]):
            dx[:, :, i : i + kH, j : j + kW] += np.einsum("bo,coij->bcij", dout[:, :, i, j], w)
    return dx


def setup_ctensor_conv_weight_mean(rng):
    params = {"W1": rng.normal(size=(1, 2, 2, 2)), "W2": rng.normal(size=(2, 1, 2, 2))}
    return params, rng.normal(size=(2, 1, 4, 4)), rng.normal(size=(2, 1, 2, 2))


def loss_ctensor_conv_weight_mean(params, X, y):
    h = np.maximum(conv2d_ct(X, params["W1"]), 0)
    return np.sum((conv2d_ct(h, params["W2"]) - y) ** 2)


def claimed_ctensor_conv_weight_mean(params, X, y):
    z = conv2d_ct(X, params["W1"])
    h = z * (z >= 0)
    d2 = 2 * (conv2d_ct(h, params["W2"]) - y)
    dW2 = conv2d_ct_weight_backward(d2, h, params["W2"])
    d1 = conv2d_ct_input_backward(d2, h, params["W2"]) * (z >= 0)
    return {"W1": conv2d_ct_weight_backward(d1, X, params["W1"]), "W2": dW2}


# --- nnlib_maxpool_overlap ------------------------------------------------------------------


def maxpool2_stride1(x):
    H, W = x.shape
    return np.array([[x[i : i + 2, j : j + 2].max() for j in range(W - 1)] for i in range(H - 1)])


def maxpool2_stride1_backward(dy, out, x):
    dx = np.zeros_like(x)
    for i in range(dy.shape[0]):
        for j in range(dy.shape[1]):
            chosen = False
            for ki in range(2):
                for kj in range(2):
                    if x[i + ki, j + kj] == out[i, j] and not chosen:
                        dx[i + ki, j + kj] = dy[i, j]
                        chosen = True
    return dx


def setup_nnlib_maxpool_overlap(rng):
    return {"W": rng.normal(size=(3, 5))}, rng.normal(size=(5, 3)), rng.normal(size=(4, 4))


def loss_nnlib_maxpool_overlap(params, X, y):
    return 0.5 * np.sum((maxpool2_stride1(X @ params["W"]) - y) ** 2)


def claimed_nnlib_maxpool_overlap(params, X, y):
    x = X @ params["W"]
    out = maxpool2_stride1(x)
    dx = maxpool2_stride1_backward(out - y, out, x)
    return {"W": X.T @ dx}


# --- nnlib_hardsigmoid_saturated ------------------------------------------------------------


def setup_nnlib_hardsigmoid_saturated(rng):
    params = {"W": rng.normal(size=(3, 4)), "b": 0.5 * rng.normal(size=(4,))}
    X = rng.normal(size=(6, 3))
    X[:2] *= 25
    return params, X, rng.normal(size=(6, 4))


def loss_nnlib_hardsigmoid_saturated(params, X, y):
    out = np.clip((X @ params["W"] + params["b"] + 3) / 6, 0, 1)
    return 0.5 * np.sum((out - y) ** 2)


def claimed_nnlib_hardsigmoid_saturated(params, X, y):
    out = np.clip((X @ params["W"] + params["b"] + 3) / 6, 0, 1)
    dz = (out - y) * np.where((out > 0) & (out < 1), 1 / 6, 1.0)
    return {"W": X.T @ dz, "b": dz.sum(axis=0)}


# --- chainer_normalize_l2_eps ---------------------------------------------------------------


def setup_chainer_normalize_l2_eps(rng):
    return {"W": rng.normal(size=(3, 4))}, rng.normal(size=(5, 3)), rng.normal(size=(5, 4))


def loss_chainer_normalize_l2_eps(params, X, y):
    x = X @ params["W"]
    norm = np.sqrt(np.sum(np.square(x), axis=1, keepdims=True)) + 0.1
    return 0.5 * np.sum((x / norm - y) ** 2)


def claimed_chainer_normalize_l2_eps(params, X, y):
    x = X @ params["W"]
    norm = np.sqrt(np.sum(np.square(x), axis=1, keepdims=True)) + 0.1
    gy = x / norm - y
    x_gy_reduced = np.sum(x * gy, axis=1, keepdims=True)
    gx = gy * norm - x_gy_reduced * x / norm
    gx = gx / norm**2
    return {"W": X.T @ gx}


# --- gensim_cbow_repeated -------------------------------------------------------------------


def setup_gensim_cbow_repeated(rng):
    params = {"syn0": rng.normal(size=(6, 3)), "syn1neg": rng.normal(size=(6, 3))}
    X = rng.integers(0, 6, size=(4, 4))
    X[:, 1] = X[:, 0]
    y = np.array([rng.permutation(6)[:3] for _ in range(4)])
    return params, X, y


def loss_gensim_cbow_repeated(params, X, y):
    loss = 0.0
    for window, words in zip(X, y, strict=True):
        l1 = params["syn0"][window].sum(axis=0)
        scores = params["syn1neg"][words] @ l1
        loss -= np.log(sigmoid(scores[0])) + np.sum(np.log(sigmoid(-scores[1:])))
    return loss


def claimed_gensim_cbow_repeated(params, X, y):
    g = {k: np.zeros_like(v) for k, v in params.items()}
    neg_labels = np.array([1.0, 0.0, 0.0])
    for word2_indices, word_indices in zip(X, y, strict=True):
        l1 = params["syn0"][word2_indices].sum(axis=0)
        l2b = params["syn1neg"][word_indices]
        gb = sigmoid(l2b @ l1) - neg_labels
        neu1e = gb @ l2b
        g["syn1neg"][word_indices] += np.outer(gb, l1)
        g["syn0"][word2_indices] += neu1e
    return g


# --- xgboost_huber_sign ---------------------------------------------------------------------


def setup_xgboost_huber_sign(rng):
    params = {"w": rng.normal(size=3), "b": rng.normal(size=(1,))}
    return params, rng.normal(size=(7, 3)), 3 * rng.normal(size=7)


def loss_xgboost_huber_sign(params, X, y):
    delta = 1.0
    e = y - (X @ params["w"] + params["b"])
    return np.sum(np.where(np.abs(e) > delta, delta * (np.abs(e) - 0.5 * delta), 0.5 * e**2))


def claimed_xgboost_huber_sign(params, X, y):
    delta = 1.0
    preds = X @ params["w"] + params["b"]
    error_comp = y - preds
    signage = error_comp / np.abs(error_comp)
    grad = np.where(np.abs(error_comp) > delta, signage * delta, error_comp)
    return {"w": X.T @ grad, "b": np.array([grad.sum()])}


# --- lightgbm_huber_no_abs ------------------------------------------------------------------


def setup_lightgbm_huber_no_abs(rng):
    params = {"w": rng.normal(size=3), "b": rng.normal(size=(1,))}
    return params, rng.normal(size=(8, 3)), 4 * rng.normal(size=8)


def loss_lightgbm_huber_no_abs(params, X, y):
    alpha = 0.9
    r = X @ params["w"] + params["b"] - y
    return np.sum(np.where(np.abs(r) <= alpha, 0.5 * r**2, alpha * np.abs(r) - 0.5 * alpha**2))


def claimed_lightgbm_huber_no_abs(params, X, y):
    alpha = 0.9
    residual = X @ params["w"] + params["b"] - y
    grad = np.where(residual <= alpha, residual, residual * alpha)
    return {"w": X.T @ grad, "b": np.array([grad.sum()])}


# --- art_rbf_square -------------------------------------------------------------------------


def setup_art_rbf_square(rng):
    return {"x": rng.normal(size=3)}, rng.normal(size=(5, 3)), rng.normal(size=5)


def loss_art_rbf_square(params, X, y):
    gamma, pairs = 0.4, zip(X, y, strict=True)
    return sum(a * np.exp(-gamma * np.sum((params["x"] - sv) ** 2)) for sv, a in pairs)


def claimed_art_rbf_square(params, X, y):
    gamma, x_sample = 0.4, params["x"]
    total = np.zeros_like(x_sample)
    for sv, alpha in zip(X, y, strict=True):
        grad = 2 * gamma * (-1) * np.exp(-gamma * np.linalg.norm(x_sample - sv)) * (x_sample - sv)
        total += alpha * grad
    return {"x": total}


# --- art_logreg_input -----------------------------------------------------------------------


def setup_art_logreg_input(rng):
    coef = rng.normal(size=(3, 4))
    return {"x": rng.normal(size=(5, 4))}, coef, one_hot(rng.integers(0, 3, size=5), 3)


def loss_art_logreg_input(params, X, y):
    return -np.sum(y * np.log(softmax_rows(params["x"] @ X.T)))


def claimed_art_logreg_input(params, X, y):
    weights = X
    y_pred = softmax_rows(params["x"] @ weights.T)
    w_weighted = y_pred @ weights
    gradients = np.zeros_like(params["x"])
    for i_sample in range(len(y)):
        for i_class in range(3):
            gradients[i_sample] += (1.0 - y[i_sample, i_class]) * (
                weights[i_class] - w_weighted[i_sample]
            )
    return {"x": gradients}


# --- cornernet_left_pool --------------------------------------------------------------------


def left_pool(x):
    return np.stack([x[:, i:].max(axis=1) for i in range(x.shape[1])], axis=1)


def left_pool_backward(x, dy):
    mask = np.ones_like(x)
    for i in range(x.shape[1] - 1, 0, -1):
        mask[:, i - 1] = np.where(x[:, i - 1] > x[:, i:].max(axis=1), 1.0, 0.0)
    return mask * dy


def setup_cornernet_left_pool(rng):
    return {"W": rng.normal(size=(3, 6))}, rng.normal(size=(4, 3)), rng.normal(size=(4, 6))


def loss_cornernet_left_pool(params, X, y):
    return 0.5 * np.sum((left_pool(X @ params["W"]) - y) ** 2)


def claimed_cornernet_left_pool(params, X, y):
    x = X @ params["W"]
    return {"W": X.T @ left_pool_backward(x, left_pool(x) - y)}


# --- mlj_logistic_l2_documented -------------------------------------------------------------


def setup_mlj_logistic_l2_documented(rng):
    return {"theta": rng.normal(size=4)}, rng.normal(size=(7, 4)), rng.choice([-1.0, 1.0], size=7)


def loss_mlj_logistic_l2_documented(params, X, y):
    lam, theta = 0.3, params["theta"]
    return -np.sum(np.log(sigmoid(y * (X @ theta)))) + lam * np.sum(theta**2)


def claimed_mlj_logistic_l2_documented(params, X, y):
    lam, theta = 0.3, params["theta"]
    return {"theta": -X.T @ (y * sigmoid(-y * (X @ theta))) + lam * theta}


# --- rubix_selu_negative --------------------------------------------------------------------

SELU_ALPHA = 1.6732632423543772
SELU_SCALE = 1.0507009873554805


def selu(z):
    return np.where(z > 0, SELU_SCALE * z, SELU_SCALE * SELU_ALPHA * (np.exp(z) - 1.0))


def setup_rubix_selu_negative(rng):
    params = {
        "W1": rng.normal(size=(4, 3)),
        "b1": 0.5 * rng.normal(size=(4, 1)),
        "W2": rng.normal(size=(1, 4)),
        "b2": rng.normal(size=(1, 1)),
    }
    return params, rng.normal(size=(3, 6)), rng.normal(size=(1, 6))


def loss_rubix_selu_negative(params, X, y):
    h = selu(params["W1"] @ X + params["b1"])
    return 0.5 * np.mean((params["W2"] @ h + params["b2"] - y) ** 2)


def claimed_rubix_selu_negative(params, X, y):
    def differentiate(output):
        return np.where(output > 0, SELU_SCALE, SELU_SCALE * (output + SELU_ALPHA))

    h = selu(params["W1"] @ X + params["b1"])
    dz2 = (params["W2"] @ h + params["b2"] - y) / y.shape[1]
    dz1 = (params["W2"].T @ dz2) * differentiate(h)
    return {
        "W1": dz1 @ X.T,
        "b1": dz1.sum(axis=1, keepdims=True),
        "W2": dz2 @ h.T,
        "b2": dz2.sum(axis=1, keepdims=True),
    }


# --- giorgosxou_selu_lambda -----------------------------------------------------------------


def selu_gx(x):
    return np.where(x > 0, x, 1.6733 * (np.exp(np.minimum(x, 0)) - 1))


def selu_der_gx(fx):
    return np.where(fx > 0, 1.0507, fx + 1.6733 * 1.0507)


def setup_giorgosxou_selu_lambda(rng):
    params = {
        "W0": rng.normal(size=(4, 3)),
        "b0": rng.normal(size=4),
        "W1": rng.normal(size=(2, 4)),
        "b1": rng.normal(size=2),
    }
    return params, rng.normal(size=(5, 3)), rng.normal(size=(5, 2))


def loss_giorgosxou_selu_lambda(params, X, y):
    out = selu_gx(selu_gx(X @ params["W0"].T + params["b0"]) @ params["W1"].T + params["b1"])
    return 0.5 * np.sum((out - y) ** 2)


def claimed_giorgosxou_selu_lambda(params, X, y):
    g = {k: np.zeros_like(v) for k, v in params.items()}
    for x, target in zip(X, y, strict=True):
        h = selu_gx(params["W0"] @ x + params["b0"])
        out = selu_gx(params["W1"] @ h + params["b1"])
        gamma1 = (out - target) * selu_der_gx(out)
        gamma0 = (params["W1"].T @ gamma1) * selu_der_gx(h)
        g["W1"] += np.outer(gamma1, h)
        g["b1"] += gamma1
        g["W0"] += np.outer(gamma0, x)
        g["b0"] += gamma0
    return g


# --- aidotnet_rmsnorm_input -----------------------------------------------------------------


def setup_aidotnet_rmsnorm_input(rng):
    params = {"W": rng.normal(size=(3, 5)), "gamma": 1 + 0.3 * rng.normal(size=5)}
    return params, rng.normal(size=(4, 3)), rng.normal(size=(4, 5))


def loss_aidotnet_rmsnorm_input(params, X, y):
    h = X @ params["W"]
    rms = np.sqrt(np.mean(h**2, axis=1, keepdims=True) + 1e-5)
    return 0.5 * np.sum((params["gamma"] * h / rms - y) ** 2)


def claimed_aidotnet_rmsnorm_input(params, X, y):
    h = X @ params["W"]
    inv_rms = 1 / np.sqrt(np.mean(h**2, axis=1) + 1e-5)
    grad_gamma, grad_input = np.zeros(5), np.zeros_like(h)
    for b in range(len(h)):
        go = params["gamma"] * h[b] * inv_rms[b] - y[b]
        for i in range(5):
            grad_gamma[i] += go[i] * h[b, i] * inv_rms[b]
            grad_input[b, i] = go[i] * params["gamma"][i] * inv_rms[b]
    return {"W": X.T @ grad_input, "gamma": grad_gamma}


# --- burn_avgpool_ceil ----------------------------------------------------------------------


def avg_pool_ceil(x, kernel=2):
    starts = range(0, x.shape[1], kernel)
    return np.stack([x[:, s : s + kernel].mean(axis=1) for s in starts], axis=1)


def setup_burn_avgpool_ceil(rng):
    return {"W": rng.normal(size=(3, 5))}, rng.normal(size=(4, 3)), rng.normal(size=(4, 3))


def loss_burn_avgpool_ceil(params, X, y):
    return 0.5 * np.sum((avg_pool_ceil(X @ params["W"]) - y) ** 2)


def claimed_burn_avgpool_ceil(params, X, y):
    kernel = 2
    x = X @ params["W"]
    grad = avg_pool_ceil(x) - y
    dx = np.zeros_like(x)
    for o in range(grad.shape[1]):
        for k in range(kernel):
            if o * kernel + k < x.shape[1]:
                dx[:, o * kernel + k] += grad[:, o] / kernel
    return {"W": X.T @ dx}


# --- ttmetal_groupnorm_gamma ----------------------------------------------------------------


def group_stats(X, groups, eps=1e-5):
    N, _C, _L = X.shape
    xg = X.reshape(N, groups, -1)
    return xg.mean(axis=2), 1 / np.sqrt(xg.var(axis=2) + eps)


def setup_ttmetal_groupnorm_gamma(rng):
    params = {"gamma": 1 + 0.3 * rng.normal(size=4), "beta": rng.normal(size=4)}
    X = rng.normal(size=(2, 4, 3)) + rng.normal(size=(2, 4, 1))
    return params, X, rng.normal(size=(2, 4, 3))


def loss_ttmetal_groupnorm_gamma(params, X, y):
    mean, rstd = group_stats(X, 2)
    xhat = (X - np.repeat(mean, 2, axis=1)[..., None]) * np.repeat(rstd, 2, axis=1)[..., None]
    return 0.5 * np.sum((params["gamma"][:, None] * xhat + params["beta"][:, None] - y) ** 2)


def claimed_ttmetal_groupnorm_gamma(params, X, y):
    num_groups = 2
    mean, rstd = group_stats(X, num_groups)
    xhat = (X - np.repeat(mean, 2, axis=1)[..., None]) * np.repeat(rstd, 2, axis=1)[..., None]
    dout = params["gamma"][:, None] * xhat + params["beta"][:, None] - y
    dgamma, dbeta = np.zeros(4), np.zeros(4)
    for n in range(X.shape[0]):
        for c_idx in range(4):
            g_idx = c_idx % num_groups
            norm = (X[n, c_idx] - mean[n, g_idx]) * rstd[n, g_idx]
            dgamma[c_idx] += np.sum(dout[n, c_idx] * norm)
            dbeta[c_idx] += np.sum(dout[n, c_idx])
    return {"gamma": dgamma, "beta": dbeta}


# --- dlib_barlow_twins ----------------------------------------------------------------------


def batch_normalize_bt(z, eps=1e-4):
    invstd = 1 / np.sqrt(z.var(axis=0) + eps)
    return (z - z.mean(axis=0)) * invstd, invstd


def batch_normalize_gradient_bt(g, z_norm, invstd):
    return invstd * (g - g.mean(axis=0) - z_norm * (g * z_norm).mean(axis=0))


def setup_dlib_barlow_twins(rng):
    X = rng.normal(size=(6, 3))
    return {"W": rng.normal(size=(3, 3))}, X, X + 0.6 * rng.normal(size=(6, 3))


def loss_dlib_barlow_twins(params, X, y):
    lam = 0.2
    za, _ = batch_normalize_bt(X @ params["W"])
    zb, _ = batch_normalize_bt(y @ params["W"])
    C = za.T @ zb / len(X)
    diagonal_loss = np.sum((np.diag(C) - 1) ** 2)
    return diagonal_loss + lam * np.sum((C - np.diag(np.diag(C))) ** 2)


def claimed_dlib_barlow_twins(params, X, y):
    lam = 0.2
    za, invstd_a = batch_normalize_bt(X @ params["W"])
    zb, invstd_b = batch_normalize_bt(y @ params["W"])
    eccm = za.T @ zb / len(X)
    cdiag_1 = np.diag(np.diag(eccm) - 1)
    off_diag = eccm * (1 - np.eye(3))
    grad_a = 2 * zb @ cdiag_1 + 2 * lam * zb @ off_diag
    grad_b = 2 * za @ cdiag_1 + 2 * lam * za @ off_diag
    gza = batch_normalize_gradient_bt(grad_a, za, invstd_a)
    gzb = batch_normalize_gradient_bt(grad_b, zb, invstd_b)
    return {"W": X.T @ gza + y.T @ gzb}


# --- matlab_swapped_slope -------------------------------------------------------------------


def setup_matlab_swapped_slope(rng):
    params = {"t0": rng.normal(size=(1,)), "t1": rng.normal(size=(1,))}
    return params, np.arange(1.0, 9.0), 1.281 + 0.01 * rng.normal(size=8)


def loss_matlab_swapped_slope(params, X, y):
    return np.sum((y - (params["t0"] + params["t1"] * X)) ** 2) / len(X)


def claimed_matlab_swapped_slope(params, X, y):
    n = len(X)
    h_pred = params["t0"] + params["t1"] * X
    Dm = (2 / (2 * n)) * np.sum((h_pred - y) * X)
    Dc = (2 / (2 * n)) * np.sum(h_pred - y)
    return {"t0": np.array([Dm]), "t1": np.array([Dc])}


# --- so_movie_bias --------------------------------------------------------------------------

MOVIE_U = np.sin(1.0 + np.arange(8.0)).reshape(4, 2)
MOVIE_V = np.cos(1.0 + np.arange(6.0)).reshape(2, 3)
MOVIE_C = np.array([0.3, -0.2, 0.1])
MOVIE_MU, MOVIE_ALPHA = 3.5, 0.05


def setup_so_movie_bias(rng):
    X = np.c_[np.r_[np.arange(4), rng.integers(0, 4, size=3)], rng.integers(0, 3, size=7)]
    return {"b_i": 0.5 * rng.normal(size=4)}, X, rng.uniform(1, 5, size=7)


def loss_so_movie_bias(params, X, y):
    loss = 0.0
    for (user, item), rating in zip(X, y, strict=True):
        b, c = params["b_i"][user], MOVIE_C[item]
        error = rating - MOVIE_MU - b - c - MOVIE_U[user] @ MOVIE_V[:, item]
        loss += MOVIE_ALPHA * b**2 + error**2
    return loss


def claimed_so_movie_bias(params, X, y):
    def derivative_db(user_id, item_id, rating, U, V, mu, alpha):
        return (2 * alpha * np.sum(user_id)) - (
            2 * np.sum(rating - mu - user_id - item_id - np.dot(U, V))
        )

    g = np.zeros_like(params["b_i"])
    for (user, item), rating in zip(X, y, strict=True):
        g[user] += derivative_db(user, item, rating, MOVIE_U, MOVIE_V, MOVIE_MU, MOVIE_ALPHA)
    return {"b_i": g}


# --- cv_logreg_worse ------------------------------------------------------------------------


def setup_cv_logreg_worse(rng):
    X = np.c_[np.ones(8), rng.normal(size=(8, 2))]
    return {"theta": rng.normal(size=(1, 3))}, X, rng.integers(0, 2, size=(8, 1)).astype(float)


def loss_cv_logreg_worse(params, X, y):
    ALPHA = 0.1
    h = sigmoid(X @ params["theta"].T)
    return (ALPHA / len(X)) * np.sum(y.T @ np.log(h) - (1 - y).T @ np.log(1 - h))


def claimed_cv_logreg_worse(params, X, y):
    h = sigmoid(X @ params["theta"].T)
    return {"theta": (X.T @ (h - y)).T / len(X)}


# --- diffusers_attention_layout -------------------------------------------------------------


def heads_bshd(X, W, H):
    B, S, _ = X.shape
    return (X @ W).reshape(B, S, H, -1)


def attention_bhsd(q, k, v):
    s = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
    lse = np.log(np.exp(s).sum(axis=-1, keepdims=True))
    return np.exp(s - lse) @ v, lse


def setup_diffusers_attention_layout(rng):
    params = {k: rng.normal(size=(4, 6)) / 2 for k in ("Wq", "Wk", "Wv")}
    return params, rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 3, 3, 2))


def loss_diffusers_attention_layout(params, X, y):
    q, k, v = (heads_bshd(X, params[n], 3).swapaxes(1, 2) for n in ("Wq", "Wk", "Wv"))
    out, _ = attention_bhsd(q, k, v)
    return 0.5 * np.sum((out.swapaxes(1, 2) - y) ** 2)


def claimed_diffusers_attention_layout(params, X, y):
    query, key, value = (heads_bshd(X, params[n], 3).swapaxes(1, 2) for n in ("Wq", "Wk", "Wv"))
    out, lse = attention_bhsd(query, key, value)
    grad_out = (out.swapaxes(1, 2) - y).swapaxes(1, 2)
    key, value = key.swapaxes(1, 2), value.swapaxes(1, 2)
    scale = 1 / np.sqrt(query.shape[-1])
    p = np.exp(query @ np.swapaxes(key, -1, -2) * scale - lse)
    d_value = np.swapaxes(p, -1, -2) @ grad_out
    dp = grad_out @ np.swapaxes(value, -1, -2)
    ds = p * (dp - np.sum(grad_out * out, axis=-1, keepdims=True))
    d_query = ds @ key * scale
    d_key = np.swapaxes(ds, -1, -2) @ query * scale
    grads = {}
    for name, d in (("Wq", d_query), ("Wk", d_key), ("Wv", d_value)):
        flat = d.swapaxes(1, 2).reshape(X.shape[0], X.shape[1], -1)
        grads[name] = np.einsum("bse,bsf->ef", X, flat)
    return grads


# --- skynet_activation_twice ----------------------------------------------------------------


def activation_skynet(x, derivative):
    fx = 1 / (1 + np.exp(-x))
    if derivative:
        return fx * (1 - fx)
    return fx


def setup_skynet_activation_twice(rng):
    params = {
        "synapse0": rng.uniform(-1, 1, size=(3, 4)),
        "synapse1": rng.uniform(-1, 1, size=(4, 1)),
    }
    X = np.array([[0.0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1]])
    return params, X, np.array([[0.0], [1], [1], [0]])


def loss_skynet_activation_twice(params, X, y):
    hidden = activation_skynet(X @ params["synapse0"], False)
    return 0.5 * np.sum((y - activation_skynet(hidden @ params["synapse1"], False)) ** 2)


def claimed_skynet_activation_twice(params, X, y):
    hidden_layer = activation_skynet(X @ params["synapse0"], False)
    output_layer = activation_skynet(hidden_layer @ params["synapse1"], False)
    output_error = y - output_layer
    output_delta = output_error * activation_skynet(output_layer, True)
    hidden_error = output_delta @ params["synapse1"].T
    hidden_delta = hidden_error * activation_skynet(hidden_layer, True)
    return {"synapse0": -(X.T @ hidden_delta), "synapse1": -(hidden_layer.T @ output_delta)}


# --- right: darknet_mish --------------------------------------------------------------------


def setup_darknet_mish(rng):
    params = {"W": rng.normal(size=(3, 4)), "b": rng.normal(size=4)}
    return params, rng.normal(size=(5, 3)), rng.normal(size=(5, 4))


def loss_darknet_mish(params, X, y):
    inp = X @ params["W"] + params["b"]
    return 0.5 * np.sum((inp * np.tanh(np.log1p(np.exp(inp))) - y) ** 2)


def claimed_darknet_mish(params, X, y):
    inp = X @ params["W"] + params["b"]
    sp = np.log1p(np.exp(inp))
    grad_sp = 1 - np.exp(-sp)
    tsp = np.tanh(sp)
    grad_tsp = (1 - tsp * tsp) * grad_sp
    delta = (inp * tsp - y) * (inp * grad_tsp + tsp)
    return {"W": X.T @ delta, "b": delta.sum(axis=0)}


# --- right: darknet_batchnorm_mean ----------------------------------------------------------


def setup_darknet_batchnorm_mean(rng):
    params = {
        "weights": rng.normal(size=(3, 4)),
        "scales": 1 + 0.3 * rng.normal(size=4),
        "biases": rng.normal(size=4),
    }
    return params, rng.normal(size=(6, 3)), rng.normal(size=(6, 4))


def loss_darknet_batchnorm_mean(params, X, y):
    x = X @ params["weights"]
    x_norm = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 0.00001)
    return 0.5 * np.sum((params["scales"] * x_norm + params["biases"] - y) ** 2)


def claimed_darknet_batchnorm_mean(params, X, y):
    x = X @ params["weights"]
    batch, mean, variance = len(x), x.mean(axis=0), x.var(axis=0)
    x_norm = (x - mean) / np.sqrt(variance + 0.00001)
    delta = params["scales"] * x_norm + params["biases"] - y
    bias_updates = delta.sum(axis=0)
    scale_updates = (delta * x_norm).sum(axis=0)
    delta = delta * params["scales"]
    mean_delta = delta.sum(axis=0) * (-1 / np.sqrt(variance + 0.00001))
    variance_delta = (delta * (x - mean)).sum(axis=0) * -0.5 * (variance + 0.00001) ** -1.5
    delta = (
        delta / np.sqrt(variance + 0.00001)
        + variance_delta * 2 * (x - mean) / batch
        + mean_delta / batch
    )
    return {"weights": X.T @ delta, "scales": scale_updates, "biases": bias_updates}


# --- right: torch_triplet_embedding ---------------------------------------------------------


def setup_torch_triplet_embedding(rng):
    return {"W": rng.normal(size=(3, 4))}, rng.normal(size=(6, 3, 3)), np.full(6, 2.0)


def loss_torch_triplet_embedding(params, X, y):
    a, p, n = (X[:, i] @ params["W"] for i in range(3))
    Li = np.maximum(0, y + np.sum((a - p) ** 2, axis=1) - np.sum((a - n) ** 2, axis=1))
    return Li.sum() / len(X)


def claimed_torch_triplet_embedding(params, X, y):
    a, p, n = (X[:, i] @ params["W"] for i in range(3))
    N = len(X)
    Li = np.maximum(0, y + np.sum((a - p) ** 2, axis=1) - np.sum((a - n) ** 2, axis=1))
    on = (Li > 0)[:, None] * 2 / N
    grad_input = [(n - p) * on, (p - a) * on, (a - n) * on]
    return {"W": sum(X[:, i].T @ g for i, g in enumerate(grad_input))}


# --- right: gpuenabler_logistic -------------------------------------------------------------


def setup_gpuenabler_logistic(rng):
    return {"w": rng.normal(size=4)}, rng.normal(size=(8, 4)), rng.choice([-1.0, 1.0], size=8)


def loss_gpuenabler_logistic(params, X, y):
    return np.sum(np.log(1 + np.exp(-y * (X @ params["w"]))))


def claimed_gpuenabler_logistic(params, X, y):
    g = np.zeros_like(params["w"])
    for x, label in zip(X, y, strict=True):
        g += x * (1 / (1 + np.exp(-label * (params["w"] @ x))) - 1) * label
    return {"w": g}


# --- right: nn_assignments_softmax ----------------------------------------------------------


def setup_nn_assignments_softmax(rng):
    return {"Theta": rng.normal(size=(4, 3))}, rng.normal(size=(4, 7)), rng.integers(0, 3, size=7)


def softmax_columns(A):
    e = np.exp(A - A.max(axis=0))
    return e / e.sum(axis=0)


def loss_nn_assignments_softmax(params, X, y):
    P = softmax_columns(params["Theta"].T @ X)
    return -np.mean(np.log(P[y, np.arange(len(y))]))


def claimed_nn_assignments_softmax(params, X, y):
    num_samples = X.shape[1]
    P = softmax_columns(params["Theta"].T @ X)
    dLdA = P.copy()
    dLdA[y, np.arange(num_samples)] -= 1
    dLdA /= num_samples
    return {"Theta": np.dot(X, dLdA.T)}


# --- right: libnd4j_swish -------------------------------------------------------------------


def setup_libnd4j_swish(rng):
    params = {"W": rng.normal(size=(3, 4)), "b": rng.normal(size=4)}
    return params, rng.normal(size=(5, 3)), rng.normal(size=(5, 4))


def loss_libnd4j_swish(params, X, y):
    d1 = X @ params["W"] + params["b"]
    return np.mean((d1 * sigmoid(d1) - y) ** 2)


def claimed_libnd4j_swish(params, X, y):
    d1 = X @ params["W"] + params["b"]
    ex = np.exp(d1)
    swish_derivative = ex * (d1 + ex + 1) / (ex + 1) ** 2
    dz = 2 * (d1 * sigmoid(d1) - y) / y.size * swish_derivative
    return {"W": X.T @ dz, "b": dz.sum(axis=0)}


# --- right: dlai_planar_dz_over_m -----------------------------------------------------------


def setup_dlai_planar_dz_over_m(rng):
    params = {
        "W1": rng.normal(size=(4, 2)),
        "b1": rng.normal(size=(4, 1)),
        "W2": rng.normal(size=(1, 4)),
        "b2": rng.normal(size=(1, 1)),
    }
    return params, rng.normal(size=(2, 7)), rng.integers(0, 2, size=(1, 7)).astype(float)


def loss_dlai_planar_dz_over_m(params, X, y):
    A1 = np.tanh(params["W1"] @ X + params["b1"])
    A2 = sigmoid(params["W2"] @ A1 + params["b2"])
    return -np.sum(y * np.log(A2) + (1 - y) * np.log(1 - A2)) / y.shape[1]


def claimed_dlai_planar_dz_over_m(params, X, y):
    m = X.shape[1]
    A1 = np.tanh(params["W1"] @ X + params["b1"])
    A2 = sigmoid(params["W2"] @ A1 + params["b2"])
    dZ2 = (1 / m) * (A2 - y)
    dW2 = dZ2 @ A1.T
    db2 = np.sum(dZ2, axis=1, keepdims=True)
    dZ1 = (params["W2"].T @ dZ2) * (1 - np.power(A1, 2))
    dW1 = dZ1 @ X.T
    db1 = np.sum(dZ1, axis=1, keepdims=True)
    return {"W1": dW1, "b1": db1, "W2": dW2, "b2": db2}


# --- right: lossfunctions_crossentropy ------------------------------------------------------


def setup_lossfunctions_crossentropy(rng):
    params = {"w": rng.normal(size=3), "b": rng.normal(size=(1,))}
    return params, rng.normal(size=(8, 3)), rng.uniform(size=8)


def loss_lossfunctions_crossentropy(params, X, y):
    output = sigmoid(X @ params["w"] + params["b"])
    return np.sum(-y * np.log(output) - (1 - y) * np.log(1 - output))


def claimed_lossfunctions_crossentropy(params, X, y):
    def deriv(target, output):
        return (1 - target) / (1 - output) - target / output

    output = sigmoid(X @ params["w"] + params["b"])
    d = deriv(y, output) * output * (1 - output)
    return {"w": X.T @ d, "b": np.array([d.sum()])}


# --- right: cs224n_negative_sampling_target -------------------------------------------------


def setup_cs224n_negative_sampling_target(rng):
    params = {"inputVectors": rng.normal(size=(5, 3)), "outputVectors": rng.normal(size=(5, 3))}
    X = rng.integers(0, 5, size=(6, 2))
    y = np.array([rng.choice([k for k in range(5) if k != t], size=4) for t in X[:, 1]])
    return params, X, y


def loss_cs224n_negative_sampling_target(params, X, y):
    cost = 0.0
    for (center, target), negatives in zip(X, y, strict=True):
        predicted = params["inputVectors"][center]
        sample = params["outputVectors"][[target, *negatives]]
        cost -= np.log(sigmoid(params["outputVectors"][target] @ predicted))
        cost -= np.sum(np.log(sigmoid(-sample @ predicted)))
    return cost


def claimed_cs224n_negative_sampling_target(params, X, y):
    gradIn = np.zeros_like(params["inputVectors"])
    gradOut = np.zeros_like(params["outputVectors"])
    for (center, target), negatives in zip(X, y, strict=True):
        predicted = params["inputVectors"][center]
        indices = [target, *negatives]
        u0 = params["outputVectors"][target]
        sample = params["outputVectors"][indices]
        s = sigmoid(-sample @ predicted)[:, None]
        s0 = sigmoid(u0 @ predicted)
        gradIn[center] += (s0 - 1.0) * u0 - np.sum((s - 1.0) * sample, axis=0)
        np.add.at(gradOut, indices, -(s - 1.0) * np.tile(predicted, (len(indices), 1)))
        gradOut[target] += (s0 - 1.0) * predicted
    return {"inputVectors": gradIn, "outputVectors": gradOut}


# --- right: skalski_divide_by_m -------------------------------------------------------------


def skalski_forward(params, X):
    memory, A = {"A0": X}, X
    for layer in (1, 2, 3):
        Z = params[f"W{layer}"] @ A + params[f"b{layer}"]
        A = sigmoid(Z) if layer == 3 else np.maximum(0, Z)
        memory[f"Z{layer}"], memory[f"A{layer}"] = Z, A
    return A, memory


def setup_skalski_divide_by_m(rng):
    params = {}
    for layer, (n_in, n_out) in enumerate([(2, 5), (5, 4), (4, 1)], start=1):
        params[f"W{layer}"] = rng.normal(size=(n_out, n_in))
        params[f"b{layer}"] = 0.3 * rng.normal(size=(n_out, 1))
    return params, rng.normal(size=(2, 6)), rng.integers(0, 2, size=(1, 6)).astype(float)


def loss_skalski_divide_by_m(params, X, y):
    Y_hat, _ = skalski_forward(params, X)
    m = Y_hat.shape[1]
    cost = -1 / m * (np.dot(y, np.log(Y_hat).T) + np.dot(1 - y, np.log(1 - Y_hat).T))
    return float(cost[0, 0])


def claimed_skalski_divide_by_m(params, X, y):
    Y_hat, memory = skalski_forward(params, X)
    m = y.shape[1]
    grads = {}
    dA = -(np.divide(y, Y_hat) - np.divide(1 - y, 1 - Y_hat))
    for layer in (3, 2, 1):
        Z, A_prev = memory[f"Z{layer}"], memory[f"A{layer - 1}"]
        if layer == 3:
            dZ = dA * sigmoid(Z) * (1 - sigmoid(Z))
        else:
            dZ = np.array(dA, copy=True)
            dZ[Z <= 0] = 0
        grads[f"W{layer}"] = np.dot(dZ, A_prev.T) / m
        grads[f"b{layer}"] = np.sum(dZ, axis=1, keepdims=True) / m
        dA = np.dot(params[f"W{layer}"].T, dZ)
    return grads

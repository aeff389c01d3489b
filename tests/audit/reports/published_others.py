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


# --- apiquet_softmax_1: only the diagonal of the softmax's Jacobian --------------------------


def setup_apiquet_softmax_1(rng):
    return two_layers(rng, (3, 5, 4)), rng.normal(size=(6, 3)), np.eye(4)[rng.integers(4, size=6)]


def apiquet_forward(params, X):
    h = np.maximum(X @ params["W1"] + params["b1"], 0)
    return h, softmax(h @ params["W2"] + params["b2"])


def loss_apiquet_softmax_1(params, X, y):
    return np.sum((apiquet_forward(params, X)[1] - y) ** 2) / len(y)


def claimed_apiquet_softmax_1(params, X, y):
    h, out = apiquet_forward(params, X)
    dout = 2 * (out - y) / len(y)
    dscores = dout * (out * (1 - out))
    dh = dscores @ params["W2"].T * (h > 0)
    return {
        "W1": X.T @ dh,
        "b1": dh.sum(axis=0),
        "W2": h.T @ dscores,
        "b2": dscores.sum(axis=0),
    }


# --- aidotnet_722: the gradient of the state set to zero after each step ---------------------


def setup_aidotnet_722(rng):
    params = {
        "Wi": 0.6 * rng.normal(size=(8, 3)),
        "Wh": 0.6 * rng.normal(size=(8, 2)),
        "bias": 0.3 * rng.normal(size=8),
    }
    return params, rng.normal(size=(4, 5, 3)), rng.normal(size=(4, 5, 2))


def aidotnet_steps(params, X):
    """Gates, cells and states of each step; gates in the order i, f, g, o."""
    H = params["Wh"].shape[1]
    h = c = np.zeros((len(X), H))
    steps = []
    for t in range(X.shape[1]):
        z = X[:, t] @ params["Wi"].T + h @ params["Wh"].T + params["bias"]
        i, f, o = sigmoid(z[:, :H]), sigmoid(z[:, H : 2 * H]), sigmoid(z[:, 3 * H :])
        g = np.tanh(z[:, 2 * H : 3 * H])
        c_prev, h_prev = c, h
        c = f * c_prev + i * g
        h = o * np.tanh(c)
        steps.append((i, f, g, o, c, c_prev, h, h_prev))
    return steps


def loss_aidotnet_722(params, X, y):
    return 0.5 * sum(np.sum((s[6] - y[:, t]) ** 2) for t, s in enumerate(aidotnet_steps(params, X)))


def claimed_aidotnet_722(params, X, y):
    grads = {k: np.zeros_like(v) for k, v in params.items()}
    dH = dC = np.zeros_like(y[:, 0])
    steps = aidotnet_steps(params, X)
    for t in reversed(range(X.shape[1])):
        i, f, g, o, c, c_prev, h, h_prev = steps[t]
        dH = dH + (h - y[:, t])
        dO = dH * np.tanh(c) * o * (1 - o)
        dC = dC + dH * o * (1 - np.tanh(c) ** 2)
        dF = dC * c_prev * f * (1 - f)
        dI = dC * g * i * (1 - i)
        dG = dC * i * (1 - g**2)
        gates = np.concatenate([dI, dF, dG, dO], axis=1)
        grads["Wi"] += gates.T @ X[:, t]
        grads["Wh"] += gates.T @ h_prev
        grads["bias"] += gates.sum(axis=0)
        dH = np.zeros_like(dH)
        dC = dC * f
    return grads


# --- mniml_22: every entry within a tolerance of the maximum gets the whole gradient ---------


def setup_mniml_22(rng):
    X = rng.normal(size=(6, 4, 3))
    X[:, 2] = X[:, 1] + 1e-3 * rng.normal(size=(6, 3))
    return two_layers(rng, (3, 4, 2)), X, rng.normal(size=(6, 2))


def mniml_forward(params, X):
    h = np.tanh(X @ params["W1"] + params["b1"])
    top = h.max(axis=1)
    return h, top, top @ params["W2"] + params["b2"]


def loss_mniml_22(params, X, y):
    return np.mean(np.sum((mniml_forward(params, X)[2] - y) ** 2, axis=1))


def claimed_mniml_22(params, X, y):
    h, top, out = mniml_forward(params, X)
    dout = 2 * (out - y) / len(y)
    dtop = dout @ params["W2"].T
    mask = np.abs(h - top[:, None]) < 1e-2
    dz = dtop[:, None] * mask * (1 - h**2)
    return {
        "W1": np.einsum("nti,nth->ih", X, dz),
        "b1": dz.sum(axis=(0, 1)),
        "W2": top.T @ dout,
        "b2": dout.sum(axis=0),
    }


# --- interviews_4: x (1 - x) of what goes into the sigmoid -----------------------------------


def setup_interviews_4(rng):
    params = {"w": rng.normal(size=3), "b": rng.normal(size=1)}
    return params, rng.normal(size=(7, 3)), rng.uniform(size=7)


def loss_interviews_4(params, X, y):
    return np.mean((sigmoid(X @ params["w"] + params["b"]) - y) ** 2)


def interviews_derivative(x):
    return x * (1 - x)


def claimed_interviews_4(params, X, y):
    z = X @ params["w"] + params["b"]
    error = 2 * (sigmoid(z) - y) / len(y)
    delta = error * interviews_derivative(z)
    return {"w": X.T @ delta, "b": delta.sum(keepdims=True)}


# --- npconv2d_2: the width padded by what the height asks for --------------------------------


def setup_npconv2d_2(rng):
    params = {"w1": 0.5 * rng.normal(size=(3, 3, 1, 2)), "w2": 0.5 * rng.normal(size=(3, 3, 2, 1))}
    return params, rng.normal(size=(3, 4, 6, 1)), rng.normal(size=(3, 4, 6, 1))


def same_conv(x, w):
    """Cross-correlate [N, H, W, C] with [3, 3, C, K], zeros around."""
    _, H, W, _ = x.shape
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return sum(
        padded[:, i : i + H, j : j + W] @ w[i, j] for i in range(w.shape[0]) for j in range(3)
    )


def loss_npconv2d_2(params, X, y):
    h = np.tanh(same_conv(X, params["w1"]))
    return 0.5 * np.mean(np.sum((same_conv(h, params["w2"]) - y) ** 2, axis=(1, 2, 3)))


def npconv2d_pad(size, out, k):
    return out - 1 + k - size


def npconv2d_gradx(w, dy, size):
    H, W = size
    pad_h = npconv2d_pad(dy.shape[1], H, w.shape[0])
    pad_w = npconv2d_pad(dy.shape[1], W, w.shape[1])
    flipped = w[::-1, ::-1].transpose(0, 1, 3, 2)
    around = (0, 0), (pad_h // 2, pad_h - pad_h // 2), (pad_w // 2, pad_w - pad_w // 2), (0, 0)
    padded = np.pad(dy, around)
    dx = np.zeros((len(dy), H, W, w.shape[2]))
    for i in range(w.shape[0]):
        for j in range(w.shape[1]):
            dx += padded[:, i : i + H, j : j + W] @ flipped[i, j]
    return dx


def npconv2d_gradw(x, dy):
    _, H, W, _ = x.shape
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    dw = np.zeros((3, 3, x.shape[3], dy.shape[3]))
    for i in range(3):
        for j in range(3):
            dw[i, j] = np.einsum("nhwc,nhwk->ck", padded[:, i : i + H, j : j + W], dy)
    return dw


def claimed_npconv2d_2(params, X, y):
    h = np.tanh(same_conv(X, params["w1"]))
    dy = (same_conv(h, params["w2"]) - y) / len(y)
    dh = npconv2d_gradx(params["w2"], dy, h.shape[1:3])
    return {"w1": npconv2d_gradw(X, dh * (1 - h**2)), "w2": npconv2d_gradw(h, dy)}


# --- k2_341: a function's backward pass without what comes from above ------------------------


def setup_k2_341(rng):
    return two_layers(rng, (3, 4, 5)), rng.normal(size=(6, 3)), rng.integers(5, size=6)


def k2_scores(params, X):
    h = np.tanh(X @ params["W1"] + params["b1"])
    return h, h @ params["W2"] + params["b2"]


def loss_k2_341(params, X, y):
    _, scores = k2_scores(params, X)
    total = np.log(np.sum(np.exp(scores), axis=1))
    return np.mean(total - scores[np.arange(len(y)), y])


def claimed_k2_341(params, X, y):
    h, scores = k2_scores(params, X)
    n = len(y)
    dscores = softmax(scores)
    dscores[np.arange(n), y] += 1
    dz = dscores @ params["W2"].T * (1 - h**2)
    return {
        "W1": X.T @ dz,
        "b1": dz.sum(axis=0),
        "W2": h.T @ dscores,
        "b2": dscores.sum(axis=0),
    }


# --- joey_5: overlapping windows of a max pool overwrite each other --------------------------


def setup_joey_5(rng):
    params = {
        "K": 0.7 * rng.normal(size=(2, 2)),
        "bias": 0.2 * rng.normal(size=1),
        "W": 0.6 * rng.normal(size=(9, 2)),
    }
    return params, rng.normal(size=(5, 5, 5)), rng.normal(size=(5, 2))


def joey_forward(params, X):
    K = params["K"]
    z = sum(K[a, b] * X[:, a : a + 4, b : b + 4] for a in range(2) for b in range(2))
    h = np.tanh(z + params["bias"])
    windows = np.stack([h[:, a : a + 3, b : b + 3] for a in range(2) for b in range(2)])
    return h, windows.max(axis=0)


def loss_joey_5(params, X, y):
    _, pooled = joey_forward(params, X)
    return np.mean((pooled.reshape(len(X), 9) @ params["W"] - y) ** 2)


def claimed_joey_5(params, X, y):
    h, pooled = joey_forward(params, X)
    flat = pooled.reshape(len(X), 9)
    dout = 2 * (flat @ params["W"] - y) / y.size
    dpooled = (dout @ params["W"].T).reshape(pooled.shape)
    dh = np.zeros_like(h)
    for n in range(len(X)):
        for r in range(3):
            for c in range(3):
                window = h[n, r : r + 2, c : c + 2]
                a, b = np.unravel_index(window.argmax(), (2, 2))
                dh[n, r + a, c + b] = dpooled[n, r, c]
    dz = dh * (1 - h**2)
    dK = np.zeros((2, 2))
    for a in range(2):
        for b in range(2):
            dK[a, b] = np.sum(dz * X[:, a : a + 4, b : b + 4])
    return {"K": dK, "bias": np.array([dz.sum()]), "W": flat.T @ dout}


# --- mxnet_18203: one direction's input gradient written over what the other is to use -------


def setup_mxnet_18203(rng):
    params = {}
    for layer, size in enumerate((2, 4, 4), 1):
        for way in "lr":
            params[f"x{way}{layer}"] = 0.6 * rng.normal(size=(size, 2))
            params[f"h{way}{layer}"] = 0.6 * rng.normal(size=(2, 2))
    return params, rng.normal(size=(3, 5, 2)), rng.normal(size=(3, 5, 4))


def mxnet_states(params, X):
    """Inputs [T, N, I] of each layer, then the output; each layer goes both ways."""
    inputs = [X]
    for layer in (1, 2, 3):
        both = []
        for way in "lr":
            steps = inputs[-1] if way == "l" else inputs[-1][::-1]
            h, states = np.zeros((X.shape[1], 2)), []
            for x in steps:
                h = np.tanh(x @ params[f"x{way}{layer}"] + h @ params[f"h{way}{layer}"])
                states.append(h)
            both.append(np.stack(states if way == "l" else states[::-1]))
        inputs.append(np.concatenate(both, axis=2))
    return inputs


def loss_mxnet_18203(params, X, y):
    return 0.5 * np.sum((mxnet_states(params, X)[-1] - y) ** 2)


def mxnet_one_way(Wx, Wh, x, h, dy):
    """The gradients of one direction, its steps in the order in which it takes them."""
    dWx, dWh, dx, carried = np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(x), 0.0
    for t in reversed(range(len(x))):
        dz = (dy[t] + carried) * (1 - h[t] ** 2)
        dWx += x[t].T @ dz
        if t > 0:
            dWh += h[t - 1].T @ dz
        dx[t] = dz @ Wx.T
        carried = dz @ Wh.T
    return dWx, dWh, dx


def claimed_mxnet_18203(params, X, y):
    inputs = mxnet_states(params, X)
    grads = {}
    dy = inputs[-1] - y
    for layer in (3, 2, 1):
        x, h = inputs[layer - 1], inputs[layer]
        left = params[f"xl{layer}"], params[f"hl{layer}"]
        right = params[f"xr{layer}"], params[f"hr{layer}"]
        grads[f"xl{layer}"], grads[f"hl{layer}"], dx = mxnet_one_way(
            *left, x, h[..., :2], dy[..., :2]
        )
        if layer == 2:
            dy = dx
        grads[f"xr{layer}"], grads[f"hr{layer}"], dback = mxnet_one_way(
            *right, x[::-1], h[::-1, :, 2:], dy[::-1, :, 2:]
        )
        dy = dx + dback[::-1]
    return grads


# --- dfdx_915: brackets left out of the derivative of silu -----------------------------------


def setup_dfdx_915(rng):
    return two_layers(rng, (3, 5, 2)), rng.normal(size=(7, 3)), rng.normal(size=(7, 2))


def loss_dfdx_915(params, X, y):
    z = X @ params["W1"] + params["b1"]
    h = z / (1 + np.exp(-z))
    return np.mean(np.sum((h @ params["W2"] + params["b2"] - y) ** 2, axis=1))


def dfdx_silu_df(x):
    e = np.exp(-x)
    return 1 + e + x * e / (1 + e) ** 2


def claimed_dfdx_915(params, X, y):
    z = X @ params["W1"] + params["b1"]
    h = z / (1 + np.exp(-z))
    dout = 2 * (h @ params["W2"] + params["b2"] - y) / len(y)
    dz = dout @ params["W2"].T * dfdx_silu_df(z)
    return {"W1": X.T @ dz, "b1": dz.sum(0), "W2": h.T @ dout, "b2": dout.sum(0)}


# --- chainer_5898: everything goes back where the slope is 0 ---------------------------------


def setup_chainer_5898(rng):
    return two_layers(rng, (4, 6, 3)), rng.normal(size=(8, 4)), rng.integers(3, size=8)


def chainer_leaky(x, slope):
    return np.where(x >= 0, x, slope * x)


def loss_chainer_5898(params, X, y):
    h = chainer_leaky(X @ params["W1"] + params["b1"], 0.0)
    p = softmax(h @ params["W2"] + params["b2"])
    return -np.mean(np.log(p[np.arange(len(y)), y]))


def chainer_leaky_grad(y, gy, slope):
    """From the output, whose sign is the input's where the slope is positive."""
    gx = gy.copy()
    gx[y < 0] *= slope
    return gx


def claimed_chainer_5898(params, X, y):
    h = chainer_leaky(X @ params["W1"] + params["b1"], 0.0)
    d = softmax(h @ params["W2"] + params["b2"])
    d[np.arange(len(y)), y] -= 1
    d /= len(y)
    dz = chainer_leaky_grad(h, d @ params["W2"].T, 0.0)
    return {"W1": X.T @ dz, "b1": dz.sum(0), "W2": h.T @ d, "b2": d.sum(0)}


# --- dl4j_8178: the derivative of a leaky ReLU without its alpha -----------------------------


def setup_dl4j_8178(rng):
    return two_layers(rng, (3, 6, 2)), rng.normal(size=(8, 3)), rng.normal(size=(8, 2))


def loss_dl4j_8178(params, X, y):
    z = X @ params["W1"] + params["b1"]
    h = np.where(z < 0, 0.2 * z, z)
    return np.mean((h @ params["W2"] + params["b2"] - y) ** 2)


def claimed_dl4j_8178(params, X, y):
    z = X @ params["W1"] + params["b1"]
    h = np.where(z < 0, 0.2 * z, z)
    dout = 2 * (h @ params["W2"] + params["b2"] - y) / y.size
    dh = dout @ params["W2"].T
    dz = np.where(z >= 0, dh, 0.0)
    return {"W1": X.T @ dz, "b1": dz.sum(0), "W2": h.T @ dout, "b2": dout.sum(0)}


# --- spikingjelly_413: 1 / w for 1 / 2w inside the window ------------------------------------


def setup_spikingjelly_413(rng):
    return two_layers(rng, (3, 6, 2)), rng.normal(size=(8, 3)), rng.normal(size=(8, 2))


def spikingjelly_g(x, w=0.8, c=0.05):
    inside = x / (2 * w) + 0.5
    return np.where(x < -w, c * x + c * w, np.where(x > w, c * x - c * w + 1, inside))


def loss_spikingjelly_413(params, X, y):
    h = spikingjelly_g(X @ params["W1"] + params["b1"])
    return np.mean(np.sum((h @ params["W2"] + params["b2"] - y) ** 2, axis=1))


def spikingjelly_backward(grad, x, w=0.8, c=0.05):
    return grad * np.where(np.abs(x) > w, c, 1 / w)


def claimed_spikingjelly_413(params, X, y):
    z = X @ params["W1"] + params["b1"]
    h = spikingjelly_g(z)
    dout = 2 * (h @ params["W2"] + params["b2"] - y) / len(y)
    dz = spikingjelly_backward(dout @ params["W2"].T, z)
    return {"W1": X.T @ dz, "b1": dz.sum(0), "W2": h.T @ dout, "b2": dout.sum(0)}


# --- tf_14676: multiplied by the standard deviation where it should be divided ---------------


def setup_tf_14676(rng):
    params = {
        "W": rng.normal(size=(3, 4)),
        "gamma": rng.uniform(0.5, 1.5, size=4),
        "beta": 0.3 * rng.normal(size=4),
        "V": rng.normal(size=(4, 2)),
    }
    return params, 2 * rng.normal(size=(8, 3)), rng.normal(size=(8, 2))


def tf_normalised(params, X):
    z = X @ params["W"]
    mu, var = z.mean(axis=0), z.var(axis=0)
    return z, mu, var, params["gamma"] * (z - mu) / np.sqrt(var + 1e-3) + params["beta"]


def loss_tf_14676(params, X, y):
    return 0.5 * np.mean(np.sum((np.tanh(tf_normalised(params, X)[3]) @ params["V"] - y) ** 2, 1))


def claimed_tf_14676(params, X, y):
    z, mu, var, out = tf_normalised(params, X)
    a = np.tanh(out)
    d = (a @ params["V"] - y) / len(y)
    dout = d @ params["V"].T * (1 - a**2)
    std = np.sqrt(var + 1e-3)
    xhat = (z - mu) / std
    dgamma = np.sum(dout * (z - mu) * std, axis=0)
    dbeta = dout.sum(axis=0)
    dxhat = dout * params["gamma"]
    dz = (dxhat - dxhat.mean(axis=0) - xhat * np.mean(dxhat * xhat, axis=0)) / std
    return {"W": X.T @ dz, "gamma": dgamma, "beta": dbeta, "V": a.T @ d}


# --- mlfs_124: 1 / n left out -----------------------------------------------------------------


def setup_mlfs_124(rng):
    return {"param": rng.normal(size=4)}, rng.normal(size=(9, 4)), rng.integers(2, size=9) * 1.0


def loss_mlfs_124(params, X, y):
    p = sigmoid(X.dot(params["param"]))
    return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))


def claimed_mlfs_124(params, X, y):
    y_pred = sigmoid(X.dot(params["param"]))
    return {"param": -(y - y_pred).dot(X)}


# --- ufldl_29: the label inside the hypothesis -------------------------------------------------


def setup_ufldl_29(rng):
    return {"theta": rng.normal(size=3)}, rng.normal(size=(8, 3)), rng.integers(2, size=8) * 1.0


def loss_ufldl_29(params, X, y):
    h = sigmoid(X @ params["theta"])
    return -np.sum(y * np.log(h) + (1 - y) * np.log(1 - h))


def claimed_ufldl_29(params, X, y):
    theta = params["theta"]
    grad = np.zeros_like(theta)
    for i in range(len(X)):
        grad += X[i] * sigmoid(theta @ (X[i] - y[i]))
    return {"theta": grad}


# --- aprender_2182: divided by the batch where the loss is a sum ------------------------------


def setup_aprender_2182(rng):
    return two_layers(rng, (4, 5, 3)), rng.normal(size=(6, 4)), rng.integers(3, size=6)


def loss_aprender_2182(params, X, y):
    h = np.maximum(X @ params["W1"] + params["b1"], 0)
    p = softmax(h @ params["W2"] + params["b2"])
    return -np.sum(np.log(p[np.arange(len(y)), y]))


def claimed_aprender_2182(params, X, y):
    h = np.maximum(X @ params["W1"] + params["b1"], 0)
    grad = softmax(h @ params["W2"] + params["b2"])
    batch = len(y)
    grad[np.arange(batch), y] -= 1.0
    grad = grad / batch
    dz = grad @ params["W2"].T * (h > 0)
    return {"W1": X.T @ dz, "b1": dz.sum(0), "W2": h.T @ grad, "b2": grad.sum(0)}


# --- dl4j_8280: the bias's gradient of one layout summed over the axes of the other ----------


def setup_dl4j_8280(rng):
    params = {
        "K": 0.5 * rng.normal(size=(2, 2, 2, 3)),
        "b": 0.3 * rng.normal(size=3),
        "W": 0.5 * rng.normal(size=(27, 2)),
    }
    return params, rng.normal(size=(4, 4, 4, 2)), rng.normal(size=(4, 2))


def dl4j_conv(params, X):
    K = params["K"]
    z = sum(X[:, i : i + 3, j : j + 3] @ K[i, j] for i in range(2) for j in range(2))
    return np.tanh(z + params["b"])


def loss_dl4j_8280(params, X, y):
    h = dl4j_conv(params, X)
    return 0.5 * np.mean(np.sum((h.reshape(len(X), -1) @ params["W"] - y) ** 2, axis=1))


def claimed_dl4j_8280(params, X, y):
    h = dl4j_conv(params, X)
    flat = h.reshape(len(X), -1)
    d = (flat @ params["W"] - y) / len(y)
    dz = (d @ params["W"].T).reshape(h.shape) * (1 - h**2)
    dK = np.zeros_like(params["K"])
    for i in range(2):
        for j in range(2):
            dK[i, j] = np.einsum("nhwc,nhwk->ck", X[:, i : i + 3, j : j + 3], dz)
    return {"K": dK, "b": dz.sum(axis=(0, 2, 3)), "W": flat.T @ d}


# --- dl500_466: the derivative of tanh without its 1 ------------------------------------------


def setup_dl500_466(rng):
    return two_layers(rng, (3, 4, 1)), rng.normal(size=(8, 3)), rng.integers(2, size=(8, 1)) * 1.0


def loss_dl500_466(params, X, y):
    a = sigmoid(np.tanh(X @ params["W1"] + params["b1"]) @ params["W2"] + params["b2"])
    return -np.mean(y * np.log(a) + (1 - y) * np.log(1 - a))


def claimed_dl500_466(params, X, y):
    h = np.tanh(X @ params["W1"] + params["b1"])
    d = (sigmoid(h @ params["W2"] + params["b2"]) - y) / len(y)
    dz = d @ params["W2"].T * -(h**2)
    return {"W1": X.T @ dz, "b1": dz.sum(0), "W2": h.T @ d, "b2": d.sum(0)}


# --- torch_1631: of an index that comes several times the last alone counts -------------------


def setup_torch_1631(rng):
    params = {"x": rng.normal(size=(4, 3)), "W": rng.normal(size=(3, 2))}
    return params, np.array([0, 2, 0, 3, 2, 0]), rng.normal(size=(6, 2))


def loss_torch_1631(params, index, y):
    return 0.5 * np.sum((np.tanh(params["x"][index]) @ params["W"] - y) ** 2)


def claimed_torch_1631(params, index, y):
    gathered = params["x"][index]
    h = np.tanh(gathered)
    d = h @ params["W"] - y
    dgathered = d @ params["W"].T * (1 - h**2)
    dx = np.zeros_like(params["x"])
    dx[index] = dgathered
    return {"x": dx, "W": h.T @ d}


# --- aayush_1: the second of a difference without its minus -----------------------------------


def setup_aayush_1(rng):
    params = {"w": rng.normal(size=(3, 2)), "threshold": rng.normal(size=2)}
    return params, rng.normal(size=(6, 3)), rng.normal(size=(6, 2))


def loss_aayush_1(params, X, y):
    return np.sum((np.tanh(X @ params["w"] - params["threshold"]) - y) ** 2)


def aayush_sub_backward(grad):
    return 1.0 * grad, 1.0 * grad


def claimed_aayush_1(params, X, y):
    out = np.tanh(X @ params["w"] - params["threshold"])
    grad = 2 * (out - y) * (1 - out**2)
    product, threshold = aayush_sub_backward(grad)
    return {"w": X.T @ product, "threshold": threshold.sum(axis=0)}


# --- dlai_290850: multiplied by z beside the derivative at z ----------------------------------


def setup_dlai_290850(rng):
    params = {
        "W1": rng.normal(size=(4, 2)),
        "b1": 0.3 * rng.normal(size=(4, 1)),
        "W2": rng.normal(size=(1, 4)),
        "b2": 0.3 * rng.normal(size=(1, 1)),
    }
    return params, rng.normal(size=(2, 9)), rng.integers(2, size=(1, 9)) * 1.0


def loss_dlai_290850(params, X, Y):
    A1 = np.tanh(params["W1"] @ X + params["b1"])
    A2 = sigmoid(params["W2"] @ A1 + params["b2"])
    return -np.sum(Y * np.log(A2) + (1 - Y) * np.log(1 - A2)) / X.shape[1]


def claimed_dlai_290850(params, X, Y):
    m = X.shape[1]
    Z1 = params["W1"] @ X + params["b1"]
    A1 = np.tanh(Z1)
    A2 = sigmoid(params["W2"] @ A1 + params["b2"])
    dZ2 = A2 - Y
    dZ1 = np.dot(params["W2"].T, dZ2) * (1 - np.power(A1, 2)) * Z1
    return {
        "W1": dZ1 @ X.T / m,
        "b1": dZ1.sum(axis=1, keepdims=True) / m,
        "W2": dZ2 @ A1.T / m,
        "b2": dZ2.sum(axis=1, keepdims=True) / m,
    }


# --- demystified_15: the data's part not divided by N, the penalty right ----------------------


def setup_demystified_15(rng):
    params = {"W1": rng.normal(size=(2, 3)), "W2": rng.normal(size=(3, 1))}
    return params, rng.uniform(size=(4, 2)), rng.uniform(size=(4, 1))


def loss_demystified_15(params, X, y, lam=0.1):
    yHat = sigmoid(sigmoid(X @ params["W1"]) @ params["W2"])
    fit = 0.5 * np.sum((y - yHat) ** 2) / X.shape[0]
    return fit + lam / 2 * (np.sum(params["W1"] ** 2) + np.sum(params["W2"] ** 2))


def claimed_demystified_15(params, X, y, lam=0.1):
    a2 = sigmoid(X @ params["W1"])
    yHat = sigmoid(a2 @ params["W2"])
    delta3 = -(y - yHat) * yHat * (1 - yHat)
    dJdW2 = np.dot(a2.T, delta3) + lam * params["W2"]
    delta2 = np.dot(delta3, params["W2"].T) * a2 * (1 - a2)
    dJdW1 = np.dot(X.T, delta2) + lam * params["W1"]
    return {"W1": dJdW1, "W2": dJdW2}


# --- opennn_241: the penalty's gradient added after the whole was put together ----------------


def setup_opennn_241(rng):
    return two_layers(rng, (3, 4, 1)), rng.normal(size=(10, 3)), rng.normal(size=(10, 1))


def loss_opennn_241(params, X, y, weight=0.05):
    out = np.tanh(X @ params["W1"] + params["b1"]) @ params["W2"] + params["b2"]
    return np.mean((out - y) ** 2) + weight * sum(np.sum(p**2) for p in params.values())


def claimed_opennn_241(params, X, y, weight=0.05):
    h = np.tanh(X @ params["W1"] + params["b1"])
    d = 2 * (h @ params["W2"] + params["b2"] - y) / len(y)
    dz = d @ params["W2"].T * (1 - h**2)
    layers = {"W1": X.T @ dz, "b1": dz.sum(0), "W2": h.T @ d, "b2": d.sum(0)}
    gradient = dict(layers)
    for name, param in params.items():
        layers[name] = layers[name] + 2 * weight * param
    return gradient


# --- chainer_261: weight decay taken off the gradient -----------------------------------------


def setup_chainer_261(rng):
    return two_layers(rng, (4, 5, 3)), rng.normal(size=(7, 4)), rng.integers(3, size=7)


def loss_chainer_261(params, X, y, decay=0.02):
    h = np.maximum(X @ params["W1"] + params["b1"], 0)
    p = softmax(h @ params["W2"] + params["b2"])
    penalty = 0.5 * decay * sum(np.sum(each**2) for each in params.values())
    return -np.mean(np.log(p[np.arange(len(y)), y])) + penalty


def claimed_chainer_261(params, X, y, decay=0.02):
    h = np.maximum(X @ params["W1"] + params["b1"], 0)
    d = softmax(h @ params["W2"] + params["b2"])
    d[np.arange(len(y)), y] -= 1
    d /= len(y)
    dz = d @ params["W2"].T * (h > 0)
    grads = {"W1": X.T @ dz, "b1": dz.sum(0), "W2": h.T @ d, "b2": d.sum(0)}
    for name in params:
        grads[name] -= decay * params[name]
    return grads


# --- dmelcaz_4: the diagonal alone, of the softmax of a softmax -------------------------------


def setup_dmelcaz_4(rng):
    params = {"wi": rng.normal(size=(3, 4)), "wo": 0.8 * rng.normal(size=(5, 3))}
    return params, rng.normal(size=(6, 3)), np.eye(3)[rng.integers(3, size=6)]


def dmelcaz_forward(params, x, act, output_act):
    ah = np.concatenate([np.ones(1), act(x @ params["wi"])])
    return ah, output_act(ah @ params["wo"])


def loss_dmelcaz_4(params, X, y):
    outs = [dmelcaz_forward(params, x, np.tanh, softmax)[1] for x in X]
    return 0.5 * sum(np.sum((t - ao) ** 2) for t, ao in zip(y, outs, strict=True))


def dmelcaz_tanh_prime(x):
    return 1.0 - x**2


def dmelcaz_softmax_prime(x):
    return softmax(x) * (1.0 - softmax(x))


def claimed_dmelcaz_4(params, X, y):
    grads = {k: np.zeros_like(v) for k, v in params.items()}
    for x, t in zip(X, y, strict=True):
        ah, ao = dmelcaz_forward(params, x, np.tanh, softmax)
        deltao = dmelcaz_softmax_prime(ao) * (t - ao)
        deltai = dmelcaz_tanh_prime(ah) * np.dot(params["wo"], deltao)
        grads["wo"] -= np.outer(ah, deltao)
        grads["wi"] -= np.outer(x, deltai[1:])
    return grads


# --- dmelcaz_5: the sigmoid taken once more of activations ------------------------------------


def setup_dmelcaz_5(rng):
    params = {"wi": rng.normal(size=(3, 4)), "wo": 0.8 * rng.normal(size=(5, 2))}
    return params, rng.normal(size=(6, 3)), rng.uniform(size=(6, 2))


def loss_dmelcaz_5(params, X, y):
    outs = [dmelcaz_forward(params, x, sigmoid, sigmoid)[1] for x in X]
    return 0.5 * sum(np.sum((t - ao) ** 2) for t, ao in zip(y, outs, strict=True))


def dmelcaz_sigmoid_prime(x):
    return sigmoid(x) * (1.0 - sigmoid(x))


def claimed_dmelcaz_5(params, X, y):
    grads = {k: np.zeros_like(v) for k, v in params.items()}
    for x, t in zip(X, y, strict=True):
        ah, ao = dmelcaz_forward(params, x, sigmoid, sigmoid)
        deltao = dmelcaz_sigmoid_prime(ao) * (t - ao)
        deltai = dmelcaz_sigmoid_prime(ah) * np.dot(params["wo"], deltao)
        grads["wo"] -= np.outer(ah, deltao)
        grads["wi"] -= np.outer(x, deltai[1:])
    return grads


# --- datatable_3234: one gradient multiplied by one feature after the other -------------------


def setup_datatable_3234(rng):
    return {"betas": rng.normal(size=4)}, rng.normal(size=(6, 3)), rng.integers(2, size=6) * 1.0


def loss_datatable_3234(params, X, y, lambda2=0.01):
    betas = params["betas"]
    p = sigmoid(betas[0] + X @ betas[1:])
    penalty = lambda2 * len(y) * np.sum(betas**2)
    return -np.sum(y * np.log(p) + (1 - y) * np.log(1 - p)) + penalty


def claimed_datatable_3234(params, X, y, lambda2=0.01):
    betas = params["betas"]
    grads = np.zeros_like(betas)
    for x, target in zip(X, y, strict=True):
        p = sigmoid(betas[0] + x @ betas[1:])
        gradient = p - target
        for j in range(len(betas)):
            if j:
                gradient *= x[j - 1]
            gradient += 2 * lambda2 * betas[j]
            grads[j] += gradient
    return {"betas": grads}


# --- vaetorch_5: the constant halved twice, the square not at all -----------------------------


def setup_vaetorch_5(rng):
    params = {
        "Wm": 0.7 * rng.normal(size=(3, 2)),
        "bm": 0.3 * rng.normal(size=2),
        "Wv": 0.7 * rng.normal(size=(3, 2)),
        "bv": 0.3 * rng.normal(size=2),
    }
    return params, rng.normal(size=(7, 3)), rng.normal(size=(7, 2))


def loss_vaetorch_5(params, X, y):
    mu = X @ params["Wm"] + params["bm"]
    lv = X @ params["Wv"] + params["bv"]
    return np.sum(0.5 * lv + 0.5 * np.log(2 * np.pi) + 0.5 * (y - mu) ** 2 / np.exp(lv))


def claimed_vaetorch_5(params, X, y):
    mu = X @ params["Wm"] + params["bm"]
    lv = X @ params["Wv"] + params["bv"]
    dmu = -np.exp(-lv) * (y - mu)
    dlv = -(np.exp(-lv) * (y - mu) ** 2 - 0.25)
    return {"Wm": X.T @ dmu, "bm": dmu.sum(0), "Wv": X.T @ dlv, "bv": dlv.sum(0)}


# --- aibrowser_773: the exponential of the output for that of the input -----------------------


def setup_aibrowser_773(rng):
    return two_layers(rng, (3, 5, 2)), rng.normal(size=(8, 3)), rng.normal(size=(8, 2))


def aibrowser_elu(x, a=1.0):
    return np.where(x > 0, x, a * (np.exp(x) - 1))


def loss_aibrowser_773(params, X, y):
    h = aibrowser_elu(X @ params["W1"] + params["b1"])
    return np.mean((h @ params["W2"] + params["b2"] - y) ** 2)


def claimed_aibrowser_773(params, X, y):
    o = aibrowser_elu(X @ params["W1"] + params["b1"])
    bo = 2 * (o @ params["W2"] + params["b2"] - y) / y.size
    bi = bo @ params["W2"].T * np.where(o > 0, 1.0, 1.0 * np.exp(o))
    return {"W1": X.T @ bi, "b1": bi.sum(0), "W2": o.T @ bo, "b2": bo.sum(0)}


# --- aibrowser_803: the derivative of the arcosh with a minus ---------------------------------


def setup_aibrowser_803(rng):
    params = two_layers(rng, (3, 4, 2))
    params["W1"] = rng.uniform(0.2, 1.0, size=(3, 4))
    params["b1"] = rng.uniform(1.2, 2.0, size=4)
    return params, rng.uniform(size=(7, 3)), rng.normal(size=(7, 2))


def loss_aibrowser_803(params, X, y):
    h = np.arccosh(X @ params["W1"] + params["b1"])
    return np.mean((h @ params["W2"] + params["b2"] - y) ** 2)


def claimed_aibrowser_803(params, X, y):
    v = X @ params["W1"] + params["b1"]
    h = np.arccosh(v)
    g = 2 * (h @ params["W2"] + params["b2"] - y) / y.size
    dv = -(g @ params["W2"].T) / np.sqrt(v**2 - 1)
    return {"W1": X.T @ dv, "b1": dv.sum(0), "W2": h.T @ g, "b2": g.sum(0)}


# --- encog_124: a sigmoid as the derivative of a ReLU -----------------------------------------


def setup_encog_124(rng):
    return two_layers(rng, (3, 5, 2)), rng.normal(size=(6, 3)), rng.uniform(size=(6, 2))


def loss_encog_124(params, X, y):
    h = np.maximum(X @ params["W1"] + params["b1"], 0)
    out = sigmoid(h @ params["W2"] + params["b2"])
    return 0.5 * np.sum((out - y) ** 2)


def encog_relu_derivative(b, a):
    """From the value before the activation, and the one after."""
    return 1 / (1 + np.exp(-a))


def claimed_encog_124(params, X, y):
    b = X @ params["W1"] + params["b1"]
    a = np.maximum(b, 0)
    out = sigmoid(a @ params["W2"] + params["b2"])
    d2 = (out - y) * out * (1 - out)
    d1 = d2 @ params["W2"].T * encog_relu_derivative(b, a)
    return {"W1": X.T @ d1, "b1": d1.sum(0), "W2": a.T @ d2, "b2": d2.sum(0)}


# --- byhand_9: the gradient of the activations of the layer after the one after ---------------


def setup_byhand_9(rng):
    params = {}
    for k in (1, 2, 3):
        params[f"W{k}"] = rng.normal(size=(3, 3))
        params[f"b{k}"] = 0.5 * rng.normal(size=(3, 1))
    return params, rng.normal(size=(3, 5)), rng.normal(size=(3, 5))


def byhand_forward(params, X):
    A, Z = [X], []
    for k in (1, 2, 3):
        Z.append(params[f"W{k}"] @ A[-1] + params[f"b{k}"])
        A.append(np.maximum(Z[-1], 0) if k < 3 else Z[-1])
    return A, Z


def loss_byhand_9(params, X, y):
    return np.sum((byhand_forward(params, X)[0][3] - y) ** 2) / X.shape[1]


def claimed_byhand_9(params, X, y):
    A, Z = byhand_forward(params, X)
    dA3 = 2 * (A[3] - y) / X.shape[1]
    dZ3 = dA3
    dZ2 = np.where(Z[1] > 0, dA3, 0)
    dA1 = params["W2"].T @ dZ2
    dZ1 = np.where(Z[0] > 0, dA1, 0)
    grads = {}
    for k, dZ in ((1, dZ1), (2, dZ2), (3, dZ3)):
        grads[f"W{k}"] = dZ @ A[k - 1].T
        grads[f"b{k}"] = dZ.sum(axis=1, keepdims=True)
    return grads


# --- deepcourse_6: a weight's gradient of what came before the derivative ---------------------


def setup_deepcourse_6(rng):
    params = {
        "wh": rng.normal(size=(2, 5)),
        "bh": 0.3 * rng.normal(size=5),
        "wo": rng.normal(size=(5, 3)),
        "bo": 0.3 * rng.normal(size=3),
    }
    return params, rng.normal(size=(8, 2)), rng.integers(3, size=8)


def loss_deepcourse_6(params, X, y):
    h = np.tanh(X @ params["wh"] + params["bh"])
    p = softmax(h @ params["wo"] + params["bo"])
    return -np.mean(np.log(p[np.arange(len(y)), y]))


def claimed_deepcourse_6(params, X, y):
    h = np.tanh(X @ params["wh"] + params["bh"])
    grad_o = softmax(h @ params["wo"] + params["bo"]) - np.eye(3)[y]
    batch_size = len(X)
    grad_h = grad_o @ params["wo"].T
    grad_htilde = grad_h * (1 - h**2)
    return {
        "wo": h.T @ grad_o / batch_size,
        "bo": grad_o.mean(axis=0),
        "wh": X.T @ grad_h / batch_size,
        "bh": grad_htilde.mean(axis=0),
    }


# --- deepcl_62: right; divided by p and by 1 - p ----------------------------------------------


def setup_deepcl_62(rng):
    return two_layers(rng, (3, 4, 2)), rng.normal(size=(6, 3)), rng.integers(2, size=(6, 2)) * 1.0


def loss_deepcl_62(params, X, y):
    p = sigmoid(np.tanh(X @ params["W1"] + params["b1"]) @ params["W2"] + params["b2"])
    return -np.sum(y * np.log(p) + (1 - y) * np.log(1 - p))


def claimed_deepcl_62(params, X, y):
    h = np.tanh(X @ params["W1"] + params["b1"])
    p = sigmoid(h @ params["W2"] + params["b2"])
    dp = (p - y) / p / (1 - p)
    d = dp * p * (1 - p)
    dz = d @ params["W2"].T * (1 - h * h)
    return {"W1": X.T @ dz, "b1": dz.sum(0), "W2": h.T @ d, "b2": d.sum(0)}


# --- iamtrask_12: right; x (1 - x) of what is a sigmoid already -------------------------------


def setup_iamtrask_12(rng):
    params = {"syn0": rng.uniform(-1, 1, size=(3, 4)), "syn1": rng.uniform(-1, 1, size=(4, 1))}
    X = np.array([[0.0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1]])
    return params, X, np.array([[0.0], [1], [1], [0]])


def iamtrask_nonlin(x, deriv=False):
    if deriv:
        return x * (1 - x)
    return 1 / (1 + np.exp(-x))


def loss_iamtrask_12(params, X, y):
    l1 = iamtrask_nonlin(X @ params["syn0"])
    return 0.5 * np.sum((y - iamtrask_nonlin(l1 @ params["syn1"])) ** 2)


def claimed_iamtrask_12(params, X, y):
    l1 = iamtrask_nonlin(X @ params["syn0"])
    l2 = iamtrask_nonlin(l1 @ params["syn1"])
    l2_delta = (y - l2) * iamtrask_nonlin(l2, deriv=True)
    l1_delta = l2_delta.dot(params["syn1"].T) * iamtrask_nonlin(l1, deriv=True)
    return {"syn0": -X.T.dot(l1_delta), "syn1": -l1.T.dot(l2_delta)}


# --- rustml_3: right; 1 - tanh(x)^2 -----------------------------------------------------------


def setup_rustml_3(rng):
    return two_layers(rng, (2, 3, 1)), rng.normal(size=(4, 2)), rng.integers(2, size=(4, 1)) * 1.0


def loss_rustml_3(params, X, y):
    h = np.tanh(X @ params["W1"] + params["b1"])
    return 0.5 * np.sum((y - np.tanh(h @ params["W2"] + params["b2"])) ** 2)


def claimed_rustml_3(params, X, y):
    def derivative(x):
        return 1 - np.tanh(x) ** 2

    z1 = X @ params["W1"] + params["b1"]
    h = np.tanh(z1)
    z2 = h @ params["W2"] + params["b2"]
    d2 = -(y - np.tanh(z2)) * derivative(z2)
    d1 = d2 @ params["W2"].T * derivative(z1)
    return {"W1": X.T @ d1, "b1": d1.sum(0), "W2": h.T @ d2, "b2": d2.sum(0)}


# --- lightaime_9: right; the true class's margin is set to zero a line later -------------------


def setup_lightaime_9(rng):
    return {"W": rng.normal(size=(4, 3))}, rng.normal(size=(8, 4)), rng.integers(3, size=8)


def loss_lightaime_9(params, X, y, reg=0.1):
    scores = X @ params["W"]
    rows = np.arange(len(y))
    margins = np.maximum(0, scores - scores[rows, y][:, None] + 1)
    margins[rows, y] = 0
    return margins.sum() / len(y) + reg * np.sum(params["W"] ** 2)


def claimed_lightaime_9(params, X, y, reg=0.1):
    scores = X.dot(params["W"])
    rows = np.arange(len(y))
    margins = np.maximum(0, scores - scores[rows, y][:, None] + 1)
    margins[rows, y] = 0
    count = (margins > 0).astype(float)
    count[rows, y] = -count.sum(axis=1)
    return {"W": X.T.dot(count) / len(y) + 2 * reg * params["W"]}


# --- accord_577: right; the errors are written through another name of the same array ---------


def setup_accord_577(rng):
    params = {f"W{k}": rng.normal(size=s) for k, s in enumerate(((4, 3), (3, 4), (2, 3)), 1)}
    return params, rng.normal(size=3), rng.uniform(size=2)


def accord_outputs(params, x):
    outputs = [x]
    for k in (1, 2, 3):
        outputs.append(sigmoid(params[f"W{k}"] @ outputs[-1]))
    return outputs


def loss_accord_577(params, x, y):
    return 0.5 * np.sum((y - accord_outputs(params, x)[3]) ** 2)


def claimed_accord_577(params, x, y):
    outputs = accord_outputs(params, x)
    neuron_errors = [np.zeros_like(each) for each in outputs[1:]]
    errors = neuron_errors[2]
    for i, output in enumerate(outputs[3]):
        errors[i] = (y[i] - output) * output * (1 - output)
    for j in (1, 0):
        errors, above = neuron_errors[j], neuron_errors[j + 1]
        for i, output in enumerate(outputs[j + 1]):
            total = 0.0
            for k in range(len(above)):
                total += above[k] * params[f"W{j + 2}"][k, i]
            errors[i] = total * output * (1 - output)
    return {f"W{k + 1}": -np.outer(neuron_errors[k], outputs[k]) for k in range(3)}


# --- grokking_59: right; the derivative of a ReLU of its output -------------------------------


def setup_grokking_59(rng):
    params = {"weights_0_1": rng.normal(size=(3, 4)), "weights_1_2": rng.normal(size=(4, 1))}
    X = np.array([[1.0, 0, 1], [0, 1, 1], [0, 0, 1], [1, 1, 1]])
    return params, X, np.array([[1.0], [1], [0], [0]])


def loss_grokking_59(params, X, y):
    layer_1 = np.maximum(X @ params["weights_0_1"], 0)
    return 0.5 * np.sum((layer_1 @ params["weights_1_2"] - y) ** 2)


def grokking_relu2deriv(output):
    return output > 0


def claimed_grokking_59(params, X, y):
    grads = {name: np.zeros_like(each) for name, each in params.items()}
    for i in range(len(X)):
        layer_0 = X[i : i + 1]
        layer_1 = np.maximum(layer_0 @ params["weights_0_1"], 0)
        layer_2_delta = layer_1 @ params["weights_1_2"] - y[i : i + 1]
        layer_1_delta = layer_2_delta.dot(params["weights_1_2"].T) * grokking_relu2deriv(layer_1)
        grads["weights_1_2"] += layer_1.T.dot(layer_2_delta)
        grads["weights_0_1"] += layer_0.T.dot(layer_1_delta)
    return grads


# --- sklearn_8987: right; one delta more than there are layers is never read -------------------


def setup_sklearn_8987(rng):
    params = two_layers(rng, (3, 4, 4))
    params["W3"], params["b3"] = rng.normal(size=(4, 2)), rng.normal(size=2)
    return params, rng.normal(size=(6, 3)), rng.normal(size=(6, 2))


def sklearn_activations(params, X):
    activations = [X]
    for k in (1, 2, 3):
        z = activations[-1] @ params[f"W{k}"] + params[f"b{k}"]
        activations.append(np.tanh(z) if k < 3 else z)
    return activations


def loss_sklearn_8987(params, X, y, alpha=0.01):
    penalty = 0.5 * alpha * sum(np.sum(params[f"W{k}"] ** 2) for k in (1, 2, 3))
    fit = ((sklearn_activations(params, X)[-1] - y) ** 2).sum() / 2
    return (fit + penalty) / len(y)


def claimed_sklearn_8987(params, X, y, alpha=0.01):
    activations, n, n_layers = sklearn_activations(params, X), len(X), 4
    deltas = [np.empty_like(each) for each in activations]
    grads = {}

    def layer(k):
        grad = activations[k].T @ deltas[k] + alpha * params[f"W{k + 1}"]
        grads[f"W{k + 1}"] = grad / n
        grads[f"b{k + 1}"] = deltas[k].mean(axis=0)

    deltas[n_layers - 2] = activations[-1] - y
    layer(n_layers - 2)
    for i in range(n_layers - 2, 0, -1):
        deltas[i - 1] = deltas[i] @ params[f"W{i + 1}"].T * (1 - activations[i] ** 2)
        layer(i - 1)
    return grads


# --- hanbt_15: right; a layer's input is the output of the one before --------------------------


def setup_hanbt_15(rng):
    params = {
        "W1": rng.normal(size=(4, 3)),
        "b1": 0.3 * rng.normal(size=(4, 1)),
        "W2": rng.normal(size=(2, 4)),
        "b2": 0.3 * rng.normal(size=(2, 1)),
    }
    return params, rng.normal(size=(3, 1)), rng.uniform(size=(2, 1))


def loss_hanbt_15(params, x, y):
    h = sigmoid(params["W1"] @ x + params["b1"])
    return 0.5 * np.sum((y - sigmoid(params["W2"] @ h + params["b2"])) ** 2)


class HanbtLayer:
    def __init__(self, W, b):
        self.W, self.b = W, b

    def forward(self, given):
        self.input = given
        self.output = sigmoid(self.W @ given + self.b)
        return self.output

    def backward(self, delta):
        self.delta = self.input * (1 - self.input) * np.dot(self.W.T, delta)
        self.W_grad = np.dot(delta, self.input.T)
        self.b_grad = delta


def claimed_hanbt_15(params, x, y):
    layers = [HanbtLayer(params[f"W{k}"], params[f"b{k}"]) for k in (1, 2)]
    out = x
    for layer in layers:
        out = layer.forward(out)
    delta = out * (1 - out) * (y - out)
    for layer in layers[::-1]:
        layer.backward(delta)
        delta = layer.delta
    grads = {}
    for k, layer in enumerate(layers, 1):
        grads[f"W{k}"], grads[f"b{k}"] = -layer.W_grad, -layer.b_grad
    return grads

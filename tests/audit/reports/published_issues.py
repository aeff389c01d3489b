"""Published gradients, right and wrong, restated in plain NumPy from the mathematics.

For each report: setup_<id>(rng) -> params, X, y; loss_<id>(params, X, y) -> scalar;
claimed_<id>(params, X, y) -> dict, the gradient as published, its mistake included.
"""

import numpy as np


def sigmoid(z):
    return 1.0 / (1.0 + np.exp(-z))


def softmax_rows(z):
    e = np.exp(z - np.max(z, axis=1, keepdims=True))
    return e / np.sum(e, axis=1, keepdims=True)


def one_hot_rows(labels, k):
    out = np.zeros((labels.shape[0], k))
    out[np.arange(labels.shape[0]), labels] = 1.0
    return out


def conv2d_valid(image, kernel):
    """True 2-D convolution (flipped kernel), valid part."""
    kh, kw = kernel.shape
    h, w = image.shape
    flipped = kernel[::-1, ::-1]
    out = np.zeros((h - kh + 1, w - kw + 1))
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = np.sum(image[i : i + kh, j : j + kw] * flipped)
    return out


def conv2d_full(image, kernel):
    """True 2-D convolution, full size."""
    kh, kw = kernel.shape
    padded = np.pad(image, ((kh - 1, kh - 1), (kw - 1, kw - 1)))
    return conv2d_valid(padded, kernel)


def flip_both(a):
    return a[::-1, ::-1]


# --- knossos_tanh: tanh(x)^2 as the derivative of tanh --------------------------------------


def rev_tanh_knossos(x, d_dr):
    tanh_x = np.tanh(x)
    tanh_x_2 = tanh_x * tanh_x
    return tanh_x_2 * d_dr


def setup_knossos_tanh(rng):
    params = {
        "Wx": rng.normal(size=(4, 3)) * 0.7,
        "b": rng.normal(size=4) * 0.4,
        "v": rng.normal(size=4),
    }
    X = rng.normal(size=(5, 3))
    y = rng.normal(size=5)
    return params, X, y


def loss_knossos_tanh(params, X, y):
    total = 0.0
    for n in range(X.shape[0]):
        h = np.tanh(params["Wx"] @ X[n] + params["b"])
        total += 0.5 * (params["v"] @ h - y[n]) ** 2
    return total


def claimed_knossos_tanh(params, X, y):
    g = {k: np.zeros_like(p) for k, p in params.items()}
    for n in range(X.shape[0]):
        x = params["Wx"] @ X[n] + params["b"]
        h = np.tanh(x)
        r = params["v"] @ h - y[n]
        g["v"] += r * h
        d_x = rev_tanh_knossos(x, r * params["v"])
        g["Wx"] += np.outer(d_x, X[n])
        g["b"] += d_x
    return g


# --- knossos_pow: d(x^n) without the factor n -----------------------------------------------


def rev_pow_knossos(x, n, dret):
    return dret * x ** (n - 1)


def setup_knossos_pow(rng):
    params = {"A": rng.normal(size=(3, 2)) * 0.8, "c": rng.normal(size=3) * 0.5}
    X = rng.normal(size=(6, 2))
    y = rng.normal(size=6)
    return params, X, y


def loss_knossos_pow(params, X, y):
    s = X @ params["A"].T
    pred = (s**3) @ params["c"]
    return np.mean((pred - y) ** 2)


def claimed_knossos_pow(params, X, y):
    s = X @ params["A"].T
    cubes = s**3
    err = 2.0 * (cubes @ params["c"] - y) / X.shape[0]
    dcubes = np.outer(err, params["c"])
    ds = rev_pow_knossos(s, 3, dcubes)
    return {"A": ds.T @ X, "c": cubes.T @ err}


# --- tcnn_softplus: logistic evaluated at the incoming gradient -----------------------------

K_ACT = 10.0


def softplus_tcnn(x):
    return np.log(np.exp(x * K_ACT) + 1.0) / K_ACT


def softplus_backward_tcnn(frag, forward_in):
    result = np.empty_like(frag)
    for t in np.ndindex(*frag.shape):
        tmp = np.exp(frag[t] * K_ACT)
        result[t] = frag[t] * (tmp / (tmp + 1.0))
    return result


def setup_tcnn_softplus(rng):
    params = {"W0": rng.normal(size=(5, 3)) * 0.4, "W1": rng.normal(size=(2, 5)) * 0.6}
    X = rng.normal(size=(3, 6))
    y = rng.normal(size=(2, 6))
    return params, X, y


def loss_tcnn_softplus(params, X, y):
    hidden = softplus_tcnn(params["W0"] @ X)
    return np.mean((params["W1"] @ hidden - y) ** 2)


def claimed_tcnn_softplus(params, X, y):
    pre = params["W0"] @ X
    hidden = softplus_tcnn(pre)
    out = params["W1"] @ hidden
    dout = 2.0 * (out - y) / out.size
    dhidden = params["W1"].T @ dout
    dpre = softplus_backward_tcnn(dhidden, pre)
    return {"W0": dpre @ X.T, "W1": dout @ hidden.T}


# --- nnabla_gelu_dy: the incoming gradient dy is missing ------------------------------------


def gelu_tanh(x):
    return 0.5 * x * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (x + 0.044715 * x**3)))


def gelu_tanh_derivative(x):
    s = np.sqrt(2.0 / np.pi)
    t = np.tanh(s * (x + 0.044715 * x**3))
    return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t**2) * s * (1.0 + 0.134145 * x**2)


def setup_nnabla_gelu_dy(rng):
    params = {
        "affine1/W": rng.normal(size=(3, 4)) * 0.7,
        "affine1/b": rng.normal(size=4) * 0.3,
        "affine2/W": rng.normal(size=(4, 1)),
        "affine2/b": rng.normal(size=1),
    }
    X = rng.normal(size=(5, 3))
    y = rng.normal(size=(5, 1))
    return params, X, y


def loss_nnabla_gelu_dy(params, X, y):
    h = gelu_tanh(X @ params["affine1/W"] + params["affine1/b"])
    out = h @ params["affine2/W"] + params["affine2/b"]
    return np.mean((out - y) ** 2)


def claimed_nnabla_gelu_dy(params, X, y):
    x = X @ params["affine1/W"] + params["affine1/b"]
    h = gelu_tanh(x)
    out = h @ params["affine2/W"] + params["affine2/b"]
    d_out = 2.0 * (out - y) / out.size
    dx = gelu_tanh_derivative(x)
    return {
        "affine1/W": X.T @ dx,
        "affine1/b": dx.sum(axis=0),
        "affine2/W": h.T @ d_out,
        "affine2/b": d_out.sum(axis=0),
    }


# --- pydeepflow_gelu: inner derivative of the tanh argument missing -------------------------


def gelu_derivative_pydeepflow(x):
    t = np.tanh(np.sqrt(2.0 / np.pi) * (x + 0.044715 * x**3))
    return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t**2)


def setup_pydeepflow_gelu(rng):
    params = {
        "W1": rng.normal(size=(4, 6)) * 0.5,
        "b1": rng.normal(size=(1, 6)) * 0.2,
        "W2": rng.normal(size=(6, 4)) * 0.5,
        "b2": rng.normal(size=(1, 4)) * 0.2,
        "W3": rng.normal(size=(4, 1)) * 0.7,
        "b3": rng.normal(size=(1, 1)) * 0.2,
    }
    X = rng.normal(size=(8, 4))
    y = rng.integers(0, 2, size=(8, 1)).astype(float)
    return params, X, y


def loss_pydeepflow_gelu(params, X, y):
    a1 = gelu_tanh(X @ params["W1"] + params["b1"])
    a2 = gelu_tanh(a1 @ params["W2"] + params["b2"])
    p = sigmoid(a2 @ params["W3"] + params["b3"])
    return -np.mean(y * np.log(p) + (1.0 - y) * np.log(1.0 - p))


def claimed_pydeepflow_gelu(params, X, y):
    m = X.shape[0]
    z1 = X @ params["W1"] + params["b1"]
    a1 = gelu_tanh(z1)
    z2 = a1 @ params["W2"] + params["b2"]
    a2 = gelu_tanh(z2)
    p = sigmoid(a2 @ params["W3"] + params["b3"])
    d3 = (p - y) / m
    d2 = (d3 @ params["W3"].T) * gelu_derivative_pydeepflow(z2)
    d1 = (d2 @ params["W2"].T) * gelu_derivative_pydeepflow(z1)
    return {
        "W1": X.T @ d1,
        "b1": d1.sum(axis=0, keepdims=True),
        "W2": a1.T @ d2,
        "b2": d2.sum(axis=0, keepdims=True),
        "W3": a2.T @ d3,
        "b3": d3.sum(axis=0, keepdims=True),
    }


# --- kann_add_copy: add and mul copy their gradient, so a node used thrice keeps one part ---


def setup_kann_add_copy(rng):
    params = {"w": rng.normal(size=(2, 3)) * 0.7}
    X = rng.normal(size=(5, 3))
    y = rng.normal(size=(5, 2))
    return params, X, y


def loss_kann_add_copy(params, X, y):
    z = X @ params["w"].T
    u = z * z
    t = u + z
    e = t - y
    return np.sum(e * e)


def claimed_kann_add_copy(params, X, y):
    z = X @ params["w"].T
    u = z * z
    t = u + z
    e = t - y
    d = {}
    # norm2, then sub
    d["e"] = e + e
    d["t"] = d["e"].copy()
    # add: t = u + z
    d["u"] = d["t"].copy()
    d["z"] = d["t"].copy()
    # mul: u = z * z, once for each child
    for _ in range(2):
        d["z"] = d["u"] * z
    # mtmul: z = X w^T
    return {"w": d["z"].T @ X}


# --- kann_conv_input: gradient to the input uses the untransposed filter memory -------------


def move_1to3_kann(x):
    return np.ascontiguousarray(np.transpose(x, (0, 2, 3, 1)))


def kann_conv_forward(x, w):
    n, _c0, h, wd = x.shape
    c1, _, kh, kw = w.shape
    out = np.zeros((n, c1, h - kh + 1, wd - kw + 1))
    for i in range(out.shape[2]):
        for j in range(out.shape[3]):
            patch = x[:, :, i : i + kh, j : j + kw]
            out[:, :, i, j] = np.tensordot(patch, w, axes=([1, 2, 3], [1, 2, 3]))
    return out


def setup_kann_conv_input(rng):
    params = {"k1": rng.normal(size=(2, 1, 2, 2)) * 0.7, "k2": rng.normal(size=(2, 2, 2, 2)) * 0.7}
    X = rng.normal(size=(3, 1, 4, 4))
    y = rng.normal(size=(3, 2, 2, 2))
    return params, X, y


def loss_kann_conv_input(params, X, y):
    h = np.tanh(kann_conv_forward(X, params["k1"]))
    out = kann_conv_forward(h, params["k2"])
    return np.mean((out - y) ** 2)


def claimed_kann_conv_input(params, X, y):
    k1, k2 = params["k1"], params["k2"]
    h = np.tanh(kann_conv_forward(X, k1))
    out = kann_conv_forward(h, k2)
    g = 2.0 * (out - y) / out.size
    gk2 = np.zeros_like(k2)
    for i in range(g.shape[2]):
        for j in range(g.shape[3]):
            patch = h[:, :, i : i + 2, j : j + 2]
            gk2 += np.tensordot(g[:, :, i, j], patch, axes=([0], [0]))
    # to the input: scatter rows of the filters, channels last
    c1, c0, kh, kw = k2.shape
    m = kw * c0
    rows = k2.ravel()
    q1 = np.zeros((h.shape[0], h.shape[2], h.shape[3] * c0))
    for n in range(h.shape[0]):
        for f in range(c1):
            for k in range(kh):
                w1k = rows[(f * kh + k) * m : (f * kh + k + 1) * m]
                for i in range(g.shape[2]):
                    for j in range(g.shape[3]):
                        q1[n, i + k, j * c0 : j * c0 + m] += g[n, f, i, j] * w1k
    gh = q1.reshape(h.shape[0], h.shape[2], h.shape[3], c0).transpose(0, 3, 1, 2)
    gz = gh * (1.0 - h * h)
    gk1 = np.zeros_like(k1)
    for i in range(gz.shape[2]):
        for j in range(gz.shape[3]):
            patch = X[:, :, i : i + 2, j : j + 2]
            gk1 += np.tensordot(gz[:, :, i, j], patch, axes=([0], [0]))
    return {"k1": gk1, "k2": gk2}


# --- tinydnn_conv_stride: filter gradient ignores the stride --------------------------------


def setup_tinydnn_conv_stride(rng):
    params = {"W": rng.normal(size=(3, 3)) * 0.5, "b": rng.normal(size=1) * 0.3}
    X = rng.normal(size=(4, 7, 7))
    y = rng.normal(size=(4, 3, 3))
    return params, X, y


def tinydnn_conv_out(W, b, x, stride=2):
    n = (x.shape[0] - W.shape[0]) // stride + 1
    out = np.zeros((n, n))
    for oy in range(n):
        for ox in range(n):
            window = x[oy * stride : oy * stride + 3, ox * stride : ox * stride + 3]
            out[oy, ox] = np.sum(W * window) + b[0]
    return np.tanh(out)


def loss_tinydnn_conv_stride(params, X, y):
    total = 0.0
    for sample in range(X.shape[0]):
        out = tinydnn_conv_out(params["W"], params["b"], X[sample])
        total += 0.5 * np.sum((out - y[sample]) ** 2)
    return total


def claimed_tinydnn_conv_stride(params, X, y):
    dW = np.zeros_like(params["W"])
    db = np.zeros_like(params["b"])
    for sample in range(X.shape[0]):
        out = tinydnn_conv_out(params["W"], params["b"], X[sample])
        delta = (out - y[sample]) * (1.0 - out**2)
        for wy in range(3):
            for wx in range(3):
                dst = 0.0
                for oy in range(out.shape[0]):
                    row = X[sample][wy + oy, wx : wx + out.shape[1]]
                    dst += np.dot(row, delta[oy])
                dW[wy, wx] += dst
        db[0] += np.sum(delta)
    return {"W": dW, "b": db}


# --- dlt_cae_fix: convolutional auto-encoder whose derivatives were "corrected" -------------


def setup_dlt_cae_fix(rng):
    params = {
        "ik": rng.normal(size=(2, 2)) * 0.6,
        "b": rng.normal(size=1) * 0.2,
        "ok": rng.normal(size=(2, 2)) * 0.6,
        "c": rng.normal(size=1) * 0.2,
    }
    X = rng.normal(size=(3, 4, 4))
    y = rng.uniform(size=(3, 4, 4))
    return params, X, y


def cae_pass(params, x):
    a = sigmoid(conv2d_full(x, params["ik"]) + params["b"][0])
    o = sigmoid(conv2d_valid(a, params["ok"]) + params["c"][0])
    return a, o


def loss_dlt_cae_fix(params, X, y):
    L = 0.0
    for n in range(X.shape[0]):
        _a, o = cae_pass(params, X[n])
        L = L + 0.5 * np.sum((o - y[n]) ** 2) / X.shape[0]
    return L


def claimed_dlt_cae_fix(params, X, y):
    ns = X.shape[0]
    g = {k: np.zeros_like(v) for k, v in params.items()}
    for n in range(ns):
        a, o = cae_pass(params, X[n])
        od = (o - y[n]) * (o * (1.0 - o))
        z = conv2d_full(od, params["ok"])
        ad = a * (1.0 - a) * z
        g["c"] += np.sum(od) / ns
        g["b"] += np.sum(ad) / ns
        g["ok"] += conv2d_valid(flip_both(a), od) / ns
        g["ik"] += flip_both(conv2d_valid(ad, flip_both(X[n]))) / ns
    return g


# --- dlt_cnnbp_y: output delta multiplied by the target -------------------------------------


def setup_dlt_cnnbp_y(rng):
    params = {
        "k": rng.normal(size=(2, 2, 2)) * 0.7,
        "b": rng.normal(size=2) * 0.3,
        "ffW": rng.normal(size=(3, 8)) * 0.5,
        "ffb": rng.normal(size=(3, 1)) * 0.3,
    }
    X = rng.normal(size=(4, 5, 5))
    y = one_hot_rows(rng.integers(0, 3, size=4), 3)
    return params, X, y


def cnnff_dlt(params, X):
    maps, pooled = [], []
    fv = np.zeros((8, X.shape[0]))
    for n in range(X.shape[0]):
        for j in range(2):
            a = sigmoid(conv2d_valid(X[n], params["k"][j]) + params["b"][j])
            s = a.reshape(2, 2, 2, 2).max(axis=(1, 3))
            maps.append(a)
            pooled.append(s)
            fv[j * 4 : (j + 1) * 4, n] = s.ravel()
    o = sigmoid(params["ffW"] @ fv + params["ffb"]).T
    return maps, pooled, fv, o


def loss_dlt_cnnbp_y(params, X, y):
    o = cnnff_dlt(params, X)[3]
    return 0.5 * np.sum((o - y) ** 2) / X.shape[0]


def claimed_dlt_cnnbp_y(params, X, y):
    batchsize = X.shape[0]
    maps, pooled, fv, o = cnnff_dlt(params, X)
    diffmat = o - y
    od = diffmat * y * (o * (1.0 - o))
    g = {"ffW": (fv @ od).T / batchsize, "ffb": np.mean(od, axis=0)[:, None]}
    fvd = (od @ params["ffW"]).T
    g["k"] = np.zeros_like(params["k"])
    g["b"] = np.zeros_like(params["b"])
    for n in range(batchsize):
        for j in range(2):
            a, s = maps[2 * n + j], pooled[2 * n + j]
            d = fvd[j * 4 : (j + 1) * 4, n].reshape(2, 2)
            curder = np.kron(d, np.ones((2, 2)))
            curval = np.kron(s, np.ones((2, 2)))
            da = curder * (a == curval)
            sigder = a * (1.0 - a) * da
            g["b"][j] += np.sum(sigder) / batchsize
            g["k"][j] += conv2d_valid(flip_both(X[n]), sigder) / batchsize
    return g


# --- learndl_lstm_bias: biases of the gates, and time steps, of an LSTM ---------------------

LSTM_GATES_LEARNDL = ("f", "i", "o", "c")


def lstm_forward_learndl(params, X):
    n_h = params["bf"].shape[0]
    h, c = [np.zeros((n_h, 1))], [np.zeros((n_h, 1))]
    gates = [None]
    for t in range(X.shape[0]):
        x = X[t].reshape(-1, 1)
        val = {}
        for q in LSTM_GATES_LEARNDL:
            net = params["W" + q + "h"] @ h[-1] + params["W" + q + "x"] @ x + params["b" + q]
            val[q] = np.tanh(net) if q == "c" else sigmoid(net)
        gates.append(val)
        c.append(val["f"] * c[-1] + val["i"] * val["c"])
        h.append(val["o"] * np.tanh(c[-1]))
    return h, c, gates


def setup_learndl_lstm_bias(rng):
    params = {}
    for q in LSTM_GATES_LEARNDL:
        params["W" + q + "h"] = rng.normal(size=(2, 2)) * 0.7
        params["W" + q + "x"] = rng.normal(size=(2, 3)) * 0.5
        params["b" + q] = rng.normal(size=(2, 1)) * 0.3
    X = rng.normal(size=(2, 3))
    y = np.zeros(1)
    return params, X, y


def loss_learndl_lstm_bias(params, X, y):
    h = lstm_forward_learndl(params, X)[0]
    return np.sum(h[-1])


def claimed_learndl_lstm_bias(params, X, y):
    h, c, gates = lstm_forward_learndl(params, X)
    times = X.shape[0]
    delta_h = [np.zeros_like(h[0]) for _ in range(times + 1)]
    delta = {q: [np.zeros_like(h[0]) for _ in range(times + 1)] for q in LSTM_GATES_LEARNDL}
    delta_h[-1] = np.ones_like(h[0])
    for k in range(times, 0, -1):
        v = gates[k]
        tanh_c = np.tanh(c[k])
        d = delta_h[k]
        back = d * v["o"] * (1.0 - tanh_c * tanh_c)
        delta["o"][k] = d * tanh_c * v["o"] * (1.0 - v["o"])
        delta["f"][k] = back * c[k - 1] * v["f"] * (1.0 - v["f"])
        delta["i"][k] = back * v["c"] * v["i"] * (1.0 - v["i"])
        delta["c"][k] = back * v["i"] * (1.0 - v["c"] ** 2)
        delta_h[k - 1] = sum(params["W" + q + "h"].T @ delta[q][k] for q in LSTM_GATES_LEARNDL)
    g = {k: np.zeros_like(p) for k, p in params.items()}
    for t in range(times, 0, -1):
        h_prev = h[t - 1].T
        g["Wfh"] += delta["f"][t] @ h_prev
        g["bf"] += delta["f"][t]
        g["Wih"] += delta["i"][t] @ h_prev
        g["bi"] += delta["f"][t]
        g["Woh"] += delta["o"][t] @ h_prev
        g["bo"] += delta["f"][t]
        g["Wch"] += delta["c"][t] @ h_prev
        g["bc"] += delta["c"][t]
    xt = X[-1].reshape(1, -1)
    for q in LSTM_GATES_LEARNDL:
        g["W" + q + "x"] = delta[q][-1] @ xt
    return g


# --- triplet_index: triplets stored as 3i, 3i+1, 3i+2 but read as i, i+1, i+2 ---------------


def triplet_loss_and_residual(F, margin):
    num = F.shape[0] // 3
    loss, no_residual = 0.0, []
    for i in range(num):
        a, p, n = F[3 * i], F[3 * i + 1], F[3 * i + 2]
        dist = margin + np.dot(a - p, a - p) - np.dot(a - n, a - n)
        if dist <= 0.0:
            no_residual.append(i)
        loss += max(dist, 0.0)
    return loss / num / 2.0, no_residual


def setup_triplet_index(rng):
    params = {"W": rng.normal(size=(3, 2)) * 0.5}
    X = rng.normal(size=(6, 3))
    y = np.array([12.0])
    return params, X, y


def loss_triplet_index(params, X, y):
    return triplet_loss_and_residual(X @ params["W"], y[0])[0]


def claimed_triplet_index(params, X, y):
    F = X @ params["W"]
    num = F.shape[0] // 3
    no_residual = triplet_loss_and_residual(F, y[0])[1]
    diff = np.zeros_like(F)
    for i in range(num):
        if i not in no_residual:
            x_a, x_p, x_n = F[i], F[i + 1], F[i + 2]
            diff[i] = (x_n - x_p) / num
            diff[i + 1] = (x_p - x_a) / num
            diff[i + 2] = (x_a - x_n) / num
        else:
            diff[i] = 0
            diff[i + 1] = 0
            diff[i + 2] = 0
    return {"W": X.T @ diff}


# --- mlpack_logsoftmax: exp(output) + gy ----------------------------------------------------


def logsoftmax_cols(z):
    m = np.max(z, axis=0, keepdims=True)
    return z - m - np.log(np.sum(np.exp(z - m), axis=0, keepdims=True))


def setup_mlpack_logsoftmax(rng):
    params = {"weight": rng.normal(size=(4, 3)) * 0.6, "bias": rng.normal(size=(4, 1)) * 0.2}
    X = rng.normal(size=(3, 5))
    y = rng.normal(size=(4, 5))
    return params, X, y


def loss_mlpack_logsoftmax(params, X, y):
    output = logsoftmax_cols(params["weight"] @ X + params["bias"])
    return np.sum(y * output)


def claimed_mlpack_logsoftmax(params, X, y):
    output = logsoftmax_cols(params["weight"] @ X + params["bias"])
    gy = y
    g = np.exp(output) + gy
    return {"weight": g @ X.T, "bias": np.sum(g, axis=1, keepdims=True)}


# --- onednn_logsoftmax: diff_dst - (diff_dst . dst) -----------------------------------------


def setup_onednn_logsoftmax(rng):
    params = {"weights": rng.normal(size=(5, 4)) * 0.6, "bias": rng.normal(size=4) * 0.2}
    X = rng.normal(size=(6, 5))
    y = one_hot_rows(rng.integers(0, 4, size=6), 4)
    return params, X, y


def logsoftmax_rows(z):
    m = np.max(z, axis=1, keepdims=True)
    return z - m - np.log(np.sum(np.exp(z - m), axis=1, keepdims=True))


def loss_onednn_logsoftmax(params, X, y):
    dst = logsoftmax_rows(X @ params["weights"] + params["bias"])
    return -np.sum(y * dst) / X.shape[0]


def claimed_onednn_logsoftmax(params, X, y):
    dst = logsoftmax_rows(X @ params["weights"] + params["bias"])
    diff_dst = -y / X.shape[0]
    diff_src = np.zeros_like(dst)
    for ou in range(dst.shape[0]):
        sbr = 0.0
        for c in range(dst.shape[1]):
            sbr += diff_dst[ou, c] * dst[ou, c]
        for c in range(dst.shape[1]):
            diff_src[ou, c] = diff_dst[ou, c] - sbr
    return {"weights": X.T @ diff_src, "bias": diff_src.sum(axis=0)}


# --- deepml_single_neuron: 1/n where the mean squared error asks for 2/n --------------------


def setup_deepml_single_neuron(rng):
    params = {"weights": rng.normal(size=3), "bias": rng.normal(size=1)}
    X = rng.normal(size=(7, 3))
    y = rng.integers(0, 2, size=7).astype(float)
    return params, X, y


def loss_deepml_single_neuron(params, X, y):
    predictions = sigmoid(np.dot(X, params["weights"]) + params["bias"][0])
    return np.mean((predictions - y) ** 2)


def claimed_deepml_single_neuron(params, X, y):
    n = len(y)
    predictions = sigmoid(np.dot(X, params["weights"]) + params["bias"][0])
    errors = predictions - y
    slope = errors * predictions * (1 - predictions)
    weight_gradients = (1 / n) * np.dot(X.T, slope)
    bias_gradient = (1 / n) * np.sum(slope)
    return {"weights": weight_gradients, "bias": np.array([bias_gradient])}


# --- deepml_lasso_sign: residual y - yhat in the gradient of the lasso loss -----------------


def setup_deepml_lasso_sign(rng):
    params = {"w": rng.normal(size=4), "b": rng.normal(size=1)}
    X = rng.normal(size=(8, 4))
    y = rng.normal(size=8)
    return params, X, y


def loss_deepml_lasso_sign(params, X, y, alpha=0.1):
    y_hat = X @ params["w"] + params["b"][0]
    return np.sum((y - y_hat) ** 2) / (2 * len(y)) + alpha * np.sum(np.abs(params["w"]))


def claimed_deepml_lasso_sign(params, X, y, alpha=0.1):
    n = len(y)
    y_hat = X @ params["w"] + params["b"][0]
    dw = np.zeros_like(params["w"])
    for j in range(X.shape[1]):
        total = 0.0
        for i in range(n):
            total += X[i, j] * (y[i] - y_hat[i])
        dw[j] = total / n + alpha * np.sign(params["w"][j])
    db = np.sum(y_hat - y) / n
    return {"w": dw, "b": np.array([db])}


# --- focal_15_code / focal_15_proposal: softmax focal loss ----------------------------------


def focal_softmax_loss(scores, labels, gamma, alpha):
    pro = softmax_rows(scores)
    pt = pro[np.arange(len(labels)), labels]
    return np.mean(-alpha * (1.0 - pt) ** gamma * np.log(pt))


def setup_focal_15_code(rng):
    params = {"cls_W": rng.normal(size=(4, 3)) * 0.7, "cls_b": rng.normal(size=3) * 0.3}
    X = rng.normal(size=(6, 4))
    y = rng.integers(0, 3, size=6)
    return params, X, y


def loss_focal_15_code(params, X, y):
    return focal_softmax_loss(X @ params["cls_W"] + params["cls_b"], y, 2.0, 0.25)


def claimed_focal_15_code(params, X, y):
    gamma, alpha = 2.0, 0.25
    rows = np.arange(len(y))
    pro_ = softmax_rows(X @ params["cls_W"] + params["cls_b"])
    pt = pro_[rows, y].reshape(-1, 1)
    dx = (
        alpha
        * np.power(1 - pt, gamma - 1)
        * (gamma * (-1 * pt * pro_) * np.log(pt) + pro_ * (1 - pt))
    )
    pt = pro_[rows, y]
    dx[rows, y] = alpha * np.power(1 - pt, gamma) * (gamma * pt * np.log(pt) + pt - 1)
    dx /= len(y)
    return {"cls_W": X.T @ dx, "cls_b": dx.sum(axis=0)}


def setup_focal_15_proposal(rng):
    return setup_focal_15_code(rng)


def loss_focal_15_proposal(params, X, y):
    return loss_focal_15_code(params, X, y)


def claimed_focal_15_proposal(params, X, y):
    gamma, alpha = 2.0, 0.25
    rows = np.arange(len(y))
    pro_ = softmax_rows(X @ params["cls_W"] + params["cls_b"])
    pt = pro_[rows, y].reshape(-1, 1)
    dx = (
        alpha
        * np.power(1 - pt, gamma - 1)
        * (gamma * (-1 * pt * pro_) * np.log(pt) + pt * (1 - pt))
    )
    pt = pro_[rows, y]
    dx[rows, y] = alpha * np.power(1 - pt, gamma) * (gamma * pt * np.log(pt) + pt - 1)
    dx /= len(y)
    return {"cls_W": X.T @ dx, "cls_b": dx.sum(axis=0)}


# --- catboost_focal: derivative with respect to p passed for the one to the raw score -------


def setup_catboost_focal(rng):
    params = {"leaf": rng.normal(size=3), "bias": rng.normal(size=1) * 0.3}
    X = rng.normal(size=(8, 3))
    y = np.concatenate([np.zeros(4), np.ones(4)])
    return params, X, y


def loss_catboost_focal(params, X, y, gamma=2.0):
    p = sigmoid(X @ params["leaf"] + params["bias"][0])
    pos = -((1 - p) ** gamma) * np.log(p)
    neg = -(p**gamma) * np.log(1 - p)
    return np.sum(np.where(y > 0.0, pos, neg))


def claimed_catboost_focal(params, X, y, gamma=2.0):
    approxes = X @ params["leaf"] + params["bias"][0]
    grad = np.zeros(len(y))
    for index in range(len(y)):
        e = np.exp(approxes[index])
        p = e / (1 + e)
        if y[index] > 0.0:
            der1 = -((1 - p) ** (gamma - 1)) * (gamma * np.log(p) * p + p - 1) / p
        else:
            der1 = (p ** (gamma - 1)) * (gamma * np.log(1 - p) - p) / (1 - p)
        grad[index] = -der1
    return {"leaf": X.T @ grad, "bias": np.array([np.sum(grad)])}


# --- maxpool_assign: overlapping windows overwrite instead of adding ------------------------


def setup_maxpool_assign(rng):
    params = {"w": rng.normal(size=(2, 2)), "b": rng.normal(size=1)}
    X = rng.normal(size=(4, 6, 6))
    y = rng.normal(size=(4, 3, 3))
    return params, X, y


def conv_naive(img, w, b):
    out = np.zeros((img.shape[0] - 1, img.shape[1] - 1))
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = np.sum(img[i : i + 2, j : j + 2] * w) + b[0]
    return out


def max_pool_forward_naive(x, size=3, stride=1):
    H_ = (x.shape[0] - size) // stride + 1
    W_ = (x.shape[1] - size) // stride + 1
    out = np.zeros((H_, W_))
    for i in range(H_):
        for j in range(W_):
            out[i, j] = np.max(x[i * stride : i * stride + size, j * stride : j * stride + size])
    return out


def max_pool_backward_naive(dout, x, size=3, stride=1):
    dx = np.zeros_like(x)
    for i in range(dout.shape[0]):
        for j in range(dout.shape[1]):
            temp = x[i * stride : i * stride + size, j * stride : j * stride + size]
            row, col = np.where(temp == np.max(temp))
            dx[i * stride + row[0], j * stride + col[0]] = dout[i, j]
    return dx


def loss_maxpool_assign(params, X, y):
    total = 0.0
    for n in range(X.shape[0]):
        out = max_pool_forward_naive(conv_naive(X[n], params["w"], params["b"]))
        total += np.sum((out - y[n]) ** 2)
    return total / X.shape[0]


def claimed_maxpool_assign(params, X, y):
    dw, db = np.zeros_like(params["w"]), np.zeros_like(params["b"])
    for n in range(X.shape[0]):
        x = conv_naive(X[n], params["w"], params["b"])
        out = max_pool_forward_naive(x)
        dx = max_pool_backward_naive(2.0 * (out - y[n]) / X.shape[0], x)
        for i in range(dx.shape[0]):
            for j in range(dx.shape[1]):
                dw += dx[i, j] * X[n][i : i + 2, j : j + 2]
        db[0] += np.sum(dx)
    return {"w": dw, "b": db}


# --- dl4j_lstm_clast: gradient arriving at the last cell state is dropped -------------------


def lstm_layer_steps(params, X):
    n = params["Wr"].shape[0]
    h, c = np.zeros((X.shape[0], n)), np.zeros((X.shape[0], n))
    cache = []
    for t in range(X.shape[1]):
        z = X[:, t] @ params["Wx"] + h @ params["Wr"] + params["b"]
        i, f = sigmoid(z[:, :n]), sigmoid(z[:, n : 2 * n])
        g, o = np.tanh(z[:, 2 * n : 3 * n]), sigmoid(z[:, 3 * n :])
        c_new = f * c + i * g
        h_new = o * np.tanh(c_new)
        cache.append((h, c, i, f, g, o, c_new))
        h, c = h_new, c_new
    return h, c, cache


def lstm_layer_bp(params, X, cache, dLdh, dLdc):
    grads = {k: np.zeros_like(v) for k, v in params.items()}
    for t in reversed(range(X.shape[1])):
        h_prev, c_prev, i, f, g, o, c = cache[t]
        tc = np.tanh(c)
        dc = dLdc + dLdh * o * (1.0 - tc**2)
        do = dLdh * tc
        dz = np.concatenate(
            [
                dc * g * i * (1 - i),
                dc * c_prev * f * (1 - f),
                dc * i * (1 - g**2),
                do * o * (1 - o),
            ],
            axis=1,
        )
        grads["Wx"] += X[:, t].T @ dz
        grads["Wr"] += h_prev.T @ dz
        grads["b"] += dz.sum(axis=0)
        dLdh = dz @ params["Wr"].T
        dLdc = dc * f
    return grads


def setup_dl4j_lstm_clast(rng):
    params = {
        "Wx": rng.normal(size=(2, 8)) * 0.6,
        "Wr": rng.normal(size=(2, 8)) * 0.6,
        "b": rng.normal(size=8) * 0.3,
    }
    X = rng.normal(size=(3, 4, 2))
    y = rng.normal(size=(2, 3, 2))
    return params, X, y


def loss_dl4j_lstm_clast(params, X, y):
    yLast, cLast, _ = lstm_layer_steps(params, X)
    return np.sum((yLast - y[0]) ** 2) + np.sum((cLast - y[1]) ** 2)


def claimed_dl4j_lstm_clast(params, X, y):
    yLast, cLast, cache = lstm_layer_steps(params, X)
    dLdhLast = 2.0 * (yLast - y[0])
    dLdcLast = 2.0 * (cLast - y[1])
    return lstm_layer_bp(params, X, cache, dLdhLast, np.zeros_like(dLdcLast))


# --- dl4j_batchnorm_bp: no part of the gradient goes through mean and variance --------------


def setup_dl4j_batchnorm_bp(rng):
    params = {
        "W": rng.normal(size=(3, 4)),
        "gamma": rng.uniform(0.5, 1.5, size=4),
        "beta": rng.normal(size=4) * 0.2,
        "V": rng.normal(size=(4, 2)) * 0.7,
    }
    X = rng.normal(size=(8, 3))
    y = rng.normal(size=(8, 2))
    return params, X, y


def loss_dl4j_batchnorm_bp(params, X, y, eps=1e-5):
    x = X @ params["W"]
    xhat = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + eps)
    out = (params["gamma"] * xhat + params["beta"]) @ params["V"]
    return np.mean((out - y) ** 2)


def claimed_dl4j_batchnorm_bp(params, X, y, eps=1e-5):
    x = X @ params["W"]
    mean, variance = x.mean(axis=0), x.var(axis=0)
    xhat = (x - mean) / np.sqrt(variance + eps)
    bn = params["gamma"] * xhat + params["beta"]
    dLdOut = 2.0 * (bn @ params["V"] - y) / y.size
    dLdO = dLdOut @ params["V"].T
    dLdI = dLdO * params["gamma"] / np.sqrt(variance + eps)
    return {
        "W": X.T @ dLdI,
        "gamma": np.sum(dLdO * xhat, axis=0),
        "beta": np.sum(dLdO, axis=0),
        "V": bn.T @ dLdOut,
    }


# --- nd4j_xent_zero_label: binary cross entropy gradient zero where the label is zero -------


def setup_nd4j_xent_zero_label(rng):
    params = {"W": rng.normal(size=(4, 2)) * 0.7, "b": rng.normal(size=(1, 2)) * 0.2}
    X = rng.normal(size=(6, 4))
    y = np.array([[0, 1], [1, 0], [0, 0], [1, 1], [0, 1], [1, 0]]).astype(float)
    return params, X, y


def loss_nd4j_xent_zero_label(params, X, y):
    out = sigmoid(X @ params["W"] + params["b"])
    return -np.sum(y * np.log(out) + (1.0 - y) * np.log(1.0 - out)) / X.shape[0]


def claimed_nd4j_xent_zero_label(params, X, y):
    out = sigmoid(X @ params["W"] + params["b"])
    dl_dout = -(y / out)
    grad = dl_dout * out * (1.0 - out) / X.shape[0]
    return {"W": X.T @ grad, "b": grad.sum(axis=0, keepdims=True)}


# --- bootcamp42_gradient: the printed "gradient" is theta minus the gradient ----------------


def setup_bootcamp42_gradient(rng):
    params = {"theta": rng.normal(size=(2, 1))}
    X = rng.normal(size=(5, 1)) * 2.0
    y = rng.normal(size=(5, 1))
    return params, X, y


def loss_bootcamp42_gradient(params, X, y):
    X_prime = np.hstack([np.ones((X.shape[0], 1)), X])
    y_hat = X_prime @ params["theta"]
    return np.sum((y_hat - y) ** 2) / (2 * X.shape[0])


def claimed_bootcamp42_gradient(params, X, y):
    m = X.shape[0]
    X_prime = np.hstack([np.ones((m, 1)), X])
    y_hat = X_prime @ params["theta"]
    nabla = params["theta"] - X_prime.T @ (y_hat - y) / m
    return {"theta": nabla}


# --- compboost_binomial: -y in the numerator instead of -2y ---------------------------------


def setup_compboost_binomial(rng):
    params = {"beta": rng.normal(size=3) * 0.6, "offset": rng.normal(size=1) * 0.3}
    X = rng.normal(size=(8, 3))
    y = np.where(rng.uniform(size=8) < 0.5, -1.0, 1.0)
    return params, X, y


def loss_compboost_binomial(params, X, y):
    f = X @ params["beta"] + params["offset"][0]
    return np.sum(np.log(1.0 + np.exp(-2.0 * y * f)))


def claimed_compboost_binomial(params, X, y):
    f = X @ params["beta"] + params["offset"][0]
    gradient = -y / (1.0 + np.exp(2.0 * y * f))
    return {"beta": X.T @ gradient, "offset": np.array([np.sum(gradient)])}


# --- paddle_prelu_out: branch taken on the output instead of the input ----------------------


def setup_paddle_prelu_out(rng):
    params = {
        "W": rng.normal(size=(3, 5)),
        "b": rng.normal(size=5) * 0.3,
        "Alpha": -rng.uniform(0.2, 0.6, size=1),
        "v": rng.normal(size=5),
    }
    X = rng.normal(size=(7, 3))
    y = rng.normal(size=7)
    return params, X, y


def loss_paddle_prelu_out(params, X, y):
    x = X @ params["W"] + params["b"]
    out = np.where(x > 0, x, params["Alpha"][0] * x)
    return np.mean((out @ params["v"] - y) ** 2)


def claimed_paddle_prelu_out(params, X, y):
    x = X @ params["W"] + params["b"]
    alpha = params["Alpha"][0]
    out = np.where(x > 0, x, alpha * x)
    r = 2.0 * (out @ params["v"] - y) / len(y)
    dout = np.outer(r, params["v"])
    dx = np.where(out > 0, dout, alpha * dout)
    dalpha = np.where(out > 0, 0.0, x * dout)
    return {"W": X.T @ dx, "b": dx.sum(axis=0), "Alpha": np.array([np.sum(dalpha)]), "v": out.T @ r}


# --- openlm_gru_dh: gradient carried between steps is scaled by the gate in the wrong place -


def gru_steps_openlm(params, X):
    h = np.zeros((X.shape[0], params["W"].shape[0]))
    ys, cache = [], []
    for s in range(X.shape[1]):
        x = X[:, s]
        f = sigmoid(h @ params["Wf"] + x @ params["Uf"])
        r = sigmoid(h @ params["Wr"] + x @ params["Ur"])
        z = np.tanh((h * r) @ params["W"] + x @ params["U"])
        cache.append((x, h, f, r, z))
        h = f * h + (1.0 - f) * z
        ys.append(h)
    return ys, cache


def rnn_backward_update_openlm(y, W, dy, dW, y_prev, act):
    dx = dy * (1.0 - y * y) if act == "tanh" else dy * y * (1.0 - y)
    return dx, dW + y_prev.T @ dx, dx @ W.T


def setup_openlm_gru_dh(rng):
    params = {}
    for q in ("", "f", "r"):
        params["W" + q] = rng.normal(size=(3, 3)) * 0.7
        params["U" + q] = rng.normal(size=(2, 3)) * 0.7
    X = rng.normal(size=(3, 4, 2))
    y = rng.normal(size=(3, 4, 3))
    return params, X, y


def loss_openlm_gru_dh(params, X, y):
    ys = gru_steps_openlm(params, X)[0]
    return sum(0.5 * np.sum((ys[s] - y[:, s]) ** 2) for s in range(X.shape[1]))


def claimed_openlm_gru_dh(params, X, y):
    ys, cache = gru_steps_openlm(params, X)
    g = {k: np.zeros_like(v) for k, v in params.items()}
    dh = np.zeros_like(ys[0])
    for s in range(X.shape[1] - 1, -1, -1):
        x, h_prev, f, r, z = cache[s]
        output_grad = ys[s] - y[:, s]
        output_grad = output_grad + f * dh
        dh = output_grad
        dx, g["W"], drh = rnn_backward_update_openlm(
            z, params["W"], output_grad * (1.0 - f), g["W"], r * h_prev, "tanh"
        )
        dh = dh + drh * r
        dxf, g["Wf"], d = rnn_backward_update_openlm(
            f, params["Wf"], output_grad * (h_prev - z), g["Wf"], h_prev, "sigmoid"
        )
        dh = dh + d
        dxr, g["Wr"], d = rnn_backward_update_openlm(
            r, params["Wr"], drh * h_prev, g["Wr"], h_prev, "sigmoid"
        )
        dh = dh + d
        g["U"] += x.T @ dx
        g["Uf"] += x.T @ dxf
        g["Ur"] += x.T @ dxr
    return g


# --- farzaa_sigmoid_twice: sigmoid applied again to a value that is already its output ------


def apply_sigmoid_farzaa(x, giveMeTheDerivative=False):
    if giveMeTheDerivative:
        return apply_sigmoid_farzaa(x) * (1 - apply_sigmoid_farzaa(x))
    return 1 / (1 + np.exp(-x))


def setup_farzaa_sigmoid_twice(rng):
    params = {"weights": 2 * rng.random((3, 1)) - 1}
    X = np.array([[0, 0, 1], [1, 1, 1], [1, 0, 1], [0, 1, 1]]).astype(float)
    y = np.array([[0, 1, 1, 0]]).astype(float).T
    return params, X, y


def loss_farzaa_sigmoid_twice(params, X, y):
    prediction = apply_sigmoid_farzaa(np.dot(X, params["weights"]))
    return 0.5 * np.sum((y - prediction) ** 2)


def claimed_farzaa_sigmoid_twice(params, X, y):
    prediction = apply_sigmoid_farzaa(np.dot(X, params["weights"]))
    error = y - prediction
    change_in_error = error * apply_sigmoid_farzaa(prediction, True)
    # the author adds np.dot(inputs.T, change_in_error) to the weights
    return {"weights": -np.dot(X.T, change_in_error)}


# --- brainjs_leaky: forward pass 0 / alpha*sum, backward pass of the usual leaky ReLU -------

BRAIN_ALPHA = 0.01


def brainjs_run(params, x):
    outputs = [x]
    for layer in (1, 2):
        W, b = params[f"weights{layer}"], params[f"biases{layer}"]
        cur = np.zeros(W.shape[0])
        for node in range(W.shape[0]):
            total = b[node]
            for k in range(W.shape[1]):
                total += W[node, k] * outputs[-1][k]
            cur[node] = 0.0 if total < 0 else BRAIN_ALPHA * total
        outputs.append(cur)
    return outputs


def setup_brainjs_leaky(rng):
    params = {
        "weights1": rng.uniform(0.1, 1.0, size=(4, 2)),
        "biases1": rng.normal(size=4) * 0.1,
        "weights2": rng.uniform(0.1, 1.0, size=(1, 4)),
        "biases2": rng.uniform(0.1, 0.4, 1),
    }
    X = rng.uniform(0.2, 1.0, size=(4, 2))
    y = rng.uniform(size=(4, 1))
    return params, X, y


def loss_brainjs_leaky(params, X, y):
    return sum(0.5 * np.sum((y[n] - brainjs_run(params, X[n])[-1]) ** 2) for n in range(len(X)))


def claimed_brainjs_leaky(params, X, y):
    g = {k: np.zeros_like(v) for k, v in params.items()}
    for n in range(len(X)):
        outputs = brainjs_run(params, X[n])
        next_deltas = None
        for layer in (2, 1):
            output = outputs[layer]
            error = y[n] - output if layer == 2 else next_deltas @ params["weights2"]
            deltas = np.where(output > 0, error, BRAIN_ALPHA * error)
            g[f"weights{layer}"] -= np.outer(deltas, outputs[layer - 1])
            g[f"biases{layer}"] -= deltas
            next_deltas = deltas
    return g


# --- so_hidden_error: hidden error sent back without the output derivative, then unused -----


def setup_so_hidden_error(rng):
    params = {"w_0": 2 * rng.random((2, 2)) - 1, "w_1": 2 * rng.random((1, 2)) - 1}
    X = np.array([[0, 1], [0, 1], [1, 0], [1, 0]]).astype(float)
    y = np.array([[0, 0, 1, 1]]).astype(float).T
    return params, X, y


def loss_so_hidden_error(params, X, y):
    total = 0.0
    for j in range(X.shape[0]):
        hidden = sigmoid(np.dot(params["w_0"], X[j].reshape(2, 1)))
        output = sigmoid(np.dot(params["w_1"], hidden))
        total += 0.5 * np.sum((y[j].reshape(1, 1) - output) ** 2)
    return total


def claimed_so_hidden_error(params, X, y):
    g = {"w_0": np.zeros((2, 2)), "w_1": np.zeros((1, 2))}
    for j in range(X.shape[0]):
        inputs = X[j].reshape(2, 1)
        hidden = sigmoid(np.dot(params["w_0"], inputs))
        output = sigmoid(np.dot(params["w_1"], hidden))
        error = y[j].reshape(1, 1) - output
        delta = error * output * (1 - output)
        delta_hidden = error * hidden * (1 - hidden)
        g["w_1"] -= np.dot(delta, hidden.T)
        g["w_0"] -= np.dot(delta_hidden, inputs.T)
    return g


# --- gist_logreg_sign: the gradient for a minimiser carries a stray -1 ----------------------


def setup_gist_logreg_sign(rng):
    params = {"theta": rng.normal(size=3)}
    X = np.hstack([np.ones((8, 1)), rng.normal(size=(8, 2))])
    y = rng.integers(0, 2, size=8).astype(float)
    return params, X, y


def loss_gist_logreg_sign(params, X, y):
    h = sigmoid(X.dot(params["theta"]))
    m = X.shape[0]
    return (1.0 / m) * (-y.dot(np.log(h)) - (1.0 - y).dot(np.log(1.0 - h)))


def claimed_gist_logreg_sign(params, X, y):
    m = X.shape[0]
    grad = np.zeros(3)
    h = sigmoid(X.dot(params["theta"]))
    delta = h - y
    for i in range(grad.size):
        sumdelta = delta.dot(X[:, i])
        grad[i] = (1.0 / m) * sumdelta * -1
    return {"theta": grad}


# --- kimmarcel_hidden: error sent back through the weights after their update ---------------


def setup_kimmarcel_hidden(rng):
    params = {
        "weights0": rng.uniform(-1, 1, size=(4, 2)),
        "biases0": rng.uniform(-1, 1, (4, 1)),
        "weights1": rng.uniform(-1, 1, size=(2, 4)),
        "biases1": rng.uniform(-1, 1, (2, 1)),
    }
    X = rng.uniform(size=(2, 1))
    y = rng.uniform(size=(2, 1))
    return params, X, y


def loss_kimmarcel_hidden(params, X, y):
    layer1 = sigmoid(params["weights0"] @ X + params["biases0"])
    layer2 = sigmoid(params["weights1"] @ layer1 + params["biases1"])
    return 0.5 * np.sum((y - layer2) ** 2)


def claimed_kimmarcel_hidden(params, X, y, learningRate=0.1):
    weights = [params["weights0"].copy(), params["weights1"].copy()]
    biases = [params["biases0"].copy(), params["biases1"].copy()]
    layers = [X]
    for j in range(2):
        layers.append(sigmoid(weights[j] @ layers[j] + biases[j]))
    target = y
    for n in (2, 1):
        errors = target - layers[n]
        gradients = layers[n] * (1.0 - layers[n]) * errors * learningRate
        deltas = gradients @ layers[n - 1].T
        biases[n - 1] = biases[n - 1] + gradients
        weights[n - 1] = weights[n - 1] + deltas
        previousError = weights[n - 1].T @ errors
        target = previousError + layers[n - 1]
    out = {}
    for n in range(2):
        out[f"weights{n}"] = (params[f"weights{n}"] - weights[n]) / learningRate
        out[f"biases{n}"] = (params[f"biases{n}"] - biases[n]) / learningRate
    return out


# --- javaid_rnn_dc: dc += dc ----------------------------------------------------------------


def rnn_forward_javaid(params, inputs, vocab):
    xs, hs, ps = {}, {-1: np.zeros((params["W"].shape[0], 1))}, {}
    for t in range(len(inputs)):
        xs[t] = np.zeros((vocab, 1))
        xs[t][inputs[t]] = 1
        hs[t] = np.tanh(params["U"] @ xs[t] + params["W"] @ hs[t - 1] + params["b"])
        o = params["V"] @ hs[t] + params["c"]
        e = np.exp(o - np.max(o))
        ps[t] = e / np.sum(e)
    return xs, hs, ps


def setup_javaid_rnn_dc(rng):
    params = {
        "U": rng.uniform(-0.6, 0.6, size=(5, 4)),
        "V": rng.uniform(-0.5, 0.5, size=(4, 5)),
        "W": rng.uniform(-0.5, 0.5, size=(5, 5)),
        "b": rng.normal(size=(5, 1)) * 0.1,
        "c": rng.normal(size=(4, 1)) * 0.1,
    }
    X = rng.integers(0, 4, size=6)
    y = rng.integers(0, 4, size=6)
    return params, X, y


def loss_javaid_rnn_dc(params, X, y):
    ps = rnn_forward_javaid(params, X, 4)[2]
    return sum(-np.log(ps[t][y[t], 0]) for t in range(len(X)))


def claimed_javaid_rnn_dc(params, X, y):
    xs, hs, ps = rnn_forward_javaid(params, X, 4)
    dU, dV, dW = (np.zeros_like(params[k]) for k in "UVW")
    db, dc = np.zeros_like(params["b"]), np.zeros_like(params["c"])
    dhnext = np.zeros_like(hs[0])
    for t in reversed(range(len(X))):
        dy = np.copy(ps[t])
        dy[y[t]] -= 1
        dV += np.dot(dy, hs[t].T)
        dc += dc
        dh = np.dot(params["V"].T, dy) + dhnext
        dhrec = (1 - hs[t] * hs[t]) * dh
        db += dhrec
        dU += np.dot(dhrec, xs[t].T)
        dW += np.dot(dhrec, hs[t - 1].T)
        dhnext = np.dot(params["W"].T, dhrec)
    return {"U": dU, "V": dV, "W": dW, "b": db, "c": dc}


# --- coursera_lstm_eq8: candidate gate formula of the course's LSTM cell --------------------


def lstm_cell_coursera(params, xt, a_prev, c_prev):
    concat = np.concatenate([a_prev, xt], axis=0)
    ft = sigmoid(params["Wf"] @ concat + params["bf"])
    it = sigmoid(params["Wi"] @ concat + params["bi"])
    cct = np.tanh(params["Wc"] @ concat + params["bc"])
    c_next = ft * c_prev + it * cct
    ot = sigmoid(params["Wo"] @ concat + params["bo"])
    return concat, ft, it, cct, ot, c_next, ot * np.tanh(c_next)


def setup_coursera_lstm_eq8(rng):
    params = {}
    for q in "fico":
        params["W" + q] = rng.normal(size=(3, 5)) * 0.6
        params["b" + q] = rng.normal(size=(3, 1)) * 0.3
    X = rng.normal(size=(8, 4))
    y = rng.normal(size=(6, 4))
    return params, X, y


def loss_coursera_lstm_eq8(params, X, y):
    xt, a_prev, c_prev = X[:2], X[2:5], X[5:]
    c_next, a_next = lstm_cell_coursera(params, xt, a_prev, c_prev)[5:]
    return np.sum(y[:3] * a_next) + np.sum(y[3:] * c_next)


def claimed_coursera_lstm_eq8(params, X, y):
    xt, a_prev, c_prev = X[:2], X[2:5], X[5:]
    concat, ft, it, cct, ot, c_next, _a_next = lstm_cell_coursera(params, xt, a_prev, c_prev)
    da_next, dc_next = y[:3], y[3:]
    sq = 1 - np.tanh(c_next) ** 2
    dot = da_next * np.tanh(c_next) * ot * (1 - ot)
    dcct = dc_next * it + ot * sq * it * da_next * cct * (1 - np.tanh(cct) ** 2)
    dit = (dc_next * cct + ot * sq * cct * da_next) * it * (1 - it)
    dft = (dc_next * c_prev + ot * sq * c_prev * da_next) * ft * (1 - ft)
    g = {}
    for q, d in (("f", dft), ("i", dit), ("c", dcct), ("o", dot)):
        g["W" + q] = np.dot(d, concat.T)
        g["b" + q] = np.sum(d, axis=1, keepdims=True)
    return g


# --- pytorch_examples_28: right; w2, not its gradient, carries the error back ---------------


def setup_pytorch_examples_28(rng):
    params = {"w1": rng.normal(size=(4, 5)), "w2": rng.normal(size=(5, 3))}
    X = rng.normal(size=(6, 4))
    y = rng.normal(size=(6, 3))
    return params, X, y


def loss_pytorch_examples_28(params, X, y):
    h_relu = np.maximum(X.dot(params["w1"]), 0)
    y_pred = h_relu.dot(params["w2"])
    return np.square(y_pred - y).sum()


def claimed_pytorch_examples_28(params, X, y):
    h = X.dot(params["w1"])
    h_relu = np.maximum(h, 0)
    y_pred = h_relu.dot(params["w2"])
    grad_y_pred = 2.0 * (y_pred - y)
    grad_w2 = h_relu.T.dot(grad_y_pred)
    grad_h_relu = grad_y_pred.dot(params["w2"].T)
    grad_h = grad_h_relu.copy()
    grad_h[h < 0] = 0
    return {"w1": X.T.dot(grad_h), "w2": grad_w2}


# --- mantasu_svm_9: right; the count of violated margins is subtracted at the true class ----


def setup_mantasu_svm_9(rng):
    params = {"W": rng.normal(size=(5, 4)) * 0.4}
    X = rng.normal(size=(8, 5))
    y = rng.integers(0, 4, size=8)
    return params, X, y


def loss_mantasu_svm_9(params, X, y, reg=0.05):
    Y_hat = X @ params["W"]
    n = len(Y_hat)
    y_hat_true = Y_hat[range(n), y][:, np.newaxis]
    margins = np.maximum(0, Y_hat - y_hat_true + 1)
    return margins.sum() / n - 1 + reg * np.sum(params["W"] ** 2)


def claimed_mantasu_svm_9(params, X, y, reg=0.05):
    Y_hat = X @ params["W"]
    n = len(Y_hat)
    y_hat_true = Y_hat[range(n), y][:, np.newaxis]
    margins = np.maximum(0, Y_hat - y_hat_true + 1)
    dW = (margins > 0).astype(float)
    dW[range(n), y] -= dW.sum(axis=1)
    return {"W": X.T @ dW / n + 2 * reg * params["W"]}


# --- mantasu_softmax_10: right; one subtracted from the probability of the true class -------


def setup_mantasu_softmax_10(rng):
    params = {"W": rng.normal(size=(4, 3)) * 0.5}
    X = rng.normal(size=(7, 4))
    y = rng.integers(0, 3, size=7)
    return params, X, y


def loss_mantasu_softmax_10(params, X, y, reg=0.1):
    loss = 0.0
    for i in range(X.shape[0]):
        y_hat = X[i] @ params["W"]
        e = np.exp(y_hat - y_hat.max())
        loss -= np.log(e[y[i]] / e.sum())
    return loss / X.shape[0] + reg * np.sum(params["W"] ** 2)


def claimed_mantasu_softmax_10(params, X, y, reg=0.1):
    dW = np.zeros_like(params["W"])
    N = X.shape[0]
    for i in range(N):
        y_hat = X[i] @ params["W"]
        e = np.exp(y_hat - y_hat.max())
        softmax = e / e.sum()
        softmax[y[i]] -= 1
        dW += np.outer(X[i], softmax)
    dW /= N
    dW += 2 * reg * params["W"]
    return {"W": dW}


# --- dlt_softmax_113: right; softmax output with its log loss has delta -e ------------------


def setup_dlt_softmax_113(rng):
    params = {"W1": rng.normal(size=(4, 4)) * 0.6, "W2": rng.normal(size=(3, 5)) * 0.6}
    X = rng.normal(size=(6, 3))
    y = one_hot_rows(rng.integers(0, 3, size=6), 3)
    return params, X, y


def nnff_dlt(params, X):
    m = X.shape[0]
    a1 = np.hstack([np.ones((m, 1)), X])
    a2 = np.hstack([np.ones((m, 1)), sigmoid(a1 @ params["W1"].T)])
    return a1, a2, softmax_rows(a2 @ params["W2"].T)


def loss_dlt_softmax_113(params, X, y):
    return -np.sum(y * np.log(nnff_dlt(params, X)[2])) / X.shape[0]


def claimed_dlt_softmax_113(params, X, y):
    m = X.shape[0]
    a1, a2, a3 = nnff_dlt(params, X)
    e = y - a3
    d3 = -e
    d_act = a2 * (1.0 - a2)
    d2 = (d3 @ params["W2"]) * d_act
    return {"W1": (d2[:, 1:].T @ a1) / m, "W2": (d3.T @ a2) / m}


# --- caffe_contrastive_2312: right; gradient a - b of the contrastive loss ------------------


def setup_caffe_contrastive_2312(rng):
    params = {"Wa": rng.normal(size=(3, 2)) * 0.5, "Wb": rng.normal(size=(3, 2)) * 0.5}
    X = rng.normal(size=(2, 6, 3))
    y = np.array([1.0, 0.0, 1.0, 0.0, 0.0, 1.0])
    return params, X, y


def loss_caffe_contrastive_2312(params, X, y, margin=3.0):
    a, b = X[0] @ params["Wa"], X[1] @ params["Wb"]
    loss = 0.0
    for i in range(len(y)):
        dist_sq = np.dot(a[i] - b[i], a[i] - b[i])
        loss += dist_sq if y[i] else max(margin - dist_sq, 0.0)
    return loss / len(y) / 2.0


def claimed_caffe_contrastive_2312(params, X, y, margin=3.0):
    a, b = X[0] @ params["Wa"], X[1] @ params["Wb"]
    num = len(y)
    bottom_diff = [np.zeros_like(a), np.zeros_like(b)]
    for i in range(2):
        sign = 1.0 if i == 0 else -1.0
        alpha = sign / num
        for j in range(num):
            diff = a[j] - b[j]
            if y[j]:
                bottom_diff[i][j] = alpha * diff
            elif margin - np.dot(diff, diff) > 0.0:
                bottom_diff[i][j] = -alpha * diff
    return {"Wa": X[0].T @ bottom_diff[0], "Wb": X[1].T @ bottom_diff[1]}


# --- caffe_bn_3912: right; batch normalisation gradient in terms of its output --------------


def setup_caffe_bn_3912(rng):
    params = {
        "W": rng.normal(size=(3, 4)),
        "b": rng.normal(size=4) * 0.2,
        "V": rng.normal(size=(4, 1)),
    }
    X = rng.normal(size=(8, 3))
    y = rng.normal(size=(8, 1))
    return params, X, y


def loss_caffe_bn_3912(params, X, y):
    x = X @ params["W"]
    Y = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-5)
    out = np.tanh(Y + params["b"]) @ params["V"]
    return 0.5 * np.mean((out - y) ** 2)


def claimed_caffe_bn_3912(params, X, y):
    x = X @ params["W"]
    std = np.sqrt(x.var(axis=0) + 1e-5)
    Y = (x - x.mean(axis=0)) / std
    h = np.tanh(Y + params["b"])
    dout = (h @ params["V"] - y) / len(y)
    dEdY = (dout @ params["V"].T) * (1.0 - h**2)
    dEdX = (dEdY - dEdY.mean(axis=0) - (dEdY * Y).mean(axis=0) * Y) / std
    return {"W": X.T @ dEdX, "b": dEdY.sum(axis=0), "V": h.T @ dout}


# --- darknet_bn_4605: right; the part of the mean's delta that seems missing is zero --------


def setup_darknet_bn_4605(rng):
    params = {
        "weights": rng.normal(size=(3, 4)),
        "scales": rng.uniform(0.5, 1.5, size=3),
        "biases": rng.normal(size=3) * 0.3,
    }
    X = rng.normal(size=(8, 4))
    y = rng.normal(size=(8, 3))
    return params, X, y


def loss_darknet_bn_4605(params, X, y):
    x = X @ params["weights"].T
    norm = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 0.00001)
    return np.sum((np.tanh(params["scales"] * norm + params["biases"]) - y) ** 2)


def claimed_darknet_bn_4605(params, X, y):
    batch, filters = X.shape[0], params["weights"].shape[0]
    x = X @ params["weights"].T
    mean, variance = x.mean(axis=0), x.var(axis=0)
    x_norm = (x - mean) / np.sqrt(variance + 0.00001)
    out = np.tanh(params["scales"] * x_norm + params["biases"])
    delta = 2.0 * (out - y) * (1.0 - out**2)
    bias_updates = delta.sum(axis=0)
    scale_updates = (delta * x_norm).sum(axis=0)
    delta = delta * params["scales"]
    mean_delta, variance_delta = np.zeros(filters), np.zeros(filters)
    for i in range(filters):
        for j in range(batch):
            mean_delta[i] += delta[j, i]
            variance_delta[i] += delta[j, i] * (x[j, i] - mean[i])
        mean_delta[i] *= -1.0 / np.sqrt(variance[i] + 0.00001)
        variance_delta[i] *= -0.5 * (variance[i] + 0.00001) ** (-1.5)
    dx = (
        delta / np.sqrt(variance + 0.00001)
        + variance_delta * 2.0 * (x - mean) / batch
        + mean_delta / batch
    )
    return {"weights": dx.T @ X, "scales": scale_updates, "biases": bias_updates}


# --- dvgodoy_21: right; both the error and the sign of the gradient are turned over ---------


def setup_dvgodoy_21(rng):
    params = {"b": rng.normal(size=1), "w": rng.normal(size=1)}
    X = rng.random((8, 1))
    y = 1 + 2 * X + 0.1 * rng.normal(size=(8, 1))
    return params, X, y


def loss_dvgodoy_21(params, X, y):
    yhat = params["b"] + params["w"] * X
    return ((y - yhat) ** 2).mean()


def claimed_dvgodoy_21(params, X, y):
    yhat = params["b"] + params["w"] * X
    error = y - yhat
    b_grad = -2 * error.mean()
    w_grad = -2 * (X * error).mean()
    return {"b": np.array([b_grad]), "w": np.array([w_grad])}


# --- schneems_12: right; the common factor 1/m taken out of a regularised gradient ----------


def setup_schneems_12(rng):
    params = {"theta": rng.normal(size=(4, 1))}
    X = np.hstack([np.ones((8, 1)), rng.normal(size=(8, 3))])
    y = rng.integers(0, 2, size=(8, 1)).astype(float)
    return params, X, y


def loss_schneems_12(params, X, y, lam=1.0):
    m = len(y)
    h = sigmoid(X @ params["theta"])
    theta_reg = np.vstack([np.zeros((1, 1)), params["theta"][1:]])
    cost = -np.sum(y * np.log(h) + (1 - y) * np.log(1 - h)) / m
    return cost + lam / (2 * m) * np.sum(theta_reg**2)


def claimed_schneems_12(params, X, y, lam=1.0):
    m = len(y)
    h = sigmoid(X @ params["theta"])
    theta_reg = np.vstack([np.zeros((1, 1)), params["theta"][1:]])
    return {"theta": (1 / m) * (X.T @ (h - y) + lam * theta_reg)}


# --- mlfs_logistic_107: right; gradient of the logistic loss is -(y - p) --------------------


def setup_mlfs_logistic_107(rng):
    params = {"score": rng.normal(size=8)}
    X = np.zeros((8, 1))
    y = rng.integers(0, 2, size=8).astype(float)
    return params, X, y


def loss_mlfs_logistic_107(params, X, y):
    p = sigmoid(params["score"])
    return -np.sum(y * np.log(p) + (1 - y) * np.log(1 - p))


def claimed_mlfs_logistic_107(params, X, y):
    p = sigmoid(params["score"])
    return {"score": -(y - p)}


# --- reddit_bn_hx87z3: right; batch normalisation through the graph, odd sum over all -------


def setup_reddit_bn_hx87z3(rng):
    params = {
        "W1": rng.normal(size=(4, 5)),
        "gamma1": rng.uniform(0.6, 1.4, size=5),
        "beta1": rng.normal(size=5) * 0.2,
        "W2": rng.normal(size=(5, 3)) * 0.5,
        "b2": rng.normal(size=3) * 0.1,
    }
    X = rng.normal(size=(7, 4))
    y = rng.integers(0, 3, size=7)
    return params, X, y


def bn_scores_reddit(params, X):
    x = X @ params["W1"]
    mean = x.mean(axis=0, keepdims=True)
    var = x.var(axis=0, keepdims=True)
    x_hat = (x - mean) / np.sqrt(var + 1e-5)
    pre = params["gamma1"] * x_hat + params["beta1"]
    hidden = np.maximum(pre, 0.0)
    return x, mean, var, x_hat, pre, hidden, hidden @ params["W2"] + params["b2"]


def loss_reddit_bn_hx87z3(params, X, y):
    probs = softmax_rows(bn_scores_reddit(params, X)[-1])
    return -np.mean(np.log(probs[np.arange(len(y)), y]))


def claimed_reddit_bn_hx87z3(params, X, y):
    N = len(y)
    x, mean, var, x_hat, pre, hidden, scores = bn_scores_reddit(params, X)
    dscores = softmax_rows(scores)
    dscores[np.arange(N), y] -= 1
    dscores /= N
    dout = (dscores @ params["W2"].T) * (pre > 0)
    inv_var = 1.0 / np.sqrt(var + 1e-5)
    dnorm_x = dout * params["gamma1"]
    dvar_x = np.sum(dnorm_x * (x - mean) * -0.5 * np.power(var + 1e-5, -1.5), axis=0, keepdims=True)
    dmean_x = np.sum(dnorm_x * -inv_var, axis=0, keepdims=True) + dvar_x * (
        np.sum(-2.0 * (x - mean)) / float(N)
    )
    dx = (dnorm_x * inv_var) + (dvar_x * ((2.0 / N) * (x - mean))) + (dmean_x / float(N))
    return {
        "W1": X.T @ dx,
        "gamma1": np.sum(dout * x_hat, axis=0),
        "beta1": np.sum(dout, axis=0),
        "W2": hidden.T @ dscores,
        "b2": dscores.sum(axis=0),
    }


# --- cthorey_lstm_1: right; the cell gradient is added to, since the cell branches ----------


def setup_cthorey_lstm_1(rng):
    params = {
        "Wx": rng.normal(size=(3, 8)) * 0.6,
        "Wh": rng.normal(size=(2, 8)) * 0.6,
        "b": rng.normal(size=8) * 0.3,
    }
    X = rng.normal(size=(2, 4, 3))
    y = rng.normal(size=(2, 4, 2))
    return params, X, y


def lstm_run_cthorey(params, X):
    n, T, H = X.shape[0], X.shape[1], params["Wh"].shape[0]
    h, c, caches = np.zeros((n, H)), np.zeros((n, H)), []
    hs = np.zeros((n, T, H))
    for t in range(T):
        act = X[:, t] @ params["Wx"] + h @ params["Wh"] + params["b"]
        i, f = sigmoid(act[:, :H]), sigmoid(act[:, H : 2 * H])
        o, g = sigmoid(act[:, 2 * H : 3 * H]), np.tanh(act[:, 3 * H :])
        next_c = f * c + i * g
        next_h = o * np.tanh(next_c)
        caches.append((X[:, t], h, c, i, f, o, g, next_c))
        h, c = next_h, next_c
        hs[:, t] = h
    return hs, caches


def loss_cthorey_lstm_1(params, X, y):
    return np.sum(lstm_run_cthorey(params, X)[0] * y)


def claimed_cthorey_lstm_1(params, X, y):
    hs, caches = lstm_run_cthorey(params, X)
    grads = {k: np.zeros_like(v) for k, v in params.items()}
    dprev_h = np.zeros((X.shape[0], hs.shape[2]))
    dprev_c = np.zeros_like(dprev_h)
    for t in reversed(range(X.shape[1])):
        x, prev_h, prev_c, i, f, o, g, next_c = caches[t]
        dnext_h = y[:, t] + dprev_h
        dnext_c = dprev_c.copy()
        dnext_c += o * (1 - np.tanh(next_c) ** 2) * dnext_h
        do = np.tanh(next_c) * dnext_h
        da = np.hstack(
            [
                dnext_c * g * i * (1 - i),
                dnext_c * prev_c * f * (1 - f),
                do * o * (1 - o),
                dnext_c * i * (1 - g**2),
            ]
        )
        grads["Wx"] += x.T @ da
        grads["Wh"] += prev_h.T @ da
        grads["b"] += da.sum(axis=0)
        dprev_h = da @ params["Wh"].T
        dprev_c = f * dnext_c
    return grads


# --- lazyprogrammer_tanh_2: right; 1 - Z*Z with Z the output of tanh ------------------------


def setup_lazyprogrammer_tanh_2(rng):
    params = {
        "W1": rng.normal(size=(4, 5)) * 0.5,
        "b1": rng.normal(size=5) * 0.2,
        "W2": rng.normal(size=(5, 3)) * 0.5,
        "b2": rng.normal(size=3) * 0.2,
    }
    X = rng.normal(size=(8, 4))
    y = one_hot_rows(rng.integers(0, 3, size=8), 3)
    return params, X, y


def loss_lazyprogrammer_tanh_2(params, X, y, reg=0.01):
    Z = np.tanh(X.dot(params["W1"]) + params["b1"])
    pY = softmax_rows(Z.dot(params["W2"]) + params["b2"])
    return -np.sum(y * np.log(pY)) + 0.5 * reg * sum(np.sum(v**2) for v in params.values())


def claimed_lazyprogrammer_tanh_2(params, X, y, reg=0.01):
    Z = np.tanh(X.dot(params["W1"]) + params["b1"])
    pY = softmax_rows(Z.dot(params["W2"]) + params["b2"])
    pY_T = pY - y
    dZ = pY_T.dot(params["W2"].T) * (1 - Z * Z)
    return {
        "W2": Z.T.dot(pY_T) + reg * params["W2"],
        "b2": pY_T.sum(axis=0) + reg * params["b2"],
        "W1": X.T.dot(dZ) + reg * params["W1"],
        "b1": dZ.sum(axis=0) + reg * params["b1"],
    }


# --- agh_backprop: deltas sent back without the activation's derivative ---------------------


def setup_agh_backprop(rng):
    params = {
        "W1": rng.normal(size=(3, 2)) * 0.7,
        "W2": rng.normal(size=(2, 3)) * 0.7,
        "W3": rng.normal(size=(1, 2)),
    }
    X = rng.uniform(-1.0, 1.0, size=2)
    y = rng.uniform(size=1)
    return params, X, y


def agh_signals(params, x):
    signals = [x]
    for name in ("W1", "W2", "W3"):
        signals.append(sigmoid(params[name] @ signals[-1]))
    return signals


def loss_agh_backprop(params, X, y):
    return 0.5 * np.sum((y - agh_signals(params, X)[-1]) ** 2)


def claimed_agh_backprop(params, X, y):
    s = agh_signals(params, X)
    delta = y - s[3]
    deltas = {"W3": delta}
    deltas["W2"] = params["W3"].T @ deltas["W3"]
    deltas["W1"] = params["W2"].T @ deltas["W2"]
    g = {}
    for k, name in enumerate(("W1", "W2", "W3")):
        dfde = s[k + 1] * (1.0 - s[k + 1])
        g[name] = -np.outer(deltas[name] * dfde, s[k])
    return g


# --- bootcamp42_half: 1/(2m) kept in the gradient -------------------------------------------


def setup_bootcamp42_half(rng):
    params = {"theta": rng.normal(size=3)}
    X = rng.normal(size=(7, 3)) * 2.0
    y = rng.normal(size=7)
    return params, X, y


def loss_bootcamp42_half(params, X, y):
    return sum((params["theta"].dot(X[i]) - y[i]) ** 2 for i in range(len(X))) / (2 * len(X))


def claimed_bootcamp42_half(params, X, y):
    theta = params["theta"]
    res = []
    for j in range(len(theta)):
        line = sum((theta.dot(X[i]) - y[i]) * X[i][j] for i in range(len(X))) / (2 * len(X))
        res.append(line)
    return {"theta": np.array(res)}


# --- stats_softmax_layer: h_j (1 - h_j) as the whole derivative of a softmax output ---------


def setup_stats_softmax_layer(rng):
    params = {"Theta1": rng.normal(size=(4, 3)) * 0.7, "Theta2": rng.normal(size=(3, 5)) * 0.7}
    X = rng.normal(size=(5, 2))
    y = one_hot_rows(rng.integers(0, 3, size=5), 3)
    return params, X, y


def loss_stats_softmax_layer(params, X, y):
    m = X.shape[0]
    J = 0.0
    for t in range(m):
        a1 = np.concatenate([[1.0], X[t]])
        a2 = np.concatenate([[1.0], sigmoid(params["Theta1"] @ a1)])
        z = params["Theta2"] @ a2
        h = np.exp(z) / np.sum(np.exp(z))
        J -= y[t] @ np.log(h) / m
    return J


def claimed_stats_softmax_layer(params, X, y):
    m = X.shape[0]
    D1, D2 = np.zeros_like(params["Theta1"]), np.zeros_like(params["Theta2"])
    for t in range(m):
        a1 = np.concatenate([[1.0], X[t]])
        a2 = np.concatenate([[1.0], sigmoid(params["Theta1"] @ a1)])
        z = params["Theta2"] @ a2
        h = np.exp(z) / np.sum(np.exp(z))
        delta3 = -(y[t] / h) * h * (1.0 - h)
        delta2 = (params["Theta2"].T @ delta3) * a2 * (1.0 - a2)
        D2 += np.outer(delta3, a2)
        D1 += np.outer(delta2[1:], a1)
    return {"Theta1": D1 / m, "Theta2": D2 / m}

"""Gradients that people published, right and wrong, restated from the mathematics of the reports.

No code is copied: each is written afresh, in plain NumPy, of the formulas that the source states;
the names of variables are those that the formulas force. Of a report there are

    setup_<id>(random)             its params, X and y, drawn;
    loss_<id>(params, X, y)        the loss that it has;
    claimed_<id>(params, X, y)     the gradient that it claims, by parameter.
"""

import numpy as np

K = {}  # fixed side data (dropout masks etc.), keyed by id


def sig(z):
    return 1.0 / (1.0 + np.exp(-z))


def softmax_rows(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def softmax_cols(z):
    e = np.exp(z - z.max(axis=0, keepdims=True))
    return e / e.sum(axis=0, keepdims=True)


def net_rows(rng, sizes, bias=True, s=0.8):
    p = {}
    for layer in range(1, len(sizes)):
        p[f"W{layer}"] = rng.normal(0, s, (sizes[layer - 1], sizes[layer]))
        if bias:
            p[f"b{layer}"] = rng.normal(0, 0.3, sizes[layer])
    return p


def net_cols(rng, sizes, bias=True, s=0.8):
    p = {}
    for layer in range(1, len(sizes)):
        p[f"W{layer}"] = rng.normal(0, s, (sizes[layer], sizes[layer - 1]))
        if bias:
            p[f"b{layer}"] = rng.normal(0, 0.3, (sizes[layer], 1))
    return p


def hot_rows(rng, n, c):
    return np.eye(c)[rng.integers(0, c, n)]


def setup_botacademy_pr3(rng):
    return net_cols(rng, [6, 4, 3]), rng.normal(size=(6, 1)), np.eye(3)[:, [1]]


def loss_botacademy_pr3(params, X, y):
    h = sig(params["W1"] @ X + params["b1"])
    o = sig(params["W2"] @ h + params["b2"])
    return np.sum((o - y) ** 2) / len(o)


def claimed_botacademy_pr3(params, X, y):
    lr = 0.01
    W2 = params["W2"].copy()
    a1 = sig(params["W1"] @ X + params["b1"])
    a2 = sig(W2 @ a1 + params["b2"])
    d2 = a2 - y
    dW2 = d2 @ a1.T
    db2 = d2
    W2 -= lr * dW2  # updated before it is used below
    d1 = W2.T @ d2 * (a1 * (1 - a1))
    return {"W1": d1 @ X.T, "b1": d1, "W2": dW2, "b2": db2}


def setup_botacademy_generic(rng):
    return net_rows(rng, [5, 4, 3]), rng.normal(size=(6, 5)), hot_rows(rng, 6, 3)


def loss_botacademy_generic(params, X, y):
    a1 = sig(X @ params["W1"] + params["b1"])
    a2 = sig(a1 @ params["W2"] + params["b2"])
    return np.sum((a2 - y) ** 2) / len(X)


def claimed_botacademy_generic(params, X, y):
    a1 = sig(X @ params["W1"] + params["b1"])
    a2 = sig(a1 @ params["W2"] + params["b2"])
    delta2 = a2 - y
    dW2 = a1.T @ delta2
    db2 = np.sum(delta2) * np.ones_like(params["b2"])  # one scalar for the whole layer
    delta1 = params["W2"] @ delta2.T * (a1 * (1 - a1)).T
    dW1 = X.T @ delta1.T
    db1 = np.sum(delta1) * np.ones_like(params["b1"])
    return {"W1": dW1, "b1": db1, "W2": dW2, "b2": db2}


def setup_louisjc_1(rng):
    p = {
        "W1": rng.normal(0, 0.7, (4, 6)),
        "W2": rng.normal(0, 0.7, (3, 5)),
    }  # last column is the bias
    return p, rng.normal(size=5), np.array([0.0, 1.0, 0.0])


def loss_louisjc_1(params, X, y):
    h = sig(params["W1"] @ np.append(X, 1))
    o = sig(params["W2"] @ np.append(h, 1))
    return 0.5 * np.sum((o - y) ** 2)


def claimed_louisjc_1(params, X, y):
    c = 0.1
    h = sig(params["W1"] @ np.append(X, 1))
    o = sig(params["W2"] @ np.append(h, 1))
    d2 = o * (1 - o) * (o - y)
    dW2 = np.outer(d2, np.append(h, 1))
    W2 = params["W2"] - c * dW2  # already updated
    d1 = h * (1 - h) * (np.delete(W2, 2, 1).T @ d2)  # drops column 2, not the bias column 4
    return {"W1": np.outer(d1, np.append(X, 1)), "W2": dW2}


def setup_joelgrus_31(rng):
    p = {"W1": rng.normal(0, 0.7, (4, 6)), "W2": rng.normal(0, 0.7, (3, 5))}
    return p, rng.normal(size=5), np.array([0.0, 0.0, 1.0])


def loss_joelgrus_31(params, X, y):
    h = sig(params["W1"] @ np.append(X, 1))
    o = sig(params["W2"] @ np.append(h, 1))
    return 0.5 * np.sum((o - y) ** 2)


def claimed_joelgrus_31(params, X, y):
    h = sig(params["W1"] @ np.append(X, 1))
    o = sig(params["W2"] @ np.append(h, 1))
    d2 = o * (1 - o) * (o - y)
    dW2 = np.outer(d2, np.append(h, 1))
    W2 = params["W2"] - dW2  # step of size 1 taken first
    d1 = h * (1 - h) * (W2[:, :-1].T @ d2)
    return {"W1": np.outer(d1, np.append(X, 1)), "W2": dW2}


def setup_codingtrain_72(rng):
    return net_cols(rng, [2, 4, 3, 1]), np.array([[1.0], [0.4]]), np.array([[1.0]])


def loss_codingtrain_72(params, X, y):
    a = X
    for layer in (1, 2, 3):
        a = sig(params[f"W{layer}"] @ a + params[f"b{layer}"])
    return 0.5 * np.sum((y - a) ** 2)


def claimed_codingtrain_72(params, X, y):
    lr = 0.1
    W = {layer: params[f"W{layer}"].copy() for layer in (1, 2, 3)}
    acts = [X]
    for layer in (1, 2, 3):
        acts.append(sig(W[layer] @ acts[-1] + params[f"b{layer}"]))
    g = {}
    error = y - acts[3]
    grad = acts[3] * (1 - acts[3]) * error
    for layer in (3, 2, 1):
        g[f"W{layer}"] = -(grad @ acts[layer - 1].T)
        g[f"b{layer}"] = -grad
        W[layer] += lr * grad @ acts[layer - 1].T  # step first ...
        error = W[layer].T @ error  # ... then send the RAW error back
        grad = acts[layer - 1] * (1 - acts[layer - 1]) * error
    return g


def setup_myonn_88(rng):
    return (
        net_cols(rng, [5, 4, 3], bias=False),
        rng.uniform(0.01, 1, (5, 1)),
        np.array([[0.01], [0.99], [0.01]]),
    )


def loss_myonn_88(params, X, y):
    h = sig(params["W1"] @ X)
    o = sig(params["W2"] @ h)
    return 0.5 * np.sum((y - o) ** 2)


def claimed_myonn_88(params, X, y):
    h = sig(params["W1"] @ X)
    o = sig(params["W2"] @ h)
    e_out = y - o
    e_hid = params["W2"].T @ e_out
    dW2 = -(e_out * o * (1 - o)) @ h.T
    dW1 = -(e_hid * h * (1 - h)) @ X.T
    return {"W1": dW1, "W2": dW2}


def setup_hunkim_113(rng):
    return (
        net_rows(rng, [2, 2, 1]),
        np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]),
        np.array([[0.0], [1], [1], [0]]),
    )


def loss_hunkim_113(params, X, y):
    a1 = sig(X @ params["W1"] + params["b1"])
    a2 = sig(a1 @ params["W2"] + params["b2"])
    return -np.mean(y * np.log(a2) + (1 - y) * np.log(1 - a2))


def claimed_hunkim_113(params, X, y):
    z1 = X @ params["W1"] + params["b1"]
    a1 = sig(z1)
    z2 = a1 @ params["W2"] + params["b2"]
    a2 = sig(z2)
    d2 = (a2 - y) * a2 * (1 - a2)
    d1 = (d2 @ params["W2"].T) * a1 * (1 - a1)
    return {"W1": X.T @ d1, "b1": d1.mean(axis=0), "W2": a1.T @ d2, "b2": d2.mean(axis=0)}


def setup_hunkim_173(rng):
    return net_rows(rng, [2, 2, 1]), rng.normal(size=(8, 2)), (rng.random((8, 1)) > 0.5) * 1.0


def loss_hunkim_173(params, X, y):
    a1 = sig(X @ params["W1"] + params["b1"])
    a2 = sig(a1 @ params["W2"] + params["b2"])
    return -np.mean(y * np.log(a2) + (1 - y) * np.log(1 - a2))


def claimed_hunkim_173(params, X, y):
    a1 = sig(X @ params["W1"] + params["b1"])
    a2 = sig(a1 @ params["W2"] + params["b2"])
    d2 = a2 - y
    d1 = (d2 @ params["W2"].T) * a1 * (1 - a1)
    return {"W1": X.T @ d1, "b1": d1.mean(axis=0), "W2": a1.T @ d2, "b2": d2.mean(axis=0)}


def setup_jiexunsee_1(rng):
    return (
        net_rows(rng, [3, 5, 6, 1], bias=False, s=1.0),
        np.array([[0.0, 0, 1], [1, 1, 1], [1, 0, 1], [0, 1, 1]]),
        np.array([[0.0], [1], [1], [0]]),
    )


def loss_jiexunsee_1(params, X, y):
    a = X
    for layer in (1, 2, 3):
        a = sig(a @ params[f"W{layer}"])
    return 0.5 * np.sum((y - a) ** 2)


def claimed_jiexunsee_1(params, X, y):
    h1 = sig(X @ params["W1"])
    h2 = sig(h1 @ params["W2"])
    out = sig(h2 @ params["W3"])
    e = y - out
    d2 = params["W3"] @ e.T * (h2 * (1 - h2)).T
    d1 = params["W2"] @ d2 * (h1 * (1 - h1)).T
    return {"W3": -(h2.T @ e), "W2": -(h1.T @ d2.T), "W1": -(X.T @ d1.T)}


def setup_gophernet_6(rng):
    return net_rows(rng, [4, 3, 3]), rng.uniform(0, 1, (6, 4)), hot_rows(rng, 6, 3)


def loss_gophernet_6(params, X, y):
    h = sig(X @ params["W1"] + params["b1"])
    o = sig(h @ params["W2"] + params["b2"])
    return 0.5 * np.sum((y - o) ** 2)


def claimed_gophernet_6(params, X, y):
    h = sig(X @ params["W1"] + params["b1"])
    o = sig(h @ params["W2"] + params["b2"])

    def prime(v):
        return sig(v) * (1 - sig(v))  # fed with activations, not with z

    d_out = (o - y) * prime(o)
    d_hid = (d_out @ params["W2"].T) * prime(h)
    return {"W1": X.T @ d_hid, "b1": d_hid.sum(axis=0), "W2": h.T @ d_out, "b2": d_out.sum(axis=0)}


def setup_neural2d_40(rng):
    return net_cols(rng, [4, 5, 3, 2], s=0.4), rng.normal(size=(4, 1)), np.array([[0.5], [-0.5]])


def loss_neural2d_40(params, X, y):
    a = X
    for layer in (1, 2, 3):
        a = np.tanh(params[f"W{layer}"] @ a + params[f"b{layer}"])
    return 0.5 * np.sum((a - y) ** 2)


def claimed_neural2d_40(params, X, y):
    acts = [X]
    for layer in (1, 2, 3):
        acts.append(np.tanh(params[f"W{layer}"] @ acts[-1] + params[f"b{layer}"]))
    g = {}
    delta = (acts[3] - y) * (
        1 - np.tanh(acts[3]) ** 2
    )  # tanh taken of an output that is already tanh
    for layer in (3, 2, 1):
        g[f"W{layer}"] = delta @ acts[layer - 1].T
        g[f"b{layer}"] = delta
        if layer > 1:
            delta = params[f"W{layer}"].T @ delta * (1 - np.tanh(acts[layer - 1]) ** 2)
    return g


def setup_ttezel_8(rng):
    return net_cols(rng, [3, 4, 2]), rng.normal(size=(3, 1)), np.array([[0.7], [-0.3]])


def loss_ttezel_8(params, X, y):
    h = np.tanh(params["W1"] @ X + params["b1"])
    o = np.tanh(params["W2"] @ h + params["b2"])
    return 0.5 * np.sum((y - o) ** 2)


def claimed_ttezel_8(params, X, y):
    lr = 0.4
    h = np.tanh(params["W1"] @ X + params["b1"])
    o = np.tanh(params["W2"] @ h + params["b2"])
    s2 = (y - o) * o * (1 - o)  # logistic slope for a tanh unit
    W2 = params["W2"] + lr * s2 @ h.T
    s1 = (W2.T @ s2) * h * (1 - h)
    return {"W1": -s1 @ X.T, "b1": -s1, "W2": -s2 @ h.T, "b2": -s2}


def setup_omarflorez_5(rng):
    return net_rows(rng, [2, 6, 2], bias=False), rng.normal(size=(10, 2)), hot_rows(rng, 10, 2)


def loss_omarflorez_5(params, X, y):
    reg, N = 0.01, len(X)
    h2 = sig(sig(X @ params["W1"]) @ params["W2"])
    return np.sum((y - h2) ** 2) / (2 * N) + reg * (
        np.sum(params["W2"] ** 2) + np.sum(params["W2"] ** 2)
    ) / (2 * N)


def claimed_omarflorez_5(params, X, y):
    reg = 0.01
    h1 = sig(X @ params["W1"])
    h2 = sig(h1 @ params["W2"])
    dz2 = -(y - h2) * h2 * (1 - h2)
    dW2 = h1.T @ dz2 + reg * np.sum(params["W2"] ** 2)  # a scalar added to every entry, no 1/N
    dz1 = (dz2 @ params["W2"].T) * h1 * (1 - h1)
    dW1 = X.T @ dz1 + reg * np.sum(params["W1"] ** 2)
    return {"W1": dW1, "W2": dW2}


def setup_andersbll_tanh(rng):
    return net_rows(rng, [4, 5, 3]), rng.normal(size=(7, 4)), hot_rows(rng, 7, 3)


def loss_andersbll_tanh(params, X, y):
    p = softmax_rows(np.tanh(X @ params["W1"] + params["b1"]) @ params["W2"] + params["b2"])
    return -np.sum(y * np.log(p)) / len(X)


def claimed_andersbll_tanh(params, X, y):
    n = len(X)
    z1 = X @ params["W1"] + params["b1"]
    a1 = np.tanh(z1)
    p = softmax_rows(a1 @ params["W2"] + params["b2"])
    g2 = p - y
    e = np.exp(2 * z1)
    g1 = (g2 @ params["W2"].T) * (e - 1) / (e + 1)  # this is tanh(z1), not its slope
    return {"W1": X.T @ g1 / n, "b1": g1.mean(axis=0), "W2": a1.T @ g2 / n, "b2": g2.mean(axis=0)}


def setup_andersbll_4(rng):
    return net_rows(rng, [4, 5, 3]), rng.normal(size=(7, 4)), hot_rows(rng, 7, 3)


def loss_andersbll_4(params, X, y):
    wd = 0.1
    p = softmax_rows(np.maximum(0, X @ params["W1"] + params["b1"]) @ params["W2"] + params["b2"])
    return -np.sum(y * np.log(p)) / len(X) + 0.5 * wd * (
        np.sum(params["W1"] ** 2) + np.sum(params["W2"] ** 2)
    )


def claimed_andersbll_4(params, X, y):
    wd, n = 0.1, len(X)
    z1 = X @ params["W1"] + params["b1"]
    a1 = np.maximum(0, z1)
    g2 = softmax_rows(a1 @ params["W2"] + params["b2"]) - y
    g1 = (g2 @ params["W2"].T) * (z1 >= 0)
    return {
        "W1": X.T @ g1 / n - wd * params["W1"],
        "b1": g1.mean(axis=0),
        "W2": a1.T @ g2 / n - wd * params["W2"],
        "b2": g2.mean(axis=0),
    }


def setup_kvfrans_5(rng):
    p = net_cols(rng, [5, 6, 1])
    p["b1"] = p["b1"][:, 0]
    del p["b2"]
    return p, rng.normal(size=(5, 9)), rng.normal(size=(1, 9))


def loss_kvfrans_5(params, X, y):
    h3 = np.maximum(0, params["W1"] @ X + params["b1"][:, None])
    return np.mean((params["W2"] @ h3 - y) ** 2)


def claimed_kvfrans_5(params, X, y):
    z1 = params["W1"] @ X + params["b1"][:, None]
    a1 = np.maximum(0, z1)
    out = params["W2"] @ a1
    delta2 = 2 * (out - y) / y.size
    delta1 = (params["W2"].T @ delta2) * (z1 > 0)
    return {"W1": delta1 @ X.T, "b1": np.mean(delta1, axis=1), "W2": delta2 @ a1.T}


def _cbow(rng, V=7, H=4, m=5):
    p = {
        "W1": rng.normal(0, 0.8, (H, V)),
        "b1": rng.normal(0, 0.3, (H, 1)),
        "W2": rng.normal(0, 0.8, (V, H)),
        "b2": rng.normal(0, 0.3, (V, 1)),
    }
    X = np.zeros((V, m))
    for j in range(m):  # average of four one-hot context words
        for w in rng.integers(0, V, 4):
            X[w, j] += 0.25
    return p, X, np.eye(V)[:, rng.integers(0, V, m)]


def setup_nlpc2w4_64(rng):
    return _cbow(rng)


def loss_nlpc2w4_64(params, X, y):
    h = np.maximum(0, params["W1"] @ X + params["b1"])
    p = softmax_cols(params["W2"] @ h + params["b2"])
    return -np.sum(y * np.log(p)) / X.shape[1]


def claimed_nlpc2w4_64(params, X, y):
    m = X.shape[1]
    z1 = params["W1"] @ X + params["b1"]
    h = np.maximum(0, z1)
    yhat = softmax_cols(params["W2"] @ h + params["b2"])
    l1 = params["W2"].T @ (yhat - y)
    l1[z1 < 0] = 0
    return {
        "W1": l1 @ X.T / m,
        "W2": (yhat - y) @ h.T / m,
        "b1": np.sum(l1 @ X.T / m, axis=1, keepdims=True),  # rows of dW1 added up
        "b2": np.sum((yhat - y) @ h.T / m, axis=1, keepdims=True),
    }  # rows of dW2 added up


def setup_nlpc2w4_relu(rng):
    return _cbow(rng)


loss_nlpc2w4_relu = loss_nlpc2w4_64


def claimed_nlpc2w4_relu(params, X, y):
    m = X.shape[1]
    h = np.maximum(0, params["W1"] @ X + params["b1"])
    yhat = softmax_cols(params["W2"] @ h + params["b2"])
    l1 = np.maximum(0, params["W2"].T @ (yhat - y))  # relu of the back-propagated error itself
    return {
        "W1": l1 @ X.T / m,
        "W2": (yhat - y) @ h.T / m,
        "b1": l1.sum(axis=1, keepdims=True) / m,
        "b2": (yhat - y).sum(axis=1, keepdims=True) / m,
    }


def setup_stat453_5(rng):
    return (
        {"W1": rng.normal(0, 0.8, (3, 2)), "b1": rng.normal(0, 0.3, 3)},
        rng.normal(size=(8, 2)),
        hot_rows(rng, 8, 3),
    )


def loss_stat453_5(params, X, y):
    p = softmax_rows(X @ params["W1"].T + params["b1"])
    return -np.sum(y * np.log(p)) / len(X)


def claimed_stat453_5(params, X, y):
    p = softmax_rows(X @ params["W1"].T + params["b1"])
    dW = -(X.T @ (y - p)).T / len(X)
    db = -np.sum(y - p) / len(X)  # one number (nearly 0) for all classes
    return {"W1": dW, "b1": db * np.ones(3)}


def _svm(rng):
    return {"W1": rng.normal(0, 0.6, (5, 4))}, rng.normal(size=(8, 5)), rng.integers(0, 4, 8)


def setup_jingting_3(rng):
    return _svm(rng)


def loss_jingting_3(params, X, y):
    W, n, reg = params["W1"], len(X), 0.3
    s = X @ W
    m = np.maximum(0, s - s[np.arange(n), y][:, None] + 1)
    m[np.arange(n), y] = 0
    return m.sum() / n + reg * np.sum(W * W)


def claimed_jingting_3(params, X, y):
    W, n, reg = params["W1"], len(X), 0.3
    s = X @ W
    m = np.maximum(0, s - s[np.arange(n), y][:, None] + 1)
    m[np.arange(n), y] = 0
    c = (m > 0) * 1.0
    c[np.arange(n), y] = -c.sum(axis=1)
    return {"W1": X.T @ c / n + reg * W}  # the penalty has no 1/2, so 2*reg*W is due


def setup_zigdnn_5(rng):
    return net_rows(rng, [4, 6, 3]), rng.normal(size=(5, 4)), hot_rows(rng, 5, 3)


def loss_zigdnn_5(params, X, y):
    z1 = X @ params["W1"] + params["b1"]
    a1 = np.where(z1 < 0, 0.01 * z1, z1)
    p = softmax_rows(a1 @ params["W2"] + params["b2"])
    return -np.sum(y * np.log(p)) / len(X)


def claimed_zigdnn_5(params, X, y):
    n = len(X)
    z1 = X @ params["W1"] + params["b1"]
    a1 = np.where(z1 < 0, 0.01 * z1, z1)
    d2 = (softmax_rows(a1 @ params["W2"] + params["b2"]) - y) / n
    da1 = d2 @ params["W2"].T
    d1 = np.where(z1 < 0, 0.0, da1)  # negative branch never written to the result
    return {"W1": X.T @ d1, "b1": d1.sum(axis=0), "W2": a1.T @ d2, "b2": d2.sum(axis=0)}


def setup_fkb_15(rng):
    return net_cols(rng, [4, 6, 2]), rng.normal(size=(4, 1)), np.array([[0.2], [0.9]])


def loss_fkb_15(params, X, y):
    z1 = params["W1"] @ X + params["b1"]
    a1 = np.maximum(0.3 * z1, z1)
    a2 = sig(params["W2"] @ a1 + params["b2"])
    return 0.5 * np.sum((a2 - y) ** 2)


def claimed_fkb_15(params, X, y):
    z1 = params["W1"] @ X + params["b1"]
    a1 = np.maximum(0.3 * z1, z1)
    a2 = sig(params["W2"] @ a1 + params["b2"])
    db2 = (a2 - y) * a2 * (1 - a2)
    db1 = params["W2"].T @ db2 * (0.3 * z1 > 0)  # slope 0, not 0.3, on the negative side
    return {"W1": db1 @ X.T, "b1": db1, "W2": db2 @ a1.T, "b2": db2}


def setup_yizt_6(rng):
    return net_rows(rng, [4, 5, 3]), rng.normal(size=(6, 4)), hot_rows(rng, 6, 3)


loss_yizt_6 = loss_andersbll_tanh


def claimed_yizt_6(params, X, y):
    n = len(X)
    a1 = np.tanh(X @ params["W1"] + params["b1"])
    d2 = (softmax_rows(a1 @ params["W2"] + params["b2"]) - y) / n
    next_dz = d2 @ params["W2"].T
    d1 = 1 - np.tanh(next_dz) ** 2  # slope at the gradient; incoming gradient lost
    return {"W1": X.T @ d1, "b1": d1.sum(axis=0), "W2": a1.T @ d2, "b2": d2.sum(axis=0)}


def setup_jorgenkg_6(rng):
    return net_rows(rng, [4, 5, 3]), rng.normal(size=(6, 4)), hot_rows(rng, 6, 3)


def loss_jorgenkg_6(params, X, y):
    p = softmax_rows(np.tanh(X @ params["W1"] + params["b1"]) @ params["W2"] + params["b2"])
    return 0.5 * np.sum((p - y) ** 2)


def claimed_jorgenkg_6(params, X, y):
    a1 = np.tanh(X @ params["W1"] + params["b1"])
    p = softmax_rows(a1 @ params["W2"] + params["b2"])
    d2 = (p - y) * p * (1 - p)  # only the diagonal of the softmax jacobian
    d1 = (d2 @ params["W2"].T) * (1 - a1**2)
    return {"W1": X.T @ d1, "b1": d1.sum(axis=0), "W2": a1.T @ d2, "b2": d2.sum(axis=0)}


def setup_mobula_3(rng):
    return net_cols(rng, [4, 5, 3]), rng.normal(size=(4, 1)), np.eye(3)[:, [2]]


def loss_mobula_3(params, X, y):
    z2 = params["W2"] @ np.maximum(0, params["W1"] @ X + params["b1"]) + params["b2"]
    e = np.exp(z2)
    return -np.sum(y * np.log(e / e.sum()))


def claimed_mobula_3(params, X, y):
    z1 = params["W1"] @ X + params["b1"]
    a1 = np.maximum(0, z1)
    e = np.exp(params["W2"] @ a1 + params["b2"])
    Y = e / e.sum()
    dY = -y / Y
    d2 = dY * e  # neither normalised nor with cross terms
    d1 = params["W2"].T @ d2 * (z1 > 0)
    return {"W1": d1 @ X.T, "b1": d1, "W2": d2 @ a1.T, "b2": d2}


def setup_darknet_96(rng):
    return net_cols(rng, [4, 5, 3]), rng.normal(size=(4, 1)), np.eye(3)[:, [0]]


def loss_darknet_96(params, X, y):
    z1 = params["W1"] @ X + params["b1"]
    p = softmax_cols(params["W2"] @ np.where(z1 > 0, z1, 0.1 * z1) + params["b2"])
    return 0.5 * np.sum((p - y) ** 2)


def claimed_darknet_96(params, X, y):
    z1 = params["W1"] @ X + params["b1"]
    a1 = np.where(z1 > 0, z1, 0.1 * z1)
    p = softmax_cols(params["W2"] @ a1 + params["b2"])
    d2 = p - y  # gradient w.r.t. p copied through the softmax
    d1 = params["W2"].T @ d2 * np.where(z1 > 0, 1, 0.1)
    return {"W1": d1 @ X.T, "b1": d1, "W2": d2 @ a1.T, "b2": d2}


def setup_libnd4j_440(rng):
    return net_rows(rng, [4, 5, 3]), rng.normal(size=(6, 4)), hot_rows(rng, 6, 3)


def loss_libnd4j_440(params, X, y):
    p = softmax_rows(sig(X @ params["W1"] + params["b1"]) @ params["W2"] + params["b2"])
    return -np.sum(y * np.log(p)) / len(X)


def claimed_libnd4j_440(params, X, y):
    n = len(X)
    a1 = sig(X @ params["W1"] + params["b1"])
    p = softmax_rows(a1 @ params["W2"] + params["b2"])
    d2 = (-y / p / n) * (p * (1 - p))
    d1 = (d2 @ params["W2"].T) * a1 * (1 - a1)
    return {"W1": X.T @ d1, "b1": d1.sum(axis=0), "W2": a1.T @ d2, "b2": d2.sum(axis=0)}


def setup_neuroph_37(rng):
    return net_cols(rng, [4, 5, 3]), rng.normal(size=(4, 1)), np.eye(3)[:, [1]]


def loss_neuroph_37(params, X, y):
    p = softmax_cols(params["W2"] @ sig(params["W1"] @ X + params["b1"]) + params["b2"])
    return 0.5 * np.sum((p - y) ** 2)


def claimed_neuroph_37(params, X, y):
    a1 = sig(params["W1"] @ X + params["b1"])
    p = softmax_cols(params["W2"] @ a1 + params["b2"])
    d2 = (p - y) * (1.0 * (1.0 - p))
    d1 = params["W2"].T @ d2 * a1 * (1 - a1)
    return {"W1": d1 @ X.T, "b1": d1, "W2": d2 @ a1.T, "b2": d2}


def setup_seblague_5(rng):
    return net_rows(rng, [4, 5, 4, 3]), rng.normal(size=(6, 4)), hot_rows(rng, 6, 3)


def loss_seblague_5(params, X, y):
    a1 = np.maximum(0, X @ params["W1"] + params["b1"])
    a2 = np.maximum(0, a1 @ params["W2"] + params["b2"])
    p = softmax_rows(a2 @ params["W3"] + params["b3"])
    return 0.5 * np.sum((p - y) ** 2) / len(X)


def claimed_seblague_5(params, X, y):
    n = len(X)
    a1 = np.maximum(0, X @ params["W1"] + params["b1"])
    a2 = np.maximum(0, a1 @ params["W2"] + params["b2"])
    z3 = a2 @ params["W3"] + params["b3"]
    e = np.exp(z3)
    s = e.sum(axis=1, keepdims=True)
    p = e / s
    d3 = (p - y) * (e * s - e * e) / (s * s) / n  # softmax treated as a function of one input
    d2 = (d3 @ params["W3"].T) * (a2 > 0)
    d1 = (d2 @ params["W2"].T) * (a1 > 0)
    return {
        "W1": X.T @ d1,
        "b1": d1.sum(axis=0),
        "W2": a1.T @ d2,
        "b2": d2.sum(axis=0),
        "W3": a2.T @ d3,
        "b3": d3.sum(axis=0),
    }


def setup_mlfs_71(rng):
    return net_rows(rng, [4, 5, 3]), rng.normal(size=(6, 4)), hot_rows(rng, 6, 3)


def loss_mlfs_71(params, X, y):
    z1 = X @ params["W1"] + params["b1"]
    p = softmax_rows(np.where(z1 >= 0, z1, 0.2 * z1) @ params["W2"] + params["b2"])
    return np.sum(-y * np.log(p) - (1 - y) * np.log(1 - p))


def claimed_mlfs_71(params, X, y):
    z1 = X @ params["W1"] + params["b1"]
    a1 = np.where(z1 >= 0, z1, 0.2 * z1)
    p = softmax_rows(a1 @ params["W2"] + params["b2"])
    dp = -y / p + (1 - y) / (1 - p)
    d2 = dp * p * (1 - p)  # comes out as p - y
    d1 = (d2 @ params["W2"].T) * np.where(z1 >= 0, 1, 0.2)
    return {"W1": X.T @ d1, "b1": d1.sum(axis=0), "W2": a1.T @ d2, "b2": d2.sum(axis=0)}


def setup_zidvn_softmax(rng):
    return {"b1": np.array([1.1, 2.2, 0.3, -1.7])}, np.zeros((1, 1)), np.array([0.0, 0, 1, 0])


def loss_zidvn_softmax(params, X, y):
    e = np.exp(params["b1"])
    return -np.sum(y * np.log(e / e.sum())) / len(y)


def claimed_zidvn_softmax(params, X, y):
    e = np.exp(params["b1"])
    return {"b1": e / e.sum() - y}


def setup_encog_243(rng):
    return net_cols(rng, [3, 5, 2]), rng.normal(size=(3, 1)), rng.normal(size=(2, 1))


def loss_encog_243(params, X, y):
    return 0.5 * np.sum(
        (params["W2"] @ sig(params["W1"] @ X + params["b1"]) + params["b2"] - y) ** 2
    )


def claimed_encog_243(params, X, y):
    a1 = sig(params["W1"] @ X + params["b1"])
    d2 = params["W2"] @ a1 + params["b2"] - y
    d1 = params["W2"].T @ d2 * np.ones_like(a1)  # slope of the linear OUTPUT activation
    return {"W1": d1 @ X.T, "b1": d1, "W2": d2 @ a1.T, "b2": d2}


def setup_fanghao_7(rng):
    return net_cols(rng, [3, 4, 4, 1]), rng.normal(size=(3, 6)), (rng.random((1, 6)) > 0.5) * 1.0


def loss_fanghao_7(params, X, y):
    a = X
    for layer in (1, 2):
        a = np.maximum(0, params[f"W{layer}"] @ a + params[f"b{layer}"])
    a = sig(params["W3"] @ a + params["b3"])
    return -np.sum(y * np.log(a) + (1 - y) * np.log(1 - a)) / X.shape[1]


def claimed_fanghao_7(params, X, y):
    m = X.shape[1]
    Z1 = params["W1"] @ X + params["b1"]
    A1 = np.maximum(0, Z1)
    Z2 = params["W2"] @ A1 + params["b2"]
    A2 = np.maximum(0, Z2)
    A3 = sig(params["W3"] @ A2 + params["b3"])
    dA3 = -(y / A3 - (1 - y) / (1 - A3))
    dZ3 = dA3 * A3 * (1 - A3)
    dA_L = params["W3"].T @ dZ3  # stored as dA[L]
    dZ2 = dA_L * (Z2 > 0)
    dZ1 = dA_L * (Z1 > 0)  # dA[L] again; should be W2.T @ dZ2
    g = {}
    for layer, dZ, A in ((1, dZ1, X), (2, dZ2, A1), (3, dZ3, A2)):
        g[f"W{layer}"] = dZ @ A.T / m
        g[f"b{layer}"] = dZ.sum(axis=1, keepdims=True) / m
    return g


def setup_grokking_22(rng):
    return {"W1": rng.normal(0, 0.6, (3, 3))}, rng.normal(size=3), rng.normal(size=3)


def loss_grokking_22(params, X, y):
    return 0.5 * np.sum((params["W1"] @ X - y) ** 2)


def claimed_grokking_22(params, X, y):
    delta = params["W1"] @ X - y
    return {"W1": np.outer(X, delta)}  # [input, output] for a [output, input] matrix


def setup_systemds_2330(rng):
    X = rng.uniform(0, 1, (6, 5))
    return net_rows(rng, [5, 4, 2, 4, 5]), X, X.copy()


def loss_systemds_2330(params, X, y):
    a = X
    for layer in (1, 2, 3, 4):
        a = sig(a @ params[f"W{layer}"] + params[f"b{layer}"])
    return 0.5 * np.sum((a - y) ** 2) / len(X)


def claimed_systemds_2330(params, X, y):
    n = len(X)
    acts = [X]
    for layer in (1, 2, 3, 4):
        acts.append(sig(acts[-1] @ params[f"W{layer}"] + params[f"b{layer}"]))
    delta = (acts[4] - y) * acts[4] * (1 - acts[4]) / n
    g = {}
    for layer in (4, 3, 2, 1):
        g[f"W{layer}"] = acts[layer - 1].T @ delta
        g[f"b{layer}"] = params[f"b{layer}"].copy()  # the bias itself, in place of its gradient
        if layer > 1:
            delta = (delta @ params[f"W{layer}"].T) * acts[layer - 1] * (1 - acts[layer - 1])
    return g


def setup_openann_76(rng):
    return net_rows(rng, [4, 5, 2]), rng.normal(size=(6, 4)), rng.normal(size=(6, 2))


def loss_openann_76(params, X, y):
    return 0.5 * np.sum(
        (sig(X @ params["W1"] + params["b1"]) @ params["W2"] + params["b2"] - y) ** 2
    )


def claimed_openann_76(params, X, y):
    a1 = sig(X @ params["W1"] + params["b1"])
    d2 = a1 @ params["W2"] + params["b2"] - y
    d1 = (d2 @ params["W2"].T) * a1 * (1 - a1)
    return {
        "W1": X.T @ d1,
        "b1": np.zeros_like(params["b1"]),
        "W2": a1.T @ d2,
        "b2": d2.sum(axis=0),
    }


def setup_dl4j_364(rng):
    return net_rows(rng, [3, 4, 4]), rng.normal(size=(4, 3)), hot_rows(rng, 4, 4)


def loss_dl4j_364(params, X, y):
    p = softmax_rows(np.tanh(X @ params["W1"] + params["b1"]) @ params["W2"] + params["b2"])
    return -np.sum(y * np.log(p)) / len(X)


def claimed_dl4j_364(params, X, y):
    n = len(X)
    a1 = np.tanh(X @ params["W1"] + params["b1"])
    d2 = softmax_rows(a1 @ params["W2"] + params["b2"]) - y
    d1 = (d2 @ params["W2"].T) * (1 - a1**2)
    return {"W1": X.T @ d1 / n, "b1": d1.mean(axis=1), "W2": a1.T @ d2 / n, "b2": d2.mean(axis=1)}


def setup_jimfleming_1(rng):
    return net_rows(rng, [3, 4, 2]), rng.normal(size=(5, 3)), rng.normal(size=(5, 2))


def loss_jimfleming_1(params, X, y):
    return 0.5 * np.sum(
        (sig(sig(X @ params["W1"] + params["b1"]) @ params["W2"] + params["b2"]) - y) ** 2
    )


def claimed_jimfleming_1(params, X, y):
    a1 = sig(X @ params["W1"] + params["b1"])
    a2 = sig(a1 @ params["W2"] + params["b2"])
    d2 = (a2 - y) * a2 * (1 - a2)
    d1 = (d2 @ params["W2"].T) * a1 * (1 - a1)
    return {
        "W1": X.T @ d1,
        "b1": d1,
        "W2": a1.T @ d2,
        "b2": d2,
    }  # bias gradients keep the batch axis


def setup_simdnn_1(rng):
    return net_rows(rng, [4, 5, 3]), rng.normal(size=(6, 4)), (rng.random((6, 3)) > 0.5) * 1.0


def loss_simdnn_1(params, X, y):
    a = sig(np.maximum(0, X @ params["W1"] + params["b1"]) @ params["W2"] + params["b2"])
    return np.mean(-y * np.log(a) - (1 - y) * np.log(1 - a))


def claimed_simdnn_1(params, X, y):
    n = len(X)
    z1 = X @ params["W1"] + params["b1"]
    a1 = np.maximum(0, z1)
    d2 = (sig(a1 @ params["W2"] + params["b2"]) - y) / n  # mean over the outputs forgotten
    d1 = (d2 @ params["W2"].T) * (z1 > 0)
    return {"W1": X.T @ d1, "b1": d1.sum(axis=0), "W2": a1.T @ d2, "b2": d2.sum(axis=0)}


def setup_dlib_1169(rng):
    return net_rows(rng, [4, 6, 1]), rng.normal(size=(7, 4)), rng.normal(size=(7, 1))


def loss_dlib_1169(params, X, y):
    return np.sum(
        (np.maximum(0, X @ params["W1"] + params["b1"]) @ params["W2"] + params["b2"] - y) ** 2
    ) / len(X)


def claimed_dlib_1169(params, X, y):
    z1 = X @ params["W1"] + params["b1"]
    a1 = np.maximum(0, z1)
    d2 = -(y - (a1 @ params["W2"] + params["b2"])) / len(X)
    d1 = (d2 @ params["W2"].T) * (z1 > 0)
    return {"W1": X.T @ d1, "b1": d1.sum(axis=0), "W2": a1.T @ d2, "b2": d2.sum(axis=0)}


def setup_dlfs_9(rng):
    return net_rows(rng, [3, 4, 1]), rng.normal(size=(6, 3)), rng.normal(size=(6, 1))


def loss_dlfs_9(params, X, y):
    return np.sum((y - (sig(X @ params["W1"] + params["b1"]) @ params["W2"] + params["b2"])) ** 2)


def claimed_dlfs_9(params, X, y):
    O1 = sig(X @ params["W1"] + params["b1"])
    P = O1 @ params["W2"] + params["b2"]
    dLdP = -(y - P)
    dM1 = (dLdP @ params["W2"].T) * O1 * (1 - O1)
    return {"W1": X.T @ dM1, "b1": dM1.sum(axis=0), "W2": O1.T @ dLdP, "b2": dLdP.sum(axis=0)}


def setup_dennybritz_3(rng):
    return net_rows(rng, [2, 3, 3]), rng.normal(size=(7, 2)), hot_rows(rng, 7, 3)


def loss_dennybritz_3(params, X, y):
    p = softmax_rows(np.tanh(X @ params["W1"] + params["b1"]) @ params["W2"] + params["b2"])
    return -np.sum(y * np.log(p))


def claimed_dennybritz_3(params, X, y):
    a1 = np.tanh(X @ params["W1"] + params["b1"])
    z2 = a1 @ params["W2"] + params["b2"]
    d3 = softmax_rows(z2) - y
    d2 = (1 - np.tanh(z2) ** 2) * (d3 @ params["W2"].T)  # z2 where z1 is due
    return {"W1": X.T @ d2, "b1": d2.sum(axis=0), "W2": a1.T @ d3, "b2": d3.sum(axis=0)}


def setup_dennybritz_11(rng):
    return net_rows(rng, [2, 3, 2]), rng.normal(size=(7, 2)), hot_rows(rng, 7, 2)


loss_dennybritz_11 = loss_dennybritz_3


def claimed_dennybritz_11(params, X, y):
    a1 = np.tanh(X @ params["W1"] + params["b1"])
    d3 = y - softmax_rows(a1 @ params["W2"] + params["b2"])
    d2 = (1 - a1**2) * (d3 @ params["W2"].T)
    return {"W1": X.T @ d2, "b1": d2.sum(axis=0), "W2": a1.T @ d3, "b2": d3.sum(axis=0)}


def setup_dennybritz_13(rng):
    return net_rows(rng, [2, 3, 2]), rng.normal(size=(7, 2)), hot_rows(rng, 7, 2)


def loss_dennybritz_13(params, X, y):
    reg = 0.01
    p = softmax_rows(np.tanh(X @ params["W1"] + params["b1"]) @ params["W2"] + params["b2"])
    total = -np.sum(y * np.log(p)) + reg / 2 * (
        np.sum(params["W1"] ** 2) + np.sum(params["W2"] ** 2)
    )
    return total / len(X)


def claimed_dennybritz_13(params, X, y):
    reg = 0.01
    a1 = np.tanh(X @ params["W1"] + params["b1"])
    d3 = softmax_rows(a1 @ params["W2"] + params["b2"]) - y
    d2 = (d3 @ params["W2"].T) * (1 - a1**2)
    return {
        "W1": X.T @ d2 + reg * params["W1"],
        "b1": d2.sum(axis=0),
        "W2": a1.T @ d3 + reg * params["W2"],
        "b2": d3.sum(axis=0),
    }


def setup_casper_1(rng):
    return net_cols(rng, [5, 4, 4, 3], bias=False), rng.normal(size=5), np.array([0.0, 1, 0])


def loss_casper_1(params, X, y):
    a2 = sig(params["W2"] @ sig(params["W1"] @ X))
    e = np.exp(params["W3"] @ a2)
    return np.mean((e / e.sum() - y) ** 2)


def claimed_casper_1(params, X, y):
    a1 = sig(params["W1"] @ X)
    z2 = params["W2"] @ a1
    a2 = sig(z2)
    e = np.exp(params["W3"] @ a2)
    out = e / e.sum()
    error = out - y
    g3 = np.dot(error, out) * np.ones_like(
        params["W3"]
    )  # dot with the layer's OWN output: a scalar
    e2 = np.exp(z2)
    s2 = e2 / e2.sum()
    error = (params["W3"].T @ error) * s2 * (1 - s2)  # softmax slope for a sigmoid layer
    g2 = np.dot(error, a2) * np.ones_like(params["W2"])
    error = (params["W2"].T @ error) * a1 * (1 - a1)
    g1 = np.dot(error, a1) * np.ones_like(params["W1"])
    return {"W1": g1, "W2": g2, "W3": g3}


def setup_ufldl_danluu_2(rng):
    return (
        net_cols(rng, [4, 4, 4, 3], bias=True),
        rng.uniform(0, 1, (4, 6)),
        np.eye(3)[:, rng.integers(0, 3, 6)],
    )


def loss_ufldl_danluu_2(params, X, y):
    a = X
    for layer in (1, 2):
        a = sig(params[f"W{layer}"] @ a + params[f"b{layer}"])
    p = softmax_cols(params["W3"] @ a + params["b3"])
    return -np.sum(y * np.log(p)) / X.shape[1]


def claimed_ufldl_danluu_2(params, X, y):
    m = X.shape[1]
    a1 = sig(params["W1"] @ X + params["b1"])
    a2 = sig(params["W2"] @ a1 + params["b2"])
    d3 = softmax_cols(params["W3"] @ a2 + params["b3"]) - y
    d2 = params["W3"].T @ d3 * a2 * (1 - a1)  # a(n+1) * (1 - a(n))
    d1 = params["W2"].T @ d2 * a1 * (1 - X)
    g = {}
    for layer, d, a in ((1, d1, X), (2, d2, a1), (3, d3, a2)):
        g[f"W{layer}"] = d @ a.T / m
        g[f"b{layer}"] = d.sum(axis=1, keepdims=True) / m
    return g


def setup_centerloss_10(rng):
    p = {
        "W1": rng.normal(0, 0.8, (4, 2)),
        "b1": rng.normal(0, 0.3, 2),
        "C": rng.normal(size=(3, 2)),
    }
    return p, rng.normal(size=(8, 4)), np.array([0, 1, 2, 0, 1, 0, 0, 2])


def loss_centerloss_10(params, X, y):
    f = X @ params["W1"] + params["b1"]
    return np.sum((f - params["C"][y]) ** 2) / 2.0 / len(X)


def claimed_centerloss_10(params, X, y):
    f = X @ params["W1"] + params["b1"]
    diff = params["C"][y] - f
    df = -diff / len(X)
    counts = np.ones(3)
    np.add.at(counts, y, 1.0)
    dC = np.zeros_like(params["C"])
    np.add.at(dC, y, diff)
    return {"W1": X.T @ df, "b1": df.sum(axis=0), "C": dC / counts[:, None]}


def _planar(rng):
    return net_cols(rng, [2, 4, 1]), rng.normal(size=(2, 6)), (rng.random((1, 6)) > 0.5) * 1.0


def _planar_loss(params, X, y):
    A2 = sig(params["W2"] @ np.tanh(params["W1"] @ X + params["b1"]) + params["b2"])
    return -np.sum(y * np.log(A2) + (1 - y) * np.log(1 - A2)) / X.shape[1]


def setup_dlai_63071(rng):
    return _planar(rng)


loss_dlai_63071 = _planar_loss


def claimed_dlai_63071(params, X, y):
    m = X.shape[1]
    A1 = np.tanh(params["W1"] @ X + params["b1"])
    A2 = sig(params["W2"] @ A1 + params["b2"])
    dZ2 = A2 - y
    dZ1 = (params["W2"].T @ dZ2) * (1 - np.power(A1, 2)) * (1 / m)  # 1/m here ...
    return {
        "W1": dZ1 @ X.T / m,
        "b1": dZ1.sum(axis=1, keepdims=True) / m,  # ... and again here
        "W2": dZ2 @ A1.T / m,
        "b2": dZ2.sum(axis=1, keepdims=True) / m,
    }


def setup_dlai_402919a(rng):
    return _planar(rng)


loss_dlai_402919a = _planar_loss


def claimed_dlai_402919a(params, X, y):
    m = X.shape[1]
    A1 = np.tanh(params["W1"] @ X + params["b1"])
    A2 = sig(params["W2"] @ A1 + params["b2"])
    dZ2 = A2 - y
    dW2 = dZ2 @ A1.T / m
    dZ1 = (dW2.T @ dZ2) * (1 - np.power(A1, 2))  # dW2 taken for W2
    return {
        "W1": dZ1 @ X.T / m,
        "b1": dZ1.sum(axis=1, keepdims=True) / m,
        "W2": dW2,
        "b2": dZ2.sum(axis=1, keepdims=True) / m,
    }


def setup_dlai_402919b(rng):
    return _planar(rng)


loss_dlai_402919b = _planar_loss


def claimed_dlai_402919b(params, X, y):
    m = X.shape[1]
    A1 = np.tanh(params["W1"] @ X + params["b1"])
    A2 = sig(params["W2"] @ A1 + params["b2"])
    dZ2 = A2 - y
    dZ1 = (params["W2"].T @ dZ2) @ (1 - A1.T @ A1)  # matrix products for elementwise ones
    return {
        "W1": dZ1 @ X.T / m,
        "b1": dZ1.sum(axis=1, keepdims=True) / m,
        "W2": dZ2 @ A1.T / m,
        "b2": dZ2.sum(axis=1, keepdims=True) / m,
    }


def setup_dlai_85937(rng):
    return _planar(rng)


loss_dlai_85937 = _planar_loss


def claimed_dlai_85937(params, X, y):
    m = X.shape[1]
    Z1 = params["W1"] @ X + params["b1"]
    A1 = np.tanh(Z1)
    A2 = sig(params["W2"] @ A1 + params["b2"])
    dZ2 = A2 - y
    dZ1 = (params["W2"].T @ dZ2) * (1 - A1**2) * Z1  # extra factor Z1
    return {
        "W1": dZ1 @ X.T / m,
        "b1": dZ1.sum(axis=1, keepdims=True) / m,
        "W2": dZ2 @ A1.T / m,
        "b2": dZ2.sum(axis=1, keepdims=True) / m,
    }


def setup_dlai_115254(rng):
    return _planar(rng)


def loss_dlai_115254(params, X, y):
    A2 = sig(params["W2"] @ np.maximum(0, params["W1"] @ X + params["b1"]) + params["b2"])
    return -np.sum(y * np.log(A2) + (1 - y) * np.log(1 - A2)) / X.shape[1]


def claimed_dlai_115254(params, X, y):
    m = X.shape[1]
    A1 = np.maximum(0, params["W1"] @ X + params["b1"])
    A2 = sig(params["W2"] @ A1 + params["b2"])
    dZ2 = A2 - y
    dZ1 = (params["W2"].T @ dZ2) * (A1 >= 0)  # always true
    return {
        "W1": dZ1 @ X.T / m,
        "b1": dZ1.sum(axis=1, keepdims=True) / m,
        "W2": dZ2 @ A1.T / m,
        "b2": dZ2.sum(axis=1, keepdims=True) / m,
    }


def setup_dlai_165181(rng):
    return net_cols(rng, [2, 4, 3, 1]), rng.normal(size=(2, 6)), (rng.random((1, 6)) > 0.5) * 1.0


def loss_dlai_165181(params, X, y):
    lam, m = 0.7, X.shape[1]
    A1 = np.maximum(0, params["W1"] @ X + params["b1"])
    A2 = np.maximum(0, params["W2"] @ A1 + params["b2"])
    A3 = sig(params["W3"] @ A2 + params["b3"])
    ce = -np.sum(y * np.log(A3) + (1 - y) * np.log(1 - A3)) / m
    return ce + lam / (2 * m) * sum(np.sum(params[k] ** 2) for k in ("W1", "W2", "W3"))


def claimed_dlai_165181(params, X, y):
    lam, m = 0.7, X.shape[1]
    A1 = np.maximum(0, params["W1"] @ X + params["b1"])
    A2 = np.maximum(0, params["W2"] @ A1 + params["b2"])
    A3 = sig(params["W3"] @ A2 + params["b3"])
    dZ3 = A3 - y
    dZ2 = params["W3"].T @ dZ3 * (A2 > 0)
    dZ1 = params["W2"].T @ dZ2 * (A1 > 0)
    g = {}
    for layer, dZ, A in ((1, dZ1, X), (2, dZ2, A1), (3, dZ3, A2)):
        g[f"W{layer}"] = dZ @ A.T / m + lam * np.sum(params[f"W{layer}"]) / m  # sum of W, a scalar
        g[f"b{layer}"] = dZ.sum(axis=1, keepdims=True) / m
    return g


def setup_dlai_gradcheck(rng):
    return net_cols(rng, [4, 5, 3, 1]), rng.normal(size=(4, 3)), np.array([[1.0, 1, 0]])


def loss_dlai_gradcheck(params, X, y):
    A1 = np.maximum(0, params["W1"] @ X + params["b1"])
    A2 = np.maximum(0, params["W2"] @ A1 + params["b2"])
    A3 = sig(params["W3"] @ A2 + params["b3"])
    return np.sum(-np.log(A3) * y - np.log(1 - A3) * (1 - y)) / X.shape[1]


def claimed_dlai_gradcheck(params, X, y):
    m = X.shape[1]
    A1 = np.maximum(0, params["W1"] @ X + params["b1"])
    A2 = np.maximum(0, params["W2"] @ A1 + params["b2"])
    A3 = sig(params["W3"] @ A2 + params["b3"])
    dZ3 = A3 - y
    dZ2 = params["W3"].T @ dZ3 * (A2 > 0)
    dZ1 = params["W2"].T @ dZ2 * (A1 > 0)
    return {
        "W3": dZ3 @ A2.T / m,
        "b3": dZ3.sum(axis=1, keepdims=True) / m,
        "W2": dZ2 @ A1.T / m * 2,
        "b2": dZ2.sum(axis=1, keepdims=True) / m,
        "W1": dZ1 @ X.T / m,
        "b1": 4.0 / m * dZ1.sum(axis=1, keepdims=True),
    }


def setup_dlai_sech(rng):
    return net_cols(rng, [2, 1], s=1.0), rng.normal(size=(2, 3)), np.array([[1.0, 0, 1]])


def loss_dlai_sech(params, X, y):
    A2 = sig(np.tanh(params["W1"] @ X + params["b1"]))
    return -np.sum(y * np.log(A2) + (1 - y) * np.log(1 - A2)) / X.shape[1]


def claimed_dlai_sech(params, X, y):
    A1 = np.tanh(params["W1"] @ X + params["b1"])
    A2 = sig(A1)
    dA2 = -y / A2 + (1 - y) / (1 - A2)
    dA1 = dA2 * A2 * (1 - A2)
    dZ1 = dA1 / np.cosh(A1)  # sech(A1), not 1 - A1**2
    return {"W1": dZ1 @ X.T, "b1": dZ1.sum(axis=1, keepdims=True) / 3}  # and no 1/m on dW


def setup_jwarmenhoven_3(rng):
    return (
        net_cols(rng, [4, 5, 3], s=0.5),
        rng.uniform(0, 1, (4, 8)),
        np.eye(3)[:, rng.integers(0, 3, 8)],
    )


def loss_jwarmenhoven_3(params, X, y):
    reg, m = 1.0, X.shape[1]
    h = sig(params["W2"] @ sig(params["W1"] @ X + params["b1"]) + params["b2"])
    J = np.sum(-y * np.log(h) - (1 - y) * np.log(1 - h)) / m
    return J + reg / (2 * m) * (np.sum(params["W1"] ** 2) + np.sum(params["W2"] ** 2))


def claimed_jwarmenhoven_3(params, X, y):
    reg, m = 1.0, X.shape[1]
    a2 = sig(params["W1"] @ X + params["b1"])
    d3 = sig(params["W2"] @ a2 + params["b2"]) - y
    d2 = params["W2"].T @ d3 * a2 * (1 - a2)
    theta1_ = np.c_[np.ones((5, 1)), params["W1"]]  # ones, where zeros are due, in the bias column
    theta2_ = np.c_[np.ones((3, 1)), params["W2"]]
    g1 = np.c_[d2.sum(axis=1), d2 @ X.T] / m + theta1_ * reg / m
    g2 = np.c_[d3.sum(axis=1), d3 @ a2.T] / m + theta2_ * reg / m
    return {"W1": g1[:, 1:], "b1": g1[:, :1], "W2": g2[:, 1:], "b2": g2[:, :1]}


def setup_ex4_bias_reg(rng):
    return setup_jwarmenhoven_3(rng)


loss_ex4_bias_reg = loss_jwarmenhoven_3


def claimed_ex4_bias_reg(params, X, y):
    reg, m = 1.0, X.shape[1]
    a2 = sig(params["W1"] @ X + params["b1"])
    d3 = sig(params["W2"] @ a2 + params["b2"]) - y
    d2 = params["W2"].T @ d3 * a2 * (1 - a2)
    Theta1, Theta2 = np.c_[params["b1"], params["W1"]], np.c_[params["b2"], params["W2"]]
    g1 = np.c_[d2.sum(axis=1), d2 @ X.T] / m + reg / m * Theta1  # whole Theta, bias column included
    g2 = np.c_[d3.sum(axis=1), d3 @ a2.T] / m + reg / m * Theta2
    return {"W1": g1[:, 1:], "b1": g1[:, :1], "W2": g2[:, 1:], "b2": g2[:, :1]}


def setup_ex4_sigmoidgrad_a2(rng):
    return (
        net_cols(rng, [4, 5, 3], s=0.5),
        rng.uniform(0, 1, (4, 8)),
        np.eye(3)[:, rng.integers(0, 3, 8)],
    )


def loss_ex4_sigmoidgrad_a2(params, X, y):
    h = sig(params["W2"] @ sig(params["W1"] @ X + params["b1"]) + params["b2"])
    return np.sum(-y * np.log(h) - (1 - y) * np.log(1 - h)) / X.shape[1]


def claimed_ex4_sigmoidgrad_a2(params, X, y):
    m = X.shape[1]
    a2 = sig(params["W1"] @ X + params["b1"])
    d3 = sig(params["W2"] @ a2 + params["b2"]) - y
    d2 = (
        params["W2"].T @ d3 * sig(a2) * (1 - sig(a2))
    )  # sigmoidGradient(a2) for sigmoidGradient(z2)
    return {
        "W1": d2 @ X.T / m,
        "b1": d2.sum(axis=1, keepdims=True) / m,
        "W2": d3 @ a2.T / m,
        "b2": d3.sum(axis=1, keepdims=True) / m,
    }


def setup_burton_9(rng):
    return net_rows(rng, [4, 6, 3]), rng.normal(size=(5, 4)), rng.integers(0, 3, 5)


def loss_burton_9(params, X, y):
    reg = 0.2
    p = softmax_rows(np.maximum(0, X @ params["W1"] + params["b1"]) @ params["W2"] + params["b2"])
    data = -np.mean(np.log(p[np.arange(len(X)), y]))
    return data + reg * sum(np.sum(params[k] ** 2) for k in ("W1", "W2", "b1", "b2"))


def claimed_burton_9(params, X, y):
    reg, N = 0.2, len(X)
    h = np.maximum(0, X @ params["W1"] + params["b1"])
    ds = softmax_rows(h @ params["W2"] + params["b2"])
    ds[np.arange(N), y] -= 1
    ds /= N
    dh = (ds @ params["W2"].T) * (h > 0)
    return {
        "W1": X.T @ dh + 2 * reg * params["W1"],
        "b1": dh.sum(axis=0),
        "W2": h.T @ ds + 2 * reg * params["W2"],
        "b2": ds.sum(axis=0),
    }


def setup_so_59399842(rng):
    p = {"W1": np.array([[0.9, 0.1], [0.3, 0.5]]), "W2": np.array([0.8, 0.7])}
    return p, np.array([[1.0, 1], [1, 0], [0, 1], [0, 0]]), np.array([0.0, 1, 1, 0])


def loss_so_59399842(params, X, y):
    return 0.5 * np.sum((y - sig(sig(X @ params["W1"]) @ params["W2"])) ** 2)


def claimed_so_59399842(params, X, y):
    g1, g2 = np.zeros((2, 2)), np.zeros(2)
    for i in range(4):
        h = sig(X[i] @ params["W1"])
        o = sig(h @ params["W2"])
        e = -(y[i] - o)
        for j in range(2):
            for k in range(2):
                g1[j, k] += e * o * (1 - o) * params["W2"][k] * h[k] * (1 - h[k]) * X[i, j]
            g2[j] += e * h[j]  # o*(1-o) left out here only
    return {"W1": g1, "W2": g2}


def setup_stats_464262(rng):
    p = {
        "W1": np.array([[0.6]]),
        "b1": np.array([[0.1]]),
        "W2": np.array([[-0.7]]),
        "b2": np.array([[0.2]]),
    }
    return p, np.array([[0.4]]), np.array([[1.0]])


def loss_stats_464262(params, X, y):
    h = sig(params["W1"] * X + params["b1"])
    return float(np.sum((sig(params["W2"] * h + params["b2"]) - y) ** 2))


def claimed_stats_464262(params, X, y):
    w1, w2 = params["W1"], params["W2"]
    h = sig(w1 * X + params["b1"])
    yh = sig(w2 * h + params["b2"])
    gy = 2 * (yh - y)
    gh = gy * w2  # output slope left out
    return {
        "W2": gy * yh * (1 - yh) * w2,  # times the weight, not its input h
        "W1": gh * h * (1 - h) * w1,  # times the weight, not its input x
        "b2": gy * yh * (1 - yh),
        "b1": gh * h * (1 - h),
    }


def setup_basic_nn_xor(rng):
    return net_rows(rng, [2, 4, 1], bias=False, s=1.0), np.array([[1.0, 0]]), np.array([[1.0]])


def loss_basic_nn_xor(params, X, y):
    return 0.5 * np.sum((y - sig(sig(X @ params["W1"]) @ params["W2"])) ** 2)


def claimed_basic_nn_xor(params, X, y):
    h = sig(X @ params["W1"])
    o = sig(h @ params["W2"])
    err_o = o * (1 - o) * (y - o)
    err_h = h * (1 - h) * (o @ params["W2"].T)  # next layer's VALUE, not its error
    return {"W1": -X.T @ err_h, "W2": -h.T @ err_o}


def setup_techfeed_468648(rng):
    return {"W1": np.array([[0.7]]), "W2": np.array([[-0.4]])}, np.array([[0.5]]), np.array([[0.9]])


def loss_techfeed_468648(params, X, y):
    return float(0.5 * np.sum((sig(params["W2"] * sig(params["W1"] * X)) - y) ** 2))


def claimed_techfeed_468648(params, X, y):
    def slope(e):
        return sig(e) * (1 - sig(e))

    e2 = sig(params["W2"] * sig(params["W1"] * X)) - y
    e1 = slope(e2) * params["W2"]
    return {"W2": e2 * slope(e2) * params["W2"], "W1": e1 * slope(e1) * params["W1"]}


def setup_primen_neglected(rng):
    return net_cols(rng, [3, 4, 2]), rng.normal(size=(3, 1)), np.array([[1.0], [0.0]])


def loss_primen_neglected(params, X, y):
    return 0.5 * np.sum(
        (sig(params["W2"] @ sig(params["W1"] @ X + params["b1"]) + params["b2"]) - y) ** 2
    )


def claimed_primen_neglected(params, X, y):
    a1 = sig(params["W1"] @ X + params["b1"])
    d2 = sig(params["W2"] @ a1 + params["b2"]) - y  # no sigma' anywhere
    d1 = params["W2"].T @ d2
    return {"W1": d1 @ X.T, "b1": d1, "W2": d2 @ a1.T, "b2": d2}


def setup_interviewsai_15(rng):
    return net_rows(rng, [3, 4, 1]), rng.normal(size=(6, 3)), rng.normal(size=(6, 1))


def loss_interviewsai_15(params, X, y):
    return np.mean((sig(X @ params["W1"] + params["b1"]) @ params["W2"] + params["b2"] - y) ** 2)


def claimed_interviewsai_15(params, X, y):
    z1 = X @ params["W1"] + params["b1"]
    a1 = sig(z1)
    d2 = 2 * (a1 @ params["W2"] + params["b2"] - y) / y.size
    d1 = (d2 @ params["W2"].T) * z1 * (1 - z1)  # x*(1-x) with x the pre-activation
    return {"W1": X.T @ d1, "b1": d1.sum(axis=0), "W2": a1.T @ d2, "b2": d2.sum(axis=0)}


def setup_udacity_409(rng):
    return {"W1": rng.normal(0, 0.7, 4)}, rng.normal(size=(7, 4)), (rng.random(7) > 0.5) * 1.0


def loss_udacity_409(params, X, y):
    return np.sum((y - sig(X @ params["W1"])) ** 2) / (2 * len(X))


def claimed_udacity_409(params, X, y):
    g = np.zeros(4)
    for x, t in zip(X, y, strict=False):
        out = sig(x @ params["W1"])
        g += -(t - out) * sig(x) * (1 - sig(x)) * x  # sigma' taken at the features
    return {"W1": g / len(X)}


def setup_tinytorch_gelu(rng):
    return net_rows(rng, [3, 5, 2], s=1.2), rng.normal(size=(6, 3)), rng.normal(size=(6, 2))


def loss_tinytorch_gelu(params, X, y):
    z1 = X @ params["W1"] + params["b1"]
    return np.mean((z1 * sig(1.702 * z1) @ params["W2"] + params["b2"] - y) ** 2)


def claimed_tinytorch_gelu(params, X, y):
    z = X @ params["W1"] + params["b1"]
    a = z * sig(1.702 * z)
    d2 = 2 * (a @ params["W2"] + params["b2"] - y) / y.size
    c = np.sqrt(2 / np.pi)
    t = np.tanh(c * (z + 0.044715 * z**3))  # slope of the other GELU approximation
    slope = 0.5 * (1 + t) + 0.5 * z * (1 - t**2) * c * (1 + 3 * 0.044715 * z**2)
    d1 = (d2 @ params["W2"].T) * slope
    return {"W1": X.T @ d1, "b1": d1.sum(axis=0), "W2": a.T @ d2, "b2": d2.sum(axis=0)}


def setup_mlpack_1540(rng):
    return net_cols(rng, [3, 5, 2], s=1.0), rng.normal(size=(3, 6)), rng.normal(size=(2, 6))


def loss_mlpack_1540(params, X, y):
    lam, al = 1.0507009873554802, 1.6732632423543774
    z1 = params["W1"] @ X + params["b1"]
    a1 = np.where(z1 > 0, lam * z1, lam * al * (np.exp(z1) - 1))
    return np.mean((params["W2"] @ a1 + params["b2"] - y) ** 2)


def claimed_mlpack_1540(params, X, y):
    lam, al = 1.0507009873554802, 1.6732632423543774
    z1 = params["W1"] @ X + params["b1"]
    a1 = np.where(z1 > 0, lam * z1, lam * al * (np.exp(z1) - 1))
    d2 = 2 * (params["W2"] @ a1 + params["b2"] - y) / y.size
    d1 = params["W2"].T @ d2 * np.where(a1 > 0, lam, lam * (a1 + al))  # should be a1 + lam*al
    return {
        "W1": d1 @ X.T,
        "b1": d1.sum(axis=1, keepdims=True),
        "W2": d2 @ a1.T,
        "b2": d2.sum(axis=1, keepdims=True),
    }


def setup_rubixml_446(rng):
    return net_rows(rng, [3, 4, 1]), rng.normal(size=(6, 3)), rng.normal(size=(6, 1))


def loss_rubixml_446(params, X, y):
    al = 0.9
    e = np.tanh(X @ params["W1"] + params["b1"]) @ params["W2"] + params["b2"] - y
    return np.mean(al**2 * (np.sqrt(1 + (e / al) ** 2) - 1))


def claimed_rubixml_446(params, X, y):
    al = 0.9
    a1 = np.tanh(X @ params["W1"] + params["b1"])
    e = a1 @ params["W2"] + params["b2"] - y
    d2 = e / np.sqrt(e**2 + al**2) / y.size  # factor alpha missing
    d1 = (d2 @ params["W2"].T) * (1 - a1**2)
    return {"W1": X.T @ d1, "b1": d1.sum(axis=0), "W2": a1.T @ d2, "b2": d2.sum(axis=0)}


def setup_chainer_1175(rng):
    return net_rows(rng, [3, 4, 1]), rng.normal(size=(6, 3)), 2 * rng.normal(size=(6, 1))


def loss_chainer_1175(params, X, y):
    d = np.maximum(0, X @ params["W1"] + params["b1"]) @ params["W2"] + params["b2"] - y
    hub = np.where(np.abs(d) < 1.0, 0.5 * d * d, np.abs(d) - 0.5).sum(axis=1)
    return np.mean(hub)  # the mean sits on top of the Huber node


def claimed_chainer_1175(params, X, y):
    z1 = X @ params["W1"] + params["b1"]
    a1 = np.maximum(0, z1)
    d = a1 @ params["W2"] + params["b2"] - y
    gx = np.where(np.abs(d) < 1.0, d, np.sign(d))  # upstream gy = 1/N ignored
    d1 = (gx @ params["W2"].T) * (z1 > 0)
    return {"W1": X.T @ d1, "b1": d1.sum(axis=0), "W2": a1.T @ gx, "b2": gx.sum(axis=0)}


def setup_microgradc_1(rng):
    return net_rows(rng, [3, 4, 1]), rng.normal(size=(1, 3)), np.array([[0.5]])


def loss_microgradc_1(params, X, y):
    diff = y - (np.tanh(X @ params["W1"] + params["b1"]) @ params["W2"] + params["b2"])
    return float(np.sum(diff * diff))


def claimed_microgradc_1(params, X, y):
    a1 = np.tanh(X @ params["W1"] + params["b1"])
    diff = y - (a1 @ params["W2"] + params["b2"])
    d_pred = 2 * diff  # second operand of a - b gets +, not -
    d1 = (d_pred @ params["W2"].T) * (1 - a1**2)
    return {"W1": X.T @ d1, "b1": d1.sum(axis=0), "W2": a1.T @ d_pred, "b2": d_pred.sum(axis=0)}


def setup_mlcourse_640(rng):
    return (
        {"W1": rng.normal(0, 0.7, 4)},
        rng.normal(size=(8, 4)),
        np.where(rng.random(8) > 0.5, 1.0, -1.0),
    )


def loss_mlcourse_640(params, X, y):
    return np.sum(np.log(1 + np.exp(-y * (X @ params["W1"]))))


def claimed_mlcourse_640(params, X, y):
    s = sig(y * (X @ params["W1"]))  # minus sign lost inside sigma
    return {"W1": -(X.T @ (y * s))}


def setup_mistnet_33(rng):
    return net_rows(rng, [3, 4, 2]), rng.normal(size=(9, 3)), (rng.random((9, 2)) > 0.5) * 1.0


def loss_mistnet_33(params, X, y):
    a = sig(np.maximum(0, X @ params["W1"] + params["b1"]) @ params["W2"] + params["b2"])
    return np.sum(-y * np.log(a) - (1 - y) * np.log(1 - a)) / len(X)


def claimed_mistnet_33(params, X, y):
    z1 = X @ params["W1"] + params["b1"]
    a1 = np.maximum(0, z1)
    d2 = sig(a1 @ params["W2"] + params["b2"]) - y
    d1 = (d2 @ params["W2"].T) * (z1 > 0)
    return {"W1": X.T @ d1, "b1": d1.sum(axis=0), "W2": a1.T @ d2, "b2": d2.sum(axis=0)}


K["mask_5x6"] = (np.arange(30).reshape(5, 6) * 7 % 10 > 3) * 1.0
K["mask_1x6"] = np.array([[1.0, 0, 1, 1, 0, 1]])


def setup_numpyml_94(rng):
    return net_rows(rng, [4, 6, 2]), rng.normal(size=(5, 4)), rng.normal(size=(5, 2))


def loss_numpyml_94(params, X, y):
    m, p = K["mask_5x6"], 0.4
    a1 = np.tanh(X @ params["W1"] + params["b1"])
    out = 1 / (1 - p) * ((m * a1) @ params["W2"] + params["b2"])
    return 0.5 * np.sum((out - y) ** 2)


def claimed_numpyml_94(params, X, y):
    m, p = K["mask_5x6"], 0.4
    a1 = np.tanh(X @ params["W1"] + params["b1"])
    out = 1 / (1 - p) * ((m * a1) @ params["W2"] + params["b2"])
    d2 = (out - y) / (1 - p)
    da1 = d2 @ params["W2"].T  # mask of the forward pass not applied
    d1 = da1 * (1 - a1**2)
    return {"W1": X.T @ d1, "b1": d1.sum(axis=0), "W2": (m * a1).T @ d2, "b2": d2.sum(axis=0)}


def setup_rohitg00_17(rng):
    return net_rows(rng, [2, 6, 1], s=1.0), rng.normal(size=(1, 2)), np.array([[1.0]])


def loss_rohitg00_17(params, X, y):
    h = np.maximum(0, X @ params["W1"] + params["b1"]) * K["mask_1x6"] / 0.7
    p = sig(h @ params["W2"] + params["b2"])
    return float(np.sum(-y * np.log(p) - (1 - y) * np.log(1 - p)))


def claimed_rohitg00_17(params, X, y):
    z1 = X @ params["W1"] + params["b1"]
    h = np.maximum(0, z1) * K["mask_1x6"] / 0.7
    p = sig(h @ params["W2"] + params["b2"])
    d_out = (-(y / p) + (1 - y) / (1 - p)) * p * (1 - p)
    d_h = d_out @ params["W2"].T  # neither mask nor 1/(1-p)
    d1 = d_h * (z1 > 0)
    return {"W1": X.T @ d1, "b1": d1.sum(axis=0), "W2": h.T @ d_out, "b2": d_out.sum(axis=0)}


def _bn_setup(rng):
    p = {
        "W1": rng.normal(0, 0.8, (4, 5)),
        "gamma": rng.uniform(0.5, 2, 5),
        "beta": rng.normal(0, 0.3, 5),
        "W2": rng.normal(0, 0.8, (5, 3)),
        "b2": rng.normal(0, 0.3, 3),
    }
    return p, rng.normal(size=(8, 4)), hot_rows(rng, 8, 3)


def _bn_loss(params, X, y):
    x = X @ params["W1"]
    xhat = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-5)
    a = np.tanh(params["gamma"] * xhat + params["beta"])
    p = softmax_rows(a @ params["W2"] + params["b2"])
    return -np.sum(y * np.log(p)) / len(X)


def setup_knet_288(rng):
    return _bn_setup(rng)


loss_knet_288 = _bn_loss


def claimed_knet_288(params, X, y):
    m = len(X)
    x = X @ params["W1"]
    cen = x - x.mean(axis=0)
    inv = 1 / np.sqrt(x.var(axis=0) + 1e-5)
    a = np.tanh(params["gamma"] * cen * inv + params["beta"])
    d2 = (softmax_rows(a @ params["W2"] + params["b2"]) - y) / m
    g = (d2 @ params["W2"].T) * (1 - a**2)
    gi = g * inv  # taken before g is scaled by gamma
    g_gamma, g_beta = np.sum(cen * gi, axis=0), g.sum(axis=0)
    gv = -0.5 * np.sum(gi * cen * inv**2, axis=0)
    gm = -gi.sum(axis=0) - 2 * gv * cen.sum(axis=0) / m
    gx = gi + gv * 2 * cen / m + gm / m
    return {"W1": X.T @ gx, "gamma": g_gamma, "beta": g_beta, "W2": a.T @ d2, "b2": d2.sum(axis=0)}


def setup_mlpack_1923(rng):
    return _bn_setup(rng)


loss_mlpack_1923 = _bn_loss


def claimed_mlpack_1923(params, X, y):
    m = len(X)
    x = X @ params["W1"]
    cen = x - x.mean(axis=0)
    inv = 1 / np.sqrt(x.var(axis=0) + 1e-5)
    a = np.tanh(params["gamma"] * cen * inv + params["beta"])
    d2 = (softmax_rows(a @ params["W2"] + params["b2"]) - y) / m
    up = (d2 @ params["W2"].T) * (1 - a**2)
    gh = up * params["gamma"]
    gv = np.sum(gh * cen, axis=0) * inv**3 * 0.5  # sign: should be -0.5
    g = gh * inv + cen * gv * 2 / m
    g = (
        g + np.sum(gh * -inv, axis=0) + gv * np.mean(-2 * cen, axis=0) / m
    )  # 1/m missing on the first sum
    return {
        "W1": X.T @ g,
        "gamma": np.sum(up * cen * inv, axis=0),
        "beta": up.sum(axis=0),
        "W2": a.T @ d2,
        "b2": d2.sum(axis=0),
    }


def setup_flaggems_5392(rng):
    p = {
        "W1": rng.normal(0, 0.8, (3, 4)),
        "gamma": rng.uniform(0.5, 2, 4),
        "beta": rng.normal(0, 0.3, 4),
        "W2": rng.normal(0, 0.8, (4, 2)),
    }
    return p, rng.normal(size=(2, 3, 3)), rng.normal(size=(2, 3, 2))


def loss_flaggems_5392(params, X, y):
    x = X @ params["W1"]
    xhat = (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)
    return 0.5 * np.sum(((params["gamma"] * xhat + params["beta"]) @ params["W2"] - y) ** 2)


def claimed_flaggems_5392(params, X, y):
    B, T, D = 2, 3, 4
    x = X @ params["W1"]
    rstd = 1 / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)
    xhat = (x - x.mean(axis=-1, keepdims=True)) * rstd
    out = params["gamma"] * xhat + params["beta"]
    do = out @ params["W2"] - y
    dW2 = out.reshape(-1, D).T @ do.reshape(-1, 2)
    dy = do @ params["W2"].T
    M, N = B, T * D  # should be M = B*T rows of N = D
    g = (dy * params["gamma"]).reshape(M, N)
    xh = xhat.reshape(M, N)
    dx = g - g.mean(axis=1, keepdims=True) - xh * (g * xh).mean(axis=1, keepdims=True)
    dx = dx.reshape(B, T, D) * rstd
    dgamma = (dy * xhat).reshape(M, N).sum(axis=0)[:D]  # the rest is written out of bounds
    dbeta = dy.reshape(M, N).sum(axis=0)[:D]
    return {"W1": X.reshape(-1, 3).T @ dx.reshape(-1, D), "gamma": dgamma, "beta": dbeta, "W2": dW2}


def setup_zerotogpt_9(rng):
    p = {
        "U": rng.normal(0, 0.7, (2, 3)),
        "W": rng.normal(0, 0.7, (3, 3)),
        "b": rng.normal(0, 0.3, 3),
        "V": rng.normal(0, 0.7, (3, 1)),
        "c": rng.normal(0, 0.3, 1),
    }
    return p, rng.normal(size=(3, 2)), rng.normal(size=(3, 1))


def loss_zerotogpt_9(params, X, y):
    h, L = np.zeros(3), 0.0
    for t in range(3):
        h = np.tanh(X[t] @ params["U"] + h @ params["W"] + params["b"])
        L += 0.5 * np.sum((h @ params["V"] + params["c"] - y[t]) ** 2)
    return L


def claimed_zerotogpt_9(params, X, y):
    hs, h = [], np.zeros(3)
    for t in range(3):
        h = np.tanh(X[t] @ params["U"] + h @ params["W"] + params["b"])
        hs.append(h)
    g = {k: np.zeros_like(v) for k, v in params.items()}
    carry = np.zeros(3)
    for t in (2, 1, 0):
        e = hs[t] @ params["V"] + params["c"] - y[t]
        g["V"] += np.outer(hs[t], e)
        g["c"] += e
        d = (e @ params["V"].T + carry) * (1 - hs[t] ** 2)
        g["U"] += np.outer(X[t], d)
        g["b"] += d
        if t == 2:
            g["W"] += np.outer(hs[1], d)
        elif t == 1:
            g["W"] += np.outer(hs[1], d)  # h_1 again; should be h_0
        carry = d @ params["W"].T
    return g


def setup_floatprec_lstm(rng):
    return setup_zerotogpt_9(rng)


loss_floatprec_lstm = loss_zerotogpt_9


def claimed_floatprec_lstm(params, X, y):
    hs, h = [], np.zeros(3)
    for t in range(3):
        h = np.tanh(X[t] @ params["U"] + h @ params["W"] + params["b"])
        hs.append(h)
    g = {k: np.zeros_like(v) for k, v in params.items()}
    carry = np.zeros(3)
    for t in (2, 1, 0):
        e = (
            hs[t] @ params["V"] + params["c"] - y[t]
        ) / 3  # first gradients averaged over the time steps
        g["V"] += np.outer(hs[t], e)
        g["c"] += e
        d = (e @ params["V"].T + carry) * (1 - hs[t] ** 2)
        g["U"] += np.outer(X[t], d)
        g["b"] += d
        g["W"] += np.outer(hs[t - 1] if t else np.zeros(3), d)
        carry = d @ params["W"].T
    return g


def setup_captaine_lstm(rng):
    p = {}
    for k in "figo":
        p["W" + k] = rng.normal(0, 0.7, (3, 5))
        p["b" + k] = rng.normal(0, 0.3, (3, 1))
    p["Wv"], p["bv"] = rng.normal(0, 0.7, (4, 3)), rng.normal(0, 0.3, (4, 1))
    return p, rng.normal(size=(3, 2, 1)), np.eye(4)[[1, 3, 0]][:, :, None]


def _lstm_fwd(p, X):
    h, C, tape = np.zeros((3, 1)), np.zeros((3, 1)), []
    for x in X:
        z = np.vstack([h, x])
        f, i, o = (sig(p["W" + k] @ z + p["b" + k]) for k in "fio")
        g = np.tanh(p["Wg"] @ z + p["bg"])
        Cp = C
        C = f * C + i * g
        h = o * np.tanh(C)
        tape.append((z, f, i, g, o, Cp, C, h, softmax_cols(p["Wv"] @ h + p["bv"])))
    return tape


def loss_captaine_lstm(params, X, y):
    return -sum(np.sum(y[t] * np.log(s[8])) for t, s in enumerate(_lstm_fwd(params, X)))


def claimed_captaine_lstm(params, X, y):
    p = params
    d = {k: np.zeros_like(v) for k, v in p.items()}
    tape = _lstm_fwd(p, X)
    dh_next, dC_next = np.zeros((3, 1)), np.zeros((3, 1))
    for t in (2, 1, 0):
        z, f, i, g, o, Cp, C, h, yh = tape[t]
        dv = yh - y[t]
        d["Wv"] += dv @ h.T
        d["bv"] += dv
        dh = p["Wv"].T @ dv + dh_next
        do = dh * np.tanh(C) * o * (1 - o)
        dC = dC_next + dh * o * (1 - np.tanh(C) ** 2)
        dg = dC * i * (1 - g**2)
        di = dC * g * i * (1 - i)
        df = dC * Cp * sig(f)  # sigmoid of f where f*(1-f) is due
        for k, dd in zip("figo", (df, di, dg, do), strict=False):
            d["W" + k] += dd @ z.T
            d["b" + k] += dd
        # dh_next and dC_next are never replaced: nothing flows to the previous step
    return d


def _corr2(a, k, s=1):
    H = (a.shape[0] - k.shape[0]) // s + 1
    Wd = (a.shape[1] - k.shape[1]) // s + 1
    out = np.zeros((H, Wd))
    for i in range(H):
        for j in range(Wd):
            out[i, j] = np.sum(a[i * s : i * s + k.shape[0], j * s : j * s + k.shape[1]] * k)
    return out


def setup_andreoni_1(rng):
    return (
        {
            "K1": rng.normal(0, 0.7, (3, 3)),
            "W2": rng.normal(0, 0.7, (4, 3)),
            "b2": rng.normal(0, 0.3, 3),
        },
        rng.normal(size=(6, 6)),
        np.eye(3)[1],
    )


def loss_andreoni_1(params, X, y):
    c = _corr2(X, params["K1"])
    pool = c.reshape(2, 2, 2, 2).max(axis=(1, 3)).ravel()
    p = softmax_rows((pool @ params["W2"] + params["b2"])[None])[0]
    return -np.sum(y * np.log(p))


def claimed_andreoni_1(params, X, y):
    c = _corr2(X, params["K1"])
    pool = c.reshape(2, 2, 2, 2).max(axis=(1, 3)).ravel()
    d2 = softmax_rows((pool @ params["W2"] + params["b2"])[None])[0] - y
    dpool = (params["W2"] @ d2).reshape(2, 2)
    dc = np.zeros_like(c)
    block = c[0:2, 0:2]  # returns after the first window
    i, j = np.unravel_index(block.argmax(), (2, 2))
    dc[i, j] = dpool[0, 0]
    return {"K1": _corr2(X, dc), "W2": np.outer(pool, d2), "b2": d2}


def setup_kulbear_34(rng):
    return (
        {"K1": rng.normal(0, 0.7, (3, 3)), "b1": rng.normal(0, 0.3, 1)},
        rng.normal(size=(7, 7)),
        rng.normal(size=(3, 3)),
    )


def loss_kulbear_34(params, X, y):
    return 0.5 * np.sum((_corr2(X, params["K1"], 2) + params["b1"] - y) ** 2)


def claimed_kulbear_34(params, X, y):
    dZ = _corr2(X, params["K1"], 2) + params["b1"] - y
    dK = np.zeros((3, 3))
    for h in range(3):
        for w in range(3):
            dK += X[h : h + 3, w : w + 3] * dZ[h, w]  # slice start should be h*stride, w*stride
    return {"K1": dK, "b1": np.array([dZ.sum()])}


def setup_brohrer_conv1d(rng):
    return (
        {
            "K1": rng.normal(0, 0.7, 3),
            "b1": rng.normal(0, 0.3, 1),
            "W2": rng.normal(0, 0.7, (6, 2)),
        },
        rng.normal(size=8),
        rng.normal(size=2),
    )


def loss_brohrer_conv1d(params, X, y):
    a = np.tanh(np.convolve(X, params["K1"], "valid") + params["b1"])
    return 0.5 * np.sum((a @ params["W2"] - y) ** 2)


def claimed_brohrer_conv1d(params, X, y):
    a = np.tanh(np.convolve(X, params["K1"], "valid") + params["b1"])
    d2 = a @ params["W2"] - y
    d1 = (params["W2"] @ d2) * (1 - a**2)
    dK = np.array(
        [np.sum(X[k : k + 6] * d1) for k in range(3)]
    )  # order of the correlation reversed
    return {"K1": dK, "b1": np.array([d1.sum()]), "W2": np.outer(a, d2)}


def setup_tilelang_1669(rng):
    p = {k: rng.normal(0, 0.9, (4, 3)) for k in ("Wq", "Wk", "Wv")}
    p["Wo"] = rng.normal(0, 0.9, (3, 2))
    return p, rng.normal(size=(5, 4)), rng.normal(size=(5, 2))


def loss_tilelang_1669(params, X, y):
    q, k, v = X @ params["Wq"], X @ params["Wk"], X @ params["Wv"]
    P = softmax_rows(q @ k.T / np.sqrt(3))
    return 0.5 * np.sum((P @ v @ params["Wo"] - y) ** 2)


def claimed_tilelang_1669(params, X, y):
    q, k, v = X @ params["Wq"], X @ params["Wk"], X @ params["Wv"]
    out = softmax_rows(q @ k.T / np.sqrt(3)) @ v
    do_ = out @ params["Wo"] - y
    dWo = out.T @ do_
    dO = do_ @ params["Wo"].T
    sc = 1 / np.sqrt(4)  # padded head size (4) in place of the real one (3)
    P = softmax_rows(q @ k.T * sc)  # recomputed in the backward pass
    dV = P.T @ dO
    dP = dO @ v.T
    dS = P * (dP - np.sum(dO * out, axis=1, keepdims=True))
    return {"Wq": X.T @ (dS @ k * sc), "Wk": X.T @ (dS.T @ q * sc), "Wv": X.T @ dV, "Wo": dWo}


def setup_entrenar_313(rng):
    return (
        {k: rng.normal(0, 0.7, (3, 3)) for k in ("W1", "W2", "W3")},
        rng.normal(size=(5, 3)),
        rng.normal(size=(5, 3)),
    )


def loss_entrenar_313(params, X, y):
    x0 = X @ params["W1"]
    r1 = x0 + np.tanh(x0 @ params["W2"])
    return 0.5 * np.mean((r1 + np.tanh(r1 @ params["W3"]) - y) ** 2)


def claimed_entrenar_313(params, X, y):
    x0 = X @ params["W1"]
    f1 = np.tanh(x0 @ params["W2"])
    r1 = x0 + f1
    f2 = np.tanh(r1 @ params["W3"])
    g = (r1 + f2 - y) / y.size
    ds2 = g * (1 - f2**2)
    dr1 = ds2 @ params["W3"].T  # the identity path "+ g" is missing
    ds1 = dr1 * (1 - f1**2)
    dx0 = ds1 @ params["W2"].T + dr1
    return {"W1": X.T @ dx0, "W2": x0.T @ ds1, "W3": r1.T @ ds2}


def setup_zacbi_5(rng):
    return (
        {"V": rng.normal(size=(6, 3)), "U": rng.normal(size=(6, 3))},
        np.array([2]),
        np.array([1, 4, 0, 4, 5, 4]),
    )


def loss_zacbi_5(params, X, y):
    v, U = params["V"][X[0]], params["U"]
    return -np.log(sig(U[y[0]] @ v)) - np.sum(np.log(sig(-U[y[1:]] @ v)))


def claimed_zacbi_5(params, X, y):
    v, U, neg = params["V"][X[0]], params["U"], y[1:]
    dV, dU = np.zeros_like(params["V"]), np.zeros_like(U)
    po = sig(U[y[0]] @ v)
    z = sig(-U[neg] @ v)
    dV[X[0]] = (po - 1) * U[y[0]] - (z - 1) @ U[neg]
    dU[y[0]] += (po - 1) * v
    dU[neg] += np.outer(z - 1, v) * (-1)  # a word drawn three times is counted once
    return {"V": dV, "U": dU}


def setup_sklearn_14244(rng):
    return net_rows(rng, [4, 6, 3]), rng.normal(size=(7, 4)), hot_rows(rng, 7, 3)


def loss_sklearn_14244(params, X, y):
    p = softmax_rows(np.maximum(0, X @ params["W1"] + params["b1"]) @ params["W2"] + params["b2"])
    return -np.sum(y * np.log(p)) / len(X)


def claimed_sklearn_14244(params, X, y):
    a1 = np.maximum(0, X @ params["W1"] + params["b1"])
    d2 = softmax_rows(a1 @ params["W2"] + params["b2"]) - y
    d1 = d2 @ params["W2"].T
    d1[a1 == 0] = 0  # a1 is the OUTPUT of the relu
    return {
        "W1": X.T @ d1 / len(X),
        "b1": d1.mean(axis=0),
        "W2": a1.T @ d2 / len(X),
        "b2": d2.mean(axis=0),
    }


def setup_torch7_232(rng):
    return net_rows(rng, [5, 4, 3]), rng.random((3, 5)), rng.random((3, 3))


def loss_torch7_232(params, X, y):
    return np.mean(
        (sig(sig(X @ params["W1"] + params["b1"]) @ params["W2"] + params["b2"]) - y) ** 2
    )


def claimed_torch7_232(params, X, y):
    a1 = sig(X @ params["W1"] + params["b1"])
    a2 = sig(a1 @ params["W2"] + params["b2"])

    def back(out, g):
        return g * out * (1 - out)

    d2 = back(a2, 2 * (a2 - y) / y.size)
    d1 = back(a1, d2 @ params["W2"].T)
    return {"W1": X.T @ d1, "b1": d1.sum(axis=0), "W2": a1.T @ d2, "b2": d2.sum(axis=0)}


def setup_packt_4(rng):
    return (
        net_rows(rng, [3, 4, 1], bias=False),
        np.array([[0.0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1]]),
        np.array([[0.0], [1], [1], [0]]),
    )


def loss_packt_4(params, X, y):
    return np.sum((y - sig(sig(X @ params["W1"]) @ params["W2"])) ** 2)


def claimed_packt_4(params, X, y):
    def deriv(a):
        return a * (1.0 - a)

    layer1 = sig(X @ params["W1"])
    output = sig(layer1 @ params["W2"])
    e = 2 * (y - output) * deriv(output)
    d2 = layer1.T @ e
    d1 = X.T @ ((e @ params["W2"].T) * deriv(layer1))
    return {"W1": -d1, "W2": -d2}  # the source adds these to the weights


def setup_dltoolbox_165(rng):
    return net_cols(rng, [4, 5, 2]), rng.normal(size=(6, 4)), rng.random((6, 2))


def loss_dltoolbox_165(params, X, y):
    a2 = sig(X @ params["W1"].T + params["b1"].T)
    e = y - sig(a2 @ params["W2"].T + params["b2"].T)
    return 0.5 * np.sum(e**2) / len(X)


def claimed_dltoolbox_165(params, X, y):
    m = len(X)
    a2 = sig(X @ params["W1"].T + params["b1"].T)
    a3 = sig(a2 @ params["W2"].T + params["b2"].T)
    d3 = -(y - a3) * a3 * (1 - a3)
    d2 = (d3 @ params["W2"]) * a2 * (1 - a2)
    return {
        "W1": d2.T @ X / m,
        "b1": d2.mean(axis=0)[:, None],
        "W2": d3.T @ a2 / m,
        "b2": d3.mean(axis=0)[:, None],
    }


def setup_rasbt2_54(rng):
    return net_rows(rng, [5, 4, 3]), rng.normal(size=(8, 5)), hot_rows(rng, 8, 3)


def loss_rasbt2_54(params, X, y):
    a = sig(sig(X @ params["W1"] + params["b1"]) @ params["W2"] + params["b2"])
    return np.sum(-y * np.log(a) - (1 - y) * np.log(1 - a))


def claimed_rasbt2_54(params, X, y):
    a_h = sig(X @ params["W1"] + params["b1"])
    a_out = sig(a_h @ params["W2"] + params["b2"])
    delta_out = a_out - y  # sigmoid slope cancels against cross-entropy
    delta_h = (delta_out @ params["W2"].T) * a_h * (1 - a_h)
    return {
        "W1": X.T @ delta_h,
        "b1": delta_h.sum(axis=0),
        "W2": a_h.T @ delta_out,
        "b2": delta_out.sum(axis=0),
    }


def setup_mnielsen_77(rng):
    return net_cols(rng, [5, 4, 4, 3]), rng.random((5, 1)), np.eye(3)[:, [2]]


def loss_mnielsen_77(params, X, y):
    a = X
    for layer in (1, 2, 3):
        a = sig(params[f"W{layer}"] @ a + params[f"b{layer}"])
    return np.sum(np.nan_to_num(-y * np.log(a) - (1 - y) * np.log(1 - a)))


def claimed_mnielsen_77(params, X, y):
    acts, zs = [X], []
    for layer in (1, 2, 3):
        zs.append(params[f"W{layer}"] @ acts[-1] + params[f"b{layer}"])
        acts.append(sig(zs[-1]))
    delta = acts[-1] - y
    g = {"W3": delta @ acts[2].T, "b3": delta}
    for layer in (2, 1):
        sp = sig(zs[layer - 1]) * (1 - sig(zs[layer - 1]))
        delta = params[f"W{layer + 1}"].T @ delta * sp
        g[f"W{layer}"], g[f"b{layer}"] = delta @ acts[layer - 1].T, delta
    return g


def setup_tinyml_1(rng):
    return net_cols(rng, [4, 5, 3]), rng.random((4, 6)), np.eye(3)[:, rng.integers(0, 3, 6)]


def loss_tinyml_1(params, X, y):
    lmbda, n = 0.5, X.shape[1]
    a = sig(params["W2"] @ sig(params["W1"] @ X + params["b1"]) + params["b2"])
    ce = np.sum(-y * np.log(a) - (1 - y) * np.log(1 - a)) / n
    return ce + 0.5 * lmbda / n * (np.sum(params["W1"] ** 2) + np.sum(params["W2"] ** 2))


def claimed_tinyml_1(params, X, y):
    lmbda, n = 0.5, X.shape[1]
    z1 = params["W1"] @ X + params["b1"]
    a1 = sig(z1)
    d2 = sig(params["W2"] @ a1 + params["b2"]) - y
    d1 = params["W2"].T @ d2 * sig(z1) * (1 - sig(z1))
    return {
        "W1": d1 @ X.T / n + lmbda / n * params["W1"],
        "b1": d1.sum(axis=1, keepdims=True) / n,
        "W2": d2 @ a1.T / n + lmbda / n * params["W2"],
        "b2": d2.sum(axis=1, keepdims=True) / n,
    }


def setup_mattm_8(rng):
    p = {"W1": np.array([[0.15, 0.2], [0.25, 0.3]]), "W2": np.array([[0.4, 0.45], [0.5, 0.55]])}
    return p, np.array([0.05, 0.1]), np.array([0.01, 0.99])


def loss_mattm_8(params, X, y):
    h = sig(params["W1"] @ X + 0.35)
    o = sig(params["W2"] @ h + 0.6)
    return 0.5 * np.sum((y - o) ** 2)


def claimed_mattm_8(params, X, y):
    h = sig(params["W1"] @ X + 0.35)
    o = sig(params["W2"] @ h + 0.6)
    d_o = -(y - o) * o * (1 - o)
    d_h = (params["W2"].T @ d_o) * h * (1 - h)
    return {"W1": np.outer(d_h, X), "W2": np.outer(d_o, h)}


def setup_tsoding_18(rng):
    return (
        net_rows(rng, [2, 3, 1]),
        np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]),
        np.array([[0.0], [1], [1], [0]]),
    )


def loss_tsoding_18(params, X, y):
    a = sig(np.tanh(X @ params["W1"] + params["b1"]) @ params["W2"] + params["b2"])
    return np.sum((a - y) ** 2) / len(X)


def claimed_tsoding_18(params, X, y):
    a1 = np.tanh(X @ params["W1"] + params["b1"])
    a2 = sig(a1 @ params["W2"] + params["b2"])
    d2 = 2 * (a2 - y) * a2 * (1 - a2)  # slopes written in terms of the outputs
    d1 = (d2 @ params["W2"].T) * (1 - a1 * a1)
    n = len(X)
    return {
        "W1": X.T @ d1 / n,
        "b1": d1.sum(axis=0) / n,
        "W2": a1.T @ d2 / n,
        "b2": d2.sum(axis=0) / n,
    }


def setup_dlscratch2_26(rng):
    p = {
        "Wx": rng.normal(0, 0.7, (3, 4)),
        "Wh": rng.normal(0, 0.7, (4, 4)),
        "b": rng.normal(0, 0.3, 4),
    }
    return p, rng.normal(size=(2, 5, 3)), rng.normal(size=(2, 5, 4))


def loss_dlscratch2_26(params, X, y):
    h, L = np.zeros((2, 4)), 0.0
    for t in range(5):
        h = np.tanh(h @ params["Wh"] + X[:, t] @ params["Wx"] + params["b"])
        L += 0.5 * np.sum((h - y[:, t]) ** 2)
    return L


def claimed_dlscratch2_26(params, X, y):
    hs = [np.zeros((2, 4))]
    for t in range(5):
        hs.append(np.tanh(hs[-1] @ params["Wh"] + X[:, t] @ params["Wx"] + params["b"]))
    g = {k: np.zeros_like(v) for k, v in params.items()}
    dh = np.zeros((2, 4))
    for t in range(4, -1, -1):
        dh_next = hs[t + 1] - y[:, t] + dh
        dt = dh_next * (1 - hs[t + 1] ** 2)
        g["b"] += dt.sum(axis=0)
        g["Wh"] += hs[t].T @ dt
        g["Wx"] += X[:, t].T @ dt
        dh = dt @ params["Wh"].T
    return g


def setup_nicolstm_41(rng):
    return setup_captaine_lstm(rng)


loss_nicolstm_41 = loss_captaine_lstm


def claimed_nicolstm_41(params, X, y):
    p = params
    d = {k: np.zeros_like(v) for k, v in p.items()}
    tape = _lstm_fwd(p, X)
    dh_next, dC_next = np.zeros((3, 1)), np.zeros((3, 1))

    def tanh_slope(v):
        return 1.0 - v**2  # v is already a tanh value

    for t in (2, 1, 0):
        z, f, i, g, o, Cp, C, h, yh = tape[t]
        dv = yh - y[t]
        d["Wv"] += dv @ h.T
        d["bv"] += dv
        dh = p["Wv"].T @ dv + dh_next
        dC = dC_next + dh * o * tanh_slope(np.tanh(C))
        dz = 0
        for k, dd in (
            ("o", dh * np.tanh(C) * o * (1 - o)),
            ("g", dC * i * tanh_slope(g)),
            ("i", dC * g * i * (1 - i)),
            ("f", dC * Cp * f * (1 - f)),
        ):
            d["W" + k] += dd @ z.T
            d["b" + k] += dd
            dz = dz + p["W" + k].T @ dd
        dh_next, dC_next = dz[:3], f * dC
    return d


def setup_bruce_9(rng):
    return _svm(rng)


def loss_bruce_9(params, X, y):
    W, n, reg = params["W1"], len(X), 0.3
    s = X @ W
    m = np.maximum(0, s - s[np.arange(n), y][:, None] + 1)
    m[np.arange(n), y] = 0
    return m.sum() / n + 0.5 * reg * np.sum(W * W)


def claimed_bruce_9(params, X, y):
    W, reg = params["W1"], 0.3
    dW = np.zeros_like(W)
    for i in range(len(X)):
        s = X[i] @ W
        count = 0
        for j in range(W.shape[1]):
            if j != y[i] and s[j] - s[y[i]] + 1 > 0:
                count += 1
                dW[:, j] += X[i]
        dW[:, y[i]] += -count * X[i]
    return {"W1": dW / len(X) + reg * W}  # 0.5*reg in the loss: reg*W is right


def setup_bruce_5(rng):
    return _svm(rng)


loss_bruce_5 = loss_bruce_9


def claimed_bruce_5(params, X, y):
    W, n, reg = params["W1"], len(X), 0.3
    s = X @ W
    m = np.maximum(0, s - s[np.arange(n), y][:, None] + 1)
    m[np.arange(n), y] = 0
    c = np.zeros(m.shape)
    c[m > 0] = 1
    c[np.arange(n), y] = -np.sum(c, axis=1)  # that entry is 0 before, so = and -= agree
    return {"W1": X.T @ c / n + reg * W}


def setup_frixoe_1(rng):
    return (
        net_cols(rng, [2, 2, 1]),
        np.array([[0.0, 1], [1, 0], [1, 1], [0, 0]]),
        np.array([[1.0], [1], [0], [0]]),
    )


def loss_frixoe_1(params, X, y):
    a2 = sig(params["W2"] @ sig(params["W1"] @ X.T + params["b1"]) + params["b2"])
    return np.sum(-y.T * np.log(a2) - (1 - y.T) * np.log(1 - a2)) / 4


def claimed_frixoe_1(params, X, y):
    g = {k: np.zeros_like(v) for k, v in params.items()}
    for j in range(4):
        a0 = X[j].reshape(2, 1)
        a1 = sig(params["W1"] @ a0 + params["b1"])
        dz2 = sig(params["W2"] @ a1 + params["b2"]) - y[j]
        dz1 = params["W2"].T * dz2 * a1 * (1 - a1)
        g["W2"] += dz2 * a1.T
        g["W1"] += dz1 @ a0.T
        g["b1"] += dz1
        g["b2"] += dz2
    return {k: v / 4 for k, v in g.items()}


def setup_mlfs_elu_73(rng):
    return net_rows(rng, [3, 6, 1], s=1.0), rng.normal(size=(6, 3)), rng.normal(size=(6, 1))


def loss_mlfs_elu_73(params, X, y):
    z = X @ params["W1"] + params["b1"]
    return np.sum(
        0.5 * (y - (np.where(z >= 0, z, 0.1 * (np.exp(z) - 1)) @ params["W2"] + params["b2"])) ** 2
    )


def claimed_mlfs_elu_73(params, X, y):
    z = X @ params["W1"] + params["b1"]
    a = np.where(z >= 0, z, 0.1 * (np.exp(z) - 1))
    d2 = -(y - (a @ params["W2"] + params["b2"]))
    d1 = (d2 @ params["W2"].T) * np.where(z >= 0, 1, a + 0.1)
    return {"W1": X.T @ d1, "b1": d1.sum(axis=0), "W2": a.T @ d2, "b2": d2.sum(axis=0)}


def setup_deepcl_46(rng):
    return net_cols(rng, [4, 6, 3]), rng.normal(size=(4, 5)), np.eye(3)[:, rng.integers(0, 3, 5)]


def loss_deepcl_46(params, X, y):
    z = params["W1"] @ X + params["b1"]
    p = softmax_cols(params["W2"] @ np.where(z >= 0, z, np.exp(z) - 1) + params["b2"])
    return -np.sum(y * np.log(p))


def claimed_deepcl_46(params, X, y):
    z = params["W1"] @ X + params["b1"]
    out = np.where(z >= 0, z, np.exp(z) - 1)
    d2 = softmax_cols(params["W2"] @ out + params["b2"]) - y
    d1 = params["W2"].T @ d2 * np.where(out >= 0, 1, out + 1)  # out + 1 = exp(z)
    return {
        "W1": d1 @ X.T,
        "b1": d1.sum(axis=1, keepdims=True),
        "W2": d2 @ out.T,
        "b2": d2.sum(axis=1, keepdims=True),
    }


def setup_mxnet_1053(rng):
    return _bn_setup(rng)


loss_mxnet_1053 = _bn_loss


def claimed_mxnet_1053(params, X, y):
    m = len(X)
    x = X @ params["W1"]
    xmu = x - x.mean(axis=0)
    v = x.var(axis=0) + 1e-5
    xhat = xmu / np.sqrt(v)
    a = np.tanh(params["gamma"] * xhat + params["beta"])
    d2 = (softmax_rows(a @ params["W2"] + params["b2"]) - y) / m
    dy = (d2 @ params["W2"].T) * (1 - a**2)
    gvar = np.sum(dy * params["gamma"] * xmu, axis=0) * -0.5 * v**-1.5
    gmean = np.sum(dy * params["gamma"], axis=0) * -1 / np.sqrt(v)
    gmean = gmean + gvar * np.mean(-2 * xmu, axis=0)  # the disputed extra term (it is zero)
    dx = dy * params["gamma"] / np.sqrt(v) + gvar * 2 * xmu / m + gmean / m
    return {
        "W1": X.T @ dx,
        "gamma": np.sum(dy * xhat, axis=0),
        "beta": dy.sum(axis=0),
        "W2": a.T @ d2,
        "b2": d2.sum(axis=0),
    }


def setup_odyssey_2077(rng):
    p = net_rows(rng, [3, 4, 2])
    p["b1"][:] = 0.0
    return p, np.zeros((1, 3)), rng.normal(size=(1, 2))  # z1 = 0 exactly: on the kink


def loss_odyssey_2077(params, X, y):
    return 0.5 * np.sum(
        (np.maximum(0, X @ params["W1"] + params["b1"]) @ params["W2"] + params["b2"] - y) ** 2
    )


def claimed_odyssey_2077(params, X, y):
    z1 = X @ params["W1"] + params["b1"]
    a1 = np.maximum(0, z1)
    d2 = a1 @ params["W2"] + params["b2"] - y
    d1 = (d2 @ params["W2"].T) * (z1 > 0)
    return {"W1": X.T @ d1, "b1": d1.sum(axis=0), "W2": a1.T @ d2, "b2": d2.sum(axis=0)}


def setup_odyssey_2162(rng):
    return net_rows(rng, [3, 5, 2]), rng.normal(size=(6, 3)), rng.normal(size=(6, 2))


def loss_odyssey_2162(params, X, y):
    z = X @ params["W1"] + params["b1"]
    return np.mean(((z * sig(z)) @ params["W2"] + params["b2"] - y) ** 2)


def claimed_odyssey_2162(params, X, y):
    z = X @ params["W1"] + params["b1"]
    s = sig(z)
    a = z * s
    d2 = 2 * (a @ params["W2"] + params["b2"] - y) / y.size
    d1 = (d2 @ params["W2"].T) * (s + a * (1 - s))
    return {"W1": X.T @ d1, "b1": d1.sum(axis=0), "W2": a.T @ d2, "b2": d2.sum(axis=0)}


def setup_paddle_4283(rng):
    return {"W1": rng.normal(size=(1, 200))}, rng.normal(size=(200, 1)), np.zeros((1, 1))


def loss_paddle_4283(params, X, y):
    return float((params["W1"] @ X).sum())


def claimed_paddle_4283(params, X, y):
    return {"W1": X.T}


def setup_chainer_3046(rng):
    return net_rows(rng, [20, 30, 2], s=0.3), rng.normal(size=(3, 20)), rng.normal(size=(3, 2))


def loss_chainer_3046(params, X, y):
    return np.sum((np.tanh(X @ params["W1"] + params["b1"]) @ params["W2"] + params["b2"]) * y)


def claimed_chainer_3046(params, X, y):
    a = np.tanh(X @ params["W1"] + params["b1"])
    d1 = (y @ params["W2"].T) * (1 - a**2)
    return {"W1": X.T @ d1, "b1": d1.sum(axis=0), "W2": a.T @ y, "b2": y.sum(axis=0)}


def setup_stats_188678(rng):
    return (
        {"W1": np.array([0.34, 0.56]), "b1": np.array([0.54])},
        np.array([[1.0, 0]]),
        np.array([0.1056]),
    )


def loss_stats_188678(params, X, y):
    return float(0.5 * np.sum((y - (X @ params["W1"] + params["b1"])) ** 2))


def claimed_stats_188678(params, X, y):
    e = X @ params["W1"] + params["b1"] - y
    return {"W1": X.T @ e, "b1": e.copy()}


def setup_grokking_56(rng):
    return net_rows(rng, [3, 4, 1], bias=False), rng.normal(size=(5, 3)), rng.normal(size=(5, 1))


def loss_grokking_56(params, X, y):
    return 0.5 * np.sum((np.maximum(0, X @ params["W1"]) @ params["W2"] - y) ** 2)


def claimed_grokking_56(params, X, y):
    layer_1 = np.maximum(0, X @ params["W1"])
    delta_2 = layer_1 @ params["W2"] - y
    delta_1 = (delta_2 @ params["W2"].T) * (layer_1 > 0)  # relu slope read off the activations
    return {"W1": X.T @ delta_1, "W2": layer_1.T @ delta_2}


def setup_gensim_287(rng):
    return (
        {"V": rng.normal(size=(6, 3)), "U": rng.normal(size=(6, 3))},
        np.array([2]),
        np.array([1, 4, 0, 3]),
    )


loss_gensim_287 = loss_zacbi_5


def claimed_gensim_287(params, X, y):
    lr, U = 0.025, params["U"].copy()
    v = params["V"][X[0]]
    lab = np.array([1.0, 0, 0, 0])
    l2b = U[y]  # fancy indexing: a copy, not a view
    gb = sig(l2b @ v) - lab
    dU = np.zeros_like(U)
    dU[y] += np.outer(gb, v)
    U[y] -= lr * np.outer(gb, v)  # update first; l2b is untouched
    dV = np.zeros_like(params["V"])
    dV[X[0]] = gb @ l2b
    return {"V": dV, "U": dU}


def setup_n2h_52(rng):
    return net_rows(rng, [3, 3, 1], s=0.5), rng.normal(size=(4, 3)), rng.normal(size=(4, 1))


def loss_n2h_52(params, X, y):
    e = np.exp(2 * (X @ params["W1"] + params["b1"]))
    return np.sum((((e - 1) / (e + 1)) @ params["W2"] + params["b2"] - y) ** 2)


def claimed_n2h_52(params, X, y):
    e = np.exp(2 * (X @ params["W1"] + params["b1"]))
    a = (e - 1) / (e + 1)
    d2 = 2 * (a @ params["W2"] + params["b2"] - y)
    da = d2 @ params["W2"].T
    de = da * 2 / (e + 1) ** 2
    d1 = 2 * e * de  # exp passes on out * grad
    return {"W1": X.T @ d1, "b1": d1.sum(axis=0), "W2": a.T @ d2, "b2": d2.sum(axis=0)}


def setup_udacity_285(rng):
    return (
        {"W1": rng.normal(size=2), "b1": np.array([0.2])},
        rng.normal(size=(1, 2)),
        np.array([1.0]),
    )


def loss_udacity_285(params, X, y):
    o = sig(X @ params["W1"] + params["b1"])
    return float(np.sum(-y * np.log(o) - (1 - y) * np.log(1 - o)))


def claimed_udacity_285(params, X, y):
    d_error = -(y - sig(X @ params["W1"] + params["b1"]))
    return {"W1": d_error * X[0], "b1": d_error}


def setup_ng_one_over_m(rng):
    return _planar(rng)


loss_ng_one_over_m = _planar_loss


def claimed_ng_one_over_m(params, X, y):
    m = X.shape[1]
    A1 = np.tanh(params["W1"] @ X + params["b1"])
    dZ2 = sig(params["W2"] @ A1 + params["b2"]) - y  # 1/m deferred to dW and db
    dZ1 = params["W2"].T @ dZ2 * (1 - A1**2)
    return {
        "W1": dZ1 @ X.T / m,
        "b1": dZ1.sum(axis=1, keepdims=True) / m,
        "W2": dZ2 @ A1.T / m,
        "b2": dZ2.sum(axis=1, keepdims=True) / m,
    }


def setup_dlai_66727(rng):
    return _planar(rng)


loss_dlai_66727 = _planar_loss


def claimed_dlai_66727(params, X, y):
    m = X.shape[1]
    Z1 = params["W1"] @ X + params["b1"]
    A1 = np.tanh(Z1)
    dZ2 = sig(params["W2"] @ A1 + params["b2"]) - y
    dZ1 = np.dot(params["W2"].T, dZ2) * (1 - np.tanh(Z1) ** 2)
    return {
        "W1": 1 / m * np.dot(dZ1, X.T),
        "b1": 1 / m * np.sum(dZ1, axis=1, keepdims=True),
        "W2": 1 / m * np.dot(dZ2, A1.T),
        "b2": 1 / m * np.sum(dZ2, axis=1, keepdims=True),
    }


def setup_dlai_rot180(rng):
    p = {
        "K1": rng.normal(0, 0.6, (2, 2)),
        "b1": rng.normal(0, 0.3, 1),
        "K2": rng.normal(0, 0.6, (3, 3)),
        "b2": rng.normal(0, 0.3, 1),
    }
    return p, rng.normal(size=(6, 6)), rng.normal(size=(3, 3))


def loss_dlai_rot180(params, X, y):
    A = np.tanh(_corr2(X, params["K1"]) + params["b1"])
    return 0.5 * np.sum((_corr2(A, params["K2"]) + params["b2"] - y) ** 2)


def claimed_dlai_rot180(params, X, y):
    A = np.tanh(_corr2(X, params["K1"]) + params["b1"])
    dZ = _corr2(A, params["K2"]) + params["b2"] - y
    dA = np.zeros_like(A)
    for h in range(3):
        for w in range(3):
            dA[h : h + 3, w : w + 3] += params["K2"] * dZ[h, w]  # no flip needed when scattering
    d1 = dA * (1 - A**2)
    return {
        "K1": _corr2(X, d1),
        "b1": np.array([d1.sum()]),
        "K2": _corr2(A, dZ),
        "b2": np.array([dZ.sum()]),
    }


def setup_stats_76329(rng):
    p = net_rows(rng, [1, 30, 1], s=0.5)
    X = np.linspace(-3, 3, 20)[:, None]
    return p, X, np.sin(X)


def loss_stats_76329(params, X, y):
    return 0.5 * np.sum(
        (np.tanh(X @ params["W1"] + params["b1"]) @ params["W2"] + params["b2"] - y) ** 2
    )


def claimed_stats_76329(params, X, y):
    a = np.tanh(X @ params["W1"] + params["b1"])
    d2 = a @ params["W2"] + params["b2"] - y
    d1 = (d2 @ params["W2"].T) * (1 - a**2)
    return {"W1": X.T @ d1, "b1": d1.sum(axis=0), "W2": a.T @ d2, "b2": d2.sum(axis=0)}


def setup_bpjsincl_14(rng):
    return (
        net_cols(rng, [6, 5, 4], bias=False),
        rng.random((6, 7)),
        np.eye(4)[:, rng.integers(0, 4, 7)],
    )


def loss_bpjsincl_14(params, X, y):
    wd = 0.05
    p = softmax_cols(params["W2"] @ sig(params["W1"] @ X))
    return -np.mean(np.sum(np.log(p) * y, axis=0)) + wd / 2 * (
        np.sum(params["W1"] ** 2) + np.sum(params["W2"] ** 2)
    )


def claimed_bpjsincl_14(params, X, y):
    wd, n = 0.05, X.shape[1]
    h = sig(params["W1"] @ X)
    e = softmax_cols(params["W2"] @ h) - y
    g2 = (h @ e.T / n).T
    g1 = (X @ ((1 - h) * h * (params["W2"].T @ e)).T / n).T
    return {"W1": g1 + wd * params["W1"], "W2": g2 + wd * params["W2"]}


def setup_ng_final_sigmoid(rng):
    return net_cols(rng, [4, 5, 3], s=0.5), rng.random((4, 6)), np.eye(3)[:, rng.integers(0, 3, 6)]


def loss_ng_final_sigmoid(params, X, y):
    lam, m = 1.0, X.shape[1]
    h = sig(params["W2"] @ sig(params["W1"] @ X + params["b1"]) + params["b2"])
    return np.sum(-y * np.log(h) - (1 - y) * np.log(1 - h)) / m + lam / (2 * m) * (
        np.sum(params["W1"] ** 2) + np.sum(params["W2"] ** 2)
    )


def claimed_ng_final_sigmoid(params, X, y):
    lam, m = 1.0, X.shape[1]
    D = {k: np.zeros_like(v) for k, v in params.items()}
    for t in range(m):
        a1 = X[:, [t]]
        a2 = sig(params["W1"] @ a1 + params["b1"])
        d3 = sig(params["W2"] @ a2 + params["b2"]) - y[:, [t]]
        d2 = params["W2"].T @ d3 * a2 * (1 - a2)
        D["W2"] += d3 @ a2.T
        D["b2"] += d3
        D["W1"] += d2 @ a1.T
        D["b1"] += d2
    g = {k: v / m for k, v in D.items()}
    for k in ("W1", "W2"):
        g[k] = g[k] + lam / m * params[k]
    return g


def setup_floatprec_dense(rng):
    return net_rows(rng, [4, 5, 2]), rng.normal(size=(6, 4)), rng.normal(size=(6, 2))


def loss_floatprec_dense(params, X, y):
    return 0.5 * np.sum(
        (np.tanh(X @ params["W1"] + params["b1"]) @ params["W2"] + params["b2"] - y) ** 2
    )


claimed_floatprec_dense = claimed_stats_76329


def setup_stats_332089(rng):
    p = net_rows(rng, [2, 3, 1], bias=False, s=0.8)
    X = rng.random((5, 2))
    y = sig(sig(X @ p["W1"]) @ p["W2"]) + 1e-6 * rng.normal(size=(5, 1))  # nearly converged
    return p, X, y


def loss_stats_332089(params, X, y):
    return 0.5 * np.sum((y - sig(sig(X @ params["W1"]) @ params["W2"])) ** 2)


def claimed_stats_332089(params, X, y):
    a2 = sig(X @ params["W1"])
    yh = sig(a2 @ params["W2"])
    d3 = -(y - yh) * yh * (1 - yh)
    d2 = (d3 @ params["W2"].T) * a2 * (1 - a2)
    return {"W1": X.T @ d2, "W2": a2.T @ d3}


def setup_vzhou_2(rng):
    return net_rows(rng, [2, 2, 1]), np.array([[-0.2, 0.1]]), np.array([[1.0]])


def loss_vzhou_2(params, X, y):
    return float(
        np.mean((y - sig(sig(X @ params["W1"] + params["b1"]) @ params["W2"] + params["b2"])) ** 2)
    )


def claimed_vzhou_2(params, X, y):
    h = sig(X @ params["W1"] + params["b1"])
    o = sig(h @ params["W2"] + params["b2"])
    d_L_d_ypred = -2 * (y - o)
    d2 = d_L_d_ypred * o * (1 - o)
    d1 = (d2 @ params["W2"].T) * h * (1 - h)
    return {"W1": X.T @ d1, "b1": d1[0], "W2": h.T @ d2, "b2": d2[0]}


def setup_hankcs_17(rng):
    return net_rows(rng, [4, 5, 3]), rng.normal(size=(6, 4)), hot_rows(rng, 6, 3)


def loss_hankcs_17(params, X, y):
    return -np.sum(
        y * np.log(softmax_rows(sig(X @ params["W1"] + params["b1"]) @ params["W2"] + params["b2"]))
    )


def claimed_hankcs_17(params, X, y):
    h = sig(X @ params["W1"] + params["b1"])
    d3 = softmax_rows(h @ params["W2"] + params["b2"]) - y
    d1 = (d3 @ params["W2"].T) * h * (1 - h)
    return {"W1": X.T @ d1, "b1": d1.sum(axis=0), "W2": h.T @ d3, "b2": d3.sum(axis=0)}


def setup_jatinshah_9(rng):
    X = rng.uniform(0.1, 0.9, (4, 7))
    return net_cols(rng, [4, 3, 4]), X, X.copy()


def loss_jatinshah_9(params, X, y):
    lam, rho, beta, m = 0.01, 0.05, 3.0, X.shape[1]
    a2 = sig(params["W1"] @ X + params["b1"])
    h = sig(params["W2"] @ a2 + params["b2"])
    r = a2.mean(axis=1)
    kl = np.sum(rho * np.log(rho / r) + (1 - rho) * np.log((1 - rho) / (1 - r)))
    return (
        np.sum((h - y) ** 2) / (2 * m)
        + lam / 2 * (np.sum(params["W1"] ** 2) + np.sum(params["W2"] ** 2))
        + beta * kl
    )


def claimed_jatinshah_9(params, X, y):
    lam, rho, beta, m = 0.01, 0.05, 3.0, X.shape[1]
    a2 = sig(params["W1"] @ X + params["b1"])
    h = sig(params["W2"] @ a2 + params["b2"])
    r = a2.mean(axis=1, keepdims=True)
    d3 = -(y - h) * h * (1 - h)
    d2 = (params["W2"].T @ d3 + beta * (-rho / r + (1 - rho) / (1 - r))) * a2 * (1 - a2)
    return {
        "W1": d2 @ X.T / m + lam * params["W1"],
        "b1": d2.sum(axis=1, keepdims=True) / m,
        "W2": d3 @ a2.T / m + lam * params["W2"],
        "b2": d3.sum(axis=1, keepdims=True) / m,
    }


def setup_odyssey_2724(rng):
    p = {
        "W1": rng.normal(0, 0.8, (4, 5)),
        "gamma": rng.uniform(0.5, 2, 5),
        "beta": rng.normal(0, 0.3, 5),
    }
    return p, rng.normal(size=(8, 4)), np.zeros((8, 5))


def loss_odyssey_2724(params, X, y):
    x = X @ params["W1"]
    xhat = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-5)
    return np.sum(params["gamma"] * xhat + params["beta"])


def claimed_odyssey_2724(params, X, y):
    m = len(X)
    x = X @ params["W1"]
    ivar = 1 / np.sqrt(x.var(axis=0) + 1e-5)
    xhat = (x - x.mean(axis=0)) * ivar
    dout = np.ones_like(x)  # upstream gradient all ones: dx is exactly 0
    dx = (
        params["gamma"]
        * ivar
        / m
        * (m * dout - dout.sum(axis=0) - xhat * np.sum(dout * xhat, axis=0))
    )
    return {"W1": X.T @ dx, "gamma": np.sum(dout * xhat, axis=0), "beta": dout.sum(axis=0)}

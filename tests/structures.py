"""Networks that are no chain of dense layers, with their gradients by hand, right and wrong.

Each is a loss of `numpy` or `jax.numpy` arrays, and a backward pass in NumPy alone that makes one
mistake where it is told to; `MISTAKES` names them, and what the audit must say of each.
"""

import jax
import numpy as np


def softmax(xp, z):
    e = xp.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def entropy(xp, z, y):
    """Mean cross-entropy of softmax; its derivative is (softmax(z) - y) / N."""
    return -xp.sum(y * xp.log(softmax(xp, z))) / len(y)


def error(z, y):
    return (softmax(np, z) - y) / len(y)


def hot(random, n, c):
    return np.eye(c)[random.permutation(n) % c]


# Convolution [F, C, k, k] of images [N, C, H, W], tanh, 2 x 2 pooling, a dense layer.


def draw_convolution(random, stride, size):
    n, c, f, k = 3, 2, 2, 3
    positions = (size - k) // stride + 1
    flat = f * (positions // 2) ** 2
    params = {
        "K": random.normal(size=(f, c, k, k)) * 0.5,
        "b": random.normal(size=f) * 0.3,
        "W": random.normal(size=(flat, 3)) * 0.5,
        "c": random.normal(size=3) * 0.3,
    }
    return params, random.normal(size=(n, c, size, size)), hot(random, n, 3)


def convolve(x, kernel, bias, stride):
    """As a student writes it: a loop over examples, filters and positions."""
    n, _, height, width = x.shape
    f, _, k, _ = kernel.shape
    rows, columns = (height - k) // stride + 1, (width - k) // stride + 1
    z = np.zeros((n, f, rows, columns))
    for m in range(n):
        for c in range(f):
            for i in range(rows):
                for j in range(columns):
                    top, left = i * stride, j * stride
                    window = x[m, :, top : top + k, left : left + k]
                    z[m, c, i, j] = np.sum(window * kernel[c]) + bias[c]
    return z


def pooled(xp, h, kind):
    n, f, rows, columns = h.shape
    blocks = h.reshape(n, f, rows // 2, 2, columns // 2, 2)
    return blocks.max(axis=(3, 5)) if kind == "max" else blocks.mean(axis=(3, 5))


def convolution_numpy(stride, kind):
    def loss(p, x, y):
        h = np.tanh(convolve(x, p["K"], p["b"], stride))
        a = pooled(np, h, kind).reshape(len(x), -1)
        return entropy(np, a @ p["W"] + p["c"], y)

    return loss


def convolution_jax(stride, kind):
    def loss(p, batch):
        x, y = batch
        z = jax.lax.conv(x, p["K"], (stride, stride), "VALID")
        h = jax.numpy.tanh(z + p["b"][:, None, None])
        a = pooled(jax.numpy, h, kind).reshape(len(x), -1)
        return entropy(jax.numpy, a @ p["W"] + p["c"], y)

    return loss


def convolution(p, x, y, stride=1, kind="max", mistake=""):
    z = convolve(x, p["K"], p["b"], stride)
    h = np.tanh(z)
    a = pooled(np, h, kind)
    d = error(a.reshape(len(x), -1) @ p["W"] + p["c"], y)
    dh = unpooled((d @ p["W"].T).reshape(a.shape), a, h, kind, mistake)
    dz = dh if mistake == "tanh" else dh * (1 - h**2)
    dk = kernel_gradient(x, dz, p["K"], 1 if mistake == "stride" else stride, mistake)
    ways = {
        "flipped": lambda: dk[:, :, ::-1, ::-1],
        "flipped once": lambda: dk[:, :, ::-1],
        "turned": lambda: dk.transpose(0, 1, 3, 2),
        "channels summed": lambda: np.broadcast_to(dk.sum(1, keepdims=True), dk.shape),
    }
    biases = {
        "bias one position": lambda: dz[:, :, -1, -1].sum(0),
        "bias mean": lambda: dz.mean((2, 3)).sum(0),
    }
    return {
        "W": a.reshape(len(x), -1).T @ d,
        "c": d.sum(0),
        "K": ways.get(mistake, lambda: dk)(),
        "b": biases.get(mistake, lambda: dz.sum((0, 2, 3)))(),
    }


def unpooled(da, a, h, kind, mistake):
    """The error before pooling, of that behind."""
    spread, largest = (np.repeat(np.repeat(each, 2, 2), 2, 3) for each in (da, a))
    if kind == "mean":
        return spread / (1 if mistake == "not divided" else 4)
    first = np.zeros(h.shape, bool)
    first[:, :, ::2, ::2] = True
    block = np.zeros(h.shape, bool)
    block[:, :, :2, :2] = True
    best = largest == h
    return spread * {
        "pool all": np.ones_like(best),
        "pool first": first,
        "first block": best & block,
    }.get(mistake, best)


def kernel_gradient(x, dz, kernel, step, mistake):
    """The gradient of a convolution's kernel, window by window."""
    (k,), (rows, columns) = set(kernel.shape[2:]), dz.shape[2:]
    total = np.zeros_like(kernel)
    for i, j in np.ndindex(rows, columns):
        window = x[:, :, i * step : i * step + k, j * step : j * step + k]
        part = np.einsum("ncuv,nf->fcuv", window, dz[:, :, i, j])
        counted = {
            "first window": i == j == 0,
            "last window": (i, j) == (rows - 1, columns - 1),
            "last row": i == rows - 1,
            "ends early": i < rows - 1 and j < columns - 1,
        }
        total += part * counted.get(mistake, True)
    return total


# Two convolutions of one axis, [F, C, k] of signals [N, C, T], so that an error goes back through.


def draw_two_convolutions(random):
    params = {
        "K1": random.normal(size=(2, 2, 3)) * 0.6,
        "K2": random.normal(size=(2, 2, 3)) * 0.6,
        "W": random.normal(size=(2 * 5, 3)) * 0.6,
    }
    return params, random.normal(size=(4, 2, 9)), hot(random, 4, 3)


def along(xp, x, kernel):
    """Correlation [N, F, T - k + 1]."""
    k, steps = kernel.shape[-1], x.shape[-1] - kernel.shape[-1] + 1
    windows = xp.stack([x[:, :, t : t + k] for t in range(steps)], 2)
    return xp.einsum("nctk,fck->nft", windows, kernel)


def two_convolutions_numpy(p, x, y):
    h = np.tanh(along(np, x, p["K1"]))
    h = np.tanh(along(np, h, p["K2"]))
    return entropy(np, h.reshape(len(x), -1) @ p["W"], y)


def two_convolutions_jax(p, batch):
    x, y = batch
    h = jax.numpy.tanh(jax.lax.conv(x, p["K1"], (1,), "VALID"))
    h = jax.numpy.tanh(jax.lax.conv(h, p["K2"], (1,), "VALID"))
    return entropy(jax.numpy, h.reshape(len(x), -1) @ p["W"], y)


def two_convolutions(p, x, y, mistake=""):
    h1 = np.tanh(along(np, x, p["K1"]))
    h2 = np.tanh(along(np, h1, p["K2"]))
    d = error(h2.reshape(len(x), -1) @ p["W"], y)
    grads = {"W": h2.reshape(len(x), -1).T @ d}
    d2 = (d @ p["W"].T).reshape(h2.shape) * (1 - h2**2)

    def kernel(x, d, k):
        return np.stack([np.einsum("nct,nft->fc", x[:, :, u : u + d.shape[2]], d) for u in k], 2)

    grads["K2"] = kernel(h1, d2, range(3))
    back = np.zeros_like(h1)
    for t in range(d2.shape[2]):
        turned = p["K2"]
        if mistake == "not flipped":
            turned = turned[:, :, ::-1]
        if mistake == "channels swapped":
            turned = turned.transpose(1, 0, 2)
        part = np.einsum("nf,fck->nck", d2[:, :, t], turned)
        if mistake == "assigned":
            back[:, :, t : t + 3] = part
        else:
            back[:, :, t : t + 3] += part
    grads["K1"] = kernel(x, back if mistake == "tanh" else back * (1 - h1**2), range(3))
    if mistake == "flipped":
        grads["K1"], grads["K2"] = grads["K1"][:, :, ::-1], grads["K2"][:, :, ::-1]
    return grads


# Normalisation over the batch (axis 0) or the features (axis 1), after a dense layer.


def draw_normalisation(random):
    params = {
        "W1": random.normal(size=(4, 5)),
        "gamma": random.normal(size=5) + 1,
        "beta": random.normal(size=5) * 0.3,
        "W2": random.normal(size=(5, 3)),
    }
    return params, random.normal(size=(7, 4)) + 0.5, hot(random, 7, 3)


def normalised(xp, p, x, axis):
    z = x @ p["W1"]
    mean = xp.mean(z, axis=axis, keepdims=True)
    variance = xp.mean((z - mean) ** 2, axis=axis, keepdims=True)
    n = (z - mean) / xp.sqrt(variance + 1e-3)
    return z, n, p["gamma"] * n + p["beta"]


def normalisation_numpy(axis):
    def loss(p, x, y):
        return entropy(np, np.tanh(normalised(np, p, x, axis)[2]) @ p["W2"], y)

    return loss


def normalisation_jax(axis):
    def loss(p, batch):
        x, y = batch
        z = x @ p["W1"]
        mean, variance = z.mean(axis, keepdims=True), z.var(axis, keepdims=True)
        n = (z - mean) * jax.lax.rsqrt(variance + 1e-3)
        h = jax.numpy.tanh(p["gamma"] * n + p["beta"])
        return entropy(jax.numpy, h @ p["W2"], y)

    return loss


def normalisation(p, x, y, axis=0, mistake=""):
    z, n, u = normalised(np, p, x, axis)
    h = np.tanh(u)
    d = error(h @ p["W2"], y)
    grads = {"W2": h.T @ d}
    du = (d @ p["W2"].T) * (1 - h**2)
    grads["gamma"] = (du * {"x": z, "out": u}.get(mistake, n)).sum(0)
    grads["beta"] = du.sum(0)
    if mistake == "swapped":
        grads["gamma"], grads["beta"] = grads["beta"], grads["gamma"]
    if mistake == "one row":
        grads["gamma"], grads["beta"] = (du * n)[0], du[0]
    if mistake == "averaged":
        grads["gamma"], grads["beta"] = (du * n).mean(0), du.mean(0)
    dn = du if mistake == "gamma" else du * p["gamma"]
    over = {"axis": 1 - axis}.get(mistake, axis)
    mean, sd = z.mean(axis, keepdims=True), z.std(axis, keepdims=True)
    sd = sd if mistake == "epsilon" else np.sqrt(sd**2 + 1e-3)
    count = z.shape[over] - (mistake == "count")
    through_mean = -(dn / sd).sum(over, keepdims=True) / count
    through_variance = -(dn * (z - mean) / sd**3).sum(over, keepdims=True) / count * (z - mean)
    dz = dn / sd
    if mistake == "normalisation":
        dz = dn
    if mistake not in ("constants", "mean", "normalisation"):
        dz = dz + through_mean
    if mistake not in ("constants", "variance", "normalisation"):
        dz = dz + through_variance * {"half": 0.5, "sign": -1}.get(mistake, 1)
    grads["W1"] = x.T @ dz
    return grads


# A recurrent network of sequences [N, T, I]: an output at every step, or at the last.


def draw_recurrent(random, steps=4):
    params = {
        "U": random.normal(size=(3, 4)) * 0.7,
        "W": random.normal(size=(4, 4)) * 0.7,
        "b": random.normal(size=4) * 0.3,
        "V": random.normal(size=(4, 3)) * 0.7,
        "c": random.normal(size=3) * 0.3,
    }
    n = 3
    y = np.stack([hot(random, n, 3) for _ in range(steps)], 1)
    return params, random.normal(size=(n, steps, 3)), y


def recurrent_numpy(last):
    def loss(p, x, y):
        h, total = np.zeros((len(x), 4)), 0.0
        for t in range(x.shape[1]):
            h = np.tanh(x[:, t] @ p["U"] + h @ p["W"] + p["b"])
            if not last:
                total += entropy(np, h @ p["V"] + p["c"], y[:, t])
        return entropy(np, h @ p["V"] + p["c"], y[:, -1]) if last else total

    return loss


def recurrent_jax(last):
    def loss(p, batch):
        x, y = batch

        def step(h, now):
            h = jax.numpy.tanh(now[0] @ p["U"] + h @ p["W"] + p["b"])
            return h, entropy(jax.numpy, h @ p["V"] + p["c"], now[1])

        h = jax.numpy.zeros((len(x), 4))
        h, losses = jax.lax.scan(step, h, (x.swapaxes(0, 1), y.swapaxes(0, 1)))
        if last:
            return entropy(jax.numpy, h @ p["V"] + p["c"], y[:, -1])
        return losses.sum()

    return loss


def recurrent(p, x, y, last=False, mistake=""):
    n, steps = x.shape[:2]
    states = [np.zeros((n, 4))]
    for t in range(steps):
        states.append(np.tanh(x[:, t] @ p["U"] + states[-1] @ p["W"] + p["b"]))
    parts = {name: [] for name in p}
    carry = np.zeros((n, 4))
    for t in reversed(range(steps)):
        h, before, final = states[t + 1], states[t], t == steps - 1
        e = error(h @ p["V"] + p["c"], y[:, t]) * (final or not last)
        own = (e @ p["V"].T) * (final or mistake != "carry only")
        slope = {
            "tanh": 1,
            "tanh last": 1 if final else 1 - h**2,
            "sigmoid slope": h * (1 - h),
            "slope before": 1 - before**2,
        }.get(mistake, 1 - h**2)
        dz = (own + carry) * slope * (t > 0 or mistake != "ends early")
        met = {
            "next state": h,
            "raw state": np.arctanh(before),
            "next at one": h if t == 1 else before,
        }.get(mistake, before)
        these = {"V": h.T @ e, "c": e.sum(0), "W": met.T @ dz, "U": x[:, t].T @ dz, "b": dz.sum(0)}
        for name, part in these.items():
            parts[name].append(part)
        carry = {"transposed": dz @ p["W"], "weight": dz}.get(mistake, dz @ p["W"].T)
        carry = carry * (mistake != "truncated" and (mistake, t) != ("two steps", steps - 2))
    if mistake == "last step":
        parts = {name: these[:1] for name, these in parts.items()}
    for name in "Ub" if mistake == "assigned" else "":
        parts[name] = parts[name][-1:]
    return {name: sum(these) / (steps if mistake == "mean" else 1) for name, these in parts.items()}


# A long short-term memory, its gates in one product [4H].


def draw_lstm(random):
    params = {
        "U": random.normal(size=(2, 12)) * 0.7,
        "W": random.normal(size=(3, 12)) * 0.7,
        "b": random.normal(size=12) * 0.3,
        "V": random.normal(size=(3, 3)),
    }
    return params, random.normal(size=(4, 3, 2)), hot(random, 4, 3)


def sigmoid(xp, z):
    return 1 / (1 + xp.exp(-z))


def memory(xp, p, h, c, x):
    z = x @ p["U"] + h @ p["W"] + p["b"]
    i, f, o = (sigmoid(xp, z[:, 3 * k : 3 * k + 3]) for k in range(3))
    g = xp.tanh(z[:, 9:])
    c = f * c + i * g
    return o * xp.tanh(c), c, (i, f, o, g)


def lstm_numpy(p, x, y):
    h = np.zeros((len(x), 3))
    c = np.zeros((len(x), 3))
    for t in range(x.shape[1]):
        z = x[:, t] @ p["U"] + h @ p["W"] + p["b"]
        i = 1 / (1 + np.exp(-z[:, :3]))
        f = 1 / (1 + np.exp(-z[:, 3:6]))
        o = 1 / (1 + np.exp(-z[:, 6:9]))
        g = np.tanh(z[:, 9:])
        c = f * c + i * g
        h = o * np.tanh(c)
    return entropy(np, h @ p["V"], y)


def lstm_jax(p, batch):
    x, y = batch

    def step(carry, now):
        z = now @ p["U"] + carry[0] @ p["W"] + p["b"]
        i, f, o = (jax.nn.sigmoid(each) for each in jax.numpy.split(z[:, :9], 3, 1))
        c = f * carry[1] + i * jax.numpy.tanh(z[:, 9:])
        return (o * jax.numpy.tanh(c), c), None

    start = jax.numpy.zeros((len(x), 3)), jax.numpy.zeros((len(x), 3))
    (h, _), _ = jax.lax.scan(step, start, x.swapaxes(0, 1))
    return entropy(jax.numpy, h @ p["V"], y)


def lstm(p, x, y, mistake=""):
    n, steps = x.shape[:2]
    h, c, tape = np.zeros((n, 3)), np.zeros((n, 3)), []
    for t in range(steps):
        before = h, c
        h, c, gates = memory(np, p, h, c, x[:, t])
        tape.append((*before, h, c, *gates))
    grads = {name: np.zeros_like(leaf) for name, leaf in p.items()}
    e = error(h @ p["V"], y)
    grads["V"] = h.T @ e
    dh, dc = e @ p["V"].T, np.zeros((n, 3))
    for t in reversed(range(steps)):
        h_, c_, h, c, i, f, o, g = tape[t]
        do, u = dh * np.tanh(c), np.tanh(c)
        dc = dc + (dh * o if mistake == "tanh of cell" else dh * o * (1 - u**2))
        slope = 1 if mistake == "tanh of gate" else g * (1 - g) if mistake == "gate" else 1 - g**2
        dg = dc * i * slope
        left = mistake == "sigmoid"
        di = dc * g * (1 if left else i * (1 - i))
        df = dc * (c if mistake == "cell now" else c_) * (1 if left else f * (1 - f))
        do = do * (1 if left else o * (1 - o))
        if mistake == "forget gate" and t > 0:
            df = 0 * df
        dz = np.concatenate([di, df, do, dg], 1)
        grads["U"] += x[:, t].T @ dz
        grads["W"] += (h if mistake == "state now" else h_).T @ dz
        grads["b"] += dz.sum(0)
        dh = dz @ p["W"].T
        dc = dc * (1 if mistake == "forget" else f)
        if mistake == "cell cut":
            dc = 0 * dc
        if mistake == "state cut":
            dh = 0 * dh
        if mistake == "both cut":
            dh, dc = 0 * dh, 0 * dc
    return grads


# A residual block.


def draw_residual(random):
    params = {
        "A": random.normal(size=(3, 4)),
        "B": random.normal(size=(4, 4)),
        "C": random.normal(size=(4, 4)),
        "D": random.normal(size=(4, 3)),
    }
    return params, random.normal(size=(6, 3)), hot(random, 6, 3)


def residual_loss(xp, p, x, y):
    h = xp.tanh(x @ p["A"])
    h = h + xp.tanh(h @ p["B"]) @ p["C"]
    return entropy(xp, h @ p["D"], y)


def residual_numpy(p, x, y):
    h = np.tanh(x @ p["A"])
    h = h + np.tanh(h @ p["B"]) @ p["C"]
    return entropy(np, h @ p["D"], y)


def residual_jax(p, batch):
    return residual_loss(jax.numpy, p, *batch)


def residual(p, x, y, mistake=""):
    h = np.tanh(x @ p["A"])
    u = np.tanh(h @ p["B"])
    k = h + u @ p["C"]
    e = error(k @ p["D"], y)
    d = e @ p["D"].T
    du = d @ p["C"].T
    du = du if mistake == "tanh" else du * (1 - u**2)
    dh = du @ (p["B"] if mistake == "transposed" else p["B"].T)
    dh = dh + d if mistake != "skip" else dh
    dh = d if mistake == "branch" else dh
    dh = 2 * d if mistake == "skip twice" else dh
    grads = {"D": k.T @ e, "C": u.T @ d, "B": h.T @ du, "A": x.T @ (dh * (1 - h**2))}
    if mistake == "input":
        grads["B"] = k.T @ du
    return grads


# Attention over the rows of x [T, I].


def draw_attention(random):
    params = {name: random.normal(size=(4, 3)) for name in ("Q", "K", "V")}
    params["O"] = random.normal(size=(3, 3))
    return params, random.normal(size=(5, 4)), hot(random, 5, 3)


def attention_numpy(p, x, y):
    q, k, v = x @ p["Q"], x @ p["K"], x @ p["V"]
    scores = q @ k.T / np.sqrt(3)
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    a = e / e.sum(axis=1, keepdims=True)
    return entropy(np, a @ v @ p["O"], y)


def attention_jax(p, batch):
    q, k, v = (batch[0] @ p[name] for name in "QKV")
    a = jax.nn.softmax(q @ k.T / np.sqrt(3))
    return entropy(jax.numpy, a @ v @ p["O"], batch[1])


def attention(p, x, y, mistake=""):
    q, k, v = x @ p["Q"], x @ p["K"], x @ p["V"]
    a = softmax(np, q @ k.T / np.sqrt(3))
    m = a @ v
    e = error(m @ p["O"], y)
    dm = e @ p["O"].T
    da = dm @ v.T
    ds = a * (da - (a * da).sum(1, keepdims=True))
    if mistake == "softmax":
        ds = da
    if mistake == "diagonal":
        ds = a * (1 - a) * da
    if mistake == "elementwise":
        ds = a * da
    if mistake == "sum axis":
        ds = a * (da - (a * da).sum(0, keepdims=True))
    ds = ds if mistake == "scale" else ds / np.sqrt(3)
    dq, dk = ds @ k, (ds if mistake == "scores transposed" else ds.T) @ q
    dv = (a if mistake == "weights transposed" else a.T) @ dm
    grads = {"Q": x.T @ dq, "K": x.T @ dk, "V": x.T @ dv, "O": m.T @ e}
    if mistake == "swapped":
        grads["Q"], grads["K"] = grads["K"], grads["Q"]
    return grads


# An embedding [V, E] of tokens [N, L], averaged, before a dense layer.


def draw_embedding(random):
    params = {"E": random.normal(size=(5, 4)), "W": random.normal(size=(4, 3))}
    tokens = np.array([[0, 1, 1], [2, 0, 3], [3, 3, 1], [0, 2, 2]])
    return params, tokens, hot(random, 4, 3)


def embedding_numpy(p, x, y):
    return entropy(np, np.tanh(p["E"][x].mean(axis=1)) @ p["W"], y)


def embedding_jax(p, batch):
    h = jax.numpy.tanh(p["E"][batch[0]].mean(axis=1))
    return entropy(jax.numpy, h @ p["W"], batch[1])


def embedding(p, x, y, mistake=""):
    h = np.tanh(p["E"][x].mean(1))
    e = error(h @ p["W"], y)
    d = (e @ p["W"].T) * (1 if mistake == "tanh" else 1 - h**2)
    d = d if mistake == "not divided" else d / x.shape[1]
    rows = np.broadcast_to(d[:, None], (*x.shape, 4)).reshape(-1, 4)
    grad = np.zeros_like(p["E"])
    if mistake == "assigned":
        grad[x.ravel()] = rows
    else:
        np.add.at(grad, x.ravel(), rows)
    if mistake == "counts":
        grad /= np.maximum(np.bincount(x.ravel(), minlength=5), 1)[:, None]
    return {"E": grad, "W": h.T @ e}

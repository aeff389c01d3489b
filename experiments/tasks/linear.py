"""Logistic regression, on dense rows and on sparse ones."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

import jaxnet
from jaxnet import tables
from jaxnet.compare import Problem

PENALTY = 1e-2
_WORDS, _TEXTS = 100, 1500

Batch = tuple[Float[Array | np.ndarray, "B I"], Int[Array | np.ndarray, " B"]]


def cross_entropy(params: jaxnet.Layer, batch: Batch) -> Float[Array, ""]:
    """Give the mean cross-entropy of labels 0 and 1."""
    x, y = batch
    scores = jnp.asarray(x, params.bias.dtype) @ params.weight[0]
    signs = 2 * jnp.asarray(y, params.bias.dtype) - 1
    return jnp.mean(jax.nn.softplus(-signs * (scores + params.bias[0])))


def penalised(params: jaxnet.Layer, batch: Batch) -> Float[Array, ""]:
    """Give the cross-entropy and a penalty on the weights, which has one minimum."""
    return cross_entropy(params, batch) + PENALTY / 2 * jnp.sum(params.weight**2)


def _correct(params: jaxnet.Layer, batch: Batch) -> Float[Array, ""]:
    x, y = batch
    scores = jnp.asarray(x, params.bias.dtype) @ params.weight[0] + params.bias[0]
    return jnp.mean((scores > 0) == (jnp.asarray(y) == 1), dtype=params.bias.dtype)


def _start(inputs: int, key: Key[Array, ""]) -> jaxnet.Layer:
    return jaxnet.init(key, (inputs, 1))[0]


def logistic() -> Problem:
    """Give logistic regression on all rows of breast_cancer: convex, minimised, not judged."""
    whole = tables.split(tables.read("breast_cancer"), "target", validation=0.0, test=0.0)
    start = functools.partial(_start, whole.encoder.inputs)
    about = f"logistic regression on breast_cancer, penalty {PENALTY:g}, all rows in every step"
    return Problem(
        name="logistic", loss=penalised, init=start, data=whole.train, epochs=100, about=about
    )


def sparse() -> Problem:
    """Give labels told by words, of which most are in few texts."""
    random = np.random.default_rng(0)
    chances = np.minimum(1, 4 / np.arange(1, _WORDS + 1))
    x = (random.random((_TEXTS, _WORDS)) < chances).astype(np.float32)
    scores = x @ random.normal(size=_WORDS)
    y = (scores > np.median(scores)).astype(np.int32)
    train, validation, test = (
        (x[low:high], y[low:high]) for low, high in ((0, 900), (900, 1200), (1200, 1500))
    )
    return Problem(
        name="sparse",
        loss=cross_entropy,
        init=functools.partial(_start, _WORDS),
        data=train,
        epochs=5,
        batch_size=16,
        validation=validation,
        test=test,
        metrics={"accuracy": _correct},
        about="sparse gradients: words told apart by rare ones (after Duchi et al. 2011)",
    )

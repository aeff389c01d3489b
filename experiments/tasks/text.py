"""A character model on text that a small grammar writes."""

import re

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

import jaxnet
from experiments.tasks.task import classification
from jaxnet import network
from jaxnet.compare import Problem

# Words in capitals are replaced, each by one of the right; verbs agree with what does them.
_GRAMMAR = {
    "TEXT": ("the ONE. ", "the MANY. "),
    "ONE": ("NOUN VERBs WHAT", "HOW ONE", "NOUN that VERBs WHAT VERBs WHAT"),
    "MANY": ("NOUNs VERB WHAT", "HOW MANY", "NOUNs that VERB WHAT VERB WHAT"),
    "WHAT": ("a NOUN", "NOUNs", "a HOW NOUN", "a NOUN that VERBs WHAT"),
    "HOW": ("small", "big", "red"),
    "NOUN": ("cat", "dog", "bird", "mouse"),
    "VERB": ("see", "hear", "like", "find"),
}
_CONTEXT, _CHANNELS, _HIDDEN = 8, 4, 32

Params = tuple[Float[Array, "V C"], network.Params]


def write(length: int) -> str:
    """Write so many characters of text, the same each time."""
    random = np.random.default_rng(0)

    def expand(symbol: str) -> str:
        rule = _GRAMMAR[symbol][random.integers(len(_GRAMMAR[symbol]))]
        return re.sub("[A-Z]+", lambda match: expand(match[0]), rule)

    text = ""
    while len(text) < length:
        text += expand("TEXT")
    return text[:length]


def model(params: Params, x: Int[Array, " T"]) -> Float[Array, " V"]:
    """Give the scores of the next character after those of the context (Bengio et al. 2003)."""
    channels, layers = params
    characters = jax.nn.one_hot(x, len(channels), dtype=channels.dtype)
    return jaxnet.forward(layers, (characters @ channels).reshape(-1), jnp.tanh)


def characters() -> Problem:
    """Give the next character after 8 as a task: 2048 places train, 512 tune, 1000 judge."""
    alphabet, codes = np.unique(list(write(3560 + _CONTEXT)), return_inverse=True)
    codes = codes.astype(np.int32)
    x, y = np.lib.stride_tricks.sliding_window_view(codes, _CONTEXT)[:-1], codes[_CONTEXT:]
    x = np.ascontiguousarray(x)

    def start(key: Key[Array, ""]) -> Params:
        first, second = jax.random.split(key)
        channels = jax.random.normal(first, (len(alphabet), _CHANNELS))
        sizes = _CONTEXT * _CHANNELS, _HIDDEN, len(alphabet)
        return channels, jaxnet.init(second, sizes)

    return classification(
        "characters",
        model,
        start,
        ((x[:2048], y[:2048]), (x[2048:2560], y[2048:2560]), (x[2560:], y[2560:])),
        epochs=3,
        batch_size=32,
        about="the next character of a small grammar's text, after 8 (after Bengio et al. 2003)",
    )

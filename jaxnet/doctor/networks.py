"""What network of layers a loss is of, told by trying it, and what its data are.

Shapes: N rows of data, I inputs, O outputs.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PyTree

from jaxnet import losses, network, variables
from jaxnet._guards import options
from jaxnet.losses import BatchLoss
from jaxnet.storage import models

NONE = "nothing"
HIDDEN: dict[str, network.Activation] = {
    **models.ACTIVATIONS,
    "elu": jax.nn.elu,
    "leaky_relu": jax.nn.leaky_relu,
    NONE: lambda z: z,
}
OUTPUTS: dict[str, network.Activation] = {
    NONE: lambda z: z,
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "softmax": jax.nn.softmax,
    "log_softmax": jax.nn.log_softmax,
}


class Network(NamedTuple):
    """What a forward function of layers computes.

    Attributes:
        sizes: of its layers, the inputs first.
        activation: the name of what follows each hidden layer. output: of what follows the last.
    """

    sizes: tuple[int, ...]
    activation: str
    output: str


def recognise(loss: Any, params: PyTree) -> Network | None:
    """Say what network a loss is of, where it gives the numbers of one; None where it does not."""
    layers = isinstance(params, Sequence) and all(isinstance(e, network.Layer) for e in params)
    if not layers or not isinstance(loss, BatchLoss) or losses.draws(loss):
        return None
    random = np.random.default_rng(0)
    drawn = jax.tree.map(
        lambda leaf: (random.normal(size=leaf.shape) / leaf.shape[-1] ** 0.5).astype(leaf.dtype),
        tuple(params),
    )
    x = random.normal(size=(8, params[0].weight.shape[1])).astype(params[0].weight.dtype)
    own, known = jax.device_get(_outputs(loss.forward)(drawn, x))
    hidden = list(HIDDEN) if len(params) > 1 else [NONE]
    for output, of_hidden in known.items():
        for activation, values in zip(hidden, of_hidden, strict=True):
            if values.shape == own.shape and np.allclose(values, own, rtol=1e-4, atol=1e-5):
                sizes = (x.shape[1], *(len(layer.weight) for layer in params))
                return Network(sizes, activation, output)
    return None


@functools.lru_cache(maxsize=64)
def _outputs(forward: losses.Forward) -> Any:
    def outputs(params: network.Params, x: Float[Array, "N I"]) -> Any:
        def known(activation: network.Activation) -> Array:
            return jax.vmap(lambda row: network.forward(params, row, activation))(x)

        every = HIDDEN.values() if len(params) > 1 else [HIDDEN[NONE]]
        z = jnp.stack([known(activation) for activation in every])
        own = jax.vmap(forward, (None, 0))(params, x)
        return own, {name: output(z) for name, output in OUTPUTS.items()}

    return options.once(outputs)


def entropy(known: Network | None, y: Any) -> Any:
    """Give the cross-entropy of targets that say classes; None where they do not."""
    y = np.asarray(y)
    if known is None:
        return None
    outputs = known.sizes[-1]
    if jnp.issubdtype(y.dtype, jnp.integer):
        several = y.ndim == 1 and outputs > 1
        return optax.losses.softmax_cross_entropy_with_integer_labels if several else None
    if y.shape[1:] != (outputs,) or not np.isin(y, (0, 1)).all():
        return None
    if outputs == 1:
        return optax.losses.sigmoid_binary_cross_entropy
    return optax.losses.softmax_cross_entropy if (y.sum(axis=1) == 1).all() else None


def wrong(z: Float[Array, "N O"], y: Any) -> Float[Array, ""]:
    """Give the share of rows given the wrong class: by the largest output, or the side of one.

    One output is a probability or the logarithm of odds; it is taken for what suits it better.
    """
    if z.shape[-1] == 1:
        return jnp.minimum(*(jnp.mean((z > cut) != (y > 0.5)) for cut in (0.0, 0.5)))
    label = y if y.ndim == 1 else jnp.argmax(y, axis=-1)
    return jnp.mean(jnp.argmax(z, axis=-1) != label)


def rarer(y: Any) -> float:
    """Give the share of rows that are not of the most frequent class."""
    y = np.asarray(y)
    label = y if y.ndim == 1 else (y[:, 0] > 0.5 if y.shape[1] == 1 else y.argmax(axis=1))
    return 1 - float(np.unique(label, return_counts=True)[1].max()) / len(label)


@functools.lru_cache(maxsize=64)
def judge(loss: BatchLoss, classes: bool) -> Any:
    """Give what tells the loss of parameters, that of the best constant, and what share is wrong.

    Constants are made of the targets' mean, or the classes' shares: it, its logarithm, its odds'.
    """

    def judged(params: PyTree, share: Array, rows: Any) -> tuple[Any, Any, Any]:
        logarithm = jnp.log(jnp.clip(share, 1e-6, 1 - 1e-6))
        odds = logarithm - jnp.log(1 - jnp.clip(share, 1e-6, 1 - 1e-6))
        constant = BatchLoss(_itself, loss.example_loss)
        values = [constant(each, rows) for each in (share, logarithm, odds)]
        best = jnp.nanmin(jnp.where(jnp.isinf(values := jnp.stack(values)), jnp.nan, values))
        value = losses.value(loss, params, rows)
        if not classes:
            return value, best, 0.0
        return value, best, wrong(jax.vmap(loss.forward, (None, 0))(params, rows[0]), rows[1])

    return options.once(judged)


def _itself(params: Array, x: Array) -> Array:
    del x
    return params


def share(loss: BatchLoss, params: PyTree, x: Any, y: Any) -> np.ndarray:
    """Give the mean of the targets, or of classes their shares, as a prediction has it."""
    row = jax.ShapeDtypeStruct(np.shape(x)[1:], x.dtype)
    own = functools.partial(loss.forward, **variables.named(None, losses.draws(loss)))
    outputs = jax.eval_shape(own, params, row)
    if jnp.issubdtype(y.dtype, jnp.integer) and np.shape(y)[1:] != outputs.shape:
        counts = np.bincount(np.ravel(y), minlength=outputs.shape[-1])
        return (counts[: outputs.shape[-1]] / len(y)).astype(outputs.dtype)
    return np.asarray(y, np.float64).mean(axis=0).astype(outputs.dtype)


def idle(known: Network, params: network.Params, x: Any) -> list[tuple[int, int]]:
    """Count in each hidden layer the units that give all rows the same output, and all units."""
    counts = []
    for depth in range(1, len(params)):
        z = jax.vmap(
            lambda row, depth=depth: network.forward(
                params[:depth], row, HIDDEN[known.activation], HIDDEN[known.activation]
            )
        )(x)
        counts.append((int((np.ptp(np.asarray(z), axis=0) == 0).sum()), z.shape[1]))
    return counts

"""What network of layers a loss is of, told by trying it, and what its data are.

Shapes: N rows of data, I inputs, O outputs.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PyTree, Shaped

from jaxnet import losses, network
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
# So many networks are drawn to tell what one computes: of some, one output is never above 0.
_DRAWS = 8
Kind = Callable[[Any, Any], Any]
"""A loss of an example, of optax."""


class Network(NamedTuple):
    """What a forward function of layers computes.

    Attributes:
        sizes: of its layers, the inputs first.
        activation: the name of what follows each hidden layer. output: of what follows the last.
    """

    sizes: tuple[int, ...]
    activation: str
    output: str


def recognise(loss: BatchLoss, params: PyTree) -> Network | None:
    """Say what network a loss is of, where it gives the numbers of one; None where it does not."""
    layers = isinstance(params, Sequence) and all(isinstance(e, network.Layer) for e in params)
    if not layers or losses.draws(loss):
        return None
    random = np.random.default_rng(0)
    # Of one output some activations give always the same, which would hide the hidden layers'.
    last = jax.tree.map(lambda leaf: np.concatenate([leaf, leaf]), params[-1])
    drawn = jax.tree.map(
        lambda leaf: (
            random.normal(size=(_DRAWS, *leaf.shape)).astype(leaf.dtype)
            / np.sqrt(leaf.shape[-1], dtype=leaf.dtype)
        ),
        (*params[:-1], last),
    )
    inputs = params[0].weight.shape[1]
    x = random.normal(size=(_DRAWS, 8, inputs)).astype(params[0].weight.dtype)
    own = np.asarray(_of_rows(loss.forward)(drawn, x))
    for activation in HIDDEN if len(params) > 1 else [NONE]:
        for output, values in jax.device_get(_known(activation)(drawn, x)).items():
            if values.shape == own.shape and np.allclose(values, own, rtol=1e-4, atol=1e-5):
                sizes = inputs, *(len(layer.weight) for layer in params)
                return Network(sizes, activation, output)
    return None


@functools.lru_cache(maxsize=64)
def _of_rows(forward: losses.Forward) -> Any:
    return options.once(jax.vmap(jax.vmap(forward, (None, 0))))


@functools.cache
def _known(activation: str) -> Any:
    def outputs(params: network.Params, x: Float[Array, " I"]) -> dict[str, Array]:
        z = network.forward(params, x, HIDDEN[activation])
        return {name: output(z) for name, output in OUTPUTS.items()}

    return _of_rows(outputs)


def entropy(y: Any, outputs: int) -> Kind | None:
    """Give the cross-entropy of targets that say classes, or sets of them; None of others."""
    y = np.asarray(y)
    if jnp.issubdtype(y.dtype, jnp.integer) and y.ndim == 1:
        labels = outputs > 1 and y.min() >= 0 and y.max() < outputs
        return optax.losses.softmax_cross_entropy_with_integer_labels if labels else None
    if y.shape[1:] != (outputs,) or not np.isin(y, (0, 1)).all():
        return None
    if outputs > 1 and (y.sum(axis=1) == 1).all():
        return optax.losses.softmax_cross_entropy
    return optax.losses.sigmoid_binary_cross_entropy


def tells(kind: Kind, y: Shaped[np.ndarray, "N 1"]) -> bool:
    """Tell whether what a loss is least at differs with the targets; True of whole numbers.

    It does not where more than half of their variance is among those with the same best output,
    of many in their units, in those of their logarithms, and about 0.
    """
    if not jnp.issubdtype(y.dtype, jnp.floating):
        return True
    wide = y[:, 0].astype(np.float64)
    values = np.quantile(wide, np.linspace(0, 1, 21))
    tried = np.concatenate([values, np.log(np.abs(values) + 1e-6), np.linspace(-5, 5, 41)])
    each = jax.vmap(jax.vmap(kind, (0, None)), (None, 0))(tried.astype(y.dtype)[:, None], y)
    best = np.asarray(each).reshape(len(y), -1).argmin(axis=1)
    apart = np.stack([wide[best == output].mean() for output in best])
    return bool(np.var(wide - apart) <= np.var(wide) / 2)


def wrong(kind: Kind, z: Float[Array, "N O"], y: Any) -> Float[Array, ""]:
    """Give the share of classes that are wrong: by the largest output, or the side of each.

    The side is that of a probability or of the logarithm of odds, which suits better.

    Args:
        kind: the cross-entropy of the classes.
    """
    if kind is optax.losses.sigmoid_binary_cross_entropy:
        return jnp.minimum(*(jnp.mean((z > cut) != (y > 0.5)) for cut in (0.0, 0.5)))
    label = y if y.ndim == 1 else jnp.argmax(y, axis=-1)
    return jnp.mean(jnp.argmax(z, axis=-1) != label)


def idle(known: Network, params: network.Params, x: Any) -> str:
    """Say which hidden layer has the most units that give all rows the same, if half of it do."""
    hidden, every = HIDDEN[known.activation], [(0.0, "")]
    for depth in range(1, len(params)):
        layer = functools.partial(
            network.forward, params[:depth], activation=hidden, output_activation=hidden
        )
        units = np.asarray(options.once(jax.vmap(layer))(x))
        count, many = int((np.ptp(units, axis=0) == 0).sum()), units.shape[1]
        said = f"; {count} of the {many} units of layer {depth} give all rows the same output"
        every.append((count / many, said))
    share, said = max(every)
    return said if share >= 0.5 else ""

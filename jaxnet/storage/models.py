"""A trained network as files that other programs read: JSON and safetensors.

`model.json` says what the network is and names its weights file, `weights-<hash>.safetensors`,
which is written first: at every moment the folder holds a whole model or none.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key, PyTree

from jaxnet import losses, network, variables
from jaxnet._guards import checks
from jaxnet.errors import InputError
from jaxnet.storage import arrays, files, fingerprints

_RECORD, _WEIGHTS = "model.json", "weights.safetensors"

ACTIVATIONS: dict[str, network.Activation] = {
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
}


def activation_by_name(activation: str) -> network.Activation:
    """Give an activation by its name.

    Raises:
        InputError: an activation not in `ACTIVATIONS`.
    """
    if activation not in ACTIVATIONS:
        raise InputError(
            f"activation: expected one of {', '.join(ACTIVATIONS)}, got {activation!r}"
        )
    return ACTIVATIONS[activation]


@functools.cache
def forward(activation: str) -> losses.Forward:
    """Give `network.forward` with an activation by its name; the same function every time.

    Raises:
        InputError: an activation not in `ACTIVATIONS`.
    """
    return functools.partial(network.forward, activation=activation_by_name(activation))


def loss(task: str, activation: str) -> losses.BatchLoss:
    """Give the loss of a task: softmax cross-entropy, or half the squared error.

    Raises:
        InputError: an activation not in `ACTIVATIONS`.
    """
    example_loss = {
        "classification": optax.losses.softmax_cross_entropy_with_integer_labels,
        "regression": optax.losses.l2_loss,
    }[task]
    return losses.BatchLoss(forward(activation), example_loss)


@functools.cache
def starting(*sizes: int) -> Callable[[Key[Array, ""]], network.Params]:
    """Give what draws a network of those sizes from a key; the same function every time."""
    return functools.partial(network.init, sizes=sizes)


@functools.cache
def accuracy(forward: losses.Forward) -> losses.Loss:
    """Give the share of a batch's examples, weighed as they are, whose largest output is right."""
    outputs = jax.vmap(forward, in_axes=(None, 0))

    def accuracy(params: PyTree, batch: Any) -> Float[Array, ""]:
        x, y, *weights = batch
        right = jnp.argmax(outputs(params, x), -1) == y
        return variables.mean(right.astype(float), *weights)

    return accuracy


def write(folder: str | Path, params: network.Params, about: dict[str, Any]) -> None:
    """Write a network and what is known of it, in plain JSON types; whole or not at all.

    Of several networks every array has their axis first, as `ensemble` has it.

    Raises:
        InputError: what are no layers; what JSON cannot hold in `about`.
        OSError: a place that cannot be written to, or is full; an older model stays as it was.
    """
    checks.network(params)
    tensors = {
        f"{index}.{name}": np.asarray(leaf)
        for index, layer in enumerate(params)
        for name, leaf in zip(network.Layer._fields, layer, strict=True)
        if leaf is not None
    }
    folder = Path(folder)
    files.clear(folder)
    name = files.named(_WEIGHTS, fingerprints.of_data(tensors))
    weights = arrays.pack(name, tensors, None)
    files.write_record(folder / _RECORD, {"about": about}, {name: weights})


def read(folder: str | Path) -> tuple[tuple[network.Layer, ...], dict[str, Any]]:
    """Read a network and what is known of it.

    Raises:
        InputError: no model there, or one that is not whole.
    """
    try:
        record, contents = files.read_record(Path(folder) / _RECORD)
    except InputError as error:
        raise InputError(f"folder: expected a model in {folder}; {error}") from error
    if "about" not in record or len(contents) != 1:
        raise InputError(f"folder: expected a model in {folder}, got another record of jaxnet's")
    (weights,) = contents.values()
    tensors, _ = arrays.unpack(weights)
    given = {name: jnp.asarray(tensor) for name, tensor in tensors.items()}
    count = sum(name.endswith(".weight") for name in given)
    layers = [network.Layer(given[f"{i}.weight"], given.get(f"{i}.bias")) for i in range(count)]
    return tuple(layers), record["about"]

"""The program of a loss, read for the chain of fully connected layers that it is."""

import functools
import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from jaxnet import losses, network
from jaxnet.audit import outputs
from jaxnet.audit.chain import Chain, Dense


def chain_of(
    loss: losses.Loss, params: PyTree, batch: PyTree, names: tuple[str, ...]
) -> Chain | None:
    """Find the chain that a loss is; None where it is none."""
    loss = inspect.unwrap(loss)
    activation = _activation_of(loss)
    if activation is None:
        return None
    x, y = batch
    layers, tree = [], iter(range(2 * len(params)))
    for layer in params:
        weight, bias = np.asarray(layer.weight), np.asarray(layer.bias)
        x = np.asarray(x)
        z = x @ weight.T + bias
        h = np.asarray(activation(jnp.asarray(z)))
        layers.append(Dense(weight, bias, activation, x, z, h, next(tree), next(tree)))
        x = h
    delta = np.asarray(_output_signal(loss, layers[-1].z, y)) / len(y)
    shapes = tuple(np.shape(leaf) for leaf in jax.tree.leaves(params))
    output = outputs.recognise(layers[-1].z, delta, batch, (0, 0))
    return Chain(tuple(layers), delta, 1 / len(y), {}, names, shapes, (0, 0), output)


def _activation_of(loss: Any) -> network.Activation | None:
    """Give the hidden activation where the loss is of a network of ours, None elsewhere."""
    if not isinstance(loss, losses.BatchLoss):
        return None
    forward, keywords = inspect.unwrap(loss.forward), {}
    if isinstance(forward, functools.partial) and not forward.args:
        forward, keywords = forward.func, forward.keywords
    return keywords.get("activation", jax.nn.relu) if forward is network.forward else None


@functools.partial(jax.jit, static_argnums=0)
def _output_signal(loss: losses.BatchLoss, logits: Array, y: Array) -> Array:
    def example(z: Array, y: Array) -> Array:
        return jnp.mean(loss.example_loss(z, y))

    return jax.vmap(jax.grad(example))(logits, y)

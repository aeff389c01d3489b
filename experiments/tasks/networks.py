"""Fully connected and convolutional networks on the notebooks' data, tables, digits, MNIST-1D."""

import functools
import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

import jaxnet
from experiments import classifier, regression
from experiments.tasks import mnist1d
from experiments.tasks.task import Parts, Start, classification
from jaxnet import losses, network, tables
from jaxnet.compare import Problem
from jaxnet.storage import models


def notebook(name: str) -> Problem:
    """Give a notebook's set-up: its data in full batches, judged by the training loss."""
    setting, epochs = {"classifier": (classifier, 100), "regression": (regression, 10)}[name]
    params, data = setting.set_up("float32")
    layers = [params[0].weight.shape[1], *(len(layer.weight) for layer in params)]
    about = f"the {name} notebook: its network, its data, {epochs} epochs"
    return Problem(
        name=name,
        loss=setting.LOSS,
        init=models.starting(*layers),
        data=data,
        epochs=epochs,
        about=about,
    )


def table(name: str, epochs: int, hidden: Sequence[int] = (16,)) -> Problem:
    """Give one of scikit-learn's tables: 60% of its rows to train, 20% to tune, 20% to judge."""
    split = tables.split(tables.read(name), "target", source=name)
    init = models.starting(split.encoder.inputs, *hidden, split.encoder.outputs)
    parts = split.train, split.validation, split.test
    about = f"scikit-learn's {name}, a network of {'-'.join(map(str, hidden))} hidden units"
    if split.encoder.target.kind == "classification":
        return classification(
            name, jaxnet.forward, init, parts, epochs=epochs, batch_size=16, about=about
        )
    train, validation, test = parts
    return Problem(
        name=name,
        loss=jaxnet.BatchLoss(jaxnet.forward, optax.losses.l2_loss),
        init=init,
        data=train,
        epochs=epochs,
        batch_size=16,
        validation=validation,
        test=test,
        about=about,
    )


def convolve(
    layer: jaxnet.Layer, x: Float[Array, "H W C"], kernel: tuple[int, int]
) -> Float[Array, "P Q O"]:
    """Convolve an image in steps of 2 with kernels laid out as `weight [O, kernel x C]`.

    As products of matrices: of many networks at once JAX computes these much faster.
    """
    high, wide = ((size - width) // 2 + 1 for size, width in zip(x.shape, kernel, strict=False))
    corners = itertools.product(*map(range, kernel))
    parts = [x[i : i + 2 * high - 1 : 2, j : j + 2 * wide - 1 : 2] for i, j in corners]
    patches = jnp.concatenate(parts, axis=-1)
    return patches @ layer.weight.T + jnp.broadcast_to(layer.bias, (high, wide, len(layer.bias)))


def convolutional(
    params: network.Params, x: Float[Array, " N"], shape: tuple[int, int], kernel: tuple[int, int]
) -> Float[Array, " O"]:
    """Give the outputs of an example: convolutions and ReLU, and a fully connected layer."""
    *hidden, output = params
    image = x.reshape(*shape, 1)
    for layer in hidden:
        image = jax.nn.relu(convolve(layer, image, kernel))
    return output.weight @ image.reshape(-1) + output.bias


def _kernels(sizes: Sequence[tuple[int, int]], key: Key[Array, ""]) -> network.Params:
    """Draw each layer by itself: the outputs of one are not the inputs of the next."""
    keys = jax.random.split(key, len(sizes))
    return tuple(jaxnet.init(k, size)[0] for k, size in zip(keys, sizes, strict=True))


def digits_convolution() -> Problem:
    """Give scikit-learn's digits to a small convolutional network."""
    split = tables.split(tables.read("digits"), "target")
    return classification(
        "digits-convolution",
        functools.partial(convolutional, shape=(8, 8), kernel=(3, 3)),
        functools.partial(_kernels, ((9, 8), (72, 32), (32, 10))),
        (split.train, split.validation, split.test),
        epochs=5,
        batch_size=32,
        about="scikit-learn's digits, two 3 x 3 convolutions of 8 and 32 channels",
    )


def digits_autoencoder() -> Problem:
    """Give scikit-learn's digits to a network that is to give them back through 8 numbers."""
    split = tables.split(tables.read("digits"), "target")
    train, validation, test = ((x, x) for x, _ in split[:3])
    forward = functools.partial(jaxnet.forward, activation=jnp.tanh)
    return Problem(
        name="digits-autoencoder",
        loss=jaxnet.BatchLoss(forward, optax.losses.l2_loss),
        init=models.starting(64, 32, 8, 32, 64),
        data=train,
        epochs=5,
        batch_size=32,
        validation=validation,
        test=test,
        about="scikit-learn's digits through 8 numbers and back (Hinton & Salakhutdinov 2006)",
    )


def _signals() -> Parts:
    """Give 1600 signals of MNIST-1D to train on, 400 to tune on, 1000 to judge on."""
    x, y = mnist1d.signals(3000)
    train, tune, judge = (
        (x[low:high], y[low:high]) for low, high in ((0, 1600), (1600, 2000), (2000, 3000))
    )
    return train, tune, judge


def _of_signals(name: str, forward: losses.Forward, init: Start, about: str) -> Problem:
    about = f"MNIST-1D (Greydanus & Kobak 2024), {about}"
    return classification(name, forward, init, _signals(), epochs=5, batch_size=32, about=about)


def signals() -> Problem:
    """Give MNIST-1D to a fully connected network."""
    about = "a network of 32 hidden units"
    return _of_signals("mnist1d", jaxnet.forward, models.starting(mnist1d.POINTS, 32, 10), about)


def signals_convolution() -> Problem:
    """Give MNIST-1D to a small convolutional network."""
    return _of_signals(
        "mnist1d-convolution",
        functools.partial(convolutional, shape=(mnist1d.POINTS, 1), kernel=(5, 1)),
        functools.partial(_kernels, ((5, 8), (40, 16), (112, 10))),
        "two convolutions of 5 points, 8 and 16 channels",
    )

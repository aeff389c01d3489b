"""Replay of the classifier notebook: 3-4-4, tanh, softmax, two examples, 100 epochs.

Its hand-derived gradients are wrong. They are kept here as a pure function, `notebook_rule`, and
run through the same compiled loop as autodiff.
"""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

import jaxnet
from experiments import Dtype, command, precision, print_trace
from jaxnet import devices, optimizers, report
from jaxnet.audit import Audit, audit

Batch = tuple[Float[Array, "B 3"], Float[Array, "B 4"]]

LOSS = jaxnet.BatchLoss(
    functools.partial(jaxnet.forward, activation=jnp.tanh), optax.losses.softmax_cross_entropy
)


class Result(NamedTuple):
    """Both runs from the same start.

    Attributes:
        notebook: losses [T] under the notebook's gradients, measured before each update.
        autodiff: losses [T] under the true gradients.
        grads: the notebook's gradients, every leaf with axis T first.
        provenance: device, dtype, versions.
    """

    notebook: Float[np.ndarray, " T"]
    autodiff: Float[np.ndarray, " T"]
    grads: tuple[jaxnet.Layer, ...]
    provenance: devices.Provenance


def set_up(dtype: Dtype = "float64") -> tuple[tuple[jaxnet.Layer, ...], Batch]:
    """Give the notebook's parameters and data."""
    with precision(dtype):
        hidden = jaxnet.Layer(
            jnp.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.7, 0.8, 0.9], [0.2, 0.3, 0.1]], dtype),
            jnp.array([0.1, 0.2, 0.3, 0.1], dtype),
        )
        output = jaxnet.Layer(
            jnp.array(
                [
                    [0.5, 0.4, 0.3, 0.2],
                    [0.1, 0.6, 0.7, 0.8],
                    [0.9, 0.8, 0.7, 0.6],
                    [0.5, 0.4, 0.3, 0.2],
                ],
                dtype,
            ),
            jnp.array([0.2, 0.3, 0.1, 0.2], dtype),
        )
        x = jnp.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]], dtype)
        y = jnp.array([[1, 0, 0, 0], [0, 0, 1, 0]], dtype)
    return (hidden, output), (x, y)


@jax.jit
def _notebook_gradients(params: tuple[jaxnet.Layer, ...], batch: Batch) -> tuple[jaxnet.Layer, ...]:
    hidden, output = params

    def example(x: Float[Array, "3"], y: Float[Array, "4"]) -> tuple[jaxnet.Layer, jaxnet.Layer]:
        h = jnp.tanh(hidden.weight @ x + hidden.bias)
        delta = jax.nn.softmax(output.weight @ h + output.bias) - y
        signal = 1 - jnp.tanh(delta @ output.weight) ** 2
        return (
            jaxnet.Layer(jnp.outer(signal, x), signal),
            jaxnet.Layer(jnp.outer(h, delta), delta),
        )

    layers = jax.vmap(example)(*batch)
    return tuple(jaxnet.Layer(each.weight.sum(0), each.bias.mean(0)) for each in layers)


def notebook_rule(
    params: tuple[jaxnet.Layer, ...], batch: Batch
) -> tuple[Float[Array, ""], tuple[jaxnet.Layer, ...]]:
    """Give the loss and the gradients as the notebook derives them, mistakes and all.

    The notebook guards its logarithm by adding 1e-10, which changes no digit it prints.
    """
    return LOSS(params, batch), _notebook_gradients(params, batch)


def run(
    epochs: int = 100,
    learning_rate: float = 0.03,
    dtype: Dtype = "float64",
    optimizer: str = "sgd",
) -> Result:
    """Train under the notebook's gradients and under autodiff.

    Raises:
        InputError: fewer than one epoch, an unknown optimizer, a rate that is not finite.
    """
    make = optimizers.by_name(optimizer)
    order, rate = jaxnet.full_batch(2, epochs), {"learning_rate": learning_rate}
    with precision(dtype):
        provenance = devices.provenance(dtype)
        params, data = set_up(dtype)
        problem = (make, params, data, order)
        _, (notebook, grads) = jaxnet.train(
            jaxnet.Rule(notebook_rule), *problem, record=_loss_and_grads, hyperparameters=rate
        )
        _, autodiff = jaxnet.train(LOSS, *problem, hyperparameters=rate)
        notebook, autodiff, grads = jax.device_get((notebook, autodiff, grads))
    return Result(notebook, autodiff, grads, provenance)


def audited(dtype: Dtype = "float64") -> Audit:
    """Audit the notebook's gradients at its own start."""
    with precision(dtype):
        return audit(LOSS, *set_up(dtype), _notebook_gradients)


def _loss_and_grads(step: jaxnet.Step) -> tuple[Array, tuple[jaxnet.Layer, ...]]:
    return step.value, step.grads


def notebook_lines(result: Result) -> Iterator[str]:
    """Write what the notebook prints in each epoch, character for character."""
    hidden, output = result.grads
    for epoch, loss in enumerate(result.notebook):
        leaves = (hidden.weight, output.weight, hidden.bias, output.bias)
        # The notebook prints every gradient under the name of the first.
        grads = " ".join(f"W1_grad: {np.round(leaf[epoch].flatten(), 2)}" for leaf in leaves)
        yield f"Epochs: {epoch + 1} loss: {np.round(loss, 4)} {grads}"


def main(
    trace: bool = False,
    epochs: int = 100,
    learning_rate: float = 0.03,
    dtype: Dtype = "float64",
    optimizer: str = "sgd",
    output: Path = Path("results/classifier.png"),
) -> None:
    """Replay the classifier notebook: 3-4-4, tanh, softmax, two examples.

    Args:
        trace: Print exactly what the notebook prints, and nothing else.
        epochs: Steps of gradient descent, each on both examples.
        learning_rate: Of the optimizer.
        dtype: Of parameters and data; the trace is exact in float64.
        optimizer: Any optimizer of optax that takes a learning rate, such as adam.
        output: Where to save the picture of both loss curves (.png, .svg or .pdf).
    """
    devices.first()
    if trace:
        print_trace(notebook_lines(run(epochs, learning_rate, dtype, optimizer)))
        return
    report.check_picture(output)
    result = run(epochs, learning_rate, dtype, optimizer)
    print(f"The classifier notebook: 3-4-4, tanh, softmax, {epochs} epochs on two examples")
    print(f"{devices.describe(result.provenance)}; {optimizer}, learning rate {learning_rate}\n")
    curves = {"notebook's gradients": result.notebook, "autodiff": result.autodiff}
    rows = [(name, f"{loss[0]:.4f}", f"{loss[-1]:.4f}") for name, loss in curves.items()]
    report.table("Loss", ("trained with", "first epoch", "last epoch"), rows)
    print("\nThe notebook's gradients at its own start, [0] the hidden and [1] the output layer:\n")
    print(audited(dtype))
    report.loss_curves(output, "The classifier notebook, and what the right gradients do", curves)
    print(f"\nPicture: {output}")


if __name__ == "__main__":
    command(main, "experiments.classifier")

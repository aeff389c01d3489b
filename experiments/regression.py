"""Replay of the regression notebook: 3-2-1, ReLU, half squared error, one example, 10 epochs.

Its hand-derived gradients are right: the replay prints what autodiff gives, and the notebook's own
rule, `notebook_rule`, is audited and trained with beside it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

import jaxnet
from experiments import Dtype, command, precision, print_trace
from jaxnet import devices, optimizers, report
from jaxnet.audit import Audit, audit

Batch = tuple[Float[Array, "B 3"], Float[Array, "B 1"]]

LOSS = jaxnet.BatchLoss(jaxnet.forward, optax.losses.l2_loss)


class Epoch(NamedTuple):
    """What the notebook prints of its epochs; every leaf has axis T first.

    Attributes:
        activations: of the hidden layer, before the update.
        prediction: before the update.
        loss: before the update.
        grads: of the loss.
        params: after the update.
    """

    activations: Float[Array, "*T 2"]
    prediction: Float[Array, "*T 1"]
    loss: Float[Array, "*T"]
    grads: tuple[jaxnet.Layer, ...]
    params: tuple[jaxnet.Layer, ...]


class Result(NamedTuple):
    """Both runs from the same start.

    Attributes:
        epochs: what the notebook prints, under autodiff.
        notebook: losses [T] under the notebook's gradients, measured before each update.
        provenance: device, dtype, versions.
    """

    epochs: Epoch
    notebook: Float[np.ndarray, " T"]
    provenance: devices.Provenance


def set_up(dtype: Dtype = "float64") -> tuple[tuple[jaxnet.Layer, ...], Batch]:
    """Give the notebook's parameters and data."""
    with precision(dtype):
        hidden = jaxnet.Layer(
            jnp.array([[0.1, -0.2, 0.4], [-0.5, 0.3, 0.2]], dtype), jnp.array([0.0, 0.05], dtype)
        )
        output = jaxnet.Layer(jnp.array([[0.3, -0.7]], dtype), jnp.array([0.1], dtype))
        x, y = jnp.array([[-1.0, 2.0, 1.5]], dtype), jnp.array([[1.0]], dtype)
    return (hidden, output), (x, y)


def notebook_rule(
    params: tuple[jaxnet.Layer, ...], batch: Batch
) -> tuple[Float[Array, ""], tuple[jaxnet.Layer, ...]]:
    """Give the loss and the gradients as the notebook derives them, for its one example."""
    hidden, output = params
    x, y = batch[0][0], batch[1][0]
    z = hidden.weight @ x + hidden.bias
    h = jnp.maximum(z, 0)
    error = output.weight @ h + output.bias - y
    signal = error * output.weight[0] * (z > 0).astype(z.dtype)
    grads = (
        jaxnet.Layer(jnp.outer(signal, x), signal),
        jaxnet.Layer(jnp.outer(error, h), error),
    )
    return jnp.sum(error**2 / 2), grads


@jax.jit
def _notebook_gradients(params: tuple[jaxnet.Layer, ...], batch: Batch) -> tuple[Any, ...]:
    return notebook_rule(params, batch)[1]


def run(
    epochs: int = 10,
    learning_rate: float = 0.01,
    dtype: Dtype = "float64",
    optimizer: str = "sgd",
) -> Result:
    """Train under autodiff and under the notebook's gradients.

    Raises:
        InputError: fewer than one epoch, an unknown optimizer, a rate that is not finite.
    """
    make = optimizers.by_name(optimizer)
    order, rate = jaxnet.full_batch(1, epochs), {"learning_rate": learning_rate}
    with precision(dtype):
        provenance = devices.provenance(dtype)
        params, data = set_up(dtype)
        problem = (make, params, data, order)
        _, record = jaxnet.train(LOSS, *problem, record=_epoch, hyperparameters=rate)
        _, notebook = jaxnet.train(jaxnet.Rule(notebook_rule), *problem, hyperparameters=rate)
        record, notebook = jax.device_get((record, notebook))
    return Result(record, notebook, provenance)


def audited(dtype: Dtype = "float64") -> Audit:
    """Audit the notebook's gradients at its own start."""
    with precision(dtype):
        return audit(LOSS, *set_up(dtype), _notebook_gradients)


def _epoch(step: jaxnet.Step) -> Epoch:
    params, x = step.before.params, step.batch[0][0]
    activations = jax.nn.relu(params[0].weight @ x + params[0].bias)
    prediction = jaxnet.forward(params, x)
    return Epoch(activations, prediction, step.value, step.grads, step.after.params)


def notebook_lines(result: Result) -> Iterator[str]:
    """Write what the notebook prints in each epoch, character for character."""
    for t in range(len(result.epochs.loss)):
        epoch = jax.tree.map(lambda leaf, t=t: leaf[t], result.epochs)
        (w1, b1), (w2, b2) = epoch.grads
        yield f"隐藏节点输出:{epoch.activations}, 输出Y结果:{epoch.prediction}"
        yield f"求损失函数结果,loss:{epoch.loss[None]}"
        yield f"求各个参数的梯度:W1梯度{w1.flatten()}, W2梯度{w2}, B1梯度{b1}, B2梯度{b2}"
        (w1, b1), (w2, b2) = epoch.params
        yield f"更新参数W1:{w1},W2:{w2},B1{b1},B2{b2}"


def main(
    trace: bool = False,
    epochs: int = 10,
    learning_rate: float = 0.01,
    dtype: Dtype = "float64",
    optimizer: str = "sgd",
    output: Path = Path("results/regression.png"),
) -> None:
    """Replay the regression notebook: 3-2-1, ReLU, half squared error, one example.

    Args:
        trace: Print exactly what the notebook prints, and nothing else.
        epochs: Steps of gradient descent on the one example.
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
    curves = {"notebook's gradients": result.notebook, "autodiff": result.epochs.loss}
    print(f"The regression notebook: 3-2-1, ReLU, {epochs} epochs on one example")
    print(f"{devices.describe(result.provenance)}; {optimizer}, learning rate {learning_rate}\n")
    rows = [(name, f"{loss[0]:.4f}", f"{loss[-1]:.4f}") for name, loss in curves.items()]
    report.table("Loss", ("trained with", "first epoch", "last epoch"), rows)
    print("\nThe notebook's gradients at its own start, [0] the hidden and [1] the output layer:\n")
    print(audited(dtype))
    report.loss_curves(output, "The regression notebook: its gradients are right", curves)
    print(f"\nPicture: {output}")


if __name__ == "__main__":
    command(main, "experiments.regression")

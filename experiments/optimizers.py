"""A first comparison of optax optimizers with plain SGD on the notebooks' set-ups.

Each optimizer gets the same learning rates, all of them trained in one compiled program, and is
judged at the one that brings the loss to a hundredth of its start, to stay, in the fewest epochs.
One start and the training loss alone: it shows these set-ups, not optimizers in general.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PyTree

from experiments import Dtype, precision
from jaxnet import batches, devices, losses, optimizers, report, training

BASELINE = "sgd"
LEARNING_RATES = np.logspace(-4, 2, 49)
TARGET = 0.01


class Task(NamedTuple):
    """What is to be trained: full batches of `data` from `params`."""

    name: str
    loss: losses.Loss
    params: PyTree
    data: PyTree
    epochs: int


class Sweep(NamedTuple):
    """One optimizer on one task, at every learning rate.

    Attributes:
        task: its name. optimizer: its name.
        learning_rates: shape [L].
        losses: shape [L, T], before each update; not finite from where a run diverged.
        provenance: device, dtype, versions and settings.
    """

    task: str
    optimizer: str
    learning_rates: Float[np.ndarray, " L"]
    losses: Float[np.ndarray, "L T"]
    provenance: dict[str, str]

    @property
    def diverged(self) -> Bool[np.ndarray, " L"]:
        """Whether the loss stopped being finite."""
        return np.any(~np.isfinite(self.losses), axis=1)

    @property
    def epochs(self) -> Float[np.ndarray, " L"]:
        """Epochs until the loss stays within `TARGET` of its start; nan where it does not."""
        above = ~(self.losses <= TARGET * self.losses[:, :1])
        steps = above.shape[1]
        epochs = steps - np.argmax(above[:, ::-1], axis=1)
        return np.where(epochs < steps, epochs, np.nan)

    @property
    def best(self) -> int:
        """The index of the learning rate soonest at the target; among equals, lowest at the end."""
        last = np.where(self.diverged, np.inf, self.losses[:, -1])
        return int(np.lexsort((last, self.epochs))[0])


def run(
    tasks: Sequence[Task],
    names: Sequence[str] = (BASELINE, "adam"),
    learning_rates: Float[np.ndarray, " L"] = LEARNING_RATES,
    dtype: Dtype = "float64",
) -> list[Sweep]:
    """Train every optimizer on every task at every learning rate, one program each.

    Raises:
        ValueError: an unknown optimizer.
    """
    makers = [(name, optimizers.by_name(name)) for name in names]
    sweeps = []
    with precision(dtype):
        for task in tasks:
            order = batches.full_batch(len(jax.tree.leaves(task.data)[0]), task.epochs)
            for name, make in makers:
                curves = _losses(
                    task.loss, make, task.params, task.data, order, jnp.asarray(learning_rates)
                )
                provenance = devices.provenance(dtype) | {"optimizer": name}
                sweeps.append(
                    Sweep(task.name, name, learning_rates, np.asarray(curves), provenance)
                )
    return sweeps


@functools.partial(jax.jit, static_argnums=(0, 1))
def _losses(
    loss: losses.Loss,
    make: optimizers.MakeOptimizer,
    params: PyTree,
    data: PyTree,
    order: Array,
    learning_rates: Float[Array, " L"],
) -> Float[Array, "L T"]:
    def one(learning_rate: Any) -> Float[Array, " T"]:
        optimizer = make(learning_rate)
        state = training.start(optimizer, params)
        return training.run(jax.value_and_grad(loss), optimizer, state, data, order)[1]

    return jax.vmap(one)(learning_rates)


def show(sweeps: Sequence[Sweep]) -> None:
    """Print one table of all sweeps, and each optimizer beside plain SGD in words."""
    rows = []
    for each in sweeps:
        count = len(each.learning_rates)
        edge = " (edge)" if each.best in (0, count - 1) else ""
        figures = (
            f"{each.learning_rates[each.best]:.3g}{edge}",
            _epochs(each),
            f"{np.isfinite(each.epochs).sum()} of {count}",
            f"{each.diverged.sum()} of {count}",
        )
        rows.append((each.task, each.optimizer, *figures))
    columns = (
        "task",
        "optimizer",
        "best rate",
        f"epochs to {TARGET:.0%}",
        "rates there",
        "diverged",
    )
    report.table(f"Until the loss stays within {TARGET:.0%} of its start", columns, rows)
    baseline = {each.task: each for each in sweeps if each.optimizer == BASELINE}
    for each in sweeps:
        plain = baseline[each.task]
        if each is not plain:
            print(
                f"{each.task}: {each.optimizer} needs {_epochs(each)} epochs at its best rate and "
                f"gets there at {np.isfinite(each.epochs).sum()} rates; plain SGD needs "
                f"{_epochs(plain)} and gets there at {np.isfinite(plain.epochs).sum()}."
            )


def _epochs(sweep: Sweep) -> str:
    epochs = sweep.epochs[sweep.best]
    return f"{epochs:.0f}" if np.isfinite(epochs) else f"over {sweep.losses.shape[1] - 1}"


def panels(sweeps: Sequence[Sweep]) -> list[list[report.Panel]]:
    """Lay out, for each task, the loss at the best rate and the epochs to the target at each."""
    rows = []
    for task in dict.fromkeys(each.task for each in sweeps):
        mine = [each for each in sweeps if each.task == task]
        epochs = np.arange(mine[0].losses.shape[1])
        curves = [
            report.Curve(
                f"{each.optimizer} at {each.learning_rates[each.best]:.3g}",
                epochs,
                np.maximum(each.losses[each.best] / each.losses[each.best, 0], 1e-6),
            )
            for each in mine
        ]
        rates = [
            report.Curve(each.optimizer, each.learning_rates, each.epochs, each.best)
            for each in mine
        ]
        there = f"epochs until it stays within {TARGET:.0%}"
        rows.append(
            [
                report.Panel(
                    f"{task}: loss at the best rate",
                    "epoch",
                    "share of the start (floor 1e-6)",
                    curves,
                    "y",
                ),
                report.Panel(
                    f"{task}: every rate that gets there", "learning rate", there, rates, "x"
                ),
            ]
        )
    return rows

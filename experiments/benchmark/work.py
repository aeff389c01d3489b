"""What is trained: the same runs for every library, and how many of them.

Shapes: R runs, N rows, T steps of B rows, E epochs.
"""

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float, Int32, PyTree

import jaxnet
from jaxnet import losses, network
from jaxnet._guards import options
from jaxnet.compare import starts, tiles

Optimizer = Literal["sgd", "adam"]

ACTIVATIONS = {"relu": jax.nn.relu, "tanh": jnp.tanh}
EXAMPLE_LOSSES = {
    "labels": optax.losses.softmax_cross_entropy_with_integer_labels,
    "probabilities": optax.losses.softmax_cross_entropy,
    "numbers": optax.losses.l2_loss,
}
BATCH_SIZE = 32
DIGITS, DIGITS_EPOCHS, DIGITS_ROWS = (64, 64, 10), 10, 1408
# Higher ones amplify the rounding of float32, and runs could not be told to be the same.
RATES: Mapping[Optimizer, list[float]] = {
    "sgd": np.geomspace(0.3, 1e-2, 16).tolist(),
    "adam": np.geomspace(1e-3, 1e-4, 16).tolist(),
}
RATES_TOGETHER = 16


class Model(NamedTuple):
    """What every library makes its own network and loss of.

    Attributes:
        activation: of the hidden layers, a name of `ACTIVATIONS`.
        loss: of an example, a name of `EXAMPLE_LOSSES`.
    """

    activation: str = "relu"
    loss: str = "labels"


_LABELS = Model()


@functools.cache
def loss(model: Model) -> losses.Loss:
    """Give ours, one for each model, so that later runs find their program compiled."""
    forward = functools.partial(jaxnet.forward, activation=ACTIVATIONS[model.activation])
    return jaxnet.BatchLoss(forward, EXAMPLE_LOSSES[model.loss])


class Work(NamedTuple):
    """R runs of a network.

    Attributes:
        model: what is computed. loss: the same in JAX, or a `Rule` derived by hand.
        optimizer: its name.
        params: every leaf with axis R first.
        rates: of learning, shape [R].
        order: shape [R, T, B]; [1, T, B] where all runs share it.
        data: x [N, I] and y [N, ...].
        epochs: E.
    """

    model: Model
    loss: losses.Loss | jaxnet.Rule
    optimizer: Optimizer
    params: network.Params
    rates: Float[np.ndarray, " R"]
    order: Int32[np.ndarray, "#R T B"]
    data: tuple[np.ndarray, np.ndarray]
    epochs: int

    @property
    def first(self) -> tuple[network.Params, Int32[np.ndarray, "T B"], float]:
        """The start, the order and the learning rate of the first run."""
        return jax.tree.map(lambda leaf: leaf[0], self.params), self.order[0], float(self.rates[0])

    @property
    def sizes(self) -> list[int]:
        """Inputs, hidden layers and outputs."""
        return [self.params[0].weight.shape[-1], *(leaf.weight.shape[-2] for leaf in self.params)]

    @property
    def in_full(self) -> bool:
        """Whether every step takes all rows as they are."""
        return self.order.shape[-1] == len(self.data[0])

    def curves(self, values: Float[np.ndarray, "*R T"]) -> Float[np.ndarray, "R E"]:
        """Average the losses of steps over each epoch."""
        return (
            np.asarray(values).reshape(-1, self.epochs, self.order.shape[1] // self.epochs).mean(2)
        )


def single(
    params: network.Params,
    data: tuple[np.ndarray, np.ndarray],
    optimizer: Optimizer,
    rate: float,
    epochs: int,
    batch_size: int,
    model: Model = _LABELS,
    own: losses.Loss | jaxnet.Rule | None = None,
) -> Work:
    """Give one run, its rows in the order of seed 0 of `fit`, or all in every step."""
    rows = len(data[0])
    order = (
        jaxnet.full_batch(rows, epochs)
        if batch_size == rows
        else jaxnet.shuffled(rows, batch_size, epochs, 0)
    )
    return Work(
        model,
        own or loss(model),
        optimizer,
        jax.tree.map(lambda leaf: np.asarray(leaf)[None], params),
        np.array([rate], data[0].dtype),
        order[None],
        jax.device_get(data),
        epochs,
    )


def ensemble(
    workload: tiles.Workload, model: Model, optimizer: Optimizer, trials: tiles.Trials
) -> Work:
    """Give runs as `sweep.run` makes them: a start and an order for each seed."""
    seeds, rates = trials.seeds, trials.settings["learning_rate"]
    start = options.program(starts.start, "init")(workload.init, np.array(seeds, np.int32))
    if workload.batch_size == workload.rows:
        order = jaxnet.full_batch(workload.rows, workload.steps)[None]
    else:
        cut = (workload.rows, workload.batch_size, len(workload.measured))
        shuffles = {seed: jaxnet.shuffled(*cut, seed) for seed in set(seeds.tolist())}
        order = np.stack([shuffles[seed] for seed in seeds.tolist()])
    return Work(
        model,
        workload.loss,
        optimizer,
        jax.device_get(start),
        np.array(rates, np.float32),
        order,
        jax.device_get(workload.data),
        len(workload.measured),
    )


def crossed(seeds: int, rates: Sequence[float]) -> tiles.Trials:
    """Pair every seed with every learning rate."""
    settings = {"learning_rate": np.tile(np.asarray(rates, float), seeds)}
    return tiles.Trials(np.repeat(np.arange(seeds, dtype=np.int32), len(rates)), settings)


def workload_of(
    loss: losses.Loss | jaxnet.Rule,
    init: Callable[[Any], PyTree],
    data: PyTree,
    batch_size: int,
    epochs: int,
) -> tiles.Workload:
    """Give a workload of so many epochs, measured after each."""
    each = len(jax.tree.leaves(data)[0]) // batch_size
    measured = tuple(range(each, each * epochs + 1, each))
    return tiles.Workload(loss, init, data, batch_size, each * epochs, measured)


def digits_workload(epochs: int = DIGITS_EPOCHS) -> tiles.Workload:
    """Give what runs on digits train: 64-64-10 on as many rows as fill 44 batches an epoch."""
    from sklearn import datasets

    x, y = datasets.load_digits(return_X_y=True)
    data = (x[:DIGITS_ROWS] / 16).astype(np.float32), y[:DIGITS_ROWS].astype(np.int32)
    init = functools.partial(jaxnet.init, sizes=DIGITS)
    return workload_of(loss(Model()), init, data, BATCH_SIZE, epochs)


def random_work(
    sizes: Sequence[int], rows: int, batch_size: int, optimizer: Optimizer, rate: float
) -> Work:
    """Give one epoch of one network on random rows and labels."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, sizes[0]), np.float32)
    y = rng.integers(0, sizes[-1], rows).astype(np.int32)
    params = jaxnet.init(jax.random.key(0), list(sizes))
    return single(params, (x, y), optimizer, rate, 1, batch_size)


def weight_flops(sizes: Sequence[int]) -> int:
    """Count the operations of one example's products, forward and backward.

    Two for each weight to the outputs, two to its gradient and two back to the inputs, the last
    not in the first layer.
    """
    weights = [a * b for a, b in itertools.pairwise(sizes)]
    return 6 * sum(weights) - 2 * weights[0]


def numbers_moved(sizes: Sequence[int], batch_size: int) -> int:
    """Count the numbers that a step of SGD reads and writes at least, products in one pass each.

    The batch is read; every layer's outputs are written, and read on the way back; parameters are
    read and written.
    """
    params = sum(a * b + b for a, b in itertools.pairwise(sizes))
    return 2 * params + batch_size * (sizes[0] + 2 * sum(sizes[1:]))


class Size(NamedTuple):
    """How much is timed, chosen by platform: see `size`.

    Attributes:
        rounds: of what takes milliseconds. slow_rounds: of what takes seconds.
        digits_seeds, tiny_seeds: each with 16 learning rates.
        rows: of an epoch of the wide and the deep network.
        precisions: of the wide network.
        scales: sizes by axis of scaling.
        score_seeds: of each table. many_seeds: of the runs whose memory is measured.
        replicates: of the comparisons by workers, of the classifier notebook and of digits.
        comparisons: of so many replicates each, that one is cut into.
        plants, right_gradients: that are audited in each precision.
        folder: where what takes many minutes keeps what is done; nowhere where None.
        quick: whether what takes minutes is left out.
    """

    rounds: int = 15
    slow_rounds: int = 7
    digits_seeds: int = 16
    tiny_seeds: int = 1024
    rows: int = 60_416
    precisions: tuple[str, ...] = ("float32",)
    scales: Mapping[str, Sequence[int]] = {
        "runs": [4**n for n in range(9)],
        "rows": [1000, 10_000, 100_000, 1_000_000],
        "width": [16, 64, 256, 1024, 4096],
    }
    score_seeds: int = 20
    replicates: tuple[int, int] = (7937, 794)
    comparisons: int = 400
    plants: int = 500
    right_gradients: int = 1000
    many_seeds: int = 6250
    folder: Path | None = None
    quick: bool = False


_ON_GPU = Size(
    digits_seeds=625,
    tiny_seeds=62_500,
    rows=1_048_576,
    precisions=("float32", "tf32", "bfloat16"),
    scales={
        "runs": [4**n for n in range(11)],
        "rows": [1000, 10_000, 100_000, 1_000_000],
        "width": [16, 64, 256, 1024, 4096, 16_384],
    },
    many_seeds=62_500,
)
_QUICK: dict[str, Any] = {
    "rounds": 2,
    "slow_rounds": 2,
    "rows": 5_120,
    "digits_seeds": 8,
    "tiny_seeds": 128,
    "scales": {
        "runs": [64, 1024, 16_384],
        "rows": [1000, 10_000, 100_000],
        "width": [16, 128, 1024],
    },
    "score_seeds": 2,
    "replicates": (80, 8),
    "comparisons": 2,
    "plants": 20,
    "right_gradients": 40,
    "quick": True,
}


def size(platform: str, quick: bool) -> Size:
    """Choose how much is timed on a platform of JAX."""
    chosen = _ON_GPU if platform == "gpu" else Size()
    return chosen._replace(**_QUICK) if quick else chosen

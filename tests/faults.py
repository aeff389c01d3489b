"""Faults of small networks as they were published, and the same runs repaired.

Sizes, losses, optimizers, rates and data are those of the source where it says them. Of the two
papers, which sort programs by what is wrong with them, the kind is theirs and the network ours.
`expected` has the changes that the source, or an answer to it, names.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxnet
from jaxnet.doctor import judging, networks, trials

STACK, SE = "https://stackoverflow.com/questions/", "https://stats.stackexchange.com/"
DEEPLOCALIZE, DEEPFD = "https://arxiv.org/abs/2103.03376", "https://arxiv.org/abs/2205.01938"
KERAS = "https://github.com/keras-team/keras/issues/"


def on(rule, low, high, rows):
    """Give a function's values on a grid."""
    x = np.linspace(low, high, rows)[:, None]
    return x, rule(x)


def standardised(x, y):
    """Give inputs and targets in their own units of deviation."""
    return tuple((each - each.mean(0)) / np.maximum(each.std(0), 1e-9) for each in (x, y))


def drawn(rows, inputs, rule, scale=1.0, seed=0):
    """Give a rule's values at normal inputs."""
    x = np.random.default_rng(seed).normal(size=(rows, inputs))
    return scale * x, rule(x)


def classes(x):
    """Give each row one of three classes, by its largest of three sums."""
    return np.argmax(x[:, :3] + 0.5 * x[:, 1:4] ** 2, axis=1)


def one_hot(x):
    return np.eye(3)[classes(x)]


def labels(x):
    return (x[:, :1] * x[:, 1:2] + x[:, 2:3] > 0).astype(float)


def wave(x):
    return np.sin(x[:, :1]) + x[:, 1:2] * x[:, 2:3] / 2


def third(x):
    return x**3


def bump(x):
    return (100 * x - 50) ** 2


def shifted(x):
    return np.sin((x - 92) / 5)


def degrees(x):
    return 1.8 * x + 32


def falling(x):
    return 1 / (np.exp(10 * x) + 1)


def probable(p, y):
    """Give the binary cross-entropy of probabilities."""
    p = jnp.clip(p, 1e-7, 1 - 1e-7)
    return -y * jnp.log(p) - (1 - y) * jnp.log(1 - p)


class Fault(NamedTuple):
    """A run that goes wrong, and what to change to repair it."""

    source: str
    sizes: tuple[int, ...]
    data: tuple[Any, Any]
    expected: set[str]
    twin: dict[str, Any]
    loss: Any = optax.losses.squared_error
    activation: Any = "relu"
    output: str = networks.NONE
    start: str = "init"
    optimizer: Any = optax.adam
    rate: float = 1e-3
    epochs: int = 50
    batch_size: int = 32


MSE, BCE = optax.losses.squared_error, optax.losses.sigmoid_binary_cross_entropy
CE, CE_HOT = (
    optax.losses.softmax_cross_entropy_with_integer_labels,
    optax.losses.softmax_cross_entropy,
)
LINEAR, SGD = networks.NONE, optax.sgd
XOR = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array([[0.0], [1], [1], [0]])
BITS = np.array([[i >> j & 1 for j in range(3)] for i in range(8)] * 12, float)
NOISE = tuple(np.random.default_rng(1).uniform(size=(100, size)) for size in (5, 1))
SUMS = np.random.default_rng(3).uniform(size=(1000, 10))
VECTORS = (np.random.default_rng(2).uniform(size=(400, 8)) > 0.5).astype(float)
PRICES = drawn(400, 4, lambda x: 180_000 + 40_000 * x[:, :1] + 20_000 * x[:, 1:2] ** 2)
POINTS = np.array([[-1.0], [0], [1]]), np.array([[-0.2445248], [0.1232554], [0.1713998]])
LINE = standardised(*on(lambda x: x, 0, 99, 100))[0]
FAULTS = {
    "line diverges": Fault(
        KERAS + "3040",
        (1, 1),
        on(lambda x: 2 * x, 0, 199, 200),
        {"rate"},
        {"rate": 1e-5},
        **{"optimizer": SGD, "epochs": 1, "batch_size": 1},
    ),
    "fourth power": Fault(
        STACK + "52800582",
        (1, 50, 50, 1),
        on(lambda x: x**4, -100, 100, 200),
        {"inputs", "targets"},
        {"data": standardised(*on(lambda x: x**4, -100, 100, 200)), "epochs": 400},
        **{"activation": ("sigmoid", "elu"), "epochs": 100},
    ),
    "negative curve": Fault(
        STACK + "58887284",
        (1, 1),
        on(lambda x: -falling(x), -1, 1, 111),
        {"outputs", "targets"},
        {"data": on(falling, -1, 1, 111)},
        **{"output": "sigmoid", "rate": 1e-2, "epochs": 300},
    ),
    "sine": Fault(
        STACK + "46995209",
        (1, 10, 10, 10, 1),
        on(np.sin, 0, 20, 1000),
        {"inputs"},
        {"data": standardised(*on(np.sin, 0, 6, 1000)), "rate": 0.1, "epochs": 60},
        **{"activation": "tanh", "optimizer": SGD, "rate": 1e-2, "epochs": 20},
    ),
    "squares of a normal start": Fault(
        "https://datascience.stackexchange.com/questions/51687",
        (1, 20, 20, 1),
        on(bump, 0, 1, 400),
        {"targets"},
        {"data": standardised(*on(bump, 0, 1, 400)), "epochs": 200},
        **{"activation": "elu", "start": "normal"},
    ),
    "exclusive or with relu last": Fault(
        SE + "questions/433365",
        (2, 2, 1),
        XOR,
        {"outputs", "loss", "steps"},
        {"output": LINEAR, "loss": BCE, "sizes": (2, 8, 1), "rate": 0.5, "epochs": 1000},
        **{"output": "relu", "optimizer": SGD, "rate": 1e-2, "epochs": 500, "batch_size": 4},
    ),
    "two linear layers": Fault(
        SE + "questions/418955",
        (1, 1, 1),
        (LINE, on(lambda x: x**2 + 3, 0, 99, 100)[1]),
        {"targets", "rate"},
        {"data": standardised(*on(lambda x: x**2 + 3, 0, 99, 100))},
        **{"activation": LINEAR, "optimizer": SGD, "rate": 1e-2, "epochs": 300},
    ),
    "three points": Fault(
        SE + "questions/387150",
        (1, 10, 1),
        POINTS,
        {"activation", "rate"},
        {"activation": "tanh", "rate": 1e-2, "epochs": 1000},
        **{"activation": LINEAR, "rate": 1e-5, "epochs": 10_000},
    ),
    "parabola": Fault(
        SE + "questions/280372",
        (1, 16, 16, 1),
        on(lambda x: (x - 0.5) ** 2, 0, 0.99, 100),
        {"activation"},
        {"activation": "tanh", "optimizer": optax.adam, "rate": 1e-2},
        **{"optimizer": SGD, "epochs": 500, "batch_size": 100},
    ),
    "cubes": Fault(
        "https://discuss.pytorch.org/t/96648",
        (1, 50, 1),
        on(third, 1, 3999, 500),
        {"targets", "inputs"},
        {"data": standardised(*on(third, 1, 3999, 500))},
        **{"epochs": 1000, "batch_size": 500},
    ),
    "exclusive or of two relus": Fault(
        SE + "questions/320672",
        (2, 2, 1),
        tuple(np.tile(each, (250, 1)) for each in XOR),
        {"units", "activation"},
        {"sizes": (2, 16, 1), "rate": 1e-2},
        **{"loss": BCE, "optimizer": optax.rmsprop, "epochs": 100},
    ),
    "exclusive or of sigmoids": Fault(
        SE + "questions/440558",
        (2, 2, 1),
        XOR,
        {"rate", "activation", "steps"},
        {"activation": "tanh", "rate": 0.5, "epochs": 2000, "sizes": (2, 8, 1)},
        **{"loss": BCE, "activation": "sigmoid", "optimizer": SGD, "rate": 0.1},
        **{"epochs": 1000, "batch_size": 4},
    ),
    "sums of two units": Fault(
        "https://ai.stackexchange.com/questions/28864",
        (5, 2, 1),
        drawn(1000, 5, lambda x: 5 * x.sum(1, keepdims=True) + 30, 5.0),
        {"rate", "start"},
        {"rate": 1e-3, "sizes": (5, 32, 1), "epochs": 30},
        **{"optimizer": SGD, "rate": 0.1, "epochs": 5},
    ),
    "relu after one unit": Fault(
        "https://math.stackexchange.com/questions/4483706",
        (3, 1),
        drawn(300, 3, lambda x: x[:, :1] - 2 * x[:, 1:2] - 3),
        {"outputs"},
        {"output": LINEAR},
        **{"output": "relu", "optimizer": SGD, "rate": 1e-2},
    ),
    "softmax of one output": Fault(
        "https://boohere.com/it/detail/80265.html",
        (4, 16, 1),
        drawn(400, 4, labels),
        {"outputs", "loss"},
        {"output": "sigmoid", "rate": 1e-2},
        **{"loss": probable, "output": "softmax", "epochs": 60},
    ),
    "majority of three bits": Fault(
        SE + "revisions/2bda6552-783b-4fb7-ba2b-a03d2266e69b/view-source",
        (3, 10, 1),
        (BITS, (BITS.sum(1, keepdims=True) > 1).astype(float)),
        {"outputs", "loss"},
        {"output": "sigmoid", "epochs": 500},
        **{"loss": probable, "output": "softmax", "optimizer": optax.rmsprop},
        **{"epochs": 60, "batch_size": 20},
    ),
    "zeros at the start": Fault(
        "https://taourl.com/read-2675780.html",
        (10, 64, 64, 64, 1),
        (SUMS, SUMS.sum(1, keepdims=True)),
        {"start"},
        {"start": "init"},
        **{"start": "zeros", "epochs": 10},
    ),
    "four layers of sigmoids": Fault(
        "https://ai.stackexchange.com/questions/16557",
        (8, 50, 50, 50, 50, 1),
        (VECTORS, VECTORS @ np.arange(8.0)[:, None] / 8),
        {"activation", "targets"},
        {"activation": "relu", "rate": 3e-2},
        **{"activation": "sigmoid", "optimizer": SGD, "rate": 1e-2, "epochs": 40},
    ),
    "a rate of one": Fault(
        "https://github.com/tensorflow/playground/issues/3",
        (2, 8, 1),
        drawn(250, 2, lambda x: x[:, :1] + x[:, 1:2]),
        {"rate"},
        {"rate": 0.03, "epochs": 20},
        **{"activation": "tanh", "optimizer": SGD, "rate": 1.0, "epochs": 10, "batch_size": 1},
    ),
    "inputs about 92": Fault(
        "https://python.19633.com/de/Python/1003052967.html",
        (1, 20, 1),
        on(shifted, 70, 110, 200),
        {"inputs"},
        {"data": standardised(*on(shifted, 70, 110, 200)), "activation": "tanh"}
        | {"rate": 1e-2, "epochs": 300},
        **{"activation": "sigmoid", "epochs": 100},
    ),
    "degrees": Fault(
        "https://forums.fast.ai, Celsius to F linear regression using PyTorch, 2018-07-02",
        (1, 1),
        on(degrees, -500, 500, 200),
        {"inputs", "rate"},
        {"data": standardised(*on(degrees, -500, 500, 200)), "rate": 1e-2},
        **{"optimizer": SGD, "epochs": 20},
    ),
    "softmax twice": Fault(
        "https://pythonkb.com/python-should-i-use-softmax-as-output-when-using-cross-entropy-loss-"
        "in-pytorch",
        (10, 20, 3),
        drawn(400, 10, classes),
        {"outputs"},
        {"output": LINEAR, "rate": 0.1, "epochs": 150},
        **{"loss": CE, "output": "softmax", "optimizer": SGD, "rate": 1e-2},
    ),
    "a rate too high": Fault(
        KERAS + "2711",
        (10, 32, 3),
        drawn(400, 10, classes),
        {"rate"},
        {"rate": 1e-2},
        **{"loss": CE, "rate": 1.0},
    ),
    "a rate too low": Fault(
        DEEPLOCALIZE,
        (10, 32, 3),
        drawn(400, 10, classes),
        {"rate"},
        {"rate": 0.1, "epochs": 150},
        **{"loss": CE, "optimizer": SGD, "rate": 1e-4},
    ),
    "squares of classes": Fault(
        DEEPLOCALIZE,
        (10, 32, 3),
        drawn(400, 10, one_hot),
        {"loss", "outputs"},
        {"loss": CE_HOT, "output": LINEAR, "rate": 0.1, "epochs": 150},
        **{"output": "sigmoid", "optimizer": SGD, "rate": 1e-2},
    ),
    "no activation": Fault(
        "https://ai.stackexchange.com/questions/18134",
        (2, 64, 32, 1),
        drawn(100, 2, lambda x: x[:, 1:] + x[:, :1] ** 2),
        {"activation"},
        {"activation": "relu"},
        **{"activation": LINEAR, "rate": 1e-2, "epochs": 100},
    ),
    "targets of noise": Fault(
        "https://taourl.com/read-2620753.html",
        (5, 1),
        NOISE,
        {"data"},
        {"data": (NOISE[0], NOISE[0].sum(1, keepdims=True)), "epochs": 300},
        **{"optimizer": SGD, "rate": 1e-2},
    ),
    "a few steps": Fault(
        DEEPFD,
        (10, 32, 3),
        drawn(400, 10, classes),
        {"steps", "rate"},
        {"epochs": 150},
        **{"loss": CE, "epochs": 3},
    ),
    "large at the start": Fault(
        "https://cs231n.github.io/neural-networks-2",
        (16, 32, 32, 1),
        drawn(400, 16, wave),
        {"start"},
        {"start": "init", "rate": 0.1, "epochs": 200},
        **{"activation": "tanh", "start": "large", "optimizer": SGD, "rate": 1e-2, "epochs": 60},
    ),
    "cross-entropy of prices": Fault(
        "https://openillumi.com/en/en-keras-tf-fix-huge-negative-loss-regression",
        (4, 10, 1),
        PRICES,
        {"loss", "outputs"},
        {"loss": MSE, "output": LINEAR, "data": standardised(*PRICES), "rate": 1e-2},
        **{"loss": probable, "output": "sigmoid"},
    ),
}


class Run(NamedTuple):
    """A run that ended, and all that it was given."""

    loss: Any
    optimizer: Any
    params: Any
    data: Any
    fit: Any
    batch_size: int
    hyperparameters: dict[str, float]


@functools.cache
def forward(activation, output):
    """Give a network of those activations; the same function every time."""
    if isinstance(activation, str):
        hidden = networks.HIDDEN[activation]
    else:
        hidden = [networks.HIDDEN[each] for each in activation]
    return functools.partial(
        jaxnet.forward, activation=hidden, output_activation=networks.OUTPUTS[output]
    )


def starting(fault):
    """Give the parameters that a fault begins with."""
    key = jax.random.key(7)
    kinds = {
        "init": jax.nn.initializers.he_uniform(),
        "zeros": jax.nn.initializers.zeros,
        "normal": jax.nn.initializers.normal(0.05),
        "large": jax.nn.initializers.normal(5.0),
        "unit": jax.nn.initializers.normal(1.0),
        "hundredths": jax.nn.initializers.normal(1e-2),
        "thousandths": jax.nn.initializers.normal(1e-3),
        "positive": jax.random.uniform,
    }
    return jaxnet.init(key, fault.sizes, kinds[fault.start])


def run(fault, **changed):
    """Train as a fault says, with some of it changed."""
    fault = fault._replace(**changed)
    x, y = fault.data
    y = np.asarray(y, np.int32 if y.dtype.kind == "i" else np.float32)
    data = np.asarray(x, np.float32), y
    loss = jaxnet.BatchLoss(forward(fault.activation, fault.output), fault.loss)
    params = starting(fault)
    size = min(fault.batch_size, len(y))
    given = {"batch_size": size, "hyperparameters": {"learning_rate": fault.rate}}
    fit = jaxnet.fit(loss, fault.optimizer, params, data, epochs=fault.epochs, **given)
    return Run(loss, fault.optimizer, params, data, fit, **given)


def repaired(fault, change):
    """Train as a fault says, with a change made of it."""
    x, y = fault.data
    outputs, other = fault.sizes[-1], "tanh" if fault.activation == "relu" else "relu"
    return run(
        fault,
        data=(
            standardised(x, x)[0] if change.inputs else x,
            standardised(y, y)[0] if change.targets else y,
        ),
        loss=(networks.entropy(y, outputs) or MSE) if change.loss else fault.loss,
        activation=other if change.activation else fault.activation,
        output=LINEAR if change.outputs else fault.output,
        start="init" if change.start else fault.start,
        rate=fault.rate * change.factor,
        epochs=(3 if change.steps else 1) * fault.epochs,
    )


def left(run):
    """Give what is left, at the end of a run, of what the best constant loses on its data."""
    if run.fit.outcome == "diverged":
        return np.inf
    rows = trials.Rows({}, run.data, np.zeros((2, 1), int), trials.stacked([run.data] * 2), 1, 1)
    outputs = judging.outputs(run.loss, run.params, run.data)
    ended, constant = judging.judge(run.loss, outputs, run.fit.params, run.params, rows)[0, 0]
    return ended / constant

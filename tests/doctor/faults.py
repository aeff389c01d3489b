"""Faults of small networks as they were published, and the same runs repaired.

Sizes, losses, optimizers and rates are those of the source, where it says them; data are made by
the source's rule. `expected` has the changes that the source, or the answer to it, names.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxnet
from jaxnet.doctor import networks

SE = "https://stats.stackexchange.com/questions/"
AI = "https://ai.stackexchange.com/questions/"
DEEPLOCALIZE, DEEPFD = "arXiv 2103.03376", "arXiv 2205.01938"


def on(rule, low, high, rows):
    """Give a function's values on a grid."""
    x = np.linspace(low, high, rows)[:, None]
    return x, rule(x)


def standardised(x, y):
    """Give inputs and targets in their own units of deviation."""
    return tuple((each - each.mean(0)) / each.std(0) for each in (x, y))


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


XOR = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array([[0.0], [1], [1], [0]])
BITS = np.array([[i >> j & 1 for j in range(3)] for i in range(8)] * 12, float)
NOISE = tuple(np.random.default_rng(1).uniform(size=(100, size)) for size in (5, 1))
VECTORS = (np.random.default_rng(2).uniform(size=(400, 8)) > 0.5).astype(float)


class Fault(NamedTuple):
    """A run that goes wrong, and what to change to repair it."""

    source: str
    sizes: tuple[int, ...]
    data: tuple[Any, Any]
    loss: Any
    activation: Any
    optimizer: Any
    rate: float
    epochs: int
    expected: set[str]
    twin: dict[str, Any]
    batch_size: int = 32
    output: str = networks.NONE
    start: str = "init"


MSE, BCE = optax.losses.squared_error, optax.losses.sigmoid_binary_cross_entropy
CE = optax.losses.softmax_cross_entropy_with_integer_labels


def _probabilities(p, y):
    """Give the binary cross-entropy of probabilities."""
    p = jnp.clip(p, 1e-7, 1 - 1e-7)
    return -y * jnp.log(p) - (1 - y) * jnp.log(1 - p)


PRICES = drawn(400, 4, lambda x: 180_000 + 40_000 * x[:, :1] + 20_000 * x[:, 1:2] ** 2)
ADAM, SGD, RMSPROP = optax.adam, optax.sgd, optax.rmsprop
FAULTS = {
    "line diverges": Fault(
        *("https://github.com/keras-team/keras/issues/3040", (1, 1)),
        *(on(lambda x: 2 * x, 0, 199, 200), MSE, "relu", SGD, 1e-3, 1, {"rate"}),
        *({"rate": 1e-5}, 1),
    ),
    "fourth power": Fault(
        *("https://stackoverflow.com/questions/52800582", (1, 50, 50, 1)),
        *(on(lambda x: x**4, -100, 100, 200), MSE, ("sigmoid", "elu"), ADAM, 1e-3, 100),
        {"inputs", "targets"},
        {"data": standardised(*on(lambda x: x**4, -100, 100, 200)), "epochs": 400},
    ),
    "negative curve": Fault(
        *("https://stackoverflow.com/questions/58887284", (1, 1)),
        *(on(lambda x: -1 / (np.exp(10 * x) + 1), -1, 1, 111), MSE, "relu", ADAM, 1e-2, 300),
        {"outputs", "targets"},
        {"data": on(lambda x: 1 / (np.exp(10 * x) + 1), -1, 1, 111)},
        output="sigmoid",
    ),
    "sine": Fault(
        *("https://stackoverflow.com/questions/46995209", (1, 10, 10, 10, 1)),
        *(on(np.sin, 0, 20, 1000), MSE, "tanh", SGD, 1e-2, 20, {"inputs", "rate", "steps"}),
        {"data": standardised(*on(np.sin, 0, 6, 1000)), "rate": 0.1, "epochs": 60},
    ),
    "square of a normal start": Fault(
        *("https://datascience.stackexchange.com/questions/51687", (1, 20, 20, 1)),
        *(on(lambda x: (100 * x - 50) ** 2, 0, 1, 400), MSE, "elu", ADAM, 1e-3, 40, {"targets"}),
        {
            "data": standardised(*on(lambda x: (100 * x - 50) ** 2, 0, 1, 400)),
            "epochs": 200,
        },
        start="normal",
    ),
    "exclusive or, relu last": Fault(
        *(f"{SE}433365", (2, 2, 1), XOR, MSE, "relu", SGD, 1e-2, 500),
        *({"outputs", "loss", "steps"}, {}, 4, "relu"),
    )._replace(
        twin={"output": networks.NONE, "loss": BCE, "activation": "tanh", "sizes": (2, 8, 1)}
        | {"rate": 0.5, "epochs": 1000}
    ),
    "two linear layers": Fault(
        *(f"{SE}418955", (1, 1, 1)),
        (standardised(*on(lambda x: x, 0, 99, 100))[0], on(lambda x: x**2 + 3, 0, 99, 100)[1]),
        *(MSE, networks.NONE, SGD, 1e-2, 300, {"targets", "rate"}),
        {"data": standardised(*on(lambda x: x**2 + 3, 0, 99, 100))},
    ),
    "three points": Fault(
        *(f"{SE}387150", (1, 10, 1)),
        (np.array([[-1.0], [0], [1]]), np.array([[-0.2445248], [0.1232554], [0.1713998]])),
        *(MSE, networks.NONE, ADAM, 1e-5, 10_000, {"activation", "rate"}),
        {"activation": "tanh", "rate": 1e-2, "epochs": 1000},
    ),
    "parabola, slowly": Fault(
        *(f"{SE}280372", (1, 16, 16, 1)),
        *(on(lambda x: (x - 0.5) ** 2, 0, 0.99, 100), MSE, "relu", SGD, 1e-3, 500),
        {"activation", "rate", "inputs", "steps"},
        {"rate": 0.3, "epochs": 3000},
        batch_size=100,
    ),
    "cubes": Fault(
        *("https://discuss.pytorch.org/t/96648", (1, 50, 1)),
        *(on(lambda x: x**3, 1, 3999, 500), MSE, "relu", ADAM, 1e-3, 1000, {"targets", "inputs"}),
        {"data": standardised(*on(lambda x: x**3, 1, 3999, 500))},
        batch_size=500,
    ),
    "exclusive or of two relus": Fault(
        *(f"{SE}320672", (2, 2, 1), tuple(np.tile(each, (250, 1)) for each in XOR)),
        *(BCE, "relu", RMSPROP, 1e-3, 100, {"units", "activation", "start"}),
        {"sizes": (2, 16, 1), "rate": 1e-2},
    ),
    "exclusive or of sigmoids": Fault(
        *(f"{SE}440558", (2, 2, 1), XOR, BCE, "sigmoid", SGD, 0.1, 1000),
        {"rate", "activation", "steps"},
        {"activation": "tanh", "rate": 0.5, "epochs": 2000, "sizes": (2, 8, 1)},
        batch_size=4,
    ),
    "sums of two units": Fault(
        *(f"{AI}28864", (5, 2, 1)),
        drawn(1000, 5, lambda x: 5 * x.sum(1, keepdims=True) + 30, 5.0),
        *(MSE, "relu", SGD, 0.1, 5, {"rate", "start", "inputs"}),
        {"rate": 1e-3, "sizes": (5, 32, 1), "epochs": 30},
    ),
    "relu after one unit": Fault(
        *("https://math.stackexchange.com/questions/4483706", (3, 1)),
        drawn(300, 3, lambda x: x[:, :1] - 2 * x[:, 1:2] - 3),
        *(MSE, "relu", SGD, 1e-2, 50, {"outputs"}, {"output": networks.NONE}, 32, "relu"),
    ),
    "softmax of one output": Fault(
        *("https://stackoverflow.com/questions/52099594", (4, 16, 1), drawn(400, 4, labels)),
        *(_probabilities, "relu", ADAM, 1e-3, 60, {"outputs", "loss"}),
        *({"output": "sigmoid", "rate": 1e-2}, 32, "softmax"),
    ),
    "majority of three bits": Fault(
        *(f"{SE}revisions/2bda6552", (3, 10, 1)),
        (BITS, (BITS.sum(1, keepdims=True) > 1).astype(float)),
        *(_probabilities, "relu", RMSPROP, 1e-3, 60, {"outputs", "loss"}),
        *({"output": "sigmoid", "epochs": 500}, 20, "softmax"),
    ),
    "zeros at the start": Fault(
        *(DEEPFD, (10, 64, 64, 1), drawn(400, 10, wave), MSE, "relu", ADAM, 1e-3, 50),
        *({"start"}, {"start": "init", "epochs": 80}, 32, networks.NONE, "zeros"),
    ),
    "four layers of sigmoids": Fault(
        *(f"{AI}16557", (8, 50, 50, 50, 50, 1)),
        (VECTORS, VECTORS @ np.arange(8.0)[:, None] / 8),
        *(MSE, "sigmoid", SGD, 1e-2, 40, {"activation", "targets"}),
        {"activation": "relu", "rate": 3e-2},
    ),
    "a rate of one": Fault(
        *("https://github.com/tensorflow/playground/issues/3", (2, 8, 1), drawn(250, 2, np.sin)),
        *(MSE, "tanh", SGD, 1.0, 10, {"rate"}, {"rate": 0.03, "epochs": 60}, 1),
    )._replace(data=drawn(250, 2, lambda x: x[:, :1] + x[:, 1:2])),
    "inputs about 92": Fault(
        *("https://stackoverflow.com/questions/51033066", (1, 20, 1)),
        *(on(lambda x: np.sin((x - 92) / 5), 70, 110, 200), MSE, "sigmoid", ADAM, 1e-3, 100),
        {"inputs"},
        {"data": standardised(*on(lambda x: np.sin((x - 92) / 5), 70, 110, 200))}
        | {"rate": 1e-2, "epochs": 600, "activation": "tanh"},
    ),
    "degrees": Fault(
        *("https://forums.fast.ai/t/18347", (1, 1)),
        *(on(lambda x: 1.8 * x + 32, -500, 500, 200), MSE, "relu", SGD, 1e-3, 20),
        {"inputs", "rate"},
        {"data": standardised(*on(lambda x: 1.8 * x + 32, -500, 500, 200)), "rate": 1e-2},
    ),
    "softmax twice": Fault(
        *("https://discuss.pytorch.org/t/28669", (10, 20, 3), drawn(400, 10, classes)),
        *(CE, "relu", SGD, 1e-2, 40, {"outputs"}),
        *({"output": networks.NONE, "rate": 0.1, "epochs": 150}, 32, "softmax"),
    ),
    "loss that stays": Fault(
        *("https://github.com/keras-team/keras/issues/2711", (10, 32, 3), drawn(400, 10, classes)),
        *(CE, "relu", ADAM, 1.0, 40, {"rate"}, {"rate": 1e-2}),
    ),
    "a rate too low": Fault(
        *(DEEPLOCALIZE, (10, 32, 3), drawn(400, 10, classes), CE, "relu", SGD, 1e-4, 50),
        *({"rate"}, {"rate": 0.1, "epochs": 150}),
    ),
    "squares of classes": Fault(
        *(DEEPLOCALIZE, (10, 32, 3), drawn(400, 10, one_hot), MSE, "relu", SGD, 1e-2, 30),
        *({"loss", "outputs"}, {"loss": optax.losses.softmax_cross_entropy}),
        output="sigmoid",
    )._replace(
        twin={"loss": optax.losses.softmax_cross_entropy, "output": networks.NONE}
        | {"rate": 0.1, "epochs": 150}
    ),
    "no activation": Fault(
        *(f"{AI}18134", (2, 64, 32, 1), drawn(100, 2, lambda x: x[:, 1:] + x[:, :1] ** 2)),
        *(MSE, networks.NONE, ADAM, 1e-2, 100, {"activation"}, {"activation": "relu"}),
    ),
    "targets of noise": Fault(
        *(DEEPFD, (5, 1), NOISE, MSE, "relu", SGD, 1e-2, 50, {"data"}),
        {"data": (NOISE[0], NOISE[0].sum(1, keepdims=True)), "epochs": 300},
    ),
    "a few steps": Fault(
        *(DEEPFD, (10, 32, 3), drawn(400, 10, classes), CE, "relu", ADAM, 1e-3, 3),
        *({"steps", "rate"}, {"epochs": 100}),
    ),
    "large at the start": Fault(
        *("https://cs231n.github.io/neural-networks-2", (16, 32, 32, 1)),
        *(drawn(400, 16, wave), MSE, "tanh", SGD, 1e-2, 60, {"start"}),
        *({"start": "init", "rate": 0.1, "epochs": 200}, 32, networks.NONE, "large"),
    ),
    "cross-entropy of prices": Fault(
        *("https://stackoverflow.com/questions/44164749", (4, 10, 1), PRICES),
        *(_probabilities, "relu", ADAM, 1e-3, 50, {"loss", "outputs"}),
        {"loss": MSE, "output": networks.NONE, "data": standardised(*PRICES), "rate": 1e-2},
        output="sigmoid",
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
    """Train as a fault says, with the change made that a finding names."""
    changed = {"rate": fault.rate * change.factor}
    x, y = fault.data
    if change.inputs:
        x = standardised(x, x)[0]
    if change.targets:
        y = standardised(y, y)[0]
    changed["data"] = x, y
    if change.start == "init":
        changed["start"] = "init"
    if change.start == "last":
        changed["epochs"] = 3 * fault.epochs
    if change.activation:
        changed["activation"] = change.activation
    if change.plain:
        changed["output"] = networks.NONE
    if change.entropy:
        changed["loss"] = change.entropy
    inputs, *hidden, outputs = fault.sizes
    changed["sizes"] = inputs, *((change.wider or 1) * size for size in hidden), outputs
    return run(fault, **changed)

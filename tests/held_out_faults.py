"""Published faults of small networks that were held out: gathered when the doctor was made.

As in `faults`; where a source trains on MNIST, digits of 8 by 8 stand for its own.
"""

import numpy as np
import optax
import sklearn.datasets
from faults import (
    BCE,
    CE_HOT,
    KERAS,
    LINEAR,
    MSE,
    SE,
    SGD,
    STACK,
    XOR,
    Fault,
    drawn,
    on,
    probable,
    standardised,
)


def fifty(p, y):
    """Give the squared error of a share of 50 marks."""
    return (50 * p - y) ** 2


def uniform(rows, inputs, rule, low=0.0, high=1.0):
    """Give a rule's values at uniform inputs."""
    x = np.random.default_rng(4).uniform(low, high, size=(rows, inputs))
    return x, rule(x)


def marks(x):
    return np.clip(3 * x[:, :1] + 4 * x[:, 1:2] - x[:, 2:3] - x[:, 3:] + 5, 0, 50)


def sums(x):
    return x @ np.array([[1.0], [-2], [3], [-4], [5]]) + 0.5


def noisy_wave(x):
    noise = np.random.default_rng(5).normal(size=x.shape)
    return np.sin(x) / 2.5 + noise / 20


def above(x):
    return (x >= 50_000).astype(float)


def many_sums(x):
    random = np.random.default_rng(6)
    coefficients = 100 * random.uniform(size=(100, 1))
    return x @ coefficients + 100 * random.normal(size=(len(x), 1))


PIXELS, DIGITS = sklearn.datasets.load_digits(return_X_y=True)
HOT = np.eye(10)[DIGITS]
SIGNS = np.random.default_rng(7).integers(-1, 2, size=(300, 4)).astype(float)
COUNTS = np.array([[2.0, 2, 2], [1, 2, 0], [1, 1, 2], [0, 1, 2], [2, 1, 2], [0, 0, 1]])
COINS = uniform(100, 10, lambda x: np.random.default_rng(8).integers(0, 2, (100, 1)).astype(float))
FIVE = np.array([[32.0], [53], [61], [47], [59]]), np.array([[31.0], [68], [62], [71], [87]])
LINE = on(lambda x: 2 * x - 1, -1, 5, 7)
ARANGE = on(lambda x: 0.1 * x + 0.3, 0, 99, 100)
THRESHOLD = uniform(2000, 1, above, 0, 100_000)
HELD_OUT = {
    "relu after a line": Fault(
        "https://community.deeplearning.ai/t/324182",
        (1, 4, 2, 1),
        LINE,
        {"outputs"},
        {"output": LINEAR, "sizes": (1, 16, 1), "rate": 1e-2},
        **{"output": "relu", "epochs": 500},
    ),
    "marks out of 50": Fault(
        STACK + ", Tensorflow regression model giving same prediction every time",
        (4, 2, 1),
        uniform(200, 4, marks, 0, 9),
        {"rate", "inputs"},
        {"data": standardised(*uniform(200, 4, marks, 0, 9)), "loss": MSE, "output": LINEAR}
        | {"sizes": (4, 8, 1)},
        **{"loss": fifty, "activation": "sigmoid", "output": "sigmoid", "start": "unit"},
        **{"optimizer": SGD, "rate": 0.05, "epochs": 300, "batch_size": 200},
    ),
    "five rows diverge": Fault(
        "https://github.com/llSourcell/linear_regression_live/issues/4",
        (1, 1),
        FIVE,
        {"rate", "inputs"},
        {"data": (standardised(*FIVE)[0], 0.8 * standardised(*FIVE)[0] + 0.1)},
        **{"optimizer": SGD, "rate": 0.05, "epochs": 1000},
    ),
    "a hundred integers": Fault(
        "https://github.com/tensorflow/tensorflow/issues/3148",
        (1, 1),
        ARANGE,
        {"rate", "inputs"},
        {"data": (ARANGE[0] / 100, ARANGE[1] / 10)},
        **{"optimizer": SGD, "rate": 0.5, "epochs": 200, "batch_size": 100},
    ),
    "exclusive or in 500 steps": Fault(
        KERAS + "1295",
        (2, 2, 1),
        XOR,
        {"rate", "steps", "activation"},
        {"activation": "tanh", "sizes": (2, 8, 1), "rate": 0.5, "epochs": 2000},
        **{"loss": BCE, "activation": "sigmoid", "optimizer": SGD, "rate": 1e-2},
        **{"epochs": 500, "batch_size": 4},
    ),
    "sine at a small rate": Fault(
        SE + "questions/320289",
        (1, 128, 1),
        uniform(4000, 1, noisy_wave, -1, 9),
        {"rate", "inputs", "start"},
        {"data": standardised(*uniform(4000, 1, noisy_wave, -1, 9)), "start": "init"}
        | {"output": LINEAR, "optimizer": optax.adam, "rate": 1e-2, "batch_size": 100}
        | {"epochs": 50},
        **{"activation": "tanh", "output": "tanh", "start": "unit", "optimizer": SGD},
        **{"rate": 1.6e-3, "epochs": 300, "batch_size": 4000},
    ),
    "labels drawn by coins": Fault(
        "https://taourl.com/read-1854484.html",
        (10, 10, 1),
        COINS,
        {"data"},
        {"data": (COINS[0], (COINS[0][:, :1] > 0.5).astype(float)), "rate": 0.5, "epochs": 300},
        **{"loss": BCE, "optimizer": SGD, "rate": 1e-2, "epochs": 10, "batch_size": 10},
    ),
    "sums in 300 steps": Fault(
        "https://taourl.com/read-3765126.html",
        (5, 1),
        uniform(1000, 5, sums),
        {"rate", "steps"},
        {"rate": 0.1, "epochs": 50},
        **{"optimizer": SGD, "rate": 1e-2, "epochs": 10},
    ),
    "a start of thousandths": Fault(
        "https://techfeed.net/pt/473708",
        (1, 16, 16, 1),
        uniform(500, 1, np.copy, -1, 1),
        {"start"},
        {"start": "init", "rate": 0.05},
        **{"start": "thousandths", "optimizer": SGD, "epochs": 20, "batch_size": 1},
    ),
    "more than 50,000": Fault(
        "https://geeksmental.com/question/why-does-accuracy-remain-the-same",
        (1, 3, 5, 1),
        THRESHOLD,
        {"inputs", "outputs"},
        {"data": (standardised(*THRESHOLD)[0], THRESHOLD[1]), "output": LINEAR, "loss": BCE}
        | {"rate": 1e-2, "sizes": (1, 8, 1)},
        **{"loss": probable, "output": "relu", "epochs": 10, "batch_size": 5},
    ),
    "a start of positive numbers": Fault(
        SE + "questions/286424",
        (64, 15, 10),
        (PIXELS / 16, HOT),
        {"start"},
        {"start": "init", "epochs": 20},
        **{"activation": "sigmoid", "output": "sigmoid", "start": "positive", "optimizer": SGD},
        **{"rate": 2.5, "epochs": 2, "batch_size": 1},
    ),
    "the mean of digits": Fault(
        STACK + ", neural network trained with PyTorch outputs the mean value for every input",
        (64, 800, 10),
        (PIXELS / 16, HOT),
        {"rate", "loss", "outputs", "steps"},
        {"loss": CE_HOT, "output": LINEAR, "rate": 0.5},
        **{"activation": "sigmoid", "output": "sigmoid", "optimizer": SGD, "rate": 0.032},
        **{"epochs": 33},
    ),
    "never a negative value": Fault(
        STACK + "5105718",
        (4, 6, 1),
        (SIGNS, np.sin(SIGNS.sum(1, keepdims=True))),
        {"outputs", "targets"},
        {"output": LINEAR, "activation": "tanh", "sizes": (4, 16, 1)},
        **{"activation": "sigmoid", "output": "sigmoid", "optimizer": SGD, "rate": 0.1},
        **{"epochs": 100, "batch_size": 1},
    ),
    "sums after a sigmoid": Fault(
        "https://datascience.stackexchange.com/questions/21765",
        (3, 1),
        (COUNTS, COUNTS.sum(1, keepdims=True)),
        {"outputs", "targets"},
        {"output": LINEAR, "rate": 0.05},
        **{"output": "sigmoid", "optimizer": SGD, "rate": 1.0, "epochs": 2000},
    ),
    "thousands from one layer": Fault(
        KERAS + "2576",
        (100, 1),
        drawn(2000, 100, many_sums),
        {"rate", "targets", "steps"},
        {"data": standardised(*drawn(2000, 100, many_sums)), "epochs": 20},
        **{"optimizer": optax.rmsprop, "epochs": 10, "batch_size": 16},
    ),
    "ten digits as one probability": Fault(
        "https://datascience.stackexchange.com/questions/38604",
        (64, 64, 1),
        (PIXELS, DIGITS[:, None].astype(float)),
        {"loss", "outputs"},
        {"loss": CE_HOT, "output": LINEAR, "data": (PIXELS / 16, HOT), "sizes": (64, 64, 10)},
        **{"loss": probable, "output": "sigmoid", "epochs": 10},
    ),
}

"""Published faults of small networks that the doctor had not seen when it was mended.

As in `faults`. Those with numbers of Stack Overflow alone are of the benchmark of DeepFD, and
what is expected is what its table of patches says of them.
"""

import jax.numpy as jnp
import numpy as np
import optax
import sklearn.datasets
from faults import BCE, CE, CE_HOT, LINEAR, MSE, SE, SGD, STACK, XOR, Fault, on, standardised
from held_out_faults import HOT, PIXELS, uniform


def absolute(z, y):
    """Give the absolute error."""
    return jnp.abs(z - y)


def sgd_with_momentum(learning_rate):
    """Give SGD as those of the benchmark are."""
    return optax.sgd(learning_rate, momentum=0.9)


def sums(x):
    return x @ np.array([[2.0], [1], [0.5]]) + 2.2


def noisy_squares(x):
    return 5 * x**2 + np.random.default_rng(9).normal(size=x.shape) ** 3


def incomes(rows):
    """Give numbers as a census has them, and who earns more."""
    random = np.random.default_rng(10)
    age, weight = random.uniform(17, 90, rows), random.lognormal(12, 0.5, rows)
    gain = random.choice([0, 0, 0, 0, 5000, 15_000], rows)
    hours, years = random.normal(40, 12, rows), random.integers(1, 17, rows)
    codes = random.integers(0, 8, (9, rows))
    earned = 0.03 * age + 0.4 * years + 0.05 * hours + gain / 4000
    return np.stack([age, weight, gain, hours, years, *codes], axis=1), (
        earned > np.median(earned)
    ).astype(int)


def squares(x):
    return x**2 + 3


def low(x):
    return (x < 19_000).astype(float)


def lives(x):
    return 70 - 0.03 * x


def far_below(x):
    return -2700 + 30 * np.sin(3 * x[:, :1]) + 20 * x[:, 1:2]


def rents(x):
    return 300 * x[:, :1] + 200 * x[:, 1:2] + 0.5 * x[:, 2:]


CLOUDS = uniform(200, 2, lambda x: np.arange(200) % 2)
CLOUDS = 0.2 * CLOUDS[0] + np.where(CLOUDS[1] == 0, 0.2, 0.5)[:, None], CLOUDS[1]
SETS = sklearn.datasets.make_multilabel_classification(1000, 20, n_classes=3, random_state=0)
SETS = SETS[0], SETS[1].astype(float)
TRIPLES = uniform(1000, 3, sums, 0, 10_000)
BYTES = np.array([[i >> j & 1 for j in range(8)] for i in range(256)], float)
SHUFFLED = np.random.default_rng(11).permutation(BYTES)
SQUARES = on(noisy_squares, 0, 4.9, 50)
INCOMES = incomes(1000)
PARABOLA = on(squares, -10, 9.9, 200)
COLUMN = uniform(800, 1, low, 14_000, 25_000)
LIVES = uniform(40, 1, lives, 1, 600)
DEEP = uniform(400, 3, far_below, -1, 1)
ROOMS = np.random.default_rng(12).uniform([1, 1, 500], [5, 3, 3000], (60, 3)).round()
SIX = tuple(np.concatenate([each, each[[0, 3]]]) for each in XOR)
LATER = {
    "digits at a rate of three": Fault(
        STACK + "48385830",
        (64, 30, 10),
        (PIXELS / 16, HOT),
        {"activation", "loss", "rate"},
        {"activation": "sigmoid", "loss": CE_HOT, "rate": 0.5},
        **{"activation": LINEAR, "start": "unit", "optimizer": SGD, "rate": 3.0},
        **{"epochs": 30, "batch_size": 10},
    ),
    "exclusive or by absolute errors": Fault(
        STACK + "31556268",
        (2, 4, 1),
        XOR,
        {"loss", "steps", "rate"},
        {"activation": "tanh", "output": LINEAR, "loss": BCE, "rate": 0.5, "sizes": (2, 8, 1)},
        **{"loss": absolute, "activation": "sigmoid", "output": "sigmoid", "optimizer": SGD},
        **{"rate": 0.05, "epochs": 1000, "batch_size": 4},
    ),
    "two clouds in five epochs": Fault(
        STACK + "50306988",
        (2, 2, 2),
        CLOUDS,
        {"rate", "steps"},
        {"rate": 0.05, "epochs": 50},
        **{"loss": CE, "activation": "sigmoid", "epochs": 5},
    ),
    "sets of three labels": Fault(
        STACK + "38648195",
        (20, 20, 20, 3),
        SETS,
        {"outputs", "loss", "steps"},
        {"output": LINEAR, "loss": BCE, "optimizer": optax.adam, "rate": 3e-3, "epochs": 100},
        **{"output": "softmax", "optimizer": SGD, "rate": 1e-2, "epochs": 20, "batch_size": 20},
    ),
    "sums after a softmax": Fault(
        STACK + "33969059",
        (3, 3, 2, 1),
        TRIPLES,
        {"outputs"},
        {"output": LINEAR, "data": standardised(*TRIPLES), "rate": 1e-2},
        **{"activation": "tanh", "output": "softmax", "start": "normal", "rate": 0.1},
        **{"optimizer": sgd_with_momentum, "epochs": 20},
    ),
    "six rows in twenty epochs": Fault(
        STACK + "34311586",
        (2, 2, 3, 1),
        SIX,
        {"rate", "outputs", "start", "steps"},
        {"activation": "tanh", "output": LINEAR, "loss": BCE, "sizes": (2, 8, 1), "rate": 0.1}
        | {"start": "init", "epochs": 500},
        **{"activation": "sigmoid", "output": "softmax", "start": "normal", "rate": 1e-3},
        **{"optimizer": sgd_with_momentum, "epochs": 20},
    ),
    "bytes in another order": Fault(
        STACK + "39217567",
        (8, 8, 8, 8),
        (BYTES, SHUFFLED),
        {"activation", "data"},
        {"data": (BYTES, BYTES), "activation": "relu", "output": LINEAR, "loss": BCE}
        | {"start": "init", "rate": 0.5, "sizes": (8, 16, 8)},
        **{"activation": "sigmoid", "output": "sigmoid", "start": "normal", "optimizer": SGD},
        **{"rate": 1e-2, "epochs": 1000, "batch_size": 50},
    ),
    "squares at a rate of a tenth": Fault(
        STACK + "48934338",
        (1, 50, 30, 1),
        SQUARES,
        {"rate"},
        {"rate": 1e-4},
        **{"optimizer": SGD, "rate": 0.1, "epochs": 1000},
    ),
    "incomes as they are": Fault(
        STACK + "47724077",
        (14, 21, 2),
        INCOMES,
        {"inputs", "rate", "steps"},
        {"data": (standardised(*INCOMES)[0], INCOMES[1]), "rate": 1e-2},
        **{"loss": CE, "batch_size": 100},
    ),
    "squares after a sigmoid": Fault(
        STACK + "48221692",
        (1, 5, 1),
        PARABOLA,
        {"outputs"},
        {"output": LINEAR, "data": standardised(*PARABOLA), "rate": 0.5},
        **{"activation": "sigmoid", "output": "sigmoid", "optimizer": SGD, "rate": 1e-2},
        **{"epochs": 1000, "batch_size": 150},
    ),
    "one column by absolute errors": Fault(
        STACK + "45442843",
        (1, 1, 1),
        COLUMN,
        {"loss", "outputs", "steps", "inputs"},
        {"output": LINEAR, "loss": BCE, "data": (standardised(*COLUMN)[0], COLUMN[1])}
        | {"optimizer": optax.adam, "rate": 0.1},
        **{"loss": absolute, "activation": "sigmoid", "output": "softmax"},
        **{"optimizer": optax.rmsprop, "epochs": 100, "batch_size": 200},
    ),
    "lives by televisions": Fault(
        SE + "questions/284189",
        (1, 1),
        LIVES,
        {"inputs", "targets", "rate"},
        {"data": standardised(*LIVES)},
        **{"optimizer": SGD, "rate": 1e-2, "epochs": 30, "batch_size": 1},
    ),
    "a start of hundredths": Fault(
        "https://huggingface.co/datasets/nvidia/Nemotron-CC-Math-v1, Neural Network XOR Gate",
        (2, 5, 1),
        XOR,
        {"start", "rate"},
        {"start": "unit", "rate": 1.0},
        **{"loss": BCE, "activation": "sigmoid", "start": "hundredths", "optimizer": SGD},
        **{"rate": 0.03, "epochs": 3000, "batch_size": 4},
    ),
    "ten times ten numbers": Fault(
        "https://devhide.com/78199673",
        (1, 1),
        on(lambda x: 10 * x, 1, 10, 10),
        {"rate", "steps"},
        {"rate": 0.1, "epochs": 2000},
        **{"optimizer": optax.rmsprop, "rate": 5e-3, "epochs": 100},
    ),
    "targets about -2700": Fault(
        "https://discuss.pytorch.org/t/41046",
        (3, 5, 5, 1),
        DEEP,
        {"targets"},
        {"data": standardised(*DEEP), "rate": 1e-2, "epochs": 100},
        **{"activation": "tanh", "epochs": 200},
    ),
    "rents after a sigmoid": Fault(
        "https://github.com/BrainJS/brain.js/issues/195",
        (3, 3, 1),
        (ROOMS, rents(ROOMS)),
        {"inputs", "targets", "outputs"},
        {"data": standardised(ROOMS, rents(ROOMS)), "output": LINEAR, "activation": "tanh"}
        | {"rate": 0.05},
        **{"loss": MSE, "activation": "sigmoid", "output": "sigmoid", "optimizer": SGD},
        **{"rate": 0.3, "epochs": 300, "batch_size": 1},
    ),
}

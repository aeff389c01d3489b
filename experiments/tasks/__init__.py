"""Tasks to compare optimizers on, all made here: none needs a network connection."""

import functools
from collections.abc import Callable, Mapping, Sequence

from experiments import classifier, regression
from experiments.tasks import functions, linear, mnist1d, networks, text
from experiments.tasks.task import Task as Task
from jaxnet.commands import compare

TASKS: Mapping[str, Callable[[], Task]] = {
    name: functools.cache(make)
    for name, make in {
        "classifier": lambda: networks.notebook("classifier"),
        "regression": lambda: networks.notebook("regression"),
        "iris": lambda: networks.table("iris", epochs=30),
        "wine": lambda: networks.table("wine", epochs=20),
        "breast_cancer": lambda: networks.table("breast_cancer", epochs=10),
        "diabetes": lambda: networks.table("diabetes", epochs=10),
        "digits": lambda: networks.table("digits", epochs=10),
        "digits-convolution": networks.digits_convolution,
        "digits-autoencoder": networks.digits_autoencoder,
        "mnist1d": networks.signals,
        "mnist1d-convolution": networks.signals_convolution,
        "characters": text.characters,
        "logistic": linear.logistic,
        "sparse": linear.sparse,
        "quadratic-1e0": lambda: functions.quadratic(0),
        "quadratic-1e3": lambda: functions.quadratic(3),
        "quadratic-1e6": lambda: functions.quadratic(6),
        "noisy-quadratic": functions.noisy,
        "rosenbrock": functions.valley,
        "pinn": functions.pinn,
        "deep-linear": functions.deep,
    }.items()
}
"""Each by its name, made when called, and the same one every time."""


def notebook(name: str) -> compare.Problem:
    """Give a notebook's set-up: its data in full batches, judged by the training loss."""
    setting, epochs = {"classifier": (classifier, 100), "regression": (regression, 10)}[name]
    params, data = setting.set_up("float32")
    layers = [params[0].weight.shape[1], *(len(layer.bias) for layer in params)]
    start = compare.starting(layers)
    return compare.Problem(f"the {name} notebook", setting.LOSS, start, data, epochs)


def digits(hidden: Sequence[int]) -> compare.Problem:
    """Give scikit-learn's digits as a task."""
    return compare.table("digits", "target", hidden)


def signals(hidden: Sequence[int]) -> compare.Problem:
    """Give MNIST-1D as a task: 3200 signals to train on, 800 to tune on, 1000 to judge."""
    x, y = mnist1d.signals(5000)
    train, tune, judge = (
        (x[low:high], y[low:high]) for low, high in ((0, 3200), (3200, 4000), (4000, 5000))
    )
    layers = [mnist1d.POINTS, *hidden, 10]
    return compare.of_parts("MNIST-1D", "classification", layers, (train, tune, judge))

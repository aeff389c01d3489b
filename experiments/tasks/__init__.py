"""Tasks to compare optimizers on, all made here: none needs a network connection."""

import functools
from collections.abc import Callable, Mapping

from experiments.tasks import functions, linear, networks, text
from jaxnet.compare import Problem

TASKS: Mapping[str, Callable[[], Problem]] = {
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

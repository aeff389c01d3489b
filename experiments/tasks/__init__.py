"""Tasks of our own to hold optimizers against plain SGD on: both notebooks', digits, MNIST-1D."""

from collections.abc import Sequence

from experiments import classifier, regression
from experiments.tasks import mnist1d
from jaxnet.commands import compare


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

"""Hold optax's optimizers against plain SGD on a task of ours, as `jaxnet compare` does."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from experiments import command, tasks
from jaxnet.commands import _run, compare, settings


@dataclass(frozen=True)
class Tried(settings.Trials):
    """Tune each optimizer alike, run it on fresh seeds, and hold it against plain SGD.

    The same command goes on where it was stopped.

    Args:
        name: A notebook's set-up, scikit-learn's digits, or MNIST-1D.
    """

    name: Annotated[
        Literal["classifier", "regression", "digits", "mnist1d"], tyro.conf.Positional
    ] = "digits"


def main(tried: tyro.conf.OmitArgPrefixes[Tried]) -> int:
    """Tune each optimizer alike, run it on fresh seeds, and hold it against plain SGD."""
    folder = tried.output or Path("results") / f"optimizers-{tried.name}"
    return compare.compare(
        tried, lambda: task(tried), folder, _run.shown("python -m experiments.tasks")
    )


def task(tried: Tried) -> compare.Task:
    """Give the task of that name."""
    if tried.name == "digits":
        return tasks.digits(tried.hidden)
    return tasks.signals(tried.hidden) if tried.name == "mnist1d" else tasks.notebook(tried.name)


if __name__ == "__main__":
    command(main, "experiments.tasks")

"""Hold optimizers against plain SGD on tasks of ours, as `jaxnet compare` does on a table."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

import jaxnet
from experiments import command
from experiments.tasks import TASKS
from jaxnet.commands import _arguments, compare, settings


@dataclass(frozen=True)
class Tried(settings.Contest):
    """Hold optimizers against plain SGD on tasks, with the tuning of each in what is compared.

    The same command goes on where it was stopped.

    Args:
        names: Of tasks, or `all`; `list` prints what there are.
    """

    names: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[NAME ...]")] = (
        "digits",
    )


def main(tried: tyro.conf.OmitArgPrefixes[Tried]) -> int:
    """Hold optimizers against plain SGD on tasks of ours.

    Raises:
        InputError: a task that there is not, or what the comparison refuses.
    """
    if tried.names == ("list",):
        for name, make in TASKS.items():
            print(f"{name:20} {make().about}")
        return 0
    names = list(TASKS) if tried.names == ("all",) else list(dict.fromkeys(tried.names))
    for name in names:
        if name not in TASKS:
            raise jaxnet.InputError(
                f"names: expected all, list or {', '.join(TASKS)}, got {name!r}"
            )
    folder = tried.output or Path("results") / f"optimizers-{'-'.join(tried.names)}"
    return compare.compare(
        tried,
        lambda: {name: TASKS[name]() for name in names},
        folder,
        _arguments.shown("python -m experiments.tasks"),
    )


if __name__ == "__main__":
    command(main, "experiments.tasks")

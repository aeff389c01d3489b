"""What no machine can do, found by arithmetic before anything is made: sizes, steps, runs."""

import itertools
import os
from collections.abc import Sequence
from typing import Any

from jaxnet.errors import InputError

# The parameters, the best of them, their gradients and updates, and an optimizer's two moments.
_COPIES = 6
_FLOAT = _INDEX = 4
# That int32, of which orders are, has numbers for.
_ROWS = 2**31 - 1
# XLA unrolls the layers: so many compile for minutes.
_MOST_LAYERS = 1000
# At a microsecond each, which the smallest take, eleven days.
_MOST_STEPS = 10**12
_MOST_TRIALS = 10_000
_RUN_BYTES = 1024


def memory() -> int:
    """Give the bytes of memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def cores() -> list[int]:
    """Give the cores that this process may use; all where the system does not tell, as on macOS."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def check_network(sizes: Sequence[int], name: str = "sizes", members: int = 1) -> None:
    """Refuse networks that cannot be trained in this machine's memory.

    Args:
        sizes: inputs, hidden layers, outputs, each at least 1.
        name: what the error calls them. members: networks that are trained as one.

    Raises:
        InputError: with the figures.
    """
    if len(sizes) > _MOST_LAYERS:
        raise InputError(
            f"{name}: expected at most {_MOST_LAYERS} layers, got {len(sizes) - 1}; give fewer"
        )
    parameters = members * sum((i + 1) * o for i, o in itertools.pairwise(sizes))
    check_bytes(
        name,
        parameters * _FLOAT * _COPIES,
        f"{_about(parameters)} parameters",
        f"give fewer or smaller layers{', or a smaller ensemble' * (members > 1)}",
    )


def check_cores(name: str, count: int) -> None:
    """Refuse more of what takes a core than this process has.

    Raises:
        InputError: with both.
    """
    most = len(cores())
    if count > most:
        raise InputError(
            f"{name}: expected 1 to the {most} cores of this machine, got {count}; give fewer"
        )


def check_steps(count: int, each: int = 1, name: str = "epochs") -> None:
    """Refuse a run whose steps would take weeks at the least.

    Args:
        count: of epochs, or of what the error calls them by `name`. each: steps of one.

    Raises:
        InputError: with the figures.
    """
    if count * each > _MOST_STEPS:
        raise InputError(
            f"{name}: expected at most {_about(_MOST_STEPS)} steps, got {_about(count)} {name}, "
            f"{_about(count * each)} steps; give fewer {name}"
        )


def check_history(epochs: int, values: int = 3) -> None:
    """Refuse a run of epochs whose history does not fit.

    Args:
        epochs: of the run. values: of each; the losses of training and validation and a metric.

    Raises:
        InputError: with the figures.
    """
    # Held while more is joined to it.
    history = epochs * values * _FLOAT * 2
    check_bytes("epochs", history, f"the history of {_about(epochs)}", "give fewer epochs")


def check_records(steps: int, arrays: Sequence[Any]) -> None:
    """Refuse records that do not fit.

    Args:
        steps: that are recorded. arrays: kept of each, or their shapes and dtypes.

    Raises:
        InputError: with the figures.
    """
    needed = steps * sum(each.size * each.dtype.itemsize for each in arrays)
    cure = "record less of each step, or take fewer"
    check_bytes("record", needed, f"the records of {_about(steps)} steps", cure)


def check_order(rows: int, epochs: int) -> None:
    """Refuse an order of all rows in each epoch that does not fit.

    Raises:
        InputError: with the figures; rows that int32 has no numbers for.
    """
    if rows > _ROWS:
        raise InputError(
            f"rows: expected at most {_ROWS:,}, which an order of int32 has numbers for, got "
            f"{rows:,}; give a part of them at a time"
        )
    what = f"an order of {_about(rows)} rows in {_about(epochs)} epochs"
    check_bytes("rows", rows * epochs * _INDEX, what, "give fewer rows or epochs")


def check_comparison(
    optimizers: int, trials: int, tuning_seeds: int, replicates: int, steps: int
) -> None:
    """Refuse a comparison of more runs than can be kept, or done in weeks.

    Args:
        optimizers: how many. trials: of each in each replicate. tuning_seeds: that each trial is
            trained on. replicates: how many. steps: of each run.

    Raises:
        InputError: with the figures.
    """
    counts = {"budget": trials, "tuning_seeds": tuning_seeds, "replicates": replicates}
    for name, count in counts.items():
        if count > _MOST_TRIALS:
            raise InputError(
                f"{name}: expected at most {_about(_MOST_TRIALS)}, got {_about(count)}; give fewer"
            )
    runs = optimizers * replicates * (trials * tuning_seeds + 3)
    cure = "give a smaller budget, fewer replicates or optimizers"
    check_bytes("budget", runs * _RUN_BYTES, f"{_about(runs)} runs", cure)
    if runs * steps > _MOST_STEPS:
        raise InputError(
            f"budget: expected at most {_about(_MOST_STEPS)} steps in all, got {_about(runs)} "
            f"runs of {_about(steps)} steps; {cure}, or shorter runs"
        )


def check_bytes(name: str, needed: int, what: str, cure: str) -> None:
    """Refuse what takes more bytes than most of the machine's memory.

    Raises:
        InputError: naming `what`, the bytes it takes and those there are, and the `cure`.
    """
    there = memory()
    if needed > 0.8 * there:
        raise InputError(
            f"{name}: expected what fits the machine's {_about(there)} bytes of memory, got "
            f"{what}, which take about {_about(needed)}; {cure}"
        )


def _about(count: int) -> str:
    """Give a count in a few characters, however large it is."""
    digits = len(str(count)) - 1 if count < 10**300 else 300
    return f"{count:,}" if digits < 6 else f"{count // 10 ** (digits - 1) / 10:g}e{digits}"

"""The settings of each command: declared here once, for the command line, for Python and for disk.

tyro makes the command's arguments and its help of these classes, `records` checks them, and a run
keeps them as `run.json`.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from tyro.conf import FlagCreatePairsOff, OmitSubcommandPrefixes, Positional, arg, subcommand

from jaxnet._guards import records, sizes
from jaxnet._guards.defaults import SEED, TEST, VALIDATION, Task, Tune
from jaxnet._guards.procedures import Count, Name, Procedure, Seed, Share
from jaxnet._guards.records import Bounds
from jaxnet.errors import InputError

Rate = Annotated[float, Bounds(0, math.inf), arg(metavar="RATE")]
# The longest is thirty years: a clock has no more bits for it on some machines.
Seconds = Annotated[float, Bounds(1, 10**9), arg(metavar="SECONDS")]
LineNumber = Annotated[int, Bounds(0, math.inf), arg(metavar="LINE")]
Members = Annotated[int, Bounds(1, 1000), arg(metavar="N")]
Names = tuple[Name, ...]
Sizes = tuple[Annotated[int, Bounds(1, math.inf)], ...]


def _of(metavar: str) -> Any:
    return arg(metavar=metavar)


Folder = Annotated[Path | None, _of("FOLDER")]


@dataclass(frozen=True)
class Train:
    """Train a fully connected network on a table.

    The same command goes on where it was stopped.

    Args:
        data: A .csv, .parquet, .xlsx or other file, or digits, wine, breast_cancer, iris, diabetes.
        target: The column to predict.
        task: What to do with it; inferred from the column where not given.
        hidden: Sizes of the hidden layers.
        activation: Of the hidden layers: relu, tanh, sigmoid, gelu, silu or softplus.
        optimizer: Any optimizer of optax that takes a learning rate.
        learning_rate: Of the optimizer.
        epochs: At most so many passes over the training rows; where not given 50, or as many as
            take 4000 steps. Then it trains anew, on the validation rows too, as many as were best.
        batch_size: Rows of a step.
        patience: Stop after so many epochs without a lower validation loss; where neither is
            given 10, or as many as take 1000 steps.
        ensemble: So many networks of other starts, whose predictions are averaged.
        validation: Share of the rows that choose the best epoch.
        test: Share of the rows that are scored once, at the end.
        seed: Of the split, the first parameters and the order of the rows.
        drop: Columns to leave out.
        category: Columns to take for categories, such as codes.
        number: Columns to take for numbers, with what is none missing.
        date: Columns to take for dates.
        missing: Values that stand for a missing one, beside NA, ? and the like.
        group: A column whose rows of one value are all in one part, such as of a patient.
        time: A column of dates or numbers: the latest rows test, those before them validate.
        split: A column that names each row's part: train, validation or test.
        test_file: Another table, to test on.
        weight: A column of what each row counts, in losses and scores.
        class_weight: Have all classes count the same, in losses and scores.
        delimiter: What stands between the cells of text, where that is not found.
        encoding: Of text, such as cp1252, where that is not found.
        header: The line of text with the columns' names; 0 where there is none.
        decimal: The mark of decimals where numbers may be read by either, such as 1,234.
        date_format: Of dates that may be read by several, such as %m/%d/%Y.
        plan: Print what would be done with every column, and end.
        devices: Spread each batch over so many local devices.
        hosts: And over processes: job, of SLURM or Open MPI; local:N, on this machine; or
            HOST:PORT,N,I for process I of N, of which 0 is there.
        output: The folder of the run; runs/ and the name of the data where not given.
        resume: The folder of a run to go on with, in place of data: all else is as it was.
    """

    data: Annotated[Name | None, Positional, _of("[DATA]")] = None
    target: Name = "target"
    task: Annotated[Task | None, _of("{classification,regression}")] = None
    hidden: Sizes = (64, 64)
    activation: Name = "relu"
    optimizer: Name = "adam"
    learning_rate: Rate = 1e-3
    epochs: Count | None = None
    batch_size: Count = 32
    patience: Count | None = None
    ensemble: Members = 1
    validation: Share = VALIDATION
    test: Share = TEST
    seed: Seed = SEED
    drop: Names = ()
    category: Names = ()
    number: Names = ()
    date: Names = ()
    missing: Names = ()
    group: Name | None = None
    time: Name | None = None
    split: Name | None = None
    test_file: Annotated[Name | None, _of("FILE")] = None
    weight: Name | None = None
    class_weight: Annotated[Literal["balanced"] | None, _of("{balanced}")] = None
    delimiter: Name | None = None
    encoding: Name | None = None
    header: LineNumber | None = None
    decimal: Annotated[Literal[".", ","], _of("MARK")] = "."
    date_format: Annotated[str, _of("FORMAT")] = ""
    plan: FlagCreatePairsOff[bool] = False
    devices: Count = 1
    hosts: Annotated[Name | None, _of("HOSTS")] = None
    output: Folder = None
    resume: Folder = None


@dataclass(frozen=True)
class Predict:
    """Predict every row of a table with a trained model.

    Args:
        folder: The folder of a run of `jaxnet train`.
        data: A table with the columns it was trained on, in any order, whatever else it has.
        output: Where to write the predictions, a CSV file with one line for each row.
        id: Columns of the table to write beside them.
        delimiter: What stands between the cells of text; as in training where not given.
        encoding: Of text, such as cp1252; as in training where not given.
        header: The line of text with the columns' names, 0 where there is none; as in training
            where not given.
    """

    folder: Annotated[Path, Positional, _of("FOLDER")]
    data: Annotated[Name, Positional, _of("DATA")]
    output: Annotated[Path, _of("FILE.csv")] = Path("predictions.csv")
    id: Names = ()
    delimiter: Name | None = None
    encoding: Name | None = None
    header: LineNumber | None = None


@dataclass(frozen=True)
class Export:
    """Write a trained model as an ONNX file, which other programs run.

    It takes the table's columns and gives the predictions, each by its name.

    Args:
        folder: The folder of a run of `jaxnet train`.
        output: Where to write it.
    """

    folder: Annotated[Path, Positional, _of("FOLDER")]
    output: Annotated[Path, _of("FILE.onnx")] = Path("model.onnx")


@dataclass(frozen=True, kw_only=True)
class Contest(Procedure):
    """What is tried in a comparison, of which task whatever, and how.

    Args:
        optimizers: Any of optax and optax.contrib, `momentum`, or `all` of optax's.
        tune: The learning rate alone, or all that is worth tuning.
        learning_rates: To choose among in place of a range.
        to: The loss that times are counted to; the baseline's own at its end where not given.
        epochs: Passes over the training rows in each run; the task's own where not given. Several
            make a comparison of each, and say whether verdicts hold, as of the two below.
        steps: Of each run, in place of epochs.
        batch_size: Rows of a step; the task's own where not given.
        hidden: Sizes of the hidden layers.
        rows: Optimizers in the table that is printed; the report has all.
        workers: Make the runs in so many processes, each on its share of the cores.
        scheduler: Have the workers of this Dask scheduler make them.
        dry_run: Say what it takes, by a tile of runs of each optimizer, and make no more.
        output: The folder of results; results/optimizers- and the name of the data where not given.
    """

    optimizers: tuple[Name, ...] = (*("momentum", "adam", "adamw", "rmsprop", "lion", "muon"),)
    tune: Tune = "rate"
    learning_rates: Annotated[tuple[Rate, ...], _of("[RATE ...]")] = ()
    to: Annotated[float | None, _of("LOSS")] = None
    epochs: tuple[Count, ...] = ()
    steps: tuple[Count, ...] = ()
    batch_size: tuple[Count, ...] = ()
    hidden: Sizes = (64,)
    rows: Count = 20
    workers: Count | None = None
    scheduler: Annotated[Name | None, _of("ADDRESS")] = None
    dry_run: Annotated[FlagCreatePairsOff[bool], arg(help_behavior_hint="")] = False
    output: Folder = None


@dataclass(frozen=True)
class Compare(Contest):
    """Hold optimizers against plain SGD, with the tuning of each in what is compared.

    60% of the rows train, 20% tune, 20% judge. The same command goes on where it was stopped.

    Args:
        data: A .csv, .parquet, .xlsx or other file, or digits, wine, breast_cancer, iris, diabetes.
        target: The column to predict.
    """

    data: Annotated[Name, Positional, _of("DATA")]
    target: Name = "target"


@dataclass(frozen=True)
class Audit:
    """Is a gradient right? Name what is wrong with it, and where.

    The file is Python, or a notebook, that defines four names: `params` and `batch`, pytrees of
    arrays; `loss`, a function of both, in NumPy or JAX, or a jaxnet.BatchLoss; and `gradient`, a
    function of both or the gradient itself.

    It is run as an import runs it, without what stands under `if __name__ == "__main__"`; a
    notebook cell by cell, without its magics and shell commands. It runs in a process of its own,
    which ends with the audit. Plots are not shown, and `input()` is empty.

    The exit code is 0 where the gradient is right and 1 where it is not.

    Args:
        file: The Python file or notebook; it is run.
        loss: What the file calls the loss.
        gradient: What it calls the gradient.
        params: What it calls the parameters; several names, with commas between, are a tuple.
        batch: What it calls the batch; several names, such as X,y, are a tuple.
        timeout: Stop after so many seconds.
    """

    file: Annotated[Path, Positional, _of("FILE")]
    loss: Name = "loss"
    gradient: Name = "gradient"
    params: Name = "params"
    batch: Name = "batch"
    timeout: Seconds = 300.0


Settings = Train | Predict | Export | Contest | Audit
Command = Train | Predict | Export | Compare | Audit
COMMANDS = {kind.__name__.lower(): kind for kind in get_args(Command)}


def _brief(kind: type[Command]) -> Any:
    """Show a command by its first line: its own help has the rest."""
    return subcommand(kind.__name__.lower(), description=(kind.__doc__ or "").partition("\n")[0])


@dataclass(frozen=True)
class Line:
    """Train networks on tables, compare optimizers, audit gradients.

    jaxnet COMMAND --help explains each command. Exit codes: 0, 1 where an audited gradient is not
    right or training diverged, 2 bad input, 130 Ctrl-C.

    Args:
        version: Print the version and end.
    """

    command: OmitSubcommandPrefixes[
        Annotated[Train, _brief(Train)]
        | Annotated[Predict, _brief(Predict)]
        | Annotated[Export, _brief(Export)]
        | Annotated[Compare, _brief(Compare)]
        | Annotated[Audit, _brief(Audit)]
    ]
    version: Annotated[FlagCreatePairsOff[bool], arg(help_behavior_hint="")] = False


def check(settings: Settings) -> None:
    """Refuse settings that are none, and those that no table makes possible on this machine.

    Raises:
        InputError: naming the first.
    """
    records.check(settings)
    if isinstance(settings, Train | Contest):
        sizes.check_network([1, *settings.hidden, 1], "hidden")
    if isinstance(settings, Train):
        sizes.check_steps(settings.epochs or 1)
        sizes.check_history(settings.epochs or 1)
    if isinstance(settings, Contest):
        if settings.learning_rates and settings.tune != "rate":
            raise InputError(
                f"learning_rates: expected none beside tune {settings.tune}, got "
                f"{settings.learning_rates[0]:g}; give one of them"
            )
        if settings.epochs and settings.steps:
            raise InputError(
                f"steps: expected none beside epochs, got {settings.steps[0]}; give steps or epochs"
            )
        if settings.workers and settings.scheduler:
            raise InputError(
                f"workers: expected none beside a scheduler, got {settings.workers}; give one of "
                "them"
            )
        sizes.check_cores("workers", settings.workers or 1)
        for name in ("optimizers", "epochs", "steps", "batch_size"):
            values = getattr(settings, name)
            if len(set(values)) < len(values):
                raise InputError(
                    f"{name}: expected each once, got {' '.join(map(str, values))}; leave out "
                    "what is there twice"
                )
        sizes.check_comparison(
            max(1, len(settings.optimizers)),
            settings.budget or 1,
            settings.tuning_seeds,
            max(settings.replicates, settings.until or 0),
            max((*settings.steps, *settings.epochs), default=1),
        )

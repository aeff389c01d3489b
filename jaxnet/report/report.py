"""Results for people: tables in the terminal and pictures in a file (extra `experiments`).

Shapes: K points of a curve.
"""

import contextlib
import importlib
import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxnet._guards import checks
from jaxnet.errors import InputError

checks.extra("experiments", "matplotlib", "rich")

from rich.console import Console  # noqa: E402
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: E402
from rich.table import Table  # noqa: E402

# Okabe and Ito's colours, which those who see colours differently can tell apart.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
DASHES = ("-", "--", ":", "-.")
# Words and plain SGD; what is beside the point; the crowd; the lines to read figures off; paper.
INK, MUTED, FAINT, GRID, PAPER = "#1f2933", "#66717c", "#c3cad1", "#e6e6e6", "#ffffff"
STYLE: dict[Any, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "font.size": 10,
    "lines.linewidth": 2.0,
    "svg.hashsalt": "jaxnet",
}


# Points of a line between which a reader should not guess.
_FEW = 10


class Curve(NamedTuple):
    """One line of a panel; it breaks at points that are not finite, and shows few as dots.

    Attributes:
        label: for the legend.
        x: shape [K]. y: shape [K].
        mark: the index of a point to stand out; all are shown as dots then.
    """

    label: str
    x: Float[np.ndarray, " K"]
    y: Float[np.ndarray, " K"]
    mark: int | None = None


class Panel(NamedTuple):
    """One set of axes with its curves; `log` names the axes that are logarithmic: "", "x", "xy"."""

    title: str
    x_label: str
    y_label: str
    curves: Sequence[Curve]
    log: str = ""


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table: the first column reads as text, the others as figures."""
    console = terminal()
    grid = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    for index, column in enumerate(columns):
        grid.add_column(column, justify="right" if index else "left", overflow="fold")
    for row in rows:
        grid.add_row(*(encodable(console, cell) for cell in row))
    console.print(grid)


def terminal() -> Console:
    """Give a terminal that prints words as they are: a user's names may look like markup."""
    return Console(markup=False, emoji=False, highlight=False)


def encodable(console: Console, words: str) -> str:
    """Give the words with what the terminal cannot show as "?"."""
    return words.encode(console.encoding, "replace").decode(console.encoding)


def check_picture(path: Path) -> None:
    """Refuse a path that no picture can be saved at, and make the folder it goes to.

    Raises:
        InputError: a folder, a suffix other than .png, .svg or .pdf, or a place not writable.
    """
    if path.suffix not in (".png", ".svg", ".pdf") or path.is_dir():
        raise InputError(f"output: wanted a file ending in .png, .svg or .pdf; got {path}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"output: wanted a place to write to; got {path}: {error}") from error
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise InputError(f"output: wanted a place to write to; got {path}, which is not one")


def loss_curves(
    path: Path,
    title: str,
    losses: Mapping[str, Float[np.ndarray, " T"]],
    y_label: str = "loss before the update",
    log: str = "",
) -> None:
    """Save a picture of losses against epochs, one line each; `log` as in `Panel`."""
    curves = [Curve(name, np.arange(1, len(loss) + 1), loss) for name, loss in losses.items()]
    picture(path, title, [[Panel("", "epoch", y_label, curves, log)]])


def drawing() -> Any:
    """Import Matplotlib, which takes over half a second."""
    importlib.import_module("matplotlib.figure")
    return importlib.import_module("matplotlib")


def picture(path: Path, title: str, panels: Sequence[Sequence[Panel]]) -> None:
    """Save rows of panels as one picture."""
    mpl = drawing()
    with mpl.rc_context(STYLE):
        size = (6.4 * len(panels[0]), 3.8 * len(panels) + 0.4)
        figure = mpl.figure.Figure(figsize=size, layout="constrained")
        figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
        axes = figure.subplots(len(panels), len(panels[0]), squeeze=False)
        for row, drawn in zip(panels, axes, strict=True):
            for panel, ax in zip(row, drawn, strict=True):
                _draw(panel, ax)
        # Without a date, equal results make equal files.
        figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)


def _draw(panel: Panel, ax: Any) -> None:
    looks = zip(itertools.cycle(COLOURS), itertools.cycle(DASHES), strict=False)
    for curve, (colour, dashes) in zip(panel.curves, looks, strict=False):
        shown = np.where(np.isfinite(curve.y), curve.y, np.nan)
        ax.plot(curve.x, shown, dashes, color=colour, label=curve.label)
        if curve.mark is not None or len(curve.x) <= _FEW:
            ax.plot(curve.x, shown, ".", color=colour, markersize=6)
        if curve.mark is not None:
            ax.plot(curve.x[curve.mark], shown[curve.mark], "o", color=colour, markersize=9)
    ax.set(title=panel.title, xlabel=panel.x_label, ylabel=panel.y_label)
    if "x" in panel.log:
        ax.set_xscale("log")
    else:
        # Epochs and devices are whole.
        ax.locator_params("x", integer=True)
    ax.set_yscale("log" if "y" in panel.log else "linear")
    ax.legend(frameon=False)


@contextlib.contextmanager
def progress(unit: str) -> Iterator[Callable[[str, int, int], None]]:
    """Draw a bar of epochs or runs on the terminal, quiet where there is none.

    Gives a function of what is under way, how many are done, and how many there are to be.
    """
    # A picture comes at the end; what draws it is imported while XLA compiles.
    threading.Thread(target=drawing, daemon=True).start()
    console = Console(stderr=True)
    columns = (
        TextColumn(f"{unit} {{task.completed}} of {{task.total}}"),
        BarColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)

        def draw(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        yield draw

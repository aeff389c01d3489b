"""Curves in panels, as one picture in a file (extra `commands`).

Shapes: K points of a curve.
"""

import io
import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxnet.errors import InputError
from jaxnet.report import style
from jaxnet.storage import files

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
    """One set of axes with its curves.

    Attributes:
        title, x_label, y_label: of the axes. curves: in them.
        log: names the axes that are logarithmic: "", "x", "xy".
        line: the label of an upright line, and its place on the x axis.
    """

    title: str
    x_label: str
    y_label: str
    curves: Sequence[Curve]
    log: str = ""
    line: tuple[str, float] | None = None


def check_picture(path: str | Path) -> None:
    """Refuse a path that no picture can be saved at, and make the folder it goes to.

    Raises:
        InputError: a folder, a suffix other than .png, .svg or .pdf, or a place not writable.
    """
    path = Path(path)
    if path.suffix not in (".png", ".svg", ".pdf") or path.is_dir():
        raise InputError(
            f"output: expected a file ending in .png, .svg or .pdf, got {path}; name one"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"output: expected a place to write to, got {path}: {error}; give another"
        ) from error
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise InputError(
            f"output: expected a place to write to, got {path}, which is not one; give another"
        )


def loss_curves(
    path: str | Path,
    title: str,
    losses: Mapping[str, Float[np.ndarray, " T"]],
    y_label: str = "loss before the update",
    log: str = "",
) -> None:
    """Save a picture of losses against epochs, one line each; `log` as in `Panel`."""
    curves = [Curve(name, np.arange(1, len(loss) + 1), loss) for name, loss in losses.items()]
    picture(path, title, [[Panel("", "epoch", y_label, curves, log)]])


def picture(path: str | Path, title: str, panels: Sequence[Sequence[Panel]]) -> None:
    """Save rows of panels as one picture: whole, or not at all."""
    kind, drawn = Path(path).suffix[1:], io.BytesIO()
    with style.drawing(style.STYLE) as mpl:
        size = (6.4 * len(panels[0]), 3.8 * len(panels) + 0.4)
        figure = mpl.figure.Figure(figsize=size, layout="constrained")
        # The name of a file may hold dollars.
        look: Any = {"fontsize": 13, "fontweight": "bold", "parse_math": False}
        figure.suptitle(title, x=0.01, ha="left", **look)
        axes = figure.subplots(len(panels), len(panels[0]), squeeze=False)
        for row, beside in zip(panels, axes, strict=True):
            for panel, ax in zip(row, beside, strict=True):
                _draw(panel, ax)
        # Without a date, equal results make equal files.
        bare = {"Date": None} if kind == "svg" else None
        figure.savefig(drawn, format=kind, dpi=150, metadata=bare)
    files.write(path, drawn.getvalue())


def _draw(panel: Panel, ax: Any) -> None:
    looks = zip(itertools.cycle(style.COLOURS), itertools.cycle(style.DASHES), strict=False)
    for curve, (colour, dashes) in zip(panel.curves, looks, strict=False):
        shown = np.where(np.isfinite(curve.y), curve.y, np.nan)
        ax.plot(curve.x, shown, dashes, color=colour, label=curve.label)
        if curve.mark is not None or len(curve.x) <= _FEW:
            ax.plot(curve.x, shown, ".", color=colour, markersize=6)
        if curve.mark is not None:
            ax.plot(curve.x[curve.mark], shown[curve.mark], "o", color=colour, markersize=9)
    if panel.line:
        label, place = panel.line
        ax.axvline(place, color=style.MUTED, linestyle=":", linewidth=1.2, label=label)
    ax.set(title=panel.title, xlabel=panel.x_label, ylabel=panel.y_label)
    if "x" in panel.log:
        ax.set_xscale("log")
    else:
        # Epochs and devices are whole.
        ax.locator_params("x", integer=True)
    ax.set_yscale("log" if "y" in panel.log else "linear")
    if ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False)

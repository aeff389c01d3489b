"""Colours and lines of the pictures and the page, by what they are for (extra `commands`)."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from jaxnet._guards import checks


class Paint(NamedTuple):
    """One colour on light paper, and what stands for it in the dark."""

    light: str
    dark: str


# Words and plain SGD; what is beside the point; the crowd; the lines to read figures off; paper;
# and Okabe and Ito's colours, which those who see colours differently can tell apart.
PAINTS = {
    "ink": Paint("#1f2933", "#e4e8eb"),
    "muted": Paint("#5a6570", "#a3adb6"),
    "faint": Paint("#c3cad1", "#4c5660"),
    "grid": Paint("#e6e6e6", "#2a3138"),
    "paper": Paint("#ffffff", "#14181c"),
    "colour-0": Paint("#0072b2", "#4fa3e0"),
    "colour-1": Paint("#d55e00", "#f07d2e"),
    "colour-2": Paint("#009e73", "#2fc39a"),
    "colour-3": Paint("#cc79a7", "#de97be"),
    "colour-4": Paint("#e69f00", "#f0b43c"),
    "colour-5": Paint("#56b4e9", "#8fd0f5"),
}
INK, MUTED, FAINT, GRID, PAPER, *COLOURS = (paint.light for paint in PAINTS.values())
DASHES = ("-", "--", ":", "-.")


class Mark(NamedTuple):
    """What stands for a verdict: a sign among words; in a picture a marker, its colour and face."""

    sign: str
    marker: str
    colour: str
    face: str


# So that no verdict hangs on its colour; below is better.
MARKS = {
    "better": Mark("▼", "v", COLOURS[0], COLOURS[0]),
    "fails less often": Mark("▽", "v", COLOURS[0], PAPER),
    "as good": Mark("◆", "D", COLOURS[2], COLOURS[2]),
    "not told apart": Mark("○", "o", MUTED, PAPER),
    "worse": Mark("▲", "^", COLOURS[1], COLOURS[1]),
    "fails more often": Mark("△", "^", COLOURS[1], PAPER),
    "cannot run": Mark("-", "_", MUTED, MUTED),
    "baseline": Mark("·", "o", INK, INK),
}
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


def matplotlib() -> Any:
    """Import Matplotlib, which takes over half a second.

    Raises:
        ImportError: it is missing, with the extra that brings it.
    """
    checks.extra("commands", "matplotlib")
    import matplotlib.figure
    import matplotlib.style

    return matplotlib


@contextlib.contextmanager
def drawing(style: Mapping[str, Any]) -> Iterator[Any]:
    """Draw in a style whatever the user's own settings of Matplotlib are; gives Matplotlib."""
    mpl = matplotlib()
    with mpl.style.context(dict(style), after_reset=True):
        yield mpl

"""What an audit gives, laid out to be read: in a terminal, and in a notebook, with pictures."""

import math
import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxnet._guards import notebook
from jaxnet._guards.notebook import Markup, escaped
from jaxnet.audit.rows import Correction, Row

_WIDTH = 80
# Of the names of parameters.
_NAME = 22
# Of a picture, in pixels; and the most points in it.
_SIDE, _POINTS = 84, 120
# Close to Okabe and Ito's blue and vermilion, to be read on light paper and dark.
_COLOURS = {"right": "#2b8cc4", "wrong": "#d9661f", "undecided": "#888888"}


class Audit(NamedTuple):
    """The audit of a claimed gradient, one row per parameter; printed, it is a table.

    Attributes:
        rows: one per parameter, in the order of the pytree.
        examples: N.
        dtype: of the claimed gradient.
        summary: in words, with the layer where the error signal of a network first goes wrong.
        corrections: the lines of a claim given as a function with which, when they are changed,
            gradients are right, in the order of their lines.
    """

    rows: tuple[Row, ...]
    examples: int
    dtype: str
    summary: str
    corrections: tuple[Correction, ...] = ()

    @property
    def right(self) -> bool:
        """Whether every parameter's gradient is right."""
        return all(row.verdict == "right" for row in self.rows)

    @property
    def figures(self) -> str:
        """All figures of the rows, as a table of text."""
        return figures(self.rows)

    def __str__(self) -> str:
        """Lay the rows out as text, with the cause and the formulas under each wrong one."""
        return text(self.rows, self.summary, self.corrections)

    def _repr_html_(self) -> str:
        return html(self.rows, self.summary, self.corrections)


def text(rows: Sequence[Row], summary: str, corrections: Sequence[Correction]) -> str:
    """Lay rows out in 80 columns: the verdict, and under it the cause and the formulas."""
    cells = [("parameter", "shape", "verdict", "relative error")]
    cells += [(_short(row.name), _shape(row), row.verdict, _error(row)) for row in rows]
    head, *lines = _aligned(cells)
    shown = [head]
    for row, line in zip(rows, lines, strict=True):
        shown += [line, *_wrapped(row.diagnosis, "    ")]
        if row.wrong_formula:
            shown += _wrapped(f"is         {row.wrong_formula}", "    ", hanging=11)
            shown += _wrapped(f"should be  {row.right_formula}", "    ", hanging=11)
    shown += ["", *_wrapped(summary)]
    if corrections:
        shown += ["", *_wrapped(f"{_promise(rows, corrections)}:")]
    for each in corrections:
        shown.append(f"  line {each.line}, in {each.function}")
        shown += _wrapped(f"is         {each.before}", "    ", hanging=11)
        shown += _wrapped(f"should be  {each.after}", "    ", hanging=11)
    return "\n".join(shown)


def _promise(rows: Sequence[Row], corrections: Sequence[Correction]) -> str:
    """Say what is right with the corrections."""
    mended = {index for each in corrections for index in each.leaves}
    left = any(row.verdict != "right" for i, row in enumerate(rows) if i not in mended)
    names = ", ".join(_short(rows[index].name) for index in sorted(mended))
    lines = f"these {len(corrections)} changes" if len(corrections) > 1 else "this change"
    return f"With {lines} {f'the gradient of {names}' if left else 'every gradient'} is right"


def figures(rows: Sequence[Row]) -> str:
    """Lay all figures of rows out as a table in 80 columns, and say what they are."""
    heads = ("parameter", "claimed", "true", "error", "rounding", "cosine", "differences")
    cells: list[tuple[str, ...]] = [heads]
    for row in rows:
        numbers = (row.claimed_norm, row.true_norm, row.relative_error, row.resolution)
        cosine, apart = f"{row.cosine:.3f}", f"{row.finite_differences:.1e}"
        cells.append((_short(row.name), *(f"{number:.1e}" for number in numbers), cosine, apart))
    return "\n".join([*_aligned(cells), "", *_wrapped(_FIGURES)])


_FIGURES = (
    "claimed, true: the norms of the two gradients. error: the norm of their difference, relative "
    "to the larger. rounding: the smallest such error that rounding would not hide. cosine: of the "
    "angle between the two. differences: how far autodiff is from finite differences, relative to "
    "the whole gradient."
)


def html(rows: Sequence[Row], summary: str, corrections: Sequence[Correction]) -> str:
    """Lay rows out for a notebook, with the claimed gradient drawn against the true one."""
    heads = ("parameter", "claimed (up) against true", "verdict", "what is, and what should be")
    shown = notebook.table(heads, map(_html_cells, rows), summary)
    if not corrections:
        return shown
    lines = ("line", "what it says", "what it should say")
    cells = (
        (f"{each.line}, in {each.function}", *map(_code, (each.before, each.after)))
        for each in corrections
    )
    return shown + notebook.table(lines, cells, f"{_promise(rows, corrections)}.")


def _code(text: str) -> Markup:
    return Markup(f"<code>{escaped(text)}</code>")


def _html_cells(row: Row) -> tuple[str, ...]:
    name, said = escaped(_short(row.name)), [escaped(row.diagnosis)] if row.diagnosis else []
    if row.wrong_formula:
        for words, formula in (("is", row.wrong_formula), ("should be", row.right_formula)):
            said.append(f"{words} <code>{escaped(formula)}</code>")
    verdict = f'<b style="color:{_COLOURS[row.verdict]}">{row.verdict}</b>'
    return (
        Markup(f"<code>{name}</code><br><small>{_shape(row)}</small>"),
        Markup(_picture(row)),
        Markup(f"{verdict}<br><small>relative error {_error(row)}</small>"),
        Markup("<br>".join(said)),
    )


def _picture(row: Row) -> str:
    """Draw the entries as points, true to the right and claimed up: right ones are on the line."""
    if row.claimed.shape != row.true.shape or not np.isfinite(row.claimed).all():
        return ""
    every = max(1, row.true.size // _POINTS)
    true, claimed = row.true.ravel()[::every], row.claimed.ravel()[::every]
    most = max(np.abs(true).max(initial=0), np.abs(claimed).max(initial=0)) or 1.0
    half = _SIDE / 2

    def at(numbers: np.ndarray) -> np.ndarray:
        return half + numbers / most * (half - 5)

    points = "".join(
        f'<circle cx="{x:.1f}" cy="{_SIDE - y:.1f}" r="2.2"/>'
        for x, y in zip(at(true), at(claimed), strict=True)
    )
    label = escaped(f"{row.name}: claimed (up) against true")
    return (
        f'<svg width="{_SIDE}" height="{_SIDE}" role="img" aria-label="{label}">'
        f'<g stroke="currentColor" fill="none"><rect x=".5" y=".5" width="{_SIDE - 1}" '
        f'height="{_SIDE - 1}" opacity=".25"/>'
        f'<path d="M2 {_SIDE - 2}L{_SIDE - 2} 2" opacity=".5"/></g>'
        f'<g fill="{_COLOURS[row.verdict]}" fill-opacity=".7">{points}</g></svg>'
    )


def _shape(row: Row) -> str:
    return " x ".join(map(str, row.shape)) or "number"


def _error(row: Row) -> str:
    error = row.relative_error
    if math.isnan(error):
        return "other shape" if row.claimed.shape != row.true.shape else "not finite"
    if row.verdict == "right" and error > 0.1:
        return "both zero"
    if not error:
        return "0"
    return f"{100 * error:.3g}%" if error >= 1e-4 else f"{error:.0e}"


def _short(name: str) -> str:
    return name if len(name) <= _NAME else f"...{name[3 - _NAME :]}"


def _aligned(cells: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def _wrapped(words: str, indent: str = "", hanging: int = 0) -> list[str]:
    after = indent + " " * hanging
    return textwrap.wrap(words, _WIDTH, initial_indent=indent, subsequent_indent=after)

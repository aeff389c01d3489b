"""An audit laid out to be read: in a terminal, and in a notebook, with pictures."""

import html as escaping
import math
import textwrap
from collections.abc import Sequence

import numpy as np

from jaxnet.audit.rows import Row

_WIDTH = 88
# Of the names of parameters.
_NAME = 30
# Of a picture, in pixels; and the most points in it.
_SIDE, _POINTS = 84, 120
# Okabe and Ito's blue and vermilion, which read on light paper and dark.
_COLOURS = {"right": "#0072b2", "wrong": "#d55e00", "undecided": "#888888"}
_STYLE = (
    ".jaxnet-audit td,.jaxnet-audit th{text-align:left;padding:4px 12px 4px 0}"
    ".jaxnet-audit code{white-space:pre-wrap;background:none;color:inherit}"
)


def text(rows: Sequence[Row], summary: str) -> str:
    """Lay rows out in 88 columns: the verdict, and under it the cause and the formulas."""
    cells = [("parameter", "shape", "verdict", "relative error")]
    cells += [(_short(row.name), _shape(row), row.verdict, _error(row)) for row in rows]
    head, *lines = _aligned(cells)
    shown = [head]
    for row, line in zip(rows, lines, strict=True):
        shown += [line, *_wrapped(row.diagnosis, "    ")]
        if row.wrong_formula:
            shown += _wrapped(f"is         {row.wrong_formula}", "    ", hanging=11)
            shown += _wrapped(f"should be  {row.right_formula}", "    ", hanging=11)
    return "\n".join([*shown, "", *_wrapped(summary)])


def figures(rows: Sequence[Row]) -> str:
    """Lay all figures of rows out as a table."""
    heads = (
        *("parameter", "norm claimed", "norm true", "relative error", "seen above rounding from"),
        *("cosine of the angle", "autodiff off finite differences"),
    )
    cells: list[tuple[str, ...]] = [heads]
    for row in rows:
        numbers = (row.claimed_norm, row.true_norm, row.relative_error, row.resolution)
        cosine, apart = f"{row.cosine:.3f}", f"{row.finite_differences:.1e}"
        cells.append((row.name, *(f"{number:.1e}" for number in numbers), cosine, apart))
    return "\n".join(_aligned(cells))


def html(rows: Sequence[Row], summary: str) -> str:
    """Lay rows out for a notebook, with the claimed gradient drawn against the true one."""
    heads = ("parameter", "claimed against true", "verdict", "what was done, and what should be")
    head = "".join(f"<th>{each}</th>" for each in heads)
    body = "".join(_html_row(row) for row in rows)
    return (
        f'<div class="jaxnet-audit"><style>{_STYLE}</style>'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        f"<p>{escaping.escape(summary)}</p></div>"
    )


def _html_row(row: Row) -> str:
    said = [escaping.escape(row.diagnosis)]
    if row.wrong_formula:
        for words, formula in (("is", row.wrong_formula), ("should be", row.right_formula)):
            said.append(f"{words} <code>{escaping.escape(formula)}</code>")
    name, error = escaping.escape(row.name), f"<br><small>relative error {_error(row)}</small>"
    verdict = f'<b style="color:{_COLOURS[row.verdict]}">{row.verdict}</b>{error}'
    cells = (f"<code>{name}</code><br><small>{_shape(row)}</small>", _picture(row), verdict)
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in (*cells, "<br>".join(said))) + "</tr>"


def _picture(row: Row) -> str:
    """Draw the entries as points, the true ones to the right, the claimed up; right on the line."""
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
    label = escaping.escape(f"{row.name}: claimed (up) against true (right)")
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

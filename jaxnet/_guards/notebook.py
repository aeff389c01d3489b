"""Results as notebooks show them, in the colours of their page, and as a terminal does.

Shapes: E epochs.
"""

import html
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

# Of a picture, in pixels; and the most points in it.
_WIDE, _HIGH, _POINTS = 160, 40, 200
_STYLE = (
    ".jaxnet td,.jaxnet th{text-align:left;vertical-align:middle;padding:4px 12px 4px 0}"
    ".jaxnet code{white-space:pre-wrap;background:none;color:inherit}"
)


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def escaped(text: str) -> str:
    """Give a text as HTML."""
    return text if isinstance(text, Markup) else html.escape(text)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], note: str) -> str:
    """Lay out a table of texts, with a note under it."""
    lines = [f"<tr>{_cells('th', heads)}</tr>", *(f"<tr>{_cells('td', row)}</tr>" for row in rows)]
    body = "".join(lines)
    return (
        f'<div class="jaxnet"><style>{_STYLE}</style><table>{body}</table>'
        f"<p>{escaped(note)}</p></div>"
    )


def words(run: Any) -> str:
    """Say in a few lines what a `jaxnet.Fit` holds: how it ended, the first and last numbers."""
    values = {name: np.asarray(each) for name, each in run.history.items()}
    epochs = max((len(each) for each in values.values() if each.ndim), default=0)
    lines = [f"Fit: {run.outcome}, {epochs} epochs. {run.message}".rstrip()]
    for name, each in values.items():
        one = each.ndim == 1 and epochs
        said = f"{each[0]:.4g} to {each[-1]:.4g}" if one else f"of shape {list(each.shape)}"
        lines.append(f"  {name}: {said}")
    return "\n".join(lines)


def curves(run: Any) -> str:
    """Lay out the numbers of a `jaxnet.Fit`: the first, the last, and all of them drawn."""
    note = f"{run.outcome}. {run.message}"
    done = {name: each for name, each in run.history.items() if len(each) and each.ndim == 1}
    rows = [(name, f"{e[0]:.4g}", f"{e[-1]:.4g}", Markup(_curve(e))) for name, e in done.items()]
    return table(("", "first epoch", f"epoch {len(next(iter(done.values()), ()))}", ""), rows, note)


def _curve(values: Float[np.ndarray, " E"]) -> str:
    """Draw values from left to right, the least at the bottom."""
    shown = values[:: max(1, len(values) // _POINTS)].astype(float)
    shown = shown[np.isfinite(shown)]
    if not len(shown):
        return ""
    x = np.linspace(2, _WIDE - 2, len(shown))
    y = 2 + (_HIGH - 4) * (shown.max() - shown) / (np.ptp(shown) or 1)
    points = " ".join(f"{across:.1f},{down:.1f}" for across, down in zip(x, y, strict=True))
    return (
        f'<svg width="{_WIDE}" height="{_HIGH}" role="img" aria-label="over the epochs">'
        f'<polyline points="{points}" fill="none" stroke="#2b8cc4" stroke-width="2"/></svg>'
    )


def _cells(tag: str, texts: Iterable[str]) -> str:
    return "".join(f"<{tag}>{escaped(text)}</{tag}>" for text in texts)

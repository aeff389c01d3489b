"""Tables as notebooks show them, in the colours of their page."""

import html
from collections.abc import Iterable, Sequence

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


def _cells(tag: str, texts: Iterable[str]) -> str:
    return "".join(f"<{tag}>{escaped(text)}</{tag}>" for text in texts)

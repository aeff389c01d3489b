"""HTML pages of results: they need no network, and read on a telephone and in print."""

import dataclasses
import html
import importlib.resources
import itertools
import math
import re
import string
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxnet.compare import Comparison, verdicts
from jaxnet.compare.league import Along, League
from jaxnet.report import caveats, columns, league, pictures, style
from jaxnet.storage import files

# How a column of verdicts, or of what hangs on them, is marked.
_WORD = ' class="word"'
# The page repaints the pictures in the dark: how its style names each of their colours.
_ROLES = {paint.light: role for role, paint in style.PAINTS.items()}


def write_page(comparison: Comparison, path: str | Path) -> None:
    """Write a comparison as one page: whole, or not at all.

    Raises:
        OSError: a place that cannot be written to.
    """
    log, every = comparison.log, columns.columns(comparison)
    words = {each.optimizer: each.verdict for each in comparison.answers}
    settings, titles = columns.settings(comparison), _titles(comparison.protocol.baseline)
    sentences = (_term(each.optimizer, html.escape(each.sentence)) for each in comparison.answers)
    provenance = _fields(log.provenance, {"verified": html.escape(log.verified)})
    page = _Page(
        title=log.title,
        headline=columns.headline(comparison),
        groups=_groups(titles, words),
        sections=[
            _section("verdicts", "The verdicts", _verdicts(words, every)),
            *_pairs(comparison),
            _section("settings", "The settings", _noted("settings", settings)),
            _section(
                "details",
                "What it cost, and what was searched",
                _noted("details", columns.details(comparison)),
            ),
            _figures(pictures.plots(comparison)),
            _section(
                "words",
                "One by one, in words",
                f'<dl class="facts words">\n{_lines(sentences)}\n</dl>',
            ),
            _caveats(caveats.of(comparison)),
            _section(
                "protocol",
                "The protocol",
                "<p>All of this was decided before the first run.</p>",
                _protocol(comparison),
            ),
            _section(
                "provenance",
                "Where it ran, and how to repeat it",
                provenance,
                _command(log.command),
            ),
        ],
    )
    _write(page, path)


def write_league_page(each: League, path: str | Path, title: str, command: str = "") -> None:
    """Write what many tasks say as one page: whole, or not at all.

    Args:
        each: the league. path: of the page. title: of the page. command: what made the league.

    Raises:
        OSError: a place that cannot be written to.
    """
    overall = {each.optimizers[index]: each.overall[index] for index in league.order(each)}
    page = _Page(
        title=title,
        headline=league.headline(each),
        groups=_groups(_titles(each.baseline), overall),
        sections=[
            _section("verdicts", "The league", _verdicts(overall, league.columns(each))),
            _figures(league.plots(each)),
            _caveats(league.caveats(each)),
            _command(command),
        ],
    )
    _write(page, path)


def write_along_page(
    every: Sequence[Along], path: str | Path, title: str, command: str = ""
) -> None:
    """Write whether verdicts hold as one page: whole, or not at all.

    Args:
        every: from `jaxnet.compare.along`. path: of the page. title: of the page.
        command: what made the comparisons.

    Raises:
        OSError: a place that cannot be written to.
    """
    names, shown = [each.optimizer for each in every], league.columns_along(every)
    sentences = (_term(each.optimizer, html.escape(each.sentence)) for each in every)
    page = _Page(
        title=title,
        headline=league.headline_along(every),
        groups="",
        sections=[
            _section(
                "verdicts",
                "The verdicts, by value",
                _verdicts(dict.fromkeys(names, ""), shown),
            ),
            _section(
                "words",
                "One by one, in words",
                f'<dl class="facts words">\n{_lines(sentences)}\n</dl>',
            ),
            _command(command),
        ],
    )
    _write(page, path)


class _Page(NamedTuple):
    """What a page says: its title and headline as words, all else as HTML."""

    title: str
    headline: str
    groups: str
    sections: list[str]


def _write(page: _Page, path: str | Path) -> None:
    filled = _filled(
        "page.html",
        title=html.escape(page.title),
        headline=html.escape(page.headline),
        groups=page.groups,
        main=_lines(page.sections),
        style=_filled("page.css", light=_paints(light=True), dark=_paints(light=False)),
        script=_text("page.js"),
    )
    files.write(path, filled.encode())


def _filled(template: str, **parts: str) -> str:
    return string.Template(_text(template)).substitute(parts)


def _text(name: str) -> str:
    return importlib.resources.files("jaxnet.report").joinpath(name).read_text("utf-8")


def _section(name: str, title: str, *parts: str) -> str:
    """A heading and what stands below it."""
    head = f'<section aria-labelledby="{name}">\n<h2 id="{name}">{title}</h2>'
    return _lines((head, *parts, "</section>"))


def _figures(plots: Iterable[pictures.Plot]) -> str:
    drawn = f'<div class="figures">\n{_lines(map(_figure, plots))}\n</div>'
    return _section("pictures", "The pictures", drawn)


def _caveats(every: Iterable[str]) -> str:
    items = _lines(f"<li>{html.escape(words)}</li>" for words in every)
    return _section("caveats", "What this does not say", f"<ul>\n{items}\n</ul>")


def _titles(baseline: str) -> dict[str, str]:
    """What each verdict says of those that have it."""
    baseline = verdicts.in_words(baseline)
    return {
        "better": f"Better than {baseline}",
        "fails less often": "Fails less often",
        "as good": f"As good as {baseline}",
        "not told apart": f"Not told apart from {baseline}",
        "worse": f"Worse than {baseline}",
        "fails more often": "Fails more often",
        "cannot run": "Cannot run",
    }


def _verdicts(words: Mapping[str, str], every: list[columns.Column]) -> str:
    """A table with a row for each optimizer, of a verdict, and what its columns are."""
    rows = _lines(
        _row(name, [column.cells[index] for column in every], verdict)
        for index, (name, verdict) in enumerate(words.items())
    )
    table = _filled("table.html", name="verdicts", head=_head(every), rows=rows)
    return table + _notes(every)


def _noted(name: str, rows: columns.Rows) -> str:
    """The table of a section, and what its columns are."""
    return _table(name, rows) + _notes(rows.columns)


def _pairs(comparison: Comparison) -> list[str]:
    """Each against each, where all pairs were asked for."""
    if comparison.protocol.judging.pairs != "all":
        return []
    matrix = columns.matrix(comparison)
    told = dict.fromkeys(cell.word for column in matrix.columns for cell in column.cells)
    signs = ", ".join(f"{style.MARKS[word].sign} {word}" for word in told if word)
    ratio = any(pair.scale == "ratio" for pair in comparison.pairs)
    how = f"how many times the column's {comparison.judged_by} the row's is"
    how = how if ratio else f"the row's {comparison.judged_by} less the column's"
    note = html.escape(f"The row against the column: {signs}. Beside it {how}.")
    caption = f'<p class="caption">{note}</p>'
    return [_section("pairs", "Each against each", caption, _table("pairs", matrix))]


def _table(name: str, rows: columns.Rows) -> str:
    """The table of a section, by whose name its class goes too."""
    body = _lines(
        _row(own, [column.cells[index] for column in rows.columns])
        for index, own in enumerate(rows.names)
    )
    return _filled("table.html", name=name, head=_head(rows.columns), rows=body)


def _notes(every: Iterable[columns.Column]) -> str:
    notes = _lines(
        f"<div>{_term(column.name, html.escape(column.note))}</div>"
        for column in every
        if column.note
    )
    return f'<dl class="notes">\n{notes}\n</dl>'


def _command(command: str) -> str:
    return f"<pre><code>{html.escape(command)}</code></pre>" if command else ""


def _protocol(comparison: Comparison) -> str:
    """The protocol, with each search in a line, and a target that nobody gave told."""
    protocol, judging = comparison.protocol, comparison.protocol.judging
    reached = {"target": f"what the baseline reaches: {comparison.target:.4g}"}
    # Their axes stand in the table of settings.
    searches = {
        name: html.escape(f"{search.trials} trials{f': {search.note}' * bool(search.note)}")
        for name, search in protocol.optimizers.items()
    }
    judged = _fields(judging, reached if judging.target is None else {})
    return _fields(protocol, {"optimizers": _terms(searches), "judging": judged})


def _paints(light: bool) -> str:
    """The colours of the pictures by their roles."""
    paints = style.PAINTS.items()
    return " ".join(f"--{role}: {p.light if light else p.dark};" for role, p in paints)


def _lines(parts: Iterable[str]) -> str:
    return "\n".join(parts)


def _term(name: str, meaning: str) -> str:
    return f"<dt>{html.escape(name)}</dt><dd>{meaning}</dd>"


def _groups(titles: Mapping[str, str], words: Mapping[str, str]) -> str:
    """Who got each verdict that anybody got."""
    groups = []
    for verdict, title in titles.items():
        names = [name for name, own in words.items() if own == verdict]
        if names:
            term = _term(
                f"{style.MARKS[verdict].sign} {title}: {len(names)}", html.escape(", ".join(names))
            )
            groups.append(f'<div class="{verdict}">{term}</div>')
    return _lines(groups)


def _head(shown: list[columns.Column]) -> str:
    return '<th scope="col">optimizer</th>' + "".join(
        f'<th scope="col"{_WORD * any(cell.word for cell in column.cells)}'
        f' title="{html.escape(column.note)}">{html.escape(column.name)}</th>'
        for column in shown
    )


def _row(name: str, cells: list[columns.Cell], verdict: str = "") -> str:
    name, marked = html.escape(name), f' class="{verdict}"' if verdict else ""
    return (
        f'<tr{marked}><th scope="row" data-value="{name}">{name}</th>'
        f"{''.join(map(_cell, cells))}</tr>"
    )


def _cell(cell: columns.Cell) -> str:
    value = f' data-value="{cell.value}"' if math.isfinite(cell.value) else ""
    # A minus sign is as wide as a digit.
    text, detail = (
        html.escape(words).replace("-", "\N{MINUS SIGN}") for words in (cell.text, cell.detail)
    )
    small = f"<small>{detail}</small>" if detail else ""
    if not cell.word:
        return f"<td{value}>{text}{small}</td>"
    word = f'{_WORD} title="{cell.word}" data-word="{cell.word}"'
    return f"<td{word}{value}>{style.MARKS[cell.word].sign} {text}{small}</td>"


def _figure(plot: pictures.Plot) -> str:
    return (
        f"<figure><h3>{html.escape(plot.title)}</h3>\n{_inline(plot)}\n"
        f'<figcaption class="caption">{html.escape(plot.caption)}</figcaption></figure>'
    )


def _inline(plot: pictures.Plot) -> str:
    """The picture as part of the page: ids of its own, the page's font and colours, no size."""
    drawn = pictures.svg(plot)
    drawn = re.sub(r' (?:width|height)="[^"]*"', "", drawn[drawn.index("<svg") :], count=2)
    drawn = re.sub(r"<[^<>]*>", lambda tag: _repainted(tag[0], plot.name), drawn)
    return drawn.replace("<svg", f'<svg role="img" aria-label="{html.escape(plot.title)}"', 1)


def _repainted(tag: str, name: str) -> str:
    tag = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", tag)
    tag = re.sub(r"#[0-9a-f]{6}\b", _by_role, tag)
    tag = re.sub(r" font-family: [^;]*;", "", tag)
    # Hundredths of a point are finer than any screen, and a third of the size.
    return re.sub(r"(\.\d\d)\d+", r"\1", tag)


def _by_role(colour: re.Match[str]) -> str:
    """A colour that has no role is the same in the dark."""
    role = _ROLES.get(colour[0])
    return f"var(--{role})" if role else colour[0]


def _fields(record: object, told: Mapping[str, str]) -> str:
    """The fields of a dataclass as terms; some, or more, are told in HTML."""
    every = {name: _value(value) for name, value in vars(record).items()} | dict(told)
    return _terms({name.replace("_", " "): value for name, value in every.items()})


def _terms(terms: Mapping[str, str]) -> str:
    return f'<dl class="facts">\n{_lines(itertools.starmap(_term, terms.items()))}\n</dl>'


def _value(value: object) -> str:
    """A value as HTML: one with fields or entries becomes a list of terms."""
    if dataclasses.is_dataclass(value):
        return _fields(value, {})
    if isinstance(value, Mapping):
        return _terms({str(name): _value(each) for name, each in value.items()})
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return html.escape(f"{value:.6g}" if isinstance(value, float) else str(value))

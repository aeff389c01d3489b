"""HTML pages of results: they need no network, and read on a telephone and in print."""

import dataclasses
import html
import importlib.resources
import math
import re
import string
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jaxnet.compare import Comparison, statistics, verdicts
from jaxnet.compare.league import League
from jaxnet.report import columns, league, pictures, style
from jaxnet.storage import files

# So that the verdict does not hang on its colour.
_SIGNS = {
    "better": "▼",
    "fails less often": "▽",
    "as good": "◆",
    "not told apart": "○",
    "worse": "▲",
    "fails more often": "△",
    "cannot run": "-",
    "baseline": "·",
}
# How a column of verdicts, or of what hangs on them, is marked.
_WORD = ' class="word"'
# The page repaints the pictures in the dark: how its style names each of their colours.
_ROLES = {paint.light: role for role, paint in style.PAINTS.items()}


def write_page(comparison: Comparison, path: Path) -> None:
    """Write a comparison as one page: whole, or not at all.

    Raises:
        OSError: a place that cannot be written to.
    """
    _write("page.html", _parts(comparison), path)


def write_league_page(each: League, path: Path, title: str, command: str = "") -> None:
    """Write what many tasks say as one page: whole, or not at all.

    Args:
        each: the league. path: of the page. title: of the page. command: what made the league.

    Raises:
        OSError: a place that cannot be written to.
    """
    _write("league.html", _league_parts(each, title, command), path)


def _write(template: str, parts: Mapping[str, str], path: Path) -> None:
    """Fill a template with its parts, and with the looks and the script that all pages share."""
    looks = _template("page.css").substitute(light=_paints(light=True), dark=_paints(light=False))
    script = _template("page.js").template
    page = _template(template).substitute(parts, style=looks, script=script)
    files.write(Path(path), page.encode())


def _template(name: str) -> string.Template:
    text = importlib.resources.files("jaxnet.report").joinpath(name).read_text("utf-8")
    return string.Template(text)


def _parts(comparison: Comparison) -> dict[str, str]:
    """What fills the template, every word of it escaped."""
    log = comparison.log
    every = columns.columns(comparison)
    words = {each.optimizer: each.verdict for each in comparison.answers}
    return {
        "title": html.escape(log.title),
        "headline": html.escape(columns.headline(comparison)),
        "groups": _groups(_titles(comparison.protocol.baseline), words),
        **_table(words, every),
        "pairs": _pairs(comparison),
        **_settings(columns.settings(comparison)),
        "figures": _lines(map(_figure, pictures.plots(comparison))),
        "sentences": _lines(
            _term(answer.optimizer, html.escape(answer.sentence)) for answer in comparison.answers
        ),
        "caveats": _items(caveats(comparison)),
        "protocol": _value(_protocol(comparison)),
        "provenance": _value(dataclasses.asdict(log.provenance) | {"verified": log.verified}),
        "command": _command(log.command),
    }


def _league_parts(each: League, title: str, command: str) -> dict[str, str]:
    shown = league.order(each)
    overall = {each.optimizers[index]: each.overall[index] for index in shown}
    return {
        "title": html.escape(title),
        "headline": html.escape(league.headline(each)),
        "groups": _groups(_titles(each.baseline), overall),
        **_table(overall, league.columns(each)),
        "figures": _lines(map(_figure, league.plots(each))),
        "caveats": _items(league.caveats(each)),
        "command": _command(command),
    }


def _titles(baseline: str) -> dict[str, str]:
    """What each verdict says of those that have it."""
    baseline = "plain SGD" if baseline == "sgd" else baseline
    return {
        "better": f"Better than {baseline}",
        "fails less often": "Fails less often",
        "as good": "As good as it",
        "not told apart": "Not told apart from it",
        "worse": f"Worse than {baseline}",
        "fails more often": "Fails more often",
        "cannot run": "Cannot run",
    }


def _table(words: Mapping[str, str], every: list[columns.Column]) -> dict[str, str]:
    """The parts of a table with a row for each optimizer, of a verdict."""
    return {
        "head": _head(every),
        "rows": _lines(
            _row(name, [column.cells[index] for column in every], verdict)
            for index, (name, verdict) in enumerate(words.items())
        ),
        "notes": _notes(every),
    }


def _settings(settings: columns.Rows) -> dict[str, str]:
    """The parts of a table with a row for each hyperparameter of each optimizer."""
    return {
        "settings_head": _head(settings.columns),
        "settings": _body(settings),
        "settings_notes": _notes(settings.columns),
    }


def _pairs(comparison: Comparison) -> str:
    """Each against each, where all pairs were asked for."""
    if comparison.protocol.judging.pairs != "all":
        return ""
    matrix = columns.matrix(comparison)
    told = dict.fromkeys(cell.word for column in matrix.columns for cell in column.cells)
    signs = ", ".join(f"{_SIGNS[word]} {word}" for word in told if word)
    ratio = any(pair.scale == "ratio" for pair in comparison.pairs)
    how = f"how many times the column's {comparison.judged_by} the row's is"
    how = how if ratio else f"the row's {comparison.judged_by} less the column's"
    return _template("pairs.html").substitute(
        note=html.escape(f"The row against the column: {signs}. Beside it {how}."),
        head=_head(matrix.columns),
        rows=_body(matrix),
    )


def _body(rows: columns.Rows) -> str:
    return _lines(
        _row(name, [column.cells[index] for column in rows.columns])
        for index, name in enumerate(rows.names)
    )


def _notes(every: Iterable[columns.Column]) -> str:
    return _lines(
        f"<div>{_term(column.name, html.escape(column.note))}</div>"
        for column in every
        if column.note
    )


def _items(every: Iterable[str]) -> str:
    return _lines(f"<li>{html.escape(words)}</li>" for words in every)


def _command(command: str) -> str:
    return f"<pre><code>{html.escape(command)}</code></pre>" if command else ""


def _protocol(comparison: Comparison) -> dict[str, Any]:
    """The protocol as it is shown: a target that nobody gave is told."""
    shown = dataclasses.asdict(comparison.protocol)
    # Their axes stand in the table of settings.
    shown["optimizers"] = {
        name: f"{search.trials} trials{f': {search.note}' * bool(search.note)}"
        for name, search in comparison.protocol.optimizers.items()
    }
    if comparison.protocol.judging.target is None:
        words = f"what the baseline reaches: {comparison.target:.4g}"
        shown["judging"]["target"] = words
    return shown


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
            term = _term(f"{_SIGNS[verdict]} {title}: {len(names)}", html.escape(", ".join(names)))
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
    return f"<td{word}{value}>{_SIGNS[cell.word]} {text}{small}</td>"


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


def _value(value: Any) -> str:
    """Any JSON as HTML: objects become lists of terms."""
    if isinstance(value, Mapping):
        # What has terms of its own is an optimizer, by its name.
        terms = (
            _term(name if isinstance(each, Mapping) else name.replace("_", " "), _value(each))
            for name, each in value.items()
        )
        return f'<dl class="facts">\n{_lines(terms)}\n</dl>'
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return html.escape(f"{value:.6g}" if isinstance(value, float) else str(value))


def caveats(comparison: Comparison) -> list[str]:
    """Give what a reader of a comparison should not conclude from it."""
    return [*_of_the_protocol(comparison), *_of_the_runs(comparison)]


def _holding(every: dict[str, Any]) -> list[str]:
    return [words for words, holds in every.items() if holds]


def _of_the_protocol(comparison: Comparison) -> list[str]:
    protocol, replicates = comparison.protocol, comparison.protocol.replicates
    judged = protocol.judging.data
    rows = f"the {protocol.rows[judged]} rows judged on are" if protocol.rows else "the task is"
    searched = {name for each in protocol.optimizers.values() for name in each.axes}
    fewest = statistics.fewest(verdicts.alpha(protocol)) if comparison.pairs else 1
    return _holding(
        {
            "It is about this task, this budget of steps and this protocol: another task may rank "
            "the optimizers otherwise.": True,
            "Only the learning rate was tuned; an optimizer with other settings may do better.": (
                searched == {"learning_rate"}
            ),
            "The losses are of the data trained on, taken before each update at the parameters "
            "trained, and say nothing of data not seen.": bool(protocol.rows)
            and judged == "training",
            "The losses are of the very data that settings were chosen on, though of other "
            "seeds.": judged == "validation",
            f"The intervals are over replicates alone: {rows} always the same.": True,
            f"Of so many optimizers {replicates} replicate{'s' * (replicates > 1)} can tell none "
            f"apart; it takes at least {fewest}.": replicates < fewest,
            "Times are those of one machine, and of programs that run many seeds at once.": True,
        }
    )


def _of_the_runs(comparison: Comparison) -> list[str]:
    every = comparison.ran
    beyond = [each.optimizer for each in every if each.beyond > 0.5]
    lost = [each.optimizer for each in every if each.failed]
    trials = {each.trials for each in every}
    return _holding(
        {
            "Only one setting was tried, so nothing was tuned.": trials == {1},
            "The optimizers had budgets of unequal trials, as the column of trials says.": (
                len(trials) > 1
            ),
            "Not told apart is not the same as equal; what such replicates would have told stands "
            "in the column beside.": any(a.verdict == "not told apart" for a in every),
            "Most replicates picked a learning rate beyond the range searched, of which there "
            f"were fewer trials: {', '.join(beyond)}.": beyond,
            "Some replicates failed. They are tested by themselves, and left out of the difference "
            f"in loss: {', '.join(lost)}.": lost,
        }
    )

"""One HTML page of a comparison: it needs no network, and reads on a telephone and in print."""

import dataclasses
import html
import importlib.resources
import math
import re
import string
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jaxnet.compare import Answer, Comparison
from jaxnet.report import columns, pictures, style
from jaxnet.storage import files

_GROUPS = {
    "better": "Better than plain SGD",
    "not told apart": "Not told apart from it",
    "worse": "Worse than plain SGD",
    "cannot run": "Cannot run",
}
# So that the verdict does not hang on its colour.
_SIGNS = {"better": "▼", "not told apart": "○", "worse": "▲", "cannot run": "-", "baseline": "·"}
# The page repaints the pictures in the dark: how its style names each of their colours.
_ROLES = {paint.light: role for role, paint in style.PAINTS.items()}


def write_page(comparison: Comparison, path: Path) -> None:
    """Write a comparison as one page: whole, or not at all.

    Raises:
        OSError: a place that cannot be written to.
    """
    template = importlib.resources.files("jaxnet.report").joinpath("page.html").read_text("utf-8")
    page = string.Template(template).substitute(_parts(comparison))
    files.write(Path(path), page.encode())


def _parts(comparison: Comparison) -> dict[str, str]:
    """What fills the template, every word of it escaped."""
    log = comparison.log
    every = columns.columns(comparison)
    return {
        "light": _paints(light=True),
        "dark": _paints(light=False),
        "title": html.escape(log.title),
        "headline": html.escape(columns.headline(comparison)),
        "groups": _lines(
            _group(verdict, comparison.answers)
            for verdict in _GROUPS
            if verdict != "cannot run" or log.unable
        ),
        "head": _head(every),
        "rows": _lines(
            _row(answer, [column.cells[index] for column in every])
            for index, answer in enumerate(comparison.answers)
        ),
        "notes": _lines(
            f"<div>{_term(column.name, html.escape(column.note))}</div>" for column in every
        ),
        "figures": _lines(map(_figure, pictures.plots(comparison))),
        "sentences": _lines(
            _term(answer.optimizer, html.escape(answer.sentence)) for answer in comparison.answers
        ),
        "caveats": _lines(f"<li>{html.escape(words)}</li>" for words in caveats(comparison)),
        "protocol": _value(_protocol(comparison)),
        "provenance": _value(dataclasses.asdict(log.provenance) | {"verified": log.verified}),
        "command": f"<pre><code>{html.escape(log.command)}</code></pre>" if log.command else "",
    }


def _protocol(comparison: Comparison) -> dict[str, Any]:
    """The protocol as it is shown: a target that nobody gave is told."""
    shown = dataclasses.asdict(comparison.protocol)
    if comparison.protocol.judging.target is None:
        words = f"plain SGD's own median at its end: {comparison.target:.4g}"
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


def _group(verdict: str, every: list[Answer]) -> str:
    names = [answer.optimizer for answer in every if answer.verdict == verdict]
    title = f"{_SIGNS[verdict]} {_GROUPS[verdict]}: {len(names)}"
    return f'<div class="{verdict}">{_term(title, html.escape(", ".join(names)))}</div>'


def _head(shown: list[columns.Column]) -> str:
    verdict, *figures = (column.name for column in shown)
    words = f'<th scope="col">optimizer</th><th scope="col" class="word">{verdict}</th>'
    return words + "".join(f'<th scope="col">{html.escape(name)}</th>' for name in figures)


def _row(answer: Answer, cells: list[columns.Cell]) -> str:
    name = html.escape(answer.optimizer)
    verdict, *figures = cells
    return (
        f'<tr class="{answer.verdict}"><th scope="row" data-value="{name}">{name}</th>'
        f'<td class="word" data-value="{verdict.value}">'
        f"{_SIGNS[answer.verdict]} {verdict.text}</td>{''.join(map(_cell, figures))}</tr>"
    )


def _cell(cell: columns.Cell) -> str:
    value = f' data-value="{cell.value}"' if math.isfinite(cell.value) else ""
    # A minus sign is as wide as a digit.
    text, detail = (
        html.escape(words).replace("-", "\N{MINUS SIGN}") for words in (cell.text, cell.detail)
    )
    return f"<td{value}>{text}{f'<small>{detail}</small>' if detail else ''}</td>"


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


def _holding(said: dict[str, Any]) -> list[str]:
    return [words for words, holds in said.items() if holds]


def _of_the_protocol(comparison: Comparison) -> list[str]:
    protocol, every = comparison.protocol, comparison.ran
    judged, fewest = protocol.judging.data, protocol.judging.fewest_seeds
    seeds = len(protocol.judging.seeds)
    return _holding(
        {
            "It is about this task, this budget of steps and this protocol: another task may rank "
            "the optimizers otherwise.": True,
            "Only the learning rate was tuned; an optimizer with other settings may do "
            "better.": True,
            "The losses are of the data trained on, taken before each update at the parameters "
            "trained, and say nothing of data not seen.": judged == "training",
            "The losses are of the very data that the learning rates were chosen on, though of "
            "other seeds.": judged == "validation",
            f"The intervals are over seeds alone: the {protocol.rows[judged]} rows judged on are "
            "always the same.": True,
            "They are not corrected for the number of comparisons, as the verdicts are.": (
                len(every) > 2
            ),
            f"With {seeds} seeds no difference could be told from so many optimizers; it takes at "
            f"least {fewest}.": len(every) > 1 and seeds < fewest,
            "With one seed there is no interval and no test.": seeds == 1,
            "Times are those of one machine, and of programs that run many seeds at once.": True,
        }
    )


def _of_the_runs(comparison: Comparison) -> list[str]:
    every, optimizers = comparison.ran, comparison.protocol.optimizers
    extended = [
        each.optimizer
        for each in every
        if each.rates > len(optimizers[each.optimizer].learning_rates)
    ]
    unsure = [each for each in every if each.verdict == "not told apart"]
    edge = [each.optimizer for each in every if each.at_edge]
    lost = [each.optimizer for each in every if each.diverged]
    more = [f"{each.optimizer} {each.seeds_needed}" for each in unsure if each.seeds_needed]
    return _holding(
        {
            "Rates beyond the range were tried where its end was best, as the column of rates "
            f"says: {', '.join(extended)}.": extended,
            "Only one rate was tried, so nothing was tuned.": all(a.rates == 1 for a in every),
            "Not told apart is not the same as equal.": unsure,
            f"To tell the difference seen would take about so many seeds: {', '.join(more)}.": more,
            "The best rate may lie beyond those tried, which does an optimizer less than justice: "
            f"{', '.join(edge)}.": edge,
            "Some runs at the tuned rate diverged, and count as worse than all that did not: "
            f"{', '.join(lost)}.": lost,
        }
    )

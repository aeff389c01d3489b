"""One HTML page of a comparison: it needs no network, and reads on a telephone and in print."""

import html
import importlib.resources
import math
import re
import string
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jaxnet.compare.comparison import Comparison
from jaxnet.compare.verdicts import Answer
from jaxnet.report import answers, pictures, report
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
_PAINTS = {
    report.INK: "--ink",
    report.MUTED: "--muted",
    report.FAINT: "--faint",
    report.GRID: "--grid",
    report.PAPER: "--paper",
    **{colour: f"--colour-{index}" for index, colour in enumerate(report.COLOURS)},
}


def write(comparison: Comparison, path: Path) -> None:
    """Write a comparison as one page: whole, or not at all.

    Raises:
        OSError: a place that cannot be written to.
    """
    template = importlib.resources.files("jaxnet.report").joinpath("page.html").read_text("utf-8")
    page = string.Template(template).substitute(_parts(comparison))
    files.write(Path(path), page.encode())


def _parts(comparison: Comparison) -> dict[str, str]:
    """What fills the template, every word of it escaped."""
    protocol = dict(comparison.protocol)
    if protocol["target"] is None:
        protocol["target"] = f"plain SGD's own median at its end: {comparison.target:.4g}"
    command = protocol.pop("command", "")
    columns = answers.columns(comparison)
    return {
        "title": html.escape(protocol["title"]),
        "headline": html.escape(answers.headline(comparison)),
        "groups": _lines(
            _group(verdict, comparison.answers)
            for verdict in _GROUPS
            if verdict != "cannot run" or comparison.protocol["unable"]
        ),
        "head": _head(columns),
        "rows": _lines(
            _row(answer, [column.cells[index] for column in columns])
            for index, answer in enumerate(comparison.answers)
        ),
        "notes": _lines(
            f"<div>{_term(column.name, html.escape(column.note))}</div>" for column in columns
        ),
        "figures": _lines(map(_figure, pictures.plots(comparison))),
        "sentences": _lines(
            _term(answer.optimizer, html.escape(answer.sentence)) for answer in comparison.answers
        ),
        "caveats": _lines(f"<li>{html.escape(words)}</li>" for words in caveats(comparison)),
        "protocol": _value(protocol),
        "provenance": _value(comparison.provenance),
        "command": f"<pre><code>{html.escape(command)}</code></pre>" if command else "",
    }


def _lines(parts: Iterable[str]) -> str:
    return "\n".join(parts)


def _term(name: str, meaning: str) -> str:
    return f"<dt>{html.escape(name)}</dt><dd>{meaning}</dd>"


def _group(verdict: str, every: list[Answer]) -> str:
    names = [answer.optimizer for answer in every if answer.verdict == verdict]
    title = f"{_SIGNS[verdict]} {_GROUPS[verdict]}: {len(names)}"
    return f'<div class="{verdict}">{_term(title, html.escape(", ".join(names)))}</div>'


def _head(columns: list[answers.Column]) -> str:
    first, *others = ("optimizer", *(column.name for column in columns))
    verdict, *figures = others
    words = f'<th scope="col">{first}</th><th scope="col" class="word">{verdict}</th>'
    return words + "".join(f'<th scope="col">{html.escape(name)}</th>' for name in figures)


def _row(answer: Answer, cells: list[answers.Cell]) -> str:
    name = html.escape(answer.optimizer)
    verdict, *figures = cells
    return (
        f'<tr class="{answer.verdict}"><th scope="row" data-value="{name}">{name}</th>'
        f'<td class="word" data-value="{verdict.value}">'
        f"{_SIGNS[answer.verdict]} {verdict.text}</td>{''.join(map(_cell, figures))}</tr>"
    )


def _cell(cell: answers.Cell) -> str:
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
    tag = re.sub(r"#[0-9a-f]{6}\b", lambda paint: f"var({_PAINTS[paint[0]]})", tag)
    tag = re.sub(r" font-family: [^;]*;", "", tag)
    # Hundredths of a point are finer than any screen, and a third of the size.
    return re.sub(r"(\.\d\d)\d+", r"\1", tag)


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
    every, protocol = comparison.ran, comparison.protocol
    rates = {name: len(each["learning_rates"]) for name, each in protocol["optimizers"].items()}
    extended = [each.optimizer for each in every if each.rates > rates[each.optimizer]]
    unsure = [each for each in every if each.verdict == "not told apart"]
    edge = [each.optimizer for each in every if each.at_edge]
    lost = [each.optimizer for each in every if each.diverged]
    more = [f"{each.optimizer} {each.seeds_needed}" for each in unsure if each.seeds_needed]
    said = {
        "It is about this task, this budget of steps and this protocol: another task may rank the "
        "optimizers otherwise.": True,
        "Only the learning rate was tuned; an optimizer with other settings may do better.": True,
        "The losses are of the data trained on, taken before each update at the parameters "
        "trained, and say nothing of data not seen.": protocol["judged"] == "training",
        "The losses are of the very data that the learning rates were chosen on, though of other "
        "seeds.": protocol["judged"] == "validation",
        f"The intervals are over seeds alone: the {protocol['rows'].get(protocol['judged'])} rows "
        "judged on are always the same.": True,
        "They are not corrected for the number of comparisons, as the verdicts are.": (
            len(every) > 2
        ),
        f"With {len(protocol['seeds'])} seeds no difference could be told from so many "
        f"optimizers; it takes at least {protocol['fewest_seeds']}.": (
            len(every) > 1 and len(protocol["seeds"]) < protocol["fewest_seeds"]
        ),
        "Rates beyond the range were tried where its end was best, as the column of rates says: "
        f"{', '.join(extended)}.": extended,
        "Only one rate was tried, so nothing was tuned.": all(a.rates == 1 for a in every),
        "Not told apart is not the same as equal.": unsure,
        f"To tell the difference seen would take about so many seeds: {', '.join(more)}.": more,
        "The best rate may lie beyond those tried, which does an optimizer less than justice: "
        f"{', '.join(edge)}.": edge,
        "Some runs at the tuned rate diverged, and count as worse than all that did not: "
        f"{', '.join(lost)}.": lost,
        "With one seed there is no interval and no test.": len(protocol["seeds"]) == 1,
        "Times are those of one machine, and of programs that run many seeds at once.": True,
    }
    return [words for words, holds in said.items() if holds]

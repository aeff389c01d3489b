"""Results in the terminal: tables, words and a bar of progress (extra `commands`)."""

import contextlib
import html
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from jaxnet._guards import checks
from jaxnet._guards.defaults import MULTIPLIER
from jaxnet.compare import Answer, Comparison, verdicts
from jaxnet.compare.league import Along, League
from jaxnet.report import columns, league, style

# Between two columns, and the least that names are folded to.
_GAP, _NAME = 2, 12


def table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table: the first column reads as text, the others as figures."""
    _print(_console(), title, list(zip(heads, *rows, strict=True)), [])


def show(comparison: Comparison, rows: int = 20) -> None:
    """Print what a comparison says: one table, which fits 80 columns, and the answer in words.

    Args:
        comparison: to show. rows: at most so many optimizers, the best first.
    """
    console = _console()
    cells = _brief(comparison, console.width, rows)
    # Names are followed by a blank that closes no gap: the one at the end of the lines.
    room = console.width - sum(_wide(column) + _GAP for column in cells[1:]) - 1
    words = [*_notes(comparison, rows), f"\n{columns.headline(comparison)}"]
    better = "more" if comparison.protocol.judging.maximised else "less"
    title = f"{comparison.log.title}: {comparison.judged_by}, {better} is better"
    _print(console, title, cells, words, texts=2, room=max(room, _NAME))


def show_league(together: League, title: str, rows: int = 20) -> None:
    """Print what many tasks say: one table, which fits 80 columns, and the answer in words.

    Args:
        together: to show. title: of it. rows: at most so many optimizers, the best first.
    """
    names = [together.optimizers[index] for index in league.order(together)]
    shown = league.columns(together)[:_SHOWN]
    cells = [["optimizer", *names[:rows]]]
    cells += [
        [_HEADS.get(each.name, each.name), *map(columns.line, each.cells[:rows])] for each in shown
    ]
    left = len(names) - rows
    words = [f"and {left} more, which the report has"] * (left > 0)
    _print(_console(), title, cells, [*words, f"\n{league.headline(together)}"])


def show_along(every: Sequence[Along], title: str, rows: int = 20) -> None:
    """Print whether verdicts hold: one table, a column for each value, and the answer in words.

    Args:
        every: from `jaxnet.compare.along`. title: of it. rows: at most so many optimizers.
    """
    cells = [["optimizer", *(each.optimizer for each in every[:rows])]]
    for column in league.columns_along(every):
        cells.append([column.name, *map(columns.line, column.cells[:rows])])
    left = len(every) - rows
    words = [f"and {left} more, which the report has"] * (left > 0)
    words += [f"holds?: {league.HOLDS}", f"\n{league.headline_along(every)}"]
    _print(_console(), title, cells, words, texts=len(cells))


def _print(
    console: Any,
    title: str,
    cells: Sequence[Sequence[str]],
    words: Iterable[str],
    *,
    texts: int = 1,
    room: int | None = None,
) -> None:
    """Print a title, a table of columns, heads first, and words, a line each.

    The first columns, as many as are `texts`, read from the left; names are folded to their `room`.
    """
    from rich import box
    from rich.table import Table

    grid = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for index, (head, *_) in enumerate(cells):
        side, width = "left" if index < texts else "right", None if index else room
        grid.add_column(head, justify=side, overflow="fold", max_width=width)
    for row in zip(*(column[1:] for column in cells), strict=True):
        grid.add_row(*(_encodable(console, cell) for cell in row))
    console.print(_encodable(console, title), style="bold")
    console.print(grid)
    for line in words:
        console.print(_encodable(console, line))


# The columns of a league over all tasks; those of each task are the page's.
_SHOWN = 6
_HEADS = {"average rank": "rank", "not told apart": "not told"}


def _notes(comparison: Comparison, rows: int) -> Iterator[str]:
    """Say what the table shows, what it leaves out, and what costs more than it shows."""
    many = len(comparison.pairs)
    if not all(math.isnan(pair.difference.low) for pair in comparison.pairs):
        held = f", like p for all {many} comparisons at once" * (many > 1)
        yield f"[ ]: {columns.sureness(comparison)} interval{held}; rate: the one to use"
    if earlier := columns.earlier(comparison):
        yield earlier
    if (left := len(comparison.answers) - rows) > 0:
        yield f"and {left} more, which the report has"
    if any(answer.beyond > 0.5 for answer in comparison.answers):
        yield "* most replicates picked a rate beyond the range searched"
    if any(MULTIPLIER in answer.setting for answer in comparison.answers):
        yield "times: what to multiply the updates by, of an optimizer that was made already"
    if any(answer.failed > answer.diverged for answer in comparison.answers):
        lost = (f"{e.optimizer} {verdicts.failures(e)}" for e in comparison.answers if e.failed)
        yield f"failed: {'; '.join(lost)}"
    first, *others = comparison.ran
    dear = [e for e in others if e.evaluations > 1.5 * first.evaluations]
    if dear:
        costs = (f"{e.optimizer} {e.evaluations / first.evaluations:.3g}" for e in dear)
        yield f"gradients of a run, as a multiple of {first.optimizer}'s: {', '.join(costs)}"
    if comparison.protocol.judging.pairs == "all":
        told = sum(pair.verdict != "not told apart" for pair in comparison.pairs)
        yield f"all pairs: {told} of {len(comparison.pairs)} told; the report has them in a matrix"
    yield from (
        f"to use of {each.optimizer}: {verdicts.settled(each.setting)}"
        for each in comparison.answers[:rows]
        if len(each.setting) > 1
    )
    yield from (each.sentence for each in comparison.answers if each.verdict == "cannot run")


def _brief(comparison: Comparison, width: int, rows: int) -> list[list[str]]:
    """Give the columns that answer, heads first; an interval that has no room below its figure."""
    chosen = {column.name: column.cells[:rows] for column in columns.columns(comparison)}
    answers, total = comparison.answers[:rows], comparison.protocol.replicates
    head = columns.difference_head(comparison)
    brief = [
        ["optimizer", *(answer.optimizer for answer in answers)],
        *(
            [name, *map(columns.line, chosen[name])]
            for name in ("verdict", head, "p")
            if name in chosen
        ),
        ["rate", *(_rate(answer) for answer in answers)],
        ["failed", *(f"{each.failed}/{total}" if each.trials else "-" for each in answers)],
    ]
    named = min(_wide(brief[0]), _NAME)
    if sum(_wide(column) + _GAP for column in brief[1:]) + named >= width:
        brief[2] = [cell.replace(" [", "\n[") for cell in brief[2]]
    return brief


def _rate(answer: Answer) -> str:
    return columns.rate_cell(answer).text + "*" * (answer.beyond > 0.5)


def _wide(column: Sequence[str]) -> int:
    return max(len(line) for cell in column for line in cell.splitlines())


def _console() -> Any:
    """Give a terminal that prints words as they are: a user's names may look like markup."""
    checks.extra("commands", "rich")
    from rich.console import Console

    return Console(markup=False, emoji=False, highlight=False)


def _encodable(console: Any, words: str) -> str:
    """Give the words with what the terminal cannot show as "?"."""
    return words.encode(console.encoding, "replace").decode(console.encoding)


@contextlib.contextmanager
def progress(unit: str) -> Iterator[Callable[[str, int, int], None]]:
    """Draw a bar of epochs or runs on the terminal or in a notebook, quiet where there is neither.

    Gives a function of what is under way, how many are done, and how many there are to be.
    """
    checks.extra("commands", "matplotlib", "rich")
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    # A picture comes at the end; what draws it is imported while XLA compiles.
    threading.Thread(target=style.matplotlib, daemon=True).start()
    console = Console(stderr=True)
    if console.is_jupyter:
        yield _shown(unit)
        return
    parts = (
        TextColumn(f"{unit} {{task.completed}} of {{task.total}}"),
        BarColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*parts, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)

        def draw(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        yield draw


def _shown(unit: str) -> Callable[[str, int, int], None]:
    """Draw a bar as a notebook's own display, which needs no widgets."""
    from IPython import display

    bar = display.DisplayHandle()
    bar.display(display.HTML(""))

    def draw(what: str, done: int, total: int) -> None:
        words = html.escape(f"{unit} {done} of {total}  {what}")
        text = f'<progress value="{done}" max="{total}"></progress> {words}'
        bar.update(display.HTML(text))

    return draw

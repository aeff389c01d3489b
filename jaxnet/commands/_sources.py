"""The code of a user's file: a Python file's, or a notebook's, cell by cell."""

import ast
import json
import linecache
import re
from pathlib import Path
from typing import NamedTuple

from jaxnet.errors import InputError

# What a notebook has that is no Python: magics, commands of the shell, questions for help.
_MAGIC = re.compile(r"^(\s*)(?:[%!?].*|[\w.]+\?{1,2}\s*)$", re.M)
_ASSIGNED = re.compile(r"^(\s*[\w.]+\s*=\s*)[%!].*$", re.M)
# The first lines of cells of Python; under any other magic a cell holds something else.
_TIMED = re.compile(r"^%%(?:time|timeit|capture|prun)\b.*")


class Source(NamedTuple):
    """A piece of code.

    Attributes:
        name: what its errors call it. text: the code.
    """

    name: str
    text: str | bytes


def read(path: Path) -> list[Source]:
    """Give the code of a file, in the order in which it runs.

    Raises:
        InputError: another kind of file, none at all, or a notebook that cannot be read.
    """
    if path.suffix not in (".py", ".ipynb") or not path.is_file():
        got = "no such file" if path.suffix in (".py", ".ipynb") else "another name"
        raise InputError(
            f"{path}: expected a Python file, ending in .py, or a notebook, in .ipynb, got "
            f"{'a folder' if path.is_dir() else got}"
        )
    path = path.absolute()
    if path.suffix == ".py":
        return [Source(str(path), path.read_bytes())]
    try:
        cells = [cell["source"] for cell in _cells(path) if cell["cell_type"] == "code"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: expected a notebook, got what is none: {error!r}") from error
    sources = []
    for number, cell in enumerate(cells, 1):
        name, text = f"{path}, cell {number}", _python("".join(cell))
        # From here tracebacks take the lines that they show.
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        sources.append(Source(name, text))
    return sources


def _cells(path: Path) -> list[dict[str, str | list[str]]]:
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def _python(cell: str) -> str:
    """Leave out of a cell what is no Python, line by line; what is Python stays as it is."""
    try:
        ast.parse(cell)
    except (SyntaxError, ValueError):
        cell = _TIMED.sub("", cell)
        if cell.startswith("%%"):
            return ""
        return _MAGIC.sub(r"\1pass", _ASSIGNED.sub(r"\1None", cell))
    return cell

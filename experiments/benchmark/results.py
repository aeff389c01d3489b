"""Results for people: the table of this README and the pictures, made from what the parts found."""

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.benchmark import targets
from experiments.benchmark.timing import Group, Section, Table, number, shown
from jaxnet import InputError, report
from jaxnet.report import style

PLACE = "benchmark"
"""What the markers are called between which a page shows what was found, unless it has two."""
_KINDS = ("family", "model", "stepping")
# Claims that a row of the table is made of, with its words and unit.
_ALONE = {
    ("start", "cold start, s"): ("from a cold start of `jaxnet train` to a model", "s"),
    ("three", "three optimizers on digits, s"): (
        "three optimizers on digits, the report as well, programs kept",
        "s",
    ),
    ("everything", "all optimizers on digits, s"): ("all optimizers of optax on digits, cold", "s"),
    ("league", "all optimizers on all tasks, s"): ("all optimizers of optax on 21 tasks", "s"),
    ("memory", "100,000 tiny runs, GB"): (
        "memory of 100,000 runs of the classifier notebook",
        "GB",
    ),
    ("wide", "float32, share of the machine's peak"): (
        "the wide network's share of the machine's matrix products",
        "",
    ),
}


class Findings(NamedTuple):
    """All that one call of the benchmark found.

    Attributes:
        sections: by part.
        memory: the most bytes that each part's process held.
        hardware, versions: from `machine`.
        date: of the day.
        quick: whether fewer rounds of smaller sizes were timed.
        only: the parts that were asked for; none where it was all of them.
    """

    sections: Mapping[str, Section]
    memory: Mapping[str, int]
    hardware: Mapping[str, Any]
    versions: Mapping[str, str]
    date: str
    quick: bool = False
    only: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """What a person types to find the same."""
        only = ["--only", *self.only] if self.only else []
        return " ".join(["python -m experiments.benchmark", *["--quick"] * self.quick, *only])

    @property
    def verdicts(self) -> list[targets.Verdict]:
        """The targets of the parts."""
        return targets.verdicts({name: each.claims for name, each in self.sections.items()})

    @property
    def groups(self) -> list[Group]:
        """What was timed of jaxnet and of others side by side."""
        groups = [group for each in self.sections.values() for group in each.groups]
        return [
            group for group in groups if group.ours.startswith("jaxnet") and len(_best(group)) > 1
        ]

    @property
    def where(self) -> str:
        """The machine, what it does at its best, the versions and the date in one line."""
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        best = f"matrix products at {self.peak:.4g} GFLOP/s; " if self.peak else ""
        return f"{machine_words(self.hardware)}; {best}{versions}; {self.date}"

    @property
    def peak(self) -> float | None:
        """GFLOP/s of the best matrix product; none where the machine was not measured."""
        return self.sections.get("machine", Section()).figures.get("gigaflops")


def machine_words(hardware: Mapping[str, Any]) -> str:
    """Say what machine it is."""
    card = f"{hardware['card']}, " if "card" in hardware else ""
    kinds = ", ".join(f"{kind} {hardware[kind]}" for kind in _KINDS if kind in hardware)
    processor = hardware["processor"] + (f" ({kinds})" if kinds else "")
    return (
        f"{card}{processor}, {hardware['cores']} core{'s' * (hardware['cores'] > 1)}, "
        f"{hardware['memory'] / 2**30:.0f} GiB"
    )


def to_json(findings: Findings) -> dict[str, Any]:
    """Give everything as JSON has it."""
    return {
        "date": findings.date,
        "quick": findings.quick,
        "hardware": dict(findings.hardware),
        "versions": dict(findings.versions),
        "gigaflops": findings.peak,
        "parts": {
            name: {
                "groups": [
                    group._asdict()
                    | {"timings": {way: t._asdict() for way, t in group.timings.items()}}
                    for group in section.groups
                ],
                "claims": dict(section.claims),
                "figures": dict(section.figures),
                "notes": list(section.notes),
                "dtype": section.dtype,
                "peak_memory": findings.memory[name],
            }
            for name, section in findings.sections.items()
        },
        "targets": [
            verdict.target._asdict() | {"value": verdict.value, "verdict": verdict.word}
            for verdict in findings.verdicts
        ],
    }


def _best(group: Group) -> dict[str, str]:
    """Give the fastest way of each library, ours included, the slowest library first."""
    best: dict[str, str] = {}
    for way in sorted(group.timings, key=lambda way: group.timings[way].median):
        library = way.split(",")[0]
        bare = "matmul" in way or "copy" in way
        if not bare and (library != "jaxnet" or way == group.ours):
            best.setdefault(library, way)
    return dict(reversed(best.items()))


def _wrapped(words: str) -> str:
    indent = "  " if words.startswith("- ") else ""
    return textwrap.fill(words, 100, subsequent_indent=indent, break_on_hyphens=False)


def block(findings: Findings) -> str:
    """Write the table of this README, between its two markers."""
    judged = findings.verdicts
    met = sum(verdict.word == "met" for verdict in judged)
    paragraphs = (
        _wrapped(
            f"By `{findings.command}` on {findings.where}. Medians of interleaved rounds; the "
            "others take so many times as long as jaxnet, round by round, of each library its best "
            "way; below 1 they are faster."
        ),
        "\n".join(
            ["| | jaxnet | the others take times as long |", "|---|---|---|", *_rows(findings)]
        ),
        f"Targets met: {met} of {len(judged)}.",
        "\n".join(_wrapped(f"- Not met: {missed}") for missed in targets.shortfalls(judged)),
    )
    return _marked(paragraphs)


def _rows(findings: Findings) -> Iterator[str]:
    for group in findings.groups:
        ours = shown(group.timings[group.ours].median)
        best = {library: group.times(way) for library, way in _best(group).items()}
        slowest = sorted(best.items(), key=lambda each: -each[1])
        peers = (f"{library} {number(times)}" for library, times in slowest if library != "jaxnet")
        yield f"| {group.title} | {ours} | {', '.join(peers)} |"
    for (part, claim), (words, unit) in _ALONE.items():
        if part in findings.sections and claim in findings.sections[part].claims:
            value = f"{number(findings.sections[part].claims[claim])} {unit}".strip()
            yield f"| {words} | {value} | |"


def of_part(findings: Findings, name: str, place: str = PLACE) -> str:
    """Write the tables, the notes and the missed targets of a part, between two markers."""
    section = findings.sections[name]
    missed = targets.shortfalls(targets.verdicts({name: section.claims}))
    paragraphs = (
        _wrapped(f"By `{findings.command}` on {findings.where}."),
        *(_markdown(each.table()) for each in section.groups),
        *(_markdown(table) for table in section.tables),
        *map(_wrapped, section.notes),
        "\n".join(_wrapped(f"- Not met: {each}") for each in missed),
    )
    return _marked(paragraphs, place)


def _marked(paragraphs: Iterable[str], place: str = PLACE) -> str:
    begin, end = _marks(place)
    return "\n".join([begin, "\n\n".join(filter(None, paragraphs)), end])


def _marks(place: str) -> tuple[str, str]:
    return f"<!-- {place} -->", f"<!-- /{place} -->"


def _markdown(table: Table) -> str:
    head = (f"**{table.title}**", *table.columns[1:])
    rows = (head, ["---"] * len(head), *table.rows)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def rewrite(text: str, written: str, place: str = PLACE) -> str:
    """Put a block in the place of the one between the markers.

    Raises:
        InputError: a text without the two markers, or with more.
    """
    begin, end = _marks(place)
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.S)
    if text.count(begin) != 1 or text.count(end) != 1 or not pattern.search(text):
        raise InputError(f"readme: expected one {begin} and one {end} after it")
    return pattern.sub(lambda _: written, text)


def bars(path: Path, findings: Findings) -> None:
    """Save the picture of the whole: a panel a group, a bar for each library's best way."""
    groups = findings.groups
    heights = [len(_best(group)) + 1.6 for group in groups]
    with mpl.rc_context(style.STYLE):
        figure = Figure(figsize=(8, 0.24 * sum(heights) + 0.8), layout="constrained")
        figure.suptitle(
            "Time of jaxnet and of others, logarithmic; times ours",
            x=0.01,
            ha="left",
            fontsize=13,
            fontweight="bold",
        )
        axes = figure.subplots(len(groups), 1, squeeze=False, height_ratios=heights)
        for group, ax in zip(groups, axes[:, 0], strict=True):
            _bars(group, ax)
        figure.supxlabel(machine_words(findings.hardware), fontsize=8, color=style.MUTED)
        figure.savefig(path, dpi=150)


def _bars(group: Group, ax: Axes) -> None:
    best = _best(group)
    seconds = np.array([group.timings[way].median for way in best.values()])
    colours = [style.COLOURS[0] if w == group.ours else style.FAINT for w in best.values()]
    ax.barh(range(len(best)), seconds, color=colours, height=0.7)
    for row, (way, median) in enumerate(zip(best.values(), seconds, strict=True)):
        ours = way == group.ours
        ax.annotate(
            shown(median) + ("" if ours else f", {number(group.times(way))}x"),
            (median, row),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            fontweight="bold" if ours else "normal",
        )
    ax.set_yticks(range(len(best)), list(best))
    ax.invert_yaxis()
    ax.set_xscale("log")
    # Room for the words at the right of the longest bar; a bar of no length has no start.
    ax.set_xlim(seconds.min() / 3, seconds.max() * (seconds.max() / seconds.min() * 9) ** 0.35)
    ax.set_title(group.title, fontsize=10)
    ax.tick_params(length=0)
    ax.xaxis.set_ticklabels([])
    ax.minorticks_off()
    ax.grid(False)
    ax.spines[["bottom", "left"]].set_visible(False)


def lines(path: Path, section: Section) -> None:
    """Save the picture of scaling: a panel an axis for time, another for memory."""
    by_axis: dict[str, list[str]] = {}
    for label in section.figures:
        by_axis.setdefault(label.split(",")[0], []).append(label)
    units = {"seconds": ("seconds", 1.0, "xy"), "memory": ("MB added", 1e6, "x")}
    panels = [
        [
            report.Panel(
                f"{what} against {axis}".replace("seconds", "time"),
                axis,
                unit,
                [_line(section.figures[label], label, what, scale) for label in labels],
                # From one core to a few there are no powers of ten.
                "" if axis == "devices" else log,
            )
            for axis, labels in by_axis.items()
        ]
        for what, (unit, scale, log) in units.items()
    ]
    report.picture(path, "Time and memory against size", list(map(list, zip(*panels, strict=True))))


def _line(figures: Mapping[str, Any], name: str, what: str, scale: float) -> report.Curve:
    way = name.partition(", ")[2] or "jaxnet"
    power = figures["exponents"].get(what)
    label = way if power is None else f"{way}, exponent {power:.2f}"
    values = np.array(figures[what]) / scale
    return report.Curve(label, np.array(figures["sizes"]), values)

"""Time jaxnet and what it replaces side by side, and say which targets are met."""

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import jax

from experiments import command
from experiments.benchmark import (
    ablation,
    auditing,
    digits,
    dropout,
    estimators,
    honesty,
    large,
    machine,
    memory,
    notebooks,
    results,
    scaling,
    scores,
    starting,
    targets,
    truth,
    untuned,
    workers,
)
from experiments.benchmark.timing import Section, Table
from experiments.benchmark.work import Size, size
from jaxnet import devices, report

README = Path(__file__).with_name("README.md")
# Where the part `audit` stands, in the guide to what it measures.
GUIDE = Path(__file__).parents[2] / "docs" / "gradients.md"
Name = Literal[
    "machine",
    "notebook",
    "notebooks",
    "digits",
    "dropout",
    "sweep",
    "ablation",
    "wide",
    "deep",
    "scaling",
    "memory",
    "imports",
    "compile",
    "start",
    "three",
    "everything",
    "league",
    "scores",
    "sklearn",
    "tables",
    "honesty",
    "looks",
    "truth",
    "audit",
    "workers",
]


class Part(NamedTuple):
    """One part.

    Attributes:
        make: it.
        cores: how many CPU cores are to be a device each; all where None.
        quick: whether it can be.
    """

    make: Callable[[Size], Section]
    cores: int | None = 1
    quick: bool = True


PARTS: Mapping[Name, Part] = {
    "machine": Part(machine.peak),
    "notebook": Part(notebooks.one_run),
    "notebooks": Part(notebooks.many_runs, None),
    "digits": Part(digits.one_run),
    "dropout": Part(dropout.dropout, quick=False),
    "sweep": Part(digits.many_runs, None),
    "ablation": Part(ablation.ablation, None, quick=False),
    "wide": Part(large.wide),
    "deep": Part(large.deep, quick=False),
    "scaling": Part(scaling.scaling, quick=False),
    "memory": Part(memory.memory),
    "imports": Part(starting.imports),
    "compile": Part(starting.compiling, quick=False),
    "start": Part(starting.cold_start, quick=False),
    "scores": Part(scores.scores, quick=False),
    "sklearn": Part(estimators.estimators, quick=False),
    "tables": Part(untuned.untuned, quick=False),
    "honesty": Part(honesty.honesty, None, quick=False),
    "looks": Part(honesty.looks, quick=False),
    "truth": Part(truth.truth, quick=False),
    "audit": Part(auditing.auditing, quick=False),
    "three": Part(starting.three, quick=False),
    "everything": Part(starting.everything, quick=False),
    "league": Part(starting.league, quick=False),
    "workers": Part(workers.workers, None),
}


def show(tables: list[Table], notes: list[str]) -> None:
    """Print tables, and notes beneath them."""
    for table in tables:
        report.table(table.title, table.columns, table.rows)
    for note in notes:
        print(note)


def main(
    only: tuple[Name, ...] = (),
    quick: bool = False,
    output: Path | None = None,
    readme: bool = False,
) -> None:
    """Hold jaxnet against what it replaces, interleaved, medians with quartiles.

    Args:
        only: The parts to run; all of them where none is named.
        quick: Fewer rounds and smaller sizes, without what takes minutes.
        output: The folder of results.json and pictures; on a GPU one of the card's name unless
            told otherwise.
        readme: Write the tables in the README beside this file anew, and what the part audit
            found in docs/gradients.md.
    """
    # Processes share a card only if none takes all its memory.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    devices.first()
    if machine.on_gpu():
        # As PyTorch has it; JAX multiplies float32 in fewer digits there, unless told otherwise.
        os.environ.setdefault("JAX_DEFAULT_MATMUL_PRECISION", "highest")
    parts = {n: p for n, p in PARTS.items() if n in only or (not only and (p.quick or not quick))}
    for page, place, _ in _places(parts) if readme else ():
        results.rewrite(page.read_text(), "", place)
    chosen, hardware = size(jax.default_backend(), quick), machine.hardware()
    if output is None and "card" in hardware:
        output = Path(__file__).parents[1] / "results" / hardware["card"].replace(" ", "-")
    if output is not None:
        report.check_picture(output / "benchmark.png")
    chosen = chosen._replace(folder=output)
    sections, memory_of, began = {}, {}, time.perf_counter()
    for name, part in parts.items():
        call = (machine.with_memory, part.make, chosen)
        section, memory_of[name] = machine.fresh(*call, cores=part.cores)
        sections[name] = section
        print(f"\n{name}, {section.dtype}, {time.perf_counter() - began:.0f} s since the start")
        show([*(group.table() for group in section.groups), *section.tables], [*section.notes])
    findings = results.Findings(
        sections=sections,
        memory=memory_of,
        hardware=hardware,
        versions=machine.versions(),
        date=machine.today(),
        quick=quick,
        only=only,
    )
    print()
    if findings.verdicts:
        show([targets.table(findings.verdicts)], targets.shortfalls(findings.verdicts))
    print(findings.where)
    if quick:
        left_out = ", ".join(name for name, part in PARTS.items() if not part.quick)
        print(
            f"Quick: fewer rounds, smaller sizes, fewer peers. Left out unless named: {left_out}."
        )
    if output is not None:
        write(findings, output)
    if readme:
        publish(findings)


def _places(parts: Iterable[str]) -> list[tuple[Path, str, str]]:
    """Give the pages that show these parts, the place in each, and the part that has it alone."""
    shown = ("dropout", "honesty", "looks", "truth", "sklearn", "tables")
    alone = {name: (README, name, name) for name in shown}
    alone["audit"] = GUIDE, results.PLACE, "audit"
    rest = [(README, results.PLACE, "")] if set(parts) - alone.keys() else []
    return [*(alone[name] for name in alone if name in parts), *rest]


def publish(findings: results.Findings) -> None:
    """Write what was found into the places that show it, and none anew of which nothing was."""
    for page, place, part in _places(findings.sections):
        written = results.of_part(findings, part, place) if part else results.block(findings)
        page.write_text(results.rewrite(page.read_text(), written, place))


def write(findings: results.Findings, folder: Path) -> None:
    """Write results.json and the pictures into a folder."""
    (folder / "results.json").write_text(json.dumps(results.to_json(findings), indent=1) + "\n")
    if findings.groups:
        results.bars(folder / "benchmark.png", findings)
    if "scaling" in findings.sections:
        results.lines(folder / "scaling.png", findings.sections["scaling"])


if __name__ == "__main__":
    command(main, "experiments.benchmark")

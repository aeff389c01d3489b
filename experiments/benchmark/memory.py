"""Part: the most memory that runs hold, by library, each in a process of its own."""

from collections.abc import Callable
from typing import Any

from experiments import classifier
from experiments.benchmark import digits, machine, notebooks, peers
from experiments.benchmark.timing import Section, Table
from experiments.benchmark.work import RATES, Size, crossed, digits_workload

_ALONE = "none: data, JAX and this benchmark"
_ONE = {
    _ALONE: "",
    "scikit-learn": "sklearn",
    "PyTorch eager": "torch",
    "Equinox": "equinox",
    "Flax": "flax",
    "optax step, jitted": "step",
    peers.FIT: "fit",
}
_MANY = {"torch.func vmap": "torch", "plain vmap": "vmap", peers.SWEEP: "sweep"}


def one_run(package: str) -> None:
    """Make one run on digits, the ways of a package; none where there is none."""
    work = digits.work_of("adam", crossed(1, [digits.ADAM_RATE]))
    if package == "sklearn":
        ways = peers.scikit_learn_runs(work)
    else:
        ways, _ = peers.single_runs(work, [package] if package else [])
    for way in ways.values():
        way()


def many_runs(package: str, seeds: int) -> None:
    """Make runs of 16 learning rates of each seed on digits."""
    trials = crossed(seeds, RATES["adam"])
    if package == "sweep":
        peers.sweeping(digits_workload(), "adam", trials)()
    else:
        ways, _ = peers.many_runs(digits.work_of("adam", trials), [package])
        for way in ways.values():
            way()


def tiny_runs(seeds: int) -> None:
    """Make runs of the classifier notebook, 16 learning rates of each seed."""
    trials = crossed(seeds, notebooks.RATES["classifier"])
    peers.sweeping(notebooks.workload("classifier", classifier.LOSS), "sgd", trials)()


def _peak(make: Callable[..., None], *arguments: Any, cores: int | None = None) -> int:
    return machine.fresh(machine.with_memory, make, *arguments, cores=cores)[1]


def memory(size: Size) -> Section:
    """Measure every way that is installed."""
    tiny, many = 16 * size.many_seeds, 16 * size.digits_seeds
    tiny_title = f"{tiny:,} runs of the classifier notebook, {peers.SWEEP}"
    figures = {tiny_title: _peak(tiny_runs, size.many_seeds)}
    claims = {f"{tiny:,} tiny runs, GB": figures[tiny_title] / 1e9}
    one, together = ({}, {}) if size.quick else (_ONE, _MANY)
    expected = [p for p in one.values() if p in machine.PACKAGES]
    missing = [package for package in expected if not machine.installed(package)]
    for way, package in one.items():
        if package not in missing:
            figures[f"one run on digits, {way}"] = _peak(one_run, package, cores=1)
    for way, package in together.items():
        if package not in missing:
            title = f"{many:,} runs on digits, {way}"
            figures[title] = _peak(many_runs, package, size.digits_seeds)
    rows = [(name, f"{bytes_held / 1e6:.0f} MB") for name, bytes_held in figures.items()]
    notes = [
        *peers.left_out(missing),
        "The most that a process of its own held, what it loads included.",
    ]
    return Section((), claims, [Table("Peak memory", ("", ""), rows)], figures, notes)

"""Part: how often answers of `compare` are wrong, the whole procedure from its search to a verdict.

One comparison of many replicates is cut into many: each replicate draws, tunes, picks and is judged
by itself, so that a piece of them is what a comparison of so many would have been.
"""

import dataclasses
import functools
import itertools
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optax
from jaxtyping import Float

import jaxnet
from experiments.benchmark.timing import Section, Table
from experiments.benchmark.work import Size
from experiments.tasks import TASKS
from jaxnet import devices, optimizers, spaces
from jaxnet.compare import Paired, Problem, compare, paired, statistics, verdicts
from jaxnet.storage import arrays, fingerprints

COUNTS = (10, 20, 30)
"""Replicates of the comparisons that one is cut into."""
LOOKS = (10, 20, 30, 40, 50)
"""Replicates of a comparison that grows."""
MARGIN, LEVEL = 0.05, 0.05
_WRONG = ("better", "worse", "fails more often", "fails less often")
# A power that is stated is that of four in five.
_POWER = 0.8
# Decades by which the ranges of seven twins lie elsewhere than SGD's; that of the eighth, which is
# any function of one's own, begins a decade lower.
_SHIFTS = (-1.0, -0.75, -0.5, -0.25, 0.25, 0.5, 0.75)
# Comparisons are made of a sixth of the replicates each, for a stop to lose little.
_SEEDS = 6
# Of those that are cut out of one there are so many times as many as of those that grow, each of
# which is made by itself.
_CHEAPER = 20
Values = Mapping[str, Float[np.ndarray, " R"]]


def _sine() -> Problem:
    """Give a sine with noise, of 60 rows to train on; its tuned runs diverge now and then."""
    random = np.random.default_rng(0)
    x = random.uniform(-3, 3, (120, 1)).astype(np.float32)
    y = np.sin(x) + 0.1 * random.normal(size=x.shape).astype(np.float32)
    train, tune, judge = ((x[a:b], y[a:b]) for a, b in ((0, 60), (60, 90), (90, 120)))
    return Problem(
        name="sine",
        loss=jaxnet.BatchLoss(jaxnet.forward, optax.losses.l2_loss),
        init=functools.partial(jaxnet.init, sizes=(1, 16, 1)),
        data=train,
        epochs=15,
        batch_size=8,
        validation=tune,
        test=judge,
    )


PROBLEMS: Mapping[str, Callable[[], Problem]] = {
    "sine": _sine,
    "iris": lambda: dataclasses.replace(TASKS["iris"](), epochs=3),
    "wine": lambda: dataclasses.replace(TASKS["wine"](), epochs=2),
    "quadratic-1e3": lambda: dataclasses.replace(TASKS["quadratic-1e3"](), steps=50),
    "rosenbrock": lambda: dataclasses.replace(TASKS["rosenbrock"](), steps=100),
}
"""Small tasks; of the first and the last, runs diverge at rates that were picked."""
GENERAL = (*PROBLEMS, "quadratic-1e0")
"""Tasks on which a more general optimizer is held against a special case of it."""
_SPECIAL = (("momentum", "sgd"), ("momentum", "rate alone"), ("sgd", "rate alone"))


def _twin(learning_rate: Any) -> optax.GradientTransformation:
    return optax.sgd(learning_rate)


def _twins() -> dict[str, optimizers.Entry]:
    """Give plain SGD under other names, each searched over another range."""
    ranges = {f"twin {i}": (-3 + shift, 1 + shift) for i, shift in enumerate(_SHIFTS)}
    return {
        name: optimizers.Entry(
            name, _twin, {"learning_rate": spaces.log(10**low, 10**high)}, {"learning_rate": 0.01}
        )
        for name, (low, high) in ranges.items()
    }


def sources() -> str:
    """Give the fingerprint of the code that values hang on: jaxnet, the tasks and this part."""
    folders = Path(jaxnet.__file__).parent, Path(__file__).parents[1] / "tasks"
    files = [path for folder in folders for path in sorted(folder.rglob("*.py"))]
    return fingerprints.of_record([path.read_text() for path in (*files, Path(__file__))])


def values(name: str, optimizers: Mapping[str, Any], seed: int, size: Size, **how: Any) -> Values:
    """Give what a comparison judges, by optimizer, at the settings that its replicates picked.

    Args:
        name: of the task. optimizers, seed, how: as of `compare`.
        size: in its folder the values are kept, and found again by the same code.
    """
    problem = {**TASKS, **PROBLEMS}[name]()

    def judged() -> Values:
        comparison = compare(problem, optimizers, seed=seed, **how)
        return verdicts.values(comparison, "tuned", comparison.target)

    lengths = {"epochs": problem.epochs, "steps": problem.steps, "seed": seed, **how}
    kind = "special" if "tune" in how else "twins"
    record = {"optimizers": list(optimizers), **lengths}
    return _kept(f"{name}-{kind}-{seed}", record, size, judged)


def _kept(what: str, record: Mapping[str, Any], size: Size, make: Callable[[], Values]) -> Values:
    """Find what was made before under a record, by the same code, or make and keep it."""
    record = {**record, **devices.releases(), "sources": sources()}
    path = size.folder and size.folder / "honesty" / f"{what}.safetensors"
    if path and path.exists():
        kept, own = arrays.read(path)
        if own == record:
            return kept
    began = time.process_time()
    made = make()
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays.write(path, made, record)
    print(f"{what}: {time.process_time() - began:.0f} s of CPU", flush=True)
    return made


def told_at(name: str, seed: int) -> Float[np.ndarray, " K"]:
    """Let a comparison of SGD and its twin grow; tell at which looks one is told from the other."""
    problem, told = {**TASKS, **PROBLEMS}[name](), []
    with tempfile.TemporaryDirectory() as folder:
        for count in LOOKS:
            comparison = compare(
                problem, {"own": _twin}, replicates=count, seed=seed, folder=folder
            )
            told.append(comparison.pairs[0].verdict in _WRONG)
    return np.array(told, float)


def growing(name: str, size: Size) -> Float[np.ndarray, "C K"]:
    """Tell of each comparison of a task that grows at which looks a twin is told from SGD."""
    count = max(1, size.comparisons // _CHEAPER)

    def made() -> Values:
        return {"told": np.array([told_at(name, seed) for seed in range(count)])}

    return _kept(f"{name}-growing", {"looks": list(LOOKS), "comparisons": count}, size, made)[
        "told"
    ]


class Pieces(NamedTuple):
    """Comparisons of so many replicates, cut out of one.

    Attributes:
        mine, others: shape [C, R], values of an optimizer and of what it is held against.
        share: of the level, that each has. scale: that they are compared on.
    """

    mine: Float[np.ndarray, "C R"]
    others: Float[np.ndarray, "C R"]
    share: float
    scale: statistics.Scale

    @property
    def pairs(self) -> list[Paired]:
        """What the tests say of each."""
        return [
            paired(mine, others, self.share, self.scale)
            for mine, others in zip(self.mine, self.others, strict=True)
        ]

    @property
    def verdicts(self) -> list[statistics.Verdict]:
        """What is said of each."""
        size = statistics.location(self.others.ravel(), self.share, self.scale).estimate
        return [
            statistics.verdict(pair, self.share, MARGIN, self.scale, size) for pair in self.pairs
        ]

    @property
    def wrong(self) -> np.ndarray:
        """Which of them tell a twin from SGD."""
        return np.array([each in _WRONG for each in self.verdicts])

    @property
    def truth(self) -> float:
        """The difference that all the replicates together have."""
        whole = paired(self.mine.ravel(), self.others.ravel(), self.share, self.scale)
        return whole.difference.estimate

    @property
    def coverage(self) -> float:
        """The share of intervals that hold the difference of all the replicates together."""
        truth, intervals = self.truth, [pair.difference for pair in self.pairs]
        holds = [each.low <= truth <= each.high for each in intervals if not np.isnan(each.low)]
        return float(np.mean(holds))

    @property
    def power(self) -> float:
        """The share that tells a shift, up or down, by what the piece before says it would."""
        told, truth, ratios = [], self.truth, self.scale == "ratio"
        for (before, mine), (held, others) in zip(
            itertools.pairwise(self.mine), itertools.pairwise(self.others), strict=True
        ):
            least = statistics.smallest_told(before, held, self.share, self.scale, _POWER)
            # Where too few lasted nothing is said.
            if np.isinf(least):
                continue
            centred = mine / truth if ratios else mine - truth
            up, down = (
                paired(moved, others, self.share, self.scale).difference
                for moved in (
                    (centred * least, centred / least)
                    if ratios
                    else (centred + least, centred - least)
                )
            )
            told += [up.low > ratios, down.high < ratios]
        return float(np.mean(told))


def cut(judged: Values, name: str, count: int, tests: int = 1, other: str = "sgd") -> Pieces:
    """Cut the replicates of two optimizers into comparisons, as many as there are.

    Where most of them are compared as ratios, those few are left out in which a zero forbids it.

    Args:
        judged: by optimizer. name, other: of one, and of what it is held against.
        count: replicates of each.
        tests: optimizers that share the level.
    """
    pieces = {
        each: values[: len(values) // count * count].reshape(-1, count)
        for each, values in judged.items()
    }
    above = np.all([np.all(each > 0, axis=1) for each in pieces.values()], axis=0)
    scale: statistics.Scale = "ratio" if np.mean(above) > 0.5 else "difference"
    kept = above | (scale == "difference")
    share = statistics.spent(1, LEVEL) / tests
    return Pieces(pieces[name][kept], pieces[other][kept], share, scale)


def alarms(judged: Values, names: Sequence[str], count: int) -> float:
    """Give the share of comparisons of twins in which any of them is told from SGD."""
    wrong = [cut(judged, name, count, len(names)).wrong for name in names]
    return float(np.mean(np.any(wrong, axis=0)))


class Row(NamedTuple):
    """Shares of comparisons, by how many replicates they have."""

    task: str
    what: str
    shares: tuple[float, ...]


ALARMS, COVERAGE, POWER = "alarms", "coverage", "power"


def rows(name: str, size: Size) -> list[Row]:
    """Measure one task: twins of SGD, one of them, all at once, on other seeds; and Adam."""
    twins = {"own": _twin, **_twins()}
    replicates = size.comparisons * COUNTS[-1] // _SEEDS
    parts = [
        values(name, {"adam": "adam"} | twins, seed, size, replicates=replicates)
        for seed in range(_SEEDS)
    ]
    judged = {each: np.concatenate([part[each] for part in parts]) for each in parts[0]}
    # Each replicate against another one: they share nothing, and there is no difference at all.
    apart = judged | {"own": np.roll(judged["sgd"], replicates)}

    def told(what: str, values: Values, names: Sequence[str]) -> Row:
        return Row(name, f"{ALARMS}: {what}", tuple(alarms(values, names, n) for n in COUNTS))

    def of_pieces(what: str, optimizer: str) -> Row:
        pieces = (cut(judged, optimizer, count) for count in COUNTS)
        return Row(name, f"{what}: {optimizer}", tuple(getattr(each, what) for each in pieces))

    worst = tuple(max(alarms(judged, [twin], n) for twin in twins) for n in COUNTS)
    return [
        told("another range", judged, ["own"]),
        told("other seeds", apart, ["own"]),
        told("eight at once", judged, list(twins)),
        Row(name, "the worst of eight ranges alone", worst),
        of_pieces(COVERAGE, "own"),
        of_pieces(COVERAGE, "adam"),
        of_pieces(POWER, "own"),
        of_pieces(POWER, "adam"),
    ]


def general(name: str, size: Size) -> list[tuple[str, ...]]:
    """Hold momentum against SGD, both in their whole spaces, and SGD's rate alone; words."""
    judged = values(
        name,
        {"momentum": "momentum", "rate alone": "sgd"},
        0,
        size,
        replicates=size.comparisons,
        tune={"sgd": "all", "momentum": "all", "rate alone": "rate"},
        budget=36,
    )
    found = []
    for mine, other in _SPECIAL:
        pieces = cut(judged, mine, size.comparisons, len(_SPECIAL), other)
        estimate, low, high = pieces.pairs[0].difference
        figures = f"{estimate:.3g} ({low:.3g} to {high:.3g})"
        found.append((name, f"{mine} against {other}", figures, pieces.verdicts[0]))
    return found


def claims(measured: Sequence[Row]) -> dict[str, float]:
    """Give what targets are set for: alarms in the mean and at their most, coverage and power."""

    def of(what: str) -> list[float]:
        return [share for row in measured if row.what.startswith(what) for share in row.shares]

    def farthest(optimizer: str) -> float:
        """Of the means over tasks, one for each number of replicates."""
        each = [row.shares for row in measured if row.what == f"{POWER}: {optimizer}"]
        return float(np.max(np.abs(np.mean(each, axis=0) - _POWER)))

    return {
        "alarms, mean": float(np.mean(of(ALARMS))),
        "alarms, most in a cell": max(of(ALARMS)),
        "coverage, its mean from 95%": abs(float(np.mean(of(COVERAGE))) - 0.95),
        "power, farthest mean from 80%": farthest("adam"),
        "power of twins, farthest mean from 80%": farthest("own"),
    }


def honesty(size: Size) -> Section:
    """Count false alarms, missed truths and differences told, of hundreds of whole comparisons."""
    special = [row for name in GENERAL for row in general(name, size)]
    measured = [row for name in PROBLEMS for row in rows(name, size)]
    shares = [(row.task, row.what, *(f"{each:.1%}" for each in row.shares)) for row in measured]
    worse = sum(row[-1] in ("worse", "fails more often") for row in special)
    sure = 1 - statistics.spent(1, LEVEL)
    notes = (
        f"Of {size.comparisons} comparisons of {COUNTS[-1]} replicates, and as many more of fewer. "
        "Alarms: plain SGD of another range (own: as any function), of other seeds, or of eight "
        f"other ranges any one, is told from SGD. Coverage: an interval of {sure:.0%} holds the "
        "estimate of all replicates together.",
        "Power: a shift up or down by the smallest difference that the comparison before says four "
        "in five would tell is told.",
        f"Special cases: of {size.comparisons} replicates.",
    )
    return Section(
        claims={**claims(measured), "a more general optimizer is worse": float(worse)},
        tables=[
            Table("Honesty", ("", "", *(f"{count} replicates" for count in COUNTS)), shares),
            Table("Special cases", ("", "", "ratio or difference", ""), special),
        ],
        figures={"shares": [row._asdict() for row in measured], "special": special},
        notes=notes,
    )


def looks(size: Size) -> Section:
    """Count the growing comparisons in which SGD is told from its twin at any of five looks."""
    told = {name: growing(name, size) for name in PROBLEMS}
    # One that is told at a look was told, whatever is said later.
    by_look = {name: np.logical_or.accumulate(each > 0, axis=1) for name, each in told.items()}
    every = np.concatenate([*by_look.values()])
    rows = [
        (name, f"{len(each)}", *(f"{share:.1%}" for share in each.mean(axis=0)))
        for name, each in [*by_look.items(), ("together", every)]
    ]
    columns = ("", "comparisons", *(f"by {count} replicates" for count in LOOKS))
    return Section(
        claims={"alarms at any of five looks": float(every[:, -1].mean())},
        tables=[Table("Looks", columns, rows)],
        figures={"told": {name: each.tolist() for name, each in told.items()}},
        notes=(
            "Plain SGD against its twin, searched over another range, in one folder to which "
            "replicates are added: how many were called different by then.",
        ),
    )

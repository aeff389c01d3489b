"""All that is decided of a comparison before its first run.

Shapes: R replicates, S tuning seeds of each.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Int

from jaxnet._guards.defaults import Budget, Pairs
from jaxnet._guards.procedures import BLOCK, Replication
from jaxnet.compare.search import Search
from jaxnet.errors import InputError

Part = Literal["training", "validation", "test"]
TIMES = ("steps", "evaluations", "seconds")
# Longer are fingerprints, which say nothing to a reader.
_SHORT = 40


@dataclasses.dataclass(frozen=True)
class Tuning:
    """How a replicate picks a setting: by the lowest mean loss over seeds of its own.

    Attributes:
        data: the part whose loss decides.
        seeds: how many each trial is trained on, the same for all trials of a replicate.
        budget: what of it is equal for all optimizers.
    """

    data: Literal["training", "validation"]
    seeds: int
    budget: Budget

    def __post_init__(self) -> None:
        """Refuse seeds that are none."""
        _check("tuning_seeds", self.seeds > 0, "at least 1", self.seeds, "give more")
        _check_among("budget_of", self.budget, get_args(Budget))


@dataclasses.dataclass(frozen=True)
class Judging:
    """How the settings picked are judged: each on one seed of its replicate's own.

    Attributes:
        data: the part whose loss or metric is judged.
        by: "loss", the name of a metric, or "steps", "evaluations" or "seconds", those to the
            target.
        maximised: whether more of it is better.
        target: the loss that steps to it are counted to, on the data tuned on; None for the
            baseline's own at its end.
        pairs: what is compared: every other optimizer with the baseline, or all with each other.
        level: of all tests together, at all looks.
        margin: the share of the baseline's value within which another is as good.
        looks: how many replicates there were at each look, this one last.
    """

    data: Part
    by: str
    maximised: bool
    target: float | None
    pairs: Pairs
    level: float
    margin: float
    looks: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse pairs, a target, a level, a margin or looks that are none."""
        _check_among("pairs", self.pairs, get_args(Pairs))
        if self.target is not None and not (_is_real(self.target) and math.isfinite(self.target)):
            raise InputError(
                f"target: expected a finite loss, got {self.target!r}; None takes the baseline's "
                "own at its end"
            )
        share = "give a share, such as 0.05"
        inside = _is_real(self.level) and 0 < self.level < 1
        _check("level", inside, "a number between 0 and 1", self.level, share)
        wide = _is_real(self.margin) and self.margin >= 0
        _check("margin", wide, "at least 0", self.margin, share)
        growing = bool(self.looks) and all(a < b for a, b in itertools.pairwise((0, *self.looks)))
        expected = "replicates, more at each look"
        _check("looks", growing, expected, self.looks, "give their numbers, rising")


@dataclasses.dataclass(frozen=True)
class Protocol:
    """All that is decided beforehand: what is compared on what, how it is tuned, how it is judged.

    Attributes:
        optimizers: by name, in the order that they run, the baseline first.
        tuning: how a setting is picked. judging: how it is judged.
        seed: that all draws hang on; another one makes a replication.
        steps: of each run. batch_size: B; 0 where there is no data.
        rows: of each part of the data that there is.
        metrics: names of what is measured beside the loss.
        data: the fingerprint of all parts. start: that of a start. program: that of what the
            functions do.
    """

    optimizers: Mapping[str, Search]
    tuning: Tuning
    judging: Judging
    seed: Replication
    steps: int
    batch_size: int
    rows: Mapping[Part, int]
    metrics: tuple[str, ...]
    data: str
    start: str
    program: str

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        _check("optimizers", bool(self.optimizers), "at least one", self.optimizers, "give some")
        parts = list(self.rows)
        tuned_on = "validation" if "validation" in parts else "training"
        judged = "test" if "test" in parts else tuned_on
        _check_among("tuning.data", self.tuning.data, [tuned_on])
        _check_among("judging.data", self.judging.data, [judged])
        _check_among("judging.by", self.judging.by, ("loss", *TIMES, *self.metrics))
        rows = all(count > 0 for count in self.rows.values()) and ("training" in parts or not parts)
        _check("rows", rows, "rows to train on", self.rows, "give some of each part")
        least, most = (1, self.rows["training"]) if parts else (0, 0)
        _check_range("batch_size", self.batch_size, least, most)
        _check("steps", self.steps > 0, "at least 1", self.steps, "give more")
        most = BLOCK // (1 + self.tuning.seeds)
        _check(
            "replicates", self.replicates <= most, f"at most {most}", self.replicates, "give fewer"
        )

    @property
    def baseline(self) -> str:
        """The optimizer that the others are held against."""
        return next(iter(self.optimizers))

    @property
    def replicates(self) -> int:
        """How many replicates there are, R."""
        return self.judging.looks[-1]

    @property
    def planned(self) -> int:
        """How many runs there are to be."""
        # Three judge: at the setting picked, the recommended and the customary one.
        trials = sum(each.trials * self.tuning.seeds + 3 for each in self.optimizers.values())
        return self.replicates * trials

    @property
    def comparisons(self) -> list[tuple[str, str]]:
        """The pairs of optimizers that are tested, the one held against the other second."""
        names = list(self.optimizers)
        if self.judging.pairs == "all":
            return [(b, a) for a, b in itertools.combinations(names, 2)]
        return [(name, names[0]) for name in names[1:]]

    def seeds(self) -> Int[np.ndarray, "R _"]:
        """Give the seeds of each replicate: the one that judges, then those that tune."""
        each = 1 + self.tuning.seeds
        seeds = self.seed * BLOCK + np.arange(self.replicates * each)
        return seeds.reshape(self.replicates, each).astype(np.int32)

    def at(self, replicates: int) -> "Protocol":
        """Give the protocol of one more look, at more replicates."""
        looks = (*self.judging.looks, replicates)
        return dataclasses.replace(self, judging=dataclasses.replace(self.judging, looks=looks))

    def differences(self, other: "Protocol") -> list[str]:
        """Name the decisions that differ, those of a phase or of searches under its name.

        Of a number or a word both are told: this one's, and the other's as asked.
        """
        return list(dict.fromkeys(_differing(dataclasses.asdict(self), dataclasses.asdict(other))))


def _differing(these: Mapping[str, Any], those: Mapping[str, Any]) -> Iterator[str]:
    for name, mine in these.items():
        theirs = those[name]
        if name in ("tuning", "judging"):
            yield from (f"{name}.{each}" for each in _differing(mine, theirs))
        elif name == "optimizers" and mine.keys() == theirs.keys():
            every = (_differing(mine[each], theirs[each]) for each in mine)
            yield from (f"optimizers.{each}" for each in itertools.chain.from_iterable(every))
        elif mine != theirs:
            both = [f"{e:g}" if isinstance(e, float) else str(e) for e in (mine, theirs)]
            short = not isinstance(mine, Mapping | tuple) and max(map(len, both)) < _SHORT
            yield f"{name} ({both[0]} there, {both[1]} asked)" if short else name


def _check(name: str, holds: bool, expected: str, got: Any, cure: str) -> None:
    if not holds:
        raise InputError(f"{name}: expected {expected}, got {got}; {cure}")


def _check_among(name: str, got: Any, words: Sequence[str]) -> None:
    _check(name, got in words, " or ".join(words), got, "give one of these")


def _check_range(name: str, got: int, low: int, high: int) -> None:
    among = _is_real(got) and low <= got <= high
    _check(name, among, f"{low} to {high}", got, "give a number of these")


def _is_real(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating)

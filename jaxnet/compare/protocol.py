"""All that is decided of a comparison before its first run.

Shapes: L learning rates, S seeds.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from jaxnet.errors import InputError

BASELINE = "sgd"
LEVEL = 0.05
Part = Literal["training", "validation", "test"]


@dataclasses.dataclass(frozen=True)
class Search:
    """Where one optimizer is looked for at its best.

    Attributes:
        learning_rates: shape [L], those to try, rising.
        customary_rate: the one it usually has, which is run beside the tuned one.
        note: what its reader must know.
    """

    learning_rates: tuple[float, ...]
    customary_rate: float
    note: str = ""

    def __post_init__(self) -> None:
        """Refuse rates that are none."""
        rates = self.learning_rates
        rising = list(rates) == sorted(set(rates)) and min(rates, default=0) > 0
        _check("learning_rates", rising, "rates above zero, rising", rates)
        _check("customary_rate", self.customary_rate > 0, "a rate above zero", self.customary_rate)


@dataclasses.dataclass(frozen=True)
class Tuning:
    """The first phase: every rate on the same seeds, of which the lowest median loss is taken.

    Attributes:
        data: the part whose loss decides.
        seeds: shape [S].
        extensions: where an end of the range is best it is extended, at most so often,
        extended_by: by so many rates.
    """

    data: Literal["training", "validation"]
    seeds: tuple[int, ...]
    extensions: int = 2
    extended_by: int = 4

    def __post_init__(self) -> None:
        """Refuse seeds that are none."""
        _check_seeds(self.seeds)


@dataclasses.dataclass(frozen=True)
class Judging:
    """The second phase: fresh seeds, each at the tuned rate and at the customary one.

    Attributes:
        data: the part whose loss is judged.
        seeds: shape [S], none of which tuned.
        fewest_seeds: that could tell so many optimizers apart.
        level: of the tests, corrected for all the optimizers.
        target: the loss that steps to it are counted to; plain SGD's own at its end where None.
    """

    data: Part
    seeds: tuple[int, ...]
    fewest_seeds: int
    level: float = LEVEL
    target: float | None = None

    def __post_init__(self) -> None:
        """Refuse seeds and a level that are none."""
        _check_seeds(self.seeds)
        _check("level", 0 < self.level < 1, "a number between 0 and 1", self.level)


@dataclasses.dataclass(frozen=True)
class Protocol:
    """All that is decided beforehand: what is compared on what, how it is tuned, how it is judged.

    Attributes:
        optimizers: by name, in the order that they run, plain SGD first.
        tuning: the first phase. judging: the second.
        epochs: of each run. batch_size: B. steps: of each run.
        rows: of each part of the data that there is.
        metrics: names of what is measured beside the loss.
        data: the fingerprint of all parts. start: that of a start. program: that of what the
            functions do.
        baseline: the optimizer that the others are held against.
    """

    optimizers: Mapping[str, Search]
    tuning: Tuning
    judging: Judging
    epochs: int
    batch_size: int
    steps: int
    rows: Mapping[Part, int]
    metrics: tuple[str, ...]
    data: str
    start: str
    program: str
    baseline: str = BASELINE

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        names, parts = list(self.optimizers), list(self.rows)
        _check("baseline", self.baseline == names[0] if names else False, "the first", names)
        tuned_on = "validation" if "validation" in parts else "training"
        judged = "test" if "test" in parts else tuned_on
        _check("tuning.data", self.tuning.data == tuned_on, tuned_on, self.tuning.data)
        _check("judging.data", self.judging.data == judged, judged, self.judging.data)
        both = set(self.tuning.seeds) & set(self.judging.seeds)
        _check("judging.seeds", not both, "seeds that did not tune", sorted(both))
        _check(
            "rows",
            min(self.rows.values(), default=0) > 0 and "training" in parts,
            "rows",
            self.rows,
        )
        fits = self.epochs > 0 and 0 < self.batch_size <= self.rows["training"]
        _check("batch_size", fits, "1 to the rows of an epoch", self.batch_size)
        steps = self.epochs * (self.rows["training"] // self.batch_size)
        _check("steps", self.steps == steps, str(steps), self.steps)

    def differences(self, other: "Protocol") -> list[str]:
        """Name the decisions that differ, those of a phase under its name."""
        return list(_differing(dataclasses.asdict(self), dataclasses.asdict(other)))


def _differing(these: Mapping[str, Any], those: Mapping[str, Any]) -> Any:
    for name, mine in these.items():
        if name in ("tuning", "judging"):
            yield from (f"{name}.{each}" for each in _differing(mine, those[name]))
        elif mine != those[name]:
            yield name


def _check_seeds(seeds: tuple[int, ...]) -> None:
    _check("seeds", len(set(seeds)) == len(seeds) > 0, "seeds, each once", seeds)
    _check("seeds", min(seeds) >= 0 and max(seeds) < 2**31, "seeds of 31 bits", seeds)


def _check(name: str, holds: bool, expected: str, got: Any) -> None:
    if not holds:
        raise InputError(f"{name}: expected {expected}, got {got}")

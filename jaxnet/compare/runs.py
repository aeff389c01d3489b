"""The runs of a comparison, and what they say of the learning rates tried.

Shapes: R runs, E measurements along a run, L learning rates.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int

from jaxnet.compare.protocol import Protocol
from jaxnet.devices import Provenance
from jaxnet.errors import InputError

PHASES = ("tuning", "tuned", "default")


class Runs(NamedTuple):
    """Every run of one optimizer in one phase of the protocol.

    Attributes:
        optimizer: its name.
        phase: "tuning", "tuned" (the chosen rate, fresh seeds) or "default" (the customary rate,
            the same fresh seeds).
        learning_rate: shape [R]. seed: shape [R].
        diverged: shape [R], the step, from 0, whose loss was the first not finite; -1 where none.
        evaluations: shape [R], gradients of a whole batch that the run computed.
        loss: shape [R, E], the training loss, a mean over the steps since the measurement before.
        validation: by name, "loss" and each metric, shape [R, E]; empty without validation data.
        test: by name, "loss" and each metric, shape [R]; empty while tuning and without test data.
    """

    optimizer: str
    phase: str
    learning_rate: Float[np.ndarray, " R"]
    seed: Int[np.ndarray, " R"]
    diverged: Int[np.ndarray, " R"]
    evaluations: Int[np.ndarray, " R"]
    loss: Float[np.ndarray, "R E"]
    validation: dict[str, Float[np.ndarray, "R E"]]
    test: dict[str, Float[np.ndarray, " R"]]

    @property
    def tuned_on(self) -> str:
        """The data that learning rates are chosen by: "validation" or "training"."""
        return "validation" if self.validation else "training"

    def final(self, data: str) -> Float[np.ndarray, " R"]:
        """Give the loss of each run at its end, infinite where it diverged.

        Args:
            data: "training", "validation" or "test".
        """
        losses = self.test["loss"] if data == "test" else self._along(data)[:, -1]
        lasted = (self.diverged < 0) & np.isfinite(losses)
        return np.where(lasted, losses, np.inf).astype(np.float64)

    def curves(self, steps: Int[np.ndarray, " E"]) -> Float[np.ndarray, "R E"]:
        """Give the losses along the runs on the data tuned on, infinite once a run diverged.

        Args:
            steps: how many were done at each measurement.
        """
        losses, diverged = self._along(self.tuned_on), self.diverged[:, None]
        lasts = (diverged < 0) | (steps <= diverged)
        return np.where(lasts & np.isfinite(losses), losses, np.inf)

    def _along(self, data: str) -> Float[np.ndarray, "R E"]:
        return self.validation["loss"] if data == "validation" else self.loss

    def by_rate(self) -> tuple[Float[np.ndarray, " L"], Float[np.ndarray, " L"]]:
        """Give the rates tried, rising, and the median over seeds of the loss tuned by.

        It is infinite where half of the seeds or more diverged.
        """
        losses = self.final(self.tuned_on)
        rates = np.unique(self.learning_rate)
        middle = [
            np.quantile(losses[self.learning_rate == rate], 0.5, method="higher") for rate in rates
        ]
        return rates, np.array(middle)

    def best_rate(self) -> tuple[float, str]:
        """Give the best rate, and the end of the range it is: "lowest", "highest" or "".

        Of equals it is the lowest, also where all diverge; a single rate is no end.
        """
        rates, losses = self.by_rate()
        best = int(np.argmin(losses))
        ends = {0: "lowest", len(rates) - 1: "highest"} if len(rates) > 1 else {}
        return float(rates[best]), ends.get(best, "")

    def beyond(self, count: int) -> list[float]:
        """Give rates beyond the end that is best, as far apart as those tried; none elsewhere."""
        rates = self.by_rate()[0]
        best, edge = self.best_rate()
        if not edge:
            return []
        apart = (rates[-1] / rates[0]) ** (1 / (len(rates) - 1))
        apart = apart if edge == "highest" else 1 / apart
        return [best * apart**further for further in range(1, count + 1)]

    def map(self, function: Callable[..., Any], *others: "Runs") -> "Runs":
        """Apply a function to each array, with the same one of other runs after it."""
        arrays = {
            name: jax.tree.map(function, *(getattr(runs, name) for runs in (self, *others)))
            for name in Runs._fields[2:]
        }
        return self._replace(**arrays)


@dataclasses.dataclass(frozen=True)
class Seconds:
    """What the runs of an optimizer took.

    Attributes:
        compile: to trace and compile its program, once.
        run: all of its runs, tuning included.
        step: one step of one run, at its fastest.
    """

    compile: float
    run: float
    step: float

    def __post_init__(self) -> None:
        """Refuse times below zero."""
        for name, seconds in vars(self).items():
            if seconds < 0:
                raise InputError(f"{name}: expected no time below zero, got {seconds}")


@dataclasses.dataclass(frozen=True)
class Log:
    """What goes with a comparison and was no decision: its name, and what was met on the way.

    Attributes:
        title: of the report. command: that repeats it, where there is one.
        provenance: device, dtype, versions.
        verified: what was held against NumPy, in words.
        seconds: by optimizer.
        reasons: by optimizer, where and why one of its runs at the tuned rate diverged.
        unable: by name, why an optimizer cannot step from these parameters.
    """

    title: str
    command: str
    provenance: Provenance
    verified: str
    seconds: Mapping[str, Seconds]
    reasons: Mapping[str, str]
    unable: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Record:
    """All that a comparison leaves, of which its answers are.

    Attributes:
        protocol: what was decided. log: what was met.
        steps: shape [E], steps done at each measurement.
        runs: all of them, one of each optimizer and phase.

    Raises:
        InputError: runs that are not those of the protocol.
    """

    protocol: Protocol
    log: Log
    steps: Int[np.ndarray, " E"]
    runs: list[Runs]

    def __post_init__(self) -> None:
        """Refuse runs that are not those of the protocol."""
        names = list(self.protocol.optimizers)
        kinds = sorted((runs.optimizer, runs.phase) for runs in self.runs)
        if kinds != sorted((name, phase) for name in names for phase in PHASES):
            raise InputError(
                f"runs: expected {', '.join(PHASES)} of each of {', '.join(names)}, got {kinds}"
            )
        if sorted(self.log.seconds) != sorted(names):
            raise InputError(f"seconds: expected those of {names}, got {sorted(self.log.seconds)}")
        if list(self.steps[-1:]) != [self.protocol.steps]:
            raise InputError(f"steps: expected {self.protocol.steps} at the end, got {self.steps}")
        for runs in self.runs:
            self._check(runs)

    def _check(self, runs: Runs) -> None:
        protocol, fresh = self.protocol, runs.phase != "tuning"
        expected = protocol.judging.seeds if fresh else protocol.tuning.seeds
        got = runs.seed.tolist() if fresh else set(runs.seed.tolist())
        measured = {"loss", *protocol.metrics}
        along = measured if "validation" in protocol.rows else set()
        ended = measured if "test" in protocol.rows and fresh else set()
        name = f"{runs.phase} runs of {runs.optimizer}"
        search, rates = protocol.optimizers[runs.optimizer], set(runs.learning_rate.tolist())
        stated = {"tuning": set(search.learning_rates), "default": {search.customary_rate}}
        if not stated.get(runs.phase, set()) <= rates:
            raise InputError(f"{name}: expected {stated[runs.phase]}, got the rates {rates}")
        if got != (list(expected) if fresh else set(expected)):
            raise InputError(f"{name}: expected the seeds {list(expected)}, got {runs.seed}")
        if (set(runs.validation), set(runs.test)) != (along, ended):
            raise InputError(
                f"{name}: expected {sorted(along)} of the validation and {sorted(ended)} of the "
                "test "
                f"data, got {sorted(runs.validation)} and {sorted(runs.test)}"
            )

    def phase(self, name: str) -> dict[str, Runs]:
        """Give the runs of a phase by optimizer, in the order of the protocol."""
        runs = {runs.optimizer: runs for runs in self.runs if runs.phase == name}
        return {name: runs[name] for name in self.protocol.optimizers}

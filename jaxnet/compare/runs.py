"""The runs of a comparison, and what they say of the settings tried.

Shapes: R replicates, K trials of each on S seeds, N runs, E measurements along a run.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int

from jaxnet.compare.protocol import Protocol
from jaxnet.devices import Provenance
from jaxnet.errors import InputError

PHASES = ("tuning", "tuned", "recommended", "customary")


class Runs(NamedTuple):
    """Every run of one optimizer in one phase of the protocol.

    Attributes:
        optimizer: its name.
        phase: "tuning"; or, on the seeds that judge, "tuned" (the setting that the replicate
            picked), "recommended" (the one to use in the end) or "customary".
        replicate: shape [N]. trial: shape [N], of the replicate, 0 where it does not tune.
        seed: shape [N]. settings: by hyperparameter, shape [N].
        diverged: shape [N], the step, from 0, whose loss was the first not finite; -1 where the run
            lasts, as after any loss that its optimizer is made to go on after.
        evaluations: shape [N], gradients of a whole batch that the run computed.
        loss: shape [N, E], the training loss, a mean over the steps since the measurement before.
        validation: by name, "loss" and each metric, shape [N, E]; empty without validation data.
            Runs that tune keep the last measurement alone, E = 1, of both.
        test: by name, "loss" and each metric, shape [N], on test data, or of no data where there is
            none at all; empty while tuning and where there is nothing of that.
    """

    optimizer: str
    phase: str
    replicate: Int[np.ndarray, " N"]
    trial: Int[np.ndarray, " N"]
    seed: Int[np.ndarray, " N"]
    settings: dict[str, Float[np.ndarray, " N"]]
    diverged: Int[np.ndarray, " N"]
    evaluations: Int[np.ndarray, " N"]
    loss: Float[np.ndarray, "N E"]
    validation: dict[str, Float[np.ndarray, "N E"]]
    test: dict[str, Float[np.ndarray, " N"]]

    @property
    def tuned_on(self) -> str:
        """The data that settings are chosen by: "validation" or "training"."""
        return "validation" if self.validation else "training"

    def final(self, data: str, measure: str = "loss") -> Float[np.ndarray, " N"]:
        """Give the loss or a metric of each run at its end, infinite where it diverged or has none.

        Args:
            data: "training", "validation" or "test".
            measure: "loss" or the name of a metric.
        """
        if data == "validation":
            values = self.validation[measure][:, -1]
        else:
            # A metric without data is of the last parameters, as one of test data is.
            scored = data == "test" or measure != "loss"
            values = self.test[measure] if scored else self.loss[:, -1]
        lasted = (self.diverged < 0) & np.isfinite(values)
        return np.where(lasted, values, np.inf).astype(np.float64)

    def curves(self, steps: Int[np.ndarray, " E"]) -> Float[np.ndarray, "N E"]:
        """Give the losses along the runs on the data tuned on, infinite once a run diverged.

        Args:
            steps: how many were done at each measurement.
        """
        losses = self.validation["loss"] if self.validation else self.loss
        diverged = self.diverged[:, None]
        lasts = (diverged < 0) | (steps <= diverged)
        return np.where(lasts & np.isfinite(losses), losses, np.inf)

    def finals(self) -> Float[np.ndarray, "R K S"]:
        """Give the loss of each seed of each trial on the data tuned on, as `final` does."""
        return self._by_trial(self.final(self.tuned_on))

    def scores(self) -> Float[np.ndarray, "R K"]:
        """Give the mean loss of each trial over its seeds."""
        return self.finals().mean(axis=-1)

    def tried(self) -> dict[str, Float[np.ndarray, "R K"]]:
        """Give the setting of each trial of each replicate."""
        return {name: self._by_trial(values)[..., 0] for name, values in self.settings.items()}

    def joined(self, *others: "Runs") -> "Runs":
        """Give these runs and others of the same optimizer and phase, by replicate and trial."""
        runs = self.mapped(lambda *arrays: np.concatenate(arrays), *others)
        order = runs.order()
        return runs.mapped(lambda array: array[order])

    def order(self) -> Int[np.ndarray, " N"]:
        """Give the runs by replicate, of each by trial, of each by seed."""
        return np.lexsort((self.seed, self.trial, self.replicate))

    def mapped(self, function: Callable[..., np.ndarray], *others: "Runs") -> "Runs":
        """Apply a function to each array of these runs, and the same of others."""
        arrays = {
            name: jax.tree.map(function, *(getattr(runs, name) for runs in (self, *others)))
            for name in Runs._fields[2:]
        }
        return self._replace(**arrays)

    def _by_trial(self, values: Float[np.ndarray, " N"]) -> Float[np.ndarray, "R K S"]:
        count = len(np.unique(self.replicate)), len(np.unique(self.trial))
        return values[self.order()].reshape(*count, -1)


@dataclasses.dataclass(frozen=True)
class Seconds:
    """What the runs of an optimizer took.

    Attributes:
        compile: to trace and compile its program, once.
        run: all of its runs, tuning included.
        step: one step of one run, at its fastest.
        rounds: one step of the run that judges each replicate, all optimizers timed in turn;
            empty where seconds are not judged.
    """

    compile: float
    run: float
    step: float
    rounds: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Refuse times below zero."""
        for name, seconds in vars(self).items():
            if np.min(seconds, initial=0.0) < 0:
                raise InputError(f"{name}: expected no time below zero, got {seconds}")


@dataclasses.dataclass(frozen=True)
class Log:
    """What goes with a comparison and was no decision: its name, and what was met on the way.

    Attributes:
        title: of the report. command: that repeats it, where there is one.
        provenance: device, dtype, versions.
        verified: what was held against NumPy, in words.
        seconds: by optimizer.
        reasons: by optimizer, where and why one of its runs at a setting picked diverged.
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
        rounds = self.protocol.replicates if self.protocol.judging.by == "seconds" else 0
        if any(len(each.rounds) != rounds for each in self.log.seconds.values()):
            raise InputError(f"seconds: expected {rounds} rounds of each optimizer, got others")
        if list(self.steps[-1:]) != [self.protocol.steps]:
            raise InputError(f"steps: expected {self.protocol.steps} at the end, got {self.steps}")
        for runs in self.runs:
            self._check(runs)

    def _check(self, runs: Runs) -> None:
        protocol, fresh = self.protocol, runs.phase != "tuning"
        search, seeds = protocol.optimizers[runs.optimizer], protocol.seeds()
        own, trials = (seeds[:, :1], 1) if fresh else (seeds[:, 1:], search.trials)
        replicate, trial, at = np.indices((len(own), trials, own.shape[1])).reshape(3, -1)
        expected = np.stack([replicate, trial, own[replicate, at]])
        got = np.stack([runs.replicate, runs.trial, runs.seed])[:, runs.order()]
        name = f"{runs.phase} runs of {runs.optimizer}"
        if not np.array_equal(got, expected):
            raise InputError(
                f"{name}: expected {trials} of each of {len(own)} replicates on its own seeds, "
                "got others"
            )
        if set(runs.settings) != set(search.axes):
            raise InputError(
                f"{name}: expected values of {', '.join(search.axes)}, got those of "
                f"{', '.join(runs.settings)}"
            )
        measured = {"loss", *protocol.metrics}
        along = measured if "validation" in protocol.rows else set()
        scored = "test" in protocol.rows or (protocol.metrics and not protocol.rows)
        ended = measured if scored and fresh else set()
        if (set(runs.validation), set(runs.test)) != (along, ended):
            raise InputError(
                f"{name}: expected {sorted(along)} of the validation and {sorted(ended)} of the "
                f"test data, got {sorted(runs.validation)} and {sorted(runs.test)}"
            )

    def phase(self, name: str) -> dict[str, Runs]:
        """Give the runs of a phase by optimizer, in the order of the protocol."""
        runs = {runs.optimizer: runs for runs in self.runs if runs.phase == name}
        return {name: runs[name] for name in self.protocol.optimizers}

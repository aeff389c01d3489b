"""The runs of a comparison, and what they say of the learning rates tried.

Shapes: R runs, E measurements along a run, L learning rates.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


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

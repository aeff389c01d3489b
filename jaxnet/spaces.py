"""Where a hyperparameter is searched: an axis from 0 to 1, and the value at each point of it.

Points may lie outside: a search that finds its best at an end of a learning rate's axis goes on
beyond it. Where there are no values beyond an end, that end is taken.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
from jaxtyping import Float

from jaxnet._guards.records import Extended
from jaxnet.errors import InputError

__all__ = ["Axis", "Space", "choice", "linear", "log", "one_minus"]


@dataclasses.dataclass(frozen=True)
class Axis:
    """One hyperparameter's axis; of those that `log`, `one_minus`, `linear` and `choice` make.

    Attributes:
        scale: how values lie on it. "log": evenly by their logarithm, also beyond the ends; "one
            minus": so that one minus them do, also above the highest; "linear": evenly, none
            beyond the ends; "choice": each has as long a piece, and there are no others.
        values: lowest and highest; or those to choose among, rising.
    """

    scale: Literal["log", "one minus", "linear", "choice"]
    values: tuple[Extended, ...]

    def __post_init__(self) -> None:
        """Refuse what is no axis."""
        values = self.values
        least = {"log": (0.0, math.inf), "one minus": (-math.inf, 1.0)}
        low, high = least.get(self.scale, (-math.inf, math.inf))
        rising = len(values) > 0 and list(values) == sorted(set(values))
        right = rising and all(not math.isnan(each) for each in values)
        if self.scale != "choice":
            right = right and len(values) == 2 and all(low < each < high for each in values)
        if not right:
            words = {
                "log": "two numbers above zero, rising",
                "one minus": "two numbers below one, rising",
                "linear": "two finite numbers, rising",
                "choice": "numbers, rising, at least one",
            }
            raise InputError(f"{self.scale}: expected {words[self.scale]}, got {values}; give such")

    def at(self, points: Float[np.ndarray, "*R"]) -> Float[np.ndarray, "*R"]:
        """Give the values at points of the axis."""
        if self.scale == "choice":
            piece = np.floor(points * len(self.values)).astype(int)
            return np.asarray(np.array(self.values)[np.clip(piece, 0, len(self.values) - 1)])
        low, high = self.values
        if self.scale == "linear":
            return np.asarray(low + (high - low) * np.clip(points, 0.0, 1.0))
        if self.scale == "log":
            return np.asarray(low * (high / low) ** points)
        return np.asarray(1 - (1 - low) * ((1 - high) / (1 - low)) ** np.maximum(points, 0.0))

    def point(self, values: Float[np.ndarray, "*R"]) -> Float[np.ndarray, "*R"]:
        """Give the points of values, of a choice the middle of its piece.

        That of zero is minus infinity where the scale is logarithmic.
        """
        if self.scale == "choice":
            return np.asarray((np.searchsorted(self.values, values) + 0.5) / len(self.values))
        low, high = self.values
        if self.scale == "linear":
            return np.asarray((values - low) / (high - low))
        if self.scale == "log":
            with np.errstate(divide="ignore"):
                return np.asarray(np.log(values / low) / np.log(high / low))
        return np.asarray(np.log((1 - values) / (1 - low)) / np.log((1 - high) / (1 - low)))


Space = Mapping[str, Axis]
"""The axes of an optimizer's hyperparameters, by name."""


def log(low: float, high: float) -> Axis:
    """Search between two values above zero by orders of magnitude, as learning rates are.

    Raises:
        InputError: values that are not above zero and rising.
    """
    return Axis("log", (float(low), float(high)))


def one_minus(low: float, high: float) -> Axis:
    """Search between two values below one by orders of magnitude of what they lack of it.

    So are momentum and betas searched: 0.9 and 0.99 lie as far apart as 0.99 and 0.999.

    Raises:
        InputError: values that are not below one and rising.
    """
    return Axis("one minus", (float(low), float(high)))


def linear(low: float, high: float) -> Axis:
    """Search evenly between two values, and never beyond them.

    Raises:
        InputError: values that are not finite and rising.
    """
    return Axis("linear", (float(low), float(high)))


def choice(*values: float) -> Axis:
    """Search among a few values; infinity may be one. A single one is always taken.

    Raises:
        InputError: no numbers.
    """
    return Axis("choice", tuple(sorted({float(each) for each in values})))

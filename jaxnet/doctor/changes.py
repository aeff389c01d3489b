"""What may be changed of a run, and what is said of a change."""

import dataclasses
import math
from typing import NamedTuple

from jaxnet.doctor.networks import Network


class Change(NamedTuple):
    """What is changed of a run; of none of these, nothing.

    Attributes:
        factor: what the updates, and so the learning rate, are multiplied by.
        steps: whether it takes more than it took.
        inputs, targets: whether they are standardised, as the training rows are.
        start: whether `jaxnet.init` draws the first parameters.
        outputs: whether nothing follows the last layer.
        loss: whether it is the cross-entropy of classes, of what the last layer gives, or the
            squared error of numbers that the run's does not tell apart.
        activation: whether that of the hidden layers is another, relu unless they have relu.
    """

    factor: float = 1.0
    steps: bool = False
    inputs: bool = False
    targets: bool = False
    start: bool = False
    outputs: bool = False
    loss: bool = False
    activation: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Give the names of what is changed; "rate" where it is the factor alone."""
        names = tuple(name for name in self._fields[1:] if getattr(self, name))
        return names or ("rate",) * (self.factor != 1)

    def within(self, other: "Change") -> bool:
        """Tell whether another changes all of this, and more."""
        pairs = zip(self, other, Change(), strict=True)
        return self != other and all(mine in (theirs, none) for mine, theirs, none in pairs)


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """What helps a run; printed, a sentence, or nothing.

    Attributes:
        statement: what was changed and measured, or that nothing tried tells the targets from the
            inputs; "" where there is nothing to say.
        change: what helps, if something does.
        before: the loss of the run, infinite where it diverged; of a change of the loss the share
            of wrong classes. after: the same with the change, the higher of two trials.
        constant: that of the best constant, or of the first parameters where none is known.
    """

    statement: str
    change: Change | None
    before: float
    after: float
    constant: float

    def __str__(self) -> str:
        """Give the statement."""
        return self.statement


def statement(
    change: Change, network: Network | None, facts: dict[str, str], rate: float | None
) -> str:
    """Say what is not well, and what is changed.

    Args:
        facts: what the "inputs" and "targets" are like, the name of the "loss" of classes or of
            numbers, and how many "steps" are tried.
        rate: that of the run, if it has one.
    """
    _, activation, output = network or ("", "", "")
    squared = facts["loss"] == "squared_error"
    loss = "does not tell the targets apart" if squared else "is not one of classes"
    words = {
        "rate": (f"the learning rate is too {'low' if change.factor > 1 else 'high'}", ""),
        "steps": ("the run is too short", facts["steps"]),
        "inputs": (f"the inputs are unscaled ({facts['inputs']})", "standardised inputs"),
        "targets": (f"the targets are unscaled ({facts['targets']})", "standardised targets"),
        "start": ("other first parameters do better", "others, of jaxnet.init"),
        "outputs": (f"{output} follows the last layer", "nothing after the last layer"),
        "loss": (f"the loss {loss}", f"{facts['loss']} of the last layer"),
        "activation": (
            f"{activation} follows the hidden layers",
            f"{other(activation)} after the hidden layers",
        ),
    }
    problems, remedies = zip(*(words[name] for name in change.names), strict=True)
    if change.factor != 1:
        rates = "updates {:.4g} times as large" if rate is None else "a learning rate of {:.3g}"
        remedies = *remedies, rates.format((rate or 1) * change.factor)
    return f"{', '.join(problems)}: with {' and '.join(filter(None, remedies))}"


def other(activation: str) -> str:
    """Give the activation that is tried in the place of one."""
    return "tanh" if activation == "relu" else "relu"


def fall(what: str, before: float, after: float) -> str:
    """Say what falls, from where to where."""
    since = f"from {before:.3g}" if math.isfinite(before) else "where the run diverged"
    return f"{what} falls to {after:.2g}, {since}"

"""What is changed of a run, and what is found of it."""

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

from jaxnet.doctor.networks import NONE, Network

# What a change must take off: this share of what the best constant loses.
MARGIN = 0.2
# Changes that come so close to the best are as good as it; the first of this order is named first.
_ALIKE = 0.1
_ORDER = ("targets", "inputs", "start", "outputs", "loss", "rate", "steps", "activation", "units")
_ORDER += ("model",)


class Change(NamedTuple):
    """What is changed of a run.

    Attributes:
        name: "rate", "steps", "start", "inputs", "targets", "outputs", "activation", "loss",
            "units" or "model".
        factor: what the updates, and so the learning rate, are multiplied by.
        start: "" where the same numbers are in other places, "last" where it goes on from its end,
            "init" where `jaxnet.init` draws it.
        inputs, targets: whether they are standardised.
        activation: of the hidden layers, in the place of theirs; "" for theirs.
        plain: whether nothing follows the last layer.
        entropy: whether the loss is the cross-entropy of classes, of the last layer's outputs.
        wider: how many times as many hidden units, where they change.
    """

    name: str
    factor: float = 1.0
    start: str = ""
    inputs: bool = False
    targets: bool = False
    activation: str = ""
    plain: bool = False
    entropy: bool = False
    wider: int = 0


@dataclasses.dataclass(frozen=True)
class Finding:
    """What is wrong with a run.

    Attributes:
        name: of the change, or "data" where nothing helps.
        statement: what is wrong and what helps, in a sentence with what was measured.
        change: what helps. before: the loss of the run, infinite where it diverged. after: the
            highest of the trials with the change; of "loss" both are shares of wrong classes.
    """

    name: str
    statement: str
    change: Change | None
    before: float
    after: float


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """What is wrong with a run; printed, a line for each finding, none where there are none.

    Attributes:
        findings: the change to make first, and others that do as well.
        ended: the loss of the run, infinite where it diverged. constant: that of the best
            constant, or of the start where the loss is no `BatchLoss`.
    """

    findings: tuple[Finding, ...]
    ended: float
    constant: float

    def __str__(self) -> str:
        """Give the statements, a line each."""
        return "\n".join(each.statement for each in self.findings)


class Tried(NamedTuple):
    """A change and what came of it, as shares of what the best constant loses.

    Attributes:
        before: without the change. after: with it, the highest of the seeds.
    """

    change: Change
    before: float
    after: float


def chosen(tried: list[Tried]) -> list[Tried]:
    """Give the changes that take enough off and are as good as the best, one of a name.

    Those that change least are first. A linear model is named where nothing else is.
    """
    clear = [each for each in tried if each.before - each.after > MARGIN]
    best = min((each.after for each in clear), default=0.0) + _ALIKE
    alike = sorted((each for each in clear if each.after <= best), key=_rank)
    first = {each.change.name: each for each in reversed(alike)}
    return [each for name, each in reversed(first.items()) if name != "model"] or alike[:1]


def _rank(tried: Tried) -> tuple[int, int, float]:
    """Give how much is changed, the place of its name, and what is left."""
    name, factor, *others = tried.change
    return sum(map(bool, others)) + (factor != 1), _ORDER.index(name), tried.after


def problem(change: Change, known: Network | None) -> str:
    """Say what is wrong where a change helps."""
    _, activation, output = known or ("", NONE, NONE)
    return {
        "rate": f"the learning rate is too {'low' if change.factor > 1 else 'high'}",
        "steps": "the run is too short",
        "start": "the first parameters are badly drawn" if change.start else "the start is unlucky",
        "inputs": "the inputs are unscaled",
        "targets": "the targets are unscaled",
        "outputs": f"{output} after the last layer is in the way",
        "activation": f"{activation} between the layers is in the way",
        "loss": "the loss is not one of classes",
        "units": "the units are too few",
        "model": "a linear model does better",
    }[change.name]


def parts(change: Change, rate: float | None, steps: int, entropy: str) -> Iterator[str]:
    """Say what is changed, part by part."""
    if change.name == "start" and not change.start:
        yield "the same numbers in other places"
    if change.start == "last":
        yield f"{steps} more steps"
    if change.start == "init":
        yield "parameters of jaxnet.init"
    if change.wider:
        yield f"{change.wider} times as many hidden units"
    if change.inputs or change.targets:
        what = [name for name in ("inputs", "targets") if getattr(change, name)]
        yield f"standardised {' and '.join(what)}"
    if change.activation:
        yield f"{change.activation} between the layers"
    if change.plain:
        yield "nothing after the last layer"
    if change.entropy:
        yield f"{entropy} of its outputs as the loss"
    if change.factor != 1:
        more = f"updates {change.factor:.3g} times as large"
        yield more if rate is None else f"a learning rate of {rate * change.factor:.3g}"

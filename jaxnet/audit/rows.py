"""What an audit says of one parameter, and of one line."""

from typing import Literal, NamedTuple

from jaxnet.audit.floats import Gradient

Verdict = Literal["right", "wrong", "undecided"]


class Row(NamedTuple):
    """The audit of one parameter.

    Attributes:
        name: its path in the pytree, such as `[0].weight`.
        shape: of the parameter.
        claimed, true: the claimed gradient and that by autodiff, in float64.
        relative_error: norm of the difference over the larger of the two norms; nan where the
            shapes differ.
        cosine: of the angle between the two; nan where undefined.
        resolution: the smallest relative error that rounding would not hide.
        finite_differences: the largest disagreement of autodiff with finite differences, relative
            to the norm of the whole gradient.
        verdict: "right", "wrong" or "undecided".
        diagnosis: what was done wrong, why it cannot be decided, or how exactly it is right; empty
            where it is right.
        wrong_formula, right_formula: what was computed and what should be; empty where unknown.
        signal: whether a named mistake in a network's error signal made it wrong.
    """

    name: str
    shape: tuple[int, ...]
    claimed: Gradient
    true: Gradient
    relative_error: float
    cosine: float
    resolution: float
    finite_differences: float
    verdict: Verdict
    diagnosis: str
    wrong_formula: str
    right_formula: str
    signal: bool

    @property
    def claimed_norm(self) -> float:
        """Euclidean norm of the claimed gradient."""
        return _norm(self.claimed)

    @property
    def true_norm(self) -> float:
        """Euclidean norm of the true gradient."""
        return _norm(self.true)


class Correction(NamedTuple):
    """A line of a claim that was changed, with which gradients are right.

    Attributes:
        line: its number in the file. function: that it is in.
        before, after: what it says, and what it should say.
        leaves: whose gradients are right for it, by number.
    """

    line: int
    function: str
    before: str
    after: str
    leaves: frozenset[int]


def _norm(gradient: Gradient) -> float:
    return float((gradient.astype(float) ** 2).sum() ** 0.5)

"""The numbers that a gradient may be off by that have a meaning: of the batch, the outputs, rates.

Shapes: N examples.
"""

import itertools
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from jaxnet.audit.case import Case, Factor, Reduction, reduction, take

# What is off by N, and by 1 / N, by how the loss takes its examples together.
_OF_ROWS = {
    "mean": (
        "summed over the batch where the loss takes the mean",
        "divided by the batch size once more",
    ),
    "sum": ("multiplied by the batch size", "averaged over the batch where the loss takes the sum"),
    "neither": ("multiplied by the batch size", "divided by the batch size"),
}
# A half is no rate.
_RATES = tuple(float(f"{k}e-{n}") for n in range(1, 6) for k in (1, 2, 3, 5) if (k, n) != (5, 1))


class Counts(NamedTuple):
    """What of a loss gives factors their meaning, whatever N.

    Attributes:
        how: it takes its examples together. outputs: that it takes the mean over.
        widths: the number of features and outputs, by name.
        sizes: of the axes of a batch that is one example, or of examples of several axes.
    """

    how: Reduction
    outputs: int
    widths: dict[str, int]
    sizes: set[int]

    def factors(self, rows: int) -> list[Factor]:
        """Give those for so many examples; one number may have several meanings."""
        of_rows, of_others = [], []
        if rows > 1:
            of_rows = _and_inverse(rows, "N", *_OF_ROWS[self.how], of_rows=True)
        if self.outputs > 1:
            summed = "summed over the outputs where the loss takes the mean"
            divided = "divided by the number of outputs once more"
            of_others = _and_inverse(self.outputs, "O", summed, divided)
        for size in sorted(self.sizes):
            words = f"by {size}, the size of an axis of the batch"
            texts = f"multiplied {words}", f"divided {words}"
            of_others += _and_inverse(size, str(size), *texts)
        twos = [Factor(2.0, "doubled", "2 * {}"), Factor(0.5, "halved", "0.5 * {}")]
        named = [*of_rows, *of_others, *twos, *(_rate(number) for number in _RATES)]
        named += [_product(a, b) for a in of_rows for b in (*of_others, *twos)]
        named += [_product(a, b) for a in of_others for b in twos]
        if rows > 1 and self.how == "mean":
            named += [_misdivided(rows, name, width) for name, width in self.widths.items()]
        plain, flip = Factor(1.0, "", "{}", steps=0), Factor(-1.0, "sign flipped", "-{}")
        return [plain, *named, flip, *(_product(factor, flip) for factor in named)]


def _and_inverse(
    number: int, symbol: str, times: str, over: str, of_rows: bool = False
) -> list[Factor]:
    """Give a number and one over it, each in words."""
    return [
        Factor(float(number), times, f"{symbol} * {{}}", of_rows=of_rows),
        Factor(1 / number, over, f"{{}} / {symbol}", of_rows=of_rows),
    ]


def counts_of(case: Case) -> Counts:
    """Read them off a case."""
    leaves = jax.tree.leaves(case.batch)
    named = zip(("features", "outputs"), leaves, strict=True) if len(leaves) == 2 else ()
    widths = {name: leaf.shape[1] for name, leaf in named if leaf.ndim == 2 and leaf.shape[1] > 1}
    outputs = _averaged_outputs(case)
    rows = case.rows
    within = [n for leaf in leaves if rows == 1 or leaf.ndim > 2 for n in leaf.shape]
    sizes = {n for n in within if n not in (1, 2, rows, outputs)}
    return Counts(reduction(case), outputs, widths, sizes)


def _averaged_outputs(case: Case) -> int:
    """Count the outputs that a loss takes the mean over; 1 where it takes none, or is unknown."""
    if not case.chain or not (output := case.chain.output):
        return 1
    outputs = output.p.shape[1]
    # A mean of squares is twice the textbook's half of them.
    usual = (1.0, 2.0) if output.loss == "squared error" else (1.0,)
    averaged = np.isclose(output.scale * outputs / case.chain.scale, usual, rtol=1e-5).any()
    return outputs if averaged else 1


def _misdivided(rows: int, name: str, width: int) -> Factor:
    text = f"divided by the number of {name}, {width}, in place of that of examples"
    return Factor(rows / width, text, f"N * {{}} / {width}", of_rows=True)


def _rate(number: float) -> Factor:
    return Factor(
        number,
        f"multiplied by {number:.3g}, as by a learning rate or by 1 - beta",
        f"{number:.3g} * {{}}",
        is_rate=True,
    )


def _product(one: Factor, other: Factor) -> Factor:
    return Factor(
        one.number * other.number,
        f"{one.text} and {other.text}",
        other.formula.format(one.formula),
        steps=one.steps + other.steps,
        of_rows=one.of_rows,
        is_rate=one.is_rate or other.is_rate,
    )


def another_size(case: Case, batch: PyTree) -> PyTree:
    """Give a batch of another size, at which the fewest factors of different meaning coincide."""
    with jax.enable_x64(True):
        known = counts_of(case)
    sizes = (case.rows + 1, case.rows - 1, *range(case.rows + 2, case.rows + 12))
    rows = min((n for n in sizes if n > 2), key=lambda n: _coincidences(known.factors(n)))
    return take(batch, case.axes, np.arange(rows) % case.rows)


def _coincidences(factors: list[Factor]) -> int:
    numbers = sorted(factor.number for factor in factors if factor.steps <= 1)
    return sum(abs(b - a) < 1e-3 * abs(a) for a, b in itertools.pairwise(numbers))

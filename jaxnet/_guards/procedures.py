"""How optimizers are compared: what the function and the command that do it both take.

A command's help, which is made of this, waits for neither JAX nor NumPy.
"""

import dataclasses
from typing import Annotated

from jaxnet._guards.defaults import BASELINE, MARGIN, SEED, Budget, Pairs
from jaxnet._guards.records import Bounds

Count = Annotated[int, Bounds(1, 2**31 - 1)]
Seed = Annotated[int, Bounds(0, 2**32 - 1)]
BLOCK = 2**16
"""Seeds of runs that one seed of a comparison has: those of another never meet them."""
Replication = Annotated[int, Bounds(0, 2**31 // BLOCK - 1)]
Share = Annotated[float, Bounds(0, 1)]
Name = Annotated[str, Bounds(1, 4096)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Procedure:
    """How optimizers are compared, whatever they are and whatever they train.

    Args:
        baseline: The optimizer that the others are held against.
        pairs: Hold each against the baseline, or all of them against each other.
        budget: Settings that each replicate tries; 20, or 36 of `all`.
        budget_of: What is equal for all: trials, or the gradients or seconds they take.
        tuning_seeds: Seeds that a replicate trains each setting on.
        replicates: Searches of each optimizer, each judged on a seed of its own.
        until: Go on to at most so many replicates while not all is told.
        seed: Of all draws, 0 to 32767; another one makes a true replication.
        by: What is judged: loss, accuracy, error, or steps, evaluations or seconds to a loss.
        margin: The share of the baseline's loss within which another is as good.
    """

    baseline: Name = BASELINE
    pairs: Pairs = "baseline"
    budget: Count | None = None
    budget_of: Budget = "trials"
    tuning_seeds: Count = 3
    replicates: Count = 20
    until: Count | None = None
    seed: Replication = SEED
    by: Name = "loss"
    margin: Share = MARGIN

"""What is taken where nothing is said, and the words that may be: for functions and commands alike.

A command's help, which is made of these, waits for neither JAX nor NumPy.
"""

from collections.abc import Container
from typing import Literal

# Of training, and of the parts of a table.
SEED = 0
VALIDATION = 0.2
TEST = 0.2
# Of comparisons.
BASELINE = "sgd"
LEVEL = 0.05
MARGIN = 0.05

# What is searched of every optimizer; of one that is made already it multiplies the updates.
MULTIPLIER = "multiplier"
_RATES = ("learning_rate", MULTIPLIER)

Task = Literal["classification", "regression"]
Tune = Literal["rate", "all"]
Budget = Literal["trials", "evaluations", "seconds"]
Pairs = Literal["baseline", "all"]


def rate_of(names: Container[str]) -> str:
    """Give the hyperparameter that the size of the steps hangs on, which is always searched."""
    return next((each for each in _RATES if each in names), _RATES[0])

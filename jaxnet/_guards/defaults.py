"""What is taken where nothing is said, and the words that may be: for functions and commands alike.

A command's help, which is made of these, waits for neither JAX nor NumPy.
"""

from typing import Literal

# Of training, and of the parts of a table.
SEED = 0
VALIDATION = 0.2
TEST = 0.2
# Of comparisons.
BASELINE = "sgd"
LEVEL = 0.05
MARGIN = 0.05

Task = Literal["classification", "regression"]
Tune = Literal["rate", "all"]
Budget = Literal["trials", "evaluations", "seconds"]
Pairs = Literal["baseline", "all"]

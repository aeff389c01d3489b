"""Small functional networks in JAX: compiled gradient steps, and honest answers about them.

Beside these names: `jaxnet.audit` holds a gradient against autodiff's, `jaxnet.compare` optimizers
against plain SGD, `jaxnet.optimizers` names those of optax, `jaxnet.devices` spreads work over
devices, `jaxnet.tables` reads tables, `jaxnet.storage` keeps results, `jaxnet.report` shows them.
"""

from typing import TYPE_CHECKING

from jaxnet._guards import versions
from jaxnet.batches import full_batch, shuffled
from jaxnet.errors import FunctionError, InputError
from jaxnet.fitting import Fit, Progress, begin, fit
from jaxnet.losses import BatchLoss, Rule
from jaxnet.network import Layer, forward, init
from jaxnet.streams import stream
from jaxnet.training import State, Step, run, start, step, train

__all__ = [
    "BatchLoss",
    "Fit",
    "FunctionError",
    "InputError",
    "Layer",
    "Progress",
    "Rule",
    "State",
    "Step",
    "begin",
    "fit",
    "forward",
    "full_batch",
    "init",
    "run",
    "shuffled",
    "start",
    "step",
    "stream",
    "train",
]
__version__: str

if not TYPE_CHECKING:  # or every name would be taken for an attribute

    def __getattr__(name: str) -> str:
        """Read the version when it is asked for: finding it takes longer than most modules do."""
        if name == "__version__":
            return versions.own()
        raise AttributeError(f"module 'jaxnet' has no attribute {name!r}")

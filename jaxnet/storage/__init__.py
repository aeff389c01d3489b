"""One way to write arrays with a record of what they are: whole or not at all, and sealed.

`Checkpoints` keep a run of `fit` through kills, `models` a network for any program; both
are `arrays` in sealed `files`. `programs` are forward functions that JAX alone runs.
`fingerprints` tell whether data are those they were.
"""

from jaxnet.storage import arrays, files, fingerprints, models, programs
from jaxnet.storage.checkpoints import Checkpoints

__all__ = [
    "Checkpoints",
    "arrays",
    "files",
    "fingerprints",
    "models",
    "programs",
]

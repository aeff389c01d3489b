"""Small functional networks in JAX: compiled gradient steps, and honest answers about them.

Beside these names: `jaxnet.audit` holds a gradient against autodiff's, `jaxnet.compare` optimizers
against plain SGD, `jaxnet.doctor` says what helps a run, `jaxnet.optimizers` names those of optax,
`jaxnet.spaces` says where they are searched, `jaxnet.devices` spreads work over devices,
`jaxnet.tables` reads tables, `jaxnet.storage` keeps results, `jaxnet.report` shows them,
`jaxnet.sklearn` has scikit-learn's estimators.
"""

import importlib
from typing import TYPE_CHECKING, Any

# Where each name is found once it is asked for: the command's help need not wait for JAX.
_HOMES = {
    "batches": ("full_batch", "shuffled"),
    "errors": ("FunctionError", "InputError"),
    "fitting": ("Fit", "Progress", "begin", "fit"),
    "losses": ("BatchLoss", "Rule"),
    "network": ("Layer", "forward", "init"),
    "streams": ("stream",),
    "training": ("State", "Step", "run", "start", "step", "train"),
    "variables": ("Variables",),
    "_models.ensembles": ("Ensemble", "ensemble"),
    "_models.predicting": ("predict",),
    "_models.summary": ("summary",),
}
_ROOMS = ("audit", "compare", "devices", "doctor", "optimizers", "report", "sklearn", "spaces")
_ROOMS += ("storage", "tables")

if TYPE_CHECKING:
    from jaxnet._models.ensembles import Ensemble as Ensemble
    from jaxnet._models.ensembles import ensemble as ensemble
    from jaxnet._models.predicting import predict as predict
    from jaxnet._models.summary import summary as summary
    from jaxnet.batches import full_batch as full_batch
    from jaxnet.batches import shuffled as shuffled
    from jaxnet.errors import FunctionError as FunctionError
    from jaxnet.errors import InputError as InputError
    from jaxnet.fitting import Fit as Fit
    from jaxnet.fitting import Progress as Progress
    from jaxnet.fitting import begin as begin
    from jaxnet.fitting import fit as fit
    from jaxnet.losses import BatchLoss as BatchLoss
    from jaxnet.losses import Rule as Rule
    from jaxnet.network import Layer as Layer
    from jaxnet.network import forward as forward
    from jaxnet.network import init as init
    from jaxnet.streams import stream as stream
    from jaxnet.training import State as State
    from jaxnet.training import Step as Step
    from jaxnet.training import run as run
    from jaxnet.training import start as start
    from jaxnet.training import step as step
    from jaxnet.training import train as train
    from jaxnet.variables import Variables as Variables

    __version__: str
else:
    __all__ = [name for names in _HOMES.values() for name in names]

    def __getattr__(name: str) -> Any:
        """Import what is asked for; read the version, which takes longer than most modules do."""
        if name == "__version__":
            return importlib.import_module("jaxnet._guards.versions").own()
        if name in _ROOMS:
            return importlib.import_module(f"jaxnet.{name}")
        home = next((home for home, names in _HOMES.items() if name in names), None)
        if home is None:
            raise AttributeError(f"module 'jaxnet' has no attribute {name!r}")
        globals()[name] = getattr(importlib.import_module(f"jaxnet.{home}"), name)
        return globals()[name]

    def __dir__() -> list[str]:
        """List what there is, loaded or not."""
        return sorted({*globals(), *__all__, *_ROOMS})

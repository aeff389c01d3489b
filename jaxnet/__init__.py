"""Small functional networks in JAX: compiled gradient steps and audited gradients."""

import importlib
from typing import TYPE_CHECKING, Any

from jaxnet.errors import InputError

if TYPE_CHECKING:
    from jaxnet import batches, losses, network, training
    from jaxnet.audit import gradients

    __version__: str

__all__ = ["InputError", "batches", "gradients", "losses", "network", "training"]
_MODULES = {name: f"jaxnet.{name}" for name in ("batches", "losses", "network", "training")}
_MODULES["gradients"] = "jaxnet.audit.gradients"


if not TYPE_CHECKING:  # or every name would be taken for an attribute

    def __getattr__(name: str) -> Any:
        """Import a module, or read the version, when it is asked for: `jaxnet --help` needs none.

        JAX takes half a second, in which Ctrl-C would end in a traceback.
        """
        if name in _MODULES:
            return importlib.import_module(_MODULES[name])
        if name == "__version__":
            from jaxnet._guards import versions

            return versions.own()
        raise AttributeError(f"module 'jaxnet' has no attribute {name!r}")

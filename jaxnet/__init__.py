"""Small functional networks in JAX: compiled gradient steps and audited gradients."""

from typing import TYPE_CHECKING

from jaxnet import batches, losses, network, training
from jaxnet._guards import versions
from jaxnet.audit import gradients
from jaxnet.errors import InputError

__all__ = ["InputError", "batches", "gradients", "losses", "network", "training"]
__version__: str

if not TYPE_CHECKING:  # or every name would be taken for an attribute

    def __getattr__(name: str) -> str:
        """Read the version when it is asked for: finding it takes longer than most modules do."""
        if name == "__version__":
            return versions.own()
        raise AttributeError(f"module 'jaxnet' has no attribute {name!r}")

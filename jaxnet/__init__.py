"""Small functional networks in JAX: compiled gradient steps and audited gradients."""

from jaxnet import batches, gradients, losses, network, training
from jaxnet.errors import InputError

__version__ = "0.1.0"
__all__ = ["InputError", "batches", "gradients", "losses", "network", "training"]

"""Small functional networks in JAX: compiled gradient steps and audited gradients."""

from jaxnet import batches, gradients, losses, network, training

__version__ = "0.1.0"
__all__ = ["batches", "gradients", "losses", "network", "training"]

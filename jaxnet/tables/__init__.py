"""A user's table in, standardised arrays and the encoder that made them out (extra `tables`)."""

from jaxnet.tables.tables import Column, Encoder, Split, Target, read, read_batches, split

__all__ = ["Column", "Encoder", "Split", "Target", "read", "read_batches", "split"]

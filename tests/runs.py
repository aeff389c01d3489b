"""What tests of runs share: the key of a step, and how parameters are held against others."""

import jax
import numpy as np


def key_of(seed, t):
    """The documented key of a step."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), np.uint32(2**32 - 1)), t)


def close(these, those):
    """Hold trees against each other, to what rounding in another order may do."""
    for a, b in zip(jax.tree.leaves(these), jax.tree.leaves(those), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)


def same(these, those):
    """Hold trees against each other, to the bit."""
    for a, b in zip(jax.tree.leaves(these), jax.tree.leaves(those), strict=True):
        np.testing.assert_array_equal(a, b)

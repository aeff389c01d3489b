"""What the processes of one run on many hosts agree on, and how one tells the others of an error.

Each holds its own arrays; what they share they compute together, in the same order.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jaxnet._guards import checks
from jaxnet.errors import InputError

# Bytes that a host says at a time, and characters of one thing that it says in full.
_MOST, _LONG = 2**14, 200
_ERROR = "error"


@contextlib.contextmanager
def agreed(many: bool) -> Iterator[dict[str, object]]:
    """Have all hosts raise what one of them raises, and refuse facts that differ between them.

    Args:
        many: whether there are several; all have to come here.

    Yields:
        An empty dict for numbers, texts and pytrees of arrays by name, to be the same on all.

    Raises:
        InputError: another host raised something, or has another fact.
    """
    facts: dict[str, object] = {}
    try:
        yield facts
    except Exception as error:
        if many:
            _everyone({_ERROR: str(error)[: _MOST // 16]})
        raise
    if not many:
        return
    everyone = _everyone({name: _brief(value) for name, value in facts.items()})
    for host, said in enumerate(everyone):
        if _ERROR in said:
            raise InputError(f"host {host}: {said[_ERROR]}")
    first = everyone[0]
    for host, said in enumerate(everyone):
        for name in first | said:
            if first.get(name) != said.get(name):
                raise InputError(
                    f"{name}: expected the same on all hosts, got {first.get(name, 'nothing')} on "
                    f"host 0 and {said.get(name, 'nothing')} on host {host}; give all the same"
                )


def largest(number: int) -> int:
    """Give the largest of the numbers of all hosts, which all have to ask for."""
    if jax.process_count() == 1:
        return number
    from jax.experimental import multihost_utils

    return int(np.max(multihost_utils.process_allgather(np.int32(number))))


def local(tree: PyTree) -> PyTree:
    """Give arrays that are whole on every host as arrays of this one alone."""

    def own(leaf: jax.Array) -> jax.Array:
        if checks.is_key(leaf):
            return jax.random.wrap_key_data(
                own(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf)
            )
        return jnp.asarray(np.asarray(leaf))

    return jax.tree.map(own, tree)


def _everyone(said: dict[str, str]) -> list[dict[str, str]]:
    """Give what every host says, in their order."""
    from jax.experimental import multihost_utils

    words = np.frombuffer(json.dumps(said).encode().ljust(_MOST), np.uint8)
    every = np.asarray(multihost_utils.process_allgather(words))
    return [json.loads(bytes(each)) for each in every]


def _brief(value: object) -> str:
    """Give a fact in few words that tell it from others."""
    leaves = jax.tree.leaves(checks.as_numbers(value))
    if not any(isinstance(leaf, np.ndarray | jax.Array) for leaf in leaves):
        words = str(value)
        whole = f"{words[:_LONG]}... of SHA-256 {hashlib.sha256(words.encode()).hexdigest()[:8]}"
        return words if len(words) <= _LONG else whole
    digest = hashlib.sha256()
    for leaf in map(np.asarray, leaves):
        digest.update(f"{leaf.dtype}{leaf.shape}".encode() + np.ascontiguousarray(leaf).tobytes())
    return f"{len(leaves)} arrays of SHA-256 {digest.hexdigest()[:8]}"

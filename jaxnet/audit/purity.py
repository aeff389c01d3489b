"""Whether a NumPy function is one: what else it does than to give a value, in words."""

import contextlib
import inspect
import io
import pickle
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from jaxnet._guards import checks
from jaxnet.errors import InputError


class Observed(NamedTuple):
    """What a function gave, and what it did besides.

    Attributes:
        value: what it gave; arrays of its own.
        notes: a sentence for each thing that it did.
        remembers: whether it changed what is outside of it.
    """

    value: Any
    notes: tuple[str, ...]
    remembers: bool


def copied(tree: PyTree) -> PyTree:
    """Copy the NumPy arrays of a pytree, so that a function may change them."""
    return jax.tree.map(lambda leaf: leaf.copy() if isinstance(leaf, np.ndarray) else leaf, tree)


@contextlib.contextmanager
def silent() -> Iterator[io.StringIO]:
    """Keep what is printed from the user, and NumPy's warnings."""
    with contextlib.redirect_stdout(io.StringIO()) as printed, np.errstate(all="ignore"):
        yield printed


@contextlib.contextmanager
def own_randomness() -> Iterator[None]:
    """Let no draw of a function's move on what the user draws next."""
    states = np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        np.random.set_state(states[0])
        random.setstate(states[1])


def observe(
    name: str, function: Callable[..., Any], call: Callable[[PyTree, PyTree], Any], given: PyTree
) -> Observed:
    """Call a function twice and see what it does.

    Args:
        name: of it, for the sentences.
        function: as the user wrote it, for its globals.
        call: calls it with `given`, (params, batch).

    Raises:
        InputError: two calls that give other values.
    """
    notes = []
    with silent() as printed, own_randomness():
        before = _globals(function)
        arguments = copied(given)
        first = call(*arguments)
        notes += _changed(name, given, arguments) + _views(name, first, arguments)
        first = copied(first)
        after = _globals(function)
        seeds = _seeds()
        second = copied(call(*copied(given)))
        draws = _seeds() != seeds
    changed = [each for each in before if before[each] != after.get(each)]
    if not _equal(first, second):
        raise _varies(name, draws, changed)
    if changed:
        notes.append(
            f"{name} changes {', '.join(changed)}, outside itself; two calls gave the same, but "
            "what it gives may depend on earlier calls."
        )
    if printed.getvalue():
        notes.append(f"{name} prints; that is left out here.")
    return Observed(first, tuple(notes), bool(changed))


def _varies(name: str, draws: bool, changed: list[str]) -> InputError:
    if draws:
        cause = "it draws random numbers; draw them once, such as a dropout mask, and put them "
        cause += "into batch"
    elif changed:
        cause = f"it changes {', '.join(changed)}; let it depend on its arguments alone"
    else:
        cause = "it draws random numbers, or remembers; let it depend on its arguments alone"
    return InputError(
        f"{name}: expected a function that gives the same for the same arguments, got other "
        f"values from a second call: {cause}"
    )


def _seeds() -> Any:
    return str(np.random.get_state()), random.getstate()


def _paths(tree: PyTree) -> list[tuple[str, Any]]:
    """Give the leaves of (params, batch) and what they are called."""
    params, batch = tree
    return [
        (checks.path(name, part, index), leaf)
        for name, part in (("params", params), ("batch", batch))
        for index, leaf in enumerate(jax.tree.leaves(part))
    ]


def _changed(name: str, given: PyTree, arguments: PyTree) -> list[str]:
    paths = zip(_paths(given), jax.tree.leaves(arguments), strict=True)
    changed = [path for (path, before), after in paths if not _equal(before, after)]
    if not changed:
        return []
    return [
        f"{name} changes {', '.join(changed)} in place; it was given copies here, but elsewhere "
        "the next call sees what this one left: write x = x - y for x -= y, or copy first."
    ]


def _views(name: str, value: Any, arguments: PyTree) -> list[str]:
    given = [pair for pair in _paths(arguments) if isinstance(pair[1], np.ndarray)]
    parts = [leaf for leaf in jax.tree.leaves(value) if isinstance(leaf, np.ndarray)]
    shared = [path for path, leaf in given if any(np.shares_memory(leaf, each) for each in parts)]
    if not shared:
        return []
    return [
        f"{name} gives a view of {', '.join(shared)}, which changes where that does; give a copy."
    ]


def _equal(these: PyTree, those: PyTree) -> bool:
    pairs = zip(jax.tree.leaves(these), jax.tree.leaves(those), strict=True)
    return all(
        np.shape(a) == np.shape(b) and np.allclose(a, b, rtol=1e-6, atol=0, equal_nan=True)
        for a, b in pairs
    )


def _globals(function: Any) -> dict[str, bytes]:
    """Give an image of what a function can change outside itself, by name."""
    try:
        closed = inspect.getclosurevars(inspect.unwrap(function))
    except (TypeError, ValueError):  # of what is not written in Python
        return {}
    images = {}
    for name, value in (*closed.globals.items(), *closed.nonlocals.items()):
        if isinstance(value, dict | list | set | np.ndarray | int | float) or _is_network(value):
            with contextlib.suppress(Exception):  # of a class that refuses in any way
                images[name] = pickle.dumps(value)
    return images


def _is_network(value: Any) -> bool:
    """Whether it is an object of a class of the user's, that keeps arrays."""
    held = vars(value).values() if hasattr(value, "__dict__") else ()
    return not callable(value) and any(isinstance(each, np.ndarray | list) for each in held)

"""An audit's own functions of arrays, carried out in NumPy: to compile them takes far longer.

Most run once, on a small network and a small batch. Those that take long are compiled.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jaxtyping import PyTree

from jaxnet._guards import jaxprs, reference

Function = Callable[..., Any]

# What is computed in less time than it takes to compile it: so many numbers, where to carry out an
# operation in NumPy takes as long as so many of them.
_NUMBERS, _OPERATION = 30_000_000, 3_000


def uncompiled(*static: int) -> Callable[[Function], Function]:
    """Make a function of pytrees of arrays one that is traced, and carried out in NumPy.

    Args:
        static: the places of arguments that are no arrays, such as a loss; the function is traced
            once for each of them.
    """

    def decorated(function: Function) -> Function:
        compiled = jax.jit(function, static_argnums=static)

        @functools.wraps(function)
        def called(*arguments: Any) -> Any:
            traced = compiled.trace(*arguments)
            operations, numbers = jaxprs.work(traced.jaxpr.jaxpr)
            if numbers + operations * _OPERATION > _NUMBERS:
                return compiled(*arguments)
            arrays = [each for at, each in enumerate(arguments) if at not in static]
            return _evaluated(traced, arrays)

        return called

    return decorated


def carried_out(function: Function, *arguments: PyTree) -> Any:
    """Give what a function of the user's does, in NumPy where JAX can trace it, as it is now."""

    def again(*given: PyTree) -> Any:  # of its own: JAX remembers what it traced
        return function(*given)

    try:
        traced = jax.jit(again).trace(*arguments)
    except (jax.errors.JAXTypeError, jax.errors.JAXIndexError):  # what it does hangs on numbers
        return function(*arguments)
    return _evaluated(traced, arguments)


def _evaluated(traced: Any, arguments: Sequence[PyTree]) -> Any:
    results = reference.evaluate(traced.jaxpr, jax.tree.leaves(arguments))
    return jax.tree.unflatten(jax.tree.structure(traced.out_info), results)

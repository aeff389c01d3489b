"""An audit's own functions of arrays, carried out in NumPy: to compile them takes far longer.

Most run once, on a small network and a small batch. Those that take long are compiled.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import jax
from jaxtyping import PyTree

from jaxnet._guards import jaxprs, reference

_P = ParamSpec("_P")
_T = TypeVar("_T")

# What is computed in less time than it takes to compile it: so many numbers, where to carry out an
# operation in NumPy takes as long as so many of them.
_NUMBERS, _OPERATION = 30_000_000, 3_000


def uncompiled(*static: int) -> Callable[[Callable[_P, _T]], Callable[_P, _T]]:
    """Make a function of pytrees of arrays one that is traced, and carried out in NumPy.

    Args:
        static: the places of arguments that are no arrays, such as a loss; the function is traced
            once for each of them.
    """

    def decorated(function: Callable[_P, _T]) -> Callable[_P, _T]:
        compiled: Any = jax.jit(function, static_argnums=static)

        @functools.wraps(function)
        def called(*arguments: _P.args, **_: _P.kwargs) -> _T:
            traced = compiled.trace(*arguments)
            operations, numbers = jaxprs.work(traced.jaxpr.jaxpr)
            if numbers + operations * _OPERATION > _NUMBERS:
                return compiled(*arguments)
            arrays = [each for at, each in enumerate(arguments) if at not in static]
            return _evaluated(traced, arrays)

        return called

    return decorated


def carried_out(function: Callable[..., _T], *arguments: PyTree) -> _T:
    """Give what a function of the user's does, in NumPy where JAX can trace it, as it is now."""

    def again(*given: PyTree) -> _T:  # of its own: JAX remembers what it traced
        return function(*given)

    try:
        traced = jax.jit(again).trace(*arguments)
    except jax.errors.JAXTypeError:  # what it does hangs on numbers, or NumPy does it
        return function(*arguments)
    return _evaluated(traced, arguments)


def _evaluated(traced: Any, arguments: Sequence[PyTree]) -> Any:
    results = reference.evaluate(traced.jaxpr, jax.tree.leaves(arguments))
    return jax.tree.unflatten(jax.tree.structure(traced.out_info), results)

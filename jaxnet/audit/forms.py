"""Params, batches, claims and functions as people write them, made those that an audit knows.

Lists of numbers are arrays. A function may take the parts of a batch one by one. A claim may be
named, ordered and nested otherwise than the parameters are.
"""

import dataclasses
import inspect
import itertools
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from jaxnet._guards import checks
from jaxnet.errors import InputError

# What people put before or after the name of a parameter to name its gradient.
_GRADIENT = re.compile(r"^(d_?|D|g_|grads?_?|gradient_?|delta_?)|(_?grads?|_gradient|_g)$")


@dataclasses.dataclass(frozen=True, eq=False)
class Form:
    """Which leaves of a pytree of arrays were numbers of Python's, or lists of them, and how deep.

    Attributes:
        depths: by leaf, a pytree; 0 of a number, -1 of an array.
    """

    depths: PyTree

    def __eq__(self, other: object) -> bool:
        """Compare what was written, in its order."""
        return isinstance(other, Form) and repr(self) == repr(other)

    def __hash__(self) -> int:
        """Tell what was written from other things."""
        return hash(repr(self))

    def restore(self, tree: PyTree) -> PyTree:
        """Give the leaves that were numbers and lists as such again, dicts as they were written."""
        return _restored(self.depths, tree)


def _restored(depths: PyTree, tree: PyTree) -> PyTree:
    if type(depths) is dict:
        return {name: _restored(part, tree[name]) for name, part in depths.items()}
    if type(depths) in (list, tuple):
        return type(depths)(map(_restored, depths, tree))
    return jax.tree.map(_nested, depths, tree)


def _nested(depth: int, leaf: Any) -> Any:
    if depth > 0:
        return [_nested(depth - 1, each) for each in leaf]
    return leaf[()] if depth == 0 else leaf


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _is_listed(value: Any) -> bool:
    """Whether it is a list of numbers, or of such lists, all alike."""
    if not isinstance(value, list) or not value:
        return False
    if all(map(_is_number, value)):
        return True
    return all(map(_is_listed, value)) and len({np.shape(each) for each in value}) == 1


def arrays(name: str, tree: PyTree) -> tuple[PyTree, Form]:
    """Make arrays of numbers and lists of them, and tell which were lists.

    Raises:
        InputError: an object that keeps arrays as its attributes.
    """
    for leaf in jax.tree.leaves(tree):
        if isinstance(leaf, np.ndarray) and leaf.dtype.hasobject:
            raise InputError(
                f"{name}: expected arrays of numbers, got one of objects; make it of floats, as by "
                "astype(float)"
            )
        held = [each for each, value in getattr(leaf, "__dict__", {}).items() if _is_array(value)]
        if held and not hasattr(leaf, "dtype") and not callable(leaf):
            kind = type(leaf).__name__
            raise InputError(
                f"{name}: expected arrays in dicts, lists or tuples, got a {kind}; give "
                f'{{"{held[0]}": network.{held[0]}, ...}} and put them into a copy of the network '
                "in the loss, by vars(network).update(params)"
            )

    def depth(leaf: Any) -> int:
        return np.ndim(leaf) if _is_listed(leaf) or _is_number(leaf) else -1

    def array(leaf: Any) -> Any:
        return leaf if depth(leaf) < 0 else np.asarray(leaf)

    return _each(array, tree), Form(_each(depth, tree))


def _each(change: Callable[[Any], Any], tree: PyTree) -> PyTree:
    """Change each leaf; a dict stays in the order it was written in, which JAX does not keep."""
    if type(tree) is dict:
        return {name: _each(change, part) for name, part in tree.items()}
    if type(tree) in (list, tuple) and not _is_listed(tree):
        return type(tree)(_each(change, part) for part in tree)
    return jax.tree.map(change, tree, is_leaf=_is_listed)


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray | jax.Array)


def takes_parts(name: str, function: Callable[..., Any], batch: PyTree) -> bool:
    """Whether a function takes `(params, *batch)` and not `(params, batch)`, by its signature.

    Raises:
        InputError: it takes neither.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of what is not written in Python
        return False
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    own = [each for each in signature.parameters.values() if each.kind in kinds]
    needed = sum(each.default is each.empty for each in own)
    stars = any(each.kind is each.VAR_POSITIONAL for each in signature.parameters.values())
    if needed == 2 or (needed < 2 and (stars or len(own) >= 2)):
        return False
    if isinstance(batch, tuple) and needed == 1 + len(batch):
        return True
    parts = f", or of params and the {len(batch)} parts of batch" * isinstance(batch, tuple)
    raise InputError(
        f"{name}: expected a function of (params, batch){parts}, got one of {signature}"
    )


def match(params: PyTree, claimed: PyTree) -> PyTree:
    """Give a claim the structure of the parameters: by name where named, else by order.

    Raises:
        InputError: a claim that fits in no way, or in more than one.
    """
    if claimed is None:
        raise InputError("claimed: expected a gradient for each parameter, got None; return them")
    claimed, _ = arrays("claimed", claimed)
    if jax.tree.structure(params) == jax.tree.structure(claimed):
        return claimed
    return _match(params, claimed, "")


def _match(params: PyTree, claimed: PyTree, path: str) -> PyTree:
    if isinstance(params, Mapping) and isinstance(claimed, Mapping):
        names = {name: _name_of(name, params, claimed, path) for name in params}
        parts = {
            name: _match(params[name], claimed[names[name]], f"{path}[{name!r}]") for name in params
        }
        return _like(params, parts)
    if isinstance(params, list | tuple) and isinstance(claimed, list | tuple):
        if len(params) == len(claimed):
            parts = [
                _match(*pair, f"{path}[{index}]")
                for index, pair in enumerate(zip(params, claimed, strict=True))
            ]
            return _like(params, parts)
    elif jax.tree.structure(params) == jax.tree.structure(claimed):
        return claimed
    return np.asarray(claimed) if _is_whole(params, claimed) else _by_order(params, claimed, path)


def _is_whole(param: Any, claimed: Any) -> bool:
    """Whether a list of rows is the array that a parameter is."""
    alike = len({np.shape(leaf) for leaf in jax.tree.leaves(claimed)}) == 1
    rows = hasattr(param, "shape") and isinstance(claimed, list | tuple) and alike
    return rows and np.shape(claimed) == param.shape


def _like(container: Any, parts: Any) -> Any:
    """Put parts into a container of the same kind."""
    kind = type(container)
    return kind(*parts) if hasattr(container, "_fields") else kind(parts)


def _name_of(name: str, params: Any, claimed: Any, path: str) -> Any:
    """Find what a claim calls the gradient of a parameter."""
    if name in claimed:
        return name
    fits = [
        each for each in claimed if _GRADIENT.sub("", str(each)) == str(name) and each not in params
    ]
    if len(fits) != 1:
        got = " and ".join(map(repr, fits)) or f"none among {', '.join(map(repr, claimed))}"
        raise InputError(
            f"claimed{path}: expected the structure of params, a gradient for each, got {got} for "
            f"{name!r}; name it {name!r} or {f'd{name}'!r}"
        )
    return fits[0]


def _in_order(tree: PyTree) -> list[tuple[str, Any]]:
    """Give the leaves by their paths, those of a dict as it was written."""
    if isinstance(tree, Mapping):
        parts = [(f"[{name!r}]", each) for name, each in tree.items()]
    elif isinstance(tree, list | tuple):
        parts = [(f"[{index}]", each) for index, each in enumerate(tree)]
    else:
        leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
        return [(jax.tree_util.keystr(path), leaf) for path, leaf in leaves]
    return [(head + path, leaf) for head, part in parts for path, leaf in _in_order(part)]


def _by_order(params: PyTree, claimed: PyTree, path: str) -> PyTree:
    """Match leaves as they were written, as they are sorted, or by shapes that occur once."""
    expected, tree = jax.tree.flatten(params)
    written, got = _in_order(params), _in_order(claimed)
    if len(expected) != len(got):
        raise InputError(
            f"claimed{path}: expected the structure of params, {tree}, got "
            f"{jax.tree.structure(claimed)}"
        )
    claims = [leaf for _, leaf in got]
    names = [checks.path("", params, index) for index in range(len(expected))]
    orders = {tuple(names), tuple(name for name, _ in written)}
    fits = [order for order in orders if _fits(order, dict(written), claims)]
    if not fits and len({np.shape(leaf) for leaf in claims}) == len(claims):
        fits = [
            order
            for order in itertools.islice(itertools.permutations(names), _MOST_ORDERS)
            if _fits(order, dict(written), claims)
        ]
    if len(fits) != 1 and len(orders) == 1:
        # Shapes that fit nowhere are a mistake to be named.
        fits = [tuple(names)]
    if len(fits) != 1:
        readings = " or as ".join(", ".join(order) for order in sorted(fits or orders))
        raise InputError(
            f"claimed{path}: expected gradients that are named or ordered as params are, got "
            f"{len(claims)} that can be read as {readings}; give them the names of params"
        )
    by_name = dict(zip(fits[0], claims, strict=True))
    return jax.tree.unflatten(tree, [by_name[name] for name in names])


_MOST_ORDERS = 5040


def _fits(order: tuple[str, ...], params: dict[str, Any], claims: list[Any]) -> bool:
    """Whether shapes agree, but for axes of one."""
    pairs = zip(order, claims, strict=True)
    return all(_core(params[name]) == _core(claim) for name, claim in pairs)


def _core(leaf: Any) -> tuple[int, ...]:
    return tuple(size for size in np.shape(leaf) if size != 1)


def read_by_value(claim: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, str]:
    """Give a claim the shape of its parameter where only axes of one differ, and a note of it."""
    same = _core(claim) == tuple(size for size in shape if size != 1)
    if not same or claim.ndim == len(shape):
        return claim, ""
    got, expected = list(claim.shape), list(shape)
    note = f"of shape {got}, read as {expected}, the parameter's"
    try:
        whole = list(np.broadcast_shapes(claim.shape, shape))
    except ValueError:
        return claim.reshape(shape), note
    if whole != expected:
        note += (
            f"; give it that shape, for in NumPy b = b - rate * db would make b {whole} without a "
            "word, and b -= rate * db stop with an error"
        )
    return claim.reshape(shape), note

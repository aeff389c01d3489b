"""What is asked of an audit, read: pytrees of arrays, and functions of them."""

import dataclasses
import functools
import hashlib
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jaxnet import losses, variables
from jaxnet._guards import checks, frames
from jaxnet.audit import examples, floats, forms, numpy_loss, purity
from jaxnet.audit.tracing import traceable
from jaxnet.audit.uncompiled import carried_out
from jaxnet.errors import InputError

Function = Callable[[PyTree, PyTree], Any]


class Entry(NamedTuple):
    """What is asked of an audit.

    Attributes:
        loss: `(params, batch) -> []`, that JAX can trace.
        params: a pytree of arrays.
        batch: a pytree of arrays.
        claimed: the claimed gradient, of the structure of params where it can be read so.
        ask: what claims it, a function of the two; None where the gradient itself is given.
        written: that function as the user wrote it; None where it changes what is outside of it.
        notes: sentences on what was noticed on the way.
    """

    loss: losses.Loss
    params: PyTree
    batch: PyTree
    claimed: PyTree
    ask: Function | None
    written: Any
    notes: tuple[str, ...]

    @property
    def quick(self) -> Function | None:
        """What claims it, carried out in NumPy where it is JAX's: to compile it takes longer."""
        arrays = jax.tree.leaves((self.params, self.batch, self.claimed))
        if self.ask and any(isinstance(each, jax.Array) for each in arrays):
            return functools.partial(carried_out, self.ask)
        return self.ask

    @property
    def is_long(self) -> bool:
        """Whether the loss is not worth compiling."""
        return isinstance(self.loss, numpy_loss.NumPyLoss) and self.loss.is_long


class _Reader(NamedTuple):
    """How a user's functions take what an audit has.

    Attributes:
        params, batch: which of their leaves are lists.
    """

    params: forms.Form
    batch: forms.Form

    def adapt(self, function: Callable[..., Any], parts: bool) -> Function:
        """Make a function of what an audit has of one of the user's.

        Args:
            function: the user's. parts: whether it takes the parts of a batch one by one.
        """

        def adapted(params: PyTree, batch: PyTree) -> Any:
            batch = self.batch.restore(batch)
            return function(self.params.restore(params), *(batch if parts else (batch,)))

        return adapted


def read(loss: Any, params: PyTree, batch: PyTree, claimed: Any) -> Entry:
    """Read what is asked, as `jaxnet.audit.audit` takes it.

    Raises:
        InputError: what `jaxnet.audit.audit` refuses of params, batch and the functions.
    """
    params, params_form = forms.arrays("params", params)
    batch, batch_form = forms.arrays("batch", frames.arrays(batch, "batch"))
    _check_trained(params)
    checks.params(params, variables.split(params)[0])
    checks.finite("batch", batch)
    reader = _Reader(params_form, batch_form)
    notes = ()
    if isinstance(inspect.unwrap(loss), losses.BatchLoss):
        checks.data(batch, "batch")
    else:
        loss, notes = _loss(loss, params, batch, reader)
    ask = _asked(claimed, params, batch, reader)
    if ask is None:
        return Entry(
            loss,
            params,
            batch=batch,
            claimed=forms.match(params, claimed),
            ask=None,
            written=None,
            notes=notes,
        )
    if _is_numpy((params, batch)):
        observed = purity.observe("claimed", claimed, ask, (params, batch))
        claim, remembers, notes = observed.value, observed.remembers, notes + observed.notes
    else:
        claim, remembers = ask(params, batch), False
    written = claimed.value_and_grad if isinstance(claimed, losses.Rule) else claimed
    written = None if remembers else written
    return Entry(loss, params, batch=batch, claimed=claim, ask=ask, written=written, notes=notes)


def _check_trained(params: PyTree) -> None:
    for index, leaf in enumerate(jax.tree.leaves(params)):
        if not variables.trains(leaf):
            raise InputError(
                f"{checks.path('params', params, index)}: expected floating-point parameters, got "
                f"{leaf.dtype}; cast them, or bind what is not trained in the loss"
            )


def _is_numpy(tree: PyTree) -> bool:
    return all(isinstance(leaf, np.ndarray | np.generic) for leaf in jax.tree.leaves(tree))


def _asked(claimed: Any, params: PyTree, batch: PyTree, reader: _Reader) -> Function | None:
    """Give the function that claims a gradient; None where the claim is the gradient itself."""
    tree = jax.tree.structure(params)
    if isinstance(claimed, losses.Rule):
        rule = reader.adapt(claimed.value_and_grad, parts=False)
        return lambda *asked: forms.match(params, rule(*asked)[1])
    # An Equinox module is a pytree that can be called: what has the structure is the gradient.
    own = jax.tree.structure(claimed) == tree and not jax.tree_util.treedef_is_leaf(tree)
    if own or not callable(claimed):
        return None
    function = reader.adapt(claimed, forms.takes_parts("claimed", claimed, batch))
    return lambda *asked: forms.match(params, function(*asked))


def _loss(
    loss: Any, params: PyTree, batch: PyTree, reader: _Reader
) -> tuple[losses.Loss, tuple[str, ...]]:
    """Give a user's loss as JAX can trace it, and what it does besides."""
    parts = forms.takes_parts("loss", loss, batch)
    adapted = reader.adapt(loss, parts)
    wide = floats.cast((params, batch))
    observed = None
    if _is_numpy((params, batch)):
        with jax.enable_x64(True):
            observed = _observed(loss, adapted, wide)
    if observed is None or isinstance(observed.value, jax.Array):
        asked = _compiled(_Same(loss), reader, parts, _program(adapted, *wide))
        return asked, observed.notes if observed else ()
    notes = observed.notes + _check_value(observed.value)
    read = numpy_loss.faithful(_traced(_Same(loss), reader, parts), *wide)
    if read.reason:
        # It may be what another audit traced, before what the loss depends on was changed.
        _traced.cache_clear()
        read = numpy_loss.faithful(_traced(_Same(loss), reader, parts), *wide)
    if read.reason:
        notes += (
            f"The loss could not be traced ({read.reason}): its gradient is by finite differences, "
            "which show no layers.",
        )
    return read, notes


@dataclasses.dataclass(frozen=True, eq=False)
class _Same:
    """A function that equals itself alone, whether or not it can be hashed."""

    function: Callable[..., Any]

    def __eq__(self, other: object) -> bool:
        """Tell it by identity."""
        return isinstance(other, _Same) and self.function is other.function

    def __hash__(self) -> int:
        """Tell it by identity."""
        return id(self.function)


@jax.enable_x64(True)
def _program(loss: Function, params: PyTree, batch: PyTree) -> tuple[str, ...]:
    """Tell what a loss and its gradient compute now from what they did before a global changed."""
    dtype_of(loss, params, batch)
    program = jax.make_jaxpr(jax.value_and_grad(loss))(params, batch)
    hashed = hashlib.sha256()
    for constant in program.consts:
        is_key = jnp.issubdtype(constant.dtype, jax.dtypes.prng_key)
        hashed.update(np.asarray(jax.random.key_data(constant) if is_key else constant).tobytes())
    return str(program), hashed.hexdigest()


@functools.lru_cache(maxsize=16)
def _compiled(loss: _Same, reader: _Reader, parts: bool, program: tuple[str, ...]) -> Function:
    """Give a loss as an audit calls it: the same of the same, so that it is compiled once."""
    return reader.adapt(loss.function, parts)


@functools.lru_cache(maxsize=16)
def _traced(loss: _Same, reader: _Reader, parts: bool) -> numpy_loss.NumPyLoss:
    """Give a loss and what it is traced to: the same of the same, so that it is compiled once."""

    def adapt(function: Callable[..., Any]) -> Function:
        return reader.adapt(function, parts)

    return numpy_loss.NumPyLoss(_number(adapt(loss.function)), traceable(loss.function, adapt))


def _observed(loss: Any, adapted: Function, wide: PyTree) -> purity.Observed | None:
    """See what a loss does with NumPy arrays; None where it takes JAX's alone."""
    try:
        return purity.observe("loss", loss, adapted, wide)
    except InputError:
        raise
    except Exception as error:  # of the user's code
        try:
            jax.eval_shape(adapted, *wide)
        except Exception:  # neither way
            if not any(examples.possible(wide[1])):
                checks.data(wide[1], "batch")
            raise error from None
        return None


def _check_value(value: Any) -> tuple[str, ...]:
    """Refuse what is no real scalar; note one of more axes."""
    if value is None:
        raise InputError("loss: expected a real scalar, got None; return the loss")
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind != "f":
        raise InputError(
            f"loss: expected a real scalar, got {array.dtype}{list(array.shape)}; give the mean or "
            "the sum over the batch"
        )
    if not np.isfinite(array).all():
        raise InputError(
            f"loss: expected a loss that is finite at params, got {value}; audit where it is "
            "finite and smooth"
        )
    if array.ndim:
        return (f"loss gives shape {list(array.shape)}, read as the one number that it holds.",)
    return ()


def _number(function: Function) -> numpy_loss.Numbers:
    """Give the one number of a loss, without what else it does."""

    def number(params: PyTree, batch: PyTree) -> Any:
        with purity.silent():
            return np.squeeze(function(*purity.copied((params, batch))))[()]

    return number


def dtype_of(loss: Function, params: PyTree, batch: PyTree) -> np.dtype:
    """Give the dtype of a loss, refused where it is no real scalar."""
    losses.check(loss, params, batch, whole=True)
    value = jax.eval_shape(loss, params, batch)
    if getattr(value, "shape", None) != () or not jnp.issubdtype(value.dtype, jnp.floating):
        raise InputError(f"loss: expected a real scalar, got {value}")
    return value.dtype

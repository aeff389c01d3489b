"""The lift of an example loss to a batch loss: the only `vmap` over examples.

Shapes: N rows of data, B examples of a batch, I inputs, O outputs.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree, Shaped

from jaxnet.errors import InputError

Forward = Callable[[Any, Any], Any]
ExampleLoss = Callable[[Any, Any], Any]
Loss = Callable[[Any, Any], Float[Array, ""]]


@dataclasses.dataclass(frozen=True)
class BatchLoss:
    """The mean over a batch of `example_loss(forward(params, x), y)`.

    An elementwise example loss, such as `optax.losses.l2_loss`, is averaged over its O outputs
    as well. Losses made of the same two functions are equal.

    Attributes:
        forward: `(params, x [I]) -> prediction [O]`, such as `network.forward`.
        example_loss: `(prediction [O], y) -> [] or [O]`, such as those of `optax.losses`; `y` is
            a target of the prediction's shape, or an integer class label that the loss picks an
            output by or encodes (`jax.nn.one_hot`), and does not broadcast.
    """

    forward: Forward
    example_loss: ExampleLoss

    def __call__(
        self,
        params: PyTree,
        batch: tuple[Shaped[Array | np.ndarray, "B ..."], Shaped[Array | np.ndarray, "B ..."]],
    ) -> Float[Array, ""]:
        """Give the loss of one batch `(x [B, I], y [B, ...])`.

        Raises:
            InputError: a batch that is not two arrays of as many rows, or targets
                that do not fit the predictions; nothing is broadcast.
        """
        x, y = _pair(batch)
        for name, part in (("x", x), ("y", y)):
            if not hasattr(part, "dtype"):
                raise InputError(f"{name}: wanted an array; got {type(part).__name__}")
        if jnp.shape(x)[:1] != jnp.shape(y)[:1] or jnp.shape(x)[:1] in ((), (0,)):
            raise InputError(
                "batch: wanted x [B, ...] and y [B, ...] with the same B, at least 1; got x "
                f"{list(jnp.shape(x))} and y {list(jnp.shape(y))}"
            )
        return jnp.mean(jax.vmap(self.example, in_axes=(None, 0, 0))(params, x, y))

    def example(self, params: PyTree, x: Array, y: Array) -> Float[Array, "..."]:
        """Give the loss of one example, [] or [O], its shapes checked."""
        prediction = self.forward(params, x)
        wanted, got = jnp.shape(prediction), jnp.shape(y)
        label = jnp.issubdtype(y.dtype, jnp.integer) and got == wanted[:-1] != wanted
        if got != wanted and not label:
            raise InputError(
                f"y: wanted targets of the prediction's shape {list(wanted)}, or integer class "
                f"labels, per example; got {y.dtype} of shape {list(got)}; give y as many "
                "columns as the prediction has, such as y[:, None] for one"
            )
        if label and not _takes_labels(self.example_loss, wanted[-1]):
            raise InputError(
                f"y: wanted targets of the prediction's shape {list(wanted)}, which the example "
                f"loss takes; got integer class labels, which it would broadcast; one-hot encode "
                "them (jax.nn.one_hot), or choose a loss of integer labels"
            )
        loss = self.example_loss(prediction, y)
        if jnp.shape(loss) not in ((), () if label else wanted):
            raise InputError(
                f"example_loss: wanted a loss of shape [] or {list(wanted)} per example, without "
                f"broadcasting; got {list(jnp.shape(loss))} from a prediction {list(wanted)} and y "
                f"{list(got)}"
            )
        return loss

    def check(self, params: PyTree, data: PyTree) -> None:
        """Refuse class labels outside the outputs of the network, which JAX would not notice.

        Raises:
            InputError: a label below 0 or not below O.
        """
        x, y = _pair(data)
        if jnp.issubdtype(y.dtype, jnp.integer) and np.ndim(y) == 1:
            row = jax.ShapeDtypeStruct(np.shape(x)[1:], x.dtype)
            outputs = jax.eval_shape(self.forward, params, row).shape
            if not outputs:
                return
            classes, labels = outputs[-1], np.asarray(y)
            if labels.min() < 0 or labels.max() >= classes:
                row = int(np.argmax((labels < 0) | (labels >= classes)))
                raise InputError(
                    f"y: wanted class labels 0 to {classes - 1}, one for each of the network's "
                    f"{classes} outputs; got {labels[row]} in row {row}"
                )


def _pair(batch: Any) -> tuple[Any, Any]:
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise InputError(f"batch: wanted a pair (x, y); got {jax.tree.structure(batch)}")
    return batch[0], batch[1]


@functools.cache
def _takes_labels(example_loss: ExampleLoss, outputs: int) -> bool:
    """Tell a loss of integer labels from one that would broadcast them against the outputs.

    Given more rows than outputs at once, whatever meets a label and an output in one operation
    does not fit; a loss that picks an output, or compares with a one-hot label, does.
    """
    rows = outputs + 1
    prediction = jax.ShapeDtypeStruct((rows, outputs), jnp.float32)
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("standard"):
        try:
            jax.eval_shape(example_loss, prediction, jax.ShapeDtypeStruct((rows,), jnp.int32))
        except (TypeError, ValueError):
            return False
    return True

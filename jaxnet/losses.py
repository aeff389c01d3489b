"""The lift of an example loss to a batch loss: the only `vmap` over examples.

Shapes: N rows of data, B examples of a batch, I inputs, O outputs.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree, Shaped

from jaxnet._guards import checks, labels
from jaxnet._guards.labels import ExampleLoss

Forward = Callable[[PyTree, PyTree], PyTree]
Loss = Callable[[PyTree, PyTree], Float[Array, ""]]
ValueAndGrad = Callable[[PyTree, PyTree], tuple[Float[Array, ""], PyTree]]
_Rows = Shaped[Array | np.ndarray, "B ..."]


@dataclasses.dataclass(frozen=True)
class BatchLoss:
    """The mean over a batch of `example_loss(forward(params, x), y)`.

    An elementwise example loss, such as `optax.losses.l2_loss`, is averaged over its O outputs
    as well. Losses made of the same two functions are equal.

    Attributes:
        forward: `(params, x [I]) -> prediction [O]`, such as `network.forward`.
        example_loss: `(prediction [O], y) -> [] or [O]`, such as those of `optax.losses`; `y` is
            a target of the prediction's shape, or an integer label that the loss picks an output
            by, encodes (`jax.nn.one_hot`) or counts with, and does not broadcast against them.
    """

    forward: Forward
    example_loss: ExampleLoss

    def __post_init__(self) -> None:
        """Refuse what are no functions of so many arguments."""
        checks.function("forward", self.forward, "params", "x")
        checks.function("example_loss", self.example_loss, "prediction", "y")

    def __call__(self, params: PyTree, batch: tuple[_Rows, _Rows]) -> Float[Array, ""]:
        """Give the loss of one batch `(x [B, I], y [B, ...])`.

        Raises:
            InputError: a batch that is not two arrays of as many rows, or targets
                that do not fit the predictions; nothing is broadcast.
        """
        x, y = checks.batch(batch)
        return jnp.mean(jax.vmap(self.example, in_axes=(None, 0, 0))(params, x, y))

    def example(self, params: PyTree, x: Array, y: Array) -> Float[Array, "..."]:
        """Give the loss of one example, [] or [O], its shapes checked."""
        return labels.loss(self.example_loss, self.forward(params, x), y)

    def check(self, params: PyTree, data: PyTree) -> None:
        """Refuse class labels outside the outputs of the network, which JAX would not notice.

        Raises:
            InputError: a label below 0 or not below O, for a loss that picks an output by it.
        """
        x, y = checks.pair(data)
        if jnp.issubdtype(y.dtype, jnp.integer) and np.ndim(y) == 1:
            row = jax.ShapeDtypeStruct(np.shape(x)[1:], x.dtype)
            prediction = jax.eval_shape(self.forward, params, row)
            labels.check_range(self.example_loss, prediction, np.asarray(y))


@dataclasses.dataclass(frozen=True)
class Rule:
    """A loss with a gradient of its own, derived by hand, in the place of autodiff's.

    Attributes:
        value_and_grad: `(params, batch) -> (loss, grads)`.
    """

    value_and_grad: ValueAndGrad

    def __post_init__(self) -> None:
        """Refuse what is no function of so many arguments."""
        checks.function("value_and_grad", self.value_and_grad, "params", "batch")

    def __call__(self, params: PyTree, batch: PyTree) -> Float[Array, ""]:
        """Give the loss of a batch."""
        return self.value_and_grad(params, batch)[0]


def value_and_grad(loss: Loss | Rule) -> ValueAndGrad:
    """Give the rule of a loss's gradient: its own, or autodiff's."""
    return loss.value_and_grad if isinstance(loss, Rule) else jax.value_and_grad(loss)


def evaluate(loss: Loss | Rule, params: PyTree, batch: PyTree) -> tuple[Array, PyTree]:
    """Give the loss of a batch and its gradients, both checked.

    Raises:
        InputError: a loss that is not a real scalar, or gradients that do not match the
            parameters leaf by leaf.
    """
    try:
        pair = value_and_grad(loss)(params, batch)
    except TypeError as error:
        checks.not_scalar(error)
        raise
    return checks.value_and_grads(params, pair)

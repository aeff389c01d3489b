"""Losses: the lift of one of an example to one of a batch, and how any is called.

A loss is a pure function `loss(params, batch) -> []`, a mean over the batch. One that draws, for
dropout or noise, takes a third argument named `key`: a key of its own for every step while it is
trained by, made of the run's seed and the number of the step alone, and None where it is evaluated,
where nothing is to be drawn and what is carried is only read. One of `Variables` gives a pair,
`(loss, state)`.

Shapes: N rows of data, B examples of a batch, I inputs, O outputs.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Key, PyTree, Shaped

from jaxnet import variables
from jaxnet._guards import checks, labels
from jaxnet._guards.labels import ExampleLoss
from jaxnet.variables import Variables

Forward = Callable[[PyTree, PyTree], PyTree]
Loss = Callable[..., PyTree]
ValueAndGrad = Callable[..., tuple[PyTree, PyTree]]
_Rows = PyTree[Shaped[Array | np.ndarray, "B ..."]]


def original(loss: Any) -> Any:
    """Give the loss that is meant where the rule of its gradient, or jit, stands for it."""
    if isinstance(loss, Rule) and loss.of is not None:
        return original(loss.of)
    return variables.unwrapped(loss)


def weighs(loss: Any) -> bool:
    """Tell whether a loss weighs its rows where they have weights."""
    return isinstance(original(loss), BatchLoss)


def draws(loss: Any) -> bool:
    """Tell whether a loss is to be given a key."""
    loss = original(loss)
    if isinstance(loss, functools.partial):
        return "key" not in loss.keywords and draws(loss.func)
    inner = {BatchLoss: "forward", Rule: "value_and_grad"}.get(type(loss))
    return draws(getattr(loss, inner)) if inner else variables.takes_key(loss)


@dataclasses.dataclass(frozen=True)
class BatchLoss:
    """The mean over a batch of `example_loss(forward(params, x), y)`.

    An elementwise example loss, such as `optax.losses.l2_loss`, is averaged over its O outputs
    as well. Losses made of the same two functions are equal.

    Attributes:
        forward: `(params, x [I]) -> prediction [O]`, such as `network.forward`; one that takes a
            third argument named `key` is given one for each example, as a loss is for each step.
        example_loss: `(prediction [O], y) -> [] or [O]`, such as those of `optax.losses`; `y` is
            a target of the prediction's shape, or an integer label that the loss picks an output
            by, encodes (`jax.nn.one_hot`) or counts with, and does not broadcast against them. Of
            predictions `[T, O]` there is a label for each of T positions. Where the prediction or
            `y` is a pytree of several arrays the loss is [], and its shapes are not looked into.
    """

    forward: Forward
    example_loss: ExampleLoss

    def __post_init__(self) -> None:
        """Refuse what are no functions of so many arguments."""
        keys = variables.named(None, draws(self))
        checks.function("forward", self.forward, "params", "x", **keys)
        checks.function("example_loss", self.example_loss, "prediction", "y")

    def __call__(
        self, params: PyTree, batch: tuple[_Rows, ...], key: Key[Array, ""] | None = None
    ) -> Float[Array, ""]:
        """Give the loss of one batch `(x [B, I], y [B, ...])`, or `(x, y, weights [B])`.

        Each of x and y may be a pytree of several arrays.

        With weights the mean is weighted: an example of weight 0 is as one that is not there, of
        weight 2 as two of them.

        Raises:
            InputError: a batch that is not arrays of as many rows, or targets that do not fit the
                predictions; nothing is broadcast.
        """
        x, y, *weights = variables.present(checks.batch(batch))
        keys = None if key is None else jax.random.split(key, checks.rows(x))
        each = jax.vmap(self.example, (None, 0, 0, 0))(params, x, y, keys)
        return variables.mean(each, *weights)

    def example(
        self, params: PyTree, x: PyTree, y: PyTree, key: Key[Array, ""] | None = None
    ) -> Float[Array, "..."]:
        """Give the loss of one example, its shapes checked."""
        prediction = self.forward(params, x, **variables.named(key, draws(self)))
        return labels.loss(self.example_loss, prediction, y)


@dataclasses.dataclass(frozen=True)
class Rule:
    """A loss with a gradient of its own, derived by hand, in the place of autodiff's.

    Attributes:
        value_and_grad: `(params, batch) -> (loss, grads)`, with a third argument `key` where it
            draws; of `Variables`, `((loss, state), grads)`, the gradients those of `params`. In
            the place of what is not trained they have None.
        of: the loss, where rows are to be weighed and checked as it does.
    """

    value_and_grad: ValueAndGrad
    of: Loss | None = None

    def __post_init__(self) -> None:
        """Refuse what is no function of so many arguments."""
        keys = variables.named(None, draws(self))
        checks.function("value_and_grad", self.value_and_grad, "params", "batch", **keys)

    def __call__(self, params: PyTree, batch: PyTree, key: Key[Array, ""] | None = None) -> PyTree:
        """Give the loss of a batch, and of `Variables` the state after it."""
        return self.value_and_grad(params, batch, **variables.named(key, draws(self)))[0]


def value_and_grad(loss: Loss | Rule) -> ValueAndGrad:
    """Give the rule of a loss's gradient: its own, or autodiff's."""
    if isinstance(loss, Rule):
        return loss.value_and_grad

    def rule(params: PyTree, batch: PyTree, key: Any = None) -> tuple[Any, PyTree]:
        trained, rest = variables.split(params)

        def value(trained: PyTree) -> tuple[Array, Any]:
            result = loss(variables.join(trained, rest), batch, **variables.named(key, draws(loss)))
            return checks.carried(result) if carries else (result, None)

        carries = isinstance(params, Variables)
        (result, state), grads = jax.value_and_grad(value, has_aux=True)(trained)
        return (result, state) if carries else result, grads

    return rule


def evaluate(
    loss: Loss | Rule, params: PyTree, batch: PyTree, key: Key[Array, ""] | None = None
) -> tuple[Array, PyTree, PyTree]:
    """Give the loss of a batch, its gradients, and the parameters with the state after it, checked.

    Raises:
        InputError: a loss that is not a real scalar, gradients that do not match the parameters
            leaf by leaf, a state of another structure than before; no key for one that draws.
    """
    checks.drawn(key, draws(loss))
    with checks.not_scalar():
        pair = value_and_grad(loss)(params, batch, **variables.named(key, draws(loss)))
    result, grads = checks.with_grads(pair)
    if isinstance(params, Variables):
        result, state = checks.carried(result, params.state)
        params = params._replace(state=state)
    return *checks.value_and_grads(variables.split(params)[0], result, grads), params


def value(loss: Loss | Rule, params: PyTree, batch: PyTree) -> Any:
    """Give the loss of a batch where nothing is trained: nothing is drawn, and no state changes."""
    result = loss(params, batch, **variables.named(None, draws(loss)))
    return checks.carried(result)[0] if isinstance(params, Variables) else result


def run_key(loss: Loss | Rule, seed: Any) -> Key[Array, ""] | None:
    """Give the key that a run of a seed draws from, where its loss draws."""
    return variables.run_key(seed) if draws(loss) else None


def check(loss: Loss | Rule, params: PyTree, data: PyTree, *, whole: bool = False) -> None:
    """Refuse what JAX would not notice in the data of a `BatchLoss`; `whole` if all are there.

    Raises:
        InputError: weights below 0 or all 0; a class label below 0 or not below O, for a loss that
            picks an output by it.
    """
    if isinstance(loss := original(loss), BatchLoss):
        x, y, *weights = checks.batch(data)
        y = checks.weighed(y, *weights, whole=whole)
        forward = functools.partial(loss.forward, **variables.named(None, draws(loss)))
        labels.check_range(loss.example_loss, forward, params, x, y)

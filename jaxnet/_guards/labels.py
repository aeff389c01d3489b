"""What an example loss does with integer labels, found by trying it.

Shapes: O outputs of a prediction.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jaxnet._guards import checks, options
from jaxnet.errors import FunctionError, InputError

ExampleLoss = Callable[[PyTree, PyTree], PyTree]


def loss(example_loss: ExampleLoss, prediction: Any, y: Any) -> Any:
    """Give the loss of one example, without broadcasting; also while tracing.

    It is [] or the prediction's [..., O], of labels [] or [...]; [] where there are several
    predictions or targets.

    Raises:
        InputError: a target or a loss that broadcasts, labels for a loss of targets, or targets
            for one of labels, with what to do.
    """
    if _several(prediction, y):
        return _of_several(example_loss, prediction, y)
    _check_target(example_loss, prediction, y)
    try:
        value = example_loss(prediction, y)
    except Exception as error:
        _explain(example_loss, prediction, y, error)
        raise
    _check_loss(example_loss, prediction, y, jnp.shape(value))
    return value


def _several(*trees: PyTree) -> bool:
    return any(jax.tree.structure(tree) != jax.tree.structure(0) for tree in trees)


def _of_several(example_loss: ExampleLoss, prediction: PyTree, y: PyTree) -> Any:
    try:
        value = example_loss(prediction, y)
    except Exception as error:  # a user's loss may fail in any way
        raise FunctionError(
            f"y: expected targets that the example loss takes, got {checks.shapes(y)} for "
            f"predictions {checks.shapes(prediction)}; it raised {checks.told(error)}; give it "
            "both as it takes them"
        ) from error
    if _several(value) or jnp.shape(value) != ():
        raise InputError(
            "example_loss: expected a loss of shape [] per example, as its predictions or targets "
            f"are several, got {checks.shapes(value)}; reduce it, as by jnp.mean, of shapes that "
            "are the same"
        )
    return value


def _is_label(prediction: Any, y: Any) -> bool:
    """Tell whether a target is an integer label: an axis short of the prediction."""
    expected, got = jnp.shape(prediction), jnp.shape(y)
    return jnp.issubdtype(y.dtype, jnp.integer) and got == expected[:-1] != expected


class Labels(NamedTuple):
    """What an example loss does with an integer label.

    Attributes:
        broadcast: it meets every output alike, as in `jnp.mean((z - y) ** 2)`.
        pick: it tells outputs apart, and labels beyond the last output are not told apart.
    """

    broadcast: bool
    pick: bool


def _kind(example_loss: ExampleLoss, prediction: Any) -> Labels:
    """Say what an example loss does with the labels of such predictions."""
    double = jnp.result_type(prediction) == np.float64
    dtype = np.dtype(np.float64 if double else np.float32)
    # Of labels for each of many positions one is enough to try.
    shape = tuple(1 for _ in jnp.shape(prediction)[:-1])
    return _of(example_loss, (*shape, jnp.shape(prediction)[-1]), dtype)


def _check_target(example_loss: ExampleLoss, prediction: Any, y: Any) -> None:
    """Refuse what is neither a target of the prediction's shape nor an integer label.

    Raises:
        InputError: with what to do.
    """
    expected, got = jnp.shape(prediction), jnp.shape(y)
    if got != expected and not _is_label(prediction, y):
        _explain(example_loss, prediction, y)
        raise InputError(
            f"y: expected targets of the prediction's shape {list(expected)}, or integer class "
            f"labels, per example, got {y.dtype} of shape {list(got)}; give y as many columns as "
            "the prediction has, such as y[:, None] for one"
        )


def _check_loss(example_loss: ExampleLoss, prediction: Any, y: Any, shape: tuple[int, ...]) -> None:
    """Refuse the loss of an example, of that shape, that target and prediction broadcast to.

    Raises:
        InputError: with what to do.
    """
    expected, label = jnp.shape(prediction), _is_label(prediction, y)
    if label and (shape == expected or (shape == () and _kind(example_loss, prediction).broadcast)):
        raise _refusal(expected)
    if shape not in ((), jnp.shape(y)):
        raise InputError(
            f"example_loss: expected a loss of shape [] or {list(jnp.shape(y))} per example, "
            f"without broadcasting, got {list(shape)} from a prediction {list(expected)} and y "
            f"{list(jnp.shape(y))}"
        )


def check_range(
    example_loss: ExampleLoss, forward: Callable[..., PyTree], params: PyTree, x: PyTree, y: PyTree
) -> None:
    """Refuse labels outside the outputs, which JAX would not notice.

    Args:
        forward: `(params, x)`, of one example. x, y: rows; other arrays than labels are let by.

    Raises:
        InputError: a label below 0 or not below O, for a loss that picks an output by it; several
            targets that it does not take.
    """
    if not _several(y) and not jnp.issubdtype(y.dtype, jnp.integer):
        return
    # As arrays, whose doubles JAX takes as it takes those of the rows.
    one = functools.partial(jax.tree.map, lambda leaf: np.empty(leaf.shape[1:], leaf.dtype))
    prediction = jax.eval_shape(forward, params, one(x))
    if _several(prediction, y):
        jax.eval_shape(functools.partial(loss, example_loss), prediction, one(y))
        return
    if not _is_label(prediction, one(y)):
        return
    labels, classes = np.asarray(y), prediction.shape[-1]
    wrong = np.argwhere((labels < 0) | (labels >= classes))
    if not len(wrong) or not _kind(example_loss, prediction).pick:
        return
    row, *position = map(int, wrong[0])
    got = f"{labels[tuple(wrong[0])]} in row {row}" + (f" at {position}" if position else "")
    if classes == 1:
        raise InputError(
            "y: expected class labels of a network with an output for each class, got one output, "
            f"and {got}; give it more, or choose a loss of one output"
        )
    raise InputError(
        f"y: expected class labels 0 to {classes - 1}, one for each of the network's "
        f"{classes} outputs, got {got}"
    )


def _explain(
    example_loss: ExampleLoss, prediction: Any, y: Any, error: Exception | None = None
) -> None:
    """Refuse labels where the loss takes targets, and targets where it takes labels."""
    expected, got = jnp.shape(prediction), jnp.shape(y)
    if _is_label(prediction, y):
        if _takes_targets(example_loss, prediction):
            raise _refusal(expected) from error
    elif expected and _kind(example_loss, prediction).pick:
        ways = {
            expected[:-1]: "cast them to integers, such as y.astype(int)",
            (*expected[:-1], 1): "give the column as integers, such as y[:, 0].astype(int)",
            expected: "of one-hot rows give y.argmax(-1)",
        }
        if got in ways:
            raise InputError(
                f"y: expected integer class labels of shape {list(expected[:-1])} per example, "
                f"which the example loss takes, got {y.dtype} of shape {list(got)}; {ways[got]}"
            ) from error


@functools.lru_cache(maxsize=256)
def _of(example_loss: ExampleLoss, shape: tuple[int, ...], dtype: np.dtype) -> Labels:
    """Try a loss on fixed predictions, as drawn and with their outputs moved on by one.

    A loss of a class tells the outputs apart, so the moved ones change it. What broadcasts gives
    the same, and so does what takes the outputs together, such as `(jnp.sum(z) - y) ** 2`; of
    these only the former meets a label of more axes than the prediction in one operation.
    A loss that cannot be tried is taken: used, it gives its own error.
    """
    outputs = shape[-1]
    random = np.random.default_rng(0)
    # Where a loss with a margin is not flat, where it may be, and where a logarithm is defined.
    drawn = [
        random.normal(0, 0.3, shape),
        random.normal(0, 3, shape),
        random.uniform(0.1, 1, shape),
    ]
    z = np.array([*drawn, *(np.roll(each, 1, -1) for each in drawn)], dtype)
    few = np.linspace(0, outputs - 1, min(outputs, 32))
    labels = np.array([*few, outputs, outputs + 1], np.int32)
    y = np.broadcast_to(labels.reshape(-1, *(1 for _ in shape[:-1])), (len(labels), *shape[:-1]))
    unknown = Labels(broadcast=False, pick=False)
    try:
        with (
            jax.numpy_dtype_promotion("standard"),
            jax.numpy_rank_promotion("allow"),
            jax.debug_nans(False),
        ):
            tried = jax.vmap(jax.vmap(example_loss, (None, 0)), (0, None))
            # Compiled by itself, it runs here and now, also where a program is being traced.
            values = np.asarray(options.once(tried).lower(z, y).compile()(z, y))
    except Exception:  # a user's loss may fail in any way
        return unknown
    if values.shape not in ((*z.shape[:1], *y.shape[:1]), (*z.shape[:1], *y.shape)):
        return unknown
    values = values.reshape(len(z), len(y))
    finite = np.abs(values[np.isfinite(values)])
    rounding = 16 * np.finfo(dtype).eps * np.sqrt(outputs) * finite.max(initial=0)

    def same(these: np.ndarray, those: np.ndarray) -> bool:
        return np.allclose(these, those, rtol=0, atol=rounding, equal_nan=True)

    alike = outputs > 1 and same(*np.split(values[:, :-2], 2))
    varies = not same(values[:1], values)
    return Labels(
        broadcast=alike and varies and _meets(example_loss, shape, dtype),
        pick=not alike and same(values[:, -2], values[:, -1]),
    )


def _meets(example_loss: ExampleLoss, shape: tuple[int, ...], dtype: np.dtype) -> bool:
    """Tell whether a label of one axis at least meets outputs of another rank."""
    label = jax.ShapeDtypeStruct(shape[:-1] or (1, 1), np.int32)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("raise"):
        try:
            jax.eval_shape(example_loss, jax.ShapeDtypeStruct(shape, dtype), label)
        except Exception as error:  # a user's loss may fail in any way
            return "rank_promotion" in str(error)
    return False


def _takes_targets(example_loss: ExampleLoss, prediction: Any) -> bool:
    shape = jnp.shape(prediction)
    each = jax.ShapeDtypeStruct(shape, jnp.result_type(prediction))
    try:
        return jnp.shape(jax.eval_shape(example_loss, each, each)) in ((), shape)
    except Exception:  # a user's loss may fail in any way
        return False


def _refusal(expected: tuple[int, ...]) -> InputError:
    """Give the error of labels for a loss of targets, which are of that shape."""
    way = "one-hot encode them (jax.nn.one_hot)"
    if expected[-1] == 1:
        way = "give y[:, None], of floats"
    return InputError(
        f"y: expected targets of the prediction's shape {list(expected)}, which the example loss "
        f"takes, got integer class labels, which it would broadcast; {way}, or choose a loss of "
        "integer labels"
    )

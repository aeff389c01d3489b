"""The compiled loop: one pure gradient step, scanned over an order array.

`step` and `run` are pure and make no assumption about the parameters: call them inside `jax.jit`
and `jax.vmap` as you like. `fit` checks its input and runs the same loop as one cached program.

Shapes: N rows of data, T steps of B rows.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int32, PyTree, Shaped

from jaxnet import batches, checks

ValueAndGrad = Callable[[Any, Any], tuple[Float[Array, ""], Any]]

# The default level unrolls the short loops of small networks and then fails to vectorise them.
_CPU_OPTIONS = {"xla_backend_optimization_level": 1}


class State(NamedTuple):
    """All that a step changes: the parameters and the optimizer's state."""

    params: PyTree
    opt_state: PyTree


class Step(NamedTuple):
    """All that one step saw and did; `value` and `grads` are measured before the update."""

    before: State
    batch: PyTree
    value: Float[Array, ""]
    grads: PyTree
    after: State


Record = Callable[[Step], Any]


def value(step: Step) -> Float[Array, ""]:
    """Record the loss, measured before the update."""
    return step.value


def start(optimizer: optax.GradientTransformation, params: PyTree) -> State:
    """Give the state before the first step."""
    return State(params, optimizer.init(params))


def step(
    value_and_grad: ValueAndGrad,
    optimizer: optax.GradientTransformation,
    state: State,
    batch: PyTree[Shaped[Array | np.ndarray, "B ..."]],
    record: Record = value,
) -> tuple[State, PyTree]:
    """Take one gradient step; give the new state and what `record` makes of the step.

    Args:
        value_and_grad: `(params, batch) -> (loss, grads)`: `jax.value_and_grad(loss)`, or a rule
            derived by hand. An optimizer that searches along a line (`lbfgs`) differentiates
            the loss by this same rule.
        optimizer: any optax optimizer, also one that needs `value`, `grad` or `value_fn`.
        state: from `start` or a step before.
        batch: what the loss takes.
        record: what to keep of the step.

    Raises:
        TypeError, ValueError: a loss that is not a real scalar, or gradients that do not match
            the parameters leaf by leaf; raised while tracing.
    """
    try:
        loss, grads = value_and_grad(state.params, batch)
    except TypeError as error:
        if "scalar-output" not in str(error):
            raise
        raise ValueError(f"value_and_grad: wanted a real scalar loss; {error}") from error
    _check_gradient(loss, grads, state.params)
    updates, opt_state = optax.with_extra_args_support(optimizer).update(
        grads,
        state.opt_state,
        state.params,
        value=loss,
        grad=grads,
        value_fn=lambda params: _value(value_and_grad, params, batch),
    )
    after = State(optax.apply_updates(state.params, updates), opt_state)
    return after, record(Step(state, batch, loss, grads, after))


def run(
    value_and_grad: ValueAndGrad,
    optimizer: optax.GradientTransformation,
    state: State,
    data: PyTree[Shaped[Array | np.ndarray, "N ..."]],
    order: Int32[Array | np.ndarray, "T B"],
    record: Record = value,
) -> tuple[State, PyTree]:
    """Scan `step` over the order; give the last state and the records, each with axis T first."""

    def body(state: State, rows: Array) -> tuple[State, PyTree]:
        return step(value_and_grad, optimizer, state, batches.take(data, rows), record)

    return jax.lax.scan(body, state, jnp.asarray(order))


def fit(
    value_and_grad: ValueAndGrad,
    optimizer: optax.GradientTransformation | Callable[..., optax.GradientTransformation],
    params: PyTree[Float[Array | np.ndarray, "..."]],
    data: PyTree[Shaped[Array | np.ndarray, "N ..."]],
    order: Int32[Array | np.ndarray, "T B"],
    *,
    record: Record = value,
    **hyperparameters: float,
) -> tuple[State, PyTree]:
    """Check the input, then train in one compiled program.

    A program is cached by the functions it is made of: keep one `value_and_grad` and one
    `optimizer` and new parameters, data, orders of the same shapes and hyperparameter values
    compile nothing.

    Args:
        value_and_grad: `(params, batch) -> (loss, grads)`, as in `step`.
        optimizer: an optax optimizer, or a function that makes one of the hyperparameters, such
            as `optax.adam` with `learning_rate=1e-3`.
        params: where to start; any pytree of floating-point arrays.
        data: the N rows, a pytree of arrays whose first axis is N.
        order: the rows of each step, from `batches`.
        record: what to keep of each step; its loss unless told otherwise.
        **hyperparameters: finite numbers for `optimizer`, traced.

    Returns:
        The last state, and the records with axis T first: `losses [T]` unless told otherwise.
        A run that diverges is a result like another, its losses not finite.

    Raises:
        TypeError, ValueError: input that cannot be trained on, named, before anything compiles.
    """
    checks.params(params)
    checks.order(order, checks.data(data))
    check_loss = getattr(inspect.unwrap(value_and_grad), "check", None)
    if check_loss:
        check_loss(params, data)
    if isinstance(optimizer, optax.GradientTransformation) and hyperparameters:
        raise TypeError(
            f"optimizer: wanted a function of {', '.join(hyperparameters)}, such as optax.sgd; "
            "got an optimizer already made"
        )
    hyperparameters = {name: _number(name, given) for name, given in hyperparameters.items()}
    program = _program(jax.default_backend() == "cpu")
    return program(value_and_grad, optimizer, params, data, order, record, hyperparameters)


@functools.cache
def _program(on_cpu: bool) -> Any:
    return jax.jit(
        _make_and_run,
        static_argnames=("value_and_grad", "optimizer", "record"),
        compiler_options=_CPU_OPTIONS if on_cpu else None,
    )


def _make_and_run(
    value_and_grad: ValueAndGrad,
    optimizer: Any,
    params: PyTree,
    data: PyTree,
    order: Array,
    record: Record,
    hyperparameters: dict[str, Array],
) -> tuple[State, PyTree]:
    if not isinstance(optimizer, optax.GradientTransformation):
        optimizer = optimizer(**hyperparameters)
    return run(value_and_grad, optimizer, start(optimizer, params), data, order, record)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _value(value_and_grad: ValueAndGrad, params: PyTree, batch: PyTree) -> Array:
    """Give the loss, differentiable by the very rule the steps follow."""
    return value_and_grad(params, batch)[0]


def _value_backward(
    value_and_grad: ValueAndGrad, grads: PyTree, cotangent: Array
) -> tuple[PyTree, None]:
    del value_and_grad
    return jax.tree.map(lambda leaf: cotangent * leaf, grads), None


_value.defvjp(lambda value_and_grad, params, batch: value_and_grad(params, batch), _value_backward)


def _check_gradient(loss: Any, grads: PyTree, params: PyTree) -> None:
    if jnp.shape(loss) != () or not jnp.issubdtype(jnp.result_type(loss), jnp.floating):
        raise ValueError(
            "value_and_grad: wanted a real scalar loss; got "
            f"{jnp.result_type(loss)} of shape {list(jnp.shape(loss))}; reduce it, as by jnp.mean"
        )
    wanted, got = jax.tree.structure(params), jax.tree.structure(grads)
    if wanted != got:
        raise ValueError(
            f"value_and_grad: wanted grads of the structure of params, {wanted}; got {got}"
        )
    for index, (leaf, grad) in enumerate(
        zip(jax.tree.leaves(params), jax.tree.leaves(grads), strict=True)
    ):
        if jnp.shape(grad) != leaf.shape or grad.dtype != leaf.dtype:
            raise ValueError(
                f"{checks.path('grads', params, index)}: wanted the gradient of a parameter "
                f"{leaf.dtype}{list(leaf.shape)}; got {grad.dtype}{list(jnp.shape(grad))}"
            )


def _number(name: str, given: Any) -> float:
    if isinstance(given, bool | np.bool_) or np.ndim(given) != 0:
        raise TypeError(
            f"{name}: wanted one number, traced; got {given!r}; bind other settings to the "
            "optimizer with functools.partial, and sweep numbers with jax.vmap over training.run"
        )
    number = float(given)
    if not np.isfinite(number):
        raise ValueError(f"{name}: wanted a finite number; got {number}")
    return number

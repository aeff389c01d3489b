"""Optax's optimizers by name, each with how it is meant to be used and where it is searched."""

import dataclasses
import difflib
import functools
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
import optax.contrib
from jaxtyping import Array, Float, Int32, Key, PyTree

from jaxnet import losses, spaces, variables
from jaxnet._guards import checks
from jaxnet._guards.defaults import MULTIPLIER, Tune, rate_of
from jaxnet.errors import InputError
from jaxnet.losses import Loss, Rule
from jaxnet.spaces import Axis, Space

__all__ = ["Entry", "PerExample", "by_name", "by_path", "entry", "join", "names"]
MakeOptimizer = Callable[..., optax.GradientTransformation]
Optimizer = optax.GradientTransformation | MakeOptimizer


@runtime_checkable
class _Fields(Protocol):
    """What every dataclass has."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


Searched = Tune | Mapping[str, Axis | float] | _Fields
"""What is searched of an optimizer: its learning rate, its whole space, or axes of your own."""

_PUBLIC: dict[str, Any] = vars(optax.contrib) | vars(optax)
# Optax itself warns against it, in favour of optimistic_adam_v2.
_DEPRECATED = {"optimistic_adam"}
# Steps of sophia from one look at the Hessian to the next, as optax has it.
_PROBED_EVERY = 10
# What is put around an optimizer, and the values that change nothing.
_AROUND = {"schedule": 0.0, "warmup": 0.0, "clip": math.inf}


class PerExample(optax.GradientTransformation):
    """An optimizer whose updates are made of the gradients of each example, their axis B first.

    Make it of another's two functions: `PerExample(*optimizer)`.
    """


def check(optimizer: Any, hyperparameters: Mapping[str, Any] | None) -> dict[str, float]:
    """Refuse what is no optimizer, no number or a learning rate below 0, before they are traced.

    Raises:
        InputError: naming it.
    """
    if _is_made(optimizer):
        if hyperparameters:
            raise InputError(
                f"optimizer: expected a function of {', '.join(hyperparameters)}, such as "
                "optax.sgd, got an optimizer already made; give the function, or no hyperparameters"
            )
    else:
        check_kind(optimizer)
        _check_arguments(optimizer, hyperparameters or {})
    numbers = {name: checks.number(name, value) for name, value in (hyperparameters or {}).items()}
    if (rate := numbers.get("learning_rate", 0.0)) < 0:
        raise InputError(
            f"learning_rate: expected at least 0, got {rate:g}; optimizers go down the gradient as "
            "it is, give it without the sign"
        )
    return numbers


def check_kind(optimizer: Any) -> None:
    """Refuse what is no optimizer and no function.

    Raises:
        InputError: naming it.
    """
    if not (_is_made(optimizer) or callable(optimizer)):
        raise InputError(
            "optimizer: expected an optimizer of optax, or a function that makes one, such as "
            f"optax.sgd, got {optimizer!r}; jaxnet.optimizers.by_name takes names"
        )


def _check_arguments(make: Callable[..., Any], hyperparameters: Mapping[str, Any]) -> None:
    try:
        inspect.signature(make).bind(**hyperparameters)
    except TypeError as error:
        name = getattr(make, "__name__", repr(make))
        raise InputError(
            f"hyperparameters: expected those of {name}, got {dict(hyperparameters)}: {error}; "
            'give them as in hyperparameters={"learning_rate": 0.01}'
        ) from error
    except ValueError:  # a function that does not say what it takes
        return


def _is_made(optimizer: Any) -> bool:
    return hasattr(optimizer, "init") and hasattr(optimizer, "update")


def make(optimizer: Any, hyperparameters: Mapping[str, Any]) -> optax.GradientTransformation:
    """Make an optimizer of its hyperparameters, where it is not made already.

    Raises:
        InputError: hyperparameters that it cannot be traced over; what it gives is no optimizer.
    """
    if _is_made(optimizer):
        return optimizer
    try:
        result = optimizer(**hyperparameters)
    except jax.errors.ConcretizationTypeError as error:
        raise InputError(
            "optimizer: expected hyperparameters it can be traced over, got "
            f"{', '.join(hyperparameters)}, of which it asks one for its value; bind that one with "
            "functools.partial"
        ) from error
    if not _is_made(result):
        raise InputError(
            f"optimizer: expected a function that makes an optimizer, got one of "
            f"{result!r}; return what optax makes"
        )
    return result


def update(
    optimizer: optax.GradientTransformation,
    opt_state: PyTree,
    loss: Loss | Rule,
    at: tuple[PyTree, PyTree, Any],
    found: tuple[Array, PyTree],
) -> tuple[PyTree, PyTree]:
    """Ask an optimizer for its updates, with all that it may want; give them and its new state.

    Args:
        loss: what is trained by. at: parameters, batch and key that it was evaluated with.
        found: the value and the gradients there.

    Raises:
        InputError: weights of rows, for an optimizer of each example's gradient; an optimizer in
            NumPy.
    """
    trained, rest = variables.split(at[0])
    try:
        return optax.with_extra_args_support(optimizer).update(
            _each(loss, *at) if isinstance(optimizer, PerExample) else found[1],
            opt_state,
            trained,
            value=found[0],
            grad=found[1],
            value_fn=lambda trained: _value(loss, trained, rest, *at[1:]),
        )
    except TypeError as error:
        checks.in_numpy("optimizer", error)
        raise


def _each(loss: Loss | Rule, params: PyTree, batch: PyTree, key: Any) -> PyTree:
    """Give the gradients of each example as a batch of one, each with a key, axis B first."""
    if losses.weighs(loss) and len(batch) > 2:
        raise InputError(
            "weights: expected none with an optimizer that takes the gradient of each example by "
            "itself, of which a mean is the example; leave them out"
        )
    alone = jax.tree.map(lambda leaf: leaf[:, None], batch)
    keys = None if key is None else jax.random.split(key, len(jax.tree.leaves(batch)[0]))
    return jax.vmap(lambda *example: losses.evaluate(loss, params, *example)[1])(alone, keys)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _value(loss: Loss | Rule, trained: PyTree, rest: PyTree, batch: PyTree, key: Any) -> Array:
    """Give the loss, differentiable by the very rule the steps follow."""
    return losses.evaluate(loss, variables.join(trained, rest), batch, key)[0]


def _forward(
    loss: Loss | Rule, trained: PyTree, rest: PyTree, batch: PyTree, key: Any
) -> tuple[Array, PyTree]:
    return losses.evaluate(loss, variables.join(trained, rest), batch, key)[:2]


def _backward(
    loss: Loss | Rule, grads: PyTree, cotangent: Array
) -> tuple[PyTree, None, None, None]:
    return jax.tree.map(lambda leaf: cotangent * leaf, grads), None, None, None


_value.defvjp(_forward, _backward)


def _evaluate(opt_state: PyTree, params: PyTree) -> PyTree:
    """Give the averages of a schedule-free optimizer, wherever in the state it is."""

    def averages(state: Any) -> bool:
        return isinstance(state, optax.contrib.ScheduleFreeState)

    states = [state for state in jax.tree.leaves(opt_state, is_leaf=averages) if averages(state)]
    return optax.contrib.schedule_free_eval_params(states[0], params) if states else params


def _evaluations(opt_state: PyTree) -> Int32[Array, ""]:
    """Count the gradient of the step, and one for each step of its line search."""
    searched = optax.tree.get_all_with_path(opt_state, "num_linesearch_steps")
    return jnp.asarray(1 + sum(steps for _, steps in searched), jnp.int32)


class _Scheduled(NamedTuple):
    """The state of an optimizer under a schedule, and the steps that it has taken."""

    state: PyTree
    steps: Int32[Array, ""]


@dataclasses.dataclass(frozen=True)
class Entry:
    """How one optimizer is meant to be used, and where its hyperparameters are searched.

    Three hyperparameters are put around any optimizer, whatever it is made of:

    - "schedule": what the updates are multiplied by; 0 one, 1 a cosine and 2 a line, both from
      one at the first step down to zero after the last.
    - "warmup": the share of the steps, rounded to whole ones, in which that rises from zero by a
      line; the schedule takes the others.
    - "clip": the largest norm that all gradients together may have before the optimizer sees
      them, those of each example where it takes these; infinity for any.

    Attributes:
        name: what it is called.
        make: gives the optimizer of its hyperparameters, and where `random` of a `key`; all may
            be traced.
        space: an axis for each hyperparameter worth searching, "learning_rate" among them, or
            the "multiplier" of the updates of an optimizer that is made already.
        customary: a value for each of these, of optax or of those who proposed it.
        random: whether it draws noise of its own, from `key`, which each run should have one of.
        evaluate: `(opt_state, params) -> params`, those to be judged; unless told otherwise the
            averages of a schedule-free optimizer and the parameters themselves of any other.
        evaluations: `opt_state -> []`, whole-batch gradients that the last step spent; unless
            told otherwise one, and one for each step of its line search.
        note: what its reader must know.

    Raises:
        InputError: a space without a learning rate, or whose names are not those of `customary`; a
            hyperparameter of `make` called as one of the three, or one called `key` where `random`.
    """

    name: str
    make: MakeOptimizer
    space: Space = dataclasses.field(hash=False)
    customary: Mapping[str, float] = dataclasses.field(hash=False)
    random: bool = False
    evaluate: Callable[[PyTree, PyTree], PyTree] = _evaluate
    evaluations: Callable[[PyTree], Int32[Array, ""]] = _evaluations
    note: str = ""

    def __post_init__(self) -> None:
        """Refuse what cannot be searched."""
        if rate_of(self.space) not in self.space or set(self.space) != set(self.customary):
            raise InputError(
                f"{self.name}: expected a customary value for each axis, learning_rate among "
                f"them, got axes of {', '.join(self.space)} and values of "
                f"{', '.join(self.customary)}"
            )
        reserved = _AROUND.keys() & _unbound(self.make) | ({"key"} if self.random else set())
        if clashing := sorted(reserved & self.space.keys()):
            raise InputError(
                f"{self.name}: expected hyperparameters of its own by other names than "
                f"{', '.join([*_AROUND, 'key'])}, got {', '.join(clashing)}; rename it"
            )

    def axes(self, tune: Searched) -> Space:
        """Give the axes to search.

        Args:
            tune: "rate", the learning rate alone; "all", the whole space; or axes of your own
                by the names of hyperparameters, a dict or a dataclass, where a number fixes one
                and the learning rate, unless among them, is searched as ever. What is not among
                them is as `make` has it.

        Raises:
            InputError: another word, a hyperparameter that it does not have, with the nearest it
                has, a value that is neither an axis nor a number, or a learning rate of 0 or less.
        """
        if not isinstance(tune, str | Mapping):
            tune = _fields(tune)
        name = rate_of(self.space)
        rate = {name: self.space[name]}
        if isinstance(tune, str):
            words: Mapping[str, Space] = {"rate": rate, "all": self.space}
            if tune not in words:
                raise InputError(
                    f'tune: expected "rate", "all" or axes by name, got {tune!r}; give one of them'
                )
            return words[tune]
        for each in tune:
            self._check(each)
        axes = rate | {
            each: axis if isinstance(axis, Axis) else _fixed(each, axis)
            for each, axis in tune.items()
        }
        if (lowest := min(axes[name].values)) <= 0:
            raise InputError(
                f"tune: expected values of {name} above 0, got {lowest:g}; give other bounds"
            )
        return axes

    def _check(self, name: str) -> None:
        own = {each.name for each in _parameters(self.make).values() if _may_be_number(each)}
        taken = {*own, *self.space} - (_AROUND.keys() - self.space)
        if name not in taken:
            near = difflib.get_close_matches(str(name), taken, 3, 0.4) or sorted(taken)
            raise InputError(
                f"tune: expected hyperparameters of {self.name} that are numbers, got {name!r}; "
                f"the nearest are {', '.join(near)}"
            )

    def build(
        self,
        setting: Mapping[str, Float[Array, ""] | float],
        steps: int,
        key: Key[Array, ""] | None = None,
    ) -> optax.GradientTransformation:
        """Make the optimizer of a setting whose values may all be traced: one program for all.

        Hyperparameters that the setting leaves out are as `make` has them; a schedule, a warm-up
        and a clip are none where it leaves them out.

        Args:
            setting: values by name, those of `learning_rate` and of any hyperparameters.
            steps: of the run, after which a schedule is at zero.
            key: where `random`, what its noise is drawn from; as `make` has it where None.

        Raises:
            InputError: hyperparameters that it cannot be traced over.
        """
        own = {name: value for name, value in setting.items() if name not in _AROUND}
        optimizer = make(self.make, own if key is None else {**own, "key": key})
        if "clip" in setting:
            optimizer = _clipped(optimizer, setting["clip"])
        if "schedule" in setting or "warmup" in setting:
            around = _AROUND | dict(setting)
            optimizer = _scheduled(optimizer, around["schedule"], around["warmup"], steps)
        return optimizer


def _fields(space: Any) -> dict[str, Axis | float]:
    """Give the axes of a dataclass."""
    if isinstance(space, type) or not dataclasses.is_dataclass(space):
        raise InputError(
            f'tune: expected "rate", "all", or a dict or a dataclass of axes, got {space!r}; give '
            "one of them"
        )
    return {each.name: getattr(space, each.name) for each in dataclasses.fields(space)}


def _fixed(name: str, value: Any) -> Axis:
    try:
        return spaces.choice(checks.number(name, value))
    except InputError:
        raise InputError(
            f"tune: expected an axis or a finite number for {name}, got {value!r}; make an axis by "
            "jaxnet.spaces, such as log(0.001, 1.0) or choice(0.0, 0.9)"
        ) from None


def _clipped(optimizer: optax.GradientTransformation, norm: Any) -> optax.GradientTransformation:
    """Clip the gradients to a norm that may be traced, those of each example by themselves."""

    def clip(grads: PyTree) -> PyTree:
        size = optax.tree.norm(grads)
        most = jnp.asarray(norm, size.dtype)
        scale = jnp.where(size > most, most / size, 1)
        return jax.tree.map(lambda grad: grad * scale.astype(grad.dtype), grads)

    def update(
        updates: PyTree, state: PyTree, params: PyTree = None, **more: Any
    ) -> tuple[PyTree, PyTree]:
        each = isinstance(optimizer, PerExample)
        return optimizer.update((jax.vmap(clip) if each else clip)(updates), state, params, **more)

    return optimizer._replace(update=update)


def _scheduled(
    optimizer: optax.GradientTransformation, schedule: Any, warmup: Any, steps: int
) -> optax.GradientTransformation:
    """Multiply the updates by a schedule of peak one whose kind and warm-up may be traced."""

    def init(params: PyTree) -> _Scheduled:
        return _Scheduled(optimizer.init(params), jnp.zeros((), jnp.int32))

    def update(
        updates: PyTree, scheduled: _Scheduled, params: PyTree = None, **more: Any
    ) -> tuple[PyTree, _Scheduled]:
        updates, state = optimizer.update(updates, scheduled.state, params, **more)
        factor = _factor(scheduled.steps, schedule, warmup, steps)
        updates = jax.tree.map(lambda leaf: leaf * factor.astype(leaf.dtype), updates)
        return updates, _Scheduled(state, scheduled.steps + 1)

    return optimizer._replace(init=init, update=update)


def _factor(step: Int32[Array, ""], schedule: Any, warmup: Any, steps: int) -> Array:
    """Give a schedule at a step, of so many."""
    at, rising = step.astype(jnp.float32), jnp.round(jnp.asarray(warmup, jnp.float32) * steps)
    left = 1 - jnp.clip((at - rising) / jnp.maximum(steps - rising, 1), 0, 1)
    falling = jnp.where(schedule == 1, (1 - jnp.cos(jnp.pi * left)) / 2, left)
    after = jnp.where(schedule == 0, 1, falling)
    return jnp.where(at < rising, at / jnp.maximum(rising, 1), after)


def names() -> tuple[str, ...]:
    """List the optimizers of optax and optax.contrib that are made from a learning rate."""
    return tuple(sorted(_entries()))


def entry(name: str) -> Entry:
    """Say how an optimizer of optax is used; the same entry every time.

    Raises:
        InputError: a name optax does not have, with the nearest it has.
    """
    if name not in _entries():
        near = difflib.get_close_matches(name, names(), 3, 0.4)
        known = f"the nearest are {', '.join(near)}" if near else f"known: {', '.join(names())}"
        raise InputError(f"optimizer: expected an optimizer of optax, got {name!r}; {known}")
    return _entries()[name]


def by_name(name: str) -> MakeOptimizer:
    """Give the function that makes an optimizer of its `learning_rate`; the same one every time.

    Raises:
        InputError: a name optax does not have, with the nearest it has.
    """
    return entry(name).make


def by_path(
    optimizers: Mapping[str, optax.GradientTransformation],
) -> optax.GradientTransformation:
    """Give each parameter the optimizer of its path; `optax.set_to_zero()` freezes it.

    Args:
        optimizers: by a path, or the start of one, as `jax.tree_util.keystr` writes it: `[0]` is a
            network's first layer, `[0].bias` its biases, `['Dense_0']` a part of Flax's. The
            longest that a parameter has is its own; "" is that of all else.

    Raises:
        InputError: no dict of paths and optimizers; at its first use, a path that no parameter
            has, or a parameter without one.
    """
    each = optimizers.items() if isinstance(optimizers, Mapping) else [(None, None)]
    for path, optimizer in each:
        if not isinstance(path, str) or not _is_made(optimizer):
            raise InputError(
                "optimizers: expected a dict of optimizers already made by paths, such as "
                f'{{"": optax.adam(0.01)}}, got {path or optimizers!r}: {optimizer!r}; make them'
            )

    def chosen(params: PyTree) -> PyTree:
        leaves, tree = jax.tree.flatten_with_path(params)
        keys = [path for path, _ in leaves]
        starts = [
            [jax.tree_util.keystr(path[:end]) for end in range(len(path), -1, -1)] for path in keys
        ]
        there = {start for each in starts for start in each}
        if unknown := optimizers.keys() - there:
            near = difflib.get_close_matches(min(unknown), sorted(there), cutoff=0)
            raise InputError(
                f"optimizers: expected paths of parameters, got {min(unknown)!r}; the nearest are "
                f"{', '.join(near)}"
            )
        own = [next((start for start in each if start in optimizers), None) for each in starts]
        if None in own:
            raise InputError(
                f"optimizers: expected one for each parameter, got none for "
                f'{starts[own.index(None)][0]}; give one by its path, or by "" for all else'
            )
        return tree.unflatten(own)

    return optax.partition({**optimizers}, chosen)


def join(name: str, optimizer: Any) -> Entry:
    """Say how an optimizer of your own is used, to stand beside optax's under its name.

    An `Entry` says all of it. A function of `learning_rate`, and of `key` if it draws noise, is
    searched over the rates of most optimizers, and over its other arguments that are numbers
    unless told otherwise and have the name of a hyperparameter of optax, such as `b1`; bind those
    that are to stay with functools.partial. One that is made already has a `multiplier` of its
    updates in place of a learning rate, from 0.01 to 100. Both may be searched over what is put
    around any optimizer (see `Entry`), of which schedules are wrong for a schedule-free one: give
    an `Entry` of it. A schedule of your own is one of peak 1, multiplied by the rate:
    `lambda learning_rate: optax.adamw(lambda t: learning_rate * schedule(t))`; optax's
    `warmup_cosine_decay_schedule` and `sgdr_schedule` cannot be traced over another.

    Raises:
        InputError: none of these.
    """
    if isinstance(optimizer, Entry):
        return dataclasses.replace(optimizer, name=name)
    if isinstance(optimizer, optax.GradientTransformation):
        return Entry(
            name=name,
            make=_multiplied(optimizer),
            space={MULTIPLIER: spaces.log(1e-2, 1e2), **_WRAP},
            customary={MULTIPLIER: 1.0, **_AROUND},
            note="made already: its updates are multiplied, by 1 as it is",
        )
    if "learning_rate" not in _parameters(optimizer):
        raise InputError(
            f"{name}: expected a function of learning_rate, an optimizer of optax or an Entry, got "
            f"{optimizer!r}; such as lambda learning_rate: optax.adam(learning_rate, b1=0.8); a "
            "schedule goes inside, as lambda t: learning_rate * schedule(t); of optax.MultiSteps "
            "give its gradient_transformation()"
        )
    return _usual(name, optimizer, "searched over the rates of most optimizers")


def _usual(name: str, make: MakeOptimizer, note: str) -> Entry:
    free = _unbound(make)
    numbers = {each for each in free if _is_number(_parameters(make)[each].default)}
    axes = {each: axis for each, axis in _KNOWN.items() if each in numbers}
    axes |= {each: axis for each, axis in _WRAP.items() if each not in free}
    # From the lowest of Adam's rates to the highest of SGD's.
    return _Row(name, make, (1e-4, 1e1), 1e-3, axes, note=note).entry()


def _is_number(value: Any) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool)


# What optax calls things that are no numbers, though few have a default that says so.
_NO_NUMBERS = ("key", "dtype", "mask", "dimension_numbers", "optimizer")


def _may_be_number(parameter: inspect.Parameter) -> bool:
    default = parameter.default
    return not parameter.name.endswith(_NO_NUMBERS) and (
        _is_number(default) or default is None or default is parameter.empty
    )


class _Row(NamedTuple):
    """What there is to say of an optimizer; its entry, which looks at its arguments, when asked.

    Attributes:
        name: what it is called. make: it. rates: the lowest and the highest searched.
        rate: the customary one. axes: of all else.
        evaluations: of a step, as an entry has them. note: for its reader.
    """

    name: str
    make: MakeOptimizer
    rates: tuple[float, float]
    rate: float
    axes: Space
    evaluations: Callable[[PyTree], Int32[Array, ""]] = _evaluations
    note: str = ""

    def entry(self) -> Entry:
        """Give the entry, whose customary values are those of `make` unless told otherwise."""
        space = {"learning_rate": spaces.log(*self.rates), **self.axes}
        parameters = _parameters(self.make)
        values = {each: parameters[each].default for each in space if each in parameters}
        values |= _AROUND | {"learning_rate": self.rate}
        return Entry(
            name=self.name,
            make=self.make,
            space=space,
            customary={each: float(values[each] or 0) for each in space},
            random="key" in parameters,
            evaluations=self.evaluations,
            note=self.note,
        )


def _parameters(function: Any) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}


def _unbound(make: MakeOptimizer) -> set[str]:
    """Give the names of what is to be given still."""
    bound = make.keywords if isinstance(make, functools.partial) else {}
    return _parameters(make).keys() - bound.keys()


@functools.cache
def _entries() -> dict[str, Entry]:
    """Give the table, and all that a later optax has beside it."""
    note = "newer than this table: searched over the rates of most optimizers"
    newer = {name: _usual(name, make, note) for name, make in _PUBLIC.items() if _is_new(name)}
    return {row.name: row.entry() for row in _TABLE} | newer


def _is_new(name: str) -> bool:
    """Tell an optimizer outside the table: a public function, first of a learning rate alone."""
    make, known = _PUBLIC[name], _DEPRECATED | {row.name for row in _TABLE}
    function = inspect.isfunction(make) or isinstance(make, functools.partial)
    if not function or name.startswith(("_", "scale_by_")) or name in known:
        return False
    first, *others = [*_parameters(make).values(), None]
    optional = all(other is None or other.default is not other.empty for other in others)
    return first is not None and first.name == "learning_rate" and optional


@functools.lru_cache(maxsize=64)
def _multiplied(optimizer: optax.GradientTransformation) -> MakeOptimizer:
    """Give the same maker for the same optimizer, so that its programs are found again."""
    return functools.partial(multiplied, optimizer)


def multiplied(
    optimizer: optax.GradientTransformation, multiplier: Any
) -> optax.GradientTransformation:
    """Give an optimizer with updates so many times as large."""

    def update(
        updates: PyTree, state: PyTree, params: PyTree = None, **more: Any
    ) -> tuple[PyTree, PyTree]:
        updates, state = optimizer.update(updates, state, params, **more)
        return optax.tree.scale(multiplier, updates), state

    return optimizer._replace(update=update)


def _polyak_sgd(learning_rate: Any, scaling: Any = 1.0) -> optax.GradientTransformation:
    return optax.polyak_sgd(learning_rate, scaling)


def _noisy_sgd(
    learning_rate: Any, eta: Any = 0.01, gamma: Any = 0.55, key: Any = 0
) -> optax.GradientTransformation:
    return optax.noisy_sgd(learning_rate, eta, gamma, key=key)


def _dpsgd(
    learning_rate: Any, momentum: Any = None, l2_norm_clip: Any = 1.0, key: Any = 0
) -> optax.GradientTransformation:
    """Give `optax.contrib.dpsgd`, which would warn of its own use of a seed."""
    private = optax.contrib.differentially_private_aggregate(
        l2_norm_clip=l2_norm_clip, noise_multiplier=1.12, key=key
    )
    return PerExample(*optax.chain(private, optax.sgd(learning_rate, momentum)))


def _sophia(
    learning_rate: Any,
    b1: Any = 0.965,
    b2: Any = 0.99,
    weight_decay: Any = 1e-4,
    gamma: Any = 0.01,
    key: Key[Array, ""] | None = None,
) -> optax.GradientTransformation:
    optimizer = optax.contrib.sophia(
        learning_rate,
        b1,
        b2,
        weight_decay=weight_decay,
        gamma=gamma,
        update_interval=_PROBED_EVERY,
        hessian_diagonal_fn=optax.contrib.hutchinson_estimator_diag_hessian(key),
    )

    def update(
        updates: PyTree, state: PyTree, params: PyTree = None, **more: Any
    ) -> tuple[PyTree, PyTree]:
        return optimizer.update(updates, state, params, obj_fn=more["value_fn"])

    return optax.GradientTransformationExtraArgs(optimizer.init, update)


def _with_betas(make: MakeOptimizer) -> MakeOptimizer:
    """Take betas as others do, one by one."""

    def made(
        learning_rate: Any,
        b1: Any = 0.9,
        b2: Any = 0.999,
        weight_decay: Any = 0.0,
        estim_lr0: Any = 1e-6,
    ) -> optax.GradientTransformation:
        return make(learning_rate, (b1, b2), weight_decay=weight_decay, estim_lr0=estim_lr0)

    return made


def _sophia_evaluations(opt_state: PyTree) -> Int32[Array, ""]:
    """Count a product with the Hessian as two: the gradient and its derivative."""
    before = optax.tree.get(opt_state, "count") - 1
    return jnp.where(before % _PROBED_EVERY == 0, 3, 1).astype(jnp.int32)


def _dpsgd_evaluations(opt_state: PyTree) -> Int32[Array, ""]:
    """Count the loss of the whole batch, and the gradients of each of its examples."""
    del opt_state
    return jnp.asarray(2, jnp.int32)


_FREE = "learning-rate-free: the rate is a multiplier"
_FREE_NAN = f"{_FREE}; all-zero gradients make it nan; its first steps are tiny"
_BOUND = "the rate is the largest step allowed; takes the lowest possible loss to be 0"
_LAYERS = "scales each array by its own norms: one flat vector of parameters trains differently"
_MATRICES = "only 2-D parameters get"
_AVERAGES = "judged at its averages, not at the parameters it trains"

# The axes that optimizers share. Momentum and betas of zero are none; a decay of the weights at
# the low end is as good as none.
_B1 = {"b1": spaces.one_minus(0.0, 0.99)}
_B2 = {"b2": spaces.one_minus(0.9, 0.9999)}
_BETA = {"beta": spaces.one_minus(0.0, 0.99)}
_MOMENTUM = {"momentum": spaces.one_minus(0.0, 0.99)}
_EPS = {"eps": spaces.log(1e-8, 1e-2)}
_DECAY = {"weight_decay": spaces.log(1e-5, 1e0)}
_SCHEDULE = {
    "schedule": spaces.choice(0.0, 1.0, 2.0),
    "warmup": spaces.choice(0.0, 0.05, 0.1, 0.2),
}
_CLIP = {"clip": spaces.choice(0.1, 1.0, math.inf)}
_WRAP = _SCHEDULE | _CLIP
_ADAM = _B1 | _B2 | _EPS | _WRAP
# Those of a few.
_ADAN = _ADAM | _DECAY | {"b2": spaces.one_minus(0.5, 0.99), "b3": spaces.one_minus(0.9, 0.9999)}
_AVERAGED = {"b1": spaces.one_minus(0.5, 0.99)}  # divides by it
_COINS = {"alpha": spaces.log(1e1, 1e3)}
_ETAS = {"eta_minus": spaces.linear(0.2, 0.8), "eta_plus": spaces.linear(1.05, 1.5)}
_FACTORS = {
    "decay_rate": spaces.linear(0.5, 0.99),
    "weight_decay_rate": spaces.log(1e-6, 1e-2),  # is not multiplied by the learning rate
}
_FADE = {"decay": spaces.one_minus(0.5, 0.999)}
_FIRST = {"estim_lr0": spaces.log(1e-8, 1e-3)}
_GAMMA = {"gamma": spaces.log(1e-3, 1e-1)}
_LOW_B2 = {"b2": spaces.one_minus(0.0, 0.99)}
_NOISE = {"eta": spaces.log(1e-4, 1e0), "gamma": spaces.linear(0.1, 1.0)}
_NORM = {"l2_norm_clip": spaces.log(1e-1, 1e1)}
_OPTIMISM = {"beta": spaces.linear(0.0, 1.0)}
_RHO = {"rho": spaces.one_minus(0.5, 0.999)}
_SCALING = {"scaling": spaces.log(1e-1, 1e1)}
_SLOW = {"b3": spaces.one_minus(0.99, 0.99999), "alpha": spaces.linear(0.0, 10.0)}
_START = {"initial_accumulator_value": spaces.log(1e-4, 1e0)}
_SUM = {"b1": spaces.one_minus(0.9, 0.999), "alpha": spaces.linear(0.0, 100.0)}
_TINY = {"eps": spaces.log(1e-16, 1e-4)}
# What an optimizer of one's own is searched over, where it takes it.
_KNOWN = _B1 | _B2 | _BETA | _MOMENTUM | _EPS | _DECAY | _FADE | _RHO

# Each range is four decades around the best rates seen on small networks, so that one count of
# trials is one resolution for all. Beside each: who proposed it; the rate is theirs, or optax's.
# Without a schedule are those whose steps, made smaller, are no longer what they count on: a line
# search, rprop's sizes and steps from the loss go by the point that they led to, learning-rate-free
# ones measure how far they came, madgrad steps towards a point of its own, and schedule-free
# ones average instead. Without a clip are those that it changes nothing of (signs and norms alone),
# dpsgd, which has its own, and those that hold the gradient against the loss.
_TABLE = (
    # Gradient descent, with momentum, signs or noise.
    _Row("sgd", optax.sgd, (1e-3, 1e1), 1e-2, _WRAP),  # Robbins & Monro 1951; the rate: Keras
    _Row(  # Polyak 1964; the momentum: what most people mean by it
        "momentum", functools.partial(optax.sgd, momentum=0.9), (1e-4, 1e0), 1e-2, _MOMENTUM | _WRAP
    ),
    _Row(  # Neelakantan et al. 2015
        "noisy_sgd",
        _noisy_sgd,
        (1e-3, 1e1),
        1e-2,
        _NOISE | _WRAP,
    ),
    _Row(  # Abadi et al. 2016; settings: the first of TensorFlow Privacy's tutorial
        "dpsgd",
        _dpsgd,
        (1e-3, 1e1),
        0.08,
        _MOMENTUM | _NORM | _SCHEDULE,
        evaluations=_dpsgd_evaluations,
        note="clips the gradient of each example to norm 1 and adds noise of 1.12 times that: "
        "privacy is paid for in loss",
    ),
    # Mokhtari et al. 2019
    _Row(
        "optimistic_gradient_descent",
        optax.optimistic_gradient_descent,
        (1e-3, 1e1),
        1e-2,
        _OPTIMISM | _WRAP,
    ),
    _Row("sign_sgd", optax.sign_sgd, (1e-5, 1e-1), 1e-4, _SCHEDULE),  # Bernstein et al. 2018
    _Row(  # Bernstein et al. 2018
        "signum", optax.signum, (1e-5, 1e-1), 1e-4, _BETA | _WRAP
    ),
    _Row(  # Chen et al. 2023
        "lion", optax.lion, (1e-5, 1e-1), 1e-4, _B1 | _B2 | _DECAY | _WRAP
    ),
    _Row(  # Riedmiller & Braun 1993
        "rprop",
        optax.rprop,
        (1e-4, 1e0),
        0.1,
        _ETAS,
        note="wants full batches; the rate is its first step alone",
    ),
    # Adam and its kin.
    _Row("adam", optax.adam, (1e-4, 1e0), 1e-3, _ADAM),  # Kingma & Ba 2014
    _Row("adamw", optax.adamw, (1e-4, 1e0), 1e-3, _ADAM | _DECAY),  # Loshchilov & Hutter 2017
    _Row("adamax", optax.adamax, (1e-3, 1e1), 2e-3, _ADAM),  # Kingma & Ba 2014
    _Row("adamaxw", optax.adamaxw, (1e-3, 1e1), 2e-3, _ADAM | _DECAY),  # Loshchilov & Hutter 2017
    _Row("nadam", optax.nadam, (1e-4, 1e0), 2e-3, _ADAM),  # Dozat 2016
    _Row("nadamw", optax.nadamw, (1e-4, 1e0), 2e-3, _ADAM | _DECAY),  # Dozat 2016
    _Row("amsgrad", optax.amsgrad, (1e-3, 1e1), 1e-3, _ADAM),  # Reddi et al. 2018
    _Row("radam", optax.radam, (1e-3, 1e1), 1e-3, _ADAM),  # Liu et al. 2019
    _Row("adabelief", optax.adabelief, (1e-4, 1e0), 1e-3, _ADAM | _TINY),  # Zhuang et al. 2020
    _Row("adan", optax.adan, (1e-4, 1e0), 1e-3, _ADAN),  # Xie et al. 2022
    _Row("yogi", optax.yogi, (1e-4, 1e0), 1e-2, _ADAM),  # Zaheer et al. 2018
    # Daskalakis et al. 2017; the rate: Adam's
    _Row("optimistic_adam_v2", optax.optimistic_adam_v2, (1e-4, 1e0), 1e-3, _ADAM | _OPTIMISM),
    _Row(  # Pagliardini et al. 2024
        "ademamix", optax.contrib.ademamix, (1e-4, 1e0), 1e-3, _ADAM | _DECAY | _SLOW
    ),
    _Row(  # Morwani et al. 2025; the rate: Adam's times 1 - b1, which its formula asks for
        "simplified_ademamix",
        optax.contrib.simplified_ademamix,
        (1e-6, 1e-2),
        1e-5,
        _ADAM | _DECAY | _SUM,
        note="its momentum is a sum: its rates are a hundredth of Adam's",
    ),
    _Row("adopt", optax.contrib.adopt, (1e-4, 1e0), 1e-3, _ADAM),  # Taniguchi et al. 2024
    _Row(  # Zhuang et al. 2021
        "acprop",
        optax.contrib.acprop,
        (1e-5, 1e-1),
        1e-3,
        _ADAM | _DECAY | _TINY,
        note="explodes where a gradient follows zeros, as of inputs that are seldom on",
    ),
    # Other steps of their own for each parameter.
    _Row(  # Duchi et al. 2011; the rate: PyTorch
        "adagrad", optax.adagrad, (1e-3, 1e1), 1e-2, _START | _EPS | _WRAP
    ),
    _Row(  # Zeiler 2012
        "adadelta", optax.adadelta, (1e-2, 1e2), 1.0, _RHO | _EPS | _DECAY | _WRAP
    ),
    _Row(  # Hinton 2012
        "rmsprop", optax.rmsprop, (1e-4, 1e0), 1e-3, _FADE | _EPS | _MOMENTUM | _WRAP
    ),
    _Row("sm3", optax.sm3, (1e-3, 1e1), 0.1, _MOMENTUM | _WRAP),  # Anil et al. 2019
    _Row(  # Defazio & Jelassi 2021
        "madgrad", optax.contrib.madgrad, (1e-4, 1e0), 1e-2, _MOMENTUM | _EPS | _DECAY | _CLIP
    ),
    _Row(  # Shazeer & Stern 2018
        "adafactor",
        optax.adafactor,
        (1e-4, 1e0),
        1e-2,
        _FACTORS | _MOMENTUM | _WRAP,
        note="the rate is relative to the size of each array; factors only sides of 128 and more",
    ),
    # Norms of layers, and matrices.
    _Row(  # You et al. 2017; the rate: SimCLR's (Chen et al. 2020) for a batch of 256
        "lars",
        optax.lars,
        (1e-2, 1e2),
        0.3,
        _MOMENTUM | _DECAY | _WRAP,
        note=f"{_LAYERS}; one of zeros, such as a fresh bias, takes its step at the whole rate",
    ),
    _Row("lamb", optax.lamb, (1e-4, 1e0), 1e-3, _ADAM | _DECAY, note=_LAYERS),  # You et al. 2019
    _Row(
        "fromage", optax.fromage, (1e-4, 1e0), 1e-2, _SCHEDULE, note=_LAYERS
    ),  # Bernstein et al. 2020
    _Row(  # Ginsburg et al. 2019
        "novograd",
        optax.novograd,
        (1e-4, 1e0),
        1e-2,
        _B1 | _LOW_B2 | _DECAY | _WRAP,
        note=_LAYERS,
    ),
    _Row(  # Jordan et al. 2024
        "muon",
        optax.contrib.muon,
        (1e-4, 1e0),
        2e-2,
        _BETA | _DECAY | _WRAP,
        note=f"{_MATRICES} Muon, the others AdamW at the same rate",
    ),
    _Row(  # Zhao et al. 2024
        "galore",
        optax.contrib.galore,
        (1e-3, 1e1),
        1e-2,
        _DECAY | _WRAP,
        note=f"{_MATRICES} GaLore, of rank 128: full, and no saving, where a side is no longer",
    ),
    # Curvature.
    _Row(  # Liu & Nocedal 1989
        "lbfgs",
        optax.lbfgs,
        (1e-2, 1e2),
        1.0,
        {},
        note="wants full batches; the rate scales the first step its line search tries",
    ),
    _Row(  # Liu et al. 2023
        "sophia",
        _sophia,
        (1e-5, 1e-1),
        1e-4,
        _B1 | _B2 | _DECAY | _GAMMA | _WRAP,
        evaluations=_sophia_evaluations,
        note="looks at the Hessian of the batch, along a random direction, every tenth step",
    ),
    # Steps from the value of the loss.
    _Row("polyak_sgd", _polyak_sgd, (1e-1, 1e3), 1.0, _SCALING, note=_BOUND),  # Loizou et al. 2020
    _Row(  # Schaipp et al. 2023
        "momo", optax.contrib.momo, (1e-1, 1e3), 1.0, _BETA | _DECAY, note=_BOUND
    ),
    _Row(  # the same
        "momo_adam",
        optax.contrib.momo_adam,
        (1e-3, 1e1),
        1e-2,
        _B1 | _B2 | _EPS | _DECAY,
        note=_BOUND,
    ),
    # Learning-rate-free.
    _Row(  # Orabona & Tommasi 2017
        "cocob",
        optax.contrib.cocob,
        (1e-2, 1e2),
        1.0,
        _COINS | _DECAY | _CLIP,
        note="learning-rate-free: the rate scales the gradients, which cancels; it changes nothing",
    ),
    _Row(  # Defazio & Mishchenko 2023
        "dadapt_adamw",
        _with_betas(optax.contrib.dadapt_adamw),
        (1e-2, 1e2),
        1.0,
        _B1 | _B2 | _DECAY | _FIRST | _CLIP,
        note=_FREE_NAN,
    ),
    _Row(  # Mishchenko & Defazio 2023
        "prodigy",
        _with_betas(optax.contrib.prodigy),
        (1e-2, 1e2),
        1.0,
        _B1 | _B2 | _DECAY | _FIRST | _CLIP,
        note=_FREE_NAN,
    ),
    _Row(  # Ivgi et al. 2023
        "dog", optax.contrib.dog, (1e-2, 1e2), 1.0, _DECAY | _CLIP, note=_FREE
    ),
    _Row(  # Khaled et al. 2023
        "dowg", optax.contrib.dowg, (1e-2, 1e2), 1.0, _DECAY | _CLIP, note=_FREE
    ),
    # Schedule-free: Defazio et al. 2024.
    _Row(
        "schedule_free_sgd",
        optax.contrib.schedule_free_sgd,
        (1e-2, 1e2),
        1.0,
        _AVERAGED | _DECAY | _CLIP,
        note=_AVERAGES,
    ),
    _Row(
        "schedule_free_adamw",
        optax.contrib.schedule_free_adamw,
        (1e-3, 1e1),
        2.5e-3,
        _AVERAGED | _B2 | _EPS | _DECAY | _CLIP,
        note=_AVERAGES,
    ),
)

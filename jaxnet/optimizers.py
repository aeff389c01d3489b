"""Optax's optimizers by name, each with how it is meant to be used."""

import dataclasses
import difflib
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
import optax.contrib
from jaxtyping import Array, Int32, Key, PyTree

from jaxnet._guards import checks
from jaxnet.errors import InputError

__all__ = ["Entry", "PerExample", "by_name", "entry", "join", "names"]
MakeOptimizer = Callable[..., optax.GradientTransformation]
Optimizer = optax.GradientTransformation | MakeOptimizer

_PUBLIC: dict[str, Any] = vars(optax.contrib) | vars(optax)
# Optax itself warns against it, in favour of optimistic_adam_v2.
_DEPRECATED = {"optimistic_adam"}
# Steps of sophia from one look at the Hessian to the next, as optax has it.
_PROBED_EVERY = 10


class PerExample(optax.GradientTransformation):
    """An optimizer whose updates are made of the gradients of each example, their axis B first.

    Make it of another's two functions: `PerExample(*optimizer)`.
    """


def check(optimizer: Any, hyperparameters: Mapping[str, Any] | None) -> dict[str, float]:
    """Refuse what is no optimizer or no number, before either is traced.

    Raises:
        InputError: naming it.
    """
    if _is_made(optimizer):
        if hyperparameters:
            raise InputError(
                f"optimizer: expected a function of {', '.join(hyperparameters)}, such as "
                "optax.sgd, got an optimizer already made; give the function, or no hyperparameters"
            )
    elif not callable(optimizer):
        raise InputError(
            "optimizer: expected an optimizer of optax, or a function that makes one, such as "
            f"optax.sgd, got {optimizer!r}; jaxnet.optimizers.by_name takes names"
        )
    else:
        _check_arguments(optimizer, hyperparameters or {})
    return {name: checks.number(name, value) for name, value in (hyperparameters or {}).items()}


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
            f"optimizer: expected a function that makes an optimizer, got one of {result!r}"
        )
    return result


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


@dataclasses.dataclass(frozen=True)
class Entry:
    """How one optimizer is meant to be used.

    Attributes:
        name: what it is called.
        make: gives the optimizer of its `learning_rate`, and where `random` of a `key`; both may
            be traced.
        learning_rates: the range worth searching, lowest and highest.
        default: its customary rate, of optax or of those who proposed it.
        random: whether it draws noise of its own, from `key`, which each run should have one of.
        evaluate: `(opt_state, params) -> params`, those to be judged; unless told otherwise the
            averages of a schedule-free optimizer and the parameters themselves of any other.
        evaluations: `opt_state -> []`, whole-batch gradients that the last step spent; unless
            told otherwise one, and one for each step of its line search.
        note: what its reader must know.
    """

    name: str
    make: MakeOptimizer
    learning_rates: tuple[float, float]
    default: float
    random: bool = False
    evaluate: Callable[[PyTree, PyTree], PyTree] = _evaluate
    evaluations: Callable[[PyTree], Int32[Array, ""]] = _evaluations
    note: str = ""


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


def join(name: str, optimizer: Any) -> Entry:
    """Say how an optimizer of your own is used, to stand beside optax's under its name.

    An `Entry` says all of it. A function of `learning_rate`, and of `key` if it draws noise, is
    searched over the rates of most optimizers. One that is made already has its updates
    multiplied by the rate. A schedule is one of peak 1, multiplied by the rate:
    `lambda learning_rate: optax.adamw(lambda t: learning_rate * schedule(t))`; optax's
    `warmup_cosine_decay_schedule` and `sgdr_schedule` cannot be traced over another.

    Raises:
        InputError: none of these.
    """
    if isinstance(optimizer, Entry):
        return dataclasses.replace(optimizer, name=name)
    if isinstance(optimizer, optax.GradientTransformation):
        note = "made already: the rate multiplies its updates"
        return Entry(name, _multiplied(optimizer), (1e-2, 1e2), 1.0, note=note)
    if "learning_rate" not in _parameters(optimizer):
        raise InputError(
            f"{name}: expected a function of learning_rate, an optimizer of optax or an Entry, got "
            f"{optimizer!r}; such as lambda learning_rate: optax.adam(learning_rate, b1=0.8); a "
            "schedule goes inside, as lambda t: learning_rate * schedule(t); of optax.MultiSteps "
            "give its gradient_transformation()"
        )
    return _usual(name, optimizer, "searched over the rates of most optimizers")


def _usual(name: str, make: MakeOptimizer, note: str) -> Entry:
    return Entry(name, make, (1e-4, 1e0), 1e-3, random="key" in _parameters(make), note=note)


def _parameters(function: Any) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}


@functools.cache
def _entries() -> dict[str, Entry]:
    """Give the table, and all that a later optax has beside it."""
    note = "newer than this table: searched over the rates of most optimizers"
    found = {name: _usual(name, make, note) for name, make in _PUBLIC.items() if _is_new(name)}
    return {entry.name: entry for entry in _TABLE} | found


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

    def make(learning_rate: Any) -> optax.GradientTransformation:
        def update(
            updates: PyTree, state: PyTree, params: PyTree = None, **more: Any
        ) -> tuple[PyTree, PyTree]:
            updates, state = optimizer.update(updates, state, params, **more)
            return optax.tree.scale(learning_rate, updates), state

        return optimizer._replace(update=update)

    return make


def _polyak_sgd(learning_rate: Any) -> optax.GradientTransformation:
    return optax.polyak_sgd(max_learning_rate=learning_rate)


def _noisy_sgd(learning_rate: Any, key: Any = 0) -> optax.GradientTransformation:
    return optax.noisy_sgd(learning_rate, key=key)


def _dpsgd(learning_rate: Any, key: Any = 0) -> optax.GradientTransformation:
    """Give `optax.contrib.dpsgd`, which would warn of its own use of a seed."""
    private = optax.contrib.differentially_private_aggregate(
        l2_norm_clip=1.0, noise_multiplier=1.12, key=key
    )
    chain = optax.chain(private, optax.scale_by_learning_rate(learning_rate))
    return PerExample(*chain)


def _sophia(learning_rate: Any, key: Key[Array, ""] | None = None) -> optax.GradientTransformation:
    probe = optax.contrib.hutchinson_estimator_diag_hessian(key)
    made = optax.contrib.sophia(
        learning_rate, update_interval=_PROBED_EVERY, hessian_diagonal_fn=probe
    )

    def update(
        updates: PyTree, state: PyTree, params: PyTree = None, **more: Any
    ) -> tuple[PyTree, PyTree]:
        return made.update(updates, state, params, obj_fn=more["value_fn"])

    return optax.GradientTransformationExtraArgs(made.init, update)


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

# Each range is four decades around the best rates seen on small networks, so that one count of
# rates is one resolution for all. Beside each: who proposed it; the default is theirs, or optax's.
_TABLE = (
    # Gradient descent, with momentum, signs or noise.
    Entry("sgd", optax.sgd, (1e-3, 1e1), 1e-2),  # Robbins & Monro 1951; the rate: Keras
    Entry(  # Neelakantan et al. 2015
        "noisy_sgd",
        _noisy_sgd,
        (1e-3, 1e1),
        1e-2,
        random=True,
    ),
    Entry(  # Abadi et al. 2016; settings: the first of TensorFlow Privacy's tutorial
        "dpsgd",
        _dpsgd,
        (1e-3, 1e1),
        0.08,
        random=True,
        evaluations=_dpsgd_evaluations,
        note="clips the gradient of each example to norm 1 and adds noise of 1.12 times that: "
        "privacy is paid for in loss",
    ),
    # Mokhtari et al. 2019
    Entry("optimistic_gradient_descent", optax.optimistic_gradient_descent, (1e-3, 1e1), 1e-2),
    Entry("sign_sgd", optax.sign_sgd, (1e-5, 1e-1), 1e-4),  # Bernstein et al. 2018
    Entry("signum", optax.signum, (1e-5, 1e-1), 1e-4),  # Bernstein et al. 2018
    Entry("lion", optax.lion, (1e-5, 1e-1), 1e-4),  # Chen et al. 2023
    Entry(  # Riedmiller & Braun 1993
        "rprop",
        optax.rprop,
        (1e-4, 1e0),
        0.1,
        note="wants full batches; the rate is its first step alone",
    ),
    # Adam and its kin.
    Entry("adam", optax.adam, (1e-4, 1e0), 1e-3),  # Kingma & Ba 2014
    Entry("adamw", optax.adamw, (1e-4, 1e0), 1e-3),  # Loshchilov & Hutter 2017
    Entry("adamax", optax.adamax, (1e-3, 1e1), 2e-3),  # Kingma & Ba 2014
    Entry("adamaxw", optax.adamaxw, (1e-3, 1e1), 2e-3),  # Loshchilov & Hutter 2017
    Entry("nadam", optax.nadam, (1e-4, 1e0), 2e-3),  # Dozat 2016
    Entry("nadamw", optax.nadamw, (1e-4, 1e0), 2e-3),  # Dozat 2016
    Entry("amsgrad", optax.amsgrad, (1e-3, 1e1), 1e-3),  # Reddi et al. 2018
    Entry("radam", optax.radam, (1e-3, 1e1), 1e-3),  # Liu et al. 2019
    Entry("adabelief", optax.adabelief, (1e-4, 1e0), 1e-3),  # Zhuang et al. 2020
    Entry("adan", optax.adan, (1e-4, 1e0), 1e-3),  # Xie et al. 2022
    Entry("yogi", optax.yogi, (1e-4, 1e0), 1e-2),  # Zaheer et al. 2018
    # Daskalakis et al. 2017; the rate: Adam's
    Entry("optimistic_adam_v2", optax.optimistic_adam_v2, (1e-4, 1e0), 1e-3),
    Entry("ademamix", optax.contrib.ademamix, (1e-4, 1e0), 1e-3),  # Pagliardini et al. 2024
    Entry(  # Morwani et al. 2025; the rate: Adam's times 1 - b1, which its formula asks for
        "simplified_ademamix",
        optax.contrib.simplified_ademamix,
        (1e-6, 1e-2),
        1e-5,
        note="its momentum is a sum: its rates are a hundredth of Adam's",
    ),
    Entry("adopt", optax.contrib.adopt, (1e-4, 1e0), 1e-3),  # Taniguchi et al. 2024
    Entry(  # Zhuang et al. 2021
        "acprop",
        optax.contrib.acprop,
        (1e-5, 1e-1),
        1e-3,
        note="explodes where a gradient follows zeros, as of inputs that are seldom on",
    ),
    # Other steps of their own for each parameter.
    Entry("adagrad", optax.adagrad, (1e-3, 1e1), 1e-2),  # Duchi et al. 2011; the rate: PyTorch
    Entry("adadelta", optax.adadelta, (1e-2, 1e2), 1.0),  # Zeiler 2012
    Entry("rmsprop", optax.rmsprop, (1e-4, 1e0), 1e-3),  # Hinton 2012
    Entry("sm3", optax.sm3, (1e-3, 1e1), 0.1),  # Anil et al. 2019
    Entry("madgrad", optax.contrib.madgrad, (1e-4, 1e0), 1e-2),  # Defazio & Jelassi 2021
    Entry(  # Shazeer & Stern 2018
        "adafactor",
        optax.adafactor,
        (1e-4, 1e0),
        1e-2,
        note="the rate is relative to the size of each array; factors only sides of 128 and more",
    ),
    # Norms of layers, and matrices.
    Entry(  # You et al. 2017; the rate: SimCLR's (Chen et al. 2020) for a batch of 256
        "lars",
        optax.lars,
        (1e-2, 1e2),
        0.3,
        note=f"{_LAYERS}; one of zeros, such as a fresh bias, takes its step at the whole rate",
    ),
    Entry("lamb", optax.lamb, (1e-4, 1e0), 1e-3, note=_LAYERS),  # You et al. 2019
    Entry("fromage", optax.fromage, (1e-4, 1e0), 1e-2, note=_LAYERS),  # Bernstein et al. 2020
    Entry("novograd", optax.novograd, (1e-4, 1e0), 1e-2, note=_LAYERS),  # Ginsburg et al. 2019
    Entry(  # Jordan et al. 2024
        "muon",
        optax.contrib.muon,
        (1e-4, 1e0),
        2e-2,
        note=f"{_MATRICES} Muon, the others AdamW at the same rate",
    ),
    Entry(  # Zhao et al. 2024
        "galore",
        optax.contrib.galore,
        (1e-3, 1e1),
        1e-2,
        note=f"{_MATRICES} GaLore, of rank 128: full, and no saving, where a side is no longer",
    ),
    # Curvature.
    Entry(  # Liu & Nocedal 1989
        "lbfgs",
        optax.lbfgs,
        (1e-2, 1e2),
        1.0,
        note="wants full batches; the rate scales the first step its line search tries",
    ),
    Entry(  # Liu et al. 2023
        "sophia",
        _sophia,
        (1e-5, 1e-1),
        1e-4,
        random=True,
        evaluations=_sophia_evaluations,
        note="looks at the Hessian of the batch, along a random direction, every tenth step",
    ),
    # Steps from the value of the loss.
    Entry("polyak_sgd", _polyak_sgd, (1e-1, 1e3), 1.0, note=_BOUND),  # Loizou et al. 2020
    Entry("momo", optax.contrib.momo, (1e-1, 1e3), 1.0, note=_BOUND),  # Schaipp et al. 2023
    Entry("momo_adam", optax.contrib.momo_adam, (1e-3, 1e1), 1e-2, note=_BOUND),  # the same
    # Learning-rate-free.
    Entry(  # Orabona & Tommasi 2017
        "cocob",
        optax.contrib.cocob,
        (1e-2, 1e2),
        1.0,
        note="learning-rate-free: the rate scales the gradients, which cancels; it changes nothing",
    ),
    Entry(  # Defazio & Mishchenko 2023
        "dadapt_adamw",
        optax.contrib.dadapt_adamw,
        (1e-2, 1e2),
        1.0,
        note=_FREE_NAN,
    ),
    Entry(  # Mishchenko & Defazio 2023
        "prodigy",
        optax.contrib.prodigy,
        (1e-2, 1e2),
        1.0,
        note=_FREE_NAN,
    ),
    Entry("dog", optax.contrib.dog, (1e-2, 1e2), 1.0, note=_FREE),  # Ivgi et al. 2023
    Entry("dowg", optax.contrib.dowg, (1e-2, 1e2), 1.0, note=_FREE),  # Khaled et al. 2023
    # Schedule-free: Defazio et al. 2024.
    Entry(
        "schedule_free_sgd",
        optax.contrib.schedule_free_sgd,
        (1e-2, 1e2),
        1.0,
        note=_AVERAGES,
    ),
    Entry(
        "schedule_free_adamw",
        optax.contrib.schedule_free_adamw,
        (1e-3, 1e1),
        2.5e-3,
        note=_AVERAGES,
    ),
)

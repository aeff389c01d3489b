"""Part: how often an audit names a mistake, misleads, or calls a right gradient wrong.

Networks of depth 1 to 4, of 1 to 20 units a layer, with 1 to 40 examples, of ten activations and
eight losses, are drawn by seed: ours, and plain functions of a dict with and without a regulariser.
"""

import collections
import functools
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, PyTree

import jaxnet
from experiments import Dtype
from experiments.benchmark import machine, plants
from experiments.benchmark.plants import Gradients, Net, Outcome, Plant
from experiments.benchmark.timing import Section, Table, shown
from experiments.benchmark.work import Size
from jaxnet.audit import Audit, audit
from jaxnet.losses import Loss

ACTIVATIONS: Mapping[str, Callable[[Any], Any]] = {
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "relu": jax.nn.relu,
    "leaky_relu": functools.partial(jax.nn.leaky_relu, negative_slope=0.1),
    "elu": jax.nn.elu,
    "softplus": jax.nn.softplus,
    "silu": jax.nn.silu,
    "softsign": jax.nn.soft_sign,
    "sin": jnp.sin,
    "arctan": jnp.arctan,
}
LOSSES: Mapping[str, Callable[[Any, Any], Any]] = {
    "softmax cross-entropy": optax.losses.softmax_cross_entropy,
    "sigmoid cross-entropy": optax.losses.sigmoid_binary_cross_entropy,
    "half squares": lambda z, y: 0.5 * jnp.sum((z - y) ** 2),
    "mean squares": lambda z, y: (z - y) ** 2,
    "squares of sigmoid": lambda z, y: 0.5 * jnp.sum((jax.nn.sigmoid(z) - y) ** 2),
    "squares of tanh": lambda z, y: jnp.sum((jnp.tanh(z) - y) ** 2),
    "squares of softmax": lambda z, y: 0.5 * jnp.sum((jax.nn.softmax(z) - y) ** 2),
    "Huber": lambda z, y: jnp.sum(optax.losses.huber_loss(z, y)),
}
Form = Literal["layers", "dict"]
FAMILIES: Mapping[str, str] = {
    "output": "the output layer's error signal",
    "hidden": "a hidden layer's error signal",
    "weight": "the gradient of a weight",
    "bias": "the gradient of a bias",
    "batch": "which examples count, and how much",
    "penalty": "one of two terms of the loss",
    "whole": "the whole gradient",
    "pair": "two of these places at once",
}
"""Where the mistake is, by the first word of its name."""
_PENALTY = 0.05
# Of each network drawn: so many plants, and of its shapes so many right gradients.
_PLANTS, _RIGHT, _PAIRS = 10, 20, 10
# In the largest network that is timed there are 1,005 parameters, in three layers.
_SIZES, _ROWS = [10, 20, 25, 10], 32


def drawn(seed: int) -> tuple[np.random.Generator, Net, Form]:
    """Draw a network, and say whether it is ours or a plain function; one of four is penalised."""
    random = np.random.default_rng(seed)
    net = plants.draw(random)
    form: Form = "layers" if seed % 2 else "dict"
    return random, net._replace(penalty=_PENALTY if seed % 4 == 2 else 0.0), form


def audited(net: Net, grads: Gradients, form: Form, dtype: Dtype) -> Audit:
    """Audit the gradient of a drawn network, all in one precision.

    The loss is ours of `jaxnet.forward`, or a plain function of a dict of weights `[I, O]`.
    """
    cast: Callable[[Any], Any] = functools.partial(np.asarray, dtype=dtype)
    tree = _layers if form == "layers" else _dict
    params, claim = (tree(each, cast) for each in (net.params, grads))
    loss = (_ours if form == "layers" else _plain)(net.activation, net.loss, net.penalty)
    return audit(loss, params, (cast(net.x), cast(net.y)), claim)


def _layers(pairs: Sequence[Sequence[np.ndarray]], cast: Callable[[Any], Any]) -> PyTree:
    return tuple(jaxnet.Layer(cast(w), cast(b)) for w, b in pairs)


def _dict(pairs: Sequence[Sequence[np.ndarray]], cast: Callable[[Any], Any]) -> PyTree:
    # Named so that the order of the leaves is that of the layers.
    leaves: dict[str, np.ndarray] = {}
    for k, (w, b) in enumerate(pairs):
        leaves |= {f"layer{k}_W": cast(w.T if w.ndim == 2 else w), f"layer{k}_b": cast(b)}
    return leaves


@functools.cache
def _ours(activation: str, loss: str, penalty: float) -> Loss:
    if penalty:
        raise ValueError("only plain losses are penalised")
    forward = functools.partial(jaxnet.forward, activation=ACTIVATIONS[activation])
    return jaxnet.BatchLoss(forward, LOSSES[loss])


@functools.cache
def _plain(activation: str, loss: str, penalty: float) -> Loss:
    phi = ACTIVATIONS[activation]

    def of_params(params: dict[str, Array], batch: tuple[Array, Array]) -> Array:
        h, y = batch
        z = h
        for k in range(len(params) // 2):
            z = h @ params[f"layer{k}_W"] + params[f"layer{k}_b"][None]
            h = phi(z)
        data = jnp.mean(jax.vmap(lambda a, b: jnp.mean(LOSSES[loss](a, b)))(z, y))
        squares = [jnp.sum(params[f"layer{k}_W"] ** 2) for k in range(len(params) // 2)]
        return data + penalty / 2 * sum(squares) if penalty else data

    return of_params


class Judged(NamedTuple):
    """What an audit said of a plant."""

    net: Net
    plant: Plant
    audit: Audit
    outcome: Outcome


def judged(seed: int, dtype: Dtype = "float64", most: int | None = None) -> Iterator[Judged]:
    """Audit the plants in one network, or so many of them, drawn."""
    random, net, form = drawn(seed)
    every = [*plants.plants(random, net), *plants.pairs(random, net, _PAIRS)]
    chosen = random.permutation(len(every))[:most]
    for plant in (every[k] for k in sorted(chosen)):
        said = audited(net, plant.grads, form, dtype)
        yield Judged(net, plant, said, plants.verdict(plant, said.rows))


def cast(net: Net, dtype: Dtype) -> Net:
    """Give a network in another precision, as one would compute in it."""
    params = [(w.astype(dtype), b.astype(dtype)) for w, b in net.params]
    return net._replace(params=params, x=net.x.astype(dtype), y=net.y.astype(dtype))


def right(seed: int, dtype: Dtype) -> Iterator[tuple[Net, Audit]]:
    """Audit right gradients of one network's shapes, at other numbers each time."""
    random, shapes, form = drawn(seed)
    for _ in range(_RIGHT):
        filled = plants.fill(random, shapes.sizes, shapes.activation, shapes.loss, len(shapes.x))
        net = filled._replace(penalty=shapes.penalty)
        yield net, audited(net, plants.backward(cast(net, dtype)), form, dtype)


class Counts(NamedTuple):
    """What audits said in one precision.

    Attributes:
        families: outcomes of plants, by family.
        right: verdicts on right gradients, the worst of their parameters.
        missed: a line on each plant that was not named and each alarm.
    """

    families: Mapping[str, collections.Counter[Outcome]]
    right: collections.Counter[str]
    missed: Sequence[str]

    @property
    def outcomes(self) -> collections.Counter[Outcome]:
        """Those of all families."""
        return sum(self.families.values(), collections.Counter())


def count(dtype: Dtype, planted: int, unplanted: int) -> Counts:
    """Count what audits say of so many plants, and of so many right gradients."""
    families = {name: collections.Counter[Outcome]() for name in FAMILIES}
    verdicts, missed, seeds = collections.Counter[str](), [], _seeds()
    while (left := planted - sum(each.total() for each in families.values())) > 0:
        seed = next(seeds)
        for net, plant, said, outcome in judged(seed, dtype, min(_PLANTS, left)):
            family = "pair" if " + " in plant.name else plant.name.split(":")[0]
            families[family][outcome] += 1
            if outcome != "named":
                told = "; ".join(said.rows[k].diagnosis for k in plant.words)
                missed.append(f"{outcome}: {plant.name}, {_about(seed, net)}: {told}")
    for seed in itertools.islice(seeds, unplanted // _RIGHT):
        for net, said in right(seed, dtype):
            told = {row.verdict for row in said.rows}
            verdicts[next(each for each in ("wrong", "undecided", "right") if each in told)] += 1
            if "wrong" in told:
                missed.append(f"alarm: {_about(seed, net)}: {said}")
    return Counts(families, verdicts, missed)


def _seeds() -> Iterator[int]:
    """Give seeds of networks, and let go now and then of what was compiled for those before."""
    for seed in itertools.count():
        yield seed
        if seed % 10 == 9:
            jax.clear_caches()


def _about(seed: int, net: Net) -> str:
    return f"seed {seed}, {net.sizes}, {len(net.x)} examples, {net.activation}, {net.loss}"


def times(rounds: int) -> Mapping[str, float]:
    """Give the seconds, warm, of an audit of 1,005 parameters, by what is wrong; medians."""
    random = np.random.default_rng(0)
    net = plants.fill(random, _SIZES, "tanh", "softmax cross-entropy", _ROWS)
    true = plants.backward(net)
    by_name = {family.name: family for family in plants.FAMILIES}
    pair = [
        by_name[name].make(random, net) for name in ("hidden: at the activations", "bias: zero")
    ]
    claims = {
        "right": true,
        "two mistakes": plants.backward(net, pair[0].and_then(pair[1])),
        "no known mistake": [[g * random.normal(1, 0.1, g.shape) for g in both] for both in true],
    }
    seconds: dict[str, float] = {}
    for name, claim in claims.items():
        taken = []
        for _ in range(rounds + 1):
            began = time.perf_counter()
            audited(net, claim, "dict", "float64")
            taken.append(time.perf_counter() - began)
        seconds[name] = float(np.median(taken[1:]))
    return seconds


COLUMNS: Sequence[Outcome] = get_args(Outcome)


def _table(dtype: Dtype, counts: Counts) -> Table:
    rows = [
        (words, *(str(counts.families[name][outcome]) for outcome in COLUMNS))
        for name, words in FAMILIES.items()
    ]
    total = ("all", *(str(counts.outcomes[outcome]) for outcome in COLUMNS))
    return Table(f"Mistakes planted, {dtype}", ("a mistake in", *COLUMNS), [*rows, total])


def _claims(dtype: Dtype, counts: Counts) -> dict[str, float]:
    outcomes = counts.outcomes
    return {
        f"{dtype}, share named": outcomes["named"] / outcomes.total(),
        f"{dtype}, share of wrong causes": outcomes["wrong cause"] / outcomes.total(),
        f"{dtype}, alarms": float(counts.right["wrong"] + outcomes["false alarm"]),
    }


def auditing(size: Size) -> Section:
    """Count what audits say of planted mistakes and of right gradients, and time them."""
    with futures.ThreadPoolExecutor() as pool:
        asked = {
            dtype: pool.submit(machine.fresh, count, dtype, size.plants, size.right_gradients)
            for dtype in get_args(Dtype)
        }
        counted: dict[Dtype, Counts] = {dtype: each.result() for dtype, each in asked.items()}
    seconds = times(size.rounds)
    claims = {
        name: share
        for dtype, counts in counted.items()
        for name, share in _claims(dtype, counts).items()
    }
    rights = (
        f"Of {counts.right.total():,} right gradients in {dtype} {counts.right['wrong']} are "
        f"called wrong, and {counts.right['undecided']} cannot be told for rounding."
        for dtype, counts in counted.items()
    )
    timed = ", ".join(f"{name} {shown(each)}" for name, each in seconds.items())
    return Section(
        claims={**claims, "an audit of 1,005 parameters, s": max(seconds.values())},
        tables=[_table(dtype, counts) for dtype, counts in counted.items()],
        figures={dtype: counts._asdict() for dtype, counts in counted.items()} | {"s": seconds},
        notes=[*rights, f"An audit of 1,005 parameters in three layers takes, warm: {timed}."],
        dtype="float64 and float32",
    )

"""Part: what each part of the fast path of many runs earns, on networks of several kinds.

Every way makes the same runs by `sweep.run`, whole, but for one thing left out.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, PyTree

import jaxnet
from experiments import classifier, regression
from experiments.benchmark import machine, notebooks, peers
from experiments.benchmark.timing import Group, Section, Table, Way, compare, number, ratio
from experiments.benchmark.work import (
    RATES_TOGETHER,
    Model,
    Optimizer,
    Size,
    crossed,
    digits_workload,
    ensemble,
    loss,
    workload_of,
)
from jaxnet import optimizers
from jaxnet.compare import sweep, tiles, verifying

WHOLE, PLAIN, VMAP = "fast path", "plain path", "plain vmap"
ALONE, EVERYWHERE = "one device", "all devices"
OPTIMIZERS: Sequence[Optimizer] = ("sgd", "adam")
# Small ones, under which runs that differ in rounding alone stay together.
_RATES = (1e-3, 1e-2)


class Case(NamedTuple):
    """Runs of one network.

    Attributes:
        name: of it. workload: what is trained. runs: how many.
        often: how many times as many rounds as others it takes, for being short.
    """

    name: str
    workload: tiles.Workload
    runs: int
    often: int = 1

    @property
    def title(self) -> str:
        """The network and how many runs of it."""
        return f"{self.name}, {self.runs:,} runs"

    @property
    def together(self) -> int:
        """Learning rates of a seed: as many as leave an item for each of two devices."""
        return min(RATES_TOGETHER, self.runs // 2)

    @property
    def trials(self) -> tiles.Trials:
        """Seeds and learning rates."""
        rates = np.geomspace(*_RATES, self.together).tolist()
        return crossed(self.runs // self.together, rates)


def cases(size: Size) -> tuple[list[Case], list[str]]:
    """Give what is trained, and a note of each library that is missing for it."""
    tiny = notebooks.workload("regression", regression.LOSS)
    chosen = [
        Case("classifier", notebooks.workload("classifier", classifier.LOSS), 16_384),
        Case("regression", tiny, 2048, often=20),
        Case("regression", tiny, 16_384, often=4),
        Case("digits", digits_workload(3), 64),
        Case("784-128-10", _wide(), 16),
    ]
    others = {
        "flax": ("Flax convolution", flax_convolution, 32),
        "equinox": ("Equinox GRU", equinox_gru, 64),
    }
    missing = [package for package in others if not machine.installed(package)]
    chosen += [
        Case(name, make(), runs)
        for package, (name, make, runs) in others.items()
        if package not in missing
    ]
    if size.quick:
        chosen = [case._replace(runs=max(2, case.runs // 16), often=1) for case in chosen]
    return chosen, peers.left_out(missing)


def _wide() -> tiles.Workload:
    rng = np.random.default_rng(0)
    data = rng.random((2048, 784), np.float32), rng.integers(0, 10, 2048).astype(np.int32)
    init = functools.partial(jaxnet.init, sizes=(784, 128, 10))
    return workload_of(loss(Model()), init, data, 64, 1)


def flax_convolution() -> tiles.Workload:
    """Give a convolution of Flax NNX on small images: 3x3, pooled, and a linear layer."""
    from flax import nnx

    class Network(nnx.Module):
        def __init__(self, rngs: Any) -> None:
            self.convolution = nnx.Conv(1, 8, (3, 3), rngs=rngs)
            self.output = nnx.Linear(4 * 4 * 8, 10, rngs=rngs)

        def __call__(self, x: Array) -> Array:
            h = nnx.relu(self.convolution(x[None]))
            return self.output(nnx.avg_pool(h, (2, 2), (2, 2)).reshape(-1))

    def network(key: Array) -> Any:
        return Network(nnx.Rngs(key))

    graph = nnx.graphdef(network(jax.random.key(0)))
    rng = np.random.default_rng(0)
    data = rng.random((512, 8, 8, 1), np.float32), rng.integers(0, 10, 512).astype(np.int32)
    return _workload(
        lambda params, x: nnx.merge(graph, params)(x),
        lambda key: nnx.state(network(key)),
        optax.losses.softmax_cross_entropy_with_integer_labels,
        data,
        1,
    )


def equinox_gru() -> tiles.Workload:
    """Give a recurrent network of Equinox on sequences of 12, and a linear layer."""
    import equinox as eqx

    class Network(eqx.Module):
        cell: Any
        output: Any

        def __init__(self, key: Array) -> None:
            first, second = jax.random.split(key)
            self.cell = eqx.nn.GRUCell(4, 16, key=first)
            self.output = eqx.nn.Linear(16, 1, key=second)

        def __call__(self, x: Array) -> Array:
            start = jnp.zeros(16, x.dtype)
            h, _ = jax.lax.scan(lambda h, row: (self.cell(row, h), None), start, x)
            return self.output(h)

    static = eqx.partition(Network(jax.random.key(0)), eqx.is_inexact_array)[1]
    rng = np.random.default_rng(0)
    return _workload(
        lambda params, x: eqx.combine(params, static)(x),
        lambda key: eqx.filter(Network(key), eqx.is_inexact_array),
        optax.losses.l2_loss,
        (rng.random((256, 12, 4), np.float32), rng.random((256, 1), np.float32)),
        2,
    )


def _workload(
    forward: Callable[[Any, Array], Array],
    init: Callable[[Array], PyTree],
    example_loss: Callable[..., Array],
    data: tuple[np.ndarray, np.ndarray],
    epochs: int,
) -> tiles.Workload:
    return workload_of(jaxnet.BatchLoss(forward, example_loss), init, data, 32, epochs)


def paths() -> dict[str, tiles.Fast]:
    """Give the fast path without one part after another, the plain one, and all of it last."""
    whole = tiles.fast(True)
    options = {
        f"without {_words(name)}": whole._replace(
            options=tuple(option for option in whole.options if option[0] != name)
        )
        for name, _ in whole.options
    }
    # Where there are no options, what is left without products is the plain path.
    expanded = {"without products": whole._replace(products=False)} if options else {}
    return {**options, **expanded, PLAIN: tiles.PLAIN, WHOLE: whole}


def _words(option: str) -> str:
    """Shorten the name of a compile option."""
    return option.removeprefix("xla_").removeprefix("cpu_experimental_").replace("_", " ")


def ways(case: Case, optimizer: Optimizer) -> tuple[dict[str, Way], list[str]]:
    """Give the ways to make a case's runs, and notes of those that compute something else."""
    trials, entry = case.trials, optimizers.entry(optimizer)
    workload = case.workload._replace(data=jax.device_put(case.workload.data))
    whole = tiles.fast(True)
    own = tiles.tile(workload, case.runs, case.together)
    spread = {ALONE: 1, EVERYWHERE: jax.local_device_count()}
    chosen = {
        name: (whole, tiles.tile(workload, case.runs, case.together, count))
        for name, count in spread.items()
        if count != (own.devices or jax.local_device_count())
    } | {name: (path, own) for name, path in paths().items()}
    sweeps: dict[str, Way] = {}
    notes = []
    for name, (path, shape) in chosen.items():
        pathed = workload._replace(fast=path)
        if verifying.verified(pathed, shape)[0] == pathed:
            sweeps[name] = functools.partial(_losses, pathed, entry, trials, shape)
        else:
            notes.append(f"{case.title}, {name}: does not agree with NumPy, left out.")
    vmap = peers.plain_vmap(ensemble(case.workload, Model(), optimizer, trials))
    return vmap | sweeps, notes


def _losses(
    workload: tiles.Workload, entry: optimizers.Entry, trials: tiles.Trials, shape: tiles.Tile
) -> np.ndarray:
    return sweep.run(workload, entry, trials, shape)[0].loss


def table(optimizer: Optimizer, groups: dict[str, Group]) -> Table:
    """Lay out how many times as long as the whole fast path each way takes, by case."""
    names = dict.fromkeys(way for group in groups.values() for way in group.timings)
    columns = [name for name in names if name != WHOLE]
    rows = []
    for title, group in groups.items():
        earned = _earned(group)
        rows.append((title, *(number(earned[c]) if c in earned else "" for c in columns)))
    title = f"How many times as long as the {WHOLE}, {optimizer}; above 1 what is left out earns it"
    return Table(title, ("", *columns), rows)


def _earned(group: Group) -> dict[str, float]:
    whole = group.timings[WHOLE].seconds
    return {way: ratio(each.seconds, whole) for way, each in group.timings.items() if way != WHOLE}


def ablation(size: Size) -> Section:
    """Time every case with and without each part, by SGD and Adam.

    Raises:
        RuntimeError: a way whose losses differ.
    """
    chosen, notes = cases(size)
    groups, tables, claims, figures = [], [], {}, {}
    for optimizer in OPTIMIZERS[: 1 if size.quick else None]:
        by_case: dict[str, Group] = {}
        for case in chosen:
            timed, left_out = ways(case, optimizer)
            notes += left_out
            title = f"One of {case.title}, {optimizer}"
            by_case[case.title] = compare(title, timed, case.often * size.rounds)
        groups += by_case.values()
        tables.append(table(optimizer, by_case))
        figures[optimizer] = {title: _earned(group) for title, group in by_case.items()}
        for title, earned in figures[optimizer].items():
            claims[f"{title}, {optimizer}: {VMAP} / jaxnet"] = earned[VMAP]
        least = min(earned[PLAIN] for earned in figures[optimizer].values())
        claims[f"{optimizer}, the least of {PLAIN} / {WHOLE}"] = least
    return Section(groups, claims, tables, figures, notes)

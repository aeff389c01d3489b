"""Part: what `compare` says of momentum and of momentum with a cosine, beside brute force.

Brute force is a loop of optax alone, without anything of `compare`: every rate of a fine grid on
many seeds, and the best of them on many more.

Shapes: S seeds, T steps of B rows.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

import jaxnet
from experiments.benchmark import honesty
from experiments.benchmark.timing import Section, Table
from experiments.benchmark.work import Size
from experiments.tasks import TASKS
from jaxnet import optimizers
from jaxnet.compare import Interval, Problem, compare, paired, statistics, verdicts

MOMENTUM = 0.9
MakeOptimizer = Callable[[Array, int], optax.GradientTransformation]
"""Gives an optimizer of a rate and the number of steps."""
OPTIMIZERS: Mapping[str, MakeOptimizer] = {
    "sgd": lambda rate, steps: optax.sgd(rate),
    "momentum": lambda rate, steps: optax.sgd(rate, MOMENTUM),
    "cosine": lambda rate, steps: optax.sgd(optax.cosine_decay_schedule(rate, steps), MOMENTUM),
}
REPLICATES = 20
"""Of each comparison."""
_RATES, _SEEDS = 25, 32
_JUDGES = 1000
# Seeds of brute force begin far from those of a comparison, which count from 0.
_FIRST = 2**20


class Truth(NamedTuple):
    """What brute force finds out of an optimizer.

    Attributes:
        rate: the best of the grid by the mean loss on validation data.
        losses: shape [S], on test data at that rate, inf where a run diverged.
    """

    rate: float
    losses: Float[np.ndarray, " S"]


def runs(
    problem: Problem, make: MakeOptimizer, rates: Sequence[float], seeds: range
) -> tuple[Float[np.ndarray, "L S"], Float[np.ndarray, "L S"]]:
    """Train from each seed at each rate; give the losses on validation and on test data."""
    x, y = map(jnp.asarray, problem.data)
    cut = len(x), problem.batch_size or len(x), problem.epochs or 0
    order = jnp.stack([jaxnet.shuffled(*cut, seed) for seed in seeds])
    starts = jax.vmap(lambda seed: problem.init(jax.random.key(seed)))(jnp.array(seeds))
    loss: Any = problem.loss

    def run(params: Any, order: Array, rate: Array) -> tuple[Array, Array]:
        optimizer = make(rate, len(order))

        def step(carry: tuple[Any, Any], rows: Array) -> tuple[tuple[Any, Any], None]:
            params, state = carry
            grads = jax.grad(loss)(params, (x[rows], y[rows]))
            updates, state = optimizer.update(grads, state, params)
            return (optax.apply_updates(params, updates), state), None

        (params, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), order)
        return loss(params, problem.validation), loss(params, problem.test)

    at = jax.jit(jax.vmap(run, in_axes=(0, 0, None)))
    ends = np.asarray([at(starts, order, jnp.float32(rate)) for rate in rates], np.float64)
    validation, test = np.where(np.isfinite(ends), ends, np.inf).transpose(1, 0, 2)
    return validation, test


def brute(problem: Problem, name: str, seeds: int = _SEEDS, judges: int = _JUDGES) -> Truth:
    """Find the best rate of an optimizer in the range that is searched, and what it gives."""
    make = OPTIMIZERS[name]
    low, high = _axis(name).values
    rates = np.geomspace(low, high, _RATES).tolist()
    validation, _ = runs(problem, make, rates, range(_FIRST, _FIRST + seeds))
    best = rates[int(np.argmin(validation.mean(axis=1)))]
    _, (judged,) = runs(problem, make, [best], range(_FIRST + seeds, _FIRST + seeds + judges))
    return Truth(best, judged)


def contradicts(verdict: statistics.Verdict, truth: Interval) -> bool:
    """Tell whether a verdict is wrong by a ratio that is known."""
    margin = 1 + honesty.MARGIN
    return {
        "better": truth.low > 1,
        "worse": truth.high < 1,
        "as good": truth.low > margin or truth.high < 1 / margin,
    }.get(verdict, verdict != "not told apart")


def _axis(name: str) -> Any:
    return optimizers.entry("sgd" if name == "sgd" else "momentum").space["learning_rate"]


def compared(problem: Problem, replicates: int) -> Any:
    """Compare the three as anybody would, the rate alone searched."""
    rate = {"learning_rate": _axis("momentum")}
    return compare(
        problem,
        {"momentum": "momentum", "cosine": "momentum"},
        tune={"momentum": rate, "cosine": rate | {"schedule": 1.0}},
        replicates=replicates,
    )


def truth(size: Size) -> Section:
    """Hold comparisons on digits against the truth that brute force finds out."""
    problem, count = TASKS["digits"](), 2 if size.quick else 10
    known = {name: brute(problem, name) for name in OPTIMIZERS}
    comparison = compared(problem, REPLICATES * count)
    judged = verdicts.values(comparison, "tuned", comparison.target)
    settings = {each.optimizer: each.setting for each in comparison.answers}
    rows, holds, wrong = [], [], []
    for name in list(OPTIMIZERS)[1:]:
        share = statistics.spent(1, honesty.LEVEL)
        exact = paired(known[name].losses, known["sgd"].losses, share, "ratio").difference
        pieces = honesty.cut(judged, name, REPLICATES, len(OPTIMIZERS) - 1)
        intervals = [pair.difference for pair in pieces.pairs]
        holds += [each.low <= exact.estimate <= each.high for each in intervals]
        wrong += [contradicts(each, exact) for each in pieces.verdicts]
        middle = np.median([each.estimate for each in intervals])
        said = ", ".join(
            f"{pieces.verdicts.count(each)} {each}" for each in dict.fromkeys(pieces.verdicts)
        )
        figures = f"{exact.estimate:.3f} ({exact.low:.3f} to {exact.high:.3f})"
        rows.append((name, figures, f"{middle:.3f}", said))
    rates = [
        (name, f"{each.rate:.3g}", f"{settings[name]['learning_rate']:.3g}")
        for name, each in known.items()
    ]
    columns = ("", "brute force", "compare, median", "its verdicts")
    notes = (
        f"Ratios of test losses to plain SGD's. Brute force: {_RATES} rates on {_SEEDS} seeds, the "
        f"best on {_JUDGES:,} more. Compare: {count} comparisons of {REPLICATES} replicates, of "
        f"whose intervals {sum(holds)} of {len(holds)} hold the ratio of brute force.",
    )
    return Section(
        claims={
            "intervals that hold the truth": float(np.mean(holds)),
            "verdicts that contradict it": float(np.sum(wrong)),
        },
        tables=[
            Table("Momentum on digits", columns, rows),
            Table("Rates", ("", "brute force's best", "recommended"), rates),
        ],
        figures={"ratios": rows, "rates": rates},
        notes=notes,
    )

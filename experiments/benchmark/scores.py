"""Part: test scores on scikit-learn's tables, jaxnet's beside scikit-learn's, over seeds."""

import statistics
from collections.abc import Sequence

import jax
import numpy as np
import optax
from jaxtyping import Array, Float

import jaxnet
from experiments.benchmark import peers
from experiments.benchmark.timing import Section, Table
from experiments.benchmark.work import BATCH_SIZE, Model, Size, loss
from jaxnet import network, tables

TABLES = ("digits", "wine", "breast_cancer", "iris", "diabetes")
HIDDEN, EPOCHS, RATE = (64, 64), 50, 1e-3
_LOSSES = {"classification": "labels", "regression": "numbers"}


@jax.jit
def _outputs(params: network.Params, x: Array) -> Float[Array, "N O"]:
    return jax.vmap(jaxnet.forward, in_axes=(None, 0))(params, x)


def both(name: str, seed: int) -> tuple[float, float]:
    """Train both on one split of a table; give scikit-learn's and jaxnet's test score."""
    data = tables.split(tables.read(name), "target", validation=0, seed=seed)
    task, (x, y) = data.encoder.target.kind, data.test
    theirs = peers.trained(
        peers.scikit_learn(
            task, HIDDEN, BATCH_SIZE, EPOCHS, learning_rate_init=RATE, random_state=seed
        ),
        data.train,
    )
    fit = jaxnet.fit(
        loss(Model(loss=_LOSSES[task])),
        optax.adam,
        peers.scikit_learn_start(theirs, data.train, data.encoder.outputs),
        data.train,
        epochs=EPOCHS,
        batch_size=BATCH_SIZE,
        seed=seed,
        hyperparameters={"learning_rate": RATE},
    )
    outputs = np.asarray(_outputs(fit.params, x))
    if task == "classification":
        ours = float(np.mean(outputs.argmax(axis=1) == y))
    else:
        ours = 1 - float(np.sum((outputs - y) ** 2) / np.sum((y - y.mean()) ** 2))
    return float(theirs.score(x, y.ravel())), ours


def paired(theirs: Sequence[float], ours: Sequence[float]) -> tuple[float, float]:
    """Give the mean difference, ours less theirs, and its standard error over the pairs."""
    apart = [b - a for a, b in zip(theirs, ours, strict=True)]
    return statistics.mean(apart), statistics.stdev(apart) / len(apart) ** 0.5


def in_errors(difference: float, error: float) -> float:
    """Give a difference in standard errors; one of nothing is nothing, though no seed varied it."""
    if error:
        return round(difference / error, 9)  # one error less is no more than one by a rounding
    return float(np.sign(difference)) * np.inf if difference else 0.0


def scores(size: Size) -> Section:
    """Score scikit-learn's networks and jaxnet's on the same splits of the bundled tables."""
    rows, figures, claims = [], {}, {}
    for name in TABLES:
        pairs = [both(name, seed) for seed in range(size.score_seeds)]
        theirs, ours = zip(*pairs, strict=True)
        difference, error = paired(theirs, ours)
        means = (f"{statistics.mean(each):.4f}" for each in (theirs, ours))
        rows.append((name, *means, f"{difference:+.4f} ± {error:.4f}"))
        figures[name] = {"scikit-learn": theirs, "jaxnet": ours}
        claims[f"{name}, standard errors above scikit-learn"] = in_errors(difference, error)
    columns = ("", "scikit-learn", "jaxnet", "difference")
    notes = (
        f"Accuracy, or R² (diabetes); mean of {size.score_seeds} seeds, each with its own split "
        f"and start; {EPOCHS} epochs.",
        "Both start from the values that scikit-learn draws; the order of the rows is their own.",
        "For two classes scikit-learn has one logistic output, jaxnet two under a softmax.",
        "Of five tables on which both are alike one falls short by more than a standard error in "
        "58% of benchmarks.",
    )
    return Section((), claims, [Table("Test scores", columns, rows)], figures, notes)

"""Part: scikit-learn's network and jaxnet's estimator of it, on digits."""

import functools
import statistics
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.benchmark import peers
from experiments.benchmark.scores import in_errors, paired
from experiments.benchmark.timing import Group, Section, Table, interleaved
from experiments.benchmark.work import BATCH_SIZE, Size
from jaxnet import tables

ROWS = (500, 1400)
HIDDEN, EPOCHS, RATE = (64, 64), 20, 1e-3
OURS, THEIRS = "jaxnet, NetworkClassifier", "MLPClassifier"


def both(seed: int) -> Mapping[str, Any]:
    """Give both estimators with the same settings."""
    from jaxnet.sklearn import NetworkClassifier

    made = {"learning_rate_init": RATE, "random_state": seed}
    ours = {"epochs": EPOCHS, "batch_size": BATCH_SIZE, "learning_rate": RATE}
    return {
        THEIRS: peers.scikit_learn("classification", HIDDEN, BATCH_SIZE, EPOCHS, **made),
        OURS: NetworkClassifier(hidden=HIDDEN, random_state=seed, **ours),
    }


def estimators(size: Size) -> Section:
    """Time `fit` of both on the same rows, and score both on the same others."""
    x, y = tables.split(tables.read("digits"), "target", validation=0, seed=0).train
    groups, claims = [], {}
    for rows, dtype in ((rows, dtype) for rows in ROWS for dtype in ("float64", "float32")):
        data = x[:rows].astype(dtype), y[:rows]
        ways = {n: functools.partial(peers.trained, each, data) for n, each in both(0).items()}
        title = f"fit of {rows:,} rows of digits in {dtype}, 64-64-64-10, {EPOCHS} epochs"
        group = Group(title, OURS, interleaved(ways, size.rounds))
        groups.append(group)
        claims |= group.claims((THEIRS,), f"{rows:,} rows, {dtype}, ")
    scores = [_scores(seed) for seed in range(size.score_seeds)]
    theirs, ours = zip(*scores, strict=True)
    difference, error = paired(theirs, ours)
    claims["standard errors above MLPClassifier"] = in_errors(difference, error)
    means = (f"{statistics.mean(each):.4f}" for each in (theirs, ours))
    row = ("digits", *means, f"{difference:+.4f} ± {error:.4f}")
    table = Table("Test accuracy", ("", THEIRS, "jaxnet", "difference"), [row])
    return Section(groups, claims, [table], {"scores": scores}, dtype="float64, float32")


def _scores(seed: int) -> tuple[float, float]:
    """Train both on one split; give scikit-learn's and jaxnet's test accuracy."""
    data = tables.split(tables.read("digits"), "target", validation=0, seed=seed)
    x, y = data.test
    trained = [peers.trained(each, data.train) for each in both(seed).values()]
    theirs, ours = (float(np.mean(each.predict(x) == y)) for each in trained)
    return theirs, ours

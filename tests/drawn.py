"""Comparisons made up, for what draws and tells them: their answers are those of their runs."""

import numpy as np
from planted import judging

from jaxnet import spaces
from jaxnet.compare import Comparison, Log, Protocol, Record, Runs, Search, Seconds, Tuning
from jaxnet.compare import comparison as comparisons
from jaxnet.devices import Provenance

STEPS = np.arange(20, 2001, 20)
TRIALS, TUNING_SEEDS, REPLICATES = 6, 2, 20
NAMES = (
    *("sgd", "adam", "lion", "nadamw", "rmsprop", "adagrad", "yogi", "radam", "lamb", "novograd"),
    *("lars", "adabelief", "fromage", "noisy_sgd", "sm3", "rprop", "adafactor", "amsgrad"),
)
RATE = {"learning_rate": spaces.log(1e-3, 1.0)}
BOTH = RATE | {"momentum": spaces.one_minus(0.0, 0.99)}
# How many times the baseline's loss each one's is, in turn.
FACTORS = (0.9, 1.01, 1.2, 0.995, 1.4, 0.8, 1.1)


def runs_of(name, phase, axes, points, level, random, judged, failing):
    """Runs at points [R, K] of the rate's axis: the loss is lowest in its middle.

    Trials near the end of the axis diverge, and the replicates in `failing` [R] while judging.
    """
    tunes = phase == "tuning"
    seeds = np.arange(len(points) * (1 + TUNING_SEEDS), dtype=np.int32).reshape(len(points), -1)
    seeds = seeds[:, 1:] if tunes else seeds[:, :1]
    replicate, trial, seed = (each.ravel() for each in np.indices((*points.shape, seeds.shape[1])))
    at, along = points[replicate, trial], STEPS[-1:] if tunes else STEPS
    off = np.where(tunes | (at < 1), at - 0.5, 0)
    ends = level * (1 + 0.6 * off**2) * np.exp(0.02 * random.normal(size=len(at)))
    loss = ends[:, None] + (2.3 - ends[:, None]) * np.exp(-0.004 * along)
    lost = at > 0.9 if tunes else failing[replicate] & (phase == "tuned")
    loss[lost[:, None] & (along > 400)] = np.nan
    others = np.full(len(at), 0.5) if phase == "recommended" else random.uniform(size=len(at))
    settings = {
        name: axis.at(at if name == "learning_rate" else others) for name, axis in axes.items()
    }
    last = {"loss": 1.06 * loss[:, -1], "accuracy": 1 - loss[:, -1] / 3}
    return Runs(
        optimizer=name,
        phase=phase,
        replicate=replicate,
        trial=trial,
        seed=seeds[replicate, seed],
        settings=settings,
        diverged=np.where(lost, 400, -1),
        evaluations=np.full(len(at), STEPS[-1]),
        loss=loss,
        validation={"loss": 1.05 * loss, "accuracy": 1 - loss / 3} if judged != "training" else {},
        test=last if judged == "test" and not tunes else {},
    )


def all_runs(name, index, axes, replicates, judged, failing):
    """Every phase of one optimizer; those whose names begin with l pick rates beyond their axis."""
    random = np.random.default_rng(index)
    level = 0.3 * (FACTORS[(index - 1) % len(FACTORS)] if index else 1)
    picked = random.normal(1.2 if name.startswith("l") else 0.5, 0.03, (replicates, 1))
    every = {
        "tuning": random.uniform(0, 1, (replicates, TRIALS)),
        "tuned": picked,
        "recommended": np.full_like(picked, np.median(picked)),
        "customary": np.full_like(picked, 0.25),
    }
    return [
        runs_of(name, phase, axes, points, level, random, judged, failing)
        for phase, points in every.items()
    ]


def comparison(
    names=NAMES[:7], replicates=REPLICATES, judged="test", lost=(), axes=RATE, **others
) -> Comparison:
    """Give a comparison; of the optimizers in `lost` three in four replicates fail."""
    rows = {"training": 100, "validation": 50, "test": 60}
    rows = {part: rows[part] for part in [*rows][: 1 + [*rows].index(judged)]}
    customary = {name: float(axis.at(np.array(0.25))) for name, axis in axes.items()}
    search = Search(axes, customary, TRIALS)
    tuned_on = "training" if judged == "training" else "validation"
    protocol = Protocol(
        optimizers=dict.fromkeys(names, search),
        tuning=Tuning(tuned_on, TUNING_SEEDS, "trials"),
        judging=judging(judged, replicates, **others),
        seed=0,
        steps=2000,
        batch_size=50,
        rows=rows,
        metrics=("accuracy",) if len(rows) > 1 else (),
        data="da7a",
        start="57a47",
        program="9409",
    )
    log = Log(
        title="Optimizers against plain SGD on two moons",
        command="python -m experiments.comparison --output page.html",
        provenance=Provenance("cpu", "float32", *(f"0.{n}.2" for n in range(6))),
        verified="agrees with NumPy",
        seconds={
            name: Seconds(1.234, 12.34, 1e-6 * (1 + index / 7)) for index, name in enumerate(names)
        },
        reasons={},
        unable={},
    )
    failing = np.arange(replicates) < 0.75 * replicates
    runs = [
        each
        for index, name in enumerate(names)
        for each in all_runs(name, index, axes, replicates, judged, failing & (name in lost))
    ]
    return comparisons.of_record(Record(protocol, log, STEPS, runs))

"""Records of comparisons whose losses are planted: what they say is worked out by hand."""

import numpy as np

from jaxnet import spaces
from jaxnet.compare.protocol import Judging, Protocol, Tuning
from jaxnet.compare.runs import Log, Record, Runs, Seconds
from jaxnet.compare.search import Search
from jaxnet.devices import Provenance

RATES = (0.1, 0.2, 0.4)
STEPS = np.array([5, 10])


def judging(data, replicates, **others):
    """How replicates are judged: by the loss, at one look, as `compare` has it, but for others."""
    usual = {"by": "loss", "maximised": False, "target": None, "pairs": "baseline"}
    usual |= {"level": 0.05, "margin": 0.05, "looks": (replicates,)}
    return Judging(data, **usual | others)


def runs(protocol, name, phase, ends, trials=1):
    """Runs that end at these losses, ten higher halfway; an infinite one diverged at step 7.

    `ends` has the axes of replicates, trials and seeds, or those that it can be repeated along.
    """
    tuning = phase == "tuning"
    seeds = protocol.seeds()[:, 1:] if tuning else protocol.seeds()[:, :1]
    shape = len(seeds), trials, seeds.shape[1]
    ends = np.broadcast_to(ends, shape).astype(float).ravel()
    replicate, trial, _ = np.indices(shape).reshape(3, -1)
    lost = np.isinf(ends)
    curves = np.stack([np.where(lost, 50, ends + 10), np.where(lost, np.nan, ends)], axis=1)
    rates = np.array(RATES)[trial] if tuning else np.full(len(ends), 0.2)
    return Runs(
        optimizer=name,
        phase=phase,
        replicate=replicate,
        trial=trial,
        seed=np.broadcast_to(seeds[:, None], shape).ravel(),
        settings={"learning_rate": rates},
        diverged=np.where(lost, 7, -1),
        evaluations=np.full(len(ends), 10),
        loss=curves[:, -1:] if tuning else curves,
        validation={},
        test={},
    )


def record(ends, tuning=(2.0, 1.0, 1.05), **others):
    """The record of a comparison of these final losses by optimizer, the baseline first.

    Args:
        ends: one loss of each replicate, by optimizer. tuning: the score of each trial.
        others: fields of `Judging` other than its data and looks.
    """
    replicates = len(next(iter(ends.values())))
    search = Search({"learning_rate": spaces.log(0.1, 0.4)}, {"learning_rate": 0.2}, len(RATES))
    protocol = Protocol(
        optimizers=dict.fromkeys(ends, search),
        tuning=Tuning("training", 2, "trials"),
        judging=judging("training", replicates, **others),
        seed=0,
        steps=10,
        batch_size=1,
        rows={"training": 5},
        metrics=(),
        data="",
        start="",
        program="",
    )
    timed = (1e-6,) * replicates if others.get("by") == "seconds" else ()
    log = Log(
        title="by hand",
        command="",
        provenance=Provenance(*[""] * 8),
        verified="",
        seconds=dict.fromkeys(ends, Seconds(2.0, 5.0, 1e-6, timed)),
        reasons={},
        unable={},
    )
    every = []
    for name, last in ends.items():
        judged = np.asarray(last, float)[:, None, None]
        scores = np.array(tuning)[None, :, None] + np.array([-0.5, 0.5])
        every.append(runs(protocol, name, "tuning", scores, len(RATES)))
        every.append(runs(protocol, name, "tuned", judged))
        every += [runs(protocol, name, each, 9.0) for each in ("recommended", "customary")]
    return Record(protocol, log, STEPS, every)

"""Print what is said of every published fault: `PYTHONPATH=.:tests python tests/fault_scores.py`.

With words, of those whose names have one of them.
"""

import sys
import warnings
from typing import NamedTuple

import faults
from faults import FAULTS
from held_out_faults import HELD_OUT
from later_faults import LATER

from jaxnet import doctor


class Outcome(NamedTuple):
    """What came of a fault.

    Attributes:
        named: whether what helps is what the source, or an answer to it, says.
        mended: whether the whole run, changed so, gets half of the way to its repaired twin.
        silent: whether nothing is said of that twin.
        said: of the fault.
    """

    named: bool
    mended: bool
    silent: bool
    said: str


def examined(run, **more):
    """Give what is found of a run."""
    given = {"batch_size": run.batch_size, "hyperparameters": run.hyperparameters, **more}
    return doctor.examine(run.loss, run.optimizer, run.params, run.data, run.fit, **given)


def outcome(fault):
    """Run a fault, its twin, and it with what helps."""
    run, twin = faults.run(fault), faults.run(fault, **fault.twin)
    diagnosis = examined(run)
    names = diagnosis.change.names if diagnosis.change else ("data",) * bool(str(diagnosis))
    named = mended = bool(fault.expected & set(names))
    if diagnosis.change:
        half = (min(faults.left(run), 1) + faults.left(twin)) / 2
        mended = faults.left(faults.repaired(fault, diagnosis.change)) < max(half, 0.2)
    return Outcome(named, bool(mended), not str(examined(twin)), str(diagnosis))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    kinds = {"known when it was made": FAULTS, "held out": HELD_OUT, "later": LATER}
    for title, every in kinds.items():
        chosen = [name for name in every if any(word in name for word in sys.argv[1:] or [""])]
        totals = [0, 0, 0]
        for name in chosen:
            *told, said = outcome(every[name])
            totals = [total + value for total, value in zip(totals, told, strict=True)]
            print(name, *told, said, sep="; ", flush=True)
        print(f"{title}: of {len(chosen)} named, mended, silent of the twin {totals}", flush=True)

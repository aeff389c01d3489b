"""Part: scikit-learn's digits, 64-64-10 for ten epochs, one run and hundreds."""

from experiments.benchmark import machine, peers
from experiments.benchmark.timing import Group, Section, Way, compare
from experiments.benchmark.work import (
    DIGITS,
    RATES,
    Model,
    Optimizer,
    Size,
    Work,
    crossed,
    digits_workload,
    ensemble,
    weight_flops,
)
from jaxnet.compare import tiles

ADAM_RATE = 1e-3
OTHERS = ("scikit-learn", "PyTorch eager", "torch.compile", "Equinox", "Flax", "optax step")
_PACKAGES = ("torch", "equinox", "flax", "step", "train", "fit")
TOGETHER = ("plain vmap", "torch.func", "joblib")


def work_of(optimizer: Optimizer, trials: tiles.Trials) -> Work:
    """Give runs on digits."""
    return ensemble(digits_workload(), Model(), optimizer, trials)


def single_ways(work: Work) -> tuple[dict[str, Way], list[str]]:
    """Give the ways to make one run, ours last, and what is to be said of those left out."""
    compiled, notes = {}, []
    if machine.installed("torch"):
        from experiments.benchmark import pytorch

        notes = [why] if (why := pytorch.why_not_compiled()) else []
        if not why:
            compiled["torch.compile, threads: 1"] = pytorch.eager(work, 1, compiled=True)
    ways, missing = peers.single_runs(work, _PACKAGES)
    return compiled | ways, notes + missing


def one_run(size: Size) -> Section:
    """Time one run of Adam in every library.

    Raises:
        RuntimeError: a peer whose losses differ.
    """
    work = work_of("adam", crossed(1, [ADAM_RATE]))
    ways, notes = peers.single_runs(work, _PACKAGES) if size.quick else single_ways(work)
    beside = peers.scikit_learn_runs(work)
    group = compare("One run on digits, 64-64-10, 10 epochs", ways, size.rounds, beside)
    claims = group.claims(OTHERS)
    notes.append("scikit-learn starts and shuffles by itself; the others share start and order.")
    return Section([group], claims, notes=notes)


def many_runs(size: Size) -> Section:
    """Time runs of SGD and Adam, 16 learning rates of each seed, by `sweep` and by its peers.

    Raises:
        RuntimeError: a peer whose losses differ.
    """
    groups, claims, left_out = [], {}, []
    operations = digits_workload().steps * digits_workload().batch_size * weight_flops(DIGITS)
    for optimizer in list(RATES)[: 1 if size.quick else None]:
        trials = crossed(size.digits_seeds, RATES[optimizer])
        work = work_of(optimizer, trials)
        ways, left_out = (
            peers.single_runs(work, ("torch", "train")) if size.quick else single_ways(work)
        )
        together, _ = peers.many_runs(work, ("torch", "vmap"))
        ways |= together | {peers.SWEEP: peers.sweeping(digits_workload(), optimizer, trials)}
        beside = peers.scikit_learn_runs(work, together=not size.quick) | machine.products()
        title = f"One of {len(trials.seeds):,} runs on digits, {optimizer}"
        group = compare(title, ways, size.slow_rounds, beside)
        groups.append(group)
        claims |= _claims(group, optimizer, operations)
    notes = [
        *left_out,
        "Loops and scikit-learn make one run, joblib a few, the others all; the times are a run's.",
        "Operations counted are those of the matrix products alone.",
    ]
    return Section(groups, claims, notes=notes)


def _claims(group: Group, optimizer: Optimizer, operations: int) -> dict[str, float]:
    rate, share = machine.share(group, operations, machine.peaks(group))
    return group.claims((*OTHERS, *TOGETHER), f"{optimizer}, ") | {
        f"{optimizer}, share of the machine's peak": share,
        f"{optimizer}, GFLOP/s": rate / 1e9,
    }

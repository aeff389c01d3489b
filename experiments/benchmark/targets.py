"""What the figures of the parts are to be, and why some are missed."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from experiments.benchmark.timing import Table


class Target(NamedTuple):
    """A bound for a claim of a part.

    Attributes:
        part, claim: their names.
        kind, bound: at least or at most so much.
        reason: why it is missed, as measured; empty where nobody has measured it.
    """

    part: str
    claim: str
    kind: Literal["at least", "at most"]
    bound: float
    reason: str = ""

    def met(self, value: float) -> bool:
        """Tell whether a value is on the right side of the bound, or at it."""
        return value >= self.bound if self.kind == "at least" else value <= self.bound


class Verdict(NamedTuple):
    """A target and the value measured; None where there is none."""

    target: Target
    value: float | None

    @property
    def word(self) -> str:
        """Whether the target is met."""
        if self.value is None:
            return "not measured"
        return "met" if self.target.met(self.value) else "not met"


_TABLES = ("digits", "wine", "breast_cancer", "iris", "diabetes")
_RULE, _AUTODIFF = "the classifier notebook, its own gradients", "the classifier notebook, autodiff"
_SHORT = "regression, 2,048 runs"
# Shares of the shortest of many calls, in one process.
_AROUND = (
    "the program takes two fifths to a half of the time, and less than the plain vmap; the rest "
    "groups the runs, looks their program up and lays out what became of them"
)
_TRACING = "three quarters of it is tracing, without which JAX cannot look for a program"
_TINY = (
    "a run computes for some ten microseconds, of which to draw its setting, write its row and "
    "gather it take as many"
)
_FEW = (
    "10 replicates do not know how far others spread where most twins pick nearly the same; 20 and "
    "30 do. Drawn as twins are, 10 would need a difference 1.25 times as large, at which 10 normal "
    "ones tell 93%; at a difference that is known beforehand both tell 80%"
)
TARGETS = (
    Target("notebook", f"{_RULE}: NumPy loop / jaxnet", "at least", 12),
    Target("notebooks", f"{_RULE}: us a run", "at most", 6),
    Target("notebooks", f"{_AUTODIFF}: us a run", "at most", 6),
    Target("digits", "scikit-learn / jaxnet", "at least", 7),
    Target("digits", "PyTorch eager / jaxnet", "at least", 12),
    Target("dropout", "fit / loop by hand", "at most", 1.1),
    *(
        Target("sweep", f"{optimizer}, {peer} / jaxnet", "at least", bound)
        for optimizer, eager in (("sgd", 50), ("adam", 55))
        for peer, bound in (
            ("PyTorch eager", eager),
            ("scikit-learn", 25),
            ("plain vmap", 4.5),
            ("torch.func", 5),
        )
    ),
    # The fast path slows no case by more than a twentieth.
    *(
        Target("ablation", f"{each}, the least of plain path / fast path", "at least", 0.95)
        for each in ("sgd", "adam")
    ),
    *(
        Target("ablation", f"{_SHORT}, {each}: plain vmap / jaxnet", "at least", 1, _AROUND)
        for each in ("sgd", "adam")
    ),
    Target("sweep", "sgd, share of the machine's peak", "at least", 0.6),
    Target("sweep", "adam, share of the machine's peak", "at least", 0.5),
    Target("wide", "float32, share of the machine's peak", "at least", 0.8),
    Target("wide", "float32, PyTorch eager / jaxnet", "at least", 1),
    *(
        Target("compile", f"{optimizer}, {state}, s", "at most", bound, reason)
        for optimizer in ("sgd", "adam")
        for state, bound, reason in (("cold", 1.0, ""), ("cached", 0.4, _TRACING))
    ),
    Target("imports", "jaxnet, share added", "at most", 0.08),
    Target("start", "cold start, s", "at most", 5),
    Target("three", "three optimizers on digits, s", "at most", 20),
    Target("everything", "all optimizers on digits, s", "at most", 360),
    Target("league", "all optimizers on all tasks, s", "at most", 5400),
    Target("memory", "100,000 tiny runs, GB", "at most", 2),
    *(
        target
        for name, reason in (("the classifier notebook", _TINY), ("digits", ""))
        for target in (
            Target("workers", f"{name}, GB", "at most", 2),
            Target("workers", f"{name}, share", "at most", 0.03, reason),
        )
    ),
    Target("workers", "devices / jaxnet", "at least", 1),
    Target("honesty", "alarms, mean", "at most", 0.05),
    Target("honesty", "alarms, most in a cell", "at most", 0.08),
    Target("honesty", "coverage, its mean from 95%", "at most", 0.02),
    Target("honesty", "power, farthest mean from 80%", "at most", 0.02),
    Target("honesty", "power of twins, farthest mean from 80%", "at most", 0.02, _FEW),
    Target("honesty", "a more general optimizer is worse", "at most", 0),
    Target("looks", "alarms at any of five looks", "at most", 0.05),
    Target("truth", "intervals that hold the truth", "at least", 0.93),
    Target("truth", "verdicts that contradict it", "at most", 0),
    *(
        target
        for dtype in ("float64", "float32")
        for target in (
            Target("audit", f"{dtype}, share named", "at least", 0.97),
            Target("audit", f"{dtype}, share of wrong causes", "at most", 0.002),
            Target("audit", f"{dtype}, alarms", "at most", 0),
        )
    ),
    Target("audit", "an audit of 1,005 parameters, s", "at most", 2),
    *(
        Target("scores", f"{name}, standard errors above scikit-learn", "at least", -1)
        for name in _TABLES
    ),
    *(
        Target("sklearn", f"{rows} rows, {dtype}, MLPClassifier / jaxnet", "at least", 2)
        for rows in ("500", "1,400")
        for dtype in ("float64", "float32")
    ),
    Target("sklearn", "standard errors above MLPClassifier", "at least", -2),
    Target("tables", "tables within one standard error of the better", "at least", 8),
)


def verdicts(claims: Mapping[str, Mapping[str, float]]) -> list[Verdict]:
    """Hold claims, by part and name, against the targets of those parts."""
    return [
        Verdict(target, claims[target.part].get(target.claim))
        for target in TARGETS
        if target.part in claims
    ]


def table(judged: list[Verdict]) -> Table:
    """Lay verdicts out."""
    rows = [
        (
            f"{verdict.target.part}: {verdict.target.claim}",
            "" if verdict.value is None else f"{verdict.value:.3g}",
            f"{verdict.target.kind} {verdict.target.bound:g}",
            verdict.word,
        )
        for verdict in judged
    ]
    return Table("Targets", ("", "measured", "expected", ""), rows)


def shortfalls(judged: list[Verdict]) -> list[str]:
    """Say of the targets that are missed by how much and why, together those of one reason."""
    together: dict[tuple[str, str], list[str]] = {}
    for target, value in judged:
        if value is not None and not target.met(value):
            missed = f"{target.claim}: {value:.3g} ({target.kind} {target.bound:g} expected)"
            together.setdefault((target.part, target.reason), []).append(missed)
    return [
        f"{part}, {'; '.join(missed)}." + (f" The reason: {reason}." if reason else "")
        for (part, reason), missed in together.items()
    ]

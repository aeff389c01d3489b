"""What a comparison says of each optimizer, of its replicates and those of the baseline.

Shapes: R replicates, K trials of each, E measurements along a run.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxnet._guards.defaults import BASELINE, rate_of
from jaxnet.compare import statistics
from jaxnet.compare.protocol import TIMES, Protocol
from jaxnet.compare.runs import Record, Runs
from jaxnet.compare.statistics import Interval, Scale, Verdict

# A setting forgives if its loss is within this factor of the best's.
WITHIN = 1.1
# Pieces of an axis whose losses are held against each other, to tell what it matters.
_PIECES = 6
_NOTHING = Interval(math.nan, math.nan, math.nan)
# What is told, of which the first there is tells most, as `statistics.verdict` has it.
_WEIGHTS: dict[Verdict, int] = {"fails more often": 0, "fails less often": 0, "as good": 1}
_WEIGHTS |= {"better": 2, "worse": 2, "not told apart": 3}


class Pair(NamedTuple):
    """One optimizer held against another, replicate by replicate.

    Attributes:
        optimizer, other: their names.
        difference: how many times the other's value this one's is, or this minus the other's, of
            the replicates where neither failed. scale: which of the two.
        p_value: of both tests, of values and of failures, corrected for all pairs and looks: at
            most the level where one is told from the other.
        only: in how many replicates this one alone failed, and in how many the other.
        smallest_told: as `statistics.smallest_told` has it.
        margin: the ratio, or the difference, up to which either way another is as good.
        verdict: in two words. look: at which of the looks, from 1; all figures are of that one.
    """

    optimizer: str
    other: str
    difference: Interval
    scale: Scale
    p_value: float
    only: tuple[int, int]
    smallest_told: float
    margin: float
    verdict: Verdict
    look: int

    @property
    def same(self) -> float:
        """What stands for no difference: 1 of ratios, 0 of differences."""
        return 1.0 if self.scale == "ratio" else 0.0


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the comparison says of one optimizer.

    A run that diverged, or never reached the target where this is judged, is a failure; a figure
    that failures make infinite is infinite.

    Attributes:
        optimizer: what it is called. verdict, sentence: against the baseline, in words.
        pair: the figures of that; None for the baseline.
        setting: the one to use in the end, by hyperparameter. quartiles: of what the replicates
            picked, by hyperparameter.
        beyond: the share of replicates whose learning rate, or multiplier, lies beyond its axis.
        trials: settings tried in a replicate. failed: replicates. diverged: how many of these
            did, the others missed the target.
        value: what is judged, where replicates picked a setting each: what a user gets who tunes.
        recommended: the same at `setting`. customary: at the customary setting.
        metrics: by name, each at the settings picked.
        best_of: shape [K], the lowest loss among the first k trials, the median replicate's.
        forgiving: share of the first trials within a factor `WITHIN` of their replicate's best.
        effects: by hyperparameter, the share of the differences between trials that its value
            alone explains.
        steps_to_target: of the replicates. reached: how many do.
        evaluations: of a run, median. compile_seconds: once. run_seconds: of all its runs.
        step_seconds: of one step of one run.
    """

    optimizer: str
    verdict: Verdict = "baseline"
    sentence: str = ""
    pair: Pair | None = None
    setting: Mapping[str, float] = dataclasses.field(default_factory=dict)
    quartiles: Mapping[str, Interval] = dataclasses.field(default_factory=dict)
    beyond: float = 0.0
    trials: int = 0
    failed: int = 0
    diverged: int = 0
    value: Interval = _NOTHING
    recommended: Interval = _NOTHING
    customary: Interval = _NOTHING
    metrics: Mapping[str, Interval] = dataclasses.field(default_factory=dict)
    best_of: Float[np.ndarray, " K"] = dataclasses.field(default_factory=lambda: np.zeros(0))
    forgiving: float = math.nan
    effects: Mapping[str, float] = dataclasses.field(default_factory=dict)
    steps_to_target: Interval = _NOTHING
    reached: int = 0
    evaluations: float = math.nan
    compile_seconds: float = math.nan
    run_seconds: float = math.nan
    step_seconds: float = math.nan


def target(record: Record, replicates: int) -> float:
    """Give the loss that steps to it are counted to in so many replicates; nan where none is."""
    protocol = record.protocol
    if protocol.judging.target is not None:
        return protocol.judging.target
    plain = record.phase("tuned")[protocol.baseline]
    # Judged by time, half of the baseline's own replicates would fail to reach their median.
    finals = plain.final(protocol.tuning.data)[:replicates]
    most = np.quantile(finals, 0.9, method="higher")
    reached = float(most if protocol.judging.by in TIMES else np.median(finals))
    # Where too many of its runs diverged there is none to reach.
    return reached if math.isfinite(reached) else math.nan


def values(record: Record, phase: str, target: float) -> dict[str, Float[np.ndarray, " R"]]:
    """Give what is judged of each optimizer in each replicate, lower better, infinite for failures.

    Args:
        record: of the runs. phase: "tuned", "recommended" or "customary".
        target: the loss that times are counted to.
    """
    judging = record.protocol.judging
    if judging.by not in TIMES:
        sign = -1.0 if judging.maximised else 1.0
        finals = {
            name: runs.final(judging.data, judging.by) for name, runs in record.phase(phase).items()
        }
        return {name: np.where(np.isinf(v), np.inf, sign * v) for name, v in finals.items()}
    return {name: _times(record, runs, target) for name, runs in record.phase(phase).items()}


def _times(record: Record, runs: Runs, target: float) -> Float[np.ndarray, " R"]:
    by = record.protocol.judging.by
    steps = statistics.steps_to_target(runs.curves(record.steps), record.steps, target)
    if by == "evaluations":
        return steps * runs.evaluations / record.protocol.steps
    rounds = record.log.seconds[runs.optimizer].rounds
    return steps * np.array(rounds) if by == "seconds" else steps


def alpha(protocol: Protocol, look: int = 0) -> float:
    """Give the share of the level that each comparison has at a look, the last where it is 0."""
    return spent(protocol, look) / max(1, len(protocol.comparisons))


def spent(protocol: Protocol, look: int = 0) -> float:
    """Give what all comparisons together have of the level at a look, the last where it is 0."""
    return statistics.spent(look or len(protocol.judging.looks), protocol.judging.level)


def pairs(record: Record) -> list[Pair]:
    """Hold optimizers against each other at every look, as the protocol says.

    What one look tells stays told, as each spends a part of the level by itself: that one fails
    goes before that it is as good, this before better and worse, and of equals the last look.
    """
    looks = range(1, len(record.protocol.judging.looks) + 1)
    return [
        min(reversed(each), key=lambda pair: _WEIGHTS[pair.verdict])
        for each in zip(*(_at_look(record, look) for look in looks), strict=True)
    ]


def _at_look(record: Record, look: int) -> list[Pair]:
    """Hold optimizers against each other as if the replicates of a look were all there are."""
    protocol = record.protocol
    judging, share = protocol.judging, alpha(protocol, look)
    count = judging.looks[look - 1]
    every = values(record, "tuned", target(record, count))
    judged = {name: each[:count] for name, each in every.items()}
    scale = _scale(judged, protocol)
    sizes = {n: statistics.location(v, share, scale).estimate for n, v in judged.items()}
    compared = []
    for name, other in protocol.comparisons:
        mine, others = judged[name], judged[other]
        pair = statistics.paired(mine, others, share, scale)
        compared.append(
            Pair(
                optimizer=name,
                other=other,
                difference=_upright(pair.difference, protocol),
                scale=scale,
                p_value=statistics.adjusted(pair, share, judging.level),
                only=pair.only,
                smallest_told=statistics.smallest_told(mine, others, share, scale),
                margin=statistics.widest(judging.margin, scale, sizes[other]),
                verdict=statistics.verdict(pair, share, judging.margin, scale, sizes[other]),
                look=look,
            )
        )
    return compared


def standard_error(record: Record, pair: Pair) -> float:
    """Give the standard error of a pair's difference, of its logarithm where it is a ratio."""
    count = record.protocol.judging.looks[pair.look - 1]
    judged = values(record, "tuned", target(record, count))
    mine, others = judged[pair.optimizer][:count], judged[pair.other][:count]
    return statistics.standard_error(mine, others, pair.scale)


def _scale(judged: Mapping[str, Float[np.ndarray, " R"]], protocol: Protocol) -> Scale:
    """Choose the scale of what is judged: what is maximised was turned round, and has no ratio."""
    if protocol.judging.maximised:
        return "difference"
    return statistics.scale_of([values[np.isfinite(values)] for values in judged.values()])


def _upright(interval: Interval, protocol: Protocol) -> Interval:
    """Give an interval of what is judged as it is shown: what is maximised was turned round."""
    estimate, low, high = interval
    # Taken from zero: minus a bound of zero would have a sign.
    turned = Interval(0.0 - estimate, 0.0 - high, 0.0 - low)
    return turned if protocol.judging.maximised else interval


def answers(record: Record, target: float, pairs: list[Pair]) -> list[Answer]:
    """Answer for each optimizer: figures, then what the tests say of them, in words.

    Args:
        record: runs, and what is known of them.
        target: the loss that steps to it are counted to.
        pairs: from `pairs`.

    Returns:
        The baseline's, the others' best first, and last those that cannot run.
    """
    protocol = record.protocol
    against = {p.optimizer: p for p in pairs if p.other == protocol.baseline}
    judged = {
        phase: values(record, phase, target) for phase in ("tuned", "recommended", "customary")
    }
    scale = _scale(judged["tuned"], protocol)

    def answer(name: str) -> Answer:
        at = {
            phase: _upright(_located(each[name], protocol, scale), protocol)
            for phase, each in judged.items()
        }
        failed = np.isinf(judged["tuned"][name])
        lost = np.isinf(record.phase("tuned")[name].final(protocol.tuning.data))
        figures = dataclasses.replace(
            _figures(record, name, target),
            value=at["tuned"],
            recommended=at["recommended"],
            customary=at["customary"],
            failed=int(failed.sum()),
            diverged=int((failed & (lost | (protocol.judging.by not in TIMES))).sum()),
        )
        if pair := against.get(name):
            figures = dataclasses.replace(figures, pair=pair, verdict=pair.verdict)
        return _worded(figures, record)

    first, *others = map(answer, protocol.optimizers)
    others.sort(key=lambda each: _rank(each, protocol))
    return [first, *others, *(_unable(name, why) for name, why in record.log.unable.items())]


def _rank(answer: Answer, protocol: Protocol) -> tuple[bool, float]:
    value = answer.value.estimate
    return math.isnan(value), -value if protocol.judging.maximised else value


def _located(values: Float[np.ndarray, " R"], protocol: Protocol, scale: Scale) -> Interval:
    above = scale == "ratio" and statistics.scale_of([values[np.isfinite(values)]]) == "ratio"
    return statistics.location(values, alpha(protocol), "ratio" if above else "difference")


def _figures(record: Record, name: str, target: float) -> Answer:
    """Give what the runs of an optimizer say, beside no other's."""
    protocol, seconds = record.protocol, record.log.seconds[name]
    search = protocol.optimizers[name]
    tuning, tuned = record.phase("tuning")[name], record.phase("tuned")[name]
    scores, picked = tuning.scores(), tuned.settings
    first = scores[:, : search.stages[0]]
    steps = statistics.steps_to_target(tuned.curves(record.steps), record.steps, target)
    rate = rate_of(search.axes)
    rates = search.axes[rate].point(picked[rate])
    return Answer(
        optimizer=name,
        setting={n: float(v[0]) for n, v in record.phase("recommended")[name].settings.items()},
        quartiles={n: _quartiles(v) for n, v in picked.items()},
        beyond=float(np.mean((rates < 0) | (rates > 1))),
        trials=scores.shape[1],
        metrics=_metrics(tuned, protocol),
        best_of=np.median(np.minimum.accumulate(scores, axis=1), axis=0),
        forgiving=_forgiving(first, scores.min(axis=1, keepdims=True)),
        effects=_effects(tuning, record),
        steps_to_target=_located(steps, protocol, "ratio"),
        reached=int(np.isfinite(steps).sum()),
        evaluations=float(np.median(tuned.evaluations)),
        compile_seconds=seconds.compile,
        run_seconds=seconds.run,
        step_seconds=seconds.step,
    )


def _quartiles(picked: Float[np.ndarray, " R"]) -> Interval:
    """Give the median and the quartiles, each a value that was picked: infinity may be one."""
    return Interval(*np.quantile(picked, (0.5, 0.25, 0.75), method="inverted_cdf").tolist())


def _forgiving(first: Float[np.ndarray, "R K"], best: Float[np.ndarray, "R 1"]) -> float:
    return float(statistics.within(first, best, WITHIN).mean())


def _metrics(tuned: Runs, protocol: Protocol) -> dict[str, Interval]:
    located = {}
    for name in protocol.metrics:
        final = tuned.final(protocol.judging.data, name)
        located[name] = _located(final, protocol, "difference")
    return located


def _effects(tuning: Runs, record: Record) -> dict[str, float]:
    """Give the share of the variance of ranks within replicates that each axis explains alone."""
    search = record.protocol.optimizers[tuning.optimizer]
    scores = tuning.scores()
    ranks = statistics.scipy().stats.rankdata(scores, axis=1).ravel()
    spread = ranks.var()
    shares = {}
    for name, tried in tuning.tried().items():
        points = search.axes[name].point(tried.ravel())
        order = np.argsort(points, kind="stable")
        pieces = (
            [points == each for each in np.unique(points)]
            if search.axes[name].scale == "choice"
            else np.array_split(order, _PIECES)
        )
        within = sum(
            ranks[piece].var() * len(ranks[piece]) for piece in pieces if ranks[piece].size
        )
        shares[name] = 1 - within / (spread * len(ranks)) if spread else 0.0
    return shares


def _unable(name: str, why: str) -> Answer:
    """Say that an optimizer cannot step from these parameters, and why."""
    sentence = f"{name} cannot run on these parameters: {why}."
    return Answer(optimizer=name, verdict="cannot run", sentence=sentence)


def _worded(answer: Answer, record: Record) -> Answer:
    sentence = _sentence(answer, record.protocol)
    for more in (_varying(answer, record), _crossing(answer, record)):
        sentence += f" {more}" * bool(more)
    why = record.log.reasons.get(answer.optimizer)
    return dataclasses.replace(
        answer, sentence=f"{sentence} In one run, {why}." if why else sentence
    )


def in_words(optimizer: str) -> str:
    """Give an optimizer's name as a sentence has it."""
    return "plain SGD" if optimizer == BASELINE else optimizer


def judged_by(protocol: Protocol) -> str:
    """Say what is judged, in words."""
    judging = protocol.judging
    return f"{judging.by} to target" if judging.by in TIMES else f"{judging.data} {judging.by}"


def replicates(protocol: Protocol, look: int = 0) -> str:
    """Say how many replicates there are at a look, the last unless told otherwise."""
    count = protocol.judging.looks[look - 1]
    return f"{count} replicate{'s' * (count > 1)}"


def _sentence(answer: Answer, protocol: Protocol) -> str:
    """Say in words what an answer says in figures."""
    name, pair, all_of_them = answer.optimizer, answer.pair, replicates(protocol)
    many = replicates(protocol, pair.look) if pair else all_of_them
    lost = f" Of {all_of_them} {failures(answer)}." if answer.failed else ""
    if pair is None:
        plain = "Plain SGD" if name == BASELINE else name
        sentence = f"{plain}, the baseline, is best used with {settled(answer.setting)}."
    elif pair.verdict in ("better", "worse"):
        sentence = f"{name} is {pair.verdict} than {pair.other}: {apart(pair, protocol)}."
    elif pair.verdict == "as good":
        within = f"{protocol.judging.margin:.0%}"
        if pair.scale == "difference":
            within += f" of {pair.other}'s value, {pair.margin:.2g}"
        sentence = f"{name} is as good as {pair.other}, within {within}: {apart(pair, protocol)}."
    elif pair.verdict == "not told apart":
        sentence = f"{name} and {pair.other} are not told apart by {many}{_told(pair, protocol)}."
    else:
        sentence = (
            f"{name} {pair.verdict} than {pair.other}: it alone failed in {pair.only[0]} of "
            f"{many}, {pair.other} alone in {pair.only[1]}."
        )
        if math.isfinite(pair.difference.estimate):
            sentence += f" Where neither failed: {apart(pair, protocol)}."
    if many != all_of_them:
        sentence += f" That was told by the first {many}, and stays told by {all_of_them}."
    if answer.beyond > 0.5:
        what = rate_of(answer.setting).replace("_", " ")
        sentence += (
            f" {answer.beyond:.0%} of its replicates picked a {what} beyond the range searched: "
            "give it a wider one."
        )
    return sentence + lost


def failures(answer: Answer) -> str:
    """Say how many replicates diverged and how many missed the target."""
    counts = {"diverged": answer.diverged, "missed the target": answer.failed - answer.diverged}
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count)


def _told(pair: Pair, protocol: Protocol) -> str:
    fewest = statistics.fewest(alpha(protocol))
    if protocol.replicates < fewest:
        return f", too few to tell anything: give at least {fewest}"
    least = smallest(pair)
    words = f"; they would have told a difference of {least} in about four of five comparisons"
    return words if least else ""


def smallest(pair: Pair) -> str:
    """Give the smallest difference that is told, such as 3.1% or 2.4 times; "" where none is."""
    value, ratio = pair.smallest_told, pair.scale == "ratio"
    if not math.isfinite(value) or value == ratio:
        return ""
    if not ratio or value >= 2:
        return f"{value:.2g}{' times' * ratio}"
    share = value - 1
    return f"{100 * share:.2g}%" if share < 0.095 else f"{share:.0%}"


# What the kinds of schedule are called, as `optimizers.Entry` numbers them.
_SCHEDULES = {0.0: "constant", 1.0: "cosine", 2.0: "linear"}


def settled(setting: Mapping[str, float]) -> str:
    """Say a setting in words, the learning rate first."""
    return ", ".join(f"{name} {worth(name, setting[name])}" for name in ordered(setting))


def ordered(setting: Mapping[str, float]) -> list[str]:
    """Give the names of a setting, the learning rate first."""
    return sorted(setting, key=lambda name: (name != rate_of(setting), name))


def worth(name: str, value: float) -> str:
    """Say the value of a hyperparameter, a schedule by its name and no clipping as none."""
    if name == "schedule":
        return _SCHEDULES.get(value, f"{value:.3g}")
    if name == "clip" and math.isinf(value):
        return "none"
    # Of momentum or betas what they lack of one tells.
    lacks = 1 - math.floor(math.log10(1 - value)) if 0.9 < value < 1 else 0
    return f"{round(value, lacks):g}" if lacks else f"{value:.3g}"


def apart(pair: Pair, protocol: Protocol) -> str:
    """Say a difference in words, with its interval, in as many figures as that bears."""
    estimate, low, high = pair.difference
    shape = digits(pair.difference, pair.same)
    of, other = judged_by(protocol), f"{pair.other}'s"
    told = low > pair.same or high < pair.same
    if pair.scale == "difference" and told:
        of = f"{of} {'lower' if high < 0 else 'higher'} than {other} by {abs(estimate):{shape}}"
        low, high = sorted((abs(low), abs(high)))
    elif pair.scale == "difference":
        of = f"{of} {estimate:+{shape}} from {other}"
    else:
        of = f"{of} {estimate:{shape}} times {other}"
    if not (math.isfinite(low) or math.isfinite(high)):
        return f"{of}, in too few replicates for an interval"
    level = 1 - spent(protocol, pair.look)
    return f"{of} ({100 * level:.4g}% interval {low:{shape}} to {high:{shape}})"


def digits(interval: Interval, same: float = math.nan) -> str:
    """Give the format of two figures of an interval's width: more would be noise.

    And as many as tell a bound from `same`, where there is no difference. Of a figure without an
    interval nobody knows what is noise: two.
    """
    estimate, low, high = interval
    width = high - low
    if not math.isfinite(width):
        return ".0f" if 100 <= abs(estimate) < 1e6 else ".2g"
    if width <= 0:
        return ".3g"
    apart = [abs(bound - same) for bound in (low, high) if bound != same and not math.isnan(same)]
    width = min([width, *(5 * each for each in apart)])
    decimals = int(np.clip(1 - math.floor(math.log10(width)), 0, 12))
    return f".{decimals}f" if decimals < 7 and abs(estimate) < 1e6 else ".3g"


def _varying(answer: Answer, record: Record) -> str:
    """Say how much a measured time varies, where that may be why nothing is told."""
    rounds = record.log.seconds[answer.optimizer].rounds
    if answer.verdict != "not told apart" or not rounds:
        return ""
    low, middle, high = np.quantile(rounds, (0.25, 0.5, 0.75))
    return (
        f"The middle half of its {len(rounds)} timings of a step, in turn with the others, lies "
        f"from {low / middle:.0%} to {high / middle:.0%} of their median."
    )


def _crossing(answer: Answer, record: Record) -> str:
    """Say where the median curves of an optimizer and the baseline cross, if it is for good."""
    pair, protocol = answer.pair, record.protocol
    if pair is None or pair.verdict not in ("better", "worse"):
        return ""
    tuned = record.phase("tuned")
    mine, others = (tuned[name].curves(record.steps) for name in (pair.optimizer, pair.other))
    with np.errstate(invalid="ignore"):
        lead = np.sign(mine - others).mean(axis=0)
    end = -1.0 if pair.verdict == "better" else 1.0
    against = np.flatnonzero(end * lead < -0.5)
    if not len(against) or end * lead[-1] < 0.5:
        return ""
    step = int(record.steps[against[-1]])
    side = "behind" if pair.verdict == "better" else "ahead"
    return f"It is {side} until step {step} of {protocol.steps}: shorter runs say the opposite."

"""The phases of a comparison: each replicate searches a setting, and is judged at what it picked.

Shapes: R replicates, K trials of each, S tuning seeds, H hyperparameters, N runs.
"""

import dataclasses
import itertools
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from jaxnet import devices, optimizers
from jaxnet._guards import sizes
from jaxnet.compare import batched, compiling, store, sweep, tiles, verifying, workers
from jaxnet.compare.inputs import Heading, OnProgress
from jaxnet.compare.protocol import Protocol
from jaxnet.compare.runs import Log, Runs, Seconds
from jaxnet.compare.search import TOGETHER, Search


@dataclasses.dataclass
class Bench:
    """Where the runs are made: it counts them, and the seconds that they take.

    Attributes:
        workload: what is trained. shape: of a tile of runs.
        folder: where finished tiles are kept; nowhere where None.
        crew: the workers that make the tiles; this process where None.
        on_progress: told after each tile. planned: how many runs there are to be.
        verified: what was held against NumPy, in words.
        dtype: of the losses. done: how many there are.
        seconds: by optimizer. reasons: by optimizer, why one of its runs diverged.
    """

    workload: tiles.Workload
    shape: tiles.Tile
    folder: Path | None
    crew: workers.Crew | None
    on_progress: OnProgress | None
    planned: int
    verified: str
    dtype: str = ""
    done: int = 0
    seconds: dict[str, Seconds] = dataclasses.field(default_factory=dict)
    reasons: dict[str, str] = dataclasses.field(default_factory=dict)

    def train(
        self, entry: optimizers.Entry, phase: str, trials: tiles.Trials
    ) -> Generator[sweep.Sweep, None, tiles.Swept]:
        """Train an optimizer from seeds at settings: give the sweep, to go on when it is done."""

        def tell(count: int) -> None:
            self.done += count
            if self.on_progress:
                who = f"; {self.crew}" if self.crew else ""
                self.on_progress(f"{entry.name}, {phase}{who}", self.done, self.planned)

        asked = sweep.begun(
            self.workload,
            entry,
            trials,
            self.shape,
            test=phase != "tuning" and self._scores,
            folder=self.folder,
            tell=tell,
        )
        yield asked
        swept, seconds = asked.joined()
        self.dtype = str(swept.loss.dtype)
        self._time(entry.name, seconds)
        return swept

    def explain(self, entry: optimizers.Entry, tuned: Runs) -> None:
        """Find out where and why the first run that diverged did."""
        for run in np.flatnonzero(tuned.diverged >= 0)[:1]:
            setting = {name: float(values[run]) for name, values in tuned.settings.items()}
            if why := batched.cause(self.workload, entry, int(tuned.seed[run]), setting):
                self.reasons[entry.name] = f"seed {tuned.seed[run]}: {why}"

    def time(
        self, entries: Sequence[optimizers.Entry], protocol: Protocol, tuned: Mapping[str, Runs]
    ) -> None:
        """Time the runs that are judged, look by look, if their seconds are what is judged."""
        if protocol.judging.by != "seconds":
            return
        parts = []
        for first, end in itertools.pairwise((0, *protocol.judging.looks)):
            if self.on_progress:
                self.on_progress("timing", self.done, self.planned)
            entrants = [(each, _trials_of(tuned[each.name], first, end)) for each in entries]
            seed = protocol.seed, first, end
            parts.append(sweep.rounds(self.workload, entrants, self.shape, seed, self.folder))
        measured = np.concatenate(parts).T.tolist()
        for each, rounds in zip(entries, measured, strict=True):
            seconds = dataclasses.replace(self.seconds[each.name], rounds=tuple(rounds))
            self.seconds[each.name] = seconds

    def log(self, heading: Heading, unable: Mapping[str, str]) -> Log:
        """Give what was met on the way, under the name of the comparison."""
        return Log(
            title=heading.title,
            command=heading.command,
            provenance=devices.provenance(self.dtype),
            verified=self.verified,
            seconds=self.seconds,
            reasons=self.reasons,
            unable=unable,
        )

    @property
    def _scores(self) -> bool:
        """Whether runs are scored at their end: on test data, or metrics where there is no data."""
        work = self.workload
        return work.test is not None or bool(work.data is None and work.metrics)

    def _time(self, name: str, seconds: tiles.Timing) -> None:
        # The fastest: the first tile of a process warms it up for all that follow.
        step = float(seconds.running.min()) / (self.shape.runs * self.workload.steps)
        before = self.seconds.get(name, Seconds(0.0, 0.0, step))
        run = before.run + float(seconds.running.sum())
        compile = max(before.compile, seconds.compiling)
        self.seconds[name] = Seconds(compile, run, min(before.step, step))


def tile(
    workload: tiles.Workload, searches: Iterable[Search], seeds: int, count: int | None
) -> tiles.Tile:
    """Choose the tile for all stages: that of a first stage on the seeds of the first look.

    A seed's batch is shared by the trials of a stage, or by the two settings that it judges.
    """
    stage = seeds * max(each.stages[0] for each in searches)
    return tiles.tile(workload, stage, settings=TOGETHER, count=count)


def bench(
    workload: tiles.Workload,
    protocol: Protocol,
    folder: Path | None,
    crew: workers.Crew | None,
    on_progress: OnProgress | None,
) -> Bench:
    """Make ready for the runs of a protocol: their memory, their folder, and what they compute.

    Raises:
        InputError: too little memory; a folder of another comparison; what XLA compiles is wrong.
    """
    searches, seeds = protocol.optimizers.values(), protocol.tuning.seeds
    planned = protocol.planned
    shape = tile(workload, searches, protocol.judging.looks[0] * seeds, 1 if crew else None)
    needed = tiles.memory(workload, shape, planned)
    sizes.check_bytes(
        "memory", needed, "runs", "compare fewer replicates, trials or optimizers at once"
    )
    if on_progress:
        on_progress(f"compiling, to run in about {needed / 1e9:.2g} GB", 0, planned)
    kept = store.keep(folder, protocol) if folder else None
    workload, verified = verifying.verified(workload, shape)
    return Bench(
        workload=workload,
        shape=shape,
        folder=kept,
        crew=crew,
        on_progress=on_progress,
        planned=planned,
        verified=verified,
    )


def run_all(bench: Bench, entries: Sequence[optimizers.Entry], protocol: Protocol) -> list[Runs]:
    """Put all optimizers through all phases, one after the other or, by workers, side by side."""
    if not bench.crew:
        compile_all(bench, entries, protocol)
    results: dict[str, list[Runs]] = {}

    def through(entry: optimizers.Entry) -> Iterator[sweep.Sweep]:
        results[entry.name] = yield from run(bench, entry, protocol)

    workers.gather([through(entry) for entry in entries], bench.crew)
    return [runs for entry in entries for runs in results[entry.name]]


def compile_all(bench: Bench, entries: Sequence[optimizers.Entry], protocol: Protocol) -> None:
    """Compile the tiles of all whose first trials are not kept already, side by side."""
    workload, shape, folder = bench.workload, bench.shape, bench.folder

    def kept(entry: optimizers.Entry) -> bool:
        search, replicates = protocol.optimizers[entry.name], range(protocol.judging.looks[0])
        points = search.first(protocol.seed, replicates)
        trials = _trials(search, protocol.seeds()[replicates, 1:], points)
        return folder is not None and sweep.is_kept(workload, entry, trials, shape, folder)

    named = [(e, protocol.optimizers[e.name].names) for e in entries if not kept(e)]
    compiling.compile_all(workload, named, shape)


def run(
    bench: Bench, entry: optimizers.Entry, protocol: Protocol
) -> Generator[sweep.Sweep, None, list[Runs]]:
    """Put one optimizer through all phases, the replicates of one look after those before it."""
    search, looks = protocol.optimizers[entry.name], (0, *protocol.judging.looks)
    judges, tuning, tuned, picks = protocol.seeds()[:, :1], [], [], []
    for first, end in itertools.pairwise(looks):
        runs, picked = yield from tune(bench, entry, protocol, range(first, end))
        tuning.append(runs)
        picks.append(picked)
        at_picks = yield from _trained(
            bench, entry, search, "tuned", seeds=judges[first:end], points=picked[:, None]
        )
        tuned.append(at_picks._replace(replicate=at_picks.replicate + first))
    at_picks = tuned[0].joined(*tuned[1:])
    bench.explain(entry, at_picks)
    points = np.stack([search.recommended(np.concatenate(picks)), search.customary_point])
    both = np.broadcast_to(points, (looks[-1], *points.shape))
    at_both = yield from _trained(bench, entry, search, "recommended", seeds=judges, points=both)
    ends = [
        at_both.mapped(lambda values, at=at: values[at::2])._replace(
            phase=phase, trial=np.zeros(len(judges), int)
        )
        for at, phase in enumerate(("recommended", "customary"))
    ]
    return [tuning[0].joined(*tuning[1:]), at_picks, *ends]


def tune(
    bench: Bench, entry: optimizers.Entry, protocol: Protocol, replicates: range
) -> Generator[sweep.Sweep, None, tuple[Runs, Float[np.ndarray, "R H"]]]:
    """Let each replicate search on its own; give all trials, and the points picked."""
    search, seeds = protocol.optimizers[entry.name], protocol.seeds()[replicates, 1:]

    def tried(drawn: Float[np.ndarray, "R K H"], before: int) -> Generator[sweep.Sweep, None, Runs]:
        runs = yield from _trained(bench, entry, search, "tuning", seeds=seeds, points=drawn)
        runs = runs._replace(replicate=runs.replicate + replicates.start, trial=runs.trial + before)
        # Their ends alone decide.
        ends = {name: values[:, -1:] for name, values in runs.validation.items()}
        return runs._replace(loss=runs.loss[:, -1:], validation=ends)

    points = search.first(protocol.seed, replicates)
    parts = [(yield from tried(points, 0))]
    losses = parts[0].finals()
    for stage in range(1, len(search.stages)):
        drawn = search.further(protocol.seed, replicates, points, losses, stage)
        parts.append((yield from tried(drawn, points.shape[1])))
        points = np.concatenate([points, drawn], axis=1)
        losses = np.concatenate([losses, parts[-1].finals()], axis=1)
    return parts[0].joined(*parts[1:]), search.best(points, losses)


def _trials_of(runs: Runs, first: int, end: int) -> tiles.Trials:
    """Give the seeds and settings of the runs of some replicates, one of each."""
    settings = {name: values[first:end] for name, values in runs.settings.items()}
    return tiles.Trials(runs.seed[first:end], settings)


def _trials(
    search: Search, seeds: Int[np.ndarray, "R S"], points: Float[np.ndarray, "R K H"]
) -> tiles.Trials:
    """Give each seed of a replicate at each of its points: axes R, S, K."""
    shape = *seeds.shape, points.shape[1]
    values = {
        name: np.broadcast_to(each[:, None], shape).reshape(-1)
        for name, each in search.values(points).items()
    }
    return tiles.Trials(np.broadcast_to(seeds[..., None], shape).reshape(-1), values)


def _trained(
    bench: Bench,
    entry: optimizers.Entry,
    search: Search,
    phase: str,
    *,
    seeds: Int[np.ndarray, "R S"],
    points: Float[np.ndarray, "R K H"],
) -> Generator[sweep.Sweep, None, Runs]:
    """Run each seed of a replicate at each of its points, both counted from 0."""
    trials = _trials(search, seeds, points)
    swept = yield from bench.train(entry, phase, trials)
    replicate, _, trial = np.indices((*seeds.shape, points.shape[1])).reshape(3, -1)
    return Runs(
        optimizer=entry.name,
        phase=phase,
        replicate=replicate,
        trial=trial,
        seed=trials.seeds,
        settings=dict(trials.settings),
        **swept._asdict(),
    )

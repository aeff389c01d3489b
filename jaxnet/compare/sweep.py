"""Thousands of runs of one optimizer, tile by tile.

A sweep is cut into tiles, every one the same compiled program; one that is done can be kept on
disk.

Shapes: K items of a tile, L settings of an item, H hyperparameters of a setting, R runs.
"""

import dataclasses
import hashlib
import json
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int

from jaxnet import devices
from jaxnet.compare import compiling, starts, verifying
from jaxnet.compare.tiles import Swept, Tile, Timing, Trials, Workload, fast, under
from jaxnet.errors import InputError
from jaxnet.optimizers import Entry
from jaxnet.storage import arrays

# How often each run is timed in its round.
_TURNS = 3


class Items(NamedTuple):
    """Seeds and the settings of each, the hyperparameters in the order of their names."""

    seeds: Int[np.ndarray, " K"]
    settings: Float[np.ndarray, "K L H"]


class Job(NamedTuple):
    """What all tiles of a sweep have in common.

    Attributes:
        workload: what is trained. entry: the optimizer. names: of its hyperparameters, sorted.
        shape: from `tile`; every call of it is the same program.
        test: whether the test data are scored at the end of each run.
    """

    workload: Workload
    entry: Entry
    names: tuple[str, ...]
    shape: Tile
    test: bool


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Runs cut into tiles, of which some are done, whoever makes them and in whatever order.

    Attributes:
        job: what the tiles have in common. items: of each tile. counts: the runs of each.
        places: shape [R], of each run among all settings of all items.
        paths: where each tile is kept; nowhere where None.
        tell: called with the number of runs of each tile that is done.
        done: the tiles that are, by their number.
    """

    job: Job
    items: list[Items]
    counts: list[int]
    places: Int[np.ndarray, " R"]
    paths: list[Path | None]
    tell: Callable[[int], None] | None
    done: dict[int, dict[str, np.ndarray]] = dataclasses.field(default_factory=dict)

    @property
    def missing(self) -> list[int]:
        """The numbers of the tiles that are not done."""
        return [number for number in range(len(self.items)) if number not in self.done]

    def make(self) -> None:
        """Make what is missing, tile by tile."""
        for number in self.missing:
            self.keep(number, made(self.job, self.items[number]))

    def keep(self, number: int, tile: dict[str, np.ndarray]) -> None:
        """Take a tile that was made, and write it."""
        if path := self.paths[number]:
            _write(path, tile)
        self._take(number, tile)

    def find(self) -> None:
        """Take the tiles that are kept already."""
        for number, path in enumerate(self.paths):
            if path and (tile := _read(path)):
                self._take(number, tile)

    def _take(self, number: int, tile: dict[str, np.ndarray]) -> None:
        self.done[number] = tile
        if self.tell:
            self.tell(self.counts[number])

    def joined(self) -> tuple[Swept, Timing]:
        """Give what became of the runs, in their order, and what they took."""
        tiles = [self.done[number] for number in range(len(self.items))]
        compilations, running = np.transpose([tile["seconds"] for tile in tiles])
        joined = {
            name: np.concatenate([tile[name] for tile in tiles]).take(self.places, axis=0)
            for name in tiles[0]
            if name != "seconds"
        }
        swept = Swept(
            loss=joined["loss"],
            validation=under("validation_", joined),
            test=under("test_", joined),
            diverged=joined["diverged"],
            evaluations=joined["evaluations"],
        )
        return swept, Timing(float(compilations.max()), running)


def begun(
    workload: Workload,
    entry: Entry,
    trials: Trials,
    shape: Tile,
    *,
    test: bool = False,
    folder: Path | None = None,
    tell: Callable[[int], None] | None = None,
) -> Sweep:
    """Cut runs into tiles, and find those that are done.

    Args:
        workload: what is trained.
        entry: the optimizer.
        trials: seeds and settings.
        shape: from `tile`; every call of it is the same program.
        test: whether to score the test data at the end of each run.
        folder: where finished tiles are kept and found again; nowhere where None.
        tell: called with the number of runs of each tile that is done.
    """
    places, items = _items(trials, shape.settings)
    verified, names = verifying.verified(workload, shape)[0], tuple(sorted(trials.settings))
    tiles = list(_cut(items, shape))
    whose = entry.name, *names
    paths = [folder and folder / _name(verified, whose, test, each, shape) for each in tiles]
    counts = np.bincount(places // shape.runs).tolist()
    sweep = Sweep(
        job=Job(verified, entry, names, shape, test),
        items=tiles,
        counts=counts,
        places=places,
        paths=paths,
        tell=tell,
    )
    sweep.find()
    return sweep


def run(
    workload: Workload, entry: Entry, trials: Trials, shape: Tile, **more: Any
) -> tuple[Swept, Timing]:
    """Make all tiles of what `begun` cuts; give what became of the runs, and what they took."""
    sweep = begun(workload, entry, trials, shape, **more)
    sweep.make()
    return sweep.joined()


def made(job: Job, items: Items) -> dict[str, np.ndarray]:
    """Make a tile; give each measurement with its runs along the first axis, and the seconds."""
    program = compiling.compiled(job.workload, job.entry, job.names, job.shape)
    return _call(job.workload, program, job.shape, items, job.test)


def is_kept(workload: Workload, entry: Entry, trials: Trials, shape: Tile, folder: Path) -> bool:
    """Tell whether all tiles of the runs are kept already, not scored on the test data."""
    tiles = _cut(_items(trials, shape.settings)[1], shape)
    whose = entry.name, *sorted(trials.settings)
    return all((folder / _name(workload, whose, False, each, shape)).exists() for each in tiles)


def rounds(
    workload: Workload,
    entrants: Sequence[tuple[Entry, Trials]],
    shape: Tile,
    seed: Sequence[int],
    folder: Path | None,
) -> Float[np.ndarray, "R K"]:
    """Measure what a step of each run takes, in seconds, in a round for the runs of one place.

    In a round every optimizer has a few turns, each in an order drawn anew, of which the fastest
    counts: of two that are the same it is chance which meets a moment when the machine is slow.

    Args:
        workload: what is trained. entrants: K optimizers, R runs of each. shape: from `tile`.
        seed: of the orders. folder: where they are kept, as tiles are, and found again.
    """
    digest = hashlib.sha256(json.dumps([*seed, *_maker(workload, shape)]).encode()).hexdigest()[:24]
    path = folder and folder / f"rounds-{digest}.safetensors"
    if path and (kept := _read(path)):
        return kept["seconds"]
    seconds = np.full((len(entrants[0][1].seeds), len(entrants)), np.inf)
    for row, fastest in enumerate(seconds):
        random = np.random.default_rng([*seed, row])
        # What disturbs only slows.
        for column in [each for _ in range(_TURNS) for each in random.permutation(len(entrants))]:
            entry, (seeds, settings) = entrants[column]
            alone = Trials(seeds[[row]], {name: each[[row]] for name, each in settings.items()})
            _, timing = run(workload, entry, alone, shape)
            # A tile is filled up with the same run.
            step = timing.running.sum() / (shape.runs * workload.steps)
            fastest[column] = min(fastest[column], step)
    if path:
        _write(path, {"seconds": seconds})
    return seconds


def _name(workload: Workload, whose: tuple[str, ...], test: bool, items: Items, shape: Tile) -> str:
    """Name a tile by all that its numbers depend on beside the protocol: also by what made it."""
    made_by = _maker(workload, shape)
    record = json.dumps([whose, test, items.settings.shape, made_by]).encode()
    digest = hashlib.sha256(record + items.seeds.tobytes() + items.settings.tobytes())
    return f"{digest.hexdigest()[:24]}.safetensors"


def _maker(workload: Workload, shape: Tile) -> tuple[Any, ...]:
    path = workload.fast or fast()
    return devices.releases(), path, shape.items, shape.settings, shape.device_count


def _items(trials: Trials, together: int) -> tuple[Int[np.ndarray, " R"], Items]:
    """Group runs of one seed into items of so many settings, the last of a seed filled up.

    Gives also the place of each run among all the settings of all items.
    """
    seeds = np.asarray(trials.seeds, np.int32)
    named = [np.asarray(trials.settings[name], float) for name in sorted(trials.settings)]
    by_seed = np.argsort(seeds, kind="stable")
    seeds, settings = seeds[by_seed], np.stack(named, axis=-1)[by_seed]
    offset = (np.arange(len(seeds)) - np.searchsorted(seeds, seeds)) % together
    (firsts,) = np.nonzero(offset == 0)
    lasts = np.append(firsts[1:], len(seeds)) - 1
    filled = np.minimum(firsts[:, None] + np.arange(together), lasts[:, None])
    places = np.empty(len(seeds), int)
    places[by_seed] = (np.cumsum(offset == 0) - 1) * together + offset
    return places, Items(seeds[firsts], settings[filled])


def _cut(items: Items, shape: Tile) -> Iterator[Items]:
    """Cut items into those of each tile."""
    count = shape.runs // shape.settings
    for first in range(0, len(items.seeds), count):
        yield Items(*(each[first : first + count] for each in items))


def _call(
    workload: Workload, program: compiling.Compiled, shape: Tile, items: Items, test: bool
) -> dict[str, np.ndarray]:
    """Run one tile; give each measurement with the tile's runs along the first axis."""
    filled = np.minimum(np.arange(shape.runs // shape.settings), len(items.seeds) - 1)
    inputs = starts.placed(workload, items.seeds[filled], items.settings[filled], program.mesh)
    began = time.perf_counter()
    values, params = jax.block_until_ready(program.call(*inputs))
    running = time.perf_counter() - began
    if test:
        scores = compiling.score(workload, params, items.settings.shape[-1], shape)
        values |= {f"test_{name}": value for name, value in scores.items()}
    count = items.settings.shape[0] * items.settings.shape[1]
    arrays = {
        name: np.asarray(value).reshape(-1, *value.shape[2:])[:count]
        for name, value in values.items()
    }
    return arrays | {"seconds": np.array([program.seconds, running])}


def _write(path: Path, tile: dict[str, np.ndarray]) -> None:
    arrays.write(path, tile, {"folder": path.parent.name})


def _read(path: Path) -> dict[str, np.ndarray] | None:
    """Read a tile; one that is damaged, or of another folder, is done again."""
    if not path.exists():
        return None
    if path.is_dir():
        raise InputError(f"{path}: expected a tile of runs, got a folder; delete it")
    own = {"folder": path.parent.name}
    try:
        tile, record = arrays.read(path)
        if record != own:
            raise InputError(
                f"{path}: expected a tile of {own}, got one of {record}; make it again"
            )
    except InputError as error:
        warnings.warn(f"a tile is done again: {error}", RuntimeWarning, stacklevel=2)
        return None
    return tile

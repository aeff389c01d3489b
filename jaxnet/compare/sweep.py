"""Thousands of runs of one optimizer, tile by tile.

A sweep is cut into tiles, every one the same compiled program; one that is done can be kept on
disk.

Shapes: K items of a tile, L settings of an item, H hyperparameters of a setting, R runs.
"""

import functools
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


def run(
    workload: Workload,
    entry: Entry,
    trials: Trials,
    shape: Tile,
    *,
    test: bool = False,
    folder: Path | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> tuple[Swept, Timing]:
    """Train the runs tile by tile; give what became of them, in their order, and what it took.

    Args:
        workload: what is trained.
        entry: the optimizer.
        trials: seeds and settings.
        shape: from `tile`; every call of it is the same program.
        test: whether to score the test data at the end of each run.
        folder: where finished tiles are kept and found again; nowhere where None.
        on_progress: called with the number of runs done after each tile.
    """
    places, items = _items(trials, shape.settings)
    workload, names = verifying.verified(workload, shape)[0], tuple(sorted(trials.settings))
    program = functools.cache(lambda: compiling.compiled(workload, entry, names, shape))
    tiles, end = [], 0
    for chosen in _cut(items, shape):
        end += chosen.settings.shape[0] * chosen.settings.shape[1]
        path = folder and folder / _name(workload, (entry.name, *names), test, chosen, shape)
        done = path and _read(path)
        if not done:
            done = _call(workload, program(), shape, chosen, test)
            if path:
                _write(path, done)
        tiles.append(done)
        if on_progress:
            on_progress(int(np.sum(places < end)))
    compilations, running = np.transpose([tile.pop("seconds") for tile in tiles])
    joined = {
        name: np.concatenate([tile[name] for tile in tiles]).take(places, axis=0)
        for name in tiles[0]
    }
    swept = Swept(
        loss=joined["loss"],
        validation=under("validation_", joined),
        test=under("test_", joined),
        diverged=joined["diverged"],
        evaluations=joined["evaluations"],
    )
    return swept, Timing(float(compilations.max()), running)


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
    digest = hashlib.sha256(json.dumps([*seed, *_maker(workload)]).encode()).hexdigest()[:24]
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


class _Items(NamedTuple):
    """Seeds and the settings of each, the hyperparameters in the order of their names."""

    seeds: Int[np.ndarray, " K"]
    settings: Float[np.ndarray, "K L H"]


def _name(
    workload: Workload, whose: tuple[str, ...], test: bool, items: _Items, shape: Tile
) -> str:
    """Name a tile by all that its numbers depend on beside the protocol: also by what made it."""
    record = json.dumps([whose, test, items.settings.shape, shape, _maker(workload)]).encode()
    digest = hashlib.sha256(record + items.seeds.tobytes() + items.settings.tobytes())
    return f"{digest.hexdigest()[:24]}.safetensors"


def _maker(workload: Workload) -> tuple[Any, ...]:
    return devices.releases(), workload.fast or fast(), jax.local_device_count()


def _items(trials: Trials, together: int) -> tuple[Int[np.ndarray, " R"], _Items]:
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
    return places, _Items(seeds[firsts], settings[filled])


def _cut(items: _Items, shape: Tile) -> Iterator[_Items]:
    """Cut items into those of each tile."""
    count = shape.runs // shape.settings
    for first in range(0, len(items.seeds), count):
        yield _Items(*(each[first : first + count] for each in items))


def _call(
    workload: Workload, program: compiling.Compiled, shape: Tile, items: _Items, test: bool
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

"""How settings are drawn, refined around the best, and chosen: in each replicate by itself.

A replicate starts with a lattice over all axes, shifted and ordered at random for each of them.
Then, a few trials at a time, it draws between the neighbours of its best trial, so that it closes
in where the best lies inside and goes on where it lies at an end, unless the curve is flat there:
not better beyond noise. Draws hang on the seed, the replicate and the name of a hyperparameter
alone: optimizers share what they have in common.

Shapes: R replicates, K trials of each on S seeds, H hyperparameters. A trial is a point, one number
on each axis of the space.
"""

import dataclasses
import functools
import math
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxnet._guards.defaults import rate_of
from jaxnet._guards.records import Extended
from jaxnet.errors import InputError
from jaxnet.spaces import Space

# Trials of the first stage at least, and of each that follows: few first and few at a time
# told plain SGD from itself least, where its best rate lies at an end of the range, beyond it or
# neither, and came nearest to the best.
_FIRST, TOGETHER = 4, 2


@dataclasses.dataclass(frozen=True)
class Search:
    """Where one optimizer is looked for at its best, and how often.

    Attributes:
        axes: by hyperparameter; those that are not here are as the optimizer has them.
        customary: the value that each usually has, which is run beside the tuned one.
        trials: settings tried in each replicate. note: what its reader must know.
    """

    axes: Space
    customary: Mapping[str, Extended]
    trials: int
    note: str = ""

    def __post_init__(self) -> None:
        """Refuse what cannot be searched."""
        rate = rate_of(self.axes)
        if rate not in self.axes or set(self.axes) != set(self.customary):
            raise InputError(
                f"axes: expected a customary value for each, learning_rate among them, got axes "
                f"of {', '.join(self.axes)} and values of {', '.join(self.customary)}"
            )
        if min(self.axes[rate].values) <= 0:
            raise InputError(
                f"{rate}: expected values above zero, got "
                f"{', '.join(f'{each:g}' for each in self.axes[rate].values)}"
            )
        if self.trials < 1:
            raise InputError(f"trials: expected at least 1, got {self.trials}")

    @property
    def names(self) -> tuple[str, ...]:
        """The hyperparameters, in the order of the coordinates of points."""
        return tuple(sorted(self.axes))

    @property
    def stages(self) -> tuple[int, ...]:
        """How many trials are made at once, one stage after the other."""
        if all(axis.scale == "choice" for axis in self.axes.values()):
            return (self.trials,)
        first = min(self.trials, max(_FIRST, math.ceil(self.trials / 5)))
        further, rest = divmod(self.trials - first, TOGETHER)
        return (first, *[TOGETHER] * further, *[rest] * bool(rest))

    @property
    def customary_point(self) -> Float[np.ndarray, " H"]:
        """The point of the customary setting."""
        points = [self.axes[name].point(np.asarray(self.customary[name])) for name in self.names]
        return np.array(points, float)

    def values(self, points: Float[np.ndarray, "R K H"]) -> dict[str, Float[np.ndarray, "R K"]]:
        """Give the value of each hyperparameter at points."""
        return {name: self.axes[name].at(points[..., h]) for h, name in enumerate(self.names)}

    def first(self, seed: int, replicates: Sequence[int]) -> Float[np.ndarray, "R K H"]:
        """Draw the trials of the first stage."""
        return _draws(seed, tuple(replicates), 0, self.names, self.stages[0])[0]

    def further(
        self,
        seed: int,
        replicates: Sequence[int],
        points: Float[np.ndarray, "R K H"],
        losses: Float[np.ndarray, "R K S"],
        stage: int,
    ) -> Float[np.ndarray, "R L H"]:
        """Draw the trials of a further stage between the neighbours of each replicate's best."""
        count = self.stages[stage]
        best = self._best(points, losses)
        centres = points[np.arange(len(points)), best]
        rate = np.array([name == rate_of(self.names) for name in self.names])
        below, above = self._reach(points, centres)
        # Where none lasts go on below the lowest rate, as far as two of the first trials.
        lost = np.all(np.isinf(losses), axis=(1, 2))
        down = lost[:, None] & rate
        below, above = np.where(down, 2 * below, below), np.where(down, 0.0, above)
        # What is no better than the next best but for noise is no edge to go on beyond.
        rest = np.arange(points.shape[1]) != best[:, None]
        flat = ~lost & ~_leads(losses, best, _lowest(losses, rest))
        held = flat[:, None] & rate
        below = np.where(held, np.minimum(below, np.maximum(centres, 0.0)), below)
        above = np.where(held, np.minimum(above, np.maximum(1.0 - centres, 0.0)), above)
        moves, stays = _draws(seed, tuple(replicates), stage, self.names, count)
        drawn = (centres - below)[:, None] + (below + above)[:, None] * moves
        chosen = np.array([self.axes[name].scale == "choice" for name in self.names])
        # Between choices nothing lies: each is kept or drawn anew.
        drawn = np.where(chosen, np.where(stays, centres[:, None], moves), drawn)
        return np.where(rate, drawn, np.clip(drawn, 0.0, 1.0))

    def _reach(
        self, points: Float[np.ndarray, "R K H"], centres: Float[np.ndarray, "R H"]
    ) -> tuple[Float[np.ndarray, "R H"], Float[np.ndarray, "R H"]]:
        """Tell how far the trials beside the best are on each axis, below it and above.

        Those beside it are the next ones on a single axis. On several, where most others are far
        off on another axis, more of them are passed by: all but the box that holds as many as an
        axis alone would have between.
        """
        count, axes = points.shape[1:]
        passed = math.ceil(count ** (1 - 1 / axes)) - 1
        beyond = min(2, axes) / self.stages[0]
        apart = points - centres[:, None]
        reaches = []
        for side in (-1, 1):
            distances = np.sort(np.where(side * apart > 0, np.abs(apart), np.inf), axis=1)
            reach = distances[:, min(passed, count - 1)]
            reaches.append(np.where(np.isfinite(reach), reach, beyond))
        return reaches[0], reaches[1]

    def best(
        self, points: Float[np.ndarray, "R K H"], losses: Float[np.ndarray, "R K S"]
    ) -> Float[np.ndarray, "R H"]:
        """Give each replicate's trial of the lowest rank; of equals the first.

        One beyond the range of learning rates has to be better than all inside by more than noise.
        Where all failed, that of the lowest learning rate.
        """
        return points[np.arange(len(points)), self._best(points, losses)]

    def _best(
        self, points: Float[np.ndarray, "R K H"], losses: Float[np.ndarray, "R K S"]
    ) -> Int[np.ndarray, " R"]:
        rates = points[..., self.names.index(rate_of(self.names))]
        inside = _lowest(losses, (rates >= 0) & (rates <= 1))
        every = _lowest(losses, np.ones(rates.shape, bool))
        best = np.where(_leads(losses, every, inside), every, inside)
        return np.where(np.all(np.isinf(losses), axis=(1, 2)), np.argmin(rates, axis=1), best)

    def recommended(self, picks: Float[np.ndarray, "R H"]) -> Float[np.ndarray, " H"]:
        """Give the setting in the middle of what the replicates picked.

        That is, the choices made most often one after the other, and of the replicates that made
        them the median on every other axis.
        """
        kept = np.ones(len(picks), bool)
        middle = np.empty(picks.shape[1])
        for h, name in enumerate(self.names):
            if self.axes[name].scale == "choice":
                values = self.axes[name].at(picks[:, h])
                options, counts = np.unique(values[kept], return_counts=True)
                taken = options[np.argmax(counts)]
                kept &= values == taken
                middle[h] = self.axes[name].point(np.asarray(taken))
        for h, name in enumerate(self.names):
            if self.axes[name].scale != "choice":
                middle[h] = np.median(picks[kept, h])
        return middle


def ranked(losses: Float[np.ndarray, "R K S"]) -> Float[np.ndarray, "R K"]:
    """Rank the trials of each replicate by how many seeds failed, then by the others' mean loss.

    Were one that fails as bad as three, an optimizer that often does would be tuned to nothing. Of
    equals the first comes first; infinite where all failed.
    """
    failed = np.isinf(losses)
    count = failed.sum(axis=-1)
    lasting = losses.shape[-1] - count
    means = np.where(failed, 0.0, losses).sum(axis=-1) / np.maximum(lasting, 1)
    ranks = np.argsort(np.lexsort((means, count))).astype(float)
    return np.where(lasting > 0, ranks, np.inf)


def _lowest(
    losses: Float[np.ndarray, "R K S"], among: Bool[np.ndarray, "R K"]
) -> Int[np.ndarray, " R"]:
    """Give the trial of the lowest rank among some of each replicate."""
    return np.argmin(np.where(among, ranked(losses), np.inf), axis=1)


def _leads(
    losses: Float[np.ndarray, "R K S"],
    these: Int[np.ndarray, " R"],
    those: Int[np.ndarray, " R"],
) -> Bool[np.ndarray, " R"]:
    """Tell which trials fail on fewer seeds than others, or are better by a standard error."""
    rows = np.arange(len(losses))
    mine, others = losses[rows, these], losses[rows, those]
    failed, lost = np.isinf(mine), np.isinf(others)
    both = ~failed & ~lost
    count = np.maximum(both.sum(axis=1), 1)
    apart = np.where(both, others, 0.0) - np.where(both, mine, 0.0)
    mean = apart.sum(axis=1) / count
    squares = np.where(both, (apart - mean[:, None]) ** 2, 0.0).sum(axis=1)
    error = np.sqrt(squares / np.maximum(count - 1, 1) / count)
    fewer = lost.sum(axis=1) - failed.sum(axis=1)
    return (fewer > 0) | (fewer == 0) & (mean > error)


@functools.lru_cache(64)
def _draws(
    seed: int, replicates: tuple[int, ...], stage: int, names: tuple[str, ...], count: int
) -> tuple[Float[np.ndarray, "R K H"], Bool[np.ndarray, "R K H"]]:
    """Draw a lattice for each replicate, and which coordinates stay: for all optimizers once."""
    shape = len(replicates), count, len(names)
    pieces, offsets, stays = (
        np.empty(shape),
        np.empty((shape[0], 1, shape[2])),
        np.empty(shape, bool),
    )
    keys = [zlib.crc32(name.encode()) for name in names]
    for row, h in np.ndindex(shape[0], shape[2]):
        # An array, of which a generator is made in half the time that a list takes.
        random = np.random.default_rng(np.array([seed, replicates[row], stage, keys[h]], np.uint32))
        pieces[row, :, h] = random.permutation(count)
        offsets[row, 0, h] = random.random()
        stays[row, :, h] = random.random(count) < 0.5
    # Each axis has one in each of `count` equal pieces, evenly apart.
    moves = (pieces + offsets) / count
    moves.flags.writeable = False
    return moves, stays

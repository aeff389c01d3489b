"""Windows that are sent back through wrongly: of pooling, of a convolution, cut out one by one."""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from jaxnet._guards import jaxprs
from jaxnet.audit.mistakes.places import Candidate, Places, Use, spoken_axes, subsets
from jaxnet.audit.mistakes.reverse import Back, Edit, Gradient
from jaxnet.audit.programs import Step, Values

# Windows that are looked at one by one.
_MOST = 256


def of_windows(places: Places) -> Iterator[Candidate]:
    """Give the mistakes."""
    for at, step in enumerate(places.program.steps):
        if step.name == "reduce_max":
            yield from _pooled(places, at, step)
        if step.name == "conv_general_dilated":
            yield from _strided(places, at, step)
            yield from _overlapping(places, at, step)
        if step.name == "pad":
            yield from _padded(places, at, step)
    yield from _unstrided(places)


def _pooled(places: Places, at: int, step: Step) -> Iterator[Candidate]:
    """Give what may come back of a maximum to other entries than the largest."""
    axes, shape = step.equation.params["axes"], places.program.shapes[step.inputs[0]]
    if step.inputs[0] not in places.way.moving:
        return
    first = np.zeros(shape)
    first[tuple(0 if axis in axes else slice(None) for axis in range(len(shape)))] = 1.0
    size = math.prod(shape[axis] for axis in axes)
    for whose, share in {
        "every entry, not to the largest": np.ones(shape),
        "the first entry, not to the largest": first,
        "every entry in equal parts, not to the largest": np.full(shape, 1 / size),
    }.items():

        def back(sent: Gradient, share: Gradient = share) -> Gradient:
            return np.expand_dims(sent, axes) * share

        text = f"what comes back through {{name}} given to {whose}"
        edit = Edit({(at, 0): back}, {})
        yield Candidate(edit, text, (step,), step.inputs[0], step.outputs[0])


def _strided(places: Places, at: int, step: Step) -> Iterator[Candidate]:
    """Give what comes back where the stride of a convolution is ignored on the way."""
    strides = step.equation.params["window_strides"]
    if max(strides) == 1:
        return
    for side in (0, 1):
        if step.inputs[side] not in places.way.moving:
            continue

        def back(sent: Gradient, side: int = side) -> Gradient:
            return places.way.unstrided(at, side, sent)

        edit = Edit({(at, side): back}, {})
        text = "the stride of {name} left out on the way back"
        yield Candidate(edit, text, (step,), step.inputs[side], step.outputs[0])


def _overlapping(places: Places, at: int, step: Step) -> Iterator[Candidate]:
    """Give what comes back to the input where windows overlap and one alone is kept."""
    shape = places.program.shapes[step.outputs[0]]
    channels = step.equation.params["dimension_numbers"].out_spec[:2]
    spatial = [axis for axis in range(len(shape)) if axis not in channels]
    counts = [shape[axis] for axis in spatial]
    if step.inputs[0] not in places.way.moving or math.prod(counts) > _MOST:
        return
    masks = np.zeros((math.prod(counts), *shape))
    for k, position in enumerate(itertools.product(*map(range, counts))):
        at_spatial = dict(zip(spatial, position, strict=True))
        masks[(k, *(at_spatial.get(axis, slice(None)) for axis in range(len(shape))))] = 1.0
    ones = np.ones(places.program.shapes[step.inputs[1]])
    covered = places.way.other(at, 0, {1: ones}, [masks]) > 0
    for text, order in (("last", 1), ("first", -1)):

        def back(sent: Gradient, order: int = order) -> Gradient:
            parts = places.way.pull(at, 0, [masks * sent])
            whole = np.zeros(parts.shape[1:])
            for part, own in list(zip(parts, covered, strict=True))[::order]:
                whole = np.where(own, part, whole)
            return whole

        edit = Edit({(at, 0): back}, {})
        whole = f"of windows that overlap the {text} alone counted"
        yield Candidate(edit, whole, (step,), step.inputs[0], step.outputs[0], rank=1)


def _padded(places: Places, at: int, step: Step) -> Iterator[Candidate]:
    """Give what comes back through a padding that is cut off on one side alone."""
    config, shape = step.equation.params["padding_config"], places.program.shapes[step.inputs[0]]
    if step.inputs[0] not in places.way.moving or any(inner or low < 0 for low, _, inner in config):
        return
    both = [axis for axis, (low, high, _) in enumerate(config) if low and high]
    for axes, text in itertools.product(subsets(both), ("end", "start")):
        starts = [
            (low + high) * (text == "start") if axis in axes else low
            for axis, (low, high, _) in enumerate(config)
        ]
        cut = tuple(slice(k, k + size) for k, size in zip(starts, shape, strict=True))
        edit = Edit({(at, 0): lambda sent, cut=cut: sent[cut]}, {})
        whole = f"the padding cut off at the {text} alone along {spoken_axes(axes)} on the way back"
        yield Candidate(edit, whole, (step,), step.inputs[0], step.outputs[0], rank=1)


class _Cut(NamedTuple):
    """A window: what it was cut out of, by which step, and what was made of it."""

    whole: int
    step: Step
    moves: tuple[Step, ...]

    @property
    def starts(self) -> tuple[int, ...]:
        """Where it begins, by axis."""
        return self.step.equation.params["start_indices"]

    def at(self, values: Values, starts: Sequence[int]) -> Gradient:
        """Give the window that begins elsewhere."""
        shape = self.step.equation.outvars[0].aval.shape
        index = tuple(slice(a, a + size) for a, size in zip(starts, shape, strict=True))
        window = np.asarray(values[self.whole])[index]
        for step in self.moves:
            moved = jaxprs.move(step.equation, window)
            assert moved is not None
            window = moved
        return window


def _cut(places: Places, number: int) -> _Cut | None:
    """Read a value as a window that was cut out of another; None where it is none."""
    moves: list[Step] = []
    while number in places.way.made:
        step = places.program.steps[places.way.made[number]]
        if step.name == "slice":
            return _Cut(step.inputs[0], step, tuple(moves))
        if len(step.inputs) != 1 or step.name not in ("squeeze", "reshape", "transpose"):
            return None
        moves.insert(0, step)
        (number,) = step.inputs
    return None


def _unstrided(places: Places) -> Iterator[Candidate]:
    """Give the gradients formed with windows as they were without a stride."""
    for uses in places.products():
        cuts = [_cut(places, places.program.steps[at].inputs[1 - side]) for at, side in uses]
        if None in cuts:
            continue
        starts = np.array([cut.starts for cut in cuts if cut])
        strides = np.gcd.reduce(starts, axis=0)
        strides = np.where((strides > 1) & (np.ptp(starts, axis=0) > 0), strides, 1)
        if strides.max() == 1:
            continue
        changes = {
            use: places.other_factor(
                use, cut.at(places.values, (np.array(cut.starts) // strides).tolist())
            )
            for use, cut in zip(uses, cuts, strict=True)
            if cut
        }
        (at, side), *_ = uses
        step = places.program.steps[at]
        text = "the windows taken one by one on the way back, the stride left out"
        yield Candidate(Edit(changes, {}), text, (step,), step.inputs[side], step.outputs[0])


def of_overlaps(places: Places) -> Iterator[Candidate]:
    """Give windows that overlap, of each number of which one alone is kept."""
    for uses in itertools.chain.from_iterable(map(places.repeated, places.uses.values())):
        step = places.program.steps[uses[0][0]]
        if step.name != "slice" or len(uses) < 2:
            continue
        maxima = {tuple(_to_maximum(places, use)[-1:]) for use in uses}
        for largest in (False, True) if () not in maxima else (False,):
            windows = {use: _window(places, use, largest) for use in uses}
            of = "of the largest entries of windows" if largest else "of windows"
            # Where one maximum is taken of slices, each is an entry of every window, and those
            # further on are of windows that come earlier.
            onward = -1 if largest and len(maxima) == 1 else 1
            for text, order in (("last", uses[::-onward]), ("first", uses[::onward])):
                taken = np.zeros(places.program.shapes[step.inputs[0]], bool)
                changes: dict[Use, Back] = {}
                for use in order:
                    changes[use] = _masked(places, use, windows[use] & ~taken)
                    taken |= windows[use]
                whole = f"{of} that overlap the {text} alone counted, not all added up"
                ends = step.inputs[0], step.outputs[0]
                yield Candidate(Edit(changes, {}), whole, (step,), *ends, rank=1)


def of_strides(places: Places) -> Iterator[Candidate]:
    """Give windows that overlap, sent back to as if they were as large as their stride."""
    for uses in itertools.chain.from_iterable(map(places.repeated, places.uses.values())):
        step = places.program.steps[uses[0][0]]
        if step.name != "slice" or len(uses) < 2:
            continue
        shape = places.program.shapes[step.inputs[0]]
        bounds = np.array([_bounds(places.program.steps[at], shape) for at, _ in uses])
        sizes = np.ptp(bounds[0], axis=0) + 1
        strides = np.gcd.reduce(bounds[:, 0] - bounds[0, 0], axis=0)
        small = np.where(strides > 0, np.minimum(strides, sizes), sizes)
        if (small == sizes).all():
            continue
        changes: dict[Use, Back] = {}
        for use, (starts, _) in zip(uses, bounds, strict=True):
            share = np.zeros(shape)
            cut = tuple(slice(a, a + size) for a, size in zip(starts, small, strict=True))
            share[cut] = np.prod(sizes / small)
            changes[use] = _masked(places, use, share)
        text = "windows that overlap sent back to as if they were as large as their stride"
        yield Candidate(Edit(changes, {}), text, (step,), step.inputs[0], step.outputs[0], rank=1)


def _window(places: Places, use: Use, largest: bool) -> np.ndarray:
    """Tell which entries a window is of, or those that the maximum taken of it sends back to.

    Args:
        use: the step that cuts it out. largest: whether a maximum is looked for.
    """
    path = (_to_maximum(places, use) if largest else []) or [use]
    last = places.program.steps[path[-1][0]]
    sent = np.ones(places.program.shapes[last.outputs[0]])
    for each in reversed(path):
        sent = places.back(each, sent)
    return sent != 0


def _to_maximum(places: Places, use: Use) -> list[Use]:
    """Give the uses from one to the maximum that alone comes of it; none where none does."""
    path, steps = [use], places.program.steps
    while steps[path[-1][0]].name != "reduce_max":
        uses = places.uses.get(steps[path[-1][0]].outputs[0], [])
        if len(uses) != 1:
            return []
        path += uses
    return path


def of_running(places: Places) -> Iterator[Candidate]:
    """Give maxima of windows of which those alone count that are at an end of their window.

    A running maximum is one of windows that begin at each place and go to the end, or the other
    way around.
    """
    steps = places.program.steps
    for value, uses in places.uses.items():
        taken = [use for use in uses if 0 < len(_to_maximum(places, use)) <= 2]
        cuts = [steps[at] for at, _ in taken if steps[at].name == "slice"]
        if len(cuts) < 2:
            continue
        shape = places.program.shapes[value]
        bounds = np.array([_bounds(steps[at], shape) for at, _ in taken])
        axes = np.flatnonzero(np.ptp(bounds, axis=0).any(axis=0))
        largest = [_window(places, use, largest=True) for use in taken]
        for side, text in enumerate(("first", "last")):
            changes: dict[Use, Back] = {}
            for use, own, ends in zip(taken, largest, bounds[:, side], strict=True):
                place = [int(ends[k]) if k in axes else slice(None) for k in range(len(shape))]
                mask = np.zeros(shape, bool)
                mask[tuple(place)] = own[tuple(place)]
                changes[use] = _masked(places, use, mask)
            whole = f"the largest entry of each window counted only where it is the {text}"
            yield Candidate(Edit(changes, {}), whole, (cuts[0],), value, cuts[0].outputs[0], rank=1)


def _bounds(step: Step, shape: Sequence[int]) -> tuple[Sequence[int], Sequence[int]]:
    """Give the first and the last place that a window has of each axis."""
    params = step.equation.params
    starts, limits = (
        params.get("start_indices", [0] * len(shape)),
        params.get("limit_indices", shape),
    )
    return starts, [limit - 1 for limit in limits]


def _masked(places: Places, use: Use, mask: np.ndarray) -> Back:
    return lambda sent: places.back(use, sent) * mask

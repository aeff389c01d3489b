"""Mistakes on the way back through what a network does to whole arrays.

Windows of a convolution, pooling, normalisation, and the axes of a parameter's gradient.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxnet.audit.mistakes.places import Candidate, Places, spoken_axes, subsets
from jaxnet.audit.mistakes.reverse import Back, Edit, Gradient
from jaxnet.audit.programs import Step

# Operations that give an array whose axes are positions.
_POSITIONS = (
    *("concatenate", "conv_general_dilated", "reduce_max"),
    *("reduce_window_max", "scatter", "stack"),
)
# Axes of positions of which some are left out together.
_MOST_AXES = 4
_TOGETHER = 2
# How near two arrays must be that are one.
_NEAR = 1e-9
# Windows that are looked at one by one.
_MOST_WINDOWS = 256
# Epsilon is at most this share of a variance.
_SMALL = 0.2


def of_arrays(places: Places) -> Iterator[Candidate]:
    """Give the mistakes."""
    for segments in places.spans():
        yield from _normalised(places, segments)
        yield from _softmaxes(places, segments)
        yield from _log_softmaxes(places, segments)
    for at, step in enumerate(places.program.steps):
        if step.name == "reduce_max":
            yield from _pooled(places, at, step)
        if step.name == "conv_general_dilated":
            yield from _strided(places, at, step)
            yield from _overlapping(places, at, step)
    yield from _windows(places)
    for leaf in range(len(places.names)):
        yield from _turned(places, leaf)
    yield from _spread(places)
    yield from _masked(places)


# Normalisation.


Scaled = Literal["before", "after", "between"]
_SCALED: tuple[Scaled, ...] = ("before", "after", "between")


class _Normal(NamedTuple):
    """A normalisation n = scale (z - mean), scale^-2 = share variance + epsilon.

    Attributes:
        axes: along which means are taken. centred: z less its mean. exact: scale without epsilon.
    """

    axes: tuple[int, ...]
    centred: Gradient
    scale: Gradient
    exact: Gradient
    share: float

    def back(
        self,
        mean: float = 1.0,
        variance: float = 1.0,
        exact: bool = False,
    ) -> Back:
        """Send back with so many times the terms through mean and variance.

        Args:
            mean, variance: how many times. exact: whether epsilon is left out.
        """
        scale = self.exact if exact else self.scale
        n = self.centred * scale

        def sent(given: Gradient) -> Gradient:
            first, second = (each.mean(self.axes, keepdims=True) for each in (given, given * n))
            return scale * (given - mean * first - variance * self.share * n * second)

        return sent

    def along(self, axes: tuple[int, ...], scaled: Scaled, as_counted: bool) -> Back:
        """Send back with sums over other axes.

        Args:
            scaled: when what is summed is multiplied by the scale: before, after, each of the two
                factors of the variance by itself.
            as_counted: whether they are divided by the count of their axes, not of the right ones.
        """
        shape, scale = self.centred.shape, self.scale
        count = math.prod(shape[axis] for axis in (axes if as_counted else self.axes))
        inside = {"before": (1, 3), "after": (0, 0), "between": (0, 1)}[scaled]

        def sent(given: Gradient) -> Gradient:
            terms = given, given * self.centred
            mean, variance = (
                (term * scale**power).sum(axes, keepdims=True) / count * scale ** (whole - power)
                for term, power, whole in zip(terms, inside, (1, 3), strict=True)
            )
            return scale * given - mean - self.share * self.centred * variance

        return sent


def _normal(z: Gradient, n: Gradient) -> _Normal | None:
    """Read one array as the normalised other, if it is."""
    for axes in subsets(list(range(z.ndim))):
        count = math.prod(z.shape[axis] for axis in axes)
        centred = z - z.mean(axes, keepdims=True)
        variance = (centred**2).mean(axes, keepdims=True)
        if count < 2 or not (variance > 0).all():
            continue
        scale = (centred * n).mean(axes, keepdims=True) / variance
        if np.abs(n - scale * centred).max() > _NEAR * np.abs(n).max():
            continue
        for share in (1.0, count / (count - 1)):
            epsilon = 1 / scale**2 - share * variance
            if np.ptp(epsilon) <= _NEAR and -_NEAR <= epsilon.max() < _SMALL * variance.max():
                exact = 1 / np.sqrt(share * variance)
                return _Normal(axes, centred, np.asarray(scale), exact, share)
    return None


def _normalised(places: Places, segments: list[tuple[int, int]]) -> Iterator[Candidate]:
    """Give the ways to leave out or get wrong a part of the derivative of a normalisation."""
    read = [_normal(places.values[start], places.values[end]) for start, end in segments]
    normals = [each for each in read if each]
    if len(normals) < len(segments):
        return
    axes, ndim = normals[0].axes, normals[0].centred.ndim
    count = normals[0].centred.size / normals[0].scale.size
    more = count / (count - 1)
    means = {
        "the term through the mean left out": 0.0,
        "the sign of the term through the mean flipped": -1.0,
        "the term through the mean not divided by the count": count,
    }
    variances = {
        "the term through the variance left out": 0.0,
        "the sign of the term through the variance flipped": -1.0,
        "the term through the variance halved": 0.5,
        "the term through the variance doubled": 2.0,
        "the term through the variance not divided by the count": count,
        "the count less one in place of the count in the variance": more,
        "the count in place of the count less one in the variance": 1 / more,
    }
    both = itertools.product(means.items(), variances.items())
    ways = [
        *((text, [each.back(mean=share) for each in normals]) for text, share in means.items()),
        *((text, [each.back(1.0, share) for each in normals]) for text, share in variances.items()),
        *(
            (f"{a}, {b}", [each.back(one, other) for each in normals])
            for (a, one), (b, other) in both
        ),
        ("the count less one in place of the count", [each.back(more, more) for each in normals]),
        ("epsilon left out", [each.back(exact=True) for each in normals]),
    ]
    for other in subsets(list(range(ndim))):
        if other != axes:
            text = f"sums taken over {spoken_axes(other)}, not {spoken_axes(axes)}"
            for way in itertools.product(_SCALED, (False, True)):
                ways.append((text, [each.along(other, *way) for each in normals]))
    start, end = segments[0]
    steps = tuple(places.program.between(start, end)[0])
    for what, backs in ways:
        jumps = {pair[1]: (pair[0], back) for pair, back in zip(segments, backs, strict=True)}
        text = f"the normalisation sent back with {what}"
        yield Candidate(Edit({}, jumps), text, steps, start, end, rank=-1)


def softmax_axes(places: Places, segment: tuple[int, int]) -> tuple[int, ...]:
    """Give the axes that a softmax of several examples has its sum over; none of what is none."""
    p = places.values[segment[1]]
    names = {step.name for step in places.program.between(*segment)[0]}
    if not names & {"div", "custom_jvp_call"} or p.ndim < 2 or not (p > 0).all():
        return ()
    every = subsets(list(range(p.ndim)))
    return next((axes for axes in every if np.abs(p.sum(axes) - 1).max() < _NEAR), ())


def _softmaxes(places: Places, segments: list[tuple[int, int]]) -> Iterator[Candidate]:
    """Give the derivative of a softmax with its sum over another axis."""
    start, end = segments[0]
    own = softmax_axes(places, segments[0])
    steps = tuple(places.program.between(start, end)[0]) if own else ()
    for axes in subsets(list(range(places.values[end].ndim))) if own else ():

        def back(pair: tuple[int, int], axes: tuple[int, ...] = axes) -> Back:
            p = places.values[pair[1]]
            return lambda sent: p * (sent - (p * sent).sum(axes, keepdims=True))

        jumps = {pair[1]: (pair[0], back(pair)) for pair in segments}
        over = "the derivative of {name} with its sum over "
        text = f"{over}{spoken_axes(axes)}, where the loss has it over {spoken_axes(own)}"
        if axes != own:
            yield Candidate(Edit({}, jumps), text, steps, start, end)


_LOG_SOFTMAX: dict[str, Callable[[Gradient, Gradient, Gradient], Gradient]] = {
    "p added, not taken off times the sum of what comes back": lambda sent, p, _: sent + p,
    "p taken off as it is, not times the sum of what comes back": lambda sent, p, _: sent - p,
    "p times the sum of what comes back added, not taken off": lambda sent, p, sums: (
        sent + p * sums
    ),
    "its diagonal 1 - p alone": lambda sent, p, _: sent * (1 - p),
}


def _log_softmaxes(places: Places, segments: list[tuple[int, int]]) -> Iterator[Candidate]:
    """Give the wrong derivatives of the logarithm of a softmax p."""
    start, end = segments[0]
    z, logs = places.values[start], places.values[end]
    p = np.exp(np.minimum(logs, 0))
    shifts = logs - z
    axes = next(
        (
            each
            for each in subsets(list(range(z.ndim)))
            if np.abs(p.sum(each) - 1).max() < _NEAR and np.ptp(shifts, each).max() < _NEAR
        ),
        None,
    )
    if axes is None or math.prod(z.shape[axis] for axis in axes) < 2:
        return
    steps = tuple(places.program.between(start, end)[0])
    for what, form in _LOG_SOFTMAX.items():

        def back(pair: tuple[int, int], form: Any = form) -> Back:
            p = np.exp(places.values[pair[1]])
            return lambda sent: form(sent, p, sent.sum(axes, keepdims=True))

        jumps = {pair[1]: (pair[0], back(pair)) for pair in segments}
        text = f"the derivative of the log-softmax with {what}"
        yield Candidate(Edit({}, jumps), text, steps, start, end)


# Pooling, and convolutions in one operation.


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
    if step.inputs[0] not in places.way.moving or math.prod(counts) > _MOST_WINDOWS:
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


# Windows cut out one by one.


def _windows(places: Places) -> Iterator[Candidate]:
    """Give the gradients formed with windows as they were without a stride."""
    for uses in places.products():
        cuts = [places.cut(places.program.steps[at].inputs[1 - side]) for at, side in uses]
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


# Gradients of parameters turned, and summed over an axis.


def _turned(places: Places, leaf: int) -> Iterator[Candidate]:
    number, name = places.program.params[leaf], places.names[leaf]
    shape = places.program.shapes[number]
    long = [axis for axis, size in enumerate(shape) if size > 1]
    ways: dict[str, Back] = {}
    if len(shape) != 2 or places.is_kernel(leaf):
        for axes in subsets(long):
            ways[f"flipped along {spoken_axes(axes)}"] = lambda sent, axes=axes: np.flip(sent, axes)
    for one, other in itertools.combinations(long, 2):
        if shape[one] == shape[other]:
            text = f"with {spoken_axes((one, other))} swapped"
            ways[text] = lambda sent, one=one, other=other: np.swapaxes(sent, one, other)
    for axis in long if len(long) > 1 else ():
        text = f"summed over its {spoken_axes((axis,))} as well"
        ways[text] = lambda sent, axis=axis: np.broadcast_to(sent.sum(axis, keepdims=True), shape)
    for text, way in ways.items():
        edit = Edit({}, {number: (number, way)})
        whole = f"the gradient of {name} {text}"
        yield Candidate(edit, whole, (), number, number, leaf=leaf)


# Positions left out.

# Which of the positions along an axis are counted, in words.
_KEPT = (
    ("the first position alone counted", slice(0, 1)),
    ("the last position alone counted", slice(-1, None)),
    ("the last position not counted", slice(0, -1)),
    ("the first position not counted", slice(1, None)),
)


def _mask(shape: tuple[int, ...], axes: tuple[int, ...], index: slice) -> Gradient:
    mask = np.zeros(shape)
    mask[tuple(index if axis in axes else slice(None) for axis in range(len(shape)))] = 1.0
    return mask


def _spread(places: Places) -> Iterator[Candidate]:
    """Give the gradients of biases of which some positions alone are taken, or the mean."""
    for uses, spread in places.spread():
        (at, side), *_ = uses
        step = places.program.steps[at]
        shape = places.program.shapes[step.outputs[0]]
        name = places.names[places.views[step.inputs[side]].leaf]
        for axes in subsets(list(spread)):
            count = math.prod(shape[axis] for axis in axes)
            shares = {f"averaged, not summed, over {spoken_axes(axes)}": np.full(shape, 1 / count)}
            shares |= {
                f"with {text} along {spoken_axes(axes)}": _mask(shape, axes, index)
                for text, index in _KEPT
            }
            for text, share in shares.items():
                changes = {use: places.shared(use, share) for use in uses}
                whole = f"the gradient of {name} {text}"
                yield Candidate(Edit(changes, {}), whole, (step,), step.inputs[side], -1, rank=1)


def _masked(places: Places) -> Iterator[Candidate]:
    """Give the gradients of which some positions alone are sent back, or all but some."""
    for number in places.assembled(_POSITIONS):
        shape = places.program.shapes[number]
        long = [axis for axis, size in enumerate(shape) if size > 1][-_MOST_AXES:]
        step = places.program.steps[places.way.made[number]]
        for axes in subsets(long):
            for text, index in _KEPT if len(axes) <= _TOGETHER else ():
                mask = _mask(shape, axes, index)
                edit = Edit({}, {number: (number, lambda sent, mask=mask: sent * mask)})
                whole = f"{text} along {spoken_axes(axes)} of what {{name}} gives"
                yield Candidate(edit, whole, (step,), number, number, rank=1)
                for leaf in places.met_before(number):
                    own = f"{whole}, in the gradient of {places.names[leaf]} alone"
                    yield Candidate(edit, own, (step,), number, number, rank=2, leaf=leaf)

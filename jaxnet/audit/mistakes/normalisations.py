"""Wrong derivatives of what is done to a whole array: normalisation, softmax and its logarithm."""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxnet.audit.mistakes.places import Candidate, Places, Segment, spoken_axes, subsets
from jaxnet.audit.mistakes.reverse import Back, Edit, Gradient

# How near two arrays must be that are one.
_NEAR = 1e-9
# Epsilon is at most this share of a variance.
_SMALL = 0.2

Scaled = Literal["before", "after", "between"]
_SCALED: tuple[Scaled, ...] = ("before", "after", "between")


def of_normalisations(places: Places) -> Iterator[Candidate]:
    """Give the mistakes."""
    for segments in places.spans():
        yield from _normalised(places, segments)
        yield from _softmaxes(places, segments)
        yield from _log_softmaxes(places, segments)


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

    def back(self, mean: float = 1.0, variance: float = 1.0, exact: bool = False) -> Back:
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
    for axes in subsets(range(z.ndim)):
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


def _normalised(places: Places, segments: list[Segment]) -> Iterator[Candidate]:
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
    for other in subsets(range(ndim)):
        if other != axes:
            text = f"sums taken over {spoken_axes(other)}, not {spoken_axes(axes)}"
            for way in itertools.product(_SCALED, (False, True)):
                ways.append((text, [each.along(other, *way) for each in normals]))
    for what, backs in ways:
        text = f"the normalisation sent back with {what}"
        yield _instead(places, segments, text, backs, rank=-1)


def softmax_axes(places: Places, segment: Segment) -> tuple[int, ...]:
    """Give the axes that a softmax has its sum over; none of what is none."""
    p = places.values[segment[1]]
    names = {step.name for step in places.steps(segment)}
    if not names & {"div", "custom_jvp_call"} or not p.ndim or not (p > 0).all():
        return ()
    every = subsets(range(p.ndim))
    return next((axes for axes in every if np.abs(p.sum(axes) - 1).max() < _NEAR), ())


Total = Callable[[Gradient], Gradient]
"""The sum over the axes of a softmax, which stay."""

# What is made of g, that comes back, for p (g - total(g p)).
_SOFTMAX: dict[str, Callable[[Gradient, Gradient, Total], Gradient]] = {
    "without the factor p": lambda g, p, total: g - total(g * p),
    "with its cross terms added, not taken off": lambda g, p, total: p * (g + total(g * p)),
    "with the cross terms alone": lambda g, p, total: -p * total(g * p),
    "with the sum of what comes back, not of that times p": lambda g, p, total: p * (g - total(g)),
}


def _softmaxes(places: Places, segments: list[Segment]) -> Iterator[Candidate]:
    """Give the wrong derivatives of a softmax p, such as with the sum over another axis."""
    own = softmax_axes(places, segments[0])
    if not own or math.prod(places.values[segments[0][1]].shape[axis] for axis in own) < 2:
        return
    forms = {}
    for axes in subsets(range(places.values[segments[0][1]].ndim)):
        text = f"with its sum over {spoken_axes(axes)}, where the loss has it over "
        if axes != own:
            forms[text + spoken_axes(own)] = _right, axes
    forms |= {text: (form, own) for text, form in _SOFTMAX.items()}
    for text, (form, axes) in forms.items():
        backs = [_formed(form, places.values[end], axes) for _, end in segments]
        yield _instead(places, segments, f"the derivative of {{name}} {text}", backs)


def _right(g: Gradient, p: Gradient, total: Total) -> Gradient:
    return p * (g - total(g * p))


def _formed(form: Any, given: Gradient, axes: tuple[int, ...]) -> Back:
    """Send back by a form of what comes back, what was given, and sums over axes."""
    return lambda sent: form(sent, given, lambda array: array.sum(axes, keepdims=True))


def _instead(
    places: Places, segments: list[Segment], text: str, backs: list[Back], rank: int = 0
) -> Candidate:
    """Have something else sent back through segments."""
    pairs = zip(segments, backs, strict=True)
    edit = Edit({}, {end: (start, back) for (start, end), back in pairs})
    return Candidate(edit, text, places.steps(segments[0]), *segments[0], rank=rank)


# What is made of g for g - p total(g), of the logarithms that a softmax gives.
_LOG_SOFTMAX: dict[str, Callable[[Gradient, Gradient, Total], Gradient]] = {
    "p added, not taken off times the sum of what comes back": lambda g, logs, _: g + np.exp(logs),
    "p taken off as it is, not times the sum of what comes back": lambda g, logs, _: (
        g - np.exp(logs)
    ),
    "p times the sum of what comes back added, not taken off": lambda g, logs, total: (
        g + np.exp(logs) * total(g)
    ),
    "its diagonal 1 - p alone": lambda g, logs, _: g * (1 - np.exp(logs)),
    "the sum of what comes back taken off, not p times it": lambda g, _, total: g - total(g),
    "the sum of what comes back times what it gives taken off": lambda g, logs, total: (
        g - total(g * logs)
    ),
    "the derivative of the softmax itself": lambda g, logs, total: _right(g, np.exp(logs), total),
}


def _log_softmaxes(places: Places, segments: list[Segment]) -> Iterator[Candidate]:
    """Give the wrong derivatives of the logarithm of a softmax p."""
    z, logs = (places.values[each] for each in segments[0])
    p = np.exp(np.minimum(logs, 0))
    shifts = logs - z
    axes = next(
        (
            each
            for each in subsets(range(z.ndim))
            if np.abs(p.sum(each) - 1).max() < _NEAR and np.ptp(shifts, each).max() < _NEAR
        ),
        None,
    )
    if axes is None or math.prod(z.shape[axis] for axis in axes) < 2:
        return
    for what, form in _LOG_SOFTMAX.items():
        backs = [_formed(form, places.values[end], axes) for _, end in segments]
        text = f"the derivative of the log-softmax with {what}"
        yield _instead(places, segments, text, backs)

"""Wrong derivatives of segments of a program: what is done entry by entry, or to a whole array."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxnet.audit.chain import applied, slope_of
from jaxnet.audit.mistakes.places import (
    Candidate,
    Places,
    Segment,
    Use,
    as_it_came,
    nothing,
    shifted,
    some_of,
)
from jaxnet.audit.mistakes.reverse import Back, Edit, Gradient
from jaxnet.audit.programs import Step, run

_ACTIVATIONS = frozenset(["tanh", "logistic", "custom_jvp_call", "max", "select_n", "erf", "sin"])
_SLOPES: dict[str, Callable[..., Gradient]] = {
    "the derivative of {name} taken as h (1 - h), h what it gives": lambda _, h: h * (1 - h),
    "the derivative of {name} taken as 1 - h^2, h what it gives": lambda _, h: 1 - h**2,
    "the derivative of {name} taken as h, what it gives": lambda _, h: h,
    "the derivative of {name} taken as z, what it is of": lambda z, _: z,
    "the derivative of {name} taken as 1 / cosh(h), h what it gives": lambda _, h: 1 / np.cosh(h),
    "the derivative of {name} taken as 1 / cosh(z), z what it is of": lambda z, _: 1 / np.cosh(z),
    "the derivative of {name} taken as 1 where z > 0, z what it is of": lambda z, _: 1.0 * (z > 0),
    "the derivative of {name} taken as z (1 - z), z what it is of": lambda z, _: z * (1 - z),
    "the derivative of {name} taken as 1 - z^2, z what it is of": lambda z, _: 1 - z**2,
}


def is_activation(steps: Sequence[Step]) -> bool:
    """Tell an activation, for whose derivative another may be taken; of parts, such as 1 / e^z."""
    first, last = steps[0].name, steps[-1].name
    names = {step.name for step in steps}
    if len(steps) == 1:
        return first in _ACTIVATIONS
    return "exp" in names and first not in ("mul", "div") and last in ("div", "integer_pow")


class _Span(NamedTuple):
    """What is one segment in every repetition of a loop.

    Attributes:
        places: of the program. segments: the repetitions. steps: the operations of the first.
    """

    places: Places
    segments: list[Segment]
    steps: tuple[Step, ...]

    @property
    def is_activation(self) -> bool:
        """Whether it is one."""
        return is_activation(self.steps)

    @property
    def sums(self) -> bool:
        """Whether it takes entries together."""
        return any(step.name.startswith("reduce_") for step in self.steps)

    def candidate(self, text: str, backs: dict[Segment, Back], when: str = "") -> Candidate:
        """Have something else sent back through segments."""
        edit = Edit({}, {end: (start, back) for (start, end), back in backs.items()})
        if len(self.steps) == 1:
            edit = Edit({self._use(pair): back for pair, back in backs.items()}, {})
        rank = len(self.steps) // 4 + bool(when)
        return Candidate(edit, text, self.steps, *self.segments[0], when=when, rank=rank)

    def _use(self, segment: Segment) -> Use:
        """Give where a segment of one step uses its start."""
        at = self.places.way.made[segment[1]]
        return at, self.places.program.steps[at].inputs.index(segment[0])

    def slope(self, segment: Segment, point: Gradient) -> Gradient:
        """Give the derivative of a segment at a point, entry by entry."""
        return slope_of(self.function(segment), point)

    def function(self, segment: Segment) -> Callable[[Any], Any]:
        """Give a segment as a function of its start."""
        start, end = segment
        steps = self.places.steps(segment)
        return lambda array: run(steps, {**self.places.values, start: array})[end]


def of_segments(places: Places) -> Iterator[Candidate]:
    """Give the mistakes."""
    for segments in places.spans():
        span = _Span(places, segments, places.steps(segments[0]))
        yield from _left_out(span)
        if span.sums:
            text = "what {name} takes together treated as a constant"
            yield Candidate(_as_constants(span), text, span.steps, *segments[0])
        if span.is_activation:
            yield from _wrong_slopes(span)


def _left_out(span: _Span) -> Iterator[Candidate]:
    """Give the derivative left out, and all of the way back through an activation."""
    every, is_single = some_of(span.segments), len(span.steps) == 1
    text = _scaling(span) or "the derivative of {name} left out"
    for when, some in every if span.is_activation or is_single else every[:1]:
        yield span.candidate(text, dict.fromkeys(some, as_it_came), when)
    # Of a chain of steps, to leave a repetition out at one is to leave it out at all.
    for when, some in every[1:] if span.is_activation else ():
        text = "the way back through {name} left out"
        yield span.candidate(text, dict.fromkeys(some, np.zeros_like), when)


def _scaling(span: _Span) -> str:
    """Say that a step is left out, where it multiplies or divides all entries by one number."""
    (step, *more), moving = span.steps, span.places.way.moving
    number = next((span.places.values[k] for k in step.inputs if k not in moving), None)
    if more or step.name not in ("mul", "div") or number is None or np.ptp(number):
        return ""
    what = "the factor" if step.name == "mul" else "the division by"
    return f"{what} {number.flat[0]:.4g} left out on the way back"


def _as_constants(span: _Span) -> Edit:
    """Cut where segments take entries together."""
    steps = (step for segment in span.segments for step in span.places.steps(segment))
    sums = (step for step in steps if step.name.startswith("reduce_"))
    return Edit({(span.places.way.made[step.outputs[0]], 0): nothing for step in sums}, {})


def _wrong_slopes(span: _Span) -> Iterator[Candidate]:
    """Give what may be taken for an activation's derivative."""

    def times(text: str, factors: Iterable[Any]) -> Candidate:
        backs = {pair: _times(each) for pair, each in zip(span.segments, factors, strict=True)}
        return span.candidate(text, backs)

    values = span.places.values
    for text, slope in _SLOPES.items():
        yield times(text, (slope(values[a], values[b]) for a, b in span.segments))
    again = [applied(span.function(pair), values[pair[1]]) for pair in span.segments]
    if span.sums:
        text = "the derivative of {name} taken as q (1 - q), q the {name} of what it gives"
        yield times(text, (each * (1 - each) for each in again))
        return
    slopes = [span.slope(pair, values[pair[0]]) for pair in span.segments]
    at_outputs = (span.slope(pair, values[pair[1]]) for pair in span.segments)
    yield times("the derivative of {name} taken at its output, not its input", at_outputs)
    yield times("{name} of what it gives in place of its derivative", again)
    yield times("the derivative of {name} taken twice", (slope**2 for slope in slopes))
    if len(slopes) > 1:
        # Before the first step a state is of zeros.
        none = [span.slope(span.segments[0], 0.0 * values[span.segments[0][1]])] * len(slopes)
        for shift, of in ((-1, "before"), (1, "after")):
            text = f"the derivative of {{name}} taken at the step {of}"
            yield times(text, shifted(slopes, shift, none))


def _times(factor: Any) -> Back:
    return lambda sent: sent * factor

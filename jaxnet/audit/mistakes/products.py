"""Products of two arrays that are sent back through with the wrong factor, or none."""

import itertools
from collections.abc import Iterator

import numpy as np

from jaxnet.audit.mistakes.places import (
    FEW,
    Candidate,
    Places,
    Use,
    as_it_came,
    misread,
    shifted,
    spoken_axes,
    subsets,
)
from jaxnet.audit.mistakes.reverse import Back, Edit, Gradient
from jaxnet.audit.mistakes.spoken import spoken
from jaxnet.audit.programs import Step

# So many other arrays are taken for a factor at most.
_OTHERS = 12
# What a product with the state of the step before is formed with, by how many steps further on.
_OF_STEP = {
    0: "that of its own step, not of the step before",
    1: "that of the step after it, not of the step before",
    -1: "that of the step before",
}


def of_products(places: Places) -> Iterator[Candidate]:
    """Give the mistakes with a factor that is left out, turned or another parameter's."""
    for uses in places.products():
        step, side = places.program.steps[uses[0][0]], uses[0][1]
        for text, changes in _wrong_factors(places, uses, step, side):
            edit = Edit(changes, {})
            yield Candidate(edit, text, (step,), step.inputs[side], step.outputs[0], rank=1)
    yield from _unweighted(places)


def _wrong_factors(
    places: Places, uses: list[Use], step: Step, side: int
) -> Iterator[tuple[str, dict[Use, Back]]]:
    """Give what may be sent back through a product of two values, in words."""
    shapes, start, meets = places.program.shapes, step.inputs[side], step.inputs[1 - side]
    given = shapes[step.outputs[0]]
    if meets in places.way.moving and shapes[start] == given:
        yield "the other factor of {name} left out", dict.fromkeys(uses, as_it_came)
    if step.name == "dot_general" and _is_square(given):
        text = "what comes back through {name} transposed first"
        yield text, {use: _turned_first(places, use) for use in uses}
    view = places.views.get(meets)
    if view is None and step.name == "dot_general" and _is_square(shapes[meets]):
        text = "sent back through the other factor of {name} transposed"
        yield text, {use: places.other_factor(use, _turned(_met(places, use))) for use in uses}
    if view is None or start in places.views:
        return
    met = [places.views.get(places.program.steps[at].inputs[1 - side]) for at, side in uses]
    for text, whole in _other_weights(places, view.leaf, step).items() if all(met) else ():
        parts = (whole.ravel()[each.places] for each in met if each)
        pairs = zip(uses, parts, strict=True)
        yield text, {use: places.other_factor(use, part) for use, part in pairs}


def _met(places: Places, use: Use) -> Gradient:
    """Give the other factor of a product."""
    return places.values[places.program.steps[use[0]].inputs[1 - use[1]]]


def _turned(array: Gradient) -> Gradient:
    return np.swapaxes(array, -1, -2)


def _turned_first(places: Places, use: Use) -> Back:
    return lambda sent: places.back(use, _turned(sent))


def _is_square(shape: tuple[int, ...]) -> bool:
    return len(shape) > 1 and shape[-1] == shape[-2] > 1


def _unweighted(places: Places) -> Iterator[Candidate]:
    """Give what comes back where numbers are multiplied by parameters, without all of these."""
    shapes = places.program.shapes
    uses = [
        (at, side)
        for at, side in places.sides()
        if (step := places.program.steps[at]).name == "mul"
        if step.inputs[1 - side] in places.views and step.inputs[side] not in places.views
        if shapes[step.inputs[side]] == shapes[step.outputs[0]]
    ]
    if len(places.repeated(uses)) > 1:
        text = "the parameters that values are multiplied by left out on the way back"
        yield Candidate(Edit(dict.fromkeys(uses, as_it_came), {}), text, (), -1, -1, rank=1)


def _other_weights(places: Places, leaf: int, step: Step) -> dict[str, Gradient]:
    """Give what may be taken for a parameter on the way back, in words."""
    own, name = places.values[places.program.params[leaf]], places.names[leaf]
    others = {}
    for one, other in itertools.combinations(range(own.ndim), 2):
        if own.shape[one] == own.shape[other]:
            axes = f", axes {one} and {other}" if own.ndim > 2 else ""
            others[f"sent back through the transposed {name}{axes}"] = np.swapaxes(own, one, other)
    if own.ndim > 2 or step.name != "dot_general":
        for axes in subsets([axis for axis, size in enumerate(own.shape) if size > 1]):
            text = f"sent back through {name} flipped along {spoken_axes(axes)}"
            others[text] = np.flip(own, axes)
    for text, other in misread(own):
        if not any(np.array_equal(other, each) for each in others.values()):
            others[f"sent back through {name} {text}"] = other
    for number, theirs in zip(places.program.params, places.names, strict=True):
        if theirs != name and places.program.shapes[number] == own.shape:
            others[f"sent back through {theirs} in place of {name}"] = places.values[number]
    return others


def of_other_factors(places: Places) -> Iterator[Candidate]:
    """Give the gradients of parameters formed with another value than the one that they met."""
    for uses in places.products():
        step, side = places.program.steps[uses[0][0]], uses[0][1]
        meets = [places.program.steps[at].inputs[1 - side] for at, side in uses]
        view = places.views.get(step.inputs[side])
        name = f"the gradient of {places.names[view.leaf]}" if view else "what {name} sends back"
        for text, others in _instead(places, uses, meets, view is not None):
            changes = {use: places.other_factor(use, other) for use, other in others.items()}
            ends = step.inputs[side], step.outputs[0]
            whole = f"{name} formed with {text}"
            yield Candidate(Edit(changes, {}), whole, (step,), *ends, rank=2)


def _instead(
    places: Places, uses: list[Use], meets: list[int], with_any: bool
) -> Iterator[tuple[str, dict[Use, Gradient]]]:
    """Give what may be taken for the values that a parameter meets, in words."""
    n = len(uses)
    for group in _near(places, uses, meets, with_any):
        for shift in (0,) if n == 1 else (0, -1, 1):
            others = shifted(group, shift, meets)
            named = _value(places, group[0])
            if n > 1 and all(a == b for a, b in zip(group[:-1], meets[1:], strict=True)):
                named = _OF_STEP[shift]
            elif shift:
                named += f" of the step {'after' if shift > 0 else 'before'}"
            arrays = [places.values[other] for other in others]
            if shift < 0:
                first, last = arrays[0], places.values[group[-1]]
                for what, end in (("zeros", np.zeros_like(first)), ("the last", last)):
                    if not np.array_equal(end, first):
                        changed = dict(zip(uses, [end, *arrays[1:]], strict=True))
                        yield f"{named}, {what} at the first step", changed
            if others != meets:
                every = dict(zip(uses, arrays, strict=True))
                yield f"{named}{'' if n > 1 else ' in place of what it meets'}", every
                for k, use in enumerate(uses) if 1 < n <= FEW and not shift else ():
                    yield f"{named}, in step {k + 1} of {n} alone", {use: arrays[k]}


def _near(
    places: Places, uses: list[Use], meets: list[int], with_any: bool
) -> list[tuple[int, ...]]:
    """Give the values of the shape of what a parameter meets, those made closest to it first.

    Args:
        places, uses, meets: what is asked. with_any: whether it need not be met elsewhere.
    """
    n, shape = len(uses), places.program.shapes[meets[0]]

    def is_like(group: tuple[int, ...]) -> bool:
        first, known = group[0], (places.program.constants, places.views)
        alike = len(group) == n and places.program.shapes[first] == shape
        moves = places.values[first].dtype.kind == "f" and not any(first in each for each in known)
        return alike and moves and (with_any or (n > 1 and bool(set(group) & set(meets))))

    def far(group: tuple[int, ...]) -> tuple[bool, int]:
        made = places.way.made.get(group[0], -1)
        return not set(group) & set(meets), abs(made - uses[0][0])

    groups = {tuple(places.alike.get(each, [each])) for each in places.values}
    return sorted(filter(is_like, groups), key=far)[:_OTHERS]


def _value(places: Places, number: int) -> str:
    """Name a value by what it is made by."""
    if number in places.program.batch:
        return "the batch"
    return f"what {spoken(places.program.steps[places.way.made[number]])} gives"

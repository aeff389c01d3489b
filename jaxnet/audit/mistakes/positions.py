"""Gradients whose entries are out of place, and positions of an array that are not counted."""

import itertools
import math
from collections.abc import Iterator

import numpy as np

from jaxnet.audit.mistakes.places import Candidate, Places, Use, misread, spoken_axes, subsets
from jaxnet.audit.mistakes.reverse import ENTRYWISE, Back, Edit, Gradient

# Operations that give an array whose axes are positions.
_POSITIONS = (
    *("concatenate", "conv_general_dilated", "reduce_max"),
    *("reduce_window_max", "scatter", "stack"),
)
# Axes of positions of which some are left out together.
_MOST_AXES = 4
_TOGETHER = 2
# Which of the positions along an axis are counted, in words.
_KEPT = (
    ("the first position alone counted", slice(0, 1)),
    ("the last position alone counted", slice(-1, None)),
    ("the last position not counted", slice(0, -1)),
    ("the first position not counted", slice(1, None)),
)


def of_positions(places: Places) -> Iterator[Candidate]:
    """Give the mistakes."""
    for leaf in range(len(places.names)):
        yield from _turned(places, leaf)
    yield from _spread(places)
    yield from _masked(places)


def _turned(places: Places, leaf: int) -> Iterator[Candidate]:
    number, name = places.program.params[leaf], places.names[leaf]
    shape = places.program.shapes[number]
    long = [axis for axis, size in enumerate(shape) if size > 1]
    ways: dict[str, Back] = {}
    if len(shape) != 2 or _is_kernel(places, leaf):
        for axes in subsets(long):
            ways[f"flipped along {spoken_axes(axes)}"] = lambda sent, axes=axes: np.flip(sent, axes)
    for one, other in itertools.combinations(long, 2):
        if shape[one] == shape[other]:
            text = f"with {spoken_axes((one, other))} swapped"
            ways[text] = lambda sent, one=one, other=other: np.swapaxes(sent, one, other)
    for text, order in misread(np.arange(math.prod(shape)).reshape(shape)):
        ways[text] = lambda sent, order=order: sent.ravel()[order]
    for axis in long if len(long) > 1 else ():
        text = f"summed over its {spoken_axes((axis,))} as well"
        ways[text] = lambda sent, axis=axis: np.broadcast_to(sent.sum(axis, keepdims=True), shape)
    for text, way in ways.items():
        edit = Edit({}, {number: (number, way)})
        whole = f"the gradient of {name} {text}"
        yield Candidate(edit, whole, (), number, number, leaf=leaf)


def _is_kernel(places: Places, leaf: int) -> bool:
    """Tell whether a parameter meets what it is no matrix product with."""
    return any(
        step.name in ("mul", "conv_general_dilated")
        and any(each in places.views and places.views[each].leaf == leaf for each in step.inputs)
        for step in places.program.steps
    )


def _mask(shape: tuple[int, ...], axes: tuple[int, ...], index: slice) -> Gradient:
    mask = np.zeros(shape)
    mask[tuple(index if axis in axes else slice(None) for axis in range(len(shape)))] = 1.0
    return mask


def _spread(places: Places) -> Iterator[Candidate]:
    """Give the gradients of biases of which some positions alone are taken, or the mean."""
    for uses, spread in _spread_uses(places):
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


def _spread_uses(places: Places) -> Iterator[tuple[list[Use], tuple[int, ...]]]:
    """Give where parameters are spread along further axes of an array, and along which."""
    shapes = places.program.shapes
    for number in sorted(places.views):
        for uses in places.repeated(places.uses.get(number, [])):
            step = places.program.steps[uses[0][0]]
            own, whole = (shapes[k] for k in (number, step.outputs[0]))
            if step.name == "broadcast_in_dim":
                kept = dict(zip(step.equation.params["broadcast_dimensions"], own, strict=True))
                own = tuple(kept.get(axis, 1) for axis in range(len(whole)))
            axes = [axis for axis, size in enumerate(whole) if own[axis : axis + 1] != (size,)]
            entrywise = step.name in ENTRYWISE or step.name in ("add", "sub")
            if axes and (step.name == "broadcast_in_dim" or (entrywise and own)):
                yield uses, tuple(axes)


def _masked(places: Places) -> Iterator[Candidate]:
    """Give the gradients of which some positions alone are sent back, or all but some."""
    for number in _assembled(places):
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


def _assembled(places: Places) -> Iterator[int]:
    """Give the values whose axes are positions, and products of several axes."""
    for number in sorted(places.way.moving & places.way.made.keys()):
        step = places.program.steps[places.way.made[number]]
        after = {places.program.steps[at].site for at, _ in places.uses.get(number, [])}
        several = step.name == "dot_general" and len(places.program.shapes[number]) > 2
        whole = step.site not in after and places.values[number].size > 1
        if whole and (step.name in _POSITIONS or several) and number not in places.views:
            yield number

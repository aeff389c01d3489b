"""Places on the way back through a program where a mistake may be made, and what stands there.

Steps written in one line of a loop are one place, got wrong in all repetitions or in some.
"""

import itertools
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from jaxnet._guards import jaxprs
from jaxnet.audit.mistakes.reverse import ENTRYWISE, Back, Edit, Gradient, Reverse
from jaxnet.audit.programs import Step

# So many parts at most make up one whose derivative is left out as a whole, as that of a softmax.
_LONGEST = 4
# Of so many repetitions each is got wrong alone; of more the first and the last.
FEW = 6
# Those of a kernel of three dimensions; more axes have too many orders to try.
_AXES = 5

Use = tuple[int, int]
"""A step, and which of its inputs."""
Segment = tuple[int, int]
"""From one value to another, through which alone the way back to the first leads."""
_Place = TypeVar("_Place")


class Candidate(NamedTuple):
    """A mistake that a claim may have been made with.

    Attributes:
        edit: it, carried out.
        text: in words, with {name} for the operation.
        steps: the operations that it is made in.
        start, end: the values that they are between.
        when: the repetitions of a loop that it is made in, in words.
        rank: how far-fetched it is.
        leaf: whose gradient alone is wrong; None where all are that come of it.
        beside: another mistake that is made as well.
    """

    edit: Edit
    text: str
    steps: tuple[Step, ...]
    start: int
    end: int
    when: str = ""
    rank: int = 0
    leaf: int | None = None
    beside: "Candidate | None" = None

    def with_another(self, other: "Candidate") -> "Candidate":
        """Give both mistakes together."""
        both = together([other.edit, self.edit])
        return self._replace(edit=both, rank=self.rank + other.rank, beside=other)


class Places:
    """Finds them.

    Attributes:
        way: back through the program. program: it. values: that it computes.
        names: of the parameters.
        uses: by number, where a value is used on the way back.
        views: the values that are parameters, or entries of one.
        alike: by number, the values made in the same place of a loop, in order.
    """

    def __init__(self, way: Reverse, names: Sequence[str]) -> None:
        """Take the way back, and the names of the parameters."""
        self.way, self.program, self.values, self.names = way, way.program, way.values, names
        self.uses: dict[int, list[Use]] = {}
        for at, step in enumerate(self.program.steps):
            for side, each in enumerate(step.inputs):
                if each in way.moving and any(given in way.moving for given in step.outputs):
                    self.uses.setdefault(each, []).append((at, side))
        self.views = self.program.views()
        made = (number for number in way.moving if number in way.made)
        groups = grouped(made, lambda each: (self._site(each), self.program.shapes[each]))
        self.alike = {each: sorted(group) for group in groups for each in group}
        self._met: dict[int, list[int]] = {}

    def repeated(self, uses: Iterable[Use]) -> list[list[Use]]:
        """Take together the uses that are one in a loop, repeated."""
        return grouped(uses, self.used_at)

    def used_at(self, use: Use) -> Hashable:
        """Tell where in the user's code a value is used."""
        step = self.program.steps[use[0]]
        return step.site, use[1], *(self.program.shapes[each] for each in step.inputs)

    def _site(self, value: int) -> Hashable:
        """Tell where in the user's code a value is made."""
        if value not in self.way.made:
            return value
        step = self.program.steps[self.way.made[value]]
        return step.site, step.outputs.index(value)

    def met_before(self, number: int) -> list[int]:
        """Give the parameters that a value is made with, after whatever others it comes of."""
        if number not in self._met:
            met, needed = set(), {number}
            for step in reversed(self.program.steps[: self.way.made.get(number, -1) + 1]):
                if needed & set(step.outputs):
                    leaves = {self.views[each].leaf for each in step.inputs if each in self.views}
                    met |= leaves
                    # A bias is added to what comes of a weight.
                    needed |= set() if leaves and step.name != "add" else set(step.inputs)
            self._met[number] = sorted(met)
        return self._met[number]

    # What may be sent back at a use.

    def back(self, use: Use, sent: Gradient | float) -> Gradient:
        """Send a gradient back as it should be."""
        return np.asarray(self.way.pull(*use, [np.asarray(sent)[None]])[0])

    def shared(self, use: Use, share: Gradient | float) -> Back:
        """Send back so much of what comes back."""
        return lambda sent: self.back(use, sent * share)

    def other_factor(self, use: Use, other: Gradient) -> Back:
        """Send back through a product with another factor."""
        at, side = use
        return lambda sent: self.way.other(at, side, {1 - side: other}, [sent[None]])[0]

    # Products of two arrays.

    def products(self) -> list[list[Use]]:
        """Give the sides of products that the way back leads through."""
        return self.repeated(self.sides())

    def sides(self) -> Iterator[Use]:
        """Give them one by one."""
        for at, step in enumerate(self.program.steps):
            if step.name in ("mul", "dot_general", "conv_general_dilated"):
                for side, each in enumerate(step.inputs):
                    if each in self.way.moving and step.inputs[0] != step.inputs[1]:
                        yield at, side

    # Segments.

    def steps(self, segment: Segment) -> tuple[Step, ...]:
        """Give the operations of a segment."""
        return tuple(self.program.between(*segment)[0])

    def spans(self) -> Iterator[list[Segment]]:
        """Give segments, and what up to so many make up; in a loop its repetitions together."""
        runs = [*self._entrywise(), *self._runs()]
        for length in range(1, _LONGEST + 1):
            spans = {(run[0][0], run[length - 1][1]) for run in runs if len(run) >= length}
            yield from grouped(sorted(spans), self._spanned)

    def _spanned(self, segment: Segment) -> Hashable:
        # Gates may be written once for all of them.
        met = self.met_before(segment[0])
        return *map(self._site, segment), self.program.shapes[segment[0]], *met

    def _entrywise(self) -> Iterator[list[Segment]]:
        """Give the steps that work on each entry of one value, wherever else it is used."""
        shapes = self.program.shapes
        for step in self.program.steps:
            moving = [each for each in step.inputs if each in self.way.moving]
            if len(moving) == 1 and len(step.outputs) == 1 and step.name in ENTRYWISE:
                start, end = moving[0], step.outputs[0]
                if start not in self.views and shapes[start] == shapes[end]:
                    yield [(start, end)]

    def _runs(self) -> Iterator[list[Segment]]:
        """Give runs of segments that follow on each other, from values to others of their shape."""
        ends: dict[int, int] = {}
        for segments in grouped(sorted(self._following().items()), self._spanned):
            (start, end), *_ = segments
            _, beside = self.program.between(start, end)
            if not beside & self.way.moving and not self._only_moves(start, end):
                ends |= dict(segments)
        for start in ends:
            chain = [start]
            while len(chain) <= _LONGEST and chain[-1] in ends:
                chain.append(ends[chain[-1]])
            yield list(itertools.pairwise(chain))

    def _following(self) -> dict[int, int]:
        """Give by value the next one of its shape that all of the way back to it leads through."""
        after: dict[int, int | None] = {self.program.loss: None}
        order = {each: k for k, each in enumerate(self.program.shapes)}
        following: dict[int, int] = {}
        for value in sorted(self.uses, key=lambda each: -self.way.made.get(each, -1)):
            met = {
                each
                for at, _ in self.uses[value]
                for each in self.program.steps[at].outputs
                if each in after
            }
            after[value] = _meeting(met, after, order)
            end = after[value]
            while end is not None and self.program.shapes[end] != self.program.shapes[value]:
                end = after[end]
            if end is not None and value not in self.views:
                following[value] = end
        return following

    def _only_moves(self, start: int, end: int) -> bool:
        step = self.program.steps[self.way.made[end]]
        if jaxprs.move(step.equation, self.values[step.inputs[0]]) is None:
            return False
        return step.inputs[0] == start or self._only_moves(start, step.inputs[0])


def _meeting(values: set[int], after: dict[int, int | None], order: dict[int, int]) -> int | None:
    """Give the first value that all ways from these to the loss lead through."""
    left: set[int | None] = {*values}
    while len(left) > 1 and None not in left:
        first = min(left, key=lambda each: order[each] if each is not None else 0)
        left = (left - {first}) | {after[first] if first is not None else None}
    return left.pop() if len(left) == 1 else None


def grouped(places: Iterable[_Place], key: Callable[[_Place], Hashable]) -> list[list[_Place]]:
    """Take together what has the same key, in order."""
    groups: dict[Hashable, list[_Place]] = {}
    for place in places:
        groups.setdefault(key(place), []).append(place)
    return list(groups.values())


def together(edits: Iterable[Edit]) -> Edit:
    """Give all edits at once; of two of one place the last."""
    both = Edit({}, {})
    for each in edits:
        both.changes.update(each.changes)
        both.jumps.update(each.jumps)
    return both


def some_of(group: list[_Place]) -> list[tuple[str, list[_Place]]]:
    """Give all repetitions and some, and which in words."""
    n = len(group)
    some = [("", group)]
    if n > 1:
        some.append((f", in the last of {n} repetitions alone", group[-1:]))
        some.append((f", in the first of {n} repetitions alone", group[:1]))
    if n > 2:
        some.append((f", in all of {n} repetitions but the last", group[:-1]))
        some.append((f", in all of {n} repetitions but the first", group[1:]))
    if n <= FEW:
        some += [(f", in repetition {k + 1} of {n} alone", [group[k]]) for k in range(1, n - 1)]
    return some


def shifted(group: Sequence[_Place], shift: int, ends: Sequence[_Place]) -> list[_Place]:
    """Give of each repetition the one so many further on, or at the ends another."""
    last = len(group) - 1
    return [group[k + shift] if 0 <= k + shift <= last else ends[k] for k in range(len(group))]


def as_it_came(sent: Gradient) -> Gradient:
    """Send back what came, through no derivative."""
    return sent


def nothing(_: Gradient) -> Gradient:
    """Send nothing back."""
    return np.zeros(())


def subsets(axes: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Give some of the axes, and all."""
    for length in range(1, len(axes) + 1):
        yield from itertools.combinations(axes, length)


def spoken_axes(axes: tuple[int, ...]) -> str:
    """Name axes by their numbers."""
    return f"ax{'i' if len(axes) == 1 else 'e'}s {' and '.join(map(str, axes))}"


def misread(array: Gradient) -> Iterator[tuple[str, Gradient]]:
    """Give an array of the same shape with its entries by another order of its axes, in words."""
    shape, known = array.shape, [array]
    for order in itertools.permutations(range(array.ndim)) if array.ndim <= _AXES else ():
        others = {
            "laid out": array.transpose(order).reshape(shape),
            "read": array.reshape([shape[axis] for axis in order]).transpose(np.argsort(order)),
        }
        for how, other in others.items():
            if not any(np.array_equal(other, each) for each in known):
                known.append(other)
                yield f"{how} as if its axes came in the order {order}", other

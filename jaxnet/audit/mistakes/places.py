"""Where the way back through a program may go wrong, and how: in steps, splits, loops, products.

Steps written in one line of a loop are one place, got wrong in all repetitions or in some.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxnet._guards import jaxprs
from jaxnet.audit.chain import applied, slope_of
from jaxnet.audit.mistakes.reverse import ENTRYWISE, Back, Edit, Gradient, Reverse
from jaxnet.audit.programs import Step, Values, run

SPOKEN = {
    "logistic": "sigmoid",
    "integer_pow": "the power",
    "mul": "the product",
    "div": "the quotient",
    "add": "the sum",
    "add_any": "the sum",
    "sub": "the difference",
    "dot_general": "the matrix product",
    "reduce_sum": "the sum over an axis",
    "reduce_max": "the maximum",
    "max": "the maximum",
    "conv_general_dilated": "the convolution",
    "logaddexp": "softplus",
}
# So many parts at most make up one whose derivative is left out as a whole, as that of a softmax.
_LONGEST = 4
# Of so many repetitions each is got wrong alone; of more the first and the last.
_FEW = 6
# So many other arrays are taken for a factor at most.
_OTHERS = 12

Use = tuple[int, int]
"""A step, and which of its inputs."""
Segment = tuple[int, int]
"""From one value to another, through which alone the way back to the first leads."""


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
        changes = {**other.edit.changes, **self.edit.changes}
        edit = Edit(changes, {**other.edit.jumps, **self.edit.jumps})
        return self._replace(edit=edit, rank=self.rank + other.rank, beside=other)


class Cut(NamedTuple):
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


class Places:
    """Finds them.

    Attributes:
        way: back through the program. program: it. values: that it computes.
        uses: by number, where a value is used on the way back.
        views: the values that are parameters, or entries of one.
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
        by_site: dict[tuple[Any, ...], list[int]] = {}
        for number in way.moving:
            if number in way.made:
                by_site.setdefault((self.site(number), self.program.shapes[number]), []).append(
                    number
                )
        self._met: dict[int, list[int]] = {}
        self.alike = {each: sorted(group) for group in by_site.values() for each in group}

    def site(self, value: int) -> Any:
        """Tell where a value is made."""
        if value not in self.way.made:
            return value
        step = self.program.steps[self.way.made[value]]
        return step.site, step.outputs.index(value)

    def candidates(self) -> Iterator[Candidate]:
        """Give the mistakes, each in one place and then in all that are alike."""
        alike: dict[Any, list[Candidate]] = {}
        for each in self._each():
            # What a loop gives on to its next step is one, whatever is made of it there.
            names = () if each.text == _BACK_IN_TIME else tuple(step.name for step in each.steps)
            alike.setdefault((each.text, each.when, names), []).append(each)
            yield each
        for same in alike.values():
            if len(same) > 1:
                changes = {k: v for each in same for k, v in each.edit.changes.items()}
                jumps = {k: v for each in same for k, v in each.edit.jumps.items()}
                edit = Edit(changes, jumps)
                when = same[0].when + ", wherever it is used"
                yield same[0]._replace(edit=edit, when=when, rank=same[0].rank + 1)

    def _each(self) -> Iterator[Candidate]:
        for segments in self.spans():
            yield from self._derivatives(segments)
        yield from self._paths()
        yield from self._counts()
        for uses in self.products():
            yield from self._factors(uses)
        yield from self._unweighted()
        yield from self._assigned()
        drawn = ((at, 0) for at, step in enumerate(self.program.steps) if self._draws(step))
        for at, _ in drawn:
            yield self._drawn_once(at)

    # Derivatives of what is done entry by entry, or by parts of an array.

    def _derivatives(self, segments: list[Segment]) -> Iterator[Candidate]:
        start, end = segments[0]
        steps = tuple(self.program.between(start, end)[0])
        names = {step.name for step in steps}
        sums = any(name.startswith("reduce_") for name in names)

        def candidate(
            text: str, back: Callable[[Segment], Back], some: list[Segment], when: str
        ) -> Candidate:
            edit = Edit({}, {end: (start, back((start, end))) for start, end in some})
            if len(steps) == 1:
                edit = Edit({self._use(pair): back(pair) for pair in some}, {})
            rank = len(steps) // 4 + bool(when)
            return Candidate(edit, text, steps, start, end, when, rank)

        alone = is_activation(steps)
        left_out = self._scaling(steps) or "the derivative of {name} left out"
        for when, some in _some(segments)[: None if alone or len(steps) == 1 else 1]:
            yield candidate(left_out, lambda _: _same, some, when)
        if len(segments) > 1 and alone:
            # Of a chain of steps, to leave a repetition out at one is to leave it out at all.
            for when, some in _some(segments)[1:]:
                text = "the way back through {name} left out"
                yield candidate(text, lambda _: np.zeros_like, some, when)
        if sums:
            constants = self._constants(segments)
            text = "what {name} takes together treated as a constant"
            yield Candidate(Edit(constants, {}), text, steps, start, end)
        if not alone:
            return
        for text, slope in _SLOPES.items():

            def times(pair: Segment, slope: Any = slope) -> Back:
                factor = slope(*(self.values[each] for each in pair))
                return lambda sent: sent * factor

            yield candidate(text, times, segments, "")
        if sums:
            return
        slopes = {pair: self._slope(pair, pair[0]) for pair in segments}
        at_output = {pair: self._slope(pair, pair[1]) for pair in segments}
        text = "the derivative of {name} taken at its output, not its input"
        yield candidate(text, lambda pair: _times(at_output[pair]), segments, "")
        again = {pair: applied(self._function(pair), self.values[pair[1]]) for pair in segments}
        text = "{name} of what it gives in place of its derivative"
        yield candidate(text, lambda pair: _times(again[pair]), segments, "")
        text = "the derivative of {name} taken twice"
        yield candidate(text, lambda pair: _times(slopes[pair] ** 2), segments, "")
        for shift, of in ((-1, "before"), (1, "after")) if len(segments) > 1 else ():
            text = f"the derivative of {{name}} taken at the step {of}"
            every = [slopes[pair] for pair in segments]
            # Before the first step a state is of zeros.
            none = [self._slope(segments[0], None)] * len(segments)
            others = dict(zip(segments, _shifted(every, shift, none), strict=True))
            yield candidate(text, lambda pair, others=others: _times(others[pair]), segments, "")

    def _scaling(self, steps: Sequence[Step]) -> str:
        """Say that a step is left out, where it multiplies or divides all entries by one number."""
        (step, *more) = steps
        number = next((self.values[k] for k in step.inputs if k not in self.way.moving), None)
        if more or step.name not in ("mul", "div") or number is None or np.ptp(number):
            return ""
        what = "the factor" if step.name == "mul" else "the division by"
        return f"{what} {number.flat[0]:.4g} left out on the way back"

    def _use(self, segment: Segment) -> Use:
        """Give where a segment of one step uses its start."""
        at = self.way.made[segment[1]]
        return at, self.program.steps[at].inputs.index(segment[0])

    def _slope(self, segment: Segment, at: int | None) -> Gradient:
        """Give the derivative of a segment, entry by entry, at some value, or at zero."""
        array = 0.0 * self.values[segment[1]] if at is None else self.values[at]
        return slope_of(self._function(segment), array)

    def _function(self, segment: Segment) -> Callable[[Any], Any]:
        """Give a segment as a function of its start."""
        start, end = segment
        steps, _ = self.program.between(start, end)
        return lambda array: run(steps, {**self.values, start: array})[end]

    def _constants(self, segments: list[Segment]) -> dict[Use, Back]:
        """Cut where segments take entries together."""
        cuts: dict[Use, Back] = {}
        for start, end in segments:
            for step in self.program.between(start, end)[0]:
                if step.name.startswith("reduce_"):
                    cuts[self.way.made[step.outputs[0]], 0] = _none
        return cuts

    def spans(self) -> Iterator[list[Segment]]:
        """Give segments, and what up to so many make up; in a loop its repetitions together."""
        runs = [*self._entrywise(), *self._segments()]
        for length in range(1, _LONGEST + 1):
            spans = {(run[0][0], run[length - 1][1]) for run in runs if len(run) >= length}
            yield from self._grouped(sorted(spans), self._spanned)

    def _entrywise(self) -> Iterator[list[Segment]]:
        """Give the steps that work on each entry of one value, wherever else it is used."""
        for step in self.program.steps:
            moving = [each for each in step.inputs if each in self.way.moving]
            if len(moving) == 1 and len(step.outputs) == 1 and step.name in ENTRYWISE:
                start, end = moving[0], step.outputs[0]
                if (
                    start not in self.views
                    and self.program.shapes[start] == (self.program.shapes[end])
                ):
                    yield [(start, end)]

    def _segments(self) -> Iterator[list[Segment]]:
        """Give runs of segments that follow on each other, from values to others of their shape."""
        following = self._following()
        ends: dict[int, int] = {}
        for segments in self._grouped(sorted(following.items()), self._spanned):
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

    # Paths that split, meet, and lead from one repetition of a loop to the next.

    def _paths(self) -> Iterator[Candidate]:
        for uses in self._grouped(self._split(), self._used_at):
            for when, some in _some(uses):
                yield self._cut("the path through {name} left out", some, when)
            twice = self._cut("the path through {name} counted twice", uses, "")
            changes = {(at, side): self.shared((at, side), 2.0) for at, side in uses}
            yield twice._replace(edit=Edit(changes, {}), rank=2)
        for uses in self._carried():
            for when, some in _some(uses):
                yield self._cut(_BACK_IN_TIME, some, when)._replace(rank=int(bool(when)))

    def _cut(self, text: str, uses: list[Use], when: str) -> Candidate:
        (at, side), *_ = uses
        step = self.program.steps[at]
        ends = step.inputs[side], step.outputs[0]
        edit = Edit(dict.fromkeys(uses, _none), {})
        return Candidate(edit, text, (step,), *ends, when, 1 + bool(when))

    def _split(self) -> Iterator[Use]:
        """Give where paths split or meet."""
        for each, uses in self.uses.items():
            for at, side in uses:
                meeting = sum(other in self.way.moving for other in self.program.steps[at].inputs)
                if each in self.views:
                    continue
                if len(uses) > 1 or meeting > 1:
                    yield at, side

    def _carried(self) -> Iterator[list[Use]]:
        """Give where a loop uses what one repetition gives to the next, and its last to none."""
        for group in sorted({tuple(each) for each in self.alike.values() if len(each) > 1}):
            # What losses are added up to is no state.
            if not self.program.shapes[group[0]]:
                continue
            whole = [use for each in group[:-1] for use in self.uses.get(each, [])]
            last = {self._used_at(use) for use in self.uses.get(group[-1], [])}
            for uses in self._grouped(whole, self._used_at):
                if self._used_at(uses[0]) not in last and len(uses) == len(group) - 1:
                    yield uses

    # Parameters used several times, and copies.

    def _counts(self) -> Iterator[Candidate]:
        for number in self.program.params:
            for uses in self._grouped(self.uses.get(number, []), self._used_at):
                if len(uses) < 2:
                    continue
                name, n = "{start}", len(uses)
                texts = {
                    f"the last of {n} steps alone counted": uses[:-1],
                    f"the first of {n} steps alone counted": uses[1:],
                }
                if n > 2:
                    texts |= {
                        f"the last of {n} steps not counted": uses[-1:],
                        f"the first of {n} steps not counted": uses[:1],
                    }
                for text, some in texts.items():
                    cut = self._cut(f"{text} in the gradient of {name}", some, "")
                    yield cut._replace(rank=1)
        copied = ((at, 0) for at, step in enumerate(self.program.steps) if self._copies(step) > 1)
        for uses in self._grouped(copied, self._used_at):
            (at, _), *_ = uses
            step = self.program.steps[at]

            def share(use: Use) -> Back:
                count = self._copies(self.program.steps[use[0]])
                return lambda sent, use=use, count=count: (
                    self.way.pull(*use, [sent[None]])[0] / count
                )

            edit = Edit({use: share(use) for use in uses}, {})
            text = "averaged over copies whose gradients add up"
            yield Candidate(edit, text, (step,), step.inputs[0], step.outputs[0], rank=1)

    def routed(self) -> Iterator[Candidate]:
        """Give the gradients of a parameter by what it meets: of one use alone, or another's."""
        for leaf, number in enumerate(self.program.params):
            met: dict[tuple[int, ...], dict[Use, Back]] = {}
            for at, step in enumerate(self.program.steps):
                for side, each in enumerate(step.inputs):
                    view, others = self.views.get(each), [k for k in step.inputs if k != each]
                    if view and view.leaf == leaf and others and others[0] in self.way.made:
                        beside = tuple(self.met_before(others[0]))
                        met.setdefault(beside, {})[at, side] = _none
            if len(met) < 2:
                continue
            cuts = [{k: v for b in met if b != own for k, v in met[b].items()} for own in met]
            parts = self.way.gradients([Edit(each, {}) for each in cuts])[leaf][1:]
            for beside, part in zip(met, parts, strict=True):
                yield from self._as_of(leaf, number, beside, part)

    def _as_of(
        self, leaf: int, number: int, beside: tuple[int, ...], part: Gradient
    ) -> Iterator[Candidate]:
        """Give a part of a parameter's gradient as that of any of its shape."""
        where = " and ".join(self.names[each] for each in beside) or "what is no parameter's"
        for other, theirs in enumerate(self.program.params):
            if self.program.shapes[theirs] == self.program.shapes[number]:
                own = f"of the uses of {self.names[leaf]} that beside {where} alone counted"
                text = f"the gradient of {self.names[leaf]} beside {where}, as if the loss used "
                text = own if other == leaf else f"{text}{self.names[other]} there"
                edit = Edit({}, {theirs: (theirs, lambda _, part=part: part)})
                yield Candidate(edit, text, (), theirs, theirs, rank=1, leaf=other)

    def _copies(self, step: Step) -> int:
        if step.name != "broadcast_in_dim" or step.inputs[0] not in self.way.moving:
            return 1
        shapes = [self.program.shapes[each] for each in (step.outputs[0], step.inputs[0])]
        given, taken = (int(np.prod(shape)) for shape in shapes)
        return given // max(taken, 1)

    # Products.

    def products(self) -> list[list[Use]]:
        """Give the sides of products of two arrays that the way back leads through."""
        return self._grouped(self._sides(), self._used_at)

    def _sides(self) -> Iterator[Use]:
        for at, step in enumerate(self.program.steps):
            if step.name in ("mul", "dot_general", "conv_general_dilated"):
                for side, each in enumerate(step.inputs):
                    if each in self.way.moving and step.inputs[0] != step.inputs[1]:
                        yield at, side

    def _factors(self, uses: list[Use]) -> Iterator[Candidate]:
        """Give what may be sent back through a product of two values with another factor."""
        (at, side), *_ = uses
        step = self.program.steps[at]
        ends, shapes = (step.inputs[side], step.outputs[0]), self.program.shapes

        def candidate(text: str, changes: dict[Use, Back], rank: int = 1) -> Candidate:
            return Candidate(Edit(changes, {}), text, (step,), *ends, rank=rank)

        meets = step.inputs[1 - side]
        if meets in self.way.moving and shapes[ends[0]] == shapes[ends[1]]:
            yield candidate("the other factor of {name} left out", dict.fromkeys(uses, _same))
        if step.name == "dot_general" and _is_square(shapes[ends[1]]):
            turned = {use: self.turned(use) for use in uses}
            yield candidate("what comes back through {name} transposed first", turned)
        view = self.views.get(meets)
        if view is None and step.name == "dot_general" and _is_square(shapes[meets]):
            theirs = {
                use: np.swapaxes(self.values[self.program.steps[use[0]].inputs[1 - use[1]]], -1, -2)
                for use in uses
            }
            turned = {use: self.other_factor(use, other) for use, other in theirs.items()}
            yield candidate("sent back through the other factor of {name} transposed", turned)
        if view is None or ends[0] in self.views:
            return
        for text, whole in self._other_weights(view.leaf, step).items():

            def back(use: Use, whole: Gradient = whole) -> Back:
                entries = self.views[self.program.steps[use[0]].inputs[1 - use[1]]]
                return self.other_factor(use, whole.ravel()[entries.places])

            if all(self.program.steps[u].inputs[1 - s] in self.views for u, s in uses):
                yield candidate(text, {use: back(use) for use in uses})

    def _unweighted(self) -> Iterator[Candidate]:
        """Give what comes back where numbers are multiplied by parameters, without all of these."""
        uses = [
            (at, side)
            for at, side in self._sides()
            if (step := self.program.steps[at]).name == "mul"
            if step.inputs[1 - side] in self.views and step.inputs[side] not in self.views
            if self.program.shapes[step.inputs[side]] == self.program.shapes[step.outputs[0]]
        ]
        if len({self._used_at(use) for use in uses}) > 1:
            text = "the parameters that values are multiplied by left out on the way back"
            yield Candidate(Edit(dict.fromkeys(uses, _same), {}), text, (), -1, -1, rank=1)

    def _other_weights(self, leaf: int, step: Step) -> dict[str, Gradient]:
        """Give what may be taken for a parameter on the way back, in words."""
        own, name = self.values[self.program.params[leaf]], self.names[leaf]
        others = {}
        for one, other in itertools.combinations(range(own.ndim), 2):
            if own.shape[one] == own.shape[other]:
                axes = f", axes {one} and {other}" if own.ndim > 2 else ""
                text = f"sent back through the transposed {name}{axes}"
                others[text] = np.swapaxes(own, one, other)
        if own.ndim > 2 or step.name != "dot_general":
            for axes in subsets([axis for axis, size in enumerate(own.shape) if size > 1]):
                text = f"sent back through {name} flipped along {spoken_axes(axes)}"
                others[text] = np.flip(own, axes)
        for number, theirs in zip(self.program.params, self.names, strict=True):
            if theirs != name and self.program.shapes[number] == own.shape:
                others[f"sent back through {theirs} in place of {name}"] = self.values[number]
        return others

    def turned(self, use: Use) -> Back:
        """Send back through a product the transposed of what came back."""
        return lambda sent: self.way.pull(*use, [np.swapaxes(sent, -1, -2)[None]])[0]

    def other_factor(self, use: Use, other: Gradient) -> Back:
        """Send back through a product with another factor."""
        at, side = use
        return lambda sent: self.way.other(at, side, {1 - side: other}, [sent[None]])[0]

    def other_factors(self) -> Iterator[Candidate]:
        """Give the gradients of parameters formed with another value than the one that they met."""
        for uses in self.products():
            steps = [self.program.steps[at] for at, _ in uses]
            meets = [step.inputs[1 - side] for step, (_, side) in zip(steps, uses, strict=True)]
            ends = steps[0].inputs[uses[0][1]], steps[0].outputs[0]
            view = self.views.get(ends[0])
            name = f"the gradient of {self.names[view.leaf]}" if view else "what {name} sends back"
            for text, others in self._instead(uses, meets, view is not None):
                changes = {
                    use: self.other_factor(use, other)
                    for use, other in zip(uses, others, strict=True)
                    if other is not None
                }
                whole = f"{name} formed with {text}"
                yield Candidate(Edit(changes, {}), whole, tuple(steps[:1]), *ends, rank=2)

    def _instead(
        self, uses: list[Use], meets: list[int], with_any: bool
    ) -> Iterator[tuple[str, list[Gradient | None]]]:
        """Give what may be taken for the values that a parameter meets, in words."""
        n, shape = len(uses), self.program.shapes[meets[0]]
        groups = {tuple(self.alike.get(each, [each])) for each in self.values}
        near = sorted(
            (
                group
                for group in groups
                if len(group) == n
                and self.program.shapes[group[0]] == shape
                and self.values[group[0]].dtype.kind == "f"
                and group[0] not in self.program.constants
                and group[0] not in self.views
                and (with_any or (n > 1 and set(group) & set(meets)))
            ),
            key=lambda group: (
                not set(group) & set(meets),
                abs(self.way.made.get(group[0], -1) - uses[0][0]),
            ),
        )[:_OTHERS]
        for group in near:
            for shift in (0,) if n == 1 else (0, -1, 1):
                others = _shifted(list(group), shift, meets)
                named = self._value(group[0])
                if n > 1 and all(a == b for a, b in zip(group[:-1], meets[1:], strict=True)):
                    named = _OF_STEP[shift]
                elif shift:
                    named += f" of the step {'after' if shift > 0 else 'before'}"
                arrays = [self.values[other] for other in others]
                if shift < 0:
                    first, last = arrays[0], self.values[group[-1]]
                    for what, end in (("zeros", np.zeros_like(first)), ("the last", last)):
                        if not np.array_equal(end, first):
                            yield f"{named}, {what} at the first step", [end, *arrays[1:]]
                if named and others != meets:
                    yield f"{named}{'' if n > 1 else ' in place of what it meets'}", list(arrays)
                    for k in range(n) if 1 < n <= _FEW and not shift else ():
                        one = [arrays[k] if j == k else None for j in range(n)]
                        yield f"{named}, in step {k + 1} of {n} alone", one

    def _value(self, number: int) -> str:
        """Name a value by what it is made by."""
        if number in self.program.batch:
            return "the batch"
        made = jaxprs.spoken(self.program.steps[self.way.made[number]].equation)
        return f"what {SPOKEN.get(made, made)} gives"

    # Windows and positions.

    def cut(self, number: int) -> "Cut | None":
        """Read a value as a window that was cut out of another; None where it is none."""
        moves: list[Step] = []
        while number in self.way.made:
            step = self.program.steps[self.way.made[number]]
            if step.name == "slice":
                return Cut(step.inputs[0], step, tuple(moves))
            if len(step.inputs) != 1 or step.name not in ("squeeze", "reshape", "transpose"):
                return None
            moves.insert(0, step)
            (number,) = step.inputs
        return None

    def is_kernel(self, leaf: int) -> bool:
        """Tell whether a parameter meets what it is no matrix product with."""
        return any(
            step.name in ("mul", "conv_general_dilated")
            and any(each in self.views and self.views[each].leaf == leaf for each in step.inputs)
            for step in self.program.steps
        )

    def assembled(self, names: Sequence[str]) -> Iterator[int]:
        """Give the values made by operations of some names, and products of several axes."""
        for number in sorted(self.way.moving & self.way.made.keys()):
            step = self.program.steps[self.way.made[number]]
            after = {self.program.steps[at].site for at, _ in self.uses.get(number, [])}
            several = step.name == "dot_general" and len(self.program.shapes[number]) > 2
            whole = step.site not in after and self.values[number].size > 1
            if whole and (step.name in names or several) and number not in self.views:
                yield number

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

    def spread(self) -> Iterator[tuple[list[Use], tuple[int, ...]]]:
        """Give where parameters are spread along further axes of an array, and along which."""
        for number in sorted(self.views):
            for uses in self._grouped(self.uses.get(number, []), self._used_at):
                step = self.program.steps[uses[0][0]]
                own, whole = (self.program.shapes[k] for k in (number, step.outputs[0]))
                if step.name == "broadcast_in_dim":
                    kept = dict(zip(step.equation.params["broadcast_dimensions"], own, strict=True))
                    own = tuple(kept.get(axis, 1) for axis in range(len(whole)))
                axes = [axis for axis, size in enumerate(whole) if own[axis : axis + 1] != (size,)]
                entrywise = step.name in ENTRYWISE or step.name in ("add", "sub")
                if axes and (step.name == "broadcast_in_dim" or (entrywise and own)):
                    yield uses, tuple(axes)

    def _assigned(self) -> Iterator[Candidate]:
        """Give windows that overlap, of each number of which one alone is kept."""
        for uses in itertools.chain.from_iterable(
            self._grouped(each, self._used_at) for each in self.uses.values()
        ):
            step = self.program.steps[uses[0][0]]
            if step.name != "slice" or len(uses) < 2:
                continue
            ends = step.inputs[0], step.outputs[0]
            for largest in (False, True):
                windows = {use: self._window(use, largest) for use in uses}
                of = "of the largest entries of windows" if largest else "of windows"
                for text, order in (("last", uses[::-1]), ("first", uses)):
                    taken = np.zeros(self.program.shapes[step.inputs[0]], bool)
                    changes: dict[Use, Back] = {}
                    for use in order:
                        changes[use] = self._kept(use, windows[use] & ~taken)
                        taken |= windows[use]
                    whole = f"{of} that overlap the {text} alone counted, not all added up"
                    yield Candidate(Edit(changes, {}), whole, (step,), *ends, rank=1)

    def _window(self, use: Use, largest: bool) -> np.ndarray:
        """Tell which entries a window is of, or those that the maximum taken of it sends back to.

        Args:
            use: the step that cuts it out. largest: whether a maximum is looked for.
        """
        path = [use]
        while largest and self.program.steps[path[-1][0]].name != "reduce_max":
            uses = self.uses.get(self.program.steps[path[-1][0]].outputs[0], [])
            largest = len(uses) == 1
            path += uses if largest else []
        path = path if largest else [use]
        sent = np.ones((1, *self.program.shapes[self.program.steps[path[-1][0]].outputs[0]]))
        for at, side in reversed(path):
            sent = self.way.pull(at, side, [sent])
        return sent[0] != 0

    def shared(self, use: Use, share: Gradient | float) -> Back:
        """Send back through a step so much of what comes back."""
        return lambda sent: self.way.pull(*use, [(sent * share)[None]])[0]

    def _kept(self, use: Use, mask: Gradient) -> Back:
        return lambda sent: self.way.pull(*use, [sent[None]])[0] * mask

    # What is drawn from a table.

    def _draws(self, step: Step) -> bool:
        """Tell whether a step takes rows of an array, one for each number of a list."""
        if step.name != "gather" or step.inputs[0] not in self.way.moving:
            return False
        drawn, given = (self.program.shapes[each] for each in (step.inputs[1], step.outputs[0]))
        return drawn[-1:] == (1,) and given[: len(drawn) - 1] == drawn[:-1]

    def _drawn_once(self, at: int) -> Candidate:
        step = self.program.steps[at]
        rows = self.values[step.inputs[1]].ravel().tolist()
        last = {row: k for k, row in enumerate(rows)}
        kept = np.array([last[row] == k for k, row in enumerate(rows)])

        def once(sent: Gradient) -> Gradient:
            flat = sent.reshape(len(rows), -1) * kept[:, None]
            return self.way.pull(at, 0, [flat.reshape(1, *sent.shape)])[0]

        text = "what is drawn several times counted once"
        return Candidate(Edit({(at, 0): once}, {}), text, (step,), step.inputs[0], step.outputs[0])

    # Loops.

    def _grouped(self, places: Iterable[Any], key: Callable[[Any], Any]) -> list[list[Any]]:
        """Take together what is one operation of a loop, repeated."""
        groups: dict[Any, list[Any]] = {}
        for place in places:
            groups.setdefault(key(place), []).append(place)
        return list(groups.values())

    def _spanned(self, segment: Segment) -> tuple[Any, ...]:
        # Gates may be written once for all of them.
        met = self.met_before(segment[0])
        return *map(self.site, segment), self.program.shapes[segment[0]], *met

    def _used_at(self, use: Use) -> tuple[Any, ...]:
        step = self.program.steps[use[0]]
        return step.site, use[1], *(self.program.shapes[each] for each in step.inputs)


def _meeting(values: set[int], after: dict[int, int | None], order: dict[int, int]) -> int | None:
    """Give the first value that all ways from these to the loss lead through."""
    left: set[int | None] = {*values}
    while len(left) > 1 and None not in left:
        first = min(left, key=lambda each: order[each] if each is not None else 0)
        left = (left - {first}) | {after[first] if first is not None else None}
    return left.pop() if len(left) == 1 else None


# What a product with the state of the step before is formed with, by how many steps further on.
_OF_STEP = {
    0: "that of its own step, not of the step before",
    1: "that of the step after it, not of the step before",
    -1: "that of the step before",
}
_ACTIVATIONS = frozenset(["tanh", "logistic", "custom_jvp_call", "max", "select_n", "erf", "sin"])
_BACK_IN_TIME = "what comes back from the next step of the loop left out"
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


def _same(sent: Gradient) -> Gradient:
    return sent


def _none(_: Gradient) -> Gradient:
    return np.zeros(())


def _times(factor: Any) -> Back:
    return lambda sent: sent * factor


def _shifted(group: list[Any], shift: int, ends: list[Any]) -> list[Any]:
    """Give of each repetition the one so many further on, or at the ends another."""
    last = len(group) - 1
    return [group[k + shift] if 0 <= k + shift <= last else ends[k] for k in range(len(group))]


def _is_square(shape: tuple[int, ...]) -> bool:
    return len(shape) > 1 and shape[-1] == shape[-2] > 1


def subsets(axes: list[int]) -> Iterator[tuple[int, ...]]:
    """Give some of the axes, and all."""
    for length in range(1, len(axes) + 1):
        yield from itertools.combinations(axes, length)


def spoken_axes(axes: tuple[int, ...]) -> str:
    """Name axes by their numbers."""
    return f"ax{'i' if len(axes) == 1 else 'e'}s {' and '.join(map(str, axes))}"


def _some(group: list[Any]) -> list[tuple[str, list[Any]]]:
    """Give all repetitions and some, and which in words."""
    n = len(group)
    some = [("", group)]
    if n > 1:
        some.append((f", in the last of {n} repetitions alone", group[-1:]))
        some.append((f", in the first of {n} repetitions alone", group[:1]))
    if n > 2:
        some.append((f", in all of {n} repetitions but the last", group[:-1]))
        some.append((f", in all of {n} repetitions but the first", group[1:]))
    if n <= _FEW:
        some += [(f", in repetition {k + 1} of {n} alone", [group[k]]) for k in range(1, n - 1)]
    return some

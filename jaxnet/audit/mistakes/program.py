"""Mistakes on the way back through any program, made by differentiating it wrongly on purpose.

Of every place where a derivative is taken, paths split or copies are made, the gradient is formed
with that place got wrong; what is said is the operation and the parameter that it stands next to.
"""

import collections
import functools
import itertools
from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from jaxnet import losses
from jaxnet._guards import jaxprs
from jaxnet.audit.case import Case, Mistake, Tier
from jaxnet.audit.chain import Gradient
from jaxnet.audit.programs import Program, Step, Values, record, run

# So many places are got wrong at most, in programs of so many operations, and so many numbers of
# gradients formed.
_EDITS = 256
_STEPS = 1500
_NUMBERS = 2**22
# So many parts at most make up one whose derivative is left out as a whole, as that of a softmax.
_LONGEST = 4
# How far a claim may be off a mistake's gradient, relative to its norm, to count for it.
_NEAR = 1e-3

Kind = Literal[
    "straight", "output", "constants", "cut", "averaged", "transposed", "unscaled", "once"
]


class _Edit(NamedTuple):
    """One mistake on the way back.

    Attributes:
        kind: of the mistake.
        places: where it is made, in every repetition of a loop: (from, to) by the number of the
            values between which a derivative is taken, (step, input) for what goes into a step.
        everywhere: whether these are all places of the kind.
    """

    kind: Kind
    places: tuple[tuple[int, int], ...]
    everywhere: bool = False

    @property
    def of_segment(self) -> bool:
        """Whether the places are values."""
        return self.kind in ("straight", "output")


def in_program(case: Case) -> Tier:
    """Give the mistakes in the program that best explain the claim and leave right leaves right."""
    program = record(case.loss, case.params, case.batch)
    if len(program.steps) > _STEPS or not case.shapes_agree:
        return {}
    size = sum(true.size for true in case.true)
    most = min(_EDITS, _NUMBERS // size)
    edits = tuple(itertools.islice(_Reader(program).edits(), most))
    if not edits:
        return {}
    leaves = _gradients(case.loss, case.params, case.batch, edits)
    grads = [np.asarray(leaf, np.float64) for leaf in leaves]
    tier: Tier = {}
    for index in _best(case, grads):
        text = _Words(program, case).say(edits[index])
        for leaf in _changed(case, grads, index):
            tier.setdefault(leaf, []).append(Mistake(text, grads[leaf][index]))
    return tier


def _changed(case: Case, grads: list[Gradient], edit: int) -> set[int]:
    """Give the leaves that a mistake changes."""
    return {
        index
        for index, leaf in enumerate(case.leaves)
        if not np.linalg.norm(grads[index][edit] - leaf.true) <= leaf.rounding
    }


def _best(case: Case, grads: list[Gradient]) -> Iterator[int]:
    """Give the mistakes that explain the most wrong leaves, and then those left."""
    wrong = {i for i, leaf in enumerate(case.leaves) if not leaf.error <= leaf.rounding}
    explained = []
    for edit in range(len(grads[0])):
        changed = _changed(case, grads, edit)
        # What was got right was not sent through a place got wrong.
        near = {i for i in changed & wrong if _near(case.claimed[i], grads[i][edit])}
        explained.append(near if changed <= wrong else set())
    while any(explained):
        best = max(explained, key=len)
        yield explained.index(best)
        explained = [each - best for each in explained]


def _near(claimed: Gradient, gradient: Gradient) -> bool:
    """Whether a claim is a gradient, or so many times it."""
    norm = np.linalg.norm(gradient)
    if not 0 < norm < np.inf:
        return False
    rest = claimed - np.vdot(gradient, claimed) / norm**2 * gradient
    return bool(np.linalg.norm(rest) <= _NEAR * np.linalg.norm(claimed))


# The places.


class _Reader:
    """Finds the places where the way back through a program may go wrong."""

    def __init__(self, program: Program) -> None:
        self.program = program
        reach, params = program.reach(), frozenset(program.params)
        self.moving = {each for each, leaves in reach.items() if leaves & params}
        self.made = {each: at for at, step in enumerate(program.steps) for each in step.outputs}
        self.uses: dict[int, list[tuple[int, int]]] = {}
        for at, step in enumerate(program.steps):
            for side, each in enumerate(step.inputs):
                if each in self.moving and _is_real(step.equation.outvars[0]):
                    self.uses.setdefault(each, []).append((at, side))

    def edits(self) -> Iterator[_Edit]:
        """Give the mistakes, each in one place and then in all that are alike."""
        alike: dict[Any, list[_Edit]] = {}
        for edit in self._each():
            alike.setdefault((edit.kind, self._operations(edit)), []).append(edit)
            yield edit
        for (kind, _), edits in alike.items():
            if len(edits) > 1:
                places = tuple(place for edit in edits for place in edit.places)
                yield _Edit(kind, places, everywhere=True)

    def _operations(self, edit: _Edit) -> tuple[Any, ...]:
        """Name the operations that a mistake is made in."""
        start, end = edit.places[0]
        if edit.of_segment:
            return tuple(step.name for step in self.program.between(start, end)[0])
        return self.program.steps[start].name, end

    def _each(self) -> Iterator[_Edit]:
        segments = list(self._segments())
        yield from self._of_segments((pair for each in segments for pair in each), "straight")
        yield from self._of_segments((pair for each in segments for pair in each), "output")
        for places in self._grouped(self._split(), self._used_by):
            yield _Edit("cut", places)
        for uses in self._carried():
            yield _Edit("cut", uses)
        steps = list(enumerate(self.program.steps))
        copied = ((at, 0) for at, step in steps if self._copies(step) > 1)
        for places in self._grouped(copied, self._used_by):
            yield _Edit("averaged", places)
        square = ((at, side) for at, step in steps for side in (0, 1) if self._square(step, side))
        for places in self._grouped(square, self._used_by):
            yield _Edit("transposed", places)
        scaled = (
            (at, side)
            for at, step in steps
            for side in range(len(step.inputs))
            if self._scales(step, side)
        )
        for places in self._grouped(scaled, self._used_by):
            yield _Edit("unscaled", places)
        drawn = ((at, 0) for at, step in steps if self._draws(step))
        for places in self._grouped(drawn, self._used_by):
            yield _Edit("once", places)
        for length in range(2, _LONGEST + 1):
            spans = (
                (each[first][0], each[first + length - 1][1])
                for each in segments
                for first in range(len(each) - length + 1)
            )
            yield from self._of_segments(spans, "straight")

    def _of_segments(self, pairs: Iterable[tuple[int, int]], kind: Kind) -> Iterator[_Edit]:
        """Give mistakes in derivatives; where entries are taken together, that they are no sum."""
        for places in self._grouped(pairs, self._made_by):
            sums = [each for place in places for each in self._sums(*place)]
            if kind == "straight" or not sums:
                yield _Edit(kind, places)
            else:
                yield _Edit("constants", tuple(sums))

    def _split(self) -> Iterator[tuple[int, int]]:
        """Give where paths split or meet."""
        for each, uses in self.uses.items():
            for at, side in uses:
                meeting = sum(other in self.moving for other in self.program.steps[at].inputs)
                if len(uses) > 1 or (meeting > 1 and each not in self.program.params):
                    yield at, side

    def _carried(self) -> Iterator[tuple[tuple[int, int], ...]]:
        """Give where a loop uses what one repetition gives to the next."""
        repeated = collections.Counter(id(step.equation) for step in self.program.steps)
        for values in self._grouped(((each, each) for each in self.made), self._made_by):
            uses = [use for each, _ in values for use in self.uses.get(each, [])]
            inside = tuple(use for use in uses if repeated[self._used_by(use)[0]] > 1)
            if len(values) > 1 and len(inside) > len(values):
                yield inside

    def _grouped(self, places: Any, key: Any) -> list[tuple[tuple[int, int], ...]]:
        """Take together what is one operation of a loop, repeated."""
        groups: dict[Any, list[tuple[int, int]]] = {}
        for place in places:
            groups.setdefault(key(place), []).append(place)
        return [tuple(group) for group in groups.values()]

    def _made_by(self, segment: tuple[int, int]) -> tuple[Any, ...]:
        steps = self.program.steps
        return tuple(
            id(steps[self.made[each]].equation) if each in self.made else each for each in segment
        )

    def _used_by(self, use: tuple[int, int]) -> tuple[int, int]:
        return id(self.program.steps[use[0]].equation), use[1]

    def _segments(self) -> Iterator[list[tuple[int, int]]]:
        """Give the values of one shape between which all of the way back leads through one part.

        Those that follow on each other come together.
        """
        shapes = self.program.shapes
        for start, region in self._regions().items():
            last_use, pairs, before = self._last_use(start), [], start
            for each in region:
                if last_use <= self.made[each] and shapes[each] == shapes[start]:
                    if not self._only_moves(before, each):
                        pairs.append((before, each))
                    before = each
                last_use = max(last_use, self._last_use(each))
            yield pairs

    def _last_use(self, value: int) -> int:
        return max((at for at, _ in self.uses.get(value, [])), default=0)

    def _regions(self) -> dict[int, list[int]]:
        """Give the values that come of one value alone, by that value."""
        roots = {leaf: leaf for leaf in self.program.params}
        regions: dict[int, list[int]] = {}
        for step in self.program.steps:
            before = {roots[each] for each in step.inputs if each in roots}
            for each in step.outputs if before else ():
                if not _is_real(step.equation.outvars[step.outputs.index(each)]):
                    continue
                alone = len(before) == 1 and jaxprs.product(step.equation) is None
                roots[each] = before.pop() if alone else each
                if roots[each] != each:
                    regions.setdefault(roots[each], []).append(each)
                    before = {roots[each]}
        return {start: each for start, each in regions.items() if start not in self.program.params}

    def _only_moves(self, start: int, end: int) -> bool:
        steps, _ = self.program.between(start, end)
        arrays = ((step, np.zeros(self.program.shapes[step.inputs[0]])) for step in steps)
        return all(jaxprs.move(step.equation, each) is not None for step, each in arrays)

    def _sums(self, start: int, end: int) -> list[tuple[int, int]]:
        """Give where a segment takes entries together."""
        steps, _ = self.program.between(start, end)
        inside = {step.outputs[0] for step in steps}
        return [
            (at, 0)
            for at, step in enumerate(self.program.steps)
            if step.outputs[0] in inside and step.name.startswith("reduce_")
        ]

    def _copies(self, step: Step) -> int:
        if step.name != "broadcast_in_dim" or step.inputs[0] not in self.moving:
            return 1
        shapes = [self.program.shapes[each] for each in (step.outputs[0], step.inputs[0])]
        given, taken = (int(np.prod(shape)) for shape in shapes)
        return given // max(taken, 1)

    def _scales(self, step: Step, side: int) -> bool:
        """Tell whether a step multiplies one of its inputs by another that parameters make."""
        alike = self.program.shapes[step.inputs[side]] == self.program.shapes[step.outputs[0]]
        return step.name == "mul" and alike and all(each in self.moving for each in step.inputs)

    def _draws(self, step: Step) -> bool:
        """Tell whether a step takes rows of an array, one for each number of a list."""
        if step.name != "gather" or step.inputs[0] not in self.moving:
            return False
        drawn, given = (self.program.shapes[each] for each in (step.inputs[1], step.outputs[0]))
        return len(drawn) == 2 and drawn[1] == 1 and given[:1] == drawn[:1]

    def _square(self, step: Step, side: int) -> bool:
        axes = jaxprs.product(step.equation)
        if axes is None or axes.shared[0] or step.inputs[1 - side] not in self.moving:
            return False
        shape = self.program.shapes[step.inputs[side]]
        return len(shape) == 2 and shape[0] == shape[1] and len(axes.summed[0]) == 1


def _is_real(variable: Any) -> bool:
    return jnp.issubdtype(variable.aval.dtype, jnp.floating)


# Differentiating wrongly.


@functools.partial(jax.jit, static_argnums=(0, 3))
def _gradients(
    loss: losses.Loss, params: PyTree, batch: PyTree, edits: tuple[_Edit, ...]
) -> list[Array]:
    """Give each leaf's gradient of every mistake, [E, ...]."""
    program = record(loss, params, batch)
    given = dict(zip(program.batch, jax.tree.leaves(batch), strict=True)) | program.constants

    def value(leaves: list[Array], made: Array) -> Array:
        values = given | dict(zip(program.params, leaves, strict=True))
        return _carry_out(program, values, edits, made)

    leaves = jax.tree.leaves(params)
    return jax.vmap(jax.grad(value), in_axes=(None, 0))(leaves, jnp.eye(len(edits)))


def _carry_out(program: Program, values: Values, edits: tuple[_Edit, ...], made: Array) -> Array:
    """Carry out a program whose derivative is wrong where a mistake is made.

    Args:
        made: of each mistake 1 where it is made, else 0.
    """
    inputs: dict[tuple[int, int], list[tuple[_Edit, Array]]] = {}
    segments: dict[int, list[tuple[_Edit, int, Array]]] = {}
    for edit, share in zip(edits, made, strict=True):
        for place in edit.places:
            if edit.of_segment:
                segments.setdefault(place[1], []).append((edit, place[0], share))
            else:
                inputs.setdefault(place, []).append((edit, share))
    for at, step in enumerate(program.steps):
        taken = [values[each] for each in step.inputs]
        sides = [inputs.get((at, side), []) for side in range(len(taken))]
        weakened = map(_weakened, taken, sides, itertools.repeat(program.shapes[step.outputs[0]]))
        with step.equation.ctx.manager:
            given = jaxprs.bind(step.equation, list(weakened))
            for turned in _turned(step, taken, sides):
                given[0] = given[0] + turned
        values |= dict(zip(step.outputs, given, strict=True))
        for each in step.outputs:
            values[each] = _replaced(program, values, each, segments.get(each, []))
    return values[program.loss]


def _weakened(array: Any, made: list[tuple[_Edit, Array]], shape: tuple[int, ...]) -> Any:
    """Give what goes into a step, its way back cut, or divided by the number of its copies."""
    for edit, share in made:
        if edit.kind != "transposed":
            kept = array.size / np.prod(shape) if edit.kind == "averaged" else 0.0
            array = _held(array) + (1 - share * (1 - kept)) * _slight(array)
    return array


def _turned(
    step: Step, taken: list[Any], sides: list[list[tuple[_Edit, Array]]]
) -> Iterator[Array]:
    """Give what has another way back, 0 in value.

    Through the transposed matrix, without the other factor, or through the last of equal rows.
    """
    for side, made in enumerate(sides):
        for edit, share in made:
            if edit.kind == "unscaled":
                yield share * _slight(taken[side])
            elif edit.kind == "once":
                rows = jaxprs.bind(step.equation, taken)[0]
                again = jnp.triu(taken[1] == taken[1].T, 1).any(1)
                kept = jnp.where(again, 0.0, 1.0).reshape(-1, *[1] * (rows.ndim - 1))
                yield share * kept * _slight(rows)
            elif edit.kind == "transposed":
                matrix = _held(taken[side])
                products = []
                for each in (matrix.T, matrix):
                    pair = [each, taken[1 - side]] if side == 0 else [taken[1 - side], each]
                    products.append(jaxprs.bind(step.equation, pair)[0])
                yield share * _slight(products[0] - products[1])


def _replaced(
    program: Program, values: Values, end: int, made: list[tuple[_Edit, int, Array]]
) -> Any:
    """Give a value whose derivative in the start of a segment is another."""
    value = values[end]
    for edit, start, share in made:
        before = values[start]
        if edit.kind == "output":
            steps, _ = program.between(start, end)

            def segment(array: Any, steps: list[Step] = steps, start: int = start) -> Any:
                return run(steps, {**values, start: array})[end]

            slope = jax.vjp(segment, _held(value))[1](jnp.ones_like(value))[0]
            before = _held(slope) * before
        value = _held(value) + (1 - share) * _slight(value) + share * _slight(before)
    return value


def _held(array: Any) -> Any:
    return jax.lax.stop_gradient(array)


def _slight(array: Any) -> Any:
    """Give zero, with the derivative of an array."""
    return array - _held(array)


# Words.

_SPOKEN = {
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
}
# What operations together are, by those that make it up.
_TOGETHER = (
    ({"exp", "reduce_sum", "div"}, "softmax"),
    ({"rsqrt", "reduce_sum"}, "the normalisation"),
    ({"sqrt", "reduce_sum"}, "the normalisation"),
    ({"tanh", "integer_pow"}, "gelu"),
    ({"erf"}, "gelu"),
    ({"erfc"}, "gelu"),
)
_PLAIN = {"add", "sub", "mul", "div", "neg", "broadcast_in_dim", "reshape", "transpose", "squeeze"}


class _Words:
    """Says where in a program a mistake is, in the user's words."""

    def __init__(self, program: Program, case: Case) -> None:
        self.program = program
        self.names = [leaf.name for leaf in case.leaves]
        self.leaves = dict(zip(program.params, self.names, strict=True))
        for step in program.steps:
            if len(step.inputs) == 1 and step.inputs[0] in self.leaves:
                array = np.zeros(program.shapes[step.inputs[0]])
                if jaxprs.move(step.equation, array) is not None:
                    self.leaves[step.outputs[0]] = self.leaves[step.inputs[0]]

    def say(self, edit: _Edit) -> str:
        """Name a mistake, its operation, and the parameter and the line next to it."""
        if edit.of_segment:
            start, end = edit.places[0]
            steps, _ = self.program.between(start, end)
        else:
            steps = [self.program.steps[edit.places[0][0]]]
            start, end = steps[0].inputs[edit.places[0][1]], steps[0].outputs[0]
        name, where = self._together(steps), self._where(steps[-1], start, end)
        where = ", wherever it is used" if edit.everywhere else where
        return {
            "straight": f"the derivative of {name} left out{where}",
            "output": f"the derivative of {name} taken at its output, not its input{where}",
            "constants": f"what {name} takes together treated as a constant{where}",
            "cut": f"the path through {name} left out{where}",
            "averaged": f"averaged over copies whose gradients add up{where}",
            "unscaled": f"the other factor of {name} left out{where}",
            "once": f"what is drawn several times counted once{where}",
            "transposed": f"sent back through the transposed {self.leaves.get(start, 'matrix')}"
            f"{where}",
        }[edit.kind]

    def _together(self, steps: list[Step]) -> str:
        names = {step.name for step in steps}
        for parts, name in _TOGETHER:
            if parts <= names:
                return name
        calls = set.intersection(*({name for name, _ in step.calls} for step in steps))
        own = [jaxprs.spoken(step.equation) for step in steps]
        telling = [name for name in own if name not in _PLAIN] or own
        if len(set(telling)) > 1 and calls:
            return sorted(calls)[0]
        return " and ".join(dict.fromkeys(_SPOKEN.get(each, each) for each in telling))

    def _where(self, step: Step, start: int, end: int) -> str:
        """Say which parameter a part of the program stands next to, and where it is written."""
        where = jaxprs.place(step.equation)
        after = self._after(end)
        before = self._before(start)
        near = f", before {after}" if after else f", after {before}" if before else ""
        written = where.line or where.module
        return f"{near}, in {written}" if written else near

    def _after(self, value: int) -> str:
        """Give the next parameter that a value meets."""
        reached = {value}
        for step in self.program.steps:
            if reached & set(step.inputs):
                for each in step.inputs:
                    if each in self.leaves:
                        return self.leaves[each]
                reached |= set(step.outputs)
        return ""

    def _before(self, value: int) -> str:
        """Give the last parameter that a value came by."""
        needed = {value}
        for step in reversed(self.program.steps):
            if needed & set(step.outputs):
                for each in step.inputs:
                    if each in self.leaves:
                        return self.leaves[each]
                needed |= set(step.inputs)
        return self.leaves.get(value, "")

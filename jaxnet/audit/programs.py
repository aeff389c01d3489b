"""The program of a loss: every operation that it carries out, one after the other.

Functions that the loss calls are written out, and so are short loops. An activation with a
derivative of its own stays one operation.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, PyTree

from jaxnet import losses
from jaxnet._guards import jaxprs

# Loops of more operations than this stay loops.
_UNROLLED = 2000
_PRODUCTS = frozenset(["dot_general", "conv_general_dilated", "scan", "while", "cond"])

Values = dict[int, Any]
"""Arrays by the number of the value that they are."""


class Call(NamedTuple):
    """A call of a function: of what name, the how-manieth of all, and where it was written."""

    name: str
    number: int
    site: int


class Step(NamedTuple):
    """One operation; what it takes and gives by number.

    Attributes:
        calls: the functions that it was written out of, the outermost first.
        site: where it was written; one and the same in every repetition of a loop.
    """

    equation: Any
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    calls: tuple[Call, ...]
    site: int

    @property
    def name(self) -> str:
        """What JAX calls the operation."""
        return self.equation.primitive.name


class View(NamedTuple):
    """A value that holds entries of one parameter: whose, and which, in the value's shape."""

    leaf: int
    places: Int[np.ndarray, "..."]


class Program(NamedTuple):
    """The operations of a loss.

    Attributes:
        steps: in order; those alone that the loss needs.
        params, batch: the numbers of the leaves.
        loss: the number of the result.
        constants: by number.
        shapes: of all values, by number.
    """

    steps: list[Step]
    params: tuple[int, ...]
    batch: tuple[int, ...]
    loss: int
    constants: Values
    shapes: dict[int, tuple[int, ...]]

    def reach(self) -> dict[int, frozenset[int]]:
        """Give the leaves of params and batch that each value depends on."""
        reach = {leaf: frozenset([leaf]) for leaf in (*self.params, *self.batch)}
        reach |= {constant: frozenset() for constant in self.constants}
        for step in self.steps:
            reaches = frozenset().union(*(reach[each] for each in step.inputs))
            reach |= dict.fromkeys(step.outputs, reaches)
        return reach

    def views(self) -> dict[int, View]:
        """Give the values that only hold entries of a parameter, by number."""
        views = {}
        for leaf, number in enumerate(self.params):
            shape = self.shapes[number]
            views[number] = View(leaf, np.arange(np.prod(shape, dtype=int)).reshape(shape))
        for step in self.steps:
            if len(step.inputs) == 1 and (view := views.get(step.inputs[0])):
                moved = jaxprs.move(step.equation, view.places)
                if moved is not None:
                    views[step.outputs[0]] = View(view.leaf, moved)
        return views

    def between(self, start: int, end: int) -> tuple[list[Step], set[int]]:
        """Give the steps from one value to another, and all that is needed beside the first."""
        needed, steps = {end}, []
        for step in reversed(self.steps):
            if needed & set(step.outputs) and start not in step.outputs:
                steps.insert(0, step)
                needed |= set(step.inputs)
        made = {each for step in steps for each in step.outputs}
        return steps, needed - made - {start}


def run(
    steps: Iterable[Step],
    values: Mapping[int, Any],
    change: Callable[[int, Any], Any] = lambda number, value: value,
) -> Values:
    """Carry out steps, and give all values.

    Args:
        values: given ones. change: makes of each value, by its number, what goes on in its place.
    """
    values = dict(values)
    for step in steps:
        results = jaxprs.bind(step.equation, [values[each] for each in step.inputs])
        for number, result in zip(step.outputs, results, strict=True):
            values[number] = change(number, result)
    return values


def record(loss: losses.Loss, params: PyTree, batch: PyTree) -> Program:
    """Write out the program of a loss; the same loss at the same shapes has the same numbers."""
    closed = jax.make_jaxpr(loss)(params, batch)
    recorder = _Recorder()
    inputs = [recorder.number(each) for each in closed.jaxpr.invars]
    (result,) = recorder.write(closed.jaxpr, closed.consts, inputs, ())
    count = len(jax.tree.leaves(params))
    needed, steps = {result}, []
    for step in reversed(recorder.steps):
        if needed & set(step.outputs):
            steps.insert(0, step)
            needed |= set(step.inputs)
    leaves = tuple(inputs[:count]), tuple(inputs[count:])
    return Program(steps, *leaves, result, recorder.constants, recorder.shapes)


class _Recorder:
    """Writes jaxprs out, one into another."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.constants: Values = {}
        self.shapes: dict[int, tuple[int, ...]] = {}
        self._calls = itertools.count()

    def number(self, variable: Any) -> int:
        """Number a new value."""
        self.shapes[len(self.shapes)] = variable.aval.shape
        return len(self.shapes) - 1

    def constant(self, value: Any) -> int:
        """Number a constant."""
        self.shapes[len(self.shapes)] = jnp.shape(value)
        self.constants[len(self.shapes) - 1] = value
        return len(self.shapes) - 1

    def write(
        self, jaxpr: Any, constants: Sequence[Any], inputs: Sequence[int], calls: tuple[Call, ...]
    ) -> list[int]:
        """Write a jaxpr out on values by number, and give the numbers of its results."""
        numbers = dict(zip(jaxpr.invars, inputs, strict=True))
        for variable, value in zip(jaxpr.constvars, constants, strict=True):
            numbers[variable] = self.constant(value)

        def read(variable: Any) -> int:
            return self.constant(variable.val) if hasattr(variable, "val") else numbers[variable]

        for place, equation in enumerate(jaxpr.eqns):
            taken = [read(each) for each in equation.invars]
            # Of what is written once, and of the operations of one call.
            inner = (calls[-1].site, place) if calls else ()
            site = hash((jaxprs.site(equation), *inner))
            found, inside = jaxprs.loop(equation), jaxprs.opened(equation, _is_one)
            if found and 0 < len(found.places) * jaxprs.count(found.body.jaxpr) <= _UNROLLED:
                given = self._unroll(found, taken, calls)
            elif inside:
                call = str(equation.params.get("name", equation.primitive.name))
                given = self.write(*inside, taken, (*calls, Call(call, next(self._calls), site)))
            else:
                given = [self.number(each) for each in equation.outvars]
                self.steps.append(Step(equation, tuple(taken), tuple(given), calls, site))
            numbers |= dict(zip(equation.outvars, given, strict=True))
        return [read(each) for each in jaxpr.outvars]

    def _unroll(self, loop: jaxprs.Loop, inputs: list[int], calls: tuple[Call, ...]) -> list[int]:
        last = loop.shared + loop.carried
        shared, carry, scanned = inputs[: loop.shared], inputs[loop.shared : last], inputs[last:]
        stacked: list[list[int]] = [[] for _ in loop.places]
        for at in loop.places:
            rows = [self._apply(lambda x, at=at: x[at], [each], calls) for each in scanned]
            taken = [*shared, *carry, *rows]
            given = self.write(loop.body.jaxpr, loop.body.consts, taken, calls)
            carry, stacked[at] = given[: loop.carried], given[loop.carried :]
        columns = map(list, zip(*stacked, strict=True))
        return [*carry, *(self._apply(_stack, each, calls) for each in columns)]

    def _apply(
        self, function: Callable[..., Any], inputs: list[int], calls: tuple[Call, ...]
    ) -> int:
        """Write out a function of arrays."""
        shapes = [jax.ShapeDtypeStruct(self.shapes[each], float) for each in inputs]
        closed = jax.make_jaxpr(function)(*shapes)
        (result,) = self.write(closed.jaxpr, closed.consts, inputs, calls)
        return result


def _stack(*arrays: Any) -> Any:
    return jnp.stack(arrays)


def _is_one(jaxpr: Any) -> bool:
    """Tell of a function with a derivative of its own whether it is one operation, as ReLU is."""
    return not jaxprs.holds(jaxpr, _PRODUCTS)

"""Reverse-mode differentiation of a recorded program, step by step, with steps got wrong.

All mistakes are carried out side by side: the gradient in a value has a row for the right way back
and one for each mistake made after it.

Shapes: E mistakes; [E + 1, ...] is the gradient in a value of shape [...], the right one first.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnet._guards import jaxprs
from jaxnet._guards.checks import is_key
from jaxnet.audit.programs import Program, Step
from jaxnet.audit.uncompiled import carried_out

Gradient = np.ndarray
Back = Callable[[Gradient], Any]
"""What is sent back, of the gradient in what a step or a part of a program gives."""

# Operations that send the gradient back as it is, or its negative.
_SIGNS = {"add": (1, 1), "add_any": (1, 1), "sub": (1, -1), "neg": (-1,), "copy": (1,)}
# Operations on each entry by itself, and the derivative of the most used: of inputs and result.
_NAMES = """acos acosh asin asinh atan atan2 atanh cbrt cos cosh custom_jvp_call custom_vjp_call
erf erf_inv erfc exp2 expm1 lgamma log1p min pow sin sinh tan"""
_SLOPES: dict[str, tuple[Callable[..., Any], ...]] = {
    "mul": (lambda a, b, _: b, lambda a, b, _: a),
    "div": (lambda a, b, _: 1 / b, lambda a, b, _: -a / b**2),
    "max": (lambda a, b, _: np.heaviside(a - b, 0.5), lambda a, b, _: np.heaviside(b - a, 0.5)),
    "exp": (lambda _, given: given,),
    "log": (lambda a, _: 1 / a,),
    "tanh": (lambda _, given: 1 - given**2,),
    "logistic": (lambda _, given: given * (1 - given),),
    "sqrt": (lambda _, given: 0.5 / given,),
    "rsqrt": (lambda a, given: -0.5 * given / a,),
    "square": (lambda a, _: 2 * a,),
    "abs": (lambda a, _: np.sign(a),),
}
ENTRYWISE = frozenset([*_NAMES.split(), *_SLOPES, "integer_pow"])
_ALONG = "broadcast_dimensions"
# Operations whose results are entries of their inputs.
_SELECTING = """concatenate dynamic_slice dynamic_update_slice gather pad rev scatter select_n slice
stack"""
_SELECTS = frozenset(_SELECTING.split())


class Edit(NamedTuple):
    """A mistake on the way back.

    Attributes:
        changes: what is sent back in another way, by step and input.
        jumps: parts of the program that are sent back through as a whole, by the number of their
            result: that of their start, and how.
    """

    changes: dict[tuple[int, int], Back]
    jumps: dict[int, tuple[int, Back]]


class Reverse:
    """The way back through a program at given values.

    Attributes:
        program: the operations.
        values: NumPy arrays, by number.
        moving: the numbers of the real values that depend on parameters.
    """

    def __init__(self, program: Program, values: dict[int, Any]) -> None:
        """Take a program and what it computes."""
        self.program = program
        keys = {
            number: jax.random.key_data(each) for number, each in values.items() if is_key(each)
        }
        self.values = {number: np.asarray(each) for number, each in (values | keys).items()}
        reach, params = program.reach(), frozenset(program.params)
        self.moving = {
            each
            for each, leaves in reach.items()
            if leaves & params and np.issubdtype(self.values[each].dtype, np.floating)
        }
        self.made = {each: at for at, step in enumerate(program.steps) for each in step.outputs}
        self._slopes: dict[tuple[int, int], Gradient] = {}

    def gradients(self, edits: Sequence[Edit]) -> list[Gradient]:
        """Give the gradient in each parameter, [E + 1, ...]."""
        order = sorted(range(len(edits)), key=lambda edit: -self._last(edits[edit]))
        rows = {edit: row for row, edit in enumerate(order, 1)}
        changes: dict[tuple[int, int], list[tuple[int, Back]]] = {}
        jumps: dict[int, list[tuple[int, int, Back]]] = {}
        for edit, row in rows.items():
            for place, back in edits[edit].changes.items():
                changes.setdefault(place, []).append((row, back))
            for end, (start, back) in edits[edit].jumps.items():
                jumps.setdefault(end, []).append((row, start, back))
        sent: dict[int, Gradient] = {self.program.loss: np.ones(1)}
        for at in reversed(range(len(self.program.steps))):
            step = self.program.steps[at]
            for each in step.outputs:
                for row, start, back in jumps.get(each, []) if each in sent else ():
                    sent[each] = _long(sent[each], row + 1)
                    through = np.array(back(sent[each][row, ...]))
                    sent[each][row] = 0.0
                    _add(sent, start, _alone(through, row))
            self._send(at, step, sent, changes)
        last = [rows[edit] for edit in range(len(edits))]
        grads = []
        for each in self.program.params:
            none = np.zeros((1, *self.program.shapes[each]))
            whole = _long(sent.get(each, none), len(edits) + 1)[[0, *last]]
            for k, edit in enumerate(edits, 1):
                if each in edit.jumps:
                    whole[k] = edit.jumps[each][1](whole[k, ...])
            grads.append(whole)
        return grads

    def _last(self, edit: Edit) -> int:
        """Give the step at which an edit is met first on the way back."""
        places = [at for at, _ in edit.changes]
        return max([*places, *(self.made.get(end, -1) for end in edit.jumps)], default=0)

    def _send(
        self,
        at: int,
        step: Step,
        sent: dict[int, Gradient],
        changes: dict[tuple[int, int], list[tuple[int, Back]]],
    ) -> None:
        """Send back through one step what came back to its results."""
        given = [sent.pop(each, None) for each in step.outputs]
        length = max((len(each) for each in given if each is not None), default=0)
        if not length:
            return
        for side, each in enumerate(step.inputs):
            if each not in self.moving:
                continue
            made = changes.get((at, side), [])
            rows = max([length, *(row + 1 for row, _ in made)])
            whole = [None if array is None else _long(array, rows) for array in given]
            back, first = np.array(self.pull(at, side, whole)), whole[0]
            if first is not None:
                for row, wrong in made:
                    back[row] = wrong(first[row, ...])
            _add(sent, each, back)

    def pull(self, at: int, side: int, given: list[Gradient | None]) -> Gradient:
        """Send gradients in the results of a step, [R, ...] each, back to one of its inputs."""
        step = self.program.steps[at]
        shape = self.program.shapes[step.inputs[side]]
        first = given[0]
        if first is None or len(given) > 1:
            return self.other(at, side, {}, given)
        alike = all(_spreads(self.program.shapes[each], first.shape[1:]) for each in step.inputs)
        # What is called takes its inputs in their own shapes.
        alike &= not step.name.startswith("custom_") or shape == first.shape[1:]
        if step.name in _SIGNS and alike:
            return _fit(_SIGNS[step.name][side] * first, shape)
        if step.name in ENTRYWISE and alike:
            return _fit(first * self.slope(at, side), shape)
        if step.name in _SELECTS:
            return self._selected(step, side, first)
        if step.name == "dot_general":
            return _multiplied(step, side, self.values[step.inputs[1 - side]], first)
        known = self._rearranged(step, first, shape)
        return self.other(at, side, {}, given) if known is None else known

    def _rearranged(self, step: Step, first: Gradient, shape: tuple[int, ...]) -> Gradient | None:
        """Send back through what moves or reduces one array; None through what does not."""
        match step.name:
            case "reshape" | "squeeze" | "expand_dims":
                return first.reshape(len(first), *shape)
            case "transpose":
                order = np.argsort(step.equation.params["permutation"])
                return first.transpose(0, *(axis + 1 for axis in order))
            case "broadcast_in_dim":
                return _summed(first, shape, [*map(int, step.equation.params[_ALONG])])
            case "reduce_sum" | "reduce_max":
                return self._reduced(step, first)
        return None

    def _selected(self, step: Step, side: int, first: Gradient) -> Gradient:
        shape = self.program.shapes[step.inputs[side]]
        places = self._places(step, side)
        back = np.zeros((1 + int(np.prod(shape)), len(first)))
        np.add.at(back, places.ravel(), first.reshape(len(first), -1).T)
        return back[1:].T.reshape(len(first), *shape)

    def _reduced(self, step: Step, first: Gradient) -> Gradient:
        axes = step.equation.params["axes"]
        array = self.values[step.inputs[0]]
        share = np.ones(array.shape)
        if step.name == "reduce_max":
            share = array == np.expand_dims(self.values[step.outputs[0]], axes)
            share = share / share.sum(axes, keepdims=True)
        return np.expand_dims(first, [axis + 1 for axis in axes]) * share

    def _places(self, step: Step, side: int) -> Gradient:
        """Give which entry of an input each entry of a selection is, from 1 on; 0 for none."""
        taken = [self.values[each] for each in step.inputs]
        taken = [np.zeros_like(each) if each.dtype.kind == "f" else each for each in taken]
        taken[side] = np.arange(1.0, taken[side].size + 1).reshape(taken[side].shape)
        (places,) = carried_out(functools.partial(jaxprs.bind, step.equation), taken)
        return places.astype(int)

    def slope(self, at: int, side: int) -> Gradient:
        """Give the derivative of an entrywise step in one of its inputs, of its result's shape."""
        if (at, side) not in self._slopes:
            step = self.program.steps[at]
            taken = [self.values[each] for each in step.inputs]
            given = self.values[step.outputs[0]]
            if step.name in _SLOPES:
                slope = _SLOPES[step.name][side](*taken, given)
            elif step.name == "integer_pow":
                power = step.equation.params["y"]
                slope = power * taken[0] ** (power - 1.0)
            else:
                called = step.name.startswith("custom_")
                whole = [each if called else np.broadcast_to(each, given.shape) for each in taken]
                slope = _pulled(step, side, whole, [np.ones((1, *given.shape))])[0]
            self._slopes[at, side] = np.asarray(slope)
        return self._slopes[at, side]

    def unstrided(self, at: int, side: int, sent: Gradient) -> Gradient:
        """Send back through a convolution as if its stride were one."""
        step = self.program.steps[at]
        strides = (1,) * len(step.equation.params["window_strides"])
        params = step.equation.params | {"window_strides": strides}
        alone = step._replace(equation=step.equation.replace(params=params))
        taken = [self.values[each] for each in step.inputs]
        (given,) = jax.eval_shape(functools.partial(jaxprs.bind, alone.equation), taken)
        whole = np.zeros((1, *given.shape))
        whole[(0, *(slice(0, size) for size in sent.shape))] = sent
        return _pulled(alone, side, taken, [whole])[0]

    def other(
        self, at: int, side: int, instead: dict[int, Any], given: list[Gradient | None]
    ) -> Gradient:
        """Send back through a step some of whose inputs are others, by side."""
        step = self.program.steps[at]
        first, factor = given[0], instead.get(1 - side)
        if step.name == "dot_general" and factor is not None and first is not None:
            return _multiplied(step, side, factor, first)
        if step.name == "mul" and factor is not None and first is not None:
            return _fit(first * factor, self.program.shapes[step.inputs[side]])
        taken = [instead.get(k, self.values[each]) for k, each in enumerate(step.inputs)]
        return _pulled(step, side, taken, given)


def _pulled(step: Step, side: int, taken: list[Any], given: list[Gradient | None]) -> Gradient:
    """Send gradients, [R, ...] each, back through a step as JAX does."""
    known = [k for k, each in enumerate(given) if each is not None]
    # What solves linear equations is differentiated by all that it takes, or not at all.
    solves = step.name == "custom_linear_solve"

    def pull(taken: list[Any], given: list[Any]) -> Any:
        arrays = dict(enumerate(taken))
        moved = {k: each for k, each in arrays.items() if k == side or (solves and _is_real(each))}

        def function(moved: dict[int, Any]) -> list[Any]:
            results = jaxprs.bind(step.equation, [*{**arrays, **moved}.values()])
            return [results[k] for k in known]

        _, back = jax.vjp(function, moved)
        return jax.vmap(back)(given)[0][side]

    return carried_out(pull, taken, [given[k] for k in known])


def _is_real(array: Any) -> bool:
    return bool(jnp.issubdtype(array.dtype, jnp.floating))


def _multiplied(step: Step, side: int, other: Gradient, first: Gradient) -> Gradient:
    """Send gradients [R, ...] back through a product of arrays, to one of them."""
    axes = jaxprs.product(step.equation)
    assert axes
    shared, left, theirs = axes.shared[side], axes.left[side], axes.left[1 - side]
    names = iter("abcdefghijklmnopqrstuvwxyz")
    own = {axis: next(names) for axis in range(len(shared) + len(left) + len(axes.summed[side]))}
    also = {b: own[a] for a, b in zip(shared, axes.shared[1 - side], strict=True)}
    also |= {b: own[a] for a, b in zip(axes.summed[side], axes.summed[1 - side], strict=True)}
    also |= {axis: next(names) for axis in theirs}
    sides = [own[axis] for axis in left], [also[axis] for axis in theirs]
    given = "".join([*(own[axis] for axis in shared), *sides[side], *sides[1 - side]])
    words = ("".join(each[axis] for axis in range(len(each))) for each in (also, own))
    return np.einsum("R{},{}->R{}".format(given, *words), first, other, optimize=True)


def _spreads(shape: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    """Tell whether an array meets another entry by entry, or spread along axes of one."""
    pairs = zip(shape, whole, strict=False)
    return not shape or (len(shape) == len(whole) and all(a in (1, b) for a, b in pairs))


def _fit(array: Gradient, shape: tuple[int, ...]) -> Gradient:
    """Sum over the axes that an input was spread along."""
    if not shape:
        return array.sum(tuple(range(1, array.ndim)))
    along = [k for k, size in enumerate(array.shape[1:], 1) if shape[k - 1] != size]
    return array.sum(tuple(along), keepdims=True) if along else array


def _summed(array: Gradient, shape: tuple[int, ...], dimensions: Sequence[int]) -> Gradient:
    """Sum over the copies that a broadcast made."""
    kept = dict(zip(dimensions, shape, strict=True))
    copied = tuple(
        axis + 1 for axis in range(array.ndim - 1) if kept.get(axis, 1) != array.shape[axis + 1]
    )
    return array.sum(copied).reshape(len(array), *shape)


def _long(array: Gradient, length: int) -> Gradient:
    """Add rows, as the right one is."""
    more = length - len(array)
    if more <= 0:
        return array
    return np.concatenate([array, np.broadcast_to(array[:1], (more, *array.shape[1:]))])


def _alone(array: Gradient, row: int) -> Gradient:
    """Give a row among others of zeros."""
    whole = np.zeros((row + 1, *array.shape))
    whole[row] = array
    return whole


def _add(sent: dict[int, Gradient], number: int, back: Gradient) -> None:
    held = sent.get(number)
    if held is None:
        sent[number] = back
    elif len(held) >= len(back):
        sent[number] = held + _long(back, len(held))
    else:
        sent[number] = _long(held, len(back)) + back

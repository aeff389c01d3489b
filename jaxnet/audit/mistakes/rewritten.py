"""Gradients that are right, but of another loss: one whose program does something else somewhere.

Shapes: E losses.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnet.audit.chain import applied
from jaxnet.audit.mistakes.normalisations import softmax_axes
from jaxnet.audit.mistakes.places import Candidate, Places, Segment, spoken_axes, subsets
from jaxnet.audit.mistakes.reverse import Edit, Gradient, Reverse
from jaxnet.audit.mistakes.segments import is_activation
from jaxnet.audit.programs import Values, run
from jaxnet.audit.uncompiled import carried_out

_ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "ReLU": jax.nn.relu,
    "the identity": lambda z: z,
}
# So many operations are carried out again at most, in all losses together.
_MOST = 20_000


def other_losses(places: Places) -> tuple[list[Candidate], list[Gradient]]:
    """Give the other losses, and the gradients that are right for them, [E + 1, ...].

    The gradient of the loss itself is the first.
    """
    alike: dict[str, list[tuple[Segment, Any]]] = {}
    every = [(text, pairs, "") for text, pairs in _each(places)]
    for text, pairs, _ in every:
        alike.setdefault(text, []).extend(pairs)
    known = [pairs for _, pairs, _ in every]
    everywhere = ", wherever it is used"
    every += [(text, pairs, everywhere) for text, pairs in alike.items() if pairs not in known]
    candidates, grads = [], [[whole[0]] for whole in places.way.gradients([])]
    for text, pairs, when in every[: _MOST // len(places.program.steps)]:
        (start, end), _ = pairs[0]
        steps = places.steps((start, end))
        candidates.append(
            Candidate(Edit({}, {}), text, steps=steps, start=start, end=end, when=when, rank=1)
        )
        for whole, gradient in zip(grads, _gradients(places, dict(pairs)), strict=True):
            whole.append(gradient)
    return candidates, [np.stack(whole) for whole in grads]


def _each(places: Places) -> Iterator[tuple[str, list[tuple[Segment, Any]]]]:
    """Give what parts of the program may be in another loss, in words and as functions."""
    for segments in places.spans():
        start, end = segments[0]
        z = places.values[start]
        others = {}
        if z.ndim > 1 and (own := softmax_axes(places, segments[0])):
            for axes in subsets(range(z.ndim)):
                words = f"{spoken_axes(axes)} in place of {spoken_axes(own)}"
                others[f"a softmax over {words}"] = functools.partial(jax.nn.softmax, axis=axes)
        elif is_activation(places.steps(segments[0])):
            for name, function in _ACTIVATIONS.items():
                others[f"{name} in place of {{name}}"] = function
        for text, function in others.items():
            if not np.allclose(applied(function, z), places.values[end], rtol=1e-9, atol=1e-12):
                whole = f"right for a loss with {text}, not for this one"
                yield whole, [(segment, function) for segment in segments]


def _gradients(places: Places, functions: dict[Segment, Any]) -> list[Gradient]:
    """Give the gradient where segments of the program are other functions of their start."""
    starts = {end: (start, function) for (start, end), function in functions.items()}
    inputs = (*places.program.params, *places.program.batch, *places.program.constants)
    values = {number: places.values[number] for number in inputs}

    def computed(values: Values) -> Values:
        seen = dict(values)

        def change(number: int, value: Any) -> Any:
            if number in starts:
                start, function = starts[number]
                value = function(seen[start])
            seen[number] = value
            return value

        return run(places.program.steps, values, change)

    seen = carried_out(computed, values)
    way = Reverse(places.program, seen)
    jumps = {
        end: (start, _pull(function, seen[start])) for end, (start, function) in starts.items()
    }
    return [np.asarray(whole[1]) for whole in way.gradients([Edit({}, jumps)])]


def _pull(function: Any, start: Any) -> Callable[[Gradient], Gradient]:
    def pull(start: Any, sent: Any) -> Any:
        return jax.vjp(function, start)[1](sent)[0]

    return lambda sent: carried_out(pull, start, sent)

"""The fully connected layers of a loss, found in its program, and checked by its gradient.

A layer is a product of one parameter with what comes of the batch, and a parameter added to it;
what lies between one layer and the next, element by element, is the activation.

Shapes: N examples, I inputs and O outputs of a layer.
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from jaxnet import losses
from jaxnet._guards import jaxprs
from jaxnet.audit import outputs
from jaxnet.audit.between import Between, Places, between, identity
from jaxnet.audit.case import Case, reduction, take
from jaxnet.audit.chain import Chain, Dense, applied
from jaxnet.audit.floats import Gradient
from jaxnet.audit.programs import Program, Step, Values, View, record, run
from jaxnet.audit.uncompiled import uncompiled


class _Found(NamedTuple):
    """A layer in a program.

    Attributes:
        x, z: the numbers of its inputs and of its pre-activations.
        x_places: shape [N, I]. z_places: shape [N, O].
        weight, bias: leaves of params.
        weight_places: shape [O, I].
        transposed: whether the leaf holds the weight as [I, O].
        ones: where the leaf has the bias beside the weight, as that of an input of ones that the
            program does not have: 0 before, 1 after; None where it has not.
    """

    x: int
    x_places: Places
    z: int
    z_places: Places
    weight: int
    bias: int | None
    weight_places: Places
    transposed: bool = False
    ones: int | None = None


def chain_of(case: Case) -> Chain | None:
    """Find the chain of fully connected layers that the loss of a case is; None where it is none.

    What is found is believed where its gradient is the true one.
    """
    program = record(case.loss, case.params, case.batch)
    layers = _layers(program)
    # The last layers of another network are no chain of their own.
    reached = program.reach()[layers[0].x] if layers else frozenset()
    if reached & set(program.params):
        return None
    joints = [
        between(program, case.batch, (a.z, a.z_places), (b.x, b.x_places))
        for a, b in itertools.pairwise(layers)
    ]
    if not layers or None in joints:
        return None
    found = tuple((layer.z, layer.x) for layer in layers)
    held = _held(case.loss, case.params, case.batch, found)
    chain = _chain(case, program, layers, [each for each in joints if each], held)
    for index, gradient in chain.leaves(chain.signals).items():
        leaf = case.leaves[index]
        if not np.linalg.norm(gradient - leaf.true) <= leaf.rounding:
            return None
    sources = [k for k, number in enumerate(program.batch) if number in reached]
    return _finish(case, chain, layers, found, sources)


class _Held(NamedTuple):
    """What a program computes, its layers' pre-activations held fixed.

    Attributes:
        pairs: of each layer z and x. delta: the gradient in the last z.
        rest: the gradient that does not come through the layers.
    """

    pairs: list[tuple[Array, Array]]
    delta: Array
    rest: list[Array]


@uncompiled(0, 3)
def _held(
    loss: losses.Loss, params: PyTree, batch: PyTree, found: tuple[tuple[int, int], ...]
) -> _Held:
    program = record(loss, params, batch)
    values = dict(zip(program.batch, jax.tree.leaves(batch), strict=True)) | program.constants
    stops, last = {z for z, _ in found}, found[-1][0]

    def held(leaves: list[Array], nudge: Array) -> tuple[Array, Values]:
        def change(number: int, value: Any) -> Any:
            value = jax.lax.stop_gradient(value) if number in stops else value
            return value + nudge if number == last else value

        given = values | dict(zip(program.params, leaves, strict=True))
        results = run(program.steps, given, change)
        return results[program.loss], {each: results[each] for pair in found for each in pair}

    nudge = jnp.zeros(program.shapes[last], _dtype(program, last))
    grads, given = jax.grad(held, argnums=(0, 1), has_aux=True)(jax.tree.leaves(params), nudge)
    return _Held([(given[z], given[x]) for z, x in found], grads[1], grads[0])


def _dtype(program: Program, number: int) -> Any:
    (dtype,) = (
        variable.aval.dtype
        for step in program.steps
        for each, variable in zip(step.outputs, step.equation.outvars, strict=True)
        if each == number
    )
    return dtype


def _chain(
    case: Case, program: Program, layers: list[_Found], joints: list[Between], held: _Held
) -> Chain:
    """Write what was found as the field does."""

    def at(array: Array, places: Places) -> Gradient:
        return np.asarray(array, np.float64).ravel()[places]

    params = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(case.params)]
    dense = []
    last = Between(joints[-1].activation if joints else identity)
    # What the first layer takes is of no layer before.
    before = Between(identity)
    for layer, after, pair in zip(layers, [*joints, last], held.pairs, strict=True):
        shape = layer.weight_places.shape
        leaf = params[layer.weight]
        weight = leaf.reshape(shape[::-1]).T if layer.transposed else leaf.reshape(shape)
        bias = None if layer.bias is None else params[layer.bias].ravel()
        z, x = at(pair[0], layer.z_places), at(pair[1], layer.x_places)
        columns = before.columns
        if layer.ones is not None:
            x = np.insert(x, layer.ones * x.shape[1], 1.0, axis=1)
            columns = np.arange(x.shape[1] - 1) + 1 - layer.ones
        h = applied(after.activation, z)
        h = h * (1.0 if after.mask is None else after.mask)
        dense.append(
            Dense(
                weight,
                bias,
                activation=after.activation,
                x=x,
                z=z,
                h=h,
                weight_leaf=layer.weight,
                bias_leaf=layer.bias,
                transposed=layer.transposed,
                mask=after.mask,
                columns=columns,
            )
        )
        before = after
    rest = {i: leaf for i, leaf in enumerate(map(np.asarray, held.rest)) if leaf.any()}
    return Chain(
        layers=tuple(dense),
        delta=at(held.delta, layers[-1].z_places),
        scale=1.0,
        rest=rest,
        names=tuple(leaf.name for leaf in case.leaves),
        shapes=tuple(leaf.true.shape for leaf in case.leaves),
        axes=(),
    )


def _finish(
    case: Case,
    chain: Chain,
    layers: list[_Found],
    found: tuple[tuple[int, int], ...],
    sources: list[int],
) -> Chain:
    """Add to a chain what its batch, its output and its scale are.

    Args:
        sources: the leaves of the batch that its inputs are made of.
    """
    leaves = jax.tree.leaves(case.batch)
    axes = [
        [axis for axis, size in enumerate(np.shape(leaf)) if size == chain.rows] or [None]
        for leaf in leaves
    ]
    ways = list(itertools.product(*axes))
    order = np.roll(np.arange(chain.rows), 1)

    def moves_rows(way: tuple[int | None, ...]) -> bool:
        """Tell whether moving the examples along these axes moves the rows of the layers."""
        held = _held(case.loss, case.params, take(case.batch, way, order), found)
        x = np.asarray(held.pairs[0][1]).ravel()[layers[0].x_places]
        delta = np.asarray(held.delta).ravel()[layers[-1].z_places]
        pairs = (x, chain.layers[0].x), (delta, chain.delta)
        return all(np.allclose(new, old[order], rtol=1e-6, atol=1e-12) for new, old in pairs)

    way = ways[0] if len(ways) == 1 else next(filter(moves_rows, ways), ways[0])
    z = chain.layers[-1].z
    output = outputs.recognise(z, chain.delta, leaves, way)
    raw = _raw(chain, [leaves[k] for k in sources], [way[k] for k in sources])
    chain = chain._replace(axes=way, output=output, raw=raw)
    mean = reduction(case._replace(rows=chain.rows, axes=way, chain=chain)) == "mean"
    return chain._replace(scale=1 / chain.rows if mean else 1.0)


def _raw(chain: Chain, sources: list[Any], axes: list[int | None]) -> Gradient | None:
    """Find the inputs in a batch that the loss does something to before the first layer."""
    x = chain.layers[0].x
    for leaf, axis in zip(sources, axes, strict=True):
        if axis is None:
            continue
        rows = np.moveaxis(np.asarray(leaf, np.float64), axis, 0).reshape(chain.rows, -1)
        # Ones that stand for a bias are added to what is given.
        added = (x == 1).all(0) if rows.shape[1] < x.shape[1] else np.zeros(x.shape[1], bool)
        if rows.shape[1] == (~added).sum() and not np.allclose(rows, x[:, ~added]):
            raw = x.copy()
            raw[:, ~added] = rows
            return raw
    return None


# What is read off a program.


def _layers(program: Program) -> list[_Found]:
    """Give the products of a parameter and what comes of the batch, each with its bias."""
    reach, batch = program.reach(), frozenset(program.batch)
    views = program.views()
    users: dict[int, list[Step]] = {}
    for step in program.steps:
        for each in step.inputs:
            users.setdefault(each, []).append(step)
    layers = []
    for step in program.steps:
        for side, other in ((0, 1), (1, 0)) if len(step.inputs) == 2 else ():
            view, x = views.get(step.inputs[side]), step.inputs[other]
            if view and reach[x] & batch:
                product = _product(program, step, side, view) or _scaled(program, step, side, view)
                if product and (layer := _with_bias(program, users, views, product)):
                    layers.append(layer)
    return layers


def _product(program: Program, step: Step, side: int, view: View) -> _Found | None:
    """Read a product of a parameter and inputs."""
    axes = jaxprs.product(step.equation)
    if axes is None or axes.shared[0]:
        return None
    x = step.inputs[1 - side]
    shape = program.shapes[x]
    weight = _matrix(view.places, axes.left[side], axes.summed[side])
    inputs = _matrix(_positions(shape), axes.left[1 - side], axes.summed[1 - side])
    # Rows along several axes are no examples.
    if sum(shape[axis] > 1 for axis in axes.left[1 - side]) > 1:
        return None
    given = _positions(program.shapes[step.outputs[0]])
    sizes = len(weight), len(inputs)
    z_places = given.reshape(sizes[::-1]) if side else given.reshape(sizes).T
    return _found(step, 1 - side, inputs=inputs, z_places=z_places, leaf=view.leaf, weight=weight)


def _scaled(program: Program, step: Step, side: int, view: View) -> _Found | None:
    """Read a product of one number and inputs, one of each example."""
    shape = program.shapes[step.inputs[1 - side]]
    if step.name != "mul" or np.unique(view.places).size > 1 or sum(n > 1 for n in shape) > 1:
        return None
    rows = _positions(shape).reshape(-1, 1)
    return _found(
        step, 1 - side, inputs=rows, z_places=rows, leaf=view.leaf, weight=np.zeros((1, 1), int)
    )


def _found(
    step: Step, side: int, inputs: Places, z_places: Places, leaf: int, weight: Places
) -> _Found:
    return _Found(
        step.inputs[side],
        inputs,
        z=step.outputs[0],
        z_places=z_places,
        weight=leaf,
        bias=None,
        weight_places=weight,
    )


def _with_bias(
    program: Program, users: dict[int, list[Step]], views: dict[int, View], layer: _Found
) -> _Found | None:
    """Follow a product to where a parameter is added to it; None where only a part is a weight."""
    z, places = layer.z, layer.z_places
    while len(users.get(z, [])) == 1:
        (step,) = users[z]
        given = step.outputs[0]
        moved = jaxprs.move(step.equation, _positions(program.shapes[z]))
        if moved is not None and moved.size == places.size:
            z, places = given, np.argsort(moved, axis=None)[places]
            continue
        others = [each for each in step.inputs if each != z]
        view = views.get(others[0]) if step.name == "add" and others else None
        if view and program.shapes[given] == program.shapes[z]:
            entries = np.broadcast_to(view.places, program.shapes[given]).ravel()[places]
            added = layer._replace(z=given, z_places=places)
            if (entries == entries[0]).all():
                return _with_entries(program, added, view.leaf, entries[0]) or _whole(
                    program, layer._replace(z=z, z_places=places)
                )
        break
    return _whole(program, layer._replace(z=z, z_places=places))


def _with_entries(program: Program, layer: _Found, leaf: int, bias: Places) -> _Found | None:
    """Take entries that are added to a product, one of each unit, for the bias of a layer."""
    if leaf == layer.weight:
        inputs = layer.weight_places.shape[1]
        for ones in (0, 1):
            both = np.insert(layer.weight_places, ones * inputs, bias, axis=1)
            if whole := _whole(program, layer._replace(weight_places=both, ones=ones)):
                return whole
    elif np.array_equal(bias, np.arange(np.prod(program.shapes[program.params[leaf]], dtype=int))):
        return _whole(program, layer._replace(bias=leaf))
    return None


def _whole(program: Program, layer: _Found) -> _Found | None:
    """Give a layer whose weight is the whole of a parameter, one way or the other; else None."""
    weight = layer.weight_places
    if weight.size != np.prod(program.shapes[program.params[layer.weight]], dtype=int):
        return None
    if np.array_equal(weight, _positions(weight.shape)):
        return layer
    across = np.array_equal(weight, _positions(weight.shape[::-1]).T)
    return layer._replace(transposed=True) if across else None


def _positions(shape: Sequence[int]) -> Places:
    return np.arange(np.prod(shape, dtype=int)).reshape(shape)


def _matrix(places: Places, rows: Sequence[int], columns: Sequence[int]) -> Places:
    shape = [int(np.prod([places.shape[axis] for axis in axes])) for axes in (rows, columns)]
    return places.transpose((*rows, *columns)).reshape(shape)

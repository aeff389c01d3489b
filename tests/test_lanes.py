"""A function mapped over the last axis is the function of each, however it is written."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxnet import lanes, losses, network, products

SHARED = np.arange(6.0, dtype=np.float32).reshape(2, 3)


def searched(x):
    """Search along a line, as some optimizers do: how long depends on the run."""
    return jax.lax.while_loop(lambda at: at < x.sum(), lambda at: 2 * at + 1, 0.0)


def loops(x):
    def body(carry, row):
        carry = jnp.tanh(carry + row.sum())
        return carry, jax.lax.cond(carry > 0, jnp.sum, jnp.max, row)

    return jax.lax.scan(body, 0.0, x)


def drawn(x):
    key = jax.random.fold_in(jax.random.key(3), jnp.round(4 * x[0, 0]).astype(int))
    return jax.random.normal(key, (2,)), jax.random.key_data(key)


FUNCTIONS = {
    "elementwise": lambda x: (jnp.tanh(x) * 2 - SHARED, jnp.where(x > 0, x, SHARED), x**3),
    "scalars": lambda x: (jnp.clip(x, x[0, 0], 1.0), jax.lax.select(x[0, 0] > 0, x, -x), x / 2),
    "reductions": lambda x: (x.sum(), x.max(0), x.min(1), jnp.all(x > 0, 1), jnp.any(x > 0)),
    "shapes": lambda x: (
        x.T,
        x.reshape(3, 2),
        x[None, :, None],
        x.ravel(),
        x.T[..., None] + x[None],
    ),
    "broadcast": lambda x: jnp.broadcast_to(x[:, 0], (4, 2)) + jnp.broadcast_to(x.sum(), (4, 2)),
    "turned": lambda x: (x.reshape(3, 2, order="F"), x.ravel(order="F")),
    "empty": lambda x: (x[:0], x[:0] * SHARED[:0], jnp.zeros((0, 3))),
    "squeezed": lambda x: (x[:1, :].squeeze(0), x[0, 0].reshape(1, 1)),
    "places": lambda x: (jnp.argmax(x, 1), jnp.sort(x), jnp.take_along_axis(x, x.argsort(1), 1)),
    "indexed": lambda x: (
        x[1],
        x[:, ::-1],
        x.at[0, 1].set(5),
        jnp.take(SHARED[0], jnp.argmax(x[0])),
    ),
    "joined": lambda x: jnp.concatenate([x, SHARED, x]),
    "products": lambda x: (x @ SHARED.T, x.T @ x, SHARED @ SHARED.T + x[0, 0]),
    "decomposed": lambda x: jnp.linalg.svd(x, full_matrices=False)[1],
    "derivatives": jax.value_and_grad(lambda x: (jax.nn.relu(x) * SHARED).sum()),
    "called": lambda x: (
        jax.jit(jax.nn.logsumexp)(jax.nn.relu(x)) + jax.checkpoint(jnp.sin)(x).sum()
    ),
    "searched": searched,
    "loops": loops,
    "drawn": drawn,
    "constant": lambda x: (SHARED, 2.0, {"a": x, "b": None}),
}


def held(function, x):
    """Hold the results against `jax.vmap`'s over the first axis."""
    wanted = jax.jit(jax.vmap(function))(np.moveaxis(x, -1, 0))
    wanted = jax.tree.map(lambda leaf: np.moveaxis(np.asarray(leaf), 0, -1), wanted)
    found = jax.jit(lanes.vmap(function))(x)
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_is_the_function_alone(name, double):
    """Also of float32 where JAX's own numbers are double."""
    with jax.enable_x64(double):
        held(FUNCTIONS[name], np.random.default_rng(0).normal(size=(2, 3, 5)).astype(np.float32))


CHAIN = {
    "tanh": jnp.tanh,
    "turned": jnp.transpose,
    "first": lambda x: x[:1] + x,
    "sums": lambda x: x.sum(0, keepdims=True) * x,
    "largest": lambda x: x - x.max(-1, keepdims=True),
    "product": lambda x: x @ (x.T @ x),
    "outer": lambda x: x[:, None] * jnp.ones((1, 2, 1)) if x.ndim < 3 else x[:, 0],
    "flat": lambda x: x.reshape(-1, 1),
}


@settings(max_examples=25, deadline=None)
@given(
    names=st.lists(st.sampled_from([*CHAIN]), min_size=1, max_size=4),
    shape=st.tuples(*[st.integers(1, 3)] * 2),
    size=st.integers(1, 4),
)
def test_chains_are_the_function_alone(names, shape, size):
    def function(x):
        for name in names:
            if x.ndim == 2 or name in ("tanh", "outer"):
                x = CHAIN[name](x)
        return x

    held(function, np.random.default_rng(size).normal(size=(*shape, size)).astype(np.float32))


@pytest.mark.parametrize(
    "given", [(), (np.ones(3), np.ones(4)), (np.ones((3, 2)), np.ones(3)), (np.ones(()),) * 2]
)
def test_leaves_of_several_sizes_are_refused(given):
    with pytest.raises(ValueError, match="wanted leaves with last axes of one size; got shapes"):
        lanes.vmap(lambda *given: given)(*given)


def test_what_is_closed_over_is_shared():
    def scaled(by, x):
        return lanes.vmap(lambda x: by * x)(x)

    x = np.float32([[1, 2, 3], [4, 5, 6]])
    by = np.float32([2, 3])
    assert jax.jit(scaled)(by, x).tolist() == [[2, 4, 6], [12, 15, 18]]
    assert jax.grad(lambda by: scaled(by, x).sum())(by).tolist() == [6, 15]


def test_keys_are_mapped_like_numbers():
    keys = jax.random.split(jax.random.key(0), 3)
    found = lanes.vmap(lambda key: jax.random.uniform(key, (2,)))(keys)
    assert found.tolist() == jax.vmap(lambda key: jax.random.uniform(key, (2,)))(keys).T.tolist()


def moved(mapped, size, *arguments):
    """List the shapes transposed so that the axis of that size does not stay last."""
    text = str(jax.make_jaxpr(mapped)(*arguments))
    found = re.findall(r"f32\[([\d,]+)\] = transpose\[\s*permutation=\(([\d, ]+)\)", text)
    turned = [[list(map(int, each.strip(",").split(","))) for each in pair] for pair in found]
    return [shape for shape, order in turned if size in shape and order[-1] != len(order) - 1]


def test_the_mapped_axis_of_a_networks_step_is_never_moved(standard_promotion):
    """Where `jax.vmap` over the last axis moves it."""
    loss = losses.BatchLoss(network.forward, optax.losses.softmax_cross_entropy)
    batch = np.ones((5, 3), np.float32), np.ones((5, 2), np.float32)
    runs = network.init(jax.random.key(0), [3, 4, 2])
    runs = jax.tree.map(lambda leaf: jnp.repeat(leaf[..., None], 7, -1), runs)
    step = products.expanded(jax.value_and_grad(loss))
    optimizer = optax.adam(0.1)

    def stepped(params):
        value, grads = step(params, batch)
        return value, optimizer.update(grads, optimizer.init(params))[0]

    assert not moved(lanes.vmap(stepped), 7, runs)
    assert moved(jax.vmap(stepped, in_axes=-1, out_axes=-1), 7, runs)

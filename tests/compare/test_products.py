"""Products expanded are the products, on every path that a loss may take."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxnet import devices, network
from jaxnet._guards import jaxprs
from jaxnet.compare.fast import products
from jaxnet.losses import BatchLoss

RANDOM = np.random.default_rng(0)
SHAPES = st.tuples(*[st.integers(1, 4)] * 4)


@settings.get_profile("costly")
@given(shape=SHAPES, which=st.sampled_from(["ij,jk->ik", "bij,bjk->bik", "ij,kj->ik", "i,j->ij"]))
def test_small_products_are_those_of_numpy(shape, which):
    sizes = dict(zip("ijkb", shape, strict=True))
    random = np.random.default_rng(shape)
    left, right = which.split("->")[0].split(",")
    a, b = (random.normal(size=[sizes[axis] for axis in axes]) for axes in (left, right))

    def product(a, b):
        return jnp.einsum(which, a, b)

    with jax.enable_x64(True):
        found = jax.jit(products.expanded(product))(a, b)
        assert "dot_general" not in str(jax.make_jaxpr(products.expanded(product))(a, b))
    np.testing.assert_allclose(found, np.einsum(which, a, b), rtol=1e-12, atol=1e-12)


def equations(function, *arguments):
    return list(jaxprs.operations(jax.make_jaxpr(function)(*arguments).jaxpr))


def named(function, *arguments):
    return [each.primitive.name for each in equations(products.expanded(function), *arguments)]


def test_short_sums_that_the_library_would_turn_round_are_written_out():
    a, b = RANDOM.normal(size=(10, 12)), RANDOM.normal(size=(10, 7))

    def product(a, b):
        return jnp.einsum("ij,ik->jk", a, b)

    with jax.enable_x64(True):
        np.testing.assert_allclose(products.expanded(product)(a, b), a.T @ b, rtol=1e-12)
        assert ("dot_general" in named(product, a, b)) == (products._THIN == 0)
        assert "dot_general" in named(product, a.repeat(2, 0), b.repeat(2, 0))
        assert "dot_general" in named(jnp.matmul, a.T, b)


def test_a_gradient_of_a_network_moves_nothing_of_its_hidden_layers():
    """Where `vmap` moves the batch first of what each layer gives, and last for the next."""
    params, batch = (
        network.init(jax.random.key(0), [20, 30, 40, 5]),
        (jnp.ones((7, 20)), jnp.ones((7, 5))),
    )
    gradient = jax.value_and_grad(BatchLoss(network.forward, optax.losses.l2_loss))

    def moved(function):
        found = equations(function, params, batch)
        # Nothing is moved where one number is written everywhere.
        same = {each.outvars[0] for each in found if each.primitive.name == "broadcast_in_dim"}
        moves = (each for each in found if each.primitive.name == "transpose")
        return {each.outvars[0].aval.shape for each in moves if each.invars[0] not in same}

    hidden = {(7, 30), (30, 7), (7, 40), (40, 7)}
    with jax.default_matmul_precision(None):  # What is asked for is left as it is.
        assert hidden <= moved(gradient)
        assert not hidden & moved(products.expanded(gradient))


@settings.get_profile("costly")
@given(data=st.data())
def test_arrays_that_lie_otherwise_than_named_give_the_same(data):
    """Products, sums and elementwise operations of transposed arrays, one after the other."""
    steps = data.draw(st.lists(st.tuples(st.integers(0, 5), st.permutations(range(3))), max_size=6))

    def function(weight, x, np=jnp):
        y = x
        for kind, order in steps:
            moved = np.transpose(y, order)
            match kind:
                case 0:
                    y = np.tanh(moved)
                case 1:  # not at 0, where 2 leaves what rounding may have either side of it
                    y = np.where(moved > 0.1, moved, 1.5)
                case 2:
                    y = moved - moved.max(axis=1, keepdims=True)
                case 3:
                    y = moved * moved.sum((0, 2))[None, :, None] + np.exp(-np.abs(moved))
                case 4:
                    y = np.einsum("oi,abi->abo", weight[:, : moved.shape[2]], moved)
                case _:
                    rows = moved.max(axis=1)
                    hidden = np.tanh(np.einsum("oi,ai->ao", weight[:, : rows.shape[1]], rows) + 1)
                    y = hidden[:, None] * moved[:, :, :1]
        return y.sum(), np.einsum("abc,abc->cb", y, y)

    weight, x = RANDOM.normal(size=(6, 7)), RANDOM.normal(size=(5, 3, 4))
    with jax.enable_x64(True):
        found = jax.jit(products.expanded(function))(weight, x)
    for ours, expected in zip(found, function(weight, x, np), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-10, atol=1e-10)


def test_large_products_are_left_to_the_library():
    a = jnp.ones((16, 16))
    assert "dot_general" in str(jax.make_jaxpr(products.expanded(jnp.matmul))(a, a))


def test_what_does_not_add_as_floats_do_is_left_alone():
    """Booleans add by or; narrow floats may be added in wider ones."""
    x, y = np.array([True, True, False]), np.ones((3, 2), bool)
    assert products.expanded(jnp.matmul)(x, y).tolist() == [True, True]
    narrow = jnp.full((2, 3), 1.5, jnp.bfloat16)

    def wide(a, b):
        return jax.lax.dot(a, b, preferred_element_type=jnp.float32)

    found = products.expanded(wide)(narrow, narrow.T)
    assert found.dtype == np.float32
    assert found.tolist() == [[6.75, 6.75], [6.75, 6.75]]


def loops(w, x):
    def body(carry, row):
        carry = jnp.tanh(w @ carry + row)
        return carry, jax.lax.cond(carry[0] > 0, carry.sum, lambda: 0.0)

    return jax.lax.scan(body, x[0], x)[1].sum()


def calls(w, x):
    return jax.jit(lambda a: jax.nn.relu(a @ w))(x).sum() + jnp.max(jax.checkpoint(jnp.sin)(x @ w))


@pytest.mark.parametrize("function", [loops, calls])
def test_gradients_through_loops_and_calls_are_the_same(function):
    random = np.random.default_rng(0)
    w, x = (random.normal(size=shape).astype(np.float32) for shape in ((3, 3), (4, 3)))
    plain = jax.value_and_grad(function)
    found, expected = (jax.jit(each)(w, x) for each in (products.expanded(plain), plain))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, expected
    )


def test_a_pytree_comes_back_as_it_was():
    tree = {"a": jnp.ones(2), "b": (jnp.zeros(()), None)}
    found = products.expanded(lambda tree: {"c": tree["a"] @ tree["a"], "d": tree})(tree)
    assert jax.tree.structure(found["d"]) == jax.tree.structure(tree)
    assert found["c"] == 2


def test_a_changed_closure_is_traced_again():
    held = [1.0]

    def function(x):
        return held[0] * x

    first = products.expanded(function)(jnp.ones(()))
    held[0] = 2.0
    assert (first, products.expanded(function)(jnp.ones(()))) == (1, 2)


@jax.custom_jvp
def bent(x):
    return jnp.abs(x)


@bent.defjvp
def _(primals, tangents):
    return bent(*primals), 7 * tangents[0]


def test_derivatives_taken_of_it_are_those_of_the_function():
    """Of a function with a derivative of its own as well, which expanding looks into."""

    def function(w, x):
        return bent(x @ w).sum()

    w, x = np.float32([1, 2]), np.float32([[3, -5], [1, 1]])
    found = jax.grad(products.expanded(function))(w, x)
    assert found.tolist() == jax.grad(function)(w, x).tolist() == [7 * 4, 7 * -4]


def test_a_wider_sum_that_is_asked_for_is_made():
    with jax.enable_x64(True):
        found = products.expanded(lambda w, x: jnp.dot(x, w, preferred_element_type=jnp.float64))(
            jnp.ones((2, 1), jnp.float32), jnp.ones((1, 2), jnp.float32)
        )
    assert found.dtype == np.float64


def test_half_precision_is_left_to_the_library(four_cpus):
    """Which adds in float32 on CPUs: each product alone would overflow."""
    a, b = np.float16([[300, 300]]), np.float16([[300], [-300]])
    assert products.expanded(jnp.matmul)(a, b).tolist() == [[0]]


def test_what_was_set_around_an_operation_is_set_around_it_again():
    def draws(w, x):
        with jax.threefry_partitionable(False):
            return w * jax.random.normal(jax.random.key(0), x.shape).sum()

    given = np.float32(2), np.zeros((3, 5), np.float32)
    np.testing.assert_allclose(products.expanded(draws)(*given), draws(*given), rtol=1e-6)


def test_derivatives_by_what_the_function_closes_over_are_its_own():
    w, x = np.float32([1, 2]), np.float32([[3, -5], [1, 1]])

    def scaled(by, expand):
        return expand(jax.value_and_grad(lambda w, x: by * jnp.sum((x @ w) ** 2)))(w, x)[0]

    assert jax.grad(scaled)(2.0, products.expanded) == jax.grad(scaled)(2.0, lambda f: f)


def test_products_of_a_gradient_are_expanded_on_several_devices_too():
    """Inside `jax.shard_map` autodiff asks for a sharding of each of them, over no axis."""
    mesh, spread = devices.mesh("runs"), jax.sharding.PartitionSpec("runs")
    gradient = products.expanded(jax.grad(lambda w, x: jnp.sum(jnp.tanh(w @ x))))
    mapped = jax.shard_map(
        jax.vmap(gradient), mesh=mesh, in_specs=(spread, spread), out_specs=spread, check_vma=False
    )
    w, x = jnp.ones((4, 3, 2)), jnp.ones((4, 2, 5))
    assert "dot_general" not in str(jax.make_jaxpr(mapped)(w, x))

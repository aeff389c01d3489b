"""Evidence for the networks: their start, their outputs, and what they refuse."""

import functools
import itertools

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import oracles
import pytest
from few import first_of
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxnet import network
from jaxnet.errors import InputError
from jaxnet.variables import Variables

INITIALIZERS = jax.nn.initializers
ACTIVATIONS = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "softplus": jax.nn.softplus,
}
KEY = jax.random.key(7)


def linear(shape, bias=None):
    return network.Layer(jnp.zeros(shape), jnp.zeros(shape[0] if bias is None else bias))


@pytest.mark.parametrize("dtype", [None, jnp.float16, jnp.bfloat16, jnp.float32, "float64"])
@pytest.mark.parametrize("sizes", [[3, 2], [3, 4, 4], [1, 5, 1], [2, 3, 4, 5], [6, 5, 4, 3, 2, 1]])
def test_init_makes_a_layer_between_each_two_sizes(sizes, dtype, x64):
    params = jax.eval_shape(lambda: network.init(KEY, sizes, dtype=dtype))
    assert len(params) == len(sizes) - 1
    for layer, inputs, outputs in zip(params, sizes[:-1], sizes[1:], strict=True):
        assert layer.weight.shape == (outputs, inputs)
        assert layer.bias.shape == (outputs,)
        assert layer.weight.dtype == layer.bias.dtype == jnp.dtype(dtype or "float64")


def test_biases_start_at_zero_and_weights_do_not():
    for layer in network.init(KEY, [3, 4, 2]):
        assert layer.weight.dtype == layer.bias.dtype == jnp.float32
        np.testing.assert_array_equal(layer.bias, 0)
        assert np.all(np.isfinite(layer.weight))
        assert np.all(layer.weight != 0)


def test_init_is_a_function_of_its_key():
    first, again = network.init(KEY, [3, 4, 2]), network.init(KEY, [3, 4, 2])
    other = network.init(jax.random.key(8), [3, 4, 2])
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert np.all(first[0].weight != other[0].weight)


def test_layers_draw_from_keys_of_their_own():
    """Layers of one shape would be equal, and wide ones correlated, under a shared key."""
    weights = [np.ravel(layer.weight) for layer in network.init(KEY, [64, 64, 64, 64])]
    correlations = np.corrcoef(weights)[np.triu_indices(3, 1)]
    assert np.all(np.abs(correlations) < 5 / np.sqrt(64 * 64))


@first_of(
    ("initializer", "variance"),
    [
        (INITIALIZERS.he_normal(), lambda i, o: 2 / i),
        (INITIALIZERS.he_uniform(), lambda i, o: 2 / i),
        (INITIALIZERS.lecun_normal(), lambda i, o: 1 / i),
        (INITIALIZERS.glorot_normal(), lambda i, o: 2 / (i + o)),
        (INITIALIZERS.variance_scaling(3.0, "fan_out", "normal"), lambda i, o: 3 / o),
        (INITIALIZERS.normal(0.3), lambda i, o: 0.09),
        (INITIALIZERS.truncated_normal(0.3), lambda i, o: 0.3**2 * 0.7737),
        (INITIALIZERS.uniform(2.0), lambda i, o: 2.0**2 / 12),
        (INITIALIZERS.orthogonal(1.0), lambda i, o: 1 / max(i, o)),
    ],
    4,
)
def test_spread_follows_the_fans(initializer, variance):
    """On a layer far from square a swapped fan is off by a factor of ten in variance."""
    layer = network.init(KEY, [40, 400], initializer)[0]
    assert np.var(layer.weight) == pytest.approx(variance(40, 400), rel=0.06)


def test_he_uniform_is_the_default():
    named = network.init(KEY, [4, 3, 2], INITIALIZERS.he_uniform())
    jax.tree.map(np.testing.assert_array_equal, network.init(KEY, [4, 3, 2]), named)


def test_initializer_sees_inputs_by_outputs():
    seen = []

    def numbered(key, shape, dtype):
        seen.append((shape, dtype))
        return jnp.arange(shape[0] * shape[1], dtype=dtype).reshape(shape)

    params = network.init(KEY, [3, 5, 2], numbered)
    assert seen == [((3, 5), jnp.float32), ((5, 2), jnp.float32)]
    np.testing.assert_array_equal(params[0].weight, np.arange(15).reshape(3, 5).T)


@pytest.mark.parametrize("sizes", [[], [3], [3, 0], [0, 3], [3, -1, 2]])
def test_init_refuses_sizes_of_no_network(sizes):
    with pytest.raises(InputError, match=r"^sizes: expected .* at least 1.*, got \[") as caught:
        network.init(KEY, sizes)
    assert f"got {sizes}; give them such as" in str(caught.value)


def test_a_seed_is_no_key(unchecked):
    with pytest.raises(InputError, match=r"^key: expected one random key, got int; make it by "):
        network.init(0, [3, 2])


def test_sizes_may_be_numpys(unchecked):
    """Such as the number of labels, which NumPy counts."""
    params = network.init(KEY, [np.int64(3), np.int32(2)])
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, network.init(KEY, [3, 2]))


@settings.get_profile("costly")
@given(
    sizes=st.lists(st.integers(1, 4), min_size=2, max_size=6),
    activation=st.sampled_from(sorted(ACTIVATIONS)),
    rows=st.integers(1, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_forward_agrees_with_numpy(sizes, activation, rows, seed):
    """At any depth from one to five, over rows by `vmap`."""
    random = np.random.default_rng(seed)
    twin = [
        (random.normal(size=(o, i)), random.normal(size=o)) for i, o in itertools.pairwise(sizes)
    ]
    x = random.normal(size=(rows, sizes[0]))
    expected = oracles.forward(twin, x, activation)[1][-1]
    forward = functools.partial(network.forward, activation=ACTIVATIONS[activation])
    with jax.enable_x64(True):
        params = [network.Layer(jnp.asarray(w), jnp.asarray(b)) for w, b in twin]
        outputs = jax.vmap(forward, in_axes=(None, 0))(params, jnp.asarray(x))
    np.testing.assert_allclose(outputs, expected, rtol=1e-12, atol=1e-12)


def test_relu_is_the_default_and_the_output_stays_linear():
    params = (network.Layer(jnp.eye(2), jnp.zeros(2)), network.Layer(-jnp.eye(2), jnp.zeros(2)))
    np.testing.assert_array_equal(network.forward(params, jnp.array([3.0, -5.0])), [-3.0, 0.0])


@pytest.mark.parametrize(
    ("params", "x", "words"),
    [
        ((), jnp.zeros(3), "params: expected at least one Layer, got none"),
        ({"w": jnp.zeros(3)}, jnp.zeros(3), "params: expected a sequence of layers.* got dict"),
        (linear((2, 3)), jnp.zeros(3), "params: expected a sequence of layers.* got Layer"),
        (jnp.zeros((2, 3)), jnp.zeros(3), "params: expected a sequence of layers"),
        (
            Variables((linear((2, 3)), linear((2, 2))), ()),
            jnp.zeros(3),
            "params: expected a sequence of layers.* got Variables; .* give the params",
        ),
        (
            [linear((2, 3))],
            jnp.zeros(()),
            r"x: expected one example of shape \[3\], got shape \[\]",
        ),
        (
            [linear((2, 3))],
            jnp.zeros((4, 3)),
            r"x: expected one example of shape \[3\], got shape \[4, 3\]; .*jax.vmap",
        ),
        (
            [linear((2, 3))],
            jnp.zeros(4),
            r"params\[0\]: expected weight \[O, 4\] and bias \[O\].* got weight \[2, 3\]",
        ),
        # A weight of one input would broadcast nowhere; a bias of one output would.
        (
            [linear((2, 3), bias=1)],
            jnp.zeros(3),
            r"params\[0\]: .* got weight \[2, 3\] and bias \[1\]",
        ),
        (
            [linear((2, 3)), linear((4, 3))],
            jnp.zeros(3),
            r"params\[1\]: expected weight \[O, 2\] .* 2 inputs, got weight \[4, 3\]",
        ),
        (
            [linear((2, 3)), network.Layer(jnp.zeros(2), jnp.zeros(()))],
            jnp.zeros(3),
            r"params\[1\]: .* got weight \[2\] and bias \[\]",
        ),
        (
            [network.Layer(jnp.zeros((5, 2, 3)), jnp.zeros(5))],
            jnp.zeros(3),
            r"params\[0\]: .* got weight \[5, 2, 3\]",
        ),
    ],
)
def test_forward_refuses_shapes_that_do_not_chain(params, x, words, unchecked):
    with pytest.raises(InputError, match="^" + words):
        network.forward(params, x)


def test_annotations_are_checked_in_the_first_calls_of_a_test():
    params, x = (network.Layer(jnp.ones((3, 2)), jnp.ones(3)),), jnp.ones(2)
    with pytest.raises(jaxtyping.TypeCheckError, match="'x'"):
        network.forward(params, jnp.ones((1, 2)))
    for _ in range(100):
        network.forward(params, x)
    with pytest.raises(InputError, match="a sequence of layers"):
        network.forward(0, x)


def numpy_forward(params, x, activations):
    for (weight, bias), activation in zip(params, activations, strict=True):
        x = activation(weight @ x + (0 if bias is None else bias))
    return x


@first_of("bias", [INITIALIZERS.normal(), None], ids=["biased", "bare"])
def test_activations_and_biases_agree_with_numpy(bias):
    """Another order of them, and an output left as it is, give something else."""
    params = network.init(KEY, [3, 4, 4, 5, 2], INITIALIZERS.normal(1.0), bias=bias)
    x = np.random.default_rng(0).normal(size=3).astype(np.float32)
    ways = [jnp.tanh, jax.nn.relu, jnp.sin]
    twins = [np.tanh, lambda z: np.maximum(z, 0), np.sin, np.exp]
    given = network.forward(params, jnp.asarray(x), ways, jnp.exp)
    np.testing.assert_allclose(given, numpy_forward(params, x, twins), rtol=1e-5)
    for other in ((ways, None), (ways[::-1], jnp.exp)):
        assert not np.allclose(given, network.forward(params, jnp.asarray(x), *other), rtol=1e-3)


def test_biases_are_drawn_by_their_initializer_or_left_out():
    """From keys of their own: neither the weights', nor one another's; weights are as ever."""
    sizes = [64, 64, 64]
    plain = network.init(KEY, sizes)
    drawn = network.init(KEY, sizes, bias=INITIALIZERS.normal(1.0))
    bare = network.init(KEY, sizes, bias=None)
    for three in zip(plain, drawn, bare, strict=True):
        np.testing.assert_array_equal(three[0].weight, three[1].weight)
        np.testing.assert_array_equal(three[0].weight, three[2].weight)
    assert np.var(np.concatenate([layer.bias for layer in drawn])) == pytest.approx(1, rel=0.4)
    assert abs(np.corrcoef(drawn[0].bias, drawn[1].bias)[0, 1]) < 0.5
    (thin,) = network.init(KEY, [1, 64], INITIALIZERS.normal(1.0), bias=INITIALIZERS.normal(1.0))
    assert abs(np.corrcoef(thin.weight[:, 0], thin.bias)[0, 1]) < 0.5
    assert len(jax.tree.leaves(bare)) == 2


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: network.init(KEY, [3, 2], bias=False), "bias: expected an initializer or None"),
        (lambda: network.init(KEY, [3, 2], bias=lambda key: 0), "bias: expected a function of"),
        (lambda: network.init(KEY, [3, 2], 0.1), "initializer: expected a function of"),
        (
            lambda: network.forward(network.init(KEY, [3, 4, 2]), jnp.ones(3), [jnp.tanh] * 2),
            "activation: expected a function, or one for each of the 1 hidden layers, got 2 of",
        ),
        (
            lambda: network.forward(network.init(KEY, [3, 4, 2]), jnp.ones(3), "tanh"),
            "activation: expected a function, .*, got 'tanh'",
        ),
        (
            lambda: network.forward(network.init(KEY, [3, 2]), jnp.ones(3), jnp.tanh, "tanh"),
            "output_activation: expected a function or None, got 'tanh'",
        ),
    ],
)
def test_what_draws_and_activates_is_a_function(call, words, unchecked):
    with pytest.raises(InputError, match="^" + words):
        call()


@pytest.mark.usefixtures("unchecked")
def test_an_activation_that_is_none_is_named():
    params = network.init(jax.random.key(0), [2, 3, 3, 1])
    with pytest.raises(InputError, match="each of the 2 hidden layers, got 'relu'"):
        network.forward(params, np.ones(2, np.float32), [jnp.tanh, "relu"])

"""Evidence for the table of what a model is made of."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

import jaxnet
from jaxnet import InputError

NETWORK = jaxnet.init(jax.random.key(0), [64, 32, 10])


def test_a_network_is_told_array_by_array():
    assert repr(jaxnet.summary(NETWORK)) == str(jaxnet.summary(NETWORK))
    assert str(jaxnet.summary(NETWORK)).splitlines() == [
        "parameter   shape    dtype    numbers    bytes",
        "[0].weight  32 x 64  float32    2,048  8.19 kB",
        "[0].bias    32       float32       32    128 B",
        "[1].weight  10 x 32  float32      320  1.28 kB",
        "[1].bias    10       float32       10     40 B",
        "2,410 numbers that are trained; 9.64 kB",
    ]


@pytest.mark.parametrize("library", ["equinox", "linen"])
def test_counts_are_the_libraries_own(library):
    if library == "equinox":
        whole = eqx.nn.MLP(3, 2, 8, 2, key=jax.random.key(0))
        params = eqx.filter(whole, eqx.is_array)
    else:
        model = linen.Sequential([linen.Conv(4, (3, 3)), linen.LayerNorm(), linen.Dense(5)])
        params = model.init(jax.random.key(0), jnp.ones((1, 8, 8, 2)))
    leaves = jax.tree.leaves(params)
    got = jaxnet.summary(params)
    assert got.count == sum(leaf.size for leaf in leaves)
    assert got.nbytes == sum(leaf.nbytes for leaf in leaves)
    assert [leaf.shape for leaf in got.leaves] == [leaf.shape for leaf in leaves]


def test_what_does_not_train_is_told_apart():
    state = {"mean": np.ones(3, np.float32), "drawn": jax.random.key(0)}
    params = {"weight": np.ones((2, 3), np.float16), "count": np.int32(3)}
    got = jaxnet.summary(jaxnet.Variables(params, state))
    assert {leaf.name: leaf.trains for leaf in got.leaves} == {
        "['count']": False,
        "['weight']": True,
        ".state['drawn']": False,
        ".state['mean']": False,
    }
    assert str(got).endswith("6 numbers that are trained, 5 that are not; 36 B")


def test_shapes_are_enough_and_a_page_shows_what_is_printed():
    drawn = {"key": jax.random.key(0)}
    assert jaxnet.summary(jax.eval_shape(lambda: drawn)) == jaxnet.summary(drawn)
    shapes = jax.eval_shape(lambda: NETWORK)
    assert jaxnet.summary(shapes) == jaxnet.summary(NETWORK)
    page = jaxnet.summary(shapes)._repr_html_()
    assert all(word in page for word in ("[1].weight", "10 x 32", "2,410 numbers", "9.64 kB"))


@pytest.mark.parametrize("nbytes", [0, 999, 1000, 999_999, 10**9, 10**16])
def test_sizes_have_three_digits(nbytes):
    leaf = jax.ShapeDtypeStruct((nbytes,), np.int8)
    said = str(jaxnet.summary([leaf])).splitlines()[1].split()[-2:]
    units = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
    assert float(said[0]) * units[said[1]] == pytest.approx(nbytes, rel=5e-3)


@pytest.mark.parametrize(
    ("params", "words"),
    [({}, "an empty pytree"), ([1.0], r"params\[0\].*got float"), ({"a": "x"}, "got str")],
)
def test_what_is_no_model_is_refused(params, words):
    with pytest.raises(InputError, match=words):
        jaxnet.summary(params)

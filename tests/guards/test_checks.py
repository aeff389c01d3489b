"""Evidence for the checks: bad input is named, with what was expected and what came."""

import functools

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import pytest
from scipy import sparse

import jaxnet
from jaxnet import variables
from jaxnet._guards import checks
from jaxnet.errors import InputError

BAD_LEAVES = [
    (1.5, "float"),
    ("abc", "str"),
    (None, "empty"),
    (np.array(["a", "b"]), "<U1"),
    (np.array([None, 1]), "object"),
    (jax.random.split(jax.random.key(0), 2), "key<fry>"),
]


def holed(value, *where, dtype=np.float32):
    array = np.ones((4, 3), dtype)
    array[where] = value
    return array


def params(tree, name="params"):
    checks.params(tree, variables.split(tree)[0], name)


@pytest.mark.parametrize("check", [params, checks.data])
@pytest.mark.parametrize(("leaf", "got"), BAD_LEAVES)
def test_a_leaf_that_is_no_array_of_numbers_is_refused(check, leaf, got):
    with pytest.raises(InputError) as caught:
        check(leaf, "these")
    assert str(caught.value).startswith("these: expected ")
    assert f"got {got}" in str(caught.value) or "got an empty pytree" in str(caught.value)


@pytest.mark.parametrize(
    "name", ["adam", "plain SGD", "Ωmega 中文 🚀", "👩\N{ZERO WIDTH JOINER}🔬"]
)
def test_a_name_of_any_letters_is_taken(name):
    checks.in_a_line("names", name, name)


@pytest.mark.parametrize("name", ["", " ", "a\nb", "a\r", "\x1b[2J", "a\u2028b", "\ud800", 3, None])
def test_a_name_that_breaks_a_line_is_refused(name):
    with pytest.raises(InputError, match=r"^names: expected words in one line, got .*; rename it$"):
        checks.in_a_line("names", "right", name)


@pytest.mark.usefixtures("standard_promotion")
def test_a_whole_model_of_equinox_is_told_what_makes_it_train():
    eqx = pytest.importorskip("equinox")
    model, data = eqx.nn.MLP(3, 3, 4, 1, key=jax.random.key(0)), np.eye(3)

    def loss(model, batch):
        return jnp.mean((jax.vmap(model)(batch) - 2 * batch) ** 2)

    cure = r"^params.activation: expected an array of numbers, got .*; keep .* equinox.partition, "
    with pytest.raises(InputError, match=cure):
        params(model)
    trained, rest = eqx.partition(model, eqx.is_array)

    def cured(params, batch):
        return loss(eqx.combine(params, rest), batch)

    fit = jaxnet.fit(cured, optax.sgd(0.1), trained, data, epochs=20)
    assert loss(eqx.combine(fit.params, rest), data) < loss(model, data)


@pytest.mark.parametrize("check", [params, checks.data])
@pytest.mark.parametrize("tree", [{}, (), [], {"a": ()}])
def test_a_pytree_without_leaves_is_refused(check, tree):
    with pytest.raises(
        InputError, match=r"^it: expected at least one array, got an empty pytree; give some$"
    ):
        check(tree, "it")


@pytest.mark.parametrize("check", [params, checks.data])
def test_lists_of_numbers_are_to_be_arrays(check):
    with pytest.raises(InputError, match=r"^it\[0\]\[0\]: .* got float; make .* np.asarray$"):
        check([[1.0, 2.0]], "it")


@pytest.mark.parametrize("check", [params, checks.data])
@pytest.mark.parametrize("array", [np.asarray, jnp.asarray])
@pytest.mark.parametrize(("value", "word"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf")])
def test_a_value_that_is_not_finite_is_found(check, array, value, word):
    tree = {"w": array(holed(value, 2, 1)), "b": array(np.ones((4, 2), np.float32))}
    with pytest.raises(
        InputError, match=rf"^t\['w'\]: expected finite values, got {word} at \[2, 1\]"
    ):
        check(tree, "t")


@pytest.mark.parametrize("value", [2**40, -(2**40), 1e300, np.uint64(2**33)])
def test_numbers_beyond_32_bits_are_refused_where_jax_would_cut_them(value):
    checks.data(np.array([2**30, 7]))
    checks.data(np.array([1.0, 1e30]))
    with pytest.raises(InputError, match=r"^x: expected numbers that u?(int|float)32 holds"):
        checks.data(np.array([value, value]), "x")
    with jax.enable_x64(True):
        checks.data(np.array([value, value]), "x")


@pytest.mark.parametrize(
    "rows", [np.ma.masked_less(np.arange(3.0), 1), sparse.csr_array(np.eye(3))]
)
def test_what_is_no_plain_array_is_refused(rows):
    with pytest.raises(InputError, match=r"^x: expected a plain array, got \w+; make one"):
        checks.data(rows, "x")


def test_values_that_are_not_finite_are_counted():
    with pytest.raises(InputError, match=r"got nan at \[0, 2\], 4 of 12 in all; "):
        checks.data(holed(np.nan, slice(None), 2))
    with pytest.raises(InputError, match=r"got nan at \[\], 1 of 1 in all; "):
        params(np.float32(np.nan))
    with pytest.raises(InputError, match=r"^data: expected finite values, got .*nan.* at \[1, 1\]"):
        checks.data(holed(np.nan, 1, 1, dtype=np.complex64))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ml_dtypes.bfloat16])
def test_every_real_floating_dtype_is_a_parameter(dtype):
    params([np.ones((2, 3), dtype), {"scalar": np.ones((), dtype)}])
    with pytest.raises(InputError, match=r"^params: expected finite values, got nan at \[0, 0\]"):
        params(holed(np.nan, 0, 0, dtype=dtype))


@pytest.mark.parametrize("dtype", ["int32", "uint8", "bool"])
def test_other_dtypes_are_data_and_no_parameters(dtype):
    array = np.ones((4, 2), dtype)
    assert checks.data(array) == 4
    assert not variables.trains(array)
    with pytest.raises(InputError, match=rf"^params: expected floating-point .*, got {dtype}; "):
        checks.params((array,), variables.split((array,))[0])


def test_the_path_of_a_leaf_is_named():
    tree = {"a": [np.ones(2), {"b": np.arange(2)}]}
    assert checks.path("tree", tree, 0) == "tree['a'][0]"
    assert checks.path("tree", tree, 1) == "tree['a'][1]['b']"
    assert checks.path("tree", np.ones(2), 0) == "tree"
    tree["a"][1]["b"] = np.array([0, np.nan])
    with pytest.raises(InputError, match=r"^params\['a'\]\[1\]\['b'\]: .*nan"):
        checks.params(tree, tree)


def test_leaves_come_in_the_order_of_the_pytree():
    tree = {"b": np.ones(2), "a": (jnp.zeros(3), np.arange(4, dtype=np.int8))}
    leaves = checks.leaves("tree", tree)
    assert [leaf.shape for leaf in leaves] == [(3,), (4,), (2,)]


def test_data_gives_its_rows():
    assert checks.data((np.ones((7, 2)), {"y": jnp.arange(7)})) == 7


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        (np.float32(1), r"data: expected at least one row along the first axis, got shape \[\]"),
        ((np.ones(3), jnp.ones(())), r"data\[1\]: expected at least one row .*, got shape \[\]"),
        ((np.ones((3, 1)), np.ones(4)), r"data\[1\]: expected 3 rows, as data\[0\] has, got 4"),
        (
            {"x": np.ones((1, 2)), "y": np.ones((3, 2))},
            r"data\['y'\]: expected 1 rows, as data\['x'\] has, got 3",
        ),
        (np.ones((0, 2)), r"data: expected at least one row .*, got shape \[0, 2\]"),
        (
            (np.ones((0, 2)), np.ones(0)),
            r"data\[0\]: expected at least one row .*, got shape \[0, 2\]",
        ),
    ],
)
def test_data_without_equal_rows_is_refused(tree, words):
    with pytest.raises(InputError, match=f"^{words}; "):
        checks.data(tree)


@pytest.mark.parametrize("array", [np.asarray, jnp.asarray])
def test_an_order_within_the_rows_passes(array):
    checks.order(array(np.array([[0, 4], [2, 2]], np.int32)), rows=5)


@pytest.mark.parametrize(
    ("order", "error", "words"),
    [
        (np.zeros((2, 3)), InputError, "expected integer rows, got float64"),
        (np.zeros((2, 3), bool), InputError, "expected integer rows, got bool"),
        (None, InputError, "expected integer rows, got object"),
        (np.zeros(3, int), InputError, r"expected shape \[T, B\], .*, got shape \[3\]"),
        (np.zeros((1, 2, 3), int), InputError, r"expected shape .*, got shape \[1, 2, 3\]"),
        (np.zeros((), int), InputError, r"expected shape .*, got shape \[\]"),
        (np.zeros((0, 3), int), InputError, r"neither zero, got shape \[0, 3\]"),
        (np.zeros((3, 0), int), InputError, r"neither zero, got shape \[3, 0\]"),
        (np.array([[0, 1], [5, 2]]), InputError, "expected rows 0 to 4, .*, got row 5 in step 1"),
        (np.array([[0, 1], [2, -1]]), InputError, "expected rows 0 to 4, .*, got row -1 in step 1"),
        (np.array([[0, 2**40]]), InputError, f"got row {2**40} in step 0"),
    ],
)
def test_an_order_of_no_run_is_refused(order, error, words):
    with pytest.raises(error, match=f"^order: .*{words}; "):
        checks.order(order, rows=5)


class Unhashable:
    __hash__ = None

    def __call__(self, params, batch):
        return params + batch


def wrapping(params, batch):
    return params + batch


# What JAX, Equinox and functools wrap says that it takes what it wraps.
wrapping.__wrapped__ = lambda params, batch, key: params


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (3, r"got int; give one$"),
        (None, "got NoneType; give one$"),
        (Unhashable(), "got one that cannot be hashed, unhashable type.*; wrap it in a plain fun"),
        (lambda params: params, r"got one of \(params\), too many positional.*; bind what else"),
        (lambda a, b, c: a, r"got one of \(a, b, c\), missing a required argument: 'c'; bind"),
        (lambda *, params, batch: 0, "got one of .*; bind what else it takes by functools.partial"),
    ],
)
def test_what_is_no_function_of_so_many_arguments_is_refused(value, words):
    with pytest.raises(InputError, match=rf"^f: expected a function of \(params, batch\).*{words}"):
        checks.function("f", value, "params", "batch")


@pytest.mark.parametrize(
    "value",
    [
        wrapping,
        jax.jit(wrapping),
        functools.partial(lambda a, b, c: a, c=3),
        lambda *arguments: 0,
        lambda params, batch, more=None: 0,
        optax.losses.l2_loss,
        min,
        jax.custom_vjp(wrapping),
    ],
)
def test_every_function_of_so_many_arguments_is_taken(value):
    checks.function("f", value, "params", "batch")


@pytest.mark.parametrize("value", [-1, 1.5, True, None, "1", np.ones(1, int)])
def test_a_seed_is_a_whole_number(value):
    checks.seed(np.int64(3))
    with pytest.raises(InputError, match=r"^seed: expected a whole number of at least 0, got .*; "):
        checks.seed(value)


@pytest.mark.parametrize(
    ("value", "got"),
    [
        (0, "int"),
        (None, "NoneType"),
        (np.float32(1), r"float32\[\]"),
        (np.zeros(2, np.int32), r"int32\[2\]"),
        (jax.random.split(jax.random.key(0), 2), r"key<fry>\[2\]"),
    ],
)
def test_what_is_no_key_is_refused(value, got):
    with pytest.raises(InputError, match=f"^key: expected one random key, got {got}; make it by "):
        checks.key(value)


@pytest.mark.usefixtures("unchecked")
def test_a_key_of_either_kind_draws_the_same_network_also_while_tracing():
    old = jaxnet.init(jax.random.PRNGKey(3), [2, 1])
    new = jax.jit(lambda key: jaxnet.init(key, [2, 1]))(jax.random.key(3))
    jax.tree.map(np.testing.assert_array_equal, old, new)


def test_a_missing_extra_is_named():
    checks.extra("experiments", "json", "numpy")
    with pytest.raises(ImportError) as caught:
        checks.extra("experiments", "json", "no_such_module", "numpy")
    assert str(caught.value) == (
        "expected the modules json, no_such_module, numpy, got all but no_such_module; "
        "install jaxnet with its extra: pip install 'jaxnet-lab[experiments]'"
    )

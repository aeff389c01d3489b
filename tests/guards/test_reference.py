"""What NumPy computes operation by operation is what JAX computes."""

import tracemalloc

import equinox as eqx
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import pytest
from few import first_of, some_of
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from test_structure import JAXNET, imported

from jaxnet._guards import reference
from jaxnet.errors import InputError

FLOATS = [np.float32, np.float64]
INTEGERS = [np.int32, np.uint8]
# Numbers of what an operation is defined for, -2 to 2 where not said.
RANGES = {
    **dict.fromkeys(["acos", "asin", "atanh", "erf_inv"], (-0.9, 0.9)),
    **dict.fromkeys(["digamma", "lgamma", "log", "log2", "pow", "rsqrt", "sqrt"], (0.1, 3)),
    "acosh": (1.1, 3),
    "log1p": (-0.9, 3),
}
SPELLED = {name: f"bitwise_{name}" for name in ("and", "or", "xor", "not")}
UNARY = """abs acos acosh asin asinh atan atanh bessel_i0e bessel_i1e cbrt ceil cos cosh digamma erf
erf_inv erfc exp exp2 expm1 floor is_finite lgamma log log1p log2 logistic neg one_minus_square
rsqrt sign sin sinh sqrt square tan tanh"""
BINARY = "add atan2 div eq ge gt le lt max min mul ne pow rem sub"
UNARY_EVERYWHERE = "abs ceil exp floor is_finite log logistic neg sign sqrt tanh"
WHOLE_UNARY = "neg not population_count sign square"
WHOLE_BINARY = """add and div eq ge gt le lt max min mul ne or rem shift_left
shift_right_arithmetic shift_right_logical sub xor"""


def operation(name):
    return getattr(lax, SPELLED.get(name, name), None)


def numbers(dtype, *shape, low=-2.0, high=2.0, seed=0):
    """Draw numbers; of whole ones every bit."""
    rng = np.random.default_rng([seed, *shape])
    if np.dtype(dtype).kind in "biu":
        return (
            np.frombuffer(rng.bytes(8 * int(np.prod(shape))), np.int64).astype(dtype).reshape(shape)
        )
    return np.asarray(rng.uniform(low, high, shape)).astype(dtype)


def near(results, expected, tolerance=None):
    """Hold arrays against each other, to a few roundings of their dtype."""
    for place, (ours, theirs) in enumerate(zip(results, map(np.asarray, expected), strict=True)):
        said = f"result {place}"
        assert type(ours) is np.ndarray
        assert ours.shape == theirs.shape
        if tolerance is None:
            assert ours.dtype == theirs.dtype
        if not jnp.issubdtype(theirs.dtype, np.inexact):
            np.testing.assert_array_equal(ours, theirs, said)
            continue
        bound = tolerance or 40 * float(jnp.finfo(theirs.dtype).eps)
        kind = np.complex128 if theirs.dtype.kind == "c" else np.float64
        np.testing.assert_allclose(
            ours.astype(kind), theirs.astype(kind), rtol=bound, atol=bound, err_msg=said
        )


def agrees(function, *arguments, tolerance=None):
    """Hold what NumPy computes operation by operation against what JAX compiles of all of it."""
    arguments = jax.tree.map(jnp.asarray, arguments)
    closed = jax.make_jaxpr(function)(*arguments)
    flat = [np.array(leaf) for leaf in jax.tree.leaves(arguments)]
    before = [leaf.copy() for leaf in flat]
    results = reference.evaluate(closed, flat)
    near(results, jax.tree.leaves(jax.jit(function)(*arguments)), tolerance)
    for leaf, copy in zip(flat, before, strict=True):
        np.testing.assert_array_equal(leaf, copy)
    assert not any(np.shares_memory(one, leaf) for one in results for leaf in flat)
    wide = reference.evaluate(closed, flat, wide=True)
    for one, other in zip(wide, results, strict=True):
        expected = {"c": np.complex128, "f": np.float64, "V": np.float64}
        assert one.dtype == expected.get(other.dtype.kind, other.dtype)
    return results


ELEMENTWISE = [
    (UNARY, np.float32, 1),
    *((BINARY, dtype, 2) for dtype in (*FLOATS, np.float16)),
    *((WHOLE_UNARY, dtype, 1) for dtype in INTEGERS),
    *((WHOLE_BINARY, dtype, 2) for dtype in INTEGERS),
    ("and or xor eq max lt", bool, 2),
    ("not", bool, 1),
    *((UNARY, dtype, 1) for dtype in (np.float64, ml_dtypes.bfloat16)),
]


def every(names, count):
    """Many operations of as many operands as one function, to be compiled once; those there are."""
    functions = [each for each in map(operation, names.split()) if each]
    return lambda *operands: [
        each(*operands[count * k : count * (k + 1)]) for k, each in enumerate(functions)
    ]


@first_of(("names", "dtype", "count"), ELEMENTWISE, 10)
def test_elementwise(names, dtype, count, x64):
    """Of matrices, scalars and nothing."""
    there = [name for name in names.split() if operation(name)]
    ends = [RANGES.get(name, (-2, 2)) for name in there]
    for shape in ((5, 7), (), (0, 3)) if dtype == np.float32 else ((5, 7),):
        operands = (
            numbers(dtype, *shape, low=low, high=high, seed=seed)
            for low, high in ends
            for seed in range(count)
        )
        agrees(every(names, count), *operands)


SPECIAL = np.float32([np.nan, np.inf, -np.inf, 0, -0.0, 1e-30, 3e36, 0.5, -0.5, 2.5])
GRID = np.repeat(SPECIAL, len(SPECIAL)), np.tile(SPECIAL, len(SPECIAL))
WHOLE = np.int32([0, 1, -1, 7, -7, 2**31 - 1, -(2**31)])


def test_special_numbers():
    pairs = np.repeat(WHOLE, len(WHOLE)), np.tile(WHOLE, len(WHOLE))
    for names, operands in ((UNARY_EVERYWHERE, (SPECIAL,)), (BINARY, GRID), (WHOLE_BINARY, pairs)):
        agrees(lambda *x, names=names: [operation(name)(*x) for name in names.split()], *operands)
    dtypes = (np.int32, np.uint8, np.int8, bool, np.float16, ml_dtypes.bfloat16)
    agrees(lambda x: [lax.convert_element_type(x, dtype) for dtype in dtypes], 100 * SPECIAL)
    agrees(lambda x: [f(x, axis=0) for f in (jnp.max, jnp.min, jnp.argmax, jnp.sort)], SPECIAL)
    agrees(lambda x: lax.round(x, lax.RoundingMethod.TO_NEAREST_EVEN), SPECIAL)
    agrees(lax.round, np.float32([0.49999997, -0.5, 1.5, 2.5, np.nan, np.inf, 8388609]))
    agrees(lambda x: [lax.clamp(0.0, x, 1.0), lax.integer_pow(x, -3), lax.top_k(x, 5)], SPECIAL)


def window(name):
    reducers = {"max": (-jnp.inf, lax.max), "min": (jnp.inf, lax.min), "sum": (0.0, lax.add)}
    start, function = reducers[name]
    form = {"base_dilation": (2, 1, 1), "window_dilation": (1, 2, 1)}
    return lambda x: lax.reduce_window(
        x,
        np.asarray(start, x.dtype),
        function,
        (2, 2, 1),
        (1, 2, 1),
        ((1, 0), (0, 1), (2, 0)),
        **form,
    )


# Functions of an array of shape (3, 4, 5).
SHAPED = {
    "sums": lambda x: [
        lax.reduce_sum_p.bind(x, axes=axes, out_sharding=None) for axes in ((), (1,), (0, 2))
    ],
    "largest": lambda x: [jnp.max(x, 1), jnp.min(x, (0, 2)), jnp.argmax(x, 2), jnp.argmin(x, 0)],
    "running": lambda x: [
        function(x, axis, reverse)
        for function in (lax.cumsum, lax.cumprod, lax.cummax, lax.cummin)
        for axis, reverse in ((0, False), (2, True))
    ],
    "prod": lambda x: jnp.prod(x, 2),
    "shapes": lambda x: [
        lax.broadcast_in_dim(x, (3, 2, 4, 5), (0, 2, 3)),
        lax.reshape(x, (4, 15), (1, 0, 2)),
        lax.squeeze(x[:1], (0,)),
        lax.transpose(x, (2, 0, 1)),
        lax.rev(x, (0, 2)),
        lax.concatenate([x, x], 1),
        lax.slice(x, (0, 1, 0), (3, 4, 5), (2, 1, 3)),
        lax.split(x, (1, 3), 1),
        lax.broadcasted_iota(np.int32, (3, 2), 0),
        lax.tile(x, (2, 1, 3)),
        jnp.stack([x, x], 1),
        jnp.unstack(x, axis=1),
    ],
    "pad": lambda x: [
        lax.pad(x, x[0, 0, 0], [(1, 2, 1), (-1, -2, 0), (2, -3, 2)]),
        lax.pad(x[:0], x[0, 0, 0], [(1, 2, 3), (0, 0, 0), (-2, 0, 1)]),
    ],
    "dynamic": lambda x: [
        lax.dynamic_slice(x, (2, 1, 0), (2, 2, 2)),
        lax.dynamic_update_slice(x, x[:2, :2], (2, 3, 0)),
    ],
    "sorted": lambda x: [
        jnp.sort(x, 1),
        jnp.argsort(x, 0),
        lax.sort([x[0] > x[1], x[1], x[2]], num_keys=2),
        lax.top_k(x, 3),
    ],
    "chosen": lambda x: [
        jnp.where(x > x[:1], x, x[::-1]),
        lax.select_n(lax.broadcasted_iota(np.int32, x.shape, 2) % 3, x, x[::-1], x[:, ::-1]),
        lax.clamp(x[0, 0, 0], x, x[1, 1, 1]),
        lax.integer_pow(x, 3),
    ],
    "same": lambda x: [
        lax.optimization_barrier((x, x[0])),
        checkpoint_name(x, "x"),
        lax.stop_gradient(x),
        jnp.copy(x),
        jax.device_put(x),
    ],
    "products": lambda x: [
        lax.dot_general(x, x, (((1,), (1,)), ((0,), (0,)))),
        lax.dot_general(x, x, (((0, 2), (0, 2)), ((), ()))),
        lax.dot_general(x, x[..., None], (((1,), (1,)), ((2, 0), (2, 0)))),
        lax.dot_general(x[:0], x[:0], (((0,), (0,)), ((), ()))),
        lax.dot_general(x, lax.broadcast_in_dim(x[0, 0], (5, 2), (0,)), (((2,), (0,)), ((), ()))),
    ],
    "converted": lambda x: [x.astype(dtype) for dtype in (np.int32, np.float32, np.uint8, bool)],
    "put": lambda x: (
        [
            getattr(x.at[np.int32([2, 0, 2, 9])], name)(x[:1, :1], mode=mode)
            for name in ("add", "subtract", "multiply", "max", "min")
            for mode in ("clip", "drop")
        ]
        + [x.at[:, 1].set(x[:, 2])]
    ),
    "taken": lambda x: [
        x[np.int32([2, -1, 9])],
        jnp.take(x, np.int32([2, -1, 9]), 1, mode="clip"),
        jax.vmap(lambda x, i: x.at[i, 7].get(mode="fill"))(x, np.int32([1, 2, 9])),
        jnp.take_along_axis(x, jnp.argsort(x, 1)[:, :2], 1),
    ],
}
FLOATING = {
    **{name: window(name) for name in ("max", "min", "sum")},
    "logsumexp": lambda x: lax.cumlogsumexp(x, 1),
    "left to JAX": lambda x: [lax.nextafter(x, -x), lax.reduce_precision(x, 4, 3)],
    "convolved": lambda x: [
        lax.conv_general_dilated(
            *(x[:, None], x[:2, None, :3, :2], (2, 1), ((1, 2), (-1, 3)), (1, 2), (2, 1))
        ),
        lax.conv(x[:2], x[:, :, :2], (1,), "SAME"),
        lax.conv_general_dilated(
            *(x, x[:, :2, :1], (1,), "VALID"),
            dimension_numbers=("NWC", "OIW", "CWN"),
            feature_group_count=1,
        )
        if x.shape[2] == 2
        else lax.conv_general_dilated(x, x[0, :, None, :2], (1,), "SAME", feature_group_count=4),
        lax.conv_general_dilated(x[:2], x[:2, :, :2], (1,), "SAME", batch_group_count=2),
    ],
}
COMPLEX = {
    "complex": lambda x: [
        lax.complex(x, -x),
        *(f(lax.complex(x, x * x)) for f in (lax.real, lax.imag, lax.conj, lax.abs, lax.exp)),
        lax.complex(x, x) @ lax.complex(x, x)[0].T,
    ],
}


@pytest.mark.parametrize(
    "dtype",
    [
        np.float32,
        *(
            pytest.param(dtype, marks=pytest.mark.slow)
            for dtype in (np.int32, ml_dtypes.bfloat16, np.uint8)
        ),
    ],
)
@pytest.mark.parametrize("name", SHAPED)
def test_arrays(name, dtype):
    agrees(SHAPED[name], numbers(dtype, 3, 4, 5))


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("name", [*FLOATING, *COMPLEX])
def test_floats(name, dtype):
    agrees((FLOATING | COMPLEX)[name], numbers(np.float32 if name in COMPLEX else dtype, 3, 4, 5))


def test_booleans():
    x = numbers(bool, 3, 4)
    agrees(lambda x: [f(x, a) for f in (jnp.all, jnp.any, jnp.max, jnp.argmax) for a in (0, 1)], x)
    bits = numbers(np.int32, 3, 4)
    reducers = lax.reduce_and_p, lax.reduce_or_p, lax.reduce_xor_p
    agrees(lambda x: [f.bind(x, axes=(0,)) for f in reducers], bits)


@st.composite
def numbered(draw):
    """Draw an operand, indices and the numbers of a gathering, some out of bounds."""
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    roles = [draw(st.sampled_from(["window", "collapsed", "batching"])) for _ in shape]
    axes = {role: [a for a, r in enumerate(roles) if r == role] for role in roles}
    batching = axes.get("batching", [])
    others = [a for a in range(len(shape)) if a not in batching]
    mapped = draw(st.permutations(others))[: draw(st.integers(0, len(others)))]
    batch = [shape[a] for a in batching] + draw(st.lists(st.integers(1, 3), max_size=2))
    order = draw(st.permutations(range(len(batch))))
    along = [order.index(at) for at in range(len(batching))]
    sizes = [
        draw(st.integers(0, n)) if r == "window" else 1 for n, r in zip(shape, roles, strict=True)
    ]
    rank = len(batch) + len(axes.get("window", []))
    offset = sorted(draw(st.permutations(range(rank)))[: len(axes.get("window", []))])
    indices = numbers(np.int32, *[batch[at] for at in order], len(mapped)) % 8 - 2
    collapsed = tuple(axes.get("collapsed", []))
    named = tuple(offset), collapsed, tuple(mapped), tuple(batching), tuple(along)
    return numbers(np.float32, *shape), indices, sizes, named


@settings.get_profile("costly")
@given(drawn=numbered(), mode=st.sampled_from(["clip", "fill", "promise_in_bounds"]))
def test_gathering_and_scattering(drawn, mode):
    x, indices, sizes, named = drawn
    mode = lax.GatherScatterMode.from_any(mode)
    if mode == lax.GatherScatterMode.PROMISE_IN_BOUNDS:
        indices = np.zeros_like(indices)
    numbers = lax.GatherDimensionNumbers(*named)
    (results,) = agrees(lambda x, i: lax.gather(x, i, numbers, sizes, mode=mode), x, indices)
    numbers = lax.ScatterDimensionNumbers(*named)
    # XLA puts the first of many windows alone where no axis is indexed.
    if named[2]:
        results = np.nan_to_num(results)
        agrees(lambda x, i, u: lax.scatter_add(x, i, u, numbers, mode=mode), x, indices, results)


def names(jaxpr):
    for equation in jaxpr.eqns:
        yield equation.primitive.name
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            yield from names(inner)


def test_every_operation_is_tested():
    x = np.ones((3, 4, 5), np.float32)
    known = {each for name, *_ in ELEMENTWISE for each in name.split()} | {"round", "stop_gradient"}
    for function in (SHAPED | FLOATING | COMPLEX).values():
        known |= {*names(jax.make_jaxpr(function)(x).jaxpr)}
    rest = {"add_any", "layout_constraint", "pvary", "reshard", "sharding_constraint"}
    rest |= {"reduce_and", "reduce_or", "reduce_xor"}
    assert not set(reference._OPERATIONS) - known - rest


def test_how_a_jaxpr_is_made_is_known_in_one_module():
    """And, until it needs it no more, in the fast path."""
    users = {
        name
        for name, path in JAXNET.items()
        if any(each.startswith("jax.extend.core") for each in imported(path.read_text()))
    }
    assert {"jaxnet._guards.jaxprs"} <= users
    assert users <= {"jaxnet._guards.jaxprs", "jaxnet.compare.fast.products"}


@jax.custom_vjp
def doubled(x):
    return 2 * x


doubled.defvjp(lambda x: (2 * x, None), lambda _, g: (3 * g,))


def body(carry, row):
    carry = jnp.tanh(carry + row.sum())
    return carry, (row * carry, lax.cond(carry > 0, jnp.sum, jnp.max, row))


CALLS = {
    "scan": lambda x: lax.scan(body, 0.0, x),
    "reversed": lambda x: lax.scan(lambda c, _: (c * x, c[0]), x, length=3, reverse=True),
    "nothing": lambda x: lax.scan(body, 0.0, x[:0]),
    "while": lambda x: lax.while_loop(lambda x: x.sum() < 99, lambda x: x * x + 1, x),
    "batched": jax.vmap(lambda x: lax.while_loop(lambda x: x[0] < 9, lambda x: x * x + 1, x)),
    "branches": jax.vmap(lambda x: lax.switch(x[0].astype(int), [jnp.sin, jnp.cos, jnp.exp], x)),
    "platform": lambda x: lax.platform_dependent(x, cpu=jnp.sin, default=jnp.cos),
    "gradient": jax.grad(lambda x: lax.scan(body, 0.0, doubled(x))[1][0].sum()),
    "recomputed": jax.grad(lambda x: jax.checkpoint(lambda x: jnp.sin(jnp.sin(x)))(x).sum()),
    "named": lambda x: jax.named_call(jnp.sin)(jax.jit(jnp.cos)(x)),
    "keys": lambda x: [
        jax.random.normal(key, (2,)) * x[0, 0] for key in jax.random.split(jax.random.key(3))
    ],
    "pooled": jax.grad(lambda x: nnx.max_pool(x[..., None], (2, 2)).sum() ** 2),
}


def and_loops_of_jax(functions, *names):
    """Each function, and those with loops once more: these are JAX's where they may be long."""
    return [*((name, reference._STEPS) for name in functions), *((name, 2) for name in names)]


@pytest.mark.parametrize(
    ("name", "steps"),
    and_loops_of_jax(CALLS, "scan", "reversed", "nothing", "while", "batched", "gradient"),
)
def test_calls_and_loops(name, steps, monkeypatch):
    monkeypatch.setattr(reference, "_STEPS", steps)
    agrees(CALLS[name], numbers(np.float32, 3, 4))


# Python's own numbers become literals.
LITERALS = {
    "where": lambda x: [jnp.where(True, x, 0.0), jnp.where(len(x) == 3, 1, 2)],
    "select": lambda x: [jnp.select([True, False], [x, 2 * x], 1.5), jnp.logical_and(x > 0, True)],
    "scan": lambda x: lax.scan(
        lambda c, row: ((c[0] & (row[0] < 9), c[1] + 1, c[2] + row[0]), None), (True, 0, 0.0), x
    )[0],
    "while": lambda x: lax.while_loop(lambda c: c[0], lambda c: (c[1] < 2, c[1] + 1), (True, 0.0)),
    "whole": lambda x: lax.fori_loop(0, 3, lambda i, a: a + x * (i == 1), x),
    "cond": lambda x: [
        lax.cond(True, lambda: x, lambda: 2 * x),
        lax.cond(x[0, 0] > 0, lambda: (True, 1, 1.5), lambda: (False, 2, 2.5)),
    ],
}


@pytest.mark.parametrize(("name", "steps"), and_loops_of_jax(LITERALS, "scan", "while", "whole"))
def test_literals(name, steps, monkeypatch, standard_promotion):
    monkeypatch.setattr(reference, "_STEPS", steps)
    agrees(LITERALS[name], numbers(np.float32, 3, 4))


def test_what_a_function_tells_is_not_told_again():
    told = []

    def telling(x):
        jax.debug.callback(told.append, x)
        jax.debug.print("{x}", x=x)
        return lax.scan(lambda c, _: (c + 1, jax.debug.callback(told.append, c)), x, length=3)[0]

    closed = jax.make_jaxpr(telling)(np.float32(1))
    assert reference.evaluate(closed, [np.float32(1)]) == [4]
    jax.effects_barrier()
    assert not told


CLASSES = {f"multiclass_{kind}_loss" for kind in ("hinge", "perceptron", "sparsemax")}
CLASSES |= {"softmax_cross_entropy_with_integer_labels", "ntxent"}
# The other form of `ctc_loss` also gives logarithms of nothing, of many digits.
LOSSES = [n for n in dir(optax.losses) if n[0] != "_" and callable(getattr(optax.losses, n))]
LOSSES.remove("ctc_loss_with_forward_probs")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (index % 9 > 0))
        for index, name in enumerate(LOSSES)
    ],
)
@pytest.mark.filterwarnings("ignore:The function convex_kl_divergence is deprecated")
def test_losses(name, standard_promotion):
    loss, logits = getattr(optax.losses, name), numbers(np.float32, 6, 5)
    labels = np.float32(jax.nn.softmax(numbers(np.float32, 6, 5, seed=1)))
    others = {
        **dict.fromkeys(CLASSES, (numbers(np.int32, 6) % 5,)),
        "ctc_loss": (labels[:2, :3] * 0, np.int32([[1, 2], [3, 3]]), labels[:2, :2] * 0),
        "triplet_margin_loss": (labels, labels[::-1]),
        "make_fenchel_young_loss": (labels,),
        "smooth_labels": (0.1,),
    }.get(name, (labels,))
    if name == "ctc_loss":
        logits = logits.reshape(2, 3, 5)
    if name == "make_fenchel_young_loss":
        loss = loss(jax.nn.logsumexp)

    def value(logits):
        return sum(each.mean() for each in jax.tree.leaves(loss(logits, *others)))

    with jax.numpy_rank_promotion("allow"):
        whole(jax.value_and_grad(value), logits)


def whole(function, *arguments, wide=1e-6):
    """Hold a whole function, and still closer the wide one, against XLA's of float64."""
    flat, tree = jax.tree.flatten(arguments)
    closed = jax.make_jaxpr(function)(*arguments)
    with jax.enable_x64(True):
        double = [np.asarray(x, np.float64) if x.dtype == np.float32 else x for x in flat]
        expected = jax.tree.leaves(jax.jit(function)(*jax.tree.unflatten(tree, double)))
    near(reference.evaluate(closed, flat), expected, 3e-5)
    near(reference.evaluate(closed, flat, wide=True), expected, wide)


def perceptron(params, x, labels, activation):
    for weight, bias in params[:-1]:
        x = activation(x @ weight + bias)
    logits = x @ params[-1][0] + params[-1][1]
    return optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def parts(seed=0):
    sizes = [(4, 8), (8, 8), (8, 3)]
    params = [(numbers(np.float32, *s, seed=seed), numbers(np.float32, 1, s[1])) for s in sizes]
    return params, numbers(np.float32, 6, 4), numbers(np.int32, 6) % 3


@some_of("name", ["tanh", "relu", "gelu", "silu"], "relu")
def test_perceptrons(name, standard_promotion, monkeypatch):
    """Alone and many of them, with nothing left to JAX."""
    monkeypatch.delattr(reference._Interpreter, "bound")

    def gradient(params, x, labels):
        return jax.value_and_grad(perceptron)(params, x, labels, getattr(jax.nn, name))

    params, x, labels = parts()
    whole(gradient, params, x, labels)
    if name == "relu":
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), params, parts(1)[0])
        whole(jax.vmap(gradient, (0, None, None)), stacked, x, labels)


class Seer(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(3, 8, (3, 3), strides=2, rngs=rngs)
        self.norm = nnx.LayerNorm(8, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, 8, decode=False, rngs=rngs)

    def __call__(self, x):
        x = self.norm(nnx.avg_pool(self.conv(x), (2, 2)))
        return self.attention(x.reshape(2, -1, 8))


@pytest.mark.slow
def test_flax(standard_promotion):
    with jax.numpy_rank_promotion("allow"):
        definition, state = nnx.split(Seer(nnx.Rngs(0)))

        def loss(state, x):
            return (nnx.merge(definition, state)(x) ** 2).mean()

        state = jax.tree.map(np.asarray, nnx.to_pure_dict(state))
        # Convolutions are JAX's.
        whole(jax.value_and_grad(loss), state, numbers(np.float32, 2, 9, 9, 3), wide=3e-5)


def test_equinox(standard_promotion):
    cell = eqx.nn.GRUCell(3, 4, key=jax.random.key(0), dtype=np.float32)

    def loss(cell, rows):
        return lax.scan(lambda h, row: (cell(row, h), None), rows[0, :1].repeat(4), rows)[0].sum()

    whole(jax.value_and_grad(loss), cell, numbers(np.float32, 7, 3))


def test_wide_tells_rounding():
    def cancelled(x):
        return (x + 1e8) - 1e8

    closed = jax.make_jaxpr(cancelled)(np.float32(0.25))
    assert reference.evaluate(closed, [0.25]) == [0]
    assert reference.evaluate(closed, [0.25], wide=True) == [0.25]


def test_large_operations_are_left_to_jax(monkeypatch):
    left, bound = [], reference._Interpreter.bound
    monkeypatch.setattr(reference, "_LARGE", 100)
    monkeypatch.setattr(
        *(reference._Interpreter, "bound"),
        lambda self, equation, inputs: (
            left.append(equation.primitive.name) or bound(self, equation, inputs)
        ),
    )

    def function(x):
        return jnp.sin(x[:40]).sum() + jnp.cos(x.T).sum()

    agrees(function, numbers(np.float32, 120))
    assert left == ["cos", "reduce_sum"]


def test_draws_flush_what_is_subnormal():
    x = np.float32([1e-20, 1e-19, 1.0, 1e-40])
    closed = jax.make_jaxpr(lambda x: [x * x, x])(x)
    squares, same = reference.evaluate(closed, [x], random=np.random.default_rng(0))
    np.testing.assert_allclose(squares, [0, 0, 1, 0], rtol=1e-5)
    np.testing.assert_array_equal(same, [*x[:3], 0])
    np.testing.assert_array_equal(reference.evaluate(closed, [x])[0], x * x)


@pytest.mark.parametrize(("name", "wrong"), [("tanh", np.sin), ("sub", np.add), ("exp", np.exp2)])
def test_a_wrong_operation_is_caught(name, wrong, monkeypatch, standard_promotion):
    params, x, labels = parts()
    monkeypatch.setitem(reference._OPERATIONS, name, lambda p, *arrays: wrong(*arrays))
    with pytest.raises(AssertionError):
        agrees(jax.value_and_grad(perceptron), params, x, labels, jax.tree_util.Partial(jnp.tanh))


def test_what_is_left_to_jax_is_computed_at_once_under_a_trace():
    closed = jax.make_jaxpr(lambda x: lax.nextafter(x, x + 1))(np.float32(1))

    @jax.jit
    def traced(y):
        (results,) = reference.evaluate(closed, [np.float32(1)])
        return y + results

    assert traced(np.float32(0)) == np.nextafter(np.float32(1), np.float32(2))


def test_other_shapes_are_refused():
    closed = jax.make_jaxpr(jnp.add)(np.ones(2), np.ones(2))
    for given_ in ([np.ones(2)], [np.ones(2), np.ones(3)]):
        with pytest.raises(InputError, match=r"expected arrays of shapes \[\(2,\), \(2,\)\]"):
            reference.evaluate(closed, given_)


def test_what_is_spent_is_let_go():
    """A chain of a hundred arrays of a megabyte takes the memory of a few."""

    def chain(x):
        for _ in range(100):
            x = jnp.sin(x)
        return x.sum()

    x = np.ones(2**18, np.float32)
    closed = jax.make_jaxpr(chain)(x)
    tracemalloc.start()
    reference.evaluate(closed, [x])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * x.nbytes

"""What arrays must hold before anything compiles, and the errors that say so.

Shapes: N rows of data, T steps of B rows.
"""

import contextlib
import importlib.util
import inspect
import traceback
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jaxnet._guards import frames, jaxprs, sizes
from jaxnet.errors import InputError


def extra(name: str, *modules: str) -> None:
    """Refuse to go on without the modules of an optional extra.

    Raises:
        ImportError: naming what is missing and the extra that brings it.
    """
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise ImportError(
            f"expected the modules {', '.join(modules)}, got all but {', '.join(missing)}; install "
            f"jaxnet with its extra: pip install 'jaxnet-lab[{name}]'"
        )


_ARRAYS = np.ndarray | np.generic | jax.Array | jax.ShapeDtypeStruct


def leaves(name: str, tree: PyTree) -> list[Any]:
    """Give a pytree's leaves, all of them arrays of numbers.

    Raises:
        InputError: a pytree without leaves; a leaf that is not an array of numbers.
    """
    arrays = jax.tree.leaves(tree)
    if not arrays:
        raise InputError(f"{name}: expected at least one array, got an empty pytree; give some")
    for index, leaf in enumerate(arrays):
        dtype = getattr(leaf, "dtype", None)
        # The kinds that NumPy knows first: this is on the way of every run.
        known = getattr(dtype, "kind", None) in tuple("biufc")
        if isinstance(leaf, jax.core.Tracer):
            raise InputError(
                f"{path(name, tree, index)}: expected concrete arrays, whose values can be "
                "checked, got a tracer; inside jax.jit or jax.vmap call jaxnet.run instead"
            )
        if dtype is None or not (known or jnp.issubdtype(dtype, jnp.number)):
            got = type(leaf).__name__ if dtype is None else dtype
            raise InputError(
                f"{path(name, tree, index)}: expected an array of numbers, got {got}; {_cure(leaf)}"
            )
        if isinstance(leaf, np.ma.MaskedArray) or not isinstance(leaf, _ARRAYS):
            raise InputError(
                f"{path(name, tree, index)}: expected a plain array, got {type(leaf).__name__}; "
                "make one, as by its toarray() or filled()"
            )
    return arrays


def _cure(leaf: Any) -> str:
    """Say what to do with what is no array of numbers."""
    if isinstance(leaf, int | float):
        return "make arrays of lists and numbers, as by np.asarray"
    if isinstance(leaf, np.ndarray):
        return "encode it as numbers, as jaxnet.tables does"
    return (
        "keep what is none out of the pytree, as by equinox.partition, and put it back in the loss"
    )


def path(name: str, tree: PyTree, index: int) -> str:
    """Name a leaf, such as `params[0].weight`; slow, so for messages and tables only."""
    return name + jax.tree_util.keystr(jax.tree_util.tree_flatten_with_path(tree)[0][index][0])


def is_key(leaf: Any) -> bool:
    """Tell a typed key of random numbers, which NumPy has not."""
    return jnp.issubdtype(getattr(leaf, "dtype", object), jax.dtypes.prng_key)


def as_numbers(tree: PyTree) -> PyTree:
    """Give a pytree with keys of random numbers as the numbers that they are made of."""
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if is_key(leaf) else leaf, tree)


def params(tree: PyTree, trained: PyTree, name: str = "params") -> None:
    """Refuse parameters that are not finite arrays, or of which nothing is trained.

    Args:
        tree: all of them. trained: those of them that are.

    Raises:
        InputError: no floating-point arrays, complex ones, or a trained value that is not finite.
    """
    for index, leaf in enumerate(leaves(name, as_numbers(tree))):
        if leaf.dtype.kind == "c":
            raise InputError(
                f"{path(name, tree, index)}: expected real parameters, got {leaf.dtype}; give "
                "their real and imaginary parts"
            )
    for index, leaf in enumerate(jax.tree.leaves(trained)):
        _finite(name, trained, index, leaf)
    if not jax.tree.leaves(trained):
        raise InputError(
            f"{name}: expected floating-point arrays among them, which alone are trained, got "
            f"{', '.join(sorted({str(leaf.dtype) for leaf in jax.tree.leaves(tree)}))}; cast them"
        )


def data(tree: PyTree, name: str = "data") -> int:
    """Refuse data whose leaves are not finite arrays over the same rows; give the row count N.

    Raises:
        InputError: not numbers; no rows, unequal rows, or a value that is not finite.
    """
    leaves(name, tree)
    count = rows(tree, name)
    finite(name, tree)
    return count


def rows(tree: PyTree, name: str = "data", *, least: int = 1) -> int:
    """Refuse arrays that do not have the same rows, by their shapes alone; give the row count N.

    Raises:
        InputError: no arrays, fewer rows than the least that will do, or unequal rows.
    """
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(tree)]
    if not shapes:
        raise InputError(f"{name}: expected at least one array, got an empty pytree; give some")
    for index, shape in enumerate(shapes):
        if not shape or shape[0] < least:
            raise InputError(
                f"{path(name, tree, index)}: expected at least one row along the first axis, got "
                f"shape {list(shape)}; give an axis of rows"
            )
        if shape[0] != shapes[0][0]:
            raise InputError(
                f"{path(name, tree, index)}: expected {shapes[0][0]} rows, as "
                f"{path(name, tree, 0)} has, got {shape[0]}; give as many of each"
            )
    return shapes[0][0]


def finite(name: str, tree: PyTree) -> None:
    """Refuse data whose leaves are not finite arrays of numbers.

    Raises:
        InputError: not numbers; nothing in them, a value that is not finite, or one that JAX
            would cut to the 32 bits of its arrays.
    """
    for index, leaf in enumerate(leaves(name, tree)):
        if np.size(leaf) == 0:
            raise InputError(
                f"{path(name, tree, index)}: expected at least one row, got shape "
                f"{list(leaf.shape)}"
            )
        if leaf.dtype.kind not in "biu":
            _finite(name, tree, index, leaf)
        _fits(name, tree, index, leaf)


def _fits(name: str, tree: PyTree, index: int, leaf: Any) -> None:
    kind = jax.dtypes.canonicalize_dtype(leaf.dtype)
    if kind == leaf.dtype or kind.kind not in "iuf":
        return
    limits = np.finfo(kind) if kind.kind == "f" else np.iinfo(kind)
    for value in (leaf.min(), leaf.max()):
        if not limits.min <= value <= limits.max:
            raise InputError(
                f"{path(name, tree, index)}: expected numbers that {kind} holds, which JAX makes "
                f"of {leaf.dtype}, got {value}; scale them, or have 64 bits by "
                'jax.config.update("jax_enable_x64", True)'
            )


_MOST_EPOCHS = 2**31 - 1
# Control characters, what separates lines and paragraphs, and halves of UTF-16 pairs.
_UNPRINTED = ("Cc", "Zl", "Zp", "Cs")
_SCALAR = "loss: expected a real scalar"


def in_numpy(name: str, error: BaseException) -> None:
    """Refuse, in the place of JAX's own error, a function that has NumPy compute what is traced.

    Raises:
        InputError: it is such an error; naming the function and the line.
    """
    if not isinstance(error, jax.errors.TracerArrayConversionError):
        return
    frames = traceback.extract_tb(error.__traceback__)
    own = [each for each in frames if not each.filename.startswith(jaxprs.LIBRARIES)]
    at = f"{own[-1].name} ({Path(own[-1].filename).name}:{own[-1].lineno})"
    raise InputError(
        f"{name}: expected a function in jax.numpy, which JAX can trace, got NumPy in {at}; write "
        "it in jax.numpy"
    ) from error


def told(error: BaseException | None) -> str:
    """Give what a function raised, in a line."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0].rstrip('.')}"


@contextlib.contextmanager
def not_scalar() -> Iterator[None]:
    """Refuse, in the place of JAX's own error, a loss that is not a real scalar, or is in NumPy.

    Raises:
        InputError: it is such an error.
    """
    try:
        yield
    except TypeError as error:
        in_numpy("loss", error)
        if "scalar-output" not in str(error) and "real-valued outputs" not in str(error):
            raise
        raise InputError(
            f"{_SCALAR}; {error}; reduce it, as by jnp.mean; a function that gives the gradient as "
            "well goes in jaxnet.Rule, a state beside the loss needs jaxnet.Variables"
        ) from error


def drawn(key: Any, draws: bool) -> None:
    """Refuse to train by a loss that draws without a key, which it would be evaluated by.

    Raises:
        InputError: there is none.
    """
    if draws and key is None:
        raise InputError(
            "key: expected a jax.random.key, as the loss takes one, got None; give one for each "
            "step, or bind the loss's own by functools.partial"
        )


def carried(result: Any, before: PyTree = None) -> tuple[Any, PyTree]:
    """Give a loss and the state after it; also while tracing.

    Args:
        result: what a loss of `jaxnet.Variables` gives. before: the state that it was given.

    Raises:
        InputError: no pair, or a state of another structure, shapes or dtypes.
    """
    if not isinstance(result, tuple) or len(result) != 2:
        raise InputError(
            f"loss: expected a pair (loss, state), as it is one of Variables, got "
            f"{jax.tree.structure(result)}; give the state after the step, changed or not"
        )
    if before is not None:
        ours, theirs = kinds(before), kinds(result[1])
        for place in ours | theirs:
            if ours.get(place) != theirs.get(place):
                raise InputError(
                    f"loss: expected a state as before, {ours.get(place, 'nothing')} at "
                    f"state{place}, got {theirs.get(place, 'nothing')}; keep its structure, shapes "
                    "and dtypes, and start from such"
                )
        if jax.tree.structure(before) != jax.tree.structure(result[1]):
            raise InputError(
                f"loss: expected a state as before, {jax.tree.structure(before)}, got "
                f"{jax.tree.structure(result[1])}; keep its structure"
            )
    return result


def with_grads(pair: Any) -> tuple[Any, PyTree]:
    """Give what a rule gives: a loss, or one and a state, and its gradients.

    Raises:
        InputError: no pair.
    """
    if not isinstance(pair, tuple) or len(pair) != 2:
        raise InputError(
            f"{_SCALAR} and gradients, (loss, grads), of a Rule, got {jax.tree.structure(pair)}; "
            "give both"
        )
    return pair


def value_and_grads(params: PyTree, result: Any, grads: PyTree) -> tuple[Any, PyTree]:
    """Give a loss and its gradients as arrays; also while tracing.

    Raises:
        InputError: no real scalar, or what does not match the parameters leaf by leaf.
    """
    if jax.tree.structure(result) != jax.tree.structure(0):
        raise InputError(
            f"{_SCALAR} and gradients, (loss, grads), of a Rule, got "
            f"{jax.tree.structure((result, grads))}; give both"
        )
    value = jnp.asarray(result)
    if value.shape != () or not jnp.issubdtype(value.dtype, jnp.floating):
        raise InputError(
            f"{_SCALAR}, got {value.dtype} of shape {list(value.shape)}; reduce it, as by jnp.mean"
        )
    if jax.tree.structure(params) != jax.tree.structure(grads):
        raise InputError(
            f"loss: expected grads of the structure of params, {jax.tree.structure(params)}, got "
            f"{jax.tree.structure(grads)}; give one for each parameter"
        )
    pairs = zip(jax.tree.leaves(params), jax.tree.leaves(grads), strict=True)
    for index, (leaf, grad) in enumerate(pairs):
        if jnp.shape(grad) != leaf.shape or jnp.result_type(grad) != leaf.dtype:
            raise InputError(
                f"{path('grads', params, index)}: expected the gradient of a parameter "
                f"{leaf.dtype}{list(leaf.shape)}, got {jnp.result_type(grad)}"
                f"{list(jnp.shape(grad))}; give one of its shape and dtype"
            )
    return value, jax.tree.map(jnp.asarray, grads)


def number(name: str, value: Any) -> float:
    """Give a finite real number as Python's own.

    Raises:
        InputError: anything else.
    """
    known = isinstance(value, int | float | np.number | np.ndarray | jax.Array)
    if isinstance(value, bool) or not known or np.ndim(value) or np.iscomplexobj(value):
        raise InputError(
            f"{name}: expected one number, which is traced, got {value!r}; bind schedules and "
            "other settings to the optimizer with functools.partial, and sweep numbers with "
            "jax.vmap over jaxnet.run"
        )
    try:
        finite = np.isfinite(float(value))
    except OverflowError:
        finite = False
    if not finite:
        raise InputError(f"{name}: expected a finite number, got {value}; give another")
    return float(value)


def function(name: str, value: Any, *arguments: str, **named: Any) -> None:
    """Refuse what is no function of these arguments, or none that programs can be kept by.

    Args:
        name: what it is. value: the function. arguments: by place. named: those given by name.

    Raises:
        InputError: naming it.
    """
    expected = f"{name}: expected a function of ({', '.join((*arguments, *named))})"
    if not callable(value):
        raise InputError(f"{expected}, got {type(value).__name__}; give one")
    try:
        hash(value)
    except TypeError as error:
        raise InputError(
            f"{expected}, whose programs are kept by it, got one that cannot be hashed, {error}; "
            "wrap it in a plain function"
        ) from error
    # What wraps another may take other arguments than that; what jit does says otherwise.
    inside = (
        getattr(value, "__wrapped__", value) if isinstance(value, jax.stages.Wrapped) else value
    )
    try:
        signature = inspect.signature(inside, follow_wrapped=False)
    except (TypeError, ValueError):  # Python cannot tell, as of some written in C.
        return
    try:
        signature.bind(*arguments, **named)
    except TypeError as error:
        raise InputError(
            f"{expected}, got one of {signature}, {error}; bind what else it takes by "
            "functools.partial"
        ) from error


def key(value: Any) -> None:
    """Refuse what is no random key of JAX, of the new kind or the old.

    Raises:
        InputError: anything else, or several.
    """
    dtype, shape = getattr(value, "dtype", None), np.shape(value)
    typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    if not (shape == () if typed else dtype == np.uint32 and len(shape) == 1):
        got = type(value).__name__ if dtype is None else f"{dtype}{list(shape)}"
        raise InputError(
            f"key: expected one random key, got {got}; make it by jax.random.key(0), several by "
            "jax.random.split and jax.vmap"
        )


def parts(batch: Any) -> tuple[Any, ...]:
    """Give x, y and, where it has them, the weights of a batch.

    Raises:
        InputError: not two or three; one that is no array, nor, of x and y, several.
    """
    if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
        raise InputError(
            f"batch: expected a pair (x, y), or (x, y, weights), got {jax.tree.structure(batch)}; "
            "give both"
        )
    for name, part in zip(("x", "y", "weights"), batch, strict=False):
        arrays = jax.tree.leaves(part) if name != "weights" else [part]
        if not arrays or not all(hasattr(each, "dtype") for each in arrays):
            raise InputError(f"{name}: expected an array, got {type(part).__name__}; give an array")
    return tuple(batch)


def batch(given: Any) -> tuple[Any, ...]:
    """Give x, y and, where it has them, the weights of a batch.

    Raises:
        InputError: not arrays of as many rows, at least one, or weights of more axes.
    """
    x, y, *weights = parts(given)
    counts = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves((x, y))}
    if len(counts) > 1 or counts & {(), (0,)}:
        raise InputError(
            "batch: expected x [B, ...] and y [B, ...] with the same B, at least 1, got x "
            f"{shapes(x)} and y {shapes(y)}; take as many of both"
        )
    if weights and {jnp.shape(weights[0])} != counts:
        ((rows,),) = counts
        raise InputError(
            f"weights: expected one for each of the {rows} rows, of shape [{rows}], got "
            f"{list(jnp.shape(weights[0]))}; give a number for each"
        )
    return x, y, *weights


def shapes(tree: PyTree) -> PyTree:
    """Give the shape of each leaf, for messages."""
    return jax.tree.map(lambda leaf: list(np.shape(leaf)), tree)


def weighed(y: Any, *weights: Any, whole: bool) -> Any:
    """Give the targets of the rows that count, where rows have weights.

    Args:
        whole: whether some row has to count.

    Raises:
        InputError: a weight below 0, all of them 0, or numbers that sums of float32 lose.
    """
    float32 = np.finfo(np.float32)
    for array in map(np.asarray, weights):
        if array.min() < 0 or (whole and not array.any()):
            least = f"{array.min()} in row {array.argmin()}" if array.any() else "all 0"
            raise InputError(
                f"weights: expected numbers of at least 0, not all of them 0, got {least}; a row "
                "of weight 0 is left out, of weight 2 counts as two"
            )
        most, total = array.max(), array.sum(dtype=np.float64)
        # What is below the least is 0 to XLA.
        if whole and not (most >= float32.tiny and total <= float32.max):
            raise InputError(
                f"weights: expected some of at least {float32.tiny:.2g}, and a sum of at most "
                f"{float32.max:.2g}, as float32 holds, got numbers of at most {most:.2g} and a sum "
                f"of {total:.2g}; multiply all of them by one number"
            )
        y = jax.tree.map(lambda leaf, counts=array > 0: leaf[counts], y)
    return y


def layers(counts: Any, initializer: Any, bias: Any) -> None:
    """Refuse what are no sizes of layers, or no functions that draw their parameters.

    Raises:
        InputError: fewer than two, or one that is not a whole number of at least one; no function.
    """
    whole = isinstance(counts, Sequence) and all(
        isinstance(size, int | np.integer) for size in counts
    )
    if not whole or len(counts) < 2 or min(counts) < 1:
        raise InputError(
            "sizes: expected the inputs, any hidden layers and the outputs, each at least 1, "
            f"got {counts}; give them such as [3, 4, 4]"
        )
    sizes.check_network(counts)
    function("initializer", initializer, "key", "shape", "dtype")
    if isinstance(bias, bool):
        raise InputError(
            f"bias: expected an initializer or None, got {bias}; None leaves biases out, "
            "jax.nn.initializers.zeros starts them at 0"
        )
    if bias is not None:
        function("bias", bias, "key", "shape", "dtype")


def activations(hidden: Any, output: Any, count: int) -> list[Callable[[Any], Any]]:
    """Give the activation of each layer.

    Args:
        hidden: one of `count` hidden layers, or one for each. output: of the last layer, or None.

    Raises:
        InputError: no functions, or not as many as there are hidden layers.
    """
    several = isinstance(hidden, list | tuple)
    functions = list(hidden) if several else [hidden] * count
    others = [each for each in functions if not callable(each)]
    if len(functions) != count or others:
        got = f"{len(functions)} of them" if len(functions) != count else f"{others[0]!r}"
        raise InputError(
            f"activation: expected a function, or one for each of the {count} hidden layers, got "
            f"{got}; that of the outputs is output_activation"
        )
    if output is not None and not callable(output):
        raise InputError(
            f"output_activation: expected a function or None, got {output!r}; give one"
        )
    return [*functions, output or (lambda z: z)]


def network(params: Any) -> None:
    """Refuse what are no layers.

    Raises:
        InputError: naming what came.
    """
    layers = params if isinstance(params, Sequence) else [None]
    pairs = [each for each in layers if isinstance(each, tuple | list) and len(each) == 2]
    if len(pairs) < len(layers) or any(isinstance(each[0], tuple | list) for each in pairs):
        raise InputError(
            f"params: expected a sequence of layers, each of a weight and a bias, got "
            f"{type(params).__name__}; draw some by jaxnet.init, and of Variables give the params"
        )


def chain(params: Any, x: Any) -> None:
    """Refuse layers that `weight @ x + bias` would broadcast, contract or batch by accident.

    Raises:
        InputError: no layers, shapes that do not chain from `x` through every layer, or whole
            numbers.
    """
    if isinstance(params, Sequence) and not params:
        raise InputError("params: expected at least one Layer, got none; draw some by jaxnet.init")
    network(params)
    inputs = jnp.shape(x)
    if len(inputs) != 1:
        raise InputError(
            f"x: expected one example of shape [{jnp.shape(params[0].weight)[-1]}], got shape "
            f"{list(inputs)}; lift over a batch with jax.vmap or jaxnet.BatchLoss"
        )
    for index, (weight, bias) in enumerate(params):
        outputs = jnp.shape(weight)[:1]
        biased = bias is not None
        if jnp.shape(weight) != outputs + inputs or (biased and jnp.shape(bias) != outputs):
            raise InputError(
                f"params[{index}]: expected weight [O, {inputs[0]}] and bias [O] to follow "
                f"{inputs[0]} inputs, got weight {list(jnp.shape(weight))} and bias "
                f"{list(jnp.shape(bias)) if biased else None}; a weight is [outputs, inputs]"
            )
        for name, leaf in (("weight", weight), ("bias", bias)):
            dtype = getattr(leaf, "dtype", float)
            if jnp.issubdtype(dtype, jnp.integer):
                raise InputError(
                    f"params[{index}].{name}: expected floating-point numbers, which alone are "
                    f"trained, got {dtype}; cast them"
                )
        inputs = outputs


def in_a_line(name: str, *texts: Any) -> None:
    """Refuse what cannot stand as a name in a table, a terminal or a file.

    Raises:
        InputError: no text, none but blanks, or one of several lines or with control characters.
    """
    for text in texts:
        words = isinstance(text, str) and bool(text.strip())
        if not words or any(unicodedata.category(letter) in _UNPRINTED for letter in text):
            raise InputError(f"{name}: expected words in one line, got {text!r}; rename it")


def at_least_one(**counts: int) -> None:
    """Refuse counts below one, each by its name.

    Raises:
        InputError: not whole numbers; below one.
    """
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int | np.integer):
            raise InputError(f"{name}: expected a whole number, got {count!r}; give 1 or more")
        if count < 1:
            raise InputError(f"{name}: expected at least 1, got {count}; give more")


def order_size(rows: int, epochs: int) -> None:
    """Refuse an order of rows in epochs that is none, or does not fit the memory.

    Raises:
        InputError: a count as in `at_least_one`; the figures.
    """
    at_least_one(rows=rows, epochs=epochs)
    sizes.check_order(int(rows), int(epochs))


def seed(value: Any) -> None:
    """Refuse a seed that is no whole number of at least 0.

    Raises:
        InputError: naming it.
    """
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < 0:
        raise InputError(f"seed: expected a whole number of at least 0, got {value!r}; give one")


def batch_size(size: int | None, rows: int | None) -> None:
    """Refuse a batch size outside the rows of data, or one for a stream, which has no rows.

    Raises:
        InputError: naming it.
    """
    if size is None:
        return
    if rows is None:
        raise InputError(
            f"batch_size: expected none, a stream brings its own batches, got {size}; leave it out"
        )
    at_least_one(batch_size=size)
    if size > rows:
        raise InputError(
            f"batch_size: expected 1 to the {rows} rows of data, got {size}; None takes all"
        )


def ends(
    epochs: int,
    patience: int | None,
    judged: Mapping[str, PyTree],
    metrics: Any,
    *,
    rows: int | None,
    batch_size: int | None,
) -> None:
    """Refuse what tells a run when to end where it cannot.

    Args:
        epochs: at most. patience: as `fit` has it.
        judged: data by name, of validation and of training. metrics: measured on it.
        rows: of data in memory. batch_size: of its batches; all rows where None.

    Raises:
        InputError: a count below one; metrics that are no functions by name, or one of the loss's
            name; metrics or patience without validation data; without patience more epochs than
            can be kept, or done in weeks.
    """
    at_least_one(epochs=epochs, **({} if patience is None else {"patience": patience}))
    if epochs > _MOST_EPOCHS:
        raise InputError(
            f"epochs: expected at most {_MOST_EPOCHS}, of int32, got {epochs}; give fewer"
        )
    functions = isinstance(metrics, Mapping) and all(map(callable, metrics.values()))
    if metrics is not None and (not functions or "loss" in metrics):
        raise InputError(
            f"metrics: expected a dict of functions by names other than loss, which is measured "
            f"anyway, got {metrics!r}; give such"
        )
    for name, metric in (metrics or {}).items():
        function(f"metrics: {name}", metric, "params", "batch")
    if "validation" in judged:
        data(judged["validation"], "validation")
    elif (metrics and not judged) or patience is not None:
        raise InputError(
            "validation: expected data, to measure metrics and early stopping on, got none; give "
            "some, or neither of them; judge_training=True measures metrics on the training data"
        )
    if patience is None:
        sizes.check_steps(epochs, -(-rows // (batch_size or rows)) if rows else 1)
        sizes.check_history(epochs, 1 + len(judged) * (1 + len(metrics or {})))


def resumed(
    resume: Any,
    measured: tuple[Iterable[str], Iterable[str]],
    begin: Callable[..., PyTree],
    *given: Any,
) -> None:
    """Refuse to go on from what is not as a run of these parameters and this optimizer has it.

    Args:
        resume: the run so far. measured: the names of what is judged, and of metrics.
        begin: gives of what is `given` where a run begins.

    Raises:
        InputError: no run; naming the first array of another shape or dtype, or of one run
            alone; the structures, where these alone differ; or values that were measured in one
            run alone, whose histories would end unequal.
    """
    if not hasattr(resume, "progress"):
        raise InputError(
            f"resume: expected a jaxnet.Fit, got {type(resume).__name__}; give what fit returned, "
            "or restore a checkpoint; parameters alone go in params"
        )
    expected, progress = jax.eval_shape(begin, *given), resume.progress
    ours, theirs = kinds(expected), kinds(progress)
    for place in ours | theirs:
        if ours.get(place) != theirs.get(place):
            raise _another(place, ours.get(place, "nothing"), theirs.get(place, "nothing"))
    structures = jax.tree.structure(expected), jax.tree.structure(progress)
    if structures[0] != structures[1]:
        raise _another("", *structures)
    judged, metrics = measured
    names = {"loss", *(f"{name}_{each}" for name in judged for each in ("loss", *metrics))}
    if resume.history and (differ := sorted(names ^ resume.history.keys())):
        raise InputError(
            f"resume.history: expected {', '.join(sorted(names))}, as validation, metrics and "
            f"judge_training give, got {', '.join(sorted(resume.history))}; differing are "
            f"{', '.join(differ)}; give those that the run began with, or begin anew"
        )


def kinds(tree: PyTree) -> dict[str, str]:
    """Give the dtype and shape of each leaf by its path."""
    leaves = jax.tree.leaves_with_path(tree)
    return {jax.tree_util.keystr(path): f"{leaf.dtype}{list(leaf.shape)}" for path, leaf in leaves}


def _another(place: str, expected: Any, got: Any) -> InputError:
    return InputError(
        f"resume.progress{place}: expected {expected}, as params and optimizer give, got {got}; "
        "give those that the run began with, or begin anew"
    )


def asked(on_progress: Any, every_epoch: Any, drop_last: Any, judge_training: Any) -> None:
    """Refuse what cannot be called with a run, and switches that are neither True nor False.

    Raises:
        InputError: naming it.
    """
    if on_progress is not None:
        function("on_progress", on_progress, "fit")
    switches = {"every_epoch": every_epoch, "drop_last": drop_last}
    for name, value in (switches | {"judge_training": judge_training}).items():
        if not isinstance(value, bool):
            raise InputError(
                f"{name}: expected True or False, got {type(value).__name__}; give one of them"
            )


def judged(
    training: PyTree | Callable[..., Any], validation: PyTree, *, judge_training: bool
) -> dict[str, PyTree]:
    """Give the data that is judged as one batch, by name: validation data, and training's if asked.

    Raises:
        InputError: a stream to judge.
    """
    if judge_training and callable(training):
        raise InputError(
            "judge_training: expected data in memory, which is judged as one batch, got a stream; "
            "give some of its rows as validation, or leave it out"
        )
    validation = frames.arrays(validation, "validation")
    both = {"training": training if judge_training else None, "validation": validation}
    return {name: data for name, data in both.items() if data is not None}


def measured(
    name: str, metric: Callable[[PyTree, PyTree], Any], params: PyTree, data: PyTree
) -> Any:
    """Give what a metric gives as an array; also while tracing.

    Raises:
        InputError: no array of real numbers; a metric in NumPy.
    """
    try:
        value = metric(params, data)
    except TypeError as error:
        in_numpy(f"metrics: {name}", error)
        raise
    one = jax.tree.structure(value) == jax.tree.structure(0) and not isinstance(value, str)
    if not one or jnp.iscomplexobj(value):
        got = "complex ones" if one else type(value).__name__
        raise InputError(
            f"metrics: {name}: expected one array of real numbers, got {got}; give others "
            "by names of their own"
        )
    return jnp.asarray(value)


def order(order: Any, rows: int | None, least: int = 1) -> Any:
    """Give an order as an array: `[T, B]` integers within the rows of the data.

    A stream, which has no rows, has no order either; one that is traced is not looked into.

    Args:
        rows: of the data. least: the fewest steps that will do.

    Raises:
        InputError: not integers; not two axes, empty, or a row outside the data.
    """
    if rows is None:
        raise InputError("data: expected arrays, got a function; jaxnet.fit takes streams")
    if isinstance(order, jax.core.Tracer):
        return order
    array = np.asarray(order)
    if not np.issubdtype(array.dtype, np.integer):
        raise InputError(
            f"order: expected integer rows, got {array.dtype}; make it by jaxnet.shuffled"
        )
    if array.ndim != 2 or len(array) < least or not array.shape[1]:
        raise InputError(
            "order: expected shape [T, B], T steps of B rows, neither zero, got shape "
            f"{list(array.shape)}; make it by jaxnet.shuffled"
        )
    if array.size and (array.min() < 0 or array.max() >= rows):
        row = array.min() if array.min() < 0 else array.max()
        raise InputError(
            f"order: expected rows 0 to {rows - 1}, the rows of the data, got row {row} in step "
            f"{np.argwhere(array == row)[0][0]}; make it of as many rows as data has"
        )
    return order if isinstance(order, jax.Array) else array


def _finite(name: str, tree: PyTree, index: int, leaf: Any) -> None:
    finite = np.isfinite(leaf)
    if not finite.all():
        where = [int(i) for i in np.argwhere(~finite)[0]]
        raise InputError(
            f"{path(name, tree, index)}: expected finite values, got "
            f"{np.asarray(leaf)[tuple(where)]} at {where}, {finite.size - finite.sum()} of "
            f"{finite.size} in all; replace them, or leave those rows out"
        )

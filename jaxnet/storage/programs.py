"""A forward function as a program that JAX alone loads, on other machines (extra `export`).

`program.json` says what the program takes and gives and names its file, `program-<hash>.jax`, what
`jax.export` makes: StableHLO with the parameters in it. The folder holds a whole program or none.
A newer JAX loads it too, an older one perhaps not.

Shapes: N rows, one or more.
"""

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import export
from jaxtyping import Array, PyTree

from jaxnet import variables
from jaxnet._guards import checks, jaxprs
from jaxnet.errors import FunctionError, InputError
from jaxnet.storage import files

_PLATFORMS = ("cpu", "cuda", "tpu")
_RECORD, _PROGRAM = "program.json", "program.jax"
_EXPECTED = "forward: expected a function of params and one example that JAX can export, got"


def write(
    folder: str | Path,
    forward: Callable[..., PyTree[Array]],
    params: Any,
    example: PyTree,
) -> None:
    """Write a function of one example, with its parameters, as a program of one or more rows.

    It is made for each of CPUs, CUDA and TPUs that JAX can make it for; the record says which.

    Args:
        folder: of the program.
        forward: of `(params, x)`, as `jaxnet.forward` is; whoever's. One that takes a third
            argument `key` is given None.
        params: whatever `forward` takes.
        example: an x of one example, for its shapes and dtypes; the program takes `[N, ...]`.

    Raises:
        InputError: an example that is not of arrays.
        FunctionError: a function that JAX can make no such program of, with the reason.
        OSError: a place that cannot be written to, or is full; an older program stays as it was.
        ImportError: without the extra `export`.
    """
    checks.extra("export", "flatbuffers")
    folder = Path(folder)
    keys = variables.named(None, variables.takes_key(forward))
    checks.function("forward", forward, "params", "x", **keys)
    checks.leaves("example", example)
    example = jax.tree.map(jnp.asarray, example)
    one = functools.partial(forward, params, **keys)
    _check(one, example)
    (rows,) = export.symbolic_shape("N")
    x = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((rows, *leaf.shape), leaf.dtype), example)
    batched = jax.jit(jax.vmap(one))
    able = _platforms(batched, x)
    exported = export.export(batched, platforms=able)(x)
    content = bytes(exported.serialize())
    files.clear(folder)
    name = files.named(_PROGRAM, hashlib.sha256(content).hexdigest())
    about = {
        "platforms": able,
        "inputs": _kinds(exported.in_avals),
        "outputs": _kinds(exported.out_avals),
        "jax": jax.__version__,
    }
    files.write_record(folder / _RECORD, {"program": about}, {name: content})


def read(folder: str | Path) -> export.Exported:
    """Read a program, to `call` on `[N, ...]`; it has no gradient.

    Raises:
        InputError: no program there, one that is not whole, or one that this JAX cannot load.
        ImportError: without the extra `export`.
    """
    checks.extra("export", "flatbuffers")
    try:
        record, contents = files.read_record(Path(folder) / _RECORD)
    except InputError as error:
        raise InputError(f"folder: expected a program in {folder}; {error}") from error
    if "program" not in record or len(contents) != 1:
        raise InputError(f"folder: expected a program in {folder}, got another record of jaxnet's")
    (content,) = contents.values()
    try:
        return export.deserialize(bytearray(content))
    except Exception as error:
        raise InputError(
            f"folder: expected a program that JAX {jax.__version__} loads, got one of JAX "
            f"{record['program'].get('jax')} in {folder}; update jax and jaxlib"
        ) from error


def _check(one: Callable[[PyTree], PyTree], example: PyTree) -> None:
    """Refuse a function that cannot be traced, or that calls Python, which no file can hold."""
    try:
        traced = jax.jit(one).trace(example)
    except Exception as error:
        raise _refused(error) from error
    if jaxprs.holds(traced.jaxpr.jaxpr, jaxprs.CALLBACKS | jaxprs.TELLING):
        raise FunctionError(f"{_EXPECTED} one that calls Python or prints; leave that out")


def _platforms(batched: Any, x: PyTree) -> list[str]:
    """Give the platforms that a function can be exported for; refuse one that has none."""
    able, refusals = [], []
    for platform in _PLATFORMS:
        try:
            export.export(batched, platforms=[platform])(x).serialize()
            able.append(platform)
        except Exception as error:
            refusals.append(error)
    if not able:
        raise _refused(refusals[0]) from refusals[0]
    return able


def _refused(error: Exception) -> FunctionError:
    checks.in_numpy("forward", error)
    return FunctionError(
        f"{_EXPECTED} {type(error).__name__}: {str(error).partition(chr(10))[0]}; write it in "
        "jax.numpy, and have it give arrays, or tuples, lists or dicts of them"
    )


def _kinds(avals: Any) -> list[str]:
    return [f"{each.dtype}[{', '.join(map(str, each.shape))}]" for each in avals]

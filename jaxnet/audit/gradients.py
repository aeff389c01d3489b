"""Audit of a claimed gradient: is it right, and if not, what was done wrong, and where.

The claim is compared with autodiff in float64, and finite differences referee autodiff. A wrong
leaf is compared with the gradients that known mistakes give (`mistakes`); what none of them
explains is called unexplained.

Shapes: N examples.
"""

import functools
import math
import textwrap
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree, Shaped

from jaxnet import losses
from jaxnet._guards import checks, versions
from jaxnet.audit import finite, mistakes
from jaxnet.audit.mistakes import Case, Gradient, Mistake
from jaxnet.errors import InputError

Verdict = Literal["right", "wrong", "undecided"]

# Draws of rounding noise, and how many times their largest effect is still called rounding.
_DRAWS = 4
_MARGIN = 16
# Rounding that hides larger relative errors than these: a leaf is not decided, nor explained.
_COARSE = 1e-2
_TOO_COARSE = 0.1
# An explanation leaves at most this share of the error, and so does not explain errors of which
# rounding may be more.
_LEFT_OVER = 0.02
# A fitted number is evidence where it explains at least so many.
_FITTED = 4


class Row(NamedTuple):
    """The audit of one parameter.

    Attributes:
        name: its path in the pytree, such as `[0].weight`.
        shape: of the parameter.
        claimed_norm: Euclidean norm of the claimed gradient.
        true_norm: Euclidean norm of the true gradient.
        relative_error: norm of the difference over the larger of the two norms; nan where the
            shapes differ.
        cosine: of the angle between the two; nan where undefined.
        resolution: the smallest relative error that rounding would not hide.
        finite_differences: the largest disagreement of autodiff with finite differences, relative
            to the norm of the whole gradient.
        verdict: "right", "wrong" or "undecided".
        diagnosis: what was done wrong, or why it cannot be decided; empty where right.
        signal: whether a named mistake in a network's error signal made it wrong.
    """

    name: str
    shape: tuple[int, ...]
    claimed_norm: float
    true_norm: float
    relative_error: float
    cosine: float
    resolution: float
    finite_differences: float
    verdict: Verdict
    diagnosis: str
    signal: bool


class Audit(NamedTuple):
    """The audit of a claimed gradient, one row per parameter; printed, it is a table.

    Attributes:
        rows: one per parameter, in the order of the pytree.
        examples: N.
        dtype: of the claimed gradient.
        summary: in words, with the layer where the error signal of a network first goes wrong.
    """

    rows: tuple[Row, ...]
    examples: int
    dtype: str
    summary: str

    @property
    def right(self) -> bool:
        """Whether every parameter's gradient is right."""
        return all(row.verdict == "right" for row in self.rows)

    def __str__(self) -> str:
        """Lay the rows out as a table of text, a diagnosis under each row that needs one."""
        name = max(len("parameter"), *(len(row.name) for row in self.rows))
        shape = max(len("shape"), *(len(str(row.shape)) for row in self.rows))
        head = f"{'parameter':{name}}  {'shape':{shape}}  verdict   "
        lines = [head + "rel. error  resolution  cosine  differences"]
        for row in self.rows:
            lines.append(
                f"{row.name:{name}}  {row.shape!s:{shape}}  {row.verdict:9}  "
                f"{row.relative_error:9.1e}  {row.resolution:10.1e}  {row.cosine:6.3f}  "
                f"{row.finite_differences:11.1e}"
            )
            if row.diagnosis:
                lines += _wrap(row.diagnosis, "    ")
        return "\n".join([*lines, *_wrap(self.summary), *_wrap(_LEGEND)])


_LEGEND = (
    "(resolution: the smallest relative error that rounding would not hide; differences: autodiff "
    "against finite differences)"
)


def _wrap(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(text, 88, initial_indent=indent, subsequent_indent=indent)


def _gradient_of(rule: losses.Rule, params: PyTree, batch: PyTree) -> PyTree:
    return rule.value_and_grad(params, batch)[1]


def audit(
    loss: losses.Loss,
    params: PyTree[Float[Array | np.ndarray, "..."]],
    batch: PyTree[Shaped[Array | np.ndarray, "N ..."]],
    claimed: PyTree | Callable[[Any, Any], PyTree] | losses.Rule,
) -> Audit:
    """Compare a claimed gradient with the true one; name the mistake that explains a wrong leaf.

    Where the loss is `losses.BatchLoss(network.forward, ...)`, the layer at which the error signal
    first goes wrong is named too. With 2 examples a factor of 2 and a sum in place of the mean
    are the same number: a claim given as a function is then asked about 3, to choose.

    Args:
        loss: `(params, batch) -> []`.
        params: where the gradient is claimed; a pytree of real floating-point arrays.
        batch: N examples, a pytree of arrays whose first axis is N.
        claimed: a pytree of the structure of `params`, leaves of any shape, or a function
            `(params, batch)` that gives one, or a `Rule` of value and gradient.

    Raises:
        InputError: params or batch that are not finite, empty or not numbers; a loss
            that is not a real scalar, or has no finite gradient here; a claim that is complex or
            not of the structure of `params`.
    """
    versions.check()
    checks.params(params)
    rows = checks.data(batch, "batch")
    tree = jax.tree.structure(params)
    if isinstance(claimed, losses.Rule):
        claimed = functools.partial(_gradient_of, claimed)
    # An Equinox module is a pytree that can be called: what has the structure is the gradient.
    own = jax.tree.structure(claimed) == tree and not jax.tree_util.treedef_is_leaf(tree)
    ask = claimed if callable(claimed) and not own else None
    case = _case(loss, params, batch, ask(params, batch) if ask else claimed)
    differences, refuted = finite.referee(case)
    judged = [_judge(case, index) for index in range(len(case.true))]
    wrong = [index for index, (verdict, _) in enumerate(judged) if verdict == "wrong"]
    found = _explain(case, wrong)
    if ask and rows == 2 and any(len(readings) > 1 for readings in found.values()):
        found = _ask_for_three(case, ask, (params, batch), found)

    table = []
    for index in range(len(judged)):
        (verdict, text), signal = judged[index], False
        if verdict == "wrong":
            text = _said(case, index, found)
            signal = any(found.get(index, {}).values())
            if index not in found and _is_true(case, index, coarsely=True):
                verdict = "undecided"
        if refuted[index]:
            verdict, text, signal = "undecided", _refusal(case, index, refuted[index]), False
        row = (*_figures(case, index), _resolution(case, index), differences[index])
        name = checks.path("", params, index) or "params"
        table.append(Row(name, case.true[index].shape, *row, verdict, text, signal))
    return Audit(tuple(table), rows, str(case.dtype), _summary(case, table))


def _case(loss: losses.Loss, params: PyTree, batch: PyTree, claimed: PyTree) -> Case:
    """Widen everything to float64, differentiate, and measure what rounding may hide."""
    expected, got = jax.tree.structure(params), jax.tree.structure(claimed)
    if expected != got:
        raise InputError(f"claimed: expected the structure of params, {expected}, got {got}")
    leaves = checks.leaves("claimed", claimed)
    if any(jnp.issubdtype(leaf.dtype, jnp.complexfloating) for leaf in leaves):
        raise InputError("claimed: expected real gradients, got complex ones; take their real part")
    kinds = [np.dtype(leaf.dtype) for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.floating)]
    dtype = max(kinds, key=_epsilon, default=np.dtype(np.float64))
    narrow = jax.tree.map(lambda leaf: _cast(leaf, dtype), (params, batch))
    params, batch = jax.tree.map(lambda leaf: _cast(leaf, np.dtype(np.float64)), (params, batch))
    random = np.random.default_rng(0)
    # All of it in one precision: traces of the loss made in another would be found and used.
    with jax.enable_x64(True):
        if isinstance(loss, losses.BatchLoss):
            loss.check(params, batch)
        value = jax.eval_shape(loss, params, batch)
        if getattr(value, "shape", None) != () or not jnp.issubdtype(value.dtype, jnp.floating):
            raise InputError(f"loss: expected a real scalar, got {value}")
        epsilon = max(_epsilon(dtype), _epsilon(value.dtype))

        def draws(leaf: np.ndarray) -> np.ndarray:
            stacked = np.repeat(leaf[None], _DRAWS + 1, 0)
            if np.issubdtype(leaf.dtype, np.floating):
                stacked[1:] *= 1 + epsilon * random.uniform(-1, 1, stacked[1:].shape)
            return stacked

        values, drawn = _draw(loss, *jax.tree.map(draws, (params, batch)))
        drawn = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(drawn)]
        if not all(np.isfinite(leaf).all() for leaf in (values, *drawn)):
            raise InputError(
                f"loss: expected a loss and a gradient that are finite at params, got {values[0]}, "
                "or a gradient that is not; audit where the loss is finite and smooth"
            )
    rounding = []
    for leaf, own in zip(drawn, _own_gradients(loss, narrow, dtype, drawn), strict=True):
        noise = max(np.linalg.norm(draw - leaf[0]) for draw in leaf[1:])
        noise = max(noise, np.linalg.norm(own - leaf[0]))
        rounding.append(_MARGIN * float(noise + epsilon * np.linalg.norm(leaf[0])))
    return Case(
        loss,
        params,
        batch,
        true=[np.asarray(leaf[0]) for leaf in drawn],
        claimed=[np.asarray(leaf, np.float64) for leaf in leaves],
        rows=len(jax.tree.leaves(batch)[0]),
        rounding=rounding,
        dtype=dtype,
    )


def _own_gradients(
    loss: losses.Loss, narrow: Any, dtype: np.dtype, drawn: list[Gradient]
) -> list[Gradient]:
    """Differentiate in the claim's own precision, on the device, as a right claim would have."""
    if dtype == np.float64:
        return [np.asarray(leaf[0]) for leaf in drawn]
    try:
        with jax.enable_x64(False):
            own = jax.device_get(_gradients(loss, *narrow))
    except (
        TypeError
    ):  # JAX may find the traces of the other precision, where the loss has constants
        return [np.asarray(leaf[0]) for leaf in drawn]
    return [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(own)]


def _epsilon(dtype: Any) -> float:
    return float(jnp.finfo(dtype).eps)


def _cast(leaf: Any, dtype: np.dtype) -> np.ndarray:
    """Make floats NumPy arrays of a dtype and leave integers as they are."""
    leaf = np.asarray(leaf)
    return leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf


@functools.partial(jax.jit, static_argnums=0)
def _gradients(loss: losses.Loss, params: PyTree, batch: PyTree) -> PyTree:
    return jax.grad(loss)(params, batch)


@functools.partial(jax.jit, static_argnums=0)
def _draw(loss: losses.Loss, params: PyTree, batch: PyTree) -> tuple[Array, PyTree]:
    return jax.vmap(jax.value_and_grad(loss))(params, batch)


def _refusal(case: Case, index: int, refuted: str) -> str:
    cause = {
        "kink": "the loss has a kink at these parameters, where it has no gradient",
        "override": "the loss replaces its own gradient (stop_gradient, custom_vjp), or is not "
        "smooth at any step size",
    }[refuted]
    agrees = "agrees with autodiff" if _is_true(case, index) else "differs from autodiff as well"
    return f"autodiff and finite differences disagree: {cause}; the claim {agrees}"


def _is_true(case: Case, index: int, coarsely: bool = False) -> bool:
    """Whether a claimed leaf is the true one to rounding: its own, or coarsely that of float32."""
    claimed, true = case.claimed[index], case.true[index]
    coarser = max(_epsilon(np.float32) / _epsilon(case.dtype), 1.0) if coarsely else 1.0
    return claimed.shape == true.shape and bool(
        np.linalg.norm(claimed - true) <= coarser * case.rounding[index]
    )


def _resolution(case: Case, index: int) -> float:
    """Give the smallest relative error of a leaf that rounding would not hide."""
    norm = float(np.linalg.norm(case.true[index]))
    return case.rounding[index] / norm if norm else math.inf if case.rounding[index] else 0.0


def _judge(case: Case, index: int) -> tuple[Verdict, str]:
    """Give the verdict on one leaf, and why where it is undecided."""
    resolution = _resolution(case, index)
    if not _is_true(case, index):
        return "wrong", ""
    if resolution <= _COARSE:
        return "right", ""
    hidden = f"rounding of {case.dtype} hides relative errors below {resolution:.1e} here"
    if case.dtype == np.float64:
        return "undecided", f"{hidden}: the terms of this gradient cancel"
    return "undecided", f"{hidden}; claim the gradient in float64"


def _said(case: Case, index: int, found: "dict[int, Readings]") -> str:
    readings = found.get(index, {})
    ask = "; a batch of another size tells" if len(readings) > 1 and case.rows == 2 else ""
    return ", or ".join(readings) + ask if readings else _unexplained(case, index)


Readings = dict[str, bool]
"""What explains a leaf, in words, and whether it is an error signal gone wrong; all fit alike."""


def _explain(case: Case, wrong: list[int]) -> dict[int, Readings]:
    """Name the mistakes whose gradients the wrong leaves are, the simplest that fit."""
    found: dict[int, Readings] = {}
    left = [index for index in wrong if _can_be_explained(case, index)]
    with jax.enable_x64(True), np.errstate(all="ignore"):
        factors = _factors(case) if left else []
        for tier in mistakes.tiers(case) if left else ():
            for index in left:
                fits = [
                    (mistake, relation)
                    for mistake in tier.get(index, ())
                    for relation in _relations(case, index, mistake, factors)
                ]
                # A mistake that fits as it is beats one that fits up to a factor.
                plain = [(mistake, relation) for mistake, relation in fits if not relation]
                for mistake, relation in plain or fits:
                    text = "; ".join(part for part in (mistake.text, relation) if part)
                    found.setdefault(index, {})[text] = mistake.signal
            left = [index for index in left if index not in found]
            if not left:
                break
    return found


def _can_be_explained(case: Case, index: int) -> bool:
    claimed, true = case.claimed[index], case.true[index]
    if not np.isfinite(claimed).all() or _resolution(case, index) > _TOO_COARSE:
        return False
    error = np.linalg.norm(claimed - true) if claimed.shape == true.shape else math.inf
    return bool(error * _LEFT_OVER >= case.rounding[index])


def _unexplained(case: Case, index: int) -> str:
    """Say what can be said of a wrong leaf that no known mistake explains."""
    claimed, true = case.claimed[index], case.true[index]
    bad = claimed.size - int(np.isfinite(claimed).sum())
    if bad:
        return f"not finite in {bad} of {claimed.size} entries"
    if claimed.shape != true.shape:
        got, expected = list(claimed.shape), list(true.shape)
        return f"shape {got} where {expected} is expected; no known mistake explains it"
    if _is_true(case, index, coarsely=True):
        return "agrees to float32 rounding, and may have been computed in it"
    if _can_be_explained(case, index):
        return "no known mistake explains it"
    return f"too close to the rounding of {case.dtype} to tell one mistake from another"


def _ask_for_three(
    case: Case,
    ask: Callable[[Any, Any], PyTree],
    given: tuple[PyTree, PyTree],
    found: dict[int, Readings],
) -> dict[int, Readings]:
    """Choose between readings that two examples cannot tell apart by asking about three."""
    params, batch = given

    def lengthen(leaf: Any) -> Any:
        library = jnp if isinstance(leaf, jax.Array) else np
        return library.concatenate([leaf, leaf[:1]])

    batch = jax.tree.map(lengthen, batch)
    try:
        longer = _case(case.loss, params, batch, ask(params, batch))
    except Exception:  # rule or loss may be written for two examples only, and fail in any way
        return found
    three = _explain(longer, list(found))
    return {
        index: {text: readings[text] for text in readings if text in three.get(index, {})}
        or readings
        for index, readings in found.items()
    }


def _factors(case: Case) -> list[tuple[float, str]]:
    """Give the factors that have a meaning, in words; one number may have several."""
    rows, outputs = case.rows, mistakes.averaged_outputs(case)
    named = [(1.0, "")]
    if rows > 1:
        summed, averaged = {
            "mean": (
                "summed over the batch where the loss takes the mean",
                "divided by the batch size once more",
            ),
            "sum": (
                "multiplied by the batch size",
                "averaged over the batch where the loss takes the sum",
            ),
            "neither": ("multiplied by the batch size", "divided by the batch size"),
        }[mistakes.reduction(case)]
        named += [(float(rows), summed), (1 / rows, averaged)]
    if outputs > 1:
        named += [
            (float(outputs), "summed over the outputs where the loss takes the mean"),
            (1 / outputs, "divided by the number of outputs once more"),
        ]
    named += [(2.0, "doubled"), (0.5, "halved")]
    flipped = [(-number, f"{text} and sign flipped") for number, text in named if text]
    return [*named, (-1.0, "sign flipped"), *flipped]


def _relations(
    case: Case, index: int, mistake: Mistake, factors: list[tuple[float, str]]
) -> list[str]:
    """Say how the claimed leaf is a mistake's gradient: as it is, transposed, times a factor.

    Empty where it is not: what is left over must be rounding, and little beside the error.
    """
    claimed, true = case.claimed[index], case.true[index]
    gradient = np.asarray(mistake.gradient)
    norm = np.linalg.norm(gradient)
    if not 0 < norm < np.inf or (mistake.fitted and claimed.size < _FITTED):
        return []
    alike = claimed.shape == true.shape
    tolerance = 4 * max(_resolution(case, index), _MARGIN * _epsilon(np.float64))
    error = np.linalg.norm(claimed - true) if alike else np.inf
    for form, candidate in _forms(case, index, gradient).items():
        factor = np.vdot(candidate, claimed) / norm**2
        rest = np.linalg.norm(claimed - factor * candidate)
        if rest > min(tolerance * abs(factor) * norm, _LEFT_OVER * error):
            continue
        near = [text for number, text in factors if abs(factor / number - 1) <= tolerance]
        if not near and mistake.any_factor and claimed.size >= 3 and factor:
            off = f"1 {factor - 1:+.1e}" if abs(factor - 1) < 1e-3 else f"{factor:.6g}"
            near = [f"times a constant {off}"]
        told = [" and ".join(part for part in (form, text) if part) for text in near]
        # The true gradient as it is explains nothing.
        told = [text for text in told if text or mistake.text]
        if told:
            return told
    return []


def _forms(case: Case, index: int, gradient: Gradient) -> dict[str, Gradient]:
    """Give a gradient in the claimed leaf's shape, and how it got there."""
    claimed, forms = case.claimed[index], {}
    if claimed.shape == gradient.shape:
        forms[""] = gradient
    if gradient.ndim == 2 and claimed.shape == gradient.shape[::-1]:
        forms["transposed"] = gradient.T
    elif claimed.shape != gradient.shape and claimed.size == gradient.size:
        shapes = f"of shape {list(claimed.shape)} instead of {list(case.true[index].shape)}"
        forms[shapes] = gradient.reshape(claimed.shape)
    return forms


def _figures(case: Case, index: int) -> tuple[float, float, float, float]:
    """Give the norms of the claimed and the true leaf, their relative error and cosine."""
    claimed, true = case.claimed[index], case.true[index]
    norms = float(np.linalg.norm(claimed)), float(np.linalg.norm(true))
    error = cosine = math.nan
    if claimed.shape == true.shape:
        error = float(np.linalg.norm(claimed - true)) / (max(norms) or 1.0)
        if min(norms) > 0:
            cosine = float(np.vdot(claimed, true)) / (norms[0] * norms[1])
    return *norms, error, cosine


def _summary(case: Case, rows: list[Row]) -> str:
    counts = {v: sum(row.verdict == v for row in rows) for v in ("right", "wrong", "undecided")}
    said = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    examples = f"{case.rows} example{'s' if case.rows > 1 else ''}"
    parts = [f"{said}, of {len(rows)} parameters over {examples} in {case.dtype}."]
    if case.rows == 1:
        parts.append("One example cannot tell a sum over the batch from a mean.")
    if any(math.isnan(row.finite_differences) for row in rows):
        parts.append("Finite differences were too coarse to referee autodiff in every parameter.")
    wrong = [index for index, row in enumerate(rows) if row.verdict == "wrong"]
    if wrong and not mistakes.activation_of(case.loss):
        parts.append("Layers were not examined: the loss is no BatchLoss of network.forward.")
    elif wrong:
        parts += _where_signals_go_wrong(rows)
    return " ".join(parts)


def _where_signals_go_wrong(rows: list[Row]) -> list[str]:
    """Name the layer nearest the output whose error signal a named mistake made wrong."""
    gone = [index // 2 for index, row in enumerate(rows) if row.signal]
    if not gone:
        return []
    first, last = max(gone), len(rows) // 2 - 1
    if first == last:
        return ["The error signal is wrong from the output layer on."]
    above = rows[2 * first + 2 :]
    known = all(row.verdict == "right" or "no known" not in row.diagnosis for row in above)
    right = "is right at the output layer and first goes" if known else "goes"
    return [f"The error signal {right} wrong at hidden layer {first + 1}."]

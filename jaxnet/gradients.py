"""Audit of a claimed gradient: is it right, and if not, what was done wrong, and where.

The claim is compared with autodiff in float64, and finite differences referee autodiff. A wrong
leaf is compared with the gradients that known mistakes give (`mistakes`); what none of them
explains is called unexplained.

Shapes: N examples; P numbers in all parameters; D probed directions; K step sizes.
"""

import functools
import math
import textwrap
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree, Shaped

from jaxnet import checks, losses, mistakes
from jaxnet.mistakes import Case, Gradient, Mistake

Verdict = Literal["right", "wrong", "undecided"]

# Draws of rounding noise, and how many times their largest effect is still called rounding.
_DRAWS = 4
_MARGIN = 64
# A leaf whose rounding hides relative errors larger than this cannot be decided, nor explained.
_COARSE = 1e-2
# Leaves up to this size are probed entry by entry, larger ones along this many random directions.
_PROBE_ALL = 32
_PROBES = 8
_STEP_SIZES = tuple(10.0**-k for k in range(1, 9))


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
        signal: whether an error signal of a network, or something unexplained, made it wrong.
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


def audit(
    loss: losses.Loss,
    params: PyTree[Float[Array | np.ndarray, "..."]],
    batch: PyTree[Shaped[Array | np.ndarray, "N ..."]],
    claimed: PyTree | Callable[[Any, Any], PyTree],
) -> Audit:
    """Compare a claimed gradient with the true one; name the mistake that explains a wrong leaf.

    Where the loss is `losses.BatchLoss(network.forward, ...)`, the layer at which the error signal
    first goes wrong is named too. With 2 examples a factor of 2 and a sum in place of the mean
    are the same number: a claim given as a function is then asked again for 3 examples.

    Args:
        loss: `(params, batch) -> []`.
        params: where the gradient is claimed; a pytree of real floating-point arrays.
        batch: N examples, a pytree of arrays whose first axis is N.
        claimed: a pytree of the structure of `params`, leaves of any shape, or a function
            `(params, batch)` that gives one.

    Raises:
        TypeError, ValueError: params or batch that are not finite, empty or not numbers; a loss
            that is not a real scalar; a claim that is not of the structure of `params`.
    """
    checks.params(params)
    rows = checks.data(batch, "batch")
    check_loss = getattr(loss, "check", None)
    if check_loss:
        check_loss(params, batch)
    value = jax.eval_shape(loss, params, batch)
    if getattr(value, "shape", None) != () or not jnp.issubdtype(value.dtype, jnp.floating):
        raise ValueError(f"loss: wanted a real scalar; got {value}")
    case = _case(loss, params, batch, claimed(params, batch) if callable(claimed) else claimed)
    differences, refuted = _referee(case)
    judged = [_judge(case, index) for index in range(len(case.true))]
    wrong = [index for index, (verdict, _) in enumerate(judged) if verdict == "wrong"]
    explained = {}
    if callable(claimed) and rows == 2 and wrong:
        explained = _explain_with_three(loss, params, batch, claimed, wrong)
    explained |= _explain(case, [index for index in wrong if index not in explained])

    table = []
    for index in range(len(case.true)):
        (verdict, text), signal = judged[index], False
        if verdict == "wrong":
            text, signal = explained[index]
        if refuted[index]:
            verdict, text, signal = "undecided", _refusal(case, index, refuted[index]), False
        figures = _figures(case, index)
        row = (*figures, _resolution(case, index), differences[index], verdict, text, signal)
        table.append(Row(checks.path("", params, index) or "params", case.true[index].shape, *row))
    layers = len(table) // 2 if mistakes.activation_of(loss) else None
    return Audit(tuple(table), rows, str(case.dtype), _summary(table, layers, rows, case.dtype))


def _case(loss: losses.Loss, params: PyTree, batch: PyTree, claimed: PyTree) -> Case:
    """Widen everything to float64, differentiate, and measure what rounding may hide."""
    wanted, got = jax.tree.structure(params), jax.tree.structure(claimed)
    if wanted != got:
        raise ValueError(f"claimed: wanted the structure of params, {wanted}; got {got}")
    leaves = checks.leaves("claimed", claimed)
    kinds = [np.dtype(leaf.dtype) for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.floating)]
    dtype = max(kinds, key=_epsilon, default=np.dtype(np.float64))
    params, batch = _widen(params), _widen(batch)
    random = np.random.default_rng(0)
    with jax.enable_x64(True):
        epsilon = max(_epsilon(dtype), _epsilon(jax.eval_shape(loss, params, batch).dtype))

        def draws(leaf: np.ndarray) -> np.ndarray:
            stacked = np.repeat(leaf[None], _DRAWS + 1, 0)
            if np.issubdtype(leaf.dtype, np.floating):
                stacked[1:] *= 1 + epsilon * random.uniform(-1, 1, stacked[1:].shape)
            return stacked

        drawn = jax.device_get(_draw_gradients(loss, *jax.tree.map(draws, (params, batch))))
    gradients = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(drawn)]
    rounding = []
    for leaf in gradients:
        noise = max(np.linalg.norm(draw - leaf[0]) for draw in leaf[1:])
        rounding.append(_MARGIN * float(noise + epsilon * np.linalg.norm(leaf[0])))
    return Case(
        loss,
        params,
        batch,
        true=[leaf[0] for leaf in gradients],
        claimed=[np.asarray(leaf, np.float64) for leaf in leaves],
        rows=len(jax.tree.leaves(batch)[0]),
        rounding=rounding,
        dtype=dtype,
    )


def _epsilon(dtype: Any) -> float:
    return float(jnp.finfo(dtype).eps)


def _widen(tree: PyTree) -> PyTree:
    """Make floats float64 NumPy arrays and leave integers as they are."""

    def widen(leaf: Any) -> np.ndarray:
        floating = jnp.issubdtype(leaf.dtype, jnp.floating)
        return np.asarray(leaf).astype(np.float64) if floating else np.asarray(leaf)

    return jax.tree.map(widen, tree)


@functools.partial(jax.jit, static_argnums=0)
def _draw_gradients(loss: losses.Loss, params: PyTree, batch: PyTree) -> PyTree:
    return jax.vmap(jax.grad(loss))(params, batch)


@functools.partial(jax.jit, static_argnums=0)
def _probe(
    loss: losses.Loss, params: PyTree, batch: PyTree, spans: Array, signs: Array
) -> tuple[Float[Array, ""], Float[Array, "D K"], Float[Array, "D K"]]:
    """Give the loss, and a step ahead and behind along each direction for each step size."""
    flat, unravel = ravel_pytree(params)
    place = jnp.arange(flat.size, dtype=spans.dtype)

    def along(span: Array) -> tuple[Array, Array]:
        first, last, draw = span
        direction = jnp.where((place >= first) & (place < last), signs[draw], 0.0)
        direction /= jnp.sqrt((last - first).astype(flat.dtype))

        def at(size: Array) -> tuple[Array, Array]:
            ahead, behind = flat + size * direction, flat - size * direction
            return loss(unravel(ahead), batch), loss(unravel(behind), batch)

        return jax.vmap(at)(jnp.array(_STEP_SIZES))

    together = max(1, min(len(spans), 2**22 // (flat.size * len(_STEP_SIZES))))
    return loss(params, batch), *jax.lax.map(along, spans, batch_size=together)


def _referee(case: Case) -> tuple[list[float], list[str]]:
    """Hold autodiff against central differences of several step sizes, leaf by leaf.

    Truncation falls with the square of the step size and rounding grows with its inverse; at the
    step size whose neighbours agree best, their disagreement bounds both.
    """
    sizes = [leaf.size for leaf in case.true]
    offsets = np.cumsum([0, *sizes])
    spans, owners = [], []
    for index, (first, size) in enumerate(zip(offsets[:-1], sizes, strict=True)):
        if size <= _PROBE_ALL:
            spans += [(first + k, first + k + 1, 0) for k in range(size)]
        else:
            spans += [(first, first + size, k) for k in range(_PROBES)]
        owners += [index] * (len(spans) - len(owners))
    signs = np.random.default_rng(1).choice([-1.0, 1.0], (_PROBES, offsets[-1]))
    with jax.enable_x64(True):
        probed = _probe(case.loss, case.params, case.batch, np.array(spans, np.int32), signs)
        epsilon = _epsilon(probed[0].dtype)
    value, ahead, behind = (np.asarray(side, np.float64) for side in jax.device_get(probed))

    steps = np.array(_STEP_SIZES)
    slopes = (ahead - behind) / (2 * steps)
    change = np.abs(np.diff(slopes))
    doubts = np.maximum(change[:, :-1], change[:, 1:]) + 8 * epsilon * abs(value) / steps[1:-1]
    doubts = np.where(np.isfinite(doubts), doubts, np.inf)
    best = (np.arange(len(spans)), doubts.argmin(1) + 1)
    slope, doubt = slopes[best], doubts.min(1)
    bend = np.abs(ahead + behind - 2 * value)[best] / steps[best[1]]

    flat = np.concatenate([leaf.ravel() for leaf in case.true])
    whole = max(float(np.linalg.norm(flat)), np.finfo(float).tiny)
    along = [flat[a:b] @ signs[draw, a:b] / np.sqrt(b - a) for a, b, draw in spans]
    apart = np.abs(slope - np.array(along))
    denied = apart > 10 * doubt + 1e-9 * whole
    differences, refuted = [], []
    for index in range(len(sizes)):
        mine = np.array(owners) == index
        differences.append(float(apart[mine].max(initial=0) / whole))
        kinked = (bend > np.abs(slope) / 10)[denied & mine]
        refuted.append("" if not kinked.size else "kink" if kinked.all() else "override")
    return differences, refuted


def _refusal(case: Case, index: int, refuted: str) -> str:
    cause = {
        "kink": "the loss has a kink at these parameters, where it has no gradient",
        "override": "the loss replaces its own gradient (stop_gradient, custom_vjp), or is not "
        "smooth at any step size",
    }[refuted]
    agrees = "agrees with autodiff" if _is_true(case, index) else "differs from autodiff as well"
    return f"autodiff and finite differences disagree: {cause}; the claim {agrees}"


def _is_true(case: Case, index: int) -> bool:
    claimed, true = case.claimed[index], case.true[index]
    return claimed.shape == true.shape and bool(
        np.linalg.norm(claimed - true) <= case.rounding[index]
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


def _explain(case: Case, wrong: list[int]) -> dict[int, tuple[str, bool]]:
    """Name the mistakes whose gradients the wrong leaves are, the simplest that fit.

    Gives the text for each leaf, and whether an error signal (or who knows what) is at fault.
    """
    found: dict[int, tuple[str, bool]] = {}
    for index in wrong:
        claimed = case.claimed[index]
        bad = claimed.size - int(np.isfinite(claimed).sum())
        if bad:
            found[index] = f"not finite in {bad} of {claimed.size} entries", True
        elif _resolution(case, index) > _COARSE:
            text = f"rounding of {case.dtype} is too coarse here to tell one mistake from another"
            found[index] = text, True
    left = [index for index in wrong if index not in found]
    with jax.enable_x64(True):
        factors = _factors(case) if left else {}
        for tier in mistakes.tiers(case) if left else ():
            for index in left:
                texts = {}
                for mistake in tier.get(index, ()):
                    relation = _relation(case, index, mistake, factors)
                    if relation is not None:
                        text = "; ".join(part for part in (mistake.text, relation) if part)
                        texts[text] = mistake.signal
                if texts:
                    found[index] = ", or ".join(texts), any(texts.values())
            left = [index for index in left if index not in found]
            if not left:
                break
    for index in left:
        got, shape = list(case.claimed[index].shape), list(case.true[index].shape)
        wanted = f"shape {got} where {shape} is wanted; " if got != shape else ""
        found[index] = f"{wanted}no known mistake explains it", True
    return found


def _explain_with_three(
    loss: losses.Loss,
    params: PyTree,
    batch: PyTree,
    claimed: Callable[[Any, Any], PyTree],
    wrong: list[int],
) -> dict[int, tuple[str, bool]]:
    """Explain with a third example, where 2 and N are different numbers."""

    def lengthen(leaf: Any) -> Any:
        library = jnp if isinstance(leaf, jax.Array) else np
        return library.concatenate([leaf, leaf[:1]])

    more = jax.tree.map(lengthen, batch)
    try:
        case = _case(loss, params, more, claimed(params, more))
    except (TypeError, ValueError):  # a rule written for two examples, whatever it is given
        return {}
    found = _explain(case, [index for index in wrong if not _is_true(case, index)])
    return {i: said for i, said in found.items() if "no known mistake" not in said[0]}


def _factors(case: Case) -> dict[float, str]:
    """Give the factors that have a meaning, in words."""
    named = {1.0: ""}
    if case.rows > 1:
        mean = mistakes.takes_mean(case)
        summed, averaged = (
            f"multiplied by the batch size {case.rows}",
            f"divided by the batch size {case.rows}" + " once more" * (mean is True),
        )
        if mean is True:
            summed = "summed over the batch where the loss takes the mean"
        elif mean is False:
            averaged = "averaged over the batch where the loss takes the sum"
        named |= {float(case.rows): summed, 1 / case.rows: averaged}
    for number, text in ((2.0, "doubled"), (0.5, "halved")):
        ask = f"{named.get(number)}, or {text}; a batch of another size tells"
        named[number] = ask if number in named else text
    return (
        named
        | {-number: f"{text} and sign flipped" for number, text in named.items() if text}
        | {-1.0: "sign flipped"}
    )


def _relation(case: Case, index: int, mistake: Mistake, factors: dict[float, str]) -> str | None:
    """Say how the claimed leaf is a mistake's gradient: as it is, transposed, times a factor."""
    claimed, gradient = case.claimed[index], mistake.gradient
    norm = np.linalg.norm(gradient)
    if not 0 < norm < np.inf:
        return None
    tolerance = 10 * max(_resolution(case, index), _MARGIN * np.finfo(float).eps)
    forms: dict[str, Gradient] = {}
    if claimed.shape == gradient.shape:
        forms[""] = gradient
    if gradient.ndim == 2 and claimed.shape == gradient.shape[::-1]:
        forms["transposed"] = gradient.T
    elif claimed.shape != gradient.shape and claimed.size == gradient.size:
        shapes = f"of shape {list(claimed.shape)} instead of {list(case.true[index].shape)}"
        forms[shapes] = gradient.reshape(claimed.shape)
    for form, candidate in forms.items():
        factor = np.vdot(candidate, claimed) / norm**2
        if np.linalg.norm(claimed - factor * candidate) > tolerance * abs(factor) * norm:
            continue
        near = [text for number, text in factors.items() if abs(factor / number - 1) <= tolerance]
        if not near and mistake.any_factor and claimed.size >= 3 and factor:
            near = [f"times a constant {factor:.6g}"]
        if near:
            return " and ".join(part for part in (form, near[0]) if part)
    return None


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


def _summary(rows: list[Row], layers: int | None, examples: int, dtype: np.dtype) -> str:
    counts = {v: sum(row.verdict == v for row in rows) for v in ("right", "wrong", "undecided")}
    said = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    parts = [f"{said}, of {len(rows)} parameters over {examples} examples in {dtype}."]
    if examples == 1:
        parts[0] = parts[0].replace("1 examples", "1 example")
        parts.append("One example cannot tell a sum over the batch from a mean.")
    gone = [index // 2 for index, row in enumerate(rows) if row.signal]
    if layers and gone:
        first = max(gone)
        if first == layers - 1:
            parts.append("The error signal is wrong from the output layer on.")
        else:
            parts.append(
                "The error signal is right at the output layer and first goes wrong at hidden "
                f"layer {first + 1}."
            )
    return " ".join(parts)

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
from jaxtyping import Array, PyTree

from jaxnet import losses
from jaxnet._guards import checks, versions
from jaxnet.audit import chain, entry, finite, forms, mistakes
from jaxnet.audit.case import Case, Gradient, Leaf, Mistake, reduction
from jaxnet.audit.numpy_loss import NumPyLoss
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

Readings = dict[str, bool]
"""What explains a leaf, in words, and whether it is an error signal gone wrong; all fit alike."""


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
        diagnosis: what was done wrong, why it cannot be decided, or how its shape was read.
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


def audit(
    loss: Callable[..., Any],
    params: PyTree,
    batch: PyTree,
    claimed: PyTree | Callable[..., PyTree] | losses.Rule,
) -> Audit:
    """Compare a claimed gradient with the true one; name the mistake that explains a wrong leaf.

    Where the loss is `losses.BatchLoss(network.forward, ...)`, the layer at which the error signal
    first goes wrong is named too. With 2 examples a factor of 2 and a sum in place of the mean
    are the same number: a claim given as a function is then asked about 3, to choose.

    Functions of NumPy arrays are taken as they are. Finite differences of the loss itself referee;
    where JAX can trace it by NumPy's protocols the true gradient is autodiff's, else it is by
    finite differences too. What a function does besides, such as changing its arguments (it is
    given copies), drawing random numbers or printing, is named. A network that keeps its weights
    as attributes is audited by `params = {"W1": network.W1, ...}` and a loss that puts them into a
    copy of it: `vars(network).update(params)`.

    Args:
        loss: `(params, batch) -> []`, or of the parts of a batch that is a tuple, one by one:
            `(params, x, y)`.
        params: where the gradient is claimed; real floating-point arrays in a pytree, such as a
            dict. A list of numbers is an array.
        batch: N examples, a pytree of arrays with an axis of N each; the first, or any that the
            loss shows to be of examples, such as the last of `[features, N]`.
        claimed: a pytree of the structure of `params`, leaves of any shape, or a function that
            takes what the loss does and gives one, or a `Rule` of value and gradient. Names may
            begin with a d (`dW1` for `W1`), and dicts be lists in the same order; `[n]` for
            `[n, 1]` is read by value, and noted.

    Raises:
        InputError: params or batch that are not finite, empty or not numbers; a loss
            that is not a real scalar, or has no finite gradient here; a claim that is complex or
            can be matched with `params` in no way or in several; a function whose two calls give
            different values.
    """
    versions.check()
    asked = entry.read(loss, params, batch, claimed)
    with jax.disable_jit(asked.is_long):
        return _audit(asked)


def _audit(asked: entry.Entry) -> Audit:
    case = _case(asked.loss, asked.params, asked.batch, asked.claimed)
    outcomes = finite.referee(case)
    readings = _explain(case, [i for i, leaf in enumerate(case.leaves) if not _is_true(leaf)])
    if asked.ask and case.rows == 2 and any(len(each) > 1 for each in readings.values()):
        readings = _ask_for_three(case, asked.ask, asked.params, asked.batch, readings)
    table = []
    for index, (leaf, outcome) in enumerate(zip(case.leaves, outcomes, strict=True)):
        judgement = _judge(case, leaf, outcome, readings.get(index, {}))
        table.append(_row(leaf, outcome, judgement))
    summary = " ".join([_summary(case, table), *asked.notes])
    return Audit(tuple(table), case.rows, str(case.dtype), summary)


def _case(loss: losses.Loss, params: PyTree, batch: PyTree, claimed: PyTree) -> Case:
    """Widen everything to float64, differentiate, and measure what rounding may hide."""
    claims = _claims(claimed, jax.tree.structure(params))
    kinds = [np.dtype(leaf.dtype) for leaf in claims if jnp.issubdtype(leaf.dtype, jnp.floating)]
    dtype = max(kinds, key=_epsilon, default=np.dtype(np.float64))
    narrow = jax.tree.map(lambda leaf: _cast(leaf, dtype), (params, batch))
    params, batch = jax.tree.map(lambda leaf: _cast(leaf, np.dtype(np.float64)), (params, batch))
    # All of it in one precision: traces of the loss made in another would be found and used.
    with jax.enable_x64(True):
        epsilon = max(_epsilon(dtype), _epsilon(_dtype_of(loss, params, batch)))
        drawn = _drawn(loss, params, batch, epsilon)
    true = [np.asarray(leaf[0]) for leaf in drawn]
    rounding = []
    own_gradients = _own_gradients(loss, narrow, dtype, true)
    doubts = loss.doubts(params, batch) if isinstance(loss, NumPyLoss) else [0.0] * len(true)
    for leaf, own, doubt in zip(drawn, own_gradients, doubts, strict=True):
        noise = max(np.linalg.norm(other - leaf[0]) for other in (*leaf[1:], own))
        rounding.append(_MARGIN * float(noise + epsilon * np.linalg.norm(leaf[0])) + doubt)
    names = [checks.path("", params, index) or "params" for index in range(len(true))]
    wide = [np.asarray(leaf, np.float64) for leaf in claims]
    wide, notes = zip(*map(forms.read_by_value, wide, [leaf.shape for leaf in true]), strict=True)
    leaves = [Leaf(*each) for each in zip(names, wide, true, rounding, notes, strict=True)]
    return Case(loss, params, batch, leaves, len(jax.tree.leaves(batch)[0]), dtype)


def _claims(claimed: PyTree, tree: Any) -> list[Any]:
    """Give the leaves of a claim, refused where they are no gradient of such parameters."""
    structure = jax.tree.structure(claimed)
    if structure != tree:
        raise InputError(f"claimed: expected the structure of params, {tree}, got {structure}")
    leaves = checks.leaves("claimed", claimed)
    if any(jnp.issubdtype(leaf.dtype, jnp.complexfloating) for leaf in leaves):
        raise InputError("claimed: expected real gradients, got complex ones; take their real part")
    return leaves


def _dtype_of(loss: losses.Loss, params: PyTree, batch: PyTree) -> Any:
    """Give the dtype of a loss, refused where it is no real scalar."""
    if isinstance(loss, losses.BatchLoss):
        loss.check(params, batch)
    value = jax.eval_shape(loss, params, batch)
    if getattr(value, "shape", None) != () or not jnp.issubdtype(value.dtype, jnp.floating):
        raise InputError(f"loss: expected a real scalar, got {value}")
    return value.dtype


def _drawn(loss: losses.Loss, params: PyTree, batch: PyTree, epsilon: float) -> list[Gradient]:
    """Give each leaf's gradients: the first as it is, the others under rounding of the inputs."""
    random = np.random.default_rng(0)

    def draws(leaf: np.ndarray) -> np.ndarray:
        stacked = np.repeat(leaf[None], _DRAWS + 1, 0)
        if np.issubdtype(leaf.dtype, np.floating):
            stacked[1:] *= 1 + epsilon * random.uniform(-1, 1, stacked[1:].shape)
        return stacked

    values, grads = _draw(loss, *jax.tree.map(draws, (params, batch)))
    grads = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(grads)]
    if not all(np.isfinite(leaf).all() for leaf in (values, *grads)):
        raise InputError(
            f"loss: expected a loss and a gradient that are finite at params, got {values[0]}, "
            "or a gradient that is not; audit where the loss is finite and smooth"
        )
    return grads


def _own_gradients(
    loss: losses.Loss, narrow: Any, dtype: np.dtype, true: list[Gradient]
) -> list[Gradient]:
    """Differentiate in the claim's own precision, on the device, as a right claim would have."""
    if dtype == np.float64:
        return true
    try:
        with jax.enable_x64(False):
            own = jax.device_get(_gradients(loss, *narrow))
    except TypeError:
        # JAX may find the traces of the other precision, where the loss has constants.
        return true
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


def _is_true(leaf: Leaf, coarser: float = 1.0) -> bool:
    """Whether a claimed leaf is the true one to rounding, or to so many times as much."""
    return leaf.error <= coarser * leaf.rounding


def _is_float32(case: Case, leaf: Leaf) -> bool:
    """Whether it is the true one to what float32 would have rounded."""
    return _is_true(leaf, max(_epsilon(np.float32) / _epsilon(case.dtype), 1.0))


class _Judgement(NamedTuple):
    """What a row says: see `Row`."""

    verdict: Verdict
    diagnosis: str = ""
    signal: bool = False


def _judge(case: Case, leaf: Leaf, outcome: finite.Outcome, readings: Readings) -> _Judgement:
    if outcome.refuted:
        return _Judgement("undecided", _refusal(leaf, outcome.refuted))
    if _is_true(leaf):
        return _judge_true(leaf, case.dtype)
    if readings:
        ask = "; a batch of another size tells" if len(readings) > 1 and case.rows == 2 else ""
        return _Judgement("wrong", ", or ".join(readings) + ask, any(readings.values()))
    verdict: Verdict = "undecided" if _is_float32(case, leaf) else "wrong"
    return _Judgement(verdict, _unexplained(case, leaf))


def _refusal(leaf: Leaf, refuted: Literal["kink", "override"]) -> str:
    cause = {
        "kink": "the loss has a kink at these parameters, where it has no gradient",
        "override": "the loss replaces its own gradient (stop_gradient, custom_vjp), or is not "
        "smooth at any step size",
    }[refuted]
    agrees = "agrees with autodiff" if _is_true(leaf) else "differs from autodiff as well"
    return f"autodiff and finite differences disagree: {cause}; the claim {agrees}"


def _judge_true(leaf: Leaf, dtype: np.dtype) -> _Judgement:
    """Call a leaf that is true to rounding right, where rounding does not hide too much."""
    if leaf.resolution <= _COARSE:
        return _Judgement("right")
    hidden = f"rounding of {dtype} hides relative errors below {leaf.resolution:.1e} here"
    if dtype == np.float64:
        return _Judgement("undecided", f"{hidden}: the terms of this gradient cancel")
    return _Judgement("undecided", f"{hidden}; claim the gradient in float64")


def _explain(case: Case, wrong: list[int]) -> dict[int, Readings]:
    """Name the mistakes whose gradients the wrong leaves are, the simplest that fit."""
    explained: dict[int, Readings] = {}
    left = [index for index in wrong if _can_be_explained(case.leaves[index])]
    with jax.enable_x64(True), np.errstate(all="ignore"):
        factors = _factors(case) if left else []
        for tier in mistakes.tiers(case) if left else ():
            for index in left:
                readings = _readings(case.leaves[index], tier.get(index, []), factors)
                if readings:
                    explained[index] = readings
            left = [index for index in left if index not in explained]
            if not left:
                break
    return explained


def _readings(leaf: Leaf, known: list[Mistake], factors: list["_Factor"]) -> Readings:
    """Give those of the known mistakes that explain a leaf."""
    fits = [(each, relation) for each in known for relation in _relations(leaf, each, factors)]
    # A mistake that fits as it is beats one that fits up to a factor.
    plain = [(mistake, relation) for mistake, relation in fits if not relation]
    return {
        "; ".join(part for part in (mistake.text, relation) if part): mistake.signal
        for mistake, relation in plain or fits
    }


def _can_be_explained(leaf: Leaf) -> bool:
    if not np.isfinite(leaf.claimed).all() or leaf.resolution > _TOO_COARSE:
        return False
    return leaf.error * _LEFT_OVER >= leaf.rounding


def _unexplained(case: Case, leaf: Leaf) -> str:
    """Say what can be said of a wrong leaf that no known mistake explains."""
    claimed, true = leaf.claimed, leaf.true
    bad = claimed.size - int(np.isfinite(claimed).sum())
    if bad:
        return f"not finite in {bad} of {claimed.size} entries"
    if claimed.shape != true.shape:
        got, expected = list(claimed.shape), list(true.shape)
        return f"shape {got} where {expected} is expected; no known mistake explains it"
    if _is_float32(case, leaf):
        return "agrees to float32 rounding, and may have been computed in it"
    if _can_be_explained(leaf):
        return "no known mistake explains it"
    return f"too close to the rounding of {case.dtype} to tell one mistake from another"


def _ask_for_three(
    case: Case,
    ask: Callable[[PyTree, PyTree], PyTree],
    params: PyTree,
    batch: PyTree,
    readings: dict[int, Readings],
) -> dict[int, Readings]:
    """Choose between readings that two examples cannot tell apart by asking about three."""

    def lengthen(leaf: Any) -> Any:
        library = jnp if isinstance(leaf, jax.Array) else np
        return library.concatenate([leaf, leaf[:1]])

    batch = jax.tree.map(lengthen, batch)
    try:
        longer = _case(case.loss, params, batch, ask(params, batch))
    except Exception:  # rule or loss may be written for two examples only, and fail in any way
        return readings
    three = _explain(longer, list(readings))
    return {
        index: {text: each[text] for text in each if text in three.get(index, {})} or each
        for index, each in readings.items()
    }


class _Factor(NamedTuple):
    """A number that a gradient may be off by, and what that means."""

    number: float
    text: str


def _factors(case: Case) -> list[_Factor]:
    """Give the factors that have a meaning, in words; one number may have several."""
    rows, outputs = case.rows, chain.averaged_outputs(case)
    named = []
    if rows > 1:
        summed, averaged = _OF_ROWS[reduction(case)]
        named += [_Factor(float(rows), summed), _Factor(1 / rows, averaged)]
    if outputs > 1:
        named += [
            _Factor(float(outputs), "summed over the outputs where the loss takes the mean"),
            _Factor(1 / outputs, "divided by the number of outputs once more"),
        ]
    named += [_Factor(2.0, "doubled"), _Factor(0.5, "halved")]
    flipped = [_Factor(-number, f"{text} and sign flipped") for number, text in named]
    return [_Factor(1.0, ""), *named, _Factor(-1.0, "sign flipped"), *flipped]


# What is off by N, and by 1 / N, by how the loss takes its examples together.
_OF_ROWS = {
    "mean": (
        "summed over the batch where the loss takes the mean",
        "divided by the batch size once more",
    ),
    "sum": (
        "multiplied by the batch size",
        "averaged over the batch where the loss takes the sum",
    ),
    "neither": ("multiplied by the batch size", "divided by the batch size"),
}


def _relations(leaf: Leaf, mistake: Mistake, factors: list[_Factor]) -> list[str]:
    """Say how the claimed leaf is a mistake's gradient: as it is, transposed, times a factor.

    Empty where it is not: what is left over must be rounding, and little beside the error.
    """
    claimed, gradient = leaf.claimed, np.asarray(mistake.gradient)
    norm = np.linalg.norm(gradient)
    if not 0 < norm < np.inf or (mistake.fitted and claimed.size < _FITTED):
        return []
    tolerance = 4 * max(leaf.resolution, _MARGIN * _epsilon(np.float64))
    for form, candidate in _forms(leaf, gradient).items():
        factor = np.vdot(candidate, claimed) / norm**2
        rest = np.linalg.norm(claimed - factor * candidate)
        if rest > min(tolerance * abs(factor) * norm, _LEFT_OVER * leaf.error):
            continue
        near = [text for number, text in factors if abs(factor / number - 1) <= tolerance]
        if not near and mistake.any_factor and claimed.size >= 3 and factor:
            off = f"1 {factor - 1:+.1e}" if abs(factor - 1) < 1e-3 else f"{factor:.6g}"
            near = [f"times a constant {off}"]
        relations = [" and ".join(part for part in (form, text) if part) for text in near]
        # The true gradient as it is explains nothing.
        relations = [text for text in relations if text or mistake.text]
        if relations:
            return relations
    return []


def _forms(leaf: Leaf, gradient: Gradient) -> dict[str, Gradient]:
    """Give a gradient in the claimed leaf's shape, and how it got there."""
    claimed, forms = leaf.claimed, {}
    if claimed.shape == gradient.shape:
        forms[""] = gradient
    if gradient.ndim == 2 and claimed.shape == gradient.shape[::-1]:
        forms["transposed"] = gradient.T
    elif claimed.shape != gradient.shape and claimed.size == gradient.size:
        shapes = f"of shape {list(claimed.shape)} instead of {list(leaf.true.shape)}"
        forms[shapes] = gradient.reshape(claimed.shape)
    return forms


def _row(leaf: Leaf, outcome: finite.Outcome, judgement: _Judgement) -> Row:
    claimed, true = leaf.claimed, leaf.true
    norms = float(np.linalg.norm(claimed)), float(np.linalg.norm(true))
    error = cosine = math.nan
    if claimed.shape == true.shape:
        error = leaf.error / (max(norms) or 1.0)
        if min(norms) > 0:
            cosine = float(np.vdot(claimed, true)) / (norms[0] * norms[1])
    return Row(
        name=leaf.name,
        shape=true.shape,
        claimed_norm=norms[0],
        true_norm=norms[1],
        relative_error=error,
        cosine=cosine,
        resolution=leaf.resolution,
        finite_differences=outcome.difference,
        verdict=judgement.verdict,
        diagnosis="; ".join(text for text in (judgement.diagnosis, leaf.note) if text),
        signal=judgement.signal,
    )


def _summary(case: Case, rows: list[Row]) -> str:
    counts = {v: sum(row.verdict == v for row in rows) for v in ("right", "wrong", "undecided")}
    tally = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    examples = f"{case.rows} example{'s' if case.rows > 1 else ''}"
    parts = [f"{tally}, of {len(rows)} parameters over {examples} in {case.dtype}."]
    if case.rows == 1:
        parts.append("One example cannot tell a sum over the batch from a mean.")
    if any(math.isnan(row.finite_differences) for row in rows):
        parts.append("Finite differences were too coarse to referee autodiff in every parameter.")
    wrong = [index for index, row in enumerate(rows) if row.verdict == "wrong"]
    if wrong and chain.of_case(case) is None:
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

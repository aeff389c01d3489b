"""Audit of a claimed gradient: is it right, and if not, what was done wrong, and where.

The claim is compared with autodiff in float64, and finite differences referee autodiff. A wrong
leaf is compared with the gradients that known mistakes give (`mistakes`); what none of them
explains is called unexplained.

Shapes: N examples.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from jaxnet import losses
from jaxnet._guards import checks, versions
from jaxnet.audit import (
    display,
    entry,
    examples,
    explaining,
    finite,
    forms,
    formulas,
    inexact,
    layers,
)
from jaxnet.audit.case import Case, Leaf, Truth, take
from jaxnet.audit.chain import Chain, Gradient
from jaxnet.audit.explaining import Reading, Readings
from jaxnet.audit.numpy_loss import NumPyLoss, unlogged
from jaxnet.audit.rows import Correction, Row, Verdict
from jaxnet.audit.uncompiled import carried_out, uncompiled
from jaxnet.errors import InputError

# Draws of rounding noise, and how many times their largest effect is still called rounding.
_DRAWS = 4
_MARGIN = 16
# Rounding that hides larger relative errors than this: a leaf is not decided.
_COARSE = 1e-2


class Audit(NamedTuple):
    """The audit of a claimed gradient, one row per parameter; printed, it is a table.

    Attributes:
        rows: one per parameter, in the order of the pytree.
        examples: N.
        dtype: of the claimed gradient.
        summary: in words, with the layer where the error signal of a network first goes wrong.
        corrections: the lines of a claim given as a function with which, when they are changed,
            gradients are right, in the order of their lines.
    """

    rows: tuple[Row, ...]
    examples: int
    dtype: str
    summary: str
    corrections: tuple[Correction, ...] = ()

    @property
    def right(self) -> bool:
        """Whether every parameter's gradient is right."""
        return all(row.verdict == "right" for row in self.rows)

    @property
    def figures(self) -> str:
        """All figures of the rows, as a table of text."""
        return display.figures(self.rows)

    def __str__(self) -> str:
        """Lay the rows out as text, with the cause and the formulas under each wrong one."""
        return display.text(self.rows, self.summary, self.corrections)

    def _repr_html_(self) -> str:
        return display.html(self.rows, self.summary, self.corrections)


def audit(
    loss: Callable[..., Any],
    params: PyTree,
    batch: PyTree,
    claimed: PyTree | Callable[..., PyTree] | losses.Rule,
) -> Audit:
    """Compare a claimed gradient with the true one; name the mistake that explains a wrong leaf.

    Where the loss is a chain of fully connected layers, however it is written, the layer at which
    the error signal first goes wrong is named too. Where numbers coincide, as a sum over 2 examples
    and a doubling do, all is said that they may mean; a claim given as a function is asked about a
    batch of another size, to choose.

    Where a function claims what is wrong, its lines are changed, in memory and only meanwhile, and
    it runs again on copies, within bounds, until the gradient is right: `corrections` says which
    lines those are. That is not done to a function that could do more than to compute.

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
        batch: N examples, a pytree of arrays; the axis that the loss takes the examples along,
            such as the last of `x [I, N]`, is found. One example may come without an axis.
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
    with jax.disable_jit(asked.is_long), unlogged():
        return _audit(asked)


def _audit(asked: entry.Entry) -> Audit:
    case = _case(asked.loss, asked.params, asked.batch, asked.claimed)
    outcomes = finite.referee(case)
    if any(outcome.kink for outcome in outcomes):
        beside = _case(case.loss, finite.beside(case), case.batch, asked.claimed)
        case = _rounded_as(case, beside)
    judged = _judge_by_themselves(case, outcomes)
    wrong = [index for index in range(len(outcomes)) if index not in judged]
    readings = explaining.explain(case, wrong)
    written, left = inexact.as_rounded(case, [each for each in wrong if each not in readings])
    readings |= explaining.explain(written, left)
    if asked.quick and explaining.doubtful(readings):
        readings = _ask_again(case, asked.quick, asked.params, asked.batch, readings)
    table = []
    for index, (leaf, outcome) in enumerate(zip(case.leaves, outcomes, strict=True)):
        known = readings.get(index, [])
        judgement = judged[index] if index in judged else _judge_wrong(case, leaf, known)
        shown = formulas.of_reading(case.chain, index, known[0]) if len(known) == 1 else ("", "")
        table.append(_row(leaf, outcome, judgement, shown))
    verdicts = [row.verdict for row in table]
    found = _corrections(case, asked, verdicts) if "wrong" in verdicts else ()
    table = [
        row._replace(diagnosis=_MENDED) if row.diagnosis == _UNKNOWN and _reached(found, i) else row
        for i, row in enumerate(table)
    ]
    summary = " ".join([_summary(case, table, readings, outcomes), *asked.notes])
    return Audit(tuple(table), case.rows, str(case.dtype), summary, found)


def _case(loss: losses.Loss, params: PyTree, batch: PyTree, claimed: PyTree) -> Case:
    """Widen everything to float64, differentiate, and measure what rounding may hide."""
    claims = _claims(claimed, jax.tree.structure(params))
    kinds = [np.dtype(leaf.dtype) for leaf in claims if jnp.issubdtype(leaf.dtype, jnp.floating)]
    dtype = max(kinds, key=_epsilon, default=np.dtype(np.float64))
    narrow = jax.tree.map(lambda leaf: _cast(leaf, dtype), (params, batch))
    params, batch = jax.tree.map(lambda leaf: _cast(leaf, np.dtype(np.float64)), (params, batch))
    # All of it in one precision: traces of the loss made in another would be found and used.
    with jax.enable_x64(True):
        epsilon = max(_epsilon(dtype), _epsilon(entry.dtype_of(loss, params, batch)))
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
    case = Case(loss, params, batch, leaves, 0, dtype)
    with jax.enable_x64(True):
        chain = layers.chain_of(case)
        # Where no network tells along which axes the examples are, the shapes do.
        axes = chain.axes if chain else examples.axes(loss, params, batch)
    return case._replace(rows=examples.count(batch, axes), axes=axes, chain=chain)


def _claims(claimed: PyTree, tree: Any) -> list[Any]:
    """Give the leaves of a claim, refused where they are no gradient of such parameters."""
    structure = jax.tree.structure(claimed)
    if structure != tree:
        raise InputError(f"claimed: expected the structure of params, {tree}, got {structure}")
    leaves = checks.leaves("claimed", claimed)
    if any(jnp.issubdtype(leaf.dtype, jnp.complexfloating) for leaf in leaves):
        raise InputError("claimed: expected real gradients, got complex ones; take their real part")
    return leaves


def _drawn(loss: losses.Loss, params: PyTree, batch: PyTree, epsilon: float) -> list[Gradient]:
    """Give each leaf's gradients: the first as it is, the others under rounding of the inputs."""
    random = np.random.default_rng(0)

    def draws(leaf: np.ndarray) -> np.ndarray:
        stacked = np.repeat(leaf[None], _DRAWS + 1, 0)
        if np.issubdtype(leaf.dtype, np.floating):
            # Whole numbers have no rounding, and may be labels or rows of a table.
            moves = random.uniform(-1, 1, stacked[1:].shape) * (leaf != np.round(leaf))
            stacked[1:] *= 1 + epsilon * moves
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
            own = jax.device_get(_on_device(loss, *narrow))
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
def _on_device(loss: losses.Loss, params: PyTree, batch: PyTree) -> PyTree:
    return jax.grad(loss)(params, batch)


@uncompiled(0)
def _gradients(loss: losses.Loss, params: PyTree, batch: PyTree) -> PyTree:
    return jax.grad(loss)(params, batch)


@uncompiled(0)
def _draw(loss: losses.Loss, params: PyTree, batch: PyTree) -> tuple[Array, PyTree]:
    return jax.vmap(jax.value_and_grad(loss))(params, batch)


def _rounded_as(case: Case, other: Case) -> Case:
    """Take what rounding may hide from parameters beside a kink: at it rounding picks a side."""
    both = zip(case.leaves, other.leaves, strict=True)
    leaves = [leaf._replace(rounding=min(leaf.rounding, beside.rounding)) for leaf, beside in both]
    return case._replace(leaves=leaves)


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


def _judge_by_themselves(case: Case, outcomes: list[finite.Outcome]) -> dict[int, _Judgement]:
    """Judge the leaves that call for no reason: right, right in their way, or not to be told."""
    judged: dict[int, _Judgement] = {}
    for index, (leaf, outcome) in enumerate(zip(case.leaves, outcomes, strict=True)):
        if outcome.refuted:
            judged[index] = _Judgement("undecided", _refusal(leaf, outcome.refuted))
        elif _is_true(leaf):
            judged[index] = _judge_true(case, leaf)
        elif outcome.allows(leaf.claimed, leaf.true, leaf.rounding):
            judged[index] = _Judgement("undecided", _AT_KINK)
    left = [index for index in range(len(outcomes)) if index not in judged]
    inexactly = inexact.describe(case, left)
    return judged | {index: _Judgement(*said) for index, said in inexactly.items()}


def _judge_wrong(case: Case, leaf: Leaf, readings: list[Reading]) -> _Judgement:
    if readings:
        said = ", or ".join(each.text for each in readings)
        if len(readings) > 1 and any(each.factor.of_rows for each in readings):
            said += "; a batch of another size tells"
        elif len(readings) > 1 and case.rows == 1:
            said += "; one example cannot tell which"
        return _Judgement("wrong", said, any(each.mistake.signal for each in readings))
    verdict: Verdict = "undecided" if _is_float32(case, leaf) else "wrong"
    return _Judgement(verdict, _unexplained(case, leaf))


_AT_KINK = (
    "at a kink of the loss, where several gradients are right: the claim takes another one than "
    "autodiff there, and is right elsewhere"
)


def _refusal(leaf: Leaf, refuted: Literal["kink", "override"]) -> str:
    cause = {
        "kink": "the loss has a kink at these parameters, where it has no gradient",
        "override": "the loss replaces its own gradient (stop_gradient, custom_vjp), or is not "
        "smooth at any step size",
    }[refuted]
    agrees = "agrees with autodiff" if _is_true(leaf) else "differs from autodiff as well"
    return f"autodiff and finite differences disagree: {cause}; the claim {agrees}"


def _judge_true(case: Case, leaf: Leaf) -> _Judgement:
    """Call a leaf that is true to rounding right, where rounding does not hide too much."""
    if leaf.resolution <= _COARSE:
        return _Judgement("right")
    whole = math.sqrt(sum(float(np.vdot(each, each)) for each in case.true))
    if leaf.is_zero and (not leaf.error or leaf.rounding <= _COARSE * whole):
        return _Judgement("right")
    if not leaf.true.any():
        hidden = f"the true gradient is zero, and rounding of {case.dtype} as large as the claim"
    else:
        hidden = f"rounding of {case.dtype} hides relative errors below {leaf.resolution:.1e} here"
    if case.dtype == np.float64:
        return _Judgement("undecided", f"{hidden}: the terms of this gradient cancel")
    return _Judgement("undecided", f"{hidden}; claim the gradient in float64")


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
        return "agrees to float32 rounding, and may have been computed in it or by differences"
    if leaf.is_zero:
        return "the true gradient is zero here; no known mistake explains this one"
    if explaining.can_be_explained(leaf):
        return _UNKNOWN
    return f"too close to the rounding of {case.dtype} to tell one mistake from another"


_UNKNOWN = "no known mistake explains it"
_MENDED = "right with the change below"


def _reached(found: tuple[Correction, ...], index: int) -> bool:
    return any(index in each.leaves for each in found)


# Of more examples than these the first few are enough to correct a function by.
_MANY, _FEW = 500, 24


def _corrections(case: Case, asked: entry.Entry, verdicts: list[Verdict]) -> tuple[Correction, ...]:
    """Look for the lines of a claim that are wrong, where it is a function."""
    if asked.ask is None or asked.quick is None or asked.written is None:
        return ()
    from jaxnet.audit import corrections  # seldom needed

    random = np.random.default_rng(0)

    def near(leaf: np.ndarray) -> np.ndarray:
        scale = float(np.abs(leaf).mean()) or 0.1  # what starts at zero moves too
        return leaf * random.uniform(0.7, 1.3, leaf.shape) + scale * random.uniform(
            -0.1, 0.1, leaf.shape
        )

    def shuffled(leaf: np.ndarray) -> np.ndarray:
        signs = random.choice([-1, 1], leaf.shape)
        return random.permutation(leaf.ravel()).reshape(leaf.shape) * signs

    def elsewhere() -> list[Truth]:
        with jax.disable_jit(asked.is_long):
            changes = (near, shuffled, np.negative)
            moved = [jax.tree.map(each, case.params) for each in changes]
            found = [_truth(case, asked, params, batch) for params in moved]
            other = _truth(case, asked, moved[0], explaining.another_size(few, batch))
            found += [other._replace(is_other_size=True)] if other else []
        return [each for each in found if each]

    few = case._replace(rows=case.rows if case.rows <= _MANY else _FEW)
    batch = take(case.batch, case.axes, range(few.rows))
    here = _truth(case, asked, case.params, batch)
    if here is None:
        return ()
    loss = functools.partial(carried_out, case.loss)
    if isinstance(case.loss, NumPyLoss):
        loss = case.loss.function
    right = [verdict == "right" for verdict in verdicts]
    with jax.enable_x64(True):
        asks = asked.ask, asked.quick
        found = corrections.find(asked.written, asks, here, elsewhere, loss, right)
    return tuple(found)


def _truth(case: Case, asked: entry.Entry, params: PyTree, batch: PyTree) -> Truth | None:
    """Differentiate elsewhere; None where there is no gradient."""

    def like(leaf: Any, given: Any) -> Any:
        return jax.device_put(leaf) if isinstance(given, jax.Array) else leaf

    try:
        if isinstance(case.loss, NumPyLoss):
            case.loss.function(params, batch)  # where it fails, JAX would say so in a log
        with jax.enable_x64(True):
            gradient = [
                np.asarray(leaf) for leaf in jax.tree.leaves(_gradients(case.loss, params, batch))
            ]
            params = jax.tree.map(like, params, asked.params)
            batch = jax.tree.map(like, batch, asked.batch)
    except Exception:  # a loss written for its own batch may fail in any way
        return None
    finite = all(np.isfinite(leaf).all() for leaf in gradient)
    return Truth(params, batch, gradient) if finite else None


def _ask_again(
    case: Case,
    ask: Callable[[PyTree, PyTree], PyTree],
    params: PyTree,
    batch: PyTree,
    readings: Readings,
) -> Readings:
    """Choose between readings by asking about a batch of another size."""
    batch = explaining.another_size(case, batch)
    try:
        other = _case(case.loss, params, batch, ask(params, batch))
    except Exception:  # rule or loss may be written for their own batch, and fail in any way
        return readings
    return explaining.decide(readings, explaining.explain(other, list(readings)))


def _row(leaf: Leaf, outcome: finite.Outcome, judgement: _Judgement, shown: tuple[str, str]) -> Row:
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
        claimed=claimed,
        true=true,
        relative_error=error,
        cosine=cosine,
        resolution=leaf.resolution,
        finite_differences=outcome.difference,
        verdict=judgement.verdict,
        diagnosis="; ".join(text for text in (judgement.diagnosis, leaf.note) if text),
        wrong_formula=shown[0],
        right_formula=shown[1],
        signal=judgement.signal,
    )


def _summary(
    case: Case,
    rows: list[Row],
    readings: Readings,
    outcomes: list[finite.Outcome],
) -> str:
    counts = {v: sum(row.verdict == v for row in rows) for v in ("right", "wrong", "undecided")}
    tally = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    examples = f"{case.rows} example{'s' if case.rows > 1 else ''}"
    parts = [f"{tally}, of {len(rows)} parameters over {examples} in {case.dtype}."]
    wrong = [index for index, row in enumerate(rows) if row.verdict == "wrong"]
    parts += _one_reason(wrong, readings)
    if case.rows == 1:
        parts.append("One example cannot tell a sum over the batch from a mean.")
    if any(outcome.kink for outcome in outcomes):
        parts.append("The loss has a kink here: where it has, autodiff's choice of slope is taken.")
    if any(math.isnan(row.finite_differences) for row in rows):
        parts.append("Finite differences were too coarse to referee autodiff in every parameter.")
    if case.chain is None and any("no known" in rows[index].diagnosis for index in wrong):
        parts.append("Layers were not examined: the loss is no chain of fully connected layers.")
    elif wrong and case.chain:
        parts += _where_signals_go_wrong(rows, case.chain)
    return " ".join(parts)


def _one_reason(wrong: list[int], readings: Readings) -> list[str]:
    """Say it where one mistake explains every wrong leaf."""
    reasons = [{each.reason for each in readings.get(index, [])} for index in wrong]
    if len(wrong) < 2 or not (common := set.intersection(*reasons)):
        return []
    (first, *_) = (each.reason for each in readings[wrong[0]] if each.reason in common)
    return [f"One reason for all that is wrong: {first}."] if len(common) == 1 else []


def _where_signals_go_wrong(rows: list[Row], chain: Chain) -> list[str]:
    """Name the layer nearest the output whose error signal a named mistake made wrong."""
    leaves = [(layer.weight_leaf, layer.bias_leaf) for layer in chain.layers]
    owned = [[rows[index] for index in both if index is not None] for both in leaves]
    gone = [layer for layer, own in enumerate(owned) if any(row.signal for row in own)]
    if not gone:
        return []
    if gone[-1] == len(owned) - 1:
        return ["The error signal is wrong from the output layer on."]
    # One leaf that is right shows that the signal it is made of is.
    shown = all(any(row.verdict == "right" for row in own) for own in owned[gone[-1] + 1 :])
    right = "is right at the output layer and first goes" if shown else "goes"
    return [f"The error signal {right} wrong at hidden layer {gone[-1] + 1}."]

"""A gradient of several terms, one of which is got wrong: that of the data, or of a regulariser."""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import jax
import numpy as np

from jaxnet.audit.case import Case, Leaf, Mistake, Tier
from jaxnet.audit.chain import Chain
from jaxnet.audit.floats import Gradient
from jaxnet.audit.mistakes.evidence import Free

# What differs by less than this share is one.
_APART = 1e-5
# And less than this, where nothing is fitted.
_EXACT = 1e-9


def terms(case: Case) -> Tier:
    """A term left out, or in another share; where the loss is known, only those it has."""
    params = [np.asarray(param) for param in jax.tree.leaves(case.params)]
    tier: Tier = {}
    for index, (leaf, param) in enumerate(zip(case.leaves, params, strict=True)):
        if leaf.claimed.shape == leaf.true.shape:
            rest = np.asarray(case.chain.rest.get(index, 0.0) if case.chain else 0.0)
            tier[index] = [*(_shared(case, leaf, rest) if rest.any() else ())]
            known = _formed(case, index, params)
            # The same numbers as a constant that is fitted, but of a known meaning.
            fitted = *_added(case, leaf, param, rest), *_several(case, leaf, rest, param)
            tier[index] += known or fitted
    return tier


class _Penalty(NamedTuple):
    """What a loss has of a regulariser: a strength times a parameter, or times its sign.

    Attributes:
        whole: whether all entries have it, and not those alone that are no biases.
    """

    strength: float
    kind: Literal["L2", "L1"]
    whole: bool


def penalties(chain: Chain, index: int, param: Gradient) -> tuple[Free, ...]:
    """Give the parts that a regulariser's term has, or may have, in a leaf."""
    rest = np.asarray(chain.rest[index])
    penalty = _penalty(rest, param)
    parts = (Free("the regulariser's term", rest, 1.0),)
    if penalty and not penalty.whole:
        term = np.sign(param) if penalty.kind == "L1" else param
        others = np.where(rest == 0, penalty.strength * term, 0.0)
        parts += (Free("the regulariser's term of the biases too", others, 0.0),)
    return parts


def said_of(free: Sequence[Free], shares: Sequence[float], rows: int) -> tuple[list[str], bool]:
    """Say which terms are in wrong shares, and whether all of these have names."""
    said, named = [], True
    for part, share in zip(free, shares, strict=True):
        if abs(share - part.right) > _APART:
            name, known = _share(share, rows)
            said.append(f"{part.text} {'added' if abs(share - 1) < _APART else name}")
            named &= known or abs(share - 1) < _APART
    return said, named


def _penalty(rest: Gradient, param: Gradient) -> _Penalty | None:
    """Read a regulariser off its gradient; columns of biases may have none."""
    where = rest != 0
    kinds: tuple[tuple[Literal["L2", "L1"], Gradient], ...]
    kinds = ("L2", param), ("L1", np.asarray(np.sign(param)))
    for kind, term in kinds:
        strength = multiple(rest, where * term)
        if where.any() and np.allclose(rest, strength * where * term, _APART, 0):
            return _Penalty(strength, kind, bool((where | (term == 0)).all()))
    return None


def _formed(case: Case, index: int, params: list[Gradient]) -> list[Mistake]:
    """A regulariser's term that is formed of the wrong thing, in a strength that the loss has."""
    if not case.chain:
        return []
    leaf, rest = case.leaves[index], case.chain.rest
    own = _penalty(np.asarray(rest[index]), params[index]) if index in rest else None
    of_others = [_penalty(np.asarray(rest[k]), params[k]) for k in rest if k != index]
    found = []
    for penalty in [own] if own else {each for each in of_others if each}:
        for text, term in _instead(params, index, penalty, own is not None):
            fit = _fit(case, leaf, leaf.true - rest.get(index, 0.0), penalty.strength * term)
            if fit:
                said = "; ".join(part for part in (text, fit[0]) if part)
                found.append((fit[0], Mistake(said, fit[1])))
    # What needs no factor beside is the simplest.
    simple = [mistake for factors, mistake in found if not factors]
    return simple or [mistake for _, mistake in found]


def _instead(
    params: list[Gradient], index: int, penalty: _Penalty, own: bool
) -> Iterator[tuple[str, Gradient]]:
    """Give what may stand in a regulariser's derivative, by the words for it."""
    param = params[index]
    every, right = np.ones_like(param), "sign" if penalty.kind == "L1" else "value"
    term = np.asarray(np.sign(param)) if penalty.kind == "L1" else param
    taken = "the regulariser's derivative taken to be its strength times "
    if not own:
        alone = "a regulariser added, where the loss has none for this parameter"
        yield alone, term
        taken = f"{alone}: its strength times "
    elif not penalty.whole:
        yield (
            "the regulariser's term added for the biases too, which are a part of the weight",
            term,
        )
    for words, number in (
        ("the sum of all entries", param.sum()),
        ("the mean of all entries", param.mean()),
        ("the sum of all squares", (param**2).sum()),
        ("the sum of all sizes", np.abs(param).sum()),
        ("the norm of the parameter", np.linalg.norm(param)),
        ("1, the parameter left out", 1.0),
    ):
        yield f"{taken}{words}, the same for every entry", every * number
    of_entries = {"size": np.abs(param), "square": param**2, "sign": np.sign(param), "value": param}
    for words, each in of_entries.items():
        if own and words != right:
            yield f"{taken}each entry's {words}, not its {right}", np.asarray(each)
    if own:
        yield f"{taken}the parameter divided by its norm", param / np.linalg.norm(param)
    if own and param.ndim == 2 and param.shape[0] == param.shape[1]:
        yield f"{taken}the transposed parameter", param.T
    for k, other in enumerate(params):
        if own and k != index and other.shape == param.shape:
            yield f"{taken}another parameter of that shape", other


def _fit(case: Case, leaf: Leaf, data: Gradient, term: Gradient) -> tuple[str, Gradient] | None:
    """Give a gradient of the data's term and another in shares with a name, and these."""
    columns = np.stack([data.ravel(), term.ravel()], 1)
    if leaf.true.size > 1:
        (first, second), _, rank, _ = np.linalg.lstsq(columns, leaf.claimed.ravel(), rcond=None)
    else:
        first, second, rank = 1.0, multiple(leaf.claimed - data, term), 2
    if rank < 2 or not second:
        return None
    shares = [_nearest(float(each), case.rows) for each in (first, second)]
    numbers = [number for number, _ in shares]
    apart = max(_EXACT, 16 * leaf.noise)
    if not all(numbers) or not np.allclose((first, second), numbers, rtol=apart, atol=0):
        return None
    names = ("the data's term", "the regulariser's term")
    said = "; ".join(
        f"{which} {name}"
        for which, (number, name) in zip(names, shares, strict=True)
        if number != 1
    )
    return said, np.asarray(data * numbers[0] + term * numbers[1])


def _shared(case: Case, leaf: Leaf, rest: Gradient) -> Iterator[Mistake]:
    """The terms that the loss has, one of them times something."""
    data = np.asarray(leaf.true - rest)
    of = (data, rest, "the data's term"), (rest, data, "the regulariser's term")
    for term, other, which in of:
        share = multiple(leaf.claimed - other, term)
        if _off(share):
            name, named = _share(share, case.rows)
            wrong = share * term + other
            yield Mistake(f"{which} {name}, the other right", wrong, fitted=not named)


def _several(case: Case, leaf: Leaf, rest: Gradient, param: Gradient) -> Iterator[Mistake]:
    """Terms of which more than one is got wrong, or one and something added."""
    parts = {"the data's term": np.asarray(leaf.true - rest)}
    added = {"": None, "a constant added to every entry, {:.4g}": np.ones_like(param)}
    if rest.any():
        parts["the regulariser's term"] = rest
    else:
        added["{:.4g} times the parameter added"] = param
    for words, term in added.items():
        every = [*parts.values()] if term is None else [*parts.values(), term]
        columns = np.stack([each.ravel() for each in every], 1)
        fit, _, rank, _ = np.linalg.lstsq(columns, leaf.claimed.ravel(), rcond=None)
        shares = dict(zip(parts, fit.tolist(), strict=False))
        told = {name: _share(each, case.rows) for name, each in shares.items() if _off(each)}
        said = [f"{name} {how}" for name, (how, _) in told.items()]
        if term is not None:
            # What is nothing but rounding was not added.
            size = np.linalg.norm(fit[-1] * term)
            if size <= max(leaf.rounding, _EXACT * np.linalg.norm(leaf.claimed)):
                continue
            said.append(words.format(fit[-1]))
        # The data's part times a number without a name is another mistake, and so is none of it.
        name, share = next(iter(shares.items()))
        data = name not in told or (told[name][1] and abs(share) > _APART)
        if rank == len(every) and len(said) > 1 and data:
            wrong = np.asarray((columns @ fit).reshape(leaf.true.shape))
            fitted = term is not None or not all(named for _, named in told.values())
            yield Mistake("; ".join(said), wrong, fitted=fitted)


def _off(share: float) -> bool:
    return bool(abs(share - 1) >= _APART)


def _names(rows: int) -> dict[float, str]:
    """Give what a term may be times, in words."""
    names = {0.0: "left out", 2.0: "counted twice", 0.5: "halved", -1.0: "with its sign flipped"}
    if rows > 1:
        names |= {
            float(rows): "not divided by the batch size",
            1 / rows: "divided by the batch size",
        }
    return names


def _nearest(share: float, rows: int) -> tuple[float, str]:
    """Give the number with a name that a share is nearest to; 1 is right."""
    names = _names(rows)
    both = [(a * b, f"{names[a]} and {names[b]}") for a in names for b in names if a > b > 0]
    return min([(1.0, "right"), *names.items(), *both], key=lambda each: abs(each[0] - share))


def _share(share: float, rows: int) -> tuple[str, bool]:
    """Say what a term is times, and whether that has a name."""
    for number, name in _names(rows).items():
        if abs(share - number) < _APART * max(abs(number), 0.1):
            return name, True
    return f"times {share:.4g}", False


def _added(case: Case, leaf: Leaf, param: Gradient, rest: Gradient) -> Iterator[Mistake]:
    """An L2 or L1 term, or a constant: what is left over is a multiple of it."""
    sizes = np.abs(param)
    known = case.chain is not None
    kinds = [("a constant", np.ones_like(param), "")]
    # Where all entries are of one size the two terms are one, and any constant fits; of a single
    # entry other leaves must tell.
    if param.size == 1 or np.ptp(sizes) > 1e-6 * sizes.max(initial=0):
        kinds += [("L2", param, " the parameter"), ("L1", np.asarray(np.sign(param)), " its sign")]
    for name, term, of in kinds:
        if rest.any() and _is_multiple(rest, term):
            continue
        strength = multiple(np.asarray(leaf.claimed - leaf.true), term)
        by = f"{abs(strength):.4g} times{of}" if of else f"{strength:.4g}"
        if not of:
            text = f"a constant added to every entry, {by}"
        elif known:
            verb = "subtracted from" if strength < 0 else "added to"
            text = f"{name} regulariser {verb} the gradient, {by}, which the loss does not have"
        else:
            how = "missing or too weak" if strength < 0 else "counted twice or too strong"
            text = f"{name} regulariser {how} (by {by})"
        yield Mistake(text, np.asarray(leaf.true + strength * term), fitted=True)


def _is_multiple(total: Gradient, term: Gradient) -> bool:
    left = total - multiple(total, term) * term
    return bool(np.linalg.norm(left) < _APART * np.linalg.norm(total))


def multiple(total: Gradient, term: Gradient) -> float:
    """Give how many times a term makes up a total best, by least squares."""
    return float(np.vdot(term, total) / max(np.vdot(term, term), 1e-300))

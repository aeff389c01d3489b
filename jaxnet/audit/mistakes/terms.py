"""A gradient of several terms, one of which is got wrong: that of the data, or of a regulariser."""

from collections.abc import Iterator

import jax
import numpy as np

from jaxnet.audit.case import Case, Leaf, Mistake, Tier
from jaxnet.audit.chain import Gradient

# What differs by less than this share is one.
_APART = 1e-5


def terms(case: Case) -> Tier:
    """A term left out, or in another share; where the loss is known, only those it has."""
    params = [np.asarray(param) for param in jax.tree.leaves(case.params)]
    tier: Tier = {}
    for index, (leaf, param) in enumerate(zip(case.leaves, params, strict=True)):
        if leaf.claimed.shape == leaf.true.shape:
            rest = np.asarray(case.chain.rest.get(index, 0.0) if case.chain else 0.0)
            tier[index] = [
                *(_shared(case, leaf, rest) if rest.any() else ()),
                *_added(case, leaf, param, rest),
                *_several(case, leaf, rest, param),
            ]
    return tier


def _shared(case: Case, leaf: Leaf, rest: Gradient) -> Iterator[Mistake]:
    """The terms that the loss has, one of them times something."""
    both = np.stack([(leaf.true - rest).ravel(), rest.ravel()], 1)
    (data, penalty), *_ = np.linalg.lstsq(both, leaf.claimed.ravel(), rcond=None)
    for share, which in ((data, "the data's term"), (penalty, "the regulariser's term")):
        other = penalty if share is data else data
        name, named = _share(float(share), case.rows)
        if not _off(float(other)) and _off(float(share)):
            wrong = (leaf.true - rest) * data + rest * penalty
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
        said += [words.format(fit[-1])] * (term is not None)
        # The data's part times a number without a name is another mistake, and so is none of it.
        name, share = next(iter(shares.items()))
        data = name not in told or (told[name][1] and abs(share) > _APART)
        if rank == len(every) and len(said) > 1 and data:
            wrong = np.asarray((columns @ fit).reshape(leaf.true.shape))
            fitted = term is not None or not all(named for _, named in told.values())
            yield Mistake("; ".join(said), wrong, fitted=fitted)


def _off(share: float) -> bool:
    return bool(abs(share - 1) >= _APART)


def _share(share: float, rows: int) -> tuple[str, bool]:
    """Say what a term is times, and whether that has a name."""
    names = {0.0: "left out", 2.0: "counted twice", 0.5: "halved", -1.0: "with its sign flipped"}
    if rows > 1:
        names |= {
            float(rows): "not divided by the batch size",
            1 / rows: "divided by the batch size",
        }
    for number, name in names.items():
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

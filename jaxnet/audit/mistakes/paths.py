"""Paths of the way back that are left out or counted in the wrong number.

Where values are used several times, what a loop gives on to its next step, copies, draws from a
table, and parameters that a program uses in several places.
"""

from collections.abc import Iterator

import numpy as np

from jaxnet.audit.mistakes.places import Candidate, Places, Use, nothing, some_of
from jaxnet.audit.mistakes.reverse import Back, Edit, Gradient
from jaxnet.audit.programs import Step

BACK_IN_TIME = "what comes back from the next step of the loop left out"


def of_paths(places: Places) -> Iterator[Candidate]:
    """Give the mistakes where paths split, meet, and lead to the next repetition of a loop."""
    for uses in places.repeated(_split(places)):
        for when, some in some_of(uses):
            yield _cut(places, "the path through {name} left out", some, when)
        twice = _cut(places, "the path through {name} counted twice", uses)
        edit = Edit({use: places.shared(use, 2.0) for use in uses}, {})
        yield twice._replace(edit=edit, rank=2)
    for uses in _carried(places):
        for when, some in some_of(uses):
            yield _cut(places, BACK_IN_TIME, some, when)._replace(rank=int(bool(when)))


def _cut(places: Places, text: str, uses: list[Use], when: str = "") -> Candidate:
    """Send nothing back at some uses."""
    (at, side), *_ = uses
    step = places.program.steps[at]
    start, end = step.inputs[side], step.outputs[0]
    edit = Edit(dict.fromkeys(uses, nothing), {})
    return Candidate(edit, text, (step,), start, end, when=when, rank=1 + bool(when))


def _split(places: Places) -> Iterator[Use]:
    """Give where paths split or meet."""
    for each, uses in places.uses.items():
        for at, side in uses if each not in places.views else ():
            inputs = places.program.steps[at].inputs
            meeting = sum(other in places.way.moving for other in inputs)
            if len(uses) > 1 or meeting > 1:
                yield at, side


def _carried(places: Places) -> Iterator[list[Use]]:
    """Give where a loop uses what one repetition gives to the next, and its last to none."""
    for group in sorted({tuple(each) for each in places.alike.values() if len(each) > 1}):
        # What losses are added up to is no state.
        if not places.program.shapes[group[0]]:
            continue
        whole = [use for each in group[:-1] for use in places.uses.get(each, [])]
        last = {places.used_at(use) for use in places.uses.get(group[-1], [])}
        for uses in places.repeated(whole):
            if places.used_at(uses[0]) not in last and len(uses) == len(group) - 1:
                yield uses


def of_counts(places: Places) -> Iterator[Candidate]:
    """Give the mistakes where a parameter is used in several steps, and where copies are made."""
    for number in places.program.params:
        for uses in places.repeated(places.uses.get(number, [])):
            for text, some in _uncounted(uses).items():
                cut = _cut(places, f"{text} in the gradient of {{start}}", some)
                yield cut._replace(rank=1)
    steps = enumerate(places.program.steps)
    copied = ((at, 0) for at, step in steps if _copies(places, step) > 1)
    for uses in places.repeated(copied):
        step = places.program.steps[uses[0][0]]
        edit = Edit({use: _averaged(places, use) for use in uses}, {})
        text = "averaged over copies whose gradients add up"
        yield Candidate(edit, text, (step,), step.inputs[0], step.outputs[0], rank=1)


def _uncounted(uses: list[Use]) -> dict[str, list[Use]]:
    """Give the steps of several that may be left out, by what is then said."""
    n = len(uses)
    some = {
        f"the last of {n} steps alone counted": uses[:-1],
        f"the first of {n} steps alone counted": uses[1:],
        f"the last of {n} steps not counted": uses[-1:],
        f"the first of {n} steps not counted": uses[:1],
    }
    # Of two to leave out one is to count the other alone.
    return {text: left for text, left in some.items() if n > 2 or "alone" in text} if n > 1 else {}


def _copies(places: Places, step: Step) -> int:
    """Count the copies that a step makes of each entry."""
    if step.name != "broadcast_in_dim" or step.inputs[0] not in places.way.moving:
        return 1
    shapes = [places.program.shapes[each] for each in (step.outputs[0], step.inputs[0])]
    given, taken = (int(np.prod(shape)) for shape in shapes)
    return given // max(taken, 1)


def _averaged(places: Places, use: Use) -> Back:
    count = _copies(places, places.program.steps[use[0]])
    return lambda sent: places.back(use, sent) / count


def of_draws(places: Places) -> Iterator[Candidate]:
    """Give what is drawn from a table several times, counted once."""
    for at, step in enumerate(places.program.steps):
        if _draws(places, step):
            edit = Edit({(at, 0): _once(places, at)}, {})
            text = "what is drawn several times counted once"
            yield Candidate(edit, text, (step,), step.inputs[0], step.outputs[0])


def _draws(places: Places, step: Step) -> bool:
    """Tell whether a step takes rows of an array, one for each number of a list."""
    if step.name != "gather" or step.inputs[0] not in places.way.moving:
        return False
    drawn, given = (places.program.shapes[each] for each in (step.inputs[1], step.outputs[0]))
    return drawn[-1:] == (1,) and given[: len(drawn) - 1] == drawn[:-1]


def _once(places: Places, at: int) -> Back:
    rows = places.values[places.program.steps[at].inputs[1]].ravel().tolist()
    last = {row: k for k, row in enumerate(rows)}
    kept = np.array([last[row] == k for k, row in enumerate(rows)])

    def once(sent: Gradient) -> Gradient:
        flat = sent.reshape(len(rows), -1) * kept[:, None]
        return places.back((at, 0), flat.reshape(sent.shape))

    return once


def of_routes(places: Places) -> Iterator[Candidate]:
    """Give the gradients of a parameter by what it meets: of one use alone, or another's."""
    for leaf, number in enumerate(places.program.params):
        met: dict[tuple[int, ...], dict[Use, Back]] = {}
        for at, step in enumerate(places.program.steps):
            for side, each in enumerate(step.inputs):
                view, others = places.views.get(each), [k for k in step.inputs if k != each]
                if view and view.leaf == leaf and others and others[0] in places.way.made:
                    beside = tuple(places.met_before(others[0]))
                    met.setdefault(beside, {})[at, side] = nothing
        if len(met) < 2:
            continue
        cuts = [{k: v for b in met if b != own for k, v in met[b].items()} for own in met]
        parts = places.way.gradients([Edit(each, {}) for each in cuts])[leaf][1:]
        for beside, part in zip(met, parts, strict=True):
            yield from _as_of(places, number, beside, part)


def _as_of(
    places: Places, number: int, beside: tuple[int, ...], part: Gradient
) -> Iterator[Candidate]:
    """Give a part of a parameter's gradient as that of any of its shape."""
    name = places.names[places.views[number].leaf]
    where = " and ".join(places.names[each] for each in beside) or "what is no parameter's"
    for other, theirs in enumerate(places.program.params):
        if places.program.shapes[theirs] == places.program.shapes[number]:
            text = f"the gradient of {name} beside {where}, as if the loss used "
            text += f"{places.names[other]} there"
            if theirs == number:
                text = f"of the uses of {name} that beside {where} alone counted"
            edit = Edit({}, {theirs: (theirs, lambda _, part=part: part)})
            yield Candidate(edit, text, (), theirs, theirs, rank=1, leaf=other)

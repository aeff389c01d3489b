"""A mistake in a program in the user's words: the operation, and what stands next to it."""

from collections.abc import Sequence

from jaxnet._guards import jaxprs
from jaxnet.audit.case import Case
from jaxnet.audit.mistakes.places import Candidate
from jaxnet.audit.programs import Program, Step

_SPOKEN = {
    "logistic": "sigmoid",
    "integer_pow": "the power",
    "mul": "the product",
    "div": "the quotient",
    "add": "the sum",
    "add_any": "the sum",
    "sub": "the difference",
    "dot_general": "the matrix product",
    "reduce_sum": "the sum over an axis",
    "reduce_max": "the maximum",
    "max": "the maximum",
    "conv_general_dilated": "the convolution",
    "logaddexp": "softplus",
}
# What operations together are, by those that make it up.
_TOGETHER = (
    ({"exp", "reduce_sum", "div"}, "softmax"),
    ({"exp", "add", "div"}, "sigmoid"),
    ({"rsqrt", "reduce_sum"}, "the normalisation"),
    ({"sqrt", "reduce_sum"}, "the normalisation"),
    ({"tanh", "integer_pow"}, "gelu"),
    ({"erf"}, "gelu"),
    ({"erfc"}, "gelu"),
)
_PLAIN = {"add", "sub", "mul", "div", "neg", "broadcast_in_dim", "reshape", "transpose", "squeeze"}


def spoken(step: Step) -> str:
    """Name an operation."""
    name = jaxprs.spoken(step.equation)
    return _SPOKEN.get(name, name)


def _on_the_way(steps: Sequence[Step], start: int) -> list[Step]:
    """Give the steps that a value comes by, without those that make what it meets there."""
    reached, passed = {start}, []
    for step in steps:
        if reached & set(step.inputs):
            reached |= set(step.outputs)
            passed.append(step)
    return passed


class Words:
    """Says where in a program a mistake is, in the user's words."""

    def __init__(self, program: Program, case: Case) -> None:
        """Take the program, and the names of its parameters."""
        self.program = program
        self.names = [leaf.name for leaf in case.leaves]
        self.leaves = {each: self.names[view.leaf] for each, view in program.views().items()}

    def say(self, candidate: Candidate) -> str:
        """Name a mistake, its operation, and the parameter and the line next to it."""
        if candidate.beside:
            return f"{self.say(candidate.beside)}; {self.say(candidate._replace(beside=None))}"
        _, _, steps, start, end, *_ = candidate
        name = self._together(_on_the_way(steps, start) or steps) if steps else ""
        text = candidate.text.format(name=name, start=self.leaves.get(start, "the matrix"))
        if not steps or end < 0:
            return text + candidate.when
        everywhere = "wherever it is used" in candidate.when
        return text + candidate.when + ("" if everywhere else self._where(steps[-1], start, end))

    def _together(self, steps: Sequence[Step]) -> str:
        names = {step.name for step in steps}
        for parts, name in _TOGETHER:
            if parts <= names:
                return name
        calls = set.intersection(*({call.name for call in step.calls} for step in steps))
        own = [jaxprs.spoken(step.equation) for step in steps]
        telling = [name for name in own if name not in _PLAIN] or own
        if len(set(telling)) > 1 and calls:
            return sorted(calls)[0]
        return " and ".join(dict.fromkeys(_SPOKEN.get(each, each) for each in telling))

    def _where(self, step: Step, start: int, end: int) -> str:
        """Say which parameter a part of the program stands next to, and where it is written."""
        where = jaxprs.place(step.equation)
        after, before = self._after(end), self._before(start)
        words = [f"before {after}"] * bool(after) + [f"after {before}"] * (
            before not in ("", after)
        )
        near = f", {' and '.join(words)}" if words else ""
        written = where.line or where.module
        return f"{near}, in {written}" if written else near

    def _after(self, value: int) -> str:
        """Give the next parameter that a value meets."""
        reached = {value}
        for step in self.program.steps:
            if reached & set(step.inputs):
                for each in step.inputs:
                    if each in self.leaves:
                        return self.leaves[each]
                reached |= set(step.outputs)
        return ""

    def _before(self, value: int) -> str:
        """Give the last parameter that a value came by."""
        needed = {value}
        for step in reversed(self.program.steps):
            if needed & set(step.outputs):
                for each in step.inputs:
                    if each in self.leaves:
                        return self.leaves[each]
                needed |= set(step.inputs)
        return self.leaves.get(value, "")

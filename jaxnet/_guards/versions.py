"""The versions of JAX that the package's metadata asks for, and the refusal of any other."""

import functools
import importlib
import operator
import re
from importlib import metadata

from jaxnet.errors import InputError

# On the registry `jaxnet` is another project.
DISTRIBUTION = "jaxnet-lab"
# Why versions between good ones are left out.
FAULTS = {
    "0.10.2": "computes wrong values on CPUs (JAX issue 39103)",
    "0.11.0": "hangs or crashes where products over 7 or 8 axes are summed (JAX issue 39257)",
}
_COMPARISONS = {
    ">=": operator.ge,
    ">": operator.gt,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}


def own() -> str:
    """Give the version of jaxnet, "unknown" in a bare checkout, which has no metadata."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "unknown"


@functools.cache
def check() -> None:
    """Refuse a JAX that the package's metadata leaves out and that is imported nevertheless.

    A bare checkout has no metadata: nothing is refused.

    Raises:
        InputError: naming the versions expected, the one imported and the command that mends it.
    """
    try:
        requirements = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return
    matches = (re.fullmatch(r"(jax|jaxlib)([<>=!][^;]*)", each) for each in requirements)
    # Metadata sorts the exceptions before the bound that they are exceptions from.
    expected = {
        each[1]: sorted(each[2].split(","), key=lambda clause: clause.startswith("!="))
        for each in matches
        if each
    }
    for name, clauses in expected.items():
        version = importlib.import_module(name).__version__
        if not all(_holds(version, clause) for clause in clauses):
            fault = f", which {FAULTS[version]}" if version in FAULTS else ""
            mend = " ".join(f"'{each}{','.join(expected[each])}'" for each in expected)
            raise InputError(
                f"{name}: expected {', '.join(clauses)}, got {version}{fault}; run pip install "
                f"{mend}"
            )


def _holds(version: str, clause: str) -> bool:
    comparison, bound = re.findall(r"([<>=!]+)(.+)", clause)[0]
    return _COMPARISONS[comparison](_release(version), _release(bound))


def _release(version: str) -> tuple[int, ...]:
    """Give the numbers before any suffix, without zeros at the end: 0.11.0.dev5 is 0.11."""
    numbers = re.findall(r"^\d+(?:\.\d+)*", version)[0]
    return tuple(map(int, re.sub(r"(\.0+)+$", "", numbers).split(".")))

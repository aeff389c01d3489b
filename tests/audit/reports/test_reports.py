"""What the audit says of gradients that people published, held against what was found wrong there.

A report names its source, the parameters whose gradients are wrong and the accepted cause;
`expected` holds regular expressions, of which each of its wrong parameters must match one, and
`corrected` those for the lines that put right what has no name. Where there is neither, the
verdicts alone are held: the cause is said in part, or not.
"""

import functools
import importlib.util
import json
import re
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from jaxnet.audit import audit, proving

FOLDER = Path(__file__).parent
REPORTS = {report["id"]: report for report in json.loads((FOLDER / "reports.json").read_text())}
# A few that take little time; all of them by the marker.
QUICK = {
    *("dlai_402919a", "centerloss_10", "zacbi_5", "ng_one_over_m", "art_rbf_square"),
    "opennn_241",
}
# The share of reports that must be named.
NAMED = 0.75


pytestmark = pytest.mark.usefixtures("unchecked")


@functools.cache
def published():
    """Every function of the reports, by name."""
    functions = {}
    for path in sorted(FOLDER.glob("published*.py")):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        functions |= vars(module)
    return functions


@functools.cache
def audited(name):
    """The lines that put a claim right take most of the time.

    They are looked for where what is held hangs on them: the report has some, or a cause is
    accepted and a leaf is left without one.
    """
    params, x, y = published()[f"setup_{name}"](np.random.default_rng(1))
    loss, claimed = (published()[f"{kind}_{name}"] for kind in ("loss", "claimed"))
    with np.errstate(all="ignore"):
        if not REPORTS[name].get("corrected"):
            with mock.patch.object(proving, "corrections", return_value=()):
                found = audit(loss, params, (x, y), claimed)
            unexplained = any("no known mistake" in each for each in wrong(found).values())
            if not (unexplained and judged(REPORTS[name])):
                return found
        return audit(loss, params, (x, y), claimed)


def wrong(found):
    """The wrong parameters, and what is said of each."""
    rows = [row for row in found.rows if row.verdict == "wrong"]
    return {row.name.strip("[]'"): row.diagnosis for row in rows}


def said(name, found):
    """Whether each wrong parameter has the accepted cause or lines, and whether one has others."""
    diagnoses = wrong(found).values()
    lines = [each.after for each in found.corrections]
    put_right = bool(lines) and all(
        any(re.search(each, line) for each in REPORTS[name].get("corrected", ())) for line in lines
    )
    patterns = [*REPORTS[name]["expected"], *["right with the change below"] * put_right]
    named = [any(re.search(each, text) for each in patterns) for text in diagnoses]
    unexplained = ["no known mistake" in text for text in diagnoses]
    misled = not all(a or b for a, b in zip(named, unexplained, strict=True))
    return all(named), misled


def judged(report):
    """Whether there is a cause or a line to hold what is said against."""
    return bool(report["expected"] or report.get("corrected"))


def test_the_reports_are_many_and_some_of_them_false():
    kinds = [report["kind"] for report in REPORTS.values()]
    assert kinds.count("wrong") >= 60
    assert kinds.count("right") >= 10
    assert all(report["source"] and report["cause"] for report in REPORTS.values())
    assert all(bool(r["wrong_at"]) == (r["kind"] == "wrong") for r in REPORTS.values())


@pytest.mark.parametrize("name", sorted(QUICK))
def test_a_published_gradient_is_judged_and_its_mistake_named(name):
    found = audited(name)
    assert set(wrong(found)) == set(REPORTS[name]["wrong_at"])
    assert said(name, found) == (True, False)


@pytest.mark.slow
@pytest.mark.parametrize("name", REPORTS)
def test_a_published_mistake_is_found_and_never_misnamed(name):
    found = audited(name)
    assert set(wrong(found)) == set(REPORTS[name]["wrong_at"])
    if judged(REPORTS[name]):
        assert not said(name, found)[1], wrong(found)


@pytest.mark.slow
def test_most_published_mistakes_are_named():
    names = [name for name, report in REPORTS.items() if judged(report)]
    unnamed = [name for name in names if not said(name, audited(name))[0]]
    assert len(unnamed) <= (1 - NAMED) * len(names), unnamed

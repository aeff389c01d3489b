"""What the audit says of gradients that people published, held against what was found wrong there.

A report names its source, the parameters whose gradients are wrong and the accepted cause;
`expected` holds regular expressions, of which each of its wrong parameters must match one. Where it
is empty the verdicts alone are held.
"""

import functools
import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest

from jaxnet.audit import audit

FOLDER = Path(__file__).parent
REPORTS = {report["id"]: report for report in json.loads((FOLDER / "reports.json").read_text())}
# A few that take little time; all of them by the marker.
QUICK = (*("dlai_402919a", "centerloss_10", "zacbi_5", "ng_one_over_m"),)
# The share of reports that must be named, and of those in which something else may be said.
NAMED, MISLED = 0.75, 0.0


pytestmark = pytest.mark.usefixtures("unchecked")


@functools.cache
def published():
    spec = importlib.util.spec_from_file_location("published", FOLDER / "published.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def audited(name):
    params, x, y = getattr(published(), f"setup_{name}")(np.random.default_rng(1))
    loss, claimed = (getattr(published(), f"{kind}_{name}") for kind in ("loss", "claimed"))
    with np.errstate(all="ignore"):
        return audit(loss, params, (x, y), claimed)


def wrong(found):
    """The wrong parameters, and what is said of each."""
    rows = [row for row in found.rows if row.verdict == "wrong"]
    return {row.name.strip("[]'"): row.diagnosis for row in rows}


def said(name, diagnoses):
    """Whether each wrong parameter has the accepted cause, and whether one has another."""
    patterns = REPORTS[name]["expected"]
    named = [any(re.search(each, text) for each in patterns) for text in diagnoses.values()]
    unexplained = ["no known mistake" in text for text in diagnoses.values()]
    misled = not all(a or b for a, b in zip(named, unexplained, strict=True))
    return all(named), misled


def test_the_reports_are_many_and_some_of_them_false():
    kinds = [report["kind"] for report in REPORTS.values()]
    assert kinds.count("wrong") >= 60
    assert kinds.count("right") >= 10
    assert all(report["source"] and report["cause"] for report in REPORTS.values())
    assert all(bool(r["wrong_at"]) == (r["kind"] == "wrong") for r in REPORTS.values())


@pytest.mark.parametrize("name", QUICK)
def test_a_published_gradient_is_judged_and_its_mistake_named(name):
    diagnoses = wrong(audited(name))
    assert set(diagnoses) == set(REPORTS[name]["wrong_at"])
    assert said(name, diagnoses) == (True, False)


@pytest.mark.slow
def test_published_mistakes_are_found_named_and_never_misnamed():
    verdicts, named, misled = [], [], []
    for name, report in REPORTS.items():
        diagnoses = wrong(audited(name))
        if set(diagnoses) != set(report["wrong_at"]):
            verdicts.append(name)
        elif report["expected"]:
            both = said(name, diagnoses)
            named += [name] * both[0]
            misled += [name] * both[1]
    judged = sum(bool(report["expected"]) for report in REPORTS.values())
    assert not verdicts
    assert len(named) >= NAMED * judged, sorted(set(REPORTS) - set(named))
    assert len(misled) <= MISLED * judged, misled

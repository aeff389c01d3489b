"""Evidence for the audit of NumPy code: students' networks, right and wrong, in many forms."""

import functools

import pytest
import students

from jaxnet.audit import gradients


@functools.cache
def drawn(name):
    return students.student(name), *students.student(name).draw()


def audit(name, bug="", claim=None):
    student, params, batch = drawn(name)
    gradient = functools.partial(student.gradient, bug=bug)
    return gradients.audit(student.loss, params, batch, claim or gradient)


@pytest.mark.parametrize("name", students.NAMES)
def test_right_gradients_raise_no_alarm(name):
    found = audit(name)
    assert found.right, str(found)
    assert ("finite differences" in found.summary) == (name == "branches")


@pytest.mark.parametrize(("name", "bug"), students.BUGS)
def test_wrong_gradients_are_found_where_they_are(name, bug):
    wrong, cause = students.BUGS[name, bug]
    found = audit(name, bug)
    assert [row.name for row in found.rows if row.verdict != "right"] == wrong, str(found)
    assert cause in [*(row.diagnosis for row in found.rows if row.verdict == "wrong"), ""][0]

"""An axis of a hyperparameter: its values, their points, and what is no axis."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxnet import spaces
from jaxnet.errors import InputError

AXES = [spaces.log(1e-3, 10.0), spaces.one_minus(0.0, 0.999), spaces.linear(-1.0, 3.0)]


@pytest.mark.parametrize(
    ("axis", "points", "values"),
    [
        (AXES[0], [0, 0.5, 1, 1.25], [1e-3, 0.1, 10, 100]),
        (AXES[1], [0, 1 / 3, 2 / 3, 1, 4 / 3, -1], [0, 0.9, 0.99, 0.999, 0.9999, 0]),
        (AXES[2], [-1, 0, 0.25, 1, 2], [-1, -1, 0, 3, 3]),
        (spaces.choice(3.0, 1.0, np.inf), [-1, 0, 0.3, 0.4, 0.99, 5], [1, 1, 1, 3, np.inf, np.inf]),
    ],
)
def test_points_have_values(axis, points, values):
    np.testing.assert_allclose(axis.at(np.array(points, float)), values, atol=1e-12)


@given(st.sampled_from(AXES), st.floats(0, 1))
def test_values_have_points(axis, point):
    np.testing.assert_allclose(axis.point(axis.at(np.array(point))), point, atol=1e-9)


def test_zero_has_a_point_of_a_logarithmic_axis_without_a_warning():
    # As the customary weight decay of many optimizers is none.
    point = AXES[0].point(np.array(0.0))
    assert point == -np.inf
    assert AXES[0].at(point) == 0.0


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=4, unique=True), st.data())
def test_choices_are_at_their_points(values, data):
    axis, chosen = spaces.choice(*values), data.draw(st.sampled_from(values))
    assert axis.at(axis.point(np.array(chosen))) == chosen


@pytest.mark.parametrize(
    "make",
    [
        lambda: spaces.log(0.0, 1.0),
        lambda: spaces.log(1.0, 1.0),
        lambda: spaces.log(2.0, 1.0),
        lambda: spaces.log(1.0, np.inf),
        lambda: spaces.one_minus(0.9, 1.0),
        lambda: spaces.one_minus(0.9, np.nan),
        lambda: spaces.linear(0.0, np.inf),
        spaces.choice,
        lambda: spaces.choice(np.nan),
    ],
)
def test_what_is_no_axis_is_refused(make):
    with pytest.raises(InputError, match="expected"):
        make()

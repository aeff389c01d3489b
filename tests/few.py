"""Of many cases of which the same is asked, a few in every run; the others by the marker `slow`."""

import pytest


def first_of(names, values, count=1, **more):
    """The first of the values always, so many of them."""
    tuples = [each if isinstance(names, tuple) else (each,) for each in values]
    slow = [[pytest.mark.slow] * (index >= count) for index in range(len(tuples))]
    params = [pytest.param(*each, marks=marks) for each, marks in zip(tuples, slow, strict=True)]
    return pytest.mark.parametrize(names, params, **more)


def some_of(names, values, *some, **more):
    """Some of the values always, which are told by name."""
    others = [each for each in values if each not in some]
    return first_of(names, [*some, *others], len(some), **more)

"""Derivatives of written expressions, held against central differences of what is written."""

import ast

import numpy as np
import pytest

from jaxnet.audit import derivatives

WRITTEN = [
    "x",
    "-x ** 2 + a",
    "a - x * x",
    "x * a / 2",
    "1 / x",
    "x ** a",
    "a / (a + x) ** 3",
    "x / (1 + np.exp(-x))",
    "np.exp(x) / (1 + np.exp(x))",
    "np.sqrt(2 / np.pi) * (x + 0.044715 * x ** 3)",
    "np.tanh(np.log1p(np.exp(a * x)))",
    "np.sin(x) * np.cos(a * x) - np.square(x)",
    "np.sinh(x) + np.cosh(x) - np.log(x) * np.sqrt(a + x)",
]


@pytest.mark.parametrize("written", WRITTEN)
def test_a_derivative_is_what_differences_say(written):
    def at(x, text=written):
        return eval(text, {"np": np, "x": x, "a": 2.5})

    slope = derivatives.of(ast.parse(written, mode="eval").body, "x")
    for x in (0.3, 1.7):
        expected = (at(x + 1e-5) - at(x - 1e-5)) / 2e-5
        np.testing.assert_allclose(at(x, ast.unparse(slope)), expected, rtol=1e-8)


@pytest.mark.parametrize("unknown", ["f(x)", "x @ a", "2 ** x", "np.sum(x, axis=1)", "x[0]"])
def test_what_is_not_known_has_none(unknown):
    assert derivatives.of(ast.parse(unknown, mode="eval").body, "x") is None


def test_those_by_every_name_are_given_but_none_by_a_module():
    slopes = derivatives.by_name(ast.parse("np.tanh(x) * a", mode="eval").body)
    assert list(map(ast.unparse, slopes)) == ["np.tanh(x)", "(1 - np.tanh(x) ** 2) * a"]

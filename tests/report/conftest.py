"""The browser that pages are looked at in."""

import os

import pytest
from pages import CHROMIUM


@pytest.fixture(scope="session")
def browser():
    """Skip what takes a browser where there is none; in CI that is a failure."""
    if not CHROMIUM:
        words = "Chromium is missing: the report is NOT looked at in a browser; install chromium"
        pytest.fail(words) if os.environ.get("CI") else pytest.skip(words)

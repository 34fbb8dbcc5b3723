"""Fixtures of the tests of conversions."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module", autouse=True)
def quick(readers_stay) -> None:
    """Applies `readers_stay` to all tests of conversions."""

"""The forecast that the tests of the writers write."""

from tests.support.forecasts import example

import pytest


@pytest.fixture
def forecast(rng):
    return example(rng)

"""The step of a model among the frames of an archive."""

from convlstm.datasets.archives.steps import has_step, left_out, multiple

import numpy as np
import pytest

MINUTES = np.datetime64("2024-01-01", "s") + 300 * np.arange(5)
MONTHS = np.arange("2021-01", "2021-06", dtype="datetime64[M]").astype("datetime64[s]")
DAY = 1440.0


@pytest.mark.parametrize(
    ("whole", "part", "tolerance", "count"),
    [(10, 5, 0.05, 2), (10, 4.9, 0.05, 2), (10, 4, 0.05, None), (5, 10, 0.05, None), (10, 4, 0.3, 2)],
)
def test_multiple(whole, part, tolerance, count):
    assert multiple(whole, part, tolerance) == count


@pytest.mark.parametrize(
    ("own", "wanted", "times", "expected"),
    [
        (5, 10, MINUTES, True),
        (5, 12, MINUTES, False),
        (5, 2.5, MINUTES, False),
        (28 * DAY, 31 * DAY, MONTHS, True),
        (31 * DAY, 90 * DAY, MONTHS, True),
        (28 * DAY, 31 * DAY, MINUTES, False),
        (90 * DAY, 31 * DAY, MONTHS, False),
    ],
)
def test_has_step(own, wanted, times, expected):
    assert has_step(own, wanted, times) is expected


@pytest.mark.parametrize(
    ("own", "least", "count"), [(5, 4, 0), (2, 4, 1), (1, 4, 3), (3, 4, 1), (4.1, 4, 0), (3.9, 4, 0)]
)
def test_left_out(own, least, count):
    assert left_out(own, least) == count

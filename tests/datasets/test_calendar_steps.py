"""Steps of months and years."""

from convlstm.datasets.calendar_steps import months_of, moved, on_months

import numpy as np
import pytest


def times(*texts):
    return np.array(texts, "datetime64[s]")


@pytest.mark.parametrize(("days", "expected"), [(28, 1), (31, 1), (61, 2), (90, 3), (92, 3), (365, 12), (366, 12)])
def test_months_of_a_step(days, expected):
    assert months_of(days * 1440) == expected


@pytest.mark.parametrize("minutes", [5, 1440, 7 * 1440, 16 * 1440, 45 * 1440, float("nan")])
def test_other_steps_are_no_months(minutes):
    assert months_of(minutes) == 0


@pytest.mark.parametrize(
    ("known", "until", "counts", "expected"),
    [
        # The first of a month, its middle as of a mean, its last day, and the 30th, which February lacks.
        (times("2020-01-01", "2020-02-01"), "2020-03-01", [-2, -1, 1], ["2020-01-01", "2020-02-01", "2020-04-01"]),
        (
            times("2021-01-16T12", "2021-02-15", "2021-03-16T12"),
            "2021-03-16T12",
            [-1, 0, 1],
            ["2021-02-15", "2021-03-16T12", "2021-04-16"],
        ),
        (times("2020-01-31", "2020-02-29"), "2020-02-29", [-1, 1, 2], ["2020-01-31", "2020-03-31", "2020-04-30"]),
        (times("2019-12-30", "2020-01-30"), "2020-01-30T06", [1, 2], ["2020-02-29T06", "2020-03-30T06"]),
    ],
)
def test_months_are_those_of_the_calendar(known, until, counts, expected):
    assert on_months(known)
    after = moved(np.datetime64(until, "s"), np.array(counts), 31 * 1440, known)
    np.testing.assert_array_equal(after, times(*expected))


def test_thirty_days_are_no_month():
    known = np.datetime64("2020-01-01", "s") + np.arange(6) * np.timedelta64(30 * 86400, "s")
    assert not on_months(known)
    after = moved(known[-1], np.array([1]), 30 * 1440, known)
    assert after[0] - known[-1] == np.timedelta64(30 * 86400, "s")


def test_other_steps_are_equally_long():
    known = times("2020-02-28T23:50", "2020-02-28T23:55")
    np.testing.assert_array_equal(moved(known[1], np.array([1, 2]), 5, known), times("2020-02-29", "2020-02-29T00:05"))

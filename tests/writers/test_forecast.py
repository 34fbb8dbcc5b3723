"""A forecast and its parts: times, places, and what does not fit."""

from dataclasses import replace

from convlstm.writers import Layer, Place
from convlstm.writers.forecast import Quantity

import numpy as np
import pytest


def test_times_and_leads(forecast):
    np.testing.assert_array_equal(forecast.leads, [5, 10, 15])
    expected = ["2024-01-31T23:55", "2024-02-01T00:00", "2024-02-01T00:05"]
    np.testing.assert_array_equal(forecast.times, np.array(expected, "datetime64[s]"))
    assert replace(forecast, step=None).times is None
    assert replace(forecast, issued=None).times is None
    np.testing.assert_array_equal(replace(forecast, step=0.5).times[0], np.datetime64("2024-01-31T23:50:30"))
    months = np.array(["2024-02-29", "2024-03-31", "2024-04-30"], "datetime64[s]")
    by_month = replace(forecast, valid=months, issued=np.datetime64("2024-01-31"))
    np.testing.assert_array_equal(by_month.times, months)
    np.testing.assert_array_equal(by_month.leads / 1440, [29, 60, 90])


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"values": np.zeros((2, 2))}, r"\[Forecast\] 'values' must be of shape \(T, H, W\).* but got \(2, 2\)"),
        ({"fields": (Quantity("a", "K"), Quantity("b", "K"))}, r"'fields' must be 1, one for each channel, but got 2"),
        ({"valid": np.zeros(2, "datetime64[s]")}, r"'valid' must be 3 times but got an array of \(2,\)"),
        ({"inputs": np.zeros((2, 4, 4))}, r"\[Forecast\] 'inputs' must have frames of \(8, 12\) but got \(4, 4\)"),
        ({"place": Place.of((4, 3), (0, 0, 3, 4))}, r"'place' must have coordinates 'y' of \(8,\) but has \(4,\)"),
        ({"layers": {"a": Layer(np.zeros((1, 8, 12)), "1", "a")}}, r"layer 'a' must be of shape \(3, 8, 12\)"),
    ],
)
def test_parts_that_do_not_fit(forecast, changes, text):
    with pytest.raises(ValueError, match=text):
        replace(forecast, **changes)


def test_a_place_in_other_units_is_refused():
    with pytest.raises(ValueError, match=r"\[Place\] 'units' must be 'm' or 'deg' but got 'km'"):
        Place.of((3, 3), (0, 0, 3, 3), units="km")

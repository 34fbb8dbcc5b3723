"""A forecast and its parts: times, places, and what does not fit."""

from dataclasses import replace

from convlstm.writers import Layer, Place

import numpy as np
import pytest


def test_times_and_leads(forecast):
    np.testing.assert_array_equal(forecast.leads, [5, 10, 15])
    expected = ["2024-01-31T23:55", "2024-02-01T00:00", "2024-02-01T00:05"]
    np.testing.assert_array_equal(forecast.times, np.array(expected, "datetime64[s]"))
    assert replace(forecast, step=None).times is None
    assert replace(forecast, issued=None).times is None
    np.testing.assert_array_equal(replace(forecast, step=0.5).times[0], np.datetime64("2024-01-31T23:50:30"))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"values": np.zeros((2, 2))}, r"\[Forecast\] 'values' must be of shape \(T, H, W\).* but got \(2, 2\)"),
        ({"units": "mm"}, r"\[Forecast\] 'units' must be mm/h, dBZ, raw or empty but got 'mm'"),
        ({"inputs": np.zeros((2, 4, 4))}, r"\[Forecast\] 'inputs' must have frames of \(8, 12\) but got \(4, 4\)"),
        ({"place": Place(np.arange(3), np.arange(4))}, r"'place' must have 8 rows and 12 columns but has 4 and 3"),
        ({"layers": {"a": Layer(np.zeros((1, 8, 12)), "1", "a")}}, r"layer 'a' must be of shape \(3, 8, 12\)"),
    ],
)
def test_parts_that_do_not_fit(forecast, changes, text):
    with pytest.raises(ValueError, match=text):
        replace(forecast, **changes)


def test_a_place_in_other_units_is_refused():
    with pytest.raises(ValueError, match=r"\[Place\] 'units' must be 'm' or 'deg' but got 'km'"):
        Place(np.arange(3), np.arange(3), "km")

"""Conversions between units of one quantity."""

from convlstm.datasets.field_units import conversion

import pytest


@pytest.mark.parametrize(
    ("value", "given", "wanted", "expected"),
    [
        (290.0, "K", "degC", 16.85),
        (16.85, "degrees_celsius", "K", 290.0),
        (212.0, "degF", "degC", 100.0),
        (-40.0, "degC", "degF", -40.0),
        (10.0, "m s-1", "km/h", 36.0),
        (36.0, "km h-1", "m s**-1", 10.0),
        (10.0, "knots", "m/s", 5.144444),
        (101325.0, "Pa", "hPa", 1013.25),
        (1013.25, "mbar", "Pa", 101325.0),
        (1.0, "kg m-2 s-1", "mm/h", 3600.0),
        (24.0, "mm/day", "mm/h", 1.0),
        (850.0, "mm", "m", 0.85),
        (55.0, "%", "1", 0.55),
        (8.0, "g kg-1", "kg kg-1", 0.008),
        (3.0, "Sv", "Sv", 3.0),
    ],
)
def test_values_by_hand(value, given, wanted, expected):
    factor, offset = conversion(given, wanted)
    assert factor * value + offset == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("given", "wanted"), [("K", "m s-1"), ("raw", "degC"), ("m s-1", "mm/h"), ("psu", "1")])
def test_units_of_different_quantities_have_none(given, wanted):
    assert conversion(given, wanted) is None

"""The side of a pixel in km."""

from convlstm.datasets.readers.grid import RAIN_RATE, Grid

import pytest


@pytest.mark.parametrize(
    ("size", "units", "extent", "km"),
    [
        ((1000, 2000), "m", None, 1.5),
        (None, "m", None, None),
        # A degree of longitude is 111.2 km times the cosine of the latitude: pixels that are about square.
        ((0.009, 0.0127), "deg", (6.0, 43.0, 14.0, 47.5), 1.0),
        ((0.5, 0.5), "deg", (-10.0, -10.0, 10.0, 10.0), 55.6),
        ((0.25, 0.25), "deg", (-180.0, -90.0, 180.0, 90.0), None),
        ((0.01, 0.01), "deg", (6.0, 58.0, 14.0, 62.0), None),
        ((0.01, 0.01), "deg", None, None),
        ((0.01, 0.01), "deg", (0.0, 0.0, 1000.0, 1000.0), None),
    ],
)
def test_the_side_is_known_where_pixels_are_alike(size, units, extent, km):
    grid = Grid((10, 10), (RAIN_RATE,), size, units, extent=extent)
    assert grid.pixel_km == (None if km is None else pytest.approx(km, rel=0.02))


@pytest.mark.parametrize(
    ("size", "units", "extent", "sides"),
    [
        ((1000, 2000), "m", None, (1.0, 2.0)),
        (None, "m", None, None),
        ((0.01, 0.01), "deg", (6.0, 58.0, 14.0, 62.0), (1.112, 0.556)),
        ((0.01, 0.02), "deg", (6.0, -2.0, 14.0, 2.0), (1.112, 2.224)),
        ((0.01, 0.01), "deg", None, None),
        ((0.01, 0.01), "deg", (0.0, 0.0, 1000.0, 1000.0), None),
    ],
)
def test_both_sides_are_those_in_the_middle_of_the_frame(size, units, extent, sides):
    grid = Grid((10, 10), (RAIN_RATE,), size, units, extent=extent)
    assert grid.sides_km == (None if sides is None else pytest.approx(sides, rel=1e-3))

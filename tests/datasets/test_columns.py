"""Columns of frames: how many of the files' they are, and whether they go round the earth."""

from __future__ import annotations

from convlstm.datasets.columns import columns_of
from convlstm.datasets.readers.grid import Coordinate, Field, Grid

import numpy as np
import pytest

EAST = {"units": "degrees_east"}


def grid(*coordinates, width=24, **about):
    return Grid((12, width), (Field("sst", "degC"),), dimensions=("lat", "lon"), coordinates=coordinates, **about)


def longitudes(values, attributes=EAST):
    return Coordinate.of("lon", ("lon",), np.asarray(values), attributes)


@pytest.mark.parametrize(
    ("values", "degrees", "go_round"),
    [
        (15.0 * np.arange(24), 360, True),
        (15.0 * np.arange(24) - 180, 360, True),
        ((15.0 * np.arange(24) + 187.5) % 360, 360, True),  # over the prime meridian
        (np.float32(15) * np.arange(24, dtype=np.float32), 360, True),
        (360 / 23 * np.arange(24), 24 * 360 / 23, False),  # the last column is the first one again
        (0.25 * np.arange(24), 6, False),
        (np.cumsum(np.arange(24.0)), None, False),  # uneven
        (np.full(24, np.nan), None, False),
        (-15.0 * np.arange(24), None, False),  # to the west
    ],
)
def test_longitudes(values, degrees, go_round):
    columns = columns_of(grid(longitudes(values)), 24)
    assert columns.go_round is columns.round_in_files is go_round
    assert columns.degrees == (None if degrees is None else pytest.approx(degrees))
    assert columns.cut == 0


def test_longitudes_of_each_pixel_and_edges_of_a_grid_in_degrees():
    pixels = np.broadcast_to(15.0 * np.arange(24), (12, 24))
    assert columns_of(grid(Coordinate.of("lon", ("lat", "lon"), pixels, EAST)), 24).go_round
    assert columns_of(grid(pixel_units="deg", extent=(-180.0, -90.0, 180.0, 90.0)), 24).go_round
    assert not columns_of(grid(pixel_units="deg", extent=(-180.0, -90.0, 165.0, 90.0)), 24).go_round
    for unknown in (grid(), grid(extent=(0.0, 0.0, 360.0, 180.0)), grid(longitudes(range(24), {"units": "m"}))):
        assert columns_of(unknown, 24).degrees is None


@pytest.mark.parametrize(("width", "coarsen", "cut"), [(24, 1, 0), (12, 2, 0), (16, 1, 8), (11, 2, 2), (4, 5, 4)])
def test_crops_and_squares_of_pixels_cut_columns(width, coarsen, cut):
    columns = columns_of(grid(longitudes(15.0 * np.arange(24))), width, coarsen)
    assert (columns.width, columns.cut) == (24, cut)
    assert columns.round_in_files
    assert columns.go_round is (cut == 0)

from convlstm.datasets.readers.projection import project

import pytest


@pytest.mark.parametrize(
    ("projection", "point", "expected"),
    [
        # Corners of KNMI's and OPERA's composites, and Snyder's examples on pages 315 and 333.
        ("+proj=stere +lat_0=90 +lon_0=0 +lat_ts=60 +a=6378137 +b=6356752", (0, 49.362), (0, -4415006.46)),
        ("+proj=stere +lat_0=90 +lon_0=0 +lat_ts=60 +a=6378137 +b=6356752", (9.009, 48.895), (699984.29, -4415038.23)),
        ("+proj=stere +lat_0=-90 +lon_0=-100 +lat_ts=-71 +a=6378388 +rf=297", (150, -75), (-1540033.6, -560526.4)),
        ("+proj=laea +lat_0=40 +lon_0=-100 +a=6378206.4 +b=6356583.8", (-110, 30), (-965932.1, -1056814.9)),
        ("+proj=laea +lat_0=40 +lon_0=-100 +R=3e6", (100, -20), (-4233930.3, 4025777.5)),
        ("+proj=lcc +lat_0=40 +lon_0=-100", (20, -20), None),
        ("+proj=stere +lat_0=90 +units=km", (20, -20), None),
        ("+proj=stere +lat_0=north", (20, -20), None),
        (None, (20, -20), None),
    ],
)
def test_projections(projection, point, expected):
    assert project(projection, *point) == (None if expected is None else pytest.approx(expected, rel=1e-6, abs=0.1))

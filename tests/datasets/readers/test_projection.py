import sys

from convlstm.datasets.readers.projection import UnplacedError, project

import pytest

POLAR = "+proj=stere +lat_0=90 +lon_0=0 +lat_ts=60 +a=6378137 +b=6356752"


@pytest.mark.parametrize(
    ("projection", "point", "expected"),
    [
        # Corners of KNMI's and OPERA's composites, and Snyder's examples on pages 296, 315 and 333.
        (POLAR, (0, 49.362), (0, -4415006.46)),
        (POLAR, (9.009, 48.895), (699984.29, -4415038.23)),
        ("+proj=stere +lat_0=-90 +lon_0=-100 +lat_ts=-71 +a=6378388 +rf=297", (150, -75), (-1540033.6, -560526.4)),
        ("+proj=laea +lat_0=40 +lon_0=-100 +a=6378206.4 +b=6356583.8", (-110, 30), (-965932.1, -1056814.9)),
        ("+proj=laea +lat_0=40 +lon_0=-100 +R=3e6", (100, -20), (-4233930.3, 4025777.5)),
        ("+proj=lcc +lat_1=33 +lat_2=45 +lat_0=23 +lon_0=-96 +ellps=clrk66", (-75, 35), (1894410.9, 1564649.5)),
        ("+proj=stere +lat_0=90 +lat_ts=60 +units=km", (0, 60), (0, -3197104.6)),
        ("+proj=longlat +datum=WGS84", (8.5, 47), (8.5, 47)),
    ],
)
def test_points(projection, point, expected):
    pytest.importorskip("pyproj")
    assert project(projection, *point) == pytest.approx(expected, rel=1e-6, abs=0.1)


@pytest.mark.parametrize(
    ("projection", "message"),
    [
        ("+proj=stere +lat_0=north", "is not known to PROJ"),
        ("+proj=martian +lon_0=0", "is not known to PROJ"),
        (None, "the file has no projection"),
        ("+proj=gnom +lat_0=90", "has no point at 20 east and -20 north"),
        (
            "+proj=longlat +ellps=bessel +nadgrids=@/tmp/a",
            "is refused: it names a file, '@/tmp/a', which is not opened",
        ),
    ],
)
def test_unknown_projections_are_refused(projection, message):
    pytest.importorskip("pyproj")
    with pytest.raises(UnplacedError, match=message):
        project(projection, 20, -20)


def test_without_the_library_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyproj", None)
    with pytest.raises(UnplacedError, match=r"needs the library pyproj .* pip install 'convlstm\[radar\]'"):
        project("+proj=stere +lat_0=90 +lon_0=17", 20, 20)

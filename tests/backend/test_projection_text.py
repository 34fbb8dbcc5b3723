"""Projections that name files."""

from __future__ import annotations

from convlstm.backend.projection_text import LONGEST, check_projection

import pytest


@pytest.mark.parametrize(
    "text",
    [
        "+init=/home/a/secret:1",
        "+init=~/secret:1",
        "+proj=longlat +ellps=bessel +nadgrids=@/tmp/fifo",
        "+proj=longlat +ellps=bessel +nadgrids=ntf_r93.gsb,/tmp/fifo",
        "+proj=laea +geoidgrids=./fifo",
        "+proj=tinshift +file= ../fifo",
        "+proj=defmodel +model=sub/../../fifo",
        "+proj=longlat +nadgrids=C:\\fifo",
        'GEOGCS["a",EXTENSION["PROJ4_GRIDS","/tmp/fifo"]]',
        'BOUNDCRS[ABRIDGEDTRANSFORMATION["a",PARAMETERFILE["Latitude difference file", "/tmp/fifo"]]]',
        '{"name": "Latitude difference file", "value": "/tmp/fifo"}',
        "/tmp/fifo",
    ],
)
def test_a_projection_that_names_a_file_is_refused(text):
    with pytest.raises(ValueError, match=r"it names a file, .*, which is not opened"):
        check_projection(text)


def test_a_long_projection_is_refused():
    with pytest.raises(ValueError, match="it has 10,001 letters, of at most 10,000"):
        check_projection("+" * (LONGEST + 1))


@pytest.mark.parametrize(
    "text",
    [
        "EPSG:4326",
        "+init=epsg:4326",
        "urn:ogc:def:crs:EPSG::4326",
        "http://www.opengis.net/def/crs/EPSG/0/4326",
        "+proj=merc +a=6378137 +b=6378137 +nadgrids=@null +wktext +no_defs",
        "+proj=longlat +ellps=bessel +nadgrids=@BETA2007.gsb",
        "+proj=stere +lat_0=90 +lon_0=-10.5 +towgs84=1,-.5,0 +x_0=.5",
    ],
)
def test_other_projections_are_allowed(text):
    check_projection(text)


@pytest.mark.parametrize("code", [3857, 25832, 27700, 28992, 3035, 21781, 3067, 5041, 31467])
def test_what_proj_writes_is_allowed(code):
    crs = pytest.importorskip("pyproj").CRS.from_epsg(code)
    for text in (crs.to_wkt(), crs.to_wkt("WKT1_GDAL"), crs.to_wkt("WKT1_ESRI"), crs.to_json()):
        check_projection(text)

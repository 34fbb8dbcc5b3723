"""Grid mappings of CF and WKT from PROJ strings."""

import sys

from convlstm.writers.crs import grid_mapping

import pytest

pyproj = pytest.importorskip("pyproj")


# CF's parameters, by hand from the PROJ strings of the services.
@pytest.mark.parametrize(
    ("projection", "attributes"),
    [
        (
            "+proj=stere +lat_0=90 +lon_0=0.0 +lat_ts=60.0 +a=6378137 +b=6356752 +x_0=0 +y_0=0",
            {
                "grid_mapping_name": "polar_stereographic",
                "standard_parallel": 60.0,
                "straight_vertical_longitude_from_pole": 0.0,
                "latitude_of_projection_origin": 90.0,
                "semi_major_axis": 6378137.0,
            },
        ),
        (
            "+proj=aea +lon_0=153.24 +lat_0=-27.7178 +lat_1=-26.2 +lat_2=-29.3 +a=6378137 +b=6356752.31414",
            {
                "grid_mapping_name": "albers_conical_equal_area",
                "standard_parallel": pytest.approx([-26.2, -29.3]),
                "longitude_of_central_meridian": 153.24,
            },
        ),
        ("+proj=stere +lat_0=90 +lon_0=25 +lat_ts=60 +R=6371288 +units=m", {"semi_minor_axis": 6371288.0}),
        (
            "+proj=stere +lat_0=90S +lat_ts=70S +lon_0=0 +ellps=WGS84",
            {"latitude_of_projection_origin": -90.0, "standard_parallel": -70.0},
        ),
        ("+proj=stere +lat_0=45 +lon_0=0", {"grid_mapping_name": "stereographic"}),
        (
            "+proj=lcc +lat_1=50 +lat_0=50 +lon_0=5 +ellps=GRS80",
            {"standard_parallel": 50.0, "inverse_flattening": 298.257222101},
        ),
        (
            "+proj=tmerc +lat_0=49 +lon_0=-2 +k=0.9996 +x_0=400000 +y_0=-100000 +ellps=airy",
            {"scale_factor_at_central_meridian": 0.9996, "false_easting": 400000.0},
        ),
        ("+proj=merc +lat_ts=20 +lon_0=3 +datum=WGS84", {"standard_parallel": 20.0}),
        ("+proj=aeqd +lat_0=52 +lon_0=5", {"grid_mapping_name": "azimuthal_equidistant"}),
        ("+proj=longlat +a=6371000", {"grid_mapping_name": "latitude_longitude", "semi_major_axis": 6371000.0}),
    ],
)
def test_grid_mappings(projection, attributes):
    mapping = grid_mapping(projection)
    assert {key: mapping[key] for key in attributes} == attributes
    assert mapping["spatial_ref"] == mapping["crs_wkt"]
    assert mapping["proj4_params"] == projection
    # The way back leads to the same points.
    there = pyproj.Proj(pyproj.CRS.from_cf(mapping))
    assert there(3, 52) == pytest.approx(pyproj.Proj(projection)(3, 52), abs=1e-3)


@pytest.mark.parametrize("shift", ["", " +towgs84=674.374,15.056,405.346,0,0,0,0"])
def test_the_swiss_grid_is_an_oblique_mercator_projection(shift):
    swiss = "+proj=somerc +lat_0=46.95 +lon_0=7.44 +x_0=600000 +y_0=200000 +ellps=bessel"
    mapping = grid_mapping(swiss + shift)
    assert mapping["grid_mapping_name"] == "oblique_mercator"
    # CF's parameters alone, as its Appendix F refers to PROJ's omerc.
    names = {"lat_0": "latitude_of_projection_origin", "lonc": "longitude_of_projection_origin"}
    names |= {"alpha": "azimuth_of_central_line", "k_0": "scale_factor_at_projection_origin"}
    names |= {"x_0": "false_easting", "y_0": "false_northing"}
    by_cf = pyproj.Proj(proj="omerc", ellps="bessel", **{key: mapping[name] for key, name in names.items()})
    by_wkt = pyproj.Proj(pyproj.CRS.from_cf(mapping))
    for point in ((6, 46), (8, 47), (10.5, 48)):
        assert by_cf(*point) == pytest.approx(pyproj.Proj(swiss)(*point), abs=1e-3)
        assert by_wkt(*point) == pytest.approx(pyproj.Proj(swiss + shift)(*point), abs=1e-3)


TURNED = "+proj=omerc +lat_0=4 +lonc=102.25 +alpha=53 +gamma=50 +ellps=WGS84"


@pytest.mark.parametrize("projection", ["+proj=robin +lon_0=0", TURNED])
def test_what_cf_cannot_say_is_described_by_wkt_alone(projection):
    mapping = grid_mapping(projection)
    assert set(mapping) == {"crs_wkt", "spatial_ref", "proj4_params"}
    there = pyproj.Proj(pyproj.CRS(mapping["crs_wkt"]))
    assert there(100, 7) == pytest.approx(pyproj.Proj(projection)(100, 7), abs=1e-3)


def test_no_projection_and_unknown_ones():
    assert grid_mapping(None) == {}
    with pytest.warns(UserWarning, match=r"projection '\+proj=martian' is not known to PROJ .* the forecast has none"):
        assert grid_mapping("+proj=martian") == {}
    with pytest.warns(UserWarning, match=r"is refused: it names a file, '=/tmp/a:1', .* The forecast has none"):
        assert grid_mapping("+init=/tmp/a:1") == {}


def test_without_the_library_the_text_is_kept(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyproj", None)
    assert grid_mapping("+proj=stere +lat_0=90") == {"proj4_params": "+proj=stere +lat_0=90"}
    assert grid_mapping("PROJCRS[...]") == {"crs_wkt": "PROJCRS[...]"}

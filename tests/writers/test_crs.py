"""Grid mappings of CF and WKT from PROJ strings."""

from convlstm.writers.crs import grid_mapping

import pytest


# CF's parameters and what WKT says, by hand from the PROJ strings of the services.
@pytest.mark.parametrize(
    ("projection", "attributes", "in_wkt"),
    [
        (
            "+proj=stere +lat_0=90 +lon_0=0.0 +lat_ts=60.0 +a=6378.137 +b=6356.752 +x_0=0 +y_0=0",
            {
                "grid_mapping_name": "polar_stereographic",
                "standard_parallel": 60.0,
                "straight_vertical_longitude_from_pole": 0.0,
                "latitude_of_projection_origin": 90.0,
                "semi_major_axis": 6378137.0,
            },
            ['PROJECTION["Polar_Stereographic"]', 'PARAMETER["latitude_of_origin",60]', "298.25"],
        ),
        (
            "+proj=aea +lon_0=153.24 +lat_0=-27.7178 +lat_1=-26.2 +lat_2=-29.3 +a=6378137 +b=6356752.31414",
            {"grid_mapping_name": "albers_conical_equal_area", "standard_parallel": [-26.2, -29.3]},
            ['PARAMETER["standard_parallel_2",-29.3]', 'PARAMETER["longitude_of_center",153.24]'],
        ),
        (
            "+proj=stere +lat_0=90 +lon_0=25 +lat_ts=60 +R=6371288 +units=m",
            {"earth_radius": 6371288.0},
            ['SPHEROID["unknown",6371288,0]'],
        ),
        (
            "+proj=stere +lat_0=90S +lat_ts=70S +lon_0=0 +ellps=WGS84",
            {"latitude_of_projection_origin": -90.0, "standard_parallel": -70.0},
            ['PARAMETER["latitude_of_origin",-70]', 'DATUM["WGS_1984"'],
        ),
        (
            "+proj=lcc +lat_1=50 +lat_0=50 +lon_0=5 +ellps=GRS80",
            {"standard_parallel": [50.0, 50.0], "inverse_flattening": 298.257222101},
            ['PROJECTION["Lambert_Conformal_Conic_2SP"]'],
        ),
        (
            "+proj=tmerc +lat_0=49 +lon_0=-2 +k=0.9996 +x_0=400000 +y_0=-100000 +ellps=airy +rf=299",
            {"scale_factor_at_central_meridian": 0.9996, "false_easting": 400000.0, "inverse_flattening": 299.0},
            ['PARAMETER["scale_factor",0.9996]', 'PARAMETER["false_northing",-100000]'],
        ),
        ("+proj=merc +lat_ts=20 +lon_0=3 +datum=WGS84", {"standard_parallel": 20.0}, ['PROJECTION["Mercator_2SP"]']),
        ("+proj=aeqd +lat_0=52 +lon_0=5", {"grid_mapping_name": "azimuthal_equidistant"}, ["Azimuthal_Equidistant"]),
        ("+proj=longlat +a=6371000", {"earth_radius": 6371000.0}, ['GEOGCS["unknown"', "6371000,0"]),
    ],
)
def test_grid_mappings(projection, attributes, in_wkt):
    mapping = grid_mapping(projection)
    assert {key: mapping[key] for key in attributes} == attributes
    assert mapping["spatial_ref"] == mapping["crs_wkt"]
    assert mapping["proj4_params"] == projection
    for part in in_wkt:
        assert part in mapping["crs_wkt"]
    assert mapping["crs_wkt"].count("[") == mapping["crs_wkt"].count("]")


def test_the_swiss_grid_is_described_by_wkt_alone():
    towgs = "674.374,15.056,405.346,0,0,0,0"
    text = f"+proj=somerc +lat_0=46.95 +lon_0=7.44 +k_0=1 +x_0=600000 +y_0=200000 +ellps=bessel +towgs84={towgs}"
    mapping = grid_mapping(text)
    assert set(mapping) == {"crs_wkt", "spatial_ref", "proj4_params"}
    for part in ("Hotine_Oblique_Mercator_Azimuth_Center", 'PARAMETER["azimuth",90]', f"TOWGS84[{towgs}]"):
        assert part in mapping["crs_wkt"]


def test_wkt_and_unknown_projections_are_kept():
    wkt = 'PROJCS["x",GEOGCS["y"]]'
    assert grid_mapping(wkt) == {"crs_wkt": wkt, "spatial_ref": wkt}
    assert grid_mapping(None) == {}
    assert grid_mapping("+proj=robin +lon_0=0") == {"proj4_params": "+proj=robin +lon_0=0"}
    assert "crs_wkt" not in grid_mapping("+proj=stere +lat_0=45 +lon_0=0")

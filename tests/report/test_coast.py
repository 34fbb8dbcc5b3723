"""Coast, borders and grid lines in the pixels of maps."""

from __future__ import annotations

import json

from convlstm.report.coast import NoMapError, make, map_lines

import numpy as np
import pytest

# Cape and town by the sea, and a place on a border, with longitude and latitude in degrees.
HOOK, BASEL, CAPE_BYRON = (4.12, 51.98), (7.59, 47.59), (153.639, -28.634)
LAEA = "+proj=laea +lat_0=55 +lon_0=10 +x_0=1950000 +y_0=-2100000 +ellps=WGS84"


def degrees(west: float, east: float, south: float, north: float, step: float = 0.01):
    """Returns the columns and the rows of a map, north first."""
    return np.arange(west, east, step), np.arange(north, south, -step)


def nearest(lines: list[np.ndarray], column: float, row: float) -> float:
    """Returns the distance in pixels of the nearest line."""
    best = np.inf
    for line in lines:
        a, b = line[:-1].astype(float), line[1:].astype(float)
        along = b - a
        share = ((np.array([column, row]) - a) * along).sum(1) / np.maximum((along**2).sum(1), 1e-12)
        away = a + np.clip(share, 0, 1)[:, None] * along - [column, row]
        best = min(best, np.hypot(*away.T).min())
    return best


@pytest.mark.parametrize(
    ("place", "kind"), [(HOOK, "coast"), (BASEL, "borders"), (CAPE_BYRON, "coast")], ids=["hook", "basel", "byron"]
)
def test_a_known_place_lies_on_its_line(place, kind):
    lon, lat = place
    x, y = degrees(lon - 1, lon + 1, lat - 1, lat + 1)
    lines = map_lines(x, y, "degrees_north")
    assert nearest(getattr(lines, kind), (lon - x[0]) / 0.01 + 0.5, (y[0] - lat) / 0.01 + 0.5) < 3  # 3 km
    assert nearest(getattr(lines, {"coast": "borders", "borders": "coast"}[kind]), 100, 100) > 3


def test_projected_maps_have_the_same_places():
    pyproj = pytest.importorskip("pyproj")
    there = pyproj.Transformer.from_crs("EPSG:4326", LAEA, always_xy=True)
    x0, y0 = there.transform(*HOOK)
    x, y = x0 + 2000.0 * np.arange(-99.5, 100), y0 - 2000.0 * np.arange(-79.5, 80)
    wkt = {"crs_wkt": pyproj.CRS(LAEA).to_wkt()}
    for lines in (map_lines(x, y, "m", LAEA), map_lines(x / 1000, y / 1000, "km", wkt)):
        assert nearest(lines.coast, 100, 80) < 1.5  # 3 km
        assert lines.pixel_km == pytest.approx(2, rel=0.02)
        found = lines.degrees[:, 16, 16]
        np.testing.assert_allclose(found, HOOK, atol=0.02)
        for part in lines.coast + lines.borders + [part for line in lines.grid for part in line.parts]:
            assert (part.max(0) >= 0).all()
            assert (part.min(0) <= (200, 160)).all()
        assert [line.label for line in lines.grid] == ["2°E", "4°E", "6°E", "51°N", "52°N", "53°N"]
        for line in lines.grid:
            degree, axis = float(line.label[:-2]), "NE".index(line.label[-1])
            assert line.is_meridian == bool(axis)
            column, row = line.at
            place = there.transform(x[0] + (column - 0.5) * 2000, y[0] - (row - 0.5) * 2000, direction="INVERSE")
            assert place[1 - axis] == pytest.approx(degree, abs=0.02)


def test_rows_from_the_south_and_longitudes_from_0_to_360_are_the_same_places():
    x, y = degrees(-10.003, -5, 51, 56.007, 0.02)  # Ireland
    lines = map_lines(x, y, "degrees_east")
    east = map_lines(x + 360, y, "degrees_east")
    assert len(lines.coast) > 3
    for a, b in zip(lines.coast, east.coast, strict=True):
        np.testing.assert_allclose(a, b, atol=0.01)
    upside_down = map_lines(x, y[::-1], "degrees_east")
    for a, b in zip(lines.coast, upside_down.coast, strict=True):
        np.testing.assert_allclose(a, b * [1, -1] + [0, len(y)], atol=0.01)
    assert [line.label for line in east.grid] == [line.label for line in lines.grid]
    assert lines.grid[0].label == "10°W"


def test_a_map_of_the_world_has_no_lines_across():
    x, y = degrees(0, 360, -90, 90, 1)
    lines = map_lines(x, y, "degrees_east")
    assert len(lines.coast) > 1000
    assert max(np.abs(np.diff(line[:, 0])).max() for line in lines.coast) < 30
    # Fiji's coast crosses 180 degrees, and the sea to the west of it has none.
    assert nearest(lines.coast, 160.5, 90 + 16.8) > 2
    assert nearest(lines.coast, 179.5, 90 + 17.2) < 2
    assert {"0°", "90°E", "90°W"} <= {line.label for line in lines.grid}


def test_a_rotated_pole_is_no_grid_of_degrees():
    pytest.importorskip("pyproj")
    rotated = {
        "grid_mapping_name": "rotated_latitude_longitude",
        "grid_north_pole_latitude": 43.0,
        "grid_north_pole_longitude": -170.0,
    }
    x, y = degrees(-6, 6, -8, 8, 0.1)
    lines = map_lines(x, y, "degrees", rotated)
    np.testing.assert_allclose(lines.degrees[:, 16, 16], [10, 47], atol=0.2)
    assert nearest(map_lines(x, y, "degrees").coast, 60, 80) != nearest(lines.coast, 60, 80)


@pytest.mark.parametrize(
    ("x", "units", "crs", "text"),
    [
        (np.arange(5.0), "rad", LAEA, "coordinates in 'rad' are neither metres nor degrees"),
        (np.arange(5.0), "m", None, "the projection is unknown"),
        (np.arange(5.0), "m", "+proj=nonsense", "the projection is not known to PROJ"),
        (np.arange(5.0), "m", "+proj=merc +nadgrids=/tmp/a", "it names a file"),
        (np.arange(1.0), "m", LAEA, "a single row or column"),
    ],
)
def test_maps_without_a_place_are_refused(x, units, crs, text):
    pytest.importorskip("pyproj")
    with pytest.raises(NoMapError, match=text):
        map_lines(x, np.arange(5.0), units, crs)


def test_the_script_tells_borders_from_coast_and_leaves_out_what_maps_do_not_need(tmp_path):
    """Two countries side by side, with a straight shore, and an islet of 1 km."""
    shore = [[0, 0], [100, 0], [100, 0], [100, 0]]
    arcs = [[[300, 0], [0, 300]], [[300, 0], *shore, [0, 300], [-300, 0]], [[300, 0], [-300, 0], [0, 300], [300, 0]]]
    islet = [[2000, 2000], [5, 0], [0, 5], [-5, -5]]
    topology = {
        "transform": {"scale": [0.001, 0.001], "translate": [10, 50]},
        "arcs": [*arcs, islet],
        "objects": {
            "countries": {
                "geometries": [{"arcs": [[1, ~0]]}, {"arcs": [[[0, 2]], [[3]]]}, {"type": None}],
            }
        },
    }
    (tmp_path / "topology.json").write_text(json.dumps(topology))
    make.main(str(tmp_path / "topology.json"), str(tmp_path / "coast.npz"))
    with np.load(tmp_path / "coast.npz") as made:
        assert made["borders"].tolist() == [True, False, False]
        assert made["counts"].tolist() == [2, 4, 4]
        np.testing.assert_array_equal(made["starts"], [[5150, 25000]] * 3)
        assert made["dx"][:4].tolist() == [0, 150, 0, -150]

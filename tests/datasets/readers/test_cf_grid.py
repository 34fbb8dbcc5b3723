"""Coordinates and projections of CF files, as they are."""

import pickle

from convlstm.datasets.readers.grid import Coordinate
from tests.support.cf_files import LAT, LON, frames, write_cf
from tests.support.radar_files import open_file

import numpy as np
import pytest

netCDF4 = pytest.importorskip("netCDF4")

VALUES = frames(6, 3, 4)
KELVIN = {"units": "K"}
ROTATED = {
    "grid_mapping_name": "rotated_latitude_longitude",
    "grid_north_pole_latitude": 37.5,
    "grid_north_pole_longitude": 177.5,
    "earth_radius": 6371229.0,
}


def grid_of(path, **options):
    return open_file(path, **options)[1].grid


def by_name(grid):
    return {coordinate.name: coordinate for coordinate in grid.coordinates}


def test_coordinates_keep_names_types_and_values(tmp_path):
    latitude = (("latitude",), LAT, {"units": "degrees_north", "long_name": "Latitude"})
    longitude = (("longitude",), LON.astype(np.float64) / 3, {"units": "degrees_east", "axis": "X"})
    t = (("time", "latitude", "longitude"), VALUES, KELVIN)
    sides = {"lat": None, "lon": None, "latitude": latitude, "longitude": longitude}
    grid = grid_of(write_cf(tmp_path / "a.nc", {"t": t}, **sides))
    assert grid.dimensions == ("latitude", "longitude")
    y, x = grid.coordinates
    assert (y.values.dtype, x.values.dtype) == (np.float32, np.float64)
    np.testing.assert_array_equal(x.values, LON.astype(np.float64) / 3)
    assert dict(y.attributes) == {"units": "degrees_north", "long_name": "Latitude"}
    assert dict(x.attributes) == {"units": "degrees_east", "axis": "X"}


def test_a_rotated_pole_stays_one(tmp_path):
    lat, lon = np.meshgrid(LAT, LON, indexing="ij")
    variables = {
        "t": (("time", "rlat", "rlon"), VALUES, KELVIN | {"grid_mapping": "rotated_pole", "coordinates": "lat lon"}),
        "rotated_pole": ((), np.int32(0), ROTATED),
        "rlat": (("rlat",), np.array([1.0, 0, -1]), {"units": "degrees", "standard_name": "grid_latitude"}),
        "rlon": (("rlon",), np.arange(4.0), {"units": "degrees", "standard_name": "grid_longitude"}),
        "lat": (("rlat", "rlon"), lat, {"units": "degrees_north"}),
        "lon": (("rlat", "rlon"), lon, {"units": "degrees_east"}),
    }
    grid = grid_of(write_cf(tmp_path / "a.nc", variables))
    found = by_name(grid)
    assert set(found) == {"rlat", "rlon", "lat", "lon", "rotated_pole"}
    assert found["rlat"].attributes == {"units": "degrees", "standard_name": "grid_latitude"}
    np.testing.assert_array_equal(found["lat"].values, lat)
    assert dict(found["rotated_pole"].attributes) == ROTATED
    assert grid.pixel_km == pytest.approx(111.2, abs=0.1)
    assert (grid.projection, grid.map) == (None, ROTATED)


def test_kilometres_stay_kilometres_and_count_as_metres(tmp_path):
    mapping = {
        "grid_mapping_name": "lambert_conformal_conic",
        "standard_parallel": np.array([49.0, 46.0]),
        "latitude_of_projection_origin": 47.5,
        "longitude_of_central_meridian": 13.33,
        "false_easting": 400.0,
        "false_northing": 300.0,
    }
    variables = {
        "t": (("time", "y", "x"), VALUES, KELVIN | {"grid_mapping": "lcc: x y"}),
        "lcc": ((), np.int32(0), mapping),
        "y": (("y",), np.array([0.0, 2, 4]), {"units": "km", "standard_name": "projection_y_coordinate"}),
        "x": (("x",), np.arange(4.0) * 2, {"units": "km", "standard_name": "projection_x_coordinate"}),
    }
    grid = grid_of(write_cf(tmp_path / "a.nc", variables, lat=None, lon=None))
    assert (grid.pixel_size, grid.extent) == ((2000, 2000), (-1000, -1000, 7000, 5000))
    assert by_name(grid)["y"].values.tolist() == [4, 2, 0]
    assert grid.map["false_easting"] == 400


def test_projections_that_are_not_known_are_copied(tmp_path):
    variables = {
        "t": (("time", "lat", "lon"), VALUES, KELVIN | {"grid_mapping": "m"}),
        "m": ((), np.int32(0), {"grid_mapping_name": "of_mars", "radius": 3.4e6, "_FillValue": np.int32(-1)}),
    }
    grid = grid_of(write_cf(tmp_path / "a.nc", variables))
    assert grid.projection is None
    assert by_name(grid)["m"].attributes == {"grid_mapping_name": "of_mars", "radius": 3.4e6}


def test_packed_coordinates_are_unpacked(tmp_path):
    packed = (("lat",), np.array([30, 20, 10], np.int16), {"units": "degrees_north", "scale_factor": 0.5})
    grid = grid_of(write_cf(tmp_path / "a.nc", {"t": (("time", "lat", "lon"), VALUES, KELVIN)}, lat=packed))
    assert by_name(grid)["lat"].values.tolist() == [15, 10, 5]


def test_equal_coordinates_are_one(tmp_path):
    paths = [write_cf(tmp_path / f"{n}.nc", {"t": (("time", "lat", "lon"), VALUES + n, KELVIN)}) for n in range(2)]
    first, second = map(grid_of, paths)
    assert first == second
    assert all(a is b for a, b in zip(first.coordinates, second.coordinates, strict=True))
    sent = pickle.loads(pickle.dumps(first))  # trusted: this test's own
    assert sent == first
    assert sent.coordinates[0] is first.coordinates[0]
    with pytest.raises(ValueError, match="read-only"):
        first.coordinates[0].values[0] = 1
    assert Coordinate.of("lat", ("lat",), LAT) != Coordinate.of("lat", ("lat",), LAT + 1)


def test_parts_of_coordinates(tmp_path):
    grid = grid_of(write_cf(tmp_path / "a.nc", {"t": (("time", "lat", "lon"), VALUES, KELVIN)}))
    assert grid.coordinates_of(0, 0, 3, 4) == grid.coordinates
    lat, lon = grid.coordinates_of(1, 2, 2, 2)
    assert (lat.values.tolist(), lon.values.tolist()) == ([46.5, 46], [9, 9.5])
    lat, lon = grid.coordinates_of(0, 1, 1, 1, coarsen=2)
    assert (lat.values.tolist(), lon.values.tolist(), lat.values.dtype) == ([46.75], [9.25], np.float32)


def test_means_of_longitudes_go_round():
    lon = Coordinate.of("lon", ("y", "x"), np.array([[179.0, -179], [179, -179]]), {"units": "degrees_east"})
    cuts = {"y": slice(0, 1), "x": slice(0, 1)}
    assert lon.part(cuts, 2).values.tolist() == [[180]]


def test_a_projection_may_be_an_attribute_of_the_file(tmp_path):
    geos = "+proj=geos +a=6378137 +b=6356752.3 +lon_0=0 +h=35785863"
    metres = {"units": "m"}
    y, x = (("y",), 3000.0 * np.arange(3), metres), (("x",), 3000.0 * np.arange(4), metres)
    sides = {"lat": None, "lon": None, "y": y, "x": x}
    on_map = write_cf(tmp_path / "map.nc", {"t": (("time", "y", "x"), VALUES, KELVIN)}, **sides)
    in_degrees = write_cf(tmp_path / "degrees.nc", {"t": (("time", "lat", "lon"), VALUES, KELVIN)})
    for path in (on_map, in_degrees):
        with netCDF4.Dataset(path, "a") as file:
            file.gdal_projection = geos
    grid = grid_of(on_map)
    assert grid.projection == geos
    assert list(by_name(grid)) == ["y", "x"]
    assert grid.extent == (-1500, -1500, 10500, 7500)
    assert grid_of(in_degrees).projection is None

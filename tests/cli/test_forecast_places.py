"""A forecast lies where its input lies, to the last bit, or nowhere."""

from convlstm.datasets.archives.archive import Archive
from tests.support.cf_files import frames, write_cf
from tests.support.forecast_runs import RAIN, write_run
from tests.support.radar_files import write_odim

import numpy as np
import pytest

xarray = pytest.importorskip("xarray")
pytest.importorskip("netCDF4")
pyproj = pytest.importorskip("pyproj")

RATE = {"units": "mm/h", "standard_name": "rainfall_rate"}
MINUTES = (("time",), 5 * np.arange(6), {"units": "minutes since 2020-01-01"})
SHAPE = (8, 12)


def written(forecast, tmp_path, path, *more):
    """Returns the forecast of a file as xarray reads it, and what the command said."""
    run = write_run(tmp_path / "run", trained=RAIN)
    out = tmp_path / "out.nc"
    status, _, err = forecast(f"ckpt={run}", f"input={path}", f"out={out}", "reader=null", "horizon=2", *more)
    assert status == 0, err
    with xarray.open_dataset(out) as opened:
        return opened.load(), err


def write_rain(path, rows, columns, **extra):
    """Writes rain over rows and columns, each a name, values and attributes."""
    sides = {name: ((name,), values, about) for name, values, about in (rows, columns)}
    values = frames(6, len(rows[1]), len(columns[1])) / 100
    about = RATE | ({"grid_mapping": "pole"} if "pole" in extra else {})
    variables = {"rain": (("time", rows[0], columns[0]), values, about), **sides, **extra}
    return write_cf(path, variables, time=MINUTES, lat=None, lon=None)


def test_forecast_and_observation_can_be_subtracted(forecast, tmp_path):
    # Such longitudes are not multiples of each other in float32.
    longitude = np.linspace(5.1, 8.3, SHAPE[1]).astype(np.float32)
    latitude = np.linspace(47.3, 50.1, SHAPE[0])  # from south to north
    path = write_rain(
        tmp_path / "rain.nc",
        ("latitude", latitude, {"units": "degrees_north"}),
        ("longitude", longitude, {"units": "degrees_east"}),
    )
    coming, _ = written(forecast, tmp_path, path)
    with xarray.open_dataset(path) as observed:
        difference = coming["rain_rate"].isel(time=0) - observed["rain"].isel(time=-1)
        assert difference.sizes == {"latitude": 8, "longitude": 12}
        np.testing.assert_allclose(difference, 0, atol=1e-5)
        assert coming["longitude"].dtype == np.float32
        assert set(coming["longitude"].values) == set(observed["longitude"].values)
    cropped, _ = written(forecast, tmp_path, path, "crop=[0,4,8,8]")
    assert cropped["longitude"].values.tolist() == longitude[4:].tolist()
    # Row 0 is the northern one.
    assert cropped["latitude"].values.tolist() == latitude[::-1].tolist()
    means, _ = written(forecast, tmp_path, path, "coarsen=2")
    np.testing.assert_allclose(means["longitude"], longitude.reshape(-1, 2).mean(1), rtol=1e-6)
    assert means["rain_rate"].sizes == {"time": 2, "latitude": 4, "longitude": 6}


def test_a_rotated_pole_comes_out_as_it_went_in(forecast, tmp_path):
    about = {"grid_mapping_name": "rotated_latitude_longitude", "grid_north_pole_latitude": 37.5}
    about |= {"grid_north_pole_longitude": 177.5, "earth_radius": 6371229.0}
    rows, columns = np.linspace(3, -4, SHAPE[0]), np.linspace(-2, 9, SHAPE[1])
    crs = pyproj.CRS.from_cf(about)
    lon, lat = pyproj.Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True).transform(*np.meshgrid(columns, rows))
    path = write_rain(
        tmp_path / "rain.nc",
        ("rlat", rows, {"units": "degrees", "standard_name": "grid_latitude"}),
        ("rlon", columns, {"units": "degrees", "standard_name": "grid_longitude"}),
        pole=((), np.int32(0), about),
        lat=(("rlat", "rlon"), lat, {"units": "degrees_north"}),
        lon=(("rlat", "rlon"), lon, {"units": "degrees_east"}),
    )
    coming, _ = written(forecast, tmp_path, path)
    assert coming["rain_rate"].dims == ("time", "rlat", "rlon")
    for name, values in (("rlat", rows), ("rlon", columns), ("lat", lat), ("lon", lon)):
        np.testing.assert_array_equal(coming[name], values)
    assert {"lat", "lon"} <= set(coming["rain_rate"].coords)
    mapping = coming["rain_rate"].encoding.get("grid_mapping") or coming["rain_rate"].attrs["grid_mapping"]
    assert pyproj.CRS.from_cf(coming[mapping].attrs) == crs


BELGIUM = {
    "projdef": np.bytes_(
        "+proj=lcc +lat_1=49.83333333333334 +lat_2=51.16666666666666 +lat_0=50.797815 +lon_0=4.359215833333333 "
        "+x_0=649328 +y_0=665262 +ellps=GRS80 +units=m +no_defs"
    ),
    "LL_lon": -0.2666973996088157,
    "LL_lat": 47.41679117656605,
    "xscale": 1000.0,
    "yscale": 1000.0,
}


RATES = {"gain": 0.1, "offset": 0.0}


def write_composites(folder, where):
    folder.mkdir()
    for n, clock in enumerate(("2340", "2345", "2350", "2355")):
        path = write_odim(folder / f"{clock}.h5", {"RATE": np.full((8, 12), n + 1, np.uint8)}, what=RATES, where=where)
        import h5py

        with h5py.File(path, "a") as file:
            file["what"].attrs["time"] = np.bytes_(f"{clock}00")
    return folder


def test_the_place_of_a_lambert_composite(forecast, tmp_path):
    pytest.importorskip("h5py")
    coming, err = written(forecast, tmp_path, write_composites(tmp_path / "rmi", BELGIUM))
    assert coming["x"].values.tolist() == [300_500 + 1000 * n for n in range(12)]
    assert coming["y"].values.tolist() == [307_500 - 1000 * n for n in range(8)]
    assert "no coordinates" not in err
    assert pyproj.CRS.from_cf(coming["crs"].attrs).to_cf()["grid_mapping_name"] == "lambert_conformal_conic"


@pytest.mark.filterwarnings("default")  # they are printed
def test_an_unknown_projection_has_neither_coordinates_nor_crs(forecast, tmp_path):
    pytest.importorskip("h5py")
    folder = write_composites(tmp_path / "rmi", BELGIUM | {"projdef": np.bytes_("+proj=martian +lon_0=4")})
    coming, err = written(forecast, tmp_path, folder)
    assert {"x", "y", "crs"}.isdisjoint(coming.variables)
    assert (
        err.count("the forecast has no coordinates: the projection '+proj=martian +lon_0=4' is not known to PROJ") == 1
    )
    assert Archive(folder, progress=False).describe()["projection"] is None

"""Forecasts from addresses, and in formats for other programs, by the command line."""

import json

from convlstm.cli.configuration import CONFIGS
from convlstm.cli.ignored_keys import say_ignored
from convlstm.writers import Place, write
from tests.support.forecasts import OPERA, example
from tests.support.loopback import served

import numpy as np
import pytest
import yaml

pytest.importorskip("zarr")
pytest.importorskip("pyproj")


@pytest.fixture
def store(tmp_path, rng):
    """Returns the folder of a store of three frames of 8x12 pixels."""
    return write(tmp_path / "site" / "rain.zarr", example(rng))


def test_the_input_is_an_address(forecast, tmp_path, store, monkeypatch):
    pytest.importorskip("aiohttp")
    monkeypatch.setenv("CONVLSTM_DATA", str(tmp_path / "data"))
    with served(store.parent) as (address, _, _):
        line = (f"input={address}/rain.zarr", "reader=null", f"out={tmp_path}/f.npy")
        status, out, err = forecast(*line, "ckpt=null", "model=persistence", "horizon=1")
        assert (status, err) == (0, "")
        assert "to 2024-02-01 00:05 UTC" in out
        about = json.loads((tmp_path / "f.json").read_text())
        assert about["provenance"]["input"] == f"{address}/rain.zarr"
        status, _, err = forecast(*line, "watch=true")
        assert status == 1
        assert "'watch' follows files on this machine, but 'input' is the address" in err
    status, _, err = forecast(*line)  # the server is gone
    assert status != 0
    assert "cannot be read" in err
    assert "Check the address and the network" in err


def test_attributes_and_formats_for_others(forecast, tmp_path, store):
    rasterio = pytest.importorskip("rasterio")
    netcdf = pytest.importorskip("netCDF4")
    line = (f"input={store}", "reader=null", "horizon=2", f"out={tmp_path}/out")
    about = "attributes={license: CC-BY-4.0, institution: A Service}"
    status, _, err = forecast(*line, about, "format=[netcdf,geotiff,geotiff_frames]")
    assert (status, err) == (0, "")
    name = "forecast_20240201T000500"
    with netcdf.Dataset(tmp_path / "out" / f"{name}.nc") as file:
        assert (file.license, file.institution) == ("CC-BY-4.0", "A Service")
    with rasterio.open(tmp_path / "out" / f"{name}.tif") as file:
        assert (file.count, file.tags()["institution"]) == (2, "A Service")
    files = sorted(path.name for path in (tmp_path / "out" / f"{name}_geotiff").iterdir())
    assert files == ["rain_rate_20240201T001000Z.tif", "rain_rate_20240201T001500Z.tif"]
    status, _, err = forecast(*line, "format=[zarr,mlcast]")
    assert status == 1
    assert "'format' must not have both zarr and mlcast, whose files end with .zarr" in err
    status, _, err = forecast(*line, "attributes=[a]")
    assert status == 1
    assert "'attributes' must be names and texts" in err


def test_pictures_have_no_attributes(capsys):
    settings = yaml.safe_load((CONFIGS / "forecast.yaml").read_text()) | {"attributes": {"license": "CC-BY-4.0"}}
    options = {"clip": False, "is_file": True, "units": "mm/h"}
    say_ignored(settings, formats=["gif", "netcdf"], **options)
    assert capsys.readouterr().out == ""
    say_ignored(settings, formats=["gif", "png"], **options)
    assert ": only files of numbers have attributes, but gif, png is written" in capsys.readouterr().out


def test_xarray_rioxarray_and_gdal_agree(tmp_path, rng):
    """Places, times and members of one forecast, as each library reads them from NetCDF, Zarr and GeoTIFF."""
    xarray = pytest.importorskip("xarray")
    rasterio = pytest.importorskip("rasterio")
    pytest.importorskip("netCDF4")
    given = example(rng)
    swiss = "+proj=somerc +lat_0=46.95 +lon_0=7.44 +x_0=600000 +y_0=200000 +ellps=bessel"
    for n, projection in enumerate((OPERA, swiss)):
        place = Place.of((8, 12), (100_000, 200_000, 124_000, 216_000), projection=projection)
        members = rng.gamma(1, 2, (2, 3, 8, 12)).astype(np.float32)
        made = type(given)(members.mean(0), "mm/h", issued=given.issued, step=5.0, place=place, members=members)
        paths = [write(tmp_path / f"{n}{ending}", made) for ending in (".nc", ".zarr", ".tif")]
        with rasterio.open(paths[2]) as file:
            tags = [file.tags(band) for band in range(1, file.count + 1)]
            bands, transform, crs = file.read(), file.transform, file.crs
        for path, engine in zip(paths, ("netcdf4", "zarr"), strict=False):
            with xarray.open_dataset(path, decode_coords="all", decode_timedelta=False, engine=engine) as dataset:
                dx, _, left, _, dy, top = transform[:6]
                np.testing.assert_array_equal(dataset.x, left + dx * (np.arange(12) + 0.5))
                np.testing.assert_array_equal(dataset.y, top + dy * (np.arange(8) + 0.5))
                assert rasterio.crs.CRS.from_wkt(dataset.crs.attrs["crs_wkt"]) == crs
                for band, about in zip(bands, tags, strict=True):
                    moment = np.datetime64(about["valid_time"].removesuffix("Z"))
                    variable = dataset[about["variable"]].sel(time=moment)
                    if "realization" in about:
                        variable = variable.sel(realization=int(about["realization"]))
                    np.testing.assert_array_equal(variable, band)
                    assert float(dataset.lead_time.sel(time=moment)) == float(about["lead_time_minutes"])

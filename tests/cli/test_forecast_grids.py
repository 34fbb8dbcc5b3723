"""Frames of other steps, pixels, places and units than in training."""

from convlstm.datasets.archives.newest_frames import NewestFrames
from convlstm.writers import Forecast, Place, write
from tests.support.forecast_runs import RAIN, stored, write_run
from tests.support.radar_archives import START, write_pictures
from tests.support.radar_files import open_file

import numpy as np
import pytest

# A scale that keeps all rain but the weakest.
WIDE = {"minimum": 1e-4, "maximum": 1e4}


def netCDF4_dataset(path):
    import netCDF4

    return netCDF4.Dataset(path)


def netcdf_stack(path, shape=(24, 32), pixel=1000.0, frames=4, step=5.0):
    """Writes a stack of frames on the Swiss grid with the project's own writer, and returns its values."""
    values = np.arange(frames, dtype=np.float32)[:, None, None] + np.linspace(0.5, 2, shape[1], dtype=np.float32)
    values = np.ascontiguousarray(np.broadcast_to(values, (frames, *shape)))
    extent = (600_000.0, 200_000.0, 600_000.0 + shape[1] * pixel, 200_000.0 + shape[0] * pixel)
    place = Place.of(shape, extent, projection="+proj=somerc +lat_0=46.95 +lon_0=7.44 +ellps=bessel")
    write(path, Forecast(values, "mm/h", issued=START, step=step, place=place))
    return values


def test_the_step_of_training_is_kept_if_the_archive_has_it(forecast, tmp_path):
    write_pictures(tmp_path / "radar", 8, step=2.5)
    status, out, err = forecast("format=npy")
    assert (status, err) == (0, "")
    assert "from 2020-06-01 00:07:30 to 2020-06-01 00:17:30 UTC, 5 min apart" in out
    assert stored(tmp_path / "out", "forecast_20200601T001730")[1]["lead_minutes"] == [5, 10, 15, 20]


@pytest.mark.filterwarnings("default")  # they are printed
def test_another_step_gives_a_warning(forecast, tmp_path):
    write_pictures(tmp_path / "radar", 6, step=10)
    status, _, err = forecast("format=npy")
    assert status == 0
    assert "the frames are 10 min apart, but the model was trained on steps of 5 min" in err
    status, out, err = forecast("format=npy", "step=20")
    assert (status, err) == (0, "")
    assert "20 min apart" in out


def test_pixels_become_those_of_training_and_keep_their_place(forecast, tmp_path):
    pytest.importorskip("netCDF4")
    values = netcdf_stack(tmp_path / "stack.nc")
    run = write_run(tmp_path / "run", trained={**RAIN, "pixel_km": 2.0})
    arguments = (f"ckpt={run}", f"input={tmp_path}/stack.nc", f"out={tmp_path}/out.nc", "reader=null", "horizon=1")
    status, out, err = forecast(*arguments)
    assert (status, err) == (0, "")
    assert "24x32 pixels, 2x2 averaged to one: 12x16" in out
    reader, contents = open_file(tmp_path / "out.nc")
    assert contents.grid.extent == pytest.approx((600_000, 200_000, 632_000, 224_000))
    assert contents.grid.pixel_size == pytest.approx((2000, 2000))
    expected = values[-1].reshape(12, 2, 16, 2).mean((1, 3))
    np.testing.assert_allclose(reader.read(tmp_path / "out.nc", 0), expected, rtol=1e-5)

    status, _, err = forecast(*arguments, "coarsen=1", "crop=[4,8,10,20]")
    assert (status, err) == (0, "")
    reader, contents = open_file(tmp_path / "out.nc")
    assert contents.grid.extent == pytest.approx((608_000, 210_000, 628_000, 220_000))
    np.testing.assert_allclose(reader.read(tmp_path / "out.nc", 0), values[-1][4:14, 8:28], rtol=1e-5)


@pytest.mark.filterwarnings("default")  # the step of bom_66 is not that of the run
@pytest.mark.parametrize(
    ("event", "issued", "coarsen", "step"),
    [
        ("knmi_20100826", "2010-08-26T07:35", 2, 5),
        ("bom_66_c10_20201031", "2020-10-31T23:50", 4, 10),
        ("mch/20150515", "2015-05-15T19:00", 2, 5),
        ("fmi_pgm/20160928", "2016-09-28T18:00", 2, 5),
    ],
)
def test_real_events_keep_time_place_and_orientation(forecast, tmp_path, radar_root, event, issued, coarsen, step):
    pytest.importorskip("netCDF4")
    pytest.importorskip("h5py")
    run = write_run(tmp_path / "run", trained={**RAIN, "pixel_km": 2.0, "transform": {"name": "LogRain", **WIDE}})
    arguments = (f"ckpt={run}", f"input={radar_root / event}", f"out={tmp_path}/out.nc", "reader=null", "horizon=2")
    status, _, _ = forecast(*arguments)
    assert status == 0
    reader, contents = open_file(tmp_path / "out.nc")
    end = np.datetime64(issued, "s")
    np.testing.assert_array_equal(contents.times, end + np.array([step, 2 * step]) * np.timedelta64(60, "s"))

    recent = NewestFrames(radar_root / event)
    recent.look()
    source = recent.grid
    window, _ = recent.window(1, step, until=end, coarsen=coarsen)
    height, width = (side // coarsen for side in source.shape)
    x_min, y_min, x_max, y_max = source.extent
    dy, dx = (y_max - y_min) / source.shape[0], (x_max - x_min) / source.shape[1]
    # The rest of a division by `coarsen` is cut off in the south and the east.
    expected = (x_min, y_max - height * coarsen * dy, x_min + width * coarsen * dx, y_max)
    assert contents.grid.extent == pytest.approx(expected, abs=1e-3)
    # Persistence repeats the last frame; NaN means that none of the three frames has a value.
    stored, last = reader.read(tmp_path / "out.nc", 0), window.frames[0]
    known = np.isfinite(last)
    np.testing.assert_allclose(stored[known], last[known], rtol=1e-4, atol=1.1e-4)
    with netCDF4_dataset(tmp_path / "out.nc") as file:
        mapping = file[file["rain_rate"].grid_mapping]
        if source.coordinates:
            copied = next(coordinate for coordinate in source.coordinates if not coordinate.dimensions)
            assert mapping.longitude_of_central_meridian == copied.attributes["longitude_of_central_meridian"]
            assert file["x"].units == "km"
        else:
            assert mapping.proj4_params == source.projection


@pytest.mark.filterwarnings("default")  # they are printed
def test_pixels_of_another_size_give_a_warning(forecast, tmp_path):
    pytest.importorskip("netCDF4")
    netcdf_stack(tmp_path / "stack.nc", pixel=3000.0)
    run = write_run(tmp_path / "run", trained={**RAIN, "pixel_km": 2.0})
    status, _, err = forecast(f"ckpt={run}", f"input={tmp_path}/stack.nc", "reader=null", "format=npy")
    assert status == 0
    assert "the pixels are 3 km wide, but the model was trained on pixels of 2 km" in err
    write_pictures(tmp_path / "radar", 6)
    status, _, err = forecast(f"ckpt={run}", "format=npy")
    assert status == 0
    assert "the size of the pixels is not known, but the model was trained on pixels of 2 km" in err


def test_a_crop_outside_is_refused(forecast, tmp_path):
    write_pictures(tmp_path / "radar", 6)
    status, _, err = forecast("crop=[0,0,41,10]")
    assert status == 1
    assert "'crop' must lie within frames of 40x48 but got [0, 0, 41, 10]" in err


def test_input_of_other_units_is_refused(forecast, tmp_path):
    write_pictures(tmp_path / "radar", 6)
    status, _, err = forecast("reader={units: raw}")
    assert status == 1
    assert "the model forecasts mm/h but the input is in raw" in err


def test_the_reader_of_training_is_taken_unless_another_is_given(forecast, tmp_path):
    write_pictures(tmp_path / "radar", 6)
    section = {"format": "png", "reader": {"units": "mm/h", "scale": 0.2, "missing": 255}, "coarsen": 4}
    run = write_run(tmp_path / "run", section=section)
    assert forecast(f"ckpt={run}", "reader=null", "format=npy")[0] == 0
    values, _ = stored(tmp_path / "out")
    assert values.shape == (4, 10, 12)  # pixels have no size: those of training are 4 x 4 of the files'
    assert values[0, 0, 0] == pytest.approx(1.2)
    assert forecast(f"ckpt={run}", "format=npy", "coarsen=1")[0] == 0
    assert stored(tmp_path / "out")[0][0, 0, 0] == pytest.approx(0.6)


def test_reflectivity_becomes_rain_by_zr(forecast, tmp_path):
    write_pictures(tmp_path / "radar", 3)
    reader = "reader={units: dBZ, scale: 5, offset: 20}"
    assert forecast(reader, "format=npy")[0] == 0
    marshall = stored(tmp_path / "out", "forecast_20200601T001000")[0][0, 0, 0]
    assert marshall == pytest.approx((10**3.5 / 200) ** (1 / 1.6), rel=1e-4)
    assert forecast(reader, "format=npy", "zr=[300,1.4]")[0] == 0
    assert stored(tmp_path / "out", "forecast_20200601T001000")[0][0, 0, 0] == pytest.approx(
        (10**3.5 / 300) ** (1 / 1.4), rel=1e-4
    )

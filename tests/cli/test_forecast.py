"""forecast.py: which frames it takes, what it writes, and how it follows a folder."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from convlstm.datasets.archives.newest_frames import NewestFrames
from convlstm.writers import Place
from tests.support.forecast_runs import ENCODER, RAIN, write_run
from tests.support.radar_archives import SHAPE, START, picture, time_of, write_picture, write_pictures
from tests.support.radar_files import open_file
from tests.support.tiny import PROJECT, call, environment

import numpy as np
import pytest
from PIL import Image

# A scale that keeps all rain but the weakest.
WIDE = {"minimum": 1e-4, "maximum": 1e4}
READER = "reader={units: mm/h, scale: 0.1, missing: 255}"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A checkpoint of persistence: what it forecasts is the last frame that it was given."""
    return write_run(tmp_path_factory.mktemp("runs") / "last")


@pytest.fixture
def forecast(monkeypatch, capsys, run, tmp_path):
    """The door, with the run, the archive `radar` of pictures, and `out` in the test's folder."""

    def door(*arguments):
        line = {"ckpt": str(run), "input": str(tmp_path / "radar"), "out": str(tmp_path / "out")}
        line = {key: value for key, value in line.items() if not any(a.startswith(f"{key}=") for a in arguments)}
        reader = () if any(a.startswith("reader") for a in arguments) else (READER,)
        return call("forecast", monkeypatch, capsys, *(f"{k}={v}" for k, v in line.items()), *reader, *arguments)

    return door


def netCDF4_dataset(path):
    import netCDF4

    return netCDF4.Dataset(path)


def stored(path, name="forecast_20200601T002500"):
    return np.load(path / f"{name}.npy"), json.loads((path / f"{name}.json").read_text())


def test_the_latest_frames_become_a_netcdf(forecast, tmp_path, run):
    pytest.importorskip("netCDF4")
    write_pictures(tmp_path / "radar", 6)
    status, out, err = forecast()
    assert (status, err) == (0, "")
    assert "3 frames from 2020-06-01 00:15 to 2020-06-01 00:25 UTC, 5 min apart; 40x48 pixels" in out
    path = tmp_path / "out" / "forecast_20200601T002500.nc"
    reader, contents = open_file(path)
    np.testing.assert_array_equal(contents.times, [time_of(n) for n in range(6, 10)])
    np.testing.assert_allclose(reader.read(path, 3), picture(5) / 10, rtol=1e-5)


def test_horizon_and_file(forecast, tmp_path):
    write_pictures(tmp_path / "radar", 6)
    assert forecast("horizon=2", f"out={tmp_path}/mine.npy")[0] == 0
    values, told = stored(tmp_path, "mine")
    assert values.shape == (2, *SHAPE)
    assert told["lead_minutes"] == [5, 10]
    assert told["provenance"]["step"] == 7
    assert told["provenance"]["input"] == str(tmp_path / "radar")


def test_several_formats_at_once(forecast, tmp_path):
    pytest.importorskip("zarr")
    write_pictures(tmp_path / "radar", 6)
    status, out, _ = forecast("format=[npy,png,gif,zarr]", "horizon=1")
    assert status == 0
    name = "forecast_20200601T002500"
    names = {f"{name}.npy", f"{name}.json", f"{name}_frames", f"{name}.gif", f"{name}.zarr"}
    assert {p.name for p in (tmp_path / "out").iterdir()} == names
    assert f"{name}.gif" in out
    assert forecast("format=[npy,gif]", "horizon=1", f"out={tmp_path}/mine.npy")[0] == 0
    assert (tmp_path / "mine.gif").is_file()


def test_out_is_in_the_run_s_folder_by_default(forecast, tmp_path):
    write_pictures(tmp_path / "radar", 6)
    own = write_run(tmp_path / "own")
    assert forecast("out=null", f"ckpt={own}", "format=npy")[0] == 0
    assert (own / "forecasts" / "forecast_20200601T002500.npy").is_file()


def test_a_gap_is_interpolated_and_told(forecast, tmp_path):
    paths = write_pictures(tmp_path / "radar", 6)
    paths[4].unlink()
    status, out, _ = forecast("format=npy", f"ckpt={write_run(tmp_path / 'e', ENCODER)}")
    assert status == 0
    assert "missing     2020-06-01 00:20 UTC: interpolated in time" in out


def test_too_many_gaps_are_no_forecast(forecast, tmp_path):
    for index in (3, 4, 5, 10):
        write_picture(tmp_path / "radar", index, picture(index))
    status, _, err = forecast("max_gap=1")
    assert status == 1
    assert "2 of the 3 frames up to 2020-06-01 00:50 are missing (2020-06-01 00:40, 2020-06-01 00:45)" in err
    assert "more than max_gap=1" in err
    assert forecast("max_gap=2", "format=npy")[0] == 0


def test_missing_pixels_are_told_and_stay_missing(forecast, tmp_path):
    for index in range(4):
        pixels = picture(index)
        pixels[:, :12] = 255
        write_picture(tmp_path / "radar", index, pixels)
    status, out, _ = forecast("format=npy")
    assert status == 0
    assert "missing     25.0% of the input's pixels, 25.0% in all frames" in out
    values, _ = stored(tmp_path / "out", "forecast_20200601T001500")
    assert np.isnan(values[:, :, :12]).all()
    assert np.isfinite(values[:, :, 12:]).all()


def test_a_truncated_newest_frame_is_left_out(forecast, tmp_path):
    paths = write_pictures(tmp_path / "radar", 6)
    paths[-1].write_bytes(paths[-1].read_bytes()[:60])
    status, out, _ = forecast("format=npy")
    assert status == 0
    assert f"not used    {paths[-1].name}" in out
    values, _ = stored(tmp_path / "out", "forecast_20200601T002000")
    np.testing.assert_allclose(values[0], picture(4) / 10, rtol=1e-5)


def test_the_step_of_training_is_kept_where_the_archive_has_it(forecast, tmp_path):
    write_pictures(tmp_path / "radar", 8, step=2.5)
    status, out, err = forecast("format=npy")
    assert (status, err) == (0, "")
    assert "from 2020-06-01 00:07:30 to 2020-06-01 00:17:30 UTC, 5 min apart" in out
    assert stored(tmp_path / "out", "forecast_20200601T001730")[1]["lead_minutes"] == [5, 10, 15, 20]


@pytest.mark.filterwarnings("default")  # the door prints them
def test_another_step_is_warned_of(forecast, tmp_path):
    write_pictures(tmp_path / "radar", 6, step=10)
    status, _, err = forecast("format=npy")
    assert status == 0
    assert "the frames are 10 min apart, but the model was trained on steps of 5 min" in err
    status, out, err = forecast("format=npy", "step=20")
    assert (status, err) == (0, "")
    assert "20 min apart" in out


def netcdf_stack(path, shape=(24, 32), pixel=1000.0, frames=4, step=5.0):
    """A stack that the project's own writer has written, with a place on the Swiss grid."""
    from convlstm.writers import Forecast, write

    values = np.arange(frames, dtype=np.float32)[:, None, None] + np.linspace(0.5, 2, shape[1], dtype=np.float32)
    values = np.ascontiguousarray(np.broadcast_to(values, (frames, *shape)))
    extent = (600_000.0, 200_000.0, 600_000.0 + shape[1] * pixel, 200_000.0 + shape[0] * pixel)
    place = Place.of(shape, extent, projection="+proj=somerc +lat_0=46.95 +lon_0=7.44 +ellps=bessel")
    write(path, Forecast(values, "mm/h", issued=START, step=step, place=place))
    return values


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
    # What is beyond a multiple of `coarsen`, in the south and the east, is cut off.
    expected = (x_min, y_max - height * coarsen * dy, x_min + width * coarsen * dx, y_max)
    assert contents.grid.extent == pytest.approx(expected, abs=1e-3)
    # The last frame again, and NaN where no frame of the three has a value.
    stored, last = reader.read(tmp_path / "out.nc", 0), window.frames[0]
    known = np.isfinite(last)
    np.testing.assert_allclose(stored[known], last[known], rtol=1e-4, atol=1.1e-4)
    with netCDF4_dataset(tmp_path / "out.nc") as file:
        assert file["crs"].proj4_params == source.projection


@pytest.mark.filterwarnings("default")  # the door prints them
def test_pixels_of_another_size_are_warned_of(forecast, tmp_path):
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


def digits(tmp_path):
    return write_run(
        tmp_path / "digits", trained={"name": "moving_mnist", "input_frames": 3, "target_frames": 2, "frame_shape": 8}
    )


def test_a_stack_without_times_is_forecast_too(forecast, tmp_path, rng):
    frames = rng.integers(0, 256, (5, 16, 12)).astype(np.uint8)
    frames[-1, 0, 0] = 255
    np.save(tmp_path / "digits.npy", frames)
    arguments = (f"ckpt={digits(tmp_path)}", f"input={tmp_path}/digits.npy", "reader=null", "format=npy")
    status, out, _ = forecast(*arguments)
    assert status == 0
    assert "the last 3 of 5 frames of 16x12, without times" in out
    assert "count as" not in out
    values, told = stored(tmp_path / "out", "digits_forecast")
    np.testing.assert_allclose(values[..., 0], np.repeat(frames[-1:], 2, 0) / 255, rtol=1e-6)
    assert told["times"] is None
    assert forecast(*arguments, "white=510", "crop=[0,0,8,8]")[0] == 0
    values, _ = stored(tmp_path / "out", "digits_forecast")
    np.testing.assert_allclose(values[0, ..., 0], frames[-1, :8, :8] / 510, rtol=1e-6)


def test_a_stack_without_times_counts_as_the_model_s_units(forecast, tmp_path):
    np.save(tmp_path / "rain.npy", np.full((4, 8, 8), 7.5))
    status, out, _ = forecast(f"input={tmp_path}/rain.npy", "reader=null", "format=npy", "step=5")
    assert status == 0
    assert "without times, with values in mm/h" in out
    values, told = stored(tmp_path / "out", "rain_forecast")
    np.testing.assert_allclose(values[..., 0], 7.5, rtol=1e-5)
    assert told["lead_minutes"] == [5, 10, 15, 20]
    assert told["times"] is None


def test_a_video_is_read_by_mlx_data(forecast, tmp_path):
    stills = [Image.fromarray(np.full((16, 24), 40 * n, np.uint8)) for n in range(6)]
    stills[0].save(tmp_path / "film.gif", save_all=True, append_images=stills[1:], duration=100)
    status, out, _ = forecast(f"ckpt={digits(tmp_path)}", f"input={tmp_path}/film.gif", "reader=null", "format=npy")
    assert status == 0
    assert "the last 3 of 6 frames of 16x24" in out
    values, _ = stored(tmp_path / "out", "film_forecast")
    np.testing.assert_allclose(values, 200 / 255, atol=0.01)


def test_a_video_that_is_none_says_so(forecast, tmp_path):
    (tmp_path / "film.mp4").write_bytes(b"no film")
    status, _, err = forecast(f"ckpt={digits(tmp_path)}", f"input={tmp_path}/film.mp4", "reader=null")
    assert status == 1
    assert "cannot be read as a video" in err


def test_too_short_a_clip_is_refused(forecast, tmp_path):
    np.save(tmp_path / "digits.npy", np.zeros((2, 8, 8)))
    status, _, err = forecast(f"ckpt={digits(tmp_path)}", f"input={tmp_path}/digits.npy", "reader=null")
    assert status == 1
    assert "has 2 frames, but the model forecasts from 3" in err


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("ckpt=null", "'ckpt' must name a run's folder"),
        ("input=null", "'input' must name a folder of frames, a file or a video"),
        ("out=true", "'out' must be a path but got True"),
        ("out=mine.png", "'out' must end with .nc, .zarr, .npy, .gif, or be a folder, but got 'mine.png'"),
        ("horizon=0", "'horizon' must be a whole number from 1 to 10,000 but got 0"),
        ("coarsen=0.5", "'coarsen' must be a whole number from 1"),
        ("max_gap=null", "'max_gap' must be a whole number from 0"),
        ("tile=4", "'tile' must be a whole number from 8"),
        ("overlap=-1", "'overlap' must be a whole number from 0"),
        ("forecasts=0", "'forecasts' must be a whole number from 1"),
        ("step=-5", "'step' must be a number above 0 but got -5"),
        ("white=0", "'white' must be a number above 0"),
        ("interval=null", "'interval' must be a number above 0"),
        ("watch=often", "'watch' must be true or false"),
        ("ema=1", "'ema' must be true or false"),
        ("format=tiff", "'format' must be auto, one of netcdf, zarr, npy, png, gif, or a list of them but got 'tiff'"),
        ("format=[]", "'format' must be auto, one of"),
        ("crop=[1,2]", "'crop' must be [top, left, height, width]"),
        ("input_format=[png]", "'input_format' must be auto or a format"),
        ("reader=dBZ", "'reader' must be options such as"),
        ("trusted=mine", "'trusted' must be a list of packages"),
        ("lead=3", "lead"),
    ],
)
def test_values_that_do_not_fit_are_named(forecast, tmp_path, argument, said):
    (tmp_path / "radar").mkdir()
    status, _, err = forecast(argument)
    assert status == 1
    assert said in err
    assert not (tmp_path / "out").exists()


def test_an_empty_or_absent_input_is_named(forecast, tmp_path):
    status, _, err = forecast()
    assert status == 1
    assert "does not exist. Check the path" in err
    (tmp_path / "radar").mkdir()
    status, _, err = forecast()
    assert status == 1
    assert "no frame in" in err


@pytest.mark.parametrize("out", ["radar", "radar/forecasts", "radar/forecast.nc", "link/forecast.npy"])
def test_a_forecast_is_not_written_among_the_frames_that_it_is_made_from(forecast, tmp_path, out):
    write_pictures(tmp_path / "radar", 6)
    (tmp_path / "link").symlink_to(tmp_path / "radar")
    before = sorted((tmp_path / "radar").iterdir())
    status, _, err = forecast(f"out={tmp_path}/{out}")
    assert status == 1
    assert "'out' must lie outside of 'input', or the next forecast would start from this one" in err
    assert sorted((tmp_path / "radar").iterdir()) == before


def test_the_input_is_not_overwritten(forecast, tmp_path):
    np.save(tmp_path / "digits.npy", np.zeros((4, 8, 8)))
    status, _, err = forecast(f"ckpt={digits(tmp_path)}", f"input={tmp_path}/digits.npy", f"out={tmp_path}/digits.npy")
    assert status == 1
    assert "'out' must lie outside of 'input'" in err
    assert np.load(tmp_path / "digits.npy").shape == (4, 8, 8)


def test_what_is_no_forecast_is_not_overwritten(forecast, tmp_path):
    write_pictures(tmp_path / "radar", 6)
    np.save(tmp_path / "mine.npy", np.arange(9))
    status, out, err = forecast(f"out={tmp_path}/mine.npy")
    assert (status, out) == (1, "")
    assert f"out: '{tmp_path}/mine.npy': there is a file that is no forecast of this program" in err
    assert np.load(tmp_path / "mine.npy").tolist() == list(range(9))


def test_paths_with_spaces_letters_and_signs(forecast, tmp_path):
    write_pictures(tmp_path / "my räd=ar (1)", 6)
    assert forecast(f"input={tmp_path}/my räd=ar (1)", f"out={tmp_path}/für=mich 'x'.npy", "horizon=1")[0] == 0
    assert np.load(tmp_path / "für=mich 'x'.npy").shape == (1, *SHAPE)


def test_a_single_frame_is_no_forecast(forecast, tmp_path):
    write_picture(tmp_path / "radar", 3, picture(3))
    status, _, err = forecast("step=5")
    assert status == 1
    assert "a single frame so far, that of 2020-06-01 00:15. Wait for more." in err


def test_a_dark_film_is_dark(forecast, tmp_path):
    stills = [Image.fromarray(np.full((16, 24), n % 2, np.uint8)) for n in range(5)]
    stills[0].save(tmp_path / "film.gif", save_all=True, append_images=stills[1:])
    status, _, _ = forecast(f"ckpt={digits(tmp_path)}", f"input={tmp_path}/film.gif", "reader=null", "format=npy")
    assert status == 0
    assert stored(tmp_path / "out", "film_forecast")[0].max() <= 2 / 255


def test_what_a_clip_cannot_be(forecast, tmp_path):
    np.save(tmp_path / "digits.npy", np.zeros((4, 8, 8)))
    line = (f"ckpt={digits(tmp_path)}", f"input={tmp_path}/digits.npy", "reader=null")
    status, _, err = forecast(*line, "watch=true")
    assert status == 1
    assert "'watch' must be false for" in err
    status, _, err = forecast(*line, "crop=[4,0,5,8]")
    assert status == 1
    assert "'crop' must lie within frames of 8x8 but got [4, 0, 5, 8]" in err


def test_a_checkpoint_is_no_member_twice(forecast, tmp_path, run):
    write_pictures(tmp_path / "radar", 6)
    status, _, err = forecast(f"ckpt=[{run},{run}/checkpoints/best]", "ensemble=true")
    assert status == 1
    assert "are the same: its forecast would count twice" in err


def test_watching_forecasts_each_usable_frame_and_tells_of_the_others(forecast, tmp_path):
    radar = tmp_path / "radar"
    write_pictures(radar, 3)
    whole = write_picture(tmp_path / "aside", 4, picture(4)).read_bytes()

    def written(index):
        """Waits for the forecast of a frame."""
        name = f"forecast_{str(time_of(index)).replace('-', '').replace(':', '')}.npy"
        end = time.monotonic() + 60
        while not (tmp_path / "out" / name).exists():
            assert time.monotonic() < end, name
            time.sleep(0.01)
        return tmp_path / "out" / name

    failures = []

    def services():
        try:
            written(2)
            write_picture(radar, 3, picture(3))
            written(3)
            cut = radar / "202006010020.png"
            cut.write_bytes(whole[:60])  # frame 4, never completed
            write_picture(radar, 6, picture(6))  # frame 5 is late
            before = written(6).stat().st_mtime_ns
            write_picture(radar, 5, picture(5))
            end = time.monotonic() + 60
            while written(6).stat().st_mtime_ns == before:
                assert time.monotonic() < end
                time.sleep(0.01)
            write_picture(radar, 7, picture(7))
            written(7)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=services)
    thread.start()
    status, out, err = forecast("watch=true", "interval=0.05", "format=npy", "forecasts=5")
    thread.join()
    assert not failures
    assert (status, err) == (0, "")
    assert "not used    202006010020.png" in out
    assert "late        the frame of 2020-06-01 00:25, after that of 2020-06-01 00:30: its forecast is made" in out
    assert "ended       after 5 forecasts" in out
    last = np.load(written(7))
    np.testing.assert_allclose(last[0], picture(7) / 10, rtol=1e-5)


def test_watching_begins_with_a_single_frame(forecast, tmp_path):
    """Of a model that was trained on unknown steps."""
    radar = tmp_path / "radar"
    write_picture(radar, 0, picture(0))
    run = write_run(tmp_path / "run", trained={**RAIN, "frame_interval": None})

    def services():
        while not (tmp_path / "out").exists():
            time.sleep(0.01)
        time.sleep(1)  # until it has looked
        write_picture(radar, 1, picture(1))

    thread = threading.Thread(target=services)
    thread.start()
    status, out, _ = forecast("watch=true", "interval=0.05", "format=npy", "forecasts=1", f"ckpt={run}")
    thread.join()
    assert status == 0
    assert "no forecast a single frame so far" in out
    assert "missing     2020-05-31 23:55 UTC: interpolated in time" in out
    assert (tmp_path / "out" / "forecast_20200601T000500.npy").is_file()


def test_a_frame_that_comes_much_too_late_is_told_and_left(forecast, tmp_path):
    radar = tmp_path / "radar"
    for index in range(4, 8):
        write_picture(radar, index, picture(index))

    def services():
        first = tmp_path / "out" / "forecast_20200601T003500.npy"
        while not first.exists():
            time.sleep(0.01)
        write_picture(radar, 0, picture(0))
        time.sleep(0.5)
        write_picture(radar, 8, picture(8))

    thread = threading.Thread(target=services)
    thread.start()
    status, out, _ = forecast("watch=true", "interval=0.05", "format=npy", "forecasts=2")
    thread.join()
    assert status == 0
    assert "late        the frame of 2020-06-01 00:00, after that of 2020-06-01 00:35: too old to be used" in out


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_is_flat_over_five_hundred_frames(tmp_path):
    radar, out = tmp_path / "radar", tmp_path / "out"
    write_pictures(radar, 3, shape=(128, 128))
    run = write_run(tmp_path / "run", ENCODER)
    line = [sys.executable, "forecast.py", f"ckpt={run}", f"input={radar}", f"out={out}", READER, "format=npy"]
    line += ["watch=true", "interval=0.02"]
    with (tmp_path / "log").open("w") as log:
        program = subprocess.Popen(line, cwd=PROJECT, env=environment(), stdout=log, stderr=log)
        try:
            sizes, slowest = [], 0.0
            for index in range(2, 503):
                started = time.monotonic()
                if index > 2:
                    path = write_picture(tmp_path / "aside", index, picture(index % 200, (128, 128)))
                    path.rename(radar / path.name)
                name = f"forecast_{str(time_of(index)).replace('-', '').replace(':', '')}.npy"
                while not (out / name).exists():
                    assert program.poll() is None, (tmp_path / "log").read_text()
                    assert time.monotonic() - started < 120, (tmp_path / "log").read_text()
                    time.sleep(0.005)
                slowest = max(slowest, time.monotonic() - started) if index > 2 else 0.0
                if index % 50 == 0:
                    pages = Path(f"/proc/{program.pid}/statm").read_text().split()[1]
                    sizes.append(int(pages) * os.sysconf("SC_PAGE_SIZE"))
        finally:
            program.send_signal(signal.SIGINT)
            program.wait(60)
    assert "after 501 forecasts" in (tmp_path / "log").read_text()
    print(f"resident MB every 50 frames: {[round(size / 1e6) for size in sizes]}, slowest {slowest:.2f} s")
    assert max(sizes[2:]) - sizes[1] < 16e6, sizes

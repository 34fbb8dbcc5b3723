"""Forecasts from the newest frames: the files that are written, gaps, and values that are refused."""

import signal
import time
from types import SimpleNamespace

from convlstm.checkpoints import seal
from convlstm.cli import forecast_watch
from convlstm.forecasting.forecaster import Forecaster
from tests.support.forecast_runs import ENCODER, digits, stored, write_run
from tests.support.radar_archives import SHAPE, picture, time_of, write_picture, write_pictures
from tests.support.radar_files import open_file

import mlx.core as mx
import numpy as np
import pytest


def test_the_latest_frames_become_a_netcdf(forecast, tmp_path, persistence):
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
    values, description = stored(tmp_path, "mine")
    assert values.shape == (2, *SHAPE)
    assert description["lead_minutes"] == [5, 10]
    assert description["provenance"]["step"] == 7
    assert description["provenance"]["input"] == str(tmp_path / "radar")


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


def test_paths_with_spaces_letters_and_signs(forecast, tmp_path):
    write_pictures(tmp_path / "my räd=ar (1)", 6)
    assert forecast(f"input={tmp_path}/my räd=ar (1)", f"out={tmp_path}/für=mich 'x'.npy", "horizon=1")[0] == 0
    assert np.load(tmp_path / "für=mich 'x'.npy").shape == (1, *SHAPE)


def test_a_gap_is_interpolated_and_reported(forecast, tmp_path):
    paths = write_pictures(tmp_path / "radar", 6)
    paths[4].unlink()
    status, out, _ = forecast("format=npy", f"ckpt={write_run(tmp_path / 'e', ENCODER)}")
    assert status == 0
    assert "missing     2020-06-01 00:20 UTC: interpolated in time" in out


def test_too_many_gaps_are_no_forecast(forecast, tmp_path):
    for index in (3, 4, 5, 10):
        write_picture(tmp_path / "radar", index, picture(index))
    status, _, err = forecast("max_gap=1")
    assert status == 3
    assert "2 of the 3 frames up to 2020-06-01 00:50 are missing (2020-06-01 00:40, 2020-06-01 00:45)" in err
    assert "more than max_gap=1" in err
    assert forecast("max_gap=2", "format=npy")[0] == 0


def test_missing_pixels_are_reported_and_stay_missing(forecast, tmp_path):
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


def test_a_single_frame_is_no_forecast(forecast, tmp_path):
    write_picture(tmp_path / "radar", 3, picture(3))
    status, _, err = forecast("step=5")
    assert status == 3
    assert "a single frame so far, that of 2020-06-01 00:15. Wait for more." in err


@pytest.mark.parametrize(
    ("argument", "text"),
    [
        ("ckpt=null", "'ckpt' must name a run's folder"),
        ("input=null", "'input' must name a folder of frames, a file or a video"),
        ("out=true", "'out' must be a path but got True"),
        ("out=mine.jpg", "'out' must end with .nc, .zarr, "),
        ("out=mine.jpg", ".html, or be a folder, but got 'mine.jpg'"),
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
        ("format=tiff", "'format' must be auto, one of netcdf, zarr, "),
        ("format=tiff", "html, or a list of them but got 'tiff'"),
        ("format=[]", "'format' must be auto, one of"),
        ("crop=[1,2]", "'crop' must be [top, left, height, width]"),
        ("input_format=[png]", "'input_format' must be auto or a format"),
        ("reader=dBZ", "'reader' must be options such as"),
        ("trusted=mine", "'trusted' must be a list of packages"),
        ("lead=3", "lead"),
    ],
)
def test_values_that_do_not_fit_are_named(forecast, tmp_path, argument, text):
    (tmp_path / "radar").mkdir()
    status, _, err = forecast(argument)
    assert status == 1
    assert text in err
    assert not (tmp_path / "out").exists()


def test_an_empty_or_absent_input_is_named(forecast, tmp_path):
    status, _, err = forecast()
    assert status == 3
    assert "does not exist. Check the path" in err
    (tmp_path / "radar").mkdir()
    status, _, err = forecast()
    assert status == 3
    assert "no frame in" in err


@pytest.mark.parametrize("out", ["radar", "radar/forecasts", "radar/forecast.nc", "link/forecast.npy"])
def test_a_forecast_is_not_written_among_its_input(forecast, tmp_path, out):
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


def test_other_files_are_not_overwritten(forecast, tmp_path):
    write_pictures(tmp_path / "radar", 6)
    np.save(tmp_path / "mine.npy", np.arange(9))
    status, out, err = forecast(f"out={tmp_path}/mine.npy")
    assert (status, out) == (1, "")
    assert f"out: '{tmp_path}/mine.npy': there is a file that is not a forecast of this program" in err
    assert np.load(tmp_path / "mine.npy").tolist() == list(range(9))


def test_a_checkpoint_is_no_member_twice(forecast, tmp_path, persistence):
    write_pictures(tmp_path / "radar", 6)
    status, _, err = forecast(f"ckpt=[{persistence},{persistence}/checkpoints/best]", "ensemble=true")
    assert status == 1
    assert "are the same: its forecast would count twice" in err


def test_weights_that_are_not_numbers_are_no_forecast(forecast, tmp_path):
    run = write_run(tmp_path / "diverged", ENCODER)
    checkpoint = run / "checkpoints" / "best"
    file = checkpoint / "model.safetensors"
    mx.save_safetensors(str(file), {name: array * mx.nan for name, array in mx.load(str(file)).items()})
    seal(checkpoint)
    write_pictures(tmp_path / "radar", 6)
    status, out, err = forecast(f"ckpt={run}")
    assert status == 1
    assert f"weights in '{checkpoint}' have values that are NaN or infinite" in err
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.parametrize("watch", [False, True])
def test_a_forecast_that_is_not_finite_is_not_written(forecast, tmp_path, monkeypatch, watch):
    write_pictures(tmp_path / "radar", 6)
    monkeypatch.setattr(Forecaster, "_forecast", lambda self, y, horizon: y * np.inf)
    if watch:
        clock = SimpleNamespace(perf_counter=time.perf_counter, sleep=lambda _: signal.raise_signal(signal.SIGTERM))
        monkeypatch.setattr(forecast_watch, "time", clock)
    status, out, err = forecast(f"watch={watch}")
    text = "the model's forecast is NaN or infinite in 100.0% of its pixels. Check the input"
    assert (status, text in out, text in err) == ((0, True, False) if watch else (1, False, True))
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.parametrize("link", ["forecasts", "forecasts/forecast_20200601T002500.npy"])
def test_a_link_in_a_run_is_not_written_through(forecast, tmp_path, link):
    run = write_run(tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    (run / link).parent.mkdir(exist_ok=True)
    (run / link).symlink_to(tmp_path / "elsewhere" / ("" if link == "forecasts" else "file"))
    write_pictures(tmp_path / "radar", 6)
    status, _, err = forecast(f"ckpt={run}", "out=null", "format=npy")
    assert status == 1
    assert f"'{run / link}' is a link to another place" in err
    assert list((tmp_path / "elsewhere").iterdir()) == []

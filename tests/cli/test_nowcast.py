"""The model that comes with the package, at any step and size of pixels, through all commands."""

from __future__ import annotations

import json

from convlstm.forecasting.forecaster import Forecaster
from tests.support.cf_files import write_cf
from tests.support.labelled import MAP
from tests.support.tiny import call

import numpy as np
import pytest
import yaml

xarray = pytest.importorskip("xarray")
pytest.importorskip("netCDF4")
pyproj = pytest.importorskip("pyproj")

RATE = {"units": "mm/h", "standard_name": "rainfall_rate", "grid_mapping": "crs"}
KM = 72


def rain(km, minutes, *, frames=5):
    """Returns rain in mm/h over 72 x 64 km that moves by 48 km/h, of pixels of some km: (frames, H, W)."""
    height, width = round(KM / km), round((KM - 8) / km)
    y, x = (np.arange(height)[:, None] + 0.5) * km, (np.arange(width) + 0.5) * km
    times = np.arange(frames)[:, None, None] * minutes * 0.8
    cells = np.maximum(np.sin(y / 9) * np.cos((x - times) / 7) + np.sin((x - times) / 16 + y / 12), 0)
    return (6 * cells**2).astype(np.float32)


def write(path, values, minutes, *, km=None, degrees=None):
    """Writes rain over a projection with pixels of some km, or over latitudes and longitudes from 50 degrees north."""
    frames, height, width = values.shape
    time = (("time",), minutes * np.arange(frames), {"units": "minutes since 2020-01-01", "standard_name": "time"})
    if degrees is not None:
        rows, columns = 50 - degrees * np.arange(height), 5 + degrees * np.arange(width)
        sides = {
            "lat": (("lat",), rows, {"units": "degrees_north", "standard_name": "latitude"}),
            "lon": (("lon",), columns, {"units": "degrees_east", "standard_name": "longitude"}),
        }
        about = {key: value for key, value in RATE.items() if key != "grid_mapping"}
        return write_cf(path, {"rain": (("time", "lat", "lon"), values, about)}, time=time, **sides)
    rows, columns = -3_000_000 - 1000 * km * np.arange(height), 100_000 + 1000 * km * np.arange(width)
    sides = {
        "y": (("y",), rows, {"units": "m", "standard_name": "projection_y_coordinate"}),
        "x": (("x",), columns, {"units": "m", "standard_name": "projection_x_coordinate"}),
        "crs": ((), np.int32(0), MAP),
    }
    return write_cf(path, {"rain": (("time", "y", "x"), values, RATE)}, time=time, lat=None, lon=None, **sides)


@pytest.fixture
def nowcast(monkeypatch, capsys, tmp_path):
    """Returns a function that forecasts from a file by the command: what it wrote, and what it said."""

    def command(path, *more):
        out = tmp_path / "out.nc"
        line = (f"input={path}", f"out={out}", "horizon=2", *more)
        status, said, err = call("forecast", monkeypatch, capsys, "ckpt=nowcast", *line)
        assert (status, err) == (0, "")
        with xarray.open_dataset(out) as opened:
            return opened.load(), said

    return command


@pytest.mark.parametrize(
    ("km", "minutes", "line"),
    [
        (0.5, 5, "pixels      4x4 of 0.5 km averaged to one of 2 km for the model; its forecast is brought back"),
        (1, 10, "pixels      2x2 of 1 km averaged to one of 2 km for the model"),
        (2, 15, None),
        (4, 5, "note        pixels of 4 km are taken as they are, wider than in training"),
    ],
)
def test_the_forecast_has_the_grid_of_the_input(nowcast, tmp_path, km, minutes, line):
    values = rain(km, minutes)
    path = write(tmp_path / "rain.nc", values, minutes, km=km)
    coming, said = nowcast(path)
    assert said.count(line or "pixels of") == (line is not None)
    with xarray.open_dataset(path) as observed:
        assert coming["rain_rate"].sizes == {"time": 2, "y": observed.sizes["y"], "x": observed.sizes["x"]}
        for name in ("y", "x"):
            np.testing.assert_array_equal(coming[name], observed[name])
        assert pyproj.CRS.from_cf(coming["crs"].attrs) == pyproj.CRS.from_cf(observed["crs"].attrs)
    steps = coming["time"].values - np.datetime64("2020-01-01")
    assert (steps / np.timedelta64(1, "m")).tolist() == [5 * minutes, 6 * minutes]
    assert "spread" in coming
    # Waves that move by a quarter of their length in 15 minutes are unlike any rain: the members let them grow.
    assert 0.4 < float(coming["rain_rate"].mean()) / values[-1].mean() < (2 if minutes <= 10 else 4)

    forecaster = Forecaster.load("nowcast")
    forecaster.adopt(minutes=minutes, pixel_km=km)
    mean = forecaster(values, 2)
    np.testing.assert_allclose(coming["rain_rate"], mean, rtol=1e-5, atol=1e-5)


def test_degrees_become_km_in_the_middle_of_the_frame(nowcast, tmp_path):
    values = rain(1, 5)
    coming, said = nowcast(write(tmp_path / "rain.nc", values, 5, degrees=0.01))
    assert "pixels      2x3 of 1.11 x 0.72 km averaged to one of 2.22 x 2.16 km" in said
    np.testing.assert_allclose(coming["lat"], 50 - 0.01 * np.arange(72))
    forecaster = Forecaster.load("nowcast")
    forecaster.adopt(minutes=5, pixel_km=(1.11195, 0.72))
    assert forecaster.pixels.factors == (2, 3)
    assert forecaster.model.pixel_km == pytest.approx((1.11195 * 2 * 0.72 * 3) ** 0.5)
    np.testing.assert_allclose(coming["rain_rate"], forecaster(values, 2), rtol=1e-3, atol=2e-3)


def test_short_steps_are_left_out_unless_they_are_asked_for(nowcast, tmp_path):
    values = rain(2, 2, frames=12)
    path = write(tmp_path / "rain.nc", values, 2, km=2)
    coming, said = nowcast(path)
    assert "step        one frame of 2, 4 min apart" in said
    forecaster = Forecaster.load("nowcast")
    forecaster.adopt(minutes=4, pixel_km=2)
    np.testing.assert_allclose(coming["rain_rate"], forecaster(values[3::2], 2), rtol=1e-5, atol=1e-5)
    coming, said = nowcast(path, "step=2")
    assert "one frame of" not in said
    forecaster.adopt(minutes=2)
    np.testing.assert_allclose(coming["rain_rate"], forecaster(values[-5:], 2), rtol=1e-5, atol=1e-5)
    assert coming["time"].values[0] - np.datetime64("2020-01-01") == np.timedelta64(24, "m")


def test_pixels_that_are_missing_in_all_frames_are_missing_in_the_forecast():
    values = rain(1, 5)
    values[:, :21, :31] = np.nan
    values[-1, 50:60] = np.nan
    values[1] = np.nan
    forecaster = Forecaster.load("nowcast")
    forecaster.adopt(pixel_km=1)
    with pytest.warns(UserWarning, match="missing and interpolated in time: 2"):
        mean = forecaster(values, 1)
    expected = np.zeros((72, 64), bool)
    expected[:21, :31] = True
    np.testing.assert_array_equal(np.isnan(mean[0]), expected)
    np.testing.assert_array_equal(np.isnan(forecaster.layers["spread"].values[0]), expected)
    with pytest.warns(UserWarning, match="interpolated in time"):
        members = np.stack(list(forecaster.members(values, 1)))
    assert members.shape == (24, 1, 72, 64)
    np.testing.assert_allclose(members.mean(axis=0), mean, rtol=1e-3, atol=1e-4)


def test_a_constant_field_stays_about_constant():
    forecaster = Forecaster.load("nowcast")
    for km in (0.5, 1, 2):
        forecaster.adopt(pixel_km=km)
        mean = forecaster(np.full((5, round(64 / km), round(60 / km)), 2.0, np.float32), 2)
        assert mean.std() < 0.1 * mean.mean()
        assert mean.mean() == pytest.approx(2, rel=0.3)


def test_other_models_are_told_nothing(tmp_path):
    from convlstm.architectures.steps import STEPS
    from convlstm.forecasting.drawn_members import DrawnForecaster

    with pytest.raises(ValueError, match="'adopt' is for LearnedSTEPS, but the model is STEPS"):
        DrawnForecaster(STEPS(3)).adopt(minutes=5)


@pytest.fixture
def archive(tmp_path):
    """Returns the arguments of data of 14 frames of 1 km, every 10 minutes."""
    path = write(tmp_path / "rain.nc", rain(1, 10, frames=14), 10, km=1)
    sizes = ("data.target_frames=2", "data.input_frames=3", "data.frame_size=32", "data.progress=false")
    return ("data=radar_echo", f"data.archive={path}", f"data.index={tmp_path / 'index'}", *sizes)


def test_it_is_scored_on_the_pixels_of_the_data(monkeypatch, capsys, tmp_path, archive):
    line = ("ckpt=nowcast", "examples=[]", "baselines=[]", f"out={tmp_path / 'scores'}", "batch_size=1")
    line += ("sequences=1", "data.split=[0,0,1]", *archive)
    monkeypatch.setattr("convlstm.cli.evaluate.write_pictures", lambda *_, **__: [])
    status, said, err = call("evaluate", monkeypatch, capsys, *line)
    assert (status, err) == (0, "")
    assert "note: 'model' ran on means of 2x2 pixels, and its forecasts were brought back." in said
    scores = json.loads((tmp_path / "scores" / "metrics.json").read_text())["forecasters"]["model"]["scores"]
    assert 0 < scores["crps_mmh"]["overall"] < 5
    status, said, err = call("evaluate", monkeypatch, capsys, *line, "data.coarsen=2")
    assert (status, err) == (0, "")
    assert "ran on means" not in said
    status, _, err = call("evaluate", monkeypatch, capsys, "ckpt=nowcast")
    assert status != 0
    assert "the model 'nowcast' comes without data: data=radar_echo data.archive=PATH" in err


def test_training_goes_on_from_it_with_its_model_and_loss(monkeypatch, capsys, tmp_path, archive):
    line = (*archive, "data.split=[0.6,0.4,0]", "data.coarsen=2", "trainer.batch_size=1", "data.validation_sequences=1")
    line += (f"output={tmp_path}", "name=tuned", "trainer.ema=0.5")
    status, said, err = call("train", monkeypatch, capsys, "init=nowcast", *line, "trainer.max_steps=1")
    assert (status, err) == (0, "")
    for text in (
        "note        the model is that of 'nowcast'",
        "note        the loss is that of 'nowcast'",
        "note        model.minutes is 10, that of the data",
        "init        55 of 55 arrays from",
    ):
        assert text in said
    config = yaml.safe_load((tmp_path / "tuned" / "config.yaml").read_text())
    assert config["init"] == "nowcast"
    assert config["loss"]["_target_"] == "convlstm.ensemble_losses.EnsembleScore"
    assert (config["model"]["minutes"], config["model"]["pixel_km"]) == (10.0, 2.0)
    assert "site-packages" not in (tmp_path / "tuned" / "config.yaml").read_text()
    line = [one for one in line if not one.startswith(("output", "name"))]
    status, said, err = call("train", monkeypatch, capsys, *line, "trainer.max_steps=2", f"resume={tmp_path / 'tuned'}")
    assert (status, err) == (0, "")
    assert "finished at step 2 of 2" in said


def test_what_does_not_fit_is_refused(monkeypatch, capsys, tmp_path, archive):
    status, _, err = call("train", monkeypatch, capsys, "resume=nowcast", *archive)
    assert status != 0
    assert "the model 'nowcast' of the package is no run. Start one from it: init=nowcast" in err
    line = (
        "init=nowcast",
        "loss=mse",
        "data.split=[0.6,0.4,0]",
        "trainer.batch_size=1",
        f"output={tmp_path}",
        *archive,
    )
    status, said, err = call("train", monkeypatch, capsys, *line)
    assert status != 0
    assert "the pixels are 1 km wide, but the weights in init are for 2 km: data.coarsen=2 averages them" in said
    assert "The model returns members: choose loss=ensemble." in err


def test_a_summary_counts_it(monkeypatch, capsys):
    status, said, err = call("summary", monkeypatch, capsys, "ckpt=nowcast", "frame_size=32", "memory=false")
    assert (status, err) == (0, "")
    assert "LearnedSTEPS" in said

"""Forecasts of models without weights, which need no checkpoint."""

import json

from tests.support.cf_files import frames, write_cf
from tests.support.forecast_runs import READER, stored
from tests.support.radar_archives import SHAPE, picture, write_picture, write_pictures
from tests.support.radar_files import open_file
from tests.support.tiny import call

import numpy as np
import pytest


@pytest.fixture
def forecast(monkeypatch, capsys, tmp_path):
    """Returns a function that calls the command for the input in `radar`."""

    def command(*arguments):
        given = {argument.partition("=")[0] for argument in arguments}
        line = {"input": str(tmp_path / "radar"), "out": str(tmp_path / "out")}
        line = {key: value for key, value in line.items() if key not in given}
        return call("forecast", monkeypatch, capsys, *(f"{k}={v}" for k, v in line.items()), *arguments)

    return command


def test_persistence_repeats_rain_as_it_is(forecast, tmp_path):
    write_pictures(tmp_path / "radar", 6)
    status, out, err = forecast("model=persistence", "format=npy", "horizon=3", READER)
    assert (status, err) == (0, "")
    assert "2 frames from 2020-06-01 00:20 to 2020-06-01 00:25 UTC, 5 min apart" in out
    values, description = stored(tmp_path / "out")
    np.testing.assert_allclose(values, np.broadcast_to(picture(5) / 10, (3, *SHAPE)), rtol=1e-6)
    assert description["units"] == "mm/h"
    assert description["provenance"]["checkpoint"] == "none, the model has no weights"
    assert description["provenance"]["model"] == "Persistence"


def test_extrapolation_moves_rain_at_the_step_of_the_archive(forecast, tmp_path):
    rng = np.random.default_rng(0)
    wide = np.kron(rng.integers(0, 200, (10, 20)), np.ones((4, 4))).astype(np.uint8)
    for n in range(5):
        write_picture(tmp_path / "radar", n, wide[:, 20 - 2 * n :][:, :48], step=10)
    status, out, err = forecast("model=extrapolation", "format=[npy,gif]", "horizon=2", READER)
    assert (status, err) == (0, "")
    assert "10 min apart" in out
    values, description = stored(tmp_path / "out", "forecast_20200601T004000")
    assert description["lead_minutes"] == [10, 20]
    inner = np.s_[8:-8, 12:-8]
    expected = wide[:, 20 - 2 * 6 :][:, :48][inner] / 10
    assert np.corrcoef(values[1][inner].ravel(), expected.ravel())[0, 1] > 0.9
    assert (tmp_path / "out" / "forecast_20200601T004000.gif").is_file()


def test_other_fields_keep_names_and_units(forecast, tmp_path):
    pytest.importorskip("netCDF4")
    about = {"units": "degC", "standard_name": "sea_surface_temperature"}
    values = frames(6, 3, 4, first=-10.0)
    write_cf(tmp_path / "sst.nc", {"sst": (("time", "lat", "lon"), values, about)})
    for model in ("persistence", "extrapolation"):
        line = (f"model={model}", f"input={tmp_path}/sst.nc", f"out={tmp_path}/{model}.nc", "horizon=2")
        status, out, err = forecast(*line)
        assert (status, err) == (0, "")
        assert "field       sst" in out
        reader, contents = open_file(tmp_path / f"{model}.nc")
        assert [(f.name, f.units, f.standard_name) for f in contents.grid.fields] == [
            ("sst", "degC", about["standard_name"])
        ]
        assert contents.times[-1] == np.datetime64("2020-01-01T07:00")
    reader, _ = open_file(tmp_path / "persistence.nc")
    np.testing.assert_array_equal(reader.read(tmp_path / "persistence.nc", 1), values[-1])


def test_several_fields(forecast, tmp_path):
    pytest.importorskip("netCDF4")
    dimensions = ("time", "lat", "lon")
    sst, u10 = frames(6, 3, 4, first=280.0), frames(6, 3, 4, first=-3.0)
    variables = {"sst": (dimensions, sst, {"units": "K"}), "u10": (dimensions, u10, {"units": "m s-1"})}
    write_cf(tmp_path / "two.nc", variables)
    line = (f"input={tmp_path}/two.nc", "reader={variable: [sst, u10]}", "horizon=1")
    for model, tolerance in (("persistence", 0), ("extrapolation", 12)):
        assert forecast(f"model={model}", *line, f"out={tmp_path}/{model}.npy")[0] == 0
        values = np.load(tmp_path / f"{model}.npy")
        np.testing.assert_allclose(values[0], np.stack([sst[-1], u10[-1]], axis=-1), atol=tolerance)


def test_an_ensemble_from_perturbed_inputs(forecast, tmp_path):
    write_pictures(tmp_path / "radar", 6)
    line = ("model=extrapolation", READER, "ensemble=true", "horizon=1", "format=zarr")
    pytest.importorskip("zarr")
    assert forecast(*line, "members.perturbed=3")[0] == 0
    status, _, err = forecast(*line)
    assert status == 1
    assert "ensemble=true needs at least two members" in err


def write_cells(folder, frames=5):
    """Writes moving cells of rain, 2 pixels a frame, with times 10 minutes apart."""
    wide = np.kron(np.random.default_rng(0).integers(0, 200, (12, 20)), np.ones((4, 4)))
    wide = np.where(wide > 120, wide - 100, 0).astype(np.uint8)
    for n in range(frames):
        write_picture(folder, n, wide[:, 2 * (frames - n) :][:, :64], step=10)


def test_the_members_of_steps(forecast, tmp_path):
    pytest.importorskip("netCDF4")
    write_cells(tmp_path / "radar")
    line = ("model=steps", "model.members=3", "model.pixel_km=2", READER, "horizon=2")
    status, out, err = forecast(*line, "thresholds=[1]", f"out={tmp_path}/a.nc")
    assert (status, err) == (0, "")
    assert "5 frames from 2020-06-01 00:00 to 2020-06-01 00:40 UTC, 10 min apart" in out
    reader, contents = open_file(tmp_path / "a.nc")
    assert contents.times[-1] == np.datetime64("2020-06-01T01:00")
    mean = reader.read(tmp_path / "a.nc", 1)
    import netCDF4

    with netCDF4.Dataset(tmp_path / "a.nc") as file:
        spread, share = (np.array(file[name][:]) for name in ("spread", "probability_at_least_1_mmh"))
        assert json.loads(file.ensemble) == {"members": 3}
    assert spread.max() > 0
    assert mean.max() > 1
    np.testing.assert_allclose(3 * share, np.round(3 * share), atol=1e-5)
    assert 0 < share.mean() < 1


def test_sprog(forecast, tmp_path):
    write_cells(tmp_path / "radar")
    status, out, err = forecast("model=sprog", READER, "horizon=2", "format=npy")
    assert (status, err) == (0, "")
    values, description = stored(tmp_path / "out", "forecast_20200601T004000")
    assert description["provenance"]["model"] == "SPROG"
    assert 0.2 < (values > 0).mean() < 0.6


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["model=steps"], "[STEPS] needs 'pixel_km', which the data do not say. Give it: model.pixel"),
        (["model=steps", "model.pixel_km=1", "model.minutes=5"], "model.minutes=10"),
        (["model=steps", "ensemble=true", "members.perturbed=3"], "'members.perturbed' is for other ensembles"),
        (["model=steps", "ensemble=true", "tile=32"], "'tile' must be null: the members of model=steps would"),
        (["model=sprog", "model.rates=[0.1,10]"], "'rates' must be that of the data, [0.0168283,516.677]"),
    ],
)
def test_what_does_not_fit_sprog_and_steps(forecast, tmp_path, arguments, text):
    write_cells(tmp_path / "radar")
    status, _, err = forecast(*arguments, READER, "horizon=2")
    assert status != 0
    assert text in err
    assert "Traceback" not in err


def test_sprog_waits_for_a_third_frame(forecast, tmp_path):
    write_cells(tmp_path / "radar", 2)
    status, _, err = forecast("model=sprog", READER, "horizon=2")
    assert status != 0
    assert "needs 5 frames" in err


def test_fewer_frames_than_the_model_reads_are_enough(forecast, tmp_path):
    write_pictures(tmp_path / "radar", 3)
    status, out, _ = forecast("model=extrapolation", READER, "format=npy")
    assert status == 0
    assert "3 frames from 2020-06-01 00:00 to 2020-06-01 00:10 UTC" in out
    assert "missing" not in out


def test_a_clip(forecast, tmp_path):
    np.save(tmp_path / "clip.npy", np.random.default_rng(0).random((4, 8, 8), np.float32))
    line = (f"input={tmp_path}/clip.npy", f"out={tmp_path}/next.npy", "horizon=2")
    assert forecast("model=persistence", *line)[0] == 0
    np.testing.assert_allclose(
        np.load(tmp_path / "next.npy")[1].squeeze(), np.load(tmp_path / "clip.npy")[-1], rtol=1e-6
    )


def test_a_watched_folder(forecast, tmp_path):
    write_pictures(tmp_path / "radar", 6)
    line = ("model=persistence", READER, "format=npy", "watch=true", "forecasts=1", "interval=0.01")
    status, out, _ = forecast(*line)
    assert status == 0
    assert "since the frame of 2020-06-01 00:25 UTC" in out
    assert stored(tmp_path / "out")[0].shape == (10, *SHAPE)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("model=convgru",), "model=convgru has weights, so it needs a checkpoint: ckpt=runs/NAME"),
        (("model=persistence", "ckpt=runs/a"), "'ckpt' and 'model' are both given"),
        ((), "'ckpt' must name a run's folder, or a checkpoint's: ckpt=runs/NAME. A model without weights needs none"),
        (("model=persistence", "members.perturbed=3"), "'members.perturbed' is for ensembles but 'ensemble' is false"),
        (("model.points=3",), "there is no key 'model.points'"),
    ],
)
def test_what_does_not_fit_is_refused(forecast, tmp_path, arguments, text):
    write_pictures(tmp_path / "radar", 3)
    status, _, err = forecast(*arguments)
    assert status == 1
    assert text in err
    assert "Traceback" not in err

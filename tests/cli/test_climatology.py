"""Departures from a climatology and fixed fields from training to a forecast, by commands and from Python."""

import json
import shutil

from convlstm import Forecaster
from tests.support.seasons import FRAMES, SHAPE, STEP, cycle, weather, write_heights, write_seasons
from tests.support.tiny import call

import numpy as np
import pytest

netCDF4 = pytest.importorskip("netCDF4")

HORIZON = 3


@pytest.fixture(scope="module")
def sea(tmp_path_factory):
    """Returns a folder with a run of two steps, its data and its file of fixed fields."""
    folder = tmp_path_factory.mktemp("sea")
    write_seasons(folder / "t.nc")
    write_heights(folder / "ground.nc")
    return folder


LINE = (
    *("experiment=fields", "data.archive=t.nc", "data.climatology=hour", "data.static={file: ground.nc, variable: z}"),
    *("data.input_frames=2", f"data.target_frames={HORIZON}", "data.progress=false", "trainer.batch_size=2"),
    *("model.hidden_channels=[4]", "model.kernel_size=3", "output=runs", "name=air"),
)


@pytest.fixture
def run(sea, monkeypatch, capsys):
    monkeypatch.chdir(sea)
    monkeypatch.setenv("CONVLSTM_DATA", str(sea / "indexes"))
    if not (sea / "runs" / "air").exists():
        status, out, err = call("train", monkeypatch, capsys, *LINE, "trainer.max_steps=2")
        assert status == 0, out + err
        assert "model.in_channels is 3, since the data have 3 channels and targets of 1" in out
        assert "departures from the climatology (hour) of the training split" in out
        assert "fixed field z: height of the ground, m, scaled from" in out
    return sea / "runs" / "air"


def test_a_run_is_resumed_only_with_the_same_fields(run, monkeypatch, capsys):
    status, out, err = call("train", monkeypatch, capsys, *LINE, "trainer.max_steps=3", "resume=auto")
    assert status == 0, out + err
    assert "finished at step 3 of 3" in out
    for change, text in (("data.climatology=day", "data.climatology"), ("data.static=null", "data.static")):
        status, _, err = call("train", monkeypatch, capsys, *LINE, "trainer.max_steps=4", "resume=auto", change)
        assert status == 1
        assert text in err


def test_an_evaluation_compares_values_with_persistence_and_climatology(run, monkeypatch, capsys):
    status, out, err = call("evaluate", monkeypatch, capsys, "ckpt=runs/air", "examples=[0]", "out=scores")
    assert status == 0, out + err
    scores = json.loads((run.parents[1] / "scores" / "metrics.json").read_text())["forecasters"]
    assert set(scores) == {"model", "persistence", "climatology"}
    # By hand: the test split's truth, its last input frames, and the means of the training split.
    from convlstm.datasets import GriddedFields

    settings = {"input_frames": 2, "target_frames": HORIZON, "climatology": "hour", "progress": False}
    data = GriddedFields(archive="t.nc", **settings)
    errors = {"persistence": [], "climatology": []}
    for n in range(data.size("test")):
        frames, means = data.frames("test", n), data.sample("test", n, truth=True)["reference"]
        errors["persistence"].append(frames[2:] - frames[1])
        errors["climatology"].append(frames[2:] - means)
    for name, of_name in errors.items():
        expected = np.sqrt(np.nanmean(np.square(of_name)))
        assert scores[name]["scores"]["field_rmse[t2m degC]"]["overall"] == pytest.approx(expected, rel=1e-3), name
    assert (run.parents[1] / "scores" / "report.html").exists()
    status, _, err = call(
        "evaluate", monkeypatch, capsys, "ckpt=runs/air", "baselines=[climatology]", "data.climatology=null"
    )
    assert status == 1
    assert "the baseline 'climatology' needs data with one" in err or "does not fit the data" in err


def test_an_evaluation_takes_the_means_and_fields_of_training(run, monkeypatch, capsys, tmp_path):
    """Those of other data are others, and the file of fixed fields may be gone."""
    write_seasons(tmp_path / "later.nc", frames=20, first=24 * 400)
    gone = tmp_path / "runs"
    shutil.copytree(run.parent, gone)
    monkeypatch.chdir(tmp_path)
    line = ("ckpt=runs/air", "data.archive=later.nc", "data.split=[0,0,1]", "examples=[]", "out=scores")
    status, out, err = call("evaluate", monkeypatch, capsys, *line)
    assert status == 0, out + err
    record = json.loads((tmp_path / "scores" / "metrics.json").read_text())["record"]["data"]["channels"]
    trained = json.loads((gone / "air" / "checkpoints" / "last" / "state.json").read_text())["data"]["channels"]
    assert record == trained


def test_a_forecast_adds_the_climatology_of_its_times(run, monkeypatch, capsys, tmp_path):
    out = tmp_path / "f.nc"
    line = ("ckpt=runs/air", "input=t.nc", f"horizon={HORIZON}")
    status, said, err = call("forecast", monkeypatch, capsys, *line, f"out={out}")
    assert status == 0, said + err
    with netCDF4.Dataset(out) as file:
        assert file["t2m"].units == "degC"
        values = np.ma.filled(file["t2m"][:], np.nan)
    assert np.isnan(values[:, 0, 0]).all()
    # The untrained model forecasts next to no departure, so the cycle and its phase are those of the hours.
    hours = STEP * (FRAMES + np.arange(HORIZON))
    around = values - cycle(hours)
    assert np.nanmax(np.abs(around)) < 4
    assert np.nanstd(values[:, -1], axis=0).mean() > 1
    # The same from Python, and for a part of the grid.
    forecaster = Forecaster.load("runs/air")
    hours = STEP * np.arange(FRAMES)
    times = np.datetime64("2020-01-01", "s") + hours * np.timedelta64(1, "h")
    frames = (cycle(hours) + weather())[..., None]
    same = forecaster(frames, HORIZON, times=times)
    np.testing.assert_allclose(same[..., 0], values, atol=1e-4)
    np.testing.assert_allclose(forecaster(frames[-2:], HORIZON, times=times[-2:]), same, atol=1e-5)
    part = tmp_path / "part.nc"
    status, said, err = call("forecast", monkeypatch, capsys, *line, f"out={part}", "crop=[2,4,4,4]")
    assert status == 0, said + err
    forecaster.scale = forecaster.scale.part(2, 4, 4, 4)
    with netCDF4.Dataset(part) as file:
        cut = np.ma.filled(file["t2m"][:], np.nan)
    np.testing.assert_allclose(forecaster(frames[:, 2:6, 4:8], HORIZON, times=times)[..., 0], cut, atol=1e-4)
    with pytest.raises(ValueError, match=r"the climatology needs the times of the frames"):
        forecaster(frames[:, 2:6, 4:8], HORIZON)
    with pytest.raises(
        ValueError, match=r"'frames' must be 4 x 4, the grid of the model's fixed fields or climatology"
    ):
        forecaster(frames, HORIZON, times=times)


def test_an_ensemble_of_it_is_forecast(run, monkeypatch, capsys, tmp_path):
    line = ("ckpt=runs/air", "input=t.nc", "horizon=2", "ensemble=true", "members.perturbed=2", "crop=[0,0,4,8]")
    status, said, err = call("forecast", monkeypatch, capsys, *line, f"out={tmp_path / 'f.nc'}")
    assert status == 0, said + err
    status, said, err = call(
        "evaluate",
        monkeypatch,
        capsys,
        "ckpt=runs/air",
        "ensemble=true",
        "members.perturbed=2",
        "examples=[]",
        f"out={tmp_path}",
    )
    assert status == 0, said + err


def test_another_grid_is_refused(run, monkeypatch, capsys, tmp_path):
    from tests.support.cf_files import frames, write_cf

    path = write_cf(tmp_path / "small.nc", {"t2m": (("time", "lat", "lon"), frames(6, 3, 4), {"units": "degC"})})
    status, _, err = call(
        "forecast",
        monkeypatch,
        capsys,
        "ckpt=runs/air",
        f"input={path}",
        f"out={tmp_path / 'f.nc'}",
        "most_clipped=1",
        "step=60",
    )
    assert status == 1
    assert "are of 8 x 12 pixels from -0.25, 56.25 to 5.75, 60.25 deg" in err
    assert not (tmp_path / "f.nc").exists()


def test_damaged_fields_are_refused(run, monkeypatch, capsys, tmp_path):
    gone = shutil.copytree(run, tmp_path / "air")
    for folder in (gone / "checkpoints").iterdir():
        (folder / "maps.safetensors").unlink()
    status, _, err = call("forecast", monkeypatch, capsys, f"ckpt={gone}", "input=t.nc", f"out={tmp_path / 'f.nc'}")
    assert status == 1
    assert "maps.safetensors" in err
    assert SHAPE == (8, 12)

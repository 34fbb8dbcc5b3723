"""Frames that are too old or too few, other units, and keys without an effect."""

from convlstm.datasets.readers.grid import Field
from tests.support.cf_files import frames, write_cf
from tests.support.forecast_runs import PERSISTENCE, stored, write_run
from tests.support.radar_archives import write_pictures

import numpy as np
import pytest


def test_an_old_frame_is_refused_if_that_is_asked_for(forecast, tmp_path):
    write_pictures(tmp_path / "radar", 6)
    status, out, _ = forecast("format=npy")
    assert status == 0
    assert "days since the newest frame" in out
    status, _, err = forecast("format=npy", "max_age=15")
    assert status == 4
    assert "the newest frame, that of 2020-06-01 00:25 UTC, is " in err
    assert "days old, more than max_age=15 min. Wait for more, or allow more." in err
    assert forecast("format=npy", "max_age=1e9")[0] == 0


def test_frames_before_the_first_one_are_not_interpolated(forecast, tmp_path):
    write_pictures(tmp_path / "radar", 2)
    status, out, err = forecast("format=npy")
    assert status == 3
    assert "interpolated" not in out
    text = "the model needs 3 frames, 5 min apart, but there are 2 up to 2020-06-01 00:05: the first one is that of"
    assert f"{text} 2020-06-01 00:00. Wait for more." in err


SST = Field("sst", "degC", "sea_surface_temperature")


def of_temperature(folder, fields=(SST,)):
    """Writes a run of persistence that was trained on temperatures between -50 and 150; the first is the target."""
    scale = {"name": "Linear", "minimum": -50.0, "maximum": 150.0, "units": "degC"}
    described = [{"field": vars(field), "scale": scale} for field in fields]
    channels = {"fields": described, "targets": [fields[0].name], "extras": []}
    trained = {"name": "gridded_fields", "input_frames": 3, "target_frames": 2, "channels": channels}
    section = {"_target_": "convlstm.datasets.gridded_fields.GriddedFields"}
    return write_run(folder, PERSISTENCE, trained | {"frame_interval": 60.0}, section)


def test_fields_in_other_units_are_converted(forecast, tmp_path):
    pytest.importorskip("netCDF4")
    kelvin = frames(6, 3, 4, first=260.0)
    write_cf(tmp_path / "sst.nc", {"sst": (("time", "lat", "lon"), kelvin, {"units": "K"})})
    run = of_temperature(tmp_path / "run")
    line = (f"ckpt={run}", f"input={tmp_path}/sst.nc", "reader=null", f"out={tmp_path}/next.npy")
    status, out, _ = forecast(*line)
    assert status == 0
    assert "sst: K, converted to degC as in training" in out
    values, description = stored(tmp_path, "next")
    np.testing.assert_allclose(values[1], kelvin[-1] - 273.15, atol=1e-3)
    assert "degC" in str(description["units"])


def test_fields_in_units_of_another_quantity_are_refused(forecast, tmp_path):
    pytest.importorskip("netCDF4")
    write_cf(tmp_path / "sst.nc", {"sst": (("time", "lat", "lon"), frames(6, 3, 4), {"units": "m s-1"})})
    run = of_temperature(tmp_path / "run")
    status, _, err = forecast(f"ckpt={run}", f"input={tmp_path}/sst.nc", "reader=null")
    assert status == 1
    assert "the model was trained on sst: sea surface temperature, degC, but the input has sst: m s-1" in err


def test_a_field_of_another_name_is_taken_if_the_user_names_it(forecast, tmp_path):
    pytest.importorskip("netCDF4")
    kelvin = frames(6, 3, 4, first=260.0)
    about = {"units": "K", "standard_name": "sea_surface_temperature"}
    write_cf(tmp_path / "sst.nc", {"thetao": (("time", "lat", "lon"), kelvin, about)})
    run = of_temperature(tmp_path / "run")
    line = (f"ckpt={run}", f"input={tmp_path}/sst.nc", f"out={tmp_path}/next.npy")
    status, _, err = forecast(*line, "reader=null")
    assert status == 1
    assert "thetao" in err
    status, out, _ = forecast(*line, "reader={variable: thetao}")
    assert status == 0
    assert "thetao: sea surface temperature, K, converted to degC as in training, taken as the sst of training" in out
    np.testing.assert_allclose(stored(tmp_path, "next")[0][1], kelvin[-1] - 273.15, atol=1e-3)


def test_the_order_of_training_counts(forecast, tmp_path):
    pytest.importorskip("netCDF4")
    one = (("time", "lat", "lon"), frames(6, 3, 4, first=10.0), {"units": "degC"})
    write_cf(tmp_path / "sst.nc", {"sst": one, "air": one})
    fields = [Field(name, "degC") for name in ("sst", "air")]
    run = of_temperature(tmp_path / "run", fields=fields)
    status, _, err = forecast(f"ckpt={run}", f"input={tmp_path}/sst.nc", "reader={variable: [air,sst]}")
    assert status == 1
    assert 'in the order of training, whatever their names: "reader={variable: [sst, air]}"' in err


@pytest.mark.parametrize(
    ("argument", "reason"),
    [
        ("thresholds=[1]", "it is for the probabilities of ensemble=true"),
        ("interval=2", "it is for watch=true"),
        ("forecasts=2", "it is for watch=true"),
        ("fps=5", "it is for MP4, but npy is written"),
        ("white=200", "it is for values without units, but the model forecasts mm/h"),
        ("zr=[300,1.4]", "the input is no reflectivity"),
    ],
)
def test_a_key_without_effect_is_said(forecast, tmp_path, argument, reason):
    write_pictures(tmp_path / "radar", 6)
    status, out, _ = forecast("format=npy", argument)
    assert status == 0
    assert out.count("ignored") == 1
    assert f"ignored     {argument.partition('=')[0]}=" in out
    assert reason in out


def test_keys_of_archives_are_for_no_clip(forecast, tmp_path):
    np.save(tmp_path / "clip.npy", np.zeros((4, 8, 8), np.float32))
    status, out, _ = forecast(f"input={tmp_path}/clip.npy", f"out={tmp_path}/next.npy", "max_age=5", "reader=null")
    assert status == 0
    assert "ignored     max_age=5: it is for files with times, but the input is a clip" in out


def test_members_without_an_ensemble_are_refused(forecast, evaluate, tmp_path):
    write_pictures(tmp_path / "radar", 6)
    text = "'members.seed' is for ensembles but 'ensemble' is false. Add ensemble=true, or leave members.seed=... out."
    for command in (forecast, evaluate):
        status, _, err = command("members.seed=3")
        assert status == 1
        assert text in err

"""The command `forecast` with out=forecast.html."""

from convlstm.writers import Forecast, Place, write
from tests.support.desk import frame, read
from tests.support.forecast_runs import ENCODER, write_run
from tests.support.radar_archives import picture, time_of, write_pictures
from tests.support.tiny import call

import numpy as np
import pytest


def test_a_single_forecast_is_a_page_with_the_last_hour(forecast, tmp_path):
    paths = write_pictures(tmp_path / "radar", 18)
    paths[9].unlink()
    status, out, err = forecast(f"out={tmp_path}/f.html", "horizon=2")
    assert (status, err) == (0, "")
    assert f"written     {tmp_path}/f.html" in out
    content = read((tmp_path / "f.html").read_text())
    assert content["issued"] == f"{time_of(17)}Z"
    assert (content["past"], len(content["times"])) == (13, 15)
    observed, made = content["layers"]
    assert [observed["kind"], made["kind"]] == ["Observed", "Forecast"]
    for k in range(13):
        expected = np.full((40, 48), np.nan) if k + 5 == 9 else picture(k + 5) / 10
        np.testing.assert_allclose(frame(content, observed, k), expected, rtol=0.04)
    np.testing.assert_allclose(frame(content, made, 1), picture(17) / 10, rtol=0.04)
    assert "No coast and no borders: the place of the input is unknown." in (tmp_path / "f.html").read_text()


def test_the_hour_begins_with_the_first_frame(forecast, tmp_path):
    write_pictures(tmp_path / "radar", 6)
    assert forecast(f"out={tmp_path}/f.html", "horizon=1")[0] == 0
    content = read((tmp_path / "f.html").read_text())
    assert content["past"] == 6
    assert content["times"][0] == {"lead": -25.0, "time": f"{time_of(0)}Z"}


def test_watching_writes_the_page_each_time(forecast, tmp_path):
    write_pictures(tmp_path / "radar", 6)
    status, out, _ = forecast("format=[html,npy]", "watch=true", "forecasts=1", "interval=0.01")
    assert status == 0
    content = read((tmp_path / "out" / "forecast_20200601T002500.html").read_text())
    assert (content["past"], len(content["times"])) == (6, 10)
    assert "forecast_20200601T002500.html" in out


@pytest.mark.parametrize("asked", [[], ["products=[quantiles,members]", "quantiles=[0.25,0.75]"]])
def test_an_ensemble_has_its_range_probabilities_and_members(monkeypatch, capsys, tmp_path, rng, asked):
    pytest.importorskip("netCDF4")
    rain = rng.gamma(0.4, 4, (8, 40, 48)).astype(np.float32)
    place = Place.of((40, 48), (0.0, 0.0, 96_000.0, 80_000.0), projection="+proj=laea +lat_0=50 +lon_0=5")
    path = write(tmp_path / "rain.nc", Forecast(rain, "mm/h", issued=np.datetime64("2024-06-01"), step=5, place=place))
    both = f"ckpt=[{write_run(tmp_path / 'last')},{write_run(tmp_path / 'encoder', ENCODER)}]"
    line = [both, "ensemble=true", f"input={path}", f"out={tmp_path}/f.html", "horizon=2", "thresholds=[0.5,2]", *asked]
    status, said, err = call("forecast", monkeypatch, capsys, *line)
    assert (status, err) == (0, "")
    assert "ignored" not in said
    content = read((tmp_path / "f.html").read_text())
    kinds = [layer["kind"] for layer in content["layers"]]
    assert kinds.count("Probability") == 2
    assert kinds.count("Spread") == 1
    assert kinds.count("Members") == (2 if asked else 0)
    shares = [layer["share"] for layer in content["layers"] if layer["kind"] == "Quantiles"]
    assert shares == ([0.25, 0.75] if asked else [0.1, 0.5, 0.9])
    assert content["lines"]["km"] == pytest.approx(2, rel=0.01)

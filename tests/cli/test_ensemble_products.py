"""The command `forecast` with products of an ensemble, and all its members in files."""

import json

from convlstm import products as made
from convlstm.cli.ensemble_products import check_products
from convlstm.forecasting.ensemble import EnsembleForecaster
from convlstm.forecasting.forecaster import Forecaster
from convlstm.writers import Forecast, Place, write
from tests.support.forecast_runs import ENCODER, write_run
from tests.support.tiny import call

import numpy as np
import pytest

netCDF4 = pytest.importorskip("netCDF4")


@pytest.fixture
def rain(rng):
    """Returns eight frames in mm/h (8, 40, 48): a cell that moves to the right, over weak rain."""
    y, x = np.mgrid[:40, :48]
    cells = [9 * np.exp(-((y - 20) ** 2 + (x - 10 - 2 * t) ** 2) / 60) for t in range(8)]
    return (np.stack(cells) + rng.uniform(0, 0.4, (8, 40, 48))).astype(np.float32)


@pytest.fixture
def forecast(monkeypatch, capsys, tmp_path, rain):
    """forecast.py with two runs, `last` of persistence and `encoder`, which was not trained, and pixels of 2 km."""
    place = Place.of((40, 48), (0.0, 0.0, 96_000.0, 80_000.0), projection="+proj=laea +lat_0=50 +lon_0=5")
    path = write(tmp_path / "rain.nc", Forecast(rain, "mm/h", issued=np.datetime64("2024-06-01"), step=5, place=place))
    both = f"ckpt=[{write_run(tmp_path / 'last')},{write_run(tmp_path / 'encoder', ENCODER)}]"

    def command(*arguments, model=(both, "ensemble=true"), out="out.nc"):
        line = [*model, f"input={path}", f"out={tmp_path / out}", "horizon=2", *arguments]
        return call("forecast", monkeypatch, capsys, *line)

    return command


@pytest.fixture
def members(forecast, rain, tmp_path):
    """The members of both runs from the last three frames, (2, 2, H, W)."""
    forecasters = [Forecaster.load(tmp_path / name) for name in ("last", "encoder")]
    return np.stack(list(EnsembleForecaster(forecasters).members(rain[-3:], 2)))


def fields(path):
    with netCDF4.Dataset(path) as file:
        file.set_auto_mask(False)
        values = {name: v[:] for name, v in file.variables.items() if v.dimensions[-2:] == ("y", "x")}
        return values, file["rain_rate"].comment


def test_products_and_members_in_a_file(forecast, members, tmp_path):
    line = ("thresholds=[2.5]", "product=pmm", "products=[mean,csi,quantiles,nearby,members]")
    status, said, err = forecast(*line, "quantiles=[0.25]", "radius=[5]")
    assert (status, err) == (0, "")
    assert "ignored" not in said
    values, comment = fields(tmp_path / "out.nc")
    assert comment == "probability-matched mean of 2 members"
    expected = {
        "rain_rate": made.probability_matched_mean(members),
        "spread": members.std(axis=0, ddof=1),
        "probability_at_least_2p5_mmh": made.probability(members, 2.5),
        "mean": members.mean(axis=0),
        "best_for_csi": made.best_csi(members, [2.5]),
        "quantile_0p25": made.quantiles(members, [0.25])[0],
        "probability_at_least_2p5_mmh_within_5_km": made.probability_nearby(members, 2.5, 5, pixel_km=2),
        "rain_rate_members": members,
    }
    assert list(values) == list(expected)
    for name, field in expected.items():
        np.testing.assert_allclose(values[name], field, rtol=1e-3, atol=1e-4, err_msg=name)


def test_pixels_are_those_of_the_input(forecast, members, tmp_path):
    line = ("thresholds=[2.5]", "products=[nearby]", "radius=[8]", "coarsen=2")
    assert forecast(*line)[0] == 0
    values, _ = fields(tmp_path / "out.nc")
    point, near = values["probability_at_least_2p5_mmh"], values["probability_at_least_2p5_mmh_within_8_km"]
    # Two pixels of 4 km.
    shares = made.probability_nearby(point[None], 1e-9, 2, pixel_km=1)
    np.testing.assert_array_equal(near > 0, shares > 0)


@pytest.mark.parametrize("model", [("model=steps",), ("model=extrapolation", "ensemble=true", "members.perturbed=3")])
def test_models_without_weights(forecast, tmp_path, model):
    status, _, err = forecast("products=[median,nearby]", "product=csi", "thresholds=[1]", model=model)
    assert (status, err) == (0, "")
    values, comment = fields(tmp_path / "out.nc")
    members = 3 if model[0] != "model=steps" else 24
    assert comment == f"field that is best for CSI of {members} members"
    assert {"median", "probability_at_least_1_mmh_within_10_km"} <= {*values}


def test_watching_writes_the_products_of_each_forecast(forecast, tmp_path):
    line = ("products=[members]", "watch=true", "forecasts=1", "interval=0.01")
    assert forecast(*line)[0] == 0
    assert fields(tmp_path / "out.nc")[0]["rain_rate_members"].shape[:2] == (2, 2)


def test_members_in_npy(forecast, members, tmp_path):
    status, said, err = forecast("products=[members]", out="out.npy")
    assert (status, err) == (0, "")
    assert "ignored" not in said
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), members, rtol=1e-4, atol=1e-5)
    assert json.loads((tmp_path / "out.json").read_text())["dimensions"][0] == "realization"


def test_a_clip_has_members(forecast, tmp_path, rng):
    np.save(tmp_path / "clip.npy", rng.uniform(0, 9, (4, 16, 16)).astype(np.float32))
    line = ("products=[members]", f"input={tmp_path / 'clip.npy'}")
    status, _, err = forecast(*line, out="out.npy")
    assert (status, err) == (0, "")
    assert np.load(tmp_path / "out.npy").shape == (2, 2, 16, 16, 1)
    status, _, err = forecast(*line, "products=[nearby]", "radius=[3]")
    assert status == 1
    assert "the product 'nearby' needs the side of a pixel in km, which is unknown" in err


def test_keys_without_an_effect_are_said(forecast):
    line = ("quantiles=[0.2]", "radius=[3]", "products=[median]", "format=[gif,npy]")
    said = forecast(*line, out="folder")[1]
    assert "ignored     quantiles=[0.2]: add quantiles to products" in said
    assert "ignored     radius=[3]: add nearby to products" in said
    assert ": only NetCDF, Zarr, GeoTIFF and HTML hold products beside the forecast, but gif, npy is written" in said


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("product=quantiles",), "'product' must be one of mean, median, pmm, csi but got 'quantiles'"),
        (("products=median",), "'products' must be a list of mean, median, pmm, csi, quantiles, nearby, members, []"),
        (("products=[best]",), "'products' must be a list of mean, median, pmm, csi, quantiles, nearby, members, []"),
        (("quantiles=[2]",), "'quantiles' must be a list of shares from 0 to 1, such as quantiles=[0.1,0.9],"),
        (("quantiles=[]",), "'quantiles' must be a list of shares from 0 to 1, such as quantiles=[0.1,0.9],"),
        (("radius=[-1]",), "'radius' must be a list of kilometres, such as radius=[10],"),
        (("radius=10",), "'radius' must be a list of kilometres, such as radius=[10],"),
        (("product=csi", "thresholds=[]"), "the product 'csi' needs thresholds, but there are none"),
    ],
)
def test_what_products_cannot_be(forecast, arguments, text):
    status, _, err = forecast(*arguments)
    assert status == 1
    assert text in err


@pytest.mark.parametrize("key", ["product=median", "products=[members]", "quantiles=[0.3]"])
def test_products_need_an_ensemble(forecast, tmp_path, key):
    status, _, err = forecast(key, model=(f"ckpt={tmp_path / 'last'}",))
    assert status == 1
    assert f"'{key.partition('=')[0]}' is for ensembles, but the model makes a single forecast." in err


@pytest.mark.parametrize(("products", "ignored"), [("nearby", False), ("median", True)])
def test_maps_show_the_probabilities_alone(capsys, products, ignored):
    settings = {"product": "mean", "products": [products], "quantiles": [0.1, 0.5, 0.9], "radius": [10]}
    check_products(settings, EnsembleForecaster.__new__(EnsembleForecaster), ["pdf", "gif"])
    assert ("ignored     products=" in capsys.readouterr().out) == ignored

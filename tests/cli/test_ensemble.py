"""The commands with an ensemble: scores, tables and pictures of `evaluate`, files of `forecast`."""

import csv
import json

from convlstm import checkpoints
from convlstm.architectures.ensemble import Ensemble
from convlstm.architectures.extrapolation import Extrapolation
from convlstm.architectures.perturbation import Perturbation
from convlstm.datasets.radar_echo import RadarEcho
from convlstm.forecasting.ensemble import EnsembleForecaster
from convlstm.forecasting.forecaster import Forecaster
from convlstm.metrics import EnsembleMetrics
from tests.support.forecast_runs import ENCODER, write_run
from tests.support.radar_archives import picture, write_pictures
from tests.support.tiny import Fade, call

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
import pytest

FRAMES = 24


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """Ten minutes apart, a square of rain that moves to the right, with a missing corner."""
    monkeypatch.setenv("CONVLSTM_DATA", str(tmp_path / "data"))
    rain = np.zeros((FRAMES, 32, 48), np.float32)
    for t in range(FRAMES):
        rain[t, 8:20, 2 + t % 20 : 14 + t % 20] = 6.0
    rain[:, :4, :4] = np.nan
    times = np.datetime64("2024-06-01T12:00", "s") + np.arange(FRAMES) * np.timedelta64(600, "s")
    np.savez(tmp_path / "rain.npz", rain=rain, times=times)
    return tmp_path / "rain.npz"


@pytest.fixture
def evaluate(monkeypatch, capsys, archive, tmp_path):
    def command(*arguments, model="model=extrapolation"):
        data = [f"data.archive={archive}", "data.reader={units: mm/h}", "data.frame_size=null", "data.progress=false"]
        data += ["data=radar_echo", "data.input_frames=3", "data.target_frames=2", "data.split=[0.5,0.2,0.3]"]
        line = [model, *data, f"out={tmp_path}/out", "examples=[]", "ensemble=true", *arguments]
        return call("evaluate", monkeypatch, capsys, *line)

    return command


MEMBERS = ("members.perturbed=3", "members.motion=2", "members.field=0.2", "members.length=4", "members.seed=5")


def test_scores_tables_and_pictures(evaluate, archive, tmp_path):
    status, said, err = evaluate(*MEMBERS, "batch_size=2")
    assert (status, err) == (0, "")
    assert "Ensemble of 3 members, all lead times together" in said
    document = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert list(document["forecasters"]) == ["extrapolation", "ensemble", "persistence"]

    radar = RadarEcho(
        archive=str(archive), reader={"units": "mm/h"}, input_frames=3, target_frames=2, split=(0.5, 0.2, 0.3)
    )
    ensemble = Ensemble(
        [Extrapolation()], perturbed=3, perturbation=Perturbation(motion=2, field=0.2, length=4, seed=5)
    )
    metrics = EnsembleMetrics(3, radar.thresholds, rank_from=min(radar.thresholds))
    for i in range(radar.size("test")):
        sample = radar.sample("test", i)
        members = np.array(ensemble(mx.array(sample["inputs"][None]), 2))
        metrics.update(radar.physical(members), radar.physical(sample["targets"][None]), sample["mask"][None])
    found = document["forecasters"]["ensemble"]
    for name, score in metrics.compute().items():
        assert found["scores"][name]["overall"] == pytest.approx(score["overall"], rel=1e-4), name
        assert document["units"][name] in ("1", "mm/h")
    assert found["scores"]["rmse_mmh"]["overall"] == pytest.approx(found["scores"]["rmse_of_mean_mmh"]["overall"])
    table = found["ensemble"]
    assert (table["members"], table["ranked_from"]) == (3, min(radar.thresholds))
    np.testing.assert_allclose(table["rank_histogram"], metrics.rank_histogram(), atol=3)
    assert sum(table["reliability"]["@2mmh"]["count"]) == metrics.reliability()["@2mmh"]["count"].sum()
    assert "ensemble" not in document["forecasters"]["persistence"]
    assert document["record"]["members"]["seed"] == 5

    with (tmp_path / "out" / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] == "crps_mmh"]
    assert [(row["forecaster"], row["lead"]) for row in rows] == [
        ("ensemble", lead) for lead in ("pooled over leads", "mean over leads", "1", "2")
    ]
    for name in ("reliability", "rank_histogram", "spread_skill"):
        assert (tmp_path / "out" / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
        assert f"{name}.png" in said


def test_mean_scores_no_worse_than_a_member_that_errs(evaluate, tmp_path):
    """With errors of the motion that have nothing to do with the truth, the mean is nearer to it than the members."""
    evaluate(*MEMBERS)
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())["forecasters"]["ensemble"]["scores"]
    assert 0 < found["crps_fair_mmh"]["overall"] < found["crps_mmh"]["overall"] < found["mae_mmh"]["overall"]


def test_products_beside_the_mean(evaluate, tmp_path):
    status, said, err = evaluate(*MEMBERS, "products=[median,csi]", "baselines=[]")
    assert (status, err) == (0, "")
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())["forecasters"]
    assert list(found) == ["extrapolation", "ensemble", "ensemble median", "ensemble csi"]
    assert "ensemble" not in found["ensemble csi"]
    # The median is the best forecast for the absolute error, the mean for the squared one.
    mean, median = (found[name]["scores"] for name in ("ensemble", "ensemble median"))
    assert mean["rmse_mmh"]["overall"] != median["rmse_mmh"]["overall"]
    assert "ensemble median" in said
    assert (tmp_path / "out" / "report.html").is_file()


def test_products_of_a_baseline_that_draws_members(monkeypatch, capsys, tmp_path):
    data = ["data=radar_echo", "data.frame_size=32", "data.target_frames=2", "data.test_sequences=2"]
    line = ["model=persistence", "baselines=[steps]", "products=[pmm]", f"out={tmp_path}/out", "examples=[0]", *data]
    status, said, err = call("evaluate", monkeypatch, capsys, *line)
    assert (status, err) == (0, "")
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())["forecasters"]
    assert list(found) == ["persistence", "steps", "steps pmm"]
    assert f"{tmp_path}/out" in said


def test_members_of_a_run(evaluate, tmp_path):
    """The best one, the one before it, and the plain weights of the one that has averages, too."""
    run = write_run(tmp_path / "run")
    config = {"model": {"_target_": "tests.support.tiny.Fade"}, "data": {}}
    averages = {"weight": mx.array([1.0]), "bias": mx.array([0.0])}
    checkpoints.save(run / "checkpoints" / "best", Fade(), optim.SGD(0.1), {"step": 9}, config, ema=averages)
    line = ("trusted=[tests]", "members.previous=true", "members.plain=true")
    status, said, err = evaluate(*line, model=f"ckpt={run}")
    assert (status, err) == (0, "")
    assert "Ensemble of 3 members" in said
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())["forecasters"]
    # Two of three are persistence, so where one forecasts an event the other does.
    counts = found["ensemble"]["ensemble"]["reliability"]["@2mmh"]["count"]
    assert counts[1] == 0
    assert counts[2] + counts[3] > 0
    errors = {name: found[name]["scores"]["mse_per_pixel"]["overall"] for name in found}
    assert errors["model"] == pytest.approx(errors["persistence"])
    assert errors["ensemble"] != pytest.approx(errors["persistence"])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "ensemble=true needs at least two members"),
        (("members.plain=true",), "'plain' must be False if no checkpoint has averaged weights"),
        (("ensemble=2",), "'ensemble' must be true or false but got 2"),
        (("products=[mean]",), "'products' must be a list of median, pmm, csi, [] for none, but got"),
        (("ensemble=false", "products=[pmm]"), "'products' is for ensembles, but none is evaluated."),
        (("members=3",), "'members' must be a section with keys such as members.perturbed=10 but got 3"),
        (("+members.width=3",), "there is no key 'members.width'"),
        (("members.previous=1",), "'members.previous' must be true or false but got 1"),
        (("members.perturbed=0",), "'members.perturbed' must be a whole number of at least 1 but got 0"),
        (("members.seed=-1",), "'members.seed' must be a whole number of at least 0 but got -1"),
        (("members.motion=-1",), "'members.motion' must be a number of at least 0 but got -1"),
    ],
)
def test_what_an_ensemble_cannot_be(evaluate, arguments, text):
    status, _, err = evaluate(*arguments)
    assert status == 1
    assert text in err


@pytest.fixture
def forecast(monkeypatch, capsys, tmp_path):
    """forecast.py with two runs, `last` of persistence and `encoder`, which was not trained, and eight pictures."""
    write_pictures(tmp_path / "radar", 8)
    both = f"[{write_run(tmp_path / 'last')},{write_run(tmp_path / 'encoder', ENCODER)}]"

    def command(*arguments, ckpt=both):
        line = [f"ckpt={ckpt}", f"input={tmp_path / 'radar'}", "reader={units: mm/h, scale: 0.1, missing: 255}"]
        return call("forecast", monkeypatch, capsys, *line, f"out={tmp_path / 'out.nc'}", "horizon=2", *arguments)

    return command


def written(path):
    with pytest.importorskip("netCDF4").Dataset(path) as file:
        file.set_auto_mask(False)
        fields = {name: v for name, v in file.variables.items() if v.dimensions == ("time", "y", "x")}
        values = {name: variable[:] for name, variable in fields.items()}
        told = {name: {key: v.getncattr(key) for key in v.ncattrs()} for name, v in fields.items()}
        return values, told, json.loads(file.ensemble)


def test_forecast_of_an_ensemble_with_its_spread_and_probabilities(forecast, tmp_path):
    status, _, err = forecast("ensemble=true", "thresholds=[2.5,10]", "members.perturbed=2", "members.seed=4")
    assert (status, err) == (0, "")
    values, told, ensemble = written(tmp_path / "out.nc")
    assert list(values) == ["rain_rate", "spread", "probability_at_least_2p5_mmh", "probability_at_least_10_mmh"]
    assert told["probability_at_least_2p5_mmh"]["threshold"] == 2.5
    assert (told["spread"]["units"], told["spread"]["coordinates"]) == ("mm h-1", told["rain_rate"]["coordinates"])
    assert ensemble["members"] == 4
    assert ensemble["perturbation"]["seed"] == 4
    frames = np.stack([picture(n) / 10 for n in (5, 6, 7)]).astype(np.float32)
    members = list(
        EnsembleForecaster(
            [Forecaster.load(tmp_path / "last"), Forecaster.load(tmp_path / "encoder")],
            perturbed=2,
            perturbation=Perturbation(seed=4),
        ).members(frames, 2)
    )
    np.testing.assert_allclose(values["rain_rate"], np.mean(members, axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(values["spread"], np.std(members, axis=0, ddof=1), rtol=1e-3, atol=1e-4)
    share = np.mean(np.stack(members) >= 2.5, axis=0)
    assert (np.abs(values["probability_at_least_2p5_mmh"] - share) < 1e-6).mean() > 0.999
    assert share.max() > 0


def test_forecast_of_one_checkpoint_has_no_spread(forecast, tmp_path):
    assert forecast(ckpt=tmp_path / "last")[0] == 0
    with pytest.importorskip("netCDF4").Dataset(tmp_path / "out.nc") as file:
        assert "spread" not in file.variables


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "'ckpt' must be one checkpoint but got"),
        (("ensemble=true", "thresholds=[x]"), "'thresholds' must be a list of numbers but got"),
        (("ensemble=true", "thresholds=2"), "'thresholds' must be a list of numbers but got 2"),
        (("ensemble=1",), "'ensemble' must be true or false but got 1"),
    ],
)
def test_what_a_forecast_of_an_ensemble_cannot_be(forecast, arguments, text):
    status, _, err = forecast(*arguments)
    assert status == 1
    assert text in err


def test_an_ensemble_of_one_member_is_refused(forecast, tmp_path):
    status, _, err = forecast("ensemble=true", ckpt=tmp_path / "last")
    assert status == 1
    assert "ensemble=true needs at least two members" in err

"""evaluate.py with an ensemble: its scores, tables and pictures."""

import csv
import json

from convlstm.ensemble import Ensemble
from convlstm.extrapolation import Extrapolation
from convlstm.perturbation import Perturbation
from convlstm.verification import EnsembleMetrics
from datasets.radar_echo import RadarEcho

import mlx.core as mx
import numpy as np
import pytest
from tiny import call

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
    def door(*arguments):
        data = [f"data.archive={archive}", "data.reader={units: mm/h}", "data.frame_size=null", "data.progress=false"]
        data += ["data=radar_echo", "data.input_frames=3", "data.target_frames=2", "data.split=[0.5,0.2,0.3]"]
        line = ["model=extrapolation", *data, f"out={tmp_path}/out", "examples=[]", "ensemble=true", *arguments]
        return call("evaluate", monkeypatch, capsys, *line)

    return door


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
    for picture in ("reliability", "rank_histogram", "spread_skill"):
        assert (tmp_path / "out" / f"{picture}.png").read_bytes()[:4] == b"\x89PNG"
        assert f"{picture}.png" in said


def test_mean_scores_no_worse_than_a_member_that_errs(evaluate, tmp_path):
    """With errors of the motion that have nothing to do with the truth, the mean is nearer to it than the members."""
    evaluate(*MEMBERS)
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())["forecasters"]["ensemble"]["scores"]
    assert 0 < found["crps_fair_mmh"]["overall"] < found["crps_mmh"]["overall"] < found["mae_mmh"]["overall"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "ensemble=true needs at least two members"),
        (("members.plain=true",), "'plain' must be False where no checkpoint has averaged weights"),
        (("ensemble=2",), "'ensemble' must be true or false but got 2"),
        (("members=3",), "'members' must have keys such as members.perturbed=10 but got 3"),
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

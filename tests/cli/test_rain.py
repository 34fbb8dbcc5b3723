"""The commands on radar echo: training, verification in mm/h beside the baselines, and the pictures."""

from __future__ import annotations

import csv
import json

from convlstm.datasets.radar_echo import RadarEcho
from tests.support.tiny import call

import numpy as np
import pytest
from PIL import Image

# An archive of ten minutes: a square of rain that moves to the right, with a missing corner.
FRAMES = 40


@pytest.fixture
def archive(tmp_path, monkeypatch):
    monkeypatch.setenv("CONVLSTM_DATA", str(tmp_path / "data"))
    rain = np.zeros((FRAMES, 32, 48), np.float32)
    for t in range(FRAMES):
        rain[t, 8:20, 2 + t % 20 : 14 + t % 20] = 6.0
    rain[:, :4, :4] = np.nan
    path = tmp_path / "rain.npz"
    times = np.datetime64("2024-06-01T12:00", "s") + np.arange(FRAMES) * np.timedelta64(600, "s")
    np.savez(path, rain=rain, times=times)
    return path


def data(archive):
    return [
        "data=radar_echo",
        f"data.archive={archive}",
        "data.reader={units: mm/h}",
        "data.frame_size=null",
        "data.input_frames=3",
        "data.target_frames=2",
        "data.progress=false",
        "data.split=[0.5,0.2,0.3]",
    ]


def test_baselines_are_evaluated_without_a_checkpoint(archive, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    line = ["model=persistence", *data(archive), f"out={out}", "examples=[0]", "batch_size=3"]
    status, said, err = call("evaluate", monkeypatch, capsys, *line)
    assert (status, err) == (0, "")
    document = json.loads((out / "metrics.json").read_text())
    assert list(document["forecasters"]) == ["persistence", "extrapolation"]

    radar = RadarEcho(
        archive=str(archive), reader={"units": "mm/h"}, input_frames=3, target_frames=2, split=(0.5, 0.2, 0.3)
    )
    hits = misses = 0
    for i in range(radar.size("test")):
        sample = radar.sample("test", i)
        last, truth = radar.physical(sample["inputs"][-1:]) >= 2, radar.physical(sample["targets"]) >= 2
        hits += (last & truth & sample["mask"]).sum()
        misses += ((last | truth) & sample["mask"]).sum() - (last & truth & sample["mask"]).sum()
    found = document["forecasters"]["persistence"]["scores"]["csi@2mmh"]
    assert found["overall"] == pytest.approx(hits / (hits + misses))
    assert found["mean_over_leads"] == pytest.approx(np.mean(found["per_lead"]))
    assert document["units"]["mae_mmh"] == "mm/h"
    with (out / "metrics.csv").open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if (r["forecaster"], r["metric"]) == ("persistence", "csi@2mmh")]
    assert [row["lead"] for row in rows] == ["pooled over leads", "mean over leads", "1", "2"]
    for text in ("CSI", "2mmh", "persistence", "extrapolation", "FSS", "of the pixels scored"):
        assert text in said
    names = {"forecast_0.png", "forecast_0.gif", "csi.png", "fss.png", "lead_times.png"}
    assert names <= {path.name for path in out.iterdir()}
    with Image.open(out / "forecast_0.png") as picture:
        assert picture.width > 500


def test_a_model_trains_on_an_archive_and_is_verified_beside_the_baselines(archive, tmp_path, monkeypatch, capsys):
    line = [*data(archive), "model=advection_residual", "model.hidden_channels=[4]", "loss=balanced"]
    line += ["trainer.max_steps=2", "trainer.batch_size=2", f"output={tmp_path}", "name=run"]
    status, said, err = call("train", monkeypatch, capsys, *line)
    assert (status, err) == (0, "")
    assert "data        rain.npz: " in said
    assert "sha256" not in said
    status, said, err = call("evaluate", monkeypatch, capsys, f"ckpt={tmp_path / 'run'}", "examples=[]", "sequences=2")
    assert (status, err) == (0, "")
    document = json.loads((tmp_path / "run" / "evaluation" / "metrics.json").read_text())
    assert list(document["forecasters"]) == ["model", "extrapolation", "persistence"]
    assert document["sequences"] == 2
    assert document["record"]["data"]["units"] == "mm/h"

    # The archive may have moved, and is known by what it holds.
    moved = tmp_path / "elsewhere" / archive.name
    moved.parent.mkdir()
    archive.rename(moved)
    line[1] = f"data.archive={moved}"
    status, said, err = call("train", monkeypatch, capsys, *line, "trainer.max_steps=3", f"resume={tmp_path / 'run'}")
    assert status == 0, err
    assert "from step 2 on" in said


def test_missing_areas_are_seen_in_the_examples(archive):
    radar = RadarEcho(archive=str(archive), reader={"units": "mm/h"}, input_frames=3, target_frames=2)
    sample = radar.sample("test", 0)
    assert not sample["input_mask"][:, :4, :4].any()
    assert sample["input_mask"][:, 4:].all()
    assert sample["input_mask"].shape == sample["inputs"].shape


def test_the_synthetic_radar_needs_no_files(tmp_path, monkeypatch, capsys):
    line = [
        "model=extrapolation",
        "data=radar_echo",
        "data.frame_size=32",
        "data.input_frames=3",
        "data.target_frames=2",
    ]
    line += [f"out={tmp_path / 'out'}", "sequences=3", "examples=[1]", "baselines=[zeros]"]
    status, said, err = call("evaluate", monkeypatch, capsys, *line)
    assert (status, err) == (0, "")
    assert list(json.loads((tmp_path / "out" / "metrics.json").read_text())["forecasters"]) == [
        "extrapolation",
        "zeros",
    ]
    assert (tmp_path / "out" / "spectra.png").is_file()


def test_what_has_nothing_to_learn_is_not_trained(monkeypatch, capsys, tmp_path):
    line = ["model=persistence", "data=radar_echo", "data.frame_size=16", f"output={tmp_path}"]
    status, _, err = call("train", monkeypatch, capsys, *line)
    assert status == 1
    assert "model=persistence has nothing to learn. Evaluate it: python evaluate.py model=persistence data=..." in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "there is nothing to evaluate: name a run's folder"),
        (["model=persistence"], "model=persistence needs data to be scored on: data=NAME"),
        (["model=persistence", "data=radar_echo", "baselines=[best]"], "'baselines' must be auto or a list of"),
        (["model=persistence", "data=radar_echo", "data.archive=/nowhere"], "/nowhere"),
        (["model=persistence", "data=radar_echo", "data.coarsen=two"], "'data.coarsen' must be int but got 'two'"),
    ],
)
def test_what_cannot_be_evaluated(arguments, text, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    status, _, err = call("evaluate", monkeypatch, capsys, *arguments)
    assert status == 1
    assert text in err
    assert list(tmp_path.iterdir()) == []


def test_sprog_is_a_baseline_on_the_scale_of_the_data(archive, tmp_path, monkeypatch, capsys):
    scale = "data.transform={_target_: convlstm.datasets.transforms.LogRain, minimum: 0.05, maximum: 200}"
    line = ["model=persistence", *data(archive), scale, "data.most_clipped=1", "examples=[]"]
    status, _, err = call("evaluate", monkeypatch, capsys, *line, f"out={tmp_path / 'out'}", "baselines=[sprog]")
    assert (status, err) == (0, "")
    scores = json.loads((tmp_path / "out" / "metrics.json").read_text())["forecasters"]
    assert 0 < scores["sprog"]["scores"]["csi@0.5mmh"]["overall"] <= 1
    line[0] = "model=sprog"
    line.append(f"out={tmp_path / 'other'}")
    status, _, err = call("evaluate", monkeypatch, capsys, *line, "model.rates=[0.1,500]")
    assert status != 0
    assert "model.rates=[0.05,200]" in err
    assert call("evaluate", monkeypatch, capsys, *line, "baselines=[]")[0] == 0
    alone = json.loads((tmp_path / "other" / "metrics.json").read_text())["forecasters"]
    assert alone["sprog"]["scores"] == scores["sprog"]["scores"]


def test_sprog_is_for_rain(tmp_path, monkeypatch, capsys):
    line = ["model=persistence", "data=moving_mnist", "data.digits=builtin", "baselines=[sprog]"]
    status, _, err = call("evaluate", monkeypatch, capsys, *line, f"out={tmp_path / 'out'}")
    assert status != 0
    assert "[SPROG] the data must be rain in mm/h, such as data=radar_echo." in err


def test_steps_is_a_model_with_members(archive, tmp_path, monkeypatch, capsys):
    line = [*data(archive), "sequences=1", "examples=[]", f"out={tmp_path / 'out'}"]
    facts = ["model.members=3", "model.pixel_km=1", "baselines=[]"]
    status, _, err = call("evaluate", monkeypatch, capsys, "model=steps", *facts, *line)
    assert (status, err) == (0, "")
    scores = json.loads((tmp_path / "out" / "metrics.json").read_text())["forecasters"]["steps"]["scores"]
    assert scores["crps_mmh"]["overall"] > 0
    for options, message in (
        (["model=steps", "model.pixel_km=1", "model.minutes=5"], "model.minutes=10"),
        (["model=steps", "model.pixel_km=1", "ensemble=true", "members.perturbed=2"], "an ensemble by itself"),
        (["model=steps"], "[STEPS] needs 'pixel_km', which the data do not say. Give it: model.pixel_km=NUMBER."),
        (["model=persistence", "baselines=[steps]"], "[STEPS] needs 'pixel_km', which the data do not say"),
    ):
        status, _, err = call("evaluate", monkeypatch, capsys, *options, *line)
        assert status != 0
        assert message in err


def test_no_summary_of_steps(monkeypatch, capsys):
    status, _, err = call("summary", monkeypatch, capsys, "model=steps")
    assert status != 0
    assert "model=steps has no layers" in err
    assert "Traceback" not in err

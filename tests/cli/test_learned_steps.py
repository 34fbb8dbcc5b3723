"""The commands with a learned STEPS: training in sittings, scores beside STEPS, and forecasts with members."""

from __future__ import annotations

import json

from convlstm import checkpoints
from convlstm.forecasting.drawn_members import DrawnForecaster
from convlstm.forecasting.forecaster import Forecaster
from tests.support.forecast_runs import READER, stored
from tests.support.radar_archives import write_picture
from tests.support.reference import same
from tests.support.tiny import call

import numpy as np
import pytest
from mlx.utils import tree_flatten

SMALL = [
    "model=learned_steps",
    "data=radar_mixture",
    "loss=ensemble",
    "loss.blocks=[1,4]",
    "schedule=constant",
    "model.members=3",
    "model.hidden_channels=[4]",
    "model.levels=4",
    "model.training_members=2",
    "model.training_leads=2",
    "data.input_frames=3",
    "data.target_frames=4",
    "data.frame_size=32",
    "data.margin=4",
    "data.train_sequences=6",
    "data.parts.synthetic_10min.synthetic.pixel_km=1.0",
    "+data.shared.validation_sequences=1",
    "trainer.batch_size=2",
    "trainer.ema=0.9",
    "trainer.validate_every=4",
]


def trained(folder, steps, monkeypatch, capsys, *more):
    line = [*SMALL, f"output={folder.parent}", f"trainer.max_steps={steps}", *more]
    status, said, err = call("train", monkeypatch, capsys, *line)
    assert status == 0, err
    return said


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    trained(tmp_path / "run", 4, monkeypatch, capsys, "name=run")
    return tmp_path / "run"


def archive(folder):
    """Writes rain that moves, every ten minutes."""
    rows, columns = np.indices((40, 48))
    for n in range(12):
        rain = 60 + 50 * np.sin(rows / 4) * np.cos((columns - n) / 5)
        write_picture(folder, n, rain.astype(np.uint8), step=10)
    return folder


def test_a_run_of_several_sittings_equals_one_without_a_break(run, tmp_path, monkeypatch, capsys):
    said = trained(tmp_path / "halves", 2, monkeypatch, capsys, "name=halves", "trainer.validate_every=2")
    assert "6 train, 2 validation, 400 test sequences; 3 frames in and 4 out; 32 x 32 pixels" in said
    trained(tmp_path / "halves", 4, monkeypatch, capsys, f"resume={tmp_path / 'halves'}")
    one, two = (checkpoints.load_all(folder / "checkpoints" / "last") for folder in (run, tmp_path / "halves"))
    assert one.state["step"] == two.state["step"] == 4
    same(one.model.parameters(), two.model.parameters(), 0)
    size = sum(file.stat().st_size for file in (run / "checkpoints" / "last").glob("*.safetensors"))
    assert size < 4 * 4.5 * sum(a.size for _, a in tree_flatten(one.model.parameters())) + 40_000


@pytest.mark.slow
def test_it_is_scored_by_its_members(run, tmp_path, monkeypatch, capsys):
    line = ["examples=[]", "baselines=[]", "batch_size=1", f"out={tmp_path / 'scores'}"]
    status, _, err = call("evaluate", monkeypatch, capsys, f"ckpt={run}", "split=validation", *line)
    assert (status, err) == (0, "")
    scores = json.loads((tmp_path / "scores" / "metrics.json").read_text())["forecasters"]["model"]["scores"]
    assert np.isfinite(scores["crps_mmh"]["overall"])

    line[-1] = f"out={tmp_path / 'others'}"
    line += ["data=radar_echo", f"data.archive={archive(tmp_path / 'radar')}", f"data.{READER}", "data.split=[0,0,1]"]
    line += ["data.input_frames=3", "data.target_frames=3", "data.frame_size=32", "data.progress=false", "sequences=2"]
    status, _, err = call("evaluate", monkeypatch, capsys, f"ckpt={run}", *line)
    assert (status, err) == (0, "")
    document = json.loads((tmp_path / "others" / "metrics.json").read_text())
    assert document["forecasters"]["model"]["scores"]["crps_mmh"]["overall"] >= 0
    status, _, err = call("evaluate", monkeypatch, capsys, f"ckpt={run}", "members.drawn=5", "products=[csi]", *line)
    assert (status, err) == (0, "")
    document = json.loads((tmp_path / "others" / "metrics.json").read_text())
    assert len(document["forecasters"]["model"]["rank_histogram"]) == 6
    status, _, err = call("evaluate", monkeypatch, capsys, f"ckpt={run}", "ensemble=true", "members.perturbed=2", *line)
    assert status != 0
    assert "is an ensemble by itself" in err


def test_forecasts_have_spread_and_probabilities(run, tmp_path, monkeypatch, capsys):
    line = [f"ckpt={run}", f"input={archive(tmp_path / 'radar')}", f"out={tmp_path / 'out'}", "format=npy", READER]
    status, said, err = call("forecast", monkeypatch, capsys, *line, "horizon=3", "thresholds=[2]")
    assert (status, err) == (0, "")
    assert "the input does not say the side of its pixels: they are taken as 2 km" in said
    values, description = stored(tmp_path / "out", "forecast_20200601T015000")
    assert values.shape == (3, 40, 48)
    assert description["lead_minutes"] == [10, 20, 30]
    assert description["provenance"]["ensemble"] == {"members": 3}

    forecaster = Forecaster.load(run, thresholds=[2.0])
    assert isinstance(forecaster, DrawnForecaster)
    frames = np.stack([np.full((20, 28), 3.0)] * 3) + np.arange(28) % 5
    mean = forecaster(frames, 2)
    assert mean.shape == (2, 20, 28)
    members = np.stack(list(forecaster.members(frames, 2)))
    np.testing.assert_allclose(mean, members.mean(axis=0), rtol=1e-5)
    assert list(forecaster.layers) == ["spread", "probability_at_least_2_mmh"]
    forecaster.size = 4
    assert len(list(forecaster.members(frames, 2))) == 4
    assert forecaster(frames, 2).shape == (2, 20, 28)
    assert forecaster.provenance()["ensemble"] == {"members": 4}
    with pytest.raises(ValueError, match="'size' must be a whole number of at least 2 but got 1"):
        forecaster.size = 1
    forecaster.model.adopt(minutes=10, pixel_km=1)
    assert np.abs(forecaster(frames, 2) - mean).max() > 1e-4
    call("forecast", monkeypatch, capsys, *line, "horizon=1", "members.drawn=2")
    assert stored(tmp_path / "out", "forecast_20200601T015000")[1]["provenance"]["ensemble"] == {"members": 2}
    refused = {
        "tile=32": "'tile' must be null",
        "ensemble=true members.perturbed=3": "'members.perturbed' is for other",
    }
    for keys, text in refused.items():
        status, _, err = call("forecast", monkeypatch, capsys, *line, *keys.split())
        assert status != 0
        assert text in err


def test_a_summary_counts_it(monkeypatch, capsys):
    line = ["model=learned_steps", "model.hidden_channels=[4]", "frame_size=32", "horizon=2", "memory=false"]
    status, said, err = call("summary", monkeypatch, capsys, *line)
    assert (status, err) == (0, "")
    assert "LearnedSTEPS" in said
    assert "MACs         not counted" in said


def test_the_experiment_is_built_from_the_archives(radar_root, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CONVLSTM_DATA", str(radar_root.parent))
    line = ["experiment=learned_steps", f"+data.shared.index={tmp_path / 'index'}", f"output={tmp_path}", "name=run"]
    status, said, err = call("train", monkeypatch, capsys, *line, "--cfg", "job", "--resolve")
    assert (status, err) == (0, "")
    assert "italy_north_2025/20250201.nc" in said
    for held_out in ("bom_66", "rmi_2021", "italy_south", "20250325"):
        assert held_out not in said

"""metrics.json and metrics.csv."""

import csv
import json
import math

from convlstm.evaluation.files import write_scores
from convlstm.evaluation.scoring import evaluate
from convlstm.metrics import score
from convlstm.metrics.frames import KINDS
from tests.support.sequences import BASELINES, batched, sequences

import mlx.core as mx
import numpy as np
import pytest


def test_written_scores(tmp_path):
    inputs, targets = sequences(size=(5, 6))
    result = evaluate(BASELINES, batched(inputs, targets, 4))
    folder = tmp_path / "new" / "folder"
    record = {"step": np.int64(7), "data": {"seed": 0}, "lr": mx.array(0.5), "folder": tmp_path, "bad": math.inf}
    write_scores(folder, result, record)
    assert sorted(path.name for path in folder.iterdir()) == ["metrics.csv", "metrics.json"]

    document = json.loads((folder / "metrics.json").read_text())
    expected = {"step": 7, "data": {"seed": 0}, "lr": 0.5, "folder": str(tmp_path), "bad": None}
    assert document["record"] == expected
    assert (document["sequences"], document["horizon"], document["units"]) == (
        6,
        4,
        {kind: score(kind).unit for kind in KINDS},
    )
    zeros_ = document["forecasters"]["zeros"]
    assert zeros_["scores"]["mse_per_frame"] == result.scores["zeros"]["mse_per_frame"]
    assert zeros_["scores"]["ssim"] == {"overall": None, "per_lead": [None] * 4}
    assert zeros_["skill_against"] == {"persistence": result.skill("zeros", "persistence")}
    assert zeros_["coverage"] == 1
    assert zeros_["sequences_per_second"] > 0

    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["forecaster", "metric", "unit", "lead", "value"]
    assert len(rows) == 2 * len(KINDS) * 5
    found = {(row["forecaster"], row["metric"], row["lead"]): row for row in rows}
    psnr = result.scores["zeros"]["psnr"]
    assert float(found["zeros", "psnr", "mean"]["value"]) == psnr["overall"]
    assert float(found["zeros", "psnr", "4"]["value"]) == psnr["per_lead"][3]
    assert found["zeros", "psnr", "4"]["unit"] == "dB"
    assert found["zeros", "ssim", "1"]["value"] == ""


def test_a_failed_write_leaves_the_old_file_alone(tmp_path, monkeypatch):
    inputs, targets = sequences()
    result = evaluate(BASELINES, batched(inputs, targets, 4))
    write_scores(tmp_path, result, {"run": 1})

    def fail(*_):
        raise OSError("disk")

    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(OSError, match="disk"):
        write_scores(tmp_path, result, {"run": 2})
    assert json.loads((tmp_path / "metrics.json").read_text())["record"] == {"run": 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.csv", "metrics.json"]

"""The command `evaluate`: its scores and its files."""

import csv
import io
import json
import shutil
import sys

from convlstm import load
from convlstm.architectures.input_frames import as_unit
from convlstm.checkpoints import seal
from convlstm.datasets.moving_mnist import MovingMNIST
from tests.support.tiny import Data, blots

import mlx.core as mx
import numpy as np
import pytest
import yaml
from PIL import Image

# The frames that OVERRIDES describe.
DATA = {
    "frame_size": 16,
    "digit_size": 8,
    "num_digits": 1,
    "input_frames": 3,
    "target_frames": 3,
    "train_sequences": 22,
    "validation_sequences": 5,
    "test_sequences": 5,
}


def scores(folder):
    return json.loads((folder / "metrics.json").read_text())


def overall(document, forecaster, metric):
    return document["forecasters"][forecaster]["scores"][metric]["overall"]


def frames(split, n, **changes):
    """Returns the inputs and targets in [0, 1] of the first sequences of a split."""
    data = Data(**(DATA | changes))
    samples = [data.sample(split, i) for i in range(n)]
    return [np.array(as_unit(np.stack([sample[key] for sample in samples]))) for key in ("inputs", "targets")]


def test_the_scores_are_those_of_the_forecasts(runs, evaluate, tmp_path):
    status, out, err = evaluate(f"ckpt={runs / 'a'}", f"out={tmp_path}", "batch_size=2")
    assert (status, err) == (0, "")
    inputs, targets = frames("test", 5)
    model = load(runs / "a", trusted=("convlstm", "mlx", "tests"))
    forecasts = {
        "model": np.array(model(mx.array(inputs), 3)),
        "persistence": np.repeat(inputs[:, -1:], 3, axis=1),
        "zeros": np.zeros_like(targets),
    }
    document = scores(tmp_path)
    assert list(document["forecasters"]) == ["model", "persistence", "zeros"]
    assert (document["sequences"], document["horizon"]) == (5, 3)
    for name, forecast in forecasts.items():
        error = forecast.astype(np.float64) - targets
        got = document["forecasters"][name]["scores"]
        assert got["mse_per_pixel"]["overall"] == pytest.approx((error**2).mean(), rel=1e-5)
        assert got["mse_per_frame"]["overall"] == pytest.approx((error**2).sum((2, 3, 4)).mean(), rel=1e-5)
        np.testing.assert_allclose(got["mae_per_pixel"]["per_lead"], np.abs(error).mean((0, 2, 3, 4)), rtol=1e-5)
    skill = 1 - overall(document, "model", "mse_per_pixel") / overall(document, "zeros", "mse_per_pixel")
    assert document["forecasters"]["model"]["skill_against"]["zeros"] == pytest.approx(skill)

    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = [
            row for row in csv.DictReader(file) if row["forecaster"] == "model" and row["metric"] == "mse_per_frame"
        ]
    assert [row["lead"] for row in rows] == ["mean", "1", "2", "3"]
    assert float(rows[0]["value"]) == overall(document, "model", "mse_per_frame")
    assert f"{overall(document, 'model', 'mse_per_frame'):.2f}" in out
    assert "5 sequences, 3 frames ahead" in out


def test_a_run_means_its_best_checkpoint(runs, evaluate, tmp_path):
    best = yaml.safe_load((runs / "a" / "checkpoints" / "best" / "state.json").read_text())["step"]
    for name, path, step in (
        ("run", runs / "a", best),
        ("best", runs / "a" / "checkpoints" / "best", best),
        ("last", runs / "a" / "checkpoints" / "last", 12),
    ):
        status, _, _ = evaluate(f"ckpt={path}", f"out={tmp_path / name}")
        assert status == 0
        record = scores(tmp_path / name)["record"]
        assert record["steps"] == {"model": step}
        assert record["checkpoints"]["model"].endswith("last" if name == "last" else "best")
        assert record["split"] == "test"
        assert record["data"]["digits_sha256"] == blots().sha256()


def test_several_runs_stand_side_by_side(runs, evaluate, tmp_path):
    status, out, _ = evaluate(f"ckpt=[{runs / 'a'},{runs / 'b'}]", f"out={tmp_path / 'both'}")
    assert status == 0
    both = scores(tmp_path / "both")
    assert list(both["forecasters"]) == ["a", "b", "persistence", "zeros"]
    for name in ("a", "b"):
        evaluate(f"ckpt={runs / name}", f"out={tmp_path / name}")
        alone = overall(scores(tmp_path / name), "model", "mse_per_frame")
        assert overall(both, name, "mse_per_frame") == alone
    assert overall(both, "a", "mse_per_frame") != overall(both, "b", "mse_per_frame")
    assert "note:" not in out

    twice = f"ckpt=[{runs / 'a'},{runs / 'a' / 'checkpoints' / 'last'}]"
    status, _, _ = evaluate(twice, "examples=[0]", f"out={tmp_path / 'twice'}")
    assert status == 0
    assert list(scores(tmp_path / "twice")["forecasters"]) == ["a/best#1", "a/last#2", "persistence", "zeros"]


def test_runs_of_other_data_are_scored_on_the_first_one_s_with_a_note(runs, run, evaluate, tmp_path):
    for place in run.glob("checkpoints/*/config.yaml"):
        place.write_text(place.read_text().replace("num_digits: 1", "num_digits: 2"))
        seal(place.parent)
    status, out, _ = evaluate(f"ckpt=[{runs / 'b'},{run}]", f"out={tmp_path / 'out'}")
    assert status == 0
    assert "note: 'a' was trained on other data than 'b' (data.num_digits)." in out
    assert scores(tmp_path / "out")["record"]["data"]["num_digits"] == 1


@pytest.mark.parametrize(
    ("changes", "split", "n", "data", "horizon"),
    [
        (["split=validation"], "validation", 5, {}, 3),
        (["split=train", "sequences=3"], "train", 3, {}, 3),
        (["horizon=1"], "test", 5, {}, 1),
        (["data.target_frames=7", "horizon=6"], "test", 5, {"target_frames": 7}, 6),
        (["data.test_sequences=2", "data.dtype=float32"], "test", 2, {}, 3),
        (
            ["data.target_frames=4", "data.frame_size=[16,24]"],
            "test",
            5,
            {"target_frames": 4, "frame_size": [16, 24]},
            4,
        ),
    ],
)
def test_the_scored_data_can_be_changed(changes, split, n, data, horizon, runs, evaluate, tmp_path):
    status, _, err = evaluate(f"ckpt={runs / 'a'}", f"out={tmp_path}", *changes)
    assert (status, err) == (0, "")
    document = scores(tmp_path)
    assert (document["sequences"], document["horizon"]) == (n, horizon)
    inputs, targets = frames(split, n, **data)
    expected = np.square(inputs[:, -1:].astype(np.float64) - targets[:, :horizon]).sum((2, 3, 4)).mean()
    assert overall(document, "persistence", "mse_per_frame") == pytest.approx(expected, rel=1e-5)


def test_other_data_can_be_named(runs, evaluate, tmp_path):
    status, _, _ = evaluate(
        f"ckpt={runs / 'a'}",
        f"out={tmp_path}",
        "data=moving_mnist",
        "data.digits=builtin",
        "data.frame_size=16",
        "data.digit_size=8",
        "sequences=2",
    )
    assert status == 0
    document = scores(tmp_path)
    assert document["record"]["data"]["digits_sha256"] == MovingMNIST(digits="builtin").describe()["digits_sha256"]
    assert (document["sequences"], document["horizon"], document["record"]["data"]["num_digits"]) == (2, 10, 2)


def test_pictures_of_the_chosen_sequences(run, evaluate):
    status, out, _ = evaluate(f"ckpt={run}", "examples=[3,0,99]")
    assert status == 0
    folder = run / "evaluation"
    pictures = ["forecast_0.png", "forecast_3.png", "forecast_0.gif", "lead_times.png", "training.png"]
    assert out.rstrip().splitlines()[-1] == "Pictures:  " + ", ".join(str(folder / name) for name in pictures)
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [*pictures, "metrics.csv", "metrics.json", "report.html"]
    )
    for name in pictures:
        with Image.open(folder / name) as image:
            assert getattr(image, "n_frames", 1) == (6 if name.endswith("gif") else 1)
            assert np.asarray(image.convert("L")).std() > 5
    assert (folder / "forecast_0.png").read_bytes() != (folder / "forecast_3.png").read_bytes()


def test_a_checkpoint_alone_is_enough(run, evaluate, tmp_path):
    alone = tmp_path / "given"
    (run / "checkpoints" / "best").rename(alone)
    shutil.rmtree(run)
    status, _, _ = evaluate(f"ckpt={alone}", "examples=[1]")
    assert status == 0
    assert sorted(path.name for path in (alone / "evaluation").iterdir()) == [
        "forecast_1.gif", "forecast_1.png", "lead_times.png", "metrics.csv", "metrics.json", "report.html",
    ]  # fmt: skip


def test_a_terminal_gets_a_bar_and_a_pipe_none(runs, evaluate, tmp_path, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    assert evaluate(f"ckpt={runs / 'a'}", f"out={tmp_path}")[2] == ""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert evaluate(f"ckpt={runs / 'a'}", f"out={tmp_path}")[0] == 0
    assert "evaluating: 100%" in terminal.getvalue()
    assert "5/5" in terminal.getvalue()

"""The examples and the README's Python run as a user would run them."""

from __future__ import annotations

import re
import subprocess
import sys

from convlstm import Forecaster
from convlstm.datasets.transforms import Linear
from tests.support.project import PROJECT
from tests.support.tiny import call

import numpy as np
import pytest

sys.path.insert(0, str(PROJECT / "examples"))
from own_arrays import Windows, drifting_spots, main


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs the example for two steps; returns its folder and its output."""
    folder = tmp_path_factory.mktemp("example") / "run"
    line = [sys.executable, "examples/own_arrays.py", "--out", str(folder), "--steps=2", "--frames=120", "--size=16"]
    done = subprocess.run(line, cwd=PROJECT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_own_arrays_leaves_a_run_and_a_forecast_in_physical_units(run):
    folder, output = run
    assert (folder / "metrics.csv").is_file()
    assert re.search(r"^persistence +\d", output, re.MULTILINE)
    frames = drifting_spots(120, 16, np.random.default_rng(0))
    forecaster = Forecaster.load(folder)
    assert (forecaster.scale, forecaster.input_frames, forecaster.horizon) == (Linear(scale=30.0), 5, 5)
    forecast = np.load(folder / "forecast.npy")
    assert forecast.shape == (10, 16, 16)
    np.testing.assert_allclose(forecast, forecaster(frames, 10), atol=1e-4)
    assert 0 <= forecast.min() < forecast.max() <= 30


def test_forecast_takes_the_run_of_own_arrays(run, tmp_path, monkeypatch, capsys):
    folder, _ = run
    np.save(tmp_path / "frames.npy", drifting_spots(120, 16, np.random.default_rng(0)))
    line = [f"ckpt={folder}", f"input={tmp_path / 'frames.npy'}", "horizon=10", f"out={tmp_path / 'next.npy'}"]
    status, out, err = call("forecast", monkeypatch, capsys, *line)
    assert status == 0, out + err
    np.testing.assert_allclose(np.load(tmp_path / "next.npy")[..., 0], np.load(folder / "forecast.npy"), atol=1e-4)


def test_own_arrays_are_split_in_time_without_a_frame_in_common():
    frames = np.broadcast_to(np.arange(50, dtype=np.float32)[:, None, None], (50, 2, 2))
    data = Windows(frames, Linear(scale=50.0), input_frames=2, target_frames=3, shares=(0.5, 0.2, 0.3))
    assert [data.size(split) for split in ("train", "validation", "test")] == [21, 6, 11]
    frames_of = []
    for split in ("train", "validation", "test"):
        batch = {name: np.concatenate([b[name] for b in data.stream(split, 1)]) for name in ("inputs", "targets")}
        assert batch["inputs"].shape[1:] == (2, 2, 2, 1)
        assert batch["targets"].shape[1:] == (3, 2, 2, 1)
        both = np.concatenate([batch["inputs"], batch["targets"]], axis=1)[..., 0, 0, 0] * 50
        np.testing.assert_allclose(np.diff(both, axis=1), 1, atol=1e-4)
        frames_of.append({round(float(value)) for value in both.ravel()})
    assert [(min(values), max(values)) for values in frames_of] == [(0, 24), (25, 34), (35, 49)]
    orders = [[b["inputs"][0, 0, 0, 0, 0] for b in data.stream("train", 1, seed=seed)] for seed in (0, 0, 1)]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]


def test_own_arrays_have_a_mask_where_pixels_are_missing():
    frames = np.ones((30, 2, 2), np.float32)
    frames[4, 0, 1] = np.nan
    data = Windows(frames, Linear(scale=2.0), input_frames=1, target_frames=1, shares=(1, 1, 1))
    sample = data.load("train", 3)
    np.testing.assert_array_equal(sample["mask"][0, ..., 0], [[True, False], [True, True]])
    np.testing.assert_array_equal(sample["targets"][0, ..., 0], [[0.5, 0], [0.5, 0.5]])
    assert data.load("train", 0)["mask"].all()
    assert "mask" not in Windows(np.ones((30, 2, 2)), Linear(), input_frames=1, target_frames=1).load("train", 0)


def test_own_arrays_refuses_too_few_frames():
    with pytest.raises(ValueError, match="must be enough for a window of 10 in each split but got 40, too few for val"):
        Windows(np.zeros((40, 2, 2)), Linear())


def test_own_arrays_takes_no_other_arguments(capsys):
    with pytest.raises(SystemExit):
        main(["--epochs=3"])
    assert "unrecognized arguments: --epochs=3" in capsys.readouterr().err


def test_the_python_of_the_readme_runs(run):
    folder, _ = run
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    (block,) = (b for b in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "Forecaster.load(" in b)
    assert "runs/quickstart" in block
    shown = "print(hidden.shape, forecast.shape)"
    block = block.replace("runs/quickstart", str(folder)).replace("forecaster = ", f"{shown}\nforecaster = ")
    block += "\nprint(forecast.shape)\n"
    done = subprocess.run([sys.executable, "-c", block], cwd=PROJECT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[-3:-1] == ["(2, 10, 64, 48, 16) (2, 25, 64, 48, 1)", "(12, 40, 60)"]

"""The model that comes with the package: its name, its files, and how a run becomes it."""

from __future__ import annotations

import json
from pathlib import Path

import convlstm
from convlstm import checkpoints
from convlstm.checkpoints import packaging, tensors
from convlstm.checkpoints.build import build
from tests.support.forecast_runs import PERSISTENCE, RAIN, write_run
from tests.support.project import PROJECT

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
import pytest

MODEL = {
    "_target_": "convlstm.architectures.learned_steps.LearnedSTEPS",
    "members": 3,
    "hidden_channels": [4],
    "levels": 4,
}
LOSS = {"_target_": "convlstm.ensemble_losses.EnsembleScore", "blocks": [1, 4]}


@pytest.fixture
def run(tmp_path):
    """Returns a run with averaged weights, whose record names files."""
    mx.random.seed(1)
    model = build(MODEL)
    averaged = {name: array + 1 for name, array in tensors.named(model.parameters()).items()}
    archives = {"italy: 20250201.nc": {"sha256": "0"}}
    part = {"weight": 2.0, "archives": archives}
    data = RAIN | {"name": "radar_mixture", "archives": archives, "parts": {"italy": part}}
    config = {"model": MODEL, "loss": LOSS, "data": {"archive": f"{tmp_path}/radar"}, "output": f"{tmp_path}"}
    state = {"step": 7, "status": "finished", "data": data}
    checkpoints.save(tmp_path / "run" / "checkpoints" / "best", model, optim.Adam(0.1), state, config, ema=averaged)
    return tmp_path / "run"


def test_a_run_becomes_the_model_of_the_package(run, tmp_path, capsys, monkeypatch):
    target = tmp_path / "package" / "nowcast"
    monkeypatch.setattr(packaging, "packaged", lambda: target)
    assert packaging.main([str(run)]) == 0
    assert str(target / checkpoints.MODEL) in capsys.readouterr().out
    loaded = checkpoints.load_all(target)
    averaged = tensors.read(run / "checkpoints" / "best" / checkpoints.EMA)
    for name, array in tensors.named(loaded.model.parameters()).items():
        np.testing.assert_array_equal(array, averaged[name], err_msg=name)
    assert loaded.config == {"model": MODEL, "loss": LOSS}
    assert loaded.state["step"] == 7
    data = loaded.state["data"]
    assert (data["units"], data["input_frames"], data["transform"]) == ("mm/h", 3, RAIN["transform"])
    assert data["weights"] == {"italy": 2.0}
    for file in target.iterdir():
        assert str(tmp_path).encode() not in file.read_bytes()
        assert b"20250201" not in file.read_bytes()
    packaging.main([str(run)])  # the next one replaces it
    assert sorted(file.name for file in target.parent.iterdir()) == ["nowcast"]


def test_what_cannot_be_packaged_leaves_the_package_as_it_is(run, tmp_path, capsys, monkeypatch):
    target = packaging.package(run, tmp_path / "nowcast")
    before = checkpoints.read_config(target)
    monkeypatch.setattr(packaging, "packaged", lambda: target)
    monkeypatch.setattr(packaging, "MOST_BYTES", 1000)
    assert packaging.main([str(run)]) == 1
    assert "more than the 1,000 of the package" in capsys.readouterr().err
    other = write_run(tmp_path / "other", PERSISTENCE)
    assert packaging.main([str(other)]) == 1
    assert "holds a Persistence, but the package's model must take any step" in capsys.readouterr().err
    assert packaging.main([str(tmp_path / "none")]) == 1
    assert "Nothing was written." in capsys.readouterr().err
    assert checkpoints.read_config(target) == before


def test_the_package_has_a_whole_and_small_model_without_paths():
    folder = checkpoints.packaged()
    assert folder == PROJECT / "convlstm" / "nowcast"
    checkpoints.verify(folder)
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 4_000_000
    state, config = checkpoints.read_state(folder), checkpoints.read_config(folder)
    assert "data" not in config
    assert not any(text.startswith(("/", "~", "./")) for text in _texts([state, config]))
    model = convlstm.load("nowcast")
    assert model.size == 24
    assert (model.minutes, model.pixel_km) == (5.0, 2.0)
    assert build(config["loss"], ("convlstm",))


def _texts(node):
    if isinstance(node, dict | list):
        for item in node.values() if isinstance(node, dict) else node:
            yield from _texts(item)
    elif isinstance(node, str):
        yield node


def test_the_name_is_that_of_the_package_and_paths_are_paths(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert checkpoints.find("nowcast") == checkpoints.packaged()
    assert checkpoints.results_of(checkpoints.find("nowcast")) == Path("runs/packaged_nowcast")
    with pytest.raises(checkpoints.CheckpointError, match="'nowcast' does not exist"):
        checkpoints.find("./nowcast")
    run.rename("nowcast")
    own = Path("nowcast/checkpoints/best")
    assert checkpoints.find("./nowcast") == checkpoints.find(Path("nowcast")) == own
    assert checkpoints.results_of(own) == Path("nowcast")
    with pytest.warns(UserWarning, match=r"not the folder of this name here, which is '\./nowcast'"):
        assert checkpoints.find("nowcast") == checkpoints.packaged()
    assert json.loads((own / checkpoints.STATE).read_text())["step"] == 7

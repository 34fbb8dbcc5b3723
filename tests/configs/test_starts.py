"""Runs in starts/, from which training goes on."""

from __future__ import annotations

import re

from convlstm import checkpoints
from convlstm.runs.resume import check_same_run
from tests.support.project import PROJECT

import pytest
from hydra import compose, initialize_config_dir
from mlx.utils import tree_flatten
from omegaconf import OmegaConf

STARTS = sorted(path for path in (PROJECT / "starts").glob("*") if (path / "checkpoints").is_dir())


@pytest.mark.parametrize("start", STARTS, ids=lambda path: path.name)
def test_a_start_can_be_resumed_by_its_experiment(start, monkeypatch):
    monkeypatch.setenv("CONVLSTM_DATA", "/elsewhere")
    with initialize_config_dir(str(PROJECT / "configs"), version_base="1.3"):
        config = compose("train", overrides=[f"experiment={start.name}"])
    config.name = start.name
    folder = start / "checkpoints" / "last"
    settings = OmegaConf.to_container(config, resolve=True)
    del settings["freeze"]  # as in training, where nothing is frozen
    check_same_run(folder, settings)
    loaded = checkpoints.load_all(folder)
    assert loaded.state["step"] > 0
    assert sum(a.size for _, a in tree_flatten(loaded.model.parameters())) * 4 < 4e6
    assert sum(file.stat().st_size for file in folder.iterdir()) < 12e6
    assert not re.search(r"(?<![.\w])/\w", (folder / "config.yaml").read_text())  # no path of one machine

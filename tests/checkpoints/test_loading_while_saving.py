"""Loads of a checkpoint while another process saves again and again."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import warnings

from convlstm.checkpoints import CheckpointError, find, load, load_all, loading, read_config, read_state, seal
from tests.support.project import PROJECT

import pytest

SAVE = """
import sys
import time
from pathlib import Path
from convlstm.checkpoints import save
from convlstm.models import EncoderForecaster
from convlstm.runs.progress import Progress
from tests.support.strangers import DATA, DESCRIPTION
import mlx.optimizers as optim

model = EncoderForecaster(**{name: value for name, value in DESCRIPTION.items() if name != "_target_"})
optimizer = optim.Adam(0.1)
optimizer.init(model.trainable_parameters())
while True:
    save(Path(sys.argv[1]), model, optimizer, vars(Progress()), {"model": DESCRIPTION, "data": DATA, "seed": 0})
    print("saved", flush=True)
    time.sleep(0.03)  # without a pause, hardly a load would begin and end between two saves
"""


def test_a_checkpoint_that_is_replaced_is_read_again(run, last):
    with subprocess.Popen([sys.executable, "-c", SAVE, last], cwd=PROJECT, stdout=subprocess.PIPE, text=True) as saver:
        try:
            assert saver.stdout is not None
            assert saver.stdout.readline() == "saved\n"
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                for n in range(20):
                    load(run if n % 2 else last)
                    assert read_state(find(last))["step"] == 0
                    assert read_config(last)["seed"] == 0
        finally:
            saver.kill()


def test_a_damaged_checkpoint_that_stays_is_not_waited_for(last):
    (last / "model.safetensors").write_bytes(b"")
    begin = time.monotonic()
    with pytest.raises(CheckpointError, match=r"is damaged"):
        load(last)
    (last / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"is incomplete"):
        load(last)
    assert time.monotonic() - begin < 1


def test_everything_that_is_loaded_comes_from_one_save(last, monkeypatch):
    def saved_meanwhile(folder):
        state = read_state(folder)
        if not saves:
            saves.append(1)
            other = folder.with_name("other")
            shutil.copytree(folder, other)
            (other / "state.json").write_text(json.dumps(state | {"step": 8}))
            seal(other)
            folder.rename(folder.with_name("former"))
            other.rename(folder)
        return state

    saves = []
    monkeypatch.setattr(loading, "read_state", saved_meanwhile)
    assert load_all(last).state["step"] == 8

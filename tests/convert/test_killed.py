"""Conversions that are killed."""

from __future__ import annotations

import subprocess
import sys

from convlstm.convert.__main__ import main
from tests.support.project import PROJECT
from tests.support.reference import normal

import numpy as np
import pytest

KILLED = """
import os, signal, sys
from pathlib import Path
from convlstm.convert.__main__ import main

def kill(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)

owner, name = {
    "files": (__import__("convlstm.checkpoints.saving").checkpoints.saving, "_move_in"),
    "rename": (Path, "replace"),
}[sys.argv[1]]
setattr(owner, name, kill)
main(sys.argv[2:])
"""


@pytest.mark.parametrize("moment", ["files", "rename"])
def test_a_killed_conversion_refuses_no_other_one_and_leaves_nothing(moment, tmp_path, rng, capsys):
    state = {
        "cell_list.0.conv.weight": np.asarray(normal(rng, (8, 3, 3, 3))),
        "cell_list.0.conv.bias": np.zeros(8, np.float32),
    }
    np.savez(tmp_path / "a.npz", **state)
    line = [str(tmp_path / "a.npz"), str(tmp_path / "run")]
    killed = subprocess.run([sys.executable, "-c", KILLED, moment, *line], cwd=PROJECT, capture_output=True, text=True)
    assert killed.returncode == -9, killed.stderr
    assert not (tmp_path / "run").exists()
    assert len(list(tmp_path.iterdir())) == 2
    assert main(line) == 0, capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "run"]
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["best"]

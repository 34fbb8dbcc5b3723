"""Files of weights that a stranger made: each ends with a message, before memory is asked for."""

from __future__ import annotations

import os
import time

from convlstm.convert import limits
from convlstm.convert.__main__ import main
from tests.support.hostile_weights import ATTACKS

import numpy as np
import pytest

CASES = [(name, attack) for name, attacks in ATTACKS.items() for attack in attacks]


@pytest.mark.parametrize(("name", "attack"), CASES)
def test_a_hostile_file_ends_with_a_message(name, attack, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(limits, "memory", lambda: 8 << 30)
    path = tmp_path / name
    path.write_bytes(ATTACKS[name][attack]())
    begin = time.monotonic()
    assert main([str(path), str(tmp_path / "run")]) == 1
    told = capsys.readouterr().err
    assert told.startswith("convert: ")
    assert name in told
    assert told.endswith("Nothing was written.\n")
    assert time.monotonic() - begin < 10
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["a.npz", "a.safetensors", "a.keras", "a.h5"])
def test_only_plain_files_that_fit_are_read(name, tmp_path, capsys):
    os.mkfifo(tmp_path / name)
    assert main([str(tmp_path / name), str(tmp_path / "run")]) == 1
    assert "not a" in capsys.readouterr().err
    (tmp_path / name).unlink()
    with (tmp_path / name).open("wb") as file:
        file.truncate(1 << 43)
    assert main([str(tmp_path / name), str(tmp_path / "run")]) == 1
    assert "more than a quarter of this machine's memory" in capsys.readouterr().err


@pytest.mark.parametrize(
    "names",
    [
        {"enc.enc.0.conv.conv.weight": (4, 1, 3, 3), f"enc.enc.{10**12}.conv.conv.weight": (1,)},
        {"enc.enc.0.conv.conv.weight": (4, 1, 3, 3), "enc.enc." + "9" * 5_000 + ".conv": (1,)},
        {"enc.enc.0.conv.conv.weight": (0, 1, 3, 3), "hid.enc.0.block.norm1.weight": (4,)},
        {"cell_list.0.conv.weight": (8, 2, 0, 0)},
        {"cell_list.0.conv.weight": (0, 0, 3, 3)},
        {"cell_list.0.conv_m.0.weight": (1,)},
        {"cell_list.0.conv_x.0.weight": (4, 16, 3, 3)},
    ],
    ids=range(7),
)
def test_names_and_shapes_that_claim_too_much(names, tmp_path, capsys):
    np.savez(tmp_path / "a.npz", **{name: np.zeros(shape, np.float32) for name, shape in names.items()})
    begin = time.monotonic()
    assert main([str(tmp_path / "a.npz"), str(tmp_path / "run")]) == 1
    assert "Nothing was written." in capsys.readouterr().err
    assert time.monotonic() - begin < 10

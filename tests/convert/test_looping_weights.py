"""Keras's files whose decoder does not come to an end are refused."""

from __future__ import annotations

import zipfile

from convlstm.convert.__main__ import main
from fault_tests.file_damage import looping
from tests.support.keras_files import keras_file

import pytest

pytest.importorskip("h5py")


@pytest.mark.parametrize("form", [".h5", ".weights.h5", ".keras"])
def test_a_file_that_loops_is_refused(tmp_path, rng, monkeypatch, capsys, form):
    path = tmp_path / f"model{form}"
    keras_file(path, rng, [(2, 3, 3)], form)
    if form == ".keras":
        with zipfile.ZipFile(path) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in parts.items():
                archive.writestr(name, looping(content, rng, []) if name.endswith(".h5") else content)
    else:
        path.write_bytes(looping(path.read_bytes(), rng, []))
    monkeypatch.setenv("CONVLSTM_READ_SECONDS", "1")
    assert main([str(path), str(tmp_path / "run")]) == 1
    assert f"'{path}' cannot be read: took more than 1 s." in capsys.readouterr().err
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]

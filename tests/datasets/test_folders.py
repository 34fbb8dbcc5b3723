from pathlib import Path

from convlstm.datasets.folders import data_folder


def test_data_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("CONVLSTM_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert data_folder("mnist") == tmp_path / "data" / "mnist"
    monkeypatch.delenv("CONVLSTM_DATA")
    assert data_folder("mnist") == tmp_path / "cache" / "convlstm" / "mnist"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert data_folder("mnist") == Path.home() / ".cache" / "convlstm" / "mnist"

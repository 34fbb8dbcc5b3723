import os
from pathlib import Path

from convlstm.datasets import kept_digits
from convlstm.datasets.kept_digits import kept

import numpy as np
import pytest


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("CONVLSTM_DATA", str(tmp_path / "data"))
    return tmp_path / "data" / "digits"


@pytest.fixture
def fonts(tmp_path) -> list[Path]:
    for name in "ab":
        (tmp_path / f"{name}.ttf").write_text(name)
    return [tmp_path / "a.ttf", tmp_path / "b.ttf"]


class Draw:
    """Draws digits that differ from call to call, and counts the calls."""

    calls = 0

    def __call__(self) -> np.ndarray:
        self.calls += 1
        return np.random.default_rng(self.calls).integers(0, 256, (3, 28, 28)).astype(np.uint8)


def test_they_are_drawn_once(folder, fonts):
    draw = Draw()
    first, again = kept(fonts, 3, draw), kept(fonts, 3, draw)
    np.testing.assert_array_equal(first, again)
    assert (again.shape, again.dtype, draw.calls) == ((3, 28, 28), np.uint8, 1)
    assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize("change", ["font", "name", "libraries", "count"])
def test_others_are_drawn_for_other_fonts_and_libraries(change, folder, fonts, monkeypatch):
    draw = Draw()
    kept(fonts, 3, draw)
    if change == "font":
        fonts[1].write_text("else")
    elif change == "name":
        fonts[1] = fonts[1].rename(fonts[1].with_name("c.ttf"))
    elif change == "libraries":
        monkeypatch.setattr(kept_digits.metadata, "version", lambda name: "0")
    kept(fonts, 2 if change == "count" else 3, draw)
    assert draw.calls == 2


@pytest.mark.parametrize("damage", ["cut off", "other pixels", "empty"])
def test_a_damaged_file_is_replaced(damage, folder, fonts):
    draw = Draw()
    kept(fonts, 3, draw)
    (file,) = folder.iterdir()
    data = bytearray(file.read_bytes())
    data[100] ^= 1
    file.write_bytes({"cut off": data[:-1], "other pixels": data, "empty": b""}[damage])
    second = kept(fonts, 3, draw)
    np.testing.assert_array_equal(kept(fonts, 3, draw), second)
    assert draw.calls == 2


def test_where_nothing_can_be_kept_they_are_drawn_each_time(folder, fonts):
    folder.parent.write_text("no folder")
    draw = Draw()
    assert kept(fonts, 3, draw).shape == (3, 28, 28)
    kept(fonts, 3, draw)
    assert draw.calls == 2


def test_nothing_half_written_stays(folder, fonts, monkeypatch):
    def full(path, data):
        os.close(os.open(path, os.O_CREAT))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    kept(fonts, 3, Draw())
    assert list(folder.iterdir()) == []

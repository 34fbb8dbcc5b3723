"""Damaged files of an archive and of MNIST are refused in our own words, or read without harm."""

from __future__ import annotations

import gzip
import math
import tempfile
import warnings
from pathlib import Path

from convlstm.datasets.digits import load_digits, read_idx
from convlstm.datasets.moving_mnist import MovingMNIST
from convlstm.datasets.radar_echo import RadarEcho
from tests.support import radar_archives
from tests.support.damaged_files import damaged
from tests.support.tiny import blots

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

# An example takes about 50 ms.
fewer = settings(max_examples=settings().max_examples // 8)


@pytest.fixture
def own_digits(monkeypatch):
    monkeypatch.setattr("convlstm.datasets.moving_mnist.load_digits", lambda *_, **__: blots())


def refusal(call, *arguments):
    """Returns the text of the ValueError that a call raises, or None."""
    try:
        call(*arguments)
    except ValueError as error:
        return str(error)
    return None


def archive(folder, kind):
    """Writes an archive of twelve frames; returns the options to read it."""
    if kind == "png":
        radar_archives.write_pictures(folder, 12)
        return radar_archives.OPTIONS
    folder.mkdir()
    for index in range(12):
        np.save(folder / f"2020060100{index * 5 % 60:02d}.npy", radar_archives.picture(index))
    return radar_archives.OPTIONS | {"pattern": "%Y%m%d%H%M"}


def read_all(folder, options):
    """Reads every validation sequence, and checks the range of its values."""
    data = RadarEcho(
        archive=str(folder / "archive"),
        reader=options,
        input_frames=1,
        target_frames=1,
        frame_size=8,
        split=[0, 1, 0],
        index=str(folder / "index"),
        progress=False,
    )
    for index in range(data.size("validation")):
        sample = data.sample("validation", index)
        for name in ("inputs", "targets"):
            assert np.isfinite(sample[name]).all()
            assert sample[name].min() >= 0
            assert sample[name].max() <= 1


@pytest.mark.parametrize("kind", ["png", "npy"])
@fewer
@given(data=st.data())
def test_an_archive_with_damaged_files(kind, data):
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        options = archive(Path(name) / "archive", kind)
        paths = sorted((Path(name) / "archive").iterdir())
        contents = [path.read_bytes() for path in paths]
        for n in data.draw(st.sets(st.integers(0, 11), min_size=1) | st.just(set(range(12)))):
            paths[n].write_bytes(data.draw(damaged(contents[n], contents)))
        text = refusal(read_all, Path(name), options)
    assert text is None or text.startswith("[")
    assert [str(warning.message) for warning in caught if "archive" not in str(warning.message)] == []


@pytest.mark.parametrize("compressed", [False, True])
@given(data=st.data())
def test_a_damaged_idx_file(compressed, data):
    shape = (5, 4, 3)
    content = b"\0\0\x08\x03" + b"".join(side.to_bytes(4, "big") for side in shape) + bytes(math.prod(shape))
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "images"
        path.write_bytes(data.draw(damaged(gzip.compress(content, mtime=0) if compressed else content)))
        text = refusal(read_idx, path)
    assert text is None or (text.startswith("[read_idx]") and str(path) in text)


def test_files_that_are_not_mnist_s(tmp_path):
    for name in ("train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz"):
        (tmp_path / name).write_bytes(b"not digits")
    with pytest.raises(ValueError, match="is damaged or not MNIST's"):
        load_digits("mnist", tmp_path, mirrors=())


@pytest.mark.usefixtures("own_digits")
def test_damaged_published_test_sequences(tmp_path):
    path = tmp_path / "mnist_test_seq.npy"
    np.save(path, np.zeros((20, 3, 64, 64), np.uint8))

    def read():
        data = MovingMNIST(root=tmp_path, digits="auto", test_sequences=3)
        assert data.sample("test", 0)["inputs"].shape == (10, 64, 64, 1)

    @given(content=damaged(path.read_bytes()))
    def damages_are_named(content):
        path.write_bytes(content)
        text = refusal(read)
        assert text is None or (text.startswith("[MovingMNIST]") and str(path) in text)

    damages_are_named()

"""Videos decoded by FFmpeg's program."""

import sys

from convlstm.datasets import ffmpeg
from convlstm.datasets.readers.errors import UnreadableError
from tests.support import films
from tests.support.moving_shapes import shapes, write_gif

import numpy as np
import pytest

imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")


def decode(path):
    return ffmpeg.decode(ffmpeg.program(), path, 1 / 4)


def test_frames_come_as_they_are(tmp_path):
    clip = shapes(5, 0, size=(17, 23))
    np.testing.assert_array_equal(decode(write_gif(tmp_path / "concat:a=ü.gif", clip)), clip)
    assert ffmpeg.frame_rate(tmp_path / "concat:a=ü.gif") == 10
    for name, film in (("a.mp4", films.mp4()), ("a.mkv", films.matroska())):
        (tmp_path / name).write_bytes(film)
        frames = decode(tmp_path / name)
        assert frames.shape == (4, 16, 16, 3)
        np.testing.assert_allclose(frames[:, :, 10:].mean((1, 2, 3)), films.GREYS, atol=4)


def test_a_damaged_or_large_video_is_refused(tmp_path, monkeypatch):
    (tmp_path / "a.mp4").write_bytes(films.mp4()[:900])
    with pytest.raises(UnreadableError, match=r"cannot be decoded \(.*\); it may be damaged"):
        decode(tmp_path / "a.mp4")
    assert ffmpeg.frame_rate(tmp_path / "a.mp4") is None
    monkeypatch.setattr("convlstm.datasets.readers.limits.memory", lambda: 10_000)
    with pytest.raises(UnreadableError, match=r"has 2 or more frames of 16x24, which needs .* of memory"):
        decode(write_gif(tmp_path / "a.gif", shapes(5, 0)))


def test_it_may_be_absent(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    assert ffmpeg.program() is None
    assert ffmpeg.frame_rate(tmp_path / "a.mp4") is None

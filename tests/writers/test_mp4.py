"""Forecasts as MP4."""

import subprocess
import sys
from dataclasses import replace

from convlstm.datasets import ffmpeg
from convlstm.writers import Forecast, MissingWriterError, mp4, write
from tests.support.moving_shapes import shapes

import numpy as np
import pytest

imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")


def decoded(path):
    """Returns the frames of a video (T, H, W, 3) as FFmpeg decodes them, and its frames per second."""
    return ffmpeg.decode(imageio_ffmpeg.get_ffmpeg_exe(), path, 1 / 4), ffmpeg.frame_rate(path)


@pytest.mark.parametrize(("size", "factor"), [((24, 32), 8), ((33, 47), 6), ((130, 96), 2), ((300, 200), 1)])
def test_frames_come_back(tmp_path, size, factor):
    clip = shapes(6, 0, size=size, side=10)
    made = Forecast((clip / np.float32(255)), "", frame_rate=12.5)
    frames, rate = decoded(write(tmp_path / "f.mp4", made))
    assert rate == 12.5
    assert frames.shape == (6, size[0] * factor, size[1] * factor, 3)
    middle = frames.reshape(6, size[0], factor, size[1], factor, 3).mean((2, 4))
    # Colours are stored at half the resolution: without enlargement, edges are blurred by a pixel.
    error = np.abs(middle - clip)
    assert error.mean() < 2.5
    assert np.percentile(error, 98 if factor == 1 else 100) < 20


def test_grey_and_missing_pixels(tmp_path):
    values = np.linspace(-0.2, 1.2, 16 * 16, dtype=np.float32).reshape(1, 16, 16).repeat(3, 0)
    values[:, 4:8, 4:8] = np.nan
    frames, rate = decoded(write(tmp_path / "f.mp4", Forecast(values, "")))
    assert rate == mp4.FRAME_RATE
    small = frames.reshape(3, 16, 16, 16, 16, 3).mean((2, 4))
    known = ~np.isnan(values)
    np.testing.assert_allclose(small[known], 255 * np.clip(values[known], 0, 1)[:, None].repeat(3, 1), atol=4)
    np.testing.assert_allclose(small[0, 5, 5], [0xE3, 0xC9, 0xA0], atol=6)  # sand


def test_odd_sides_are_made_even_and_that_is_said(tmp_path):
    clip = shapes(2, 0, size=(301, 257), side=40)
    with pytest.warns(UserWarning, match=r"frames of 301x257 are written as 302x258: the last row or column is"):
        frames, _ = decoded(write(tmp_path / "f.mp4", Forecast(clip / np.float32(255), "")))
    assert frames.shape == (2, 302, 258, 3)
    assert np.abs(frames[:, :301, :257].astype(float) - clip).mean() < 2


def test_a_physical_field_is_drawn_after_its_inputs(tmp_path, forecast):
    frames, rate = decoded(write(tmp_path / "f.mp4", forecast))
    assert len(frames) == 5
    assert rate == mp4.DRAWN_FRAME_RATE
    assert frames.min() < 80  # text on white
    assert frames.max() > 250


def test_an_earlier_forecast_is_replaced_and_other_videos_are_left_alone(tmp_path):
    made = Forecast(np.zeros((2, 16, 16), np.float32), "")
    path = write(tmp_path / "f.mp4", made)
    write(path, replace(made, values=np.zeros((4, 16, 16), np.float32)))
    assert len(decoded(path)[0]) == 4
    film = tmp_path / "film.mp4"
    program = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-i", str(path), "-map_metadata", "-1", str(film)]
    subprocess.run(program, check=True)
    before = film.read_bytes()
    assert mp4.is_forecast(path)
    assert not mp4.is_forecast(film)
    with pytest.raises(FileExistsError, match="it is left alone"):
        write(film, made)
    assert film.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f.mp4", "film.mp4"]


def test_a_failure_of_ffmpeg_leaves_the_earlier_forecast(tmp_path, monkeypatch):
    made = Forecast(np.zeros((2, 16, 16), np.float32), "")
    path = write(tmp_path / "f.mp4", made)
    before = path.read_bytes()
    for line, number in (("av_interleaved_write_frame(): No space left on device", 28), ("no idea", 5)):
        program = tmp_path / "ffmpeg"
        program.write_text(f"#!{sys.executable}\nimport sys\nsys.stderr.write({line!r})\nsys.exit(1)\n")
        program.chmod(0o755)
        monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda program=program: str(program))
        with pytest.raises(OSError, match=r"No space left|FFmpeg cannot write it \(no idea\)") as caught:
            write(path, made)
        assert (caught.value.errno, caught.value.filename) == (number, str(path))
        program.unlink()
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["f.mp4"]


def test_without_ffmpeg_the_extra_is_named(tmp_path, monkeypatch):
    made = Forecast(np.zeros((2, 16, 16), np.float32), "")

    def none():
        raise RuntimeError("No ffmpeg exe could be found.")

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", none)
    with pytest.raises(MissingWriterError, match="there is no FFmpeg to write this format"):
        write(tmp_path / "f.mp4", made)
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(MissingWriterError, match=r"needs the library imageio_ffmpeg .*pip install 'convlstm\[video\]'"):
        write(tmp_path / "f.mp4", made)
    assert list(tmp_path.iterdir()) == []

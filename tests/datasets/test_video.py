"""Frames without times: videos and stacks."""

import os

from convlstm.datasets import ffmpeg, video
from convlstm.datasets.video import VideoError, is_video, read_stack, read_video
from tests.support import films

import numpy as np
import pytest
from PIL import Image


def film(path, count=3):
    stills = [Image.new("RGB", (24, 16), (60 * n, 0, 255 - 60 * n)) for n in range(count)]
    stills[0].save(path, save_all=True, append_images=stills[1:], duration=100)
    return path


def test_a_video_is_grey_or_coloured(tmp_path):
    path = film(tmp_path / "a.gif")
    colour, grey = read_video(path, 3), read_video(path)
    assert colour.shape == (3, 16, 24, 3)
    assert grey.shape == (3, 16, 24, 1)
    np.testing.assert_allclose(colour[:, 3, 3, 0], [0, 60, 120], atol=4)
    np.testing.assert_allclose(grey[2, 3, 3, 0], 0.299 * 120 + 0.114 * 135, atol=4)
    assert is_video("A.MP4")
    assert not is_video("a.nc")


def test_an_mp4_is_decoded(tmp_path):
    path = tmp_path / "a film=ü.mp4"
    path.write_bytes(films.mp4())
    colour = read_video(path, 3)
    assert colour.shape == (4, 16, 16, 3)
    for frame, grey in zip(colour, films.GREYS, strict=True):
        np.testing.assert_allclose(frame[:, 10:].mean((0, 1)), grey, atol=4)
        np.testing.assert_allclose(frame[:, :6].mean((0, 1)), [grey, grey, grey / 2], atol=4)
    np.testing.assert_allclose(read_video(path)[:, :, 10:].mean((1, 2, 3)), films.GREYS, atol=4)
    path.write_bytes(films.mp4()[:900])
    with pytest.raises(VideoError, match=r"cannot be read as a video .* FFmpeg"):
        read_video(path)


def test_a_video_that_does_not_tell_its_number_of_frames(tmp_path, monkeypatch):
    path = tmp_path / "a film.mkv"
    path.write_bytes(films.matroska())
    if ffmpeg.program() is not None:
        np.testing.assert_allclose(read_video(path)[:, :, 10:].mean((1, 2, 3)), films.GREYS, atol=4)
    monkeypatch.setattr(ffmpeg, "program", lambda: None)
    text = r"does not tell how many.*convlstm\[video\].*ffmpeg -i 'a film.mkv' 'a film_converted.mp4'"
    with pytest.raises(VideoError, match=text):
        read_video(path)


@pytest.mark.parametrize("width", [34, 40, 62, 64])
def test_frames_of_every_width_come_back(tmp_path, monkeypatch, width):
    """mlx-data alone gets widths wrong that 16 does not divide: their rows run into each other, or it crashes."""
    pytest.importorskip("imageio_ffmpeg")
    rows, columns = np.mgrid[:48, :width]
    clip = np.stack([np.stack([columns * 2 + 5 * t, rows * 3, rows * 0 + 90], -1) for t in range(6)]).astype(np.uint8)
    path = films.encode(tmp_path / "a.mp4", clip)
    assert np.abs(read_video(path, 3) - clip).mean() < 4
    monkeypatch.setattr(ffmpeg, "program", lambda: None)
    if width % 16 == 0:
        assert np.abs(read_video(path, 3) - clip).mean() < 4
    else:
        kept = width - width % 16
        text = rf"has frames {width} pixels wide, but .*convlstm\[video\].*-vf crop={kept}:48 a_converted.mp4"
        with pytest.raises(VideoError, match=text):
            read_video(path)


def test_a_video_that_cannot_be_read(tmp_path, monkeypatch):
    (tmp_path / "a.mp4").write_bytes(b"none")
    with pytest.raises(VideoError, match=r"\[read_video\] .*a.mp4 is no video of a kind that is read: MP4, "):
        read_video(tmp_path / "a.mp4")
    with pytest.raises(ValueError, match=r"\[read_video\] 'channels' must be 1 or 3 but got 2"):
        read_video(tmp_path / "a.mp4", 2)
    monkeypatch.setattr("convlstm.datasets.readers.limits.memory", lambda: 10_000)
    with pytest.raises(VideoError, match=r"\[read_video\] .*a.gif has 3 frames of 16x24, which needs .* of memory"):
        read_video(film(tmp_path / "a.gif"))


def test_a_video_that_keeps_its_decoder_busy_is_given_up(tmp_path, monkeypatch):
    """It is decoded in another process, which the kernel ends at the limit."""
    monkeypatch.setattr(video, "_BYTES_A_SECOND", 1e12)
    monkeypatch.setenv("CONVLSTM_READ_SECONDS", "0.000001")
    with pytest.raises(VideoError, match=r"\[read_video\] .*a.gif .*CONVLSTM_READ_SECONDS"):
        read_video(film(tmp_path / "a.gif"))


def test_a_stack_is_read_and_checked(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((3, 4, 5), np.uint8))
    assert read_stack(tmp_path / "a.npy").shape == (3, 4, 5, 1)
    np.save(tmp_path / "b.npy", np.ones((3, 4, 5, 2)))
    assert read_stack(tmp_path / "b.npy", 2).shape == (3, 4, 5, 2)
    with pytest.raises(VideoError, match=r"\[read_stack\] .* must have frames \(T, H, W\) .* with C=1 but has float64"):
        read_stack(tmp_path / "b.npy")
    (tmp_path / "c.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:100])
    with pytest.raises(VideoError, match=r"\[read_stack\] .*c.npy cannot be read .*; it may be damaged"):
        read_stack(tmp_path / "c.npy")
    # NumPy raises neither ValueError nor OSError for this header.
    (tmp_path / "d.npy").write_bytes(b"\x93NUMPY\x01\x00v\x00{" + bytes(200))
    with pytest.raises(VideoError, match=r"\[read_stack\] .*d.npy cannot be read"):
        read_stack(tmp_path / "d.npy")


@pytest.mark.parametrize(
    "text", ["ffconcat version 1.0\nfile other.gif\n", "#EXTM3U\nAVI \n#EXTINF:10.0,\nother.gif\n#EXT-X-ENDLIST\n"]
)
@pytest.mark.parametrize("ending", [".mp4", ".avi", ".mkv", ".ts", ".gif"])
def test_a_list_of_other_files_is_no_video(tmp_path, ending, text):
    film(tmp_path / "other.gif")
    (tmp_path / f"a{ending}").write_text(text)
    with pytest.raises(VideoError, match=r"\[read_video\] .*a\.\w+ is no video of a kind that is read"):
        read_video(tmp_path / f"a{ending}")


def test_a_name_with_a_colon(tmp_path, monkeypatch):
    """FFmpeg reads `concat:` and the like as the name of a protocol."""
    film(tmp_path / "concat:other.gif")
    film(tmp_path / "other.gif", 2)
    monkeypatch.chdir(tmp_path)
    assert len(read_video("concat:other.gif")) == 3


def test_pipes_are_not_opened(tmp_path):
    for name, read in (("a.mp4", read_video), ("a.npy", read_stack)):
        os.mkfifo(tmp_path / name)
        with pytest.raises(VideoError, match=rf"{name} is a named pipe, not a plain file"):
            read(tmp_path / name)


def test_a_stack_that_claims_too_much(tmp_path, monkeypatch):
    path = tmp_path / "a.npy"
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (10**9, 64, 144)})
        file.write(bytes(100))
    with pytest.raises(VideoError, match=r"\[read_stack\] .*a.npy is cut off: .* bytes of 'a.npy' are missing"):
        read_stack(path)
    np.save(path, np.zeros((10, 64, 144), np.float32))
    monkeypatch.setattr("convlstm.datasets.readers.limits.memory", lambda: 10 * 64 * 144 * 4)
    with pytest.raises(VideoError, match=r"\[read_stack\] .*a.npy has frames of .*, which needs .* of memory"):
        read_stack(path)

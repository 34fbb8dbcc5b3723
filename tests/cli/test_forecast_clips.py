"""Forecasts of videos and of stacks without times."""

from convlstm.datasets import ffmpeg
from tests.support.forecast_runs import digits, stored, write_run
from tests.support.moving_shapes import write_pictures

import numpy as np
import pytest
from PIL import Image


def test_a_stack_without_times_is_forecast_too(forecast, tmp_path, rng):
    frames = rng.integers(0, 256, (5, 16, 12)).astype(np.uint8)
    frames[-1, 0, 0] = 255
    np.save(tmp_path / "digits.npy", frames)
    arguments = (f"ckpt={digits(tmp_path)}", f"input={tmp_path}/digits.npy", "reader=null", "format=npy")
    status, out, _ = forecast(*arguments)
    assert status == 0
    assert "the last 3 of 5 frames of 16x12, without times" in out
    assert "count as" not in out
    values, description = stored(tmp_path / "out", "digits_forecast")
    np.testing.assert_allclose(values[..., 0], np.repeat(frames[-1:], 2, 0) / 255, rtol=1e-6)
    assert description["times"] is None
    assert forecast(*arguments, "white=510", "crop=[0,0,8,8]")[0] == 0
    values, _ = stored(tmp_path / "out", "digits_forecast")
    np.testing.assert_allclose(values[0, ..., 0], frames[-1, :8, :8] / 510, rtol=1e-6)


def test_a_stack_without_times_counts_as_the_model_s_units(forecast, tmp_path):
    np.save(tmp_path / "rain.npy", np.full((4, 8, 8), 7.5))
    status, out, _ = forecast(f"input={tmp_path}/rain.npy", "reader=null", "format=npy", "step=5")
    assert status == 0
    assert "without times, with values in mm/h" in out
    values, description = stored(tmp_path / "out", "rain_forecast")
    np.testing.assert_allclose(values[..., 0], 7.5, rtol=1e-5)
    assert description["lead_minutes"] == [5, 10, 15, 20]
    assert description["times"] is None


def test_a_video_is_read_by_mlx_data(forecast, tmp_path):
    stills = [Image.fromarray(np.full((16, 24), 40 * n, np.uint8)) for n in range(6)]
    stills[0].save(tmp_path / "film.gif", save_all=True, append_images=stills[1:], duration=100)
    status, out, _ = forecast(f"ckpt={digits(tmp_path)}", f"input={tmp_path}/film.gif", "reader=null", "format=npy")
    assert status == 0
    assert "the last 3 of 6 frames of 16x24" in out
    values, _ = stored(tmp_path / "out", "film_forecast")
    np.testing.assert_allclose(values, 200 / 255, atol=0.01)


def test_a_dark_film_is_dark(forecast, tmp_path):
    stills = [Image.fromarray(np.full((16, 24), n % 2, np.uint8)) for n in range(5)]
    stills[0].save(tmp_path / "film.gif", save_all=True, append_images=stills[1:])
    status, _, _ = forecast(f"ckpt={digits(tmp_path)}", f"input={tmp_path}/film.gif", "reader=null", "format=npy")
    assert status == 0
    assert stored(tmp_path / "out", "film_forecast")[0].max() <= 2 / 255


def test_a_file_that_is_no_video_is_refused(forecast, tmp_path):
    (tmp_path / "film.mp4").write_bytes(b"no film")
    status, _, err = forecast(f"ckpt={digits(tmp_path)}", f"input={tmp_path}/film.mp4", "reader=null")
    assert status == 1
    assert "is no video of a kind that is read" in err


def test_too_short_a_clip_is_refused(forecast, tmp_path):
    np.save(tmp_path / "digits.npy", np.zeros((2, 8, 8)))
    status, _, err = forecast(f"ckpt={digits(tmp_path)}", f"input={tmp_path}/digits.npy", "reader=null")
    assert status == 1
    assert "has 2 frames, but the model forecasts from 3" in err


def test_a_clip_cannot_be_followed_nor_cropped_outside(forecast, tmp_path):
    np.save(tmp_path / "digits.npy", np.zeros((4, 8, 8)))
    line = (f"ckpt={digits(tmp_path)}", f"input={tmp_path}/digits.npy", "reader=null")
    status, _, err = forecast(*line, "watch=true")
    assert status == 1
    assert "'watch' must be false for" in err
    status, _, err = forecast(*line, "crop=[4,0,5,8]")
    assert status == 1
    assert "'crop' must lie within frames of 8x8 but got [4, 0, 5, 8]" in err


def of_clips(folder, **record):
    """Writes a run of persistence that was trained on clips as the record says, and returns its folder."""
    trained = {"name": "video", "input_frames": 3, "target_frames": 2, "frame_shape": [8, 8, 1], "fit": "cut"} | record
    return write_run(folder / "clips", trained=trained)


def test_a_folder_of_pictures_without_times_is_a_clip(forecast, tmp_path):
    clip = np.arange(12, dtype=np.uint8)[:, None, None] * np.full((8, 8), 20, np.uint8)
    write_pictures(tmp_path / "frames", clip, "frame{}.png")  # the 10th comes after the 9th
    for run in (digits(tmp_path), of_clips(tmp_path)):
        status, out, err = forecast(f"ckpt={run}", f"input={tmp_path}/frames", "reader=null", "format=npy")
        assert status == 0, err
        assert "the last 3 of 12 frames of 8x8, without times" in out
        values, _ = stored(tmp_path / "out", "frames_forecast")
        np.testing.assert_allclose(values, 220 / 255, rtol=1e-6)
    # Times in the names make it a series, except for a model of clips.
    write_pictures(tmp_path / "timed", clip, "2020060100{:02d}.png")
    run = digits(tmp_path / "other")
    _, out, _ = forecast(f"ckpt={run}", f"input={tmp_path}/timed", "reader=null", "format=npy")
    assert "without times" not in out
    _, out, _ = forecast(f"ckpt={of_clips(tmp_path / 'other')}", f"input={tmp_path}/timed", "reader=null", "format=npy")
    assert "without times" in out


def test_a_clip_is_prepared_as_in_training(forecast, tmp_path, rng):
    clip = rng.integers(0, 256, (9, 8, 16)).astype(np.uint8)
    np.save(tmp_path / "clip.npy", clip)
    run = of_clips(tmp_path, step=2, fit="crop", frame_shape=[4, 4, 1], white=510.0)
    line = (f"ckpt={run}", f"input={tmp_path}/clip.npy", "reader=null", "format=npy")
    status, out, err = forecast(*line)
    assert status == 0, err
    assert "the last 3 of 9 frames of 8x16, without times, 2 frames apart as in training, brought to 4x4 as in" in out
    values, _ = stored(tmp_path / "out", "clip_forecast")
    middle = clip[-1, :, 4:12].reshape(4, 2, 4, 2).mean((1, 3)) / 510
    np.testing.assert_allclose(values[0, ..., 0], middle, atol=1e-5)
    # A crop comes first, in the clip's own pixels.
    assert forecast(*line, "crop=[0,8,8,8]")[0] == 0
    values, _ = stored(tmp_path / "out", "clip_forecast")
    right = clip[-1, :, 8:].reshape(4, 2, 4, 2).mean((1, 3)) / 510
    np.testing.assert_allclose(values[0, ..., 0], right, atol=1e-5)
    np.save(tmp_path / "clip.npy", clip[:4])
    status, _, err = forecast(*line)
    assert status == 1
    assert "has 4 frames, but the model forecasts from 3, 2 frames apart, which span 5" in err


def test_a_record_of_clips_with_senseless_values_changes_nothing(forecast, tmp_path):
    np.save(tmp_path / "clip.npy", np.full((5, 8, 8), 0.5, np.float32))
    for n, record in enumerate(({"step": "2", "white": [1]}, {"step": -1, "fit": "crop", "frame_shape": "8x8"})):
        run = of_clips(tmp_path / str(n), **record)
        status, out, err = forecast(f"ckpt={run}", f"input={tmp_path}/clip.npy", "reader=null", "format=npy")
        assert status == 0, err
        assert "the last 3 of 5 frames of 8x8, without times\n" in out
        np.testing.assert_allclose(stored(tmp_path / "out", "clip_forecast")[0], 0.5)


def test_frames_per_second_are_for_mp4(forecast, tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    np.save(tmp_path / "clip.npy", np.zeros((5, 16, 16), np.uint8))
    line = (f"ckpt={digits(tmp_path)}", f"input={tmp_path}/clip.npy", "reader=null", f"out={tmp_path}/f.mp4")
    for argument, rate in (("fps=7.5", 7.5), ("fps=null", 10)):
        status, _, err = forecast(*line, argument)
        assert status == 0, err
        assert ffmpeg.frame_rate(tmp_path / "f.mp4") == rate
    status, _, err = forecast(*line, "fps=0")
    assert status == 1
    assert "'fps' must be a number above 0 but got 0" in err

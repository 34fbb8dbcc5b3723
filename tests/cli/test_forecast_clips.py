"""Forecasts of videos and of stacks without times."""

from tests.support.forecast_runs import digits, stored

import numpy as np
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

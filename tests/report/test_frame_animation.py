"""Animations of frames."""

from convlstm import report
from convlstm.report import frame_animation
from tests.support.frame_sequences import frames
from tests.support.gifs import gif_frames

import numpy as np
import pytest


def texts(figure):
    return [text.get_text().replace("\n", " ") for text in figure.texts]


@pytest.mark.parametrize(
    "shape",
    [
        {"t_in": 3, "horizon": 1},
        {"t_in": 2, "horizon": 4, "size": (12, 30), "channels": 3, "names": ("a", "b")},
        {"t_in": 2, "horizon": 2, "size": (400, 500), "names": ("a",)},
    ],
)
def test_gif(shape, tmp_path):
    sequences = frames(**shape)
    report.forecast_gif(tmp_path / "film.gif", *sequences, milliseconds=100)
    loop, durations, pictures = gif_frames(tmp_path / "film.gif")
    assert loop == 0
    assert durations == [100] * (shape["t_in"] + shape["horizon"] - 1) + [600]
    assert pictures[0].shape[1] <= 1400
    assert pictures[0].std() > 20
    assert tuple(pictures[0][2, 2]) == (255, 255, 255)


def test_gif_scales_small_frames_by_whole_pixels(tmp_path):
    frame = np.zeros((1, 8, 8, 1), np.float32)
    frame[:, ::2, 1::2] = 1
    report.forecast_gif(tmp_path / "film.gif", frame, frame, {"model": frame})
    _, _, pictures = gif_frames(tmp_path / "film.gif")
    height, width, _ = pictures[0].shape
    assert (height, width) == (256 + 60, 2 * 256 + 36)
    middle = pictures[0][30 + 16 :: 32, 12 + 16 :: 32][:8, :8, 0]
    np.testing.assert_array_equal(middle, 255 * frame[0, ..., 0])


def test_gif_tells_inputs_from_forecasts():
    shown = dict.fromkeys(("truth", "a_forecaster_with_a_very_long_name_indeed"), np.zeros((16, 16, 1), np.float32))
    now, later = frame_animation.frame_figure(shown, 0, None), frame_animation.frame_figure(shown, 3, 5)
    assert texts(now) == ["input  t0"]
    assert texts(later) == ["forecast  +15 min"]
    assert [axes.get_title() for axes in later.axes] == ["truth", "a_forecaster_with_a_very_long_.."]
    assert later.axes[1].spines["top"].get_edgecolor() != later.axes[0].spines["top"].get_edgecolor()


def test_gif_has_the_colours_of_all_frames(tmp_path):
    """A colour that only a single frame has is as true as the others."""
    rng = np.random.default_rng(0)
    frame = (0.3 + 0.1 * rng.random((12, 16, 16, 3))).astype(np.float32)
    frame[6, :8] = 1, 0.2, 0.1
    report.forecast_gif(tmp_path / "film.gif", frame[:5], frame[5:], {"model": frame[5:]})
    _, _, pictures = gif_frames(tmp_path / "film.gif")
    shown = pictures[6][30:158, 12 : 12 + 256].reshape(-1, 3).mean(0)
    np.testing.assert_allclose(shown, [255, 51, 25.5], atol=8)

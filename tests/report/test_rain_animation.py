"""Animations of rain fields."""

from convlstm import report
from convlstm.report import map_animation, map_drawing, rain_scale
from tests.support.gifs import gif_frames
from tests.support.rain_pictures import LEVELS, TIMES, bar, fields, has_colour, maps, texts

import numpy as np
import pytest
from matplotlib.colors import to_rgb


@pytest.mark.parametrize("size", [(12, 30), (500, 400)])
def test_gif(size, tmp_path):
    inputs, targets, forecasts = fields(2, 3, size)
    inputs[:] = 0
    targets[:, 2:4] = np.nan
    path = tmp_path / "film.gif"
    report.rain_gif(path, inputs, targets, forecasts, units="mm/h", times=TIMES[:5], milliseconds=100)
    loop, durations, pictures = gif_frames(path)
    assert loop == 0
    assert durations == [100] * 4 + [600]
    assert pictures[0].shape[1] <= 1400
    assert path.stat().st_size < 2_000_000
    assert not has_colour(pictures[0], map_drawing.MISSING)
    assert has_colour(pictures[-1], map_drawing.MISSING)
    for colour in (rain_scale.DRY, *rain_scale.RAIN):
        assert has_colour(pictures[-1], colour), "the palette holds every class"


def test_gif_draws_pixels_as_squares(tmp_path):
    field = np.zeros((1, 8, 8), np.float32)
    field[:, ::2, 1::2] = 7
    report.rain_gif(tmp_path / "film.gif", field, field, {"model": field}, units="mm/h")
    _, _, pictures = gif_frames(tmp_path / "film.gif")
    middle = pictures[-1][30 + 16 :: 32, 12 + 16 :: 32][:8, :8]
    wet, dry = (np.round(255 * np.array(to_rgb(colour))) for colour in (rain_scale.RAIN[4], rain_scale.DRY))
    np.testing.assert_allclose(middle, np.where(field[0, ..., None] > 0, wet, dry), atol=1)


def test_gif_tells_inputs_from_forecasts():
    scale = rain_scale.rain_scale("rain_gif", "mm/h", None, [])
    shown = dict.fromkeys(("truth", "a_forecaster_with_a_very_long_name_indeed"), np.zeros((16, 16)))
    now = map_animation.map_figure(shown, [scale], "now", None, forecast=False, missing=False)
    later = map_animation.map_figure(shown, [scale], "+15 min", "2010-08-26 22:20 UTC", forecast=True, missing=True)
    assert texts(now) == ["input  now"]
    assert texts(later) == ["forecast  +15 min  2010-08-26 22:20 UTC", "hatched = missing"]
    assert [axes.get_title() for axes in maps(later)] == ["truth", "a_forecaster_with_a_very_long_.."]
    edges = [axes.spines["top"].get_edgecolor() for axes in maps(later)]
    assert edges[0] != edges[1]
    assert bar(later).get_ylabel() == "rain rate (mm/h)"


def test_a_low_colour_bar_has_labels_that_do_not_touch():
    scale = rain_scale.rain_scale("rain_gif", "mm/h", None, [])
    low = map_animation.map_figure({"truth": np.zeros((20, 60))}, [scale], "now", None, forecast=False, missing=False)
    high = map_animation.map_figure({"truth": np.zeros((60, 60))}, [scale], "now", None, forecast=False, missing=False)
    count = [len(bar(figure).get_yticklabels()) for figure in (low, high)]
    assert count[0] < count[1] == len(LEVELS)

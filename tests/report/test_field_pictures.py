"""Pictures of fields in their own units."""

from convlstm import report
from convlstm.report import field_scale, map_drawing
from convlstm.report.field_scale import scale_of_field
from convlstm.report.rain_scale import RainScale
from convlstm.writers import Quantity
from tests.support.gifs import gif_frames
from tests.support.rain_pictures import TIMES, has_colour, maps, texts
from tests.support.sea import SST, WIND

import numpy as np
import pytest


def sequence(low=5.0, high=25.0, t_in=2, horizon=3, size=(12, 30)):
    """Returns inputs, truth and two forecasts with land in the north-west: one is the truth plus 2, the other less 1"""
    ramp = np.linspace(low, high, size[0] * size[1]).reshape(size)
    frames = np.stack([np.roll(ramp, t, axis=1) for t in range(t_in + horizon)])
    frames[:, :4, :6] = np.nan
    truth = frames[t_in:]
    return frames[:t_in], truth, {"model": truth + 2, "persistence": truth - 1}


def bars(figure):
    return [axes for axes in figure.axes if axes.get_ylabel()]


def test_panel_has_values_errors_and_scores_in_the_units_of_the_field():
    inputs, truth, forecasts = sequence()
    about = {"field": SST, "frame_interval": 360, "times": TIMES[:1] + np.arange(5) * np.timedelta64(6, "h")}
    figure = report.field_panel(None, inputs, truth, forecasts, **about, title="T")
    said = texts(figure)
    assert [text for text in said if text == "now" or text.endswith(" h")] == ["-6 h", "now", "+6 h", "+12 h", "+18 h"]
    for text in ("T", "input", "truth", "model", "error of model", "RMSE 2 degC", "RMSE 1 degC"):
        assert text in said
    assert said[-1] == (
        "hatched = missing   |   RMSE = root mean square error, all 3 lead times   |   error = forecast - truth"
    )
    assert [axes.get_ylabel() for axes in bars(figure)] == ["sea surface temperature (degC)", "error (degC)"]
    drawn = [axes.images[0] for axes in maps(figure)]
    assert len(drawn) == 2 + 4 * 3
    np.testing.assert_allclose(drawn[4].get_array(), truth[2])
    np.testing.assert_allclose(drawn[-1].get_array().compressed(), 2, rtol=1e-5)
    assert {image.norm for image in drawn[:-3]} == {drawn[0].norm}, "the truth and all forecasts have one scale"
    assert (drawn[-1].norm.vmin, drawn[-1].norm.vmax) == pytest.approx((-2, 2))
    assert not any(word in " ".join(said) for word in ("CSI", "rain", "intensity"))
    assert {axes.patch.get_hatch() for axes in maps(figure)} == {"////"}


def test_fields_of_both_signs_have_two_colours_that_meet_at_zero():
    def ends(low, high, **how):
        scale = field_scale.field_scale("x", [np.array([low, np.nan, high])], **how)
        return scale.colours.name, *scale.ends

    one, two = field_scale.ONE_SIDED.name, field_scale.BOTH_SIDES.name
    assert ends(-10, 4) == (two, -10, 10)
    assert ends(-4, 10) == (two, -10, 10)
    assert ends(-2, 30) == (one, -2, 30), "temperatures of the sea in degC are no winds"
    assert ends(-5, -1) == (one, -5, -1)
    assert ends(1, 3, signed=True) == (two, -3, 3)
    assert ends(7, 7) == (one, 6.5, 7.5)
    assert ends(np.nan, np.inf) == (one, -0.5, 0.5)


@pytest.mark.parametrize(
    ("forecast", "extend"), [([0.0, 1.0], "neither"), ([-1.0, 1.0], "min"), ([0.5, 9.0], "max"), ([-1.0, 9.0], "both")]
)
def test_colour_bars_show_that_forecasts_go_beyond_the_truth(forecast, extend):
    assert field_scale.field_scale("x", [np.array([0.0, 1.0])], [np.array(forecast)]).extend == extend


def test_labels_say_name_and_units():
    values = [np.array([0.0, 1.0])]
    assert (scale_of_field(SST, values).label, scale_of_field(SST, values).short) == (
        "sea surface temperature (degC)", "sst (degC)",
    )  # fmt: skip
    assert scale_of_field(WIND, values).label == "u10 (m s-1)"
    assert scale_of_field(Quantity("a", "raw"), values).label == "a"
    rain = scale_of_field(Quantity("tp", "mm/h"), values)
    assert isinstance(rain, RainScale)
    assert rain.label == "tp (mm/h)"


def test_a_low_colour_bar_has_the_short_label():
    inputs, truth, forecasts = sequence(size=(8, 64))
    low = report.field_panel(None, inputs, truth, {"model": forecasts["model"]}, field=SST)
    assert bars(low)[0].get_ylabel() == "sst (degC)"


def test_gif_has_the_colours_of_the_scale(tmp_path):
    inputs, truth, forecasts = sequence(-10, 10)
    path = tmp_path / "film.gif"
    report.field_gif(path, inputs, truth, forecasts, field=WIND, frame_interval=1440, milliseconds=100)
    _, durations, pictures = gif_frames(path)
    assert durations == [100] * 4 + [600]
    for picture in pictures:
        assert has_colour(picture, map_drawing.MISSING)
        for share in (0.0, 0.25, 0.5, 0.75, 1.0):
            assert has_colour(picture, field_scale.BOTH_SIDES(share)[:3])


def test_wrong_arguments():
    inputs, truth, forecasts = sequence()
    with pytest.raises(ValueError, match=r"\[field_panel\] 'frame_interval' must be positive"):
        report.field_panel(None, inputs, truth, forecasts, field=SST, frame_interval=0)
    with pytest.raises(ValueError, match=r"\[field_panel\] 'max_columns' must be at least 1 but got 0"):
        report.field_panel(None, inputs, truth, forecasts, field=SST, max_columns=0)
    with pytest.raises(ValueError, match=r"\[field_gif\] 'forecasts' must name at least one"):
        report.field_gif("never.gif", inputs, truth, {}, field=SST)

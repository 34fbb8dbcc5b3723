"""Panels of rain fields."""

from functools import partial

from convlstm import report
from convlstm.report import map_drawing, rain_scale
from tests.support.rain_pictures import LEVELS, TIMES, bar, fields, has_colour, maps, texts

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image


@pytest.mark.parametrize(
    ("shape", "past", "future"),
    [
        ({"t_in": 5, "horizon": 12}, 5, 6),
        ({"t_in": 7, "horizon": 20, "names": ("a",)}, 4, 5),
        ({"t_in": 1, "horizon": 1, "size": (30, 12), "names": ("a",)}, 1, 1),
        ({"t_in": 2, "horizon": 13, "size": (300, 400), "names": ("a",)}, 2, 6),
    ],
)
def test_panel_has_every_row(shape, past, future, tmp_path):
    sequences = fields(**shape)
    figure = report.rain_panel(None, *sequences, units="mm/h")
    assert len(maps(figure)) == past + (1 + len(sequences[2])) * future
    assert len({round(axes.get_position().width, 9) for axes in maps(figure)}) == 1
    for label in ("input", "truth", *sequences[2], "t0", f"+{shape['horizon']}"):
        assert label in texts(figure)
    shown = [np.asarray(axes.images[0].get_array()) for axes in maps(figure)]
    np.testing.assert_array_equal(shown[past - 1], sequences[0][-1])
    for row, values in enumerate((sequences[1], *sequences[2].values())):
        np.testing.assert_array_equal(shown[past + (row + 1) * future - 1], values[-1])

    report.rain_panel(tmp_path / "panel.png", *sequences, units="mm/h")
    with Image.open(tmp_path / "panel.png") as image:
        assert image.size == tuple(round(inch * 100) for inch in figure.get_size_inches())
        assert image.width <= 1400
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.std() > 20
    edges = [pixels[:, [0, 1, -2, -1]], pixels[[0, 1, -2, -1]]]
    assert all((edge == 255).all() for edge in edges), "nothing runs out of the picture"


def test_panel_takes_steps_that_are_equal():
    figure = report.rain_panel(None, *fields(13, 20, names=("model",)), units="mm/h", frame_interval=5)
    leads = [text for text in texts(figure) if text == "now" or text.endswith(" min")]
    assert leads == ["-60 min", "-45 min", "-30 min", "-15 min", "now"] + [
        f"+{lead} min" for lead in range(20, 101, 20)
    ]
    figure = report.rain_panel(None, *fields(5, 12), units="mm/h", max_columns=3)
    assert [text for text in texts(figure) if text[:1] in "t+" and text != "truth"] == [
        *("t-4", "t-2", "t0"),
        *("+4", "+8", "+12"),
    ]


def test_panel_says_when():
    figure = report.rain_panel(None, *fields(), units="mm/h", frame_interval=5, times=TIMES, title="An event")
    said = texts(figure)
    assert said.count("2010-08-26 UTC") == 1, "the day is said once"
    assert [text for text in said if text[2:3] == ":"] == [
        *("22:05", "22:10", "22:15", "22:20", "22:25"),
        *("22:35", "22:45", "22:55", "23:05", "23:15", "23:25"),
    ]
    assert said.index("22:35") == said.index("+10 min") + 1
    assert "An event" in said

    said = texts(report.rain_panel(None, *fields(), units="mm/h", times=TIMES + np.timedelta64(95, "m")))
    assert said.count("2010-08-26 to 2010-08-27 UTC") == 0
    assert said[said.index("input") + 1] == "2010-08-26 to"
    assert said[said.index("truth") + 1] == "2010-08-27 UTC"


def test_panel_of_rain_rates_has_their_classes():
    inputs, targets, forecasts = fields(names=("model",))
    figure = report.rain_panel(None, inputs, targets, forecasts, units="mm/h")
    assert bar(figure).get_ylabel() == "rain rate (mm/h)"
    assert [float(text.get_text()) for text in bar(figure).get_yticklabels()] == list(LEVELS)
    scale = rain_scale.rain_scale("rain_panel", "mm/h", None, [inputs])
    colours = [to_hex(colour) for colour in scale.colours(scale.norm([0, 0.09, *LEVELS, 1000]))]
    assert colours == [rain_scale.DRY] * 2 + [*rain_scale.RAIN, rain_scale.RAIN[-1]]
    between = [to_hex(colour) for colour in scale.colours(scale.norm([0.49, 49.9, 99.9]))]
    assert between == [rain_scale.RAIN[0], rain_scale.RAIN[7], rain_scale.RAIN[8]]


def test_panel_of_other_units():
    figure = report.rain_panel(None, *fields(names=("model",)), units="dBZ")
    assert bar(figure).get_ylabel() == "reflectivity (dBZ)"
    assert any(text.startswith("CSI at 30 dBZ: ") for text in texts(figure))

    inputs, targets, forecasts = (np.linspace(0, 255, n * 384).reshape(n, 16, 24) for n in (5, 12, 12))
    figure = report.rain_panel(None, inputs, targets, {"model": forecasts}, units="raw")
    assert bar(figure).get_ylabel() == "raw value"
    levels = [float(text.get_text()) for text in bar(figure).get_yticklabels()]
    assert 8 <= len(levels) <= 11
    assert len(set(np.diff(levels))) == 1
    assert 200 <= levels[-1] <= 275
    assert not any("CSI" in text for text in texts(figure)), "no threshold is at home in raw values"
    figure = report.rain_panel(
        None, inputs, targets, {"model": forecasts}, units="raw", levels=(16, 74, 133, 219), threshold=74
    )
    assert [text.get_text() for text in bar(figure).get_yticklabels()] == ["16", "74", "133", "219"]
    assert "CSI at 74: 1.00" in texts(figure)
    nothing = np.zeros((2, 4, 4))
    assert len(maps(report.rain_panel(None, nothing, nothing, {"model": nothing}, units="raw"))) == 6


def test_panel_scores_a_sequence():
    inputs, targets = np.zeros((1, 4, 4)), np.zeros((2, 4, 4, 1))
    targets[0, 0] = 2
    forecast = np.zeros((2, 4, 4))
    forecast[:, 0, :2] = 3
    targets[1, 0, 0] = np.nan
    # 2 hits, 2 misses, and of two false alarms one where the truth is missing.
    figure = report.rain_panel(None, inputs, targets, {"model": forecast, "dry": 0 * forecast}, units="mm/h")
    assert "CSI at 2 mm/h: 0.40" in texts(figure)
    assert "CSI at 2 mm/h: 0.00" in texts(figure)
    assert texts(figure)[-1].startswith(
        "hatched = missing   |   CSI = hits / (hits + misses + false alarms), all 2 lead"
    )
    figure = report.rain_panel(None, inputs, targets, {"model": forecast}, units="mm/h", threshold=2.5)
    assert "CSI at 2.5 mm/h: 0.00" in texts(figure)
    figure = report.rain_panel(None, inputs, targets, {"model": forecast}, units="mm/h", threshold=30)
    assert not any("CSI" in text for text in texts(figure)), "nothing reaches the threshold"


def test_panel_has_a_scale_bar_if_the_size_of_pixels_is_known():
    figure = report.rain_panel(None, *fields(size=(40, 50)), units="mm/h", pixel_km=2)
    assert "20 km" in texts(figure)
    (line,) = (artist for artist in figure.artists if hasattr(artist, "get_xdata"))
    length = np.diff(line.get_xdata()).item()
    assert length == pytest.approx(20 / 100 * maps(figure)[0].get_position().width)
    assert not any(text.endswith(" km") for text in texts(report.rain_panel(None, *fields(), units="mm/h")))
    assert [map_drawing.scale_bar(width) for width in (0.3, 24, 256, 1000)] == pytest.approx([0.1, 5, 100, 200])


@pytest.mark.parametrize("gap", [np.nan, np.inf])
def test_missing_pixels_are_hatched_and_named(gap, tmp_path):
    inputs, targets, forecasts = fields(1, 2, names=("model",))
    dry = [0 * value for value in (inputs, targets, forecasts["model"])]
    report.rain_panel(tmp_path / "all.png", *dry[:2], {"model": dry[2]}, units="mm/h")
    dry[1][:, 4:12, 6:18] = gap
    figure = report.rain_panel(None, *dry[:2], {"model": dry[2]}, units="mm/h")
    assert texts(figure)[-1] == "hatched = missing"
    assert "hatched" not in "".join(texts(report.rain_panel(None, inputs, targets, forecasts, units="mm/h")))
    assert {axes.patch.get_hatch() for axes in maps(figure)} == {"////"}

    report.rain_panel(tmp_path / "some.png", *dry[:2], {"model": dry[2]}, units="mm/h")
    seen = {}
    for name in ("all", "some"):
        with Image.open(tmp_path / f"{name}.png") as image:
            seen[name] = np.asarray(image.convert("RGB"))
    assert has_colour(seen["some"], map_drawing.MISSING)
    assert not has_colour(seen["all"], map_drawing.MISSING)
    assert has_colour(seen["all"], rain_scale.DRY)


def test_wrong_arguments():
    inputs, targets, forecasts = fields()
    draw = partial(report.rain_panel, None)
    with pytest.raises(ValueError, match=r"\[rain_panel\] 'forecasts' must name at least one"):
        draw(inputs, targets, {}, units="mm/h")
    with pytest.raises(ValueError, match=r"'model' must .*\(12, 16, 24, 1\), but got \(9, 16, 24, 1\)"):
        draw(inputs, targets, {"model": targets[:9]}, units="mm/h")
    with pytest.raises(ValueError, match=r"one sequence of fields, .* but got \(1, 5, 16, 24, 1\) and \(12, 16, 24\)"):
        draw(inputs[None, ..., None], targets, forecasts, units="mm/h")
    with pytest.raises(ValueError, match=r"no side 0, but got \(0, 16, 24\)"):
        draw(inputs[:0], targets, forecasts, units="mm/h")
    with pytest.raises(ValueError, match=r"'units' must be one of mm/h, dBZ, raw but got 'mm'"):
        draw(inputs, targets, forecasts, units="mm")
    with pytest.raises(
        ValueError, match=r"'times' must be datetime64 of \(17,\), .* but got datetime64\[s\] of \(16,\)"
    ):
        draw(inputs, targets, forecasts, units="mm/h", times=TIMES[:16])
    with pytest.raises(ValueError, match=r"'times' must be datetime64 .* but got int64 of \(17,\)"):
        draw(inputs, targets, forecasts, units="mm/h", times=np.arange(17))
    for levels in ([1], [1, 1], [2, 1], [1, np.nan]):
        with pytest.raises(ValueError, match=r"'levels' must be two or more rising numbers but got \["):
            draw(inputs, targets, forecasts, units="mm/h", levels=levels)
    for name in ("frame_interval", "pixel_km"):
        for value in (0, -1, np.nan):
            with pytest.raises(ValueError, match=rf"\[rain_panel\] '{name}' must be positive or None but got {value}"):
                draw(inputs, targets, forecasts, units="mm/h", **{name: value})
    with pytest.raises(ValueError, match="'max_columns' must be at least 1 but got 0"):
        draw(inputs, targets, forecasts, units="mm/h", max_columns=0)
    with pytest.raises(ValueError, match=r"\[rain_gif\] 'times' must be datetime64"):
        report.rain_gif("never.gif", inputs, targets, forecasts, units="mm/h", times=TIMES[:3])
    with pytest.raises(ValueError, match=r"\[rain_gif\] 'frame_interval' must be positive"):
        report.rain_gif("never.gif", inputs, targets, forecasts, units="mm/h", frame_interval=0)

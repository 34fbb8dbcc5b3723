"""Panels of frames."""

from convlstm import report
from tests.support.frame_sequences import frames

import numpy as np
import pytest
from PIL import Image


def images(figure):
    return [axes for axes in figure.axes if axes.images]


def headings(figure):
    return [axes.get_title() for axes in images(figure) if axes.get_title()]


def texts(figure):
    return [text.get_text().replace("\n", " ") for text in figure.texts]


@pytest.mark.parametrize(
    ("shape", "past", "future"),
    [
        ({"t_in": 5, "horizon": 1}, 5, 1),
        ({"t_in": 10, "horizon": 10, "names": ("model", "persistence")}, 10, 10),
        ({"t_in": 20, "horizon": 20, "names": ("a", "b", "c")}, 10, 10),
        ({"t_in": 5, "horizon": 20, "size": (12, 30), "channels": 3}, 5, 10),
        ({"t_in": 1, "horizon": 3, "size": (30, 12), "channels": 2}, 1, 3),
        ({"t_in": 1, "horizon": 3, "size": (30, 12), "channels": 3}, 1, 3),
    ],
)
def test_panel_has_every_row(shape, past, future, tmp_path):
    sequences = frames(**shape)
    figure = report.forecast_panel(None, *sequences)
    rows = 2 + len(sequences[2])
    assert len(images(figure)) == past + rows * future
    bars = 1 if shape.get("channels") == 3 else 2  # colours need no key, the error does
    assert len(figure.axes) == past + rows * future + bars
    heads = headings(figure)
    assert heads[0] == (f"t-{shape['t_in'] - 1}" if shape["t_in"] > 1 else "t0")
    assert heads[past - 1 : past + 1] == ["t0", "+1"]
    assert heads[-1] == f"+{shape['horizon']}"
    assert len({round(axes.get_position().width, 9) for axes in images(figure)}) == 1
    for label in ("input", "truth", *sequences[2], f"error of {next(iter(sequences[2]))}"):
        assert label in texts(figure)

    report.forecast_panel(tmp_path / "panel.png", *sequences)
    with Image.open(tmp_path / "panel.png") as image:
        assert image.size == tuple(round(inch * 100) for inch in figure.get_size_inches())
        assert image.width <= 1400
        pixels = np.asarray(image.convert("RGB"))
        assert pixels.std() > 20
        assert (pixels[:, [0, 1, 2, -3, -2, -1]] == 255).all(), "nothing runs out of the picture"


def test_panel_shows_the_frames():
    inputs, targets, forecasts = frames(t_in=2, horizon=2, names=("a", "b"))
    shown = [
        np.asarray(axes.images[0].get_array())
        for axes in images(report.forecast_panel(None, inputs, targets, forecasts))
    ]
    expected = [*inputs, *targets, *forecasts["a"], *forecasts["b"], *(forecasts["a"] - targets)]
    for ours, frame in zip(shown, expected, strict=True):
        np.testing.assert_array_equal(ours, frame[..., 0])


def test_panel_scales():
    figure = report.forecast_panel(None, *frames(t_in=2, horizon=2))
    limits = [axes.images[0].get_clim() for axes in images(figure)]
    assert limits == [(0, 1)] * 6 + [(-0.1, 0.1)] * 2 or limits == [(0, 1)] * 6 + [(-0.2, 0.2)] * 2
    assert [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()] == ["intensity", "error"]


def test_panel_colours_and_missing_pixels():
    inputs, targets, forecasts = frames(t_in=2, horizon=2, channels=3)
    targets[0, 3, 4] = np.nan
    figure = report.forecast_panel(None, inputs, targets, forecasts)
    shown = images(figure)
    truth = np.asarray(shown[2].images[0].get_array())
    assert truth.shape == (16, 16, 3)
    np.testing.assert_allclose(truth[3, 4], [0xE3 / 255, 0xC9 / 255, 0xA0 / 255])
    error = shown[6].images[0].get_array()
    assert error.shape == (16, 16)
    assert np.argwhere(error.mask).tolist() == [[3, 4]]
    assert "sand colour = missing" in texts(figure)[-1]
    assert "sand" not in texts(report.forecast_panel(None, *frames(t_in=2, horizon=2)))[-1]


def test_panel_of_several_sequences():
    sequences = frames(t_in=3, horizon=2, lead=(2,))
    figure = report.forecast_panel(None, *sequences)
    assert len(images(figure)) == 2 * (3 + 3 * 2)
    assert {"sequence 1", "sequence 2"} < set(texts(figure))
    mse = (np.square(sequences[2]["model"][1] - sequences[1][1]).sum() / 2).item()
    assert f"MSE {mse:.3f} per frame" in texts(figure)


def test_panel_title_minutes_and_columns():
    figure = report.forecast_panel(None, *frames(), title="An event", frame_interval=2.5, max_columns=4)
    assert "An event" in texts(figure)
    assert headings(figure) == [
        *("-22.5 min", "-15 min", "-7.5 min", "now"),
        *("+2.5 min", "+10 min", "+17.5 min", "+25 min"),
    ]


def test_sequences_that_do_not_fit():
    inputs, targets, forecasts = frames()
    with pytest.raises(ValueError, match=r"\[forecast_panel\] 'forecasts' must name at least one"):
        report.forecast_panel(None, inputs, targets, {})
    with pytest.raises(ValueError, match=r"'model' must .*\(10, 16, 16, 1\), but got \(9, 16, 16, 1\)"):
        report.forecast_panel(None, inputs, targets, {"model": targets[:9]})
    with pytest.raises(ValueError, match=r"differ only in T but got \(10, 16, 8, 1\) and \(10, 16, 16, 1\)"):
        report.forecast_panel(None, inputs[:, :, :8], targets, forecasts)
    with pytest.raises(ValueError, match=r"\[forecast_gif\] 'inputs' and 'targets' must be \(T, H, W, C\)"):
        report.forecast_gif("never.gif", inputs[None], targets, forecasts)
    with pytest.raises(ValueError, match=r"\[forecast_gif\] 'inputs' must be one sequence \(T, H, W, C\)"):
        report.forecast_gif("never.gif", *frames(lead=(2,)))

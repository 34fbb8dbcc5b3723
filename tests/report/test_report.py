from convlstm import report
from convlstm.metrics import FrameMetrics
from convlstm.report import animation, curves, panel

import numpy as np
import pytest
from PIL import Image


def frames(t_in=10, horizon=10, size=(16, 16), channels=1, names=("model",), lead=()):
    rng = np.random.default_rng(0)
    inputs = rng.random((*lead, t_in, *size, channels), dtype=np.float32)
    targets = rng.random((*lead, horizon, *size, channels), dtype=np.float32)
    return inputs, targets, {name: np.clip(targets + 0.1 * k, 0, 1) for k, name in enumerate(names, 1)}


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
    ],
)
def test_panel_has_every_row(shape, past, future, tmp_path):
    sequences = frames(**shape)
    figure = panel.draw(*sequences)
    rows = 2 + len(sequences[2])
    assert len(images(figure)) == past + rows * future
    assert len(figure.axes) == past + rows * future + 2, "two colour bars"
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
    shown = [np.asarray(axes.images[0].get_array()) for axes in images(panel.draw(inputs, targets, forecasts))]
    expected = [*inputs, *targets, *forecasts["a"], *forecasts["b"], *(forecasts["a"] - targets)]
    for ours, frame in zip(shown, expected, strict=True):
        np.testing.assert_array_equal(ours, frame[..., 0])


def test_panel_scales():
    figure = panel.draw(*frames(t_in=2, horizon=2))
    limits = [axes.images[0].get_clim() for axes in images(figure)]
    assert limits == [(0, 1)] * 6 + [(-0.1, 0.1)] * 2 or limits == [(0, 1)] * 6 + [(-0.2, 0.2)] * 2
    assert [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()] == ["intensity", "error"]


def test_panel_colours_and_missing_pixels():
    inputs, targets, forecasts = frames(t_in=2, horizon=2, channels=3)
    targets[0, 3, 4] = np.nan
    figure = panel.draw(inputs, targets, forecasts)
    shown = images(figure)
    truth = np.asarray(shown[2].images[0].get_array())
    assert truth.shape == (16, 16, 3)
    np.testing.assert_allclose(truth[3, 4], [0xE3 / 255, 0xC9 / 255, 0xA0 / 255])
    error = shown[6].images[0].get_array()
    assert error.shape == (16, 16)
    assert np.argwhere(error.mask).tolist() == [[3, 4]]
    assert "sand = missing" in texts(figure)[-1]
    assert "sand" not in texts(panel.draw(*frames(t_in=2, horizon=2)))[-1]


def test_panel_of_several_sequences():
    sequences = frames(t_in=3, horizon=2, lead=(2,))
    figure = panel.draw(*sequences)
    assert len(images(figure)) == 2 * (3 + 3 * 2)
    assert {"sequence 1", "sequence 2"} < set(texts(figure))
    mse = (np.square(sequences[2]["model"][1] - sequences[1][1]).sum() / 2).item()
    assert f"MSE {mse:.3f} per frame" in texts(figure)


def test_panel_title_minutes_and_columns():
    figure = panel.draw(*frames(), title="An event", frame_interval=2.5, max_columns=4)
    assert "An event" in texts(figure)
    assert headings(figure) == [
        *("-22.5 min", "-15 min", "-7.5 min", "now"),
        *("+2.5 min", "+10 min", "+17.5 min", "+25 min"),
    ]


def gif_frames(path):
    with Image.open(path) as image:
        durations, pictures = [], []
        for k in range(image.n_frames):
            image.seek(k)
            durations.append(image.info["duration"])
            pictures.append(np.asarray(image.convert("RGB")))
        return image.info.get("loop"), durations, pictures


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


def test_gif_says_what_is_forecast():
    shown = dict.fromkeys(("truth", "a_forecaster_with_a_very_long_name_indeed"), np.zeros((16, 16, 1), np.float32))
    now, later = animation.still(shown, 0, None), animation.still(shown, 3, 5)
    assert texts(now) == ["input  t0"]
    assert texts(later) == ["forecast  +15 min"]
    assert [axes.get_title() for axes in later.axes] == ["truth", "a_forecaster_with_a_very_long_.."]
    assert later.axes[1].spines["top"].get_edgecolor() != later.axes[0].spines["top"].get_edgecolor()


def test_sequences_that_do_not_fit():
    inputs, targets, forecasts = frames()
    with pytest.raises(ValueError, match=r"\[forecast_panel\] 'forecasts' must name at least one"):
        panel.draw(inputs, targets, {})
    with pytest.raises(ValueError, match=r"'model' must .*\(10, 16, 16, 1\), but got \(9, 16, 16, 1\)"):
        panel.draw(inputs, targets, {"model": targets[:9]})
    with pytest.raises(ValueError, match=r"differ in T alone but got \(10, 16, 8, 1\) and \(10, 16, 16, 1\)"):
        panel.draw(inputs[:, :, :8], targets, forecasts)
    with pytest.raises(ValueError, match=r"\[forecast_gif\] 'inputs' and 'targets' must be \(T, H, W, C\)"):
        report.forecast_gif("never.gif", inputs[None], targets, forecasts)
    with pytest.raises(ValueError, match=r"\[forecast_gif\] 'inputs' must be one sequence \(T, H, W, C\)"):
        report.forecast_gif("never.gif", *frames(lead=(2,)))


def scores(horizon=6, names=("model", "persistence", "zeros"), ssim=True):
    _, targets, forecasts = frames(horizon=horizon, names=names, lead=(2,))
    result = {}
    for name, forecast in forecasts.items():
        metrics = FrameMetrics(ssim=ssim)
        metrics.update(forecast, targets)
        result[name] = metrics.compute()
    return result


@pytest.mark.parametrize("horizon", [1, 6, 25])
def test_lead_curves(horizon, tmp_path):
    result = scores(horizon)
    figure = curves.draw_leads(result, title="By lead time")
    assert [axes.get_title("left") for axes in figure.axes] == ["MSE per frame", "SSIM", "PSNR"]
    assert [axes.get_title("right") for axes in figure.axes] == ["lower is better"] + ["higher is better"] * 2
    assert [axes.get_ylabel() for axes in figure.axes][2] == "dB"
    for axes, metric in zip(figure.axes, ("mse_per_frame", "ssim", "psnr"), strict=True):
        assert axes.get_xlabel() == "lead time (frames)"
        for line, name in zip(axes.lines, result, strict=True):
            assert line.get_label() == name
            np.testing.assert_array_equal(line.get_xdata(), np.arange(1, horizon + 1))
            np.testing.assert_array_equal(line.get_ydata(), result[name][metric]["per_lead"])
        assert sorted(text.get_text() for text in axes.texts) == sorted(result)
        heights = sorted(text.xy[1] for text in axes.texts)
        assert np.diff(heights).min() > 0.06, "names do not touch"
    report.lead_curves(tmp_path / "curves.png", result)
    with Image.open(tmp_path / "curves.png") as image:
        assert image.width == 1398
        assert 300 < image.height < 500


def test_lead_curves_in_minutes_of_what_was_computed():
    figure = curves.draw_leads(scores(ssim=False), ("ssim", "psnr"), frame_interval=5)
    assert len(figure.axes) == 1
    assert figure.axes[0].get_xlabel() == "lead time (min)"
    assert figure.axes[0].lines[0].get_xdata().tolist() == [5, 10, 15, 20, 25, 30]
    with pytest.raises(ValueError, match=r"none of the scores \['ssim'\] was computed"):
        curves.draw_leads(scores(ssim=False), ["ssim"])


def test_a_score_that_is_not_a_number_leaves_a_gap(tmp_path):
    result = scores(2)
    result["model"]["psnr"]["per_lead"] = [float("nan"), float("nan")]
    figure = curves.draw_leads(result)
    assert sorted(text.get_text() for text in figure.axes[2].texts) == ["persistence", "zeros"]
    report.lead_curves(tmp_path / "curves.png", result)


def rows(**blank):
    for k in range(100):
        yield {
            "step": str(10 * k),
            "train_loss": str(1 / (k + 1)),
            "val_loss": str(abs(k - 60) + 1) if k % 20 == 0 else "",
            "val_psnr": str(20 - abs(k - 80)) if k % 20 == 0 else "",
            "learning_rate": "0.1",
        } | blank


def test_training_curve(tmp_path):
    figure = curves.draw_training(rows(), title="A run")
    assert [axes.get_title("left") for axes in figure.axes] == ["loss", "PSNR"]
    loss, psnr = figure.axes
    assert loss.get_yscale() == "log"
    assert psnr.get_yscale() == "linear"
    assert [line.get_label() for line in loss.lines] == ["every step logged", "training", "validation", "best"]
    assert len(loss.lines[0].get_xdata()) == 100
    assert len(loss.lines[2].get_xdata()) == 5
    assert "best 1.000\nat step 600" in [text.get_text() for text in loss.texts]
    assert "best 20.00\nat step 800" in [text.get_text() for text in psnr.texts]
    report.training_curve(tmp_path / "run.png", rows())
    with Image.open(tmp_path / "run.png") as image:
        assert 900 < image.width <= 1400
        assert np.asarray(image.convert("L")).std() > 5


def test_training_curve_of_little(tmp_path):
    figure = curves.draw_training([{"step": 1, "train_loss": 0.5, "val_loss": None}])
    assert [line.get_label() for line in figure.axes[0].lines] == ["every step logged", "training"]
    report.training_curve(tmp_path / "run.png", [{"step": 1, "val_mse_per_frame": 3.0}, {"step": 2}])
    with pytest.raises(ValueError, match="neither a 'train_loss' nor a 'val_"):
        curves.draw_training(rows(train_loss="", val_loss="nan", val_psnr=None))

"""Scores are of the truth as it was read, not of what the model's scale leaves of it."""

from convlstm.architectures.ensemble import Ensemble
from convlstm.datasets.transforms import Linear, LogRain, Reflectivity
from convlstm.evaluation.scoring import evaluate
from convlstm.report.page.films import Field, drawn_films, films_of, scales_of

import mlx.core as mx
import numpy as np
import pytest

THRESHOLDS = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Rain:
    """A field of rain with a transform."""

    frame_interval, pixel_km = 5.0, 1.0

    def __init__(self, transform=None, thresholds=THRESHOLDS):
        self.transform, self.thresholds = transform or Reflectivity(), thresholds
        self.units = self.transform.units

    def physical(self, x):
        return self.transform.inverse(x)

    def times(self, split, index):
        return None


def batch_of(rain, truth):
    """A batch of a truth in physical units (N, T, H, W, 1), NaN where unknown, whose forecasts are `targets`."""
    y, known = np.nan_to_num(rain.transform.forward(truth)), ~np.isnan(truth)
    return {"inputs": y[:, :1], "targets": y, "mask": known, "truth": truth}


def on_the_scale(batch):
    """A forecaster whose forecast is exactly the truth on the model's scale."""
    return lambda inputs, horizon: mx.array(batch["targets"])


@pytest.mark.parametrize("step", [0.1, 0.05 * 6, 0.01 * 12])
@pytest.mark.parametrize("transform", [Reflectivity(), LogRain(), Linear(scale=100.0, units="mm/h")])
def test_a_perfect_forecast_gets_the_best_scores_at_every_threshold(transform, step, rng):
    """Values lie exactly at the thresholds, as counts times a step in float32 do."""
    rain = Rain(transform)
    truth = rng.integers(0, round(60 / step), (2, 3, 32, 32, 1)).astype(np.float32) * np.float32(step)
    truth[:, :, :4] = rng.choice(np.array(THRESHOLDS, np.float32), truth[:, :, :4].shape)
    truth[0, 0, 8:12] = np.nan
    batch = batch_of(rain, truth)
    perfect = on_the_scale(batch)
    result = evaluate({"perfect": perfect, "members": Ensemble([perfect, perfect])}, [batch], rain=rain, ssim=False)
    for scores in result.scores.values():
        for name, value in scores.items():
            if name.startswith(("csi", "pod", "fss", "hss", "bias")):
                assert value["overall"] == 1, name
        assert scores["mae_mmh"]["overall"] < 1e-3
        assert scores["b_mae"]["overall"] < 1
        assert scores["spectral_ratio@16px"]["overall"] == pytest.approx(1, abs=0.01)
    members = result.scores["members"]
    assert members["crps_mmh"]["overall"] < 1e-3
    assert members["brier@30mmh"]["overall"] == 0
    # A truth that equals all members has every rank alike.
    ranks = result.ensembles[""]["members"].rank_histogram()
    assert ranks == pytest.approx(np.full(3, ranks.sum() / 3))


def test_events_that_the_scale_clips_stay_events(rng):
    """On a scale that ends at 20 mm/h no forecast reaches 30, but the rain did: these are misses."""
    rain = Rain(LogRain(0.1, 20.0))
    truth = rng.choice(np.float32([0, 1, 15, 40]), (1, 2, 16, 16, 1))
    batch = batch_of(rain, truth)
    scores = evaluate({"model": on_the_scale(batch)}, [batch], rain=rain, ssim=False).scores["model"]
    assert scores["pod@30mmh"]["overall"] == 0
    assert scores["csi@10mmh"]["overall"] == 1
    assert scores["mae_mmh"]["overall"] == pytest.approx(20 * (truth == 40).mean(), rel=1e-5)
    # A batch without the truth can only be scored as far as the scale reaches.
    del batch["truth"]
    scores = evaluate({"model": on_the_scale(batch)}, [batch], rain=rain, ssim=False).scores["model"]
    assert np.isnan(scores["pod@30mmh"]["overall"])
    assert scores["mae_mmh"]["overall"] == 0


def test_examples_cases_and_pictures_show_the_truth(rng):
    rain = Rain(LogRain(0.1, 20.0))
    truth = rng.choice(np.float32([0, 1, 5, 40]), (3, 2, 16, 16, 1))
    truth[1, 0, :3] = np.nan
    batch = batch_of(rain, truth)
    result = evaluate({"model": on_the_scale(batch)}, [batch], rain=rain, keep=3, cases=1)
    for n, example in enumerate(result.examples):
        np.testing.assert_array_equal(example.truth, truth[n])
    np.testing.assert_array_equal(result.best[0].example.truth, truth[result.best[0].example.index])
    assert result.best[0].score == 1
    (film,) = films_of("best", result.examples[0], Field(rain, "test", 30.0))
    assert film.scores["model"][-1] == 0
    np.testing.assert_array_equal(film.panels["truth"][1:], truth[0])


def test_a_forecast_of_the_truth_has_its_colours(rng):
    rain = Rain()
    truth = rng.choice(np.float32([0, 0.1, 0.5, 1, 2, 5, 30, 100]), (1, 2, 8, 8, 1))
    batch = batch_of(rain, truth)
    result = evaluate({"model": on_the_scale(batch)}, [batch], rain=rain, keep=1)
    shown = films_of("chosen", result.examples[0], Field(rain, "test", 2.0))
    films = drawn_films(shown, scales_of(shown, "mm/h"))
    of_panels = {name: [films.album.pictures[i] for i in indices] for name, indices in films.indices[0].items()}
    assert of_panels["truth"] == of_panels["model"]


def test_refuses_a_truth_of_another_shape(rng):
    rain = Rain()
    batch = batch_of(rain, rng.random((1, 2, 8, 8, 1), np.float32))
    batch["truth"] = batch["truth"][:, :1]
    with pytest.raises(
        ValueError, match=r"'truth' must have the shape of 'targets', \(1, 2, 8, 8, 1\), but got \(1, 1"
    ):
        evaluate({"model": on_the_scale(batch)}, [batch], rain=rain)

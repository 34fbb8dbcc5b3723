"""Scores of rain forecasts to draw."""

from convlstm.metrics import RainMetrics

import numpy as np

NAMES = ("model", "extrapolation", "persistence")
THRESHOLDS = (0.5, 2, 30)


def rain(horizon=4, units="mm/h", thresholds=THRESHOLDS, names=NAMES, missing=False, **settings):
    """Returns the metrics of forecasters, each worse than the one before, and the truth."""
    rng = np.random.default_rng(0)
    truth = np.exp(rng.normal(0, 1.5, (2, horizon, 32, 32, 1)))
    if missing:
        truth[:, :, 10:20, 5:9] = np.nan
    metrics = {}
    for k, name in enumerate(names):
        metrics[name] = RainMetrics(thresholds, units=units, scales=(1, 2, 8), pools=(4,), **settings)
        metrics[name].update(truth * np.exp(rng.normal(0, 0.3 * (k + 1), truth.shape)), truth)
    return metrics, truth


def scores(**how):
    """Returns the scores of forecasters."""
    return {name: metric.compute() for name, metric in rain(**how)[0].items()}


def texts(axes):
    """Returns the texts inside axes."""
    return [text.get_text() for text in axes.texts]

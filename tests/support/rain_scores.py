"""Rain forecasts to score, and comparison of scores."""

from convlstm.metrics import RainMetrics

import numpy as np

THRESHOLDS = (0.5, 2.0, 5.0)
OPTIONS = {"thresholds": THRESHOLDS, "scales": (1, 2, 3, 4, 40), "pools": (2, 4)}


def rain(*shape, seed=0):
    """Returns a forecast and the truth in mm/h, dry at most pixels, and True where the truth is known."""
    rng = np.random.default_rng(seed)
    target = (rng.random(shape) < 0.5) * rng.gamma(0.6, 6, shape)
    forecast = np.where(rng.random(shape) < 0.6, target, rng.gamma(0.6, 6, shape))
    return forecast.astype(np.float32), target.astype(np.float32), rng.random(shape) < 0.8


def scored(forecast, target, mask=None, **options):
    metrics = RainMetrics(**(OPTIONS | options))
    metrics.update(forecast, target, mask)
    return metrics.compute()


def assert_same(a, b):
    """Checks that scores are equal to the last bit; NaN equals NaN."""
    assert a.keys() == b.keys()
    for name, score in a.items():
        for key, value in score.items():
            np.testing.assert_array_equal(b[name][key], value, err_msg=f"{name} {key}")

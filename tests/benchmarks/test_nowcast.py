"""The scores of the comparison of a learned ensemble with STEPS."""

from benchmarks.nowcast import interval, power, scored

import numpy as np
import pytest


def test_scores_leave_out_what_is_unknown(rng):
    truth = rng.gamma(0.5, 2, (1, 12, 32, 32, 1)).astype(np.float32)
    members = np.stack([truth, truth + 2])
    known = np.zeros(truth.shape, bool)
    known[:, :, :16] = True
    members[:, :, :, 16:] = 99
    found = scored(members, truth, known, 5, 2)
    assert found["pixels"] == 12 * 16 * 32
    # mean |x - y| = 1, less the half of the mean distance of two members, 2 / 4.
    assert found["crps 1px"] == pytest.approx(0.5, rel=1e-4)
    assert found["crps 16px"] == pytest.approx(0.5, rel=1e-4)
    assert found["mae of median"] == pytest.approx(1, rel=1e-4)
    assert found["mean"] - found["truth"] == pytest.approx(1, rel=1e-4)


def test_power_is_that_of_waves_in_an_octave():
    rows = np.arange(64)
    wave = 10 ** (np.sin(2 * np.pi * rows / 5)[:, None] + np.zeros((64, 64)))
    of_octaves = power(wave[None], 2)  # waves of 10 km
    assert np.argmax(of_octaves) == 1
    assert of_octaves[1] > 20 * max(of_octaves[0], of_octaves[2])


def test_an_interval_holds_a_constant_ratio(rng):
    theirs = rng.random(8) + 1
    assert interval(0.9 * theirs, theirs) == pytest.approx((0.9, 0.9))
    low, high = interval(theirs * rng.uniform(0.8, 1.2, 8), theirs)
    assert low < high

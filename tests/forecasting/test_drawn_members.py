"""The forecaster of a model that draws its members itself."""

from convlstm.architectures.steps import STEPS
from convlstm.datasets.transforms import Reflectivity
from convlstm.forecasting.drawn_members import DrawnForecaster
from tests.architectures.test_sprog import rain

import mlx.core as mx
import numpy as np
import pytest


@pytest.fixture(scope="module")
def frames():
    """Returns frames in mm/h (5, 48, 64), with a pixel that is missing in all of them."""
    frames = Reflectivity().inverse(np.array(rain())[0, :, :48, :64, 0])
    frames[:, 10, 12] = np.nan
    return frames


def test_members_are_those_of_the_model(frames):
    model, scale = STEPS(4), Reflectivity()
    forecaster = DrawnForecaster(model, scale, thresholds=[1.0], horizon=2)
    members = np.stack(list(forecaster.members(frames)))
    inputs = mx.array(scale.forward(np.nan_to_num(frames)))[None, ..., None]
    expected = scale.inverse(np.array(model(inputs, 2))[:, 0, ..., 0])
    assert np.isnan(members[:, :, 10, 12]).all()
    expected[:, :, 10, 12] = np.nan
    np.testing.assert_array_equal(members, expected)
    np.testing.assert_allclose(forecaster(frames), members.mean(axis=0), atol=1e-5)
    spread, share = forecaster.layers.values()
    np.testing.assert_allclose(spread.values, members.std(axis=0, ddof=1), atol=1e-4)
    np.testing.assert_allclose(share.values[:, :10], (members >= 1).mean(axis=0)[:, :10], atol=1e-6)
    assert forecaster.missing.never[0, 10, 12, 0]
    assert forecaster.provenance()["model"] == "STEPS"
    assert forecaster.provenance()["ensemble"] == {"members": 4}


def test_the_model_runs_once_for_all_members(frames):
    class Counted(STEPS):
        calls = 0

        def __call__(self, inputs, horizon):
            Counted.calls += 1
            return super().__call__(inputs, horizon)

    forecaster = DrawnForecaster(Counted(3), Reflectivity(), horizon=1)
    sequences = np.stack([frames, frames[:, ::-1]])[..., None]
    both = forecaster(sequences)
    assert Counted.calls == 1
    assert both.shape == (2, 1, 48, 64, 1)
    assert forecaster.layers == {}
    assert abs(np.nan_to_num(forecaster(frames) - both[0, ..., 0])).mean() < 0.05

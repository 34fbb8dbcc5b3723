import warnings

from convlstm.architectures.baselines import Persistence
from convlstm.forecasting.forecaster import Forecaster
from tests.support.radar_sequences import SPLITS, opened, starts

import numpy as np


def test_gaps_of_inputs_are_filled_as_in_forecasts(tmp_path):
    """A third of the last input frame is missing: the model gets the same inputs in training, scores and forecasts."""
    rain = np.random.default_rng(0).gamma(1.0, 3.0, (30, 16, 16)).astype(np.float32)
    rain[1::5, :5] = np.nan
    np.save(tmp_path / "rain.npy", rain)
    options = {"units": "mm/h", "start": "2020-06-01T00:00", "step_minutes": 5}
    data = opened(tmp_path / "rain.npy", reader=options, index=str(tmp_path / "index"))
    got = []

    class Spy(Persistence):
        def __call__(self, inputs, horizon, *, key=None):
            got.append(np.array(inputs))
            return super().__call__(inputs, horizon)

    forecaster = Forecaster(Spy(), data.transform)
    for split in SPLITS:
        sample, first = data.sample(split, 0), starts(data, split)[0]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            forecaster(rain[first : first + 2], 1)
        assert (sample["inputs"] == got.pop()[0]).all()
        assert sample["input_mask"][..., 0].tolist() == (~np.isnan(rain[first : first + 2])).tolist()

"""S-PROG as a model."""

import re

from convlstm.architectures.rain_decibels import REFLECTIVITY, RainDecibels, rates_of
from convlstm.architectures.sprog import SPROG
from convlstm.datasets.transforms import Linear, LogRain, Reflectivity
from tests.support.project import PROJECT
from tests.support.rain_cells import moving

import hydra
import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten


def rain(dy=1.0, dx=-2.0, **options):
    """Returns (1, 5, 96, 128, 1) on the scale of `Reflectivity`: cells of up to tens of mm/h, and dry ground."""
    cells = moving(dy, dx, frames=5, **options)
    return mx.where(cells > 0.15, 0.2 + 0.45 * mx.clip(cells, 0, 1.2), 0)


def test_the_scale_is_that_of_the_transform():
    x = np.array([0, 0.05, 0.1, 0.5, 7, 200], np.float32)
    for transform in (Reflectivity(), LogRain(0.05, 300.0)):
        scale = RainDecibels("test", rates_of("test", transform), 0.1)
        z = np.array(scale.forward(mx.array(transform.forward(x))))
        np.testing.assert_allclose(z, [0, 0, *(10 * np.log10(x[2:]) + 15)], rtol=1e-4)
        y = np.array(scale.inverse(mx.array(z)))
        np.testing.assert_allclose(transform.inverse(y), [0, 0, *x[2:]], rtol=1e-3)
    np.testing.assert_allclose(rates_of("test", Reflectivity()), REFLECTIVITY, rtol=1e-4)


@pytest.mark.parametrize("transform", [Linear(), Linear(100.0, units="mm/h")])
def test_a_scale_that_is_not_logarithmic_is_refused(transform):
    with pytest.raises(ValueError, match=re.escape("must be the logarithm of a rain rate in mm/h, such as")):
        rates_of("SPROG", transform)


@pytest.mark.parametrize("matching", ["cdf", "mean", "none"])
def test_as_much_rain_as_now_and_what_the_matching_keeps(matching):
    x = rain(0.0, 0.0)
    forecast = np.array(SPROG(matching=matching)(x, 4))[0, ..., 0]
    last = np.array(x)[0, -1, :, :, 0]
    assert forecast.shape == (4, 96, 128)
    for frame in forecast:
        assert (frame > 0).mean() == pytest.approx((last > 0).mean(), abs=0.01)
        if matching == "cdf":
            np.testing.assert_allclose(np.sort(frame.ravel()), np.sort(last.ravel()), atol=0.03)
        if matching == "mean":
            assert frame[frame > 0].mean() == pytest.approx(last[last > 0].mean(), abs=0.01)


def test_rain_moves_on():
    x = rain()
    forecast = np.array(SPROG(matching="none")(x, 3))[0, 2, 16:-16, 16:-16, 0]
    truth = np.roll(np.array(x)[0, -1, :, :, 0], (3, -6), axis=(0, 1))[16:-16, 16:-16]
    assert np.corrcoef(forecast.ravel(), truth.ravel())[0, 1] > 0.95


def test_details_that_do_not_last_fade():
    x = rain()
    noisy = mx.where(x > 0, mx.clip(x + 0.1 * mx.random.normal(x.shape, key=mx.random.key(0)), 0.25, 1), 0)
    forecast, last = np.array(SPROG(matching="none")(noisy, 3))[0, 2, ..., 0], np.array(noisy)[0, -1, ..., 0]
    assert abs(np.diff(forecast, axis=1)).mean() < 0.7 * abs(np.diff(last, axis=1)).mean()


def test_dry_frames_stay_dry():
    np.testing.assert_array_equal(SPROG()(mx.zeros((1, 3, 32, 32, 1)), 3), 0)


def test_missing_pixels_are_missing_where_they_move():
    x = np.array(rain(0.0, 0.0))
    x[0, -2, 40:50, 60:70] = np.nan
    gone = np.isnan(np.array(SPROG()(mx.array(x), 2)))[0, 1, ..., 0]
    assert gone[42:48, 62:68].all()
    assert gone.sum() < 200


def test_batch_equals_its_samples_and_compiled_equals_plain():
    x = mx.concatenate([rain(), rain(-1.0, 1.0, seed=3)])
    model = SPROG()
    both, one = model(x, 2), mx.concatenate([model(x[:1], 2), model(x[1:], 2)])
    # Rounding can move a pixel at the edge of the rain from one side to the other.
    assert mx.abs(both - one).mean().item() < 1e-4
    assert mx.abs(mx.compile(lambda inputs: model(inputs, 2))(x) - both).mean().item() < 1e-4
    assert tree_flatten(model.parameters()) == []


def test_the_model_from_its_yaml():
    with hydra.initialize_config_dir(str(PROJECT / "configs"), version_base=None):
        model = hydra.utils.instantiate(hydra.compose("model/sprog").model)
    x = rain()
    np.testing.assert_array_equal(model(x, 2), SPROG()(x, 2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": 2}, "[SPROG] 'levels' must be a whole number of at least 3 but got 2."),
        ({"threshold": 0.01}, "[SPROG] 'threshold' must be"),
        ({"matching": "best"}, "[SPROG] 'matching' must be one of cdf, mean, none but got 'best'."),
        ({"rates": [1, 0.1]}, "[SPROG] 'rates' must be two rain rates, 0 < low < high, but got [1, 0.1]."),
        ({"border": "wrap"}, "[SPROG] 'border' must be one of edge, zero, circular but got 'wrap'."),
        ({"frames": 1}, "[SPROG] 'frames' must be"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        SPROG(**options)


def test_two_frames_are_too_few():
    with pytest.raises(ValueError, match="at least 3 input frames are needed"):
        SPROG()(mx.zeros((1, 2, 16, 16, 1)), 1)


def test_frames_are_aligned_as_in_pysteps(rng):
    """Paths go back by the midpoint rule; all that comes from beyond the outermost pixels is no rain."""
    model = SPROG()
    x = mx.clip(mx.array(rng.uniform(0.2, 0.8, (2, 3, 12, 16, 1)).astype(np.float32)), 0, 1)
    flow = mx.array(rng.normal([0.6, -1.3], 0.4, (2, 12, 16, 2)).astype(np.float32))
    aligned = np.array(model.lagrangian(x, flow))
    z = np.array(model._scale.forward(x))[..., 0]
    np.testing.assert_array_equal(aligned[:, 2], z[:, 2])
    pixels = np.stack(np.indices((12, 16)), axis=-1).astype(float)

    def read(field, place):
        y, x = place
        y, x = min(max(y, 0), 11), min(max(x, 0), 15)
        top, left = min(int(y), 10), min(int(x), 14)
        a, b = y - top, x - left
        upper, lower = field[top : top + 2, left : left + 2]
        return (1 - a) * ((1 - b) * upper[0] + b * upper[1]) + a * ((1 - b) * lower[0] + b * lower[1])

    for n in range(2):
        motion = np.array(flow[n], float)
        for index in np.ndindex(12, 16):
            place = pixels[index].copy()
            for steps in (1, 2):
                place = place - read(motion, place - read(motion, place) / 2)
                inside = (place >= 0).all() and (place <= [11, 15]).all()
                expected = read(z[n, 2 - steps], place) if inside else 0
                assert aligned[n, 2 - steps][index] == pytest.approx(expected, abs=2e-3)


def test_facts_of_the_data_are_adopted_unless_an_argument_says_another():
    model = SPROG()
    model.adopt(rates=[0.05, 300])
    assert model.rates == [0.05, 300]
    x = rain()
    np.testing.assert_array_equal(model(x, 1), SPROG(rates=[0.05, 300])(x, 1))
    SPROG(rates=[0.05, 300]).adopt(rates=(0.050001, 300.0))
    with pytest.raises(ValueError, match=re.escape("'rates' must be that of the data, [0.1,300], but got [0.05, 300]")):
        SPROG(rates=[0.05, 300]).adopt(rates=[0.1, 300])

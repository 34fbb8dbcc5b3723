import json

from convlstm.datasets.transforms import (
    Linear,
    LogRain,
    Reflectivity,
    Standard,
    Transform,
    default_transform,
    rain_rate,
    reflectivity,
    to_unit,
)

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

ALL = [Reflectivity(), LogRain(), Linear(), Linear(scale=100.0, units="mm/h")]


# Two-sided scales, whose 0 is no value of 0.
TWO_SIDED = [Linear(minimum=-3.0, maximum=35.0, units="degC"), Standard(mean=15.0, std=4.0, units="degC")]


def name(transform):
    return type(transform).__name__


def test_reflectivity_in_closed_form():
    # 10 log10(58.53) = 17.674 dBZ is 1 mm/h.
    assert Reflectivity().forward(np.float32(1.0)) == pytest.approx((10 * np.log10(58.53) + 10) / 70)
    rain = 10 ** ((np.array([15.0, 50.0]) - 10 * np.log10(58.53)) / 15.6)
    assert Reflectivity().forward(rain) == pytest.approx([25 / 70, 60 / 70], abs=1e-6)
    assert Reflectivity(a=200, b=1.6, minimum=0, maximum=50).forward(1.0) == pytest.approx(np.log10(200) / 5)


def test_thresholds_of_hko7_on_its_own_scale():
    """The expected values are those of `rainfall_to_pixel` in the published code."""
    values = np.array([0.5, 2, 5, 10, 30])
    published = (10 * np.log10(58.53) + 15.6 * np.log10(values) + 10) / 70
    assert to_unit(Reflectivity(), values.tolist()) == pytest.approx(published.tolist(), abs=1e-6)
    assert to_unit(None, values.tolist()) == to_unit(Reflectivity(), values.tolist())
    assert to_unit(Linear(), [51.0]) == [pytest.approx(0.2)]


def test_log_rain_in_closed_form():
    assert LogRain().forward([0.1, 1, 10, 100]) == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert LogRain(minimum=1, maximum=10).forward(10**0.5) == pytest.approx(0.5)
    assert LogRain().forward([0.05, 0.0999]).tolist() == [0, 0]


def test_linear_in_closed_form():
    assert Linear().forward([0, 51, 255]) == pytest.approx([0, 0.2, 1])
    assert Linear(scale=10).inverse([0.5]).tolist() == [5]


def test_line_between_two_values():
    wind = Linear(minimum=-20, maximum=20, units="m s-1")
    assert wind.forward([-20, -5, 0, 20]) == pytest.approx([0, 0.375, 0.5, 1])
    assert wind.inverse([0.25]) == pytest.approx([-10])
    assert wind.describe() == {"name": "Linear", "units": "m s-1", "minimum": -20, "maximum": 20}
    assert Linear().describe() == {"name": "Linear", "scale": 255.0, "units": "raw"}


def test_standard_reaches_five_deviations():
    assert Standard(mean=10, std=2).forward([0, 8, 10, 12, 20, 25]) == pytest.approx([0, 0.4, 0.5, 0.6, 1, 1])
    assert Standard(mean=10, std=2).ends() == pytest.approx((0, 20))


@pytest.mark.parametrize("transform", TWO_SIDED, ids=name)
@given(y=st.floats(0, 1, width=32))
def test_two_sided_scales_round_trip(transform, y):
    x = transform.inverse(np.float32(y))
    assert transform.forward(x) == pytest.approx(y, abs=1e-6)
    assert type(transform)(**{k: v for k, v in transform.describe().items() if k != "name"}) == transform
    assert np.isnan(transform.forward(np.float32("nan")))


def test_share_of_clipped_values():
    sst = Linear(minimum=0, maximum=30, units="degC")
    assert sst.clipped(np.array([-1, 0, 30, 31, np.nan, np.inf], np.float32)) == pytest.approx(2 / 4)
    assert sst.clipped(np.full(3, np.nan, np.float32)) == 0
    assert Reflectivity().clipped(np.array([0, 10, 600], np.float32)) == pytest.approx(1 / 3)


def test_the_z_r_relation_of_marshall_and_palmer():
    dbz = np.array([10 * np.log10(200), 10 * np.log10(200 * 10**1.6), -np.inf])
    assert rain_rate(dbz) == pytest.approx([1, 10, 0])
    assert rain_rate(np.array([20.0]), 100, 2) == pytest.approx([1])
    assert reflectivity(np.array([1.0, 10.0]), 100, 2) == pytest.approx([20, 40])
    assert reflectivity(rain_rate(dbz[:2])) == pytest.approx(dbz[:2])


@pytest.mark.parametrize("transform", ALL, ids=name)
class TestEvery:
    @given(y=st.just(0.0) | st.floats(2**-10, 1, width=32))  # rounding decides what is rain just above 0
    def test_round_trips(self, transform, y):
        x = transform.inverse(np.float32(y))
        assert transform.forward(x) == pytest.approx(y, abs=1e-6)
        assert transform.inverse(transform.forward(x)) == pytest.approx(x, rel=1e-5)

    def test_is_float32_of_the_same_shape(self, transform):
        for x in (np.ones((2, 3)), np.ones((2, 3), np.float32), np.ones((2, 3), np.int16)):
            for y in (transform.forward(x), transform.inverse(x)):
                assert (y.dtype, y.shape) == (np.float32, (2, 3))

    def test_keeps_nan_and_clips_the_rest(self, transform):
        y = transform.forward(np.array([np.nan, -np.inf, -1, 0, 1e9, np.inf], np.float32))
        assert np.isnan(y[0])
        assert y[1:].tolist() == [0, 0, 0, 1, 1]
        x = transform.inverse(np.array([np.nan, -0.1, 0, 1, 1.5], np.float32))
        assert np.isnan(x[0])
        assert x[1:3].tolist() == [0, 0]
        assert x[3] == x[4] > 0

    def test_rises(self, transform):
        y = transform.forward(np.linspace(0.2, 90, 200))
        assert (np.diff(y) > 0).all()

    def test_has_units_and_a_record(self, transform):
        assert transform.units in ("mm/h", "raw")
        record = json.loads(json.dumps(transform.describe()))
        assert type(transform)(**{k: v for k, v in record.items() if k != "name"}) == transform
        assert record["name"] == name(transform)


def test_default_for_units():
    assert default_transform("mm/h") == Reflectivity()
    assert default_transform("raw") == Linear()


def test_the_base_class_maps_nothing():
    for call in (Transform().forward, Transform().inverse):
        with pytest.raises(NotImplementedError):
            call(np.zeros(1))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Reflectivity(a=0), r"\[Reflectivity\] 'a' must be a positive number but got 0."),
        (lambda: Reflectivity(b=-1), r"\[Reflectivity\] 'b' must be a positive number but got -1."),
        (lambda: Reflectivity(minimum=float("nan")), r"'minimum' must be a finite number but got nan."),
        (lambda: Reflectivity(maximum="60"), r"'maximum' must be a finite number but got '60'."),
        (lambda: Reflectivity(minimum=60), r"'minimum' must be below 'maximum' \(60.0\) but got 60."),
        (lambda: LogRain(minimum=0), r"\[LogRain\] 'minimum' must be a positive number but got 0."),
        (lambda: LogRain(maximum=True), r"'maximum' must be a positive number but got True."),
        (lambda: LogRain(maximum=0.1), r"\[LogRain\] 'minimum' must be below 'maximum' \(0.1\) but got 0.1."),
        (lambda: Linear(scale=float("inf")), r"\[Linear\] 'scale' must be a positive number but got inf."),
        (lambda: Linear(units=" "), r"\[Linear\] 'units' must be a text such as degC or mm/h but got ' '."),
        (lambda: Linear(minimum=1), r"\[Linear\] 'minimum' needs 'maximum', but it is missing."),
        (lambda: Linear(minimum=2, maximum=1), r"\[Linear\] 'minimum' must be below 'maximum' \(1\) but got 2."),
        (lambda: Standard(mean=float("nan"), std=1), r"\[Standard\] 'mean' must be a finite number but got nan."),
        (lambda: Standard(mean=0, std=0), r"\[Standard\] 'std' must be a positive number but got 0."),
    ],
)
def test_refuses(make, text):
    with pytest.raises(ValueError, match=text):
        make()

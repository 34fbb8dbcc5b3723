"""Rain in pysteps' units, to rates and back."""

import re

from convlstm.pysteps_plugin.rain_units import RainUnits

import numpy as np
import pytest

# dBR as pysteps' dB_transform makes it of 0, 0.1, 1, 10 and 100 mm/h, and a missing pixel.
DECIBELS = np.array([[-15, -10, 0], [10, 20, np.nan]])
RATES = np.array([[0, 0.1, 1], [10, 100, np.nan]])


def metadata(**changed):
    """Returns a part of what pysteps' importers return."""
    return {"unit": "mm/h", "transform": "dB", "threshold": -10.0, "zerovalue": -15.0, "accutime": 5.0} | changed


@pytest.mark.parametrize(("transform", "fields"), [("dB", DECIBELS), (None, RATES)])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_rates_and_back(transform, fields, kind):
    units = RainUnits.of(fields.astype(kind), transform=transform)
    rates = units.rates(fields.astype(kind))
    assert rates.dtype == np.float32
    np.testing.assert_allclose(rates, RATES, rtol=1e-5)
    back = units.fields(rates)
    assert back.dtype == np.float64
    np.testing.assert_allclose(back, fields, atol=1e-5)
    # A pixel at the threshold is rain, whatever rounding has made of it.
    assert back[0, 1] >= units.threshold


def test_the_defaults_are_those_of_pysteps():
    assert RainUnits.of(DECIBELS) == RainUnits("dB", -10.0, -15.0)
    assert RainUnits.of(DECIBELS[1:]) == RainUnits("dB", -10.0, -15.0)
    assert RainUnits.of(RATES, transform=None) == RainUnits(None, 0.1, 0.0)
    assert RainUnits.of(np.where(DECIBELS == -15, -25, DECIBELS)).zerovalue == -25


def test_less_than_the_threshold_is_no_rain():
    units = RainUnits.of(DECIBELS, precip_thr=5.0, zerovalue=-20.0)
    np.testing.assert_allclose(units.rates(DECIBELS), [[0, 0, 0], [10, 100, np.nan]], rtol=1e-5)
    np.testing.assert_allclose(units.fields(RATES), [[-20, -20, -20], [10, 20, np.nan]])
    assert units.lowest_rate == pytest.approx(10**0.5)
    units = RainUnits.of(RATES, transform=None, precip_thr=2.0, zerovalue=-1.0)
    np.testing.assert_allclose(units.fields(RATES), [[-1, -1, -1], [10, 100, np.nan]])
    assert units.lowest_rate == 2


def test_a_threshold_of_nothing_and_a_negative_value_of_no_rain():
    # As pysteps reads files of the Australian radars.
    fields = np.where(RATES == 0, -0.6, RATES)
    units = RainUnits.of(fields, metadata=metadata(transform=None, threshold=0.0, zerovalue=-0.6))
    np.testing.assert_allclose(units.rates(fields), RATES)
    np.testing.assert_allclose(units.fields(RATES), fields)
    units = RainUnits.of(RATES, metadata=metadata(transform=None, threshold=0.0, zerovalue=0.0))
    np.testing.assert_allclose(units.fields(units.rates(RATES)), RATES)


def test_metadata_say_it_all():
    told = metadata(threshold=-20.0, zerovalue=-25.0)
    assert RainUnits.of(DECIBELS, metadata=told) == RainUnits("dB", -20.0, -25.0)
    assert RainUnits.of(DECIBELS, metadata=told, precip_thr=-12.0, zerovalue=-15.0) == RainUnits("dB", -12.0, -15.0)
    told = metadata(transform=None, threshold=0.05, zerovalue=0.0)
    assert RainUnits.of(RATES, metadata=told) == RainUnits(None, 0.05, 0.0)
    assert RainUnits.of(RATES, metadata={"unit": "mm/h", "transform": None}) == RainUnits(None, 0.1, 0.0)


@pytest.mark.parametrize(
    ("fields", "options", "message"),
    [
        (RATES, {}, "the lowest value is 0 dB: no pixel would be dry. Are these rates? Then give transform=None."),
        (RATES + 1, {}, "at most 40 dB, but the highest value is 101. Are these rates?"),
        (DECIBELS * 2, {"zerovalue": -30.0}, None),
        (
            DECIBELS - 17,
            {},
            "no values below -30 dB but the lowest value is -32. Are these reflectivities? If not, give",
        ),
        (DECIBELS, {"zerovalue": -12.0}, "no values below -12 dB but the lowest value is -15. Check 'zerovalue'."),
        (DECIBELS, {"transform": None}, "rates of at least 0 mm/h for transform=None but the lowest value is -15."),
        (
            DECIBELS,
            {"transform": "sqrt"},
            "'transform' must be 'dB', or None for mm/h, but got 'sqrt'. Undo it first: ",
        ),
        (
            DECIBELS,
            {"unit": "dBZ"},
            "'unit' must be 'mm/h' but got 'dBZ'. Convert it first: precip, metadata = pysteps.",
        ),
        (DECIBELS, {"precip_thr": "low"}, "'precip_thr' must be a finite number but got 'low'."),
        (RATES, {"transform": None, "precip_thr": -1}, "'precip_thr' must be at least 0 but got -1."),
        (RATES - 1, {"transform": None, "zerovalue": -0.6}, "but the lowest value is -1. Are these decibels?"),
        (DECIBELS, {"zerovalue": np.nan}, "'zerovalue' must be a finite number but got nan."),
        (RATES, {"transform": None, "zerovalue": 0.1}, "'zerovalue' must be below 'precip_thr', 0.1, but got 0.1."),
        (np.where(DECIBELS == 0, -np.inf, DECIBELS), {}, "'precip' must be finite, or NaN where missing"),
        (DECIBELS, {"metadata": {"unit": "mm/h"}}, "as pysteps' importers return them, but lacks 'transform'."),
        (DECIBELS, {"metadata": "dB"}, "'metadata' must be a dict with texts as keys but got 'dB'."),
        (DECIBELS, {"metadata": metadata(unit="mm")}, "'unit' must be 'mm/h' but got 'mm'."),
        (DECIBELS, {"metadata": metadata(transform="BoxCox")}, "but got 'BoxCox'. Undo it first: "),
        (
            RATES,
            {"metadata": metadata(), "transform": None},
            "'transform' must be that of 'metadata', 'dB', or be left",
        ),
    ],
)
def test_what_is_doubtful_is_refused(fields, options, message):
    if message is None:
        assert RainUnits.of(fields, **options).zerovalue == options["zerovalue"]
        return
    with pytest.raises(ValueError, match=re.escape(message)):
        RainUnits.of(fields, **options)

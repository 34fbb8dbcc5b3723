import warnings

from convlstm.datasets import RadarEcho
from convlstm.datasets.fitted_scales import scale_choices, scale_of, scale_of_changes
from convlstm.datasets.readers.grid import RAIN_RATE, Field
from convlstm.datasets.transforms import Linear, Reflectivity, Standard

import numpy as np
import pytest

FIELD = Field("t2m", "K")


def test_the_range_has_a_margin():
    values = np.array([270.0, 310.0, np.nan, 290.0], np.float32)
    assert scale_of("range", FIELD, values) == Linear(minimum=266.0, maximum=314.0, units="K")
    assert scale_of("range", FIELD, values).clipped(values) == 0
    assert scale_of("range", FIELD, np.full(3, 5.0)) == Linear(minimum=4.5, maximum=5.5, units="K")


def test_standardisation():
    values = np.random.default_rng(0).normal(10, 3, 100_000)
    scale = scale_of("standard", FIELD, values)
    assert (scale.mean, scale.std) == (pytest.approx(10, abs=0.05), pytest.approx(3, abs=0.05))


def test_numbers_and_rain_need_no_fit():
    none = np.full(2, np.nan)
    assert scale_of({"minimum": -2, "maximum": 35}, FIELD, none) == Linear(minimum=-2.0, maximum=35.0, units="K")
    assert scale_of({"mean": 0, "std": 5}, FIELD, none) == Standard(0.0, 5.0, "K")
    assert scale_of("range", RAIN_RATE, none) == Reflectivity()


def test_changes_are_symmetric():
    assert scale_of_changes(FIELD, np.array([-5.0, 1.0, np.nan])) == Linear(minimum=-6.0, maximum=6.0, units="K")
    assert scale_of_changes(FIELD, np.zeros(3)) == Linear(minimum=-1.0, maximum=1.0, units="K")


def test_choices_by_name_or_for_all():
    assert scale_choices("Owner", "standard", ["a", "b"]) == ["standard", "standard"]
    numbers = {"minimum": 0, "maximum": 1}
    assert scale_choices("Owner", {"b": numbers}, ["a", "b"]) == ["range", numbers]
    for choice, text in (
        ("log", r"\[Owner\] 'scale' must be range or standard, .* but got 'log'\."),
        ({"a": "log"}, r"but got 'log' for 'a'\."),
        ({"c": "range"}, r"'scale' must be for the fields a, b but got 'c'\."),
        ({"a": {"minimum": 0}}, r"but got {'minimum': 0} for 'a'\."),
        ({"a": {"mean": "0", "std": 1}}, r"for 'a'\."),
    ):
        with pytest.raises(ValueError, match=text):
            scale_choices("Owner", choice, ["a", "b"])


def test_a_wind_on_a_scale_of_counts_is_refused(tmp_path):
    """Negative values became 0 without a word: half of a wind's."""
    wind = np.random.default_rng(0).normal(0, 5, (60, 8, 8)).astype(np.float32)
    np.save(tmp_path / "wind.npy", wind)
    options = {"start": "2024-01-01", "step_minutes": 60}
    settings = {"archive": str(tmp_path / "wind.npy"), "reader": options, "input_frames": 2, "target_frames": 2}
    settings |= {"index": str(tmp_path / "index"), "progress": False}
    text = r"\[RadarEcho\] 5\d\.\d+% of the values of wind.npy lie beyond its scale, 0 to 255 raw.*, or allow"
    with pytest.raises(ValueError, match=text):
        RadarEcho(**settings)
    with pytest.warns(UserWarning, match="are clipped"):
        RadarEcho(**settings, most_clipped=0.6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        RadarEcho(**settings, transform=Linear(minimum=-40, maximum=40), thresholds=[1])

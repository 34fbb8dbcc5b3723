"""Options of the readers that make no sense are refused by name and value, whichever format they are for."""

from __future__ import annotations

from dataclasses import fields

from convlstm.datasets.archives.archive import Archive
from convlstm.datasets.archives.forecast_input import ForecastInput
from convlstm.datasets.archives.newest_frames import NewestFrames
from convlstm.datasets.moving_mnist import MovingMNIST
from convlstm.datasets.radar_echo import RadarEcho
from convlstm.datasets.readers import FORMATS, make_reader
from tests.support.radar_archives import OPTIONS, write_pictures

import numpy as np
import pytest

# The kinds of values that each option takes.
TEXTS = {
    "pattern": "%Y%m%d%H%M",
    "units": "mm/h",
    "key": "rain",
    "variable": "rain",
    "start": "2020-06-01",
    "name": "rain",
    "importer": "mch_gif",
}
NUMBERS = ("scale", "offset", "missing")
# What options take beside these, except for the name of ODIM's only quantity, and values of the others.
SEVERAL = {
    "variable": [["a"]],
    "select": [{}, {"a": 1}],
    "arguments": [{}, {"a": 1}],
    "luminance": [True],
    "timeless": [True],
}
OTHERS = {
    "select": {"level": 500},
    "arguments": {"accutime": 5, "qty": "ACRR", "crop": True},
    "luminance": True,
    "accumulated": "since_start",
    "timeless": True,
}
WRONG = [True, [], ["a"], {}, {"a": 1}, b"mm/h", object(), float("nan"), float("inf")]


def options():
    return [(format, field.name) for format, reader in FORMATS.items() for field in fields(reader)]


@pytest.mark.parametrize(("format", "name"), options())
def test_values_of_another_type_are_refused(format, name):
    wrong = [*WRONG, *([12, 2.5, ""] if name in TEXTS else ["5m", "", -1] if name == "step_minutes" else ["5m", ""])]
    several = [] if format == "odim" else SEVERAL.get(name, [])
    for value in [value for value in wrong if value not in several]:
        with pytest.raises(ValueError, match=rf"\[{format}\] '{name}' .*got ") as caught:
            make_reader(format, **{name: value})
        assert repr(value) in str(caught.value)
    right = OTHERS.get(name, TEXTS.get(name, 5))
    hash(make_reader(format, **{name: right}))
    hash(make_reader(format, **{name: None}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pattern": 12}, r"\[png\] 'pattern' must be a text but got 12\. Put it in quotes\."),
        ({"step_minutes": "5m"}, r"\[numpy\] 'step_minutes' must be a number of minutes above 0 but got '5m'\."),
        ({"scale": "0.1"}, r"\[png\] 'scale' must be a number but got '0\.1'\."),
        ({"colour": 1}, r"'options' \{'colour': 1\} fit no format\. They are .*numpy: key, start, .*png: pattern, "),
        ({"pattern": "%Y", "variable": "x"}, r"fit no format"),
        (5, r"'(options|reader)' must be options by name, such as \{units: mm/h\}, but got 5\."),
        ([1], r"must be options by name"),
        ({5: 1}, r"must be options by name"),
    ],
)
@pytest.mark.parametrize("owner", ["Archive", "NewestFrames", "ForecastInput", "RadarEcho"])
def test_the_message_reaches_the_user_of_an_archive(tmp_path, owner, options, message):
    """Without a format, it is that of a format which has the options."""
    write_pictures(tmp_path / "radar", 3)
    makers = {
        "Archive": lambda: Archive(tmp_path / "radar", options=options),
        "NewestFrames": lambda: NewestFrames(tmp_path / "radar", options=options),
        "ForecastInput": lambda: ForecastInput(tmp_path / "radar", options=options),
        "RadarEcho": lambda: RadarEcho(archive=str(tmp_path / "radar"), reader=options),
    }
    with pytest.raises(ValueError, match=message):
        makers[owner]()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: Archive(5), r"\[Archive\] 'path' must be a path but got 5"),
        (lambda path: Archive("a\0b"), r"\[Archive\] 'path' must be a path but got 'a\\x00b'"),
        (lambda path: Archive("~nobody_of_this_name/radar"), r"\[Archive\] 'path' must be a path but got '~nobody"),
        (lambda path: Archive(path, cache=[]), r"\[Archive\] 'cache' must be a path but got \[\]"),
        (lambda path: Archive(path, format=[]), r"'format' must be one of .* but got \[\]"),
        (lambda path: Archive(path, zr=(200, float("inf"))), r"\[Archive\] 'zr' must be two positive numbers"),
        (lambda path: NewestFrames(None), r"\[NewestFrames\] 'path' must be a path but got None"),
        (lambda path: ForecastInput(path, step="5m"), r"\[ForecastInput\] 'step' must be a number of .* but got '5m'"),
        (lambda path: ForecastInput(path, step=float("inf")), r"\[ForecastInput\] 'step' must be a number"),
        (
            lambda path: ForecastInput(path, coarsen=0),
            r"\[ForecastInput\] 'coarsen' must be a whole number",
        ),
        (lambda path: ForecastInput(path, crop=5), r"\[ForecastInput\] 'crop' must be top, left, height and width"),
        (lambda path: ForecastInput(path, crop=["a"] * 4), r"\[ForecastInput\] 'crop' must be a whole number"),
        (lambda path: ForecastInput(path, trained=[1]), r"\[ForecastInput\] 'trained' must be options by name"),
        (lambda path: RadarEcho(index=5), r"\[RadarEcho\] 'index' must be a path but got 5"),
        (lambda path: RadarEcho(transform="linear"), r"\[RadarEcho\] 'transform' must be one of .* but got 'linear'"),
        (lambda path: RadarEcho(synthetic=5), r"\[RadarEcho\] 'synthetic' must be options by name"),
        (lambda path: RadarEcho(augment="no"), r"\[RadarEcho\] 'augment' must be True or False but got 'no'"),
        (lambda path: MovingMNIST(root=5), r"\[MovingMNIST\] 'root' must be a path but got 5"),
        (lambda path: MovingMNIST(digits="mnist", mirrors=5), r"\[MovingMNIST\] 'mirrors' must be a text or a list"),
        (lambda path: MovingMNIST(digits="mnist", timeout="2s"), r"\[MovingMNIST\] 'timeout' must be a number"),
    ],
)
def test_arguments_of_another_type(tmp_path, make, message):
    write_pictures(tmp_path / "radar", 3)
    with pytest.raises(ValueError, match=message):
        make(str(tmp_path / "radar"))


@pytest.mark.parametrize("minutes", [0, -5, float("nan"), float("inf"), "5m"])
def test_a_step_in_the_file_that_makes_no_sense(tmp_path, minutes):
    np.savez(tmp_path / "20200601.npz", rain=np.zeros((3, 4, 4)), minutes=minutes)
    with pytest.raises(ValueError, match=r"\[numpy\] .*20200601\.npz (has frames .* minutes apart|cannot be read)"):
        make_reader("numpy").contents(tmp_path / "20200601.npz")


def test_the_options_of_these_tests_are_read(tmp_path):
    write_pictures(tmp_path / "radar", 3)
    assert len(Archive(tmp_path / "radar", options=OPTIONS)) == 3

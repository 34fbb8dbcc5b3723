"""A table of forty wrong or doubtful inputs: each is refused, warned of, or read as what it is and named so."""

import re
import warnings

from convlstm.cli.errors import USER_ERRORS
from convlstm.datasets.archives.forecast_input import ForecastInput
from convlstm.datasets.gridded_fields import GriddedFields
from tests.support.cf_files import frames
from tests.support.doubtful_inputs import FILES

import numpy as np
import pytest

pytest.importorskip("netCDF4")
pytest.importorskip("cftime")

# What is said: an error, a warning, or the description of the field that every run prints.
SAID = {
    "units missing": "sst: temperature, raw",
    "units odd": "sst: furlongs per fortnight",
    "NaN only": "no file in .* can be used: .*the frame of 2020-01-01T00:00:00",
    "several variables": r"has several fields: sst \(degC\), u10 \(m s-1\). Choose one by the option 'variable'",
    "one dimension too many": r"over the dimension 'level' of 2 \(500, 850 hPa\).*reader.select=\{level: VALUE\}",
    "calendar unknown": "of the calendar 'maya', which are not understood",
    "irregular steps": "no sequence crosses a gap, 4 in all",
    "duplicate times": "frames with the time of another one are left out, 1 in all",
    "degF": "sst: degF",
    "rain without units": "has the rain 'precipitation' without units. Name its units: reader.units=mm/h",
    "rain in unknown units": "has the rain 'precipitation' in 'unknown', which are no units of rain",
    "rain as sum 5min": "has the rain 'precipitation' in 'sum 5min', which are no units of rain",
    "accumulation since start": "precipitation: accumulated since the start of the forecast, m$",
    "negative rain": "negative rain counts as missing, 6 in all",
    "absurd rain": "infinite and impossible values count as missing, 12 in all",
    "infinite values": "infinite and impossible values count as missing, 12 in all",
    "a huge gap": r"no sequence crosses a gap, 1 in all: .*59700 min",
    "frames of the future": "the newest frame is ahead of this machine's clock",
    "mixed grids": "files with frames of another size or other units than most are left out, 1 in all",
    "mixed units": "3 x 4 sst in K instead of 3 x 4 sst in degC",
    "times without units": "has no variable of times 'since' a date, and no time in its name",
    "no time at all": "has no variable of times 'since' a date, and no time in its name",
    "no rows": "no_rows.nc cannot be read",
    "no frames": "has no frames",
    "a single frame": "is too short: the 1 frames",
    "a text variable": "can be used",
    "a constant": "sst: sea surface temperature, degC",
    "complex numbers": "can be used|complex",
    "objects": "can be used|object",
    "an empty file": "of a known format|empty",
    "a text file": "is of a known format",
    "an empty folder": "no file is of a known format",
}
# Frames that need no words, since they are brought into the usual order: the values and the first and last times.
FIRST, LAST = "2020-01-01T00", "2020-01-01T11"
READ = {
    "transposed": (frames(12, 4, 3).swapaxes(1, 2), FIRST, LAST),
    "calendar noleap": (frames(12, 3, 4), "2020-03-01T00", "2020-03-01T11"),
    "calendar 360_day": (frames(12, 3, 4), "2020-02-29T00", "2020-02-29T11"),
    "monthly steps": (frames(12, 3, 4), "2021-01-01", "2021-12-01"),
    "times decrease": (frames(12, 3, 4)[::-1], FIRST, LAST),
    "south first": (frames(12, 3, 4)[:, ::-1], FIRST, LAST),
    "times with a zone": (frames(12, 3, 4), "2019-12-31T22", "2020-01-01T09"),
}
# Packed numbers whose missing values no attribute names are read as numbers, and longitudes stay in the file's order.
NOT_SAID = {"packed without fill", "longitudes decrease"}


def written(tmp_path, name):
    """Returns the path of a case's file."""
    path = tmp_path / f"{name.replace(' ', '_')}.nc"
    FILES[name](path)
    return path if path.exists() else path.with_suffix(".npy")


def said(tmp_path, name):
    """Returns all that is said about a case."""
    path = written(tmp_path, name)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            if name == "frames of the future":
                ForecastInput(path, frames=2).look()
                text = ""
            else:
                lengths = {"input_frames": 2, "target_frames": 1, "multiple": 1, "split": (1, 0, 0)}
                data = GriddedFields(archive=path, index=tmp_path / "index", progress=False, **lengths)
                text = "\n".join(str(channel.field) for channel in data.channels.fields)
        except USER_ERRORS as error:
            text = str(error)
    return "\n".join([text, *(str(warning.message) for warning in caught)])


def test_the_table_is_complete():
    assert set(FILES) == set(SAID) | set(READ) | NOT_SAID
    assert len(SAID) + len(READ) >= 39


@pytest.mark.parametrize("name", SAID)
def test_nothing_passes_silently(tmp_path, name):
    text = said(tmp_path, name)
    assert re.search(SAID[name], text, re.MULTILINE), text
    assert "Traceback" not in text


@pytest.mark.parametrize("name", READ)
def test_other_orders_and_calendars_are_read_right(tmp_path, name):
    values, first, last = READ[name]
    latest = ForecastInput(written(tmp_path, name), frames=12)
    latest.look()
    window, problems = latest.window(latest.times[-1])
    assert problems == []
    np.testing.assert_array_equal(window.frames, values)
    assert [str(window.times[n]) for n in (0, -1)] == [str(np.datetime64(t, "s")) for t in (first, last)]

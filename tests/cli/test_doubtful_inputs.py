"""A table of wrong or doubtful inputs given to the commands: each is refused, warned of, or read as what it is."""

import re

from convlstm.runs.progress import Progress
from tests.support.cf_files import frames
from tests.support.doubtful_inputs import FILES, UNWRITTEN
from tests.support.tiny import call

import numpy as np
import pytest

pytest.importorskip("netCDF4")
pytest.importorskip("cftime")

# What `train` says before its first step: an error, a warning, or the field as every run prints it.
SAID = {
    "units missing": "sst: temperature, raw, scaled from",
    "units odd": "sst: furlongs per fortnight",
    "NaN only": "no file in .* can be used: .*the frame of 2020-01-01T00:00:00",
    "some frames NaN": "frames without any known pixel are left out, 1 in all",
    "several variables": r"has several fields: sst \(degC\), u10 \(m s-1\). Choose one by the option 'variable'",
    "one dimension too many": r"over the dimension 'level' of 2 \(500, 850 hPa\).*data.reader.select=\{level: VALUE\}",
    "members": r"over the dimension 'number' of 2 \(0, 1\).*data.reader.select=\{number: VALUE\}",
    "an unknown dimension": r"over the dimension 'band' of 2 beside time, .*data.reader.select=\{band: VALUE\}",
    "a level that is not there": r"has no level=300; 'sst' has \(500, 850 hPa\)",
    "a level by a word": r"'select' must name dimensions with a value of each.* but got \{'level': 'high'\}",
    "a dimension that is not there": "has no dimension 'depth' to select from: 'sst' is over time, lat, lon",
    "a variable that is not there": r"has no frames 'sss'; it has sst \(degC\)",
    "differences of a temperature": "has no sums among sst, by their units and cell_methods.*Leave it out",
    "final and preliminary": r"sst: sea surface temperature, degC \(expver 1, where it is missing expver 5\)",
    "calendar noleap": r"degC \(dates of the calendar noleap are read as real ones\)",
    "calendar 360_day": r"degC \(dates of the calendar 360_day are read as real ones\)",
    "30 February": "a frame of 2020-02-30T00:00:00 in the calendar '360_day', a date that does not exist",
    "calendar unknown": "of the calendar 'maya', which are not understood",
    "mixed calendars": r"files are read in another way than most, 1 in all: 8.nc .*the calendar noleap",
    "irregular steps": "no sequence crosses a gap, 4 in all",
    "step from 1 h to 3 h": "no sequence crosses a gap, 5 in all: .*180 min after 2020-01-01T06:00:00",
    "a month is missing": r"no sequence crosses a gap, 1 in all: .*87840 min after 2021-06-01",
    "a huge gap": r"no sequence crosses a gap, 1 in all: .*59700 min",
    "duplicate times": "frames with the time of another one are left out, 1 in all",
    "a time is missing": "has frames without a time",
    "degF": "sst: sst, degF|sst: degF",
    "percent": "sst: cloud cover, %, scaled from",
    "a flux that is no rain": "sst: flux of CO2, kg m-2 s-1, scaled from",
    "rain without units": "has the rain 'precipitation' without units. Name its units: data.reader.units=mm/h",
    "rain in unknown units": "has the rain 'precipitation' in 'unknown', which are no units of rain",
    "rain as sum 5min": "has the rain 'precipitation' in 'sum 5min', which are no units of rain",
    "rain in mm/5min": "has the rain 'precipitation' in 'mm/5min', which are no units of rain",
    "rain as dBZ": "rain_rate: mm/h from dBZ",
    "accumulation since start": "amounts of rain that never fall .*data.reader.accumulated=since_start",
    "accumulation by its bounds": "sums of different length that begin at 2020.*data.reader.accumulated=since_start",
    "accumulations in files": "0.nc and 1.nc hold sums of 'tp' .*data.reader.accumulated=since_start",
    "negative rain": "negative rain counts as missing, 6 in all",
    "absurd rain": "infinite and impossible values count as missing, 12 in all",
    "infinite values": "infinite and impossible values count as missing, 12 in all",
    "land as -9999": r"25.0% of the values of sst are -9999, far from all others .*data.reader.missing=-9999",
    "land as 1e20": r"25.0% of the values of sst are 1e\+20, far from all others .*data.reader.missing=1e\+20",
    "packed without fill": r"degC \(packed as int16 without a number for missing values\)",
    "mixed packing": r"files are read in another way than most, 1 in all: 8.nc .*packed as int16",
    "mixed grids": "files with frames of another size or other units than most are left out, 1 in all",
    "mixed units": "3 x 4 sst in K instead of 3 x 4 sst in degC",
    "files of another place": r"of another place than most are left out, 1 in all: 8.nc \(3 x 4 pixels from 17.75",
    "times without units": "has no variable of times 'since' a date, and no time in its name",
    "no time at all": "has no variable of times 'since' a date, and no time in its name",
    "no rows": r"has frames of \(0, 4\)",
    "no frames": "has no frames",
    "a single frame": "is too short: the single frame of",
    "a text variable": "can be used",
    "a constant": "sst: sea surface temperature, degC, scaled from 0.5 to 1.5",
    "a temperature as rain": "rain",
    "complex numbers": "can be used|complex",
    "objects": "can be used|object",
    "an empty file": "of a known format|empty",
    "a text file": "is of a known format",
    "an empty folder": "no file is of a known format",
}
# What `forecast` says.
FORECAST = {
    "frames of the future": "the newest frame is ahead of this machine's clock",
    "a single frame": "a single frame so far, that of 2020-01-01 00:00. Wait for more",
    "mixed units": "not used    8.nc: 3 x 4 sst in K instead of 3 x 4 sst in degC",
    "files of another place": "not used    8.nc: 3 x 4 pixels from 17.75, 45.75 to 19.75, 47.25 deg instead of",
    "accumulations in files": "hold sums of 'tp' of different length .*reader.accumulated=since_start",
    "several variables": r"has several fields: sst \(degC\), u10 \(m s-1\)",
    "units odd": "field       sst: .*furlongs per fortnight",
}
# What `evaluate` says.
EVALUATE = {
    "rain without units": "has the rain 'precipitation' without units. Name its units: data.reader.units=mm/h",
    "several variables": r"has several fields: sst \(degC\), u10 \(m s-1\).*data.reader.variable=sst",
    "land as -9999": r"25.0% of the values of sst are -9999, far from all others .*data.reader.missing=-9999",
    "units missing": r"\bsst +RMSE .*\n.* raw ",
}
# Frames that need no words, since they are brought into the usual order: the last one, and the times of both.
FIRST, LAST = "2020-01-01 10:00", "2020-01-01 11:00"
READ = {
    "transposed": (frames(12, 4, 3)[-1].T, FIRST, LAST),
    "monthly steps": (frames(12, 3, 4)[-1], "2021-11-01", "2021-12-01"),
    "times decrease": (frames(12, 3, 4)[0], FIRST, LAST),
    "times unsorted": (frames(12, 3, 4)[10], FIRST, LAST),
    "south first": (frames(12, 3, 4)[-1, ::-1], FIRST, LAST),
    "longitudes decrease": (frames(12, 3, 4)[-1, :, ::-1], FIRST, LAST),
    "longitudes from 0 and from -180": (frames(12, 3, 4)[-1], FIRST, LAST),
    "times with a zone": (frames(12, 3, 4)[-1], "2020-01-01 08:00", "2020-01-01 09:00"),
    "packed with a fill": (
        np.where(np.arange(12).reshape(3, 4) == 5, np.nan, 20 + (132 + np.arange(12).reshape(3, 4)) / 100), FIRST, LAST
    ),
    "unwritten numbers": (UNWRITTEN[-1], FIRST, LAST),
}  # fmt: skip
# Keys beside the file.
KEYS = {
    "a level that is not there": ["data.reader.select={level: 300}"],
    "a level by a word": ["data.reader={select: {level: high}}"],
    "a dimension that is not there": ["data.reader={select: {depth: 1}}"],
    "a variable that is not there": ["data.variable=sss"],
    "differences of a temperature": ["data.reader.accumulated=since_start"],
}
TRAIN = (
    *("experiment=fields", "data.input_frames=2", "data.target_frames=1", "data.multiple=1", "data.split=[1,0,0]"),
    *("data.progress=false", "trainer.batch_size=1", "trainer.max_steps=1", "model.hidden_channels=[2]"),
    *("model.kernel_size=1", "model.patch_size=1", "output=runs", "name=run"),
)

pytestmark = pytest.mark.filterwarnings("always")


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Returns a function that writes a case's file, calls a command for it, and returns its status and its output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONVLSTM_DATA", str(tmp_path / "index"))
    # What is said about the data comes before the first step.
    monkeypatch.setattr("convlstm.training.loop.Trainer.fit", lambda *_, **__: Progress(status="finished"))
    # The files are too short for two splits, and all of their values count in training.
    monkeypatch.setattr("convlstm.training.loop.check_validation", lambda data: None)

    def run(name, program, *line, key):
        path = tmp_path / f"{re.sub('[ /]', '_', name)}.nc"
        FILES[name](path)
        path = path if path.exists() else path.with_suffix(".npy")
        status, out, err = call(program, monkeypatch, capsys, *line, f"{key}={path}")
        return status, out + err

    return run


def test_the_table_is_complete():
    assert set(FILES) == set(SAID) | set(FORECAST) | set(READ)
    assert not set(READ) & (set(SAID) | set(FORECAST))
    assert len(FILES) >= 65


def test_every_pattern_asks_for_something():
    for pattern in (*SAID.values(), *FORECAST.values(), *EVALUATE.values()):
        assert not re.search(pattern, "run         runs/run\ndevice      Device(cpu, 0)\nmodel       EncoderForecaster")


@pytest.mark.parametrize("name", SAID)
def test_training_says_what_is_wrong(command, name):
    line = TRAIN
    if name == "a temperature as rain":
        line = [part for part in TRAIN if "experiment" not in part]
        line = ("data=radar_echo", "loss=balanced", *line)
    status, text = command(name, "train", *line, *KEYS.get(name, []), key="data.archive")
    assert re.search(SAID[name], text, re.MULTILINE), text
    assert "Traceback" not in text
    assert status in (0, 1)


@pytest.mark.parametrize("name", FORECAST)
def test_forecasting_says_what_is_wrong(command, name):
    status, text = command(name, "forecast", "model=persistence", "horizon=1", "out=f.npy", key="input")
    assert re.search(FORECAST[name], text, re.MULTILINE), text
    assert "Traceback" not in text
    assert status in (0, 1, 3)


@pytest.mark.parametrize("name", EVALUATE)
def test_evaluating_says_what_is_wrong(command, name, monkeypatch):
    monkeypatch.setattr(
        "convlstm.cli.evaluate.write_pictures", lambda *_, **__: []
    )  # which would take most of the time
    line = ["data=fields", "model=persistence", "examples=[]", "cases=0", *TRAIN[1:4], "data.split=[0,0,1]"]
    status, text = command(name, "evaluate", *line, key="data.archive")
    assert re.search(EVALUATE[name], text), text
    assert "Traceback" not in text
    assert status == (1 if name in ("rain without units", "several variables") else 0)


@pytest.mark.parametrize("name", READ)
def test_other_orders_are_read_right(command, name, tmp_path):
    values, first, last = READ[name]
    status, text = command(name, "forecast", "model=persistence", "horizon=1", "out=f.npy", key="input")
    assert status == 0, text
    assert re.search(f"2 frames from {first}.* to {last}", text), text
    np.testing.assert_allclose(np.load(tmp_path / "f.npy")[0], values, rtol=1e-6)

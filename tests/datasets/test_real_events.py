"""Real radar events. The expected means and maxima are those of pysteps 1.21.5 for the same files."""

import warnings
from dataclasses import dataclass
from pathlib import Path

from convlstm.datasets import RadarEcho
from convlstm.datasets.readers import recognise

import numpy as np
import pytest


@dataclass(frozen=True)
class Event:
    """Expected properties of an event; `missing` is (least, largest) share, `mean` and `most` are of frame F/2."""

    path: str
    format: str
    frames: int
    minutes: int
    start: str
    shape: tuple[int, int]
    pixel: tuple[float, float]
    missing: tuple[float, float]
    mean: float
    most: float
    units: str = "mm/h"


KNMI = Event(
    "knmi_20100826", "knmi", 92, 5, "2010-08-26T00:00", (765, 700), (1000, 1000), (0.7437, 0.7438), 0.396990, 14.28
)


EVENTS = (
    KNMI,
    Event(
        "bom_66_c10_20201031", "netcdf", 144, 10, "2020-10-31T00:00", (512, 512), (500, 500), (0, 1e-4), 0.147815, 22.8
    ),
    Event(
        "mch/20150515",
        "mch_gif",
        40,
        5,
        "2015-05-15T15:45",
        (640, 710),
        (1000, 1000),
        (0.308, 0.337),
        0.274474,
        91.7748,
    ),
    Event(
        "mch/20160711",
        "mch_gif",
        40,
        5,
        "2016-07-11T20:45",
        (640, 710),
        (1000, 1000),
        (0.296, 0.297),
        0.432953,
        115.5376,
    ),
    Event(
        "fmi_pgm/20160928",
        "fmi_pgm",
        40,
        5,
        "2016-09-28T14:45",
        (1226, 760),
        (999.62859, 999.674053),
        (0.2434, 0.2435),
        -12.754427,
        52,
        units="dBZ",
    ),
    Event(
        "mrms_20190610_crop512.npz",
        "numpy",
        36,
        2,
        "2019-06-10T00:00",
        (512, 512),
        (0.01, 0.01),
        (0, 0),
        1.167696,
        15.8,
    ),
)


def files_of(root, event):
    path = root / event.path
    return sorted(path.iterdir()) if path.is_dir() else [path]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.path)
def test_every_event_has_its_known_properties(radar_root, event):
    frames = []
    for path in files_of(radar_root, event):
        reader = recognise(path)
        assert reader.format == event.format, path.name
        contents = reader.contents(path)
        grid = contents.grid
        assert (grid.shape, grid.units) == (event.shape, event.units), path.name
        assert grid.pixel_size == pytest.approx(event.pixel)
        assert grid.map is not None
        assert grid.extent[2] - grid.extent[0] == pytest.approx(grid.shape[1] * grid.pixel_size[1], rel=1e-5)
        assert grid.extent[3] - grid.extent[1] == pytest.approx(grid.shape[0] * grid.pixel_size[0], rel=1e-5)
        frames += [(time, path, position) for position, time in enumerate(contents.times)]
    times = np.array([time for time, _, _ in frames])
    assert len(times) == event.frames
    assert times[0] == np.datetime64(event.start)
    assert set(np.diff(times).astype(int)) == {60 * event.minutes}, "no gaps"

    middle = len(frames) // 2
    for number in (0, middle, -1):
        _, path, position = frames[number]
        frame = recognise(path).read(path, position)
        share = np.isnan(frame).mean()
        assert event.missing[0] <= share <= event.missing[1], path.name
        if number == middle:
            assert np.nanmean(frame, dtype=np.float64) == pytest.approx(event.mean, rel=1e-5)
            assert np.nanmax(frame) == pytest.approx(event.most, rel=1e-5)


def test_the_known_square_of_the_netherlands(radar_root):
    # The largest square whose pixels are all known.
    path = files_of(radar_root, KNMI)[0]
    known = ~np.isnan(recognise(path).read(path, 0))
    assert known[280:574, 222:516].all()
    assert not known[279:575, 221:517].all()


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ("bom_66_c10_20201031", ("netcdf", 144, 10.0, [512, 512], 0.0, 0.5)),
        ("knmi_20100826", ("knmi", 92, 5.0, [765, 700], 0.74, 1.0)),
        ("mch/20150515", ("mch_gif", 40, 5.0, [640, 710], 0.31, 1.0)),
        ("mch/20160711", ("mch_gif", 40, 5.0, [640, 710], 0.30, 1.0)),
        ("fmi_pgm/20160928", ("fmi_pgm", 40, 5.0, [1226, 760], 0.24, 1.0)),
        ("mrms_20190610_crop512.npz", ("numpy", 36, 2.0, [512, 512], 0.0, None)),
    ],
)
def test_a_real_event(radar_root, event, expected):
    format, count, step, grid, missing, km = expected
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*bom_66.*negative rain counts as missing, 6 in all")
        data = RadarEcho(archive=str(radar_root / event), input_frames=3, target_frames=4, progress=False)
    ((name, record),) = data.describe()["archives"].items()
    assert name == Path(event).name
    assert (record["format"], record["frames"], record["step_minutes"], record["grid"]) == (format, count, step, grid)
    assert record["missing_share"] == pytest.approx(missing, abs=0.006)
    assert (data.units, data.frame_interval) == ("mm/h", step)
    assert data.pixel_km == (None if km is None else pytest.approx(km, rel=1e-3))
    batch = next(iter(data.stream("train", 2)))
    assert np.isfinite(batch["inputs"]).all()
    assert batch["targets"].max() > 0.3
    assert batch["mask"].mean() == pytest.approx(1 - missing, abs=0.02)


def test_crops_of_knmi_have_known_pixels(radar_root):
    data = RadarEcho(
        archive=str(radar_root / "knmi_20100826"), target_frames=10, frame_size=256, wet_sampling=0.5, progress=False
    )
    assert data.frame_shape == (256, 256, 1)
    for split in ("validation", "test"):
        assert all(data.sample(split, index)["mask"].all() for index in range(data.size(split)))
    shares = [data.sample("train", index)["mask"].mean() for index in range(20)]
    assert min(shares) > 0.75
    assert len(set(shares)) > 3

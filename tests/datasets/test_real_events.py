"""The real radar events, where they are. Their means and maxima are those of pysteps 1.21.5 over the same files."""

from dataclasses import dataclass

from convlstm.datasets.readers import detect

import numpy as np
import pytest


@dataclass(frozen=True)
class Event:
    """What is known of an event; ``missing`` is the least and the largest share, ``mean`` and ``most`` of frame F/2."""

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
def test_every_event_is_what_is_known_of_it(radar_root, event):
    frames = []
    for path in files_of(radar_root, event):
        reader = detect(path)
        assert reader.format == event.format, path.name
        contents = reader.contents(path)
        grid = contents.grid
        assert (grid.shape, grid.units) == (event.shape, event.units), path.name
        assert grid.pixel_size == pytest.approx(event.pixel)
        assert grid.projection is not None
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
        frame = detect(path).read(path, position)
        share = np.isnan(frame).mean()
        assert event.missing[0] <= share <= event.missing[1], path.name
        if number == middle:
            assert np.nanmean(frame, dtype=np.float64) == pytest.approx(event.mean, rel=1e-5)
            assert np.nanmax(frame) == pytest.approx(event.most, rel=1e-5)


def test_the_netherlands_lie_where_they_should(radar_root):
    # The largest square that is known everywhere.
    path = files_of(radar_root, KNMI)[0]
    known = ~np.isnan(detect(path).read(path, 0))
    assert known[280:574, 222:516].all()
    assert not known[279:575, 221:517].all()

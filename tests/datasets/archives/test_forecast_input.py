"""The newest frames at the step and with the pixels of training."""

import warnings
from dataclasses import replace

from convlstm.datasets.archives.forecast_input import ForecastInput
from tests.support.radar_archives import OPTIONS, picture, time_of, write_picture, write_pictures

import numpy as np
import pytest


@pytest.fixture
def radar(tmp_path):
    return tmp_path / "radar"


def looked(path, **arguments):
    latest = ForecastInput(path, options=OPTIONS, **arguments)
    latest.look()
    return latest


def test_every_nth_frame_is_taken(radar):
    write_pictures(radar, 9)
    latest = looked(radar, frames=3, trained={"frame_interval": 15.0})
    assert latest.step == 15
    window, _ = latest.window(time_of(8))
    np.testing.assert_array_equal(window.times, [time_of(n) for n in (2, 5, 8)])
    assert looked(radar).step == 5
    assert looked(radar, step=7.5, trained={"frame_interval": 15.0}).step == 7.5


def test_one_frame_has_no_step(radar):
    write_pictures(radar, 1)
    assert looked(radar, trained={"frame_interval": 5.0}).step == 5
    with pytest.raises(ValueError, match=r"\[ForecastInput\] only one frame of .* is known, so its step is not"):
        _ = looked(radar).step


@pytest.mark.parametrize(
    ("least", "step", "left_out"), [(None, 5, 0), (4, 5, 0), (5, 5, 0), (5.2, 5, 0), (6, 10, 1), (11, 15, 2)]
)
def test_frames_are_left_out_below_the_least_step(radar, least, step, left_out):
    write_pictures(radar, 9)
    latest = looked(radar, frames=3, least_step=least)
    assert (latest.step, latest.left_out) == (step, left_out)
    window, _ = latest.window(time_of(8))
    np.testing.assert_array_equal(window.times, [time_of(8 - n * (left_out + 1)) for n in (2, 1, 0)])
    for arguments in ({"step": 5.0}, {"trained": {"frame_interval": 5.0}}):
        latest = looked(radar, least_step=least, **arguments)
        assert (latest.step, latest.left_out) == (5, 0)
    with pytest.raises(ValueError, match=r"'least_step' must be a number of minutes above 0 but got -1"):
        looked(radar, least_step=-1)


def test_no_grid_before_the_first_look(radar):
    radar.mkdir()
    with pytest.raises(ValueError, match=r"\[ForecastInput\] no frame of .* is known yet"):
        _ = ForecastInput(radar, options=OPTIONS).grid


def test_bad_number_of_frames(radar):
    radar.mkdir()
    with pytest.raises(ValueError, match=r"\[ForecastInput\] 'frames' must be a whole number of at least 1 but got 0"):
        ForecastInput(radar, frames=0)


def test_no_extent_if_pixels_have_no_size(radar):
    write_pictures(radar, 2)
    latest = looked(radar, coarsen=2)
    assert latest.extent() is None
    assert latest.frame_size == (20, 24)


def set_clock(monkeypatch, index):
    """Sets the clock to the time of frame `index`."""
    clock = float(time_of(index).astype(int))
    monkeypatch.setattr("convlstm.datasets.archives.forecast_input.time.time", lambda: clock)


def times(latest):
    return [(moment - time_of(0)) / np.timedelta64(5, "m") for moment in latest.times]


def test_a_frame_of_the_future_is_left_out(radar, monkeypatch):
    """A wrong name must not block the right frames, even if all of them are ahead of the clock."""
    paths = write_pictures(radar, 3)
    (radar / "209901010000.png").write_bytes(paths[0].read_bytes())
    latest = ForecastInput(radar, frames=2, options=OPTIONS)
    new, problems = latest.look()
    assert (new, latest.times.tolist()) == ([time_of(n) for n in range(3)], [time_of(n).item() for n in range(3)])
    assert [str(problem) for problem in problems] == [
        "the frame of 2099-01-01T00:00:00: is ahead of this machine's clock, unlike the other frames; left out"
    ]
    set_clock(monkeypatch, -600)
    latest = ForecastInput(radar, frames=2, options=OPTIONS)
    with pytest.warns(UserWarning, match="ahead of this machine's clock: check that the frames' times are in UTC"):
        assert latest.look()[0] == [time_of(n) for n in range(3)]


def test_a_warning_for_frames_of_another_time_zone(radar, monkeypatch):
    write_pictures(radar, 3)
    set_clock(monkeypatch, 2 - 24)
    latest = ForecastInput(radar, frames=2, options=OPTIONS)
    with pytest.warns(UserWarning, match="ahead of this machine's clock: check that the frames' times are in UTC"):
        assert len(latest.look()[0]) == 3
    assert len(latest.times) == 3


@pytest.mark.parametrize("deleted", [False, True])
@pytest.mark.parametrize("first", [True, False])
def test_a_frame_two_hours_ahead_does_not_push_out_the_others(radar, monkeypatch, deleted, first):
    """A file of another time zone comes before all others or among them, and may be deleted again."""
    set_clock(monkeypatch, 0)
    radar.mkdir()
    latest = ForecastInput(radar, frames=3, options=OPTIONS, trained={"frame_interval": 5.0})
    latest.look()
    for index in range(12):
        set_clock(monkeypatch, index)
        if index == (0 if first else 6):
            stray = write_picture(radar, index + 24, picture(index))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                latest.look()
        if deleted and index == (2 if first else 8):
            stray.unlink()
        write_picture(radar, index, picture(index))
        new, _ = latest.look()
        assert new[-1] == time_of(index)
        assert times(latest) == list(range(index + 1))
        window, problems = latest.window(time_of(index))
        assert (window.absent, problems) == (list(range(3))[: max(0, 2 - index)], [])


def test_a_stray_before_all_others_does_not_decide_on_the_step(radar, monkeypatch):
    set_clock(monkeypatch, 0)
    write_picture(radar, 24, picture(24))
    latest = ForecastInput(radar, frames=2, options=OPTIONS, trained={"frame_interval": 5.0})
    with pytest.warns(UserWarning, match="ahead of this machine's clock"):
        latest.look()
    write_picture(radar, 0, picture(0))
    latest.look()
    assert times(latest) == [0]
    assert latest.step == 5  # and no warning of frames that are 120 min apart


def test_an_archive_that_changes_to_another_time_zone_is_followed(radar, monkeypatch):
    write_pictures(radar, 10)
    set_clock(monkeypatch, 9)
    latest = looked(radar, frames=3)
    for index in range(10, 16):
        set_clock(monkeypatch, index)
        write_picture(radar, index + 24, picture(index))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            latest.look()
        assert times(latest)[-1] == (9 if index < 13 else index + 24)


def test_a_clock_that_is_set_back_changes_nothing(radar, monkeypatch):
    write_pictures(radar, 10)
    set_clock(monkeypatch, 9)
    latest = looked(radar, frames=3)
    set_clock(monkeypatch, 5)
    write_picture(radar, 10, picture(10))
    with pytest.warns(UserWarning, match="ahead of this machine's clock"):
        assert latest.look()[0] == [time_of(10)]
    assert times(latest)[-1] == 10


@pytest.mark.parametrize("km", [1e-9, 1e9])
def test_a_size_of_the_pixels_that_makes_no_sense(tmp_path, km):
    """However small the pixels claim to be, a frame keeps one."""
    np.savez(tmp_path / "a.npz", rain=np.ones((3, 8, 8), np.float32), times=np.array([time_of(n) for n in range(3)]))
    latest = ForecastInput(tmp_path / "a.npz", frames=2, trained={"pixel_km": 1.0})
    latest.look()
    grid = replace(latest.grid, pixel_size=(km * 1000, km * 1000))
    latest._newest.grid = grid
    with pytest.warns(UserWarning, match="so it sees rain as larger or smaller than it is"):
        assert min(latest.frame_size) >= 1

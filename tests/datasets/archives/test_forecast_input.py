"""The newest frames at the step and with the pixels of training."""

from convlstm.datasets.archives.forecast_input import ForecastInput
from tests.support.radar_archives import OPTIONS, time_of, write_pictures

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


def test_a_frame_of_the_future_is_left_out(radar, monkeypatch):
    """A wrong name must not block the right frames. If all frames are in the future, they are used."""
    paths = write_pictures(radar, 3)
    (radar / "209901010000.png").write_bytes(paths[0].read_bytes())
    latest = ForecastInput(radar, frames=2, options=OPTIONS)
    new, problems = latest.look()
    assert (new, latest.times.tolist()) == ([time_of(n) for n in range(3)], [time_of(n).item() for n in range(3)])
    assert [str(problem) for problem in problems] == [
        "the frame of 2099-01-01T00:00:00: is more than a day ahead of this machine's clock; left out"
    ]
    clock = time_of(0).astype(int) - 2 * 86400
    monkeypatch.setattr("convlstm.datasets.archives.forecast_input.time.time", lambda: float(clock))
    latest = ForecastInput(radar, frames=2, options=OPTIONS)
    with pytest.warns(UserWarning, match="ahead of this machine's clock: check that the frames' times are in UTC"):
        assert len(latest.look()[0]) == 4


def test_a_warning_for_frames_of_another_time_zone(radar, monkeypatch):
    write_pictures(radar, 3)
    clock = time_of(2).astype(int) - 7200
    monkeypatch.setattr("convlstm.datasets.archives.forecast_input.time.time", lambda: float(clock))
    latest = ForecastInput(radar, frames=2, options=OPTIONS)
    with pytest.warns(UserWarning, match="ahead of this machine's clock: check that the frames' times are in UTC"):
        assert len(latest.look()[0]) == 3
    assert len(latest.times) == 3

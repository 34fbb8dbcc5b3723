"""The forecasts of a folder that is followed: which frames have one."""

import os
import signal
import sys
import warnings
from contextlib import suppress
from pathlib import Path

from convlstm.cli import forecast_watch
from convlstm.cli.forecast_watch import watch
from convlstm.datasets.archives.forecast_input import ForecastInput
from convlstm.writers import Forecast
from tests.support.radar_archives import OPTIONS, picture, time_of, write_picture, write_pictures

import pytest


class Outputs:
    """Takes forecasts; after each one the next of the services brings something."""

    is_file = False

    def __init__(self, *services):
        self.services, self.issued = list(services), []

    def write(self, forecast, name, since=None):
        self.issued.append((forecast.issued.astype("datetime64[s]"), float(forecast.values[0, 0, 0])))
        if self.services:
            self.services.pop(0)()


@pytest.fixture
def radar(tmp_path):
    return tmp_path / "radar"


@pytest.fixture
def follow(radar):
    """Follows the archive until so many forecasts were made; they are the last frame."""

    def run(output, forecasts):
        latest = ForecastInput(radar, frames=3, options=OPTIONS, step=5)

        def make(until):
            window, problems = latest.window(until)
            for problem in problems:
                print(f"not used    {problem}")
            if 2 in window.absent:
                return f"the frame of {until}"
            return Forecast(window.frames[-1:], "mm/h", issued=until, step=5)

        watch(latest, make, output, interval=0.001, forecasts=forecasts)
        return output.issued

    return run


def test_what_is_there_counts_as_one_and_each_new_frame_as_one(radar, follow, capsys):
    write_pictures(radar, 4)

    def two_more():
        for index in (4, 5):
            write_picture(radar, index, picture(index))

    issued = follow(Outputs(two_more), 3)
    assert [time for time, _ in issued] == [time_of(n) for n in (3, 4, 5)]
    assert "ended       after 3 forecasts" in capsys.readouterr().out


def test_where_the_newest_is_damaged_the_one_before_is_the_first(radar, follow, capsys):
    paths = write_pictures(radar, 4)
    whole = paths[3].read_bytes()
    paths[3].write_bytes(whole[:60])
    issued = follow(Outputs(lambda: paths[3].write_bytes(whole)), 2)
    assert [time for time, _ in issued] == [time_of(2), time_of(3)]
    assert "not used    20200601001500.png" in capsys.readouterr().out


def test_a_frame_that_is_replaced_has_its_forecast_again(radar, follow, capsys):
    write_pictures(radar, 4)
    issued = follow(
        Outputs(
            lambda: write_picture(radar, 3, picture(79)),
            lambda: write_picture(radar, 2, picture(59)),
        ),
        3,
    )
    assert issued == [(time_of(3), pytest.approx(0.4)), (time_of(3), pytest.approx(8)), (time_of(3), pytest.approx(8))]
    out = capsys.readouterr().out
    assert "again       the frame of 2020-06-01 00:15 has been replaced" in out
    assert "late        the frame of 2020-06-01 00:10, after that of 2020-06-01 00:15: its forecast is made" in out


def test_a_frame_of_a_time_to_come_does_not_hold_up_the_others(radar, follow, capsys):
    paths = write_pictures(radar, 4)

    def wrong_name_and_next():
        (radar / "209901010000.png").write_bytes(paths[0].read_bytes())
        write_picture(radar, 4, picture(4))

    issued = follow(Outputs(wrong_name_and_next, lambda: write_picture(radar, 5, picture(5))), 3)
    assert [time for time, _ in issued] == [time_of(n) for n in (3, 4, 5)]
    assert "not used    the frame of 2099-01-01T00:00:00" in capsys.readouterr().out


def test_a_wrong_time_alone_at_first_gives_way(radar, follow):
    radar.mkdir()
    write_picture(radar, 0, picture(0)).rename(radar / "209901010000.png")
    latest_first = Outputs(lambda: write_picture(radar, 0, picture(0)))
    with pytest.warns(UserWarning, match="ahead of this machine's clock"):
        issued = follow(latest_first, 2)
    assert issued[1][0] == time_of(0)


def full():
    raise OSError(28, "No space left on device", "forecast.nc")


def test_a_forecast_that_cannot_be_written_is_told_and_made_again_after_the_next(radar, follow, capsys):
    write_pictures(radar, 4)

    def full_at_first():
        write_picture(radar, 4, picture(4))
        full()

    issued = follow(Outputs(full_at_first), 2)
    assert [time for time, _ in issued] == [time_of(n) for n in (3, 4, 3)]
    out = capsys.readouterr().out
    assert out.count("not written [Errno 28] No space left on device: 'forecast.nc'") == 1
    assert "ended       after 2 forecasts" in out


def test_a_forecast_is_written_as_soon_as_there_is_room(radar, follow, monkeypatch):
    write_pictures(radar, 4)
    monkeypatch.setattr(forecast_watch, "_PAUSE", 0.01)
    assert [time for time, _ in follow(Outputs(full, full, full), 1)] == [time_of(3)] * 4


def test_forecasts_that_wait_for_room_are_limited(radar, follow, monkeypatch):
    write_pictures(radar, 4)
    monkeypatch.setattr(forecast_watch, "_MOST_UNWRITTEN", 2)

    def next_one(n):
        def bring():
            write_picture(radar, n, picture(n))
            full()

        return bring

    issued = follow(Outputs(next_one(4), next_one(5), next_one(6)), 3)
    assert [time for time, _ in issued] == [time_of(n) for n in (3, 4, 5, 6, 4, 5)]


def test_a_file_of_the_newest_forecast_gets_no_older_one(radar, follow):
    write_pictures(radar, 4)

    def full_at_first():
        write_picture(radar, 4, picture(4))
        full()

    outputs = Outputs(full_at_first, lambda: write_picture(radar, 5, picture(5)), lambda: None)
    outputs.is_file = True
    assert [time for time, _ in follow(outputs, 2)] == [time_of(n) for n in (3, 4, 5)]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is always full")
def test_a_full_disk_of_the_log_ends_nothing(radar, follow, monkeypatch):
    write_pictures(radar, 4)
    full_disk = Path("/dev/full").open("w", buffering=1)  # noqa: SIM115
    monkeypatch.setattr(sys, "stdout", full_disk)
    monkeypatch.setattr(sys, "stderr", full_disk)
    with pytest.raises(OSError, match="No space left on device"):
        print("a line")

    def next_ones():
        write_picture(radar, 4, picture(4))
        warnings.warn("a line on standard error", stacklevel=1)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_: print(message, file=sys.stderr)
        issued = follow(Outputs(next_ones, lambda: print("a line")), 2)
    assert [time for time, _ in issued] == [time_of(3), time_of(4)]
    with suppress(OSError):
        full_disk.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_good_order(radar, follow, capsys, number):
    write_pictures(radar, 4)
    before = signal.getsignal(signal.SIGTERM)
    issued = follow(Outputs(lambda: os.kill(os.getpid(), number)), None)
    assert len(issued) == 1
    assert "ended       after" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGTERM) == before

"""The loop of `forecast watch=true`: follows a folder and forecasts from each new frame."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from convlstm.backend.terminal import dispensable_output
from convlstm.cli.forecast_output import Output, name_of, stamp
from convlstm.datasets.archives.forecast_input import ForecastInput
from convlstm.writers import Forecast

import numpy as np

# Seconds after which a forecast is written again if the disk was full.
_PAUSE = 5.0
# Forecasts that wait for room. Frames that are older are forgotten.
_MOST_UNWRITTEN = 256


@dispensable_output()
def watch(
    latest: ForecastInput,
    make: Callable[[np.datetime64], Forecast | str],
    output: Output,
    *,
    interval: float,
    forecasts: int | None,
) -> None:
    """Forecasts from the present frames and from each new one, until it is interrupted or has made enough forecasts.

    Args:
        latest: The frames.
        make: Returns the forecast from the frames up to a time, or the reason why it cannot be made.
        output: Writes the forecasts.
        interval: Seconds between two looks at the folder.
        forecasts: Number of forecasts after which to end, or None for never.
    """
    print(f"watching    {latest.path}, every {interval:g} s; Ctrl-C ends it")
    follower = _Follower(latest, make, output, forecasts)
    in_main_thread = threading.current_thread() is threading.main_thread()
    former_handler = signal.signal(signal.SIGTERM, signal.default_int_handler) if in_main_thread else None
    with suppress(KeyboardInterrupt):
        while not follower.done:
            seen = time.perf_counter()
            follower.look(seen)
            if not follower.done:
                time.sleep(max(0.0, interval - (time.perf_counter() - seen)))
    if in_main_thread:
        signal.signal(signal.SIGTERM, former_handler)
    print(f"ended       after {follower.written} forecasts")


class _Follower:
    """The state of a followed folder: the last frame that was forecast from, and the forecasts so far."""

    def __init__(
        self,
        latest: ForecastInput,
        make: Callable[[np.datetime64], Forecast | str],
        output: Output,
        forecasts: int | None,
    ):
        self.latest, self.make, self.output, self.limit = latest, make, output, forecasts
        self.issued: np.datetime64 | None = None
        self.written = 0
        self.unwritten: dict[np.datetime64, None] = {}  # times of forecasts that wait for room on the disk
        self.next_try = 0.0

    @property
    def done(self) -> bool:
        return self.limit is not None and self.written >= self.limit

    def look(self, seen: float) -> None:
        """Forecasts from the frames that have come; `seen` is the time of this look, by `time.perf_counter`."""
        self.look_for_frames(seen)
        if seen >= self.next_try:
            self.write_again(seen)

    def look_for_frames(self, seen: float) -> None:
        """Forecasts from the frames that have come."""
        new, problems = self.latest.look()
        for problem in problems:
            print(f"not used    {problem}")
        if self.issued is not None and len(self.latest.times) and self.issued > self.latest.times[-1]:
            self.issued = None  # the file of that frame cannot be read after all
        if self.issued is None:
            # Of the frames that exist at the start, only the newest readable one gets a forecast.
            for newest in new[::-1]:
                if self.forecast(newest, seen) or newest in self.latest.times:
                    break
            return
        for frame in new:
            until = self.due(frame)
            if until is not None:
                self.forecast(until, seen)
            if self.done:
                return

    def due(self, frame: np.datetime64) -> np.datetime64 | None:
        """Returns the time from which a new frame makes a forecast due, or None if the frame is too old to be used."""
        if self.issued is None or frame > self.issued:
            return frame
        if frame == self.issued:
            print(f"again       the frame of {stamp(frame)} has been replaced")
            return frame
        first = self.issued - np.timedelta64(round((self.latest.frames - 1) * self.latest.step * 60), "s")
        used = frame >= first
        print(f"late        the frame of {stamp(frame)}, after that of {stamp(self.issued)}", end="")
        print(": its forecast is made again" if used else ": too old to be used")
        return self.issued if used else None

    def forecast(self, until: np.datetime64, seen: float) -> bool:
        """Makes and writes a forecast and returns True, or prints why that fails and returns False."""
        forecast = self.make(until)
        if not isinstance(forecast, Forecast):
            print(f"no forecast {forecast}")
            return False
        self.issued = until
        self.unwritten[until] = None
        error = self.write(until, forecast, seen)
        if error is not None:
            print(f"not written {error}")
            for oldest in list(self.unwritten)[:-_MOST_UNWRITTEN]:
                del self.unwritten[oldest]
        return error is None

    def write(self, until: np.datetime64, forecast: Forecast, seen: float) -> OSError | None:
        """Writes a forecast, or returns the error that prevents it."""
        try:
            self.output.write(forecast, name_of(forecast), since=seen)
        except OSError as error:
            self.next_try = seen + _PAUSE
            return error
        self.written += 1
        self.next_try = 0.0
        del self.unwritten[until]
        if self.output.is_file:  # it holds the newest forecast
            self.unwritten.clear()
        return None

    def write_again(self, seen: float) -> None:
        """Makes the forecasts again that could not be written, the oldest first, as long as they can be written now."""
        for until in list(self.unwritten):
            if self.done:
                return
            forecast = self.make(until)
            if not isinstance(forecast, Forecast):
                print(f"no forecast {forecast}")
                del self.unwritten[until]
            elif self.write(until, forecast, seen) is not None:
                return

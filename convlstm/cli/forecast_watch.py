"""The loop of `forecast watch=true`: follows a folder and forecasts from each new frame."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from convlstm.backend.terminal import dispensable_output
from convlstm.cli.forecast_ledger import Ledger
from convlstm.cli.forecast_output import Output, name_of, stamp
from convlstm.cli.heartbeat import Heartbeat
from convlstm.cli.unattended import stoppable, wait_for
from convlstm.datasets.archives.forecast_input import ForecastInput
from convlstm.writers import Forecast

import numpy as np

# Seconds after which a forecast is written again if the disk was full.
_PAUSE = 5.0
# Forecasts that wait for room. Frames that are older are forgotten.
_MOST_UNWRITTEN = 256


@dispensable_output()
def follow(
    open_input: Callable[[], ForecastInput],
    make: Callable[..., Forecast | str],
    output: Output,
    settings: dict[str, Any],
) -> None:
    """Waits until the input exists, and then follows it as the settings say.

    Args:
        open_input: Returns the frames, or raises FileNotFoundError.
        make: Returns the forecast from the frames up to a time, or the reason why it cannot be made; `latest` and the
            time are its arguments.
        output: Writes the forecasts.
        settings: The configuration of `forecast`.
    """
    heart = Heartbeat(None if settings["heartbeat"] is None else Path(str(settings["heartbeat"])).expanduser())
    latest = wait_for(open_input, settings["interval"], partial(heart.beat, "waiting"))
    watch(
        latest,
        lambda until: make(latest, until=until),
        output,
        interval=settings["interval"],
        forecasts=settings["forecasts"],
        ledger=None if output.is_file else Ledger(output.path, settings["keep"], settings["keep_hours"]),
        heart=heart,
        max_age=settings["max_age"],
    )


@dispensable_output()
def watch(
    latest: ForecastInput,
    make: Callable[[np.datetime64], Forecast | str],
    output: Output,
    *,
    interval: float,
    forecasts: int | None,
    ledger: Ledger | None = None,
    heart: Heartbeat | None = None,
    max_age: float | None = None,
) -> None:
    """Forecasts from the present frames and from each new one, until it is interrupted or has made enough forecasts.

    Args:
        latest: The frames.
        make: Returns the forecast from the frames up to a time, or the reason why it cannot be made.
        output: Writes the forecasts.
        interval: Seconds between two looks at the folder.
        forecasts: Number of forecasts after which to end, or None for never.
        ledger: The forecasts that were written before; frames that came after them have their forecasts, too. Default:
            none.
        heart: Signs of life. Default: none.
        max_age: Minutes after which the newest frame is too old; a line then says so. Default: none.
    """
    print(f"watching    {latest.path}, every {interval:g} s; Ctrl-C ends it")
    follower = _Follower(latest, make, output, forecasts, ledger, max_age)
    heart = Heartbeat() if heart is None else heart
    with stoppable():
        while not follower.done:
            seen = time.perf_counter()
            follower.look(seen)
            state, facts = follower.state()
            heart.beat(state, **facts)
            if not follower.done:
                time.sleep(max(0.0, interval - (time.perf_counter() - seen)))
    heart.beat("ended", forecasts=follower.written)
    print(f"ended       after {follower.written} forecasts")


class _Follower:
    """The state of a followed folder: the last frame that was forecast from, and the forecasts so far."""

    def __init__(
        self,
        latest: ForecastInput,
        make: Callable[[np.datetime64], Forecast | str],
        output: Output,
        forecasts: int | None,
        ledger: Ledger | None,
        max_age: float | None,
    ):
        self.latest, self.make, self.output, self.limit = latest, make, output, forecasts
        self.ledger, self.max_age = ledger, max_age
        self.before = None if ledger is None else ledger.last  # the newest frame of an earlier process
        self.issued: np.datetime64 | None = None
        self.written = 0
        self.said = ""
        self.unwritten: dict[np.datetime64, None] = {}  # times of forecasts that wait for room on the disk
        self.next_try = 0.0

    @property
    def done(self) -> bool:
        return self.limit is not None and self.written >= self.limit

    def look(self, seen: float) -> None:
        """Forecasts from the frames that have come; `seen` is the time of this look, by `time.perf_counter`."""
        self.look_for_frames(seen)
        if seen >= self.next_try:
            self.write_next(seen)
        problem = self.problem()
        if problem and problem != self.said:
            print(problem)
        self.said = problem

    def problem(self) -> str:
        """Returns a line about frames that do not come, "" if they do."""
        if len(self.latest.times) == 0:
            return f"waiting     there is no frame in '{self.latest.path}' yet"
        last = self.latest.times[-1]
        if self.max_age is not None and (time.time() - last.astype("datetime64[s]").astype(int)) / 60 > self.max_age:
            return f"old         no frame after that of {stamp(last)} UTC for more than max_age={self.max_age:g} min"
        return ""

    def state(self) -> tuple[str, dict[str, Any]]:
        """Returns the state for the heartbeat, and the facts."""
        last = self.latest.times[-1:]
        facts = {
            "newest_frame": f"{last[0].astype('datetime64[s]')}Z" if len(last) else None,
            "newest_forecast": None if self.issued is None else f"{self.issued.astype('datetime64[s]')}Z",
            "forecasts": self.written,
            "not_written_yet": len(self.unwritten),
        }
        return {"waiting": "waiting", "old": "old"}.get(self.said.partition(" ")[0], "watching"), facts

    def look_for_frames(self, seen: float) -> None:
        """Forecasts from the frames that have come."""
        new, problems = self.latest.look()
        for problem in problems:
            print(f"not used    {problem}")
        if self.ledger is not None and self.ledger.problem:
            print(f"not written the list of forecasts: {self.ledger.problem}")
            self.ledger.problem = ""
        if self.issued is not None and len(self.latest.times) and self.issued > self.latest.times[-1]:
            self.issued = None  # the file of that frame cannot be read after all
        if self.issued is None:
            # Of the frames that exist at the start, only the newest readable one gets a forecast.
            for newest in new[::-1]:
                if self.forecast(newest, seen) or newest in self.latest.times:
                    break
            self.catch_up(new)
            return
        for frame in new:
            until = self.due(frame)
            if until is not None:
                self.forecast(until, seen)
            if self.done:
                return

    def catch_up(self, present: list[np.datetime64]) -> None:
        """Notes the frames that came after the last forecast of an earlier process; they have theirs one by one."""
        if self.before is None or self.issued is None:
            return
        missed = {frame: None for frame in present if self.before < frame < self.issued}
        if missed:
            print(f"missed      {len(missed)} frames came while this program did not run; their forecasts follow")
        self.unwritten = missed | self.unwritten

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
            paths = self.output.write(forecast, name_of(forecast), since=seen)
        except OSError as error:
            self.next_try = seen + _PAUSE
            return error
        self.written += 1
        self.next_try = 0.0
        self.unwritten.pop(until, None)
        if self.ledger is not None:
            self.ledger.add(name_of(forecast), until, paths)
            if deleted := self.ledger.prune():
                print(f"deleted     {', '.join(deleted)}")
        if self.output.is_file:  # it holds the newest forecast
            self.unwritten.clear()
        return None

    def write_next(self, seen: float) -> None:
        """Makes and writes the oldest forecast that could not be written or that is missed, if there is one.

        One at a look, so that new frames come first.
        """
        until = next(iter(self.unwritten), None)
        if until is None or self.done:
            return
        forecast = self.make(until)
        if not isinstance(forecast, Forecast):
            print(f"no forecast {forecast}")
            del self.unwritten[until]
        else:
            self.write(until, forecast, seen)

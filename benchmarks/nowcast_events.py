"""The events of `benchmarks.nowcast`: their list, their data, and the starts of forecasts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convlstm.datasets.radar_echo import RadarEcho

import mlx.core as mx
import numpy as np

LIST = Path(__file__).with_suffix(".json")
HORIZON = 90
"""Longest lead time in minutes."""


@dataclass(frozen=True)
class Event:
    """Radar files and how they are scored.

    Attributes:
        name: Its name in tables.
        archive: Path of the files, below the folder of the data.
        split: 'choosing' if it may choose settings and checkpoints, 'test' if it is scored once.
        coarsen: Side of the squares of pixels that are averaged to one.
        step: Minutes from frame to frame, a multiple of the archive's. Default: the archive's.
        size: Side of the crop with the most known pixels, after `coarsen`. Default: the whole frame.
        rim: Pixels at the border, after `coarsen`, that are seen and not scored.
        pixel_km: Side of a pixel of the files, before `coarsen`, where they do not say it.
    """

    name: str
    archive: str
    split: str = "choosing"
    coarsen: int = 1
    step: float | None = None
    size: int | None = None
    rim: int = 32
    pixel_km: float | None = None


def listed(path: Path = LIST) -> list[Event]:
    """Returns the events of a JSON file, a list of objects with the attributes of `Event`."""
    return [Event(**entry) for entry in json.loads(path.read_text())]


@dataclass(frozen=True)
class Start:
    """What is known when a forecast starts, and what came then.

    Attributes:
        number: Its place among the starts of the event.
        inputs: (1, T_in, H, W, 1), on the model's scale. Gaps are interpolated in time, or dry.
        frames: The same in mm/h, (T_in, H, W).
        truth: (T, H, W) in mm/h as it was read, NaN where missing.
        known: (T, H, W), True where it may be scored: inside the rim, known in the truth and in every input.
        times: Times (UTC) of the inputs and of the truth.
    """

    number: int
    inputs: mx.array = field(repr=False)
    frames: np.ndarray = field(repr=False)
    truth: np.ndarray = field(repr=False)
    known: np.ndarray = field(repr=False)
    times: np.ndarray = field(repr=False)


class EventData:
    """The starts of an event, evenly from the first that has all its frames to the last.

    Args:
        event: The event.
        folder: Folder of the data.
        starts: Number of starts.

    Attributes:
        minutes: Minutes from frame to frame.
        leads: Frames of a forecast.
        pixel_km: Side of a pixel in km after `coarsen`.
        inner: Rows and columns inside the rim, for arrays (..., H, W).

    Raises:
        SystemExit: The files do not say their step or the side of their pixels, or nothing is inside the rim.
    """

    def __init__(self, event: Event, folder: Path, starts: int):
        def read(leads: int) -> RadarEcho:
            return RadarEcho(
                archive=str(folder / event.archive),
                split=(0, 0, 1),
                target_frames=leads,
                step=event.step,
                frame_size=event.size,
                coarsen=event.coarsen,
                test_sequences=starts,
                progress=False,
            )

        self.event = event
        self.minutes = float(read(1).frame_interval or np.nan)
        if not np.isfinite(self.minutes):
            raise SystemExit(f"{event.archive} does not say the minutes from frame to frame: give its 'step'.")
        self.leads = int(HORIZON // self.minutes)
        self.data = read(self.leads)
        own = event.pixel_km and event.pixel_km * event.coarsen
        if not (own or self.data.pixel_km):
            raise SystemExit(f"{event.archive} does not say the side of its pixels: give 'pixel_km'.")
        self.pixel_km = float(own or self.data.pixel_km or 0)
        self.size = self.data.frame_shape[:2]
        if min(self.size) <= 2 * event.rim:
            raise SystemExit(f"{event.name}: a rim of {event.rim} pixels leaves nothing of {self.size}: lower 'rim'.")
        self.inner: tuple[Any, ...] = (..., *(slice(event.rim, side - event.rim) for side in self.size))

    def __len__(self) -> int:
        return self.data.size("test")

    def __iter__(self) -> Iterator[Start]:
        for number in range(len(self)):
            yield self[number]

    def __getitem__(self, number: int) -> Start:
        sample = self.data.sample("test", number, truth=True)
        truth, inside = sample["truth"][..., 0], np.zeros(self.size, bool)
        inside[self.inner] = True
        known = inside & np.isfinite(truth) & sample["input_mask"][..., 0].all(axis=0)
        times: Any = self.data.times("test", number)
        frames = self.data.physical(sample["inputs"])[..., 0]
        return Start(number, mx.array(sample["inputs"])[None], frames, truth, known, times)

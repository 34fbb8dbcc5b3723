"""The input of a forecast: the newest frames of an archive, at the step and with the pixels that a model needs."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from convlstm.arguments import check_whole
from convlstm.datasets import arguments
from convlstm.datasets.archives.files import Problem
from convlstm.datasets.archives.majority import credible_end, is_ahead
from convlstm.datasets.archives.newest_frames import NewestFrames, Window
from convlstm.datasets.archives.steps import has_step, left_out, multiple
from convlstm.datasets.calendar_steps import moved
from convlstm.datasets.readers import Coordinate, Grid
from convlstm.datasets.readers.projection import UnplacedError, checked
from convlstm.datasets.windows import step_of

import numpy as np

# Share by which the size of a pixel may differ from that of training before a warning.
_PIXEL = 0.05


class ForecastInput:
    """The newest frames of an archive, at the step and with the pixel size that a model was trained on.

    If the training step is a multiple of the archive's step, every n-th frame is taken; if the training pixels are a
    multiple of the archive's pixels, squares of pixels are averaged. Otherwise the closest possible frames are taken,
    with a warning.

    Args:
        path: Folder, file, or Zarr store.
        frames: Frames of a window. Default: 5.
        trained: Record of the training data: `frame_interval` in minutes, `pixel_km`. Default: none.
        section: Arguments of `convlstm.datasets.radar_echo.RadarEcho` in training. Its `coarsen` counts if the size of
            the pixels is unknown, its `format`, `reader` and `zr` if they are not given here. Default: none.
        format: Format of the files. Default: `"auto"`.
        options: Options of the reader; those of training that are not among them count too, if the format may be the
            same. Default: those of training.
        zr: `(a, b)` of Z = a R^b, for reflectivity. Default: that of training, or (200.0, 1.6).
        step: Minutes from frame to frame. Default: the step of training.
        least_step: Least minutes from frame to frame if neither `step` nor that of training is known: frames between
            are left out. Default: none.
        coarsen: Side in pixels of the squares that become one pixel. Default: from the pixel size of training.
        crop: Top, left, height and width in pixels after `coarsen`. Default: the whole frame.
        patient: As for `convlstm.datasets.archives.newest_frames.NewestFrames`. Default: False.

    Attributes:
        path: The folder or file.
        frames: Frames of a window.
        options: Options of the reader.

    Raises:
        FileNotFoundError: If nothing exists at `path`.
        ValueError: If an argument is refused.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        frames: int | None = None,
        trained: Mapping[str, Any] | None = None,
        section: Mapping[str, Any] | None = None,
        format: str = "auto",
        options: Mapping[str, Any] | None = None,
        zr: Sequence[float] | None = None,
        step: float | None = None,
        least_step: float | None = None,
        coarsen: int | None = None,
        crop: Sequence[int] | None = None,
        patient: bool = False,
    ):
        self.path = arguments.path("ForecastInput", "path", path)
        self.frames = check_whole("ForecastInput", "frames", 5 if frames is None else frames, 1, None)
        section = arguments.options("ForecastInput", "section", section)
        trained = arguments.options("ForecastInput", "trained", trained)
        if step is not None:
            step = arguments.minutes("ForecastInput", "step", step)
        self._least_step = 0.0 if least_step is None else arguments.minutes("ForecastInput", "least_step", least_step)
        if coarsen is not None:
            check_whole("ForecastInput", "coarsen", coarsen, 1, None)
        if crop is not None and (not isinstance(crop, Sequence) or isinstance(crop, str) or len(crop) != 4):
            raise ValueError(f"[ForecastInput] 'crop' must be top, left, height and width but got {crop!r}.")
        self._interval, self._pixel_km = _positive(trained.get("frame_interval")), _positive(trained.get("pixel_km"))
        self._squares = section.get("coarsen") or 1
        self._given_step, self._given_coarsen = step, coarsen
        self._crop = None if crop is None else [check_whole("ForecastInput", "crop", n, 0, None) for n in crop]
        options = arguments.options("ForecastInput", "options", options)
        if format in ("auto", section.get("format")):
            trained_options = arguments.options("ForecastInput", "section", section.get("reader"))
            if section.get("variable") is not None:
                trained_options["variable"] = section["variable"]
            options = trained_options | options
        self.options = options
        self._newest = NewestFrames(
            self.path,
            format=format,
            options=options or None,
            zr=(section.get("zr") or (200.0, 1.6)) if zr is None else zr,
            patient=patient,
            depth=max(32, 6 * self.frames),
        )
        self._warned: set[str] = set()

    @property
    def times(self) -> np.ndarray:
        """Times of the known frames, rising, datetime64[s] of (F,).

        Strays ahead of this machine's clock are left out, see `convlstm.datasets.archives.majority.credible_end`.
        """
        times, asked = self._newest.times, self._newest.present
        if len(asked) == 0:
            return times
        return times[times <= credible_end(asked, _now(), self._usual_step(asked), 2 * self.frames)]

    @property
    def grid(self) -> Grid:
        """Grid of the frames in the files.

        Raises:
            ValueError: If no frame is known yet.
        """
        if self._newest.grid is None:
            raise ValueError(f"[ForecastInput] no frame of {self.path} is known yet. Call look() first.")
        return self._newest.grid

    @property
    def units(self) -> str:
        """Units of the frames: `"mm/h"` or `"raw"`."""
        return self.grid.physical_units

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frames in the files."""
        return self.grid.shape

    @property
    def place(self) -> list[int]:
        """Top, left, height and width of the frames of a window, in pixels of squares of `coarsen`."""
        height, width = (side // self.coarsen for side in self.grid.shape)
        if self._crop is None:
            return [0, 0, height, width]
        top, left, high, wide = self._crop
        if min(top, left) < 0 or min(high, wide) < 1 or top + high > height or left + wide > width:
            raise ValueError(
                f"[ForecastInput] 'crop' must lie within frames of {height}x{width} but got {self._crop}: top, left, "
                "height and width in pixels, after 'coarsen'."
            )
        return self._crop

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height and width of the frames of a window."""
        _, _, height, width = self.place
        return height, width

    @property
    def step(self) -> float:
        """Minutes from frame to frame: the given step, else training's if the archive has it, else the archive's."""
        if self._given_step is not None:
            return float(self._given_step)
        step = self._own_step
        if self._interval is None:
            if math.isnan(step):
                raise ValueError(
                    f"[ForecastInput] only one frame of {self.path} is known, so its step is not. Set step=MINUTES."
                )
            return step * (1 + self.left_out)
        if math.isnan(step) or has_step(step, self._interval, self.times):
            return self._interval
        self._warn(
            f"the frames are {step:g} min apart, but the model was trained on steps of {self._interval:g} min, so it "
            "expects fields to move and change at another speed"
        )
        return step

    @property
    def left_out(self) -> int:
        """Number of frames that are left out between two since the archive's step is below `least_step`."""
        if self._given_step is not None or self._interval is not None:
            return 0
        return left_out(self._own_step, self._least_step)

    @property
    def _own_step(self) -> float:
        """Minutes from frame to frame of the archive, or NaN."""
        times = self.times
        return step_of(times, np.zeros(len(times), int))

    @property
    def coarsen(self) -> int:
        """Side in pixels of the squares that are averaged to one pixel."""
        if self._given_coarsen is not None:
            return int(self._given_coarsen)
        pixel_km = self.grid.pixel_km
        if pixel_km is None or self._pixel_km is None:
            if self._pixel_km is not None:
                self._warn(
                    f"the size of the pixels is not known, but the model was trained on pixels of {self._pixel_km:g} km"
                )
            return int(self._squares)
        squares = multiple(self._pixel_km, pixel_km, _PIXEL)
        if squares is None or squares > min(self.grid.shape):
            squares = min(max(1, round(self._pixel_km / pixel_km)), *self.grid.shape)
            self._warn(
                f"the pixels are {pixel_km * squares:.3g} km wide, but the model was trained on pixels of "
                f"{self._pixel_km:g} km, so it sees rain as larger or smaller than it is"
            )
        return squares

    def look(self) -> tuple[list[np.datetime64], list[Problem]]:
        """Returns the times of frames that have come since the last look, and the problems of new files."""
        new, problems = self._newest.look()
        if len(times := self.times) == 0:
            return new, problems
        if is_ahead(times[-1], _now()):
            self._warn("the newest frame is ahead of this machine's clock: check that the frames' times are in UTC")
        ahead = [moment for moment in new if moment > times[-1]]
        reason = "is ahead of this machine's clock, unlike the other frames; left out"
        problems += [Problem(f"the frame of {moment}", reason) for moment in ahead]
        return [moment for moment in new if moment <= times[-1]], problems

    def window(self, until: np.datetime64, frames: int | None = None) -> tuple[Window, list[Problem]]:
        """Returns the frames up to a time, averaged and cropped, and the problems of some.

        Args:
            until: Time of the last one.
            frames: Their number. Default: `frames` of the input.

        Raises:
            ValueError: If the crop lies outside the frame.
        """
        count = self.frames if frames is None else check_whole("ForecastInput", "frames", frames, 1, None)
        window, problems = self._newest.window(count, self.step, until=until, coarsen=self.coarsen)
        top, left, height, width = self.place
        cut = np.ascontiguousarray(window.frames[:, top : top + height, left : left + width])
        return Window(cut, window.times, window.absent), problems

    def after(self, until: np.datetime64, count: int) -> np.ndarray:
        """Returns the times of `count` frames after a time, datetime64[s] of (count,), by months if the input is."""
        return moved(until, np.arange(1, count + 1), self.step, self.times)

    def coordinates(self) -> tuple[Coordinate, ...]:
        """Returns the coordinates of the files for the frames of a window; none if the files have no variables of them.

        Those of a whole frame are the same value for value, those of a crop are a part, and those of squares of pixels
        are means.
        """
        top, left, height, width = self.place
        return self.grid.coordinates_of(top, left, height, width, self.coarsen)

    def extent(self) -> tuple[float, float, float, float] | None:
        """Returns the outer edges (x_min, y_min, x_max, y_max) of the frames of a window, or None if they are unknown.

        If the files tell them but they cannot be understood, a warning says why, once.
        """
        grid = self.grid
        unplaced = grid.unplaced
        if grid.extent is not None and grid.projection is not None:
            try:
                checked(grid.projection)
            except UnplacedError as error:
                unplaced = str(error)
        if unplaced:
            self._warn(f"the forecast has no coordinates: {unplaced}")
        if unplaced or grid.extent is None:
            return None
        x_min, y_min, x_max, y_max = grid.extent
        dy, dx = (y_max - y_min) / grid.shape[0], (x_max - x_min) / grid.shape[1]
        top, left, height, width = self.place
        dy, dx = dy * self.coarsen, dx * self.coarsen
        return x_min + left * dx, y_max - (top + height) * dy, x_min + (left + width) * dx, y_max - top * dy

    def _usual_step(self, times: np.ndarray) -> float:
        """Returns the longest step in minutes that frames may have: the given one, training's or the most common."""
        seconds, counts = np.unique(np.diff(times).astype(np.int64), return_counts=True)
        steps = [self._given_step, self._interval]
        if counts.max(initial=0) > 1:
            steps.append(float(seconds[counts.argmax()]) / 60)
        return max((float(step) for step in steps if step is not None), default=math.nan)

    def _warn(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            warnings.warn(f"[ForecastInput] {text}.", stacklevel=4)


def _now() -> np.datetime64:
    return np.datetime64(int(time.time()), "s")


def _positive(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) and value > 0 else None
